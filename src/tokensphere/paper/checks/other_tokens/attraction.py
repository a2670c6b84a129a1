"""Checks of sections 3.2 and B.2: Theorems 3.5 and B.8, Proposition B.11, Remarks 3.7 and B.12."""

import math

import sympy
import torch
from torch import Tensor

from tokensphere.flow import (
    AutoregressiveFlow,
    SharedStepFlow,
    Trajectory,
    random_tokens,
    simulate,
)
from tokensphere.flow.integrate import unit
from tokensphere.other_tokens import (
    basins,
    consensus_rate,
    interaction_speeds,
    interactions,
    weights,
)
from tokensphere.paper.checks.tools import agree, ends, hardest_push, largest, times
from tokensphere.paper.ledger import Evidence, above, at_least, at_most, below, between, equal
from tokensphere.rates import fit_exponential

AT = 1e-3
"""A token this near to a point at the last time counts as being there."""


def _at_pair(x: Tensor, x1: Tensor) -> Tensor:
    """Which sequences x (..., L, D) have all their tokens at x_1 or -x_1, (...), bool."""
    return (basins.distance_to_pair(x, x1) < AT).all(-1)


def _form(flow: SharedStepFlow, x: Tensor, x1: Tensor) -> Tensor:
    return x @ (flow.S_BC @ x1)


SECONDS = 5
"""Second tokens behind which an exceptional third is looked for."""


def _third_tokens(generator: torch.Generator) -> tuple[SharedStepFlow, Tensor, basins.Crossings]:
    """A flow with a symmetric matrix, its first token, and the exceptional third tokens on one
    great circle, behind SECONDS second tokens."""
    flow, x1 = basins.random_problem(generator, 3)
    x2 = basins.arc_on_one_side(generator, flow.S_BC @ x1, SECONDS)
    earlier = torch.stack([x1.expand(SECONDS, -1), x2], -2)
    circle = basins.random_circle(generator, 3).expand(SECONDS, -1, -1)
    return flow, x1, basins.crossings(flow, earlier, circle, points=24, rounds=3)


def _moved(found: basins.Crossings) -> tuple[str, float]:
    turned = torch.remainder(found.low - found.low[0] + math.pi, 2 * math.pi) - math.pi
    what = "radians by which an exceptional third token moves with the second"
    return what, float(turned.max() - turned.min())


LAW = "symmetric Gaussian, changed to <x_1, S_BC x_1> = 2"


def one_null_set(generator: torch.Generator) -> Evidence:
    """The exceptional third tokens are the same whatever the second."""
    _, _, found = _third_tokens(generator)
    still = below(*_moved(found), 3 * found.width)
    return Evidence([still], {"S_BC": LAW, "second tokens": SECONDS})


def null_sets(generator: torch.Generator) -> Evidence:
    """The exceptional third tokens are two on a circle for each second token and move with it;
    random starts, with symmetric matrices and with others, reach +-x_1, at the rate of the
    consensus that they reach."""
    flow, x1, found = _third_tokens(generator)
    criteria = [
        above(*_moved(found), 3 * found.width),
        equal("exceptional third tokens on the circle", found.changes.tolist(), [2] * SECONDS),
    ]
    laws = {"symmetric": (flow, x1)}
    laws["nonsymmetric"] = basins.random_problem(generator, 3, symmetric=False)
    for law, (flow, x1) in laws.items():
        starts = f"150 random starts of 4 tokens, {law} S_BC"
        x0 = basins.tokens_behind(generator, x1, 150, 4)
        run = simulate(flow, x0, times(60, 601), 1e-8, 1e-11)
        missed = 150 - int(_at_pair(run.tokens[-1], x1).sum())
        criteria.append(equal(f"of {starts}, not at +-x_1 at t = 60", missed, 0))
        what = f"{starts}: least mean rate, from a distance of 0.01 to 1e-6, over the sharp rate"
        # Transients: faster components fade over the same time.
        criteria.append(at_least(what, _mean_rates(flow, run, x1).min(), 0.8))
    numbers = {"symmetric S_BC": LAW, "nonsymmetric S_BC": "Gaussian, changed alike"}
    return Evidence(criteria, numbers | {"second tokens": SECONDS})


