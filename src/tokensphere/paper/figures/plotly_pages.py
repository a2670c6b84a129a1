"""What figures that a reader turns or slides through share: curves, a scene, a slider, outputs.

plotly is imported where a figure is made: whoever draws none on a page needs none.
"""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Turnable:
    """A plotly figure and a picture of the same data, as one output of a notebook.

    The book shows and prints the picture and starts the plot when a reader asks; so does a notebook
    that has plotly. Two builds give the same bytes.
    """

    plot: go.Figure
    still: Figure

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        from PIL import Image

        drawn, picture = io.BytesIO(), io.BytesIO()
        self.still.savefig(drawn, format="png", bbox_inches="tight")
        # 256 colours are enough for a globe and lines, and a third of the bytes.
        Image.open(drawn).quantize(256).save(picture, format="png", optimize=True)
        return {
            "application/vnd.plotly.v1+json": json.loads(self.plot.to_json()),
            "image/png": b64encode(picture.getvalue()).decode(),
            "text/plain": "a figure to turn",
        }


def turnable(plot: go.Figure, name: str, still: Figure) -> Turnable:
    """The two as an output; `name` is the id of the button that starts the plot.

    The picture is then no figure of pyplot's any more: it would be shown twice.
    """
    import matplotlib.pyplot as plt

    plt.close(still)
    font = {"size": 14, "color": "#000000"}
    clear = dict.fromkeys(("paper_bgcolor", "plot_bgcolor"), "rgba(0,0,0,0)")
    plot.update_layout(template="none", font=font, meta={"id": name}, **clear)
    return Turnable(plot, still)


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
    figure: go.Figure, frames: Sequence[Sequence[Any]], labels: Sequence[str], prefix: str
) -> None:
    """Puts a slider under a figure that shows the first of `frames`.

    Args:
        frames: at each step of the slider the figure's last traces, as many at each.
        labels: what it shows at each step, after `prefix`.
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
    figure.update_layout(sliders=[{"steps": steps, "currentvalue": {"prefix": prefix}}])
