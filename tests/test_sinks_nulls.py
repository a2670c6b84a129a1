"""Nulls by formula against the layer itself, changed tokens, rescaled models."""

import numpy as np
import pytest
import torch

from tokensphere.sinks.layer import Layer
from tokensphere.sinks.nulls import (
    lag_importance,
    move_first,
    replace_first,
    rescale,
    shuffle_tokens,
    uniform_importance,
)
from tokensphere.sinks.scores import attention_map, importance


def make_layer(delta, A, B, C):
    """One sequence; u and skip random, as they do not enter a score."""
    g = torch.Generator().manual_seed(0)
    u = torch.randn(delta.shape, generator=g, dtype=torch.float64)
    skip = torch.randn(delta.shape[1], generator=g, dtype=torch.float64)
    lengths = torch.full(delta.shape[:1], delta.shape[-1])
    return Layer("mixer", u, delta, A, B, C, skip, None, lengths)


def random_layer(seed, batch=2, channels=3, states=4, length=10):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    return make_layer(
        0.3 * normal(batch, channels, length).exp(),
        -normal(channels, states).exp(),
        normal(batch, 1, states, length),
        normal(batch, 1, states, length),
    )


def aligned_layer(rates, gains, length):
    """All tokens alike: rates (D, N), gains (D, N), so that M_lj = sum_n g_n e^{-r_n (l - j)}.

    B and C are shared between channels, so each channel gets a group of its own.
    """
    rates = torch.as_tensor(rates, dtype=torch.float64)
    gains = torch.as_tensor(gains, dtype=torch.float64)
    delta = torch.full((1, len(rates), length), 0.4, dtype=torch.float64)
    B = (gains / 0.8)[None, ..., None].expand(-1, -1, -1, length)
    return make_layer(delta, -rates / 0.4, B, torch.full_like(B, 2.0))


def close(got, want, tolerance=1e-12):
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("length", [1, 2, 7, 16])
@pytest.mark.parametrize("variant", ["softmax", "absolute"])
def test_attention_without_preference_is_the_uniform_null(variant, length):
    layer = aligned_layer([[0.3, 2.0]], [[0.0, 0.0]], length)
    close(importance(layer, variant)[0, 0], uniform_importance(length))
    close(
        attention_map(layer, variant),
        torch.ones(length, length, dtype=torch.float64).tril()
        / torch.arange(1, length + 1, dtype=torch.float64)[:, None],
    )


def test_uniform_attention_passes_the_papers_threshold_up_to_nine_tokens():
    first = {T: float(uniform_importance(T)[0]) for T in range(1, 200)}
    assert [T for T, score in first.items() if score > 0.3] == list(range(1, 10))
    assert first[16] == pytest.approx(sum(1 / l for l in range(1, 17)) / 16, rel=1e-14)
    assert first[16] == pytest.approx(0.2113, abs=5e-5)
    assert all((uniform_importance(T).diff() < 0).all() for T in (2, 16, 199))


RATES = [0.01, 0.3, 2.0, 30.0]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_lag_importance_is_the_layers_own_where_all_tokens_are_alike(sign):
    gains = [sign * g for g in (0.5, 3.0, 1.0, 0.2)]
    layer = aligned_layer(np.c_[RATES], np.c_[gains], 16)
    close(importance(layer)[0], lag_importance(torch.tensor(RATES), torch.tensor(gains), 16), 1e-6)
    want = lag_importance(*(torch.tensor(v, dtype=torch.float64) for v in (RATES, gains)), 16)
    close(importance(layer)[0], want)
    # At rate 1e-12, 1 - e^{-r} by subtraction has four digits.
    close(lag_importance(1e-12, 2.0, 5), torch.full((5,), 2.0, dtype=torch.float64), 1e-11)


@pytest.mark.parametrize("length", [2, 3, 16, 100])
def test_alignment_makes_the_first_token_the_least_important(length):
    """One rate a channel, as in the paper: strictly, for each rate, in all but rounding."""
    layer = aligned_layer(np.c_[RATES[:3]], np.full((3, 1), 0.7), length)
    uniform = uniform_importance(length)
    assert (importance(layer)[0].diff() > 0).all()
    for variant in ("absolute", "softmax"):
        assert (importance(layer, variant)[0, :, 0] < uniform[0] - 1e-9).all()
    # Negative gains: the first has the largest raw score, which is negative. Absolute scores
    # stay, the softmax turns over.
    flipped = aligned_layer(np.c_[RATES[:3]], np.full((3, 1), -0.7), length)
    assert (importance(flipped)[0].diff() < 0).all() and (importance(flipped) < 0).all()
    close(importance(flipped, "absolute"), importance(layer, "absolute"))
    assert (importance(flipped, "softmax")[0, :, 0] > uniform[0] + 1e-9).all()


