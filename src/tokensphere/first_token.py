"""Where the first token goes: eq (9), its Jacobian, and the kind of point its trajectory ends at.

Eq (9) is ``dy/dt = q(y) w(y)`` with the number ``q(y) = <y, S_BC y>`` and the field
``w(y) = P_y(Delta(y) * y)``. So a trajectory follows an orbit of w, forwards where q > 0 and
backwards where q < 0, until it meets a zero of q, where it stops. It can end at

    a zero of w    a coordinate vector, or a point whose steps agree on its support (type 1),
    a zero of q    (type 2),

or at neither: orbits of w may cycle.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .flow import project, simulate

__all__ = ["KINDS", "Limits", "jacobian", "settle", "tangent_basis"]

KINDS = ("coordinate vector", "equal steps", "zero of the form", "unresolved")
"""What a first token can end at, in the order of :attr:`Limits.kind`."""


@dataclass(frozen=True, eq=False)
class Limits:
    """Ends of trajectories: ``kind`` (...), an index into KINDS, and ``point`` (..., D).

    The point of a coordinate vector or of equal steps is the equilibrium itself, that of a zero of
    the form is within the tolerance of it, that of an unresolved trajectory is where it was last.
    ``speed`` (...) is the orbit's speed |w| there.
    """

    kind: Tensor
    point: Tensor
    speed: Tensor


def tangent_basis(y: Tensor) -> Tensor:
    """An orthonormal basis of the tangent space at unit y: (..., D, D-1) from (..., D).

    The columns after the first of the Householder reflection that takes y to a multiple of e_1.
    """
    sign = torch.where(y[..., :1] < 0, -1.0, 1.0).to(y)
    normal = torch.cat([y[..., :1] + sign, y[..., 1:]], dim=-1)
    normal = normal / normal.norm(dim=-1, keepdim=True)
    identity = torch.eye(y.shape[-1], dtype=y.dtype, device=y.device)
    return (identity - 2 * normal.unsqueeze(-1) * normal.unsqueeze(-2))[..., 1:]


def jacobian(S_BC: Tensor, S_Delta: Tensor, y: Tensor) -> Tensor:
    """The derivative of eq (9)'s field at y on the tangent space, in :func:`tangent_basis`.

    With q, w, Delta as in the module's text, D_k = Delta_k(y), sigma the logistic function and
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
    form = ((y.unsqueeze(-2) @ S_BC).squeeze(-2) * y).sum(-1)
    gradient = ((S_BC + S_BC.mT) @ y.unsqueeze(-1)).squeeze(-1)
    w = _orbit_field(S_Delta, y)
    whole = form[..., None, None] * _orbit_jacobian(S_Delta, y) + w.unsqueeze(
        -1
    ) * gradient.unsqueeze(-2)
    basis = tangent_basis(y)
    return basis.mT @ whole @ basis


def settle(
    S_BC: Tensor, S_Delta: Tensor, y0: Tensor, horizon: float = 2000.0, rtol: float = 1e-8
) -> Limits:
    """Follows first tokens until the end of each is known, at most to `horizon`.

    Integrates the orbits of eq (9) by a clock that does not slow down near a zero of the form:
    ``dy/ds = q/(|q| + e) w`` with e a tenth of q's root mean square over the sphere. Where a
    trajectory ends does not depend on the clock. At s = 20, 40, 80, ... those whose end is known
    leave the batch. An end counts as known

    * at a coordinate vector s e_d, when y is in a cap around it that nothing leaves: on the whole
      cap (S_{Delta,d} - S_{Delta,k}) . y has the sign of q for every k, so that |y_d| grows
      (softplus is monotone), and q keeps its sign. A proof, but for the integration's error;
    * at equal steps, when the equilibrium on y's support is within 1e-3 times its slowest
      eigenvalue of y and attracts (every eigenvalue of the Jacobian has a negative real part);
    * at a zero of the form, when |q| decreases along the orbit and the zero, extrapolated
      linearly, is less than 1e-5 away.

    Args:
        S_BC, S_Delta: (n, D, D), float64.
        y0: (n, D), unit rows.
        horizon: longest s; the unit is that of 1/Delta.
    Returns:
        Limits with n entries.
    Raises:
        ValueError: shapes that do not agree, or what :func:`tokensphere.flow.simulate` refuses.
    """
    count, dim = y0.shape
    for name, value in {"S_BC": S_BC, "S_Delta": S_Delta}.items():
        if value.shape != (count, dim, dim):
            raise ValueError(f"{name}: shape {tuple(value.shape)}, takes {(count, dim, dim)}")
    kind = torch.full((count,), KINDS.index("unresolved"), device=y0.device)
    point = y0.clone()
    active = torch.arange(count, device=y0.device)
    start, stop = 0.0, 20.0
    while len(active) and start < horizon:
        B, step = S_BC[active], S_Delta[active]
        clock = 0.1 * _root_mean_square(B)

        def field(y: Tensor, s: Tensor, B=B, step=step, clock=clock) -> Tensor:
            form = _form(B, y)
            return (form / (form.abs() + clock)).unsqueeze(-1) * _orbit_field(step, y)

        window = torch.tensor([start, min(stop, horizon)], dtype=y0.dtype, device=y0.device)
        y = simulate(field, point[active], window, rtol=rtol, atol=rtol / 100).tokens[-1]
        found, end = _recognise(B, step, y)
        kind[active], point[active] = found, end
        active = active[found == KINDS.index("unresolved")]
        start, stop = stop, 2 * stop
    return Limits(kind, point, _orbit_field(S_Delta, point).norm(dim=-1))


def _orbit_field(S_Delta: Tensor, y: Tensor) -> Tensor:
    """w(y) = P_y(Delta(y) * y), (..., D)."""
    return project(y, softplus((y.unsqueeze(-2) @ S_Delta).squeeze(-2)) * y)


