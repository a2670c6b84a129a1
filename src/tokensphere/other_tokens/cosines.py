"""f_i = <x_i, x_1> under eq (13) with weights a_ij >= 0: how it moves, and bounds of its speed.

With A_i = sum_{j<i} a_ij and e_i = max_{j<i} |x_j - x_1|,

    f_i' = a_i1 (1 - f_i^2) + sum_{1<j<i} a_ij (f_j - <x_i, x_j> f_i),

so that f_i' >= sum_{j<i} a_ij (f_j - |f_i|). Each bound below takes the tokens before token i to be
within e_i of the first: in place of the displays of the proof of Theorem B.16 it has explicit
constants, which are sharp.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from tokensphere.door import instance, takes, tensor

from ..flow import AutoregressiveFlow


class Cosines(NamedTuple):
    """What the bounds are made of, for tokens (..., L, D).

    weights: a_ij below the diagonal, (..., L, L).
    f: f_i, (..., L), sine: (1 - f_i^2)^(1/2), and speed: f_i' along the flow.
    total: A_i, (..., L); zero for the first token.
    ahead: e_i, (..., L); zero for the first two.
    """

    weights: Tensor
    f: Tensor
    sine: Tensor
    speed: Tensor
    total: Tensor
    ahead: Tensor


@takes(flow=instance(AutoregressiveFlow), x=tensor("...", "L", "D", dtype="float64", unit=True))
def cosines(flow: AutoregressiveFlow, x: Tensor) -> Cosines:
    """The cosines with the first token at x (..., L, D), unit rows, and what bounds their speed."""
    first = x[..., :1, :]
    weights = flow.attention(x).tril(-1)
    distance = (x - first).norm(dim=-1)
    farthest = distance.cummax(-1).values
    ahead = torch.cat([torch.zeros_like(farthest[..., :1]), farthest[..., :-1]], -1)
    f, speed = (x * first).sum(-1), (flow(x) * first).sum(-1)
    nearer = torch.minimum(distance, (x + first).norm(dim=-1))
    sine = nearer * (1 - nearer**2 / 4).sqrt()  # 1 - f^2 would cancel where it is small
    return Cosines(weights, f, sine, speed, weights.sum(-1), ahead)


@takes(at=instance(Cosines))
def speed_bound(at: Cosines) -> Tensor:
    """A_i (s_i^2 - e_i s_i), s_i the sine: at most f_i', (..., L).

    So f_i rises wherever s_i > e_i.
    """
    return at.total * (at.sine**2 - at.ahead * at.sine)


@takes(at=instance(Cosines))
def leaving_bound(at: Cosines) -> Tensor:
    """A_i (1 + f_i - e_i^2/2): at most (1 + f_i)' wherever f_i <= 0, (..., L)."""
    return at.total * (1 + at.f - at.ahead**2 / 2)


@takes(at=instance(Cosines))
def arriving_bound(at: Cosines) -> Tensor:
    """A_i (f_i - 1 + e_i^2/2): at least (1 - f_i)' wherever f_i >= 0, (..., L)."""
    return at.total * (at.f - 1 + at.ahead**2 / 2)


@takes(
    start=tensor("...", dtype="float64"),
    least=tensor("...", dtype="float64", above=0.0),
    times=tensor("...", dtype="float64", least=0.0),
)
def second_token_bound(start: Tensor, least: Tensor, times: Tensor) -> Tensor:
    """(1 - f(0)) e^{-least (1 + f(0)) t}: at least 1 - f(t) for f = <x_2, x_1>.

    Args:
        start: f(0), in (-1, 1].
        least: a lower bound of a_21, positive.
        times: t >= 0; all three broadcast.
    Raises:
        ValueError: `least` that is not positive.
    """
    if (least <= 0).any():
        raise ValueError(f"least: holds {float(least.min()):g}, takes positive numbers")
    return (1 - start) * torch.exp(-least * (1 + start) * times)
