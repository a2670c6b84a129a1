"""Claims of section 2.3: what simulations with random parameters show."""

import torch
from torch import Generator

from tokensphere.first_token import KINDS, settle
from tokensphere.flow import FirstTokenFlow, MambaFlow, SharedStepFlow, random_tokens
from tokensphere.other_tokens import following
from tokensphere.paper import survey
from tokensphere.paper.checks import tools
from tokensphere.paper.ledger import Evidence, above, at_least, at_most, below

ZERO, UNRESOLVED = KINDS.index("zero of the form"), KINDS.index("unresolved")


def _seed(generator: Generator) -> int:
    return int(torch.randint(2**31, (), generator=generator))


def most_end_at_vertices(generator: Generator, law: str, dim: int) -> Evidence:
    """More than half of first tokens end at a coordinate vector, at 95% confidence."""
    draws = 80
    counts = survey.first_tokens(law, dim, draws, _seed(generator), horizon=80.0)
    low, high = survey.interval(counts["coordinate vector"], draws)
    title = "share at coordinate vectors, lower end of its 95% interval"
    return Evidence([above(title, low, 0.5)], {"upper end": high, "draws": draws, **counts})


def limits_are_discrete(generator: Generator, law: str) -> Evidence:
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
    zeros, unresolved = (int((ends.kind == kind).sum()) for kind in (ZERO, UNRESOLVED))
    return Evidence(
        [
            at_most("distinct ends of 200 first tokens", distinct, 14),
            at_most("first tokens whose end is not known", unresolved, 20),
        ],
        {"at zeros of the form": zeros},
    )


def later_tokens_join(generator: Generator, shared: bool, share: float, stop: float) -> Evidence:
    """On average more than `share` of later tokens are at the first or its antipode at t = `stop`.

    The form is |x|^2 either way, so that only the steps and rates differ: those of each channel, or
    one for all (assumption (10)).
    """
    S_BC, S_Delta, a = survey.draw("identity", 3, 30, generator)
    x0 = random_tokens(30, 3, 3, generator=generator)
    field = SharedStepFlow(S_BC, S_Delta[..., 0], 1.0) if shared else MambaFlow(S_BC, S_Delta, a)
    joined = following.near_first(tools.ends(field, x0, stop, rtol=1e-5, atol=1e-7))
    mean, error = following.mean_and_error(joined.double().mean(-1))
    return Evidence(
        [above("share that joins, less two standard errors", mean - 2 * error, share)],
        {"share": mean, "standard error": error, "draws": len(x0)},
    )


def what_decides(generator: Generator, majority: list[float], minority: list[float]) -> Evidence:
    """Most later tokens join with one setting of scale, level and spread, few with the other.

    Sequences of eight tokens, S_BC = I, D = 2, the same draws for both.
    """
    draws, seed = 120, _seed(generator)
    settings, found = [following.Dials(*dials) for dials in (majority, minority)], []
    for dials in settings:
        joined, _ = following.follow("identity", 2, dials, draws=draws, horizon=60.0, seed=seed)
        found.append(following.mean_and_error([count / 7 for count in joined]))
    (most, most_error), (few, few_error) = found
    criteria = [
        above("first setting: share less two standard errors", most - 2 * most_error, 0.5),
        below("second setting: share and two standard errors", few + 2 * few_error, 0.5),
    ]
    first, second = map(str, settings)
    return Evidence(criteria, {"first setting": first, "second": second, "draws": draws})


def consensus_is_an_equilibrium(generator: Generator, equal_rates: bool) -> Evidence:
    """Two tokens at a limit of the first, a point of equal steps on two coordinates, stay there."""
    decays = "equal" if equal_rates else "independent"
    S_BC, S_Delta, a = (value[0] for value in survey.draw("Gaussian", 3, 1, generator, decays))
    u, v, _ = S_Delta[:, 0] - S_Delta[:, 1]
    point = tools.unit(torch.stack([-v, u, torch.zeros_like(u)]))
    first, second = MambaFlow(S_BC, S_Delta, a)(point.expand(2, 3)).norm(dim=-1)
    # Rounding, against speeds of order |q| |a_1 - a_2|.
    criteria = [
        below("speed of the first token", first, 1e-12),
        below("speed of the second", second, 1e-12),
    ]
    return Evidence(criteria, {"form at the point": float(point @ S_BC @ point)})


def equilibria_last(generator: Generator, kind: str) -> Evidence:
    """Limits of this kind for the parameters at t = 0 are equilibria at t = 1 too."""
    S_BC, S_Delta, _ = survey.draw("Gaussian", 3, 60, generator)
    later = [tools.normal(generator, 60, 3, 3) for _ in range(2)]
    ends = settle(S_BC, S_Delta, random_tokens(60, 3, generator=generator), horizon=160.0)
    which = ends.kind == KINDS.index(kind)
    pairs = zip((S_BC, S_Delta), later, strict=True)
    flow = FirstTokenFlow(*(survey.turning(now[which], then[which]) for now, then in pairs))
    point = ends.point[which].unsqueeze(1)
    before, after = (flow(point, t).norm(dim=-1).max() for t in (0.0, 1.0))
    criteria = [
        at_least("limits of this kind", which.sum(), 5),
        below("largest speed at t = 0", before, 1e-12),
        below("largest speed at t = 1", after, 1e-12),
    ]
    return Evidence(criteria)
