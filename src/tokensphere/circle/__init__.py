"""The first token in two dimensions: phase portraits on the circle that are proved, not plotted.

With y = (cos phi, sin phi), eq (9) for D = 2 is phi' = F(phi),

    F(phi) = q(y) cos(phi) sin(phi) (Delta_2(y) - Delta_1(y)),        q(y) = <y, S_BC y>,

for any S_BC; only its symmetric part S matters. softplus is increasing, so Delta_2 - Delta_1 has
the sign of <d, y> with d = S_{Delta,2} - S_{Delta,1}, and F vanishes on at most five lines:

    "coordinate vector"    the two axes,
    "equal steps"          the line orthogonal to d (the paper's +-xi),
    "zero of the form"     S_11 cos^2 + 2 S_12 cos sin + S_22 sin^2 = 0, at most two lines.

For rational parameters the lines are known exactly: each has a rational direction, or an
irrational one with sqrt(-det S) in it, which then is none of the others. So coincidences are
decided in rational numbers, the order on the circle by ball arithmetic (python-flint) at a
precision that separates the lines, and the sign of F on an arc by a ball for F that excludes zero.

:func:`portrait` does this. :func:`isolate` finds the zeros again without any of it, from
enclosures of F and F' alone. flint's precision is raised as needed and restored; numbers in results
are balls, which carry their own error.
"""

from .field import angular_field
from .isolation import Enclosure, isolate
from .lines import KINDS
from .phase import STABILITIES, Portrait, Zero, portrait
from .shares import gaussian_shares

__all__ = [
    "KINDS",
    "STABILITIES",
    "Enclosure",
    "Portrait",
    "Zero",
    "angular_field",
    "gaussian_shares",
    "isolate",
    "portrait",
]
