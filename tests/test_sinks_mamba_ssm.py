"""Checkpoints as mamba-ssm writes them: the same function, every weight used, others refused."""

import json

import pytest
import torch
from hybrids import ROUNDING
from mamba_ssm_doubles import IDS, MAMBA, MAMBA2, OPTIONS, PADDED, native, save

from tokensphere.sinks.capture import capture, check
from tokensphere.sinks.mixers import checkpoints
from tokensphere.sinks.mixers.checkpoints import is_native, load

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize("safe", [False, True], ids=["bin", "safetensors"])
@pytest.mark.parametrize("case", OPTIONS)
def test_a_checkpoint_is_the_same_function(case, safe, tmp_path):
    config = OPTIONS[case]
    model = native(config)
    state = model.state_dict()
    if safe and config.get("tie_embeddings", True):
        del state["lm_head.weight"]  # shared, so such a file has it once
    save(tmp_path, config, state, safe)
    assert is_native(tmp_path)
    loaded = load(tmp_path)
    kind = transformers.Mamba2ForCausalLM if "mamba2" in case else transformers.MambaForCausalLM
    assert type(loaded) is kind and not loaded.training
    with torch.no_grad():
        want, got = model(IDS), loaded(IDS).logits
    assert got.shape == want.shape == (3, 9, len(model.lm_head.weight))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=ROUNDING)
    assert max(check(loaded, PADDED).values()) <= ROUNDING
    tied = loaded.lm_head.weight is loaded.get_input_embeddings().weight
    assert tied is config.get("tie_embeddings", True)
    # The layers of both are the same, read in the one and in the other class.
    for mine, theirs in zip(capture(loaded, IDS), capture(model, IDS), strict=True):
        assert mine.name == theirs.name
        for name in ("u", "delta", "A", "B", "C", "skip", "gate"):
            torch.testing.assert_close(
                getattr(mine, name), getattr(theirs, name), rtol=1e-4, atol=ROUNDING
            )


def test_every_weight_counts(tmp_path):
    """A weight left where it was built, or put where another belongs, would not show in names."""
    config = OPTIONS["mamba2-options"]
    model = native(config)
    for name, value in model.state_dict().items():
        changed = {**model.state_dict(), name: value + 0.1 * torch.randn(value.shape)}
        other = load(save(tmp_path, config, changed))
        with torch.no_grad():
            assert float((other(IDS).logits - model(IDS)).abs().max()) > 1e-3, name


def test_dtypes(tmp_path):
    state = native(MAMBA).bfloat16().state_dict()
    # mamba-ssm keeps these two in float32.
    mixed = {
        name: value.float() if name.endswith(("A_log", "mixer.D")) else value
        for name, value in state.items()
    }
    save(tmp_path, MAMBA, mixed)
    found = {name: value.dtype for name, value in load(tmp_path).state_dict().items()}
    assert found["backbone.layers.1.mixer.A_log"] == torch.float32
    assert found["backbone.layers.1.mixer.x_proj.weight"] == torch.bfloat16
    model = load(tmp_path)
    assert max(check(model, IDS).values()) < 2**-6
    assert {value.dtype for value in load(tmp_path, torch.float64).parameters()} == {torch.float64}


class Runs:
    def __reduce__(self):
        return (print, ("this file ran",))


