"""Figures of where later tokens end, by law and by rate, and how shares are written."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from tokensphere import records, survey
from tokensphere.other_tokens.census import ENDS, shares_by_end
from tokensphere.sinks.style import COLOURS, GREY, as_numpy

HUES = dict(zip(ENDS, (*(COLOURS[i] for i in (0, 5, 1, 4)), "#999999"), strict=True))


SURVEY = {"draws": 2000, "dims": [2, 3, 10, 32], "horizon": 2560.0, "follow": 100.0, "seed": 0}
"""Parameters of the recorded survey."""


def recorded_ends(law: str, dim: int, decays: str) -> dict[str, float]:
    """Shares by ENDS of the later tokens of the recorded survey, which counts tokens at other
    vertices as elsewhere; `law` and `decays` as in :mod:`tokensphere.survey`."""
    record = records.load(records.path("survey.json"), parameters=SURVEY)
    shares = shares_by_end(record.data["later"][f"{law}, D={dim}, {decays}"])
    return {end.removesuffix(" at rest"): share for end, share in shares.items()}


def percent(which: Tensor) -> str:
    """The share of True entries with its 95% Wilson interval, such as "46% (40% to 52%)"."""
    low, high = survey.interval(int(which.sum()), which.numel())
    return f"{float(which.double().mean()):.0%} ({low:.0%} to {high:.0%})"


def stacked_ends(ax: Axes, rows: Sequence[tuple[str, Mapping[str, float]]], title: str) -> None:
    """A bar for each label, from the top: its shares by ENDS, some of which may be missing."""
    for row, (_, parts) in enumerate(rows):
        left = 0.0
        for end, colour in HUES.items():
            label = None if row else end
            ax.barh(row, parts.get(end, 0.0), left=left, color=colour, label=label)
            left += parts.get(end, 0.0)
    ax.set(yticks=range(len(rows)), yticklabels=[label for label, _ in rows], title=title)
    ax.set(xlabel="share of later tokens", xlim=(0, 1))
    ax.tick_params(axis="y", labelsize=6.5)
    ax.invert_yaxis()


def joining_by_rate(
    ax: Axes, rates: Sequence[float], joins: Tensor, thresholds: tuple[float, float]
) -> None:
    """The share of sequences whose second, and whose last, token joins, with 95% intervals.

    Args:
        rates: (n,), common to all channels.
        joins: (n, sequences, L - 1), bool: of tokens 2 to L.
        thresholds: drawn as vertical lines, dashed and dotted.
    """
    length = joins.shape[-1] + 1
    for token, colour in ((2, COLOURS[0]), (length, COLOURS[1])):
        hits = joins[..., token - 2]
        share = as_numpy(hits.double().mean(-1))
        bounds = [survey.interval(int(row.sum()), len(row)) for row in hits]
        spread = abs(np.array(bounds).T - share)
        ax.errorbar(rates, share, spread, color=colour, marker="o", ms=3, label=f"token {token}")
    for threshold, style in zip(thresholds, ("--", ":"), strict=True):
        ax.axvline(threshold, color="k", lw=0.8, ls=style)
    ax.set(title="share that joins", xlabel="a", ylim=(0, 1.02))
    ax.legend(fontsize=6.5)


def clusters_by_length(ax: Axes, clusters: Mapping[str, Mapping[int, float]]) -> None:
    """Mean numbers of clusters among the first l tokens, a line for each name."""
    for (name, found), colour in zip(clusters.items(), COLOURS, strict=False):
        ax.plot(list(found), list(found.values()), marker="o", ms=3, color=colour, label=name)
        ax.set(xscale="log", xticks=list(found), xticklabels=list(found))
    ax.set(title="clusters", xlabel="l")
    ax.minorticks_off()
    ax.legend(fontsize=6.5)


def fitted_rates(ax: Axes, predicted: Tensor, fitted: Tensor, equal: Tensor) -> None:
    """Fitted against predicted rates; `equal` (n,) are blue, the others red."""
    for which, colour in ((equal, COLOURS[0]), (~equal, COLOURS[1])):
        ax.plot(predicted[which], fitted[which], "o", ms=4, color=colour)
    ax.axline((0, 0), slope=1, color=GREY, lw=0.6)
    ax.set(title="fitted rate", xlabel="predicted rate")
