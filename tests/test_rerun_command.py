"""The commands `rerun` and `collect`: what they print, their exit codes, the engine they start."""

import os
import signal
import threading
import warnings

import psutil
import pytest
from rerun_book import write

from tokensphere import cli
from tokensphere.paper import signals
from tokensphere.paper.rerun import BadInput, batch, cells, engine
from tokensphere.paper.rerun.batch import BatchError, Summary
from tokensphere.paper.rerun.store import Entry, Store
from tokensphere.paper.signals import Ended

NOTEBOOK = '{"cells": [], "metadata": {}}'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write(tmp_path, "one", "pass", "seed = 0\nname = 'a'")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ran(monkeypatch):
    """Batches are noted and not run; `ran.result` is what comes of them."""

    class Ran(list):
        result = None

        def __call__(self, store, wanted, **options):
            self.append(([cell.label for cell in wanted], options))
            if isinstance(self.result, BaseException):
                raise self.result
            return self.result(wanted) if self.result else Summary(len(wanted), 0)

    ran = Ran()
    monkeypatch.setattr(batch, "run", ran)
    return ran


def refused(capsys, arguments, said):
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("tokensphere: ") and err.count("\n") == 1
    assert said in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["one"], "required: --out"),
        (["one", "--out", ""], "--out: got '', takes the name of a folder"),
        (["one", "--status", "."], "--status says what is in its folder, and takes nothing else"),
        (["--status", ".", "--out", "x"], "and takes nothing else"),
        (["two", "--out", "x"], "no chapter 'two'"),
        (["one", "--out", "x", "-p", "sed", "1"], "no parameter 'sed'"),
        (["one", "--out", "x", "-p", "seed", "1", "-p", "seed", "2"], "-p: seed is given twice"),
        (["one", "--out", "x", "-p", "seed", "yes"], "takes int, got bool True"),
        (["one", "--out", "x", "--workers", "0"], "--workers: got 0, takes a number above 0"),
        (["one", "--out", "x", "--workers", "two"], "--workers: invalid int value: 'two'"),
        (["one", "--out", "x", "--scale", "fulll"], "--scale: invalid choice: 'fulll'"),
        (["one", "--out", "x", "--scale", "full"], "none of the chapters has a scale"),
        (["one", "--out", "x", "--gpus", "-1"], "--gpus: got -1"),
        (["one", "--out", "x", "--timeout", "nan"], "--timeout: got nan"),
        (["one", "--out", "x", "--timeout", "0"], "--timeout: got 0"),
        (["one", "--out", "x", "--gpus", "4096"], "--gpus: got 4096, this machine has"),
        (["one", "--out", "x", "--gpus", "1", "--workers", "1"], "a GPU has one worker"),
        (["one", "--out", "x", "--workers", "1", "--scheduler", "tcp://h:1"], "of the cluster"),
        (["--grid", "none.yml", "--out", "x"], "none.yml cannot be read"),
        (["--status", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(folder, ran, capsys, arguments, said):
    refused(capsys, ["rerun", *arguments], said)
    assert ran == [] and not (folder / "x").exists()


def test_a_folder_that_cannot_be_and_a_scheduler_that_is_not_there(folder, capsys, monkeypatch):
    (folder / "file").touch()
    refused(capsys, ["rerun", "one", "--out", "file"], "file")
    monkeypatch.setattr(engine, "CONNECT", 0.3)
    (folder / "s.json").write_text('{"address": "tcp://127.0.0.1:1"')  # still being written
    for address, said in {
        "tcp://127.0.0.1:1": "no scheduler at tcp://127.0.0.1:1: Timed out",
        "tls://127.0.0.1:1": "has no distributed.comm.tls.client",
        "a b": "no scheduler at a b: ",
        "s.json": "no scheduler at s.json: ",
    }.items():
        refused(capsys, ["rerun", "one", "--out", "x", "--scheduler", address], said)


def test_options_reach_the_batch(folder, ran, capsys):
    options = ["--workers", "3", "--timeout", "1.5"]
    assert cli.main(["rerun", "one", "-p", "seed", "2", "--out", "x", *options]) == 0
    expected = {"workers": 3, "gpus": None, "scheduler": None, "timeout": 1.5}
    assert ran == [(["one seed=2"], expected)]
    assert capsys.readouterr().out == (
        f"1 of 1 cells passed, 0 failed: {folder / 'x' / 'index.html'}\n"
    )


def test_failed_cells_are_a_line_each_and_code_1(folder, ran, capsys):
    ran.result = lambda wanted: Summary(3, 2, [(wanted[0], "it broke")])
    assert cli.main(["rerun", "one", "--out", "x"]) == 1
    out, err = capsys.readouterr()
    assert err == "tokensphere: failed: one: it broke\n"
    assert out.startswith("3 of 1 cells passed (2 before), 1 failed")


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        (BatchError("no worker"), 1, "no worker"),
        (BadInput("no scheduler"), 2, "no scheduler"),
        (Ended(signal.SIGINT), 130, "interrupted; what is done is kept"),
        (Ended(signal.SIGHUP), 129, "terminated; what is done is kept"),
    ],
)
def test_how_a_batch_ends_early(folder, ran, capsys, what, code, said):
    ran.result = what
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["rerun", "one", "--out", "x"]) == code
    assert capsys.readouterr().err.startswith(f"tokensphere: {said}")
    assert signal.getsignal(signal.SIGTERM) is before


def test_without_dask_the_command_says_what_to_install(folder, capsys, monkeypatch):
    def missing(*_, **__):
        raise ModuleNotFoundError("No module named 'distributed'", name="distributed")

    monkeypatch.setattr(batch, "run", missing)
    refused(
        capsys, ["rerun", "one", "--out", "x"], "needs distributed: pip install 'tokensphere[book,b"
    )


