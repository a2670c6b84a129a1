"""What holds along trajectories from random admissible starts."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tokensphere.flow import SharedStepFlow, simulate
from tokensphere.flow.integrate import unit
from tokensphere.other_tokens import consensus_rate, interaction_speeds, interactions
from tokensphere.other_tokens import positive_angles as angles
from tokensphere.other_tokens.approach import axis_distance, unbatched
from tokensphere.paper.checks.tools import largest, times
from tokensphere.paper.ledger import Evidence, above, at_least, below
from tokensphere.rates import fit_exponential

from .displays import label

INTEGRATED = 1e-6
"""How far a relation between integrated quantities may be off: a few times the tolerance."""


def run(flow: SharedStepFlow, x: Tensor, stop: float, count: int) -> Tensor:
    """Tokens (count, ..., L, D) at `count` equally spaced times from 0 to `stop`."""
    return simulate(flow, x, times(stop, count), rtol=1e-7, atol=1e-9).tokens


def _last_reflected(x: Tensor) -> Tensor:
    return torch.cat([x[:, :-1], -x[:, -1:]], 1)


def proposition(
    generator: torch.Generator,
    condition: str,
    symmetric: bool,
    lengths: Sequence[int] = (3, 4),
    reflected: bool = False,
    count: int = 12,
) -> Evidence:
    """The U_ij of the condition stay positive, x_i -> x_1; or after the last token is reflected.

    Of each of the `lengths` L `count` sequences in L dimensions.
    """
    least, close = [], []
    for length in lengths:
        flow, x = angles.admissible(generator, count, length, length, symmetric, condition)
        path = run(flow, _last_reflected(x) if reflected else x, 12.0, 25)
        least.append(float(angles.margin(path, flow.S_BC, condition).min()))
        close.append(float((path[-1] @ path[-1, :, 0, :, None]).min()))
    positive = above("least interaction of the condition on [0, 12]", min(least), 0)
    # 1 - X_i1 decays at the rate 2, after leaving the neighbourhood of a saddle.
    joins = above("least cosine with the first token at t = 12", min(close), 0.9)
    return Evidence([positive, joins], {"sequences": count * len(lengths)})


def rates(generator: torch.Generator, factor: float) -> Evidence:
    """Fitted rates of the sum over tokens against the spectrum's, times `factor`, to 1%."""
    flow, x = angles.admissible(generator, 6, 3, 3, least=0.05)
    at = times(20.0, 201)
    path = simulate(flow, x, at, rtol=1e-8, atol=1e-12).tokens
    error, off = (path - path[:, :, :1]).norm(dim=-1).sum(-1), []
    for n, one in enumerate(unbatched(flow)):
        rate = factor * consensus_rate(one, x[n, 0], torch.ones(3)).rate
        off.append(fit_exponential(at, error[:, n], floor=1e-8).rate / rate - 1)
    return Evidence([below("largest relative difference of rates", largest(off), 0.01)])


def explicit_bound(flow: SharedStepFlow, at: Tensor, path: Tensor, speed: float) -> Tensor:
    """1 - X_i1 <= 2 (1 + K t)^(i-2) e^(-p t), with p times `speed`."""
    X, bounds = interactions(path, flow.S_BC)[0], angles.alignment_bounds(flow, path[0])
    faster = torch.exp((1 - speed) * bounds.p * at[:, None])
    return bounds.distance(at, path.shape[-2]) * faster[..., None] - (1 - X[..., 0])


def interactions_grow(flow: SharedStepFlow, _: Tensor, path: Tensor, which: str) -> Tensor:
    """Claims 1 and 2: the "least" U_ij never falls below its start; or "every" one."""
    U = interactions(path, flow.S_BC)[1].flatten(-2)
    return U.amin(-1) - U[0].amin(-1) if which == "least" else (U - U[0]).amin(-1)


def induction_bound(flow: SharedStepFlow, _: Tensor, path: Tensor, part: float) -> Tensor:
    """Claim 2: U_Lj >= min(part gamma, U_L1(T), ..., U_Lj(T)) for t >= T.

    T is when U_ij >= 0.9 gamma for i, j < L from then on.
    """
    U = interactions(path, flow.S_BC)[1]
    gamma = U[0, :, 0, 0]
    ready = U[:, :, :-1, :-1].flatten(-2).amin(-1) >= 0.9 * gamma
    later = ready.flip(0).cummin(0).values.flip(0)
    begin = later.double().argmax(0)
    row = U[:, :, -1]
    floor = row[begin, torch.arange(len(begin))].cummin(-1).values
    slack = row - torch.minimum(part * gamma[:, None], floor)
    return torch.where(later, slack.amin(-1), math.inf)


