"""What these checks draw."""

import math

import torch
from torch import Tensor

from tokensphere.flow import MambaFlow, random_tokens

DIM, LENGTH = 3, 3
ROUNDING = 1e-11
"""Sums of a few products of numbers up to about a hundred, in float64."""


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def problem(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """S_BC, S_Delta, a, x0. S_BC is near I: pre-norm streams then stay away from the origin."""
    S_BC = torch.eye(DIM, dtype=torch.float64) + normal(generator, DIM, DIM) / 3
    S_Delta, a = normal(generator, DIM, DIM), (normal(generator, DIM) / 2).exp()
    return S_BC, S_Delta, a, random_tokens(LENGTH, DIM, generator=generator)


def moving(generator: torch.Generator, S_BC: Tensor, S_Delta: Tensor, a: Tensor) -> MambaFlow:
    """The same with smooth parameters of t."""
    change = normal(generator, DIM, DIM) / 3
    return MambaFlow(
        lambda t: S_BC + math.sin(3 * float(t)) * change,
        lambda t: S_Delta * math.cos(2 * float(t)),
        lambda t: a * (1 + 0.5 * math.sin(float(t))),
    )
