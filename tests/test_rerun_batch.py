"""How cells are handed out, by a client that stands in for Dask's, and how one cell runs."""

import json
import resource
import threading
import uuid
from dataclasses import asdict
from pathlib import Path

import pytest
from distributed.scheduler import KilledWorker
from rerun_book import runs, write

from tokensphere.paper.rerun import BadInput, batch, cells, worker
from tokensphere.paper.rerun.batch import BatchError
from tokensphere.paper.rerun.cells import Cell, Chapter
from tokensphere.paper.rerun.one import Task, settled
from tokensphere.paper.rerun.store import Entry, Store


class Future:
    def __init__(self, outcome):
        self.outcome = outcome
        self.status = "pending"

    def add_done_callback(self, callback):
        def end():
            self.status = "error" if isinstance(self.outcome, Exception) else "finished"
            callback(self)

        if self.outcome is not None:  # else it never ends
            threading.Timer(0.02, end).start()

    def result(self):
        return self.outcome

    def exception(self):
        return self.outcome

    def cancel(self):
        self.status = "cancelled"

    release = cancel


class Cluster:
    """Workers that do as `act(task, address)` says: an outcome, an exception, or None for ever."""

    status = "running"

    def __init__(self, act, **workers):
        self.act = act
        self.workers = {
            name: {"id": name.upper(), "resources": {"GPU": gpus} if gpus else {}}
            for name, gpus in workers.items()
        }
        self.given = []
        self.futures = []
        self.most = 0

    def scheduler_info(self, n_workers):
        assert n_workers == -1  # all of them
        return {"workers": dict(self.workers)}

    def submit(self, function, task, workers, resources, allow_other_workers, **_):
        assert function is worker.run_cell and not allow_other_workers
        (address,) = workers
        assert address in self.workers
        busy = [future for future, at in self.futures if at == address]
        assert all(future.status != "pending" for future in busy), "one cell at a time"
        self.given.append((task["values"]["seed"], address, resources))
        future = Future(self.act(Task(**task), address))
        self.futures.append((future, address))
        pending = [future for future, _ in self.futures if future.status == "pending"]
        self.most = max(self.most, len(pending))
        return future

    def run(self, function, *arguments, workers, **_):
        self.stopped = workers


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name, seconds in {"PATIENCE": 0.5, "PAUSE": 0.01, "LOOK": 0.01, "ENDING": 0.2}.items():
        monkeypatch.setattr(batch, name, seconds)


@pytest.fixture
def store(tmp_path):
    found = Store(tmp_path / "out")
    found.prepare()
    return found


def made(count, code="1"):
    chapter = Chapter("part/one", Path("one.md"), {}, {}, {"part/one": code}, {})
    return [Cell(chapter, {"seed": seed}) for seed in range(1, count + 1)]


def passing(task, address):
    begin(task)
    notebook = Store(task.folder).file(task.chapter, task.digest, ".ipynb")
    notebook.write_text('{"metadata": {}, "cells": []}')
    return {"state": "passed"}


def begin(task):
    own = {"values": task.values, "source": task.source if task.outside else None}
    entry = Entry(
        task.chapter, task.digest, "running", task.parameters, run=uuid.uuid4().hex, **own
    )
    Store(task.folder).write(entry)


def carried_out(store, wanted, cluster, gpu=False, most=None):
    run = batch._Batch(store, wanted, None, gpu, most)
    try:
        run.run(cluster)
    finally:
        run.close()
    return run.summary


def test_each_worker_has_one_cell_at_a_time(store):
    cluster = Cluster(passing, a=0, b=0)
    summary = carried_out(store, made(7), cluster)
    assert (summary.passed, summary.before, summary.failed) == (7, 0, [])
    assert sorted(seed for seed, _, _ in cluster.given) == list(range(1, 8))
    assert {address for _, address, _ in cluster.given} == {"a", "b"}
    again = Cluster(passing, a=0)
    assert carried_out(store, made(7), again).before == 7
    assert again.given == []


