"""Contrasts of runs made up for them, against their parts."""

from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats

from tokensphere.reorder import comparison, contrasts

SHIFT = {"baseline": 0.0, "random": 0.02, "importance": -0.01, "fixed": 0.01}
"""By arm, of every accuracy and of every measure."""
JITTER = {
    "random": (0.001, -0.001, 0.003),
    "importance": (0.002, 0.0, 0.001),
    "fixed": (0.001, 0.0, 0.0),
}
OTHER = (0.0, 0.001, -0.002)
DEPTHS = {"mambavision_tiny": ["stage 3, block 1", "stage 4, input", "stage 4, block 1"]}


def run(model, arm, seed):
    final = 0.8 + 0.01 * seed + SHIFT[arm] + JITTER.get(arm, OTHER)[seed]
    names = DEPTHS.get(model, ["embedding", "layer 1", "layer 2"])
    level = [SHIFT[arm] + 0.001 * seed + 0.1 * depth for depth in range(3)]
    ordered = arm != "importance"
    return {
        "model": model,
        "arm": arm,
        "seed": seed,
        "epochs": [
            {},
            {
                "train_loss": 1 + SHIFT[arm] + seed**2,
                "test_top1": final,
                "test_top5": 0.9 + SHIFT[arm] + 0.001 * seed**2,
            },
        ],
        "orders": {"own": final, "random": [final - 0.1, final - 0.3]},
        "mechanism": {
            "depths": names,
            "similarity": level,
            "effective_rank": level,
            "pooled_rank": [20.0] * 3,
            "clusters": {"30": level},
            "excess": level if ordered else None,
            "response": {"first": level, "later": level} if ordered else None,
        },
    }


def made(model="s6-small"):
    return [run(model, arm, seed) for arm in SHIFT for seed in (2, 0, 1)]


def test_an_arm_is_tested_in_its_own_order_or_in_random_ones():
    own = contrasts.tested_in(made(), "random", "own")
    assert list(own) == [2, 0, 1] and own[1] == pytest.approx(82.9)
    shuffled = contrasts.tested_in(made(), "random", "random")
    assert shuffled[1] == pytest.approx(62.9)


def test_accuracies_are_adjusted_over_all_models():
    found = {model: made(model) for model in ("mambavision_tiny", "s6-small")}
    rows = contrasts.accuracies(found)
    p = [d.p for each in rows.values() for arm, d in each.items() if arm != "baseline"]
    raw = [
        d.p
        for runs in found.values()
        for d in comparison.differences(comparison.outcomes(runs, "top1")).values()
    ]
    assert p == pytest.approx(list(comparison.holm(raw)))
    row = rows["s6-small"]["random"]
    assert row.top1[1] == pytest.approx(82.9)
    assert row.difference.mean == pytest.approx(2 + 0.4 / 3)
    assert row.top5[0] == pytest.approx(92) and row.difference5.mean == pytest.approx(2)
    assert rows["s6-small"]["baseline"].difference is None
    assert rows["s6-small"]["baseline"].p == 1


def test_contrasts_are_of_what_they_name():
    runs = made()
    found = contrasts.contrasts(runs)
    d = comparison.differences(comparison.outcomes(runs, "top1"))["random"]
    both, trained, shuffled, control, loss = found.values()
    assert both.mean == pytest.approx(d.mean) and both.low == pytest.approx(d.low)
    # In random orders every run has 20 points less.
    assert trained.mean == pytest.approx(d.mean - 20) and shuffled.mean == pytest.approx(d.mean)
    fixed = comparison.differences(comparison.outcomes(runs, "top1"), "fixed")["random"]
    assert control.mean == pytest.approx(fixed.mean - 20)
    assert loss.mean == pytest.approx(SHIFT["random"])
    few = [one for one in runs if one["arm"] != "fixed"]
    assert len(contrasts.contrasts(few)) == 4


def test_the_control_is_compared_with_and_without_pairs():
    runs = made()
    found = contrasts.fixed_order_control(runs)
    random, fixed = (
        np.array([contrasts.tested_in(runs, arm, orders)[seed] for seed in range(3)])
        for arm, orders in (("random", "random"), ("fixed", "own"))
    )
    assert found.paired.sd == pytest.approx(np.std(random - fixed, ddof=1))
    assert found.unpaired.mean == pytest.approx(found.paired.mean)
    welch = stats.ttest_ind(random, fixed, equal_var=False).confidence_interval()
    assert (found.unpaired.low, found.unpaired.high) == pytest.approx(welch)
    # Seeds move both alike, so that pairs lie closer together than independent runs.
    ratio = found.paired.sd / found.unpaired.sd
    assert found.chance == pytest.approx(stats.chi2.cdf(2 * ratio**2, 2)) and found.chance < 0.1


def test_followers_are_of_arms_with_a_first_token():
    runs = made()
    found = contrasts.followers(runs)
    assert list(found) == ["baseline", "random", "fixed"]
    assert found["baseline"].cosine is found["baseline"].top1 is None
    assert found["random"].cosine.mean == pytest.approx(SHIFT["random"])
    top1 = comparison.differences(comparison.outcomes(runs, "top1"))["random"]
    assert found["random"].top1 == top1
    # The last depth, and the mean over seeds 0 to 2.
    assert found["random"].first == pytest.approx(SHIFT["random"] + 0.201)
    assert found["fixed"].excess == pytest.approx((0.212, 0.21, 0.211))
    count = comparison.differences(comparison.diversity(runs)["layer 2", "clusters"])["random"]
    # From Python 3.13 on a NaN in a dataclass equals nothing, not even itself.
    assert astuple(found["random"].clusters) == pytest.approx(astuple(count), nan_ok=True)


def test_the_excess_is_a_mean_over_runs_with_a_first_token():
    found = contrasts.mean_excess(made("mambavision_tiny"))
    assert list(found) == DEPTHS["mambavision_tiny"]
    assert found["stage 4, input"] == pytest.approx(0.1 + 0.001 + np.mean([0, 0.02, 0.01]))


def test_diversity_is_compared_over_all_models():
    noise = np.random.default_rng(0)
    found = {model: made(model) for model in ("mambavision_tiny", "s6-small")}
    for runs in found.values():
        for each in (one["mechanism"] for one in runs):
            for name in ("similarity", "effective_rank", "pooled_rank"):
                each[name] = list(each[name] + 1e-4 * noise.standard_normal(3))
            each["clusters"]["30"] = list(each["clusters"]["30"] + noise.standard_normal(3))
    # A difference that one test finds and all of them together do not.
    for number, one in enumerate(run for run in found["s6-small"] if run["arm"] == "random"):
        one["mechanism"]["pooled_rank"][-1] += 1 + 0.3 * number
    rows = contrasts.diversity_differences(found)
    assert len(rows) == 12
    for row in rows:
        values = comparison.diversity(found[row.model])[row.depth, row.measure]
        assert row.own == pytest.approx(np.mean(list(values["baseline"].values())))
        assert row.difference == comparison.differences(values)["random"]
    shown = {row.measure: row for row in rows if row.model == "s6-small"}
    assert shown["similarity"].shown == -1  # larger cosines
    assert shown["effective_rank"].shown == 1
    assert shown["clusters"].shown == 0
    row = shown["pooled_rank"]
    assert row.difference.p < contrasts.LEVEL <= row.p and row.shown == 0
