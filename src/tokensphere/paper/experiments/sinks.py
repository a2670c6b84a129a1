"""The book's experiment on attention sinks: two trained models, their nulls, and the theory's part.

    python -m tokensphere.paper.experiments.sinks --record FILE

measures typeseg's model, in both directions, and the language model in results/, without and with a
beginning-of-text token, on the docstrings of numpy's functions. The chapter runs it live on a few
channels of a few prompts; with all of them it is the record.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tokensphere import records
from tokensphere.sinks import typeseg
from tokensphere.sinks.attribution import FACTORS, attribution
from tokensphere.sinks.capture import each_layer
from tokensphere.sinks.layer import Layer
from tokensphere.sinks.report import measure_model
from tokensphere.sinks.scores import importance, interval, sample_channels
from tokensphere.sinks.theory import aligned, alignment, correlation, pull, response

RUNS = ("typeseg", "without BOS", "with BOS")
LANGUAGE_MODEL = "language_model"
"""Folder in results/."""


def texts() -> list[str]:
    """The docstrings of numpy's functions that are long enough, in alphabetic order.

    Each without its first paragraph, which for many is a signature.
    """
    functions = (getattr(np, name) for name in sorted(np.__all__))
    documents = (inspect.getdoc(item) or "" for item in functions if callable(item))
    bodies = (text.partition("\n\n")[2] for text in documents)
    return list(dict.fromkeys(body for body in bodies if len(body) > 400))


def load(name: str, count: int, length: int) -> tuple[nn.Module, list[Tensor], int | None]:
    """A model of RUNS, in float32, with its prompts of `length` tokens, and its BOS if they begin
    with one.

    They are the first `count` that differ: many texts begin with the same heading.

    Raises ValueError where there are fewer.
    """
    if name == "typeseg":
        rows = (typeseg.encode(text)[:length] for text in texts())
        return typeseg.load(), different(rows, count), None
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = records.path(LANGUAGE_MODEL)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        rescale_prenorm_residual=False,  # or transformers scales the trained weights as at a start
    ).eval()
    bos = tokenizer.bos_token_id if name == "with BOS" else None
    start = [] if bos is None else [bos]
    rows = (tokenizer(text, add_special_tokens=False).input_ids for text in texts())
    return model, different((torch.tensor([*start, *row][:length]) for row in rows), count), bos


def different(rows: Iterable[Tensor], count: int) -> list[Tensor]:
    """The first `count` rows of tokens that differ; raises ValueError where there are fewer."""
    found = {tuple(row.tolist()): row for row in rows}
    if len(found) < count:
        raise ValueError(f"count: got {count}, takes at most {len(found)}")
    return list(found.values())[:count]


def run(
    prompts: int, length: int, channels: int | None, closer: int, seed: int, device: str = "cpu"
) -> dict[str, Any]:
    """Measure the three RUNS.

    Args:
        prompts, length: how many prompts, of how many tokens each.
        channels: drawn a layer for the scores, None for all.
        closer: drawn a layer for the attribution, which levels factors in 16 ways.
        seed: of channels, shuffles and tokens put in place of others.

    Returns:
        for each of RUNS: `scores`, of :func:`tokensphere.sinks.report.measure_model`, and `theory`,
        of :func:`explain`.
    """
    found = {}
    for name in RUNS:
        model, rows, bos = load(name, prompts, length)
        model.to(device)
        scores = measure_model(
            model, rows, channels=channels, seed=seed, batch_size=prompts, bos=bos
        )
        theory = explain(model, torch.stack(rows).to(device), channels, closer, seed)
        found[name] = {"scores": scores, "theory": theory}
    return found


def explain(
    model: nn.Module, ids: Tensor, channels: int | None, closer: int, seed: int
) -> dict[str, Any]:
    """What of the first token's score the theory names; means over prompts with 95% intervals.

    Returns:
        alignment: by depth, cosine of the later tokens with the first (`first`) and with each other
            (`others`), and `excess`, the paired difference.
        response: by depth, how far the later tokens follow when the first token is another
            (`first`), and a later one (`later`, that at a quarter of the length).
        layers: for each captured layer index, reverse, and by name an estimate each: `measured` and
            `limit` (share of the first token, as it is and with all tokens at the first one),
            `correlation` (Spearman, over channels, of the predicted with the measured pull), and
            `attribution` (`levelled` and the share of each factor).
    """
    length = ids.shape[1]
    g = torch.Generator().manual_seed(seed)
    states = _states(model, ids)
    close = alignment(states)
    first, others = (value.nanmean(-1) for value in (close.first, close.others))
    followed = {}
    # A token of another prompt is one that the model meets.
    other = ids.roll(int(torch.randint(1, len(ids), (1,), generator=g)), 0)[:, length // 2]
    for name, position in {"first": 0, "later": length // 4}.items():
        changed = ids.clone()
        changed[:, position] = other
        moved = response(states, _states(model, changed), position=position)
        followed[name] = _estimate(moved[..., position + 1 :].nanmean(-1))
    depth = iter(range(10**9))

    def look(layer: Layer) -> dict[str, Any]:
        number = next(depth)
        total = layer.delta.shape[1]
        few = layer.select(sample_channels(total, closer, seed, number))
        layer = layer.select(sample_channels(total, channels, seed, number))
        limit = aligned(layer)
        found = attribution(few)
        return {
            "name": layer.name,
            "reverse": layer.reverse,
            "measured": _estimate(importance(layer, "absolute")[..., 0].mean(1)),
            "limit": _estimate(importance(limit, "absolute")[..., 0].mean(1)),
            "correlation": vars(correlation(pull(limit), pull(layer))),
            "attribution": {
                "measured": _estimate(found.measured),
                "levelled": _estimate(found.levelled),
                **{name: _estimate(found.shares[name]) for name in FACTORS},
            },
        }

    return {
        "alignment": {
            "first": _estimate(first),
            "others": _estimate(others),
            "excess": _estimate(first - others),
        },
        "response": followed,
        "layers": each_layer(model, ids, look),
    }


def _states(model: nn.Module, ids: Tensor) -> list[Tensor]:
    """The residual stream before the first layer and after each but, in transformers, the last:
    what it returns there has passed the final norm."""
    with torch.no_grad():
        states = model(ids, output_hidden_states=True).hidden_states
    return list(states if isinstance(model, typeseg.TypeSeg) else states[:-1])


def _estimate(values: Tensor) -> dict[str, Any]:
    """Mean over prompts, the last dimension, with its interval; a prompt without a value, NaN, as
    where a token was put in place of its like, is left out."""
    low, high = interval(values.movedim(-1, 0))
    mean = values.double().nanmean(-1).cpu()
    return {"mean": mean.tolist(), "low": low.tolist(), "high": high.tolist()}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all channels of as many prompts as the paper has, and keep the record."""
    parser = argparse.ArgumentParser(prog="experiment", description=__doc__.partition("\n")[0])
    parser.add_argument("--record", required=True, metavar="FILE")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args(argv)
    began = time.perf_counter()
    records.save(
        arguments.record,
        run(**FULL, device=arguments.device),
        parameters=FULL,
        code=["tokensphere.paper.experiments.sinks"],
        seconds=time.perf_counter() - began,
        seed=FULL["seed"],
        device=arguments.device,
    )
    return 0


FULL = {"prompts": 170, "length": 16, "channels": None, "closer": 64, "seed": 0}
"""The paper's number of prompts and of tokens, appendix C.1, on every channel."""

if __name__ == "__main__":
    sys.exit(main())
