"""The ledger's page: every entry with its links, by chapter, and the form that filters them.

An entry is an article that names its verdict, paper, chapter and place in the paper's order;
`ledger.js` filters and sorts by these. The form is hidden until that script runs: without it the
page is the whole ledger, in the order of the book.
"""

from collections.abc import Iterable
from html import escape
from pathlib import Path

import page_scripts
from docutils import nodes
from ledger_pages import (
    LEDGER,
    Pages,
    anchor,
    chapter_title,
    order,
    report_link,
    slug,
    source_links,
)
from sphinx.util.docutils import SphinxDirective

from tokensphere.paper import ledger

SCRIPT = Path(__file__).parent / "ledger.js"
PAPERS = {
    "spheres2026": "Token Dynamics on Spheres",
    "vo2025demystifying": "the earlier paper",
    "ours": "no paper: ours",
}
ORDERS = {
    "book": "as in the book",
    "number": "by the paper's number",
    "verdict": "by verdict",
    "id": "by id",
}


class Entry(nodes.General, nodes.Element):
    """An article: one entry of the ledger. Its `data` are attributes for the script."""


class EntryTitle(nodes.General, nodes.TextElement):
    """The heading of an entry. No section's: the contents list chapters, not 300 statements."""


def visit_entry(translator, node):
    data = {f"data-{key}": value for key, value in node["data"].items()}
    translator.body.append(translator.starttag(node, "article", **data))


def depart_entry(translator, node):
    translator.body.append("</article>\n")


def visit_title(translator, node):
    translator.body.append(translator.starttag(node, "h4", ""))


def depart_title(translator, node):
    target = escape(node["target"])
    translator.body.append(
        f'<a class="headerlink" href="#{target}" title="Link to this entry">#</a></h4>\n'
    )


def visit_title_latex(translator, node):
    translator.body.append("\n\n\\textbf{")


def depart_title_latex(translator, node):
    translator.body.append("}\n\n")


def ignore(translator, node):
    """What other builders do with an entry: they write its content alone."""


def ranks(claims: Iterable[ledger.Claim]) -> dict[str, int]:
    """The place of each claim, by its id, in the order of the papers' numbers.

    The papers stand as in PAPERS, and in each what has no number stands last.
    """
    papers = list(PAPERS)
    ordered = sorted(
        claims, key=lambda c: (papers.index(c.paper), not c.number, order(c.number or c.place))
    )
    return {claim.id: place for place, claim in enumerate(ordered)}


def by_chapter(claims: Iterable[ledger.Claim]) -> dict[str, list[ledger.Claim]]:
    """Claims by the chapter that treats them, in the order in which they come."""
    found: dict[str, list[ledger.Claim]] = {}
    for claim in claims:
        found.setdefault(claim.chapter, []).append(claim)
    return found


class Ledger(Pages):
    """Every entry of the ledger, chapter by chapter."""

    has_content = False

    def run(self):
        # Ours to write again whenever a statement changes.
        for file in sorted((ledger.FOLDER / "statements").rglob("*.toml")):
            self.env.note_dependency(str(file))
        claims = ledger.ledger().values()
        self.ranks = ranks(claims)
        return [self.chapter(page, found) for page, found in by_chapter(claims).items()]

    def chapter(self, page: str, claims: list[ledger.Claim]) -> nodes.Node:
        id = "entries-" + page.replace("/", "-").replace("_", "-")
        section = nodes.section(ids=[id], names=[id], classes=["ledger-chapter"])
        section += nodes.title("", chapter_title(page))
        section += [self.entry(claim) for claim in claims]
        return section

    def entry(self, claim: ledger.Claim) -> nodes.Node:
        data = {
            "id": claim.id,
            "verdict": claim.verdict,
            "paper": claim.paper,
            "chapter": claim.chapter,
            "rank": str(self.ranks[claim.id]),
        }
        entry = Entry(
            ids=[anchor(claim.id)], classes=["claim-entry", slug(claim.verdict)], data=data
        )
        title = EntryTitle(target=anchor(claim.id))
        title += nodes.inline("", claim.verdict, classes=["claim-verdict"])
        title += [nodes.Text(" "), *(self.inline(claim.where) or [nodes.Text(claim.id)])]
        entry += title
        entry += self.markdown(claim.statement)
        for name, text in (
            (ledger.HEADINGS.get(claim.verdict, "Correction"), claim.correction),
            ("Power", claim.power),
            ("Remains", claim.remains),
        ):
            if text:
                entry += self.markdown(f"*{name}:* {text}")
        entry += self.links(claim)
        return entry

    def links(self, claim: ledger.Claim) -> nodes.Node:
        """Where an entry is treated, its checks, the command that runs them, and a report."""
        line = nodes.paragraph(classes=["claim-links"])
        line += nodes.Text("In this book: ")
        line += nodes.inline("", "", *self.place(claim), classes=["claim-place"])
        line += [nodes.Text(" · checks:"), *source_links(claim)]
        if claim.checks:
            run = f"tokensphere claims --check {claim.id}"
            line += [nodes.Text(" · run: "), nodes.literal("", run)]
        line += [nodes.Text(" · id: "), nodes.literal("", claim.id), nodes.Text(" · ")]
        line += report_link(claim, "report about this statement")
        return line


class Filter(SphinxDirective):
    """The form that filters the entries; `ledger.js` shows it and does what it says."""

    has_content = False

    def run(self):
        claims = list(ledger.ledger().values())
        chapters = {page: chapter_title(page) for page in by_chapter(claims)}
        return [nodes.raw("", form(claims, chapters), format="html")]


def form(claims: list[ledger.Claim], chapters: dict[str, str]) -> str:
    """The form as HTML; its fields have the names of the entries' data."""
    verdicts = [claim.verdict for claim in claims]
    boxes = "\n".join(
        f'<label class="{slug(name)}"><input type="checkbox" name="verdict" value="{name}"> '
        f"{name} <small>{verdicts.count(name)}</small></label>"
        for name in ledger.VERDICTS
    )
    return f"""
<form id="ledger-filter" class="ledger-filter" role="search" aria-label="Filter the entries" hidden>
<fieldset>
<legend>Verdict</legend>
{boxes}
</fieldset>
<label class="ledger-text">Text
<input type="search" name="text" autocomplete="off" spellcheck="false"
 placeholder="Theorem 3.3, resonance, ..."></label>
<label>Paper
{_select("paper", {"": "any"} | PAPERS)}</label>
<label>Chapter
{_select("chapter", {"": "any"} | chapters)}</label>
<label>Order
{_select("sort", ORDERS)}</label>
<button type="reset">Show all</button>
<p class="ledger-count" role="status"></p>
</form>
"""


def _select(name: str, options: dict[str, str]) -> str:
    inner = "".join(
        f'<option value="{escape(value)}">{escape(text)}</option>'
        for value, text in options.items()
    )
    return f'<select name="{name}">{inner}</select>'


def setup(app):
    other = dict.fromkeys(("text", "man", "texinfo"), (ignore, ignore))
    app.add_node(Entry, html=(visit_entry, depart_entry), latex=(ignore, ignore), **other)
    app.add_node(
        EntryTitle,
        html=(visit_title, depart_title),
        latex=(visit_title_latex, depart_title_latex),
        **other,
    )
    app.add_directive("ledger", Ledger)
    app.add_directive("ledger-filter", Filter)
    # Before MathJax, where a page runs it: formulas are then the text that one may search for.
    page_scripts.add(app, SCRIPT, lambda page: page == LEDGER, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
