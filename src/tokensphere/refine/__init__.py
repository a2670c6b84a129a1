"""The earlier paper's first refinement: Mamba layers whose input and output maps share a sign.

Vo, Pham, Tong, Nguyen (2025, "Demystifying the Token Dynamics of Deep Selective State Space
Models", arXiv:2410.03292) exclude the convergent scenario by keeping the eigenvalues of
``S_C^T S_B`` positive, where ``B = S_B u`` and ``C = S_C u`` are what a layer writes and reads at a
token u. `constrain` does so to a model, `signature` says what a layer has, and `passivity` what
follows from it in a layer whose decay rates differ from state to state.
"""

from .input_output import InputOutput, constrain, constrained, release
from .mixers import MIXERS, find_mixers, projections
from .passivity import least_supply, passive, supply
from .signature import Signature, signature, spectrum

__all__ = [
    "MIXERS",
    "InputOutput",
    "Signature",
    "constrain",
    "constrained",
    "find_mixers",
    "least_supply",
    "passive",
    "projections",
    "release",
    "signature",
    "spectrum",
    "supply",
]
