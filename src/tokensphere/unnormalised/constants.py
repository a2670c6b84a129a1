r"""What closed forms say of a first token's end: constants, growth rates, blow-up times.

Of the steps only M matters: M_kd = S_{Delta,kd} sign(x_k) for k, d in the support of x, so that
coordinate d has the step softplus(sum_k M_kd |x_k|). Signs and the support never change.
"""

import math

import numpy as np
import torch
from scipy.integrate import quad
from torch import Tensor

from tokensphere.door import number, takes, tensor

from ..flow.checks import check_square, check_tensor
from .field import symmetric_part

LN2 = math.log(2.0)


def _sign_matrix(S_Delta: Tensor, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """M, (n, n), and the support's indices, (n,), of one token x, (D,)."""
    dim = check_square("S_Delta", S_Delta)
    check_tensor("x", x, 1)
    if S_Delta.ndim != 2 or x.shape != (dim,):
        raise ValueError(
            f"S_Delta, x: shapes {tuple(S_Delta.shape)} and {tuple(x.shape)}, take (D, D) and (D,)"
        )
    values = x.numpy()
    support = np.flatnonzero(values)
    return S_Delta.numpy()[np.ix_(support, support)] * np.sign(values[support])[:, None], support


def _stable(metzler: np.ndarray) -> bool:
    """Whether all eigenvalues of a matrix with non-negative entries off its diagonal are in the
    left half plane: then, and only then, some w > 0 has metzler @ w < 0."""
    if not len(metzler):
        return True
    return bool(np.linalg.eigvals(metzler).real.max() < -1e-12 * np.abs(metzler).max())


@takes(S_Delta=tensor("D", "D", dtype="float64"), x=tensor("D", dtype="float64"))
def grows_slowly(S_Delta: Tensor, x: Tensor) -> bool:
    """Whether no token in the orthant of x can blow up, by the signs of the steps alone.

    So it is if the matrix N with N_dd = M_dd and N_dk = max(M_kd, 0) off the diagonal is Hurwitz:
    with N w < 0 the largest |x_d| / w_d, V, obeys V' <= q V softplus(-c V). It then grows like
    ln t at the most. Sufficient, not necessary.

    Args:
        S_Delta: (D, D); x: (D,), of which only the signs are read.
    Raises:
        ValueError: shapes or dtypes.
    """
    M, _ = _sign_matrix(S_Delta, x)
    N = np.maximum(M.T, 0.0)
    np.fill_diagonal(N, np.diag(M))
    return _stable(N)


@takes(S_Delta=tensor("D", "D", dtype="float64"), x=tensor("D", dtype="float64"))
def a_step_grows(S_Delta: Tensor, x: Tensor) -> bool:
    """Whether some coordinate d of the support has M_dd > 0 and M_kd >= 0 for all k: its step
    grows with every coordinate, and if the form is positive definite the token blows up."""
    M, _ = _sign_matrix(S_Delta, x)
    return bool(((np.diag(M) > 0) & (M >= 0).all(0)).any())


@takes(S_Delta=tensor("D", "D", dtype="float64"), x=tensor("D", dtype="float64"))
def slow_rates(S_Delta: Tensor, x: Tensor) -> Tensor | None:
    """eta, (D,), with |x_d| / ln t -> eta_d for every slow token in the orthant of x; or None.

    eta solves the linear complementarity problem eta >= 0, -M^T eta >= 1, with equality where
    eta_d > 0: all steps of the coordinates that grow fall like 1/t, and the others' faster. The
    limit is proved, and eta unique, if M_dd < 0 for all d and the comparison matrix of -M^T
    (diagonal |M_dd|, minus moduli off it) is an M-matrix. Otherwise None is returned: there may be
    several solutions, and the start decides among them.

    Raises:
        ValueError: shapes or dtypes.
    """
    M, support = _sign_matrix(S_Delta, x)
    P = -M.T
    diagonal = np.diag(P).copy()
    comparison = np.abs(P)
    np.fill_diagonal(comparison, -diagonal)
    if not len(P) or (diagonal <= 0).any() or not _stable(comparison):
        return None
    found = np.zeros(len(P))
    for _ in range(10_000):  # projected Gauss-Seidel, which contracts for such P
        before = found.copy()
        for d in range(len(P)):
            found[d] = max(0.0, found[d] + (1.0 - P[d] @ found) / diagonal[d])
        if np.abs(found - before).max() <= 1e-15 * found.max():
            break
    growing = found > 0
    found[growing] = np.linalg.solve(P[np.ix_(growing, growing)], np.ones(growing.sum()))
    eta = torch.zeros_like(x)
    eta[support] = torch.as_tensor(found)
    return eta


def softplus(z: float) -> float:
    """ln(1 + e^z), without overflow."""
    return math.log1p(math.exp(-abs(z))) + max(z, 0.0)


@takes(value=number(), slope=number())
def ray_time(value: float, slope: float) -> float:
    """The time in which r' = value r^3 softplus(slope r) goes from r = 1 to infinity.

    Infinite if value <= 0 or slope < 0: growth is then logarithmic.
    """
    if value <= 0 or slope < 0:
        return math.inf
    # u = 1/r
    return quad(lambda u: u / softplus(slope / u) if u else 0.0, 0.0, 1.0)[0] / value


@takes(
    S_BC=tensor("D", "D", dtype="float64"),
    S_Delta=tensor("D", "D", dtype="float64"),
    x=tensor("D", dtype="float64"),
)
def blow_up_bounds(S_BC: Tensor, S_Delta: Tensor, x: Tensor) -> tuple[float, float]:
    """(low, high) of a first token's blow-up time from x, (D,); infinite where none is certain.

    With l the least and h the largest eigenvalue of S on the support and rho the longest column of
    S_Delta there, the length obeys r' <= h r^3 softplus(rho r); and if a coordinate d has M_dd > 0
    and M_kd >= 0, its modulus obeys y' >= l y^3 softplus(M_dd y). Both are integrals over r.

    Raises:
        ValueError: shapes or dtypes.
    """
    check_square("S_BC", S_BC)
    M, support = _sign_matrix(S_Delta, x)
    if not len(support):
        return math.inf, math.inf
    S = symmetric_part(S_BC).numpy()[np.ix_(support, support)]
    values = np.linalg.eigvalsh(S)
    r = float(x.norm())
    low = ray_time(float(values[-1]) * r**2, float(np.linalg.norm(M, axis=0).max()) * r)
    high, size = math.inf, x.abs().numpy()[support]
    for d in np.flatnonzero((np.diag(M) > 0) & (M >= 0).all(0)):
        alone = ray_time(float(values[0] * size[d] ** 2), float(M[d, d] * size[d]))
        high = min(high, alone)
    return low, high
