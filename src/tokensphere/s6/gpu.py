"""On a GPU, each in one fused pass: `s6.steps`, and `s6.column_sums` of the hidden attention.

For the sums a warp keeps the adjoint states of a few channels in registers and walks from the last
token to the first. It reads delta, B and C once and writes the sums once: O(B D L) of device memory
is moved, and one exponential is taken for each channel, state and token. On an H100 it is those
that bound the time, not the bytes.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra import libdevice

__all__ = ["column_sums", "steps"]

BLOCK = 8
"""Channels of a program, which is one warp. More would leave too few warps to fill a card."""
UNROLL = 8
"""Tokens worked on at a time, 2, 4, 8 or 16, while as many are on their way from memory."""
PIECE = 1024
"""Channels of a token in one program of `steps`."""


def steps(delta: Tensor, delta_bias: Tensor) -> Tensor:
    """`s6.steps` for CUDA tensors in float32 or half precision: float32, token by token.

    delta lies in memory token by token, without gaps: `s6.steps` calls it for such.
    """
    batch, channels, length = delta.shape
    out = delta.new_empty(batch, length, channels, dtype=torch.float32)
    grid = (batch * length, triton.cdiv(channels, PIECE))
    _steps[grid](delta, delta_bias, out, channels, delta_bias.stride(0), PIECE=PIECE)
    return out.mT


@triton.jit
def _steps(delta, bias, out, channels, bias_d, PIECE: tl.constexpr):
    d = tl.program_id(1) * PIECE + tl.arange(0, PIECE)
    inside = d < channels
    start = tl.program_id(0).to(tl.int64) * channels
    raised = tl.load(delta + start + d, mask=inside).to(tl.float32)
    raised += tl.load(bias + d * bias_d, mask=inside).to(tl.float32)
    # As torch's: above 20 the difference is below float32's rounding, and exp can overflow.
    soft = tl.where(raised > 20, raised, libdevice.log1p(tl.exp(raised)))
    tl.store(out + start + d, soft, mask=inside)


def column_sums(
    delta: Tensor, A: Tensor, B: Tensor, C: Tensor, row_weights: Tensor | None = None
) -> Tensor:
    """`s6.column_sums` for CUDA tensors in float32 or half precision, computed in float32.

    It takes arguments of checked shapes: `s6.column_sums` calls it. Values are not checked, which
    would mean to wait for the device: a negative step, and a rate that is not negative, count as
    NaN, so that they cannot pass for a result.

    Returns:
        (B, D, L), which lies in memory token by token.
    """
    batch, channels, length = delta.shape
    groups = B.shape[1] if B.ndim == 4 else 1
    states = A.shape[1]
    # A token's numbers side by side, its key's and its query's: small, and read by every channel.
    B, C = (value.reshape(batch, groups, states, length).mT for value in (B, C))
    vectors = torch.stack((B, C), dim=-2)
    out = delta.new_empty(batch, length, channels).mT
    padded = max(triton.next_power_of_2(states), 4)
    weighted = row_weights is not None
    _column_sums[triton.cdiv(channels, BLOCK), batch](
        delta,
        A,
        vectors,
        row_weights if weighted else delta,
        out,
        *delta.stride(),
        *A.stride(),
        *(row_weights.stride() if weighted else (0, 0, 0)),
        *out.stride(),
        channels,
        length,
        channels // groups,
        groups,
        STATES=states,
        PADDED=padded,
        # Rates that the states of a channel share, as in Mamba-2, need one exponential for all.
        SHARED=A.stride(1) == 0,
        WEIGHTED=weighted,
        EVEN=channels % BLOCK == 0 and length % UNROLL == 0 and states == padded,
        BLOCK=BLOCK,
        UNROLL=UNROLL,
        num_warps=1,
    )
    return out


# A length of 1 would be made a constant, which has no .to().
@triton.jit(do_not_specialize=["length"])
def _column_sums(
    delta,
    A,
    vectors,
    weights,
    out,
    delta_b,
    delta_d,
    delta_l,
    A_d,
    A_n,
    weights_b,
    weights_d,
    weights_l,
    out_b,
    out_d,
    out_l,
    channels,
    length,
    channels_of_group,
    groups,
    STATES: tl.constexpr,
    PADDED: tl.constexpr,
    SHARED: tl.constexpr,
    WEIGHTED: tl.constexpr,
    EVEN: tl.constexpr,
    BLOCK: tl.constexpr,
    UNROLL: tl.constexpr,
):
    d = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    b = tl.program_id(1).to(tl.int64)
    n = tl.arange(0, PADDED)
    k = tl.arange(0, UNROLL)[None, :]
    inside = d < channels
    state = inside[:, None] & (n < STATES)[None, :]
    if SHARED:
        rates = _rates(A + d * A_d, inside)
    else:
        rates = _rates(A + d[:, None] * A_d + n[None, :] * A_n, state)
    # Each points at the last token and goes back by a block at a time, so that offsets stay small.
    last = (length - 1).to(tl.int64)
    group = b * groups + d[:, None] // channels_of_group
    vectors += 2 * STATES * (group * length + last) + n[None, :]
    wide = d[:, None].to(tl.int64)
    steps = delta + b * delta_b + wide * delta_d + last * delta_l - k * delta_l
    row = weights + b * weights_b + wide * weights_d + last * weights_l - k * weights_l
    sums = out + b * out_b + wide * out_d + last * out_l - k * out_l
    adjoint = tl.zeros((BLOCK, PADDED), tl.float32)
    block = _load(steps, None if EVEN else inside[:, None] & (k < length))
    read = _read(vectors, state, length, STATES, EVEN, UNROLL)
    for start in range(0, length, UNROLL):
        here = None if EVEN else inside[:, None] & (start + k < length)
        # The next block is on its way while this one is worked on. Before the first token there is
        # nothing to read: the last block is read once more.
        left = length - start - UNROLL
        back = tl.where(left > 0, UNROLL, 0)
        steps -= back * delta_l
        vectors -= 2 * STATES * back
        ahead = _load(steps, None if EVEN else inside[:, None] & (k < left))
        read_ahead = _read(vectors, state, left, STATES, EVEN, UNROLL)
        if WEIGHTED:
            weight = _columns(_load(row, here), BLOCK, UNROLL)
            row -= UNROLL * weights_l
        block = tl.where(block >= 0, block, float("nan"))
        step = _columns(block, BLOCK, UNROLL)
        parts = ()
        for i in tl.static_range(UNROLL):
            key, query = read[i]
            if WEIGHTED:
                query = query * weight[i][:, None]
            adjoint += query
            parts = parts + (adjoint * key,)  # noqa: RUF005 (Triton knows no stars)
            if SHARED:
                adjoint *= tl.exp2(step[i] * rates)[:, None]
            else:
                adjoint *= tl.exp2(step[i][:, None] * rates)
        # One reduction over the states for the whole block: its exchanges between lanes overlap.
        tl.store(sums, block * tl.sum(_stack(parts, UNROLL), 1), mask=here)
        sums -= UNROLL * out_l
        block = ahead
        read = read_ahead


@triton.jit
def _rates(pointers, mask):
    """Rates to the base 2, which is the hardware's: exp(x) = 2^(x log2 e). NaN if not negative."""
    rates = tl.load(pointers, mask=mask, other=-1.0).to(tl.float32)
    return tl.where(rates < 0, rates * 1.4426950408889634, float("nan"))


