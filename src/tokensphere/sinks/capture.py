"""The S6 tensors of a trained model's Mamba layers, out of a run of the model itself.

A hook on each mixer sees what went into it and computes its S6 tensors again with the mixer's own
weights and projections. It does not listen to the projections while the mixer runs: with fused
kernels they are never called. That the tensors are the layer's own is checked by putting its output
together from them (:func:`rebuild`, :func:`check`).

Supported are transformers' MambaMixer, FalconMambaMixer, JambaMambaMixer and Mamba2Mixer, in any
model made of them, and :mod:`tokensphere.sinks.typeseg`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tokensphere.sinks.layer import Layer
from tokensphere.sinks.mixers import FAMILIES, find, loaded

__all__ = ["capture", "check", "each_layer", "rebuild"]

T = TypeVar("T")
Inputs = Tensor | Mapping[str, Any]


def capture(model: nn.Module, inputs: Inputs) -> list[Layer]:
    """The S6 tensors of every Mamba layer of a model on a batch, in the order the layers run.

    The model runs once, for evaluation and without gradients; its weights, its mode, its hooks and
    the random generators are left as they were. The tensors are detached and share no memory with
    the model.

    delta, A and skip are in float32, as in the fused kernels, or in float64 for a model in float64;
    u, B, C and gate have the model's dtype. A mixer that reads in both directions gives two layers
    of the same name, the one from the first token on first.

    Args:
        model: holds at least one supported mixer.
        inputs: token ids, (B, L), or what the model's forward takes by name: `input_ids` (B, L) or
            `inputs_embeds` (B, L, hidden), and for padded sequences `attention_mask` (B, L), one at
            tokens, zero at padding, left or right. On the model's device.

    Raises:
        ValueError: a model without a supported mixer (names its class and the supported ones), no
            tokens, a sequence without tokens, a mask of another shape, with other values or with
            holes, a cache from an earlier run.
    """
    return each_layer(model, inputs, lambda layer: layer)


def each_layer(model: nn.Module, inputs: Inputs, function: Callable[[Layer], T]) -> list[T]:
    """What `function` returns for every Mamba layer, called as soon as that layer has run.

    Only what it returns is kept, so a deep model takes the memory of one layer's tensors.

    Args, raises: as for :func:`capture`. What `function` raises ends the run.
    """
    results: list[T] = []

    def visit(name: str, mixer: nn.Module, hidden: Tensor, _: Tensor, batch: _Batch) -> None:
        results.extend(function(layer) for layer in _layers(name, mixer, hidden, batch))

    _run(model, inputs, visit)
    return results


def rebuild(model: nn.Module, *layers: Layer) -> Tensor:
    """A mixer's output from its hidden attention: mixed values, gate and skip, then its projection.

    Args:
        model: that the layers were captured from.
        layers: all those of one mixer on one batch: one, or the two directions of one that reads
            in both, whose outputs the mixer adds.

    Returns:
        (B, L, hidden): tokens from index 0 on, in the sequence's order; zero past its length.

    O(L^2) time and memory, as :meth:`Layer.mix`.

    Raises:
        ValueError: layers of several mixers, a direction missing or twice, no such mixer in model.
    """
    if len({layer.name for layer in layers}) != 1:
        raise ValueError(f"layers: of {[layer.name for layer in layers]}, takes those of one mixer")
    name = layers[0].name
    try:
        mixer = model.get_submodule(name)
        family = find(mixer)
    except AttributeError:
        family = None
    if family is None:
        raise ValueError(f"layers: {type(model).__name__} has no supported mixer {name!r}")
    directions = sorted(layer.reverse for layer in layers)
    if directions != sorted(family.directions):
        raise ValueError(
            f"layers: {name} with reverse = {directions}, takes {sorted(family.directions)}"
        )
    first = layers[0]
    with torch.no_grad():
        positions = torch.arange(first.u.shape[-1], device=first.u.device)
        back = (first.lengths.to(positions)[:, None] - 1 - positions).clamp(min=0)
        parts = []
        for layer in layers:
            mixed = layer.mix()
            parts.append(_gather(mixed, back) if layer.reverse else mixed)
        output = family.read_out(mixer, sum(parts).mT, first.u.dtype)
        return torch.where(first.mask.to(output.device)[..., None], output, 0)


def check(model: nn.Module, inputs: Inputs) -> dict[str, float]:
    """How far the output that :func:`rebuild` gives is from each mixer's own.

    Args, raises: as for :func:`capture`. O(L^2) time and memory: for short sequences.

    Returns:
        for each mixer, by name, max |rebuilt - own| / max |own| over the tokens of the batch.
    """
    errors: dict[str, float] = {}

    def visit(name: str, mixer: nn.Module, hidden: Tensor, output: Tensor, batch: _Batch) -> None:
        rebuilt = rebuild(model, *_layers(name, mixer, hidden, batch))
        own = batch.align(output.mT).mT
        errors[name] = float((rebuilt - own).abs().max() / own.abs().max())

    _run(model, inputs, visit)
    return errors


# The batch: where its tokens stand.


@dataclass(frozen=True)
class _Batch:
    """first: index of each sequence's first token, (B,). lengths: how many tokens, (B,).
    mask: (B, L), true at tokens, None where there is no padding."""

    first: Tensor
    lengths: Tensor
    mask: Tensor | None

    def align(self, value: Tensor, reverse: bool = False) -> Tensor:
        """value (B, ..., L) with the first token, or with `reverse` the last, moved to index 0."""
        if self.mask is None:
            return value.flip(-1) if reverse else value
        first, lengths = self.first.to(value.device), self.lengths.to(value.device)
        positions = torch.arange(int(self.lengths.max()), device=value.device)
        offsets = lengths[:, None] - 1 - positions if reverse else positions
        order = (first[:, None] + offsets).clamp(0, value.shape[-1] - 1)
        inside = (positions < lengths[:, None]).view(len(lengths), *[1] * (value.ndim - 2), -1)
        return torch.where(inside, _gather(value, order), 0)


def _gather(value: Tensor, order: Tensor) -> Tensor:
    """value (B, ..., L) at order (B, K): (B, ..., K)."""
    shape = (len(order), *[1] * (value.ndim - 2), order.shape[-1])
    return value.gather(-1, order.view(shape).expand(*value.shape[:-1], -1))


def _batch(inputs: Inputs) -> tuple[dict[str, Any], _Batch]:
    """The inputs by name, and where their tokens stand."""
    if isinstance(inputs, Tensor):
        inputs = {"input_ids": inputs}
    if not isinstance(inputs, Mapping):
        raise ValueError(f"inputs: got {type(inputs).__name__}, takes a tensor or a mapping")
    inputs = dict(inputs)
    for name in ("cache_params", "past_key_values"):
        if inputs.get(name) is not None:
            raise ValueError(f"inputs: holds {name}, takes whole sequences only")
    name = "input_ids" if inputs.get("input_ids") is not None else "inputs_embeds"
    tokens = inputs.get(name)
    if not isinstance(tokens, Tensor):
        raise ValueError("inputs: holds no tensor input_ids")
    if tokens.ndim != 2 + (name == "inputs_embeds"):
        raise ValueError(f"{name}: shape {tuple(tokens.shape)}, takes (B, L) before any channels")
    if name == "input_ids" and (tokens.is_floating_point() or tokens.dtype == torch.bool):
        raise ValueError(f"input_ids: dtype {tokens.dtype}, takes integers")
    count, length = tokens.shape[:2]
    if count == 0 or length == 0:
        raise ValueError(f"{name}: shape {tuple(tokens.shape)} holds no tokens")
    mask = inputs.get("attention_mask")
    if mask is None:
        lengths = torch.full((count,), length, device=tokens.device)
        return inputs, _Batch(torch.zeros_like(lengths), lengths, None)
    if not isinstance(mask, Tensor) or mask.shape != (count, length):
        got = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"attention_mask: got {got}, takes {(count, length)} as the tokens")
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError("attention_mask: holds other values than 0 and 1")
    mask = mask.bool()
    lengths, first = mask.sum(-1), mask.int().argmax(-1)
    positions = torch.arange(length, device=mask.device)
    whole = (positions >= first[:, None]) & (positions < (first + lengths)[:, None])
    for index in range(count):
        if not lengths[index]:
            raise ValueError(f"attention_mask: sequence {index} has no tokens")
        if not torch.equal(mask[index], whole[index]):
            raise ValueError(f"attention_mask: sequence {index} has holes between its tokens")
    return inputs, _Batch(first, lengths, None if bool(mask.all()) else mask)


# The run: hooks on, hooks off.


def _run(model: nn.Module, inputs: Inputs, visit: Callable[..., None]) -> None:
    """Run the model; call visit(name, mixer, its input, its output, batch) after each mixer."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"model: got {type(model).__name__}, takes a torch.nn.Module")
    mixers = {name: module for name, module in model.named_modules() if find(module)}
    if not mixers:
        supported = ", ".join(family.model for family in FAMILIES.values())
        raise ValueError(
            f"model: {type(model).__name__} holds no supported mixer; supported are {supported}, "
            "and models made of their mixers"
        )
    arguments, batch = _batch(inputs)
    known = inspect.signature(model.forward).parameters
    # No cache to fill, and no logits of a large vocabulary that nobody reads.
    for name, value in {"use_cache": False, "logits_to_keep": 1}.items():
        if name in known:
            arguments[name] = value

    def hook(
        name: str, mixer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor
    ) -> None:
        visit(name, mixer, args[0] if args else kwargs["hidden_states"], output, batch)

    hooks = []
    with torch.no_grad(), _evaluation(model):
        try:
            for name, mixer in mixers.items():
                call = functools.partial(hook, name)
                hooks.append(mixer.register_forward_hook(call, with_kwargs=True))
            model(**arguments)
        finally:
            for handle in hooks:
                handle.remove()


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode meanwhile: no dropout draws random numbers, and no kernel
    made for training is taken, which would convolve padding without masking it."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, training in modes:
            module.training = training


def _layers(name: str, mixer: nn.Module, hidden: Tensor, batch: _Batch) -> list[Layer]:
    """The layers of one mixer, tokens aligned, from what went into it."""
    family = find(mixer)
    with loaded(mixer):
        tensors = family.read(mixer, hidden, batch.mask)
    fixed = {key: tensors.pop(key) for key in ("A", "skip")}
    return [
        Layer(
            name,
            **{key: batch.align(value, reverse) for key, value in tensors.items()},
            **fixed,
            lengths=batch.lengths.to(hidden.device),
            reverse=reverse,
        )
        for reverse in family.directions
    ]
