"""Pair interactions X_ij = <x_i, x_j>, U_ij = <x_i, S_BC x_j>, and how they change (Lemma B.10)."""

import itertools

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.door import either, function, instance, number, takes, tensor, whole

from ..flow import AutoregressiveFlow, MambaFlow, SharedStepFlow
from ..flow.checks import check_square, check_tensor, check_tokens
from ..flow.fields import OnSphere


@takes(
    x=tensor("...", "L", "D", dtype="float64", unit=True),
    S_BC=tensor("...", "D", "D", dtype="float64"),
)
def interactions(x: Tensor, S_BC: Tensor) -> tuple[Tensor, Tensor]:
    """X_ij = <x_i, x_j> and U_ij = <x_i, S_BC x_j>, both (..., L, L), from tokens (..., L, D)."""
    check_tokens(x, check_square("S_BC", S_BC), 2)
    return x @ x.mT, x @ S_BC @ x.mT


@takes(
    flow=instance(OnSphere),
    x=tensor("...", "L", "D", dtype="float64", unit=True),
    S_BC=tensor("...", "D", "D", dtype="float64"),
)
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


@takes(
    field=function(),
    x=tensor("...", "L", "D", dtype="float64", unit=True),
    S_BC=tensor("...", "D", "D", dtype="float64"),
)
def product_rule_speeds(field: OnSphere, x: Tensor, S_BC: Tensor) -> tuple[Tensor, Tensor]:
    """dX/dt and dU/dt along any field by the product rule alone, (..., L, L).

    With v = field(x), X_ij' = <v_i, x_j> + <x_i, v_j> and U_ij' = <v_i, S_BC x_j> + <x_i, S_BC
    v_j>. For scalar weights the same as :func:`interaction_speeds`, without any lemma.

    Args:
        field: its weights may differ between channels.
        x: (..., L, D), unit rows.
        S_BC: (..., D, D), of the U.
    Raises:
        ValueError: as :func:`interactions`.
    """
    check_tokens(x, check_square("S_BC", S_BC), 2)
    v = field(x)
    return v @ x.mT + x @ v.mT, v @ S_BC @ x.mT + x @ S_BC @ v.mT


@takes(x1=tensor("D", dtype="float64", unit=True), length=whole(1))
def consensus_configurations(x1: Tensor, length: int) -> Tensor:
    """All (x_1, +-x_1, ..., +-x_1): (2^(L-1), L, D), from a unit vector x1 (D,) and L = `length`.

    They are equilibria of eq (11), which the paper collects in a set Omega_0.

    Raises:
        ValueError: a length below 1, or an x1 off the sphere.
    """
    if length < 1:
        raise ValueError(f"length: got {length}, takes 1 or more")
    check_tokens(x1, None, 1, "x1")
    signs = itertools.product((1.0, -1.0), repeat=length - 1)
    patterns = torch.tensor([(1.0, *rest) for rest in signs], dtype=torch.float64)
    return patterns[:, :, None] * x1


@takes(flow=instance(SharedStepFlow), x=tensor("...", "L", "D", dtype="float64", unit=True))
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


@takes(
    x=tensor("...", "L", "D", dtype="float64", unit=True),
    S_BC=tensor("...", "D", "D", dtype="float64"),
    row=tensor("...", "L", dtype="float64"),
    across=either(number(), tensor("...")),
)
def token_with_interactions(
    x: Tensor, S_BC: Tensor, row: Tensor, across: float | Tensor = 0.0
) -> Tensor:
    """A next token y, (..., D), whose <y, S_BC x_j> are a positive multiple of `row`.

    It is the shortest vector with <y, S_BC x_j> = row_j, plus `across` times a unit vector with all
    of them zero, divided by its length.

    Args:
        x: (..., L, D), unit rows, the S_BC x_j linearly independent; so L <= D.
        S_BC: (..., D, D).
        row: (..., L); zeros only if `across` is not 0.
        across: number or (...); not 0 only if L < D.
    Raises:
        ValueError: too few dimensions, a row of another length, or a token that would be zero.
    """
    check_tokens(x, check_square("S_BC", S_BC), 2)
    images = x @ S_BC.mT
    length, dim = x.shape[-2:]
    across = torch.as_tensor(across, dtype=x.dtype)
    if length > dim or (length == dim and (across != 0).any()):
        raise ValueError(f"x: {length} tokens in {dim} dimensions leave no room for the next one")
    check_tensor("row", row, 1)
    if row.shape[-1] != length:
        raise ValueError(f"row: shape {tuple(row.shape)}, takes (..., {length})")
    gram = images @ images.mT
    y = (images.mT @ torch.linalg.solve(gram, row.unsqueeze(-1)))[..., 0]
    if length < dim:
        y = y + across[..., None] * torch.linalg.svd(images).Vh[..., -1, :]
    size = y.norm(dim=-1, keepdim=True)
    if (size == 0).any():
        raise ValueError("row and across: both are zero, and so would be the token")
    return y / size
