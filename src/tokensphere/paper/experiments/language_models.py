"""Three language models through their training: does a sink come with size, or with training?

    python -m tokensphere.paper.experiments.language_models \
        --model NAME --text FILE --heldout FILE --out DIR

trains one of MODELS in DIR/NAME, and goes on with it where it stopped; three processes, each with a
GPU of its own, train the three. Once all are at their end,

    python -m tokensphere.paper.experiments.language_models --out DIR --record FILE

puts their histories into one record. The weights of "first", the book's model 2, come beside it,
into the folder of its name; those of the others are not kept. With `--text` and `--heldout` it
first trains what is not at its end, one model after another.

The plan, written after a first training of "first" and before those of the others
==================================================================================

What was known: of the 24 layers of that first training, at its end, two had a first token whose
share at 64 tokens after BOS lay above uniform attention's, by less than a tenth; none without BOS,
and on other prompts none at 16 tokens. So of "first" this plan predicts nothing. It is trained
again because that training was not looked at on 16 tokens along the way, nor by intervals for all
layers at once.

**Models.** "second" is "first" from another seed: other initial weights and other windows of the
same text. "larger" has 3.1 times its parameters: 1.5 times the depth and 1.5 times the width, so
that their ratio is the same, and a peak learning rate divided by 1.5, as rates go with one over the
width. All see as many tokens, 210 million, 7.9 passes over the text; "larger" the windows of
"first".

**Measured.** The first token's share ("absolute", eq 33 of shares, mean over channels) in every
layer on 256 held-out prompts, of 16 and of 64 tokens, after BOS and without; before the first
step, after 1%, 3%, 10% and 32% of the steps, and after the last. For each layer Student's interval
over prompts, at a confidence of 1 - 0.05 / layers (Bonferroni): in a cell (a model, a moment, a
length, with BOS or without) the chance that some layer without a sink gets one is at most 0.025.

**Outcome of a layer**, as in `sinks.verdict`: "sink" where the interval lies above uniform
attention; "uniform" where it lies below uniform and a margin of 0.2 of it; else "undecided". How
large the largest excess is stands beside: a share that is 1.05 times uniform is no sink to speak
of, though prompts enough show it.

**Primary: at the end, 64 tokens, after BOS.** Three answers, one for each question; all other cells
describe.

1. *Does another seed have it too?* Yes, if "second" has a layer with a sink; no, if all its layers
   are uniform; else undecided.
2. *Does it come with size?* Yes, if the share of layers with a sink is larger in "larger" than in
   both others, and so is the largest interval's lower end, divided by uniform; no, if neither
   is; else undecided.
3. *Does it come with training?* Yes, if no model has a layer with a sink before the first step, and
   each has one after the last; no, if none has one after the last; else undecided.

**What these cannot say.** Two seeds show that a finding is not of one seed; they give no spread,
and no test of "larger", which is one run, against the others. Depth, width and learning rate change
together. Ten times the size and a hundred times the text stay unseen: "no" is of these models at
210 million tokens, and not of Mamba. The prompts are of 50 documents, about five of each: taken as
independent, they may give intervals somewhat too narrow. Cells are many, and only layers are
corrected for: a single layer in a cell that is not primary proves nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tokensphere import records
from tokensphere.paper.experiments import language_text
from tokensphere.paper.experiments.language_model import Config, read_history, train
from tokensphere.sinks.measure import measure
from tokensphere.sinks.scores import interval

MODULE = "tokensphere.paper.experiments.language_models"
MODELS = {
    "first": Config(steps=3200),
    "second": Config(steps=3200, seed=1),
    "larger": Config(steps=3200, layers=36, width=288, rate=2e-3),
}
KEPT = "first"
"""Whose weights the book keeps, and WEIGHTS their files."""
WEIGHTS = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
LENGTHS = (16, 64)
"""The paper's, and four times that."""
PROMPTS = 256
SIGNIFICANCE = 0.05
"""Divided among the layers, as in `sinks.report`."""


def moments(steps: int) -> list[int]:
    """Steps before which the sinks are looked at: the start, then growing by powers of 10^(1/2)."""
    return sorted({0, *(round(steps * 10 ** (-k / 2)) for k in range(1, 5))})


