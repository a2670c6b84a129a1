"""Tokens on the unit sphere of R^3 in time, with a slider."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML

from tokensphere.flow import Trajectory
from tokensphere.sinks.style import COLOURS, as_numpy

from .spheres import globe


def in_time(
    trajectory: Trajectory,
    name: str,
    frames: int = 40,
    colours: Sequence[str] | None = None,
    curves: Sequence[np.ndarray] = (),
) -> HTML:
    """Tokens that move on the unit sphere of R^3 as a slider over t is drawn, as HTML.

    Faint lines are the whole trajectories, discs the tokens at time t, the first one larger. The
    sphere can be turned. All frames are computed beforehand: the page needs no kernel.

    Args:
        trajectory: tokens (T, L, 3).
        name: id of the figure on its page; fixed, so that two builds give the same page.
        frames: how many of the T times the slider shows, the first and the last among them.
        colours: one for each token.
        curves: dashed curves on the sphere, each (points, 3).
    Returns:
        HTML without plotly's own script: the page brings it.
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
    # Three decimals are a tenth of a pixel; more only makes the page heavy.
    tokens = np.round(tokens, 3)
    figure = go.Figure(globe())
    for curve in curves:
        x, y, z = np.round(curve, 3).T.tolist()
        line = {"color": "#888888", "width": 4, "dash": "dash"}
        figure.add_trace(go.Scatter3d(x=x, y=y, z=z, mode="lines", line=line, hoverinfo="skip"))
    for index in range(count):
        x, y, z = tokens[:, index].T.tolist()
        line = {"color": colours[index], "width": 2}
        figure.add_trace(
            go.Scatter3d(x=x, y=y, z=z, mode="lines", line=line, opacity=0.45, hoverinfo="skip")
        )
    marker = {"color": colours, "size": [9] + [6] * (count - 1), "opacity": 1}
    labels = [f"token {index + 1}" for index in range(count)]

    def discs(moment: int) -> go.Scatter3d:
        x, y, z = tokens[moment].T.tolist()
        return go.Scatter3d(
            x=x, y=y, z=z, mode="markers", marker=marker, text=labels, hoverinfo="text"
        )

    moving = len(figure.data)
    moments = np.unique(np.linspace(0, len(tokens) - 1, frames).round().astype(int))
    figure.add_trace(discs(0))
    figure.frames = [
        go.Frame(data=[discs(moment)], traces=[moving], name=str(index))
        for index, moment in enumerate(moments)
    ]
    # A scene is drawn anew for each frame, or its discs stay where they were.
    show = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}}
    show["transition"] = {"duration": 0}
    steps = [
        {
            "method": "animate",
            "label": f"{float(trajectory.times[moment]):.3g}",
            "args": [[str(index)], show],
        }
        for index, moment in enumerate(moments)
    ]
    axis = {"visible": False, "range": [-1.15, 1.15]}
    figure.update_layout(
        height=520,
        margin={"l": 10, "r": 10, "t": 0, "b": 30},
        showlegend=False,
        scene={
            "xaxis": axis,
            "yaxis": axis,
            "zaxis": axis,
            "aspectmode": "cube",
            "camera": {"eye": {"x": 1.1, "y": 1.1, "z": 0.7}},
            "uirevision": "turned",  # a reader's camera survives the next frame
        },
        sliders=[
            {
                "steps": steps,
                "currentvalue": {"prefix": "t = "},
                "pad": {"t": 5, "b": 20},
            }
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
