"""Presets of the sphere: sequences, eqs (6)-(8)."""

import torch
from torch.nn.functional import normalize

from tokensphere.flow import random_tokens
from tokensphere.paper import survey

from .first_tokens import EYE, MOST, state
from .preset import Preset, gaussian, generator, unit

ONES = torch.ones(3, dtype=torch.float64)


def shared(S_BC, alpha, a: float, x, until: float, clock: str = "linear") -> dict:
    """All channels with one step softplus <alpha, u> and one rate: assumption (10)."""
    S_Delta = torch.as_tensor(alpha).double()[:, None].expand(3, 3)
    return state(S_BC, S_Delta, a * ONES, x, until, clock)


def presets() -> list[Preset]:
    return [*setting(), *pairs_and_angles(), *attraction(), *general_steps()]


def setting() -> list[Preset]:
    draw = generator(1)  # the chapter's seed, and its order of draws
    S_BC, S_Delta, a = (value[0] for value in survey.draw("Gaussian", 3, 1, draw))
    random_tokens(100, 3, generator=draw)
    sequence = random_tokens(MOST, 3, generator=draw)

    limits = generator(5)  # another chapter's
    normal = lambda *shape: torch.randn(*shape, generator=limits, dtype=torch.float64)  # noqa: E731
    both = (EYE + normal(3, 3) / 3, 2 * normal(3, 3), normal(3).exp())
    start = random_tokens(3, 3, generator=limits)

    steps = torch.tensor([[1.5, 0.75, 0.0], [0.2, -0.4, 0.6], [-0.3, 0.5, 0.1]]).double()
    near = unit([[1, 0.1, -0.1], [1, -0.1, 0.15], [1, 0.1, 0.2]])
    return [
        Preset(
            "figure-1b",
            "sphere",
            "Figure 1 (b): a sequence of 32 tokens",
            "One sequence under constant parameters: later tokens end in several places, not all "
            "with the first.",
            ("setting/simulations#fig-turn-sequence", "setting/flow#thm-flow"),
            state(S_BC, S_Delta, a, sequence, 40),
        ),
        Preset(
            "both-limits",
            "sphere",
            "The sequence of the two limits, post-norm",
            "Three tokens whose third one ends at the opposite point when layers normalise before "
            "the branch, as trained models do. Here is the flow of the paper.",
            ("setting/flow#fig-flow-sphere",),
            state(*both, start, 1000, "logarithmic"),
        ),
        Preset(
            "consensus-at-a-vertex",
            "sphere",
            "Three tokens on their way to e_1",
            "Near a stable coordinate vector with positive form each component decays at a rate "
            "of its own: the slowest is what is seen.",
            ("setting/flow#thm-long", "setting/simulations#prop-consensus"),
            state(EYE + gaussian(3, 3, seed=2) / 10, steps, 0.5 * ONES, near, 40),
        ),
    ]


def pairs_and_angles() -> list[Preset]:
    pairs, angles = "other-tokens/pair_interactions", "other-tokens/positive_angles"
    others = [[1, 0, 0], [0.2, 0.9, -0.4], [0.1, -0.6, 0.8], [-0.5, 0.1, 0.9]]
    skew = [[1.0, 1.5, 0.5], [0.2, 0.3, -1.0], [1.0, 0.6, -0.4]]
    falling = [[1, 5 / 2, 2], [5 / 2, 7, 7], [2, 7, 7]]
    exact = [[1, 0, 0], [6 / 7, -3 / 7, 2 / 7], [-12 / 13, 5 / 13, 0]]
    away = [[1, -7, -5], [8, 2, 9], [-6, -3, 3]]
    together = unit([[1, 0.3, 0.2], [0.2, 1, 0.4], [0.4, 0.1, 1], [0.9, 0.8, 0.1]])
    return [
        Preset(
            "pairs",
            "sphere",
            "Four tokens under a nonsymmetric form",
            "The sequence whose pair interactions X and U the chapter draws.",
            (f"{pairs}#fig-pairs-maps", f"{pairs}#lem-pairs", f"{pairs}#def-pairs"),
            shared(skew, [0, 0, 0], 0.5, unit(others), 16),
        ),
        Preset(
            "positive-angles",
            "sphere",
            "Positive angles: all tokens join the first",
            "All heights are positive at the start: every token tends to the first one, and "
            "exponentially.",
            (f"{angles}#thm-angles", f"{angles}#thm-angles-weak", f"{angles}#prop-angles-second"),
            shared(EYE, [0.3, -0.2, 0.4], 0.5, together, 40),
        ),
        Preset(
            "cosine-falls",
            "sphere",
            "Counterexample: a cosine that falls at first",
            "All heights are positive, and yet the third token first turns away from the first. "
            "It comes back.",
            (f"{angles}#thm-angles", f"{angles}#fig-angles-slack"),
            shared(falling, [0, 0, 0], 2.0, unit(exact), 10),
        ),
        Preset(
            "half-of-the-heights",
            "sphere",
            "Counterexample: only the heights below the diagonal are positive",
            "For a nonsymmetric form the heights on one side of the diagonal are not enough: the "
            "third token ends at the antipode of the first.",
            (f"{angles}#thm-angles",),
            shared(away, [0, 0, 1], 2.0, unit([[1, 0, 0], [-3, 3, 2], [-2, 5, -4]]), 60),
        ),
    ]


