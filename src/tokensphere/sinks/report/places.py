"""Folders that appear whole or not at all, and only where they can: found out before the work.

A folder is made in a draft beside its place, in the same file system, and moved there at the end.
The draft has a lock that the system lifts when its process ends, however it ends: so a later run
tells the draft of a run that goes on from one that a killed run has left.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import signal
import stat
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock  # torch needs it too

from tokensphere import records

__all__ = ["ROOM", "replacing"]

ROOM = 2**20
"""Bytes that must be there to be written, where nothing says how many will be."""


@contextmanager
def replacing(
    out: str | os.PathLike[str], files: Collection[str], key: str, room: int = ROOM
) -> Iterator[Path]:
    """An empty folder that takes the place of `out` at the end, unless an exception is raised.

    Meanwhile SIGTERM and SIGHUP, unless they are handled or ignored already, raise SystemExit with
    the code that a shell reports for them, so that nothing stays behind.

    Args:
        out: a folder, new or empty, or a former one of the same kind, which is replaced.
        files: the names that a folder of this kind may hold, and `key`, the one that it must.
        room: bytes that will be written; so many are, and deleted, before the work begins.

    Raises:
        ValueError: `out` is a file, a mount point, the folder that the process works in, or a
            folder with other files; another run is writing it.
        OSError: the folder that `out` is in is not there or cannot be written; the disk was full
            before the end, which names `out`.
    """
    out = Path(os.path.realpath(out))
    _check(out, files, key)
    with _leaving_on_signals():
        _clean(out)
        draft, lock = _draft(out, room)
        try:
            yield draft / "new"
            _check(out, files, key)  # hours may have passed
            _sync(draft / "new")
            _move(draft, out)
        except OSError as error:
            if error.filename is None and error.errno in records.FULL:
                raise OSError(error.errno, error.strerror, os.fspath(out)) from None
            raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            lock.release()


def _check(out: Path, files: Collection[str], key: str) -> None:
    if not out.parent.is_dir():
        raise FileNotFoundError(f"out: no such folder: {out.parent}")
    if out.is_symlink():  # which is still there when links are followed
        raise ValueError(f"out: {out} is a link that leads to itself, takes a folder")
    if not out.exists():
        return
    if not out.is_dir():
        raise ValueError(f"out: {out} is a file, takes a folder")
    if os.path.ismount(out):
        raise ValueError(f"out: {out} is a mount point, which stays; takes a folder within it")
    if out == Path.cwd():
        raise ValueError(f"out: {out} is the folder that this runs in, takes another")
    entries = sorted(entry.name for entry in out.iterdir())
    foreign = [name for name in entries if name not in files]
    if foreign or (entries and key not in entries):
        raise ValueError(
            f"out: {out} is no former report (it holds {(foreign or entries)[0]}), so it is not "
            "replaced; takes a new or an empty folder, or a former report"
        )
    parent, user = out.parent.stat(), os.geteuid() if hasattr(os, "geteuid") else 0
    if parent.st_mode & stat.S_ISVTX and user not in (0, out.stat().st_uid, parent.st_uid):
        raise ValueError(f"out: {out} belongs to another user, takes a folder of your own")


def _clean(out: Path) -> None:
    """Remove what killed runs have left, and put back what one had just moved away."""
    records.clear_drafts(out, ".start")
    name = re.compile(rf"\.{re.escape(out.name)}\.\w{{8}}\.draft")
    for draft in out.parent.iterdir():
        if not name.fullmatch(draft.name):
            continue
        try:
            with filelock.FileLock(draft / "lock", timeout=0):
                if (draft / "former").exists() and not out.exists():
                    os.rename(draft / "former", out)
                shutil.rmtree(draft, ignore_errors=True)
        except filelock.Timeout:
            raise ValueError(
                f"out: another run is writing {out} (its draft is {draft.name}), takes a folder "
                "of its own"
            ) from None
        except FileNotFoundError:  # another run has just cleaned it
            continue


def _draft(out: Path, room: int) -> tuple[Path, Any]:
    """A draft with its lock; what cannot be created, filled or renamed there shows now."""
    made = None
    try:
        start = records.draft_of(out, ".start")
        start.mkdir(mode=0o700)
        made = start
        lock = filelock.FileLock(made / "lock", timeout=0)
        lock.acquire()
        # Under a draft's name from now on, when the lock is held: not before, or a run that starts
        # beside this one would take it for a leftover.
        draft = out.with_name(f".{out.name}.{secrets.token_hex(4)}.draft")
        os.rename(made, draft)
        made = draft
        (draft / "new").mkdir()
        with (draft / "probe").open("wb") as stream:
            # Random, for a file system that would pack zeros.
            stream.write(os.urandom(room))
            stream.flush()
            os.fsync(stream.fileno())
        (draft / "probe").unlink()
    except BaseException as error:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise OSError(f"out: {out.parent} cannot be written: {reason}") from None
        raise
    return draft, lock


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())


def _move(draft: Path, out: Path) -> None:
    former = draft / "former"
    try:
        while True:
            shutil.rmtree(former, ignore_errors=True)
            if out.exists():
                os.rename(out, former)
            try:
                os.rename(draft / "new", out)
                return
            except OSError as error:
                # Another run has put its report there in between: it is the former one now.
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
    finally:
        if former.exists() and not out.exists():
            os.rename(former, out)


@contextmanager
def _leaving_on_signals() -> Iterator[None]:
    numbers = []
    if threading.current_thread() is threading.main_thread():
        known = (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP"))
        numbers = [n for n in known if n is not None and signal.getsignal(n) is signal.SIG_DFL]

    def leave(number: int, frame: Any) -> None:
        for each in numbers:  # a second one must not stop the cleaning
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for number in numbers:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
