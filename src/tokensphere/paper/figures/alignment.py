"""Figures of first tokens that align: bounds and rates, and where starts on the sphere end."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from torch import Tensor

from . import drawing
from .drawing import COLOURS, DARK_GREY, as_numpy


def ratios_and_bounds(ax: Axes, times: Tensor, rho: Tensor, exponent: float, rate: float) -> None:
    """r/(1-r) along one trajectory, its bound, and the sharp slope.

    Args:
        times: (T,).
        rho: (T, n), of the n coordinates that are not the largest.
        exponent: of the bound; `rate`: the sharp one.
    """
    t = as_numpy(times)
    for curve, colour in zip(as_numpy(rho).T, COLOURS, strict=False):
        ax.plot(t, curve, color=colour)
        ax.plot(t, curve[0] * np.exp(-exponent * t), color=colour, ls="--", lw=drawing.THIN)
    ax.plot(t, np.exp(-rate * t), "k:")
    ax.set(yscale="log", ylim=(1e-9, 30), xlabel="time $t$", ylabel="$r/(1-r)$")
    keys = {"quantity": "-", "its bound": "--", "sharp slope": ":"}
    drawing.legend(ax, 1, [Line2D([], [], color="k", ls=ls, label=key) for key, ls in keys.items()])


def fitted_rates(left: Axes, right: Axes, found: Mapping[int, np.ndarray]) -> None:
    """Left, fitted against predicted rates; right, relative differences with the fits' errors.

    Args:
        found: for some D rows of fitted, standard error, predicted, and the paper's exponent.
    """
    for (fitted, error, predicted, _), colour in zip(found.values(), COLOURS, strict=False):
        bars = {"fmt": "o", "ms": drawing.MARK, "lw": drawing.THIN, "color": colour}
        right.errorbar(predicted, 1e5 * (fitted / predicted - 1), 1e5 * error / predicted, **bars)
    drawing.rates(left, {f"$D={dim}$": (rows[2], rows[0]) for dim, rows in found.items()})
    _, _, predicted, paper = np.concatenate(list(found.values()), axis=1)
    left.plot(predicted, paper, "x", ms=drawing.MARK, color=DARK_GREY, label="the paper's")
    drawing.legend(left)
    right.set(xlabel="predicted rate", ylabel="relative difference, $10^{-5}$")


def ends_by_start(
    ax: Axes,
    starts: Tensor,
    colours: Sequence[str],
    marks: Mapping[str, Tensor],
    names: Sequence[str],
    title: str,
) -> None:
    """Starts on the unit sphere of R^3, (n, 3), on an equal-area map with the octants' borders.

    Args:
        colours: one for each start.
        marks: which starts, (n,), have which of matplotlib's markers.
        names: what the first colours stand for.
    """
    y, colours = as_numpy(starts), np.array(colours)
    for mark, chosen in marks.items():
        part = as_numpy(chosen)
        longitude = np.arctan2(y[part, 1], y[part, 0])
        ax.scatter(longitude, y[part, 2], c=colours[part], s=9, lw=0.7, marker=mark)
    ax.vlines([-np.pi / 2, 0, np.pi / 2], -1, 1, color=DARK_GREY, lw=drawing.THIN)
    ax.axhline(0, color=DARK_GREY, lw=drawing.THIN)
    ax.set(
        title=title,
        xlabel="longitude",
        ylabel="third coordinate",
        xlim=(-np.pi, np.pi),
        ylim=(-1, 1),
    )
    for name, colour in zip(names, COLOURS, strict=False):
        ax.scatter([], [], color=colour, s=16, label=name)
    drawing.legend(ax, len(names))
