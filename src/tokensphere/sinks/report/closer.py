"""A closer look at a few layers: attention maps, and what rescaling does to the scores."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tokensphere.sinks.batch import Inputs
from tokensphere.sinks.capture import each_layer
from tokensphere.sinks.layer import Layer
from tokensphere.sinks.measure import LayerScores
from tokensphere.sinks.nulls import rescale
from tokensphere.sinks.scores import VARIANTS, attention_map, importance, sample_sink_rates

__all__ = ["FACTORS", "MAPPED", "Looks", "look"]

FACTORS = (0.5, 1.0, 2.0)
MAPPED = ("absolute", "softmax")
"""Variants of the maps: that of the verdict, and that of the paper's Figure 2."""


@dataclass(frozen=True)
class Looks:
    """maps: (name, reverse) of a layer -> variant of MAPPED -> mean over channels and prompts,
    (T, T), float64.
    rescaled: factor -> variant -> mean score and sink rate of the first token."""

    maps: dict[tuple[str, bool], dict[str, Tensor]]
    rescaled: dict[float, dict[str, tuple[float, float]]]


def look(
    model: nn.Module,
    batches: Iterable[Inputs],
    *,
    tokens: int,
    maps: Collection[LayerScores],
    rescaled: LayerScores,
    threshold: float,
) -> Looks:
    """Map some layers' attention, and multiply that of one layer by each of FACTORS.

    Args:
        model, batches: as for :func:`tokensphere.sinks.measure`; no prompt has less than `tokens`.
        tokens: T of the maps, to which prompts are cut.
        maps: the layers to map, on the channels that were scored.
        rescaled: the layer to rescale, likewise.
        threshold: as for :func:`tokensphere.sinks.measure`.
    """
    chosen = {(layer.name, layer.reverse): layer.channels for layer in (*maps, rescaled)}
    totals = {
        (layer.name, layer.reverse): {
            variant: torch.zeros(tokens, tokens, dtype=torch.float64) for variant in MAPPED
        }
        for layer in maps
    }
    moved: dict[tuple[float, str], list[Tensor]] = {
        (factor, variant): [] for factor in FACTORS for variant in VARIANTS
    }
    count = 0
    for batch in batches:

        def visit(layer: Layer) -> int:
            key, size = (layer.name, layer.reverse), len(layer.lengths)
            if key not in chosen:  # the other direction of a mixer
                return size
            layer = layer.select(chosen[key])
            for variant, total in totals.get(key, {}).items():
                mean = attention_map(layer, variant)[:tokens, :tokens]
                total += size * mean.cpu().double()
            if key == (rescaled.name, rescaled.reverse):
                for (factor, variant), found in moved.items():
                    alpha = importance(rescale(layer, factor), variant)[..., :1]
                    rate = sample_sink_rates(alpha, threshold)
                    found.append(torch.cat([alpha.mean(1), rate], dim=1).cpu().double())
            return size

        names = {name for name, _ in chosen}
        count += each_layer(model, batch, visit, layers=names, values=False)[0]
    means = {key: torch.cat(found).mean(0).tolist() for key, found in moved.items()}
    return Looks(
        {
            key: {variant: total / count for variant, total in found.items()}
            for key, found in totals.items()
        },
        {
            factor: {variant: tuple(means[factor, variant]) for variant in VARIANTS}
            for factor in FACTORS
        },
    )
