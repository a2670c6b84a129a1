"""Claims of section 3.1 and appendix B.1 about two dimensions: Theorem 3.3 and Remark 3.4."""

import math

import torch
from flint import arb, ctx, fmpq
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere import survey
from tokensphere.circle import KINDS, gaussian_shares, isolate, portrait
from tokensphere.first_token import KINDS as ENDS
from tokensphere.first_token import settle
from tokensphere.flow import FirstTokenFlow, random_tokens, simulate
from tokensphere.paper.checks.tools import times
from tokensphere.paper.ledger import Evidence, above, below, equal

AXIS, STEPS, FORM = KINDS
START = -9 / 16


def _diagonal(generator: torch.Generator) -> Tensor:
    """diag(l1, l2) with l1 l2 < 0 and l1 + l2 != 0, where the two signs give different points.

    The moduli are in [1, 3/2] and [2/5, 1/2], in either order: the points are 0.2 apart or more.
    """
    one, other, swap = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    values = torch.tensor([1 + one / 2, -0.5 + other / 10], dtype=torch.float64)
    return torch.diag(values if swap < 0.5 else values.flip(0))


def _omega(S_BC: Tensor, S_Delta: Tensor, sign: int) -> list[arb]:
    """The angles of Omega from -9/16 to -9/16 + 2 pi, the range of `isolate`, as balls."""
    l1, l2 = (fmpq(*value.as_integer_ratio()) for value in S_BC.diagonal().tolist())
    step = [[fmpq(*value.as_integer_ratio()) for value in row] for row in S_Delta.tolist()]
    d = [row[1] - row[0] for row in step]
    xi = arb.atan2(arb(d[0]), arb(-d[1]))
    half = arb(sign * (l1 + l2) / (l1 - l2)).acos() / 2
    lines = [arb(0), arb.pi() / 2, xi, half, -half]
    angles = [line + turn * arb.pi() for line in lines for turn in range(-2, 3)]
    return [angle for angle in angles if angle > START and angle < START + 2 * arb.pi()]


def limits_in_omega(generator: torch.Generator, sign: int) -> Evidence:
    """Limits of 32 starts for each of 6 random parameters are points of Omega.

    `sign` is s in cos(2 phi) = s (l1 + l2) / (l1 - l2): 1 as printed.
    """
    farthest, worst = 0.0, {}
    for _ in range(6):
        S_BC = _diagonal(generator)
        S_Delta = torch.randn(2, 2, generator=generator, dtype=torch.float64)
        found = portrait(S_BC, S_Delta)
        with ctx.workprec(128):
            points = _omega(S_BC, S_Delta, sign)
        starts = 2 * math.pi * torch.rand(32, generator=generator, dtype=torch.float64)
        for start in starts.tolist():
            limit = found.limit(start)
            gap = min(abs(_turned(float(limit.angle - point))) for point in points)
            if gap >= farthest:
                farthest = gap
                worst = {
                    "start, radians": start,
                    "its limit, radians": float(limit.angle),
                    "S_BC": S_BC.diagonal().tolist(),
                    "S_Delta": S_Delta.tolist(),
                }
    # The balls' radii are below 1e-17 for the limit and 1e-36 for Omega; the rest is rounding.
    return Evidence([below("largest distance of a limit from Omega", farthest, 1e-14)], worst)


