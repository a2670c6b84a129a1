"""Counts of equilibria, and first tokens that never come to rest."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from . import drawing
from .drawing import COLOURS, GREY, axes


def equilibrium_counts(by_support: Mapping[int, Sequence[int]], exact: Mapping[int, int]) -> None:
    """Left, how many type-1 equilibria there are against D; right, by support in the largest D.

    Args:
        by_support: for D = 1, 2, ...: how many have 1, ..., D nonzero coordinates.
        exact: for some D, how many there are in exact arithmetic.
    """
    _, array = axes(2)
    left, right = array.flat
    dims = np.array(list(by_support))
    left.plot(dims, 2.0 * (2.0**dims - 1), color=COLOURS[0], lw=1.0, label="$2(2^D-1)$")
    left.plot(
        dims,
        [sum(by_support[d]) for d in dims],
        ".",
        color=COLOURS[0],
        label="counted by the library",
    )
    rings = {"marker": "o", "ms": 9, "mfc": "none", "ls": "none", "color": COLOURS[1]}
    left.plot(list(exact), list(exact.values()), label="in rational arithmetic", **rings)
    left.plot(dims, 2 * dims, "--", color=COLOURS[2], label="only $\\pm e_d$")
    left.plot(dims, 0 * dims + 2, ":", color=COLOURS[3], lw=2, label="the paper's two")
    left.set(yscale="log", xlabel="dimension $D$", ylabel="equilibria")
    drawing.legend(left, 1)
    last = int(dims[-1])
    right.bar(dims, by_support[last], color=COLOURS[5])
    right.plot(dims, [2 * math.comb(last, k) for k in dims], ".", color=COLOURS[1])
    right.set(xlabel="nonzero coordinates", ylabel="equilibria", title=f"$D={last}$")


def stable_counts(
    vertices: Mapping[int, np.ndarray],
    expected: Mapping[int, np.ndarray],
    by_support: Mapping[int, np.ndarray],
    ends: Mapping[str, Mapping[str, tuple[Sequence[float], np.ndarray]]],
    dims: Sequence[int],
) -> None:
    """Left, stable coordinate vectors; middle, stable equilibria; right, where first tokens end.

    Args:
        vertices: for some D the share of draws with 0, 1, ... stable ones; `expected` by theory.
        by_support: for some D (draws, sizes), how many stable ones have 1, 2, ... coordinates.
        ends: by law and kind the shares for each of `dims`, and their intervals, (2, len(dims)).
    """
    _, array = axes(3)
    left, middle, right = array.flat
    shifts = np.linspace(-0.2, 0.2, len(vertices))
    for shift, (dim, shares), colour in zip(shifts, vertices.items(), COLOURS[::4], strict=False):
        numbers = np.arange(len(shares))
        left.bar(numbers + shift, shares, 0.38, color=colour, label=f"$D={dim}$")
        left.plot(numbers + shift, expected[dim], "k.", ms=5)
    left.set(xlabel="stable coordinate vectors", ylabel="share of draws", xticks=range(0, 8, 2))
    for size in range(1, 6):
        columns = [table[:, size - 1] for table in by_support.values()]
        mean = [column.mean() for column in columns]
        error = [1.96 * column.std() / len(column) ** 0.5 for column in columns]
        style = {
            "color": COLOURS[size - 1],
            "marker": "o",
            "ms": drawing.MARK,
            "label": f"support {size}",
        }
        middle.errorbar(list(by_support), mean, error, **style)
    middle.set(xlabel="dimension $D$", ylabel="stable equilibria, mean", ylim=(0, None))
    middle.set_xticks(list(by_support))
    colours = [COLOURS[index] for index in (0, 2, 1, 6)]
    for line, kinds in zip(("-", "--"), ends.values(), strict=True):
        for (kind, (shares, bounds)), colour in zip(kinds.items(), colours, strict=True):
            label = kind if line == "-" else None
            style = {"color": colour, "ls": line, "marker": "o", "ms": drawing.MARK, "label": label}
            right.errorbar(dims, shares, abs(bounds - np.array(shares)), **style)
    right.set(ylabel="share of first tokens", xlabel="dimension $D$", ylim=(0, 1))
    drawing.log_ticks(right, dims)
    for ax in array.flat:
        drawing.legend(ax, 1 if ax is right else 2)


def no_rest(
    paths: Sequence[np.ndarray], stays: np.ndarray, factor: float, orbit: np.ndarray
) -> None:
    """First tokens that do not converge: in the positive octant, and in four dimensions.

    Args:
        paths: of first tokens, (T, 3) each, drawn with their squares as weights of the corners.
        stays: lengths of successive stays near a vertex, and the `factor` by which they should
            grow.
        orbit: (T, 4).
    """
    _, array = axes(3)
    left, middle, right = array.flat
    corners = np.array([[0, 0], [1, 0], [0.5, 0.75**0.5]])
    left.plot(*corners[[0, 1, 2, 0]].T, color=GREY, lw=drawing.THIN)
    for path, colour in zip(paths, COLOURS, strict=False):
        left.plot(*(path**2 @ corners).T, color=colour, lw=drawing.THIN)
    for d, at in enumerate(corners):
        shift = (0, 4 if d == 2 else -11)
        left.annotate(
            f"$e_{d + 1}$", at, shift, textcoords="offset points", ha="center", size=drawing.SMALL
        )
    left.set(title="cycle and boundary", aspect="equal", ylim=(-0.12, 1))
    left.axis("off")
    numbers = np.arange(len(stays))
    middle.semilogy(stays[-1] * factor ** (numbers - numbers[-1]), color=GREY, lw=drawing.THIN)
    middle.plot(stays, ".", color=COLOURS[1])
    middle.set(title="stays near a vertex", xlabel="number of the stay", ylabel="length in time")
    right.plot(*orbit[:, :2].T, color=COLOURS[3], lw=0.25)
    right.set(title="$D=4$", xlabel="$y_1$", ylabel="$y_2$")
