"""Scores over batches are the scores of each prompt by itself."""

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

from tokensphere import sinks
from tokensphere.paper.experiments import falcon_shape


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "hidden_size": 12, "state_size": 4, "num_hidden_layers": 3}
    return MambaForCausalLM(MambaConfig(**sizes)).eval()


@pytest.fixture(scope="module")
def ids():
    return torch.randint(40, (5, 9), generator=torch.Generator().manual_seed(1))


def test_batches_of_several_lengths(model, ids):
    mask = torch.ones_like(ids[:2])
    mask[0, :3] = 0
    batches = [{"input_ids": ids[:2], "attention_mask": mask}, ids[2:, :7]]
    found = sinks.measure(model, batches, threshold=0.05, maps=True)
    assert [layer.name for layer in found] == [f"backbone.layers.{i}.mixer" for i in range(3)]
    prompts = [ids[0, 3:], ids[1], *ids[2:, :7]]
    each = [sinks.capture(model, prompt[None]) for prompt in prompts]
    for depth, layer in enumerate(found):
        for variant in sinks.VARIANTS:
            alone = [sinks.importance(layers[depth], variant)[0] for layers in each]
            for row, rate, alpha in zip(
                layer.scores[variant], layer.rates[variant], alone, strict=True
            ):
                length = alpha.shape[1]
                torch.testing.assert_close(row[:length], alpha.mean(0).double())
                torch.testing.assert_close(rate[:length], (alpha > 0.05).double().mean(0))
                assert bool(row[length:].isnan().all())
            firsts = torch.stack([alpha[:, :6] for alpha in alone])
            pooled = (firsts.mean(0) > 0.05).double().mean(0)
            torch.testing.assert_close(layer.pooled_rates[variant][:6], pooled)
        maps = [sinks.attention_map(layers[depth], "softmax")[:6, :6] for layers in each]
        torch.testing.assert_close(layer.map, torch.stack(maps).mean(0).double())


def test_a_sample_of_channels(model, ids):
    found = sinks.measure(model, [ids], channels=5, seed=7, variants=["raw"])
    whole = sinks.capture(model, ids)
    drawn = [layer.channels.tolist() for layer in found]
    assert len({tuple(channels) for channels in drawn}) == 3
    for depth, (layer, full) in enumerate(zip(found, whole, strict=True)):
        assert torch.equal(layer.channels, sinks.sample_channels(24, 5, 7, depth))
        assert layer.total == 24
        want = sinks.importance(full)[:, layer.channels].mean(1)
        torch.testing.assert_close(layer.scores["raw"], want.double())
        assert layer.map is None


def test_nothing_to_measure(model):
    with pytest.raises(ValueError, match="^batches: there is none"):
        sinks.measure(model, [])


def test_a_broken_model_is_no_result(ids):
    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "hidden_size": 12, "state_size": 4, "num_hidden_layers": 2}
    broken = MambaForCausalLM(MambaConfig(**sizes)).eval()
    with torch.no_grad():
        broken.backbone.layers[1].mixer.x_proj.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"layers.1.mixer: its scores are not .*x_proj"):
        sinks.measure(broken, [ids])


def test_the_shape_of_7b_at_small_size():
    found = falcon_shape.run(layers=2, width=16, length=40, device="cpu")
    assert found["channels"] == 32
    assert found["output_unchanged"]
    # bf16 keeps 8 bits, and a mixer rounds a few times.
    assert found["rebuilt_error"] < 2**-6
    for scores in found["scores"].values():
        assert len(scores["mean"]) == 2
        assert len(scores["mean"][0]) == falcon_shape.SHORT
