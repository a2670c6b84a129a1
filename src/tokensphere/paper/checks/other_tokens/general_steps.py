"""Claims of section 3.2 and appendix B.2, for eq (6) without assumption (10)."""

import math
from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere import survey
from tokensphere.first_token import tangent_basis
from tokensphere.flow import MambaFlow, SharedStepFlow, project, random_tokens, simulate
from tokensphere.other_tokens import consensus_rate, consensus_spectrum, tangent_jacobian
from tokensphere.paper.ledger import Evidence
from tokensphere.rates import fit_exponential

from .alignment import definite

ENDS = ("at the first token", "at its antipode", "at another vertex", "elsewhere", "still moving")
"""Where a later token is at the end of a run. Vertices are the coordinate vectors and antipodes."""

LAWS = ("Theorem 3.2, I", "Theorem 3.2, definite", "identity", "diagonal", "Gaussian")
"""The two of :mod:`tokensphere.survey`, a Gaussian diagonal S_BC, and two that meet Theorem 3.2."""

TOP, LN2 = math.log1p(math.e), math.log(2.0)
SEPARATE = math.log2(TOP / (TOP - LN2))
"""Rates above it let neighbours at two vertices attract, for S_BC = S_Delta = I."""
ALL = math.log2((2 * TOP - LN2) / (TOP - LN2))
"""Rates above it let every assignment of tokens to the +e_d attract, for S_BC = S_Delta = I."""


def draw(law: str, dim: int, length: int, count: int, generator: torch.Generator):
    """(flow, x0): `count` independent parameter draws and sequences, by one of LAWS.

    For the laws of Theorem 3.2, S_Delta = diag(sign x_1(0)), and S_BC is I, or symmetric with
    eigenvalues in [1, 2]; rates a_d are uniform on [0.5, 1.5] for all laws.
    """
    known = law if law in survey.LAWS else "identity"
    S_BC, S_Delta, a = survey.draw(known, dim, count, generator)
    x0 = random_tokens(count, length, dim, generator=generator)
    if law.startswith("Theorem 3.2"):
        S_Delta = torch.diag_embed(x0[:, 0].sign())
    if law.endswith("definite"):
        S_BC = definite(count, dim, generator)
        S_BC = (S_BC + S_BC.mT) / 2
    elif law == "diagonal":
        S_BC = torch.diag_embed(torch.randn(count, dim, generator=generator, dtype=torch.float64))
    return MambaFlow(S_BC, S_Delta, a), x0


def last(flow, x0: Tensor, horizon: float, rtol: float = 1e-5, atol: float = 1e-7) -> Tensor:
    """The tokens at time `horizon`."""
    times = torch.tensor([0.0, horizon], dtype=torch.float64)
    return simulate(flow, x0, times, rtol=rtol, atol=atol).tokens[-1]


def ends(flow, x: Tensor) -> Tensor:
    """For each later token its index in ENDS, (..., L - 1): within 0.01, or slower than 1e-4."""
    first, later = x[..., :1, :], x[..., 1:, :]
    vertex = torch.zeros_like(later).scatter(-1, later.abs().argmax(-1, keepdim=True), 1.0)
    close = lambda other: (later - other).norm(dim=-1) < 0.01  # noqa: E731
    found = torch.where(flow(x)[..., 1:, :].norm(dim=-1) < 1e-4, 3, 4)
    found[close(vertex * later.sign())] = 2
    found[close(-first)] = 1
    found[close(first)] = 0
    return found


def clusters(x: Tensor, size: float = 0.05) -> Tensor:
    """The number of clusters of the tokens (..., L, D), (...): tokens linked by steps < `size`."""
    linked = (torch.cdist(x, x) < size).double()
    for _ in range(max(1, math.ceil(math.log2(x.shape[-2])))):
        linked = ((linked @ linked) > 0).double()
    return (1 / linked.sum(-1)).sum(-1).round()


def at_vertices(dim: int, vertices: Tensor, signs: Tensor) -> Tensor:
    """Tokens s_l e_{d_l}, (L, dim)."""
    return torch.nn.functional.one_hot(vertices, dim) * signs.double().unsqueeze(-1)


