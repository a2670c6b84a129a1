"""The signs of the symmetric part of ``S_C^T S_B``, and the eigenvalues of the matrix itself.

With V = [S_C; S_B], (2 N, D), and J = [[0, I], [I, 0]] / 2 the symmetric part is ``H = V^T J V``.
By Sylvester's law H has exactly N positive and N negative eigenvalues where the 2 N rows are
independent: two maps that nothing ties are always mixed. H is semidefinite and of rank N only where
``S_B = M S_C`` with a matrix M whose symmetric part is definite.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tokensphere.door import number, optional, takes, tensor

__all__ = ["Signature", "signature", "spectrum"]


@dataclass(frozen=True)
class Signature:
    """Eigenvalues of the symmetric part H of ``S_C^T S_B`` by sign.

    positive, negative, zero: how many of the D; zero are those within `tolerance`.
    eigenvalues: those that are not zero for any maps of this size, ascending, (min(D, 2 N),),
        float64; the other D - 2 N are exactly zero.
    tolerance: absolute; see `signature`.
    """

    positive: int
    negative: int
    zero: int
    eigenvalues: Tensor
    tolerance: float

    @property
    def kind(self) -> str:
        """ "positive" or "negative" (semidefinite, not zero), "mixed", or "zero"."""
        if self.positive and self.negative:
            return "mixed"
        return "positive" if self.positive else "negative" if self.negative else "zero"

    @property
    def positive_share(self) -> float:
        """The sum of the positive eigenvalues by the sum of all moduli; 1/2 where all are zero."""
        total = float(self.eigenvalues.abs().sum())
        return float(self.eigenvalues.clamp(min=0).sum()) / total if total else 0.5


@takes(
    S_B=tensor("N", "D", alike=False),
    S_C=tensor("N", "D", alike=False),
    rtol=optional(number(least=0.0, below=1.0)),
)
def signature(S_B: Tensor, S_C: Tensor, *, rtol: float | None = None) -> Signature:
    """The signature of the symmetric part H of ``S_C^T S_B``.

    S_B, S_C: (N, D) each. H itself, (D, D), is not formed: with V^T = Q R its eigenvalues are those
    of R J R^T, of size min(D, 2 N), and zeros. Computed in float64 on maps scaled to norm 1.
    rtol: eigenvalues up to rtol |S_B| |S_C| (Frobenius norms) count as zero. By default twice the
        epsilon of the coarser dtype of the two: what rounding the maps' entries to that dtype can
        move an eigenvalue by (Weyl), so that a sign which is counted is a sign of every pair of
        maps that rounds to these. For float64 it is 64 epsilon, to cover the arithmetic.

    Raises ValueError for other shapes, dtypes, what is not finite, a negative rtol.
    """
    _check(S_B, S_C)
    if rtol is None:
        # Half an epsilon is the largest relative error of rounding one entry.
        rtol = max(
            64 * torch.finfo(torch.float64).eps,
            *(
                2 * torch.finfo(value.dtype).eps * (value.dtype != torch.float64)
                for value in (S_B, S_C)
            ),
        )
    elif not 0 <= rtol < 1:
        raise ValueError(f"rtol: got {rtol}, takes a number from 0 to 1, less than 1")
    states, channels = S_B.shape
    maps = [value.detach().double().cpu() for value in (S_C, S_B)]
    norms = [float(value.norm()) for value in maps]
    scale = norms[0] * norms[1]
    size = min(channels, 2 * states)
    if not scale:
        return Signature(0, 0, channels, torch.zeros(size, dtype=torch.float64), 0.0)
    rows = torch.cat([value / norm for value, norm in zip(maps, norms, strict=True)])
    upper = torch.linalg.qr(rows.mT).R
    read, write = upper.split(states, dim=1)
    values = torch.linalg.eigvalsh((read @ write.mT + write @ read.mT) / 2)
    positive, negative = int((values > rtol).sum()), int((values < -rtol).sum())
    zero = channels - positive - negative
    return Signature(positive, negative, zero, scale * values, rtol * scale)


@takes(S_B=tensor("N", "D", alike=False), S_C=tensor("N", "D", alike=False))
def spectrum(S_B: Tensor, S_C: Tensor) -> Tensor:
    """The eigenvalues of ``S_C^T S_B`` itself that need not be zero, complex, (N,).

    They are those of ``S_B S_C^T``; the other D - N are zero (for N <= D). Their signs are not
    those of H: [[1, 4], [0, 1]] has the eigenvalue 1 twice, and its symmetric part has -1.

    Raises ValueError as `signature`.
    """
    _check(S_B, S_C)
    return torch.linalg.eigvals(S_B.detach().double().cpu() @ S_C.detach().double().cpu().mT)


def _check(S_B: Tensor, S_C: Tensor) -> None:
    for name, value in {"S_B": S_B, "S_C": S_C}.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            got = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"{name}: got {got}, takes a floating point tensor")
        if value.ndim != 2 or 0 in value.shape:
            raise ValueError(f"{name}: shape {tuple(value.shape)}, takes (N, D), neither of them 0")
        if not bool(value.isfinite().all()):
            raise ValueError(f"{name}: holds NaN or infinity")
    if S_B.shape != S_C.shape:
        raise ValueError(f"S_C: shape {tuple(S_C.shape)}, but S_B has {tuple(S_B.shape)}")
