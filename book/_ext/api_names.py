"""Which names of the library have a place in the book, and on which page.

A page below `book/api/` says so with the directive `{api} ROOM` and names of modules in its
content. What it shows of a room is the room's `__all__`, or what its module defines; of a module,
the public names with a docstring that it defines and that the room does not give.
"""

import contextlib
import functools
import importlib
import inspect
import re
from dataclasses import dataclass
from typing import Any

import notebooks
from sphinx.pycode import ModuleAnalyzer

PACKAGE = "tokensphere"
DIRECTIVE = re.compile(r"^```\{api\} (\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Names:
    """The names of a module that a page shows, in its order."""

    module: str
    names: tuple[str, ...]


def shown(room: str, modules: str) -> list[Names]:
    """What the directive `{api} room` with this content shows."""
    full = f"{PACKAGE}.{room}"
    first = Names(full, tuple(room_names(full)))
    given = {id(attribute(f"{full}.{name}")) for name in first.names}
    rest = [
        Names(
            name, tuple(each for each in own(name) if id(attribute(f"{name}.{each}")) not in given)
        )
        for name in (f"{full}.{module}" for module in modules.split())
    ]
    return [first, *rest]


@functools.cache
def documented() -> dict[str, str]:
    """The page of each module and name that has one, by its full name."""
    found = {}
    for page in notebooks.pages():
        for room, modules in DIRECTIVE.findall(notebooks.source(page).read_text("utf-8")):
            for each in shown(room, modules):
                found[each.module] = page
                found |= {f"{each.module}.{name}": page for name in each.names}
    return found


@functools.cache
def _by_identity() -> dict[int, str]:
    return {id(attribute(name)): name for name in documented()}


def address(name: str) -> str | None:
    """The documented name of what this full name means, None where it has none.

    A function imported into another module, or found in its own, is the same function.
    """
    if name in documented():
        return name
    try:
        value = attribute(name)
    except (ImportError, AttributeError):
        return None
    own_name = _by_identity().get(id(value))
    # Small numbers and strings are shared by constants that have nothing else in common.
    return own_name if kind(value) != "data" else None


def attribute(name: str) -> Any:
    """A module, or what is in one, by its full name; of two with one name the function.

    Rooms give functions that are called as the modules that they come from.
    """
    module, _, last = name.rpartition(".")
    if module:
        with contextlib.suppress(ModuleNotFoundError, AttributeError):
            return getattr(importlib.import_module(module), last)
    return importlib.import_module(name)


def room_names(room: str) -> list[str]:
    """What a room offers under its own name, in alphabetical order; else what it defines."""
    module = importlib.import_module(room)
    if not hasattr(module, "__all__"):
        return own(room)
    names = [name for name in module.__all__ if not inspect.ismodule(getattr(module, name))]
    return sorted(names, key=lambda name: (name.lower(), name))


@functools.cache
def own(module: str) -> list[str]:
    """The public names with a docstring that a module defines, in the order of its file."""
    loaded = importlib.import_module(module)
    analyzer = ModuleAnalyzer.for_module(module)
    analyzer.analyze()
    names = {name for scope, name in analyzer.attr_docs if not scope}
    names |= {
        name
        for name, value in vars(loaded).items()
        if kind(value) not in ("data", "module") and value.__module__ == module and value.__doc__
    }
    public = [name for name in names if not name.startswith("_") and hasattr(loaded, name)]
    return sorted(public, key=analyzer.tagorder.__getitem__)


def kind(value: Any) -> str:
    """Autodoc's word for what a value is."""
    if inspect.ismodule(value):
        return "module"
    if inspect.isclass(value):
        return "exception" if issubclass(value, BaseException) else "class"
    # A decorated function is no function, but has its name.
    return "function" if inspect.isroutine(value) or hasattr(value, "__wrapped__") else "data"