def made(seed, **facts):
    return cells.make(cells.read("one"), {"seed": seed})


def put(store, cell, state, **facts):
    store.prepare()
    facts = {"code": cell.chapter.code, "versions": cells.environment()} | facts
    digest = facts.pop("digest", cell.digest)
    if state == "passed":
        facts["size"] = len(NOTEBOOK)
    store.write(
        Entry("one", digest, state, cell.parameters, cell.values, run="r", started="2026", **facts)
    )
    if state == "passed":
        store.file("one", digest, ".ipynb").write_text(NOTEBOOK)


@pytest.fixture
def results(folder):
    store = Store(folder / "x")
    put(store, made(1), "passed", seconds=2.0, kept={"rate": 0.5})
    put(store, made(2), "failed", seconds=1.0, error="it broke")
    old = {"seconds": 40.0, "code": {"one": "old"}, "kept": {"rate": 1}}
    put(store, made(3), "passed", digest="a" * 16, **old)
    return store


def test_a_dry_run_says_what_would_run_why_and_for_how_long(results, ran, capsys, folder):
    (folder / "g.yml").write_text("one: {seed: [1, 2, 3, 4]}")
    assert cli.main(["rerun", "--grid", "g.yml", "--out", "x", "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "done     one seed=1",
        "to run   one seed=2: failed before",
        "to run   one seed=3: one changed",
        "to run   one seed=4",
        "3 of 4 cells to run: 40 s of one worker, as they took before, and 2 never passed",
    ]
    assert ran == []
    # Of a cell whose description is lost too its name says what it is.
    results.file("one", made(1).digest, ".json").unlink()
    assert cli.main(["rerun", "one", "-p", "seed", "1", "--out", "x", "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("done     one seed=1\n")
    assert cli.main(["rerun", "one", "--out", "new", "--dry-run"]) == 0
    assert not (folder / "new").exists()


def test_the_status_says_what_is_there(results, capsys):
    assert cli.main(["rerun", "--status", "x"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "failed       one seed=2: it broke",
        "2 passed, 1 failed; 43 s in all",
    ]


def test_collect_prints_a_table_and_says_that_code_differs(results, capsys, folder):
    assert cli.main(["collect", "x", "rate", "--figure", "f.png", "--against", "seed"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "chapter,digest,code,seconds,seed,name,rate"
    assert len(out.splitlines()) == 3
    assert err.count("\n") == 1 and "cells of 2 versions" in err
    assert (folder / "f.png").stat().st_size > 0
    refused(capsys, ["collect", "x", "rat"], "no finished cell kept 'rat'; kept were rate")
    refused(capsys, ["collect", "x", "rate", "--figure", "f.png"], "go together")
    refused(capsys, ["collect", "nowhere", "rate"], "nowhere: no such folder")


def test_workers_of_this_machine(monkeypatch):
    for name in engine.THREADS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(engine, "cores", lambda: 6)
    monkeypatch.setattr(engine, "devices", lambda: ["3", "GPU-5"])
    before = dict(os.environ)
    with warnings.catch_warnings():
        # Dask leaves a socket or two to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        with engine.local(2, gpus=True) as client:
            # A scheduler runs what it is sent: nobody else's machine may send it anything.
            information = client.scheduler_info()
            assert information["address"].startswith("tcp://127.0.0.1:")
            workers = information["workers"]
            assert all(address.startswith("tcp://127.0.0.1:") for address in workers)
            processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
            sockets = [one for process in processes for one in process.net_connections("tcp")]
            listening = [one.laddr.ip for one in sockets if one.status == psutil.CONN_LISTEN]
            assert set(listening) == {"127.0.0.1"}
            assert all(told["resources"] == {"GPU": 1} for told in workers.values())
            assert all(told["nthreads"] == 1 for told in workers.values())
            assert all(told["memory_limit"] == 0 for told in workers.values())
            found = client.run(lambda: dict(os.environ)).values()
            assert {told["CUDA_VISIBLE_DEVICES"] for told in found} == {"3", "GPU-5"}
            # Cores are divided.
            assert {told[name] for told in found for name in engine.THREADS} == {"3"}
            # Ctrl-C is for who started them.
            masks = client.run(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ())).values()
            assert all(signal.SIGINT in mask for mask in masks)
            assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert dict(os.environ) == before


def test_threads_that_are_set_stay_as_they_are(monkeypatch):
    # What `local` leaves out Dask sets to what is there, or else to 1.
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    with engine.local(1) as client:
        (found,) = client.run(lambda: os.environ["OMP_NUM_THREADS"]).values()
    assert found == "5"


def test_devices_are_those_that_this_process_may_use(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert engine.devices() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, GPU-7")
    assert engine.devices() == ["4", "GPU-7"]


def test_signals_wait_while_workers_start_and_then_end_them(monkeypatch):
    import distributed

    closed, over = [], threading.Event()
    # Which takes a signal that the main thread blocks, as that of a progress bar does.
    threading.Thread(target=over.wait).start()

    class Starting:
        def __init__(self, *_, **__):
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                os.kill(os.getpid(), number)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            # Who is impatient breaks nothing off.
            for number in 2 * (signal.SIGINT, signal.SIGTERM):
                os.kill(os.getpid(), number)
            closed.append(True)

    monkeypatch.setattr(distributed, "SpecCluster", Starting)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with pytest.raises(Ended), signals.ending(), engine.local(1):
        pytest.fail("it began")
    over.set()
    assert closed == [True]
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_signal_that_is_ignored_stays_so(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.ending():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
