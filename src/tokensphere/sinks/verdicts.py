"""Whether a layer's first token is a sink: yes, no, or not decided; and what makes it one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy import special
from torch import Tensor

from tokensphere.door import either, instance, number, share, takes, tensor, whole
from tokensphere.sinks.scores import interval

__all__ = ["LEAST_PROMPTS", "MARGIN", "MOST_NEEDED", "Estimate", "Verdict", "outcome", "verdict"]

ROUNDING = 1e-5
"""An excess over a null that is no larger is rounding: scores are float32 means of shares <= 1."""

MARGIN = 0.2
"""An excess of less than this share of the uniform importance counts as none. A convention: at the
paper's 16 tokens uniform attention and a fifth more is 0.254, still below its threshold of 0.3 for
one channel, and the weakest sink known here (typeseg's) exceeds uniform by more than a fourth. A
narrower margin takes more prompts, as one over its square."""

LEAST_PROMPTS = 5
"""Of fewer nothing is decided: Student's interval rests on a spread that so few hardly show."""

POWER = 0.8
"""Chance with which as many prompts as `needed` says decide."""

MOST_NEEDED = 1_000_000


@dataclass(frozen=True)
class Estimate:
    """A mean over prompts with its confidence interval, `scores.interval`."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """Whether a layer's first token is a sink, and what makes it one.

    Attributes:
        outcome: "sink"; "uniform", no more than uniform attention gives and `margin`; "undecided".
        kind: of a sink "position", a sink whichever token stands first; "token", one that goes with
            the token; or "undetermined", where the prompts support neither. None without a sink.
        margin: what an excess must stay below for the outcome "uniform".
        excess: score minus null.
        needed: where nothing is decided, the size of a new sample of prompts like these that would
            decide with a chance of about POWER; None where MOST_NEEDED would not, and with another
            outcome. By this sample's spread, and by its mean taken a standard error closer to what
            is hardest to decide: means of samples that did not decide lie too far from there.
        fall_shuffled, fall_replaced: score minus the same prompt's score on shuffled tokens, and
            with the first token replaced.
    """

    outcome: str
    kind: str | None
    margin: float
    excess: Estimate
    needed: int | None
    fall_shuffled: Estimate
    fall_replaced: Estimate


@takes(
    scores=tensor("S", alike=False, S=2),
    null=either(number(), tensor("S", alike=False)),
    shuffled=tensor("S", alike=False),
    replaced=tensor("S", alike=False),
    confidence=share(closed=False),
)
def verdict(
    scores: Tensor,
    null: Tensor | float,
    shuffled: Tensor,
    replaced: Tensor,
    confidence: float = 0.95,
) -> Verdict:
    """Weigh the first token's scores in one layer against what could explain them.

    By the confidence interval over prompts of the mean excess over the null, the first of these:

    - "undecided", with fewer than LEAST_PROMPTS prompts;
    - "sink", if it lies whole above 0 (and above rounding);
    - "uniform", if it lies whole below MARGIN times the mean null: a test of equivalence, so that
      too few prompts are never taken for no sink;
    - "undecided".

    With no excess a layer passes for a sink with probability (1 - confidence) / 2 at most, and with
    an excess of the margin it passes for none with as much; over many layers pass a confidence
    closer to 1. A sink may be smaller than the margin: many prompts show a small excess, and
    `excess` says how small.

    Of scores that hardly differ (by rounding) Student's interval has no width, which by itself says
    nothing. There the number of prompts decides, as in a sign test: S of them lie all on one side
    of their median with probability 2^(1 - S), which must not exceed 1 - confidence; with fewer the
    outcome is "undecided". So a layer that gives its first token all weight in each of many prompts
    has a sink. Repetitions of one prompt look the same, and nothing in their scores betrays them:
    leave them out before, as `sinks.report.measure_model` does.

    A sink's kind asks, prompt by prompt, whether a changed prompt's score lies nearer to the
    original's score or to the null: by the interval of its distance to their midpoint. "position"
    if both changes leave more than half of the excess; "token" if replacing the token takes more
    than half. Half is a convention; asking for no fall at all would find against every sink, given
    prompts enough. A sink that survives a new first token and not the shuffle hangs on the order of
    the others: "undetermined".

    Args:
        scores: each prompt's score of the first token, (S,): the mean over channels of its
            "absolute" importance, the one that no scale moves. Of different prompts: one that is
            there twice counts twice, and makes intervals too narrow.
        null: `uniform_importance(T)[0]`, or one for each prompt, (S,), if their lengths T differ.
        shuffled, replaced: the scores of the same prompts after `nulls.shuffle_tokens` and
            `nulls.replace_first` (or `nulls.move_first`), (S,).
        confidence: of each two-sided interval.

    Raises:
        ValueError: fewer than two prompts, other shapes, values or confidence.
    """
    if scores.ndim != 1 or len(scores) < 2:
        raise ValueError(
            f"scores: shape {tuple(scores.shape)}, takes (S,) with at least two prompts"
        )
    null = torch.as_tensor(null, dtype=torch.float64)
    if null.ndim == 0:
        null = null.expand(len(scores))
    given = {"scores": scores, "null": null, "shuffled": shuffled, "replaced": replaced}
    for name, value in given.items():
        if value.shape != scores.shape:
            raise ValueError(f"{name}: shape {tuple(value.shape)}, takes {tuple(scores.shape)}")
        if not value.isfinite().all():
            raise ValueError(f"{name}: holds NaN or infinity")
    scores, null, shuffled, replaced = (value.detach().cpu().double() for value in given.values())

    def estimate(values: Tensor) -> Estimate:
        low, high = interval(values, confidence)
        return Estimate(float(values.mean()), float(low), float(high))

    excess, margin = estimate(scores - null), MARGIN * float(null.mean())
    least = _least(scores - null, confidence)
    found, kind, needed = outcome(excess, margin, len(scores)), None, None
    if len(scores) < least:
        found = "undecided"
    if found == "sink":
        midpoint = (scores + null) / 2
        kind = _kind(estimate(shuffled - midpoint), estimate(replaced - midpoint))
    elif found == "undecided":
        needed = _needed(scores - null, margin, confidence, least)
    falls = estimate(scores - shuffled), estimate(scores - replaced)
    return Verdict(found, kind, margin, excess, needed, *falls)


@takes(excess=instance(Estimate), margin=number(), prompts=whole(0))
def outcome(excess: Estimate, margin: float, prompts: int) -> str:
    """The outcome of :func:`verdict`, from the excess over the null alone, for scores that differ
    from prompt to prompt."""
    if prompts < LEAST_PROMPTS:
        return "undecided"
    if excess.low > ROUNDING:
        return "sink"
    return "uniform" if excess.high < margin else "undecided"


def _least(differences: Tensor, confidence: float) -> int:
    """The number of prompts of which anything can be decided."""
    if float(differences.std()) > ROUNDING:
        return LEAST_PROMPTS
    return max(LEAST_PROMPTS, math.ceil(1 - math.log2(1 - confidence)))


def _kind(kept_shuffled: Estimate, kept_replaced: Estimate) -> str:
    if kept_replaced.high < 0:
        return "token"
    if kept_replaced.low > 0 and kept_shuffled.low > 0:
        return "position"
    return "undetermined"


def _needed(differences: Tensor, margin: float, confidence: float, least: int) -> int | None:
    """The least number of new prompts that decide with a chance of POWER."""
    spread, mean = float(differences.std()), float(differences.mean())
    # Either end of the interval decides: the low one above rounding, the high one below the margin.
    middle = (ROUNDING + margin) / 2
    off = max(abs(mean - middle) - spread / math.sqrt(len(differences)), 0.0)

    def decides(count: int) -> bool:
        error = spread / math.sqrt(count)
        half = special.stdtrit(count - 1, (1 + confidence) / 2) * error
        # Undecided are means within `wide` of the middle.
        wide = half - (margin - ROUNDING) / 2
        if wide <= 0 or error == 0:
            return wide < off
        ends = special.stdtr(count - 1, ((-wide - off) / error, (wide - off) / error))
        return ends[1] - ends[0] <= 1 - POWER

    few, enough = least - 1, least
    while not decides(enough):
        few, enough = enough, 2 * enough
        if enough > MOST_NEEDED:
            return None
    while enough - few > 1:
        between = (few + enough) // 2
        few, enough = (few, between) if decides(between) else (between, enough)
    return enough
