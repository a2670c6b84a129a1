"""Loops that do nothing but one kind of arithmetic, on numbers in a core's nearest cache.

They say what the arithmetic costs a compiled kernel that has it inlined: range reduction and a
polynomial, many numbers to an instruction. A call of torch.exp pays for memory too. Compiled by
numba, which may be absent: `measure.rates` alone imports this module.
"""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit

DEGREES = {np.float32: (5, 4), np.float64: (11, 10)}
"""Of the polynomials for 2^f and for a logarithm: the least whose errors are below rounding."""
CHAIN = 16
"""Multiply-adds, one upon the other, between a number's load and its store."""


@cache
def kernels(dtype: type) -> dict[str, Callable[[np.ndarray, int], None]]:
    """Functions (array, rounds) by what they count, as in `measure.rates`.

    A round takes one exponential or softplus of each number, or CHAIN multiply-adds. The array is
    changed in place, and stays within [-2, 2] for any number of rounds. Other threads can run
    meanwhile.
    """
    of_power, of_log = DEGREES[dtype]
    power = _polynomial(_fit(np.exp2, (-0.5, 0.5), of_power), dtype)
    # log(1 + t) = 2 artanh(s) with s = t / (2 + t), which is s times a function of s^2.
    log = _polynomial(_fit(lambda q: 2 * np.arctanh(q**0.5) / q**0.5, (0.0, 1 / 9), of_log), dtype)
    word = {np.float32: np.int32, np.float64: np.int64}[dtype]
    mantissa = word(np.finfo(dtype).nmant)
    bias = word(np.finfo(dtype).maxexp - 1)
    zero, one, two, per_bit = (dtype(value) for value in (0, 1, 2, 1 / math.log(2)))

    @_compiled
    def exp2(x):
        whole = dtype(np.rint(x))
        # A power of two is its exponent's bits.
        scale = word((word(whole) + bias) << mantissa).view(dtype)
        return scale * power(x - whole)

    @_compiled
    def softplus(x):
        t = exp2(-abs(x) * per_bit)
        s = t / (two + t)
        return max(x, zero) + s * log(s * s)

    @_compiled
    def exponentials(values, rounds):
        for _ in range(rounds):
            for i in range(values.size):
                values[i] = exp2(values[i]) - two

    @_compiled
    def softplusses(values, rounds):
        for _ in range(rounds):
            for i in range(values.size):
                values[i] = softplus(values[i]) - one

    # Reassociated, a chain would be one multiply-add.
    @njit(nogil=True, fastmath={"contract"})
    def chains(values, rounds, factor, summand):
        for _ in range(rounds):
            for i in range(values.size):
                value = values[i]
                for _ in range(CHAIN):
                    value = value * factor + summand
                values[i] = value

    half = dtype(0.5)
    return {
        "exponentials": exponentials,
        "softplus": softplusses,
        "multiply-adds": lambda values, rounds: chains(values, rounds, half, half),
    }


def _compiled(function: Callable) -> Callable:
    # numpy's way with a division by zero: the check for one would keep a loop from vectors.
    return njit(nogil=True, fastmath=True, error_model="numpy")(function)


def _fit(function: Callable, domain: tuple[float, float], degree: int) -> np.ndarray:
    """Coefficients of the polynomial nearest to the function at many of Chebyshev's points."""
    first, last = domain
    count = 64 * (degree + 1)  # so many that rounding of the function's values evens out
    points = np.cos(np.pi * (np.arange(count) + 0.5) / count)
    points = (first + last) / 2 + (last - first) / 2 * points
    near = np.polynomial.Chebyshev.fit(points, function(points), degree, domain=domain)
    return near.convert(kind=np.polynomial.Polynomial).coef


def _polynomial(coefficients: np.ndarray, dtype: type) -> Callable:
    # A tuple's numbers are constants to the compiler; an array's would be loaded each time.
    *others, last = (dtype(value) for value in coefficients)
    others = tuple(reversed(others))

    @_compiled
    def horner(x):
        value = last
        for coefficient in others:
            value = value * x + coefficient
        return value

    return horner
