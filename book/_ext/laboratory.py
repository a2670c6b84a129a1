"""The laboratory's page: one program of its modules and presets, that needs no server.

Browsers load no modules from files that a reader opens without a server: so they are joined here,
each in a function of its own. The role {lab}`limit-cycle` links to a preset, running.
"""

import json
import re
import shutil
from functools import cache
from pathlib import Path

import notebooks
from docutils import nodes
from ledger_pages import chapter_title
from sphinx.util.docutils import SphinxRole

SOURCES = Path(__file__).resolve().parents[1] / "_laboratory"
PAGE = "laboratory"
IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.js";\n', re.MULTILINE)
BOX = re.compile(r"^`{3,}\{prf:(\w+)\}\s*(.*)$")
EXPORT = re.compile(r"^export (?=(?:function|class|const) (\w+))", re.MULTILINE)


def program(folder: Path = SOURCES) -> str:
    """One program that starts the page: the modules, each after those that it imports."""
    done: dict[str, str] = {}

    def add(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise ValueError(f"modules import one another: {' > '.join([*above, name])}")
        if name not in done:
            text = (folder / f"{name}.js").read_text("utf-8")
            for _, other in IMPORT.findall(text):
                add(other, (*above, name))
            done[name] = _as_function(name, text)

    add("app", ())
    data = json.loads((folder / "presets.json").read_text("utf-8"))
    data["titles"] = titles({place for one in data["presets"] for place in one["places"]})
    text = json.dumps(data, ensure_ascii=False)
    parts = ['"use strict";', "const modules = {};", *done.values(), f"modules.app.start({text});"]
    return "(() => {\n" + "\n".join(parts) + "\n})();\n"


def _as_function(name: str, text: str) -> str:
    """A module as a function that gives what it exports."""
    exported = EXPORT.findall(text)
    body = EXPORT.sub("", IMPORT.sub(r"const {\1} = modules.\2;\n", text))
    if left := re.search(r"^(import|export)\b.*", body, re.MULTILINE):
        raise ValueError(f"{name}.js: no import or export that is known here: {left[0]}")
    return f"modules.{name} = (() => {{\n{body}return {{{', '.join(exported)}}};\n}})();"


def titles(places: set[str]) -> dict[str, str]:
    """What links to these places say: the kind of a box and its title, or that it is a figure."""
    found = {}
    for place in sorted(places):
        page, label = place.split("#")
        lines = notebooks.source(page).read_text("utf-8").splitlines()
        if f"    name: {label}" in lines:
            found[place] = f"a figure of {chapter_title(page)}"
        else:
            kind, title = BOX.match(lines[lines.index(f":label: {label}") - 1]).groups()
            # Without the paper's number, and as plain text: the book's titles have short formulas.
            title = re.sub(r"\s*\(.*\)$", "", title).replace("$", "")
            found[place] = f"the {kind} “{title}”"
    return found


@cache
def presets() -> dict[str, dict]:
    """The presets by name."""
    data = json.loads((SOURCES / "presets.json").read_text("utf-8"))
    return {one["name"]: one for one in data["presets"]}


class Lab(SphinxRole):
    """A link to a preset of the laboratory."""

    def run(self):
        one = presets().get(self.text)
        if one is None:
            message = f"lab: the laboratory has no preset {self.text!r}"
            return [], [self.inliner.reporter.error(message, line=self.lineno)]
        depth = self.env.docname.count("/")
        address = f"{'../' * depth}{PAGE}.html#bench={one['bench']}&preset={one['name']}"
        text = f"In the laboratory, running: {one['title']}"
        return [nodes.reference("", text, refuri=address, internal=True, classes=["lab-link"])], []


def load(app, pagename, templatename, context, doctree):
    if pagename == PAGE:
        app.add_js_file("laboratory.js", loading_method="defer")
        app.add_css_file("laboratory.css")


def write(app, exception):
    if exception is None and app.builder.format == "html":
        static = Path(app.outdir) / "_static"
        (static / "laboratory.js").write_text(program(), "utf-8")
        shutil.copy2(SOURCES / "laboratory.css", static)


def setup(app):
    app.add_role("lab", Lab())
    app.connect("html-page-context", load)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
