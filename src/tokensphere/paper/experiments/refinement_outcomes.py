"""What `results/refinement.json` says: losses by arm and seed, and the comparisons planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tokensphere import records
from tokensphere.paper.experiments import refinement
from tokensphere.reorder.comparison import Difference, holm, paired

BASE = "unconstrained"
Runs = Sequence[Mapping[str, Any]]


def recorded() -> records.Record:
    """The record, refused where the plan or the code is another."""
    return records.load(records.path("refinement.json"), parameters=refinement.plan())


def arms(runs: Runs) -> dict[str, list[Mapping[str, Any]]]:
    """The runs by arm, in the order of their seeds."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for run in sorted(runs, key=lambda run: run["seed"]):
        found.setdefault(run["arm"], []).append(run)
    return {arm: found[arm] for arm in refinement.plan()["arms"]}


def losses(runs: Runs) -> dict[str, list[float]]:
    """The outcome: mean held-out loss after the last step, nats a token, by arm and seed."""
    return {arm: [run["heldout"][-1][1] for run in own] for arm, own in arms(runs).items()}


def training_losses(runs: Runs) -> dict[str, list[float]]:
    """The same on the text trained on: the mean over the last 200 steps."""
    return {
        arm: [float(np.mean([loss for _, loss in run["train"][-4:]])) for run in own]
        for arm, own in arms(runs).items()
    }


def compare(
    values: Mapping[str, Sequence[float]], pairs: Sequence[Sequence[str]], confidence: float = 0.95
) -> dict[tuple[str, str], tuple[Difference, float]]:
    """The first of each pair minus the second, over seeds, and its p after Holm over the pairs."""
    found = [paired(values[first], values[second], confidence) for first, second in pairs]
    adjusted = holm([difference.p for difference in found])
    return {
        (first, second): (difference, float(p))
        for (first, second), difference, p in zip(pairs, found, adjusted, strict=True)
    }


def primary_pairs() -> list[tuple[str, str]]:
    return [(arm, BASE) for arm in refinement.plan()["arms"] if arm != BASE]


def secondary_pairs() -> list[tuple[str, str]]:
    return [tuple(pair) for pair in refinement.plan()["plan"]["secondary"]]


def layers(runs: Runs, when: str, what: str) -> dict[str, np.ndarray]:
    """A number of each layer's signature, "before" or "after": (seeds, layers) by arm."""
    return {
        arm: np.array([[layer[what] for layer in run[when]["signatures"]] for run in own])
        for arm, own in arms(runs).items()
    }


def supplies(runs: Runs, when: str) -> dict[str, np.ndarray]:
    """Share of windows and channels with positive supply, (seeds, layers) by arm."""
    return {
        arm: np.array([run[when]["supply"]["positive"] for run in own])
        for arm, own in arms(runs).items()
    }


def streams(runs: Runs, when: str, what: str) -> dict[str, np.ndarray]:
    """A number of the residual stream by depth, (seeds, depths) by arm."""
    return {
        arm: np.array([run[when]["stream"][what] for run in own]) for arm, own in arms(runs).items()
    }
