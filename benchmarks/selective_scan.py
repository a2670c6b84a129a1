"""The whole layer as peers call it: bias, softplus, skip and gate, and the last state."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from tokensphere import s6

from . import scan
from .measure import Table, assert_same, compare

SIZES = ((256, 16, 1024), (1536, 16, 4096))

Arguments = dict[str, Tensor]


def run(sizes: tuple[tuple[int, int, int], ...] = SIZES) -> list[Table]:
    """sizes: (D, N, L)."""
    return [_race(size) for size in sizes]


def problem(channels: int, states: int, length: int) -> Arguments:
    """Arguments by the peers' names."""
    u, steps, A, B, C = scan.problem(channels, states, length)
    g = torch.Generator().manual_seed(1)
    # softplus of these is the fresh layer's steps.
    bias = torch.full((channels,), -1.0)
    delta = torch.log(torch.expm1(steps)) + 1.0
    D = torch.ones(channels)
    z = torch.empty_like(u).normal_(generator=g)
    return {"u": u, "delta": delta, "A": A, "B": B, "C": C, "D": D, "z": z, "delta_bias": bias}


def ours(arguments: Arguments) -> tuple[Tensor, Tensor]:
    return s6.selective_scan(**arguments, delta_softplus=True, return_last_state=True)


def by_transformers(arguments: Arguments) -> tuple[Tensor, Tensor]:
    names = {"u": "hidden_states", "delta": "dt"}
    renamed = {names.get(name, name): value for name, value in arguments.items()}
    return scan.by_transformers(**renamed, delta_softplus=True, return_last_state=True)


CONTENDERS: dict[str, Callable[[Arguments], tuple[Tensor, Tensor]]] = {
    "ours": ours,
    "transformers": by_transformers,
}


def work(channels: int, states: int, length: int) -> dict[str, float]:
    """Counts of `scan`, and for each channel and token a softplus, the exponential of the gate,
    and multiply-adds for bias, skip, and the gate's two products."""
    counts = scan.work(channels, states, length)
    each = channels * length
    counts["exponentials"] += each
    counts["softplus"] = each
    counts["multiply-adds"] += 4 * each
    counts["bytes"] += 4 * each
    return counts


def _race(size: tuple[int, int, int]) -> Table:
    channels, states, length = size
    arguments = problem(*size)
    want = CONTENDERS["ours"](arguments)
    for name, call in CONTENDERS.items():
        for got, same in zip(call(arguments), want, strict=True):
            assert_same(name, got, same, 1e-5)
    return compare(
        f"selective_scan: one sequence, D = {channels:,}, N = {states}, L = {length:,}, float32",
        {name: partial(call, arguments) for name, call in CONTENDERS.items()},
        work(*size),
        torch.float32,
        notes=["With skip D, gate z, bias and softplus of the steps, and the last state."],
    )
