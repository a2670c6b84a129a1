"""Pages of the library's names, out of its docstrings.

The directive `{api} MODULE` writes the module's text, and the names that `api_names` gives it.
"""

from types import ModuleType

import api_names
import docstrings
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective


class Api(SphinxDirective):
    """A module's text and its names."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module = f"{api_names.PACKAGE}.{self.arguments[0]}"
        lines = ["```{eval-rst}", f".. automodule:: {module}"]
        if api_names.kind(api_names.attribute(module)) != "module":
            lines += ["   :no-index:"]  # the name is a function's
        for name in api_names.shown(self.arguments[0]):
            word = api_names.kind(api_names.attribute(f"{module}.{name}"))
            lines += ["", f".. auto{word}:: {module}.{name}"]
            lines += ["   :members:"] if word in ("class", "exception") else []
        source = self.state_machine.get_source_and_line(self.lineno)[0]
        node = nodes.container()
        self.state.nested_parse(StringList([*lines, "```"], source), 0, node)
        return node.children


def skip(app, what, name, obj, skipped, options):
    """Fields of a named tuple, of which Python says that they are its fields."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def rewrite(app, what, name, obj, options, lines):
    """Autodoc's docstrings of the library, in place."""
    if name.split(".")[0] == api_names.PACKAGE:
        module = name if isinstance(obj, ModuleType) else name.rpartition(".")[0]

        def known(target: str) -> bool:
            return (
                target in api_names.documented() or f"{module}.{target}" in api_names.documented()
            )

        lines[:] = docstrings.restructured(lines, known)


def setup(app):
    app.setup_extension("sphinx.ext.autodoc")
    app.config.autodoc_typehints_format = "short"
    app.config.autodoc_member_order = "bysource"
    app.config.autodoc_inherit_docstrings = False  # torch's, for forward
    app.add_directive("api", Api)
    app.connect("autodoc-process-docstring", rewrite)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
