"""Claims on how fast tokens gather: the exponents of sections 3.2-3.3 and appendices B.2-B.3."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.flow import AutoregressiveFlow, SharedStepFlow, causal_attention, simulate
from tokensphere.other_tokens import consensus_rate, consensus_spectrum
from tokensphere.paper.ledger import Evidence
from tokensphere.rates import fit_exponential

from .autoregressive import chord, circle, constant, instances, moving, starts, toeplitz

APART = 0.1
"""Draws whose two slowest eigenvalues are closer than this, relatively, are left out of fits.

At a relative distance d of them the local rate is off by d e^{-dt} or so, by 1/t if d is far below
1/t: more than 1% for as long as 100 units of time. Equal eigenvalues have claims of their own.
"""

SMALL = 1e-120
"""Absolute tolerance where x_1 = e_1: all that is left is relative accuracy, for any distance."""


@dataclass(frozen=True, eq=False)
class Run:
    """One random run: sum_l |x_l - s_l x_1| at `times`, its rate as predicted and as fitted.

    Both rates are for `times`; a unit of it is 1/unit of the time of the weights as drawn.
    """

    system: str
    signs: list[int]
    predicted: float
    fitted: float
    uncertainty: float
    unit: float
    times: Tensor
    error: Tensor


def random_runs(
    generator: torch.Generator,
    count: int,
    systems: tuple[str, ...] = ("eq (11)", "eq (13)"),
    length: int = 4,
    dim: int = 3,
    stop: float = 70.0,
) -> tuple[list[Run], int]:
    """`count` runs of eq (11) and of each model of eq (13), and how many were left out.

    Time is measured in units of the predicted 1/rate, for eq (11) of that with all signs 1. Left
    out are draws with two close eigenvalues (APART), and runs in which a token is still on its way
    to x_1 or -x_1 after half of the time: they have no asymptotic stretch to fit.
    """
    axis = torch.eye(dim, dtype=torch.float64)[0]
    times = torch.linspace(0, stop, 141, dtype=torch.float64)
    batches = []
    if "eq (11)" in systems:
        flow = shared_step_draws(count, dim, generator)
        x = simulate(flow, starts(count, length, dim, generator), times, 1e-5, SMALL).tokens
        batches.append(("eq (11)", x, _single(flow), torch.ones(count)))
    if "eq (13)" in systems:
        models = instances(count, length, dim, generator)
        consensus = axis.expand(count, length, dim)
        rates = [w(consensus).tril(-1).sum(-1)[:, 1:].amin(-1) for w in models.values()]
        parts = list(zip(models.values(), rates, strict=True))

        def scaled(x: Tensor) -> Tensor:
            return torch.stack([w(x[i]) / r[:, None, None] for i, (w, r) in enumerate(parts)])

        x0 = torch.stack([starts(count, length, dim, generator) for _ in models])
        x = simulate(AutoregressiveFlow(scaled), x0, times, 1e-5, SMALL).tokens
        at = scaled(consensus.expand(len(models), -1, -1, -1))
        for index, name in enumerate(models):
            flows = [AutoregressiveFlow(constant(weights)) for weights in at[index]]
            batches.append((name, x[:, index], flows, rates[index]))
    runs, left_out = [], 0
    for name, x, flows, units in batches:
        for i, flow in enumerate(flows):
            signs = x[-1, i, :, 0].sign()
            values = -consensus_spectrum(flow, axis, signs)[1:, 0].sort(descending=True).values
            error = chord(x[:, i], signs).sum(-1)
            near = float(error[len(times) // 2]) < 1e-3
            if float(values[1] / values[0]) < 1 + APART or not near:
                left_out += 1
                continue
            fit = fit_exponential(times, error)
            rate = consensus_rate(flow, axis, signs).rate
            found = fit.rate, fit.standard_error, float(units[i])
            runs.append(Run(name, signs.int().tolist(), rate, *found, times, error))
    return runs, left_out


def shared_step_draws(count: int, dim: int, generator: torch.Generator) -> SharedStepFlow:
    """Random flows of eq (11) with <x_1, S_BC x_1> > 0 at x_1 = e_1; S_BC is not symmetric.

    S_BC is scaled so that consensus with all signs 1 has the rate 1.
    """
    S_BC = torch.randn(count, dim, dim, generator=generator, dtype=torch.float64) / 2
    alpha = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    S_BC[:, 0, 0] = 1 + S_BC[:, 0, 0].abs()
    a = 0.3 + torch.rand(count, generator=generator, dtype=torch.float64)
    step = softplus(alpha[:, 0])
    rate = S_BC[:, 0, 0] * step * torch.exp(-a * step)
    return SharedStepFlow(S_BC / rate[:, None, None], alpha, a)


def equal_eigenvalues(z: float) -> float:
    """The a > 0 at which tokens 2 and 3 of eq (11), signs 1, -1, 1, have the same eigenvalue.

    With Delta_+- = softplus(+-z), z = <alpha, x_1> > 0, it solves
    Delta_+ e^{-a Delta_-} = e^{-a Delta_+} (Delta_- + Delta_+ e^{-a Delta_-}).
    """
    plus, minus = float(np.logaddexp(0, z)), float(np.logaddexp(0, -z))

    def difference(a: float) -> float:
        second = plus * np.exp(-a * minus)
        return float(np.exp(-a * plus) * (minus + second) - second)

    return brentq(difference, 1e-6, 50.0, xtol=1e-15)


def resonant_run(
    generator: torch.Generator, z: float = 1.0, factor: float = 1.0, stop: float = 100.0
) -> tuple[SharedStepFlow, Tensor, Tensor]:
    """Eq (11), S_BC = I, D = 2, with a = factor * equal_eigenvalues(z): flow, times, error.

    Tokens start near the consensus with signs 1, -1, 1.
    """
    alpha = torch.tensor([z, 0.0], dtype=torch.float64)
    flow = SharedStepFlow(torch.eye(2, dtype=torch.float64), alpha, factor * equal_eigenvalues(z))
    signs = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    angles = 0.2 + 0.4 * torch.rand(3, generator=generator, dtype=torch.float64)
    angles[0] = 0.0
    times = torch.linspace(0, stop, 201, dtype=torch.float64)
    x = simulate(flow, signs[:, None] * circle(angles), times, 1e-5, SMALL).tokens
    return flow, times, chord(x, signs).sum(-1)


def attention_run(
    generator: torch.Generator, count: int, length: int, dim: int, stop: float, scale: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Causal attention with Gaussian Q, K: times, and the v_l, (T, count, L, D - 1), x_1 = e_1.

    Tokens start in the half space of x_1. v_l is the part of x_l orthogonal to x_1.
    """
    Q, K = scale * torch.randn(2, count, dim, dim, generator=generator, dtype=torch.float64)
    x0 = starts(count, length, dim, generator)
    x0 = x0 * torch.where(x0[..., :1] < 0, -1.0, 1.0)
    times = torch.linspace(0, stop, 141, dtype=torch.float64)
    run = simulate(AutoregressiveFlow(causal_attention(Q, K)), x0, times, 1e-6, SMALL)
    return times, run.tokens[..., 1:]


