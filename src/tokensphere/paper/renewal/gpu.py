"""What `make gpu` does on a machine with CUDA: its tests, benchmarks, stale records, all chapters.

    python -m tokensphere.paper.renewal.gpu [--dry-run] [--data DIR] [--out DIR] [--gpus N]

1. GPU tests and benchmarks, each time; then results/ has their outcomes.
2. The other records where they are stale; those whose data or devices are not here are left, and
   said.
3. Chapters that write records themselves, then all chapters, at full scale: `tokensphere rerun`.
   The first before the others, because those read what they write.

Exit codes: 0 all of it passed; 1 something failed, a line each; 2 bad input, or no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tokensphere import records
from tokensphere.paper import chapters, signals
from tokensphere.paper.renewal import run
from tokensphere.paper.renewal.state import FRESH, State, states

CHAPTER = 60.0
"""Seconds that a new chapter takes at most, by the rules of the book."""
NEEDED = ("pytest", "papermill", "distributed")


@dataclass(frozen=True)
class Step:
    """A command of `make gpu`.

    arguments: of Python. seconds: what it took when it was last recorded. details: a line each.
    """

    title: str
    arguments: list[str]
    seconds: float
    details: list[str]


def plan(
    found: Sequence[State],
    data: Path,
    devices: int,
    out: str,
    installed: Callable[[str], Any] = find_spec,
) -> tuple[list[Step], list[str]]:
    """The steps, and a line for each record that they leave although it is not fresh.

    found: of all records. data, devices, installed: as for `run.refusal`. out: of the notebooks.
    """
    each_run, stale, by_chapter, left = [], [], [], []
    for state in found:
        renewal = state.renewal
        if renewal is None or (state.state == FRESH and not renewal.each_run):
            continue
        reason = run.refusal(renewal, data, devices, installed)
        if renewal.chapter is not None:
            by_chapter.append(state)
        elif reason is not None:
            left.append(f"{state.name}, {state.state}: {reason}")
        else:
            (each_run if renewal.each_run else stale).append(state)
    steps = [
        _renewal("tests and benchmarks of the GPU", each_run, data),
        _renewal("records that are not fresh", stale, data),
    ]
    rerun = ["-m", "tokensphere.cli", "rerun", "--scale", "full", "--gpus", str(devices)]
    rerun += ["--out", out]
    names = list(dict.fromkeys(state.renewal.chapter for state in by_chapter if state.renewal))
    steps.append(
        Step(
            "chapters that write records which are not fresh",
            [*rerun, *names],
            sum(map(_seconds, by_chapter)),
            list(map(_detail, by_chapter)),
        )
    )
    # A chapter that writes a record renews it at full scale whether or not it is fresh.
    whole = [state for state in found if state.renewal is not None and state.renewal.chapter]
    again = [state for state in whole if state not in by_chapter]
    times = _chapters()
    steps.append(
        Step(
            f"all {len(times)} chapters at full scale, {devices} at a time",
            rerun,
            sum(times.values()) / devices + sum(map(_seconds, again)),
            [f"chapters: took {records.duration(sum(times.values()))}", *map(_detail, again)],
        )
    )
    return [step for step in steps if step.details], left


def _renewal(title: str, found: Sequence[State], data: Path) -> Step:
    names = [state.name for state in found]
    arguments = ["-m", "tokensphere.cli", "records", "--data", str(data), "--renew", *names]
    return Step(title, arguments, sum(map(_seconds, found)), list(map(_detail, found)))


def _chapters() -> dict[str, float]:
    """Pages of the book that have code, and the seconds that each took for its baseline."""
    found = chapters.pages(run.checkout() / "book")
    file = run.checkout() / "tests" / "baselines" / "seconds.json"
    took = json.loads(file.read_text("utf-8"))
    names = [name for name, page in found.items() if "{code-cell}" in page.read_text("utf-8")]
    return {name: took.get(name, CHAPTER) for name in names}


def _seconds(state: State) -> float:
    return state.record.seconds if state.record is not None else 0.0


def _detail(state: State) -> str:
    if state.record is None:
        return f"{state.name}, {state.state}: for an unknown time"
    took = records.duration(state.record.seconds)
    return f"{state.name}, {state.state}: took {took} on {state.record.device}"


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    made = argparse.ArgumentParser(prog="make gpu", description=__doc__.partition("\n")[0])
    made.add_argument("--dry-run", action="store_true", help="only say what, and for how long")
    made.add_argument("--data", type=Path, default=Path("data"), metavar="DIR")
    made.add_argument("--out", default="build/gpu", metavar="DIR", help="of the notebooks")
    made.add_argument("--gpus", type=int, metavar="N", help="default: all")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Do it, or say what would be done."""
    given = parser().parse_args(argv)
    there = run.gpus()
    asked = there if given.gpus is None else given.gpus
    if reason := _refusal(given.dry_run, given.gpus, there, given.out):
        print(f"make gpu: {reason}", file=sys.stderr)
        return 2
    # Without a GPU the plan is that of a machine with one, and with the packages that need it.
    installed = find_spec if there else bool
    steps, left = plan(
        states(), given.data.absolute(), asked or 1, str(Path(given.out).absolute()), installed
    )
    if given.dry_run:
        _print(steps, left)
        return 0
    try:
        with signals.ending():
            return _run(steps, left)
    except signals.Ended as ended:
        print(f"make gpu: {ended}", file=sys.stderr)
        return 128 + ended.number


def _refusal(dry: bool, asked: int | None, there: int, out: str) -> str | None:
    if asked is not None and asked < 1:
        return f"--gpus: got {asked}, takes 1 or more"
    if not out or (os.path.lexists(out) and not os.path.isdir(out)):
        return f"--out: got {out!r}, takes a folder, which need not be there"
    if dry:
        return None
    if there < (asked or 1):
        wanted = "a CUDA device" if asked is None else f"{asked} CUDA devices"
        return f"needs {wanted}, here is {there or 'none'}; DRY=1 says what it would do"
    missing = [name for name in NEEDED if find_spec(name) is None]
    return f"needs {missing[0]}: see requirements-gpu.txt" if missing else None


def _print(steps: Sequence[Step], left: Sequence[str]) -> None:
    for number, step in enumerate(steps, 1):
        print(f"{number}. {step.title}: {records.duration(step.seconds)}")
        print(f"   python {shlex.join(step.arguments)}")
        print(*(f"   - {detail}" for detail in step.details), sep="\n")
    for line in left:
        print(f"left as it is: {line}")
    total = records.duration(sum(step.seconds for step in steps))
    print(f"in all up to {total}, by what records took on their machines")


def _run(steps: Sequence[Step], left: Sequence[str]) -> int:
    before = _dates()
    failed = []
    for number, step in enumerate(steps, 1):
        print(f"{number}/{len(steps)} {step.title}", flush=True)
        # What failed costs the others nothing: each says for itself what it lacks.
        if code := run.call(step.arguments):
            failed.append(f"{step.title}: exit code {code}")
    new = [name for name, date in _dates().items() if before.get(name) != date]
    print(f"new in results/: {', '.join(new) or 'nothing'}")
    for line in left:
        print(f"left as it is: {line}")
    for line in failed:
        print(f"make gpu: {line}", file=sys.stderr)
    return 1 if failed else 0


def _dates() -> dict[str, str]:
    return {state.name: state.record.date for state in states() if state.record is not None}


if __name__ == "__main__":
    sys.exit(main())
