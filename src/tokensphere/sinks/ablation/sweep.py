"""Which layers' reading of the first token matters: each ablated by itself, beside its nulls.

A layer's first token is the one that it reads first: the sequence's first, or its last for a layer
that reads from the end. Its key is ablated in that layer alone, and so is, as a null, the key of
each of a few later tokens, spread evenly over the first half of what the layer reads. Then all
layers at once, those with a sink at once, and random others as many as these.

What is compared. A later token is read by fewer queries, and those next to it are moved most: means
over whatever follows would compare other distances. So in a causal model the same number of tokens
is counted behind each ablated one: as many as follow the last of the later tokens and have a next
one, T - 2 - floor(T / 2) of a prompt of T tokens. Where some layer reads from the end every token
can be moved, and all are counted; a model that gives one answer a sequence has that one.

An excess is the first token's change minus the mean of the later tokens', prompt by prompt.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tokensphere.door import takes, whole
from tokensphere.sinks.ablation import Ablation, compare, mixer_names
from tokensphere.sinks.ablation.answers import Answers, Keys, answers
from tokensphere.sinks.batch import Inputs
from tokensphere.sinks.walk import find_mixers

__all__ = ["Changes", "Sweep", "excess", "least_tokens", "sweep"]

Direction = tuple[str, bool]
"""A mixer's name, and whether it reads from the end: what a layer is here."""
Changes = Mapping[str, Tensor]
"""By what changes, "kl" and where there are labels "loss": means over the tokens counted, nats."""


@dataclass(frozen=True)
class Sweep:
    """Changes of what a model says, for S prompts; J later tokens.

    Attributes:
        layers: the E layers, in the order they run, and `indices` of their mixers in the model.
        counted: which tokens are: as many "behind" each ablated one, "all", or "one" answer of a
            model that gives one for a sequence.
        tokens: how many of each prompt, (S,).
        own: the model's own loss over those counted behind the first token, (S,), nats; None where
            there are no labels.
        alone: each layer by itself, (E, 1 + J, S): its first token, then the later ones.
        together: all layers at once, (1 + J, S).
        sinks: indices of the layers with a sink, and `with_sink`: those at once, (1 + J, S); None
            without.
        drawn: as many other layers each, by index, and `random`: their first tokens, (R, S); None
            where there are not so many others.
    """

    layers: tuple[Direction, ...]
    indices: tuple[int, ...]
    counted: str
    tokens: Tensor
    own: Tensor | None
    alone: Changes
    together: Changes
    sinks: tuple[int, ...]
    with_sink: Changes | None
    drawn: tuple[tuple[int, ...], ...]
    random: Changes | None

    @property
    def excess(self) -> Changes:
        """Each layer's first token over the mean of its later ones, (E, S)."""
        return excess(self.alone)


@takes(later=whole(1))
def least_tokens(later: int = 3) -> int:
    """The shortest prompt that :func:`sweep` takes: the later tokens are different ones, and behind
    the last of them one is counted."""
    return max(5, 2 * later)


