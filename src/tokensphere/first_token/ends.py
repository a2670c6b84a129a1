"""Follows first tokens until the end of each is certain."""

from dataclasses import dataclass

import torch
from scipy.linalg import solve_continuous_lyapunov
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.door import positive, takes, tensor

from ..flow import simulate
from .field import Bounds, form, orbit_field, orbit_jacobian, tangent_basis

KINDS = ("coordinate vector", "equal steps", "zero of the form", "unresolved")
"""What a first token can end at, in the order of :attr:`Limits.kind`."""

VERTEX, EQUAL, ZERO, UNRESOLVED = range(4)

CLOSE = 1e-5
"""How near a zero of the form a token must be for its end to count as known."""


@dataclass(frozen=True, eq=False)
class Limits:
    """Ends of trajectories: ``kind`` (...), an index into KINDS, and ``point`` (..., D).

    The point of a coordinate vector or of equal steps is the equilibrium itself, that of a zero of
    the form is within CLOSE of it, that of an unresolved trajectory is where it was last. ``speed``
    (...) is the orbit's speed |w| there.
    """

    kind: Tensor
    point: Tensor
    speed: Tensor


@takes(
    S_BC=tensor("n", "D", "D", dtype="float64", largest=1e100, n=0),
    S_Delta=tensor("n", "D", "D", dtype="float64", largest=1e3, n=0),
    y0=tensor("n", "D", dtype="float64", unit=True, n=0),
    horizon=positive(),
    rtol=positive(),
)
def settle(
    S_BC: Tensor, S_Delta: Tensor, y0: Tensor, horizon: float = 2000.0, rtol: float = 1e-8
) -> Limits:
    """Follows first tokens until the end of each is known, at most to `horizon`.

    Integrates the orbits of eq (9) by a clock that does not slow down near a zero of the form:
    ``dy/ds = q/(|q| + e) w`` with e a tenth of q's root mean square over the sphere. Where a
    trajectory ends does not depend on the clock. At s = 20, 40, 80, ... those whose end is known
    leave the batch. An end is known when y is in a set that is proved to lead there:

    * to a coordinate vector s e_d, a cap around it that nothing leaves: on the whole cap
      (S_{Delta,d} - S_{Delta,k}) . y has the sign of q for every k, so that |y_d| grows (softplus
      is monotone), and q keeps its sign;
    * to a point p of equal steps, a sublevel set of a quadratic Lyapunov function of the linear
      part at p, so small that the bounded second derivative of w cannot outweigh the linear part;
    * to a zero of the form, a ball in which |q| decreases at a rate bounded from below, and from
      which the way left, at most |q| sup|w| / rate and at most CLOSE, does not lead out.

    So the answer is proved up to the error of the integration before, and rounding.

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
    kind = torch.full((count,), UNRESOLVED, device=y0.device)
    point = y0.clone()
    active = torch.arange(count, device=y0.device)
    start, stop = 0.0, 20.0
    while True:
        found, end = _recognise(S_BC[active], S_Delta[active], point[active])
        kind[active], point[active] = found, end
        active = active[found == UNRESOLVED]
        if not len(active) or start >= horizon:
            break
        B, step = S_BC[active], S_Delta[active]
        # S_BC = 0 has no clock and moves nothing.
        clock = 0.1 * _root_mean_square(B).clamp(min=1e-300)

        def field(y: Tensor, s: Tensor, B=B, step=step, clock=clock) -> Tensor:
            q = form(B, y)
            return (q / (q.abs() + clock)).unsqueeze(-1) * orbit_field(step, y)

        window = torch.tensor([start, min(stop, horizon)], dtype=y0.dtype, device=y0.device)
        path = simulate(field, point[active], window, rtol=rtol, atol=rtol / 100)
        point[active] = path.tokens[-1]
        start, stop = stop, 2 * stop
    return Limits(kind, point, orbit_field(S_Delta, point).norm(dim=-1))


def _root_mean_square(S_BC: Tensor) -> Tensor:
    """The root mean square of q over the sphere: E q^2 = (2 |S|^2 + (tr S)^2) / (D (D + 2))."""
    S = (S_BC + S_BC.mT) / 2
    dim = S.shape[-1]
    trace = S.diagonal(dim1=-2, dim2=-1).sum(-1)
    return ((2 * (S * S).sum((-1, -2)) + trace**2) / (dim * (dim + 2))).sqrt()


def _recognise(S_BC: Tensor, S_Delta: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The kind and the point of each end that is known by the criteria of :func:`settle`."""
    S = (S_BC + S_BC.mT) / 2
    q, w = form(S, y), orbit_field(S_Delta, y)
    kind = torch.full(q.shape, UNRESOLVED, device=y.device)
    point = y.clone()

    zero = (q == 0) | _flows_into_a_zero(S, S_Delta, y, q, w)
    kind[zero] = ZERO

    vertex, axis = _in_trapping_cap(S, S_Delta, y, q)
    vertex = vertex & ~zero
    kind[vertex], point[vertex] = VERTEX, axis[vertex]

    # A coordinate counts as on its way to 0 below a threshold. The certificate settles which.
    for threshold in (1e-4, 1e-3, 1e-2):
        slow = ((kind == UNRESOLVED) & (w.norm(dim=-1) < 0.05)).nonzero().squeeze(-1)
        if len(slow):
            rest, certain = _attracted_to_equal_steps(
                S[slow], S_Delta[slow], y[slow], q[slow], threshold
            )
            single = (rest[certain] != 0).sum(-1) == 1
            kind[slow[certain]] = torch.where(single, VERTEX, EQUAL)
            point[slow[certain]] = rest[certain]
    return kind, point


