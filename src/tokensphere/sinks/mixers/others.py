"""Mixers that are no language model's: MambaVision's, this package's, typeseg's.

MambaVision as its package (1.2.0, `models/mamba_vision.py`) writes it, and the copy of that which
comes with its weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tokensphere.s6.arguments import wide
from tokensphere.sinks.mixers.seen import Seen, loaded, rates, refuse_forks, shape_alone, skips

__all__ = ["mambavision", "read_out_mambavision", "s6_mixer", "typeseg"]


def mambavision(mixer: Any, seen: Seen) -> dict[str, Tensor | None]:
    """Of MambaVisionMixer: two branches, each convolved around its token; one is scanned.

    Its steps add the bias of dt_proj twice: in the module, and again in the scan.

    Raises ValueError for one of the class's forks with parts of their own.
    """
    known = {"A_log", "D", "in_proj", "conv1d_x", "conv1d_z", "x_proj", "dt_proj", "out_proj"}
    refuse_forks(mixer, known)
    u, beside = shape_alone(seen.hidden, len(mixer.D)), None
    if seen.values or "x_proj" not in seen.heard:
        projected = seen.output(mixer, "in_proj", lambda: seen.hidden)
        u, beside = projected.mT.chunk(2, dim=1)
        u = _convolve_around(mixer.conv1d_x, u)
    # The mixer calls x_proj on one row of all tokens.
    parts = seen.output(mixer, "x_proj", lambda: u.mT).reshape(*seen.hidden.shape[:2], -1)
    states = mixer.A_log.shape[1]
    steps, B, C = parts.split([parts.shape[-1] - 2 * states, states, states], dim=-1)
    delta = functional.softplus(wide(mixer.dt_proj(steps)) + wide(mixer.dt_proj.bias)).mT
    return {
        "u": u if seen.values else shape_alone(seen.hidden, len(mixer.D)),
        "delta": delta,
        "A": rates(mixer, delta),
        "B": B.mT[:, None],
        "C": C.mT[:, None],
        "skip": skips(mixer, delta),
        "gate": None,
        "beside": _convolve_around(mixer.conv1d_z, beside) if seen.values else None,
    }


def read_out_mambavision(
    mixer: Any, values: Tensor, beside: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """out_proj of both branches."""
    return mixer.out_proj(torch.cat([values.to(dtype), beside.to(dtype)], dim=-1))


def s6_mixer(mixer: Any, seen: Seen) -> dict[str, Tensor | None]:
    """Of `tokensphere.reorder.models.S6Mixer`: Mamba's without its convolution."""
    u, gate = shape_alone(seen.hidden, len(mixer.D)), None
    if seen.values or "x_proj" not in seen.heard:
        projected = seen.output(mixer, "in_proj", lambda: seen.hidden)
        u, gate = map(functional.silu, projected.mT.chunk(2, dim=1))
    parts = seen.output(mixer, "x_proj", lambda: u.mT)
    steps, B, C = parts.split([mixer.rank, mixer.states, mixer.states], dim=-1)
    steps = wide(functional.linear(steps, mixer.dt_proj.weight)) + wide(mixer.dt_proj.bias)
    delta = functional.softplus(steps).mT
    return {
        "u": u if seen.values else shape_alone(seen.hidden, len(mixer.D)),
        "delta": delta,
        "A": rates(mixer, delta),
        "B": B.mT[:, None],
        "C": C.mT[:, None],
        "skip": skips(mixer, delta),
        "gate": gate if seen.values else None,
    }


def typeseg(mixer: Any, seen: Seen) -> dict[str, Tensor | None]:
    """Of `tokensphere.sinks.typeseg.Mixer`, which reads in both directions."""
    u, delta, B, C, gate = mixer.project(seen.hidden, seen.mask)
    return {
        "u": u if seen.values else shape_alone(seen.hidden, u.shape[1]),
        "delta": delta,
        "A": rates(mixer, delta),
        "B": B[:, None],
        "C": C[:, None],
        "skip": skips(mixer, delta),
        "gate": gate if seen.values else None,
    }


def _convolve_around(convolution: nn.Module, values: Tensor) -> Tensor:
    """silu of a depthwise convolution of (B, D, L) around each token, of the same length."""
    with loaded(convolution):
        weight, bias = convolution.weight, convolution.bias
        mixed = functional.conv1d(values, weight, bias, padding="same", groups=len(weight))
    return functional.silu(mixed)
