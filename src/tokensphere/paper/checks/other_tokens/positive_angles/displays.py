"""Displayed inequalities at one time: random states of three tokens, and an adversary's."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tokensphere.flow import SharedStepFlow
from tokensphere.flow.integrate import unit
from tokensphere.other_tokens import interaction_speeds, interactions, weights
from tokensphere.other_tokens.adversary import State, least_slack, missed
from tokensphere.other_tokens.positive_angles import admissible
from tokensphere.paper.ledger import Evidence, at_least, between

ROUNDING = 1e-11
"""Sums of products of numbers up to a hundred."""

POSITIVE = 1e-3
"""What the interactions must be at least, where they must be positive."""

Sides = Callable[[State], tuple[Tensor, Tensor, Sequence[Tensor]]]
"""From states to left sides, right sides, and what the hypotheses ask to be >= 0, (n,) each."""


def searched(
    generator: torch.Generator,
    cases: Mapping[str, Sides],
    factor: float = 1.0,
    symmetric: bool = True,
) -> Evidence:
    """Least slacks, left - factor right, over 1500 random admissible states and an adversary's."""
    seed = int(torch.randint(1000, (1,), generator=generator))
    flow, x = admissible(generator, 1500, 3, 3, symmetric)
    # In half of them the second token is near the first.
    x[::2, 1] = unit(x[::2, 0] + 0.2 * x[::2, 1])
    criteria, numbers = [], {}
    for name, sides in cases.items():

        def inequality(state: State, sides: Sides = sides) -> tuple[Tensor, Tensor]:
            left, right, hypotheses = sides(state)
            return left - factor * right, missed(*hypotheses)

        slack, off = inequality((flow, x))
        met = off == 0
        numbers[f"{name}: random states that meet its hypotheses"] = int(met.sum())
        least = float(slack[met].min())
        criteria.append(at_least(f"{name}: least slack at random", least, -ROUNDING))
        found, _ = least_slack(inequality, seed, generations=30, symmetric=symmetric)
        # 10 or more: the adversary has no state that meets the hypotheses.
        criteria.append(between(f"{name}: least slack by the adversary", found, -ROUNDING, 10))
    return Evidence(criteria, numbers)


class Parts(NamedTuple):
    """Weights a_ij for j < i, interactions and their derivatives, (n, 3, 3), and gamma, (n,)."""

    a: Tensor
    X: Tensor
    U: Tensor
    dX: Tensor
    dU: Tensor
    gamma: Tensor


def parts(state: State) -> Parts:
    flow, x = state
    X, U = interactions(x, flow.S_BC)
    speeds = interaction_speeds(flow, x, flow.S_BC)
    return Parts(weights(flow, x).tril(-1), X, U, *speeds, U[:, 0, 0])


def _all_positive(U: Tensor) -> Tensor:
    return U.flatten(1).amin(-1) - POSITIVE


def least_grows(generator: torch.Generator, which: str) -> Evidence:
    """The derivative of the "least" U_ij, or of the "greatest", is not negative; any S_BC."""

    def sides(state: State):
        p = parts(state)
        U = p.U.flatten(1)
        where = U.argmin(-1) if which == "least" else U.argmax(-1)
        slope = p.dU.flatten(1).gather(1, where[:, None])[:, 0]
        return slope, torch.zeros_like(slope), [_all_positive(p.U)]

    return searched(generator, {f"derivative of the {which} interaction": sides}, symmetric=False)


def second_token_slope(generator: torch.Generator, factor: float) -> Evidence:
    """Step 1 of Proposition B.15: g' >= factor a_21 g (gamma - g) for g = U_21 < gamma."""

    def sides(state: State):
        p = parts(state)
        g = p.U[:, 1, 0]
        return p.dU[:, 1, 0], p.a[:, 1, 0] * g * (p.gamma - g), [p.gamma - g, g - POSITIVE]

    return searched(generator, {"slope of the second interaction": sides}, factor)


def second_token_pull(generator: torch.Generator) -> Evidence:
    """Step 3 of Proposition B.15: f' >= a_21 g (1 + theta) (1 - f), f = X_21, theta = lim f = 1."""

    def sides(state: State):
        p = parts(state)
        f, g = p.X[:, 1, 0], p.U[:, 1, 0]
        return p.dX[:, 1, 0], 2 * p.a[:, 1, 0] * g * (1 - f), [p.gamma - POSITIVE, g - POSITIVE]

    return searched(generator, {"pull on the second token": sides})


