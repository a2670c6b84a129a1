"""Where the first token goes: eq (9), its equilibria and their spectra, and the predicted limit.

Eq (9) is ``dy/dt = q(y) w(y)`` with the number ``q(y) = <y, S_BC y>`` and the field
``w(y) = P_y(Delta(y) * y)``. So a trajectory follows an orbit of w, forwards where q > 0 and
backwards where q < 0, until it meets a zero of q, where it stops. It can end at

    a zero of w    a coordinate vector, or a point whose steps agree on its support (type 1),
    a zero of q    (type 2),

or at neither: orbits of w may cycle. Only the symmetric part of S_BC counts. A coordinate that is
zero stays zero and the others keep their signs, so orthants and coordinate subspaces are invariant.
"""

from .alignment import diagonal_limit, explicit_bound
from .ends import KINDS, Limits, settle
from .equilibria import Equilibrium, Family, equilibria, spectrum
from .field import jacobian, tangent_basis
from .potential import Potential, potential
from .predict import Prediction, predict_limit

__all__ = [
    "KINDS",
    "Equilibrium",
    "Family",
    "Limits",
    "Potential",
    "Prediction",
    "diagonal_limit",
    "equilibria",
    "explicit_bound",
    "jacobian",
    "potential",
    "predict_limit",
    "settle",
    "spectrum",
    "tangent_basis",
]
