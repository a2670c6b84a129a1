"""How every figure of the book looks: its width, type, colours, lines, legends, ground.

A figure has a transparent ground and colours that are seen on white and on black. Where a reader
has chosen a dark page, it turns what is black to white (book/_static/book.js), and nothing else: a
colour keeps its name.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import ScaledTranslation
from numpy.typing import ArrayLike
from torch import Tensor

from tokensphere.paper import survey
from tokensphere.sinks.style import COLOURS, as_numpy
from tokensphere.sinks.style import GREY as GREY  # with the rest, for the modules of figures

NAMES = dict(
    zip(("blue", "orange", "green", "pink", "yellow", "light blue", "black"), COLOURS, strict=True)
)
"""What texts, captions and legends call the colours; black is white on a dark page."""
INK = "#222222"
"""Black that stays black: of lines and numbers on coloured grounds."""
DARK_GREY = "#777777"
"""Of lines that are read, such as borders and predictions; GREY is for what is only compared."""

WIDTH, HEIGHT = 7.2, 3.0
"""Inches, of a figure and of a row of panels: 640 pixels of a page are 89 an inch."""
DPI = 144
TITLE, LABEL, SMALL = 10.5, 10.0, 9.0
"""Points: of titles; of axes' labels; of ticks, legends and what is written into a panel."""
THICK, LINE, THIN = 2.0, 1.5, 0.8
"""Points, of lines: the one that matters; most, as matplotlib's; aids to the eye."""
MARK = 4.0
"""Points, of a mark."""

_CREATED = {
    "axes.labelsize": LABEL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "font.size": SMALL,
}


def axes(
    columns: int = 1, rows: int = 1, height: float = HEIGHT, **options: Any
) -> tuple[Figure, np.ndarray]:
    """A figure of the book's width with `rows` x `columns` axes: (figure, array of axes).

    Args:
        height: of a row, inches. options: as `matplotlib.pyplot.subplots` takes them.
    """
    figure = blank(height * rows)
    with _created():
        array = figure.subplots(rows, columns, squeeze=False, **options)
    for ax in array.flat:
        dress(ax)
    return figure, array


def blank(height: float = HEIGHT) -> Figure:
    """A figure of the book's width without axes, `height` inches high."""
    # Here, because pyplot chooses a backend: who only wants the palette needs none.
    import matplotlib.pyplot as plt

    # Not within _created: pyplot chooses its backend here, which a context would undo in part.
    return clear(plt.figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained"))


def clear(figure: Figure) -> Figure:
    """The figure, with a transparent ground and kept at its width."""
    figure.patch.set_alpha(0)
    # Notebooks crop a figure to what is drawn. All shall be as wide, or their type would differ.
    whole = Rectangle((0, 0), 1, 1, transform=figure.transFigure, fill=False, linewidth=0)
    figure.add_artist(whole)
    return figure


def dress(ax: Axes) -> Axes:
    """Type and lines of axes that :func:`axes` did not make."""
    ax.patch.set_alpha(0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25, linewidth=0.5)
    # matplotlib gives a title its own size whenever it is set.
    ax.set_title = partial(ax.set_title, fontsize=TITLE)
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set_fontsize(LABEL)
        axis.set_tick_params(labelsize=SMALL)
    return ax


def _created():
    import matplotlib as mpl

    return mpl.rc_context(_CREATED)


def legend(
    ax: Axes,
    ncols: int = 2,
    handles: Sequence[Any] | None = None,
    drop: float = 40,
    **more: Any,
) -> None:
    """A legend under the axes, over no data; the figure grows by its lines. None without labels.

    `drop` is the room for ticks and label above it, in points.
    """
    if handles is None and not ax.get_legend_handles_labels()[0]:
        return
    figure = ax.figure
    before = max(map(_lines, figure.axes))
    below = ScaledTranslation(0, -drop / 72, figure.dpi_scale_trans)
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0)}
    place["bbox_transform"] = ax.transAxes + below
    spaces = {"columnspacing": 1.0, "handletextpad": 0.5, "handlelength": 1.6}
    spaces |= {"borderpad": 0, "borderaxespad": 0, "labelspacing": 0.3}
    if handles is not None:
        place["handles"] = handles
    ax.legend(fontsize=SMALL, frameon=False, ncols=ncols, **place, **spaces, **more)
    _grow(figure, max(0, _lines(ax) - before))


def legend_below(figure: Figure, handles: Sequence[Any], labels: Sequence[str], ncols: int) -> None:
    """One legend for all panels, under them; the figure grows by its lines."""
    place = {"loc": "outside lower center", "ncols": ncols, "frameon": False}
    figure.legend(handles, labels, fontsize=SMALL, labelspacing=0.3, columnspacing=1.2, **place)
    _grow(figure, math.ceil(len(labels) / ncols))


def _lines(ax: Axes) -> int:
    shown = ax.get_legend()
    return math.ceil(len(shown.get_texts()) / shown._ncols) if shown else 0


def _grow(figure: Figure, lines: int) -> None:
    figure.set_figheight(figure.get_figheight() + lines * 1.35 * SMALL / 72)


def shares(
    ax: Axes, x: ArrayLike, counts: ArrayLike, totals: ArrayLike, colour: str, **style: Any
) -> None:
    """Shares counts / totals, (n,) or numbers, against x with their 95% Wilson intervals."""
    counts, totals = np.broadcast_arrays(np.atleast_1d(counts), totals)
    share = counts / totals
    bounds = [survey.interval(int(c), int(n)) for c, n in zip(counts, totals, strict=True)]
    style = {"marker": "o", "ms": MARK} | style
    ax.errorbar(x, share, abs(np.array(bounds).T - share), color=colour, **style)


def rates(ax: Axes, groups: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> None:
    """Fitted against predicted rates, and the diagonal; groups: by name, predicted and fitted."""
    for (name, values), colour in zip(groups.items(), COLOURS, strict=False):
        ax.plot(*values, "o", ms=MARK, color=colour, label=name)
    predicted = np.concatenate([np.asarray(values[0]) for values in groups.values()])
    ends = [predicted.min(), predicted.max()]
    ax.plot(ends, ends, "k", lw=THIN)
    ax.set(xlabel="predicted rate", ylabel="fitted rate")
    legend(ax)


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
