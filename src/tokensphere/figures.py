"""How the book draws: one palette, trajectories on the sphere, error curves, verdicts.

The rest of the library neither prints nor plots.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML, Markdown
from matplotlib.figure import Figure
from plotly.subplots import make_subplots
from torch import Tensor

from . import claims
from .circle import KINDS, Portrait
from .flow import Trajectory

__all__ = [
    "COLOURS",
    "axes",
    "circles",
    "ledger_table",
    "sphere",
    "static_sphere",
    "verdicts",
    "zeros_of_the_form",
]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's palette, told apart by colour-blind readers too."""

MARKS = {
    "definition": "a definition, computed as printed",
    "holds": "holds",
    "corrected": "holds after a correction",
    "fails": "fails",
    "gap": "holds as far as checked; the proof has a gap",
    "open": "open",
}


def axes(columns: int = 1, rows: int = 1, **options) -> tuple[Figure, np.ndarray]:
    """A figure of the book's width with `rows` x `columns` axes: (figure, array of axes)."""
    figure, array = plt.subplots(
        rows,
        columns,
        figsize=(8.0, 3.4 * rows),
        squeeze=False,
        layout="constrained",
        **options,
    )
    for ax in array.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, linewidth=0.5)
    return figure, array


def zeros_of_the_form(S_BC: Tensor, points: int = 200) -> list[np.ndarray]:
    """The curves <y, S_BC y> = 0 on the sphere of R^3: arrays (points, 3), none if definite.

    In the eigenbasis of the symmetric part, with the eigenvalue of the odd sign last, they are
    y_3^2 |l_3| = l_1 y_1^2 + l_2 y_2^2.
    """
    values, vectors = np.linalg.eigh(as_numpy((S_BC + S_BC.mT) / 2))
    if (values > 0).sum() == 2:
        values, vectors = values[::-1], vectors[:, ::-1]
    if values[0] * values[2] >= 0:
        return []
    angle = np.linspace(0, 2 * np.pi, points)
    ring = np.stack(
        [
            np.cos(angle) / np.sqrt(abs(values[0])),
            np.sin(angle) / np.sqrt(abs(values[1])),
            np.full(points, 1 / np.sqrt(abs(values[2]))),
        ],
        axis=1,
    )
    ring = ring / np.linalg.norm(ring, axis=1, keepdims=True) @ vectors.T
    return [ring, -ring]


def static_sphere(
    ax,
    trajectory: Trajectory,
    colours: Sequence[str],
    curves: Sequence[np.ndarray] = (),
    title: str = "",
) -> None:
    """Draws on 3-D axes what :func:`sphere` draws for turning."""
    tokens = as_numpy(trajectory.tokens)
    u, v = np.mgrid[0 : 2 * np.pi : 40j, 0 : np.pi : 20j]
    globe = np.cos(u) * np.sin(v), np.sin(u) * np.sin(v), np.cos(v)
    ax.plot_surface(*globe, color="#bbbbbb", alpha=0.12, linewidth=0)
    for curve in curves:
        ax.plot(*curve.T, color=COLOURS[1], linewidth=1.5, linestyle="--")
    for index, colour in enumerate(colours):
        ax.plot(*tokens[:, index].T, color=colour, linewidth=0.8)
    ax.scatter(*tokens[-1].T, c=list(colours), s=14, depthshade=False)
    for sign, mark in ((1, ""), (-1, "−")):
        for axis, position in enumerate(1.18 * sign * np.eye(3)):
            ax.text(*position, f"${mark}e_{axis + 1}$", ha="center", va="center", fontsize=8)
    ax.set(title=title, xlim=(-0.8, 0.8), ylim=(-0.8, 0.8), zlim=(-0.8, 0.8))
    ax.set_box_aspect((1, 1, 1))
    ax.set_axis_off()
    ax.view_init(elev=22, azim=38)


