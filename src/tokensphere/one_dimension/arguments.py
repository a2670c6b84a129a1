"""What the functions of this package take, checked once. Every check names the argument."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from torch import Tensor


def number(name: str, value: float) -> float:
    """A finite number, as a float."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: got {value!r}, takes a number") from None
    if isinstance(value, (bool, str)) or not math.isfinite(found):
        raise ValueError(f"{name}: got {value!r}, takes a finite number")
    return found


def positive(name: str, value: float) -> float:
    """A finite number above zero, as a float."""
    found = number(name, value)
    if not found > 0:
        raise ValueError(f"{name}: got {value!r}, takes a positive number")
    return found


def tokens(name: str, value: Sequence[float] | Tensor) -> tuple[float, ...]:
    """One or more finite numbers, (L,)."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    try:
        found = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: got {value!r}, takes numbers (L,)") from None
    if found.ndim != 1 or not len(found):
        raise ValueError(f"{name}: shape {found.shape}, takes (L,) with L > 0")
    if not np.isfinite(found).all():
        raise ValueError(f"{name}: holds NaN or infinity")
    return tuple(found.tolist())


def as_time(log_time: float) -> float:
    """e^log_time; ValueError where no float holds it."""
    if not abs(log_time) < 700.0:
        raise ValueError(f"mu, s, x0: the blow-up's time is e^{log_time:g}, which no float holds")
    return math.exp(log_time)


@dataclass(frozen=True)
class Line:
    """Parameters and first values of tokens on the line, x_l' = mu x_l W_l.

    Raises ValueError that names mu, s, a or x0.
    """

    mu: float
    s: float
    a: float
    x0: tuple[float, ...]

    @classmethod
    def of(cls, mu: float, s: float, a: float, x0: Sequence[float] | Tensor) -> "Line":
        return cls(number("mu", mu), number("s", s), positive("a", a), tokens("x0", x0))

    @cached_property
    def moving(self) -> list[int]:
        """The indices, from 0, of tokens that are not zero."""
        return [l for l, value in enumerate(self.x0) if value != 0.0]

    @cached_property
    def gaps(self) -> list[int]:
        """For each moving token the distance to the one before; 1 for the first."""
        places = self.moving
        return [1, *(l - k for k, l in pairwise(places))][: len(places)]

    @property
    def blows_up(self) -> bool:
        """Whether some token's own step does not vanish as it grows, mu > 0."""
        return self.mu > 0.0 and any(
            self.s * math.copysign(1.0, self.x0[l]) >= 0 for l in self.moving
        )