@takes(later=whole(1), draws=whole(1), seed=whole(0))
@torch.no_grad()
def sweep(
    model: nn.Module,
    batches: Iterable[Inputs],
    *,
    layers: Collection[str] | None = None,
    sinks: Collection[Direction] = (),
    later: int = 3,
    draws: int = 10,
    seed: int = 0,
) -> Sweep:
    """Ablate the first token's key in each layer alone, in all, in those with a sink; with nulls.

    (E + 1) (1 + later) runs of the model for each batch and one more, with sinks 1 + later + draws
    besides. Keys of a bidirectional mixer are taken out in both directions; behind what one of them
    reads first there is nothing for the other.

    Args:
        model, batches: as :func:`tokensphere.sinks.ablate` takes a model and a batch of prompts, of
            at least `least_tokens(later)` tokens each.
        layers: names of the mixers to ablate, None for all: "all layers" are then these.
        sinks: those that have a sink, each a mixer's name and whether it reads from the end.
        later: how many later tokens.
        draws: how many times to draw other layers, all different; all choices where there are no
            more.
        seed: of these draws.

    Raises:
        ValueError: no batch, a prompt that is too short, a layer that there is not, numbers out of
            range; or as `ablate`.
    """
    for name, value, least in (("later", later, 1), ("draws", draws, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name}: got {value!r}, takes an integer >= {least}")
    names = mixer_names(model, layers)
    parts = []
    for batch in batches:
        own = answers(model, batch)
        if not parts:
            found = tuple(layer for layer in own.directions if layer[0] in names)
            chosen, drawn = _groups(found, sinks, draws, seed)
        parts.append(_ablated(model, batch, own, found, chosen, drawn, later))
    if not parts:
        raise ValueError("batches: there is none")

    def joined(key: str) -> Changes | None:
        if parts[0][key] is None:
            return None
        return {name: torch.cat([part[key][name] for part in parts], -1) for name in parts[0][key]}

    counted = joined("counted")
    order = list(find_mixers(model))
    return Sweep(
        found,
        tuple(order.index(name) for name, _ in found),
        "one" if own.batch is None else "behind" if own.causal else "all",
        counted["tokens"],
        counted.get("own"),
        joined("alone"),
        joined("together"),
        chosen,
        joined("with_sink"),
        drawn,
        joined("random"),
    )


def excess(changes: Changes) -> dict[str, Tensor]:
    """The first token's changes over the mean of the later ones', (..., S), of (..., 1 + J, S)."""
    return {name: value[..., 0, :] - value[..., 1:, :].mean(-2) for name, value in changes.items()}


def _ablated(
    model: nn.Module,
    batch: Inputs,
    own: Answers,
    layers: Sequence[Direction],
    chosen: Sequence[int],
    drawn: Sequence[Sequence[int]],
    later: int,
) -> dict[str, Any]:
    """What :class:`Sweep` holds, of one batch."""
    counted: dict[str, Tensor] = {}

    def run(which: Iterable[int], step: int) -> dict[str, Tensor]:
        plan = _plan([layers[number] for number in which], step, later)
        keys = next(iter(plan.values()))
        ablation = compare(own, answers(model, batch, plan), keys)
        mask = _counted(ablation, own, keys)

        def mean(value: Tensor) -> Tensor:
            return torch.where(mask, value, torch.nan).nanmean(1)

        if not counted:  # the first token's, of whichever layer
            counted["tokens"] = mask.sum(1)
            if ablation.before is not None:
                counted["own"] = mean(ablation.before)
        changes = {"kl": ablation.kl, "loss": ablation.loss}
        return {name: mean(value) for name, value in changes.items() if value is not None}

    def steps(which: Collection[int]) -> dict[str, Tensor]:
        return _stack([run(which, step) for step in range(1 + later)])

    every = range(len(layers))
    return {
        "alone": _stack([steps([number]) for number in every]),
        "together": steps(every),
        "with_sink": steps(chosen) if chosen else None,
        "random": _stack([run(which, 0) for which in drawn]) if drawn else None,
        "counted": counted,
    }


def _plan(which: Sequence[Direction], step: int, later: int) -> dict[str, Keys]:
    """The keys to take out of each mixer: of each of its directions the token at that step."""
    by_name: dict[str, list[bool]] = {}
    for name, reverse in which:
        by_name.setdefault(name, []).append(reverse)
    least = least_tokens(later)

    def keys(sides: Sequence[bool], lengths: Tensor) -> Tensor:
        if int(lengths.min()) < least:
            raise ValueError(
                f"batches: hold a prompt of {int(lengths.min())} tokens, takes at least {least} "
                f"for {later} later ones"
            )
        read = step * (lengths // 2) // later
        return torch.stack([lengths - 1 - read if side else read for side in sides], 1)

    return {
        name: lambda lengths, sides=sides: keys(sides, lengths) for name, sides in by_name.items()
    }


def _counted(ablation: Ablation, own: Answers, keys: Keys) -> Tensor:
    """(S, T): which tokens' changes are averaged."""
    reached = ~ablation.kl.isnan()
    if own.batch is None or not own.causal:
        return reached
    lengths = own.batch.lengths.cpu()
    positions = torch.arange(reached.shape[1])
    window = lengths - 2 - lengths // 2
    return reached & (positions <= (keys(lengths)[:, 0] + window)[:, None])


def _groups(
    layers: Sequence[Direction], sinks: Collection[Direction], draws: int, seed: int
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Places of the layers with a sink, and as many others, in several ways."""
    unknown = [sink for sink in sinks if sink not in layers]
    if unknown:
        raise ValueError(f"sinks: got {unknown[0]!r}, takes layers such as {layers[0]!r}")
    chosen = tuple(number for number, layer in enumerate(layers) if layer in sinks)
    others = [number for number in range(len(layers)) if number not in chosen]
    if not chosen or len(others) < len(chosen):
        return chosen, ()
    if math.comb(len(others), len(chosen)) <= draws:
        return chosen, tuple(itertools.combinations(others, len(chosen)))
    generator = np.random.default_rng(seed)
    drawn: set[tuple[int, ...]] = set()
    while len(drawn) < draws:
        drawn.add(tuple(sorted(generator.choice(others, len(chosen), replace=False).tolist())))
    return chosen, tuple(sorted(drawn))


def _stack(changes: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([each[name] for each in changes]) for name in changes[0]}
