"""Integration in depth, by an adaptive solver and layer by layer."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchdiffeq import odeint

from .checks import check_tensor, check_times, check_tokens
from .fields import OnSphere

Field = Callable[[Tensor, Tensor | float], Tensor]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Tokens at given times: ``times`` (T,), ``tokens`` (T, ..., L, D)."""

    times: Tensor
    tokens: Tensor


def simulate(
    field: Field, x0: Tensor, times: Tensor, rtol: float = 1e-9, atol: float = 1e-12
) -> Trajectory:
    """Integrates dx/dt = field(x, t) on the product of spheres.

    Adaptive Dormand-Prince 5(4) by torchdiffeq. The field is evaluated at x/|x|, where it is
    tangent, so norms drift by no more than the tolerance; the result is normalised. Without this
    the sphere repels in the ambient space wherever <x, S_BC x> < 0. The error is controlled in the
    maximum norm over all tokens: accuracy does not depend on how many sequences share the call.

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
    tokens = _integrate(lambda x, t: field(unit(x), t), x0, times, rtol, atol)
    return Trajectory(times, unit(tokens))


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

    def same_side(t: Tensor, z: Tensor, dt: Tensor | None = None) -> None:
        # A solver that controls its error turns a token by more than a right angle in one step
        # only where its direction jumps: across the origin.
        nonlocal last
        if ((last * z).sum(-1) <= 0).any():
            raise RuntimeError(f"a token's stream crossed the origin before t = {float(t):g}")
        last = z

    function = lambda z, t: field.layer(unit(z), t)  # noqa: E731
    tokens = _integrate(function, z0, times, rtol, atol, after_step=same_side)
    same_side(times[-1], tokens[-1])
    return Trajectory(times, tokens)


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


def _integrate(
    function: Field,
    x0: Tensor,
    times: Tensor,
    rtol: float,
    atol: float,
    after_step: Callable[[Tensor, Tensor, Tensor], None] | None = None,
) -> Tensor:
    check_times(times)
    for name, value in {"rtol": rtol, "atol": atol}.items():
        if not 0 < value < 1:
            raise ValueError(f"{name}: got {value}, takes a number between 0 and 1")

    def finite(t: Tensor, x: Tensor) -> Tensor:
        derivative = function(x, t)
        if not torch.isfinite(derivative).all():
            raise RuntimeError(f"the field is not finite at t = {float(t):g}")
        return derivative

    if after_step is not None:
        finite.callback_accept_step = after_step  # torchdiffeq's name: (t, x, dt) before each step
    try:
        return odeint(
            finite,
            x0,
            times.to(x0.device),
            rtol=rtol,
            atol=atol,
            method="dopri5",
            options={"norm": lambda error: error.abs().max()},
        )
    except AssertionError as error:  # torchdiffeq's word for a step that underflows
        raise RuntimeError(f"the integration stopped: {error}") from None


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)
