"""Claims of section 3.2 and appendix B.2, for eq (6) without assumption (10)."""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.flow import MambaFlow, SharedStepFlow, random_tokens
from tokensphere.other_tokens import consensus_spectrum, tangent_jacobian, vertex_rates, vertices
from tokensphere.other_tokens.basins import distance_to_pair
from tokensphere.other_tokens.census import census, count_clusters, random_sign_steps
from tokensphere.paper import survey
from tokensphere.paper.checks.tools import ends, largest, normal, uniform
from tokensphere.paper.ledger import Evidence, above, at_least, at_most, below, between, equal
from tokensphere.rates import fit_exponential

EYE = torch.eye(3, dtype=torch.float64)

LONG = 500.0
"""Under (10) tokens come together at the rate Delta e^{-a Delta}, which can be 0.1."""


def _gaussian(generator: torch.Generator, dim: int, count: int) -> MambaFlow:
    return MambaFlow(*survey.draw("Gaussian", dim, count, generator))


def _rates(generator: torch.Generator, dim: int, low: float, high: float) -> Tensor:
    return low + (high - low) * uniform(generator, dim)


def most_join(generator: torch.Generator, low: float, high: float) -> Evidence:
    """More than half of the later tokens join under Theorem 3.2's steps, S_BC = I, a in a range."""
    mean, error = census(*random_sign_steps(30, 4, 8, generator, (low, high))).share_that_joins()
    share = above("mean share that joins, less two standard errors", mean - 2 * error, 0.5)
    return Evidence([share], {"mean share": mean, "sequences": 30, "D": 4, "L": 8})


def arrangements_attract(generator: torch.Generator) -> Evidence:
    """Tokens at the vectors e_d, S_BC = S_Delta = I: the thresholds of the rates; parameters near
    these; and the joining for rates below the thresholds."""
    length, ones = 5, torch.ones(5)
    low, high = vertices.separation_rates()

    def arrangement() -> Tensor:
        """Random, the second vertex not the first."""
        drawn = torch.randint(3, (length,), generator=generator)
        drawn[1] = (drawn[0] + 1) % 3
        return drawn

    def top(least: float, most: float, at: Tensor) -> float:
        flow = MambaFlow(EYE, EYE, _rates(generator, 3, least, most))
        return float(vertices.vertex_spectrum(flow, at, ones).real.max())

    drawn = [arrangement() for _ in range(12)]
    slow = [top(0.3, low - 0.05, at) for at in drawn]
    fast = [top(high + 0.05, 3.0, at) for at in drawn]
    near, moved = [], []
    for at in drawn[:4]:
        G, H = 0.02 * normal(generator, 2, 3, 3)
        flow = MambaFlow(EYE + G + G.mT, EYE + H, _rates(generator, 3, 2.0, 3.0))
        start = vertices.tokens_at_vertices(3, at, ones)
        x, value = vertices.newton_equilibrium(flow, start, 6)
        near.append(value)
        moved.append(float((x - start).norm(dim=-1).max()))
    mean, _ = census(*random_sign_steps(30, 4, 8, generator, (0.4, 0.6))).share_that_joins()
    criteria = [
        above(f"rates below {low:.2f}: smallest top eigenvalue", min(slow), 0),
        below(f"rates above {high:.2f}: largest top eigenvalue", max(fast), 0),
        below("the same near these parameters, rates above 2", max(near), 0),
        below("shift of the equilibria there", max(moved), 0.3),
        above("mean share that joins for rates near 0.5", mean, 0.9),
    ]
    numbers = {"arrangements at two or more vertices": len(drawn), "D": 3, "L": length}
    return Evidence(criteria, numbers)


def clusters_in_eq_6(generator: torch.Generator, low: float, high: float) -> Evidence:
    """At most two clusters under Theorem 3.2's steps, S_BC = I and a in a range, D = L = 12."""
    flow, x0 = random_sign_steps(8, 12, 12, generator, (low, high))
    found = count_clusters(ends(flow, x0, LONG, 1e-4, 1e-6))
    most = at_most("most clusters in a sequence, D = L = 12", found.max(), 2)
    return Evidence([most], {"clusters in each of 8 sequences": found})


