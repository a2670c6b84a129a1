"""What the arguments of this package's functions must be. Every check names the argument."""

import torch
from torch import Tensor

UNIT_TOLERANCE = 1e-6
"""How far from 1 a token's norm may be. Looser than rounding, tighter than a mistake."""


def check_tensor(name: str, value, ndim: int) -> None:
    _check_shape(name, value, ndim)
    if not torch.isfinite(value).all():
        raise ValueError(f"{name}: holds NaN or infinity")


def _check_shape(name: str, value, ndim: int) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"{name}: got {type(value).__name__}, takes a torch.Tensor")
    if value.dtype != torch.float64:
        raise ValueError(f"{name}: dtype {value.dtype}, takes torch.float64")
    if value.ndim < ndim or 0 in value.shape:
        raise ValueError(f"{name}: shape {tuple(value.shape)}, takes {ndim} or more dimensions > 0")


def check_square(name: str, value) -> int:
    check_tensor(name, value, 2)
    if value.shape[-1] != value.shape[-2]:
        raise ValueError(f"{name}: shape {tuple(value.shape)}, takes (..., D, D)")
    return value.shape[-1]


def check_S_BC(value) -> int:
    if not isinstance(value, tuple):
        return check_square("S_BC", value)
    if len(value) != 2:
        raise ValueError(f"S_BC: got {len(value)} factors, takes two, (S_C, S_B)")
    for name, factor in zip(("S_C", "S_B"), value, strict=True):
        check_tensor(name, factor, 2)
    if value[0].shape[-2:] != value[1].shape[-2:]:
        shapes = tuple(value[0].shape), tuple(value[1].shape)
        raise ValueError(f"S_C and S_B: shapes {shapes[0]} and {shapes[1]}, take one (..., N, D)")
    return value[0].shape[-1]


def check_rates(name: str, value) -> int:
    check_tensor(name, value, 1)
    if (value <= 0).any():
        raise ValueError(f"{name}: holds {float(value.min()):g}, takes positive numbers")
    return value.shape[-1]


def check_tokens(x, dim: int | None, ndim: int, name: str = "x") -> None:
    _check_shape(name, x, ndim)
    if dim is not None and x.shape[-1] != dim:
        raise ValueError(f"{name}: shape {tuple(x.shape)}, takes (..., L, D) with D = {dim}")
    least, most = torch.linalg.vector_norm(x.detach(), dim=-1).aminmax()
    off = max(1 - float(least), float(most) - 1)
    if not off <= UNIT_TOLERANCE:
        check_tensor(name, x, ndim)  # it has another word for NaN
        raise ValueError(f"{name}: a token is off the unit sphere, its norm by {off:.1e}")


def check_times(times) -> None:
    check_tensor("times", times, 1)
    if times.ndim != 1 or len(times) < 2 or (times.diff() <= 0).any():
        raise ValueError("times: takes a vector (T,) of two or more strictly increasing times")
