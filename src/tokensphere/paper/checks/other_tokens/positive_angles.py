"""Claims of section 3.2 and appendix B.2: Propositions 3.6, B.9 and B.15, Lemma B.14."""

import math
from collections.abc import Callable

import numpy as np
import sympy
import torch
from scipy.optimize import differential_evolution
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.flow import SharedStepFlow, random_tokens, simulate
from tokensphere.flow.integrate import unit
from tokensphere.other_tokens import consensus_rate, interaction_speeds, interactions, weights
from tokensphere.paper.ledger import Evidence
from tokensphere.rates import fit_exponential

INTEGRATED = 1e-6
"""How far a relation between integrated quantities may be off: a few times the tolerance."""

ROUNDING = 1e-11
"""Sums of products of numbers up to a hundred."""


def tensor(values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def margin(x: Tensor, S_BC: Tensor, condition: str = "all") -> Tensor:
    """The least of the U_ij that a condition asks to be positive, (...).

    "all": every i, j. "below": gamma = U_11 and j < i. "first": U_i1 for every i.
    """
    U = interactions(x, S_BC)[1]
    mask = torch.ones(U.shape[-2:], dtype=torch.bool)
    if condition == "below":
        mask = mask.tril(-1)
    if condition == "first":
        mask[:, 1:] = False
    mask[0, 0] = True
    return U[..., mask].amin(-1)


def admissible(
    generator: torch.Generator,
    count: int,
    length: int,
    dim: int,
    symmetric: bool = True,
    condition: str = "all",
    least: float = 0.02,
) -> tuple[SharedStepFlow, Tensor]:
    """Random flows and starts with a margin of at least `least`, by rejection; gamma >= 0.3.

    S_BC is Gaussian, scaled to Frobenius norm 1, alpha Gaussian with deviation 1/2, a uniform on
    [1/5, 6/5]. Signs of S_BC and of tokens are turned so that the U_i1 are positive; then draws are
    kept or thrown away. At last S_BC is scaled again, so that consensus is approached at the rate
    gamma Delta e^{-a Delta} = 1 and all draws need equal times.
    """
    parts: list[list[Tensor]] = []
    while sum(len(part[0]) for part in parts) < count:
        S_BC = torch.randn(4000, dim, dim, generator=generator, dtype=torch.float64)
        if symmetric:
            S_BC = (S_BC + S_BC.mT) / 2
        S_BC = S_BC / torch.linalg.matrix_norm(S_BC)[:, None, None]  # Frobenius: fast
        x = random_tokens(len(S_BC), length, dim, generator=generator)
        S_BC = S_BC * interactions(x, S_BC)[1][:, :1, :1].sign()
        x = x * interactions(x, S_BC)[1][:, :, :1].sign()
        alpha = torch.randn(len(S_BC), dim, generator=generator, dtype=torch.float64) / 2
        a = 0.2 + torch.rand(len(S_BC), generator=generator, dtype=torch.float64)
        U = interactions(x, S_BC)[1]
        kept = (margin(x, S_BC, condition) > least) & (U[:, 0, 0] > 0.3)
        parts.append([values[kept] for values in (S_BC, alpha, a, x)])
    S_BC, alpha, a, x = (torch.cat(column)[:count] for column in zip(*parts, strict=True))
    step = softplus((x[:, 0] * alpha).sum(-1))
    rate = interactions(x, S_BC)[1][:, 0, 0] * step * torch.exp(-a * step)
    return SharedStepFlow(S_BC / rate[:, None, None], alpha, a), x


def follow(flow: SharedStepFlow, x: Tensor, stop: float, count: int) -> tuple[Tensor, Tensor]:
    """Times (count,) and tokens (count, ..., L, D)."""
    times = torch.linspace(0, stop, count, dtype=torch.float64)
    return times, simulate(flow, x, times, rtol=1e-7, atol=1e-9).tokens


def constants(flow: SharedStepFlow, x0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """c, p and K of the chapter's theorem: U_ij >= c, 1 - X_i1 <= 2 (1 + K t)^(i-2) e^{-p t}."""
    S_BC, length = flow.S_BC, x0.shape[-2]
    moved = (S_BC @ x0[..., 0, :, None])[..., 0]
    gamma = (moved * x0[..., 0, :]).sum(-1)
    c = margin(x0, S_BC)
    size = flow.alpha.norm(dim=-1)
    low, high = softplus(-size), softplus(size)
    least = low * torch.exp(-torch.as_tensor(flow.a) * (length - 1) * high)
    p = least * c * (gamma + c) ** 2 / (2 * moved.norm(dim=-1) ** 2)
    return c, p, high * torch.linalg.matrix_norm(S_BC, 2)


def run_slacks(
    flow: SharedStepFlow, times: Tensor, path: Tensor, part: float = 0.8, speed: float = 1.0
) -> dict[str, Tensor]:
    """Left side minus right side of inequalities along trajectories, (T, n): >= 0 if they hold.

    `part` is Claim 2's 0.8, `speed` multiplies p of the explicit bound: larger ones make controls.
    """
    X, U = interactions(path, flow.S_BC)
    length = path.shape[-2]
    gamma = U[0, :, 0, 0]
    c, p, K = constants(flow, path[0])
    size = (flow.S_BC @ path[0, :, 0, :, None])[..., 0].norm(dim=-1)
    near = X[:, :, : length - 1, 0].amin(-1)  # the least X_j1, j < L
    powers = torch.arange(-1, length - 1, dtype=torch.float64).clamp(min=0)
    clock = times[:, None, None]
    bound = 2 * (1 + K[:, None] * clock) ** powers * torch.exp(-speed * p[:, None] * clock)
    last = U[:, :, -1].amin(-1)
    inner = U[:, :, : length - 1, : length - 1].flatten(-2).amin(-1)
    ready = inner.flip(0).cummin(0).values.flip(0) >= 0.9 * gamma  # from here on
    begin = ready.double().argmax(0)
    there = last.gather(0, begin[None])[0]
    after = (torch.arange(len(times))[:, None] >= begin) & ready
    floor = torch.minimum(part * gamma, there)
    return {
        "(29)": U[..., 1, 0] - torch.minimum(gamma, U[0, :, 1, 0]),
        "Claims 1, 2: min U grows": U.flatten(-2).amin(-1) - c,
        "Claim 2, (30)": torch.where(after, last - floor, math.inf),
        "Claim 3, as printed": X[..., -1, 0] - torch.minimum(X[0, :, -1, 0], near.amin(0)),
        "Claim 3, repaired": (1 + X[..., 0]).amin(-1) - (gamma + c) ** 2 / (2 * size**2),
        "explicit bound": (bound - 1 + X[..., 0])[..., 1:].amin(-1),
    }


# Displayed inequalities at single states of three tokens. Each returns the slack (n,) and by how
# much the state misses the hypotheses (0 where it meets them).

State = tuple[SharedStepFlow, Tensor]


def _parts(state: State):
    flow, x = state
    X, U = interactions(x, flow.S_BC)
    dX, dU = interaction_speeds(flow, x, flow.S_BC)
    return weights(flow, x).tril(-1), X, U, dX, dU


def _missed(*values: Tensor) -> Tensor:
    return torch.stack([(-value).clamp(min=0) for value in values], -1).sum(-1)


def on_boundary(state: State, j: int) -> State:
    """The state with U_3j = 0 (j from 0): x_3 turned, or for j = 2 S_BC changed."""
    flow, x = state
    x = x.clone()
    if j == 2:
        last = x[:, 2, :, None]
        S_BC = flow.S_BC - last @ last.mT * (last.mT @ flow.S_BC @ last)
        return SharedStepFlow(S_BC, flow.alpha, flow.a), x
    normal = unit((flow.S_BC @ x[:, j, :, None])[..., 0])
    x[:, 2] = unit(x[:, 2] - (x[:, 2] * normal).sum(-1, keepdim=True) * normal)
    return flow, x


def _others_positive(U: Tensor, j: int) -> Tensor:
    rest = U.clone()
    rest[:, 2, j] = rest[:, j, 2] = torch.inf
    return rest.flatten(1).amin(-1) - 1e-3


def _claim_1(state: State, j: int, factor: bool) -> tuple[Tensor, Tensor]:
    """U_3j' >= sum_k a_3k U_3k [U_kj], where U_3j = 0; without the factor as printed."""
    a, _, U, _, dU = _parts(on_boundary(state, j))
    terms = a[:, 2, :2] * U[:, 2, :2] * (U[:, :2, j] if factor else 1.0)
    if factor and j < 2:
        terms[:, j] = 0.0
    return dU[:, 2, j] - terms.sum(-1), _missed(_others_positive(U, j))


def _claim_2(state: State, j: int) -> tuple[Tensor, Tensor]:
    """U_3j' at U_3j = delta against the last lower bound of the display, as printed."""
    a, _, U, _, dU = _parts(state)
    gamma, delta = U[:, 0, 0], U[:, 2, j]
    early = U[:, :2, :2].flatten(1).amin(-1) - 0.9 * gamma
    earlier = [U[:, 2, k] - delta for k in range(j)]
    if j == 0:
        bound = (a[:, 2, :2] * U[:, 2, :2]).sum(-1) * (0.9 * gamma - delta)
    else:
        bound = sum(a[:, j, k] * U[:, j, k] * (U[:, 2, k] - delta) for k in range(j))
    positive = U.flatten(1).amin(-1) - 1e-3
    return dU[:, 2, j] - bound, _missed(early, positive, 0.8 * gamma - delta, *earlier)


def _claim_3(state: State, printed: bool) -> tuple[Tensor, Tensor]:
    """X_31' at X_31 = delta < X_21 against the printed bound; or against 0, at delta < -1/2.

    Over a_32 U_32, which keeps the adversary from making everything small.
    """
    a, X, U, dX, _ = _parts(state)
    delta, eps = X[:, 2, 0], 1 - X[:, 1, 0]
    bound = a[:, 2, 0] * U[:, 2, 0] * (1 - delta**2) + a[:, 2, 1] * U[:, 2, 1] * (1 - eps - delta)
    near = 0.2 - eps, (1 - eps if printed else -0.5) - delta
    slack = (dX[:, 2, 0] - (bound if printed else 0.0)) / (a[:, 2, 1] * U[:, 2, 1])
    return slack, _missed(U.flatten(1).amin(-1) - 1e-3, *near)


def _claim_3_repaired(state: State) -> tuple[Tensor, Tensor]:
    _, X, U, _, _ = _parts(state)
    size = (state[0].S_BC @ state[1][:, 0, :, None])[..., 0].norm(dim=-1)
    slack = 1 + X[:, 2, 0] - (U[:, 0, 0] + U[:, 2, 0]) ** 2 / (2 * size**2)
    return slack, _missed(U.flatten(1).amin(-1) - 1e-3)


def _claim_4(state: State, both: bool) -> tuple[Tensor, Tensor]:
    """(1 - X_31)' <= -a U (1 + X_31) (1 - X_31) + sum a U (1 - X_j1), or without the sum."""
    a, X, U, dX, _ = _parts(state)
    y = 1 - X[..., 0]
    first = a[:, 2, 0] * U[:, 2, 0] * (1 + X[:, 2, 0]) * y[:, 2]
    second = 0.0 if both else a[:, 2, 1] * U[:, 2, 1] * y[:, 1]
    return dX[:, 2, 0] - first + second, _missed(U.flatten(1).amin(-1) - 1e-3)


def _minimum_grows(state: State) -> tuple[Tensor, Tensor]:
    _, _, U, _, dU = _parts(state)
    where = U.flatten(1).argmin(-1, keepdim=True)
    return dU.flatten(1).gather(1, where)[:, 0], _missed(U.flatten(1).amin(-1) - 1e-3)


def _step_1(state: State) -> tuple[Tensor, Tensor]:
    a, _, U, _, dU = _parts(state)
    g, gamma = U[:, 1, 0], U[:, 0, 0]
    slack = dU[:, 1, 0] - a[:, 1, 0] * g * (gamma - g)
    return slack, _missed(gamma - g, g - 1e-3)


def _step_3(state: State) -> tuple[Tensor, Tensor]:
    """f' >= a g (1 + theta)(1 - f), theta = sup f = 1, the display without its hidden constant."""
    a, X, U, dX, _ = _parts(state)
    f, g = X[:, 1, 0], U[:, 1, 0]
    slack = dX[:, 1, 0] - 2 * a[:, 1, 0] * g * (1 - f)
    return slack, _missed(U[:, :2, 0].amin(-1) - 1e-3)


DISPLAYS: dict[str, Callable[[State], tuple[Tensor, Tensor]]] = {
    "B.15, Step 1: g' at g = delta": _step_1,
    "B.15, Step 3, constant 1": _step_3,
    "Claim 1, i* = 1": lambda state: _claim_1(state, 0, factor=True),
    "Claim 1, i* = 2, as printed": lambda state: _claim_1(state, 1, factor=False),
    "Claim 1, i* = 3, as printed": lambda state: _claim_1(state, 2, factor=False),
    "Claim 1, i* = 2, corrected": lambda state: _claim_1(state, 1, factor=True),
    "Claim 1, i* = 3, corrected": lambda state: _claim_1(state, 2, factor=True),
    "Claim 2, j = 1, for (30)": lambda state: _claim_2(state, 0),
    "Claim 2, j = 2": lambda state: _claim_2(state, 1),
    "Claim 2, j = L": lambda state: _claim_2(state, 2),
    "Claim 3, first bound of X_L1'": lambda state: _claim_3(state, printed=True),
    "Claim 3, X_L1' > 0 for X_L1 < -1/2": lambda state: _claim_3(state, printed=False),
    "Claim 3, repaired": _claim_3_repaired,
    "Claim 4, third term dropped": lambda state: _claim_4(state, both=False),
    "Claim 4, both sums dropped": lambda state: _claim_4(state, both=True),
    "Ours, the least U_ij grows": _minimum_grows,
}
"""Name -> slack and missed hypotheses of a state with three tokens."""


def decode(points: np.ndarray, symmetric: bool = True) -> State:
    """States of three tokens in R^3 from points (n, 19) of [-1, 1]^19."""
    p = torch.as_tensor(np.ascontiguousarray(points))
    S_BC = 3 * p[:, :9].reshape(-1, 3, 3)
    if symmetric:
        S_BC = (S_BC + S_BC.mT) / 2
    first = torch.zeros(len(p), 1, 3, dtype=torch.float64)
    first[..., 0] = 1.0
    x = torch.cat([first, unit(p[:, 9:15].reshape(-1, 2, 3) + 1e-9)], -2)
    return SharedStepFlow(S_BC, 3 * p[:, 15:18], torch.exp(2 * p[:, 18])), x


def _evolve(cost: Callable[[np.ndarray], np.ndarray], seed: int, generations: int, population: int):
    """Differential evolution on [-1, 1]^19, costs of a generation at once. This strategy follows
    narrow valleys, as those near the boundary of a hypothesis are."""
    return differential_evolution(
        cost,
        [(-1, 1)] * 19,
        strategy="currenttobest1bin",
        recombination=0.95,
        vectorized=True,
        updating="deferred",
        popsize=population,
        maxiter=generations,
        tol=0,
        polish=False,
        seed=seed,
    )


def adversary(
    name: str, seed: int, generations: int = 60, symmetric: bool = True
) -> tuple[float, State]:
    """Differential evolution for the least slack of DISPLAYS[name]: (slack, state)."""

    def cost(points: np.ndarray) -> np.ndarray:
        slack, missed = DISPLAYS[name](decode(points.T, symmetric))
        return torch.where(missed > 0, 10 + missed, slack).nan_to_num(1e3).numpy()

    found = _evolve(cost, seed, generations, 8)
    return float(found.fun), decode(found.x[None], symmetric)


def run_adversary(name: str, seed: int, generations: int, population: int = 4):
    """Differential evolution over starts for the least slack of :func:`run_slacks`, for t <= 8.

    Returns the slack and the start.
    """

    def cost(points: np.ndarray) -> np.ndarray:
        flow, x = decode(points.T)
        missed = (0.02 - margin(x, flow.S_BC)).clamp(min=0)
        out, kept = 10 + missed, missed == 0
        if kept.any():
            flow = SharedStepFlow(flow.S_BC[kept], flow.alpha[kept], flow.a[kept])
            times = torch.linspace(0, 8, 33, dtype=torch.float64)
            path = simulate(flow, x[kept], times, rtol=1e-5, atol=1e-8).tokens
            out[kept] = run_slacks(flow, times, path)[name][1:].amin(0).clamp(max=9)
        return out.numpy()

    found = _evolve(cost, seed, generations, population)
    return float(found.fun), decode(found.x[None])


def turned_back() -> State:
    """An admissible start, rational but for ln 2, from which X_31 falls: Claim 3's proof fails.

    alpha = 0 and a = 2, so that a_31 = ln(2)/16 and a_32 = ln(2)/4.
    """
    S_BC = tensor([[1.0, 2.5, 2.0], [2.5, 7.0, 7.0], [2.0, 7.0, 7.0]])
    x = tensor([[1.0, 0.0, 0.0], [6 / 7, -3 / 7, 2 / 7], [-12 / 13, 5 / 13, 0.0]])
    return SharedStepFlow(S_BC[None], torch.zeros(1, 3, dtype=torch.float64), tensor([2.0])), x[
        None
    ]


def one_negative(i: int, j: int, sign: float = -1.0) -> State:
    """S_BC = I, i tokens, U_ij = sign * positive, all other U positive; 1 <= j < i <= 4.

    Those of the last token but U_ij are a twentieth of it.
    """
    basis = torch.eye(4, dtype=torch.float64)
    earlier = torch.stack([basis[0], *(unit(basis[0] + basis[k]) for k in range(1, i - 1))])
    wanted = torch.full((i - 1,), 0.05, dtype=torch.float64)
    wanted[j - 1] = sign
    last = unit(torch.linalg.solve(earlier @ earlier.mT, wanted) @ earlier)
    if i == 2:
        last = unit(sign * basis[0] + 0.5 * basis[1])
    flow = SharedStepFlow(basis[None], torch.zeros(1, 4, dtype=torch.float64), tensor([1.0]))
    return flow, torch.cat([earlier, last[None]])[None]


def skew_example() -> State:
    """gamma and all U_ij, j < i, positive, S_BC not symmetric, and x_3 -> -x_1."""
    S_BC = tensor([[1.0, -7.0, -5.0], [8.0, 2.0, 9.0], [-6.0, -3.0, 3.0]])
    x = unit(tensor([[1.0, 0.0, 0.0], [-3.0, 3.0, 2.0], [-2.0, 5.0, -4.0]]))
    return SharedStepFlow(S_BC[None], tensor([[0.0, 0.0, 1.0]]), tensor([2.0])), x[None]


def _random_states(generator: torch.Generator, count: int = 1500, symmetric: bool = True) -> State:
    """Admissible states of three tokens; in half of them x_2 is near x_1."""
    flow, x = admissible(generator, count, 3, 3, symmetric)
    x = x.clone()
    half = slice(0, count, 2)
    x[half, 1] = unit(x[half, 0] + 0.2 * x[half, 1])
    return flow, x


def random_least(name: str, generator: torch.Generator, count: int = 1500) -> tuple[float, int]:
    """The least slack of DISPLAYS[name] over random admissible states, and how many met it."""
    slack, missed = DISPLAYS[name](_random_states(generator, count))
    met = missed == 0
    return float(slack[met].min()), int(met.sum())


def display(generator: torch.Generator, *names: str, symmetric: bool = True) -> Evidence:
    """Least slacks over random states and over an adversary's."""
    seed = int(torch.randint(1000, (1,), generator=generator))
    least, numbers, states = math.inf, {}, _random_states(generator, symmetric=symmetric)
    for name in names:
        slack, missed = DISPLAYS[name](states)
        met = missed == 0
        found = float(slack[met].min()) if met.any() else math.inf
        worst = adversary(name, seed, 12, symmetric)[0]
        least = min(least, found, worst)
        numbers[f"{name}: states"] = int(met.sum())
        numbers[f"{name}: least slack at random"] = found if met.any() else "none met"
        numbers[f"{name}: adversary"] = worst
    return Evidence(least > -ROUNDING, numbers)


def _runs(generator: torch.Generator, length: int, symmetric: bool = True, stop: float = 8.0):
    flow, x = admissible(generator, 20, length, 3, symmetric)
    return flow, *follow(flow, x, stop, 41)


def proposition(
    generator: torch.Generator, condition: str, symmetric: bool, flipped: bool = False
) -> Evidence:
    """U_ij > 0 for all t, x_i -> x_1; or after a token of each sequence was reflected."""
    least, close, count = math.inf, math.inf, 0
    for length, dim in ((3, 3), (4, 4)):
        flow, x = admissible(generator, 12, length, dim, symmetric, condition)
        if flipped:
            x = torch.cat([x[:, :-1], -x[:, -1:]], 1)
        _, path = follow(flow, x, 12.0, 25)
        least = min(least, float(margin(path, flow.S_BC, condition).min()))
        close = min(close, float((path[-1] @ path[-1, :, 0, :, None]).min()))
        count += len(x)
    # 1 - X_i1 decays at the rate 2, after leaving the neighbourhood of a saddle.
    return Evidence(
        least > 0 and close > 0.9,
        {"sequences": count, "least U_ij on [0, 12]": least, "least X_i1 at t = 12": close},
    )


def _rate(generator: torch.Generator, shift: float) -> Evidence:
    """Fitted rates of the sum over tokens against consensus_rate, times `shift`, to 1%."""
    flow, x = admissible(generator, 6, 3, 3, least=0.05)
    times = torch.linspace(0, 20, 201, dtype=torch.float64)
    path = simulate(flow, x, times, rtol=1e-8, atol=1e-12).tokens
    error, off = (path - path[:, :, :1]).norm(dim=-1).sum(-1), []
    for n in range(len(x)):
        one = SharedStepFlow(flow.S_BC[n], flow.alpha[n], float(flow.a[n]))
        rate = consensus_rate(one, x[n, 0], torch.ones(3)).rate
        off.append(abs(fit_exponential(times, error[:, n], floor=1e-8).rate / (shift * rate) - 1))
    return Evidence(max(off) < 0.01, {"fits": len(off), "largest relative difference": max(off)})


def redundant(generator: torch.Generator, sign: float) -> Evidence:
    """Starts that the other hypotheses exclude: x_2 = sign x_1, x_3 with U_31 = 1 exactly."""
    S_BC = torch.diag(tensor([1.0, 2.0, 3.0]))
    x1 = unit(tensor([2.0, 1.0, 0.0]))
    moved = S_BC @ x1
    normal = unit(moved)
    across = unit(tensor([1.0, 1.0, 1.0]) - (normal.sum()) * normal)
    part = 1.0 / moved.norm()
    third = part * normal + torch.sqrt(1 - part**2) * across
    x = torch.stack([x1, sign * x1, third])
    flow = SharedStepFlow(S_BC, tensor([0.3, -0.2, 0.5]), 0.5)
    U = interactions(x, S_BC)[1]
    _, path = follow(flow, x, 60.0, 61)
    far = float((path[-1] - x1).norm(dim=-1).max())
    return Evidence(
        float(U.min()) > 0 and far < 1e-3,
        {
            "X_21(0)": float(x[1] @ x1),
            "U_31(0)": float(U[2, 0]),
            "least U_ij(0)": float(U.min()),
            "distance from x_1 at t = 60": far,
        },
    )


def each_pair(generator: torch.Generator, sign: float) -> Evidence:
    """Where x_i ends if U_ij(0) alone is negative, for all 1 <= j < i <= 4."""
    ends = {}
    for i in range(2, 5):
        flow, _ = one_negative(i, 1)
        x = torch.cat([one_negative(i, j, sign)[1] for j in range(1, i)])
        end = follow(flow, x, 15.0, 2)[1][-1]
        for j, value in enumerate((end[:, -1] * end[:, 0]).sum(-1).tolist(), 1):
            ends[f"({i}, {j})"] = round(value, 6)
    return Evidence(
        max(ends.values()) < -0.95, {f"X_i1 at t = 15, {k}": v for k, v in ends.items()}
    )


def example(generator: torch.Generator, which: str) -> Evidence:
    """One start; passes if its last token converges to x_1 and the margin was positive."""
    condition = "below"
    if which == "first":
        flow, x = one_negative(3, 2)
        condition = "first"
    else:
        flow, x = skew_example()
    U = interactions(x, flow.S_BC)[1][0]
    _, path = follow(flow, x, 60.0, 61)
    ended = float(path[-1, 0, -1] @ x[0, 0])
    return Evidence(
        float(margin(x, flow.S_BC, condition)) > 0 and ended > 0.99,
        {
            "S_BC": flow.S_BC[0].tolist(),
            "least U_ij(0) of the condition": float(margin(x, flow.S_BC, condition)),
            "U_21, U_31, U_32, U_12 at 0": [float(U[i]) for i in ((1, 0), (2, 0), (2, 1), (0, 1))],
            "X_31 at t = 60": ended,
        },
    )


def frozen(generator: torch.Generator, zeros: bool) -> Evidence:
    """U_42(0) > 0 = U_41(0) = U_43(0), D = 4; or with all three zero."""
    flow, x = admissible(generator, 10, 3, 4, condition="below")
    images = x @ flow.S_BC.mT
    wanted = torch.zeros(len(x), 3, 1, dtype=torch.float64)
    wanted[:, 1] = 1.0
    towards = images.mT @ torch.linalg.solve(images @ images.mT, wanted)
    null = torch.linalg.svd(images).Vh[:, 3]
    x4 = null if zeros else unit(null + towards[..., 0])
    x = torch.cat([x, x4[:, None]], 1)
    _, path = follow(flow, x, 20.0, 31)
    moved = float((path[:, :, 3] - x4).norm(dim=-1).max())
    close = float((path[-1, :, 3] * path[-1, :, 0]).sum(-1).min())
    U = interactions(x, flow.S_BC)[1]
    # Zeros are zeros up to rounding, which grows with U: hence 1e-3 and not 1e-9 for what is left.
    return Evidence(
        close > 0.9,
        {
            "least U_4j(0)": float(U[:, 3, :3].min()),
            "largest U_4j(0)": float(U[:, 3, :3].max()),
            "largest move of x_4": moved,
            "least X_41 at t = 20": close,
        },
    )


def gamma_zero(generator: torch.Generator, corrected: bool) -> Evidence:
    """S_BC = [[0, 1], [1, 0]], gamma = 0: exponential, or cot theta = cot theta_0 + a_21 t."""
    S_BC = tensor([[0.0, 1.0], [1.0, 0.0]])
    flow, x = SharedStepFlow(S_BC, tensor([0.0, 0.0]), 1.0), tensor([[1.0, 0.0], [-0.6, 0.8]])
    times, path = follow(flow, x, 1000.0, 101)
    distance = (path[:, 1] - x[0]).norm(dim=-1)
    cot = path[:, 1, 0] / path[:, 1, 1]
    off = float((cot / (-0.75 + math.log(2) / 2 * times) - 1).abs()[1:].max())
    numbers = {
        "distance at t = 600": float(distance[-1]),
        "times t": float(distance[-1] * 1000),
        "relative error of the exact solution": off,
    }
    if corrected:
        return Evidence(off < 1e-4, numbers)
    try:
        fit_exponential(times, distance)
    except ValueError as refusal:
        return Evidence(False, {**numbers, "fit": str(refusal)[:60]})
    return Evidence(True, numbers)


def lemma_14(generator: torch.Generator, strict: bool) -> Evidence:
    """Lemma B.14 for polynomials of degree 5 on [0, inf), their zeros of g - delta by roots."""
    draws, met, broken = 4000, 0, 0
    coefficients = torch.randn(draws, 6, generator=generator, dtype=torch.float64).numpy()
    coefficients[:, -1] = abs(coefficients[:, -1])  # g(0) - delta > 0
    for c in coefficients:
        roots = np.roots(c)
        times = roots[(abs(roots.imag) < 1e-9) & (roots.real > 0)].real
        if (np.polyval(np.polyder(c), times) > 0).all():
            met += 1
            broken += int(len(times) > 0 or c[0] < 0)
    t = sympy.Symbol("t")
    g = (1 - t) ** 3  # delta = 0: g'(T) = 0 at the only zero T = 1
    slope, value = g.diff(t).subs(t, 1), g.subs(t, 2)
    weak = not strict and slope >= 0 and value < 0
    return Evidence(
        broken == 0 and met > 0 and not weak,
        {
            "polynomials": draws,
            "that meet the hypothesis": met,
            "that go below delta": broken,
            "(1-t)^3: slope at its zero": int(slope),
            "(1-t)^3 at t = 2": int(value),
        },
    )


def second_token(generator: torch.Generator, which: str, wrong: bool = False) -> Evidence:
    """Proposition B.15, nonsymmetric S_BC too; x_2 reflected if `wrong`."""
    flow, x = admissible(generator, 60, 2, 3, symmetric=False, condition="below")
    if wrong:
        x = torch.cat([x[:, :1], -x[:, 1:]], 1)
    times, path = follow(flow, x, 12.0, 61)
    X, U = interactions(path, flow.S_BC)
    f, g, gamma = X[..., 1, 0], U[..., 1, 0], U[0, :, 0, 0]
    if which == "(29)":
        slack = g - torch.minimum(gamma, g[0])
    else:
        size = flow.alpha.norm(dim=-1)
        a21 = softplus((x[:, 0] * flow.alpha).sum(-1)) * torch.exp(-flow.a * softplus(size))
        kappa = a21 * torch.minimum(gamma, g[0]) * (1 + f[0])
        slack = (1 - f[0]) * torch.exp(-kappa * times[:, None]) - (1 - f)
    return Evidence(
        float(slack.min()) > -INTEGRATED and float(g.min()) > 0,
        {"trajectories": len(x), "least slack": float(slack.min()), "least g": float(g.min())},
    )


def derivatives_f_g(generator: torch.Generator, sign: float) -> Evidence:
    """f' = a g (1 - f^2), g' = a g (gamma - sign f g), by the flow's derivative; any S_BC."""
    flow, x = admissible(generator, 200, 2, 4, symmetric=False, condition="below")
    v = flow(x)[:, 1]
    moved = (flow.S_BC @ x[:, 0, :, None])[..., 0]
    f, g, gamma = (x[:, 1] * x[:, 0]).sum(-1), (x[:, 1] * moved).sum(-1), (x[:, 0] * moved).sum(-1)
    a = weights(flow, x)[:, 1, 0]
    off = (
        (v * x[:, 0]).sum(-1) - a * g * (1 - f**2),
        (v * moved).sum(-1) - a * g * (gamma - sign * f * g),
    )
    largest = [float(value.abs().max()) for value in off]
    return Evidence(
        max(largest) < ROUNDING, {"difference for f'": largest[0], "difference for g'": largest[1]}
    )


def supremum(generator: torch.Generator, of: str) -> Evidence:
    """lim f against sup f' (as printed) or sup f, over trajectories that have converged."""
    flow, x = admissible(generator, 20, 2, 3, condition="below", least=0.2)
    _, path = follow(flow, x, 16.0, 101)
    X, dX = interactions(path, flow.S_BC)[0], interaction_speeds(flow, path, flow.S_BC)[0]
    theta = (dX if of == "f'" else X)[..., 1, 0].amax(0)
    off = float((theta - X[-1, :, 1, 0]).abs().max())
    return Evidence(off < 1e-3, {"largest distance of theta from lim f": off})


def positivity(generator: torch.Generator, turned: bool) -> Evidence:
    """Claim 1: U_ij > 0 along runs of 3 and 4 tokens; or with U_32(0) < 0 alone."""
    if turned:
        flow, x = one_negative(3, 2)
        least = float(margin(follow(flow, x, 40.0, 41)[1], flow.S_BC).min())
        return Evidence(least > 0, {"least U_ij": least})
    least, start = math.inf, math.inf
    for length in (3, 4):
        flow, _, path = _runs(generator, length)
        least = min(least, float(margin(path, flow.S_BC).min()))
        start = min(start, float(margin(path[0], flow.S_BC).min()))
    return Evidence(least > 0, {"runs": 40, "least U_ij": least, "least U_ij(0)": start})


def cases(generator: torch.Generator, printed: bool) -> Evidence:
    """Claim 1's first case at U_41 = U_42 = U_43 = 0 < U_44, L = 4, S_BC = diag(1, 1, 1, 2).

    Printed: then U_4i*' > 0. Corrected: that asks for some U_4k > 0 with k < L and k != i*, here
    U_42; and where all are zero they stay zero.
    """
    S_BC = torch.diag(tensor([1.0, 1.0, 1.0, 2.0]))
    first = unit(tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]]))
    last = tensor([0.0, 0.0, 0.0, 1.0])
    x = torch.cat([first, last[None]])
    flow = SharedStepFlow(S_BC, tensor([0.2, 0.1, -0.3, 0.4]), 0.7)
    U, dU = interactions(x, S_BC)[1], interaction_speeds(flow, x, S_BC)[1]
    numbers = {"U_4k": U[3].tolist(), "dU_4k/dt": [abs(float(v)) for v in dU[3]]}
    if printed:
        return Evidence(float(dU[3, :3].min()) > 0, numbers)
    moved = float((follow(flow, x, 30.0, 4)[1][:, 3] - last).norm(dim=-1).max())
    partly = torch.cat([first, unit(tensor([0.0, 1.0, 0.0, 1.0]))[None]])  # U_41 = U_43 = 0 < U_42
    speeds = interaction_speeds(flow, partly, S_BC)[1][3]
    numbers |= {
        "move of x_4 in 30": moved,
        "with U_41 = U_43 = 0 < U_42: U_41', U_43'": [float(speeds[0]), float(speeds[2])],
    }
    return Evidence(moved < 1e-12 and float(speeds[[0, 2]].min()) > 0, numbers)


