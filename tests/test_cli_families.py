"""`tokensphere sinks` on each hybrid of transformers and on mamba-ssm's own checkpoints."""

import pytest
import torch
from hybrids import HYBRIDS, NAMES, ROUNDING, build
from mamba_ssm_doubles import OPTIONS, native, save
from sink_command import make, run, tokenizer

from tokensphere import records
from tokensphere.sinks.capture import capture
from tokensphere.sinks.scores import importance


def report(place, folder, model):
    """What the command found, held against what the model in memory gives."""
    assert run(folder) == 0
    data = records.load(place / "report" / "sinks.json").data
    assert 0 < data["check"]["error"] <= ROUNDING
    ids = tokenizer()((place / "prompts.txt").read_text().splitlines()[0])["input_ids"]
    layers = capture(model, torch.tensor([ids]))
    assert [layer["name"] for layer in data["layers"]] == [layer.name for layer in layers]
    for found, layer in zip(data["layers"], layers, strict=True):
        # The first prompt's score of its first token; five digits are written.
        want = float(importance(layer)[0, :, 0].mean())
        assert found["first"]["raw"][0] == pytest.approx(want, rel=2e-4)
    return data


@pytest.mark.parametrize("family", ["bamba", "zamba", "zamba2", "falcon-h1", "granite", "nemotron"])
def test_hybrids(family, place, slight):
    model = build(HYBRIDS[family])
    make(place / "model", model)
    data = report(place, "model", model)
    assert data["model"]["class"] == type(model).__name__
    assert [layer["name"] for layer in data["layers"]] == NAMES[family.partition("-")[0]]


@pytest.mark.parametrize("case", ["mamba", "mamba2-options"])
def test_checkpoints_of_mamba_ssm(case, place, slight):
    model = native(OPTIONS[case])
    folder = place / "model"
    folder.mkdir()
    save(folder, OPTIONS[case], model.state_dict())
    tokenizer().save_pretrained(folder)
    report(place, "model", model)
