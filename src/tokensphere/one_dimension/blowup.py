r"""mu > 0 and some s x_l positive, or s = 0: tokens blow up in finite time.

Let j be the first index whose token is unbounded. The tokens before it, on which it depends, stay
bounded; so it drives itself, x' = mu Delta x^3 + bounded * x, and s x_j > 0 or s = 0:

    |x_j| ~ (3 mu |s| (T - t))^{-1/3},   or with s = 0   (2 mu ln 2 (T - t))^{-1/2}.

A later token l that is not zero diverges with the one before it that is not zero, l', behind n
zero tokens: ln|x_l| = 2^{-an} ln|x_l'| + O(1) where s x_l < 0 (its own step goes to zero, and it
lets all through); |x_l| ~ ln ln|x_l'| / (a |s|) where s x_l > 0 (its step grows, and shuts the
others out); and for s = 0 the power is 2^{-a(n+1)}.
"""

import math
from collections.abc import Sequence

import torch
from scipy.integrate import quad
from torch import Tensor

from tokensphere.door import array, takes, whole
from tokensphere.door import number as a_number
from tokensphere.door import positive as a_positive

from .arguments import Line, as_time, number, positive
from .decay import LN2


def _softplus(y: float) -> float:
    return math.log1p(math.exp(-abs(y))) + max(y, 0.0)


@takes(mu=a_positive(), s=a_number(), x=a_number())
def time_alone(mu: float, s: float, x: float) -> float:
    """The blow-up time of one token from x: the integral of dx / (mu x^3 softplus(s x)) from |x|.

    Infinite where s x < 0, and for x = 0. In units of time of the field; mu positive.

    Raises:
        ValueError: mu, s or x.
    """
    mu, s, x = positive("mu", mu), number("s", s), number("x", x)
    if x == 0.0 or s * math.copysign(1.0, x) < 0.0:
        return math.inf
    y = s * x
    if not math.isfinite(y):  # then the integrand's step is s x all along
        return as_time(-math.log(3.0 * mu) - math.log(abs(s)) - 3.0 * math.log(abs(x)))
    # x / u for the token, so that u runs from 1 to 0, where the integrand is u^2 or u.
    value, _ = quad(lambda u: u / _softplus(y / u) if u else 0.0, 0.0, 1.0, epsabs=0, epsrel=1e-12)
    return as_time(math.log(value) - math.log(mu) - 2.0 * math.log(abs(x)))


@takes(mu=a_positive(), s=a_number(), a=a_positive(), x0=array("L"))
def time_bounds(mu: float, s: float, a: float, x0: Sequence[float] | Tensor) -> tuple[float, float]:
    """Bounds of the time of the first blow-up: (low, high), infinite where none comes.

    high: the least :func:`time_alone` of a token, since what others add only helps. low: no W_l is
    above M^2 D (1 - e^{-aLD}) / (1 - e^{-aD}) where no |x_j| is above M, D = softplus(|s| M): the
    time in which dM/dt = mu M times that blows up, from the largest |x_j|.

    Raises:
        ValueError: mu not positive, s, a or x0.
    """
    line = Line.of(positive("mu", mu), s, a, x0)
    high = min(time_alone(line.mu, line.s, value) for value in line.x0)
    if math.isinf(high):
        return math.inf, high
    largest, count = max(abs(value) for value in line.x0), len(line.x0)

    def slowness(u: float) -> float:
        if not u:
            return 0.0
        D = _softplus(abs(line.s) * largest / u)
        decay = line.a * D
        factor = math.expm1(-count * decay) / math.expm1(-decay) if decay > 1e-300 else count
        return u / (D * factor)

    value, _ = quad(slowness, 0.0, 1.0, epsabs=0, epsrel=1e-10, limit=200)
    if not value:  # |s| M is no float
        return 0.0, high
    return as_time(math.log(value) - math.log(line.mu) - 2.0 * math.log(largest)), high


@takes(s=a_number(), a=a_positive(), x0=array("L"), first=whole(0))
def powers(s: float, a: float, x0: Sequence[float] | Tensor, first: int) -> Tensor:
    """lim ln|x_l| / ln|x_first| at the blow-up of token `first` alone, (L,).

    1 for that token; for a later one the product of 2^{-an} along the tokens between (s = 0: of
    2^{-a(n+1)}), n the zero tokens right before each; 0 from the first later one with s x > 0 on,
    which grows like a double logarithm; 0 for the tokens before, and for zero tokens.

    Raises:
        ValueError: s, a, x0, or `first` no index of a token that can blow up.
    """
    line = Line.of(1.0, s, a, x0)
    if first not in line.moving or line.s * line.x0[first] < 0.0:
        raise ValueError(f"first: got {first!r}, takes the index of a token that can blow up")
    found = torch.zeros(len(line.x0), dtype=torch.float64)
    found[first] = power = 1.0
    for l, gap in zip(line.moving, line.gaps, strict=True):
        if l > first:
            passed = gap if line.s == 0.0 else gap - 1
            power *= 0.0 if line.s * line.x0[l] > 0.0 else 2.0 ** (-line.a * passed)
            found[l] = power
    return found


@takes(a=a_positive(), x0=array(2))
def first_of_two(a: float, x0: Sequence[float] | Tensor) -> int | None:
    """s = 0, two tokens: which blows up first, 0 or 1; None on the tie.

    With r = (x_2/x_1)^2 and kappa = 1 - 2^{-a}, d ln r / d ln x_1^2 = r - kappa: the ratio kappa is
    kept, and from any other r goes to zero or to infinity.

    Raises:
        ValueError: a, or x0 other than two tokens that are not zero.
    """
    line = _two(a, x0)
    excess = (line.x0[1] / line.x0[0]) ** 2 + math.expm1(-line.a * LN2)
    return None if excess == 0.0 else int(excess > 0.0)


@takes(mu=a_positive(), a=a_positive(), x0=array(2))
def time_of_two(mu: float, a: float, x0: Sequence[float] | Tensor) -> float:
    """s = 0, two tokens: the blow-up time, (1 - (1 - kappa/r)_+^{1/kappa}) / (2 mu ln 2 x_1^2).

    r and kappa as for :func:`first_of_two`. mu positive.

    Raises:
        ValueError: mu, a, or x0 other than two tokens that are not zero.
    """
    mu, line = positive("mu", mu), _two(a, x0)
    kappa = -math.expm1(-line.a * LN2)
    alone = 1.0 / (2.0 * mu * LN2 * line.x0[0] ** 2)
    left = 1.0 - kappa * (line.x0[0] / line.x0[1]) ** 2
    return alone if left <= 0.0 else -alone * math.expm1(math.log(left) / kappa)


def _two(a: float, x0: Sequence[float] | Tensor) -> Line:
    line = Line.of(1.0, 0.0, a, x0)
    if len(line.x0) != 2 or len(line.moving) != 2:
        raise ValueError(f"x0: got {line.x0}, takes two tokens that are not zero")
    return line
