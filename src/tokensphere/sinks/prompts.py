"""Prompts: out of a file, into tokens, into padded batches, and their changed copies."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tokensphere.sinks.nulls import replace_first, shuffle_tokens, uniform_importance

__all__ = ["Prompts", "changed", "encode_prompts", "first_tokens", "read_prompts"]


def read_prompts(path: str | os.PathLike[str]) -> list[tuple[int, str]]:
    """The prompts of a file, each with the number of its line.

    One prompt a line, or in a file named .jsonl one object a line with the key "prompt". Blank
    lines are passed over.

    Raises:
        FileNotFoundError; ValueError for a file without prompts, or a line that is none.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"prompts: no such file: {path}")
    try:
        # Not splitlines: a form feed within a prompt ends no line.
        lines = path.read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"prompts: {path} is not UTF-8 text: {error.reason}") from None
    prompts = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            jsonl = path.suffix == ".jsonl"
            prompts.append((number, _prompt(line, f"{path}, line {number}") if jsonl else line))
    if not prompts:
        raise ValueError(f"prompts: {path} holds no prompt")
    return prompts


def encode_prompts(
    encode: Callable[[str], list[int]], prompts: Sequence[tuple[int, str]], max_length: int
) -> list[Tensor]:
    """Each prompt's token ids, cut after `max_length`: integers (L,), on the CPU.

    Args:
        encode: from text to all of its token ids.
        prompts: as :func:`read_prompts` gives them.
        max_length: at least 2.

    Raises:
        ValueError: a prompt of fewer than two tokens (names its line), a max_length below 2.
    """
    if max_length < 2:
        raise ValueError(f"max-length: got {max_length}, takes an integer >= 2")
    encoded = []
    for number, text in prompts:
        ids = encode(text)[:max_length]
        if len(ids) < 2:
            raise ValueError(
                f"prompts: line {number} has {len(ids)} token{'s' * (len(ids) != 1)}, "
                "takes at least two"
            )
        encoded.append(torch.tensor(ids, dtype=torch.int64))
    return encoded


@dataclass(frozen=True)
class Prompts:
    """Prompts by falling length, so that batches hold like lengths and the largest comes first.

    ids: (S, L), padded on the right. lengths: (S,). Both on the CPU. device: the model's.
    """

    ids: Tensor
    lengths: Tensor
    device: torch.device | str

    @classmethod
    def of(cls, prompts: Sequence[Tensor], device: torch.device | str) -> Prompts:
        ordered = sorted((prompt.cpu().long() for prompt in prompts), key=len, reverse=True)
        ids = nn.utils.rnn.pad_sequence(ordered, batch_first=True)
        return cls(ids, torch.tensor([len(prompt) for prompt in ordered]), device)

    @property
    def mask(self) -> Tensor:
        return torch.arange(self.ids.shape[1]) < self.lengths[:, None]

    def batches(self, size: int, ids: Tensor | None = None) -> Iterator[dict[str, Any]]:
        """What the model takes, `size` prompts at a time; with other tokens where ids has them."""
        ids = self.ids if ids is None else ids
        present = self.mask
        for start in range(0, len(ids), size):
            longest = int(self.lengths[start])
            batch = {"input_ids": ids[start : start + size, :longest]}
            mask = present[start : start + size, :longest]
            if not bool(mask.all()):
                batch["attention_mask"] = mask.long()
            yield {name: value.to(self.device) for name, value in batch.items()}

    def first(self, count: int) -> Prompts:
        """The longest `count` of them."""
        return Prompts(self.ids[:count], self.lengths[:count], self.device)

    def uniform(self) -> Tensor:
        """`uniform_importance` of each prompt's length, (S, L), NaN past its end."""
        return nn.utils.rnn.pad_sequence(
            [uniform_importance(length) for length in self.lengths.tolist()],
            batch_first=True,
            padding_value=torch.nan,
        )


def changed(texts: Prompts, seed: int, begins: bool, both: bool) -> dict[str, Tensor]:
    """The prompts' tokens, and those of their nulls, by name."""
    ids, mask = texts.ids, texts.mask

    def generator(stream: int) -> torch.Generator:
        # One stream for each null: what one draws does not depend on whether another is asked for.
        return torch.Generator().manual_seed(4 * seed + stream)

    changed = {"prompts": ids, "shuffled": shuffle_tokens(ids, mask, generator(0))}
    if begins:
        changed["shuffled_after_bos"] = shuffle_tokens(ids, mask, generator(1), keep_first=1)
    others = _other_tokens(texts, ids[:, 0], generator(2))
    changed["replaced"] = replace_first(ids, mask, others)
    if both:
        last = ids.gather(1, texts.lengths[:, None] - 1)[:, 0]
        others = _other_tokens(texts, last, generator(3))
        changed["replaced_last"] = replace_first(ids.flip(1), mask.flip(1), others).flip(1)
    return changed


def first_tokens(
    prompts: Sequence[Tensor], index: int, decode: Callable[[int], str] | None
) -> list[dict[str, Any]]:
    """The five most frequent tokens at an index of the prompts: id, count, text."""
    found = Counter(int(prompt[index]) for prompt in prompts).most_common(5)
    return [
        {"id": token, "count": count, "text": None if decode is None else decode(token)}
        for token, count in found
    ]


def _other_tokens(texts: Prompts, present: Tensor, generator: torch.Generator) -> Tensor:
    """For each prompt a token of the others, as frequent as there, but not the present one."""
    pool = texts.ids[texts.mask]
    owner = torch.arange(len(texts.ids)).repeat_interleave(texts.lengths)
    drawn = []
    for index, token in enumerate(present.tolist()):
        choice = pool[(owner != index) & (pool != token)]
        if not len(choice):
            raise ValueError(f"prompts: hold no token but {token} to replace the first one with")
        drawn.append(choice[torch.randint(len(choice), (), generator=generator)])
    return torch.stack(drawn)


def _prompt(line: str, where: str) -> str:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise ValueError(f"prompts: {where}: not JSON: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("prompt"), str):
        raise ValueError(f'prompts: {where}: takes an object with text at the key "prompt"')
    return content["prompt"]
