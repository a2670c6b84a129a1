"""Which layers' reading of the first token matters: each ablated by itself, beside its nulls.

A layer's first token is the one that it reads first: the sequence's first, or its last for a layer
that reads from the end. Its key is ablated in that layer alone, and so is, as a null, the key of
each of a few later tokens, spread evenly over the first half of what the layer reads. Then all
layers at once, those with a sink at once, and random others as many as these.

What is compared. A later token is read by fewer queries, and those next to it are moved most: means
over whatever follows would compare other distances. So in a causal model the same number of tokens
is counted behind each ablated one: as many as follow the last of the later tokens and have a next
one, T - 2 - floor(T / 2) of a prompt of T tokens. Where some layer reads from the end every token
can be moved, and all are counted; a model that gives one answer a sequence has that one.

An excess is the first token's change minus the mean of the later tokens', prompt by prompt.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from tokensphere.sinks.ablation import Ablation, compare, mixer_names
from tokensphere.sinks.answers import Answers, Keys, answers
from tokensphere.sinks.batch import Inputs
from tokensphere.sinks.scores import interval
from tokensphere.sinks.theory import correlation

__all__ = ["Sweep", "ablation_document", "least_tokens", "sweep"]

DIGITS = 5
SIGNIFICANCE = 0.05
"""Chance that some layer's excess is taken for one where there is none, after Bonferroni."""

Direction = tuple[str, bool]
"""A mixer's name, and whether it reads from the end: what a layer is here."""
Changes = Mapping[str, Tensor]
"""By what changes, "kl" and where there are labels "loss": means over the tokens counted, nats."""


@dataclass(frozen=True)
class Sweep:
    """Changes of what a model says, for S prompts; J later tokens.

    Attributes:
        layers: the E layers, in the order they run.
        counted: which tokens are: as many "behind" each ablated one, "all", or "one" answer of a
            model that gives one for a sequence.
        tokens: how many of each prompt, (S,).
        own: the model's own loss over those behind the first token, (S,), nats; None where there
            are no labels.
        alone: each layer by itself, (E, 1 + J, S): its first token, then the later ones.
        together: all layers at once, (1 + J, S).
        sinks: indices of the layers with a sink, and `with_sink`: those at once, (1 + J, S); None
            without.
        drawn: as many other layers each, by index, and `random`: their first tokens, (R, S); None
            where there are not so many others.
    """

    layers: tuple[Direction, ...]
    counted: str
    tokens: Tensor
    own: Tensor | None
    alone: Changes
    together: Changes
    sinks: tuple[int, ...]
    with_sink: Changes | None
    drawn: tuple[tuple[int, ...], ...]
    random: Changes | None

    @property
    def excess(self) -> Changes:
        """Each layer's first token over the mean of its later ones, (E, S)."""
        return _excess(self.alone)


def least_tokens(later: int = 3) -> int:
    """The shortest prompt that :func:`sweep` takes: the later tokens are different ones, and behind
    the last of them one is counted."""
    return max(5, 2 * later)


