"""Claims of section 2.3: what simulations with random parameters show."""

import torch
from torch import Tensor

from tokensphere import survey
from tokensphere.first_token import KINDS, settle
from tokensphere.flow import FirstTokenFlow, MambaFlow, SharedStepFlow, random_tokens, simulate
from tokensphere.paper.ledger import Evidence

VERTEX, EQUAL, ZERO, UNRESOLVED = range(len(KINDS))


def most_end_at_vertices(generator: torch.Generator, law: str, dim: int) -> Evidence:
    """More than half of first tokens end at a coordinate vector, at 95% confidence."""
    draws = 80
    seed = int(torch.randint(2**31, (), generator=generator))
    counts = survey.first_tokens(law, dim, draws, seed, horizon=80.0)
    low, high = survey.interval(counts["coordinate vector"], draws)
    return Evidence(low > 0.5, {"D": dim, "law": law, "95% interval": [low, high], **counts})


def limits_are_discrete(generator: torch.Generator, law: str) -> Evidence:
    """200 first tokens of one flow with D = 3 end at no more than the 14 type-1 equilibria."""
    S_BC, S_Delta, _ = survey.draw(law, 3, 1, generator)
    if law == "Gaussian":
        # A form of both signs, whatever the draw.
        S_BC = S_BC - 0.5 * torch.linalg.eigvalsh(S_BC + S_BC.mT).mean() * torch.eye(3)
    y0 = random_tokens(200, 3, generator=generator)
    ends = settle(S_BC.expand(200, 3, 3), S_Delta.expand(200, 3, 3), y0, horizon=320.0)
    points = ends.point[ends.kind != UNRESOLVED]
    # Ends are known to 1e-5 at worst; points further than 1e-3 apart are different points.
    distinct = len(torch.unique((points / 1e-3).round(), dim=0))
    return Evidence(
        distinct <= 14,
        {
            "distinct ends": distinct,
            "at zeros of the form": int((ends.kind == ZERO).sum()),
            "unresolved": int((ends.kind == UNRESOLVED).sum()),
        },
    )


def _together(x: Tensor) -> Tensor:
    """The fraction of later tokens within 0.01 of the first or of its antipode, (batch,)."""
    first, later = x[:, :1], x[:, 1:]
    near = (later - first).norm(dim=-1) < 0.01
    opposite = (later + first).norm(dim=-1) < 0.01
    return (near | opposite).double().mean(-1)


def later_tokens_join(generator: torch.Generator, shared: bool) -> Evidence:
    """On average more than half of the later tokens end at the first one or its antipode.

    The form is |x|^2 either way, so that only the steps and rates differ: those of each channel, or
    one for all (assumption (10)).
    """
    draws, length, dim = 30, 3, 3
    S_BC, S_Delta, a = survey.draw("identity", dim, draws, generator)
    x0 = random_tokens(draws, length, dim, generator=generator)
    times = torch.tensor([0.0, 40.0], dtype=torch.float64)
    field = SharedStepFlow(S_BC, S_Delta[..., 0], 1.0) if shared else MambaFlow(S_BC, S_Delta, a)
    joined = _together(simulate(field, x0, times, rtol=1e-5, atol=1e-7).tokens[-1])
    mean, error = float(joined.mean()), float(joined.std() / draws**0.5)
    return Evidence(
        mean - 2 * error > 0.5, {"mean fraction": mean, "standard error": error, "draws": draws}
    )


def consensus_is_an_equilibrium(generator: torch.Generator, equal_rates: bool) -> Evidence:
    """Two tokens at a limit of the first, a point of equal steps on two coordinates, stay there."""
    dim = 3
    S_BC, S_Delta, a = (value[0] for value in survey.draw("Gaussian", dim, 1, generator))
    if equal_rates:
        a = torch.ones_like(a)
    difference = (S_Delta[:, 0] - S_Delta[:, 1])[:2]
    point = torch.zeros(dim, dtype=torch.float64)
    point[0], point[1] = -difference[1], difference[0]
    point = point / point.norm()
    speed = MambaFlow(S_BC, S_Delta, a)(point.expand(2, dim)).norm(dim=-1)
    form = float(point @ S_BC @ point)
    # Rounding, against speeds of order |q| |a_1 - a_2|.
    return Evidence(
        float(speed.max()) < 1e-12,
        {
            "speed of the first token": float(speed[0]),
            "speed of the second": float(speed[1]),
            "form at the point": form,
        },
    )


def equilibria_last(generator: torch.Generator, kind: int) -> Evidence:
    """Limits of this kind for the parameters at t = 0 are equilibria at t = 1 too."""
    dim, draws = 3, 60
    S_BC, S_Delta, _ = survey.draw("Gaussian", dim, draws, generator)
    later = [torch.randn(S_BC.shape, generator=generator, dtype=torch.float64) for _ in range(2)]
    y0 = random_tokens(draws, dim, generator=generator)
    ends = settle(S_BC, S_Delta, y0, horizon=160.0)
    which = ends.kind == kind
    flow = FirstTokenFlow(
        survey.turning(S_BC[which], later[0][which]),
        survey.turning(S_Delta[which], later[1][which]),
    )
    point = ends.point[which].unsqueeze(1)
    before, after = (float(flow(point, t).norm(dim=-1).max()) for t in (0.0, 1.0))
    return Evidence(
        after < 1e-12,
        {"points": int(which.sum()), "largest speed at t = 0": before, "at t = 1": after},
    )
