"""The classes of Mamba mixers that can be read, and how each computes its S6 tensors.

The readers follow the classes' own code, with the dtypes of the fused kernels of mamba-ssm: steps
and decay rates in float32 at least.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tokensphere.sinks.mixers import mamba1, mamba2
from tokensphere.sinks.mixers import others as other_mixers
from tokensphere.sinks.mixers.seen import Seen, keep, loaded

__all__ = ["FAMILIES", "Family", "Seen", "find", "keep", "loaded", "refuse_overridden"]


@dataclass(frozen=True)
class Family:
    """How one class of mixer is read.

    model: what users know it from.
    read: from mixer and Seen to those fields of a Layer that are tensors of the model, tokens as
        they came in. Where values are not wanted, u is on the meta device, its shape alone, and
        gate and beside are None.
    read_out: from mixer, gated values (B, L, D P), what is read out beside them and the model's
        dtype to the mixer's output.
    about: in a few words, how its tensors are made; a row of README's table.
    padding: sides on which its mixer can be told of padding; "right" where it takes no mask and
        padding behind the tokens is out of their reach, "" where it is not.
    directions: `reverse` of its layers.
    listens: submodules whose outputs `read` can use.
    """

    model: str
    read: Callable[[Any, Seen], dict[str, Tensor | None]]
    read_out: Callable[[Any, Tensor, Tensor | None, torch.dtype], Tensor]
    about: str
    padding: str = "left, right"
    directions: tuple[bool, ...] = (False,)
    listens: tuple[str, ...] = ("in_proj", "x_proj")


def find(module: nn.Module) -> Family | None:
    """The family that a module is of, None where it is no supported mixer."""
    return next(
        (FAMILIES[name] for name in map(_name, type(module).__mro__) if name in FAMILIES), None
    )


def refuse_overridden(name: str, mixer: nn.Module) -> None:
    """ValueError for a mixer, called `name`, whose class has changed what its family computes."""
    own = next(kind for kind in type(mixer).__mro__ if _name(kind) in FAMILIES)
    # On the instance accelerate and functools.wraps say what they stand in front of.
    placed = vars(mixer).get("forward")
    stands_in = any(hasattr(placed, sign) for sign in ("__wrapped__", "reordering"))
    if type(mixer).forward is not own.forward or not (placed is None or stands_in):
        raise ValueError(
            f"model: {name} is a {type(mixer).__name__} with a forward of its own, takes "
            f"{own.__name__}'s"
        )


def _name(kind: type) -> str:
    """The full name of a class; of code that came with a model's weights, without its folders."""
    # By name: the libraries that define the classes need not be installed, nor imported.
    module = kind.__module__
    if module.startswith("transformers_modules."):
        module = "transformers_modules." + module.rpartition(".")[2]
    return f"{module}.{kind.__qualname__}"


def _project(mixer: Any, values: Tensor, beside: Tensor | None, dtype: torch.dtype) -> Tensor:
    return mixer.out_proj(values.to(dtype))


def _falcon(mixer: Any, seen: Seen) -> dict[str, Tensor | None]:
    return mamba1.mamba(mixer, seen, mamba1.falcon_norms)


def _jamba(mixer: Any, seen: Seen) -> dict[str, Tensor | None]:
    return mamba1.mamba(mixer, seen, mamba1.jamba_norms)


_of_heads = functools.partial(
    Family, read=mamba2.mamba2, read_out=mamba2.read_out, listens=("in_proj",)
)

_mambavision = Family(
    "MambaVision",
    other_mixers.mambavision,
    other_mixers.read_out_mambavision,
    "as Mamba, without a gate; a second branch beside the scan; the bias of steps twice",
    padding="",
)

FAMILIES = {
    "transformers.models.mamba.modeling_mamba.MambaMixer": Family(
        "MambaForCausalLM",
        mamba1.mamba,
        _project,
        "steps, B and C out of x_proj; an attention for each channel",
    ),
    "transformers.models.falcon_mamba.modeling_falcon_mamba.FalconMambaMixer": Family(
        "FalconMambaForCausalLM",
        _falcon,
        _project,
        "as Mamba; steps, B and C normalised, without weights",
    ),
    "transformers.models.jamba.modeling_jamba.JambaMambaMixer": Family(
        "JambaForCausalLM",
        _jamba,
        _project,
        "as Mamba; steps, B and C normalised, with weights",
    ),
    "transformers.models.zamba.modeling_zamba.ZambaMambaMixer": Family(
        "ZambaForCausalLM",
        mamba1.zamba,
        _project,
        "as Mamba; heads with an x_proj and a dt_proj each: groups of B and C",
        listens=("in_proj",),
    ),
    "transformers.models.mamba2.modeling_mamba2.Mamba2Mixer": _of_heads(
        "Mamba2ForCausalLM",
        about="an attention for each head; groups, limits of steps, a norm of the gated values",
    ),
    "transformers.models.bamba.modeling_bamba.BambaMixer": _of_heads(
        "BambaForCausalLM", about="as Mamba-2"
    ),
    "transformers.models.zamba2.modeling_zamba2.Zamba2MambaMixer": _of_heads(
        "Zamba2ForCausalLM", about="as Mamba-2; steps have a least size"
    ),
    "transformers.models.falcon_h1.modeling_falcon_h1.FalconH1Mixer": _of_heads(
        "FalconH1ForCausalLM",
        read=mamba2.falcon_h1,
        read_out=mamba2.read_out_falcon_h1,
        about="as Mamba-2; multipliers around in_proj; no norm, or one before or after the gate",
    ),
    "transformers.models.granitemoehybrid.modeling_granitemoehybrid.GraniteMoeHybridMambaLayer": (
        _of_heads("GraniteMoeHybridForCausalLM", about="as Mamba-2")
    ),
    "transformers.models.nemotron_h.modeling_nemotron_h.NemotronHMamba2Mixer": _of_heads(
        "NemotronHForCausalLM", about="as Mamba-2; steps have a least size"
    ),
    "mamba_ssm.modules.mamba_simple.Mamba": Family(
        "mamba-ssm's Mamba",
        mamba1.mamba_ssm,
        _project,
        "as Mamba; what its fused kernel computes inside is computed again",
        padding="right",
        listens=("x_proj",),
    ),
    "mamba_ssm.modules.mamba2.Mamba2": _of_heads(
        "mamba-ssm's Mamba2",
        read=mamba2.mamba_ssm,
        read_out=mamba2.read_out_mamba_ssm,
        about="as Mamba-2; all its options, and the gated channels beside the scan",
        padding="right",
    ),
    "mambavision.models.mamba_vision.MambaVisionMixer": _mambavision,
    "transformers_modules.modeling_mambavision.MambaVisionMixer": _mambavision,
    "tokensphere.reorder.models.S6Mixer": Family(
        "S6Classifier",
        other_mixers.s6_mixer,
        _project,
        "as Mamba, without a convolution",
        padding="right",
    ),
    "tokensphere.sinks.typeseg.Mixer": Family(
        "tokensphere.sinks.typeseg.TypeSeg",
        other_mixers.typeseg,
        _project,
        "as Mamba; a convolution around each token; both directions add up",
        directions=(False, True),
        listens=(),
    ),
}
"""By the full name of the mixer's class; transformers_modules: code that comes with weights."""
