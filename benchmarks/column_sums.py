"""Column sums of the hidden attention, against building it and against autograd."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from tokensphere import s6

from .measure import Table, assert_same, floor, peak_memory, race

SIZES = tuple((1536, 16, length) for length in (256, 512, 1024, 4096, 16_384))
SMALL = (4, 2, 3)
BLOCK = 2**26
"""Entries of the matrices that are built at once."""
MATRIX_LIMIT = 2**29
"""Entries of all matrices, above which building them takes minutes."""
GRAPH_LIMIT = 2**31
"""Bytes of the states that autograd keeps, above which its gradient is left out."""


def run(sizes: tuple[tuple[int, int, int], ...] = SIZES) -> list[Table]:
    """sizes: (D, N, L)."""
    rows = [_race(size) for size in sizes]
    channels, states, length = sizes[-1]
    return [
        Table(
            "column_sums: one sequence, float32",
            rows,
            [
                "MB: growth of a fresh process's peak memory during the call, inputs excluded.",
                "matrix: `hidden_attention` of as many channels at once as fit into "
                f"{4 * BLOCK / 2**20:g} MiB, then summed. "
                f"It stops above {MATRIX_LIMIT:.1e} entries in all.",
                "gradient: of the sum of `scan`'s output with respect to u, by autograd. It stops "
                f"where the states it keeps would take {GRAPH_LIMIT / 2**30:g} GiB.",
            ],
        ),
        floor(
            f"column_sums: floor at {length:,} tokens (one decay a channel, state and token)",
            {
                "exponentials": channels * states * length,
                "bytes": 4 * (2 * channels + 2 * states) * length,
            },
            torch.float32,
            rows[-1]["ours (s)"],
        ),
    ]


def problem(channels: int, states: int, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """delta, A, B, C as a fresh Mamba has them. Filled in place: see `measure.peak_memory`."""
    g = torch.Generator().manual_seed(0)
    delta = torch.empty(1, channels, length).uniform_(1e-3, 0.1, generator=g)
    A = -torch.arange(1.0, states + 1).expand(channels, -1).contiguous()
    B, C = (torch.empty(1, states, length).normal_(generator=g) for _ in range(2))
    return delta, A, B, C


def by_matrix(delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Builds the matrices, a block of channels at a time."""
    _, channels, length = delta.shape
    block = math.ceil(BLOCK / length**2)
    return torch.cat(
        [
            s6.hidden_attention(delta[:, first:last], A[first:last], B, C).sum(-2)
            for first in range(0, channels, block)
            for last in [first + block]
        ],
        dim=1,
    )


def by_gradient(delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The column sums are the gradient, since the layer is linear in u."""
    u = torch.zeros_like(delta, requires_grad=True)
    (gradient,) = torch.autograd.grad(s6.scan(u, delta, A, B, C).sum(), u)
    return gradient


CONTENDERS = {"ours": s6.column_sums, "matrix": by_matrix, "gradient": by_gradient}


def prepare(name: str, *size: int) -> Callable[[], Tensor]:
    """A contender on a problem of its own; found by name from another process."""
    return partial(CONTENDERS[name], *problem(*size))


def _race(size: tuple[int, int, int]) -> dict[str, float | int | None]:
    channels, states, length = size
    names = ["ours"]
    if channels * length**2 <= MATRIX_LIMIT:
        names.append("matrix")
    # For each token: the decay, the state, and what enters it.
    if 4 * 3 * channels * states * length <= GRAPH_LIMIT:
        names.append("gradient")
    calls = {name: prepare(name, *size) for name in names}
    results = {name: call() for name, call in calls.items()}
    for name, result in results.items():
        assert_same(name, result, results["ours"], 1e-5)
    del results
    seconds = race(calls, repeats=5)
    memory = {name: peak_memory(prepare, (name, *SMALL), (name, *size)) for name in names}
    row: dict[str, float | int | None] = {"D": channels, "N": states, "tokens": length}
    for name in CONTENDERS:
        row |= {f"{name} (s)": seconds.get(name), f"{name} (MB)": memory.get(name)}
    return row
