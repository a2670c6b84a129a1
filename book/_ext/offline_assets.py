"""Pages without a network, and light: MathJax and plotly.js from installed packages.

Of MathJax a page loads fonts (static_math.py), of plotly.js nothing until a reader starts a figure
(turnable.py). Icons are a font; the theme's program that draws them once more is left out.
"""

import re
import shutil
from pathlib import Path

import plotly
from static_math import FONTS, find_node, mathjax_folder

PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
# Where no node sets formulas: the program, and what its menu loads for screen readers.
MATHJAX = ("tex-chtml-full.js", "a11y", "sre")
ICON_PROGRAM = re.compile(r'\s*<script src="[^"]*/fontawesome/[^"]*\.js[^"]*"></script>')


def copy_assets(app, exception):
    """Copies what the pages load, beside the theme's own files."""
    if exception is not None or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    for name in (FONTS, *(() if find_node() else MATHJAX)):
        origin, copy = mathjax_folder() / name, static / "mathjax" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, copy, dirs_exist_ok=True)
        else:
            shutil.copy2(origin, copy)
    plots = static / "plotly"
    plots.mkdir(exist_ok=True)
    shutil.copy2(PLOTLY, plots)
    shutil.copy2(Path(__file__).parent / "turnable.js", plots)
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text("utf-8")
        lighter = ICON_PROGRAM.sub("", text)
        if lighter != text:
            page.write_text(lighter, encoding="utf-8")


def setup(app):
    app.config.mathjax_path = "mathjax/tex-chtml-full.js"
    app.setup_extension("static_math")
    app.setup_extension("turnable")
    # After the pages and what they use.
    app.connect("build-finished", copy_assets)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
