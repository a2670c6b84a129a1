"""The commands `tokensphere rerun` and `tokensphere collect`.

Exit codes of `rerun`: 0 every cell passed; 1 some failed, a line each, or the batch could not go
on; 2 bad input; 128 and its number after a signal: 130 of Ctrl-C, 143 of SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import sys

from tokensphere.paper import signals
from tokensphere.paper.rerun import BadInput, cells, grid, page
from tokensphere.paper.rerun.store import FAILED, INTERRUPTED, PASSED, RUNNING, Entry, Store


def rerun(arguments: argparse.Namespace) -> int:
    """Run a batch, say what it would do, or what is there; its exit code."""
    if arguments.status is not None:
        return _status(arguments)
    if arguments.out is None:
        raise BadInput("the following arguments are required: --out")
    if not arguments.out:
        raise BadInput("--out: got '', takes the name of a folder")
    _check(arguments)
    wanted = grid.build(
        arguments.chapters,
        grid.parameters(arguments.parameters),
        arguments.grid,
        arguments.scale,
    )
    store = Store(arguments.out)
    if os.path.lexists(store.folder) and not store.folder.is_dir():
        raise BadInput(f"--out: {arguments.out} is no folder, takes one or a new name")
    if arguments.dry_run:
        return _dry_run(store, wanted)
    return _run(store, wanted, arguments)


def collect(arguments: argparse.Namespace) -> int:
    """Print or write the table, and draw the figure; its exit code."""
    from tokensphere.paper.rerun import collect as collecting

    if (arguments.figure is None) != (arguments.against is None):
        raise BadInput("--figure and --against go together")
    # Both, before one of them is written.
    for option, endings in (("figure", collecting.FIGURES), ("out", collecting.TABLES)):
        if (path := getattr(arguments, option)) is not None:
            collecting.place(f"--{option}", path, endings)
    rows = collecting.table(_existing(arguments.folder), arguments.names)
    for chapter, count in collecting.versions(rows).items():
        print(
            f"tokensphere: {chapter}: cells of {count} versions of code or environment; the "
            "column code tells them apart",
            file=sys.stderr,
        )
    if arguments.figure is not None:
        # Of several names, the first.
        collecting.figure(rows, arguments.names[0], arguments.against, arguments.figure)
    collecting.write(rows, sys.stdout if arguments.out is None else arguments.out)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    for name in ("workers", "gpus", "timeout"):
        value = getattr(arguments, name)
        if value is not None and not (0 < value < float("inf")):
            raise BadInput(f"--{name}: got {value}, takes a number above 0")
    if arguments.workers and arguments.gpus:
        raise BadInput("--workers and --gpus: a GPU has one worker; give one of them")
    if arguments.workers and arguments.scheduler:
        raise BadInput("--workers: with --scheduler the workers are those of the cluster")
    if arguments.gpus and not arguments.scheduler:
        from tokensphere.paper.rerun import engine

        there = len(engine.devices())
        if there < arguments.gpus:
            raise BadInput(f"--gpus: got {arguments.gpus}, this machine has {there}")


def _run(store: Store, wanted: list[cells.Cell], arguments: argparse.Namespace) -> int:
    from tokensphere.paper.rerun import batch

    try:
        with signals.ending():
            summary = batch.run(
                store,
                wanted,
                workers=arguments.workers,
                gpus=arguments.gpus,
                scheduler=arguments.scheduler,
                timeout=arguments.timeout,
            )
    except batch.BatchError as error:
        return _complain(str(error), 1)
    except signals.Ended as ended:
        said = f"{ended}; what is done is kept: the same command goes on from there"
        return _complain(said, 128 + ended.number)
    for cell, error in summary.failed:
        _complain(f"failed: {cell.label}: {error}", 1)
    before = f" ({summary.before} before)" if summary.before else ""
    print(
        f"{summary.passed} of {len(wanted)} cells passed{before}, {len(summary.failed)} failed: "
        f"{store.folder / 'index.html'}"
    )
    return 1 if summary.failed else 0


def _dry_run(store: Store, wanted: list[cells.Cell]) -> int:
    """What a batch would do, a line a cell, and for how long by what cells took before."""
    known: dict[str, list[Entry]] = {}
    entries = store.entries() if store.folder.is_dir() else []
    for entry in entries:
        known.setdefault(entry.same, []).append(entry)
    waiting, seconds, unknown = 0, 0.0, 0
    for cell in wanted:
        versions = known.get(cell.same, [])
        mine = [entry for entry in entries if entry.digest == cell.digest]
        if mine and mine[0].state == PASSED:
            print(f"done     {cell.label}")
            continue
        waiting += 1
        took = [e.seconds for e in versions if e.state == PASSED and e.seconds is not None]
        seconds += max(took, default=0.0)
        unknown += not took
        print(f"to run   {cell.label}{_why(cell, mine, versions)}")
    more = f", and {unknown} never passed" if unknown else ""
    took = f": {seconds:.0f} s of one worker, as they took before" if seconds else ""
    print(f"{waiting} of {len(wanted)} cells to run{took}{more}")
    return 0


def _why(cell: cells.Cell, mine: list[Entry], versions: list[Entry]) -> str:
    """Why a cell that was run before would run again."""
    if mine:
        return f": {mine[0].state} before"
    for entry in versions:
        changed = cells.differences(entry.code, cell.chapter.code)
        changed += cells.differences(entry.versions, cells.environment())
        if entry.state == PASSED and changed:
            return f": {', '.join(changed[:3])}{' and more' * (len(changed) > 3)} changed"
    return ""


def _status(arguments: argparse.Namespace) -> int:
    others = ("chapters", "parameters", "dry_run", "gpus", "grid", "out", "scale", "scheduler")
    for name in (*others, "timeout", "workers"):
        if getattr(arguments, name):
            raise BadInput("--status says what is in its folder, and takes nothing else")
    store = _existing(arguments.status)
    entries = store.entries()
    for entry in entries:
        if entry.state in (FAILED, INTERRUPTED, RUNNING):
            error = f": {entry.error}" if entry.error else ""
            print(f"{entry.state:<12} {entry.label}{error}")
    seconds = sum(entry.seconds or 0 for entry in entries)
    print(f"{page.counts(entries)}; {seconds:.0f} s in all")
    return 0


def _existing(folder: str) -> Store:
    store = Store(folder)
    if not folder or not store.folder.is_dir():
        raise BadInput(f"{folder or repr('')}: no such folder")
    return store


def _complain(message: str, code: int) -> int:
    print(f"tokensphere: {message}", file=sys.stderr)
    return code
