"""The phase portrait on the circle: zeros, stability, arcs, limits."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from flint import arb, ctx

from tokensphere.door import exact, takes

from .field import FIRST_PRECISION, Matrix, ball, number, precisions, rational, sign
from .lines import KINDS, Line, angles_of, leading, lines_of

STABILITIES = ("attracting", "repelling", "attracting from below", "attracting from above")
"""What a zero does to its neighbours; the last two are semi-stable: "from below" means that it
attracts smaller angles and repels larger ones. Where F vanishes everywhere: "neutral"."""


@dataclass(frozen=True)
class Zero:
    """A zero of F, that is, an equilibrium of eq (9).

    Args:
        angle: a ball that holds it, within [0, 2 pi).
        kinds: which of KINDS it is; several where lines coincide.
        order: m with F(phi) = leading (phi - angle)^m + O((phi - angle)^{m+1}), from 1 to 4.
        leading: a ball that holds that coefficient, never zero; for order 1 it is F'(angle).
        stability: one of STABILITIES.

    An attracted trajectory approaches as exp(-abs(leading) t) for m = 1, and as
    ((m - 1) abs(leading) t)^(-1/(m-1)) for m > 1.
    """

    angle: arb
    kinds: tuple[str, ...]
    order: int
    leading: arb
    stability: str


@dataclass(frozen=True)
class Portrait:
    """The phase portrait of eq (9) for D = 2; made by :func:`portrait`.

    Args:
        S_BC, S_Delta: the parameters as Fractions; columns of S_Delta are S_{Delta,d}.
        zeros: in cyclic order, angles from 0 up; the first is e_1. Empty if F vanishes everywhere.
        signs: the sign of F on the arc from ``zeros[i]`` to ``zeros[i + 1]``, cyclically.
        everywhere: the kinds that every point has: ("zero of the form",) if S = 0,
            ("equal steps",) if S_{Delta,1} = S_{Delta,2}, both, or, generically, none.
    """

    S_BC: Matrix
    S_Delta: Matrix
    zeros: tuple[Zero, ...]
    signs: tuple[int, ...]
    everywhere: tuple[str, ...]
    _lines: tuple[Line, ...] = field(repr=False)

    def limit(self, start) -> Zero:
        """The limit of the trajectory from `start`: the next zero in the direction of travel.

        Args:
            start: an angle, exactly the rational number given (int, Fraction, str, float), or a
                pair of such numbers, the direction of y(0).
        Returns:
            One of ``zeros``. If F vanishes everywhere: the start itself as a Zero of order 0, with
            the kinds in ``everywhere``.
        Raises:
            ValueError: a start that is neither, or the direction (0, 0).

        Exact: for a rational angle phi != 0, exp(i phi) is transcendental (Lindemann) and the zeros
        are algebraic points, so that a start at an angle other than 0 never is a zero.
        """
        start = _start(start)
        if not self._lines:
            return Zero(_angle_of(start), self.everywhere, 0, arb(0), "neutral")
        if (index := self._at_zero(start)) is not None:
            return self.zeros[index]
        for bits in precisions("start"):
            with ctx.workprec(bits):
                place = _angle_of(start)
                ends = [*angles_of(self._lines), 2 * arb.pi()]
            for i, (low, high) in enumerate(pairwise(ends)):
                if low < place and place < high:
                    return self._end_of_arc(i)
        raise AssertionError  # the last precision raises

    def shares(self) -> dict[tuple[str, ...], arb]:
        """The share of the circle that tends to each set of kinds, by arc length; they sum to 1."""
        if not self._lines:
            return {self.everywhere: arb(1)}
        with ctx.workprec(2 * FIRST_PRECISION):
            ends = [*angles_of(self._lines), 2 * arb.pi()]
            found: dict[tuple[str, ...], arb] = {}
            for i, (low, high) in enumerate(pairwise(ends)):
                kinds = self._end_of_arc(i).kinds
                found[kinds] = found.get(kinds, arb(0)) + (high - low) / (2 * arb.pi())
        return found

    def _end_of_arc(self, index: int) -> Zero:
        """The zero to which the arc that starts at ``zeros[index]`` flows."""
        return self.zeros[(index + (self.signs[index] > 0)) % len(self.zeros)]

    def _at_zero(self, start) -> int | None:
        """The index of the zero that `start` is, exactly; None where it is none."""
        if isinstance(start, Fraction):
            return 0 if start == 0 else None
        x, y = start if start[1] > 0 or (start[1] == 0 and start[0] > 0) else (-start[0], -start[1])
        for index, line in enumerate(self._lines):
            if not line.root and x * line.y == y * line.x:
                return index if (x, y) == start else index + len(self._lines)
        return None


@takes(S_BC=exact(2, 2, text=True), S_Delta=exact(2, 2, text=True))
def portrait(S_BC, S_Delta) -> Portrait:
    """All zeros of F, their kinds, order, stability and the direction of travel, each proved.

    Args:
        S_BC, S_Delta: 2 x 2, nested sequences of what ``fractions.Fraction`` takes (ints, floats
            exactly as they are, "1/3"), or tensors and arrays; **column** d of S_Delta is
            S_{Delta,d}. Nothing is assumed of S_BC.
    Returns:
        Portrait.
    Raises:
        ValueError: another shape, entries that are not finite rational numbers; the message names
            the argument.
        RuntimeError: a sign that 65,536 bits do not decide, which takes parameters so large
            that a step underflows.

    The signs on the two arcs at a zero, from F, are held against the zero's order and leading
    coefficient, from its factors.
    """
    S_BC, S_Delta = rational("S_BC", S_BC), rational("S_Delta", S_Delta)
    S = _symmetric(S_BC)
    d = tuple(row[1] - row[0] for row in S_Delta)
    everywhere = (KINDS[1:2] if not any(d) else ()) + (KINDS[2:3] if not any(map(any, S)) else ())
    if everywhere:
        return Portrait(S_BC, S_Delta, (), (), everywhere, ())
    lines = lines_of(S, d)
    for bits in precisions("S_BC and S_Delta"):
        with ctx.workprec(bits):
            lines.sort(key=lambda line: angles_of([line])[0].mid())
            angles = angles_of(lines)
            arcs = list(pairwise([*angles, 2 * arb.pi()]))
            middles = [((low + high) / 2).mid() for low, high in arcs]
        # Each ball is on the right side of the exact number between it and the next: proved order.
        if all(a < m and m < b for (a, b), m in zip(arcs, middles, strict=True)):
            break
    signs = tuple(sign(S_BC, S_Delta, middle) for middle in middles)
    zeros = []
    for index, angle in enumerate(angles):
        line = lines[index % len(lines)]
        slope = leading(S, S_Delta, line, 1 if index < len(lines) else -1)
        before, after = signs[index - 1], signs[index]
        if (after > 0) != (slope > 0) or (before == after) != (line.order % 2 == 0):
            raise RuntimeError(f"the signs of F disagree with its order near {angle.str(10)}")
        stability = STABILITIES[{(1, -1): 0, (-1, 1): 1, (1, 1): 2, (-1, -1): 3}[before, after]]
        zeros.append(Zero(angle, line.kinds, line.order, slope, stability))
    return Portrait(S_BC, S_Delta, tuple(zeros), signs, (), tuple(lines))


def _symmetric(S_BC: Matrix) -> Matrix:
    off = (S_BC[0][1] + S_BC[1][0]) / 2
    return (S_BC[0][0], off), (off, S_BC[1][1])


def _start(start) -> Fraction | tuple[Fraction, Fraction]:
    start = start.tolist() if hasattr(start, "tolist") else start
    try:
        if isinstance(start, Sequence) and not isinstance(start, str):
            x, y = map(number, start)
            if x == 0 == y:
                raise ValueError("got the direction (0, 0)")
            return x, y
        return number(start)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise ValueError(f"start: takes a rational angle or a direction: {error}") from None


def _angle_of(start: Fraction | tuple[Fraction, Fraction]) -> arb:
    """A ball for the angle of :func:`_start`, in [0, 2 pi) up to its radius."""
    if isinstance(start, Fraction):
        angle = ball(start)
        return angle - 2 * arb.pi() * (angle / (2 * arb.pi())).mid().floor()
    angle = arb.atan2(ball(start[1]), ball(start[0]))
    return angle + 2 * arb.pi() if start[1] < 0 else angle
