"""Search finds what readers type, and shows prose.

Sphinx's search puts entries of the index first. Here they are the papers' numbers, which
`ledger_pages` enters where a statement is treated, and the words of `search_words.toml`.
`search_snippets.js` shows of a page that is found the paragraph with the words, without code.
"""

import functools
import tomllib
from pathlib import Path

import page_scripts
from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

FOLDER = Path(__file__).parent
SCRIPT = FOLDER / "search_snippets.js"


@functools.cache
def words() -> dict[str, dict[str, list[str]]]:
    """The words to be found, by page and heading."""
    return tomllib.loads((FOLDER / "search_words.toml").read_text("utf-8"))


class EnterWords(SphinxTransform):
    """Enters a page's words into the index, at their headings."""

    default_priority = 800  # before the index is collected, at 850

    def apply(self):
        titles = {
            title.astext(): title.parent
            for title in self.document.findall(nodes.title)
            if isinstance(title.parent, nodes.section)
        }
        for heading, found in words().get(self.env.docname, {}).items():
            section = titles.get(heading) or next(self.document.findall(nodes.section))
            entries = [("single", word, section["ids"][0], "main", None) for word in found]
            # After the title, which Sphinx takes to be the first thing in a section.
            section.insert(1, addnodes.index(entries=entries))


def setup(app):
    app.add_transform(EnterWords)
    page_scripts.add(app, SCRIPT, lambda page: page == "search")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
