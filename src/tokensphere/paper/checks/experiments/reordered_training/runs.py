"""Section 4.2: what our own runs, in `results/reordered_training`, do with random orders."""

import statistics

import torch

from tokensphere import records
from tokensphere.paper.ledger import Evidence, above, at_least, below, equal
from tokensphere.paper.printed import EFFECT
from tokensphere.reorder import comparison, contrasts, experiment

OWN, TRAINED = "top-1, both tested in own order", "top-1, each tested as trained"


def recorded() -> dict[str, list]:
    """The runs by model."""
    files = {m: records.path(f"reordered_training/{m}.json") for m in experiment.MODELS}
    return {
        model: records.load(file, parameters=experiment.parameters(model)).data["runs"]
        for model, file in files.items()
    }


def gains(test: str) -> dict[str, comparison.Difference]:
    """By model, random less own order in top-1."""
    return {model: contrasts.contrasts(runs)[test] for model, runs in recorded().items()}


def improves(generator: torch.Generator) -> Evidence:
    """In each model the 95% interval of the gain lies above 0, in the more favourable test."""
    lows = {m: max(own.low, gains(TRAINED)[m].low) for m, own in gains(OWN).items()}
    return Evidence([above(f"lower bound of the gain, {m}", low, 0) for m, low in lows.items()])


def no_gain_shown(generator: torch.Generator) -> Evidence:
    """Tested in the own order, the gain is below the paper's; a test that would see it is not."""
    criteria, numbers = [], {}
    runs = recorded()
    for model, d in gains(OWN).items():
        chance = comparison.power(EFFECT, d.sd, d.n)
        criteria += [
            below(f"upper bound of the gain, {model}", d.high, EFFECT),
            below(f"power at the paper's gain, {model}", chance, 0.25),
        ]
        baseline = comparison.outcomes(runs[model], "top1")["baseline"]
        numbers[f"own order, top-1, {model}"] = statistics.mean(baseline.values())
        numbers[f"gain and its bounds, {model}"] = [d.mean, d.low, d.high]
        numbers[f"detectable with power 0.8, {model}"] = comparison.detectable(d.sd, d.n)
    return Evidence(criteria, numbers)


def closeness_to_the_first() -> tuple[float, float]:
    """Of MambaVision-T's tokens, beyond that to each other: before stage 4's blocks and after."""
    excess = contrasts.mean_excess(recorded()["mambavision_tiny"])
    return excess["stage 4, input"], list(excess.values())[-1]


def of_all_images() -> list[contrasts.Diversity]:
    """Effective rank of all images' tokens after each model's last stage."""
    rows = contrasts.diversity_differences(recorded())
    last = {row.model: row.depth for row in rows}
    return [row for row in rows if row.measure == "pooled_rank" and row.depth == last[row.model]]


def diversifies(generator: torch.Generator) -> Evidence:
    """It is higher with random orders, in each model, after Holm."""
    shown = sum(row.shown == 1 for row in of_all_images())
    return Evidence([equal("models with a higher rank over all images", shown, 3)])


def diversity_not_shown(generator: torch.Generator) -> Evidence:
    """In no model is a difference shown; each interval holds 0."""
    rows = of_all_images()
    differ = sum(row.shown != 0 for row in rows)
    criteria, numbers = [equal("models with a rank that differs, after Holm", differ, 0)], {}
    for row in rows:
        d, model = row.difference, row.model
        criteria += [
            below(f"lower bound over the rank in own order, {model}", d.low / row.own, 0),
            at_least(f"upper bound over it, {model}", d.high / row.own, 0),
        ]
        reach = comparison.detectable(d.sd, d.n) / row.own
        numbers[f"detectable with power 0.8, {model}"] = reach
    return Evidence(criteria, numbers)
