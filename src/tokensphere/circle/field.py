"""The angular field F in ball arithmetic, at exact parameters."""

from collections.abc import Iterator
from fractions import Fraction
from numbers import Rational

from flint import arb, arb_series, ctx, fmpq

from tokensphere.door import exact, takes

FIRST_PRECISION, LAST_PRECISION = 64, 2**16
"""Bits to begin with, and bits at which a sign that is still undecided is given up."""

Matrix = tuple[tuple[Fraction, Fraction], tuple[Fraction, Fraction]]


@takes(S_BC=exact(2, 2, text=True), S_Delta=exact(2, 2, text=True))
def angular_field(S_BC, S_Delta, angle):
    """F at `angle`, from eqs (19)-(20): phi' = y_1 y_2' - y_2 y_1', with no factor taken out.

    Args:
        S_BC, S_Delta: as for :func:`portrait`.
        angle: an arb, which gives an arb that holds F on all of it; or an arb_series, which gives
            the series: ``arb_series([angle, 1], 2)`` gives F and F'.
    """
    S_BC, S_Delta = rational("S_BC", S_BC), rational("S_Delta", S_Delta)
    return evaluate(balls(S_BC), balls(S_Delta), angle)


def evaluate(S_BC, S_Delta, angle):
    """:func:`angular_field` for parameters that are balls already."""
    y = angle.cos(), angle.sin()
    form = sum(S_BC[i][j] * (y[i] * y[j]) for i in (0, 1) for j in (0, 1))
    steps = [softplus(S_Delta[0][k] * y[0] + S_Delta[1][k] * y[1]) for k in (0, 1)]
    mean = steps[0] * (y[0] * y[0]) + steps[1] * (y[1] * y[1])
    dy = [form * (step - mean) * value for step, value in zip(steps, y, strict=True)]
    return y[0] * dy[1] - y[1] * dy[0]


def sign(S_BC: Matrix, S_Delta: Matrix, angle: arb | Fraction) -> int:
    """The sign of F at an exact angle, by a ball that excludes zero."""
    for bits in precisions("S_BC and S_Delta"):
        with ctx.workprec(bits):
            where = ball(angle) if isinstance(angle, Fraction) else angle
            value = evaluate(balls(S_BC), balls(S_Delta), where)
        if not value.contains(0):
            return 1 if value > 0 else -1
    raise AssertionError  # the last precision raises


def softplus(z):
    """ln(1 + e^z), eq (3), without loss where e^z is small; of a series, its first two terms."""
    if isinstance(z, arb):
        return z.exp().log1p()
    return arb_series([z[0].exp().log1p(), z[1] / (1 + (-z[0]).exp())], 2)


def precisions(names: str) -> Iterator[int]:
    """Precisions to try, in bits, each twice the one before; RuntimeError after the last."""
    bits = max(FIRST_PRECISION, ctx.prec)
    while bits <= LAST_PRECISION:
        yield bits
        bits *= 2
    raise RuntimeError(f"{names}: {LAST_PRECISION} bits do not decide a sign")


def ball(value: Fraction) -> arb:
    return arb(fmpq(value.numerator, value.denominator))


def balls(matrix: Matrix) -> list[list[arb]]:
    return [[ball(value) for value in row] for row in matrix]


def number(value) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, Rational | float | str):
        raise TypeError(f"got {value!r}")
    return Fraction(value)


def rational(name: str, matrix) -> Matrix:
    rows = matrix.tolist() if hasattr(matrix, "tolist") else matrix
    try:
        (a, b), (c, d) = rows
        return (number(a), number(b)), (number(c), number(d))
    except (TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise ValueError(f"{name}: takes 2 x 2 finite rational numbers: {error}") from None
