"""The sinks of a trained model on prompts, beside what could explain them: one JSON document.

Every score is measured on the prompts, on the same prompts with shuffled tokens, and with the first
token replaced; `verdicts.verdict` weighs them layer by layer. The document has positions times
layers and prompts times layers numbers, none for each channel, and is all that
:mod:`tokensphere.sinks.report.figures` and :mod:`tokensphere.sinks.report.page` read.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tokensphere.door import each, flag, function, number, optional, takes, tensor, whole
from tokensphere.sinks.ablation.document import ablation_document
from tokensphere.sinks.ablation.sweep import sweep
from tokensphere.sinks.batch import Inputs
from tokensphere.sinks.capture import check, each_layer
from tokensphere.sinks.measure import LayerScores, measure
from tokensphere.sinks.report import document
from tokensphere.sinks.report.closer import look
from tokensphere.sinks.report.document import Entry
from tokensphere.sinks.report.inputs import ablated, answered, device_of, padding_of
from tokensphere.sinks.report.prompts import (
    LEAST_READERS,
    Prompts,
    changed,
    digest,
    first_of_each,
    first_tokens,
)
from tokensphere.sinks.verdicts import Verdict
from tokensphere.sinks.walk import find_mixers

__all__ = ["check_layers", "check_options", "measure_model"]

CHECK_TOKENS = 16
"""How much of two prompts the mixers' outputs are rebuilt on: O(L^2) memory for all channels."""
MAPS = 6
MAP_TOKENS = 64
"""Attention maps show so many layers and tokens at most: more cannot be told apart on a page."""
MOST_SEEDS = 2**60  # torch's generators take 64 bits, and a seed makes several streams
SIGNIFICANCE = 0.05
"""Chance that some layer without a sink gets one: divided among the layers, after Bonferroni."""


