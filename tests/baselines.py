"""Executes chapters at their default parameters and stores them for nbval, Binder and Colab.

python tests/baselines.py            # every notebook chapter of _toc.yml
python tests/baselines.py setting/flow
python tests/baselines.py --prose    # executes nothing, renews the text between the cells
"""

import argparse
import base64
import json
import math
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tokensphere.paper.kernels import START_SECONDS, AsyncSocketKernelManager
from tokensphere.records import write_whole

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book" / "_ext"))
import notebook_prose
import notebooks


def execute(page: str, prose: notebook_prose.Prose) -> nbformat.NotebookNode:
    """A chapter with its outputs. The same outputs give the same bytes."""
    notebook = notebooks.to_notebook(page, prose)
    with tempfile.TemporaryDirectory() as folder:  # a chapter must not depend on where it runs
        client = NotebookClient(
            notebook,
            timeout=600,
            startup_timeout=START_SECONDS,
            kernel_name=notebook.metadata["kernelspec"]["name"],
            resources={"metadata": {"path": folder}},
            record_timing=False,
            coalesce_streams=True,
            kernel_manager_class=AsyncSocketKernelManager,
        )
        client.execute()
    notebook.metadata["language_info"] = {"name": "python"}  # without Python's own version
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            # How long checks took is of this run alone.
            output.get("metadata", {}).pop("text/markdown", None)
    return notebook


# The figure that README shows: its page, its name, and where its picture is kept.
PICTURE = ("setting/simulations", "fig-panels", notebooks.BOOK / "images" / "panels.png")


def renew(page: str, prose: notebook_prose.Prose) -> None:
    """Writes the baseline of one chapter, and README's picture if it is in there."""
    notebook = execute(page, prose)
    _write(notebooks.baseline(page), (nbformat.writes(notebook) + "\n").encode())
    if page == PICTURE[0]:
        for cell in notebook.cells:
            if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == PICTURE[1]:
                _write(PICTURE[2], base64.b64decode(cell.outputs[0].data["image/png"]))


def run(page: str, prose: notebook_prose.Prose) -> None:
    """`renew` in a process of its own, which ends with 2 where a file cannot be written."""
    try:
        renew(page, prose)
    except OSError as error:
        print(f"baselines: {error}", file=sys.stderr)
        sys.exit(2)


def _write(path: Path, content: bytes) -> None:
    with write_whole(path) as stream:
        stream.write(content)


def renew_prose(page: str, prose: notebook_prose.Prose) -> str:
    """Writes the text of one baseline again; what happened, in a word."""
    path = notebooks.baseline(page)
    try:
        notebook = notebooks.read_baseline(page)
    except ValueError:
        return "damaged"
    if notebook is None:
        return "missing"
    if not notebooks.same_code(page, notebook):
        return "outdated"
    text = nbformat.writes(notebooks.with_prose(page, notebook, prose)) + "\n"
    if text == path.read_text("utf-8"):
        return "unchanged"
    _write(path, text.encode())
    return "written"


def keep_seconds(page: str, taken: float) -> None:
    """Notes how long a chapter takes: the book and the tests begin with the longest.

    Only what changed by half: their order matters, not the second.
    """
    path = notebooks.BASELINES / "seconds.json"
    kept = notebooks.seconds() if path.exists() else {}
    if not 2 / 3 < taken / kept.get(page, math.inf) < 3 / 2:
        kept[page] = round(taken)
        _write(path, (json.dumps(kept, indent=1, sort_keys=True) + "\n").encode())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help="default: all")
    parser.add_argument(
        "--prose", action="store_true", help="execute nothing, renew the text between the cells"
    )
    arguments = parser.parse_args()
    known = notebooks.chapters()
    if unknown := [page for page in arguments.chapters if page not in known]:
        parser.error(f"no notebook chapter {unknown[0]!r}; there are: {', '.join(known)}")
    pages = arguments.chapters or known
    prose = notebook_prose.of_all()
    if arguments.prose:
        outcomes = {page: renew_prose(page, prose[page]) for page in pages}
        for page, outcome in outcomes.items():
            print(outcome, page)
        return 1 if {"missing", "outdated", "damaged"} & set(outcomes.values()) else 0
    codes = set()
    for page in pages:
        start = time.perf_counter()
        process = multiprocessing.get_context("spawn").Process(target=run, args=(page, prose[page]))
        process.start()
        process.join()
        codes.add(process.exitcode)
        outcome = "failed" if process.exitcode else "written"
        taken = time.perf_counter() - start
        if not process.exitcode:
            keep_seconds(page, taken)
        print(f"{outcome} {page} ({taken:.1f} s)", flush=True)
    return 2 if 2 in codes else 1 if codes - {0} else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, OSError) as error:  # a file that cannot be read or written, by its name
        print(f"baselines: {error}", file=sys.stderr)
        sys.exit(2)