def _mean_rates(flow: SharedStepFlow, run: Trajectory, x1: Tensor) -> Tensor:
    """Of each run (n,): the mean rate at which the sum of distances from +-x_1 falls from 0.01 to
    1e-6, over the rate of the consensus with the signs that the tokens have at the end."""
    error = basins.distance_to_pair(run.tokens, x1).sum(-1)
    index, each = torch.arange(len(error))[:, None], torch.arange(error.shape[1])
    first, last = (torch.where(error > size, index, 0).amax(0) for size in (1e-2, 1e-6))
    mean = (error[first, each] / error[last, each]).log() / (run.times[last] - run.times[first])
    signs = (run.tokens[-1] @ x1).sign()
    return mean / torch.tensor([consensus_rate(flow, x1, pattern).rate for pattern in signs])


def conditions(generator: torch.Generator, stated: bool) -> Evidence:
    """Starts that the theorem excludes. Stated: in each group some fail to reach +-x_1."""
    cases = ("<x_3, S x_1> = 0", "<x_2, S x_1> = 1", "<x_3, S x_1> = -1", "x_3 = x_1", "x_3 = -x_1")
    count = 20
    flow, x1 = basins.random_problem(generator, 3)
    direction = flow.S_BC @ x1
    x0 = basins.tokens_behind(generator, x1, 5 * count, 3).unflatten(0, (5, count))
    for case, token, value in ((0, 2, 0.0), (1, 1, 1.0), (2, 2, -1.0)):
        x0[case, :, token] = basins.with_form(x0[case, :, token], direction, value)
    x0[3, :, 2], x0[4, :, 2] = x1, -x1
    reached = dict(zip(cases, _at_pair(ends(flow, x0, 60), x1).sum(-1).tolist(), strict=True))
    what = f"of {count} starts, at +-x_1, those with"
    if stated:
        return Evidence([at_most(f"{what} {case}", n, count - 1) for case, n in reached.items()])
    still = basins.tokens_behind(generator, x1, count, 2)
    still[:, 1] = basins.with_form(still[:, 1], direction, 0.0)
    fast = SharedStepFlow(2 * flow.S_BC, flow.alpha, flow.a)
    criteria = [equal(f"{what} {case}", n, count) for case, n in reached.items()]
    criteria.append(below("largest speed where <x_2, S x_1> = 0", largest(flow(still)), 1e-12))
    # So the value 1 becomes 2 without another motion.
    criteria += agree(1e-12, {"the field of 2 S, twice that of S": fast(still) - 2 * flow(still)})
    return Evidence(criteria)


def trichotomy(generator: torch.Generator, gamma: float) -> Evidence:
    """Random starts end at consensus; none has a limit with <x_k, S x_1> = 0."""
    flow, x1 = basins.random_problem(generator, 3, gamma)
    x = ends(flow, basins.tokens_behind(generator, x1, 200, 4), 60)
    in_K = (_form(flow, x, x1)[:, 1:].abs() < AT).any(-1)
    consensus = equal("of 200 starts, at consensus at t = 60", _at_pair(x, x1).sum(), 200)
    none = equal("with a token where <x_k, S x_1> = 0", in_K.sum(), 0)
    return Evidence([consensus, none], {"form at the first token": gamma})


def nonlinear(generator: torch.Generator, odd: bool) -> Evidence:
    """Theorem B.8 for a nonlinear continuous S with <x_1, S(x_1)> > 0: all reach consensus."""
    linear, x1 = basins.random_problem(generator, 3, gamma=1.0, alpha=0.0)
    power, factor = (3, 1) if odd else (2, 10)

    def S(x: Tensor) -> Tensor:
        return x @ linear.S_BC.mT + factor * (x @ x1).unsqueeze(-1) ** power * x1

    flow = AutoregressiveFlow(lambda x: weights(linear, x) * (x @ S(x).mT))
    x = ends(flow, basins.tokens_behind(generator, x1, 100, 3), 40)
    y, z = random_tokens(2, 100, 3, generator=generator)
    numbers = {
        "S": f"S x + {factor} <x, x_1>^{power} x_1",
        "<x_1, S(x_1)>, <x_1, S(-x_1)>": [float(x1 @ S(x1)), float(x1 @ S(-x1))],
        "not symmetric by": largest((y * S(z)).sum(-1) - (S(y) * z).sum(-1)),
    }
    missed = (~_at_pair(x, x1)).sum()
    return Evidence([equal("of 100 starts, not at consensus", missed, 0)], numbers)


