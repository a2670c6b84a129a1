"""Figures of tokens that come to the first one: which way they turn, how fast, how fits agree."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from tokensphere.other_tokens.approach import Approach

from . import drawing
from .drawing import COLOURS, DARK_GREY, INK, as_numpy


def ways_to_first(
    ax: Axes, theta: NDArray, phi: NDArray, turned: NDArray, curve: tuple[NDArray, NDArray]
) -> None:
    """Starts of the second and third token of the plane, coloured by the way that x_3 turns.

    Args:
        theta, phi, turned: of one shape; starts in radians, and where x_3 has turned to from -x_1.
        curve: theta > 0 and phi of the starts that turn neither way.
    """
    for sign, colour in ((1, COLOURS[5]), (-1, COLOURS[4])):
        part = turned * sign > 0
        ax.scatter(theta[part], phi[part], s=7, marker="s", color=colour, lw=0)
    for sign in (1, -1):
        ax.plot(sign * curve[0], sign * curve[1], color=INK)
    ax.axhline(0, color=INK, ls="--", lw=1.0)
    ax.set(
        xlabel="angle of $x_2(0)$ from $x_1$",
        ylabel="angle of $x_3(0)$ from $-x_1$",
        title="the way to $x_1$",
    )


def fitted_against_predicted(ax: Axes, runs: Sequence[Approach], fitted: Sequence[float]) -> None:
    """Fitted rates of runs against predicted ones, in the time of the weights as drawn."""
    groups: dict[str, tuple[list[float], list[float]]] = {}
    for run, rate in zip(runs, fitted, strict=True):
        predicted, found = groups.setdefault(run.system, ([], []))
        predicted.append(run.rate * run.unit)
        found.append(rate * run.unit)
    drawing.rates(ax, groups)
    ax.set(yscale="log")
    ax.set_yticks(ticks := [0.3, 1, 3], map(str, ticks))
    drawing.log_ticks(ax, ticks)


def slowest_runs(ax: Axes, runs: Sequence[Approach]) -> None:
    """The slowest run of each system with its predicted slope, dotted."""
    systems = dict.fromkeys(run.system for run in runs)
    for name, colour in zip(systems, COLOURS, strict=False):
        mine = [run for run in runs if run.system == name]
        run = min(mine, key=lambda run: run.rate * run.unit)
        times, error = as_numpy(run.times), as_numpy(run.error)
        slope = np.exp(-run.rate * (times - times[-1])) * error[-1]
        ax.plot(times / run.unit, error, color=colour)
        ax.plot(times / run.unit, slope, ":", color=DARK_GREY, lw=1.0)
    ax.set(yscale="log", xlabel="time $t$", xlim=(0, 60), ylim=(1e-25, 30))
    ax.set(ylabel="sum of distances")
