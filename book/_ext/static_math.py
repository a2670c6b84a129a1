"""Formulas are set when the book is built: no page runs MathJax, or waits for it.

MathJax runs in node, once a build, and sets what earlier builds have not: each formula with its
MathML, which screen readers read, and without a place in the order of the tab key. Pages load its
style sheet and fonts alone. A formula that it cannot set is a warning. Where there is no node,
pages set their formulas themselves, as Sphinx has it.
"""

import contextlib
import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

from docutils import nodes
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

from tokensphere.records import write_whole

LOG = logging.getLogger(__name__)
PROGRAM = Path(__file__).with_suffix(".js")
FONTS = "output/chtml/fonts/woff-v2"
SHEET = "mathjax.css"
# MathJax has a rule for each of 2,400 characters, and a class of the same name where it is used.
RULE = re.compile(r"[^{}\n]*mjx-c\.mjx-c([0-9A-F]+)[^{}]*\{[^{}]*\}\s*")
USE = re.compile(r'class="mjx-c([0-9A-F]+)[ "]')


def mathjax_folder() -> Path:
    """Where sphinx-mathjax-offline keeps MathJax. Its name holds dashes: it cannot be imported."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    return Path(spec.submodule_search_locations[0]) / "static" / "mathjax"


def find_node() -> str | None:
    """The program, or None where it is not installed."""
    return shutil.which("node")


class Setter:
    """Sets formulas by MathJax in node, which starts with the first that is not in `memory`.

    Args:
        node: the program. macros: as MathJax takes them. memory: a file for what was set.
    """

    def __init__(self, node: str, macros: dict, memory: Path | None = None):
        self.command = [node, str(PROGRAM), str(mathjax_folder()), json.dumps(macros)]
        # Set formulas depend on the macros, and on MathJax and this program.
        parts = (PROGRAM.read_bytes(), (mathjax_folder() / "core.js").read_bytes())
        self.key = hashlib.sha256(b"".join([*parts, json.dumps(macros).encode()])).hexdigest()
        self.memory, self.process, self.known = memory, None, {}
        if memory and memory.exists():
            # Of one that is damaged nothing is known, and all is set again.
            with contextlib.suppress(ValueError, LookupError, TypeError):
                kept = json.loads(memory.read_text("utf-8"))
                self.known = dict(kept["set"]) if kept["key"] == self.key else {}

    def ask(self, **question) -> dict:
        """The program's answer.

        Raises:
            RuntimeError: it ended instead.
        """
        if self.process is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self.process = subprocess.Popen(self.command, **pipes, text=True, encoding="utf-8")
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        if not (line := self.process.stdout.readline()):
            raise RuntimeError("MathJax ended; its error is above")
        return json.loads(line)

    def html(self, tex: str, display: bool) -> str:
        """A formula as HTML.

        Raises:
            ValueError: MathJax cannot set it; says why.
        """
        name = ("display " if display else "inline ") + tex
        if name not in self.known:
            answer = self.ask(tex=tex, display=display)
            if answer["error"]:
                raise ValueError(f"{answer['error']}: {tex}")
            self.known[name] = answer["html"]
        return self.known[name]

    def style(self) -> str:
        """The style sheet of all characters, for a page two folders above MathJax's fonts."""
        if "style" not in self.known:
            self.known["style"] = self.ask(css=f"mathjax/{FONTS}")["html"]
        return self.known["style"]

    def close(self) -> None:
        """Ends the program and keeps what was set."""
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
            self.process.stdout.close()
            self.process = None
            if self.memory:
                text = json.dumps({"key": self.key, "set": self.known})
                with write_whole(self.memory) as stream:
                    stream.write(text.encode())


def _set(translator, node: nodes.Node, tex: str, display: bool) -> str:
    try:
        return translator.builder.app.set_formulas.html(tex, display)
    except ValueError as problem:
        LOG.warning("formula: %s", problem, location=node)
        return translator.encode(tex)


def visit_inline(translator, node):
    translator.body.append(translator.starttag(node, "span", "", CLASS="math notranslate"))
    translator.body.append(_set(translator, node, node.astext(), display=False) + "</span>")
    raise nodes.SkipNode


def visit_display(translator, node):
    translator.body.append(translator.starttag(node, "div", CLASS="math notranslate"))
    if node["number"]:
        number = get_node_equation_number(translator, node)
        translator.body.append(f'<span class="eqno">({number})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    tex = node.astext() if node["nowrap"] else several_lines(node.astext())
    translator.body.append(_set(translator, node, tex, display=True) + "</div>\n")
    raise nodes.SkipNode


def several_lines(tex: str) -> str:
    """A display as Sphinx reads it: aligned where a line ends, blank lines between equations."""
    parts = [part for part in tex.split("\n\n") if part.strip()]
    split = [rf"\begin{{split}}{part}\end{{split}}" if r"\\" in part else part for part in parts]
    if len(split) < 2:
        return "".join(split)
    return r"\begin{aligned}" + r"\\".join(split) + r"\end{aligned}"


def begin(app):
    """Takes over from MathJax in the page, where there is a node to do so."""
    if app.builder.format != "html":
        return
    memory = Path(app.outdir).parent / ".formulas.json"
    memory.parent.mkdir(parents=True, exist_ok=True)
    macros = (app.config.mathjax3_config or {}).get("tex", {}).get("macros", {})
    app.set_formulas = Setter(find_node(), macros, memory)
    app.add_css_file(SHEET)


def finish(app, exception):
    """Writes the style sheet beside the pages."""
    if app.builder.format != "html":
        return
    if exception is None:
        pages = Path(app.outdir).rglob("*.html")
        sheet = only_used(app.set_formulas.style(), {c for p in pages for c in characters(p)})
        static = Path(app.outdir) / "_static"
        static.mkdir(exist_ok=True)
        (static / SHEET).write_text(sheet, encoding="utf-8")
    app.set_formulas.close()


def setup(app):
    app.add_html_math_renderer("set", (visit_inline, None), (visit_display, None))
    if find_node() is None:
        LOG.info("no node: formulas are set in the browser")
    else:
        app.connect("config-inited", choose)
        app.connect("builder-inited", begin)
        app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": False}


def characters(page: Path) -> set[str]:
    """The characters of a page's formulas, in hexadecimal."""
    return set(USE.findall(page.read_text("utf-8")))


def only_used(sheet: str, used: set[str]) -> str:
    """A style sheet without the rules of characters that no page has."""
    return RULE.sub(lambda rule: rule[0] if rule[1] in used else "", sheet)


def choose(app, config):
    config.html_math_renderer = "set"
