"""Executes chapters at their default parameters and stores them for nbval, Binder and Colab.

python tests/baselines.py            # every notebook chapter of _toc.yml
python tests/baselines.py setting/flow
"""

import base64
import json
import math
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tokensphere.paper.kernels import AsyncSocketKernelManager

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book" / "_ext"))
import notebooks


def execute(page: str) -> nbformat.NotebookNode:
    """A chapter with its outputs. The same outputs give the same bytes."""
    notebook = notebooks.to_notebook(page)
    with tempfile.TemporaryDirectory() as folder:  # a chapter must not depend on where it runs
        client = NotebookClient(
            notebook,
            timeout=600,
            kernel_name=notebook.metadata["kernelspec"]["name"],
            resources={"metadata": {"path": folder}},
            record_timing=False,
            coalesce_streams=True,
            kernel_manager_class=AsyncSocketKernelManager,
        )
        client.execute()
    notebook.metadata["language_info"] = {"name": "python"}  # without Python's own version
    return notebook


# The figure that README shows: its page, its name, and where its picture is kept.
PICTURE = ("setting/simulations", "fig-panels", notebooks.BOOK / "images" / "panels.png")


def renew(page: str) -> None:
    """Writes the baseline of one chapter, and README's picture if it is in there."""
    notebook = execute(page)
    write_whole(notebooks.baseline(page), (nbformat.writes(notebook) + "\n").encode())
    if page == PICTURE[0]:
        for cell in notebook.cells:
            if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == PICTURE[1]:
                write_whole(PICTURE[2], base64.b64decode(cell.outputs[0].data["image/png"]))


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("wb", dir=path.parent, delete=False) as file:
        file.write(content)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def keep_seconds(page: str, taken: float) -> None:
    """Notes how long a chapter takes: the book and the tests begin with the longest.

    Only what changed by half: their order matters, not the second.
    """
    path = notebooks.BASELINES / "seconds.json"
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
    if not 2 / 3 < taken / kept.get(page, math.inf) < 3 / 2:
        kept[page] = round(taken)
        write_whole(path, (json.dumps(kept, indent=1, sort_keys=True) + "\n").encode())


def main(names: list[str]) -> int:
    known = notebooks.chapters()
    for name in names:
        if name not in known:
            print(f"no notebook chapter {name!r} in _toc.yml; there are: {', '.join(known)}")
            return 2
    failed = 0
    for page in names or known:
        start = time.perf_counter()
        process = multiprocessing.get_context("spawn").Process(target=renew, args=(page,))
        process.start()
        process.join()
        failed += bool(process.exitcode)
        outcome = "failed" if process.exitcode else "written"
        taken = time.perf_counter() - start
        if not process.exitcode:
            keep_seconds(page, taken)
        print(f"{outcome} {page} ({taken:.1f} s)", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