def test_several_states_add_up_and_gains_of_one_sign_keep_the_order():
    g = torch.Generator().manual_seed(1)
    rates = torch.rand(20, 5, generator=g, dtype=torch.float64) * 3 + 1e-3
    gains = torch.rand(20, 5, generator=g, dtype=torch.float64)
    layer = aligned_layer(rates, gains, 16)
    close(importance(layer)[0], lag_importance(rates, gains, 16).sum(1))
    assert (importance(layer)[0].diff() > 0).all()
    assert (importance(layer, "absolute")[0, :, 0] < uniform_importance(16)[0]).all()


def test_gains_of_both_signs_can_make_the_first_token_the_most_important():
    """f(m) = 0.999^m - 0.9^m, the docstring's example, in every variant and above its null."""
    m = np.arange(60)
    assert np.argmax(0.999**m - 0.9**m) in (44, 45)
    layer = aligned_layer([[-np.log(0.999), -np.log(0.9)]], [[1.0, -1.0]], 16)
    for variant in ("raw", "softmax", "absolute"):
        alpha = importance(layer, variant)[0, 0]
        assert alpha.argmax() == 0
        assert variant == "raw" or alpha[0] > 1.05 * uniform_importance(16)[0]


def test_tokens_at_both_ends_of_the_axis_can_make_a_sink_of_the_first():
    """The others at -x_1, in a channel with <S_Delta, x_1> = 5; one decay rate."""
    ends = torch.tensor([1.0] + [-1.0] * 15, dtype=torch.float64)
    delta = torch.nn.functional.softplus(5 * ends)[None, None]
    reading = ends[None, None, None]
    rate = -torch.ones(1, 1, dtype=torch.float64)
    alpha = importance(make_layer(delta, rate, reading, reading), "absolute")[0, 0]
    assert alpha[0] > 0.9
    # The other way round, as the docstring has it: no step below the first one's, no sink.
    for seed in range(20):
        g = torch.Generator().manual_seed(seed)
        signs = torch.where(torch.rand(16, generator=g) < 0.5, 1.0, -1.0).double()
        signs[0] = 1
        steps = torch.where(signs > 0, 0.05, 1.5).double()[None, None]
        reading = signs[None, None, None]
        alpha = importance(make_layer(steps, rate, reading, reading), "absolute")[0, 0]
        assert alpha[0] < uniform_importance(16)[0]


IDS = torch.arange(30).reshape(3, 10)
MASK = torch.ones(3, 10, dtype=torch.int64)
MASK[0, :4] = 0  # padded on the left
MASK[1, 7:] = 0  # on the right
PLACES = [slice(4, 10), slice(0, 7), slice(0, 10)]


def test_shuffling_keeps_padding_and_what_it_is_told_to():
    g = torch.Generator().manual_seed(0)
    shuffled = shuffle_tokens(IDS, MASK, g, keep_first=1)
    assert (shuffled == IDS)[MASK == 0].all()
    for row, place in enumerate(PLACES):
        assert shuffled[row, place][0] == IDS[row, place][0]
        assert sorted(shuffled[row].tolist()) == IDS[row].tolist()
        assert not torch.equal(shuffled[row], IDS[row])
    again = shuffle_tokens(IDS, MASK.bool(), torch.Generator().manual_seed(0), keep_first=1)
    assert torch.equal(shuffled, again)
    assert torch.equal(shuffle_tokens(IDS, MASK, g, keep_first=10), IDS)


def test_shuffling_brings_each_token_to_each_place_as_often():
    g = torch.Generator().manual_seed(0)
    ids = torch.arange(5).expand(4000, 5)
    shuffled = shuffle_tokens(ids, None, g)
    share = torch.stack([(shuffled == token).double().mean(0) for token in range(5)])
    # Four standard errors of a share of 1/5 in 4000, for 25 shares.
    assert (share - 0.2).abs().max() < 4 * np.sqrt(0.2 * 0.8 / 4000)
    assert torch.equal(ids, torch.arange(5).expand(4000, 5))


def test_replacing_and_moving_the_first_token():
    replaced = replace_first(IDS, MASK, torch.tensor([100, 101, 102]))
    assert (replaced != IDS).nonzero().tolist() == [[0, 4], [1, 0], [2, 0]]
    assert replaced[replaced != IDS].tolist() == [100, 101, 102]
    assert replace_first(IDS, None, 7)[:, 0].tolist() == [7, 7, 7]
    moved = move_first(IDS, MASK, 2)
    assert moved[0].tolist() == [0, 1, 2, 3, 5, 6, 4, 7, 8, 9]
    assert moved[1].tolist() == [11, 12, 10, 13, 14, 15, 16, 17, 18, 19]
    assert torch.equal(move_first(IDS, MASK, 0), IDS)
    assert move_first(IDS, MASK, 5)[0].tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9, 4]


@pytest.mark.parametrize("factor", [4.0, 1 / 32, -3.0])
def test_rescaling_keeps_the_function_and_the_absolute_scores_only(factor):
    layer = random_layer(0)
    scaled = rescale(layer, factor)
    close(scaled.mix(), layer.mix(), 1e-11)
    close(importance(scaled), factor * importance(layer), 1e-11)
    close(importance(scaled, "absolute"), importance(layer, "absolute"))
    moved = (importance(scaled, "softmax") - importance(layer, "softmax")).abs()
    assert moved.max() > 0.05


