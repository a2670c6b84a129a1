"""The lint of chapters' code: what counts as code, what is found, and what is mended in place."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import chapter_code

HEADER = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
    format_version: 0.13
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---
"""


def chapter(*cells):
    """A chapter with a sentence before each cell of code."""
    parts = [f"Text *here*.\n\n```{{code-cell}} ipython3\n{cell}\n```\n" for cell in cells]
    return HEADER + "\n# Title\n\n" + "\n".join(parts)


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.setattr(chapter_code.notebooks, "BOOK", tmp_path)

    def write(text):
        (tmp_path / "page.md").write_text(text, "utf-8")
        return "page"

    return write


def test_only_code_is_kept_and_on_its_line():
    text = (
        "# x = 1\n```python\nno = code\n```\n"
        "```{code-cell} ipython3\n:tags: [hide-input]\n\na = 1\n```\n"
        "```{code-cell} ipython3\n---\ntags: [parameters]\nmystnb:\n  image: {}\n---\nb = 2\n```\n"
        "```{code-cell} ipython3\nc = [\n:]\n```\nd = 4\n"
    )
    lines = chapter_code.lines_of_code(text).splitlines()
    found = {number: line for number, line in enumerate(lines, 1) if line}
    wanted = {8: "a = 1", 16: "b = 2", 19: "c = [", 20: ":]"}
    assert found == wanted
    assert all(text.splitlines()[number - 1] == line for number, line in wanted.items())


def test_code_that_passes_has_no_complaints(page):
    # A cell may end with the value that it shows, and a later one import.
    assert chapter_code.check([page(chapter("x = 1\nx", "import math\n\nmath.pi"))]) == []


def test_complaints_name_the_chapter_s_line(page):
    text = chapter("x = 1", "y = " + " + ".join(["x"] * 22) + "\nz = unknown")
    found = chapter_code.check([page(text)])
    long, undefined = (text.splitlines().index(line) + 1 for line in text.splitlines()[-3:-1])
    assert len("y = " + " + ".join(["x"] * 22)) in range(chapter_code.COLUMNS + 1, 100)
    assert any(f"page.md:{long}:" in line and "E501" in line for line in found)
    assert any(f"page.md:{undefined}:" in line and "F821" in line for line in found)


def test_code_that_is_not_formatted_is_mended_and_the_rest_stays(page, tmp_path):
    text = chapter("x = {'a':1}", ":tags: [hide-input]\n\nprint( x )")
    assert chapter_code.check([page(text)]) == [
        "page.md: not formatted: python tests/chapter_code.py --fix page"
    ]
    assert (tmp_path / "page.md").read_text("utf-8") == text
    assert chapter_code.check(["page"], fix=True) == []
    mended = text.replace("{'a':1}", '{"a": 1}').replace("print( x )", "print(x)")
    assert (tmp_path / "page.md").read_text("utf-8") == mended


def test_an_unknown_chapter_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["chapter_code.py", "setting/flows"])
    with pytest.raises(SystemExit, match="2"):
        chapter_code.main()
    assert "no chapter 'setting/flows'" in capsys.readouterr().err
