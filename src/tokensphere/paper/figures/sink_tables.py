"""What the records on attention sinks hold, as tables and sentences; and what sinks must beat."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from IPython.display import Markdown
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import spearmanr

from tokensphere.sinks.nulls import lag_importance, uniform_importance

from . import drawing, tables
from .drawing import COLOURS, GREY, axes

Found = Mapping[str, Mapping[str, Any]]
"""Data of the record of `experiments.sinks`: by model, `scores` and `theory`."""

CALLED = {
    "typeseg": "model 1",
    "without BOS": "model 2, without BOS",
    "with BOS": "model 2, after BOS",
}


def nulls(length: int, threshold: float, rates: Sequence[float] = (0.1, 0.5, 2.0)) -> Figure:
    """Importance by position under uniform attention and in the aligned limit, and the first
    token's under uniform attention by length, beside a threshold.

    Args:
        length: of the sequences on the left.
        rates: a Delta of the limit, whose gain is 1 - e^{-rate}.
    """
    figure, ((left, right),) = axes(2)
    k = range(1, length + 1)
    left.plot(
        k,
        uniform_importance(length),
        color=GREY,
        marker="o",
        markersize=drawing.MARK,
        label="uniform",
    )
    for colour, rate in zip(COLOURS, rates, strict=False):
        r = torch.tensor(rate, dtype=torch.float64)
        limit = lag_importance(r, 1 - torch.exp(-r), length)
        left.plot(
            k,
            limit,
            color=colour,
            marker="o",
            markersize=drawing.MARK - 1,
            label=f"limit, r = {rate}",
        )
    left.set(xlabel="position k", ylabel="importance α")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    lengths = range(2, 33)
    firsts = [float(uniform_importance(T)[0]) for T in lengths]
    right.plot(
        lengths,
        firsts,
        color=GREY,
        marker="o",
        markersize=drawing.MARK - 1,
        label="uniform, first token",
    )
    right.axhline(threshold, color=COLOURS[1], label=f"threshold {threshold}")
    right.set(xlabel="length T", ylabel="importance α")
    for ax in (left, right):
        ax.set_ylim(bottom=0)
        drawing.legend(ax)
    return figure


def first_share(layer: Mapping[str, Any]) -> float:
    """The first token's share in a layer of `scores`."""
    return layer["scores"]["absolute"]["mean"][0]


