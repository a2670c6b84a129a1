"""Residual streams, layers and scores made so that the answer is known, and the trained model."""

import dataclasses
import itertools
import math

import pytest
import torch

from tokensphere import s6
from tokensphere.flow import SharedStepFlow, random_tokens, simulate
from tokensphere.other_tokens import consensus_spectrum
from tokensphere.paper import ledger
from tokensphere.sinks import typeseg
from tokensphere.sinks.attribution import FACTORS, attribution, level
from tokensphere.sinks.capture import capture
from tokensphere.sinks.layer import Layer
from tokensphere.sinks.nulls import lag_importance, uniform_importance
from tokensphere.sinks.scores import VARIANTS, importance
from tokensphere.sinks.theory import (
    aligned,
    alignment,
    correlation,
    predicted,
    prepend,
    pull,
    response,
)


def normal(seed, *shape):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def close(got, want, tolerance=1e-12):
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance, equal_nan=True)


def make_layer(delta, A, B, C, lengths=None):
    if lengths is None:
        lengths = torch.full(delta.shape[:1], delta.shape[-1])
    layer = Layer("mixer", torch.zeros_like(delta), delta, A, B, C, A[:, 0], None, lengths)
    mask = layer.mask[:, None]
    cut = {"delta": delta * mask, "B": B * mask[:, None], "C": C * mask[:, None]}
    return dataclasses.replace(layer, **cut)


def random_layer(seed, groups=1, channels=4, states=3, lengths=(9, 6, 2)):
    batch, length = len(lengths), max(lengths)
    return make_layer(
        0.3 * normal(seed, batch, channels, length).exp(),
        -normal(seed + 1, channels, states).exp(),
        normal(seed + 2, batch, groups, states, length),
        normal(seed + 3, batch, groups, states, length),
        torch.tensor(lengths),
    )


# The residual stream.

MASK = torch.tensor(
    [[0, 0, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1], [0, 1, 1, 0, 0, 0]]
)
PLACES = [slice(2, 6), slice(0, 3), slice(0, 6), slice(1, 3)]


@pytest.mark.parametrize("axis", [False, True])
def test_alignment_is_cosines_counted_one_by_one(axis):
    states = [normal(0, 4, 6, 5), normal(1, 4, 6, 5)]
    found = alignment(states, MASK, axis=axis)
    for depth, state in enumerate(states):
        for row, place in enumerate(PLACES):
            x = state[row, place]
            cosine = [[float(u @ v / u.norm() / v.norm()) for v in x] for u in x]
            cosine = [[abs(v) if axis else v for v in line] for line in cosine]
            first, others = [math.nan] * 6, [math.nan] * 6
            for l in range(1, len(x)):
                first[l] = cosine[l][0]
                rest = [cosine[l][j] for j in range(1, len(x)) if j != l]
                others[l] = sum(rest) / len(rest) if rest else math.nan
            close(found.first[depth, row], torch.tensor(first).double(), 1e-6)
            close(found.others[depth, row], torch.tensor(others).double(), 1e-6)


def test_a_shared_direction_brings_tokens_to_each_other_as_much_as_to_the_first():
    states = [normal(0, 40, 12, 8), normal(0, 40, 12, 8) + 3 * normal(1, 8)]
    found = alignment(states)
    first, others = found.first.nanmean((1, 2)), found.others.nanmean((1, 2))
    assert first[1] > 0.7 and abs(first[0]) < 0.1
    # 40 sequences whose first tokens are independent: a few standard errors of 0.35 / sqrt(40).
    assert (first - others).abs().max() < 0.15
    drawn = normal(0, 40, 12, 8)
    drawn[:, 1:] += 2 * drawn[:, :1]
    found = alignment([drawn])
    # For 1 and 4 of variance in each entry: cosines near 2/sqrt(5) = 0.89 and 4/5.
    assert 0.06 < float((found.first - found.others).nanmean()) < 0.12


