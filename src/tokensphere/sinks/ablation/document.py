"""A sweep of ablations as JSON values: means with intervals, sinks against other layers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from tokensphere.door import optional, takes, tensor
from tokensphere.sinks.ablation.sweep import Changes, Sweep, excess
from tokensphere.sinks.scores import interval
from tokensphere.sinks.theory import correlation

__all__ = ["ablation_document"]

DIGITS = 5
SIGNIFICANCE = 0.05
"""Chance that some layer's excess is taken for one where there is none, after Bonferroni."""


@takes(scores=optional(tensor("S", "E", alike=False)))
def ablation_document(found: Sweep, scores: Tensor | None = None) -> dict[str, Any]:
    """A sweep as JSON values: what a report's row and figure need.

    Means are over prompts with 95% intervals, None for what no number is. Those of the layers'
    excess have the `confidence` that is left for each when there are so many.

    Args:
        scores: each prompt's score of each layer's first token, (S, E), such as its "absolute"
            importance; None to leave the correlation out.

    Returns:
        prompts: how many. later: tokens a prompt. counted: as of :class:`Sweep`, and tokens: how
            many of a prompt, least and most.
        confidence: of the layers' excess.
        loss: the model's own over the tokens counted behind the first one, mean, low, high; None
            where there are no labels.
        measures: "kl", and "loss" where there are labels; by these below, mean, low and high each.
        layers: for each name, reverse, index (counts the model's mixers), first, later, excess.
        all: first, later and excess of all layers at once.
        sinks: None without; layers (places in `layers`), together (first, later and excess of them
            at once), random (draws; change: the mean over draws; excess: of those with a sink over
            it; None where there are too few others), alone (mean over those with a sink of the
            change of each alone, minus the mean over the others; None without others).
        correlation: Spearman's of the layers' scores with their changes: first and excess, by
            measure; `prompts` is that of each prompt, mean over them, and `layers` that of the
            layers' means with Fisher's interval, as if layers were independent draws. None without
            scores, or with one layer.

    Raises:
        ValueError: scores of another shape, or not finite.
    """
    confidence = 1 - SIGNIFICANCE / len(found.layers)
    layers = []
    for number, (name, reverse) in enumerate(found.layers):
        changes = {measure: value[number] for measure, value in found.alone.items()}
        entry = {"name": name, "reverse": reverse, "index": found.indices[number]}
        layers.append(entry | _nulls(changes, confidence))
    return {
        "prompts": len(found.tokens),
        "later": next(iter(found.together.values())).shape[0] - 1,
        "tokens": [int(found.tokens.min()), int(found.tokens.max())],
        "counted": found.counted,
        "confidence": round(confidence, 8),
        "loss": None if found.own is None else _estimates({"own": found.own})["own"],
        "measures": list(found.together),
        "layers": layers,
        "all": _nulls(found.together),
        "sinks": _with_sink(found),
        "correlation": _correlations(found, scores),
    }


def _nulls(changes: Changes, confidence: float = 0.95) -> dict[str, Any]:
    """first, later and excess of changes (1 + J, S)."""
    parts = {
        "first": {name: value[0] for name, value in changes.items()},
        "later": {name: value[1:].mean(0) for name, value in changes.items()},
    }
    found = {part: _estimates(values) for part, values in parts.items()}
    return {**found, "excess": _estimates(excess(changes), confidence)}


def _with_sink(found: Sweep) -> dict[str, Any] | None:
    if found.with_sink is None:
        return None
    first = {name: value[0] for name, value in found.with_sink.items()}
    random = None
    if found.random is not None:
        change = {name: value.mean(0) for name, value in found.random.items()}
        over = {name: first[name] - change[name] for name in change}
        random = {
            "draws": len(found.drawn),
            "change": _estimates(change),
            "excess": _estimates(over),
        }
    has = torch.tensor([number in found.sinks for number in range(len(found.layers))])
    alone = None
    if not bool(has.all()):
        means = {
            name: value[has, 0].mean(0) - value[~has, 0].mean(0)
            for name, value in found.alone.items()
        }
        alone = _estimates(means)
    return {
        "layers": list(found.sinks),
        "together": _nulls(found.with_sink),
        "random": random,
        "alone": alone,
    }


def _correlations(found: Sweep, scores: Tensor | None) -> dict[str, Any] | None:
    if scores is None or len(found.layers) < 2:
        return None
    takes = (len(found.tokens), len(found.layers))
    if scores.shape != takes:
        raise ValueError(f"scores: shape {tuple(scores.shape)}, takes {takes}")
    if not bool(scores.isfinite().all()):
        raise ValueError("scores: holds NaN or infinity")
    first = {name: value[:, 0] for name, value in found.alone.items()}
    return {
        part: {
            name: {
                "prompts": _rounded(vars(correlation(scores, value.T))),
                "layers": _rounded(_across(scores.double().mean(0), value.mean(1))),
            }
            for name, value in changes.items()
        }
        for part, changes in (("first", first), ("excess", found.excess))
    }


def _across(scores: Tensor, changes: Tensor) -> dict[str, float]:
    """Spearman's coefficient of layers, (E,) each, with Fisher's interval."""
    ranks = [stats.rankdata(value.numpy()) for value in (scores, changes)]
    if min(map(np.ptp, ranks)) == 0:
        return dict.fromkeys(("mean", "low", "high"), math.nan)
    found = stats.pearsonr(*ranks)
    low, high = found.confidence_interval() if len(scores) > 3 else (math.nan, math.nan)
    return {"mean": found.statistic, "low": low, "high": high}


def _estimates(changes: Changes, confidence: float = 0.95) -> dict[str, Any]:
    """Means over prompts, (S,), with their intervals."""
    found = {}
    for name, values in changes.items():
        low, high = interval(values, confidence)
        found[name] = _rounded({"mean": values.nanmean(), "low": low, "high": high})
    return found


def _rounded(numbers: Mapping[str, Any]) -> dict[str, float | None]:
    """Of DIGITS digits, None for NaN: more digits than intervals bear cost space."""
    values = {name: float(value) for name, value in numbers.items()}
    return {
        name: None if math.isnan(value) else float(f"{value:.{DIGITS}g}")
        for name, value in values.items()
    }