def clusters_under_10(generator: torch.Generator, low: float, high: float) -> Evidence:
    """At most two clusters under (10), D = L = 12; in eq (6), S_BC = S_Delta = I and a in a range,
    tokens at as many vertices attract."""
    dim = 12
    _, x0 = random_sign_steps(8, dim, dim, generator)
    eye = torch.eye(dim, dtype=torch.float64)
    shared = SharedStepFlow(eye.expand(8, dim, dim), normal(generator, 8, dim), 0.5)
    found = count_clusters(ends(shared, x0, LONG, 1e-4, 1e-6))
    flow = MambaFlow(eye, eye, _rates(generator, dim, low, high))
    top = vertices.vertex_spectrum(flow, torch.arange(dim), torch.ones(dim)).real.max()
    most = at_most("most clusters in a sequence under (10), D = L = 12", found.max(), 2)
    apart = below("largest eigenvalue of eq (6), each token at its own vertex", top, 0)
    return Evidence([most, apart], {"clusters in each of 8 sequences": found})


def near_shared(generator: torch.Generator, departure: float, stays: bool) -> Evidence:
    """Columns alpha + eps G and rates near 1/2, S_BC = I, t = 200: the others are near the first
    token or its antipode; and it has stayed, or has left."""
    count, dim, length = 20, 3, 4
    x0 = random_tokens(count, length, dim, generator=generator)
    S_Delta = normal(generator, count, dim, 1) + departure * normal(generator, count, dim, dim)
    a = 0.5 * (1 + departure * uniform(generator, count, dim))
    x = ends(MambaFlow(EYE.expand(count, dim, dim), S_Delta, a), x0, 200.0, 1e-5, 1e-7)
    moved = (x[:, 0] - x0[:, 0]).norm(dim=-1).mean()
    what = "mean distance that the first token went"
    first = below(what, moved, 0.1) if stays else above(what, moved, 0.2)
    off = torch.stack([distance_to_pair(tokens[1:], tokens[0]) for tokens in x]).quantile(0.9)
    others = below("0.9 quantile of the others' distance to it or its antipode", off, 0.1)
    return Evidence([first, others], {"departure from (10)": departure, "sequences": count})


