"""Attention sinks in trained Mamba models: S6 tensors out of a model, scores, nulls, a report."""

from tokensphere.sinks.ablation import Ablation, ablate
from tokensphere.sinks.ablation.document import ablation_document
from tokensphere.sinks.ablation.sweep import Sweep, sweep
from tokensphere.sinks.capture import capture, check, each_layer, rebuild
from tokensphere.sinks.layer import Layer
from tokensphere.sinks.measure import LayerScores, measure
from tokensphere.sinks.nulls import (
    lag_importance,
    move_first,
    replace_first,
    rescale,
    shuffle_tokens,
    uniform_importance,
)
from tokensphere.sinks.scores import (
    VARIANTS,
    attention_map,
    importance,
    interval,
    sample_channels,
    sample_sink_rates,
    sink_rate,
    sink_score,
)
from tokensphere.sinks.verdicts import Estimate, Verdict, verdict

__all__ = [
    "VARIANTS",
    "Ablation",
    "Estimate",
    "Layer",
    "LayerScores",
    "Sweep",
    "Verdict",
    "ablate",
    "ablation_document",
    "attention_map",
    "capture",
    "check",
    "each_layer",
    "importance",
    "interval",
    "lag_importance",
    "measure",
    "move_first",
    "rebuild",
    "replace_first",
    "rescale",
    "sample_channels",
    "sample_sink_rates",
    "shuffle_tokens",
    "sink_rate",
    "sink_score",
    "sweep",
    "uniform_importance",
    "verdict",
]