def vertex_spectrum(flow: MambaFlow, vertices: Tensor, signs: Tensor) -> Tensor:
    """The eigenvalues of eq (6) at x_l = s_l e_{d_l}, (L, D-1) complex, as in the chapter.

    Row l holds those of token l, the eigenvalues of

        S_dd (diag(Delta_k(x_l)) - H_ld) + diag(H_lk) S_BC^T,    rows and columns k != d = d_l,

    H_lk = sum_{j<=l, d_j=k} Delta_k(x_j) exp(-a_k sum_{m=j+1}^{l} Delta_k(x_m)). For a diagonal
    S_BC they are the diagonal.

    Raises:
        ValueError: not an equilibrium: S_BC[d_l, d_j] is not 0 for a j < l with another vertex.
    """
    S = flow.S_BC
    x = at_vertices(len(S), vertices, signs)
    other = vertices.unsqueeze(-1) != vertices
    if bool((S[vertices][:, vertices] * other).tril().any()):
        raise ValueError("vertices: no equilibrium, S_BC couples a token to an earlier one's")
    steps = softplus(x @ flow.S_Delta)
    elapsed = (flow.a * steps).cumsum(0)
    later = torch.ones(len(x), len(x), dtype=torch.bool).triu(1).unsqueeze(-1)
    decay = (elapsed.unsqueeze(0) - elapsed.unsqueeze(1)).masked_fill(later, -math.inf)  # (l, j, k)
    H = (decay.exp() * steps * x.abs()).sum(1)
    rows = []
    for token, d in enumerate(vertices.tolist()):
        others = [k for k in range(len(S)) if k != d]
        own = torch.diag(S[d, d] * (steps[token, others] - H[token, d]))
        block = own + H[token, others].unsqueeze(-1) * S.mT[others][:, others]
        rows.append(torch.linalg.eigvals(block))
    return torch.stack(rows)


def settle(flow: MambaFlow, x: Tensor, steps: int = 30) -> tuple[Tensor, float]:
    """The equilibrium near x, by Newton's method, and the largest real part of its spectrum."""
    for _ in range(steps):
        J, basis = tangent_jacobian(flow, x), torch.block_diag(*tangent_basis(x))
        x = x - (basis @ torch.linalg.solve(J, basis.mT @ flow(x).flatten())).view_as(x)
        x = x / x.norm(dim=-1, keepdim=True)
    return x, float(torch.linalg.eigvals(tangent_jacobian(flow, x)).real.max())


def sign_patterns(length: int) -> Tensor:
    """All (2^(L-1), L) sign patterns with s_1 = 1; the first is all plus."""
    return torch.tensor([(1.0, *rest) for rest in product((1.0, -1.0), repeat=length - 1)]).double()


def consensus_attracts(flow: MambaFlow, signs: Tensor) -> Tensor:
    """Which (s_l s e_d) attract, by the chapter's criterion: (..., D, 2, patterns), s = 1, -1.

    S_dd (F_l - Delta_k(s_l s e_d)) > 0 for all l and k != d, with F_l = Delta_d(x_l) +
    exp(-a_d Delta_d(x_l)) F_{l-1}. `signs` are patterns (..., L); `flow` may be a batch.
    """
    diagonal = flow.S_BC.diagonal(dim1=-2, dim2=-1)[..., None, None]
    S_Delta, a = flow.S_Delta, flow.a[..., None, None]
    dim = S_Delta.shape[-1]
    own = torch.eye(dim, dtype=torch.bool)
    good = None
    weight = 0.0
    for token in range(signs.shape[-1]):
        side = torch.stack([signs[:, token], -signs[:, token]])  # (2, patterns)
        steps = softplus(S_Delta[..., None, None] * side)  # (..., d, k, 2, patterns)
        step = steps.diagonal(dim1=-4, dim2=-3).movedim(-1, -3)
        weight = step + torch.exp(-a * step) * weight
        gain = diagonal.unsqueeze(-3) * (weight.unsqueeze(-3) - steps)
        here = ((gain > 0) | own[..., None, None]).all(-3)
        good = here if good is None else good & here
    return good


def census(law: str, dim: int, length: int, count: int, generator: torch.Generator, a=None):
    """(ends, clusters): of `count` sequences at t = 100, ends (count, L-1) and, by the number of
    tokens that are looked at, 2, 4, 8, ..., the mean number of clusters. `a` replaces the rates."""
    flow, x0 = draw(law, dim, length, count, generator)
    if a is not None:
        flow = MambaFlow(flow.S_BC, flow.S_Delta, torch.as_tensor(a).double().expand_as(flow.a))
    x = last(flow, x0, 100.0, 1e-4, 1e-6)  # 1e-5 and 1e-7 move one token in 4,000
    sizes = [2**n for n in range(1, int(math.log2(length)) + 1)]
    return ends(flow, x), {n: float(clusters(x[:, :n]).mean()) for n in sizes}


