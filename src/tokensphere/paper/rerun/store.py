"""What a batch leaves on disk, which alone says what is done.

For a cell of a chapter, in `DIR/<chapter>/`:

    <digest>.ipynb          the executed notebook: it is whole, and it is there only if all passed
    <digest>.failed.ipynb   of a cell that failed, as far as it came
    <digest>.json           an `Entry`: parameters, outcome, seconds, machine, versions, code
    <digest>.log            what its process and its kernel printed

Whoever runs a cell holds its lock in `DIR/.locks`, an flock: the system lets go of it when its
owner dies, however it dies. All is written under another name first, hidden, and then renamed.

No clock is compared with another one: a batch on machines whose clocks differ is no worse for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from tokensphere import records
from tokensphere.paper.rerun import cells

PASSED, FAILED, RUNNING, INTERRUPTED = "passed", "failed", "running", "interrupted"
STATES = (PASSED, FAILED, RUNNING, INTERRUPTED)
DIGEST = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Entry:
    """What is known of one version of a cell.

    parameters: those that differ from the chapter's defaults; values: all.
    state: one of STATES.
    error: why it failed, in one line.
    seconds: wall time of the run; started: when, ISO 8601, UTC.
    run: a name of this attempt that no other has; None where the file is lost.
    machine: host, processor, GPUs.
    versions, code: as in `cells`.
    kept: name -> value that the chapter kept for `collect`; None where the file is lost.
    size: of the notebook of a cell that passed, bytes: another one is not whole.
    source: the chapter's file where that is in no book.
    """

    chapter: str
    digest: str
    state: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    seconds: float | None = None
    started: str | None = None
    run: str | None = None
    machine: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str | None] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, Any] | None = None
    size: int | None = None
    source: str | None = None

    @property
    def label(self) -> str:
        return cells.label(self.chapter, self.parameters)

    @property
    def same(self) -> str:
        return cells.same(self.chapter, self.source, self.values)


KINDS = {
    **dict.fromkeys(("parameters", "values", "machine", "versions", "code"), dict),
    **dict.fromkeys(("error", "started", "run", "source"), str | None),
    "seconds": int | float | None,
    "kept": dict | None,
    "size": int | None,
}
"""Of an entry's values; a file with others is lost as one that is no JSON."""


