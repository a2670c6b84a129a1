"""Where a first token of eq (6) without projection ends."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from tokensphere.door import takes, tensor

from ..flow.checks import check_square, check_tensor
from .constants import (
    LN2,
    _sign_matrix,
    a_step_grows,
    grows_slowly,
    ray_time,
    slow_rates,
)
from .field import cone_exponent, form, is_definite, symmetric_part
from .orbit import Orbit

Kind = Literal["rest", "to zero", "to the cone", "slow", "blow-up"]

ROUNDING = 1e-14
"""A form below this share of |x|^T |S| |x| counts as zero: it is the rounding of its terms."""


@dataclass(frozen=True, eq=False)
class FirstTokenEnd:
    """What becomes of x' = q(x) Delta(x) * x.

    kind: "rest" (q = 0), "to zero", "to the cone" (a point p with q(p) = 0 that is not zero),
        "slow" (|x| -> infinity, like ln t at the most) or "blow-up" (in finite time).
    limit: (D,), the limit of x, or None where |x| diverges.
    direction: (D,), a limit of x/|x|: of "to zero" its own; of "slow" that of
        :func:`~tokensphere.unnormalised.constants.slow_rates`, and of "blow-up" the one that the
        orbit settles at; None where it is not known, or does not settle.
    power, constant: what decays or grows like constant * time^power, time from now on, or for
        "blow-up" up to it: |x| for "to zero" and "blow-up", |x - p| for a cone that is touched;
        nan where there is no such law.
    exponent: for "to the cone" kappa(p): |x - p| falls like e^{kappa t}, if kappa < 0; else nan.
    rates: (D,), lim |x_d| / ln t of "slow" where slow_rates gives it, else None; a theorem if the
        form is positive definite on the support, and else among the computed fields.
    time: of the blow-up; infinite for the others.
    argument: the theorem by which `kind` is known, or "followed": by an integration.
    computed: the fields that no closed form gives.
    """

    kind: Kind
    argument: str
    limit: Tensor | None = None
    direction: Tensor | None = None
    power: float = math.nan
    constant: float = math.nan
    exponent: float = math.nan
    rates: Tensor | None = None
    time: float = math.inf
    computed: tuple[str, ...] = ()


@takes(
    S_BC=tensor("D", "D", dtype="float64"),
    S_Delta=tensor("D", "D", dtype="float64"),
    x0=tensor("D", dtype="float64"),
)
def first_token_end(S_BC: Tensor, S_Delta: Tensor, x0: Tensor) -> FirstTokenEnd:
    """The end of one first token, by its theorem where one applies and else by following it.

    A form that is definite on the support says half of it, steps that do or do not grow the other
    half; equal steps move the token along its ray, as one that is a number. What is left is
    followed along its orbit, in a clock of its own, so that no end is waited for.

    Args:
        S_BC, S_Delta: (D, D), float64; columns of S_Delta are S_{Delta,d}. x0: (D,).
    Raises:
        ValueError: shapes, dtypes, NaN; coordinates beyond 1e100 or, if not zero, below 1e-100.
    """
    S = _checked(S_BC, S_Delta, x0)
    q = float(form(S, x0))
    if _at_rest(S, x0):
        return FirstTokenEnd("rest", "q(x0) = 0", limit=x0.clone())
    M, support = _sign_matrix(S_Delta, x0)
    if np.ptp(M, axis=1).max() == 0:
        return _ray(q, float(x0.abs().numpy()[support] @ M[:, 0]), x0)
    orbit = _orbit(S, M, support, x0)
    run = orbit.follow()
    y = x0.sign()
    y[support] *= torch.as_tensor(np.exp(run.u - run.u.max()))
    direction = y / y.norm()
    known = _argument(S[np.ix_(support, support)], S_Delta, x0, q)
    said = known or "followed"
    computed = () if known else ("kind",)
    if run.kind == "to zero":
        return _to_zero(S, orbit, run.u, x0, said, computed)
    if run.kind == "to the cone":
        p = y * math.exp(run.u.max())
        return _to_cone(S_BC, S_Delta, orbit, p, support, said, (*computed, "limit"))
    if run.kind == "slow":
        # Along these rates q stays away from zero: else what falls like 1/t is not the step alone.
        rates = slow_rates(S_Delta, x0)
        if rates is not None and float(form(S, x0.sign() * rates)) <= 0:
            rates = None
        towards = None if rates is None else x0.sign() * rates / rates.norm()
        if rates is not None and not is_definite(S[np.ix_(support, support)], 1):
            computed = (*computed, "rates", "direction")
        return FirstTokenEnd("slow", said, direction=towards, rates=rates, computed=computed)
    return _blow_up(S, S_Delta, orbit, run.u, direction, said, computed)


@takes(
    S_BC=tensor("D", "D", dtype="float64"),
    S_Delta=tensor("D", "D", dtype="float64"),
    x0=tensor("D", dtype="float64"),
)
def first_token_kind(S_BC: Tensor, S_Delta: Tensor, x0: Tensor) -> Kind:
    """The kind of :func:`first_token_end` alone, in half of its time."""
    S = _checked(S_BC, S_Delta, x0)
    if _at_rest(S, x0):
        return "rest"
    M, support = _sign_matrix(S_Delta, x0)
    return _orbit(S, M, support, x0).follow().kind


def _checked(S_BC: Tensor, S_Delta: Tensor, x0: Tensor) -> Tensor:
    """The symmetric part, after a look at the arguments."""
    dim = check_square("S_BC", S_BC)
    check_square("S_Delta", S_Delta)
    check_tensor("x0", x0, 1)
    if S_BC.shape != (dim, dim) or S_Delta.shape != (dim, dim) or x0.shape != (dim,):
        raise ValueError(
            f"S_BC, S_Delta, x0: shapes {tuple(S_BC.shape)}, {tuple(S_Delta.shape)}, "
            f"{tuple(x0.shape)}, take (D, D), (D, D) and (D,)"
        )
    sizes = x0.abs()[x0 != 0]
    if len(sizes) and not (float(sizes.min()) > 1e-100 and float(sizes.max()) < 1e100):
        raise ValueError("x0: has a coordinate above 1e100 or below 1e-100 that is not zero")
    return symmetric_part(S_BC)


def _at_rest(S: Tensor, x0: Tensor) -> bool:
    return abs(float(form(S, x0))) <= ROUNDING * float(x0.abs() @ S.abs() @ x0.abs())


def _orbit(S: Tensor, M: np.ndarray, support: np.ndarray, x0: Tensor) -> Orbit:
    inner, x = S.numpy()[np.ix_(support, support)], x0.numpy()[support]
    return Orbit(inner * np.outer(np.sign(x), np.sign(x)), M, np.log(np.abs(x)))


def _argument(inner: Tensor, S_Delta: Tensor, x0: Tensor, q: float) -> str:
    """A theorem that gives the kind, or nothing."""
    if q < 0:
        return "the form is negative definite" if is_definite(inner, -1) else ""
    if not is_definite(inner, 1):
        return ""
    if grows_slowly(S_Delta, x0):
        return "the form is positive definite, and no step can grow"
    return "the form is positive definite, and a step grows" if a_step_grows(S_Delta, x0) else ""


def _ray(q: float, slope: float, x0: Tensor) -> FirstTokenEnd:
    """Equal steps, softplus(slope) at x0: the token stays on its ray, in closed form."""
    r = float(x0.norm())
    direction, value = x0 / r, q / r**2
    said = "equal steps on the support"
    if value < 0:
        zero = torch.zeros_like(x0)
        constant = (2 * LN2 * -value) ** -0.5
        return FirstTokenEnd("to zero", said, zero, direction, -0.5, constant)
    if slope < 0:
        return FirstTokenEnd("slow", said, direction=direction, rates=x0.abs() / -slope)
    time, slope = ray_time(q, slope), slope / r
    power = -1 / 3 if slope > 0 else -0.5
    constant = (3 * value * slope) ** power if slope > 0 else (2 * value * LN2) ** power
    return FirstTokenEnd("blow-up", said, None, direction, power, constant, time=time)


def _to_zero(
    S: Tensor, orbit: Orbit, u: np.ndarray, x0: Tensor, said: str, computed: tuple[str, ...]
) -> FirstTokenEnd:
    """The direction settles as |x| falls: followed until |x| is below rounding."""
    depth = float(u.max()) + 40.0
    run = solve_ivp(orbit.velocity, (0.0, max(depth, 1.0)), u, method="LSODA", rtol=1e-11)
    last = run.y[:, -1]
    towards = x0.sign()
    towards[x0 != 0] *= torch.as_tensor(np.exp(last - last.max()))
    towards = towards / towards.norm()
    constant = (2 * LN2 * -float(form(S, towards))) ** -0.5
    computed = (*computed, "direction", "constant")
    return FirstTokenEnd(
        "to zero", said, torch.zeros_like(x0), towards, -0.5, constant, computed=computed
    )


def _to_cone(
    S_BC: Tensor,
    S_Delta: Tensor,
    orbit: Orbit,
    p: Tensor,
    support: np.ndarray,
    said: str,
    computed: tuple[str, ...],
) -> FirstTokenEnd:
    kappa = float(cone_exponent(S_BC, S_Delta, p))
    factor = orbit.factor()
    if factor is None:
        return FirstTokenEnd("to the cone", said, limit=p, exponent=kappa, computed=computed)
    # q = +-(v . x)^2: along the orbit w = Delta * x, d = |x - p| obeys d' = -(v . w)^2 d^2 / |w|.
    sizes = p.abs()[support].numpy()
    with np.errstate(divide="ignore"):  # a coordinate may have underflown
        w = np.exp(orbit.log_steps(np.log(sizes))) * sizes
    constant = float(np.linalg.norm(w) / (factor @ w) ** 2)
    return FirstTokenEnd("to the cone", said, p, None, -1.0, constant, 0.0, computed=computed)


def _blow_up(
    S: Tensor,
    S_Delta: Tensor,
    orbit: Orbit,
    u: np.ndarray,
    direction: Tensor,
    said: str,
    computed: tuple[str, ...],
) -> FirstTokenEnd:
    """The time by a second run, with t beside the orbit; the constant from where it settles."""

    def velocity(s: float, state: np.ndarray) -> np.ndarray:
        log_steps = orbit.log_steps(state[:-1])
        top = float(log_steps.max())
        # dt/ds = 1 / (q max Delta), q by the squared length of x from the direction alone.
        y = np.exp(state[:-1] - state[:-1].max())
        log_square = 2 * float(state[:-1].max()) + math.log(float(y @ y))
        rate = math.exp(-top - log_square) / orbit.value(state[:-1])
        return np.append(np.exp(log_steps - top), rate)

    def far(s: float, state: np.ndarray) -> float:
        return float(u.max() - state[:-1].max())

    far.terminal = True  # type: ignore[attr-defined]  # as scipy asks for it
    start = np.append(orbit.u0, 0.0)
    stop = float(u.max() - orbit.u0.max()) + 10.0
    options = {"method": "LSODA", "rtol": 1e-10, "atol": 1e-14, "events": far}
    time = float(solve_ivp(velocity, (0.0, stop), start, **options).y[-1, -1])
    steps = (direction @ S_Delta).clamp(min=0)
    speed = float((steps * direction**2).sum())
    turning = (steps - speed) * direction
    computed = (*computed, "time", "direction", "constant")
    if float(turning.norm()) > 1e-4 * speed:
        return FirstTokenEnd("blow-up", said, time=time, computed=computed)
    constant = (3 * float(form(S, direction)) * speed) ** (-1 / 3)
    return FirstTokenEnd(
        "blow-up", said, None, direction, -1 / 3, constant, time=time, computed=computed
    )
