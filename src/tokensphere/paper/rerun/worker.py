"""What runs on Dask's workers: it has a cell run by a process of its own, and waits for that."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from functools import cache
from typing import Any

from tokensphere import records
from tokensphere.paper import chapters
from tokensphere.paper.rerun import cells
from tokensphere.paper.rerun.one import Task, settled, sweep
from tokensphere.paper.rerun.store import FAILED, INTERRUPTED, RUNNING, Store

REFUSED, DIED = "refused", "died"
"""Outcomes beside those of a store: of a worker that cannot run the cell, of one that ended."""

LOOK = 1.0
"""Seconds between two looks at whether the worker is still wanted."""

_running: dict[str, set[subprocess.Popen[bytes]]] = defaultdict(set)
_stopped: set[str] = set()
_access = threading.Lock()


def quiet() -> None:
    """No lines by Dask about workers that come and go: a batch says what became of its cells."""
    for name in ("", ".client", ".core", ".nanny", ".scheduler", ".worker"):
        logging.getLogger(f"distributed{name}").setLevel(logging.CRITICAL)


def run_cell(content: dict[str, Any]) -> dict[str, Any]:
    """Run the cell of a `one.Task`, unless that is settled on disk, and return its outcome."""
    task = Task(**content)
    store = Store(task.folder)
    if not store.has(task.token):
        return _refused(f"does not see {store.folder}: it was moved, or not all share its disk")
    try:
        chapter = cells.read(task.source)
    except chapters.ChapterError as error:
        return _refused(str(error))
    if changed := cells.differences(task.code, chapter.code):
        return _refused(f"has other code than the batch began with: {', '.join(changed[:3])}")
    if changed := cells.differences(task.versions, cells.environment()):
        found = ", ".join(f"{name} {cells.environment().get(name)}" for name in changed[:3])
        return _refused(f"has other versions than the batch began with: {found}")
    if outcome := settled(task, store):
        return outcome
    if store.held(task.digest):
        return {"state": RUNNING}
    return _process(dataclasses.replace(task, machine=machine(), stamps=chapter.stamps))


def stop(batch: str) -> None:
    """End the cells of a batch on this worker, and start no more of them."""
    with _access:
        _stopped.add(batch)
        for process in _running[batch]:
            process.terminate()


@cache
def machine() -> dict[str, Any]:
    """Host, processor, cores, and the GPUs that this process sees."""
    gpus = []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if (tool := shutil.which("nvidia-smi")) and visible != "":
        command = [tool, "--query-gpu=name", "--format=csv,noheader"]
        if visible is not None:
            command.append(f"--id={visible}")
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
            gpus = found.stdout.splitlines()
    cores = os.cpu_count()
    return {"host": platform.node(), "cpu": records.cpu_name(), "cores": cores, "gpus": gpus}


def _refused(why: str) -> dict[str, Any]:
    return {"state": REFUSED, "error": f"{platform.node()} {why}"}


def _closing() -> bool:
    """Whether Dask closes this worker, as it does without a scheduler: it would wait for us."""
    from distributed import Status, get_worker

    try:
        return get_worker().status in (Status.closing, Status.closed, Status.failed)
    except ValueError:  # on no worker
        return False


def _process(task: Task) -> dict[str, Any]:
    package = os.fspath(records.ROOT.parent)
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    with _access:
        if task.batch in _stopped:
            return {"state": INTERRUPTED}
        process = subprocess.Popen(
            [sys.executable, "-m", "tokensphere.paper.rerun.one", f"{task.chapter}/{task.digest}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # The code that was digested is the code that runs, in the kernel too.
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            # Ctrl-C is for who started the batch, who then ends the cells.
            start_new_session=True,
        )
        _running[task.batch].add(process)
    try:
        with contextlib.suppress(BrokenPipeError):  # it died at once
            process.stdin.write(json.dumps(dataclasses.asdict(task)).encode() + b"\n")
            process.stdin.flush()
        while not select.select([process.stdout], [], [], LOOK)[0]:
            if _closing():
                process.terminate()
        said = process.stdout.read().decode("utf-8", "replace").strip()
        code = process.wait()
    finally:
        with _access:
            _running[task.batch].discard(process)
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
    last = said.rpartition("\n")[2]
    if code < 0:
        sweep(task.mark)
        return {"state": DIED, "error": f"its process died of {signal.Signals(-code).name}"}
    try:
        return json.loads(last)
    except ValueError:
        return {"state": FAILED, "error": f"its process ended with {code}: {last[:300]}"}