def test_a_gpu_that_no_worker_has_is_named(store):
    cluster = Cluster(passing, a=0, b=0)
    with pytest.raises(BadInput, match=r"resource GPU after 0.5 s, and 2 without: .*GPU=1"):
        carried_out(store, made(1), cluster, gpu=True)
    assert cluster.given == []
    with pytest.raises(BadInput, match="no worker after"):
        carried_out(store, made(1), Cluster(passing))


def test_workers_with_a_gpu_are_used_and_no_more_than_asked_for(store):
    cluster = Cluster(passing, a=0, b=1, c=1, d=1)
    carried_out(store, made(6), cluster, gpu=True, most=2)
    assert {address for _, address, _ in cluster.given} <= {"b", "c", "d"}
    assert all(resources == {"GPU": 1} for _, _, resources in cluster.given)
    assert cluster.most == 2


def killing(cluster, seeds, silent):
    """A worker dies of these cells, and another comes; Dask says so, or its task waits for ever."""
    fresh = iter("efghijkl")

    def act(task, address):
        if task.parameters["seed"] not in seeds:
            return passing(task, address)
        begin(task)
        threading.Timer(0.01, die, [address]).start()
        state = type("State", (), {"key": "x", "address": address})()
        return None if silent else KilledWorker("x", state, 0)

    def die(address):
        del cluster.workers[address]
        name = next(fresh)
        cluster.workers[name] = {"id": name.upper()}

    cluster.act = act


@pytest.mark.parametrize("silent", [False, True])
def test_a_cell_that_kills_its_worker_twice_is_failed_by_name_and_the_others_go_on(store, silent):
    cluster = Cluster(None, a=0, b=0)
    killing(cluster, {2}, silent)
    summary = carried_out(store, made(5), cluster)
    ((cell, error),) = summary.failed
    assert (cell.label, error) == ("part/one seed=2", "its worker died, 2 times")
    assert summary.passed == 4
    begun = [seed for seed, _, _ in cluster.given]
    assert {seed: begun.count(seed) for seed in begun if seed != 2} == dict.fromkeys(
        (1, 3, 4, 5), 1
    )
    entry = store.entry("part/one", cell.digest)
    assert (entry.state, entry.error) == ("failed", error)


def test_a_worker_that_dies_before_the_cell_begins_is_not_the_cell_s_doing(store):
    tries = []

    def act(task, address):
        tries.append(address)
        return passing(task, address) if len(tries) > 3 else {"state": "died", "error": "it died"}

    assert carried_out(store, made(1), Cluster(act, a=0)).passed == 1
    tries.clear()
    never = Cluster(lambda task, address: {"state": "died", "error": "it died"}, a=0)
    ((_, error),) = carried_out(store, made(2)[1:], never).failed
    assert error == f"it died, {batch.SENDINGS} times"


def test_a_worker_that_refuses_is_not_asked_again(store):
    def act(task, address):
        if address == "a":
            return {"state": "refused", "error": "a has other versions: numpy 1"}
        return passing(task, address)

    cluster = Cluster(act, a=0, b=0)
    assert carried_out(store, made(4), cluster).passed == 4
    assert [address for _, address, _ in cluster.given].count("a") == 1
    alone = Cluster(act, a=0)
    with pytest.raises(BadInput, match="no worker can run the cells: a has other versions"):
        carried_out(store, made(5), alone)
    broken = Cluster(lambda *_: ModuleNotFoundError("No module named 'tokensphere'"), a=0)
    with pytest.raises(BadInput, match="a cannot run cells: .*No module named 'tokensphere'"):
        carried_out(store, made(5), broken)


def test_a_cell_that_another_batch_runs_is_looked_at_later(store):
    looks = []

    def act(task, address):
        looks.append(task.parameters["seed"])
        if task.parameters["seed"] == 1 and looks.count(1) < 3:
            return {"state": "running"}
        return passing(task, address)

    assert carried_out(store, made(3), Cluster(act, a=0)).passed == 3
    assert looks[:3] == [1, 2, 3] or looks.index(2) < len(looks) - 1
    assert looks.count(1) == 3


