"""The text of a report's page, as a Jinja template, its style, and its words for the verdicts."""

from tokensphere.sinks.verdicts import MARGIN

__all__ = ["FIGURE", "KINDS", "STYLE", "TEMPLATE"]

KINDS = {
    "position": ("sink of the position", "whichever token stands first"),
    "token": ("sink of the token", "it goes when another token stands first"),
    "undetermined": ("undetermined sink", "the prompts do not say what makes it one"),
    "uniform": ("no more than uniform", f"or by less than a margin, {MARGIN:.0%} of it"),
    "undecided": ("not decided", "the interval holds both a sink and none"),
}
"""A sink's kind, or another outcome -> its words, and what they mean."""

FIGURE = """\
<figure id="{{ figure.name }}">
<div class="wide" tabindex="0" role="region" aria-label="{{ figure.alt }}">{{ figure.svg }}</div>
<figcaption>{{ figure.caption }}</figcaption>
</figure>
"""

STYLE = """\
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1c1f23; --soft: #5a626b; --line: #d8dde2; --wash: #f4f6f8;
  --sink: #a63d00; --accent: #0060a0; --series: #0072b2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15181b; --ink: #e4e7ea; --soft: #a2abb4; --line: #3a4148; --wash: #1e2226;
    --sink: #ff9d5c; --accent: #6cb8f0; --series: #56b4e9;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 60rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: break-word;
}
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; border-bottom: 1px solid var(--line); }
p, dd { max-width: 44rem; }
.soft, figcaption { color: var(--soft); font-size: .9rem; }
.tiles {
  display: flex; flex-wrap: wrap; gap: .75rem; padding: 0; margin: 1rem 0; list-style: none;
}
.tiles li {
  flex: 1 1 9.5rem; padding: .6rem .8rem; background: var(--wash);
  border: 1px solid var(--line); border-radius: .4rem;
}
.tiles b { display: block; font-size: 1.5rem; line-height: 1.2; }
.wide { overflow-x: auto; }
.wide:focus-visible { outline: 2px solid var(--accent); }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td {
  padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line);
  text-align: left; vertical-align: top; white-space: nowrap;
}
th { color: var(--soft); font-weight: 600; white-space: normal; vertical-align: bottom; }
td.sink { color: var(--sink); font-weight: 600; }
figure { margin: 1.5rem 0; }
figure svg { display: block; width: 100%; min-width: 31rem; height: auto; }
figcaption { margin-top: .5rem; max-width: 44rem; }
dt { font-weight: 600; margin-top: .8rem; }
dd { margin: 0; }
code, bdi { unicode-bidi: isolate; }
code { font-size: .9em; }
.next { border-left: .25rem solid var(--accent); padding-left: .8rem; }
.next code { white-space: nowrap; }
"""

