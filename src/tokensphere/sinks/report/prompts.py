"""Prompts: out of a file, into tokens, into padded batches, and their changed copies."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tokensphere.sinks.nulls import replace_first, shuffle_tokens, uniform_importance

__all__ = [
    "LEAST_READERS",
    "Encoded",
    "Prompts",
    "changed",
    "digest",
    "encode_prompts",
    "first_of_each",
    "first_tokens",
    "read_prompts",
]

LEAST_READERS = 0.25
"""A position read by a smaller share of its prompt's tokens, or in a smaller share of the prompts,
is left out where positions are compared: the last one is read by itself alone, and of what is read
once, or in one prompt, the mean is large by chance."""


def read_prompts(path: str | os.PathLike[str]) -> list[tuple[int, str]]:
    """The prompts of a file, each with the number of its line; "-" is the standard input.

    One prompt a line; or one JSON object a line with the key "prompt", in a file named .jsonl and
    where all lines are such. Blank lines are passed over.

    Raises:
        FileNotFoundError; ValueError for a file without prompts, or a line that is none.
    """
    if os.fspath(path) == "-":
        where, content = "standard input", sys.stdin.buffer.read()
    else:
        where = path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"prompts: no such file: {path}")
        if path.is_dir():
            raise ValueError(f"prompts: {path} is a folder, takes a file")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise OSError(f"prompts: {path} cannot be read: {error.strerror}") from None
    try:
        # Not splitlines: a form feed within a prompt ends no line.
        lines = re.split("\r\n|\n|\r", content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        number = len(re.split(b"\r\n|\n|\r", content[: error.start]))
        raise ValueError(
            f"prompts: {where} is not UTF-8 text: {error.reason} in line {number}"
        ) from None
    prompts = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not prompts:
        raise ValueError(f"prompts: {where} holds no prompt")
    named = isinstance(where, Path) and where.suffix.lower() == ".jsonl"
    if named or all(_is_object(line) for _, line in prompts):
        return [(number, _prompt(line, f"{where}, line {number}")) for number, line in prompts]
    return prompts


@dataclass(frozen=True)
class Encoded:
    """Prompts as token ids, each an integer tensor (L,) on the CPU with L >= 2.

    lines: the number of each one's line. cut: how many were longer. short: the lines of those that
    were left out, with fewer than two tokens.
    """

    ids: list[Tensor]
    lines: list[int]
    cut: int
    short: list[int]


def encode_prompts(
    encode: Callable[[str], list[int]], prompts: Sequence[tuple[int, str]], max_length: int
) -> Encoded:
    """Each prompt's token ids, cut after `max_length`; prompts of fewer than two are left out.

    Args:
        encode: from text to all of its token ids.
        prompts: as :func:`read_prompts` gives them.
        max_length: at least 2.

    Raises:
        ValueError: a max_length below 2; no two prompts of two tokens (names a line).
    """
    if max_length < 2:
        raise ValueError(f"max_length: got {max_length}, takes an integer >= 2")
    rows = {number: encode(text) for number, text in prompts}
    kept = {number: row for number, row in rows.items() if len(row) >= 2}
    short = [number for number in rows if number not in kept]
    if short and len(kept) < 2:
        count = len(rows[short[0]])
        raise ValueError(
            f"prompts: line {short[0]} has {count} token{'s' * (count != 1)}, takes at least two "
            "prompts of at least two tokens"
        )
    return Encoded(
        [torch.tensor(row[:max_length], dtype=torch.int64) for row in kept.values()],
        list(kept),
        sum(len(row) > max_length for row in kept.values()),
        short,
    )


def first_of_each(prompts: Sequence[Tensor]) -> list[int]:
    """Indices of the prompts that equal none before them: repetitions tell nothing of a spread."""
    found = {tuple(prompt.tolist()): index for index, prompt in reversed(list(enumerate(prompts)))}
    return sorted(found.values())


def digest(prompts: Sequence[Tensor]) -> str:
    """SHA-256 of the prompts' token ids, the same in whatever order the prompts come.

    Of a text with one prompt a line, ids in decimal with a space between them, lines sorted as
    text, each ended by a line feed.
    """
    lines = sorted(" ".join(map(str, prompt.tolist())) + "\n" for prompt in prompts)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True)
class Prompts:
    """Prompts by falling length, so that batches hold like lengths and the largest comes first.

    ids: (S, L), padded on the right. lengths: (S,). order: where each stood among those given,
    (S,). All on the CPU. device: the model's. apart: whether batches hold prompts of one length
    only.
    """

    ids: Tensor
    lengths: Tensor
    order: Tensor
    device: torch.device | str
    apart: bool = False

    @classmethod
    def of(cls, prompts: Sequence[Tensor], device: torch.device | str, padding: int = 0) -> Prompts:
        """Of prompts (L,); padding: the token to pad them with."""
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]), reverse=True)
        ordered = [prompts[index].cpu().long() for index in order]
        ids = nn.utils.rnn.pad_sequence(ordered, batch_first=True, padding_value=padding)
        lengths = torch.tensor([len(prompt) for prompt in ordered])
        return cls(ids, lengths, torch.tensor(order), device)

    @property
    def mask(self) -> Tensor:
        return torch.arange(self.ids.shape[1]) < self.lengths[:, None]

    def batches(self, size: int, ids: Tensor | None = None) -> Iterator[dict[str, Any]]:
        """What the model takes, `size` prompts at a time; with other tokens where ids has them."""
        ids = self.ids if ids is None else ids
        present = self.mask
        for start, stop in self.spans(size):
            longest = int(self.lengths[start])
            batch = {"input_ids": ids[start:stop, :longest]}
            mask = present[start:stop, :longest]
            if not bool(mask.all()):
                batch["attention_mask"] = mask.long()
            yield {name: value.to(self.device) for name, value in batch.items()}

    def spans(self, size: int) -> list[tuple[int, int]]:
        """Where batches of `size` prompts at most start and stop."""
        lengths, found, start = self.lengths.tolist(), [], 0
        while start < len(lengths):
            stop = min(start + size, len(lengths))
            if self.apart:
                stop = min(stop, start + lengths[start:].count(lengths[start]))
            found.append((start, stop))
            start = stop
        return found

    def first(self, count: int) -> Prompts:
        """The longest `count` of them."""
        parts = (self.ids[:count], self.lengths[:count], self.order[:count])
        return Prompts(*parts, self.device, self.apart)

    def as_given(self, values: Tensor) -> Tensor:
        """values (S, ...), one of each prompt, in the order in which the prompts were given."""
        return values[self.order.argsort()]

    def well_read(self) -> Tensor:
        """(S, L): true at positions that at least LEAST_READERS of the prompt's tokens read, where
        that holds for as large a share of the prompts."""
        queries = self.lengths[:, None] - torch.arange(self.ids.shape[1])
        read = self.mask & (queries >= LEAST_READERS * self.lengths[:, None])
        return read & (read.double().mean(0) >= LEAST_READERS)

    def uniform(self) -> Tensor:
        """`uniform_importance` of each prompt's length, (S, L), NaN past its end."""
        return nn.utils.rnn.pad_sequence(
            [uniform_importance(length) for length in self.lengths.tolist()],
            batch_first=True,
            padding_value=torch.nan,
        )


