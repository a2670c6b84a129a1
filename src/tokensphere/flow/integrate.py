"""Integration in depth, by an adaptive solver and layer by layer."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchdiffeq import odeint

from tokensphere.door import function, one_of, share, takes, tensor, whole

from . import cpu, dop853
from .checks import check_tensor, check_times, check_tokens
from .fields import OnSphere

EIGHTH_ORDER_PAYS = 1e-7
"""Relative tolerance up to which torchdiffeq's method of order 8 takes fewer evaluations than its
method of order 5: at 1e-9 two thirds, at 1e-5 a third more."""

LEAST_RTOL = 100 * torch.finfo(torch.float64).eps
"""scipy takes this in place of less, with a warning."""

Field = Callable[[Tensor, Tensor | float], Tensor]
AfterStep = Callable[[float, Callable[[int], Tensor]], None]
"""Called with the end of a step, and a function that gives the states at K parts of it, (K, ...).
"""
NumpyField = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Tokens at given times: ``times`` (T,), ``tokens`` (T, ..., L, D)."""

    times: Tensor
    tokens: Tensor


@takes(
    field=function(),
    x0=tensor("...", "D", dtype="float64", unit=True),
    times=tensor("T", dtype="float64", T=2),
    rtol=share(closed=False),
    atol=share(closed=False),
)
def simulate(
    field: Field, x0: Tensor, times: Tensor, rtol: float = 1e-9, atol: float = 1e-12
) -> Trajectory:
    """Integrates dx/dt = field(x, t) on the product of spheres.

    Adaptive: scipy's DOP853, of order 8, with the method's own interpolant between steps. On a GPU,
    or where gradients are asked for, torchdiffeq's Dormand-Prince 8(7) if only one later time is
    asked for at a tight tolerance, else its 5(4). The field is evaluated at x/|x|, where it is
    tangent, so norms drift by no more than the tolerance; the result is normalised. Without this
    the sphere repels in the ambient space wherever <x, S_BC x> < 0. The error is controlled in the
    maximum norm over all tokens: accuracy does not depend on how many sequences share the call.
    They share their steps.

    Args:
        field: one of this module's fields, or any function (x, t) -> dx/dt, tangent at unit x.
        x0: (..., L, D), unit rows, float64.
        times: (T,), strictly increasing; the first is that of x0. Any scale; dimensionless.
        rtol, atol: relative and absolute tolerance of a step.

    Raises:
        ValueError: bad x0, times or tolerances.
        RuntimeError: the step size fell below what float64 resolves, or the field is not finite.
    """
    check_tokens(x0, None, 1, name="x0")
    _check(times, rtol, atol)
    first, rate, in_numpy = field(x0, times[0]), field, _no_numpy
    if isinstance(field, OnSphere):  # what could be wrong with x0 has been said
        rate, in_numpy = field.unchecked, field.numpy_field
    tokens = _integrate(lambda x, t: rate(unit(x), t), first, x0, times, rtol, atol, in_numpy)
    return Trajectory(times, unit(tokens))


@takes(
    field=function(),
    z0=tensor("...", "D", dtype="float64", nonzero=True),
    times=tensor("T", dtype="float64", T=2),
    rtol=share(closed=False),
    atol=share(closed=False),
)
def simulate_residual_stream(
    field: OnSphere, z0: Tensor, times: Tensor, rtol: float = 1e-9, atol: float = 1e-12
) -> Trajectory:
    """Integrates dz/dt = layer(z/|z|, t): layers that normalise their input, as trained models do.

    The tokens of the result are the residual stream z, (T, ..., L, D), which is not normalised:
    its directions move by dx/dt = P_x(layer(x)) / |z|, each token with a clock of its own.

    Args: as for :func:`simulate`, but z0 may have any non-zero norms, and `field` must have a
        method ``layer``.
    Raises: as :func:`simulate`. The equation ends where a token reaches the origin: steps that
        shrink towards it, or one that jumps across it, end in a RuntimeError.
    """
    check_tensor("z0", z0, 1)
    if (z0.norm(dim=-1) == 0).any():
        raise ValueError("z0: holds a token at the origin, which has no direction")
    last = z0

    def same_side(t: float, parts: Callable[[int], Tensor]) -> None:
        # A direction turns by more than a right angle within a small part of a step only where it
        # jumps: across the origin. Through a whole step, at a loose tolerance, it may just turn.
        nonlocal last
        end = parts(1)
        if ((last * end[0]).sum(-1) <= 0).any():
            path = torch.cat([last[None], parts(8)])
            if ((path[1:] * path[:-1]).sum(-1) <= 0).any():
                raise RuntimeError(f"a token's stream crossed the origin before t = {t:g}")
        last = end[0]

    _check(times, rtol, atol)
    rate = lambda z, t: field.layer(unit(z), t)  # noqa: E731
    first = rate(z0, times[0])
    tokens = _integrate(rate, first, z0, times, rtol, atol, after_step=same_side)
    return Trajectory(times, tokens)