def test_padding_does_not_enter_and_the_side_does_not_matter():
    x = normal(0, 1, 4, 5)
    pad = torch.full((1, 2, 5), math.nan, dtype=torch.float64)
    left, right = torch.cat([pad, x], 1), torch.cat([x, pad], 1)
    masks = torch.tensor([[0, 0, 1, 1, 1, 1]]), torch.tensor([[1, 1, 1, 1, 0, 0]])
    want = alignment([x])
    other = normal(1, 1, 4, 5)
    answer = response([x], [other])
    for state, mask in zip((left, right), masks, strict=True):
        found = alignment([state], mask)
        close(found.first[..., :4], want.first)
        close(found.others[..., :4], want.others)
        assert found.first[..., 4:].isnan().all() and found.others[..., 4:].isnan().all()
        changed = torch.full_like(state, 7.0)
        changed[mask.bool()] = other[0]
        close(response([state], [changed], mask)[..., :4], answer)


def test_response_is_a_slope_and_knows_signs():
    first, second = (torch.nn.functional.normalize(normal(s, 2, 1, 6), dim=-1) for s in (0, 1))
    signs = torch.tensor([1.0, -1.0, 1.0, 1.0])[:, None].double()
    still = normal(2, 2, 2, 6)  # tokens that do not depend on the first
    shared = [torch.cat([x, signs[1:] * x, still], 1) for x in (first, second)]
    found = response(shared[:1], shared[1:])[0]
    close(found, torch.tensor([[math.nan, -1, 1, 1, 0, 0]]).double().expand(2, -1))
    # Half of the way, on normalised tokens: by hand.
    x, y = normal(3, 1, 3, 4), normal(4, 1, 3, 4)
    u, v = (z / z.norm(dim=-1, keepdim=True) for z in (x, y))
    want = (u[0, 2] - v[0, 2]) @ (u[0, 1] - v[0, 1]) / (u[0, 1] - v[0, 1]).square().sum()
    close(response([x], [y], position=1)[0, 0, 2], want)
    assert response([x], [x]).isnan().all()


def test_the_theorys_flow_brings_alignment_and_response_to_one():
    """Eq (10) with a positive definite form: all tokens come to +-x_1, whichever it is."""
    S_BC = 2 * torch.eye(4, dtype=torch.float64) + 0.3 * normal(0, 4, 4)
    flow = SharedStepFlow(S_BC, normal(1, 4), torch.tensor(0.2).double())
    x = random_tokens(6, 5, 4, generator=torch.Generator().manual_seed(2))
    y = x.clone()
    y[:, 0] = random_tokens(6, 1, 4, generator=torch.Generator().manual_seed(3))[:, 0]
    times = torch.tensor([0.0, 60.0], dtype=torch.float64)
    runs = [simulate(flow, z, times, 1e-8, 1e-10).tokens for z in (x, y)]
    found = alignment(list(runs[0]), axis=True).first
    assert found[1].nan_to_num(1).min() > 0.999 > 0.9 > found[0].nanmean()
    moved = response(*map(list, runs))
    close(moved[0].nan_to_num(0), torch.zeros_like(moved[0]))
    # Tokens whose sign is the same in both runs go along: the sign itself is their response.
    signs = [run[1] @ run[1][:, 0, :, None] for run in runs]
    same = (signs[0] * signs[1])[:, 1:, 0] > 0
    assert same.sum() > 6
    close(moved[1][:, 1:][same].abs(), torch.ones(int(same.sum())).double(), 0.02)
    assert (moved[1][:, 1:][same] * signs[0][:, 1:, 0][same] > 0).all()


def test_prepending_keeps_the_rest_in_place():
    ids = torch.arange(24).reshape(4, 6)
    got, mask = prepend(ids, MASK, 99)
    assert got[:, :][mask.bool()].tolist() == [
        99, 2, 3, 4, 5, 99, 6, 7, 8, 99, 12, 13, 14, 15, 16, 17, 99, 19, 20,
    ]  # fmt: skip
    assert mask.tolist()[0] == [0, 0, 1, 1, 1, 1, 1]
    assert mask.tolist()[1] == [1, 1, 1, 1, 0, 0, 0]
    assert mask.tolist()[3] == [0, 1, 1, 1, 0, 0, 0]
    assert got[0, :2].tolist() == [0, 1] and got[1, 4:].tolist() == [9, 10, 11]
    got, mask = prepend(ids, None, 99)
    assert got[:, 0].tolist() == [99] * 4 and torch.equal(got[:, 1:], ids) and mask.all()


