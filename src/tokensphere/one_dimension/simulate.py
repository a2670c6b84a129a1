"""Tokens on the line at times given by their logarithm, and on the way to a blow-up."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tokensphere.door import array, number, positive, takes

from .arguments import Line, tokens
from .clock import Clock
from .predict import SETTLED, predict


@dataclass(frozen=True)
class Trajectory:
    """Tokens in logarithms, for they vanish and grow beyond every float.

    log_times: ln t, (T,). log_x: ln|x_l|, (T, L), minus infinity for a zero token. signs: (L,).
    """

    log_times: Tensor
    log_x: Tensor
    signs: Tensor

    @property
    def x(self) -> Tensor:
        """The tokens themselves, (T, L); zero or infinite where a float ends."""
        return self.signs * self.log_x.exp()


@takes(mu=number(), s=number(), a=positive(), x0=array("L"), log_times=array("T"))
def simulate(
    mu: float, s: float, a: float, x0: Sequence[float] | Tensor, log_times: Sequence[float] | Tensor
) -> Trajectory:
    """The tokens at t = exp(log_times), to a relative accuracy of about 1e-8 in x_l, which a decay
    loses slowly: 1e-6 at ln t = 3000, 1e-4 at ln t = 1e6.

    log_times: (T,), increasing; any size, for the integration runs in a clock of its own.

    Raises:
        ValueError: mu, s, a, x0 or log_times; a time past the blow-up, with its time and its token.
    """
    line = Line.of(mu, s, a, x0)
    times = np.array(tokens("log_times", log_times))
    if (np.diff(times) <= 0).any():
        raise ValueError("log_times: takes increasing numbers")
    if line.mu == 0.0 or not line.moving:
        return _trajectory(line, times, np.array([math.log(abs(line.x0[l])) for l in line.moving]))
    clock = Clock(line)
    # ln(1 + t/t0), as softplus so that neither end overflows.
    tau = np.logaddexp(0.0, times - clock.log_t0)

    def arrived(theta: float, state: np.ndarray) -> float:
        return state[0] - tau[-1]

    def settled(theta: float, state: np.ndarray) -> float:
        return clock.log_left(state) - SETTLED

    arrived.terminal = settled.terminal = True
    events = (arrived, settled) if line.blows_up else (arrived,)
    run = clock.run(math.inf, *events, dense=True)
    if not run.t_events[0].size:
        known = predict(line.mu, line.s, line.a, line.x0)
        who = "several tokens at once" if known.first is None else f"token {known.first}"
        raise ValueError(
            f"log_times: {times[-1]:g} is past the blow-up of {who} at t = {known.time:.9g}, "
            f"ln t = {math.log(known.time):.9g}"
        )
    found = _where(run.sol, run.t[-1], 0, tau)
    return _trajectory(line, times, run.sol(found)[1:].T)


@takes(mu=number(), s=number(), a=positive(), x0=array("L"), log_first=array("T"))
def approach(
    mu: float, s: float, a: float, x0: Sequence[float] | Tensor, log_first: Sequence[float] | Tensor
) -> Trajectory:
    """The tokens on the way to a blow-up, where ln|x_first| is `log_first`, (T,), increasing.

    A logarithm of 10^12 is as well resolved as one of 10, so that double logarithms can be seen.
    The times crowd at the blow-up's.

    Raises:
        ValueError: mu, s, a or x0 without a blow-up, or with one of several tokens at once;
            log_first not increasing or below the token's first value.
    """
    line = Line.of(mu, s, a, x0)
    known = predict(line.mu, line.s, line.a, line.x0)
    if known.first is None:
        raise ValueError(f"x0: takes tokens of which one blows up first, these: {known.kind}")
    wanted = np.array(tokens("log_first", log_first))
    clock, place = Clock(line), 1 + line.moving.index(known.first)
    if (np.diff(wanted) <= 0).any() or wanted[0] < clock.start[place]:
        raise ValueError(f"log_first: takes increasing numbers from {clock.start[place]:g} on")

    def arrived(theta: float, state: np.ndarray) -> float:
        return state[place] - wanted[-1]

    arrived.terminal = True
    run = clock.run(math.inf, arrived, dense=True)
    states = run.sol(_where(run.sol, run.t[-1], place, wanted))
    return _trajectory(line, clock.log_time(states[0]), states[1:].T)


def _where(solution, stop: float, row: int, wanted: np.ndarray) -> np.ndarray:
    """The theta at which an increasing row of the solution has these values, by bisection."""
    low, high = np.zeros_like(wanted), np.full_like(wanted, stop)
    for _ in range(100):
        middle = 0.5 * (low + high)
        below = solution(middle)[row] < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 0.5 * (low + high)


def _trajectory(line: Line, times: np.ndarray, moving: np.ndarray) -> Trajectory:
    log_x = torch.full((len(times), len(line.x0)), -math.inf, dtype=torch.float64)
    log_x[:, line.moving] = torch.as_tensor(moving)
    signs = torch.tensor(line.x0, dtype=torch.float64).sign()
    return Trajectory(torch.as_tensor(times), log_x, signs)
