"""What public functions take, checked once, at the door.

    @takes(S_BC=tensor("...", "D", "D"), y0=tensor("...", "D", unit=True), horizon=positive())
    def settle(S_BC, y0, horizon=2000.0): ...

A door only refuses. It hands on the very objects that it was given, and a decorated function
returns what the bare one does. So decorators and this import are no code to `records`.

Every refusal is one line, "name: got this, takes that": a ValueError, and for what is no number,
array or tensor at all a :class:`WrongKind`, which is a TypeError too. Letters of axes, and dtypes
and devices of tensors, are those of one call: where two arguments differ, the later one is refused.

Values are looked at where that is free of consequences: in arrays, and in plain tensors on the
CPU. A look at a tensor on a GPU would wait for it, one at a tensor that a transform, a tracer or a
compiler watches would change what they see; of these shape, dtype and device are checked alone,
and under `torch.compile` nothing is.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from .arrays import array, exact, tensor
from .rules import (
    Rule,
    Seen,
    WrongKind,
    at_least,
    device,
    each,
    either,
    flag,
    function,
    instance,
    number,
    one_of,
    optional,
    positive,
    share,
    text,
    whole,
)

__all__ = [
    "Rule",
    "WrongKind",
    "array",
    "at_least",
    "device",
    "each",
    "either",
    "exact",
    "flag",
    "function",
    "instance",
    "number",
    "one_of",
    "optional",
    "positive",
    "share",
    "takes",
    "tensor",
    "text",
    "whole",
]

F = TypeVar("F", bound=Callable[..., Any])


def takes(**rules: Rule) -> Callable[[F], F]:
    """A decorator that checks the arguments named in `rules`, in this order, and nothing else.

    Defaults are not checked. Of a class the arguments of its `__init__` are. The rules are kept as
    the attribute `door`, by name.
    """

    def decorate(function: F) -> F:
        if isinstance(function, type):
            initialise = function.__init__  # type: ignore[misc]
            function.__init__ = takes(**rules)(initialise)  # type: ignore[misc]
            return function
        named = inspect.signature(function).parameters
        if unknown := rules.keys() - named.keys():
            raise TypeError(f"{function.__qualname__}: has no argument {', '.join(unknown)}")
        places = {name: place for place, name in enumerate(named)}
        alone = {name for name, one in named.items() if one.kind is one.KEYWORD_ONLY}
        wanted = [
            (sys.maxsize if name in alone else places[name], name, rule.check)
            for name, rule in rules.items()
        ]
        # A module that loads torch has loaded it before it defines anything.
        torch = sys.modules.get("torch")
        compiling = torch.compiler.is_compiling if torch else bool

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            if not compiling():
                count, seen = len(args), Seen()
                for place, name, check in wanted:
                    if place < count:
                        check(name, args[place], seen)
                    elif name in kwargs:
                        check(name, kwargs[name], seen)
            return function(*args, **kwargs)

        checked.door = rules  # type: ignore[attr-defined]
        return checked  # type: ignore[return-value]

    return decorate
