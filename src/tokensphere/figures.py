"""How the book draws: one palette, trajectories on the sphere, error curves, verdicts.

The rest of the library neither prints nor plots.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
import torch
from IPython.display import HTML, Markdown
from matplotlib.figure import Figure
from plotly.subplots import make_subplots
from torch import Tensor

from . import claims
from .circle import KINDS, Portrait
from .first_token import Equilibrium, equilibria
from .flow import FirstTokenFlow, Trajectory, simulate

__all__ = [
    "COLOURS",
    "axes",
    "circles",
    "ledger_table",
    "portrait",
    "sphere",
    "static_portrait",
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
    y_3^2 |l_3| = l_1 y_1^2 + l_2 y_2^2. If l_2 = 0, to rounding, that is two great circles. A
    semidefinite form has no curve here: its zeros are its kernel.
    """
    values, vectors = np.linalg.eigh(as_numpy((S_BC + S_BC.mT) / 2))
    if (values > 0).sum() == 2:
        values, vectors = values[::-1], vectors[:, ::-1]
    if values[0] * values[2] >= 0:
        return []
    angle = np.linspace(0, 2 * np.pi, points)
    if abs(values[1]) <= 1e-12 * abs(values).max():
        ends = vectors[:, [0, 2]] / np.sqrt(abs(values[[0, 2]]))
        across = [ends[:, 0] + ends[:, 1], ends[:, 0] - ends[:, 1]]
        return [
            np.outer(np.cos(angle), vectors[:, 1])
            + np.outer(np.sin(angle), vector / np.linalg.norm(vector))
            for vector in across
        ]
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


def _globe(colour: str = "#888888") -> list:
    """A faint sphere with the six coordinate vectors marked."""
    u, v = np.mgrid[0 : 2 * np.pi : 40j, 0 : np.pi : 20j]
    surface = go.Surface(
        x=np.round(np.cos(u) * np.sin(v), 3),
        y=np.round(np.sin(u) * np.sin(v), 3),
        z=np.round(np.cos(v), 3),
        opacity=0.18,
        showscale=False,
        colorscale=[[0, colour], [1, colour]],
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


STABILITIES = {
    # word: colour, plotly's and matplotlib's mark
    "stable": (COLOURS[2], "circle", "o"),
    "saddle": (COLOURS[4], "diamond", "D"),
    "unstable": (COLOURS[3], "circle-open", "o"),
    "degenerate": (COLOURS[0], "x", "x"),
}
_ZEROS = "zeros of the form"


def static_portrait(
    ax, S_BC: Tensor, S_Delta: Tensor, title: str = "", elev: float = 22, azim: float = 38
) -> None:
    """Draws on 3-D axes what :func:`portrait` draws for turning; the far side fainter.

    Args: S_BC and S_Delta as for :func:`portrait`; elev and azim, degrees, as matplotlib's.
    """
    elevation, azimuth = np.radians([elev, azim])
    eye = np.array([*(np.cos(elevation) * f(azimuth) for f in (np.cos, np.sin)), np.sin(elevation)])
    lines, arrows, points, families, colour = _portrait(S_BC, S_Delta)
    u, v = np.mgrid[0 : 2 * np.pi : 40j, 0 : np.pi : 20j]
    globe = np.cos(u) * np.sin(v), np.sin(u) * np.sin(v), np.cos(v)
    ax.plot_surface(*globe, color=colour, alpha=0.12, linewidth=0)

    def curve(points: np.ndarray, label: str = "", **style) -> None:
        near = points @ eye >= 0
        for side, strength in ((near, 1.0), (~near, 0.25)):
            # The step to the other side belongs to both.
            shown = side | np.roll(side, 1) | np.roll(side, -1)
            ax.plot(*np.where(shown[:, None], points, np.nan).T, alpha=strength, **style)
        if label:
            ax.plot([], [], [], label=label, **style)

    for line in lines:
        curve(line, color="#888888", linewidth=0.7)
    tails, heads = arrows[:, 0], arrows[:, 1] - arrows[:, 0]
    near = tails @ eye >= 0
    heads = 0.09 * heads[near] / np.linalg.norm(heads[near], axis=1, keepdims=True)
    style = {"color": "#666666", "linewidth": 1.1, "arrow_length_ratio": 0.8}
    ax.quiver(*tails[near].T, *heads.T, **style)
    for index, ring in enumerate(zeros_of_the_form(S_BC)):
        style = {"color": COLOURS[1], "linewidth": 1.5, "linestyle": "--"}
        curve(ring, "" if index else _ZEROS, **style)
    for index, ring in enumerate(families):
        style = {"color": STABILITIES["degenerate"][0], "linewidth": 2.5}
        curve(ring, "" if index else "family", **style)
    for word, (hue, _, mark) in STABILITIES.items():
        here = [point for point in points if point.stability == word]
        fill = "none" if word == "unstable" else hue
        style = {"color": hue, "marker": mark, "markerfacecolor": fill, "linestyle": "none"}
        style |= {"markersize": 6, "markeredgewidth": 1.6, "zorder": 10}
        for point in here:
            position = as_numpy(point.point)
            strength = 1.0 if position @ eye >= 0 else 0.35
            ax.plot(*(1.01 * position)[:, None], alpha=strength, **style)
        if here:
            ax.plot([], [], [], label=word, **style)
    for sign, mark in ((1, ""), (-1, "−")):
        for axis, position in enumerate(1.22 * sign * np.eye(3)):
            ax.text(*position, f"${mark}e_{axis + 1}$", ha="center", va="center", fontsize=8)
    ax.set(title=title, xlim=(-0.75, 0.75), ylim=(-0.75, 0.75), zlim=(-0.75, 0.75))
    ax.set_box_aspect((1, 1, 1))
    ax.set_axis_off()
    ax.view_init(elev=elev, azim=azim)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=5, fontsize=7, frameon=False,
              columnspacing=1.0, handletextpad=0.4)  # fmt: skip


