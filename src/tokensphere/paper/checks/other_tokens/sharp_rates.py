"""Checks of how fast tokens gather: the exponents of sections 3.2, 3.3, appendices B.2, B.3."""

import numpy as np
import torch
from torch import Tensor

from tokensphere.flow import AutoregressiveFlow, SharedStepFlow, causal_attention, simulate
from tokensphere.other_tokens import approach, consensus_rate, exceptional, resonance
from tokensphere.other_tokens import coefficients as families
from tokensphere.other_tokens.approach import TINY, axis_distance, tokens_from_axis
from tokensphere.paper.checks.tools import largest, normal, times, uniform, unit
from tokensphere.paper.ledger import Evidence, above, at_least, below, equal
from tokensphere.rates import fit_exponential


def _axis(dim: int) -> Tensor:
    return torch.eye(dim, dtype=torch.float64)[0]


def _ones(length: int) -> Tensor:
    return torch.ones(length, dtype=torch.float64)


def _distances(flow, x0: Tensor, clock: Tensor, rtol: float = 1e-6) -> Tensor:
    """|x_l - x_1| at the times of `clock`, (T, ..., L), for x_1 = e_1."""
    return axis_distance(simulate(flow, x0, clock, rtol, TINY).tokens)


def _near_axis(generator: torch.Generator, count: int) -> Tensor:
    """Four tokens of R^3 near enough to x_1 for positive angles."""
    x0 = tokens_from_axis(count, 4, 3, generator)
    x0[..., 1:] *= 0.1
    x0[..., 0] = x0[..., 0].abs() + 0.2
    return unit(x0)


def exponent(generator: torch.Generator, factor: float, positive_angles: bool = False) -> Evidence:
    """sum |x_l - s_l x_1| e^{factor r t} falls from t = 20 to 40 under eq (11), for the least rate
    r at the consensus reached; with positive angles for r = gamma Delta e^{-a Delta}, all s_l 1."""
    flow = approach.random_shared_step(8, 3, generator, symmetric=positive_angles)
    x0 = _near_axis(generator, 8) if positive_angles else tokens_from_axis(8, 4, 3, generator)
    x = simulate(flow, x0, torch.tensor([0.0, 20.0, 40.0]).double(), 1e-4, TINY).tokens
    signs = x[-1, ..., 0].sign()
    if positive_angles:
        rate = approach.aligned_rate(flow)
    else:
        each = zip(approach.unbatched(flow), signs, strict=True)
        rates = [resonance.shared_step_decay_rates(one, _axis(3), s).min() for one, s in each]
        rate = torch.stack(rates)
    _, early, late = axis_distance(x, signs).sum(-1)
    growth = torch.log(late / early) / 20 / rate + factor
    what = "exponent of error times exp(C0 t) over the sharp rate, largest"
    criteria, opposite = [below(what, growth.max(), 0.0)], int((signs < 0).sum())
    if positive_angles:
        criteria.append(equal("tokens at minus x1", opposite, 0))
    return Evidence(criteria, {"runs": 8, "tokens at minus x1": opposite})


def universal_rate(generator: torch.Generator, own: bool) -> Evidence:
    """Rates for one S_BC times 1, 1/10, 1/100: alike, or each gamma Delta e^{-a Delta}."""
    (flow,) = approach.unbatched(approach.random_shared_step(1, 3, generator, symmetric=True))
    x0, clock = _near_axis(generator, 1)[0], times(60, 121)
    fitted, off = [], []
    for scale in (1.0, 0.1, 0.01):
        scaled = SharedStepFlow(scale * flow.S_BC, flow.alpha, flow.a)
        error = _distances(scaled, x0, clock / scale, 1e-5).sum(-1)
        fitted.append(fit_exponential(clock / scale, error).rate)
        off.append(fitted[-1] / float(approach.aligned_rate(scaled)) - 1)
    agree = below("largest relative difference from the closed form", largest(off), 0.01)
    ratio = above("least fitted rate over the largest", min(fitted) / max(fitted), 0.5)
    return Evidence([agree if own else ratio], {"fitted rates": fitted})


def closed_form(generator: torch.Generator, system: str, own: bool) -> Evidence:
    """Fitted against predicted rates; the control takes a wrong formula.

    For eq (11) that of all signs 1, which is 1, whatever the pattern; for eq (13) 1/2, causal
    attention's, in units in which the slowest row sum is 1.
    """
    shared, axis = system == "eq (11)", _axis(3)
    count = 12 if shared else 5
    runs, left_out = approach.random_approaches(generator, count, (system,), stop=35.0)
    off = []
    for run in runs:
        if shared:
            own_rate = resonance.shared_step_decay_rates(run.flow, axis, run.signs).min()
        else:
            own_rate = run.flow.attention(axis.expand(4, 3)).tril(-1).sum(-1)[1:].min()
        wanted = float(own_rate) if own else 1.0 if shared else 0.5
        off.append(fit_exponential(run.times, run.error).rate / wanted - 1)
    # Eigenvalues 10% apart leave 0.1 e^{-3} = 0.005 at t = 30, times a ratio of prefactors.
    rates = below("largest relative difference of fitted rates", largest(off), 0.01)
    numbers = {"left out": left_out, "sign patterns": len({tuple(r.signs.tolist()) for r in runs})}
    return Evidence([rates, at_least("runs", len(runs), 4)], numbers)


