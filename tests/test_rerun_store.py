"""What is on disk says what is done: states, locks, the page, and the table of kept values."""

import dataclasses
import json
import math
import multiprocessing
import os
import platform
import re
import signal
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from tokensphere.paper.rerun import BadInput, collect, page, store
from tokensphere.paper.rerun.kept import MIMETYPE, keep, kept
from tokensphere.paper.rerun.store import Entry, Store

NOTEBOOK = '{"metadata": {}, "cells": []}'
A, B, C = "a" * 16, "b" * 16, "c" * 16


@pytest.fixture
def folder(tmp_path):
    found = Store(tmp_path / "out")
    found.prepare()
    return found


def put(folder, digest, state, chapter="part/one", notebook=True, **facts):
    """A cell as a batch leaves it."""
    values = facts.setdefault("parameters", {"seed": 1})
    facts = {"values": values, "seconds": 1.5, "started": "2026", "run": "r"} | facts
    if state == "passed":
        facts.setdefault("size", len(NOTEBOOK))
    folder.write(Entry(chapter, digest, state, **facts))
    suffix = {"passed": ".ipynb", "failed": ".failed.ipynb"}.get(state)
    if suffix and notebook:
        folder.file(chapter, digest, suffix).write_text(NOTEBOOK)


def states(folder):
    return {entry.digest[0]: entry.state for entry in folder.entries()}


def test_the_notebook_says_whether_a_cell_is_done(folder):
    put(folder, A, "passed")
    put(folder, B, "failed", error="it broke")
    put(folder, C, "passed", notebook=False)  # which somebody removed
    assert states(folder) == {"a": "passed", "b": "failed", "c": "interrupted"}
    assert [folder.passed("part/one", digest) for digest in (A, B, C)] == [True, False, False]
    assert folder.entry("part/one", B).error == "it broke"
    assert folder.entry("part/one", "d" * 16) is None


def test_what_a_process_left_that_died_between_two_files_is_read_off_the_notebook(folder):
    put(folder, A, "running", error="old")
    told = {"parameters": {"seed": 5}, "duration": 2.5, "start_time": "2026-01-01"}
    text = json.dumps({"metadata": {"papermill": told}, "cells": []})
    for digest in (A, B):
        folder.file("part/one", digest, ".ipynb").write_text(text)
    folder.file("part/one", C, ".failed.ipynb").write_text(text)
    folder.file("part/one", C, ".json").write_text('{"half of')
    first, second, third = sorted(folder.entries(), key=lambda entry: entry.digest)
    assert (first.state, first.seconds, first.parameters) == ("passed", 2.5, {"seed": 1})
    assert (second.state, second.seconds, second.parameters) == ("passed", 2.5, {"seed": 5})
    assert (third.state, first.error) == ("failed", None)


def test_a_notebook_that_is_not_whole_is_no_finished_cell(folder):
    """Copied in part, say. Its description tells; where that is lost, that it can be read."""
    put(folder, A, "passed", kept={"rate": 1})
    put(folder, B, "running")
    for digest in (A, B, C):
        folder.file("part/one", digest, ".ipynb").write_text(NOTEBOOK[:-3])
    assert states(folder) == {"a": "interrupted", "b": "interrupted", "c": "interrupted"}
    assert not any(folder.passed("part/one", digest) for digest in (A, B, C))
    assert folder.entry("part/one", A).error == "its notebook is damaged"
    with pytest.raises(BadInput, match="no finished cell kept 'rate'"):
        collect.table(folder, ["rate"])
    put(folder, A, "passed", kept=None, size=2)
    folder.file("part/one", A, ".ipynb").write_text("[]")
    with pytest.raises(BadInput, match=f"{A}.ipynb is no notebook"):
        collect.table(folder, ["rate"])