@takes(
    field=function(),
    x0=tensor("...", "D", dtype="float64", unit=True),
    times=tensor("T", dtype="float64", T=2),
    normalise=one_of("after", "before"),
    every=whole(1),
)
def layers(
    field: OnSphere, x0: Tensor, times: Tensor, normalise: str = "after", every: int = 1
) -> Trajectory:
    """A deep model: one residual layer for each interval of `times`, its branch scaled by the
    interval's length h.

        after:   x <- unit(x + h layer(x, t))       tokens stay on the sphere (the paper's system)
        before:  z <- z + h layer(unit(z), t)       the residual stream (what trained models do)

    Args:
        field: gives ``layer`` and, at depth t, its parameters.
        x0: (..., L, D), unit rows.
        times: (depth + 1,), strictly increasing.
        normalise: "after" or "before".
        every: keep every so many layers (and the input); must divide the depth.

    Returns:
        Trajectory with tokens (depth // every + 1, ..., L, D).
    Raises:
        ValueError: bad x0, times, `normalise` or `every`.
    """
    check_tokens(x0, None, 1, name="x0")
    check_times(times)
    if normalise not in ("after", "before"):
        raise ValueError(f"normalise: got {normalise!r}, takes 'after' or 'before'")
    if every < 1 or (len(times) - 1) % every:
        raise ValueError(f"every: got {every}, takes a divisor of the depth {len(times) - 1}")
    x, kept = x0, [x0]
    for index in range(len(times) - 1):
        step = field.layer(unit(x), times[index]) * (times[index + 1] - times[index])
        x = unit(x + step) if normalise == "after" else x + step
        if (index + 1) % every == 0:
            kept.append(x)
    return Trajectory(times[::every], torch.stack(kept))


def _check(times: Tensor, rtol: float, atol: float) -> None:
    check_times(times)
    for name, value in {"rtol": rtol, "atol": atol}.items():
        if not 0 < value < 1:
            raise ValueError(f"{name}: got {value}, takes a number between 0 and 1")
    if rtol < LEAST_RTOL:
        raise ValueError(f"rtol: got {rtol:g}, takes {LEAST_RTOL:.1e} or more, 100 roundings")


def _no_numpy(shape: tuple[int, ...]) -> None:
    return None


def _integrate(
    rate: Field,
    first: Tensor,
    x0: Tensor,
    times: Tensor,
    rtol: float,
    atol: float,
    in_numpy: Callable[[tuple[int, ...]], NumpyField | None] = _no_numpy,
    after_step: AfterStep = lambda t, parts: None,
) -> Tensor:
    """dx/dt = rate(x, t), (T, ..., L, D). first: the rate at x0.

    in_numpy: from a shape to the same rate, which does not depend on t, or None.
    """
    if first.shape != x0.shape:
        raise ValueError(f"x0: shape {tuple(x0.shape)}, its field's is {tuple(first.shape)}")
    if not cpu.plain(x0, times, first):
        return _by_torchdiffeq(rate, x0, times, rtol, atol, after_step)
    compiled = in_numpy(tuple(x0.shape))

    def derivative(t: float, flat: np.ndarray) -> np.ndarray:
        if compiled is not None:
            result = compiled(flat.reshape(x0.shape)).ravel()
        else:
            x = torch.from_numpy(flat).view(x0.shape)
            result = rate(x, torch.tensor(t, dtype=torch.float64)).numpy().ravel()
        # One number tells of most that is not finite; it may itself overflow.
        if not math.isfinite(result @ result) and not np.isfinite(result).all():
            raise RuntimeError(f"the field is not finite at t = {t:g}")
        return result

    def passed(t: float, parts: Callable[[int], np.ndarray]) -> None:
        after_step(t, lambda count: torch.from_numpy(parts(count)).unflatten(-1, x0.shape))

    start, at = x0.detach().flatten().numpy(), times.detach().numpy()
    found = dop853.solve(derivative, start, at, rtol, atol, x0.shape[-1], passed)
    return torch.from_numpy(found).view(len(times), *x0.shape)


def _by_torchdiffeq(
    rate: Field,
    x0: Tensor,
    times: Tensor,
    rtol: float,
    atol: float,
    after_step: AfterStep,
) -> Tensor:
    """On any device, and with derivatives."""

    def finite(t: Tensor, x: Tensor) -> Tensor:
        derivative = rate(x, t)
        if not torch.isfinite(derivative).all():
            raise RuntimeError(f"the field is not finite at t = {float(t.detach()):g}")
        return derivative

    def passed(t: Tensor, x: Tensor) -> None:
        after_step(float(t.detach()), lambda count: x[None])  # it tells of ends only

    # torchdiffeq's name; it gives the state before each step that it takes.
    finite.callback_accept_step = lambda t, x, dt: passed(t, x)
    at = times.to(x0.device)
    options = {"norm": lambda error: error.abs().max()}
    if len(times) == 2 and rtol <= EIGHTH_ORDER_PAYS:
        # Both methods' interpolants are of order 4: a step has to end at the time asked for.
        method, options["step_t"] = "dopri8", at.detach()
    else:
        method = "dopri5"
    try:
        found = odeint(
            finite,
            x0,
            at,
            rtol=rtol,
            atol=atol,
            method=method,
            options=options,
        )
    except AssertionError as error:  # torchdiffeq's word for a step that underflows
        raise RuntimeError(f"the integration stopped: {error}") from None
    passed(at[-1], found[-1])
    return found


def unit(x: Tensor) -> Tensor:
    """x / |x| along the last dimension, (..., D); not a number where x is zero."""
    return x / x.norm(dim=-1, keepdim=True)