def along(
    generator: torch.Generator, of: str, reflected: bool = False, fixed: bool = False, **given
) -> Evidence:
    """An inequality along 20 runs of three tokens and 20 of four, t <= 8.

    Args:
        of: the name of one of the three functions above, from flow, times (T,) and tokens
            (T, n, L, D) to left minus right side; `given` are more of its arguments.
        reflected: whether the last token is, which makes the statement wrong.
        fixed: whether to have 20 more runs of three tokens, always the same. One of them comes
            nearer to the border than most.
    """
    least, positive, at = [], [], times(8.0, 41)
    draws = [(generator, 3), (generator, 4)]
    if fixed:
        draws.append((torch.Generator().manual_seed(0), 3))
    for source, length in draws:
        flow, x = angles.admissible(source, 20, length, 3)
        path = run(flow, _last_reflected(x) if reflected else x, 8.0, 41)
        least.append(float(globals()[of](flow, at, path, **given).min()))
        positive.append(float(angles.margin(path, flow.S_BC).min()))
    slack = at_least(f"least slack of {label(of, given)}", min(least), -INTEGRATED)
    positive = above("least interaction", min(positive), 0)
    return Evidence([slack, positive], {"runs": 20 * len(draws)})


def explicit(generator: torch.Generator, speed: float) -> Evidence:
    """The explicit bound along random runs, and where p is sharp: S_BC = I, alpha = 0, a = 0.01,
    three tokens near the first. There 1 - X_i1 decays by 120 powers of ten before the bound, with p
    times `speed`, is compared with it."""
    random = along(generator, "explicit_bound", speed=speed)
    x0 = unit(torch.eye(3, dtype=torch.float64) * 0.05 + torch.tensor([[0.95, 0, 0]]).double())
    flow = SharedStepFlow(torch.eye(3).double(), torch.zeros(3).double(), 0.01)
    at = times(200.0, 41)
    path = simulate(flow, x0, at, rtol=1e-8, atol=1e-80).tokens[:, 1:]
    bounds = angles.alignment_bounds(flow, x0)
    room = bounds.distance(at, 3)[:, 1:].log() + (1 - speed) * bounds.p * at[:, None]
    room -= (axis_distance(path) ** 2 / 2).log()  # 1 - X_i1, without cancellation
    near = at_least("near the first token: least ln of bound over 1 - X_i1", room.min(), 0)
    return Evidence(
        [*random.criteria, near], {**random.numbers, "at t = 200, tokens 2 and 3": room[-1]}
    )


def second_token(generator: torch.Generator, speed: float = 1.0, factor: float = 1.0) -> Evidence:
    """Proposition B.15 on 60 runs, any S_BC: with f = X_21, g = U_21,

    1 - f <= (1 - f(0)) e^(-kappa t) and f' >= kappa (1 - f), kappa times `speed`; and eq (29),
    g >= factor min(gamma, g(0)).
    """
    flow, x = angles.admissible(generator, 60, 2, 3, symmetric=False, condition="below")
    path, at = run(flow, x, 12.0, 61), times(12.0, 61)[:, None]
    kappa = speed * angles.second_token_rate(flow, x)
    X, U = interactions(path, flow.S_BC)
    y, g, gamma = 1 - X[..., 1, 0], U[..., 1, 0], U[0, :, 0, 0]
    slope = interaction_speeds(flow, path, flow.S_BC)[0][..., 1, 0]
    slacks = {
        "the bound of the distance": y[0] * torch.exp(-kappa * at) - y,
        "the bound of the slope": slope - kappa * y,
        "eq (29)": g - factor * torch.minimum(gamma, g[0]),
    }
    criteria = [at_least(f"least slack of {n}", s.min(), -INTEGRATED) for n, s in slacks.items()]
    return Evidence([*criteria, above("least interaction of the two tokens", g.min(), 0)])


def second_limit(generator: torch.Generator, supremum_of: str) -> Evidence:
    """lim f is sup f', as printed, or sup f, over runs that have converged; f = X_21."""
    flow, x = angles.admissible(generator, 20, 2, 3, condition="below", least=0.2)
    path = run(flow, x, 16.0, 101)
    X, dX = interactions(path, flow.S_BC)[0], interaction_speeds(flow, path, flow.S_BC)[0]
    theta = (dX if supremum_of == "derivative" else X)[..., 1, 0].amax(0)
    off = largest(theta - X[-1, :, 1, 0])
    return Evidence([below("largest distance of theta from the limit", off, 1e-3)])


def second_rates(generator: torch.Generator, common: bool) -> Evidence:
    """Rates r of |x_2 - x_1| <= |x_2(0) - x_1| e^(-r t) for starts ever nearer to U_21 = 0.

    S_BC = I, alpha = 0, a = 1: consensus is approached at the rate a_21. `common`: one r for all,
    a hundredth of a_21; otherwise that of Proposition B.15's check, kappa / 2.
    """
    cosines = torch.tensor([0.5, 1e-1, 1e-2, 1e-3, 1e-4], dtype=torch.float64)
    first = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(5, 2)
    x = torch.stack([first, torch.stack([cosines, (1 - cosines**2).sqrt()], -1)], 1)
    flow = SharedStepFlow(torch.eye(2).double(), torch.zeros(2).double(), 1.0)
    a21 = math.log(2) / 2
    distance = (run(flow, x, 2.0, 41)[:, :, 1] - first).norm(dim=-1)
    best = (-(distance[1:] / distance[0]).log() / times(2.0, 41)[1:, None]).amin(0)
    wanted = torch.full((5,), 0.01 * a21) if common else angles.second_token_rate(flow, x) / 2
    margin = at_least("least margin of the rates to t = 2", (best - wanted).min(), -INTEGRATED)
    return Evidence([margin], {"rates over that of consensus": best / a21, "cosines": cosines})
