"""Batches whose parts are killed: nothing is lost, nothing runs twice, nothing is half-written.

Each test starts the command as a user does, with two workers, on chapters made for it.
"""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from rerun_book import command, entries, environment, kernels, leftovers, runs, write

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads /proc")

PATIENCE = 1200
"""Seconds after which what must come did not: it takes up to 20, and many times that where much
else runs."""


def ended(process, timeout=PATIENCE):
    """Exit code, standard output and standard error."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def until(condition, batch=None):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came"
        assert batch is None or batch.poll() is None, batch.communicate()
        time.sleep(0.05)


def alive(pids):
    return [pid for pid in pids if psutil.pid_exists(pid)]


def notebooks(folder, pattern="*.ipynb"):
    return sorted(path for path in folder.rglob(pattern) if not path.name.startswith("."))


FATES = {
    "fails": "raise ValueError('no <such> thing')",
    "exhausts_its_memory": (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))\n"
        "everything = bytearray(2**32)"
    ),
    # As the system does to the process that has most when memory is exhausted.
    "starves": "os.kill(os.getpid(), signal.SIGKILL)",
    # With a process of its own, as a chapter that computes in parallel has.
    "kills_its_worker": (
        "import subprocess\n"
        "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "Path('../child').write_text(str(child.pid))\n"
        "os.kill(worker, signal.SIGKILL); time.sleep(600)"
    ),
    "kills_a_worker_once": (
        "flag = Path('../flag')\n"
        "if not flag.exists():\n"
        "    flag.touch(); os.kill(worker, signal.SIGKILL); time.sleep(600)"
    ),
    "kills_its_process": "os.kill(one, signal.SIGKILL); time.sleep(600)",
    "good": "print('done')",
}
GRID = "".join(f"{name}: {{}}\n" for name in FATES if name != "good") + "good: {seed: [0, 1]}\n"


def test_a_cell_s_fate_is_its_own(tmp_path):
    for name, code in FATES.items():
        write(tmp_path, name, code)
    (tmp_path / "grid.yml").write_text(GRID)
    out = tmp_path / "out"
    arguments = ("--grid", "grid.yml", "--out", "out", "--workers", 2)
    code, said, complained = ended(command(tmp_path, *arguments))
    assert code == 1, complained
    assert "3 of 8 cells passed, 5 failed" in said
    errors = {line.split()[2].rstrip(":"): line for line in complained.splitlines()}
    tried_twice = {"kills_its_worker", "kills_its_process"}
    assert set(errors) == {"fails", "exhausts_its_memory", "starves"} | tried_twice
    assert "MemoryError" in errors["exhausts_its_memory"]
    assert "ValueError: no <such> thing" in errors["fails"]
    assert "the kernel died: memory was short, or a cell ended it" in errors["starves"]
    assert "its worker died, 2 times" in errors["kills_its_worker"]
    assert "its process died of SIGKILL, 2 times" in errors["kills_its_process"]

    # Twice what was tried again, once everything else.
    again = ["kills_a_worker_once-0", "kills_its_process-0", "kills_its_worker-0"]
    assert sorted(runs(tmp_path)) == sorted([*entries(out), *again])
    assert alive([*kernels(tmp_path), int((tmp_path / "child").read_text())]) == []
    assert leftovers(out) == []
    states = {label: entry["state"] for label, entry in entries(out).items()}
    passed = {"good-0", "good-1", "kills_a_worker_once-0"}
    assert {label for label, state in states.items() if state == "passed"} == passed
    assert {state for label, state in states.items() if label not in passed} == {"failed"}
    assert len(notebooks(out, "*.failed.ipynb")) == 3  # of those whose process lived on
    assert len(notebooks(out)) == 3 + 3


def test_a_cell_that_takes_too_long_is_ended(tmp_path):
    """By itself: where much else runs, 12 seconds are too few for any other cell."""
    write(tmp_path, "hangs", "time.sleep(600)")
    (tmp_path / "grid.yml").write_text("hangs: {}\n")
    arguments = ("--grid", "grid.yml", "--out", "out", "--workers", 1, "--timeout", 12)
    code, _, complained = ended(command(tmp_path, *arguments))
    assert code == 1 and "took longer than 12 s" in complained
    assert [entry["state"] for entry in entries(tmp_path / "out").values()] == ["failed"]
    assert alive(kernels(tmp_path)) == []
    assert leftovers(tmp_path / "out") == []


def test_a_batch_that_is_broken_off_goes_on_from_there(tmp_path):
    write(tmp_path, "slow", "for i in range(wait * 10):\n    time.sleep(0.1)", "seed = 0\nwait = 0")
    grid = tmp_path / "grid.yml"
    grid.write_text("slow:\n  - {seed: 1}\n  - {seed: 2}\n  - {seed: 3, wait: 600}\n")
    arguments = ("--grid", "grid.yml", "--out", "out", "--workers", 2)

    # Ctrl-C reaches every process of the terminal's job.
    batch = command(tmp_path, *arguments)
    until(lambda: len(runs(tmp_path)) == 3, batch)
    until(lambda: len(notebooks(tmp_path / "out")) == 2, batch)
    os.killpg(batch.pid, signal.SIGINT)
    code, said, complained = ended(batch)
    assert (code, said) == (130, "")
    assert complained.startswith("tokensphere: interrupted") and complained.count("\n") == 1
    assert alive(kernels(tmp_path)) == []
    assert leftovers(tmp_path / "out") == []
    found = {label: entry["state"] for label, entry in entries(tmp_path / "out").items()}
    assert found == {"slow-1": "passed", "slow-2": "passed", "slow-3": "interrupted"}

    # The scheduler is in the process that was started: with it dies all.
    batch = command(tmp_path, *arguments)
    until(lambda: len(runs(tmp_path)) == 4, batch)
    batch.kill()
    batch.communicate()
    until(lambda: not alive(kernels(tmp_path)))
    until(lambda: not leftovers(tmp_path / "out"))
    assert runs(tmp_path)[3] == "slow-3"  # and no other again

    batch = command(tmp_path, *arguments)
    until(lambda: len(runs(tmp_path)) == 5, batch)
    batch.terminate()
    code, _, complained = ended(batch)
    assert code == 143 and complained.startswith("tokensphere: terminated")
    assert alive(kernels(tmp_path)) == []
    assert len(notebooks(tmp_path / "out")) == 2


def test_two_batches_share_a_folder(tmp_path):
    write(tmp_path, "shared", "time.sleep(0.5)")
    (tmp_path / "grid.yml").write_text("shared: {seed: [1, 2, 3, 4]}\n")
    arguments = ("--grid", "grid.yml", "--out", "out", "--workers", 1)
    batches = [command(tmp_path, *arguments) for _ in range(2)]
    for code, said, complained in map(ended, batches):
        assert (code, complained) == (0, "")
        assert "4 of 4 cells passed" in said
    assert sorted(runs(tmp_path)) == [f"shared-{seed}" for seed in range(1, 5)]
    assert leftovers(tmp_path / "out") == []
    assert len(notebooks(tmp_path / "out")) == 4


def test_a_cluster_whose_scheduler_is_killed(tmp_path):
    write(tmp_path, "slow", "time.sleep(wait)", "seed = 0\nwait = 0")
    (tmp_path / "grid.yml").write_text("slow: [{seed: 1}, {seed: 2, wait: 600}]\n")
    file = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    options = {"cwd": tmp_path, "env": environment(), **quiet}
    at = ["--host", "127.0.0.1", "--no-dashboard"]
    scheduler = subprocess.Popen(
        [*dask, "scheduler", *at, "--port", "0", "--scheduler-file", file], **options
    )
    workers = subprocess.Popen(
        [*dask, "worker", *at, "--scheduler-file", file, "--nworkers", "2", "--nthreads", "1"],
        **options,
    )
    try:
        until(lambda: file.exists() and file.read_text().endswith("}"))
        batch = command(tmp_path, "--grid", "grid.yml", "--out", "out", "--scheduler", file)
        until(lambda: len(runs(tmp_path)) == 2, batch)
        until(lambda: len(notebooks(tmp_path / "out")) == 1)
        scheduler.kill()
        code, _, complained = ended(batch)
        assert code == 1 and "the scheduler is lost" in complained, complained
        until(lambda: not alive(kernels(tmp_path)))
        until(lambda: not leftovers(tmp_path / "out"))
    finally:
        for process in (scheduler, workers):
            process.terminate()
            process.wait(PATIENCE)