@triton.jit
def _read(vectors, state, left, STATES: tl.constexpr, EVEN: tl.constexpr, UNROLL: tl.constexpr):
    """The rows of B and C of the block's tokens, from the last to the first."""
    read = ()
    for i in tl.static_range(UNROLL):
        here = None if EVEN else state & (i < left)
        keys = vectors - 2 * STATES * i
        read = read + ((_load(keys, here), _load(keys + STATES, here)),)  # noqa: RUF005
    return read


@triton.jit
def _load(pointers, mask):
    other = None if mask is None else 0.0
    return tl.load(pointers, mask=mask, other=other).to(tl.float32)


@triton.jit
def _columns(tile, ROWS: tl.constexpr, COUNT: tl.constexpr):
    """The COUNT = 2, 4, 8 or 16 columns of (ROWS, COUNT), in their order."""
    level = (tile,)
    if COUNT >= 16:
        level = _unravel(level, ROWS, COUNT // 16, 8)
    if COUNT >= 8:
        level = _unravel(level, ROWS, COUNT // 8, 4)
    if COUNT >= 4:
        level = _unravel(level, ROWS, COUNT // 4, 2)
    even = ()
    odd = ()
    for i in tl.static_range(COUNT // 2):
        first, second = tl.split(level[i])
        even = even + (first,)  # noqa: RUF005
        odd = odd + (second,)  # noqa: RUF005
    return even + odd


@triton.jit
def _unravel(level, ROWS: tl.constexpr, COUNT: tl.constexpr, HALF: tl.constexpr):
    """The even columns of each of COUNT tiles (ROWS, 2 HALF), then the odd ones."""
    even = ()
    odd = ()
    for i in tl.static_range(COUNT):
        first, second = tl.split(tl.reshape(level[i], (ROWS, HALF, 2)))
        even = even + (first,)  # noqa: RUF005
        odd = odd + (second,)  # noqa: RUF005
    return even + odd


@triton.jit
def _stack(values, COUNT: tl.constexpr):
    """(..., COUNT) from COUNT = 2, 4, 8 or 16 tensors, in their order."""
    level = ()
    for i in tl.static_range(COUNT // 2):
        level = level + (tl.join(values[i], values[i + COUNT // 2]),)  # noqa: RUF005
    if COUNT >= 4:
        level = _interleave(level, COUNT // 4)
    if COUNT >= 8:
        level = _interleave(level, COUNT // 8)
    if COUNT >= 16:
        level = _interleave(level, COUNT // 16)
    return level[0]


@triton.jit
def _interleave(values, COUNT: tl.constexpr):
    level = ()
    for i in tl.static_range(COUNT):
        level = level + (tl.interleave(values[i], values[i + COUNT]),)  # noqa: RUF005
    return level