def algebraic_run(times: Tensor) -> Tensor:
    """f_3 = <x_3, x_1> at `times` for x_2 = -x_1, a_31 = 2, a_32 = 2 - f_3^2: f' = f^2 (1 - "
    "f^2)."""

    def weights(x: Tensor) -> Tensor:
        a = x.new_zeros(*x.shape[:-2], 3, 3)
        a[..., 1, 0], a[..., 2, 0] = 1.0, 2.0
        a[..., 2, 1] = 2 - (x[..., 2, :] * x[..., 0, :]).sum(-1) ** 2
        return a

    third = torch.tensor([-0.6, 0.8], dtype=torch.float64)
    axis = torch.tensor([1.0, 0.0], dtype=torch.float64)
    x0 = torch.stack([axis, -axis, third])
    return simulate(AutoregressiveFlow(weights), x0, times, 1e-9, 1e-12).tokens[:, 2, 0]


def _single(flow: SharedStepFlow) -> list[SharedStepFlow]:
    parts = zip(flow.S_BC, flow.alpha, flow.a, strict=True)
    return [SharedStepFlow(*part) for part in parts]


def exponent(generator: torch.Generator, factor: float, positive: bool) -> Evidence:
    """Whether sum |x_l - s_l x_1| e^{factor r t} falls from t = 20 to t = 40, r the sharp rate."""
    count, length, dim = 8, 4, 3
    flow = shared_step_draws(count, dim, generator)
    x0 = starts(count, length, dim, generator)
    if positive:  # symmetric, and tokens near enough to x_1 for all angles to be positive
        flow = SharedStepFlow((flow.S_BC + flow.S_BC.mT) / 2, flow.alpha, flow.a)
        x0[..., 1:] *= 0.1
        x0[..., 0] = x0[..., 0].abs() + 0.2
        x0 = x0 / x0.norm(dim=-1, keepdim=True)
    times = torch.tensor([0.0, 20.0, 40.0], dtype=torch.float64)
    x = simulate(flow, x0, times, 1e-4, SMALL).tokens
    axis = torch.eye(dim, dtype=torch.float64)[0]
    growth = []
    for i, one in enumerate(_single(flow)):
        signs = x[-1, i, :, 0].sign()
        error = chord(x[:, i], signs).sum(-1)
        rate = consensus_rate(one, axis, signs).rate
        growth.append(float(torch.log(error[2] / error[1])) / 20 / rate + factor)
    return Evidence(
        max(growth) < 0,
        {
            "runs": count,
            "C_0 over the sharp rate": factor,
            "exponent of error times e^{C_0 t}, over that rate, at most": max(growth),
            "tokens at +x_1": int((x[-1, :, 1:, 0] > 0).sum()),
            "of": count * (length - 1),
        },
    )


