"""Small models in folders, and the command `tokensphere sinks` run on them."""

import pytest
import torch

from tokensphere import cli
from tokensphere.sinks.report import sources

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

WORDS = [f"w{index}" for index in range(20)]
SIZES = {"vocab_size": 24, "hidden_size": 16, "state_size": 4, "num_hidden_layers": 2}


def tokenizer():
    """Words, with <bos> before the first as the tokenizer's own default."""
    vocabulary = {word: index for index, word in enumerate(["<unk>", "<bos>", *WORDS])}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    model.post_processor = tokenizers.processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 1)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=model, bos_token="<bos>", unk_token="<unk>"
    )


def make(folder, model):
    with sources.quiet():
        model.save_pretrained(folder)
        tokenizer().save_pretrained(folder)
    return folder


def build(folder):
    """Small models of a few kinds, each in a folder with a tokenizer."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {
            "mamba": make(
                folder / "mamba",
                transformers.MambaForCausalLM(transformers.MambaConfig(**SIZES)),
            ),
            "falcon": make(
                folder / "falcon",
                transformers.FalconMambaForCausalLM(transformers.FalconMambaConfig(**SIZES)),
            ),
            "gpt2": make(
                folder / "gpt2",
                transformers.GPT2LMHeadModel(
                    transformers.GPT2Config(vocab_size=24, n_embd=8, n_head=1, n_layer=1)
                ),
            ),
        }


def run(model, *options, prompts="prompts.txt", out="report"):
    return cli.main(["sinks", str(model), "--prompts", prompts, "--out", out, *options])


def refused(capsys, place, arguments, *said, prompts="prompts.txt", out="report"):
    """Exit code 2, one line on stderr that says all of `said`, and no new file."""
    before = sorted(place.iterdir())
    assert run(*arguments, prompts=prompts, out=out) == 2
    printed, err = capsys.readouterr()
    assert printed == ""
    assert err.startswith("tokensphere: ") and err.count("\n") == 1, err
    for part in said:
        assert part in err
    assert sorted(place.iterdir()) == before


def copy(models, place, *without):
    folder = place / "model"
    folder.mkdir()
    for entry in models["mamba"].iterdir():
        if entry.name not in without:
            (folder / entry.name).write_bytes(entry.read_bytes())
    return folder
