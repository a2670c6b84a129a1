"""Lints and formats the code of the book's chapters as the library's, at 88 columns.

python tests/chapter_code.py                       # what `make test` checks
python tests/chapter_code.py --fix setting/flow    # formats one chapter, or all, in place
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import jupytext

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import notebooks  # noqa: E402

COLUMNS = 88
"""What a code box of the book shows without being scrolled sideways."""

IGNORED = [
    "B018",  # a cell ends with the value that it shows
    "E402",  # later cells import too
    "E731",  # a formula with a name reads as one line
    "F704",  # cells may await
]


def ruff(command: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    config = ["--config", str(ROOT / "pyproject.toml"), "--config", f"line-length = {COLUMNS}"]
    ruff = Path(sys.executable).with_name("ruff")
    return subprocess.run(
        [str(ruff), command, *config, "--no-cache", *options, "."],
        cwd=folder,
        capture_output=True,
        text=True,
    )


def check(pages: list[str], fix: bool = False) -> list[str]:
    """The complaints about the code of these chapters; with `fix`, after what ruff can mend."""
    rules = ["--extend-ignore", ",".join(IGNORED), "--output-format", "concise", "--quiet"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if fix:
            for page in pages:
                _place(folder, page, jupytext.writes(notebooks.read(page), "py:percent"))
            ruff("check", folder, *rules, "--fix")
            ruff("format", folder)
            for page in pages:
                _write(page, (folder / f"{page}.py").read_text("utf-8"))
        for page in pages:
            _place(folder, page, lines_of_code(notebooks.source(page).read_text("utf-8")))
        linted = ruff("check", folder, *rules)
        found = [
            line.replace(".py:", ".md:", 1) for line in (linted.stdout + linted.stderr).splitlines()
        ]
        for page in pages:
            bare = notebooks.read(page)
            bare.cells = [cell for cell in bare.cells if cell.cell_type == "code"]
            _place(folder, page, jupytext.writes(bare, "py:percent"))
        # By what it does: what `ruff format --check` says differs between its versions.
        texts = {page: (folder / f"{page}.py").read_text("utf-8") for page in pages}
        ruff("format", folder)
        for page, text in texts.items():
            if (folder / f"{page}.py").read_text("utf-8") != text:
                found.append(f"{page}.md: not formatted: python tests/chapter_code.py --fix {page}")
        return found


def lines_of_code(chapter: str) -> str:
    """The text of a chapter with all but its code emptied: lines keep their numbers."""
    kept, inside, header = [], False, ""
    for line in chapter.splitlines():
        if not inside:
            inside, header = line.startswith("```{code-cell}"), "first"
            kept.append("")
        elif line.startswith("```"):
            inside = False
            kept.append("")
        elif header:
            # Either :key: value lines, or YAML between two lines of dashes.
            if header == "yaml":
                header = "" if line == "---" else "yaml"
            elif header == "first" and line == "---":
                header = "yaml"
            elif not line.startswith(":"):
                header = ""
                kept.append(line)
                continue
            else:
                header = "options"
            kept.append("")
        else:
            kept.append(line)
    return "\n".join(kept) + "\n"


def _place(folder: Path, page: str, code: str) -> None:
    path = folder / f"{page}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code, "utf-8")


def _write(page: str, code: str) -> None:
    """Put formatted code back into a chapter; its prose and the cells' metadata stay."""
    source = notebooks.source(page)
    text = jupytext.writes(jupytext.reads(code, "py:percent"), "md:myst")
    text = re.sub(r"^ +jupytext_version:.*\n", "", text, flags=re.MULTILINE)
    if source.read_text("utf-8") != text:
        source.write_text(text, "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help="default: all")
    parser.add_argument("--fix", action="store_true", help="mend what can be mended, in place")
    arguments = parser.parse_args()
    known = notebooks.chapters()
    if unknown := [page for page in arguments.chapters if page not in known]:
        parser.error(f"no chapter {unknown[0]!r}; there are {', '.join(known)}")
    complaints = check(arguments.chapters or known, arguments.fix)
    print("\n".join(complaints) or "All chapters' code passes.")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