def closed_form(generator: torch.Generator, system: str, own: bool) -> Evidence:
    """Fitted against predicted rates; the control takes a wrong formula.

    For eq (11) that of all signs 1, which is 1, whatever the pattern; for eq (13) 1/2, causal
    attention's, in units in which the slowest row sum is 1.
    """
    runs, left_out = random_runs(generator, 12 if system == "eq (11)" else 5, (system,), stop=35.0)
    fitted = np.array([run.fitted for run in runs])
    other = 1.0 if system == "eq (11)" else 0.5
    wanted = np.array([run.predicted if own else other for run in runs])
    off = float(abs(fitted / wanted - 1).max())
    return Evidence(
        # Eigenvalues 10% apart leave 0.1 e^{-3} = 0.005 at t = 30, times a ratio of prefactors.
        off < 0.01,
        {
            "runs": len(runs),
            "left out": left_out,
            "sign patterns": len({tuple(run.signs) for run in runs}),
            "largest relative difference": off,
        },
    )


def resonance(generator: torch.Generator, power: int) -> Evidence:
    """Eq (11) with two equal eigenvalues: t^power e^{-rt} with the predicted r, to 0.3%."""
    flow, times, error = resonant_run(generator)
    axis = torch.tensor([1.0, 0.0], dtype=torch.float64)
    predicted = consensus_rate(flow, axis, torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64))
    late = times > 30
    fit = fit_exponential(times[late], error[late], power=power)
    off = fit.rate / predicted.rate - 1
    return Evidence(
        # Next to t stands a constant: with t divided out the local rate is off by c/t^2.
        abs(off) < 3e-3,
        {
            "a": float(flow.a),
            "predicted rate": predicted.rate,
            "predicted power": predicted.power,
            "power": power,
            "relative difference": off,
        },
    )


