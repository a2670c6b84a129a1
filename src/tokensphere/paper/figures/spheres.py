"""Tokens on the unit sphere of R^3: to turn, in time with a slider, and on paper."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike
from torch import Tensor

from tokensphere.first_token.zeros import zero_curves
from tokensphere.flow import Trajectory

from . import drawing, plotly_pages
from .drawing import COLOURS, DARK_GREY, GREY, as_numpy

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.figure import Figure


def zeros_of_the_form(S_BC: Tensor) -> list[np.ndarray]:
    """The curves <y, S_BC y> = 0 on the sphere of R^3, (200, 3) each, none if it has one sign."""
    return [as_numpy(curve) for curve in zero_curves(S_BC)]


def static_globe(
    ax: Axes,
    title: str = "",
    elev: float = 22,
    azim: float = 38,
    colour: str = GREY,
    reach: float = 0.72,
    tips: float = 1.2,
) -> None:
    """A faint sphere on 3-D axes, seen from `elev` and `azim`, in degrees as matplotlib's.

    Args:
        reach: of the axes, half of a side. tips: how far out the coordinate vectors' names are.
    """
    ax.plot_surface(*_mesh(), color=colour, alpha=0.14, linewidth=0, rasterized=True)
    for sign, mark in ((1, ""), (-1, "−")):
        for axis, position in enumerate(tips * sign * np.eye(3)):
            # Some are behind the globe: black would be grey there, and lost on a dark page.
            name = {"s": f"${mark}e_{axis + 1}$", "fontsize": drawing.SMALL, "color": DARK_GREY}
            ax.text(*position, **name, ha="center", va="center")
    ax.set(title=title, **dict.fromkeys(("xlim", "ylim", "zlim"), (-reach, reach)))
    ax.set_box_aspect((1, 1, 1))
    ax.set_axis_off()
    ax.view_init(elev=elev, azim=azim)


def along_the_sphere(points: ArrayLike, step: float = 0.06) -> np.ndarray:
    """Points (n, 3) of the unit sphere with others between, on great circles, `step` apart at most.

    The straight line between two tokens of a trajectory with few times leads through the ball.
    """
    points = np.asarray(points)
    pieces = [points[:1]]
    for start, end in pairwise(points):
        angle = np.arccos(np.clip(start @ end, -1, 1))
        count = max(1, int(np.ceil(angle / step)))
        shares = np.arange(1, count + 1)[:, None] / count
        if count == 1 or np.isclose(angle, np.pi):  # antipodes are on many great circles
            pieces.append(end[None])
        else:
            weights = np.sin((1 - shares) * angle), np.sin(shares * angle)
            pieces.append((weights[0] * start + weights[1] * end) / np.sin(angle))
    return np.concatenate(pieces)


def is_near(ax: Axes, points: np.ndarray) -> np.ndarray:
    """Which points (n, 3) of the sphere are on the side that 3-D axes show: (n,), bool."""
    up, turned = np.radians([ax.elev, ax.azim])
    return points @ [np.cos(up) * np.cos(turned), np.cos(up) * np.sin(turned), np.sin(up)] >= 0


def static_curve(ax: Axes, points: np.ndarray, faint: float, **style) -> None:
    """A curve (n, 3) on the sphere; where it is behind, `faint` is its opacity."""
    near = is_near(ax, points)
    for side, strength in ((near, 1.0), (~near, faint)):
        # The step to the other side belongs to both.
        shown = side | np.roll(side, 1) | np.roll(side, -1)
        ax.plot(*np.where(shown[:, None], points, np.nan).T, alpha=strength, **style)


def static_sphere(
    ax: Axes,
    trajectory: Trajectory,
    colours: Sequence[str],
    curves: Sequence[np.ndarray] = (),
    title: str = "",
    hue: str = COLOURS[1],
    **view: float,
) -> None:
    """Draws on 3-D axes what :func:`sphere` draws for turning, what is behind fainter.

    `hue` is the colour of `curves`; `view` as of `static_globe`.
    """
    tokens = as_numpy(trajectory.tokens)
    static_globe(ax, title, **view)
    for curve in curves:
        static_curve(ax, curve, 0.3, color=hue, linewidth=drawing.LINE, linestyle="--")
    several = len(set(colours)) > 1
    for index, colour in enumerate(colours):
        width = drawing.THICK if several and index == 0 else 1.0
        path = along_the_sphere(tokens[:, index])
        static_curve(ax, path, 0.35, color=colour, linewidth=width)
    near = is_near(ax, tokens[-1])
    for side, strength in ((near, 1.0), (~near, 0.45)):
        hues = [colour for colour, shown in zip(colours, side, strict=True) if shown]
        places = 1.01 * tokens[-1][side]
        ax.scatter(*places.T, c=hues, s=16, depthshade=False, alpha=strength, lw=0, zorder=9)


def sphere(
    trajectory: Trajectory,
    name: str,
    colours: Sequence[str] | None = None,
    curves: Sequence[np.ndarray] = (),
) -> plotly_pages.Turnable:
    """Trajectories on the unit sphere of R^3 that a reader can turn.

    Args:
        trajectory: tokens (T, L, 3); one curve a token, a ring at its start, a dot at its end.
        name: id of the button on its page that starts it.
        colours: one for each token; the first token is drawn thicker if there are several hues.
        curves: dashed curves on the sphere, each (points, 3).
    """
    tokens = as_numpy(trajectory.tokens)
    colours = list(colours or [COLOURS[0]] * tokens.shape[1])
    figure = _globe_with(curves, COLOURS[1])
    for index, colour in enumerate(colours):
        line = {"color": colour, "width": 7 if index == 0 and len(set(colours)) > 1 else 3}
        style = {"line": line, "name": f"token {index + 1}", "hoverinfo": None}
        figure.add_trace(plotly_pages.trace(along_the_sphere(tokens[:, index]), **style))
    for moment, label, symbol, size in ((0, "start", "circle-open", 3), (-1, "end", "circle", 5)):
        marker = {"color": colours, "symbol": symbol, "size": size}
        style = {"mode": "markers", "marker": marker, "name": label, "hoverinfo": None}
        figure.add_trace(plotly_pages.trace(tokens[moment], **style))
    margin = dict.fromkeys("lrtb", 0)
    figure.update_layout(height=440, margin=margin, scene=plotly_pages.scene())
    return plotly_pages.turnable(figure, name, _still(trajectory, colours, curves, COLOURS[1]))


def _still(
    trajectory: Trajectory, colours: Sequence[str], curves: Sequence[np.ndarray], hue: str
) -> Figure:
    """The same from two sides, since on paper nobody can turn it."""
    figure, ((left, right),) = drawing.axes(2, height=3.5, subplot_kw={"projection": "3d"})
    for ax, azim, title in ((left, 38, "from one side"), (right, 218, "from the other")):
        static_sphere(ax, trajectory, colours, curves, title, hue, azim=azim)
    return figure


def in_time(
    trajectory: Trajectory,
    name: str,
    frames: int = 40,
    colours: Sequence[str] | None = None,
    curves: Sequence[np.ndarray] = (),
) -> plotly_pages.Turnable:
    """Tokens that move on the unit sphere of R^3 as a slider over t is drawn.

    Faint lines are the whole trajectories, discs the tokens at time t, the first one larger. The
    sphere can be turned.

    Args:
        trajectory: tokens (T, L, 3).
        name: id of the button on its page that starts it.
        frames: how many of the T times the slider shows, the first and the last among them.
        colours: one for each token.
        curves: dashed curves on the sphere, each (points, 3).
    Raises:
        ValueError: tokens of another shape, fewer than two frames, another number of colours.
    """
    tokens = as_numpy(trajectory.tokens)
    if tokens.ndim != 3 or tokens.shape[-1] != 3:
        raise ValueError(f"trajectory: tokens have shape {tokens.shape}, takes (T, L, 3)")
    if frames < 2:
        raise ValueError(f"frames: got {frames}, takes 2 or more")
    count = tokens.shape[1]
    colours = list(colours or [COLOURS[index % len(COLOURS)] for index in range(count)])
    if len(colours) != count:
        raise ValueError(f"colours: got {len(colours)}, takes one for each of {count} tokens")
    figure = _globe_with(curves, GREY)
    for index, colour in enumerate(colours):
        line = {"color": colour, "width": 2}
        figure.add_trace(
            plotly_pages.trace(along_the_sphere(tokens[:, index]), line=line, opacity=0.45)
        )
    marker = {"color": colours, "size": [9] + [6] * (count - 1), "opacity": 1}
    labels = [f"token {index + 1}" for index in range(count)]
    discs = {"mode": "markers", "marker": marker, "text": labels, "hoverinfo": "text"}
    moments = np.unique(np.linspace(0, len(tokens) - 1, frames).round().astype(int))
    shown = [[plotly_pages.trace(tokens[moment], **discs)] for moment in moments]
    figure.add_traces(shown[0])
    clock = [f"{float(trajectory.times[moment]):.3g}" for moment in moments]
    plotly_pages.slide(figure, shown, clock, "t = ")
    margin = dict.fromkeys("lrtb", 0)
    # A reader's camera survives the next frame.
    scene = plotly_pages.scene(uirevision="turned")
    figure.update_layout(height=440, margin=margin, showlegend=False, scene=scene)
    return plotly_pages.turnable(figure, name, _still(trajectory, colours, curves, GREY))


def globe(colour: str = GREY) -> list:
    """A faint sphere with the six coordinate vectors marked."""
    import plotly.graph_objects as go

    x, y, z = np.round(_mesh(), 3)
    flat = {"opacity": 0.18, "showscale": False, "colorscale": [[0, colour], [1, colour]]}
    surface = go.Surface(x=x, y=y, z=z, hoverinfo="skip", **flat)
    tips = 1.06 * np.vstack([np.eye(3), -np.eye(3)])
    names = [f"{sign}e<sub>{d}</sub>" for sign in ("", "−") for d in (1, 2, 3)]
    text = {"mode": "text", "text": names, "textfont": {"color": DARK_GREY}}
    return [surface, plotly_pages.trace(tips, **text)]


def _globe_with(curves: Sequence[np.ndarray], colour: str) -> go.Figure:
    import plotly.graph_objects as go

    dashed = {"color": colour, "width": 4, "dash": "dash"}
    return go.Figure([*globe(), *(plotly_pages.trace(curve, line=dashed) for curve in curves)])


def _mesh() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    u, v = np.mgrid[0 : 2 * np.pi : 40j, 0 : np.pi : 20j]
    return np.cos(u) * np.sin(v), np.sin(u) * np.sin(v), np.cos(v)
