"""Rules for numbers and for whatever is no array; what a rule is."""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .values import is_tensor, kind_of, readable, say


class WrongKind(TypeError, ValueError):
    """What is no number, array or tensor at all. A ValueError too, as docstrings promise one."""


class Fault(NamedTuple):
    """Why a value is refused: what was got, and what more there is to say of what is taken."""

    got: str
    more: str = ""
    wrong_kind: bool = False


LARGEST_WHOLE = 2**63 - 1


@dataclass
class Seen:
    """What the arguments of one call have fixed for those after them, and which of them did."""

    name: str = ""
    sizes: dict[str, tuple[int, str]] = field(default_factory=dict)
    batches: dict[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    tensor: tuple[Any, str] | None = None


@dataclass(frozen=True)
class Rule:
    """What one argument may be: in words, and as a function that finds the fault of a value."""

    takes: str
    fault: Callable[[Any, Seen], Fault | None]

    def check(self, name: str, value: Any, seen: Seen) -> None:
        """Raises ValueError or WrongKind for a value that is not taken."""
        seen.name = name
        found = self.fault(value, seen)
        if found is not None:
            kind = WrongKind if found.wrong_kind else ValueError
            raise kind(f"{name}: got {found.got}, takes {self.takes}{found.more}")


def number(
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    below: float = math.inf,
    most: float = math.inf,
    finite: bool = True,
) -> Rule:
    """A real number, no bool; also an array or a tensor of no dimension. `above` and `below` are
    left out of its range, `least` and `most` are in it. Not `finite`: infinity is taken too."""

    def fault(value: Any, seen: Seen) -> Fault | None:
        if type(value) is not float:
            real = _real(value)
            if isinstance(real, Fault):
                return real
            if real is None:
                return None
            value = real
        inside = above < value < below or (not finite and value in (above, below))
        if inside and least <= value <= most:
            return None
        return Fault(say(value))

    bounds = {"above": above, "from": least, "below": below, "to": most}
    said = [f"{word} {bound:g}" for word, bound in bounds.items() if math.isfinite(bound)]
    if above == 0 and len(said) == 1:
        return Rule(f"a {'finite ' if finite else ''}number above 0", fault)
    return Rule(" ".join([f"a {'finite ' if finite else ''}number", *said]), fault)


def positive() -> Rule:
    """A finite number above 0."""
    return number(above=0.0)


def at_least(least: float) -> Rule:
    """A finite number of `least` or more."""
    return number(least=least)


def share(*, closed: bool = True) -> Rule:
    """A number from 0 to 1; not `closed`: neither 0 nor 1."""
    return number(least=0.0, most=1.0) if closed else number(above=0.0, below=1.0)


def whole(least: int | None = None, most: int | None = None) -> Rule:
    """An integer in [least, most], of Python, numpy or a tensor of no dimension; no bool. None of
    more than 64 bits, which neither arrays nor generators take."""
    low = -LARGEST_WHOLE if least is None else least
    high = LARGEST_WHOLE if most is None else most

    def fault(value: Any, seen: Seen) -> Fault | None:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            real = _real(value)
            if real is None or isinstance(real, Fault):
                return real
            if kind_of(value) != "i":
                return Fault(say(value))
            value = real
        return None if low <= value <= high else Fault(say(value))

    said = "a whole number"
    if least is not None and most is not None:
        said += f" from {least} to {most}"
    elif least is not None:
        said += f" of {least} or more"
    elif most is not None:
        said += f" up to {most}"
    return Rule(said, fault)


def _real(value: Any) -> float | Fault | None:
    """The value as a float; None for a tensor whose value is not looked at."""
    plain = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not plain:
        kind = kind_of(value)
        if kind not in ("f", "i") or value.ndim != 0:
            return Fault(say(value), wrong_kind=not isinstance(value, numbers.Complex) and not kind)
        if is_tensor(value):
            if not readable(value):
                return None
            value = value.detach()
    try:
        return float(value)
    except OverflowError:  # an integer or a fraction that no float holds
        return Fault("a number above the largest float")


def flag() -> Rule:
    """True or False, also numpy's."""

    def fault(value: Any, seen: Seen) -> Fault | None:
        ok = value is True or value is False or (kind_of(value) == "b" and value.shape == ())
        return None if ok else _no(value)

    return Rule("True or False", fault)


def text() -> Rule:
    """A str."""
    return instance(str, "text")


def device() -> Rule:
    """A torch.device, or the name of one."""

    def fault(value: Any, seen: Seen) -> Fault | None:
        torch = sys.modules["torch"]
        try:
            if isinstance(value, str | torch.device) and torch.device(value):
                return None
            return _no(value)
        except RuntimeError:
            return Fault(say(value))

    return Rule("the name of a device, such as cpu or cuda:0", fault)


def _no(value: Any) -> Fault:
    """Of a value that is of another kind altogether, unless it is a number."""
    return Fault(say(value), wrong_kind=not isinstance(value, numbers.Number))


def one_of(*choices: Any) -> Rule:
    """One of these, of the same type."""

    def fault(value: Any, seen: Seen) -> Fault | None:
        if any(type(value) is type(one) and value == one for one in choices):
            return None
        return Fault(say(value), wrong_kind=value is None)

    return Rule(f"one of {', '.join(map(repr, choices))}", fault)


def instance(kind: type | tuple[type, ...], called: str = "") -> Rule:
    """An object of this class, or of one of these."""
    kinds = kind if isinstance(kind, tuple) else (kind,)

    def fault(value: Any, seen: Seen) -> Fault | None:
        if isinstance(value, kinds):
            return None
        return _no(value)

    return Rule(called or f"a {' or '.join(one.__name__ for one in kinds)}", fault)


def function() -> Rule:
    """What can be called."""

    def fault(value: Any, seen: Seen) -> Fault | None:
        return None if callable(value) else Fault(say(value), wrong_kind=True)

    return Rule("a function", fault)


def optional(rule: Rule) -> Rule:
    """None, or what the rule takes."""

    def fault(value: Any, seen: Seen) -> Fault | None:
        return None if value is None else rule.fault(value, seen)

    return Rule(f"{rule.takes}, or None", fault)


def either(*rules: Rule) -> Rule:
    """What one of the rules takes."""

    def fault(value: Any, seen: Seen) -> Fault | None:
        faults = []
        for rule in rules:
            found = rule.fault(value, seen)
            if found is None:
                return None
            faults.append(found)
        # Of the rule that came nearest: it took the value's kind.
        near = next((one for one in faults if not one.wrong_kind), faults[0])
        return Fault(near.got, near.more, all(one.wrong_kind for one in faults))

    return Rule("; or ".join(rule.takes for rule in rules), fault)


def each(rule: Rule, least: int = 1) -> Rule:
    """A list or a tuple of `least` or more, each of which the rule takes."""

    def fault(value: Any, seen: Seen) -> Fault | None:
        if not isinstance(value, (list, tuple)):
            return _no(value)
        if len(value) < least:
            return Fault(f"{len(value)} of them")
        for place, one in enumerate(value):
            found = rule.fault(one, seen)
            if found is not None:
                return Fault(f"{found.got} at {place}", found.more, found.wrong_kind)
        return None

    return Rule(f"a list of {least} or more, each {rule.takes}", fault)
