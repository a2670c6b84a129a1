"""The worked examples of CONTRIBUTING.md: each diff applies, and what it brings passes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
DIFFS = re.findall(r"^```diff\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
CLAIM, CHAPTER, FAMILY = DIFFS

pytestmark = pytest.mark.skipif(not shutil.which("patch"), reason="no patch")

CHAPTER_RUNS = """
import jupytext

def test_the_new_chapter_runs(capsys):
    cells = jupytext.read("book/other-tokens/heads.md").cells
    exec("\\n".join(cell.source for cell in cells if cell.cell_type == "code"), {})
    assert "longest mean of 1,000: 0." in capsys.readouterr().out
"""


def test_each_applies_and_what_it_brings_passes(tmp_path):
    # In one copy and one process, since most of the time goes into imports.
    for name in ("book", "src", "tests"):
        ignored = shutil.ignore_patterns("_build", "images", "__pycache__", "*.ipynb")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("pyproject.toml", "_toc.yml", "_config.yml"):
        shutil.copy(ROOT / name, tmp_path)
    for diff in DIFFS:
        # Lines around a change may have moved on since; those that it takes away may not.
        patch = ["patch", "-p1", "--quiet", "--no-backup-if-mismatch"]
        subprocess.run(patch, cwd=tmp_path, input=diff, text=True, check=True)
    (tmp_path / "tests" / "test_example.py").write_text(CHAPTER_RUNS)

    files = ["test_ledger", "test_book", "test_sinks_tied", "test_example"]
    chosen = (
        "ex-gram or ex-mean or one_mark_in_its_chapter or belongs_to_a_chapter"
        " or heads or hidden_attention or new_chapter_runs"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen]
        + [f"tests/{name}.py" for name in files],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "src")},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Three of each of the two statements; two of the ledger; three of the chapter's page; one each.
    assert re.search(r"^13 passed", done.stdout, re.MULTILINE), done.stdout


def test_each_adds_what_is_not_there():
    # Applied once and forgotten, an example would no longer show anything.
    for diff, name in ((CLAIM, "ex-gram"), (CHAPTER, "ex-mean"), (FAMILY, "tied_mamba")):
        assert name in diff
        for path in (ROOT / "src").rglob("*.*"):
            if path.suffix in (".py", ".toml"):
                assert name not in path.read_text("utf-8")
