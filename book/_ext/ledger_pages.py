"""The ledger in the book: marks where statements are treated, its own page, the concordance.

In a chapter {claim}`thm-3.3` marks the theorem, or the place, that treats a statement: its verdict,
links to the ledger's entry and to the source of its checks at this commit, and the command that
runs them, and a report about it. Every id of the ledger has one mark, in its chapter.
{entry}`thm-3.3` gives the links alone. The directive `concordance` writes the table from a paper's
numbers to the book's boxes, verdicts and checks; the entries themselves are in `ledger_entries`.
"""

import functools
import itertools
import re
from dataclasses import dataclass
from urllib.parse import urlencode

import notebooks
from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective, SphinxRole

from tokensphere.paper import findings, ledger

LEDGER = "claims"
MARK = re.compile(r"\{claim\}`([^`]+)`")
BOX = re.compile(r"^(`{3,}|:{3,})\{prf:(\w+)\}\s*(.*)$")


@dataclass(frozen=True)
class Mark:
    """A statement's mark: its page, and the box that it stands in, if it stands in one."""

    id: str
    page: str
    kind: str = ""
    title: str = ""
    label: str = ""


def marks(page: str, text: str) -> list[Mark]:
    """The marks of a page of this Markdown, in order."""
    found: list[Mark] = []
    fence, kind, title, label = "", "", "", ""
    for line in text.splitlines():
        if not fence and (opening := BOX.match(line)):
            fence, kind, title = opening.groups()
            label = ""
        elif fence and line.strip() == fence:
            fence, kind, title, label = "", "", "", ""
        elif fence and line.startswith(":label:"):
            label = line.removeprefix(":label:").strip()
        for names in MARK.findall(line):
            found += [Mark(id.strip(), page, kind, title, label) for id in names.split(",")]
    return found


@functools.cache
def all_marks() -> dict[str, Mark]:
    """Every mark of the book by its id."""
    return {
        mark.id: mark
        for page in notebooks.pages()
        for mark in marks(page, notebooks.source(page).read_text("utf-8"))
    }


@functools.cache
def chapter_title(page: str) -> str:
    """The title of a page: its first heading."""
    text = notebooks.source(page).read_text("utf-8")
    return re.search(r"^# (.+)$", text, re.MULTILINE)[1].strip()


def anchor(id: str) -> str:
    """The address of an entry on the ledger's page."""
    return "claim-" + re.sub(r"[^a-z0-9]+", "-", id.lower())


def with_math(text: str) -> list[nodes.Node]:
    """Text as nodes, what stands between dollars as formulas: a role cannot parse Markdown."""
    parts = text.split("$")
    return [
        nodes.math("", part) if odd else nodes.Text(part)
        for part, odd in zip(parts, itertools.cycle((False, True)))
        if part
    ]


def source_links(claim: ledger.Claim) -> list[nodes.Node]:
    """A link to the source of each check of a claim, by the check's name."""
    links: list[nodes.Node] = []
    for role, check in claim.checks.items():
        file, line = ledger.source(check)
        url = f"{notebooks.repository_url()}/blob/{notebooks.ref()}/{file}#L{line}"
        arguments = ", ".join(f"{name}={value!r}" for name, value in check.arguments.items())
        title = f"{ledger.ROLES[role]}: {check.name}({arguments})"
        links += [
            nodes.Text(", " if links else " "),
            nodes.reference("", ledger.ROLES[role], refuri=url, reftitle=title, internal=False),
        ]
    return links or [nodes.Text(" none")]


def report_url(claim: ledger.Claim) -> str:
    """A new issue about a claim, with what names it filled in.

    The form is .github/ISSUE_TEMPLATE/statement.yml; its fields are filled by their ids.
    """
    query = urlencode(
        {
            "template": "statement.yml",
            "title": f"Statement {claim.id}: ",
            "statement": f"{claim.id} ({claim.where or claim.chapter}): {claim.verdict}",
            "version": notebooks.ref(),
        }
    )
    return f"{notebooks.repository_url()}/issues/new?{query}"


def report_link(claim: ledger.Claim, text: str) -> nodes.Node:
    title = f"Open an issue about {claim.id}"
    classes = ["claim-report"]
    url = report_url(claim)
    return nodes.reference("", text, refuri=url, reftitle=title, internal=False, classes=classes)


def slug(verdict: str) -> str:
    """The class of what shows a verdict."""
    return f"verdict-{verdict.replace(' ', '-')}"


