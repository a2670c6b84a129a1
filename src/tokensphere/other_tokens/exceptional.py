"""Three tokens in the plane: the starts of the third that end opposite to the first.

For D = 2 let theta be the angle of x_2 from x_1, and phi that of x_3 from -x_1. Eq (13) reads

    theta' = -a_21 sin theta,    phi' = a_31 sin phi + a_32 sin(phi - theta).

Where the coefficients are positive and locally Lipschitz, one phi(0) for each theta(0) other than
pi leads to phi = 0, the others to x_1. The stable manifold of the saddle (0, 0) is the curve of
these starts. For coefficients that are merely continuous there may be an open set of them.
"""

import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from tokensphere.door import array, instance, number, positive, takes, tensor, whole

from ..flow import AutoregressiveFlow, simulate
from .coefficients import constant


@takes(angles=tensor("...", "L"))
def on_circle(angles: Tensor) -> Tensor:
    """Tokens in the plane from their angles in radians, (..., L) -> (..., L, 2)."""
    return torch.stack([angles.cos(), angles.sin()], -1)


@takes(theta=tensor("*B"), phi=tensor("*B"))
def three_on_circle(theta: Tensor, phi: Tensor) -> Tensor:
    """The tokens (..., 3, 2) with x_1 = e_1, x_2 at `theta` from x_1, x_3 at `phi` from -x_1."""
    return on_circle(torch.stack([torch.zeros_like(theta), theta, math.pi + phi], -1))


@takes(x=tensor("...", 2, nonzero=True))
def antipodal_angle(x: Tensor) -> Tensor:
    """phi in [-pi, pi] with x = -(cos phi, sin phi), for tokens (..., 2): the angle from -e_1.

    Its relative accuracy does not suffer where it is small, if the second coordinate has it.
    """
    return torch.atan2(-x[..., 1], -x[..., 0])


@takes(flow=instance(AutoregressiveFlow), x=tensor("...", "L", 2, dtype="float64", unit=True))
def angular_speeds(flow: AutoregressiveFlow, x: Tensor) -> Tensor:
    """How fast tokens (..., L, 2) of the plane turn, in radians a unit of time, (..., L)."""
    field = flow(x)
    return x[..., 0] * field[..., 1] - x[..., 1] * field[..., 0]


@takes(a_21=number(), a_31=number(), a_32=number())
def three_token_flow(a_21: float, a_31: float, a_32: float) -> AutoregressiveFlow:
    """Eq (13) for three tokens with constant weights.

    Raises:
        ValueError: a weight that is not positive and finite.
    """
    for name, value in {"a_21": a_21, "a_31": a_31, "a_32": a_32}.items():
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name}: got {value}, takes a positive number")
    weights = torch.tensor([[0, 0, 0], [a_21, 0, 0], [a_31, a_32, 0]], dtype=torch.float64)
    return AutoregressiveFlow(constant(weights))


