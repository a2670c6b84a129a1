"""Claims of section 3.1 and appendix B.1.2: Lemmas B.2-B.4, Theorem 3.2 (alignment)."""

import math

import sympy
import torch
from torch import Generator, Tensor
from torch.nn.functional import pad, softplus

from tokensphere.first_token import alignment, diagonal_limit, jacobian
from tokensphere.flow import FirstTokenFlow, random_tokens
from tokensphere.paper.checks import tools
from tokensphere.paper.ledger import Evidence, above, at_least, below, equal
from tokensphere.rates import fit_exponential


def _start(generator: Generator, count: int, dim: int, sign: int = 1) -> tuple[Tensor, Tensor]:
    """Random definite forms, (count, dim, dim), and first tokens, (count, dim)."""
    S_BC = alignment.definite_form(count, dim, generator, sign)
    return S_BC, random_tokens(count, dim, generator=generator)


def signs_stay(generator: Generator, turned: bool) -> Evidence:
    """Signs and zeros of y(t), Gaussian parameters; `turned`: of neighbours' differences."""
    changed, off_zero = 0, 0.0
    for dim in (1, 2, 3, 6):
        S_BC, S_Delta = 2 * tools.normal(generator, 2, 20, dim, dim)
        y0 = random_tokens(20, dim, generator=generator)
        if dim > 2:
            y0[:, 0] = 0.0
            y0 = tools.unit(y0)
        y = tools.first_tokens(S_BC, S_Delta, y0, tools.times(10, 101), 1e-6, 1e-9)
        value = y - y.roll(1, -1) if turned else y
        # A coordinate far below the tolerance may be integrated to a value of the wrong sign.
        moved = (value.sign() != value[0].sign()) & (y.abs() > 1e-7)
        changed += int(moved.any(0).sum())
        off_zero = max(off_zero, float(y.abs().where(y[0] == 0, 0.0).max()))
    criteria = [
        equal("coordinates that change their sign", changed, 0),
        equal("largest modulus of one that was zero", off_zero, 0.0),
    ]
    return Evidence(criteria, {"tokens": 80, "D": [1, 2, 3, 6]})


def order_stays(generator: Generator, steps: str, form: str) -> Evidence:
    """The order of the moduli, for S_Delta with columns sign(y_m(0)) e_m ("signed"), e_m
    ("unsigned") or "Gaussian"; and, for a "positive" `form`, not a "Gaussian" one, their ratios."""
    dim, count = 4, 30
    if form == "positive":
        S_BC = alignment.definite_form(count, dim, generator)
    else:
        S_BC = 2 * tools.normal(generator, count, dim, dim)
    y0 = random_tokens(count, dim, generator=generator)
    if steps == "Gaussian":
        S_Delta = 2 * tools.normal(generator, count, dim, dim)
    else:
        S_Delta = torch.diag_embed(y0.sign() if steps == "signed" else torch.ones_like(y0))
    size = tools.first_tokens(S_BC, S_Delta, y0, tools.times(4, 41), 1e-9, 1e-12).abs()
    one, other = size.unsqueeze(-1), size.unsqueeze(-2)
    larger = one[0] > other[0]  # each pair once
    broken = larger & (one - other < -1e-9).any(0)
    alike = larger & (y0.sign().unsqueeze(-1) == y0.sign().unsqueeze(-2))
    criteria = [
        equal("pairs of one sign whose order breaks", (broken & alike).sum(), 0),
        equal("pairs of opposite signs whose order breaks", (broken & ~alike).sum(), 0),
    ]
    if form == "positive":
        growth = (one / other).log().diff(dim=0)[:, larger].min()
        said = "smallest growth of the logarithm of a ratio in a step of 0.1"
        criteria.append(above(said, growth, 0.0))
    return Evidence(criteria, {"pairs": int(larger.sum()), "of one sign": int(alike.sum())})