def sphere(
    trajectory: Trajectory,
    name: str,
    colours: Sequence[str] | None = None,
    curves: Sequence[np.ndarray] = (),
) -> HTML:
    """Trajectories on the unit sphere of R^3 that a reader can turn, as HTML for a notebook.

    Args:
        trajectory: tokens (T, L, 3); one curve a token, a ring at its start, a dot at its end.
        name: id of the figure on its page; fixed, so that two builds give the same page.
        colours: one for each token; the first token is drawn thicker if there are several hues.
        curves: dashed curves on the sphere, each (points, 3).
    Returns:
        HTML without plotly's own script: the page brings it.
    """
    tokens = trajectory.tokens.detach().cpu().numpy()
    # Three decimals are a tenth of a pixel; more only makes the page heavy.
    tokens = np.round(tokens, 3)
    count = tokens.shape[1]
    colours = list(colours or [COLOURS[0]] * count)
    figure = go.Figure(_globe())
    for curve in curves:
        x, y, z = np.round(curve, 3).T
        line = {"color": COLOURS[1], "width": 4, "dash": "dash"}
        figure.add_trace(
            go.Scatter3d(x=x, y=y, z=z, mode="lines", line=line, hoverinfo="skip", showlegend=False)
        )
    for index in range(count):
        x, y, z = tokens[:, index].T
        width = 7 if index == 0 and len(set(colours)) > 1 else 3
        line = {"color": colours[index], "width": width}
        figure.add_trace(
            go.Scatter3d(
                x=x, y=y, z=z, mode="lines", line=line, name=f"token {index + 1}", showlegend=False
            )
        )
    for moment, symbol, size in ((0, "circle-open", 3), (-1, "circle", 5)):
        x, y, z = tokens[moment].T
        marker = {"color": colours, "symbol": symbol, "size": size}
        label = "start" if moment == 0 else "end"
        figure.add_trace(
            go.Scatter3d(x=x, y=y, z=z, mode="markers", marker=marker, name=label, showlegend=False)
        )
    axis = {"visible": False, "range": [-1.15, 1.15]}
    figure.update_layout(
        height=440,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        scene={
            "xaxis": axis,
            "yaxis": axis,
            "zaxis": axis,
            "aspectmode": "cube",
            "camera": {"eye": {"x": 1.1, "y": 1.1, "z": 0.7}},
        },
    )
    return HTML(figure.to_html(full_html=False, include_plotlyjs=False, div_id=name))


def _globe() -> list:
    """A faint sphere with the six coordinate vectors marked."""
    u, v = np.mgrid[0 : 2 * np.pi : 40j, 0 : np.pi : 20j]
    surface = go.Surface(
        x=np.round(np.cos(u) * np.sin(v), 3),
        y=np.round(np.sin(u) * np.sin(v), 3),
        z=np.round(np.cos(v), 3),
        opacity=0.18,
        showscale=False,
        colorscale=[[0, "#888888"], [1, "#888888"]],
        hoverinfo="skip",
    )
    tips = 1.06 * np.vstack([np.eye(3), -np.eye(3)])
    names = [f"{sign}e<sub>{d}</sub>" for sign in ("", "−") for d in (1, 2, 3)]
    labels = go.Scatter3d(
        x=tips[:, 0],
        y=tips[:, 1],
        z=tips[:, 2],
        mode="text",
        text=names,
        hoverinfo="skip",
        showlegend=False,
    )
    return [surface, labels]


