"""Trajectories on the unit sphere of R^3: to turn, and on paper."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML
from torch import Tensor

from tokensphere.flow import Trajectory
from tokensphere.sinks.style import COLOURS, as_numpy


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
    figure = go.Figure(globe())
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


def globe(colour: str = "#888888") -> list:
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