def entry_link(env, claim: ledger.Claim, text: str) -> nodes.Node:
    """A link to the claim's entry on the ledger's page."""
    page = env.docname
    uri = "" if page == LEDGER else env.app.builder.get_relative_uri(page, LEDGER)
    uri += f"#{anchor(claim.id)}"
    return nodes.reference("", text, refuri=uri, internal=True, classes=["claim-verdict"])


class Lookup(SphinxRole):
    """What both roles need: the claims that the role's text names."""

    def claims(self) -> list[ledger.Claim]:
        found = []
        for id in (part.strip() for part in self.text.split(",")):
            if id not in ledger.ledger():
                raise ValueError(f"no claim {id!r} in the ledger")
            found.append(ledger.ledger()[id])
        return found

    def links(self, claim: ledger.Claim) -> list[nodes.Node]:
        return [
            nodes.Text(" · checks:"),
            *source_links(claim),
            nodes.Text(" · "),
            nodes.literal("", f"tokensphere claims --check {claim.id}"),
            nodes.Text(" · "),
            report_link(claim, "report"),
        ]


def names(number: str) -> list[str]:
    """The single numbers in a claim's `number`: "eqs (4)-(5)" are "eq (4)" and "eq (5)"."""
    found = []
    for part in filter(None, (part.strip() for part in number.split(";"))):
        equations = re.fullmatch(r"eqs \((\d+)\)-\((\d+)\)", part)
        if equations:
            low, high = map(int, equations.groups())
            found += [f"eq ({n})" for n in range(low, high + 1)]
        else:
            found.append(part)
    return found


@functools.cache
def indexed() -> dict[str, list[str]]:
    """The papers' numbers by the claim under which the book's index has them.

    A number has one entry a chapter: its first claim there.
    """
    seen: set[tuple[str, str]] = set()
    found: dict[str, list[str]] = {}
    for claim in ledger.ledger().values():
        for name in names(claim.number):
            if (name, claim.chapter) not in seen:
                seen.add((name, claim.chapter))
                found.setdefault(claim.id, []).append(name)
    return found


class ClaimRole(Lookup):
    """{claim}`id, id`: marks where these statements are treated, and enters them in the index."""

    def run(self):
        shown: list[nodes.Node] = []
        for claim in self.claims():
            target = f"mark-{anchor(claim.id)}"
            entries = [("single", n, target, "main", None) for n in indexed().get(claim.id, [])]
            if entries:
                shown.append(addnodes.index(entries=entries))
            classes = ["claim-mark", slug(claim.verdict)]
            mark = nodes.inline(ids=[target], classes=classes)
            mark += entry_link(self.env, claim, claim.verdict)
            mark += [nodes.Text(" "), *with_math(claim.where)]
            for node in self.links(claim):
                mark += node
            shown.append(mark)
        return shown, []


class EntryRole(Lookup):
    """{entry}`id`: the links of a statement."""

    def run(self):
        shown: list[nodes.Node] = []
        for claim in self.claims():
            line = nodes.inline(classes=["claim-links"])
            line += entry_link(self.env, claim, "entry")
            for node in self.links(claim):
                line += node
            shown.append(line)
        return shown, []


class Pages(SphinxDirective):
    """What both directives need: Markdown as nodes, links to marks."""

    def markdown(self, text: str) -> list[nodes.Node]:
        parent = nodes.container()
        self.state.nested_parse(StringList(text.splitlines(), "ledger"), 0, parent)
        return parent.children

    def inline(self, text: str) -> list[nodes.Node]:
        """The content of a single paragraph."""
        found = self.markdown(text)
        return found[0].children if found else []

    def to_mark(self, claim: ledger.Claim, text: str) -> nodes.Node:
        uri = self.env.app.builder.get_relative_uri(self.env.docname, claim.chapter)
        return nodes.reference("", text, refuri=f"{uri}#mark-{anchor(claim.id)}", internal=True)

    def place(self, claim: ledger.Claim) -> list[nodes.Node]:
        """Where the book treats a claim, as a link: its box, by number and title, or its page."""
        mark = all_marks().get(claim.id)
        if mark and mark.label:
            title = re.sub(r"\s*\([^()]*paper[^()]*\)", "", mark.title)
            box = self.inline(f"{{prf:ref}}`{mark.label}`")
            return [*box, nodes.Text(": "), *self.inline(title)] if title else box
        return [self.to_mark(claim, chapter_title(claim.chapter))]


