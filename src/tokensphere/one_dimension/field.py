"""The field of tokens that are numbers: eq (6) of the later paper with D = 1, not projected."""

import torch
from sympy import Expr, exp
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere import symbolic

from .arguments import number, positive


def velocity(x: Tensor, mu: float, s: float, a: float) -> Tensor:
    """x_l' = mu x_l W_l with W_l = Delta_l x_l^2 + exp(-a Delta_l) W_{l-1}, W_0 = 0.

    Args:
        x: tokens, (..., L), float64.
        mu: S_C^T S_B, a number. s: S_Delta, so that Delta_l = softplus(s x_l). a: decay, positive.

    Returns:
        (..., L).

    Raises:
        ValueError: x, mu, s or a.
    """
    if not isinstance(x, Tensor) or x.dtype != torch.float64 or not x.ndim:
        raise ValueError("x: takes a float64 torch.Tensor (..., L)")
    if not torch.isfinite(x).all():
        raise ValueError("x: holds NaN or infinity")
    mu, s, a = number("mu", mu), number("s", s), positive("a", a)
    delta = softplus(s * x)
    own, kept = delta * x.square(), torch.exp(-a * delta)
    weights, before = [], torch.zeros_like(x[..., 0])
    for l in range(x.shape[-1]):
        before = own[..., l] + kept[..., l] * before
        weights.append(before)
    return mu * x * torch.stack(weights, -1)


def symbolic_velocity(x: list[Expr], mu: Expr, s: Expr, a: Expr) -> list[Expr]:
    """The same in sympy, for exact checks."""
    found, before = [], 0
    for value in x:
        delta = symbolic.softplus(s * value)
        before = delta * value**2 + exp(-a * delta) * before
        found.append(mu * value * before)
    return found
