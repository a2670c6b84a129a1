"""Claims of section 3.1 and appendix B.1.2: Lemmas B.2-B.4, Theorem 3.2 (alignment)."""

import math

import sympy
import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.first_token import diagonal_limit, jacobian
from tokensphere.first_token.alignment import (
    above_explicit_bound,
    definite_form,
    equal_moduli_eigenvalues,
    follow_diagonal,
    form_eigenvalues,
    largest_coordinate,
    ratios_to_largest,
)
from tokensphere.flow import FirstTokenFlow, random_tokens, simulate
from tokensphere.paper.checks.tools import ends, times
from tokensphere.paper.ledger import Evidence, above, below, equal
from tokensphere.rates import fit_exponential


def _start(
    generator: torch.Generator, count: int, dim: int, sign: int = 1
) -> tuple[Tensor, Tensor]:
    """Random definite forms, (count, dim, dim), and first tokens, (count, dim)."""
    S_BC = definite_form(count, dim, generator, sign)
    return S_BC, random_tokens(count, dim, generator=generator)


def signs_stay(generator: torch.Generator, turned: bool) -> Evidence:
    """sign y_i(t) = sign y_i(0), zeros included, for Gaussian parameters.

    `turned`: the same of the differences of neighbouring coordinates.
    """
    changed, tokens, off_zero = 0, 0, 0.0
    for dim in (1, 2, 3, 6):
        S_BC, S_Delta = 2 * torch.randn(2, 20, dim, dim, generator=generator, dtype=torch.float64)
        y0 = random_tokens(20, 1, dim, generator=generator)
        if dim > 2:
            y0[:, :, 0] = 0.0
            y0 = y0 / y0.norm(dim=-1, keepdim=True)
        y = simulate(FirstTokenFlow(S_BC, S_Delta), y0, times(10, 101), rtol=1e-6, atol=1e-9).tokens
        value = y - y.roll(1, -1) if turned else y
        # A coordinate far below the tolerance may be integrated to a value of the wrong sign.
        moved = (value.sign() != value[0].sign()) & (y.abs() > 1e-7)
        changed += int(moved.any(0).sum())
        off_zero = max(off_zero, float(y.abs().where(y[0] == 0, 0.0).max()))
        tokens += len(y0)
    return Evidence(
        [
            equal("coordinates that change their sign", changed, 0),
            equal("largest modulus of one that was zero", off_zero, 0.0),
        ],
        {"tokens": tokens, "D": [1, 2, 3, 6]},
    )


def order_stays(generator: torch.Generator, steps: str, form: str) -> Evidence:
    """The order of the moduli is kept, and with a positive definite form their ratios grow.

    `steps`: columns of S_Delta are "signed", sign(y_m(0)) e_m; or "unsigned", e_m; or "Gaussian".
    `form`: "positive", or "Gaussian", where ratios need not grow.
    """
    dim, count = 4, 30
    if form == "positive":
        S_BC = definite_form(count, dim, generator)
    else:
        S_BC = 2 * torch.randn(count, dim, dim, generator=generator, dtype=torch.float64)
    y0 = random_tokens(count, dim, generator=generator)
    S_Delta = torch.diag_embed(y0.sign() if steps == "signed" else torch.ones_like(y0))
    if steps == "Gaussian":
        S_Delta = 2 * torch.randn(count, dim, dim, generator=generator, dtype=torch.float64)
    run = simulate(FirstTokenFlow(S_BC, S_Delta), y0.unsqueeze(1), times(4, 41), 1e-9, 1e-12)
    size = run.tokens[:, :, 0].abs()
    order = size[0].argsort(-1)
    signs = y0.sign().gather(-1, order)
    sizes = size.gather(-1, order.expand_as(size))
    low, high = torch.triu_indices(dim, dim, 1)
    broken = ((sizes[..., high] - sizes[..., low]) < -1e-9).any(0)
    alike = signs[:, low] == signs[:, high]
    growth = float((sizes[..., 1:] / sizes[..., :-1]).log().diff(dim=0).min())
    said = "smallest growth of the logarithm of a ratio in a step of 0.1"
    criteria = [
        equal("pairs of one sign whose order breaks", int((broken & alike).sum()), 0),
        equal("pairs of opposite signs whose order breaks", int((broken & ~alike).sum()), 0),
    ]
    numbers = {"pairs of one sign": int(alike.sum()), "of opposite signs": int((~alike).sum())}
    if form == "positive":
        return Evidence([*criteria, above(said, growth, 0.0)], numbers)
    return Evidence(criteria, numbers | {said: growth})


