"""The nearest hidden attention with one rate a channel, as eq (5) has.

S6 layers in use have a rate for each channel and state. Their hidden attention has the form of
eq (5) exactly if, in each channel, one rate does the work of all.
"""

import math

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from tokensphere.door import takes, tensor

from .checks import check_tensor

LARGEST = 5.0
"""Of the modulus of a rate's logarithm."""


@takes(
    attention=tensor("D", "L", "L", dtype="float64"),
    scores=tensor("L", "L", dtype="float64"),
    delta=tensor("L", "D", dtype="float64"),
)
def nearest_rates(attention: Tensor, scores: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """Rates a_d that bring eq (5) nearest to a layer's hidden attention M, and what is then left.

    The distance is |M_d - E_d(a)| / |M_d| in Frobenius norms, E_d(a) eq (5) with the layer's own
    scores and steps: scores[l, j] delta[j, d] exp(-a sum_{k=j+1}^{l} delta[k, d]). The rate is the
    best of 41 in [e^-LARGEST, e^LARGEST], and then the minimum beside it; the distance is known to
    the square root of rounding.

    Args:
        attention: (D, L, L), float64, as of :func:`tokensphere.s6.hidden_attention`.
        scores: (L, L), <C_l, B_j>. delta: (L, D), steps.
    Returns:
        rates (D,) and distances (D,).
    Raises:
        ValueError: shapes that do not agree, or dtypes; a channel without attention.
    """
    for name, value, ndim in (
        ("attention", attention, 3),
        ("scores", scores, 2),
        ("delta", delta, 2),
    ):
        check_tensor(name, value, ndim)
    length, dim = delta.shape
    shapes = tuple(attention.shape), tuple(scores.shape)
    if shapes != ((dim, length, length), (length, length)):
        raise ValueError(
            f"attention and scores: shapes {shapes[0]} and {shapes[1]}, take (D, L, L) and (L, L) "
            f"with D, L = {dim}, {length} as in delta"
        )
    if not attention.flatten(1).any(-1).all():
        raise ValueError("attention: holds a channel that is zero")
    found = []
    for d, M in enumerate(attention):
        elapsed = delta[:, d].cumsum(0)
        lag = (elapsed[:, None] - elapsed).tril()
        front = (scores * delta[:, d]).tril()

        def distance(
            log_a: float, M: Tensor = M, front: Tensor = front, lag: Tensor = lag
        ) -> float:
            return float((M - front * torch.exp(-math.exp(log_a) * lag)).norm() / M.norm())

        start = min(torch.linspace(-LARGEST, LARGEST, 41).tolist(), key=distance)
        span = (start - 0.25, start + 0.25)
        beside = minimize_scalar(distance, bounds=span, method="bounded", options={"xatol": 1e-9})
        best = min(start, float(beside.x), key=distance)
        found.append((math.exp(best), distance(best)))
    rates, distances = torch.tensor(found, dtype=torch.float64).unbind(-1)
    return rates, distances
