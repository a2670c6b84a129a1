"""Layers that normalise before the branch: their residual stream, and its long-time laws."""

import math

import torch
from torch import Generator, Tensor
from torch.nn.functional import softplus

from tokensphere import s6
from tokensphere.first_token import zeros
from tokensphere.flow import FirstTokenFlow, MambaFlow, layers, project, simulate_residual_stream
from tokensphere.flow.deep_layers import absorb_radius_and_gain
from tokensphere.other_tokens import residual_stream
from tokensphere.paper.checks import tools
from tokensphere.paper.ledger import Evidence, at_most, below
from tokensphere.rates import fit_exponential

from ._problems import DIM, LENGTH, ROUNDING, problem


def raw_layer(S_BC: Tensor, S_Delta: Tensor, a: Tensor, u: Tensor) -> Tensor:
    """The S6 layer by its recurrence, on tokens (L, D) of any norm."""
    identity = torch.eye(len(a), dtype=torch.float64)
    return s6.scan(*tools.s6_layout(u, softplus(u @ S_Delta), a, S_BC, identity))[0].mT


def stream_on_the_sphere(generator: Generator) -> Evidence:
    """Norms in a pre-norm stream after 64 layers, and of a token after RMS normalisation."""
    field, x0 = problem(generator)
    stream = layers(field, x0, tools.times(1.0, 65), "before", every=64).tokens[-1].norm(dim=-1)
    rms = (x0 / x0.square().mean(-1, keepdim=True).sqrt()).norm(dim=-1)
    from_1 = {"norms in the stream, from 1": stream - 1, "norms after RMS, from 1": rms - 1}
    return Evidence(tools.agree(1e-6, from_1), {"norms in the stream": stream.tolist()})


def stream_in_polar_form(generator: Generator) -> Evidence:
    """The stream's own equation, and what RMS radius and gain do to the layer."""
    field, x0 = problem(generator)
    # A centred difference of the stream, with error O(step^2) and noise of 1e-11 / step.
    step = 1e-4
    times = torch.tensor([0, 0.5 - step, 0.5, 0.5 + step], dtype=torch.float64)
    z = simulate_residual_stream(field, x0, times, rtol=1e-12).tokens[1:]
    r, x = z.norm(dim=-1, keepdim=True), tools.unit(z)
    y = field.layer(x[1])
    turning = (x[2] - x[0]) / (2 * step) - project(x[1], y) / r[1]
    growing = (r[2] - r[0]) / (2 * step) - (y * x[1]).sum(-1, keepdim=True)

    radius, gain = math.sqrt(DIM), tools.normal(generator, DIM)
    raw = raw_layer(field.S_BC, field.S_Delta, field.a, radius * gain * x0)
    absorbed = absorb_radius_and_gain(field.S_BC, field.S_Delta, radius, gain)
    error = raw - gain * MambaFlow(*absorbed, field.a).layer(x0)
    relative = error.abs().max() / raw.abs().max()
    sides = {"the equation of the direction": turning, "the equation of the radius": growing}
    absorbs = below("radius and gain absorbed, relative error", relative, ROUNDING)
    return Evidence([*tools.agree(1e-5, sides), absorbs])


def bounded(generator: Generator, normalised: bool) -> Evidence:
    """A sequence through 200 layers of size 1, S_BC positive definite, which makes norms grow."""
    field, z = problem(generator)
    factor = tools.normal(generator, DIM, DIM)
    S_BC = torch.eye(DIM, dtype=torch.float64) + factor @ factor.mT
    norms = [1.0]
    # Without normalisation norms overflow within a few layers; one such is enough.
    while len(norms) <= 200 and norms[-1] < 1e6:
        z = z + raw_layer(S_BC, field.S_Delta, field.a, tools.unit(z) if normalised else z)
        norms.append(float(z.norm(dim=-1).max()))
    passed = len(norms) - 1
    bound = 1 + passed * float(residual_stream.layer_bound(S_BC, field.S_Delta, field.a))
    return Evidence([at_most("largest norm", norms[-1], bound)], {"layers of 200 passed": passed})


