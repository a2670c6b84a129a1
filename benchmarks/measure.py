"""Time, memory, the rates of this machine, floors made of them, and tables to show them in."""

import importlib.util
import math
import multiprocessing
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

THREADS = (1, 2)
LARGE = 2**23
"""Elements of the arrays that no cache near a core holds."""
CACHED = 2**17
"""Elements of the arrays that one does."""
NEAREST = 1024
"""Elements of the arrays that the cache nearest to a core holds."""
ROUNDS = 2**13
"""How often a kernel goes over those."""
ORDER = 1024
"""Rows and columns of the matrices that measure the rate of matmul."""
PATIENCE = 0.2
"""Seconds, at least, over which the least is sought that a short run takes."""
STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")
CLOCKS = {"wall": "wall", "cpu": "CPU"}
SPREAD = "Least of several runs in turns; ± %: by which the median lies above."


@dataclass(frozen=True)
class Table:
    """Rows of named cells under a title; None is a contender that did not run."""

    title: str
    rows: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Markdown, its columns aligned for a terminal."""
        head = list(self.rows[0])
        cells = [head, *([_cell(row[name]) for name in head] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "| " + " | ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) + " |"
            for line in cells
        ]
        lines.insert(1, "|" + "|".join("-" * (w + 1) + ":" for w in widths) + "|")
        notes = ["", *(f"- {note}" for note in self.notes)] if self.notes else []
        return "\n".join([f"### {self.title}", "", *lines, *notes])


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


@dataclass(frozen=True)
class Seconds:
    """What calls of one contender took, each in wall time and in CPU time of its process."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    def least(self, kind: str) -> float:
        """Of "wall" or "cpu": other processes only ever add to it."""
        return min(getattr(self, kind))

    def spread(self, kind: str) -> float | None:
        """Per cent by which the median lies above the least; None for a single call."""
        times = getattr(self, kind)
        return 100 * (statistics.median(times) / min(times) - 1) if len(times) > 1 else None


class Elsewhere:
    """A contender in processes of its own, one for each number of threads.

    For libraries that settle how many threads they use when they are imported.

    Args:
        prepare: (threads, *arguments) -> the call; found by name from the other process.
    """

    def __init__(self, prepare: Callable[..., Callable[[], Any]], *arguments: Any) -> None:
        self._prepare, self._arguments = prepare, arguments
        self._pools: dict[int, Any] = {}

    def __call__(self) -> Any:
        return self._pool(1).apply(_called)

    def seconds(self, threads: int) -> tuple[float, float]:
        """Wall and CPU seconds of one call, without what it takes to ask for it."""
        return self._pool(threads).apply(_clocked)

    def close(self) -> None:
        for pool in self._pools.values():
            pool.terminate()

    def _pool(self, threads: int) -> Any:
        if threads not in self._pools:
            arguments = (self._prepare, threads, *self._arguments)
            context = multiprocessing.get_context("spawn")
            self._pools[threads] = context.Pool(1, _start, arguments)
        return self._pools[threads]


_call: Callable[[], Any]


def _start(prepare: Callable[..., Callable[[], Any]], *arguments: Any) -> None:
    global _call
    _call = prepare(*arguments)


def _called() -> Any:
    return _call()


def _clocked() -> tuple[float, float]:
    return clock(_call)


