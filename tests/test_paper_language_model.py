"""Training of a small language model: its data, its resumption, what it leaves behind."""

import lzma
from dataclasses import replace

import pytest
import torch

from tokensphere import checkpoint
from tokensphere.paper.experiments import language_model as lm
from tokensphere.paper.experiments import language_text

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
    documents = language_text.read_documents(texts[0])
    assert len(documents) > 10
    assert not any("\x03" in text for text in documents)
    tokenizer = language_text.train_tokenizer(documents, 300)
    row = language_text.encode(tokenizer, documents)
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


def test_a_run_killed_between_its_last_step_and_its_model_ends_once(texts, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    def kill(*_, **__):
        raise Killed

    from transformers import MambaForCausalLM

    with monkeypatch.context() as patch:
        patch.setattr(MambaForCausalLM, "save_pretrained", kill)
        with pytest.raises(Killed):
            train(texts, tmp_path)
    assert lm.read_history(tmp_path)["step"] == SMALL.steps
    history = train(texts, tmp_path)
    assert [entry["step"] for entry in history["heldout"]] == [SMALL.steps]
    assert (tmp_path / "model.safetensors").is_file()
    # At its end it is left alone.
    monkeypatch.setattr(lm, "build", kill)
    assert train(texts, tmp_path) == lm.read_history(tmp_path) == history


def test_checkpoints_are_as_far_apart_as_they_may_be(texts, tmp_path, monkeypatch):
    saved = []
    save = checkpoint.save
    monkeypatch.setattr(
        checkpoint,
        "save",
        lambda file, state: saved.append(state["history"]["step"]) or save(file, state),
    )
    train(texts, tmp_path / "far", steps=70)
    assert saved == [70]
    saved.clear()
    monkeypatch.setattr(lm, "PATIENCE", 0.0)
    train(texts, tmp_path / "near", steps=70)
    assert saved == [50, 70, 70]


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
    assert lm.read_history(tmp_path) == history


def test_prompts_after_bos_are_those_without_it():
    kept = torch.arange(2, 290)
    first = language_text.prompts(kept, 5, 7, bos=0)
    assert first.shape == (5, 7)
    assert bool((first[:, 0] == 0).all())
    assert torch.equal(first[:, 1:], language_text.prompts(kept, 5, 6, bos=None))


@pytest.mark.parametrize("seconds", [0, None], ids=["under way", "at its end"])
def test_another_configuration_or_other_code_does_not_go_on(texts, tmp_path, monkeypatch, seconds):
    config = replace(SMALL, steps=60)
    lm.train(config, *texts, tmp_path, "cpu", seconds=seconds)
    with pytest.raises(ValueError, match="^out: .* belongs to a run with another configuration"):
        train(texts, tmp_path, steps=60, rate=0.5)
    monkeypatch.setattr(lm.records, "digest", lambda _: "other")
    with pytest.raises(ValueError, match="^out: .* belongs to a run with another code"):
        train(texts, tmp_path, steps=60)


def test_half_a_history_is_refused(texts, tmp_path):
    (tmp_path / "history.json").write_text("{", "utf-8")
    with pytest.raises(ValueError, match="history.json: no history of a training"):
        train(texts, tmp_path)


@pytest.mark.parametrize(
    ("name", "value"), [("layers", 0), ("bos", 1.5), ("rate", -1.0), ("warmup", 6)]
)
def test_bad_numbers_are_named(name, value):
    with pytest.raises(ValueError, match=f"^{name}: got {value}"):
        replace(SMALL, **{name: value})


def test_texts_without_enough_tokens_are_named(texts, tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_text("\x03 \x03", "utf-8")
    for text, heldout, message in (
        (empty, texts[1], "empty.txt: holds no text"),
        (texts[0], empty, "empty.txt: holds no text"),
    ):
        with pytest.raises(ValueError, match=message):
            train((text, heldout), tmp_path / "out")
    with pytest.raises(ValueError, match="^heldout: .* tokens, takes more than 500"):
        train((texts[0], texts[1]), tmp_path / "out", context=500)