def _flows_into_a_zero(S: Tensor, S_Delta: Tensor, y: Tensor, q: Tensor, w: Tensor) -> Tensor:
    """Whether a zero of the form within CLOSE of y is proved to be the limit.

    Along dy/ds = sign(q) w, d|q|/ds = kappa = 2 <S y, w>. In the ball where kappa, of
    Lipschitz constant `steepness`, stays below half its value here, the way to the zero is at most
    2 |q| sup|w| / |kappa|; it must end inside.
    """
    bounds = Bounds.of(S_Delta)
    inflow = -2 * ((S @ y.unsqueeze(-1)).squeeze(-1) * w).sum(-1)
    steepness = 2 * torch.linalg.matrix_norm(S, 2) * (bounds.value + bounds.first)
    way_left = 2 * q.abs() * bounds.value / inflow
    return (inflow > 0) & (way_left < CLOSE) & (way_left * steepness < inflow / 2)


def _in_trapping_cap(S: Tensor, S_Delta: Tensor, y: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """Whether y is in a cap around its nearest s e_d that eq (9) never leaves; and s e_d.

    v . y > 0 on the whole cap of angle psi around s e_d exactly when the angle between v and s e_d
    is below pi/2 - psi.
    """
    rows = torch.arange(len(y), device=y.device)
    top = y.abs().argmax(-1)
    side = y[rows, top].sign()
    axis = torch.zeros_like(y)
    axis[rows, top] = side
    leads = (S_Delta[rows, :, top].unsqueeze(-1) - S_Delta) * q.sign()[:, None, None]
    along = leads[rows, top] * side.unsqueeze(-1)
    angle = torch.arccos((along / leads.norm(dim=-2).clamp(min=1e-300)).clamp(-1, 1))
    psi = 2 * torch.arcsin(((y - axis).norm(dim=-1) / 2).clamp(max=1))
    trapped = angle + psi.unsqueeze(-1) < torch.pi / 2
    # A coordinate that is zero stays zero.
    trapped |= y == 0
    trapped[rows, top] = True
    # |q(u) - q(s e_d)| <= 2 |S| |u - s e_d|.
    change = 2 * torch.linalg.matrix_norm(S, 2) * (y - axis).norm(dim=-1)
    keeps_sign = S[rows, top, top] * q.sign() > change
    return trapped.all(-1) & keeps_sign, axis


def _attracted_to_equal_steps(
    S: Tensor, S_Delta: Tensor, y: Tensor, q: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    """The equilibrium on the support of the coordinates above `threshold`, and whether y is proved
    to tend to it.

    With a the tangent part of y - p, J the linear part of sign(q) w there and J^T P + P J = -1,
    d(a^T P a)/ds = -|a|^2 + 2 a^T P r with |r| <= |y - p|^2 sup|D^2 w| / 2, and |y - p|^2 <=
    4/3 |a|^2 within 60 degrees of p. So a^T P a decreases while |a| < 3 / (4 |P| sup|D^2 w|), thus
    in every sublevel set inside that ball, where q must keep its sign too.
    """
    rest = _equal_steps(S_Delta, y, y.abs() > threshold)
    shared = (softplus((rest.unsqueeze(-2) @ S_Delta).squeeze(-2)) * rest * rest).sum(-1)
    basis = tangent_basis(rest)
    linear = basis.mT @ (q.sign()[:, None, None] * orbit_jacobian(S_Delta, rest)) @ basis
    a = (basis.mT @ (y - rest).unsqueeze(-1)).squeeze(-1)
    stays = form(S, rest) * q.sign() / (2 * torch.linalg.matrix_norm(S, 2).clamp(min=1e-300))
    near = (rest - y).norm(dim=-1) < 0.5
    stable = torch.linalg.eigvals(linear).real.amax(-1) < 0
    curvature = Bounds.of(S_Delta, shared).second
    certain = torch.zeros_like(near)
    for index in (near & stable & (stays > 0)).nonzero().squeeze(-1).tolist():
        J = linear[index].cpu().numpy()
        P = torch.from_numpy(solve_continuous_lyapunov(J.T, -torch.eye(len(J)).numpy())).to(y)
        weights = torch.linalg.eigvalsh(P)
        if weights[0] <= 0:
            continue  # J is stable by less than rounding
        radius = torch.minimum(
            0.75 / (weights[-1] * curvature[index]),
            stays[index].clamp(max=1) * 0.75**0.5,  # |y - p| <= |a| (4/3)^(1/2)
        )
        certain[index] = a[index] @ P @ a[index] < weights[0] * radius**2
    return rest, certain


def _equal_steps(S_Delta: Tensor, y: Tensor, support: Tensor) -> Tensor:
    """The unit vector with equal steps on `support` (n, D) and zero off it, on y's side."""
    rows = torch.arange(len(y), device=y.device)
    first = support.int().argmax(-1)
    # Rows of the system: equal steps on the support, zero off it. Its kernel is the point.
    equal = (S_Delta - S_Delta[rows, :, first].unsqueeze(-1)).mT
    identity = torch.eye(y.shape[-1], dtype=y.dtype, device=y.device).expand_as(equal)
    system = torch.where(support.unsqueeze(-1), equal, identity)
    rest = torch.linalg.svd(system).Vh[..., -1, :] * support
    rest = rest / rest.norm(dim=-1, keepdim=True).clamp(min=1e-300)
    return rest * torch.where((rest * y).sum(-1, keepdim=True) < 0, -1.0, 1.0)
