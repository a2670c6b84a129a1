"""The built site as one page to print: title, contents, and every page of _toc.yml after another.

What only a screen has is taken out, folded text is opened, and links from one page of the book to
another lead to their place in this one. Code that is folded on the site is left out.
"""

import posixpath
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import urldefrag, urljoin, urlsplit

from bs4 import BeautifulSoup, Tag

FOREIGN = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
# Buttons, links to a heading itself, what only a program fills, and code that is folded.
SCREEN_ONLY = (
    "script, button, .headerlink, .toctree-wrapper, details.hide, .plotly-graph-div, noscript, "
    ".d-print-none"
)

SHORT = 30
"""Lines of code that are not broken between two sheets."""


@dataclass(frozen=True)
class Part:
    """Pages below a caption of the contents; no caption for what stands before the first."""

    caption: str
    pages: list[str]


def anchor(page: str, id: str = "") -> str:
    """The id, in the whole book, of a page or of an id on it."""
    return re.sub(r"\W+", "-", page) + (f"--{id}" if id else "")


def target(link: str, page: str, pages: set[str], site: str) -> str:
    """Where a page's link leads in the printed book: to its place there, or to the site."""
    if FOREIGN.match(link):
        return link
    address, id = urldefrag(link)
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), address)) if address else page
    name = path.removesuffix(".html")
    state = "=" in id  # of the laboratory, which runs on the site alone
    if name in pages and not state and (not address or address.endswith(".html")):
        return f"#{anchor(name, id)}"
    return urljoin(urljoin(site, f"{page}.html"), link)


def moved(path: str, page: str, root: str) -> str:
    """The address of a page's file, seen from the printed page; `root` leads to the site."""
    if not path or FOREIGN.match(path):
        return path
    return posixpath.join(root, posixpath.normpath(posixpath.join(posixpath.dirname(page), path)))


def article(soup: BeautifulSoup, page: str, pages: set[str], site: str, root: str) -> Tag:
    """What one page says, ready to stand behind others."""
    found = soup.select_one("article")
    if found is None:
        raise ValueError(f"{page}.html has no <article>")
    for plot in found.select(".plotly-graph-div"):
        cell = plot.find_parent(class_="cell_output")
        if cell is not None and not cell.find("img"):
            address = urljoin(site, f"{page}.html")
            note = f'<p class="to-turn"><a href="{address}">A figure to turn, on the site</a></p>'
            cell.append(BeautifulSoup(note, "html.parser"))
        (plot.find_parent(class_="output") or plot).decompose()  # with the room that it kept
    for tag in found.select(SCREEN_ONLY):
        tag.decompose()
    for code in found.select(".cell_input, .highlight"):
        if code.get_text().count("\n") <= SHORT:
            code["class"] = [*code["class"], "short"]
    for tag in found.find_all("details"):
        tag["open"] = ""
    for tag in found.select(".dropdown, .toggle"):
        tag["class"] = [name for name in tag["class"] if name not in ("dropdown", "toggle")]
    for tag in found.find_all(id=True):
        tag["id"] = anchor(page, tag["id"])
    for tag in found.find_all("a", href=True):
        tag["href"] = target(tag["href"], page, pages, site)
    for tag in found.find_all(src=True):
        tag["src"] = moved(tag["src"], page, root)
        tag.attrs.pop("loading", None)
    found["id"] = anchor(page)
    return found


def demote(tag: Tag) -> None:
    """Makes headings one level lower: parts of the book stand above chapters."""
    for heading in tag.find_all(re.compile("h[1-5]$")):
        heading.name = f"h{int(heading.name[1]) + 1}"


def headings(tag: Tag) -> list[tuple[int, str, str]]:
    """Level, id and HTML of a page's title and its sections, for the contents."""
    found = []
    for section in tag.find_all("section", id=True):
        heading = section.find(re.compile("h[1-6]$"), recursive=False)
        if heading is not None and int(heading.name[1]) <= 3:
            found.append((int(heading.name[1]), section["id"], heading.decode_contents().strip()))
    return found


def head(soup: BeautifulSoup, page: str, root: str) -> list[str]:
    """The style sheets of a page, and the scripts that set formulas where a browser sets them."""
    kept = []
    for tag in soup.head.find_all(["link", "script", "style"]):
        if tag.name == "link" and "stylesheet" in tag.get("rel", []):
            tag["href"] = moved(tag["href"], page, root)
        elif tag.name == "script" and "mathjax" in (tag.get("src", "") + tag.text).lower():
            if tag.get("src"):
                tag["src"] = moved(tag["src"], page, root)
        elif tag.name != "style":
            continue
        kept.append(str(tag))
    return kept


