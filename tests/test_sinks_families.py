"""Families of mixers: hybrids of transformers, heads of their own, two branches, two directions.

The first families are in test_sinks_capture.py, mamba-ssm's own in test_sinks_mamba_ssm.py.
"""

from dataclasses import replace

import pytest
import readme
import torch
from test_sinks_capture import FAMILIES as FIRST
from test_sinks_capture import LENGTHS, VOCABULARY, batch, tensors
from test_sinks_capture import build as build_at_random
from torch import nn
from torch.nn import functional

from tokensphere.reorder.models import S6Classifier
from tokensphere.sinks.capture import capture, check, each_layer, layers_of, rebuild
from tokensphere.sinks.mixers import FAMILIES, find
from tokensphere.sinks.scores import importance
from tokensphere.sinks.walk import find_mixers, walk

transformers = pytest.importorskip("transformers")

COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# An activation unlike the gate's, an eps and limits on steps that show if they are forgotten.
HEADS = {
    "mamba_n_heads": 4,
    "mamba_n_groups": 2,
    "mamba_d_state": 5,
    "mamba_chunk_size": 4,
    "hidden_act": "gelu",
    "rms_norm_eps": 0.3,
    "time_step_limit": (0.3, 0.7),
}
BETWEEN = ["linear_attention", "full_attention", "linear_attention"]


def bamba(**options):
    config = transformers.BambaConfig(
        **COMMON, **HEADS, num_hidden_layers=3, attn_layer_indices=[1], **options
    )
    return transformers.BambaForCausalLM(config)


def zamba(**options):
    return transformers.ZambaForCausalLM(zamba_config(**options))


def zamba_config(**options):
    options = {"n_mamba_heads": 4, **options}
    sizes = {"mamba_d_state": 5, "mamba_dt_rank": 3, "hidden_mamba_act": "gelu"}
    # Its shared attention is tied to that of the third layer.
    kinds = ["linear_attention", "linear_attention", "hybrid", "hybrid"]
    return transformers.ZambaConfig(
        **COMMON, **sizes, num_hidden_layers=4, layers_block_type=kinds, **options
    )


def zamba2(**options):
    return transformers.Zamba2ForCausalLM(zamba2_config(**options))


def zamba2_config(**options):
    return transformers.Zamba2Config(
        **COMMON,
        mamba_d_state=5,
        mamba_ngroups=2,
        n_mamba_heads=4,
        chunk_size=4,
        time_step_min=0.4,
        num_hidden_layers=3,
        layers_block_type=["linear_attention", "hybrid", "linear_attention"],
        **options,
    )


def falcon_h1(**options):
    config = transformers.FalconH1Config(
        **COMMON,
        **HEADS,
        mamba_d_ssm=24,
        num_hidden_layers=2,
        ssm_in_multiplier=1.7,
        ssm_multipliers=[0.6, 1.3, 0.7, 1.4, 0.5],
        ssm_out_multiplier=0.5,
        **options,
    )
    return transformers.FalconH1ForCausalLM(config)


def granite(experts=2, **options):
    config = transformers.GraniteMoeHybridConfig(
        **COMMON,
        **HEADS,
        num_hidden_layers=3,
        layer_types=BETWEEN,
        num_local_experts=experts,
        num_experts_per_tok=1,
        shared_intermediate_size=8,
        residual_multiplier=0.7,
        **options,
    )
    return transformers.GraniteMoeHybridForCausalLM(config)


def nemotron(**options):
    config = transformers.NemotronHConfig(
        **COMMON,
        layers_block_type=["linear_attention", "full_attention", "mlp", "linear_attention"],
        head_dim=8,
        ssm_state_size=5,
        mamba_num_heads=4,
        mamba_head_dim=6,
        n_groups=2,
        chunk_size=4,
        mamba_hidden_act="gelu",
        layer_norm_epsilon=0.3,
        time_step_min=0.4,
        **options,
    )
    return transformers.NemotronHForCausalLM(config)