@pytest.mark.parametrize(
    "change",
    [
        "[]",
        {"parameters": None},
        {"parameters": [1]},
        {"values": "x"},
        {"state": "fine"},
        {"code": None},
        {"machine": []},
        {"error": 1},
        {"seconds": "long"},
        {"kept": []},
        {"size": "1"},
        {"color": "red"},
    ],
    ids=str,
)
def test_a_damaged_description_is_a_lost_one(folder, change):
    put(folder, A, "passed", kept={"rate": 1})
    put(folder, B, "failed")
    for digest in (A, B):
        file = folder.file("part/one", digest, ".json")
        content = json.loads(file.read_text())
        file.write_text(change if change == "[]" else json.dumps(content | change))
    assert states(folder) == {"a": "passed", "b": "failed"}
    page.write(folder)
    with pytest.raises(BadInput, match="no finished cell kept 'rate'; kept were no values"):
        collect.table(folder, ["rate"])


def test_a_papermill_of_another_kind_is_passed_over(folder):
    (folder.folder / "part" / "one").mkdir(parents=True)
    for digest, told in ((A, "[]"), (B, '{"parameters": []}'), (C, '{"duration": 1.0}')):
        text = f'{{"metadata": {{"papermill": {told}}}, "cells": []}}'
        folder.file("part/one", digest, ".ipynb").write_text(text)
    assert states(folder) == {"a": "interrupted", "b": "interrupted", "c": "passed"}


def test_looking_writes_nothing(folder):
    """So that a folder can be looked at by whoever may read it."""
    put(folder, A, "running")
    put(folder, B, "passed", kept={"rate": 1})
    before = sorted(folder.folder.rglob("*"))
    assert states(folder) == {"a": "interrupted", "b": "passed"}
    collect.table(folder, ["rate"])
    assert sorted(folder.folder.rglob("*")) == before
    assert [path.suffix for path in before if path.parent.name == ".locks"] == [".folder"]


def test_versions_of_one_cell_have_all_values_alike_and_one_source(folder):
    def same(**facts):
        return Entry("x", A, "passed", **facts).same

    # A default that has changed leaves out of the parameters what was in them before.
    assert same(parameters={"seed": 1}, values={"seed": 1}) == same(values={"seed": 1})
    assert same(values={"seed": 1}) != same(values={"seed": 0})
    assert same(source="/a/x.md") != same(source="/b/x.md")
    labels = [Entry("x", A, "passed", {"n": value}).label for value in ("1", 1, True, 1.0)]
    assert labels == ['x n="1"', "x n=1", "x n=true", "x n=1.0"]


def hold(path, ready, release):
    with Store(path).lock(A).acquire(blocking=False):
        ready.set()
        release.wait()


def test_a_cell_runs_as_long_as_its_owner_lives(folder):
    put(folder, A, "running")
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    owner = context.Process(target=hold, args=(folder.folder, ready, release))
    owner.start()
    try:
        assert ready.wait(60)
        assert states(folder) == {"a": "running"} and folder.held(A)
        folder.remove(folder.entry("part/one", A))  # not while somebody runs it
        assert states(folder) == {"a": "running"}
    finally:
        os.kill(owner.pid, signal.SIGKILL)
        owner.join()
    assert states(folder) == {"a": "interrupted"} and not folder.held(A)
    folder.remove(folder.entry("part/one", A))
    assert states(folder) == {}


def test_clocks_are_not_compared(folder):
    # A machine whose clock is a century ahead wrote one cell, another before there were clocks.
    for digest, year in ((A, "2126"), (B, "1970")):
        put(folder, digest, "passed", started=f"{year}-01-01")
        time = 5e9 if digest == A else 0
        os.utime(folder.file("part/one", digest, ".ipynb"), (time, time))
    assert states(folder) == {"a": "passed", "b": "passed"}


def test_what_is_not_a_cell_is_passed_over(folder):
    (folder.folder / "notes.ipynb").write_text("mine")
    (folder.folder / ".hidden").mkdir()
    (folder.folder / ".hidden" / f"{A}.json").write_text("{}")
    (folder.folder / "part").mkdir()
    (folder.folder / "part" / f".{A}.host.1.x.ipynb").write_text("half")
    assert folder.entries() == []
    folder.clear_drafts("part", B)
    folder.clear_drafts("part", A)
    assert list((folder.folder / "part").iterdir()) == []


