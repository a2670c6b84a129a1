"""Mixers of images: MambaVision's two branches, and this package's own; the table of families."""

from dataclasses import replace

import pytest
import readme
import torch
from hybrids import EVERY, ROUNDING, assert_unheard_alike, build
from torch import nn
from torch.nn import functional

from tokensphere.reorder.models import S6Classifier
from tokensphere.sinks.capture import capture, check, each_layer, rebuild
from tokensphere.sinks.mixers import FAMILIES, find
from tokensphere.sinks.scores import importance
from tokensphere.sinks.walk import find_mixers


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
    ours = {"mamba-ssm's Mamba", "mamba-ssm's Mamba2"}  # in test_sinks_mamba_ssm_mixers.py
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
