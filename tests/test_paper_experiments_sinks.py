"""The prompts of the book's experiment on sinks."""

import pytest
import torch
from safetensors.torch import load_file

from tokensphere import records
from tokensphere.paper.experiments import sinks as experiment


def test_prompts_are_different_ones_after_they_are_cut(monkeypatch):
    texts = ["abcdX", "abcdY", "bbcd", "cbcd", "bbcd and more"]
    monkeypatch.setattr(experiment, "texts", lambda: texts)
    monkeypatch.setattr(experiment.typeseg, "load", lambda: None)
    _, rows, bos = experiment.load("typeseg", 3, 4)
    assert bos is None
    assert ["".join(map(chr, row.tolist())) for row in rows] == ["abcd", "bbcd", "cbcd"]
    with pytest.raises(ValueError, match=r"^count: got 4, takes at most 3"):
        experiment.load("typeseg", 4, 4)


def test_there_are_as_many_as_the_record_needs():
    pytest.importorskip("typeseg")
    _, rows, _ = experiment.load("typeseg", experiment.FULL["prompts"], experiment.FULL["length"])
    assert len({tuple(row.tolist()) for row in rows}) == experiment.FULL["prompts"]
    assert {len(row) for row in rows} == {experiment.FULL["length"]}
    assert torch.stack(rows).shape == (170, 16)


def test_the_language_model_has_the_weights_of_its_file():
    model, _, bos = experiment.load("with BOS", 2, 8)
    assert bos == 0
    stored = load_file(records.path(experiment.LANGUAGE_MODEL) / "model.safetensors")
    own = model.state_dict()
    for name, weight in stored.items():
        assert torch.equal(own[name], weight.float()), name
