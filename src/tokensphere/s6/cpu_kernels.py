"""The compiled passes of :mod:`.cpu`. Needs numba.

Channels lie across the lanes of the vector registers. A block of WIDTH channels walks along the
tokens with its states in the first cache; TILE tokens at a time are turned round, so that those
channels' steps lie side by side. B and C, which the channels of a group share, are read as
numbers that go to all lanes. The exponential is taken where its decay is used, and written out
below for all lanes at once: the system's library would be called number by number. Lanes that a
block leaves idle go on with what they last held, and nobody reads them.
"""

import functools
from collections.abc import Callable

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.extending import intrinsic, models, register_model
from numba.np.arrayobj import make_array

WIDTH = 32
"""Channels of a block: two registers of AVX-512 in float32, so that one waits while one works."""
TILE = 128
"""Tokens that are turned round at once: 512 bytes of a channel, one after the other, in float32."""
# q of 2^f = 1 + f q(f), from the highest power; see _decay.
POLYNOMIAL_32 = (
    *(0.0001559467702, 0.001340664385, 0.009617692976),
    *(0.05550310551, 0.2402265278, 0.693147215),
)
POLYNOMIAL_64 = (
    *(4.07807178609287042e-10, 7.07257039454079943e-9, 1.01806476605730693e-7),
    *(1.32154426754528552e-6, 0.0000152527273851897748, 0.000154035304415718501),
    *(0.00133335581534399697, 0.00961812910760700262, 0.0555041086647903945),
    *(0.24022650695910098, 0.693147180559945697),
)
COMPILED = {"nogil": True, "fastmath": {"contract"}}
"""Products and sums may be fused; anything more would not respect NaN, nor how numbers round."""


@functools.cache
def compiled(walk: Callable, dtype: torch.dtype) -> Callable:
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


class _Row(numba.types.Type):
    """WIDTH numbers, one a lane, that compiled code holds in vector registers.

    As loops over the lanes the innermost step takes a third longer, and compilers may leave it a
    loop.
    """

    def __init__(self, dtype):
        self.dtype = dtype
        super().__init__(name=f"Row({dtype})")


@register_model(_Row)
class _RowModel(models.PrimitiveModel):
    def __init__(self, manager, row):
        number = ir.FloatType() if row.dtype == numba.float32 else ir.DoubleType()
        super().__init__(manager, row, ir.VectorType(number, WIDTH))


def _place(context, builder, row, array_type, array, index):
    """Where row `index` of (., WIDTH) lies."""
    array = make_array(array_type)(context, builder, array)
    start = builder.mul(index, ir.Constant(index.type, WIDTH))
    pointer = builder.gep(array.data, [start])
    return builder.bitcast(pointer, context.get_value_type(row).as_pointer())


