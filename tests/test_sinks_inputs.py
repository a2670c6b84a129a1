"""How a report's prompts go into a model: where to, how padded, in which batches."""

import math

import pytest
import torch
from hybrids import zamba2_config
from test_cli_sinks_options import jamba

from tokensphere.sinks import report
from tokensphere.sinks.report import inputs
from tokensphere.sinks.report.prompts import Prompts

transformers = pytest.importorskip("transformers")


def mamba():
    sizes = {"vocab_size": 24, "hidden_size": 16, "state_size": 4, "num_hidden_layers": 2}
    return transformers.MambaForCausalLM(transformers.MambaConfig(**sizes))


@torch.no_grad()
def classifier(kind, padding=2):
    """One answer a sequence, of weights so large that another token's answer is another."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = {"Jamba": jamba, "Zamba2": zamba2_config}[kind]()
        config.vocab_size, config.pad_token_id, config.num_labels = 24, padding, 3
        model = getattr(transformers, f"{kind}ForSequenceClassification")(config).double().eval()
        for name, value in model.named_parameters():
            if value.ndim == 2 and not name.endswith("A_log"):
                torch.nn.init.normal_(value, std=2 / math.sqrt(value.shape[1]))
            elif name.endswith("A_log"):
                value -= 6.0  # a long memory
    return model.requires_grad_(False)


def drawn(least, lengths=(8, 6, 7, 6, 9)):
    g = torch.Generator().manual_seed(1)
    return [torch.randint(least, 24, (length,), generator=g) for length in lengths]


def numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    return [n for each in value for n in numbers(each)] if isinstance(value, list) else [value]


@pytest.mark.parametrize("kind", ["Jamba", "Zamba2"])
@pytest.mark.parametrize("case", ["no padding in prompts", "padding in prompts", "padding unknown"])
def test_a_classifiers_ablation_is_the_same_in_batches_of_any_size(kind, case):
    model, prompts = classifier(kind), drawn(3)
    if case == "padding in prompts":
        for prompt in prompts[1:]:
            prompt[[2, -1]] = 2
    elif case == "padding unknown":
        model.config.pad_token_id = 1000
    one, many = (
        report.measure_model(model, prompts, batch_size=size, ablate=True)["ablation"]
        for size in (1, 16)
    )
    assert one["counted"] == "one"
    assert max(layer["first"]["kl"]["mean"] for layer in one["layers"]) > 1e-8
    for got, want in zip(numbers(many), numbers(one), strict=True):
        if isinstance(want, float):
            # Five digits are kept, and Mamba-2 computes in float32 whatever its weights are.
            want = pytest.approx(want, 5e-3, 1e-12)
        assert got == want


def test_a_classifier_without_a_padding_token_is_refused():
    """transformers' own refusal: of several sequences it would take the last column."""
    with pytest.raises(ValueError, match="no padding token is defined"):
        report.measure_model(classifier("Jamba", None), drawn(3), ablate=True)


@pytest.mark.parametrize(
    ("token", "want"), [(7, 7), (0, 0), (None, None), (-1, None), (24, None), ([3], None)]
)
def test_the_padding_is_the_models_own_where_it_knows_it(token, want):
    model = mamba()
    object.__setattr__(model.config, "pad_token_id", token)
    assert inputs.padding_of(model) == want
    assert inputs.padding_of(torch.nn.Linear(2, 2)) is None
    padded = Prompts.of(drawn(3), "cpu", 7)
    assert set(padded.ids[~padded.mask].tolist()) == {7}


def test_batches_of_prompts_of_one_length():
    prompts = Prompts.of(drawn(3, (5, 3, 5, 5, 4, 3)), "cpu")
    assert prompts.spans(2) == [(0, 2), (2, 4), (4, 6)]
    apart = Prompts(prompts.ids, prompts.lengths, prompts.order, "cpu", apart=True)
    assert apart.spans(2) == [(0, 2), (2, 3), (3, 4), (4, 6)]
    assert apart.spans(16) == [(0, 3), (3, 4), (4, 6)]
    assert all("attention_mask" not in batch for batch in apart.batches(16))
    assert apart.first(3).apart


def test_inputs_go_where_a_split_models_embeddings_are():
    class Hook:
        execution_device = "meta"

    model = mamba()
    assert inputs.device_of(model) == torch.device("cpu")
    embeddings = model.get_input_embeddings()
    embeddings._hf_hook = Hook()
    try:
        assert inputs.device_of(model) == torch.device("meta")
    finally:
        del embeddings._hf_hook
    # Weights that accelerate holds back are on no device; others say where the model is.
    elsewhere = torch.nn.Sequential(torch.nn.Linear(2, 2, device="meta"), torch.nn.Linear(2, 2))
    assert inputs.device_of(elsewhere) == torch.device("cpu")
