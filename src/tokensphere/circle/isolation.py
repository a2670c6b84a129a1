"""Zeros of F found and proved by interval evaluation, without the factors of F."""

import math
from dataclasses import dataclass
from fractions import Fraction

from flint import arb, arb_series, ctx, fmpq

from tokensphere.door import exact, number, takes, whole

from .field import ball, balls, evaluate, rational, sign


@dataclass(frozen=True)
class Enclosure:
    """An interval [low, high] of angles that holds exactly one zero, and the sign of F' on it."""

    low: Fraction | arb
    high: Fraction | arb
    slope: int


@takes(
    S_BC=exact(2, 2, text=True),
    S_Delta=exact(2, 2, text=True),
    precision=whole(16, 2**16),
    finest=number(least=1e-15, most=1.0),
)
def isolate(
    S_BC, S_Delta, precision: int = 128, finest: Fraction = Fraction(1, 2**30)
) -> list[Enclosure]:
    """All zeros of F by interval evaluation alone, without the factors of F.

    The circle is covered by intervals. On each either a ball for F excludes 0: no zero. Or a ball
    for F' excludes 0: one zero if F has opposite signs at the ends, else none. Otherwise the
    interval is halved. Ends are rational numbers other than 0, where F is never zero unless it is
    zero everywhere (Lindemann), and -9/16 + 2 pi.

    Args:
        S_BC, S_Delta: as for :func:`portrait`.
        precision: bits of the balls.
        finest: width in radians below which an interval is not halved.
    Returns:
        Enclosures in the order of angles, from -9/16 to -9/16 + 2 pi.
    Raises:
        ValueError: as :func:`portrait`.
        RuntimeError: "undecided" at a zero of order two or more, where no enclosure can succeed,
            or at zeros too close to one another for `finest`, or if F vanishes everywhere.
    """
    S_BC, S_Delta = rational("S_BC", S_BC), rational("S_Delta", S_Delta)
    found: list[Enclosure] = []
    with ctx.workprec(precision):
        start, end = Fraction(-9, 16), 2 * arb.pi() - fmpq(9, 16)
        cuts = [start + Fraction(k, 8) for k in range(int(16 * math.pi) + 1)]
        # Rightmost on top. The end is the start again, one turn on, and no rational number.
        todo = list(zip(cuts, [*cuts[1:], end], strict=True))[::-1]
        forms = balls(S_BC), balls(S_Delta)
        while todo:
            low, high = todo.pop()
            whole = ball(low).union(high if isinstance(high, arb) else ball(high))
            value, slope = (evaluate(*forms, arb_series([whole, arb(1)], 2))[k] for k in (0, 1))
            if not value.contains(0):
                continue
            if not slope.contains(0):
                left = sign(S_BC, S_Delta, low)
                right = sign(S_BC, S_Delta, start if isinstance(high, arb) else high)
                if left != right:
                    found.append(Enclosure(low, high, right))
                continue
            width = 2 * float(whole.rad())
            if width < finest:
                raise RuntimeError(
                    f"undecided: zeros of order two or more, or closer than {float(finest):.1e}, "
                    f"near angle {float(low):.6f}"
                )
            half = Fraction(2) ** math.floor(math.log2(width)) / 2
            middle = low + half or half / 8  # 0 is an axis, where F vanishes: cut beside it
            todo += [(middle, high), (low, middle)]
    return found