def small_model(family):
    transformers = pytest.importorskip("transformers")

    torch.manual_seed(0)
    shared = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2}
    shared |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if family == "Jamba":
        attention = {"num_attention_heads": 2, "num_key_value_heads": 1, "attn_layer_offset": 3}
        experts = {"num_experts": 1, "num_experts_per_tok": 1, "intermediate_size": 32}
        mamba = {"use_mamba_kernels": False, "mamba_d_state": 4, "mamba_dt_rank": 3}
        config = transformers.JambaConfig(
            **shared, **attention, **experts, **mamba, attn_layer_period=4
        )
    else:
        config = getattr(transformers, f"{family}Config")(**shared, state_size=4, time_step_rank=3)
    model = getattr(transformers, f"{family}ForCausalLM")(config).double().eval()
    # Skip and steps are initialised alike in all channels.
    with torch.no_grad():
        for module in mixers(model):
            module.D.normal_()
    return model


def mixers(model):
    return [module for module in model.modules() if hasattr(module, "x_proj")]


@torch.no_grad()
def logits_when_scaled(model, scale):
    """The model's logits before and after `scale(mixer)` in each layer."""
    ids = torch.randint(3, 40, (2, 9), generator=torch.Generator().manual_seed(0))
    before = model(ids, use_cache=False).logits
    for module in mixers(model):
        scale(module)
    return before, model(ids, use_cache=False).logits


@pytest.mark.parametrize("family", ["Mamba", "Jamba"])
@pytest.mark.parametrize("c", [8.0, -5.0])
def test_models_of_the_same_function_have_hidden_attention_of_any_scale(family, c):
    """The reparametrisation that `rescale` names: M is linear in C, which becomes c times C."""

    def scale(mixer):
        if family == "Mamba":
            mixer.x_proj.weight[-mixer.ssm_state_size :] *= c
        else:
            mixer.c_layernorm.weight *= c
        mixer.D *= c
        mixer.out_proj.weight /= c

    before, after = logits_when_scaled(small_model(family), scale)
    assert before.std() > 1e-3
    close(after, before, 1e-6)  # steps and decays run in float32 inside the models

    def without_out_proj(mixer):
        scale(mixer)
        mixer.out_proj.weight *= c

    before, after = logits_when_scaled(small_model(family), without_out_proj)
    assert (after - before).abs().max() > 1e-4


def test_falcon_mamba_has_no_scale_of_c_to_choose():
    """Its C is normalised without a weight: scaled rows of x_proj leave C, and so M, as they were.

    Scaling D and out_proj as well, as in Mamba, changes the function.
    """

    def scale(mixer):
        mixer.x_proj.weight[-mixer.ssm_state_size :] *= 8

    def scale_as_mamba(mixer):
        scale(mixer)
        mixer.D *= 8
        mixer.out_proj.weight /= 8

    before, after = logits_when_scaled(small_model("FalconMamba"), scale)
    change = (after - before).abs().max()
    assert change < 1e-2 * before.std()  # not 0: the norm's epsilon
    before, after = logits_when_scaled(small_model("FalconMamba"), scale_as_mamba)
    assert (after - before).abs().max() > 10 * change


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: uniform_importance(0), "length: got 0, takes a whole number of 1 or more"),
        (lambda: uniform_importance(2.0), "length: got 2.0"),
        (lambda: lag_importance(0.0, 1.0, 4), "rate: got 0.0, takes a finite number above 0"),
        (lambda: lag_importance(float("inf"), 1.0, 4), "rate: got inf"),
        (lambda: lag_importance(1.0, float("nan"), 4), "gain: got nan"),
        (
            lambda: shuffle_tokens(IDS[0], None, None),
            "input_ids: got shape (10,), takes a tensor (B, L)",
        ),
        (lambda: shuffle_tokens(IDS, MASK[:2], None), "mask: got shape (2, 10), takes"),
        (lambda: shuffle_tokens(IDS, 0 * MASK, torch.Generator()), "mask: sequence 0 has no token"),
        (lambda: shuffle_tokens(IDS, MASK, torch.Generator(), -1), "keep_first: got -1"),
        (lambda: replace_first(IDS, MASK, IDS[:2, 0]), "new: shape (2,), takes one token"),
        (lambda: replace_first(IDS, MASK, torch.zeros(2)), "new: got Tensor of shape (2,)"),
        (lambda: replace_first(IDS, MASK, 0.5), "new: got 0.5, takes a whole number"),
        (lambda: move_first(IDS, MASK, 6), "position: got 6, takes an integer from 0 to 5"),
        (lambda: move_first(IDS, MASK, -1), "position: got -1"),
        (lambda: rescale(random_layer(0), 0.0), "factor: got 0.0, takes a finite number but 0"),
        (lambda: rescale(random_layer(0), float("inf")), "factor: got inf"),
    ],
)
def test_bad_input_is_named(call, names):
    with pytest.raises(ValueError) as caught:
        call()
    assert names in str(caught.value)
