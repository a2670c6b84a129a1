"""Whether a choice of orders keeps tokens apart, and how fast they come together.

With positive angles, all U_ij = <x_i, S_BC x_j> > 0 at the start, none does: the chapter on
reordered training proves that min U_ij does not fall, and that each layer multiplies the diameter
of the tokens by 1 - delta at most, :func:`tokensphere.reorder.theory.contraction`. Without
positive angles an order can keep apart what another one brings together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tokensphere.door import array, each, instance, positive, takes, tensor, whole

from ..flow import SharedStepFlow
from ..other_tokens import interactions
from .theory import (
    attention_rate,
    cone_normal,
    contraction,
    diameter,
    fresh_orders,
    greedy_orders,
    one_order,
    reordered_layers,
    slow_switching_rate,
    switching_rate,
)

__all__ = ["RESOLVED", "Collapse", "angles_apart", "collapse", "rates_by_period"]

RESOLVED = 1e-9
"""Diameters below this are rounding, and so is the factor from one to the next."""


@dataclass(frozen=True)
class Collapse:
    """What layers did to tokens under each way to choose orders.

    widths: by the way's name, diameters (layers + 1, passes).
    growth: the least U_ij's smallest relative growth in a layer. The theorem: not negative.
    slack: the smallest amount by which a layer's factor is below 1 - delta. The theorem: not
        negative.
    """

    widths: dict[str, Tensor]
    growth: float
    slack: float

    def left(self) -> dict[str, float]:
        """By way, the largest share of its diameter that a pass still has at the end."""
        return {name: float((d[-1] / d[0]).max()) for name, d in self.widths.items()}


@takes(
    x0=tensor("...", "L", "D", alike=False),
    step=positive(),
    layers=whole(1),
    generator=instance(torch.Generator),
)
def collapse(
    flow: SharedStepFlow, x0: Tensor, step: float, layers: int, generator: torch.Generator
) -> Collapse:
    """Layers of eq (11) in one order a pass, an order for each layer, and orders chosen greedily.

    Args:
        flow: S_BC (passes, D, D), alpha (passes, D), a (passes,), or without passes.
        x0: (passes, L, D), float64, unit rows, with all U_ij > 0. Greedy orders are chosen among
            all L!, which takes a small L.
        step: h > 0, in units of time.
        layers: >= 1.
        generator: of the random orders, on the CPU.

    Raises:
        ValueError: an argument of another shape or value; a U_ij that is not positive.
    """
    normal, delta = cone_normal(flow, x0), contraction(flow, x0, step)
    orders = fresh_orders(layers, len(x0), x0.shape[-2], generator)
    paths = {
        "one order a pass": reordered_layers(flow, x0, step, one_order(orders)),
        "an order for each layer": reordered_layers(flow, x0, step, orders),
        "greedy: the largest diameter in each layer": greedy_orders(flow, x0, step, layers),
    }
    widths = {name: diameter(path, normal) for name, path in paths.items()}
    growth, slack = [], []
    for name, path in paths.items():
        least = interactions(path, flow.S_BC)[1].flatten(-2).amin(-1)
        growth.append(float((least[1:] / least[:-1] - 1).min()))
        before, after = widths[name][:-1], widths[name][1:]
        slack.append(float((1 - delta - after / before)[before > RESOLVED].min()))
    return Collapse(widths, min(growth), min(slack))


@takes(phi=array(2), step=positive(), layers=whole(1))
def angles_apart(flow: SharedStepFlow, phi: Sequence[float], step: float, layers: int) -> Tensor:
    """Angle from the first of two tokens to the second at the end, (2,), radians, in both orders.

    Index 0: the first token is read first in every layer; 1: the second is.

    Args:
        flow: eq (11) in the plane.
        phi: the two angles at the start, radians.
        step: h > 0, in units of time.
        layers: >= 1.

    Raises:
        ValueError: an argument of another shape or value.
    """
    if len(phi) != 2:
        raise ValueError(f"phi: got {len(phi)} angles, takes two")
    angles = torch.tensor(phi, dtype=torch.float64)
    x0 = torch.stack([angles.cos(), angles.sin()], -1).expand(2, 2, 2)
    orders = torch.tensor([[0, 1], [1, 0]]).expand(layers, 2, 2)
    end = reordered_layers(flow, x0, step, orders)[-1]
    return torch.atan2(end[..., 1], end[..., 0]).diff(dim=-1)[:, 0]


@takes(length=whole(2), periods=each(positive()), generator=instance(torch.Generator))
def rates_by_period(
    length: int, periods: Sequence[float], generator: torch.Generator
) -> dict[str, Sequence[float] | float]:
    """Rates of causal attention near consensus, by how long an order lasts, and their two limits.

    Args:
        length: L >= 2 tokens.
        periods: > 0, in units of time.
        generator: on the CPU.

    Returns:
        "periods"; "found", `switching_rate` over 12,000 stages; "fast", the limit for short ones;
        "slow", the approximation for long ones, by period.

    Raises:
        ValueError: an argument out of range.
    """
    return {
        "periods": periods,
        "found": [switching_rate(length, tau, 60, 200, generator) for tau in periods],
        "fast": float(attention_rate(length)),
        "slow": [slow_switching_rate(length, tau) for tau in periods],
    }