@intrinsic
def _get(typing, tile, index):
    """tile[index], from (., WIDTH)."""
    row = _Row(tile.dtype)

    def build(context, builder, signature, values):
        place = _place(context, builder, row, tile, *values)
        return builder.load(place, align=tile.dtype.bitwidth // 8)

    return row(tile, numba.intp), build


@intrinsic
def _put(typing, tile, index, row):
    """tile[index] = row."""

    def build(context, builder, signature, values):
        place = _place(context, builder, row, tile, *values[:2])
        builder.store(values[2], place, align=tile.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return numba.void(tile, numba.intp, row), build


@intrinsic
def _put_beside(typing, result, index, row):
    """result[:, index] = row, where the numbers of a column lie side by side."""

    def build(context, builder, signature, values):
        array = make_array(signature.args[0])(context, builder, values[0])
        stride = builder.extract_value(array.strides, 1)
        start = builder.mul(values[1], stride)
        place = builder.gep(builder.bitcast(array.data, ir.IntType(8).as_pointer()), [start])
        place = builder.bitcast(place, values[2].type.as_pointer())
        builder.store(values[2], place, align=result.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return numba.void(result, numba.intp, row), build


@intrinsic
def _all(typing, number):
    """The number in all lanes."""
    row = _Row(number)

    def build(context, builder, signature, values):
        return _spread(builder, values[0], context.get_value_type(row))

    return row(number), build


def _spread(builder, number, vector):
    alone = builder.insert_element(
        ir.Constant(vector, ir.Undefined), number, ir.Constant(ir.IntType(32), 0)
    )
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), None)
    return builder.shuffle_vector(alone, ir.Constant(vector, ir.Undefined), zeros)


@intrinsic
def _times(typing, a, b):
    def build(context, builder, signature, values):
        return builder.fmul(*values, flags=("contract",))

    return a(a, a), build


@intrinsic
def _times_plus(typing, a, b, c):
    """a b + c."""

    def build(context, builder, signature, values):
        product = builder.fmul(*values[:2], flags=("contract",))
        return builder.fadd(product, values[2], flags=("contract",))

    return a(a, a, a), build


@intrinsic
def _least(typing, a, b):
    """The lesser of two; a, where b is NaN."""

    def build(context, builder, signature, values):
        return builder.select(builder.fcmp_ordered("<", values[1], values[0]), *reversed(values))

    return a(a, a), build


@intrinsic
def _decay(typing, step, rate):
    """2^(step rate), for products that are not positive."""
    # Adding 1.5 times 2^23 (2^52) leaves an integer n in the last bits. For the rest f, in
    # [-1/2, 1/2], 2^f is 1 + f q(f): q is the best such polynomial, with a relative error of 3e-9
    # (2e-17). It is exact at zero, since an error there would add up along slow decays. n goes to
    # the exponent's bits; what is below the least normal number is zero.
    if step.dtype == numba.float32:
        bits, mantissa, least, polynomial = 32, 23, -126, POLYNOMIAL_32
    else:
        bits, mantissa, least, polynomial = 64, 52, -1022, POLYNOMIAL_64
    shift = 1.5 * 2.0**mantissa

    def build(context, builder, signature, values):
        vector = context.get_value_type(step)
        integers = ir.VectorType(ir.IntType(bits), WIDTH)

        def number(x):
            return ir.Constant(vector, [x] * WIDTH)

        def times_plus(a, b, c):
            product = builder.fmul(a, b, flags=("contract",))
            return builder.fadd(product, c, flags=("contract",))

        product = builder.fmul(*values)
        shifted = builder.fadd(product, number(shift))
        f = builder.fsub(product, builder.fsub(shifted, number(shift)))
        p = number(polynomial[0])
        for coefficient in (*polynomial[1:], 1.0):
            p = times_plus(p, f, number(coefficient))
        n = builder.shl(
            builder.bitcast(shifted, integers), ir.Constant(integers, [mantissa] * WIDTH)
        )
        power = builder.bitcast(builder.add(builder.bitcast(p, integers), n), vector)
        normal = builder.fcmp_ordered(">=", shifted, number(shift + least))
        return builder.select(normal, power, number(0.0))

    return step(step, step), build


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
def _write(row, spare, result, index):
    """A token's numbers to result[:, index]."""
    channels = result.shape[0]
    if channels == WIDTH and result.strides[0] == result.itemsize:
        _put_beside(result, index, row)
    else:
        _put(spare, 0, row)
        for w in range(channels):
            result[w, index] = spare[0, w]


def scan(u, delta, A, B, C, state, resets, out, shared):
    """Walk along (B, G, D / G, L); B, C: (B, G, L, N); state is where it starts, and ends."""
    batch, groups, channels, length = u.shape
    states = A.shape[2]
    zero = u.dtype.type(0)
    none = _all(zero)
    # Zero times NaN or infinity is NaN.
    least, nothing = none, none
    inputs = np.zeros((TILE, WIDTH), u.dtype)
    steps = np.zeros((TILE, WIDTH), u.dtype)
    rates = np.zeros((states, WIDTH), u.dtype)
    h = np.zeros((states, WIDTH), u.dtype)
    spare = np.zeros((1, WIDTH), u.dtype)
    for b in range(batch):
        for g in range(groups):
            for first in range(0, channels, WIDTH):
                lanes = min(WIDTH, channels - first)
                own = slice(first, first + lanes)
                for w in range(lanes):
                    for n in range(states):
                        rates[n, w] = A[g, first + w, n] * u.dtype.type(1.4426950408889634)
                        h[n, w] = state[b, g, first + w, n]
                for start in range(0, length, TILE):
                    tokens = min(TILE, length - start)
                    here = slice(start, start + tokens)
                    _turn(u[b, g, own, here], inputs)
                    _turn(delta[b, g, own, here], steps)
                    result = out[b, g, own, here]
                    for t in range(tokens):
                        if resets[b, start + t]:
                            h[:] = zero
                        step = _get(steps, t)
                        x = _get(inputs, t)
                        least = _least(least, step)
                        nothing = _times_plus(x, none, _times_plus(step, none, nothing))
                        x = _times(x, step)
                        y = none
                        decay = _decay(step, _get(rates, 0)) if shared else none
                        for n in range(states):
                            if not shared:
                                decay = _decay(step, _get(rates, n))
                            update = _times(x, _all(B[b, g, start + t, n]))
                            new = _times_plus(decay, _get(h, n), update)
                            y = _times_plus(new, _all(C[b, g, start + t, n]), y)
                            _put(h, n, new)
                        _write(y, spare, result, t)
                for w in range(lanes):
                    for n in range(states):
                        state[b, g, first + w, n] = h[n, w]
    _put(h, 0, least)
    sound = (h[0] >= zero).all()
    _put(h, 0, nothing)
    return sound and (h[0] == zero).all()


def column_sums(weights, delta, A, B, C, adjoint, resets, out, shared):
    """Walk back along (B, G, D / G, L); B, C: (B, G, L, N); adjoint is zero, and stays."""
    batch, groups, channels, length = delta.shape
    states = A.shape[2]
    zero = delta.dtype.type(0)
    none = _all(zero)
    # Zero times NaN or infinity is NaN.
    least, nothing = none, none
    scales = np.zeros((TILE, WIDTH), delta.dtype)
    steps = np.zeros((TILE, WIDTH), delta.dtype)
    rates = np.zeros((states, WIDTH), delta.dtype)
    h = np.zeros((states, WIDTH), delta.dtype)
    spare = np.zeros((1, WIDTH), delta.dtype)
    for b in range(batch):
        for g in range(groups):
            for first in range(0, channels, WIDTH):
                lanes = min(WIDTH, channels - first)
                own = slice(first, first + lanes)
                h[:] = zero
                for w in range(lanes):
                    for n in range(states):
                        rates[n, w] = A[g, first + w, n] * delta.dtype.type(1.4426950408889634)
                for block in range((length - 1) // TILE, -1, -1):
                    start = block * TILE
                    tokens = min(TILE, length - start)
                    here = slice(start, start + tokens)
                    _turn(weights[b, g, own, here], scales)
                    _turn(delta[b, g, own, here], steps)
                    result = out[b, g, own, here]
                    for back in range(tokens):
                        t = tokens - 1 - back
                        step = _get(steps, t)
                        scale = _get(scales, t)
                        least = _least(least, step)
                        nothing = _times_plus(scale, none, _times_plus(step, none, nothing))
                        total = none
                        decay = _decay(step, _get(rates, 0)) if shared else none
                        for n in range(states):
                            if not shared:
                                decay = _decay(step, _get(rates, n))
                            new = _times_plus(scale, _all(C[b, g, start + t, n]), _get(h, n))
                            total = _times_plus(new, _all(B[b, g, start + t, n]), total)
                            _put(h, n, _times(decay, new))
                        _write(_times(total, step), spare, result, t)
                        if resets[b, start + t]:
                            h[:] = zero
    _put(h, 0, least)
    sound = (h[0] >= zero).all()
    _put(h, 0, nothing)
    return sound and (h[0] == zero).all()