class Verdicts(Pages):
    """What each verdict means, and how many entries have it."""

    has_content = False

    def run(self):
        found = [claim.verdict for claim in ledger.ledger().values()]
        rows = [
            [
                [self.entries_with(name)],
                [nodes.Text(str(found.count(name)))],
                [nodes.Text(verdict.meaning)],
            ]
            for name, verdict in ledger.VERDICTS.items()
        ]
        return [table(["verdict", "entries", "meaning"], rows, "verdicts")]

    def entries_with(self, verdict: str) -> nodes.Node:
        """The verdict's word, as a link to the entries that have it."""
        link = nodes.reference("", verdict, internal=True, classes=["claim-verdict"])
        link["refuri"] = f"?{urlencode({'verdict': verdict})}#the-entries"
        return nodes.inline("", "", link, classes=[slug(verdict)])


def listed(paper: str) -> list[ledger.Claim]:
    """The claims of a paper that its concordance lists, in the paper's order.

    Those with a number; if none has one, all of them in the order of the book.
    """
    claims = [claim for claim in ledger.ledger().values() if claim.paper == paper]
    numbered = [claim for claim in claims if claim.number]
    return sorted(numbered, key=lambda claim: order(claim.number)) or claims


class Concordance(Pages):
    """From a paper's numbers to the book's boxes, the verdicts and the checks.

    Of a paper that is cited by content, without numbers, every statement, by its place.
    """

    has_content = False
    option_spec = {"paper": directives.unchanged_required}  # noqa: RUF012 (docutils asks for it)

    def run(self):
        paper = self.options["paper"]
        claims = listed(paper)
        if not claims:
            raise self.error(f"no statement of paper {paper!r} in the ledger")
        rows = []
        for claim in claims:
            verdict = nodes.inline(classes=[slug(claim.verdict)])
            verdict += entry_link(self.env, claim, claim.verdict)
            rows.append(
                [self.inline(claim.where), [verdict], self.place(claim), source_links(claim)]
            )
        return [table(["paper", "verdict", "in this book", "checks"], rows, "concordance")]


class Findings(Pages):
    """What was found, in the sentences that README has too."""

    has_content = False

    def run(self):
        self.env.note_dependency(str(findings.FILE))
        rows = []
        for found in findings.findings():
            uri = self.env.app.builder.get_relative_uri(self.env.docname, found.page)
            claim = nodes.reference("", "", *self.inline(found.claim), refuri=uri, internal=True)
            verdict = nodes.inline(classes=[slug(found.verdict)])
            verdict += entry_link(self.env, ledger.ledger()[found.ids[0]], found.verdict)
            rows.append([[claim], [verdict], self.inline(found.finding)])
        return [table(["the papers say", "verdict", "what was found"], rows, "findings")]


def table(titles: list[str], rows: list[list[list[nodes.Node]]], name: str) -> nodes.table:
    """A table of cells that hold inline nodes."""
    whole = nodes.table(classes=[name])
    group = nodes.tgroup(cols=len(titles))
    whole += group
    group += [nodes.colspec(colwidth=1) for _ in titles]
    head, body = nodes.thead(), nodes.tbody()
    group += [head, body]
    head += _row([[nodes.Text(title)] for title in titles])
    body += [_row(row) for row in rows]
    return whole


def _row(cells: list[list[nodes.Node]]) -> nodes.row:
    row = nodes.row()
    for cell in cells:
        entry, paragraph = nodes.entry(), nodes.paragraph()
        paragraph += cell
        entry += paragraph
        row += entry
    return row


KINDS = (
    "theorem",
    "proposition",
    "lemma",
    "remark",
    "observation",
    "claim",
    "eq",
    "figure",
    "table",
)


def order(number: str) -> tuple:
    """A key by which numbers stand as in the paper: by kind, then section, then number."""
    kind = next((i for i, k in enumerate(KINDS) if number.lower().startswith(k)), len(KINDS))
    first = re.search(r"([A-C]?)\.?(\d+)(?:\.(\d+))?", number)
    if not first:
        return (kind, "", 0, 0, number)
    letter, major, minor = first.groups()
    return (kind, letter, int(major), int(minor or 0), number)


def setup(app):
    app.add_role("claim", ClaimRole())
    app.add_role("entry", EntryRole())
    app.add_directive("verdicts", Verdicts)
    app.add_directive("findings", Findings)
    app.add_directive("concordance", Concordance)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
