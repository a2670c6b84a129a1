"""Claims about the flow on the sphere as a limit of deep models, section 2.2."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere import s6
from tokensphere.flow import (
    MambaFlow,
    layers,
    project,
    random_tokens,
    simulate,
    simulate_residual_stream,
)
from tokensphere.paper.ledger import Evidence

DIM, LENGTH, HORIZON = 3, 3, 1.0
DEPTHS = (64, 128, 256)
ROUNDING = 1e-11
"""Sums of a few products of numbers up to about a hundred, in float64."""


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _problem(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """S_BC, S_Delta, a, x0. S_BC is near I: pre-norm streams then stay away from the origin."""
    S_BC = torch.eye(DIM, dtype=torch.float64) + _normal(generator, DIM, DIM) / 3
    S_Delta, a = _normal(generator, DIM, DIM), (_normal(generator, DIM) / 2).exp()
    return S_BC, S_Delta, a, random_tokens(LENGTH, DIM, generator=generator)


def _moving(generator: torch.Generator, S_BC: Tensor, S_Delta: Tensor, a: Tensor) -> MambaFlow:
    """The same with smooth parameters of t."""
    change = _normal(generator, DIM, DIM) / 3
    return MambaFlow(
        lambda t: S_BC + math.sin(3 * float(t)) * change,
        lambda t: S_Delta * math.cos(2 * float(t)),
        lambda t: a * (1 + 0.5 * math.sin(float(t))),
    )


def _grid(depth: int, horizon: float = HORIZON) -> Tensor:
    return torch.linspace(0, horizon, depth + 1, dtype=torch.float64)


def _distance(x: Tensor, y: Tensor) -> float:
    return float((x - y).norm(dim=-1).max())


def _errors(field, x0: Tensor, limit: Tensor, normalise: str = "after") -> list[float]:
    """Distance of the model's output from `limit`, for each depth."""
    return [
        _distance(layers(field, x0, _grid(n), normalise, every=n).tokens[-1], limit) for n in DEPTHS
    ]


def _order(errors: list[float]) -> float:
    """The power of 1/depth between the shallowest and the deepest model."""
    return math.log(errors[0] / errors[-1]) / math.log(DEPTHS[-1] / DEPTHS[0])


def _first_order(errors: list[float]) -> Evidence:
    # An error C/n (1 + O(1/n)) shows order 1 up to O(1/64). Nothing here is near rounding.
    order = _order(errors)
    return Evidence(
        abs(order - 1) < 0.1, {"order": order, f"error at depth {DEPTHS[-1]}": errors[-1]}
    )


def limit_of_layers(generator: torch.Generator, normalise: str) -> Evidence:
    S_BC, S_Delta, a, x0 = _problem(generator)
    field = MambaFlow(S_BC, S_Delta, a)
    flow = simulate(field, x0, _grid(1)).tokens[-1]
    return _first_order(_errors(field, x0, flow, normalise))


def moving_limit(generator: torch.Generator, frozen: bool) -> Evidence:
    S_BC, S_Delta, a, x0 = _problem(generator)
    field = _moving(generator, S_BC, S_Delta, a)
    flow = simulate(field, x0, _grid(1)).tokens[-1]
    built = MambaFlow(field.S_BC(0), field.S_Delta(0), field.a(0)) if frozen else field
    return _first_order(_errors(built, x0, flow))


