"""Does the first token's attraction explain a trained model's sink? What can be measured of it.

Section 4.1 of the paper reads a sink as its theory at work: tokens come to the first one as they go
deeper, so that their attention gathers there. As statements about a trained model:

1. tokens come to the first one with depth: :func:`alignment`, against their closeness to each
   other;
2. it is the first one that draws them, so that with another first token they go elsewhere:
   :func:`response`;
3. layers and channels with a larger predicted pull have larger scores: :func:`predicted`,
   :func:`aligned`, :func:`pull`, :func:`correlation`;
4. the score comes out of what the theory names, and not of something else: `sinks.attribution`.

What the scores themselves do on other tokens is for `nulls` and :func:`prepend`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from tokensphere.door import each, flag, optional, share, takes, tensor, whole
from tokensphere.s6.arguments import uncast, wide
from tokensphere.sinks.layer import Layer
from tokensphere.sinks.scores import importance, interval
from tokensphere.sinks.verdicts import Estimate

__all__ = [
    "Alignment",
    "Prediction",
    "aligned",
    "alignment",
    "correlation",
    "predicted",
    "prepend",
    "pull",
    "response",
]

# 1 and 2: the residual stream.


@dataclass(frozen=True)
class Alignment:
    """Cosines of a residual stream's tokens, token 1 of each sequence at index 0.

    Attributes:
        first: of token l with token 1, (depth + 1, S, L).
        others: the mean of its cosines with all tokens j > 1 but itself, (depth + 1, S, L). In
            trained models all tokens share a direction; they come to the *first* one only as far as
            `first` exceeds this.

    NaN at token 1 itself, past a sequence's end, and, in `others`, in sequences of two tokens.
    """

    first: Tensor
    others: Tensor


@takes(
    states=each(tensor("S", "L", "D", finite=False)),
    mask=optional(tensor("S", "L", kinds="bif", alike=False)),
    axis=flag(),
)
@torch.no_grad()
def alignment(
    states: Sequence[Tensor], mask: Tensor | None = None, axis: bool = False
) -> Alignment:
    """How close tokens are to the first token, and to each other, at every depth.

    Tokens are normalised to x / |x|, as in eq (6). For layers that read from the last token on,
    flip states and mask along the tokens.

    Args:
        states: the residual stream before the first layer and after each, (S, L, D) each: what
            transformers' models and :class:`tokensphere.sinks.typeseg.TypeSeg` return as
            `hidden_states`. The last one of transformers' has passed the final norm, whose weights
            turn it: only those before compare with each other.
        mask: (S, L), nonzero at tokens, zero at padding on either side; None for no padding.
        axis: take ``|cos|``, closeness to the axis +-x_1: the theory's limits are signed.

    Returns:
        float32, or float64 for states in it. O(S L^2) memory.

    Raises:
        ValueError: no state, an argument of another shape, a sequence without tokens, a token
            that is zero or not finite.
    """
    mask = _check_states(states, mask)
    real = _to_front(mask, mask)
    partners = real.clone()
    partners[:, 0] = False
    first, others = [], []
    for state in states:
        x = _unit(state, mask)
        with uncast(x):
            cosines = x @ x.mT
        cosines = cosines.abs() if axis else cosines
        first.append(torch.where(partners, cosines[:, 0], torch.nan))
        # A token's cosine with itself, 1, is taken out by position: its rounding stays in.
        itself = torch.where(partners, cosines.diagonal(dim1=1, dim2=2), 0)
        total = torch.where(partners[:, None], cosines, 0).sum(-1) - itself
        count = partners.sum(-1, keepdim=True) - 1
        others.append(torch.where(partners & (count > 0), total / count, torch.nan))
    return Alignment(torch.stack(first), torch.stack(others))


@takes(
    states=each(tensor("S", "L", "D", finite=False)),
    changed=each(tensor("S", "L", "D", finite=False)),
    mask=optional(tensor("S", "L", kinds="bif", alike=False)),
    position=whole(0),
)
@torch.no_grad()
def response(
    states: Sequence[Tensor],
    changed: Sequence[Tensor],
    mask: Tensor | None = None,
    position: int = 0,
) -> Tensor:
    """How far each token goes along when one token, the first, is another one; at every depth.

    With x and y the normalised tokens of two runs that differ in token p only,

        r_l = <x_l - y_l, x_p - y_p> / |x_p - y_p|^2.

    Before the first layer r_l = 0 for l != p. Where the first token draws the others to itself, so
    that x_l = s_l x_1 and y_l = s_l y_1 with signs s_l, it is s_l for p = 1. Tokens that do not
    depend on token p have 0, wherever they are: a direction that all tokens share does not enter.
    Every token moves those after it somewhat: the response to the first is to be held against that
    to later ones.

    Args:
        states, mask: as for :func:`alignment`.
        changed: the same of the other run.
        position: p, counted from 0 in each sequence, without its padding.

    Returns:
        (depth + 1, S, L), token 1 at index 0; NaN at token p, where it is 1 by definition, past a
        sequence's end, and where x_p = y_p.

    Raises:
        ValueError: as :func:`alignment`; `changed` of another length or shape; a position that some
            sequence does not have.
    """
    mask = _check_states(states, mask)
    _check_states(changed, mask, "changed")
    if len(changed) != len(states) or changed[0].shape != states[0].shape:
        raise ValueError(
            f"changed: {len(changed)} of {tuple(changed[0].shape)}, takes {len(states)} of "
            f"{tuple(states[0].shape)} as states"
        )
    shortest = int(mask.sum(-1).min())
    if not isinstance(position, int) or not 0 <= position < shortest:
        raise ValueError(f"position: got {position!r}, takes an integer from 0 to {shortest - 1}")
    real = _to_front(mask, mask)
    real[:, position] = False
    rows = []
    for state, other in zip(states, changed, strict=True):
        moved = _unit(state, mask) - _unit(other, mask)
        with uncast(moved):
            along = (moved @ moved[:, position, :, None])[..., 0]
        # 0 / 0 is NaN, as promised, where token p is the same.
        share = along / along[:, position, None]
        rows.append(torch.where(real, share, torch.nan))
    return torch.stack(rows)


@takes(
    input_ids=tensor("B", "L", kinds="i", alike=False),
    mask=optional(tensor("B", "L", kinds="bif", alike=False)),
    token=whole(0),
)
def prepend(input_ids: Tensor, mask: Tensor | None, token: int) -> tuple[Tensor, Tensor]:
    """Each sequence with one more token before its first, such as a beginning-of-text token.

    Args:
        input_ids: (B, L).
        mask: (B, L), nonzero at tokens, zero at padding on either side; None for no padding.
        token: its number.

    Returns:
        ids and mask, both (B, L + 1); the mask has input_ids' device and integers 0 and 1.

    Raises:
        ValueError: an argument of another shape, a sequence without a token.
    """
    if input_ids.ndim != 2 or 0 in input_ids.shape:
        raise ValueError(f"input_ids: shape {tuple(input_ids.shape)}, takes (B, L), none of them 0")
    mask = _check_mask(mask, input_ids)
    first = mask.int().argmax(-1, keepdim=True)
    places = torch.arange(input_ids.shape[1] + 1, device=input_ids.device)
    # Up to the new token's place all stays, and what follows moves by one.
    source = places - (places > first).int()
    source = source.clamp(max=input_ids.shape[1] - 1)
    new = places == first
    ids = torch.where(new, token, input_ids.gather(1, source))
    # The new token's place takes the mask of the first token, which moved up from there.
    return ids, mask.gather(1, source).to(input_ids.dtype)


# 3: what the theory predicts of a layer.


@dataclass(frozen=True)
class Prediction:
    """The hidden attention with all tokens at the first one: M_lj = sum_n g_n e^{-r_n (l - j)}.

    Attributes:
        rate: r_n = -A_n Delta(x_1), (B, D, N).
        gain: g_n = Delta(x_1) B_n(x_1) C_n(x_1), (B, D, N).
    """

    rate: Tensor
    gain: Tensor

    @property
    def weight(self) -> Tensor:
        """sum_n g_n, (B, D): what a token there gives itself, <x_1, S_BC x_1> Delta(x_1) in eq (5).
        Its sign says whether the first token draws the others or drives them off."""
        return self.gain.sum(-1)

    @property
    def speed(self) -> Tensor:
        """sum_n g_n e^{-r_n}, (B, D): minus the eigenvalue of token 2 at consensus, the rate at
        which eq (6), with this channel's attention as weights, draws it to the first
        (:mod:`tokensphere.other_tokens`)."""
        return (self.gain * torch.exp(-self.rate)).sum(-1)


@torch.no_grad()
def predicted(layer: Layer) -> Prediction:
    """What the theory's limit, all tokens at the first one, makes of each channel and state.

    The importance, eq (33), in that limit is :func:`tokensphere.sinks.lag_importance` of rate and
    gain, summed over the states; :func:`aligned` gives it in every variant.

    Returns:
        float32, or float64 for a layer in float64.
    """
    step = layer.delta[..., :1]
    each = layer.delta.shape[1] // layer.B.shape[1]
    products = (wide(layer.B[..., 0]) * wide(layer.C[..., 0])).repeat_interleave(each, dim=1)
    return Prediction(-layer.A * step, step * products)


def aligned(layer: Layer) -> Layer:
    """The layer with every token's steps, B and C those of token 1: the theory's limit.

    u and gate, which no score reads, are left as they are.
    """
    mask = layer.mask[:, None]

    def first(value: Tensor) -> Tensor:
        kept = mask if value.ndim == 3 else mask[:, None]
        return torch.where(kept, value[..., :1], 0)

    return replace(layer, delta=first(layer.delta), B=first(layer.B), C=first(layer.C))


@torch.no_grad()
def pull(layer: Layer) -> Tensor:
    """The mean weight that the later tokens give the first, (1 / (T - 1)) sum_{l=2}^{T} M_l1.

    In eq (6) M_l1 is the first token's pull on token l. Eq (33) for k = 1 also counts M_11, which
    is :attr:`Prediction.weight` exactly: that term would correlate with any prediction.

    Of :func:`aligned`'s layer, it is the theory's prediction of the measured one.

    Returns:
        (B, D), NaN in sequences of one token.

    Raises:
        ValueError: as :func:`tokensphere.sinks.importance`.
    """
    own = predicted(layer).weight
    count = layer.lengths.to(own.device)[:, None]
    total = importance(layer)[..., 0] * count - own
    return torch.where(count > 1, total / (count - 1), torch.nan)


@takes(
    predicted=tensor("S", "K", kinds="fi", alike=False, K=2),
    measured=tensor("S", "K", kinds="fi", alike=False),
    confidence=share(closed=False),
)
def correlation(predicted: Tensor, measured: Tensor, confidence: float = 0.95) -> Estimate:
    """Spearman's rank correlation across channels, or layers: its mean over prompts, and interval.

    One coefficient for each prompt (scipy.stats.spearmanr), then
    :func:`tokensphere.sinks.interval`. Channels of one model are no independent draws; prompts are
    taken to be.

    Args:
        predicted, measured: (S, K), for each prompt K channels or layers.
        confidence: of the two-sided interval.

    Returns:
        NaN where no prompt has a coefficient: one whose predicted or measured values are all alike
        has none and is left out. Bounds are NaN with fewer than two.

    Raises:
        ValueError: other shapes, values that are not finite, or a confidence out of range.
    """
    if predicted.ndim != 2 or predicted.shape[0] < 1 or predicted.shape[1] < 2:
        raise ValueError(f"predicted: shape {tuple(predicted.shape)}, takes (S, K) with K >= 2")
    if measured.shape != predicted.shape:
        raise ValueError(
            f"measured: shape {tuple(measured.shape)}, but predicted has {tuple(predicted.shape)}"
        )
    for name, value in {"predicted": predicted, "measured": measured}.items():
        if not bool(value.isfinite().all()):
            raise ValueError(f"{name}: holds NaN or infinity")
    pairs = torch.stack([predicted.detach().double(), measured.detach().double()], 1).cpu().numpy()
    found = [
        math.nan if (np.ptp(pair, axis=1) == 0).any() else stats.spearmanr(*pair).statistic
        for pair in pairs
    ]
    found = torch.tensor(found, dtype=torch.float64)
    low, high = interval(found, confidence)
    return Estimate(float(found.nanmean()), float(low), float(high))


def _unit(state: Tensor, mask: Tensor) -> Tensor:
    """x / |x| with token 1 at index 0; anything past a sequence's end."""
    x = wide(state).to(mask.device)
    sizes = x.norm(dim=-1, keepdim=True)
    if not bool(((sizes > 0) & sizes.isfinite())[mask].all()):
        raise ValueError("states: holds a token that is zero or not finite")
    return _to_front(x / sizes, mask)


