"""Plain text as tokens: documents, a tokenizer trained on them, rows of ids, prompts.

Files may be compressed with xz; documents in them end with U+0003.
"""

from __future__ import annotations

import lzma
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokensphere import records

BOS, END = "<|bos|>", "<|end|>"
"""The tokens that begin a text and end a document."""


def read_documents(path: str | os.PathLike[str]) -> list[str]:
    """The documents of a text file, .xz or plain UTF-8, split at U+0003."""
    path = Path(path)
    with (
        lzma.open(path, "rt", encoding="utf-8")
        if path.suffix == ".xz"
        else path.open(encoding="utf-8") as stream
    ):
        documents = [text.strip() for text in stream.read().split("\x03")]
    documents = [text for text in documents if text]
    if not documents:
        raise ValueError(f"{path}: holds no text")
    return documents


def train_tokenizer(documents: Iterable[str], vocabulary: int) -> Any:
    """A byte-level BPE as a transformers tokenizer; BOS begins a text where it is asked for."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    model = ByteLevelBPETokenizer()
    model.train_from_iterator(
        documents, vocab_size=vocabulary, special_tokens=[BOS, END], show_progress=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=model._tokenizer, bos_token=BOS, eos_token=END, pad_token=END
    )


def encode(tokenizer: Any, documents: Iterable[str]) -> np.ndarray:
    """The documents' tokens in one row, each document closed by END, as uint16."""
    end = tokenizer.eos_token_id
    rows = tokenizer.backend_tokenizer.encode_batch(list(documents), add_special_tokens=False)
    return np.concatenate([np.array([*row.ids, end], dtype=np.uint16) for row in rows])


def once(file: Path, make: Callable[[], tuple[np.ndarray, np.ndarray]]) -> tuple[Tensor, Tensor]:
    """The text's tokens and the held-out text's, (n,) each, int32: made once and kept in `file`.

    uint16 is enough for the vocabulary and is what is kept; torch indexes and compares little in
    it.
    """
    if not file.is_file():
        text, heldout = make()
        with records.write_whole(file) as stream:
            np.savez(stream, text=text, heldout=heldout)
    with np.load(file, allow_pickle=False) as stored:
        rows = [torch.from_numpy(stored[name].astype(np.int32)) for name in ("text", "heldout")]
    return rows[0], rows[1]


def prepare(
    vocabulary: int, text: str | os.PathLike[str], heldout: str | os.PathLike[str], folder: Path
) -> tuple[Any, Tensor, Tensor]:
    """A tokenizer trained on the text, and the tokens of both; all kept in `folder`."""
    from transformers import PreTrainedTokenizerFast

    def make() -> tuple[np.ndarray, np.ndarray]:
        documents = read_documents(text)
        tokenizer = train_tokenizer(documents, vocabulary)
        rows = encode(tokenizer, documents), encode(tokenizer, read_documents(heldout))
        # Before the tokens: where these are whole, so is the tokenizer.
        tokenizer.save_pretrained(folder)
        return rows

    rows = once(folder / "tokens.npz", make)
    return PreTrainedTokenizerFast.from_pretrained(folder), *rows


def prompts(kept: Tensor, count: int, length: int, bos: int | None) -> Tensor:
    """`count` held-out prompts of `length` tokens, evenly spread, after `bos` if it is given."""
    own = length - (bos is not None)
    starts = torch.linspace(0, len(kept) - own, count).long()
    rows = torch.stack([kept[start : start + own] for start in starts.tolist()]).long()
    return rows if bos is None else torch.nn.functional.pad(rows, (1, 0), value=bos)