def deeper_is_nearer(generator: torch.Generator) -> Evidence:
    """Remark 2.2 without conditions: branches of size 1, and layers that have nothing in common."""
    S_BC, S_Delta, a, x0 = _problem(generator)
    field = MambaFlow(S_BC, S_Delta, a)
    unscaled = []
    for depth in (8, 16, 32):
        times = torch.arange(depth + 1, dtype=torch.float64)
        model, flow = layers(field, x0, times).tokens, simulate(field, x0, times, rtol=1e-7).tokens
        unscaled.append(_distance(model, flow))
    bank = (
        S_BC + _normal(generator, 8, DIM, DIM),
        _normal(generator, 8, DIM, DIM),
        a.expand(8, DIM),
    )
    mean_layer = MambaFlow(*bank).layer
    mean = simulate(
        lambda x, t: project(x, mean_layer(x.unsqueeze(0)).mean(0)), x0, _grid(1), rtol=1e-7
    ).tokens[-1]
    runs, scatter = 256, []
    for depth in DEPTHS:
        draws = torch.randint(8, (depth, runs), generator=generator)
        drawn = MambaFlow(*(_by_layer(parameter, draws) for parameter in bank))
        ends = layers(drawn, x0.expand(runs, LENGTH, DIM), _grid(depth), every=depth).tokens[-1]
        scatter.append(float((ends - mean).square().sum((-1, -2)).mean().sqrt()))
    nearer = unscaled[-1] < 0.6 * unscaled[0]
    return Evidence(
        nearer and abs(_order(scatter) - 1) < 0.1,
        {
            "branches unscaled, largest error at depths 8, 16, 32": unscaled,
            "independent layers, order towards the averaged flow": _order(scatter),
        },
    )


def _by_layer(parameter: Tensor, draws: Tensor) -> Callable[[Tensor | float], Tensor]:
    return lambda t: parameter[draws[round(float(t) / HORIZON * len(draws))]]


def deeper_is_nearer_if_regular(generator: torch.Generator) -> Evidence:
    S_BC, S_Delta, a, x0 = _problem(generator)
    field = _moving(generator, S_BC, S_Delta, a)
    orders = [
        _order(_errors(field, x0, solve(field, x0, _grid(1)).tokens[-1], normalise))
        for normalise, solve in (("after", simulate), ("before", simulate_residual_stream))
    ]
    return Evidence(
        max(abs(order - 1) for order in orders) < 0.1,
        {"order, normalised after, to its limit": orders[0], "before, to its own": orders[1]},
    )


def coefficients(generator: torch.Generator, first_decay: int) -> Evidence:
    """Eq (8) at a random depth, by its formula, against the S6 recurrence's attention.

    The decays run from token j + first_decay on; eq (8) says 1.
    """
    S_BC, S_Delta, a, x = _problem(generator)
    t = float(torch.rand((), generator=generator, dtype=torch.float64))
    field = _moving(generator, S_BC, S_Delta, a)
    S_BC, S_Delta, a = field.S_BC(t), field.S_Delta(t), field.a(t)
    steps = softplus(x @ S_Delta)
    formula = torch.zeros(DIM, LENGTH, LENGTH, dtype=torch.float64)
    for l in range(LENGTH):
        for j in range(l + 1):
            elapsed = steps[j + first_decay : l + 1].sum(0)
            formula[:, l, j] = (x[l] @ S_BC @ x[j]) * steps[j] * torch.exp(-a * elapsed)
    recurrent = s6.hidden_attention(
        steps.mT[None], -a[:, None].expand(DIM, DIM), (S_BC @ x.mT)[None], x.mT[None]
    )[0]
    difference = float((formula - recurrent).abs().max())
    library = float((field.attention(x, t) - recurrent).abs().max())
    return Evidence(
        difference < ROUNDING,
        {"largest difference": difference, "of the library's field": library},
    )


def autonomous_row(generator: torch.Generator, row: int) -> Evidence:
    """Whether a row's velocity is q(y) P_y(Delta(y) * y), whatever the other tokens and a are."""
    S_BC, S_Delta, a, x = _problem(generator)
    other = random_tokens(LENGTH, DIM, generator=generator)
    other[row] = x[row]
    velocities = [
        MambaFlow(S_BC, S_Delta, a)(x)[row],
        MambaFlow(S_BC, S_Delta, a)(other)[row],
        MambaFlow(S_BC, S_Delta, 3 * a)(x)[row],
    ]
    y = x[row]
    alone = (y @ S_BC @ y) * project(y, softplus(y @ S_Delta) * y)
    difference = max(float((velocity - alone).abs().max()) for velocity in velocities)
    return Evidence(difference < ROUNDING, {"largest difference": difference})