def sink_scores(
    model: torch.nn.Module,
    tokenizer: Any,
    kept: Tensor,
    count: int,
    lengths: Sequence[int],
) -> dict[str, Any]:
    """What each layer's first token scores on `count` held-out prompts, after BOS and without.

    Returns:
        for each length, and for "bos" and "none", by layer: `mean`, `low` and `high`, the share
        and its interval at a confidence of 1 - SIGNIFICANCE / layers; `rate`, eq (35) of the raw
        scores.
    """
    device = next(model.parameters()).device
    found: dict[str, Any] = {}
    for length in lengths:
        ways = {}
        for way, bos in {"bos": tokenizer.bos_token_id, "none": None}.items():
            batch = language_text.prompts(kept, count, length, bos).to(device)
            layers = measure(model, [batch], variants=("raw", "absolute"))
            shares = torch.stack([layer.scores["absolute"][:, 0] for layer in layers], 1)
            low, high = interval(shares, 1 - SIGNIFICANCE / len(layers))
            rates = torch.stack([layer.rates["raw"][:, 0].mean() for layer in layers])
            values = {"mean": shares.mean(0), "low": low, "high": high, "rate": rates}
            ways[way] = {name: _rounded(value) for name, value in values.items()}
        found[str(length)] = ways
    return found


def _rounded(values: Tensor) -> list[float]:
    """Six digits are more than the intervals bear."""
    return [float(f"{value:.6g}") for value in values.tolist()]


def collect(out: Path) -> dict[str, Any]:
    """The histories of all MODELS, by name, out of a folder of their runs.

    Raises ValueError where one is missing, not at its end, or of another configuration or code.
    """
    code, found = records.digests([MODULE]), {}
    for name, config in MODELS.items():
        try:
            history = read_history(out / name)
        except FileNotFoundError:
            raise ValueError(f"out: {out / name} holds no run") from None
        if history["step"] < config.steps:
            raise ValueError(
                f"out: {name} is at step {history['step']} of {config.steps}: train it to its end"
            )
        if history["config"] != vars(config) or history["code"] != code:
            raise ValueError(f"out: {name} is a run of another configuration or other code")
        found[name] = {key: value for key, value in history.items() if key != "code"}
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Train a model, or keep the histories of all as a record; exit code 2 for bad input.

    A record with the texts trains first what is not at its end, one model after another.
    """
    parser = argparse.ArgumentParser(
        prog="language_models", description=__doc__.partition("\n")[0], allow_abbrev=False
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="of all runs")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--model", choices=MODELS, help="which one to train")
    task.add_argument("--record", metavar="FILE", help="such as results/language_model.json")
    parser.add_argument("--text", metavar="FILE", help="to train on")
    parser.add_argument("--heldout", metavar="FILE", help="to measure on")
    parser.add_argument("--seconds", type=float, metavar="S", help="stop after as many")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args(argv)
    if bool(given.text) != bool(given.heldout) or (given.model and not given.text):
        parser.error("to train takes both --text and --heldout")
    try:
        for name in [given.model] if given.model else MODELS if given.text else []:
            config = MODELS[name]
            history = train(
                config,
                given.text,
                given.heldout,
                given.out / name,
                given.device,
                measure=partial(sink_scores, count=PROMPTS, lengths=LENGTHS),
                moments=moments(config.steps),
                seconds=given.seconds,
                code=[MODULE],
            )
            print(f"{name}: step {history['step']} of {config.steps}", flush=True)
        if given.record:
            save(given.out, given.record, given.device)
    except (ValueError, OSError) as error:
        print(f"language_models: {error}", file=sys.stderr)
        return 2
    return 0


def save(out: Path, record: str, device: str) -> None:
    """The record of all runs and of their seconds in sum, with the weights of KEPT beside it. Each
    history names its own device; the record names `device`, so that it is made where the models
    were trained."""
    found = collect(out)
    for name in WEIGHTS:
        with records.write_whole(Path(record).with_suffix("") / name) as stream:
            stream.write((out / KEPT / name).read_bytes())
    records.save(
        record,
        {"lengths": LENGTHS, "prompts": PROMPTS, "models": found},
        parameters={name: vars(config) for name, config in MODELS.items()},
        code=[MODULE],
        seconds=sum(history["seconds"] for history in found.values()),
        device=device,
    )


if __name__ == "__main__":
    sys.exit(main())