def two_equal_eigenvalues(generator: torch.Generator, power: int) -> Evidence:
    """Eq (11) with two equal eigenvalues: t^power e^{-rt} with the predicted r, to 0.3%."""
    flow = resonance.resonant_flow()
    run = approach.approach(flow, resonance.resonant_start(generator), times(100, 201))
    late = run.times > 30
    fit = fit_exponential(run.times[late], run.error[late], power=power)
    # Next to t stands a constant: with t divided out the local rate is off by c/t^2.
    what = f"relative difference of the rate, power {power} of t divided out"
    numbers = {"a": float(flow.a), "predicted rate": run.rate, "predicted power": run.power}
    return Evidence([below(what, abs(fit.rate / run.rate - 1), 3e-3)], numbers)


def chain(generator: torch.Generator, powers: list[int]) -> Evidence:
    """An AR(1) chain, weights 1: |x_l - x_1| ~ t^power e^{-t} for tokens 2 to 4."""
    flow = AutoregressiveFlow(families.toeplitz(torch.tensor([1.0, 0.0, 0.0]).double()))
    x0 = tokens_from_axis(1, 4, 3, generator)[0]
    x0[:, 0] = x0[:, 0].abs() + 0.5
    clock = times(150, 301)
    error = _distances(flow, unit(x0), clock, 1e-5)
    late = clock > 50
    off = [
        fit_exponential(clock[late], error[late, l], power=power).rate - 1
        for l, power in enumerate(powers, 1)
    ]
    # The next power of t: off by c/t^2. Without the factor it is off by 2/t.
    rates = below("largest difference from rate 1", largest(off), 0.01)
    found = consensus_rate(flow, _axis(3), _ones(4)).powers[1:]
    return Evidence([rates, equal("powers predicted by the linearisation", found, powers)])


def _attention(generator: torch.Generator, count: int, length: int) -> tuple[Tensor, Tensor]:
    """Causal attention, Gaussian Q and K, from the half sphere: times, distances (T, count, L)."""
    Q, K = normal(generator, 2, count, 3, 3) / 2
    x0 = tokens_from_axis(count, length, 3, generator, half=True)
    clock = times(90, 141)
    return clock, _distances(AutoregressiveFlow(causal_attention(Q, K)), x0, clock)


def attention_rate(generator: torch.Generator, wanted: float) -> Evidence:
    """Causal attention: the rate of the sum is 1/2 for random Q and K."""
    clock, distances = _attention(generator, 8, 5)
    error = distances[40:].sum(-1)
    rates = np.array([fit_exponential(clock[40:], run).rate for run in error.mT])
    off = below(f"largest relative difference from {wanted:.4g}", largest(rates / wanted - 1), 0.01)
    return Evidence([off], {"fitted rates for 8 draws of Q, K": rates})


def attention_ratios(generator: torch.Generator, wanted: list[int]) -> Evidence:
    """|x_l - x_1| / |x_2 - x_1| at the end, l = 2, ..., 6, for causal attention."""
    _, distances = _attention(generator, 6, 6)
    ratios = distances[-1, :, 1:] / distances[-1, :, 1:2]
    off = largest(ratios / torch.tensor(wanted) - 1)
    # The next eigenvalue is 2/3: e^{-90/6} = 3e-7, times the ratio of the two prefactors.
    agree = below("largest relative difference of ratios", off, 0.01)
    return Evidence([agree], {"wanted": wanted, "one draw's": ratios[0]})


def near_exceptional(generator: torch.Generator, one_prefactor: bool) -> Evidence:
    """Causal attention, one x_1, x_2 ever closer to -x_1: one bound C e^{-t/2} serves all starts;
    or one exponent, and no factor C."""
    gaps = torch.tensor([1.0, 1e-2, 1e-4, 1e-6], dtype=torch.float64)
    angles = torch.zeros(4, 3, dtype=torch.float64)
    angles[:, 1] = torch.pi - gaps
    angles[:, 2] = 2 * uniform(generator, 4) - 1
    Q, K = normal(generator, 2, 2, 2) / 2
    flow, clock = AutoregressiveFlow(causal_attention(Q, K)), times(140, 141)
    error = _distances(flow, exceptional.on_circle(angles), clock).sum(-1)
    constants = (error * torch.exp(clock / 2)[:, None]).amax(0)
    numbers = {"distance of x2(0) from minus x1": gaps, "C": constants}
    what, ratio = "largest C in C exp(-t/2) over the least", constants.max() / constants.min()
    if one_prefactor:
        return Evidence([below(what, ratio, 100.0)], numbers)
    off = [fit_exponential(clock[60:], run[60:]).rate - 0.5 for run in error.mT]
    rates = below("largest difference of fitted rates from 1/2", largest(off), 0.005)
    return Evidence([rates, above(what, ratio, 100.0)], numbers)


