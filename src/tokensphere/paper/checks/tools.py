"""What checks of several chapters share: draws, and runs of a flow between given times."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokensphere.flow import FirstTokenFlow, SharedStepFlow, simulate
from tokensphere.paper.ledger import Criterion, below


def times(stop: float, count: int) -> Tensor:
    """`count` equally spaced times from 0 to `stop`, float64."""
    return torch.linspace(0, stop, count, dtype=torch.float64)


def ends(flow, x0: Tensor, stop: float, rtol: float = 1e-6, atol: float | None = None) -> Tensor:
    """The tokens at time `stop`, (..., L, D), from x0 (..., L, D); atol is rtol / 1000."""
    atol = rtol * 1e-3 if atol is None else atol
    return simulate(flow, x0, times(stop, 2), rtol, atol).tokens[-1]


def first_tokens(
    S_BC: Tensor, S_Delta: Tensor, y0: Tensor, at: Tensor, rtol: float, atol: float
) -> Tensor:
    """First tokens y0, (n, D), at the times (T,), each by parameters of its own: (T, n, D)."""
    flow = FirstTokenFlow(S_BC, S_Delta)
    return simulate(flow, y0.unsqueeze(1), at, rtol, atol).tokens[:, :, 0]


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers, float64."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def uniform(generator: torch.Generator, *shape: int) -> Tensor:
    """Numbers even on [0, 1), float64."""
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def unit(x: Tensor) -> Tensor:
    """x / |x|, row by row."""
    return x / x.norm(dim=-1, keepdim=True)


def largest(values: Any) -> float:
    """The largest modulus among the entries of a tensor, an array or a list."""
    return float(np.abs(np.asarray(values)).max())


def agree(bound: float, differences: Mapping[str, Any]) -> list[Criterion]:
    """For each quantity by name: that its largest difference from another formula is below."""
    return [
        below(f"largest difference for {name}", largest(values), bound)
        for name, values in differences.items()
    ]


def hardest_push() -> tuple[SharedStepFlow, Tensor, Tensor]:
    """A flow, three tokens (1, 3, 3) and the second's sign where bounds are sharp to 1%.

    The second token pushes the third towards U_31 = 0 as hard as |S_BC| allows: |S_BC| = 1,
    S_BC x_1 = x_1, and S_BC^T x_3 is of length 1 and nearly along x_1 - x_2.
    """
    S_BC = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 0, 0]], dtype=torch.float64)
    x = torch.tensor([[1, 0, 0], [1, 0, -0.1], [1e-4, 1, 0]], dtype=torch.float64)
    flow = SharedStepFlow(S_BC, torch.zeros(3, dtype=torch.float64), 0.5)
    return flow, unit(x)[None], torch.ones(1, 1)


def s6_layout(x: Tensor, delta: Tensor, a: Tensor, S_B: Tensor, S_C: Tensor) -> tuple[Tensor, ...]:
    """Arguments of `s6.scan` for tokens and steps (L, D), rates (D,), S_B and S_C (N, D)."""
    A = -a[:, None].expand(len(a), len(S_B))
    return x.mT[None], delta.mT[None], A, (S_B @ x.mT)[None], (S_C @ x.mT)[None]