def _with_zero(state: State, j: int) -> State:
    """The state with U_3j = 0 (j from 0): x_3 turned, or for j = 2 S_BC changed."""
    flow, x = state
    x = x.clone()
    if j == 2:
        last = x[:, 2, :, None]
        S_BC = flow.S_BC - last @ last.mT * (last.mT @ flow.S_BC @ last)
        return SharedStepFlow(S_BC, flow.alpha, flow.a), x
    normal = unit((flow.S_BC @ x[:, j, :, None])[..., 0])
    x[:, 2] = unit(x[:, 2] - (x[:, 2] * normal).sum(-1, keepdim=True) * normal)
    return flow, x


def slope_at_zero(
    generator: torch.Generator, indices: Sequence[int], with_U: bool, factor: float = 1.0
) -> Evidence:
    """Claim 1: U_3i' >= factor sum_k a_3k U_3k U_ki where U_3i = 0; or without U_ki, as printed.

    `indices` are those i from 1 that are tried.
    """

    def of(i: int) -> Sides:
        def sides(state: State):
            p = parts(_with_zero(state, i))
            bound = (p.a[:, 2, :2] * p.U[:, 2, :2] * (p.U[:, :2, i] if with_U else 1.0)).sum(-1)
            rest = p.U.clone()
            rest[:, 2, i] = rest[:, i, 2] = torch.inf
            return p.dU[:, 2, i], bound, [_all_positive(rest)]

        return sides

    cases = {f"slope at the zero of index {i}": of(i - 1) for i in indices}
    return searched(generator, cases, factor)


def slope_at_level(generator: torch.Generator, indices: Sequence[int], factor: float) -> Evidence:
    """Claim 2: U_3j' where U_3j = delta < 0.8 gamma, against its last lower bound times factor.

    `indices` are those j from 1 that are tried.
    """

    def of(j: int) -> Sides:
        def sides(state: State):
            p = parts(state)
            delta = p.U[:, 2, j]
            earlier = p.U[:, 2, :j] - delta[:, None]
            if j == 0:
                bound = (p.a[:, 2, :2] * p.U[:, 2, :2]).sum(-1) * (0.9 * p.gamma - delta)
            else:
                bound = (p.a[:, j, :j] * p.U[:, j, :j] * earlier).sum(-1)
            early = p.U[:, :2, :2].flatten(1).amin(-1) - 0.9 * p.gamma
            hypotheses = [early, _all_positive(p.U), 0.8 * p.gamma - delta, *earlier.unbind(-1)]
            return p.dU[:, 2, j], bound, hypotheses

        return sides

    cases = {f"slope at the level of index {j}": of(j - 1) for j in indices}
    return searched(generator, cases, factor)


def pull_on_third(generator: torch.Generator) -> Evidence:
    """Claim 3: X_31' at X_31 = delta < X_21, as printed.

    Over a_32 U_32, which keeps the adversary from making everything small.
    """

    def sides(state: State):
        p = parts(state)
        delta, near = p.X[:, 2, 0], p.X[:, 1, 0]
        pull = p.a[:, 2, :2] * p.U[:, 2, :2]
        bound = pull[:, 0] * (1 - delta**2) + pull[:, 1] * (near - delta)
        hypotheses = [_all_positive(p.U), near - 0.8, near - delta]
        return p.dX[:, 2, 0] / pull[:, 1], bound / pull[:, 1], hypotheses

    return searched(generator, {"pull on the third token": sides})


def away_from_antipode(generator: torch.Generator, factor: float) -> Evidence:
    """Claim 3, repaired: 1 + X_31 >= factor (gamma + U_31)^2 / (2 |S_BC x_1|^2)."""

    def sides(state: State):
        p, (flow, x) = parts(state), state
        size = (flow.S_BC @ x[:, 0, :, None])[..., 0].norm(dim=-1)
        bound = (p.gamma + p.U[:, 2, 0]) ** 2 / (2 * size**2)
        return 1 + p.X[:, 2, 0], bound, [_all_positive(p.U)]

    return searched(generator, {"one plus the cosine": sides}, factor)


def third_decays(generator: torch.Generator, with_sum: bool) -> Evidence:
    """Claim 4: X_31' >= a U (1 + X_31) (1 - X_31) - sum a U (1 - X_j1), or without the sum."""

    def sides(state: State):
        p = parts(state)
        pull, y = p.a[:, 2, :2] * p.U[:, 2, :2], 1 - p.X[..., 0]
        bound = pull[:, 0] * (1 + p.X[:, 2, 0]) * y[:, 2] - with_sum * pull[:, 1] * y[:, 1]
        return p.dX[:, 2, 0], bound, [_all_positive(p.U)]

    return searched(generator, {"decay of the third distance": sides})