def rates_by_length(generator: torch.Generator, inverse_squares: bool) -> Evidence:
    """For L = 4, 16, 64 and all signs +1 the sharp rate is one number for weights a_lj = 1/l^2; or
    it is in three other families, and for those weights (L - 1)/L^2."""
    lengths, rates = np.array([4, 16, 64]), []
    for length in lengths.tolist():
        Q, K = normal(generator, 2, 3, 3)
        rows = torch.arange(1, length + 1, dtype=torch.float64) ** -2.0
        flows = {
            "1/l^2": AutoregressiveFlow(families.constant(rows[:, None].expand(length, length))),
            "causal attention": AutoregressiveFlow(causal_attention(Q, K)),
            "Toeplitz": AutoregressiveFlow(families.toeplitz(1 / rows[:-1].sqrt().cumsum(0))),
            "eq (11)": SharedStepFlow(torch.eye(3).double(), _axis(3), 0.7),
        }
        rates.append([consensus_rate(f, _axis(3), _ones(length)).rate for f in flows.values()])
    found = dict(zip(flows, np.array(rates).T, strict=True))
    inverse = found.pop("1/l^2")
    if inverse_squares:
        return Evidence([below("spread of rates", np.ptp(inverse), 1e-9)], {"rates": inverse})
    off = largest(inverse / ((lengths - 1) / lengths**2) - 1)
    spreads = [below(f"spread of rates, {kind}", np.ptp(r), 1e-9) for kind, r in found.items()]
    return Evidence([*spreads, below("relative difference from (L - 1)/L²", off, 1e-9)])


def linear_late(generator: torch.Generator, begin: float) -> Evidence:
    """v(t + 2) against e^{2M} v(t): the difference over the size of v, at t = begin."""
    flow = AutoregressiveFlow(families.random_log_bilinear(4, 3, generator, scale=0.3))
    x0 = tokens_from_axis(1, 4, 3, generator)[0]
    clock = torch.tensor([0.0, begin, begin + 2.0], dtype=torch.float64)
    x = simulate(flow, x0, clock if begin else clock[1:], 1e-8, TINY).tokens[-2:]
    A = flow.attention(_axis(3).expand(4, 3)).tril(-1)
    step = torch.linalg.matrix_exp(2.0 * (A - torch.diag(A.sum(-1))))
    early, late = x[..., 1:]
    off = (late - step @ early).norm() / late.norm()
    return Evidence([below(f"relative difference at t = {begin + 2:g}", off, 1e-3)])


def equator(generator: torch.Generator, exponentially: bool) -> Evidence:
    """The third token approaches the equator at an exponential rate that settles; or f ~ -1/t."""
    clock = torch.tensor([0.0, 500.0, 1000.0, 2000.0], dtype=torch.float64)
    f = exceptional.equatorial_orbit(clock)
    if exponentially:
        early, late = torch.log(f[1] / f[2]) / 500, torch.log(f[2] / f[3]) / 1000
        what = "rate from t = 1000 to 2000 over that from 500 to 1000"
        return Evidence([above(what, late / early, 0.9)])
    # Corrections are O(1/t).
    off = abs(2000 * f[3] + 1)
    return Evidence([below("distance of t f(t) from -1 at t = 2000", off, 0.02)])


def second_token_rate(generator: torch.Generator, rate: str) -> Evidence:
    """|x_2 - x_1| decays like e^{-t}, which is e^{-(1+theta)t/2}; or at a_21 at consensus."""
    models = families.random_families(4, 2, 3, generator)
    x0 = torch.stack([tokens_from_axis(4, 2, 3, generator, half=True) for _ in models])
    flow = AutoregressiveFlow(families.stacked(models.values()))
    clock = times(30, 61)
    error = _distances(flow, x0, clock)[..., 1].flatten(1)
    rates = np.array([fit_exponential(clock, run).rate for run in error.mT])
    weight = flow.attention(_axis(3).expand_as(x0))[..., 1, 0].flatten().numpy()
    off = largest(rates / (1.0 if rate == "printed" else weight) - 1)
    agree = below("largest relative difference of fitted rates", off, 0.01)
    return Evidence([agree], {"fitted rates": rates})