def first_under_10(generator: torch.Generator, stated: bool) -> Evidence:
    """Eq (6) with all columns of S_Delta equal, D = 3. Stated: most of 200 first tokens have come
    within 0.15 of a coordinate vector by t = 100. Corrected: they have no speed, and the columns
    that Theorem 3.2 asks for differ."""
    count, dim = 200, 3
    x0 = random_tokens(count, 1, dim, generator=generator)
    alpha = normal(generator, count, dim, 1).expand(count, dim, dim)
    flow = MambaFlow(_gaussian(generator, dim, count).S_BC, alpha, torch.ones_like(x0[:, 0]))
    if stated:
        first = ends(flow, x0, 100.0, 1e-5, 1e-7)[:, 0]
        # 1 - max |y_d| is half of the squared distance.
        close = (1 - first.abs().amax(-1) < 0.01).sum()
        return Evidence([above(f"of {count} first tokens, there", close, count // 2)])
    columns = torch.diag_embed(x0[:, 0].sign())
    differ = (columns - columns[..., :1]).flatten(1).norm(dim=-1).min()
    rests = below("largest speed of a first token", flow(x0).norm(dim=-1).max(), 1e-13)
    return Evidence([rests, at_least("least distance between columns", differ, 1.0)])


def consensus_rests(generator: torch.Generator, rates: str) -> Evidence:
    """Speeds at (s_l p), p a point of equal steps on two of three coordinates, all signs, L = 4."""
    S_BC, S_Delta, a = (value[0] for value in survey.draw("Gaussian", 3, 1, generator))
    if rates == "equal on the support":
        a[1] = a[0]
    gap = (S_Delta[:, 0] - S_Delta[:, 1])[:2]
    p = torch.cat([torch.stack([-gap[1], gap[0]]) / gap.norm(), torch.zeros(1).double()])
    x = vertices.sign_patterns(4).unsqueeze(-1) * p
    speed = MambaFlow(S_BC, S_Delta, a)(x).norm(dim=-1).amax(0) / abs(p @ S_BC @ p)
    # Rounding of sums of at most four products of order one.
    rests = below(f"largest speed over the form's modulus, rates {rates}", speed.max(), 1e-10)
    return Evidence([rests], {"largest speed by token": speed})


def patterns_attract(generator: torch.Generator, stated: bool) -> Evidence:
    """D = L = 3. Stated: all four patterns of signs attract where the first token is attracted.
    Corrected: the criterion against the signs of the Jacobian's eigenvalues at each point."""
    patterns, flows = vertices.sign_patterns(3), _gaussian(generator, 3, 5)
    found = vertices.consensus_attracts(flows, patterns)
    if stated:
        first = vertices.consensus_attracts(flows, patterns[:1, :1])
        possible = int(first.sum()) * len(patterns)
        return Evidence([equal("consensus points that attract", (found & first).sum(), possible)])
    wrong, beyond = 0, 0
    places = torch.cartesian_prod(*(torch.arange(size) for size in found.shape))
    for n, d, side, p in places.tolist():
        flow = MambaFlow(flows.S_BC[n], flows.S_Delta[n], flows.a[n])
        J = tangent_jacobian(flow, (1 - 2 * side) * patterns[p].unsqueeze(-1) * EYE[d])
        attracts = bool((torch.linalg.eigvals(J).real < 0).all())
        wrong += attracts != bool(found[n, d, side, p])
        beyond += attracts and p > 0 and float(flow.S_BC[d, d]) < 0
    criteria = [
        equal("points at which the criterion is wrong", wrong, 0),
        equal("attracting points with an antipode, negative diagonal entry", beyond, 0),
        between("attracting points: some, not all", found.sum(), 1, len(places) - 1),
    ]
    return Evidence(criteria)


def others_follow(generator: torch.Generator, length: int, stated: bool) -> Evidence:
    """Stated: vertices that attract the first token attract `length` tokens with equal signs.
    Corrected: so where S_dd > 0; elsewhere if the printed sum is below the other steps, and only
    then. 200 Gaussian draws, D = 4."""
    flow, ones = _gaussian(generator, 4, 200), torch.ones(1, length, dtype=torch.float64)
    # (200, 4, 2) each
    first = vertices.consensus_attracts(flow, ones[:, :1])[..., 0]
    every = vertices.consensus_attracts(flow, ones)[..., 0]
    what = f"vertices that attract {length} tokens"
    if stated:
        return Evidence([equal(what, (first & every).sum(), int(first.sum()))])
    positive = (flow.S_BC.diagonal(dim1=-2, dim2=-1) > 0).unsqueeze(-1)
    steps = softplus(torch.stack([flow.S_Delta, -flow.S_Delta], -1))  # (n, d, k, 2)
    own = steps.diagonal(dim1=1, dim2=2).mT
    total = sum(own * torch.exp(-i * flow.a.unsqueeze(-1) * own) for i in range(length))
    itself = torch.eye(4, dtype=torch.bool).unsqueeze(-1)
    by_sum = ((total.unsqueeze(2) < steps) | itself).all(2)
    wrong = (by_sum != every) & ~positive
    # S_BC = S_Delta = -I, a = 1, at e_1: F_2 < ln 2 < F_3.
    example = MambaFlow(-EYE, -EYE, torch.ones(3, dtype=torch.float64))
    one, two, three = (
        consensus_spectrum(example, EYE[0], torch.ones(count, dtype=torch.float64)).max()
        for count in (1, 2, 3)
    )
    wanted = int((first & positive).sum())
    criteria = [
        equal(f"positive diagonal entry: {what}", (first & every & positive).sum(), wanted),
        equal("negative one: vertices that the sum decides wrongly", wrong.sum(), 0),
        below("minus identity, one token: largest eigenvalue", one, 0),
        below("two tokens", two, 0),
        above("three tokens", three, 0),
    ]
    negative = [int((which & ~positive).sum()) for which in (first, every)]
    return Evidence(criteria, {f"negative one: vertices that attract one, {length}": negative})


def fitted_rates_are(generator: torch.Generator, formula: str) -> Evidence:
    """Fitted rates are within a percent of a formula's; for equal signs and S_dd > 0 the predicted
    one is that of the first token alone."""
    points = vertex_rates.random_vertex_consensus(_gaussian(generator, 3, 400), 6, 3, generator)
    times, error = vertex_rates.approach_vertices(points, generator)
    fitted = points.rate * torch.tensor([fit_exponential(times, run).rate for run in error.mT])
    wanted = points.rate
    if formula == "of eq (11)":
        x1, flow = points.x[:, 0], points.flow
        step = (softplus(torch.einsum("nd,ndk->nk", x1, flow.S_Delta)) * x1.abs()).sum(-1)
        decay, form = ((v * x1.abs()).sum(-1) for v in (flow.a, flow.S_BC.diagonal(0, 1, 2)))
        wanted = points.rate * form * step * torch.exp(-decay * step)
    # What the other eigenvalues leave in the window, t = 15 to 30.
    off = below("largest relative error of the formula", largest(fitted / wanted - 1), 0.01)
    same = largest((points.first - points.rate)[points.equal])
    alone = below("largest difference from the first token's rate", same, 1e-9)
    equal_signs = int(points.equal.sum())
    return Evidence([off, alone], {"of 6, with equal signs and positive entry": equal_signs})
