"""The figures that the report on sinks draws of its scores, as the book's figures look."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from tokensphere.sinks.report import figures as report

from . import drawing

Scores = Mapping[str, Any]
"""Data of :func:`tokensphere.sinks.report.measure_model`."""

PANEL = 2.1
"""Inches, of one row of three."""


def by_layer(scores: Scores, quantity: str) -> Figure:
    """:func:`tokensphere.sinks.report.figures.sinks_by_layer`."""
    figure = _in_style(report.sinks_by_layer(scores, quantity), 3 * PANEL)
    for ax in figure.axes:
        if ax.get_xlabel():
            ax.set_xlabel("layer, from 0")  # the report has the model's own names
    return figure


def by_position(scores: Scores, quantity: str) -> Figure:
    """:func:`tokensphere.sinks.report.figures.sinks_by_position`."""
    return _in_style(report.sinks_by_position(scores, quantity), 3 * PANEL)


def maps(scores: Scores, variant: str) -> Figure:
    """:func:`tokensphere.sinks.report.figures.attention_maps`."""
    figure = report.attention_maps(scores, variant)
    for ax, found in zip(figure.axes, scores["maps"], strict=False):
        ax.set_title(f"layer {found['index']}{', backward' if found['reverse'] else ''}")
    columns = min(3, len(scores["maps"]))
    rows = -(-len(scores["maps"]) // columns)
    return _in_style(figure, 0.5 + rows * (6.0 / columns + 0.3))


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
