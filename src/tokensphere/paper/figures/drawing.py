"""What figures of several chapters do alike: counted shares, rates, maps, ticks, legends."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from tokensphere.paper import survey
from tokensphere.sinks.style import COLOURS, as_numpy


def shares(
    ax: Axes, x: ArrayLike, counts: ArrayLike, totals: ArrayLike, colour: str, **style: Any
) -> None:
    """Shares counts / totals, (n,) or numbers, against x with their 95% Wilson intervals."""
    counts, totals = np.broadcast_arrays(np.atleast_1d(counts), totals)
    share = counts / totals
    bounds = [survey.interval(int(c), int(n)) for c, n in zip(counts, totals, strict=True)]
    style = {"marker": "o", "ms": 3} | style
    ax.errorbar(x, share, abs(np.array(bounds).T - share), color=colour, **style)


def rates(ax: Axes, groups: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> None:
    """Fitted against predicted rates, and the diagonal; groups: by name, predicted and fitted."""
    for (name, values), colour in zip(groups.items(), COLOURS, strict=False):
        ax.plot(*values, "o", ms=4, color=colour, label=name)
    predicted = np.concatenate([np.asarray(values[0]) for values in groups.values()])
    ends = [predicted.min(), predicted.max()]
    ax.plot(ends, ends, "k", lw=0.6)
    ax.set(xlabel="predicted rate", title="fitted rate")
    ax.legend(fontsize=6.5)


def kinds(
    ax: Axes, across: Tensor, up: Tensor, kind: Tensor, colours: Sequence[str], alpha: float = 1
) -> None:
    """A map of integers (rows up, columns across), each in the colour of that index."""
    style = {"cmap": ListedColormap(colours), "vmin": 0, "vmax": len(colours) - 1}
    ax.pcolormesh(*map(as_numpy, (across, up, kind)), rasterized=True, alpha=alpha, **style)
    ax.grid(False)


def log_ticks(ax: Axes, ticks: Sequence[float]) -> None:
    """A logarithmic x axis with these ticks, written out; no minor ones on either axis."""
    ax.set(xscale="log", xticks=ticks, xticklabels=ticks)
    ax.minorticks_off()


def legend_below(figure: Figure, handles: Sequence[Any], labels: Sequence[str], ncols: int) -> None:
    """One legend for all panels, under them."""
    figure.legend(handles, labels, loc="outside lower center", ncols=ncols, frameon=False)
