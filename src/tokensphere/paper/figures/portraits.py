"""Phase portraits of eq (9) on the unit sphere of R^3, all equilibria marked by stability."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike
from torch import Tensor

from tokensphere.first_token.portrait import SpherePortrait, sphere_portrait

from . import drawing, plotly_pages, spheres
from .drawing import COLOURS, DARK_GREY, GREY, as_numpy

STABILITIES = {
    # word: colour, plotly's and matplotlib's mark
    "stable": (COLOURS[2], "circle", "o"),
    "saddle": (COLOURS[4], "diamond", "D"),
    "unstable": (COLOURS[3], "circle-open", "o"),
    "degenerate": (COLOURS[0], "x", "x"),
}
_ZEROS = "zeros of the form"


def static_portrait(
    ax: Axes, S_BC: Tensor, S_Delta: Tensor, title: str = "", elev: float = 22, azim: float = 38
) -> None:
    """Draws on 3-D axes what :func:`portrait` draws for turning; the far side fainter.

    Args: S_BC and S_Delta as for :func:`portrait`; elev and azim, degrees, as matplotlib's.
    """
    found = sphere_portrait(S_BC, S_Delta)
    spheres.static_globe(ax, title, elev, azim, _globe_colour(found))
    arrows = as_numpy(found.arrows)
    for line in found.paths:
        spheres.static_curve(ax, as_numpy(line), 0.25, color=GREY, linewidth=drawing.THIN)
    near = spheres.is_near(ax, arrows[:, 0])
    heads = 0.09 * _directions(arrows[near])
    style = {"color": DARK_GREY, "linewidth": 1.1, "arrow_length_ratio": 0.8}
    ax.quiver(*arrows[near, 0].T, *heads.T, **style)
    dashed = {"color": COLOURS[1], "linewidth": drawing.LINE, "linestyle": "--"}
    thick = {"color": STABILITIES["degenerate"][0], "linewidth": 2.5}
    zeros, circles = spheres.zeros_of_the_form(S_BC), list(map(as_numpy, found.circles))
    for rings, label, style in ((zeros, _ZEROS, dashed), (circles, "family", thick)):
        for ring in rings:
            spheres.static_curve(ax, ring, 0.25, **style)
        if rings:
            ax.plot([], [], [], label=label, **style)
    for word, (hue, _, mark) in STABILITIES.items():
        here = [as_numpy(point.point) for point in found.points if point.stability == word]
        fill = "none" if word == "unstable" else hue
        style = {"color": hue, "marker": mark, "markerfacecolor": fill, "linestyle": "none"}
        style |= {"markersize": 6, "markeredgewidth": 1.6, "zorder": 10}
        for position in here:
            strength = 1.0 if spheres.is_near(ax, position) else 0.35
            ax.plot(*(1.01 * position)[:, None], alpha=strength, **style)
        if here:
            ax.plot([], [], [], label=word, **style)
    drawing.legend(ax, ncols=3, drop=4)


def portrait(S_BC: Tensor, S_Delta: Tensor, name: str) -> plotly_pages.Turnable:
    """The phase portrait of eq (9) on the unit sphere of R^3, to turn.

    Grey: trajectories with arrows, from a grid of starts. Marks: every type-1 equilibrium, by
    stability: stable a filled disc, saddle a diamond, unstable a ring, degenerate a cross; a family
    of them is a thick curve, and colours the globe if it is all of it. Dashed: zeros of the form.

    Args:
        S_BC, S_Delta: (3, 3), float64.
        name: id of the button on its page that starts it.
    Raises:
        ValueError: what :func:`tokensphere.first_token.equilibria` refuses, or D other than 3.
    """
    import plotly.graph_objects as go

    found = sphere_portrait(S_BC, S_Delta)
    figure = go.Figure(spheres.globe(_globe_colour(found)))

    def curve(pieces: Sequence[ArrayLike], label: str, **line) -> None:
        if pieces:
            gap = np.full((1, 3), np.nan)
            whole = np.vstack([row for piece in pieces for row in (piece, gap)])
            figure.add_trace(plotly_pages.trace(whole, line=line, name=label, showlegend=True))

    curve(found.paths, "trajectories", color=GREY, width=2)
    arrows = as_numpy(found.arrows)
    x, y, z = arrows[:, 0].round(3).T
    u, v, w = _directions(arrows).round(3).T
    cones = {"colorscale": [[0, GREY], [1, GREY]], "showscale": False}
    cones |= {"sizemode": "absolute", "sizeref": 0.13, "hoverinfo": "skip"}
    figure.add_trace(go.Cone(x=x, y=y, z=z, u=u, v=v, w=w, **cones))
    curve(spheres.zeros_of_the_form(S_BC), _ZEROS, color=COLOURS[1], width=4, dash="dash")
    curve(found.circles, "family", color=STABILITIES["degenerate"][0], width=7)
    for word, (hue, symbol, _) in STABILITIES.items():
        here = [point for point in found.points if point.stability == word]
        if here:
            marker = {"color": hue, "symbol": symbol, "size": 5 if symbol == "x" else 7}
            text = [f"{word}, support {', '.join(str(i + 1) for i in p.support)}" for p in here]
            hover = "%{text}<br>(%{x:.2f}, %{y:.2f}, %{z:.2f})<extra></extra>"
            style = {"mode": "markers", "marker": marker, "name": word, "showlegend": True}
            style |= {"text": text, "hoverinfo": None, "hovertemplate": hover}
            places = 1.01 * np.stack([as_numpy(point.point) for point in here])
            figure.add_trace(plotly_pages.trace(places, **style))
    legend = {"orientation": "h", "x": 0.5, "xanchor": "center", "y": 0, "yanchor": "top"}
    margin = dict.fromkeys("lrtb", 0)
    figure.update_layout(height=480, margin=margin, legend=legend, scene=plotly_pages.scene())
    still, ((left, right),) = drawing.axes(2, height=3.5, subplot_kw={"projection": "3d"})
    static_portrait(left, S_BC, S_Delta, "from one side")
    static_portrait(right, S_BC, S_Delta, "from the other", azim=218)
    return plotly_pages.turnable(figure, name, still)


def _directions(arrows: np.ndarray) -> np.ndarray:
    """Of arrows (n, 2, 3), from and to: unit vectors (n, 3)."""
    along = arrows[:, 1] - arrows[:, 0]
    return along / np.linalg.norm(along, axis=1, keepdims=True)


def _globe_colour(found: SpherePortrait) -> str:
    return STABILITIES["degenerate"][0] if found.everywhere else GREY
