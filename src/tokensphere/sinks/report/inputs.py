"""How prompts go into a model: to which device, padded with what, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from tokensphere.sinks.ablation.answers import Answers, answers
from tokensphere.sinks.ablation.sweep import least_tokens
from tokensphere.sinks.report.prompts import Prompts
from tokensphere.sinks.walk import bare

__all__ = ["ablated", "answered", "check_ablate", "device_of", "padding_of"]


def device_of(model: nn.Module) -> torch.device | str:
    """Where token ids go: to the embeddings, wherever the rest of a model is, or is loaded to."""
    model = bare(model)
    for part in (_embeddings(model), model):
        if part is None:
            continue
        hook = getattr(part, "_hf_hook", None)  # of accelerate: one hook, or several in a row
        for each in getattr(hook, "hooks", (hook,)):
            if getattr(each, "execution_device", None) is not None:
                return torch.device(each.execution_device)
        for value in part.parameters():
            if not value.is_meta:
                return value.device
    return "cpu"


def padding_of(model: nn.Module) -> int | None:
    """The token that the model's configuration pads with; None without one that it knows."""
    model = bare(model)
    config = getattr(model, "config", None)
    config = getattr(config, "get_text_config", lambda: config)()
    token, embed = getattr(config, "pad_token_id", None), _embeddings(model)
    known = getattr(embed, "num_embeddings", None)
    if not isinstance(token, int) or token < 0 or (known is not None and token >= known):
        return None
    return token


def answered(model: nn.Module, texts: Prompts) -> Answers | None:
    """What the model says on the longest prompt; None where it gives no logits."""
    try:
        return answers(model, next(texts.batches(1)))
    except ValueError:
        return None


def ablated(model: nn.Module, texts: Prompts) -> Prompts:
    """The prompts that are long enough to ablate, in batches that change no answer.

    transformers' classifiers of sequences answer at the last token that is not padding by its id,
    whatever the mask says: without such an id, prompts of one length go together.

    Raises:
        ValueError: fewer than two such prompts; a model that gives no logits.
    """
    whole = texts.first(check_ablate(texts.lengths.tolist()))
    own = answers(model, next(whole.batches(1)))
    return replace(whole, apart=own.batch is None and padding_of(model) is None)


def check_ablate(lengths: Sequence[int]) -> int:
    """How many of prompts, different ones of these lengths, are long enough to ablate.

    Raises ValueError for fewer than two.
    """
    least = least_tokens()
    enough = sum(length >= least for length in lengths)
    if enough < 2:
        raise ValueError(
            f"ablate: takes at least two prompts of {least} tokens or more, got {enough}"
        )
    return enough


def _embeddings(model: nn.Module) -> nn.Module | None:
    embed = getattr(model, "get_input_embeddings", lambda: None)()
    return embed if isinstance(embed, nn.Module) else None