def test_a_full_disk_leaves_the_former_file_and_no_draft(folder, monkeypatch):
    put(folder, A, "failed", error="first")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(OSError, match=rf"No space left on device: '.*/{A}.json'"):
        folder.write(Entry("part/one", A, "failed", error="second"))
    assert folder.entry("part/one", A).error == "first"
    assert [
        path.name for path in (folder.folder / "part/one").iterdir() if path.name[0] == "."
    ] == []


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        Store(tmp_path / "file").prepare()


def test_a_probe_of_a_killed_process_goes_with_the_next(folder):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    places = folder.folder / ".locks"
    (places / f".probe.{platform.node()}.{dead.pid}.0123abcd.tmp").touch()
    folder.prepare()
    assert [path.suffix for path in places.iterdir()] == [".folder"]


def test_listing_opens_no_notebook_of_a_described_cell(folder):
    for i in range(50):
        put(folder, f"{i:016x}", "passed", parameters={"seed": i}, size=13)
        folder.file("part/one", f"{i:016x}", ".ipynb").write_text("not even JSON")
    page.write(folder)
    assert len(json.loads((folder.folder / "index.json").read_text())["cells"]) == 50


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("href", "src")]

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_shows_each_cell_and_escapes_what_it_shows(folder):
    evil = "<script>alert('ä')</script>"
    put(folder, A, "passed", parameters={"name": evil, "depths": [1, 2]})
    put(folder, B, "failed", chapter="part/o&ne?", error=f"ValueError: {evil}")
    put(folder, C, "failed", error="its worker died, 2 times", started=None, notebook=False)
    page.write(folder)
    text = (folder.folder / "index.html").read_text("utf-8")
    found = Page(text)
    assert "script" not in found.tags
    said = "".join(found.words)
    assert said.count(evil) == 2 and "depths = [1, 2]" in said
    assert "1 passed, 2 failed." in said
    # Every link leads to a file of its own folder that is there, or to its log.
    for link in found.links:
        assert not re.match("[a-z]+:|/", link)
    notebooks = [link for link in found.links if link.endswith(".ipynb")]
    assert notebooks == [f"part/o%26ne%3F/{B}.failed.ipynb", f"part/one/{A}.ipynb"]
    index = json.loads((folder.folder / "index.json").read_text("utf-8"))
    assert [cell["state"] for cell in index["cells"]] == ["failed", "passed", "failed"]


def displayed(monkeypatch, name, value):
    import IPython.display

    shown = []
    monkeypatch.setattr(
        IPython.display, "display", lambda data, metadata, raw: shown.append((data, metadata))
    )
    keep(name, value)
    return shown[0]


def test_what_is_kept_is_found_in_the_notebook(monkeypatch):
    data, metadata = displayed(monkeypatch, "rate", np.array([0.5, 1.5]))
    assert data["text/plain"] == "rate: [0.5, 1.5]"
    assert metadata["scrapbook"] == {"name": "rate", "data": True, "display": False}
    # As nbformat stores them, between outputs of other kinds.
    outputs = [{"output_type": "stream", "text": "x"}, {"data": {"text/plain": "y"}}]
    # A chapter may display anything by hand.
    outputs += [{"data": {MIMETYPE: other}} for other in ("x", {}, {"data": 1}, {"name": "x"})]
    cells = [{"cell_type": "markdown"}, {"outputs": [*outputs, {"data": data}]}]
    assert kept({"cells": json.loads(json.dumps(cells))}) == {"rate": [0.5, 1.5]}
    assert data[MIMETYPE]["encoder"] == "json"


@pytest.mark.parametrize("value", [math.nan, np.float64("inf"), object(), {1: {2}}])
def test_what_json_cannot_hold_is_not_kept(value):
    with pytest.raises(ValueError, match="rate: got "):
        keep("rate", value)


@pytest.fixture
def results(folder):
    for i, digest in enumerate((A, B)):
        parameters = {"seed": i, "depths": [i], "title": ["é"]}
        put(folder, digest, "passed", parameters=parameters, kept={"rate": i / 2, "word": "ü"})
    put(folder, C, "failed", kept={"rate": 9})
    put(folder, "d" * 16, "passed", chapter="part/two", kept={"other": 1})
    return folder


