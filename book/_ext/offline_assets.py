"""Formulas and 3-D figures without a network: MathJax and plotly.js from installed packages.

MathJax is copied whole but for what no page loads; plotly.js goes on pages that hold a plot only.
"""

import importlib.util
import shutil
from pathlib import Path

import plotly

PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
# The program, its fonts, and what its menu loads for screen readers.
MATHJAX = ("tex-chtml-full.js", "output/chtml/fonts/woff-v2", "a11y", "sre")


def mathjax_folder() -> Path:
    """Where sphinx-mathjax-offline keeps MathJax. Its name holds dashes: it cannot be imported."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    return Path(spec.submodule_search_locations[0]) / "static" / "mathjax"


def copy_assets(app, exception):
    """Copies what the pages load, beside the theme's own files."""
    if exception is not None or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    for name in MATHJAX:
        origin, copy = mathjax_folder() / name, static / "mathjax" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, copy, dirs_exist_ok=True)
        else:
            shutil.copy2(origin, copy)
    plots = static / "plotly"
    plots.mkdir(exist_ok=True)
    shutil.copy2(PLOTLY, plots)
    shutil.copy2(Path(__file__).parent / "plot_theme.js", plots)


def add_plotly(app, pagename, templatename, context, doctree):
    """Loads plotly on pages that hold a plot. It must come before the plot's own script."""
    if "plotly-graph-div" in context.get("body", ""):
        app.add_js_file("plotly/plotly.min.js", priority=100)
        app.add_js_file("plotly/plot_theme.js", loading_method="defer")


def setup(app):
    app.config.mathjax_path = "mathjax/tex-chtml-full.js"
    app.connect("build-finished", copy_assets)
    app.connect("html-page-context", add_plotly)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
