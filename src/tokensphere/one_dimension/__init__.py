"""Tokens that are numbers, not normalised: eq (6) with D = 1 and without its projection,

    x_l' = mu x_l W_l,  W_l = Delta_l x_l^2 + exp(-a Delta_l) W_{l-1},  Delta_l = softplus(s x_l).

`predict` says what becomes of the tokens,
`simulate` and `approach` follow them; `decay`, `growth` and `blowup` have the formulas.
"""

from .blowup import time_alone, time_bounds
from .field import velocity
from .predict import Prediction, predict
from .simulate import Trajectory, approach, simulate

__all__ = [
    "Prediction",
    "Trajectory",
    "approach",
    "predict",
    "simulate",
    "time_alone",
    "time_bounds",
    "velocity",
]