def pattern_census(dim: int, count: int, generator: torch.Generator, length: int = 8):
    """At vertices that attract the first token, in `count` draws of S_Delta and a: how many sign
    patterns attract if S_dd > 0, (vertices,); and by L whether equal signs do if S_dd < 0."""
    _, S_Delta, a = survey.draw("identity", dim, count, generator)
    form = torch.eye(dim, dtype=torch.float64).expand(count, dim, dim)
    found = consensus_attracts(MambaFlow(form, S_Delta, a), sign_patterns(length))
    below = {
        n: consensus_attracts(MambaFlow(-form, S_Delta, a), torch.ones(1, n).double())[..., 0]
        for n in (1, 2, length)
    }
    return found[found[..., 0]].sum(-1), {n: good[below[1]] for n, good in below.items() if n > 1}


def vertex_spectrum_error(generator: torch.Generator, count: int, dim: int = 4) -> float:
    """The largest difference between characteristic polynomials of :func:`vertex_spectrum` and of
    blocks by automatic differentiation, or speed, at random equilibria of four tokens."""
    worst = 0.0
    for _ in range(count):
        d = torch.randint(dim, (4,), generator=generator)
        s = torch.where(torch.rand(4, generator=generator) < 0.5, -1.0, 1.0)
        S_BC, S_Delta, a = (value[0] for value in survey.draw("Gaussian", dim, 1, generator))
        for token, earlier in product(range(4), range(4)):
            S_BC[d[token], d[earlier]] *= float(d[token] == d[earlier])
        flow, x = MambaFlow(S_BC, S_Delta, a), at_vertices(dim, d, s)
        J = tangent_jacobian(flow, x)
        worst = max(worst, float(flow(x).abs().max()))
        for token, values in enumerate(vertex_spectrum(flow, d, s)):
            part = slice(token * (dim - 1), (token + 1) * (dim - 1))
            gap = np.poly(values.numpy()) - np.poly(torch.linalg.eigvals(J[part, part]).numpy())
            worst = max(worst, float(abs(gap).max()), float(J[part, part.stop :].abs().sum()))
    return worst