def chain(generator: torch.Generator, shared: bool) -> Evidence:
    """An AR(1) chain: |x_l - x_1| ~ t^{l-2} e^{-t}; control: no polynomial factor."""
    length = 4
    weights = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    x0 = starts(1, length, 3, generator)
    x0[..., 0] = x0[..., 0].abs() + 0.5
    x0 = x0 / x0.norm(dim=-1, keepdim=True)
    times = torch.linspace(0, 150, 301, dtype=torch.float64)
    x = simulate(AutoregressiveFlow(toeplitz(weights)), x0, times, 1e-5, SMALL).tokens[:, 0]
    error, late = chord(x), times > 50
    off = [
        fit_exponential(times[late], error[late, l], power=(l - 1) * shared).rate - 1
        for l in range(1, length)
    ]
    found = consensus_rate(
        AutoregressiveFlow(toeplitz(weights)), x0[0, 0], torch.ones(length, dtype=torch.float64)
    )
    return Evidence(
        # The next power of t: off by c/t^2. Without the factor it is off by 2/t.
        max(map(abs, off)) < 0.01 and found.powers[1:].tolist() == [0, 1, 2],
        {"differences from rate 1, tokens 2 to 4": off, "powers": found.powers[1:].tolist()},
    )


def attention_rate(generator: torch.Generator, wanted: float) -> Evidence:
    """Causal attention: the rate of the sum is 1/2 for random Q and K."""
    times, v = attention_run(generator, 8, 5, 3, 90.0)
    error = v.norm(dim=-1).sum(-1)
    rates = [fit_exponential(times[40:], error[40:, i]).rate for i in range(error.shape[1])]
    off = max(abs(rate / wanted - 1) for rate in rates)
    return Evidence(off < 0.01, {"draws of Q, K": len(rates), "rates": rates, "wanted": wanted})


def attention_ratios(generator: torch.Generator, linear: bool) -> Evidence:
    """|x_l - x_1| / |x_2 - x_1| -> l - 1 for causal attention; control: 1."""
    _, v = attention_run(generator, 6, 6, 3, 90.0)
    ratio = v[-1].norm(dim=-1)[:, 1:] / v[-1, :, 1:2].norm(dim=-1)
    wanted = torch.arange(1, 6, dtype=torch.float64) if linear else torch.ones(5).double()
    off = float((ratio / wanted - 1).abs().max())
    # The next eigenvalue is 2/3: e^{-90/6} = 3e-7, times the ratio of the two prefactors.
    return Evidence(off < 0.01, {"largest relative difference": off, "ratios": ratio[0].tolist()})


def uniform(generator: torch.Generator, prefactor: bool) -> Evidence:
    """Causal attention, one x_1, starts ever closer to -x_1: one exponent, but no one prefactor."""
    gaps = torch.tensor([1.0, 1e-2, 1e-4, 1e-6], dtype=torch.float64)
    angles = torch.zeros(4, 3, dtype=torch.float64)
    angles[:, 1] = torch.pi - gaps
    angles[:, 2] = 2 * torch.rand(4, generator=generator, dtype=torch.float64) - 1
    Q, K = torch.randn(2, 2, 2, generator=generator, dtype=torch.float64) / 2
    times = torch.linspace(0, 140, 141, dtype=torch.float64)
    field = AutoregressiveFlow(causal_attention(Q, K))
    error = chord(simulate(field, circle(angles), times, 1e-6, SMALL).tokens).sum(-1)
    rates = [fit_exponential(times[60:], error[60:, i]).rate for i in range(4)]
    constants = (error * torch.exp(times / 2)[:, None]).amax(0).tolist()
    numbers = {"distance of x_2(0) from -x_1": gaps.tolist(), "rates": rates}
    numbers["constants in C e^{-t/2}"] = constants
    if prefactor:
        return Evidence(max(constants) < 100 * min(constants), numbers)
    return Evidence(max(abs(rate - 0.5) for rate in rates) < 0.005, numbers)


