"""The layer's output by its recurrence, beside what transformers runs on a CPU."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tokensphere import s6
from tokensphere.s6 import recurrence

from .measure import Table, assert_same, compare

SIZES = ((256, 16, 1024), (1536, 16, 4096))
DTYPE = torch.float32


def run(sizes: tuple[tuple[int, int, int], ...] = SIZES) -> list[Table]:
    """sizes: (D, N, L)."""
    return [_race(size) for size in sizes]


def problem(channels: int, states: int, length: int) -> tuple[Tensor, ...]:
    """u, delta, A, B, C as a fresh Mamba has them. Filled in place: see `measure.peak_memory`."""
    g = torch.Generator().manual_seed(0)
    delta = torch.empty(1, channels, length, dtype=DTYPE).uniform_(1e-3, 0.1, generator=g)
    A = -torch.arange(1.0, states + 1).expand(channels, -1).contiguous()
    B, C = (torch.empty(1, states, length).normal_(generator=g) for _ in range(2))
    u = torch.empty_like(delta).normal_(generator=g)
    return u, delta, A, B, C


def by_torch(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The library's recurrence in torch, which gradients go through."""
    return recurrence._recur(u, delta, A, B, C)[0]


def by_transformers(*arguments: Tensor, **named: Any) -> Any:
    """What its Mamba layer runs on a CPU. Imported when called: it takes seconds."""
    from transformers.models.mamba.modeling_mamba import mamba_selective_scan

    # Without its wrapper, which would pick a GPU kernel where one is installed.
    return inspect.unwrap(mamba_selective_scan)(*arguments, **named)


CONTENDERS: dict[str, Callable[..., Tensor]] = {
    "ours": s6.scan,
    "torch path": by_torch,
    "transformers": by_transformers,
}


def work(channels: int, states: int, length: int) -> dict[str, float]:
    """Counts of one pass over the tokens, one decay a channel, state and token.

    For each of those a multiply-add for the exponent, one for the token's part, one to decay the
    state and add it, one to read it; and for each channel and token the product of step and input.
    """
    each = channels * states * length
    return {
        "exponentials": each,
        "multiply-adds": 4 * each + channels * length,
        "bytes": 4 * length * (3 * channels + 2 * states),
    }


def _race(size: tuple[int, int, int]) -> Table:
    channels, states, length = size
    arguments = problem(*size)
    want = CONTENDERS["ours"](*arguments)
    for name, call in CONTENDERS.items():
        assert_same(name, call(*arguments), want, 1e-5)
    return compare(
        f"scan: one sequence, D = {channels:,}, N = {states}, L = {length:,}, float32",
        {name: partial(call, *arguments) for name, call in CONTENDERS.items()},
        work(*size),
        DTYPE,
        own=("torch path",),
        notes=["torch path: this library's without numba. transformers: its Mamba layer's on CPU."],
    )