def test_the_table_has_a_row_for_each_finished_cell_that_kept_the_value(results, tmp_path):
    rows = collect.table(results, ["rate", "word"])
    version = rows[0]["code"]
    collect.write(rows, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text("utf-8") == (
        "chapter,digest,code,seconds,seed,depths,title,rate,word\n"
        f'part/one,{A},{version},1.5,0,[0],"[""é""]",0.0,ü\n'
        f'part/one,{B},{version},1.5,1,[1],"[""é""]",0.5,ü\n'
    )
    assert collect.versions(rows) == {}
    put(results, C, "passed", code={"x": "1"}, kept={"rate": 2})
    assert collect.versions(collect.table(results, ["rate"])) == {"part/one": 2}


def test_a_cell_whose_description_is_lost_is_read_from_its_notebook(results):
    scrap = {"data": {MIMETYPE: {"name": "rate", "data": 7}}}
    text = json.dumps({"metadata": {}, "cells": [{"outputs": [scrap]}]})
    results.file("part/one", A, ".ipynb").write_text(text)
    results.file("part/one", A, ".json").unlink()
    assert [row["rate"] for row in collect.table(results, ["rate"])] == [7, 0.5]


def test_a_table_or_figure_that_cannot_be_is_refused(results, tmp_path):
    with pytest.raises(BadInput, match="no finished cell kept 'rat'; kept were other, rate, word"):
        collect.table(results, ["rate", "rat"])
    put(results, C, "passed", kept={"seed": 1})
    with pytest.raises(BadInput, match="'seed' is both kept and a parameter of part/one"):
        collect.table(results, ["seed"])
    rows = collect.table(results, ["word"])
    with pytest.raises(BadInput, match="takes a name in .csv or .parquet"):
        collect.write(rows, tmp_path / "t.xlsx")
    with pytest.raises(BadInput, match="'word' of a+ is no number: 'ü'"):
        collect.figure(rows, "word", "seed", tmp_path / "f.svg")
    with pytest.raises(BadInput, match="has a parameter 'sed'"):
        collect.figure(rows, "word", "sed", tmp_path / "f.svg")
    for write in (
        lambda path: collect.write(rows, path / "t.csv"),
        lambda path: collect.figure(rows, "word", "seed", path / "f.svg"),
    ):
        with pytest.raises(BadInput, match=r"--(out|figure): there is no folder .*/nowhere"):
            write(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(BadInput, match="takes a name in .png"):
        collect.figure(rows, "word", "seed", tmp_path / "f.txt")


def test_parquet_needs_pyarrow(results, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BadInput, match="--out: Parquet needs pyarrow"):
        collect.write(collect.table(results, ["rate"]), tmp_path / "t.parquet")


def test_a_table_on_a_full_disk_leaves_the_former_one(results, tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text("former")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        collect.write(collect.table(results, ["rate"]), tmp_path / "t.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "t.csv"]
    assert (tmp_path / "t.csv").read_text() == "former"


@pytest.mark.parametrize("parameter", ["seed", "depths"])
def test_the_figure_has_a_point_a_cell(results, tmp_path, parameter):
    put(results, C, "passed", parameters={"seed": 1, "depths": [1]}, kept={"rate": 0.75})
    rows = collect.table(results, ["rate"])
    collect.figure(rows, "rate", parameter, tmp_path / "f.svg")
    text = (tmp_path / "f.svg").read_text()
    # Matplotlib draws a marker by reference: three cells, and a legend of lines alone.
    points = [
        line for line in text.splitlines() if "<use" in line and 'style="fill: #1f77b4' in line
    ]
    assert len(points) == 3


def test_an_entry_is_json_and_comes_back(folder):
    entry = Entry("part/one", A, "failed", {"name": "ä\n\"'"}, {"name": "ä"}, error="é")
    folder.write(entry)
    assert folder.entry("part/one", A) == dataclasses.replace(entry, state="failed")
