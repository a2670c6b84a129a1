"""Pages of the library's names, out of its docstrings.

The directive `{api} ROOM` writes what `api_names` says that it shows: the room's text and names,
then each module that its content names, under a heading of its own.
"""

from types import ModuleType

import api_names
import docstrings
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective


class Api(SphinxDirective):
    """A room's names; in the content, modules in it."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        lines = []
        room, *modules = api_names.shown(self.arguments[0], " ".join(self.content))
        for names in (room, *modules):
            if names is not room:
                lines += ["", f"## {names.module.removeprefix(room.module + '.')}", ""]
            lines += ["```{eval-rst}", f".. automodule:: {names.module}"]
            if api_names.kind(api_names.attribute(names.module)) != "module":
                lines += ["   :no-index:"]  # the name is a function's
            lines += [""]
            for name in names.names:
                full = f"{names.module}.{name}"
                word = api_names.kind(api_names.attribute(full))
                lines += [f".. auto{word}:: {full}"]
                lines += ["   :members:", ""] if word in ("class", "exception") else [""]
            lines += ["```"]
        node = nodes.container()
        source = self.state_machine.get_source_and_line(self.lineno)[0]
        self.state.nested_parse(StringList(lines, source), 0, node, match_titles=True)
        return node.children


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
    return {"parallel_read_safe": True, "parallel_write_safe": True}
