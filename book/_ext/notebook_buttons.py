"""Every notebook chapter: a download as `.ipynb`, and Binder and Colab buttons that open it.

The theme's buttons open the chapter's source on the default branch. Colab cannot open Markdown, and
what is opened must be the version that is read. So Binder opens the executed notebook that the
repository keeps of each chapter, `tests/baselines/<chapter>.ipynb`, at the book's commit, with the
environment of `binder/`. Colab opens the download, from the branch `notebooks`: its set-up cell
names that commit, which a committed file cannot. The download is the same notebook, with the prose
of the page.
"""

from pathlib import Path

import notebook_prose
import notebooks


def launched(url: str, page: str, book: str) -> str:
    """A launch URL of the chapter's source, turned to the executed notebook of this version."""
    branch, source = notebooks.repository()["branch"], f"{book}/{page}.md"
    kept = notebooks.baseline(page).relative_to(notebooks.ROOT).as_posix()
    for old, new in {
        f"/{branch}?urlpath=lab/tree/{source}": f"/{notebooks.ref()}?urlpath=lab/tree/{kept}",
        f"/blob/{branch}/{source}": (
            f"/blob/{notebooks.LAUNCHED}/{notebooks.folder()}/{page}.ipynb"
        ),
    }.items():
        if url.endswith(old):
            return url.removesuffix(old) + new
    raise ValueError(f"launch button of {page}: neither Binder's nor Colab's of {source}: {url}")


def retarget(app, pagename, templatename, context, doctree):
    """Turns the launch buttons of one page."""
    book = app.config.html_theme_options["path_to_docs"]
    for group in context["header_buttons"]:
        if group.get("label") == "launch-buttons":
            for button in group["buttons"]:
                button["url"] = launched(button["url"], pagename, book)


def write_downloads(app, exception):
    """Writes what the download buttons link to.

    After every build, since a renewed baseline leaves the pages as they are.
    """
    if exception is None and app.builder.format == "html":
        for page in notebooks.chapters():
            path = Path(app.outdir) / "_sources" / f"{page}.ipynb"
            path.parent.mkdir(parents=True, exist_ok=True)
            document = app.env.get_and_resolve_doctree(page, app.builder)
            prose = notebook_prose.of_page(app.env, page, document)
            path.write_text(notebooks.to_download(page, prose), encoding="utf-8")


def setup(app):
    app.setup_extension("notebook_prose")
    # The theme makes its buttons at 501.
    app.connect("html-page-context", retarget, priority=600)
    app.connect("build-finished", write_downloads)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
