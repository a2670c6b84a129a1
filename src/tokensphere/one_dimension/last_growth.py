r"""mu > 0, the last moments before a blow-up: the token that is first, and one that it carries."""

import math
from collections.abc import Sequence

import torch
from scipy.optimize import brentq
from scipy.special import expi
from torch import Tensor

from tokensphere.door import array, either, takes, tensor, whole
from tokensphere.door import number as a_number
from tokensphere.door import positive as a_positive

from .arguments import number, positive, tokens
from .decay import LN2
from .predict import predict
from .simulate import simulate


@takes(mu=a_number(), s=a_number(), a=a_positive(), x0=array("L"), shares=array("n", above=0.0))
def near_end(
    mu: float, s: float, a: float, x0: Sequence[float] | Tensor, shares: Sequence[float] | Tensor
) -> tuple[Tensor, Tensor]:
    """|x| of the token that is first where these shares of its blow-up's T are left; its law.

    The law: (3 mu |s| (T-t))^{-1/3}, or (2 mu ln 2 (T-t))^{-1/2} with s = 0. shares: (T-t)/T, (n,),
    falling, from below 1 to 1e-7 or so, since T is known to 1e-9. Both (n,).

    Raises:
        ValueError: mu, s, a or x0 without a blow-up, or with one of several tokens at once; shares.
    """
    left = torch.tensor(tokens("shares", shares), dtype=torch.float64)
    if not ((left > 0) & (left < 1)).all() or (left.diff() >= 0).any():
        raise ValueError("shares: takes falling numbers between 0 and 1")
    known = predict(mu, s, a, x0)
    if known.first is None:
        raise ValueError(f"x0: takes tokens of which one blows up first, these: {known.kind}")
    run = simulate(mu, s, a, x0, math.log(known.time) + torch.log1p(-left))
    law = torch.as_tensor(first_law(mu, s, known.time * left))
    return run.log_x[:, known.first].exp(), law


@takes(
    mu=a_positive(), s=a_number(), left=either(a_positive(), tensor("...", kinds="f", above=0.0))
)
def first_law(mu: float, s: float, left: float | Tensor) -> float | Tensor:
    """|x| of the token that is first, a time `left` before its blow-up, to leading order.

    (3 mu |s| left)^{-1/3}, or (2 mu ln 2 left)^{-1/2} with s = 0. mu and left positive.

    Raises:
        ValueError: mu or s.
    """
    mu, s = positive("mu", mu), number("s", s)
    return (3.0 * mu * abs(s) * left) ** (-1.0 / 3.0) if s else (2.0 * mu * LN2 * left) ** -0.5


@takes(s=a_number(), a=a_positive(), log_before=a_positive(), zeros=whole(0))
def double_logarithm(s: float, a: float, log_before: float, zeros: int = 0) -> float:
    r"""|x_l| of a later token with s x_l > 0, to leading order, from ln|x_l'| of the one before it.

    x_l'/x_l is 2^{-an} e^{-a Delta_l} of that of l', n = `zeros`, up to the own drive, and Delta_l
    is s x_l + o(1): so Ei(a s x_l) = (2^{-an} + o(1)) ln|x_l'|, with the exponential integral Ei
    (the difference is bounded for a < 1 only), that is a s x_l = ln ln|x_l'| + ln(2^{-an} a s x_l)
    + o(1). This solves the former without its o(1).

    Raises:
        ValueError: s zero, a not positive, log_before not above 2^{an} e, or zeros negative.
    """
    s, a = positive("|s|", abs(number("s", s))), positive("a", a)
    if not (isinstance(zeros, int) and zeros >= 0):
        raise ValueError(f"zeros: got {zeros!r}, takes a whole number from 0 on")
    target = math.log(positive("log_before", log_before)) - a * zeros * LN2
    if target < 1.0:
        raise ValueError(f"log_before: got {log_before!r}, takes {math.e * 2 ** (a * zeros):g} up")
    # ln Ei(v) is between v - ln v and v for v > 1.35, where Ei(v) > e.
    v = brentq(lambda v: math.log(expi(v)) - target, 1.0, 2.0 * target + 5.0, xtol=1e-13)
    return v / (a * s)
