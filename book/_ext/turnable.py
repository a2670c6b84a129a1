"""Pictures of chapters: with a clear ground, or in place of a figure to turn.

A picture whose ground is clear is marked: a dark page turns what is black in it to white, and
leaves the others on white.

A figure to turn is a picture on the page, which is printed too; behind a button is the figure. Such
an output has a picture and plotly's JSON (`tokensphere.paper.figures.plotly_pages`). The picture is
the page's, with the alternative text, number and caption of any other. The JSON goes beside it, for
turnable.js to draw when a reader asks.
"""

import json
from pathlib import Path

from docutils import nodes
from jupyter_cache import get_cache
from myst_nb.core.read import myst_nb_reader_plugin
from PIL import Image

JSON = "application/vnd.plotly.v1+json"


def specification(plot: dict) -> str:
    """A plot's JSON as an element that no browser shows or runs."""
    text = json.dumps(plot, separators=(",", ":"), ensure_ascii=False)
    # Neither </script> nor <!--<script, after which the element would not end where it should.
    text = text.replace("<", "\\u003c")
    return f'<script type="application/json" class="turnable">{text}</script>'


def plots(notebook: dict) -> dict[int, list[dict]]:
    """The plots that go with pictures, by the number of their cell, in order."""
    found = {}
    for number, cell in enumerate(notebook["cells"]):
        bundles = [output.get("data", {}) for output in cell.get("outputs", [])]
        pairs = [bundle[JSON] for bundle in bundles if JSON in bundle and "image/png" in bundle]
        if pairs:
            found[number] = pairs
    return found


def is_clear(path: Path) -> bool:
    """Whether a picture shows in its corner what is behind it."""
    with Image.open(path) as picture:
        return picture.convert("RGBA").getpixel((0, 0))[3] == 0


def mark(app, doctree):
    """Marks the pictures with a clear ground that cells have drawn."""
    for picture in doctree.findall(nodes.image):
        path = Path(app.srcdir) / picture["uri"].lstrip("/")
        if path.suffix == ".png" and path.exists() and is_clear(path):
            picture["classes"].append("clear-ground")


def place(app, doctree):
    """Puts the plots of a page beside their pictures."""
    cells = [cell for cell in elements(doctree, "cell_code") if pictures(cell)]
    if not cells:
        return
    waiting = plots(executed(app, app.env.docname))
    for cell in cells:
        for plot, bundle in zip(waiting.get(cell["cell_index"], []), pictures(cell), strict=False):
            after = bundle.parent.index(bundle) + 1
            bundle.parent.insert(after, nodes.raw("", specification(plot), format="html"))
            app.env.metadata[app.env.docname]["turnable"] = "yes"


def executed(app, page: str) -> dict:
    """A page's notebook with its outputs, of which MyST-NB leaves out those that it cannot show."""
    cache = get_cache(app.config.nb_execution_cache_path)
    notebook = myst_nb_reader_plugin(str(app.env.doc2path(page)))
    return cache.merge_match_into_notebook(notebook)[1]


def elements(parent: nodes.Element, kind: str) -> list[nodes.container]:
    """What MyST-NB made of this kind."""
    return [node for node in parent.findall(nodes.container) if node.get("nb_element") == kind]


def pictures(cell: nodes.Element) -> list[nodes.container]:
    """The outputs of a cell that have a picture."""
    return [
        bundle
        for bundle in elements(cell, "mime_bundle")
        if any(child.get("mime_type") == "image/png" for child in bundle.children)
    ]


def load(app, pagename, templatename, context, doctree):
    """Loads the program on pages that have such a figure."""
    if app.env.metadata.get(pagename, {}).get("turnable"):
        app.add_js_file("plotly/turnable.js", loading_method="defer")


def quiet(app, config):
    """The JSON is no output that is lost: MyST-NB need not warn of it."""
    config.suppress_warnings = [*config.suppress_warnings, "mystnb.unknown_mime_type"]


def setup(app):
    app.connect("config-inited", quiet)
    app.connect("doctree-read", mark)
    app.connect("doctree-read", place)
    app.connect("html-page-context", load)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