def first_exception(generator: torch.Generator, stated: bool) -> Evidence:
    """Two starts of four tokens between which the fourth is exceptional. Stated: the least k at
    which exactly one of (i), (ii) holds is that token. Corrected: it is the first one that is."""
    flow, x1 = basins.random_problem(generator, 3)
    earlier = basins.tokens_behind(generator, x1, 1, 3)
    circle = basins.random_circle(generator, 3)[None]
    found = basins.crossings(flow, earlier, circle, points=48, rounds=2)
    angles = found.low[:, None] + torch.tensor([[0.0, found.width]], dtype=torch.float64)
    bracket = basins.great_circles(circle, angles)[0]
    x0 = torch.cat([earlier.expand(2, -1, -1), bracket[:, None]], -2)
    side = (ends(flow, x0, 60) @ x1).round(decimals=3)
    # The first token whose limit changes between two starts this close: one between has neither.
    settled = (side[0] == side[1]).tolist()
    first = settled.index(False) + 1
    cases = {k: (all(settled[:k]), all(settled[: k - 1]) and not settled[k - 1]) for k in (3, 4)}
    least = min(k for k, case in cases.items() if sum(case) == 1)
    numbers = {"limits along x_1, from the two starts": side.tolist()}
    if stated:
        return Evidence([equal("least k with exactly one alternative", least, first)], numbers)
    criteria = [
        equal("first exceptional token", first, 4),
        equal("tokens at +-x_1 before it, in both starts", sum(settled[:3]), 3),
        equal("sizes of the limits along x_1", side.abs().flatten(), [1.0] * 8),
    ]
    return Evidence(criteria, numbers)


def reflection(generator: torch.Generator, weights_at: str) -> Evidence:
    """Does the trajectory with x_2 and x_4 reflected solve eq (25) too?"""
    flow, x1 = basins.random_problem(generator, 4)
    x = basins.tokens_behind(generator, x1, 20, 5)
    signs = torch.tensor([1, -1, 1, -1, 1], dtype=torch.float64)[:, None]
    field = flow
    if weights_at != "reflected":
        A = flow.attention(x) * signs * signs.mT  # a_ij at x, U_ij at the reflected tokens
        field = AutoregressiveFlow(lambda _: A)
    off = signs * flow(x) - field(signs * x)
    return Evidence(agree(1e-12, {f"the field with a_ij of the {weights_at} tokens": off}))


def growth(generator: torch.Generator, strip: float) -> Evidence:
    """Eq (27): the sharp bound everywhere; that with c = gamma sum a_Lj where |U_L1| is at most
    `strip` gamma."""
    flow, x1 = basins.random_problem(generator, 3, symmetric=False)
    x, signs = basins.near_consensus(generator, x1, 4000, 4)
    x[:2000, -1] = unit(x1 + 0.3 * x[:2000, -1])  # some where U is large
    everywhere, inside = [], []
    for case in ((flow, x, signs), hardest_push(), _steep_form(generator, strip)):
        flow, x, signs = case
        U = interactions(x, flow.S_BC)[1][:, -1, 0]
        speed = 2 * U * interaction_speeds(flow, x, flow.S_BC)[1][:, -1, 0]
        near = U.abs() <= strip * float(x[0, 0] @ flow.S_BC @ x[0, 0]) * (1 + 1e-12)
        everywhere.append(speed - basins.growth_bound(flow, x, signs))
        inside.append((speed - basins.strip_bound(flow, x, signs))[near])
    criteria = [
        # Rounding: the terms are of size 1 to 100.
        at_least(f"least slack {where}", torch.cat(slack).min(), -1e-12)
        for where, slack in (("of the sharp bound", everywhere), ("in the strip", inside))
    ]
    numbers = {"configurations": len(torch.cat(everywhere)), "in the strip": len(torch.cat(inside))}
    return Evidence(criteria, numbers)


