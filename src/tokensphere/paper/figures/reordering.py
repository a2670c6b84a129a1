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
from tokensphere.reorder.comparison import Difference
from tokensphere.sinks.style import band, estimates

from . import drawing
from .drawing import COLOURS, DARK_GREY, GREY, axes

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
    keys = []
    for colour, (name, width) in zip(COLOURS, widths.items(), strict=False):
        shares = np.asarray(width) / np.asarray(width)[0]
        # Below, rounding.
        shown = np.where(shares > 1e-12, shares, np.nan)
        left.plot(shown, color=colour, linewidth=drawing.THIN, alpha=0.7)
        keys += left.plot([], color=colour, label=name)
    left.set(yscale="log", xlabel="layer", ylabel="diameter, over the start's")
    style = {"marker": "o", "markersize": drawing.MARK}
    # In the colours that the left panel gives to one order a pass and to one for each layer.
    middle.axhline(ends["pass"][0], color=COLOURS[0])
    middle.plot(ends["depths"], ends["layer"], color=COLOURS[1], **style)
    middle.set(yscale="log", xlabel="layers", ylabel="deviation of the end")
    drawing.log_ticks(middle, ends["depths"])
    middle.set_yticks(ticks := [0.02, 0.05, 0.1, 0.2, 0.5], map(str, ticks))
    for colour, (length, rate) in zip(COLOURS[len(keys) :], rates.items(), strict=False):
        periods = rate["periods"]
        label = f"{length} tokens"
        keys += right.plot(periods, rate["found"], color=colour, label=label, **style)
        right.plot(periods[:2], [rate["fast"]] * 2, ":", color=colour)
        right.plot(periods[-3:], rate["slow"][-3:], ":", color=colour)
    right.axhline(0.5, color=DARK_GREY, linewidth=drawing.THIN)
    right.set(xscale="log", xlabel="time that an order lasts", ylabel="rate of collapse")
    drawing.legend_below(figure, keys, [key.get_label() for key in keys], 2)
    return figure


def accuracy_curves(found: Mapping[str, Runs]) -> Figure:
    """Accuracy against epoch, after the paper's Figure 4: own order and random order.

    Top-1 in training (thin) and of the averaged weights in tests (thick), means over seeds with
    their whole range, random order dashed, as it may lie on the other; below, random minus own
    order in tests, paired by seed, with the 95% interval of each epoch for itself.
    """
    figure, array = axes(len(found), 2, height=2.7, sharex="col")
    splits = (("train", drawing.THIN, "training"), ("test", drawing.THICK, "test"))
    for (model, runs), (upper, lower) in zip(found.items(), array.T, strict=True):
        upper.set_title(MODELS[model])
        for arm, (split, width, word) in itertools.product(("baseline", "random"), splits):
            lines = np.array(list(_epochs(runs, arm, split, "top1").values()))
            epochs = range(1, lines.shape[1] + 1)
            style = {"linewidth": width, "linestyle": "--" if arm == "random" else "-"}
            _over_seeds(upper, epochs, lines, arm, f"{ARMS[arm]}, {word}", **style)
        _paired_by_epoch(lower, runs)
        lower.set_xlabel("epoch")
    array[0, 0].set_ylabel("top-1 (%)")
    array[1, 0].set_ylabel("random minus own\n(points)")
    drawing.legend_below(figure, *array[0, 0].get_legend_handles_labels(), 2)
    return figure


