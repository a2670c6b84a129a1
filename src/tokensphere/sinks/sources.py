"""A trained model with its tokenizer, by name: of the hub, a local folder, or typeseg's.

Weights come from safetensors files only: other formats can hold code. Code from a repository runs
only where the caller asks for it.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tokensphere.sinks import typeseg

__all__ = ["DTYPES", "Source", "device_of", "load", "quiet"]

DTYPES = ("auto", "float32", "float64", "bfloat16", "float16")
"""What `load` takes as dtype; "auto" is the one that the weights are stored in."""


@dataclass(frozen=True)
class Source:
    """A model, and how text becomes its tokens.

    model: for evaluation, on its device.
    encode: from text to token ids, special tokens as the model's tokenizer adds them by default.
    decode: from one token id to its text.
    bos: id of the beginning-of-text token, None without one.
    about: name, and revision: the commit of a model of the hub, typeseg's version, or None.
    """

    model: nn.Module
    encode: Callable[[str], list[int]]
    decode: Callable[[int], str]
    bos: int | None
    about: dict[str, str | None]


def load(
    name: str,
    *,
    device: torch.device | str = "cpu",
    dtype: str = "auto",
    trust_remote_code: bool = False,
) -> Source:
    """The model of that name with its tokenizer, by transformers' AutoModelForCausalLM.

    Args:
        name: of a model on the hub, or a folder as `save_pretrained` writes it; "typeseg" is the
            model inside the package of that name, which reads bytes.
        device: where the model goes, see :func:`device_of`.
        dtype: of its weights, one of DTYPES.
        trust_remote_code: whether code that comes with the model may run.

    Raises:
        ValueError: a model, weights or tokenizer that is not there or cannot be read, weights that
            lack some of the model's (it would be measured with random ones), an unknown dtype, a
            device that cannot be used.
        ModuleNotFoundError: typeseg is asked for and not installed.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype: got {dtype!r}, takes one of {', '.join(DTYPES)}")
    device = device_of(device)
    if name == "typeseg":
        model = typeseg.load()
        if dtype != "auto":
            model = model.to(getattr(torch, dtype))
        return Source(
            model.to(device),
            lambda text: typeseg.encode(text).tolist(),
            lambda token: "other" if token == typeseg.PLACEHOLDER else chr(token),
            None,
            {"name": name, "revision": f"typeseg {importlib.metadata.version('typeseg')}"},
        )
    _check_name(name)
    with quiet():
        model = _load_model(name, dtype, trust_remote_code)
        tokenizer = _load_tokenizer(name, trust_remote_code)
    return Source(
        model.eval().to(device),
        lambda text: tokenizer(text)["input_ids"],
        lambda token: tokenizer.decode([token]),
        tokenizer.bos_token_id,
        {"name": name, "revision": getattr(model.config, "_commit_hash", None)},
    )


def device_of(name: torch.device | str) -> torch.device:
    """The device of that name, such as "cpu" or "cuda:1"; ValueError where it cannot be used."""
    try:
        device = torch.device(name)
        # A card that is named may not be there, and "meta" holds no numbers.
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device: got {str(name)!r}, which cannot be used: {_first_line(error)}"
        ) from None
    return device


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings and progress bars of transformers and the hub meanwhile: errors are enough."""
    from huggingface_hub import utils as hub
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub_verbosity = hub.logging.get_verbosity()
    logging.set_verbosity_error()
    hub.logging.set_verbosity_error()
    logging.disable_progress_bar()  # the hub's too
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        hub.logging.set_verbosity(hub_verbosity)
        if bars:
            logging.enable_progress_bar()


def _check_name(name: str) -> None:
    """What can be said about a name before transformers, which would ask the hub for it."""
    folder = Path(name)
    if folder.is_dir():
        for kind, pattern in {"config.json": "config.json", "weights": "*.safetensors"}.items():
            if not any(folder.glob(pattern)):
                raise ValueError(f"model: {name} holds no {kind} ({pattern})")
    elif folder.is_file():
        raise ValueError(f"model: {name} is a file, takes a folder or the name of a hub's model")
    elif name.startswith((".", "~", "/")) or name.count("/") > 1:
        raise ValueError(f"model: no such folder: {name}")


def _load_model(name: str, dtype: str, trust_remote_code: bool) -> nn.Module:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            name,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
    except ImportError as error:  # a library that this model needs, as for quantised weights
        raise ValueError(f"model: {name} cannot be loaded: {_first_line(error)}") from None
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if isinstance(error, torch.cuda.OutOfMemoryError) or "Allocator" in str(error):
            raise
        if "trust_remote_code" in str(error):
            raise ValueError(
                f"model: {name} comes with code of its own, which runs only with "
                "--trust-remote-code"
            ) from None
        where = "" if Path(name).is_dir() else " (no such folder, so it is looked for on the hub)"
        raise ValueError(f"model: {name} cannot be loaded{where}: {_first_line(error)}") from None
    missing = sorted(found["missing_keys"])
    if missing:
        raise ValueError(
            f"model: {name} lacks {len(missing)} of the weights of {type(model).__name__}, "
            f"such as {missing[0]}"
        )
    return model


def _load_tokenizer(name: str, trust_remote_code: bool) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ValueError(f"model: {name} has no usable tokenizer: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].strip() or type(error).__name__
