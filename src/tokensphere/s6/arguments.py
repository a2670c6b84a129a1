"""What the layer's arguments must be, and how they lie in memory while it is computed."""

import math
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.autograd import forward_ad


def by_group(*tensors: Tensor) -> list[Tensor]:
    """The last two, B and C, as (B, G, N, L); channels of the others split as (G, D / G)."""
    *others, A, B, C = tensors
    if B.ndim == 3:
        B, C = B.unsqueeze(1), C.unsqueeze(1)
    groups = B.shape[1]
    split = [value.unflatten(1, (groups, -1)) for value in others]
    return [*split, A.unflatten(0, (groups, -1)), B, C]


def channel_first(value: Tensor) -> Tensor:
    """(B, D, L), from (L, B, G, D / G)."""
    return value.flatten(2, 3).permute(1, 2, 0)


def token_first(value: Tensor) -> Tensor:
    """(L, B, ...) and contiguous, from (B, ..., L): one token's numbers lie side by side."""
    return value.movedim(-1, 0).contiguous()


def wide(value: Tensor) -> Tensor:
    """float32 for anything narrower: sums of many small terms are lost in half precision."""
    kept = (torch.float64, torch.complex64, torch.complex128)
    return value if value.dtype in kept else value.float()


def widen(*tensors: Tensor) -> tuple[Tensor, ...]:
    """:func:`wide` of each."""
    return tuple(map(wide, tensors))


def uncast(value: Tensor) -> AbstractContextManager[None]:
    """No autocast for products of tensors such as this one: it would round sums that are asked for
    in full."""
    return torch.autocast(value.device.type, enabled=False)


def unobserved(*tensors: Tensor) -> bool:
    """Whether these are numbers and nothing else: no gradient is asked of them, and no transform,
    tracer or compiler looks on. What is written in place, or by other hands, is then seen by none.
    """
    if (
        torch.compiler.is_compiling()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._len_torch_dispatch_stack()
        or torch._C._get_tracing_state() is not None
        or forward_ad._current_level >= 0
    ):
        return False
    graph = torch.is_grad_enabled()
    return all(
        type(each) in (Tensor, torch.nn.Parameter) and not (graph and each.requires_grad)
        for each in tensors
    )


def check_like(name: str, value: Tensor, delta: Tensor) -> None:
    if value.shape != delta.shape:
        raise ValueError(
            f"{name}: shape {tuple(value.shape)}, but delta has {tuple(delta.shape)}, (B, D, L)"
        )
    extremes({name: value}, delta)


def extremes(values: dict[str, Tensor], delta: Tensor) -> dict[str, tuple[float, float]]:
    """The least and the greatest number of each; refuses what is not finite."""
    for name, value in values.items():
        if not value.is_floating_point():
            raise ValueError(f"{name}: dtype {value.dtype}, takes a floating point tensor")
        # A float64 model has everything in float64; mixed half and float32 inputs are usual.
        if (value.dtype == torch.float64) != (delta.dtype == torch.float64):
            raise ValueError(f"{name}: dtype {value.dtype} does not go with delta's {delta.dtype}")
    # One pass over each, which hands NaN on, and one wait for the device in all.
    pairs = [torch.stack(torch.aminmax(value.detach())).double() for value in values.values()]
    found = dict(zip(values, torch.stack(pairs).tolist(), strict=True))
    for name, pair in found.items():
        if not all(map(math.isfinite, pair)):
            raise ValueError(f"{name}: holds NaN or infinity")
    return found


def check(delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> None:
    check_shapes(delta, A, B, C)
    check_values(delta, A, B, C)


def check_shapes(delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> None:
    for name, value in {"delta": delta, "A": A, "B": B, "C": C}.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name}: got {type(value).__name__}, takes a torch.Tensor")
    if delta.ndim != 3 or 0 in delta.shape:
        raise ValueError(f"delta: shape {tuple(delta.shape)}, takes (B, D, L), none of them 0")
    batch, channels, length = delta.shape
    if A.ndim != 2 or A.shape[0] != channels or A.shape[1] == 0:
        raise ValueError(f"A: shape {tuple(A.shape)}, takes (D, N) with D = {channels} as in delta")
    states = A.shape[1]
    for name, value in {"B": B, "C": C}.items():
        if value.ndim not in (3, 4) or (value.shape[0], *value.shape[-2:]) != (
            batch,
            states,
            length,
        ):
            raise ValueError(
                f"{name}: shape {tuple(value.shape)}, takes (B, N, L) = {(batch, states, length)} "
                f"as in delta and A, or (B, G, N, L)"
            )
    if B.shape != C.shape:
        raise ValueError(f"C: shape {tuple(C.shape)}, but B has {tuple(B.shape)}")
    if B.ndim == 4 and (B.shape[1] == 0 or channels % B.shape[1]):
        raise ValueError(f"B: {B.shape[1]} groups, which do not divide the {channels} channels")


def check_values(delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> None:
    found = extremes({"delta": delta, "A": A, "B": B, "C": C}, delta)
    if found["delta"][0] < 0:
        raise ValueError("delta: holds a negative step; pass steps after softplus")
    if found["A"][1] >= 0:
        raise ValueError("A: holds a rate that is not negative; pass -exp(A_log)")


def check_resets(resets: Tensor | None, delta: Tensor) -> None:
    if resets is None:
        return
    if not isinstance(resets, Tensor):
        raise ValueError(f"resets: got {type(resets).__name__}, takes a torch.Tensor")
    if resets.dtype != torch.bool:
        raise ValueError(
            f"resets: dtype {resets.dtype}, takes torch.bool, True at the first token of a document"
        )
    batch, _, length = delta.shape
    if resets.shape != (batch, length):
        raise ValueError(
            f"resets: shape {tuple(resets.shape)}, takes (B, L) = {(batch, length)} as in delta"
        )
    if resets.device != delta.device:
        raise ValueError(f"resets: on {resets.device}, but delta is on {delta.device}")