def circles(
    panels: Sequence[tuple[str, Sequence[Portrait]]], labels: Sequence[str], name: str
) -> HTML:
    """Phase portraits on the circle, one panel beside another, with a slider through them.

    Arcs have the colour of the kind of limit that they flow to, with arrows; markers are zeros,
    filled if attracting, hollow if repelling, hollow with a dot if semi-stable. Everything is
    computed beforehand: the page needs no kernel.

    Args:
        panels: title and portraits of each, as many portraits as labels; two panels a row.
        labels: what the slider shows at each portrait.
        name: id of the figure on its page; fixed, so that two builds give the same page.
    Returns:
        HTML without plotly's own script: the page brings it.
    """
    rows = -(-len(panels) // 2)
    figure = make_subplots(rows, 2, subplot_titles=[title for title, _ in panels])
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
        axis = {"visible": False, "range": [-1.25, 1.25], "fixedrange": True}
        figure.update_xaxes(axis, constrain="domain", row=row + 1, col=column + 1)
        anchor = f"x{index + 1 if index else ''}"
        figure.update_yaxes(axis, scaleanchor=anchor, row=row + 1, col=column + 1)
    figure.update_layout(
        height=260 * rows + 150,
        margin={"l": 5, "r": 5, "t": 30, "b": 5},
        legend={"orientation": "h", "y": -0.02, "yanchor": "top", "x": 0.5, "xanchor": "center"},
        sliders=[{"steps": steps, "y": -0.12, "pad": {"t": 10}, "len": 1}],
    )
    return HTML(figure.to_html(full_html=False, include_plotlyjs=False, div_id=name))


_SEVERAL = "two kinds at once"
_HUES = dict(zip((*KINDS, _SEVERAL), (COLOURS[0], COLOURS[2], COLOURS[1], COLOURS[3]), strict=True))
_SYMBOLS = dict(zip(_HUES, ("circle", "diamond", "square", "star"), strict=True))


def _circle_traces(portrait: Portrait) -> list[go.Scatter]:
    """One trace of arcs for each of _HUES, then arrows, then zeros: always as many traces."""
    arcs: dict[str, list[np.ndarray]] = {hue: [] for hue in _HUES}
    angles = [*(float(zero.angle) for zero in portrait.zeros), 2 * np.pi]
    arrows, hues = [], []
    for index, sign in enumerate(portrait.signs):
        low, high = angles[index], angles[index + 1]
        hue = _hue(portrait.zeros[(index + (sign > 0)) % len(portrait.zeros)].kinds)
        # Steps of at most 7.5 degrees: the chord is within 0.3% of the arc.
        arc = np.linspace(low, high, 2 + int((high - low) / 0.13))
        arcs[hue] += [np.stack([np.cos(arc), np.sin(arc)]).round(3), np.full((2, 1), np.nan)]
        arrows.append(((low + high) / 2, sign))
        hues.append(_HUES[hue])
    traces = []
    for hue, pieces in arcs.items():
        x, y = np.concatenate(pieces or [np.full((2, 1), np.nan)], axis=1)
        traces.append(
            go.Scatter(
                x=[None if np.isnan(v) else v for v in x.tolist()],
                y=[None if np.isnan(v) else v for v in y.tolist()],
                mode="lines",
                line={"color": _HUES[hue], "width": 5},
                hoverinfo="skip",
            )
        )
    traces.append(
        go.Scatter(
            x=[round(0.88 * np.cos(angle), 3) for angle, _ in arrows],
            y=[round(0.88 * np.sin(angle), 3) for angle, _ in arrows],
            mode="markers",
            marker={
                "symbol": "arrow",
                "size": 11,
                "color": hues,
                # Clockwise from upwards; upwards is the direction of travel at angle 0.
                "angle": [round((0 if s > 0 else 180) - np.degrees(a), 1) for a, s in arrows],
            },
            hoverinfo="skip",
        )
    )
    fill = {"attracting": "", "repelling": "-open"}
    traces.append(
        go.Scatter(
            x=[round(np.cos(angle), 3) for angle in angles[:-1]],
            y=[round(np.sin(angle), 3) for angle in angles[:-1]],
            mode="markers",
            marker={
                "symbol": [
                    _SYMBOLS[_hue(z.kinds)] + fill.get(z.stability, "-open-dot")
                    for z in portrait.zeros
                ],
                "color": [_HUES[_hue(z.kinds)] for z in portrait.zeros],
                "size": 13,
                "line": {"width": 2},
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


def verdicts(*ids: str, seed: int = 0) -> Markdown:
    """Runs the checks of the named claims and shows statement, verdict and evidence of each.

    Raises:
        AssertionError: a verdict that its evidence does not confirm, which fails the chapter.
    """
    blocks = []
    for id in ids:
        outcome = claims.check(id, seed)
        assert outcome.confirmed, f"{id}: {outcome.evidence}"
        claim = outcome.claim
        lines = [f"**{claim.where}: {MARKS[claim.verdict]}.** {claim.statement}"]
        if claim.correction:
            word = "The gap" if claim.verdict == "gap" else "Correction"
            lines.append(f"*{word}:* {claim.correction}")
        for name, evidence in outcome.evidence.items():
            numbers = "; ".join(f"{key} {_short(value)}" for key, value in evidence.numbers.items())
            result = "passes" if evidence.passed else "does not pass"
            lines.append(f"*Check of the {_ROLES[name]}* {result}: {numbers}.")
        if claim.remains:
            lines.append(f"*Remains:* {claim.remains}")
        blocks.append("\n\n".join(lines))
    return Markdown("\n\n---\n\n".join(blocks))


_ROLES = {
    "stated": "statement as printed",
    "control": "negative control",
    "corrected": "corrected statement",
}


def ledger_table() -> Markdown:
    """The ledger as a table: where, verdict, statement with its correction, and the chapter."""
    rows = ["| claim | verdict | statement |", "| --- | --- | --- |"]
    for claim in claims.LEDGER.values():
        text = claim.statement
        if claim.correction:
            text += f" *{'Gap' if claim.verdict == 'gap' else 'Correction'}:* {claim.correction}"
        where = f"[{claim.where}]({claim.chapter}.md)"
        rows.append(f"| {where}, `{claim.id}` | {MARKS[claim.verdict]} | {text} |")
    return Markdown("\n".join(rows))


def _short(value) -> str:
    """A number to three digits, as it is shown to a reader."""
    if isinstance(value, bool) or not isinstance(value, float):
        return f"[{', '.join(map(_short, value))}]" if isinstance(value, list) else str(value)
    return f"{value:.3g}"


def as_numpy(value: Tensor) -> np.ndarray:
    """A tensor as matplotlib takes it."""
    return value.detach().cpu().numpy()
