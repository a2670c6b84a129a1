"""A trained model, by name: of the hub, a local folder, or typeseg's.

Weights come from safetensors files, or from those of mamba-ssm's own layout by torch's loader of
bare tensors: other formats can hold code. Code from a repository runs only where the caller asks
for it.
"""

from __future__ import annotations

import importlib.metadata
import json
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import nn

from tokensphere.sinks import typeseg

__all__ = [
    "DTYPES",
    "Source",
    "check_dtype",
    "check_name",
    "device_of",
    "first_line",
    "load",
    "quiet",
    "skeleton",
    "vocabulary",
]

DTYPES = ("auto", "float32", "float64", "bfloat16", "float16")
"""What `load` takes as dtype; "auto" is the one that the weights are stored in."""

NATIVE = ("config.json", "pytorch_model.bin", "model.safetensors")
"""Files of a checkpoint in mamba-ssm's own layout: its config, and weights in one of two forms."""

HEADS = ("lm_head", "score", "classifier")
"""Where transformers' classes keep what stands on a model; one without leaves such weights out."""


class About(TypedDict):
    """What a report says of the origin of its model."""

    name: str
    revision: str | None


@dataclass(frozen=True)
class Source:
    """A model for evaluation, on its device.

    about: name, and revision: the commit of a model of the hub, typeseg's version, or None.
    """

    model: nn.Module
    about: About


def vocabulary(name: str, *, trust_remote_code: bool = False) -> int | None:
    """How many tokens the model of that name knows, by its config alone; None if it does not say.

    Raises:
        ValueError: no config there, or one that cannot be read.
    """
    if name == "typeseg":
        return typeseg.PADDING
    if native := _native(name):
        from tokensphere.sinks.mixers import checkpoints as mamba_ssm

        return mamba_ssm.read_settings(native)["vocab_size"]
    with quiet():
        return getattr(_config(name, trust_remote_code).get_text_config(), "vocab_size", None)


def skeleton(name: str, *, trust_remote_code: bool = False) -> nn.Module | None:
    """The model of that name without its weights; None where only its weights tell, or its code.

    Raises:
        ValueError: no config there, or one that cannot be read.
    """
    if name == "typeseg" or _native(name):
        return None
    with quiet():
        config = _config(name, trust_remote_code)
        make = _classes(config, trust_remote_code)[0]
        try:
            with torch.device("meta"):
                if hasattr(make, "from_config"):
                    return make.from_config(config, trust_remote_code=trust_remote_code)
                return make(config)
        except Exception:
            # One that cannot be built so may still load; if not, `load` says why.
            return None


def load(
    name: str,
    *,
    device: torch.device | str = "cpu",
    dtype: str = "auto",
    trust_remote_code: bool = False,
) -> Source:
    """The model of that name, of the class that its config names if transformers has it; else by
    AutoModelForCausalLM, or AutoModel where it has no language-model head.

    Args:
        name: of a model on the hub, or a folder as `save_pretrained` writes it, transformers' or
            mamba-ssm's own; "typeseg" is the model inside the package of that name.
        device: where the model goes, see :func:`device_of`.
        dtype: of its weights, one of DTYPES.
        trust_remote_code: whether code that comes with the model may run.

    Raises:
        ValueError: a model or weights that are not there or cannot be read, weights that lack some
            of the model's (it would be measured with random ones) or hold others (of another
            model than the config's) or have NaN or infinity, an unknown dtype, a device that
            cannot be used.
        ModuleNotFoundError: typeseg is asked for and not installed.
    """
    check_dtype(dtype)
    device = device_of(device)
    if name == "typeseg":
        model: nn.Module = typeseg.load()
        if dtype != "auto":
            model = model.to(getattr(torch, dtype))
        revision = f"typeseg {importlib.metadata.version('typeseg')}"
        return Source(model.to(device), {"name": name, "revision": revision})
    check_name(name)
    with quiet():
        if native := _native(name):
            from tokensphere.sinks.mixers import checkpoints as mamba_ssm

            model = mamba_ssm.load(native, None if dtype == "auto" else getattr(torch, dtype))
        else:
            model = _load_model(name, dtype, trust_remote_code)
    _check_weights(name, model)
    commit = getattr(getattr(model, "config", None), "_commit_hash", None)
    return Source(model.eval().to(device), {"name": name, "revision": commit})


def check_dtype(dtype: str) -> None:
    """Raise ValueError for what is none of DTYPES."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype: got {dtype!r}, takes one of {', '.join(DTYPES)}")


def device_of(name: torch.device | str) -> torch.device:
    """The device of that name, such as "cpu" or "cuda:1"; ValueError where it cannot be used."""
    try:
        device = torch.device(name)
        # A card that is named may not be there, and "meta" holds no numbers.
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device: got {str(name)!r}, which cannot be used: {first_line(error)}"
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


# Models.


def check_name(name: str) -> None:
    """What can be said about a name before transformers, which would ask the hub for it."""
    if not name.strip():
        raise ValueError("model: got no name, takes a folder or the name of a hub's model")
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ValueError(f"model: {name} holds no config.json")
        bare = (folder / NATIVE[1]).is_file() and _native(name)
        if not bare and not any(folder.glob("*.safetensors")):
            raise ValueError(
                f"model: {name} holds no weights (*.safetensors, or pytorch_model.bin beside a "
                "config of mamba-ssm)"
            )
    elif folder.is_file():
        raise ValueError(f"model: {name} is a file, takes a folder or the name of a hub's model")
    elif name.startswith((".", "~", "/")) or name.count("/") > 1:
        raise ValueError(f"model: no such folder: {name}")


def _native(name: str) -> Path | None:
    """The folder of a checkpoint in mamba-ssm's own layout; None for any other model."""
    from tokensphere.sinks.mixers import checkpoints as mamba_ssm

    folder = Path(name)
    if not folder.is_dir():
        return _native_of_hub(name)
    with _failing(name):
        return folder if mamba_ssm.is_native(folder) else None


