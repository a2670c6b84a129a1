"""All type-1 equilibria of eq (9), isolated or in families, and their spectra in closed form."""

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.door import takes, tensor

from ..flow.checks import check_square, check_tokens
from .field import form, orbit_field, tangent_basis

TOLERANCE = 1e-10
"""What counts as zero: a singular value relative to the largest entry of S_Delta, a coordinate of a
unit vector, a real part relative to the largest eigenvalue."""

LARGEST = 20
"""Largest D: there are 2^D - 1 supports."""


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """An isolated type-1 equilibrium of eq (9).

    Args:
        point: (D,), unit.
        support: the indices of its nonzero coordinates, increasing. The steps agree on it.
        eigenvalues: (D-1,), complex: of the Jacobian on the tangent space, real parts decreasing.
        kind: "coordinate vector" or "equal steps".
    """

    point: Tensor
    support: tuple[int, ...]
    eigenvalues: Tensor
    kind: str

    @property
    def stability(self) -> str:
        """By the signs of the eigenvalues' real parts: "stable" (all negative; also for D = 1,
        where there is none), "unstable" (all positive), "saddle" (both, no zero), "degenerate"
        (a real part is zero to TOLERANCE; linearisation does not decide)."""
        real = self.eigenvalues.real
        size = self.eigenvalues.abs()
        if len(real) and bool((real.abs() <= TOLERANCE * size.amax()).any()):
            return "degenerate"
        if bool((real < 0).all()):
            return "stable"
        return "unstable" if bool((real > 0).all()) else "saddle"


@dataclass(frozen=True, eq=False)
class Family:
    """Type-1 equilibria that are not isolated: all unit vectors in the span of `basis`.

    Args:
        support: where they are nonzero, but for a set of lower dimension.
        basis: (D, m), orthonormal columns, m >= 2.
    """

    support: tuple[int, ...]
    basis: Tensor
    kind: str = "family"
    stability: str = "degenerate"


@takes(
    S_BC=tensor("D", "D", dtype="float64", largest=1e100),
    S_Delta=tensor("D", "D", dtype="float64", largest=1e100),
)
def equilibria(S_BC: Tensor, S_Delta: Tensor) -> list[Equilibrium | Family]:
    """Every type-1 equilibrium of eq (9): points whose steps agree where they are not zero.

    For each support A, the kernel of the differences S_{Delta,j} - S_{Delta,i}, i, j in A,
    restricted to A (the corrected Proposition 3.1). Where it is a line without a zero coordinate
    it gives two antipodal points. Where it has more dimensions, and no coordinate vanishes on all
    of it, its unit vectors are a :class:`Family`; equilibria and families that are part of a
    larger family are not listed again. S_Delta with independent continuous entries has 2(2^D - 1)
    isolated equilibria and no family.

    The zeros of the form, <y, S_BC y> = 0, are equilibria too (type 2) and not listed: for D > 2
    they are not isolated. Where one of the points listed is among them, all its eigenvalues are 0.

    Args:
        S_BC, S_Delta: (D, D), float64; S_BC need not be symmetric. Either may be zero: S_BC = 0
            makes every stability "degenerate", S_Delta = 0, or with equal columns, makes the whole
            sphere one family. D = 1 has the two points 1 and -1, without eigenvalues.
    Returns:
        Supports of one first, then of two, and so on; the point whose first nonzero coordinate is
        positive comes before its antipode. Families last.
    Raises:
        ValueError: a wrong shape or dtype, entries that are not finite, D > LARGEST.
    """
    dim = check_problem(S_BC, S_Delta)
    if dim > LARGEST:
        raise ValueError(f"S_Delta: D = {dim} has 2^{dim} - 1 supports, takes D <= {LARGEST}")
    lines, families = [], []
    for size in range(1, dim + 1):
        supports = torch.tensor(list(combinations(range(dim), size)), device=S_Delta.device)
        kernels, ranks = _kernels(S_Delta, supports)
        line = ranks == size - 1
        vector = kernels[line][:, -1]
        full = (vector.abs() > TOLERANCE).all(-1)
        lines.append((supports[line][full], vector[full]))
        for support, kernel, rank in zip(
            supports[~line].tolist(), kernels[~line], ranks[~line].tolist(), strict=True
        ):
            if bool((kernel[rank:].norm(dim=0) > TOLERANCE).all()):
                basis = S_Delta.new_zeros(dim, size - rank)
                basis[support] = kernel[rank:].mT
                families.append(Family(tuple(support), basis))
    maximal = _maximal(S_Delta, families)
    found: list[Equilibrium | Family] = []
    for supports, vectors in lines:
        found += _isolated(S_BC, S_Delta, supports, vectors, maximal)
    return found + maximal


