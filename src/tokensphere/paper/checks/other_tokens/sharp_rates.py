"""Checks of how fast tokens gather: the exponents of sections 3.2, 3.3, appendices B.2, B.3."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.flow import AutoregressiveFlow, SharedStepFlow, causal_attention, simulate
from tokensphere.other_tokens import approach, consensus_rate, resonance
from tokensphere.other_tokens import coefficients as families
from tokensphere.other_tokens.approach import TINY, axis_distance, tokens_from_axis
from tokensphere.other_tokens.exceptional import equatorial_orbit, on_circle
from tokensphere.paper.checks.tools import times
from tokensphere.paper.ledger import Evidence, above, at_least, below, equal
from tokensphere.rates import fit_exponential


def _axis(dim: int) -> Tensor:
    return torch.eye(dim, dtype=torch.float64)[0]


def _ones(length: int) -> Tensor:
    return torch.ones(length, dtype=torch.float64)


def _symmetric_positive(generator: torch.Generator, count: int) -> tuple[SharedStepFlow, Tensor]:
    """Eq (11) with a symmetric S_BC, four tokens near enough to x_1 for positive angles, D = 3."""
    flow = approach.random_shared_step(count, 3, generator)
    flow = SharedStepFlow((flow.S_BC + flow.S_BC.mT) / 2, flow.alpha, flow.a)
    x0 = tokens_from_axis(count, 4, 3, generator)
    x0[..., 1:] *= 0.1
    x0[..., 0] = x0[..., 0].abs() + 0.2
    return flow, x0 / x0.norm(dim=-1, keepdim=True)


def _growth(flow: SharedStepFlow, x0: Tensor, factor: float, rate: Tensor | None = None):
    """Criterion: sum |x_l - s_l x_1| e^{factor r t} falls from t = 20 to 40; and the signs.

    r is the least rate of the closed form at the consensus reached, or `rate`.
    """
    x = simulate(flow, x0, torch.tensor([0.0, 20.0, 40.0]).double(), 1e-4, TINY).tokens
    signs = x[-1, ..., 0].sign()
    error = axis_distance(x, signs).sum(-1)
    if rate is None:
        each = zip(approach.unbatched(flow), signs, strict=True)
        rates = [resonance.shared_step_decay_rates(one, _axis(3), s).min() for one, s in each]
        rate = torch.stack(rates)
    growth = torch.log(error[2] / error[1]) / 20 / rate + factor
    what = "exponent of error times exp(C0 t) over the sharp rate, largest"
    return below(what, float(growth.max()), 0.0), signs


def exponent(generator: torch.Generator, factor: float) -> Evidence:
    """C_0 = factor times the sharp rate, for whatever signs the tokens of eq (11) choose."""
    flow = approach.random_shared_step(8, 3, generator)
    criterion, signs = _growth(flow, tokens_from_axis(8, 4, 3, generator), factor)
    return Evidence([criterion], {"runs": 8, "tokens at minus x1": int((signs < 0).sum())})


def exponent_positive_angles(generator: torch.Generator, factor: float) -> Evidence:
    """C_0 = factor times gamma Delta e^{-a Delta}; all tokens end at +x_1."""
    flow, x0 = _symmetric_positive(generator, 8)
    step = softplus(flow.alpha[:, 0])
    rate = flow.S_BC[:, 0, 0] * step * torch.exp(-flow.a * step)
    criterion, signs = _growth(flow, x0, factor, rate)
    opposite = int((signs < 0).sum())
    return Evidence([criterion, equal("tokens at minus x1", opposite, 0)], {"runs": 8})


def universal_rate(generator: torch.Generator, own: bool) -> Evidence:
    """Rates for one S_BC times 1, 1/10, 1/100: alike, or each gamma Delta e^{-a Delta}."""
    flow, x0 = _symmetric_positive(generator, 1)
    clock, fitted, off = times(60, 121), [], []
    for scale in (1.0, 0.1, 0.01):
        scaled = SharedStepFlow(scale * flow.S_BC[0], flow.alpha[0], flow.a[0])
        x = simulate(scaled, x0[0], clock / scale, 1e-5, TINY).tokens
        fitted.append(fit_exponential(clock / scale, axis_distance(x).sum(-1)).rate)
        step = softplus(scaled.alpha[0])
        closed_form = scaled.S_BC[0, 0] * step * torch.exp(-scaled.a * step)
        off.append(abs(fitted[-1] / float(closed_form) - 1))
    ratio = above("least fitted rate over the largest", min(fitted) / max(fitted), 0.5)
    agree = below("largest relative difference from the closed form", max(off), 0.01)
    return Evidence([agree if own else ratio], {"fitted rates": fitted})


def closed_form(generator: torch.Generator, system: str, own: bool) -> Evidence:
    """Fitted against predicted rates; the control takes a wrong formula.

    For eq (11) that of all signs 1, which is 1, whatever the pattern; for eq (13) 1/2, causal
    attention's, in units in which the slowest row sum is 1.
    """
    count = 12 if system == "eq (11)" else 5
    runs, left_out = approach.random_approaches(generator, count, (system,), stop=35.0)
    off = []
    for run in runs:
        if not own:
            wanted = 1.0 if system == "eq (11)" else 0.5
        elif system == "eq (11)":
            axis = _axis(3)
            wanted = float(resonance.shared_step_decay_rates(run.flow, axis, run.signs).min())
        else:
            sums = run.flow.attention(_axis(3).expand(4, 3)).tril(-1).sum(-1)
            wanted = float(sums[1:].min())
        off.append(abs(fit_exponential(run.times, run.error).rate / wanted - 1))
    # Eigenvalues 10% apart leave 0.1 e^{-3} = 0.005 at t = 30, times a ratio of prefactors.
    return Evidence(
        [
            below("largest relative difference of fitted rates", max(off), 0.01),
            at_least("runs", len(runs), 4),
        ],
        {"left out": left_out, "sign patterns": len({tuple(r.signs.tolist()) for r in runs})},
    )


def two_equal_eigenvalues(generator: torch.Generator, power: int) -> Evidence:
    """Eq (11) with two equal eigenvalues: t^power e^{-rt} with the predicted r, to 0.3%."""
    flow = resonance.resonant_flow()
    run = approach.approach(flow, resonance.resonant_start(generator), times(100, 201))
    late = run.times > 30
    fit = fit_exponential(run.times[late], run.error[late], power=power)
    # Next to t stands a constant: with t divided out the local rate is off by c/t^2.
    off = abs(fit.rate / run.rate - 1)
    return Evidence(
        [below(f"relative difference of the rate, power {power} of t divided out", off, 3e-3)],
        {"a": float(flow.a), "predicted rate": run.rate, "predicted power": run.power},
    )


def chain(generator: torch.Generator, powers: list[int]) -> Evidence:
    """An AR(1) chain, weights 1: |x_l - x_1| ~ t^power e^{-t} for tokens 2 to 4."""
    flow = AutoregressiveFlow(families.toeplitz(torch.tensor([1.0, 0.0, 0.0]).double()))
    x0 = tokens_from_axis(1, 4, 3, generator)[0]
    x0[:, 0] = x0[:, 0].abs() + 0.5
    x0 = x0 / x0.norm(dim=-1, keepdim=True)
    clock = times(150, 301)
    error = axis_distance(simulate(flow, x0, clock, 1e-5, TINY).tokens)
    late = clock > 50
    off = [
        fit_exponential(clock[late], error[late, l], power=power).rate - 1
        for l, power in enumerate(powers, 1)
    ]
    found = consensus_rate(flow, _axis(3), _ones(4)).powers[1:].tolist()
    # The next power of t: off by c/t^2. Without the factor it is off by 2/t.
    return Evidence(
        [
            below("largest difference from rate 1", max(map(abs, off)), 0.01),
            equal("powers predicted by the linearisation", found, powers),
        ],
        {"differences, tokens 2 to 4": off},
    )


def _attention(generator: torch.Generator, count: int, length: int) -> tuple[Tensor, Tensor]:
    """Causal attention, Gaussian Q and K, from the half sphere: times, distances (T, count, L)."""
    Q, K = torch.randn(2, count, 3, 3, generator=generator, dtype=torch.float64) / 2
    x0 = tokens_from_axis(count, length, 3, generator, half=True)
    clock = times(90, 141)
    flow = AutoregressiveFlow(causal_attention(Q, K))
    return clock, axis_distance(simulate(flow, x0, clock, 1e-6, TINY).tokens)


def attention_rate(generator: torch.Generator, wanted: float) -> Evidence:
    """Causal attention: the rate of the sum is 1/2 for random Q and K."""
    clock, distances = _attention(generator, 8, 5)
    error = distances.sum(-1)[40:]
    rates = [fit_exponential(clock[40:], error[:, i]).rate for i in range(8)]
    off = max(abs(rate / wanted - 1) for rate in rates)
    return Evidence(
        [below(f"largest relative difference from {wanted:.4g}", off, 0.01)],
        {"fitted rates for 8 draws of Q, K": rates},
    )


def attention_ratios(generator: torch.Generator, wanted: list[int]) -> Evidence:
    """|x_l - x_1| / |x_2 - x_1| at the end, l = 2, ..., 6, for causal attention."""
    _, distances = _attention(generator, 6, 6)
    ratios = distances[-1, :, 1:] / distances[-1, :, 1:2]
    off = float((ratios / torch.tensor(wanted) - 1).abs().max())
    # The next eigenvalue is 2/3: e^{-90/6} = 3e-7, times the ratio of the two prefactors.
    return Evidence(
        [below("largest relative difference of ratios", off, 0.01)],
        {"wanted": wanted, "one draw's": ratios[0].tolist()},
    )


def _near_exceptional(generator: torch.Generator) -> tuple[list[float], list[float], dict]:
    """Causal attention, one x_1, x_2 ever closer to -x_1: rates, and constants C in C e^{-t/2}."""
    gaps = torch.tensor([1.0, 1e-2, 1e-4, 1e-6], dtype=torch.float64)
    angles = torch.zeros(4, 3, dtype=torch.float64)
    angles[:, 1] = torch.pi - gaps
    angles[:, 2] = 2 * torch.rand(4, generator=generator, dtype=torch.float64) - 1
    Q, K = torch.randn(2, 2, 2, generator=generator, dtype=torch.float64) / 2
    clock = times(140, 141)
    flow = AutoregressiveFlow(causal_attention(Q, K))
    error = axis_distance(simulate(flow, on_circle(angles), clock, 1e-6, TINY).tokens).sum(-1)
    rates = [fit_exponential(clock[60:], error[60:, i]).rate for i in range(4)]
    constants = (error * torch.exp(clock / 2)[:, None]).amax(0).tolist()
    return rates, constants, {"distance of x2(0) from minus x1": gaps.tolist(), "C": constants}


def one_prefactor(generator: torch.Generator) -> Evidence:
    """One bound C e^{-rt} serves all starts."""
    _, constants, numbers = _near_exceptional(generator)
    ratio = max(constants) / min(constants)
    return Evidence([below("largest C in C exp(-t/2) over the least", ratio, 100.0)], numbers)


def one_exponent(generator: torch.Generator) -> Evidence:
    """One exponent r serves all starts, and no factor C."""
    rates, constants, numbers = _near_exceptional(generator)
    ratio = max(constants) / min(constants)
    return Evidence(
        [
            below(
                "largest difference of fitted rates from 1/2",
                abs(np.array(rates) - 0.5).max(),
                0.005,
            ),
            above("largest C in C exp(-t/2) over the least", ratio, 100.0),
        ],
        numbers,
    )


def _rates_by_length(generator: torch.Generator, kind: str) -> list[float]:
    """The sharp rate of all signs +1 for L = 4, 16, 64."""
    rates = []
    for length in (4, 16, 64):
        Q, K = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
        rows = torch.arange(1, length + 1, dtype=torch.float64) ** -2.0
        flow = {
            "1/l^2": AutoregressiveFlow(families.constant(rows[:, None].expand(length, length))),
            "causal attention": AutoregressiveFlow(causal_attention(Q, K)),
            "Toeplitz": AutoregressiveFlow(families.toeplitz(1 / rows[:-1].sqrt().cumsum(0))),
            "eq (11)": SharedStepFlow(torch.eye(3).double(), _axis(3), 0.7),
        }[kind]
        rates.append(consensus_rate(flow, _axis(3), _ones(length)).rate)
    return rates


def rate_without_length(generator: torch.Generator) -> Evidence:
    """The rate does not depend on L for weights a_lj = 1/l^2."""
    rates = _rates_by_length(generator, "1/l^2")
    return Evidence(
        [below("spread of rates, L = 4, 16, 64", np.ptp(rates), 1e-9)], {"rates": rates}
    )


def rates_by_length(generator: torch.Generator) -> Evidence:
    """It does not in three families; for a_lj = 1/l^2 it is (L - 1)/L^2."""
    kinds = ("causal attention", "Toeplitz", "eq (11)")
    spreads = {kind: np.ptp(_rates_by_length(generator, kind)) for kind in kinds}
    length = np.array([4, 16, 64])
    off = abs(np.array(_rates_by_length(generator, "1/l^2")) / ((length - 1) / length**2) - 1)
    return Evidence(
        [
            *(below(f"spread of rates, {kind}", spread, 1e-9) for kind, spread in spreads.items()),
            below("relative difference from (L - 1)/L²", off.max(), 1e-9),
        ]
    )


def linear_late(generator: torch.Generator, begin: float) -> Evidence:
    """v(t + 2) against e^{2M} v(t): the difference over the size of v, at t = begin."""
    flow = AutoregressiveFlow(families.random_log_bilinear(4, 3, generator, scale=0.3))
    x0 = tokens_from_axis(1, 4, 3, generator)[0]
    clock = torch.tensor([0.0, begin, begin + 2.0], dtype=torch.float64)
    x = simulate(flow, x0, clock if begin else clock[1:], 1e-8, TINY).tokens[-2:]
    A = flow.attention(_axis(3).expand(4, 3)).tril(-1)
    step = torch.linalg.matrix_exp(2.0 * (A - torch.diag(A.sum(-1))))
    off = (x[1, :, 1:] - step @ x[0, :, 1:]).norm() / x[1, :, 1:].norm()
    return Evidence(
        [below(f"relative difference at t = {begin + 2:g}", float(off), 1e-3)], {"from t": begin}
    )


def equator_exponentially(generator: torch.Generator) -> Evidence:
    """The third token's approach to the equator has an exponential rate that settles."""
    f = equatorial_orbit(torch.tensor([0.0, 500.0, 1000.0, 2000.0], dtype=torch.float64))
    early, late = torch.log(f[1] / f[2]) / 500, torch.log(f[2] / f[3]) / 1000
    what = "rate from t = 1000 to 2000 over that from 500 to 1000"
    return Evidence(
        [above(what, float(late / early), 0.9)], {"cosine of x3 and x1 at t = 2000": float(f[3])}
    )


