"""Hybrids of transformers: mixers' outputs out of their tensors, padding, dtypes, what is heard.

The first families are in test_sinks_capture.py, mamba-ssm's own in test_sinks_mamba_ssm_mixers.py.
"""

from dataclasses import replace

import pytest
import torch
from hybrids import (
    COMMON,
    EVERY,
    HYBRIDS,
    NAMES,
    ROUNDING,
    assert_unheard_alike,
    bamba,
    build,
    falcon_h1,
    granite,
    nemotron,
    zamba,
    zamba2,
    zamba2_config,
    zamba_config,
)
from test_sinks_capture import LENGTHS, batch, tensors

from tokensphere.sinks.capture import capture, check, each_layer, rebuild
from tokensphere.sinks.scores import importance
from tokensphere.sinks.walk import find_mixers

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", HYBRIDS)
def test_output_is_that_of_the_hidden_attention(family, side):
    errors = check(build(HYBRIDS[family]), batch(side))
    assert list(errors) == NAMES[family.partition("-")[0]]
    assert max(errors.values()) <= ROUNDING


@pytest.mark.parametrize("family", HYBRIDS)
def test_every_tensor_matters_to_the_output(family):
    """The negative control of the test above: each tensor, a little off, is noticed."""
    model = build(HYBRIDS[family])
    layer = capture(model, batch("left"))[0]
    want = rebuild(model, layer)
    g = torch.Generator().manual_seed(2)
    found = {**tensors(layer), "beside": layer.beside}
    # A gate that comes after a norm stands beside the values.
    absent = "gate" if family == "falcon-h1-norm-before-gate" else "beside"
    assert found.pop(absent) is None
    for name, value in found.items():
        value = value * (1 + 0.05 * torch.randn(value.shape, generator=g))
        changed = rebuild(model, replace(layer, **{name: value}))
        assert float((changed - want).abs().max() / want.abs().max()) > 1e-4, name


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", HYBRIDS)
def test_padding_changes_nothing(family, side):
    model, inputs = build(HYBRIDS[family]), batch(side)
    together = capture(model, inputs)
    for index, length in enumerate(LENGTHS):
        ids = inputs["input_ids"][index][inputs["attention_mask"][index].bool()]
        for one, many in zip(capture(model, ids[None]), together, strict=True):
            assert many.lengths.tolist() == LENGTHS
            for name in ("u", "delta", "B", "C", "gate", "beside"):
                part, alone = getattr(many, name), getattr(one, name)
                if part is None:
                    assert alone is None
                    continue
                # Matrix products of other shapes sum in another order.
                torch.testing.assert_close(
                    part[index, ..., :length], alone[0], rtol=1e-4, atol=ROUNDING
                )
                assert not part[index, ..., length:].any()


@pytest.mark.parametrize(
    "model",
    [
        lambda: bamba(mamba_proj_bias=True),
        lambda: zamba(mamba_proj_bias=True),
        lambda: zamba2(add_bias_linear=True),
        lambda: falcon_h1(mamba_proj_bias=True),
        lambda: granite(mamba_proj_bias=True),
        lambda: nemotron(use_bias=True),
        lambda: bamba(mamba_conv_bias=False),
        lambda: zamba(mamba_conv_bias=False),
        lambda: nemotron(use_conv_bias=False),
    ],
    ids=lambda model: None,
)
@pytest.mark.parametrize("side", ["left", "right"])
def test_biases(model, side):
    """A bias of in_proj reaches the first tokens from padding on the left, as in the model."""
    assert max(check(build(model), batch(side)).values()) <= ROUNDING


def test_sizes():
    heads = {
        "bamba": (4, 32, 2),
        "zamba": (32, 32, 4),
        "zamba2": (4, 32, 2),
        "falcon-h1": (4, 24, 2),
        "granite": (4, 32, 2),
        "nemotron": (4, 24, 2),
    }
    for family, (count, channels, groups) in heads.items():
        for layer in capture(build(HYBRIDS[family]), batch("right")):
            assert layer.u.shape == (3, channels, 9) and layer.skip.shape == (channels,)
            assert layer.delta.shape == (3, count, 9) and layer.A.shape == (count, 5)
            assert layer.B.shape == layer.C.shape == (3, groups, 5, 9)
            assert float(layer.A.max()) < 0 and not layer.reverse


@pytest.mark.parametrize(
    ("family", "least", "largest"),
    [
        ("bamba", 0.3, 0.7),
        ("granite", 0.3, 0.7),
        ("falcon-h1", 0.3, 0.7),
        ("zamba2", 0.4, None),
        ("nemotron", 0.4, None),
    ],
)
def test_limits_of_steps(family, least, largest):
    layer = capture(build(HYBRIDS[family]), batch("right"))[-1]
    steps = layer.delta.mT[layer.mask]
    assert float(steps.min()) == pytest.approx(least)
    if largest is None:
        assert float(steps.max()) > 0.8
    else:
        assert float(steps.max()) == pytest.approx(largest)
    # Not all of them at a limit, or the test of the steps would be none.
    assert int(((steps > steps.min()) & (steps < steps.max())).sum()) > 10


@pytest.mark.parametrize("family", HYBRIDS)
def test_double_precision(family):
    # Experts run in float32 at most, in transformers.
    make = (lambda: granite(experts=0)) if family == "granite" else HYBRIDS[family]
    model = build(make).double()
    layers = capture(model, batch("left"))
    found = [value for layer in layers for value in tensors(layer).values() if value is not None]
    assert {value.dtype for value in found} == {torch.float64}
    # transformers rounds what it scans and normalises to float32: 6e-8 each.
    assert max(check(model, batch("left")).values()) < 1e-6