def test_what_is_not_a_stream_is_refused():
    x = normal(0, 2, 3, 4)
    for states, mask, text in (
        ([], None, "states: got 0 of them"),
        ([x, x[:1]], None, "states: got shape .* at 1"),
        ([x[0]], None, "states: got shape .* at 0"),
        ([x], torch.ones(2, 4), "mask: got shape"),
        ([x], torch.tensor([[1, 0, 1], [1, 1, 1]]), "mask: sequence 0 has holes"),
        ([x], torch.tensor([[1, 1, 1], [0, 0, 0]]), "mask: sequence 1 has no token"),
        ([x * 0], None, "states: holds a token that is zero"),
        ([x * math.inf], None, "states: holds a token"),
    ):
        with pytest.raises(ValueError, match=text):
            alignment(states, mask)
    with pytest.raises(ValueError, match="changed: 2 of"):
        response([x], [x, x])
    with pytest.raises(ValueError, match="position: got 3, takes an integer from 0 to 2"):
        response([x], [x], position=3)
    with pytest.raises(ValueError, match="input_ids: got shape"):
        prepend(torch.arange(3), None, 1)


# What the theory predicts of a layer.


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_aligned_layer_is_the_closed_form(groups):
    layer = random_layer(0, groups)
    prediction, limit = predicted(layer), aligned(layer)
    assert prediction.rate.shape == prediction.gain.shape == (3, 4, 3)
    M, own = s6.hidden_attention(*limit.tensors), s6.hidden_attention(*layer.tensors)
    for row, length in enumerate(layer.lengths.tolist()):
        profile = lag_importance(prediction.rate, prediction.gain, length)[row].sum(1)
        close(importance(limit)[row, :, :length], profile)
        close(M[row, :, length - 1, length - 1], prediction.weight[row])
        close(M[row, :, 1, 0], prediction.speed[row])
    # What token 1 gives itself is the layer's own; the rest is not.
    close(own[..., 0, 0], prediction.weight)
    assert (own[..., 1, 0] - M[..., 1, 0]).abs().max() > 0.1


def test_speed_is_the_rate_at_which_the_flow_draws_token_2():
    S_BC, w, a = normal(0, 3, 3), normal(1, 3), 0.7
    x1 = torch.nn.functional.normalize(normal(2, 3), dim=0)
    flow = SharedStepFlow(S_BC, w, torch.tensor(a).double())
    M = flow.attention(x1.expand(4, 3))
    step = torch.nn.functional.softplus(x1 @ w)
    # One channel, one state that holds <x_l, S_BC x_j> at consensus.
    one = torch.ones(1, 1, 1, 4, dtype=torch.float64)
    delta = step.expand(1, 1, 4)
    layer = make_layer(delta, torch.full((1, 1), -a).double(), (x1 @ S_BC @ x1) * one, one)
    close(s6.hidden_attention(*layer.tensors)[0, 0], M)
    spectrum = consensus_spectrum(flow, x1, torch.ones(4, dtype=torch.float64))
    close(predicted(layer).speed[0, 0], -spectrum[1, 0])


def test_pull_is_the_mean_of_the_first_column_below_the_diagonal():
    layer = random_layer(4, 2, lengths=(9, 6, 1))
    M = s6.hidden_attention(*layer.tensors)
    found = pull(layer)
    for row, length in enumerate((9, 6)):
        close(found[row], M[row, :, 1:length, 0].mean(-1))
    assert found[2].isnan().all()
    close(pull(aligned(aligned(layer))), pull(aligned(layer)))