def _raw_layer(S_BC: Tensor, S_Delta: Tensor, a: Tensor, u: Tensor) -> Tensor:
    """The S6 layer by its recurrence, on tokens (L, D) of any norm."""
    steps = softplus(u @ S_Delta).mT[None]
    rates = -a[:, None].expand(len(a), len(a))
    return s6.scan(u.mT[None], steps, rates, (S_BC @ u.mT)[None], u.mT[None])[0].mT


def stream_on_the_sphere(generator: torch.Generator) -> Evidence:
    S_BC, S_Delta, a, x0 = _problem(generator)
    field = MambaFlow(S_BC, S_Delta, a)
    stream = layers(field, x0, _grid(64), "before", every=64).tokens[-1].norm(dim=-1)
    rms = x0 / x0.square().mean(-1, keepdim=True).sqrt()
    return Evidence(
        float((stream - 1).abs().max()) < 1e-6 and float((rms.norm(dim=-1) - 1).abs().max()) < 1e-6,
        {"norms in the stream": stream.tolist(), "norm after RMS": float(rms[0].norm())},
    )


def stream_in_polar_form(generator: torch.Generator) -> Evidence:
    """The stream's own equation, and what RMS radius and gain do to the layer."""
    S_BC, S_Delta, a, x0 = _problem(generator)
    field = MambaFlow(S_BC, S_Delta, a)
    # A centred difference of the stream, with error O(step^2) and noise of 1e-11 / step.
    step = 1e-4
    times = torch.tensor([0, 0.5 - step, 0.5, 0.5 + step], dtype=torch.float64)
    _, before, z, after = simulate_residual_stream(field, x0, times, rtol=1e-12).tokens
    r = [value.norm(dim=-1, keepdim=True) for value in (before, z, after)]
    x = z / r[1]
    turning = (after / r[2] - before / r[0]) / (2 * step) - project(x, field.layer(x)) / r[1]
    growing = (r[2] - r[0]) / (2 * step) - (field.layer(x) * x).sum(-1, keepdim=True)
    equation = max(float(turning.abs().max()), float(growing.abs().max()))

    radius, gain = math.sqrt(DIM), _normal(generator, DIM)
    raw = _raw_layer(S_BC, S_Delta, a, radius * gain * x0)
    absorbed = MambaFlow(
        radius**3 * gain[:, None] * S_BC * gain, radius * gain[:, None] * S_Delta, a
    )
    layer = float((raw - gain * absorbed.layer(x0)).abs().max() / raw.abs().max())
    return Evidence(
        equation < 1e-5 and layer < ROUNDING,
        {"polar equations, largest residual": equation, "radius and gain, relative error": layer},
    )


def bounded(generator: torch.Generator, normalised: bool) -> Evidence:
    """A sequence through 200 layers of size 1, S_BC positive definite, which makes norms grow."""
    _, S_Delta, a, x0 = _problem(generator)
    factor = _normal(generator, DIM, DIM)
    S_BC = torch.eye(DIM, dtype=torch.float64) + factor @ factor.mT
    longest = (softplus(S_Delta.norm(dim=0)) + 1 / a).norm() * torch.linalg.matrix_norm(S_BC, 2)
    z, norms = x0, [1.0]
    # Without normalisation norms overflow within a few layers; one such is enough.
    while len(norms) <= 200 and norms[-1] < 1e6:
        z = z + _raw_layer(S_BC, S_Delta, a, z / z.norm(dim=-1, keepdim=True) if normalised else z)
        norms.append(float(z.norm(dim=-1).max()))
    bound = 1 + (len(norms) - 1) * float(longest)
    return Evidence(
        norms[-1] <= bound, {"layers": len(norms) - 1, "largest norm": norms[-1], "bound": bound}
    )
