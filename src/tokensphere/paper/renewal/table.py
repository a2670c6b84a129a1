"""Which command renews each record: ``renewals.toml``."""

from __future__ import annotations

import pkgutil
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tokensphere import records
from tokensphere.paper import ledger

FILE = ledger.FOLDER / "renewals.toml"
DRAFTS = ".renewing"
"""Folder in `results/` of what is being made."""


@dataclass(frozen=True)
class Renewal:
    """How one record is made, as ``renewals.toml`` says; its head explains the keys.

    Exactly one of `module`, `script` and `chapter` is given.
    """

    name: str
    module: str | None = None
    script: str | None = None
    chapter: str | None = None
    arguments: tuple[str, ...] = ()
    gpus: int = 0
    packages: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    asked: Mapping[str, Any] | tuple[str, ...] | None = None
    each_run: bool = False
    counts_gpus: bool = False

    @property
    def path(self) -> Path:
        return records.path(f"{self.name}.json")

    @property
    def data(self) -> tuple[str, ...]:
        """Names of the data that its arguments name."""
        named = re.findall(r"{(\w+)}", " ".join(self.arguments))
        return tuple(name for name in named if name not in ("record", "folder"))

    def command(self, places: Mapping[str, Any]) -> list[str]:
        """What Python is called with.

        places: paths by the names in braces; data that are not in it are written in capitals.
        """
        if self.chapter is not None:
            return [
                *("-m", "tokensphere.cli", "run", self.chapter, "-p", "scale", "full"),
                *("--out", f"{places['folder']}/{self.chapter.split('/')[-1]}.ipynb"),
            ]
        start = ["-m", self.module] if self.module is not None else [self.script]
        known = {name: name.upper() for name in self.data} | dict(places)
        return [*start, *(argument.format_map(known) for argument in self.arguments)]

    def by_hand(self) -> list[str]:
        """The command as one types it in the checkout, data in capitals."""
        folder = "results" if self.chapter is None else "."
        return ["python", *self.command({"record": f"results/{self.name}.json", "folder": folder})]

    def parameters(self) -> dict[str, Any] | None:
        """Those that the book asks for now, None where the code alone decides.

        Imports what it names. Raises ImportError where that needs what is not installed.
        """
        if not isinstance(self.asked, tuple):
            return None if self.asked is None else dict(self.asked)
        place, *arguments = self.asked
        found = pkgutil.resolve_name(place)
        return dict(found(*arguments) if callable(found) else found)


def renewals() -> dict[str, Renewal]:
    """All of them by name, in the order in which they are renewed.

    Raises ValueError for a key that is unknown, for other than one thing to run, for data that no
    name is given for, for a record that is read before its turn.
    """
    known = {field.name for field in fields(Renewal)} - {"name"}
    found: dict[str, Renewal] = {}
    for name, entry in _content()["record"].items():
        where = f"{FILE.name}: {name}"
        if unknown := sorted(entry.keys() - known):
            raise ValueError(f"{where} has the unknown key {unknown[0]}")
        if len(entry.keys() & {"module", "script", "chapter"}) != 1:
            raise ValueError(f"{where} takes one of module, script and chapter")
        plain = {key: tuple(v) if isinstance(v, list) else v for key, v in entry.items()}
        found[name] = Renewal(name, **plain)
        if unknown := sorted(set(found[name].data) - data_names().keys()):
            raise ValueError(f"{where} needs {unknown[0]}, of which [data] says nothing")
        if unknown := sorted(set(found[name].reads) - found.keys()):
            raise ValueError(f"{where} reads {unknown[0]}, which is not above it")
    return found


def data_names() -> dict[str, tuple[str, ...]]:
    """By the data's name: the names that it may have in a folder."""
    return {name: tuple(files) for name, files in _content()["data"].items()}


def _content() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text("utf-8"))
