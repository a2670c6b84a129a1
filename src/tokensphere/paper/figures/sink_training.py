"""Sinks along the training of language models: a figure, a table, a paragraph.

Drawn from the record of `experiments.language_models`, whose data are the first argument of each.
"""

from collections import Counter

import numpy as np
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from tokensphere.paper.experiments import language_model_outcomes as found
from tokensphere.paper.experiments.language_model_outcomes import Data
from tokensphere.sinks.verdicts import MARGIN

from . import drawing, tables
from .drawing import COLOURS, GREY, axes

WAYS = {"bos": "after a beginning-of-text token", "none": "without one"}
TITLES = {"bos": "after BOS", "none": "without BOS"}
BAND = ("mean", "low", "high")
OUTCOMES = ("sink", "uniform", "undecided")
ALONG = LinearSegmentedColormap.from_list("along", [COLOURS[place] for place in (4, 1, 3, 0)])
"""From the first moment, yellow, by orange and pink to the last, blue: all are seen on white and on
black."""


def sinks_in_training(data: Data, model: str, length: int) -> Figure:
    """Loss of a language model in training, and each layer's first-token share along the way, on
    prompts of `length` tokens."""
    history, uniform = data["models"][model], found.uniform(length)
    figure, ((left, *rest),) = axes(3)
    steps = [entry["step"] for entry in history["train"]]
    left.plot(steps, [entry["loss"] for entry in history["train"]], color=GREY, label="training")
    seen = history["heldout"]
    losses = [entry["none"]["loss"] for entry in seen]
    style = {"color": COLOURS[2], "marker": "o", "markersize": drawing.MARK}
    left.plot([entry["step"] for entry in seen], losses, label="held out", **style)
    left.set(title="loss", xlabel="step", ylabel="nats a token")
    moments = found.steps(data, model)
    for ax, (way, title) in zip(rest, TITLES.items(), strict=True):
        for place, moment in enumerate(moments):
            mean = history["measured"][str(moment)][str(length)][way]["mean"]
            colour = ALONG(place / max(len(moments) - 1, 1))
            width = drawing.THICK if moment == moments[-1] else 1.0
            ax.plot(mean, color=colour, linewidth=width, label=f"step {moment:,}")
        _null(ax, uniform)
        ax.set(title=title, xlabel="layer, from 0", ylim=(0, 1.6 * uniform))
    rest[0].set_ylabel("share of the first token")
    handles, labels = left.get_legend_handles_labels()
    more, said = rest[1].get_legend_handles_labels()
    drawing.legend_below(figure, handles + more, labels + said, 5)
    return figure


def sinks_at_the_end(data: Data, way: str = "bos") -> Figure:
    """Each layer's first-token share over uniform attention's after the last step, a column for
    each model and a row for each length.

    Intervals are corrected for the number of layers; grey: excesses below the verdict's margin.

    way: "bos" or "none".
    """
    models, lengths = data["models"], data["lengths"]
    figure, array = axes(len(models), len(lengths), height=2.3, sharex="col", sharey=True)
    for row, length in zip(array, lengths, strict=True):
        for ax, model in zip(row, models, strict=True):
            _layers_at_the_end(ax, data, model, length, way)
            ax.set_title(f"{model}, {length} tokens")
        row[0].set_ylabel("share of the first\ntoken, over uniform")
    for ax in array[-1]:
        ax.set_xlabel("layer, from 0")
    drawing.legend_below(figure, *array[0, 0].get_legend_handles_labels(), 4)
    return figure


