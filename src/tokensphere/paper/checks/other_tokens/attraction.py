"""Checks of sections 3.2 and B.2: Theorems 3.5 and B.8, Proposition B.11, Remarks 3.7 and B.12."""

import math

import sympy
import torch
from torch import Tensor

from tokensphere.flow import AutoregressiveFlow, SharedStepFlow, random_tokens, simulate
from tokensphere.flow.integrate import unit
from tokensphere.other_tokens import interaction_speeds, interactions, weights
from tokensphere.other_tokens.basins import (
    arc_on_one_side,
    as_eigenvectors,
    behind_exception,
    crossings,
    distance_to_pair,
    great_circles,
    growth_bound,
    hold,
    near_consensus,
    random_circle,
    random_problem,
    second_constant,
    second_limit,
    tied_attractors,
    token_matrices,
    tokens_behind,
    with_form,
)
from tokensphere.paper.checks.tools import ends, times
from tokensphere.paper.ledger import Evidence, above, at_least, at_most, below, between, equal
from tokensphere.rates import fit_exponential

AT = 1e-3
"""A token this near to a point at the last time counts as being there."""


def _away(x: Tensor, x1: Tensor) -> Tensor:
    """The largest distance of a token from the nearer of x_1 and -x_1, (...)."""
    return distance_to_pair(x, x1).amax(-1)


def _form(flow: SharedStepFlow, x: Tensor, x1: Tensor) -> Tensor:
    return x @ (flow.S_BC @ x1)


def null_set(generator: torch.Generator, stated: bool) -> Evidence:
    """Stated: the exceptional third tokens are the same whatever the second. Corrected: they are
    two on a circle for each second token, move with it, and random starts reach +-x_1."""
    dim, count = 3, 5
    flow, x1 = random_problem(generator, dim)
    x2 = arc_on_one_side(generator, flow.S_BC @ x1, count)
    earlier = torch.stack([x1.expand(count, -1), x2], -2)
    circle = random_circle(generator, dim).expand(count, -1, -1)
    found = crossings(flow, earlier, circle, points=24, rounds=3)
    turned = torch.remainder(found.low - found.low[0] + math.pi, 2 * math.pi) - math.pi
    spread = float(turned.max() - turned.min())
    moves = "radians by which an exceptional third token moves with the second"
    numbers = {"second tokens": count, "resolution, radians": round(found.width, 5)}
    if stated:
        return Evidence([below(moves, spread, 3 * found.width)], numbers)
    x0 = tokens_behind(generator, x1, 300, 4)
    missed = int((_away(ends(flow, x0, 60), x1) > AT).sum())
    criteria = [
        above(moves, spread, 3 * found.width),
        equal("exceptional third tokens on the circle", found.changes.tolist(), [2] * count),
        equal("of 300 random starts of 4 tokens, not at +-x_1 at t = 60", missed, 0),
    ]
    return Evidence(criteria, numbers)


def conditions(generator: torch.Generator, stated: bool) -> Evidence:
    """Starts that the theorem excludes. Stated: in each group some fail to reach +-x_1."""
    dim, count = 3, 20
    flow, x1 = random_problem(generator, dim)
    direction = flow.S_BC @ x1
    groups = {}
    for name, token, value in (
        ("<x_3, S x_1> = 0", 2, 0.0),
        ("<x_2, S x_1> = 1", 1, 1.0),
        ("<x_3, S x_1> = -1", 2, -1.0),
    ):
        groups[name] = tokens_behind(generator, x1, count, 3)
        groups[name][:, token] = with_form(groups[name][:, token], direction, value)
    for name, sign in (("x_3 = x_1", 1), ("x_3 = -x_1", -1)):
        groups[name] = tokens_behind(generator, x1, count, 3)
        groups[name][:, 2] = sign * x1
    end = ends(flow, torch.cat(list(groups.values())), 60).split(count)
    reached = {
        f"of {count} starts with {name}, at +-x_1": int((_away(x, x1) < AT).sum())
        for name, x in zip(groups, end, strict=True)
    }
    if stated:
        return Evidence([at_most(name, number, count - 1) for name, number in reached.items()])
    x0 = tokens_behind(generator, x1, count, 2)
    x0[:, 1] = with_form(x0[:, 1], direction, 0.0)
    fast = SharedStepFlow(2 * flow.S_BC, flow.alpha, flow.a)
    twice = float((fast(x0) - 2 * flow(x0)).abs().max())
    criteria = [equal(name, number, count) for name, number in reached.items()]
    criteria += [
        below("largest speed where <x_2, S x_1> = 0", float(flow(x0).abs().max()), 1e-12),
        # So the value 1 becomes 2 without another motion.
        below("field of 2 S off twice the field of S by", twice, 1e-12),
    ]
    return Evidence(criteria)


