"""Claims of section 3.2 and appendix B.2, for eq (6) without assumption (10)."""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere import survey
from tokensphere.flow import MambaFlow, SharedStepFlow, random_tokens
from tokensphere.other_tokens import consensus_spectrum, tangent_jacobian
from tokensphere.other_tokens.census import census, count_clusters, random_sign_steps
from tokensphere.other_tokens.vertex_rates import approach_vertices, random_vertex_consensus
from tokensphere.other_tokens.vertices import (
    consensus_attracts,
    newton_equilibrium,
    separation_rates,
    sign_patterns,
    tokens_at_vertices,
    vertex_spectrum,
)
from tokensphere.paper.checks.tools import ends
from tokensphere.paper.ledger import Evidence, above, at_least, at_most, below, equal
from tokensphere.rates import fit_exponential

EYE = torch.eye(3, dtype=torch.float64)

LONG = 500.0
"""Under (10) tokens come together at the rate Delta e^{-a Delta}, which can be 0.1."""


def most_join(generator: torch.Generator, low: float, high: float) -> Evidence:
    """More than half of the later tokens join under Theorem 3.2's steps, S_BC = I, a in a range."""
    count, dim, length = 30, 4, 8
    flow, x0 = random_sign_steps(count, dim, length, generator, (low, high))
    mean, error = census(flow, x0).share_that_joins()
    return Evidence(
        [above("mean share that joins, less two standard errors", mean - 2 * error, 0.5)],
        {"mean share": mean, "sequences": count, "D": dim, "L": length, "rates": [low, high]},
    )


def arrangements_attract(generator: torch.Generator) -> Evidence:
    """Tokens at the vectors e_d, S_BC = S_Delta = I: the thresholds of the rates; parameters near
    these; and the joining for rates below the thresholds."""
    length, ones = 5, torch.ones(5)
    low, high = separation_rates()

    def vertices() -> Tensor:
        """Random, the second one not the first."""
        drawn = torch.randint(3, (length,), generator=generator)
        drawn[1] = (drawn[0] + 1) % 3
        return drawn

    def rates(least: float, most: float) -> Tensor:
        return least + (most - least) * torch.rand(3, generator=generator, dtype=torch.float64)

    def largest(a: Tensor, at: Tensor) -> float:
        return float(vertex_spectrum(MambaFlow(EYE, EYE, a), at, ones).real.max())

    drawn = [vertices() for _ in range(12)]
    slow = [largest(rates(0.3, low - 0.05), at) for at in drawn]
    fast = [largest(rates(high + 0.05, 3.0), at) for at in drawn]
    near, moved = [], []
    for at in drawn[:4]:
        G = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
        flow = MambaFlow(EYE + 0.02 * (G[0] + G[0].mT), EYE + 0.02 * G[1], rates(2.0, 3.0))
        start = tokens_at_vertices(3, at, ones)
        x, value = newton_equilibrium(flow, start, 6)
        near.append(value)
        moved.append(float((x - start).norm(dim=-1).max()))
    flow, x0 = random_sign_steps(30, 4, 8, generator, (0.4, 0.6))
    mean, _ = census(flow, x0).share_that_joins()
    return Evidence(
        [
            above(f"rates below {low:.2f}: smallest top eigenvalue", min(slow), 0),
            below(f"rates above {high:.2f}: largest top eigenvalue", max(fast), 0),
            below("the same near these parameters, rates above 2", max(near), 0),
            below("shift of the equilibria there", max(moved), 0.3),
            above("mean share that joins for rates near 0.5", mean, 0.9),
        ],
        {"arrangements at two or more vertices": len(drawn), "D": 3, "L": length},
    )


