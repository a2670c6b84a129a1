"""The pages about the book itself: what they show, and of what."""

import asyncio
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book" / "_ext"))
import notebooks
import parallel_execution
import project_pages
from project_pages import Run

from tokensphere.paper import figures, ledger

PAGE = "setting/flow"


def rows(text):
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")][2:]


# The state of chapters.


@pytest.fixture
def cache(tmp_path):
    """A cache that holds one executed chapter, as the book's own."""
    from jupyter_cache import get_cache
    from myst_nb.core.read import myst_nb_reader_plugin

    cache = get_cache(tmp_path)
    notebook = myst_nb_reader_plugin(str(notebooks.source(PAGE)))
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    noted = {"text/markdown": {"seconds": {"eq-6": 2.5, "eq-8": 0.25}}}
    shown = {"text/markdown": "**eq-6**"}
    code[-1].outputs = [nbformat.v4.new_output("display_data", shown, metadata=noted)]
    run = {"execution_seconds": 12.4, "peak": 300 * 2**20, "where": "a machine; python 3"}
    parallel_execution._keep(cache, PAGE, nbformat.writes(notebook), None, run)
    return str(tmp_path)


def test_what_was_kept_of_a_run_is_found_again(cache):
    (run,) = project_pages.runs(cache)
    assert run[:4] == (PAGE, 12.4, 300 * 2**20, "a machine; python 3")
    when = datetime.fromisoformat(run.when).replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - when).total_seconds()) < 3600
    assert run.checks == {"eq-6": 2.5, "eq-8": 0.25}


def test_a_chapter_has_its_row_though_nothing_is_known_of_it():
    found = [
        Run("a", 10.0, 2**30, "one machine", "2030-01-01 10:00", {}),
        Run("c", 50.4, None, None, "2030-01-01 11:00", {}),
        Run("d", 40.0, 2**20, "another", "2030-01-01 12:00", {}),
    ]
    text = project_pages.chapter_status(found, ["a", "b", "c", "d"])
    assert rows(text) == [
        ["{doc}`/a`", "10", "1024", "2030-01-01 10:00", "a"],
        ["{doc}`/b`", *["not run"] * 4],
        ["{doc}`/c`", "50", "not measured", "2030-01-01 11:00", "not noted"],
        ["{doc}`/d`", "40", "1", "2030-01-01 12:00", "b"],
    ]
    assert "- a: one machine\n- b: another" in text
    assert "Together 2 min, half of the chapters in less than 40 s" in text
    assert rows(project_pages.chapter_status([], ["a"])) == [["{doc}`/a`", *["not run"] * 4]]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_memory_is_the_kernel_s_own_and_the_largest(monkeypatch):
    async def ended(*_, **__):
        pass

    monkeypatch.setattr(parallel_execution.AsyncSocketKernelManager, "shutdown_kernel", ended)
    held = bytearray(64 * 2**20)
    held[:: 2**12] = b"x" * len(held[:: 2**12])  # each page of it is touched
    del held
    manager = parallel_execution.Measured()
    manager.provisioner = SimpleNamespace(pid=os.getpid())
    asyncio.run(manager.shutdown_kernel())
    assert 64 * 2**20 < parallel_execution.Measured.peak < 2**36
    manager.provisioner = SimpleNamespace(pid=2**22 + 1)  # no such process: it has died
    asyncio.run(manager.shutdown_kernel())
    assert parallel_execution.Measured.peak is None


def test_a_chapter_is_run_with_what_measures(tmp_path):
    source = notebooks.source(PAGE).read_text("utf-8")
    header = source[: source.index("---\n", 4) + 4]
    page = tmp_path / "page.md"
    page.write_text(f"{header}\n# Page\n\n```{{code-cell}} ipython3\nprint(1 + 1)\n```\n")
    text, error, run = parallel_execution.execute(str(page), 60)
    assert error is None and "2\\n" in text
    assert run["execution_seconds"] > 0 and "python 3." in run["where"]
    assert run["peak"] is None or 2**24 < run["peak"] < 2**34  # Python and its kernel