def uniform_in_length(generator: torch.Generator, kind: str) -> Evidence:
    """The sharp rate for L = 4, 16, 64: causal attention's, or that of weights a_lj = 1/l^2."""
    rates = []
    for length in (4, 16, 64):
        axis = torch.eye(3, dtype=torch.float64)[0]
        weights = causal_attention(*torch.randn(2, 3, 3, generator=generator, dtype=torch.float64))
        if kind == "1/l^2":
            rows = torch.arange(1, length + 1, dtype=torch.float64) ** -2.0
            weights = constant(rows[:, None].expand(length, length))
        ones = torch.ones(length, dtype=torch.float64)
        rates.append(consensus_rate(AutoregressiveFlow(weights), axis, ones).rate)
    return Evidence(max(rates) - min(rates) < 1e-9, {"weights": kind, "rates": rates})


def _linear(generator: torch.Generator, begin: float) -> Evidence:
    """v(t + 2) against e^{2M} v(t): the difference over the size of v, at t = begin."""
    length, dim = 4, 3
    bias = 0.3 * torch.randn(length, length, generator=generator, dtype=torch.float64)
    form = 0.3 * torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    flow = AutoregressiveFlow(moving(bias, form))
    x0 = starts(1, length, dim, generator)[0]
    times = torch.tensor([0.0, begin, begin + 2.0], dtype=torch.float64)
    x = simulate(flow, x0, times if begin else times[1:], 1e-8, SMALL).tokens[-2:]
    axis = torch.eye(dim, dtype=torch.float64)[0]
    A = flow.attention(axis.expand(length, dim)).tril(-1)
    step = torch.linalg.matrix_exp(2.0 * (A - torch.diag(A.sum(-1))))
    off = float((x[1, :, 1:] - step @ x[0, :, 1:]).norm() / x[1, :, 1:].norm())
    return Evidence(off < 1e-3, {"from t": begin, "relative difference at t + 2": off})


def other_limits(generator: torch.Generator, stated: bool) -> Evidence:
    """The orbit of :func:`algebraic_run` is exponential (stated), or f t -> -1."""
    times = torch.linspace(0, 2000, 401, dtype=torch.float64)
    f = algebraic_run(times)
    numbers = {"<x_3, x_1> at t = 2000": float(f[-1]), "times t": float(f[-1] * times[-1])}
    if not stated:
        return Evidence(abs(numbers["times t"] + 1) < 0.02, numbers)
    try:
        fit_exponential(times, f.abs())
    except ValueError as refusal:
        numbers["fit"] = str(refusal).split(" (")[0]
        return Evidence(False, numbers)
    return Evidence(True, numbers)


def printed_exponent(generator: torch.Generator, stated: bool) -> Evidence:
    """|x_2 - x_1| decays like e^{-t}, which is e^{-(1+theta)t/2}; or at a_21 at consensus."""
    count, dim = 4, 3
    models = instances(count, 2, dim, generator)
    x0 = torch.stack([starts(count, 2, dim, generator) for _ in models])
    x0 = x0 * torch.where(x0[..., :1] < 0, -1.0, 1.0)
    flow = AutoregressiveFlow(
        lambda x: torch.stack([w(x[i]) for i, w in enumerate(models.values())])
    )
    times = torch.linspace(0, 30, 61, dtype=torch.float64)
    error = chord(simulate(flow, x0, times, 1e-6, SMALL).tokens)[..., 1].flatten(1)
    fitted = np.array([fit_exponential(times, error[:, i]).rate for i in range(error.shape[1])])
    at = torch.zeros_like(x0)
    at[..., 0] = 1.0
    wanted = np.ones(len(fitted)) if stated else flow.attention(at)[..., 1, 0].flatten().numpy()
    off = float(abs(fitted / wanted - 1).max())
    return Evidence(off < 0.01, {"runs": len(fitted), "largest relative difference": off})
