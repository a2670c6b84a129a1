"""Doubles of mamba-ssm's classes, which need a GPU's compiler, and checkpoints in its layout.

They have the names, the parameters and the equations of mamba-ssm 2.3.1 (modules/mamba_simple.py,
mamba2.py, block.py, models/mixer_seq_simple.py), written down token by token.
"""

import json
import math

import torch
from torch import nn
from torch.nn import functional
from torch.nn.functional import linear, silu


def scan(u, delta, A, B, C, D):
    """u, delta (B, D, L), A (D, N), B, C (B, D, N, L), D (D,): selective_scan_ref."""
    state, outputs = 0.0, []
    for step in range(u.shape[-1]):
        decay = torch.exp(delta[..., step, None] * A)
        drive = (delta[..., step] * u[..., step])[..., None] * B[..., step]
        state = decay * state + drive
        outputs.append((state * C[..., step]).sum(-1))
    return torch.stack(outputs, dim=-1) + D[:, None] * u


def convolve(conv1d, values):
    taps = conv1d.weight.shape[-1]
    padded = functional.pad(values, (taps - 1, 0))
    return silu(functional.conv1d(padded, conv1d.weight, conv1d.bias, groups=values.shape[1]))


class Mamba(nn.Module):
    """fused: the weights of x_proj and out_proj are taken, and no submodule is called."""

    def __init__(self, d_model, d_state=16, d_conv=4, expand=2, dt_rank="auto", conv_bias=True,
                 bias=False, fused=True):  # fmt: skip
        super().__init__()
        inner = expand * d_model
        rank = math.ceil(d_model / 16) if dt_rank == "auto" else dt_rank
        self.in_proj = nn.Linear(d_model, 2 * inner, bias=bias)
        self.conv1d = nn.Conv1d(
            inner, inner, d_conv, groups=inner, padding=d_conv - 1, bias=conv_bias
        )
        self.act = nn.SiLU()
        self.x_proj = nn.Linear(inner, rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, d_state + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, d_model, bias=bias)
        self.sizes, self.fused = [rank, d_state, d_state], fused

    def forward(self, hidden_states, inference_params=None):
        count, length, _ = hidden_states.shape
        x, z = linear(hidden_states, self.in_proj.weight, self.in_proj.bias).mT.chunk(2, dim=1)
        x = convolve(self.conv1d, x)
        rows = x.mT.reshape(count * length, -1)
        parts = linear(rows, self.x_proj.weight) if self.fused else self.x_proj(rows)
        steps, B, C = parts.unflatten(0, (count, length)).mT.split(self.sizes, dim=1)
        steps = self.dt_proj.weight @ steps + self.dt_proj.bias[:, None]
        wide = (value[:, None].expand(-1, x.shape[1], -1, -1) for value in (B, C))
        y = scan(x, functional.softplus(steps), -self.A_log.exp(), *wide, self.D)
        y = (y * silu(z)).mT
        if self.fused:
            return linear(y, self.out_proj.weight, self.out_proj.bias)
        return self.out_proj(y)


class GatedNorm(nn.Module):
    """RMSNorm of ops/triton/layernorm_gated.py."""

    def __init__(self, width, groups, norm_before_gate):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.groups, self.norm_before_gate, self.eps = groups, norm_before_gate, 1e-5

    def forward(self, x, z=None):
        if z is not None and not self.norm_before_gate:
            x = x * silu(z)
        each = x.unflatten(-1, (self.groups, -1))
        scale = torch.rsqrt(each.square().mean(-1, keepdim=True) + self.eps)
        x = (each * scale).flatten(-2) * self.weight
        return x * silu(z) if z is not None and self.norm_before_gate else x


