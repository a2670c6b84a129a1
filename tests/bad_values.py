"""Values that no argument takes, by kind: one catalogue for every public function.

`spoiled(good)` gives those that go in place of a good value. What depends on the function, a least
number or rows of length 1, follows from the rule at its door; see tests/test_door_policy.py.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch

NEVER: dict[str, Any] = {
    "None": None,
    "text": "text",
    "bytes": b"1",
    "object": object(),
    "dict": {},
    "a type": int,
}
"""What is no number, array, flag or function; text is taken where text is asked for."""

NUMBERS: dict[str, Any] = {
    "NaN": math.nan,
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "True": True,
    "complex": 1j,
    "a list": [1.0],
    "an array": np.ones(2),
    "a tensor": torch.ones(2),
    "beyond floats": 10**400,
    "NaN of numpy": np.float64("nan"),
    "NaN of torch": torch.tensor(math.nan),
    "a flag of torch": torch.tensor(True),
}
"""In place of a number."""

WHOLE: dict[str, Any] = {"a half": 0.5, "a float": 2.0, "a fraction": Fraction(5, 2)}
"""In place of an integer, besides those of NUMBERS that no integer is."""

RAGGED = [[1.0, 2.0], [3.0]]


def arrays(good: Any) -> dict[str, Any]:
    """In place of an array, a tensor or a nested list."""
    value = good if isinstance(good, torch.Tensor) else np.asarray(good, dtype=float)
    whole = isinstance(value, torch.Tensor) and not value.is_floating_point()
    bad: dict[str, Any] = {
        "True": True,
        "an empty list": [],
        "a ragged list": RAGGED,
        "a list of None": [None, None],
        "a list of text": ["a", "b"],
        "objects": np.array([object(), object()]),
        "bools": value > 0,
        "a number": 1.0,
        "no axis": value.reshape(-1)[0],
        "no rows": value[:0],
        "empty rows": value[..., :0],
    }
    if not whole:
        if isinstance(value, torch.Tensor):
            bad["complex"] = value * (1 + 1j)
        else:
            bad["complex"] = (value * (1 + 1j)).tolist()
        for name in ("nan", "inf"):
            spoilt = value.clone() if isinstance(value, torch.Tensor) else value.copy()
            spoilt.reshape(-1)[-1] = float(name)
            bad[{"nan": "NaN", "inf": "infinity"}[name]] = spoilt
    if isinstance(value, torch.Tensor):
        bad["another dtype"] = value.float() + 0.5 if whole else value.int()
        bad["a nested list"] = value.tolist() if value.ndim else [1.0]
    return bad


def _numeric(good: Sequence[Any]) -> bool:
    try:
        return bool(np.asarray(good, dtype=float).size)
    except (TypeError, ValueError):
        return False


def of_kind(good: Any) -> dict[str, Any]:
    """The catalogue in place of a good value, by what kind of value that is."""
    if isinstance(good, torch.Tensor | np.ndarray) and good.ndim:
        return NEVER | arrays(good)
    if isinstance(good, bool):
        return NEVER | {"one": 1, "NaN": math.nan, "a list": [True]}
    if isinstance(good, int):
        return NEVER | NUMBERS | WHOLE
    if isinstance(good, float | Fraction):
        return NEVER | NUMBERS
    if isinstance(good, str):
        return {name: bad for name, bad in NEVER.items() if name != "text"} | {
            "another text": "no such word",
            "NaN": math.nan,
            "a list": [good],
        }
    if isinstance(good, Sequence):
        return NEVER | (arrays(good) if _numeric(good) else {"a number": 1.0, "a set": {1}})
    if isinstance(good, Callable):
        return {name: bad for name, bad in NEVER.items() if name != "a type"} | {"a number": 1.0}
    return NEVER | {"a number": 1.0, "a list": [1.0]}