def simultaneous(generator: torch.Generator, zeros: bool) -> Evidence:
    """If U_Lk = 0 for all k < L at one time, x_L stands still; not if only U_L2 = ... = 0."""
    flow, x = admissible(generator, 20, 3, 4, condition="below")
    images = x @ flow.S_BC.mT
    count = 3 if zeros else 2  # the last ones: with 2, U_L1 is left free
    null = torch.linalg.svd(images[:, -count:]).Vh[:, count]
    x = torch.cat([x, null[:, None]], 1)
    moved = float((follow(flow, x, 2.0, 11)[1][:, :, 3] - null).norm(dim=-1).max())
    # Rounding of the zeros grows at a rate of a few.
    return Evidence(moved < 1e-6, {"sequences": len(x), "largest move of x_L for t <= 2": moved})


def _along(generator: torch.Generator, name: str, **wrong: float) -> Evidence:
    """An inequality of run_slacks along runs of 3 and 4 tokens."""
    least, runs = math.inf, 0
    for length in (3, 4):
        flow, times, path = _runs(generator, length)
        least = min(least, float(run_slacks(flow, times, path, **wrong)[name].min()))
        runs += path.shape[1]
    return Evidence(least > -INTEGRATED, {"runs": runs, "least slack": least})


def each_grows(generator: torch.Generator) -> Evidence:
    """Whether every U_ij grows, and not only the least, along admissible runs of three tokens."""
    flow, _, path = _runs(generator, 3)
    least = float(interactions(path, flow.S_BC)[1].diff(dim=0).min())
    return Evidence(least > -INTEGRATED, {"runs": path.shape[1], "least change in a step": least})


