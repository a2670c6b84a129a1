"""`tokensphere sinks compare`: reports of several models or checkpoints on one page."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokensphere.sinks.report import page
from tokensphere.sinks.report.compare_template import COMPARISON
from tokensphere.sinks.report.places import replacing
from tokensphere.sinks.report.reading import file_of, read_report
from tokensphere.sinks.report.template import KINDS, STYLE

__all__ = ["FILES", "comparison", "write_comparison"]

FIGURE = (
    "first_token_by_depth",
    "Absolute score of the first token by relative depth, one line a model",
    "Mean absolute importance of the first token, eq. (33), by depth: 0 is a model's first Mamba "
    "layer and 1 its last. Bands are 95% intervals over prompts; grey: uniform attention at each "
    "model's prompt lengths.",
)
FILES = ("compare.json", "index.html", f"{FIGURE[0]}.svg")

SAME = {
    "prompts": lambda data: data["prompts"]["digest"],
    "lengths of the prompts": lambda data: data["prompts"]["lengths"],
    "threshold": lambda data: data["threshold"],
    "layers measured": lambda data: _some_layers(data),
    "channels drawn": lambda data: data["channels"] if _drawn(data) else None,
    "seed of the channels": lambda data: data["seed"] if _drawn(data) else None,
    "tokens put in place of the first": lambda data: data["prompts"]["replace_with"],
}
"""What reports must share for their scores to be compared."""


def write_comparison(
    reports: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]
) -> Path:
    """Put reports on one page: compare.json, a figure and index.html, whole or not at all.

    Args:
        reports: folders that :func:`tokensphere.sinks.report.tool.write_report` has written, or
            their sinks.json; at least two.
        out: a folder, new or empty, or with a former comparison, which is replaced.

    Returns:
        the page.

    Raises:
        ValueError: fewer than two reports, one twice or beside its copy, or what is none; as
            :func:`tokensphere.sinks.report.places.replacing`.
        FileNotFoundError: there is no such report.
    """
    places = [os.path.realpath(file_of(report)) for report in reports]
    if len(set(places)) < 2 or len(set(places)) < len(places):
        raise ValueError(
            f"reports: got {len(places)}, {len(set(places))} of them different, takes at least two "
            "different ones"
        )
    found = {os.fspath(report): read_report(report) for report in reports}
    _check_copies(found)
    labelled = dict(zip(_labels(found), found.values(), strict=True))
    document = comparison(labelled)
    for row, report in zip(document["models"], found, strict=True):
        row["report"] = report
    with replacing(out, FILES, "compare.json") as folder:
        from tokensphere.sinks.report import figures

        with page.painted():
            drawn = page.svg(figures.first_token_by_depth(labelled))
        (folder / f"{FIGURE[0]}.svg").write_text(drawn, "utf-8")
        text = json.dumps(document, indent=1, allow_nan=False)
        (folder / "compare.json").write_text(text + "\n", "utf-8")
        html = page.template(COMPARISON).render(
            style=STYLE,
            kinds=KINDS,
            figure={
                "name": FIGURE[0],
                "alt": FIGURE[1],
                "caption": FIGURE[2],
                "svg": page.inline(drawn, FIGURE[1]),
            },
            **document,
        )
        (folder / "index.html").write_text(html, "utf-8")
    return Path(out) / "index.html"


def comparison(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Several reports side by side, as JSON values.

    Args:
        reports: documents of `report.measure_model`, by what each is to be called.

    Returns:
        models: for each report label, name, revision, class, parameters, dtype, mixers, measured
            (how many of these), layers (the same, a direction each), prompts (count, lengths,
            digest), threshold, channels, drawn (whether some layer has more channels), uniform
            (importance of the first token), verdicts (a sink's kind or another outcome -> how many
            layers), sink (eq 36, by direction: reverse, and variant -> mean, low, high), largest
            (the layer with the largest absolute score: index, name, reverse, mean, low, high).
        differ: what differs between them so that their scores cannot be compared, in words.
        same_texts: whether the prompts' texts are the same, though their tokens are not; None where
            the reports do not say, or the tokens are the same.
    """
    differ = [
        what
        for what, read in SAME.items()
        if len({json.dumps(read(data)) for data in reports.values()}) > 1
    ]
    texts = {data["prompts"].get("texts") for data in reports.values()}
    same_texts = len(texts) == 1 if "prompts" in differ and None not in texts else None
    return {
        "models": [_row(label, data) for label, data in reports.items()],
        "differ": differ,
        "same_texts": same_texts,
    }


def _measured(data: Mapping[str, Any]) -> list[int]:
    """The numbers of the mixers that were measured."""
    return sorted({layer["index"] for layer in data["layers"]})


def _some_layers(data: Mapping[str, Any]) -> list[int] | None:
    """None where all were measured, in however deep a model."""
    found, mixers = _measured(data), data["model"]["mixers"]
    return None if len(found) == mixers else [*found, mixers]


def _drawn(data: Mapping[str, Any]) -> bool:
    return any(layer["channels"] < layer["total"] for layer in data["layers"])


def _row(label: str, data: Mapping[str, Any]) -> dict[str, Any]:
    model, verdicts = data["model"], [layer["verdict"] for layer in data["layers"]]
    found = [verdict["kind"] or verdict["outcome"] for verdict in verdicts]
    largest = max(data["layers"], key=lambda layer: layer["scores"]["absolute"]["mean"][0])
    names = ("class", "parameters", "dtype", "mixers")
    return {
        "label": label,
        "name": model.get("name"),
        "revision": model.get("revision"),
        **{name: model[name] for name in names},
        "layers": len(found),
        "measured": len(_measured(data)),
        "prompts": {name: data["prompts"][name] for name in ("count", "lengths", "digest")},
        "threshold": data["threshold"],
        "channels": data["channels"],
        "drawn": _drawn(data),
        "uniform": data["uniform"]["mean"][0],
        "verdicts": {kind: found.count(kind) for kind in KINDS},
        "sink": [
            {
                "reverse": direction["reverse"],
                **{
                    variant: _first(sink["prompts"]["after_threshold"])
                    for variant, sink in direction["sink"].items()
                },
            }
            for direction in data["directions"]
        ],
        "largest": {
            **{name: largest[name] for name in ("index", "name", "reverse")},
            **_first(largest["scores"]["absolute"]),
        },
    }


def _check_copies(reports: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ValueError for two reports of one model with the same numbers: no second model."""
    digests = {
        path: hashlib.sha256(json.dumps(data, sort_keys=True).encode()).digest()
        for path, data in reports.items()
    }
    for one, other in itertools.combinations(digests, 2):
        if digests[one] == digests[other]:
            raise ValueError(f"reports: {other} is a copy of {one}, takes different ones")


def _first(values: Mapping[str, Sequence[float | None]]) -> dict[str, float | None]:
    return {name: values[name][0] for name in ("mean", "low", "high")}


def _labels(reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Models' names, with what tells them apart where two are the same: revision, or report."""
    names = [data["model"].get("name") or path for path, data in reports.items()]
    labels = []
    for name, (path, data) in zip(names, reports.items(), strict=True):
        revision = data["model"].get("revision")
        if names.count(name) > 1:
            alike = [
                other["model"].get("revision")
                for other, each in zip(reports.values(), names, strict=True)
                if each == name
            ]
            own = revision[:10] if revision and alike.count(revision) == 1 else path
            name = f"{name} ({own})"
        labels.append(name)
    return labels
