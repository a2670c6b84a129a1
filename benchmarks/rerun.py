"""What a cell of a batch costs over papermill alone, and what a second worker brings."""

import contextlib
import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import papermill

from tokensphere.paper import chapters
from tokensphere.paper.kernels import AsyncSocketKernelManager
from tokensphere.paper.rerun import batch, cells
from tokensphere.paper.rerun.kept import kept
from tokensphere.paper.rerun.store import Store

from .measure import Table

SIZES = {"cells": 8}
CHAPTER = """---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {name: python3, display_name: Python 3}
---
# Next to nothing

```{code-cell} ipython3
:tags: [parameters]
seed = 0
```

```{code-cell} ipython3
from tokensphere.paper.rerun.kept import keep

keep("square", seed**2)
```
"""
PROCESS = "import sys, papermill; papermill.execute_notebook(*sys.argv[1:3], progress_bar=False)"


def run(sizes=SIZES):
    """The table: wall seconds of as many cells by each way, those of its start apart."""
    count = sizes["cells"]
    with tempfile.TemporaryDirectory() as path, contextlib.chdir(path):
        folder = Path(path)
        (folder / "book").mkdir()
        (folder / "book" / "_toc.yml").touch()
        (folder / "book" / "nothing.md").write_text(CHAPTER)
        chapter = cells.read("nothing")
        wanted = [cells.make(chapter, {"seed": seed}) for seed in range(1, count + 1)]
        jupytext.write(chapters.read(chapter.source), folder / "nothing.ipynb")

        ways = {
            "papermill, one process": lambda: _papermill(folder, count),
            "papermill, a process a cell": lambda: _processes(folder, count),
            "ours, 1 worker": lambda: _batch(folder / "one", wanted, 1),
            "ours, 2 workers": lambda: _batch(folder / "two", wanted, 2),
            "ours, all done before": lambda: _batch(folder / "two", wanted, 2),
        }
        rows = []
        for name, way in ways.items():
            start = time.perf_counter()
            begun = way()
            wall = time.perf_counter() - start
            each = (wall - begun) / count
            row = {"contender": name, "cells": count, "wall s": wall, "start s": begun}
            rows.append(row | {"s a cell": each})
        bare = rows[0]["s a cell"]
        rows = [row | {"over bare, s a cell": row["s a cell"] - bare} for row in rows]
        _assert_same(folder, Store(folder / "one"), wanted)
    notes = [
        "start: until the first cell is begun, by Dask's workers; not in the seconds a cell.",
        "a cell of ours has a process of its own, which imports papermill; each starts a kernel.",
    ]
    return [Table("Cells that do nothing", rows, notes)]


def _papermill(folder, count):
    for seed in range(1, count + 1):
        papermill.execute_notebook(
            folder / "nothing.ipynb",
            folder / f"bare-{seed}.ipynb",
            parameters={"seed": seed},
            progress_bar=False,
            kernel_manager_class=AsyncSocketKernelManager,
        )
    return 0.0


def _processes(folder, count):
    for seed in range(1, count + 1):
        command = [sys.executable, "-c", PROCESS, "nothing.ipynb", f"process-{seed}.ipynb"]
        subprocess.run(command, check=True, cwd=folder, capture_output=True)
    return 0.0


def _batch(folder, wanted, workers):
    """Run a batch; seconds until its first cell was begun, 0 where none was."""
    start = time.time()
    with contextlib.redirect_stderr(io.StringIO()):
        summary = batch.run(Store(folder), wanted, workers=workers)
    assert summary.passed == len(wanted)
    if summary.before:
        return 0.0
    return min(path.stat().st_mtime for path in (folder / ".locks").glob("*.lock")) - start


def _assert_same(folder, store, wanted):
    for seed, cell in enumerate(wanted, 1):
        ours = store.file("nothing", cell.digest, ".ipynb")
        found = [kept(jupytext.read(path)) for path in (ours, folder / f"bare-{seed}.ipynb")]
        assert found == [{"square": seed**2}] * 2, f"rerun computes something else: {found}"
