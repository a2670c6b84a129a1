"""Tables 1 and 2, Figure 4 and appendix C.2: what the published numbers can show, without a run."""

import math

import torch
from scipy import stats

from tokensphere.paper import printed
from tokensphere.paper.ledger import Evidence, above, at_least, below, between, equal
from tokensphere.reorder import mambavision, significance

TOP_1 = printed.TABLE_1["top-1"]
SPREAD = printed.FLUCTUATION[0]
"""The least deviation of runs that was reported, in points."""


def gain(which: str) -> float:
    return printed.TABLE_1[which][1] - printed.TABLE_1[which][0]


def z_of_runs(effect: float, spread: float = SPREAD) -> float:
    """Of a difference between one run and another one."""
    return effect / (math.sqrt(2) * spread)


def improves(generator: torch.Generator, which: str, images: bool = False) -> Evidence:
    """Significant at 5% as of one run each, or as of one sample of images for each model."""
    error = significance.image_error(printed.TABLE_1[which], printed.IMAGES)
    z = gain(which) / error if images else z_of_runs(gain(which))
    what = "z on two samples of images" if images else f"z if runs deviate by {SPREAD}"
    return Evidence([above(what, z, significance.critical())])


def too_few_runs(generator: torch.Generator, which: str) -> Evidence:
    """It is not, and as many runs as `runs_needed` says detect this effect four times in five."""
    effect = gain(which)
    runs, more = (significance.runs_needed(effect, s) for s in printed.FLUCTUATION)
    draws = torch.randn(2, 4000, runs, generator=generator, dtype=torch.float64) * SPREAD
    p = stats.ttest_ind(draws[0].numpy(), draws[1].numpy() + effect, axis=1).pvalue
    detected = float((p < 0.05).mean())
    off = abs(detected - significance.unpaired_power(effect, SPREAD, runs))
    return Evidence(
        [
            below(f"z if runs deviate by {SPREAD}", z_of_runs(effect), significance.critical()),
            at_least(f"runs of each kind for 80% power at {SPREAD}", runs, 2),
            # 4000 experiments: a deviation of 0.6%.
            below("simulated share of detections, off the power by", off, 0.03),
        ],
        {
            "difference": effect,
            "significant for a deviation below": significance.largest_spread(effect),
            f"runs of each kind for 80% power at {printed.FLUCTUATION[1]}": more,
        },
    )


def depends_on_disagreement(generator: torch.Generator) -> Evidence:
    """It is for models that disagree on 4% of the images, and not for 10%: exact McNemar tests."""
    net = round(gain("top-1") / 100 * printed.IMAGES)
    both = {share: round(share * printed.IMAGES) for share in (0.10, 0.04)}
    p = {s: float(stats.binomtest((n + net) // 2, n).pvalue) for s, n in both.items()}
    bound = significance.largest_disagreement(TOP_1, printed.IMAGES)
    return Evidence(
        [
            above("p if one model alone has 10% of the images right", p[0.10], 0.05),
            below("p if one model alone has 4% of the images right", p[0.04], 0.05),
            between("largest disagreement at which it is significant", bound, 0.04, 0.10),
        ],
        {
            f"z on two samples, {top}": gain(top) / significance.image_error(pair, printed.IMAGES)
            for top, pair in printed.TABLE_1.items()
        },
    )


OVER = TOP_1[1] - printed.CHECKPOINT_TOP_1
"""Points of the reordered model over the published weights."""


def above_the_published(generator: torch.Generator) -> Evidence:
    """The reordered model is above MambaVision-T as published."""
    return Evidence([above("top-1, less that of the weights", OVER, 0)])


def below_the_published(generator: torch.Generator) -> Evidence:
    """It is below, and the baseline of Table 1 by more than reordering gains."""
    top_5 = printed.TABLE_1["top-5"][1] - printed.PUBLISHED["top-5"]
    missed = printed.CHECKPOINT_TOP_1 - TOP_1[0]
    return Evidence(
        [
            below("top-1, less that of the published weights", OVER, 0),
            below("top-5, less the published", top_5, 0),
            above("what the baseline misses, less what is gained", missed - gain("top-1"), 0),
        ],
        {
            f"z of the reordered model if runs deviate by {s}": z_of_runs(-OVER, s)
            for s in printed.FLUCTUATION
        },
    )


def another_recipe(generator: torch.Generator, rows: list[str]) -> Evidence:
    """These rows of Table 2 differ from the published configuration, and no others."""
    pairs = {row: [value, printed.RECIPE[row]] for row, value in printed.TABLE_2.items()}
    differ = {row: pair for row, pair in pairs.items() if pair[0] != pair[1]}
    return Evidence(
        [equal("rows that differ from it", list(differ), rows)],
        {f"{row}: Table 2, published": pair for row, pair in differ.items()},
    )


def parameters(generator: torch.Generator, classes: int) -> Evidence:
    """Of MambaVision-T, layer by layer, with so many classes."""
    found = mambavision.count_weights(classes)
    return Evidence(
        [
            equal("weights", found, printed.PUBLISHED_PARAMETERS),
            equal("in millions", round(found / 1e6, 1), 31.8),
        ]
    )


EPOCHS, JITTER = 100, 0.2


def consistent(generator: torch.Generator) -> Evidence:
    """Of two runs alike one is rarely above the other in all of the last 100 epochs.

    The epochs of a run scatter about its offset by a fifth of the deviation of offsets.
    """
    chance = significance.always_above(JITTER, EPOCHS)
    return Evidence([below("probability of a curve above the other throughout", chance, 0.05)])


def often_above(generator: torch.Generator) -> Evidence:
    """More often than not one is, by the integral and by drawing 4000 pairs of curves."""
    chance = significance.always_above(JITTER, EPOCHS)
    offset = torch.randn(4000, 1, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(4000, EPOCHS, 2, generator=generator, dtype=torch.float64)
    first = (offset + JITTER * noise).diff(dim=-1)[..., 0] > 0
    drawn = float((first.all(-1) | ~first.any(-1)).double().mean())
    # For a scatter like the runs'; the tolerance is the integral's own.
    off = abs(significance.always_above(1.0, EPOCHS) - 2 / (EPOCHS + 1))
    return Evidence(
        [
            above("probability of a curve above the other throughout", chance, 0.5),
            # 4000 draws: a deviation of 0.8%.
            below("share of drawn pairs, off it by", abs(drawn - chance), 0.04),
            below("off 2/101 for a scatter like the runs'", off, 1e-7),
        ],
        {"if epochs were independent": 2.0 ** (1 - EPOCHS)},
    )
