"""A checkpoint is whole or refused, and reading one runs nothing."""

import os
import pickle

import pytest
import torch

from tokensphere import checkpoint


def test_what_was_saved_comes_back(tmp_path):
    state = {"step": 3, "weights": {"a": torch.arange(4.0)}, "history": [{"loss": 0.5}]}
    checkpoint.save(tmp_path / "run" / "last.pt", state)
    found = checkpoint.load(tmp_path / "run" / "last.pt")
    assert found["step"] == 3
    assert found["history"] == [{"loss": 0.5}]
    assert torch.equal(found["weights"]["a"], torch.arange(4.0))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["last.pt"]


def test_a_write_that_fails_leaves_the_last_one(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"step": 1})

    def half(state, stream):
        stream.write(b"half a file")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, {"step": 2})
    assert checkpoint.load(path) == {"step": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["last.pt"]


def test_half_a_file_is_refused_by_name(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"weights": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(ValueError, match="last.pt: not a whole checkpoint"):
        checkpoint.load(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        checkpoint.load(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="not a checkpoint: holds a list"):
        checkpoint.load(path)
    with pytest.raises(FileNotFoundError):
        checkpoint.load(tmp_path / "none.pt")


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_in_a_file_is_not_run(tmp_path):
    path = tmp_path / "last.pt"
    torch.save({"step": Touch(str(tmp_path / "made"))}, path, pickle_module=pickle)
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        checkpoint.load(path)
    assert not (tmp_path / "made").exists()
