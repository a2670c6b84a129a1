"""Which records match the code and the parameters beside them, and why the others do not."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from tokensphere import records
from tokensphere.paper.renewal.table import Renewal, renewals

FRESH, STALE, DAMAGED, MISSING = "fresh", "stale", "damaged", "missing"
REQUIRES = "requires"
"""The parameter by which a record says of which versions alone it holds: {"torch": ">=2.11"}."""


@dataclass(frozen=True)
class State:
    """A record beside the code.

    name: its path in `results/` without suffix.
    state: fresh; stale, as `reasons` say; damaged, a file that is no whole record; missing.
    record: None where it is damaged or missing.
    versions: library -> the version it was made with and the one here, where they differ.
    unchecked: what could not be compared, and why; None if all was.
    renewal: how it is made; None where no command is known.
    """

    name: str
    state: str
    reasons: tuple[str, ...]
    record: records.Record | None
    versions: Mapping[str, tuple[str | None, str | None]]
    unchecked: str | None
    renewal: Renewal | None


def states() -> list[State]:
    """Of every record that a command renews, in that order, and of every other in `results/`.

    Imports the modules that say which parameters the book asks for. Raises FileNotFoundError where
    the package was installed without its checkout.
    """
    table = renewals()
    made = {records.path(file) for renewal in table.values() for file in renewal.beside}
    folder = records.path("")
    others = {
        file.relative_to(folder).with_suffix("").as_posix()
        for file in sorted(folder.rglob("*.json"))
        # Hidden: what is being written. Partial: a survey that was stopped.
        if not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and not file.name.endswith(".partial.json")
        and file not in made
    }
    return [state(name, table.get(name)) for name in [*table, *sorted(others - table.keys())]]


def state(name: str, renewal: Renewal | None) -> State:
    """Of one record."""
    file = records.path(f"{name}.json")
    try:
        record = records.read(file)
    except FileNotFoundError:
        return State(name, MISSING, (f"no {file.name}",), None, {}, None, renewal)
    except (ValueError, OSError) as error:
        return State(name, DAMAGED, (str(error),), None, {}, None, renewal)
    parameters, unchecked = None, None
    if renewal is not None:
        try:
            parameters = renewal.parameters()
        # ValueError: of files beside the code, such as configurations.
        except (ImportError, ValueError, OSError) as error:
            unchecked = f"parameters were not compared: {error}"
    reasons = records.staleness(record, parameters)
    reasons += _unmet(record)
    reasons += _outrun(record, renewal.reads if renewal else ())
    return State(
        name=name,
        state=STALE if reasons else FRESH,
        reasons=tuple(reasons),
        record=record,
        versions=_versions(record),
        unchecked=unchecked,
        renewal=renewal,
    )


def _unmet(record: records.Record) -> list[str]:
    """Versions that a record says it holds for, and that are not those here."""
    reasons = []
    required = record.parameters.get(REQUIRES)
    for library, text in required.items() if isinstance(required, dict) else ():
        here = _here(library)
        try:
            met = here is not None and SpecifierSet(str(text)).contains(here, prereleases=True)
        except InvalidSpecifier:
            met = False
        if not met:
            reasons.append(f"it holds for {library} {text}, here is {here or 'none'}")
    return reasons


def _outrun(record: records.Record, reads: tuple[str, ...]) -> list[str]:
    """Records that it was made from and that are newer than it."""
    reasons = []
    for name in reads:
        try:
            other = records.read(records.path(f"{name}.json"))
        except (ValueError, OSError):
            continue  # said of that one
        if other.date > record.date:  # both ISO 8601 in UTC
            reasons.append(f"{name}, which it reads, is newer")
    return reasons


def _versions(record: records.Record) -> dict[str, tuple[str | None, str | None]]:
    # The package's own version says nothing that the digests of its modules do not.
    libraries = [name for name in record.versions if name != records.PACKAGE]
    pairs = {name: (record.versions[name], _here(name)) for name in libraries}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _here(library: str) -> str | None:
    if library == "python":
        return platform.python_version()
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def plain(state: State) -> dict[str, Any]:
    """As JSON values: what the command prints."""
    record = state.record
    made = ("device", "date", "seconds", "commit", "dirty", "seed")
    versions = {name: {"made with": a, "here": b} for name, (a, b) in state.versions.items()}
    found = {
        "name": state.name,
        "state": state.state,
        "reasons": list(state.reasons),
        "unchecked": state.unchecked,
        **{key: getattr(record, key) if record else None for key in made},
        "versions": versions,
        "command": None,
        "needs": None,
    }
    if (renewal := state.renewal) is not None:
        found["command"] = renewal.by_hand()
        found["needs"] = {
            "gpus": renewal.gpus,
            "data": list(renewal.data),
            "packages": list(renewal.packages),
        }
    return found
