"""Small random models of transformers' hybrids, and what tests of every family share."""

from dataclasses import replace

import pytest
import torch
from test_sinks_capture import FAMILIES as FIRST
from test_sinks_capture import VOCABULARY, tensors
from test_sinks_capture import build as build_at_random

from tokensphere.sinks.capture import layers_of
from tokensphere.sinks.mixers import find
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


EVERY = {**{name: (lambda name=name: build(name)) for name in FIRST}} | {
    name: (lambda make=make: build(make)) for name, make in HYBRIDS.items()
}


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
