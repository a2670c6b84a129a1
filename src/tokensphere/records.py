"""Records of long runs: small JSON files that say where their numbers came from.

A chapter shows numbers that took hours to compute from a record instead of computing them again.
That is honest only while the record still describes the code beside it, so a record holds a digest
of every module that its numbers depend on, and `load` refuses one whose code or parameters no
longer match. It holds a digest of its own content too, and one that was changed since is refused.

Of ENGINES a record depends on what they compute and not on how, as it depends on torch's matmul.

One file of over 400 lines, because it is one idea: what makes a record, and what refuses one.
"""

from __future__ import annotations

import ast
import contextlib
import errno
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import math
import os
import platform
import re
import secrets
import shutil
import subprocess
import time
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

PACKAGE = "tokensphere"
ROOT = Path(__file__).parent
ENGINES = (f"{PACKAGE}.s6",)
"""Modules that compute a function that is specified to rounding, each on several ways of which the
fastest is taken. Tests hold all ways to one reference, on a GPU as records of their own; a faster
way then voids no record but those that name the engine."""
DOOR = f"{PACKAGE}.door"
KEEPERS = (__name__, f"{PACKAGE}.checkpoint", DOOR)
"""Modules that make no number: a store keeps them to the bit, a door hands them on or refuses."""
LIBRARIES = ("numpy", "scipy", "torch", "torchdiffeq", PACKAGE)


def path(name: str) -> Path:
    """Where a record of this name is kept: `results/` in the checkout that the package runs from.

    Raises FileNotFoundError where the package was installed without its checkout.
    """
    folder = ROOT.parents[1] / "results"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{name}: records come with the repository, and {PACKAGE} was installed without it"
        )
    return folder / name


class StaleRecord(ValueError):
    """A record that the present code, or the parameters asked for, did not produce."""


@dataclass(frozen=True)
class Record:
    """What a long run gave, and where it came from.

    parameters: what the run was called with.
    seed: the seed of its generator, None where it drew nothing.
    device: name of the CPU or GPU.
    versions: versions of Python and of the libraries, None for one that is not installed.
    seconds: wall time of the run.
    date: when it was saved, ISO 8601, UTC.
    commit: the commit of the package, None outside a git checkout of it.
    dirty: whether the package's files differed from that commit, None where there is none.
    code: digest of every module the numbers depend on; None for one edited during the run.
    data: what was saved, as plain JSON values.
    files: name, from the record's folder -> SHA-256, of files that were made with it.
    """

    parameters: dict[str, Any]
    seed: int | None
    device: str
    versions: dict[str, str | None]
    seconds: float
    date: str
    commit: str | None
    dirty: bool | None
    code: dict[str, str | None]
    data: Any
    files: dict[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """:func:`content_digest` of the other fields: what its file holds under this name."""
        return content_digest({each.name: getattr(self, each.name) for each in fields(self)})

    def provenance(self) -> str:
        """One line of Markdown for a chapter: date, device, wall time, versions, commit."""
        versions = ", ".join(
            f"{name} {version}" for name, version in self.versions.items() if version
        )
        commit = "no commit known"
        if self.commit is not None:
            changed = " with uncommitted changes" if self.dirty else ""
            commit = f"commit `{self.commit[:10]}`{changed}"
        seed = "" if self.seed is None else f", seed {self.seed}"
        return (
            f"Recorded {self.date[:10]} on {self.device} in {duration(self.seconds)}{seed} "
            f"({versions}; {commit})."
        )


def save(
    path: str | os.PathLike[str],
    data: Any,
    *,
    parameters: Mapping[str, Any],
    code: Iterable[str],
    seconds: float,
    seed: int | None = None,
    device: Any = "cpu",
) -> Record:
    """Write the record of a run to `path`, whole or not at all, and return it.

    data, parameters: JSON values; arrays, tensors and their scalars become lists and numbers.
    code: the modules that computed the data, such as ["tokensphere.flow"]; what they import from
        this package is added, as :func:`dependencies` says.
    seconds: wall time of the run, up to this call.
    device: "cpu", "cuda:0" or a torch.device; its hardware's name is recorded.

    A module whose file changed within the last `seconds` may not be the code that ran. It is
    recorded without a digest: the data are kept, and `load` refuses them.

    Raises ValueError for NaN or infinity (naming the key), an unknown module or device, a module
    without code, bad seconds or seed; TypeError for what JSON cannot hold (naming the key).
    """
    path = Path(path)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"seconds: got {seconds!r}, takes a finite number >= 0")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise ValueError(f"seed: got {seed!r}, takes an int or None")
    commit, dirty = _commit()
    record = Record(
        data=_plain(data, "data"),
        parameters=_plain(dict(parameters), "parameters"),
        seed=seed,
        device=_device_name(device),
        versions=versions(LIBRARIES),
        seconds=round(float(seconds), 3),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit,
        dirty=dirty,
        code=_digests(code, since=time.time() - seconds),
    )
    _write(path, record)
    return record


