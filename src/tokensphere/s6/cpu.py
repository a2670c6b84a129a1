"""The recurrence on a CPU, compiled by numba: `s6.scan` and `s6.column_sums` in one pass each.

Nothing of size (D, N, L) ever exists. The passes are in :mod:`.cpu_kernels`.
"""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from . import cpu_kernels
from .arguments import by_group
from .cpu_kernels import WIDTH

__all__ = ["column_sums", "scan"]

WORTH_A_THREAD = 1 << 20
"""Decays below which a further thread costs more than it saves."""


def scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    initial_state: Tensor | None = None,
    resets: Tensor | None = None,
) -> tuple[Tensor, Tensor, bool]:
    """`recurrence.recur` for real tensors on the CPU, in float32 at least.

    Returns:
        y, (B, D, L); h_L, (B, D, N); and whether all numbers are as `scan` takes them.
    """
    dtype = _computed(delta)
    if initial_state is None:
        state = delta.new_zeros(delta.shape[0], *A.shape, dtype=dtype)
    else:
        state = initial_state.to(dtype, copy=True, memory_format=torch.contiguous_format)
    y, fine = _by_blocks(cpu_kernels.scan, (u, delta), A, B, C, state, resets)
    return y, state, fine


def column_sums(
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    row_weights: Tensor | None = None,
    resets: Tensor | None = None,
) -> tuple[Tensor, bool]:
    """`s6.column_sums` for checked shapes of real tensors on the CPU, in float32 at least.

    Returns:
        The sums, (B, D, L); and whether all numbers are as `s6.column_sums` takes them.
    """
    # One number stands for weights that are all one.
    weights = delta.new_ones(1, 1, 1).expand_as(delta) if row_weights is None else row_weights
    adjoint = delta.new_zeros(delta.shape[0], *A.shape, dtype=_computed(delta))
    return _by_blocks(cpu_kernels.column_sums, (weights, delta), A, B, C, adjoint, resets)


def _computed(delta: Tensor) -> torch.dtype:
    return torch.float64 if delta.dtype == torch.float64 else torch.float32


def _by_blocks(walk, inputs, A, B, C, state, resets) -> tuple[Tensor, bool]:
    """Cut the channels into pieces, and walk along each; all threads that torch may use."""
    dtype = state.dtype
    batch, channels, length = inputs[0].shape
    # By token, as the plain path leaves it.
    out = state.new_empty(length, batch, channels).permute(1, 2, 0)
    if resets is None:
        resets = A.new_zeros(1, 1, dtype=torch.bool).expand(batch, length)
    first, second, result, A, B, C = (
        value.detach().resolve_neg() for value in by_group(*inputs, out, A, B, C)
    )
    state = state.unflatten(1, A.shape[:2])
    shared = A.stride(-1) == 0 or A.shape[-1] == 1
    A, B, C = (value.to(dtype) for value in (A, B.mT, C.mT))
    B, C = B.contiguous(), C.contiguous()
    sound = [torch.isfinite(torch.stack(torch.aminmax(value))).all() for value in (A, B, C)]
    kernel = cpu_kernels.compiled(walk, dtype)

    def work(piece) -> bool:
        batches, groups, lanes = piece
        arrays = (
            first[piece].to(dtype),
            second[piece].to(dtype),
            A[groups, lanes],
            B[batches, groups],
            C[batches, groups],
            state[piece],
            resets[batches],
            result[piece],
        )
        return kernel(*(value.numpy() for value in arrays), shared)

    threads = min(torch.get_num_threads(), 1 + out.numel() * A.shape[-1] // WORTH_A_THREAD)
    # Half precision is widened by the piece, and a thread that is held up leaves some to others.
    pieces = list(_pieces(*first.shape[:3], 4 * threads))
    if threads == 1:
        sound += [work(piece) for piece in pieces]
    else:
        with ThreadPoolExecutor(threads) as pool:
            sound += pool.map(work, pieces)
    return out, all(sound) and bool((A < 0).all())


def _pieces(batch: int, groups: int, channels: int, count: int) -> Iterator[tuple[slice, ...]]:
    """About `count` pieces of (B, G, D / G), cut along the first of these that is long enough."""
    whole = slice(None)
    if batch >= count:
        yield from ((part, whole, whole) for part in _parts(batch, count))
        return
    for b in range(batch):
        if batch * groups >= count:
            parts = [(part, whole) for part in _parts(groups, -(-count // batch))]
        else:
            blocks = -(-channels // WIDTH)
            lanes = list(_parts(blocks, -(-count // (batch * groups)), WIDTH))
            parts = [(slice(g, g + 1), part) for g in range(groups) for part in lanes]
        yield from ((slice(b, b + 1), *part) for part in parts)


def _parts(size: int, count: int, unit: int = 1) -> Iterator[slice]:
    count = min(count, size)
    ends = [unit * (size * i // count) for i in range(count + 1)]
    return (slice(*pair) for pair in itertools.pairwise(ends))
