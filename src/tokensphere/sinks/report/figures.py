"""Attention sinks by layer and by position, beside their nulls, and maps of the hidden attention.

Everything is drawn from the document that :func:`tokensphere.sinks.report.measure_model` gives.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tokensphere.sinks.style import COLOURS, GREY, axes, band, estimates

VARIANTS = {
    "raw": "raw (the paper's)",
    "softmax": "softmax of each row",
    "absolute": "absolute: shares of each row",
}
WEIGHTS = {"absolute": "mean share of absolute weight", "softmax": "mean softmax weight"}
MOST_TICKS = 12
QUANTITIES = {"score": "importance α", "rate": "share of channels\nover the threshold"}
NULLS: dict[str, tuple[str, dict[str, Any]]] = {
    "uniform": ("uniform attention", {"color": GREY, "linewidth": 1.0}),
    "shuffled": ("tokens shuffled", {"color": GREY, "linestyle": "--"}),
    "shuffled_after_bos": (
        "tokens after the beginning-of-text token shuffled",
        {"color": GREY, "linestyle": "-."},
    ),
    "replaced": ("first token replaced", {"color": GREY, "linestyle": ":"}),
}
"""Name of each null and how its line is drawn."""


def sinks_by_layer(data: Mapping[str, Any], quantity: str) -> Figure:
    """The first token in each layer: mean importance, eq (33), or sink rate, eq (35).

    A row of axes for each variant, a column for each direction; bands are 95% intervals over
    prompts, grey lines the nulls.

    Args:
        data: of `sinks.report.measure_model`.
        quantity: "score" or "rate".
    Raises:
        ValueError: another quantity.
    """

    def draw(ax: Axes, variant: str, direction: Mapping[str, Any]) -> None:
        layers = [layer for layer in data["layers"] if layer["reverse"] == direction["reverse"]]
        x = [layer["index"] for layer in layers]
        _band(ax, x, estimates(_own(layer, quantity, variant) for layer in layers), marker="o")
        value = data["uniform"]["mean" if quantity == "score" else "rate"][0]
        _null(ax, x, [value] * len(x), "uniform")
        for name in layers[0]["nulls"]:
            key = "score" if quantity == "score" else "after_threshold"
            _null(ax, x, [layer["nulls"][name][variant][key]["mean"] for layer in layers], name)
        every = -(-len(x) // MOST_TICKS)
        ax.set_xticks(x[::every], [short[index] for index in x[::every]], parse_math=False)

    names = {layer["index"]: layer["name"] for layer in data["layers"]}
    pattern, short = short_names(names)
    return _panels(data, quantity, draw, f"layer * of {pattern}", "first token")


def sinks_by_position(data: Mapping[str, Any], quantity: str) -> Figure:
    """Each position's mean over layers: of the importance, eq (33), or of the sink rates, eq (36).

    Positions count from the token that the layers read first; a position's mean is over the prompts
    where enough tokens read it, and one that has none is not drawn. Axes, bands and lines as in
    :func:`sinks_by_layer`.

    Args, raises: as :func:`sinks_by_layer`.
    """

    def draw(ax: Axes, variant: str, direction: Mapping[str, Any]) -> None:
        if quantity == "score":
            runs = direction["importance"][variant]
        else:
            runs = {
                name: run["after_threshold"] for name, run in direction["sink"][variant].items()
            }
        x = np.arange(1, len(data["uniform"]["mean"]) + 1)
        _band(ax, x, runs["prompts"], marker="o" if len(x) <= 32 else None)
        _null(ax, x, data["uniform"]["mean" if quantity == "score" else "rate"], "uniform")
        for name in ("shuffled", "replaced"):
            _null(ax, x, runs[name]["mean"], name)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        last = int(x[[mean is not None for mean in data["uniform"]["mean"]]][-1])
        ax.set_xlim(1 - 0.02 * last, last * 1.02)

    return _panels(data, quantity, draw, "position, from 1", "mean over layers")


def attention_maps(data: Mapping[str, Any], variant: str = "absolute") -> Figure:
    """The mean map of the hidden attention in some layers, early to late, as in Figure 2.

    One colour scale for all, linear in the weight's square root, so that a column of small weights
    shows beside the diagonal. It ends where one entry in a hundred is larger: the first query has
    no key but its own.

    Args:
        data: of `sinks.report.measure_model`.
        variant: "absolute", shares, as verdicts rest on; or "softmax", as in the paper's figure.
    Raises:
        ValueError: another variant.
    """
    if variant not in WEIGHTS:
        raise ValueError(f"variant: got {variant!r}, takes one of {', '.join(WEIGHTS)}")
    maps = data["maps"]
    columns = min(3, len(maps))
    rows = -(-len(maps) // columns)
    figure, array = axes(columns, rows, sharex=True, sharey=True)
    figure.set_size_inches(8.0, 0.7 + 2.5 * rows * 3 / columns if columns > 1 else 5.5)
    shown = [_square(found[variant]) for found in maps]
    entries = np.concatenate([square[np.isfinite(square)] for square in shown])
    most = float(np.quantile(entries, 0.99))
    for ax, found, square in zip(array.flat, maps, shown, strict=False):
        tokens = len(square)
        image = ax.imshow(
            square,
            norm=PowerNorm(0.5, vmin=0, vmax=most),
            cmap="viridis",
            interpolation="nearest",
            extent=(0.5, tokens + 0.5, tokens + 0.5, 0.5),
        )
        ax.grid(False)
        title = found["name"] + (", backward" if found["reverse"] else "")
        ax.set_title(title, fontsize=8, parse_math=False)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    for ax in array.flat[len(maps) :]:
        ax.set_visible(False)
    for ax in array[-1]:
        ax.set_xlabel("key")
    for ax in array[:, 0]:
        ax.set_ylabel("query")
    bar = figure.colorbar(image, ax=array, extend="max", shrink=0.8)
    bar.set_label(WEIGHTS[variant])
    return figure


def short_names(names: Mapping[int, str]) -> tuple[str, dict[int, str]]:
    """What layers' names share, as "backbone.layers.*.mixer", and what stands for the star in each.

    Args:
        names: by the layers' numbers, which stand for themselves where there is one name only.
    """
    parts = [name.split(".") for name in names.values()]
    if len(set(names.values())) == 1:
        return next(iter(names.values())), {index: str(index) for index in names}
    start = _common(parts)
    rests = [part[start:] for part in parts]
    end = _common([rest[::-1] for rest in rests])
    pattern = [*parts[0][:start], "*", *rests[0][len(rests[0]) - end :]]
    own = (".".join(rest[: len(rest) - end]) for rest in rests)
    return ".".join(pattern), dict(zip(names, own, strict=True))


def _common(rows: Sequence[Sequence[str]]) -> int:
    """How many entries all rows begin with."""
    return len(list(takewhile(lambda each: len(set(each)) == 1, zip(*rows, strict=False))))


def first_token_by_depth(reports: Mapping[str, Mapping[str, Any]]) -> Figure:
    """The first token's absolute score by relative depth, one line a model and direction.

    Grey: uniform attention, for each model at its prompts' lengths. Bands are 95% intervals over
    prompts.

    Args:
        reports: data of `sinks.report.measure_model`, by what the line is to be called.
    """
    figure, ((ax,),) = axes(1, 1)
    figure.set_size_inches(8.0, 4.4)
    lines = {}
    for place, (label, data) in enumerate(reports.items()):
        last = max(data["model"]["mixers"] - 1, 1)
        colour = COLOURS[place % len(COLOURS)]
        for direction in data["directions"]:
            reverse = direction["reverse"]
            layers = [layer for layer in data["layers"] if layer["reverse"] is reverse]
            values = estimates(_own(layer, "score", "absolute") for layer in layers)
            name = label + (", backward" if reverse else "")
            band(
                ax,
                [layer["index"] / last for layer in layers],
                values,
                colour,
                name,
                marker="osD^vP"[place // len(COLOURS) % 6],
                markersize=4,
                linestyle="--" if reverse else "-",
            )
            lines[name] = ax.lines[-1]
    for uniform in sorted({data["uniform"]["mean"][0] for data in reports.values()}):
        lines["uniform attention"] = ax.axhline(uniform, color=GREY, linewidth=1.0)
    ax.set(xlabel="depth: first layer 0, last layer 1", ylabel="importance α, absolute")
    ax.set_ylim(0, None)
    # By itself matplotlib leaves out names with a leading _, and sets formulas between two $.
    legend = figure.legend(
        lines.values(), lines, loc="outside upper center", ncols=2, frameon=False
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _panels(
    data: Mapping[str, Any],
    quantity: str,
    draw: Callable[[Axes, str, Mapping[str, Any]], None],
    x: str,
    of: str,
) -> Figure:
    if quantity not in QUANTITIES:
        raise ValueError(f"quantity: got {quantity!r}, takes one of {', '.join(QUANTITIES)}")
    directions = data["directions"]
    figure, array = axes(len(directions), len(VARIANTS), sharex=True, sharey="row")
    figure.set_size_inches(8.0, 7.0)
    for row, (variant, title) in zip(array, VARIANTS.items(), strict=True):
        for ax, direction in zip(row, directions, strict=True):
            draw(ax, variant, direction)
            side = ", backward" if direction["reverse"] else ", forward"
            ax.set_title(
                title + (side if directions[-1]["reverse"] else ""), loc="left", fontsize=10
            )
        if quantity == "rate":
            row[0].set_ylim(-0.04, 1.04)
        elif variant != "raw":  # shares; cut off at their least they would look like more
            row[0].set_ylim(0, 1.08 * max(ax.dataLim.ymax for ax in row))
        row[0].set_ylabel(QUANTITIES[quantity])
    for ax in array[-1]:
        ax.set_xlabel(x, parse_math=False)
    handles, labels = array[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        [f"the prompts, {of}", *labels[1:]],
        loc="outside upper center",
        ncols=2,
        frameon=False,
    )
    return figure


def _own(layer: Mapping[str, Any], quantity: str, variant: str) -> dict[str, float]:
    """The first token's mean, low and high."""
    found = layer["scores"][variant]
    if quantity == "rate":
        found = layer["rates"][variant]["after_threshold"]
    return {name: values[0] for name, values in found.items()}


def _band(ax: Axes, x: Any, values: Mapping[str, Sequence[float]], marker: str | None) -> None:
    band(ax, x, values, COLOURS[0], "the prompts", marker=marker, markersize=4)
    if marker is None:  # the first token, where the line begins at the edge
        ax.plot(x[:1], values["mean"][:1], color=COLOURS[0], marker="o", markersize=4)


def _null(ax: Axes, x: Any, values: Sequence[float | None], name: str) -> None:
    label, style = NULLS[name]
    ax.plot(x, np.array(values, dtype=float), label=label, **style)


def _square(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """(T, T) from the rows' keys up to the query; NaN past it."""
    square = np.full((len(rows), len(rows)), np.nan)
    for query, row in enumerate(rows):
        square[query, : query + 1] = row
    return square
