"""An id names one element of a page: those that sphinx-proof gives to every box are numbered."""

from collections import Counter

from docutils import nodes

REPEATED = ("proof", "proof-content")


def number(app, doctree):
    """Numbers the repeated ids of a page, in the order in which they come."""
    seen = Counter()
    for node in doctree.findall(nodes.Element):
        for place, id in enumerate(node.get("ids", [])):
            if id in REPEATED:
                seen[id] += 1
                node["ids"][place] = f"{id}-{seen[id]}"


def setup(app):
    app.connect("doctree-read", number)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
