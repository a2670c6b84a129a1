r"""mu > 0 and no s x_l positive: every token grows like ln t.

With y_l = |s x_l| the step of a token is softplus(-y_l), about e^{-y_l}. The first token that is
not zero obeys y' = (mu/s^2) y^3 softplus(-y), so that e^y y^{-3} (1 + 3/y + 12/y^2 + ...) is
(mu/s^2) t. The others grow like it, y_l / ln t -> rho_l >= 1.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from tokensphere.door import array, takes
from tokensphere.door import number as a_number
from tokensphere.door import positive as a_positive

from .arguments import Line, number, positive
from .decay import LN2, _of


@takes(mu=a_positive(), s=a_number(), log_t=a_number())
def first_token(mu: float, s: float, log_t: float) -> float:
    """|s x(t)| of the first token that is not zero, for large ln t, from any start.

    It solves y - 3 ln y + ln(1 + 3/y + 12/y^2 + 60/y^3) = ln(mu t / s^2): ln t, then 3 ln ln t,
    then ln(mu / s^2). What is left out is about 360/y^4; of the start only e^{-y} is left.

    Raises:
        ValueError: mu or s not positive and not zero, as said; log_t below ln(s^2/mu) + 10.
    """
    mu, s = positive("mu", mu), number("s", s)
    if s == 0.0:
        raise ValueError("s: got 0, takes another number: a token with s = 0 blows up")
    level = number("log_t", log_t) + math.log(mu) - 2.0 * math.log(abs(s))
    if level < 10.0:
        raise ValueError(f"log_t: got {log_t!r}, takes {log_t - level + 10.0:g} or more")
    y = level + 3.0 * math.log(level)
    for _ in range(60):  # a contraction by 3/y
        y = level + 3.0 * math.log(y) - math.log1p(3.0 / y + 12.0 / y**2 + 60.0 / y**3)
    return y


def _slow(s: float, a: float, x0: Sequence[float] | Tensor) -> Line:
    line = Line.of(1.0, s, a, x0)
    if line.s == 0.0:
        raise ValueError("s: got 0, takes another number: a token with s = 0 blows up")
    if any(line.s * value > 0.0 for value in line.x0):
        raise ValueError("x0: has a token with s x > 0, which blows up")
    return line


@takes(s=a_number(), a=a_positive(), x0=array("L"))
def constants(s: float, a: float, x0: Sequence[float] | Tensor) -> Tensor:
    """rho_l = lim |s x_l| / ln t, (L,), where it has a closed form.

    1 for the first token that is not zero, and for every one with a zero token right before it; 0
    for a zero token. NaN for every other token: its constant is above 1 and depends on all of the
    start, and a later token's may be the smaller one.

    Raises:
        ValueError: s, a or x0, also where a token blows up.
    """
    line = _slow(s, a, x0)
    zeros = [True, *(gap > 1 for gap in line.gaps[1:])][: len(line.gaps)]
    return _of(line, [1.0 if zero else math.nan for zero in zeros])


@takes(s=a_number(), a=a_positive(), x0=array("L"))
def offsets(s: float, a: float, x0: Sequence[float] | Tensor) -> Tensor:
    """lim |s x_l| - |s x_p|, p the first token that is not zero, (L,): -ln(1 - 2^{-an}).

    n >= 1 is the number of zero tokens right before l. They never move, and yet act: they let
    2^{-an} of the earlier tokens' drive through, and l makes up for the rest. NaN where no zero
    token stands right before l, and for zero tokens.

    Raises:
        ValueError: s, a or x0, also where a token blows up.
    """
    line = _slow(s, a, x0)
    found = [0.0] if line.gaps else []
    for gap in line.gaps[1:]:
        closed = -math.expm1(-line.a * (gap - 1) * LN2)
        found.append(-math.log(closed) if gap > 1 else math.nan)
    return _of(line, found, math.nan)
