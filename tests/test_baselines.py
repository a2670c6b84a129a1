"""Every chapter has an executed notebook that runs the chapter's own code."""

import random
import subprocess
import sys
import time
from pathlib import Path

import baselines
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


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text + text,
        lambda text: "",
        lambda _: "[]",
    ],
)
def test_a_damaged_baseline_is_named(tmp_path, monkeypatch, damage):
    text = nbformat.writes(notebooks.to_notebook(PAGES[0], prose=[]))
    monkeypatch.setattr(notebooks, "BASELINES", tmp_path)
    file = notebooks.baseline(PAGES[0])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    assert notebooks.same_code(PAGES[0], notebooks.read_baseline(PAGES[0]))
    file.write_text(damage(text))
    for read in (notebooks.read_baseline, lambda page: notebooks.to_download(page, [])):
        with pytest.raises(ValueError, match=f"{file}: no whole notebook: python tests/baselines"):
            read(PAGES[0])
    assert baselines.renew_prose(PAGES[0], []) == "damaged"
    file.unlink()
    assert baselines.renew_prose(PAGES[0], []) == "missing"


@pytest.mark.parametrize("text", ['{"a": 1', "", "[]"])
def test_a_damaged_file_of_seconds_is_named(tmp_path, monkeypatch, text):
    monkeypatch.setattr(notebooks, "BASELINES", tmp_path)
    (tmp_path / "seconds.json").write_text(text)
    with pytest.raises(ValueError, match=r"seconds\.json: "):
        notebooks.longest_first(PAGES)


KILLED = """
import sys
from pathlib import Path
import nbformat
import baselines, notebooks

notebooks.BASELINES, page = Path(sys.argv[1]), sys.argv[2]
print("begun", flush=True)
for n in range(10_000):
    cells = [nbformat.v4.new_markdown_cell(str(n)) for _ in range(2000)]
    baselines.execute = lambda *_: nbformat.v4.new_notebook(
        cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    )
    baselines.run(page, [])
"""


@pytest.mark.parametrize("seed", range(2))
def test_a_baseline_killed_while_it_is_written_is_the_last_whole_one(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(notebooks, "BASELINES", tmp_path)
    command = [sys.executable, "-c", KILLED, str(tmp_path), "a"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parent)
    process.stdout.readline()
    time.sleep(random.Random(seed).uniform(0, 0.5))
    process.kill()
    process.communicate()
    if (found := notebooks.read_baseline("a")) is not None:
        assert len(found.cells) == 2000 and len({cell.source for cell in found.cells}) == 1
    monkeypatch.setattr(baselines, "execute", lambda *_: nbformat.v4.new_notebook())
    baselines.run("a", [])
    assert [path.name for path in tmp_path.iterdir()] == ["a.ipynb"]


def test_a_full_disk_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(notebooks, "BASELINES", tmp_path)
    file = notebooks.baseline(PAGES[0])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("former")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(baselines, "execute", lambda page, prose: nbformat.v4.new_notebook())
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SystemExit) as stopped:
        baselines.run(PAGES[0], [])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said == f"baselines: [Errno 28] No space left on device: '{file}'\n"
    assert file.read_text() == "former"
