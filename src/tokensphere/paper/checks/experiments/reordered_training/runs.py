"""Section 4.2: what our own runs, in `results/reordered_training`, do with random orders."""

import torch

from tokensphere import records
from tokensphere.paper.ledger import Evidence, above, at_least, below, equal
from tokensphere.paper.printed import EFFECT
from tokensphere.reorder import experiment
from tokensphere.reorder.comparison import Difference, detectable, power
from tokensphere.reorder.contrasts import Diversity, contrasts, diversity_differences, mean_excess

OWN, TRAINED = "top-1, both tested in own order", "top-1, each tested as trained"


def recorded() -> dict[str, list]:
    """The runs by model."""
    files = {m: records.path(f"reordered_training/{m}.json") for m in experiment.MODELS}
    return {
        model: records.load(file, parameters=experiment.parameters(model)).data["runs"]
        for model, file in files.items()
    }


def gains() -> dict[str, dict[str, Difference]]:
    """By model, random less own order in top-1, under both orders of the tests."""
    found = {model: contrasts(runs) for model, runs in recorded().items()}
    return {model: {test: each[test] for test in (OWN, TRAINED)} for model, each in found.items()}


def improves(generator: torch.Generator) -> Evidence:
    """In each model the 95% interval of the gain lies above 0, in the more favourable test."""
    lows = {model: max(d.low for d in each.values()) for model, each in gains().items()}
    return Evidence([above(f"lower bound of the gain, {model}", d, 0) for model, d in lows.items()])


def no_gain_shown(generator: torch.Generator) -> Evidence:
    """Tested in the own order, the gain is below the paper's; a test that would see it is not."""
    found = {model: each[OWN] for model, each in gains().items()}
    chances = {model: power(EFFECT, d.sd, d.n) for model, d in found.items()}
    return Evidence(
        [
            *(below(f"upper bound of the gain, {m}", d.high, EFFECT) for m, d in found.items()),
            *(below(f"power at the paper's gain, {m}", p, 0.25) for m, p in chances.items()),
        ],
        {f"detectable with power 0.8, {m}": detectable(d.sd, d.n) for m, d in found.items()},
    )


def closeness_to_the_first() -> tuple[float, float]:
    """Of MambaVision-T's tokens, beyond that to each other: before stage 4's blocks and after."""
    excess = mean_excess(recorded()["mambavision_tiny"])
    return excess["stage 4, input"], list(excess.values())[-1]


def of_all_images() -> list[Diversity]:
    """Effective rank of all images' tokens after each model's last stage."""
    rows = diversity_differences(recorded())
    last = {row.model: row.depth for row in rows}
    return [row for row in rows if row.measure == "pooled_rank" and row.depth == last[row.model]]


def diversifies(generator: torch.Generator) -> Evidence:
    """It is higher with random orders, in each model, after Holm."""
    shown = sum(row.shown == 1 for row in of_all_images())
    return Evidence([equal("models with a higher rank over all images", shown, 3)])


def diversity_not_shown(generator: torch.Generator) -> Evidence:
    """In no model is a difference shown; each interval holds 0."""
    rows = of_all_images()
    criteria = [
        equal("models with a rank that differs, after Holm", sum(r.shown != 0 for r in rows), 0)
    ]
    for row in rows:
        criteria += [
            below(
                f"lower bound over the rank in own order, {row.model}",
                row.difference.low / row.own,
                0,
            ),
            at_least(f"upper bound over it, {row.model}", row.difference.high / row.own, 0),
        ]
    reach = {row.model: detectable(row.difference.sd, row.difference.n) / row.own for row in rows}
    return Evidence(criteria, {f"detectable with power 0.8, {m}": d for m, d in reach.items()})
