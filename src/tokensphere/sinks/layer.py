"""What the measurements work on: the S6 tensors of one layer, cut out of a model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tokensphere import s6
from tokensphere.s6.arguments import uncast

__all__ = ["Layer"]


@dataclass(frozen=True)
class Layer:
    """The S6 tensors of one layer of a model on a batch of sequences.

    Token 1 of each sequence stands at index 0 whichever side the model's input was padded on, and
    what lies past ``lengths[b]`` has zero ``u, delta, B, C``: it neither reads nor is read. For a
    layer that runs from the last token to the first, ``reverse`` is true and index 0 holds the
    last token: the one that this layer reads first.

    D counts hidden attention matrices. In Mamba each channel has its own; in Mamba-2 the P
    channels of a head share theirs, so that ``u`` has D P channels, head by head. Channels
    ``D g / G`` up to ``D (g + 1) / G`` read the g-th of the G groups of B and C.

    Attributes:
        name: the mixer's name within the model, such as "backbone.layers.3.mixer".
        u: what the attention mixes, (B, D P, L).
        delta: steps after softplus, (B, D, L).
        A: decay rates, (D, N), negative.
        B, C: input and output vectors, (B, G, N, L).
        skip: the weight of u that passes the attention by, (D P,).
        gate: the factor on what the layer reads out, (B, D P, L), or None without one.
        lengths: tokens in each sequence, (B,), integers, on the CPU wherever the others are: what
            depends on them need not wait for a device.
        reverse: whether the layer reads the sequence from its last token on.
        beside: what goes round the scan and is read out beside it, (B, E, L), or None without.

    Where a caller asked for what scores need and no more, ``u`` is on the meta device, which holds
    its shape alone, and ``gate`` and ``beside`` are None: such a layer cannot be mixed.
    """

    name: str
    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    skip: Tensor
    gate: Tensor | None
    lengths: Tensor
    reverse: bool = False
    beside: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """delta, A, B, C: what the hidden attention is made of, as `s6` takes them."""
        return self.delta, self.A, self.B, self.C

    @property
    def mask(self) -> Tensor:
        """(B, L): true where there is a token."""
        inside = torch.arange(self.delta.shape[-1]) < self.lengths[:, None]
        return inside.to(self.delta.device, non_blocking=True)

    def select(self, channels: Tensor) -> Layer:
        """The same layer with these of its D hidden attentions only, in this order.

        channels: integers in [0, D), (K,). With more than one group, each channel gets its own.

        Raises ValueError where one is not a channel.
        """
        count, groups = self.delta.shape[1], self.B.shape[1]
        if channels.ndim != 1 or channels.dtype.is_floating_point or not len(channels):
            raise ValueError(
                f"channels: shape {tuple(channels.shape)} of {channels.dtype}, takes integers (K,)"
            )
        if int(channels.min()) < 0 or int(channels.max()) >= count:
            raise ValueError(f"channels: takes numbers from 0 to {count - 1}")
        channels = channels.to(self.delta.device)
        shared = self.u.shape[1] // count
        wide = (channels[:, None] * shared + torch.arange(shared, device=channels.device)).flatten()
        u = self.u.new_empty(len(self.u), len(wide), self.u.shape[-1]) if self.u.is_meta else None
        group = channels // (count // groups) if groups > 1 else channels.new_zeros(1)
        return replace(
            self,
            u=self.u[:, wide] if u is None else u,
            delta=self.delta[:, channels],
            A=self.A[channels],
            B=self.B[:, group],
            C=self.C[:, group],
            skip=self.skip[wide],
            gate=None if self.gate is None else self.gate[:, wide],
        )

    def mix(self) -> Tensor:
        """gate * (attention @ u + skip * u), (B, D P, L), by the hidden attention matrices.

        O(L^2) time and memory: to check a capture with, on short sequences.

        Raises ValueError where the layer was captured without its values.
        """
        if self.u.is_meta:
            raise ValueError(f"{self.name}: captured without values")
        attention = s6.hidden_attention(*self.tensors)
        values = self.u.unflatten(1, (self.delta.shape[1], -1)).to(attention.dtype)
        with uncast(values):
            mixed = torch.einsum("bdlj,bdpj->bdpl", attention, values).flatten(1, 2)
        mixed = mixed + self.skip[:, None] * self.u
        return mixed if self.gate is None else self.gate * mixed