def changed(
    texts: Prompts, seed: int, begins: bool, both: bool, replace_with: int | None = None
) -> dict[str, Tensor]:
    """The prompts' tokens, and those of their nulls, by name.

    Args:
        seed: of the shuffles and of the tokens drawn.
        begins: whether all begin with a beginning-of-text token, which a second shuffle leaves.
        both: whether the last token is to be replaced too, in copies of their own.
        replace_with: the token put there; None to draw one for each prompt from the others.

    Raises ValueError where a prompt has that token there already, or there is none to draw.
    """
    ids, mask = texts.ids, texts.mask

    def generator(stream: int) -> torch.Generator:
        # One stream for each null: what one draws does not depend on whether another is asked for.
        return torch.Generator().manual_seed(4 * seed + stream)

    changed = {"prompts": ids, "shuffled": shuffle_tokens(ids, mask, generator(0))}
    if begins:
        changed["shuffled_after_bos"] = shuffle_tokens(ids, mask, generator(1), keep_first=1)
    others = _other_tokens(texts, ids[:, 0], "first", generator(2), replace_with)
    changed["replaced"] = replace_first(ids, mask, others)
    if both:
        last = ids.gather(1, texts.lengths[:, None] - 1)[:, 0]
        others = _other_tokens(texts, last, "last", generator(3), replace_with)
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


def _other_tokens(
    texts: Prompts,
    present: Tensor,
    place: str,
    generator: torch.Generator,
    replace_with: int | None,
) -> Tensor:
    """For each prompt a token of the others, as frequent as there, but not the present one, which
    stands in the `place`; or `replace_with`."""
    if replace_with is not None:
        if bool((same := present == replace_with).any()):
            raise ValueError(
                f"replace_with: {int(same.sum())} of {len(same)} prompts have the token "
                f"{replace_with} as their {place} already, takes one that none has there"
            )
        return torch.full_like(present, replace_with)
    pool = texts.ids[texts.mask]
    owner = torch.arange(len(texts.ids)).repeat_interleave(texts.lengths)
    drawn = []
    for index, token in enumerate(present.tolist()):
        choice = pool[(owner != index) & (pool != token)]
        if not len(choice):
            raise ValueError(f"prompts: hold no token but {token} to replace the {place} one with")
        drawn.append(choice[torch.randint(len(choice), (), generator=generator)])
    return torch.stack(drawn)


def _is_object(line: str) -> bool:
    """Whether a line is a prompt's object, whatever the file's name."""
    try:
        content = json.loads(line)
    except ValueError:
        return False
    return isinstance(content, dict) and "prompt" in content


def _prompt(line: str, where: str) -> str:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise ValueError(f"prompts: {where}: not JSON: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("prompt"), str):
        raise ValueError(f'prompts: {where}: takes an object with text at the key "prompt"')
    try:
        content["prompt"].encode()
    except UnicodeEncodeError:  # half of a pair of surrogates, which JSON can write
        raise ValueError(f"prompts: {where}: holds what is no Unicode text") from None
    return content["prompt"]
