"""What accuracies show that are not paired by seed: two published numbers, two sets of runs.

`comparison` has the tests of runs that share their seeds. Here are those of a paper's table: does
its difference hold on other images, with other seeds, and how many runs would tell? Tests are
two-sided; accuracies, their differences and deviations are in points of a percent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.integrate import quad

from tokensphere.door import array, number, positive, share, takes, whole
from tokensphere.reorder.arguments import check_count, check_finite, check_positive, check_share
from tokensphere.reorder.comparison import sampling_error, t_test_power

__all__ = [
    "Unpaired",
    "always_above",
    "critical",
    "image_error",
    "largest_disagreement",
    "largest_spread",
    "runs_needed",
    "spread_chance",
    "unpaired",
    "unpaired_power",
]


@takes(level=share(closed=False))
def critical(level: float = 0.05) -> float:
    """The normal deviate beyond which a two-sided test of this level rejects.

    Raises ValueError for a level not in (0, 1).
    """
    check_share("level", level)
    return float(stats.norm.isf(level / 2))


# Two published numbers.


@takes(percent=array(2, least=0.0), images=whole(1))
def image_error(percent: tuple[float, float], images: int) -> float:
    """Standard error of the difference of two accuracies on different images, in points.

    Raises ValueError for an accuracy outside [0, 100], a number of images that is not positive.
    """
    return math.hypot(*(sampling_error(value / 100, images) for value in percent))


@takes(percent=array(2, least=0.0), images=whole(1), level=share(closed=False))
def largest_disagreement(percent: tuple[float, float], images: int, level: float = 0.05) -> float:
    """Share of images that one model alone may have right for the difference to be significant.

    Both models meet the same images. McNemar's test: with b and c images that one model alone has
    right, z = (b - c) / sqrt(b + c), and b - c is known from the accuracies.

    Raises ValueError for a number of images that is not positive, a level not in (0, 1).
    """
    check_positive("images", images)
    net = (percent[1] - percent[0]) / 100 * images
    return (net / critical(level)) ** 2 / images


@takes(difference=number(), level=share(closed=False))
def largest_spread(difference: float, level: float = 0.05) -> float:
    """The deviation of runs below which this difference of one run each is significant.

    The deviation is taken as known, and the same in both kinds: z = difference / (sqrt(2) sd).
    """
    check_finite("difference", difference)
    return abs(difference) / (math.sqrt(2) * critical(level))


@takes(jitter=positive(), epochs=whole(1))
def always_above(jitter: float, epochs: int) -> float:
    """Probability that one of two runs alike is above the other in all of so many epochs.

    A run's accuracy is a curve common to both, plus its own offset, normal of deviation s, plus
    noise of each epoch, independent and normal of deviation jitter * s. With U the offsets'
    difference over its deviation this is 2 E Phi(U / jitter)^epochs; 2 / (epochs + 1) for
    jitter = 1. Absolute error below 1e-7.

    Raises ValueError for a jitter that is not positive, epochs that are no whole number >= 1.
    """
    check_positive("jitter", jitter)
    check_count("epochs", epochs, 1)

    def weighted(u: float) -> float:
        return 2 * stats.norm.pdf(u) * stats.norm.cdf(u / jitter) ** epochs

    return quad(weighted, -9, 9, points=(0,), limit=200)[0]


# Several runs of each kind.


@takes(difference=number(), sd=positive(), runs=whole(2), level=share(closed=False))
def unpaired_power(difference: float, sd: float, runs: int, level: float = 0.05) -> float:
    """Chance that the t test of two times `runs` runs rejects; `comparison.power` is the paired.

    sd: of a run, > 0, the same in both kinds.

    Raises ValueError for what is out of range.
    """
    check_finite("difference", difference)
    check_positive("sd", sd)
    check_count("runs", runs, 2)
    check_share("level", level)
    return t_test_power(runs / 2 * (difference / sd) ** 2, 2 * (runs - 1), level)


@takes(difference=number(), sd=positive(), power=share(closed=False), level=share(closed=False))
def runs_needed(difference: float, sd: float, power: float = 0.8, level: float = 0.05) -> int:
    """The smallest number of runs of each kind with which the unpaired t test has this power.

    Raises ValueError for what is out of range, and where 10,000 runs are not enough.
    """
    check_share("power", power)
    for runs in range(2, 10_001):
        if unpaired_power(difference, sd, runs, level) >= power:
            return runs
    raise ValueError(f"difference: got {difference:g}, too small for 10,000 runs at sd {sd:g}")


@dataclass(frozen=True)
class Unpaired:
    """A treatment's mean difference from its control, with its interval.

    mean: of the treatment minus that of the control.
    low, high: bounds of Welch's t interval, which lets the two deviate differently.
    p: of Welch's two-sided test that the true means are equal.
    sd: that the difference of a pair has if the two are independent.
    n: values of the treatment, and of the control.
    """

    mean: float
    low: float
    high: float
    p: float
    sd: float
    n: tuple[int, int]


@takes(treatment=array("n", n=2), control=array("m", m=2), confidence=share(closed=False))
def unpaired(
    treatment: Sequence[float], control: Sequence[float], confidence: float = 0.95
) -> Unpaired:
    """Mean of the treatment minus that of the control, with scipy's Welch interval.

    Raises ValueError for fewer than two values, values that are not finite or all alike in both,
    a confidence not in (0, 1).
    """
    check_share("confidence", confidence)
    sides = [np.asarray(side, dtype=float) for side in (treatment, control)]
    for name, side in zip(("treatment", "control"), sides, strict=True):
        if side.ndim != 1 or len(side) < 2 or not np.isfinite(side).all():
            raise ValueError(f"{name}: takes two or more finite numbers, got {side.tolist()}")
    sd = math.hypot(*(float(side.std(ddof=1)) for side in sides))
    if not sd:
        raise ValueError("treatment: neither it nor the control varies")
    test = stats.ttest_ind(*sides, equal_var=False)
    low, high = test.confidence_interval(confidence)
    mean = float(sides[0].mean() - sides[1].mean())
    n = (len(sides[0]), len(sides[1]))
    return Unpaired(mean, float(low), float(high), float(test.pvalue), sd, n)


@takes(sd=positive(), expected=positive(), pairs=whole(2))
def spread_chance(sd: float, expected: float, pairs: int) -> float:
    """Probability that normal differences of so many pairs deviate by `sd` or less.

    expected: their true deviation, such as `Unpaired.sd` where pairs share nothing. A small
    probability says that pairing gains much, or that the pairs are close by chance.

    Raises ValueError for what is out of range.
    """
    check_positive("sd", sd)
    check_positive("expected", expected)
    check_count("pairs", pairs, 2)
    return float(stats.chi2.cdf((pairs - 1) * (sd / expected) ** 2, pairs - 1))