def steps_are_those_of_moduli(generator: Generator, signed: bool) -> Evidence:
    """Eq (22) along trajectories, with S_Delta,i = sign(y_i(0)) e_i, or e_i if not `signed`."""
    S_BC, y0 = _start(generator, 20, 4)
    y0[0] = torch.tensor([0.6, -0.8, 0.0, 0.0], dtype=torch.float64)
    delta = torch.where(y0 < 0, -1.0, 1.0).double() if signed else torch.ones_like(y0)
    y = alignment.follow_diagonal(S_BC, delta, y0, tools.times(4, 41))
    steps = softplus(torch.einsum("tni,nij->tnj", y, torch.diag_embed(delta)))  # eq (20)
    off = (steps - torch.log1p(torch.exp(y.abs()))).abs().max()
    return Evidence([below("largest difference from eq (22)", off, 1e-12)], {"tokens": 20})


def _pairs(generator: Generator, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """|y_i| and |y_j|, (T, 12), of first tokens with 0 < y_j(0) < y_i(0) or, the second half,
    y_i(0) < y_j(0) < 0, D = 3; and the eigenvalues of their forms, (12, 3), ascending."""
    S_BC, y0 = _start(generator, 12, 3)
    y0[:, :2] = y0[:, :2].abs().sort(-1).values
    y0[6:] = -y0[6:]
    y = alignment.follow_diagonal(S_BC, y0.sign(), y0, at).abs()
    return y[..., 1], y[..., 0], alignment.form_eigenvalues(S_BC)


def smaller_vanishes(generator: Generator, ratio_to_one: bool) -> Evidence:
    """y_j -> 0 while y_i/y_j grows; or `ratio_to_one`, the lemma's other case, for every pair."""
    large, small, _ = _pairs(generator, tools.times(30, 601))
    ratio = large / small
    # The slowest rate is near ln((1+e)/2) = 0.6 times the least eigenvalue, which is 1 or more.
    criteria = [
        below("largest smaller coordinate at t = 30", small[-1].max(), 1e-3),
        above("least ratio at t = 30 by that at t = 0", (ratio[-1] / ratio[0]).min(), 1.0),
    ]
    if ratio_to_one:
        off = (ratio[-1] - 1).abs().max()
        criteria = [below("largest distance of a ratio at t = 30 from one", off, 0.1)]
    return Evidence(criteria, {"pairs": 12, "least ratio at t = 0": float(ratio[0].min())})


def _sharp() -> tuple[Tensor, Tensor]:
    """A form and a first token, near an eigenvector of the largest eigenvalue, whose two largest
    coordinates are nearly equal: their steps differ by nearly as much as they can."""
    S_BC = torch.tensor([[[2.0, 1, 0], [1, 2, 0], [0, 0, 1]]], dtype=torch.float64)
    return S_BC, tools.unit(torch.tensor([[0.95, 1.05, 0]], dtype=torch.float64))


def ratio_speed_is_between(
    generator: Generator, lower: float, upper: float = 1 / (1 + math.exp(-1 / math.sqrt(2)))
) -> Evidence:
    """lower * l_m (y_i - y_j) <= d/dt ln(y_i/y_j) <= upper * l_M (y_i - y_j) at random points, and
    at one where the upper bound is sharp to 1%."""
    S_BC, y = _start(generator, 4000, 3)
    y[:, :2] = y[:, :2].abs().sort(-1).values
    S_BC[:1], y[:1] = _sharp()
    field = FirstTokenFlow(S_BC, torch.diag_embed(y.sign()))(y.unsqueeze(1))[:, 0]
    speed = field[:, 1] / y[:, 1] - field[:, 0] / y[:, 0]
    values = alignment.form_eigenvalues(S_BC)
    gap, c = y[:, 1] - y[:, 0], y[:, 1] / y[:, 0]
    # Divided by y_j, which may be small, rounding is far below 1e-9 except within 1e-6 of zero.
    kept = y[:, 0] > 1e-5
    over = (speed - lower * values[:, 0] * gap)[kept]
    under = (upper * values[:, -1] * gap - speed)[kept]
    second = (y[:, 0] * (c**2 - c) / (c * gap) - 1)[kept & (c > 1.001)]  # 0/0 at c = 1
    criteria = [
        above("least excess over the lower bound", over.min(), -1e-9),
        above("least distance below the upper bound", under.min(), -1e-9),
        below("largest relative gap of the two forms", second.abs().max(), 1e-10),
    ]
    below_it = int((over < -1e-9).sum())
    return Evidence(criteria, {"points": int(kept.sum()), "below the lower bound": below_it})


def bound_of_ratio(generator: Generator, sign: int, upper: float) -> Evidence:
    """c0/(c0-1) exp(sign upper l_M int y_j) <= c/(c-1) for t > 0, c = y_i/y_j, along trajectories;
    the last one begins where the upper bound of :func:`ratio_speed_is_between` is sharp."""
    at = tools.times(10, 2001)
    large, small, values = _pairs(generator, at)
    S_BC, y0 = _sharp()
    y = alignment.follow_diagonal(S_BC, y0.sign(), y0, at)
    large, small = torch.cat([large, y[..., 1]], 1), torch.cat([small, y[..., 0]], 1)
    values = upper * torch.cat([values, alignment.form_eigenvalues(S_BC)])
    c = large / small
    start, right = c[0] / (c[0] - 1), c / (c - 1)
    area = values[:, -1] * pad(torch.cumulative_trapezoid(small, at, dim=0), (0, 0, 1, 0))
    left = start * torch.exp(sign * area)
    # The trapezoidal rule errs by 1e-5 at this step.
    excess = (left / right - 1)[1:]
    # z solves z' = l_M y_j (z^2 - z): it ends where z/(z-1) = c0/(c0-1) exp(-l_M int) meets 1.
    ended = (start * torch.exp(-area) <= 1).any(0)
    numbers = {
        "pairs": 13,
        "violated at every t in [1, 10] for": int((excess[200:] > 1e-4).all(0).sum()),
        "pairs whose z has blown up by t = 10": int(ended.sum()),
    }
    said = "largest left side by right side, less one"
    return Evidence([below(said, excess.max(), 1e-4)], numbers)


def solution_of_bound(generator: Generator, sign: int) -> Evidence:
    """z with exp(sign l_M int y_j) solves z' = l_M y_j (z^2 - z), z(0) = c(0); sympy, exactly."""
    t, rate, c0 = sympy.symbols("t lambda_M c_0", positive=True)
    integral = sympy.Function("I")(t)  # int_0^t y_j
    front = c0 / (c0 - 1) * sympy.exp(sign * rate * integral)
    z = front / (front - 1)
    right = rate * integral.diff(t) * (z**2 - z)
    residual, opposite = (sympy.simplify(z.diff(t) - s * right) for s in (1, -1))
    criteria = [
        equal("residual of the equation for z", str(residual), "0"),
        equal("z(0) less c(0)", str(sympy.simplify(z.subs(integral, 0) - c0)), "0"),
    ]
    return Evidence(criteria, {"residual of the equation with the other sign": str(opposite)})


def largest_modulus_is_extreme(generator: Generator, negative: bool) -> Evidence:
    """Eq (24): the coordinate of largest modulus is the least negative or the largest positive."""
    y = random_tokens(2000, 5, generator=generator)
    top = y.gather(-1, y.abs().argmax(-1, keepdim=True))[:, 0]
    found = (top == y.amax(-1)) & (top > 0)
    if negative:
        found |= (top == y.amin(-1)) & (top < 0)
    return Evidence([equal("vectors for which it is", found.sum(), len(y))])


def equal_moduli_at_rest(generator: Generator, counts: list[int]) -> Evidence:
    """Points with k entries +-1/sqrt(k) and no others, D = 5, are equilibria for the k in `counts`
    only; and what the eigenvalues there are."""
    dim, resting, differences, along_ties = 5, [], [], []
    S_BC = alignment.definite_form(1, dim, generator)[0]
    sign = torch.tensor([1.0, -1.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    S_Delta = torch.diag(sign)
    for k in range(1, dim + 1):
        point = sign * (torch.arange(dim) < k) / math.sqrt(k)
        if float(FirstTokenFlow(S_BC, S_Delta)(point[None]).norm()) < 1e-13:
            resting.append(k)
        along, across = alignment.equal_moduli_eigenvalues(float(point @ S_BC @ point), k)
        along_ties += [along] * (k > 1)
        expected = torch.tensor([across] * (dim - k) + [along] * (k - 1), dtype=torch.float64)
        found = torch.linalg.eigvals(jacobian(S_BC, S_Delta, point)).real.sort().values
        differences.append(float((found - expected).abs().max()))
    criteria = [
        equal("numbers of nonzero entries at rest", resting, counts),
        above("least eigenvalue along a tie", min(along_ties), 0.0),
        below("largest difference of an eigenvalue", max(differences), 1e-12),
    ]
    return Evidence(criteria, {"eigenvalues along the tie, k = 2, 3, 4, 5": along_ties})


def largest_wins(generator: Generator, entries: list[int], ties: bool) -> Evidence:
    """Limits under Theorem 3.2 of y(0) proportional to `entries`, where the largest modulus is
    tied, and of random tokens where it leads by 10% or more: sign(y_d(0)) e_d for any such d, or,
    if `ties`, the point to which the tied ones stay equal."""
    tied = tools.unit(torch.tensor([entries], dtype=torch.float64))
    others = random_tokens(60, len(entries), generator=generator)
    second, first = others.abs().sort(-1).values[:, -2:].unbind(-1)
    y0 = torch.cat([tied, others[second < 0.9 * first]])
    S_BC = alignment.definite_form(len(y0), len(entries), generator)
    end = alignment.follow_diagonal(S_BC, y0.sign(), y0, tools.times(40, 2))[-1]
    if ties:
        off = (end - diagonal_limit(S_BC, y0.sign(), y0)[0]).norm(dim=-1)
    else:
        off = torch.cdist(end[:, None], torch.diag_embed(y0.sign()))[:, 0]
        off = off.where(y0.abs() == y0.abs().amax(-1, keepdim=True), math.inf).amin(-1)
    # r/(1-r) is 9 or less, and falls at 0.25 or faster: e^{-10} at t = 40.
    criteria = [
        below("distance at t = 40 from the limit as said, tie", off[0], 1e-3),
        below("largest such distance, no tie", off[1:].max(), 1e-3),
    ]
    tied = (end[0].round(decimals=4) + 0.0).tolist()
    others = len(y0) - 1
    numbers = {"tie, times a factor": entries, "y(40) from it": tied, "tokens without": others}
    return Evidence(criteria, numbers)


def ratios_obey_bound(generator: Generator) -> Evidence:
    """rho_i(t) <= rho_i(0) exp(-kappa t) along trajectories, and kappa is not below what the
    largest of D coordinates guarantees."""
    worst, least = -math.inf, math.inf
    for dim in (2, 3, 6):
        S_BC, y0 = _start(generator, 30, dim)
        at = tools.times(15, 61)
        y = alignment.follow_diagonal(S_BC, y0.sign(), y0, at)
        worst = max(worst, float(alignment.above_explicit_bound(S_BC, y, at)[1:].max()))
        guaranteed = alignment.form_eigenvalues(S_BC)[:, 0] / (2 * math.sqrt(dim))
        least = min(least, float((alignment.explicit_bound(S_BC, y0)[1] / guaranteed).min()))
    criteria = [
        below("largest logarithm of rho by its bound", worst, 1e-6),
        at_least("least kappa by lambda_min / (2 sqrt(D))", least, 1.0),
    ]
    return Evidence(criteria, {"trajectories": 90, "D": [2, 3, 6]})


def _rates(at: Tensor, distance: Tensor, floor: float) -> Tensor:
    """The exponential rates of distances (T, n), (n,)."""
    fits = [fit_exponential(at, curve, floor=floor).rate for curve in distance.mT]
    return torch.tensor(fits, dtype=torch.float64)


def rate_is(generator: Generator, said: str) -> Evidence:
    """Fitted rates under Theorem 3.2 against the "predicted" ones, or "half the least
    eigenvalue" of the form."""
    quotients = []
    for dim in (2, 3, 5):
        S_BC, y0 = _start(generator, 4, dim)
        limit, rate = diagonal_limit(S_BC, y0.sign(), y0)
        if said == "half the least eigenvalue":
            rate = alignment.form_eigenvalues(S_BC)[:, 0] / 2
        at = tools.times(40, 201)
        y = alignment.follow_diagonal(S_BC, y0.sign(), y0, at, atol=1e-14)
        # Below 1e-12 steps are chosen for stability, and the decay is the integrator's.
        quotients.append(_rates(at, (y - limit).norm(dim=-1), floor=1e-12) / rate)
    quotients = torch.cat(quotients)
    off = (quotients - 1).abs().max()
    return Evidence(
        [below("largest relative difference from the rate as said", off, 1e-3)],
        {"runs": len(quotients), "least fitted rate by that as said": float(quotients.min())},
    )


def columns_select(generator: Generator, dependent: bool) -> Evidence:
    """The largest modulus wins for the independent columns -sign(y_m(0)) e_m of S_Delta; or, if
    `dependent`, for the columns sign(y_m(0)) e_m with a common vector added that makes them so."""
    dim, count = 3, 40
    S_BC, y0 = _start(generator, count, dim)
    S_Delta = -torch.diag_embed(y0.sign())
    if dependent:
        S_Delta = torch.diag_embed(y0.sign()) - y0.sign().unsqueeze(-1) / dim
    end = tools.first_tokens(S_BC, S_Delta, y0, tools.times(150, 2), 1e-8, 1e-11)[-1]
    at = ((end * alignment.largest_coordinate(y0)).sum(-1) > 0.95).sum()
    ranks = torch.linalg.matrix_rank(S_Delta).unique()
    criteria = [
        equal("tokens at the coordinate of largest modulus", at, count),
        equal("ranks of S_Delta", ranks, [2 if dependent else 3]),
    ]
    spread = float((end.abs() - dim**-0.5).abs().max())
    return Evidence(criteria, {"farthest of a modulus at the end from 1/sqrt(3)": spread})


def fixed_diagonal(generator: Generator, said: str) -> Evidence:
    """S_Delta does not depend on y(0): the limit for S_Delta = I is of "largest modulus"; or, for I
    and for Gaussian diagonals, that of :func:`diagonal_limit`, "predicted"."""
    S_BC, y0 = _start(generator, 90, 3)
    y0[0] = torch.tensor([-2.0, -2.0, -1.0], dtype=torch.float64) / 3
    draws = tools.normal(generator, 30, 3)
    delta = torch.cat([torch.ones_like(y0[:60]), draws.sign() * (0.5 + draws.abs())])
    end = alignment.follow_diagonal(S_BC, delta, y0, tools.times(150, 2), 1e-8, 1e-11)[-1]
    # Two leading steps may start close together: e^{-150 rate} is then not the whole story.
    by_modulus = (end - alignment.largest_coordinate(y0)).norm(dim=-1) > 0.05
    predicted = (end - diagonal_limit(S_BC, delta, y0)[0]).norm(dim=-1) > 0.05
    elsewhere = by_modulus if said == "largest modulus" else predicted
    criteria = [equal("ends elsewhere than said, of 60, S_Delta = I", elsewhere[:60].sum(), 0)]
    if said == "predicted":
        found = elsewhere[60:].sum()
        criteria.append(equal("ends elsewhere than said, of 30, Gaussian diagonal", found, 0))
    numbers = {
        "not at the coordinate of largest modulus, of 90": int(by_modulus.sum()),
        "without a zero coordinate": int((end.abs().amin(-1) > 0.05).sum()),
    }
    return Evidence(criteria, numbers)


def negative_form(generator: Generator, said: str) -> Evidence:
    """Limit and rate for a negative definite form and S_Delta of Theorem 3.2: the limit is that of
    :func:`diagonal_limit`, "predicted", or the "largest modulus"."""
    S_BC, y0 = _start(generator, 12, 4, sign=-1)
    y0[:4, 0] = 0.0
    y0 = tools.unit(y0)
    at = tools.times(80, 641)
    y = alignment.follow_diagonal(S_BC, y0.sign(), y0, at, 1e-10, 1e-14)
    limit, rate = diagonal_limit(S_BC, y0.sign(), y0)
    off = (_rates(at, (y - limit).norm(dim=-1), floor=1e-9) / rate - 1).abs().max()
    goal = alignment.largest_coordinate(y0) if said == "largest modulus" else limit
    far = (y[-1] - goal).norm(dim=-1).max()
    criteria = [
        below("largest distance at t = 80 from the limit as said", far, 1e-6),
        below("largest relative error of the rate to equal moduli", off, 1e-3),
    ]
    return Evidence(criteria, {"tokens": 12, "tokens with a zero coordinate": 4})
