"""The S6 tensors of a trained model's Mamba layers, out of a run of the model itself.

A hook on each mixer sees what went into it, and what its projections gave. From these its tensors
are made with the mixer's own weights; a projection that the mixer did not call, as where a fused
kernel takes its weights, is computed again. That the tensors are the layer's own is checked by
putting its output together from them (:func:`rebuild`, :func:`check`).

Supported are the mixers of :data:`tokensphere.sinks.mixers.FAMILIES`, in any model made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

import torch
from torch import Tensor, nn

from tokensphere.sinks.batch import Batch, Inputs, gather
from tokensphere.sinks.layer import Layer
from tokensphere.sinks.mixers import Seen, find, loaded
from tokensphere.sinks.walk import bare, blame, walk

__all__ = ["capture", "check", "each_layer", "layers_of", "rebuild"]

T = TypeVar("T")


def capture(model: nn.Module, inputs: Inputs) -> list[Layer]:
    """The S6 tensors of every Mamba layer of a model on a batch, in the order the layers run.

    The model runs once, for evaluation and without gradients; its weights, its mode, its hooks and
    the random generators are left as they were. The tensors are detached and share no memory with
    the model.

    delta, A and skip are in float32, as in the fused kernels, or in float64 for a model in float64;
    u, B, C and gate have the model's dtype. A mixer that reads in both directions gives two layers
    of the same name, the one from the first token on first.

    A mixer that gets the sequence flipped, as one of a bidirectional pair, gives a layer with
    `reverse`. What was compiled runs as it was written.

    Args:
        model: holds at least one supported mixer.
        inputs: token ids, (B, L), or what the model's forward takes by name: `input_ids` (B, L) or
            `inputs_embeds` (B, L, hidden), and for padded sequences `attention_mask` (B, L), one at
            tokens, zero at padding, left or right. Or what is no sequence of tokens, as images: a
            floating point tensor, or by name; each mixer's tokens are then all that it reads. On
            the model's device.

    Raises:
        ValueError: a model without a supported mixer (names its class and the supported ones), no
            tokens, a sequence without tokens, a mask of another shape, with other values or with
            holes, a cache from an earlier run; a mixer that the run did not call, or twice, that
            reads more or fewer tokens than the batch has, or that reads them reordered
            (:func:`tokensphere.reorder.wrap`); padding on the left that the model does not tell
            its mixers of; a forward of the model's own that fails.
    """
    return each_layer(model, inputs, lambda layer: layer)


def each_layer(
    model: nn.Module,
    inputs: Inputs,
    function: Callable[[Layer], T],
    *,
    layers: Collection[str] | None = None,
    values: bool = True,
) -> list[T]:
    """What `function` returns for every Mamba layer, called as soon as that layer has run.

    Only what it returns is kept, so a deep model takes the memory of one layer's tensors.

    Args:
        model, inputs: as for :func:`capture`.
        function: what it raises ends the run.
        layers: names of the mixers to look at, None for all; the run ends after the last of them.
        values: whether the layers need u, gate and beside. Scores do not, and a layer without them
            costs less.

    Raises: as :func:`capture`; ValueError for a name that is no mixer's.
    """
    results: list[T] = []

    def visit(
        name: str, mixer: nn.Module, seen: Seen, _: Tensor, batch: Batch, flipped: bool
    ) -> None:
        found = layers_of(name, mixer, seen, batch, flipped)
        results.extend(function(layer) for layer in found)

    walk(model, inputs, visit, layers=layers, values=values)
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
        mixer = bare(model).get_submodule(name)
        family = find(mixer)
    except AttributeError:
        family = None
    if family is None:
        raise ValueError(f"layers: {type(model).__name__} has no supported mixer {name!r}")
    directions = sorted(layer.reverse for layer in layers)
    if directions != sorted(family.directions) and len(layers) + len(family.directions) > 2:
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
            parts.append(gather(mixed, back) if layer.reverse else mixed)
        beside = first.beside
        if beside is not None:
            beside = (gather(beside, back) if first.reverse else beside).mT
        output = family.read_out(mixer, sum(parts).mT, beside, first.u.dtype)
        return torch.where(first.mask.to(output.device)[..., None], output, 0)


def check(
    model: nn.Module, inputs: Inputs, *, layers: Collection[str] | None = None
) -> dict[str, float]:
    """How far the output that :func:`rebuild` gives is from each mixer's own.

    Args, raises: as for :func:`each_layer`; ValueError also for an output that is not finite (names
    the mixer, and the weights that are not). O(L^2) time and memory: for short sequences.

    Returns:
        for each mixer, by name, max |rebuilt - own| / max |own| over the tokens of the batch.
    """
    errors: dict[str, float] = {}

    def visit(
        name: str, mixer: nn.Module, seen: Seen, output: Tensor, batch: Batch, flipped: bool
    ) -> None:
        own = batch.align(output.mT, flipped).mT
        if not bool(own.isfinite().all()):
            raise ValueError(f"model: what {name} gives is not finite; {blame(model)}")
        rebuilt = rebuild(model, *layers_of(name, mixer, seen, batch, flipped))
        errors[name] = float((rebuilt - own).abs().max() / own.abs().max())

    walk(model, inputs, visit, layers=layers)
    return errors


def layers_of(
    name: str, mixer: nn.Module, seen: Seen, batch: Batch, flipped: bool = False
) -> list[Layer]:
    """The layers of one mixer that was seen in a run, token 1 at index 0; see `walk.Visit`."""
    family = find(mixer)
    with loaded(mixer):
        tensors = family.read(mixer, seen)
    fixed = {key: tensors.pop(key) for key in ("A", "skip")}
    return [
        Layer(
            name,
            **{
                key: value if value is None else batch.align(value, reverse)
                for key, value in tensors.items()
            },
            **fixed,
            lengths=batch.lengths,
            reverse=reverse is not flipped,
        )
        for reverse in family.directions
    ]