def portrait(S_BC: Tensor, S_Delta: Tensor, name: str) -> HTML:
    """The phase portrait of eq (9) on the unit sphere of R^3, to turn, as HTML for a notebook.

    Grey: trajectories with arrows, from a grid of starts. Marks: every type-1 equilibrium, by
    stability: stable a filled disc, saddle a diamond, unstable a ring, degenerate a cross; a family
    of them is a thick curve, and colours the globe if it is all of it. Dashed: zeros of the form.

    Args:
        S_BC, S_Delta: (3, 3), float64.
        name: id of the figure on its page; fixed, so that two builds give the same page.
    Returns:
        HTML without plotly's own script: the page brings it.
    Raises:
        ValueError: what :func:`tokensphere.first_token.equilibria` refuses, or D other than 3.
    """
    lines, arrows, points, families, colour = _portrait(S_BC, S_Delta)
    figure = go.Figure(_globe(colour))

    def curve(pieces: Sequence[np.ndarray], label: str, **line) -> None:
        if pieces:
            gap = np.full((1, 3), np.nan)
            x, y, z = np.vstack([row for piece in pieces for row in (piece, gap)]).round(3).T
            figure.add_trace(
                go.Scatter3d(x=x, y=y, z=z, mode="lines", line=line, name=label, hoverinfo="skip")
            )

    curve(lines, "trajectories", color="#888888", width=2)
    x, y, z = arrows[:, 0].round(3).T
    heads = arrows[:, 1] - arrows[:, 0]
    u, v, w = (heads / np.linalg.norm(heads, axis=1, keepdims=True)).round(3).T
    grey = [[0, "#888888"], [1, "#888888"]]
    cones = {"colorscale": grey, "showscale": False, "sizemode": "absolute", "sizeref": 0.06}
    figure.add_trace(go.Cone(x=x, y=y, z=z, u=u, v=v, w=w, hoverinfo="skip", **cones))
    curve(zeros_of_the_form(S_BC), _ZEROS, color=COLOURS[1], width=4, dash="dash")
    curve(families, "family", color=STABILITIES["degenerate"][0], width=7)
    for word, (hue, symbol, _) in STABILITIES.items():
        here = [point for point in points if point.stability == word]
        if here:
            x, y, z = (1.01 * np.stack([as_numpy(p.point) for p in here])).round(3).T
            marker = {"color": hue, "symbol": symbol, "size": 5 if symbol == "x" else 7}
            text = [f"{word}, support {', '.join(str(i + 1) for i in p.support)}" for p in here]
            hover = "%{text}<br>(%{x:.2f}, %{y:.2f}, %{z:.2f})<extra></extra>"
            figure.add_trace(
                go.Scatter3d(
                    x=x,
                    y=y,
                    z=z,
                    mode="markers",
                    marker=marker,
                    name=word,
                    text=text,
                    hovertemplate=hover,
                )
            )
    axis = {"visible": False, "range": [-1.15, 1.15]}
    eye = {"x": 1.1, "y": 1.1, "z": 0.7}
    figure.update_layout(
        height=480,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        legend={"orientation": "h", "x": 0.5, "xanchor": "center", "y": 0, "yanchor": "top"},
        scene={
            **dict.fromkeys(("xaxis", "yaxis", "zaxis"), axis),
            "aspectmode": "cube",
            "camera": {"eye": eye},
        },
    )
    return HTML(figure.to_html(full_html=False, include_plotlyjs=False, div_id=name))


