"""Figures of the earlier paper's refinements: losses, signs and norms by depth, relaxed orders."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from tokensphere.paper.experiments import refinement_outcomes as outcomes
from tokensphere.reorder.comparison import Difference

from . import drawing, tables
from .drawing import COLOURS, DARK_GREY, GREY, as_numpy, axes

Runs = Sequence[Mapping[str, Any]]

STYLES = {
    "unconstrained": (COLOURS[6], "-"),
    "positive": (COLOURS[0], "-"),
    "negative": (COLOURS[1], "-"),
    "mixed": (COLOURS[2], "-"),
    "mixed, offset": (COLOURS[2], "--"),
    "tied": (COLOURS[4], ":"),
    "positive, own scale": (COLOURS[0], "--"),
    "negative, own scale": (COLOURS[1], "--"),
}
"""By arm, colour and line."""


def interval(d: Difference) -> str:
    """Mean and bounds of a difference of losses, nats a token."""
    return f"{d.mean:+.4f} [{d.low:+.4f}, {d.high:+.4f}]"


def loss_table(runs: Runs) -> Markdown:
    """Losses of the arms, their differences from no constraint, p after Holm."""
    values = outcomes.losses(runs)
    found = outcomes.compare(values, outcomes.primary_pairs())
    rows = []
    for arm, own in values.items():
        mean = float(np.mean(own))
        row = [arm, f"{mean:.4f}", f"{math.exp(mean):.2f}"]
        if arm == outcomes.BASE:
            rows.append([*row, "", ""])
        else:
            difference, p = found[arm, outcomes.BASE]
            rows.append([*row, interval(difference), f"{p:.3f}"])
    head = ["arm", "held-out loss", "perplexity", "less unconstrained, 95%", "p (Holm)"]
    return tables.table(head, rows)


def pair_table(runs: Runs) -> Markdown:
    """The comparisons between arms that were planned beside the primary one."""
    found = outcomes.compare(outcomes.losses(runs), outcomes.secondary_pairs())
    rows = [
        [f"{first} less {second}", interval(difference), f"{p:.3f}"]
        for (first, second), (difference, p) in found.items()
    ]
    return tables.table(["arms", "difference, 95%", "p (Holm)"], rows)


def losses(runs: Runs, margin: float) -> Figure:
    """Held-out losses less those without constraint: at the end by seed, and along the training."""
    figure, ((left, right),) = axes(2)
    values = outcomes.losses(runs)
    found = outcomes.compare(values, outcomes.primary_pairs())
    base = np.array(values[outcomes.BASE])
    for place, ((arm, _), (difference, _)) in enumerate(found.items()):
        colour, _ = STYLES[arm]
        points = np.array(values[arm]) - base
        left.plot(
            points, np.full(len(points), place), "o", ms=drawing.MARK - 1, color=colour, alpha=0.6
        )
        ends = [[difference.mean - difference.low], [difference.high - difference.mean]]
        left.errorbar(
            difference.mean, place + 0.25, xerr=ends, fmt="D", ms=drawing.MARK, color=colour
        )
    left.axvspan(-margin, margin, color=GREY, alpha=0.15, lw=0)
    left.axvline(0, color=DARK_GREY, lw=drawing.THIN)
    left.set(yticks=range(len(found)), yticklabels=[arm for arm, _ in found])
    left.invert_yaxis()
    left.set(xlabel="nats a token", title="loss, less the unconstrained")
    arms = outcomes.arms(runs)
    curves = {
        arm: np.array([[loss for _, loss in run["heldout"]] for run in own]).mean(0)
        for arm, own in arms.items()
    }
    steps = [step for step, _ in runs[0]["heldout"]]
    for arm, curve in curves.items():
        colour, line = STYLES[arm]
        right.plot(steps, curve - curves[outcomes.BASE], line, color=colour, label=arm)
    right.set(xlabel="training step", ylabel="nats a token", title="the same in training")
    right.set(ylim=(-0.001, 0.026))
    drawing.legend_below(figure, *right.get_legend_handles_labels(), 4)
    return figure


def _depth(count: int) -> np.ndarray:
    """Depths of layers, as shares of the model's."""
    return (np.arange(count) + 0.5) / count


