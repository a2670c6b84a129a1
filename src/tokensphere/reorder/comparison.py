"""What a comparison of trainings can tell: differences paired by seed, and the power of their test.

Runs of one seed share initial weights, batches and augmentation, so that an arm's difference from
the baseline is taken seed by seed and what the seed does to both cancels. Tests are two-sided;
accuracies and their differences are in points of a percent throughout.

Intervals are for one difference each. Where several arms are held against one baseline, `holm`
adjusts their p-values: over all of them, the chance that any true null is rejected stays below the
level, however the differences depend on one another (they share the baseline's runs).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, stats

from tokensphere.door import array, at_least, number, positive, share, takes, text, whole
from tokensphere.reorder.arguments import check_count, check_finite, check_positive, check_share

__all__ = [
    "ANGLE",
    "DIVERSE",
    "Difference",
    "detectable",
    "detectable_once",
    "differences",
    "diversity",
    "holm",
    "outcomes",
    "paired",
    "pooled_sd",
    "power",
    "power_once",
    "sampling_error",
    "seeds_needed",
    "t_test_power",
    "tested",
]


DIVERSE = {"similarity": -1, "clusters": 1, "effective_rank": 1, "pooled_rank": 1}
"""Measures of `reorder.mechanism`, and the sign of a difference that means more diverse tokens."""

ANGLE = 30
"""Of the clusters in `diversity`, degrees."""


@dataclass(frozen=True)
class Difference:
    """A treatment's mean difference from its control, with what it rests on.

    mean: of treatment minus control over the pairs.
    low, high: bounds of its t interval.
    p: of the two-sided paired t test that the true mean is 0. Where all differences are 0 it is 1,
        and the bounds are 0; where they are alike and not 0, all three are NaN.
    sd: of the differences, with n - 1.
    n: pairs.
    correlation: Pearson's, of treatment with control. Pairing divides the variance of the mean
        difference by 1 - correlation where both vary alike. NaN below three pairs, or where one
        of them does not vary.
    """

    mean: float
    low: float
    high: float
    p: float
    sd: float
    n: int
    correlation: float


@takes(treatment=array("n", n=2), control=array("n"), confidence=share(closed=False))
def paired(
    treatment: Sequence[float], control: Sequence[float], confidence: float = 0.95
) -> Difference:
    """The mean of treatment - control over pairs, with the t interval of scipy's ttest_rel.

    treatment, control: (n,), pair by pair, n >= 2.
    confidence: of the two-sided interval.

    Raises ValueError for other shapes, values that are not finite, a confidence not in (0, 1).
    """
    check_share("confidence", confidence)
    a, b = (np.asarray(value, dtype=float) for value in (treatment, control))
    for name, value in {"treatment": a, "control": b}.items():
        if value.ndim != 1 or len(value) < 2:
            raise ValueError(f"{name}: shape {value.shape}, takes (n,) with n >= 2")
        if not np.isfinite(value).all():
            raise ValueError(f"{name}: holds NaN or infinity")
    if a.shape != b.shape:
        raise ValueError(f"treatment: {len(a)} values, but control has {len(b)}")
    low = high = p = correlation = math.nan
    sd = float(np.std(a - b, ddof=1))
    if not _alike(a - b, np.abs(a).max() + np.abs(b).max()):
        test = stats.ttest_rel(a, b)
        low, high = test.confidence_interval(confidence)
        p = test.pvalue
    elif not (a - b).any():
        low, high, p = 0.0, 0.0, 1.0
    if len(a) > 2 and not any(_alike(value, np.abs(value).max()) for value in (a, b)):
        correlation = stats.pearsonr(a, b).statistic
    return Difference(
        float(np.mean(a - b)), float(low), float(high), float(p), sd, len(a), float(correlation)
    )


def pooled_sd(found: Iterable[Difference]) -> float:
    """One sd of differences for several arms: the root of their variances' mean by n - 1.

    For planning, where an sd of three pairs says little; it takes the arms' true sds to be alike.

    Raises ValueError for no difference.
    """
    found = list(found)
    if not found:
        raise ValueError("found: no difference, takes one or more")
    freedom = [d.n - 1 for d in found]
    return math.sqrt(float(np.average([d.sd**2 for d in found], weights=freedom)))


def _alike(values: np.ndarray, scale: float) -> bool:
    """Whether values of numbers of this size differ by no more than these numbers' rounding."""
    # Where scipy, too, warns of what it would compute.
    return bool(np.ptp(values) <= 1e-12 * scale)