def test_what_cannot_be_loaded(tmp_path):
    good = native(MAMBA).state_dict()
    norm = good["backbone.norm_f.weight"]

    def other(config=MAMBA, **changes):
        state = {**good, **changes}
        return save(tmp_path, config, {k: v for k, v in state.items() if v is not None})

    def ssm(**options):
        return {**MAMBA2, "ssm_cfg": MAMBA2["ssm_cfg"] | options}

    for message, folder in {
        "has layers of attention": lambda: other({**MAMBA, "attn_layer_idx": [1]}),
        "has gated nets": lambda: other({**MAMBA, "d_intermediate": 32}),
        "has LayerNorm": lambda: other({**MAMBA, "rms_norm": False}),
        "holds 'd_modell'": lambda: other({**MAMBA, "d_modell": 3}),
        "has n_layer = 2.5": lambda: other({**MAMBA, "n_layer": 2.5}),
        "has vocab_size = '37', takes an int >= 1": lambda: other({**MAMBA, "vocab_size": "37"}),
        r"has vocab_size = \[37\], takes an int": lambda: other({**MAMBA, "vocab_size": [37]}),
        "has vocab_size = True": lambda: other({**MAMBA, "vocab_size": True}),
        "has tie_embeddings = 'no', takes true or": lambda: other(
            {**MAMBA, "tie_embeddings": "no"}
        ),
        r"has ssm_cfg = \[\], takes an object": lambda: other({**MAMBA, "ssm_cfg": []}),
        "has ssm_cfg = 'Mamba2', takes an obj": lambda: other({**MAMBA, "ssm_cfg": "Mamba2"}),
        r"has layers \['Mamba1'\]": lambda: other({**MAMBA, "ssm_cfg": {"layer": ["Mamba1"]}}),
        "has d_state = -4, takes an int >= 1": lambda: other({**MAMBA, "ssm_cfg": {"d_state": -4}}),
        "has dt_rank = 'all', takes an int": lambda: other(
            {**MAMBA, "ssm_cfg": {"dt_rank": "all"}}
        ),
        "has conv_bias = 1, takes true": lambda: other({**MAMBA, "ssm_cfg": {"conv_bias": 1}}),
        r"has dt_limit = \[0.1\], takes two": lambda: other(ssm(dt_limit=[0.1])),
        "has d_intermediate = -1, takes an int >= 0": lambda: other(
            {**MAMBA, "d_intermediate": -1}
        ),
        "has layers 'Mamba3'": lambda: other({**MAMBA, "ssm_cfg": {"layer": "Mamba3"}}),
        "has an option 'headdim' that Mamba1": lambda: other({**MAMBA, "ssm_cfg": {"headdim": 8}}),
        "has expand = 1.5": lambda: other({**MAMBA, "ssm_cfg": {"expand": 1.5}}),
        "has D_has_hdim = True": lambda: other(ssm(D_has_hdim=True)),
        "has rmsnorm = False": lambda: other(ssm(rmsnorm=False)),
        "has norm_before_gate = True": lambda: other(ssm(norm_before_gate=True)),
        "has d_ssm = 24": lambda: other(ssm(d_ssm=24)),
        "cannot be used: .*num_heads": lambda: other(ssm(headdim=7)),
        "lacks backbone.layers.0.mixer.dt_bias": lambda: other(ssm(d_ssm=48)),
        "lacks backbone.norm_f.weight": lambda: other(**{"backbone.norm_f.weight": None}),
        "lacks backbone.embeddings.weight": lambda: other(
            **{"backbone.embedding.weight": None, "lm_head.weight": None}
        ),
        "holds backbone.norm_f.bias, which": lambda: other(**{"backbone.norm_f.bias": norm}),
        r"backbone.norm_f.weight of shape \(23,\)": lambda: other(
            **{"backbone.norm_f.weight": norm[1:]}
        ),
        "torch.int8, takes floating": lambda: other(**{"backbone.norm_f.weight": norm.char()}),
        "ties lm_head": lambda: other(**{"lm_head.weight": good["lm_head.weight"] + 1}),
        r"embeddings.weight of shape \(40, 24\)": lambda: other({**MAMBA, "vocab_size": 41}),
        "pytorch_model.bin cannot be read": lambda: other(**{"lm_head.weight": Runs()}),
    }.items():
        with pytest.raises(ValueError, match=f"^model: .*{message}") as caught:
            load(folder())
        assert "\n" not in str(caught.value)
    for content, message in {"{": "no JSON", "[]": "no settings"}.items():
        (tmp_path / "config.json").write_text(content, "utf-8")
        with pytest.raises(ValueError, match=message):
            load(tmp_path)
        assert not is_native(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(MAMBA), "utf-8")
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK\3\4 cut")
    with pytest.raises(ValueError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(ValueError, match="holds no model.safetensors and no pytorch_model.bin"):
        load(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match="holds no config.json"):
        load(tmp_path)
    assert not is_native(tmp_path)


def test_folders_of_transformers_are_not_native(tmp_path):
    transformers.MambaConfig().save_pretrained(tmp_path)
    assert not is_native(tmp_path)


def test_groups_that_transformers_normalises_together_are_refused(tmp_path, monkeypatch):
    """As its Mamba-2 did until its norm knew of groups."""
    config, build = OPTIONS["mamba2-options"], checkpoints._build

    def older(*arguments):
        model = build(*arguments)
        for block in model.backbone.layers:
            del block.mixer.norm.group_size
        return model

    monkeypatch.setattr(checkpoints, "_build", older)
    save(tmp_path, config, native(config).state_dict())
    with pytest.raises(ValueError, match="has 2 groups, which this version of transformers"):
        load(tmp_path)
