"""Section 4.2: what random orders do in the paper's own flow, to where tokens meet and how fast.

The mathematics is in `tokensphere.reorder.theory`.
"""

import itertools
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from tokensphere.flow import (
    AutoregressiveFlow,
    SharedStepFlow,
    causal_attention,
    random_tokens,
)
from tokensphere.other_tokens import consensus_rate, interactions
from tokensphere.paper.ledger import Evidence
from tokensphere.reorder.theory import (
    attention_rate,
    cone_normal,
    contraction,
    decay_rate,
    diameter,
    ends_by_depth,
    fresh_orders,
    greedy_orders,
    one_order,
    reordered_layers,
    shared_step_factor,
    slow_switching_rate,
    switching_rate,
    two_token_spread,
)

from .positive_angles import admissible

# Where a pass ends.


def varies(generator: torch.Generator, stated: bool) -> Evidence:
    """Stated: with an order for each mixer the end varies between passes whatever the depth.

    Corrected: its deviation falls like the root of the depth; with one order a pass the end is the
    first token read.
    """
    depths = (64, 256, 1024)
    found = ends_by_depth(depths, 96, 4, generator)
    slope = float(np.polyfit(np.log(depths), np.log(found["layer"]), 1)[0])
    numbers: dict = {
        "layers": list(depths),
        "deviation of the end, an order for each layer": found["layer"],
        "slope": slope,
        "deviation, one order a pass": found["pass"][0],
        "distance of a token from the first one read, at most": found["first"][0],
    }
    if stated:
        return Evidence(found["layer"][-1] > 0.7 * found["layer"][0], numbers)
    # 96 passes: 5% of each deviation, so 0.03 of the slope; the first depth has a step of 1/4.
    passed = abs(slope + 0.5) < 0.12 and found["first"][0] < 0.02
    return Evidence(passed and found["pass"][0] > 2 * found["layer"][0], numbers)


def two_tokens(generator: torch.Generator, independent: bool) -> Evidence:
    """Where two tokens meet, from 3000 passes; control: as if a pass had one order."""
    flow = SharedStepFlow(
        torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), 0.5
    )
    theta = 0.5 + float(torch.rand((), generator=generator, dtype=torch.float64))
    start = torch.tensor([[1.0, 0.0], [math.cos(theta), math.sin(theta)]], dtype=torch.float64)
    path = reordered_layers(
        flow, start.expand(3000, -1, -1), 0.5, fresh_orders(60, 3000, 2, generator)
    )
    angle = torch.atan2(path[..., 1], path[..., 0])
    gaps = angle[..., 1] - angle[..., 0]
    same = float((gaps.amax(1) - gaps.amin(1)).max())
    found = float(angle[-1].mean(-1).std()) / (theta / 2)
    wanted = two_token_spread(gaps[:, 0]) if independent else 1.0
    numbers = {"deviation over that with one order a pass": found, "formula": wanted}
    numbers["gaps differ between passes by at most"] = same
    # 3000 passes: 1.3% of the deviation.
    return Evidence(abs(found / wanted - 1) < 0.06 and same < 1e-12, numbers)


# Collapse.


def collapse(
    flow: SharedStepFlow, x0: Tensor, step: float, layers: int, generator: torch.Generator
) -> tuple[dict[str, Tensor], float, float]:
    """Layers of eq (11) under three ways to choose orders.

    Returns:
        diameters (layers + 1, passes) by the way's name; the smallest relative growth of min U in
        a layer; the smallest amount by which a layer's factor is below 1 - delta. The theorem says
        that neither is negative.
    """
    orders = fresh_orders(layers, len(x0), x0.shape[-2], generator)
    paths = {
        "one order a pass": reordered_layers(flow, x0, step, one_order(orders)),
        "an order for each layer": reordered_layers(flow, x0, step, orders),
        "greedy: the largest diameter in each layer": greedy_orders(flow, x0, step, layers),
    }
    normal, delta = cone_normal(flow, x0), contraction(flow, x0, step)
    widths, growth, slack = {}, [], []
    for name, path in paths.items():
        d = widths[name] = diameter(path, normal)
        U = interactions(path, flow.S_BC)[1].flatten(-2).amin(-1)
        growth.append(float((U[1:] / U[:-1] - 1).min()))
        # Where the diameter is down to rounding the factor between layers is noise.
        slack.append(float(((1 - delta) - d[1:] / d[:-1])[d[:-1] > 1e-9].min()))
    return widths, min(growth), min(slack)


