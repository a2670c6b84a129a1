"""Scores of every layer of a model over many prompts, without keeping any layer's tensors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tokensphere.door import flag, number, optional, takes, whole
from tokensphere.sinks.batch import Inputs
from tokensphere.sinks.capture import each_layer
from tokensphere.sinks.layer import Layer
from tokensphere.sinks.mixers import find
from tokensphere.sinks.scores import (
    VARIANTS,
    attention_map,
    importance,
    sample_channels,
    sample_sink_rates,
)
from tokensphere.sinks.walk import blame, find_mixers

__all__ = ["LayerScores", "measure"]


@dataclass(frozen=True)
class LayerScores:
    """What one layer scored over S prompts of at most L tokens; NaN past a prompt's end.

    Attributes:
        name, reverse: as in :class:`tokensphere.sinks.Layer`.
        channels: which of its D hidden attentions were scored, (K,), and `total` = D.
        scores: variant -> mean importance over these channels, eq (33), (S, L).
        rates: variant -> share of them above the threshold in each prompt, eq (35), (S, L).
        pooled_rates: variant -> the same with the importance averaged over prompts first, (L,).
        map: mean softmax of the attention over channels and prompts, (T, T) with T tokens in the
            shortest prompt; None where it was not asked for.
    """

    name: str
    reverse: bool
    channels: Tensor
    total: int
    scores: Mapping[str, Tensor]
    rates: Mapping[str, Tensor]
    pooled_rates: Mapping[str, Tensor]
    map: Tensor | None


@takes(threshold=number(), channels=optional(whole(1)), seed=whole(0), maps=flag())
def measure(
    model: nn.Module,
    batches: Iterable[Inputs],
    *,
    variants: Sequence[str] = VARIANTS,
    threshold: float = 0.3,
    channels: int | None = None,
    seed: int = 0,
    maps: bool = False,
    layers: Collection[str] | None = None,
) -> list[LayerScores]:
    """Score every layer on every batch: importance of each token, and how many channels sink.

    Args:
        model, batches: as :func:`tokensphere.sinks.capture` takes a model and a batch of prompts.
        variants: see :mod:`tokensphere.sinks.scores`. "raw" takes time linear in the length, the
            others quadratic.
        threshold: eps of eq (34).
        channels: how many channels of a layer to draw, by `seed`; None for all.
        maps: whether to average the layers' attention maps too, in quadratic time.
        layers: names of the mixers to score, None for all; the others are not read. The channels
            drawn are those that would be drawn with all.

    Raises:
        ValueError: no batch, a score that is not finite (names the layer, and weights that are
            not), or as the functions it calls.
    """
    places: dict[str, list[int]] = {}
    for name, mixer in find_mixers(model).items():
        start = sum(map(len, places.values()))
        places[name] = list(range(start, start + len(find(mixer).directions)))

    def score(layer: Layer) -> _Part:
        depth = places[layer.name][layer.reverse and len(places[layer.name]) > 1]
        try:
            part = _score(layer, depth, variants, threshold, channels, seed, maps)
            given = part.scores.values()
        except ValueError:
            # The sums refuse what is not finite, and cannot know whose it is.
            given = [each.float() for each in layer.tensors]
            if all(bool(each.isfinite().all()) for each in given):
                raise
        else:
            given = [each[layer.mask.cpu()] for each in given]
        if not all(bool(each.isfinite().all()) for each in given):
            raise ValueError(f"{layer.name}: its scores are not finite; {blame(model)}")
        return part

    found = [each_layer(model, batch, score, layers=layers, values=False) for batch in batches]
    if not found:
        raise ValueError("batches: there is none")
    return [_join(parts, threshold) for parts in zip(*found, strict=True)]


@dataclass(frozen=True)
class _Part:
    """One layer on one batch; sums over prompts where means come later."""

    name: str
    reverse: bool
    total: int
    channels: Tensor
    scores: dict[str, Tensor]
    rates: dict[str, Tensor]
    sums: dict[str, Tensor]
    counts: Tensor
    map: Tensor | None


def _score(
    layer: Layer,
    depth: int,
    variants: Sequence[str],
    threshold: float,
    channels: int | None,
    seed: int,
    maps: bool,
) -> _Part:
    total = layer.delta.shape[1]
    chosen = sample_channels(total, channels, seed, depth)
    if len(chosen) < total:
        layer = layer.select(chosen)
    mask = layer.mask
    scores, rates, sums = {}, {}, {}
    for variant in variants:
        alpha = importance(layer, variant)
        scores[variant] = alpha.mean(1).cpu()
        rates[variant] = sample_sink_rates(alpha, threshold).cpu()
        sums[variant] = alpha.nansum(0).cpu()
    drawn = attention_map(layer, "softmax").cpu() * len(mask) if maps else None
    counts = mask.sum(0).cpu()
    return _Part(layer.name, layer.reverse, total, chosen, scores, rates, sums, counts, drawn)


def _join(parts: Sequence[_Part], threshold: float) -> LayerScores:
    first = parts[0]
    length = max(part.counts.shape[0] for part in parts)
    counts = _total([part.counts for part in parts], length)
    pooled = {}
    for variant in first.scores:
        mean = _total([part.sums[variant] for part in parts], length) / counts
        rate = (mean > threshold).double().mean(0)
        pooled[variant] = torch.where(counts > 0, rate, torch.nan)
    return LayerScores(
        first.name,
        first.reverse,
        first.channels,
        first.total,
        {name: _rows([part.scores[name] for part in parts], length) for name in first.scores},
        {name: _rows([part.rates[name] for part in parts], length) for name in first.rates},
        pooled,
        _mean_map(parts),
    )


def _rows(values: Sequence[Tensor], length: int) -> Tensor:
    """(S, length) from batches (B, L), NaN where a batch is shorter."""
    padded = [
        torch.nn.functional.pad(value, (0, length - value.shape[-1]), value=torch.nan)
        for value in values
    ]
    return torch.cat(padded).double()


def _total(values: Sequence[Tensor], length: int) -> Tensor:
    return sum(
        torch.nn.functional.pad(value.double(), (0, length - value.shape[-1])) for value in values
    )


def _mean_map(parts: Sequence[_Part]) -> Tensor | None:
    maps = [part.map for part in parts if part.map is not None]
    if not maps:
        return None
    least = min(len(drawn) for drawn in maps)
    prompts = sum(int(part.counts[0]) for part in parts)
    return sum(drawn[:least, :least].double() for drawn in maps) / prompts
