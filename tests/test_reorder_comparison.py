"""Statistics of a comparison against simulations, brute force and arithmetic by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from tokensphere.reorder.comparison import (
    Difference,
    detectable,
    detectable_once,
    differences,
    holm,
    outcomes,
    paired,
    pooled_sd,
    power,
    power_once,
    sampling_error,
    seeds_needed,
)


def within(found, expected, trials):
    """Whether a count of trials is within four standard deviations of its binomial law."""
    return abs(found - trials * expected) < 4 * math.sqrt(trials * expected * (1 - expected))


def test_a_paired_difference_by_hand():
    found = paired([95.3, 95.1, 95.6, 95.2], [95.0, 95.1, 95.2, 94.7])
    # Differences 0.3, 0, 0.4, 0.5; 3.182446 is t's 0.975 quantile with 3 degrees of freedom.
    sd = math.sqrt((0.0**2 + 0.3**2 + 0.1**2 + 0.2**2) / 3)
    assert found.mean == pytest.approx(0.3, abs=1e-12)
    assert found.sd == pytest.approx(sd, abs=1e-12)
    half = 3.182446305 * sd / 2
    assert (found.low, found.high) == pytest.approx((0.3 - half, 0.3 + half), abs=1e-8)
    assert found.n == 4
    narrow = paired([95.3, 95.1, 95.6, 95.2], [95.0, 95.1, 95.2, 94.7], 0.5)
    assert found.low < narrow.low < found.mean < narrow.high < found.high
    other = paired([95.0, 95.1, 95.2, 94.7], [95.3, 95.1, 95.6, 95.2])
    assert (other.mean, other.low) == pytest.approx((-found.mean, -found.high))


@pytest.mark.parametrize("n", [2, 5])
def test_the_interval_covers_the_true_difference_as_often_as_it_says(n):
    g = np.random.default_rng(n)
    trials, covered, rejected = 2000, 0, 0
    for _ in range(trials):
        seed = g.normal(0, 3, n)  # shared by a pair, far larger than what differs
        found = paired(95 + 0.2 + seed + g.normal(0, 0.1, n), 95 + seed + g.normal(0, 0.1, n))
        covered += found.low < 0.2 < found.high
        # The test of "no difference" rejects where the interval leaves it out, and there alone.
        assert (found.p < 0.05) == (not found.low < 0 < found.high)
        rejected += found.p < 0.05
    assert within(covered, 0.95, trials)
    assert within(rejected, power(0.2, math.sqrt(2) * 0.1, n), trials)


def test_pairing_gains_what_the_correlation_says():
    g = np.random.default_rng(0)
    shared = g.normal(0, 0.3, 4000)
    treatment, control = (shared + g.normal(0, 0.1, 4000) for _ in range(2))
    found = paired(treatment, control)
    # Cov = 0.09 and variances 0.1; 4000 pairs leave an error of about 0.2 / 63.
    assert found.correlation == pytest.approx(0.9, abs=0.015)
    unpaired = np.var(treatment, ddof=1) + np.var(control, ddof=1)
    assert found.sd**2 / unpaired == pytest.approx(1 - found.correlation, rel=0.01)


def test_differences_that_are_all_alike_have_no_interval():
    found = paired([95.3, 95.1, 95.7], [95.1, 94.9, 95.5])
    assert found.mean == pytest.approx(0.2)
    assert found.sd < 1e-12
    assert all(map(math.isnan, (found.low, found.high, found.p)))
    assert found.correlation == pytest.approx(1)
    same = paired([64.0, 64.0], [64.0, 64.0])
    assert (same.mean, same.low, same.high, same.p, same.sd) == (0, 0, 0, 1, 0)


@pytest.mark.parametrize(
    ("treatment", "control"), [([1, 2], [1, 3]), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [1, 1, 1])]
)
def test_no_correlation_of_two_pairs_or_of_what_does_not_vary(treatment, control):
    found = paired(treatment, control)
    assert math.isnan(found.correlation) and math.isfinite(found.low)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([1.0], [2.0]), "treatment: got shape"),
        (([1.0, 2.0], [[1.0, 2.0]]), "control: got shape"),
        (([1.0, 2.0], [1.0, math.nan]), "control: got NaN"),
        (([1.0, 2.0, 3.0], [1.0, 2.0]), "control: got shape"),
        (([1.0, 2.0], [1.0, 2.0], 95), "confidence: got 95"),
    ],
)
def test_what_is_no_pair_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        paired(*arguments)


@pytest.mark.parametrize(("n", "difference"), [(2, 1.0), (3, 0.3), (5, 0.19), (5, 0.0), (12, 0.1)])
def test_power_is_how_often_the_test_rejects(n, difference):
    g = np.random.default_rng(n)
    trials, sd = 40000, 0.15
    each = g.normal(difference, sd, (trials, n))
    rejected = (stats.ttest_1samp(each, 0, axis=1).pvalue < 0.05).sum()
    assert within(rejected, power(difference, sd, n), trials)
    assert power(-difference, sd, n) == pytest.approx(power(difference, sd, n), rel=1e-12)


def test_power_of_one_run_each_is_how_often_two_runs_lie_that_far_apart():
    g = np.random.default_rng(0)
    trials, sd = 40000, 0.1
    runs = g.normal(0, sd, (2, trials))
    apart = abs(runs[0] + 0.19 - runs[1]) > 1.959963985 * math.sqrt(2) * sd
    assert within(apart.sum(), power_once(0.19, sd), trials)
    assert power_once(0, sd) == pytest.approx(0.05, abs=1e-12)


def test_power_far_out_is_a_number():
    # scipy's own noncentral t law is not, from some noncentrality on.
    for n in (2, 3, 5, 30):
        values = [power(x, 1.0, n) for x in np.linspace(0, 40, 200)]
        assert np.isfinite(values).all() and (np.diff(values) >= 0).all()
        assert values[0] == pytest.approx(0.05, abs=1e-9)
        assert values[-1] > 0.99
    assert power(1e-200, 1.0, 3) == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize("wanted", [0.06, 0.8, 0.95])
def test_what_is_detectable_is_found_with_that_power(wanted):
    for n in (2, 3, 5, 50):
        assert power(detectable(0.15, n, wanted), 0.15, n) == pytest.approx(wanted, abs=1e-8)
    assert power_once(detectable_once(0.15, wanted), 0.15) == pytest.approx(wanted, abs=1e-8)
    # Many pairs are as good as a known sd, which leaves z's sum of quantiles over sqrt(n).
    many = detectable(0.15, 10**6) * 1000
    assert many == pytest.approx((1.959964 + 0.841621) * 0.15, rel=1e-4)
    assert detectable(0.15, 5, level=0.01) > detectable(0.15, 5)


def test_seeds_needed_is_the_least_number():
    for difference, sd, wanted in (
        (0.19, 0.14, 0.8),
        (-0.19, 0.28, 0.8),
        (3, 1, 0.06),
        (1, 9, 0.9),
    ):
        n = seeds_needed(difference, sd, wanted)
        assert power(difference, sd, n) >= wanted
        assert n == 2 or power(difference, sd, n - 1) < wanted
    assert seeds_needed(100, 0.1) == 2


def test_holm_against_its_definition():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]).tolist() == [1, 1]
    g = np.random.default_rng(0)
    for _ in range(50):
        p = g.uniform(size=6) ** 3
        adjusted = holm(p)
        for level in (0.01, 0.05, 0.2):
            # Step down: the smallest p against level / 6, the next against level / 5, until one
            # fails.
            rejected = set()
            for k, place in enumerate(np.argsort(p)):
                if p[place] > level / (6 - k):
                    break
                rejected.add(place)
            assert rejected == set(np.flatnonzero(adjusted <= level))


def test_holm_keeps_the_level_over_arms_that_share_a_baseline():
    g = np.random.default_rng(1)
    trials, wrong, naive = 10000, 0, 0
    baseline = g.normal(size=(trials, 5))
    arms = g.normal(size=(4, trials, 5))
    p = stats.ttest_rel(arms, baseline[None], axis=2).pvalue
    for each in p.T:
        wrong += (holm(each) < 0.05).any()
        naive += (each < 0.05).any()
    assert wrong < 0.05 * trials + 4 * math.sqrt(0.05 * 0.95 * trials)
    assert naive > 0.1 * trials


def test_sampling_error_is_that_of_a_count():
    g = np.random.default_rng(0)
    shares = 100 * g.binomial(10000, 0.92, 20000) / 10000
    # The sd of an estimated sd is sd / sqrt(2 * 20000).
    assert np.std(shares) == pytest.approx(sampling_error(0.92, 10000), rel=4 / 200)
    assert sampling_error(1.0, 10000) == 0


def test_pooled_sd_weighs_by_freedom():
    def found(sd, n):
        return Difference(0.0, -1.0, 1.0, 1.0, sd, n, 0.0)

    assert pooled_sd([found(0.3, 2), found(0.1, 4)]) == pytest.approx(math.sqrt(0.12 / 4))
    assert pooled_sd([found(0.2, 3)]) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="found: no difference"):
        pooled_sd([])


def run(arm, seed, *shares, model="s6-tiny"):
    epochs = [{"epoch": i + 1, "test_top1": share} for i, share in enumerate(shares)]
    return {"model": model, "arm": arm, "seed": seed, "epochs": epochs}


def test_outcomes_are_of_the_last_epoch_in_points():
    runs = [run("baseline", 1, 0.99, 0.5), run("random", 0, 0.7), run("baseline", 0, 0.25)]
    found = outcomes(runs, "top1")
    assert found == {"baseline": {1: 50.0, 0: 25.0}, "random": {0: 70.0}}
    with pytest.raises(ValueError, match=r"runs: two of arm 'random' with seed 0"):
        outcomes([*runs, run("random", 0, 0.1)], "top1")
    with pytest.raises(ValueError, match="runs: got models"):
        outcomes([*runs, run("random", 1, 0.1, model="s6-small")], "top1")
    with pytest.raises(ValueError, match="runs: got models"):
        outcomes([], "top1")


def test_differences_pair_by_seed():
    found = {"random": {2: 13.0, 0: 10.5, 1: 12.0, 7: 0.0}, "baseline": {0: 10.0, 1: 11.0, 2: 11.5}}
    assert differences(found) == {"random": paired([10.5, 12.0, 13.0], [10.0, 11.0, 11.5])}
    assert differences(found, "random")["baseline"].mean == pytest.approx(-1.0)
    assert differences(found, confidence=0.5)["random"].low > differences(found)["random"].low
    with pytest.raises(ValueError, match="control: got 'fixed'"):
        differences(found, "fixed")
    # One pair has no spread.
    assert differences({**found, "fixed": {0: 1.0, 9: 1.0}}) == differences(found)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: power(0.1, 0.0, 5), "sd: got 0.0"),
        (lambda: power(0.1, 0.1, 1), "n: got 1"),
        (lambda: power(0.1, 0.1, 5.0), "n: got 5.0"),
        (lambda: power(0.1, 0.1, 5, 5), "level: got 5"),
        (lambda: power(math.nan, 0.1, 5), "difference: got nan"),
        (lambda: power_once(math.inf, 0.1), "difference: got inf"),
        (lambda: power_once(0.1, -0.1), "sd: got -0.1"),
        (lambda: detectable(-0.1, 5), "sd: got -0.1"),
        (lambda: detectable(0.1, 1), "n: got 1"),
        (lambda: detectable(0.1, 5, 0.04), "power: got 0.04"),
        (lambda: detectable_once(math.nan), "sd: got nan"),
        (lambda: detectable_once(0.1, 1.0), "power: got 1.0"),
        (lambda: seeds_needed(0.0, 0.1), "difference: got 0"),
        (lambda: seeds_needed(0.1, 0.0), "sd: got 0.0"),
        (lambda: seeds_needed(0.1, 0.1, 0.01), "power: got 0.01"),
        (lambda: holm([]), "p: got shape"),
        (lambda: holm([0.1, math.nan]), "p: got"),
        (lambda: holm([0.1, 1.1]), "p: got"),
        (lambda: sampling_error(92.0, 10000), "share: got 92.0"),
        (lambda: sampling_error(0.92, 0), "images: got 0"),
    ],
)
def test_what_is_out_of_range_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
