"""Shares of first tokens by kind of limit, D = 2, and how they come to zeros of each order."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from numpy.typing import NDArray

from tokensphere.circle import KINDS

from . import drawing
from .drawing import COLOURS

HUES = dict(zip(KINDS, (COLOURS[0], COLOURS[2], COLOURS[1]), strict=True))


def shares_by_kind(
    ax: Axes,
    proved: Mapping[str, Mapping[str, float]],
    counted: Mapping[str, Mapping[str, int]],
    draws: int,
    arcs: Mapping[str, Mapping[str, float]],
) -> None:
    """Bars of proved shares, with counts of `draws` first tokens and mean arcs, by law.

    Args:
        proved, arcs: by law and kind. counted: likewise, how many.
    """
    for column, (law, shares) in enumerate(proved.items()):
        for index, (kind, colour) in enumerate(HUES.items()):
            x = 4 * column + index
            ax.bar(x, shares[kind], color=colour, alpha=0.5, label=None if column else kind)
            cross = {"marker": "x", "ms": 6, "capsize": 4}
            drawing.shares(ax, x, counted[law][kind], draws, "k", **cross)
            if law in arcs:
                ax.plot(x, arcs[law][kind], "o", mfc="none", mec="k", ms=9)
    ticks = [4 * column + 1 for column in range(len(proved))]
    ax.set(xticks=ticks, xticklabels=list(proved), ylabel="share", ylim=(0, 1))
    drawing.legend(ax, 2, drop=24)


def decays_by_order(
    ax: Axes,
    distances: Mapping[int, tuple[NDArray, NDArray]],
    laws: Mapping[int, tuple[NDArray, NDArray]],
) -> None:
    """Distances from a zero of each order against time, and power laws, dashed.

    Args:
        distances, laws: by order, times and distances.
    """
    for (order, curve), colour in zip(distances.items(), COLOURS, strict=False):
        ax.loglog(*curve, color=colour, label=f"order {order}")
        if order in laws:
            ax.loglog(*laws[order], "--", color=colour)
    ax.set(xlabel="time $t$", ylabel="distance from $e_2$", ylim=(1e-7, 1))
    drawing.legend(ax)