def _native_of_hub(name: str) -> Path | None:
    import huggingface_hub as hub

    from tokensphere.sinks.mixers import checkpoints as mamba_ssm

    try:
        with quiet():
            config = Path(hub.hf_hub_download(name, NATIVE[0]))
            if "model_type" in json.loads(config.read_text("utf-8")):
                return None
            folder = Path(hub.snapshot_download(name, allow_patterns=list(NATIVE)))
    except (OSError, ValueError, RecursionError):  # transformers will say what is wrong
        return None
    return folder if mamba_ssm.is_native(folder) else None


def _config(name: str, trust_remote_code: bool) -> Any:
    from transformers import AutoConfig

    check_name(name)
    with _failing(name):
        config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
    named = config.architectures
    if named is not None and not (isinstance(named, list) and all(map(_is_text, named))):
        raise ValueError(f"model: {name} has architectures = {named!r}, takes a list of names")
    return config


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _classes(config: Any, trust_remote_code: bool) -> list[Any]:
    """The classes to load a model with, the likeliest first."""
    import transformers

    own = [key for key in getattr(config, "auto_map", None) or {} if key.startswith("AutoModel")]
    if own and trust_remote_code:
        return [getattr(transformers, key) for key in own]
    named = [getattr(transformers, key, None) for key in config.architectures or []]
    named = [kind for kind in named if isinstance(kind, type) and issubclass(kind, nn.Module)]
    if named:
        return named[:1]
    general = [transformers.AutoModelForCausalLM, transformers.AutoModel]
    return [kind for kind in general if type(config) in kind._model_mapping] or general[:1]


def _load_model(name: str, dtype: str, trust_remote_code: bool) -> nn.Module:
    missing: list[str] = []
    config = _config(name, trust_remote_code)
    if getattr(config, "rescale_prenorm_residual", False):
        # Of a model's start: transformers divides `out_proj` by it whenever it loads the model.
        config.rescale_prenorm_residual = False
    for make in _classes(config, trust_remote_code):
        with _failing(name):
            model, found = make.from_pretrained(
                name,
                config=config,
                dtype=dtype if dtype == "auto" else getattr(torch, dtype),
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # the error for them names none
                output_loading_info=True,
                trust_remote_code=trust_remote_code,  # left out, transformers asks on a terminal
            )
        for key, there, taken in sorted(found["mismatched_keys"]):
            raise ValueError(
                f"model: {name} holds {key} of shape {tuple(there)}, where {type(model).__name__} "
                f"as its config.json has it takes {tuple(taken)}"
            )
        if not found["missing_keys"]:
            _check_all_used(name, model, found["unexpected_keys"])
            return model
        missing = missing or [type(model).__name__, *sorted(found["missing_keys"])]
    raise ValueError(
        f"model: {name} lacks {len(missing) - 1} of the weights of {missing[0]}, such as "
        f"{missing[1]}"
    )


def _check_all_used(name: str, model: nn.Module, unused: Iterable[str]) -> None:
    """Raise ValueError for weights that the model does not have; transformers has taken out what a
    class of its own is known to leave."""
    if not any(hasattr(model, head) for head in HEADS):
        unused = [key for key in unused if key.partition(".")[0] not in HEADS]
    if left := sorted(unused):
        raise ValueError(
            f"model: {name} holds {len(left)} weight{'s' * (len(left) > 1)} that "
            f"{type(model).__name__} does not use, such as {left[0]}: its config.json is another "
            "model's, or something is not merged into it"
        )


def _check_weights(name: str, model: nn.Module) -> None:
    """Raise ValueError for a weight that is NaN or infinite: what lies behind would be too."""
    for key, value in model.named_parameters():
        # Extremes and no mask, which would be as large as the weights; float8 has none.
        if not (value.numel() and value.is_floating_point() and value.dtype.itemsize > 1):
            continue
        if not all(bool(torch.isfinite(end)) for end in value.detach().aminmax()):
            raise ValueError(f"model: {name} holds NaN or infinity in {key}")


@contextmanager
def _failing(name: str) -> Iterator[None]:
    """What transformers raises, as one line that names the model."""
    try:
        yield
    except Exception as error:  # libraries below have classes of their own for what they find
        memory = isinstance(error, torch.cuda.OutOfMemoryError | MemoryError)
        if memory or "Allocator" in str(error):
            raise
        if "trust_remote_code" in str(error):
            raise ValueError(
                f"model: {name} comes with code of its own, which runs only with "
                "--trust-remote-code"
            ) from None
        where = "" if Path(name).is_dir() else " (no such folder, so it is looked for on the hub)"
        raise ValueError(f"model: {name} cannot be loaded{where}: {first_line(error)}") from None


def first_line(error: BaseException) -> str:
    """What an error says, or its kind where that is nothing."""
    lines = [line.strip() for line in str(error).strip().split("\n")]
    # Some name a field first, and what is wrong with it on the next line.
    return " ".join(lines[: 1 + lines[0].endswith(":")]) or type(error).__name__