@takes(
    S_BC=tensor("D", "D", dtype="float64", largest=1e100),
    S_Delta=tensor("D", "D", dtype="float64", largest=1e100),
    y=tensor("D", dtype="float64", unit=True),
)
def spectrum(S_BC: Tensor, S_Delta: Tensor, y: Tensor) -> Tensor:
    """The eigenvalues of eq (9)'s Jacobian at an equilibrium y, on the tangent space.

    At a zero of the form w is the only direction that is not neutral:

        kappa = 2 <S y, w(y)> once, and 0 with multiplicity D - 2.

    At a type-1 equilibrium with support A, |A| = k, and D_j the step of A, closed forms are

        q(y) (Delta_i(y) - D_j)    for each i not in A,
        q(y) sigma(u) y_i y_j (d_j y_i - d_i y_j)   for A = {i, j}: d = S_{Delta,j} - S_{Delta,i},
                                                    u = <S_{Delta,i}, y>,

    so D - 1 of the first kind at a coordinate vector. For k > 2 the other k - 1 are those of
    ``q sigma(u) (diag(y) - y (y^2)^T) S_A^T`` on R^A's tangent space, S_A the block of S_Delta.

    Args:
        S_BC, S_Delta: (D, D), float64. y: (D,), unit.
    Returns:
        (D-1,), complex, real parts decreasing.
    Raises:
        ValueError: bad shapes or values; y is not an equilibrium (to 1e-8 of what q and w can be).
    """
    dim = check_problem(S_BC, S_Delta)
    check_tokens(y, dim, 1, name="y")
    if y.ndim != 1:
        raise ValueError(f"y: shape {tuple(y.shape)}, takes (D,)")
    q, w = form(S_BC, y), orbit_field(S_Delta, y)
    at_rest = float(w.norm()) <= 1e-8 * float(softplus(S_Delta.norm(dim=0)).amax())
    if not at_rest:
        if float(q.abs()) > 1e-8 * float(S_BC.norm()):
            raise ValueError(f"y: is no equilibrium, it moves at {float(q.abs() * w.norm()):.2g}")
        values = S_BC.new_zeros(dim - 1, dtype=torch.complex128)
        values[0] = (S_BC + S_BC.mT) @ y @ w
        return _sorted(values)
    support = (y.abs() > 1e-8).nonzero().squeeze(-1)
    return _eigenvalues(S_BC, S_Delta, support[None], y[None, support])[0]


def check_problem(S_BC: Tensor, S_Delta: Tensor) -> int:
    for name, value in {"S_BC": S_BC, "S_Delta": S_Delta}.items():
        check_square(name, value)
        if value.ndim != 2:
            raise ValueError(f"{name}: shape {tuple(value.shape)}, takes (D, D)")
    if S_BC.shape != S_Delta.shape:
        shapes = tuple(S_BC.shape), tuple(S_Delta.shape)
        raise ValueError(f"S_BC and S_Delta: shapes {shapes[0]} and {shapes[1]} differ")
    return len(S_Delta)


def _blocks(S_Delta: Tensor, supports: Tensor) -> Tensor:
    """S_Delta's rows and columns of each support, (n, k, k) from (n, k)."""
    return S_Delta[supports.unsqueeze(-1), supports.unsqueeze(-2)]


def _kernels(S_Delta: Tensor, supports: Tensor) -> tuple[Tensor, Tensor]:
    """Right singular vectors (n, k, k) of the column differences on each support, and their rank.

    The last k - rank rows are an orthonormal basis of the kernel.
    """
    columns = _blocks(S_Delta, supports).mT
    differences = columns[:, 1:] - columns[:, :1]
    size = supports.shape[1]
    if size == 1:
        return S_Delta.new_ones(len(supports), 1, 1), torch.zeros_like(supports[:, 0])
    _, values, vectors = torch.linalg.svd(differences)
    ranks = (values > TOLERANCE * S_Delta.abs().amax()).sum(-1)
    return vectors, ranks