def test_the_page_of_the_state_is_read_in_every_build_after_the_chapters():
    env = SimpleNamespace(found_docs={"intro", "status"})
    assert project_pages.always_anew(None, env, set(), set(), set()) == ["status"]
    assert project_pages.always_anew(None, SimpleNamespace(found_docs=set()), *[set()] * 3) == []
    # Sphinx executes the last missing chapter itself, when it comes to it by its name.
    assert max([*notebooks.chapters(), project_pages.STATUS]) == project_pages.STATUS


# Checks and records.


def test_the_longest_checks_come_first():
    known = list(ledger.ledger())[:20]
    seconds = {id: float(number) for number, id in enumerate(known)} | {"gone": 99.0}
    text = project_pages.check_status(seconds)
    shown = rows(text)
    assert len(shown) == project_pages.LONGEST
    chapter = ledger.ledger()[known[-1]].chapter
    last = known[-1]
    assert shown[0] == [f"`{last}`", f"{{verdict}}`{last}`", f"{{doc}}`/{chapter}`", "19.0"]
    assert f"checks of 20 of {len(ledger.ledger())} statements took 3 min" in text
    assert "None was timed" in project_pages.check_status({})


def test_verdicts_note_their_seconds():
    id = "eq-25-first"
    data, metadata = figures.verdicts(id)._repr_markdown_()
    assert f"`{id}`" in data
    taken = metadata["seconds"][id]
    assert metadata["seconds"].keys() == {id} and 0 <= taken < 60
    output = nbformat.v4.new_output("display_data", metadata={"text/markdown": metadata})
    cell = nbformat.v4.new_code_cell("", outputs=[output])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    assert project_pages.check_seconds(notebook) == {id: taken}


def test_every_record_has_its_row():
    from tokensphere.paper.renewal.state import State, states

    found = states()
    shown = rows(project_pages.record_status(found))
    assert [row[0] for row in shown] == [f"`{one.name}`" for one in found]
    for row, one in zip(shown, found, strict=True):
        assert row[1].startswith(one.state)
        assert one.record is None or one.record.date[:10] in row[2]
    missing = State("gone", "missing", ("no gone.json",), None, {}, None, None)
    (row,) = rows(project_pages.record_status([missing]))
    assert row == ["`gone`", "missing; no gone.json", "none", "`none is known`"]


# What is open.


def test_the_roadmap_follows_the_chapters():
    text = project_pages.roadmap()
    assert notebooks.QUICKSTART not in text
    for page in set(notebooks.chapters()) - {notebooks.QUICKSTART}:
        section = notebooks.source(page).read_text("utf-8").partition("\n## Open\n")[2]
        section = section.partition("\n## ")[0].strip()
        assert section
        assert (f"**{{doc}}`/{page}`**" in text) == (section != project_pages.NOTHING)
        first = section.splitlines()[0]
        assert first in text or first == project_pages.NOTHING or "{doc}" in first
    for claim in ledger.ledger().values():
        assert (f"- {{entry}}`{claim.id}`" in text) == (claim.verdict == "open")
    # A second mark of a statement would be one too many.
    assert "{claim}" not in text
    for target in re.findall(r"\{doc\}`([^`]+)`", text):
        assert notebooks.source(target.removeprefix("/")).exists(), target


def test_a_section_is_taken_to_another_page():
    text = (
        "# T\n\n## Open\n\n- See {doc}`../setting/flow` and {doc}`circle`.\n\n{claim}`x`\n\n## E\n"
    )
    assert project_pages.left_open(text, "first-token/stability") == (
        "- See {doc}`/setting/flow` and {doc}`/first-token/circle`."
    )
    assert project_pages.left_open("## Open\n\nNothing in this chapter.\n", PAGE) == ""
    with pytest.raises(ValueError, match="setting/flow: takes a section `## Open`"):
        project_pages.left_open("# T\n", PAGE)
