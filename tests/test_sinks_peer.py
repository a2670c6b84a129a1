"""Our hidden attention against transformer-lens, which gives it as matrices for Mamba-1 and 2.

It runs where the peer is installed, and nothing else needs it:

    python -m pip install -r requirements.txt -e ".[peer]"
    python -m pytest tests/test_sinks_peer.py

The peer listens to the projections while the model runs, and subtracts cumulated steps where
`s6.hidden_attention` multiplies decays. Its conventions, as found here:

- its matrix has ours as `include_dt_scaling=True`: M[l, j] with Delta_j. By default column j lacks
  the factor Delta_j, a matrix that takes Delta_j u_j to the output, not u_j;
- query first, key second, heads of Mamba-2 and channels of Mamba-1 second of four, as ours;
- the decay is exp(Delta A) and the input's weight Delta B, as in the model, in both; skip and gate
  are in neither;
- its positions are the model's, padding included, where ours count from a sequence's first token;
  what stands in its rows and columns of padding has no meaning.

It listens to `dt_proj` and `conv1d`, which transformers no longer calls, but takes the weights of.
The peer's own scan, `eager_scan`, does call them, and computes the same logits; it is taken without
a cache alone. FalconMamba is not compared: there that scan takes the norms of B, C and Delta twice
(4.3.0 with transformers 5.23), and its logits are not the model's.
"""

import copy

import pytest
import torch
from transformers import Mamba2Config, Mamba2ForCausalLM, MambaConfig, MambaForCausalLM

from tokensphere import s6, sinks

pytest.importorskip("transformer_lens", reason="the peer: pip install -e '.[peer]'")

from transformer_lens.model_bridge.sources import build_bridge_from_module

SIZES = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}
LENGTH = 21
ROUNDING = 2e-6
"""Of the largest entry. The peer's exponents are differences of sums of up to 21 steps, times rates
up to 4, each rounded to float32: a few units of 6e-8 of numbers up to 8."""


def mamba():
    return MambaForCausalLM(MambaConfig(**SIZES))


def mamba2():
    return Mamba2ForCausalLM(
        Mamba2Config(**SIZES, num_heads=4, head_dim=8, n_groups=2, chunk_size=8)
    )


@pytest.fixture(params=[mamba, mamba2], ids=lambda make: make.__name__)
def model(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return request.param().eval()


@torch.no_grad()
def by_peer(model, ids, mask=None):
    """The peer's matrices of each layer, with Delta and without: [(B, D, L, L)] twice."""
    # It puts its own modules in place of the model's.
    bridge = build_bridge_from_module(
        copy.deepcopy(model), type(model).__name__, hf_config=model.config
    )
    for block in bridge.blocks:
        block.mixer.eager_scan = True
    logits, cache = bridge.run_with_cache(ids, attention_mask=mask, use_cache=False)
    # Otherwise its matrices would be those of another model. Float32 rounding of two scans.
    torch.testing.assert_close(logits, model(ids, attention_mask=mask).logits, rtol=0, atol=2e-6)
    layers = range(len(bridge.blocks))
    return [
        [cache.compute_ssm_effective_attention(layer=k, include_dt_scaling=scaled) for k in layers]
        for scaled in (True, False)
    ]


def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(1, SIZES["vocab_size"], (3, LENGTH), generator=generator)


def assert_same(got, want):
    assert got.shape == want.shape
    torch.testing.assert_close(got, want, rtol=0, atol=ROUNDING * float(want.abs().max()))


def test_the_matrices_are_the_peer_s(model):
    ids = batch()
    layers = sinks.capture(model, ids)
    scaled, plain = by_peer(model, ids)
    assert len(layers) == len(scaled) == SIZES["num_hidden_layers"]
    for layer, matrices, without_steps in zip(layers, scaled, plain, strict=True):
        ours = s6.hidden_attention(*layer.tensors)
        assert_same(ours, matrices)
        assert_same(ours, without_steps * layer.delta[:, :, None])


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_leaves_the_peer_s_matrices_among_tokens(model, side):
    ids, lengths = batch(), (LENGTH, 13, 2)
    mask = torch.zeros_like(ids)
    spans = [
        slice(LENGTH - length, LENGTH) if side == "left" else slice(length) for length in lengths
    ]
    for row, span in zip(mask, spans, strict=True):
        row[span] = 1
    layers = sinks.capture(model, {"input_ids": ids, "attention_mask": mask})
    scaled, _ = by_peer(model, ids, mask)
    for layer, matrices in zip(layers, scaled, strict=True):
        ours = s6.hidden_attention(*layer.tensors)
        for row, (span, length) in enumerate(zip(spans, lengths, strict=True)):
            assert_same(ours[row, :, :length, :length], matrices[row, :, span, span])


def test_scores_are_the_means_of_the_peer_s_columns(model):
    """The first token's importance, eq (33), in each variant, of every channel and layer."""
    ids = batch()
    scaled, _ = by_peer(model, ids)
    for layer, matrices in zip(sinks.capture(model, ids), scaled, strict=True):
        shares = matrices.abs()
        causal = torch.ones(LENGTH, LENGTH).tril().bool()
        wanted = {
            "raw": matrices,
            "absolute": shares / shares.sum(-1, keepdim=True),
            "softmax": matrices.masked_fill(~causal, -torch.inf).softmax(-1),
        }
        for variant, rows in wanted.items():
            assert_same(sinks.importance(layer, variant)[..., 0], rows[..., 0].mean(-1))