def _turned(angle: float) -> float:
    """The same angle in [-pi, pi)."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


def zeros_are_omega(generator: torch.Generator, sign: int) -> Evidence:
    """Intervals proved to hold one zero of F each, and the points of Omega, match one to one."""
    S_BC = _diagonal(generator)
    S_Delta = torch.randn(2, 2, generator=generator, dtype=torch.float64)
    enclosures = isolate(S_BC, S_Delta)
    with ctx.workprec(128):
        points = _omega(S_BC, S_Delta, sign)
        spans = [[_ball(end) for end in (e.low, e.high)] for e in enclosures]
        held = [sum(bool(low < p and p < high) for p in points) for low, high in spans]
    return Evidence(
        [
            equal("points of Omega, as many as zeros of F", len(points), len(spans)),
            equal("zeros with exactly one point of Omega", held.count(1), len(spans)),
        ],
        {"S_BC": S_BC.diagonal().tolist()},
    )


def _ball(value) -> arb:
    return value if isinstance(value, arb) else arb(fmpq(value.numerator, value.denominator))


def limit_exists(generator: torch.Generator, form: int) -> Evidence:
    """Ends of integrated first tokens are the limits of the portrait of `form` S_BC; S_BC any."""
    draws = 60
    S_BC, S_Delta, _ = survey.draw("Gaussian", 2, draws, generator)
    y0 = random_tokens(draws, 2, generator=generator)
    ends = settle(S_BC, S_Delta, y0, horizon=320.0)
    known = [i for i, kind in enumerate(ends.kind.tolist()) if kind < len(KINDS)]
    agree, farthest = 0, 0.0
    for i in known:
        limit = portrait(form * S_BC[i], S_Delta[i]).limit(y0[i])
        angle = float(limit.angle)
        point = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
        gap = float((point - ends.point[i]).norm())
        # An end at a zero of the form is known to 1e-5.
        if gap < 2e-5 and limit.kinds == (ENDS[int(ends.kind[i])],):
            agree, farthest = agree + 1, max(farthest, gap)
    return Evidence(
        [
            equal("integrated ends at the predicted limit", agree, len(known)),
            above("integrated ends that are known", len(known), 0.9 * draws),
        ],
        {"draws": draws, "farthest": farthest},
    )


def angular_equation(generator: torch.Generator, factor: float) -> Evidence:
    """phi' of the flow, y_1 y_2' - y_2 y_1', against the two displays, with h = factor ln(...)."""
    S_BC = torch.diag(torch.randn(2, generator=generator, dtype=torch.float64))
    S_Delta = torch.randn(2, 2, generator=generator, dtype=torch.float64)
    l1, l2 = S_BC.diagonal()
    phi = 2 * math.pi * torch.rand(50, generator=generator, dtype=torch.float64)
    y = torch.stack([phi.cos(), phi.sin()], -1)
    speed = FirstTokenFlow(S_BC, S_Delta)(y)
    flow = y[:, 0] * speed[:, 1] - y[:, 1] * speed[:, 0]
    steps = softplus(y @ S_Delta)
    form = l1 * y[:, 0] ** 2 + l2 * y[:, 1] ** 2
    first = form * y[:, 0] * y[:, 1] * (steps[:, 1] - steps[:, 0])
    radius, angle = S_Delta.norm(dim=0), torch.atan2(S_Delta[1], S_Delta[0])
    h = factor * torch.log(1 + torch.exp(radius * torch.cos(phi[:, None] - angle)))
    second = (l1 + l2 + (l1 - l2) * torch.cos(2 * phi)) * torch.sin(2 * phi) * (h[:, 1] - h[:, 0])
    gaps = [float((flow - value).abs().max()) for value in (first, second)]
    # Rounding of a few products of numbers of order one to ten.
    return Evidence(
        [
            below("difference from the first display", gaps[0], 1e-12),
            below("difference from the second display", gaps[1], 1e-12),
        ]
    )


def stays_in_quadrant(generator: torch.Generator, turn: float) -> Evidence:
    """Trajectories keep the signs of both coordinates in axes turned by `turn`."""
    draws = 60
    S_BC, S_Delta, _ = survey.draw("Gaussian", 2, draws, generator)
    y0 = random_tokens(draws, 1, 2, generator=generator)
    run = simulate(FirstTokenFlow(S_BC, S_Delta), y0, times(40, 41), rtol=1e-7, atol=1e-9)
    y = run.tokens[:, :, 0]
    cos, sin = math.cos(turn), math.sin(turn)
    coordinates = y @ torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
    across = -(coordinates * coordinates[0].sign()).amin(0).amin(-1)
    # A coordinate that tends to zero is known to the integrator's tolerance.
    left = int((across > 1e-6).sum())
    return Evidence([equal("trajectories that leave their quadrant", left, 0)], {"of": draws})


def others_are_rare(generator: torch.Generator) -> Evidence:
    """Over random parameters less than 5% of first tokens end off the coordinate vectors."""
    draws, criteria, numbers = 100, [], {}
    for law in survey.LAWS:
        S_BC, S_Delta, _ = survey.draw(law, 2, draws, generator)
        shares = [portrait(B, step).shares() for B, step in zip(S_BC, S_Delta, strict=True)]
        off = [1 - float(share.get((AXIS,), 0)) for share in shares]
        mean = sum(off) / draws
        criteria.append(below(f"mean share off the coordinate vectors, {law}", mean, 0.05))
        numbers[f"draws in which it is positive, {law}"] = sum(value > 0 for value in off)
    return Evidence(criteria, numbers)


def shares_are_known(generator: torch.Generator) -> Evidence:
    """A quarter for every definite form, as balls; the closed form on average for Gaussian ones."""
    draws = 100
    B, S_Delta, _ = survey.draw("Gaussian", 2, draws, generator)
    definite = [
        portrait(matrix @ matrix.mT * sign, step).shares()
        for matrix, step, sign in zip(B, S_Delta, [1, -1] * (draws // 2), strict=True)
    ]
    quarter = sum(bool(share.get((STEPS,), arb(0)).contains(fmpq(1, 4))) for share in definite)
    B, S_Delta, _ = survey.draw("Gaussian", 2, draws, generator)
    shares = [portrait(matrix, step).shares() for matrix, step in zip(B, S_Delta, strict=True)]
    expected = gaussian_shares()
    gaps = {}
    for kind in KINDS:
        values = torch.tensor([float(share.get((kind,), 0)) for share in shares]).double()
        # Standard errors. Five of them: a false alarm in a million.
        gaps[kind] = float((values.mean() - float(expected[kind])) / (values.std() / draws**0.5))
    return Evidence(
        [
            equal("definite draws with a share of 1/4 at equal steps", quarter, draws),
            *(below(f"standard errors off, {kind}", abs(gap), 5) for kind, gap in gaps.items()),
        ],
        {f"Gaussian, expected share, {kind}": float(expected[kind]) for kind in KINDS},
    )
