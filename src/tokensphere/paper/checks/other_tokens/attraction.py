"""Claims of sections 3.2 and B.2: Theorems 3.5 and B.8, Proposition B.11, Remarks 3.7 and B.12."""

import math

import sympy
import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.flow import AutoregressiveFlow, SharedStepFlow, Trajectory, random_tokens, simulate
from tokensphere.other_tokens import interaction_speeds, interactions
from tokensphere.paper.ledger import Evidence
from tokensphere.rates import fit_exponential


def problem(
    generator: torch.Generator,
    dim: int,
    gamma: float = 2.0,
    symmetric: bool = True,
    alpha: float = 0.7,
    a: float = 0.5,
) -> tuple[SharedStepFlow, Tensor]:
    """A random flow of eq (11) and a first token (D,) with <x_1, S_BC x_1> = gamma, up to rounding.

    S_BC is Gaussian, symmetric or not, in general indefinite; only its form at x_1 is set.
    """
    x1 = random_tokens(dim, generator=generator)
    G = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    if symmetric:
        G = (G + G.mT) / 2
    S_BC = G + (gamma - x1 @ G @ x1) * torch.outer(x1, x1)
    weights = alpha * torch.randn(dim, generator=generator, dtype=torch.float64)
    return SharedStepFlow(S_BC, weights, a), x1


def starts(generator: torch.Generator, x1: Tensor, count: int, length: int) -> Tensor:
    """Random tokens (count, L, D) behind the first token x1."""
    x0 = random_tokens(count, length, len(x1), generator=generator)
    x0[:, 0] = x1
    return x0


def ends(flow, x0: Tensor, stop: float, rtol: float = 1e-6) -> Tensor:
    """The tokens at time `stop`, (..., L, D)."""
    return simulate(flow, x0, _times(stop, 2), rtol, rtol * 1e-3).tokens[-1]


def along(x: Tensor, direction: Tensor) -> Tensor:
    """<x_l, direction>, (..., L)."""
    return x @ direction


def crossings(
    flow: SharedStepFlow,
    earlier: Tensor,
    frames: Tensor,
    points: int = 64,
    rounds: int = 2,
    stop: float = 20.0,
) -> tuple[Tensor, Tensor]:
    """Where on a great circle of last tokens the limit changes from -x_1 to +x_1.

    Args:
        earlier: (n, L-1, D), the other tokens, the same first token in all.
        frames: (n, 2, D), orthonormal: the circle cos(angle) u + sin(angle) v.
        rounds: each divides the bracket by `points`.
    Returns:
        The lower ends of the brackets, (n,), of width 2 pi / points^rounds; and how often the limit
        changes along each circle, (n,), on the first grid.
    """
    count, width = len(earlier), 2 * math.pi
    low = torch.zeros(count, dtype=torch.float64)
    direction = flow.S_BC @ earlier[0, 0]
    changes = None
    for _ in range(rounds):
        angles = low[:, None] + width * torch.arange(points + 1, dtype=torch.float64) / points
        last = on_circle(frames, angles)
        x0 = torch.cat([earlier[:, None].expand(-1, points + 1, -1, -1), last[:, :, None]], -2)
        sign = along(ends(flow, x0, stop)[..., -1, :], direction).sign()
        up = (sign[:, :-1] < 0) & (sign[:, 1:] >= 0)
        if changes is None:
            changes = (sign[:, 1:] != sign[:, :-1]).sum(-1)
        index = up.double().argmax(-1, keepdim=True)
        low = angles.gather(-1, index)[:, 0]
        width = width / points
    return low, changes


def on_circle(frames: Tensor, angles: Tensor) -> Tensor:
    """Points (n, m, D) at angles (n, m) of the great circles of `frames`, (n, 2, D)."""
    return (
        angles.cos()[..., None] * frames[:, None, 0] + angles.sin()[..., None] * frames[:, None, 1]
    )


def arc_of_second_tokens(
    generator: torch.Generator, direction: Tensor, count: int, dim: int
) -> Tensor:
    """Tokens (count, D) on a segment in the half <x_2, direction> > 0 of the sphere."""
    ends = random_tokens(2, dim, generator=generator)
    ends = ends * (ends @ direction).sign()[:, None]
    share = torch.linspace(0, 1, count, dtype=torch.float64)[:, None]
    points = (1 - share) * ends[0] + share * ends[1]
    return points / points.norm(dim=-1, keepdim=True)


