"""The book's chapters as notebooks: which there are, what runs in them, what is downloaded.

Shared by the Sphinx extensions beside it, by `tests/baselines.py` and by the tests.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import jupytext
import nbformat
import yaml

if TYPE_CHECKING:
    from notebook_prose import Prose

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
QUICKSTART = "quickstart"
"""A notebook that claims nothing: it has no box `In short`, no verdicts and no exercises."""

BASELINES = ROOT / "tests" / "baselines"

# The first cell of every notebook that leaves the book. Does nothing where the package is there.
# A checkout and not a wheel: chapters read the records in it. One commit of it, which clone cannot.
SETUP = """\
# Fetches and installs the package where it is missing, as on Colab: the version of this notebook.
import importlib.util
import sys

version = "{ref}"
if importlib.util.find_spec("tokensphere") is None:
    !git init -q tokensphere-checkout
    !git -C tokensphere-checkout fetch -q --depth 1 {url} {{version}}
    !git -C tokensphere-checkout checkout -q FETCH_HEAD
    %pip install -q -e "tokensphere-checkout[book]"
    sys.path.insert(0, "tokensphere-checkout/src")  # this kernel started before the install
"""

# The branch with the executed notebooks of each version, which Colab's buttons open.
LAUNCHED = "notebooks"


@functools.cache
def config() -> dict:
    """What `_config.yml` says. Read once: every link to a check asks for the repository."""
    return yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))


def repository() -> dict[str, str]:
    """The book's repository: `url`, `branch`, and `path_to_book` in it."""
    return config()["repository"]


def repository_url() -> str:
    """The repository that the launch buttons and the setup cell point at."""
    return repository()["url"]


@functools.cache
def ref() -> str:
    """The version that the book is built from, which notebooks fetch and links to sources name.

    A tag or a commit: BOOK_REF in the environment, else the commit of this checkout; without a
    history the default branch.
    """
    if given := os.environ.get("BOOK_REF"):
        return given
    head = ["git", "-C", str(ROOT), "rev-parse", "--verify", "-q", "HEAD"]
    try:
        return subprocess.run(head, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return repository()["branch"]


def folder() -> str:
    """The folder of this version on the branch of notebooks: a release's tag, else the branch."""
    return ref() if re.match(r"v\d", ref()) else repository()["branch"]


def setup_cell(version: str | None = None) -> nbformat.NotebookNode:
    """The cell that fetches a version, a tag, commit or branch, of the package.

    By default the branch: a notebook that is committed cannot name its own commit. What readers
    download or launch has the version that they read, from `to_download`.
    """
    source = SETUP.format(url=repository_url(), ref=version or repository()["branch"]).rstrip()
    return nbformat.v4.new_code_cell(source, metadata={"tags": ["setup"]})


def site_url() -> str:
    """The online book's address, with a slash at its end: GitHub's for the repository's pages.

    `html.baseurl` of _config.yml says otherwise.
    """
    owner, name = repository_url().rstrip("/").split("/")[-2:]
    address = config()["html"].get("baseurl") or f"https://{owner}.github.io/{name}"
    return address.rstrip("/") + "/"


def pages() -> list[str]:
    """Every page of `_toc.yml` in reading order, as a path below `book/` without its suffix."""

    def walk(node):
        if isinstance(node, dict):
            for key, value in node.items():
                if key in ("root", "file"):
                    yield value.removesuffix(".md")
                else:
                    yield from walk(value)
        elif isinstance(node, list):
            for value in node:
                yield from walk(value)

    return list(walk(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))))


def source(page: str) -> Path:
    """The MyST file of a page."""
    return BOOK / f"{page}.md"


def read(page: str) -> nbformat.NotebookNode:
    """A page as jupytext reads it."""
    return jupytext.read(source(page))


def is_notebook(page: str) -> bool:
    """Whether a page is a notebook: a MyST file whose header names a kernel."""
    path = source(page)
    return path.exists() and "kernelspec" in read(page).metadata


def chapters() -> list[str]:
    """The pages of `_toc.yml` that are notebooks."""
    return [page for page in pages() if is_notebook(page)]


