"""A report whose names, tokens and metadata are programs: a browser runs none of them."""

import pytest
from hostile_report import HOSTILE, hostile, page_of

pytestmark = pytest.mark.filterwarnings("ignore:Glyph .* missing from font")


def test_a_browser_shows_hostile_names_and_runs_nothing(browser, scores, serve, tmp_path):
    page_of(hostile(scores), tmp_path)
    page = browser.new_page()
    said, asked = [], []
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    address = serve(tmp_path)
    page.goto(f"{address}index.html")
    assert page.title() == f"Attention sinks in {HOSTILE[0]}"
    assert page.locator("script, img, iframe, a, object, embed, h1 h1").count() == 0
    assert HOSTILE[1] in page.locator("body").text_content()
    # Each figure as a page of its own: SVG may hold scripts too.
    for figure in sorted(tmp_path.glob("*.svg")):
        page.goto(f"{address}{figure.name}")
        assert page.locator("script, foreignObject, a").count() == 0
        assert page.evaluate("document.title") == ""
    assert said == []
    assert all(url.startswith((address, "data:")) for url in asked), asked
    page.close()
