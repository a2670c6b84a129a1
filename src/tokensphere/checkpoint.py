"""A training run's state on disk: whole or not at all, and never code.

Tensors, numbers, text and containers of these are all that a checkpoint holds; it is read with
``weights_only=True``, so that a file from elsewhere cannot run anything.
"""

from __future__ import annotations

import os
import pickle
from typing import Any

import torch

from tokensphere import records

__all__ = ["load", "save"]


def save(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write `state` so that a run killed at any moment leaves the last whole file, or this one."""
    with records.write_whole(path) as stream:
        torch.save(state, stream)


def load(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what `save` wrote, its tensors onto `device`.

    Raises FileNotFoundError without the file, ValueError for one that is not a whole checkpoint.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path}: not a whole checkpoint: {reason}") from None
    if not isinstance(state, dict):
        raise ValueError(f"{path}: not a checkpoint: holds a {type(state).__name__}")
    return state
