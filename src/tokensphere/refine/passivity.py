"""What tied maps guarantee in a layer whose decay rates differ between states.

A channel with rates a_n > 0 and steps Delta_l reads
``y_l = sum_{j <= l} sum_n C_n(l) B_n(j) exp(-a_n (T_l - T_j)) Delta_j u_j``, T the cumulated steps.
Call it passive if ``sum_l Delta_l u_l y_l >= 0`` for all tokens and steps: what it reads out has on
the whole the sign of what came in. With ``B = M C`` it is so if and only if M is symmetric and
``M diag(a) + diag(a) M`` positive semidefinite: then ``exp(-a (T_l - T_j)) M`` is the covariance of
a stationary Ornstein-Uhlenbeck process. For every choice of rates, which training is free to make,
that leaves the diagonal M >= 0: a definite ``S_C^T S_B`` alone is not enough.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tokensphere import s6
from tokensphere.door import at_least, takes, tensor

__all__ = ["least_supply", "passive", "supply"]


@takes(
    u=tensor("B", "D", "L", finite=False, alike=False),
    delta=tensor("B", "D", "L", finite=False, alike=False),
    A=tensor("D", "N", finite=False, alike=False),
    B=tensor("...", "N", "L", finite=False, alike=False),
    C=tensor("...", "N", "L", finite=False, alike=False),
)
def supply(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """``sum_l Delta_l u_l y_l`` of each channel, (B, D), for the layer's tensors as `s6` has them.

    u, delta: (B, D, L). A: (D, N), negative. B, C: (B, N, L) or (B, G, N, L). The skip and the gate
    are not part of it. In float32 at least.

    Raises ValueError as `s6.scan`.
    """
    y = s6.scan(u, delta, A, B, C)
    dtype = torch.float64 if y.dtype == torch.float64 else torch.float32
    return (delta.to(dtype) * u.to(dtype) * y.to(dtype)).sum(-1)


@takes(
    u=tensor("B", "D", "L", alike=False),
    delta=tensor("B", "D", "L", alike=False),
    C=tensor("B", "N", "L", alike=False),
    d=tensor("N", alike=False),
)
def least_supply(u: Tensor, delta: Tensor, C: Tensor, d: Tensor) -> Tensor:
    """The bound ``1/2 sum_n d_n sum_l (Delta_l u_l C_n(l))^2`` of each channel, (B, D).

    `supply` is at least this where ``B_n = d_n C_n`` with all d_n >= 0, and at most this where all
    d_n <= 0, whatever the decay rates. u, delta: (B, D, L). C: (B, N, L). d: (N,).

    Raises ValueError for other shapes.
    """
    if u.ndim != 3 or u.shape != delta.shape:
        raise ValueError(f"u: shape {tuple(u.shape)}, takes (B, D, L), as delta")
    if C.ndim != 3 or (C.shape[0], C.shape[2]) != (u.shape[0], u.shape[2]):
        raise ValueError(f"C: shape {tuple(C.shape)}, takes (B, N, L) with B and L of u")
    if d.shape != C.shape[1:2]:
        raise ValueError(f"d: shape {tuple(d.shape)}, takes (N,) with N = {C.shape[1]} of C")
    return torch.einsum("bdl,bnl,n->bd", (delta * u).square(), C.square(), d) / 2


@takes(M=tensor("N", "N", alike=False), a=tensor("N", alike=False), atol=at_least(0.0))
def passive(M: Tensor, a: Tensor, *, atol: float = 1e-12) -> bool:
    """Whether a channel with ``B = M C`` and decay rates a is passive for all tokens and steps.

    M: (N, N). a: (N,), positive. It is if and only if M is symmetric and M diag(a) + diag(a) M is
    positive semidefinite; both are decided up to `atol` times the largest entry.

    Raises ValueError for other shapes, a rate that is not positive, what is not finite.
    """
    if M.ndim != 2 or M.shape[0] != M.shape[1] or not len(M):
        raise ValueError(f"M: shape {tuple(M.shape)}, takes (N, N)")
    if a.shape != M.shape[:1]:
        raise ValueError(f"a: shape {tuple(a.shape)}, takes (N,) with N = {len(M)}")
    if not bool(M.isfinite().all()):
        raise ValueError("M: holds NaN or infinity")
    if not bool((a.isfinite() & (a > 0)).all()):
        raise ValueError(f"a: got {a.tolist()}, takes finite numbers > 0")
    M, a = M.double(), a.double()
    if float((M - M.mT).abs().max()) > atol * float(M.abs().max()):
        return False
    balance = M * a + a[:, None] * M
    least = float(torch.linalg.eigvalsh((balance + balance.mT) / 2)[0])
    return least >= -atol * float(balance.abs().max())
