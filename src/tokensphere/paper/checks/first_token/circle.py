"""Claims of section 3.1 and appendix B.1 about two dimensions: Theorem 3.3 and Remark 3.4."""

import math

import torch
from flint import arb, ctx, fmpq
from torch import Generator, Tensor
from torch.nn.functional import softplus

from tokensphere import circle, first_token
from tokensphere.circle import field
from tokensphere.flow import FirstTokenFlow, random_tokens
from tokensphere.paper import survey
from tokensphere.paper.checks import tools
from tokensphere.paper.ledger import Evidence, above, below, equal

AXIS, STEPS, FORM = circle.KINDS
START = -9 / 16


def _diagonal(generator: Generator) -> Tensor:
    """diag(l1, l2) with l1 l2 < 0 and l1 + l2 != 0, where the two signs give different points.

    The moduli are in [1, 3/2] and [2/5, 1/2], in either order: the points are 0.2 apart or more.
    """
    one, other, swap = tools.uniform(generator, 3).tolist()
    values = torch.tensor([1 + one / 2, -0.5 + other / 10], dtype=torch.float64)
    return torch.diag(values if swap < 0.5 else values.flip(0))


def _omega(S_BC: Tensor, S_Delta: Tensor, sign: int) -> list[arb]:
    """The angles of Omega from -9/16 to -9/16 + 2 pi, the range of `isolate`, as balls; `sign` is s
    in cos(2 phi) = s (l1 + l2) / (l1 - l2), 1 as printed."""
    (l1, _), (_, l2) = field.balls(field.rational("S_BC", S_BC))
    d = [row[1] - row[0] for row in field.balls(field.rational("S_Delta", S_Delta))]
    half = (sign * (l1 + l2) / (l1 - l2)).acos() / 2
    lines = [arb(0), arb.pi() / 2, arb.atan2(d[0], -d[1]), half, -half]
    angles = [line + turn * arb.pi() for line in lines for turn in range(-2, 3)]
    return [angle for angle in angles if angle > START and angle < START + 2 * arb.pi()]


def limits_in_omega(generator: Generator, sign: int) -> Evidence:
    """Limits of 32 starts for each of 6 random parameters are points of Omega."""
    farthest, worst = 0.0, {}
    for _ in range(6):
        S_BC, S_Delta = _diagonal(generator), tools.normal(generator, 2, 2)
        portrait = circle.portrait(S_BC, S_Delta)
        with ctx.workprec(128):
            points = _omega(S_BC, S_Delta, sign)
        for start in (2 * math.pi * tools.uniform(generator, 32)).tolist():
            limit = portrait.limit(start).angle
            gap = min(abs(math.remainder(limit - point, 2 * math.pi)) for point in points)
            if gap >= farthest:
                farthest = gap
                worst = {
                    "start, radians": start,
                    "its limit, radians": float(limit),
                    "S_BC": S_BC.diagonal().tolist(),
                    "S_Delta": S_Delta.tolist(),
                }
    # The balls' radii are below 1e-17 for the limit and 1e-36 for Omega; the rest is rounding.
    return Evidence([below("largest distance of a limit from Omega", farthest, 1e-14)], worst)


def zeros_are_omega(generator: Generator, sign: int) -> Evidence:
    """Intervals proved to hold one zero of F each, and the points of Omega, match one to one."""
    S_BC, S_Delta = _diagonal(generator), tools.normal(generator, 2, 2)
    held = []
    with ctx.workprec(128):
        points = _omega(S_BC, S_Delta, sign)
        for e in circle.isolate(S_BC, S_Delta):
            low, high = field.ball(e.low), e.high if isinstance(e.high, arb) else field.ball(e.high)
            held.append(sum(bool(low < p and p < high) for p in points))
    criteria = [
        equal("points of Omega, as many as zeros of F", len(points), len(held)),
        equal("zeros with exactly one point of Omega", held.count(1), len(held)),
    ]
    return Evidence(criteria, {"S_BC": S_BC.diagonal().tolist()})


def limit_exists(generator: Generator, form: int) -> Evidence:
    """Ends of integrated first tokens are the limits of the portrait of `form` S_BC; S_BC any."""
    draws = 60
    S_BC, S_Delta, _ = survey.draw("Gaussian", 2, draws, generator)
    y0 = random_tokens(draws, 2, generator=generator)
    ends = first_token.settle(S_BC, S_Delta, y0, horizon=320.0)
    known = (ends.kind < len(circle.KINDS)).nonzero()[:, 0].tolist()
    gaps = []
    for i in known:
        limit = circle.portrait(form * S_BC[i], S_Delta[i]).limit(y0[i])
        x, y = ends.point[i].tolist()
        gap = math.hypot(math.cos(limit.angle) - x, math.sin(limit.angle) - y)
        # An end at a zero of the form is known to 1e-5.
        if gap < 2e-5 and limit.kinds == (first_token.KINDS[int(ends.kind[i])],):
            gaps.append(gap)
    criteria = [
        equal("integrated ends at the predicted limit", len(gaps), len(known)),
        above("integrated ends that are known", len(known), 0.9 * draws),
    ]
    return Evidence(criteria, {"draws": draws, "farthest": max(gaps, default=0.0)})


