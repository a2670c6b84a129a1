"""Layers that normalise before the branch: their residual stream, and its long-time laws."""

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere import s6
from tokensphere.first_token.zeros import inflow, random_zeros
from tokensphere.flow import FirstTokenFlow, MambaFlow, layers, project, simulate_residual_stream
from tokensphere.flow.deep_layers import absorb_radius_and_gain
from tokensphere.other_tokens.residual_stream import vertex_exponents, zero_rate
from tokensphere.paper.checks import tools
from tokensphere.paper.ledger import Evidence, at_most, below
from tokensphere.rates import fit_exponential

from ._problems import DIM, LENGTH, ROUNDING, normal, problem


def unit(z: Tensor) -> Tensor:
    return z / z.norm(dim=-1, keepdim=True)


def raw_layer(S_BC: Tensor, S_Delta: Tensor, a: Tensor, u: Tensor) -> Tensor:
    """The S6 layer by its recurrence, on tokens (L, D) of any norm."""
    steps = softplus(u @ S_Delta).mT[None]
    rates = -a[:, None].expand(len(a), len(a))
    return s6.scan(u.mT[None], steps, rates, (S_BC @ u.mT)[None], u.mT[None])[0].mT


def stream_on_the_sphere(generator: torch.Generator) -> Evidence:
    """Norms in a pre-norm stream after 64 layers, and of a token after RMS normalisation."""
    S_BC, S_Delta, a, x0 = problem(generator)
    field = MambaFlow(S_BC, S_Delta, a)
    stream = layers(field, x0, tools.times(1.0, 65), "before", every=64).tokens[-1].norm(dim=-1)
    rms = (x0 / x0.square().mean(-1, keepdim=True).sqrt()).norm(dim=-1)
    return Evidence(
        [
            below("a norm in the stream from 1", float((stream - 1).abs().max()), 1e-6),
            below("a norm after RMS normalisation from 1", float((rms - 1).abs().max()), 1e-6),
        ],
        {"norms in the stream": stream.tolist()},
    )


def stream_in_polar_form(generator: torch.Generator) -> Evidence:
    """The stream's own equation, and what RMS radius and gain do to the layer."""
    S_BC, S_Delta, a, x0 = problem(generator)
    field = MambaFlow(S_BC, S_Delta, a)
    # A centred difference of the stream, with error O(step^2) and noise of 1e-11 / step.
    step = 1e-4
    times = torch.tensor([0, 0.5 - step, 0.5, 0.5 + step], dtype=torch.float64)
    _, before, z, after = simulate_residual_stream(field, x0, times, rtol=1e-12).tokens
    r = [value.norm(dim=-1, keepdim=True) for value in (before, z, after)]
    x = z / r[1]
    turning = (after / r[2] - before / r[0]) / (2 * step) - project(x, field.layer(x)) / r[1]
    growing = (r[2] - r[0]) / (2 * step) - (field.layer(x) * x).sum(-1, keepdim=True)

    radius, gain = math.sqrt(DIM), normal(generator, DIM)
    raw = raw_layer(S_BC, S_Delta, a, radius * gain * x0)
    absorbed = MambaFlow(*absorb_radius_and_gain(S_BC, S_Delta, radius, gain), a)
    error = (raw - gain * absorbed.layer(x0)).abs().max() / raw.abs().max()
    return Evidence(
        [
            below("equation of the direction, residual", float(turning.abs().max()), 1e-5),
            below("equation of the radius, residual", float(growing.abs().max()), 1e-5),
            below("radius and gain absorbed, relative error", float(error), ROUNDING),
        ]
    )


def bounded(generator: torch.Generator, normalised: bool) -> Evidence:
    """A sequence through 200 layers of size 1, S_BC positive definite, which makes norms grow."""
    _, S_Delta, a, x0 = problem(generator)
    factor = normal(generator, DIM, DIM)
    S_BC = torch.eye(DIM, dtype=torch.float64) + factor @ factor.mT
    longest = (softplus(S_Delta.norm(dim=0)) + 1 / a).norm() * torch.linalg.matrix_norm(S_BC, 2)
    z, norms = x0, [1.0]
    # Without normalisation norms overflow within a few layers; one such is enough.
    while len(norms) <= 200 and norms[-1] < 1e6:
        z = z + raw_layer(S_BC, S_Delta, a, z / z.norm(dim=-1, keepdim=True) if normalised else z)
        norms.append(float(z.norm(dim=-1).max()))
    bound = 1 + (len(norms) - 1) * float(longest)
    return Evidence(
        [at_most("largest norm", norms[-1], bound)], {"layers of 200 passed": len(norms) - 1}
    )


