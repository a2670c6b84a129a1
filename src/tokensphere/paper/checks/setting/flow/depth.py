"""Of which deep models the flow is the limit, section 2.2."""

import torch
from torch import Tensor

from tokensphere.flow import MambaFlow, layers, simulate, simulate_residual_stream
from tokensphere.flow.deep_layers import drawn_layers, empirical_order, mean_field, output_error
from tokensphere.paper.checks import tools
from tokensphere.paper.ledger import Criterion, Evidence, below, between

from ._problems import DIM, moving, normal, problem

DEPTHS = (64, 128, 256)


def grid(depth: int) -> Tensor:
    return tools.times(1.0, depth + 1)


def order_towards(field, x0: Tensor, limit: Tensor, normalise: str = "after") -> float:
    """The order in 1/depth at which models of DEPTHS layers approach `limit`, times (0, 1.0)."""
    errors = [output_error(field, x0, grid(depth), limit, normalise) for depth in DEPTHS]
    return empirical_order(DEPTHS, errors)


def is_one(what: str, order: float) -> Criterion:
    # An error C/n (1 + O(1/n)) shows order 1 up to O(1/64). Nothing here is near rounding.
    return between(what, order, 0.9, 1.1)


def limit_of_layers(generator: torch.Generator, normalise: str) -> Evidence:
    S_BC, S_Delta, a, x0 = problem(generator)
    field = MambaFlow(S_BC, S_Delta, a)
    flow = simulate(field, x0, grid(1)).tokens
    order = order_towards(field, x0, flow, normalise)
    error = output_error(field, x0, grid(DEPTHS[-1]), flow, normalise)
    return Evidence([is_one("order in 1/depth", order)], {f"error at depth {DEPTHS[-1]}": error})


def moving_limit(generator: torch.Generator, frozen: bool) -> Evidence:
    """Layers with parameters of their depth, or all with those of the first, against the flow."""
    S_BC, S_Delta, a, x0 = problem(generator)
    field = moving(generator, S_BC, S_Delta, a)
    flow = simulate(field, x0, grid(1)).tokens
    built = MambaFlow(field.S_BC(0), field.S_Delta(0), field.a(0)) if frozen else field
    return Evidence([is_one("order in 1/depth", order_towards(built, x0, flow))])


def deeper_is_nearer(generator: torch.Generator) -> Evidence:
    """Remark 2.2 without conditions: branches of size 1, and layers that have nothing in common."""
    S_BC, S_Delta, a, x0 = problem(generator)
    field = MambaFlow(S_BC, S_Delta, a)
    unscaled = []
    for depth in (8, 16, 32):
        times = torch.arange(depth + 1, dtype=torch.float64)
        flow = simulate(field, x0, times, rtol=1e-7).tokens
        unscaled.append(output_error(field, x0, times, flow))
    several = S_BC + normal(generator, 8, DIM, DIM), normal(generator, 8, DIM, DIM)
    bank = MambaFlow(*several, a.expand(8, DIM))
    mean = tools.ends(mean_field(bank), x0, 1.0, rtol=1e-7, atol=1e-12)
    runs, scatter = 256, []
    for depth in DEPTHS:
        which = torch.randint(8, (depth, runs), generator=generator)
        drawn = drawn_layers(bank, which, grid(depth))
        ends = layers(drawn, x0.expand(runs, -1, -1), grid(depth), every=depth).tokens[-1]
        scatter.append(float((ends - mean).square().sum((-1, -2)).mean().sqrt()))
    return Evidence(
        [
            below("unscaled: error at depth 32 by that at 8", unscaled[-1] / unscaled[0], 0.6),
            is_one("independent layers: order in 1/depth", empirical_order(DEPTHS, scatter)),
        ],
        {"unscaled, errors": unscaled, "independent layers, errors to the mean flow": scatter},
    )


def deeper_is_nearer_if_regular(generator: torch.Generator) -> Evidence:
    S_BC, S_Delta, a, x0 = problem(generator)
    field = moving(generator, S_BC, S_Delta, a)
    flow, stream = (f(field, x0, grid(1)).tokens for f in (simulate, simulate_residual_stream))
    return Evidence(
        [
            is_one("post-norm, order to its limit", order_towards(field, x0, flow)),
            is_one("pre-norm, order to its own", order_towards(field, x0, stream, "before")),
        ]
    )