def fitted_rates(generator: torch.Generator, count: int, length: int = 3, dim: int = 3) -> dict:
    """Predicted and fitted rates at `count` random attracting consensus points of eq (6).

    Every other one has equal signs and S_dd > 0. S_BC is scaled so that the predicted rate is 1:
    all cases then share a window. Left out: spectra wider than a factor 20, which are stiff and
    attract from nearby only, and slowest eigenvalues closer than a quarter, whose mixture a window
    cannot tell from a single one.

    Returns:
        "predicted" and "fitted"; "first", the rate of the first token alone; "plus", whether all
        signs are equal and S_dd > 0; "shared", what S_dd Delta e^{-a Delta} of eq (11) would give.
    """
    patterns = sign_patterns(length)
    flows, goals, rows = [], [], []
    for _ in range(400 * count):
        flow = MambaFlow(*(value[0] for value in survey.draw("Gaussian", dim, 1, generator)))
        good = consensus_attracts(flow, patterns).nonzero()
        if len(goals) == count:
            break
        if not len(good):
            continue
        d, side, pattern = good[int(torch.randint(len(good), (), generator=generator))].tolist()
        plus = pattern == 0 and float(flow.S_BC[d, d]) > 0
        if plus != (len(goals) % 2 == 0):
            continue
        x1, signs = (1 - 2 * side) * torch.eye(dim, dtype=torch.float64)[d], patterns[pattern]
        values = consensus_spectrum(flow, x1, signs)
        order = values.flatten().sort().values
        if order[0] < 20 * order[-1] or order[-2] > 1.25 * order[-1]:
            continue
        rate = consensus_rate(flow, x1, signs).rate
        flows.append((flow.S_BC / rate, flow.S_Delta, flow.a))
        goals.append(signs.unsqueeze(-1) * x1)
        step = softplus(x1 @ flow.S_Delta)[d]
        shared = flow.S_BC[d, d] * step * torch.exp(-flow.a[d] * step)
        rows.append((rate, -values[0].max(), plus, shared))
    flow = MambaFlow(*(torch.stack(part) for part in zip(*flows, strict=True)))
    goal = torch.stack(goals)
    x0 = goal + 0.001 * project(goal, random_tokens(*goal.shape, generator=generator))
    times = torch.linspace(0, 30, 61, dtype=torch.float64)
    x = simulate(flow, x0 / x0.norm(dim=-1, keepdim=True), times, 1e-6, 1e-22).tokens
    # Without the part along the goal, whose rounding would be a floor.
    error = project(goal, x).norm(dim=-1).sum(-1)[len(times) // 2 :]
    times = times[len(times) // 2 :]
    fits = [fit_exponential(times, error[:, n]) for n in range(len(goal))]
    rate, first, plus, shared = torch.tensor(rows, dtype=torch.float64).T
    found = {"predicted": rate, "first": first, "plus": plus > 0, "shared": shared}
    return found | {"fitted": torch.tensor([fit.rate for fit in fits], dtype=torch.float64) * rate}


def _fixed_rates(count: int, dim: int, low: float, high: float, generator: torch.Generator):
    return low + (high - low) * torch.rand(count, dim, generator=generator, dtype=torch.float64)


def _under_theorem_3_2(generator: torch.Generator, low: float, high: float, count: int = 30):
    """(flow, x0) with S_BC = I, S_Delta = diag(sign x_1(0)), a uniform: D = 4, L = 8."""
    flow, x0 = draw("Theorem 3.2, I", 4, 8, count, generator)
    return MambaFlow(flow.S_BC, flow.S_Delta, _fixed_rates(count, 4, low, high, generator)), x0


def _joined(flow, x: Tensor) -> tuple[float, float]:
    """Mean fraction of later tokens at the first or its antipode, and its standard error."""
    share = (ends(flow, x) < 2).double().mean(-1)
    return float(share.mean()), float(share.std() / len(share) ** 0.5)


def most_join(generator: torch.Generator) -> Evidence:
    """More than half of the later tokens join, under Theorem 3.2, a_d in [1.8, 3]."""
    flow, x0 = _under_theorem_3_2(generator, 1.8, 3.0)
    mean, error = _joined(flow, last(flow, x0, 100.0))
    return Evidence(
        mean - 2 * error > 0.5,
        {"mean fraction": mean, "standard error": error, "sequences": len(x0), "D": 4, "L": 8},
    )


def which_vertices_attract(generator: torch.Generator) -> Evidence:
    """Thresholds of the rates for S_BC = S_Delta = I; perturbed parameters; the joining below."""
    dim, length, ones = 3, 5, torch.ones(5)
    eye = torch.eye(dim, dtype=torch.float64)
    largest = {"below": math.inf, "above": -math.inf, "perturbed": -math.inf}
    moved = 0.0
    for _ in range(12):
        d = torch.randint(dim, (length,), generator=generator)
        d[1], d[0] = (d[0] + 1) % dim, d[0]
        low = _fixed_rates(1, dim, 0.3, SEPARATE - 0.05, generator)[0]
        high = _fixed_rates(1, dim, ALL + 0.05, 3.0, generator)[0]
        top = lambda a: float(vertex_spectrum(MambaFlow(eye, eye, a), d, ones).real.max())  # noqa: B023, E731
        largest["below"] = min(largest["below"], top(low))
        largest["above"] = max(largest["above"], top(high))
    for _ in range(4):
        d = torch.randint(dim, (length,), generator=generator)
        G = torch.randn(2, dim, dim, generator=generator, dtype=torch.float64)
        a = _fixed_rates(1, dim, 2.0, 3.0, generator)[0]
        flow = MambaFlow(eye + 0.02 * (G[0] + G[0].mT), eye + 0.02 * G[1], a)
        start = at_vertices(dim, d, ones)
        x, value = settle(flow, start, 6)
        moved = max(moved, float((x - start).norm(dim=-1).max()))
        largest["perturbed"] = max(largest["perturbed"], value)
    flow, x0 = _under_theorem_3_2(generator, 0.4, 0.6)
    mean, _ = _joined(flow, last(flow, x0, 100.0))
    passed = largest["below"] > 0 > max(largest["above"], largest["perturbed"]) and moved < 0.3
    return Evidence(
        passed and mean > 0.9,
        {
            "smallest top eigenvalue, tokens at two vertices, rates below 1.08": largest["below"],
            "largest top eigenvalue, any vertices, rates above 1.64": largest["above"],
            "the same, S_BC and S_Delta perturbed": largest["perturbed"],
            "shift of the perturbed equilibria": moved,
            "mean fraction that joins for rates near 0.5": mean,
        },
    )


def few_clusters(generator: torch.Generator, shared: bool) -> Evidence:
    """At most two clusters: with Theorem 3.2's steps and rates in [2, 3], or with one step."""
    dim = length = 12
    count = 8
    flow, x0 = draw("Theorem 3.2, I", dim, length, count, generator)
    if shared:
        alpha = torch.randn(count, dim, generator=generator, dtype=torch.float64)
        flow = SharedStepFlow(flow.S_BC, alpha, 0.5)
    else:
        flow = MambaFlow(flow.S_BC, flow.S_Delta, _fixed_rates(count, dim, 2, 3, generator))
    found = clusters(last(flow, x0, 120.0, 1e-4, 1e-6))
    numbers = {
        "D": dim,
        "L": length,
        "mean number of clusters": float(found.mean()),
        "most": int(found.max()),
    }
    if not shared:
        at = torch.arange(dim)
        one = MambaFlow(flow.S_BC[0], torch.eye(dim, dtype=torch.float64), flow.a[0])
        values = vertex_spectrum(one, at, torch.ones(dim))
        numbers["largest eigenvalue with each token at its own vertex"] = float(values.real.max())
    return Evidence(int(found.max()) <= 2, numbers)


def near_shared(generator: torch.Generator, departure: float, follow: bool) -> Evidence:
    """Columns alpha + eps G and rates near 1/2: the first token moves; do the others follow it?"""
    count, dim, length = 20, 3, 4
    x0 = random_tokens(count, length, dim, generator=generator)
    S_Delta = torch.randn(count, dim, 1, generator=generator, dtype=torch.float64)
    G = torch.randn(count, dim, dim, generator=generator, dtype=torch.float64)
    a = 0.5 * (1 + departure * torch.rand(count, dim, generator=generator, dtype=torch.float64))
    eye = torch.eye(dim, dtype=torch.float64).expand(count, dim, dim)
    flow = MambaFlow(eye, S_Delta + departure * G, a)
    x = last(flow, x0, 200.0)
    moved = float((x[:, 0] - x0[:, 0]).norm(dim=-1).mean())
    first, later = x[:, :1], x[:, 1:]
    off = torch.minimum((later - first).norm(dim=-1), (later + first).norm(dim=-1))
    off = float(off.flatten().quantile(0.9))
    numbers = {
        "departure from (10)": departure,
        "mean distance the first token went": moved,
        "0.9 quantile of the others' distance to it or its antipode": off,
    }
    return Evidence(moved > 0.2 and off < 0.1 if follow else moved < 0.1, numbers)


def first_limits(generator: torch.Generator, stated: bool) -> Evidence:
    """Under (10): is the first token's limit a vertex, and can Theorem 3.2's columns agree?"""
    count, dim = 200, 3
    x0 = random_tokens(count, 2, dim, generator=generator)
    alpha = torch.randn(count, dim, 1, generator=generator, dtype=torch.float64)
    S_BC, _, _ = survey.draw("Gaussian", dim, count, generator)
    flow = MambaFlow(S_BC, alpha.expand(count, dim, dim), torch.ones_like(x0[:, 0]))
    speed = float(flow(x0)[:, 0].norm(dim=-1).max())
    vertex = 1 - x0[:, 0].abs().amax(-1)
    columns = torch.diag_embed(x0[:, 0].sign())
    differ = float((columns - columns[..., :1]).flatten(1).norm(dim=-1).min())
    numbers = {
        "largest speed of a first token": speed,
        "first tokens within 0.01 of a coordinate vector": int((vertex < 0.01).sum()),
        "of": count,
        "least distance between columns of Theorem 3.2": differ,
    }
    if stated:
        return Evidence(int((vertex < 0.01).sum()) > count // 2, numbers)
    return Evidence(speed < 1e-13 and differ >= 1, numbers)


def consensus_rests(generator: torch.Generator, rates: str) -> Evidence:
    """Speeds at (s_l p), p a point of equal steps on two of three coordinates, all signs, L = 4."""
    S_BC, S_Delta, a = (value[0] for value in survey.draw("Gaussian", 3, 1, generator))
    if rates == "equal on the support":
        a[1] = a[0]
    gap = (S_Delta[:, 0] - S_Delta[:, 1])[:2]
    p = torch.cat([torch.stack([-gap[1], gap[0]]) / gap.norm(), torch.zeros(1).double()])
    x = sign_patterns(4).unsqueeze(-1) * p
    speed = MambaFlow(S_BC, S_Delta, a)(x).norm(dim=-1).amax(0) / abs(p @ S_BC @ p)
    numbers = {"rates": rates, "largest speed over |q|, by token": speed.tolist()}
    return Evidence(float(speed.max()) < 1e-10, numbers)


def patterns_attract(generator: torch.Generator, stated: bool) -> Evidence:
    """All sign patterns attract where the first token is attracted; or: the criterion decides."""
    dim, draws, length = 3, 5, 3
    patterns = sign_patterns(length)
    flows = MambaFlow(*survey.draw("Gaussian", dim, draws, generator))
    found = consensus_attracts(flows, patterns)
    first = consensus_attracts(flows, patterns[:1, :1])
    share = float((found & first).sum() / (first.sum() * len(patterns)))
    numbers = {"vertices that attract the first token": int(first.sum()), "share": share}
    if stated:
        return Evidence(share == 1.0, numbers)
    wrong, beyond = 0, 0
    for n, d, side, p in product(range(draws), range(dim), (0, 1), range(len(patterns))):
        flow = MambaFlow(flows.S_BC[n], flows.S_Delta[n], flows.a[n])
        x1 = (1 - 2 * side) * torch.eye(dim, dtype=torch.float64)[d]
        J = tangent_jacobian(flow, patterns[p].unsqueeze(-1) * x1)
        attracts = bool((torch.linalg.eigvals(J).real < 0).all())
        wrong += attracts != bool(found[n, d, side, p])
        beyond += attracts and p > 0 and float(flow.S_BC[d, d]) < 0
    numbers |= {"spectra": draws * dim * 2 * len(patterns), "criterion wrong": wrong}
    numbers["with an antipode and S_dd < 0 that attract"] = beyond
    return Evidence(wrong == 0 == beyond and 0 < share < 1, numbers)


def others_follow(generator: torch.Generator, stated: bool) -> Evidence:
    """Vertices that attract the first token, and eight tokens with equal signs, by sign of S_dd."""
    length, numbers, passed = 8, {}, True
    flow = MambaFlow(*survey.draw("Gaussian", 4, 200, generator))
    ones = torch.ones(1, length, dtype=torch.float64)
    first = consensus_attracts(flow, ones[:, :1])[..., 0]
    every = consensus_attracts(flow, ones)[..., 0]
    positive = (flow.S_BC.diagonal(dim1=-2, dim2=-1) > 0).unsqueeze(-1).expand_as(first)
    for name, which in (("S_dd > 0", positive), ("S_dd < 0", ~positive)):
        numbers[f"{name}: first, all {length}"] = [int((v & which).sum()) for v in (first, every)]
    if stated:
        return Evidence(bool((first == every).all()), numbers)
    passed = bool((first == every)[positive].all())
    # S_BC = S_Delta = -I, a = 1, at e_1: F_2 < ln 2 < F_3.
    eye = torch.eye(3, dtype=torch.float64)
    flow = MambaFlow(-eye, -eye, torch.ones(3, dtype=torch.float64))
    tops = [float(consensus_spectrum(flow, eye[0], ones[0, :n]).max()) for n in (1, 2, 3)]
    numbers["S_BC = S_Delta = -I, a = 1: largest eigenvalue for L = 1, 2, 3"] = tops
    return Evidence(passed and tops[0] < 0 and tops[1] < 0 < tops[2], numbers)


def _rate(generator: torch.Generator, formula: str) -> Evidence:
    """Fitted rates agree to one percent with a formula."""
    found = fitted_rates(generator, 6)
    off = (found["fitted"] / found[formula] - 1).abs()
    plus = found["plus"]
    same = float((found["first"] - found["predicted"])[plus].abs().sum())
    numbers = {
        "cases": len(off),
        "largest relative error": float(off.max()),
        "equal signs and S_dd > 0": int(plus.sum()),
        "sum of differences from the first token's rate there": same,
    }
    return Evidence(float(off.max()) < 0.01 and same < 1e-9, numbers)