def test_an_older_version_stays_until_the_new_one_is_there(store):
    (old,), (new,) = made(1, "old"), made(1, "new")
    carried_out(store, [old], Cluster(passing, a=0))
    failing = Cluster(lambda *_: {"state": "failed", "error": "it broke"}, a=0)
    assert carried_out(store, [new], failing).failed == [(new, "it broke")]
    assert store.passed("part/one", old.digest)
    carried_out(store, [new], Cluster(passing, a=0))
    assert [entry.digest for entry in store.entries()] == [new.digest]
    # Of a batch that was killed between the two, the next one cleans up.
    carried_out(store, [], Cluster(passing, a=0))
    store.write(Entry("part/one", old.digest, "failed", old.parameters, old.values))
    assert carried_out(store, [new], Cluster(passing, a=0)).before == 1
    assert [entry.digest for entry in store.entries()] == [new.digest]


def test_what_is_wanted_or_has_other_values_or_another_source_is_no_older_version(store):
    def cell(file, defaults, code="1", **parameters):
        chapter = Chapter("x", Path(file), {}, defaults, {"x": code}, {}, outside=True)
        return Cell(chapter, parameters)

    first = [cell("/a/x.md", {"seed": 0}), cell("/a/x.md", {"seed": 0}, seed=1)]
    carried_out(store, first, Cluster(passing, a=0))
    # Its default is now 1: it is a new version of the second.
    carried_out(store, [cell("/a/x.md", {"seed": 1}, "2")], Cluster(passing, a=0))
    assert sorted(entry.values["seed"] for entry in store.entries()) == [0, 1]
    carried_out(store, [cell("/b/x.md", {"seed": 1}, "3")], Cluster(passing, a=0))
    assert len(store.entries()) == 3
    both = [cell("/b/x.md", {"seed": 1}, code) for code in "34"]
    carried_out(store, both, Cluster(passing, a=0))
    assert len(store.entries()) == 4


def test_what_another_batch_tries_meanwhile_is_not_tried_again(store):
    """The second cell fails by another batch while the first one runs by this one."""
    first, second = made(2)

    def act(task, address):
        if task.digest == first.digest:
            failed = Entry("part/one", second.digest, "failed", second.parameters, run="theirs")
            store.write(failed)
            return passing(task, address)
        return settled(task, store) or passing(task, address)

    assert carried_out(store, [first, second], Cluster(act, a=0)).failed == [(second, "failed")]
    # A batch that begins after that tries it.
    assert carried_out(store, [second], Cluster(act, a=0)).passed == 1


def test_workers_that_are_lost_in_between_are_no_bad_input(store):
    cluster = Cluster(passing, a=0)

    def act(task, address):
        cluster.workers.clear()
        return passing(task, address)

    cluster.act = act
    with pytest.raises(BatchError, match="no worker after"):
        carried_out(store, made(2), cluster)
    assert store.passed("part/one", made(1)[0].digest)


def test_a_folder_that_is_moved_does_not_appear_again(store):
    def act(task, address):
        if store.folder.exists():
            store.folder.rename(store.folder.with_name("moved"))
        return worker.run_cell(asdict(task))

    with pytest.raises(BadInput, match=r"does not see .*/out: it was moved, or not all share"):
        carried_out(store, made(2), Cluster(act, a=0))
    assert not store.folder.exists()


def test_a_scheduler_that_is_lost_ends_the_batch(store):
    cluster = Cluster(None, a=0)

    def act(task, address):
        cluster.status = "connecting"

    cluster.act = act
    with pytest.raises(BatchError, match="the scheduler is lost"):
        carried_out(store, made(2), cluster)
    assert len(cluster.given) == 1


def test_a_batch_broken_off_ends_the_cells_that_run(store):
    cluster = Cluster(None, a=0, b=0)

    def act(task, address):
        if address == "b":
            raise KeyboardInterrupt

    cluster.act = act
    with pytest.raises(KeyboardInterrupt):
        carried_out(store, made(2), cluster)
    assert cluster.stopped == ["a"]
    assert [path.suffix for path in (store.folder / ".locks").iterdir()] == [".folder"]


# One cell, in its process.