def steps_are_those_of_moduli(generator: torch.Generator, signed: bool) -> Evidence:
    """Eq (22) along trajectories, with S_Delta,i = sign(y_i(0)) e_i, or e_i if not `signed`."""
    dim, count = 4, 20
    S_BC, y0 = _start(generator, count, dim)
    y0[0] = torch.tensor([0.6, -0.8, 0.0, 0.0], dtype=torch.float64)
    delta = torch.where(y0 < 0, -1.0, 1.0).double() if signed else torch.ones_like(y0)
    y = follow_diagonal(S_BC, delta, y0, times(4, 41))
    steps = softplus(torch.einsum("tni,nij->tnj", y, torch.diag_embed(delta)))  # eq (20)
    off = float((steps - torch.log1p(torch.exp(y.abs()))).abs().max())
    return Evidence([below("largest difference from eq (22)", off, 1e-12)], {"tokens": count})


def _pairs(generator: torch.Generator, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """|y_i| and |y_j|, (T, 12), of first tokens with 0 < y_j(0) < y_i(0) or, the second half,
    y_i(0) < y_j(0) < 0, D = 3; and the eigenvalues of their forms, (12, 3), ascending."""
    S_BC, y0 = _start(generator, 12, 3)
    y0[:, :2] = y0[:, :2].abs().sort(-1).values
    y0[6:] = -y0[6:]
    y = follow_diagonal(S_BC, y0.sign(), y0, at).abs()
    return y[..., 1], y[..., 0], form_eigenvalues(S_BC)


def smaller_vanishes(generator: torch.Generator, ratio_to_one: bool) -> Evidence:
    """y_j -> 0 while y_i/y_j grows; or `ratio_to_one`, the lemma's other case, for every pair."""
    large, small, _ = _pairs(generator, times(30, 601))
    ratio = large / small
    if ratio_to_one:
        off = float((ratio[-1] - 1).abs().max())
        criteria = [below("largest distance of a ratio at t = 30 from one", off, 0.1)]
    else:
        growth = float((ratio[-1] / ratio[0]).min())
        # The slowest rate is near ln((1+e)/2) = 0.6 times the least eigenvalue, which is 1 or more.
        criteria = [
            below("largest smaller coordinate at t = 30", float(small[-1].max()), 1e-3),
            above("least ratio at t = 30 by that at t = 0", growth, 1.0),
        ]
    return Evidence(
        criteria, {"pairs": len(small[0]), "least ratio at t = 0": float(ratio[0].min())}
    )


def ratio_speed_is_between(generator: torch.Generator, lower: float) -> Evidence:
    """lower * l_m (y_i - y_j) <= d/dt ln(y_i/y_j) <= l_M (y_i - y_j) at random points."""
    S_BC, y = _start(generator, 4000, 3)
    y[:, :2] = y[:, :2].abs().sort(-1).values
    field = FirstTokenFlow(S_BC, torch.diag_embed(y.sign()))(y.unsqueeze(1))[:, 0]
    speed = field[:, 1] / y[:, 1] - field[:, 0] / y[:, 0]
    values = form_eigenvalues(S_BC)
    gap, c = y[:, 1] - y[:, 0], y[:, 1] / y[:, 0]
    # Divided by y_j, which may be small, rounding is far below 1e-9 except within 1e-6 of zero.
    kept = y[:, 0] > 1e-5
    over = (speed - lower * values[:, 0] * gap)[kept]
    under = (values[:, -1] * gap - speed)[kept]
    second = (y[:, 0] * (c**2 - c) / (c * gap) - 1)[kept & (c > 1.001)]  # 0/0 at c = 1
    return Evidence(
        [
            above("least excess over the lower bound", float(over.min()), -1e-9),
            above("least distance below the upper bound", float(under.min()), -1e-9),
            below("largest relative gap of the two forms", float(second.abs().max()), 1e-10),
        ],
        {
            "factor of the lower bound": lower,
            "points": int(kept.sum()),
            "below the lower bound": int((over < -1e-9).sum()),
        },
    )


def bound_of_ratio(generator: torch.Generator, sign: int) -> Evidence:
    """c0/(c0-1) exp(sign l_M int y_j) <= c/(c-1) for t > 0, c = y_i/y_j, along trajectories."""
    at = times(10, 2001)
    large, small, values = _pairs(generator, at)
    c = large / small
    area = torch.cumulative_trapezoid(small, at, dim=0)
    area = torch.cat([torch.zeros_like(area[:1]), area])
    start = c[0] / (c[0] - 1)
    left = start * torch.exp(sign * values[:, -1] * area)
    right = c / (c - 1)
    # The trapezoidal rule errs by 1e-5 at this step; the excess is of order one soon.
    excess = (left / right - 1)[200:]
    # z solves z' = l_M y_j (z^2 - z): it ends where z/(z-1) = c0/(c0-1) exp(-l_M int) meets 1.
    ended = (start * torch.exp(-values[:, -1] * area) <= 1).any(0)
    return Evidence(
        [below("largest left side by right side, less one", float(excess.max()), 1e-4)],
        {
            "pairs": c.shape[1],
            "violated at every t in [1, 10] for": int((excess > 1e-4).all(0).sum()),
            "first pair at t = 10, left side": float(left[-1, 0]),
            "right side": float(right[-1, 0]),
            "pairs whose z has blown up by t = 10": int(ended.sum()),
        },
    )


def solution_of_bound(generator: torch.Generator, sign: int) -> Evidence:
    """z with exp(sign l_M int y_j) solves z' = l_M y_j (z^2 - z), z(0) = c(0); sympy, exactly."""
    t, rate, c0 = sympy.symbols("t lambda_M c_0", positive=True)
    integral = sympy.Function("I")(t)  # int_0^t y_j
    front = c0 / (c0 - 1) * sympy.exp(sign * rate * integral)
    z = front / (front - 1)
    right = rate * integral.diff(t) * (z**2 - z)
    residual, opposite = (sympy.simplify(z.diff(t) - s * right) for s in (1, -1))
    return Evidence(
        [
            equal("residual of the equation for z", str(residual), "0"),
            equal("z(0) less c(0)", str(sympy.simplify(z.subs(integral, 0) - c0)), "0"),
        ],
        {"residual of the equation with the other sign": str(opposite)},
    )


def largest_modulus_is_extreme(generator: torch.Generator, negative: bool) -> Evidence:
    """Eq (24): the coordinate of largest modulus is the least negative or the largest positive."""
    y = random_tokens(2000, 5, generator=generator)
    top = y.gather(-1, y.abs().argmax(-1, keepdim=True))[:, 0]
    found = (top == y.amax(-1)) & (top > 0)
    if negative:
        found |= (top == y.amin(-1)) & (top < 0)
    return Evidence([equal("vectors for which it is", int(found.sum()), len(y))])


def equal_moduli_at_rest(generator: torch.Generator, counts: list[int]) -> Evidence:
    """Points with k entries +-1/sqrt(k) and no others, D = 5, are equilibria for the k in `counts`
    only; and what the eigenvalues there are."""
    dim, resting, differences, along_ties = 5, [], [], []
    S_BC = definite_form(1, dim, generator)[0]
    sign = torch.tensor([1.0, -1.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    S_Delta = torch.diag(sign)
    for k in range(1, dim + 1):
        point = sign * (torch.arange(dim) < k) / math.sqrt(k)
        if float(FirstTokenFlow(S_BC, S_Delta)(point[None]).norm()) < 1e-13:
            resting.append(k)
        along, across = equal_moduli_eigenvalues(float(point @ S_BC @ point), k)
        along_ties += [along] * (k > 1)
        expected = torch.tensor([across] * (dim - k) + [along] * (k - 1), dtype=torch.float64)
        found = torch.linalg.eigvals(jacobian(S_BC, S_Delta, point)).real.sort().values
        differences.append(float((found - expected).abs().max()))
    return Evidence(
        [
            equal("numbers of nonzero entries at rest", resting, counts),
            above("least eigenvalue along a tie", min(along_ties), 0.0),
            below("largest difference of an eigenvalue", max(differences), 1e-12),
        ],
        {"eigenvalues along the tie, k = 2, 3, 4, 5": along_ties},
    )


def largest_wins(generator: torch.Generator, entries: list[int], ties: bool) -> Evidence:
    """Limits under Theorem 3.2 of y(0) proportional to `entries`, where the largest modulus is
    tied, and of random tokens where it leads by 10% or more: sign(y_d(0)) e_d for any such d, or,
    if `ties`, the point to which the tied ones stay equal."""
    tied = torch.tensor([entries], dtype=torch.float64)
    y0 = torch.cat([tied / tied.norm(), random_tokens(60, len(entries), generator=generator)])
    modulus = y0.abs().sort(-1).values
    leads = modulus[:, -2] < 0.9 * modulus[:, -1]
    y0 = torch.cat([y0[:1], y0[1:][leads[1:]]])
    S_BC = definite_form(len(y0), len(entries), generator)
    end = follow_diagonal(S_BC, y0.sign(), y0, times(40, 2))[-1]
    if ties:
        off = (end - diagonal_limit(S_BC, y0.sign(), y0)[0]).norm(dim=-1)
    else:
        off = torch.cdist(end[:, None], torch.diag_embed(y0.sign()))[:, 0]
        off = off.where(y0.abs() == y0.abs().amax(-1, keepdim=True), math.inf).amin(-1)
    # r/(1-r) is 9 or less, and falls at 0.25 or faster: e^{-10} at t = 40.
    return Evidence(
        [
            below("distance at t = 40 from the limit as said, tie", float(off[0]), 1e-3),
            below("largest such distance, no tie", float(off[1:].max()), 1e-3),
        ],
        {
            "y(0) with the tie, times a factor": entries,
            "y(40)": [round(float(value), 4) + 0.0 for value in end[0]],
            "tokens without a tie": len(y0) - 1,
        },
    )


def ratios_obey_bound(generator: torch.Generator) -> Evidence:
    """rho_i(t) <= rho_i(0) exp(-kappa t), and a cruder bound for r_i, along trajectories."""
    worst, cruder = -math.inf, -math.inf
    for dim in (2, 3, 6):
        S_BC, y0 = _start(generator, 30, dim)
        at = times(15, 61)
        y = follow_diagonal(S_BC, y0.sign(), y0, at)
        excess = above_explicit_bound(S_BC, y, at)
        ratio, least = ratios_to_largest(y), form_eigenvalues(S_BC)[:, :1]
        slope = least * (1 - ratio[0]) / (2 * math.sqrt(dim))
        crude = (ratio / ratio[0]).log() + slope * at[:, None, None]
        crude = crude.where(excess > -math.inf, -math.inf)
        worst = max(worst, float(excess[1:].max()))
        cruder = max(cruder, float(crude[1:].max()))
    return Evidence(
        [
            below("largest logarithm of rho by its bound", worst, 1e-6),
            below("largest logarithm of r by the cruder bound", cruder, 1e-6),
        ],
        {"trajectories": 90, "D": [2, 3, 6]},
    )


def rate_is(generator: torch.Generator, said: str) -> Evidence:
    """Fitted rates under Theorem 3.2 against the "predicted" ones, or "half the least
    eigenvalue" of the form."""
    quotients = []
    for dim in (2, 3, 5):
        S_BC, y0 = _start(generator, 4, dim)
        limit, rate = diagonal_limit(S_BC, y0.sign(), y0)
        if said == "half the least eigenvalue":
            rate = form_eigenvalues(S_BC)[:, 0] / 2
        at = times(40, 201)
        distance = (follow_diagonal(S_BC, y0.sign(), y0, at, atol=1e-14) - limit).norm(dim=-1)
        for curve, value in zip(distance.mT, rate.tolist(), strict=True):
            # Below 1e-12 steps are chosen for stability, and the decay is the integrator's.
            quotients.append(fit_exponential(at, curve, floor=1e-12).rate / value)
    off = max(abs(quotient - 1) for quotient in quotients)
    return Evidence(
        [below("largest relative difference from the rate as said", off, 1e-3)],
        {"runs": len(quotients), "least fitted rate by that as said": min(quotients)},
    )


def columns_select(generator: torch.Generator, dependent: bool) -> Evidence:
    """The largest modulus wins for the independent columns -sign(y_m(0)) e_m of S_Delta; or, if
    `dependent`, for the columns sign(y_m(0)) e_m with a common vector added that makes them so."""
    dim, count = 3, 40
    S_BC, y0 = _start(generator, count, dim)
    S_Delta = -torch.diag_embed(y0.sign())
    if dependent:
        S_Delta = torch.diag_embed(y0.sign()) - y0.sign().unsqueeze(-1) / dim
    end = ends(FirstTokenFlow(S_BC, S_Delta), y0.unsqueeze(1), 150, 1e-8)[:, 0]
    at = int(((end * largest_coordinate(y0)).sum(-1) > 0.95).sum())
    spread = float((end.abs() - dim**-0.5).abs().max())
    rank = torch.linalg.matrix_rank(S_Delta)
    return Evidence(
        [
            equal("tokens at the coordinate of largest modulus", at, count),
            equal("ranks of S_Delta", sorted(set(rank.tolist())), [2 if dependent else 3]),
        ],
        {"farthest of a modulus at the end from 1/sqrt(3)": spread},
    )


def fixed_diagonal(generator: torch.Generator, said: str) -> Evidence:
    """S_Delta does not depend on y(0): the limit for S_Delta = I is of "largest modulus"; or, for I
    and for Gaussian diagonals, that of :func:`diagonal_limit`, "predicted"."""
    dim, count = 3, 90
    S_BC, y0 = _start(generator, count, dim)
    y0[0] = torch.tensor([-2.0, -2.0, -1.0], dtype=torch.float64) / 3
    draws = torch.randn(30, dim, generator=generator, dtype=torch.float64)
    delta = torch.cat([torch.ones_like(y0[:60]), draws.sign() * (0.5 + draws.abs())])
    end = follow_diagonal(S_BC, delta, y0, times(150, 2), 1e-8, 1e-11)[-1]
    limit, rate = diagonal_limit(S_BC, delta, y0)
    # Two leading steps may start close together: e^{-150 rate} is then not the whole story.
    by_modulus = (end - largest_coordinate(y0)).norm(dim=-1) > 0.05
    elsewhere = by_modulus if said == "largest modulus" else (end - limit).norm(dim=-1) > 0.05
    criteria = [equal("ends elsewhere than said, of 60, S_Delta = I", int(elsewhere[:60].sum()), 0)]
    if said == "predicted":
        found = int(elsewhere[60:].sum())
        criteria.append(equal("ends elsewhere than said, of 30, Gaussian diagonal", found, 0))
    return Evidence(
        criteria,
        {
            "not at the coordinate of largest modulus, of 90": int(by_modulus.sum()),
            "without a zero coordinate": int((end.abs().amin(-1) > 0.05).sum()),
            "slowest rate": float(rate.min()),
        },
    )


def negative_form(generator: torch.Generator, said: str) -> Evidence:
    """Limit and rate for a negative definite form and S_Delta of Theorem 3.2.

    `said`: the limit is that of :func:`diagonal_limit`, or the "largest modulus".
    """
    dim, count = 4, 12
    S_BC, y0 = _start(generator, count, dim, sign=-1)
    y0[:4, 0] = 0.0
    y0 = y0 / y0.norm(dim=-1, keepdim=True)
    at = times(80, 641)
    y = follow_diagonal(S_BC, y0.sign(), y0, at, 1e-10, 1e-14)
    limit, rate = diagonal_limit(S_BC, y0.sign(), y0)
    fits = [fit_exponential(at, curve, floor=1e-9).rate for curve in (y - limit).norm(dim=-1).mT]
    off = float((torch.tensor(fits, dtype=torch.float64) / rate - 1).abs().max())
    goal = largest_coordinate(y0) if said == "largest modulus" else limit
    far = (y[-1] - goal).norm(dim=-1)
    return Evidence(
        [
            below("largest distance at t = 80 from the limit as said", float(far.max()), 1e-6),
            below("largest relative error of the rate to equal moduli", off, 1e-3),
        ],
        {"tokens": count, "tokens with a zero coordinate": 4},
    )
