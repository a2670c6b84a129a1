"""Checkpoints as mamba-ssm itself writes them, such as state-spaces/mamba-130m.

A folder with `config.json` and `pytorch_model.bin`, or `model.safetensors`, of a `MambaLMHeadModel`
(mamba-ssm 2.3.1, `models/mixer_seq_simple.py`). They become transformers' model of the same
function, which needs no GPU.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["is_native", "load", "read_settings"]

DEFAULTS: Mapping[str, Any] = {
    "d_model": 2560,
    "d_intermediate": 0,
    "n_layer": 64,
    "vocab_size": 50277,
    "ssm_cfg": {},
    "attn_layer_idx": [],
    "attn_cfg": {},
    "rms_norm": True,
    "residual_in_fp32": True,
    "fused_add_norm": True,
    "pad_vocab_size_multiple": 8,
    "tie_embeddings": True,
}
"""mamba-ssm's MambaConfig."""

REMARKS = {"architectures", "dtype", "torch_dtype", "transformers_version"}
"""What others write into such a file, and no model depends on."""

_SHARED = {
    "d_conv": ("conv_kernel", 4),
    "expand": ("expand", 2),
    "conv_bias": ("use_conv_bias", True),
    "bias": ("use_bias", False),
}

OPTIONS: Mapping[str, Mapping[str, tuple[str, Any]]] = {
    "Mamba1": _SHARED | {"d_state": ("state_size", 16), "dt_rank": ("time_step_rank", "auto")},
    "Mamba2": _SHARED
    | {
        "d_state": ("state_size", 128),
        "headdim": ("head_dim", 64),
        "ngroups": ("n_groups", 1),
        "dt_limit": ("time_step_limit", (0.0, float("inf"))),
        "chunk_size": ("chunk_size", 256),
    },
}
"""Options of a mixer, by kind and mamba-ssm's name: transformers' name, mamba-ssm's default."""

FIXED: Mapping[str, Mapping[str, Any]] = {
    "Mamba1": {},
    "Mamba2": {"d_ssm": None, "D_has_hdim": False, "rmsnorm": True, "norm_before_gate": False},
}
"""Options that transformers' mixers have with mamba-ssm's default only."""

STARTS = {"dt_min", "dt_max", "dt_init", "dt_scale", "dt_init_floor", "A_init_range", "conv_init"}
KERNELS = {"use_fast_path", "use_mem_eff_path"}
"""Options of initial weights, and of how the same is computed."""


