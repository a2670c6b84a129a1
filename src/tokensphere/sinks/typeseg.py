"""The trained Mamba model inside PyPI's `typeseg`, as a torch module.

typeseg (Apache-2.0, https://github.com/s0urc10ud/semantic-text-segmentation) says for each byte of
a text which of 35 languages and encodings it belongs to. Its weights ship with the package, so this
is a trained Mamba that needs no download: 6 blocks of 256 channels with 16 states. Each block reads
the sequence in both directions with one set of weights and adds the two. Its convolution is
centred, so that even the forward direction looks two bytes ahead.

The equations are those of `typeseg/_mamba_kernel.py` in version 0.2.7.
"""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tokensphere import s6
from tokensphere.sinks.mixers import keep

__all__ = ["Block", "Mixer", "TypeSeg", "TypeSegOutput", "encode", "load"]

WEIGHTS = "data/mamba_al.npz"
PLACEHOLDER = 0xA4
"""What stands for a byte outside printable ASCII, tab, newline and carriage return."""
PADDING = 256
LEAST_STEP = 1e-4
"""Added to the steps after softplus."""


@dataclass(frozen=True)
class TypeSegOutput:
    """What :class:`TypeSeg` returns.

    logits: (B, L, classes).
    hidden_states: the residual stream before the first block and after each, (B, L, width) each;
        None unless asked for. The last has not passed the final normalisation.
    """

    logits: Tensor
    hidden_states: tuple[Tensor, ...] | None