def _collapse(generator: torch.Generator, stated: bool) -> Evidence:
    """Random orders, one order a pass, and orders chosen to prevent it; eq (11), positive angles.

    Stated: some pass keeps a quarter of its diameter. Corrected: none does, no layer makes min U
    smaller, and each shrinks the diameter by the theorem's factor.
    """
    layers = 300
    flow, x0 = admissible(generator, 12, 4, 3, symmetric=False, least=0.05)
    widths, growth, slack = collapse(flow, x0, 0.2, layers, generator)
    left = {name: float((d[-1] / d[0]).max()) for name, d in widths.items()}
    numbers = {
        "passes": len(x0),
        "layers": layers,
        **{f"{name}: largest share of the diameter left": share for name, share in left.items()},
        "smallest relative growth of min U in a layer": growth,
        "smallest slack of the factor 1 - delta": slack,
    }
    if stated:
        return Evidence(max(left.values()) > 0.25, numbers)
    # 1e-12: rounding of a minimum that has reached its limit; 1e-6: of a ratio of diameters.
    return Evidence(max(left.values()) < 0.25 and growth > -1e-12 and slack > -1e-6, numbers)


# How fast.


def averaged_weight(length: int, weight: Callable[[int, int], Fraction]) -> Fraction:
    """Mean over all L! orders of token 1's weight on token 2; weight(l, j) for places j < l."""
    total = Fraction(0)
    for places in itertools.permutations(range(1, length + 1)):
        if places[1] < places[0]:
            total += weight(places[0], places[1])
    return total / math.factorial(length)


def attention_weight(l: int, j: int) -> Fraction:
    """Of causal attention at consensus."""
    return Fraction(1, l)


def decaying(l: int, j: int) -> Fraction:
    """Of eq (11) at consensus with q = 1/4, over gamma Delta."""
    return Fraction(1, 4) ** (l - j)


def faster(generator: torch.Generator, stated: bool) -> Evidence:
    """Stated: with an order for each layer tokens stay farther apart than in one order.

    Corrected: they come together at the rates of the averaged flow, which are larger.
    """
    length, step, layers, passes = 5, 0.05, 600, 16
    q = Fraction(1, 4)
    matrices = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
    # a = 2: q = e^{-a ln 2} = 1/4. S_BC such that the rate in one order is 1/2, as attention's.
    form = 2 / math.log(2) * torch.eye(3, dtype=torch.float64)
    systems = {
        "causal attention": (AutoregressiveFlow(causal_attention(*matrices)), attention_rate),
        "eq (11)": (
            SharedStepFlow(form, torch.zeros(3, dtype=torch.float64), 2.0),
            lambda length: shared_step_factor(length, q) / 2,
        ),
    }
    # Near consensus, where rates are read; each pass starts elsewhere.
    x0 = random_tokens(2 * passes, length, 3, generator=generator)
    axis = torch.eye(3, dtype=torch.float64)[0]
    x0 = x0 + 3 * axis
    x0 = x0 / x0.norm(dim=-1, keepdim=True)
    orders = fresh_orders(layers, 2 * passes, length, generator)
    orders[:, passes:] = one_order(orders[:, passes:])
    numbers: dict = {}
    slower, off, halves = [], [], []
    for name, (flow, exact) in systems.items():
        rates = decay_rate(flow, x0, step, orders, layers // 2)
        fresh, one = float(rates[:passes].mean()), float(rates[passes:].mean())
        slower.append(fresh < one)
        sharp = consensus_rate(flow, axis, torch.ones(length, dtype=torch.float64)).rate
        off.append(abs(fresh / float(exact(length)) - 1))
        halves.append(abs(sharp - 0.5) < 1e-12)
        numbers |= {
            f"{name}: rate, an order for each layer": fresh,
            f"{name}: its averaged flow": float(exact(length)),
            f"{name}: rate, one order": one,
            f"{name}: its limit": sharp,
        }
    if stated:
        return Evidence(all(slower), numbers)
    exact = [n * averaged_weight(n, attention_weight) == attention_rate(n) for n in range(2, 7)]
    exact += [n * averaged_weight(n, decaying) == shared_step_factor(n, q) / 4 for n in range(2, 7)]
    numbers["rate with L = 2, 16, 196"] = [float(attention_rate(n)) for n in (2, 16, 196)]
    # A step shrinks by 1 - rate * step: 2% more. Rates of 16 passes have means to about 1%.
    return Evidence(all(exact) and all(halves) and max(off) < 0.05, numbers)


def slow(generator: torch.Generator, corrected: bool) -> Evidence:
    """16 tokens, a fresh order every 32 units; control: the rate of one order."""
    found = switching_rate(16, 32.0, 40, 200, generator)
    wanted = slow_switching_rate(16, 32.0) if corrected else 0.5
    # The next mode leaves e^{-32/6} = 0.5% of a stage's factor, 0.0002 of the rate; the mean of
    # 8000 logarithms that deviate by about 0.8 has an error of 0.0003.
    return Evidence(abs(found - wanted) < 0.003, {"rate": found, "wanted": wanted})
