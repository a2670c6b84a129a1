"""What every page of the book has beside its text: description, address, unique ids."""

import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from docutils import nodes
from docutils.utils import new_document
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book" / "_ext"))
import notebooks
import page_metadata
import unique_ids

CONFIG = notebooks.config()
BASE = CONFIG["html"]["baseurl"]


def document(*children):
    doctree = new_document("page")
    doctree += children
    return doctree


def in_short(*paragraphs):
    """The box that opens a chapter."""
    box = nodes.admonition(classes=["in-short"])
    box += nodes.title("", "In short")
    for label, text in paragraphs:
        box += nodes.paragraph("", "", nodes.strong("", label), nodes.Text(text))
    return box


def test_a_chapter_is_described_by_what_it_asks():
    box = in_short(("Asked.", " Where does\nit go?"), ("Found.", " Nowhere."))
    page = document(nodes.title("", "Title"), nodes.paragraph("", "Before."), box)
    assert page_metadata.description(page) == "Where does it go?"


def test_another_page_is_described_by_its_first_paragraph_in_whole_words():
    page = document(nodes.paragraph("", ""), nodes.paragraph("", "word " * 100))
    found = page_metadata.description(page)
    assert len(found) <= page_metadata.LENGTH
    assert found.endswith("word ...")
    assert page_metadata.description(document(nodes.title("", "Only a title"))) == ""


def test_a_label_is_left_out_only_where_the_box_has_it():
    page = document(nodes.paragraph("", "", nodes.strong("", "Every"), nodes.Text(" token moves.")))
    assert page_metadata.description(page) == "Every token moves."


CONF = f"""
# Of its own: else Sphinx writes ".md" into a default that later builds in the process share.
source_suffix = {{".md": "markdown"}}
extensions = [
    "myst_parser", "sphinx_proof", "sphinx_book_theme", "page_metadata", "unique_ids",
    "proofs", "notfound.extension", "sphinx_last_updated_by_git",
]
html_theme = "sphinx_book_theme"
templates_path = [{str(notebooks.BOOK / CONFIG["sphinx"]["config"]["templates_path"][0])!r}]
html_last_updated_fmt = "%Y-%m-%d"
html_baseurl = ogp_site_url = {BASE!r}
ogp_social_cards = {{"enable": False}}
notfound_urls_prefix = {CONFIG["sphinx"]["config"]["notfound_urls_prefix"]!r}
suppress_warnings = {CONFIG["sphinx"]["config"]["suppress_warnings"]!r}
"""
PAGE = """# A title

```{toctree}
other
```

```{admonition} In short
:class: in-short
**Asked.** Which one is *it*?
```

```{prf:theorem} One
Text.
```

```{prf:proof}
By hand.
```

```{prf:theorem} Two
Text.
```

```{prf:proof}
By hand.
```

```{prf:proof}
:class: dropdown
By hand, *slowly*.
```
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book")
    (folder / "conf.py").write_text(CONF)
    (folder / "index.md").write_text(PAGE)
    (folder / "other.md").write_text("# Another\n\nIts first paragraph.\n")
    with docutils_namespace():  # builds in one process know nothing of each other
        app = Sphinx(folder, folder, folder / "out", folder / "trees", "html", status=None)
        app.build()
    # Also where there is no history: this folder is in no repository.
    assert app._warncount == 0
    return folder / "out"


def test_a_page_has_one_description_and_its_address(built):
    text = (built / "index.html").read_text("utf-8")
    assert text.count('<meta name="description"') == 1
    assert text.count('property="og:description"') == 1
    assert 'property="og:description" content="Which one is it?"' in text
    assert f'<link rel="canonical" href="{BASE}index.html"' in text


@pytest.mark.parametrize("page", ["index", "search"])
def test_ids_are_unique(built, page):
    text = re.sub(
        r"<script.*?</script>", "", (built / f"{page}.html").read_text("utf-8"), flags=re.S
    )
    ids = Counter(re.findall(r'<[a-z][^<>]*? id="([^"]*)"', text))
    assert len(ids) > 2
    assert [id for id, times in ids.items() if times > 1] == []


def test_what_sphinx_proof_repeats_is_numbered(built):
    text = (built / "index.html").read_text("utf-8")
    for id in unique_ids.REPEATED:
        assert text.count(f'id="{id}-1"') == text.count(f'id="{id}-2"') == 1


def test_the_button_of_search_is_called_by_what_is_read_on_it(built):
    button = re.search(
        r'<button class="[^"]*search-button-field.*?</button>',
        (built / "index.html").read_text("utf-8"),
        flags=re.DOTALL,
    )[0]
    assert "aria-label" not in button and ">Search<" in button


def test_the_page_that_is_not_found_loads_its_styles_from_the_site(built):
    text = (built / "404.html").read_text("utf-8")
    assert 'href="/tokensphere/_static/' in text
    assert 'href="_static/' not in text


def test_addresses_of_the_site_agree():
    config = CONFIG["sphinx"]["config"]
    assert config["ogp_site_url"] == BASE and BASE.endswith("/")
    assert BASE.endswith(config["notfound_urls_prefix"])
    body = config["notfound_context"]["body"]
    for page in ("intro", "claims"):
        assert f'href="{config["notfound_urls_prefix"]}{page}.html"' in body
        assert notebooks.source(page).is_file()
    for name in ("image", "image_mini"):
        assert (notebooks.BOOK / config["ogp_social_cards"][name]).is_file()


def test_a_proof_folds_where_it_is_asked_to(built):
    text = (built / "index.html").read_text("utf-8")
    folded = re.findall(r"<details.*?</details>", text, flags=re.S)
    proofs = [each for each in folded if "folded-proof" in each]
    assert len(proofs) == 1
    assert "<summary>Proof</summary>" in proofs[0]
    assert "<p>By hand, <em>slowly</em>.</p>" in proofs[0]
    # The others are open, and say what they are.
    assert len(re.findall(r"<p>Proof. By hand.</p>", text)) == 2
