"""Three language models: trained apart, killed and gone on with, and put into one record."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from tokensphere import checkpoint, records
from tokensphere.paper.experiments import language_model as lm
from tokensphere.paper.experiments import language_model_outcomes as outcomes
from tokensphere.paper.experiments import language_models as models
from tokensphere.paper.experiments import language_text
from tokensphere.paper.figures import sink_training

TINY = lm.Config(
    layers=2, width=8, states=4, vocabulary=300, context=12, batch=2, steps=60, warmup=2
)
ALL = {"first": TINY, "second": replace(TINY, seed=1), "larger": replace(TINY, layers=3, width=12)}
TEXT = "the cat sat on a mat and the dog ran to it while rain fell on every red roof"
WORDS = TEXT.split()

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A text and a held-out one, made of a few words."""
    folder, g = tmp_path_factory.mktemp("texts"), torch.Generator().manual_seed(0)
    files = []
    for name, count in (("text.txt", 900), ("heldout.txt", 400)):
        chosen = torch.randint(len(WORDS), (count,), generator=g).tolist()
        files.append(folder / name)
        files[-1].write_text(" ".join(WORDS[i] for i in chosen), "utf-8")
    return files


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(models, "MODELS", ALL)
    monkeypatch.setattr(models, "PROMPTS", 8)


def train(texts, out, name, *more):
    places = ["--text", str(texts[0]), "--heldout", str(texts[1]), "--out", str(out)]
    return models.main(["--model", name, *places, "--device", "cpu", *more])