def frame(generator: torch.Generator, dim: int) -> Tensor:
    """Two orthonormal vectors, (2, D)."""
    G = torch.randn(dim, 2, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(G).Q.mT


def second_limit(S_BC: Tensor, x1: Tensor, x2: Tensor) -> Tensor:
    """The limit of the second token, in closed form, (..., D) for x2 (..., D), not +-x1.

    With gamma = <x1, S x1>: sign(<x2, S x1>) x1 if gamma >= 0, and x2 itself where that sign is 0.
    For gamma < 0 the point <., S x1> = 0 of the half circle from x1 through x2 to -x1.
    """
    direction = S_BC @ x1
    gamma = float(x1 @ direction)
    g = (x2 @ direction).unsqueeze(-1)
    if gamma >= 0:
        return torch.where(g == 0, x2, g.sign() * x1)
    u = x2 - (x2 @ x1).unsqueeze(-1) * x1
    u = u / u.norm(dim=-1, keepdim=True)
    limit = (u @ direction).unsqueeze(-1) * x1 - gamma * u
    return limit / limit.norm(dim=-1, keepdim=True)


def _times(stop: float, count: int) -> Tensor:
    return torch.linspace(0, stop, count, dtype=torch.float64)


def _away(x: Tensor, x1: Tensor) -> Tensor:
    """The largest distance of a token from {x1, -x1}, (...)."""
    return (2 - 2 * (x @ x1).abs()).clamp(min=0).sqrt().amax(-1)


def null_set(generator: torch.Generator, stated: bool) -> Evidence:
    """Stated: the exceptional third tokens are the same whatever the second. Corrected: they are
    two on a circle, for each second token, and random starts reach +-x_1."""
    dim, count = 3, 5
    flow, x1 = problem(generator, dim)
    direction = flow.S_BC @ x1
    x2 = arc_of_second_tokens(generator, direction, count, dim)
    earlier = torch.stack([x1.expand(count, -1), x2], -2)
    circle = frame(generator, dim).expand(count, -1, -1)
    found, changes = crossings(flow, earlier, circle, points=24, rounds=3)
    turned = torch.remainder(found - found[0] + math.pi, 2 * math.pi) - math.pi
    spread = float(turned.max() - turned.min())
    numbers = {
        "second tokens": count,
        "exceptional third tokens on the circle": changes.tolist(),
        "spread of one of them as x_2 moves, radians": round(spread, 3),
        "resolution": round(2 * math.pi / 24**3, 5),
    }
    if stated:
        return Evidence(spread < 3 * 2 * math.pi / 24**3, numbers)
    x0 = starts(generator, x1, 300, 4)
    numbers["random starts"] = len(x0)
    numbers["not at +-x_1 at t = 60"] = int((_away(ends(flow, x0, 60), x1) > 1e-3).sum())
    return Evidence(bool((changes == 2).all()) and numbers["not at +-x_1 at t = 60"] == 0, numbers)


def conditions(generator: torch.Generator, stated: bool) -> Evidence:
    """Starts that the theorem excludes: do they fail to reach +-x_1?"""
    dim, count = 3, 20
    flow, x1 = problem(generator, dim)
    direction = flow.S_BC @ x1
    size = direction.norm()

    def with_form(value: float, points: Tensor) -> Tensor:
        """Points of the sphere with <x, S x_1> = value."""
        across = points - (points @ direction).unsqueeze(-1) * direction / size**2
        across = across / across.norm(dim=-1, keepdim=True)
        return value / size**2 * direction + math.sqrt(1 - (value / float(size)) ** 2) * across

    groups = {}
    for name, token, value in (
        ("<x_3, S x_1> = 0", 2, 0.0),
        ("<x_2, S x_1> = 1", 1, 1.0),
        ("<x_3, S x_1> = -1", 2, -1.0),
    ):
        x0 = starts(generator, x1, count, 3)
        x0[:, token] = with_form(value, x0[:, token])
        groups[name] = x0
    for name, sign in (("x_3 = x_1", 1), ("x_3 = -x_1", -1)):
        x0 = starts(generator, x1, count, 3)
        x0[:, 2] = sign * x1
        groups[name] = x0
    end = ends(flow, torch.cat(list(groups.values())), 60).split(count)
    numbers = {
        name: f"{int((_away(x, x1) < 1e-3).sum())} of {count} reach +-x_1"
        for name, x in zip(groups, end, strict=True)
    }
    reached = [bool((_away(x, x1) < 1e-3).all()) for x in end]
    if stated:
        return Evidence(not any(reached), numbers)
    x0 = starts(generator, x1, count, 2)
    x0[:, 1] = with_form(0.0, x0[:, 1])
    still = float(flow(x0).abs().max())
    numbers["speed where <x_2, S x_1> = 0"] = still
    # Twice the S_BC is the same motion at twice the speed: the value 1 becomes 2.
    fast = SharedStepFlow(2 * flow.S_BC, flow.alpha, flow.a)
    numbers["2 S_BC against twice the speed"] = float((fast(x0) - 2 * flow(x0)).abs().max())
    return Evidence(all(reached) and still < 1e-12, numbers)


def trichotomy(generator: torch.Generator, gamma: float) -> Evidence:
    """Random starts end at consensus; none has a limit with <x_k, S x_1> = 0."""
    flow, x1 = problem(generator, 3, gamma=gamma)
    x = ends(flow, starts(generator, x1, 200, 4), 60)
    consensus = _away(x, x1) < 1e-3
    in_K = (along(x, flow.S_BC @ x1)[:, 1:].abs() < 1e-3).any(-1)
    return Evidence(
        bool(consensus.all()) and not bool(in_K.any()),
        {
            "gamma": gamma,
            "starts": len(x),
            "at consensus": int(consensus.sum()),
            "in K": int(in_K.sum()),
        },
    )


def nonlinear_flow(flow: SharedStepFlow, S) -> AutoregressiveFlow:
    """Eq (25) with a map S, (..., D) -> (..., D), in place of the matrix S_BC of `flow`."""

    def coefficients(x: Tensor) -> Tensor:
        steps = softplus(x @ flow.alpha)
        elapsed = steps.cumsum(-1)
        decay = torch.exp(-flow.a * (elapsed.unsqueeze(-1) - elapsed.unsqueeze(-2)).tril())
        return (x @ S(x).mT) * steps.unsqueeze(-2) * decay

    return AutoregressiveFlow(coefficients)


def nonlinear(generator: torch.Generator, odd: bool) -> Evidence:
    """Theorem B.8 for a nonlinear continuous S_BC with <x_1, S(x_1)> > 0."""
    linear, x1 = problem(generator, 3, gamma=1.0, alpha=0.0)
    if odd:
        S = lambda x: x @ linear.S_BC.mT + (x @ x1).unsqueeze(-1) ** 3 * x1  # noqa: E731
    else:
        S = lambda x: x @ linear.S_BC.mT + 10 * (x @ x1).unsqueeze(-1) ** 2 * x1  # noqa: E731
    x = ends(nonlinear_flow(linear, S), starts(generator, x1, 100, 3), 40)
    y, z = random_tokens(2, 100, 3, generator=generator)
    missed = int((_away(x, x1) > 1e-3).sum())
    return Evidence(
        missed == 0,
        {
            "S": "S x + <x, x_1>^3 x_1" if odd else "S x + 10 <x, x_1>^2 x_1",
            "<x_1, S(x_1)>": float(x1 @ S(x1)),
            "<x_1, S(-x_1)>": float(x1 @ S(-x1)),
            "not symmetric by": float(((y * S(z)).sum(-1) - (S(y) * z).sum(-1)).abs().max()),
            "of 100 starts not at consensus": missed,
        },
    )


def first_exception(generator: torch.Generator, stated: bool) -> Evidence:
    """Which k Proposition B.11 names when the fourth of four tokens is the exceptional one."""
    dim = 3
    flow, x1 = problem(generator, dim)
    earlier = starts(generator, x1, 1, 3)
    circle = frame(generator, dim)[None]
    low, _ = crossings(flow, earlier, circle, points=48, rounds=2)
    bracket = on_circle(circle, low[:, None] + torch.tensor([[0.0, 2 * math.pi / 48**2]]).double())
    x0 = torch.cat([earlier.expand(2, -1, -1), bracket[0][:, None]], -2)
    side = (ends(flow, x0, 60) @ x1).round(decimals=3)
    agree = side[0] == side[1]
    # The first token whose limit changes between two starts this close: one between has neither.
    first = int((~agree).nonzero()[0, 0]) + 1
    reach = agree.tolist()
    one_holds = [k for k in (3, 4) if all(reach[:k]) != (all(reach[: k - 1]) and not reach[k - 1])]
    literal = min(one_holds)
    numbers = {
        "limits along x_1, lower start": side[0].tolist(),
        "limits along x_1, upper start": side[1].tolist(),
        "first exceptional token": first,
        "least k at which exactly one alternative holds": literal,
    }
    return Evidence(first == literal if stated else first == 4, numbers)


def reflection(generator: torch.Generator, weights_at: str) -> Evidence:
    """Does the trajectory with x_2 and x_4 reflected solve eq (25) too?"""
    flow, x1 = problem(generator, 4)
    x = starts(generator, x1, 20, 5)
    signs = torch.tensor([1, -1, 1, -1, 1], dtype=torch.float64)
    turned = signs[:, None] * x
    if weights_at == "reflected":
        field = flow(turned)
    else:
        A = flow.attention(x) * signs[:, None] * signs  # a_ij at x, U_ij at the reflected tokens
        field = AutoregressiveFlow(lambda _: A)(turned)
    off = float((signs[:, None] * flow(x) - field).abs().max())
    return Evidence(off < 1e-12, {"a_ij at": f"the {weights_at} tokens", "field off by": off})


def growth(generator: torch.Generator, strip: bool) -> Evidence:
    """Eq (27) with c = gamma sum_j a_Lj and C e^{-sigma t} = 8 |S|^3 sum_j a_Lj |x_j - s_j x_1|."""
    count, length, dim = 4000, 4, 3
    flow, x1 = problem(generator, dim, symmetric=False)
    S_BC = flow.S_BC
    gamma, norm = float(x1 @ S_BC @ x1), float(torch.linalg.matrix_norm(S_BC, 2))
    signs = torch.randint(0, 2, (count, length - 2), generator=generator) * 2.0 - 1
    scale = 10 ** (-4 * torch.rand(count, 1, 1, generator=generator, dtype=torch.float64))
    x = starts(generator, x1, count, length)
    near = signs[..., None] * x1 + scale * x[:, 1:-1]
    x[:, 1:-1] = near / near.norm(dim=-1, keepdim=True)
    x[: count // 2, -1] = x1 + 0.3 * x[: count // 2, -1]  # some where U is large
    x[:, -1] = x[:, -1] / x[:, -1].norm(dim=-1, keepdim=True)
    _, U = interactions(x, S_BC)
    speed = 2 * U[:, -1, 0] * interaction_speeds(flow, x, S_BC)[1][:, -1, 0]
    a = flow.attention(x)[:, -1, :-1] / U[:, -1, :-1]
    far = (x[:, 1:-1] - signs[..., None] * x1).norm(dim=-1)
    bound = gamma * a.sum(-1) * U[:, -1, 0] ** 2 - 8 * norm**3 * (a[:, 1:] * far).sum(-1)
    here = U[:, -1, 0].abs() <= gamma / 2
    here = here if strip else ~here
    slack = float((speed - bound)[here].min())
    return Evidence(
        slack >= -1e-12,
        {
            "where": "U_L1 at most gamma/2 in size" if strip else "beyond",
            "configurations": int(here.sum()),
            "least slack": slack,
        },
    )


def integrated(generator: torch.Generator, bound: str) -> Evidence:
    """The displayed integral of (27) solves y' = c y - C e^{-sigma t}; is U_L1^2 <= 1?"""
    c, C, sigma, t, T, y = sympy.symbols("c C sigma t T y", positive=True)
    solution = sympy.exp(c * (t - T)) * (y - C / (c + sigma) * sympy.exp(-sigma * T))
    solution += C / (c + sigma) * sympy.exp(-sigma * t)
    residual = sympy.simplify(solution.diff(t) - c * solution + C * sympy.exp(-sigma * t))
    flow, x1 = problem(generator, 3)
    x = random_tokens(1000, 3, generator=generator)
    largest = float(((x @ flow.S_BC @ x1) ** 2).max())
    limit = 1.0 if bound == "1" else float((flow.S_BC @ x1).norm() ** 2)
    return Evidence(
        residual == 0 and sympy.simplify(solution.subs(t, T) - y) == 0 and largest <= limit,
        {"residual": str(residual), "largest U_L1^2": largest, f"bound {bound}": limit},
    )


def tied(generator: torch.Generator, count: int) -> tuple[SharedStepFlow, Tensor, Tensor]:
    """Four tokens, the third exceptional, the fourth attracted by both to the same degree.

    alpha = 0, x = (x_1, x_1, xi, x_4) with x_1 = e_1, xi = e_2: x_4 obeys x' = P_x(M x), up to a
    factor, with M = ((q + q^2) <x_1, S x_1>) e_1 e_1^T + <xi, S xi> e_2 e_2^T, q = e^{-a ln 2}.
    Returns the flow, the starts (count, 4, 4), and the limits of x_4: its part in the plane.
    """
    a = 0.5
    q = math.exp(-a * math.log(2))
    S_BC = torch.diag(torch.tensor([1.0, q + q * q, -0.5, 0.3], dtype=torch.float64))
    eye = torch.eye(4, dtype=torch.float64)
    x0 = starts(generator, eye[0], count, 4)
    x0[:, 1], x0[:, 2] = eye[0], eye[1]
    limit = x0[:, 3] * (eye[0] + eye[1])
    limit = limit / limit.norm(dim=-1, keepdim=True)
    return SharedStepFlow(S_BC, 0 * eye[0], a), x0, limit


def after_the_exception(generator: torch.Generator, stated: bool) -> Evidence:
    """Remark B.12 for a token after the exceptional one."""
    flow, x0, limit = tied(generator, 50)
    x1, x4 = x0[0, 0], ends(flow, x0, 60)[:, 3]
    neither = (_away(x4[:, None], x1) > 1e-3) & ((x4 @ flow.S_BC @ x1).abs() > 1e-3)
    off = float((x4 - limit).norm(dim=-1).max())
    numbers = {
        "fourth tokens": len(x4),
        "neither at +-x_1 nor with <x_4, S x_1> = 0": int(neither.sum()),
        "off the predicted limit by": off,
    }
    return Evidence(not bool(neither.any()) if stated else off < 1e-6, numbers)


def both_signs(generator: torch.Generator, stated: bool) -> Evidence:
    """Two tokens for gamma of both signs: stated, x_2 ends at +-x_1; corrected, the closed form."""
    missed, off, moved, share = 0, 0.0, 0.0, 0
    for gamma in (2.0, -2.0):
        flow, x1 = problem(generator, 3, gamma=gamma, symmetric=False)
        x0 = starts(generator, x1, 60, 2)
        x = ends(flow, x0, 80, rtol=1e-8)
        missed += int((_away(x, x1) > 1e-3).sum())
        share += len(x)
        off = max(off, float((x[:, 1] - second_limit(flow.S_BC, x1, x0[:, 1])).norm(dim=-1).max()))
        moved = max(moved, float((x[:, 0] - x1).norm(dim=-1).max()))
    numbers = {
        "starts, half with gamma < 0": share,
        "not at +-x_1": missed,
        "off the closed form by": off,
        "first token moved by": moved,
    }
    return Evidence(missed == 0 if stated else off < 1e-4 and moved < 1e-12, numbers)


def slow_second_token(
    generator: torch.Generator, stop: float = 4000.0, count: int = 401
) -> tuple[Trajectory, Tensor, float]:
    """Two tokens with gamma = 0: the run (T, 2, D), distances to the limit (T,), and t x distance
    in the limit, 1/(Delta(x_1) e^{-a Delta(+-x_1)} beta), beta the part of S x_1 along the way."""
    flow, x1 = problem(generator, 3, gamma=0.0)
    x0 = starts(generator, x1, 1, 2)[0]
    run = simulate(flow, x0, _times(stop, count), 1e-9, 1e-13)
    limit = second_limit(flow.S_BC, x1, x0[1])
    u = x0[1] - (x0[1] @ x1) * x1
    beta = float(abs(u / u.norm() @ flow.S_BC @ x1))
    steps = softplus(torch.stack([x1, limit]) @ flow.alpha)
    front = float(steps[0] * torch.exp(-flow.a * steps[1]))
    return run, (run.tokens[:, 1] - limit).norm(dim=-1), 1 / (front * beta)


def zero(generator: torch.Generator, stated: bool) -> Evidence:
    """gamma = 0: stated, exponential convergence to +-x_1; corrected, 1/t with its constant."""
    run, distance, constant = slow_second_token(generator)
    product = float(run.times[-1] * distance[-1])
    try:
        fit_exponential(run.times[1:], distance[1:])
        refused = False
    except ValueError:
        refused = True
    numbers = {
        "distance at the end": float(distance[-1]),
        "t x distance": product,
        "predicted": constant,
        "exponential fit refused": refused,
    }
    # Corrections are O(ln t / t) times the constant.
    return Evidence(not refused if stated else abs(product / constant - 1) < 0.05, numbers)
