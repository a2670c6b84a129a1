"""What the experiment's runs say of random orders: accuracy, diversity, who follows the first.

From runs as `reorder.experiment.run` returns them. Accuracies and their differences are in points
of a percent; differences are paired by seed, with 95% t intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tokensphere.reorder.comparison import (
    DIVERSE,
    Difference,
    differences,
    diversity,
    holm,
    outcomes,
)
from tokensphere.reorder.significance import Unpaired, spread_chance, unpaired

__all__ = [
    "LEVEL",
    "Accuracy",
    "Control",
    "Diversity",
    "Follower",
    "accuracies",
    "contrasts",
    "diversity_differences",
    "fixed_order_control",
    "followers",
    "mean_excess",
    "tested_in",
]

Runs = Sequence[Mapping[str, Any]]

LEVEL = 0.05
"""Of a test that shows something."""


def tested_in(runs: Runs, arm: str, orders: str) -> dict[int, float]:
    """An arm's top-1 after the last epoch, by seed, tested in "own" order or in "random" ones.

    "own" is the order of the arm's tests: with one fixed order, that one. "random" is the mean
    over passes with orders drawn afresh.
    """
    return {
        run["seed"]: float(100 * np.mean(run["orders"][orders]))
        for run in runs
        if run["arm"] == arm
    }


def contrasts(runs: Runs) -> dict[str, Difference]:
    """Random order against own order and against one fixed order, by what is compared.

    Top-1 after the last epoch in points, and the loss of the last epoch in training. What lacks
    runs of two common seeds is left out.

    runs: of one model.
    """
    random, baseline = tested_in(runs, "random", "random"), tested_in(runs, "baseline", "own")
    sides = {
        "top-1, both tested in own order": (tested_in(runs, "random", "own"), baseline),
        "top-1, each tested as trained": (random, baseline),
        "top-1, both tested in random orders": (random, tested_in(runs, "baseline", "random")),
        "top-1, from one fixed order, each tested as trained": (
            random,
            tested_in(runs, "fixed", "own"),
        ),
        "loss in training (nats)": tuple(
            _by_seed(runs, arm, lambda run: run["epochs"][-1]["train_loss"])
            for arm in ("random", "baseline")
        ),
    }
    found = {}
    for name, (treatment, control) in sides.items():
        compared = differences({"treatment": treatment, "control": control}, "control")
        if "treatment" in compared:
            found[name] = compared["treatment"]
    return found


def _by_seed(runs: Runs, arm: str, value: Callable[[Mapping[str, Any]], float]) -> dict[int, float]:
    return {run["seed"]: value(run) for run in runs if run["arm"] == arm}


@dataclass(frozen=True)
class Accuracy:
    """An arm's accuracy after the last epoch, tested in its own order, and its difference.

    top1, top5: by seed.
    difference, difference5: from the baseline; None for the baseline itself.
    p: of the top-1 difference, after Holm over all arms of all models compared with it; 1 for the
        baseline.
    """

    top1: dict[int, float]
    top5: dict[int, float]
    difference: Difference | None
    difference5: Difference | None
    p: float


def accuracies(found: Mapping[str, Runs]) -> dict[str, dict[str, Accuracy]]:
    """`Accuracy` by model and arm.

    found: runs by model.
    """
    top1, top5 = (
        {model: outcomes(runs, metric) for model, runs in found.items()}
        for metric in ("top1", "top5")
    )
    less1, less5 = (
        {model: differences(values) for model, values in top.items()} for top in (top1, top5)
    )
    every = {(model, arm): d.p for model, arms in less1.items() for arm, d in arms.items()}
    adjusted = dict(zip(every, map(float, holm(list(every.values()))), strict=True))
    return {
        model: {
            arm: Accuracy(
                top1[model][arm],
                top5[model][arm],
                less1[model].get(arm),
                less5[model].get(arm),
                adjusted.get((model, arm), 1.0),
            )
            for arm in arms
        }
        for model, arms in top1.items()
    }


@dataclass(frozen=True)
class Control:
    """Fresh random orders less one fixed random order, top-1 of each as it was trained.

    paired: over the seeds that both have.
    unpaired: over all runs of both.
    chance: that so few pairs lie so close together where the two sides share nothing. A small one
        where other pairs of the model are not closer than chance says to trust `unpaired`.
    """

    paired: Difference
    unpaired: Unpaired
    chance: float


def fixed_order_control(runs: Runs) -> Control:
    """`Control` of one model's runs.

    Raises ValueError for fewer than two runs of an arm, KeyError for fewer than two common seeds.
    """
    random, fixed = tested_in(runs, "random", "random"), tested_in(runs, "fixed", "own")
    paired = differences({"random": random, "fixed": fixed}, "fixed")["random"]
    apart = unpaired(list(random.values()), list(fixed.values()))
    return Control(paired, apart, spread_chance(paired.sd, apart.sd, paired.n))


@dataclass(frozen=True)
class Follower:
    """Whether an arm's tokens follow the first one, and what their diversity goes with.

    cosine, clusters, top1: differences from the baseline of the mean cosine and of the clusters
        after the last layer, and of top-1; None for the baseline itself.
    excess: of each run, how much closer tokens are to the first than to each other.
    first, later: mean responses to a change of the first token, and of a later one.
    """

    cosine: Difference | None
    clusters: Difference | None
    top1: Difference | None
    excess: tuple[float, ...]
    first: float
    later: float


def followers(runs: Runs) -> dict[str, Follower]:
    """`Follower` by arm, of one model's arms in which one token is read first."""
    ends = {name: differences(values) for (_, name), values in diversity(runs).items()}
    top1 = differences(outcomes(runs, "top1"))
    found = {}
    for arm in dict.fromkeys(run["arm"] for run in runs):
        measured = [run["mechanism"] for run in runs if run["arm"] == arm]
        if measured[0]["response"] is None:
            continue
        found[arm] = Follower(
            cosine=ends["similarity"].get(arm),
            clusters=ends["clusters"].get(arm),
            top1=top1.get(arm),
            excess=tuple(one["excess"][-1] for one in measured),
            first=float(np.mean([one["response"]["first"][-1] for one in measured])),
            later=float(np.mean([one["response"]["later"][-1] for one in measured])),
        )
    return found


