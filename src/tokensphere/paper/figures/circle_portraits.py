"""Phase portraits on the circle, for D = 2."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML
from plotly.subplots import make_subplots

from tokensphere.circle import KINDS, Portrait
from tokensphere.sinks.style import COLOURS


def circles(
    panels: Sequence[tuple[str, Sequence[Portrait]]],
    labels: Sequence[str],
    name: str,
    prefix: str = "",
) -> HTML:
    """Phase portraits on the circle, one panel beside another, with a slider through them.

    Arcs have the colour of the kind of limit that they flow to, with arrows; markers are zeros,
    filled if attracting, hollow if repelling, filled with grey if semi-stable. Everything is
    computed beforehand: the page needs no kernel.

    Args:
        panels: title and portraits of each, as many portraits as labels; two panels a row.
        labels: what the slider shows at each portrait, after `prefix`.
        name: id of the figure on its page; fixed, so that two builds give the same page.
    Returns:
        HTML without plotly's own script: the page brings it.
    """
    rows = -(-len(panels) // 2)
    figure = make_subplots(
        rows,
        2,
        subplot_titles=[title for title, _ in panels],
        horizontal_spacing=0.03,
        vertical_spacing=0.09,
    )
    for (kind, colour), symbol in zip(_HUES.items(), _SYMBOLS.values(), strict=True):
        marker = {"symbol": symbol, "size": 9, "color": colour}
        line = {"color": colour, "width": 5}
        figure.add_trace(
            go.Scatter(
                x=[None], y=[None], mode="lines+markers", name=kind, line=line, marker=marker
            )
        )
    for index, (_, portraits) in enumerate(panels):
        for trace in _circle_traces(portraits[0]):
            figure.add_trace(trace, index // 2 + 1, index % 2 + 1)
    moving = list(range(len(_HUES), len(figure.data)))
    figure.frames = [
        go.Frame(
            data=[t for _, portraits in panels for t in _circle_traces(portraits[step])],
            traces=moving,
            name=str(step),
        )
        for step in range(len(labels))
    ]
    still = {"mode": "immediate", "frame": {"duration": 0}, "transition": {"duration": 0}}
    steps = [
        {"method": "animate", "label": label, "args": [[str(step)], still]}
        for step, label in enumerate(labels)
    ]
    for index in range(2 * rows):
        row, column = divmod(index, 2)
        axis = {"visible": False, "range": [-1.12, 1.12], "fixedrange": True}
        figure.update_xaxes(axis, constrain="domain", row=row + 1, col=column + 1)
        anchor = f"x{index + 1 if index else ''}"
        figure.update_yaxes(axis, scaleanchor=anchor, row=row + 1, col=column + 1)
    figure.update_layout(
        height=260 * rows + 150,
        margin={"l": 5, "r": 5, "t": 30, "b": 5},
        legend={"orientation": "h", "y": -0.02, "yanchor": "top", "x": 0.5, "xanchor": "center"},
        sliders=[
            {"steps": steps, "y": -0.14, "pad": {"t": 10}, "currentvalue": {"prefix": prefix}}
        ],
    )
    html = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=name,
        auto_play=False,
        config={"displayModeBar": False},
    )
    return HTML(html)


_SEVERAL = "several at once"
_HUES = dict(zip((*KINDS, _SEVERAL), (COLOURS[0], COLOURS[2], COLOURS[1], COLOURS[3]), strict=True))
_SYMBOLS = dict(zip(_HUES, ("circle", "diamond", "square", "star"), strict=True))


def _circle_traces(portrait: Portrait) -> list[go.Scatter]:
    """One trace of arcs for each of _HUES, then arrows, then zeros: always as many traces."""
    arcs: dict[str, tuple[list, list]] = {hue: ([], []) for hue in _HUES}
    angles = [*(float(zero.angle) for zero in portrait.zeros), 2 * np.pi]
    arrows, hues = [], []
    for index, sign in enumerate(portrait.signs):
        low, high = angles[index], angles[index + 1]
        hue = _hue(portrait.zeros[(index + (sign > 0)) % len(portrait.zeros)].kinds)
        # Steps of at most 7.5 degrees: the chord is within 0.3% of the arc.
        arc = np.linspace(low, high, 2 + int((high - low) / 0.13))
        for values, curve in zip(arcs[hue], (np.cos(arc), np.sin(arc)), strict=True):
            values += [*curve.round(3).tolist(), None]
        arrows.append(((low + high) / 2, sign))
        hues.append(_HUES[hue])
    traces = [
        go.Scatter(
            x=x or [None],
            y=y or [None],
            mode="lines",
            line={"color": _HUES[hue], "width": 5},
            hoverinfo="skip",
        )
        for hue, (x, y) in arcs.items()
    ]
    traces.append(
        go.Scatter(
            x=[round(0.88 * np.cos(angle), 3) for angle, _ in arrows],
            y=[round(0.88 * np.sin(angle), 3) for angle, _ in arrows],
            mode="markers",
            marker={
                "symbol": "arrow",
                "size": 13,
                "color": hues,
                # Clockwise from upwards; upwards is the direction of travel at angle 0.
                "angle": [round((0 if s > 0 else 180) - np.degrees(a), 1) for a, s in arrows],
            },
            hoverinfo="skip",
        )
    )
    hues = [_HUES[_hue(zero.kinds)] for zero in portrait.zeros]
    traces.append(
        go.Scatter(
            x=[round(np.cos(angle), 3) for angle in angles[:-1]],
            y=[round(np.sin(angle), 3) for angle in angles[:-1]],
            mode="markers",
            marker={
                "symbol": [
                    _SYMBOLS[_hue(z.kinds)] + "-open" * (z.stability == "repelling")
                    for z in portrait.zeros
                ],
                # An open symbol is drawn in its colour, a filled one is edged with the line's.
                "color": [
                    hue if z.stability in ("attracting", "repelling") else "#aaaaaa"
                    for hue, z in zip(hues, portrait.zeros, strict=True)
                ],
                "size": 13,
                "line": {"width": 2, "color": hues},
            },
            text=[
                f"{np.degrees(float(z.angle)):.0f}°: {' and '.join(z.kinds)}, {z.stability}"
                for z in portrait.zeros
            ],
            hovertemplate="%{text}<extra></extra>",
        )
    )
    for trace in traces:
        trace.showlegend = False
    return traces


def _hue(kinds: Sequence[str]) -> str:
    return kinds[0] if len(kinds) == 1 else _SEVERAL
