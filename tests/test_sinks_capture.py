"""Captured S6 tensors: mixers' outputs put together from them, padding, no trace left behind."""

import math
import subprocess
import sys
import weakref
from collections import UserDict
from dataclasses import replace

import pytest
import torch

from tokensphere.sinks.capture import capture, check, each_layer, rebuild
from tokensphere.sinks.typeseg import TypeSeg

transformers = pytest.importorskip("transformers")

LENGTHS = [9, 5, 1]
VOCABULARY = 40
SIZES = {"vocab_size": VOCABULARY, "hidden_size": 12, "state_size": 5, "num_hidden_layers": 2}


def mamba(**options):
    # An activation unlike the gate's silu.
    config = transformers.MambaConfig(**SIZES, time_step_rank=3, hidden_act="gelu", **options)
    return transformers.MambaForCausalLM(config)


def falcon():
    # An eps that shows if it is forgotten.
    config = transformers.FalconMambaConfig(**SIZES, time_step_rank=3, mixer_rms_eps=0.3)
    return transformers.FalconMambaForCausalLM(config)


def jamba(attention_dropout=0.0):
    config = transformers.JambaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_hidden_layers=3,
        attn_layer_period=3,
        attn_layer_offset=1,
        num_experts=1,
        mamba_d_state=5,
        mamba_dt_rank=3,
        attention_dropout=attention_dropout,
    )
    return transformers.JambaForCausalLM(config)


def mamba2(groups=2):
    limit = (0.02, 0.1)  # so narrow that it shows if it is forgotten
    heads = {"num_heads": 4, "head_dim": 6, "n_groups": groups}
    config = transformers.Mamba2Config(**SIZES, **heads, chunk_size=4, time_step_limit=limit)
    return transformers.Mamba2ForCausalLM(config)


def typeseg():
    return TypeSeg(blocks=2, width=12, inner=10, states=5, rank=3, classes=7)


FAMILIES = {
    "mamba": mamba,
    "falcon": falcon,
    "jamba": jamba,
    "mamba2": mamba2,
    "mamba2-one-group": lambda: mamba2(1),
    "typeseg": typeseg,
}
NAMES = {
    "mamba": ["backbone.layers.0.mixer", "backbone.layers.1.mixer"],
    "jamba": ["model.layers.0.mamba", "model.layers.2.mamba"],
    "typeseg": ["blocks.0.mixer", "blocks.1.mixer"],
}


