"""The book's extensions, and what every chapter must hold."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book" / "_ext"))
import fresh_outputs
import notebook_buttons
import notebooks
import offline_assets

PAGES = notebooks.chapters()


@pytest.fixture
def tree(tmp_path):
    for name in ("src/tokensphere/s6.py", "results/counts.json", "book/_ext/a.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")
    (tmp_path / "requirements.txt").write_text("numpy\n")
    return tmp_path


@pytest.mark.parametrize(
    "name", ["src/tokensphere/s6.py", "results/counts.json", "book/_ext/a.py", "requirements.txt"]
)
def test_digest_sees_a_change(tree, name):
    before = fresh_outputs.digest(tree)
    assert fresh_outputs.digest(tree) == before
    (tree / name).write_text("x = 2\n")
    assert fresh_outputs.digest(tree) != before


def test_digest_sees_names(tree):
    before = fresh_outputs.digest(tree)
    (tree / "src/tokensphere/s6.py").rename(tree / "src/tokensphere/s7.py")
    assert fresh_outputs.digest(tree) != before


def test_digest_ignores_byte_code_and_other_files(tree):
    before = fresh_outputs.digest(tree)
    (tree / "src/tokensphere/__pycache__").mkdir()
    (tree / "src/tokensphere/__pycache__/s6.pyc").write_bytes(b"1")
    (tree / "README.md").write_text("# tokensphere\n")
    assert fresh_outputs.digest(tree) == before


def test_launch_buttons_open_the_baseline():
    binder = "https://mybinder.org/v2/gh/o/r/main?urlpath=lab/tree/"
    colab = "https://colab.research.google.com/github/o/r/blob/main/"
    for service in (binder, colab):
        url = notebook_buttons.at_baseline(f"{service}book/setting/flow.md", "setting/flow", "book")
        assert url == f"{service}tests/baselines/setting/flow.ipynb"
    with pytest.raises(ValueError, match="setting/flow"):
        notebook_buttons.at_baseline(f"{binder}book/intro.md", "setting/flow", "book")


def test_vendored_scripts_are_installed():
    assert offline_assets.PLOTLY.is_file()
    assert all((offline_assets.mathjax_folder() / name).exists() for name in offline_assets.MATHJAX)


def test_every_page_of_the_contents_exists():
    missing = [page for page in notebooks.pages() if not notebooks.source(page).is_file()]
    assert not missing, f"in _toc.yml but not in book/: {missing}"


@pytest.mark.parametrize("page", PAGES)
def test_header(page):
    metadata = notebooks.read(page).metadata
    assert metadata["kernelspec"]["name"] == "python3"
    assert metadata["jupytext"]["text_representation"]["format_name"] == "myst"


@pytest.mark.parametrize("page", PAGES)
def test_has_one_parameters_cell(page):
    tagged = [tags for _, tags in notebooks.code(notebooks.read(page)) if "parameters" in tags]
    assert len(tagged) == 1, f"{page}: {len(tagged)} cells tagged parameters"


@pytest.mark.parametrize("page", PAGES)
def test_figures_have_caption_name_and_alt_text(page):
    for cell in notebooks.read(page).cells:
        shown = cell.metadata.get("mystnb", {})
        if "figure" in shown:
            given = {**shown["figure"], **shown.get("image", {})}
            missing = [key for key in ("caption", "name", "alt") if not given.get(key)]
            assert not missing, f"{page}: a figure without {missing}: {cell.source[:60]!r}"
