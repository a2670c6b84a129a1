"""The Mamba mixers whose input and output maps are rows of one linear map, `x_proj`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

__all__ = ["MIXERS", "Layout", "find_mixers", "layout", "projections"]


@dataclass(frozen=True)
class Layout:
    """Where a class of mixer keeps its sizes.

    steps: the attribute with the rank of the map to the steps: the first rows of `x_proj`.
    states: the attribute with N: the next N rows are S_B, the last N are S_C.
    scales: the modules whose weights (N,) multiply B and C after `x_proj`, if there are any.
    """

    steps: str
    states: str
    scales: tuple[str, str] | None = None


_TRANSFORMERS = Layout("time_step_rank", "ssm_state_size")

MIXERS = {
    "transformers.models.mamba.modeling_mamba.MambaMixer": _TRANSFORMERS,
    "transformers.models.falcon_mamba.modeling_falcon_mamba.FalconMambaMixer": _TRANSFORMERS,
    "transformers.models.jamba.modeling_jamba.JambaMambaMixer": Layout(
        "time_step_rank", "ssm_state_size", ("b_layernorm", "c_layernorm")
    ),
    "mamba_ssm.modules.mamba_simple.Mamba": Layout("dt_rank", "d_state"),
}
"""The supported classes of mixers, by full name."""


def layout(mixer: nn.Module) -> Layout | None:
    """The layout of a mixer's class or of one that it derives from, None where it has none."""
    # By name: the libraries that define the classes need not be installed, nor imported.
    names = (f"{kind.__module__}.{kind.__qualname__}" for kind in type(mixer).__mro__)
    return next((MIXERS[name] for name in names if name in MIXERS), None)


def find_mixers(model: nn.Module) -> dict[str, nn.Module]:
    """The selective mixers of a model, by their names in it, in the order of depth.

    Raises ValueError for a model without one, and for one with a mixer of another kind, such as
    Mamba-2, whose B and C pass a convolution: it is named with its class.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"model: got {type(model).__name__}, takes a torch.nn.Module")
    found = {}
    for name, module in model.named_modules():
        if layout(module) is not None:
            found[name] = module
        # What every implementation of a selective layer has, whatever it calls the rest.
        elif "A_log" in module._parameters:
            kind = f"{type(module).__module__}.{type(module).__qualname__}"
            raise ValueError(
                f"model: {name or 'it'} is a {kind}, which is not supported; "
                f"supported are {', '.join(MIXERS)}"
            )
    if not found:
        raise ValueError(
            f"model: {type(model).__name__} holds no selective mixer; "
            f"supported are {', '.join(MIXERS)}"
        )
    return found


def sizes(mixer: Any) -> tuple[int, int]:
    """Rows of `x_proj` before S_B, and N."""
    found = layout(mixer)
    assert found is not None
    return int(getattr(mixer, found.steps)), int(getattr(mixer, found.states))


def projections(mixer: nn.Module) -> tuple[Tensor, Tensor]:
    """S_B and S_C of a mixer, (N, D) each, detached, in the dtype of its weights.

    A token u (D,), after the convolution, writes ``S_B u`` and reads with ``S_C u``. Where a
    normalisation follows, its weights are multiplied in; what it divides by is a positive number
    for each token, which changes no sign.

    Raises ValueError for a mixer of an unsupported class, naming it.
    """
    found = layout(mixer)
    if found is None:
        kind = f"{type(mixer).__module__}.{type(mixer).__qualname__}"
        raise ValueError(f"mixer: got a {kind}; supported are {', '.join(MIXERS)}")
    steps, states = sizes(mixer)
    S_B, S_C = mixer.x_proj.weight.detach()[steps:].clone().split(states)
    if found.scales:
        scale_B, scale_C = (getattr(mixer, name).weight.detach() for name in found.scales)
        S_B, S_C = scale_B[:, None] * S_B, scale_C[:, None] * S_C
    return S_B, S_C
