"""Tables 1 and 2, Figure 4 and appendix C.2: what the published numbers can show, without a run."""

import math

import torch
from scipy import stats

from tokensphere.paper.ledger import Evidence, above, at_least, below, between, equal
from tokensphere.paper.printed import (
    CHECKPOINT_TOP_1,
    FLUCTUATION,
    IMAGES,
    PUBLISHED,
    PUBLISHED_PARAMETERS,
    RECIPE,
    TABLE_1,
    TABLE_2,
)
from tokensphere.reorder.mambavision import count_weights
from tokensphere.reorder.significance import (
    always_above,
    critical,
    image_error,
    largest_disagreement,
    largest_spread,
    runs_needed,
    unpaired_power,
)

TOP_1 = TABLE_1["top-1"]


def gain(which: str) -> float:
    return TABLE_1[which][1] - TABLE_1[which][0]


def improves(generator: torch.Generator, which: str) -> Evidence:
    """One run each: significant at 5% if runs deviate by the least that was reported."""
    z = gain(which) / (math.sqrt(2) * FLUCTUATION[0])
    return Evidence([above(f"z if runs deviate by {FLUCTUATION[0]}", z, critical())])


def too_few_runs(generator: torch.Generator, which: str) -> Evidence:
    """It is not, and as many runs as `runs_needed` says detect this effect four times in five."""
    effect, spread = gain(which), FLUCTUATION[0]
    runs = [runs_needed(effect, s) for s in FLUCTUATION]
    draws = torch.randn(2, 4000, runs[0], generator=generator, dtype=torch.float64) * spread
    p = stats.ttest_ind(draws[0].numpy(), draws[1].numpy() + effect, axis=1).pvalue
    detected, power = float((p < 0.05).mean()), unpaired_power(effect, spread, runs[0])
    return Evidence(
        [
            below(f"z if runs deviate by {spread}", effect / (math.sqrt(2) * spread), critical()),
            at_least(f"runs of each kind for 80% power at {spread}", runs[0], 2),
            # 4000 experiments: a deviation of 0.6%.
            below("simulated share of detections, off the power by", abs(detected - power), 0.03),
        ],
        {
            "difference": effect,
            "significant for a deviation below": largest_spread(effect),
            f"runs of each kind for 80% power at {FLUCTUATION[1]}": runs[1],
        },
    )


def holds_on_other_images(generator: torch.Generator) -> Evidence:
    """The difference in top-1 is significant if each model has a sample of images of its own."""
    z = gain("top-1") / image_error(TOP_1, IMAGES)
    return Evidence([above("z on two samples of images", z, critical())])


def depends_on_disagreement(generator: torch.Generator) -> Evidence:
    """It is for models that disagree on 4% of the images, and not for 10%: exact McNemar tests."""
    net = round(gain("top-1") / 100 * IMAGES)
    both = {share: round(share * IMAGES) for share in (0.10, 0.04)}
    p = {s: float(stats.binomtest((n + net) // 2, n).pvalue) for s, n in both.items()}
    bound = largest_disagreement(TOP_1, IMAGES)
    return Evidence(
        [
            above("p if one model alone has 10% of the images right", p[0.10], 0.05),
            below("p if one model alone has 4% of the images right", p[0.04], 0.05),
            between("largest disagreement at which it is significant", bound, 0.04, 0.10),
        ],
        {
            f"z on two samples, {top}": gain(top) / image_error(TABLE_1[top], IMAGES)
            for top in TABLE_1
        },
    )


def above_the_published(generator: torch.Generator) -> Evidence:
    """The reordered model is above MambaVision-T as published."""
    return Evidence([above("top-1, less that of the weights", TOP_1[1] - CHECKPOINT_TOP_1, 0)])


def below_the_published(generator: torch.Generator) -> Evidence:
    """It is below, and the baseline of Table 1 by more than reordering gains."""
    missed = CHECKPOINT_TOP_1 - TOP_1[0]
    z = {s: (CHECKPOINT_TOP_1 - TOP_1[1]) / (math.sqrt(2) * s) for s in FLUCTUATION}
    return Evidence(
        [
            below("top-1, less that of the published weights", TOP_1[1] - CHECKPOINT_TOP_1, 0),
            below("top-5, less the published", TABLE_1["top-5"][1] - PUBLISHED["top-5"], 0),
            above("what the baseline misses, less what is gained", missed - gain("top-1"), 0),
        ],
        {f"z of the reordered model if runs deviate by {s}": value for s, value in z.items()},
    )


def deviations() -> list[str]:
    return [row for row in TABLE_2 if TABLE_2[row] != RECIPE[row]]


def published_recipe(generator: torch.Generator) -> Evidence:
    """No row of Table 2 differs from the published configuration."""
    return Evidence([equal("rows that differ from it", deviations(), [])])


def another_recipe(generator: torch.Generator) -> Evidence:
    """Three rows do."""
    differ = deviations()
    return Evidence(
        [equal("rows that differ from it", differ, ["optimiser", "peak learning rate", "batch"])],
        {f"{row}: Table 2, published": [TABLE_2[row], RECIPE[row]] for row in differ},
    )


def parameters(generator: torch.Generator, classes: int) -> Evidence:
    found = count_weights(classes)
    return Evidence(
        [
            equal("weights", found, PUBLISHED_PARAMETERS),
            equal("in millions", round(found / 1e6, 1), 31.8),
        ]
    )


EPOCHS, JITTER = 100, 0.2


def consistent(generator: torch.Generator) -> Evidence:
    """Of two runs alike one is rarely above the other in all of the last 100 epochs.

    The epochs of a run scatter about its offset by a fifth of the deviation of offsets.
    """
    chance = always_above(JITTER, EPOCHS)
    return Evidence([below("probability of a curve above the other throughout", chance, 0.05)])


def often_above(generator: torch.Generator) -> Evidence:
    """More often than not one is, by the integral and by drawing 4000 pairs of curves."""
    chance = always_above(JITTER, EPOCHS)
    offset = torch.randn(4000, 1, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(4000, EPOCHS, 2, generator=generator, dtype=torch.float64)
    first = (offset + JITTER * noise).diff(dim=-1)[..., 0] > 0
    drawn = float((first.all(-1) | ~first.any(-1)).double().mean())
    exact = 2 / (EPOCHS + 1)
    return Evidence(
        [
            above("probability of a curve above the other throughout", chance, 0.5),
            # 4000 draws: a deviation of 0.8%.
            below("share of drawn pairs, off it by", abs(drawn - chance), 0.04),
            # The integral's own tolerance.
            below(
                "off 2/101 for a scatter like the runs'", abs(always_above(1.0, 100) - exact), 1e-7
            ),
        ],
        {"if epochs were independent": 2.0 ** (1 - EPOCHS)},
    )
