"""Eq (9) as q(y) w(y): the two factors, their derivatives, and bounds on these."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.door import takes, tensor

from ..flow import project


def form(S_BC: Tensor, y: Tensor) -> Tensor:
    """q(y) = <y, S_BC y>, (...) from (..., D, D) and (..., D)."""
    return ((y.unsqueeze(-2) @ S_BC).squeeze(-2) * y).sum(-1)


def orbit_field(S_Delta: Tensor, y: Tensor) -> Tensor:
    """w(y) = P_y(Delta(y) * y), (..., D)."""
    return project(y, softplus((y.unsqueeze(-2) @ S_Delta).squeeze(-2)) * y)


def orbit_jacobian(S_Delta: Tensor, y: Tensor) -> Tensor:
    """The derivative of w in the ambient space, (..., D, D)."""
    inner = (y.unsqueeze(-2) @ S_Delta).squeeze(-2)
    steps = softplus(inner)
    mean = (steps * y * y).sum(-1, keepdim=True)
    g = torch.sigmoid(inner).unsqueeze(-1) * S_Delta.mT  # row k is the gradient of Delta_k
    shared = (y * y).unsqueeze(-2) @ g + 2 * (steps * y).unsqueeze(-2)
    return torch.diag_embed(steps - mean) + y.unsqueeze(-1) * (g - shared)


@takes(y=tensor("...", "D", unit=True, empty=True))
def tangent_basis(y: Tensor) -> Tensor:
    """An orthonormal basis of the tangent space at unit y: (..., D, D-1) from (..., D).

    The columns after the first of the Householder reflection that takes y to a multiple of e_1.
    """
    sign = torch.where(y[..., :1] < 0, -1.0, 1.0).to(y)
    normal = torch.cat([y[..., :1] + sign, y[..., 1:]], dim=-1)
    normal = normal / normal.norm(dim=-1, keepdim=True)
    identity = torch.eye(y.shape[-1], dtype=y.dtype, device=y.device)
    return (identity - 2 * normal.unsqueeze(-1) * normal.unsqueeze(-2))[..., 1:]


@takes(
    S_BC=tensor("...", "D", "D", empty=True),
    S_Delta=tensor("...", "D", "D", empty=True),
    y=tensor("...", "D", unit=True, empty=True),
)
def jacobian(S_BC: Tensor, S_Delta: Tensor, y: Tensor) -> Tensor:
    """The derivative of eq (9)'s field at y on the tangent space, in :func:`tangent_basis`.

    With q, w, Delta as in the package's text, D_k = Delta_k(y), sigma the logistic function and
    m = sum_k D_k y_k^2, the derivative along a tangent vector v is ``q dw(v) + <2 S y, v> w``,

        dw(v)_i = (D_i - m) v_i + y_i (g_i(v) - sum_k y_k^2 g_k(v) - 2 sum_k D_k y_k v_k),
        g_k(v) = sigma(<S_{Delta,k}, y>) <S_{Delta,k}, v>,    S = (S_BC + S_BC^T) / 2,

    projected onto the tangent space. At an equilibrium the projection changes nothing.

    Args:
        S_BC, S_Delta: (..., D, D), columns of S_Delta are S_{Delta,d}.
        y: (..., D), unit.
    Returns:
        (..., D-1, D-1).
    """
    gradient = ((S_BC + S_BC.mT) @ y.unsqueeze(-1)).squeeze(-1)
    w = orbit_field(S_Delta, y)
    whole = form(S_BC, y)[..., None, None] * orbit_jacobian(S_Delta, y)
    whole = whole + w.unsqueeze(-1) * gradient.unsqueeze(-2)
    basis = tangent_basis(y)
    return basis.mT @ whole @ basis


@dataclass(frozen=True, eq=False)
class Bounds:
    """Suprema over the unit ball, (...), of |w|, and of the operator norms of Dw and D^2 w.

    Subtracting one number c from all steps leaves w on the sphere as it is, so w stands here for
    ``h - <h, y> y`` with ``h = (Delta - c) * y``. With s the largest |S_{Delta,k}| and d the
    largest |Delta_k - c| in the ball,

        |h| <= d,    |Dh| <= d + s,    |D^2 h| <= 2 s + s^2 / 4,

    because softplus' <= 1 and softplus'' <= 1/4; the product rule gives the rest.
    """

    value: Tensor
    first: Tensor
    second: Tensor

    @classmethod
    def of(cls, S_Delta: Tensor, c: Tensor | None = None) -> "Bounds":
        """Args: S_Delta, (..., D, D); c, (...), what is subtracted from the steps; ln 2 if None."""
        s = S_Delta.norm(dim=-2).amax(-1)
        c = softplus(torch.zeros_like(s)) if c is None else c
        d = torch.maximum(softplus(s) - c, c - softplus(-s))
        h0, h1, h2 = d, d + s, 2 * s + s * s / 4
        return cls(h0, 2 * h1 + 2 * h0, 2 * h2 + 4 * h1 + 2 * h0)