def _members(S_Delta: Tensor, points: Tensor, family: Family) -> Tensor:
    """Which of `points` (n, D) are in the span of the family: zero off its support, equal steps."""
    inner = points @ S_Delta
    inside = torch.zeros(len(S_Delta), dtype=torch.bool, device=points.device)
    inside[list(family.support)] = True
    zero = (points[:, ~inside].abs() <= TOLERANCE).all(-1)
    spread = inner[:, inside].amax(-1) - inner[:, inside].amin(-1)
    # Points are known to rounding over the smallest singular value that counts as not zero.
    return zero & (spread <= 100 * TOLERANCE * S_Delta.abs().amax())


def _maximal(S_Delta: Tensor, families: list[Family]) -> list[Family]:
    """Those that are not part of another one, given and returned by growing support."""
    if not families:
        return []
    vectors = torch.cat([family.basis.mT for family in families])
    owner = torch.cat([torch.full((f.basis.shape[1],), i) for i, f in enumerate(families)])
    part = torch.zeros(len(families), dtype=torch.bool)
    maximal = []
    for index in reversed(range(len(families))):
        if not part[index]:
            maximal.append(families[index])
            outside = owner[~_members(S_Delta, vectors, families[index]).cpu()]
            inside = torch.ones_like(part)
            inside[outside] = False
            part |= inside
    return maximal[::-1]


def _isolated(
    S_BC: Tensor, S_Delta: Tensor, supports: Tensor, vectors: Tensor, families: list[Family]
) -> list[Equilibrium]:
    """Both unit vectors on each line, (n, k), that is not part of a family."""
    vectors = vectors * vectors[:, :1].sign()
    points = S_Delta.new_zeros(len(vectors), len(S_Delta)).scatter(1, supports, vectors)
    alone = torch.ones(len(points), dtype=torch.bool, device=points.device)
    for family in families:
        alone &= ~_members(S_Delta, points, family)
    points, supports, vectors = points[alone], supports[alone], vectors[alone]
    kind = "coordinate vector" if supports.shape[1] == 1 else "equal steps"
    both = [_eigenvalues(S_BC, S_Delta, supports, side * vectors) for side in (1, -1)]
    return [
        Equilibrium(side * point, support, values, kind)
        for point, support, *pair in zip(points, map(tuple, supports.tolist()), *both, strict=True)
        for side, values in zip((1, -1), pair, strict=True)
    ]


def _eigenvalues(S_BC: Tensor, S_Delta: Tensor, supports: Tensor, vectors: Tensor) -> Tensor:
    """The formulas of :func:`spectrum` at type-1 equilibria with nonzero coordinates `vectors`."""
    count, size = supports.shape
    dim = len(S_Delta)
    points = S_Delta.new_zeros(count, dim).scatter(1, supports, vectors)
    q = form(S_BC, points)
    inner = points @ S_Delta
    # One number on the support; its mean is nearest to it.
    shared = inner.gather(1, supports).mean(-1, keepdim=True)
    off = torch.ones(count, dim, dtype=torch.bool, device=points.device).scatter(1, supports, False)
    across = (softplus(inner) - softplus(shared))[off].reshape(count, dim - size)
    blocks = _blocks(S_Delta, supports)
    if size == 1:
        along = S_Delta.new_zeros(count, 0)
    elif size == 2:
        i, j = vectors.unbind(-1)
        d = blocks[:, :, 1] - blocks[:, :, 0]
        along = torch.sigmoid(shared) * (i * j * (d[:, 1] * i - d[:, 0] * j)).unsqueeze(-1)
    else:
        square = (vectors * vectors).unsqueeze(-2) @ blocks.mT
        whole = vectors.unsqueeze(-1) * (blocks.mT - square)
        basis = tangent_basis(vectors)
        along = torch.sigmoid(shared) * torch.linalg.eigvals(basis.mT @ whole @ basis)
    values = torch.cat([across.to(torch.complex128), along.to(torch.complex128)], dim=-1)
    return _sorted(q.unsqueeze(-1) * values)


def _sorted(values: Tensor) -> Tensor:
    """By decreasing real part; of a conjugate pair the one above the real axis first."""
    values = values.gather(-1, values.imag.argsort(dim=-1, descending=True, stable=True))
    return values.gather(-1, values.real.argsort(dim=-1, descending=True, stable=True))