def clusters_in_eq_6(generator: torch.Generator, low: float, high: float) -> Evidence:
    """At most two clusters under Theorem 3.2's steps, S_BC = I and a in a range, D = L = 12."""
    flow, x0 = random_sign_steps(8, 12, 12, generator, (low, high))
    found = count_clusters(ends(flow, x0, LONG, 1e-4, 1e-6))
    return Evidence(
        [at_most("most clusters in a sequence", int(found.max()), 2)],
        {"mean number": float(found.double().mean()), "sequences": 8, "D": 12, "L": 12},
    )


def clusters_under_10(generator: torch.Generator, low: float, high: float) -> Evidence:
    """At most two clusters under (10), D = L = 12; in eq (6), S_BC = S_Delta = I and a in a range,
    tokens at as many vertices attract."""
    dim = 12
    _, x0 = random_sign_steps(8, dim, dim, generator)
    alpha = torch.randn(8, dim, generator=generator, dtype=torch.float64)
    eye = torch.eye(dim, dtype=torch.float64)
    shared = SharedStepFlow(eye.expand(8, dim, dim), alpha, 0.5)
    found = count_clusters(ends(shared, x0, LONG, 1e-4, 1e-6))
    a = low + (high - low) * torch.rand(dim, generator=generator, dtype=torch.float64)
    values = vertex_spectrum(MambaFlow(eye, eye, a), torch.arange(dim), torch.ones(dim))
    top = float(values.real.max())
    return Evidence(
        [
            at_most("most clusters in a sequence under (10)", int(found.max()), 2),
            below("largest eigenvalue of eq (6), each token at its own vertex", top, 0),
        ],
        {"sequences": 8, "D": dim, "L": dim},
    )


def near_shared(generator: torch.Generator, departure: float, stays: bool) -> Evidence:
    """Columns alpha + eps G and rates near 1/2, S_BC = I, t = 200: the others are near the first
    token or its antipode; and it has stayed, or has left."""
    count, dim, length = 20, 3, 4
    x0 = random_tokens(count, length, dim, generator=generator)
    S_Delta = torch.randn(count, dim, 1, generator=generator, dtype=torch.float64)
    G = torch.randn(count, dim, dim, generator=generator, dtype=torch.float64)
    a = 0.5 * (1 + departure * torch.rand(count, dim, generator=generator, dtype=torch.float64))
    flow = MambaFlow(EYE.expand(count, dim, dim), S_Delta + departure * G, a)
    x = ends(flow, x0, 200.0, 1e-5, 1e-7)
    moved = float((x[:, 0] - x0[:, 0]).norm(dim=-1).mean())
    first, later = x[:, :1], x[:, 1:]
    off = torch.minimum((later - first).norm(dim=-1), (later + first).norm(dim=-1))
    off = float(off.flatten().quantile(0.9))
    what = "mean distance that the first token went"
    return Evidence(
        [
            below(what, moved, 0.1) if stays else above(what, moved, 0.2),
            below("0.9 quantile of the others' distance to it or its antipode", off, 0.1),
        ],
        {"departure from (10)": departure, "sequences": count, "D": dim, "L": length},
    )


def _under_10(generator: torch.Generator) -> tuple[MambaFlow, Tensor]:
    """200 random flows with all columns of S_Delta equal, D = 3, as flows of eq (6), and starts."""
    count, dim = 200, 3
    x0 = random_tokens(count, 2, dim, generator=generator)
    alpha = torch.randn(count, dim, 1, generator=generator, dtype=torch.float64)
    S_BC, _, _ = survey.draw("Gaussian", dim, count, generator)
    return MambaFlow(S_BC, alpha.expand(count, dim, dim), torch.ones_like(x0[:, 0])), x0