def rate_at_zeros(generator: torch.Generator, divided: bool) -> Evidence:
    """Streams near zeros of 6 Gaussian forms in D = 10: the rate of |q|, against |kappa| / r.

    With `divided` false against |kappa|, the rate on the sphere.
    """
    dim, found = 10, []
    while len(found) < 6:
        S_BC, S_Delta = normal(generator, dim, dim), normal(generator, dim, dim)
        zeros = random_zeros(S_BC, 16, generator)
        attracting = zeros[inflow(S_BC, S_Delta, zeros)[0] < -1.5]
        if len(attracting):
            found.append((S_BC, S_Delta, attracting[:1] + 0.02 * normal(generator, 1, dim)))
    S_BC, S_Delta, start = (torch.stack(values) for values in zip(*found, strict=True))
    radius = 0.5 + 1.5 * torch.rand(len(found), 1, 1, generator=generator, dtype=torch.float64)
    field, times = FirstTokenFlow(S_BC, S_Delta), tools.times(60.0, 1201)
    z = simulate_residual_stream(field, radius * unit(start), times, 1e-12, 1e-14).tokens
    norms, x = z[-1].norm(dim=-1)[:, 0], unit(z)
    q = (x @ S_BC * x).sum(-1)[..., 0].abs()
    errors = []
    for k, norm in enumerate(norms):
        # Between a transient, O(|q|) relative to the rate, and the integration's noise.
        late = (q[:, k] < 1e-5) & (q[:, k] > 1e-9)
        fitted = fit_exponential(times[late], q[late, k]).rate
        norm = norm if divided else torch.ones_like(norm)
        predicted = float(zero_rate(S_BC[k], S_Delta[k], x[-1, k], norm[None]))
        errors.append(abs(fitted / predicted - 1))
    return Evidence(
        [below("largest relative error of the rate", max(errors), 1e-4)],
        {"limits of the norm": norms.tolist()},
    )


def near_a_vertex(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """S_BC, S_Delta, a and unit tokens near e_1, for 4 draws; q(e_1) > 0, e_1 stable.

    Its steps are softplus of 1.5 and of numbers in [0, 1], rates in [0.05, 0.2]: the exponents of
    one token then differ from another's by 0.1 or more.
    """
    count = 4
    S_BC, S_Delta = normal(generator, count, DIM, DIM), normal(generator, count, DIM, DIM)
    S_BC[:, 0, 0] = S_BC[:, 0, 0].abs() + 0.5
    uniform = torch.rand(2, count, DIM, generator=generator, dtype=torch.float64)
    S_Delta[:, 0], a = uniform[0], 0.05 + 0.15 * uniform[1]
    S_Delta[:, 0, 0] = 1.5
    x = 0.1 * normal(generator, count, LENGTH, DIM)
    x[..., 0] = 1
    return S_BC, S_Delta, a, unit(x)


def long_exponents(field: MambaFlow, start: Tensor) -> Tensor:
    """Fitted p of |x_lk| ~ t^-p, k > 1, for t from 1e15 to 1e18: (..., L, D - 1)."""
    late = torch.logspace(0, 18, 145, dtype=torch.float64)
    times = torch.cat([torch.zeros(1, dtype=torch.float64), late])
    z = simulate_residual_stream(field, start, times, rtol=1e-6, atol=1e-8).tokens
    away, clock = unit(z)[121:, ..., 1:].abs().log(), times[121:].log()
    clock = (clock - clock.mean()).reshape(-1, *[1] * (away.ndim - 1))
    return -(clock * away).sum(0) / clock.square().sum()


def first_exponents(generator: torch.Generator, of_the_sphere: bool) -> Evidence:
    """The first token's exponents at a coordinate vector, against 1 - Delta_k / Delta_d.

    With `of_the_sphere` against q (Delta_d - Delta_k), the exponential rate on the sphere.
    """
    S_BC, S_Delta, a, start = near_a_vertex(generator)
    fitted = long_exponents(MambaFlow(S_BC, S_Delta, a), start[:, :1])
    predicted = torch.stack([vertex_exponents(*p, 0, 1) for p in zip(S_Delta, a, strict=True)])
    if of_the_sphere:
        predicted = predicted * (S_BC[:, 0, 0] * softplus(S_Delta[:, 0, 0]))[:, None, None]
    # The transient of the exponent is O(t^-rho) relative to the component.
    error = float((fitted - predicted).abs().max())
    return Evidence(
        [below("largest error of an exponent", error, 0.005)],
        {"smallest exponent": float(fitted.min()), "largest": float(fitted.max())},
    )


def later_exponents(generator: torch.Generator, with_sums: bool) -> Evidence:
    """The exponents of three tokens near one coordinate vector.

    If the first token moves, all have its exponents. If those before the last one rest there, the
    last has its own; with `with_sums` false this is said to be the first token's too.
    """
    S_BC, S_Delta, a, start = near_a_vertex(generator)
    field = MambaFlow(S_BC, S_Delta, a)
    predicted = torch.stack([vertex_exponents(*p, 0, LENGTH) for p in zip(S_Delta, a, strict=True)])
    following = long_exponents(field, start) - predicted[:, :1]
    start[:, :-1] = torch.eye(DIM, dtype=torch.float64)[0]
    own = long_exponents(field, start)[:, -1] - predicted[:, -1 if with_sums else 0]
    return Evidence(
        [
            below("first token moves: error of an exponent", float(following.abs().max()), 0.005),
            below("first tokens rest: error of the last one's", float(own.abs().max()), 0.005),
        ],
        {"smallest own exponent of the last one": float(predicted[:, -1].min())},
    )
