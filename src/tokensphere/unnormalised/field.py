"""Tokens in R^D under eq (6) without its projection: the S6 layer as a field."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.door import one_of, takes, tensor

from ..flow.causal_sum import causal_sum
from ..flow.checks import check_rates, check_square, check_tensor


@dataclass(frozen=True, eq=False)
class Unnormalised:
    """dx_l/dt = sum_{j<=l} A_lj(x) x_j, channel by channel, with

        A_{d,lj} = <x_l, S_BC x_j> Delta_d(x_j) exp(-a_d sum_{k=j+1}^{l} Delta_d(x_k)),
        Delta_d(u) = softplus(<S_{Delta,d}, u>).

    Eq (6) of the paper on spheres without P_x; for D = 1 the system of the earlier paper.

    Args:
        S_BC: (..., D, D), float64; it need not be symmetric.
        S_Delta: (..., D, D); **column** d is S_{Delta,d}.
        a: (..., D), positive.

    Raises:
        ValueError: a wrong shape, dtype, sign or non-finite value; the message names the argument.
    """

    S_BC: Tensor
    S_Delta: Tensor
    a: Tensor

    def __post_init__(self) -> None:
        dims = {check_square("S_BC", self.S_BC), check_square("S_Delta", self.S_Delta)}
        if len(dims | {check_rates("a", self.a)}) > 1:
            raise ValueError("S_BC, S_Delta and a: D differs between them")

    def __call__(self, x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """dx/dt, (..., L, D), at tokens of any length.

        Raises:
            ValueError: tokens of another D, dtype, or not finite.
        """
        check_tensor("x", x, 2)
        if x.shape[-1] != self.S_Delta.shape[-1]:
            raise ValueError(
                f"x: shape {tuple(x.shape)}, takes (..., L, D) with D = {self.S_Delta.shape[-1]}"
            )
        return self.velocity(x)

    def velocity(self, x: Tensor) -> Tensor:
        """As a call, without its checks: for integrators, which call it often."""
        steps = softplus(x @ self.S_Delta)
        rates = self.a.unsqueeze(-2) * steps
        return causal_sum(x, x @ self.S_BC.mT, rates, steps * x)


def symmetric_part(S_BC: Tensor) -> Tensor:
    """(S_BC + S_BC^T) / 2: all of S_BC that a first token sees."""
    return (S_BC + S_BC.mT) / 2


def form(S_BC: Tensor, x: Tensor) -> Tensor:
    """q(x) = <x, S_BC x>, (...), of rows (..., D)."""
    return (x * (x @ S_BC.mT)).sum(-1)


def first_velocity(S_BC: Tensor, S_Delta: Tensor, x: Tensor) -> Tensor:
    """The first token's q(x) Delta(x) * x, (..., D); each row of x is a first token of its own."""
    return form(S_BC, x).unsqueeze(-1) * softplus(x @ S_Delta) * x


@takes(
    S_BC=tensor("...", "D", "D", dtype="float64"),
    S_Delta=tensor("...", "D", "D", dtype="float64"),
    p=tensor("...", "D", dtype="float64"),
)
def cone_exponent(S_BC: Tensor, S_Delta: Tensor, p: Tensor) -> Tensor:
    """kappa(p) = 2 <S p, Delta(p) * p>, (...): the speed of ln|q| of a first token at p, (..., D).

    On the cone q = 0 all points rest, and kappa(p) is the one eigenvalue there that need not be
    zero, for a p of any length: the cone attracts from both sides where it is negative, and repels
    to both where it is positive. :func:`tokensphere.first_token.zeros.inflow` has it for unit p.
    """
    return 2 * ((p @ symmetric_part(S_BC)) * softplus(p @ S_Delta) * p).sum(-1)


@takes(S_BC=tensor("D", "D", dtype="float64"), sign=one_of(1, -1))
def is_definite(S_BC: Tensor, sign: int) -> bool:
    """Whether sign * q is positive off the origin: its least eigenvalue above rounding, (D, D)."""
    values = torch.linalg.eigvalsh(sign * symmetric_part(S_BC))
    return bool(values[0] > 1e-13 * values.abs().max())