class Mixer(nn.Module):
    """A selective layer that reads in both directions with the same weights.

    Args:
        width: channels in and out.
        inner: channels of the scan.
        states: N, states of a channel.
        rank: rank of the map to the steps.
        kernel: taps of the convolution.
    """

    def __init__(self, width: int, inner: int, states: int, rank: int, kernel: int):
        super().__init__()
        self.in_proj = nn.Linear(width, 2 * inner)
        self.conv1d = nn.Conv1d(inner, inner, kernel, groups=inner)
        self.x_proj = nn.Linear(inner, rank + 2 * states)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width)

    def project(
        self, hidden: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What both directions scan: u, delta (B, inner, L), B, C (B, states, L), gate as u.

        hidden: (B, L, width). mask: (B, L), zero at padding, where u is zero.
        """
        u, gate = self.in_proj(hidden).mT.chunk(2, dim=1)
        # The input projection has a bias: without the first mask the convolution would read that
        # bias where a sequence alone has nothing, without the second padding would enter the scan.
        u = keep(u, mask)
        taps = self.conv1d.kernel_size[0] - 1
        u = self.conv1d(nn.functional.pad(u, (taps // 2, taps - taps // 2)))
        u = keep(nn.functional.silu(u), mask)
        states = self.A_log.shape[1]
        sizes = [self.dt_proj.in_features, states, states]
        steps, B, C = self.x_proj(u.mT).split(sizes, dim=-1)
        delta = nn.functional.softplus(self.dt_proj(steps)).mT + LEAST_STEP
        return u, delta, B.mT, C.mT, nn.functional.silu(gate)

    def forward(self, hidden: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """(B, L, width), from (B, L, width)."""
        u, delta, B, C, gate = self.project(hidden, attention_mask)
        both = [torch.cat([value, value.flip(-1)]) for value in (u, delta, B, C)]
        ahead, back = s6.scan(*both[:2], -self.A_log.exp(), *both[2:]).chunk(2)
        # The skip is part of each direction's scan, so it counts twice.
        mixed = ahead + back.flip(-1) + 2 * self.D[:, None] * u
        return self.out_proj((gate * mixed).mT)


class Block(nn.Module):
    """x + mixer(norm(x))."""

    def __init__(self, width: int, **sizes: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.mixer = Mixer(width, **sizes)

    def forward(self, hidden: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return hidden + self.mixer(self.norm(hidden), attention_mask=attention_mask)


class TypeSeg(nn.Module):
    """typeseg's Mamba with random weights; :func:`load` gives the trained one.

    Args: blocks: how many. classes: of a byte. The others are those of :class:`Mixer`.
    """

    def __init__(
        self,
        blocks: int = 6,
        width: int = 256,
        inner: int = 256,
        states: int = 16,
        rank: int = 16,
        kernel: int = 4,
        classes: int = 35,
    ):
        super().__init__()
        self.embeddings = nn.Embedding(PADDING + 1, width)
        sizes = {"inner": inner, "states": states, "rank": rank, "kernel": kernel}
        self.blocks = nn.ModuleList(Block(width, **sizes) for _ in range(blocks))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool = False,
    ) -> TypeSegOutput:
        """Logits of each byte.

        input_ids: bytes, as :func:`encode` gives them, (B, L), integers; 256 is padding.
        attention_mask: (B, L), zero at padding, on which what the tokens get does not depend.
        """
        hidden = self.embeddings(input_ids)
        stream = [hidden]
        for block in self.blocks:
            hidden = block(hidden, attention_mask=attention_mask)
            stream.append(hidden)
        logits = self.head(self.norm(hidden))
        return TypeSegOutput(logits, tuple(stream) if output_hidden_states else None)


def encode(text: str) -> Tensor:
    """The text's UTF-8 bytes as typeseg's model reads them, (L,), integers.

    All bytes outside printable ASCII, tab, newline and carriage return become one placeholder.
    """
    kept = {*range(0x20, 0x7F), *b"\t\n\r"}
    found = text.encode("utf-8", "ignore")
    return torch.tensor([b if b in kept else PLACEHOLDER for b in found], dtype=torch.int64)


def load() -> TypeSeg:
    """The trained model of the installed typeseg: on the CPU, float32, for evaluation.

    Raises ModuleNotFoundError where typeseg is not installed.
    """
    try:
        folder = importlib.resources.files("typeseg")
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "this model's weights ship with the package typeseg: pip install typeseg==0.2.7"
        ) from None
    with (folder / WEIGHTS).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        flat = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    state: dict[str, Tensor] = {}

    def take(source: str, target: str) -> None:
        kernel = flat[f"{source}__kernel"]
        # flax keeps (in, out) for a linear map and (taps, 1, channels) for the convolution.
        state[f"{target}.weight"] = kernel.permute(*reversed(range(kernel.ndim))).contiguous()
        state[f"{target}.bias"] = flat[f"{source}__bias"]

    def take_norm(source: str, target: str) -> None:
        state[f"{target}.weight"] = flat[f"{source}__scale"]
        state[f"{target}.bias"] = flat[f"{source}__bias"]

    blocks = sum(name.endswith("__A_log") for name in flat)
    for index in range(blocks):
        source, target = f"CheckpointMambaBlock1D_{index}", f"blocks.{index}"
        take_norm(f"{source}__LayerNorm_0", f"{target}.norm")
        layers = ("Dense_0", "in_proj"), ("Conv_0", "conv1d"), ("Dense_1", "x_proj")
        for theirs, ours in (*layers, ("Dense_2", "dt_proj"), ("Dense_3", "out_proj")):
            take(f"{source}__{theirs}", f"{target}.mixer.{ours}")
        for name in ("A_log", "D"):
            state[f"{target}.mixer.{name}"] = flat[f"{source}__{name}"]
    take_norm("LayerNorm_0", "norm")
    take("Dense_0", "head")
    # The table has a row for each ASCII byte, one for all others and one for padding.
    table = flat["Embed_0__embedding"]
    rows = [min(byte, 128) for byte in range(PADDING)] + [129]
    state["embeddings.weight"] = table[rows]
    inner, states = state["blocks.0.mixer.A_log"].shape
    # On the meta device nothing is drawn from the global generator for weights to be replaced.
    with torch.device("meta"):
        model = TypeSeg(
            blocks=blocks,
            width=table.shape[1],
            inner=inner,
            states=states,
            rank=state["blocks.0.mixer.dt_proj.weight"].shape[1],
            kernel=state["blocks.0.mixer.conv1d.weight"].shape[2],
            classes=len(state["head.bias"]),
        )
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)
