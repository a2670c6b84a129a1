"""The prose of the chapters as a notebook shows it, with the numbers of the book.

Numbers, titles and addresses are known only after Sphinx has read every page. When the book is
built it has; elsewhere `of_all` has it read all pages, without executing a chapter: half a minute.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import notebooks
from docutils import nodes
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from myst_nb.core.read import myst_nb_reader_plugin
from notebook_markdown import CodeCell, Writer
from sphinx.builders import Builder

NAME = "notebook-prose"
# Below a chapter's title.
ONLINE = "*A chapter of the book tokensphere, [which is online]({url}).*"
Prose = list[str | CodeCell]


def of_page(env, page: str, document: nodes.document) -> Prose:
    """Markdown and the places of code cells of one chapter, after Sphinx has read all pages.

    document: the page with its references resolved.
    """
    writer = Writer(env, page, notebooks.site_url())
    pieces = list(writer.cells(document))
    for place, piece in enumerate(pieces):
        if isinstance(piece, str) and piece.startswith("# "):
            title, _, rest = piece.partition("\n\n")
            pieces[place] = f"{title}\n\n{ONLINE.format(url=writer.url)}\n\n{rest}".rstrip()
            break
    return pieces


def of_all() -> dict[str, Prose]:
    """The prose of every chapter. Raises RuntimeError where Sphinx cannot read the book.

    In a process of its own: sphinx-external-toc looks at every object that there is, and some that
    other libraries make cannot bear to be looked at.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / NAME
        read = subprocess.run([sys.executable, __file__, out], capture_output=True, text=True)
        if read.returncode:
            said = read.stderr.strip() or read.stdout.strip()
            raise RuntimeError(f"Sphinx does not read the book; `make book` says why\n{said}")
        return {page: _load(out / f"{page}.json") for page in notebooks.chapters()}


def build(out: Path) -> int:
    """Has Sphinx read the book and write its prose to a folder; the exit code, 0 if it could."""
    from jupyter_book.sphinx import build_sphinx

    status = build_sphinx(
        notebooks.BOOK,
        out,
        noconfig=True,
        path_config=notebooks.ROOT / "_config.yml",
        confoverrides={
            "external_toc_path": str(notebooks.ROOT / "_toc.yml"),
            "latex_individualpages": False,
        },
        builder=NAME,
        really_quiet=True,
    )
    return int(bool(status))


class ProseBuilder(Builder):
    """Writes the prose of each chapter as JSON, which `of_all` reads."""

    name = NAME
    epilog = ""
    allow_parallel = True

    def get_outdated_docs(self):
        return self.env.found_docs

    def get_target_uri(self, docname, typ=None):
        return f"{docname}.html"

    def prepare_writing(self, docnames):
        self.chapters = set(notebooks.chapters())

    def write_doc(self, docname, doctree):
        if docname in self.chapters:
            prose = of_page(self.env, docname, doctree)
            pieces = [piece if isinstance(piece, str) else vars(piece) for piece in prose]
            path = Path(self.outdir) / f"{docname}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(pieces), encoding="utf-8")


def _load(path: Path) -> Prose:
    pieces = json.loads(path.read_text("utf-8"))
    return [piece if isinstance(piece, str) else CodeCell(**piece) for piece in pieces]


def execute_nothing(app, env, docnames):
    """Fills the cache of executed chapters, for this builder, with outputs that only count.

    A figure is numbered if its cell has an output.
    """
    if app.builder.name != NAME:
        return
    cache = get_cache(app.config.nb_execution_cache_path)
    for page in notebooks.chapters():
        path = str(notebooks.source(page))
        notebook = myst_nb_reader_plugin(path)
        for cell in notebook.cells:
            if "figure" in cell.metadata.get("mystnb", {}):
                cell.outputs = [nbformat.v4.new_output("display_data", {"text/plain": ""})]
        bundle = CacheBundleIn(notebook, path, data={"execution_seconds": 0.0})
        cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def setup(app):
    app.add_builder(ProseBuilder)
    # Before those are executed that the cache does not have.
    app.connect("env-before-read-docs", execute_nothing, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1])))
