"""The fields' compiled pass over the tokens: it holds nothing larger than a block. Needs numba."""

from collections.abc import Callable

import numpy as np
from numba import njit

BLOCK = 64
"""Tokens taken at once: what they need between two loops stays in the cache next to the core."""


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
def fused(x, length, S_C, S_B, S_Delta, a, which, out, normalised, projected):
    """Rows of `out`: the layer's output at x, or at x/|x|; with its part along x or without.

    x, out: (sequences * length, D). S_C, S_B: (., N, D), S_Delta: (., D, G), a: (., G) with G = D,
    or 1 where channels share their steps; which: (sequences, 3), the entries of S_C and S_B, of
    S_Delta and of a that belong to a sequence. Without S_C queries are the tokens; without a,
    nothing decays: then length must be 1.
    """
    rows, dim = x.shape
    states, groups = S_B.shape[1], S_Delta.shape[2]
    size = min(rows, BLOCK)
    unit = np.empty((size, dim))
    queries, keys = np.empty((size, states)), np.empty((size, states))
    steps, decays = np.empty((size, groups)), np.empty((size, groups))
    state = np.zeros((states, dim))
    output = np.empty(dim)
    position, sequence = 0, 0
    for start in range(0, rows, size):
        count = min(size, rows - start)
        place, index = position, sequence
        for i in range(count):
            row = x[start + i]
            scale = 1.0
            if normalised:
                scale = 0.0
                for d in range(dim):
                    scale += row[d] * row[d]
                scale = 1.0 / np.sqrt(scale)
            for d in range(dim):
                unit[i, d] = row[d] * scale
            bc, delta = which[index, 0], which[index, 1]
            for n in range(states):
                key = 0.0
                for d in range(dim):
                    key += S_B[bc, n, d] * unit[i, d]
                keys[i, n] = key
                query = 0.0
                if len(S_C):
                    for d in range(dim):
                        query += S_C[bc, n, d] * unit[i, d]
                else:
                    query = unit[i, n]
                queries[i, n] = query
            for g in range(groups):
                steps[i, g] = 0.0
            for d in range(dim):
                for g in range(groups):
                    steps[i, g] += S_Delta[delta, d, g] * unit[i, d]
            for g in range(groups):
                steps[i, g] = max(steps[i, g], 0.0) + np.log1p(np.exp(-abs(steps[i, g])))
                if len(a):
                    decays[i, g] = np.exp(-a[which[index, 2], g] * steps[i, g])
            place += 1
            if place == length:
                place, index = 0, index + 1
        for i in range(count):
            if position == 0:
                state[:] = 0.0
            output[:] = 0.0
            for n in range(states):
                query, key = queries[i, n], keys[i, n]
                for d in range(dim):
                    g = d if groups > 1 else 0
                    new = key * steps[i, g] * unit[i, d]
                    if position > 0:
                        new += decays[i, g] * state[n, d]
                    state[n, d] = new
                    output[d] += query * new
            along = 0.0
            if projected:
                for d in range(dim):
                    along += output[d] * unit[i, d]
            for d in range(dim):
                out[start + i, d] = output[d] - along * unit[i, d]
            position += 1
            if position == length:
                position, sequence = 0, sequence + 1
