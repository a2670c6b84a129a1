"""Single starts and families of them: what the hypotheses leave out, and what they need."""

import itertools
import math

import torch
from torch import Tensor

from tokensphere.flow import SharedStepFlow
from tokensphere.flow.integrate import unit
from tokensphere.other_tokens import interaction_speeds, interactions
from tokensphere.other_tokens.interactions import token_with_interactions
from tokensphere.other_tokens.positive_angles import (
    admissible,
    alignment_bounds,
    margin,
    one_pair,
)
from tokensphere.paper.checks.tools import ends, times
from tokensphere.paper.ledger import Evidence, above, at_least, below, equal

from .runs import INTEGRATED, run


def tensor(values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def without_other_hypotheses(generator: torch.Generator, sign: float) -> Evidence:
    """Starts that they exclude: x_2 = sign x_1, and x_3 with U_31 = 1 exactly."""
    del generator  # nothing is random
    S_BC = torch.diag(tensor([1.0, 2.0, 3.0]))
    x1 = unit(tensor([2.0, 1.0, 0.0]))
    image = S_BC @ x1
    normal = unit(image)
    across = unit(tensor([1.0, 1.0, 1.0]) - normal.sum() * normal)
    part = 1.0 / image.norm()
    x = torch.stack([x1, sign * x1, part * normal + torch.sqrt(1 - part**2) * across])
    flow = SharedStepFlow(S_BC, tensor([0.3, -0.2, 0.5]), 0.5)
    U = interactions(x, S_BC)[1]
    far = float((ends(flow, x, 60.0, rtol=1e-7) - x1).norm(dim=-1).max())
    return Evidence(
        [
            above("least interaction at the start", float(U.min()), 0),
            below("largest distance from the first token at t = 60", far, 1e-3),
        ],
        {"cosine of tokens 2 and 1 at the start": sign, "U_31 at the start": float(U[2, 0])},
    )


def each_pair(generator: torch.Generator, value: float) -> Evidence:
    """Where x_i ends, S_BC = I, if U_ij(0) is of the sign of `value`, for all 1 <= j < i <= 4."""
    del generator  # nothing is random
    cosines, others = {}, math.inf
    for i in range(2, 5):
        for j in range(1, i):
            flow, x = one_pair(i, j, value)
            U = interactions(x, flow.S_BC)[1]
            U[i - 1, j - 1] = U[j - 1, i - 1] = math.inf
            others = min(others, float(U.min()))
            end = ends(flow, x, 15.0, rtol=1e-7)
            cosines[f"cosine of tokens {i} and 1, pair ({i}, {j})"] = float(end[-1] @ end[0])
    return Evidence(
        [
            above("least interaction of the other pairs at the start", others, 0),
            below("largest cosine at t = 15", max(cosines.values()), -0.95),
        ],
        cosines,
    )


def one_start(generator: torch.Generator, condition: str) -> Evidence:
    """One start that meets a condition: "first" with S_BC = I, "below" with a nonsymmetric one."""
    del generator  # nothing is random
    if condition == "first":
        flow, x = one_pair(3, 2, -1.0)
    else:
        S_BC = tensor([[1.0, -7.0, -5.0], [8.0, 2.0, 9.0], [-6.0, -3.0, 3.0]])
        x = unit(tensor([[1.0, 0.0, 0.0], [-3.0, 3.0, 2.0], [-2.0, 5.0, -4.0]]))
        flow = SharedStepFlow(S_BC, tensor([0.0, 0.0, 1.0]), 2.0)
    cosine = float(ends(flow, x, 60.0, rtol=1e-7)[2] @ x[0])
    return Evidence(
        [
            above("least interaction of the condition", float(margin(x, flow.S_BC, condition)), 0),
            above("cosine of tokens 3 and 1 at t = 60", cosine, 0.99),
        ],
        {
            "S_BC": flow.S_BC.tolist(),
            "U at the start": interactions(x, flow.S_BC)[1].tolist(),
        },
    )


def fourth_token(generator: torch.Generator, row: list[float], until: float) -> Evidence:
    """20 sequences in R^4 whose fourth token has U_4j(0) proportional to `row`, j = 1, 2, 3.

    `until` t > 2 it comes near the first token; or until t = 2 it stands still.
    """
    flow, x = admissible(generator, 20, 3, 4, condition="below")
    x4 = token_with_interactions(x, flow.S_BC, tensor(row).expand(20, 3), 1.0)
    path = run(flow, torch.cat([x, x4[:, None]], 1), until, 31)
    if until > 2:
        cosine = float((path[-1, :, 3] * path[-1, :, 0]).sum(-1).min())
        return Evidence([above(f"least cosine of tokens 4 and 1 at t = {until:g}", cosine, 0.9)])
    moved = float((path[:, :, 3] - x4).norm(dim=-1).max())
    # Rounding of zeros grows at a rate of a few.
    return Evidence([below(f"largest move of token 4 up to t = {until:g}", moved, 1e-6)])


def no_gamma(generator: torch.Generator, exponential: bool) -> Evidence:
    """S_BC = [[0, 1], [1, 0]], gamma = 0: exponential, or cot theta = cot theta_0 + a_21 t."""
    del generator  # nothing is random
    flow = SharedStepFlow(tensor([[0.0, 1.0], [1.0, 0.0]]), tensor([0.0, 0.0]), 1.0)
    x = tensor([[1.0, 0.0], [-0.6, 0.8]])
    path = run(flow, x, 1000.0, 101)
    distance = (path[:, 1] - x[0]).norm(dim=-1)
    if exponential:
        early, late = -distance[[0, 50, 100]].log().diff()
        # Of an exponential the two are equal, but for a transient.
        ratio = float(late / early)
        return Evidence([above("rate of the second half of the time over the first", ratio, 0.5)])
    exact = -0.75 + math.log(2) / 2 * times(1000.0, 101)
    off = float((path[:, 1, 0] / path[:, 1, 1] / exact - 1).abs()[1:].max())
    return Evidence(
        [below("largest relative difference from the exact solution", off, 1e-4)],
        {"distance times t at t = 1000": float(distance[-1] * 1000)},
    )


def all_zero(generator: torch.Generator, printed: bool) -> Evidence:
    """Claim 1's first case at U_41 = U_42 = U_43 = 0 < U_44, L = 4, S_BC = diag(1, 1, 1, 2).

    As printed U_4i' > 0 there; or token 4 stands still.
    """
    del generator  # nothing is random
    S_BC = torch.diag(tensor([1.0, 1.0, 1.0, 2.0]))
    x = unit(tensor([[1.0, 0, 0, 0], [1.0, 1.0, 0, 0], [1.0, 0, 1.0, 0], [0, 0, 0, 1.0]]))
    flow = SharedStepFlow(S_BC, tensor([0.2, 0.1, -0.3, 0.4]), 0.7)
    least = float(interaction_speeds(flow, x, S_BC)[1][3, :3].min())
    moved = float((ends(flow, x, 30.0, rtol=1e-7)[3] - x[3]).norm())
    return Evidence(
        [
            above("least derivative of the three zeros", least, 0)
            if printed
            else below("move of token 4 in a time of 30", moved, 1e-12)
        ],
        {"U of token 4 with tokens 1 to 4": interactions(x, S_BC)[1][3].tolist()},
    )


def some_zero(generator: torch.Generator, unique: bool) -> Evidence:
    """Fourth tokens with zeros U_4k in every proper subset of k = 1, 2, 3, the others positive.

    Any S_BC. `unique`: never more than one zero at once. Otherwise: at every zero, U_4k' > 0.
    """
    flow, x = admissible(generator, 10, 3, 4, symmetric=False)
    several, least, states = 0, math.inf, 0
    for row in itertools.product((0.0, 1.0), repeat=3):
        if not 0 < sum(row) < 3:
            continue
        x4 = token_with_interactions(x, flow.S_BC, tensor(row).expand(10, 3), 1.0)
        dU = interaction_speeds(flow, torch.cat([x, x4[:, None]], 1), flow.S_BC)[1][:, 3, :3]
        zeros = [k for k in range(3) if row[k] == 0]
        least = min(least, float(dU[:, zeros].min()))
        several += 10 * (len(zeros) > 1)
        states += 10
    numbers = {"states": states, "with several zeros at once": several}
    if unique:
        return Evidence([equal("states with several zeros at once, not all", several, 0)], numbers)
    return Evidence([above("least derivative of a zero", least, 0)], numbers)


def turned_back(generator: torch.Generator, printed: bool) -> Evidence:
    """Claim 3 at an admissible start, rational but for ln 2, from which X_31 falls.

    alpha = 0 and a = 2, so that a_31 = ln(2)/16 and a_32 = ln(2)/4. `printed`: X_31 stays above
    its start and the later X_21; otherwise 1 + X_i1 >= eta.
    """
    del generator  # nothing is random
    S_BC = tensor([[1.0, 2.5, 2.0], [2.5, 7.0, 7.0], [2.0, 7.0, 7.0]])
    x = tensor([[1.0, 0.0, 0.0], [6 / 7, -3 / 7, 2 / 7], [-12 / 13, 5 / 13, 0.0]])
    flow = SharedStepFlow(S_BC, torch.zeros(3, dtype=torch.float64), 2.0)
    cosines = (run(flow, x, 40.0, 401) @ x[0])[:, 1:]
    if printed:
        name, bound = "the printed bound", torch.minimum(cosines[0, 1], cosines[:, 0].min())
        slack = float(cosines[:, 1].min() - bound)
    else:
        name, bound = "the bound in its place", alignment_bounds(flow, x).eta
        slack = float(1 + cosines.min() - bound)
    speed = float(interaction_speeds(flow, x, S_BC)[0][2, 0])
    return Evidence(
        [
            above("least interaction at the start", float(margin(x, S_BC)), 0),
            at_least(f"least slack of {name}", slack, -INTEGRATED),
        ],
        {
            "cosine of tokens 3 and 1 at the start, at least, and at t = 40": [
                float(value) for value in (cosines[0, 1], cosines[:, 1].min(), cosines[-1, 1])
            ],
            "its derivative at the start": speed,
        },
    )
