"""mamba-ssm's own mixers in a model in memory, fused or not, with all their options."""

from dataclasses import replace

import pytest
import torch
from hybrids import ROUNDING
from mamba_ssm_doubles import IDS, MAMBA, MAMBA2, MIXERS, PADDED, MambaLMHeadModel, native
from torch import nn

from tokensphere.sinks.capture import capture, check, each_layer, layers_of, rebuild
from tokensphere.sinks.mixers import find
from tokensphere.sinks.scores import importance
from tokensphere.sinks.walk import walk


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "modules"])
@pytest.mark.parametrize("case", MIXERS)
def test_mixers_in_memory(case, fused):
    config, options = MIXERS[case]
    model = native(config, **options, fused=fused)
    for inputs in (IDS, PADDED):
        if inputs is PADDED:
            model.forward = lambda input_ids, attention_mask: MambaLMHeadModel.forward(
                model, input_ids
            )
        errors = check(model, inputs)
        assert list(errors) == ["backbone.layers.0.mixer", "backbone.layers.1.mixer"]
        assert max(errors.values()) <= ROUNDING
    del model.forward
    layers, lean = capture(model, IDS), each_layer(model, IDS, lambda one: one, values=False)
    for one, full in zip(lean, layers, strict=True):
        assert one.u.is_meta and one.u.shape == full.u.shape and one.beside is None
        torch.testing.assert_close(importance(one), importance(full))
    assert max(check(model.double(), IDS).values()) < 1e-12


@pytest.mark.parametrize("case", MIXERS)
def test_every_tensor_matters(case):
    config, options = MIXERS[case]
    model = native(config, **options)
    layer = capture(model, IDS)[0]
    assert (layer.gate is None) is bool(options.get("norm_before_gate"))
    assert (layer.beside is None) is not ("d_ssm" in options or layer.gate is None)
    want = rebuild(model, layer)
    g = torch.Generator().manual_seed(2)
    for name in ("u", "delta", "A", "B", "C", "skip", "gate", "beside"):
        value = getattr(layer, name)
        if value is not None:
            value = value * (1 + 0.05 * torch.randn(value.shape, generator=g))
            changed = rebuild(model, replace(layer, **{name: value}))
            assert float((changed - want).abs().max() / want.abs().max()) > 1e-4, name


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "modules"])
@pytest.mark.parametrize("case", ["mamba", "mamba2"])
def test_what_is_heard(case, fused):
    config, options = MIXERS[case]
    model = native(config, **options, fused=fused)
    heard = {("mamba", True): set(), ("mamba", False): {"x_proj"}}.get((case, fused), {"in_proj"})

    def visit(name, mixer, seen, output, batch, flipped):
        assert set(seen.heard) == heard <= set(find(mixer).listens)
        with_it = layers_of(name, mixer, seen, batch)[0]
        without = layers_of(name, mixer, replace(seen, heard={}), batch)[0]
        for field in ("delta", "B", "C"):
            torch.testing.assert_close(getattr(without, field), getattr(with_it, field))
        visited.append(name)

    visited = []
    walk(model, IDS, visit)
    assert len(visited) == 2


def test_an_adapter_counts_where_its_module_is_called():
    """The fused kernel takes the weight of x_proj and passes an adapter by; so does the reader."""
    for fused in (True, False):
        model = native(MAMBA, fused=fused)
        before = capture(model, IDS)[0]
        for layer in model.backbone.layers:
            add = 0.3 * torch.randn(layer.mixer.x_proj.weight.shape)
            layer.mixer.x_proj.register_forward_hook(
                lambda module, args, output, add=add: output + args[0] @ add.T
            )
        assert max(check(model, IDS).values()) <= ROUNDING
        after = capture(model, IDS)[0]
        assert torch.allclose(after.B, before.B) is fused


def test_padding_on_the_left_is_refused():
    """These mixers take no mask: what stands before the tokens would enter their state."""
    model = native(MAMBA2)
    model.forward = lambda input_ids, attention_mask: MambaLMHeadModel.forward(model, input_ids)
    with pytest.raises(ValueError, match="^attention_mask: the model does not pass it"):
        capture(model, {"input_ids": IDS, "attention_mask": PADDED["attention_mask"].flip(1)})


@pytest.mark.parametrize("case", ["mamba", "mamba2"])
def test_forks_with_parts_of_their_own_are_refused(case):
    """Vision Mamba's class has the same name, and a second scan that would be left out."""
    model = native(MIXERS[case][0])
    for layer in model.backbone.layers:
        layer.mixer.A_b_log = nn.Parameter(layer.mixer.A_log.detach().clone())
    with pytest.raises(ValueError, match="^model: a mixer Mamba2? that holds A_b_log is a fork's"):
        capture(model, IDS)