def trichotomy(generator: torch.Generator, gamma: float) -> Evidence:
    """Random starts end at consensus; none has a limit with <x_k, S x_1> = 0."""
    flow, x1 = random_problem(generator, 3, gamma)
    x = ends(flow, tokens_behind(generator, x1, 200, 4), 60)
    consensus = int((_away(x, x1) < AT).sum())
    in_K = int((_form(flow, x, x1)[:, 1:].abs() < AT).any(-1).sum())
    return Evidence(
        [
            equal("of 200 starts, at consensus at t = 60", consensus, 200),
            equal("with a token where <x_k, S x_1> = 0", in_K, 0),
        ],
        {"form at the first token": gamma},
    )


def nonlinear(generator: torch.Generator, odd: bool) -> Evidence:
    """Theorem B.8 for a nonlinear continuous S with <x_1, S(x_1)> > 0: all reach consensus."""
    linear, x1 = random_problem(generator, 3, gamma=1.0, alpha=0.0)
    power, factor = (3, 1) if odd else (2, 10)

    def S(x: Tensor) -> Tensor:
        return x @ linear.S_BC.mT + factor * (x @ x1).unsqueeze(-1) ** power * x1

    def coefficients(x: Tensor) -> Tensor:
        return weights(linear, x) * (x @ S(x).mT)

    x0 = tokens_behind(generator, x1, 100, 3)
    x = ends(AutoregressiveFlow(coefficients), x0, 40)
    y, z = random_tokens(2, 100, 3, generator=generator)
    return Evidence(
        [equal("of 100 starts, not at consensus", int((_away(x, x1) > AT).sum()), 0)],
        {
            "S": f"S x + {factor} <x, x_1>^{power} x_1",
            "<x_1, S(x_1)>": float(x1 @ S(x1)),
            "<x_1, S(-x_1)>": float(x1 @ S(-x1)),
            "not symmetric by": float(((y * S(z)).sum(-1) - (S(y) * z).sum(-1)).abs().max()),
        },
    )


def first_exception(generator: torch.Generator, stated: bool) -> Evidence:
    """Two starts of four tokens between which the fourth is exceptional. Stated: the least k at
    which exactly one of (i), (ii) holds is that token. Corrected: it is the first one that is."""
    flow, x1 = random_problem(generator, 3)
    earlier = tokens_behind(generator, x1, 1, 3)
    circle = random_circle(generator, 3)[None]
    found = crossings(flow, earlier, circle, points=48, rounds=2)
    angles = found.low[:, None] + torch.tensor([[0.0, found.width]], dtype=torch.float64)
    bracket = great_circles(circle, angles)[0]
    x0 = torch.cat([earlier.expand(2, -1, -1), bracket[:, None]], -2)
    side = (ends(flow, x0, 60) @ x1).round(decimals=3)
    # The first token whose limit changes between two starts this close: one between has neither.
    settled = (side[0] == side[1]).tolist()
    first = settled.index(False) + 1
    cases = {k: (all(settled[:k]), all(settled[: k - 1]) and not settled[k - 1]) for k in (3, 4)}
    least = min(k for k, case in cases.items() if sum(case) == 1)
    numbers = {
        "limits along x_1, lower start": side[0].tolist(),
        "limits along x_1, upper start": side[1].tolist(),
    }
    if stated:
        return Evidence([equal("least k with exactly one alternative", least, first)], numbers)
    return Evidence(
        [
            equal("first exceptional token", first, 4),
            equal("tokens at +-x_1 before it, in both starts", sum(settled[:3]), 3),
            equal("sizes of the limits along x_1", side.abs().flatten().tolist(), [1.0] * 8),
        ],
        numbers,
    )


def reflection(generator: torch.Generator, weights_at: str) -> Evidence:
    """Does the trajectory with x_2 and x_4 reflected solve eq (25) too?"""
    flow, x1 = random_problem(generator, 4)
    x = tokens_behind(generator, x1, 20, 5)
    signs = torch.tensor([1, -1, 1, -1, 1], dtype=torch.float64)
    turned = signs[:, None] * x
    if weights_at == "reflected":
        field = flow(turned)
    else:
        A = flow.attention(x) * signs[:, None] * signs  # a_ij at x, U_ij at the reflected tokens
        field = AutoregressiveFlow(lambda _: A)(turned)
    off = float((signs[:, None] * flow(x) - field).abs().max())
    return Evidence([below(f"field with a_ij of the {weights_at} tokens, off by", off, 1e-12)])