def first_goes_to_vertices(generator: torch.Generator) -> Evidence:
    """Under (10) most first tokens have come within 0.15 of a coordinate vector by t = 100."""
    flow, x0 = _under_10(generator)
    first = ends(flow, x0[:, :1], 100.0, 1e-5, 1e-7)[:, 0]
    # 1 - max |y_d| is half of the squared distance.
    close = int((1 - first.abs().amax(-1) < 0.01).sum())
    return Evidence([above("first tokens there", close, len(x0) // 2)], {"of": len(x0)})


def first_rests(generator: torch.Generator) -> Evidence:
    """Under (10) the first token has no speed; the columns that Theorem 3.2 asks for differ."""
    flow, x0 = _under_10(generator)
    speed = float(flow(x0)[:, 0].norm(dim=-1).max())
    columns = torch.diag_embed(x0[:, 0].sign())
    differ = float((columns - columns[..., :1]).flatten(1).norm(dim=-1).min())
    return Evidence(
        [
            below("largest speed of a first token", speed, 1e-13),
            at_least("least distance between columns of Theorem 3.2", differ, 1.0),
        ],
        {"first tokens": len(x0)},
    )


def consensus_rests(generator: torch.Generator, rates: str) -> Evidence:
    """Speeds at (s_l p), p a point of equal steps on two of three coordinates, all signs, L = 4."""
    S_BC, S_Delta, a = (value[0] for value in survey.draw("Gaussian", 3, 1, generator))
    if rates == "equal on the support":
        a[1] = a[0]
    gap = (S_Delta[:, 0] - S_Delta[:, 1])[:2]
    p = torch.cat([torch.stack([-gap[1], gap[0]]) / gap.norm(), torch.zeros(1).double()])
    x = sign_patterns(4).unsqueeze(-1) * p
    speed = MambaFlow(S_BC, S_Delta, a)(x).norm(dim=-1).amax(0) / abs(p @ S_BC @ p)
    return Evidence(
        # Rounding of sums of at most four products of order one.
        [below("largest speed over the form's modulus", float(speed.max()), 1e-10)],
        {"rates": rates, "largest speed by token": speed.tolist()},
    )


def all_patterns_attract(generator: torch.Generator) -> Evidence:
    """D = L = 3: all four patterns of signs attract where the first token is attracted."""
    patterns = sign_patterns(3)
    flows = MambaFlow(*survey.draw("Gaussian", 3, 5, generator))
    first = consensus_attracts(flows, patterns[:1, :1])
    found = consensus_attracts(flows, patterns) & first
    possible = int(first.sum()) * len(patterns)
    return Evidence(
        [equal("consensus points that attract", int(found.sum()), possible)],
        {"vertices that attract the first token": int(first.sum())},
    )


def patterns_attract_by_criterion(generator: torch.Generator) -> Evidence:
    """The criterion against the signs of the Jacobian's eigenvalues at each point, D = L = 3."""
    patterns = sign_patterns(3)
    flows = MambaFlow(*survey.draw("Gaussian", 3, 5, generator))
    found = consensus_attracts(flows, patterns)
    wrong, beyond = 0, 0
    places = torch.cartesian_prod(*(torch.arange(size) for size in found.shape))
    for n, d, side, p in places.tolist():
        flow = MambaFlow(flows.S_BC[n], flows.S_Delta[n], flows.a[n])
        J = tangent_jacobian(flow, (1 - 2 * side) * patterns[p].unsqueeze(-1) * EYE[d])
        attracts = bool((torch.linalg.eigvals(J).real < 0).all())
        wrong += attracts != bool(found[n, d, side, p])
        beyond += attracts and p > 0 and float(flow.S_BC[d, d]) < 0
    attracting = int(found.sum())
    return Evidence(
        [
            equal("points at which the criterion is wrong", wrong, 0),
            equal("attracting points with an antipode, negative diagonal entry", beyond, 0),
            above("attracting points", attracting, 0),
            below("attracting points of all", attracting, len(places)),
        ]
    )


def _vertices_that_attract(generator: torch.Generator, length: int):
    """200 Gaussian draws, D = 4, and of their vertices those that attract one token, those that
    attract `length` with equal signs, and those with S_dd > 0, each (200, 4, 2)."""
    flow = MambaFlow(*survey.draw("Gaussian", 4, 200, generator))
    ones = torch.ones(1, length, dtype=torch.float64)
    first = consensus_attracts(flow, ones[:, :1])[..., 0]
    every = consensus_attracts(flow, ones)[..., 0]
    positive = flow.S_BC.diagonal(dim1=-2, dim2=-1) > 0
    return flow, first, every, positive.unsqueeze(-1).expand_as(first)


def others_follow(generator: torch.Generator, length: int) -> Evidence:
    """Vertices that attract the first token attract `length` tokens with equal signs."""
    _, first, every, _ = _vertices_that_attract(generator, length)
    kept = int((first & every).sum())
    return Evidence([equal(f"vertices that attract {length} tokens", kept, int(first.sum()))])


def others_follow_by_sign(generator: torch.Generator, length: int) -> Evidence:
    """They do where S_dd > 0; elsewhere if and only if the printed sum is below the other steps."""
    flow, first, every, positive = _vertices_that_attract(generator, length)
    kept = [int((which & positive).sum()) for which in (first, first & every)]
    steps = softplus(torch.stack([flow.S_Delta, -flow.S_Delta], -1))  # (n, d, k, 2)
    own = steps.diagonal(dim1=1, dim2=2).mT
    total = sum(own * torch.exp(-i * flow.a.unsqueeze(-1) * own) for i in range(length))
    itself = torch.eye(4, dtype=torch.bool).unsqueeze(-1)
    by_sum = ((total.unsqueeze(2) < steps) | itself).all(2)
    wrong = int(((by_sum != every) & ~positive).sum())
    # S_BC = S_Delta = -I, a = 1, at e_1: F_2 < ln 2 < F_3.
    example = MambaFlow(-EYE, -EYE, torch.ones(3, dtype=torch.float64))
    one = [torch.ones(count, dtype=torch.float64) for count in (1, 2, 3)]
    tops = [float(consensus_spectrum(example, EYE[0], signs).max()) for signs in one]
    return Evidence(
        [
            equal(f"positive diagonal entry: vertices that attract {length}", kept[1], kept[0]),
            equal("negative one: vertices that the sum decides wrongly", wrong, 0),
            below("minus identity, one token: largest eigenvalue", tops[0], 0),
            below("two tokens", tops[1], 0),
            above("three tokens", tops[2], 0),
        ],
        {
            f"negative diagonal entry: vertices that attract the first token, all {length}": [
                int((which & ~positive).sum()) for which in (first, every)
            ]
        },
    )


def fitted_rates_are(generator: torch.Generator, formula: str) -> Evidence:
    """Fitted rates are within a percent of a formula's; for equal signs and S_dd > 0 the predicted
    one is that of the first token alone."""
    flows = MambaFlow(*survey.draw("Gaussian", 3, 400, generator))
    points = random_vertex_consensus(flows, 6, 3, generator)
    times, error = approach_vertices(points, generator)
    fitted = points.rate * torch.tensor([fit_exponential(times, run).rate for run in error.mT])
    x1, flow = points.x[:, 0], points.flow
    step = (softplus(torch.einsum("nd,ndk->nk", x1, flow.S_Delta)) * x1.abs()).sum(-1)
    decay, form = ((value * x1.abs()).sum(-1) for value in (flow.a, flow.S_BC.diagonal(0, 1, 2)))
    formulas = {
        "predicted": points.rate,
        "of eq (11)": points.rate * form * step * torch.exp(-decay * step),
    }
    off = (fitted / formulas[formula] - 1).abs()
    same = (points.first - points.rate)[points.equal].abs()
    return Evidence(
        [
            # What the other eigenvalues leave in the window, t = 15 to 30.
            below("largest relative error of the formula", float(off.max()), 0.01),
            below("largest difference from the first token's rate", float(same.max()), 1e-9),
        ],
        {"fitted": len(off), "of these with equal signs, positive entry": int(points.equal.sum())},
    )
