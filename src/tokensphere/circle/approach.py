"""How a first token on the circle comes to its limit, to full relative accuracy."""

import math
from collections.abc import Sequence

import numpy as np
from flint import arb, ctx
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from tokensphere.door import array, instance, takes

from .field import angular_field
from .lines import KINDS
from .phase import Portrait, Zero

AXIS, STEPS, FORM = KINDS


@takes(portrait=instance(Portrait), times=array("T", least=0.0))
def distances(
    portrait: Portrait, start: float | Sequence[float], times: Sequence[float]
) -> NDArray[np.float64]:
    """|phi(t) - limit| in radians, (T,), of the first token from `start`.

    Integrates the logarithm of the distance u, with the factors of F expanded about the zero:
    u = 1e-12 has as many digits as u = 1.

    Args:
        start: an angle or a direction, as for :meth:`Portrait.limit`; not an equilibrium.
        times: (T,), increasing, from 0 or later.
    Raises:
        ValueError: a start within rounding of an equilibrium, or that :meth:`Portrait.limit`
            refuses.
    """
    zero = portrait.limit(start)
    angle = math.atan2(start[1], start[0]) if isinstance(start, Sequence) else float(start)
    with ctx.workprec(128):
        speed = angular_field(portrait.S_BC, portrait.S_Delta, arb(angle))
    direction = 1 if speed > 0 else -1
    gap = direction * (float(zero.angle) - angle) % (2 * math.pi)
    if zero.order == 0 or min(gap, 2 * math.pi - gap) < 1e-14:
        raise ValueError(f"start: {start!r} is an equilibrium, takes a token that moves")
    factors = _Factors(portrait, zero)

    def rate(t: float, logarithm: NDArray[np.float64]) -> NDArray[np.float64]:
        distance = np.exp(logarithm)
        return -abs(factors.field(-direction * distance)) / distance

    until = float(times[-1])
    run = solve_ivp(rate, (0, until), [math.log(gap)], "LSODA", times, rtol=1e-10, atol=1e-10)
    return np.exp(run.y[0])


@takes(zero=instance(Zero), times=array("...", above=0.0))
def power_law(zero: Zero, times: Sequence[float]) -> NDArray[np.float64]:
    """((m - 1) |leading| t)^(-1/(m - 1)), the distance from a zero of order m > 1 as t grows.

    Raises:
        ValueError: a zero of order one, which is approached exponentially, or order zero.
    """
    if zero.order < 2:
        raise ValueError(f"zero: order {zero.order}, takes 2 or more")
    power = zero.order - 1
    return (power * abs(float(zero.leading)) * np.asarray(times, dtype=float)) ** (-1 / power)


class _Factors:
    """F at limit + v from its factors; those that vanish at v = 0 do so exactly."""

    def __init__(self, portrait: Portrait, zero: Zero) -> None:
        angle = float(zero.angle)
        along = np.array([math.cos(angle), math.sin(angle)])
        across = np.array([-along[1], along[0]])
        S = np.array(portrait.S_BC, dtype=float)
        S_Delta = np.array(portrait.S_Delta, dtype=float)
        self.angle, self.zero = angle, zero
        self.first = S_Delta[:, 0] @ along, S_Delta[:, 0] @ across
        self.gap = [(S_Delta[:, 1] - S_Delta[:, 0]) @ vector for vector in (along, across)]
        S = (S + S.T) / 2
        self.form = [along @ S @ along, 2 * along @ S @ across, across @ S @ across]
        if STEPS in zero.kinds:
            self.gap[0] = 0.0
        if FORM in zero.kinds:
            order = zero.order - (AXIS in zero.kinds) - (STEPS in zero.kinds)
            self.form[:order] = [0.0] * order

    def field(self, v: NDArray[np.float64]) -> NDArray[np.float64]:
        cos, sin = np.cos(v), np.sin(v)
        if AXIS in self.zero.kinds:
            axes = round(math.cos(2 * self.angle)) * cos * sin
        else:
            axes = np.sin(2 * (self.angle + v)) / 2
        first = self.first[0] * cos + self.first[1] * sin
        gap = self.gap[0] * cos + self.gap[1] * sin
        # softplus(first + gap) - softplus(first), without loss where the gap is small.
        steps = np.log1p(np.expm1(gap) / (1 + np.exp(-first)))
        form = self.form[0] * cos**2 + self.form[1] * cos * sin + self.form[2] * sin**2
        return axes * steps * form