# Menus and hidden copies of formulas are for screens, and cost most of the memory.
LIGHT_MATHJAX = """<script>
if (window.MathJax) {
  MathJax.options = Object.assign({}, MathJax.options, {
    enableMenu: false, menuOptions: {settings: {assistiveMml: false}}});
}
</script>"""


def whole(folder: Path, parts: list[Part], about: dict[str, str], root: str) -> str:
    """The printed page's HTML.

    folder: the built site. root: the way to it from where the page will lie.
    about: title, author, site, and `made`, a line on what this is made from.

    Raises ValueError for a page that is not built or not whole, and for a link within the book to
    nothing.
    """
    pages = {page for part in parts for page in part.pages}
    contents, bodies, styles, heads = [], [], [], []
    for number, part in enumerate(parts):
        if part.caption:
            id = f"part-{number}"
            title = f'<h1 class="part" id="{id}">{escape(part.caption)}</h1>'
            contents.append((1, id, escape(part.caption)))
        for place, page in enumerate(part.pages):
            file = folder / f"{page}.html"
            if not file.exists():
                raise ValueError(f"{page}.html is not in {folder}: make book")
            text = file.read_text("utf-8")
            if text.count("</html>") != 1 or not text.rstrip().endswith("</html>"):
                raise ValueError(f"{file} is no whole page: make clean book")
            soup = BeautifulSoup(text, "html.parser")
            body = article(soup, page, pages, about["site"], root)
            demote(body)
            entries = headings(body)
            # The book's first page has its own contents; its sections need none here.
            contents += entries if part.caption else entries[:1]
            title_text = BeautifulSoup(entries[0][2], "html.parser").get_text() if entries else page
            styles.append(running_head(anchor(page), title_text))
            opening = title if part.caption and place == 0 else ""
            bodies.append(f'<div class="page" style="page: {named(page)}">{opening}{body}</div>')
            heads += [line for line in head(soup, page, root) if line not in heads]
    html = TEMPLATE.format(
        title=escape(about["title"]),
        author=escape(about["author"]),
        made=about["made"],
        head="\n".join(heads) + LIGHT_MATHJAX,
        style="\n".join(styles),
        contents="\n".join(entry(*line) for line in contents),
        bodies="\n".join(bodies),
    )
    if missing := lost(html):
        raise ValueError(f"links lead nowhere: {', '.join(missing[:5])}")
    return html


def named(page: str) -> str:
    """The name of a page's sheets of paper in CSS."""
    return "sheet-" + anchor(page)


def running_head(name: str, title: str) -> str:
    text = title.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ").replace("<", "\\3c ")
    return f'@page sheet-{name} {{ @top-left {{ content: "{text}" }} }}'


def entry(level: int, id: str, text: str) -> str:
    """A line of the contents; its page's number is filled in when it is known."""
    text = re.sub(r"</?a\b[^>]*>|\sid=\"[^\"]*\"", "", text)
    return (
        f'<a class="level-{level}" href="#{id}"><span>{text}</span>'
        f'<span class="sheet" data-of="{id}"></span></a>'
    )


def lines_of_contents(html: str) -> list[tuple[int, str, str]]:
    """Level, id and text of each line of the printed page's contents."""
    lines = BeautifulSoup(html, "html.parser").select("nav.book-contents a")
    return [
        (int(line["class"][0].removeprefix("level-")), line["href"][1:], line.span.get_text())
        for line in lines
    ]


def lost(html: str) -> list[str]:
    """Ids that the printed page's links lead to and that it lacks."""
    soup = BeautifulSoup(html, "html.parser")
    ids = {tag["id"] for tag in soup.find_all(id=True)}
    wanted = [urlsplit(tag["href"]).fragment for tag in soup.select('a[href^="#"]')]
    return sorted({id for id in wanted if id and id not in ids})


TEMPLATE = """<!DOCTYPE html>
<html lang="en" data-theme="light" data-mode="light">
<head>
<meta charset="utf-8">
<title>{title}</title>
<meta name="author" content="{author}">
{head}
<link rel="stylesheet" href="print.css">
<style>
{style}
</style>
</head>
<body>
<header class="cover">
<p class="title">{title}</p>
<p>{author}</p>
<p>{made}</p>
</header>
<nav class="book-contents">
<h1>Contents</h1>
{contents}
</nav>
<main class="bd-content"><div class="bd-article-container">
{bodies}
</div></main>
</body>
</html>
"""