def signs(runs: Runs, others: Mapping[str, Sequence[float]]) -> Figure:
    """Which sign layers have by depth: share of the positive eigenvalues where nothing is held, and
    share of positive supply by arm.

    others: the former by layer, in models from elsewhere by name.
    """
    figure, ((left, right),) = axes(2)
    for when, style in {"before": (GREY, "--"), "after": (COLOURS[6], "-")}.items():
        values = outcomes.layers(runs, when, "positive_share")[outcomes.BASE]
        for row in values:
            left.plot(_depth(len(row)), row, style[1], color=style[0], lw=drawing.THIN)
        left.plot([], style[1], color=style[0], label=f"unconstrained, {when}")
    for (name, row), colour in zip(others.items(), (COLOURS[3], COLOURS[5]), strict=False):
        left.plot(_depth(len(row)), row, "o-", ms=drawing.MARK, color=colour, label=name)
    left.axhline(0.5, color=GREY, lw=drawing.THIN)
    left.set(xlabel="relative depth", ylim=(0, 0.7), ylabel="positive eigenvalues, share")
    drawing.legend(left)
    found = outcomes.supplies(runs, "after")
    for arm in ("unconstrained", "positive", "negative", "mixed"):
        colour, line = STYLES[arm]
        row = found[arm].mean(0)
        right.plot(_depth(len(row)), row, f"o{line}", ms=drawing.MARK, color=colour, label=arm)
    right.set(xlabel="relative depth", ylim=(-0.03, 1.03))
    right.set(ylabel="channels with positive supply")
    drawing.legend(right)
    return figure


def norms(runs: Runs) -> Figure:
    """Norms of tokens by depth, before and after training, and what each block adds."""
    figure, ((left, right),) = axes(2)
    for arm in ("unconstrained", "positive", "negative", "mixed", "tied"):
        colour, line = STYLES[arm]
        before, after = (
            outcomes.streams(runs, when, "log_norm")[arm].mean(0) for when in ("before", "after")
        )
        left.plot(np.exp(after), line, color=colour, label=arm)
        left.plot(np.exp(before), line, color=colour, lw=drawing.THIN, alpha=0.6)
        cosine = outcomes.streams(runs, "after", "cosine")[arm].mean(0)
        right.plot(range(1, len(cosine) + 1), cosine, line, color=colour)
    left.text(7, 0.45, "before training", fontsize=drawing.SMALL, color=DARK_GREY)
    left.set(yscale="log", xlabel="blocks", ylabel="norm of a token")
    right.axhline(0, color=GREY, lw=drawing.THIN)
    right.set(xlabel="block", ylabel="cosine with what it adds")
    drawing.legend_below(figure, *left.get_legend_handles_labels(), 5)
    return figure


def averaging(spreads: Sequence[float], effective: Tensor, shown: Mapping[float, Tensor]) -> Figure:
    """Over how many tokens a relaxed order averages, by the spread of scores; two such orders.

    effective: means over rows, (n,), one for each of the spreads, in units of the temperature.
    shown: matrices (L, L) by their spread.
    """
    figure, array = axes(1 + len(shown))
    left, *others = array.flat
    left.plot(spreads, as_numpy(effective), "o-", ms=drawing.MARK, color=COLOURS[0])
    left.axhline(1, color=GREY, lw=drawing.THIN)
    ticks = [0.1, 1, 10, 100, 1000]
    drawing.log_ticks(left, ticks)
    left.set(yscale="log", xlabel="sd of the scores / temperature", ylabel="tokens averaged")
    left.set(yticks=[1, 10, 100, 196], yticklabels=[1, 10, 100, 196])
    for ax, (spread, P) in zip(others, shown.items(), strict=True):
        _matrix(ax, P, f"weights, sd {spread:g}")
    return figure


def _matrix(ax: Axes, P: Tensor, title: str) -> None:
    ax.imshow(as_numpy(P.sqrt()), cmap="Greys", vmin=0, vmax=1)
    ax.grid(False)
    ax.set(title=title, xlabel="old tokens, by score", ylabel="new token", xticks=[], yticks=[])
