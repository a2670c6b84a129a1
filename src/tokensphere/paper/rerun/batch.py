"""The cells of a batch, handed out to Dask's workers one by one.

Each worker has one cell at a time, sent to it by name: of a worker that dies Dask suspects every
task that it was given, not the one that ran, and tasks with resources it does not keep back. What
is done is asked of the disk, never of Dask.
"""

from __future__ import annotations

import contextlib
import math
import queue
import sys
import time
import uuid
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import filelock

from tokensphere.paper.rerun import BadInput, cells, engine, page, worker
from tokensphere.paper.rerun.cells import Cell
from tokensphere.paper.rerun.one import Task
from tokensphere.paper.rerun.store import FAILED, PASSED, RUNNING, Entry, Store

if TYPE_CHECKING:
    from distributed import Client, Future

PATIENCE = 60.0
"""Seconds without a worker that can run a cell, after which a batch gives up."""
LOSSES = 2
"""How often a cell may take its worker, or its own process, with it before it counts as failed."""
SENDINGS = 5
"""How often a cell may be sent to workers that were gone by then."""
PAUSE = 2.0
"""Seconds until a cell that somebody else runs is looked at again."""
LOOK = 1.0
"""Seconds between two looks at which workers there are."""
REFRESH = 60.0
"""Seconds between two writings of the folder's page while the batch runs."""
ENDING = 15.0
"""Seconds that cells have to end their kernels when the batch is broken off."""
LOST = "the scheduler is lost; what is done is kept: the same command goes on from there"


class BatchError(RuntimeError):
    """A batch that cannot go on, with what is missing in one line."""


@dataclass
class Summary:
    """What became of the cells of a batch.

    passed: how many, and how many of these before it began.
    failed: those that did not, with the error of each in one line.
    """

    passed: int
    before: int
    failed: list[tuple[Cell, str]] = field(default_factory=list)


def run(
    store: Store,
    wanted: Sequence[Cell],
    *,
    workers: int | None = None,
    gpus: int | None = None,
    scheduler: str | None = None,
    timeout: float | None = None,
) -> Summary:
    """Run those of the cells that are not done.

    workers: processes on this machine; by default one a core, no more than cells.
    gpus: as many of them, each with a GPU of its own; with `scheduler`, the most of its workers
        with the resource GPU that are used.
    scheduler: address of a Dask scheduler whose workers see the folder, the book and this code.
    timeout: seconds for each cell.

    However it ends, its kernels end too. Raises BadInput where no worker can run a cell, BatchError
    when they are lost later, OSError for the folder.
    """
    store.prepare()
    batch = _Batch(store, wanted, timeout, gpus is not None, gpus if scheduler else None)
    try:
        if batch.waiting:
            count = min(gpus or workers or engine.cores(), len(batch.waiting))
            local = scheduler is None
            with engine.local(count, bool(gpus)) if local else engine.remote(scheduler) as client:
                batch.run(client)
    finally:
        batch.close()
    return batch.summary