@takes(p=array("m", least=0.0))
def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p-values, (m,), in the order given.

    With p sorted, the k-th smallest becomes the largest of (m - j + 1) p_(j) over j <= k, at most
    1 (Holm 1979, Scand. J. Statist. 6:65-70). An adjusted value below the level rejects.

    Raises ValueError for no p-value, or one outside [0, 1].
    """
    values = np.asarray(p, dtype=float)
    if values.ndim != 1 or not len(values) or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"p: got {values.tolist()}, takes one or more numbers from 0 to 1")
    order = np.argsort(values)
    adjusted = np.maximum.accumulate(np.arange(len(values), 0, -1) * values[order])
    return np.minimum(adjusted, 1)[np.argsort(order)]


@takes(shift=at_least(0.0), freedom=whole(1), level=share(closed=False))
def t_test_power(shift: float, freedom: int, level: float = 0.05) -> float:
    """Chance that a two-sided t test rejects.

    t^2, which is both tails in one, follows the noncentral F law with 1 and `freedom` degrees of
    freedom; `shift`, >= 0, is the square of the noncentrality.
    """
    # scipy 1.17's nct.cdf is NaN in the far tail, and its ncf is wrong at 0 itself.
    law = stats.ncf(1, freedom, shift) if shift else stats.f(1, freedom)
    return float(law.sf(stats.f.isf(level, 1, freedom)))


@takes(difference=number(), sd=positive(), n=whole(2), level=share(closed=False))
def power(difference: float, sd: float, n: int, level: float = 0.05) -> float:
    """Chance that the paired t test rejects, where the true mean difference is `difference`.

    t has n - 1 degrees of freedom and the noncentrality sqrt(n) difference / sd.

    sd: of the differences, > 0. n: pairs, >= 2. level: of the test.

    Raises ValueError for what is out of range.
    """
    check_positive("sd", sd)
    check_count("n", n, 2)
    check_share("level", level)
    check_finite("difference", difference)
    return t_test_power(n * (difference / sd) ** 2, n - 1, level)


# Where an argument has that name.
_power = power


@takes(difference=number(), sd=positive(), level=share(closed=False))
def power_once(difference: float, sd: float, level: float = 0.05) -> float:
    """The same for one run of each arm, unpaired, judged by a seed-to-seed sd known beforehand.

    The difference of two runs is normal with standard deviation sqrt(2) sd: a z test. Without that
    knowledge two runs allow no test at all.
    """
    check_positive("sd", sd)
    check_share("level", level)
    check_finite("difference", difference)
    shift = abs(difference) / (math.sqrt(2) * sd)
    bound = stats.norm.isf(level / 2)
    return float(stats.norm.sf(bound - shift) + stats.norm.cdf(-bound - shift))


@takes(sd=positive(), n=whole(2), power=share(closed=False), level=share(closed=False))
def detectable(sd: float, n: int, power: float = 0.8, level: float = 0.05) -> float:
    """The smallest true difference that the paired t test of n pairs finds with this power.

    Raises ValueError for what is out of range, and a power that is not above the level.
    """
    check_positive("sd", sd)
    return sd * _solve(lambda shift: _power(shift, 1.0, n, level), power, level)


@takes(sd=positive(), power=share(closed=False), level=share(closed=False))
def detectable_once(sd: float, power: float = 0.8, level: float = 0.05) -> float:
    """The same for one run of each arm and a known seed-to-seed sd, as in `power_once`."""
    check_positive("sd", sd)
    return sd * _solve(lambda shift: power_once(shift, 1.0, level), power, level)


@takes(difference=number(), sd=positive(), power=share(closed=False), level=share(closed=False))
def seeds_needed(difference: float, sd: float, power: float = 0.8, level: float = 0.05) -> int:
    """The smallest number of pairs with which the paired t test has this power.

    difference: the true one, not 0. sd: of the differences, > 0.

    Raises ValueError for what is out of range, and a power that is not above the level.
    """
    check_finite("difference", difference)
    if not difference:
        raise ValueError("difference: got 0, takes another number: no test finds that")
    _above(power, level)
    enough = 2
    while _power(difference, sd, enough, level) < power:
        enough *= 2
    counts = range(2, enough + 1)
    return counts[bisect.bisect_left(counts, power, key=lambda n: _power(difference, sd, n, level))]


@takes(share=share(), images=whole(1))
def sampling_error(share: float, images: int) -> float:
    """Standard deviation, in points, of an accuracy over draws of the test images.

    Binomial: share of right answers, from 0 to 1, on `images` independent images. Runs that are
    tested on the same images share most of it; it bears on what a difference says about others.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share: got {share}, takes a number from 0 to 1")
    if not images > 0:
        raise ValueError(f"images: got {images}, takes a number > 0")
    return float(100 * stats.binom.std(images, share) / images)


