"""What models lose without the first token's key: layers' effects against their scores; a table.

Drawn from the record of `experiments.ablation`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tokensphere.sinks.style import estimates

from . import drawing, tables
from .drawing import COLOURS, GREY, axes
from .sink_tables import called

Found = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Data of the record of `experiments.ablation`: by model and length."""

TINY = 1e-12
"""Effects of this size are rounding: float64 of probabilities."""
NO_SINKS = {"layers": [], "alone": None, "random": None}


def effects(found: Found, length: int, measure: str = "kl") -> Figure:
    """Each layer's effect against its first token's score, a panel for each model.

    The effect is the change by ablating the layer's first token less that by a later one; 95%
    intervals over prompts for the scores, corrected for the number of layers for the effects. These
    differ by orders of magnitude: the axis is linear up to the power of ten above the median
    size, where the ground is grey, and logarithmic beyond.

    Args:
        length: of the prompts. measure: "kl" or "loss", which a model without labels lacks.
    """
    shown = {name: runs[str(length)] for name, runs in found.items()}
    shown = {name: run for name, run in shown.items() if measure in run["measures"]}
    figure, (array,) = axes(len(shown))
    for ax, (name, run) in zip(array, shown.items(), strict=True):
        ax.axvline(run["uniform"], color="k", lw=drawing.THIN, label="uniform attention")
        ax.axhline(0, color=GREY, lw=drawing.THIN)
        sinks = (run["sinks"] or NO_SINKS)["layers"]
        groups = {"other layers": COLOURS[0], "layers with a sink": COLOURS[1]}
        for has, (label, colour) in enumerate(groups.items()):
            places = [p for p in range(len(run["layers"])) if (p in sinks) == bool(has)]
            x = estimates(run["scores"][place] for place in places)
            y = estimates(run["layers"][place]["excess"][measure] for place in places)
            errors = [
                [np.subtract(v["mean"], v["low"]), np.subtract(v["high"], v["mean"])]
                for v in (y, x)
            ]
            style = {"fmt": "o", "ms": drawing.MARK, "elinewidth": drawing.THIN, "color": colour}
            ax.errorbar(x["mean"], y["mean"], *errors, label=label, **style)
        sizes = [abs(layer["excess"][measure]["mean"]) for layer in run["layers"]]
        middle = max(float(np.median(sizes)), TINY)
        _linear_then_logarithmic(ax, math.ceil(math.log10(middle)))
        ax.set(title=called(name), xlabel="share of the first token")
    array[0].set_ylabel("effect of ablating it, nats a\ntoken, less that of a later one")
    drawing.legend_below(figure, *array[0].get_legend_handles_labels(), 4)
    return figure


def _linear_then_logarithmic(ax: Axes, power: int) -> None:
    """The y axis, linear up to 10^power to both sides; labelled there, in the middle of it, and at
    one, two and five times each power of ten beyond."""
    end = 10.0**power
    low, high = ax.get_ylim()
    ax.set_yscale("symlog", linthresh=end)
    ax.axhspan(-end, end, color=GREY, alpha=0.15, lw=0, label="linear axis")
    size = max(-low, high)
    most = math.floor(math.log10(size)) if size > end else power
    powers = [10.0**each for each in range(power, most + 1)]
    beyond = [count * each for each in powers for count in range(2, 10)]
    named = [end / 2, *(count * each for each in powers for count in (1, 2, 5))]
    named = [each for each in named if each <= max(size, end)]
    ticks = [0.0, *(side * each for side in (-1, 1) for each in named)]
    ax.set_yticks(ticks, [_tick(tick) for tick in ticks])
    ax.set_yticks([side * each for side in (-1, 1) for each in beyond], minor=True)
    ax.set_ylim(low, high)


def _tick(value: float) -> str:
    return f"{value:g}".replace("-", "\u2212")


def answers(found: Found, lengths: Sequence[int]) -> Markdown:
    """Of each model and length: the planned outcome, and what else was compared."""
    columns = {}
    for name, runs in found.items():
        for length in lengths:
            run = runs[str(length)]
            primary, sinks = run["primary"], run["sinks"] or NO_SINKS
            alone, random = sinks["alone"], sinks["random"]
            columns[f"{called(name)}, {length} tokens"] = {
                "do layers that attend more to it lose more?": primary["answer"],
                f"rank correlation in a prompt ({primary['confidence']:.1%})": _spread(primary),
                "the same of the ratio, first over later (95%)": _spread(run["ratio"]),
                "layers with a sink": f"{len(sinks['layers'])} of {len(run['layers'])}",
                "layers whose effect is above that of a later token's key": _above(run, "kl"),
                "all layers at once, first token": _spread(run["all"]["first"]["kl"]),
                "all layers at once, a later token": _spread(run["all"]["later"]["kl"]),
                "a layer with a sink less another": _spread(alone and alone["kl"]),
                "those with a sink less as many others, at once": _spread(
                    random and random["excess"]["kl"]
                ),
                "rise of the loss, all layers at once": _spread(run["all"]["first"].get("loss")),
            }
    return tables.columns(columns)


def _above(run: Mapping[str, Any], measure: str) -> str:
    layers = run["layers"]
    return f"{sum(layer['excess'][measure]['low'] > 0 for layer in layers)} of {len(layers)}"


def _spread(found: Mapping[str, float] | None) -> str:
    return "-" if found is None else "{mean:.2g} [{low:.2g}, {high:.2g}]".format(**found)
