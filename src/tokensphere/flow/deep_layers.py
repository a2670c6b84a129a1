"""Of which deep models a flow is the limit, and how fast they approach it.

n layers with branches of size h = T/n approach the flow of their branch at order 1 in 1/n; the
modified flow, which depends on h, at order 2. Layers drawn independently from one law approach the
flow of their mean at order 1/2.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from tokensphere.door import array, instance, number, one_of, positive, takes, tensor, whole

from .fields import MambaFlow, OnSphere, project
from .integrate import Field, layers, unit


@takes(
    field=instance(OnSphere),
    x0=tensor("...", "L", "D", dtype="float64", unit=True),
    times=tensor("T", dtype="float64", T=2),
    limit=tensor("...", "L", "D", dtype="float64"),
    normalise=one_of("after", "before"),
)
def output_error(
    field: OnSphere, x0: Tensor, times: Tensor, limit: Tensor, normalise: str = "after"
) -> float:
    """The largest distance of a token of a deep model from the limit, at the limit's depths.

    Args:
        field, x0, normalise: as for :func:`tokensphere.flow.layers`.
        times: (depth + 1,), those of the layers.
        limit: (K + 1, ..., L, D), at the first of the times and K equally many layers apart.
    Raises:
        ValueError: a depth that K does not divide, or as :func:`tokensphere.flow.layers`.
    """
    depth, parts = len(times) - 1, len(limit) - 1
    if parts < 1 or depth % parts:
        raise ValueError(f"limit: got {parts + 1} times, takes 1 + a divisor of the depth {depth}")
    model = layers(field, x0, times, normalise, every=depth // parts).tokens
    return float((model - limit).norm(dim=-1).max())


@takes(depths=array("n", above=0.0, n=2), errors=array("n", n=2))
def empirical_order(depths: Sequence[int], errors: Sequence[float]) -> float:
    """p of error ~ depth^-p, from the first depth and the last.

    Raises:
        ValueError: less than two depths, another number of errors, or an error that is not > 0.
    """
    if len(depths) < 2 or len(depths) != len(errors):
        raise ValueError(f"depths, errors: got {len(depths)} and {len(errors)}, takes two or more")
    if min(errors[0], errors[-1]) <= 0:
        raise ValueError(f"errors: got {min(errors)}, takes positive numbers")
    return math.log(errors[0] / errors[-1]) / math.log(depths[-1] / depths[0])


@takes(field=instance(OnSphere), h=number(), step=positive())
def modified_field(field: OnSphere, h: float, step: float = 1e-4) -> Field:
    """The field that post-norm layers with branches of size h follow with error O(h^2),

        f + h delta,    delta_l = -<x_l, y_l> f_l - P_{x_l}(x_l'') / 2,

    with y the layer, f = P_x(y) and x'' the acceleration along f, by a centred difference over
    `step`, with error O(step^2).
    """

    def modified(x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        velocity = field(x, t)
        inner = (x * field.layer(x, t)).sum(-1, keepdim=True)
        ahead = field(unit(x + step * velocity), t + step)
        behind = field(unit(x - step * velocity), t - step)
        acceleration = (ahead - behind) / (2 * step)
        return velocity - h * (inner * velocity + project(x, acceleration) / 2)

    return modified


@takes(bank=instance(MambaFlow))
def mean_field(bank: MambaFlow) -> Field:
    """P_x(E y), the limit of layers drawn independently from a bank with equal chances.

    Args:
        bank: constant parameters with one leading dimension, (K, ...). Tokens are (L, D).
    """

    def field(x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        return project(x, bank.layer(x.unsqueeze(0), t).mean(0))

    return field


@takes(
    bank=instance(MambaFlow),
    which=tensor("k", "r", kinds="i", alike=False),
    times=tensor("T", dtype="float64", T=2),
)
def drawn_layers(bank: MambaFlow, which: Tensor, times: Tensor) -> MambaFlow:
    """A field whose layer at times[k] is that of the bank's draw which[k]: one model a column.

    Args:
        bank: as for :func:`mean_field`.
        which: (depth, runs), indices into the bank; tokens are (runs, L, D).
        times: (depth + 1,), equally spaced, the layers' own.
    """
    start, h = float(times[0]), float(times[-1] - times[0]) / len(which)

    def drawn(parameter: Tensor) -> Callable[[Tensor | float], Tensor]:
        return lambda t: parameter[which[round((float(t) - start) / h)]]

    return MambaFlow(drawn(bank.S_BC), drawn(bank.S_Delta), drawn(bank.a))


@takes(
    bank=instance(MambaFlow),
    x0=tensor("L", "D", dtype="float64", unit=True),
    times=tensor("T", dtype="float64", T=2),
    limit=tensor("L", "D", dtype="float64"),
    runs=whole(1),
    generator=instance(torch.Generator),
)
def scatter(
    bank: MambaFlow, x0: Tensor, times: Tensor, limit: Tensor, runs: int, generator: Generator
) -> float:
    """Root mean square distance from `limit` of models whose layers are drawn independently.

    Args:
        bank: as for :func:`mean_field`. x0, limit: (L, D), where models start and are to end.
        times: (depth + 1,), equally spaced. runs: how many models.
    Raises:
        ValueError: as :func:`tokensphere.flow.layers`.
    """
    depth = len(times) - 1
    which = torch.randint(len(bank.a), (depth, runs), generator=generator)
    start = x0.expand(runs, -1, -1)
    ends = layers(drawn_layers(bank, which, times), start, times, every=depth).tokens[-1]
    return float((ends - limit).square().sum((-1, -2)).mean().sqrt())


@takes(
    S_BC=tensor("...", "D", "D", dtype="float64"),
    S_Delta=tensor("...", "D", "D", dtype="float64"),
    radius=positive(),
    gain=tensor("D", dtype="float64"),
)
def absorb_radius_and_gain(
    S_BC: Tensor, S_Delta: Tensor, radius: float, gain: Tensor
) -> tuple[Tensor, Tensor]:
    """Parameters with which a layer at unit tokens x does what (S_BC, S_Delta) does at R g * x.

    With G = diag(g), y(R g * x; S_BC, S_Delta, a) = G y(x; R^3 G S_BC G, R G S_Delta, a). The gain
    in front is left: it scales channels, and a step could not absorb it without changing decays.

    Args:
        S_BC, S_Delta: (..., D, D); gain: (D,), any signs.
    Returns:
        R^3 G S_BC G and R G S_Delta.
    """
    column = gain.unsqueeze(-1)
    return radius**3 * column * S_BC * gain, radius * column * S_Delta
