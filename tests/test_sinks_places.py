"""Folders whole or not at all: places that cannot be written, signals, leftovers, two at once."""

import contextlib
import errno
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tokensphere.sinks.report import places

FILES = ("key", "more")


def replacing(out):
    return places.replacing(out, FILES, "key", room=2**12)


def write(out, content):
    with replacing(out) as folder:
        (folder / "key").write_text(content)


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_folder_appears_whole_and_replaces_its_former_one(tmp_path):
    out = tmp_path / "out"
    with replacing(out) as folder:
        (folder / "key").write_text("one")
        assert not out.exists()
    assert names(tmp_path) == ["out"] and names(out) == ["key"]
    with pytest.raises(RuntimeError), replacing(out) as folder:
        (folder / "key").write_text("half")
        raise RuntimeError
    assert (out / "key").read_text() == "one" and names(tmp_path) == ["out"]
    write(out, "two")
    assert (out / "key").read_text() == "two" and names(tmp_path) == ["out"]
    # Others may read what was written, as what a program writes usually.
    umask = os.umask(0)
    os.umask(umask)
    assert out.stat().st_mode & 0o777 == 0o777 & ~umask


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({"other": ""}, "it holds other"),
        ({"more": ""}, "it holds more"),
        ({"key": "", "other": ""}, "it holds other"),
    ],
)
def test_other_folders_are_left_alone(tmp_path, held, said):
    out = tmp_path / "out"
    out.mkdir()
    for name, content in held.items():
        (out / name).write_text(content)
    with pytest.raises(ValueError, match="^out: .* is no former report") as caught:
        write(out, "")
    assert said in str(caught.value)
    assert names(out) == sorted(held) and names(tmp_path) == ["out"]


def test_files_mount_points_and_the_working_folder_are_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file, takes a folder"):
        write(tmp_path / "file", "")
    with pytest.raises(FileNotFoundError, match="^out: no such folder: .*none"):
        write(tmp_path / "none" / "out", "")
    out = tmp_path / "out"
    out.mkdir()
    with monkeypatch.context() as patch:
        patch.chdir(out)
        with pytest.raises(ValueError, match="is the folder that this runs in"):
            write(".", "")
    with monkeypatch.context() as patch:
        patch.setattr(places.os.path, "ismount", lambda path: Path(path) == out)
        with pytest.raises(ValueError, match="is a mount point, which stays"):
            write(out, "")
    # A folder that another user has in a folder that all may write in, as /tmp.
    os.chmod(tmp_path, 0o1777)
    monkeypatch.setattr(places.os, "geteuid", lambda: out.stat().st_uid + 1)
    real = places.Path.stat

    def stat(path, **options):
        found = real(path, **options)
        return found if path == out else os.stat_result([*found[:4], found.st_uid + 2, *found[5:]])

    with monkeypatch.context() as patch:
        patch.setattr(places.Path, "stat", stat)
        with pytest.raises(ValueError, match="belongs to another user"):
            write(out, "")
    assert names(tmp_path) == ["file", "out"]


def test_a_disk_that_others_fill_meanwhile_is_said_and_the_former_stays(tmp_path):
    out = tmp_path / "out"
    write(out, "former")
    with pytest.raises(OSError, match=r"No space left on device: '.*/out'$"), replacing(out):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as a write does: without a name
    assert (out / "key").read_text() == "former" and names(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ("os.fsync", errno.ENOSPC),  # a full disk, of which some systems tell no sooner
        ("os.rename", errno.EXDEV),
        ("Path.mkdir", errno.EROFS),
    ],
)
def test_what_cannot_be_written_shows_before_the_work(tmp_path, monkeypatch, where, code):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code), "somewhere")

    module, name = where.split(".")
    monkeypatch.setattr(getattr(places, module), name, fail)
    with pytest.raises(OSError) as caught, replacing(tmp_path / "out"):
        raise AssertionError("the work began")
    assert str(caught.value) == f"out: {tmp_path} cannot be written: {os.strerror(code)}"
    assert names(tmp_path) == []


