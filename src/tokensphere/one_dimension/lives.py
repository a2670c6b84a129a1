r"""Each token's own life: token l depends on the tokens 1 to l alone, and so has an end of its own.

T_l is the time of the first blow-up among the tokens 1 to l, infinite where none comes. More tokens
can only end it earlier, T_1 >= T_2 >= ..., and for mu > 0 every token that is not zero diverges as
t -> T_l. All tokens together live until T_L, and at T_L only those with T_l = T_L diverge.
"""

import math
from collections.abc import Sequence

import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from tokensphere.door import array, positive, takes
from tokensphere.door import number as a_number

from .arguments import Line, number
from .blowup import _softplus
from .decay import LN2
from .predict import predict


@takes(mu=a_number(), s=a_number(), a=positive(), x0=array("L"))
def lives(mu: float, s: float, a: float, x0: Sequence[float] | Tensor) -> Tensor:
    """T_l of every token, (L,), from integrations to the event; infinite where none comes.

    Arguments as for :func:`predict`. Equal to the one before, exactly, where a token brings no
    earlier end; a zero token never does.

    Raises:
        ValueError: mu, s, a or x0; the message names it.
    """
    line = Line.of(mu, s, a, x0)
    found, end = [], math.inf
    for l, value in enumerate(line.x0):
        # Nothing but a token whose own step does not vanish can bring an earlier end.
        if value != 0.0 and line.s * math.copysign(1.0, value) >= 0.0:
            said = predict(line.mu, line.s, line.a, line.x0[: l + 1])
            # With an earlier token first the end is the one found before, up to rounding.
            end = min(end, said.time) if said.first in (None, l) else end
        found.append(end)
    return torch.tensor(found, dtype=torch.float64)


@takes(s=a_number(), a=positive(), x1=a_number())
def tie_of_two(s: float, a: float, x1: float) -> float:
    r"""The second token, of the first one's sign, with which both blow up at once.

    Nearer to zero than that the first is first, beyond it the second. With y = |s x|,

        d ln y_2 / d ln y_1 = Delta_2 y_2^2 / (Delta_1 y_1^2) + exp(-a Delta_2),

    and the tie is the solution along which y_2/y_1 stays bounded and away from zero. It attracts
    backwards, from y_2 = y_1 at large y_1; at small y_1 y_2/y_1 is sqrt(1 - 2^{-a}), as for s = 0.

    Raises:
        ValueError: s, a or x1, also where s x1 < 0, and the first token blows up at no time.
    """
    (x1,) = Line.of(1.0, s, a, [number("x1", x1)]).x0
    if x1 == 0.0 or s * math.copysign(1.0, x1) < 0.0:
        raise ValueError(f"x1: got {x1!r}, takes a number that is not zero with s x1 >= 0")
    if s == 0.0:
        return x1 * math.sqrt(-math.expm1(-a * LN2))
    # Beyond this y_1 the second lets through less than e^{-40}: the larger token is first.
    shut, start = math.log(40.0 / a), math.log(s * x1)
    if start >= shut:
        return x1

    def field(back: float, ratio: list[float]) -> list[float]:
        y1 = math.exp(shut - back)
        y2 = y1 * math.exp(ratio[0])
        own = _softplus(y2) / _softplus(y1) * math.exp(2.0 * ratio[0])
        return [-own - math.expm1(-a * _softplus(y2))]

    run = solve_ivp(field, (0.0, shut - start), [0.0], "LSODA", rtol=1e-10, atol=1e-12)
    return x1 * math.exp(float(run.y[0, -1]))
