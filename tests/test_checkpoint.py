"""A checkpoint is whole and as it was saved or refused, and reading one runs nothing."""

import errno
import os
import pickle
import random

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


TENSORS = {
    "bf16": torch.tensor([1.0, -0.0, torch.nan, torch.inf, 1e-40], dtype=torch.bfloat16),
    "f64": torch.tensor([0.1, torch.nan, 5e-324], dtype=torch.float64),
    "int64": torch.tensor([2**63 - 1, -(2**63)]),
    "uint8": torch.arange(256, dtype=torch.uint8),
    "bool": torch.tensor([[True], [False]]),
    "complex": torch.tensor([1 + 2j]),
    "empty": torch.zeros(0, 3),
    "scalar": torch.tensor(2.5),
    "columns": torch.arange(6.0).view(2, 3).T,
    "every other": torch.arange(9)[::2],
    "expanded": torch.ones(1).expand(5),
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_comes_back_to_the_bit(tmp_path, name):
    checkpoint.save(tmp_path / "last.pt", {"a": TENSORS[name]})
    (found,) = checkpoint.load(tmp_path / "last.pt").values()
    saved = TENSORS[name]
    assert (found.dtype, found.shape, found.stride()) == (saved.dtype, saved.shape, saved.stride())
    bits = [value.contiguous().flatten().view(torch.uint8).tolist() for value in (found, saved)]
    assert bits[0] == bits[1]


def test_what_is_shared_stays_so_and_other_values_keep_their_types(tmp_path):
    base = torch.arange(6.0)
    plain = [True, 1, 1.0, 2**70, 5e-324, None, "ä\0\n", (1, [2]), {3: {"x": ()}}]
    checkpoint.save(tmp_path / "last.pt", {"whole": base, "part": base[2:4], "plain": plain})
    found = checkpoint.load(tmp_path / "last.pt")
    found["whole"][3] = 7.0
    assert found["part"].tolist() == [2.0, 7.0]
    assert repr(found["plain"]) == repr(plain)


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


def test_a_full_disk_is_an_error_of_the_system_that_names_the_file(tmp_path, monkeypatch):
    """As torch meets it, deep in its own writer."""
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"step": 1})
    write = checkpoint._Digested.write

    class Full:
        def __init__(self, stream):
            self.stream = stream

        def write(self, part):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full(self, part):
        if len(part) > 1000:
            self.stream = Full(self.stream)
        return write(self, part)

    monkeypatch.setattr(checkpoint._Digested, "write", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/last\.pt'$") as caught:
        checkpoint.save(path, {"weights": torch.zeros(100_000)})
    assert caught.value.errno == errno.ENOSPC
    assert checkpoint.load(path) == {"step": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["last.pt"]


def test_what_torch_cannot_write_is_its_own_error(tmp_path):
    with pytest.raises((RuntimeError, TypeError, AttributeError, pickle.PicklingError)):
        checkpoint.save(tmp_path / "last.pt", {"code": lambda: 0})
    assert not list(tmp_path.iterdir())


def test_a_flipped_bit_is_refused_by_name(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"weights": torch.arange(300.0), "step": 3})
    whole = path.read_bytes()
    draw = random.Random(0)
    last = range(len(whole) - checkpoint.END, len(whole))
    for place in [*draw.sample(range(len(whole)), 100), *last]:
        changed = bytearray(whole)
        changed[place] ^= 1 << draw.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"last\.pt: (damaged|not a whole checkpoint): "):
            checkpoint.load(path)
    path.write_bytes(whole)
    assert checkpoint.load(path)["step"] == 3


def test_half_a_file_is_refused_by_name(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"weights": torch.zeros(1000)})
    whole = path.read_bytes()
    for keep in (0, 1, checkpoint.END, 1500, len(whole) - checkpoint.END, len(whole) - 1):
        path.write_bytes(whole[:keep])
        with pytest.raises(ValueError, match="last.pt: not a whole checkpoint"):
            checkpoint.load(path)
    path.write_bytes(whole + whole)
    with pytest.raises(ValueError, match="last.pt: damaged"):
        checkpoint.load(path)


def test_what_is_no_checkpoint_is_refused_by_name(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    torch.save({"step": 1}, path)
    with pytest.raises(ValueError, match="last.pt: not a whole .* by an older version: begin its"):
        checkpoint.load(path)
    monkeypatch.setattr(checkpoint, "dict", lambda state: state, raising=False)
    checkpoint.save(path, [1, 2])
    monkeypatch.undo()
    with pytest.raises(ValueError, match="not a checkpoint: holds a list"):
        checkpoint.load(path)
    with pytest.raises(FileNotFoundError, match="none.pt"):
        checkpoint.load(tmp_path / "none.pt")
    checkpoint.save(path, {"step": 1})
    found = checkpoint.load(path)
    with pytest.raises(ValueError, match="last.pt: not a checkpoint of this run: has no 'model'"):
        found["model"]
    assert found.get("model") is None and "model" not in found
    checkpoint.save(path, found)
    assert checkpoint.load(path) == {"step": 1}


def test_torch_reads_it_too(tmp_path):
    checkpoint.save(tmp_path / "last.pt", {"a": torch.arange(3)})
    found = torch.load(tmp_path / "last.pt", weights_only=True)
    assert found["a"].tolist() == [0, 1, 2]


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_in_a_file_is_not_run(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"step": Touch(str(tmp_path / "made"))})
    with pytest.raises(ValueError, match="not a whole checkpoint: Weights only load failed"):
        checkpoint.load(path)
    assert not (tmp_path / "made").exists()
