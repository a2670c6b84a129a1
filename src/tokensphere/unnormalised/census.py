"""Ends of random first tokens and of random sequences, counted."""

from collections import Counter
from typing import Literal

import torch
from torch import Generator, Tensor

from .ends import first_token_kind
from .field import Unnormalised
from .integrate import simulate

FIRST = ("to zero", "to the cone", "slow", "blow-up")
"""Ends of a first token off the cone, in the order in which they are shown."""

Sequence = Literal[
    "all to zero", "blow-up, first token", "blow-up, later token", "rest, not all zero", "undecided"
]
SEQUENCES = Sequence.__args__
"""Ends of a sequence. At a later token's blow-up the first token is finite: neither all tokens
diverge nor do all tend to zero. What the others do at a first token's blow-up is left open."""


def draw(count: int, dim: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """S_BC and S_Delta, (count, dim, dim), standard Gaussian; starts, (count, dim), unit, even."""
    S_BC, S_Delta = torch.randn(2, count, dim, dim, generator=generator, dtype=torch.float64)
    x0 = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return S_BC, S_Delta, x0 / x0.norm(dim=-1, keepdim=True)


def first_tokens(count: int, dim: int, generator: Generator) -> Counter[str]:
    """How many of `count` draws, as :func:`draw`, end how."""
    drawn = zip(*draw(count, dim, generator), strict=True)
    return Counter(first_token_kind(*problem) for problem in drawn)


def sequence_end(field: Unnormalised, x0: Tensor, stop: float = 1e3) -> Sequence:
    """How a sequence (L, D) ends, by a run to t = `stop` or to a norm of 1e4.

    A token tends to zero if it then falls faster than t^{-1/4} (the law is t^{-1/2}), and rests if
    ln|x_l| moves by less than 0.02 in a unit of ln t. What does neither is undecided: slow growth,
    or a slow approach.
    """
    times = torch.tensor([0.0, stop], dtype=torch.float64)
    try:
        run = simulate(field, x0, times, bound=1e4, rtol=1e-6, atol=1e-9, steps=600)
    except RuntimeError:
        return "undecided"
    if run.first is not None:
        return "blow-up, first token" if run.first == 0 else "blow-up, later token"
    falls, rests = run.slope < -0.25, run.slope.abs() < 0.02
    if falls.all():
        return "all to zero"
    return "rest, not all zero" if (falls | rests).all() else "undecided"


def sequences(count: int, length: int, dim: int, generator: Generator) -> Counter[str]:
    """How many of `count` sequences of that length end how; all rates a_d are one."""
    S_BC, S_Delta, _ = draw(count, dim, generator)
    x0 = torch.randn(count, length, dim, generator=generator, dtype=torch.float64)
    x0 = x0 / x0.norm(dim=-1, keepdim=True)
    a = torch.ones(dim, dtype=torch.float64)
    problems = zip(S_BC, S_Delta, x0, strict=True)
    return Counter(sequence_end(Unnormalised(*p[:2], a), p[2]) for p in problems)
