"""Zeros of the form, <p, S_BC p> = 0: the type-2 equilibria of eq (9), and which of them attract.

With S the symmetric part of S_BC and c_i = p_i (S p)_i, so that sum_i c_i = 0, the Jacobian at p
has one eigenvalue that need not be zero,

    kappa(p) = 2 sum_i c_i Delta_i(p),

across the set of zeros. Where kappa < 0, p and the zeros near it attract an open set of tokens.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.door import instance, takes, tensor, whole


@takes(
    S_BC=tensor("D", "D", dtype="float64"),
    S_Delta=tensor("D", "D", dtype="float64"),
    p=tensor("n", "D", dtype="float64", unit=True),
)
def inflow(S_BC: Tensor, S_Delta: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """kappa, (n,), and c, (n, D), at zeros p of the form.

    Args:
        S_BC, S_Delta: (D, D), float64; S_BC need not be symmetric.
        p: (n, D), unit rows.
    Raises:
        ValueError: shapes, dtypes, rows off the sphere.
    """
    c = p * (p @ (S_BC + S_BC.mT)) / 2
    return 2 * (c * softplus(p @ S_Delta)).sum(-1), c


@takes(S_BC=tensor("D", "D", dtype="float64"))
def unit_zero(S_BC: Tensor) -> Tensor | None:
    """A unit vector, (D,), at which the form vanishes, to rounding; None if the form is definite.

    Of an indefinite form between the axes of the largest and the least eigenvalue of its symmetric
    part, of a semidefinite one in its kernel. Eigenvalues count as zero below 1e-12 of the largest.

    Raises:
        ValueError: S_BC is not (D, D), float64, finite.
    """
    values, axes = torch.linalg.eigh((S_BC + S_BC.mT) / 2)
    smallest = values.abs().argmin()
    if values[smallest].abs() <= 1e-12 * values.abs().max():
        return axes[:, smallest]
    if values[0] * values[-1] > 0:
        return None
    y = values[-1].sqrt() * axes[:, 0] + (-values[0]).sqrt() * axes[:, -1]
    return y / y.norm()


@takes(S_BC=tensor(3, 3, dtype="float64"), points=whole(1))
def zero_curves(S_BC: Tensor, points: int = 200) -> list[Tensor]:
    """The two closed curves <y, S_BC y> = 0 on the sphere of R^3, (points, 3) each.

    In the eigenbasis of the symmetric part, with the eigenvalue of the odd sign last, they are
    y_3^2 |l_3| = l_1 y_1^2 + l_2 y_2^2. If l_2 = 0, to 1e-12 of the largest, they are great
    circles. None if all eigenvalues have one sign or are zero: the zeros are then the kernel.

    Raises:
        ValueError: S_BC is not (3, 3), float64, finite.
    """
    values, axes = torch.linalg.eigh((S_BC + S_BC.mT) / 2)
    if (values > 0).sum() == 2:
        values, axes = values.flip(0), axes.flip(1)
    if values[0] * values[2] >= 0:
        return []
    angle = torch.linspace(0, 2 * torch.pi, points, dtype=torch.float64)
    circle = torch.stack([angle.cos(), angle.sin()], -1)
    if values[1].abs() <= 1e-12 * values.abs().max():
        ends = axes[:, [0, 2]] / values[[0, 2]].abs().sqrt()
        across = torch.stack([ends.sum(1), ends[:, 0] - ends[:, 1]])
        across = across / across.norm(dim=-1, keepdim=True)
        return [circle @ torch.stack([axes[:, 1], other]) for other in across]
    ring = torch.cat([circle, torch.ones(points, 1, dtype=torch.float64)], -1) / values.abs().sqrt()
    ring = ring / ring.norm(dim=-1, keepdim=True) @ axes.mT
    return [ring, -ring]


@takes(values=tensor("...", "D", dtype="float64"), generator=instance(torch.Generator))
def form_with_eigenvalues(values: Tensor, generator: torch.Generator) -> Tensor:
    """A random S_BC whose symmetric part has the given eigenvalues, for tests and surveys.

    Their frame is that of the QR decomposition of a Gaussian matrix; the skew part is Gaussian.
    :func:`tokensphere.first_token.alignment.definite_form` draws the eigenvalues as well.

    Args:
        values: (..., D), float64, of any signs.
    Returns:
        (..., D, D), float64.
    Raises:
        ValueError: values of another dtype, or not finite.
    """
    shape = (2, *values.shape, values.shape[-1])
    G, skew = torch.randn(shape, generator=generator, dtype=torch.float64)
    frame = torch.linalg.qr(G).Q
    return (frame * values.unsqueeze(-2)) @ frame.mT + skew - skew.mT


@takes(S_BC=tensor("D", "D", dtype="float64"), count=whole(1), generator=instance(torch.Generator))
def random_zeros(S_BC: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Zeros of an indefinite form, (n, D) unit rows: where segments from random points at which it
    is positive to others at which it is negative cross it.

    n is at most `count`, less if one sign is rare, and 0 if the form is semidefinite.

    Raises:
        ValueError: S_BC is not (D, D), float64, finite.
    """
    dim = len(S_BC)
    S = (S_BC + S_BC.mT) / 2
    y = torch.randn(2 * count, dim, generator=generator, dtype=torch.float64)
    q = ((y @ S) * y).sum(-1)
    positive, negative = y[q > 0], y[q < 0]
    n = min(len(positive), len(negative))
    start = positive[:n]
    way = negative[:n] - start
    a = ((way @ S) * way).sum(-1)
    b = ((start @ S) * way).sum(-1)
    c = ((start @ S) * start).sum(-1)
    # The root of a t^2 + 2 b t + c in (0, 1), as its values are c > 0 at 0 and negative at 1.
    t = c / (-b + (b * b - a * c).sqrt())
    zeros = start + t.unsqueeze(-1) * way
    return zeros / zeros.norm(dim=-1, keepdim=True)
