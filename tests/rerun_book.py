"""A small book for the tests of batches: chapters that count how often they run."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADER = """---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {name: python3, display_name: Python 3}
---
# A chapter

"""
CELL = "```{code-cell} ipython3\n"
COUNT = """
import os, signal, time
from pathlib import Path
with open("../runs.txt", "a") as stream:
    stream.write(f"{label} {os.getpid()}\\n")
one = os.getppid()
worker = int(Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[1])
"""


def write(folder: Path, name: str, code: str, parameters: str = "seed = 0") -> Path:
    """A chapter of a book in `folder`: it notes its name, its kernel, and then runs the code."""
    book = folder / "book"
    book.mkdir(exist_ok=True)
    (book / "_toc.yml").touch()
    file = book / f"{name}.md"
    file.parent.mkdir(parents=True, exist_ok=True)
    label = f"label = f'{name}-{{seed}}'" + COUNT
    file.write_text(
        f"{HEADER}{CELL}:tags: [parameters]\n{parameters}\n```\n\n{CELL}{label}```\n\n"
        f"{CELL}{code}\n```\n",
        "utf-8",
    )
    return file


def runs(folder: Path) -> list[str]:
    """What ran so far, in order: `<chapter>-<seed>`."""
    return [line.split()[0] for line in _lines(folder)]


def kernels(folder: Path) -> list[int]:
    """Process ids of the kernels that ran so far."""
    return [int(line.split()[1]) for line in _lines(folder)]


def _lines(folder: Path) -> list[str]:
    file = folder / "runs.txt"
    return file.read_text().splitlines() if file.exists() else []


def command(folder: Path, *arguments: object, **options: object) -> subprocess.Popen:
    """Start `tokensphere rerun` in a folder, in a session of its own as a terminal's job."""
    return subprocess.Popen(
        [sys.executable, "-m", "tokensphere.cli", "rerun", *map(str, arguments)],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's job in the background ignores Ctrl-C, and so would what the tests start there.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )


def environment() -> dict[str, str]:
    """Of a process that imports this checkout."""
    paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def entries(folder: Path) -> dict[str, dict]:
    """`<chapter>-<seed>` -> its entry in the index of a folder of cells."""
    found = json.loads((folder / "index.json").read_text("utf-8"))["cells"]
    return {f"{entry['chapter']}-{entry['values']['seed']}": entry for entry in found}


def leftovers(folder: Path) -> list[str]:
    """Drafts, which nobody should leave behind."""
    return [path.name for path in folder.rglob(".*") if path.is_file()]
