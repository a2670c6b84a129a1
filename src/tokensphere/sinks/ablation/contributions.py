"""What keys of the hidden attention contribute to a mixer's output, in linear time.

A channel's hidden attention M gives query l the mixture ``y_l = sum_{j <= l} M_lj u_j``. Key k
contributes ``M_lk u_k`` to each later query l > k; `sinks.ablation` says why not to its own. Column
k of M comes from one scan of a sequence that is zero but at k.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tokensphere import s6
from tokensphere.sinks.batch import Batch, gather
from tokensphere.sinks.capture import layers_of
from tokensphere.sinks.layer import Layer
from tokensphere.sinks.mixers import Seen, find, loaded

__all__ = ["change"]


def change(
    name: str,
    mixer: nn.Module,
    seen: Seen,
    batch: Batch,
    flipped: bool,
    keys: Tensor,
    channels: Sequence[int] | None,
) -> Tensor:
    """What ablating the keys (B, K) adds to a mixer's output, (B, L, hidden); zero at padding."""
    layers = layers_of(name, mixer, seen, batch, flipped)
    family = find(mixer)
    first = layers[0]
    lengths = first.lengths.to(first.u.device)[:, None]
    positions = torch.arange(first.u.shape[-1], device=first.u.device)
    back = (lengths - 1 - positions).clamp(min=0)
    whole, left = 0, 0
    for layer in layers:
        mixed, taken = _mixed(layer), _taken(layer, keys.to(first.u.device), channels)
        if layer.gate is not None:
            mixed, taken = layer.gate * mixed, layer.gate * taken
        # The directions of one mixer meet in the order in which it reads ahead, its first's.
        if layer.reverse is not first.reverse:
            mixed, taken = gather(mixed, back), gather(taken, back)
        whole, left = whole + mixed, left + (mixed - taken)
    beside = None if first.beside is None else first.beside.mT
    with loaded(mixer):
        moved, own = (
            family.read_out(mixer, value.mT, beside, first.u.dtype) for value in (left, whole)
        )
    difference = moved - own
    if batch.mask is None:
        return difference
    start = batch.first.to(difference.device)
    places = torch.arange(batch.length, device=difference.device) - start[:, None]
    inside = (places >= 0) & (places < lengths.to(difference.device))
    placed = gather(difference.mT, places.clamp(0, difference.shape[1] - 1)).mT
    return torch.where(inside[..., None], placed, 0)


def _mixed(layer: Layer) -> Tensor:
    """attention @ u + skip * u, (B, D P, L), in linear time; see `Layer.mix`."""
    shared = layer.u.shape[1] // layer.delta.shape[1]
    delta, A = layer.delta, layer.A
    if shared > 1:
        delta, A = delta.repeat_interleave(shared, 1), A.repeat_interleave(shared, 0)
    return s6.scan(layer.u, delta, A, layer.B, layer.C) + layer.skip[:, None] * layer.u


def _taken(layer: Layer, keys: Tensor, channels: Sequence[int] | None) -> Tensor:
    """The sum over keys k, (B, K) in the sequence, of M_lk u_k for l > k, (B, D P, L)."""
    total = layer.delta.shape[1]
    chosen, part = None, layer
    if channels is not None:
        if not len(channels) or not all(0 <= channel < total for channel in channels):
            raise ValueError(
                f"channels: got {list(channels)[:8]}, takes numbers from 0 to {total - 1}, as "
                f"{layer.name} has {total} hidden attentions"
            )
        chosen = torch.tensor(sorted(set(channels)), device=layer.delta.device)
        part = layer.select(chosen)
    if layer.reverse:
        keys = layer.lengths.to(keys.device)[:, None] - 1 - keys
    positions = torch.arange(layer.delta.shape[-1], device=keys.device)
    taken = torch.zeros_like(layer.u, dtype=layer.delta.dtype)
    for number, key in enumerate(keys.T):
        # Two directions' first tokens can be one and the same.
        fresh = (keys[:, :number] != key[:, None]).all(1)
        here = (positions == key[:, None]) & fresh[:, None]
        one = here[:, None].to(part.delta).expand_as(part.delta)
        column = s6.scan(one, *part.tensors)
        column = torch.where((positions > key[:, None])[:, None], column, 0)
        if chosen is not None:
            column = torch.zeros_like(layer.delta).index_copy(1, chosen, column)
        value = gather(layer.u, key[:, None]).unflatten(1, (total, -1))
        taken += (column[:, :, None] * value).flatten(1, 2)
    return taken
