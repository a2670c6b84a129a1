"""Figures of first tokens that align: bounds and rates, and where starts on the sphere end."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from tokensphere.sinks.style import COLOURS, as_numpy

from . import drawing


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
        ax.plot(t, curve[0] * np.exp(-exponent * t), color=colour, ls="--", lw=0.8)
    ax.plot(t, np.exp(-rate * t), "k:", lw=1.5)
    ax.set(yscale="log", ylim=(1e-9, 30), xlabel="t", title="r/(1-r) and its bound")


def fitted_rates(left: Axes, right: Axes, found: Mapping[int, np.ndarray]) -> None:
    """Left, fitted against predicted rates; right, relative differences with the fits' errors.

    Args:
        found: for some D rows of fitted, standard error, predicted, and the paper's exponent.
    """
    for (fitted, error, predicted, _), colour in zip(found.values(), COLOURS, strict=False):
        bars = {"fmt": "o", "ms": 3, "lw": 0.8, "color": colour}
        right.errorbar(predicted, 1e5 * (fitted / predicted - 1), 1e5 * error / predicted, **bars)
    drawing.rates(left, {f"D = {dim}": (rows[2], rows[0]) for dim, rows in found.items()})
    _, _, predicted, paper = np.concatenate(list(found.values()), axis=1)
    left.plot(predicted, paper, "x", ms=4, color="#777777", label="paper")
    left.legend(fontsize=6.5)
    right.set(xlabel="predicted rate", title="relative difference, $10^{-5}$")


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
    ax.vlines([-np.pi / 2, 0, np.pi / 2], -1, 1, color="#777777", lw=0.7)
    ax.axhline(0, color="#777777", lw=0.7)
    ax.set(title=title, xlabel="longitude", ylabel="$y_3$", xlim=(-np.pi, np.pi), ylim=(-1, 1))
    for name, colour in zip(names, COLOURS, strict=False):
        ax.scatter([], [], color=colour, s=9, label=name)
    ax.legend(fontsize=6.5, loc="lower right")
