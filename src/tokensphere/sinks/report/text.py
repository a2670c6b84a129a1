"""How text becomes a model's tokens: by its own tokenizer, another one, or as bytes.

Opened apart from the model: what is wrong with prompts shows before weights load that may take
minutes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tokensphere.sinks import typeseg
from tokensphere.sinks.report.sources import check_name, first_line, quiet

__all__ = ["Text", "open_text"]


@dataclass(frozen=True)
class Text:
    """How text becomes a model's tokens, and they text.

    encode: from text to token ids; ValueError where it cannot begin as asked.
    decode: from one token id to its text.
    find: from a token's text, or where no token has it an id in digits, to the id; ValueError where
        it is no one token.
    bos: id of the beginning-of-text token, None without one.
    unknown: id that stands for what the vocabulary lacks, None without one.
    """

    encode: Callable[[str], list[int]]
    decode: Callable[[int], str]
    find: Callable[[str], int]
    bos: int | None
    unknown: int | None = None


def open_text(
    name: str,
    tokenizer: str | None = None,
    *,
    bos: bool | None = None,
    trust_remote_code: bool = False,
) -> Text:
    """The tokenizer of the model of that name.

    Args:
        name: as for :func:`load`.
        tokenizer: another one's name or folder, None for the model's own.
        bos: whether texts begin with the beginning-of-text token, among the special ones before
            them; None to leave it to the tokenizer, as the others.
        trust_remote_code: whether code that comes with it may run.

    Raises:
        ValueError: a tokenizer that is not there, cannot be read, or is empty; a beginning-of-text
            token asked of one without it; a tokenizer for typeseg, which reads bytes.
        ModuleNotFoundError: typeseg is asked for and not installed.
    """
    if name == "typeseg":
        if tokenizer is not None or bos:
            given = "bos" if tokenizer is None else "tokenizer"
            raise ValueError(f"{given}: typeseg reads bytes and takes none")
        return _bytes()
    if tokenizer is None:
        check_name(name)
    elif not tokenizer.strip():
        raise ValueError(f"tokenizer: got {tokenizer!r}, takes a folder or a name on the hub")
    with quiet():
        return _text(name, _load_tokenizer(name, tokenizer, trust_remote_code), bos)


def _load_tokenizer(name: str, tokenizer: str | None, trust_remote_code: bool) -> Any:
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(
            tokenizer or name, trust_remote_code=trust_remote_code
        )
        # Where files are missing, transformers makes up an empty one.
        if len(found) <= len(found.all_special_ids):
            raise ValueError("its vocabulary is empty: are there files missing?")
    except Exception as error:  # tokenizers raises no narrower class for a damaged file
        if tokenizer is not None:
            raise ValueError(
                f"tokenizer: {tokenizer} cannot be loaded: {first_line(error)}"
            ) from None
        raise ValueError(
            f"model: {name} has no usable tokenizer; name one by --tokenizer: {first_line(error)}"
        ) from None
    return found


def _text(name: str, tokenizer: Any, bos: bool | None) -> Text:
    first = tokenizer.bos_token_id
    special = {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}
    if bos and first is None:
        raise ValueError(f"bos: the tokenizer of {name} has no beginning-of-text token")

    def encode(text: str) -> list[int]:
        ids = tokenizer(text)["input_ids"]
        if bos is None:
            return ids
        leading = list(itertools.takewhile(special.__contains__, ids))
        if bos:
            return ids if first in leading else [first, *ids]
        if first not in leading and leading and len(leading) < len(ids):
            bare = tokenizer(text, add_special_tokens=False)["input_ids"]
            if bare[:1] != ids[:1]:
                raise ValueError(
                    f"bos: the tokenizer of {name} has no beginning-of-text token to leave out; it "
                    f"begins texts with {tokenizer.decode(ids[:1])!r}"
                )
        return [token for token in leading if token != first] + ids[len(leading) :]

    def find(text: str) -> int:
        known = tokenizer.get_vocab()
        if text in known:
            return known[text]
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) == 1 and ids[0] != tokenizer.unk_token_id:
            return ids[0]
        if _is_id(text):
            if int(text) not in set(known.values()):
                raise ValueError(f"replace_with: the tokenizer has no token {text}")
            return int(text)
        raise ValueError(
            f"replace_with: {text!r} is {'unknown' if len(ids) == 1 else f'{len(ids)} tokens'}"
            " to the tokenizer, takes one token's text or id"
        )

    return Text(
        encode, lambda token: tokenizer.decode([token]), find, first, tokenizer.unk_token_id
    )


def _is_id(text: str) -> bool:
    # int() refuses thousands of digits in words of its own.
    return text.isdecimal() and len(text) < 20


def _bytes() -> Text:
    def encode(text: str) -> list[int]:
        return typeseg.encode(text).tolist()

    def find(text: str) -> int:
        ids = encode(text)
        if len(ids) != 1 and _is_id(text):
            ids = [int(text)]
        if len(ids) != 1 or ids[0] > typeseg.PLACEHOLDER:
            raise ValueError(f"replace_with: got {text!r}, takes one ASCII character or its code")
        return ids[0]

    def decode(token: int) -> str:
        return "other" if token == typeseg.PLACEHOLDER else chr(token)

    return Text(encode, decode, find, None)