def _to_front(value: Tensor, mask: Tensor) -> Tensor:
    """value (S, L, ...), rolled so that each sequence's first token stands at index 0."""
    length = mask.shape[1]
    places = torch.arange(length, device=mask.device)
    order = (mask.int().argmax(-1, keepdim=True) + places) % length
    return torch.take_along_dim(value, order.view(*order.shape, *[1] * (value.ndim - 2)), dim=1)


def _check_states(states: Sequence[Tensor], mask: Tensor | None, name: str = "states") -> Tensor:
    """The mask as booleans."""
    shapes = sorted({tuple(state.shape) for state in states})
    if len(shapes) != 1 or len(shapes[0]) != 3 or 0 in shapes[0]:
        raise ValueError(f"{name}: got shapes {shapes}, takes one or more tensors (S, L, D)")
    return _check_mask(mask, states[0][..., 0])


def _check_mask(mask: Tensor | None, like: Tensor) -> Tensor:
    if mask is None:
        return torch.ones_like(like, dtype=torch.bool)
    if mask.shape != like.shape:
        raise ValueError(f"mask: shape {tuple(mask.shape)}, takes {tuple(like.shape)}")
    mask = mask.to(like.device).bool()
    starts = (torch.nn.functional.pad(mask.int(), (1, 0)).diff(dim=-1) == 1).sum(-1)
    for row in range(len(mask)):
        if not bool(mask[row].any()):
            raise ValueError(f"mask: sequence {row} has no token")
        if int(starts[row]) > 1:
            raise ValueError(f"mask: sequence {row} has holes between its tokens")
    return mask
