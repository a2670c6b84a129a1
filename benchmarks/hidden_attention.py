"""The hidden attention as matrices, against its rows one by one and against cumulated sums."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from tokensphere import s6

from . import scan
from .measure import Table, assert_same, compare, peak_memory

SIZES = ((256, 16, 1024),)
SMALL = (4, 2, 3)
REFERRED = 16
"""Channels, the first ones, whose rows are also computed in float64."""


def run(sizes: tuple[tuple[int, int, int], ...] = SIZES) -> list[Table]:
    """sizes: (D, N, L)."""
    return [_race(size) for size in sizes]


def by_rows(delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Each row in turn, from what all earlier keys have left in the states."""
    length = delta.shape[-1]
    rows = s6.attention_rows(delta, A, B, C)
    padded = [torch.nn.functional.pad(row, (0, length - row.shape[-1])) for row in rows]
    return torch.stack(padded, dim=2)


def by_cumulated_sums(delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The formula as it stands: an exponential of a difference of cumulated steps for each entry.

    In float32 the differences would lose digits as the sums grow: they are taken in float64.
    """
    _, channels, length = delta.shape
    later = torch.ones(length, length).triu(1).bool()
    matrices = delta.new_zeros(1, channels, length, length)
    for matrix, steps, rates in zip(matrices[0], delta[0], A, strict=True):
        time = steps.double().cumsum(-1)
        age = (time[:, None] - time).to(delta).masked_fill_(later, torch.inf)
        for rate, key, query in zip(rates, B[0], C[0], strict=True):
            matrix.addcmul_(torch.exp(rate * age), query[:, None] * key)
        matrix.mul_(steps)
    return matrices


CONTENDERS: dict[str, Callable[..., Tensor]] = {
    "ours": s6.hidden_attention,
    "row by row": by_rows,
    "cumulated sums": by_cumulated_sums,
}


def prepare(name: str, *size: int) -> Callable[[], Tensor]:
    """A contender on a problem of its own; found by name from another process."""
    return partial(CONTENDERS[name], *scan.problem(*size)[1:])


def work(channels: int, states: int, length: int) -> dict[str, float]:
    """Counts of divide and conquer: a half's queries meet the other half's keys.

    A product for each entry j <= l and state. Before that, for each channel, state and token, one
    of step and key, and in each of log2 L levels one for the exponent, an exponential, and one
    with the key or the query. The result lies in memory new to the process, zeros included.
    """
    each = channels * states * length
    levels = math.log2(length)
    return {
        "exponentials": each * levels,
        "multiply-adds": each * ((length + 1) / 2 + 1 + 2 * levels),
        "new bytes": 4 * channels * length**2,
    }


def _race(size: tuple[int, int, int]) -> Table:
    channels, states, length = size
    calls = {name: prepare(name, *size) for name in CONTENDERS}
    delta, A, B, C = scan.problem(*size)[1:]
    few = delta[:, :REFERRED], A[:REFERRED], B, C
    exact = by_rows(*(value.double() for value in few))
    errors = {}
    for name, call in CONTENDERS.items():
        got = calls["ours"]()[:, :REFERRED] if name == "ours" else call(*few)
        assert_same(name, got, exact, 1e-5)
        errors[name] = float((got - exact).abs().max() / exact.abs().max())
        del got
    memory = {name: peak_memory(prepare, (name, *SMALL), (name, *size)) for name in CONTENDERS}
    return compare(
        f"hidden_attention: D = {channels:,}, N = {states}, L = {length:,}, float32",
        calls,
        work(*size),
        torch.float32,
        own=("row by row",),
        # Half a minute each.
        once=("row by row", "cumulated sums"),
        columns={"error": errors, "MB": memory},
        notes=[
            "row by row: of `attention_rows`. cumulated sums: an exponential of their differences "
            "for each entry and state.",
            f"error: the largest in {REFERRED} channels over the largest entry, against float64. "
            "MB: growth of a fresh process's peak memory during the call; the result takes "
            f"{4 * channels * length**2 / 1e6:,.0f}.",
        ],
    )
