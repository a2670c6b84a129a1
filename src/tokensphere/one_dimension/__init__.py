"""Tokens that are numbers, not normalised: eq (6) with D = 1 and without its projection,

    x_l' = mu x_l W_l,  W_l = Delta_l x_l^2 + exp(-a Delta_l) W_{l-1},  Delta_l = softplus(s x_l).

`predict` says what becomes of the tokens, `lives` when each ends;
`simulate` and `approach` follow them in a clock of their own, `blow_up_in_time` measures without
it; `decay`, `growth` and `blowup` have the formulas.
"""

from .blowup import time_alone, time_bounds
from .field import velocity
from .in_time import blow_up_in_time
from .lives import lives, tie_of_two
from .predict import Prediction, predict
from .simulate import Trajectory, approach, simulate

__all__ = [
    "Prediction",
    "Trajectory",
    "approach",
    "blow_up_in_time",
    "lives",
    "predict",
    "simulate",
    "tie_of_two",
    "time_alone",
    "time_bounds",
    "velocity",
]
