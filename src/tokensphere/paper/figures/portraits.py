"""Phase portraits of eq (9) on the unit sphere of R^3, all equilibria marked by stability."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from IPython.display import HTML
from matplotlib.axes import Axes
from torch import Tensor

from tokensphere.first_token import Equilibrium, equilibria
from tokensphere.flow import FirstTokenFlow, simulate
from tokensphere.sinks.style import COLOURS, GREY, as_numpy

from . import plotly_pages, spheres

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
    lines, arrows, points, families, colour = _drawing(S_BC, S_Delta)
    spheres.static_globe(ax, title, elev, azim, colour, reach=0.75, tips=1.22)
    for line in lines:
        spheres.static_curve(ax, line, 0.25, color=GREY, linewidth=0.7)
    near = spheres.is_near(ax, arrows[:, 0])
    heads = 0.09 * _directions(arrows[near])
    style = {"color": "#666666", "linewidth": 1.1, "arrow_length_ratio": 0.8}
    ax.quiver(*arrows[near, 0].T, *heads.T, **style)
    dashed = {"color": COLOURS[1], "linewidth": 1.5, "linestyle": "--"}
    thick = {"color": STABILITIES["degenerate"][0], "linewidth": 2.5}
    zeros = spheres.zeros_of_the_form(S_BC)
    for rings, label, style in ((zeros, _ZEROS, dashed), (families, "family", thick)):
        for ring in rings:
            spheres.static_curve(ax, ring, 0.25, **style)
        if rings:
            ax.plot([], [], [], label=label, **style)
    for word, (hue, _, mark) in STABILITIES.items():
        here = [as_numpy(point.point) for point in points if point.stability == word]
        fill = "none" if word == "unstable" else hue
        style = {"color": hue, "marker": mark, "markerfacecolor": fill, "linestyle": "none"}
        style |= {"markersize": 6, "markeredgewidth": 1.6, "zorder": 10}
        for position in here:
            strength = 1.0 if spheres.is_near(ax, position) else 0.35
            ax.plot(*(1.01 * position)[:, None], alpha=strength, **style)
        if here:
            ax.plot([], [], [], label=word, **style)
    spaces = {"columnspacing": 1.0, "handletextpad": 0.4}
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "ncols": 5}
    ax.legend(fontsize=7, frameon=False, **below, **spaces)


def portrait(S_BC: Tensor, S_Delta: Tensor, name: str) -> HTML:
    """The phase portrait of eq (9) on the unit sphere of R^3, to turn; see `plotly_pages.page`.

    Grey: trajectories with arrows, from a grid of starts. Marks: every type-1 equilibrium, by
    stability: stable a filled disc, saddle a diamond, unstable a ring, degenerate a cross; a family
    of them is a thick curve, and colours the globe if it is all of it. Dashed: zeros of the form.

    Args:
        S_BC, S_Delta: (3, 3), float64.
        name: id of the figure on its page.
    Raises:
        ValueError: what :func:`tokensphere.first_token.equilibria` refuses, or D other than 3.
    """
    lines, arrows, points, families, colour = _drawing(S_BC, S_Delta)
    figure = go.Figure(spheres.globe(colour))

    def curve(pieces: Sequence[np.ndarray], label: str, **line) -> None:
        if pieces:
            gap = np.full((1, 3), np.nan)
            whole = np.vstack([row for piece in pieces for row in (piece, gap)])
            figure.add_trace(plotly_pages.trace(whole, line=line, name=label, showlegend=True))

    curve(lines, "trajectories", color=GREY, width=2)
    x, y, z = arrows[:, 0].round(3).T
    u, v, w = _directions(arrows).round(3).T
    cones = {"colorscale": [[0, GREY], [1, GREY]], "showscale": False}
    cones |= {"sizemode": "absolute", "sizeref": 0.13, "hoverinfo": "skip"}
    figure.add_trace(go.Cone(x=x, y=y, z=z, u=u, v=v, w=w, **cones))
    curve(spheres.zeros_of_the_form(S_BC), _ZEROS, color=COLOURS[1], width=4, dash="dash")
    curve(families, "family", color=STABILITIES["degenerate"][0], width=7)
    for word, (hue, symbol, _) in STABILITIES.items():
        here = [point for point in points if point.stability == word]
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
    return plotly_pages.page(figure, name)


def _directions(arrows: np.ndarray) -> np.ndarray:
    """Of arrows (n, 2, 3), from and to: unit vectors (n, 3)."""
    along = arrows[:, 1] - arrows[:, 0]
    return along / np.linalg.norm(along, axis=1, keepdims=True)


def _drawing(
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
    colour = STABILITIES["degenerate"][0] if everywhere else GREY
    points = [point for point in found if point.kind != "family"]
    return lines, np.array(arrows).reshape(-1, 2, 3), points, families, colour
