"""A report as files: sinks.json, scores.csv, figures, and an index.html that needs nothing else."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokensphere import records
from tokensphere.sinks.report.advice import advice
from tokensphere.sinks.report.table import scores_csv
from tokensphere.sinks.report.template import FIGURE, KINDS, STYLE, TEMPLATE
from tokensphere.sinks.verdicts import LEAST_PROMPTS, MARGIN

__all__ = ["FIGURES", "FILES", "inline", "painted", "render", "svg", "template", "write"]

FIGURES = {
    "importance_by_layer": (
        "Mean importance of the first token in each layer",
        "Mean importance of the first token in each layer, eq. (33), averaged over channels. "
        "The band is a 95% interval over prompts. For raw scores uniform attention is a reference "
        "only.",
    ),
    "sink_rate_by_layer": (
        "Sink rate of the first token in each layer",
        "Sink rate of the first token in each layer, eq. (35): the share of channels whose "
        "importance exceeds the threshold, prompt by prompt, then averaged over prompts.",
    ),
    "importance_by_position": (
        "Mean importance of each position",
        "Importance of each position, averaged over channels, layers and the prompts where at "
        "least a quarter of the tokens read it: the last are read by little but themselves.",
    ),
    "sink_score_by_position": (
        "Sink score of each position",
        "Sink score of each position, eq. (36): the mean of the layers' sink rates.",
    ),
    "attention_maps": (
        "Maps of the hidden attention in some layers, from early to late",
        "Hidden attention of the layers with a sink, the six strongest at most, or where there is "
        "none of some from early to late: each query's share of absolute weight on the keys that "
        "it can read, averaged over channels and prompts. A sink is a bright first column.",
    ),
}
"""Alternative text and caption of each figure."""

ABLATION = "ablation_by_layer"
"""The figure of a report that has an ablation."""
FILES = (
    "sinks.json",
    "scores.csv",
    "index.html",
    *(f"{name}.svg" for name in (*FIGURES, ABLATION)),
)
INK = "#010203"
"""Stands in matplotlib for the page's own colour of text, light or dark."""
SERIES = "#0072b2"
"""The figures' first colour, which the page brightens in the dark."""


def write(
    folder: str | os.PathLike[str],
    data: Mapping[str, Any],
    *,
    name: str,
    revision: str | None,
    parameters: Mapping[str, Any],
    seconds: float,
    seed: int,
    device: Any,
) -> None:
    """Write sinks.json, scores.csv, the figures and index.html into a folder.

    sinks.json is a record (:func:`tokensphere.records.load` reads it) whose data are the document
    of :func:`tokensphere.sinks.report.measure_model`, with `name` and `revision` in its "model".

    Args:
        data: the document. name, revision: of the model.
        parameters, seconds, seed, device: as :func:`tokensphere.records.save` takes them.
    """
    folder = Path(folder)
    model = {"name": name, "revision": revision, **data["model"]}
    record = records.save(
        folder / "sinks.json",
        {**data, "model": model},
        parameters=parameters,
        code=["tokensphere.sinks.report"],
        seconds=seconds,
        seed=seed,
        device=device,
    )
    (folder / "scores.csv").write_text(scores_csv(record.data), "utf-8")
    drawn = _draw(record.data)
    for figure, text in drawn.items():
        (folder / f"{figure}.svg").write_text(text, "utf-8")
    (folder / "index.html").write_text(render(record, drawn), "utf-8")


def render(record: records.Record, drawn: Mapping[str, str]) -> str:
    """The page of a report: one HTML document that asks for nothing over the network.

    Args:
        record: as :func:`write` saves it.
        drawn: the SVG of each of FIGURES, and of ABLATION where the document has one.
    """
    verdicts = [layer["verdict"] for layer in record.data["layers"]]
    found = [verdict["kind"] or verdict["outcome"] for verdict in verdicts]
    return template(TEMPLATE).render(
        style=STYLE,
        record=record,
        data=record.data,
        kinds=KINDS,
        counts={kind: found.count(kind) for kind in KINDS},
        figures=[
            {"name": name, "alt": alt, "caption": caption, "svg": inline(drawn[name], alt)}
            for name, (alt, caption) in FIGURES.items()
        ],
        largest=_largest,
        ablation=_ablation(record.data, drawn),
        advice=advice(record.data),
        margin=MARGIN,
        least=LEAST_PROMPTS,
        channels=dict.fromkeys((each["channels"], each["total"]) for each in record.data["layers"]),
    )


