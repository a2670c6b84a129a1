"""Which cells a batch has: the chapters named, or a grid of their parameters' values in YAML.

    setting/flow:
      seed: [0, 1, 2]            # lists of values: their product
      draws: [6, 12]
    experiments/reordered_training:
      - {seed: 1, depths: [64]}  # or a list of points
      - {seed: 2, depths: [64, 256]}

A parameter whose values are lists takes a list of lists in a product: `depths: [[64], [64, 256]]`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from tokensphere.paper import chapters
from tokensphere.paper.rerun import BadInput, cells
from tokensphere.paper.rerun.cells import Cell, Chapter


def build(
    names: Sequence[str],
    parameters: Mapping[str, Any],
    grid: str | os.PathLike[str] | None = None,
    scale: str | None = None,
) -> list[Cell]:
    """The cells of a batch, each once, in the order of the grid or of the book's files.

    names: chapters, as `chapters.find` takes them; none means all of the grid, or of the book.
    parameters: of every cell.
    grid: a YAML file, as above; an empty product or `{}` is one cell with the defaults.
    scale: the parameter of that name in chapters that have it.

    Raises BadInput for a grid that cannot be read, or that gives a parameter twice;
    chapters.ChapterError for chapters, names and types, before anything runs.
    """
    made = {}
    points = list(_points(names, grid))
    sources: dict[str, Path] = {}
    for chapter, _ in points:
        if (other := sources.setdefault(chapter.name, chapter.source)) != chapter.source:
            raise BadInput(
                f"{other} and {chapter.source} are both {chapter.name!r}: a batch has one of them"
            )
    if scale is not None and not any("scale" in chapter.kinds for chapter, _ in points):
        raise BadInput("--scale: none of the chapters has a scale")
    for chapter, point in points:
        twice = sorted(point.keys() & parameters.keys())
        if twice:
            raise BadInput(f"{grid}: {chapter.name}: {twice[0]} is given by -p too")
        values = {**point, **parameters}
        if scale is not None and "scale" in chapter.kinds:
            if "scale" in values:
                raise BadInput(f"{chapter.name}: scale is given by --scale and once more")
            values["scale"] = scale
        cell = cells.make(chapter, values)
        made[cell.digest] = cell
    return list(made.values())


def parameters(pairs: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Names and values as one writes them on a command line; BadInput for a name given twice."""
    names = [name for name, _ in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadInput(f"-p: {twice[0]} is given twice; several values are for rerun --grid")
    return {name: value(text) for name, text in pairs}


def value(text: str) -> Any:
    """A parameter's value as one writes it on a command line: as in a grid, or else plain text.

    All of the text is the value: what YAML takes for a comment is no less of it.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None or text[node.end_mark.index :].strip():
            return text
        found = loader.construct_document(node)
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        return text if plain and isinstance(found, str) else found
    except yaml.YAMLError:
        return text
    except RecursionError:
        raise BadInput("-p: lists are nested too deeply") from None


def _points(
    names: Sequence[str], grid: str | os.PathLike[str] | None
) -> Iterator[tuple[Chapter, dict[str, Any]]]:
    if grid is None:
        for chapter in [cells.read(name) for name in names] or _all():
            yield chapter, {}
        return
    found = [(cells.read(name), points) for name, points in _read(Path(grid)).items()]
    wanted = {name: chapters.find(name) for name in names}
    for name, source in wanted.items():
        if source not in [chapter.source for chapter, _ in found]:
            raise BadInput(f"{grid}: has no chapter {name!r}")
    for chapter, points in found:
        if not wanted or chapter.source in wanted.values():
            for point in _expanded(f"{grid}: {chapter.name}", points):
                yield chapter, point


def _all() -> Iterator[Chapter]:
    """Every chapter of the book that has code."""
    for name, source in chapters.pages(chapters.book_folder()).items():
        if "{code-cell}" in source.read_text("utf-8"):
            yield cells.read(name)


def _expanded(where: str, points: Any) -> Iterator[dict[str, Any]]:
    if isinstance(points, dict):
        for name, values in points.items():
            if not isinstance(values, list) or not values:
                raise BadInput(f"{where}: {name} takes a list of values, got {values!r}")
        for combination in product(*points.values()):
            yield dict(zip(points, combination, strict=True))
    elif isinstance(points, list) and points:
        for i, point in enumerate(points, 1):
            if not isinstance(point, dict):
                raise BadInput(f"{where}: point {i} takes {{name: value}}, got {point!r}")
            yield point
    else:
        raise BadInput(f"{where} takes lists of values by name, or a list of points")


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as stream:
            content = yaml.load(stream, _Loader)  # noqa: S506  a SafeLoader that takes less
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"--grid: {path} cannot be read: {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise BadInput(f"{path}{line}: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise BadInput(f"{path}: lists are nested too deeply") from None
    if not isinstance(content, dict) or not content:
        raise BadInput(f"{path}: takes chapters with their parameters, got {content!r:.80}")
    return content


class _Loader(yaml.SafeLoader):
    """YAML without its surprises: a number is what Python takes for one, names are not repeated.

    To YAML 1.1, which PyYAML reads, 1e-9 is text, 12:30 is 750 and 2026-01-01 a date.
    """

    def get_event(self) -> yaml.Event:
        event = super().get_event()
        if getattr(event, "tag", None) is not None:
            where = event.start_mark
            raise yaml.constructor.ConstructorError(None, None, f"has the tag {event.tag}", where)
        return event

    def scalar(self, node: yaml.ScalarNode) -> Any:
        if node.style is None:
            for number in (int, float):
                try:
                    return number(node.value)
                except ValueError:
                    continue
        return node.value

    def mapping(self, node: yaml.MappingNode) -> Iterator[dict[str, Any]]:
        result: dict[str, Any] = {}
        yield result
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            problem = None
            if not isinstance(key, str):
                problem = f"the key {key!r} is no name"
            elif key in result:
                problem = f"{key} is there twice"
            if problem:
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            result[key] = self.construct_object(value_node, deep=True)


_STR, _MAP = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "map"))
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":bool", ":null"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor(_STR, _Loader.scalar)
_Loader.add_constructor(_MAP, _Loader.mapping)
