"""Where the first token's score in a layer comes from: which factor of its hidden attention.

Section 4.1 of the paper names the attraction of the first token. A score can also come of a first
token with a larger step, of what stands in it, or of how its readers are made, and the theory's own
limit has none of these differences between tokens. So each is taken out in turn.
"""

import itertools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tokensphere.s6.arguments import wide
from tokensphere.sinks.layer import Layer
from tokensphere.sinks.scores import importance

__all__ = ["FACTORS", "Attribution", "attribution", "level"]

FACTORS = ("write", "decay", "input", "output")
"""What the hidden attention is made of: see :func:`level`."""

SMALL_STEP = 1e-6
"""Of the mean step. A smaller step decays nothing worth the name: rates times mean steps are of
order one, and 1e-6 is within a few roundings of float32."""


@torch.no_grad()
def level(layer: Layer, factors: Collection[str]) -> Layer:
    """The layer with some factors of its hidden attention made the same for all tokens.

    With w = Delta as the weight of what a token writes and Delta as the time it takes apart,

        M_lj = w_j sum_n C_{l,n} B_{j,n} exp(A_n sum_{k=j+1}^{l} Delta_k),

    and each factor is replaced by its mean over the tokens of its sequence:

    - "write": w_j. What a token gains by a step larger than that of others.
    - "decay": Delta_k. What it gains by short steps of those after it.
    - "input": B_j. What its own content brings in.
    - "output": C_l. What the content of its readers does.

    With all four, M_lj depends on the lag only, as in the theory's limit
    (:func:`tokensphere.sinks.lag_importance`), around the mean token in place of the first.

    Args:
        factors: of FACTORS.

    Returns:
        a layer of the same scores as any with that M; what it computes of u is another function. If
        one of "write" and "decay" is levelled and the other not, B and C are (B, D, N, L).

    Raises:
        ValueError: a factor that is none of FACTORS.
    """
    unknown = sorted(set(factors) - set(FACTORS))
    if unknown:
        raise ValueError(f"factors: got {', '.join(unknown)}, takes some of {', '.join(FACTORS)}")
    mask = layer.mask[:, None]
    delta, B, C = layer.delta, layer.B, layer.C
    if "input" in factors:
        B = _mean(B, mask[:, None])
    if "output" in factors:
        C = _mean(C, mask[:, None])
    level_steps = _mean(delta, mask)
    write, decay = "write" in factors, "decay" in factors
    if write and decay:
        delta = level_steps
    elif write or decay:
        # The scan has one tensor for both: it gets the times, and B the ratio of weight to time.
        least = SMALL_STEP * level_steps
        weights, times = (level_steps, delta.clamp(min=least)) if write else (delta, level_steps)
        ratio = torch.where(mask, weights / times, 0)
        delta = torch.where(mask, times, 0)
        each = delta.shape[1] // B.shape[1]
        B = wide(B).repeat_interleave(each, dim=1) * ratio[:, :, None]
        C = C.repeat_interleave(each, dim=1)
    return replace(layer, delta=delta, B=B, C=C)


@dataclass(frozen=True)
class Attribution:
    """A layer's score of the first token, and how much of it each factor brings in.

    ``measured = levelled + sum of shares``, for each prompt.

    Attributes:
        measured: the score, (B,).
        levelled: the score with all factors levelled: what the lag alone gives.
        shares: factor -> its Shapley value, (B,): what it adds to the score when it is put back,
            averaged over the orders in which the four can be.
        alone: factor -> what it adds if put back alone, (B,).
    """

    measured: Tensor
    levelled: Tensor
    shares: Mapping[str, Tensor]
    alone: Mapping[str, Tensor]


def attribution(layer: Layer, variant: str = "absolute") -> Attribution:
    """Where the first token's score in a layer comes from, by levelling factors (:func:`level`).

    The score is the mean over channels of the first token's importance; it is computed for all 16
    choices of factors to level. For part of a layer pass ``layer.select(channels)``.

    Args:
        variant: see :mod:`tokensphere.sinks.scores`.

    Raises:
        ValueError: as :func:`tokensphere.sinks.importance`.
    """
    count = len(FACTORS)
    scores = {}
    for size in range(count + 1):
        for kept in itertools.combinations(FACTORS, size):
            changed = level(layer, [name for name in FACTORS if name not in kept])
            scores[frozenset(kept)] = importance(changed, variant)[..., 0].double().mean(1)
    none = scores[frozenset()]
    shares = {}
    for name in FACTORS:
        share = torch.zeros_like(none)
        for kept in scores:
            if name not in kept:
                orders = math.factorial(len(kept)) * math.factorial(count - 1 - len(kept))
                gained = scores[kept | {name}] - scores[kept]
                share = share + orders / math.factorial(count) * gained
        shares[name] = share
    alone = {name: scores[frozenset([name])] - none for name in FACTORS}
    return Attribution(scores[frozenset(FACTORS)], none, shares, alone)


def _mean(value: Tensor, mask: Tensor) -> Tensor:
    """The mean over tokens at each token; past a sequence's end, where value is zero, zero."""
    mean = wide(value).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True)
    return torch.where(mask, mean, 0).to(value.dtype)
