"""Tokens in R^D under eq (6) without its projection: the earlier paper's system with D > 1.

`Unnormalised` is the field and `simulate` follows it, to a blow-up if there is one;
`first_token_end` says where a first token ends.
"""

from .constants import blow_up_bounds, grows_slowly, slow_rates
from .ends import FirstTokenEnd, first_token_end, first_token_kind
from .field import Unnormalised, cone_exponent, first_velocity, form, symmetric_part
from .integrate import Trajectory, simulate

__all__ = [
    "FirstTokenEnd",
    "Trajectory",
    "Unnormalised",
    "blow_up_bounds",
    "cone_exponent",
    "first_token_end",
    "first_token_kind",
    "first_velocity",
    "form",
    "grows_slowly",
    "simulate",
    "slow_rates",
    "symmetric_part",
]
