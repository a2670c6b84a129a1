"""The first page: three headlines, and questions with their answers, out of ``findings.toml``.

`headlines` writes the headlines as cards, `questions` with the option `reader` a table for that
reader, after rows of the page's own. {verdict}`thm-3.5` is an entry's verdict, which links to the
ledger. `bibtex` is a button that opens the book's entry for BibTeX, out of CITATION.cff, with a
button to copy it.
"""

import ledger_pages
import notebooks
import yaml
from docutils import nodes
from docutils.parsers.rst import directives

from tokensphere.paper import findings


class VerdictRole(ledger_pages.Lookup):
    """{verdict}`id, id`: the verdicts of these entries, each a link to the ledger."""

    def run(self):
        shown: list[nodes.Node] = []
        for claim in self.claims():
            verdict = nodes.inline(classes=[ledger_pages.slug(claim.verdict)])
            verdict += ledger_pages.entry_link(self.env, claim, claim.verdict)
            shown += [nodes.Text(" ")] if shown else []
            shown.append(verdict)
        return shown, []


class Headlines(ledger_pages.Pages):
    """The headlines, a card each."""

    has_content = False

    def run(self):
        self.env.note_dependency(str(findings.FILE))
        cards = [
            f"````{{grid-item-card}} {one.title}\n\n{one.text}\n\n```{{card-footer}}\n"
            f"{' · '.join(f'{{doc}}`/{page}`' for page in one.pages)}\n```\n````\n"
            for one in findings.headlines()
        ]
        grid = [
            "`````{grid} 1 1 3 3",
            ":gutter: 2",
            ":class-container: landing",
            "",
            *cards,
            "`````",
        ]
        return self.markdown("\n".join(grid))


class Questions(ledger_pages.Pages):
    """Questions of a reader: the answer, its verdict, and the page that has it."""

    has_content = True
    option_spec = {  # noqa: RUF012 (docutils asks for it)
        "reader": lambda value: directives.choice(value, findings.READERS)
    }

    def run(self):
        self.env.note_dependency(str(findings.FILE))
        rows = ["| you ask | answer |", "| --- | --- |", *self.content]
        rows += [
            f"| {one.question} | {one.answer} {{verdict}}`{one.ids[0]}` {{doc}}`/{one.page}` |"
            for one in findings.findings()
            if one.reader == self.options["reader"]
        ]
        return self.markdown("\n".join(rows))


CITATION = notebooks.ROOT / "CITATION.cff"


def bibtex(citation: dict) -> str:
    """A citation, as CITATION.cff has it, as an entry for BibTeX."""
    names = [
        one.get("name") or f"{one['family-names']}, {one['given-names']}"
        for one in citation["authors"]
    ]
    # In braces twice: no part of a group's name is a family's, and titles keep their capitals.
    authors = " and ".join(name if ", " in name else f"{{{name}}}" for name in names)
    year, month, _ = str(citation["date-released"]).split("-")
    fields = {
        "title": f"{{{citation['title']}}}",
        "author": authors,
        "version": citation["version"],
        "year": year,
        "month": str(int(month)),
        "url": citation["repository-code"],
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    # @software is biblatex's own; BibTeX takes it for @misc, with every style.
    return "\n".join(["@software{tokensphere,", *lines, "}"])


class Bibtex(ledger_pages.Pages):
    """The button, and the entry that it opens."""

    has_content = False

    def run(self):
        self.env.note_dependency(str(CITATION))
        entry = bibtex(yaml.safe_load(CITATION.read_text("utf-8")))
        return self.markdown(f"````{{dropdown}} BibTeX\n```bibtex\n{entry}\n```\n````")


def setup(app):
    app.add_role("verdict", VerdictRole())
    app.add_directive("headlines", Headlines)
    app.add_directive("questions", Questions)
    app.add_directive("bibtex", Bibtex)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