def _portrait(
    S_BC: Tensor, S_Delta: Tensor, starts: int = 70, length: float = 2.5
) -> tuple[list[np.ndarray], np.ndarray, list[Equilibrium], list[np.ndarray], str]:
    """Trajectories, each (T, 3); arrows (n, 2, 3), from and to; isolated equilibria; families that
    are circles, each (T, 3); and the globe's colour.

    Trajectories are followed at nearly unit speed: they keep their course, and none is a dot.
    """
    found = equilibria(S_BC, S_Delta)
    if len(S_Delta) != 3:
        raise ValueError(f"S_Delta: shape {tuple(S_Delta.shape)}, takes (3, 3)")
    index = torch.arange(starts, dtype=torch.float64)
    height = 1 - (2 * index + 1) / starts  # Fibonacci's lattice: even on the sphere
    turn = index * torch.pi * (3 - 5**0.5)
    radius = (1 - height**2).sqrt()
    grid = torch.stack([radius * turn.cos(), radius * turn.sin(), height], dim=-1)
    flow = FirstTokenFlow(S_BC, S_Delta)
    typical = flow(grid).norm(dim=-1).mean().clamp(min=1e-300)

    def course(y: Tensor, s: Tensor) -> Tensor:
        velocity = flow(y)
        return velocity / (velocity.norm(dim=-1, keepdim=True) + 0.1 * typical)

    times = torch.linspace(0, length, 81, dtype=torch.float64)
    run = as_numpy(simulate(course, grid, times, rtol=1e-4, atol=1e-6).tokens)
    travelled = np.linalg.norm(np.diff(run, axis=0), axis=-1)
    lines, arrows = [], []
    for token in np.flatnonzero(travelled.sum(0) > 0.02):
        # Points that no longer move only make the page heavy.
        moving = np.flatnonzero(travelled[:, token] > 1e-3)
        line = run[: moving[-1] + 2 if len(moving) else 2, token]
        lines.append(line)
        middle = np.searchsorted(travelled[:, token].cumsum(), 0.35 * travelled[:, token].sum())
        arrows.append(run[[middle, middle + 1], token])
    angle = np.linspace(0, 2 * np.pi, 121)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    bases = [as_numpy(family.basis) for family in found if family.kind == "family"]
    families = [circle @ basis.T for basis in bases if basis.shape[1] == 2]
    everywhere = any(basis.shape[1] == 3 for basis in bases)
    colour = STABILITIES["degenerate"][0] if everywhere else "#888888"
    points = [point for point in found if point.kind != "family"]
    return lines, np.array(arrows).reshape(-1, 2, 3), points, families, colour


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