def sink_layers(scores: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The layers of `scores` that have a sink by :func:`tokensphere.sinks.verdict`."""
    return [layer for layer in scores["layers"] if layer["verdict"]["outcome"] == "sink"]


def called(name: str) -> str:
    """What the book calls one of `experiments.sinks.RUNS`."""
    return CALLED.get(name, name)


def found_sinks(found: Found, caption: str = "") -> Markdown:
    """Of each model: layers by their verdict, those with a sink, and eq (36) in both orders of
    averaging."""
    rows = []
    for name, run in found.items():
        scores = run["scores"]
        which = [
            f"{layer['index']}{' backward' if layer['reverse'] else ''} "
            f"({layer['verdict']['kind']}, {first_share(layer):.2f})"
            for layer in sink_layers(scores)
        ]
        raw = scores["directions"][0]["sink"]["raw"]["prompts"]
        after, before = raw["after_threshold"]["mean"][0], raw["before_threshold"][0]
        outcomes = [layer["verdict"]["outcome"] for layer in scores["layers"]]
        count = [outcomes.count(outcome) for outcome in ("sink", "uniform", "undecided")]
        orders = f"{after:.2f} / {before:.2f}"
        rows.append([called(name), *count, "; ".join(which) or "-", orders])
    order = "eq (36), raw, forward: after / before the threshold"
    verdicts = ["layers with a sink", "no more than uniform", "not decided"]
    return tables.table(["", *verdicts, "which (kind, share)", order], rows, caption)


def causes(found: Found) -> Markdown:
    """What of the theory's account each model bears out, with 95% intervals over prompts."""
    columns = {}
    for name, run in found.items():
        layers, null = run["theory"]["layers"], run["scores"]["uniform"]["mean"][0]
        excess, response = run["theory"]["alignment"]["excess"], run["theory"]["response"]
        below = sum(layer["limit"]["high"] < null for layer in layers)
        ranked = sum(layer["correlation"]["low"] > 0 for layer in layers)
        shares = [layer["measured"]["mean"] for layer in layers if not layer["reverse"]]
        columns[called(name)] = {
            "cosine with the first minus with each other, at the end": _last(excess),
            "response to the first token, at the end": _last(response["first"]),
            "response to a later token, at the end": _last(response["later"]),
            "layers where the limit's share is below uniform": f"{below} of {len(layers)}",
            "layers where the predicted pull ranks the channels (interval above 0)": (
                f"{ranked} of {len(layers)}"
            ),
            "depth and share of the first token, rank correlation, forward": (
                f"{_rank_with_depth(shares)} ({len(shares)} layers)"
            ),
        }
    return tables.columns(columns)


def _last(values: Mapping[str, Sequence[float]]) -> str:
    return f"{values['mean'][-1]:.2f} [{values['low'][-1]:.2f}, {values['high'][-1]:.2f}]"


def _rank_with_depth(values: Sequence[float]) -> str:
    return f"{spearmanr(range(len(values)), values).statistic:.2f}"


def raw_with_depth(found: Found) -> Markdown:
    """Rank correlations of depth with the first token's scores, forward layers: raw, raw with the
    tokens shuffled, shares; and how often the raw sink rate rises from a layer to the next."""
    rows = []
    for name, run in found.items():
        layers = [layer for layer in run["scores"]["layers"] if not layer["reverse"]]
        columns = (
            [layer["scores"]["raw"]["mean"][0] for layer in layers],
            [layer["nulls"]["shuffled"]["raw"]["score"]["mean"] for layer in layers],
            [first_share(layer) for layer in layers],
        )
        ranks = map(_rank_with_depth, columns)
        rates = [layer["rates"]["raw"]["after_threshold"]["mean"][0] for layer in layers]
        rises = int((np.diff(rates) > 0).sum())
        rows.append([called(name), *ranks, f"{rises} of {len(layers) - 1}"])
    head = ["", "raw score", "raw score, shuffled tokens", "share", "steps at which Sink rises"]
    return tables.table(head, rows)


def strongest_layer(scores: Mapping[str, Any], theory: Mapping[str, Any], channels: int) -> str:
    """How many sinks are of the position, and what the strongest layer's share is made of.

    Args:
        channels: how many of the layer's channels its attribution is over.
    """
    sinks = sink_layers(scores)
    fixed = sum(layer["verdict"]["kind"] == "position" for layer in sinks)
    layer = max(theory["layers"], key=lambda layer: layer["attribution"]["measured"]["mean"])
    parts = {name: value["mean"] for name, value in layer["attribution"].items()}
    rest = sum(parts[name] for name in ("decay", "input", "output"))
    return (
        f"Of the {len(sinks)} layers of model 1 with a sink, {fixed} keep it whichever token "
        f"stands first. In the strongest one, {layer['name']}"
        f"{' backward' if layer['reverse'] else ''}, the share is {parts['measured']:.2f} on "
        f"{channels} of its channels. Level attention, in which only the distance counts, would "
        f"have {parts['levelled']:.2f}, less than uniform attention's "
        f"{scores['uniform']['mean'][0]:.2f}: a scan forgets what is far. The first token's own "
        f"larger step adds {parts['write']:.2f}, and the other three factors together {rest:.2f}."
    )


def falcon(shape: Mapping[str, Any], length: int, caption: str = "") -> Markdown:
    """Time and memory of the 7B model's shape.

    Args:
        shape: data of the record of `experiments.falcon_shape`.
        length: tokens of its long prompt.
    """
    seconds = shape["seconds of the paper's evaluation"]
    whole = "the same with every token's importance in every channel of every layer"
    paper = "the paper's evaluation, 170 prompts of 16 tokens, 200 channels, all variants"
    titles = {f"forward, {length:,} tokens": "forward", whole: "forward and scores"}
    timed = {title: shape["timings"][name] for title, name in titles.items()}
    rows = [[title, f"{t['seconds']:.2f}", f"{t['peak GB']:.1f}"] for title, t in timed.items()]
    rows.append([paper, f"{seconds:.1f}", ""])
    return tables.table(["", "seconds", "peak memory (GB)"], rows, caption)
