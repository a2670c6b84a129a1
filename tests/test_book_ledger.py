"""The ledger's page as it is built: entries, anchors, links, and the form that filters them."""

import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book" / "_ext"))
import ledger_entries
import ledger_pages
import notebooks

from tokensphere.paper import ledger

CLAIMS = list(ledger.ledger().values())
BY_ID = {claim.id: claim for claim in CLAIMS}
SHOWN = ("eq-1", "thm-3.3", "lem-B.3-definite")
CONF = """
# Of its own: else Sphinx writes ".md" into a default that later builds in the process share.
source_suffix = {".md": "markdown"}
extensions = ["myst_parser", "sphinx_proof", "ledger_pages", "ledger_entries"]
myst_enable_extensions = ["dollarmath", "amsmath"]
html_theme = "basic"
"""


class Elements(HTMLParser):
    """The elements of a page: name, attributes, and the text within, less what it encloses."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        element = SimpleNamespace(tag=tag, text="", **{"attributes": dict(attributes)})
        self.found.append(element)
        if tag not in ("input", "img", "link", "meta", "br", "hr"):
            self.open.append(element)

    def handle_endtag(self, tag):
        while self.open and self.open.pop().tag != tag:
            pass

    def handle_data(self, data):
        for element in self.open:
            element.text += data

    def of(self, tag, **wanted):
        return [
            element
            for element in self.found
            if element.tag == tag
            and all(element.attributes.get(key) == value for key, value in wanted.items())
        ]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The ledger's page, of three entries, as Sphinx writes it."""
    folder = tmp_path_factory.mktemp("book")
    (folder / "conf.py").write_text(CONF)
    (folder / "claims.md").write_text("# Ledger\n\n```{ledger-filter}\n```\n\n```{ledger}\n```\n")
    (folder / "index.md").write_text("# Index\n\n```{toctree}\nclaims\n```\n")
    with pytest.MonkeyPatch.context() as patch, docutils_namespace():
        patch.setattr(ledger, "ledger", lambda: {id: BY_ID[id] for id in SHOWN})
        # What needs a chapter that this book does not have.
        patch.setattr(ledger_pages, "all_marks", dict)
        app = Sphinx(folder, folder, folder / "out", folder / "trees", "html", status=None)
        app.build()
    assert (folder / "out" / "_static" / "ledger.js").read_bytes() == (
        ledger_entries.SCRIPT.read_bytes()
    )
    return Elements((folder / "out" / "claims.html").read_text("utf-8"))


def test_every_entry_says_what_it_is_filtered_by(page):
    articles = page.of("article")
    assert [article.attributes["data-id"] for article in articles] == list(SHOWN)
    for article in articles:
        claim = BY_ID[article.attributes["data-id"]]
        assert article.attributes["id"] == ledger_pages.anchor(claim.id)
        assert article.attributes["data-verdict"] == claim.verdict
        assert article.attributes["data-paper"] == claim.paper
        assert article.attributes["data-chapter"] == claim.chapter
        # There without a script.
        assert "hidden" not in article.attributes


def test_every_entry_links_to_itself_its_chapter_its_checks_and_a_report(page):
    targets = [link.attributes.get("href", "") for link in page.of("a")]
    for id in SHOWN:
        claim = BY_ID[id]
        assert f"#{ledger_pages.anchor(id)}" in targets
        assert f"{claim.chapter}.html#mark-{ledger_pages.anchor(id)}" in targets
        assert ledger_pages.report_url(claim) in targets
        for check in claim.checks.values():
            file, line = ledger.source(check)
            assert any(target.endswith(f"/{file}#L{line}") for target in targets)


def test_ids_on_the_page_are_unique(page):
    ids = Counter(e.attributes["id"] for e in page.found if "id" in e.attributes)
    assert [id for id, times in ids.items() if times > 1] == []


def test_the_form_is_labelled_and_waits_for_its_script(page):
    (form,) = page.of("form", id="ledger-filter")
    assert "hidden" in form.attributes and form.attributes["aria-label"]
    assert len(page.of("p", role="status")) == 1
    inside = page.found[page.found.index(form) :]
    for name in ("text", "paper", "chapter", "sort"):
        at = next(i for i, e in enumerate(inside) if e.attributes.get("name") == name)
        # A field lies in its label.
        assert inside[at - 1].tag == "label" and inside[at - 1].text.strip()
    boxes = page.of("input", name="verdict")
    assert [box.attributes["value"] for box in boxes] == list(ledger.VERDICTS)
    assert {o.attributes["value"] for o in page.of("option")} >= {BY_ID[id].chapter for id in SHOWN}


def test_the_script_knows_the_fields_and_orders_of_the_form():
    script = ledger_entries.SCRIPT.read_text("utf-8")
    for order in ledger_entries.ORDERS:
        assert re.search(rf"^    {order}: \(a, b\)", script, re.MULTILINE), order
    assert set(re.findall(r"dataset\.(\w+)", script)) <= {
        "id", "verdict", "paper", "chapter", "rank",
    }  # fmt: skip


def test_the_form_counts_the_verdicts():
    form = ledger_entries.form(CLAIMS, {})
    counted = dict(re.findall(r'value="([\w ]+)"> [\w ]+ <small>(\d+)', form))
    assert counted == {
        name: str(sum(claim.verdict == name for claim in CLAIMS)) for name in ledger.VERDICTS
    }


def test_every_paper_of_the_ledger_can_be_chosen():
    assert {claim.paper for claim in CLAIMS} == set(ledger_entries.PAPERS)


def test_anchors_are_unique():
    anchors = Counter(ledger_pages.anchor(claim.id) for claim in CLAIMS)
    assert [anchor for anchor, times in anchors.items() if times > 1] == []


def test_entries_stand_by_paper_then_number_and_those_without_last():
    def claim(id, paper, number):
        return replace(BY_ID["eq-1"], id=id, paper=paper, number=number)

    ranks = ledger_entries.ranks(
        [
            claim("ours", "ours", ""),
            claim("none", "spheres2026", ""),
            claim("3.10", "spheres2026", "Theorem 3.10"),
            claim("earlier", "vo2025demystifying", "Theorem 1.1"),
            claim("3.3", "spheres2026", "Theorem 3.3; Theorem B.7"),
        ]
    )
    assert sorted(ranks, key=ranks.get) == ["3.3", "3.10", "none", "earlier", "ours"]


def test_a_report_names_the_statement():
    url = urlsplit(ledger_pages.report_url(BY_ID["thm-3.3"]))
    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{notebooks.repository_url()}/issues/new"
    query = parse_qs(url.query)
    assert query["title"] == ["Statement thm-3.3: "]
    for part in ("thm-3.3", BY_ID["thm-3.3"].number, BY_ID["thm-3.3"].verdict):
        assert part in query["statement"][0]
    assert query["version"] == [notebooks.ref()]


def test_without_a_history_sources_are_those_of_the_book_s_branch(monkeypatch):
    def none(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", none)
    assert notebooks.ref.__wrapped__() == notebooks.repository()["branch"]


def test_a_chapter_is_called_by_its_heading():
    assert ledger_pages.chapter_title("first-token/circle") == "The circle"