def differences(found: Mapping[str, Runs], effect: float = EFFECT) -> Figure:
    """Each arm's top-1 at the end minus the baseline's, in points: seeds, mean, 95% interval.

    Means stand below their seeds, which would hide them. Each model has a scale of its own.

    Grey bars reach as far as true differences that the arm's paired test misses more than once in
    five times, given the sd of differences pooled over the model's arms.

    effect: a difference to compare with, marked by a line.
    """
    figure, array = axes(1, len(found), height=1.9)
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
            high = [place - 0.14] * len(each)
            ax.plot(each, high, "o", color=COLOURS[5], markersize=drawing.MARK)
            style = {"fmt": "D", "color": COLOURS[0], "markersize": drawing.MARK, "capsize": 3}
            half = difference.high - difference.mean
            ax.errorbar(difference.mean, place + 0.14, xerr=half, **style)
        ax.axvline(0, color=DARK_GREY, linewidth=drawing.THIN)
        ax.axvline(effect, color=COLOURS[1], linestyle="--", label=f"paper, {effect:+.2f}")
        ax.set_yticks(range(len(arms)), [f"{ARMS[arm]} ({d.n})" for arm, d in arms.items()])
        ax.set_ylim(len(arms) - 0.4, -0.6)
        ax.set_title(MODELS[model])
    panels[-1].set_xlabel("top-1, minus own order (points)")
    mark = {"markersize": drawing.MARK}
    panels[0].plot([], [], "o", color=COLOURS[5], label="one seed", **mark)
    panels[0].plot([], [], "D-", color=COLOURS[0], label="mean, 95% interval", **mark)
    drawing.legend_below(figure, *panels[0].get_legend_handles_labels(), 2)
    return figure


def mechanism(found: Mapping[str, Runs]) -> Figure:
    """Do an image's tokens collapse with depth, and do they follow the first? By model and arm.

    Above, the mean cosine of an image's tokens; below, that with the token read first minus that
    among the others, for arms in which one token is. Means over seeds; own and random order with
    their whole range. Grey ground: what Mamba mixers do, where others do something too.
    """
    depths = [len(runs[0]["mechanism"]["depths"]) for runs in found.values()]
    widths = {"width_ratios": [max(depth, 8) for depth in depths]}
    figure, array = axes(len(found), 2, height=2.7, sharex="col", sharey="row", gridspec_kw=widths)
    for (model, runs), column in zip(found.items(), array.T, strict=True):
        names = runs[0]["mechanism"]["depths"]
        for ax, measure in zip(column, ("similarity", "excess"), strict=True):
            for arm in ARMS:
                _by_depth(ax, runs, arm, measure, names)
            _mixers(ax, names)
        column[0].set_title(MODELS[model])
        column[0].axhline(1, color=DARK_GREY, linewidth=drawing.THIN)
        column[1].axhline(0, color=DARK_GREY, linewidth=drawing.THIN)
        column[1].set_xticks(*_ticks(names))
        column[1].set_xlabel(_axis(names))
    array[0, 0].set(ylim=(0, 1.04), ylabel="cosine of tokens\n(1: all are one)")
    array[1, 0].set_ylabel("closer to the first\nthan to each other")
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
    figure, ((ax,),) = axes(height=3.4)
    reach = [comparison.detectable_once(max(once))]
    reach += [comparison.detectable(d.sd, d.n) for d in ours.values()]
    x = np.linspace(0, 1.1 * min(max(reach), 4 * reach[0]), 200)
    styles = ("-", "--", ":")
    for (name, d), style in zip(ours.items(), styles, strict=False):
        y = [comparison.power(value, d.sd, d.n) for value in x]
        label = f"{name}, {d.n} pairs, sd {d.sd:.2f}"
        ax.plot(x, y, color=COLOURS[0], linestyle=style, label=label)
    for sd, style in zip(once, styles, strict=False):
        y = [comparison.power_once(value, sd) for value in x]
        ax.plot(x, y, color=COLOURS[1], linestyle=style, label=f"one run each, seeds' sd {sd:g}")
    ax.axvline(effect, color=DARK_GREY, linewidth=drawing.THIN)
    ax.axhline(0.8, color=DARK_GREY, linewidth=drawing.THIN, linestyle=":")
    end = {"color": DARK_GREY, "fontsize": drawing.SMALL}
    ax.annotate(f" paper, {effect:+.2f}", (effect, 1.02), **end)
    ax.annotate("four times in five", (0.65 * x[-1], 0.8), ha="center", va="bottom", **end)
    ax.set(xlabel="true difference (points)", ylabel="power at level 0.05", ylim=(0, 1.08))
    drawing.legend(ax, 2)
    return figure


