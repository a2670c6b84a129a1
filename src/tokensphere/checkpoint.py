"""A training run's state on disk: whole or not at all, as it was saved, and never code.

Tensors, numbers, text and containers of these are all that a checkpoint holds; it is read with
``weights_only=True``, so that a file from elsewhere cannot run anything.

A checkpoint is what torch.save writes, and behind it a line with the SHA-256 of that. torch finds
the end of its own part, so it reads the file too. The line comes last because it is known last;
a file without it is refused, also one of an older version: such a file cannot be told from one that
was cut just before its end, and a checkpoint costs no more than the run that it was to go on.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from typing import Any, BinaryIO, cast

import torch

from tokensphere import records

__all__ = ["load", "save"]

MARK = b"\nsha256 "
END = len(MARK) + hashlib.sha256().digest_size * 2 + 1
"""Bytes of the last line: MARK, the digest in hexadecimal, a line end."""


def save(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write `state` so that a run killed at any moment leaves the last whole file, or this one.

    Raises OSError, which names the file, where the disk is full or cannot be written.
    """
    with records.write_whole(path) as stream:
        digested = _Digested(stream)
        try:
            # A dict: what `load` gave is of a class of its own.
            torch.save(dict(state), cast(BinaryIO, digested))
        except RuntimeError:
            # torch says that its writer is broken, not what broke it.
            if digested.error is not None:
                raise digested.error from None
            raise
        stream.write(MARK + digested.digest.hexdigest().encode() + b"\n")


def load(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what `save` wrote, its tensors onto `device`.

    Raises FileNotFoundError without the file, ValueError for one that is not a whole checkpoint, or
    not the one that was saved. What is looked up in the result and is not there is a ValueError
    too, which names the file: it is another run's.
    """
    with open(path, "rb") as stream:
        _check_digest(path, stream)
        try:
            state = torch.load(stream, map_location=device, weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(f"{path}: not a whole checkpoint: {reason}") from None
    if not isinstance(state, dict):
        raise ValueError(f"{path}: not a checkpoint: holds a {type(state).__name__}")
    return _State(os.fspath(path), state)


class _Digested:
    """A stream that notes the digest of what is written to it, and the error that ended it."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.digest = stream, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, part: Any) -> int:
        try:
            written = self.stream.write(part)
        except OSError as error:
            self.error = error
            raise
        self.digest.update(part)
        return written

    def flush(self) -> None:
        self.stream.flush()


class _State(dict[str, Any]):
    """A checkpoint's content, which knows its file."""

    def __init__(self, path: str, content: dict[str, Any]) -> None:
        super().__init__(content)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise ValueError(f"{self.path}: not a checkpoint of this run: has no {key!r}")


def _check_digest(path: str | os.PathLike[str], stream: BinaryIO) -> None:
    """Raise ValueError where the last line is not that of what stands before it; rewind."""
    left = max(stream.seek(0, os.SEEK_END) - END, 0)
    stream.seek(0)
    digest = hashlib.sha256()
    while left:
        part = stream.read(min(left, 2**20))
        if not part:
            break
        digest.update(part)
        left -= len(part)
    line = stream.read()
    if len(line) != END or not line.startswith(MARK):
        raise ValueError(
            f"{path}: not a whole checkpoint: it has no digest at its end. It was cut, or written "
            "by an older version: begin its run again"
        )
    if line != MARK + digest.hexdigest().encode() + b"\n":
        raise ValueError(f"{path}: damaged: its digest is not that of its content")
    stream.seek(0)