@torch.no_grad()
def sweep(
    model: nn.Module,
    batches: Iterable[Inputs],
    *,
    layers: Collection[str] | None = None,
    sinks: Collection[Direction] = (),
    later: int = 3,
    draws: int = 10,
    seed: int = 0,
) -> Sweep:
    """Ablate the first token's key in each layer alone, in all, in those with a sink; with nulls.

    (E + 1) (1 + later) runs of the model for each batch and one more, with sinks 1 + later + draws
    besides. Keys of a bidirectional mixer are taken out in both directions; behind what one of them
    reads first there is nothing for the other.

    Args:
        model, batches: as :func:`tokensphere.sinks.ablate` takes a model and a batch of prompts, of
            at least `least_tokens(later)` tokens each.
        layers: names of the mixers to ablate, None for all: "all layers" are then these.
        sinks: those that have a sink, each a mixer's name and whether it reads from the end.
        later: how many later tokens.
        draws: how many times to draw other layers, all different; all choices where there are no
            more.
        seed: of these draws.

    Raises:
        ValueError: no batch, a prompt that is too short, a layer that there is not, numbers out of
            range; or as `ablate`.
    """
    for name, value, least in (("later", later, 1), ("draws", draws, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name}: got {value!r}, takes an integer >= {least}")
    names = mixer_names(model, layers)
    parts = []
    for batch in batches:
        own = answers(model, batch)
        if not parts:
            found = tuple(layer for layer in own.directions if layer[0] in names)
            chosen, drawn = _groups(found, sinks, draws, seed)
        parts.append(_ablated(model, batch, own, found, chosen, drawn, later))
    if not parts:
        raise ValueError("batches: there is none")

    def joined(key: str) -> Changes | None:
        if parts[0][key] is None:
            return None
        return {name: torch.cat([part[key][name] for part in parts], -1) for name in parts[0][key]}

    counted = joined("counted")
    return Sweep(
        found,
        "one" if own.batch is None else "behind" if own.causal else "all",
        counted["tokens"],
        counted.get("own"),
        joined("alone"),
        joined("together"),
        chosen,
        joined("with_sink"),
        drawn,
        joined("random"),
    )


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
        loss: the model's own over the tokens behind the first one, mean, low and high; None where
            there are no labels.
        measures: "kl", and "loss" where there are labels; by these below, mean, low and high each.
        layers: for each name, reverse, index (counts mixers), first, later, excess.
        all: first, later and excess of all layers at once.
        sinks: None without; layers (places in `layers`), together (first, later and excess of them
            at once), random (draws; change: the mean over draws; excess: of those with a sink over
            it; None where there are too few others), alone (mean over those with a sink of the
            change of each alone, minus the mean over the others; None without others).
        correlation: Spearman's of the layers' scores with their excess, by measure: `prompts`, that
            of each prompt, mean over them; and `layers`, that of the layers' means with Fisher's
            interval, as if layers were independent draws; None without scores, or with one layer.

    Raises:
        ValueError: scores of another shape, or not finite.
    """
    names = list(dict.fromkeys(name for name, _ in found.layers))
    confidence = 1 - SIGNIFICANCE / len(found.layers)
    layers = []
    for number, (name, reverse) in enumerate(found.layers):
        changes = {measure: value[number] for measure, value in found.alone.items()}
        entry = {"name": name, "reverse": reverse, "index": names.index(name)}
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


# The runs.


def _ablated(
    model: nn.Module,
    batch: Inputs,
    own: Answers,
    layers: Sequence[Direction],
    chosen: Sequence[int],
    drawn: Sequence[Sequence[int]],
    later: int,
) -> dict[str, Any]:
    """What :class:`Sweep` holds, of one batch."""
    counted: dict[str, Tensor] = {}

    def run(which: Iterable[int], step: int) -> dict[str, Tensor]:
        plan = _plan([layers[number] for number in which], step, later)
        keys = next(iter(plan.values()))
        ablation = compare(own, answers(model, batch, plan), keys)
        mask = _counted(ablation, own, keys)

        def mean(value: Tensor) -> Tensor:
            return torch.where(mask, value, torch.nan).nanmean(1)

        if not counted:  # the first token's, of whichever layer
            counted["tokens"] = mask.sum(1)
            if ablation.before is not None:
                counted["own"] = mean(ablation.before)
        changes = {"kl": ablation.kl, "loss": ablation.loss}
        return {name: mean(value) for name, value in changes.items() if value is not None}

    def steps(which: Collection[int]) -> dict[str, Tensor]:
        return _stack([run(which, step) for step in range(1 + later)])

    every = range(len(layers))
    return {
        "alone": _stack([steps([number]) for number in every]),
        "together": steps(every),
        "with_sink": steps(chosen) if chosen else None,
        "random": _stack([run(which, 0) for which in drawn]) if drawn else None,
        "counted": counted,
    }


def _plan(which: Sequence[Direction], step: int, later: int) -> dict[str, Keys]:
    """The keys to take out of each mixer: of each of its directions the token at that step."""
    by_name: dict[str, list[bool]] = {}
    for name, reverse in which:
        by_name.setdefault(name, []).append(reverse)
    least = least_tokens(later)

    def keys(sides: Sequence[bool], lengths: Tensor) -> Tensor:
        if int(lengths.min()) < least:
            raise ValueError(
                f"batches: hold a prompt of {int(lengths.min())} tokens, takes at least {least} "
                f"for {later} later ones"
            )
        read = step * (lengths // 2) // later
        return torch.stack([lengths - 1 - read if side else read for side in sides], 1)

    return {
        name: lambda lengths, sides=sides: keys(sides, lengths) for name, sides in by_name.items()
    }


def _counted(ablation: Ablation, own: Answers, keys: Keys) -> Tensor:
    """(S, T): which tokens' changes are averaged."""
    reached = ~ablation.kl.isnan()
    if own.batch is None or not own.causal:
        return reached
    lengths = own.batch.lengths.cpu()
    positions = torch.arange(reached.shape[1])
    window = lengths - 2 - lengths // 2
    return reached & (positions <= (keys(lengths)[:, 0] + window)[:, None])


def _groups(
    layers: Sequence[Direction], sinks: Collection[Direction], draws: int, seed: int
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Places of the layers with a sink, and as many others, in several ways."""
    unknown = [sink for sink in sinks if sink not in layers]
    if unknown:
        raise ValueError(f"sinks: got {unknown[0]!r}, takes layers such as {layers[0]!r}")
    chosen = tuple(number for number, layer in enumerate(layers) if layer in sinks)
    others = [number for number in range(len(layers)) if number not in chosen]
    if not chosen or len(others) < len(chosen):
        return chosen, ()
    if math.comb(len(others), len(chosen)) <= draws:
        return chosen, tuple(itertools.combinations(others, len(chosen)))
    generator = np.random.default_rng(seed)
    drawn: set[tuple[int, ...]] = set()
    while len(drawn) < draws:
        drawn.add(tuple(sorted(generator.choice(others, len(chosen), replace=False).tolist())))
    return chosen, tuple(sorted(drawn))


def _stack(changes: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([each[name] for each in changes]) for name in changes[0]}


# The document.


def _nulls(changes: Changes, confidence: float = 0.95) -> dict[str, Any]:
    """first, later and excess of changes (1 + J, S)."""
    parts = {
        "first": {name: value[0] for name, value in changes.items()},
        "later": {name: value[1:].mean(0) for name, value in changes.items()},
    }
    found = {part: _estimates(values) for part, values in parts.items()}
    return {**found, "excess": _estimates(_excess(changes), confidence)}


def _excess(changes: Changes) -> dict[str, Tensor]:
    """(..., S), of changes (..., 1 + J, S)."""
    return {name: value[..., 0, :] - value[..., 1:, :].mean(-2) for name, value in changes.items()}


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
    return {
        name: {
            "prompts": _rounded(vars(correlation(scores, value.T))),
            "layers": _rounded(_across(scores.double().mean(0), value.mean(1))),
        }
        for name, value in found.excess.items()
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
