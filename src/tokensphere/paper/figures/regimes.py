"""Figures of tokens on the line: velocities, blow-up times, who is first, lives, shares."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import ArrayLike
from torch import Tensor

from . import drawing
from .drawing import COLOURS, DARK_GREY, GREY, as_numpy

ENDS = ("the first token is first", "the second is first", "none: slow growth")
"""What the colours of :func:`who_is_first` stand for, by their index."""
TINTS = (COLOURS[0], COLOURS[1], GREY)
FAINT = 0.35
"""Opacity of the tints."""


def phase_line(ax: Axes, x: Tensor, velocity: Tensor, title: str) -> None:
    """The velocity of one token against the token, (n,), with arrows along the axis."""
    x, v = as_numpy(x), as_numpy(velocity)
    ax.axhline(0, color=GREY, lw=drawing.THIN)
    ax.plot(x, v, color=COLOURS[0])
    length = 0.3 * abs(x).max() / 2.0
    for at in np.linspace(x.min(), x.max(), 9):
        direction = np.sign(np.interp(at, x, v)) * length
        if abs(at) > 0.1 and direction:
            style = {"arrowstyle": "-|>", "color": COLOURS[1], "lw": drawing.LINE}
            ends = {"xy": (at + direction / 2, 0), "xytext": (at - direction / 2, 0)}
            ax.annotate("", **ends, arrowprops=style)
    ax.plot(0, 0, "o", ms=5, color="k", mfc="k" if v[-1] < 0 else "w")
    ax.set(title=title, xlabel="$x$", ylim=(-2.2, 2.2))


def blow_up_times(
    left: Axes,
    right: Axes,
    measured: ArrayLike,
    predicted: ArrayLike,
    bounds: ArrayLike,
    lengths: ArrayLike,
) -> None:
    """Left, measured against predicted times, (n,), with bounds, (n, 2); right, by the upper bound.

    lengths: numbers of tokens, (n,), one colour each.
    """
    time, said, bounds, lengths = map(np.asarray, (measured, predicted, bounds, lengths))
    for length, colour in zip(np.unique(lengths), COLOURS, strict=False):
        here = lengths == length
        low, high = bounds[here].T
        bars = {"color": colour, "lw": drawing.THIN, "alpha": 0.6}
        left.plot(said[here], time[here], "o", ms=drawing.MARK, color=colour, label=f"$L={length}$")
        left.vlines(said[here], low, high, **bars)
        order, place = np.argsort(time[here] / high), np.flatnonzero(here)
        right.plot(place, (time[here] / high)[order], "o", ms=drawing.MARK, color=colour)
        right.vlines(place, (low / high)[order], 1.0, **bars)
    ends = [said.min(), said.max()]
    left.plot(ends, ends, "k", lw=drawing.THIN)
    left.set(xscale="log", yscale="log", xlabel="predicted blow-up time", ylabel="measured")
    drawing.legend_below(left.figure, *left.get_legend_handles_labels(), 5)
    right.axhline(1.0, color="k", lw=drawing.THIN)
    right.set(xlabel="runs, sorted within each $L$", ylabel="measured / upper bound", yscale="log")


def who_is_first(ax: Axes, axis: Tensor, kind: Tensor, velocity: Tensor, title: str) -> None:
    """The plane of two tokens in the colours of ENDS, and orbits.

    Args:
        axis: (n,), of both tokens. kind: indices of ENDS, (n, n), rows are x_2.
        velocity: (n, n, 2).
    """
    drawing.kinds(ax, axis, axis, kind, TINTS, alpha=FAINT)
    grid, v = as_numpy(axis), as_numpy(velocity)
    style = {"color": DARK_GREY, "linewidth": 0.6, "arrowsize": 0.7, "density": 0.7}
    ax.streamplot(grid, grid, v[..., 0], v[..., 1], **style)
    end = (grid.min(), grid.max())
    ax.set(title=title, xlabel="$x_1$", ylabel="$x_2$", xlim=end, ylim=end, aspect="equal")


def keys_of_who_is_first(figure: Figure) -> None:
    """The legend: colours, the tie, and the dashed line of the tie for s = 0."""
    keys = [
        Patch(color=tint, alpha=FAINT, label=name) for tint, name in zip(TINTS, ENDS, strict=True)
    ]
    keys += [Line2D([], [], color="k", lw=drawing.THICK, label="both at once")]
    keys += [Line2D([], [], color="k", lw=1.0, ls="--", label="both at once if $s$ were 0")]
    drawing.legend_below(figure, keys, [key.get_label() for key in keys], ncols=2)


def lives(ax: Axes, runs: Sequence[tuple[Tensor, Tensor]], ends: Tensor) -> None:
    """Moduli of tokens in time, each with those before it until its own end.

    Args:
        runs: for each token times (T,) and moduli (T,). ends: (L,), infinite where none comes.
    """
    for l, ((times, moduli), end) in enumerate(zip(runs, as_numpy(ends), strict=True)):
        ax.plot(as_numpy(times), as_numpy(moduli), color=COLOURS[l], label=f"token {l + 1}")
        if np.isfinite(end):
            ax.axvline(end, color=COLOURS[l], ls=":", lw=1.0)
    last = as_numpy(ends).min()
    ax.axvspan(last, ax.get_xlim()[1], color=GREY, alpha=0.12, lw=0)
    ax.set(yscale="log", ylim=(0.1, 50), xlabel="time $t$", ylabel="modulus")
    drawing.legend(ax, 3)


def shares_apart(
    ax: Axes, counts: Mapping[str, Mapping[int, tuple[int, int]]], floor: Mapping[int, float]
) -> None:
    """Shares of draws by number of tokens with 95% intervals, a colour a name; and a lower bound.

    counts: by name, by number of tokens: how many of how many.
    """
    for (name, rows), colour in zip(counts.items(), COLOURS, strict=False):
        some, total = np.array(list(rows.values())).T
        drawing.shares(ax, list(rows), some, total, colour, label=name, capsize=2)
    ax.plot(list(floor), list(floor.values()), "k--", lw=1.0, label="at least, proved")
    drawing.log_ticks(ax, list(floor))
    ax.set(xlabel="number of tokens $L$", ylim=(-0.03, 1.03))
    ax.set_ylabel("share not all or nothing")
    drawing.legend(ax, 1)
