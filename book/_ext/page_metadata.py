"""What search engines and messengers show of a page: its description, its address, a card.

The description is what the chapter asks, the first paragraph of its box "In short", or else the
first paragraph of the page. sphinxext-opengraph makes tags and picture of it; by itself it would
take the first words outside of boxes, which in a chapter are those of a table.
"""

import textwrap

from docutils import nodes
from docutils.utils import new_document
from sphinxext import opengraph

LENGTH = 155  # what fits on a card


def description(doctree: nodes.document) -> str:
    """A page in a sentence or two, of at most LENGTH characters; "" if it has no paragraph."""
    boxes = [box for box in doctree.findall(nodes.admonition) if "in-short" in box["classes"]]
    for paragraph in (boxes or [doctree])[0].findall(nodes.paragraph):
        # Asked, found, ...: what names the paragraph is the box's, not the page's.
        strong = paragraph.next_node(nodes.strong) if boxes else None
        label = strong.astext() if strong is not None else ""
        text = " ".join(paragraph.astext().removeprefix(label).split())
        if text:
            return textwrap.shorten(text, LENGTH, placeholder=" ...")
    return ""


def add_tags(app, pagename, templatename, context, doctree):
    """As opengraph does, of the page's description alone."""
    if doctree is None:
        return
    opening = new_document("description")
    opening += nodes.paragraph("", description(doctree))
    context["metatags"] += opengraph.get_tags(
        context,
        opening,
        srcdir=app.srcdir,
        outdir=app.outdir,
        config=app.config,
        builder=app.builder,
        env=app.env,
    )
    context["meta"] = (context["meta"] or {}) | {"ogp_disable": True}


def setup(app):
    app.setup_extension("sphinxext.opengraph")
    # Before opengraph's own.
    app.connect("html-page-context", add_tags, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