TEMPLATE = (
    """\
{% macro side(reverse) %}{{ "backward" if reverse else "forward" }}{% endmacro %}
{% set both = data.directions[-1].reverse %}
{% set variants = ["raw", "softmax", "absolute"] %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Attention sinks in {{ data.model.name }}</title>
<style>
{{ style | safe }}
</style>
</head>
<body>
<main>
<h1>Attention sinks in {{ data.model.name }}</h1>
<p class="soft">{{ data.model.class }}, {{ "{:,}".format(data.model.parameters) }} parameters in
{{ data.model.dtype }}{% if not data.model.head %}, without a language-model head (scores need
none){% endif %}; {{ data.prompts.count }} prompts of
{% if data.prompts.lengths[0] == data.prompts.lengths[2] %}{{ data.prompts.lengths[0] }}
{% else %}{{ data.prompts.lengths[0] }} to {{ data.prompts.lengths[2] }}{% endif %} tokens.</p>
<p>Does the hidden attention of this model concentrate on the first token, and is that more than
what its nulls give? Of {{ data.layers | length }}
{{ "layers and directions" if both else "layers" }} measured:</p>
<ul class="tiles">
{% for kind, (words, meaning) in kinds.items() %}
<li><b>{{ counts[kind] }}</b> {{ words }}<br><span class="soft">{{ meaning }}</span></li>
{% endfor %}
</ul>
<p class="next"><strong>Next.</strong>
{% for said in advice %}
{{ said | options }}
{% endfor %}</p>
{% if data.prompts.repeated %}
<p><strong>Repeated prompts.</strong> {{ data.prompts.repeated }} of {{ data.prompts.given }}
prompts equal one before them{% if data.prompts.get("cut") %}, as given or as cut{% endif %}.
They count once: an interval over repetitions would be too narrow.</p>
{% endif %}
{% if data.prompts.lengths[0] < 10 %}
<p><strong>Short prompts.</strong> Up to nine tokens, uniform attention itself gives the first token
more than the paper's threshold of 0.3. Longer prompts tell more.</p>
{% endif %}

<h2>The model as a whole</h2>
<p class="soft">Sink score of the first token, eq. (36), at threshold {{ data.threshold }}: mean
over prompts [95% interval]. The largest later one is among positions that a
prompt has with at least {{ (100 * data.prompts.least_readers) | number }}% of its tokens to read
them, in at least that share of the prompts.</p>
<div class="wide" tabindex="0" role="region" aria-label="Sink scores of the model">
<table>
<tr>{% if both %}<th scope="col">reads</th>{% endif %}<th scope="col">scores</th>
<th scope="col">the prompts</th><th scope="col">averaged first</th>
<th scope="col">uniform</th><th scope="col">shuffled</th><th scope="col">first replaced</th>
<th scope="col">largest later one</th></tr>
{% for direction in data.directions %}
{% for variant in variants %}
{% set found = direction.sink[variant] %}
{% set later = largest(found.prompts.after_threshold.mean) %}
<tr>{% if both %}<td>{{ side(direction.reverse) }}</td>{% endif %}<td>{{ variant }}</td>
<td>{{ {"mean": found.prompts.after_threshold.mean[0], "low": found.prompts.after_threshold.low[0],
"high": found.prompts.after_threshold.high[0]} | spread }}</td>
<td>{{ found.prompts.before_threshold[0] | number }}</td>
<td>{{ data.uniform.rate[0] | number if variant != "raw" else "–" }}</td>
<td>{{ found.shuffled.after_threshold.mean[0] | number }}</td>
<td>{{ found.replaced.after_threshold.mean[0] | number }}</td>
<td>{{ later[1] | number }} at {{ later[0] }}</td></tr>
{% endfor %}
{% endfor %}
</table>
</div>

<h2>Figures</h2>
{% for figure in figures %}
"""
    + FIGURE
    + """\
{% endfor %}

{{ ablation }}
<h2>Layer by layer</h2>
<p class="soft">Verdicts rest on the absolute scores, which no scale of the tensors moves.
Uniform attention gives the first token {{ data.uniform.mean[0] | number }}; an excess below
{{ data.layers[0].verdict.margin | number }} counts as none. Excess: mean over prompts
[{{ (100 * data.confidence) | number(5) }}% interval].</p>
<div class="wide" tabindex="0" role="region" aria-label="Verdicts by layer">
<table>
<tr><th scope="col" colspan="2">layer</th>{% if both %}<th scope="col">reads</th>{% endif %}
<th scope="col">verdict</th><th scope="col">absolute score</th>
<th scope="col">excess over uniform</th><th scope="col">shuffled</th>
{% if data.prompts.bos %}<th scope="col">shuffled after the first</th>{% endif %}
<th scope="col">first replaced</th><th scope="col">raw score</th><th scope="col">raw rate</th>
<th scope="col">absolute rate</th></tr>
{% for layer in data.layers %}
{% set found = layer.verdict %}
<tr><td>{{ layer.index }}</td><td><code>{{ layer.name }}</code></td>
{% if both %}<td>{{ side(layer.reverse) }}</td>{% endif %}
<td{% if found.outcome == "sink" %} class="sink"{% endif %}>
{{ kinds[found.kind or found.outcome][0] }}
{%- if found.outcome == "sink" and found.excess.high < found.margin %}, within the margin{% endif %}
{%- if found.needed %}: about {{ "{:,}".format(found.needed) }} prompts would do{% endif %}</td>
{% set own = layer.scores.absolute %}
<td>{{ {"mean": own.mean[0], "low": own.low[0], "high": own.high[0]} | spread }}</td>
<td>{{ found.excess | spread }}</td>
<td>{{ layer.nulls.shuffled.absolute.score.mean | number }}</td>
{% if data.prompts.bos %}
<td>{{ layer.nulls.shuffled_after_bos.absolute.score.mean | number }}</td>
{% endif %}
<td>{{ layer.nulls.replaced.absolute.score.mean | number }}</td>
<td>{{ layer.scores.raw.mean[0] | number }}</td>
<td>{{ layer.rates.raw.after_threshold.mean[0] | number }}</td>
<td>{{ layer.rates.absolute.after_threshold.mean[0] | number }}</td></tr>
{% endfor %}
</table>
</div>

<h2>How scores move with the scale of the tensors</h2>
<p>What a layer computes stays the same when its inputs are divided by a factor and its hidden
attention grows by it. Raw scores and rates follow the factor, absolute ones do not.</p>
<p class="soft">The first token in layer {{ data.rescaled.index }},
<code>{{ data.rescaled.name }}</code>{% if both %},
{{ side(data.rescaled.reverse) }}{% endif %}, the one with the largest raw score;
{{ data.rescaled.prompts }} prompts.</p>
<div class="wide" tabindex="0" role="region" aria-label="Scores after rescaling">
<table>
<tr><th scope="col">factor</th>{% for variant in variants %}<th scope="col">{{ variant }} score</th>
<th scope="col">{{ variant }} rate</th>{% endfor %}</tr>
{% for row in data.rescaled.factors %}
<tr><td>{{ row.factor | number }}</td>{% for variant in variants %}
<td>{{ row[variant].score | number }}</td><td>{{ row[variant].rate | number }}</td>
{% endfor %}</tr>
{% endfor %}
</table>
</div>

<h2>What the numbers mean</h2>
<dl>
<dt>Importance, eq. (33)</dt>
<dd>The mean of a token's column of the hidden attention over the queries that can read it. A layer
that reads backward has the prompt's last token at position 1, and there it is this token that is
replaced.</dd>
<dt>Raw, softmax, absolute</dt>
<dd>Raw: the hidden attention as it is, with signs and a scale that the stored weights fix by
convention. Softmax: each query's weights through a softmax over its keys. Absolute: each
query's share of absolute weight on a key.</dd>
<dt>Sink rate, eq. (35), and sink score, eq. (36)</dt>
<dd>The share of channels whose importance exceeds the threshold, {{ data.threshold }}, and its mean
over layers. Each prompt is compared with the threshold, then prompts are averaged; "averaged first"
is the other order, which the paper leaves open.</dd>
<dt>Uniform</dt>
<dd>What attention without any preference gives at the prompts' lengths. It falls with the position,
so the first token has the largest score even then.</dd>
<dt>Shuffled, first replaced</dt>
<dd>The same model on the prompts' tokens in a random order, and with another first token,
{% if data.prompts.replace_with is none %}
drawn from the other prompts.
{% else %}
{% if data.prompts.replace_with.text is not none %}
<code>{{ data.prompts.replace_with.text | quoted }}</code>,
{% endif %}
id {{ data.prompts.replace_with.id }}.
{% endif %}
{% if data.prompts.bos %}
All prompts begin with a beginning-of-text token:
"shuffled after the first" leaves it in its place.{% endif %}</dd>
<dt>Verdict</dt>
<dd>By an interval of {{ (100 * data.confidence) | number(5) }}% over prompts of the mean excess of
the absolute score over the uniform one. Whole above zero: a sink; all layers together name one
where there is none at most once in 40 times. Else whole below {{ (100 * margin) | number }}% of the
uniform score: no more than uniform. Else, and of fewer than {{ least }} prompts always: not
decided, with the number of prompts like these, in all, of which a new sample would decide four
times in five. The margin is a convention.</dd>
<dt>Kind of a sink</dt>
<dd>It is one of the position if both changes of the tokens leave more than half of the excess, one
of the token if replacing takes more than half.</dd>
</dl>

<h2>Where this comes from</h2>
<dl>
<dt>Model</dt>
<dd><code>{{ data.model.name }}</code>{% if data.model.revision %}, revision
<code>{{ data.model.revision }}</code>{% endif %}, {{ data.model.class }} of
{{ data.model.package }}, {{ data.model.dtype }}</dd>
<dt>Check of the tensors</dt>
<dd>Each mixer's output put together from its hidden attention is within {{ data.check.error }} of
the model's own (relative; the worst is <code>{{ data.check.mixer }}</code>,
{{ data.check.tolerance | number }} is allowed).</dd>
<dt>Channels</dt>
<dd>{% for channels, total in channels %}{{ channels }} of {{ total }}
{{- ", " if not loop.last }}{% endfor %} in each layer</dd>
<dt>First tokens, the most frequent</dt>
<dd>{% for reads, tokens in data.prompts.first_tokens.items() %}
{% if both %}{{ reads }}: {% endif %}
{% for token in tokens %}<code>{{ token.id if token.text is none else token.text | quoted }}</code>
×{{ token.count }}{{ ", " if not loop.last }}{% endfor %}{{ "; " if not loop.last }}
{% endfor %}</dd>
<dt>Prompts</dt>
<dd>{{ data.prompts.count }} different ones
{%- if "cut" in data.prompts %}; {{ data.prompts.cut }} cut{% endif %}
{%- if data.prompts.repeated %}; {{ data.prompts.repeated }} repeated and left out{% endif %}
{%- if data.prompts.get("short") %}; {{ data.prompts.short | length }} left out with fewer
than two tokens ({{ "lines" if data.prompts.short | length > 1 else "line" }}
{{ data.prompts.short[:10] | join(", ") }}
{{- ", ..." if data.prompts.short | length > 10 }}){% endif %}. SHA-256 of their token ids:
<code>{{ data.prompts.digest }}</code></dd>
<dt>Parameters</dt>
<dd>{% for name, value in record.parameters.items() %}{{ name }}
<code>{{ "default" if value is none else value | join(", ") if value is sequence and value is not
string else value }}</code>
{{- ", " if not loop.last }}{% endfor %}</dd>
<dt>Run</dt>
<dd>{{ record.date }}, {{ "%.1f" | format(record.seconds) }} s on {{ record.device }}, seed
{{ record.seed }}{% if record.commit %}, commit <code>{{ record.commit[:10] }}</code>
{%- if record.dirty %} with uncommitted changes{% endif %}{% endif %};
{% for name, version in record.versions.items() if version %}{{ name }} {{ version }}
{{- ", " if not loop.last }}{% endfor %}</dd>
</dl>
<p class="soft">Equations are numbered as in the paper on token dynamics on spheres, appendix C.1.
All numbers of this page are in <code>sinks.json</code>, the first token's scores in each prompt
also in <code>scores.csv</code>, its figures beside it as SVG.</p>
</main>
</body>
</html>
"""
)
