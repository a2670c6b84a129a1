"""How each class of Mamba mixer computes its S6 tensors from what goes into it.

Each family follows its class in transformers (5.17 and 5.23, `models/*/modeling_*.py`), with the
dtypes of the fused kernels of mamba-ssm: steps and decay rates in float32 at least.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["FAMILIES", "Family", "Seen", "find", "keep", "loaded"]


@dataclass(frozen=True)
class Seen:
    """What a run of the model showed of one mixer.

    hidden: what went into it, (B, L, hidden).
    mask: (B, L), true at tokens, None where there is no padding.
    heard: what those of its submodules gave that `Family.listens` names, when the mixer called
        them. One is missing that it did not call, as where a fused kernel takes its weights.
    values: whether u, skip and gate are wanted. Without them no score changes, and the convolution
        of u need not be computed.
    """

    hidden: Tensor
    mask: Tensor | None
    heard: Mapping[str, Tensor] = field(default_factory=dict)
    values: bool = True

    def output(self, mixer: Any, name: str, inputs: Callable[[], Tensor]) -> Tensor:
        """What the submodule of that name gave; computed from its inputs where it was not heard."""
        return self.heard[name] if name in self.heard else getattr(mixer, name)(inputs())


@dataclass(frozen=True)
class Family:
    """How one class of mixer is read.

    model: what users know it from.
    read: from mixer and Seen to those fields of a Layer that are tensors of the model, tokens as
        they came in. Where values are not wanted, u is on the meta device, its shape alone, and
        gate and beside are None.
    read_out: from mixer, gated values (B, L, D P), what is read out beside them and the model's
        dtype to the mixer's output.
    directions: `reverse` of its layers.
    listens: submodules whose outputs `read` can use.
    """

    model: str
    read: Callable[[Any, Seen], dict[str, Tensor | None]]
    read_out: Callable[[Any, Tensor, Tensor | None, torch.dtype], Tensor]
    directions: tuple[bool, ...] = (False,)
    listens: tuple[str, ...] = ("in_proj", "x_proj")


def find(module: nn.Module) -> Family | None:
    """The family that a module is of, None where it is no supported mixer."""
    # By name: the libraries that define the classes need not be installed, nor imported.
    names = (f"{kind.__module__}.{kind.__qualname__}" for kind in type(module).__mro__)
    return next((FAMILIES[name] for name in names if name in FAMILIES), None)


def keep(value: Tensor, mask: Tensor | None) -> Tensor:
    """value (B, D, L), zero where the mask (B, L) is; None stands for no padding."""
    return value if mask is None else torch.where(mask[:, None].to(value.device).bool(), value, 0)


@contextmanager
def loaded(mixer: nn.Module) -> Iterator[None]:
    """The mixer's own parameters in memory meanwhile, where accelerate has offloaded them."""
    if not hasattr(mixer, "_hf_hook"):
        yield
        return
    from accelerate.utils import align_module_device

    with align_module_device(mixer):
        yield


def _wide(value: Tensor) -> Tensor:
    return value if value.dtype == torch.float64 else value.float()


def _rates(mixer: Any) -> Tensor:
    return -torch.exp(_wide(mixer.A_log.detach()))


def _skip(mixer: Any) -> Tensor:
    return _wide(mixer.D.detach()).clone()


def _steps(mixer: Any, values: Tensor) -> Tensor:
    """softplus of dt_proj, (B, D, L), its bias added in float32 at least, as the kernels do.

    As in the model, an adapter on dt_proj counts only where the weights are quantised: elsewhere
    the model multiplies by the weight itself, and passes the adapter by.
    """
    projection = mixer.dt_proj
    weight, bias = projection.weight, _wide(projection.bias)
    quantised = hasattr(getattr(mixer, "config", None), "_is_quantized")
    if quantised or weight.is_meta or not weight.is_floating_point():
        return functional.softplus(_wide(projection(values))).mT
    return functional.softplus(_wide(weight @ values.mT) + bias[:, None])


def _convolve(mixer: Any, values: Tensor, channels: slice = slice(None)) -> Tensor:
    """The causal convolution of these channels, (B, D, L), and its activation.

    As in the model, padding is not zeroed between in_proj and this, so that a bias of in_proj
    reaches the first tokens from padding on the left. The model zeroes it after this, which keeps
    it out of the state; here it is cut off.
    """
    convolution = mixer.conv1d
    if channels == slice(None):
        return mixer.act(convolution(values)[..., : values.shape[-1]])
    bias = None if convolution.bias is None else convolution.bias[channels]
    padded = functional.pad(values[:, channels], (convolution.kernel_size[0] - 1, 0))
    weight = convolution.weight[channels]
    return mixer.act(functional.conv1d(padded, weight, bias, groups=len(weight)))


def _shape_alone(like: Tensor, channels: int) -> Tensor:
    """(B, channels, L) on the meta device, for `like` (B, L, ...)."""
    return like.new_empty(like.shape[0], channels, like.shape[1], device="meta")