class Mamba2(nn.Module):
    """fused: out_proj is not called, its weights are taken."""

    def __init__(self, d_model, d_state=128, d_conv=4, expand=2, headdim=64, d_ssm=None, ngroups=1,
                 D_has_hdim=False, rmsnorm=True, norm_before_gate=False,
                 dt_limit=(0.0, float("inf")), bias=False, conv_bias=True, chunk_size=256,
                 fused=True):  # fmt: skip
        super().__init__()
        self.d_inner = expand * d_model
        self.d_ssm = self.d_inner if d_ssm is None else d_ssm
        self.headdim, self.nheads, self.ngroups = headdim, self.d_ssm // headdim, ngroups
        self.rmsnorm, self.norm_before_gate, self.dt_limit = rmsnorm, norm_before_gate, dt_limit
        mixed = self.d_ssm + 2 * ngroups * d_state
        self.in_proj = nn.Linear(
            d_model, 2 * self.d_inner + 2 * ngroups * d_state + self.nheads, bias=bias
        )
        self.conv1d = nn.Conv1d(
            mixed, mixed, d_conv, groups=mixed, padding=d_conv - 1, bias=conv_bias
        )
        self.act = nn.SiLU()
        self.dt_bias = nn.Parameter(torch.zeros(self.nheads))
        self.A_log = nn.Parameter(torch.zeros(self.nheads))
        self.D = nn.Parameter(torch.ones(self.d_ssm if D_has_hdim else self.nheads))
        if rmsnorm:
            self.norm = GatedNorm(self.d_ssm, ngroups, norm_before_gate)
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=bias)
        self.d_state, self.fused = d_state, fused

    def forward(self, u, seqlen=None, seq_idx=None, cu_seqlens=None, inference_params=None):
        around = self.d_inner - self.d_ssm
        states = self.ngroups * self.d_state
        z0, x0, z, xBC, steps = self.in_proj(u).split(
            [around, around, self.d_ssm, self.d_ssm + 2 * states, self.nheads], dim=-1
        )
        x, B, C = convolve(self.conv1d, xBC.mT).split([self.d_ssm, states, states], dim=1)
        delta = functional.softplus(steps + self.dt_bias).clamp(*self.dt_limit).mT
        repeat = self.headdim
        D = self.D if len(self.D) == self.d_ssm else self.D.repeat_interleave(repeat)
        rates = -self.A_log.exp().repeat_interleave(repeat)[:, None].expand(-1, self.d_state)
        B, C = (
            value.unflatten(1, (self.ngroups, self.d_state)).repeat_interleave(
                self.d_ssm // self.ngroups, dim=1
            )
            for value in (B, C)
        )
        y = scan(x, delta.repeat_interleave(repeat, dim=1), rates, B, C, D).mT
        y = self.norm(y, z) if self.rmsnorm else y * silu(z)
        if around:
            y = torch.cat([silu(z0) * x0, y], dim=-1)
        if self.fused:
            return linear(y, self.out_proj.weight, self.out_proj.bias)
        return self.out_proj(y)


Mamba.__module__ = "mamba_ssm.modules.mamba_simple"
Mamba2.__module__ = "mamba_ssm.modules.mamba2"


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * self.weight


class Block(nn.Module):
    def __init__(self, width, mixer):
        super().__init__()
        self.norm, self.mixer = RMSNorm(width), mixer

    def forward(self, hidden, residual):
        residual = hidden if residual is None else hidden + residual
        return self.mixer(self.norm(residual)), residual


class Backbone(nn.Module):
    def __init__(self, vocabulary, width, mixers):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(Block(width, mixer) for mixer in mixers)
        self.norm_f = RMSNorm(width)

    def forward(self, input_ids):
        hidden, residual = self.embedding(input_ids), None
        for layer in self.layers:
            hidden, residual = layer(hidden, residual)
        return self.norm_f(hidden + residual)


