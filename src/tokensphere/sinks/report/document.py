"""The parts of a report's document, as JSON values: layers, directions, rescaling, maps."""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tokensphere.sinks.measure import LayerScores
from tokensphere.sinks.report.closer import Looks
from tokensphere.sinks.report.prompts import Prompts
from tokensphere.sinks.scores import VARIANTS, exceeds, interval, sink_score
from tokensphere.sinks.verdicts import Verdict, verdict
from tokensphere.sinks.walk import bare

__all__ = ["Entry", "about", "direction", "judge", "layer", "maps", "plain", "rescaled", "uniform"]

DIGITS = 5


@dataclass(frozen=True)
class Entry:
    """One layer in one direction: `index` counts mixers from 0; scores by run."""

    index: int
    runs: Mapping[str, LayerScores]

    @property
    def own(self) -> LayerScores:
        return self.runs["prompts"]

    @property
    def key(self) -> tuple[str, bool]:
        return self.own.name, self.own.reverse

    @property
    def place(self) -> dict[str, Any]:
        """What tells it from the others."""
        return {"index": self.index, "name": self.own.name, "reverse": self.own.reverse}


def judge(entry: Entry, null: Tensor, confidence: float) -> Verdict:
    """The verdict on a layer's first token; null: the uniform importance in each prompt, (S,)."""
    first = {name: run.scores["absolute"][:, 0] for name, run in entry.runs.items()}
    return verdict(first["prompts"], null, first["shuffled"], first["replaced"], confidence)


def layer(entry: Entry, found: Verdict, texts: Prompts) -> dict[str, Any]:
    """A layer's scores, rates and nulls, and the verdict on it."""
    own = entry.own
    nulls = {name: run for name, run in entry.runs.items() if name != "prompts"}
    return {
        **entry.place,
        "channels": len(own.channels),
        "total": own.total,
        "first": {
            variant: plain(texts.as_given(own.scores[variant][:, 0])) for variant in VARIANTS
        },
        "scores": {variant: _summary(own.scores[variant]) for variant in VARIANTS},
        "rates": {
            variant: {
                "after_threshold": _summary(own.rates[variant]),
                "before_threshold": plain(own.pooled_rates[variant]),
            }
            for variant in VARIANTS
        },
        "nulls": {
            name: {
                variant: {
                    "score": _summary(run.scores[variant][:, 0]),
                    "after_threshold": _summary(run.rates[variant][:, 0]),
                    "before_threshold": plain(run.pooled_rates[variant][0]),
                }
                for variant in VARIANTS
            }
            for name, run in nulls.items()
        },
        "verdict": _verdict(found),
    }


def _verdict(found: Verdict) -> dict[str, Any]:
    return {
        name: {key: plain(number) for key, number in value.items()}
        if isinstance(value, dict)
        else plain(value)
        if isinstance(value, float)
        else value
        for name, value in asdict(found).items()
    }


def direction(entries: Sequence[Entry], texts: Prompts) -> dict[str, Any]:
    """Means over the layers of one direction: importance, and eq (36), at well-read positions."""
    runs = ("prompts", "shuffled", "replaced")
    read = texts.well_read()

    def kept(values: Tensor) -> Tensor:
        return torch.where(read, values, torch.nan)

    return {
        "reverse": entries[0].own.reverse,
        "layers": [entry.index for entry in entries],
        "importance": {
            variant: {
                run: _summary(
                    kept(torch.stack([e.runs[run].scores[variant] for e in entries]).mean(0))
                )
                for run in runs
            }
            for variant in VARIANTS
        },
        "sink": {
            variant: {
                run: {
                    "after_threshold": _summary(
                        kept(sink_score([e.runs[run].rates[variant] for e in entries]))
                    ),
                    "before_threshold": plain(
                        torch.where(
                            read.any(0),
                            sink_score([e.runs[run].pooled_rates[variant] for e in entries]),
                            torch.nan,
                        )
                    ),
                }
                for run in runs
            }
            for variant in VARIANTS
        },
    }


def uniform(values: Tensor, threshold: float, texts: Prompts) -> dict[str, Any]:
    """Of uniform attention, values (S, L): the mean by position, and how often it exceeds."""
    values = torch.where(texts.well_read(), values, torch.nan)
    return {"mean": plain(values.nanmean(0)), "rate": plain(exceeds(values, threshold).nanmean(0))}


def rescaled(entry: Entry, looks: Looks, prompts: int) -> dict[str, Any]:
    """Scores of the first token as a layer's hidden attention is multiplied."""
    factors = []
    for factor, found in looks.rescaled.items():
        values = {
            variant: {"score": plain(score), "rate": plain(rate)}
            for variant, (score, rate) in found.items()
        }
        factors.append({"factor": factor, **values})
    return {**entry.place, "prompts": prompts, "factors": factors}


def maps(entries: Sequence[Entry], looks: Looks, prompts: int) -> list[dict[str, Any]]:
    """The mean maps of some layers: each query's weights over the keys up to it."""
    return [
        {
            **entry.place,
            "prompts": prompts,
            **{
                variant: [plain(row[: query + 1]) for query, row in enumerate(mean)]
                for variant, mean in looks.maps[entry.key].items()
            },
        }
        for entry in entries
    ]


def about(model: nn.Module) -> dict[str, Any]:
    """Class, size, dtype and library of a model, and whether it has a language-model head."""
    model = bare(model)
    package = type(model).__module__.partition(".")[0]
    # Code that came with the model has no version.
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        package = f"{package} {importlib.metadata.version(package)}"
    head = getattr(model, "get_output_embeddings", lambda: None)
    return {
        "class": type(model).__name__,
        "parameters": sum(value.numel() for value in model.parameters()),
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "package": package,
        "head": head() is not None,
    }


def plain(value: Tensor | float) -> Any:
    """Numbers of DIGITS digits, None for NaN: more digits than intervals bear cost space."""
    if isinstance(value, Tensor) and value.ndim:
        return [plain(item) for item in value.tolist()]
    number = float(value)
    return None if math.isnan(number) else float(f"{number:.{DIGITS}g}")


def _summary(values: Tensor) -> dict[str, Any]:
    """Mean over prompts of (S, ...) with its interval."""
    low, high = interval(values)
    return {"mean": plain(values.nanmean(0)), "low": plain(low), "high": plain(high)}