def longest_first(pages: Iterable[str]) -> list[str]:
    """Pages by the seconds that their baselines took, so that no long one is left for the end."""
    taken = seconds()
    # One that has no baseline yet may be long.
    return sorted(pages, key=lambda page: (-taken.get(page, math.inf), page))


def seconds() -> dict[str, int]:
    """Page -> how long its baseline took; ValueError for a file that says no such thing."""
    path = BASELINES / "seconds.json"
    try:
        taken = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not whole: {error}") from None
    if not isinstance(taken, dict):
        raise ValueError(f"{path}: holds a {type(taken).__name__}, takes an object")
    return taken


def baseline(page: str) -> Path:
    """Where the executed notebook of a chapter is kept."""
    return BASELINES / f"{page}.ipynb"


def read_baseline(page: str) -> nbformat.NotebookNode | None:
    """The executed notebook of a chapter, None where there is none; ValueError for half of one."""
    path = baseline(page)
    if not path.exists():
        return None
    try:
        notebook = nbformat.read(path, as_version=4)
        notebook.metadata.kernelspec.name, notebook.cells  # noqa: B018
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError(f"{path}: no whole notebook: python tests/baselines.py {page}") from None
    return notebook


def code(notebook: nbformat.NotebookNode) -> list[tuple[str, list[str]]]:
    """Source and tags of each code cell but the setup cell."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    tagged = [(cell.source, list(cell.metadata.get("tags", []))) for cell in cells]
    return [(source, tags) for source, tags in tagged if "setup" not in tags]


def to_notebook(page: str, prose: Prose) -> nbformat.NotebookNode:
    """A chapter as a notebook that also runs away from this repository, not executed.

    prose: of this page, from `notebook_prose`.

    The same chapter gives the same bytes: cells are numbered, and of the metadata only what a
    notebook service reads is kept.
    """
    chapter = read(page)
    metadata = {"kernelspec": chapter.metadata["kernelspec"], "language_info": {"name": "python"}}
    return with_prose(
        page,
        nbformat.from_dict(
            {
                "nbformat": 4,
                "nbformat_minor": 5,
                "metadata": metadata,
                "cells": [setup_cell(), *chapter.cells],
            }
        ),
        prose,
    )


def with_prose(page: str, notebook: nbformat.NotebookNode, prose: Prose) -> nbformat.NotebookNode:
    """A notebook of a chapter with its code cells as they are and this prose between them.

    Raises ValueError where a code cell of the prose is none of the chapter.
    """
    # The chapter's code cells by their number among its cells, then those of the notebook.
    numbers = [n for n, cell in enumerate(read(page).cells) if cell.cell_type == "code"]
    setup, *code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    setup.source = setup_cell().source
    cells, placed = [setup], 0
    for piece in prose:
        if isinstance(piece, str):
            cells.append(nbformat.v4.new_markdown_cell(piece))
            continue
        if piece.index not in numbers:
            raise ValueError(f"{page}: cell {piece.index} is no code cell; it has {numbers}")
        upto = numbers.index(piece.index) + 1
        cells += code[placed:upto]  # more than one where the page shows nothing of a cell
        placed = upto
        if piece.caption:
            cells.append(nbformat.v4.new_markdown_cell(piece.caption))
    cells += code[placed:]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    return nbformat.from_dict({**notebook, "cells": cells})


def same_code(page: str, notebook: nbformat.NotebookNode) -> bool:
    """Whether a notebook runs what the chapter runs, on the same kernel."""
    chapter = read(page)
    kernel = chapter.metadata["kernelspec"]["name"]
    return notebook.metadata["kernelspec"]["name"] == kernel and code(notebook) == code(chapter)


def to_download(page: str, prose: Prose) -> str:
    """What a reader downloads: the executed baseline's code if it is up to date, else bare code.

    Its prose is the page's, which may be newer than the baseline's; its set-up cell fetches the
    version that the book is built from.
    """
    notebook = read_baseline(page)
    if notebook is not None and same_code(page, notebook):
        notebook = with_prose(page, notebook, prose)
    else:
        notebook = to_notebook(page, prose)
    notebook.cells[0].source = setup_cell(ref()).source
    return nbformat.writes(notebook) + "\n"
