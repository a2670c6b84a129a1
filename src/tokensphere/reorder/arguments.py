"""Numbers that the statistics and the theory of reordering take, and what they refuse."""

import math

import numpy as np


def check_count(name: str, value: int, least: int) -> None:
    """Raises ValueError for what is no whole number >= least."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name}: got {value!r}, takes a whole number >= {least}")


def check_positive(name: str, value: float) -> None:
    """Raises ValueError for what is not finite or not > 0."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name}: got {value}, takes a finite number > 0")


def check_finite(name: str, value: float) -> None:
    """Raises ValueError for NaN and infinity."""
    if not math.isfinite(value):
        raise ValueError(f"{name}: got {value}, takes a finite number")


def check_share(name: str, value: float) -> None:
    """Raises ValueError for what is not strictly between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name}: got {value}, takes a number between 0 and 1")
