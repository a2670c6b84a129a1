"""Which sequences of a run are flipped, as the run itself shows it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

__all__ = ["Orders", "sequence_of"]

FLIPS = {torch.flip, Tensor.flip, torch.fliplr, Tensor.fliplr}
PICKS = {
    torch.index_select,
    Tensor.index_select,
    torch.gather,
    Tensor.gather,
    torch.take_along_dim,
    Tensor.take_along_dim,
    Tensor.__getitem__,
}
"""Functions that can put tokens into any order."""


class Orders(TorchFunctionMode):
    """While it is entered, follows every function of torch that the model calls.

    What comes of a flipped sequence is flipped, until it is flipped back. What mixers do inside is
    their own affair, and what a module does by other means than torch's functions, as by a kernel,
    is taken to keep the order: :meth:`enter` and :meth:`leave` tell of modules.

    length: tokens in each sequence, None where the inputs are no tokens.
    """

    def __init__(self, length: int | None) -> None:
        super().__init__()
        self.length = length
        self.turned = WeakTensorKeyDictionary()
        self.turns = 0
        self.calls: list[tuple[bool, int]] = []
        self.inside = 0
        self.failure: Exception | None = None

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        found = function(*args, **(kwargs or {}))
        # Most models turn nothing: then this is all that it costs.
        if not self.inside and (self.turned or function in FLIPS or function in PICKS):
            self._follow(function, args, kwargs or {}, found)
        return found

    def flipped(self, value: Tensor | None) -> bool:
        return value is not None and value in self.turned

    def enter(self, value: Tensor | None, mixer: bool = False) -> None:
        """A module is called on this sequence."""
        self.calls.append((self.flipped(value), self.turns))
        self.inside += mixer

    def leave(self, output: Any, mixer: bool = False) -> None:
        """The module called last gives this."""
        flipped, turns = self.calls.pop()
        self.inside -= mixer
        if flipped and turns == self.turns:
            for each in tree_leaves(output):
                if isinstance(each, Tensor):
                    self.turned[each] = True

    def _follow(self, function: Any, args: Any, kwargs: Any, found: Any) -> None:
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        flipped = any(each in self.turned for each in given)
        if function in FLIPS:
            turns = self._turns(args, kwargs, found)
        else:
            turns = function in PICKS and bool(given) and self._picked_from_its_end(given[0], found)
        self.turns += turns
        flipped = flipped is not turns
        for each in tree_leaves(found):
            if isinstance(each, Tensor):
                if flipped:
                    self.turned[each] = True
                else:
                    self.turned.pop(each, None)

    def _is_sequence(self, value: Tensor, dim: int) -> bool:
        """Whether tokens lie along this dimension of a tensor."""
        if value.ndim < 2 or dim == 0:
            return False
        if self.length is None:
            return value.ndim == 3 and dim == 1
        return value.shape[dim] == self.length

    def _turns(self, args: Any, kwargs: Any, found: Tensor) -> bool:
        dims = kwargs.get("dims", args[1:])
        dims = [each for each in tree_leaves(dims) if isinstance(each, int)] or [1]  # fliplr
        return any(self._is_sequence(found, dim % found.ndim) for dim in dims)

    def _picked_from_its_end(self, value: Tensor, found: Tensor) -> bool:
        """Whether a pick flips; raises ValueError where it puts tokens into another order."""
        if found.shape != value.shape or found.ndim not in (2, 3) or found.dtype != value.dtype:
            return False
        # A slice of the whole is the whole: seen without waiting for a device.
        whole = found.data_ptr() == value.data_ptr() and found.stride() == value.stride()
        if whole or not self._is_sequence(found, 1) or torch.equal(found, value):
            return False
        if torch.equal(found, value.flip(1)):
            return True
        marks = [each.double().sum(-1) if each.ndim == 3 else each for each in (found, value)]
        if torch.equal(*(each.sort(1).values for each in marks)):
            self.failure = ValueError(
                "model: puts its tokens into another order, which is not followed; takes one that "
                "reads them in order, or flipped"
            )
            raise self.failure
        return False


def sequence_of(*values: Any) -> Tensor | None:
    """The first of them that is a sequence of tokens, (B, L, hidden), or of their ids, (B, L)."""
    for value in values:
        if isinstance(value, Tensor) and (
            value.ndim == 3 or (value.ndim == 2 and value.dtype in (torch.int64, torch.int32))
        ):
            return value
    return None
