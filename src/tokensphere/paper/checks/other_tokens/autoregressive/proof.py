"""Checks of the steps of the printed proof of Theorem B.16, and of what replaces them."""

import numpy as np
import torch
from torch import Tensor

from tokensphere.flow import AutoregressiveFlow, random_tokens, simulate
from tokensphere.other_tokens import coefficients as families
from tokensphere.other_tokens import consensus_spectrum, cosines, tangent_jacobian
from tokensphere.other_tokens import exceptional as plane
from tokensphere.other_tokens.approach import axis_distance, tokens_from_axis
from tokensphere.other_tokens.vertices import sign_patterns
from tokensphere.paper.checks.tools import agree, largest, normal, times, uniform, unit
from tokensphere.paper.ledger import Evidence, above, at_least, at_most, below, equal

ROUNDING = 1e-12
"""Sums of a few products of numbers of order one, in float64."""


def _sample(generator: torch.Generator) -> tuple[cosines.Cosines, Tensor]:
    """Random weights of eq (13) at 4000 points with four tokens, D = 3: the cosines; the tokens."""
    flow = AutoregressiveFlow(families.random_log_bilinear(4, 3, generator))
    x = random_tokens(4000, 4, 3, generator=generator)
    # Earlier tokens at all distances from x_1, last ones anywhere.
    near = uniform(generator, 4000, 2, 1) ** 4
    x[:, 1:-1] = x[:, :1] + near * (x[:, 1:-1] - x[:, :1])
    x = unit(x)
    return cosines.cosines(flow, x), x


def _extremal(second: str) -> cosines.Cosines:
    """Three tokens of a circle, the third drawn to the second alone, 99 times: where our bounds are
    equalities. The second is "at" the third, at its "antipode", or the first's "reflection" in it.
    """
    flow = AutoregressiveFlow(families.toeplitz(torch.tensor([1.0, 0.0], dtype=torch.float64)))
    angle = torch.linspace(0, torch.pi, 101, dtype=torch.float64)[1:-1]
    third = torch.stack([angle.cos(), angle.sin()], -1)
    first = torch.tensor([1.0, 0.0], dtype=torch.float64).expand_as(third)
    reflected = 2 * third[:, :1] * third - first
    seconds = {"at": third, "antipode": -third, "reflection": reflected}
    return cosines.cosines(flow, torch.stack([first, seconds[second], third], -2))


def _slack(values: Tensor) -> Evidence:
    """Of an inequality at random points, its larger less its smaller side."""
    least = at_least("least slack", values.min(), -ROUNDING)
    return Evidence([least], {"points": values.numel()})


def _difference(values: Tensor) -> Evidence:
    """Of an equation at random points, its left less its right side."""
    return Evidence(agree(ROUNDING, {"the two sides": values}), {"points": values.numel()})


def second_token_speed(generator: torch.Generator, power: int) -> Evidence:
    """f' = a_21 (1 - f^power) for f = <x_2, x_1>."""
    at, _ = _sample(generator)
    return _difference(at.speed[:, 1] - at.weights[:, 1, 0] * (1 - at.f[:, 1] ** power))


def second_token_decay(generator: torch.Generator, exponent: str) -> Evidence:
    """1 - f(t) <= C e^{-2t}, or C e^{-2 a_21 t} with a_21 at (x_1, x_1): from t = 20 to 40."""
    weight = torch.tensor([0.2, 0.5, 2.0], dtype=torch.float64)
    flow = AutoregressiveFlow(families.toeplitz(weight[:, None]))
    x0 = tokens_from_axis(3, 2, 3, generator)
    x = simulate(flow, x0, times(40, 3), 1e-6, 1e-60).tokens[:, :, 1]
    gap = axis_distance(x) ** 2 / 2  # 1 - f, without cancellation
    rate = 2.0 if exponent == "printed" else 2 * weight
    growth = torch.log(gap[2] / gap[1]) / 20 + rate
    # Left of the transient at t = 20: e^{-8} tan(angle/2)^2 / 20 for the smallest weight.
    bounded = below("growth of (1 - f) exp(rate t) a unit of time", growth.max(), 0.06)
    return Evidence([bounded], {"a_21": weight, "growth": growth})


