"""The experiment on what sinks are for: its planned outcome, its record, what is drawn of it."""

import dataclasses
import math

import matplotlib.pyplot as plt
import pytest
import torch
from scipy import stats
from test_sinks_ablation_sweep import ids, six_layers
from test_sinks_capture import build

from tokensphere import records
from tokensphere.paper.experiments import ablation as experiment
from tokensphere.paper.figures import ablations
from tokensphere.sinks import importance
from tokensphere.sinks.ablation.sweep import sweep
from tokensphere.sinks.capture import capture


@pytest.fixture(scope="module")
def model():
    return build(six_layers)


def first_tokens_share(model, prompts):
    """Each prompt's score of each layer, (S, E)."""
    layers = capture(model, prompts)
    return torch.stack([importance(layer, "absolute")[..., 0].mean(1) for layer in layers], 1)


def test_the_planned_outcome(model):
    prompts = ids(6, 8)
    found = experiment.matter(model, prompts, later=2, draws=2, size=4)
    scores, swept = first_tokens_share(model, prompts), sweep(model, [prompts], later=2)
    rho = [
        stats.spearmanr(score, effect).statistic
        for score, effect in zip(scores, swept.excess["kl"].T, strict=True)
    ]
    primary = found["primary"]
    assert primary["confidence"] == pytest.approx(1 - 0.05 / 3)
    assert primary["mean"] == pytest.approx(sum(rho) / 6)
    half = stats.t.ppf(1 - 0.05 / 6, 5) * torch.tensor(rho).std() / math.sqrt(6)
    assert primary["high"] == pytest.approx(sum(rho) / 6 + float(half))
    assert [each["mean"] for each in found["scores"]] == pytest.approx(scores.mean(0).tolist())
    excess = scores - found["uniform"]
    least = stats.t.ppf(1 - 0.05 / 12, 5) * excess.std(0) / math.sqrt(6)
    want = (excess.mean(0) > least).nonzero()[:, 0].tolist()
    assert want == (found["sinks"]["layers"] if found["sinks"] else [])


def test_the_ratio_forgets_how_much_a_layers_keys_matter(model):
    prompts = ids(6, 8)
    scores, swept = first_tokens_share(model, prompts), sweep(model, [prompts], later=2)
    found = experiment.ratio(swept, scores)
    kl = swept.alone["kl"]
    rho = [
        stats.spearmanr(score, first / later).statistic
        for score, first, later in zip(scores, kl[:, 0].T, kl[:, 1:].mean(1).T, strict=True)
    ]
    assert found["mean"] == pytest.approx(sum(rho) / 6)
    # Each layer's divergences times a factor of its own, and a prompt on which one does nothing.
    factors = torch.logspace(-2, 2, len(kl), dtype=kl.dtype)[:, None, None]
    other = dataclasses.replace(swept, alone={"kl": kl * factors})
    assert experiment.ratio(other, scores) == pytest.approx(found)
    other.alone["kl"][2, 0, 5] = 0
    assert experiment.ratio(other, scores)["mean"] == pytest.approx(sum(rho[:5]) / 5)


def test_a_sink_s_interval_is_corrected_for_the_number_of_layers():
    """Of 20 prompts: 2.09 standard errors are enough for one layer, 3.17 for ten."""
    spread = torch.randn(20, 10, generator=torch.Generator().manual_seed(0)).double()
    spread = (spread - spread.mean(0)) / spread.std(0) * 20**0.5
    above = torch.tensor([0, 2.0, 2.2, 3.1, 3.3, 9, -9, -3.3, 0, 1], dtype=torch.float64)
    assert experiment.with_sink(spread + above) == [4, 5]
    assert experiment.with_sink((spread + above)[:, 2:3]) == [0]


@pytest.mark.parametrize(("side", "answer"), [(1, "more"), (-1, "less"), (0, "not decided")])
def test_its_answer(model, side, answer):
    swept = sweep(model, [ids(6, 8)])
    noise = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    scores = side * swept.excess["kl"].T if side else noise
    assert experiment.primary(swept, scores)["answer"] == answer


def test_the_record_and_what_is_drawn(model, monkeypatch, tmp_path):
    small = {"prompts": 4, "lengths": [6, 8], "later": 2, "draws": 2, "seed": 0}
    monkeypatch.setattr(experiment, "FULL", small)
    monkeypatch.setattr(
        experiment, "load", lambda name, count, length: (model, list(ids(count, length)), None)
    )
    assert experiment.main(["--record", str(tmp_path / "ablation.json"), "--device", "cpu"]) == 0
    data = records.load(tmp_path / "ablation.json", parameters=small).data
    assert list(data) == list(experiment.RUNS) and set(data["typeseg"]) == {"6", "8"}

    figure = ablations.effects(data, 8)
    assert len(figure.axes) == 3
    run = data["with BOS"]["8"]
    points = [line.get_xydata() for line in figure.axes[2].lines if line.get_marker() == "o"]
    want = [
        (score["mean"], layer["excess"]["kl"]["mean"])
        for score, layer in zip(run["scores"], run["layers"], strict=True)
    ]
    assert sorted(map(tuple, torch.cat([torch.tensor(p) for p in points]).tolist())) == sorted(want)
    plt.close(figure)

    lines = ablations.answers(data, [6, 8]).data.splitlines()
    assert len(lines[0].split("|")) == 3 + 6
    assert lines[2].split("|")[2].strip() == data["typeseg"]["6"]["primary"]["answer"]
    assert f" of {len(run['layers'])} " in lines[5]
