"""Phase portraits of eq (9) on the unit sphere of R^3, all equilibria marked by stability."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from IPython.display import HTML
from torch import Tensor

from tokensphere.first_token import Equilibrium, equilibria
from tokensphere.flow import FirstTokenFlow, simulate
from tokensphere.sinks.style import COLOURS, as_numpy

from .spheres import globe, zeros_of_the_form

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
    lines, arrows, points, families, colour = _drawing(S_BC, S_Delta)
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
    lines, arrows, points, families, colour = _drawing(S_BC, S_Delta)
    figure = go.Figure(globe(colour))

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
    cones = {"colorscale": grey, "showscale": False, "sizemode": "absolute", "sizeref": 0.13}
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
    colour = STABILITIES["degenerate"][0] if everywhere else "#888888"
    points = [point for point in found if point.kind != "family"]
    return lines, np.array(arrows).reshape(-1, 2, 3), points, families, colour
