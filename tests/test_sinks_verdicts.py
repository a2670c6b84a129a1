"""Verdicts on planted sinks, on none, and on too little to say; by intervals with a margin."""

import numpy as np
import pytest
import torch

from tokensphere.sinks.layer import Layer
from tokensphere.sinks.nulls import replace_first, shuffle_tokens, uniform_importance
from tokensphere.sinks.scores import importance, interval
from tokensphere.sinks.verdicts import LEAST_PROMPTS, MARGIN, verdict

NULL = float(uniform_importance(16)[0])


def planted(ids, kind):
    """A toy layer whose steps make a sink: on the first place, on token 0, on early tokens that
    stand in ascending order, or on none."""
    g = torch.Generator().manual_seed(5)
    channels, states, vocabulary = 24, 4, 50
    B, C = torch.randn(2, vocabulary, states, generator=g, dtype=torch.float64)
    steps = torch.rand(vocabulary, channels, generator=g, dtype=torch.float64) * 0.2 + 0.05
    delta = steps[ids].mT.clone()
    if kind == "position":
        delta[..., 0] = 3.0
    elif kind == "token":
        delta = torch.where((ids == 0)[:, None], 3.0, delta)
    elif kind == "order":
        ordered = (ids[:, 1:].diff() > 0).all(-1)
        delta[ordered, :, 0] = 3.0
    rate = torch.full((channels, states), -0.05, dtype=torch.float64)
    B, C = B[ids].mT[:, None], C[ids].mT[:, None]
    lengths = torch.full(ids.shape[:1], ids.shape[1])
    skip = torch.ones(channels, dtype=torch.float64)
    layer = Layer("mixer", delta, delta, rate, B, C, skip, None, lengths)
    return importance(layer, "absolute")[..., 0].mean(-1)


def judge(kind, prompts=30, length=12, seed=0):
    g = torch.Generator().manual_seed(seed)
    ids = torch.stack([torch.randperm(49, generator=g)[:length] + 1 for _ in range(prompts)])
    ids = ids.sort(-1).values
    ids[:, 0] = 0
    new = torch.randint(1, 50, (prompts,), generator=g)
    shuffled = planted(shuffle_tokens(ids, None, g), kind)
    replaced = planted(replace_first(ids, None, new), kind)
    return verdict(planted(ids, kind), float(uniform_importance(length)[0]), shuffled, replaced)


@pytest.mark.parametrize(
    ("kind", "outcome", "want"),
    [
        ("position", "sink", "position"),
        ("token", "sink", "token"),
        ("order", "sink", "undetermined"),
        ("none", "uniform", None),
    ],
)
def test_planted_sinks_are_told_apart(kind, outcome, want):
    found = judge(kind)
    assert (found.outcome, found.kind, found.needed) == (outcome, want, None)
    assert (found.excess.low > 0) == (outcome == "sink")
    assert found.excess.low < found.excess.mean < found.excess.high
    if kind == "position":
        assert abs(found.fall_replaced.mean) < 0.2 * found.excess.mean
    elif kind == "token":
        assert found.fall_replaced.low > 0.5 * found.excess.mean
        assert found.fall_shuffled.low > 0


def draws(mean, spread, prompts, seed=0):
    """Scores with exactly this mean and sample standard deviation."""
    values = torch.from_numpy(np.random.default_rng(seed).normal(0, 1, prompts))
    return mean + spread * (values - values.mean()) / values.std()


def outcome(scores, confidence=0.95):
    return verdict(scores, NULL, scores, scores, confidence)


def test_few_prompts_decide_nothing_however_clear():
    for prompts in range(2, LEAST_PROMPTS):
        for mean in (NULL + 0.5, NULL - 0.2):
            found = outcome(draws(mean, 1e-3, prompts))
            assert (found.outcome, found.kind, found.needed) == ("undecided", None, LEAST_PROMPTS)
    assert outcome(draws(NULL + 0.5, 1e-3, LEAST_PROMPTS)).outcome == "sink"
    assert outcome(draws(NULL - 0.2, 1e-3, LEAST_PROMPTS)).outcome == "uniform"


