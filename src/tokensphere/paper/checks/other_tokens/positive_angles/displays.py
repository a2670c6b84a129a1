"""Displayed inequalities at one time: random states of three tokens, and an adversary's.

Each function but the last is one display: from n states to its left side, its right side, and what
its hypotheses ask to be >= 0, (n,) each.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tokensphere.flow.integrate import unit
from tokensphere.other_tokens.adversary import State, least_slack, missed, pairs, with_zero
from tokensphere.other_tokens.positive_angles import admissible
from tokensphere.paper.ledger import Evidence, at_least, between

ROUNDING = 1e-11
"""Sums of products of numbers up to a hundred."""

POSITIVE = 1e-3
"""What the interactions must be at least, where they must be positive."""

Sides = tuple[Tensor, Tensor, Sequence[Tensor]]


def label(of: str, arguments: Mapping[str, object]) -> str:
    """An inequality's name and its arguments in words, such as "slope at level, index 2"."""
    return ", ".join([of.replace("_", " "), *(f"{key} {arguments[key]}" for key in arguments)])


def _all_positive(U: Tensor) -> Tensor:
    return U.flatten(1).amin(-1) - POSITIVE


def extreme_grows(state: State, which: str) -> Sides:
    """The derivative of the "least" U_ij, or of the "greatest", is not negative; any S_BC."""
    p = pairs(state)
    U = p.U.flatten(1)
    where = U.argmin(-1) if which == "least" else U.argmax(-1)
    slope = p.dU.flatten(1).gather(1, where[:, None])[:, 0]
    return slope, torch.zeros_like(slope), [_all_positive(p.U)]


def slope_of_second(state: State) -> Sides:
    """Step 1 of Proposition B.15: g' >= a_21 g (gamma - g) for g = U_21 < gamma."""
    p = pairs(state)
    g = p.U[:, 1, 0]
    return p.dU[:, 1, 0], p.a[:, 1, 0] * g * (p.gamma - g), [p.gamma - g, g - POSITIVE]


def pull_on_second(state: State) -> Sides:
    """Step 3 of Proposition B.15: f' >= a_21 g (1 + theta) (1 - f), f = X_21, theta = lim f = 1."""
    p = pairs(state)
    f, g = p.X[:, 1, 0], p.U[:, 1, 0]
    return p.dX[:, 1, 0], 2 * p.a[:, 1, 0] * g * (1 - f), [p.gamma - POSITIVE, g - POSITIVE]


def slope_at_zero(state: State, index: int, with_U: bool) -> Sides:
    """Claim 1: U_3i' >= sum_k a_3k U_3k U_ki where U_3i = 0; or without U_ki, as printed."""
    p, i = pairs(with_zero(state, index)), index - 1
    bound = (p.a[:, 2, :2] * p.U[:, 2, :2] * (p.U[:, :2, i] if with_U else 1.0)).sum(-1)
    rest = p.U.clone()
    rest[:, 2, i] = rest[:, i, 2] = torch.inf
    return p.dU[:, 2, i], bound, [_all_positive(rest)]


def slope_at_level(state: State, index: int) -> Sides:
    """Claim 2: U_3j' where U_3j = delta < 0.8 gamma, against its last lower bound."""
    p, j = pairs(state), index - 1
    delta = p.U[:, 2, j]
    earlier = p.U[:, 2, :j] - delta[:, None]
    if j == 0:
        bound = (p.a[:, 2, :2] * p.U[:, 2, :2]).sum(-1) * (0.9 * p.gamma - delta)
    else:
        bound = (p.a[:, j, :j] * p.U[:, j, :j] * earlier).sum(-1)
    early = p.U[:, :2, :2].flatten(1).amin(-1) - 0.9 * p.gamma
    hypotheses = [early, _all_positive(p.U), 0.8 * p.gamma - delta, *earlier.unbind(-1)]
    return p.dU[:, 2, j], bound, hypotheses


def pull_on_third(state: State) -> Sides:
    """Claim 3: X_31' at X_31 = delta < X_21, as printed.

    Over a_32 U_32, which keeps the adversary from making everything small.
    """
    p = pairs(state)
    delta, near = p.X[:, 2, 0], p.X[:, 1, 0]
    pull = p.a[:, 2, :2] * p.U[:, 2, :2]
    bound = pull[:, 0] * (1 - delta**2) + pull[:, 1] * (near - delta)
    hypotheses = [_all_positive(p.U), near - 0.8, near - delta]
    return p.dX[:, 2, 0] / pull[:, 1], bound / pull[:, 1], hypotheses


def away_from_antipode(state: State) -> Sides:
    """Claim 3, repaired: 1 + X_31 >= (gamma + U_31)^2 / (2 |S_BC x_1|^2)."""
    p, (flow, x) = pairs(state), state
    size = (flow.S_BC @ x[:, 0, :, None])[..., 0].norm(dim=-1)
    bound = (p.gamma + p.U[:, 2, 0]) ** 2 / (2 * size**2)
    return 1 + p.X[:, 2, 0], bound, [_all_positive(p.U)]


def decay_of_third(state: State, with_sum: bool) -> Sides:
    """Claim 4: X_31' >= a U (1 + X_31) (1 - X_31) - sum a U (1 - X_j1), or without the sum."""
    p = pairs(state)
    pull, y = p.a[:, 2, :2] * p.U[:, 2, :2], 1 - p.X[..., 0]
    bound = pull[:, 0] * (1 + p.X[:, 2, 0]) * y[:, 2] - with_sum * pull[:, 1] * y[:, 1]
    return p.dX[:, 2, 0], bound, [_all_positive(p.U)]


def inequality(
    generator: torch.Generator,
    of: str,
    indices: Sequence[int] = (),
    factor: float = 1.0,
    symmetric: bool = True,
    **given,
) -> Evidence:
    """Least slacks, left - factor right, over 1500 random admissible states and an adversary's.

    Args:
        of: the name of the display's function above; `given` are more of its arguments.
        indices: the i or j, from 1, for which it is tried, if it has one.
    """
    seed = int(torch.randint(1000, (1,), generator=generator))
    flow, x = admissible(generator, 1500, 3, 3, symmetric)
    # In half of them the second token is near the first.
    x[::2, 1] = unit(x[::2, 0] + 0.2 * x[::2, 1])
    criteria, numbers = [], {}
    for case in [{"index": index, **given} for index in indices] or [given]:

        def slack(state: State, case: dict = case) -> tuple[Tensor, Tensor]:
            left, right, hypotheses = globals()[of](state, **case)
            return left - factor * right, missed(*hypotheses)

        at_random, off = slack((flow, x))
        met = off == 0
        numbers[f"{label(of, case)}: random states that meet its hypotheses"] = int(met.sum())
        what = f"{label(of, case)}: least slack"
        criteria.append(at_least(f"{what} at random", at_random[met].min(), -ROUNDING))
        found, _ = least_slack(slack, seed, generations=30, symmetric=symmetric)
        # 10 or more: the adversary has no state that meets the hypotheses.
        criteria.append(between(f"{what} by the adversary", found, -ROUNDING, 10))
    return Evidence(criteria, numbers)
