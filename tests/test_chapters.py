"""Finding a chapter by name, and running one with parameters of one's own."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tokensphere.paper import chapters

HEADER = """---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {name: python3, display_name: Python 3}
---
# A chapter

"""
TINY = (
    HEADER
    + """```{code-cell} ipython3
:tags: [parameters]
n = 3
tolerance = 0.5
scale = "smoke"
dims = [2, 3]
start: float = 1
anything = n
```

```{code-cell} ipython3
import pathlib
print("seven times", 7 * n, "in", pathlib.Path.cwd().name, repr(start))
```

```{code-cell} ipython3
assert n < 50, f"n is {n}\\nwhich is too large"
```
"""
)


@pytest.fixture
def book(tmp_path, monkeypatch):
    folder = tmp_path / "book"
    pages = ("intro", "setting/tiny", "setting/twin", "other/twin", "_build/tiny", ".x/tiny")
    for page in pages:
        file = folder / f"{page}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(TINY)
    (folder / "intro.md").write_text("# Only words\n")
    (folder / "_toc.yml").touch()
    monkeypatch.chdir(tmp_path)
    return folder


def outputs(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    return "".join(
        "".join(output.get("text", ""))
        for cell in cells
        if cell["cell_type"] == "code"
        for output in cell["outputs"]
    )


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("name", ["setting/tiny", "tiny", "book/setting/tiny.md"])
def test_a_chapter_is_found_by_each_of_its_names(book, name):
    assert chapters.find(name) == book / "setting" / "tiny.md"


def test_the_book_is_found_from_within_it_and_by_name(book, tmp_path, monkeypatch):
    monkeypatch.chdir(book / "setting")
    assert chapters.find("other/twin") == book / "other" / "twin.md"
    monkeypatch.chdir("/")
    assert chapters.find("tiny", book=book) == book / "setting" / "tiny.md"
    # Nothing above the working directory: the book of the package's own checkout.
    own = Path(__file__).resolve().parents[1] / "book"
    assert chapters.find("setting/flow") == own / "setting" / "flow.md"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("setting/tinny", "did you mean setting/tiny"),
        ("tinny", "did you mean setting/tiny"),
        ("zzz", "there are intro, other/twin, setting/tiny, setting/twin"),
        ("twin", "other/twin, setting/twin"),
        ("none.md", "no such chapter file"),
    ],
)
def test_an_unknown_chapter_is_named_with_those_like_it(book, name, said):
    with pytest.raises(chapters.ChapterError) as caught:
        chapters.find(name)
    assert name in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_chapter_runs_with_the_injected_parameter_in_its_own_folder(book, tmp_path):
    output = chapters.run("tiny", {"n": 6, "start": 2}, tmp_path / "out.ipynb")
    assert output == tmp_path / "out.ipynb"
    # An int for a float parameter arrives as the float that the chapter counts on.
    assert outputs(output) == "seven times 42 in setting 2.0\n"
    assert names(tmp_path) == ["book", "out.ipynb"]
    assert names(book / "setting") == ["tiny.md", "twin.md"]
    recorded = json.loads(output.read_text())["metadata"]["papermill"]
    assert (recorded["input_path"], recorded["output_path"]) == ("tiny.md", "out.ipynb")
    assert recorded["parameters"] == {"n": 6, "start": 2.0}


def test_the_draft_of_a_killed_run_goes_with_the_next(book, tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".out.ipynb.{platform.node()}.{dead.pid}.0123abcd.ipynb").touch()
    chapters.run("tiny", {"n": 6}, tmp_path / "out.ipynb")
    assert names(tmp_path) == ["book", "out.ipynb"]


def test_a_failing_chapter_leaves_no_output_but_what_it_did(book, tmp_path):
    with pytest.raises(chapters.ChapterFailed) as caught:
        chapters.run("tiny", {"n": 60}, tmp_path / "out.ipynb")
    assert "tiny" in str(caught.value)
    assert "raised AssertionError: n is 60 (see out.failed.ipynb)" in str(caught.value)
    assert names(tmp_path) == ["book", "out.failed.ipynb"]
    assert "seven times 420" in outputs(tmp_path / "out.failed.ipynb")
    # A run that ends well clears it away.
    chapters.run("tiny", {"n": 6}, tmp_path / "out.ipynb")
    assert names(tmp_path) == ["book", "out.ipynb"]


@pytest.mark.parametrize("how", ["sys.exit()", "sys.exit(0)", "raise SystemExit"])
def test_a_chapter_that_exits_has_not_run(book, tmp_path, how):
    """Papermill ends there and says nothing: the cells behind never ran."""
    cell = "```{code-cell} ipython3\nimport sys\n" + how + "\n```\n"
    (book / "setting" / "leaves.md").write_text(f"{TINY}\n{cell}")
    with pytest.raises(chapters.ChapterFailed, match=r"leaves: cell \[\d+\] raised SystemExit"):
        chapters.run("leaves", {}, tmp_path / "out.ipynb")
    assert names(tmp_path) == ["book", "out.failed.ipynb"]


def test_a_kernel_that_dies_is_said_in_one_line(book, tmp_path):
    (book / "dies.md").write_text(TINY.replace("import pathlib", "import os; os._exit(3)"))
    with pytest.raises(chapters.ChapterFailed, match="dies: the kernel died"):
        chapters.run("dies", {}, tmp_path / "out.ipynb")
    assert names(tmp_path) == ["book", "out.failed.ipynb"]


def test_a_run_cut_short_leaves_nothing(book, tmp_path, monkeypatch):
    import papermill

    def interrupted(notebook, path, **options):
        with open(path, "w") as stream:
            stream.write("half of")
        raise KeyboardInterrupt

    monkeypatch.setattr(papermill, "execute_notebook", interrupted)
    with pytest.raises(KeyboardInterrupt):
        chapters.run("tiny", {}, tmp_path / "out.ipynb")
    assert names(tmp_path) == ["book"]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"m": 1}, "no parameter 'm'; it has n, tolerance, scale, dims, start, anything"),
        ({"n": "six"}, "'n' of chapter 'tiny' takes int, got str 'six'"),
        ({"n": 1.5}, "'n' of chapter 'tiny' takes int, got float 1.5"),
        ({"n": True}, "'n' of chapter 'tiny' takes int, got bool True"),
        ({"n": None}, "'n' of chapter 'tiny' takes int, got NoneType None"),
        ({"tolerance": "small"}, "'tolerance' of chapter 'tiny' takes float"),
        ({"start": "x"}, "'start' of chapter 'tiny' takes float"),
        ({"start": True}, "'start' of chapter 'tiny' takes float, got bool True"),
        ({"scale": 1}, "'scale' of chapter 'tiny' takes str"),
        ({"dims": 2}, "'dims' of chapter 'tiny' takes list"),
    ],
)
def test_a_wrong_parameter_is_named_before_anything_runs(book, tmp_path, parameters, said):
    with pytest.raises(chapters.ChapterError) as caught:
        chapters.run("tiny", parameters, tmp_path / "out.ipynb")
    assert said in str(caught.value)
    assert names(tmp_path) == ["book"]


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("# Only words\n", "holds no code"),
        ("---\nfoo: [\n---\n", "cannot be read as a notebook"),
        (TINY.replace("[parameters]", "[parameters"), "cannot be read as a notebook"),
        (TINY.replace("name: python3", "name: fortran77"), "no Jupyter kernel 'fortran77'"),
    ],
)
def test_a_page_that_cannot_run_is_named(book, tmp_path, page, said):
    (book / "page.md").write_text(page)
    with pytest.raises(chapters.ChapterError) as caught:
        chapters.run("page", {}, tmp_path / "out.ipynb")
    assert said in str(caught.value)
    assert names(tmp_path) == ["book"]


@pytest.mark.parametrize("output", ["none/out.ipynb", "out.md"])
def test_a_bad_output_is_named(book, output):
    with pytest.raises(chapters.ChapterError, match=output.split("/")[0]):
        chapters.run("tiny", {}, output)
