"""A report as files: sinks.json, figures, and an index.html that needs nothing else.

A report appears whole or not at all: it is written into a folder beside its place and moved there
at the end.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokensphere import records
from tokensphere.sinks.template import KINDS, TEMPLATE

__all__ = ["FIGURES", "render", "replacing", "write"]

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
        "Importance of each position, averaged over channels and layers. The last positions are "
        "read by few queries, themselves among them, so attention to near tokens raises their "
        "mean.",
    ),
    "sink_score_by_position": (
        "Sink score of each position",
        "Sink score of each position, eq. (36): the mean of the layers' sink rates.",
    ),
    "attention_maps": (
        "Maps of the hidden attention in some layers, from early to late",
        "Hidden attention from early to late layers: each query's softmax over the keys that it "
        "can read, averaged over channels and prompts. A sink is a bright first column.",
    ),
}
"""Alternative text and caption of each figure."""

FILES = ("sinks.json", "index.html", *(f"{name}.svg" for name in FIGURES))
INK = "#010203"
"""Stands in matplotlib for the page's own colour of text, light or dark."""
SERIES = "#0072b2"
"""The figures' first colour, which the page brightens in the dark."""


@contextmanager
def replacing(out: str | os.PathLike[str]) -> Iterator[Path]:
    """An empty folder that takes the place of `out` at the end, unless an exception is raised.

    Raises:
        ValueError: `out` is a file, or a folder with files that no report writes.
        OSError: the folder that `out` is in is not there or cannot be written.
    """
    out = Path(out).resolve()
    _check_out(out)
    # In the same folder, because a rename is atomic only within one file system.
    draft, former = (out.with_name(f".{out.name}.{os.getpid()}.{word}") for word in ("new", "old"))
    draft.mkdir()
    try:
        yield draft
        _check_out(out)  # hours may have passed
        if out.exists():
            os.replace(out, former)
        try:
            os.replace(draft, out)
        except BaseException:
            if former.exists():
                os.replace(former, out)
            raise
    finally:
        for folder in (draft, former):
            shutil.rmtree(folder, ignore_errors=True)


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
    """Write sinks.json, the figures and index.html into a folder.

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
    drawn = _draw(record.data)
    for figure, svg in drawn.items():
        (folder / f"{figure}.svg").write_text(svg, "utf-8")
    (folder / "index.html").write_text(render(record, drawn), "utf-8")


def render(record: records.Record, drawn: Mapping[str, str]) -> str:
    """The page of a report: one HTML document that asks for nothing over the network.

    Args:
        record: as :func:`write` saves it.
        drawn: the SVG of each of FIGURES.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, spread=_spread)
    found = [layer["verdict"]["kind"] for layer in record.data["layers"]]
    return environment.from_string(TEMPLATE).render(
        record=record,
        data=record.data,
        kinds=KINDS,
        counts={kind: found.count(kind) for kind in KINDS},
        figures=[
            {"name": name, "alt": alt, "caption": caption, "svg": Markup(_inline(drawn[name], alt))}
            for name, (alt, caption) in FIGURES.items()
        ],
        largest=_largest,
        channels=dict.fromkeys((each["channels"], each["total"]) for each in record.data["layers"]),
    )


def _check_out(out: Path) -> None:
    if not out.parent.is_dir():
        raise FileNotFoundError(f"out: no such folder: {out.parent}")
    if not out.exists():
        return
    if not out.is_dir():
        raise ValueError(f"out: {out} is a file, takes a folder")
    entries = sorted(entry.name for entry in out.iterdir())
    foreign = [name for name in entries if name not in FILES]
    if foreign or (entries and "sinks.json" not in entries):
        raise ValueError(
            f"out: {out} is no former report (it holds {(foreign or entries)[0]}), so it is not "
            "replaced; takes a new or an empty folder, or a former report"
        )


def _draw(data: Mapping[str, Any]) -> dict[str, str]:
    from matplotlib import rc_context

    from tokensphere.sinks import figures

    colours = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    )
    # The salt makes ids the same each time; figures on one page share an id only for one shape.
    with rc_context({**colours, "svg.hashsalt": "tokensphere"}):
        return {
            "importance_by_layer": _svg(figures.sinks_by_layer(data, "score")),
            "sink_rate_by_layer": _svg(figures.sinks_by_layer(data, "rate")),
            "importance_by_position": _svg(figures.sinks_by_position(data, "score")),
            "sink_score_by_position": _svg(figures.sinks_by_position(data, "rate")),
            "attention_maps": _svg(figures.attention_maps(data)),
        }


def _svg(figure: Any) -> str:
    from matplotlib import pyplot

    stream = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # The maps are pixels: at 200 to the inch a token of 64 has several.
    figure.savefig(stream, format="svg", transparent=True, metadata=nothing, dpi=200)
    pyplot.close(figure)
    return stream.getvalue().replace(INK, "currentColor")


def _inline(svg: str, alt: str) -> str:
    """The svg element without what only a file of its own needs."""
    element = svg[svg.index("<svg") :].strip()
    element = element.replace("<svg", f'<svg role="img" aria-label="{alt}"', 1)
    return element.replace(SERIES, f"var(--series, {SERIES})")


def _largest(values: list[float | None]) -> tuple[int, float]:
    """Position, from 1, and value of the largest after the first."""
    later = [(position, value) for position, value in enumerate(values, 1) if value is not None]
    return max(later[1:], key=lambda pair: pair[1])


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}g}".replace("-", "−")


def _spread(found: Mapping[str, float | None]) -> str:
    """A mean with its interval."""
    if found["low"] is None or found["high"] is None:
        return _number(found["mean"])
    return f"{_number(found['mean'])} [{_number(found['low'], 2)}, {_number(found['high'], 2)}]"