@pytest.fixture
def begun(tmp_path, store, monkeypatch):
    """A chapter's name, code -> the task of its cell, in a batch that began."""
    monkeypatch.chdir(tmp_path)

    def task(name, code, **changes):
        write(tmp_path, name, code)
        cell = cells.make(cells.read(name), {"seed": 1})
        plan = Task(
            folder=str(store.folder),
            token=store.token(),
            batch="batch",
            chapter=cell.chapter.name,
            digest=cell.digest,
            source=str(cell.chapter.source),
            parameters=cell.parameters,
            values=cell.values,
            code=cell.chapter.code,
            versions=cells.environment(),
        )
        return asdict(plan) | changes

    return task


def test_a_cell_leaves_its_notebook_and_what_is_known_of_it(begun, tmp_path, store):
    keeps = "from tokensphere.paper.rerun.kept import keep\nkeep('square', seed**2)\nprint('hello')"
    task = begun("good", keeps)
    assert worker.run_cell(task) == {"state": "passed", "error": None}
    entry = store.entry("good", task["digest"])
    assert (entry.state, entry.parameters, entry.kept) == ("passed", {"seed": 1}, {"square": 1})
    assert entry.size == store.file("good", task["digest"], ".ipynb").stat().st_size
    assert entry.seconds > 0 and entry.machine["cores"] >= 1
    assert entry.code == task["code"] and entry.versions == task["versions"]
    assert "hello" in store.file("good", task["digest"], ".log").read_text()
    # A task that Dask repeats finds it done.
    assert worker.run_cell(task) == {"state": "passed"}
    assert runs(tmp_path) == ["good-1"]


def test_what_is_computed_while_its_code_is_edited_does_not_pass(begun, store):
    edit = "file = Path('{name}.md')\ntext = file.read_text()\nfile.write_text(text{change})"
    changed = begun(
        "edited", edit.format(name="edited", change=".replace('import os', 'import re')")
    )
    outcome = worker.run_cell(changed)
    assert outcome["state"] == "failed"
    assert "edited.md was written to while the cell ran" in outcome["error"]
    assert not store.passed("edited", changed["digest"])
    # Nobody knows what was read before it was what it is again.
    back = begun("back", edit.format(name="back", change=" + 'x'") + "\nfile.write_text(text)")
    assert "back.md was written to" in worker.run_cell(back)["error"]
    gone = begun("gone", "Path('gone.md').unlink()")
    assert "gone.md was written to" in worker.run_cell(gone)["error"]


def test_a_full_disk_fails_the_cell_and_leaves_nothing_half(begun, store):
    task = begun("large", "print('x' * 300_000)")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Files of more than this cannot be written: the kind of error that a full disk gives.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        outcome = worker.run_cell(task)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert outcome["state"] == "failed" and "File too large" in outcome["error"]
    left = sorted(path.name for path in (store.folder / "large").iterdir())
    assert left == [f"{task['digest']}.json", f"{task['digest']}.log"]
    assert "File too large" in store.entry("large", task["digest"]).error


def test_a_worker_refuses_what_it_would_run_otherwise(begun, tmp_path, store):
    task = begun("good", "pass")

    def refused(**changes):
        outcome = worker.run_cell(task | changes)
        assert outcome["state"] == "refused"
        return outcome["error"]

    assert "does not see" in refused(token="other")
    assert "does not see" in refused(folder=str(tmp_path / "elsewhere"))
    assert "other code than the batch began with: good" in refused(code={"good": "x"})
    said = refused(versions=task["versions"] | {"numpy": "0.1"})
    assert "other versions than the batch began with: numpy " in said
    assert "no such chapter file" in refused(source="gone.md")
    assert runs(tmp_path) == []


def test_what_is_settled_on_disk_is_not_run(begun, tmp_path, store):
    content = begun("good", "pass")
    task = Task(**content)
    assert settled(task, store) is None
    with store.lock(task.digest):
        assert worker.run_cell(content) == {"state": "running"}
    # Tried by another batch since this one was planned: its answer is ours.
    store.write(Entry("good", task.digest, "failed", error="it broke", run="second"))
    assert worker.run_cell(content) == {"state": "failed", "error": "it broke"}
    # Tried before: it is tried again.
    assert settled(Task(**content | {"known": "second"}), store) is None
    assert runs(tmp_path) == []


def test_a_task_is_plain_data(begun):
    content = begun("good", "pass")
    assert Task(**json.loads(json.dumps(content))) == Task(**content)
