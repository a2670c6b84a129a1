"""Names in the code of chapters lead to their places in the library's pages.

Which name a piece of code means is read off its imports, cell after cell. A name that is bound
anew, in a function or for good, means something else from there on, and has no link.
"""

import ast
import html
import re
from dataclasses import dataclass, field
from typing import Any

import api_names
from docutils import nodes

LANGUAGES = {"ipython3", "python", "python3", "py"}
PIECE = re.compile(r"<[^>]*>|&[^;\s]*;|[^<&]")


@dataclass(frozen=True)
class Link:
    """A stretch of code, by offsets of characters, and the full name that it means."""

    start: int
    end: int
    name: str


@dataclass
class Reader(ast.NodeVisitor):
    """Reads the cells of a page in their order.

    Attributes:
        names: full names of the library by what a page calls them.
    """

    names: dict[str, str] = field(default_factory=dict)
    found: list[tuple[ast.expr | ast.alias, str]] = field(default_factory=list)

    def read(self, code: str) -> list[Link]:
        """The links of a cell; none of one that is no Python."""
        # Lines for the notebook, such as %pip, keep their length.
        lines = ["" if re.match(r"\s*[%!]", line) else line for line in code.split("\n")]
        try:
            tree = ast.parse("\n".join(lines))
        except SyntaxError:
            return []
        self.found = []
        self.visit(tree)
        starts = [0]
        for line in code.split("\n"):
            starts.append(starts[-1] + len(line) + 1)

        def offset(row: int, column: int) -> int:
            # ast counts columns in bytes of UTF-8.
            return starts[row - 1] + len(lines[row - 1].encode()[:column].decode())

        links = [
            Link(offset(n.lineno, n.col_offset), offset(n.end_lineno, n.end_col_offset), name)
            for n, name in self.found
        ]
        return sorted(links, key=lambda link: link.start)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name.split(".")[0] == api_names.PACKAGE:
                self.names[alias.asname or api_names.PACKAGE] = (
                    alias.name if alias.asname else api_names.PACKAGE
                )
            else:
                self.names.pop(alias.asname or alias.name.split(".")[0], None)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            called = alias.asname or alias.name
            if (node.module or "").split(".")[0] == api_names.PACKAGE:
                self.names[called] = f"{node.module}.{alias.name}"
                self.found.append((alias, self.names[called]))
            else:
                self.names.pop(called, None)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = self._meant(node)
        if name is None:
            self.visit(node.value)
        elif isinstance(node.ctx, ast.Load):
            self.found.append((node, name))

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.names.pop(node.id, None)
        elif node.id in self.names:
            self.found.append((node, self.names[node.id]))

    def visit_Assign(self, node: ast.Assign) -> None:
        # What is assigned is read first: flow = flow.project(x) still means the module.
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)

    def visit_For(self, node: ast.For) -> None:
        for part in (node.iter, node.target, *node.body, *node.orelse):
            self.visit(part)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for part in (*node.decorator_list, node.args, *filter(None, [node.returns])):
            self.visit(part)
        self.names.pop(node.name, None)
        self._inside(node.args, node.body)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit(node.args)
        self._inside(node.args, [node.body])

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for part in (*node.decorator_list, *node.bases):
            self.visit(part)
        self.names.pop(node.name, None)
        self._inside(None, node.body)

    def _comprehension(self, node: Any) -> None:
        before = dict(self.names)
        for part in node.generators:
            self.visit(part.iter)
            self.visit(part.target)
            for test in part.ifs:
                self.visit(test)
        for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self.visit(part)
        self.names = before

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def _inside(self, arguments: ast.arguments | None, body: list[ast.AST]) -> None:
        before = dict(self.names)
        if arguments:
            every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
            for each in (*every, *filter(None, [arguments.vararg, arguments.kwarg])):
                self.names.pop(each.arg, None)
        for node in body:
            self.visit(node)
        self.names = before

    def _meant(self, node: ast.expr) -> str | None:
        if isinstance(node, ast.Name):
            return self.names.get(node.id)
        if isinstance(node, ast.Attribute):
            base = self._meant(node.value)
            # What a class or function has of its own is found with it.
            if base is not None and api_names.kind(_value(base)) == "module":
                return f"{base}.{node.attr}"
        return None


def _value(name: str) -> Any:
    try:
        return api_names.attribute(name)
    except (ImportError, AttributeError):
        return None


def linked(markup: str, links: list[tuple[int, int, str, str]]) -> str:
    """Highlighted code with links around stretches of it.

    markup: HTML of the code alone, in which only spans without one in another are marked up.
    links: start, end, address, title; by their start, none over another.
    """
    opens = {start: (address, title) for start, _, address, title in links}
    ends = {end for _, end, _, _ in links}
    found, at, inside = [], 0, False
    for piece in PIECE.findall(markup):
        closing = piece.startswith("</")
        if inside and at in ends and not closing:
            found.append("</a>")
            inside = False
        if not inside and at in opens and not closing:
            address, title = opens.pop(at)
            found.append(f'<a class="api" href="{html.escape(address)}" title="{title}">')
            inside = True
        found.append(piece)
        at += not piece.startswith("<")
    return "".join(found) + ("</a>" if inside else "")


def find(app, doctree, docname):
    """Notes on each block of code of a page which of it leads where."""
    if app.builder.format != "html":
        return
    objects, reader = app.env.get_domain("py").objects, Reader()
    for block in doctree.findall(nodes.literal_block):
        if block.get("language") not in LANGUAGES:
            continue
        links = []
        for link in reader.read(block.astext()):
            name = api_names.address(link.name)
            if name is not None and name in objects:
                place = objects[name]
                address = app.builder.get_relative_uri(docname, place.docname)
                links.append((link.start, link.end, f"{address}#{place.node_id}", name))
        block["api_links"] = links


def wrap(app):
    """Lets the builder's highlighter write the links of the block that it is called for."""
    if app.builder.format != "html":
        return
    highlight = app.builder.highlighter.highlight_block

    def highlight_block(source, lang, *args, location=None, **options):
        markup = highlight(source, lang, *args, location=location, **options)
        links = location.get("api_links") if isinstance(location, nodes.Element) else None
        if not links:
            return markup
        start = markup.index("<pre>") + len("<pre>")
        start += len(re.match(r"(<span></span>)?", markup[start:])[0])
        end = markup.rindex("</pre>")
        return markup[:start] + linked(markup[start:end], links) + markup[end:]

    app.builder.highlighter.highlight_block = highlight_block


def setup(app):
    app.connect("builder-inited", wrap)
    app.connect("doctree-resolved", find)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