class _Batch:
    def __init__(
        self,
        store: Store,
        wanted: Sequence[Cell],
        timeout: float | None,
        gpu: bool,
        most: int | None,
    ) -> None:
        from tqdm import tqdm

        self.store, self.timeout, self.gpu, self.most = store, timeout, gpu, most
        self.name, self.token = uuid.uuid4().hex, store.token()
        self.versions: dict[str, list[Entry]] = {}
        known: dict[str, Entry] = {}
        for entry in store.entries():
            self.versions.setdefault(entry.same, []).append(entry)
            known[entry.digest] = entry
        # What is tried from now on, by whomever, is tried for this batch too.
        self.attempts = {
            cell.digest: known[cell.digest].run if cell.digest in known else None for cell in wanted
        }
        self.waiting: deque[Cell] = deque()
        for cell in wanted:
            if cell.digest in known and known[cell.digest].state == PASSED:
                self._forget_older(cell)
            else:
                self.waiting.append(cell)
        done = len(wanted) - len(self.waiting)
        self.summary = Summary(passed=done, before=done)
        self.later: deque[tuple[float, Cell]] = deque()
        self.running: dict[Future, tuple[Cell, str, str]] = {}
        self.losses: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.events: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self.refused: dict[str, str] = {}
        self.begun = False
        self.looked = -math.inf
        # disable=None: a bar on a terminal only.
        self.bar = tqdm(
            total=len(wanted), initial=done, desc="cells", unit="cell", disable=None, leave=False,
            file=sys.stderr,
        )  # fmt: skip

    def run(self, client: Client) -> None:
        written = seen = time.monotonic()
        usable: dict[str, str] = {}
        try:
            while self.waiting or self.running or self.later:
                now = time.monotonic()
                if now - self.looked > LOOK:
                    self.looked = now
                    usable = self._usable(client)
                    self._find_lost(usable)
                if usable or self.running:
                    seen = now
                elif self.refused or now - seen > PATIENCE:
                    raise (BatchError if self.begun else BadInput)(self._missing(client))
                if now - written > REFRESH:
                    written = now
                    with contextlib.suppress(OSError):  # which the last writing tells
                        self._write_page()
                while self.later and self.later[0][0] <= now:
                    self.waiting.append(self.later.popleft()[1])
                self._hand_out(client, usable)
                with contextlib.suppress(queue.Empty):
                    self._finish(self.events.get(timeout=0.2))
        finally:
            if self.running:
                self._stop(client)

    def close(self) -> None:
        self.bar.close()
        try:
            self._write_page()
        except OSError as error:  # which must not hide how the batch ended
            print(f"tokensphere: {error}", file=sys.stderr)

    def _write_page(self) -> None:
        if self.store.has(self.token):  # else somebody moved the folder: no other must appear
            page.write(self.store)

    def _usable(self, client: Client) -> dict[str, str]:
        """Address -> identity of the workers that can be given cells."""
        try:
            if client.status != "running":
                raise OSError(client.status)
            workers = client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, TimeoutError):
            raise BatchError(LOST) from None
        return {
            address: told["id"]
            for address, told in workers.items()
            if told["id"] not in self.refused
            and (not self.gpu or told.get("resources", {}).get(engine.GPU, 0) >= 1)
        }

    def _missing(self, client: Client) -> str:
        if self.refused:
            return f"no worker can run the cells: {next(iter(self.refused.values()))}"
        if self.gpu:
            others = len(client.scheduler_info(n_workers=-1)["workers"])
            return (
                f"no worker with the resource {engine.GPU} after {PATIENCE:g} s, and {others} "
                f"without: start them with --resources {engine.GPU}=1"
            )
        return f"no worker after {PATIENCE:g} s"

    def _hand_out(self, client: Client, usable: dict[str, str]) -> None:
        busy = {address for _, address, _ in self.running.values()}
        for address, identity in usable.items():
            if address in busy or not self.waiting or len(self.running) == self.most:
                continue
            cell = self.waiting.popleft()
            future = client.submit(
                worker.run_cell,
                self._task(cell),
                key=f"{cell.chapter.name}-{cell.digest}-{uuid.uuid4().hex}",
                workers=[address],
                allow_other_workers=False,
                resources={engine.GPU: 1} if self.gpu else None,
                pure=False,
            )
            self.running[future] = cell, address, identity
            future.add_done_callback(self.events.put)
        self._show()

    def _task(self, cell: Cell) -> dict[str, Any]:
        chapter = cell.chapter
        return asdict(
            Task(
                folder=str(self.store.folder),
                token=self.token,
                batch=self.name,
                chapter=chapter.name,
                digest=cell.digest,
                source=str(chapter.source),
                outside=chapter.outside,
                parameters=cell.parameters,
                values=cell.values,
                code=chapter.code,
                versions=cells.environment(),
                known=self.attempts[cell.digest],
                timeout=self.timeout,
            )
        )

    def _finish(self, future: Future) -> None:
        if future not in self.running:  # lost before, and settled
            return
        from distributed.comm import CommClosedError

        cell, address, identity = self.running.pop(future)
        if future.status == "finished":
            try:
                outcome = future.result()
            except CommClosedError:
                raise BatchError(LOST) from None
        elif future.status == "error" and not _killed(future.exception()):
            error = future.exception()
            # Of a scheduler or worker that lacks this package, the cause says so.
            said = " ".join(f"{error.__cause__ or error!r}".split())[:300]
            outcome = {"state": worker.REFUSED, "error": f"{address} cannot run cells: {said}"}
        else:
            outcome = {"state": worker.DIED, "error": "its worker died"}
            self.looked = -math.inf  # lest the next cell is sent to it
        future.release()
        self._settle(cell, identity, **outcome)

    def _settle(self, cell: Cell, identity: str, state: str, error: str | None = None) -> None:
        self.begun = self.begun or state != worker.REFUSED
        if state == PASSED:
            self.summary.passed += 1
            self._forget_older(cell)
            self.bar.update()
        elif state == FAILED:
            self.summary.failed.append((cell, error or "failed"))
            self.bar.update()
        elif state == RUNNING:
            self.later.append((time.monotonic() + PAUSE, cell))
        elif state == worker.REFUSED:
            self.refused[identity] = error or "refused"
            self.waiting.appendleft(cell)
        else:
            self._lost(cell, error or "it was ended")

    def _find_lost(self, usable: dict[str, str]) -> None:
        """Cells whose worker is gone: their tasks, sent to it alone, would wait for ever."""
        for future, (cell, address, identity) in list(self.running.items()):
            if usable.get(address) != identity and identity not in self.refused:
                del self.running[future]
                future.cancel()
                self._lost(cell, "its worker died")

    def _lost(self, cell: Cell, error: str) -> None:
        entry = self.store.entry(cell.chapter.name, cell.digest)
        attempt = entry.run if entry else None
        if attempt != self.attempts[cell.digest]:
            self.attempts[cell.digest] = attempt
            self.losses[cell.digest] += 1
        else:  # not the cell's doing: it had not begun
            self.sent[cell.digest] += 1
        if self.losses[cell.digest] < LOSSES and self.sent[cell.digest] < SENDINGS:
            # Behind the others: who kills workers must not keep them from being run.
            self.later.append((time.monotonic() + PAUSE, cell))
            return
        error = f"{error}, {self.losses[cell.digest] + self.sent[cell.digest]} times"
        lock = self.store.lock(cell.digest)
        with contextlib.suppress(OSError, filelock.Timeout), lock.acquire(timeout=ENDING):
            self.store.clear_drafts(cell.chapter.name, cell.digest)
            self.store.write(
                Entry(
                    chapter=cell.chapter.name,
                    digest=cell.digest,
                    state=FAILED,
                    parameters=cell.parameters,
                    values=cell.values,
                    error=error,
                    run=uuid.uuid4().hex,
                    versions=cells.environment(),
                    code=cell.chapter.code,
                    source=cell.source,
                )
            )
        self._settle(cell, "", FAILED, error)

    def _forget_older(self, cell: Cell) -> None:
        for entry in self.versions.get(cell.same, ()):
            if entry.digest not in self.attempts:  # one that is wanted itself is no older version
                self.store.remove(entry)

    def _stop(self, client: Client) -> None:
        """End all cells that run, and wait until their kernels are gone."""
        if client.status != "running":
            return
        addresses = [address for _, address, _ in self.running.values()]
        with contextlib.suppress(OSError, TimeoutError):
            client.run(worker.stop, self.name, workers=addresses, on_error="ignore")
        until = time.monotonic() + ENDING
        while self.running and (left := until - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                self.running.pop(self.events.get(timeout=left), None)

    def _show(self) -> None:
        self.bar.set_postfix_str(", ".join(cell.label for cell, _, _ in self.running.values()))


def _killed(error: BaseException | None) -> bool:
    from distributed.scheduler import KilledWorker

    return isinstance(error, KilledWorker)