def _layers_at_the_end(ax: Axes, data: Data, model: str, length: int, way: str) -> None:
    moment = found.steps(data, model)[-1]
    cell = data["models"][model]["measured"][str(moment)][str(length)][way]
    mean, low, high = (np.divide(cell[name], found.uniform(length)) for name in BAND)
    sink = np.equal(found.outcomes(data, model, moment, length, way), "sink")
    ax.axhspan(1, 1 + MARGIN, color=GREY, alpha=0.15, linewidth=0, label="less than a fifth above")
    _null(ax, 1)
    style = {"fmt": "o", "elinewidth": drawing.LINE}
    for label, which, colour, size in (
        ("other layers", ~sink, COLOURS[0], drawing.MARK - 2),
        ("layers with a sink", sink, COLOURS[1], drawing.MARK),
    ):
        (layers,) = which.nonzero()
        errors = [(mean - low)[which], (high - mean)[which]]
        ax.errorbar(layers, mean[which], errors, ms=size, color=colour, label=label, **style)


def at_the_end(data: Data, way: str = "bos", caption: str = "") -> Markdown:
    """Of each model after its last step: size, losses, and for each length how many layers have a
    sink, and the largest share of a layer over uniform attention's.

    way: "bos" or "none", for prompts and for the held-out loss.
    """
    head = ["model", "layers", "million weights", "loss in training", "held out"]
    for length in data["lengths"]:
        head += [f"sinks, {length} tokens", "largest share"]
    rows = []
    for name, history in data["models"].items():
        layers, weights = history["config"]["layers"], history["parameters"] / 1e6
        losses = history["train"][-1]["loss"], history["heldout"][-1][way]["loss"]
        row = [name, layers, f"{weights:.1f}", *(f"{loss:.2f}" for loss in losses)]
        for length in data["lengths"]:
            cell = (name, found.steps(data, name)[-1], length, way)
            sinks = found.outcomes(data, *cell).count("sink")
            row += [f"{sinks} of {layers}", f"{found.largest(data, *cell)[0]:.2f}"]
        rows.append(row)
    return tables.table(head, rows, caption)


def _null(ax: Axes, value: float) -> None:
    ax.axhline(value, color=GREY, linewidth=1.0, label="uniform attention")


def outcomes(data: Data, caption: str = "") -> Markdown:
    """Model by moment, and length by beginning: layers with a sink / without / undecided, and the
    largest share over uniform attention's."""
    cells = [(length, way) for length in data["lengths"] for way in WAYS]
    head = ["model", "step", *(f"{length}{', BOS' * (way == 'bos')}" for length, way in cells)]
    rows = [
        [name, f"{step:,}", *(_cell(data, name, step, *cell) for cell in cells)]
        for name in data["models"]
        for step in found.steps(data, name)
    ]
    return tables.table(head, rows, caption)


def _cell(data: Data, *cell: object) -> str:
    counts = Counter(found.outcomes(data, *cell))
    numbers = " / ".join(str(counts[kind]) for kind in OUTCOMES)
    return f"{numbers} ({found.largest(data, *cell)[0]:.2f})"


def training(data: Data, caption: str = "") -> Markdown:
    """How far each model was trained, and what the plan's questions are answered."""
    lines = []
    for name, history in data["models"].items():
        config, last = history["config"], history["heldout"][-1]
        seen = config["steps"] * config["batch"] * config["context"]
        loss, error = last["none"]["loss"], 1.96 * last["none"]["error"]
        lines.append(
            f"- *{name}*: {config['layers']} layers of width {config['width']}, "
            f"{history['parameters'] / 1e6:.1f} million parameters, seed {config['seed']}, "
            f"{seen / 1e6:.0f} million tokens ({seen / history['tokens']['text']:.1f} passes over "
            f"the text), {history['seconds'] / 60:.0f} minutes of one {history['device']}. Held "
            f"out: {loss:.2f} ± {error:.2f} nats a token, a perplexity of {np.exp(loss):.0f}; "
            f"{last['bos']['loss']:.2f} after a beginning-of-text token."
        )
    length, way = found.PRIMARY
    said = found.answers(data)
    lines.append(
        f"\nAt the end, on {length} tokens {WAYS[way]}: does another seed have a sink too? "
        f"{said['seed']}. Does it come with size? {said['size']}. With training? "
        f"{said['training']}. {caption}"
    )
    return Markdown("\n".join(lines))
