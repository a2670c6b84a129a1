"""A function that only grows along eq (9), where there is one: no cycles, limits are equilibria."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

from tokensphere.door import takes, tensor

from ..flow.checks import UNIT_TOLERANCE, check_square, check_tensor

TOLERANCE = 1e-10
"""A singular value below this part of the largest one counts as zero, as for `equilibria`."""


@dataclass(frozen=True, eq=False)
class Potential:
    """V = <r, H r> / 2 on one orthant, r_j = (|y_j| / beta_j) / sum_i (|y_i| / beta_i).

    While q(y) = <y, S_BC y> > 0, V grows along eq (9), and while q < 0 it falls, unless y is an
    equilibrium: ``dV/dt = q Cov_r(H r, Delta)``, the covariance under the weights r. For all i,
    Delta_i is one increasing function of (H r)_i, so the covariance is positive unless the steps
    agree where r is not zero.

    Args:
        signs: (D,), 1 or -1: the orthant.
        beta: (D,), positive.
        k: (D,).
        H: (D, D), symmetric: beta_j signs_j S_Delta[j, i] + k_j at (i, j).
    """

    signs: Tensor
    beta: Tensor
    k: Tensor
    H: Tensor

    def value(self, y: Tensor) -> Tensor:
        """V at points of the orthant or its faces: (...) from (..., D), of any norm but zero.

        A coordinate on the wrong side by up to UNIT_TOLERANCE of |y|, as an integrator leaves it,
        counts as zero.

        Raises:
            ValueError: y has another dimension, a zero row, or a row outside the closed orthant.
        """
        check_tensor("y", y, 1)
        if y.shape[-1] != len(self.beta):
            raise ValueError(f"y: shape {tuple(y.shape)}, takes (..., D) with D = {len(self.beta)}")
        inside = y * self.signs
        if (inside < -UNIT_TOLERANCE * y.norm(dim=-1, keepdim=True)).any():
            raise ValueError("y: a coordinate has a sign that is not the orthant's")
        r = inside.clamp(min=0) / self.beta
        total = r.sum(-1, keepdim=True)
        if (total == 0).any():
            raise ValueError("y: holds a zero vector")
        r = r / total
        return ((r @ self.H) * r).sum(-1) / 2


@takes(S_Delta=tensor("D", "D", dtype="float64"), signs=tensor("D", dtype="float64"))
def potential(S_Delta: Tensor, signs: Tensor) -> Potential | None:
    """The potential of eq (9) on the orthant of y with sign(y_j) = signs_j, or None.

    With G[i, j] = signs_j S_Delta[j, i] it takes beta > 0 and k such that beta_j G[i, j] + k_j is
    symmetric in i and j. Going round the triangles (1, i, j) eliminates k and leaves
    (D-1)(D-2)/2 linear equations for beta; linear programming finds a positive solution.
    S_BC does not occur.

    There is one on every orthant for D <= 2, for a diagonal S_Delta, and on the orthants of all
    signs equal for a symmetric S_Delta; in each case also with one vector added to all columns.
    For generic S_Delta there is one on 6 of the 8 orthants for D = 3, on 2 of 16 for D = 4, on none
    for D >= 5.

    Args:
        S_Delta: (D, D), float64.
        signs: (D,), float64, entries 1 or -1. A y with zeros: take S_Delta's rows and columns of
            its support.
    Returns:
        A potential with min(beta) = 1 to the tolerance of the linear program; None if there is
        none. Rank decisions are made to TOLERANCE, relative.
    Raises:
        ValueError: a wrong shape, dtype or value; the message names the argument.
    """
    dim = check_square("S_Delta", S_Delta)
    if S_Delta.ndim != 2:
        raise ValueError(f"S_Delta: shape {tuple(S_Delta.shape)}, takes (D, D)")
    check_tensor("signs", signs, 1)
    if signs.shape != (dim,):
        raise ValueError(f"signs: shape {tuple(signs.shape)}, takes ({dim},)")
    if (signs.abs() != 1).any():
        raise ValueError("signs: takes entries 1 and -1")
    G = (signs.unsqueeze(-1) * S_Delta).mT.cpu().numpy()
    beta = _positive_kernel_vector(_triangles(G))
    if beta is None:
        return None
    k = beta[0] * G[:, 0] - beta * G[0]
    H = beta * G + k
    as_tensor = lambda value: torch.from_numpy(value).to(S_Delta)  # noqa: E731
    return Potential(signs, as_tensor(beta), as_tensor(k), as_tensor((H + H.T) / 2))


def _triangles(G: np.ndarray) -> np.ndarray:
    """The equations for beta, (n, D): k_j - k_i = beta_i G[j, i] - beta_j G[i, j] must add up to
    zero round each triangle (0, i, j)."""
    dim = len(G)
    first, second = np.triu_indices(dim - 1, 1)
    i, j = first + 1, second + 1
    rows = np.arange(len(i))
    equations = np.zeros((len(i), dim))
    equations[rows, 0] = G[i, 0] - G[j, 0]
    equations[rows, i] = G[j, i] - G[0, i]
    equations[rows, j] = G[0, j] - G[i, j]
    return equations


def _positive_kernel_vector(equations: np.ndarray) -> np.ndarray | None:
    """A solution of equations @ beta = 0 with all beta >= 1, of least sum; None if there is none.

    The kernel comes first, by singular values, so that the program's own tolerance bears on the
    signs only and not on the equations.
    """
    dim = equations.shape[1]
    if not equations.any():
        return np.ones(dim)
    _, values, vectors = np.linalg.svd(equations)
    kernel = vectors[int((values > TOLERANCE * values[0]).sum()) :].T
    if not kernel.shape[1]:
        return None
    program = linprog(
        kernel.sum(0), A_ub=-kernel, b_ub=-np.ones(dim), bounds=(None, None), method="highs"
    )
    return kernel @ program.x if program.status == 0 else None
