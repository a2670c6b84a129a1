"""A cell of a batch: a chapter with parameters, named by all that its results are made from.

The name is a digest of the chapter's code, the parameters, the code of this package that the
chapter can reach, and the versions of Python and of libraries. Prose, comments and docstrings do
not count, as in records. Records in ``results/`` are data that a chapter at full scale may renew:
they do not count either.
"""

from __future__ import annotations

import hashlib
import json
import re
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from tokensphere import records
from tokensphere.paper import chapters, ledger

LIBRARIES = (
    *(name for name in records.LIBRARIES if name != records.PACKAGE),
    *("sympy", "python-flint", "numba", "scikit-learn", "transformers", "tokenizers", "typeseg"),
    *("timm", "mambavision", "mamba-ssm", "causal-conv1d"),
)
"""Those that chapters compute with. A version of one that draws changes no number."""
LEDGER = "tokensphere.paper.ledger"


@dataclass(frozen=True)
class Chapter:
    """A chapter that cells are made of.

    name: its path within the book without suffix; the stem of a file outside of it.
    kinds, defaults: of its parameters; None and absent where its cell does not tell.
    code: what it runs -> digest: itself under its name, modules, statements that it shows.
    stamps: the files of that code -> time of change, ns, and size, bytes.
    outside: whether it is in no book, so that another file may have its name.
    """

    name: str
    source: Path
    kinds: Mapping[str, type | None]
    defaults: Mapping[str, Any]
    code: Mapping[str, str]
    stamps: Mapping[str, tuple[int, int]]
    outside: bool = False


@dataclass(frozen=True)
class Cell:
    """A chapter with parameters; `make` checks and simplifies them.

    parameters: those that differ from the chapter's defaults.
    """

    chapter: Chapter
    parameters: Mapping[str, Any]

    @property
    def values(self) -> dict[str, Any]:
        """All parameters of the chapter whose value is known."""
        return {**self.chapter.defaults, **self.parameters}

    @cached_property
    def digest(self) -> str:
        """Sixteen hexadecimal digits; among 10,000 cells two alike have odds of 1 in 10^11."""
        parts = [self.chapter.name, dict(self.chapter.code), environment(), self.values]
        return hashlib.sha256(_canonical(parts).encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        return label(self.chapter.name, self.parameters)

    @property
    def source(self) -> str | None:
        """The chapter's file where that is in no book."""
        return str(self.chapter.source) if self.chapter.outside else None

    @property
    def same(self) -> str:
        return same(self.chapter.name, self.source, self.values)


def label(chapter: str, parameters: Mapping[str, Any]) -> str:
    """A cell in one line: its chapter and what is not as the chapter has it."""
    return " ".join([chapter, *(f"{key}={_canonical(v)}" for key, v in parameters.items())])


def same(chapter: str, source: str | None, values: Mapping[str, Any]) -> str:
    """Equal for the versions of one cell, whatever code they were made by."""
    return _canonical([chapter, source, dict(values)])


def make(chapter: Chapter, parameters: Mapping[str, Any]) -> Cell:
    """A cell, its parameters checked; those equal to the chapter's default are left out.

    Raises chapters.ChapterError for an unknown name, another type, a number that is not finite.
    """
    values = chapters.checked(parameters, chapter.kinds, chapter.name)
    # As text: to Python True, 1 and 1.0 are equal, to a chapter they are not.
    default = {name: _canonical(value) for name, value in chapter.defaults.items()}
    return Cell(chapter, {k: v for k, v in values.items() if _canonical(v) != default.get(k)})


def read(name: str | Path) -> Chapter:
    """The chapter of a name or file, as `chapters.find` takes it, with the digests of its code.

    Raises chapters.ChapterError.
    """
    source = chapters.find(name)
    before = stamp(source)
    notebook = chapters.read(source)
    name, outside = _name(source)
    scripts = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    modules = {module for script in scripts for module in _modules(script)}
    statements: dict[str, Path] = {}
    try:
        reached = records.dependencies(modules, engines=True)
        if LEDGER in reached:
            checks, statements = _ledger(name)
            reached |= records.dependencies(checks, engines=True)
    except (ValueError, SyntaxError) as error:
        raise chapters.ChapterError(f"the code of chapter {name!r}: {error}") from None
    files = {module: records.source_file(module) for module in reached} | statements
    stamps = {module: stamp(path) for module, path in files.items()}
    code = {
        name: hashlib.sha256("\n".join(map(_digest, scripts)).encode()).hexdigest(),
        **{module: _of_file(path, *stamps[module]) for module, path in files.items()},
    }
    return Chapter(
        name=name,
        source=source,
        kinds=chapters.declared(notebook),
        # Of another one, a set say, its text in the chapter's code tells.
        defaults={k: v for k, v in chapters.defaults(notebook).items() if chapters.is_plain(v)},
        code=code,
        stamps={str(source): before, **{str(files[module]): stamps[module] for module in files}},
        outside=outside,
    )


@cache
def environment() -> dict[str, str | None]:
    """Version of Python and of what chapters compute with, None for what is not installed."""
    return records.versions(LIBRARIES)


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The names whose digests or versions are not the same in both."""
    return sorted(key for key in {*then, *now} if then.get(key) != now.get(key))


def _name(source: Path) -> tuple[str, bool]:
    """The name of a chapter, and whether it is in no book."""
    for folder in source.parents:
        if (folder / "_toc.yml").is_file():
            return source.relative_to(folder).with_suffix("").as_posix(), False
    return source.stem, True


def _modules(script: str) -> list[str]:
    try:
        return records.imports(script, "")
    except SyntaxError:  # of IPython: a magic, a question mark, x = !ls
        from IPython.core.inputtransformer2 import TransformerManager

        # What a magic is given may be an import, or with two signs the whole cell.
        script = re.sub(r"\A\s*%%.*", "", script)
        script = re.sub(r"^(\s*)%\w+ +(?=(from|import)\b)", r"\1", script, flags=re.MULTILINE)
        try:
            return records.imports(TransformerManager().transform_cell(script), "")
        except SyntaxError:  # another language's
            return []


def _digest(script: str) -> str:
    try:
        return records.digest(script)
    except (SyntaxError, tokenize.TokenError):
        return hashlib.sha256(script.encode()).hexdigest()


def _ledger(name: str) -> tuple[list[str], dict[str, Path]]:
    """The checks of a chapter's statements, named there in TOML, and its file of statements."""
    statements = ledger.FOLDER / "statements" / f"{name}.toml"
    if not statements.is_file():
        return [], {}
    package = Path(records.ROOT, "paper", "checks", name.replace("-", "_"))
    files = [package.with_suffix(".py"), *package.glob("*.py")]
    root = records.ROOT.parent
    found = [file.relative_to(root).with_suffix("").parts for file in files if file.is_file()]
    modules = [".".join(parts).removesuffix(".__init__") for parts in found]
    return modules, {f"statements/{name}": statements}


def stamp(path: str | Path) -> tuple[int, int]:
    """When a file was changed last, in ns, and its size in bytes."""
    found = Path(path).stat()
    return found.st_mtime_ns, found.st_size


@cache
def _of_file(path: Path, *stamp: int) -> str:
    """The digest of a file as it was at that stamp: many chapters share most of theirs."""
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        return records.digest(text)
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
