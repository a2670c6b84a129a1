"""The runs behind results/refinement.json: what arms share, what is kept, what is refused."""

import json

import pytest
import torch

from tokensphere import records, refine
from tokensphere.paper.experiments import language_model as lm
from tokensphere.paper.experiments import refinement as runs

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")

MODEL = {
    "layers": 2,
    "width": 16,
    "states": 4,
    "vocabulary": 4096,
    "context": 16,
    "batch": 2,
    "steps": 8,
    "warmup": 1,
    "rate": 0.002,
    "decay": 0.1,
    "bos": 0.5,
}


@pytest.fixture
def plan():
    return runs.plan() | {"model": MODEL, "seeds": [0, 1]}


@pytest.fixture(scope="module")
def data():
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(records.path("language_model"))
    g = torch.Generator().manual_seed(0)
    return tokenizer, *(torch.randint(4096, (n,), generator=g).int() for n in (3000, 200))


def models(plan, data, seed=0):
    config = lm.Config(**plan["model"], seed=seed)
    return {arm: runs.build(config, data[0], held) for arm, held in plan["arms"].items()}


def test_arms_of_a_seed_share_what_they_do_not_replace(plan, data):
    first, second = models(plan, data), models(plan, data, seed=1)
    free = dict(first["unconstrained"].named_parameters())
    for arm, model in first.items():
        own = dict(model.named_parameters())
        assert all(torch.equal(own[key], free[key]) for key in own if "x_proj" not in key)
        other = dict(second[arm].named_parameters())
        assert not torch.equal(
            own["backbone.embeddings.weight"], other["backbone.embeddings.weight"]
        )
    # The control starts as what it is a control of.
    tokens = torch.arange(10)[None]
    logits = {arm: model(tokens).logits for arm, model in first.items()}
    assert torch.allclose(logits["tied"], logits["positive"], atol=1e-6)
    assert not torch.allclose(logits["mixed, offset"], logits["positive"], atol=1e-6)


def test_arms_are_what_the_plan_says(plan, data):
    kinds = {}
    for arm, model in models(plan, data).items():
        layers = runs.signatures(model)
        kinds[arm] = {(layer["positive"], layer["negative"]) for layer in layers}
        d = torch.tensor([layer.get("d", [0.0] * 4) for layer in layers])
        if arm in ("positive", "negative", "mixed, offset"):
            assert (d.abs() > 0.7).all()
        if arm == "mixed":
            assert (d.abs() < 0.9).all()
    assert kinds == {
        "unconstrained": {(4, 4)},
        "positive": {(4, 0)},
        "negative": {(0, 4)},
        "mixed": {(2, 2)},
        "mixed, offset": {(2, 2)},
        "tied": {(4, 0)},
        "positive, own scale": {(4, 0)},
        "negative, own scale": {(0, 4)},
    }


def test_a_run_holds_its_curves_and_measures(plan, data):
    run = runs.train(plan, "positive", 0, data, "cpu")
    json.dumps(run, allow_nan=False)
    assert len(run["windows"]) == 200 // 17
    assert [step for step, _ in run["heldout"]] == list(range(1, 9))
    assert run["heldout"][-1][1] == pytest.approx(sum(run["windows"]) / 11, rel=1e-5)
    for when in ("before", "after"):
        assert run[when]["supply"]["positive"] == [1.0, 1.0]
        assert len(run[when]["stream"]["log_norm"]) == 3
        assert len(run[when]["stream"]["cosine"]) == 2
    # Once more, it is the same run.
    again = runs.train(plan, "positive", 0, data, "cpu")
    assert again | {"seconds": 0} == run | {"seconds": 0}
    negative = runs.train(plan, "negative", 0, data, "cpu")
    assert negative["after"]["supply"]["positive"] == [0.0, 0.0]


def test_window_losses_are_the_model_s(plan, data):
    model = models(plan, data)["mixed"].eval()
    rows = runs.heldout_rows(data[2], 16)
    found = runs.window_losses(model, rows, 4)
    expected = model(rows[:1, :-1]).logits.log_softmax(-1)[0].gather(1, rows[0, 1:, None])
    assert float(found[0]) == pytest.approx(-float(expected.mean()), rel=1e-5)
    assert torch.equal(rows.flatten(), data[2][: rows.numel()])


def test_the_stream_is_that_of_the_hidden_states(plan, data):
    model = models(plan, data)["unconstrained"].eval()
    rows = runs.heldout_rows(data[2], 16)[:3]
    found = runs.stream(model, rows)
    first, second = model.backbone.layers
    before = model.backbone.embeddings(rows[:, :-1])
    states = [before, first(before), second(first(before))]
    expected = [float(state.norm(dim=-1).log().mean()) for state in states]
    assert found["log_norm"] == pytest.approx(expected, rel=1e-5)
    added = states[2] - states[1]
    cosine = torch.nn.functional.cosine_similarity(states[1], added, dim=-1).mean()
    assert found["cosine"][1] == pytest.approx(float(cosine), abs=1e-5)
    size = (added.norm(dim=-1) / states[1].norm(dim=-1)).log().mean()
    assert found["added"][1] == pytest.approx(float(size), rel=1e-4)


def test_runs_are_kept_one_by_one_and_gone_on_with(plan, tmp_path, monkeypatch):
    plan = plan | {"arms": {"unconstrained": None, "positive": {"sign": "positive"}}}
    text = " ".join(f"word {number} of a text" for number in range(900))
    for name in ("text.txt", "heldout.txt"):
        (tmp_path / name).write_text(text[: 4000 if name == "heldout.txt" else None], "utf-8")
    places = (tmp_path / "text.txt", tmp_path / "heldout.txt", tmp_path / "work")
    file = tmp_path / "runs.json"
    # No time: the first run starts, and no other.
    assert runs.run_all(plan, places, file, "cpu", seconds=0.0) == []
    kept = json.loads(file.read_text("utf-8"))
    assert list(kept["runs"]) == ["unconstrained/0"]
    assert runs.run_all(plan, places, file, "cpu", seconds=1e9) == []
    whole = json.loads(file.read_text("utf-8"))
    assert list(whole["runs"]) == [runs.name(*task) for task in runs.tasks(plan)]
    assert whole["runs"]["unconstrained/0"] == kept["runs"]["unconstrained/0"]
    assert whole["seconds"] > kept["seconds"]
    with pytest.raises(ValueError, match="another plan"):
        runs.read(file, plan | {"seeds": [0]})
    monkeypatch.setattr(records, "digests", lambda _: {})
    with pytest.raises(ValueError, match="another code"):
        runs.read(file, plan)


def test_the_plan_names_its_arms():
    plan = runs.plan()
    assert len(runs.tasks(plan)) == len(plan["arms"]) * len(plan["seeds"]) == 32
    for pair in plan["plan"]["secondary"]:
        assert set(pair) <= plan["arms"].keys()
    assert all(held is None or refine.InputOutput(**held) for held in plan["arms"].values())
