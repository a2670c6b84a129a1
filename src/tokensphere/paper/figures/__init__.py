"""How the book draws: the palette, spheres and circles to turn, tables, verdicts.

Here is what several chapters use; a module has the figures of one. The library neither prints nor
plots, outside its report on sinks.
"""

from .circle_portraits import circles
from .drawing import COLOURS, NAMES, as_numpy, axes, legend, legend_below
from .ledger import criteria, verdicts
from .portraits import STABILITIES, portrait, static_portrait
from .spheres import in_time, sphere, static_sphere, zeros_of_the_form
from .tables import table

__all__ = [
    "COLOURS",
    "NAMES",
    "STABILITIES",
    "as_numpy",
    "axes",
    "circles",
    "criteria",
    "in_time",
    "legend",
    "legend_below",
    "portrait",
    "sphere",
    "static_portrait",
    "static_sphere",
    "table",
    "verdicts",
    "zeros_of_the_form",
]