HYBRIDS = {
    "bamba": bamba,
    "zamba": zamba,
    "zamba-one-head": lambda: zamba(n_mamba_heads=1),
    "zamba2": zamba2,
    "falcon-h1": falcon_h1,
    "falcon-h1-norm-after-gate": lambda: falcon_h1(
        mamba_rms_norm=True, mamba_norm_before_gate=False
    ),
    "falcon-h1-norm-before-gate": lambda: falcon_h1(
        mamba_rms_norm=True, mamba_norm_before_gate=True
    ),
    "granite": granite,
    "nemotron": nemotron,
}
NAMES = {
    "bamba": ["model.layers.0.mamba", "model.layers.2.mamba"],
    "zamba": [
        "model.layers.0.mamba",
        "model.layers.1.mamba",
        "model.layers.2.mamba_decoder.mamba",
        "model.layers.3.mamba_decoder.mamba",
    ],
    "zamba2": [
        "model.layers.0.mamba",
        "model.layers.1.mamba_decoder.mamba",
        "model.layers.2.mamba",
    ],
    "falcon": ["model.layers.0.mamba", "model.layers.1.mamba"],
    "granite": ["model.layers.0.mamba", "model.layers.2.mamba"],
    "nemotron": ["model.layers.0.mixer", "model.layers.3.mixer"],
}
# float32 rounding of sums of some 50 terms of order 1.
ROUNDING = 1e-5


@torch.no_grad()
def build(make, seed=0):
    """A model whose every parameter is away from its initial value, with steps around 0.5: it
    forgets slowly enough for what was read long ago to count."""
    model = build_at_random(make, seed)
    g = torch.Generator().manual_seed(seed)
    for name, value in model.named_parameters():
        if name.endswith("dt_bias"):
            value.copy_(0.6 * torch.randn(value.shape, generator=g) - 0.4)
    return model


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


EVERY = {**{name: (lambda name=name: build(name)) for name in FIRST}} | {
    name: (lambda make=make: build(make)) for name, make in HYBRIDS.items()
}


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


def assert_unheard_alike(model, inputs):
    """Everything that a family listens to was heard, and without it its tensors are the same."""

    def visit(name, mixer, seen, output, batch, flipped):
        assert set(seen.heard) == set(find(mixer).listens)
        want = layers_of(name, mixer, seen, batch, flipped)
        for missing in (*([part] for part in seen.heard), list(seen.heard)):
            heard = {part: seen.heard[part] for part in seen.heard if part not in missing}
            got = layers_of(name, mixer, replace(seen, heard=heard), batch, flipped)
            for one, other in zip(got, want, strict=True):
                for field, value in {**tensors(other), "beside": other.beside}.items():
                    if value is None or value.is_meta:
                        assert (getattr(one, field) is None) is (value is None)
                    else:
                        torch.testing.assert_close(getattr(one, field), value)
        visited.append(name)

    for values in (True, False):
        visited = []
        walk(model, inputs, visit, values=values)
        assert visited == list(find_mixers(model))


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


class BothWays(nn.Module):
    """Pairs of mixers in a deep stack: one reads the tokens, the other reads them flipped."""

    def __init__(self, mixers, vocabulary, width):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in mixers[::2])
        self.ahead, self.back = nn.ModuleList(mixers[::2]), nn.ModuleList(mixers[1::2])

    def forward(self, input_ids, attention_mask=None):
        x = self.embedding(input_ids)
        flipped = None if attention_mask is None else attention_mask.flip(1)
        for norm, ahead, back in zip(self.norms, self.ahead, self.back, strict=True):
            y = norm(x)
            one = ahead(y, attention_mask=attention_mask)
            x = x + one + back(y.flip(1), attention_mask=flipped).flip(1)
        return x


def both_ways(family, pairs=5):
    models = [build(HYBRIDS.get(family) or FIRST[family], seed) for seed in range(pairs)]
    mixers = [mixer for model in models for mixer in list(find_mixers(model).values())[:2]]
    width = mixers[0].in_proj.in_features
    return build(lambda: BothWays(mixers, VOCABULARY, width))