@pytest.mark.parametrize("kept", ["A_log", "D", "dt"])
@pytest.mark.parametrize("family", ["mamba", "mamba2", "zamba", "falcon-h1"])
def test_parameters_that_stay_in_float32(family, kept):
    """As transformers keeps Zamba's A_log whatever the dtype that a model is loaded in."""
    model = EVERY[family]().double()
    for mixer in find_mixers(model).values():
        for name, value in mixer.named_parameters():
            if name.startswith(kept) and "weight" not in name:
                value.data = value.data.float()
    for layer in capture(model, batch("left")):
        assert {layer.delta.dtype, layer.A.dtype, layer.skip.dtype} == {torch.float64}
    assert max(check(model, batch("left")).values()) < 1e-6


@pytest.mark.parametrize("family", HYBRIDS)
def test_half_precision(family):
    model = build(HYBRIDS[family]).bfloat16()
    for layer in capture(model, batch("left")):
        assert {layer.delta.dtype, layer.A.dtype, layer.skip.dtype} == {torch.float32}
        around = layer.beside if layer.gate is None else layer.gate
        assert {v.dtype for v in (layer.u, layer.B, layer.C, around)} == {torch.bfloat16}
    # One rounding to bfloat16 is 2^-9. The model on a CPU rounds the step three times before it
    # exponentiates it, and for Zamba the state and each product at every token.
    assert max(check(model, batch("left")).values()) < 2**-6


@pytest.mark.parametrize("family", EVERY)
def test_scores_need_no_values(family):
    model, inputs = EVERY[family](), batch("left")
    lean = each_layer(model, inputs, lambda layer: layer, values=False)
    for one, full in zip(lean, capture(model, inputs), strict=True):
        assert one.u.is_meta and one.u.shape == full.u.shape
        assert one.gate is None and one.beside is None
        # A convolution of fewer channels may sum in another order. There is nan past the length.
        torch.testing.assert_close(importance(one), importance(full), equal_nan=True)


@pytest.mark.parametrize("family", EVERY)
def test_what_was_not_heard_is_computed(family):
    assert_unheard_alike(EVERY[family](), batch("left"))


@pytest.mark.parametrize("family", [name for name in EVERY if name != "typeseg"])
def test_no_cache_is_filled(family):
    """Of the mixers' states: memory for nothing, and where there is no attention, an error."""
    model, found = EVERY[family](), []
    for mixer in find_mixers(model).values():
        mixer.register_forward_pre_hook(
            lambda module, args, named: found.append(named["cache_params"]), with_kwargs=True
        )
    capture(model, batch("left"))
    assert found and all(cache is None for cache in found)


@pytest.mark.parametrize("family", HYBRIDS)
def test_offloaded_weights_are_fetched(family):
    accelerate = pytest.importorskip("accelerate")
    model, inputs = build(HYBRIDS[family]), batch("left")
    want = capture(model, inputs)
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    assert all(value.is_meta for value in model.parameters())
    lean = each_layer(model, inputs, lambda layer: layer, values=False)
    for got, without, expected in zip(capture(model, inputs), lean, want, strict=True):
        torch.testing.assert_close(tensors(got), tensors(expected))
        torch.testing.assert_close(without.B, expected.B)
    assert max(check(model, inputs).values()) <= ROUNDING


@pytest.mark.parametrize("family", HYBRIDS)
def test_a_model_without_its_head(family):
    model, inputs = build(HYBRIDS[family]), batch("left")
    inner = model.get_submodule(model.base_model_prefix)
    want, got = capture(model, inputs), capture(inner, inputs)
    assert [layer.name for layer in want] == [f"{model.base_model_prefix}.{x.name}" for x in got]
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one.delta, other.delta)
    assert max(check(inner, inputs).values()) <= ROUNDING


@pytest.mark.parametrize(
    "classifier",
    [
        lambda: transformers.ZambaForSequenceClassification(zamba_config(num_labels=3)),
        lambda: transformers.Zamba2ForSequenceClassification(zamba2_config(num_labels=3)),
        lambda: transformers.JambaForSequenceClassification(
            transformers.JambaConfig(
                **COMMON,
                num_hidden_layers=2,
                attn_layer_period=2,
                attn_layer_offset=1,
                num_experts=1,
                mamba_d_state=5,
                mamba_dt_rank=3,
                num_labels=3,
            )
        ),
    ],
    ids=["zamba", "zamba2", "jamba"],
)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_sequence_classifier(classifier, side):
    errors = check(build(classifier), batch(side))
    assert errors and max(errors.values()) <= ROUNDING


def test_a_class_with_a_forward_of_its_own_is_refused():
    """What it computes cannot be known; a class that only adds a name is another matter."""
    model = build(bamba)
    mixer = model.model.layers[2].mamba
    kind = type(mixer)
    mixer.__class__ = type("Renamed", (kind,), {})
    assert max(check(model, batch("left")).values()) <= ROUNDING
    mixer.__class__ = type("Changed", (kind,), {"forward": lambda self, *a, **k: 0})
    with pytest.raises(ValueError, match="layers.2.mamba is a Changed with a forward of its own"):
        capture(model, batch("left"))
