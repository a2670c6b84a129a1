"""A closer look at a few layers: attention maps, and what rescaling does to the scores."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tokensphere.sinks.capture import Inputs, each_layer
from tokensphere.sinks.layer import Layer
from tokensphere.sinks.nulls import rescale
from tokensphere.sinks.scores import (
    VARIANTS,
    attention_map,
    importance,
    sample_channels,
    sample_sink_rates,
)

__all__ = ["FACTORS", "Looks", "look"]

FACTORS = (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Looks:
    """maps: depth -> mean softmax of the attention over channels and prompts, (T, T), float64.
    rescaled: factor -> variant -> mean score and sink rate of the first token."""

    maps: dict[int, Tensor]
    rescaled: dict[float, dict[str, tuple[float, float]]]


def look(
    model: nn.Module,
    batches: Iterable[Inputs],
    *,
    tokens: int,
    maps: Collection[int],
    rescaled: int,
    threshold: float,
    channels: int | None,
    seed: int,
) -> Looks:
    """Map some layers' attention, and multiply that of one layer by each of FACTORS.

    Args:
        model, batches: as for :func:`tokensphere.sinks.measure`; no prompt has less than `tokens`.
        tokens: T of the maps, to which prompts are cut.
        maps: depths of the layers to map, counted as :func:`each_layer` meets them.
        rescaled: depth of the layer to rescale.
        threshold, channels, seed: as for :func:`tokensphere.sinks.measure`, and the same channels.
    """
    totals = {depth: torch.zeros(tokens, tokens, dtype=torch.float64) for depth in maps}
    moved: dict[tuple[float, str], list[Tensor]] = {
        (factor, variant): [] for factor in FACTORS for variant in VARIANTS
    }
    count = 0
    for batch in batches:
        depths = iter(range(10**9))

        def visit(layer: Layer, depths: Iterator[int] = depths) -> int:
            depth = next(depths)
            size = len(layer.lengths)
            if depth in totals or depth == rescaled:
                chosen = sample_channels(layer.delta.shape[1], channels, seed, depth)
                layer = layer.select(chosen)
            if depth in totals:
                mean = attention_map(layer)[:tokens, :tokens]
                totals[depth] += size * mean.cpu().double()
            if depth == rescaled:
                for (factor, variant), found in moved.items():
                    alpha = importance(rescale(layer, factor), variant)[..., :1]
                    rate = sample_sink_rates(alpha, threshold)
                    found.append(torch.cat([alpha.mean(1), rate], dim=1).cpu().double())
            return size

        count += each_layer(model, batch, visit)[0]
    means = {key: torch.cat(found).mean(0).tolist() for key, found in moved.items()}
    return Looks(
        {depth: total / count for depth, total in totals.items()},
        {
            factor: {variant: tuple(means[factor, variant]) for variant in VARIANTS}
            for factor in FACTORS
        },
    )