def angular_equation(generator: Generator, factor: float) -> Evidence:
    """phi' of the flow, y_1 y_2' - y_2 y_1', against the two displays, with h = factor ln(...)."""
    S_BC, S_Delta = torch.diag(tools.normal(generator, 2)), tools.normal(generator, 2, 2)
    l1, l2 = S_BC.diagonal()
    phi = 2 * math.pi * tools.uniform(generator, 50)
    y = torch.stack([phi.cos(), phi.sin()], -1)
    y1, y2 = y.unbind(-1)
    speed = FirstTokenFlow(S_BC, S_Delta)(y)
    flow = y1 * speed[:, 1] - y2 * speed[:, 0]
    first = (l1 * y1**2 + l2 * y2**2) * y1 * y2 * softplus(y @ S_Delta).diff(dim=1)[:, 0]
    radius, angle = S_Delta.norm(dim=0), torch.atan2(S_Delta[1], S_Delta[0])
    h = factor * torch.log(1 + torch.exp(radius * torch.cos(phi[:, None] - angle)))
    second = (l1 + l2 + (l1 - l2) * torch.cos(2 * phi)) * torch.sin(2 * phi) * h.diff(dim=1)[:, 0]
    # Rounding of a few products of numbers of order one to ten.
    displays = {"the first display": flow - first, "the second display": flow - second}
    return Evidence(tools.agree(1e-12, displays))


def stays_in_quadrant(generator: Generator, turn: float) -> Evidence:
    """Trajectories keep the signs of both coordinates in axes turned by `turn`."""
    draws = 60
    S_BC, S_Delta, _ = survey.draw("Gaussian", 2, draws, generator)
    y0 = random_tokens(draws, 2, generator=generator)
    y = tools.first_tokens(S_BC, S_Delta, y0, tools.times(40, 41), 1e-7, 1e-9)
    cos, sin = math.cos(turn), math.sin(turn)
    coordinates = y @ torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
    across = -(coordinates * coordinates[0].sign()).amin((0, -1))
    # A coordinate that tends to zero is known to the integrator's tolerance.
    left = (across > 1e-6).sum()
    return Evidence([equal("trajectories that leave their quadrant", left, 0)], {"of": draws})


def _shares(S_BC: Tensor, S_Delta: Tensor) -> list[dict[tuple[str, ...], arb]]:
    pairs = zip(S_BC, S_Delta, strict=True)
    return [circle.portrait(form, steps).shares() for form, steps in pairs]


def others_are_rare(generator: Generator) -> Evidence:
    """Over random parameters less than 5% of first tokens end off the coordinate vectors."""
    criteria, numbers = [], {}
    for law in survey.LAWS:
        S_BC, S_Delta, _ = survey.draw(law, 2, 100, generator)
        off = [1 - float(share.get((AXIS,), 0)) for share in _shares(S_BC, S_Delta)]
        mean = sum(off) / len(off)
        criteria.append(below(f"mean share off the coordinate vectors, {law}", mean, 0.05))
        numbers[f"draws in which it is positive, {law}"] = sum(value > 0 for value in off)
    return Evidence(criteria, numbers)


def shares_are_known(generator: Generator) -> Evidence:
    """A quarter for every definite form, as balls; the closed form on average for Gaussian ones."""
    draws = 100
    B, S_Delta, _ = survey.draw("Gaussian", 2, draws, generator)
    sign = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(draws // 2)[:, None, None]
    definite = [share.get((STEPS,), arb(0)) for share in _shares(sign * B @ B.mT, S_Delta)]
    quarter = sum(bool(share.contains(fmpq(1, 4))) for share in definite)
    criteria = [equal("definite draws with a share of 1/4 at equal steps", quarter, draws)]
    shares = _shares(*survey.draw("Gaussian", 2, draws, generator)[:2])
    expected = {kind: float(share) for kind, share in circle.gaussian_shares().items()}
    for kind in circle.KINDS:
        values = torch.tensor([float(share.get((kind,), 0)) for share in shares]).double()
        # Standard errors. Five of them: a false alarm in a million.
        off = abs(float((values.mean() - expected[kind]) / (values.std() / draws**0.5)))
        criteria.append(below(f"standard errors off, {kind}", off, 5))
    return Evidence(criteria, {f"Gaussian, expected share, {k}": v for k, v in expected.items()})