class MambaLMHeadModel(nn.Module):
    def __init__(self, config, **options):
        super().__init__()
        multiple = config.get("pad_vocab_size_multiple", 8)
        vocabulary = -(-config["vocab_size"] // multiple) * multiple
        given = dict(config.get("ssm_cfg", {})) | options
        kind = {"Mamba1": Mamba, "Mamba2": Mamba2}[given.pop("layer", "Mamba1")]
        mixers = [kind(config["d_model"], **given) for _ in range(config["n_layer"])]
        self.backbone = Backbone(vocabulary, config["d_model"], mixers)
        self.lm_head = nn.Linear(config["d_model"], vocabulary, bias=False)
        if config.get("tie_embeddings", True):
            self.lm_head.weight = self.backbone.embedding.weight

    def forward(self, input_ids):
        return self.lm_head(self.backbone(input_ids))


# As state-spaces/mamba-130m and mamba2-130m have it, but for the sizes.
MAMBA = {
    "d_model": 24,
    "n_layer": 2,
    "vocab_size": 37,
    "ssm_cfg": {"d_state": 5},
    "rms_norm": True,
    "residual_in_fp32": True,
    "fused_add_norm": True,
    "pad_vocab_size_multiple": 8,
}
MAMBA2 = MAMBA | {
    "d_intermediate": 0,
    "ssm_cfg": {"layer": "Mamba2", "d_state": 5, "headdim": 8},
    "attn_layer_idx": [],
    "attn_cfg": {},
    "tie_embeddings": True,
}
OPTIONS = {
    "mamba": MAMBA,
    "mamba-defaults": {"d_model": 24, "n_layer": 2, "vocab_size": 37},
    "mamba2-defaults": MAMBA2 | {"d_model": 32, "ssm_cfg": {"layer": "Mamba2"}},
    "mamba-options": MAMBA
    | {
        "ssm_cfg": {
            "layer": "Mamba1", "d_state": 4, "d_conv": 3, "expand": 3, "dt_rank": 5, "bias": True,
            "conv_bias": False,
        },
        "tie_embeddings": False,
        "pad_vocab_size_multiple": 1,
        "fused_add_norm": False,
        "residual_in_fp32": False,
    },
    "mamba2": MAMBA2,
    "mamba2-options": MAMBA2
    | {
        "ssm_cfg": {
            "layer": "Mamba2", "d_state": 4, "d_conv": 3, "expand": 3, "headdim": 12, "ngroups": 2,
            "dt_limit": [0.3, 0.8], "bias": True, "conv_bias": False, "chunk_size": 4,
        },
        "tie_embeddings": False,
        "pad_vocab_size_multiple": 16,
    },
}  # fmt: skip
IDS = torch.randint(37, (3, 9), generator=torch.Generator().manual_seed(1))
PADDED = {
    "input_ids": IDS,
    "attention_mask": (torch.arange(9) < torch.tensor([[9], [5], [1]])).long(),
}


@torch.no_grad()
def at_random(model, seed=0):
    """Every parameter away from its initial value, steps around 0.5."""
    g = torch.Generator().manual_seed(seed)
    for name, value in model.named_parameters():
        noise = torch.randn(value.shape, generator=g)
        if value.ndim >= 2 and not name.endswith("A_log"):
            value.copy_(noise / math.sqrt(value[0].numel()))
        else:
            value.add_(0.4 * noise)
            if "dt_bias" in name or "dt_proj.bias" in name:
                value.sub_(0.4)
    return model.eval()


def native(config, **options):
    return at_random(MambaLMHeadModel(config, **options))


def save(folder, config, state, safe=False):
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    if safe:
        from safetensors.torch import save_file

        save_file(
            {name: value.clone() for name, value in state.items()}, folder / "model.safetensors"
        )
    else:
        torch.save(state, folder / "pytorch_model.bin")
    return folder


# Options of the mixers in memory.
MIXERS = {
    "mamba": (MAMBA, {}),
    "mamba-bias": (MAMBA, {"bias": True, "conv_bias": False}),
    "mamba2": (MAMBA2, {"ngroups": 2, "dt_limit": (0.3, 0.8)}),
    "mamba2-around": (MAMBA2, {"d_ssm": 32, "ngroups": 2}),
    "mamba2-no-norm": (MAMBA2, {"rmsnorm": False, "D_has_hdim": True}),
    "mamba2-norm-first": (MAMBA2, {"norm_before_gate": True, "ngroups": 3}),
    "mamba2-all": (
        MAMBA2,
        {"norm_before_gate": True, "d_ssm": 16, "D_has_hdim": True, "bias": True},
    ),
}