def test_correlation_is_of_ranks_within_each_prompt():
    x = normal(0, 5, 30)
    found = correlation(x, (3 * x).exp() + normal(1, 5, 1).abs())
    assert found.mean == pytest.approx(1) and found.low == pytest.approx(1)
    assert correlation(x, -x).mean == pytest.approx(-1)
    # Prompts that differ in level only, noise within: no correlation but across prompts.
    levels = torch.arange(40).double()[:, None] * 10
    mixed = correlation(levels + normal(2, 40, 30), levels + normal(3, 40, 30))
    assert mixed.low < 0 < mixed.high and abs(mixed.mean) < 0.1
    some = x.clone()
    some[0] = 1.0
    assert correlation(some, x) == correlation(some[1:], x[1:])
    assert math.isnan(correlation(0 * x, x).mean)
    with pytest.raises(ValueError, match="measured: got shape"):
        correlation(x, x[:, 1:])
    with pytest.raises(ValueError, match="predicted: got shape"):
        correlation(x[:, :1], x[:, :1])
    with pytest.raises(ValueError, match="measured: got NaN"):
        correlation(x, x * math.nan)


# Where a score comes from.


def by_hand(layer, factors):
    """M of `level`, from its equation, entry by entry; one sequence."""
    delta, A = layer.delta[0], layer.A
    each = delta.shape[0] // layer.B.shape[1]
    w, t = delta, delta
    B, C = (value[0].repeat_interleave(each, 0) for value in (layer.B, layer.C))
    w = w.mean(-1, keepdim=True).expand_as(w) if "write" in factors else w
    t = t.mean(-1, keepdim=True).expand_as(t) if "decay" in factors else t
    B = B.mean(-1, keepdim=True).expand_as(B) if "input" in factors else B
    C = C.mean(-1, keepdim=True).expand_as(C) if "output" in factors else C
    M = torch.zeros(1, *delta.shape, delta.shape[-1], dtype=torch.float64)
    for l in range(delta.shape[-1]):
        for j in range(l + 1):
            elapsed = t[:, j + 1 : l + 1].sum(-1)
            decay = torch.exp(A * elapsed[:, None])
            M[0, :, l, j] = w[:, j] * (C[..., l] * B[..., j] * decay).sum(-1)
    return M


@pytest.mark.parametrize(
    "factors", [(), *[(f,) for f in FACTORS], FACTORS[:2], FACTORS[1:], FACTORS]
)
@pytest.mark.parametrize("groups", [1, 2])
def test_levelling_is_its_equation(factors, groups):
    layer = random_layer(7, groups, lengths=(7,))
    close(s6.hidden_attention(*level(layer, factors).tensors), by_hand(layer, factors), 1e-11)


@pytest.mark.parametrize("factors", [("write",), ("decay",), ("input", "output"), FACTORS])
@pytest.mark.parametrize("groups", [1, 2])
def test_levelling_a_batch_is_levelling_each_sequence(factors, groups):
    layer = random_layer(8, groups)
    whole = level(layer, factors)
    for row, length in enumerate(layer.lengths.tolist()):
        alone = Layer(
            "alone",
            layer.u[row : row + 1, :, :length],
            layer.delta[row : row + 1, :, :length],
            layer.A,
            layer.B[row : row + 1, ..., :length],
            layer.C[row : row + 1, ..., :length],
            layer.skip,
            None,
            torch.tensor([length]),
        )
        for variant in VARIANTS:
            close(
                importance(whole, variant)[row, :, :length],
                importance(level(alone, factors), variant)[0],
                1e-11,
            )


def test_a_step_of_zero_can_be_levelled():
    layer = random_layer(9, lengths=(7,))
    delta = layer.delta.clone()
    delta[..., 3] = 0
    layer = dataclasses.replace(layer, delta=delta)
    found = s6.hidden_attention(*level(layer, ["write"]).tensors)
    # SMALL_STEP of a mean step in place of 0 in the decay, at rates up to 10.
    close(found, by_hand(layer, ["write"]), 1e-4)


def flat_layer(length=12):
    """Nothing but the lag: two channels, one state."""
    delta = torch.full((2, 2, length), 0.3, dtype=torch.float64)
    one = torch.ones(2, 1, 1, length, dtype=torch.float64)
    return make_layer(delta, torch.tensor([[-0.2], [-0.5]]).double(), one, one)


