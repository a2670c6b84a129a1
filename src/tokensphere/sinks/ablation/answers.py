"""What a model says on a batch, by itself or with keys of its hidden attention taken out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tokensphere.sinks.ablation.contributions import change
from tokensphere.sinks.batch import Batch, Inputs, read_inputs
from tokensphere.sinks.mixers import Seen, find
from tokensphere.sinks.walk import bare, blame, walk

__all__ = ["IGNORED", "Answers", "Keys", "answers"]

Keys = Callable[[Tensor], Tensor]
"""From the lengths of sequences, (B,), to the tokens whose keys are taken out, (B, K), counted from
each sequence's first token."""

IGNORED = -100
"""The label of a token without one, as in torch's cross-entropy."""


@dataclass(frozen=True)
class Answers:
    """What a run of a model gave.

    logits: (B, L, classes), or (B, 1, classes) for one answer a sequence.
    batch: where the tokens stand; None with one answer a sequence.
    labels: (B, L) or (B, 1), IGNORED where there is none; None without labels.
    directions: of each mixer and direction, in the order they ran, its name and whether it reads
        the sequence from its end.
    """

    logits: Tensor
    batch: Batch | None
    labels: Tensor | None
    directions: tuple[tuple[str, bool], ...]

    @property
    def causal(self) -> bool:
        """Whether no mixer reads from the end."""
        return not any(reverse for _, reverse in self.directions)


def answers(
    model: nn.Module,
    inputs: Inputs,
    plan: Mapping[str, Keys] | None = None,
    channels: Sequence[int] | None = None,
    labels: Tensor | None = None,
) -> Answers:
    """Run a model, with the keys of `plan` taken out of the mixers that it names.

    Args:
        model, inputs, channels, labels: as :func:`tokensphere.sinks.ablate` takes them.
        plan: for mixers, by name, which keys.

    Raises ValueError as that does.
    """
    plan = plan or {}
    directions: list[tuple[str, bool]] = []

    def visit(
        name: str, mixer: nn.Module, seen: Seen, output: Tensor, batch: Batch, flipped: bool
    ) -> Tensor | None:
        directions.extend((name, each is not flipped) for each in find(mixer).directions)
        if name not in plan:
            return None
        keys = plan[name](batch.lengths)
        return output + change(name, mixer, seen, batch, flipped, keys, channels).to(output)

    logits = _logits(model, walk(model, inputs, visit, outputs=True))
    _, named, batch = read_inputs(inputs)
    if logits.ndim == 2:
        logits, batch = logits[:, None], None
    elif batch is None or logits.shape[:2] != (len(batch.lengths), batch.length):
        raise ValueError(
            f"model: gives logits of shape {tuple(logits.shape)}, takes (B, L, classes) for the "
            "tokens of the batch, or (B, classes)"
        )
    found = Answers(logits, batch, None, tuple(directions))
    if labels is not None:
        return replace(found, labels=_checked(labels, logits))
    ids = named.get("input_ids")
    if batch is None or ids is None or not found.causal or not _predicts_tokens(model, logits):
        return found
    return replace(found, labels=_next(ids, batch).to(logits.device))


def _logits(model: nn.Module, returned: object) -> Tensor:
    logits = returned
    if not isinstance(logits, Tensor):
        logits = getattr(returned, "logits", None)
        if logits is None and isinstance(returned, Mapping):
            logits = returned.get("logits")
    name = type(bare(model)).__name__
    if not isinstance(logits, Tensor):
        raise ValueError(f"model: {name} gives no logits, takes a language model or a classifier")
    if logits.ndim not in (2, 3) or logits.shape[-1] < 2:
        raise ValueError(
            f"model: {name} gives logits of shape {tuple(logits.shape)}, takes (B, L, classes) or "
            "(B, classes) with at least two classes"
        )
    if not bool(logits.amax(-1).isfinite().all()):
        raise ValueError(f"model: the logits of {name} are not finite; {blame(model)}")
    return logits


def _predicts_tokens(model: nn.Module, logits: Tensor) -> bool:
    """Whether there is a logit for each token that the model can read."""
    model = bare(model)
    embedded = getattr(model, "get_input_embeddings", lambda: None)()
    if embedded is None:
        embedded = next((m for m in model.modules() if isinstance(m, nn.Embedding)), None)
    return getattr(embedded, "weight", logits[0, 0, :0]).shape[0] == logits.shape[-1]


def _next(ids: Tensor, batch: Batch) -> Tensor:
    """The token behind each, IGNORED where there is none."""
    labels = nn.functional.pad(ids[:, 1:], (0, 1), value=IGNORED)
    if batch.mask is None:
        return labels
    return torch.where(nn.functional.pad(batch.mask[:, 1:], (0, 1)), labels, IGNORED)


def _checked(labels: Tensor, logits: Tensor) -> Tensor:
    """Labels as (B, L) or (B, 1)."""
    count, length, classes = logits.shape
    takes = (count, length) if length > 1 else (count,)
    got = tuple(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
    if not isinstance(labels, Tensor) or labels.shape not in (takes, (count, length)):
        raise ValueError(f"labels: got {got}, takes integers {takes}")
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(f"labels: dtype {labels.dtype}, takes integers")
    given = labels[labels != IGNORED]
    if not len(given) or int(given.min()) < 0 or int(given.max()) >= classes:
        raise ValueError(f"labels: takes classes from 0 to {classes - 1}, or {IGNORED} for none")
    return labels.to(logits.device).view(count, length)