def curves_by_gpus(curves: Mapping[str, Sequence[float]], every: int) -> Figure:
    """Training loss on several GPUs beside one, and how far from one GPU's each curve is.

    Curves that agree lie on one another: the first is broad and the last dotted, so that both are
    seen.

    curves: of the record of `reorder.scaling`, a value every so many steps.
    """
    figure, ((left, right),) = axes(2)
    first, *_, last = curves
    for colour, (name, losses) in zip(COLOURS, curves.items(), strict=False):
        steps = every * np.arange(1, len(losses) + 1)
        width = (3 if name == first else 1) * drawing.LINE
        dashes = ":" if name == last else "-"
        style = {"color": colour, "label": name, "linewidth": width, "linestyle": dashes}
        left.plot(steps, losses, **style)
        if name != first:
            apart = np.abs(np.subtract(losses, curves[first]))
            # Curves that are equal have no place on a scale of logarithms.
            right.plot(steps, np.where(apart > 0, apart, np.nan), **style)
    left.set(xlabel="steps", ylabel="training loss")
    right.set(xlabel="steps", ylabel=f"distance from {first}", yscale="log")
    drawing.legend_below(figure, *left.get_legend_handles_labels(), 2)
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
    ax.axhline(0, color=DARK_GREY, linewidth=drawing.THIN)
    values = estimates(map(asdict, each))
    band(ax, range(1, len(each) + 1), values, _SIDE_BY_SIDE["random"], "random minus own order")
    # Early epochs differ by much more than late ones, which are the ones to see.
    late = [(d.mean, d.low, d.high) for d in each[len(each) // 3 :]]
    reach = 1.15 * float(np.nanmax(np.abs(late)))
    ax.set_ylim(-reach, reach)


def _by_depth(ax: Axes, runs: Runs, arm: str, measure: str, names: Sequence[str]) -> None:
    """Draw a measure of `reorder.mechanism` for an arm, if its runs have it."""
    lists = [run["mechanism"][measure] for run in runs if run["arm"] == arm]
    lists = [values for values in lists if values is not None]
    if not lists:
        return
    table = np.array(lists, dtype=float)  # None becomes NaN
    # A line of its own for each stage: between stages the tokens are merged.
    for places in _stages(names).values():
        part = table[:, places]
        if arm in ("baseline", "random"):
            _over_seeds(ax, places, part, arm, ARMS[arm], linewidth=drawing.LINE)
        else:
            style = {"color": _SIDE_BY_SIDE[arm], "linewidth": drawing.LINE, "label": ARMS[arm]}
            ax.plot(places, part.mean(0), **style)


def _mixers(ax: Axes, names: Sequence[str]) -> None:
    """A grey ground from the tokens before to those after each block that is called Mamba's."""
    for place, name in enumerate(names):
        if name.endswith("(mamba)"):
            ax.axvspan(place - 1, place, color=GREY, alpha=0.15, linewidth=0)


def _stages(names: Sequence[str]) -> dict[str, list[int]]:
    """Places of depths by stage; a model without stages has one, called ""."""
    found: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        stage = name.partition(",")[0] if name.startswith("stage") else ""
        found.setdefault(stage, []).append(place)
    return found


def _ticks(names: Sequence[str]) -> tuple[list[int], list[int]]:
    """Places of some depths, and the blocks or layers of its stage that are passed there."""
    stages = _stages(names).values()
    ticks = {place: place - stage[0] for stage in stages for place in stage[:: len(stage) // 2]}
    return list(ticks), list(ticks.values())


def _axis(names: Sequence[str]) -> str:
    stages = list(_stages(names))
    return "layers passed" if stages == [""] else f"blocks of {' | '.join(stages)}"