def test_runs_of_three_models_make_one_record(tiny, texts, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(models, "moments", lambda steps: [0, steps // 10])
    out, file = tmp_path / "runs", tmp_path / "record.json"

    def record():
        return models.main(["--out", str(out), "--record", str(file), "--device", "cpu"])

    assert train(texts, out, "first") == 0
    # It stops at the first look at the clock, after 50 steps.
    assert train(texts, out, "second", "--seconds", "0") == 0
    capsys.readouterr()
    assert record() == 2
    assert capsys.readouterr().err == (
        "language_models: out: second is at step 50 of 60: train it to its end\n"
    )
    # What it has so far can be read.
    assert set(lm.read_history(out / "second")["measured"]) == {"0", "6"}
    assert train(texts, out, "second") == 0
    assert record() == 2
    assert "larger holds no run" in capsys.readouterr().err
    # With the texts a record trains what is missing.
    given = ["--text", str(texts[0]), "--heldout", str(texts[1])]
    arguments = ["--out", str(out), "--record", str(file), "--device", "cpu"]
    assert models.main([*arguments, *given]) == 0
    kept = file.with_suffix("")
    assert {path.name for path in kept.iterdir()} == set(models.WEIGHTS)
    for name in models.WEIGHTS:
        assert (kept / name).read_bytes() == (out / "first" / name).read_bytes()

    data = records.load(file).data
    assert list(data["models"]) == list(ALL)
    for name, history in data["models"].items():
        assert [entry["step"] for entry in history["heldout"]] == [0, 6, 60]
        assert outcomes.steps(data, name) == [0, 6, 60]
        for length in models.LENGTHS:
            for way in ("bos", "none"):
                found = outcomes.outcomes(data, name, 60, length, way)
                assert len(found) == ALL[name].layers
                assert set(found) <= set(sink_training.OUTCOMES)
    assert set(outcomes.answers(data).values()) <= {"yes", "no", "undecided"}
    lines = sink_training.outcomes(data).data.splitlines()
    assert len(lines) == 2 + 3 * 3
    assert "*larger*: 3 layers of width 12" in sink_training.training(data).data


def test_a_record_takes_runs_of_these_models_and_this_code_alone(
    tiny, texts, tmp_path, monkeypatch
):
    monkeypatch.setattr(models, "MODELS", {"first": TINY})
    monkeypatch.setattr(models, "LENGTHS", (16,))
    train(texts, tmp_path, "first")
    assert set(models.collect(tmp_path)) == {"first"}
    with monkeypatch.context() as patch:
        patch.setattr(models, "MODELS", {"first": replace(TINY, rate=0.5)})
        with pytest.raises(ValueError, match="^out: first is a run of another configuration"):
            models.collect(tmp_path)
    monkeypatch.setattr(records, "digest", lambda _: "other")
    with pytest.raises(ValueError, match="^out: first is a run of .* other code"):
        models.collect(tmp_path)


KILLED = """
import os, signal, sys
from tokensphere.paper.experiments import language_model, language_models

def windows(tokens, config, step, bos, own=language_model.windows):
    if step == 130:
        os.kill(os.getpid(), signal.SIGKILL)
    return own(tokens, config, step, bos)

language_model.windows = windows
language_model.records.digests = lambda modules: {}
language_model.PATIENCE = 0.0
language_models.PROMPTS, language_models.LENGTHS = 8, (16,)
language_models.MODELS = {"first": language_model.Config(**CONFIG)}
sys.exit(language_models.main())
"""


def test_a_killed_run_goes_on(tiny, texts, tmp_path, monkeypatch):
    """SIGKILL, as a scheduler does it; what it left is whole, and used."""
    config = replace(TINY, steps=160, width=4, layers=1, context=4)
    code = KILLED.replace("CONFIG", repr(vars(config)))
    command = [sys.executable, "-c", code, "--model", "first", "--out", str(tmp_path)]
    command += ["--text", str(texts[0]), "--heldout", str(texts[1]), "--device", "cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    # Another code is no matter here: minutes may lie between the two halves where much else runs.
    monkeypatch.setattr(records, "digests", lambda modules: {})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = tmp_path / "first"
    assert checkpoint.load(folder / "checkpoint.pt")["history"] == lm.read_history(folder)
    assert lm.read_history(folder)["step"] == 100
    monkeypatch.setattr(models, "MODELS", {"first": config})
    monkeypatch.setattr(models, "LENGTHS", (16,))
    drawn = []
    windows = lm.windows
    monkeypatch.setattr(lm, "windows", lambda *args: drawn.append(args[2]) or windows(*args))
    assert train(texts, tmp_path, "first") == 0
    assert drawn == list(range(100, 160))
    history = lm.read_history(folder)
    assert [entry["step"] for entry in history["train"]] == [50, 100, 150, 160]
    assert [entry["step"] for entry in history["heldout"]] == [0, 2, 5, 16, 51, 160]
    assert not (folder / "checkpoint.pt").exists()
    assert (folder / "model.safetensors").is_file()


def test_intervals_are_for_all_layers_at_once(texts):
    tokenizer = language_text.train_tokenizer(language_text.read_documents(texts[0]), 300)
    kept = torch.arange(2, 290)
    model = lm.build(TINY, tokenizer).eval()
    found = models.sink_scores(model, tokenizer, kept, count=6, lengths=[7])
    assert list(found) == ["7"]
    for way, bos in {"bos": tokenizer.bos_token_id, "none": None}.items():
        layers = models.measure(model, [language_text.prompts(kept, 6, 7, bos)])
        for depth, layer in enumerate(layers):
            shares = layer.scores["absolute"][:, 0]
            # Two layers: half of 0.05 for each.
            low, high = models.interval(shares, 0.975)
            got = [found["7"][way][name][depth] for name in ("mean", "low", "high", "rate")]
            rate = layer.rates["raw"][:, 0].mean()
            want = [float(value) for value in (shares.mean(), low, high, rate)]
            # Six digits are kept.
            assert got == pytest.approx(want, rel=1e-5)


def made_up(**shares):
    """Data with shares over uniform attention's of two layers, at the first and at the last moment;
    intervals reach 0.15 to both sides."""
    null = outcomes.uniform(64)

    def cell(values):
        ends = {"mean": 0.0, "low": -0.15, "high": 0.15}
        return {"64": {"bos": {k: [null * (v + d) for v in values] for k, d in ends.items()}}}

    return {
        "prompts": 256,
        "models": {
            name: {"measured": {"0": cell(first), "9": cell(last)}}
            for name, (first, last) in shares.items()
        },
    }


NONE, SINK, OPEN = [0.5, 0.6], [0.5, 1.3], [0.5, 1.1]
"""Layers without a sink; one with; one of which nothing can be said."""
LARGE = [1.4, 1.5]


@pytest.mark.parametrize(
    ("first", "second", "larger", "before", "want"),
    [
        (NONE, NONE, NONE, NONE, ("no", "no", "no")),
        (SINK, SINK, LARGE, NONE, ("yes", "yes", "yes")),
        # As many layers with one, and as large: not by size; there before training.
        (SINK, SINK, SINK, SINK, ("yes", "no", "undecided")),
        (NONE, OPEN, NONE, NONE, ("undecided", "no", "no")),
        # As many layers with one, but larger.
        (SINK, NONE, [0.5, 1.4], NONE, ("no", "undecided", "undecided")),
    ],
)
def test_answers_are_by_the_plan_s_rules(first, second, larger, before, want):
    data = made_up(first=(before, first), second=(before, second), larger=(before, larger))
    assert tuple(outcomes.answers(data).values()) == want


def test_outcomes_are_those_of_the_verdict():
    data = made_up(first=([1.16, 1.04], [1.14, 1.06]))
    # Above uniform by the whole interval it is a sink, however small; a fifth more is the margin.
    assert outcomes.outcomes(data, "first", 0, 64, "bos") == ["sink", "uniform"]
    assert outcomes.outcomes(data, "first", 9, 64, "bos") == ["undecided", "undecided"]
    assert outcomes.largest(data, "first", 0, 64, "bos") == pytest.approx((1.16, 1.01))


def test_the_plan_s_models_differ_as_it_says():
    first, second, larger = models.MODELS.values()
    assert second == replace(first, seed=1)
    assert first.layers / first.width == larger.layers / larger.width
    assert larger.width / first.width == 1.5 == pytest.approx(first.rate / larger.rate)
    assert replace(larger, layers=24, width=192, rate=3e-3) == first
    assert models.moments(first.steps) == [0, 32, 101, 320, 1012]


@pytest.mark.parametrize(
    "arguments",
    [["--model", "first"], ["--model", "none"], [], ["--model", "first", "--record", "x.json"]],
)
def test_what_is_missing_is_said_with_exit_code_2(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        models.main(["--out", str(tmp_path), *arguments])
    assert stopped.value.code == 2
    assert "language_models: error: " in capsys.readouterr().err


def test_bad_texts_are_one_line_and_exit_code_2(tiny, texts, tmp_path, capsys):
    assert train([tmp_path / "none.txt", texts[1]], tmp_path, "first") == 2
    error = capsys.readouterr().err
    assert "none.txt" in error
    assert error.count("\n") == 1


def test_the_kept_record_is_of_this_code():
    record = records.load(records.path("language_model.json"))
    assert list(record.data["models"]) == list(models.MODELS)
    assert os.path.getsize(records.path("language_model.json")) < 1_000_000
    for history in record.data["models"].values():
        losses = [entry["none"]["loss"] for entry in history["heldout"]]
        assert losses == sorted(losses, reverse=True)
    assert json.dumps(record.data, allow_nan=False)
