"""Renewing records: each by its command, beside the old one until the new one is whole."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tokensphere import records
from tokensphere.paper import signals
from tokensphere.paper.renewal import Refused
from tokensphere.paper.renewal.table import DRAFTS, Renewal, data_names, renewals


def chosen(names: Sequence[str]) -> list[Renewal]:
    """The renewals of these names, each once, in the order of the table; Refused for an unknown."""
    table = renewals()
    for name in names:
        if name not in table:
            close = difflib.get_close_matches(name, table)
            hint = f"did you mean {' or '.join(close)}?" if close else f"takes {', '.join(table)}"
            raise Refused(f"no record {name!r} that a command renews; {hint}")
    return [renewal for name, renewal in table.items() if name in names]


def gpus() -> int:
    """How many CUDA devices this process sees."""
    import torch

    return torch.cuda.device_count()


def refusal(
    renewal: Renewal, data: Path, devices: int, installed: Callable[[str], Any] = find_spec
) -> str | None:
    """Why a record cannot be renewed here, None if it can.

    data: the folder of what no package brings. devices: how many GPUs there are. installed: whether
    a package is.
    """
    if devices < renewal.gpus:
        plural = "s" * (renewal.gpus > 1)
        return f"needs {renewal.gpus} CUDA device{plural}, here is {devices or 'none'}"
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    numbers = [name.strip() for name in given.split(",") if name.strip()]
    if renewal.counts_gpus and numbers != [str(n) for n in range(len(numbers))]:
        return f"takes GPUs from 0 on, and CUDA_VISIBLE_DEVICES is {given}"
    for package in renewal.packages:
        if not installed(package):
            return f"needs {package}, of requirements-gpu.txt"
    for name in renewal.data:
        if _place(name, data) is None:
            files = " or ".join(str(data / file) for file in data_names()[name])
            return f"needs the data {name!r}, and there is no {files}"
    return None


def renew(wanted: Sequence[Renewal], data: Path) -> list[str]:
    """Renew records in turn; what their commands print is shown. Returns a line for each failure.

    Raises Refused, before anything runs, where one of them cannot be renewed here.
    """
    devices = gpus() if any(renewal.gpus for renewal in wanted) else 0
    for renewal in wanted:
        if reason := refusal(renewal, data, devices):
            raise Refused(f"{renewal.name}: {reason}")
    failures: list[str] = []
    chapters: set[str] = set()
    for renewal in wanted:
        if renewal.chapter in chapters:
            continue  # it wrote this one too
        group = [renewal]
        if renewal.chapter is not None:
            chapters.add(renewal.chapter)
            group = [other for other in wanted if other.chapter == renewal.chapter]
        failures += _locked(group, data)
    return failures


def _locked(group: Sequence[Renewal], data: Path) -> list[str]:
    """Renew what one command makes."""
    first = group[0]
    folder = records.path(DRAFTS) / first.name
    lock = folder.with_name(f".{folder.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            began = time.time()
            failures = _run(first, data, folder)
            if first.chapter is not None:
                failures += [failure for one in group if (failure := _unrenewed(one, began))]
            if not failures:
                shutil.rmtree(folder)
                names = ", ".join(one.name for one in group)
                print(f"{names}: renewed in {records.duration(time.time() - began)}", flush=True)
    except Timeout:
        return [f"{first.name}: another process renews it"]
    return failures


def _run(renewal: Renewal, data: Path, folder: Path) -> list[str]:
    try:
        _prepare(renewal, folder)
    except ImportError as error:  # of the parameters that the book asks for
        return [f"{renewal.name}: {error}"]
    draft = folder / renewal.path.name
    places: dict[str, Any] = {name: _place(name, data) for name in renewal.data}
    command = renewal.command(places | {"record": draft, "folder": folder})
    print(f"{renewal.name}: python {shlex.join(command)}", flush=True)
    if code := call(command):
        return [f"{renewal.name}: its command ended with exit code {code}"]
    if renewal.chapter is not None:
        return []
    missing = [name for name in (draft.name, *renewal.beside) if not (folder / name).is_file()]
    if missing:
        return [f"{renewal.name}: its command left no {missing[0]}"]
    if reason := _unfit(renewal, draft):
        return [f"{renewal.name}: what it made, {draft}, is not kept: {reason}"]
    if renewal.beside:
        records.name_files(draft, renewal.beside)
    # The record last: it says that the others are there.
    for name in (*renewal.beside, draft.name):
        target = records.path(name) if name in renewal.beside else renewal.path
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(folder / name, target)
    return []


def _prepare(renewal: Renewal, folder: Path) -> None:
    """An empty folder, or what a run of the same code and parameters left there when it stopped.

    Commands that go on from there do not all look whether their code has changed.
    """
    code = _code(renewal)
    made = json.dumps([code, renewal.arguments, renewal.parameters()])
    stamp = folder / "made_by.json"
    if folder.is_dir():
        with contextlib.suppress(ValueError, OSError):
            if code is not None and stamp.read_text("utf-8") == made:
                return
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    with records.write_whole(stamp) as stream:
        stream.write(made.encode())


def _code(renewal: Renewal) -> dict[str, str] | None:
    """Digests of all modules that it runs; None where they are not all of this package."""
    if renewal.module is None or not renewal.module.startswith(f"{records.PACKAGE}."):
        return None
    files = {name: records.source_file(name) for name in records.dependencies([renewal.module])}
    return {name: records.digest(file.read_text("utf-8")) for name, file in sorted(files.items())}


def _unfit(renewal: Renewal, file: Path) -> str | None:
    """Why a record would not be accepted."""
    try:
        reasons = records.staleness(records.read(file), renewal.parameters())
    except (ValueError, OSError, ImportError) as error:
        return str(error)
    return "; ".join(reasons) or None


def _unrenewed(renewal: Renewal, began: float) -> str | None:
    """What is wrong with a record that a chapter should have written, None if it has."""
    if reason := _unfit(renewal, renewal.path):
        return f"{renewal.name}: {reason}"
    # Dates have whole seconds.
    if datetime.fromisoformat(records.read(renewal.path).date).timestamp() < int(began):
        return f"{renewal.name}: {renewal.chapter} did not write it"
    return None


def _place(name: str, data: Path) -> Path | None:
    found = (data / file for file in data_names()[name])
    return next((place.absolute() for place in found if place.exists()), None)


def checkout() -> Path:
    """The folder that commands run in: its benchmarks and tests are found from there."""
    return records.path("").parent


def call(arguments: Sequence[str]) -> int:
    """Run this Python with `arguments` in the checkout, its output shown; its exit code.

    It finds this package before others of its name. Ctrl-C reaches it from the terminal, SIGTERM
    is handed on to it; then it is waited for, and signals.Ended raised.
    """
    places = [str(records.ROOT.parent), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))}
    received: list[int] = []

    def note(number: int, _: Any) -> None:
        received.append(number)
        if number != signal.SIGINT:
            process.terminate()

    process = subprocess.Popen([sys.executable, *arguments], cwd=checkout(), env=env)
    # Not subprocess.run: on Ctrl-C it kills after a quarter of a second, in the middle of whatever
    # the command does to end well.
    with signals.handled((signal.SIGINT, *signals.FROM_OUTSIDE), note):
        code = process.wait()
    if received:
        raise signals.Ended(received[0])
    return code