def name_files(path: str | os.PathLike[str], names: Iterable[str]) -> Record:
    """Note the digests of files that were made with the record at `path`, and return it.

    names: paths from the record's folder. From then on `read` refuses the record without them, or
    with others in their place.

    Raises FileNotFoundError for a file that is not there; as `read`.
    """
    path = Path(path)
    found = {name: _file_digest(path.parent / name) for name in names}
    record = replace(read(path), files=found)
    _write(path, record)
    return record


def _write(path: Path, record: Record) -> None:
    # One field a line: a new record then shows in a diff which of them changed.
    lines = [
        f"{json.dumps(name)}: {json.dumps(getattr(record, name), allow_nan=False)}"
        for name in (*(each.name for each in fields(Record)), "digest")
    ]
    with write_whole(path) as stream:
        stream.write(("{\n" + ",\n".join(lines) + "\n}\n").encode())


def load(path: str | os.PathLike[str], *, parameters: Mapping[str, Any] | None = None) -> Record:
    """Read a record and refuse it where it does not match.

    parameters: what the caller would run with now; None leaves the recorded ones unchecked.

    Raises as `read`; StaleRecord, a ValueError, naming each module whose code changed and each
    parameter that differs.
    """
    record = read(path)
    reasons = staleness(record, parameters)
    if reasons:
        raise StaleRecord(f"{path}: stale record: {'; '.join(reasons)}")
    return record


def staleness(record: Record, parameters: Mapping[str, Any] | None = None) -> list[str]:
    """Why `load` would refuse a record, a line for each module and parameter; [] where it matches.

    Versions of libraries are no reason: a record is made on one machine and shown on others.
    """
    code = {module: digest for module, digest in record.code.items() if module not in KEEPERS}
    reasons = [_staleness(module, digest) for module, digest in code.items()]
    if parameters is not None:
        asked = _plain(dict(parameters), "parameters")
        reasons += [
            _difference(name, record.parameters, asked)
            for name in sorted(record.parameters.keys() | asked.keys())
        ]
    return [reason for reason in reasons if reason]


def digest(source: str) -> str:
    """SHA-256 of Python source without comments, docstrings, blank lines and trailing spaces; those
    inside a string count.

    A door is no code either: ``@takes(...)`` and ``from tokensphere.door import ...`` are left out,
    where the second stands in full at the module's top level and brings in the first. Works on the
    text, not on a dump of its syntax tree, which differs between versions of Python.
    """
    # Not str.splitlines: it also splits at form feeds, which ast and tokenize count as no line.
    lines = source.replace("\r\n", "\n").split("\n")
    text = "\n".join(lines)
    within = [False] * len(lines)  # whether a string goes on at the line's end
    starts = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "COMMENT":
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
        if kind in ("STRING", "FSTRING_START", "TSTRING_START"):
            starts.append(token.start[0])
        if kind in ("STRING", "FSTRING_END", "TSTRING_END"):
            first, last = starts.pop() - 1, token.end[0] - 1
            within[first:last] = [True] * (last - first)
    # A comment ends its line, so cutting it moved no column before it. Last docstring first:
    # cutting one moves only what follows it.
    tree = ast.parse(text)
    cut = [*_docstrings(tree), *_door(tree)]
    for node in sorted(cut, key=lambda n: (n.lineno, n.col_offset), reverse=True):
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        # ast counts columns in bytes of UTF-8.
        head = lines[first].encode()[: node.col_offset].decode()
        if head.strip() == "@":
            head = ""
        tail = lines[last].encode()[node.end_col_offset :].decode()
        lines[first : last + 1] = [head + tail]
        within[first : last + 1] = [within[last]]
    pairs = zip(lines, within, strict=True)
    kept = [line if inside else line.rstrip() for line, inside in pairs if inside or line.strip()]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest() if kept else ""


def digests(modules: Iterable[str]) -> dict[str, str]:
    """Of each of `modules` and their :func:`dependencies`, by name, as their files are now."""
    names = sorted(dependencies(modules))
    return {name: digest(_known_file(name).read_text("utf-8")) for name in names}


