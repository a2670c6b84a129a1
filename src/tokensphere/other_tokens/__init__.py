"""The tokens after the first: pair interactions, consensus with its spectrum, and rates."""

from .interactions import interaction_speeds, interactions, weights
from .spectra import (
    ConsensusRate,
    consensus_rate,
    consensus_spectrum,
    exceptional_spectrum,
    tangent_jacobian,
)

__all__ = [
    "ConsensusRate",
    "consensus_rate",
    "consensus_spectrum",
    "exceptional_spectrum",
    "interaction_speeds",
    "interactions",
    "tangent_jacobian",
    "weights",
]
