"""Random parameters and tokens on the line."""

import torch
from torch import Generator

from tokensphere.paper.checks import tools

Parameters = tuple[float, float, float]


def parameters(generator: Generator, least_a: float = 0.1) -> Parameters:
    """|mu| and |s| from 0.3 to 2, a from `least_a` to 5, all log-uniform."""
    low, high = torch.tensor([[0.3, 0.3, least_a], [2.0, 2.0, 5.0]], dtype=torch.float64)
    return tuple((low * (high / low) ** tools.uniform(generator, 3)).tolist())


def tokens(generator: Generator, length: int, zeros: bool = True) -> list[float]:
    """Gaussian; with `zeros` the third is zero, and each later one with probability 1/4."""
    x0 = tools.normal(generator, length)
    if zeros:
        x0[3:][tools.uniform(generator, max(length - 3, 0)) < 0.25] = 0.0
        x0[2:3] = 0.0
    return x0.tolist()
