"""The palette, axes of the book's width, and lines with their intervals."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's palette, told apart by colour-blind readers too."""
GREY = "#888888"
"""What is drawn for comparison."""


def axes(columns: int = 1, rows: int = 1, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure of the book's width with `rows` x `columns` axes: (figure, array of axes)."""
    # Here, because pyplot chooses a backend: who only wants the palette needs none.
    import matplotlib.pyplot as plt

    figure, array = plt.subplots(
        rows,
        columns,
        figsize=(8.0, 3.4 * rows),
        squeeze=False,
        layout="constrained",
        **options,
    )
    for ax in array.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, linewidth=0.5)
    return figure, array


def band(
    ax: Axes,
    x: Sequence[float],
    values: Mapping[str, Sequence[float]],
    color: str,
    label: str,
    **line: Any,
) -> None:
    """A line through values["mean"] with the band from "low" to "high"; `line` as for `plot`."""
    mean, low, high = (np.array(values[name], dtype=float) for name in ("mean", "low", "high"))
    ax.plot(x, mean, color=color, label=label, **line)
    ax.fill_between(x, low, high, color=color, alpha=0.25, linewidth=0)


def estimates(rows: Iterable[Mapping[str, float]]) -> dict[str, list[float]]:
    """Means with their intervals as `band` takes them, from one a row."""
    rows = list(rows)
    return {name: [row[name] for row in rows] for name in ("mean", "low", "high")}


def as_numpy(value: Tensor) -> np.ndarray:
    """A tensor as matplotlib takes it."""
    return value.detach().cpu().numpy()