@takes(a_21=positive(), a_31=positive(), a_32=positive())
def exceptional_curve(
    a_21: float, a_31: float, a_32: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where a third token must start to end at -x_1, for constant weights.

    It is one orbit, followed backwards in time from its tangent at (0, 0),
    phi / theta = a_32 / (a_21 + a_31 + a_32). The curve for negative theta is its mirror image.

    Returns:
        theta, phi: (281,) each, in radians; theta increases from 1e-4 nearly to pi.
    Raises:
        ValueError: a weight that is not positive.
    """
    flow = three_token_flow(a_21, a_31, a_32)
    near = torch.tensor(1e-4, dtype=torch.float64)
    start = three_on_circle(near, near * a_32 / (a_21 + a_31 + a_32))
    times = torch.linspace(0, 14 / a_21, 281, dtype=torch.float64)
    x = simulate(lambda x, t: -flow(x), start, times, 1e-7, 1e-10).tokens
    theta = torch.atan2(x[:, 1, 1], x[:, 1, 0]).numpy()
    return theta, np.unwrap(antipodal_angle(x[:, 2]).numpy())


@takes(theta=array("..."), phi=array("..."), weights=array(3, above=0.0), stop=positive())
def final_angle(
    theta: ArrayLike, phi: ArrayLike, weights: tuple[float, float, float], stop: float = 12.0
) -> NDArray[np.float64]:
    """How far x_3 has turned from -x_1 at time `stop`: near pi or -pi, by its way to x_1.

    Between two starts that turn different ways lies one that ends at -x_1.

    Args:
        theta, phi: angles of x_2(0) from x_1 and of x_3(0) from -x_1 in radians, broadcast.
        weights: constant a_21, a_31, a_32, positive.
        stop: the time, in the unit of 1/weights.
    Returns:
        The angle of x_3 from -x_1, followed without jumps.
    """
    theta, phi = np.broadcast_arrays(np.asarray(theta, float), np.asarray(phi, float))
    start = three_on_circle(torch.tensor(theta), torch.tensor(phi))
    times = torch.linspace(0, stop, math.ceil(5 * stop) + 1, dtype=torch.float64)
    x = simulate(three_token_flow(*weights), start, times, 1e-6, 1e-9).tokens
    angle = np.unwrap(antipodal_angle(x[..., 2, :]).numpy(), axis=0)
    return angle[-1] - angle[0] + phi


@takes(x=tensor("...", 3, 2, dtype="float64", unit=True), feedback=number())
def hoelder_coefficients(x: Tensor, feedback: float = 5.0) -> Tensor:
    """Positive weights on (S^1)^3, Hoelder continuous of order 1/2, for which -x_1 attracts.

    With u = phi - theta/3 and b = feedback u/theta, cut off at +-min(|theta|, 1/2) and multiplied
    by max(cos theta, 0) max(cos phi, 0):

        a_21 = 1,    a_31 = 1 - b,    a_32 = 1 + b.

    They are locally Lipschitz wherever theta is not 0. For `feedback` 5 all starts of
    :func:`hoelder_starts` tend to (x_1, x_1, -x_1); for 0 the weights are 1.

    Args:
        x: (..., 3, 2), with x_1 = e_1.
    Returns:
        (..., 3, 3).
    """
    theta, phi = torch.atan2(x[..., 1, 1], x[..., 1, 0]), antipodal_angle(x[..., 2, :])
    cut = theta.abs().clamp(max=0.5)
    divisor = torch.where(theta == 0, 1.0, theta)
    b = feedback * torch.where(theta == 0, 0.0, (phi - theta / 3) / divisor)
    b = torch.maximum(torch.minimum(b, cut), -cut)
    b = b * theta.cos().clamp(min=0) * phi.cos().clamp(min=0)
    weights = x.new_zeros(*x.shape[:-2], 3, 3)
    weights[..., 1, 0] = 1.0
    weights[..., 2, 0] = 1 - b
    weights[..., 2, 1] = 1 + b
    return weights


@takes(count=whole(1), generator=instance(torch.Generator))
def hoelder_starts(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """theta and phi, (count,) each, uniform in |phi - theta/3| < theta^2/5, 0.2 < theta < 0.4."""
    uniform = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    theta = 0.2 + 0.2 * uniform[:, 0]
    return theta, theta / 3 + theta**2 / 5 * (2 * uniform[:, 1] - 1)


@takes(times=tensor("T", dtype="float64"), start=number(above=-1.0, below=0.0))
def equatorial_orbit(times: Tensor, start: float = -0.6) -> Tensor:
    """<x_3, x_1> along an orbit of eq (13) that ends on the equator of x_1 like -1/t, (T,).

    Its weights are analytic and positive, a_21 = 1, a_31 = 2, a_32 = 2 - <x_3, x_1>^2, and x_2 =
    -x_1: f = <x_3, x_1> obeys f' = f^2 (1 - f^2). Such starts are a null set.

    Args:
        times: (T,), the first is that of the start.
        start: f there, in (-1, 0).
    Raises:
        ValueError: a start elsewhere.
    """
    if not -1 < start < 0:
        raise ValueError(f"start: got {start}, takes a number between -1 and 0")

    def weights(x: Tensor) -> Tensor:
        a = x.new_zeros(*x.shape[:-2], 3, 3)
        a[..., 1, 0], a[..., 2, 0] = 1.0, 2.0
        a[..., 2, 1] = 2 - (x[..., 2, :] * x[..., 0, :]).sum(-1) ** 2
        return a

    x0 = torch.tensor([[1, 0], [-1, 0], [start, math.sqrt(1 - start**2)]], dtype=torch.float64)
    return simulate(AutoregressiveFlow(weights), x0, times).tokens[:, 2, 0]
