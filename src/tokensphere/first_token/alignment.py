"""Diagonal steps, S_{Delta,i} = delta_i e_i: the limit is known from the start, with its rate.

d/dt ln(|y_i|/|y_j|) = q (Delta_i - Delta_j), and the order of u_i = delta_i y_i, which is that of
the steps, never changes. Theorem 3.2 is the case delta_i = sign(y_i(0)): the largest modulus wins,
or several that are equal stay so.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.door import at_least, instance, number, one_of, positive, takes, tensor, whole

from ..flow import FirstTokenFlow, simulate

LN2 = math.log(2.0)


@takes(count=whole(1), dim=whole(1), generator=instance(torch.Generator), sign=one_of(1, -1))
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


@takes(S_BC=tensor("...", "D", "D", dtype="float64"))
def form_eigenvalues(S_BC: Tensor) -> Tensor:
    """Eigenvalues of the symmetric part of S_BC (..., D, D), ascending: (..., D)."""
    return torch.linalg.eigvalsh((S_BC + S_BC.mT) / 2)


@takes(
    S_BC=tensor("n", "D", "D", dtype="float64", n=0),
    delta=tensor("n", "D", dtype="float64", n=0),
    y0=tensor("n", "D", dtype="float64", unit=True, n=0),
)
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
    values = form_eigenvalues(S_BC)
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


@takes(
    S_BC=tensor("n", "D", "D", dtype="float64", n=0),
    y0=tensor("n", "D", dtype="float64", nonzero=True, n=0),
)
def explicit_bound(S_BC: Tensor, y0: Tensor) -> tuple[Tensor, Tensor]:
    """rho_i = r_i/(1-r_i) at t = 0, (n, D), and its bound's exponent kappa, (n,), for Theorem 3.2.

    r_i = |y_i|/|y_d|; rho_i(t) <= rho_i(0) exp(-kappa t) with
    kappa = lambda_min (softplus(|y_d(0)|) - ln 2). Entry d is infinite.
    """
    top = y0.abs().amax(-1, keepdim=True)
    ratio = y0.abs() / top
    least = form_eigenvalues(S_BC)[:, 0]
    return ratio / (1 - ratio), least * (softplus(top[:, 0]) - LN2)


@takes(y=tensor("...", "D", nonzero=True))
def ratios_to_largest(y: Tensor) -> Tensor:
    """r_i(t) = |y_i(t)| / |y_d(t)| along first tokens y (T, ..., D), d the index of the largest
    |y_i(0)|, the first of several; the shape is that of y. :func:`explicit_bound` bounds them."""
    size = y.abs()
    top = size[0].argmax(-1, keepdim=True).expand(*y.shape[:-1], 1)
    return size / size.gather(-1, top)


@takes(
    S_BC=tensor("n", "D", "D", dtype="float64"),
    y=tensor("T", "n", "D", dtype="float64", nonzero=True),
    times=tensor("T", dtype="float64"),
    floor=at_least(0.0),
)
def above_explicit_bound(S_BC: Tensor, y: Tensor, times: Tensor, floor: float = 1e-9) -> Tensor:
    """ln(rho_i(t) / its bound) along first tokens, (T, n, D): not positive, by Theorem 3.2.

    -inf for the largest coordinate and those tied with it, and where the ratio is below `floor`:
    there it is an integrator's as much as the flow's.

    Args:
        S_BC: (n, D, D), positive definite forms.
        y: (T, n, D), first tokens of S_Delta = diag(sign(y(0))), from t = 0.
        times: (T,).
    """
    ratio = ratios_to_largest(y)
    rho, kappa = explicit_bound(S_BC, y[0])
    excess = (ratio / (1 - ratio)).log() - rho.log() + kappa[:, None] * times[:, None, None]
    return torch.where((ratio[0] < 1) & (ratio > floor), excess, -math.inf)


@takes(y=tensor("...", "D", nonzero=True))
def largest_coordinate(y: Tensor) -> Tensor:
    """sign(y_d) e_d, (..., D), for y (..., D) with y_d of largest modulus, the first of several."""
    top = y.abs().argmax(-1, keepdim=True)
    return torch.zeros_like(y).scatter(-1, top, y.gather(-1, top).sign())


@takes(form=number(), count=whole(1))
def equal_moduli_eigenvalues(form: float, count: int) -> tuple[float, float]:
    """Eigenvalues of eq (9) at y with `count` coordinates +-1/sqrt(count), the others zero.

    The steps are those of Theorem 3.2, Delta_i = softplus(|y_i|). The first, form sigma(r) r with
    r = 1/sqrt(count), has the multiplicity count - 1 and belongs to what breaks the tie; the
    second, form (ln 2 - softplus(r)), to each coordinate that is zero.

    Args:
        form: <y, S_BC y>.
    Raises:
        ValueError: a count below 1.
    """
    if count < 1:
        raise ValueError(f"count: got {count}, takes 1 or more")
    size = count**-0.5
    along = form * size / (1 + math.exp(-size))
    return along, form * (LN2 - math.log1p(math.exp(size)))


@takes(
    S_BC=tensor("...", "D", "D", dtype="float64"),
    delta=tensor("n", "D", dtype="float64"),
    y0=tensor("n", "D", dtype="float64", unit=True),
    times=tensor("T", dtype="float64", T=2),
    rtol=positive(),
    atol=positive(),
)
def follow_diagonal(
    S_BC: Tensor,
    delta: Tensor,
    y0: Tensor,
    times: Tensor,
    rtol: float = 1e-9,
    atol: float = 1e-13,
) -> Tensor:
    """First tokens of eq (9) for S_Delta = diag(delta), integrated: (T, n, D).

    The default tolerances are for rates: small coordinates keep their digits down to 1e-13.

    Args:
        S_BC: (n, D, D), float64, or (D, D) for all.
        delta, y0: (n, D); rows of y0 are unit vectors.
        times: (T,), increasing.
    Raises:
        ValueError: what :func:`tokensphere.flow.simulate` refuses.
    """
    flow = FirstTokenFlow(S_BC, torch.diag_embed(delta))
    return simulate(flow, y0.unsqueeze(1), times, rtol, atol).tokens[:, :, 0]
