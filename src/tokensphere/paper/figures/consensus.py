"""Figures of tokens that come to the first one: which way they turn, how fast, how fits agree."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from tokensphere.other_tokens.approach import Approach
from tokensphere.sinks.style import COLOURS, as_numpy


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
        ax.plot(sign * curve[0], sign * curve[1], "k")
    ax.axhline(0, color="#555555", ls="--", lw=1)
    ax.set(
        xlabel="angle of $x_2(0)$ from $x_1$",
        ylabel="angle of $x_3(0)$ from $-x_1$",
        title="the way to $x_1$",
    )


def fitted_against_predicted(ax: Axes, runs: Sequence[Approach], fitted: Sequence[float]) -> None:
    """Fitted rates of runs against predicted ones, in the time of the weights as drawn."""
    for name, colour in _coloured(runs):
        mine = [index for index, run in enumerate(runs) if run.system == name]
        predicted = [runs[index].rate * runs[index].unit for index in mine]
        found = [fitted[index] * runs[index].unit for index in mine]
        ax.plot(predicted, found, "o", ms=4, color=colour, label=name)
    ax.set(xscale="log", yscale="log", xlabel="predicted rate", title="fitted rate")
    ends = ax.get_xlim()
    ax.plot(ends, ends, "k", lw=0.6)
    ax.legend(fontsize=6.5)


def slowest_runs(ax: Axes, runs: Sequence[Approach]) -> None:
    """The slowest run of each system with its predicted slope, dotted."""
    for name, colour in _coloured(runs):
        mine = [run for run in runs if run.system == name]
        run = min(mine, key=lambda run: run.rate * run.unit)
        times, error = as_numpy(run.times), as_numpy(run.error)
        slope = np.exp(-run.rate * (times - times[-1])) * error[-1]
        ax.plot(times / run.unit, error, color=colour, lw=1.5)
        ax.plot(times / run.unit, slope, ":", color="#555555", lw=1)
    ax.set(yscale="log", xlabel="t", xlim=(0, 60), ylim=(1e-25, 30), title="sum of distances")


def _coloured(runs: Sequence[Approach]) -> list[tuple[str, str]]:
    return list(zip(dict.fromkeys(run.system for run in runs), COLOURS, strict=False))