def dependencies(modules: Iterable[str], engines: bool = False) -> set[str]:
    """`modules` and every module of this package that they import, directly or through others.

    Imports are read off the source, wherever they stand in it; those by computed names are not
    seen. Left out are the KEEPERS, which make no number, and, unless `engines`, the ENGINES that
    `modules` does not name. Raises ValueError for a name that is no module of this
    package.
    """
    found: set[str] = set()
    waiting = list(modules)
    left_out = {*KEEPERS}
    if not engines:
        left_out |= {e for e in ENGINES if not any(_within(m, e) for m in waiting)}
    while waiting:
        module = waiting.pop()
        if module not in found and not any(_within(module, name) for name in left_out):
            found.add(module)
            waiting.extend(_imports(module))
    return found


def _within(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def _docstrings(tree: ast.Module) -> list[ast.expr]:
    """Strings that stand as statements: docstrings, and those under an attribute."""
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]


def _door(tree: ast.Module) -> list[ast.expr | ast.stmt]:
    """Imports of the door, and the decorators that they bring in."""
    imported = [
        node
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == DOOR and not node.level
    ]
    names = {alias.name for node in imported for alias in node.names if alias.asname is None}
    decorators = [
        one
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        for one in node.decorator_list
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one.func.id == "takes"
    ]
    return [*imported, *(decorators if "takes" in names else [])]


def source_file(module: str) -> Path | None:
    """The source file of a module of this package, None where there is none."""
    head, *rest = module.split(".")
    if head != PACKAGE:
        return None
    base = ROOT.joinpath(*rest)
    return next((p for p in (base / "__init__.py", base.with_suffix(".py")) if p.is_file()), None)


def _known_file(module: str) -> Path:
    file = source_file(module)
    if file is None:
        raise ValueError(f"code: {module!r} is no module of {PACKAGE}")
    return file


def _imports(module: str) -> list[str]:
    file = _known_file(module)
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    found = file.stat()
    return _imported(file, package, found.st_mtime_ns, found.st_size)


@cache
def _imported(file: Path, package: str, *stamp: int) -> list[str]:
    """Of a file as it was at that stamp: chapters share most of the modules that they reach."""
    return imports(file.read_text("utf-8"), package)


def imports(source: str, package: str) -> list[str]:
    """The modules of this package that Python source imports; `package` is the one it stands in."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            # `from package import name` takes a module, or else something the package defines.
            names += [
                inner if source_file(inner := f"{origin}.{alias.name}") else origin
                for alias in node.names
            ]
    return [name for name in names if name.split(".")[0] == PACKAGE]


def _digests(modules: Iterable[str], since: float) -> dict[str, str | None]:
    if isinstance(modules, str) or not (modules := list(modules)):
        raise ValueError(f"code: got {modules!r}, takes a list of module names, not empty")
    found: dict[str, str | None] = {}
    for module, each in digests(modules).items():
        if module in modules and not each:
            raise ValueError(f"code: {module!r} holds no code; name the modules in it")
        found[module] = each if _known_file(module).stat().st_mtime <= since else None
    return found


def _staleness(module: str, recorded: str | None) -> str | None:
    if recorded is None:
        return f"{module} was edited while the run went on"
    file = source_file(module)
    if file is None:
        return f"{module} is gone"
    return f"the code of {module} changed" if digest(file.read_text("utf-8")) != recorded else None


def _show(parameters: Mapping[str, Any], name: str) -> str:
    return json.dumps(parameters[name], sort_keys=True) if name in parameters else "absent"


def _difference(name: str, recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> str | None:
    # As text, so that True and 1 differ.
    old, new = _show(recorded, name), _show(asked, name)
    if old == new:
        return None
    return f"parameter {name!r} is {old[:80]} in the record, {new[:80]} was asked for"


def read(path: str | os.PathLike[str]) -> Record:
    """A record as it was saved, whether or not it still matches.

    Raises FileNotFoundError; ValueError for a file that is not a whole record, one whose content is
    not what was saved, as after an edit by hand, and one whose `files` are not those that were made
    with it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such record")
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:  # of JSON, or of UTF-8
        raise ValueError(f"{path}: not a whole record: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a record: holds a {type(content).__name__}, takes an object")
    known = {*(each.name for each in fields(Record)), "digest"}
    for kind, names in {
        "missing": sorted(known - content.keys()),
        "unknown": sorted(content.keys() - known),
    }.items():
        if names:
            raise ValueError(f"{path}: not a whole record: {kind} {', '.join(names)}")
    takes: dict[str, tuple[type, ...]] = {
        "parameters": (dict,),
        "device": (str,),
        "versions": (dict,),
        "seconds": (float, int),
        "date": (str,),
        "commit": (str, type(None)),
        "code": (dict,),
        "files": (dict,),
    }
    for name, types in takes.items():
        if not isinstance(content[name], types):
            raise ValueError(f"{path}: not a record: {name} is {content[name]!r}")
    if not content["code"]:
        raise ValueError(f"{path}: not a record: code names no module")
    try:
        datetime.fromisoformat(content["date"])
    except ValueError:
        raise ValueError(f"{path}: not a record: date is {content['date']!r}") from None
    try:
        same = content_digest(content) == content["digest"]
    except ValueError:  # NaN or infinity, which no record has
        same = False
    if not same:
        raise ValueError(f"{path}: its digest is not that of its content: it was changed by hand")
    record = Record(**{name: value for name, value in content.items() if name != "digest"})
    for name, kept in record.files.items():
        file = path.parent / name
        if not file.is_file():
            raise ValueError(f"{path}: it was made with {name}, and there is no {file}")
        if _file_digest(file) != kept:
            raise ValueError(f"{path}: {file} is not the file that was made with it")
    return record


