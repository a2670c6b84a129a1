"""Diagonal steps, S_{Delta,i} = delta_i e_i: the limit is known from the start, with its rate.

d/dt ln(|y_i|/|y_j|) = q (Delta_i - Delta_j), and the order of u_i = delta_i y_i, which is that of
the steps, never changes. Theorem 3.2 is the case delta_i = sign(y_i(0)).
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

LN2 = math.log(2.0)


def definite_form(count: int, dim: int, generator: torch.Generator, sign: int = 1) -> Tensor:
    """Random S_BC with a definite form, not symmetric, for tests and surveys.

    The symmetric part is sign (3 I + G / |G|) / 2, with |G| the spectral norm of a symmetric
    Gaussian matrix: the moduli of its eigenvalues lie in [1, 2]. The skew part is Gaussian.

    Args:
        count, dim: how many, of what size.
        sign: 1 for a positive definite form, -1 for a negative one.
    Returns:
        (count, dim, dim), float64.
    Raises:
        ValueError: another sign.
    """
    if sign not in (1, -1):
        raise ValueError(f"sign: got {sign!r}, takes 1 or -1")
    G = torch.randn(count, dim, dim, generator=generator, dtype=torch.float64)
    symmetric = G + G.mT
    scale = torch.linalg.eigvalsh(symmetric).abs().amax(-1)[:, None, None]
    identity = torch.eye(dim, dtype=torch.float64)
    return sign * (3 * identity + symmetric / scale) / 2 + (G - G.mT)


def diagonal_limit(S_BC: Tensor, delta: Tensor, y0: Tensor) -> tuple[Tensor, Tensor]:
    """The first token's limit and rate for S_Delta = diag(delta) and a definite form.

    With u = delta * y0 on the support of y0, and v = u for a positive form, v = -u for a negative
    one: if max v >= 0, the coordinates where it is attained stay in proportion and all others
    vanish; if max v < 0, all steps become equal, |y_i| ~ 1/|delta_i|. Ties are told to rounding.
    The point is the same for S_Delta,i = delta_i e_i + k with any common k; the rate is not.

    Args:
        S_BC: (n, D, D), float64, each with a definite symmetric part.
        delta: (n, D), any reals.
        y0: (n, D), unit rows.
    Returns:
        limits (n, D) and exponential rates (n,); 0 where the decay is algebraic (max v = 0), and
        where the limit is y0 itself the rate at which a perturbation would decay.
    Raises:
        ValueError: an S_BC whose form is not definite.
    """
    values = torch.linalg.eigvalsh((S_BC + S_BC.mT) / 2)
    sign = values[:, 0].sign()
    if not (values.sign() == sign[:, None]).all() or (sign == 0).any():
        raise ValueError("S_BC: its symmetric part is not definite, positive or negative")
    support = y0 != 0
    v = torch.where(support, sign[:, None] * delta * y0, -math.inf)
    top = v.amax(-1, keepdim=True)
    level = top[:, 0] < 0
    rounding = 8 * torch.finfo(torch.float64).eps * torch.where(support, v, 0).abs()
    winners = torch.where(v >= top - rounding.amax(-1, keepdim=True), y0, 0.0)
    inverse = torch.where(support & (delta != 0), y0.sign() / delta.abs(), 0.0)
    inverse = torch.where(support & level[:, None], inverse, 0.0)
    limit = torch.where(level[:, None], inverse, winners)
    limit = limit / limit.norm(dim=-1, keepdim=True)
    form = torch.einsum("ni,nij,nj->n", limit, S_BC, limit).abs()
    step = (delta * limit * limit.sign()).abs().amax(-1) * torch.where(top[:, 0] == 0, 0.0, 1.0)
    # step is |u_i|, the same for all i on the limit's support.
    u = torch.where(level, -sign, sign) * step
    rate = torch.where(level, torch.sigmoid(u) * step, (softplus(u) - LN2).abs())
    return limit, form * rate


def explicit_bound(S_BC: Tensor, y0: Tensor) -> tuple[Tensor, Tensor]:
    """rho_i = r_i/(1-r_i) at t = 0, (n, D), and its bound's exponent kappa, (n,), for Theorem 3.2.

    r_i = |y_i|/|y_d|; rho_i(t) <= rho_i(0) exp(-kappa t) with
    kappa = lambda_min (softplus(|y_d(0)|) - ln 2). Entry d is infinite.
    """
    top = y0.abs().amax(-1, keepdim=True)
    ratio = y0.abs() / top
    least = torch.linalg.eigvalsh((S_BC + S_BC.mT) / 2)[:, 0]
    return ratio / (1 - ratio), least * (softplus(top[:, 0]) - LN2)