def test_the_interval_decides_by_zero_and_by_the_margin():
    half = 2 * float(outcome(draws(NULL, 0.05, 20)).excess.high)  # twice, to be well on one side
    margin = MARGIN * NULL
    assert outcome(draws(NULL + half, 0.05, 20)).outcome == "sink"
    assert outcome(draws(NULL + margin - half, 0.05, 20)).outcome == "uniform"
    between = outcome(draws(NULL + margin / 2, 0.1, 20))
    assert between.outcome == "undecided" and between.margin == pytest.approx(margin)
    assert between.excess.low < 0 and between.excess.high > margin
    # Of no excess at all, too wide an interval is no evidence for none.
    assert outcome(draws(NULL, 0.2, 20)).outcome == "undecided"
    # A small excess that many prompts show is a sink still, and within the margin.
    small = outcome(draws(NULL + margin / 2, 0.01, 200))
    assert small.outcome == "sink" and small.excess.high < margin


@pytest.mark.parametrize("mean", [NULL, NULL + MARGIN * NULL / 2, NULL + MARGIN * NULL])
@pytest.mark.parametrize("prompts", [12, 30])
def test_as_many_prompts_as_are_needed_decide_four_times_in_five(mean, prompts):
    """Fresh samples, each of the size that a sample without a decision asks for."""
    random = np.random.default_rng(4)
    spread, sizes, decided = 0.15, [], []
    while len(sizes) < 60:
        found = outcome(torch.from_numpy(random.normal(mean, spread, prompts)))
        if found.outcome != "undecided":
            continue
        sizes.append(found.needed)
        for _ in range(5):
            fresh = outcome(torch.from_numpy(random.normal(mean, spread, found.needed)))
            decided.append(fresh.outcome != "undecided")
    # 0.8 with the pilot's spread and a mean in the middle; more where the mean is off it. The
    # binomial error of 300 trials that share 60 pilots is about 0.04.
    assert 0.68 < np.mean(decided) < 0.97
    assert np.median(sizes) > 4 * prompts


def test_fewer_are_needed_for_a_clear_mean_and_more_for_a_higher_confidence():
    clear, middle = (
        outcome(draws(NULL + excess * MARGIN * NULL, 0.15, 8)).needed for excess in (2, 0.5)
    )
    assert LEAST_PROMPTS <= clear < middle
    assert outcome(draws(NULL + MARGIN * NULL / 2, 0.15, 8), 0.99).needed > 1.3 * middle
    assert outcome(draws(NULL, 1e5, 8)).needed is None


@pytest.mark.parametrize("prompts", [20, 1000, 3000, 20000])
@pytest.mark.parametrize("spread", [0.0, 1e-7, 1e-6, 1e-4])
def test_a_perfect_sink_is_one_however_many_prompts_say_so(prompts, spread):
    scores = draws(3 * 0.00217, 1.0, prompts)
    scores = 3 * 0.00217 + spread * (scores - scores.mean())
    assert verdict(scores, 0.00217, scores, scores, 1 - 0.05 / 24).outcome == "sink"


@pytest.mark.parametrize(("confidence", "least"), [(0.95, 6), (1 - 0.05 / 24, 10), (0.5, 5)])
@pytest.mark.parametrize(("excess", "want"), [(0.3, "sink"), (0.0, "uniform")])
def test_of_scores_that_do_not_differ_their_number_decides(confidence, least, excess, want):
    for count, noise in ((least - 1, 0), (least, 0), (least - 1, 1e-7), (least, 1e-7)):
        scores = torch.full((count,), NULL + excess, dtype=torch.float64)
        scores += noise * torch.randn(count, generator=torch.Generator().manual_seed(0))
        found = outcome(scores, confidence)
        assert found.outcome == (want if count == least else "undecided")
        assert found.needed == (None if count == least else least)
    # Those that differ are judged by their spread.
    assert outcome(draws(NULL + excess, 1e-4, 5), confidence).outcome == want