@takes(
    prompts=each(tensor("...", kinds="i", alike=False)),
    channels=optional(whole(1)),
    seed=whole(0),
    threshold=number(),
    batch_size=whole(1),
    bos=optional(whole(0)),
    replace_with=optional(whole(0)),
    decode=optional(function()),
    ablate=flag(),
    progress=flag(),
)
def measure_model(
    model: nn.Module,
    prompts: Sequence[Tensor],
    *,
    layers: Sequence[int | str] | None = None,
    channels: int | None = None,
    seed: int = 0,
    threshold: float = 0.3,
    batch_size: int = 16,
    bos: int | None = None,
    replace_with: int | None = None,
    decode: Callable[[int], str] | None = None,
    ablate: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Measure the sinks of a model, with their nulls, as one document of JSON values.

    Positions count from the token that a layer reads first: a layer with `reverse` has the prompt's
    last token at position 1, and it is this one that its null replaces. Prompts that equal one
    before them are left out: an interval over repetitions would be too narrow. Means are over the
    others, with 95% intervals (`scores.interval`); None stands where there is nothing to say.

    Args:
        model: as :func:`tokensphere.sinks.capture` takes it, on the device to measure on.
        prompts: token ids of each, integers (L,), at least two different prompts of at least two
            tokens; with fewer than five nothing is decided (`verdicts.LEAST_PROMPTS`).
        layers: which mixers to measure, None for all: by number, counted from 0 in the order in
            which the model holds them, or by the name that they have in the model. The others are
            neither read nor scored.
        channels: how many of each layer's channels to draw, None for all; the paper's is 200.
        seed: of the channels, the shuffles and the tokens put in place of the first.
        threshold: eps of eq (34).
        batch_size: prompts that go through the model at once.
        bos: id of the beginning-of-text token; where all prompts begin with it, they are also
            shuffled behind it.
        replace_with: id of the token put in place of the first; None to draw one for each prompt
            from the others.
        decode: gives a token id's text, for the list of first tokens.
        ablate: whether to take the first token's key out of each layer too, as
            :func:`tokensphere.sinks.ablation.sweep.sweep` does: four runs of the model a layer, for
            a model that gives logits.
        progress: whether to draw a bar on stderr if that is a terminal.

    Returns:
        model: class, parameters (how many), dtype, package (name and version of its library), head
            (whether it is a language model's, with one), logits (whether it gives any), mixers (how
            many it has).
        prompts: given (how many), count (of them different, which are measured), repeated (the
            rest), each (of those measured, in the order given: number, from 1, and tokens), digest
            (`prompts.digest`), lengths (shortest, median, longest), bos (whether all begin with
            it), bos_token (its id, None without), replace_with (None, or id and text), first_tokens
            (by direction, the most frequent: id, count, text), counts (how many prompts have each
            position), least_readers.
        threshold, seed, channels, confidence (of the intervals in verdicts).
        check: how far mixers' outputs put together from the hidden attention are from the model's
            own: error (relative, the worst mixer's), mixer, tolerance.
        uniform: mean importance by position under uniform attention, and rate, the share of prompts
            where it exceeds the threshold.
        layers: for each, index, name, reverse, channels (scored), total; first (variant -> score of
            position 1 in each prompt, in the order of prompts.each); scores (variant -> mean, low,
            high by position); rates (variant -> after_threshold: mean, low, high by position;
            before_threshold: by position), as in `scores.sink_rate`; nulls (shuffled, replaced,
            with bos shuffled_after_bos -> variant -> score, after_threshold, before_threshold, of
            position 1); verdict (outcome, kind, margin, excess, needed, fall_shuffled,
            fall_replaced), as `verdicts.Verdict`.
        directions: forward and where there is one backward: reverse, layers (indices), importance
            (variant -> prompts, shuffled, replaced -> mean over layers by position, with interval),
            sink (eq 36: variant -> the same keys -> after_threshold, before_threshold). Here and
            in uniform a prompt's position counts if at least the share least_readers of its tokens
            read it, in at least that share of the prompts; before_threshold is over all prompts.
        rescaled: index, name, reverse, prompts, factors: score and rate of position 1 by variant as
            the hidden attention of one layer is multiplied (`nulls.rescale`).
        maps: of layers with a sink, those with the largest excess, or of some from early to late
            where there is none: index, name, reverse, prompts (averaged over), absolute and softmax
            (each query's weights over its keys).

        ablation: with `ablate`, of prompts that are long enough: as
            :func:`tokensphere.sinks.ablation.document.ablation_document` has it.

    Raises:
        ValueError: a bad argument; mixers' outputs that cannot be rebuilt within the tolerance of
            the model's dtype; or as `capture` and `measure`.
    """
    check_options(channels=channels, seed=seed, threshold=threshold, batch_size=batch_size)
    kept = _different(prompts)
    mixers = list(find_mixers(model))
    chosen = check_layers(layers, mixers)
    given, prompts = len(prompts), [prompts[index] for index in kept]
    texts = Prompts.of(prompts, device_of(model), padding_of(model) or 0)
    pair = _pair(texts)
    checked = _self_check(model, pair, chosen)
    sides = each_layer(model, pair, lambda layer: layer.reverse, layers=chosen, values=False)
    begins = bos is not None and bool((texts.ids[:, 0] == bos).all())

    whole = ablated(model, texts) if ablate else None
    logits = ablate or answered(model, texts) is not None

    versions = changed(texts, seed, begins, any(sides), replace_with)
    options: dict[str, Any] = {"threshold": threshold, "channels": channels, "seed": seed}
    rounds = (len(versions) + 1) * len(texts.spans(batch_size))
    rounds += len(whole.spans(batch_size)) if ablate else 0
    with _bar(rounds, progress) as bar:
        runs = {
            name: measure(
                model, _counted(texts.batches(batch_size, ids), bar), **options, layers=chosen
            )
            for name, ids in versions.items()
        }
        entries = _entries(runs, mixers)
        uniform, confidence = texts.uniform(), 1 - SIGNIFICANCE / len(entries)
        verdicts = [document.judge(entry, uniform[:, 0], confidence) for entry in entries]
        # Maps are as large as the shortest prompt in them: half of the prompts are long enough for
        # one of the median length.
        tokens = min(int(texts.lengths[len(prompts) // 2]), MAP_TOKENS)
        longer = texts.first(int((texts.lengths >= tokens).sum()))
        drawn = _drawn(entries, verdicts)
        loudest = max(entries, key=lambda entry: float(entry.own.scores["raw"][:, 0].mean()))
        looks = look(
            model,
            _counted(longer.batches(batch_size), bar),
            tokens=tokens,
            maps=[entry.own for entry in drawn],
            rescaled=loudest.own,
            threshold=threshold,
        )
        found = {}
        if whole is not None:
            swept = sweep(
                model,
                _counted(whole.batches(batch_size), bar),
                layers=chosen,
                sinks=[
                    entry.key
                    for entry, judged in zip(entries, verdicts, strict=True)
                    if judged.outcome == "sink"
                ],
                seed=seed,
            )
            firsts = [entry.own.scores["absolute"][: len(whole.ids), 0] for entry in entries]
            found["ablation"] = ablation_document(swept, torch.stack(firsts, 1))

    return found | {
        "model": {**document.about(model), "logits": logits, "mixers": len(mixers)},
        "prompts": {
            "given": given,
            "count": len(prompts),
            "repeated": given - len(prompts),
            "each": [
                {"number": index + 1, "tokens": len(prompt)}
                for index, prompt in zip(kept, prompts, strict=True)
            ],
            "digest": digest(prompts),
            "lengths": [int(texts.lengths[index]) for index in (-1, len(prompts) // 2, 0)],
            "bos": begins,
            "bos_token": bos,
            "replace_with": None
            if replace_with is None
            else {"id": replace_with, "text": decode(replace_with) if decode else None},
            "first_tokens": {
                side: first_tokens(prompts, index, decode)
                for side, index in {"forward": 0, "backward": -1}.items()
                if side == "forward" or any(sides)
            },
            "counts": texts.mask.sum(0).tolist(),
            "least_readers": LEAST_READERS,
        },
        "threshold": threshold,
        "seed": seed,
        "channels": channels,
        "confidence": round(confidence, 8),
        "check": checked,
        "uniform": document.uniform(uniform, threshold, texts),
        "layers": [
            document.layer(entry, found, texts)
            for entry, found in zip(entries, verdicts, strict=True)
        ],
        "directions": [
            document.direction([entry for entry in entries if entry.own.reverse is reverse], texts)
            for reverse in sorted({entry.own.reverse for entry in entries})
        ],
        "rescaled": document.rescaled(loudest, looks, len(longer.ids)),
        "maps": document.maps(drawn, looks, len(longer.ids)),
    }


@takes(channels=optional(whole(1)), seed=whole(0), threshold=number(), batch_size=whole(1))
def check_options(*, channels: int | None, seed: int, threshold: float, batch_size: int) -> None:
    """Raise ValueError for a number that :func:`measure_model` does not take."""
    for name, value, least in (
        ("channels", 1 if channels is None else channels, 1),
        ("seed", seed, 0),
        ("batch_size", batch_size, 1),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name}: got {value!r}, takes an integer >= {least}")
    if seed >= MOST_SEEDS:
        raise ValueError(f"seed: got {seed}, takes an integer below {MOST_SEEDS}")
    if not math.isfinite(threshold):
        raise ValueError(f"threshold: got {threshold!r}, takes a finite number")


def check_layers(layers: Sequence[int | str] | None, mixers: Sequence[str]) -> list[str] | None:
    """The names of the mixers asked for, in the model's order; None for all.

    Raises ValueError for a layer that is none of them.
    """
    if layers is None:
        return None
    found = set()
    for layer in layers:
        if isinstance(layer, str) and layer in mixers:
            found.add(layer)
        elif isinstance(layer, int) and 0 <= layer < len(mixers):
            found.add(mixers[layer])
        else:
            raise ValueError(
                f"layers: got {layer!r}, takes numbers from 0 to {len(mixers) - 1}, or names such "
                f"as {mixers[0]}"
            )
    if not found:
        raise ValueError("layers: got none, takes at least one")
    return [name for name in mixers if name in found]


def _different(prompts: Sequence[Tensor]) -> list[int]:
    """Indices of the prompts to measure."""
    for index, prompt in enumerate(prompts):
        if prompt.ndim != 1 or prompt.is_floating_point() or len(prompt) < 2:
            raise ValueError(
                f"prompts: number {index + 1} has shape {tuple(prompt.shape)} and {prompt.dtype}, "
                "takes integers (L,) with L >= 2"
            )
    kept = first_of_each(prompts)
    if len(kept) < 2:
        alike = f", {len(prompts)} times the same" if len(prompts) > 1 else ""
        raise ValueError(
            f"prompts: got {len(kept)}{alike}, takes at least two different ones: intervals are "
            "over prompts"
        )
    return kept


# The run.


def _pair(texts: Prompts) -> Inputs:
    """The longest and the shortest prompt, so that one is padded, cut to CHECK_TOKENS."""
    ends = torch.tensor([0, len(texts.ids) - 1])
    lengths = texts.lengths[ends].clamp(max=CHECK_TOKENS)
    cut = Prompts(texts.ids[ends, : int(lengths[0])], lengths, ends, texts.device)
    return next(cut.batches(2))


def _self_check(model: nn.Module, pair: Inputs, chosen: Sequence[str] | None) -> dict[str, Any]:
    """Rebuild the mixers' outputs on two prompts."""
    errors = check(model, pair, layers=chosen)
    dtype = next(model.parameters()).dtype
    # In half precision mixers round what the rebuilt output keeps in float32, at each of a few
    # steps: one eps in all, on small models of each family. In float32 the same measure is 3e-7,
    # but cards may convolve and multiply with TF32's 10 bits. A tensor that is not the layer's own
    # gives errors of order 1.
    tolerance = max(8 * torch.finfo(dtype).eps if dtype.itemsize < 4 else 0.0, 1e-3)
    mixer = max(errors, key=lambda name: math.inf if math.isnan(errors[name]) else errors[name])
    if not errors[mixer] <= tolerance:
        raise ValueError(
            f"model: the output of {mixer} rebuilt from its hidden attention is off by "
            f"{errors[mixer]:.2g} (relative; takes {tolerance:.2g} in {dtype}): its S6 tensors are "
            "not understood, so nothing is reported"
        )
    return {"error": float(f"{errors[mixer]:.3g}"), "mixer": mixer, "tolerance": tolerance}


def _entries(runs: Mapping[str, Sequence[LayerScores]], mixers: Sequence[str]) -> list[Entry]:
    entries = []
    for depth, layer in enumerate(runs["prompts"]):
        found = {name: layers[depth] for name, layers in runs.items()}
        last = found.pop("replaced_last", None)
        if layer.reverse:
            found["replaced"] = last
        entries.append(Entry(mixers.index(layer.name), found))
    return entries


def _drawn(entries: Sequence[Entry], verdicts: Sequence[Verdict]) -> list[Entry]:
    """Layers with a sink, the MAPS strongest; where there is none, at most MAPS from early to late,
    as many of each direction."""
    sinks = {
        place: found.excess.mean for place, found in enumerate(verdicts) if found.outcome == "sink"
    }
    if sinks:
        return [entries[place] for place in sorted(sorted(sinks, key=sinks.get)[-MAPS:])]
    sides = [[e for e in entries if e.own.reverse is reverse] for reverse in (False, True)]
    sides = [side for side in sides if side]
    most = MAPS // len(sides)
    drawn = []
    for side in sides:
        places = torch.linspace(0, len(side) - 1, min(most, len(side))).round().long()
        drawn.extend(side[place] for place in places.tolist())
    return drawn


def _counted(batches: Iterable[Inputs], bar: Any) -> Iterator[Inputs]:
    for batch in batches:
        yield batch
        bar.update()


def _bar(total: int, progress: bool) -> Any:
    from tqdm import tqdm

    # disable=None: a bar on a terminal only.
    disable = None if progress else True
    return tqdm(
        total=total, desc="sinks", unit="batch", disable=disable, leave=False, file=sys.stderr
    )
