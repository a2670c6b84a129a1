r"""mu < 0: what comes after the constants of the decay, and what they become without damping.

Where :func:`decay.error_exponents` says how fast t x_l^2 nears its limit, here are a coefficient
at resonance, the first token's logarithm, and the two cases in closed form, both with s = 0: two
tokens, and any number of them with a = 0, which the model excludes.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from tokensphere.door import array, at_least, one_of, positive, takes
from tokensphere.door import number as a_number

from .arguments import Line, number, tokens
from .decay import LN2, _falling, _of, _shares, at_resonance, first_corrections, limits
from .simulate import simulate


@takes(mu=a_number(below=0.0), s=a_number(), a=positive(), x0=array("L"), log_times=array("T"))
def relative_errors(
    mu: float, s: float, a: float, x0: Sequence[float] | Tensor, log_times: Sequence[float] | Tensor
) -> Tensor:
    """t x_l^2 / c_l - 1 at ln t = log_times along the trajectory, (T, L); NaN for a zero token.

    c_l is the limit of t x_l^2. The integration leaves about 1e-10 (1 + |ln t|).

    Raises:
        ValueError: mu, s, a, x0 or log_times.
    """
    line = _falling(mu, s, a, x0)
    run = simulate(line.mu, line.s, line.a, line.x0, log_times)
    return (2.0 * run.log_x + run.log_times[:, None]).exp() / limits(mu, a, x0) - 1.0


@takes(mu=a_number(below=0.0), s=a_number(), a=positive(), x0=array("L"))
def resonant_corrections(mu: float, s: float, a: float, x0: Sequence[float] | Tensor) -> Tensor:
    r"""f_l in t x_l^2 = c_l (1 + f_l ln t / sqrt(t) + ...) where kappa_l = 1/2, (L,).

    There the start's traces and the steps' part vanish alike, and, behind l',

        f_l = -e_{l'} / 4 - s xi_l (1 / ln 2 - a) / 4,

    with e and xi as for :func:`decay.first_corrections`. NaN for another kappa, and where
    no e_{l'} is left because kappa_j <= 1/2 for an earlier token; for zero tokens too.

    Raises:
        ValueError: mu, s, a or x0.
    """
    line = _falling(mu, s, a, x0)
    before = first_corrections(mu, s, a, x0)[line.moving].tolist()
    found, least = [], math.inf
    for k, (l, kappa) in enumerate(zip(line.moving, _shares(line), strict=True)):
        xi = math.copysign(math.sqrt(kappa / (-2.0 * line.mu * LN2)), line.x0[l])
        resonant = at_resonance(kappa) and least > 0.5
        f = -before[k - 1] / 4.0 - line.s * xi * (1.0 / LN2 - line.a) / 4.0
        found.append(f if resonant else math.nan)
        least = min(least, kappa)
    return _of(line, found, math.nan)


@takes(mu=a_number(below=0.0), s=a_number(), sign=one_of(1, -1))
def expansion_of_first(mu: float, s: float, sign: int) -> tuple[float, float, float]:
    r"""(c, e, f) in t x^2 = c (1 + e t^{-1/2} + f ln t / t + O(1/t)), for the first moving token.

    v = 1/x^2 obeys v' = 2|mu| softplus(s sign / sqrt(v)), and softplus(y) = ln 2 + y/2 + y^2/8 +
    O(y^4): c = 1/(2|mu| ln 2), e = -s sign sqrt(c) / ln 2, f = s^2 c (2 - ln 2) / (8 ln^2 2). The
    start comes in with 1/t. mu: negative; sign: 1 or -1, that of the token.

    Raises:
        ValueError: mu, s or sign.
    """
    if sign not in (1, -1):
        raise ValueError(f"sign: got {sign!r}, takes 1 or -1")
    line = _falling(mu, s, 1.0, [float(sign)])
    c = 1.0 / (-2.0 * line.mu * LN2)
    e = -line.s * sign * math.sqrt(c) / LN2
    return c, e, line.s**2 * c * (2.0 - LN2) / (8.0 * LN2**2)


@takes(mu=a_number(below=0.0), a=at_least(0.0), x0=array(2), log_t=array("T"))
def two_with_equal_steps(
    mu: float, a: float, x0: Sequence[float] | Tensor, log_t: Sequence[float] | Tensor
) -> Tensor:
    r"""s = 0, two tokens: t x_1^2 and t x_2^2 by their limit c = 1/(2|mu| ln 2), exactly, (T, 2).

    With Q = 1 + x_1(0)^2 t / c, q = (x_1/x_2)^2 obeys dq / d ln Q = 1 - kappa q, so that

        q = 1/kappa + (q(0) - 1/kappa) Q^{-kappa},   kappa = 1 - 2^{-a}.

    For kappa ln Q small this is q(0) + ln Q, the law without damping. a: zero or positive, for the
    formula takes both; log_t: ln t, (T,).

    Raises:
        ValueError: mu, a, log_t, or x0 other than two tokens that are not zero.
    """
    line = _falling(mu, 0.0, 1.0, x0)
    if len(line.x0) != 2 or len(line.moving) != 2:
        raise ValueError(f"x0: got {line.x0}, takes two tokens that are not zero")
    if not (a := number("a", a)) >= 0.0:
        raise ValueError(f"a: got {a!r}, takes zero or a positive number")
    first, log_Q = _first_with_equal_steps(line, log_t)
    kappa, start = -math.expm1(-a * LN2), (line.x0[0] / line.x0[1]) ** 2
    grown = -torch.expm1(-kappa * log_Q) / kappa if kappa else log_Q
    return torch.stack([first, first / (start * torch.exp(-kappa * log_Q) + grown)], -1)


@takes(mu=a_number(below=0.0), x0=array("L"), log_t=array("T"))
def undamped(mu: float, x0: Sequence[float] | Tensor, log_t: Sequence[float] | Tensor) -> Tensor:
    r"""a = 0 and s = 0, all tokens: t x_l^2 by c = 1/(2|mu| ln 2), exactly, (T, L).

    The model has a > 0; without it W_l = Delta_l x_l^2 + W_{l-1}, so that q_l = (x_{l-1}/x_l)^2
    obeys q_l' = 2|mu| Delta_l x_{l-1}^2. For equal steps, with Q as in
    :func:`two_with_equal_steps`, q_2 = q_2(0) + ln Q and q_{l+1} = q_{l+1}(0) + ln(q_l / q_l(0)):
    t x_l^2 / c tends to zero like 1 / (ln t ln ln t ...), l - 1 factors.

    mu: negative; x0: no zeros; log_t: ln t, (T,).

    Raises:
        ValueError: mu, x0 or log_t.
    """
    line = _falling(mu, 0.0, 1.0, x0)
    if len(line.moving) < len(line.x0):
        raise ValueError(f"x0: got {line.x0}, takes tokens that are not zero")
    found, grown = _first_with_equal_steps(line, log_t)
    shares = [found]
    for before, value in pairwise(line.x0):
        start = (before / value) ** 2
        ratio = start + grown
        shares.append(shares[-1] / ratio)
        grown = (ratio / start).log()
    return torch.stack(shares, -1)


def _first_with_equal_steps(line: Line, log_t: Sequence[float] | Tensor) -> tuple[Tensor, Tensor]:
    """t x_1^2 / c = (Q - 1) / Q, and ln Q, (T,) each."""
    at = torch.tensor(tokens("log_t", log_t), dtype=torch.float64)
    level = at + math.log(-2.0 * line.mu * LN2) + 2.0 * math.log(abs(line.x0[0]))
    return torch.sigmoid(level), torch.nn.functional.softplus(level, threshold=700.0)
