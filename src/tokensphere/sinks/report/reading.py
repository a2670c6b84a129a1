"""A report's document, read back from its sinks.json: whole as far as comparisons need it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokensphere import records
from tokensphere.sinks.report.template import KINDS
from tokensphere.sinks.scores import VARIANTS

__all__ = ["file_of", "read_report"]

MOST = 2**63
"""No count is larger, nor an integer that a float does not hold."""
_NONE = type(None)
_NUMBER = (int, float)
_ESTIMATE = {name: [(int, float, _NONE)] for name in ("mean", "low", "high")}
_TAKES = {
    "model": {"class": str, "parameters": int, "dtype": str, "mixers": int},
    "prompts": {"count": int, "lengths": [int], "digest": str},
    "threshold": _NUMBER,
    "channels": (int, _NONE),
    "seed": int,
    "uniform": {"mean": [(int, float, _NONE)]},
    "layers": [
        {
            "index": int,
            "name": str,
            "reverse": bool,
            "channels": int,
            "total": int,
            "scores": {"absolute": _ESTIMATE},
            "verdict": {"outcome": str, "kind": (str, _NONE)},
        }
    ],
    "directions": [
        {
            "reverse": bool,
            "sink": {variant: {"prompts": {"after_threshold": _ESTIMATE}} for variant in VARIANTS},
        }
    ],
}
"""What comparisons read of a document. Of a key a pattern; of a list one of each entry, of which
there is one at least; else a type, or several."""


def read_report(report: str | os.PathLike[str]) -> dict[str, Any]:
    """The document of a report's folder, or of its sinks.json: data of `report.measure_model`.

    The code that wrote it may be older than this: what is read are its numbers. Where it has a
    digest of its content, as every record has by now, that is checked.

    Raises:
        FileNotFoundError; ValueError for what is no such document, or lacks what is compared.
    """
    path = file_of(report)
    if not path.is_file():
        raise FileNotFoundError(f"reports: no such report: {path}")
    try:
        text = path.read_text("utf-8")
        content = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
        data = content["data"]
        # Reports of earlier versions have none, and measuring them again may take a day.
        if "digest" in content and content["digest"] != records.content_digest(content):
            raise _Damage("its digest is not that of its content, which was changed by hand")
        _check(data, _TAKES, "data")
        _check_whole(data)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        why = ""
        if type(error) is KeyError:
            why = f", or of an earlier version: it lacks {error}"
        elif type(error) is _Damage:
            why = f": {error}"
        elif type(error) is RecursionError:
            why = ": it is nested too deeply"
        raise ValueError(f"reports: {path} is no sinks.json of a report{why}") from None
    return data


def file_of(report: str | os.PathLike[str]) -> Path:
    """The sinks.json of a report's folder; any other path as it is."""
    path = Path(report)
    return path / "sinks.json" if path.is_dir() else path


class _Damage(ValueError):
    """What is wrong with a document, in words."""


def _check(value: Any, takes: Any, where: str) -> None:
    if isinstance(takes, dict):
        if not isinstance(value, Mapping):
            raise _Damage(f"{where} is {_short(value)}")
        for key, each in takes.items():
            _check(value[key], each, f"{where}.{key}")
    elif isinstance(takes, list):
        if not isinstance(value, list) or not value:
            raise _Damage(f"{where} is {_short(value)}")
        for place, entry in enumerate(value):
            _check(entry, takes[0], f"{where}[{place}]")
    else:
        # A bool is an int to Python alone.
        takes = takes if isinstance(takes, tuple) else (takes,)
        if type(value) not in takes:
            raise _Damage(f"{where} is {_short(value)}")
        if type(value) is int and abs(value) > MOST:
            raise _Damage(f"{where} is a number of {len(str(abs(value)))} digits")
        if type(value) is str and value != value.encode(errors="ignore").decode():
            raise _Damage(f"{where} is {_short(value)}")


def _check_whole(data: Mapping[str, Any]) -> None:
    """What holds between the parts, and is optional."""
    for name in ("name", "revision"):
        _check(data["model"].get(name), (str, _NONE), f"data.model.{name}")
    _check(data["prompts"].get("texts"), (str, _NONE), "data.prompts.texts")
    data["prompts"]["replace_with"]
    if len(data["prompts"]["lengths"]) != 3:
        raise _Damage(f"data.prompts.lengths is {_short(data['prompts']['lengths'])}")
    firsts = {"uniform.mean": data["uniform"]["mean"][0]}
    for place, layer in enumerate(data["layers"]):
        if not 0 <= layer["index"] < data["model"]["mixers"]:
            raise _Damage(f"data.layers[{place}].index is {layer['index']}")
        verdict = layer["verdict"]
        if (kind := verdict["kind"] or verdict["outcome"]) not in KINDS:
            raise _Damage(f"data.layers[{place}].verdict is {_short(kind)}")
        for name in _ESTIMATE:
            where = f"layers[{place}].scores.absolute.{name}"
            firsts[where] = layer["scores"]["absolute"][name][0]
    for where, value in firsts.items():
        _check(value, _NUMBER, f"data.{where}[0]")
    sides = {layer["reverse"] for layer in data["layers"]}
    if {direction["reverse"] for direction in data["directions"]} != sides:
        raise _Damage("data.directions are not those of data.layers")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Damage(f"it holds {max(names, key=names.count)!r} twice")
    return found


def _no_constant(name: str) -> None:
    raise _Damage(f"it holds {name}")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
