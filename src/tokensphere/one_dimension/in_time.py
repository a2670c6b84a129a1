"""A blow-up by integration in t: another field, solver and variables than those of the clock.

It is there to measure what `predict` says. It resolves no logarithms of logarithms, and it refuses
what needs them.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from tokensphere.door import array, number, positive, takes

from .arguments import Line
from .blowup import time_alone

LEFT = 1e-9
"""The share of the time of the largest token alone that is left where the run stops."""
AHEAD = 1e3
"""How much sooner than any other one the first token must blow up alone from there."""


@takes(mu=number(), s=number(), a=positive(), x0=array("L"))
def blow_up_in_time(
    mu: float, s: float, a: float, x0: Sequence[float] | Tensor
) -> tuple[float, int | None, Tensor]:
    """Time, token (index from 0) and all tokens when next to nothing is left of it, (L,).

    The rest of the time is the token's own, :func:`time_alone`; what the others add to it is below
    rounding. The token is None where another one is too close behind to tell.

    Raises:
        ValueError: mu, s, a or x0, also where no token blows up.
    """
    line = Line.of(mu, s, a, x0)
    if not line.blows_up:
        raise ValueError(f"x0: got {line.x0}, takes tokens of which one blows up, and mu > 0")
    start = np.array(line.x0)
    able = (start != 0.0) & (line.s * start >= 0.0)

    def field(t: float, x: np.ndarray) -> np.ndarray:
        delta = np.logaddexp(0.0, line.s * x)
        own, kept = (delta * x * x).tolist(), np.exp(-line.a * delta).tolist()
        weights, before = [], 0.0
        for drive, factor in zip(own, kept, strict=True):
            before = drive + factor * before
            weights.append(before)
        return line.mu * x * np.array(weights)

    def left(x: np.ndarray) -> np.ndarray:
        """A bound of the time that each token needs alone."""
        own = np.logaddexp(0.0, line.s * x) * x * x
        return 1.0 / (2.0 * line.mu * np.where(able, own, 1e-300))

    def reached(t: float, x: np.ndarray) -> float:
        return math.log(float(left(x).min()) / (LEFT * scale))

    scale = float(left(start).min())
    reached.terminal = True
    with np.errstate(all="ignore"):  # a trial step past the blow-up overflows, and is rejected
        run = solve_ivp(
            field, (0.0, 2.0 * scale), start, "DOP853", events=reached, rtol=1e-11, atol=1e-300
        )
    end = run.y[:, -1]
    needs = left(end)
    ahead, *others = np.argsort(needs).tolist()
    rest = time_alone(line.mu, line.s, float(end[ahead]))
    clear = not others or needs[others[0]] > AHEAD * needs[ahead]
    return float(run.t[-1]) + rest, ahead if clear else None, torch.from_numpy(end)
