"""Sinks along the training of language models: a figure, a table, a paragraph.

Drawn from the record of `experiments.language_models`, whose data are the first argument of each.
"""

from collections import Counter

import numpy as np
from IPython.display import Markdown
from matplotlib.figure import Figure

from tokensphere.paper.experiments import language_model_outcomes as found
from tokensphere.paper.experiments.language_model_outcomes import Data
from tokensphere.sinks.style import COLOURS, GREY, axes

from . import drawing, tables

WAYS = {"bos": "after a beginning-of-text token", "none": "without one"}
OUTCOMES = ("sink", "uniform", "undecided")


def sinks_in_training(data: Data, model: str, length: int) -> Figure:
    """Loss of a language model in training, and each layer's first-token share along the way, on
    prompts of `length` tokens."""
    history, uniform = data["models"][model], found.uniform(length)
    figure, ((left, *rest),) = axes(3, 1)
    figure.set_size_inches(10.0, 3.6)
    steps = [entry["step"] for entry in history["train"]]
    left.plot(steps, [entry["loss"] for entry in history["train"]], color=GREY, label="training")
    seen = history["heldout"]
    losses = [entry["none"]["loss"] for entry in seen]
    left.plot([entry["step"] for entry in seen], losses, "o-", color=COLOURS[0], label="held out")
    left.set(xlabel="step", ylabel="loss, nats a token")
    left.legend(frameon=False)
    moments = found.steps(data, model)
    for ax, (way, title) in zip(rest, WAYS.items(), strict=True):
        for place, moment in enumerate(moments):
            mean = history["measured"][str(moment)][str(length)][way]["mean"]
            shade = 0.15 + 0.85 * place / max(len(moments) - 1, 1)
            ax.plot(mean, color=COLOURS[0], alpha=shade, label=f"step {moment:,}")
        ax.axhline(uniform, color=GREY, linewidth=1.0, label="uniform attention")
        ax.set_title(title, loc="left", fontsize=10)
        ax.set(xlabel="layer, from 0", ylim=(0, 1.6 * uniform))
    rest[0].set_ylabel("share of the first token")
    drawing.legend_below(figure, *rest[1].get_legend_handles_labels(), 4)
    return figure


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
