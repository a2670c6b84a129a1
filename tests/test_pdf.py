"""The book as a PDF: one page made of the site, and what Chromium prints of it."""

import io
import shutil
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book" / "_pdf"))
import one_page

SITE = "https://example.org/book/"
ABOUT = {"title": "A <book>", "author": "Its authors", "site": SITE, "made": "Made of a commit"}
PAGES = {"intro", "part/one", "part/two"}
PARTS = [one_page.Part("", ["intro"]), one_page.Part("The part", ["part/one", "part/two"])]

HEAD = """<head><link rel="stylesheet" href="{up}_static/a.css">
<link rel="icon" href="icon.svg"><script src="{up}_static/theme.js"></script>
<script>window.MathJax = {{}}</script><script src="{up}_static/mathjax/x.js"></script></head>"""
INTRO = """<article><section id="intro"><h1>Opening<a class="headerlink" href="#intro">#</a></h1>
<section id="own"><h2>Its own contents</h2><p><a href="part/one.html#thm">Theorem 1.1</a>
<a href="#own">here</a> <a href="_sources/part/one.ipynb">notebook</a>
<a href="https://example.com/">elsewhere</a></p></section></section></article>"""
ONE = """<article><section id="one"><h1><span class="section-number">1. </span>One</h1>
<section id="first"><h2>First</h2>
<div class="admonition dropdown" id="thm"><p>Folded.</p></div>
<details><summary>More</summary><p>Opened.</p></details>
<div class="cell"><details class="hide"><p>hidden code</p></details>
<div class="cell_input"><div class="highlight"><pre>a = 1
</pre></div></div>
<div class="cell_output"><img src="../_images/p.png" loading="lazy">
<script>draw()</script></div></div>
<div class="cell_output"><div class="plotly-graph-div"></div></div>
<span class="math">\\(x\\)</span>
</section></section></article>"""
TWO = """<article><section id="two"><h1>Two</h1><section id="first"><h2>First again</h2>
<p><a href="one.html">One</a> <a href="one.html#first">First of one</a> <a href="#first">here</a>
</p></section></section></article>"""


@pytest.fixture
def site(tmp_path):
    for name, body in {"intro": INTRO, "part/one": ONE, "part/two": TWO}.items():
        path = tmp_path / "html" / f"{name}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * name.count("/")
        path.write_text(f"<html>{HEAD.format(up=up)}<body>{body}</body></html>", "utf-8")
    return tmp_path / "html"


@pytest.fixture
def book(site):
    return BeautifulSoup(one_page.whole(site, PARTS, ABOUT, "../html"), "html.parser")


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("#first", "#part-two--first"),
        ("one.html", "#part-one"),
        ("one.html#thm", "#part-one--thm"),
        ("../intro.html#own", "#intro--own"),
        ("one.html#bench=line&mu=1", f"{SITE}part/one.html#bench=line&mu=1"),
        ("../genindex.html", f"{SITE}genindex.html"),
        ("../_sources/part/two.ipynb", f"{SITE}_sources/part/two.ipynb"),
        ("https://example.com/one.html", "https://example.com/one.html"),
        ("mailto:a@example.org", "mailto:a@example.org"),
    ],
)
def test_where_links_lead(link, expected):
    assert one_page.target(link, "part/two", PAGES, SITE) == expected


def test_files_are_found_from_where_the_printed_page_lies():
    assert one_page.moved("../_images/a.png", "part/two", "../html") == "../html/_images/a.png"
    assert one_page.moved("data:image/png;base64,", "part/two", "../html").startswith("data:")


def test_pages_follow_one_another_below_their_part(book):
    shown = [(tag.name, tag.get_text()) for tag in book.select("main :is(h1, h2, h3)")]
    assert shown == [
        ("h2", "Opening"),
        ("h3", "Its own contents"),
        ("h1", "The part"),
        ("h2", "1. One"),
        ("h3", "First"),
        ("h2", "Two"),
        ("h3", "First again"),
    ]


def test_contents_lead_to_parts_chapters_and_sections(book):
    lines = book.select("nav.book-contents a")
    assert [(line["class"], line["href"]) for line in lines] == [
        (["level-2"], "#intro--intro"),
        (["level-1"], "#part-1"),
        (["level-2"], "#part-one--one"),
        (["level-3"], "#part-one--first"),
        (["level-2"], "#part-two--two"),
        (["level-3"], "#part-two--first"),
    ]
    assert one_page.lost(str(book)) == []


def test_what_is_folded_is_open_and_what_a_screen_needs_is_gone(book):
    assert book.select_one("details").has_attr("open")
    assert "dropdown" not in book.find(id="part-one--thm")["class"]
    assert "hidden code" not in book.text and "draw()" not in str(book)
    assert not book.select(".headerlink, .plotly-graph-div")
    picture = book.find("img")
    assert picture["src"] == "../html/_images/p.png" and not picture.has_attr("loading")


