"""Training with reordered tokens: curves, differences between arms, what the tokens do, power.

Drawn from the records of `reorder.experiment`. `found` is their runs by model, everywhere.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tokensphere.paper.printed import EFFECT, FLUCTUATION
from tokensphere.reorder import comparison
from tokensphere.reorder.comparison import ANGLE, Difference
from tokensphere.sinks.style import COLOURS, GREY, axes, band, estimates

from . import drawing

Runs = Sequence[Mapping[str, Any]]

MODELS = {
    "mambavision_tiny": "MambaVision-T, CIFAR-10",
    "s6-small": "S6 classifier, CIFAR-10",
    "s6-tiny": "S6 classifier, digits",
}
ARMS = {
    "baseline": "own order",
    "random": "random order",
    "layerwise": "layer-wise shuffle",
    "importance": "by importance",
    "fixed": "one fixed order",
}
"""By arm, how a figure calls it."""

_SIDE_BY_SIDE = dict(zip(ARMS, COLOURS, strict=False))


def collapse_by_order(
    widths: Mapping[str, Any], ends: Mapping[str, Sequence[float]], rates: Mapping[int, Any]
) -> Figure:
    """What orders do in the paper's flow: diameters by layer, ends by depth, rates by duration.

    widths: by the way to choose orders, diameters (layers + 1, starts).
    ends: "depths", in layers, and deviations of the end over passes: "layer", by depth, with an
        order for each layer; "pass", with one order a pass.
    rates: by number of tokens, "periods" that an order lasts, "found" rates for these, "fast" the
        limit for short ones, "slow" the approximation for long ones.
    """
    figure, ((left, middle, right),) = axes(3)
    for colour, (name, width) in zip(COLOURS, widths.items(), strict=False):
        shares = np.asarray(width) / np.asarray(width)[0]
        # Below, rounding.
        left.plot(np.where(shares > 1e-12, shares, np.nan), color=colour, linewidth=0.6, alpha=0.7)
        left.plot([], color=colour, label=name)
    left.set(yscale="log", ylim=(1e-18, 3), xlabel="layer")
    middle.plot(
        ends["depths"], ends["layer"], "o-", color=COLOURS[1], label="an order for each layer"
    )
    middle.axhline(ends["pass"][0], color=COLOURS[0], linestyle="--", label="one order a pass")
    middle.set(yscale="log", xlabel="layers")
    drawing.log_ticks(middle, ends["depths"])
    middle.set_yticks(ticks := [0.02, 0.05, 0.1, 0.2, 0.5], map(str, ticks))
    for colour, (length, rate) in zip(COLOURS[2:], rates.items(), strict=False):
        periods = rate["periods"]
        right.plot(periods, rate["found"], "o-", markersize=3, color=colour, label=f"L = {length}")
        right.plot(periods[:2], [rate["fast"]] * 2, ":", color=colour)
        right.plot(periods[-3:], rate["slow"][-3:], ":", color=colour)
    right.axhline(0.5, color=GREY, linewidth=0.8)
    right.set(xscale="log", xlabel="time that an order lasts")
    titles = ("diameter, over the start's", "deviation of the end", "rate")
    for ax, title, place in zip(figure.axes, titles, ("lower left", "best", "best"), strict=True):
        ax.set_title(title, fontsize=10)
        ax.legend(frameon=False, fontsize=7, loc=place)
    return figure


def accuracy_curves(found: Mapping[str, Runs]) -> Figure:
    """Accuracy against epoch, after the paper's Figure 4: own order and random order.

    Top-1 and top-5 in training (thin) and of the averaged weights in tests (full), means over
    seeds with their whole range; below, random minus own order in tests, paired by seed, with the
    95% interval of each epoch for itself.
    """
    figure, array = axes(len(found), 3, sharex="col")
    figure.set_size_inches(8.0, 8.0)
    for (model, runs), column in zip(found.items(), array.T, strict=True):
        column[0].set_title(MODELS[model], loc="left", fontsize=10)
        for ax, top in zip(column, ("top1", "top5"), strict=False):
            for arm in ("baseline", "random"):
                for split, width, word in (("train", 0.8, "training"), ("test", 1.6, "test")):
                    lines = list(_epochs(runs, arm, split, top).values())
                    if lines:
                        epochs = range(1, len(lines[0]) + 1)
                        label = f"{ARMS[arm]}, {word}"
                        _over_seeds(ax, epochs, np.array(lines), arm, label, linewidth=width)
        _paired_by_epoch(column[2], runs)
        column[2].set_xlabel("epoch")
    for ax, label in zip(
        array[:, 0], ("top-1 (%)", "top-5 (%)", "difference (points)"), strict=True
    ):
        ax.set_ylabel(label)
    drawing.legend_below(figure, *array[0, 0].get_legend_handles_labels(), 2)
    return figure


def differences(found: Mapping[str, Runs], effect: float = EFFECT) -> Figure:
    """Each arm's top-1 at the end minus the baseline's, in points: seeds, mean, 95% interval.

    Grey bars reach as far as true differences that the arm's paired test misses more than once in
    five times, given the sd of differences pooled over the model's arms.

    effect: a difference to compare with, marked by a line.
    """
    figure, array = axes(1, len(found))
    figure.set_size_inches(7.0, 0.6 + 2.1 * len(found))
    panels = array[:, 0]
    for ax, (model, runs) in zip(panels, found.items(), strict=True):
        values = comparison.outcomes(runs, "top1")
        arms = comparison.differences(values)
        sd = comparison.pooled_sd(arms.values())
        for place, (arm, difference) in enumerate(arms.items()):
            seeds = sorted(values[arm].keys() & values["baseline"].keys())
            each = [values[arm][seed] - values["baseline"][seed] for seed in seeds]
            reach = comparison.detectable(sd, difference.n)
            bar = ax.barh(place, 2 * reach, left=-reach, height=0.62, color=GREY, alpha=0.25)
            bar.set_label("too small to find four times in five" if place == 0 else "_nolegend_")
            ax.plot(each, [place] * len(each), "o", color=COLOURS[5], markersize=4)
            style = {"fmt": "D", "color": COLOURS[0], "markersize": 5, "capsize": 3}
            ax.errorbar(difference.mean, place, xerr=difference.high - difference.mean, **style)
        ax.axvline(0, color=GREY, linewidth=1.0)
        ax.axvline(effect, color=COLOURS[1], linestyle="--", label=f"paper, {effect:+.2f}")
        ax.set_yticks(range(len(arms)), [f"{ARMS[arm]} ({d.n})" for arm, d in arms.items()])
        ax.set_ylim(len(arms) - 0.4, -0.6)
        ax.set_title(MODELS[model], loc="left", fontsize=10)
    panels[-1].set_xlabel("minus own order (points)")
    panels[0].plot([], [], "o", color=COLOURS[5], markersize=4, label="one seed")
    panels[0].plot([], [], "D-", color=COLOURS[0], markersize=5, label="mean, 95% interval")
    drawing.legend_below(figure, *panels[0].get_legend_handles_labels(), 2)
    return figure


def mechanism(found: Mapping[str, Runs]) -> Figure:
    """What the tokens of trained models do, by depth and arm: means over seeds, whole range.

    From `reorder.mechanism`: sensitivity to the order, similarity, clusters as a share of the
    tokens, effective rank, excess similarity with the token read first, and response to it.
    """
    rows = {
        "sensitivity\nto the order": lambda run: run["orders"]["sensitivity"],
        "mean cosine": lambda run: run["mechanism"]["similarity"],
        f"clusters at {ANGLE}°,\nshare of tokens": _share_of_clusters,
        "effective rank": lambda run: run["mechanism"]["effective_rank"],
        "closer to the first\nthan to each other": lambda run: run["mechanism"]["excess"],
        "response\nto the first": lambda run: (run["mechanism"]["response"] or {}).get("first"),
    }
    depths = [len(runs[0]["mechanism"]["depths"]) for runs in found.values()]
    # Wide enough for the names of the depths.
    widths = {"width_ratios": [max(depth, 8) for depth in depths]}
    figure, array = axes(len(found), len(rows), sharex="col", gridspec_kw=widths)
    figure.set_size_inches(8.0, 11.5)
    for (model, runs), column in zip(found.items(), array.T, strict=True):
        column[0].set_title(MODELS[model], loc="left", fontsize=10)
        names = runs[0]["mechanism"]["depths"]
        for ax, measure in zip(column, rows.values(), strict=True):
            drawn = [_by_depth(ax, runs, arm, measure, names) for arm in ARMS]
            ax.set_visible(any(drawn))
        last = [ax for ax in column if ax.get_visible()][-1]
        last.tick_params(labelbottom=True)
        last.set_xticks(range(len(names)), [_short(name) for name in names], fontsize=7)
        last.set_xlabel(_axis(names))
    for row, label in zip(array, rows, strict=True):
        next(ax for ax in row if ax.get_visible()).set_ylabel(label)
    figure.align_ylabels(array[:, 0])
    # Not every model has every arm.
    drawn = {}
    for ax in array[0]:
        drawn |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    drawing.legend_below(figure, list(drawn.values()), list(drawn), 3)
    return figure


def power_curves(
    ours: Mapping[str, Difference], once: Sequence[float] = FLUCTUATION, effect: float = EFFECT
) -> Figure:
    """Chance of finding a true difference, against its size in points.

    ours: paired comparisons by name, with the sd that each saw.
    once: seed-to-seed sds for a comparison of one run each.
    effect: marked by a line.
    """
    figure, ((ax,),) = axes()
    reach = [comparison.detectable_once(max(once))]
    reach += [comparison.detectable(d.sd, d.n) for d in ours.values()]
    x = np.linspace(0, 1.1 * min(max(reach), 4 * reach[0]), 200)
    styles = ("-", "--", ":")
    for sd, style in zip(once, styles, strict=False):
        y = [comparison.power_once(value, sd) for value in x]
        ax.plot(x, y, color=COLOURS[1], linestyle=style, label=f"one run each, seeds' sd {sd:g}")
    for (name, d), style in zip(ours.items(), styles, strict=False):
        y = [comparison.power(value, d.sd, d.n) for value in x]
        label = f"{name}, {d.n} pairs, sd {d.sd:.2f}"
        ax.plot(x, y, color=COLOURS[0], linestyle=style, label=label)
    ax.axvline(effect, color=GREY, linewidth=1.0)
    ax.annotate(f" {effect:+.2f}", (effect, 1.02), color=GREY, fontsize=9)
    ax.axhline(0.8, color=GREY, linewidth=0.8, linestyle=":")
    ax.set(xlabel="true difference (points)", ylabel="power at level 0.05", ylim=(0, 1.08))
    ax.legend(frameon=False)
    return figure


def curves_by_gpus(curves: Mapping[str, Sequence[float]], every: int) -> Figure:
    """Training loss on several GPUs beside one, and how far from one GPU's each curve is.

    curves: of the record of `reorder.scaling`, a value every so many steps.
    """
    figure, ((left, right),) = axes(2)
    first, *others = curves
    for colour, (name, losses) in zip(COLOURS, curves.items(), strict=False):
        steps = every * np.arange(1, len(losses) + 1)
        style = {"color": colour, "label": name, "linewidth": 1.2}
        left.plot(steps, losses, **style)
        if name in others:
            apart = np.abs(np.subtract(losses, curves[first]))
            # Curves that are equal have no place on a scale of logarithms.
            right.plot(steps, np.where(apart > 0, apart, np.nan), **style)
    left.set(xlabel="steps", ylabel="training loss")
    right.set(xlabel="steps", ylabel=f"distance from {first}", yscale="log")
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=8)
    return figure


def _epochs(runs: Runs, arm: str, split: str, metric: str) -> dict[int, list[float]]:
    """A metric in percent by epoch, of each run of an arm by its seed."""

    def value(line: Mapping[str, Any]) -> float:
        return line[f"train_{metric}"] if split == "train" else comparison.tested(line, metric)

    chosen = {run["seed"]: run["epochs"] for run in runs if run["arm"] == arm}
    return {seed: [100 * value(line) for line in lines] for seed, lines in chosen.items()}


def _over_seeds(
    ax: Axes, x: Sequence[float], table: np.ndarray, arm: str, label: str, **line: Any
) -> None:
    """Mean and whole range over seeds, the rows of a table."""
    values = {"mean": table.mean(0), "low": table.min(0), "high": table.max(0)}
    band(ax, x, values, _SIDE_BY_SIDE[arm], label, **line)


def _paired_by_epoch(ax: Axes, runs: Runs) -> None:
    random, own = (_epochs(runs, arm, "test", "top1") for arm in ("random", "baseline"))
    seeds = sorted(random.keys() & own.keys())
    if len(seeds) < 2:
        raise ValueError(f"found: {len(seeds)} seeds in both orders, takes two or more")
    by_epoch = (zip(*(each[seed] for seed in seeds), strict=True) for each in (random, own))
    each = [comparison.paired(*pair) for pair in zip(*by_epoch, strict=True)]
    ax.axhline(0, color=GREY, linewidth=1.0)
    values = estimates(map(asdict, each))
    band(ax, range(1, len(each) + 1), values, COLOURS[2], "random minus own order, test")
    # Early epochs differ by much more than late ones, which are the ones to see.
    late = [(d.mean, d.low, d.high) for d in each[len(each) // 3 :]]
    reach = 1.15 * float(np.nanmax(np.abs(late)))
    ax.set_ylim(-reach, reach)


def _share_of_clusters(run: Mapping[str, Any]) -> list[float]:
    counts = run["mechanism"]["clusters"][str(ANGLE)]
    return [n / length for n, length in zip(counts, run["mechanism"]["tokens"], strict=True)]


def _by_depth(ax: Axes, runs: Runs, arm: str, measure: Any, names: Sequence[str]) -> bool:
    """Draw a measure of an arm; whether there was anything to draw."""
    lists = [found for run in runs if run["arm"] == arm and (found := measure(run)) is not None]
    if not lists:
        return False
    table = np.array(lists, dtype=float)  # None becomes NaN
    label = ARMS[arm]
    # A line of its own for each stage: between stages the tokens are merged.
    for _, group in itertools.groupby(range(len(names)), key=lambda i: _stage(names[i])):
        places = list(group)
        _over_seeds(ax, places, table[:, places], arm, label, linewidth=1.2)
        label = "_nolegend_"
    return True


def _stage(name: str) -> str:
    return name.partition(",")[0] if name.startswith("stage") else ""


def _short(name: str) -> str:
    """ "stage 3, block 5 (attention)" as 5a, an input as in, the embedding as 0."""
    if name == "embedding":
        return "0"
    if name.endswith("input"):
        return "in"
    words = name.replace("(", "").replace(")", "").split()
    return words[-2] + words[-1][0] if _stage(name) else words[-1]


def _axis(names: Sequence[str]) -> str:
    stages = list(dict.fromkeys(map(_stage, names)))
    if stages == [""]:
        return "layers passed"
    return " | ".join(stages) + " (m: Mamba, a: attention)"
