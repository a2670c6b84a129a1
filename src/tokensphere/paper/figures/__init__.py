"""How the book draws: one palette, trajectories and portraits on the sphere, tokens in time,
circles, attention sinks, training with reordered tokens, verdicts.

The rest of the library neither prints nor plots.
"""

from tokensphere.sinks.figures import attention_maps, sinks_by_layer, sinks_by_position
from tokensphere.sinks.style import COLOURS, as_numpy, axes

from .circle_portraits import circles
from .in_time import in_time
from .ledger import verdicts
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
from .spheres import sphere, static_sphere, zeros_of_the_form
from .tables import table

__all__ = [
    "COLOURS",
    "STABILITIES",
    "alignment_by_depth",
    "as_numpy",
    "attention_maps",
    "axes",
    "circles",
    "collapse_by_order",
    "curves_by_gpus",
    "in_time",
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
    "table",
    "verdicts",
    "zeros_of_the_form",
]