def is_native(folder: str | Path) -> bool:
    """Whether a folder holds the configuration of a mamba-ssm checkpoint."""
    try:
        config = json.loads((Path(folder) / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    # transformers' own configurations say their model's type.
    return isinstance(config, dict) and "d_model" in config and "model_type" not in config


def load(folder: str | Path, dtype: torch.dtype | None = None) -> nn.Module:
    """transformers' MambaForCausalLM or Mamba2ForCausalLM with the checkpoint's function.

    Args:
        folder: as `save_pretrained` of mamba-ssm's MambaLMHeadModel writes it.
        dtype: of all weights; None for each as it is stored.

    The vocabulary is as long as the embedding, which mamba-ssm pads to a multiple.

    Raises:
        ValueError: a file that is missing or cannot be read, a model that transformers' classes
            cannot represent (attention or gated layers, LayerNorm, options of Mamba-2), weights
            that are missing, left over, of another shape or no floating point numbers.
    """
    folder = Path(folder)
    settings = read_settings(folder)
    kind, options = _options(folder, settings)
    model = _build(folder, kind, settings, options)
    norm = getattr(model.backbone.layers[0].mixer, "norm", None)
    if options.get("ngroups", 1) > 1 and not hasattr(norm, "group_size"):
        raise ValueError(
            f"model: {folder} has {options['ngroups']} groups, which this version of transformers "
            "normalises together; takes a newer one"
        )
    state = _read_weights(folder)
    if "backbone.embedding.weight" in state:
        state["backbone.embeddings.weight"] = state.pop("backbone.embedding.weight")
    embedding = state.get("backbone.embeddings.weight")
    if settings["tie_embeddings"] and embedding is not None:
        # safetensors files leave out what is shared.
        if not torch.equal(state.get("lm_head.weight", embedding), embedding):
            raise ValueError(
                f"model: {folder} ties lm_head to the embedding, and holds another one"
            )
        state["lm_head.weight"] = embedding
    wanted = {name: value.shape for name, value in model.state_dict().items()}
    missing, left = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or left:
        what = (
            f"lacks {missing[0]}" if missing else f"holds {left[0]}, which its model does not have"
        )
        raise ValueError(f"model: {folder} {what}")
    for name, shape in wanted.items():
        value = state[name]
        if value.shape != shape or not value.is_floating_point():
            raise ValueError(
                f"model: {folder} holds {name} of shape {tuple(value.shape)} and {value.dtype}, "
                f"takes floating point numbers of shape {tuple(shape)}"
            )
    if dtype is not None:
        state = {name: value.to(dtype) for name, value in state.items()}
    model.load_state_dict(state, assign=True)
    model.tie_weights()
    return model.eval()


def read_settings(folder: str | Path) -> dict[str, Any]:
    """The configuration of a checkpoint, with mamba-ssm's defaults.

    Raises:
        ValueError: a file that is missing or cannot be read, a setting that mamba-ssm's models
            lack, or of another type.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"model: {folder} holds no config.json: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"model: {folder}/config.json is no JSON: {error}") from None
    if not isinstance(config, dict):
        raise ValueError(f"model: {folder}/config.json holds no settings")
    unknown = sorted(config.keys() - DEFAULTS.keys() - REMARKS)
    if unknown:
        raise ValueError(
            f"model: {folder}/config.json holds {unknown[0]!r}, which mamba-ssm's models lack"
        )
    settings = {**DEFAULTS, **config}
    for name in ("ssm_cfg", "attn_cfg", "attn_layer_idx"):
        if settings[name] is None:
            settings[name] = DEFAULTS[name]
    _check_types(folder, settings, DEFAULTS)
    return settings


def _check_types(folder: Path, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raise ValueError for what has not its default's type."""
    for name, default in defaults.items():
        value, takes = given[name], None
        if isinstance(default, bool):
            takes = None if isinstance(value, bool) else "true or false"
        elif isinstance(default, int):
            least = min(default, 1)
            takes = None if _is_int(value, least) else f"an int >= {least}"
        elif isinstance(default, list | dict):
            kind = {list: "a list", dict: "an object"}[type(default)]
            takes = None if isinstance(value, type(default)) else kind
        elif default == "auto":
            takes = None if value == "auto" or _is_int(value, 1) else 'an int >= 1 or "auto"'
        elif isinstance(default, tuple):
            pair = isinstance(value, list | tuple) and len(value) == len(default)
            takes = None if pair and all(map(_is_number, value)) else "two numbers"
        if takes:
            raise ValueError(f"model: {folder}/config.json has {name} = {value!r}, takes {takes}")


def _is_int(value: Any, least: int) -> bool:
    return type(value) is int and value >= least


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _options(folder: Path, settings: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The kind of mixer, and its options by mamba-ssm's names."""
    given = dict(settings["ssm_cfg"])
    kind = given.pop("layer", "Mamba1")
    if not isinstance(kind, str) or kind not in OPTIONS:
        raise ValueError(f"model: {folder} has layers {kind!r}, takes {' or '.join(OPTIONS)}")
    defaults = {name: default for name, (_, default) in OPTIONS[kind].items()} | FIXED[kind]
    unknown = sorted(given.keys() - defaults.keys() - STARTS - KERNELS)
    if unknown:
        raise ValueError(f"model: {folder} has an option {unknown[0]!r} that {kind} does not have")
    options = defaults | given
    _check_types(folder, options, defaults)
    if options.get("d_ssm") == options["expand"] * settings["d_model"]:
        options["d_ssm"] = None  # the same, said at length
    refused = {
        f"{name} = {options[name]!r}": options[name] != FIXED[kind][name] for name in FIXED[kind]
    }
    refused |= {
        "layers of attention (attn_layer_idx)": settings["attn_layer_idx"],
        "gated nets between its mixers (d_intermediate)": settings["d_intermediate"],
        "LayerNorm (rms_norm = false)": not settings["rms_norm"],
    }
    for name, found in refused.items():
        if found:
            raise ValueError(f"model: {folder} has {name}, which transformers' {kind} cannot have")
    return kind, options


def _build(folder: Path, kind: str, settings: dict[str, Any], options: dict[str, Any]) -> nn.Module:
    """The model, its weights on the meta device."""
    import transformers
    from huggingface_hub.errors import StrictDataclassError

    named = {theirs: options[ours] for ours, (theirs, _) in OPTIONS[kind].items()}
    multiple, name = settings["pad_vocab_size_multiple"], "Mamba"
    try:
        if kind == "Mamba2":
            name = "Mamba2"
            named["num_heads"] = options["expand"] * settings["d_model"] // options["headdim"]
            named["time_step_limit"] = tuple(map(float, options["dt_limit"]))
        config = getattr(transformers, f"{name}Config")(
            vocab_size=-(-settings["vocab_size"] // multiple) * multiple,
            hidden_size=settings["d_model"],
            num_hidden_layers=settings["n_layer"],
            # What mamba-ssm's models have, whatever their configuration.
            layer_norm_epsilon=1e-5,
            hidden_act="silu",
            residual_in_fp32=settings["residual_in_fp32"],
            tie_word_embeddings=settings["tie_embeddings"],
            pad_token_id=None,
            bos_token_id=None,
            eos_token_id=None,
            **named,
        )
        with torch.device("meta"):
            return getattr(transformers, f"{name}ForCausalLM")(config)
    except (StrictDataclassError, TypeError, ValueError, ZeroDivisionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"model: {folder}/config.json cannot be used: {reason}") from None


def _read_weights(folder: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tensors, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    found = next((path for path in (tensors, pickled) if path.is_file()), None)
    if found is None:
        raise ValueError(f"model: {folder} holds no {tensors.name} and no {pickled.name}")
    try:
        if found == tensors:
            return dict(load_file(tensors))
        state = torch.load(pickled, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(f"model: {found} cannot be read: {reason}") from None
    if not isinstance(state, dict) or not all(map(torch.is_tensor, state.values())):
        raise ValueError(f"model: {found} holds other things than weights by name")
    return dict(state)
