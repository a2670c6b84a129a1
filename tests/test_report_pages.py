"""Reports show what names they were given, and never run or open it.

Names of models, layers and files, prompts, tokens and metadata come from elsewhere.
tests/browser/test_reports.py looks at the same pages in a browser.
"""

import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from hostile_report import HOSTILE, hostile, page_of

from tokensphere import records
from tokensphere.sinks.report import compare, figures, page

pytestmark = pytest.mark.filterwarnings("ignore:Glyph .* missing from font")


class Page(HTMLParser):
    """The elements of a page, their attributes, and what a reader can read."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.said = set(), [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.said.append(data)


def assert_inert(tags, attributes):
    """No element that runs, embeds or links; no handler; addresses lead into the page itself."""
    assert not tags & {"script", "iframe", "object", "embed", "img", "a", "base", "link", "form"}
    assert not tags & {"foreignObject", "foreignobject", "animate", "set"}
    for name, value in attributes:
        assert not name.lower().startswith("on"), name
        if name.rpartition(":")[2].rpartition("}")[2] in ("href", "src", "action", "srcdoc"):
            assert value.startswith(("#", "data:image/png;base64,")), value


@pytest.fixture(scope="module")
def folder(scores, tmp_path_factory):
    return page_of(hostile(scores), tmp_path_factory.mktemp("report"))


def test_a_report_runs_nothing(folder):
    found = Page((folder / "index.html").read_text("utf-8"))
    assert_inert(found.tags, found.attributes)
    said = "".join(found.said)
    for text in HOSTILE:
        assert text in said, text


def test_its_figures_run_nothing(folder):
    files = sorted(folder.glob("*.svg"))
    assert len(files) == len(page.FIGURES)
    for file in files:
        elements = list(ElementTree.parse(file).iter())
        tags = {element.tag.rpartition("}")[2] for element in elements}
        assert "svg" in tags
        assert_inert(tags - {"style"}, [item for each in elements for item in each.attrib.items()])


def test_a_comparison_runs_nothing(scores, tmp_path):
    reports = []
    for place, start in enumerate((0, 5)):
        reports.append(tmp_path / f"<img src=x onerror=alert({place})>")
        reports[-1].mkdir()
        page_of(hostile(scores, start), reports[-1])
    compare.write_comparison(reports, tmp_path / "both")
    found = Page((tmp_path / "both" / "index.html").read_text("utf-8"))
    assert_inert(found.tags, found.attributes)
    assert all(str(report) in "".join(found.said) for report in reports)
    elements = list(ElementTree.parse(next((tmp_path / "both").glob("*.svg"))).iter())
    assert_inert(
        {element.tag.rpartition("}")[2] for element in elements} - {"style"},
        [item for each in elements for item in each.attrib.items()],
    )


def test_formulas_in_layers_names_are_not_set(scores):
    """matplotlib sets what stands between two $, and fails where it is no formula."""
    renamed = {0: "blocks.$\\frac$.0", 1: "blocks.$\\frac$.1"}
    layers = [{**layer, "name": renamed[layer["index"]]} for layer in scores["layers"]]
    maps = [{**found, "name": "$\\frac$"} for found in scores["maps"]]
    data = {**scores, "layers": layers, "maps": maps}
    for figure in (figures.sinks_by_layer(data, "score"), figures.attention_maps(data)):
        assert "\\frac" in page.svg(figure)


def test_a_record_of_hostile_names_is_read_as_it_was(scores, folder):
    assert records.load(folder / "sinks.json").data == hostile(scores) | {
        "model": hostile(scores)["model"] | {"name": HOSTILE[0], "revision": HOSTILE[1]}
    }