def mean_excess(runs: Runs) -> dict[str, float]:
    """How much closer tokens are to the first than to each other, by depth, in mean cosine.

    The mean over one model's runs in which one token is read first.
    """
    measured = [run["mechanism"] for run in runs if run["mechanism"]["excess"] is not None]
    means = np.mean([one["excess"] for one in measured], 0).tolist()
    return dict(zip(measured[0]["depths"], means, strict=True))


@dataclass(frozen=True)
class Diversity:
    """Random against own order by one measure of `comparison.DIVERSE` at the end of one stage.

    own: the baseline's mean.
    p: of the difference, after Holm over all that were compared with it.
    shown: 1 if reordered tokens are more diverse at level 0.05, -1 if less, 0 if neither is shown.
    """

    model: str
    depth: str
    measure: str
    own: float
    difference: Difference
    p: float
    shown: int


def diversity_differences(found: Mapping[str, Runs]) -> list[Diversity]:
    """Every measure at the end of every stage of every model, with Holm over all of them.

    found: runs by model.
    """
    measured = {
        (model, *key): values
        for model, runs in found.items()
        for key, values in diversity(runs).items()
    }
    compared = {key: differences(values)["random"] for key, values in measured.items()}
    adjusted = holm([d.p for d in compared.values()])
    rows = []
    for (key, d), p in zip(compared.items(), adjusted, strict=True):
        shown = 0 if p >= LEVEL else int(np.sign(d.mean)) * DIVERSE[key[-1]]
        own = float(np.mean(list(measured[key]["baseline"].values())))
        rows.append(Diversity(*key, own, d, float(p), shown))
    return rows
