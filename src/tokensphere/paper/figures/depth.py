"""Errors of deep models against their depth, and how tokens approach their limits in time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy import stats

from . import drawing
from .drawing import COLOURS, axes


def errors_by_depth(
    curves: Mapping[str, tuple[Sequence[int], Sequence[float]]], first: int
) -> tuple[Figure, dict[str, float]]:
    """Log-log plot of errors against depth with fitted lines, and their slopes by label.

    Args:
        curves: by label, depths and errors.
        first: slopes are fitted on depths from this one on, or on all of a curve that ends there.
    """
    figure, [[ax]] = axes(height=4.0)
    slopes = {}
    for (label, values), colour, marker in zip(curves.items(), COLOURS, "os^Dv<>", strict=False):
        depth, error = map(np.asarray, values)
        late = depth >= (first if depth[-1] > first else 0)
        fit = stats.linregress(np.log(depth[late]), np.log(error[late]))
        slopes[label] = float(fit.slope)
        spread = f" ± {fit.stderr:.3f}" if np.isfinite(fit.stderr) else ""
        text = f"{label}: {fit.slope:.2f}{spread}"
        ax.plot(depth, error, marker, ms=drawing.MARK, color=colour, label=text)
        line = np.exp(fit.intercept) * depth[late] ** fit.slope
        ax.plot(depth[late], line, "--", color=colour, linewidth=1.0)
    ax.set(xlabel="depth $n$", ylabel="largest error", yscale="log")
    ax.set_xscale("log", base=2)
    drawing.legend_below(figure, *ax.get_legend_handles_labels(), 2)
    return figure, slopes


@dataclass(frozen=True)
class Decay:
    """Curves (T, n) against times (T,), and the n rates, or exponents of t, predicted for them."""

    title: str
    times: ArrayLike
    curves: ArrayLike
    predicted: ArrayLike
    power: bool = False
    until: float | None = None


def decays(panels: Sequence[Decay], lowest: float = 1e-11) -> Figure:
    """A panel each, colours by curve; dashed: the prediction through one late point of the curve.

    Exponential laws are straight on a semilogarithmic plot, powers on a log-log plot.
    """
    figure, array = axes(len(panels))
    for ax, panel in zip(array.flat, panels, strict=True):
        times = np.asarray(panel.times)
        for curve, rate, colour in zip(
            np.asarray(panel.curves).T, np.asarray(panel.predicted), COLOURS, strict=False
        ):
            seen = (curve > lowest) & (times > 0)
            t, values = times[seen], curve[seen]
            clock = np.log(t) if panel.power else t
            at = len(t) * 3 // 4
            ax.plot(t, values, color=colour)
            law = values[at] * np.exp(-rate * (clock - clock[at]))
            ax.plot(t, law, "--", color=colour, linewidth=1)
        ax.set(xlabel="time $t$", title=panel.title, yscale="log", ylim=(lowest, 1))
        if panel.power:
            ax.set(xscale="log")
        elif panel.until:
            ax.set(xlim=(0, panel.until))
    return figure
