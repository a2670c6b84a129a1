"""Every chapter has an executed notebook that runs the chapter's own code."""

import sys
from pathlib import Path

import nbformat
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book" / "_ext"))
import notebooks

RENEW = "run `make baselines`"
PAGES = notebooks.chapters()


def read(page):
    path = notebooks.baseline(page)
    assert path.exists(), f"{page} has no baseline: {RENEW}"
    return nbformat.read(path, as_version=4)


def test_no_baseline_without_a_chapter():
    kept = {
        path.relative_to(notebooks.BASELINES).with_suffix("").as_posix()
        for path in notebooks.BASELINES.rglob("*.ipynb")
    }
    assert kept <= set(PAGES), f"of no chapter in _toc.yml, remove: {sorted(kept - set(PAGES))}"


@pytest.mark.parametrize("page", PAGES)
def test_code_is_the_chapters(page):
    assert notebooks.same_code(page, read(page)), f"{page} has changed: {RENEW}"


@pytest.mark.parametrize("page", PAGES)
def test_setup_cell_is_first_and_silent(page):
    first = read(page).cells[0]
    assert first.metadata["tags"] == ["setup"] and not first.outputs, RENEW
    assert first.source == notebooks.setup_cell().source, RENEW


@pytest.mark.parametrize("page", PAGES)
def test_every_cell_ran_without_error(page):
    # Without stored outputs nbval passes and compares nothing.
    for number, cell in enumerate(read(page).cells):
        if cell.cell_type == "code" and cell.source.strip():
            assert cell.execution_count, f"{page}, cell {number} was not executed: {RENEW}"
            errors = [output for output in cell.outputs if output.output_type == "error"]
            assert not errors, f"{page}, cell {number} failed: {RENEW}"


@pytest.mark.parametrize("page", PAGES)
def test_a_named_figure_is_the_only_output_of_its_cell(page):
    # A second one, such as what a last line returns, would take the figure's name too.
    for number, cell in enumerate(read(page).cells):
        if "name" in cell.metadata.get("mystnb", {}).get("figure", {}):
            assert len(cell.outputs) == 1, f"{page}, cell {number}"


def test_a_changed_cell_is_noticed():
    page = PAGES[0]
    notebook = notebooks.to_notebook(page, prose=[])
    assert notebooks.same_code(page, notebook)
    notebook.cells[-1] = nbformat.v4.new_code_cell("1 + 1")
    assert not notebooks.same_code(page, notebook)