def _steep_form(generator: torch.Generator, strip: float) -> tuple[SharedStepFlow, Tensor, Tensor]:
    """Tokens at x_1 but for the last, which is near it at the edge of the strip: |S x_1| is a
    hundred times gamma."""
    flow, x1 = basins.random_problem(generator, 3, symmetric=False)
    across = unit(basins.kernel_circle(x1)[:1])
    S = flow.S_BC + 200 * across.mT * x1
    x = x1.expand(1, 4, -1).clone()
    x[0, -1] = basins.with_form(x1, S @ x1, strip * 2.0)
    return SharedStepFlow(S, flow.alpha, flow.a), x, torch.ones(1, 2)


def integrated(generator: torch.Generator, bound: str) -> Evidence:
    """The displayed integral of (27) solves y' = c y - C e^{-sigma t}; is U_L1^2 bounded so?"""
    c, C, sigma, t, T, y = sympy.symbols("c C sigma t T y", positive=True)
    solution = sympy.exp(c * (t - T)) * (y - C / (c + sigma) * sympy.exp(-sigma * T))
    solution += C / (c + sigma) * sympy.exp(-sigma * t)
    residual = sympy.simplify(solution.diff(t) - c * solution + C * sympy.exp(-sigma * t))
    start = sympy.simplify(solution.subs(t, T) - y)
    flow, x1 = basins.random_problem(generator, 3)
    most = largest(_form(flow, random_tokens(1000, 3, generator=generator), x1)) ** 2
    limit = 1.0 if bound == "1" else float((flow.S_BC @ x1).norm() ** 2)
    criteria = [
        equal("residual of the differential equation", str(residual), "0"),
        equal("residual at the start", str(start), "0"),
        at_most(f"largest square of U_L1, against {bound}", most, limit),
    ]
    return Evidence(criteria)


def _after_exception(generator: torch.Generator, symmetric: bool, draws: int):
    """Flows and their tokens (15, 5, 4) at t = 80, behind x_1, -x_1 and an exceptional xi.

    Flows where the two largest eigenvalues of some M_4 or M_5 are within 0.3 are drawn again:
    there t = 80 is too early.
    """
    while draws:
        flow, x0 = basins.behind_exception(generator, 4, 15, 5, symmetric)
        end = ends(basins.hold(flow, 3), x0, 80, 1e-6)
        M = basins.token_matrices(flow, end)[:, 3:]
        top = torch.linalg.eigvals(M).real.topk(2).values
        if float((top[..., 0] - top[..., 1]).min()) > 0.3:
            draws -= 1
            yield flow, end


def remark_after(generator: torch.Generator, tie: bool) -> Evidence:
    """Remark B.12 for tokens after an exceptional one, S symmetric: +-x_1, or <x_l, S x_1> = 0."""
    if tie:
        flow, x0, limit = basins.tied_attractors(generator, 50)
        runs = [(flow, ends(flow, x0, 60))]
        off = float((runs[0][1][:, 3] - limit).norm(dim=-1).max())
        numbers = {"off the predicted point between x_1 and xi by": off}
    else:
        runs, numbers = list(_after_exception(generator, symmetric=True, draws=4)), {}
    neither = []
    for flow, end in runs:
        x1, later = end[0, 0], end[:, 3:]
        at_x1 = basins.distance_to_pair(later, x1) < AT
        neither.append(~(at_x1 | (_form(flow, later, x1).abs() < AT)))
    found = torch.cat(neither)
    numbers["tokens after an exceptional one"] = found.numel()
    what = "tokens neither at +-x_1 nor with <x_l, S x_1> = 0"
    return Evidence([equal(what, found.sum(), 0)], numbers)


def rest_after(generator: torch.Generator, with_xi: bool) -> Evidence:
    """Tokens after an exceptional one come to rest at eigenvectors of the M_l of the earlier ones,
    S any matrix. Control: of the M_l that leave the exceptional token out."""
    kept = [0, 1, 2, 3, 4] if with_xi else [0, 1, 3, 4]
    off = [
        float(basins.as_eigenvectors(flow, end[:, kept]).off[:, -2:].max())
        for symmetric in (True, False)
        for flow, end in _after_exception(generator, symmetric, draws=2)
    ]
    what = "largest distance of M_l x_l from a multiple of x_l, 30 tokens in each of 4 flows"
    # The integration's own error at rtol = 1e-6.
    return Evidence([below(what, max(off), 1e-5)])


