"""The figures that the report on sinks draws of its scores, as the book's figures look."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tokensphere.sinks.report import figures as report

from . import drawing
from .drawing import COLOURS

Scores = Mapping[str, Any]
"""Data of :func:`tokensphere.sinks.report.measure_model`."""

PANEL = 2.1
"""Inches, of one row of three."""
NULLS = {
    "uniform": {"color": "k", "linewidth": 1.0},
    "shuffled": {"color": COLOURS[1], "linestyle": "--"},
    "shuffled_after_bos": {"color": COLOURS[3], "linestyle": "-."},
    "replaced": {"color": COLOURS[2], "linestyle": ":", "linewidth": drawing.THICK},
}
"""How the line of each null is drawn; the report has all in grey."""


def by_layer(scores: Scores, quantity: str) -> Figure:
    """:func:`tokensphere.sinks.report.figures.sinks_by_layer`, without uniform attention, which is
    no null of raw scores, beside these."""
    figure = _in_style(_told_apart(report.sinks_by_layer(scores, quantity)), 3 * PANEL)
    for ax in figure.axes:
        if ax.get_xlabel():
            ax.set_xlabel("layer, from 0")  # the report has the model's own names
    return figure


def by_position(scores: Scores, quantity: str) -> Figure:
    """:func:`tokensphere.sinks.report.figures.sinks_by_position`, as :func:`by_layer` has it."""
    return _in_style(_told_apart(report.sinks_by_position(scores, quantity)), 3 * PANEL)


def maps(scores: Scores, variant: str) -> Figure:
    """:func:`tokensphere.sinks.report.figures.attention_maps`."""
    figure = report.attention_maps(scores, variant)
    figure.set_layout_engine("compressed")  # one map alone stands in the middle
    for ax, found in zip(figure.axes, scores["maps"], strict=False):
        ax.set_title(f"layer {found['index']}{', backward' if found['reverse'] else ''}")
    columns = min(3, len(scores["maps"]))
    rows = -(-len(scores["maps"]) // columns)
    return _in_style(figure, 0.5 + rows * (6.0 / max(columns, 2) + 0.3))


def least_even(scores: Scores, variant: str) -> tuple[Mapping[str, Any], float]:
    """The map that differs most from uniform attention's, and the largest difference of an entry
    from it in any map."""
    differences = [
        max(float(np.abs(np.subtract(row, 1 / len(row))).max()) for row in found[variant])
        for found in scores["maps"]
    ]
    return scores["maps"][int(np.argmax(differences))], max(differences)


def _told_apart(figure: Figure) -> Figure:
    """Nulls in their colours; and no uniform attention beside raw scores."""
    styles = {report.NULLS[name][0]: style for name, style in NULLS.items()}
    for ax in figure.axes:
        for line in ax.lines:
            line.set(**styles.get(line.get_label(), {}))
    for legend in figure.legends:
        texts = [text.get_text() for text in legend.get_texts()]
        for handle, text in zip(legend.legend_handles, texts, strict=True):
            handle.set(**styles.get(text, {}))
    raw = [ax for ax in figure.axes if ax.get_title(loc="left").startswith(report.VARIANTS["raw"])]
    for ax in raw:
        for line in ax.lines[:]:
            if line.get_label() == report.NULLS["uniform"][0]:
                line.remove()
        ax.relim()
    if raw[0].get_autoscaley_on():  # rates have their limits; panels of a row share theirs
        raw[0].autoscale(axis="y")
        low, high = raw[0].get_ylim()
        raw[0].set_ylim(min(low, 0), high)
    return figure


def _in_style(figure: Figure, height: float) -> Figure:
    """Ground, width and type of the book's, and the legend below the panels."""
    figure.set_size_inches(drawing.WIDTH, height)
    figure.set_dpi(drawing.DPI)
    drawing.clear(figure)
    for ax in figure.axes:
        if ax.get_label() == "<colorbar>":
            ax.tick_params(labelsize=drawing.SMALL)
            ax.yaxis.label.set_fontsize(drawing.LABEL)
            continue
        drawing.dress(ax)
        if ax.images:
            ax.grid(False)
        title = ax.get_title() or ax.get_title(loc="left")
        ax.set_title("", loc="left")
        ax.set_title(title)
    for legend in figure.legends[:]:
        labels = [text.get_text() for text in legend.get_texts()]
        legend.remove()
        drawing.legend_below(figure, legend.legend_handles, labels, 2)
    return figure
