"""The lines through the origin on which F vanishes, exactly."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from flint import arb, ctx

from .field import Matrix, ball, balls, precisions, softplus

KINDS = ("coordinate vector", "equal steps", "zero of the form")
"""The first three of ``first_token.KINDS``, which imports from here; in the order of the factors
cos sin, Delta_2 - Delta_1, q of F."""


@dataclass(frozen=True)
class Line:
    """A line of zeros: its direction (root * sqrt(radicand) + x, y) with y >= 0, and orders."""

    x: Fraction
    y: Fraction
    axis: int = 0
    steps: int = 0
    form: int = 0
    root: int = 0
    radicand: Fraction = Fraction(0)

    @property
    def kinds(self) -> tuple[str, ...]:
        orders = (self.axis, self.steps, self.form)
        return tuple(kind for kind, n in zip(KINDS, orders, strict=True) if n)

    @property
    def order(self) -> int:
        return self.axis + self.steps + self.form

    def direction(self) -> tuple[arb, arb]:
        return ball(self.x) + self.root * ball(self.radicand).sqrt(), ball(self.y)


def lines_of(S: Matrix, d: Sequence[Fraction]) -> list[Line]:
    """The lines on which F vanishes, each once, with the order of each factor on it."""
    orders: dict[tuple[Fraction, Fraction], list[int]] = {}

    def add(x: Fraction, y: Fraction, factor: int) -> None:
        # The representative with entries of sum of absolute values 1, in the upper half-plane.
        size = (abs(x) + abs(y)) * (-1 if y < 0 or (y == 0 and x < 0) else 1)
        orders.setdefault((x / size, y / size), [0, 0, 0])[factor] += 1

    add(Fraction(1), Fraction(0), 0)
    add(Fraction(0), Fraction(1), 0)
    add(-d[1], d[0], 1)
    (a, b), (_, c) = S
    radicand = b * b - a * c
    lines = []
    if radicand >= 0:
        root = _square_root(radicand)
        if root is None:  # then a != 0
            lines = [Line(-b / a, Fraction(1), 0, 0, 1, s, radicand / a**2) for s in (1, -1)]
        elif a:
            add(-b + root, a, 2)
            add(-b - root, a, 2)
        else:
            add(Fraction(1), Fraction(0), 2)
            add(c, -2 * b, 2)
    return lines + [Line(x, y, *found) for (x, y), found in orders.items()]


def _square_root(value: Fraction) -> Fraction | None:
    """The square root of a non-negative rational number if it is rational."""
    n, m = math.isqrt(value.numerator), math.isqrt(value.denominator)
    return Fraction(n, m) if n * n == value.numerator and m * m == value.denominator else None


def angles_of(lines: Sequence[Line]) -> list[arb]:
    """Angles of the lines in [0, pi), and then of their other halves, at the current precision."""
    upper = [arb.atan2(y, x) for x, y in (line.direction() for line in lines)]
    return upper + [angle + arb.pi() for angle in upper]


def leading(S: Matrix, S_Delta: Matrix, line: Line, side: int) -> arb:
    """The leading coefficient of F at the zero on the given side of a line: see :class:`Zero`."""
    for bits in precisions("S_BC and S_Delta"):
        with ctx.workprec(bits):
            result = _factors(balls(S), balls(S_Delta), line, side)
        if not result.contains(0):
            return result
    raise AssertionError  # the last precision raises


def _factors(S, S_Delta, line: Line, side: int) -> arb:
    """The leading coefficients of cos sin, Delta_2 - Delta_1 and q at the zero, multiplied."""
    u, v = line.direction()
    size = (u * u + v * v).sqrt() * side
    u, v = u / size, v / size
    inner = [S_Delta[0][k] * u + S_Delta[1][k] * v for k in (0, 1)]
    along = [S_Delta[1][k] * u - S_Delta[0][k] * v for k in (0, 1)]  # by y' = (-v, u)
    axes = (1 if v.is_zero() else -1) if line.axis else u * v
    if line.steps:
        steps = (along[1] - along[0]) / (1 + (-inner[0]).exp())
    else:
        steps = softplus(inner[1]) - softplus(inner[0])
    (a, b), (_, c) = S
    form = (
        a * u * u + 2 * b * u * v + c * v * v,
        2 * (b * (u * u - v * v) + (c - a) * u * v),
        a + c,
    )[line.form]
    return axes * steps * form