class Store:
    """The folder of a batch; several may write to it at once."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).absolute()

    def prepare(self) -> None:
        """Make the folder; OSError where nothing can be written to it."""
        (self.folder / ".locks").mkdir(parents=True, exist_ok=True)
        with records.drafted(self.folder / ".locks" / "probe") as probe:
            probe.write_text("x")
        if not self._tokens():
            (self.folder / ".locks" / f"{uuid.uuid4().hex}.folder").touch()

    def token(self) -> str:
        """A name in a prepared folder that no other folder has."""
        return self._tokens()[0]

    def has(self, token: str) -> bool:
        """Whether this is the folder that has a `token`."""
        return token in self._tokens()

    def _tokens(self) -> list[str]:
        # Several, where the first batches began at once.
        return sorted(path.name for path in (self.folder / ".locks").glob("*.folder"))

    def file(self, chapter: str, digest: str, suffix: str) -> Path:
        return self.folder / chapter / f"{digest}{suffix}"

    def passed(self, chapter: str, digest: str) -> bool:
        """Whether this version of the cell is done."""
        entry = self.entry(chapter, digest)
        return entry is not None and entry.state == PASSED

    def lock(self, digest: str) -> filelock.FileLock:
        """The lock of a cell; `acquire(blocking=False)` raises filelock.Timeout if it is held."""
        folder = self.folder / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(folder / f"{digest}.lock")

    def held(self, digest: str) -> bool:
        """Whether a process that lives runs the cell now; looks, and writes nothing."""
        try:
            descriptor = os.open(self.folder / ".locks" / f"{digest}.lock", os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def write(self, entry: Entry) -> None:
        """Its JSON file, whole; OSError where it cannot be written."""
        text = json.dumps(dataclasses.asdict(entry), ensure_ascii=False, indent=1)
        write_whole(self.file(entry.chapter, entry.digest, ".json"), text)

    def entry(self, chapter: str, digest: str) -> Entry | None:
        """What is known of a cell, None where it was never begun."""
        suffixes = (".ipynb", ".failed.ipynb", ".json")
        there = {suffix for suffix in suffixes if self.file(chapter, digest, suffix).is_file()}
        return self._entry(chapter, digest, there) if there else None

    def entries(self) -> list[Entry]:
        """All cells, by chapter and label."""
        found = [self._entry(*key, there) for key, there in self._files()]
        return sorted(found, key=lambda entry: (entry.chapter, _natural(entry.label), entry.digest))

    def clear_drafts(self, chapter: str, digest: str) -> None:
        """Remove what a dead owner of the cell's lock left; only the owner may do so."""
        for path in (self.folder / chapter).glob(f".{digest}.*"):
            path.unlink(missing_ok=True)

    def remove(self, entry: Entry) -> None:
        """Forget a version of a cell, unless somebody runs it."""
        lock = self.lock(entry.digest)
        with contextlib.suppress(filelock.Timeout):
            lock.acquire(blocking=False)
            try:
                # The notebook first: without it the rest is no finished cell.
                for suffix in (".ipynb", ".failed.ipynb", ".log", ".json"):
                    path = self.file(entry.chapter, entry.digest, suffix)
                    path.unlink(missing_ok=True)
                self.clear_drafts(entry.chapter, entry.digest)
            finally:
                lock.release()

    def _files(self) -> Iterator[tuple[tuple[str, str], set[str]]]:
        """(chapter, digest) -> suffixes of its files."""
        for folder, inner, names in os.walk(self.folder):
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            chapter = Path(folder).relative_to(self.folder).as_posix()
            there: dict[str, set[str]] = {}
            for name in names:
                stem, dot, suffix = name.partition(".")
                if DIGEST.fullmatch(stem) and suffix in ("ipynb", "failed.ipynb", "json"):
                    there.setdefault(stem, set()).add(dot + suffix)
            for digest, suffixes in there.items():
                yield (chapter, digest), suffixes

    def _entry(self, chapter: str, digest: str, there: set[str]) -> Entry:
        entry = self._described(chapter, digest)
        if ".ipynb" in there:
            if entry is None or entry.state != PASSED or entry.size is None:
                # Its process died between the notebook and the file that describes it.
                entry = self._from_notebook(chapter, digest, ".ipynb", PASSED, entry)
            elif entry.size != _size(self.file(chapter, digest, ".ipynb")):
                entry = _damaged(entry)
        elif entry is None and ".failed.ipynb" in there:
            entry = self._from_notebook(chapter, digest, ".failed.ipynb", FAILED, entry)
        elif entry is None or entry.state == PASSED:  # a notebook that somebody removed
            entry = Entry(chapter, digest, INTERRUPTED)
        elif entry.state == RUNNING and not self.held(digest):
            entry = dataclasses.replace(entry, state=INTERRUPTED)
        return entry

    def _described(self, chapter: str, digest: str) -> Entry | None:
        try:
            content = json.loads(self.file(chapter, digest, ".json").read_text("utf-8"))
            entry = Entry(**content)
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        fitting = all(isinstance(getattr(entry, name), kind) for name, kind in KINDS.items())
        fitting = fitting and _are_seconds(entry.seconds)
        mine = (entry.chapter, entry.digest) == (chapter, digest)
        return entry if fitting and mine and entry.state in STATES else None

    def _from_notebook(
        self, chapter: str, digest: str, suffix: str, state: str, entry: Entry | None
    ) -> Entry:
        try:
            content = json.loads(self.file(chapter, digest, suffix).read_text("utf-8"))
            papermill = content["metadata"].get("papermill", {})
            given, seconds = papermill.get("parameters", {}), papermill.get("duration")
            started = papermill.get("start_time")
            content["cells"], given.items()
            if not (_are_seconds(seconds) and isinstance(started, str | None)):
                raise ValueError("times that are none")
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            entry = entry or Entry(chapter, digest, state)
            return _damaged(entry) if state == PASSED else entry
        entry = entry or Entry(chapter, digest, state, parameters=given, values=given)
        return dataclasses.replace(entry, state=state, error=None, seconds=seconds, started=started)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _are_seconds(value: Any) -> bool:
    """None, or a number from 0 on, and below what no run takes."""
    return value is None or (type(value) in (int, float) and 0 <= value < 1e12)


def _damaged(entry: Entry) -> Entry:
    return dataclasses.replace(entry, state=INTERRUPTED, error="its notebook is damaged")


def _natural(label: str) -> list[str | int]:
    """By which seed=2 comes before seed=13; numbers have the odd places of every such list."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", label))]


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that nobody ever sees half of it, and two writers do not meet."""
    with records.write_whole(path) as stream:
        stream.write(text.encode())
