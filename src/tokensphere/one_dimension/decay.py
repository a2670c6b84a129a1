r"""mu < 0: every token tends to zero, and with which constants.

With z_l = x_l^2 and lambda = ln 2, z_l' = -2|mu| z_l W_l, and W_l is to first order
lambda sum_{j<=l} 2^{-a(l-j)} z_j. Where z_j ~ c_j/t this needs lambda sum_j 2^{-a(l-j)} c_j =
1/(2|mu|) for every l with x_l != 0. So the sum over the earlier tokens is what the one before it
that is not zero has, times 2^{-ag}, g the distance, and c_l = (1 - 2^{-ag}) / (2 |mu| ln 2).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tokensphere.door import array, number, positive, takes

from .arguments import Line

LN2 = math.log(2.0)


@takes(kappa=number())
def at_resonance(kappa: float) -> bool:
    """Whether kappa_l is 1/2, that is a g_l = 1, up to the rounding of a."""
    return abs(kappa - 0.5) < 1e-12


def _shares(line: Line) -> list[float]:
    """kappa_l = 1 - 2^{-ag} of the moving tokens; 1 for the first."""
    return [1.0, *(-math.expm1(-line.a * g * LN2) for g in line.gaps[1:])][: len(line.gaps)]


def _of(line: Line, values: Sequence[float], other: float = 0.0) -> Tensor:
    """(L,), with these values at the moving tokens and `other` at the zero ones."""
    found = torch.full((len(line.x0),), other, dtype=torch.float64)
    found[line.moving] = torch.tensor(values, dtype=torch.float64)
    return found


def _falling(mu: float, s: float, a: float, x0: Sequence[float] | Tensor) -> Line:
    line = Line.of(mu, s, a, x0)
    if not line.mu < 0:
        raise ValueError(f"mu: got {mu!r}, takes a negative number")
    return line


@takes(mu=number(below=0.0), a=positive(), x0=array("L"))
def limits(mu: float, a: float, x0: Sequence[float] | Tensor) -> Tensor:
    """lim t x_l(t)^2, (L,): (1 - 2^{-a g_l}) / (2 |mu| ln 2), zero for a token that is zero.

    g_l is the distance to the token before l that is not zero; without one the bracket is 1. The
    step's parameter s plays no part. mu: negative; a: positive; x0: (L,).

    Raises:
        ValueError: mu, a or x0.
    """
    line = _falling(mu, 0.0, a, x0)
    return _of(line, [kappa / (-2.0 * line.mu * LN2) for kappa in _shares(line)])


@takes(s=number(), a=positive(), x0=array("L"))
def error_exponents(s: float, a: float, x0: Sequence[float] | Tensor) -> Tensor:
    """p with t x_l^2 = lim + O(t^{-p}), up to powers of ln t, (L,); infinite for zero tokens.

    Two things make the error: the steps, which differ from ln 2 by s x_l / 2 (p = 1/2, if s is not
    zero), and the start, whose traces vanish like t^{-kappa_j}, kappa_j = 1 - 2^{-a g_j}, for each
    j <= l. The least of these counts; where two are equal a power of ln t comes in.

    Raises:
        ValueError: s, a or x0.
    """
    line = Line.of(-1.0, s, a, x0)
    least, found = math.inf if line.s == 0.0 else 0.5, []
    for kappa in _shares(line):
        least = min(least, kappa)
        found.append(least)
    return _of(line, found, math.inf)


@takes(mu=number(below=0.0), s=number(), a=positive(), x0=array("L"))
def first_corrections(mu: float, s: float, a: float, x0: Sequence[float] | Tensor) -> Tensor:
    r"""e_l in t x_l^2 = c_l (1 + e_l t^{-1/2} + ...), the part that the steps bring, (L,).

    With xi_l = sign(x_l) sqrt(c_l) the first token has e = -s xi / ln 2, the others, behind l',

        e_l (1/2 - kappa_l) = kappa_l s xi_l / (2 ln 2) + (1 - kappa_l) (e_{l'} - a s xi_l) / 2.

    It is the leading error where :func:`error_exponents` says 1/2. NaN where kappa_l = 1/2, that is
    a g_l = 1, and behind such a token: the error there is ln t / sqrt(t). Zero for a zero token.

    Raises:
        ValueError: mu, s, a or x0.
    """
    line = _falling(mu, s, a, x0)
    found: list[float] = []
    for l, kappa in zip(line.moving, _shares(line), strict=True):
        xi = math.copysign(math.sqrt(kappa / (-2.0 * line.mu * LN2)), line.x0[l])
        before = found[-1] if found else 0.0
        right = kappa * line.s * xi / (2.0 * LN2)
        right += (1.0 - kappa) * (before - line.a * line.s * xi) / 2.0
        found.append(math.nan if at_resonance(kappa) else right / (0.5 - kappa))
    return _of(line, found)