def decay_from_display(generator: torch.Generator, positive: bool) -> Evidence:
    """|d(1 - f)/dt| <= C (1 + theta)(1 - f), which is what the display says, and decay of 1 - f.

    For weights a_21 = e^{b + <x_2, M x_1>}, at least e^{b - |M x_1|}; the control has a_21 = 1 - f,
    zero at x_1 alone.
    """
    bias, *pull = 0.4 * normal(generator, 4, 8)
    pull = torch.stack(pull, -1)
    pull[0] = 0.0  # and near the first token: there our bound is sharp

    def coefficients(x: Tensor) -> Tensor:
        a = x.new_zeros(*x.shape[:-2], 2, 2)
        exponential = torch.exp(bias + (x[..., 1, :] * pull).sum(-1))
        a[..., 1, 0] = exponential if positive else axis_distance(x[..., 1, :]) ** 2 / 2
        return a

    flow = AutoregressiveFlow(coefficients)
    x0 = tokens_from_axis(8, 2, 3, generator, half=True)
    x0[0, 1] = unit(torch.tensor([1.0, 0.1, 0.0], dtype=torch.float64))
    clock = times(40, 41)
    x = simulate(flow, x0, clock, 1e-6, 1e-60).tokens
    gap = axis_distance(x[:, :, 1]) ** 2 / 2  # 1 - f, without cancellation
    quotient = flow.attention(x)[..., 1, 0] * (2 - gap) / 2  # theta = 1
    early, late = (gap[20] / gap[10]).log() / 10, (gap[40] / gap[20]).log() / 20
    criteria = [
        at_most("largest quotient of the display's sides", quotient.max(), 10.0),
        # An exponential rate settles, that of 1/t halves.
        above("rate from t = 20 to 40 over that from 10 to 20", (late / early).min(), 0.9),
    ]
    if positive:
        least = torch.exp(bias - pull.norm(dim=-1))
        bound = cosines.second_token_bound(1 - gap[0], least, clock[:, None])
        excess = (gap / bound).max() - 1
        criteria.append(at_most("excess of 1 - f over our bound, relative", excess, 1e-5))
        for what, at in (("at random", _sample(generator)[0]), ("where sharp", _extremal("at"))):
            slack = (cosines.arriving_bound(at) + at.speed)[at.f >= 0].min()
            criteria.append(at_least(f"least slack of our bound, f >= 0, {what}", slack, -ROUNDING))
    return Evidence(criteria, {"runs": 8})


def cosine_speed(generator: torch.Generator, inner: str) -> Evidence:
    """f_i' = a_i1 (1 - f_i^2) + sum_{1<j<i} a_ij (f_j - g_ij f_i); the control has f_i for g_ij."""
    at, x = _sample(generator)
    f = at.f.unsqueeze(-1)
    g = x @ x.mT if inner == "g_ij" else f.expand_as(at.weights)
    rest = (at.weights * (f.mT - g * f))[..., 1:].sum(-1)
    return _difference(at.speed - at.weights[..., 0] * (1 - at.f**2) - rest)


def equation_32(generator: torch.Generator) -> Evidence:
    """f_3(t) >= min(0.8, f_3(0)) although f_2 >= 0.9, along an orbit near the exceptional one."""
    second = 0.2 + 0.2 * float(uniform(generator))
    third = float(np.interp(second, *plane.exceptional_curve(1, 1, 1)))
    x0 = plane.three_on_circle(*torch.tensor([second, third], dtype=torch.float64))
    f = simulate(plane.three_token_flow(1, 1, 1), x0, times(2, 21)).tokens[..., 0]
    fall = (f[:, 2] - f[0, 2].clamp(max=0.8)).min()
    never = at_least("least f3(t) minus min(0.8, f3(0)), t up to 2", fall, -1e-9)
    return Evidence([never], {"least f2": f[:, 1].min(), "1 + f3(0)": 1 + f[0, 2]})