def content_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of a record's content, less its digest: of the values, however they are set out."""
    rest = {name: value for name, value in content.items() if name != "digest"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _plain(value: Any, where: str) -> Any:
    """`value` as JSON values; `where` names it in errors."""
    if hasattr(value, "tolist"):  # an array, a tensor, or a scalar of either
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}: a record holds finite numbers only")
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{where} has the key {key!r}: JSON takes text only")
        return {key: _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise TypeError(f"{where} is a {type(value).__name__}: JSON has no such thing")


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of a write that the system refuses halfway."""


@contextlib.contextmanager
def write_whole(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A stream whose bytes become the file `path` at the end of the block, or nothing does.

    A reader never sees half of it, a run killed half-way never leaves half of it, and two writers
    do not meet. Folders are made. Raises OSError, which names the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with drafted(path) as draft:
        with draft.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, path)


@contextlib.contextmanager
def drafted(path: Path, suffix: str = ".tmp") -> Iterator[Path]:
    """A place for the draft of a file, of which nothing stays behind, now or from killed processes.

    Raises OSError of what is written there, which names the file.
    """
    clear_drafts(path, suffix)
    draft = draft_of(path, suffix)
    try:
        yield draft
    except OSError as error:
        # Of a full disk the system tells no name, of a folder that takes no files the draft's.
        nameless = error.filename is None and error.errno in FULL
        if nameless or error.filename in (draft, os.fspath(draft)):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None
        raise
    finally:
        with contextlib.suppress(OSError):  # not there, or not to be removed: the error is above
            draft.unlink()


def draft_of(path: Path, suffix: str = ".tmp") -> Path:
    """Where a file is written before it takes its name: beside it, hidden, and nobody else's.

    Beside it, because a rename is atomic only within one file system. The process id alone would
    not do: on a shared disk two machines have the same ones.
    """
    own = f"{platform.node()}.{os.getpid()}.{secrets.token_hex(4)}"
    return path.with_name(f".{path.name}.{own}{suffix}")


def clear_drafts(path: Path, suffix: str = ".tmp") -> None:
    """Remove the drafts of a file, or folder, that killed processes of this machine have left."""
    own = rf"\.{re.escape(f'{path.name}.{platform.node()}')}\.(\d+)\.[0-9a-f]{{8}}"
    name = re.compile(own + re.escape(suffix))
    for each in os.listdir(path.parent):
        if (found := name.fullmatch(each)) and not _alive(int(found[1])):
            draft = path.parent / each
            if draft.is_dir():
                shutil.rmtree(draft, ignore_errors=True)
            else:
                draft.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    """Whether there is a process of this number; True where the system does not tell."""
    if os.name != "posix":  # there the call below would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's; a number that none has
        return True
    return True


def versions(names: Iterable[str]) -> dict[str, str | None]:
    """Version of Python and of these distributions, None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def _device_name(device: Any) -> str:
    import torch

    try:
        device = torch.device(device)
        if device.type == "cuda":
            return torch.cuda.get_device_name(device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device: got {device!s}, which cannot be used: {reason}") from None
    return cpu_name() if device.type == "cpu" else str(device)


def cpu_name() -> str:
    """The model of this machine's processor."""
    # platform.processor() is empty on most Linux systems.
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> tuple[str | None, bool | None]:
    """The commit of the package and whether its files differ from it.

    Where the package was copied without its history, as to a GPU machine, the environment variable
    TOKENSPHERE_COMMIT says which commit was copied; the digests say whether it is true.
    """
    if copied := os.environ.get("TOKENSPHERE_COMMIT"):
        return copied, None

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *arguments],  # noqa: S607  the user's own git, wherever it is
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    try:
        # An installed copy may lie within another project's checkout: that commit is not ours.
        git("ls-files", "--error-unmatch", "--", ".")
        # Only the package's folder: a record just renewed does not make its own code dirty.
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", "."))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def duration(seconds: float) -> str:
    """Seconds, or minutes, or hours and minutes, as one says it."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
