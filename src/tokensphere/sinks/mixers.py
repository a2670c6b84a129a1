"""How each class of Mamba mixer computes its S6 tensors from what goes into it.

Each family follows its class in transformers (5.17 and 5.23, `models/*/modeling_*.py`), with the
dtypes of the fused kernels of mamba-ssm: steps and decay rates in float32 at least.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["FAMILIES", "Family", "find", "keep", "loaded"]


@dataclass(frozen=True)
class Family:
    """How one class of mixer is read.

    model: what users know it from.
    read: from mixer, its input (B, L, hidden) and the mask (B, L), true at tokens or None without
        padding, to those fields of a Layer that are tensors of the model, tokens as they came in.
    read_out: from mixer, gated values (B, L, D P) and the model's dtype to its output.
    directions: `reverse` of its layers.
    """

    model: str
    read: Callable[[Any, Tensor, Tensor | None], dict[str, Tensor]]
    read_out: Callable[[Any, Tensor, torch.dtype], Tensor]
    directions: tuple[bool, ...] = (False,)


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


def _steps(projection: nn.Module, values: Tensor) -> Tensor:
    """softplus of a projection whose bias is added in float32 at least, as the kernels do."""
    if type(projection) is nn.Linear and not projection.weight.is_meta:
        raw = _wide(functional.linear(values, projection.weight)) + _wide(projection.bias)
    else:  # quantised or offloaded: only the module itself knows how to multiply
        raw = _wide(projection(values))
    return functional.softplus(raw).mT


def _convolve(mixer: Any, values: Tensor) -> Tensor:
    """The causal convolution of (B, D, L) and its activation.

    As in the model, padding is not zeroed between in_proj and this, so that a bias of in_proj
    reaches the first tokens from padding on the left. The model zeroes it after this, which keeps
    it out of the state; here it is cut off.
    """
    return mixer.act(mixer.conv1d(values)[..., : values.shape[-1]])


def _mamba(
    mixer: Any,
    hidden: Tensor,
    mask: Tensor | None,
    normalise: Callable[..., tuple[Tensor, Tensor, Tensor]] = lambda mixer, *parts: parts,
) -> dict[str, Tensor]:
    u, gate = mixer.in_proj(keep(hidden.mT, mask).mT).mT.chunk(2, dim=1)
    u = _convolve(mixer, u)
    states = mixer.ssm_state_size
    steps, B, C = mixer.x_proj(u.mT).split([mixer.time_step_rank, states, states], dim=-1)
    steps, B, C = normalise(mixer, steps, B, C)
    return {
        "u": u,
        "delta": _steps(mixer.dt_proj, steps),
        "A": _rates(mixer),
        "B": B.mT[:, None],
        "C": C.mT[:, None],
        "skip": _skip(mixer),
        # The gate is silu whatever the activation of the convolution.
        "gate": functional.silu(gate),
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


def _mamba2(mixer: Any, hidden: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
    groups, states = mixer.n_groups, mixer.ssm_state_size
    projected = mixer.in_proj(keep(hidden.mT, mask).mT)
    inner = mixer.num_heads * mixer.head_dim
    sizes = [inner, inner + 2 * groups * states, mixer.num_heads]
    gate, values, steps = projected.split(sizes, dim=-1)
    values = _convolve(mixer, values.mT)
    u, B, C = values.split([inner, groups * states, groups * states], dim=1)
    delta = functional.softplus(_wide(steps) + _wide(mixer.dt_bias)).clamp(*mixer.time_step_limit)
    return {
        "u": u,
        "delta": delta.mT,
        "A": _rates(mixer)[:, None].repeat(1, states),
        "B": B.unflatten(1, (groups, states)),
        "C": C.unflatten(1, (groups, states)),
        "skip": _skip(mixer).repeat_interleave(mixer.head_dim),
        # Applied before the normalisation, which belongs to what reads the values out.
        "gate": functional.silu(gate.mT),
    }


def _typeseg(mixer: Any, hidden: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
    u, delta, B, C, gate = mixer.project(hidden, mask)
    return {
        "u": u,
        "delta": delta,
        "A": _rates(mixer),
        "B": B[:, None],
        "C": C[:, None],
        "skip": _skip(mixer),
        "gate": gate,
    }


def _project(mixer: Any, values: Tensor, dtype: torch.dtype) -> Tensor:
    return mixer.out_proj(values.to(dtype))


def _normalise_project(mixer: Any, values: Tensor, dtype: torch.dtype) -> Tensor:
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
        "tokensphere.sinks.typeseg.TypeSeg", _typeseg, _project, (False, True)
    ),
}
"""By the full name of the mixer's class."""
