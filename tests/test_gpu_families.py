"""Families of mixers where kernels compute them, and mamba-ssm's and MambaVision's own classes.

On a CPU, transformers' plain torch and doubles of these classes stand in (test_sinks_families.py,
test_sinks_mamba_ssm.py). See gpu.py.
"""

import pytest
import torch
import transformers
from test_sinks_capture import build
from torch import nn

from tokensphere.sinks.capture import capture, check
from tokensphere.sinks.mixers.checkpoints import load

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning"),
]

DEVICE = "cuda"
COMMON = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
# Sizes that the kernels take: powers of 2, silu alone, and projections as wide as a multiple of 8,
# which causal-conv1d asks for where it is installed: 8 heads.
HEADS = {"mamba_n_heads": 8, "mamba_n_groups": 2, "mamba_d_state": 16, "mamba_chunk_size": 16,
         "time_step_limit": (0.3, 0.7)}  # fmt: skip
LINEAR = ["linear_attention", "linear_attention"]
MODELS = {
    "Mamba": {"hidden_size": 64, "vocab_size": 64, "num_hidden_layers": 2},
    "FalconMamba": {"hidden_size": 64, "vocab_size": 64, "num_hidden_layers": 2},
    "Mamba2": {"hidden_size": 64, "vocab_size": 64, "num_hidden_layers": 2, "num_heads": 8,
               "head_dim": 16, "n_groups": 2, "state_size": 16, "chunk_size": 16},
    "Jamba": COMMON | {"num_hidden_layers": 2, "attn_layer_period": 2, "attn_layer_offset": 1,
                       "num_experts": 1},
    "Zamba": COMMON | {"num_hidden_layers": 4, "n_mamba_heads": 2,
                       "layers_block_type": [*LINEAR, "hybrid", "hybrid"]},
    "Bamba": COMMON | HEADS | {"num_hidden_layers": 2, "attn_layer_indices": [1]},
    "Zamba2": COMMON | {"num_hidden_layers": 2, "layers_block_type": LINEAR, "mamba_d_state": 16,
                        "mamba_ngroups": 2, "n_mamba_heads": 8, "chunk_size": 16,
                        "time_step_min": 0.4},
    "FalconH1": COMMON | HEADS | {"num_hidden_layers": 2, "mamba_d_ssm": 128,
                                  "ssm_in_multiplier": 1.7, "mamba_rms_norm": True,
                                  "ssm_multipliers": [0.6, 1.3, 0.7, 1.4, 0.5]},
    "GraniteMoeHybrid": COMMON | HEADS | {"num_hidden_layers": 2, "layer_types": LINEAR,
                                          "num_local_experts": 0},
    "NemotronH": COMMON | {"layers_block_type": LINEAR, "head_dim": 16, "ssm_state_size": 16,
                           "mamba_num_heads": 8, "mamba_head_dim": 16, "n_groups": 2,
                           "chunk_size": 16, "time_step_min": 0.4},
}  # fmt: skip

# The kernels of Mamba-2 multiply in TF32, with 10 bits: 2^-11 for each factor, several times in a
# row. FalconH1's gated norm carries it furthest: 0.0064 was seen, 0.0018 without the norm.
TOLERANCE = {torch.float32: 2**-7, torch.bfloat16: 2**-5}


def language_model(name):
    config = getattr(transformers, f"{name}Config")(**MODELS[name])
    return getattr(transformers, f"{name}ForCausalLM")(config)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_what_kernels_compute_is_what_is_read(name, dtype):
    model = build(lambda: language_model(name)).to(DEVICE, dtype)
    ids = torch.randint(3, 64, (3, 50), generator=torch.Generator().manual_seed(1)).to(DEVICE)
    mask = torch.ones_like(ids)
    mask[1, :20], mask[2, :49] = 0, 0
    for side in (mask, mask.flip(1)):
        errors = check(model, {"input_ids": ids, "attention_mask": side})
        assert errors and max(errors.values()) < TOLERANCE[dtype]


def tokens():
    return torch.randn(2, 40, 64, generator=torch.Generator().manual_seed(2)).to(DEVICE)


MIXERS = {
    "Mamba": [{}, {"use_fast_path": False}, {"bias": True}],
    "Mamba2": [
        {},
        {"use_mem_eff_path": False, "dt_limit": (0.3, 0.7)},
        {"D_has_hdim": True, "rmsnorm": False},
        {"norm_before_gate": True, "ngroups": 2},
        {"expand": 4, "d_ssm": 128},
    ],
}


@pytest.mark.parametrize(
    ("name", "options"), [(name, options) for name in MIXERS for options in MIXERS[name]]
)
def test_mixers_of_mamba_ssm(name, options):
    mamba_ssm = pytest.importorskip("mamba_ssm", reason="needs mamba-ssm")
    sizes = {"headdim": 16, "d_state": 16, "chunk_size": 16} if name == "Mamba2" else {}
    kind = getattr(mamba_ssm, name)
    model = build(lambda: nn.Sequential(*(kind(64, **sizes, **options) for _ in range(2))))
    errors = check(model.to(DEVICE), tokens())
    assert list(errors) == ["0", "1"]
    assert max(errors.values()) < TOLERANCE[torch.float32]


@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
def test_checkpoints_of_mamba_ssm(layer, tmp_path):
    pytest.importorskip("mamba_ssm", reason="needs mamba-ssm")
    from mamba_ssm.models.config_mamba import MambaConfig
    from mamba_ssm.models.mixer_seq_simple import MambaLMHeadModel

    options = {"layer": layer} | ({"headdim": 16, "d_state": 16} if layer == "Mamba2" else {})
    config = MambaConfig(d_model=64, n_layer=2, vocab_size=61, ssm_cfg=options)
    model = build(lambda: MambaLMHeadModel(config)).to(DEVICE)
    model.save_pretrained(tmp_path)
    ids = torch.arange(50, device=DEVICE)[None]
    with torch.no_grad():
        want, got = model(ids).logits, load(tmp_path).to(DEVICE)(ids).logits
    assert float((got - want).abs().max() / want.abs().max()) < TOLERANCE[torch.float32]
    assert len(capture(model, ids)) == 2


def test_mambavision():
    mambavision = pytest.importorskip("mambavision", reason="needs mambavision")
    model = build(lambda: mambavision.create_model("mamba_vision_T")).to(DEVICE)
    errors = check(model, torch.rand(1, 3, 224, 224, device=DEVICE))
    assert len(errors) == 6  # 4 of the 8 blocks of the third stage, 2 of the 4 of the last
    assert max(errors.values()) < TOLERANCE[torch.float32]
