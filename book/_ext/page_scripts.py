"""Programs that some pages load, each kept beside the extension that needs it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add(app, script: Path, wanted: Callable[[str], bool], **options: Any) -> None:
    """Has the pages that are `wanted`, by name, load a program, and copies it beside them.

    options: as `app.add_js_file` takes them.
    """

    def load(app, pagename, templatename, context, doctree):
        if wanted(pagename):
            app.add_js_file(script.name, loading_method="defer", **options)

    def copy(app, exception):
        if exception is None and app.builder.format == "html":
            shutil.copy2(script, Path(app.outdir) / "_static")

    app.connect("html-page-context", load)
    app.connect("build-finished", copy)
