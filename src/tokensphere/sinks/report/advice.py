"""What to do next, in a sentence or two, by what a report has found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokensphere.sinks.verdicts import LEAST_PROMPTS, MOST_NEEDED

__all__ = ["advice"]

MANY = 30
"""Prompts from which on Student's interval hardly depends on how the scores are distributed."""
LONG = 32
"""Tokens under which uniform attention by itself has more than an eighth at the first token."""


def advice(data: Mapping[str, Any]) -> list[str]:
    """Sentences on what would tell more, the most urgent first; there is always one.

    Args:
        data: of `sinks.report.measure_model`.
    """
    prompts, layers = data["prompts"], data["layers"]
    median = prompts["lengths"][1]
    # The way to begin that was not measured, where the tokenizer has a token for it.
    starts = ["--no-bos"] if prompts["bos"] else ["--bos"] * (prompts["bos_token"] is not None)
    said = []
    undecided = [layer for layer in layers if layer["verdict"]["outcome"] == "undecided"]
    if prompts["count"] < LEAST_PROMPTS:
        said.append(
            f"Of {prompts['count']} different prompts nothing is decided: give at least "
            f"{LEAST_PROMPTS}, better {MANY} or more."
        )
    elif undecided:
        said.append(_undecided(undecided, prompts["count"]))
    if median < LONG:
        cut = prompts.get("cut", 0) > prompts["count"] / 2
        how = "raise --max-length" if cut else "give longer ones"
        said.append(
            f"Half of the prompts have at most {median} tokens, where uniform attention itself "
            f"gives the first one {data['uniform']['mean'][0]:.2f}: {how}."
        )
    kinds = {
        kind: [layer for layer in layers if layer["verdict"]["kind"] == kind]
        for kind in ("position", "token", "undetermined")
    }
    if kinds["position"] and "ablation" not in data and data["model"]["logits"]:
        said.append(
            f"Whether the sink of the position in {_named(kinds['position'])} matters to what the "
            "model says, --ablate tells: it takes the first token out of what these layers read."
        )
    if kinds["token"]:
        ways = ["--replace-with", *starts]
        said.append(
            f"The sink in {_named(kinds['token'])} goes with the token: try other first tokens, by "
            f"{' or '.join(ways)}."
        )
    if kinds["undetermined"]:
        said.append(
            f"What makes the sink in {_named(kinds['undetermined'])} is open: give more prompts, "
            "or one token to put in the first place of all, by --replace-with."
        )
    if not said and kinds["position"]:
        said.append(
            f"The sink in {_named(kinds['position'])} is there whichever token stands first: look "
            "at its map, and at other prompts."
        )
    elif not said:
        other = "".join(
            f", and {'without' if prompts['bos'] else 'with'} a beginning-of-text token, by {start}"
            for start in starts
        )
        said.append(
            "No layer gives its first token more than uniform attention does: look again at longer "
            f"prompts, by --max-length{other}."
        )
    return said


def _undecided(layers: Sequence[Mapping[str, Any]], count: int) -> str:
    needed = [layer["verdict"]["needed"] for layer in layers]
    some = [number for number in needed if number is not None]
    which = f"{len(layers)} layer{'s are' if len(layers) > 1 else ' is'} not decided"
    if not some:
        return (
            f"{which}, and {MOST_NEEDED:,} prompts like these would not decide: their scores "
            "differ too much."
        )
    all_of = "all of them" if len(some) == len(layers) > 1 else "it"
    if len(some) < len(layers):
        all_of = f"{len(some)} of them"
    return (
        f"{which}: about {_round(max(some)):,} prompts like these {count} would decide {all_of}, "
        f"{'each ' if len(some) > 1 else ''}with a chance of four in five."
    )


def _round(number: int) -> int:
    """Up to two digits: it is an estimate."""
    unit = 10 ** max(len(str(number)) - 2, 0)
    return -(-number // unit) * unit


def _named(layers: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(layer["name"] for layer in layers))
    if len(names) > 3:
        return f"{names[0]} and {len(names) - 1} more layers"
    return ", ".join(names)
