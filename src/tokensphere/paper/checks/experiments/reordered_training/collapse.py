"""Section 4.2: what random orders do in the paper's own flow, to where tokens meet and how fast."""

import itertools
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import torch

from tokensphere.flow import AutoregressiveFlow, SharedStepFlow, causal_attention, random_tokens
from tokensphere.other_tokens import consensus_rate
from tokensphere.other_tokens.positive_angles import admissible
from tokensphere.paper.ledger import Evidence, above, below, equal
from tokensphere.reorder import theory
from tokensphere.reorder.collapse import Collapse, angles_apart, collapse

# Where a pass ends.

DEPTHS = (64, 256, 1024)


def varies(generator: torch.Generator) -> Evidence:
    """With an order for each mixer the end varies between passes as much, whatever the depth."""
    layer = theory.ends_by_depth(DEPTHS, 96, 4, generator)["layer"]
    kept = above("deviation of the end, 1024 layers over 64", layer[-1] / layer[0], 0.7)
    return Evidence([kept], {"layers": DEPTHS, "deviation of the end": layer})


def varies_with_one_order(generator: torch.Generator) -> Evidence:
    """Its deviation falls like the root of the depth; one order a pass ends at its first token."""
    found = theory.ends_by_depth(DEPTHS, 96, 4, generator)
    slope = float(np.polyfit(np.log(DEPTHS), np.log(found["layer"]), 1)[0])
    ratio = found["pass"][0] / found["layer"][0]
    return Evidence(
        [
            # 96 passes: 5% of each deviation, so 0.03 of the slope; the first step is 1/4.
            below("power of the depth, off -1/2 by", abs(slope + 0.5), 0.12),
            below("one order a pass: farthest from the first token", found["first"][0], 0.02),
            above("deviation of the end, one order a pass over an order a layer", ratio, 2),
        ],
        {"layers": DEPTHS, "deviation of the end, an order for each layer": found["layer"]},
    )


def two_tokens(generator: torch.Generator, independent: bool) -> Evidence:
    """Where two tokens meet, from 3000 passes; control: as if a pass had one order."""
    flow = SharedStepFlow(torch.eye(2).double(), torch.zeros(2).double(), 0.5)
    theta = 0.5 + torch.rand((), generator=generator, dtype=torch.float64)
    angles = torch.stack([0 * theta, theta])
    start = torch.stack([angles.cos(), angles.sin()], -1).expand(3000, -1, -1)
    path = theory.reordered_layers(flow, start, 0.5, theory.fresh_orders(60, 3000, 2, generator))
    angle = torch.atan2(path[..., 1], path[..., 0])
    gaps = angle[..., 1] - angle[..., 0]
    apart = float((gaps.amax(1) - gaps.amin(1)).max())
    found = float(angle[-1].mean(-1).std() / (theta / 2))
    wanted = theory.two_token_spread(gaps[:, 0]) if independent else 1.0
    return Evidence(
        [
            # 3000 passes: 1.3% of the deviation.
            below("relative error of the deviation", abs(found / wanted - 1), 0.06),
            below("gaps differ between passes by", apart, 1e-12),
        ],
        {"deviation over that with one order a pass": found, "formula": wanted},
    )


# Collapse.


def twelve_passes(generator: torch.Generator) -> Collapse:
    """Eq (11), positive angles, 300 layers: random orders, one a pass, and orders chosen against
    a collapse."""
    flow, x0 = admissible(generator, 12, 4, 3, symmetric=False, least=0.05)
    return collapse(flow, x0, 0.2, 300, generator)


def keeps_apart(generator: torch.Generator) -> Evidence:
    """Some pass keeps a quarter of its diameter."""
    left = twelve_passes(generator).left()
    return Evidence([above("largest share of a diameter left", max(left.values()), 0.25)], left)


def two_near(generator: torch.Generator) -> Collapse:
    """Two tokens 0.05 apart, S_BC = I, alpha = 0, a = 0.01: the proof's factor is sharp."""
    flow = SharedStepFlow(torch.eye(2).double(), torch.zeros(2).double(), 0.01)
    angles = torch.tensor([0.0, 0.05], dtype=torch.float64)
    return collapse(flow, torch.stack([angles.cos(), angles.sin()], -1)[None], 0.2, 50, generator)


def collapses(generator: torch.Generator) -> Evidence:
    """None does, and each layer obeys the bounds of the proof."""
    found, near = twelve_passes(generator), two_near(generator)
    left = found.left().items()
    return Evidence(
        [
            *(below(f"share of the diameter left, {name}", d, 0.25) for name, d in left),
            # Rounding of a minimum that has reached its limit, and of a ratio of diameters.
            above("least relative growth of min U in a layer", found.growth, -1e-12),
            above("least slack of the factor 1 - delta", found.slack, -1e-6),
            above("the same for two tokens where it is sharp", near.slack, -1e-6),
        ],
        {"passes": 12},
    )


