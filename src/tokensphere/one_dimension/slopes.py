"""mu > 0 and no s x_l positive: the constants that have no closed form, from an integration."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tokensphere.door import array, number, takes
from tokensphere.door import positive as a_positive

from .arguments import positive
from .growth import _slow, constants
from .simulate import simulate

FAR = 1e4
"""ln t where ratios are read off: they are off by t^{-(rho - 1)}, and settle long before."""


@takes(mu=a_positive(), s=number(), a=a_positive(), x0=array("L"))
def slopes(mu: float, s: float, a: float, x0: Sequence[float] | Tensor) -> Tensor:
    """rho_l = lim |s x_l| / ln t of every token, (L,); zero for a zero token.

    As :func:`growth.constants` where that is a number. Another token stands in a row of tokens
    that are not zero, p the first of the row: |x_l| / |x_p| tends to rho_l, with a power of t,
    while |s x_l| / ln t gets there like ln ln t / ln t only.

    Raises:
        ValueError: mu not positive; s, a or x0, also where a token blows up.
    """
    positive("mu", mu)
    found = constants(s, a, x0)
    line = _slow(s, a, x0)
    if not found.isnan().any():
        return found
    log_x = simulate(mu, s, a, x0, [FAR]).log_x[0].tolist()
    anchor = -math.inf
    for l, gap in zip(line.moving, line.gaps, strict=True):
        if gap > 1 or l == line.moving[0]:
            anchor = log_x[l]
        else:
            found[l] = math.exp(log_x[l] - anchor)
    return found.to(torch.float64)
