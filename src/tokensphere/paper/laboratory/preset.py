"""What a preset of the laboratory is."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BENCHES = ("sphere", "circle", "line")


@dataclass(frozen=True)
class Preset:
    """A state of a bench that shows something of the book.

    Args:
        name: its address, lower case with hyphens.
        bench: one of BENCHES.
        title: what it is called in the list, in plain text.
        about: what to look at, one or two sentences in plain text.
        places: boxes and figures of the book that it shows, as "first-token/circle#thm-circle".
        state: the parameters of the bench, as its program takes them.
    """

    name: str
    bench: str
    title: str
    about: str
    places: tuple[str, ...]
    state: dict


def rows(values: Tensor | Sequence) -> list:
    """Numbers as JSON has them."""
    return torch.as_tensor(values, dtype=torch.float64).tolist()


def unit(values: Sequence) -> Tensor:
    """Rows of length one."""
    found = torch.as_tensor(values, dtype=torch.float64)
    return found / found.norm(dim=-1, keepdim=True)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)
