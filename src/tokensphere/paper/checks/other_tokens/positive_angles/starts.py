"""Single starts and families of them: what the hypotheses leave out, and what they need.

Where a check does not read its generator, nothing is random.
"""

import itertools
import math

import torch
from torch import Tensor

from tokensphere.flow import SharedStepFlow
from tokensphere.flow.integrate import unit
from tokensphere.other_tokens import interaction_speeds, interactions
from tokensphere.other_tokens import positive_angles as angles
from tokensphere.other_tokens.interactions import token_with_interactions
from tokensphere.paper.checks.tools import ends, times
from tokensphere.paper.ledger import Evidence, above, at_least, below, equal

from .runs import INTEGRATED, run


def tensor(values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def without_other_hypotheses(generator: torch.Generator, sign: float) -> Evidence:
    """Starts that they exclude: x_2 = sign x_1, and x_3 with U_31 = 1 exactly."""
    S_BC = torch.diag(tensor([1.0, 2.0, 3.0]))
    x1 = unit(tensor([2.0, 1.0, 0.0]))
    image = S_BC @ x1
    normal = unit(image)
    across = unit(tensor([1.0, 1.0, 1.0]) - normal.sum() * normal)
    part = 1.0 / image.norm()
    x = torch.stack([x1, sign * x1, part * normal + torch.sqrt(1 - part**2) * across])
    flow = SharedStepFlow(S_BC, tensor([0.3, -0.2, 0.5]), 0.5)
    U = interactions(x, S_BC)[1]
    far = (ends(flow, x, 60.0, rtol=1e-7) - x1).norm(dim=-1).max()
    least = above("least interaction at the start", U.min(), 0)
    joins = below("largest distance from the first token at t = 60", far, 1e-3)
    numbers = {"cosine of tokens 2 and 1 at the start": sign, "U_31 at the start": U[2, 0]}
    return Evidence([least, joins], numbers)


def each_pair(generator: torch.Generator, value: float) -> Evidence:
    """Where x_i ends, S_BC = I, if U_ij(0) is of the sign of `value`, for all 1 <= j < i <= 4."""
    cosines, others = {}, []
    for j, i in itertools.combinations(range(1, 5), 2):
        flow, x = angles.one_pair(i, j, value)
        U = interactions(x, flow.S_BC)[1]
        U[i - 1, j - 1] = U[j - 1, i - 1] = math.inf
        others.append(float(U.min()))
        end = ends(flow, x, 15.0, rtol=1e-7)
        cosines[f"cosine of tokens {i} and 1, pair ({i}, {j})"] = float(end[-1] @ end[0])
    least = above("least interaction of the other pairs at the start", min(others), 0)
    opposite = below("largest cosine at t = 15", max(cosines.values()), -0.95)
    return Evidence([least, opposite], cosines)


def one_start(generator: torch.Generator, condition: str) -> Evidence:
    """One start that meets a condition: "first" with S_BC = I, "below" with a nonsymmetric one."""
    if condition == "first":
        flow, x = angles.one_pair(3, 2, -1.0)
    else:
        S_BC = tensor([[1.0, -7.0, -5.0], [8.0, 2.0, 9.0], [-6.0, -3.0, 3.0]])
        x = unit(tensor([[1.0, 0.0, 0.0], [-3.0, 3.0, 2.0], [-2.0, 5.0, -4.0]]))
        flow = SharedStepFlow(S_BC, tensor([0.0, 0.0, 1.0]), 2.0)
    cosine = ends(flow, x, 60.0, rtol=1e-7)[2] @ x[0]
    margin = angles.margin(x, flow.S_BC, condition)
    criteria = [
        above("least interaction of the condition", margin, 0),
        above("cosine of tokens 3 and 1 at t = 60", cosine, 0.99),
    ]
    return Evidence(criteria, {"S_BC": flow.S_BC, "U at the start": interactions(x, flow.S_BC)[1]})


def fourth_token(generator: torch.Generator, row: list[float], until: float) -> Evidence:
    """20 sequences in R^4 whose fourth token has U_4j(0) proportional to `row`, j = 1, 2, 3.

    `until` t > 2 it comes near the first token; or until t = 2 it stands still.
    """
    flow, x = angles.admissible(generator, 20, 3, 4, condition="below")
    x4 = token_with_interactions(x, flow.S_BC, tensor(row).expand(20, 3), 1.0)
    path = run(flow, torch.cat([x, x4[:, None]], 1), until, 31)
    if until > 2:
        cosine = (path[-1, :, 3] * path[-1, :, 0]).sum(-1).min()
        return Evidence([above(f"least cosine of tokens 4 and 1 at t = {until:g}", cosine, 0.9)])
    moved = (path[:, :, 3] - x4).norm(dim=-1).max()
    # Rounding of zeros grows at a rate of a few.
    return Evidence([below(f"largest move of token 4 up to t = {until:g}", moved, 1e-6)])


def no_gamma(generator: torch.Generator, exponential: bool) -> Evidence:
    """S_BC = [[0, 1], [1, 0]], gamma = 0: exponential, or cot theta = cot theta_0 + a_21 t."""
    flow = SharedStepFlow(tensor([[0.0, 1.0], [1.0, 0.0]]), tensor([0.0, 0.0]), 1.0)
    x = tensor([[1.0, 0.0], [-0.6, 0.8]])
    path = run(flow, x, 1000.0, 101)
    distance = (path[:, 1] - x[0]).norm(dim=-1)
    if exponential:
        early, late = -distance[[0, 50, 100]].log().diff()
        # Of an exponential the two are equal, but for a transient.
        what = "rate of the second half of the time over the first"
        return Evidence([above(what, late / early, 0.5)])
    exact = -0.75 + math.log(2) / 2 * times(1000.0, 101)
    off = (path[:, 1, 0] / path[:, 1, 1] / exact - 1).abs()[1:].max()
    agree = below("largest relative difference from the exact solution", off, 1e-4)
    return Evidence([agree], {"distance times t at t = 1000": distance[-1] * 1000})


def all_zero(generator: torch.Generator, printed: bool) -> Evidence:
    """Claim 1's first case at U_41 = U_42 = U_43 = 0 < U_44, L = 4, S_BC = diag(1, 1, 1, 2).

    As printed U_4i' > 0 there; or token 4 stands still.
    """
    S_BC = torch.diag(tensor([1.0, 1.0, 1.0, 2.0]))
    x = unit(tensor([[1.0, 0, 0, 0], [1.0, 1.0, 0, 0], [1.0, 0, 1.0, 0], [0, 0, 0, 1.0]]))
    flow = SharedStepFlow(S_BC, tensor([0.2, 0.1, -0.3, 0.4]), 0.7)
    numbers = {"U of token 4 with tokens 1 to 4": interactions(x, S_BC)[1][3]}
    if printed:
        least = interaction_speeds(flow, x, S_BC)[1][3, :3].min()
        return Evidence([above("least derivative of the three zeros", least, 0)], numbers)
    moved = (ends(flow, x, 30.0, rtol=1e-7)[3] - x[3]).norm()
    return Evidence([below("move of token 4 in a time of 30", moved, 1e-12)], numbers)


def some_zero(generator: torch.Generator, unique: bool) -> Evidence:
    """Fourth tokens with zeros U_4k in every proper subset of k = 1, 2, 3, the others positive.

    Any S_BC. `unique`: never more than one zero at once. Otherwise: at every zero, U_4k' > 0.
    """
    flow, x = angles.admissible(generator, 10, 3, 4, symmetric=False)
    several, slopes = 0, []
    for row in itertools.product((0.0, 1.0), repeat=3):
        if not 0 < sum(row) < 3:
            continue
        x4 = token_with_interactions(x, flow.S_BC, tensor(row).expand(10, 3), 1.0)
        dU = interaction_speeds(flow, torch.cat([x, x4[:, None]], 1), flow.S_BC)[1][:, 3, :3]
        zero = tensor(row) == 0
        slopes.append(dU[:, zero].amin(-1))
        several += 10 * int(zero.sum() > 1)
    states = torch.cat(slopes)
    numbers = {"states": len(states), "with several zeros at once": several}
    if unique:
        return Evidence([equal("states with several zeros at once, not all", several, 0)], numbers)
    return Evidence([above("least derivative of a zero", states.min(), 0)], numbers)


def turned_back(generator: torch.Generator, printed: bool) -> Evidence:
    """Claim 3 at an admissible start, rational but for ln 2, from which X_31 falls.

    alpha = 0 and a = 2, so that a_31 = ln(2)/16 and a_32 = ln(2)/4. `printed`: X_31 stays above
    its start and the later X_21; otherwise 1 + X_i1 >= eta.
    """
    S_BC = tensor([[1.0, 2.5, 2.0], [2.5, 7.0, 7.0], [2.0, 7.0, 7.0]])
    x = tensor([[1.0, 0.0, 0.0], [6 / 7, -3 / 7, 2 / 7], [-12 / 13, 5 / 13, 0.0]])
    flow = SharedStepFlow(S_BC, torch.zeros(3, dtype=torch.float64), 2.0)
    second, third = (run(flow, x, 40.0, 401) @ x[0])[:, 1:].mT
    if printed:
        name, slack = "the printed bound", third.min() - torch.minimum(third[0], second.min())
    else:
        eta = angles.alignment_bounds(flow, x).eta
        name, slack = "the bound in its place", 1 + torch.minimum(second, third).min() - eta
    criteria = [
        above("least interaction at the start", angles.margin(x, S_BC), 0),
        at_least(f"least slack of {name}", slack, -INTEGRATED),
    ]
    cosines = torch.stack([third[0], third.min(), third[-1]])
    numbers = {"cosine of tokens 3 and 1 at the start, at least, and at t = 40": cosines}
    numbers["its derivative at the start"] = interaction_speeds(flow, x, S_BC)[0][2, 0]
    return Evidence(criteria, numbers)
