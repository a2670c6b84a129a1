"""Token dynamics in deep Mamba models: simulate them, predict their limits, check what is claimed.

``import tokensphere`` loads nothing else. A room of the library is loaded when it is first named,
as in ``tokensphere.flow.simulate``, or imported: ``from tokensphere import flow, s6``.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what __getattr__ gives, for checkers of types
    from . import (
        checkpoint,
        circle,
        first_token,
        flow,
        one_dimension,
        other_tokens,
        rates,
        records,
        refine,
        reorder,
        s6,
        sinks,
        symbolic,
        unnormalised,
    )

__all__ = [
    "checkpoint",
    "circle",
    "first_token",
    "flow",
    "one_dimension",
    "other_tokens",
    "rates",
    "records",
    "refine",
    "reorder",
    "s6",
    "sinks",
    "symbolic",
    "unnormalised",
]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
