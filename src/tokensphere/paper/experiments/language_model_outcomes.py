"""What the plan of `experiments.language_models` asks, answered out of its record's data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokensphere.sinks.nulls import uniform_importance
from tokensphere.sinks.verdicts import MARGIN, Estimate, outcome

PRIMARY = 64, "bos"
"""Length of the prompts, and how they begin."""

Data = Mapping[str, Any]


def uniform(length: int) -> float:
    """The first token's share under uniform attention."""
    return float(uniform_importance(length)[0])


def outcomes(data: Data, model: str, step: int, length: int, way: str) -> list[str]:
    """ "sink", "uniform" or "undecided" for each layer of a model before a step.

    way: "bos" or "none".
    """
    cell, null = _cell(data, model, step, length, way), uniform(length)
    excess = (
        Estimate(*(value - null for value in values))
        for values in zip(cell["mean"], cell["low"], cell["high"], strict=True)
    )
    return [outcome(each, MARGIN * null, data["prompts"]) for each in excess]


def largest(data: Data, model: str, step: int, length: int, way: str) -> tuple[float, float]:
    """Over uniform attention's: the largest mean share of a layer, and the largest lower end."""
    cell, null = _cell(data, model, step, length, way), uniform(length)
    return max(cell["mean"]) / null, max(cell["low"]) / null


def steps(data: Data, model: str) -> list[int]:
    """The moments of a model, the last one after all its steps."""
    return sorted(map(int, data["models"][model]["measured"]))


def answers(data: Data) -> dict[str, str]:
    """ "yes", "no" or "undecided" to each of the plan's three questions: seed, size, training."""
    first, last = {}, {}
    for model in data["models"]:
        moments = steps(data, model)
        first[model], last[model] = (
            outcomes(data, model, moment, *PRIMARY) for moment in (moments[0], moments[-1])
        )
    found = last["second"]
    seed = "yes" if "sink" in found else "no" if set(found) == {"uniform"} else "undecided"

    shares = {model: each.count("sink") / len(each) for model, each in last.items()}
    lows = {model: largest(data, model, steps(data, model)[-1], *PRIMARY)[1] for model in last}
    larger = [
        values["larger"] > max(values["first"], values["second"]) for values in (shares, lows)
    ]
    size = "yes" if all(larger) else "undecided" if any(larger) else "no"

    after = ["sink" in each for each in last.values()]
    training = "undecided" if any(after) else "no"
    if all(after) and not any("sink" in each for each in first.values()):
        training = "yes"
    return {"seed": seed, "size": size, "training": training}


def _cell(data: Data, model: str, step: int, length: int, way: str) -> Mapping[str, Any]:
    return data["models"][model]["measured"][str(step)][str(length)][way]