def rate_at_zeros(generator: Generator, divided: bool) -> Evidence:
    """Streams near zeros of 6 Gaussian forms in D = 10: the rate of |q|, against |kappa| / r.

    With `divided` false against |kappa|, the rate on the sphere.
    """
    dim, found = 10, []
    while len(found) < 6:
        S_BC, S_Delta = tools.normal(generator, dim, dim), tools.normal(generator, dim, dim)
        p = zeros.random_zeros(S_BC, 16, generator)
        attracting = p[zeros.inflow(S_BC, S_Delta, p)[0] < -1.5]
        if len(attracting):
            start = attracting[:1] + 0.02 * tools.normal(generator, 1, dim)
            found.append((S_BC, S_Delta, tools.unit(start)))
    S_BC, S_Delta, start = (torch.stack(values) for values in zip(*found, strict=True))
    radius = 0.5 + 1.5 * tools.uniform(generator, len(found), 1, 1)
    field, times = FirstTokenFlow(S_BC, S_Delta), tools.times(60.0, 1201)
    z = simulate_residual_stream(field, radius * start, times, 1e-12, 1e-14).tokens
    norms, x = z[-1].norm(dim=-1)[:, 0], tools.unit(z)
    q = (x @ S_BC * x).sum(-1)[..., 0].abs()
    errors = []
    for k, norm in enumerate(norms if divided else torch.ones_like(norms)):
        # Between a transient, O(|q|) relative to the rate, and the integration's noise.
        late = (q[:, k] < 1e-5) & (q[:, k] > 1e-9)
        fitted = fit_exponential(times[late], q[late, k]).rate
        predicted = residual_stream.zero_rate(S_BC[k], S_Delta[k], x[-1, k], norm[None])
        errors.append(abs(fitted / float(predicted) - 1))
    numbers = {"limits of the norm": norms.tolist()}
    return Evidence([below("largest relative error of the rate", max(errors), 1e-4)], numbers)


def near_a_vertex(generator: Generator) -> tuple[MambaFlow, Tensor, Tensor]:
    """4 flows with q(e_1) > 0 and e_1 stable, unit tokens near e_1, and the tokens' exponents.

    The steps at e_1 are softplus of 1.5 and of numbers in [0, 1], rates in [0.05, 0.2]: the first
    token's exponents are then smaller than later ones' own by 0.16 or more. Components are
    from 0.05 to 0.1 times the first, so that no faster power shows for long.
    """
    count = 4
    S_BC, S_Delta = (tools.normal(generator, count, DIM, DIM) for _ in range(2))
    S_BC[:, 0, 0] = S_BC[:, 0, 0].abs() + 1
    S_Delta[:, 0], a = tools.uniform(generator, 2, count, DIM)
    a = 0.05 + 0.15 * a
    S_Delta[:, 0, 0] = 1.5
    x = 0.2 * tools.uniform(generator, count, LENGTH, DIM) - 0.1
    x = (x + 0.1 * x.sign()) / 2
    x[..., 0] = 1
    exponents = [
        residual_stream.vertex_exponents(*p, 0, LENGTH) for p in zip(S_Delta, a, strict=True)
    ]
    return MambaFlow(S_BC, S_Delta, a), tools.unit(x), torch.stack(exponents)


def long_exponents(field: MambaFlow, start: Tensor) -> Tensor:
    """Fitted p of |x_lk| ~ t^-p, k > 1, for t from 1e15 to 1e18: (..., L, D - 1)."""
    late = torch.logspace(15, 18, 25, dtype=torch.float64)
    times = torch.cat([torch.zeros(1, dtype=torch.float64), late])
    z = simulate_residual_stream(field, start, times, rtol=1e-6, atol=1e-8).tokens[1:]
    return residual_stream.fitted_exponents(late, tools.unit(z)[..., 1:].abs())


def first_exponents(generator: Generator, of_the_sphere: bool) -> Evidence:
    """The first token's exponents at a coordinate vector, against 1 - Delta_k / Delta_d.

    With `of_the_sphere` against q (Delta_d - Delta_k), the exponential rate on the sphere.
    """
    field, start, predicted = near_a_vertex(generator)
    fitted = long_exponents(field, start[:, :1])
    if of_the_sphere:
        step = softplus(field.S_Delta[:, 0, 0])
        predicted = predicted * (field.S_BC[:, 0, 0] * step)[:, None, None]
    # The transient of the exponent is O(t^-rho) relative to the component.
    error = (fitted - predicted[:, :1]).abs().max()
    numbers = {"smallest exponent": float(fitted.min()), "largest": float(fitted.max())}
    return Evidence([below("largest error of an exponent", error, 0.005)], numbers)


def later_exponents(generator: Generator, with_sums: bool) -> Evidence:
    """The exponents of three tokens near one coordinate vector.

    If the first token moves, all have its exponents. If those before the last one rest there, the
    last has its own; with `with_sums` false this is said to be the first token's too.
    """
    field, start, predicted = near_a_vertex(generator)
    following = long_exponents(field, start) - predicted[:, :1]
    start[:, :-1] = torch.eye(DIM, dtype=torch.float64)[0]
    own = long_exponents(field, start)[:, -1] - predicted[:, -1 if with_sums else 0]
    errors = {
        "exponents, the first token moves": following,
        "the last one's exponents, the others rest": own,
    }
    smallest = float(predicted[:, -1].min())
    return Evidence(tools.agree(0.005, errors), {"smallest own exponent of the last one": smallest})
