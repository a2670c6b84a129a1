"""Whether a choice of orders keeps tokens apart: three ways to choose, against the theorem.

With positive angles, all U_ij = <x_i, S_BC x_j> > 0 at the start, none does: the chapter on
reordered training proves that min U_ij does not fall, and that each layer multiplies the diameter
of the tokens by 1 - delta at most, :func:`tokensphere.reorder.theory.contraction`. Without
positive angles an order can keep apart what another one brings together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..flow import SharedStepFlow
from ..other_tokens import interactions
from .theory import (
    cone_normal,
    contraction,
    diameter,
    fresh_orders,
    greedy_orders,
    one_order,
    reordered_layers,
)

__all__ = ["RESOLVED", "Collapse", "collapse"]

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
