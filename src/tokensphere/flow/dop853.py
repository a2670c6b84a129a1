"""Explicit integration in numpy: scipy's DOP853 with an error norm that does not average."""

from collections.abc import Callable

import numpy as np
from scipy.integrate import DOP853

BETWEEN = 10.0
"""By how much steps are more accurate where states between them are wanted: the interpolant's error
is 3 to 20 times a step's, and of the same order in its length."""

Derivative = Callable[[float, np.ndarray], np.ndarray]


def solve(
    derivative: Derivative,
    start: np.ndarray,
    times: np.ndarray,
    rtol: float,
    atol: float,
    dim: int,
    after_step: Callable[[float, Callable[[int], np.ndarray]], None],
) -> np.ndarray:
    """dy/dt = derivative(t, y) from y(times[0]) = start, (n,), at the given times, (T, n).

    Runge-Kutta of order 8, with the method's own interpolant of order 7 between its steps.

    Args:
        derivative: gives a new array at each call, (n,), finite.
        times: (T,), strictly increasing.
        dim: so many components in a row are a token. A step's error, the method's combination of
            two estimates, is that of the token for which it is largest, by its worst component.
        after_step: called after each accepted step with its end, and with a function that gives
            the states at K equal parts of it, (K, n).
    Raises:
        RuntimeError: the step size fell below what float64 resolves.
    """
    begin, end = float(times[0]), float(times[-1])
    with np.errstate(over="ignore"):  # an error may be infinitely many of a tiny tolerance
        first_step = _first_step(derivative, begin, start, end, rtol, atol)
        solver = _LargestError(derivative, begin, start, end, np.inf, rtol, atol, False, first_step)
        solver.dim = dim
        solver.margin = BETWEEN if len(times) > 2 else 1.0
        found = np.empty((len(times), len(start)))
        found[0] = start
        known = 1
        while solver.status == "running":
            message = solver.step()
            if solver.status == "failed":
                raise RuntimeError(f"the integration stopped at t = {solver.t:g}: {message}")
            after_step(solver.t, solver.parts)
            inside = int(np.searchsorted(times, solver.t))
            if inside > known:
                found[known:inside] = solver.dense_output()(times[known:inside]).T
                known = inside
            if times[known] == solver.t:
                found[known] = solver.y
                known += 1
    return found


class _LargestError(DOP853):
    """DOP853 that keeps the error of every token within the tolerance.

    scipy takes the root mean square of all, in which a crowd at rest hides one that moves.
    """

    dim: int
    margin: float

    def _estimate_error_norm(self, K: np.ndarray, h: float, scale: np.ndarray) -> float:
        fifth, third = (self._of_tokens(E @ K / scale) for E in (self.E5, self.E3))
        both = np.hypot(fifth, 0.1 * third)
        both[both == 0] = 1.0
        return self.margin * h * float((fifth * (fifth / both)).max())

    def parts(self, count: int) -> np.ndarray:
        """(count, n), the states at the ends of equal parts of the last step."""
        if count == 1:
            return self.y[None]
        return self.dense_output()(np.linspace(self.t_old, self.t, count + 1)[1:]).T

    def _of_tokens(self, errors: np.ndarray) -> np.ndarray:
        # Turned, because numpy is slow at the maximum along a short last axis.
        return np.abs(np.ascontiguousarray(errors.reshape(-1, self.dim).T)).max(axis=0)


def _first_step(
    derivative: Derivative, t: float, y: np.ndarray, end: float, rtol: float, atol: float
) -> float:
    """The guess of Hairer, Norsett and Wanner, Solving ODEs I, section II.4, in the same norm."""
    scale = atol + rtol * np.abs(y)
    least = 10 * float(np.spacing(abs(t)))

    def size(values: np.ndarray) -> float:
        return float(np.abs(values / scale).max())

    speed = derivative(t, y)
    value, slope = size(y), size(speed)
    h = 0.01 * value / slope if min(value, slope) > 1e-5 else 1e-6
    h = min(max(h, least), end - t)
    bend = size(derivative(t + h, y + h * speed) - speed) / h
    fastest = max(slope, bend)
    later = (0.01 / fastest) ** (1 / DOP853.order) if fastest > 1e-15 else max(1e-6, 1e-3 * h)
    return min(max(min(100 * h, later), least), end - t)
