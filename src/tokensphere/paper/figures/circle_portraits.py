"""Phase portraits on the circle, for D = 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D

from tokensphere.circle import KINDS, Portrait

from . import drawing, plotly_pages
from .drawing import COLOURS

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SEVERAL = "several at once"
_HUES = dict(zip((*KINDS, _SEVERAL), (COLOURS[0], COLOURS[2], COLOURS[1], COLOURS[3]), strict=True))
_SYMBOLS = dict(zip(_HUES, ("circle", "diamond", "square", "star"), strict=True))
_MARKS = dict(zip(_HUES, "oDs*", strict=True))
_PALE = "#aaaaaa"
"""Of zeros that attract from one side."""


def circles(
    panels: Sequence[tuple[str, Sequence[Portrait]]],
    labels: Sequence[str],
    name: str,
    prefix: str = "",
) -> plotly_pages.Turnable:
    """Phase portraits on the circle, one panel beside another, with a slider through them.

    Arcs have the colour of the kind of limit that they flow to, with arrows; markers are zeros,
    filled if attracting, hollow if repelling, filled with grey if semi-stable.

    Args:
        panels: title and portraits of each, as many portraits as labels; two panels a row.
        labels: what the slider shows at each portrait, after `prefix`.
        name: id of the button on its page that starts it.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    rows = -(-len(panels) // 2)
    titles = [title for title, _ in panels]
    spaces = {"horizontal_spacing": 0.03, "vertical_spacing": 0.09}
    figure = make_subplots(rows, 2, subplot_titles=titles, **spaces)
    for kind, colour in _HUES.items():
        marker = {"symbol": _SYMBOLS[kind], "size": 9, "color": colour}
        style = {"mode": "lines+markers", "line": _arc(kind), "marker": marker}
        figure.add_trace(go.Scatter(x=[None], y=[None], name=kind, **style))
    for index, (_, portraits) in enumerate(panels):
        for trace in _circle_traces(portraits[0]):
            figure.add_trace(trace, index // 2 + 1, index % 2 + 1)
    frames = [
        [trace for _, portraits in panels for trace in _circle_traces(portraits[step])]
        for step in range(len(labels))
    ]
    plotly_pages.slide(figure, frames, labels, prefix)
    axis = {"visible": False, "range": [-1.12, 1.12], "fixedrange": True}
    figure.update_xaxes(axis, constrain="domain")
    figure.update_yaxes(axis)
    figure.for_each_yaxis(lambda y: y.update(scaleanchor=y.anchor))
    legend = {"orientation": "h", "y": -0.02, "yanchor": "top", "x": 0.5, "xanchor": "center"}
    margin = {"l": 5, "r": 5, "t": 30, "b": 5}
    figure.update_layout(height=260 * rows + 90, margin=margin, legend=legend)
    return plotly_pages.turnable(figure, name, _still(panels, f"{prefix}{labels[0]}"))


def _still(panels: Sequence[tuple[str, Sequence[Portrait]]], label: str) -> Figure:
    """The first step of the slider, on paper."""
    rows = -(-len(panels) // 2)
    figure, array = drawing.axes(2, rows, height=2.6)
    for ax, (title, portraits) in zip(array.flat, panels, strict=False):
        ax.set_title(title)
        _draw(ax, portraits[0])
    for ax in array.flat:
        ax.set(xlim=(-1.12, 1.12), ylim=(-1.12, 1.12), aspect="equal")
        ax.axis("off")
    figure.suptitle(label, fontsize=drawing.LABEL)
    keys = [
        Line2D([], [], color=colour, marker=_MARKS[kind], lw=3, label=kind)
        for kind, colour in _HUES.items()
    ]
    drawing.legend_below(figure, keys, list(_HUES), 4)
    return figure


def _draw(ax: Axes, portrait: Portrait) -> None:
    hues, angles, signs, ends = _arcs(portrait)
    for low, high, sign, end in zip(angles, angles[1:], signs, ends, strict=False):
        turn, colour = np.linspace(low, high, 60), _HUES[hues[end]]
        ax.plot(np.cos(turn), np.sin(turn), color=colour, lw=3.5, solid_capstyle="butt")
        way = np.array([low + high, low + high + 0.02 * sign]) / 2
        start, tip = np.transpose([0.88 * np.cos(way), 0.88 * np.sin(way)])
        arrow = {"arrowstyle": "-|>", "color": colour, "mutation_scale": 12}
        ax.annotate("", tip, start, arrowprops=arrow)
    for zero, hue, angle in zip(portrait.zeros, hues, angles, strict=False):
        colour = _HUES[hue]
        filled = {"attracting": colour, "repelling": "white"}.get(zero.stability, _PALE)
        style = {"mfc": filled, "mec": colour, "mew": 1.6, "ms": 11 if hue == _SEVERAL else 8}
        ax.plot(np.cos(angle), np.sin(angle), _MARKS[hue], zorder=5, **style)


def _arcs(portrait: Portrait) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Hues and angles of zeros, the last angle a full turn; of each arc its sign, and the zero
    that it flows to."""
    hues = [_hue(zero.kinds) for zero in portrait.zeros]
    angles = np.array([*(float(zero.angle) for zero in portrait.zeros), 2 * np.pi])
    signs = np.array(portrait.signs)
    ends = (np.arange(len(hues)) + (signs > 0)) % len(hues)
    return hues, angles, signs, ends


def _circle_traces(portrait: Portrait) -> list[go.Scatter]:
    """One trace of arcs for each of _HUES, then arrows, then zeros: always as many traces."""
    import plotly.graph_objects as go

    zeros = portrait.zeros
    hues, angles, signs, ends = _arcs(portrait)
    traces = []
    for hue in _HUES:
        arcs = [i for i, end in enumerate(ends) if hues[end] == hue]
        # Steps of at most 7.5 degrees: the chord is within 0.3% of the arc.
        turns = [
            np.linspace(low, high, 2 + int((high - low) / 0.13))
            for low, high in zip(angles[arcs], angles[1:][arcs], strict=True)
        ]
        x, y = ([c for turn in turns for c in (*_round(f(turn)), None)] for f in (np.cos, np.sin))
        traces.append(go.Scatter(x=x or [None], y=y or [None], mode="lines", line=_arc(hue)))
    middle = (angles[:-1] + angles[1:]) / 2
    arrows = {
        "symbol": "arrow",
        "size": 13,
        "color": [_HUES[hues[end]] for end in ends],
        # Clockwise from upwards; upwards is the direction of travel at angle 0.
        "angle": (np.where(signs > 0, 0, 180) - np.degrees(middle)).round(1).tolist(),
    }
    traces.append(_marks(0.88 * np.cos(middle), 0.88 * np.sin(middle), arrows))
    for trace in traces:
        trace.hoverinfo = "skip"
    filled = [zero.stability in ("attracting", "repelling") for zero in zeros]
    repelling = [zero.stability == "repelling" for zero in zeros]
    marker = {
        "symbol": [_SYMBOLS[h] + "-open" * r for h, r in zip(hues, repelling, strict=True)],
        # An open symbol is drawn in its colour, a filled one is edged with the line's.
        "color": [_HUES[h] if f else _PALE for h, f in zip(hues, filled, strict=True)],
        "size": 13,
        "line": {"width": 2, "color": [_HUES[hue] for hue in hues]},
    }
    text = [
        f"{np.degrees(float(z.angle)):.0f}°: {' and '.join(z.kinds)}, {z.stability}" for z in zeros
    ]
    traces.append(_marks(np.cos(angles[:-1]), np.sin(angles[:-1]), marker))
    traces[-1].update(text=text, hovertemplate="%{text}<extra></extra>")
    for trace in traces:
        trace.showlegend = False
    return traces


def _marks(x: np.ndarray, y: np.ndarray, marker: dict) -> go.Scatter:
    import plotly.graph_objects as go

    return go.Scatter(x=_round(x), y=_round(y), mode="markers", marker=marker)


def _round(values: np.ndarray) -> list[float]:
    return values.round(3).tolist()


def _arc(hue: str) -> dict:
    return {"color": _HUES[hue], "width": 5}


def _hue(kinds: Sequence[str]) -> str:
    return kinds[0] if len(kinds) == 1 else _SEVERAL
