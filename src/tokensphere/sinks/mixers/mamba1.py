"""Mixers of Mamba's first kind: every channel has its own hidden attention.

Mamba, FalconMamba, Jamba and Zamba as transformers (5.23, `models/*/modeling_*.py`) writes them,
Mamba as mamba-ssm (2.3.1, `modules/mamba_simple.py`) does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tokensphere import s6
from tokensphere.s6.arguments import wide
from tokensphere.sinks.mixers.seen import (
    Seen,
    convolve,
    keep,
    loaded,
    rates,
    refuse_forks,
    shape_alone,
    skips,
)

__all__ = ["falcon_norms", "jamba_norms", "mamba", "mamba_ssm", "zamba"]

Normalise = Callable[..., tuple[Tensor, ...]]
"""From the mixer and its steps, B and C (B, L, ...) to the same normalised."""


def mamba(
    mixer: Any, seen: Seen, normalise: Normalise = lambda mixer, *parts: parts
) -> dict[str, Tensor | None]:
    """Of the mixers of Mamba, and with their norms of FalconMamba and Jamba."""
    u, gate = shape_alone(seen.hidden, mixer.A_log.shape[0]), None
    if seen.values or "x_proj" not in seen.heard:
        projected = seen.output(mixer, "in_proj", lambda: keep(seen.hidden.mT, seen.mask).mT)
        u, gate = projected.mT.chunk(2, dim=1)
        # The gate is silu whatever the activation of the convolution.
        u, gate = convolve(mixer, u), functional.silu(gate)
    states = mixer.A_log.shape[1]
    parts = seen.output(mixer, "x_proj", lambda: u.mT)
    steps, B, C = parts.split([parts.shape[-1] - 2 * states, states, states], dim=-1)
    steps, B, C = normalise(mixer, steps, B, C)
    delta = _steps(mixer, steps)
    return {
        "u": u if seen.values else shape_alone(seen.hidden, mixer.A_log.shape[0]),
        "delta": delta,
        "A": rates(mixer, delta),
        "B": B.mT[:, None],
        "C": C.mT[:, None],
        "skip": skips(mixer, delta),
        "gate": gate if seen.values else None,
    }


def falcon_norms(mixer: Any, *parts: Tensor) -> tuple[Tensor, ...]:
    """Root mean square 1 over the channels of each of steps, B and C; no weights."""

    def norm(value: Tensor) -> Tensor:
        exact = value.float() if value.dtype == torch.float64 else value  # as the model does
        return functional.rms_norm(exact, exact.shape[-1:], eps=mixer.rms_eps).to(value.dtype)

    return tuple(map(norm, parts))


def jamba_norms(mixer: Any, steps: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, ...]:
    """The three norms that Jamba adds, with their weights."""
    return mixer.dt_layernorm(steps), mixer.b_layernorm(B), mixer.c_layernorm(C)


def mamba_ssm(mixer: Any, seen: Seen) -> dict[str, Tensor | None]:
    """Of mamba-ssm's own Mamba, whose kernels take the weights of projections, not their outputs.

    Raises ValueError for one of the class's forks with parts of their own, such as a second scan.
    """
    known = {"A_log", "D", "in_proj", "conv1d", "act", "x_proj", "dt_proj", "out_proj"}
    refuse_forks(mixer, known)
    # The mixer calls x_proj on one row of all tokens.
    heard = {
        name: value.unflatten(0, seen.hidden.shape[:2]) if value.ndim == 2 else value
        for name, value in seen.heard.items()
    }
    return mamba(mixer, _Weighed(seen.hidden, seen.mask, heard, seen.values))


class _Weighed(Seen):
    """What was not heard is computed by weights: an adapter was passed by, as the module was."""

    def output(self, mixer: Any, name: str, inputs: Callable[[], Tensor]) -> Tensor:
        if name in self.heard:
            return self.heard[name]
        projection = getattr(mixer, name)
        return functional.linear(inputs(), projection.weight, projection.bias)


def zamba(mixer: Any, seen: Seen) -> dict[str, Tensor | None]:
    """Of Zamba: heads with steps, B and C of their own, each out of its channels alone."""
    projected = seen.output(mixer, "in_proj", lambda: keep(seen.hidden.mT, seen.mask).mT)
    # Values and gates alternate from channel to channel.
    u, gate = projected.mT.unflatten(1, (-1, 2)).unbind(2)
    u = convolve(mixer, u)
    heads, _, states = mixer.A_log.shape
    parts = mixer.x_proj_weight @ u.unflatten(1, (heads, -1))
    steps, B, C = parts.split([parts.shape[2] - 2 * states, states, states], dim=2)
    steps = wide(mixer.dt_proj_weight @ steps) + wide(mixer.dt_proj_bias)[..., None]
    delta = functional.softplus(steps).flatten(1, 2)
    return {
        "u": u if seen.values else shape_alone(seen.hidden, u.shape[1]),
        "delta": delta,
        "A": rates(mixer, delta).flatten(0, 1),
        "B": B,
        "C": C,
        "skip": skips(mixer, delta).flatten(),
        "gate": functional.silu(gate) if seen.values else None,
    }


def _steps(mixer: Any, values: Tensor) -> Tensor:
    """softplus of dt_proj, (B, D, L), its bias added in float32 at least, as the kernels do.

    As in the model, an adapter on dt_proj counts only where the weights are quantised: elsewhere
    the model multiplies by the weight itself, and passes the adapter by.
    """
    projection = mixer.dt_proj
    quantised = hasattr(getattr(mixer, "config", None), "_is_quantized")
    if quantised or not projection.weight.is_floating_point():
        return functional.softplus(wide(projection(values))).mT
    with loaded(projection):
        # Token by token, as the product comes: channel by channel it would be copied once more.
        return s6.steps(functional.linear(values, projection.weight).mT, projection.bias)