def test_scores_at_the_null_seldom_count_as_a_sink():
    """Nominal 2.5 %, at 12 prompts with normal noise; 600 trials, a fixed draw."""
    rows = torch.from_numpy(np.random.default_rng(0).normal(0.3, 0.05, (600, 12)))
    sinks = sum(verdict(row, 0.3, row, row).outcome == "sink" for row in rows)
    assert 3 < sinks < 30


def test_an_excess_of_the_margin_seldom_counts_as_none():
    """The same of the other error: equivalence is found for at most 2.5 %."""
    rows = torch.from_numpy(np.random.default_rng(1).normal(0.3 * (1 + MARGIN), 0.05, (600, 12)))
    none = sum(verdict(row, 0.3, row, row).outcome == "uniform" for row in rows)
    assert 3 < none < 30


def test_a_sink_that_keeps_half_is_undetermined():
    scores = torch.from_numpy(np.random.default_rng(1).normal(0.6, 0.05, 12))
    # Half of the excess, and a little more or less: 0.01, with noise of 0.05.
    noise = 0.05 * torch.tensor([1, -1] * 6)
    half = (scores + 0.2) / 2 + noise
    for near in (half - 0.01, half + 0.01):
        assert verdict(scores, 0.2, scores, near).kind == "undetermined"
        assert verdict(scores, 0.2, near, scores).kind == "undetermined"
    assert verdict(scores, 0.2, scores, half + 0.1).kind == "position"
    found = verdict(scores, 0.2, scores - 0.01, half - 0.1)
    assert found.kind == "token"
    assert found.fall_shuffled.mean == pytest.approx(0.01)
    assert found.fall_replaced.mean == pytest.approx(float((scores - 0.2).mean()) / 2 + 0.1)


def test_rounding_is_no_sink_and_lengths_have_nulls_of_their_own():
    uniform = torch.full((20,), NULL).float() + 1e-7
    assert verdict(uniform, NULL, uniform, uniform).outcome == "uniform"
    # Prompts of 4 and 40 tokens, none with a sink; against one null for all they would have one.
    nulls = torch.stack([uniform_importance(T)[0] for T in [4, 40] * 10])
    noise = torch.from_numpy(np.random.default_rng(2).normal(-0.01, 0.005, 20))
    assert verdict(nulls + noise, nulls, nulls, nulls).outcome == "uniform"
    assert verdict(nulls + noise, float(nulls[1]), nulls, nulls).outcome == "sink"
    # A small excess at each length shows against its own null.
    scores = nulls - noise
    found = verdict(scores, nulls, scores, scores)
    assert found.kind == "position" and found.margin == pytest.approx(MARGIN * float(nulls.mean()))
    assert verdict(scores, float(nulls.mean()), scores, scores).outcome == "undecided"


def test_the_excess_has_the_interval_of_the_scores():
    scores = draws(0.4, 0.1, 9)
    found = verdict(scores, 0.2, scores, scores, 0.9).excess
    low, high = interval(scores - 0.2, 0.9)
    assert (found.low, found.high) == (float(low), float(high))


def one(value=0.5):
    return torch.full((3,), value)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: verdict(one()[:1], 0.2, one()[:1], one()[:1]), "scores: got shape (1,)"),
        (lambda: verdict(one(), torch.zeros(2), one(), one()), "null: got Tensor of shape (2,)"),
        (lambda: verdict(one(), 0.2, one(), one(float("nan"))), "replaced: got NaN"),
        (lambda: verdict(one(), float("nan"), one(), one()), "null: got nan"),
        (lambda: verdict(one(), 0.2, one(), one(), 95), "confidence: got 95"),
    ],
)
def test_bad_input_is_named(call, names):
    with pytest.raises(ValueError) as caught:
        call()
    assert names in str(caught.value)
