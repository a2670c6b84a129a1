"""Does a sink matter? What models lose without the first token's key, beside their layers' scores.

    python -m tokensphere.paper.experiments.ablation --record FILE

takes the models and prompts of `experiments.sinks`: typeseg's model, in both directions, and the
language model in results/, without and with a beginning-of-text token; at 16 and at 64 tokens.

The plan, written before any of its numbers was looked at. A layer is a mixer in one direction; its
first token is the one that it reads first. Its score is that token's absolute importance, mean over
all channels. Its effect is the divergence of what the model says when that token's key is ablated
in this layer alone, less the mean of the same for three later tokens; `sinks.ablation.sweep` says
over which tokens that is counted.

- Primary outcome, one for each of the three models, at 64 tokens: Spearman's correlation over the
  model's layers of score and effect, in each prompt; mean over prompts with Student's interval at
  1 - 0.05 / 3. "More" where it lies above 0: layers that attend more to their first token lose more
  without it, beyond what a later token costs. "Less" where it lies below 0, else "not decided".
- Secondary, each without correction: the same at 16 tokens, and of the loss; the same of the
  divergence's ratio, first over mean of the later ones, because any key of one layer may matter a
  hundred times as much as any of another, whatever their sinks; layers with a sink
  less the others, each ablated alone, and at once less as many random others; the excess of all
  layers at once. A layer has a sink where the interval over prompts of its score less the uniform
  one, at 1 - 0.05 over the number of layers, lies above 0.

Correlations are of one trained model's layers: intervals are over prompts, not over trainings.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tokensphere import records
from tokensphere.paper.experiments.sinks import RUNS, load
from tokensphere.sinks.ablation.document import ablation_document
from tokensphere.sinks.ablation.sweep import Sweep, sweep
from tokensphere.sinks.measure import measure
from tokensphere.sinks.nulls import uniform_importance
from tokensphere.sinks.scores import interval
from tokensphere.sinks.theory import correlation

SIGNIFICANCE = 0.05
PRIMARY = {"length": 64, "measure": "kl"}


def run(
    prompts: int, lengths: Sequence[int], later: int, draws: int, seed: int, device: str = "cpu"
) -> dict[str, dict[str, Any]]:
    """:func:`matter` for each of RUNS and of the lengths, by name and by length as text.

    Args:
        prompts: how many. lengths: of how many tokens each.
        later, draws, seed: as for :func:`tokensphere.sinks.ablation.sweep.sweep`.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in RUNS:
        found[name] = {}
        for length in lengths:
            model, rows, _ = load(name, prompts, length)
            ids = torch.stack(rows).to(device)
            found[name][str(length)] = matter(model.to(device), ids, later, draws, seed)
    return found


def matter(
    model: nn.Module, ids: Tensor, later: int = 3, draws: int = 10, seed: int = 0, size: int = 64
) -> dict[str, Any]:
    """Score every layer, then ablate it; the module's text has the plan.

    Args:
        ids: prompts of one length, (S, L), on the model's device.
        later, draws, seed: as for :func:`tokensphere.sinks.ablation.sweep.sweep`.
        size: prompts that go through the model at once.

    Returns:
        what :func:`tokensphere.sinks.ablation.document.ablation_document` does, and besides
        uniform: the score under uniform attention;
        scores: of each layer, in its order, mean, low and high over prompts;
        primary: the correlation, mean, low and high at the `confidence` of one of three, and its
        `answer`. What is primary at one length is secondary at the other;
        ratio: as of :func:`ratio`.
    """

    def batches() -> Iterator[Tensor]:
        return iter(ids.split(size))

    measured = measure(model, batches(), variants=["absolute"])
    scores = torch.stack([layer.scores["absolute"][:, 0] for layer in measured], 1)
    uniform = float(uniform_importance(ids.shape[1])[0])
    layers = [(layer.name, layer.reverse) for layer in measured]
    sinks = [layers[place] for place in with_sink(scores - uniform)]
    found = sweep(model, batches(), sinks=sinks, later=later, draws=draws, seed=seed)
    if list(found.layers) != layers:
        raise AssertionError("layers are scored and ablated in one order")
    bounds = interval(scores)
    return ablation_document(found, scores) | {
        "uniform": uniform,
        "scores": [
            {"mean": mean, "low": low, "high": high}
            for mean, low, high in torch.stack([scores.mean(0), *bounds], 1).tolist()
        ],
        "primary": primary(found, scores),
        "ratio": ratio(found, scores),
    }


def with_sink(excess: Tensor) -> list[int]:
    """The layers with a sink, by place, from their scores less the uniform one, (S, E)."""
    low, _ = interval(excess, 1 - SIGNIFICANCE / excess.shape[1])
    return (low > 0).nonzero()[:, 0].tolist()


def primary(found: Sweep, scores: Tensor) -> dict[str, Any]:
    """The planned outcome, from a sweep and the scores (S, E)."""
    confidence = 1 - SIGNIFICANCE / len(RUNS)
    estimate = correlation(scores, found.excess[PRIMARY["measure"]].T, confidence)
    answer = "more" if estimate.low > 0 else "less" if estimate.high < 0 else "not decided"
    return {**vars(estimate), "confidence": confidence, "answer": answer}


def ratio(found: Sweep, scores: Tensor) -> dict[str, float]:
    """The scores' correlation with the ratio of divergences, at 95%: mean, low, high.

    A prompt is left out on which some layer's first or later keys do nothing at all.
    """
    alone = found.alone["kl"].double()
    ratios = (alone[:, 0] / alone[:, 1:].mean(1)).T
    kept = ((ratios > 0) & ratios.isfinite()).all(1)
    return vars(correlation(scores[kept], ratios[kept]))


def main(argv: Sequence[str] | None = None) -> int:
    """Ablate all layers on as many prompts as the paper has, and keep the record."""
    parser = argparse.ArgumentParser(prog="ablation", description=__doc__.partition("\n")[0])
    parser.add_argument("--record", required=True, metavar="FILE")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args(argv)
    began = time.perf_counter()
    records.save(
        arguments.record,
        run(**FULL, device=arguments.device),
        parameters=FULL,
        code=["tokensphere.paper.experiments.ablation"],
        seconds=time.perf_counter() - began,
        seed=FULL["seed"],
        device=arguments.device,
    )
    return 0


FULL = {"prompts": 170, "lengths": [16, 64], "later": 3, "draws": 10, "seed": 0}
"""The paper's number of prompts, at its number of tokens and at four times as many."""

if __name__ == "__main__":
    sys.exit(main())