def planted(factor):
    """A sink of the first token that one factor makes."""
    layer = flat_layer()
    delta, B = layer.delta.clone(), layer.B.clone()
    if factor == "write":
        delta[..., 0] = 3.0
    else:
        B[..., 0] = 8.0
    return dataclasses.replace(layer, delta=delta, B=B)


@pytest.mark.parametrize("factor", ["write", "input"])
def test_a_planted_sink_is_put_down_to_its_factor(factor):
    uniform = float(uniform_importance(12)[0])
    found = attribution(planted(factor))
    assert (found.measured > 1.5 * uniform).all() and (found.levelled < uniform).all()
    gained = found.measured - found.levelled
    assert (found.shares[factor] > 0.85 * gained).all()
    assert max(abs(v).max() for k, v in found.shares.items() if k != factor) < 0.15 * gained.min()
    close(sum(found.shares.values()), gained)
    close(found.alone[factor], gained, 0.2)


def test_with_one_state_readers_have_no_part_in_shares():
    """C_l is then a factor on row l, which the "absolute" variant does not see."""
    layer = flat_layer()
    layer = dataclasses.replace(layer, C=normal(0, *layer.C.shape))
    found = attribution(layer)
    close(found.shares["output"], torch.zeros(2).double())
    close(found.measured, found.levelled)
    assert attribution(layer, "raw").shares["output"].abs().min() > 1e-2


def test_without_content_and_with_like_steps_no_factor_has_a_share():
    found = attribution(flat_layer())
    close(found.measured, found.levelled)
    assert (found.measured < float(uniform_importance(12)[0])).all()
    for values in (*found.shares.values(), *found.alone.values()):
        close(values, torch.zeros(2).double())


def test_shares_do_not_depend_on_the_order_of_factors_and_raw_scores_work():
    layer = random_layer(11, lengths=(8, 5))
    raw = attribution(layer, "raw")
    close(raw.measured, importance(layer)[..., 0].mean(1))
    close(sum(raw.shares.values()), raw.measured - raw.levelled, 1e-11)

    # Shapley by all orders in which factors are put back, one by one.
    def score(kept):
        changed = level(layer, [f for f in FACTORS if f not in kept])
        return importance(changed)[..., 0].mean(1)

    for name in FACTORS:
        steps = [
            score({*order[: order.index(name) + 1]}) - score({*order[: order.index(name)]})
            for order in itertools.permutations(FACTORS)
        ]
        close(raw.shares[name], torch.stack(steps).mean(0), 1e-11)


def test_an_unknown_factor_is_refused():
    with pytest.raises(ValueError, match="factors: got gate, takes some of write, decay"):
        level(flat_layer(), ["gate"])


def test_a_trained_model_end_to_end():
    """Shapes and identities on typeseg's model, both directions; no result of it is fixed here."""
    ids = torch.stack(
        [typeseg.encode(text) for text in ("import os, sys # 1", "a plain sentence ?")]
    )
    model = typeseg.load()
    layers = capture(model, ids)
    with torch.no_grad():
        states = model(ids, output_hidden_states=True).hidden_states
    found = alignment(states)
    assert found.first.shape == (7, 2, 18)
    assert found.first[..., 1:].abs().max() <= 1 + 1e-6 and found.first[..., 0].isnan().all()
    layer = layers[5].select(torch.arange(0, 256, 32))
    assert layer.reverse
    result = attribution(layer)
    close(result.measured, importance(layer, "absolute")[..., 0].double().mean(1), 1e-5)
    for values in (pull(layer), pull(aligned(layer)), predicted(layer).speed):
        assert values.shape == (2, 8) and values.isfinite().all()


@pytest.mark.parametrize("seed", range(3))
def test_a_rescaled_model_has_any_sink_score(seed):
    """The ledger's text says 0 to 1; its check asks only for a difference."""
    evidence = ledger.check("eq-34-scale", seed).evidence
    low, _, high = evidence["stated"].numbers["Sink"]
    assert (low, high) == (0, 1)
    # Not the trivial agreement of scores that are all zero.
    assert 0 < evidence["corrected"].numbers["Sink"][0] < 1
