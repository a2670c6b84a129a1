"""Column sums of the hidden attention, against building it and against autograd."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from tokensphere import s6
from tokensphere.s6 import recurrence

from . import scan
from .measure import Table, assert_same, compare, peak_memory

SIZES = ((1536, 16, 512), (1536, 16, 4096))
SMALL = (4, 2, 3)
BLOCK = 2**26
"""Entries of the matrices that are built at once."""
MATRIX_LIMIT = 2**29
"""Entries of all matrices, above which building them takes minutes."""
GRAPH_LIMIT = 2**31
"""Bytes of the states that autograd keeps, above which its gradient is left out."""


def run(sizes: tuple[tuple[int, int, int], ...] = SIZES) -> list[Table]:
    """sizes: (D, N, L)."""
    return [_race(size) for size in sizes]


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


def by_gradient(
    forward: Callable[..., Tensor], delta: Tensor, A: Tensor, B: Tensor, C: Tensor
) -> Tensor:
    """The column sums are the gradient with respect to u, in which the layer is linear."""
    u = torch.zeros_like(delta, requires_grad=True)
    (gradient,) = torch.autograd.grad(forward(u, delta, A, B, C).sum(), u)
    return gradient


CONTENDERS: dict[str, Callable[..., Tensor]] = {
    "ours": s6.column_sums,
    "torch path": recurrence._column_sums,
    "matrix": by_matrix,
    "gradient": partial(by_gradient, s6.scan),
    "transformers' gradient": partial(by_gradient, scan.by_transformers),
}


def prepare(name: str, *size: int) -> Callable[[], Tensor]:
    """A contender on a problem of its own; found by name from another process."""
    return partial(CONTENDERS[name], *scan.problem(*size)[1:])


def work(channels: int, states: int, length: int) -> dict[str, float]:
    """Counts of one pass over the tokens, one decay a channel, state and token.

    For each of those a multiply-add for the exponent, one to decay the adjoint state and add the
    query, one to read it; and for each channel and token the product with the step.
    """
    each = channels * states * length
    return {
        "exponentials": each,
        "multiply-adds": 3 * each + channels * length,
        "bytes": 4 * length * (2 * channels + 2 * states),
    }


def _race(size: tuple[int, int, int]) -> Table:
    channels, states, length = size
    names = list(CONTENDERS)
    if channels * length**2 > MATRIX_LIMIT:
        names.remove("matrix")
    # For each token: the decay, the state, and what enters it.
    if 4 * 3 * channels * states * length > GRAPH_LIMIT:
        names = [name for name in names if "gradient" not in name]
    calls = {name: prepare(name, *size) for name in names}
    want = calls["ours"]()
    for name, call in calls.items():
        assert_same(name, call(), want, 1e-5)
    memory = {name: peak_memory(prepare, (name, *SMALL), (name, *size)) for name in names}
    return compare(
        f"column_sums: one sequence, D = {channels:,}, N = {states}, L = {length:,}, float32",
        calls,
        work(*size),
        torch.float32,
        own=("torch path", "matrix", "gradient"),
        once=[name for name in names if name == "matrix" or "gradient" in name],
        columns={"MB": memory},
        notes=[
            "torch path: this library's without numba. gradient: of the sum of `scan`'s output "
            "with respect to u; transformers': of its Mamba layer's.",
            f"matrix: `hidden_attention` of as many channels at once as fit into "
            f"{4 * BLOCK / 2**20:g} MiB, then summed. Up to {MATRIX_LIMIT:.1e} entries in all.",
            "MB: growth of a fresh process's peak memory during the call, inputs excluded.",
        ],
    )
