"""The sinks of a trained model on prompts, beside what could explain them: one JSON document.

Every score is measured on the prompts, on the same prompts with shuffled tokens, and with the first
token replaced; `nulls.verdict` weighs them layer by layer. The document has positions times layers
numbers, none for each channel, and is all that :mod:`tokensphere.figures` and
:mod:`tokensphere.sinks.page` read.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tokensphere.sinks.capture import Inputs, check
from tokensphere.sinks.closer import Looks, look
from tokensphere.sinks.measure import LayerScores, measure
from tokensphere.sinks.mixers import find
from tokensphere.sinks.nulls import verdict
from tokensphere.sinks.prompts import Prompts, changed, first_tokens
from tokensphere.sinks.scores import VARIANTS, interval, sink_score

__all__ = ["measure_model"]

CHECK_TOKENS = 16
"""How much of two prompts the mixers' outputs are rebuilt on: O(L^2) memory for all channels."""
MAPS = 6
MAP_TOKENS = 64
"""Attention maps show so many layers and tokens at most: more cannot be told apart on a page."""
SIGNIFICANCE = 0.05
"""Chance that some layer without a sink gets one: divided among the layers, after Bonferroni."""
DIGITS = 5


def measure_model(
    model: nn.Module,
    prompts: Sequence[Tensor],
    *,
    layers: Sequence[int] | None = None,
    channels: int | None = None,
    seed: int = 0,
    threshold: float = 0.3,
    batch_size: int = 16,
    bos: int | None = None,
    decode: Callable[[int], str] | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Measure the sinks of a model, with their nulls, as one document of JSON values.

    Positions count from the token that a layer reads first: a layer with `reverse` has the prompt's
    last token at position 1, and it is this one that its null replaces. Means are over prompts,
    with 95% intervals (`scores.interval`); None stands where there is nothing to say.

    Args:
        model: as :func:`tokensphere.sinks.capture` takes it, on the device to measure on.
        prompts: token ids of each, integers (L,), at least two prompts of at least two tokens.
        layers: which mixers to report, counted from 0 in the order they run; None for all.
        channels: how many of each layer's channels to draw, None for all; the paper's is 200.
        seed: of the channels, the shuffles and the tokens put in place of the first.
        threshold: eps of eq (34).
        batch_size: prompts that go through the model at once.
        bos: id of the beginning-of-text token; where all prompts begin with it, they are also
            shuffled behind it.
        decode: gives a token id's text, for the list of first tokens.
        progress: whether to draw a bar on stderr if that is a terminal.

    Returns:
        model: class, parameters (how many), dtype, package (name and version of its library).
        prompts: count, lengths (shortest, median, longest), bos (whether all begin with it),
            first_tokens (by direction, the most frequent: id, count, text), counts (how many
            prompts have each position).
        threshold, seed, channels, confidence (of the intervals in verdicts).
        check: how far mixers' outputs put together from the hidden attention are from the model's
            own: error (relative, the worst mixer's), mixer, tolerance.
        uniform: mean importance by position under uniform attention, and rate, the share of prompts
            where it exceeds the threshold.
        layers: for each, index, name, reverse, channels (scored), total; scores (variant -> mean,
            low, high by position); rates (variant -> after_threshold: mean, low, high by position;
            before_threshold: by position), as in `scores.sink_rate`; nulls (shuffled, replaced,
            with bos shuffled_after_bos -> variant -> score, after_threshold, before_threshold, of
            position 1); verdict (kind, excess, fall_shuffled, fall_replaced).
        directions: forward and where there is one backward: reverse, layers (indices), importance
            (variant -> prompts, shuffled, replaced -> mean over layers by position, with interval),
            sink (eq 36: variant -> the same keys -> after_threshold, before_threshold).
        rescaled: layer, reverse, prompts, factors: score and rate of position 1 by variant as the
            hidden attention of one layer is multiplied (`nulls.rescale`).
        maps: layer, reverse, prompts (averaged over), rows (each query's softmax over its keys).

    Raises:
        ValueError: a bad argument; mixers' outputs that cannot be rebuilt within the tolerance of
            the model's dtype; or as `capture` and `measure`.
    """
    _check_arguments(prompts, channels, seed, batch_size)
    mixers = [family for module in model.modules() if (family := find(module))]
    # A model without mixers has no device to speak of; `check` refuses it.
    texts = Prompts.of(prompts, next((value.device for value in model.parameters()), "cpu"))
    checked = _self_check(model, texts)
    chosen = _chosen(layers, len(mixers))
    both = any(True in family.directions for family in mixers)
    begins = bos is not None and bool((texts.ids[:, 0] == bos).all())

    versions = changed(texts, seed, begins, both)
    options: dict[str, Any] = {"threshold": threshold, "channels": channels, "seed": seed}
    with _bar((len(versions) + 1) * math.ceil(len(prompts) / batch_size), progress) as bar:
        runs = {
            name: measure(model, _counted(texts.batches(batch_size, ids), bar), **options)
            for name, ids in versions.items()
        }
        entries = _entries(runs, chosen)
        # Maps are as large as the shortest prompt in them: half of the prompts are long enough for
        # one of the median length.
        tokens = min(int(texts.lengths[len(prompts) // 2]), MAP_TOKENS)
        longer = texts.first(int((texts.lengths >= tokens).sum()))
        drawn = _spread(entries)
        loudest = max(entries, key=lambda entry: float(entry.own.scores["raw"][:, 0].mean()))
        looks = look(
            model,
            _counted(longer.batches(batch_size), bar),
            tokens=tokens,
            maps=[entry.depth for entry in drawn],
            rescaled=loudest.depth,
            **options,
        )

    confidence = 1 - SIGNIFICANCE / len(entries)
    uniform = texts.uniform()
    return {
        "model": _about(model),
        "prompts": {
            "count": len(prompts),
            "lengths": [int(texts.lengths[index]) for index in (-1, len(prompts) // 2, 0)],
            "bos": begins,
            "first_tokens": {
                side: first_tokens(prompts, index, decode)
                for side, index in {"forward": 0, "backward": -1}.items()
                if side == "forward" or both
            },
            "counts": texts.mask.sum(0).tolist(),
        },
        "threshold": threshold,
        "seed": seed,
        "channels": channels,
        "confidence": round(confidence, 8),
        "check": checked,
        "uniform": {
            "mean": _plain(uniform.nanmean(0)),
            "rate": _plain(_exceeds(uniform, threshold).nanmean(0)),
        },
        "layers": [_layer(entry, uniform[:, 0], confidence) for entry in entries],
        "directions": [
            _direction([entry for entry in entries if entry.reverse is reverse])
            for reverse in ((False, True) if both else (False,))
        ],
        "rescaled": _rescaled(loudest, looks, len(longer.ids)),
        "maps": [_map(entry, looks.maps[entry.depth], len(longer.ids)) for entry in drawn],
    }


# The run.


def _self_check(model: nn.Module, texts: Prompts) -> dict[str, Any]:
    """Rebuild the mixers' outputs on the longest and the shortest prompt, one of them padded."""
    ends = torch.tensor([0, len(texts.ids) - 1])
    lengths = texts.lengths[ends].clamp(max=CHECK_TOKENS)
    pair = Prompts(texts.ids[ends, : int(lengths[0])], lengths, texts.device)
    errors = check(model, next(pair.batches(2)))
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


@dataclass(frozen=True)
class _Entry:
    """One layer in one direction: `depth` counts these, `index` counts mixers; scores by run."""

    depth: int
    index: int
    runs: Mapping[str, LayerScores]

    @property
    def own(self) -> LayerScores:
        return self.runs["prompts"]

    @property
    def reverse(self) -> bool:
        return self.own.reverse


def _entries(runs: Mapping[str, Sequence[LayerScores]], chosen: Sequence[int]) -> list[_Entry]:
    names = list(dict.fromkeys(layer.name for layer in runs["prompts"]))
    entries = []
    for depth, layer in enumerate(runs["prompts"]):
        index = names.index(layer.name)
        found = {name: layers[depth] for name, layers in runs.items()}
        last = found.pop("replaced_last", None)
        if layer.reverse:
            found["replaced"] = last
        if index in chosen:
            entries.append(_Entry(depth, index, found))
    return entries


def _spread(entries: Sequence[_Entry]) -> list[_Entry]:
    """At most MAPS of them from early to late, as many of each direction."""
    sides = [[e for e in entries if e.reverse is reverse] for reverse in (False, True)]
    sides = [side for side in sides if side]
    most = MAPS // len(sides)
    drawn = []
    for side in sides:
        places = torch.linspace(0, len(side) - 1, min(most, len(side))).round().long()
        drawn.extend(side[place] for place in places.tolist())
    return drawn


# The document.


def _layer(entry: _Entry, null: Tensor, confidence: float) -> dict[str, Any]:
    own = entry.own
    nulls = {name: run for name, run in entry.runs.items() if name != "prompts"}
    found = verdict(
        own.scores["absolute"][:, 0],
        null,
        nulls["shuffled"].scores["absolute"][:, 0],
        nulls["replaced"].scores["absolute"][:, 0],
        confidence,
    )
    return {
        "index": entry.index,
        "name": own.name,
        "reverse": own.reverse,
        "channels": len(own.channels),
        "total": own.total,
        "scores": {variant: _summary(own.scores[variant]) for variant in VARIANTS},
        "rates": {
            variant: {
                "after_threshold": _summary(own.rates[variant]),
                "before_threshold": _plain(own.pooled_rates[variant]),
            }
            for variant in VARIANTS
        },
        "nulls": {
            name: {
                variant: {
                    "score": _summary(run.scores[variant][:, 0]),
                    "after_threshold": _summary(run.rates[variant][:, 0]),
                    "before_threshold": _plain(run.pooled_rates[variant][0]),
                }
                for variant in VARIANTS
            }
            for name, run in nulls.items()
        },
        "verdict": {
            name: value if name == "kind" else {k: _plain(v) for k, v in value.items()}
            for name, value in asdict(found).items()
        },
    }


def _direction(entries: Sequence[_Entry]) -> dict[str, Any]:
    """Means over the layers of one direction: importance, and eq (36)."""
    runs = ("prompts", "shuffled", "replaced")
    return {
        "reverse": entries[0].reverse,
        "layers": [entry.index for entry in entries],
        "importance": {
            variant: {
                run: _summary(torch.stack([e.runs[run].scores[variant] for e in entries]).mean(0))
                for run in runs
            }
            for variant in VARIANTS
        },
        "sink": {
            variant: {
                run: {
                    "after_threshold": _summary(
                        sink_score([e.runs[run].rates[variant] for e in entries])
                    ),
                    "before_threshold": _plain(
                        sink_score([e.runs[run].pooled_rates[variant] for e in entries])
                    ),
                }
                for run in runs
            }
            for variant in VARIANTS
        },
    }


def _rescaled(entry: _Entry, looks: Looks, prompts: int) -> dict[str, Any]:
    factors = []
    for factor, found in looks.rescaled.items():
        values = {
            variant: {"score": _plain(score), "rate": _plain(rate)}
            for variant, (score, rate) in found.items()
        }
        factors.append({"factor": factor, **values})
    place = {"layer": entry.index, "reverse": entry.reverse}
    return {**place, "prompts": prompts, "factors": factors}


def _map(entry: _Entry, mean: Tensor, prompts: int) -> dict[str, Any]:
    rows = [_plain(row[: query + 1]) for query, row in enumerate(mean)]
    return {"layer": entry.index, "reverse": entry.reverse, "prompts": prompts, "rows": rows}


def _about(model: nn.Module) -> dict[str, Any]:
    package = type(model).__module__.partition(".")[0]
    # Code that came with the model has no version.
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        package = f"{package} {importlib.metadata.version(package)}"
    return {
        "class": type(model).__name__,
        "parameters": sum(value.numel() for value in model.parameters()),
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "package": package,
    }


def _summary(values: Tensor) -> dict[str, Any]:
    """Mean over prompts of (S, ...) with its interval."""
    low, high = interval(values)
    return {"mean": _plain(values.nanmean(0)), "low": _plain(low), "high": _plain(high)}


def _plain(value: Tensor | float) -> Any:
    """Numbers of DIGITS digits, None for NaN: more digits than intervals bear cost space."""
    if isinstance(value, Tensor) and value.ndim:
        return [_plain(item) for item in value.tolist()]
    number = float(value)
    return None if math.isnan(number) else float(f"{number:.{DIGITS}g}")


def _exceeds(values: Tensor, threshold: float) -> Tensor:
    return torch.where(values.isnan(), torch.nan, (values > threshold).double())


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


def _chosen(layers: Sequence[int] | None, count: int) -> list[int]:
    chosen = range(count) if layers is None else sorted(set(layers))
    if not chosen or chosen[0] < 0 or chosen[-1] >= count:
        raise ValueError(f"layers: got {list(chosen)}, takes numbers from 0 to {count - 1}")
    return list(chosen)


def _check_arguments(
    prompts: Sequence[Tensor], channels: int | None, seed: int, batch_size: int
) -> None:
    if len(prompts) < 2:
        raise ValueError(
            f"prompts: got {len(prompts)}, takes at least two: intervals are over prompts"
        )
    for index, prompt in enumerate(prompts):
        if prompt.ndim != 1 or prompt.is_floating_point() or len(prompt) < 2:
            raise ValueError(
                f"prompts: number {index} has shape {tuple(prompt.shape)} and {prompt.dtype}, "
                "takes integers (L,) with L >= 2"
            )
    for name, value, least in (
        ("channels", 1 if channels is None else channels, 1),
        ("seed", seed, 0),
        ("batch_size", batch_size, 1),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name}: got {value!r}, takes an integer >= {least}")
