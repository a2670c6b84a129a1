"""What random parameters do: counts of the survey, and of later tokens that join the first."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from IPython.display import Markdown
from matplotlib.figure import Figure

from tokensphere.first_token import KINDS
from tokensphere.other_tokens.following import FORMS, TURNED, Dials, mean_and_error
from tokensphere.paper import survey

from . import drawing
from .drawing import COLOURS, GREY, axes
from .tables import percent, table

COLUMNS = (*KINDS, "still moving")

HUES = dict(zip(COLUMNS, [*(COLOURS[k] for k in (0, 2, 1)), GREY, "#000000"], strict=True))
"""Colours by what a first token ends at."""


def joined(
    later: Mapping[str, Any], key: str, kinds: Sequence[str] = KINDS
) -> tuple[float, float, int]:
    """Mean share of later tokens at the first or its antipode, a standard error, and sequences.

    Args:
        later: the survey's counts of later tokens. key: of its laws. kinds: what the first token
            ends at in the sequences that are counted.
    """
    counts = later[key]
    shares = np.arange(8) / 7
    n = sum(sum(counts[kind][survey.ENDS[0]]) for kind in kinds)
    if not n:
        return np.nan, np.nan, 0
    both = [np.sum([counts[kind][end] for kind in kinds], axis=0) for end in survey.ENDS[:2]]
    mean = sum(histogram @ shares for histogram in both) / n
    # The two shares of one sequence exclude each other: their sum's variance is at most this.
    spread = sum(h @ (shares - h @ shares / n) ** 2 for h in both) / n
    return float(mean), float(np.sqrt(spread / n)), int(n)


def _mean(mean: float, error: float) -> str:
    return f"{mean:.1%} ± {2 * error:.1%}"


def ends_table(first: Mapping[str, Mapping[str, int]]) -> Markdown:
    """Where first tokens end, a law a row, with 95% intervals."""
    rows = []
    for key, counts in first.items():
        total = sum(counts.values())
        rows.append([key, *(percent(counts[kind], total, 1) for kind in COLUMNS)])
    return table(["$S_{BC}$, $D$", *COLUMNS], rows)


def joined_by_end_table(later: Mapping[str, Any], dims: Iterable[int]) -> Markdown:
    """Shares that join, by what the first token ends at, with rates that differ and equal ones."""
    rows = []
    for law in (f"{form}, D={dim}" for form, dim in product(survey.LAWS, dims)):
        row = [law]
        for kinds, decays in product((KINDS, *([kind] for kind in KINDS[:3])), survey.DECAYS):
            mean, error, n = joined(later, f"{law}, {decays}", kinds)
            row.append(_mean(mean, error) if n >= 20 else "")
        rows.append(row)
    head = [f"{what}, {a}" for what in ("all", *KINDS[:3]) for a in ("differ", "equal")]
    return table(["$S_{BC}$, $D$", *head], rows)


def survey_curves(data: Mapping[str, Any], dims: Sequence[int]) -> Figure:
    """Shares of the ends of first tokens, and of later tokens that join, against dimension."""
    figure, array = axes(3)
    for ax, law in zip(array.flat, survey.LAWS, strict=False):
        for kind, colour in HUES.items():
            counts = [data["first"][f"{law}, D={d}"] for d in dims]
            totals = [sum(c.values()) for c in counts]
            drawing.shares(ax, dims, [c[kind] for c in counts], totals, colour, label=kind)
        ax.set(title=f"$S_{{BC}}$ {law}", ylim=(0, 1))
    array[0, 0].set_ylabel("share of first tokens")
    drawing.legend(array[0, 0], 1)
    right = array[0, 2]
    for law, colour in zip(survey.LAWS, COLOURS, strict=False):
        for decays, line in zip(survey.DECAYS, ("-", "--"), strict=True):
            found = [joined(data["later"], f"{law}, D={d}, {decays}") for d in dims]
            mean, error, _ = np.array(found).T
            style = {"color": colour, "ls": line, "marker": "o", "ms": drawing.MARK}
            right.errorbar(dims, mean, 2 * error, label=f"{law}, a {decays}", **style)
    right.set(ylabel="later tokens that join", ylim=(0, 1))
    drawing.legend(right, 1)
    for ax in array.flat:
        ax.set(xlabel="dimension $D$")
        drawing.log_ticks(ax, dims)
    return figure


def shares(data: Mapping[str, Any], law: str, dials: Dials, moving: bool = False) -> np.ndarray:
    """Of each sequence the share of later tokens that joined, or of others still moving."""
    return np.array([int(digit) for digit in data[law][str(dials)][moving]]) / 7


def dial_curves(data: Mapping[str, Any], dims: Sequence[int]) -> Figure:
    """Mean shares that join as one dial is turned, a panel a dial; bars are two standard errors."""
    figure, array = axes(2, 2)
    labels = {"spread": "half-width of the rates", "level": "rates", "scale": "scale of the steps"}
    for ax, (title, series) in zip(array.flat, TURNED.items(), strict=True):
        turned = next(name for name in labels if len({getattr(d, name) for d in series}) > 1)
        for form, line in zip(FORMS, ("--", "-"), strict=True):
            for dim, colour in zip(dims, COLOURS, strict=False):
                found = [mean_and_error(shares(data, f"{form}, D={dim}", d)) for d in series]
                mean, error = np.array(found).T
                style = {"color": colour, "ls": line, "marker": "o", "ms": drawing.MARK}
                ax.errorbar(
                    range(len(series)), mean, 2 * error, label=f"{form}, $D={dim}$", **style
                )
        ax.set(ylim=(-0.03, 1.03), xlabel=labels[turned], title=title)
        ax.set_xticks(range(len(series)), [f"{getattr(d, turned):g}" for d in series])
    for ax in array[:, 0]:
        ax.set_ylabel("share that joins")
    drawing.legend_below(figure, *array[0, 0].get_legend_handles_labels(), 3)
    return figure


def spread_table(data: Mapping[str, Any], dims: Sequence[int]) -> Markdown:
    """The share with equal rates, and its change as the rates are spread, paired by sequence."""
    series = TURNED["spread of the rates"]
    rows = []
    for law in (f"{form}, D={dim}" for form, dim in product(FORMS, dims)):
        equal = shares(data, law, series[0])
        row = [law, _mean(*mean_and_error(equal))]
        for dials in series[1:]:
            mean, error = mean_and_error(shares(data, law, dials) - equal)
            row.append(f"{100 * mean:+.1f} ± {200 * error:.1f}")
        rows.append(row)
    head = [f"{d.spread:g}: change, points" for d in series[1:]]
    return table(["$S_{BC}$, $D$", "equal rates", *head], rows)
