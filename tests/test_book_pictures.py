"""Pictures of chapters: clear grounds, figures to turn, and what pages of the book may weigh."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book" / "_ext"))
import notebooks
import offline_assets
import turnable

DRAWS = ("figures.sphere(", "figures.in_time(", "figures.portrait(", "figures.circles(")


def chapter(*outputs, index=2):
    """A page with one cell, whose outputs have these media types, as MyST-NB makes it."""
    page = nodes.section()
    cell = nodes.container(nb_element="cell_code", cell_index=index)
    page += cell
    for kinds in outputs:
        bundle = nodes.container(nb_element="mime_bundle")
        bundle += [nodes.container(mime_type=kind) for kind in kinds]
        figure = nodes.figure()
        figure += [bundle, nodes.caption()]
        cell += figure
    return page


def notebook(*bundles, index=2):
    cells = [{} for _ in range(index)]
    return {"cells": [*cells, {"outputs": [{"data": bundle} for bundle in bundles]}]}


@pytest.fixture
def app():
    return SimpleNamespace(env=SimpleNamespace(docname="page", metadata={"page": {}}))


def test_a_plot_stands_after_its_picture_and_before_the_caption(app, monkeypatch):
    plot = {"data": [{"name": "</script>"}]}
    made = notebook({turnable.JSON: plot, "image/png": ""})
    monkeypatch.setattr(turnable, "executed", lambda app, page: made)
    page = chapter(["image/png", "text/plain"])
    turnable.place(app, page)
    (figure,) = page.findall(nodes.figure)
    _, raw, caption = figure.children
    assert isinstance(raw, nodes.raw) and isinstance(caption, nodes.caption)
    text = raw.astext()
    assert text.count("</script>") == 1  # its own end
    body = text.removesuffix("</script>").split(">", 1)[1]
    assert json.loads(body) == plot
    assert app.env.metadata["page"] == {"turnable": "yes"}


def test_a_page_without_plots_gets_no_program(app, monkeypatch):
    made = notebook({"image/png": ""})
    monkeypatch.setattr(turnable, "executed", lambda app, page: made)
    page = chapter(["image/png"])
    turnable.place(app, page)
    assert not list(page.findall(nodes.raw)) and app.env.metadata["page"] == {}
    # And one without pictures does not even look for its outputs.
    monkeypatch.setattr(turnable, "executed", None)
    turnable.place(app, chapter(["text/plain"]))


@pytest.mark.parametrize(("alpha", "classes"), [(0, ["clear-ground"]), (255, [])])
def test_pictures_with_a_clear_ground_are_marked(tmp_path, alpha, classes):
    Image.new("RGBA", (4, 4), (255, 255, 255, alpha)).save(tmp_path / "a.png")
    page = nodes.section()
    page += [nodes.image(uri="/a.png"), nodes.image(uri="missing.png")]
    turnable.mark(SimpleNamespace(srcdir=tmp_path), page)
    assert [picture["classes"] for picture in page.children] == [classes, []]


@pytest.mark.parametrize("page", notebooks.chapters())
def test_figures_to_turn_have_number_caption_and_alternative_text(page):
    for cell in notebooks.read(page).cells:
        if cell.cell_type == "code" and any(call in cell.source for call in DRAWS):
            shown = cell.metadata.get("mystnb", {})
            assert shown.get("figure", {}).get("caption"), cell.source[:60]
            assert shown["figure"].get("name") and shown.get("image", {}).get("alt")


def test_icons_are_drawn_once():
    font = '<link href="../_static/vendor/fontawesome/6.5.2/css/all.min.css" rel="stylesheet" />'
    program = '\n  <script src="../_static/vendor/fontawesome/6.5.2/js/all.min.js?d=1"></script>'
    other = '\n<script src="../_static/scripts/bootstrap.js"></script>'
    assert offline_assets.ICON_PROGRAM.sub("", font + program + other) == font + other