def clock(call: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds of one call; CPU time is that of all the process's threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """torch, and numpy's BLAS where threadpoolctl is installed, use this many threads."""
    before = torch.get_num_threads()
    with ExitStack() as stack:
        if importlib.util.find_spec("threadpoolctl"):
            from threadpoolctl import threadpool_limits

            stack.enter_context(threadpool_limits(threads))
        torch.set_num_threads(threads)
        stack.callback(torch.set_num_threads, before)
        yield


def race(
    contenders: dict[str, Callable[[], object]],
    threads: Sequence[int] = THREADS,
    repeats: int = 7,
    budget: float = 2.0,
    once: Collection[str] = (),
) -> dict[tuple[str, int], Seconds]:
    """What each contender takes on each number of threads; those in `once` run once, on the first.

    They run in turns, so that a slow spell of the machine meets them all. One that has used up its
    budget, in seconds of wall time on one number of threads, is not run again. Run each once
    before: the first call loads, compiles and allocates.
    """
    taken: dict[tuple[str, int], list[tuple[float, float]]] = {
        (name, count): []
        for name in contenders
        for count in (threads[:1] if name in once else threads)
    }
    for _ in range(repeats):
        for count in threads:
            with limited(count):
                for name, call in contenders.items():
                    times = taken.get((name, count))
                    if times is None or (times and name in once):
                        continue
                    if sum(wall for wall, _ in times) < budget:
                        apart = isinstance(call, Elsewhere)
                        times.append(call.seconds(count) if apart else clock(call))
    return {key: Seconds(*zip(*times, strict=True)) for key, times in taken.items()}


def compare(
    title: str,
    contenders: dict[str, Callable[[], object]],
    work: dict[str, float],
    dtype: torch.dtype,
    *,
    own: Collection[str] = (),
    columns: dict[str, dict[str, Any]] | None = None,
    notes: Sequence[str] = (),
    **options: Any,
) -> Table:
    """The table of a race.

    Args:
        contenders: "ours", others whose names begin so, and the rest. Each has run before.
        work: what the cheapest way known must do, in the names of `rates`; see `floor`.
        own: others that are no peers, such as another path of ours or a part of the work.
        columns: more of them, heading -> contender -> cell.
        options: of `race`.
    """
    seconds = race(contenders, **options)
    peers = [name for name in contenders if not _is_ours(name) and name not in own]
    rows = []
    best: dict[str, None] = {}
    counts = sorted({count for _, count in seconds})
    for count in counts:
        least = floor(work, dtype, count)
        for name in contenders:
            if (name, count) not in seconds:
                continue
            times = seconds[name, count]
            row: dict[str, Any] = {"contender": name, "threads": count}
            row |= {head: cells.get(name) for head, cells in (columns or {}).items()}
            for kind, unit in CLOCKS.items():
                row |= {f"{unit} s": times.least(kind), f"{unit} ± %": times.spread(kind)}
            for kind, unit in CLOCKS.items():
                ratio = times.least(kind) / least[kind] if _is_ours(name) else None
                row[f"ours / floor, {unit}"] = ratio
            for kind, unit in CLOCKS.items():
                first = _first(peers, seconds, count, kind) if _is_ours(name) else None
                row[f"ours / best peer, {unit}"] = first and times.least(kind) / first[0]
                if first:
                    best[first[1]] = None
            rows.append(row)
        rows.append(
            dict.fromkeys(rows[-1])
            | {"contender": "floor", "threads": count}
            | {"wall s": least["wall"], "CPU s": least["cpu"]}
        )
    notes = [*notes, SPREAD]
    said = [f"best peer: {' or '.join(best)}."] if best else []
    return Table(title, rows, [*said, describe(work, dtype, counts), *notes])


def _is_ours(name: str) -> bool:
    return name.startswith("ours")


def _first(
    peers: list[str], seconds: dict[tuple[str, int], Seconds], threads: int, kind: str
) -> tuple[float, str] | None:
    """The least time of a peer, and its name. One that a second thread only costs has it on one."""
    return min(
        (
            (times.least(kind), name)
            for (name, count), times in seconds.items()
            if name in peers and count <= threads
        ),
        default=None,
    )


def floor(work: dict[str, float], dtype: torch.dtype, threads: int) -> dict[str, float]:
    """Wall and CPU seconds that the work takes at least, at this machine's rates.

    Exponentials, softplus and multiply-adds share a core's units, so they follow one another; bytes
    can be on their way meanwhile.
    """
    speed = rates(dtype, threads)
    each = {name: count / speed[name] for name, count in work.items()}
    moved = sum(taken for name, taken in each.items() if "bytes" in name)
    wall = max(moved, sum(each.values()) - moved)
    return {"wall": wall, "cpu": threads * wall}


def describe(work: dict[str, float], dtype: torch.dtype, threads: Sequence[int]) -> str:
    """The floor in words, with the rates that it rests on."""
    speeds = [rates(dtype, count) for count in threads]
    parts = [
        f"{count / 1e6:.4g} million {name} at "
        + " or ".join(f"{speed[name] / 1e9:.3g}" for speed in speeds)
        for name, count in work.items()
    ]
    how = "inlined by numba" if inlined() else "by calls of torch, since numba is not installed"
    return (
        f"floor: {', '.join(parts)} billions a second on {' or '.join(map(str, threads))} threads, "
        f"measured in this run; arithmetic {how}, one kind after another, bytes meanwhile."
    )


def inlined() -> bool:
    return importlib.util.find_spec("numba") is not None


@cache
def rates(dtype: torch.dtype, threads: int) -> dict[str, float]:
    """What `threads` threads of this machine do in a second at most.

    - exponentials (2^x: rates may be given to the base 2), softplus, multiply-adds: in the
      registers of a compiled loop, see `kernels`; without numba as calls of torch. Multiply-adds
      are the better of that and of a matmul.
    - bytes, cached bytes: copied, read and written, in memory and in a cache.
    - new bytes: written to memory fresh from the system, which has to clear it first. A result of
      many megabytes is such.

    By CPU time, which other processes do not add to as they do to wall time.
    """
    number = np.dtype(str(dtype).removeprefix("torch."))
    best: dict[str, float] = {}

    def measure(name: str, count: float, prepare: Callable[[], Callable[[], object]]) -> None:
        calls = [prepare() for _ in range(threads)]
        run = lambda: list(pool.map(lambda call: call(), calls))  # noqa: E731
        run()
        taken = [clock(run)[1] for _ in range(5)]
        while sum(taken) < PATIENCE:
            taken.append(clock(run)[1])
        least = min(taken)
        best[name] = max(best.get(name, 0.0), threads * threads * count / least)

    with limited(1), ThreadPoolExecutor(threads) as pool:
        for name, per_round, kernel in _arithmetic(number.type):
            start = np.linspace(-2.0, 0.0, NEAREST, dtype=number)
            measure(
                name,
                per_round * ROUNDS * NEAREST,
                lambda kernel=kernel, start=start: partial(kernel, start.copy(), ROUNDS),
            )
        matrix = torch.ones(ORDER, ORDER, dtype=dtype)
        measure("multiply-adds", ORDER**3, lambda: partial(torch.matmul, matrix, matrix))
        for name, elements in (("bytes", LARGE), ("cached bytes", CACHED)):
            # As many copies of few elements as take as long as one of many.
            copies = LARGE // elements
            size = 2 * copies * elements * number.itemsize
            measure(name, size, lambda n=elements, k=copies: _copies(np.ones(n, number), k))
        for fill in (np.ones, lambda n, _: torch.ones(n, dtype=dtype)):
            measure(
                "new bytes", LARGE * number.itemsize, lambda fill=fill: partial(fill, LARGE, number)
            )
    return best


def _arithmetic(dtype: type) -> Iterator[tuple[str, int, Callable[[np.ndarray, int], object]]]:
    """What is counted, how much of it in a round and number, and a function (array, rounds)."""
    if inlined():
        from .kernels import CHAIN, kernels

        for name, kernel in kernels(dtype).items():
            yield name, CHAIN if name == "multiply-adds" else 1, kernel
        return

    def repeat(function: Callable[[Tensor], Tensor], values: np.ndarray, rounds: int) -> None:
        # A call is worth more numbers than fit into the nearest cache.
        many = torch.from_numpy(np.resize(values, NEAREST * 64))
        for _ in range(math.ceil(rounds / 64)):
            function(many)

    yield "exponentials", 1, partial(repeat, torch.exp2)
    yield "softplus", 1, partial(repeat, softplus)


def _copies(source: np.ndarray, count: int) -> Callable[[], None]:
    target = source.copy()

    def copy() -> None:
        for _ in range(count):
            np.copyto(target, source)

    return copy


def assert_same(name: str, got: Tensor, want: Tensor, tolerance: float) -> None:
    """The numbers agree to `tolerance` times the largest of them."""
    apart = (got - want).abs() / want.abs().max()
    error = float(apart.max())
    # Where and by how much in all: a fault of one number looks unlike a wrong formula.
    where = tuple(int(i) for i in torch.unravel_index(apart.argmax(), apart.shape))
    assert error <= tolerance, (
        f"{name} computes something else: off by {error:.1e} at {where}, "
        f"{int((apart > tolerance).sum())} of {apart.numel()} numbers by more than {tolerance:.0e}"
    )


def peak_memory(
    prepare: Callable[..., Callable[[], object]], small: tuple, size: tuple
) -> float | None:
    """MB by which a fresh process grows at most during one call of `prepare(*size)()`.

    A call at the size `small` comes first, to load what is loaded once. Only Linux tells the peak
    of a process by itself (`getrusage` hands on the parent's); None elsewhere.
    """
    return peak_memories(prepare, small, [size])[0]


def peak_memories(
    prepare: Callable[..., Callable[[], object]], small: tuple, sizes: Sequence[tuple]
) -> list[float | None]:
    """:func:`peak_memory` at several sizes, in one process, which loads once what takes seconds."""
    if not STATUS.is_file():
        return [None] * len(sizes)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_growths, (prepare, small, sizes))


def _growths(
    prepare: Callable[..., Callable[[], object]], small: tuple, sizes: Sequence[tuple]
) -> list[float]:
    torch.set_num_threads(1)
    prepare(*small)()
    return [_growth(prepare(*size)) for size in sizes]


def _growth(call: Callable[[], object]) -> float:
    # The peak starts again from here, whatever was held before.
    CLEAR.write_text("5")
    before = _high_water()
    call()
    return (_high_water() - before) / 1e6


def _high_water() -> int:
    """Bytes."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])
