"""What a sink score must beat before it says anything about a sink.

Three kinds of null: attention that prefers no key (:func:`uniform_importance`) and attention in the
theory's own limit (:func:`lag_importance`), both by formula; the same model on changed tokens
(:func:`shuffle_tokens`, :func:`replace_first`, :func:`move_first`); and the same function with
other tensors (:func:`rescale`). :func:`tokensphere.sinks.verdict` weighs a layer's scores against
them.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from tokensphere.door import (
    array,
    either,
    instance,
    number,
    optional,
    positive,
    takes,
    tensor,
    whole,
)
from tokensphere.sinks.layer import Layer

__all__ = [
    "lag_importance",
    "move_first",
    "replace_first",
    "rescale",
    "shuffle_tokens",
    "uniform_importance",
]


@takes(length=whole(1))
def uniform_importance(length: int) -> Tensor:
    """The importance of each token under uniform causal attention, which gives 1/l to each key.

        alpha_k = (1 / (T - k + 1)) sum_{l=k}^{T} 1/l,    T = length.

    It is a mean of a falling sequence from k on, so it falls with k: the first token has the
    largest score where nothing prefers it. alpha_1 = H_T / T, H_T the harmonic number: above the
    paper's threshold 0.3 for every T <= 9, and 0.211 at the paper's T = 16. For the "softmax" and
    "absolute" variants of `scores.importance` this is what rows without preference give; raw scores
    have a scale of their own, and for them it is a reference only.

    Returns:
        (T,), float64.

    Raises:
        ValueError: a length below 1.
    """
    _check_length(length)
    shares = 1 / torch.arange(1, length + 1, dtype=torch.float64)
    return shares.flip(0).cumsum(0).flip(0) / _queries(length)


@takes(
    rate=either(positive(), array("...", above=0.0)),
    gain=either(number(), array("...")),
    length=whole(1),
)
def lag_importance(rate: Tensor, gain: Tensor, length: int) -> Tensor:
    """Raw importance where the attention depends on the lag only, M_lj = g e^{-r (l - j)}.

        alpha_k = g (1 - e^{-r n}) / ((1 - e^{-r}) n),    n = T - k + 1,    T = length.

    This is the theory's limit with all tokens at one point: steps Delta, B and C are then the same
    for all tokens, and a channel with one decay rate a has r = a Delta, g = Delta <C, B>. Facts,
    with f(m) = g e^{-r m} and alpha_k the mean of f(0), ..., f(n - 1):

    - For g > 0, f falls, so its running mean falls with n: alpha_k increases strictly with k, and
      the first token has the smallest raw score of all. For g < 0 its score is the largest one, and
      negative: under every threshold >= 0.
    - In the "absolute" variant the sign of g drops out. Key 1 has the smallest of the l weights of
      row l, at most 1/l: its score is below :func:`uniform_importance`, and equal to it only for
      T = 1. The same holds for "softmax" with g > 0. With g < 0 key 1 has the largest softmax
      weight of its row, so the score exceeds the uniform one, though the raw scores are negative.
    - Several states with rates r_n: f is a sum of such terms, and the score the sum of theirs. If
      all gains g_n = Delta C_n B_n are >= 0, f falls and all of the above holds. With mixed signs
      nothing of it does: f(m) = 0.999^m - 0.9^m rises for m < 44, so at T = 16 the first token has
      the largest score in every variant. That takes different rates in one channel, which trained
      models have (A[d, n]) and the paper does not (A[d, n] = -a_d).
    - Limits up to signs, tokens at x_1 and -x_1, have two values of Delta in each channel and are
      not of this form. There ``|M_lj|`` is proportional to ``Delta_j exp(-a (Delta_{j+1} + ... +
      Delta_l))``. While no Delta_j is below Delta_1, key 1 still has the smallest weight in each
      row. Where tokens at -x_1 take smaller steps than the first, it can have nearly all.

    Args:
        rate: r, positive; any shape.
        gain: g, of either sign, broadcastable with `rate`.

    Returns:
        (..., T), float64.

    Raises:
        ValueError: a rate that is not positive, a value that is not finite, a length below 1.
    """
    _check_length(length)
    rate, gain = torch.broadcast_tensors(torch.as_tensor(rate), torch.as_tensor(gain))
    rate, gain = rate.double()[..., None], gain.double()[..., None]
    if not bool((rate > 0).all() and rate.isfinite().all()):
        raise ValueError("rate: takes positive finite numbers")
    if not bool(gain.isfinite().all()):
        raise ValueError("gain: takes finite numbers")
    queries = _queries(length).to(rate.device)
    # expm1: at small rates 1 - e^{-r} would be left with few digits.
    return gain * torch.expm1(-rate * queries) / (torch.expm1(-rate) * queries)


@takes(
    input_ids=tensor("B", "L", kinds="i", alike=False),
    mask=optional(tensor("B", "L", kinds="bif", alike=False)),
    generator=instance(torch.Generator),
    keep_first=whole(0),
)
def shuffle_tokens(
    input_ids: Tensor, mask: Tensor | None, generator: torch.Generator, keep_first: int = 0
) -> Tensor:
    """Each sequence's tokens in a random order; padding stays where it is.

    Args:
        input_ids: (B, L).
        mask: (B, L), nonzero at tokens, zero at padding; None for no padding.
        generator: on the CPU, wherever the tokens are.
        keep_first: so many tokens at the start of each sequence stay, as a beginning-of-text token.

    Returns:
        A new (B, L).

    Raises:
        ValueError: an argument of another shape or value, a sequence without a token.
    """
    places = _places(input_ids, mask)
    if isinstance(keep_first, bool) or not isinstance(keep_first, int) or keep_first < 0:
        raise ValueError(f"keep_first: got {keep_first!r}, takes an integer >= 0")
    shuffled = input_ids.clone()
    for row, place in enumerate(places):
        moving = place[keep_first:]
        order = torch.randperm(len(moving), generator=generator).to(moving.device)
        shuffled[row, moving] = input_ids[row, moving[order]]
    return shuffled


@takes(
    input_ids=tensor("B", "L", kinds="i", alike=False),
    mask=optional(tensor("B", "L", kinds="bif", alike=False)),
    new=either(whole(0), tensor("...", kinds="i", alike=False)),
)
def replace_first(input_ids: Tensor, mask: Tensor | None, new: Tensor | int) -> Tensor:
    """Each sequence with another first token.

    Args:
        input_ids, mask: as for :func:`shuffle_tokens`.
        new: the token, or one for each sequence, (B,). Where it is the one that stands there
            already, that sequence is left as it is.

    Returns:
        A new (B, L).

    Raises:
        ValueError: as :func:`shuffle_tokens`; `new` of another shape.
    """
    places = _places(input_ids, mask)
    new = torch.as_tensor(new, dtype=input_ids.dtype, device=input_ids.device)
    if new.shape not in ((), input_ids.shape[:1]):
        raise ValueError(
            f"new: shape {tuple(new.shape)}, takes one token or ({len(input_ids)},) of them"
        )
    replaced = input_ids.clone()
    for row, (place, token) in enumerate(zip(places, new.expand(len(input_ids)), strict=True)):
        replaced[row, place[0]] = token
    return replaced


@takes(
    input_ids=tensor("B", "L", kinds="i", alike=False),
    mask=optional(tensor("B", "L", kinds="bif", alike=False)),
    position=whole(0),
)
def move_first(input_ids: Tensor, mask: Tensor | None, position: int) -> Tensor:
    """Each sequence with its first token moved to index `position`; those passed move up by one.

    Args:
        input_ids, mask: as for :func:`shuffle_tokens`.
        position: counted from 0 in each sequence, without its padding.

    Returns:
        A new (B, L).

    Raises:
        ValueError: as :func:`shuffle_tokens`; a position that some sequence does not have.
    """
    places = _places(input_ids, mask)
    shortest = min(len(place) for place in places)
    if not isinstance(position, int) or not 0 <= position < shortest:
        raise ValueError(f"position: got {position!r}, takes an integer from 0 to {shortest - 1}")
    moved = input_ids.clone()
    for row, place in enumerate(places):
        passed = place[: position + 1]
        moved[row, passed] = input_ids[row, passed.roll(-1)]
    return moved


@takes(layer=instance(Layer), factor=number())
def rescale(layer: Layer, factor: float) -> Layer:
    """The same layer as a function, with hidden attention `factor` times as large.

    ``u / factor``, ``factor B`` and ``factor skip``: what the layer computes, ``gate * (M u + skip
    u)``, stays. Raw scores grow by the factor and change sign with it, the softmax sharpens or
    flattens, "absolute" scores stay.

    Real weights of Mamba allow the like exactly: the rows of `x_proj` that make C, and D, times
    c; `out_proj`'s weight over c. The model then computes the same function of its tokens, and the
    layer's hidden attention is c times what it was, for any c but 0. So the share of channels over
    a threshold on raw scores, eq (34), is no property of that function: as c grows, it tends to
    the share of channels with a positive score, or for c < 0 a negative one. Jamba allows it too,
    by the weight of its norm on C. FalconMamba normalises B and C to a mean square of 1 without a
    weight, and the rest of what M is made of comes out of SiLU and softplus, which keep no scale:
    this freedom is not within the architecture, and the norm fixes the scale by convention.

    Raises:
        ValueError: a factor that is 0 or not finite.
    """
    if not math.isfinite(factor) or factor == 0:
        raise ValueError(f"factor: got {factor!r}, takes a finite number but 0")
    return replace(layer, u=layer.u / factor, B=factor * layer.B, skip=factor * layer.skip)


def _queries(length: int) -> Tensor:
    """How many queries read each token: T, T - 1, ..., 1."""
    return torch.arange(length, 0, -1, dtype=torch.float64)


def _check_length(length: int) -> None:
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise ValueError(f"length: got {length!r}, takes an integer >= 1")


def _places(input_ids: Tensor, mask: Tensor | None) -> list[Tensor]:
    """Where the tokens of each sequence stand."""
    if input_ids.ndim != 2 or 0 in input_ids.shape:
        raise ValueError(f"input_ids: shape {tuple(input_ids.shape)}, takes (B, L), none of them 0")
    if mask is None:
        mask = torch.ones_like(input_ids)
    if mask.shape != input_ids.shape:
        raise ValueError(f"mask: shape {tuple(mask.shape)}, takes {tuple(input_ids.shape)}")
    places = [row.nonzero()[:, 0] for row in mask.to(input_ids.device)]
    for row, place in enumerate(places):
        if not len(place):
            raise ValueError(f"mask: sequence {row} has no token")
    return places