def test_room_for_a_report_is_written_and_given_back(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(places.os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    with replacing(tmp_path / "out") as folder:
        assert synced == [2**12]
        assert sum(path.stat().st_size for path in folder.parent.rglob("*") if path.is_file()) == 0
        (folder / "key").write_text("twelve bytes")
    assert synced == [2**12, 12]


@contextlib.contextmanager
def at_work(out):
    """A process that has a draft of `out` and works on."""
    code = (
        "import importlib.util, time\n"  # by its file, without torch, which takes seconds
        f"spec = importlib.util.spec_from_file_location('places', {places.__file__!r})\n"
        "places = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(places)\n"
        f"with places.replacing({str(out)!r}, ('key',), 'key') as folder:\n"
        "    (folder / 'key').write_text('half')\n"
        "    print('at work', flush=True)\n"
        "    time.sleep(600)\n"
    )
    # Tests under nohup ignore SIGHUP, and so would what they start.
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n" + code
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "at work\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_process_that_is_told_to_end_leaves_nothing(tmp_path, name):
    number = getattr(signal, name)
    with at_work(tmp_path / "out") as process:
        assert len(names(tmp_path)) == 1
        process.send_signal(number)
        assert process.wait() == 128 + number
    assert names(tmp_path) == []


def test_what_a_killed_process_leaves_is_cleaned_and_a_running_one_is_not(tmp_path):
    out = tmp_path / "out"
    write(out, "before")
    with at_work(out) as process:
        draft = next(name for name in names(tmp_path) if name != "out")
        with pytest.raises(ValueError, match=f"another run is writing .*{draft}"):
            write(out, "second")
        # Of another name no draft is in the way.
        write(tmp_path / "other", "beside")
        assert draft in names(tmp_path)
        process.kill()
        process.wait(30)
    assert names(tmp_path) == [draft, "other", "out"]
    assert (out / "key").read_text() == "before"
    write(tmp_path / "other", "again")
    assert draft in names(tmp_path)
    write(out, "after")
    assert names(tmp_path) == ["other", "out"]
    assert (out / "key").read_text() == "after"


def test_a_former_report_that_a_killed_process_had_moved_away_comes_back(tmp_path):
    out = tmp_path / "out"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    # Of one that was killed before its draft had a lock.
    start = tmp_path / f".out.{platform.node()}.{dead.pid}.0123abcd.start"
    (start / "new").mkdir(parents=True)
    draft = tmp_path / ".out.abcd_123.draft"
    (draft / "former").mkdir(parents=True)
    (draft / "former" / "key").write_text("former")
    with pytest.raises(RuntimeError), replacing(out):
        assert (out / "key").read_text() == "former"
        raise RuntimeError
    assert names(tmp_path) == ["out"] and (out / "key").read_text() == "former"


def test_two_that_started_at_once_both_end_whole(tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setattr(places, "_clean", lambda out: None)  # neither saw the other's draft
    with replacing(out) as first:
        (first / "key").write_text("first")
        with replacing(out) as second:
            (second / "key").write_text("second")
        assert (out / "key").read_text() == "second"
    assert (out / "key").read_text() == "first" and names(tmp_path) == ["out"]
    # One that comes between the two renames of the other.
    real = os.rename

    def rename(source, target):
        real(source, target)
        if Path(target).name == "former":
            monkeypatch.setattr(places.os, "rename", real)
            write(out, "between")

    monkeypatch.setattr(places.os, "rename", rename)
    write(out, "last")
    assert (out / "key").read_text() == "last" and names(tmp_path) == ["out"]


def test_a_place_is_looked_at_again_before_it_is_replaced(tmp_path):
    """Hours may pass: what somebody has put there meanwhile is not thrown away."""
    out = tmp_path / "out"
    write(out, "one")
    refused = pytest.raises(ValueError, match=r"is no former report \(it holds notes")
    with refused, replacing(out) as new:
        (new / "key").write_text("two")
        (out / "notes").write_text("mine")
    assert (out / "key").read_text() == "one" and names(out) == ["key", "notes"]
    assert names(tmp_path) == ["out"]


def test_signals_are_left_as_they_were(tmp_path):
    def own(number, frame):
        raise AssertionError

    with replacing(tmp_path / "out"):
        assert callable(signal.getsignal(signal.SIGTERM))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    signal.signal(signal.SIGTERM, own)
    try:
        with pytest.raises(RuntimeError), replacing(tmp_path / "other"):
            assert signal.getsignal(signal.SIGTERM) is own
            raise RuntimeError
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
