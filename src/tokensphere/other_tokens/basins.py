"""Where tokens after the first go under shared steps, eq (11): limits and their basins.

With steps Delta(u) = softplus(<alpha, u>), token l moves by

    dx_l/dt = e^{-a Delta(x_l)} P_{x_l}(M_l x_l),    M_l = sum_{j<l} b_lj x_j (S_BC x_j)^T,
    b_lj = Delta(x_j) exp(-a sum_{k=j+1}^{l-1} Delta(x_k)).

M_l does not contain x_l: up to its speed, x_l is the direction of a solution of y' = M_l y. If the
earlier tokens converge exponentially, so does M_l, and x_l tends to an eigenvector of its limit.

One file of over 400 lines, most of which say what its many short formulas take.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.door import at_least, flag, instance, number, positive, takes, tensor, whole

from ..flow import AutoregressiveFlow, SharedStepFlow, project, random_tokens, simulate
from ..flow.checks import check_square, check_tensor, check_tokens
from ..flow.integrate import unit
from .interactions import weights


@takes(
    generator=instance(torch.Generator),
    dim=whole(2),
    gamma=number(),
    symmetric=flag(),
    alpha=at_least(0.0),
    a=positive(),
)
def random_problem(
    generator: torch.Generator,
    dim: int,
    gamma: float = 2.0,
    symmetric: bool = True,
    alpha: float = 0.7,
    a: float = 0.5,
) -> tuple[SharedStepFlow, Tensor]:
    """A random flow of eq (11) and a first token (D,) with <x_1, S_BC x_1> = gamma, up to rounding.

    S_BC is Gaussian, symmetric or not, in general indefinite; only its form at x_1 is set.

    Args:
        dim: D, 2 or more.
        alpha: the deviation of the entries of the flow's alpha.
        a: the flow's a.
    Raises:
        ValueError: a dim below 2, where the sphere is two points.
    """
    if dim < 2:
        raise ValueError(f"dim: got {dim}, takes 2 or more")
    x1 = random_tokens(dim, generator=generator)
    G = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    if symmetric:
        G = (G + G.mT) / 2
    S_BC = G + (gamma - x1 @ G @ x1) * torch.outer(x1, x1)
    direction = alpha * torch.randn(dim, generator=generator, dtype=torch.float64)
    return SharedStepFlow(S_BC, direction, a), x1


@takes(
    generator=instance(torch.Generator),
    x1=tensor("D", dtype="float64", unit=True),
    count=whole(1),
    length=whole(1),
)
def tokens_behind(generator: torch.Generator, x1: Tensor, count: int, length: int) -> Tensor:
    """`count` sequences (count, L, D) of uniform tokens behind the first token x1 (D,)."""
    x = random_tokens(count, length, len(x1), generator=generator)
    x[:, 0] = x1
    return x


@takes(
    generator=instance(torch.Generator),
    dim=whole(2),
    count=whole(1),
    length=whole(4),
    symmetric=flag(),
)
def behind_exception(
    generator: torch.Generator, dim: int, count: int, length: int, symmetric: bool
) -> tuple[SharedStepFlow, Tensor]:
    """A random flow and starts (count, L, D): x_1, -x_1, one exceptional xi, then uniform tokens.

    The first three rest, xi at an unstable equilibrium: integrate with :func:`hold` (flow, 3).

    Args:
        length: L, 4 or more.
        symmetric: whether S_BC is.
    Raises:
        ValueError: a length below 4.
    """
    if length < 4:
        raise ValueError(f"length: got {length}, takes 4 or more")
    flow, x1 = random_problem(generator, dim, symmetric=symmetric)
    x0 = tokens_behind(generator, x1, count, length)
    x0[:, 1] = -x1
    x0[:, 2] = random_tokens(dim - 1, generator=generator) @ kernel_circle(flow.S_BC @ x1)
    return flow, x0


@takes(
    x=tensor("...", "D", dtype="float64", unit=True),
    direction=tensor("D", dtype="float64"),
    value=number(),
)
def with_form(x: Tensor, direction: Tensor, value: float) -> Tensor:
    """The unit vectors nearest to x (..., D) with <., direction> = value.

    Raises:
        ValueError: a value beyond the length of `direction`.
    """
    size = float(direction.norm())
    if abs(value) > size:
        raise ValueError(f"value: got {value}, takes up to |direction| = {size:.3g} in size")
    across = unit(x - (x @ direction).unsqueeze(-1) * direction / size**2)
    return value / size**2 * direction + math.sqrt(1 - (value / size) ** 2) * across


@takes(
    generator=instance(torch.Generator),
    x1=tensor("D", dtype="float64", unit=True),
    count=whole(1),
    length=whole(2),
)
def near_consensus(
    generator: torch.Generator, x1: Tensor, count: int, length: int
) -> tuple[Tensor, Tensor]:
    """Tokens (count, L, D) near +-x1 but for the last, and their signs (count, L-2).

    Tokens 2 to L - 1 are off +-x1 by some 1e-4 to 1, evenly in the logarithm; the last is uniform.
    """
    signs = torch.randint(0, 2, (count, length - 2), generator=generator) * 2.0 - 1
    scale = 10 ** (-4 * torch.rand(count, 1, 1, generator=generator, dtype=torch.float64))
    x = tokens_behind(generator, x1, count, length)
    x[:, 1:-1] = unit(signs[..., None] * x1 + scale * x[:, 1:-1])
    return x, signs


@takes(
    flow=instance(SharedStepFlow),
    x=tensor("...", "L", "D", dtype="float64", unit=True),
    signs=tensor("...", "J", alike=False),
)
def growth_bound(flow: SharedStepFlow, x: Tensor, signs: Tensor) -> Tensor:
    """Eq (27) with sharp constants: a lower bound (...) of d/dt U_L1^2, gamma = <x_1, S_BC x_1>.

        2 |U_L1| (A (gamma - |U_L1|) |U_L1| - |S_BC|^2 sum_{1<j<L} a_Lj |x_j - s_j x_1|)

    Args:
        x: (..., L, D), one first token for all; A is the sum of its a_Lj over j < L.
        signs: (..., L-2), the s_j of tokens 2 to L - 1.
    """
    x1 = x[(0,) * (x.ndim - 1)]
    U, total, far, norm = _near(flow, x, signs)
    return 2 * U.abs() * (total * (x1 @ flow.S_BC @ x1 - U.abs()) * U.abs() - norm**2 * far)


@takes(
    flow=instance(SharedStepFlow),
    x=tensor("...", "L", "D", dtype="float64", unit=True),
    signs=tensor("...", "J", alike=False),
)
def strip_bound(flow: SharedStepFlow, x: Tensor, signs: Tensor) -> Tensor:
    """gamma (A U_L1^2 - |S_BC|^2 sum ...): at most :func:`growth_bound` where |U_L1| <= gamma/2."""
    x1 = x[(0,) * (x.ndim - 1)]
    form, total, far, norm = _near(flow, x, signs)
    return (x1 @ flow.S_BC @ x1) * (total * form**2 - norm**2 * far)


@takes(
    flow=instance(SharedStepFlow),
    x=tensor("...", "L", "D", dtype="float64", unit=True),
    signs=tensor("...", "J", alike=False),
)
def speed_bound(flow: SharedStepFlow, x: Tensor, signs: Tensor) -> Tensor:
    """An upper bound (...) of |dx_L/dt|, of any last token behind tokens near +-x_1.

        sum_{j<L} a_Lj |U_L1| + |S_BC| sum_{1<j<L} a_Lj |x_j - s_j x_1|

    So x_L converges if U_L1 and the distances decay exponentially. Both constants are sharp.
    Arguments as :func:`growth_bound`.
    """
    form, total, far, norm = _near(flow, x, signs)
    return total * form.abs() + norm * far


def _near(flow: SharedStepFlow, x: Tensor, signs: Tensor) -> tuple[Tensor, ...]:
    """U_L1, sum a_Lj over j < L, sum a_Lj |x_j - s_j x_1| over 1 < j < L, (...) each; |S_BC|."""
    x1 = x[(0,) * (x.ndim - 1)]
    a = weights(flow, x)[..., -1, :-1]
    far = (x[..., 1:-1, :] - signs[..., None] * x1).norm(dim=-1)
    norm = torch.linalg.matrix_norm(flow.S_BC, 2)
    return x[..., -1, :] @ (flow.S_BC @ x1), a.sum(-1), (a[..., 1:] * far).sum(-1), norm


@takes(generator=instance(torch.Generator), count=whole(1))
def tied_attractors(
    generator: torch.Generator, count: int
) -> tuple[SharedStepFlow, Tensor, Tensor]:
    """Four tokens, the third exceptional, the fourth attracted by first and third to one degree.

    alpha = 0, x = (x_1, x_1, xi, x_4) with x_1 = e_1, xi = e_2, S_BC = diag(1, q + q^2, -1/2, 3/10)
    and q = e^{-a ln 2}: M_4 is, up to a factor, (q + q^2) times the projection to the plane of x_1
    and xi on that plane, and has smaller eigenvalues across. So x_4 tends to its part in the plane.

    Returns:
        The flow, starts (count, 4, 4) with uniform x_4, and the limits of x_4, (count, 4).
    """
    a = 0.5
    q = math.exp(-a * math.log(2))
    S_BC = torch.diag(torch.tensor([1.0, q + q * q, -0.5, 0.3], dtype=torch.float64))
    eye = torch.eye(4, dtype=torch.float64)
    x0 = tokens_behind(generator, eye[0], count, 4)
    x0[:, 1], x0[:, 2] = eye[0], eye[1]
    return SharedStepFlow(S_BC, 0 * eye[0], a), x0, unit(x0[:, 3] * (eye[0] + eye[1]))


@takes(flow=instance(SharedStepFlow), x=tensor("...", "L", "D", dtype="float64", unit=True))
def token_matrices(flow: SharedStepFlow, x: Tensor) -> Tensor:
    """M_l of this module's text at tokens x (..., L, D): (..., L, D, D), the first of them 0.

    Raises:
        ValueError: tokens off the sphere, or of another dimension than the flow's.
    """
    check_tokens(x, check_square("S_BC", flow.S_BC), 2)
    own = torch.exp(flow.a * softplus(x @ flow.alpha))
    b = weights(flow, x).tril(-1) * own.unsqueeze(-1)
    return torch.einsum("...lj,...jd,...je->...lde", b, x, x @ flow.S_BC.mT)


class Eigenvectors(NamedTuple):
    """How nearly tokens are eigenvectors of the M_l that the earlier ones give, each (..., L).

    Attributes:
        value: <x_l, M_l x_l>.
        off: |M_l x_l - value x_l|; 0 exactly where token l stands still.
        largest: the largest real part of an eigenvalue of M_l.
    """

    value: Tensor
    off: Tensor
    largest: Tensor


@takes(flow=instance(SharedStepFlow), x=tensor("...", "L", "D", dtype="float64", unit=True))
def as_eigenvectors(flow: SharedStepFlow, x: Tensor) -> Eigenvectors:
    """How nearly the tokens x (..., L, D) are eigenvectors of :func:`token_matrices`.

    Where all x_j, j < l, are, the eigenvalues of M_l are real: with M_j x_j = v x_j those of
    M_{j+1} are e^{-a Delta(x_j)} v + Delta(x_j) <x_j, S_BC x_j>, and e^{-a Delta(x_j)} times the
    others of M_j.

    Raises:
        ValueError: as :func:`token_matrices`.
    """
    M = token_matrices(flow, x)
    moved = torch.einsum("...lde,...le->...ld", M, x)
    off = project(x, moved).norm(dim=-1)
    return Eigenvectors((moved * x).sum(-1), off, torch.linalg.eigvals(M).real.amax(-1))


@takes(flow=instance(SharedStepFlow), count=whole(0))
def hold(flow: SharedStepFlow, count: int) -> AutoregressiveFlow:
    """Eq (11) with the first `count` tokens held: what follows tokens at an unstable equilibrium.

    Integrated, such tokens would leave it by rounding.
    """

    def coefficients(x: Tensor) -> Tensor:
        A = flow.attention(x)
        return torch.cat([torch.zeros_like(A[..., :count, :]), A[..., count:, :]], -2)

    return AutoregressiveFlow(coefficients)


@takes(
    x=tensor("...", "D", dtype="float64", unit=True),
    x1=tensor("...", "D", dtype="float64", unit=True),
)
def distance_to_pair(x: Tensor, x1: Tensor) -> Tensor:
    """The distance of unit vectors x (..., D) from the nearer of x1 and -x1: (...)."""
    return (2 - 2 * (x @ x1).abs()).clamp(min=0).sqrt()


def _across(x1: Tensor, x2: Tensor) -> Tensor:
    """The unit vector u orthogonal to x1 in the half plane of x2, (..., D)."""
    check_tokens(x1, None, 1, "x1")
    check_tokens(x2, len(x1), 1, "x2")
    u = x2 - (x2 @ x1).unsqueeze(-1) * x1
    if (u.norm(dim=-1) < 1e-12).any():
        raise ValueError("x2: is x1 or -x1, takes another point: these stand still")
    return unit(u)


@takes(
    S_BC=tensor("...", "D", "D", dtype="float64"),
    x1=tensor("...", "D", dtype="float64", unit=True),
    x2=tensor("...", "D", dtype="float64", unit=True),
)
def second_limit(S_BC: Tensor, x1: Tensor, x2: Tensor) -> Tensor:
    """The limit of the second token in closed form, (..., D) for x2 (..., D), not +-x1.

    Let gamma = <x_1, S_BC x_1>, g = <x_2, S_BC x_1>, u the unit vector of x_2 across x_1 and beta =
    <u, S_BC x_1>. For gamma >= 0 it is sign(g) x_1, and x_2 itself where g = 0. For gamma < 0 it is
    (beta x_1 - gamma u) / sqrt(beta^2 + gamma^2), where <., S_BC x_1> = 0.

    Raises:
        ValueError: x2 = +-x1, or vectors off the sphere.
    """
    u, direction = _across(x1, x2), S_BC @ x1
    gamma = float(x1 @ direction)
    if gamma >= 0:
        g = (x2 @ direction).unsqueeze(-1)
        return torch.where(g == 0, x2, g.sign() * x1)
    limit = (u @ direction).unsqueeze(-1) * x1 - gamma * u
    return unit(limit)


@takes(
    flow=instance(SharedStepFlow),
    x1=tensor("...", "D", dtype="float64", unit=True),
    x2=tensor("...", "D", dtype="float64", unit=True),
)
def second_rate(flow: SharedStepFlow, x1: Tensor, x2: Tensor) -> Tensor:
    """The exponential rate at which the second token reaches :func:`second_limit`, (...).

    |gamma| Delta(x_1) e^{-a Delta(limit)}; 0 for gamma = 0, where :func:`second_constant` says how.
    """
    gamma = (x1 @ flow.S_BC @ x1).abs()
    limit = second_limit(flow.S_BC, x1, x2)
    return gamma * softplus(x1 @ flow.alpha) * torch.exp(-flow.a * softplus(limit @ flow.alpha))


@takes(
    flow=instance(SharedStepFlow),
    x1=tensor("...", "D", dtype="float64", unit=True),
    x2=tensor("...", "D", dtype="float64", unit=True),
)
def second_constant(flow: SharedStepFlow, x1: Tensor, x2: Tensor) -> Tensor:
    """The limit of t |x_2(t) - limit| where <x_1, S_BC x_1> = 0, (...): the approach is like 1/t.

    It is the reciprocal of Delta(x_1) e^{-a Delta(limit)} |beta|, beta as in :func:`second_limit`.
    """
    limit = second_limit(flow.S_BC, x1, x2)
    beta = (_across(x1, x2) @ flow.S_BC @ x1).abs()
    front = softplus(x1 @ flow.alpha) * torch.exp(-flow.a * softplus(limit @ flow.alpha))
    return 1 / (front * beta)


@takes(
    S_BC=tensor("...", 3, 3, dtype="float64"),
    x1=tensor("...", "D", dtype="float64", unit=True),
    xi=tensor("...", "D", dtype="float64", unit=True),
)
def third_limit(S_BC: Tensor, x1: Tensor, xi: Tensor) -> Tensor:
    """Up to its sign, where the third token goes if <x_1, S_BC x_1> < 0, for D = 3: (..., 3).

    xi is the limit of the second, :func:`second_limit`. A third token off a null set goes to +-xi
    where <xi, S_BC xi> > 0, and otherwise to the unit vectors across S_BC x_1 and S_BC xi.

    Args:
        S_BC: (..., 3, 3).
        x1, xi: (..., 3), unit vectors.
    Raises:
        ValueError: another dimension, or vectors off the sphere.
    """
    dim = check_square("S_BC", S_BC)
    if dim != 3:
        raise ValueError(f"S_BC: {dim} dimensions, takes 3")
    check_tokens(x1, dim, 1, "x1")
    check_tokens(xi, dim, 1, "xi")
    first, second = ((S_BC @ x.unsqueeze(-1))[..., 0] for x in (x1, xi))
    leads = (xi * second).sum(-1, keepdim=True) > 0
    return torch.where(leads, xi, unit(torch.linalg.cross(first, second)))


@takes(frames=tensor("...", 2, "D", dtype="float64"), angles=tensor("...", "m", dtype="float64"))
def great_circles(frames: Tensor, angles: Tensor) -> Tensor:
    """cos(angle) u + sin(angle) v, (..., m, D), for orthonormal u, v: `frames` (..., 2, D).

    Args:
        angles: (..., m), radians.
    """
    u, v = frames.unsqueeze(-3).unbind(-2)
    return angles.cos().unsqueeze(-1) * u + angles.sin().unsqueeze(-1) * v


@takes(generator=instance(torch.Generator), dim=whole(2))
def random_circle(generator: torch.Generator, dim: int) -> Tensor:
    """An orthonormal pair, (2, D): a great circle of uniform direction."""
    G = torch.randn(dim, 2, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(G).Q.mT


@takes(direction=tensor("D", dtype="float64", nonzero=True, D=2))
def kernel_circle(direction: Tensor) -> Tensor:
    """An orthonormal basis (D-1, D) of what is orthogonal to `direction` (D,); D = 3: a circle."""
    return torch.linalg.svd(direction.unsqueeze(0)).Vh[1:]


@takes(
    generator=instance(torch.Generator),
    direction=tensor("D", dtype="float64", nonzero=True, D=2),
    count=whole(1),
)
def arc_on_one_side(generator: torch.Generator, direction: Tensor, count: int) -> Tensor:
    """`count` tokens (count, D) along a random arc of the half sphere <., direction> > 0."""
    ends = random_tokens(2, len(direction), generator=generator)
    ends = ends * (ends @ direction).sign().unsqueeze(-1)
    share = torch.linspace(0, 1, count, dtype=torch.float64).unsqueeze(-1)
    points = (1 - share) * ends[0] + share * ends[1]
    return unit(points)


class Crossings(NamedTuple):
    """Where limits of last tokens change along great circles.

    Attributes:
        low: (n,), radians: where <limit, S_BC x_1> goes from negative to positive, the lower end of
            a bracket.
        width: of the brackets.
        changes: (n,), how often the sign of that form changes along each circle, on the first grid.
    """

    low: Tensor
    width: float
    changes: Tensor

    @property
    def middle(self) -> Tensor:
        return self.low + self.width / 2


@takes(
    flow=instance(SharedStepFlow),
    earlier=tensor("n", "J", "D", dtype="float64", unit=True),
    frames=tensor("n", 2, "D", dtype="float64"),
    points=whole(2),
    rounds=whole(1),
    stop=positive(),
)
def crossings(
    flow: SharedStepFlow,
    earlier: Tensor,
    frames: Tensor,
    points: int = 64,
    rounds: int = 2,
    stop: float = 20.0,
) -> Crossings:
    """Brackets of the exceptional last tokens on great circles, for <x_1, S_BC x_1> > 0.

    The ends of a bracket have limits on different sides of <., S_BC x_1> = 0: if they are -x_1 and
    x_1, a token between has neither.

    Args:
        earlier: (n, L-1, D), the other tokens; the same first token in all.
        frames: (n, 2, D), orthonormal: the circles of last tokens, :func:`great_circles`.
        points, rounds: each round divides the bracket, at first the whole circle, by `points`.
        stop: the time at which the sign is read.
    Raises:
        ValueError: a form that is not positive, or shapes that do not go together.
    """
    check_tensor("frames", frames, 2)
    if frames.shape != (len(earlier), 2, earlier.shape[-1]):
        raise ValueError(
            f"frames: shape {tuple(frames.shape)}, takes {(len(earlier), 2, earlier.shape[-1])}"
        )
    x1 = earlier[0, 0]
    direction = flow.S_BC @ x1
    if float(x1 @ direction) <= 0:
        raise ValueError(f"earlier: <x_1, S_BC x_1> = {float(x1 @ direction):.3g}, takes above 0")
    low = torch.zeros(len(earlier), dtype=torch.float64)
    grid = torch.arange(points + 1, dtype=torch.float64) / points
    times = torch.tensor([0.0, stop], dtype=torch.float64)
    width, changes = 2 * math.pi, low
    for turn in range(rounds):
        angles = low[:, None] + width * grid
        before = earlier[:, None].expand(-1, points + 1, -1, -1)
        x0 = torch.cat([before, great_circles(frames, angles)[:, :, None]], -2)
        end = simulate(flow, x0, times, 1e-6, 1e-9).tokens[-1, ..., -1, :]
        sign = (end @ direction).sign()
        if turn == 0:
            changes = (sign[:, 1:] != sign[:, :-1]).sum(-1)
        up = (sign[:, :-1] < 0) & (sign[:, 1:] >= 0)
        low = angles.gather(-1, up.double().argmax(-1, keepdim=True))[:, 0]
        width = width / points
    return Crossings(low, width, changes)
