"""What a sink could come of: the tokens' alignment with depth, the factors of a score.

Drawn from the record of `experiments.sinks`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tokensphere.sinks.style import band, estimates

from . import drawing
from .drawing import COLOURS, GREY, axes
from .sink_tables import called

FACTORS = {
    "write": "step of the token itself",
    "decay": "steps of later tokens",
    "input": "content, B",
    "output": "readers' content, C",
}


def alignment_by_depth(found: Mapping[str, Any]) -> Figure:
    """Cosine of the later tokens with the first and with each other, and how far they follow a
    change of the first and of a later token, against depth.

    found: data of the record of `experiments.sinks`.
    """
    figure, array = axes(len(found), 2, height=2.5, sharey="row")
    for (name, run), (upper, lower) in zip(found.items(), array.T, strict=True):
        theory = run["theory"]
        _band(upper, theory["alignment"]["first"], COLOURS[0], "with the first token")
        _band(upper, theory["alignment"]["others"], COLOURS[1], "with each other")
        _band(lower, theory["response"]["first"], COLOURS[0], "the first token is changed")
        _band(lower, theory["response"]["later"], COLOURS[1], "a later token is changed")
        upper.set_title(called(name))
        lower.set_xlabel("layers passed")
    array[0, 0].set_ylabel("cosine of later tokens")
    array[1, 0].set_ylabel("share that they follow")
    _legends(figure, array)
    return figure


def sink_factors(found: Mapping[str, Any]) -> Figure:
    """The first token's share of each layer: measured, in the theory's limit, and the part of the
    difference from level attention that each factor brings in.

    found: data of the record of `experiments.sinks`.
    """
    figure, array = axes(len(found), 2, height=2.5, sharey="row")
    for (name, run), (upper, lower) in zip(found.items(), array.T, strict=True):
        layers = sorted(run["theory"]["layers"], key=lambda layer: layer["reverse"])
        forward = sum(not layer["reverse"] for layer in layers)
        ways = {"measured": "measured", "limit": "all tokens at the first"}
        for (key, label), colour in zip(ways.items(), COLOURS, strict=False):
            _band(upper, estimates(layer[key] for layer in layers), colour, label)
        null = run["scores"]["uniform"]["mean"][0]
        upper.axhline(null, color=GREY, linewidth=1.0, label="uniform attention")
        upper.set_ylim(bottom=0)  # cut off at the least, shares would look like more
        for (factor, label), colour in zip(FACTORS.items(), COLOURS, strict=False):
            parts = estimates(layer["attribution"][factor] for layer in layers)
            _band(lower, parts, colour, label)
        lower.axhline(0, color=GREY, linewidth=1.0)
        if forward < len(layers):
            for ax in (upper, lower):
                ax.axvline(forward - 0.5, color=GREY, linestyle=":")
                ax.set_xticks(range(len(layers)), [str(i % forward) for i in range(len(layers))])
        upper.set_title(called(name))
        lower.set_xlabel("layer, from 0" if forward == len(layers) else "layer: forward | backward")
    array[0, 0].set_ylabel("share of the first token")
    array[1, 0].set_ylabel("what a factor adds to it")
    _legends(figure, array)
    return figure


def _legends(figure: Figure, array: np.ndarray) -> None:
    """That of the upper row above it, that of the lower one below."""
    upper, lower = (row[0].get_legend_handles_labels() for row in array)
    place = {"loc": "outside upper center", "ncols": len(upper[1]), "frameon": False}
    figure.legend(*upper, fontsize=drawing.SMALL, **place)
    drawing.legend_below(figure, *lower, len(lower[1]))


def _band(ax: Axes, values: Mapping[str, Any], colour: str, label: str) -> None:
    """Against how many layers came before."""
    band(
        ax,
        range(len(values["mean"])),
        values,
        colour,
        label,
        marker="o",
        markersize=drawing.MARK - 1,
    )