def _turned_back(generator: torch.Generator, name: str) -> Evidence:
    """Claim 3 at the rational start of :func:`turned_back`."""
    flow, x = turned_back()
    times, path = follow(flow, x, 40.0, 401)
    X, U = interactions(x, flow.S_BC)
    dX = interaction_speeds(flow, x, flow.S_BC)[0]
    slack = float(run_slacks(flow, times, path)[name].min())
    along = (path[:, 0, 2] @ x[0, 0]).tolist()
    return Evidence(
        slack > -INTEGRATED and float(U.min()) > 0,
        {
            "X_21(0), X_31(0)": [float(X[0, 1, 0]), float(X[0, 2, 0])],
            "least U_ij(0)": float(U.min()),
            "X_31'(0)": float(dX[0, 2, 0]),
            "least X_31": min(along),
            "X_31 at t = 40": along[-1],
            "least slack": slack,
        },
    )


def equalities(generator: torch.Generator, sign: float) -> Evidence:
    """The lines of Claim 4's computation, and Claim 3's X_L1', against the flow; L = 5."""
    flow, x = admissible(generator, 100, 5, 4, condition="below")
    X = interactions(x, flow.S_BC)[0]
    A, true = flow.attention(x)[:, -1, :-1], -interaction_speeds(flow, x, flow.S_BC)[0][:, -1, 0]
    XL, Xj, XLj = X[:, -1, :1], X[:, :-1, 0], X[:, -1, :-1]
    one = A[:, 0] * (1 - XL[:, 0] ** 2)
    first = -one - (A * (Xj - XLj * XL))[:, 1:].sum(-1)
    third = -(A * (1 - XLj * XL))[:, 1:].sum(-1)
    last = -one + sign * (A * (1 - Xj))[:, 1:].sum(-1) + third
    off = [float((line - true).abs().max()) for line in (first, last)]
    return Evidence(max(off) < ROUNDING, {"first line off by": off[0], "last line off by": off[1]})


def gronwall(generator: torch.Generator, factor: bool) -> Evidence:
    """y' = -c y + C e^{-bt}, y(0) = y0, solved in sympy for b = c: is y e^{ct} [/(1+t)] bounded?"""
    t, c, C, y0 = sympy.symbols("t c C y_0", positive=True)
    y = (y0 + C * t) * sympy.exp(-c * t)
    residual = sympy.simplify(y.diff(t) + c * y - C * sympy.exp(-c * t))
    ratio = sympy.simplify(y * sympy.exp(c * t) / ((1 + t) if factor else 1))
    limit = sympy.limit(ratio, t, sympy.oo)
    return Evidence(
        residual == 0 and limit.is_finite is not False and limit != sympy.oo,
        {
            "solution": str(y),
            "solves it": residual == 0,
            "limit of its ratio to the bound": str(limit),
        },
    )


PLACE = "proof of Proposition B.9"
