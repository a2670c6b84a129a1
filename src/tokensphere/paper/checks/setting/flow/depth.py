"""Of which deep models the flow is the limit, section 2.2."""

from torch import Generator, Tensor

from tokensphere.flow import MambaFlow, deep_layers, simulate, simulate_residual_stream
from tokensphere.paper.checks import tools
from tokensphere.paper.ledger import Criterion, Evidence, below, between

from ._problems import DIM, moving, problem

DEPTHS = (64, 128, 256)


def grid(depth: int) -> Tensor:
    return tools.times(1.0, depth + 1)


def order_is_one(what: str, errors: list[float]) -> Criterion:
    """The order in 1/depth of errors at DEPTHS."""
    # An error C/n (1 + O(1/n)) shows order 1 up to O(1/64). Nothing here is near rounding.
    return between(what, deep_layers.empirical_order(DEPTHS, errors), 0.95, 1.05)


def errors_to(field, x0: Tensor, limit: Tensor, normalise: str = "after") -> list[float]:
    """Of models of DEPTHS layers, to `limit` at the times (0, 1.0)."""
    return [deep_layers.output_error(field, x0, grid(n), limit, normalise) for n in DEPTHS]


def limit_of_layers(generator: Generator, parameters: str, normalise: str) -> Evidence:
    """Layers that normalise "before" or "after" against the flow, with parameters that are
    "constant", "moving" with depth, or "frozen": the flow's move, all layers have the first ones.
    """
    field, x0 = problem(generator)
    if parameters != "constant":
        field = moving(generator, field)
    flow = simulate(field, x0, grid(1)).tokens
    if parameters == "frozen":
        field = MambaFlow(field.S_BC(0), field.S_Delta(0), field.a(0))
    errors = errors_to(field, x0, flow, normalise)
    numbers = {f"error at depth {DEPTHS[-1]}": errors[-1]}
    return Evidence([order_is_one("order in 1/depth", errors)], numbers)


def deeper_is_nearer(generator: Generator) -> Evidence:
    """Remark 2.2 without conditions: branches of size 1, and layers that have nothing in common."""
    field, x0 = problem(generator)
    unscaled = []
    for depth in (8, 16, 32):
        times = tools.times(depth, depth + 1)
        flow = simulate(field, x0, times, rtol=1e-7).tokens
        unscaled.append(deep_layers.output_error(field, x0, times, flow))
    S_BC, S_Delta = (
        field.S_BC + tools.normal(generator, 8, DIM, DIM),
        tools.normal(generator, 8, DIM, DIM),
    )
    bank = MambaFlow(S_BC, S_Delta, field.a.expand(8, DIM))
    mean = tools.ends(deep_layers.mean_field(bank), x0, 1.0, rtol=1e-7, atol=1e-12)
    scatter = [deep_layers.scatter(bank, x0, grid(n), mean, 256, generator) for n in DEPTHS]
    criteria = [
        below("unscaled: error at depth 32 by that at 8", unscaled[-1] / unscaled[0], 0.6),
        order_is_one("independent layers: order in 1/depth", scatter),
    ]
    numbers = {"unscaled, errors": unscaled, "independent layers, errors to the mean flow": scatter}
    return Evidence(criteria, numbers)


def deeper_is_nearer_if_regular(generator: Generator) -> Evidence:
    """Post-norm and pre-norm layers with smooth parameters, each against the limit of its own."""
    field, x0 = problem(generator)
    field = moving(generator, field)
    flow, stream = (f(field, x0, grid(1)).tokens for f in (simulate, simulate_residual_stream))
    criteria = [
        order_is_one("post-norm, order to its limit", errors_to(field, x0, flow)),
        order_is_one("pre-norm, order to its own", errors_to(field, x0, stream, "before")),
    ]
    return Evidence(criteria)