def attraction() -> list[Preset]:
    page, unstable = "other-tokens/attraction", "other-tokens/unstable_set"
    rates = "other-tokens/sharp_rates"
    many = random_tokens(10, 3, generator=generator(2))
    form = torch.tensor([[1.0, 0.5, 0.0], [0.5, -0.6, 0.3], [0.0, 0.3, 0.4]]).double()
    first = torch.tensor([[1.0, 0.0, 0.0]]).double()
    two = torch.cat([first, unit([[-0.3, 0.8, 0.5]])])
    resting = torch.cat([first, unit([[0, 0.8, 0.6], [-0.4, 0.5, 0.7], [0.2, -0.9, 0.3]])])
    zero_height = torch.diag(torch.tensor([0.0, 1.0, -1.0])).double()
    zero_height[0, 1] = zero_height[1, 0] = 0.8
    return [
        Preset(
            "shared-steps",
            "sphere",
            "Theorem 3.5: shared steps, almost all starts join the first",
            "One step for all channels and a positive form at the first token, which stands "
            "still: the others go to it or to its antipode.",
            (
                f"{page}#thm-attract",
                f"{page}#fig-attract-time",
                f"{page}#thm-attract-alternative",
                f"{page}#rem-attract-observation",
            ),
            shared(form, [0.4, -0.6, 0.3], 0.5, torch.cat([first, many[1:]]), 60),
        ),
        Preset(
            "second-token",
            "sphere",
            "The second token, a positive form",
            "It stays on a half circle through the first and goes to one of its ends, by the sign "
            "of its height.",
            (f"{page}#thm-attract-two", f"{rates}#prop-rates-two", f"{rates}#thm-rates"),
            shared(form, [0.4, -0.6, 0.3], 0.5, two, 40),
        ),
        Preset(
            "negative-form",
            "sphere",
            "The second token, a negative form",
            "From every start it goes to one point of the equator, where its height is zero.",
            (f"{page}#thm-attract-two",),
            shared(-form, [0.4, -0.6, 0.3], 0.5, two, 60),
        ),
        Preset(
            "zero-form",
            "sphere",
            "The second token, a form of zero: like 1/t",
            "The form is zero at the first token: the second comes to it like 1/t, and no "
            "exponential rate exists.",
            (f"{page}#thm-attract-two",),
            shared(zero_height, [0.4, -0.6, 0.3], 0.5, two, 1000, "logarithmic"),
        ),
        Preset(
            "eigenvectors",
            "sphere",
            "A negative form: tokens come to rest at eigenvectors",
            "Tokens after the second come to rest where the layer's output is along them.",
            (f"{page}#thm-attract-eigenvectors",),
            shared(-form, [0, 0, 0], 0.5, torch.cat([first, many[1:5]]), 200),
        ),
        Preset(
            "exceptional",
            "sphere",
            "An exceptional start: height zero",
            "The second token is at height zero and stands still for ever; the others see it. "
            "Drag it a little, and it leaves.",
            (
                f"{page}#rem-attract-conditions",
                f"{unstable}#thm-unstable-null",
                f"{unstable}#prop-unstable-linear",
                f"{unstable}#prop-unstable-spectrum",
            ),
            shared(EYE, [0.4, -0.6, 0.3], 0.5, resting, 40),
        ),
        Preset(
            "sharp-rates",
            "sphere",
            "Sharp rates of consensus",
            "All tokens start near the first: each distance falls at the rate of the formula.",
            (f"{rates}#prop-rates-forms", f"{rates}#fig-rates"),
            shared(EYE, [0.4, -0.6, 0.3], 0.5, normalize(first + 0.2 * many[:6]), 60),
        ),
    ]


def general_steps() -> list[Preset]:
    page = "other-tokens/general_steps"
    skew = torch.tensor([[0, 1, -1], [1, 0, 1], [-1, 1, 0]]).double()
    start = random_tokens(8, 3, generator=generator(6))
    start[0] = start[0].abs()
    form = EYE + 0.05 * skew
    near = torch.full((3, 3), 0.3).double() + 0.05 * gaussian(3, 3, seed=4)
    S_BC, S_Delta, a = joining()
    return [
        Preset(
            "together",
            "sphere",
            "Under Theorem 3.2's steps, rates 0.5: together",
            "Eight tokens end with the first or at its antipode.",
            (
                f"{page}#fig-general-spheres",
                f"{page}#thm-general-consensus",
                f"{page}#prop-general-consensus",
            ),
            state(form, EYE, 0.5 * ONES, start, 60),
        ),
        Preset(
            "apart",
            "sphere",
            "Under Theorem 3.2's steps, rates 2: apart",
            "Eight tokens that end together with rates 0.5 settle at several axes here.",
            (
                f"{page}#fig-general-clusters",
                f"{page}#cor-general-thm32",
                f"{page}#thm-general-vertices",
            ),
            state(form, EYE, 2 * ONES, start, 60),
        ),
        Preset(
            "rate-at-a-vertex",
            "sphere",
            "The rate of consensus at a coordinate vector",
            "Gaussian steps without the shared-step assumption: the spectrum at the consensus "
            "gives the rate.",
            (f"{page}#prop-general-rate", f"{page}#fig-general-rates"),
            state(S_BC, S_Delta, a, normalize(joined() + 0.1 * gaussian(3, 3, seed=5)), 40),
        ),
        Preset(
            "nearly-shared",
            "sphere",
            "Nearly shared steps",
            "Steps that differ a little: the first token moves slowly, and the others follow it.",
            (f"{page}#prop-general-near", f"{page}#rem-general-disjoint"),
            state(EYE, near, 0.5 * ONES, start, 800),
        ),
    ]


def joining() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Parameters under which e_1 and its antipode attract a sequence with positive form."""
    S_Delta = torch.tensor([[1.2, -0.3, 0.1], [0.4, 0.2, -0.6], [-0.5, 0.7, 0.3]]).double()
    return EYE + 0.2 * gaussian(3, 3, seed=9), S_Delta, torch.tensor([0.4, 0.8, 0.6]).double()


def joined() -> torch.Tensor:
    return EYE[:1].expand(3, 3)
