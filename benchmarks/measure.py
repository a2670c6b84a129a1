"""Wall time, memory, the rates of this machine, and tables to show them in."""

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

LARGE = 2**26
"""Elements of the arrays that no cache near a core holds."""
CACHED = 2**17
"""Elements of the arrays that one does."""
ORDER = 2048
"""Rows and columns of the matrices that measure the rate of matmul."""
STATUS = Path("/proc/self/status")


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


def race(
    contenders: dict[str, Callable[[], object]], repeats: int = 10, budget: float = 3.0
) -> dict[str, float]:
    """Least wall time of each contender, in seconds: other processes only ever add to it.

    They run in turns, so that a slow spell of the machine meets them all. One that has used up its
    budget, in seconds, is not run again. Run each once before: the first call loads and allocates.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, call in contenders.items():
            if sum(times[name]) < budget:
                start = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - start)
    return {name: min(each) for name, each in times.items()}


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


def rates(dtype: torch.dtype) -> dict[str, float]:
    """What this machine does in a second at most: bytes copied (read and written), multiply-adds
    in a matmul, exponentials, softplus. Each is the better of a cached and a large array."""
    size = torch.empty((), dtype=dtype).element_size()
    best = dict.fromkeys(("bytes", "exponentials", "softplus"), 0.0)
    for elements in (CACHED, LARGE):
        source = torch.linspace(-5.0, 0.0, elements, dtype=dtype)
        target = torch.empty_like(source)
        kernels = {
            "bytes": lambda s=source, t=target: t.copy_(s),
            "exponentials": lambda s=source, t=target: torch.exp(s, out=t),
            "softplus": lambda s=source: softplus(s),
        }
        for name, least in race(kernels).items():
            count = 2 * size * elements if name == "bytes" else elements
            best[name] = max(best[name], count / least)
    matrix = torch.ones(ORDER, ORDER, dtype=dtype)
    least = race({"matmul": lambda: matrix @ matrix})["matmul"]
    return {**best, "multiply-adds": ORDER**3 / least}


def floor(title: str, counts: dict[str, float], dtype: torch.dtype, taken: float) -> Table:
    """The time that `counts` (names as in `rates`) take at this machine's rates, and how far above
    it lies `taken`."""
    speed = rates(dtype)
    rows = [
        {
            "what": name,
            "count (millions)": count / 1e6,
            "a second (billions)": speed[name] / 1e9,
            "floor (ms)": 1e3 * count / speed[name],
        }
        for name, count in counts.items()
    ]
    each = [row["floor (ms)"] for row in rows]
    notes = [
        f"One after another these take {sum(each):.3g} ms; ours takes {1e3 * taken:.3g} ms, "
        f"{1e3 * taken / sum(each):.3g} times as long.",
        f"If they overlapped perfectly, {max(each):.3g} ms: {1e3 * taken / max(each):.3g} times.",
    ]
    return Table(title, rows, notes)


def peak_memory(
    prepare: Callable[..., Callable[[], object]], small: tuple, size: tuple
) -> float | None:
    """MB by which a fresh process grows at most during one call of `prepare(*size)()`.

    A call at the size `small` comes first, to load what is loaded once. `prepare` must leave no
    peak of its own behind: it should allocate its inputs and nothing else. Only Linux tells the
    peak of a process by itself (`getrusage` hands on the parent's); None elsewhere.
    """
    if not STATUS.is_file():
        return None
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_growth, (prepare, small, size))


def _growth(prepare: Callable[..., Callable[[], object]], small: tuple, size: tuple) -> float:
    prepare(*small)()
    call = prepare(*size)
    before = _high_water()
    call()
    return (_high_water() - before) / 1e6


def _high_water() -> int:
    """Bytes."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])
