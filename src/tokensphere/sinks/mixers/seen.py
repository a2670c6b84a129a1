"""What a run showed of one mixer, and what readers of mixers have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tokensphere.s6.arguments import wide

__all__ = [
    "Seen",
    "convolve",
    "keep",
    "loaded",
    "rates",
    "refuse_forks",
    "shape_alone",
    "skips",
]


@dataclass(frozen=True)
class Seen:
    """What a run of the model showed of one mixer.

    hidden: what went into it, (B, L, hidden).
    mask: (B, L), true at tokens, None where there is no padding.
    heard: what those of its submodules gave that `Family.listens` names, when the mixer called
        them. One is missing that it did not call, as where a fused kernel takes its weights.
    values: whether u, gate and beside are wanted. Without them no score changes, and the
        convolution of u need not be computed.
    """

    hidden: Tensor
    mask: Tensor | None
    heard: Mapping[str, Tensor] = field(default_factory=dict)
    values: bool = True

    def output(self, mixer: Any, name: str, inputs: Callable[[], Tensor]) -> Tensor:
        """What the submodule of that name gave; computed from its inputs where it was not heard."""
        return self.heard[name] if name in self.heard else getattr(mixer, name)(inputs())


def keep(value: Tensor, mask: Tensor | None) -> Tensor:
    """value (B, D, L), zero where the mask (B, L) is; None stands for no padding."""
    return value if mask is None else torch.where(mask[:, None].to(value.device).bool(), value, 0)


@contextmanager
def loaded(module: nn.Module) -> Iterator[None]:
    """The module's own parameters in memory meanwhile, where accelerate has offloaded them."""
    if not hasattr(module, "_hf_hook"):
        yield
        return
    from accelerate.utils import align_module_device

    with align_module_device(module):
        yield


def rates(mixer: Any, delta: Tensor) -> Tensor:
    """A = -exp(A_log), in the steps' dtype: some models keep A_log in float32 among float64."""
    return -torch.exp(wide(mixer.A_log.detach())).to(delta.dtype)


def skips(mixer: Any, delta: Tensor) -> Tensor:
    """A copy of D, in the steps' dtype."""
    return mixer.D.detach().to(delta.dtype, copy=True)


def convolve(mixer: Any, values: Tensor, channels: slice = slice(None)) -> Tensor:
    """The causal convolution of these channels of (B, D, L), and its activation.

    As in the model, the convolution's weights are taken and an adapter on it is passed by; and
    padding is not zeroed between in_proj and this, so that a bias of in_proj reaches the first
    tokens from padding on the left. The model zeroes it after this, which keeps it out of the
    state; here it is cut off.
    """
    convolution, values = mixer.conv1d, values[:, channels]
    with loaded(convolution):
        weight, bias = convolution.weight[channels], convolution.bias
        bias = None if bias is None else bias[channels]
        taps, groups = weight.shape[-1], len(weight)
        mixed = functional.conv1d(values, weight, bias, padding=taps - 1, groups=groups)
    return mixer.act(mixed[..., : values.shape[-1]])


def shape_alone(like: Tensor, channels: int) -> Tensor:
    """(B, channels, L) on the meta device, for `like` (B, L, ...)."""
    return like.new_empty(like.shape[0], channels, like.shape[1], device="meta")


def refuse_forks(mixer: nn.Module, known: set[str]) -> None:
    """ValueError for a mixer with parameters or submodules other than its class's own.

    Forks of mamba-ssm keep the names of its classes and add to them, as Vision Mamba adds a scan in
    the other direction.
    """
    other = sorted((mixer._parameters.keys() | mixer._modules.keys()) - known)
    if other:
        raise ValueError(
            f"model: a mixer {type(mixer).__name__} that holds {other[0]} is a fork's, takes one "
            f"with {', '.join(sorted(known))}"
        )