def tested(epoch: Mapping[str, Any], metric: str) -> float:
    """ "top1", "top5" or "loss" on the test images: of the averaged weights, if a run has them."""
    return epoch.get(f"average_{metric}", epoch[f"test_{metric}"])


def outcomes(runs: Sequence[Mapping[str, Any]], metric: str) -> dict[str, dict[int, float]]:
    """`tested` of each run's last epoch: by arm, then by seed; shares as points of a percent.

    runs: as `tokensphere.reorder.experiment.run` returns them, of one model.
    metric: "top1" or "top5".

    Raises ValueError for runs of several models, or two of the same arm and seed.
    """
    if len(models := sorted({run["model"] for run in runs})) != 1:
        raise ValueError(f"runs: got models {models}, takes runs of one")
    found: dict[str, dict[int, float]] = {}
    for run in runs:
        seeds = found.setdefault(run["arm"], {})
        if run["seed"] in seeds:
            raise ValueError(f"runs: two of arm {run['arm']!r} with seed {run['seed']}")
        # The last epoch, not the best: choosing by the test images would flatter every arm.
        seeds[run["seed"]] = 100 * tested(run["epochs"][-1], metric)
    return found


def diversity(
    runs: Sequence[Mapping[str, Any]],
) -> dict[tuple[str, str], dict[str, dict[int, float]]]:
    """What `reorder.mechanism` measured at the end of each stage: by depth and name of a measure,
    then as `outcomes` by arm and seed.

    Stages are MambaVision's; a model without has one. Names are those of `DIVERSE`.

    Raises ValueError for no run, or runs that were measured at other depths.
    """
    depths = {tuple(run["mechanism"]["depths"]) for run in runs}
    if len(depths) != 1:
        raise ValueError(f"runs: measured at {len(depths)} lists of depths, takes one")
    (names,) = depths
    stages = [name.partition(",")[0] if name.startswith("stage") else "" for name in names]
    ends = [i for i, stage in enumerate(stages) if stage not in stages[i + 1 :]]
    found: dict[tuple[str, str], dict[str, dict[int, float]]] = {}
    for run in runs:
        measured = run["mechanism"]
        lists = {name: measured[name] for name in DIVERSE if name != "clusters"}
        lists["clusters"] = measured["clusters"][str(ANGLE)]
        for end in ends:
            for name in DIVERSE:
                arms = found.setdefault((names[end], name), {})
                arms.setdefault(run["arm"], {})[run["seed"]] = lists[name][end]
    return found


@takes(control=text(), confidence=share(closed=False))
def differences(
    found: Mapping[str, Mapping[int, float]],
    control: str = "baseline",
    confidence: float = 0.95,
) -> dict[str, Difference]:
    """Each arm of `outcomes` against the control, over the seeds that both have.

    Arms with fewer than two such seeds are left out.

    Raises ValueError for a control that is not there.
    """
    if control not in found:
        raise ValueError(f"control: got {control!r}, takes one of {sorted(found)}")
    compared = {}
    for arm, seeds in found.items():
        if arm == control:
            continue
        common = sorted(seeds.keys() & found[control].keys())
        if len(common) >= 2:
            ours, theirs = ([side[seed] for seed in common] for side in (seeds, found[control]))
            compared[arm] = paired(ours, theirs, confidence)
    return compared


def _solve(curve: Any, power: float, level: float) -> float:
    """Where an increasing power curve, `level` at 0, meets `power`."""
    _above(power, level)
    high = 1.0
    while curve(high) < power:
        high *= 2
    return float(optimize.brentq(lambda shift: curve(shift) - power, 0, high, xtol=1e-10))


def _above(power: float, level: float) -> None:
    check_share("level", level)
    if not level < power < 1:
        raise ValueError(f"power: got {power}, takes a number between the level, {level}, and 1")
