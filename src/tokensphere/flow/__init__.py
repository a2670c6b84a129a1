"""Token dynamics on the sphere: the fields of eqs (6)-(13), and their integration.

A *field* maps tokens ``x``, (..., L, D) with unit rows, and a time to dx/dt. Every field here is
``project(x, layer(x, t))``: the layer's output y_l = sum_j A_lj x_j with its part along x_l taken
away. Leading dimensions are a batch; parameters may have leading dimensions too, broadcast against
the batch, so that thousands of parameter draws run as one. Everything is float64.
"""

from .attention import attention_flow
from .fields import (
    AutoregressiveFlow,
    FirstTokenFlow,
    MambaFlow,
    SharedStepFlow,
    causal_attention,
    project,
    random_tokens,
)
from .integrate import Trajectory, layers, simulate, simulate_residual_stream

__all__ = [
    "AutoregressiveFlow",
    "FirstTokenFlow",
    "MambaFlow",
    "SharedStepFlow",
    "Trajectory",
    "attention_flow",
    "causal_attention",
    "layers",
    "project",
    "random_tokens",
    "simulate",
    "simulate_residual_stream",
]