def test_a_figure_without_a_picture_is_linked(book):
    notes = book.select(".to-turn a")
    assert [note["href"] for note in notes] == [f"{SITE}part/one.html"]


def test_style_sheets_and_formulas_are_kept_and_other_scripts_are_not(book):
    assert [link["href"] for link in book.select("head link")] == [
        "../html/_static/a.css",
        "print.css",
    ]
    assert [s.get("src") for s in book.select("head script[src]")] == [
        "../html/_static/mathjax/x.js"
    ]
    assert "window.MathJax = {}" in str(book.head)


def test_a_title_is_text(book):
    assert book.title.text == "A <book>" and not book.find("book")


def test_a_link_to_nothing_is_refused(site):
    (site / "intro.html").write_text(
        f"<html>{HEAD.format(up='')}<body>{INTRO.replace('#thm', '#gone')}</body></html>"
    )
    with pytest.raises(ValueError, match="part-one--gone"):
        one_page.whole(site, PARTS, ABOUT, "../html")


@pytest.mark.parametrize("damage", [lambda text: text[:-20], lambda text: text * 2, lambda _: ""])
def test_what_is_no_whole_page_is_named(site, damage):
    page = site / "part" / "two.html"
    page.write_text(damage(page.read_text("utf-8")), "utf-8")
    with pytest.raises(ValueError, match=r"part/two\.html is no whole page: make clean book"):
        one_page.whole(site, PARTS, ABOUT, "../html")


def test_a_page_that_is_not_built_is_named(site):
    (site / "part" / "two.html").unlink()
    with pytest.raises(ValueError, match=r"part/two.html .*make book"):
        one_page.whole(site, PARTS, ABOUT, "../html")


# What Chromium makes of it.


@pytest.fixture(scope="module")
def printer():
    """make.py, where all that it needs is installed."""
    pytest.importorskip("pikepdf", reason="no pikepdf: pip install -r requirements-pdf.txt")
    pytest.importorskip("playwright", reason="no Playwright: pip install -r requirements-pdf.txt")
    import make

    if make.browser() is None:
        pytest.skip("no Chromium: install the system's, or name one in BOOK_CHROMIUM")
    return make


@pytest.fixture
def page(site, printer):
    """A function from the HTML of a formula to the page to print."""
    (site / "_images").mkdir()

    def write(formula: str) -> Path:
        html = one_page.whole(site, PARTS, ABOUT, "html").replace("\\(x\\)", formula)
        html = html.replace("window.MathJax = {}", "")  # there is no MathJax to wait for
        path = site.parent / "book.html"
        path.write_text(html, encoding="utf-8")
        shutil.copy2(Path(one_page.__file__).with_name("print.css"), site.parent)
        return path

    return write


def test_the_print_has_pages_an_outline_and_links(page, printer):
    import pikepdf

    pdf = printer.print_page(page("<mjx-container>x</mjx-container>"))
    with pikepdf.open(io.BytesIO(pdf)) as document:
        # A cover, the contents, three pages of the book.
        assert len(document.pages) == 5
        with document.open_outline() as outline:
            titles = [
                (item.title, [child.title for child in item.children]) for item in outline.root
            ]
        assert titles == [("Opening", []), ("The part", ["1. One", "Two"])]
        links = [a for p in document.pages for a in p.get("/Annots", []) if "/Dest" in a]
        assert len(links) == 6 + 5
        assert {str(link.Dest) for link in links} <= set(document.Root.Dests.keys())
    numbers = printer.sheets(pdf)
    assert numbers["part-one--one"] == 4 and numbers["part-two--first"] == 5
    assert len(pdf) < 100_000


def test_a_formula_that_is_not_set_is_told(page, printer):
    with pytest.raises(RuntimeError, match="1 formulas are not set.*frac"):
        printer.print_page(page("\\(\\frac12\\)"))


WIDE = """<div class="math" style="width: 300px"><span class="eqno">(1)</span>
<mjx-container style="font-size: 20px"><mjx-math><span style="display: inline-block;
width: {width}em; height: 1em"></span></mjx-math></mjx-container></div>"""


def test_a_display_that_is_too_wide_is_set_smaller(printer):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        tab = playwright.chromium.launch(executable_path=printer.browser()).new_page()
        tab.set_content(WIDE.format(width=10) + WIDE.format(width=30))
        tab.evaluate(printer.FIT)
        small, wide = tab.evaluate(
            """() => [...document.querySelectorAll("mjx-container")]
              .map((set) => parseFloat(getComputedStyle(set).fontSize))"""
        )
    assert small == 20
    assert 5 < wide < 300 / 30  # the number takes its room too


def test_the_book_s_parts_are_all_pages(printer):
    import notebooks

    printed = [page for part in printer.parts() for page in part.pages]
    left = [page for page in notebooks.pages() if page not in printed]
    assert printed == [page for page in notebooks.pages() if page not in left]
    assert {page.partition("/")[0] for page in left} == {"laboratory", "api", "status"}
    assert all(part.pages for part in printer.parts())
