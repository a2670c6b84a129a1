"""How the book draws: one palette, trajectories and portraits on the sphere, tokens in time,
circles, verdicts.

The rest of the library neither prints nor plots.
"""

from .circle_portraits import circles
from .in_time import in_time
from .ledger import MARKS, ledger_table, verdicts
from .portraits import STABILITIES, portrait, static_portrait
from .spheres import sphere, static_sphere, zeros_of_the_form
from .style import COLOURS, as_numpy, axes

__all__ = [
    "COLOURS",
    "MARKS",
    "STABILITIES",
    "as_numpy",
    "axes",
    "circles",
    "in_time",
    "ledger_table",
    "portrait",
    "sphere",
    "static_portrait",
    "static_sphere",
    "verdicts",
    "zeros_of_the_form",
]