def negative_form(generator: torch.Generator, leads: str) -> Evidence:
    """gamma < 0: the third token goes to +-xi, xi = lim x_2, where <xi, S xi> > 0, and
    otherwise to the line across S x_1 and S xi, D = 3. `leads`: the sign for which xi leads."""
    draws = 120
    drawn = [basins.random_problem(generator, 3, -2.0, symmetric=False) for _ in range(draws)]
    S, alpha = torch.stack([p.S_BC for p, _ in drawn]), torch.stack([p.alpha for p, _ in drawn])
    x0 = random_tokens(draws, 3, 3, generator=generator)
    x0[:, 0] = torch.stack([x1 for _, x1 in drawn])
    x1, xi, last = ends(SharedStepFlow(S, alpha, 0.5), x0, 120, 1e-5).unbind(1)
    limit = basins.third_limit(S if leads == "positive" else -S, x1, xi)
    follows = (last * limit).sum(-1).abs() > 0.99
    form = torch.einsum("ni,nij,nj->n", xi, S, xi)
    clear = form.abs() > 0.1  # nearer to zero t = 120 is too early
    share = follows[clear].double().mean()
    numbers = {"draws with <xi, S xi> above 0.1 in size": int(clear.sum()), "of": draws}
    return Evidence([at_least("share of third tokens where the sign says", share, 0.98)], numbers)


def both_signs(generator: torch.Generator, stated: bool) -> Evidence:
    """Two tokens for gamma of both signs: stated, x_2 ends at +-x_1; corrected, the closed form."""
    missed, off, moved = 0, 0.0, 0.0
    for gamma in (2.0, -2.0):
        flow, x1 = basins.random_problem(generator, 3, gamma, symmetric=False)
        x0 = basins.tokens_behind(generator, x1, 60, 2)
        x = ends(flow, x0, 80, rtol=1e-8)
        missed += int((~_at_pair(x, x1)).sum())
        limit = basins.second_limit(flow.S_BC, x1, x0[:, 1])
        off = max(off, float((x[:, 1] - limit).norm(dim=-1).max()))
        moved = max(moved, float((x[:, 0] - x1).norm(dim=-1).max()))
    what = "of 120 starts, half with gamma < 0, not at +-x_1"
    if stated:
        return Evidence([equal(what, missed, 0)])
    # Starts near the points that separate leave them late.
    closed_form = below("second tokens off the closed form by", off, 1e-4)
    return Evidence([closed_form, below("first token moved by", moved, 1e-12)], {what: missed})


def zero(generator: torch.Generator, stated: bool) -> Evidence:
    """gamma = 0: stated, exponential convergence to +-x_1; corrected, 1/t, its constant."""
    flow, x1 = basins.random_problem(generator, 3, gamma=0.0)
    x0 = basins.tokens_behind(generator, x1, 1, 2)[0]
    run = simulate(flow, x0, times(4000, 401), 1e-9, 1e-13)
    distance = (run.tokens[:, 1] - basins.second_limit(flow.S_BC, x1, x0[1])).norm(dim=-1)
    try:
        fit_exponential(run.times[1:], distance[1:])
        fits = 1
    except ValueError:
        fits = 0
    if stated:
        accepted = equal("exponential fits of the distance, accepted of 1", fits, 1)
        early, late = distance[200] / distance[100], distance[400] / distance[300]
        # The same in every stretch of 1000, if the decay is exponential.
        stretches = "decay factor from t = 3000 to 4000, over that from 1000 to 2000"
        return Evidence([accepted, between(stretches, late / early, 0.9, 1.1)])
    constant = float(basins.second_constant(flow, x1, x0[1]))
    ratio = run.times[-1] * distance[-1] / constant
    # Corrections are O(ln t / t) times the constant.
    predicted = between("t times the distance, over its predicted limit", ratio, 0.95, 1.05)
    return Evidence([predicted], {"predicted limit": constant, "exponential fits accepted": fits})
