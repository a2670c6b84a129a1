"""Mixers of Mamba's second kind: the channels of a head share one hidden attention.

Mamba2, Bamba, Zamba2, FalconH1, GraniteMoeHybrid and NemotronH as transformers (5.23,
`models/*/modeling_*.py`) writes them, Mamba2 as mamba-ssm (2.3.1, `modules/mamba2.py`) does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tokensphere.s6.arguments import wide
from tokensphere.sinks.mixers.seen import (
    Seen,
    convolve,
    keep,
    rates,
    refuse_forks,
    shape_alone,
    skips,
)

__all__ = [
    "falcon_h1",
    "mamba2",
    "mamba_ssm",
    "read_out",
    "read_out_falcon_h1",
    "read_out_mamba_ssm",
]


def mamba2(mixer: Any, seen: Seen) -> dict[str, Tensor | None]:
    """Of all but FalconH1, and mamba-ssm's own."""
    projected = seen.output(mixer, "in_proj", lambda: keep(seen.hidden.mT, seen.mask).mT)
    return _heads(mixer, seen, projected, mixer.n_groups, mixer.head_dim, mixer.time_step_limit)


def falcon_h1(mixer: Any, seen: Seen) -> dict[str, Tensor | None]:
    """Of FalconH1: multipliers before and after in_proj; the norm may be absent, or precede the
    gate, which is then read out beside the values."""
    projected = seen.output(
        mixer, "in_proj", lambda: keep(seen.hidden.mT, seen.mask).mT * mixer.ssm_in_multiplier
    )
    return _heads(
        mixer,
        seen,
        projected * mixer.mup_vector,
        mixer.n_groups,
        mixer.head_dim,
        mixer.time_step_limit,
        gated_last=mixer.mamba_rms_norm and mixer.norm.norm_before_gate,
    )


def mamba_ssm(mixer: Any, seen: Seen) -> dict[str, Tensor | None]:
    """Of mamba-ssm's own Mamba2: channels beside the scan that pass a gated net alone, if there
    are any; the norm may be absent, or precede the gate.

    Raises ValueError for one of the class's forks with parts of their own.
    """
    refuse_forks(mixer, {"A_log", "D", "dt_bias", "in_proj", "conv1d", "act", "norm", "out_proj"})
    projected = seen.output(mixer, "in_proj", lambda: seen.hidden)
    around = mixer.d_inner - mixer.d_ssm
    gate, passing, projected = projected.split(
        [around, around, projected.shape[-1] - 2 * around], dim=-1
    )
    tensors = _heads(
        mixer,
        seen,
        projected,
        mixer.ngroups,
        mixer.headdim,
        mixer.dt_limit,
        gated_last=mixer.rmsnorm and mixer.norm_before_gate,
    )
    if around and seen.values:
        passing = (functional.silu(gate) * passing).mT
        last = tensors.get("beside")
        tensors["beside"] = passing if last is None else torch.cat([passing, last], dim=1)
    return tensors


def _heads(
    mixer: Any,
    seen: Seen,
    projected: Tensor,
    groups: int,
    width: int,
    limit: tuple[float, float],
    gated_last: bool = False,
) -> dict[str, Tensor | None]:
    """From (B, L, gate + values + B + C + steps) to the fields of a Layer.

    width: channels of a head. limit: least and largest step. gated_last: whether the gate comes
    after a norm; it is then `beside` before its silu.
    """
    heads = len(mixer.dt_bias)
    inner = heads * width
    states = (projected.shape[-1] - heads - 2 * inner) // (2 * groups)
    gate, values, steps = projected.split([inner, inner + 2 * groups * states, heads], dim=-1)
    delta = functional.softplus(wide(steps) + wide(mixer.dt_bias)).clamp(*limit)
    u, factor, beside = shape_alone(seen.hidden, inner), None, None
    if seen.values:
        values = convolve(mixer, values.mT)
        u, B, C = values.split([inner, groups * states, groups * states], dim=1)
        if gated_last:
            beside = gate.mT
        else:
            # Applied before the normalisation, which belongs to what reads the values out.
            factor = functional.silu(gate.mT)
    else:
        B, C = convolve(mixer, values.mT, slice(inner, None)).chunk(2, dim=1)
    skip = skips(mixer, delta)
    return {
        "u": u,
        "delta": delta.mT,
        # Not copied: what is one rate to all states takes the kernels one exponential.
        "A": rates(mixer, delta)[:, None].expand(-1, states),
        "B": B.unflatten(1, (groups, states)),
        "C": C.unflatten(1, (groups, states)),
        "skip": skip if len(skip) == inner else skip.repeat_interleave(width),
        "gate": factor,
        "beside": beside,
    }


def read_out(mixer: Any, values: Tensor, beside: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The norm of the gated values, in groups, then out_proj."""
    return mixer.out_proj(mixer.norm(values).to(dtype))


def read_out_falcon_h1(
    mixer: Any, values: Tensor, beside: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """The norm, none for some models; where the gate comes after it, `beside` is the gate."""
    values = mixer.norm(values) if beside is None else mixer.norm(values, beside)
    return mixer.out_proj(values.to(dtype))


def read_out_mamba_ssm(
    mixer: Any, values: Tensor, beside: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """The norm, then what passed beside the scan, before the values, and out_proj."""
    around = mixer.d_inner - mixer.d_ssm
    if mixer.rmsnorm:
        gate = beside[..., around:].contiguous() if mixer.norm_before_gate else None
        values = mixer.norm(values, gate)
    if around:
        values = torch.cat([beside[..., :around].to(values.dtype), values], dim=-1)
    return mixer.out_proj(values.to(dtype))
