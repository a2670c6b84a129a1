"""The prompts of the book's experiment on sinks."""

import pytest
import torch

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
