"""Figures of where later tokens end, by law and by rate."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from torch import Tensor

from tokensphere import records
from tokensphere.other_tokens.census import ENDS, shares_by_end

from . import drawing, tables
from .drawing import COLOURS, GREY, as_numpy

HUES = dict(zip(ENDS, (*(COLOURS[i] for i in (0, 5, 1, 4)), GREY), strict=True))


SURVEY = {"draws": 2000, "dims": [2, 3, 10, 32], "horizon": 2560.0, "follow": 100.0, "seed": 0}
"""Parameters of the recorded survey."""


def recorded_ends(law: str, dim: int, decays: str) -> dict[str, float]:
    """Shares by ENDS of the later tokens of the recorded survey, which counts tokens at other
    vertices as elsewhere; `law` and `decays` as in :mod:`tokensphere.survey`."""
    record = records.load(records.path("survey.json"), parameters=SURVEY)
    shares = shares_by_end(record.data["later"][f"{law}, D={dim}, {decays}"])
    return {end.removesuffix(" at rest"): share for end, share in shares.items()}


def percent(which: Tensor) -> str:
    """The share of True entries; see `tables.percent`."""
    return tables.percent(int(which.sum()), which.numel())


def stacked_ends(ax: Axes, rows: Sequence[tuple[str, Mapping[str, float]]], title: str) -> None:
    """A bar for each label, from the top: its shares by ENDS, some of which may be missing."""
    for row, (_, parts) in enumerate(rows):
        left = 0.0
        for end, colour in HUES.items():
            share = parts.get(end, 0.0)
            ax.barh(row, share, left=left, color=colour, label=None if row else end)
            left += share
    ax.set(title=title, xlabel="share of later tokens", xlim=(0, 1))
    ax.set_yticks(range(len(rows)), [label for label, _ in rows])
    ax.grid(False)
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
        hits = as_numpy(joins[..., token - 2].sum(-1))
        drawing.shares(ax, rates, hits, joins.shape[-2], colour, label=f"token {token}")
    for threshold, style in zip(thresholds, ("--", ":"), strict=True):
        ax.axvline(threshold, color="k", lw=drawing.THIN, ls=style)
    ax.set(xlabel="rate $a$", ylabel="share that joins", ylim=(0, 1.02))
    drawing.legend(ax, 1)


def clusters_by_length(ax: Axes, clusters: Mapping[str, Mapping[int, float]]) -> None:
    """Mean numbers of clusters among the first l tokens, a line for each name."""
    for (name, found), colour in zip(clusters.items(), COLOURS, strict=False):
        ax.plot(
            list(found), list(found.values()), marker="o", ms=drawing.MARK, color=colour, label=name
        )
        drawing.log_ticks(ax, list(found))
    ax.set(xlabel="number of tokens $l$", ylabel="clusters")
    drawing.legend(ax)


def fitted_rates(ax: Axes, predicted: Tensor, fitted: Tensor, equal: Tensor) -> None:
    """Fitted against predicted rates; `equal` (n,) are blue, the others red."""
    parts = {"equal signs, $S_{dd}>0$": equal, "others": ~equal}
    drawing.rates(ax, {name: (predicted[part], fitted[part]) for name, part in parts.items()})
