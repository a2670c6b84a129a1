"""Links of the built book: to its own pages, to places in them, and to the sources of checks.

Links to other sites are checked weekly, by `make links`.
"""

import posixpath
import re
from functools import cache
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
import visits

ADDRESSES = {"a": "href", "link": "href", "img": "src", "script": "src", "iframe": "src"}
LOADED = {"link", "img", "script", "iframe"}
"""Elements whose address a browser fetches unasked."""
SOURCE = re.compile(r"https://github\.com/[^/]+/[^/]+/blob/[^/]+/([^#]+)#L(\d+)")


class Parser(HTMLParser):
    """The links of a page, (element, address), and the ids in it."""

    def __init__(self, text: str):
        super().__init__()
        self.links: set[tuple[str, str]] = set()
        self.ids: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids.add(attributes.get("id") or "")
        address = attributes.get(ADDRESSES.get(tag, ""))
        if address and attributes.get("rel") != "canonical":
            self.links.add((tag, address))


@cache
def parsed(name: str) -> Parser:
    return Parser((visits.SITE / f"{name}.html").read_text("utf-8"))


def broken(page: str) -> list[str]:
    """The links of a page that lead nowhere, or make a browser ask another host."""
    found = []
    for tag, address in sorted(parsed(page).links):
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            if tag in LOADED and parts.scheme != "data":
                found.append(f"foreign: {tag} {address}")
            continue
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(parts.path)))
        if not parts.path:
            path = f"{page}.html"
        name = path.removesuffix(".html")
        if not (visits.SITE / path).exists():
            found.append(f"no file: {address}")
        elif name == "laboratory" and parts.fragment.startswith("bench="):
            continue  # a state of a bench: test_laboratory.py knows which there are
        elif name in visits.PAGES and unquote(parts.fragment) not in parsed(name).ids:
            found.append(f"no such place: {address}")
    return found


@pytest.mark.parametrize("name", visits.PAGES)
def test_links_lead_somewhere(name):
    left = visits.unknown(broken(name), "links", name)
    assert not left, "\n".join(left)


def test_the_page_for_what_is_not_found_leads_to_pages():
    prefix = "/tokensphere/"
    inside = [urlsplit(to).path for _, to in parsed("404").links if to.startswith(prefix)]
    assert len(inside) > 20
    assert not [to for to in inside if not (visits.SITE / to.removeprefix(prefix)).exists()]


@pytest.mark.parametrize("name", visits.PAGES)
def test_links_to_a_check_lead_to_its_first_line(name):
    found = [SOURCE.fullmatch(address) for _, address in parsed(name).links]
    wrong = []
    for link in filter(None, found):
        file, line = visits.ROOT / link[1], int(link[2])
        lines = file.read_text("utf-8").splitlines() if file.is_file() else []
        if not (line <= len(lines) and re.match(r"(def|class|@)", lines[line - 1])):
            wrong.append(link[0])
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("html", "said"),
    [
        ('<a href="nowhere.html">x</a>', "no file: nowhere.html"),
        ('<a href="#nowhere">x</a>', "no such place: #nowhere"),
        ('<a href="claims.html#nowhere">x</a>', "no such place: claims.html#nowhere"),
        ('<img src="https://example.org/a.png">', "foreign: img https://example.org/a.png"),
        ('<script src="//example.org/a.js"></script>', "foreign: script //example.org/a.js"),
        ('<h1 id="here"></h1><a href="#here">x</a><a href="https://example.org/">y</a>', None),
    ],
)
def test_a_broken_link_is_found(monkeypatch, html, said):
    pages = {"page": Parser(html), "claims": Parser("<p></p>")}
    monkeypatch.setattr("test_links.parsed", pages.__getitem__)
    monkeypatch.setattr(visits, "PAGES", list(pages))
    monkeypatch.setattr("pathlib.Path.exists", lambda path: path.stem in pages)
    assert broken("page") == ([said] if said else [])
