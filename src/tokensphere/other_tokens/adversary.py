"""Searching for a state, or a start, that breaks an inequality about three tokens.

An inequality is a function of many states at once. It returns its slack, left side minus right
side, and by how much each state misses the inequality's hypotheses, 0 where it meets them.
Differential evolution looks for the least slack among the states that meet them. A negative one
refutes the inequality; that none is found proves nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import differential_evolution
from torch import Tensor

from tokensphere.door import array, at_least, flag, function, instance, takes, tensor, whole

from ..flow import SharedStepFlow, simulate
from ..flow.integrate import unit
from .interactions import interaction_speeds, interactions, weights
from .positive_angles import margin

__all__ = [
    "NUMBERS",
    "Inequality",
    "Pairs",
    "State",
    "along_runs",
    "least_slack",
    "missed",
    "pairs",
    "three_tokens",
    "with_zero",
]

State = tuple[SharedStepFlow, Tensor]
"""n flows (11), with parameters (n, D, D), (n, D), (n,), and tokens (n, L, D)."""

Inequality = Callable[[State], tuple[Tensor, Tensor]]
"""From a State to slacks (n,) and missed hypotheses (n,)."""

NUMBERS = 19
"""What describes three tokens in three dimensions: S_BC, two tokens, alpha and a."""


def missed(*values: Tensor) -> Tensor:
    """By how much hypotheses "value >= 0" are missed in all, (n,), from values (n,)."""
    return torch.stack([(-value).clamp(min=0) for value in values], -1).sum(-1)


class Pairs(NamedTuple):
    """What inequalities about states are made of.

    Attributes:
        a: the weights a_ij for j < i, (n, L, L), zero elsewhere.
        X, U: the interactions, (n, L, L).
        dX, dU: their derivatives along the flow, (n, L, L).
        gamma: U_11, (n,).
    """

    a: Tensor
    X: Tensor
    U: Tensor
    dX: Tensor
    dU: Tensor
    gamma: Tensor


@takes(state=instance(tuple))
def pairs(state: State) -> Pairs:
    """All pair interactions of a state, and how they change."""
    flow, x = state
    X, U = interactions(x, flow.S_BC)
    speeds = interaction_speeds(flow, x, flow.S_BC)
    return Pairs(weights(flow, x).tril(-1), X, U, *speeds, U[:, 0, 0])


@takes(state=instance(tuple), index=whole(1, 3))
def with_zero(state: State, index: int) -> State:
    """The state of three tokens changed so that U_3i = 0, i = `index` from 1.

    For i < 3 the third token is turned the shortest way, for i = 3 S_BC loses its form there.

    Raises:
        ValueError: another index.
    """
    if index not in (1, 2, 3):
        raise ValueError(f"index: got {index}, takes 1, 2 or 3")
    flow, x = state
    x = x.clone()
    if index == 3:
        last = x[:, 2, :, None]
        S_BC = flow.S_BC - last @ last.mT * (last.mT @ flow.S_BC @ last)
        return SharedStepFlow(S_BC, flow.alpha, flow.a), x
    normal = unit((flow.S_BC @ x[:, index - 1, :, None])[..., 0])
    x[:, 2] = unit(x[:, 2] - (x[:, 2] * normal).sum(-1, keepdim=True) * normal)
    return flow, x


@takes(points=array("n", NUMBERS), symmetric=flag())
def three_tokens(points: np.ndarray, symmetric: bool = True) -> State:
    """States of three tokens in R^3 from points (n, NUMBERS) of [-1, 1]^NUMBERS.

    Entries of S_BC and alpha are up to 3 in modulus, a is from e^-2 to e^2, x_1 = e_1.

    Raises:
        ValueError: another shape.
    """
    if points.ndim != 2 or points.shape[1] != NUMBERS:
        raise ValueError(f"points: shape {points.shape}, takes (n, {NUMBERS})")
    p = torch.as_tensor(np.ascontiguousarray(points))
    S_BC = 3 * p[:, :9].reshape(-1, 3, 3)
    if symmetric:
        S_BC = (S_BC + S_BC.mT) / 2
    first = torch.zeros(len(p), 1, 3, dtype=torch.float64)
    first[..., 0] = 1.0
    x = torch.cat([first, unit(p[:, 9:15].reshape(-1, 2, 3) + 1e-9)], -2)
    return SharedStepFlow(S_BC, 3 * p[:, 15:18], torch.exp(2 * p[:, 18])), x


@takes(slack=function(), times=tensor("T", dtype="float64", T=2), least=at_least(0.0))
def along_runs(
    slack: Callable[[SharedStepFlow, Tensor], Tensor], times: Tensor, least: float = 0.02
) -> Inequality:
    """The inequality "slack >= 0 along the run", for starts whose U_ij are `least` or more.

    Args:
        slack: from a flow and tokens (T, n, L, D) to left side minus right side, (T, n).
        times: (T,), from 0; the slack at the start does not count.
        least: of the starts' margin.
    Returns:
        An inequality of starts, whose slack is the least one along the run, but 9 at most.
    """

    def inequality(state: State) -> tuple[Tensor, Tensor]:
        flow, x = state
        off = missed(margin(x, flow.S_BC) - least)
        found, kept = torch.full_like(off, 9.0), off == 0
        if kept.any():
            some = SharedStepFlow(flow.S_BC[kept], flow.alpha[kept], flow.a[kept])
            path = simulate(some, x[kept], times, rtol=1e-5, atol=1e-8).tokens
            found[kept] = slack(some, path)[1:].amin(0).clamp(max=9)
        return found, off

    return inequality


@takes(
    inequality=function(),
    seed=whole(0),
    generations=whole(1),
    symmetric=flag(),
    population=whole(1),
)
def least_slack(
    inequality: Inequality,
    seed: int,
    generations: int = 60,
    symmetric: bool = True,
    population: int = 8,
) -> tuple[float, State]:
    """The least slack found, and the state that has it.

    Args:
        inequality: of states by :func:`three_tokens`.
        seed: of the search.
        generations: of the evolution, of `population` * NUMBERS states each.
        symmetric: whether S_BC is.
        population: states for each of the NUMBERS numbers.
    Returns:
        The slack and a State with n = 1. A slack of 10 or more: no state that met the hypotheses
        was found.
    """

    def cost(points: np.ndarray) -> np.ndarray:
        slack, off = inequality(three_tokens(points.T, symmetric))
        return torch.where(off > 0, 10 + off, slack).nan_to_num(1e3).numpy()

    # This strategy follows narrow valleys, as those near the boundary of a hypothesis are.
    found = differential_evolution(
        cost,
        [(-1, 1)] * NUMBERS,
        strategy="currenttobest1bin",
        recombination=0.95,
        vectorized=True,
        updating="deferred",
        popsize=population,
        maxiter=generations,
        tol=0,
        polish=False,
        seed=seed,
    )
    return float(found.fun), three_tokens(found.x[None], symmetric)
