"""Figures of tokens in R^D without normalisation: maps of ends, laws, shares, side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from torch import Tensor

from . import drawing
from .drawing import COLOURS, GREY, INK, as_numpy

HUES = {
    "to zero": COLOURS[0],
    "to the cone": COLOURS[2],
    "slow": COLOURS[4],
    "blow-up": COLOURS[1],
}
"""Of a first token's ends, in the order of `tokensphere.unnormalised.census.FIRST`."""

SEQUENCES = (COLOURS[0], COLOURS[1], COLOURS[3], COLOURS[2], GREY)
"""Of a sequence's ends, in the order of `census.SEQUENCES`."""


def map_of_ends(
    ax: Axes, grid: Tensor, kinds: Tensor, paths: Sequence[Tensor], S: Tensor, title: str
) -> None:
    """The plane of starts by their ends, with the cone q = 0 and orbits.

    Args:
        grid: (n,), the coordinates of both axes. kinds: (n, n), indices of HUES, rows up.
        paths: orbits, (T, 2) each. S: (2, 2), the form, of which zeros are drawn.
    """
    drawing.kinds(ax, grid, grid, kinds, [*HUES.values()])
    size = float(grid[-1])
    x, y = np.meshgrid(*2 * [np.linspace(-size, size, 201)])
    a, b, c = float(S[0, 0]), float(S[0, 1] + S[1, 0]), float(S[1, 1])
    ax.contour(
        x, y, a * x * x + b * x * y + c * y * y, levels=[0], colors=INK, linewidths=drawing.LINE
    )
    for path in paths:
        points = as_numpy(path)
        ax.plot(*points.T, color="white", lw=1.0)
        middle = len(points) // 3
        ahead = {"arrowstyle": "-|>", "color": "white", "lw": 1.0}
        ax.annotate("", points[middle + 1], points[middle], arrowprops=ahead)
    limits = (-size, size)
    ax.set(title=title, xlim=limits, ylim=limits, xlabel="$x_1$", aspect="equal")


def legend_of_ends(figure) -> None:
    patches = [Patch(color=hue) for hue in HUES.values()]
    drawing.legend_below(figure, patches, [*HUES], 4)


def law(
    ax: Axes, x: Tensor, curves: Mapping[str, Tensor], said: Mapping[str, Tensor], **texts: str
) -> None:
    """Curves by name, full, and what is predicted for each, dashed and black."""
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
        ax.plot(as_numpy(x), as_numpy(curve), color=colour, label=name, lw=drawing.THICK)
        ax.plot(as_numpy(x), as_numpy(said[name]), "k--", lw=drawing.THIN)
    ax.set(**texts)
    drawing.legend(ax, 3)


def shares(
    ax: Axes,
    counts: Mapping[str, Mapping[str, int]],
    names: Sequence[str],
    colours: Sequence[str],
    title: str,
) -> None:
    """Shares of ends with 95% Wilson intervals, a group for each key of `counts`."""
    width = 0.8 / len(names)
    for k, (name, colour) in enumerate(zip(names, colours, strict=True)):
        at = np.arange(len(counts)) + (k - (len(names) - 1) / 2) * width
        found = [group.get(name, 0) for group in counts.values()]
        totals = [sum(group.values()) for group in counts.values()]
        ax.bar(at, np.array(found) / totals, width, color=colour, alpha=0.6, label=name)
        drawing.shares(ax, at, found, totals, colour, ls="none", capsize=2)
    ax.set(xticks=range(len(counts)), xticklabels=counts, title=title, ylabel="share", ylim=(0, 1))
    drawing.legend(ax, 2, drop=26)


def side_by_side(axes: Sequence[Axes], runs: Mapping[str, Sequence[tuple[Tensor, str]]]) -> None:
    """Paths in the plane, (T, 2) each with its colour, a panel for each system, from the circle."""
    angle = np.linspace(0, 2 * np.pi, 200)
    for ax, (title, paths) in zip(axes, runs.items(), strict=True):
        ax.plot(np.cos(angle), np.sin(angle), color=GREY, lw=drawing.THIN, ls=":")
        for path, colour in paths:
            points = as_numpy(path)
            ax.plot(*points.T, color=colour)
            ax.plot(*points[0], "o", color=colour, ms=drawing.MARK)
            ax.plot(*points[-1], "s", color=colour, ms=drawing.MARK + 1, mec="k", mew=0.5)
        limits = (-2.6, 2.6)
        ax.set(title=title, xlim=limits, ylim=limits, xlabel="$x_1$", aspect="equal")
