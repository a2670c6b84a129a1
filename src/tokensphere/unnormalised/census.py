"""Ends of random first tokens and of random sequences, counted."""

from collections import Counter
from typing import Literal, get_args

import torch
from torch import Generator, Tensor
from torch.nn.functional import softplus

from tokensphere.door import instance, positive, takes, tensor, whole

from .ends import first_token_kind
from .field import Unnormalised
from .integrate import simulate

FIRST = ("to zero", "to the cone", "slow", "blow-up")
"""Ends of a first token off the cone, in the order in which they are shown."""

Sequence = Literal[
    "all to zero", "blow-up, first token", "blow-up, later token", "rest, not all zero", "undecided"
]
SEQUENCES: tuple[str, ...] = get_args(Sequence)
"""Ends of a sequence. At a later token's blow-up the first token is finite: neither all tokens
diverge nor do all tend to zero. What the others do at a first token's blow-up is left open. A norm
beyond 1e12 counts as a blow-up."""


@takes(count=whole(1), dim=whole(1), generator=instance(torch.Generator))
def draw(count: int, dim: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """S_BC and S_Delta, (count, dim, dim), standard Gaussian; starts, (count, dim), unit, even."""
    S_BC, S_Delta = torch.randn(2, count, dim, dim, generator=generator, dtype=torch.float64)
    x0 = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return S_BC, S_Delta, x0 / x0.norm(dim=-1, keepdim=True)


@takes(count=whole(1), dim=whole(1), generator=instance(torch.Generator))
def first_tokens(count: int, dim: int, generator: Generator) -> Counter[str]:
    """How many of `count` draws, as :func:`draw`, end how."""
    return Counter(FIRST[k] for k in kinds_together(*draw(count, dim, generator)).tolist())


@takes(
    S_BC=tensor("...", "D", "D", dtype="float64"),
    S_Delta=tensor("...", "D", "D", dtype="float64"),
    x0=tensor("n", "D", dtype="float64", nonzero=True),
    h=positive(),
)
def kinds_together(S_BC: Tensor, S_Delta: Tensor, x0: Tensor, h: float = 0.05) -> Tensor:
    """The ends of many first tokens as indices of FIRST, (n,): quick, for counts and maps.

    Runge-Kutta steps of h along the orbits of x' = q Delta * x, with |q| and the largest step
    divided out, so that ln|x| moves by h at the most. Ends are read off: q has changed its sign;
    |x| below 1e-7 or above 1e12; all steps below e^-60. What comes after that is not seen, and a
    form that touches zero without a change of sign is not noticed:
    :func:`~tokensphere.unnormalised.first_token_end` knows both.

    Args:
        S_BC, S_Delta: (n, D, D) or (D, D); x0: (n, D), with q not zero.
    """
    n, dim = x0.shape
    S_BC, S_Delta = S_BC.expand(n, dim, dim), S_Delta.expand(n, dim, dim)
    kind, x = torch.full((n,), -1), x0.clone()
    sign = _forms(S_BC, x0).sign().unsqueeze(-1)
    for _ in range(1500):
        left = (kind < 0).nonzero().squeeze(-1)
        if not len(left):
            break
        B, T, e, y = S_BC[left], S_Delta[left], sign[left], x[left]

        def velocity(y: Tensor, T: Tensor = T, e: Tensor = e) -> Tensor:
            step = softplus(_rows(y, T))
            return e * step / step.amax(-1, keepdim=True) * y

        first = velocity(y)
        second = velocity(y + h / 2 * first)
        third = velocity(y + h / 2 * second)
        y = y + h / 6 * (first + 2 * second + 2 * third + velocity(y + h * third))
        found, size = kind[left], y.norm(dim=-1)
        found[(e[:, 0] > 0) & (_rows(y, T).amax(-1) < -60)] = 2
        found[size > 1e12] = 3
        found[size < 1e-7] = 0
        found[_forms(B, y) * e[:, 0] < 0] = 1
        kind[left], x[left] = found, y
    for row in (kind < 0).nonzero().squeeze(-1).tolist():  # explicit steps may stall where stiff
        kind[row] = FIRST.index(first_token_kind(S_BC[row], S_Delta[row], x0[row]))
    return kind


def _rows(y: Tensor, matrices: Tensor) -> Tensor:
    """y_i @ matrices_i, (n, D)."""
    return (y.unsqueeze(-2) @ matrices).squeeze(-2)


def _forms(S_BC: Tensor, y: Tensor) -> Tensor:
    return (_rows(y, S_BC) * y).sum(-1)


@takes(field=instance(Unnormalised), x0=tensor("L", "D", dtype="float64"), stop=positive())
def sequence_end(field: Unnormalised, x0: Tensor, stop: float = 1e3) -> Sequence:
    """How a sequence (L, D) ends, by a run to t = `stop` or to a norm of 1e12.

    A token tends to zero if it then falls faster than t^{-1/4} (the law is t^{-1/2}), and rests if
    ln|x_l| moves by less than 0.02 in a unit of ln t. What does neither is undecided: slow growth,
    or a slow approach.
    """
    times = torch.tensor([0.0, stop], dtype=torch.float64)
    try:
        run = simulate(field, x0, times, bound=1e12, rtol=1e-6, atol=1e-9, steps=600)
    except RuntimeError:
        return "undecided"
    if run.first is not None:
        return "blow-up, first token" if run.first == 0 else "blow-up, later token"
    falls, rests = run.slope < -0.25, run.slope.abs() < 0.02
    if falls.all():
        return "all to zero"
    return "rest, not all zero" if (falls | rests).all() else "undecided"


@takes(count=whole(1), length=whole(1), dim=whole(1), generator=instance(torch.Generator))
def sequences(count: int, length: int, dim: int, generator: Generator) -> Counter[str]:
    """How many of `count` sequences of that length end how; all rates a_d are one."""
    S_BC, S_Delta, _ = draw(count, dim, generator)
    x0 = torch.randn(count, length, dim, generator=generator, dtype=torch.float64)
    x0 = x0 / x0.norm(dim=-1, keepdim=True)
    a = torch.ones(dim, dtype=torch.float64)
    problems = zip(S_BC, S_Delta, x0, strict=True)
    return Counter(sequence_end(Unnormalised(*p[:2], a), p[2]) for p in problems)
