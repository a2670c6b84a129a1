"""Pair interactions X_ij = <x_i, x_j>, U_ij = <x_i, S_BC x_j>, and how they change (Lemma B.10)."""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..flow import AutoregressiveFlow, MambaFlow, SharedStepFlow
from ..flow.checks import check_square, check_tokens


def interactions(x: Tensor, S_BC: Tensor) -> tuple[Tensor, Tensor]:
    """X_ij = <x_i, x_j> and U_ij = <x_i, S_BC x_j>, both (..., L, L), from tokens (..., L, D)."""
    check_tokens(x, check_square("S_BC", S_BC), 2)
    return x @ x.mT, x @ S_BC @ x.mT


def interaction_speeds(
    flow: SharedStepFlow | AutoregressiveFlow, x: Tensor, S_BC: Tensor
) -> tuple[Tensor, Tensor]:
    """dX/dt and dU/dt along the flow, (..., L, L): Lemma B.10, for any S_BC.

    The tokens move by dx/dt = B x with B = A - diag(row sums of A * X), A the attention below the
    diagonal, so that

        dX/dt = B X + (B X)^T,        dU/dt = B U + U B^T.

    Entry by entry, dU_ij/dt = sum_{k<i} A_ik (U_kj - X_ik U_ij) + sum_{k<j} A_jk (U_ik - X_jk
    U_ij); the lemma prints U_ki and U_ji in the second sum, the same for a symmetric S_BC only.

    Args:
        flow: the scalar weights A_ij come from its ``attention``.
        x: (..., L, D), unit rows.
        S_BC: (D, D), of the U; for a SharedStepFlow usually its own.
    Raises:
        ValueError: as :func:`interactions`, and for a flow whose weights are not scalars.
    """
    if isinstance(flow, MambaFlow):
        raise ValueError("flow: a MambaFlow has weights for each channel, takes scalar weights")
    X, U = interactions(x, S_BC)
    A = flow.attention(x).tril(-1)
    B = A - torch.diag_embed((A * X).sum(-1))
    moved = B @ X
    return moved + moved.mT, B @ U + U @ B.mT


def weights(flow: SharedStepFlow, x: Tensor) -> Tensor:
    """a_lj = Delta(x_j) exp(-a sum_{k=j+1}^{l} Delta(x_k)), (..., L, L), zero for j > l.

    The positive factors of the attention A_lj = <x_l, S_BC x_j> a_lj of eq (11), from tokens
    (..., L, D).
    """
    steps = softplus((x @ flow.alpha.unsqueeze(-1))[..., 0])
    elapsed = steps.cumsum(-1)
    since = (elapsed.unsqueeze(-1) - elapsed.unsqueeze(-2)).tril()
    a = torch.as_tensor(flow.a, dtype=x.dtype, device=x.device)[..., None, None]
    return (steps.unsqueeze(-2) * torch.exp(-a * since)).tril()