def rises_outside_cap(generator: torch.Generator) -> Evidence:
    """f_i' > 0 wherever sqrt(1 - f_i^2) > max_{j<i} |x_j - x_1|."""
    at, _ = _sample(generator)
    speeds = at.speed[:, -1][at.sine[:, -1] > at.ahead[:, -1]]
    least = above("least speed of fi there", speeds.min(), 0.0)
    return Evidence([least, above("points there", len(speeds), 100)])


def speed_bound(generator: torch.Generator, distance: float, leaving: bool = False) -> Evidence:
    """f_i' against our bound, told that the tokens before are so many times as far as they are.

    Leaving: d(1 + f_i)/dt against that of Case 2, wherever f_i <= 0.
    """
    slack = []
    for at in (_sample(generator)[0], _extremal("antipode" if leaving else "reflection")):
        told = at._replace(ahead=distance * at.ahead)
        if leaving:
            slack.append((at.speed - cosines.leaving_bound(told))[at.f <= 0])
        else:
            slack.append((at.speed - cosines.speed_bound(told)).flatten())
    return _slack(torch.cat(slack))


def case_1(generator: torch.Generator, sign: int) -> Evidence:
    """d(1 - f_i)/dt <= -a_i1 (1 - f_i)(1 + f_i) + sum_{j<i} a_ij (1 - f_j); control: - that sum."""
    at, _ = _sample(generator)
    others = (at.weights * (1 - at.f).unsqueeze(-2)).sum(-1)
    return _slack(at.speed - at.weights[..., 0] * (1 - at.f**2) + sign * others)


def unstable_eigenvalue(generator: torch.Generator, factor: float, multiplicity: int) -> Evidence:
    """factor * sum a_Lj among the eigenvalues at (x_1, x_1, x_1, -x_1), differentiated; D = 4."""
    flow = AutoregressiveFlow(families.random_log_bilinear(4, 4, generator))
    x1 = random_tokens(4, generator=generator)
    x = x1 * torch.tensor([1, 1, 1, -1], dtype=torch.float64)[:, None]
    wanted = factor * float(flow.attention(x)[-1, :-1].sum())
    values = torch.linalg.eigvals(tangent_jacobian(flow, x)).real
    # Below the diagonal of the last block nothing else of size 2A can appear but by accident.
    found = ((values - wanted).abs() < 1e-8).sum()
    numbers = {"value looked for": wanted, "positive eigenvalues": values[values > 1e-8]}
    return Evidence([equal("multiplicity of the eigenvalue", found, multiplicity)], numbers)


def spectra_at_patterns(generator: torch.Generator, signed: bool) -> Evidence:
    """Spectra at all sign patterns against automatic differentiation; only all +1 is stable."""
    length, dim = 4, 3
    flow = AutoregressiveFlow(families.random_log_bilinear(length, dim, generator))
    x1 = random_tokens(dim, generator=generator)
    off, stable, reversed_first = [], [], []
    for pattern in sign_patterns(length):
        jacobian = tangent_jacobian(flow, pattern[:, None] * x1)
        values = torch.linalg.eigvals(jacobian).real.sort().values
        own = consensus_spectrum(flow, x1, pattern)
        formula = own if signed else consensus_spectrum(flow, x1, torch.ones_like(pattern))
        off.append(largest(formula.flatten().sort().values - values))
        # The first token stands still: D - 1 zeros.
        if float(values[: -(dim - 1)].max()) < 0 and float(values[-1]) < 1e-9:
            stable.append(pattern.int().tolist())
        if (pattern < 0).any():
            reversed_first.append(float(own[int((pattern < 0).int().argmax())].min()))
    criteria = [
        below("largest difference of spectra", max(off), 1e-7),
        equal("stable patterns", stable, [[1] * length]),
        above("least eigenvalue of a first reversed token", min(reversed_first), 0.0),
    ]
    return Evidence(criteria, {"patterns": len(off)})
