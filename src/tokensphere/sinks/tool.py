"""`tokensphere sinks`: from a model's name and a file of prompts to a report in a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from tokensphere.sinks import page, sources
from tokensphere.sinks.prompts import encode_prompts, read_prompts
from tokensphere.sinks.report import measure_model

__all__ = ["write_report"]


def write_report(
    model: str,
    prompts: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    layers: Sequence[int] | None = None,
    channels: int | None = None,
    seed: int = 0,
    threshold: float = 0.3,
    device: str | None = None,
    dtype: str = "auto",
    max_length: int = 64,
    batch_size: int = 16,
    trust_remote_code: bool = False,
) -> Path:
    """Measure a model on prompts and write sinks.json, figures and index.html: whole or not at all.

    Draws a progress bar on stderr if that is a terminal.

    Args:
        model, dtype, trust_remote_code: as :func:`tokensphere.sinks.sources.load` takes them.
        prompts: a file, see :func:`tokensphere.sinks.prompts.read_prompts`.
        out: a folder, new or empty, or with a former report, which is replaced.
        layers, channels, seed, threshold, batch_size: as
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
        "layers": layers,
        "channels": channels,
        "threshold": threshold,
        "dtype": dtype,
        "max_length": max_length,
        "batch_size": batch_size,
    }
    # What is cheap to refuse comes before a model that may take minutes to load.
    texts = read_prompts(prompts)
    place = sources.device_of(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with page.replacing(out) as folder, sources.quiet():
        source = sources.load(model, device=place, dtype=dtype, trust_remote_code=trust_remote_code)
        data = measure_model(
            source.model,
            encode_prompts(source.encode, texts, max_length),
            layers=layers,
            channels=channels,
            seed=seed,
            threshold=threshold,
            batch_size=batch_size,
            bos=source.bos,
            decode=source.decode,
            progress=True,
        )
        page.write(
            folder,
            data,
            **source.about,
            parameters=parameters,
            seconds=time.perf_counter() - began,
            seed=seed,
            device=place,
        )
    return Path(out) / "index.html"
