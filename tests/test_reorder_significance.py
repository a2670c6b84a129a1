"""Tests of differences that are not paired, against simulations, scipy and arithmetic by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from tokensphere.reorder.significance import (
    always_above,
    critical,
    image_error,
    largest_disagreement,
    largest_spread,
    runs_needed,
    spread_chance,
    unpaired,
    unpaired_power,
)


def within(count, expected, trials):
    """Whether a count of trials is within four standard deviations of its binomial law."""
    return abs(count - trials * expected) < 4 * math.sqrt(trials * expected * (1 - expected))


def test_two_samples_of_images_by_simulation():
    g = np.random.default_rng(0)
    images = 2000
    one, other = (100 * g.binomial(images, share, 40_000) / images for share in (0.8, 0.9))
    error = image_error((80.0, 90.0), images)
    # The sd of an estimated sd is sd / sqrt(2 * 40,000).
    assert np.std(other - one) == pytest.approx(error, rel=4 / math.sqrt(80_000))


def test_the_largest_disagreement_is_where_mcnemar_s_test_just_rejects():
    images = 10_000
    share = largest_disagreement((90.0, 91.0), images)
    assert share == pytest.approx((100 / 1.959964) ** 2 / images, rel=1e-6)
    # 91 - 90 is 100 images; b and c from their sum and difference.
    for factor, rejects in ((0.9, True), (1.1, False)):
        both = round(factor * share * images)
        assert (stats.norm.sf(100 / math.sqrt(both)) < 0.025) == rejects


def test_the_largest_spread_of_one_run_each():
    spread = largest_spread(-0.19)
    assert 0.19 / (math.sqrt(2) * spread) == pytest.approx(critical())
    assert critical(0.05) == pytest.approx(1.959964, abs=1e-6)
    assert largest_spread(0.19, 0.01) < spread


@pytest.mark.parametrize("difference", [0.0, 0.1, 0.3])
def test_power_is_how_often_the_test_rejects(difference):
    g = np.random.default_rng(1)
    trials = 20_000
    draws = g.normal(0, 0.15, (2, trials, 5))
    p = stats.ttest_ind(draws[0], draws[1] + difference, axis=1).pvalue
    assert within((p < 0.05).sum(), unpaired_power(difference, 0.15, 5), trials)


def test_runs_needed_is_the_least_number():
    for difference, sd, power in ((0.19, 0.1, 0.8), (0.19, 0.2, 0.8), (1.0, 1.0, 0.95)):
        n = runs_needed(difference, sd, power)
        assert unpaired_power(difference, sd, n) >= power > unpaired_power(difference, sd, n - 1)
    assert runs_needed(0.19, 0.1) == 6
    with pytest.raises(ValueError, match="difference: got 0"):
        runs_needed(0.0, 0.1)


def test_one_run_above_another_in_all_epochs_by_drawing():
    g = np.random.default_rng(2)
    trials, epochs, jitter = 20_000, 20, 0.5
    curves = g.normal(size=(2, trials, 1)) + jitter * g.normal(size=(2, trials, epochs))
    first = curves[0] > curves[1]
    always = (first.all(1) | ~first.any(1)).sum()
    assert within(always, always_above(jitter, epochs), trials)
    # Exchangeable: each of m epochs and the offset is the largest of m + 1 with equal chance.
    assert always_above(1.0, epochs) == pytest.approx(2 / (epochs + 1), abs=1e-7)
    assert always_above(0.3, 1) == pytest.approx(1, abs=1e-7)


def test_an_unpaired_difference_by_hand():
    found = unpaired([1.0, 2.0, 3.0], [2.0, 4.0])
    # Variances of the means 1/3 and 1, so Welch's freedom is (4/3)^2 / (1/18 + 1).
    freedom = (4 / 3) ** 2 / (1 / 18 + 1)
    half = stats.t.isf(0.025, freedom) * math.sqrt(4 / 3)
    assert found.mean == pytest.approx(-1)
    assert (found.low, found.high) == pytest.approx((-1 - half, -1 + half))
    assert found.p == pytest.approx(2 * stats.t.sf(1 / math.sqrt(4 / 3), freedom))
    assert found.sd == pytest.approx(math.sqrt(3))
    assert found.n == (3, 2)


def test_the_chance_of_a_spread_by_simulation():
    g = np.random.default_rng(3)
    trials = 20_000
    small = (g.normal(0, 2.0, (trials, 3)).std(axis=1, ddof=1) <= 0.7).sum()
    assert within(small, spread_chance(0.7, 2.0, 3), trials)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: critical(0.0), "level: got 0.0"),
        (lambda: image_error((80.0, 101.0), 10), "share: got 1.01"),
        (lambda: largest_disagreement((80.0, 81.0), 0), "images: got 0"),
        (lambda: largest_spread(math.nan), "difference: got nan"),
        (lambda: unpaired_power(0.1, 0.0, 3), "sd: got 0.0"),
        (lambda: unpaired_power(0.1, 0.1, 1), "runs: got 1"),
        (lambda: runs_needed(0.1, 0.1, 1.0), "power: got 1.0"),
        (lambda: always_above(0.0, 10), "jitter: got 0.0"),
        (lambda: always_above(0.1, 0), "epochs: got 0"),
        (lambda: unpaired([1.0], [1.0, 2.0]), "treatment: got shape"),
        (lambda: unpaired([1.0, 2.0], [1.0, math.inf]), "control: got NaN or infinity"),
        (lambda: unpaired([1.0, 1.0], [2.0, 2.0]), "treatment: neither"),
        (lambda: unpaired([1.0, 2.0], [1.0, 2.0], 95), "confidence: got 95"),
        (lambda: spread_chance(0.0, 1.0, 3), "sd: got 0.0"),
        (lambda: spread_chance(1.0, 1.0, 1), "pairs: got 1"),
    ],
)
def test_what_is_out_of_range_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
