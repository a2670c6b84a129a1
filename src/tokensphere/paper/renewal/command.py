"""The command `tokensphere records`.

Exit codes: 0 listed, whatever the states, or renewed; 1 a renewal that failed; 2 bad input.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections import Counter
from pathlib import Path

from tokensphere import records
from tokensphere.paper.renewal import Refused, run, state
from tokensphere.paper.renewal.state import State


def records_command(arguments: argparse.Namespace) -> int:
    """List records, or renew some; its exit code."""
    if arguments.renew is None:
        if arguments.data is not None:
            raise Refused("--data is for --renew, which is missing")
        found = state.states()
        if arguments.json:
            print(json.dumps({"records": [state.plain(one) for one in found]}, indent=2))
        else:
            _print(found)
        return 0
    if arguments.json:
        raise Refused("--json is for a list; --renew prints what its commands print")
    failures = run.renew(run.chosen(arguments.renew), Path(arguments.data or "data"))
    for failure in failures:
        print(f"tokensphere: {' '.join(failure.split())}", file=sys.stderr)
    return 1 if failures else 0


def _print(found: list[State]) -> None:
    for one in found:
        print(f"{one.name}: {one.state}")
        for line in _lines(one):
            print(f"  {line}")
    counts = Counter(one.state for one in found)
    print(f"{len(found)} records: {', '.join(f'{n} {name}' for name, n in counts.items())}")


def _lines(one: State) -> list[str]:
    lines = [*one.reasons, *([one.unchecked] if one.unchecked else [])]
    if one.record is not None:
        lines += [_made(one.record)]
    if one.versions:
        pairs = (f"{name} {a or 'none'} ({b or 'none'})" for name, (a, b) in one.versions.items())
        lines += [f"made with, in brackets here: {', '.join(pairs)}"]
    if one.renewal is None:
        return [*lines, "no command renews it"]
    lines += [shlex.join(one.renewal.by_hand())]
    if needs := needed(one):
        lines += [f"needs {needs}"]
    return lines


def _made(record: records.Record) -> str:
    commit = "no commit known"
    if record.commit is not None:
        tree = {True: ", uncommitted changes", False: "", None: ", copied without its history"}
        commit = f"commit {record.commit[:10]}{tree[record.dirty]}"
    took = records.duration(record.seconds)
    return f"{record.date[:10]} on {record.device} in {took}; {commit}"


def needed(one: State) -> str:
    """What a renewal needs, in words; empty for a CPU and no data."""
    renewal = one.renewal
    if renewal is None:
        return ""
    devices = [f"{renewal.gpus} GPU{'s' * (renewal.gpus > 1)}"] if renewal.gpus else []
    return ", ".join([*devices, *renewal.packages, *(f"--data {name}" for name in renewal.data)])