def orders_decide(generator: torch.Generator, second: float) -> Evidence:
    """Tokens at 0.2 and 1.3 rad, S_BC = diag(1, second), alpha = 0, a = 1/2, in both orders."""
    form = torch.diag(torch.tensor([1, second]).double())
    flow = SharedStepFlow(form, torch.zeros(2).double(), 0.5)
    apart = angles_apart(flow, (0.2, 1.3), 0.2, 500).tolist()
    # 100 units of time at rates of 0.4, a little less in layers: e^-37; then rounding.
    return Evidence(
        [
            below("angle between them, the token at 0.2 first", abs(apart[0]), 1e-12),
            below("the other first: off 2.6 - pi/2", abs(apart[1] - 2.6 + math.pi / 2), 1e-12),
        ],
        {"angles between them, degrees": [math.degrees(angle) for angle in apart]},
    )


# How fast.


def averaged_weight(length: int, weight: Callable[[int, int], Fraction]) -> Fraction:
    """Mean over all L! orders of token 1's weight on token 2; weight(l, j) for places j < l."""
    orders = itertools.permutations(range(1, length + 1))
    total = sum((weight(l, j) for l, j, *_ in orders if j < l), Fraction(0))
    return total / math.factorial(length)


Q = Fraction(1, 4)
"""e^{-a Delta} of eq (11) with a = 2 and alpha = 0."""

AXIS = torch.eye(3, dtype=torch.float64)[0]
"""Tokens start near it: rates are read near consensus."""


def systems(generator: torch.Generator) -> dict[str, tuple]:
    """By name: a flow whose rate in one order is 1/2, and its averaged rate as a function of L."""
    matrices = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
    form = 2 / math.log(2) * torch.eye(3, dtype=torch.float64)
    return {
        "causal attention": (
            AutoregressiveFlow(causal_attention(*matrices)),
            theory.attention_rate,
        ),
        "eq (11)": (
            SharedStepFlow(form, torch.zeros(3, dtype=torch.float64), 2.0),
            lambda length: theory.shared_step_factor(length, Q) / 2,
        ),
    }


def measured_rates(flow, generator: torch.Generator) -> tuple[float, float]:
    """Mean rate over 16 passes of 5 tokens: an order for each of 600 layers, and one order."""
    passes, layers = 16, 600
    x0 = random_tokens(2 * passes, 5, 3, generator=generator) + 3 * AXIS
    orders = theory.fresh_orders(layers, 2 * passes, 5, generator)
    orders[:, passes:] = theory.one_order(orders[:, passes:])
    x0 = x0 / x0.norm(dim=-1, keepdim=True)
    rates = theory.decay_rate(flow, x0, 0.05, orders, layers // 2)
    return float(rates[:passes].mean()), float(rates[passes:].mean())


def farther_apart(generator: torch.Generator) -> Evidence:
    """With an order for each layer tokens come together more slowly than in one order."""
    criteria = []
    for name, (flow, _) in systems(generator).items():
        fresh, one = measured_rates(flow, generator)
        criteria.append(below(f"rate over that in one order, {name}", fresh / one, 1))
    return Evidence(criteria)


def faster(generator: torch.Generator) -> Evidence:
    """They come together at the rates of the averaged flow, which are larger than in one order."""
    criteria, numbers = [], {}
    for name, (flow, averaged) in systems(generator).items():
        fresh, one = measured_rates(flow, generator)
        wanted = float(averaged(5))
        sharp = consensus_rate(flow, AXIS, torch.ones(5, dtype=torch.float64)).rate
        criteria += [
            # A step shrinks by 1 - rate * step: 2% more. Rates of 16 passes have means to 1%.
            below(f"relative error of the averaged rate, {name}", abs(fresh / wanted - 1), 0.05),
            below(f"sharp rate in one order, off 1/2, {name}", abs(sharp - 0.5), 1e-12),
            above(f"rate over that in one order, {name}", fresh / one, 1),
        ]
        numbers |= {f"rate, an order for each layer, {name}": fresh, f"in one order, {name}": one}
    right = 0
    for n in range(2, 7):
        attention = n * averaged_weight(n, lambda l, j: Fraction(1, l))
        decaying = n * averaged_weight(n, lambda l, j: Q ** (l - j)) / Q
        right += attention == theory.attention_rate(n)
        right += decaying == theory.shared_step_factor(n, Q)
    criteria.append(equal("formulas that are the mean over all orders, L = 2 to 6", right, 10))
    rates = [float(theory.attention_rate(n)) for n in (2, 16, 196)]
    return Evidence(criteria, numbers | {"rate of causal attention, L = 2, 16, 196": rates})


def slow(generator: torch.Generator, corrected: bool) -> Evidence:
    """16 tokens, a fresh order every 32 units; control: the rate of one order."""
    found = theory.switching_rate(16, 32.0, 40, 200, generator)
    wanted = theory.slow_switching_rate(16, 32.0) if corrected else 0.5
    # The next mode leaves e^{-32/6} = 0.5% of a stage's factor, 0.0002 of the rate; the mean of
    # 8000 logarithms that deviate by about 0.8 has an error of 0.0003.
    return Evidence(
        [below("error of the rate", abs(found - wanted), 0.003)], {"rate": found, "wanted": wanted}
    )