def growth(generator: torch.Generator, strip: bool) -> Evidence:
    """Eq (27) with the constants of `growth_bound`, where |U_L1| <= gamma/2, or beyond."""
    flow, x1 = random_problem(generator, 3, symmetric=False)
    x, signs = near_consensus(generator, x1, 4000, 4)
    x[:2000, -1] = unit(x1 + 0.3 * x[:2000, -1])  # some where U is large
    U = interactions(x, flow.S_BC)[1][:, -1, 0]
    speed = 2 * U * interaction_speeds(flow, x, flow.S_BC)[1][:, -1, 0]
    inside = U.abs() <= float(x1 @ flow.S_BC @ x1) / 2
    here = inside if strip else ~inside
    where = "in the strip" if strip else "beyond the strip"
    # Rounding: the terms are of size 1 to 100.
    least = float((speed - growth_bound(flow, x, signs))[here].min())
    return Evidence(
        [at_least(f"least slack {where}", least, -1e-12)], {"configurations": int(here.sum())}
    )


def integrated(generator: torch.Generator, bound: str) -> Evidence:
    """The displayed integral of (27) solves y' = c y - C e^{-sigma t}; is U_L1^2 bounded so?"""
    c, C, sigma, t, T, y = sympy.symbols("c C sigma t T y", positive=True)
    solution = sympy.exp(c * (t - T)) * (y - C / (c + sigma) * sympy.exp(-sigma * T))
    solution += C / (c + sigma) * sympy.exp(-sigma * t)
    residual = sympy.simplify(solution.diff(t) - c * solution + C * sympy.exp(-sigma * t))
    start = sympy.simplify(solution.subs(t, T) - y)
    flow, x1 = random_problem(generator, 3)
    largest = float((_form(flow, random_tokens(1000, 3, generator=generator), x1) ** 2).max())
    limit = 1.0 if bound == "1" else float((flow.S_BC @ x1).norm() ** 2)
    return Evidence(
        [
            equal("residual of the differential equation", str(residual), "0"),
            equal("residual at the start", str(start), "0"),
            at_most(f"largest square of U_L1, against {bound}", largest, limit),
        ]
    )


def _after_exception(generator: torch.Generator, symmetric: bool, draws: int):
    """Flows and their tokens (15, 5, 4) at t = 80, behind x_1, -x_1 and an exceptional xi.

    Flows where the two largest eigenvalues of some M_4 or M_5 are within 0.3 are drawn again:
    there t = 80 is too early.
    """
    while draws:
        flow, x0 = behind_exception(generator, 4, 15, 5, symmetric)
        end = ends(hold(flow, 3), x0, 80, 1e-6)
        top = torch.linalg.eigvals(token_matrices(flow, end)[:, 3:]).real.topk(2).values
        if float((top[..., 0] - top[..., 1]).min()) > 0.3:
            draws -= 1
            yield flow, end


def remark_after(generator: torch.Generator, tie: bool) -> Evidence:
    """Remark B.12 for tokens after an exceptional one, S symmetric: +-x_1, or <x_l, S x_1> = 0."""
    if tie:
        flow, x0, limit = tied_attractors(generator, 50)
        runs = [(flow, ends(flow, x0, 60))]
        off = float((runs[0][1][:, 3] - limit).norm(dim=-1).max())
        numbers = {"off the predicted point between x_1 and xi by": off}
    else:
        runs, numbers = list(_after_exception(generator, symmetric=True, draws=4)), {}
    tokens = neither = 0
    for flow, end in runs:
        x1, later = end[0, 0], end[:, 3:]
        at = (distance_to_pair(later, x1) < AT) | (_form(flow, later, x1).abs() < AT)
        tokens += at.numel()
        neither += int((~at).sum())
    numbers["tokens after an exceptional one"] = tokens
    return Evidence(
        [equal("tokens neither at +-x_1 nor with <x_l, S x_1> = 0", neither, 0)], numbers
    )


def rest_after(generator: torch.Generator, with_xi: bool) -> Evidence:
    """Tokens after an exceptional one come to rest at eigenvectors of the M_l of the earlier ones,
    S any matrix. Control: of the M_l that leave the exceptional token out."""
    kept = [0, 1, 2, 3, 4] if with_xi else [0, 1, 3, 4]
    off, speed = [], []
    for symmetric in (True, False):
        for flow, end in _after_exception(generator, symmetric, draws=2):
            off.append(float(as_eigenvectors(flow, end[:, kept]).off[:, -2:].max()))
            speed.append(float(flow(end)[:, 3:].norm(dim=-1).max()))
    # The integration's own error at rtol = 1e-6.
    return Evidence(
        [below("largest distance of M_l x_l from a multiple of x_l", max(off), 1e-5)],
        {"flows": len(off), "tokens in each": 30, "largest speed of these tokens": max(speed)},
    )


