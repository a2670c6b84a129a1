"""The other sign of the same layer.

With ``y = scan(u; S_B, S_C) + D u`` a mixer gives ``W (gate * y)``. Its negative in S_B, D and W is
the same map of its input: what the layer computes does not know the sign of S_C^T S_B.
"""

from __future__ import annotations

from typing import Any

import torch

from tokensphere.refine.input_output import constrained
from tokensphere.refine.mixers import projections, sizes

__all__ = ["reflect"]


@torch.no_grad()
def reflect(mixer: Any) -> None:
    """Negate S_B, the skip and the output map of a mixer, in place: its output stays as it was.

    The signature of the symmetric part of S_C^T S_B is exchanged, positive for negative. A bias of
    the output map is left alone.

    Raises ValueError for a mixer of an unsupported class, or one whose signs are held.
    """
    projections(mixer)  # refuses what is no supported mixer
    if constrained(mixer):
        raise ValueError("mixer: its signs are held; takes one that is free")
    steps, states = sizes(mixer)
    mixer.x_proj.weight[steps : steps + states].neg_()
    mixer.D.neg_()
    mixer.out_proj.weight.neg_()