def equator_like_inverse_time(generator: torch.Generator) -> Evidence:
    """The third token's approach to the equator is f ~ -1/t; corrections are O(1/t)."""
    f = equatorial_orbit(torch.tensor([0.0, 2000.0], dtype=torch.float64))
    product = float(2000 * f[1])
    return Evidence([below("distance of t f(t) from -1 at t = 2000", abs(product + 1), 0.02)])


def second_token_rate(generator: torch.Generator, rate: str) -> Evidence:
    """|x_2 - x_1| decays like e^{-t}, which is e^{-(1+theta)t/2}; or at a_21 at consensus."""
    models = families.random_families(4, 2, 3, generator)
    x0 = torch.stack([tokens_from_axis(4, 2, 3, generator, half=True) for _ in models])
    flow = AutoregressiveFlow(families.stacked(models.values()))
    clock = times(30, 61)
    error = axis_distance(simulate(flow, x0, clock, 1e-6, TINY).tokens)[..., 1].flatten(1)
    rates = [fit_exponential(clock, run).rate for run in error.mT]
    fitted = torch.tensor(rates, dtype=torch.float64)
    weight = flow.attention(_axis(3).expand_as(x0))[..., 1, 0].flatten()
    off = float((fitted / (1.0 if rate == "printed" else weight) - 1).abs().max())
    return Evidence(
        [below("largest relative difference of fitted rates", off, 0.01)],
        {"runs": len(rates), "fitted rates": rates},
    )
