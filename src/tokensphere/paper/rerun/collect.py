"""One table of what finished cells kept, and a figure of a value against a parameter."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from tokensphere import records
from tokensphere.paper import chapters
from tokensphere.paper.rerun import BadInput
from tokensphere.paper.rerun.kept import kept
from tokensphere.paper.rerun.store import PASSED, Entry, Store, write_whole

OF_CELL = ("chapter", "digest", "code", "seconds")
"""Columns that every row has; `code` has one value for each version of code and environment."""
TABLES = (".csv", ".parquet")
FIGURES = (".png", ".svg", ".pdf")


def table(store: Store, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each finished cell that kept one of `names`: OF_CELL, its parameters, the values.

    Raises BadInput for a name that no cell kept, or that a parameter or column has.
    """
    rows: list[dict[str, Any]] = []
    found: set[str] = set()
    for entry in store.entries():
        if entry.state != PASSED:
            continue
        values = _kept(store, entry)
        found |= values.keys()
        if not any(name in values for name in names):
            continue
        taken = [name for name in names if name in entry.values or name in OF_CELL]
        if taken:
            raise BadInput(f"{taken[0]!r} is both kept and a parameter of {entry.chapter}")
        own = (entry.chapter, entry.digest, _version(entry), entry.seconds)
        row = dict(zip(OF_CELL, own, strict=True)) | dict(entry.values)
        rows.append(row | {name: values.get(name) for name in names})
    missing = [name for name in names if name not in found]
    if missing:
        there = f"kept were {', '.join(sorted(found)) or 'no values'}"
        raise BadInput(f"no finished cell kept {missing[0]!r}; {there}")
    return rows


def versions(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Chapter -> number of versions of its code and environment, where they are more than one."""
    pairs = {(row["chapter"], row["code"]) for row in rows}
    counted = Counter(chapter for chapter, _ in pairs)
    return {chapter: count for chapter, count in sorted(counted.items()) if count > 1}


def write(rows: Sequence[dict[str, Any]], out: TextIO | str | os.PathLike[str]) -> None:
    """A table as CSV, to a stream or file, or as Parquet to a file that ends so.

    In CSV lists and other containers are JSON, and what a chapter does not have is empty.

    Raises BadInput for another ending, a folder that is not there, or Parquet without pyarrow.
    """
    columns = _columns(rows)
    if not isinstance(out, str | os.PathLike):
        writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _text(value) for key, value in row.items()} for row in rows)
        return
    path = place("--out", out, TABLES)
    if path.suffix == ".csv":
        text = io.StringIO()
        write(rows, text)
        write_whole(path, text.getvalue())
    else:
        _write_parquet(rows, columns, path)


def figure(
    rows: Sequence[dict[str, Any]], name: str, parameter: str, path: str | os.PathLike[str]
) -> None:
    """Draw a kept number against a parameter: a point a cell, and a line through the medians.

    Raises BadInput where a cell has no such number, none has such a parameter, or the file cannot
    be.
    """
    path = place("--figure", path, FIGURES)
    used = [row for row in rows if parameter in row and row[name] is not None]
    if not used or parameter in OF_CELL:
        raise BadInput(f"--against: no cell that kept {name!r} has a parameter {parameter!r}")
    for row in used:
        for key in (name, parameter):
            value = row[key]
            # Along the axis text and lists are taken too.
            if (key == name and not _is_number(value)) or _is_too_large(value):
                raise BadInput(f"--figure: {key!r} of {row['digest']} is no number: {value!r:.80}")
    from matplotlib.figure import Figure

    numeric = all(isinstance(row[parameter], int | float) for row in used)
    drawing = Figure(figsize=(6, 4), layout="constrained")
    axes = drawing.add_subplot()
    for chapter in dict.fromkeys(row["chapter"] for row in used):
        groups: dict[Any, list[float]] = {}
        for row in used:
            if row["chapter"] == chapter:
                at = row[parameter] if numeric else _text(row[parameter])
                groups.setdefault(at, []).append(row[name])
        places = sorted(groups) if numeric else list(groups)
        points = [(at, value) for at in places for value in groups[at]]
        (line,) = axes.plot(places, [statistics.median(groups[at]) for at in places], label=chapter)
        axes.plot(*zip(*points, strict=True), ".", color=line.get_color())
    axes.set(xlabel=parameter, ylabel=name)
    axes.legend(title="medians of cells", frameon=False)
    with records.write_whole(path) as stream:
        drawing.savefig(stream, format=path.suffix[1:])


def place(option: str, path: str | os.PathLike[str], endings: Sequence[str]) -> Path:
    """The path of a file that can be written; a mistyped folder is not made.

    Raises BadInput for another ending, or a folder that is not there; chapters.ChapterError for a
    folder's name, or where nothing can be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise BadInput(f"{option}: there is no folder {path.parent}")
    if path.suffix not in endings:
        raise BadInput(f"{option}: got {path.name!r}, takes a name in {' or '.join(endings)}")
    chapters.check_place(path, f"{option}:")
    return path


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_too_large(value: Any) -> bool:
    """Whether no axis has room for it: JSON holds NaN, infinity and integers of any size."""
    return _is_number(value) and not abs(value) <= sys.float_info.max


def _kept(store: Store, entry: Entry) -> dict[str, Any]:
    if entry.kept is not None:
        return dict(entry.kept)
    path = store.file(entry.chapter, entry.digest, ".ipynb")
    try:
        return kept(json.loads(path.read_text("utf-8")))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise BadInput(f"{path} is no notebook: run its cell again") from None


def _version(entry: Entry) -> str:
    made = json.dumps([dict(entry.code), dict(entry.versions)], sort_keys=True)
    return hashlib.sha256(made.encode()).hexdigest()[:8]


def _columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _text(value: Any) -> Any:
    return (
        value
        if isinstance(value, str | int | float | None)
        else json.dumps(value, ensure_ascii=False)
    )


def _write_parquet(rows: Sequence[dict[str, Any]], columns: list[str], path: Path) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise BadInput("--out: Parquet needs pyarrow: pip install pyarrow") from None
    try:
        arrays = {key: pyarrow.array([row.get(key) for row in rows]) for key in columns}
    except pyarrow.ArrowException as error:
        raise BadInput(f"--out: cells keep values of several types: {error}") from None
    with records.write_whole(path) as stream:
        pyarrow.parquet.write_table(pyarrow.table(arrays), stream)
