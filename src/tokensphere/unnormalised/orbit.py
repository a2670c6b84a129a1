"""A first token's orbit, followed in the logarithms of its moduli by a clock that suits every end.

With u_d = ln|x_d| on the support, x' = q Delta * x is u' = q Delta(x). Where the token goes does
not depend on the clock, so q is divided out but for its sign e, and the largest step as well:

    du_d/ds = e Delta_d(x) / max_k Delta_k(x),

whose modulus is at most one: s is the logarithm of what grows or falls, and x may be 1e100 large.
The run ends where q changes its sign (the cone), where nothing but the origin can follow, or far
out.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.integrate import LSODA

FAR = 1e40
"""How far out a growing orbit is followed, by the length at which steps are of order one."""

SHUT = -1e3
"""Where all arguments of steps are below it the token has grown for a time of e^1000: it is slow.
Further out rounding of u, times |x|, would be an error of the steps."""


MOST_STEPS = 20_000


def log_softplus(z: np.ndarray) -> np.ndarray:
    """ln softplus(z), accurate for every z."""
    # Below -37, softplus is e^z to rounding.
    return np.where(z < -37.0, z, np.log(np.logaddexp(0.0, np.maximum(z, -37.0))))


@dataclass(frozen=True)
class Orbit:
    """A first token off the cone, on its support: S, (n, n), symmetric; M as in `constants`; and
    u0 = ln|x0|, (n,). `signed` is S with the signs of x0, so that q = y^T signed y, y = e^u."""

    signed: np.ndarray
    M: np.ndarray
    u0: np.ndarray

    @property
    def side(self) -> int:
        """The sign of q, which never changes."""
        return 1 if self.value(self.u0) > 0 else -1

    def value(self, u: np.ndarray) -> float:
        """q by the squared length: from the direction alone."""
        y = np.exp(u - u.max())
        return float(y @ self.signed @ y / (y @ y))

    def log_steps(self, u: np.ndarray) -> np.ndarray:
        return log_softplus(np.exp(u) @ self.M)

    def velocity(self, s: float, u: np.ndarray) -> np.ndarray:
        log_steps = self.log_steps(u)
        return self.side * np.exp(log_steps - log_steps.max())

    def factor(self) -> np.ndarray | None:
        """v with signed = +-v v^T, if it has rank one: then q touches zero without a change of
        sign, and v . y is what changes it."""
        values, axes = np.linalg.eigh(self.signed)
        largest = np.abs(values).argmax()
        rest = np.delete(np.abs(values), largest)
        if not len(rest) or rest.max() > 1e-12 * abs(values[largest]):
            return None
        return axes[:, largest] * math.sqrt(abs(values[largest]))

    def inwards_for_good(self, u: np.ndarray) -> float:
        """Negative where q < 0 for ever, so that the token tends to zero.

        The logarithm of no ratio of coordinates changes by more than g = rho r / softplus(-rho r)
        on the way to zero, rho the longest column of M; so q stays within |S| r^2 (e^{2g} - 1).
        """
        r = float(np.linalg.norm(np.exp(u)))
        reach = float(np.linalg.norm(self.M, axis=0).max()) * r
        if reach > 1.0:
            return 1.0
        g = reach / math.log1p(math.exp(-reach))
        return self.value(u) + float(np.linalg.norm(np.abs(self.signed), 2)) * math.expm1(2 * g)

    def follow(self) -> "Run":
        """To the end: at the cone, surely on the way to zero, or far out."""
        cone, side = self._cone(), self.side
        scale = max(float(np.linalg.norm(self.M, axis=0).max()), 1e-12)
        far = math.log(FAR / scale) + max(0.0, float(self.u0.max()) + math.log(scale))
        shut = min(SHUT, 10.0 * float((np.exp(self.u0) @ self.M).max()))

        def over(u: np.ndarray) -> bool:
            if side < 0:
                return self.inwards_for_good(u) < 0
            return u.max() > far or float((np.exp(u) @ self.M).max()) < shut

        steps = 0
        run = LSODA(self.velocity, 0.0, self.u0, math.inf, rtol=1e-9, atol=1e-11)
        while not over(run.y):
            message, steps = run.step(), steps + 1
            if run.status == "failed" or steps > MOST_STEPS:
                raise RuntimeError(f"the orbit could not be followed: {message or 'no end found'}")
            # u moves by less than the step, so a step of 0.1 leaves no room for a root and back.
            count = 2 + int((run.t - run.t_old) / 0.1)
            path = run.dense_output()
            for s in np.linspace(run.t_old, run.t, count)[1:]:
                if cone(path(s)) < 0:
                    before = s - (run.t - run.t_old) / (count - 1)
                    return Run("to the cone", _bisect(cone, path, before, s))
        if side < 0:
            return Run("to zero", run.y)
        growing = float((np.exp(run.y) @ self.M).max()) >= 0
        return Run("blow-up" if growing else "slow", run.y)

    def _cone(self) -> Callable[[np.ndarray], float]:
        """What is positive until q is zero for the first time, of u."""
        side, factor = self.side, self.factor()
        if factor is None:
            return lambda u: side * self.value(u)
        start = math.copysign(1.0, float(factor @ np.exp(self.u0)))
        return lambda u: start * float(factor @ np.exp(u - u.max()))


def _bisect(
    cone: Callable[[np.ndarray], float],
    path: Callable[[float], np.ndarray],
    low: float,
    high: float,
) -> np.ndarray:
    """The path where `cone` falls below zero, to the last digit of its argument."""
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if cone(path(middle)) >= 0 else (low, middle)
    return path(high)


@dataclass(frozen=True)
class Run:
    """How an orbit ends, and ln|x|, (n,), where it was left."""

    kind: Literal["to the cone", "to zero", "blow-up", "slow"]
    u: np.ndarray
