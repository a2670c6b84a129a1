"""Tokens that are not normalised, followed in a clock that resolves a blow-up, and long rests."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.integrate import LSODA
from torch import Tensor

from tokensphere.door import instance, positive, takes, tensor, whole

from ..flow.checks import check_times
from .field import Unnormalised


@dataclass(frozen=True, eq=False)
class Trajectory:
    """times: (T,), those asked for that come before a blow-up. tokens: (T, L, D).

    blow_up: its time, infinite if no norm passes the bound before the last time asked for. first:
    the index from 0 of the token whose norm does so first, or None. Passing a bound proves no
    blow-up: the token may meet the cone further out. Of random first tokens with D = 8 some 3% do
    so beyond 1e4, at up to 1e11; `first_token_end` follows them to 1e40.
    last: (L, D), the tokens where the run was left, at the last time or at the bound. slope: (L,),
    d ln|x_l| / d ln t there: -1/2 on the way to zero, 0 at rest.
    """

    times: Tensor
    tokens: Tensor
    blow_up: float
    first: int | None
    last: Tensor
    slope: Tensor


@takes(
    field=instance(Unnormalised),
    x0=tensor("L", "D", dtype="float64"),
    times=tensor("T", dtype="float64", T=2, least=0.0),
    bound=positive(),
    rtol=positive(),
    atol=positive(),
    steps=whole(1),
)
def simulate(
    field: Unnormalised,
    x0: Tensor,
    times: Tensor,
    bound: float = 1e12,
    rtol: float = 1e-9,
    atol: float = 1e-12,
    steps: int = 50_000,
) -> Trajectory:
    """Integrates dx/dt = field(x), by scipy's LSODA, until a norm passes `bound`.

    The clock, ds = (max_l |x_l'| / |x_l| + 1/(1 + t)) dt, counts what tokens do and ln t: no token
    changes by more than a factor e in a unit of s. Rests far out attract at rates like |x|^3; LSODA
    turns to implicit steps there. From the bound on r'/r^4 is taken as constant: the time of the
    blow-up is then off by a small share of what is left, 1/bound^3.

    Args:
        field: with parameters (D, D), (D, D), (D,). x0: (L, D), float64, of any lengths.
        times: (T,), strictly increasing; the first, not negative, is that of x0.
    Raises:
        ValueError: x0, times, or a bound that is not above all norms of x0.
        RuntimeError: the solver gave up, or took more than so many steps.
    """
    field(x0)
    check_times(times)
    if x0.ndim != 2:
        raise ValueError(f"x0: shape {tuple(x0.shape)}, takes (L, D)")
    if float(times[0]) < 0:
        raise ValueError(f"times: begin at {float(times[0]):g}, take 0 or more")
    if not float(x0.norm(dim=-1).max()) < bound:
        raise ValueError(f"bound: got {bound:g}, takes a number above all norms of x0")
    shape, stop = x0.shape, float(times[-1])
    moved = _in_the_clock(field, shape)

    def jacobian(s: float, state: np.ndarray) -> np.ndarray:
        # One call for all columns, where a solver's own differences would take one for each.
        h = 1e-7 * np.maximum(np.abs(state), 1e-6)
        rows = moved(np.vstack([state, state + np.diag(h)]))
        return ((rows[1:] - rows[0]) / h[:, None]).T

    def left(state: np.ndarray) -> bool:
        norms = np.linalg.norm(state[:-1].reshape(shape), axis=-1)
        return state[-1] >= stop or norms.max() >= bound

    start = np.append(x0.numpy().ravel(), float(times[0]))
    options = {"rtol": rtol, "atol": atol, "jac": jacobian}
    run = LSODA(lambda s, y: moved(y[None])[0], 0.0, start, math.inf, **options)
    pieces: list[tuple[float, Any]] = []  # (t at its end, the solution on it), a step each
    while not left(run.y):
        message = run.step()
        if run.status == "failed" or len(pieces) > steps:
            said = message or f"{steps} steps"
            raise RuntimeError(f"the integration stopped at t = {run.y[-1]:g}: {said}")
        pieces.append((run.y[-1], run.dense_output()))
    path = pieces[-1][1]
    last = path(_where(left, path))
    x = torch.as_tensor(last[:-1]).reshape(shape)
    norms = x.norm(dim=-1)
    first, blow_up, wanted = None, math.inf, times
    speed = field.velocity(x)
    if float(norms.max()) >= bound * (1 - 1e-6):
        first = int(norms.argmax())
        blow_up = last[-1] + 1.0 / (3.0 * float(relative_speed(speed, x)[first]))
        wanted = times[times < last[-1]]
    ends = np.array([piece[0] for piece in pieces])
    found = [x0]
    for time in wanted[1:].tolist():
        path = pieces[min(int(np.searchsorted(ends, time)), len(pieces) - 1)][1]

        def passed(y: np.ndarray, time: float = time) -> bool:
            return bool(y[-1] >= time)

        state = path(_where(passed, path))
        found.append(torch.as_tensor(state[:-1]).reshape(shape))
    inner = (x * speed).sum(-1) / x.square().sum(-1).clamp(min=1e-300)
    return Trajectory(wanted, torch.stack(found), blow_up, first, x, inner * last[-1])


def relative_speed(speed: Tensor, x: Tensor) -> Tensor:
    """|x_l'| / |x_l|, (..., L); zero for a zero token, which never moves."""
    return speed.norm(dim=-1) / x.norm(dim=-1).clamp(min=1e-300)


def _in_the_clock(field: Unnormalised, shape: torch.Size) -> Callable[[np.ndarray], np.ndarray]:
    """(dx/ds, dt/ds) of states (x, t), rows (K, L D + 1)."""

    def moved(states: np.ndarray) -> np.ndarray:
        x = torch.as_tensor(states[:, :-1]).unflatten(-1, shape)
        speed = field.velocity(x)
        rate = relative_speed(speed, x).amax(-1).numpy() + 1 / (1 + states[:, -1])
        flat = speed.flatten(1).numpy()
        return np.column_stack([flat, np.ones(len(flat))]) / rate[:, None]

    return moved


def _where(test: Callable[[np.ndarray], bool], path: Any) -> float:
    """The s from which on the test holds, by bisection of a step: scipy's dense output."""
    low, high = path.t_old, path.t
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if test(path(middle)) else (middle, high)
    return high
