"""Of what kind a value is, and how it is said; numpy and torch are not loaded for that."""

from __future__ import annotations

import reprlib
import sys
from typing import Any


def numpy_module() -> Any:
    """Not at the top: rooms that compute in rationals load no numpy."""
    import numpy

    return numpy


def kind_of(value: Any) -> str:
    """The letter of the dtype, "" for what has none: "f", "i", "c", "b", "O", "U", ..."""
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        return ""
    kind = getattr(dtype, "kind", None)
    if kind is None:
        if dtype.is_floating_point:
            return "f"
        return "c" if dtype.is_complex else "b" if str(dtype) == "torch.bool" else "i"
    return "i" if kind == "u" else str(kind)


def is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def readable(value: Any) -> bool:
    """Whether a look at a tensor's values waits for no GPU and is seen by nobody."""
    torch = sys.modules["torch"]
    return (
        type(value) in (torch.Tensor, torch.nn.Parameter)
        and value.is_cpu
        and value.layout is torch.strided
        and torch._C._functorch.peek_interpreter_stack() is None
        and not torch._C._len_torch_dispatch_stack()
        and torch._C._get_tracing_state() is None
    )


def say(value: Any) -> str:
    """A value in one short line."""
    if kind_of(value) and getattr(value, "shape", ()) != ():
        return f"{type(value).__name__} of shape {tuple(value.shape)} and dtype {value.dtype}"
    return " ".join(_SHORT.repr(value).split())


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
