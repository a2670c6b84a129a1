"""What becomes of tokens on the line, said from their parameters and first values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tokensphere.door import array, number, positive, takes

from . import blowup, decay, growth
from .arguments import Line, as_time
from .clock import Clock

Kind = Literal["rest", "to zero", "slow", "blow-up"]

SETTLED = -36.0
"""ln of the share of the time that is left where a blow-up counts as reached: rounding."""
AHEAD = math.log(1e3)
"""A drive this far ahead of another one can no longer be caught, if damping does not undo it."""
NEAR = -18.0
"""The same where one looks who is far ahead: an error of 1e-9 has grown to a tenth by then."""
ROUNDING = 1e-8
"""How much nearer to zero a first token may start, relatively, without another one being first."""
LONGEST = math.log(1e9)
"""How long a run in the clock waits for one token to be ahead of the others."""


@dataclass(frozen=True)
class Prediction:
    """What becomes of tokens on the line.

    kind: "rest" (nothing moves), "to zero", "slow" (all that move grow like ln t), "blow-up".
    constants: (L,), by kind. "to zero": lim t x_l^2. "slow": lim |s x_l| / ln t, NaN where it has
        no closed form. "blow-up": lim ln|x_l| / ln|x_first|, as in :func:`blowup.powers`, NaN
        where two tokens blow up at once. "rest": zeros.
    time: of the blow-up; infinite for the other kinds.
    first: the index from 0 of the token that blows up first; None for the other kinds, and where
        several blow up at times that agree to rounding.
    diverging: the indices of the tokens that are unbounded: in a blow-up at its time, the token
        that is first and all later ones that are not zero.
    computed: the names of the fields above that no closed form gives: they come from an
        integration to the event.
    """

    kind: Kind
    constants: Tensor
    time: float = math.inf
    first: int | None = None
    diverging: tuple[int, ...] = ()
    computed: tuple[str, ...] = ()


@takes(mu=number(), s=number(), a=positive(), x0=array("L"))
def predict(mu: float, s: float, a: float, x0: Sequence[float] | Tensor) -> Prediction:
    """The end of x_l' = mu x_l W_l, W_l = Delta_l x_l^2 + exp(-a Delta_l) W_{l-1}.

    Args:
        mu: S_C^T S_B. s: S_Delta, so that Delta_l = softplus(s x_l). a: the decay, positive.
        x0: the tokens' first values, (L,).

    Raises:
        ValueError: mu, s, a or x0; the message names it.
    """
    line = Line.of(mu, s, a, x0)
    if line.mu == 0.0 or not line.moving:
        return Prediction("rest", torch.zeros(len(line.x0), dtype=torch.float64))
    if line.mu < 0.0:
        return Prediction("to zero", decay.limits(line.mu, line.a, line.x0))
    if not line.blows_up:
        return Prediction(
            "slow", growth.constants(line.s, line.a, line.x0), diverging=tuple(line.moving)
        )
    return _blow_up(line)


def _blow_up(line: Line) -> Prediction:
    """By closed forms for one token, and for two with s = 0; else by integration to the event."""
    if len(line.moving) == 1:
        first, computed = line.moving[0], ()
        time = blowup.time_alone(line.mu, line.s, line.x0[first])
    else:
        time, first, diverging = reach(Clock(line))
        computed = ("time", "first", "diverging")
        if first is None:
            nowhere = torch.full((len(line.x0),), math.nan, dtype=torch.float64)
            return Prediction("blow-up", nowhere, time, None, diverging, computed)
    return Prediction(
        "blow-up",
        blowup.powers(line.s, line.a, line.x0, first),
        time,
        first,
        tuple(l for l in line.moving if l >= first),
        computed,
    )


def reach(clock: Clock) -> tuple[float, int | None, tuple[int, ...]]:
    """The blow-up's time, the token that is first, and those that diverge then."""

    def settled(theta: float, state: np.ndarray) -> float:
        return clock.log_left(state) - SETTLED

    def near(theta: float, state: np.ndarray) -> float:
        return clock.log_left(state) - NEAR

    settled.terminal = True
    run = clock.run(LONGEST, settled, near)
    time = as_time(float(clock.log_time(run.y[0, -1])))
    ahead = _ahead(clock)
    if len(ahead) == 1 and run.y_events[1].size and _close(clock, run.y_events[1][0]):
        # The integration's errors, grown like what is left falls, may be all that told them apart.
        other = Clock(clock.line)
        other.start = clock.start.copy()
        other.start[1 + clock.line.moving.index(ahead[0])] -= ROUNDING
        ahead = sorted({*ahead, *_ahead(other)})
    diverging = tuple(l for l in clock.line.moving if l >= ahead[0])
    return time, ahead[0] if len(ahead) == 1 else None, diverging


def _close(clock: Clock, state: np.ndarray) -> bool:
    """Whether two tokens have own drives within a factor e of the largest."""
    _, drives = clock.drives(state[1:])
    own = sorted(drive[0] for drive, can in zip(drives, clock.able, strict=True) if can)
    return len(own) > 1 and own[-2] > own[-1] - 1.0


def _ahead(clock: Clock) -> list[int]:
    """The token that is first; several where a run in the clock cannot tell them apart."""

    def decided(theta: float, state: np.ndarray) -> float:
        return max(clock.log_left(state) - SETTLED, _lead(clock, state))

    decided.terminal = True
    run = clock.run(LONGEST, decided)
    _, drives = clock.drives(run.y[1:, -1])
    able = zip(clock.line.moving, clock.able, drives, strict=True)
    own = {l: drive[0] for l, can, drive in able if can}
    ahead = max(own, key=own.get)
    if _lead(clock, run.y[:, -1]) <= 1e-6:
        return [ahead]
    # Without a lead, first is whoever is as good as at its own blow-up.
    left = clock.log_left(run.y[:, -1]) + own[ahead]
    return [l for l in own if left - own[l] < SETTLED + 6.0]


def _lead(clock: Clock, state: np.ndarray) -> float:
    """At most zero where the token with the largest own drive, j, can no longer be caught.

    The tokens before j must be slow beside it. A later one, k, moves by its own drive and by what
    it lets through of j's: the ratio r of the two drives falls for good once r < 1 - e^{-damping}.
    """
    _, drives = clock.drives(state[1:])
    able = [k for k, can in enumerate(clock.able) if can]
    j = max(able, key=lambda k: drives[k][0])
    top, worst = drives[j][0], -math.inf
    for k, (own, weight, damping) in enumerate(drives):
        if k < j:
            worst = max(worst, weight - top + AHEAD)
        elif k > j and clock.able[k]:
            shut = math.log(-math.expm1(-damping)) - 1.0
            worst = max(worst, own - top + max(AHEAD, -shut))
    return worst
