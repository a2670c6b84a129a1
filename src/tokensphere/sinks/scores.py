"""Sink scores: how much each token is attended to, layer by layer and channel by channel.

The paper's importance of token k is the mean of column k of the hidden attention M over the queries
that can read it, eq (33); a channel has a sink at k where that exceeds a threshold, eq (34). Three
variants of M are scored:

- "raw": M itself. Entries have signs and a scale, and the scale is no property of what the layer
  computes (`nulls.rescale`): a threshold on it depends on how the weights were stored.
- "softmax": each row through a softmax over its keys j <= l, as in the paper's maps. It depends on
  the scale too, and turns a row of small entries into a uniform one.
- "absolute": ``|M_lj| / sum_{i<=l} |M_li|``, the share of key j in what query l reads. No factor on
  M moves it.

A row without weight on any key counts as uniform in the "absolute" variant, as it does by itself in
"softmax": it prefers no key, so it adds to a score just what uniform attention adds.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from tokensphere import s6
from tokensphere.door import each, number, one_of, optional, share, takes, tensor, whole
from tokensphere.s6.arguments import wide
from tokensphere.sinks.layer import Layer

__all__ = [
    "VARIANTS",
    "attention_map",
    "exceeds",
    "importance",
    "interval",
    "sample_channels",
    "sample_sink_rates",
    "sink_rate",
    "sink_score",
]

VARIANTS = ("raw", "softmax", "absolute")

BUDGET = 2**28
"""Bytes that rows of the attention may take while they are scored. One channel of one sequence is
the least that can be worked on: where that alone needs more, it takes what it needs."""


@torch.no_grad()
def importance(layer: Layer, variant: str = "raw") -> Tensor:
    """alpha_k = (1 / (T - k + 1)) sum_{l=k}^{T} M_lk, eq (33), for each token k.

    T is the length of the sequence that k belongs to, so a batch of several lengths is right.

    Args:
        layer: a layer's tensors.
        variant: "raw", "softmax" or "absolute"; see the module's text.

    Returns:
        (B, D, L), NaN past a sequence's end; float32, or float64 for a layer in float64. "raw"
        takes O(B D N L) time. The others take O(B D N L^2), in pieces within BUDGET.

    Raises:
        ValueError: an unknown variant, a length outside 1..L, or as :func:`tokensphere.s6.scan`.
    """
    _check(layer, variant)
    delta = wide(layer.delta)
    if variant == "raw":
        totals = s6.column_sums(delta, *layer.tensors[1:])
    else:
        totals = torch.zeros_like(delta)
        for samples, channels, rows in _pieces(layer, int(layer.lengths.max())):
            real = layer.lengths[samples, None, None].to(delta.device)
            total = totals[samples, channels]
            for query, row in enumerate(rows):
                shares = _normalised(row, variant)
                # A query past the end of its sequence reads nothing and does not count.
                total[..., : query + 1] += torch.where(query < real, shares, 0)
    # In place: at the size of a long sequence each pass over all channels shows. Zero queries, past
    # a sequence's end, where the sum is 0 / 0, make it NaN.
    # Small, and put on the device without waiting for what is under way there.
    queries = (layer.lengths[:, None] - torch.arange(delta.shape[-1])).clamp_(min=0)
    return totals.div_(queries.to(totals, non_blocking=True)[:, None])


@torch.no_grad()
def attention_map(layer: Layer, variant: str = "softmax") -> Tensor:
    """The rows of M after `variant`, averaged over channels and sequences, as in Figure 2.

    The paper writes softmax(A); here a row's softmax is over the keys that the query can read, so
    that no weight falls on later ones.

    Returns:
        (T, T): query l, key j, zero for j > l, with T the length of the shortest sequence, to which
        the others are cut. float32, or float64 for a layer in float64. O(B D N T^2) time, in pieces
        within BUDGET.

    Raises:
        ValueError: as :func:`importance`.
    """
    _check(layer, variant)
    length = int(layer.lengths.min())
    total = layer.delta.new_zeros(length, length, dtype=wide(layer.delta).dtype)
    for _, _, rows in _pieces(layer, length):
        for query, row in enumerate(rows):
            total[query, : query + 1] += _normalised(row, variant).sum((0, 1))
    return total / (layer.delta.shape[0] * layer.delta.shape[1])


@takes(count=whole(1), sample=optional(whole(1)), seed=whole(0), layer=whole(0))
def sample_channels(count: int, sample: int | None, seed: int, layer: int) -> Tensor:
    """Which channels of a layer to score: drawn without replacement, in ascending order.

    The draw depends on (seed, layer) only, and is independent between layers. The paper draws 200 a
    layer, without a seed.

    Args:
        count: channels that the layer has.
        sample: channels to draw; None, or at least `count`, for all of them.
        seed, layer: non-negative integers.

    Returns:
        (min(sample, count),) integers, on the CPU.

    Raises:
        ValueError: a number out of range.
    """
    for name, value, least in (
        ("count", count, 1),
        ("sample", count if sample is None else sample, 1),
        ("seed", seed, 0),
        ("layer", layer, 0),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name}: got {value!r}, takes an integer >= {least}")
    if sample is None or sample >= count:
        return torch.arange(count)
    # A list seeds by all of its numbers: seed + layer would give layers of two runs one draw.
    drawn = np.random.default_rng([seed, layer]).choice(count, sample, replace=False)
    return torch.from_numpy(np.sort(drawn))


@takes(importance=tensor("B", "D", "L", gaps=True), threshold=number())
def sample_sink_rates(importance: Tensor, threshold: float = 0.3) -> Tensor:
    """Eq (35) for each sequence and token: the share of channels with importance > threshold.

    Args:
        importance: (B, D, L), NaN past a sequence's end.
        threshold: eps of eq (34); the paper's is 0.3.

    Returns:
        (B, L), NaN past a sequence's end.

    Raises:
        ValueError: an argument of another shape or value.
    """
    _check_importance(importance, threshold)
    return exceeds(importance, threshold).mean(1)


@takes(
    importance=tensor("B", "D", "L", gaps=True),
    threshold=number(),
    average_samples=one_of("after_threshold", "before_threshold"),
)
def sink_rate(
    importance: Tensor, threshold: float = 0.3, average_samples: str = "after_threshold"
) -> Tensor:
    """Eq (35) for each token, over sequences: the share of channels with importance > threshold.

    The paper does not say where its 170 sequences are averaged. Either:

    - "after_threshold": each sequence has its own sinks, and their rates are averaged; the mean of
      :func:`sample_sink_rates`.
    - "before_threshold": a channel has a sink where its mean importance over the sequences exceeds
      the threshold.

    Args:
        importance, threshold: as for :func:`sample_sink_rates`.
        average_samples: "after_threshold" or "before_threshold".

    Returns:
        (L,): each token over the sequences that have it, NaN where none has.

    Raises:
        ValueError: an argument of another shape or value.
    """
    _check_importance(importance, threshold)
    if average_samples == "after_threshold":
        return sample_sink_rates(importance, threshold).nanmean(0)
    if average_samples == "before_threshold":
        return exceeds(importance.nanmean(0), threshold).mean(0)
    raise ValueError(
        f"average_samples: got {average_samples!r}, takes 'after_threshold' or 'before_threshold'"
    )


@takes(rates=each(tensor("...", gaps=True)))
def sink_score(rates: Sequence[Tensor]) -> Tensor:
    """Eq (36) for each token: the mean of the layers' sink rates.

    Layers that read from the two ends of a sequence have different first tokens: score them apart.

    Args:
        rates: for each layer (L,), from :func:`sink_rate`; or (B, L), from
            :func:`sample_sink_rates`, for the score of each sequence.

    Returns:
        One tensor of that shape.

    Raises:
        ValueError: no layer, or layers of different shapes.
    """
    shapes = sorted({tuple(rate.shape) for rate in rates})
    if len(shapes) != 1:
        raise ValueError(f"rates: got shapes {shapes}, takes one or more tensors of one shape")
    return torch.stack(list(rates)).mean(0)


@takes(values=tensor("...", kinds="fi", gaps=True, empty=True), confidence=share(closed=False))
def interval(values: Tensor, confidence: float = 0.95) -> tuple[Tensor, Tensor]:
    """A confidence interval of the mean over prompts: Student's t, mean -+ t_{n-1} s / sqrt(n).

    Prompts are taken as independent draws. For skewed scores and few prompts this covers the mean
    more often than bootstrap intervals (percentile, BCa) do; it can reach outside [0, 1].

    Args:
        values: one a prompt, (S, ...); NaN is left out, as where a prompt lacks that token.
        confidence: between 0 and 1.

    Returns:
        low, high, each (...), float64 on the CPU; NaN where fewer than two prompts have a value.

    Raises:
        ValueError: no prompt, or a confidence out of range.
    """
    if not isinstance(values, Tensor) or values.ndim == 0 or not len(values):
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(f"values: got {got}, takes a tensor (S, ...) with S >= 1")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: got {confidence!r}, takes a number between 0 and 1")
    values = values.detach().cpu().double()
    count = (~values.isnan()).sum(0).double()
    mean = values.nanmean(0)
    freedom = torch.where(count > 1, count - 1, torch.nan)
    variance = (values - mean).square().nansum(0) / freedom
    quantile = torch.as_tensor(stats.t.ppf((1 + confidence) / 2, freedom.numpy()))
    half = quantile * (variance / count).sqrt()
    return mean - half, mean + half


def _normalised(row: Tensor, variant: str) -> Tensor:
    if variant == "softmax":
        return row.softmax(-1)
    if variant == "absolute":
        row = row.abs()
        total = row.sum(-1, keepdim=True)
        return torch.where(total > 0, row / total, 1 / row.shape[-1])
    return row


def _pieces(layer: Layer, length: int) -> Iterator[tuple[slice, slice, Iterator[Tensor]]]:
    """Which sequences and channels, and the rows of their attention over the first `length`
    tokens, for pieces small enough for BUDGET."""
    batch, channels = layer.delta.shape[:2]
    groups, states = layer.B.shape[1:3]
    # `s6.attention_rows` holds the keys' states, before and after the decay and after the next key;
    # B and C in full precision add two more where each channel has its own; then rows and steps.
    each = wide(layer.delta).element_size() * length * (5 * states + 8)
    room = max(BUDGET // each, 1)
    samples = max(room // channels, 1)
    for first in range(0, batch, samples):
        chosen = slice(first, first + samples)
        for span, held in _spans(channels, groups, room):
            rows = s6.attention_rows(
                wide(layer.delta[chosen, span, :length]),
                layer.A[span],
                layer.B[chosen, held, :, :length],
                layer.C[chosen, held, :, :length],
            )
            yield chosen, span, rows


def _spans(channels: int, groups: int, room: int) -> Iterator[tuple[slice, slice]]:
    """Slices of at most `room` channels with the groups that they read: whole groups, or a part of
    one."""
    size = channels // groups
    if room >= size:
        for group in range(0, groups, room // size):
            stop = group + room // size
            yield slice(group * size, stop * size), slice(group, stop)
        return
    for group in range(groups):
        stop = (group + 1) * size
        for start in range(group * size, stop, room):
            yield slice(start, min(start + room, stop)), slice(group, group + 1)


@takes(importance=tensor("...", gaps=True), threshold=number())
def exceeds(importance: Tensor, threshold: float) -> Tensor:
    """1 where an importance is above the threshold and 0 where not, NaN where there is no token."""
    return torch.where(importance.isnan(), importance, (importance > threshold).to(importance))


def _check(layer: Layer, variant: str) -> None:
    if variant not in VARIANTS:
        raise ValueError(f"variant: got {variant!r}, takes one of {', '.join(VARIANTS)}")
    length = layer.delta.shape[-1]
    if layer.lengths.shape != layer.delta.shape[:1]:
        raise ValueError(
            f"lengths: shape {tuple(layer.lengths.shape)}, takes ({layer.delta.shape[0]},)"
        )
    if int(layer.lengths.min()) < 1 or int(layer.lengths.max()) > length:
        raise ValueError(f"lengths: got {layer.lengths.tolist()}, takes 1 to {length}")


def _check_importance(importance: Tensor, threshold: float) -> None:
    if importance.ndim != 3 or 0 in importance.shape:
        raise ValueError(f"importance: shape {tuple(importance.shape)}, takes (B, D, L), none 0")
    if not np.isfinite(threshold):
        raise ValueError(f"threshold: got {threshold!r}, takes a finite number")
