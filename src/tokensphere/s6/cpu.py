"""The recurrence on a CPU, compiled by numba: `s6.scan` and `s6.column_sums` in one pass each.

Channels lie across the lanes of the vector registers. A block of WIDTH channels walks along the
tokens with its states in the first cache; TILE tokens at a time are turned round, so that those
channels' steps lie side by side. B and C, which the channels of a group share, are read as
numbers that go to all lanes. Nothing of size (D, N, L) ever exists: the exponential is taken where
its decay is used. Written out below, it is compiled into the loop; a call to the one of the
system's library would keep the loop from being vectorised.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import torch
from numba.extending import overload
from torch import Tensor

from .arguments import by_group

__all__ = ["column_sums", "scan"]

WIDTH = 32
"""Channels of a block: two registers of AVX-512 in float32, so that one waits while one works."""
TILE = 64
"""Tokens that are turned round at once. Three tiles and the states fill the first cache."""
WORTH_A_THREAD = 1 << 20
"""Decays below which a further thread costs more than it saves."""
COMPILED = {"nogil": True, "fastmath": {"contract"}}
"""Products and sums may be fused; anything more would not respect NaN, nor how numbers round."""


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
    y, fine = _by_blocks(_scan, (u, delta), A, B, C, state, resets)
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
    return _by_blocks(_column_sums, (weights, delta), A, B, C, adjoint, resets)


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
    kernel = _compiled(walk, dtype)

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


@functools.cache
def _compiled(walk: Callable, dtype: torch.dtype) -> Callable:
    """`walk` for one dtype and any strides, compiled when it is first needed and kept on disk."""
    number = numba.float64 if dtype == torch.float64 else numba.float32
    arrays = [numba.types.Array(number, ndim, "A") for ndim in (4, 4, 3, 4, 4, 4)]
    resets = numba.types.Array(numba.boolean, 2, "A")
    result = numba.types.Array(number, 4, "A")
    signature = numba.boolean(*arrays, resets, result, numba.boolean)
    try:
        return numba.njit(signature, cache=True, **COMPILED)(walk)
    except RuntimeError:  # neither __pycache__ nor the user's cache folder can be written
        return numba.njit(signature, **COMPILED)(walk)


def _decay(step, rate):
    """2^(step rate), for a product that is not positive."""
    raise NotImplementedError("compiled code only")


@overload(_decay, jit_options=COMPILED)
def _decay_of(step, rate):
    # Adding 1.5 times 2^23 (2^52) leaves an integer n in the last bits. For the rest f, in
    # [-1/2, 1/2], 2^f is 1 + f q(f): q is the best such polynomial, with a relative error of 3e-9
    # (2e-17). It is exact at zero, since an error there would add up along slow decays. n goes to
    # the exponent's bits; what is below the least normal number is zero.
    if rate == numba.float32:
        shift, least, one, zero = (np.float32(x) for x in (12582912, 12582912 - 126, 1, 0))
        q6, q5, q4 = (np.float32(x) for x in (0.0001559467702, 0.001340664385, 0.009617692976))
        q3, q2, q1 = (np.float32(x) for x in (0.05550310551, 0.2402265278, 0.693147215))

        def decay(step, rate):
            shifted = np.float32(step * rate + shift)
            f = step * rate - (shifted - shift)
            p = (((((q6 * f + q5) * f + q4) * f + q3) * f + q2) * f + q1) * f + one
            bits = np.float32(p).view(np.int32) + (shifted.view(np.int32) << 23)
            return np.int32(bits).view(np.float32) if shifted >= least else zero

        return decay

    shift, least = 6755399441055744.0, 6755399441055744.0 - 1022

    def decay(step, rate):
        shifted = np.float64(step * rate + shift)
        f = step * rate - (shifted - shift)
        p = 4.07807178609287042e-10 * f + 7.07257039454079943e-9
        p = p * f + 1.01806476605730693e-7
        p = p * f + 1.32154426754528552e-6
        p = p * f + 0.0000152527273851897748
        p = p * f + 0.000154035304415718501
        p = p * f + 0.00133335581534399697
        p = p * f + 0.00961812910760700262
        p = p * f + 0.0555041086647903945
        p = p * f + 0.24022650695910098
        p = p * f + 0.693147180559945697
        p = p * f + 1.0
        bits = np.float64(p).view(np.int64) + (shifted.view(np.int64) << 52)
        return np.int64(bits).view(np.float64) if shifted >= least else 0.0

    return decay


@numba.njit(**COMPILED)
def _turn(rows, tile):
    """(channels, tokens) to (tokens, channels)."""
    # Eight at a time, written out: the compiler would scatter single numbers, which is slow.
    channels, tokens = rows.shape
    whole = channels - channels % 8
    for w in range(0, whole, 8):
        for t in range(tokens):
            for i in range(8):
                tile[t, w + i] = rows[w + i, t]
    for w in range(whole, channels):
        for t in range(tokens):
            tile[t, w] = rows[w, t]


@numba.njit(**COMPILED)
def _turn_back(tile, rows):
    channels, tokens = rows.shape
    whole = channels - channels % 8
    for t in range(tokens):
        for w in range(0, whole, 8):
            for i in range(8):
                rows[w + i, t] = tile[t, w + i]
        for w in range(whole, channels):
            rows[w, t] = tile[t, w]


def _scan(u, delta, A, B, C, state, resets, out, shared):
    """Walk along (B, G, D / G, L); B, C: (B, G, L, N); state is where it starts, and ends."""
    batch, groups, channels, length = u.shape
    states = A.shape[2]
    zero, infinity = u.dtype.type(0), u.dtype.type(np.inf)
    inputs = np.zeros((TILE, WIDTH), u.dtype)
    steps = np.zeros((TILE, WIDTH), u.dtype)
    rates = np.zeros((states, WIDTH), u.dtype)
    h = np.zeros((states, WIDTH), u.dtype)
    x = np.zeros(WIDTH, u.dtype)
    y = np.zeros(WIDTH, u.dtype)
    decays = np.zeros(WIDTH, u.dtype)
    fine = True
    for b in range(batch):
        for g in range(groups):
            for first in range(0, channels, WIDTH):
                lanes = min(WIDTH, channels - first)
                own = slice(first, first + lanes)
                if lanes < WIDTH:
                    # Idle lanes stand still at zero.
                    inputs[:] = zero
                    steps[:] = zero
                    h[:] = zero
                for w in range(lanes):
                    for n in range(states):
                        rates[n, w] = A[g, first + w, n] * u.dtype.type(1.4426950408889634)
                        h[n, w] = state[b, g, first + w, n]
                for start in range(0, length, TILE):
                    tokens = min(TILE, length - start)
                    here = slice(start, start + tokens)
                    _turn(u[b, g, own, here], inputs)
                    _turn(delta[b, g, own, here], steps)
                    for t in range(tokens):
                        for w in range(WIDTH):
                            fine &= (steps[t, w] >= zero) & (steps[t, w] < infinity)
                            fine &= np.abs(inputs[t, w]) < infinity
                            x[w] = inputs[t, w] * steps[t, w]
                            y[w] = zero
                        if resets[b, start + t]:
                            h[:] = zero
                        if shared:
                            for w in range(WIDTH):
                                decays[w] = _decay(steps[t, w], rates[0, w])
                            for n in range(states):
                                key = B[b, g, start + t, n]
                                query = C[b, g, start + t, n]
                                for w in range(WIDTH):
                                    new = decays[w] * h[n, w] + x[w] * key
                                    h[n, w] = new
                                    y[w] += new * query
                        else:
                            for n in range(states):
                                key = B[b, g, start + t, n]
                                query = C[b, g, start + t, n]
                                for w in range(WIDTH):
                                    decay = _decay(steps[t, w], rates[n, w])
                                    new = decay * h[n, w] + x[w] * key
                                    h[n, w] = new
                                    y[w] += new * query
                        for w in range(WIDTH):
                            steps[t, w] = y[w]
                    _turn_back(steps, out[b, g, own, here])
                for w in range(lanes):
                    for n in range(states):
                        state[b, g, first + w, n] = h[n, w]
    return fine


def _column_sums(weights, delta, A, B, C, adjoint, resets, out, shared):
    """Walk back along (B, G, D / G, L); B, C: (B, G, L, N); adjoint is zero, and stays."""
    batch, groups, channels, length = delta.shape
    states = A.shape[2]
    zero, infinity = delta.dtype.type(0), delta.dtype.type(np.inf)
    scales = np.zeros((TILE, WIDTH), delta.dtype)
    steps = np.zeros((TILE, WIDTH), delta.dtype)
    rates = np.zeros((states, WIDTH), delta.dtype)
    h = np.zeros((states, WIDTH), delta.dtype)
    y = np.zeros(WIDTH, delta.dtype)
    decays = np.zeros(WIDTH, delta.dtype)
    fine = True
    for b in range(batch):
        for g in range(groups):
            for first in range(0, channels, WIDTH):
                lanes = min(WIDTH, channels - first)
                own = slice(first, first + lanes)
                h[:] = zero
                if lanes < WIDTH:
                    # Idle lanes stand still at zero.
                    scales[:] = zero
                    steps[:] = zero
                for w in range(lanes):
                    for n in range(states):
                        rates[n, w] = A[g, first + w, n] * delta.dtype.type(1.4426950408889634)
                for block in range((length - 1) // TILE, -1, -1):
                    start = block * TILE
                    tokens = min(TILE, length - start)
                    here = slice(start, start + tokens)
                    _turn(weights[b, g, own, here], scales)
                    _turn(delta[b, g, own, here], steps)
                    for back in range(tokens):
                        t = tokens - 1 - back
                        for w in range(WIDTH):
                            fine &= (steps[t, w] >= zero) & (steps[t, w] < infinity)
                            fine &= np.abs(scales[t, w]) < infinity
                            y[w] = zero
                        if shared:
                            for w in range(WIDTH):
                                decays[w] = _decay(steps[t, w], rates[0, w])
                            for n in range(states):
                                key = B[b, g, start + t, n]
                                query = C[b, g, start + t, n]
                                for w in range(WIDTH):
                                    new = h[n, w] + scales[t, w] * query
                                    y[w] += new * key
                                    h[n, w] = decays[w] * new
                        else:
                            for n in range(states):
                                key = B[b, g, start + t, n]
                                query = C[b, g, start + t, n]
                                for w in range(WIDTH):
                                    new = h[n, w] + scales[t, w] * query
                                    y[w] += new * key
                                    h[n, w] = _decay(steps[t, w], rates[n, w]) * new
                        if resets[b, start + t]:
                            h[:] = zero
                        for w in range(WIDTH):
                            steps[t, w] *= y[w]
                    _turn_back(steps, out[b, g, own, here])
    return fine
