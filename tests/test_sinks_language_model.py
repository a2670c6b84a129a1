"""Training of a small language model: its data, its resumption, what it leaves behind."""

import json
import lzma
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest
import torch

from tokensphere import checkpoint, records
from tokensphere.sinks import language_model as lm

SMALL = lm.Config(
    layers=2,
    width=8,
    states=4,
    vocabulary=300,
    context=12,
    batch=2,
    steps=6,
    warmup=2,
    seed=3,
)
TEXT = "the cat sat on a mat and the dog ran to it while rain fell on every red roof"
WORDS = TEXT.split()

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A text and a held-out one, made of a few words."""
    folder = tmp_path_factory.mktemp("texts")
    g = torch.Generator().manual_seed(0)
    for name, count in (("text.txt.xz", 900), ("heldout.txt", 120)):
        chosen = torch.randint(len(WORDS), (count,), generator=g).tolist()
        text = " ".join(WORDS[i] for i in chosen).replace(" rain ", "\x03")
        if name.endswith("xz"):
            (folder / name).write_bytes(lzma.compress(text.encode()))
        else:
            (folder / name).write_text(text, "utf-8")
    return folder / "text.txt.xz", folder / "heldout.txt"


def test_documents_end_with_their_mark(texts):
    documents = lm.read_documents(texts[0])
    assert len(documents) > 10
    assert not any("\x03" in text for text in documents)
    tokenizer = lm.train_tokenizer(documents, 300)
    row = lm.encode(tokenizer, documents)
    assert (row == tokenizer.eos_token_id).sum() == len(documents)
    assert tokenizer.bos_token_id not in row
    assert tokenizer.decode(row[: list(row).index(tokenizer.eos_token_id)]) == documents[0]


def test_windows_are_a_function_of_seed_and_step():
    tokens = torch.arange(100, 1100, dtype=torch.int32)
    config = replace(SMALL, batch=400, bos=0.25)
    batch = lm.windows(tokens, config, 5, bos=0)
    assert torch.equal(batch, lm.windows(tokens, config, 5, bos=0))
    assert not torch.equal(batch, lm.windows(tokens, config, 6, bos=0))
    assert not torch.equal(batch, lm.windows(tokens, replace(config, seed=4), 5, bos=0))
    assert batch.shape == (400, 13)
    begins = batch[:, 0] == 0
    # 5 standard errors of the share of 400 draws.
    assert abs(float(begins.double().mean()) - 0.25) < 5 * (0.25 * 0.75 / 400) ** 0.5
    assert bool((batch[begins][:, 1:].diff() == 1).all())
    assert bool((batch[~begins].diff() == 1).all())


def train(texts, out, **changes):
    return lm.train(replace(SMALL, **changes), *texts, out, "cpu")


def test_a_run_that_stopped_ends_as_one_that_did_not(texts, tmp_path, monkeypatch):
    whole = train(texts, tmp_path / "whole", steps=60)
    # It stops at the first look at the clock, after 50 steps.
    first = lm.train(replace(SMALL, steps=60), *texts, tmp_path / "parts", "cpu", seconds=0)
    assert first["train"][-1]["step"] == 50
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    drawn = []
    windows = lm.windows
    monkeypatch.setattr(lm, "windows", lambda *args: drawn.append(args[2]) or windows(*args))
    resumed = train(texts, tmp_path / "parts", steps=60)
    assert drawn == list(range(50, 60))
    assert resumed["train"] == whole["train"]
    assert resumed["heldout"] == whole["heldout"]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]


def test_a_killed_run_goes_on(texts, tmp_path):
    """SIGKILL at some moment, as a scheduler does it; what it left is whole, and used."""
    arguments = {**asdict(SMALL), "steps": 2050, "width": 4, "layers": 1, "context": 4}
    command = [sys.executable, "-m", "tokensphere.sinks.language_model"]
    command += ["--text", str(texts[0]), "--heldout", str(texts[1]), "--out", str(tmp_path)]
    command += [text for name, value in arguments.items() for text in (f"--{name}", str(value))]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    kept = tmp_path / "checkpoint.pt"
    limit = time.monotonic() + 120
    while not kept.is_file() and time.monotonic() < limit and run.poll() is None:
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.wait()
    step = checkpoint.load(kept)["step"]
    assert 0 < step < 2050
    # One more of the same, cut short by its own steps: it starts where the other was killed.
    config = lm.Config(**arguments)
    history = lm.train(config, *texts, tmp_path, "cpu")
    assert [entry["step"] for entry in history["train"]] == list(range(50, 2051, 50))
    assert not kept.exists()
    assert (tmp_path / "model.safetensors").is_file()


def test_the_model_learns_and_is_read_back(texts, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    history = lm.train(
        replace(SMALL, steps=150, width=16, rate=0.01),
        *texts,
        tmp_path,
        "cpu",
        measure=lambda *_: {"seen": True},
        moments=[0],
    )
    first, last = history["heldout"][0], history["heldout"][-1]
    for way in ("bos", "none"):
        assert last[way]["loss"] < first[way]["loss"] - 10 * last[way]["error"]
    assert history["measured"] == {"0": {"seen": True}, "150": {"seen": True}}
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.dtype == torch.bfloat16
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer(TEXT, return_tensors="pt").input_ids
    loss = model(ids, labels=ids).loss
    assert float(loss) < torch.tensor(300.0).log()
    assert json.loads((tmp_path / "history.json").read_text()) == history


def test_sink_scores_of_every_layer(texts, tmp_path):
    tokenizer = lm.train_tokenizer(lm.read_documents(texts[0]), 300)
    model = lm.build(SMALL, tokenizer).eval()
    kept = torch.arange(2, 290)
    found = lm.sink_scores(model, tokenizer, kept, count=5, length=7)
    for way in ("bos", "none"):
        for scores in found[way].values():
            assert len(scores["mean"]) == SMALL.layers
            assert all(len(row) == 7 for row in scores["mean"])
            for row, low, high in zip(scores["mean"], scores["low"], scores["high"], strict=True):
                assert low <= row[0] <= high
    first = lm.prompts(kept, 5, 7, bos=0)
    assert bool((first[:, 0] == 0).all())
    assert torch.equal(first[:, 1:], lm.prompts(kept, 5, 6, bos=None))


def test_another_configuration_does_not_go_on(texts, tmp_path):
    lm.train(replace(SMALL, steps=60), *texts, tmp_path, "cpu", seconds=0)
    with pytest.raises(ValueError, match="^out: .* belongs to a run with another configuration"):
        train(texts, tmp_path, steps=60, rate=0.5)


@pytest.mark.parametrize(
    ("name", "value"), [("layers", 0), ("bos", 1.5), ("rate", -1.0), ("warmup", 6)]
)
def test_bad_numbers_are_named(name, value):
    with pytest.raises(ValueError, match=f"^{name}: got {value}"):
        replace(SMALL, **{name: value})


def test_bad_texts_are_one_line_and_exit_code_2(texts, tmp_path, capsys):
    empty = tmp_path / "empty.txt"
    empty.write_text("\x03 \x03", "utf-8")
    out = ["--out", str(tmp_path / "out"), "--context", "12", "--device", "cpu"]
    for text, heldout, message in (
        (empty, texts[1], "empty.txt: holds no text"),
        (tmp_path / "none.txt", texts[1], "none.txt"),
        (texts[0], empty, "empty.txt: holds no text"),
    ):
        code = lm.main(["--text", str(text), "--heldout", str(heldout), *out])
        error = capsys.readouterr().err
        assert code == 2
        assert message in error
        assert error.count("\n") == 1


def test_the_kept_record_is_of_this_code():
    record = records.load(records.path("language_model.json"))
    assert record.data["config"]["layers"] >= 24
    losses = [entry["none"]["loss"] for entry in record.data["heldout"]]
    assert losses == sorted(losses, reverse=True)
