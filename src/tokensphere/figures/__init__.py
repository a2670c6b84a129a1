"""How the book draws: one palette, trajectories and portraits on the sphere, tokens in time,
circles, attention sinks, training with reordered tokens, verdicts.

The rest of the library neither prints nor plots.
"""

from .circle_portraits import circles
from .in_time import in_time
from .ledger import MARKS, ledger_table, verdicts
from .portraits import STABILITIES, portrait, static_portrait
from .reordering import (
    collapse_by_order,
    curves_by_gpus,
    power_curves,
    reordering_curves,
    reordering_differences,
    reordering_mechanism,
)
from .sink_causes import alignment_by_depth, sink_factors, sinks_in_training
from .sinks import attention_maps, sinks_by_layer, sinks_by_position
from .spheres import sphere, static_sphere, zeros_of_the_form
from .style import COLOURS, as_numpy, axes

__all__ = [
    "COLOURS",
    "MARKS",
    "STABILITIES",
    "alignment_by_depth",
    "as_numpy",
    "attention_maps",
    "axes",
    "circles",
    "collapse_by_order",
    "curves_by_gpus",
    "in_time",
    "ledger_table",
    "portrait",
    "power_curves",
    "reordering_curves",
    "reordering_differences",
    "reordering_mechanism",
    "sink_factors",
    "sinks_by_layer",
    "sinks_by_position",
    "sinks_in_training",
    "sphere",
    "static_portrait",
    "static_sphere",
    "verdicts",
    "zeros_of_the_form",
]