def _mamba(
    mixer: Any,
    seen: Seen,
    normalise: Callable[..., tuple[Tensor, Tensor, Tensor]] = lambda mixer, *parts: parts,
) -> dict[str, Tensor | None]:
    u, gate = _shape_alone(seen.hidden, mixer.A_log.shape[0]), None
    if seen.values or "x_proj" not in seen.heard:
        projected = seen.output(mixer, "in_proj", lambda: keep(seen.hidden.mT, seen.mask).mT)
        u, gate = projected.mT.chunk(2, dim=1)
        # The gate is silu whatever the activation of the convolution.
        u, gate = _convolve(mixer, u), functional.silu(gate)
    states = mixer.ssm_state_size
    parts = seen.output(mixer, "x_proj", lambda: u.mT)
    steps, B, C = parts.split([mixer.time_step_rank, states, states], dim=-1)
    steps, B, C = normalise(mixer, steps, B, C)
    return {
        "u": u,
        "delta": _steps(mixer, steps),
        "A": _rates(mixer),
        "B": B.mT[:, None],
        "C": C.mT[:, None],
        "skip": _skip(mixer),
        "gate": gate,
    }


def _falcon_norms(mixer: Any, *parts: Tensor) -> tuple[Tensor, ...]:
    """Root mean square 1 over the channels of each of steps, B and C; no weights."""

    def norm(value: Tensor) -> Tensor:
        wide = value.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + mixer.rms_eps)
        return (wide * scale).to(value.dtype)

    return tuple(map(norm, parts))


def _jamba_norms(mixer: Any, steps: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, ...]:
    return mixer.dt_layernorm(steps), mixer.b_layernorm(B), mixer.c_layernorm(C)


def _mamba2(mixer: Any, seen: Seen) -> dict[str, Tensor | None]:
    groups, states = mixer.n_groups, mixer.ssm_state_size
    projected = seen.output(mixer, "in_proj", lambda: keep(seen.hidden.mT, seen.mask).mT)
    inner = mixer.num_heads * mixer.head_dim
    sizes = [inner, inner + 2 * groups * states, mixer.num_heads]
    gate, values, steps = projected.split(sizes, dim=-1)
    delta = functional.softplus(_wide(steps) + _wide(mixer.dt_bias)).clamp(*mixer.time_step_limit)
    u, around = _shape_alone(seen.hidden, inner), None
    if seen.values:
        values = _convolve(mixer, values.mT)
        u, B, C = values.split([inner, groups * states, groups * states], dim=1)
        # Applied before the normalisation, which belongs to what reads the values out.
        around = functional.silu(gate.mT)
    else:
        B, C = _convolve(mixer, values.mT, slice(inner, None)).chunk(2, dim=1)
    return {
        "u": u,
        "delta": delta.mT,
        "A": _rates(mixer)[:, None].repeat(1, states),
        "B": B.unflatten(1, (groups, states)),
        "C": C.unflatten(1, (groups, states)),
        "skip": _skip(mixer).repeat_interleave(mixer.head_dim),
        "gate": around,
    }


def _typeseg(mixer: Any, seen: Seen) -> dict[str, Tensor | None]:
    u, delta, B, C, gate = mixer.project(seen.hidden, seen.mask)
    return {
        "u": u,
        "delta": delta,
        "A": _rates(mixer),
        "B": B[:, None],
        "C": C[:, None],
        "skip": _skip(mixer),
        "gate": gate,
    }


def _project(mixer: Any, values: Tensor, beside: Tensor | None, dtype: torch.dtype) -> Tensor:
    return mixer.out_proj(values.to(dtype))


def _normalise_project(
    mixer: Any, values: Tensor, beside: Tensor | None, dtype: torch.dtype
) -> Tensor:
    return mixer.out_proj(mixer.norm(values).to(dtype))


FAMILIES = {
    "transformers.models.mamba.modeling_mamba.MambaMixer": Family(
        "MambaForCausalLM", _mamba, _project
    ),
    "transformers.models.falcon_mamba.modeling_falcon_mamba.FalconMambaMixer": Family(
        "FalconMambaForCausalLM", functools.partial(_mamba, normalise=_falcon_norms), _project
    ),
    "transformers.models.jamba.modeling_jamba.JambaMambaMixer": Family(
        "JambaForCausalLM", functools.partial(_mamba, normalise=_jamba_norms), _project
    ),
    "transformers.models.mamba2.modeling_mamba2.Mamba2Mixer": Family(
        "Mamba2ForCausalLM", _mamba2, _normalise_project
    ),
    "tokensphere.sinks.typeseg.Mixer": Family(
        "tokensphere.sinks.typeseg.TypeSeg", _typeseg, _project, (False, True), ()
    ),
}
"""By the full name of the mixer's class."""