def template(text: str) -> Any:
    """A page's template, whose values are escaped; its filters are `number`, `spread` (a mean with
    its interval), `options` (a sentence whose options are set as code) and `quoted` (text as a JSON
    string, so that spaces and line ends in it show)."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, spread=_spread, options=_options, quoted=_quoted)
    return environment.from_string(text)


def _ablation(data: Mapping[str, Any], drawn: Mapping[str, str]) -> Any:
    """The part of the page on it, as markup: nothing where there is none."""
    from markupsafe import Markup

    if "ablation" not in data:
        return ""
    from tokensphere.sinks.ablation import figures as ablation

    figure = {
        "name": ABLATION,
        "alt": ablation.ALT,
        "caption": ablation.CAPTION,
        "svg": inline(drawn[ABLATION], ablation.ALT),
    }
    # A template's own output, whose values are escaped.
    return Markup(template(ablation.ABLATION + FIGURE).render(data=data, figure=figure))  # noqa: S704


@contextmanager
def painted() -> Iterator[None]:
    """Figures drawn meanwhile have the page's own colour of text."""
    from matplotlib import rc_context

    colours = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    )
    # The salt makes ids the same each time; figures on one page share an id only for one shape.
    with rc_context({**colours, "svg.hashsalt": "tokensphere"}):
        yield


def _draw(data: Mapping[str, Any]) -> dict[str, str]:
    from tokensphere.sinks.report import figures

    with painted():
        drawn = {
            "importance_by_layer": svg(figures.sinks_by_layer(data, "score")),
            "sink_rate_by_layer": svg(figures.sinks_by_layer(data, "rate")),
            "importance_by_position": svg(figures.sinks_by_position(data, "score")),
            "sink_score_by_position": svg(figures.sinks_by_position(data, "rate")),
            "attention_maps": svg(figures.attention_maps(data)),
        }
        if "ablation" in data:
            from tokensphere.sinks.ablation.figures import ablation_by_layer

            drawn[ABLATION] = svg(ablation_by_layer(data["ablation"]))
    return drawn


def svg(figure: Any) -> str:
    """A figure that was drawn :func:`painted`, as a file's text; closes it."""
    from matplotlib import pyplot

    stream = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # The maps are pixels: at 200 to the inch a token of 64 has several.
    figure.savefig(stream, format="svg", transparent=True, metadata=nothing, dpi=200)
    pyplot.close(figure)
    return stream.getvalue().replace(INK, "currentColor")


def inline(svg: str, alt: str) -> Any:
    """The svg element, as markup, without what only a file of its own needs."""
    from markupsafe import Markup

    element = svg[svg.index("<svg") :].strip()
    element = element.replace("<svg", f'<svg role="img" aria-label="{alt}"', 1)
    # Drawn by matplotlib, which escapes what names a model or a layer.
    return Markup(element.replace(SERIES, f"var(--series, {SERIES})"))  # noqa: S704


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _options(sentence: str) -> Any:
    from markupsafe import Markup, escape

    marked = re.sub(
        r"(--[a-z-]*[a-z]|tokensphere[.a-z]*[a-z])", r"<code>\1</code>", str(escape(sentence))
    )
    return Markup(marked)  # noqa: S704  escaped a line above


def _largest(values: list[float | None]) -> tuple[int, float]:
    """Position, from 1, and value of the largest after the first."""
    later = [(position, value) for position, value in enumerate(values, 1) if value is not None]
    return max(later[1:], key=lambda pair: pair[1])


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}g}".replace("-", "−")


def _spread(found: Mapping[str, float | None]) -> str:
    """A mean with its interval, but for one of zero width: where all prompts have the same value,
    as a share of none or all channels, their spread tells nothing."""
    if found["low"] is None or found["low"] == found["high"]:
        return _number(found["mean"])
    return f"{_number(found['mean'])} [{_number(found['low'], 2)}, {_number(found['high'], 2)}]"