def negative_form(generator: torch.Generator, leads: str) -> Evidence:
    """A negative form: the third token goes to +-xi, xi = lim x_2, where <xi, S xi> > 0, and
    otherwise to the line across S x_1 and S xi, D = 3. `leads`: the sign for which xi leads."""
    draws = 120
    drawn = [random_problem(generator, 3, -2.0, symmetric=False) for _ in range(draws)]
    S, alpha = torch.stack([p.S_BC for p, _ in drawn]), torch.stack([p.alpha for p, _ in drawn])
    x0 = random_tokens(draws, 3, 3, generator=generator)
    x0[:, 0] = torch.stack([x1 for _, x1 in drawn])
    x1, xi, last = ends(SharedStepFlow(S, alpha, 0.5), x0, 120, 1e-5).unbind(1)
    image = torch.einsum("nij,nkj->nki", S, torch.stack([x1, xi], 1))
    form = (xi * image[:, 1]).sum(-1)
    line = unit(torch.linalg.cross(image[:, 0], image[:, 1]))
    at_xi, at_line, at_x1 = ((last * goal).sum(-1).abs() > 0.99 for goal in (xi, line, x1))
    follows = torch.where((form if leads == "positive" else -form) > 0, at_xi, at_line)
    clear = form.abs() > 0.1  # nearer to zero t = 120 is too early
    share = float(follows[clear].double().mean())
    return Evidence(
        [at_least("share of third tokens where the sign says", share, 0.98)],
        {
            "draws": draws,
            "of them with the form above 0.1 in size": int(clear.sum()),
            "third tokens of all at +-xi": int(at_xi.sum()),
            "on the line across": int(at_line.sum()),
            "at +-x_1": int(at_x1.sum()),
        },
    )


def both_signs(generator: torch.Generator, stated: bool) -> Evidence:
    """Two tokens for gamma of both signs: stated, x_2 ends at +-x_1; corrected, the closed form."""
    missed, off, moved = 0, 0.0, 0.0
    for gamma in (2.0, -2.0):
        flow, x1 = random_problem(generator, 3, gamma, symmetric=False)
        x0 = tokens_behind(generator, x1, 60, 2)
        x = ends(flow, x0, 80, rtol=1e-8)
        missed += int((_away(x, x1) > AT).sum())
        off = max(off, float((x[:, 1] - second_limit(flow.S_BC, x1, x0[:, 1])).norm(dim=-1).max()))
        moved = max(moved, float((x[:, 0] - x1).norm(dim=-1).max()))
    if stated:
        return Evidence(
            [equal("of 120 starts, half with a negative form, not at +-x_1", missed, 0)]
        )
    # Starts near the points that separate leave them late.
    return Evidence(
        [
            below("second tokens off the closed form by", off, 1e-4),
            below("first token moved by", moved, 1e-12),
        ],
        {"starts, half with a negative form": 120, "not at +-x_1": missed},
    )


def zero(generator: torch.Generator, stated: bool) -> Evidence:
    """A form of zero: stated, exponential convergence to +-x_1; corrected, 1/t, its constant."""
    flow, x1 = random_problem(generator, 3, gamma=0.0)
    x0 = tokens_behind(generator, x1, 1, 2)[0]
    run = simulate(flow, x0, times(4000, 401), 1e-9, 1e-13)
    distance = (run.tokens[:, 1] - second_limit(flow.S_BC, x1, x0[1])).norm(dim=-1)
    constant = float(second_constant(flow, x1, x0[1]))
    early, late = distance[200] / distance[100], distance[400] / distance[300]
    stretches = "decay factor from t = 3000 to 4000, over that from 1000 to 2000"
    try:
        fit_exponential(run.times[1:], distance[1:])
        fits = 1
    except ValueError:
        fits = 0
    if stated:
        return Evidence(
            [
                equal("exponential fits of the distance, accepted of 1", fits, 1),
                # The same in every stretch of 1000, if the decay is exponential.
                between(stretches, float(late / early), 0.9, 1.1),
            ],
            {"distance at t = 4000": float(distance[-1])},
        )
    # Corrections are O(ln t / t) times the constant.
    ratio = float(run.times[-1] * distance[-1]) / constant
    return Evidence(
        [between("t times the distance, over its predicted limit", ratio, 0.95, 1.05)],
        {"predicted limit": constant, "exponential fits accepted": fits},
    )
