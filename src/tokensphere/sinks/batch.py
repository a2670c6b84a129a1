"""What goes into a model's run, and where its tokens stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Batch", "Inputs", "gather", "read_inputs"]

Inputs = Tensor | Mapping[str, Any]


@dataclass(frozen=True)
class Batch:
    """first: index of each sequence's first token, (B,). lengths: how many tokens, (B,).
    mask: (B, L), true at tokens, None where there is no padding. length: L. All on the CPU."""

    first: Tensor
    lengths: Tensor
    mask: Tensor | None
    length: int

    @classmethod
    def whole(cls, count: int, length: int) -> Batch:
        """Sequences without padding."""
        lengths = torch.full((count,), length)
        return cls(torch.zeros_like(lengths), lengths, None, length)

    def flipped(self) -> Batch:
        """The same for the sequences read from their ends, padding included."""
        mask = None if self.mask is None else self.mask.flip(1)
        return Batch(self.length - self.first - self.lengths, self.lengths, mask, self.length)

    def align(self, value: Tensor, reverse: bool = False) -> Tensor:
        """value (B, ..., L) with the first token, or with `reverse` the last, moved to index 0."""
        if self.mask is None:
            return value.flip(-1) if reverse else value
        if value.is_meta:
            return value[..., : int(self.lengths.max())]
        first, lengths = self.first.to(value.device), self.lengths.to(value.device)
        positions = torch.arange(int(self.lengths.max()), device=value.device)
        offsets = lengths[:, None] - 1 - positions if reverse else positions
        order = (first[:, None] + offsets).clamp(0, value.shape[-1] - 1)
        inside = (positions < lengths[:, None]).view(len(lengths), *[1] * (value.ndim - 2), -1)
        return torch.where(inside, gather(value, order), 0)


def gather(value: Tensor, order: Tensor) -> Tensor:
    """value (B, ..., L) at order (B, K): (B, ..., K)."""
    shape = (len(order), *[1] * (value.ndim - 2), order.shape[-1])
    return value.gather(-1, order.view(shape).expand(*value.shape[:-1], -1))


def read_inputs(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any], Batch | None]:
    """What the model is called with, by place and by name, and where its tokens stand.

    None in place of a Batch where the inputs are no tokens, as images: each mixer's are then all
    that it sees.

    Raises ValueError as :func:`tokensphere.sinks.capture` says.
    """
    if isinstance(inputs, Tensor):
        if inputs.is_floating_point():
            return (inputs,), {}, None
        inputs = {"input_ids": inputs}
    if not isinstance(inputs, Mapping):
        raise ValueError(f"inputs: got {type(inputs).__name__}, takes a tensor or a mapping")
    inputs = dict(inputs)
    for name in ("cache_params", "past_key_values"):
        if inputs.get(name) is not None:
            raise ValueError(f"inputs: holds {name}, takes whole sequences only")
    if inputs.get("labels") is not None:
        raise ValueError("inputs: holds labels, which change no attention; takes none")
    name = "input_ids" if inputs.get("input_ids") is not None else "inputs_embeds"
    tokens = inputs.get(name)
    masked = inputs.get("attention_mask") is not None
    if tokens is None and not masked and any(map(torch.is_tensor, inputs.values())):
        return (), inputs, None
    if not isinstance(tokens, Tensor):
        raise ValueError("inputs: holds no tensor input_ids")
    if tokens.ndim != 2 + (name == "inputs_embeds"):
        raise ValueError(f"{name}: shape {tuple(tokens.shape)}, takes (B, L) before any channels")
    if name == "input_ids" and (tokens.is_floating_point() or tokens.dtype == torch.bool):
        raise ValueError(f"input_ids: dtype {tokens.dtype}, takes integers")
    count, length = tokens.shape[:2]
    if count == 0 or length == 0:
        raise ValueError(f"{name}: shape {tuple(tokens.shape)} holds no tokens")
    batch = Batch.whole(count, length)
    mask = inputs.get("attention_mask")
    if mask is not None:
        batch = _padded(mask, count, length)
    return (), inputs, batch


def _padded(mask: Any, count: int, length: int) -> Batch:
    if not isinstance(mask, Tensor) or mask.shape != (count, length):
        got = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"attention_mask: got {got}, takes {(count, length)} as the tokens")
    mask = mask.cpu()
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError("attention_mask: holds other values than 0 and 1")
    mask = mask.bool()
    lengths, first = mask.sum(-1), mask.int().argmax(-1)
    positions = torch.arange(length)
    whole = (positions >= first[:, None]) & (positions < (first + lengths)[:, None])
    for index in range(count):
        if not lengths[index]:
            raise ValueError(f"attention_mask: sequence {index} has no tokens")
        if not torch.equal(mask[index], whole[index]):
            raise ValueError(f"attention_mask: sequence {index} has holes between its tokens")
    return Batch(first, lengths, None if bool(mask.all()) else mask, length)
