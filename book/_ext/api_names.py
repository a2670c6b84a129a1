"""Which names of the library have a place in the book, and on which page.

A page below `book/api/` says so with the directive `{api} MODULE`. What it shows of a room is the
room's `__all__`, or what its module defines; of a module in a room, the public names with a
docstring that it defines and that the room does not give.
"""

import contextlib
import functools
import importlib
import inspect
import re
from typing import Any

import notebooks
from sphinx.pycode import ModuleAnalyzer

PACKAGE = "tokensphere"
DIRECTIVE = re.compile(r"^```\{api\} ([\w.]+)$", re.MULTILINE)


def shown(module: str) -> list[str]:
    """The names that the directive shows of a module, by its name within the package."""
    full, room = f"{PACKAGE}.{module}", f"{PACKAGE}.{module.partition('.')[0]}"
    if full == room:
        return room_names(room)
    given = {id(attribute(f"{room}.{name}")) for name in room_names(room)}
    return [name for name in own(full) if id(attribute(f"{full}.{name}")) not in given]


@functools.cache
def documented() -> dict[str, str]:
    """The page of each module and name that has one, by its full name."""
    found = {}
    for page in notebooks.pages():
        for module in DIRECTIVE.findall(notebooks.source(page).read_text("utf-8")):
            full = f"{PACKAGE}.{module}"
            found |= dict.fromkeys([full, *(f"{full}.{name}" for name in shown(module))], page)
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
