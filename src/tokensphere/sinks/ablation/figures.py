"""What ablating the first token's key does, layer by layer: the figure and the text of a report.

Drawn from the document that :func:`tokensphere.sinks.ablation.document.ablation_document` gives.
"""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tokensphere.sinks.style import COLOURS, GREY, axes, band, estimates

__all__ = ["ABLATION", "ALT", "CAPTION", "ablation_by_layer"]

MEASURES = {"kl": "divergence, nats a token", "loss": "rise of the loss,\nnats a token"}

ALT = "What ablating the first token's key changes in each layer"
CAPTION = (
    "The first token's key taken out of one layer's hidden attention at a time: how far what the "
    "model says moves, beside the mean of the same for a few later tokens. Bands are 95% intervals "
    "over prompts; rings mark layers with a sink."
)


def ablation_by_layer(data: Mapping[str, Any]) -> Figure:
    """Change by ablating each layer's first token alone, and a later token; layers with a sink.

    A row of axes for each measure, a column for each direction.

    Args:
        data: of `sinks.ablation.document.ablation_document`.
    """
    measures = data["measures"]
    sides = sorted({layer["reverse"] for layer in data["layers"]})
    figure, array = axes(len(sides), len(measures), sharex="col", sharey="row")
    figure.set_size_inches(8.0, 0.6 + 2.6 * len(measures))
    sinks = [data["layers"][place] for place in (data["sinks"] or {"layers": []})["layers"]]
    for row, measure in zip(array, measures, strict=True):
        for ax, side in zip(row, sides, strict=True):
            layers = [layer for layer in data["layers"] if layer["reverse"] is side]
            _draw(ax, layers, sinks, measure)
        row[0].set_ylabel(MEASURES[measure])
    for ax, side in zip(array[0], sides, strict=True):
        if len(sides) > 1 or side:
            ax.set_title("backward" if side else "forward", loc="left", fontsize=10)
    for ax in array[-1]:
        ax.set_xlabel("layer, from 0")
    found = [ax.get_legend_handles_labels() for ax in array[0]]
    named = {label: handle for pair in found for handle, label in zip(*pair, strict=True)}
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=3, frameon=False)
    return figure


def _draw(ax: Axes, layers: list[Any], sinks: list[Any], measure: str) -> None:
    x = [layer["index"] for layer in layers]
    lines = {
        "first": ("first token", {"color": COLOURS[0], "marker": "o"}),
        "later": ("a later token", {"color": GREY, "linestyle": "--"}),
    }
    for part, (label, line) in lines.items():
        values = estimates(layer[part][measure] for layer in layers)
        band(ax, x, values, line.pop("color"), label, markersize=4, **line)
    marked = [layer for layer in layers if layer in sinks]
    if marked:
        ax.plot(
            [layer["index"] for layer in marked],
            [layer["first"][measure]["mean"] for layer in marked],
            color=COLOURS[1],
            linestyle="none",
            marker="o",
            markersize=10,
            fillstyle="none",
            markeredgewidth=1.5,
            label="layer with a sink",
        )
    ax.axhline(0, color=GREY, linewidth=0.6)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


ABLATION = """\
{% if data.ablation %}
{% set ablation = data.ablation %}
{% set two = ablation.layers | map(attribute="reverse") | unique | list | length > 1 %}
<h2>Does it matter?</h2>
<p>What the first token's key contributes to the hidden attention is taken out in the model's own
run, and what the model then says is compared with what it says by itself.
{% if two %}A layer's first token is the one that it reads first: backward, the prompt's last.
{% endif %}
{% if ablation.counted == "behind" %}Counted are the tokens next behind the ablated one, of
{{ "each prompt" if ablation.tokens[0] == ablation.tokens[1] else "a prompt" }}
{{ ablation.tokens[0] }}{% if ablation.tokens[1] != ablation.tokens[0] %} to
{{ ablation.tokens[1] }}{% endif %}, as many for a later token as for the first.
{% elif ablation.counted == "all" %}Counted are all tokens: layers that read from the end carry a
change to each.{% endif %}</p>
<p class="soft">Nats a token: mean over {{ ablation.prompts }} prompts [95% interval; of a layer's
excess {{ (100 * ablation.confidence) | number(5) }}%]. The excess is over the mean of
{{ ablation.later }} later tokens, prompt by prompt.{% if ablation.loss %} The model's own loss
there is {{ ablation.loss | spread }}.{% endif %}</p>
<div class="wide" tabindex="0" role="region" aria-label="What ablating the first token changes">
<table>
<tr><th scope="col">layers</th>{% if two %}<th scope="col">reads</th>{% endif %}
{% for measure in ablation.measures %}
{% set word = {"kl": "divergence", "loss": "loss"}[measure] %}
<th scope="col">{{ word }}, first token</th><th scope="col">a later token</th>
<th scope="col">excess</th>{% endfor %}</tr>
{% macro cells(found) %}
{% for measure in ablation.measures %}
<td>{{ found.first[measure] | spread }}</td><td>{{ found.later[measure] | spread }}</td>
{% set excess = found.excess[measure] %}
<td{% if excess.low is not none and excess.low > 0 %} class="sink"{% endif %}>
{{ excess | spread }}</td>
{% endfor %}
{% endmacro %}
<tr><td>all at once</td>{% if two %}<td>both</td>{% endif %}{{ cells(ablation.all) }}</tr>
{% if ablation.sinks %}
<tr><td>with a sink, at once</td>{% if two %}<td>–</td>{% endif %}
{{ cells(ablation.sinks.together) }}</tr>
{% endif %}
{% for layer in ablation.layers %}
<tr><td title="{{ layer.name }}">{{ layer.index }}</td>
{% if two %}<td>{{ "backward" if layer.reverse else "forward" }}</td>{% endif %}
{{ cells(layer) }}</tr>
{% endfor %}
</table>
</div>
{% if ablation.sinks and ablation.sinks.random %}
<p>Layers with a sink, at once, over as many others ({{ ablation.sinks.random.draws }} choices):
divergence {{ ablation.sinks.random.excess.kl | spread }}.</p>
{% endif %}
{% if ablation.sinks and ablation.sinks.alone %}
<p>One layer at a time, those with a sink less the others: divergence
{{ ablation.sinks.alone.kl | spread }}.</p>
{% endif %}
{% if ablation.correlation %}
<p>Over layers, the rank correlation of the first token's score with the excess of its divergence,
prompt by prompt: {{ ablation.correlation.excess.kl.prompts | spread }}; of the layers' means:
{{ ablation.correlation.excess.kl.layers | spread }}.</p>
{% endif %}
{% endif %}
"""
"""A part of the report's page: takes `data` and the page's filters `number` and `spread`."""
