"""The fields' compiled pass over the tokens: it holds nothing larger than a block. Needs numba."""

from collections.abc import Callable

import numpy as np
from numba import njit

BLOCK = 64
"""Tokens taken at once: what they need between two loops stays in the cache next to the core."""

ACROSS = 12288
"""Numbers that the sequences side by side hold at most, if they are more than LANES: 96 KB."""

LANES = 8
"""Numbers in the longest vector register, AVX-512's: channels are padded to a multiple of it, and
the inner loops have that many turns, which compile to one instruction, or two of AVX2."""

# exp(x) = 2^k exp(r), |r| <= ln(2) / 2. In x / ln(2) + ROUND the integer k stands in the last bits.
ROUND = 1.5 * 2.0**52
LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
LEAST = -708.0
"""exp of it is the least power that is no subnormal, which processors are slow at."""


def compiled(function: Callable) -> Callable:
    """njit without the interpreter's lock, kept on disk where there is a place to keep it.

    Sums may be fused with products, not reordered: the exponential's rounding relies on its order.
    """
    options = {"nogil": True, "fastmath": {"contract", "nsz"}, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # neither __pycache__ nor the user's cache folder can be written
        return njit(**options)(function)


@compiled
def decay(x):
    """exp(x) for x <= 0, to an ulp; 0 where it is less than 3e-308. NaN of NaN.

    The library's exponential would be called number by number; this one is a polynomial, of
    degree 11 and 2e-17 off (a Chebyshev fit of (exp(r) - 1 - r) / r^2), and works on vectors.
    """
    shifted = x * LOG2_E + ROUND
    k = shifted - ROUND
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    q = 2.5100424157005067e-08
    q = q * r + 2.7620138719733994e-07
    q = q * r + 2.7557268378684192e-06
    q = q * r + 2.480152119021773e-05
    q = q * r + 0.00019841269863105968
    q = q * r + 0.0013888888917281794
    q = q * r + 0.008333333333330051
    q = q * r + 0.04166666666662399
    q = q * r + 0.16666666666666669
    q = q * r + 0.5000000000000001
    power = np.int64((np.float64(shifted).view(np.int64) + 1023) << 52).view(np.float64)
    found = power * (1.0 + (r + r * r * q))
    return 0.0 if x < LEAST else found


@compiled
def softplus(x):
    """ln(1 + exp(x)), to an ulp or two: max(x, 0) + ln(1 + y), y = exp(-|x|) <= 1.

    ln(1 + y) = ln(2) + ln(1 + f) with f = (y - 1) / 2 for the larger y, and f = y for the smaller;
    ln(1 + f) as in fdlibm's log (Sun Microsystems), for -0.3 < f < 0.42.
    """
    y = decay(-abs(x))
    large = y > 0.41421356237309515
    f = 0.5 * (y - 1.0) if large else y
    s = f / (2.0 + f)
    z = s * s
    q = 1.479819860511658591e-01
    q = q * z + 1.531383769920937332e-01
    q = q * z + 1.818357216161805012e-01
    q = q * z + 2.222219843214978396e-01
    q = q * z + 2.857142874366239149e-01
    q = q * z + 3.999999999940941908e-01
    q = q * z + 6.666666666666735130e-01
    log = f - s * (f - q * z)
    log = log + 0.6931471805599453 if large else log
    return log if x < 0.0 else x + log


@compiled
def _padded(width):
    return (width + LANES - 1) // LANES * LANES


@compiled
def fused(x, length, S_C, S_B, S_Delta, a, which, out, normalised, projected):
    """Rows of `out`: the layer's output at x, or at x/|x|; with its part along x or without.

    x, out: (sequences * length, D). S_C, S_B: (., N, D), S_Delta: (., D, G), a: (., G) with G = D,
    or 1 where channels share their steps; which: (sequences, 3), the entries of S_C and S_B, of
    S_Delta and of a that belong to a sequence. Without S_C queries are the tokens; without a,
    nothing decays: then length must be 1.
    """
    rows, dim = x.shape
    states, groups = S_B.shape[1], S_Delta.shape[2]
    own_queries, decaying = len(S_C) > 0, len(a) > 0
    padded_states, inner = (states + 3) // 4 * 4, (dim + 3) // 4 * 4
    wide = _padded(dim)
    # Columns of a token's product with the joint matrix: keys, queries, what steps are made of.
    width = _padded(states + (states if own_queries else 0) + groups)
    step_column = width - groups
    size = min(rows, BLOCK)
    unit = np.zeros((size, wide))
    products = np.empty((size, width))
    steps, decays = np.empty(size * groups), np.zeros(size * groups)
    rates, loaded = np.empty(size * groups), np.full(size, -1)
    joint = np.zeros((inner, width))
    factors, values = np.zeros(wide), np.zeros(wide)
    state, output = np.empty((padded_states, wide)), np.empty(wide)
    key, query = np.zeros(padded_states), np.zeros(padded_states)
    bc, delta = -1, -1
    place, sequence = 0, 0  # of the next token: within its sequence, and which that is
    position = 0
    for start in range(0, rows, size):
        count = min(size, rows - start)
        for t in range(count):
            if which[sequence, 0] != bc or which[sequence, 1] != delta:
                bc, delta = which[sequence, 0], which[sequence, 1]
                for d in range(dim):
                    for n in range(states):
                        joint[d, n] = S_B[bc, n, d]
                        if own_queries:
                            joint[d, states + n] = S_C[bc, n, d]
                    for g in range(groups):
                        joint[d, step_column + g] = S_Delta[delta, d, g]
            scale = 1.0
            if normalised:
                scale = 0.0
                for d in range(dim):
                    scale += x[start + t, d] * x[start + t, d]
                scale = 1.0 / np.sqrt(scale)
            for d in range(dim):
                unit[t, d] = x[start + t, d] * scale
            u0, u1, u2, u3 = unit[t, 0], unit[t, 1], unit[t, 2], unit[t, 3]
            for lane in range(width):
                products[t, lane] = (u0 * joint[0, lane] + u1 * joint[1, lane]) + (
                    u2 * joint[2, lane] + u3 * joint[3, lane]
                )
            for d in range(4, inner, 4):
                u0, u1, u2, u3 = unit[t, d], unit[t, d + 1], unit[t, d + 2], unit[t, d + 3]
                for lane in range(width):
                    products[t, lane] += (u0 * joint[d, lane] + u1 * joint[d + 1, lane]) + (
                        u2 * joint[d + 2, lane] + u3 * joint[d + 3, lane]
                    )
            for g in range(groups):
                steps[t * groups + g] = products[t, step_column + g]
            if decaying and which[sequence, 2] != loaded[t]:
                loaded[t] = which[sequence, 2]
                for g in range(groups):
                    rates[t * groups + g] = -a[loaded[t], g]
            place += 1
            if place == length:
                place, sequence = 0, sequence + 1
        for i in range(count * groups):
            steps[i] = softplus(steps[i])
        if decaying:
            for i in range(count * groups):
                decays[i] = decay(rates[i] * steps[i])
        for t in range(count):
            if groups == dim:
                for d in range(dim):
                    factors[d] = decays[t * groups + d]
                    values[d] = steps[t * groups + d] * unit[t, d]
            else:
                for d in range(dim):
                    factors[d] = decays[t]
                    values[d] = steps[t] * unit[t, d]
            for n in range(states):
                key[n] = products[t, n]
                query[n] = products[t, states + n] if own_queries else unit[t, n]
            if position == 0:
                state[:] = 0.0
            for lane in range(wide):
                output[lane] = 0.0
            for n in range(0, padded_states, 4):
                k0, k1, k2, k3 = key[n], key[n + 1], key[n + 2], key[n + 3]
                q0, q1, q2, q3 = query[n], query[n + 1], query[n + 2], query[n + 3]
                for lane in range(wide):
                    factor, value = factors[lane], values[lane]
                    s0 = factor * state[n, lane] + k0 * value
                    s1 = factor * state[n + 1, lane] + k1 * value
                    s2 = factor * state[n + 2, lane] + k2 * value
                    s3 = factor * state[n + 3, lane] + k3 * value
                    state[n, lane], state[n + 1, lane] = s0, s1
                    state[n + 2, lane], state[n + 3, lane] = s2, s3
                    output[lane] += (q0 * s0 + q1 * s1) + (q2 * s2 + q3 * s3)
            along = 0.0
            if projected:
                for d in range(dim):
                    along += output[d] * unit[t, d]
            for d in range(dim):
                out[start + t, d] = output[d] - along * unit[t, d]
            position += 1
            if position == length:
                position = 0


@compiled
def _weighted_rows(weights, rows, sums, lanes):
    """sums = sum_d weights[d] rows[d], lane by lane."""
    for lane in range(lanes):
        sums[lane] = weights[0, lane] * rows[0, lane]
    for d in range(1, len(rows)):
        for lane in range(lanes):
            sums[lane] += weights[d, lane] * rows[d, lane]


@compiled
def across(x, length, S_C, S_B, S_Delta, a, which, out, normalised, projected):
    """As `fused`, with the sequences side by side in the lanes: for many of few channels."""
    dim = x.shape[1]
    sequences = len(which)
    states, groups = S_B.shape[1], S_Delta.shape[2]
    own_queries, decaying = len(S_C) > 0, len(a) > 0
    numbers = dim * (groups + (3 if own_queries else 2) * states) + 4 * (dim + groups + states)
    most = max(LANES, min(ACROSS // numbers // LANES * LANES, _padded(sequences)))
    loaded = np.full((3, most), -1)
    query_matrix = np.empty((states if own_queries else 0, dim, most))
    key_matrix = np.empty((states, dim, most))
    step_matrix = np.empty((groups, dim, most))
    rates = np.empty((groups, most))
    unit, output = np.empty((dim, most)), np.empty(most)
    steps, decays = np.empty((groups, most)), np.zeros((groups, most))
    keys, queries = np.empty((states, most)), np.empty((states, most))
    state = np.empty((states, dim, most))
    scale, values = np.empty(most), np.empty(most)
    outputs = np.empty((dim, most))
    for first in range(0, sequences, most):
        count = min(most, sequences - first)
        lanes = _padded(count)
        for lane in range(lanes):
            # Lanes beyond the last sequence repeat it.
            bc, delta, rate = which[first + min(lane, count - 1)]
            if loaded[0, lane] != bc:
                for n in range(states):
                    for d in range(dim):
                        key_matrix[n, d, lane] = S_B[bc, n, d]
                        if own_queries:
                            query_matrix[n, d, lane] = S_C[bc, n, d]
            if loaded[1, lane] != delta:
                for g in range(groups):
                    for d in range(dim):
                        step_matrix[g, d, lane] = S_Delta[delta, d, g]
            if decaying and loaded[2, lane] != rate:
                for g in range(groups):
                    rates[g, lane] = -a[rate, g]
            loaded[0, lane], loaded[1, lane], loaded[2, lane] = bc, delta, rate
        state[:] = 0.0
        for position in range(length):
            for lane in range(lanes):
                row = (first + min(lane, count - 1)) * length + position
                for d in range(dim):
                    unit[d, lane] = x[row, d]
            if normalised:
                _weighted_rows(unit, unit, scale, lanes)
                for lane in range(lanes):
                    scale[lane] = 1.0 / np.sqrt(scale[lane])
                for d in range(dim):
                    for lane in range(lanes):
                        unit[d, lane] *= scale[lane]
            for n in range(states):
                _weighted_rows(key_matrix[n], unit, keys[n], lanes)
                if own_queries:
                    _weighted_rows(query_matrix[n], unit, queries[n], lanes)
                else:
                    for lane in range(lanes):
                        queries[n, lane] = unit[n, lane]
            for g in range(groups):
                _weighted_rows(step_matrix[g], unit, steps[g], lanes)
                for lane in range(lanes):
                    steps[g, lane] = softplus(steps[g, lane])
                if decaying:
                    for lane in range(lanes):
                        decays[g, lane] = decay(rates[g, lane] * steps[g, lane])
            for d in range(dim):
                g = d if groups > 1 else 0
                for lane in range(lanes):
                    values[lane] = steps[g, lane] * unit[d, lane]
                    output[lane] = 0.0
                for n in range(states):
                    for lane in range(lanes):
                        new = decays[g, lane] * state[n, d, lane] + keys[n, lane] * values[lane]
                        state[n, d, lane] = new
                        output[lane] += queries[n, lane] * new
                for lane in range(lanes):
                    outputs[d, lane] = output[lane]
            if projected:
                _weighted_rows(outputs, unit, scale, lanes)
                for d in range(dim):
                    for lane in range(lanes):
                        outputs[d, lane] -= scale[lane] * unit[d, lane]
            for lane in range(count):
                row = (first + lane) * length + position
                for d in range(dim):
                    out[row, d] = outputs[d, lane]
