"""The text of a comparison's page, as a Jinja template."""

from tokensphere.sinks.report.template import FIGURE

__all__ = ["COMPARISON"]

COMPARISON = (
    """\
{% macro interval(found) %}{{ found | spread }}{% endmacro %}
{% set both = models | map(attribute="sink") | sum(start=[]) | map(attribute="reverse") | max %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Attention sinks in {{ models | length }} models</title>
<style>
{{ style | safe }}
</style>
</head>
<body>
<main>
<h1>Attention sinks in {{ models | length }} models</h1>
<ul>
{% for model in models %}
<li><bdi>{{ model.label }}</bdi>: a sink in {{ model.verdicts.position + model.verdicts.token
+ model.verdicts.undetermined }} of {{ model.layers }} layers
{%- if model.measured < model.mixers %} measured{% endif %},
{{ model.verdicts.undecided }} not decided</li>
{% endfor %}
</ul>
{% if differ %}
<p class="next"><strong>These scores cannot be compared.</strong> The reports differ in the
{{ differ | join(", ") }}. Scores depend on them: uniform attention alone gives the first token less
the longer the prompts are.{% if same_texts %} The texts are the same, made into other tokens: at
equal lengths the absolute scores say roughly the same thing.{% endif %} Measure all models on the
same prompts with the same options.</p>
{% endif %}

<h2>The first token by depth</h2>
"""
    + FIGURE
    + """\

<h2>Verdicts</h2>
<p class="soft">How many of the measured layers
{%- if both %} (each direction counts){% endif %}
 have a sink, by what makes it one, and how many have none. The largest absolute score: mean over
prompts [95% interval].</p>
<div class="wide" tabindex="0" role="region" aria-label="Verdicts by model">
<table>
<tr><th scope="col">model</th><th scope="col">layers</th>
{% for words, meaning in kinds.values() %}<th scope="col">{{ words }}</th>{% endfor %}
<th scope="col">largest absolute score</th><th scope="col">in layer</th>
<th scope="col">uniform</th></tr>
{% for model in models %}
<tr><th scope="row">{{ model.label }}</th><td>{{ model.layers }}</td>
{% for kind in kinds %}<td{% if model.verdicts[kind] and kind not in ["uniform", "undecided"] %}
 class="sink"{% endif %}>{{ model.verdicts[kind] }}</td>{% endfor %}
<td>{{ interval(model.largest) }}</td><td><code>{{ model.largest.name }}</code>
{%- if model.largest.reverse %}, backward{% endif %}</td>
<td>{{ model.uniform | number }}</td></tr>
{% endfor %}
</table>
</div>

<h2>Sink scores</h2>
<p class="soft">Of the first token, eq. (36): the mean over layers of the share of channels whose
importance exceeds the threshold. Mean over prompts [95% interval].</p>
<div class="wide" tabindex="0" role="region" aria-label="Sink scores by model">
<table>
<tr><th scope="col">model</th>{% if both %}<th scope="col">reads</th>{% endif %}
<th scope="col">absolute</th><th scope="col">softmax</th><th scope="col">raw</th>
<th scope="col">threshold</th></tr>
{% for model in models %}{% for sink in model.sink %}
<tr><th scope="row">{{ model.label }}</th>
{% if both %}<td>{{ "backward" if sink.reverse else "forward" }}</td>{% endif %}
<td>{{ interval(sink.absolute) }}</td><td>{{ interval(sink.softmax) }}</td>
<td>{{ interval(sink.raw) }}</td><td>{{ model.threshold | number }}</td></tr>
{% endfor %}{% endfor %}
</table>
</div>

<h2>What was measured</h2>
<div class="wide" tabindex="0" role="region" aria-label="What was measured">
<table>
<tr><th scope="col">model</th><th scope="col">class</th><th scope="col">parameters</th>
<th scope="col">dtype</th><th scope="col">layers</th><th scope="col">channels</th>
<th scope="col">prompts</th><th scope="col">tokens</th>
<th scope="col">SHA-256 of their ids</th><th scope="col">report</th></tr>
{% for model in models %}
<tr><th scope="row">{{ model.label }}{% if model.revision %}<br>
<code>{{ model.revision[:10] }}</code>{% endif %}</th>
<td>{{ model.class }}</td><td>{{ "{:,}".format(model.parameters) }}</td><td>{{ model.dtype }}</td>
<td>{{ model.measured }} of {{ model.mixers }}</td>
<td>{{ model.channels if model.drawn else "all" }}</td>
<td>{{ model.prompts.count }}</td><td>{{ model.prompts.lengths[0] }} to
{{ model.prompts.lengths[2] }}</td><td><code>{{ model.prompts.digest[:12] }}</code></td>
<td>{{ model.report }}</td></tr>
{% endfor %}
</table>
</div>
<p class="soft">All numbers of this page are in <code>compare.json</code>, its figure beside it as
SVG.</p>
</main>
</body>
</html>
"""
)
