"""Claims of section 2.3: what simulations with random parameters show."""

import torch

from tokensphere import survey
from tokensphere.first_token import KINDS, settle
from tokensphere.flow import FirstTokenFlow, MambaFlow, SharedStepFlow, random_tokens
from tokensphere.other_tokens.following import Dials, follow, mean_and_error, near_first
from tokensphere.paper.checks import tools
from tokensphere.paper.ledger import Evidence, above, at_least, at_most, below

ZERO, UNRESOLVED = KINDS.index("zero of the form"), KINDS.index("unresolved")


def most_end_at_vertices(generator: torch.Generator, law: str, dim: int) -> Evidence:
    """More than half of first tokens end at a coordinate vector, at 95% confidence."""
    draws = 80
    seed = int(torch.randint(2**31, (), generator=generator))
    counts = survey.first_tokens(law, dim, draws, seed, horizon=80.0)
    low, high = survey.interval(counts["coordinate vector"], draws)
    return Evidence(
        [above("share at coordinate vectors, lower end of its 95% interval", low, 0.5)],
        {"upper end": high, "draws": draws, **counts},
    )


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
        [at_most("distinct ends of 200 first tokens", distinct, 14)],
        {
            "at zeros of the form": int((ends.kind == ZERO).sum()),
            "unresolved": int((ends.kind == UNRESOLVED).sum()),
        },
    )


def later_tokens_join(
    generator: torch.Generator, shared: bool, share: float, stop: float
) -> Evidence:
    """On average more than `share` of later tokens are at the first or its antipode at t = `stop`.

    The form is |x|^2 either way, so that only the steps and rates differ: those of each channel, or
    one for all (assumption (10)).
    """
    draws, length, dim = 30, 3, 3
    S_BC, S_Delta, a = survey.draw("identity", dim, draws, generator)
    x0 = random_tokens(draws, length, dim, generator=generator)
    field = SharedStepFlow(S_BC, S_Delta[..., 0], 1.0) if shared else MambaFlow(S_BC, S_Delta, a)
    joined = near_first(tools.ends(field, x0, stop, rtol=1e-5, atol=1e-7))
    mean, error = mean_and_error(joined.double().mean(-1))
    return Evidence(
        [above("share that joins, less two standard errors", mean - 2 * error, share)],
        {"share": mean, "standard error": error, "draws": draws},
    )


def what_decides(
    generator: torch.Generator, majority: list[float], minority: list[float]
) -> Evidence:
    """Most later tokens join with one setting of scale, level and spread, few with the other.

    Sequences of eight tokens, S_BC = I, D = 2, the same draws for both.
    """
    draws = 120
    seed = int(torch.randint(2**31, (), generator=generator))
    found = []
    for dials in (majority, minority):
        joined, _ = follow("identity", 2, Dials(*dials), draws=draws, horizon=60.0, seed=seed)
        found.append(mean_and_error([count / 7 for count in joined]))
    (most, most_error), (few, few_error) = found
    return Evidence(
        [
            above("first setting: share less two standard errors", most - 2 * most_error, 0.5),
            below("second setting: share and two standard errors", few + 2 * few_error, 0.5),
        ],
        {"first setting": str(Dials(*majority)), "second": str(Dials(*minority)), "draws": draws},
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
    first, second = MambaFlow(S_BC, S_Delta, a)(point.expand(2, dim)).norm(dim=-1).tolist()
    # Rounding, against speeds of order |q| |a_1 - a_2|.
    return Evidence(
        [
            below("speed of the first token", first, 1e-12),
            below("speed of the second", second, 1e-12),
        ],
        {"form at the point": float(point @ S_BC @ point)},
    )


def equilibria_last(generator: torch.Generator, kind: str) -> Evidence:
    """Limits of this kind for the parameters at t = 0 are equilibria at t = 1 too."""
    dim, draws = 3, 60
    S_BC, S_Delta, _ = survey.draw("Gaussian", dim, draws, generator)
    later = [torch.randn(S_BC.shape, generator=generator, dtype=torch.float64) for _ in range(2)]
    y0 = random_tokens(draws, dim, generator=generator)
    ends = settle(S_BC, S_Delta, y0, horizon=160.0)
    which = ends.kind == KINDS.index(kind)
    flow = FirstTokenFlow(
        survey.turning(S_BC[which], later[0][which]),
        survey.turning(S_Delta[which], later[1][which]),
    )
    point = ends.point[which].unsqueeze(1)
    before, after = (float(flow(point, t).norm(dim=-1).max()) for t in (0.0, 1.0))
    return Evidence(
        [
            at_least("limits of this kind", int(which.sum()), 5),
            below("largest speed at t = 0", before, 1e-12),
            below("largest speed at t = 1", after, 1e-12),
        ]
    )
