"""What figures that a reader turns or slides through share: curves, a scene, a slider, HTML.

plotly is imported where a figure is made: whoever draws none on a page needs none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from IPython.display import HTML
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import plotly.graph_objects as go


def trace(points: ArrayLike, **style: Any) -> go.Scatter3d:
    """A curve through points (n, 3), or with `mode` marks at them, without a hover or a legend."""
    import plotly.graph_objects as go

    # Three decimals are a tenth of a pixel; more only makes the page heavy.
    x, y, z = np.round(points, 3).T.tolist()
    quiet = {"mode": "lines", "hoverinfo": "skip", "showlegend": False}
    return go.Scatter3d(x=x, y=y, z=z, **(quiet | style))


def scene(**more: Any) -> dict[str, Any]:
    """A cube around the unit sphere, without axes, seen from where all of them point outwards."""
    axis = {"visible": False, "range": [-1.15, 1.15]}
    eye = {"x": 1.1, "y": 1.1, "z": 0.7}
    return {
        **dict.fromkeys(("xaxis", "yaxis", "zaxis"), axis),
        "aspectmode": "cube",
        "camera": {"eye": eye},
        **more,
    }


def slide(
    figure: go.Figure,
    frames: Sequence[Sequence[Any]],
    labels: Sequence[str],
    prefix: str,
    **place: Any,
) -> None:
    """Puts a slider under a figure that shows the first of `frames`.

    Args:
        frames: at each step of the slider the figure's last traces, as many at each.
        labels: what it shows at each step, after `prefix`.
        place: of the slider, as plotly takes it.
    """
    import plotly.graph_objects as go

    moving = list(range(len(figure.data) - len(frames[0]), len(figure.data)))
    names = list(map(str, range(len(frames))))
    figure.frames = [
        go.Frame(data=data, traces=moving, name=name)
        for name, data in zip(names, frames, strict=True)
    ]
    show = {"mode": "immediate", "transition": {"duration": 0}}
    # A scene is drawn anew for each frame, or its marks stay where they were.
    show["frame"] = {"duration": 0, "redraw": True}
    steps = [
        {"method": "animate", "label": label, "args": [[name], show]}
        for name, label in zip(names, labels, strict=True)
    ]
    figure.update_layout(sliders=[{"steps": steps, "currentvalue": {"prefix": prefix}, **place}])


def page(figure: go.Figure, name: str) -> HTML:
    """A figure as HTML for a notebook, all frames in it: the page needs no kernel.

    It is without plotly's own script, which the page brings, and has a fixed `name` as its id, so
    that two builds give the same page.
    """
    options = {"config": {"displayModeBar": False}, "auto_play": False} if figure.frames else {}
    return HTML(figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, **options))