def _orbit_jacobian(S_Delta: Tensor, y: Tensor) -> Tensor:
    """The derivative of w in the ambient space, (..., D, D)."""
    inner = (y.unsqueeze(-2) @ S_Delta).squeeze(-2)
    steps = softplus(inner)
    mean = (steps * y * y).sum(-1, keepdim=True)
    g = torch.sigmoid(inner).unsqueeze(-1) * S_Delta.mT  # row k is the gradient of Delta_k
    shared = (y * y).unsqueeze(-2) @ g + 2 * (steps * y).unsqueeze(-2)
    return torch.diag_embed(steps - mean) + y.unsqueeze(-1) * (g - shared)


def _form(S_BC: Tensor, y: Tensor) -> Tensor:
    """q(y) = <y, S_BC y>, (...)."""
    return ((y.unsqueeze(-2) @ S_BC).squeeze(-2) * y).sum(-1)


def _root_mean_square(S_BC: Tensor) -> Tensor:
    """The root mean square of q over the sphere: E q^2 = (2 |S|^2 + (tr S)^2) / (D (D + 2))."""
    S = (S_BC + S_BC.mT) / 2
    dim = S.shape[-1]
    trace = S.diagonal(dim1=-2, dim2=-1).sum(-1)
    return ((2 * (S * S).sum((-1, -2)) + trace**2) / (dim * (dim + 2))).sqrt()


def _recognise(S_BC: Tensor, S_Delta: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The kind and the point of each end that is known by the criteria of :func:`settle`."""
    S = (S_BC + S_BC.mT) / 2
    form, w = _form(S, y), _orbit_field(S_Delta, y)
    kind = torch.full(form.shape, KINDS.index("unresolved"), device=y.device)
    point = y.clone()

    # A zero of the form: log |q| falls at the rate `inflow`; the way left is |q| |w| / inflow.
    inflow = -2 * ((S @ y.unsqueeze(-1)).squeeze(-1) * w).sum(-1)
    way_left = form.abs() * w.norm(dim=-1)
    small = form.abs() < 1e-5 * _root_mean_square(S)
    zero = (form == 0) | (small & (inflow > 0) & (way_left < 1e-5 * inflow))
    kind[zero] = KINDS.index("zero of the form")

    vertex, axis = _in_trapping_cap(S, S_Delta, y, form)
    kind[vertex & ~zero] = KINDS.index("coordinate vector")
    point[vertex & ~zero] = axis[vertex & ~zero]

    slow = (~zero & ~vertex & (w.norm(dim=-1) < 1e-3)).nonzero().squeeze(-1)
    if len(slow):
        rest, near = _attracting_equal_steps(S[slow], S_Delta[slow], y[slow], form[slow])
        kind[slow[near]] = KINDS.index("equal steps")
        point[slow[near]] = rest[near]
    return kind, point


def _in_trapping_cap(S: Tensor, S_Delta: Tensor, y: Tensor, form: Tensor) -> tuple[Tensor, Tensor]:
    """Whether y is in a cap around its nearest s e_d that eq (9) never leaves; and s e_d.

    v . y > 0 on the whole cap of angle psi around s e_d exactly when the angle between v and s e_d
    is below pi/2 - psi.
    """
    rows = torch.arange(len(y), device=y.device)
    top = y.abs().argmax(-1)
    side = y[rows, top].sign()
    axis = torch.zeros_like(y)
    axis[rows, top] = side
    leads = (S_Delta[rows, :, top].unsqueeze(-1) - S_Delta) * form.sign()[:, None, None]
    along = leads[rows, top] * side.unsqueeze(-1)
    angle = torch.arccos((along / leads.norm(dim=-2).clamp(min=1e-300)).clamp(-1, 1))
    psi = 2 * torch.arcsin(((y - axis).norm(dim=-1) / 2).clamp(max=1))
    trapped = angle + psi.unsqueeze(-1) < torch.pi / 2
    trapped[rows, top] = True
    # |q(u) - q(s e_d)| <= 2 |S| |u - s e_d|.
    change = 2 * torch.linalg.matrix_norm(S, 2) * (y - axis).norm(dim=-1)
    keeps_sign = S[rows, top, top] * form.sign() > change
    return trapped.all(-1) & keeps_sign, axis


def _attracting_equal_steps(
    S: Tensor, S_Delta: Tensor, y: Tensor, form: Tensor
) -> tuple[Tensor, Tensor]:
    """The equilibrium on y's support, and whether it attracts y by the criterion of `settle`."""
    rows = torch.arange(len(y), device=y.device)
    support = y.abs() > 1e-4
    first = support.int().argmax(-1)
    # The rows of the system: equal steps on the support, zero off it. Its kernel is the point.
    equal = (S_Delta - S_Delta[rows, :, first].unsqueeze(-1)).mT
    identity = torch.eye(y.shape[-1], dtype=y.dtype, device=y.device).expand_as(equal)
    system = torch.where(support.unsqueeze(-1), equal, identity)
    rest = torch.linalg.svd(system).Vh[..., -1, :] * support
    rest = rest / rest.norm(dim=-1, keepdim=True)
    rest = rest * (rest * y).sum(-1, keepdim=True).sign()
    # rest has the sign of q where the trajectory is, so that this is the Jacobian of what it obeys.
    same_sign = _form(S, rest) * form > 0
    basis = tangent_basis(rest)
    onto = basis.mT @ (form.sign()[:, None, None] * _orbit_jacobian(S_Delta, rest)) @ basis
    slowest = torch.linalg.eigvals(onto).real.amax(-1)
    close = (rest - y).norm(dim=-1) < -1e-3 * slowest
    return rest, same_sign & (slowest < 0) & close
