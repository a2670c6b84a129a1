"""The limit of a first token, with the argument that gives it."""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from tokensphere.door import positive, takes, tensor

from ..flow.checks import check_tokens
from .alignment import diagonal_limit
from .ends import EQUAL, KINDS, UNRESOLVED, VERTEX, ZERO, settle
from .equilibria import check_problem, spectrum
from .field import form, orbit_field

ARGUMENTS = ("at rest", "largest step", "circle", "certified neighbourhood", "none found")
"""Why a limit is what it is; see :func:`predict_limit`."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """The limit of one trajectory of eq (9).

    Args:
        point: (D,), or None if none was found.
        kind: one of :data:`tokensphere.first_token.KINDS`; "unresolved" if none was found.
        argument: one of ARGUMENTS.
        rate: the exponential rate at which generic trajectories with the support of y0 arrive: the
            slowest eigenvalue there, with its sign turned. None where linearisation gives none.
    """

    point: Tensor | None
    kind: str
    argument: str
    rate: float | None


@takes(
    S_BC=tensor("D", "D", dtype="float64", largest=1e100),
    S_Delta=tensor("D", "D", dtype="float64", largest=1e3),
    y0=tensor("D", dtype="float64", unit=True),
    horizon=positive(),
)
def predict_limit(S_BC: Tensor, S_Delta: Tensor, y0: Tensor, horizon: float = 2000.0) -> Prediction:
    """Where the first token that starts at y0 ends, and why.

    Coordinates of y0 that are zero stay zero: everything below is said of the sphere in the
    coordinates that are not. The arguments, in the order in which they are tried:

    "at rest"
        y0 is an equilibrium, to rounding: all steps of its support agree, or <y0, S_BC y0> = 0.
    "largest step"
        The symmetric part of S_BC is definite and the columns of S_Delta are multiples of the
        coordinate vectors plus one common vector, S_{Delta,i} = delta_i e_i + k. Then the order of
        u_i = delta_i y_i never changes. If the form is positive and one u_d > 0 is the largest,
        the limit is sign(y_d) e_d; if all u_i < 0, the limit has equal u_i, |y_i| proportional to
        1/|delta_i|. A negative form turns the order round. Theorem 3.2 is the case
        delta_i = sign(y_i), k = 0. Ties lead to the point of equal u on the tie.
    "circle"
        Two coordinates: the next zero of the angular field, Theorem 3.3 for any S_BC.
    "certified neighbourhood"
        :func:`tokensphere.first_token.settle`: integration to a set that is proved to lead there.
    "none found"
        The trajectory met no such set up to `horizon`: it may cycle, approach a saddle, or take
        longer. Nothing is claimed.

    Args:
        S_BC, S_Delta: (D, D), float64; S_BC need not be symmetric.
        y0: (D,), unit.
        horizon: longest integration; as in :func:`tokensphere.first_token.settle`.
    Raises:
        ValueError: a wrong shape, dtype or value; the message names the argument.
    """
    dim = check_problem(S_BC, S_Delta)
    check_tokens(y0, dim, 1, name="y0")
    if y0.ndim != 1:
        raise ValueError(f"y0: shape {tuple(y0.shape)}, takes (D,)")
    if not horizon > 0:
        raise ValueError(f"horizon: got {horizon}, takes a positive number")
    support = y0.nonzero().squeeze(-1)
    B, step, y = S_BC[support][:, support], S_Delta[support][:, support], y0[support]
    rules = {
        "at rest": _at_rest,
        "largest step": _largest_step,
        "circle": _circle,
        "certified neighbourhood": partial(_integrated, horizon=horizon),
    }
    for argument, rule in rules.items():
        if (end := rule(B, step, y)) is not None:
            point = torch.zeros_like(y0)
            point[support] = end
            return Prediction(point, _kind(B, step, end), argument, _rate(B, step, end))
    return Prediction(None, KINDS[UNRESOLVED], "none found", None)


def _at_rest(S_BC: Tensor, S_Delta: Tensor, y: Tensor) -> Tensor | None:
    rounding = 8 * torch.finfo(torch.float64).eps
    still = orbit_field(S_Delta, y).norm() <= rounding * (1 + S_Delta.norm())
    return y if still or form(S_BC, y).abs() <= rounding * S_BC.norm() else None


def _largest_step(S_BC: Tensor, S_Delta: Tensor, y: Tensor) -> Tensor | None:
    values = torch.linalg.eigvalsh((S_BC + S_BC.mT) / 2)
    if values[0] * values[-1] <= 0:
        return None
    dim = len(y)
    # Row i without its diagonal entry holds k_i, D - 1 times.
    off = S_Delta.flatten()[1:].unflatten(0, (dim - 1, dim + 1))[:, :-1].reshape(dim, dim - 1)
    rounding = 8 * torch.finfo(torch.float64).eps * S_Delta.abs().amax()
    if (off.amax(-1) - off.amin(-1)).max() > rounding:
        return None
    delta = S_Delta.diagonal() - off.mean(-1)
    return diagonal_limit(S_BC[None], delta[None], y[None])[0][0]


def _circle(S_BC: Tensor, S_Delta: Tensor, y: Tensor) -> Tensor | None:
    if len(y) != 2:
        return None
    from ..circle import portrait  # here because that module imports from this package

    # float64 numbers are rational: the portrait is that of these very parameters.
    zero = portrait(S_BC.tolist(), S_Delta.tolist()).limit(tuple(y.tolist()))
    angle = float(zero.angle)
    point = y.new_tensor([math.cos(angle), math.sin(angle)])
    return point.round() if KINDS[VERTEX] in zero.kinds else point


def _integrated(S_BC: Tensor, S_Delta: Tensor, y: Tensor, horizon: float) -> Tensor | None:
    ends = settle(S_BC[None], S_Delta[None], y[None], horizon)
    kind, point = int(ends.kind), ends.point[0]
    if kind == UNRESOLVED:
        return None
    return _onto_the_zero(S_BC, S_Delta, point) if kind == ZERO else point


def _onto_the_zero(S_BC: Tensor, S_Delta: Tensor, y: Tensor) -> Tensor:
    """Newton's method along w, from a point that is CLOSE: off the limit by a square of that."""
    for _ in range(4):
        w = orbit_field(S_Delta, y)
        slope = (S_BC + S_BC.mT) @ y @ w
        y = y - form(S_BC, y) / slope * w if slope != 0 else y
        y = y / y.norm()
    return y


def _kind(S_BC: Tensor, S_Delta: Tensor, y: Tensor) -> str:
    if int(y.count_nonzero()) == 1:
        return KINDS[VERTEX]
    at_rest = orbit_field(S_Delta, y).norm() <= 1e-8 * (1 + S_Delta.norm())
    return KINDS[EQUAL if at_rest else ZERO]


def _rate(S_BC: Tensor, S_Delta: Tensor, y: Tensor) -> float | None:
    real = spectrum(S_BC, S_Delta, y).real
    if _kind(S_BC, S_Delta, y) == KINDS[ZERO]:
        return float(-real[-1]) if real[-1] < 0 else None
    return float(-real[0]) if len(real) and real[0] < 0 else None
