"""The book's search: what is entered into the index, and that titles stay what they are."""

import re
import sys
from pathlib import Path

import pytest
from sphinx.application import Sphinx
from sphinx.search import js_index
from sphinx.util.docutils import docutils_namespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book" / "_ext"))
import ledger_pages
import notebooks
import search_entries

from tokensphere.paper import ledger

CONF = """
# Of its own: else Sphinx writes ".md" into a default that later builds in the process share.
source_suffix = {".md": "markdown"}
extensions = ["myst_parser", "ledger_pages", "search_entries"]
html_theme = "basic"
"""
INDEX = """# First page

```{toctree}
stability
```
"""
CHAPTER = """# Stability of rest

{claim}`thm-3.3`

## Where they are not

Text.
"""
WORDS = {"index": {"": ["install"]}, "stability": {"Where they are not": ["heteroclinic cycle"]}}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Sphinx's search index of two pages, and the folder that they are in."""
    folder = tmp_path_factory.mktemp("book")
    for name, text in {"conf.py": CONF, "index.md": INDEX, "stability.md": CHAPTER}.items():
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch, docutils_namespace():
        patch.setattr(search_entries, "words", lambda: WORDS)
        app = Sphinx(folder, folder, folder / "out", folder / "trees", "html", status=None)
        app.build()
    return js_index.loads((folder / "out" / "searchindex.js").read_text("utf-8")), folder / "out"


def test_words_and_numbers_lead_to_their_places(built):
    index, _ = built
    found = {
        entry: [(index["docnames"][page], id) for page, id, main in places if main]
        for entry, places in index["indexentries"].items()
    }
    mark = f"mark-{ledger_pages.anchor('thm-3.3')}"
    assert found == {
        "install": [("index", "first-page")],
        "heteroclinic cycle": [("stability", "where-they-are-not")],
        "theorem 3.3": [("stability", mark)],
        "theorem b.7": [("stability", mark)],
    }


def test_titles_are_not_changed_by_what_is_entered(built):
    index, out = built
    assert index["titles"] == ["First page", "Stability of rest"]
    assert f'id="mark-{ledger_pages.anchor("thm-3.3")}"' in (out / "stability.html").read_text()


def test_only_the_page_of_search_loads_the_script(built):
    _, out = built
    assert (out / "_static" / "search_snippets.js").is_file()
    assert "search_snippets.js" in (out / "search.html").read_text("utf-8")
    assert "search_snippets.js" not in (out / "stability.html").read_text("utf-8")


def test_what_sphinx_s_search_calls_is_replaced():
    script = search_entries.SCRIPT.read_text("utf-8")
    theirs = Path(sys.modules["sphinx"].__file__).parent / "themes/basic/static/searchtools.js"
    (name,) = re.findall(r"Search\.(\w+) = ", script)
    assert f"Search.{name}(data, searchTerms, anchor)" in theirs.read_text("utf-8")


@pytest.mark.parametrize("page", search_entries.words())
def test_words_belong_to_pages_and_headings_of_the_book(page):
    text = notebooks.source(page).read_text("utf-8")
    assert page in notebooks.pages()
    for heading, words in search_entries.words()[page].items():
        assert words
        assert not heading or re.search(rf"^#+ {re.escape(heading)}$", text, re.MULTILINE), heading


@pytest.mark.parametrize(
    ("number", "names"),
    [
        ("Theorem 3.3; Theorem B.7", ["Theorem 3.3", "Theorem B.7"]),
        ("eqs (4)-(6)", ["eq (4)", "eq (5)", "eq (6)"]),
        ("eq (19); eq (20)", ["eq (19)", "eq (20)"]),
        ("", []),
    ],
)
def test_single_numbers(number, names):
    assert ledger_pages.names(number) == names


def test_a_number_is_entered_once_a_chapter_and_none_is_lost():
    entered = [
        (name, ledger.ledger()[id].chapter)
        for id, names in ledger_pages.indexed().items()
        for name in names
    ]
    assert len(entered) == len(set(entered))
    assert set(entered) == {
        (name, claim.chapter)
        for claim in ledger.ledger().values()
        for name in ledger_pages.names(claim.number)
    }
