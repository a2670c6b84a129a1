"""Where third tokens end: basins by start, and the curves of exceptional starts on the sphere."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from tokensphere.flow import Trajectory

from . import drawing
from .drawing import COLOURS, DARK_GREY, INK, as_numpy
from .spheres import static_curve, static_sphere

_FIRST, _ANTIPODE = (COLOURS[1], "#f0c070"), (COLOURS[0], COLOURS[5])


def equal_area_grid(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Longitudes (n,), third coordinates (n,), and the points of the sphere there, (n, n, 3)."""
    longitude = torch.linspace(-np.pi, np.pi, count, dtype=torch.float64)
    height = torch.linspace(-0.999, 0.999, count, dtype=torch.float64)
    turn, up = torch.meshgrid(longitude, height, indexing="xy")
    flat = (1 - up**2).sqrt()
    return longitude, height, torch.stack([flat * turn.cos(), flat * turn.sin(), up], -1)


def basins_in_the_plane(ax: Axes, angles: Tensor, positive: Tensor, form: Tensor) -> None:
    """Where the second and third token end by their angles, D = 2.

    Args:
        angles: (n,), of either start.
        positive: (n, n, 2), whether the second and the third end at x_1; columns are angles of the
            second start.
        form: (n, n), <x_3(0), S_BC x_1>, drawn dashed where it is zero.
    """
    kind = 2 * positive[..., 0].int() + positive[..., 1].int()
    colours = [*_ANTIPODE, *reversed(_FIRST)]
    _map(ax, angles, angles, kind, form, colours)
    ax.set(xlabel="angle of $x_2(0)$", ylabel="angle of $x_3(0)$", title="$D=2$")


def basins_on_the_sphere(
    ax: Axes,
    grid: tuple[Tensor, Tensor],
    positive: Tensor,
    form: Tensor,
    marks: Mapping[str, Tensor],
    title: str,
) -> None:
    """An equal-area map of where third tokens end, D = 3.

    Args:
        grid: longitudes and third coordinates of the starts.
        positive: (n, n), whether the third token ends at x_1.
        form: (n, n), <x_3(0), S_BC x_1>, drawn dashed where it is zero.
        marks: points (3,) by the symbol that shows them.
    """
    _map(ax, *grid, positive.int(), form, [_ANTIPODE[0], _FIRST[1]])
    for symbol, point in marks.items():
        place = float(torch.atan2(point[1], point[0])), float(point[2])
        ax.plot(*place, symbol, color=INK, ms=8 if symbol == "*" else 5)
    ax.set(xlabel="longitude", ylabel="third coordinate", title=title)


def _map(
    ax: Axes, across: Tensor, up: Tensor, kind: Tensor, form: Tensor, colours: Sequence[str]
) -> None:
    """Kinds (n, n) from 0 on in these colours, and a dashed curve where the form is zero."""
    drawing.kinds(ax, across, up, kind, colours)
    place = map(as_numpy, (across, up, form))
    ax.contour(*place, levels=[0], colors=INK, linestyles="--", linewidths=1.0)


def exceptional_curves(
    curves: Mapping[str, Sequence[Tensor]],
    first: Tensor,
    second: Tensor,
    kernel: Tensor,
    shares: Mapping[str, tuple[Tensor, Tensor]],
) -> Figure:
    """The exceptional third tokens on spheres, D = 3, and shares of tokens in a strip in time.

    Args:
        curves: by title, for each second token a closed curve (points, 3).
        first, second: x_1 (3,) and the second tokens (n, 3).
        kernel: (points, 3), the curve <., S_BC x_1> = 0, drawn dashed.
        shares: by label, times and shares.
    """
    figure = drawing.blank(3.2)
    columns, tone = len(curves) + 1, (COLOURS[1], COLOURS[0])

    def closed(line: Tensor) -> np.ndarray:
        return as_numpy(torch.cat([line, line[:1]]))

    still = Trajectory(torch.zeros(1, dtype=torch.float64), torch.stack([first, *second])[None])
    for column, (title, lines) in enumerate(curves.items()):
        ax = figure.add_subplot(1, columns, column + 1, projection="3d")
        # Seen nearly along the curves.
        static_sphere(ax, still, ["#000000", *tone], title=title, elev=20, azim=125)
        ax.plot(*(1.02 * as_numpy(first))[:, None], "*", color="k", ms=10)
        static_curve(ax, closed(kernel), 0.3, color=DARK_GREY, lw=1.0, ls="--")
        for line, colour in zip(lines, tone, strict=True):
            static_curve(ax, closed(line), 0.3, color=colour, lw=drawing.THICK)
    ax = drawing.dress(figure.add_subplot(1, columns, columns))
    for (label, (times, share)), colour in zip(shares.items(), COLOURS[2:], strict=False):
        ax.plot(as_numpy(times), as_numpy(share), color=colour, label=label)
    ax.set(xlabel="time $t$", ylabel="share near $g=0$", ylim=(-0.03, 1.03))
    drawing.legend(ax, 2)
    return figure
