"""What `make gpu` would do, in which order, and what it leaves."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import distributed
import pytest
import torch

from tokensphere import cli, records
from tokensphere.paper.renewal import gpu, run, state
from tokensphere.paper.renewal.table import Renewal
from tokensphere.paper.rerun import engine
from tokensphere.paper.signals import Ended

ROOT = Path(__file__).parents[1]


def record(seconds):
    return records.Record({}, None, "a GPU", {}, seconds, "2026", None, None, {"m": "d"}, None)


def found(name, said, seconds=60.0, **how):
    kept = None if said == state.MISSING else record(seconds)
    how = how or {"script": "x.py"}
    return state.State(name, said, (), kept, {}, None, Renewal(name, **how))


STATES = [
    found("tests", "fresh", 100, script="x.py", gpus=1, each_run=True),
    found("fresh", "fresh", 1000),
    found("model", "stale", 200, module="m", gpus=1),
    found("new", "missing"),
    found("broken", "damaged", 0),
    found("pair", "stale", 5000, module="m", gpus=2),
    found("trained", "stale", 5000, module="m", arguments=("{text}",)),
    found("kernels", "stale", 5000, module="m", packages=("no_such_package",)),
    found("counts", "stale", 30, chapter="part/counts"),
    found("dials", "stale", 40, chapter="part/counts"),
    found("angles", "fresh", 50, chapter="part/angles"),
]


@pytest.fixture
def book(monkeypatch):
    monkeypatch.setattr(gpu, "_chapters", lambda: dict.fromkeys("abcd", 60.0))


def test_records_come_before_chapters_and_chapters_that_write_some_before_all(book, tmp_path):
    steps, left = gpu.plan(STATES, tmp_path, 1, "out")
    tests, stale, first, whole = steps
    assert tests.arguments[-2:] == ["--renew", "tests"]
    assert stale.arguments[stale.arguments.index("--renew") + 1 :] == ["model", "new", "broken"]
    rerun = ["rerun", "--scale", "full", "--gpus", "1", "--out", "out"]
    assert first.arguments[2:] == [*rerun, "part/counts"]
    assert whole.arguments[2:] == rerun
    for step in steps:
        assert step.arguments[:2] == ["-m", "tokensphere.cli"]
        cli._parser().parse_args(step.arguments[2:])
    assert [line.split(",")[0] for line in left] == ["pair", "trained", "kernels"]
    # Four chapters took a minute each, and what one of them records again.
    assert [step.seconds for step in steps] == [100, 200, 70, 4 * 60 + 50]


def test_more_gpus_make_more_at_once_and_take_what_needs_two(book, tmp_path):
    steps, left = gpu.plan(STATES, tmp_path, 2, "out")
    assert "pair" in steps[1].arguments
    assert not any(line.startswith("pair") for line in left)
    assert steps[-1].seconds == 2 * 60 + 50
    assert steps[-1].arguments[-3] == "2"


def test_where_all_is_fresh_tests_and_chapters_are_left_to_do(book, tmp_path):
    steps, left = gpu.plan([STATES[0], STATES[1]], tmp_path, 1, "out")
    assert len(steps) == 2
    assert "--renew" in steps[0].arguments
    assert "rerun" in steps[1].arguments
    assert left == []


def test_without_a_gpu_nothing_starts(monkeypatch, capsys):
    monkeypatch.setattr(run, "gpus", lambda: 0)
    monkeypatch.setattr(run, "call", lambda arguments: pytest.fail("something started"))
    monkeypatch.setattr(gpu, "states", lambda: pytest.fail("records were read first"))
    assert gpu.main([]) == 2
    said = capsys.readouterr().err
    assert said.startswith("make gpu: needs a CUDA device, here is none")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "there", "words"),
    [
        (["--gpus", "2"], 1, "needs 2 CUDA devices, here is 1"),
        (["--gpus", "0", "--dry-run"], 1, "takes 1 or more"),
        (["--out", __file__], 1, "--out: got"),
        (["--out", "", "--dry-run"], 1, "--out: got ''"),
        ([], 1, "needs no_such_package"),
    ],
)
def test_what_cannot_be_done_is_said_before_it_begins(arguments, there, words, monkeypatch, capsys):
    monkeypatch.setattr(run, "gpus", lambda: there)
    monkeypatch.setattr(run, "call", lambda arguments: pytest.fail("something started"))
    monkeypatch.setattr(gpu, "NEEDED", ("pytest", "no_such_package"))
    assert gpu.main(arguments) == 2
    assert words in capsys.readouterr().err


def test_a_dry_run_says_what_and_for_how_long(book, monkeypatch, capsys):
    monkeypatch.setattr(run, "gpus", lambda: 0)
    monkeypatch.setattr(run, "call", lambda arguments: pytest.fail("something started"))
    monkeypatch.setattr(gpu, "states", lambda: STATES)
    assert gpu.main(["--dry-run", "--gpus", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1. tests and benchmarks of the GPU: 2 min"
    assert "   - tests, fresh: took 2 min on a GPU" in lines
    assert "   - new, missing: for an unknown time" in lines
    # Without a GPU here, packages that need one are taken to be on the machine that has.
    assert any("kernels, stale: took" in line for line in lines)
    assert [line for line in lines if line.startswith("left as it is: ")] == [
        next(line for line in lines if line.startswith("left as it is: trained, stale: needs"))
    ]
    total = 100 + 5200 + 5000 + 70 + 170
    assert lines[-1].startswith(f"in all up to {records.duration(total)},")


def test_a_step_that_fails_costs_the_others_nothing(book, monkeypatch, capsys):
    monkeypatch.setattr(run, "gpus", lambda: 1)
    monkeypatch.setattr(gpu, "NEEDED", ())
    dates = iter(({"a": "1", "b": "1"}, {"a": "2", "b": "1", "c": "2"}))
    monkeypatch.setattr(gpu, "_dates", lambda: next(dates))
    monkeypatch.setattr(gpu, "states", lambda: STATES)
    called = []
    monkeypatch.setattr(
        run, "call", lambda arguments: called.append(arguments) or int(len(called) == 2)
    )
    assert gpu.main([]) == 1
    assert len(called) == 4
    shown = capsys.readouterr()
    assert "new in results/: a, c" in shown.out
    assert shown.err == "make gpu: records that are not fresh: exit code 1\n"


def test_what_ends_it_is_said_and_is_the_exit_code(book, monkeypatch, capsys):
    def end(arguments):
        raise Ended(signal.SIGTERM)

    monkeypatch.setattr(run, "gpus", lambda: 1)
    monkeypatch.setattr(gpu, "NEEDED", ())
    monkeypatch.setattr(gpu, "states", lambda: STATES)
    monkeypatch.setattr(gpu, "_dates", dict)
    monkeypatch.setattr(run, "call", end)
    assert gpu.main([]) == 143
    assert capsys.readouterr().err == "make gpu: terminated\n"


def test_every_chapter_has_a_time():
    found = gpu._chapters()
    assert len(found) > 15
    assert all(0 < seconds <= gpu.CHAPTER for seconds in found.values())


@pytest.mark.parametrize(
    ("variables", "arguments"),
    [
        (["DRY=1", "DATA=/some 'where'"], ["--dry-run", "--data", "/some 'where'"]),
        (["DRY=0", 'OUT=$HOME "there"'], ["--out", '$HOME "there"']),
        ([], []),
    ],
)
def test_make_hands_its_variables_on(tmp_path, variables, arguments):
    # The tests may be run by make themselves, which tells its children.
    own = ("MAKE", "DRY", "DATA", "OUT")
    env = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    env["OUT"] = "/another's"  # not meant for make
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    python.chmod(0o755)
    # A dollar is doubled for make itself.
    given = [variable.replace("$", "$$") for variable in variables]
    said = subprocess.run(
        ["make", "gpu", *given, f"PYTHON={python}"],
        cwd=ROOT,
        env=env,
        text=True,
        capture_output=True,
        check=True,
    ).stdout
    expected = ["-m", "tokensphere.paper.renewal.gpu", *arguments]
    assert json.loads(said.splitlines()[-1]) == expected


@pytest.mark.parametrize("visible", ["0,1", "2, 3", "GPU-5e1f, GPU-77aa", "MIG-1, MIG-2"])
def test_only_the_gpus_that_are_visible_are_handed_out(book, monkeypatch, visible):
    """Two of a machine with more: CUDA, here torch, counts those that it may use."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(visible.split(",")))
    monkeypatch.setattr(gpu, "NEEDED", ())
    monkeypatch.setattr(gpu, "states", lambda: STATES)
    monkeypatch.setattr(gpu, "_dates", dict)
    called = []
    monkeypatch.setattr(run, "call", lambda arguments: called.append(arguments) or 0)
    assert gpu.main([]) == 0
    (chapters,) = [one for one in called if "rerun" in one and "part/counts" not in one]
    assert chapters[chapters.index("--gpus") + 1] == "2"

    handed = []

    class Cluster:
        def __init__(self, workers, *_, **__):
            handed.extend(one["options"]["env"]["CUDA_VISIBLE_DEVICES"] for one in workers.values())
            raise OSError("far enough")

    monkeypatch.setattr(distributed, "SpecCluster", Cluster)
    with pytest.raises(OSError, match="far enough"), engine.local(2, gpus=True):
        pass
    assert handed == visible.replace(" ", "").split(",")
