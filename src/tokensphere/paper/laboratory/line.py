"""Presets of the line: tokens that are numbers and are not normalised."""

from tokensphere.one_dimension import tie_of_two

from .preset import Preset

REGIMES, RATES = "one-dimension/regimes", "one-dimension/rates"


def state(mu: float, s: float, a: float, x0: list[float], until: float = 12.0) -> dict:
    """until: the natural logarithm of the last time, where no token blows up before."""
    return {"mu": mu, "s": s, "a": a, "x0": [float(value) for value in x0], "until": until}


def presets() -> list[Preset]:
    return [*regimes(), *rates()]


def regimes() -> list[Preset]:
    return [
        Preset(
            "to-zero",
            "line",
            "Negative mu: all tokens tend to zero",
            "Whatever the start, no slower than one over the root of t.",
            (f"{REGIMES}#thm-line-regimes", f"{REGIMES}#fig-line-phase", f"{RATES}#thm-line-decay"),
            state(-0.5, 2.0, 1.0, [1.5, -1.0, 0.5]),
        ),
        Preset(
            "slow",
            "line",
            "Positive mu, all s x negative: slow growth",
            "Steps vanish as tokens grow: all tend to infinity like ln t.",
            (f"{REGIMES}#thm-line-regimes", f"{REGIMES}#def-line", f"{RATES}#thm-line-slow"),
            state(0.5, 2.0, 1.0, [-0.5, -1.0, -0.3], 60.0),
        ),
        Preset(
            "blow-up",
            "line",
            "Positive mu, some s x positive: a blow-up",
            "The time is between two bounds that need no integration, and it is reached.",
            (f"{REGIMES}#thm-line-time", f"{REGIMES}#fig-line-times"),
            state(0.5, 2.0, 1.0, [0.4, -0.8, 0.6, 0.2]),
        ),
        Preset(
            "no-step",
            "line",
            "No step, s = 0: the second is first",
            "Two tokens with s = 0: the squared ratio is above κ = 1 - 2^(-a), so the second "
            "blows up first, at a time in closed form.",
            (f"{REGIMES}#thm-line-two", f"{REGIMES}#fig-line-portrait"),
            state(0.7, 0.0, 0.5, [0.75, 0.6]),
        ),
        Preset(
            "tie-of-two",
            "line",
            "A tie of two",
            "The second token is where both blow up at comparable size: move it a little, and one "
            "of the two is first.",
            (f"{REGIMES}#thm-line-tie",),
            state(1.0, 1.0, 0.5, [1.0, tie_of_two(1.0, 0.5, 1.0)]),
        ),
        Preset(
            "all-at-once-refuted",
            "line",
            "Counterexample: not all diverge at one time",
            "Positive mu, and all tokens are said to diverge: at the blow-up of the last one the "
            "first is finite, and the tokens between too.",
            (
                f"{REGIMES}#thm-line-together",
                f"{REGIMES}#thm-line-lives",
                f"{REGIMES}#thm-line-share",
                f"{REGIMES}#fig-line-lives",
            ),
            state(1.0, 1.0, 0.3, [-0.4, 0.5, 0.45, -0.5, 0.55]),
        ),
        Preset(
            "last-of-equals",
            "line",
            "Five equal tokens: the last is first",
            "Of ordered tokens the last alone is unbounded at the end.",
            (f"{REGIMES}#thm-line-ordered",),
            state(1.0, 1.0, 0.1, [0.5] * 5),
        ),
        Preset(
            "pushed",
            "line",
            "Counterexample: the largest is not first",
            "The second token is smaller, and is pushed past the first.",
            (f"{REGIMES}#thm-line-leader",),
            state(1.0, 1.0, 0.1, [1.0, 0.8]),
        ),
        Preset(
            "drives-and-shields",
            "line",
            "A token that drives and shields",
            "The step of the middle token is tiny: it hastens the blow-up of the last one, where a "
            "zero in its place would delay it.",
            (f"{REGIMES}#thm-line-together",),
            state(1.0, 1.0, 0.5, [1.0, -3.0, 0.9]),
        ),
        Preset(
            "rest",
            "line",
            "mu = 0: rest",
            "Nothing moves.",
            (f"{REGIMES}#thm-line-regimes",),
            state(0.0, 1.0, 0.5, [1.0, -0.5]),
        ),
    ]


def rates() -> list[Preset]:
    return [
        Preset(
            "decay-constants",
            "line",
            "How fast to zero: the constants",
            "t x^2 tends to a constant that depends on the distance to the token before alone.",
            (
                f"{RATES}#thm-line-decay-first",
                f"{RATES}#thm-line-decay-later",
                f"{RATES}#fig-line-decay",
            ),
            state(-0.8, 0.6, 2.0, [0.5, -0.4], 28.0),
        ),
        Preset(
            "little-damping",
            "line",
            "Little damping: the start is felt for long",
            "With a = 0.1 a neighbour's trace vanishes like t to the power of -0.07.",
            (f"{RATES}#fig-line-undamped", f"{RATES}#thm-line-decay-later"),
            state(-0.8, 0.6, 0.1, [0.5, -0.4, 0.3], 60.0),
        ),
        Preset(
            "slow-constants",
            "line",
            "Slow growth: constants in no order",
            "|x| / ln t tends to 1 for the first token and to larger constants for the others, not "
            "in the order of their places.",
            (f"{RATES}#fig-line-slow", f"{RATES}#thm-line-slow"),
            state(1.0, 1.0, 0.5, [-1.0, -1.2, -3.0, -0.5], 300.0),
        ),
        Preset(
            "slow-behind-zeros",
            "line",
            "Slow growth behind zeros",
            "A token behind a zero forgets how far its row had come, and is tied to the first.",
            (f"{RATES}#thm-line-slow",),
            state(1.0, 1.0, 1.0, [-0.5, -2.0, 0.0, -0.7, 0.0, 0.0, -0.6], 300.0),
        ),
        Preset(
            "first-in-a-blow-up",
            "line",
            "The token that is first",
            "Close to the end it grows like a power of the time that is left, -1/3.",
            (f"{RATES}#thm-line-blowup-first", f"{RATES}#fig-line-blowup"),
            state(1.0, 0.7, 0.5, [-0.2, 0.6, 0.4]),
        ),
        Preset(
            "carried",
            "line",
            "Carried along by the first",
            "Behind it tokens with negative s x grow like powers of the first one, and those with "
            "positive s x like a double logarithm.",
            (f"{RATES}#thm-line-carried",),
            state(1.0, 1.0, 0.5, [0.9, -0.3, 0.0, -0.4, 0.1, 0.05]),
        ),
    ]