@torch.no_grad()
def build(family, seed=0):
    """A model whose every parameter is away from its initial value."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = FAMILIES[family]() if isinstance(family, str) else family()
    g = torch.Generator().manual_seed(seed)
    for name, value in model.named_parameters():
        noise = torch.randn(value.shape, generator=g)
        if value.ndim >= 2 and not name.endswith("A_log"):
            value.copy_(noise / math.sqrt(value[0].numel()))
        else:
            value.add_(0.4 * noise)
    return model.eval()


def batch(side, seed=1):
    """Sequences of LENGTHS, padded on one side with ids that mean something."""
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(VOCABULARY, (len(LENGTHS), max(LENGTHS)), generator=g)
    positions = torch.arange(max(LENGTHS)).expand_as(ids)
    lengths = torch.tensor(LENGTHS)[:, None]
    mask = positions < lengths if side == "right" else positions >= max(LENGTHS) - lengths
    return {"input_ids": ids, "attention_mask": mask.long()}


def tensors(layer):
    return {name: getattr(layer, name) for name in ("u", "delta", "A", "B", "C", "skip", "gate")}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_output_is_that_of_the_hidden_attention(family, side):
    errors = check(build(family), batch(side))
    names = NAMES.get(family, NAMES["mamba"])
    assert list(errors) == names
    # float32 rounding of sums of some 50 terms of order 1.
    assert max(errors.values()) <= 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_matters_to_the_output(family):
    """The negative control of the test above: each tensor, a little off, is noticed."""
    model = build(family)
    layers = capture(model, batch("left"))
    layers = [layer for layer in layers if layer.name == layers[0].name]
    want = rebuild(model, *layers)
    g = torch.Generator().manual_seed(2)
    for name, value in tensors(layers[0]).items():
        # One factor for all would not do: Mamba-2 normalises it away.
        value = value * (1 + 0.05 * torch.randn(value.shape, generator=g))
        changed = rebuild(model, replace(layers[0], **{name: value}), *layers[1:])
        assert float((changed - want).abs().max() / want.abs().max()) > 1e-4, name


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_nothing(family, side):
    model, inputs = build(family), batch(side)
    together = capture(model, inputs)
    for index, length in enumerate(LENGTHS):
        ids = inputs["input_ids"][index][inputs["attention_mask"][index].bool()]
        alone = capture(model, ids[None])
        assert [(a.name, a.reverse) for a in alone] == [(b.name, b.reverse) for b in together]
        for one, many in zip(alone, together, strict=True):
            assert one.lengths.tolist() == [length]
            assert many.lengths.tolist() == LENGTHS
            assert torch.equal(one.A, many.A)
            assert torch.equal(one.skip, many.skip)
            for name in ("u", "delta", "B", "C", "gate"):
                part = getattr(many, name)[index]
                # Matrix products of other shapes sum in another order.
                torch.testing.assert_close(
                    part[..., :length], getattr(one, name)[0], rtol=1e-4, atol=1e-5
                )
                assert not part[..., length:].any()


def test_a_bias_of_the_input_projection_reaches_in_from_left_padding():
    """transformers zeroes padding before in_proj and after the convolution, not in between."""
    model = build(lambda: mamba(use_bias=True))
    inputs = batch("left")
    assert max(check(model, inputs).values()) <= 1e-5
    padded = capture(model, inputs)[0].u[1]
    alone = capture(model, inputs["input_ids"][1:2, -LENGTHS[1] :])[0].u[0]
    difference = (padded[:, : LENGTHS[1]] - alone).abs().amax(0)
    assert float(difference[:3].min()) > 0.01
    assert float(difference[3:].max()) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_and_types(family):
    model = build(family)
    layers = capture(model, batch("right")["input_ids"])
    count, length = len(LENGTHS), max(LENGTHS)
    heads, channels, groups, states = {
        "jamba": (32, 32, 1, 5),
        "mamba2": (4, 24, 2, 5),
        "mamba2-one-group": (4, 24, 1, 5),
        "typeseg": (10, 10, 1, 5),
    }.get(family, (24, 24, 1, 5))
    assert [layer.reverse for layer in layers] == (
        [False, True] if family == "typeseg" else [0]
    ) * (2)
    for layer in layers:
        assert layer.u.shape == layer.gate.shape == (count, channels, length)
        assert layer.delta.shape == (count, heads, length)
        assert layer.A.shape == (heads, states)
        assert layer.B.shape == layer.C.shape == (count, groups, states, length)
        assert layer.skip.shape == (channels,)
        assert layer.lengths.tolist() == [length] * count
        for value in tensors(layer).values():
            assert value.dtype == torch.float32
            assert not value.requires_grad
            assert bool(value.isfinite().all())
        assert float(layer.A.max()) < 0
        assert float(layer.delta.min()) > 0


def test_mamba2_has_one_rate_a_head_and_limits_on_its_steps():
    layer = capture(build("mamba2"), batch("right"))[0]
    assert torch.equal(layer.A, layer.A[:, :1].expand_as(layer.A))
    steps = layer.delta.mT[layer.mask]
    torch.testing.assert_close(torch.stack([steps.min(), steps.max()]), torch.tensor([0.02, 0.1]))


def test_falcon_normalises_what_makes_its_tensors():
    """B and C have no size of their own: their root mean square over the states is 1."""
    model = build("falcon")
    for block in model.backbone.layers:
        block.mixer.rms_eps = 1e-12
    layer = capture(model, batch("right")["input_ids"])[0]
    sizes = torch.stack([layer.B, layer.C]).square().mean(3).sqrt()
    torch.testing.assert_close(sizes, torch.ones_like(sizes), rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_double_precision(family):
    model = build(family).double()
    layers = capture(model, batch("left"))
    assert {value.dtype for layer in layers for value in tensors(layer).values()} == {torch.float64}
    # transformers rounds A, u and B to float32 whatever the model's dtype: 6e-8 each.
    assert max(check(model, batch("left")).values()) < (1e-12 if family == "typeseg" else 1e-6)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "typeseg"])
def test_half_precision(family):
    model = build(family).bfloat16()
    layers = capture(model, batch("left"))
    for layer in layers:
        assert {layer.delta.dtype, layer.A.dtype, layer.skip.dtype} == {torch.float32}
        assert {v.dtype for v in (layer.u, layer.B, layer.C, layer.gate)} == {torch.bfloat16}
    # One rounding to bfloat16 is 2^-9. The model on a CPU rounds the step three times before it
    # exponentiates it, and the state and each product at every token.
    assert max(check(model, batch("left")).values()) < 2**-6


@pytest.mark.parametrize("family", ["mamba", "jamba", "mamba2", "typeseg"])
def test_the_model_does_not_notice(family):
    build_one = (lambda: jamba(attention_dropout=0.5)) if family == "jamba" else family
    model, inputs = build(build_one), batch("left")
    with torch.no_grad():
        want = model(**inputs).logits
    seen = []
    handle = model.register_forward_hook(lambda module, args, out: seen.append(out))
    parameters = {name: value.detach().clone() for name, value in model.named_parameters()}
    # In training, but for one part that someone froze: capture evaluates and puts both back.
    model.train()
    frozen = next(module for name, module in model.named_modules() if name.endswith("in_proj"))
    frozen.eval()
    modes = [module.training for module in model.modules()]
    random = torch.get_rng_state()
    layers = capture(model, inputs)
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in model.modules()] == modes
    output = seen.pop()
    # Logits at one token and at all are matrix products of other shapes, which may sum in another
    # order: a unit in the last place of float32.
    torch.testing.assert_close(output.logits[:, -1], want[:, -1])
    if family != "typeseg":
        # No memory for a cache, nor for logits at every token.
        assert output.logits.shape[1] == 1
        assert getattr(output, "cache_params", None) is None
        assert getattr(output, "past_key_values", None) is None
    handle.remove()
    assert not any(module._forward_hooks for module in model.modules())
    for name, value in model.named_parameters():
        assert torch.equal(value, parameters[name]) and value.grad is None and value.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(**inputs).logits, want)
    # Training on changes no captured tensor.
    kept = [value.clone() for layer in layers for value in tensors(layer).values()]
    with torch.no_grad():
        for value in model.parameters():
            value.add_(1)
    assert all(map(torch.equal, [v for layer in layers for v in tensors(layer).values()], kept))


@pytest.mark.parametrize("where", ["function", "model"])
def test_an_error_leaves_no_hooks(where):
    model = build("mamba").train()

    def fail(*_):
        raise RuntimeError("no")

    if where == "model":
        model.backbone.norm_f.forward = fail
    # What the caller's function raises passes; a failure of the model's is told as such.
    kind, text = (RuntimeError, "^no$") if where == "function" else (ValueError, "itself fails.*no")
    with pytest.raises(kind, match=text):
        each_layer(model, batch("left"), fail if where == "function" else str)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(module.training for module in model.modules())


def test_each_layer_keeps_only_what_is_returned():
    model = build("typeseg")
    seen, alive = [], []

    def look(layer):
        alive.append([name for name, seen_layer in seen if seen_layer() is not None])
        seen.append((layer.name, weakref.ref(layer)))
        return float(layer.delta.sum())

    got = each_layer(model, batch("left"), look)
    assert got == pytest.approx([float(one.delta.sum()) for one in capture(model, batch("left"))])
    first, second = NAMES["typeseg"]
    assert [name for name, _ in seen] == [first, first, second, second]
    # Of the mixer before none is left.
    assert first not in alive[2] + alive[3]


def test_other_kinds_of_input():
    model, inputs = build("mamba"), batch("left")
    want = capture(model, inputs)
    embedded = model.get_input_embeddings()(inputs["input_ids"])
    for other in (
        UserDict(inputs),
        {**inputs, "attention_mask": inputs["attention_mask"].bool()},
        {"inputs_embeds": embedded, "attention_mask": inputs["attention_mask"]},
    ):
        for got, expected in zip(capture(model, other), want, strict=True):
            torch.testing.assert_close(got.delta, expected.delta)
    names = [layer.name for layer in capture(model.backbone, inputs)]
    assert names == ["layers.0.mixer", "layers.1.mixer"]


class Quantised(torch.nn.Module):
    """A linear map whose weights only it can read."""

    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach()
        self.scale = float(weight.abs().max()) / 127
        self.register_buffer("weight", (weight / self.scale).round().to(torch.int8))
        self.bias = linear.bias

    def forward(self, value):
        return torch.nn.functional.linear(value, self.weight * self.scale, self.bias)


def test_quantised_projections_are_called():
    model = build("falcon")
    model.config._is_quantized = True  # what makes the mixer call dt_proj instead of its weight
    for block in model.backbone.layers:
        for name in ("in_proj", "x_proj", "dt_proj", "out_proj"):
            setattr(block.mixer, name, Quantised(getattr(block.mixer, name)))
    assert max(check(model, batch("left")).values()) <= 1e-5


@pytest.mark.parametrize("family", ["mamba", "mamba2"])
def test_offloaded_weights_are_fetched(family):
    accelerate = pytest.importorskip("accelerate")
    model, inputs = build(family), batch("left")
    want = capture(model, inputs)
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    assert all(value.is_meta for value in model.parameters())
    for got, expected in zip(capture(model, inputs), want, strict=True):
        torch.testing.assert_close(tensors(got), tensors(expected))
    assert max(check(model, inputs).values()) <= 1e-5


def test_transformers_is_not_imported():
    code = "import sys, tokensphere.sinks.capture; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_bad_arguments_are_named():
    model, inputs = build("mamba"), batch("left")
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    holes, nothing = mask.clone(), mask.clone()
    holes[1, -2], nothing[2] = 0, 0
    gpt2 = transformers.GPT2Config(n_layer=1, n_embd=4, n_head=1, vocab_size=5)
    layers = capture(model, inputs)
    both = capture(build("typeseg"), inputs)

    def masked(value):
        return lambda: capture(model, {"input_ids": ids, "attention_mask": value})

    for message, call in {
        "model: GPT2Model holds no supported mixer; supported are MambaForCausalLM, "
        "FalconMambaForCausalLM, JambaForCausalLM, ": lambda: capture(
            transformers.GPT2Model(gpt2), inputs
        ),
        "model: got str": lambda: capture("mamba", inputs),
        "inputs: got list": lambda: capture(model, [1, 2]),
        "inputs: holds no tensor input_ids": lambda: capture(model, {"attention_mask": mask}),
        "inputs: holds cache_params": lambda: capture(model, {**inputs, "cache_params": 1}),
        "input_ids: shape": lambda: capture(model, ids[0]),
        "input_ids: dtype": lambda: capture(model, ids.float()),
        r"input_ids: shape \(3, 0\) holds no tokens": lambda: capture(model, ids[:, :0]),
        r"attention_mask: got \(3, 8\), takes \(3, 9\)": masked(mask[:, 1:]),
        "attention_mask: holds other values": masked(2 * mask),
        "attention_mask: sequence 1 has holes": masked(holes),
        "attention_mask: sequence 2 has no tokens": masked(nothing),
        r"layers: of \['backbone.layers.0.mixer', 'b": lambda: rebuild(model, *layers),
        r"layers: of \[\]": lambda: rebuild(model),
        "layers: MambaForCausalLM has no supported mixer 'blocks.0.mixer'": lambda: rebuild(
            model, both[0]
        ),
        r"layers: blocks.0.mixer with reverse = \[False\]": lambda: rebuild(
            build("typeseg"), both[0]
        ),
    }.items():
        with pytest.raises(ValueError, match=f"^{message}"):
            call()
