"""What these checks draw."""

import math

import torch
from torch import Generator, Tensor

from tokensphere.flow import MambaFlow, random_tokens
from tokensphere.paper.checks import tools

DIM, LENGTH = 3, 3
ROUNDING = 1e-11
"""Sums of a few products of numbers up to about a hundred, in float64."""


def problem(generator: Generator) -> tuple[MambaFlow, Tensor]:
    """A flow and tokens. S_BC is near I: pre-norm streams then stay away from the origin."""
    S_BC = torch.eye(DIM, dtype=torch.float64) + tools.normal(generator, DIM, DIM) / 3
    S_Delta, a = tools.normal(generator, DIM, DIM), (tools.normal(generator, DIM) / 2).exp()
    return MambaFlow(S_BC, S_Delta, a), random_tokens(LENGTH, DIM, generator=generator)


def moving(generator: Generator, field: MambaFlow) -> MambaFlow:
    """The same with smooth parameters of t."""
    change = tools.normal(generator, DIM, DIM) / 3
    return MambaFlow(
        lambda t: field.S_BC + math.sin(3 * float(t)) * change,
        lambda t: field.S_Delta * math.cos(2 * float(t)),
        lambda t: field.a * (1 + 0.5 * math.sin(float(t))),
    )
