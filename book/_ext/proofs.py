"""Proofs of sphinx-proof that have the class `dropdown` are folded.

Its own way of folding, by sphinx-togglebutton, needs a title, which a proof has not. These are
<details>: they open without JavaScript, and a browser's search finds what is in them.
"""

from docutils import nodes


def visit(self, node):
    if not {"proof", "dropdown"} <= set(node["classes"]):
        type(self).visit_admonition(self, node)
        return
    # The summary says what it is.
    start = next(node.findall(nodes.Text))
    start.parent.replace(start, nodes.Text(start.removeprefix("Proof. ")))
    self.body.append('<details class="folded-proof">\n<summary>Proof</summary>\n')
    self.body.append('<div class="proof">')


def depart(self, node):
    if {"proof", "dropdown"} <= set(node["classes"]):
        self.body.append("</div>\n</details>\n")
    else:
        type(self).depart_admonition(self, node)


def setup(app):
    app.add_node(nodes.admonition, override=True, html=(visit, depart))
    app.add_css_file("proofs.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
