"""Records and files on the disk: whole, as they were saved, and nothing left by killed writers."""

import errno
import hashlib
import json
import os
import platform
import random
import re
import subprocess
import sys
import time

import pytest

from tokensphere import records


def save(file, data=1.0):
    """A record of the data."""
    return records.save(
        file, data, parameters={"n": 4}, code=["tokensphere.rates"], seconds=0.0, device="cpu"
    )


@pytest.fixture
def file(tmp_path):
    return tmp_path / "run.json"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"data": [1, 2.5]', '"data": [1, 2.6]'),
        ('"data": [1, 2.5]', '"data": [1.0, 2.5]'),
        ('"data": [1, 2.5]', '"data": [true, 2.5]'),
        ('"data": [1, 2.5]', '"data": [1, NaN]'),
        ('"seconds": 0.0', '"seconds": 6.0'),
        ('"n": 4', '"n": 5'),
        ('"tokensphere.rates": "', '"tokensphere.rates": "0'),
        ('"digest": "', '"digest": "0'),
        ('"files": {}', '"files": {"none": "0"}'),
    ],
)
def test_a_record_changed_by_hand_is_refused_by_name(file, old, new):
    save(file, [1, 2.5])
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    for look in (records.read, records.load):
        with pytest.raises(ValueError, match=r"run\.json: its digest .* it was changed by hand$"):
            look(file)


def test_how_a_record_is_set_out_does_not_matter(file):
    saved = save(file, {"a": [1, 2.5, "ä"]})
    content = json.loads(file.read_text())
    file.write_text(json.dumps(dict(reversed(content.items())), indent=4, ensure_ascii=False))
    assert records.load(file) == saved


@pytest.mark.parametrize("name", ["digest", "files"])
def test_a_record_without_a_digest_is_not_whole(file, name):
    save(file)
    content = json.loads(file.read_text())
    del content[name]
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"run\.json: not a whole record: missing {name}"):
        records.read(file)


def test_files_made_with_a_record_are_those_or_it_is_refused(file):
    weights = file.parent / "run" / "weights"
    saved = save(file, 1.0)
    with pytest.raises(FileNotFoundError, match="weights"):
        records.name_files(file, ["run/weights"])
    weights.parent.mkdir()
    weights.write_bytes(b"abc")
    named = records.name_files(file, ["run/weights"])
    assert named.files == {"run/weights": hashlib.sha256(b"abc").hexdigest()}
    assert records.load(file) == named != saved
    assert (named.data, named.date) == (saved.data, saved.date)
    weights.write_bytes(b"abd")
    with pytest.raises(ValueError, match=r"run\.json: .*weights is not the file that was made"):
        records.load(file)
    weights.unlink()
    with pytest.raises(ValueError, match=r"run\.json: it was made with run/weights, and there is"):
        records.load(file)


@pytest.mark.skipif(
    not (records.ROOT.parents[1] / "results").is_dir(), reason="records come with the repository"
)
def test_every_kept_record_is_whole_and_knows_the_files_beside_it():
    found = [file for file in records.path("").rglob("*.json") if '"code": {' in file.read_text()]
    assert len(found) > 10
    known = {file.parent / name for file in found for name in records.read(file).files}
    weights = set(records.path("").rglob("*.safetensors"))
    assert weights and weights <= known


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "new" / "file"
    with records.write_whole(file) as stream:
        stream.write(b"old")
        (draft,) = file.parent.iterdir()
        # Of two writers, be they on two machines, neither has the other's.
        own = re.escape(f"{platform.node()}.{os.getpid()}")
        assert re.fullmatch(rf"\.file\.{own}\.[0-9a-f]{{8}}\.tmp", draft.name)
    with pytest.raises(KeyError), records.write_whole(file) as stream:
        stream.write(b"half")
        raise KeyError

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records.os, "fsync", full)
    said = r"No space left on device: '.*/new/file'"
    with pytest.raises(OSError, match=said), records.write_whole(file) as stream:
        stream.write(b"new")
    assert [(one.name, one.read_bytes()) for one in file.parent.iterdir()] == [("file", b"old")]


def test_a_folder_that_takes_no_files_is_said_by_the_file_s_name(tmp_path, monkeypatch):
    """As on a read-only file system, which does not even let go of what is not there."""

    def refused(self, *mode):
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(records.Path, "open", refused)
    monkeypatch.setattr(records.Path, "unlink", refused)
    with (
        pytest.raises(OSError, match=r"Read-only file system: '.*/file'$"),
        records.write_whole(tmp_path / "file"),
    ):
        pass


def test_an_error_of_something_else_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="other"), records.write_whole(tmp_path / "file"):
        (tmp_path / "other").read_bytes()
    with (
        pytest.raises(OSError, match=r"\[Errno 12\] Cannot allocate memory$"),
        records.write_whole(tmp_path / "file"),
    ):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def test_drafts_of_dead_processes_of_this_machine_go_with_the_next_writing(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here, file = platform.node(), tmp_path / "file"
    left = [f".file.{here}.{dead.pid}.0123abcd.tmp"]
    kept = [
        f".file.{here}.{os.getpid()}.0123abcd.tmp",  # a thread's
        f".file.{here}.1.0123abcd.tmp",  # another user's, who lives
        f".file.other-{here}.{dead.pid}.0123abcd.tmp",  # on a shared disk
        f".another.file.{here}.{dead.pid}.0123abcd.tmp",
        f".file.{here}.{dead.pid}.0123abcd.ipynb",
        f".file.{here}.{10**30}.0123abcd.tmp",
    ]
    for name in left + kept:
        (tmp_path / name).write_text("half")
    with records.write_whole(file) as stream:
        stream.write(b"new")
    assert {one.name for one in tmp_path.iterdir()} == {"file", *kept}


KILLED = """
import sys
from dataclasses import replace
from pathlib import Path
from tokensphere import records

file = Path(sys.argv[1])
record = records.read(file)
print("begun", flush=True)
for n in range(10_000):
    records._write(file, replace(record, parameters={"n": n}, data=list(range(n, n + 20_000))))
"""


@pytest.mark.parametrize("seed", range(3))
def test_a_record_killed_while_it_is_saved_is_the_last_whole_one(file, seed):
    save(file, list(range(4, 20_004)))
    command = [sys.executable, "-c", KILLED, str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    process.stdout.readline()
    time.sleep(random.Random(seed).uniform(0, 0.2))
    process.kill()
    process.communicate()
    found = records.load(file)
    first = found.parameters["n"]
    assert found.data == list(range(first, first + 20_000))
    save(file)
    assert [one.name for one in file.parent.iterdir()] == ["run.json"]