@pytest.mark.parametrize("padding", ["left", "right", "none"])
@pytest.mark.parametrize("family", ["mamba", "mamba2", *HYBRIDS])
def test_a_pair_that_reads_both_ways(family, padding):
    model, inputs = both_ways(family), batch("left" if padding == "none" else padding)
    if padding == "none":
        inputs = {"input_ids": inputs["input_ids"]}
    layers = capture(model, inputs)
    assert [layer.reverse for layer in layers] == [False, True] * 5
    assert max(check(model, inputs).values()) <= ROUNDING
    # The first token of the mixer that reads back is the last: there it sees nothing before it, as
    # it does where that token is alone.
    if padding == "none":
        return
    y = model.norms[0](model.embedding(inputs["input_ids"]))
    last = y[0, inputs["attention_mask"][0].nonzero()[-1]]
    with torch.no_grad():
        mixer = model.back[0]
        want = find(mixer).read(mixer, seen_alone(mixer, last[None]))
    torch.testing.assert_close(layers[1].u[0, :, :1], want["u"][0], rtol=1e-4, atol=ROUNDING)
    torch.testing.assert_close(layers[1].B[0, ..., :1], want["B"][0], rtol=1e-4, atol=ROUNDING)


def seen_alone(mixer, hidden):
    from tokensphere.sinks.mixers import Seen

    return Seen(hidden, None)


# MambaVision, and this package's own classifier: no tokens by number, no mask.


def selective_scan(u, delta, A, B, C, D, delta_bias):
    """mamba-ssm's, token by token: u, delta (B, D, L), A (D, N), B, C (B, N, L)."""
    delta = functional.softplus(delta + delta_bias[:, None])
    state, outputs = 0.0, []
    for step in range(u.shape[-1]):
        decay = torch.exp(delta[..., step, None] * A)
        drive = (delta[..., step] * u[..., step])[..., None] * B[:, None, :, step]
        state = decay * state + drive
        outputs.append((state * C[:, None, :, step]).sum(-1))
    return torch.stack(outputs, dim=-1) + D[:, None] * u


class MambaVisionMixer(nn.Module):
    """The mixer of mambavision 1.2.0, whose package needs a GPU's compiler: from its equations.

    Two halves, each convolved around its token with silu; the first is scanned, with the bias of
    dt_proj in the map and once more in the scan; out_proj of both.
    """

    def __init__(self, width=12, states=5, taps=3, expand=2, rank=3):
        super().__init__()
        inner = expand * width
        half = inner // 2
        self.in_proj = nn.Linear(width, inner, bias=False)
        self.x_proj = nn.Linear(half, rank + 2 * states, bias=False)
        self.dt_proj = nn.Linear(rank, half)
        self.A_log = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(half, 1))
        self.D = nn.Parameter(torch.ones(half))
        self.out_proj = nn.Linear(inner, width, bias=False)
        self.conv1d_x = nn.Conv1d(half, half, taps, groups=half, bias=False)
        self.conv1d_z = nn.Conv1d(half, half, taps, groups=half, bias=False)
        self.sizes = [rank, states, states]

    def forward(self, hidden_states):
        count, length, _ = hidden_states.shape
        x, z = self.in_proj(hidden_states).mT.chunk(2, dim=1)
        x, z = (
            functional.silu(
                functional.conv1d(value, layer.weight, None, padding="same", groups=value.shape[1])
            )
            for value, layer in ((x, self.conv1d_x), (z, self.conv1d_z))
        )
        # As there, all tokens in one row.
        steps, B, C = self.x_proj(x.mT.flatten(0, 1)).split(self.sizes, dim=-1)
        steps, B, C = (
            value.unflatten(0, (count, length)).mT for value in (self.dt_proj(steps), B, C)
        )
        y = selective_scan(x, steps, -self.A_log.exp(), B, C, self.D, self.dt_proj.bias)
        return self.out_proj(torch.cat([y, z], dim=1).mT)


MambaVisionMixer.__module__ = "mambavision.models.mamba_vision"


class Vision(nn.Module):
    """Windows of an image (B, 12, 4, 4) as sequences, as in MambaVision: more of them than B."""

    def __init__(self):
        super().__init__()
        self.mixers = nn.ModuleList(MambaVisionMixer() for _ in range(2))

    def forward(self, image, scale=1.0):
        windows = image.unfold(2, 2, 2).unfold(3, 2, 2)
        x = scale * windows.permute(0, 2, 3, 4, 5, 1).reshape(-1, 4, image.shape[1])
        for mixer in self.mixers:
            x = x + mixer(x)
        return x.mean(1)


