"""`tokensphere sinks`: from a model's name and a file of prompts to a report in a folder."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tokensphere.door import flag, number, optional, takes, whole
from tokensphere.sinks.mixers import find
from tokensphere.sinks.report import check_layers, check_options, measure_model, page, sources
from tokensphere.sinks.report.inputs import check_ablate
from tokensphere.sinks.report.places import replacing
from tokensphere.sinks.report.prompts import (
    Encoded,
    _is_object,
    encode_prompts,
    first_of_each,
    read_prompts,
)
from tokensphere.sinks.report.text import Text, open_text
from tokensphere.sinks.walk import find_mixers

__all__ = ["write_report"]

MANY_LAYERS = 64
"""Of a model that does not say how many it has before it is loaded."""


@takes(
    bos=optional(flag()),
    channels=optional(whole(1)),
    seed=whole(0),
    threshold=number(),
    max_length=whole(2),
    batch_size=whole(1),
    ablate=flag(),
    trust_remote_code=flag(),
)
def write_report(
    model: str,
    prompts: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    tokenizer: str | None = None,
    bos: bool | None = None,
    replace_with: str | None = None,
    layers: Sequence[int | str] | None = None,
    channels: int | None = None,
    seed: int = 0,
    threshold: float = 0.3,
    device: str | None = None,
    dtype: str = "auto",
    max_length: int = 64,
    batch_size: int = 16,
    ablate: bool = False,
    trust_remote_code: bool = False,
) -> Path:
    """Measure a model on prompts and write sinks.json, scores.csv, figures and index.html: whole or
    not at all.

    What can be known before the weights load is checked before. Draws a progress bar on stderr if
    that is a terminal.

    Args:
        model, dtype, trust_remote_code: as :func:`tokensphere.sinks.report.sources.load` takes
            them.
        prompts: a file, or "-", see :func:`tokensphere.sinks.report.prompts.read_prompts`.
        out: a folder, new or empty, or with a former report, which is replaced.
        tokenizer, bos: as :func:`tokensphere.sinks.report.text.open_text` takes them.
        replace_with: text or id of the token put in place of the first in the null; None to draw
            one for each prompt from the others.
        layers, channels, seed, threshold, batch_size, ablate: as
            :func:`tokensphere.sinks.report.measure_model` takes them.
        device: None for the GPU where there is one, or else the CPU.
        max_length: tokens to which prompts are cut.

    Returns:
        the page.

    Raises:
        ValueError, OSError, ModuleNotFoundError: as the functions named above.
    """
    began = time.perf_counter()
    parameters = {
        "model": model,
        "prompts": os.fspath(prompts),
        "tokenizer": tokenizer,
        "bos": bos,
        "replace_with": replace_with,
        "layers": layers,
        "channels": channels,
        "threshold": threshold,
        "dtype": dtype,
        "max_length": max_length,
        "batch_size": batch_size,
        "ablate": ablate,
    }
    check_options(channels=channels, seed=seed, threshold=threshold, batch_size=batch_size)
    sources.check_dtype(dtype)
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    place = sources.device_of(device)
    lines = _read(prompts)
    _check_whole(lines)
    code = {"trust_remote_code": trust_remote_code}
    with sources.quiet():
        size = sources.vocabulary(model, **code)
        skeleton = sources.skeleton(model, **code)
        mixers = None if skeleton is None else find_mixers(skeleton)
        if mixers is not None:
            check_layers(layers, list(mixers))
        text = open_text(model, tokenizer, bos=bos, **code)
        encoded = encode_prompts(text.encode, lines, max_length)
        filler = None if replace_with is None else text.find(replace_with)
        both = model == "typeseg" or any(
            family is not None and True in family.directions
            for family in map(find, (mixers or {}).values())
        )
        _check_tokens(encoded, text, size)
        _check_filler(encoded, filler, size, both)
        if ablate:
            kept = first_of_each(encoded.ids)
            check_ablate([len(encoded.ids[index]) for index in kept])
    room = _room(encoded, MANY_LAYERS if mixers is None else len(mixers))
    with replacing(out, page.FILES, "sinks.json", room) as folder, sources.quiet():
        source = sources.load(model, device=place, dtype=dtype, **code)
        data = measure_model(
            source.model,
            encoded.ids,
            layers=layers,
            channels=channels,
            seed=seed,
            threshold=threshold,
            batch_size=batch_size,
            bos=text.bos,
            replace_with=filler,
            decode=text.decode,
            ablate=ablate,
            progress=True,
        )
        page.write(
            folder,
            data | {"prompts": _with_lines(data["prompts"], encoded, dict(lines))},
            **source.about,
            parameters=parameters,
            seconds=time.perf_counter() - began,
            seed=seed,
            device=place,
        )
    return Path(out) / "index.html"


def _read(prompts: str | os.PathLike[str]) -> list[tuple[int, str]]:
    try:
        return read_prompts(prompts)
    except RecursionError:
        raise ValueError(
            f"prompts: {os.fspath(prompts)} holds a line of JSON that is nested too deeply"
        ) from None


def _room(encoded: Encoded, layers: int) -> int:
    """Bytes that a report takes at most: a layer has 21 numbers a position in sinks.json, and one
    or two lines of the table for each prompt; the page and its figures take the rest."""
    positions = max(map(len, encoded.ids))
    return 2 * 2**20 + layers * (250 * positions + 250 * len(encoded.ids) + 6000)


def _check_whole(lines: Sequence[tuple[int, str]]) -> None:
    """Raise ValueError where some lines are objects with a prompt and one is not: JSON lines of
    which the last was cut would all be read as plain text."""
    objects = [_is_object(text) for _, text in lines]
    if any(objects) and not all(objects):
        number = lines[objects.index(False)][0]
        raise ValueError(
            f"prompts: line {number} is no JSON object with a prompt, where others are: was it cut?"
        )


def _check_tokens(encoded: Encoded, text: Text, size: int | None) -> None:
    """Raise ValueError for tokens that the model does not know, or that cannot be measured."""
    if len(first_of_each(encoded.ids)) < 2:
        raise ValueError(
            f"prompts: got {len(encoded.ids)}"
            + (" that are all the same when cut" if len(encoded.ids) > 1 else "")
            + ", takes at least two different ones: intervals are over prompts"
        )
    if size is not None:
        for line, ids in zip(encoded.lines, encoded.ids, strict=True):
            if (most := int(ids.max())) >= size:
                raise ValueError(
                    f"tokenizer: gives the token {most} in line {line}, where the model knows "
                    f"{size} tokens: it is another model's"
                )
    if all(_unknown(ids, text) for ids in encoded.ids):
        raise ValueError(
            "tokenizer: knows no word of the prompts, only its token for what is unknown: it is "
            "another language's, or another model's"
        )


def _check_filler(encoded: Encoded, filler: int | None, size: int | None, both: bool) -> None:
    """Raise ValueError for a token that the model does not know, or that stands there already;
    both: whether some layer reads from the end, whose null replaces the last token."""
    if filler is None:
        return
    if size is not None and filler >= size:
        raise ValueError(f"replace_with: got the token {filler}, where the model knows {size}")
    places = {"begins": 0} | ({"ends": -1} if both else {})
    for how, index in places.items():
        for line, ids in zip(encoded.lines, encoded.ids, strict=True):
            if int(ids[index]) == filler:
                raise ValueError(
                    f"replace_with: line {line} {how} with that token already, takes one that no "
                    f"prompt {how} with"
                )


def _unknown(ids: Tensor, text: Text) -> bool:
    return text.unknown is not None and set(ids.tolist()) <= {text.unknown, text.bos}


def _with_lines(prompts: dict[str, Any], encoded: Encoded, texts: dict[int, str]) -> dict[str, Any]:
    """The document's prompts with what only their file tells: lines, and those cut or left out."""
    each = [{**one, "line": encoded.lines[one["number"] - 1]} for one in prompts["each"]]
    said = sorted(texts[one["line"]] for one in each)
    return {
        **prompts,
        "each": each,
        "cut": encoded.cut,
        "short": encoded.short,
        "texts": hashlib.sha256("\n".join(said).encode()).hexdigest(),
    }
