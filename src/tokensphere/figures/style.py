"""The palette, and axes of the book's width."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's palette, told apart by colour-blind readers too."""


def axes(columns: int = 1, rows: int = 1, **options) -> tuple[Figure, np.ndarray]:
    """A figure of the book's width with `rows` x `columns` axes: (figure, array of axes)."""
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


def as_numpy(value: Tensor) -> np.ndarray:
    """A tensor as matplotlib takes it."""
    return value.detach().cpu().numpy()