IMAGES = torch.randn(3, 12, 4, 4, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("inputs", [IMAGES, {"image": IMAGES, "scale": 0.7}], ids=["one", "names"])
def test_mambavision(inputs):
    model = build(Vision)
    layers = capture(model, inputs)
    assert [layer.name for layer in layers] == ["mixers.0", "mixers.1"]
    for layer in layers:
        assert layer.u.shape == layer.beside.shape == layer.delta.shape == (12, 12, 4)
        assert layer.gate is None and layer.lengths.tolist() == [4] * 12
    assert max(check(model, inputs).values()) <= ROUNDING
    # Both branches count.
    want = rebuild(model, layers[0])
    for name in ("u", "beside"):
        changed = rebuild(model, replace(layers[0], **{name: 1.05 * getattr(layers[0], name)}))
        assert float((changed - want).abs().max() / want.abs().max()) > 1e-3
    assert max(check(model.double(), to_double(inputs)).values()) < 1e-12


def test_mambavision_s_copy_that_comes_with_its_weights(monkeypatch):
    model = build(Vision)
    folder = "transformers_modules.nvidia.MambaVision_hyphen_T_hyphen_1K.0a1b2c"
    monkeypatch.setattr(MambaVisionMixer, "__module__", f"{folder}.modeling_mambavision")
    assert len(capture(model, IMAGES)) == 2
    monkeypatch.setattr(MambaVisionMixer, "__module__", f"{folder}.modeling_other")
    with pytest.raises(ValueError, match="holds no supported mixer; supported are .*MambaVision"):
        capture(model, IMAGES)


def test_a_fork_of_mambavision_is_refused():
    model = build(Vision)
    model.mixers[1].conv1d_b = nn.Conv1d(12, 12, 3)
    with pytest.raises(ValueError, match="MambaVisionMixer that holds conv1d_b is a fork's"):
        capture(model, IMAGES)


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


def to_double(inputs):
    if torch.is_tensor(inputs):
        return inputs.double()
    return {**inputs, "image": inputs["image"].double()}


@pytest.mark.parametrize("model", [Vision, None], ids=["mambavision", "s6"])
def test_images_need_no_values_and_no_hearing(model):
    model, images = (build(model), IMAGES) if model else s6_classifier()
    lean = each_layer(model, images, lambda layer: layer, values=False)
    for one, full in zip(lean, capture(model, images), strict=True):
        assert one.u.is_meta and one.u.shape == full.u.shape and one.beside is None
        torch.testing.assert_close(importance(one), importance(full), equal_nan=True)
    assert_unheard_alike(model, images)


def s6_classifier():
    model = build(
        lambda: S6Classifier(classes=3, size=4, channels=2, patch=2, width=8, depth=2, states=3)
    )
    return model, torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(5))


def test_this_package_s_classifier():
    model, images = s6_classifier()
    errors = check(model, images)
    assert len(errors) == 2 and max(errors.values()) <= ROUNDING
    assert max(check(model.double(), images.double()).values()) < 1e-12


def test_every_family_is_tested_and_listed():
    """A family added to the table comes with a model in these tests."""
    mixers = [m for make in EVERY.values() for m in find_mixers(make()).values()]
    mixers += [*find_mixers(Vision()).values(), *find_mixers(s6_classifier()[0]).values()]
    seen = {find(mixer).model for mixer in mixers}
    ours = {"mamba-ssm's Mamba", "mamba-ssm's Mamba2"}  # in test_sinks_mamba_ssm.py
    assert {family.model for family in FAMILIES.values()} == seen | ours


def test_readme_has_every_family():
    text = readme.README.read_text("utf-8")
    if readme.BEGIN_FAMILIES not in text:
        pytest.skip("README has no place for the table of families")
    assert readme.with_families(text) == text, "python tests/readme.py"


def test_the_table_has_a_row_for_each_family():
    rows = readme.families()[2:]
    assert len(rows) == len({family.model for family in FAMILIES.values()})
    for name, family in FAMILIES.items():
        assert sum(f"| {family.model} | `{name.rpartition('.')[2]}` |" in row for row in rows) == 1
    mask = {row.split(" | ")[0]: row.split(" | ")[-1] for row in rows}
    assert mask["| BambaForCausalLM"] == "left, right |" and mask["| MambaVision"] == "none |"
