"""One cell in a process of its own: `python -m tokensphere.paper.rerun.one LABEL`.

Its task, a line of JSON, comes through its standard input, which stays open: when that ends, who
started it is gone, and it ends its kernel and itself. Its answer, a line of JSON, is the last that
it writes to its standard output.

A process of its own, because papermill changes the working directory of the whole process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, TextIO

import filelock
import psutil

from tokensphere.paper import chapters
from tokensphere.paper.rerun import cells
from tokensphere.paper.rerun.kept import kept
from tokensphere.paper.rerun.store import FAILED, INTERRUPTED, PASSED, RUNNING, Entry, Store

LOG = logging.getLogger(__name__)
MARK = "TOKENSPHERE_CELL"
"""In the environment of a cell's kernel, and of all that this starts: which cell they are of."""
GRACE = 10.0
"""Seconds in which a run whose kernel was ended must come to its end by itself."""


@dataclass(frozen=True)
class Task:
    """A cell to run.

    source: the chapter's file. known: the attempt that was known when the batch was planned.
    token: of the folder. outside: whether the chapter is in no book.
    timeout: seconds. stamps: of the files of its code, as in `cells.Chapter`.
    """

    folder: str
    token: str
    batch: str
    chapter: str
    digest: str
    source: str
    parameters: Mapping[str, Any]
    values: Mapping[str, Any]
    code: Mapping[str, str]
    versions: Mapping[str, str | None]
    outside: bool = False
    known: str | None = None
    timeout: float | None = None
    machine: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    stamps: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)

    @property
    def mark(self) -> str:
        return os.path.join(self.folder, self.chapter, self.digest)


def settled(task: Task, store: Store) -> dict[str, Any] | None:
    """The outcome of a cell that passed, or was tried since the batch was planned; else None.

    So a task that Dask repeats runs no cell twice, nor do two batches.
    """
    if store.passed(task.chapter, task.digest):
        return {"state": PASSED}
    entry = store.entry(task.chapter, task.digest)
    if entry and entry.state == FAILED and entry.run != task.known:
        return {"state": FAILED, "error": entry.error}
    return None


def sweep(mark: str) -> None:
    """Kill every process of a cell on this machine, whoever its parent is by now, and wait."""
    killed = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                process.kill()
                killed.append(process)
        except psutil.Error:  # gone, or another user's
            continue
    # A GPU is free again only when they are gone.
    psutil.wait_procs(killed, timeout=GRACE)


class _Run:
    """The run of a cell by the owner of its lock."""

    def __init__(self, task: Task, store: Store, answer: TextIO) -> None:
        self.task, self.store, self.answer = task, store, answer
        self.start = time.monotonic()
        self.cut: tuple[str, str | None] | None = None
        self.entry = Entry(
            chapter=task.chapter,
            digest=task.digest,
            state=RUNNING,
            parameters=task.parameters,
            values=task.values,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            run=uuid.uuid4().hex,
            machine=task.machine,
            versions=task.versions,
            code=task.code,
            source=task.source if task.outside else None,
        )

    def execute(self) -> dict[str, Any]:
        state, error, values, size = FAILED, None, None, None
        try:
            # Of an owner that died: what it left running, and half-written.
            sweep(self.task.mark)
            self.store.clear_drafts(self.task.chapter, self.task.digest)
            self.store.write(self.entry)
            self._log()
            notebook = chapters.run(
                self.task.source,
                self.task.parameters,
                self.store.file(self.task.chapter, self.task.digest, ".ipynb"),
                log=True,
                confirm=self._unchanged,
            )
            state = PASSED
            content = notebook.read_bytes()
            size, values = len(content), kept(json.loads(content))
        except (chapters.ChapterFailed, chapters.ChapterError) as failed:
            error = str(failed)
        except Exception as failed:  # a full disk, say: this cell fails, and says why
            LOG.exception("the cell could not be run")
            error = _line(failed)
        sweep(self.task.mark)
        if state == FAILED and self.cut:
            return self._broken_off()
        return self.end(state, error, kept=values, size=size)

    def end(self, state: str, error: str | None, **found: Any) -> dict[str, Any]:
        entry = dataclasses.replace(
            self.entry,
            state=state,
            error=error,
            seconds=round(time.monotonic() - self.start, 3),
            **found,
        )
        try:
            self.store.write(entry)
        except OSError as failed:
            # The notebook alone says whether the cell passed; of a failure the answer tells.
            LOG.error("no description could be written: %s", failed)
        return {"state": state, "error": error}

    def expire(self) -> None:
        """End a cell whose time is over, as one that failed."""
        self._cut(FAILED, f"took longer than {self.task.timeout:g} s")

    def watch(self) -> None:
        """End the cell when the standard input ends: whoever started this process is gone."""
        while os.read(0, 1):
            pass
        self._cut(INTERRUPTED, None)

    def terminate(self, *_: Any) -> None:
        """End the cell, from a handler of a signal."""
        # Not here: the main thread must go on to its end without a kernel.
        threading.Thread(target=self._cut, args=(INTERRUPTED, None), daemon=True).start()

    def _cut(self, state: str, reason: str | None) -> NoReturn:
        """End the kernel, also one that just starts; then the main thread, which runs it, ends."""
        self.cut = self.cut or (state, reason)
        until = time.monotonic() + GRACE
        while time.monotonic() < until:
            sweep(self.task.mark)
            time.sleep(0.2)
        with contextlib.suppress(OSError):
            print(json.dumps(self._broken_off()), file=self.answer, flush=True)
        os._exit(0)

    def _broken_off(self) -> dict[str, Any]:
        state, reason = self.cut
        self.store.clear_drafts(self.task.chapter, self.task.digest)
        if state == INTERRUPTED:  # no failure of the cell's, though its kernel died
            self.store.file(self.task.chapter, self.task.digest, ".failed.ipynb").unlink(True)
        return self.end(state, reason)

    def _log(self) -> None:
        path = self.store.file(self.task.chapter, self.task.digest, ".log")
        with path.open("wb") as stream:
            for output in (1, 2):  # by number, for the kernel too
                os.dup2(stream.fileno(), output)
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s", force=True)

    def _unchanged(self) -> None:
        """Refuse what was computed while its code was edited, and be it back to what it was.

        Of files that are the same again nobody knows what was read in between.
        """
        for path, then in self.task.stamps.items():
            try:
                same = cells.stamp(path) == tuple(then)
            except OSError:
                same = False
            if not same:
                raise chapters.ChapterFailed(f"{path} was written to while the cell ran")


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def main() -> None:
    """Run the task on the standard input."""
    # Which workers do not see, for their parent does; a kernel may be interrupted.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    task = Task(**json.loads(sys.stdin.buffer.raw.readline()))
    store = Store(task.folder)
    lock = store.lock(task.digest)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        outcome: dict[str, Any] | None = {"state": RUNNING}
    else:
        outcome = settled(task, store)
        if outcome is None:
            run = _Run(task, store, answer)
            os.environ[MARK] = task.mark
            signal.signal(signal.SIGTERM, run.terminate)
            threading.Thread(target=run.watch, daemon=True).start()
            if task.timeout:
                timer = threading.Timer(task.timeout, run.expire)
                timer.daemon = True
                timer.start()
            outcome = run.execute()
    with contextlib.suppress(OSError):  # nobody listens any more
        print(json.dumps(outcome), file=answer, flush=True)
    # Not by returning: a thread that reads the standard input, or a timer, must not keep it.
    os._exit(0)


if __name__ == "__main__":
    main()
