"""The scalar tokens run in a clock that suits every regime.

Tokens that are zero stay zero; of the others the signs stay, so that G_l = ln|x_l| says all. Time
enters as tau = ln(1 + t/t0), t0 the time in which the fastest token first grows by a factor e. The
clock counts both: dc = (sum_l |mu| W_l + 1/(t0 + t)) dt, so that neither tau nor any G_l moves by
more than one in a unit of c, whether tokens vanish like 1/sqrt(t) until t = e^3000, grow like ln t
until t = e^100000, or blow up, where c is the logarithm of what blows up. What is left to happen
then happens in ln c, so the variable is theta = ln(1 + c). All quantities are kept as logarithms;
nothing over- or underflows.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.integrate import solve_ivp

from .arguments import Line

LN2 = math.log(2.0)
RTOL, ATOL = 1e-10, 1e-12
LARGEST = math.log(1e12)
"""Of |s x| where s x < 0: the step's logarithm, -|s x|, must keep some digits behind the point."""


def _log_step(log_y: float, up: bool) -> float:
    """ln softplus(y), y = e^log_y or, if not `up`, -e^log_y; accurate for every y."""
    y = math.exp(min(log_y, 700.0))
    if y > 37.0:  # softplus(y) = y + e^{-y}, softplus(-y) = e^{-y} (1 - e^{-y} / 2 + ...)
        return log_y if up else -y
    return math.log(math.log1p(math.exp(y if up else -y)))


def _logaddexp(p: float, q: float) -> float:
    if p < q:
        p, q = q, p
    return p + math.log1p(math.exp(q - p)) if q > -math.inf else p


class Clock:
    """The field of a :class:`Line` in the clock, for its tokens that are not zero."""

    def __init__(self, line: Line) -> None:
        moving = [line.x0[l] for l in line.moving]
        self.line = line
        # Whose step grows with the token: it can blow up by itself.
        self.able = [line.s * math.copysign(1.0, value) >= 0.0 for value in moving]
        self.zeros = [gap - 1 for gap in line.gaps]
        self.log_s = math.log(abs(line.s)) if line.s else -math.inf
        for value, able in zip(moving, self.able, strict=True):
            if not able and self.log_s + math.log(abs(value)) > LARGEST:
                raise ValueError(
                    f"x0: a token with s x = -e^{self.log_s + math.log(abs(value)):.0f} has a step "
                    f"too small to follow"
                )
        self.start = np.array([0.0, *(math.log(abs(value)) for value in moving)])
        top, drives = self.drives(self.start[1:])
        self.log_t0 = -math.log(abs(line.mu)) - top - max(weight for _, weight, _ in drives)

    def log_time(self, tau: np.ndarray) -> np.ndarray:
        """ln t, from tau = ln(1 + t/t0)."""
        tau = np.maximum(tau, 1e-300)
        return self.log_t0 + tau + np.log(-np.expm1(-tau))

    def drives(self, G: Sequence[float]) -> tuple[float, list[tuple[float, float, float]]]:
        """ln of the largest own drive Delta_l x_l^2; then for each moving token, by that one, ln of
        its own drive and ln W_l, and the damping of what comes from the token before.

        By the largest one, since in a blow-up it is e^{3e12}, and differences would drown.
        """
        steps = [_log_step(self.log_s + g, up) for g, up in zip(G, self.able, strict=True)]
        own = [step + 2.0 * g for step, g in zip(steps, G, strict=True)]
        top, found, before = max(own), [], -math.inf
        for drive, step, zeros in zip(own, steps, self.zeros, strict=True):
            damping = self.line.a * (math.exp(min(step, 700.0)) + zeros * LN2)
            before = _logaddexp(drive - top, before - damping)
            found.append((drive - top, before, damping))
        return top, found

    def log_left(self, state: np.ndarray) -> float:
        """ln of a bound of the time until the blow-up, by t0 + t.

        Alone a token with s x >= 0 blows up within 1 / (2 mu Delta x^2), for its step grows; what
        the others add only helps.
        """
        top, drives = self.drives(state[1:])
        own = max(drive[0] for drive, can in zip(drives, self.able, strict=True) if can)
        return -(top + own + math.log(2.0 * self.line.mu) + state[0] + self.log_t0)

    def __call__(self, theta: float, state: np.ndarray) -> np.ndarray:
        top, drives = self.drives(state[1:])
        weights = np.array([weight for _, weight, _ in drives])
        shares = np.exp(weights - weights.max())
        total = shares.sum()
        # ln of (t0 + t) sum_l |mu| W_l: how fast tokens move, by how fast ln(t0 + t) does.
        pace = state[0] + self.log_t0 + math.log(abs(self.line.mu)) + top
        pace += weights.max() + math.log(total)
        waiting = 1.0 / (1.0 + math.exp(min(pace, 700.0)))
        moving = math.copysign(1.0 / (1.0 + math.exp(-max(pace, -700.0))), self.line.mu)
        return math.exp(theta) * np.concatenate([[waiting], moving / total * shares])

    def run(self, stop: float, *events: Callable, dense: bool = False):
        """Until theta = `stop` or a terminal event; scipy's result."""
        found = solve_ivp(
            self,
            (0.0, stop),
            self.start,
            method="LSODA",
            rtol=RTOL,
            atol=ATOL,
            events=events or None,
            dense_output=dense,
        )
        if not found.success:
            raise RuntimeError(f"the integration stopped at {found.t[-1]:g}: {found.message}")
        return found
