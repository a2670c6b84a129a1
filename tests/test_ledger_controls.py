"""The ledger's checks tell a constant from one near it, and each of their criteria decides."""

from dataclasses import replace
from importlib import import_module

import pytest
import torch

from tokensphere import refine
from tokensphere.first_token import alignment
from tokensphere.flow import SharedStepFlow, random_tokens
from tokensphere.other_tokens import basins, cosines, positive_angles
from tokensphere.paper import ledger
from tokensphere.paper.checks.first_token import alignment as first_token
from tokensphere.paper.checks.one_dimension import higher_dimension, regimes
from tokensphere.paper.checks.one_dimension.rates import decay
from tokensphere.paper.checks.other_tokens import attraction
from tokensphere.paper.checks.other_tokens.positive_angles import displays
from tokensphere.reorder import collapse

LEDGER = ledger.ledger()
CHECKS = "paper.checks."
RATE = (1.0, 1.1)  # of a pair of a limit and its rate, the rate
SEED = 1  # as in test_ledger.py, so that the checks as they are pass

FAR = {
    "line-decay-undamped": (None, "0 against a small rate: nothing to be relative to"),
    "eq-B.7-angle": (None, "an angle of 0 against a hundredth of a radian"),
    "hd-shared": (None, "a skew part of 0 against one: nothing to be relative to"),
    "thm-3.5-exponent": (1.1 / 0.9, "a tenth below the rate itself, and a tenth above"),
    "prop-3.6-exponent": (1.1 / 0.9, "a tenth below the rate itself, and a tenth above"),
    "rem-B.17-linear": (None, "a window's beginning, not a constant of the statement"),
}
"""Controls farther off than a tenth: how far, where that says something, and why."""


def constants(claim):
    """The numbers in which its control differs from what is stated, but for their sign."""
    one, other = (claim.checks[role].arguments for role in ("stated", "control"))
    return [
        (one[name], other[name])
        for name in one.keys() & other.keys()
        if isinstance(one[name], float) and abs(one[name]) != abs(other[name])
    ]


WITH_CONSTANTS = [
    id for id, claim in LEDGER.items() if "control" in claim.checks and constants(claim)
]


@pytest.mark.parametrize("id", WITH_CONSTANTS)
def test_a_control_is_off_by_a_tenth_or_as_little_as_the_check_can_tell(id):
    for right, wrong in constants(LEDGER[id]):
        if id not in FAR:
            assert abs(wrong / right - 1) < 0.1 + 1e-12
        elif FAR[id][0] is not None:
            assert wrong / right == pytest.approx(FAR[id][0])


def test_exceptions_are_of_statements_with_constants():
    assert FAR.keys() <= set(WITH_CONSTANTS)


def given(id, role, **arguments):
    """A check with other arguments."""
    check = LEDGER[id].checks[role]
    changed = replace(check, arguments={**check.arguments, **arguments})
    return changed(torch.Generator().manual_seed(SEED))


def unmet(evidence):
    return [criterion.what for criterion in evidence.criteria if not criterion.met]


# Constants that a check does not take as an argument, or whose control is of another kind.


@pytest.mark.parametrize(
    ("id", "role", "arguments"),
    [
        ("claim-4-inequality", "stated", {"factor": 1.1}),
        # 1 / (1 + e^{-1/sqrt(2)}) is 0.6698.
        ("lem-B.4-sandwich", "stated", {"upper": 0.66}),
        ("eq-23", "corrected", {"upper": 0.62}),
        ("claim-3-slope", "corrected", {"factor": 1.1}),
        ("claim-1-display", "corrected", {"factor": 2.2}),
    ],
)
def test_a_right_side_that_is_too_large_is_refuted(id, role, arguments):
    assert given(id, role).passed
    assert not given(id, role, **arguments).passed


def times(factor):
    """Of what a function gives, a number or a pair of them."""

    def scale(function, *arguments):
        found = function(*arguments)
        if isinstance(found, tuple):
            return tuple(c * value for c, value in zip(factor, found, strict=True))
        return factor * found

    return scale


@pytest.mark.parametrize(
    ("id", "role", "where", "name", "factor"),
    [
        ("line-time-bounds", "stated", regimes, "time_bounds", (1.1, 1.0)),
        ("line-time-bounds", "stated", regimes, "time_bounds", (1.0, 1 / 1.1)),
        ("prop-B.15-rate", "corrected", positive_angles, "second_token_rate", 1.1),
        ("hd-time", "stated", higher_dimension, "blow_up_bounds", (1.1, 1.0)),
        ("hd-time", "stated", higher_dimension, "blow_up_bounds", (1.0, 1 / 1.1)),
        ("refine-bound", "stated", refine, "least_supply", 1.1),
        ("claim-4.2-collapse", "corrected", collapse, "contraction", 1.1),
    ],
)
def test_a_bound_that_is_off_is_refuted(monkeypatch, id, role, where, name, factor):
    scale, right = times(factor), getattr(where, name)
    monkeypatch.setattr(where, name, lambda *arguments: scale(right, *arguments))
    assert not given(id, role).passed


@pytest.mark.parametrize(
    ("id", "role", "where", "name", "factor"),
    [
        ("eq-28", "corrected", "other_tokens.basins", "speed_bound", 0.9),
        ("thm-B.16-lesssim", "stated", "other_tokens.cosines", "arriving_bound", 1.1),
        ("thm-3.5-rate", "stated", "other_tokens.resonance", "shared_step_decay_rates", 1.1),
        ("prop-B.9-universal", "corrected", "other_tokens.approach", "aligned_rate", 1.1),
        ("thm-3.5-zero", "corrected", "other_tokens.basins", "second_constant", 1.1),
        ("abs-rates-first", "corrected", CHECKS + "first_token.alignment", "diagonal_limit", RATE),
        ("thm-3.2-negative", "corrected", CHECKS + "first_token.alignment", "diagonal_limit", RATE),
        ("prenorm-zero-rate", "stated", "other_tokens.residual_stream", "zero_rate", 1.1),
        *(
            (f"prenorm-{kind}-exponents", "stated", "other_tokens.residual_stream", name, 1.1)
            for kind, name in (("vertex", "vertex_exponents"), ("later", "vertex_exponents"))
        ),
        ("hd-zero", "stated", CHECKS + "one_dimension.higher_dimension", "form", 1.1),
        ("hd-cone", "stated", CHECKS + "one_dimension.higher_dimension", "cone_exponent", 1.1),
        ("hd-slow", "stated", CHECKS + "one_dimension.higher_dimension", "slow_rates", 1.1),
        ("line-decay-constants", "stated", "one_dimension.decay", "limits", 1.1),
        ("line-decay-later", "stated", "one_dimension.decay", "first_corrections", 1.1),
        ("line-decay-resonance", "stated", "one_dimension.next_order", "resonant_corrections", 1.1),
        (
            "line-decay-first",
            "stated",
            "one_dimension.next_order",
            "expansion_of_first",
            (1, 1.1, 1),
        ),
        (
            "line-decay-first",
            "stated",
            "one_dimension.next_order",
            "expansion_of_first",
            (1, 1, 1.1),
        ),
        ("line-blowup-first", "stated", "one_dimension.last_growth", "near_end", RATE),
        ("line-blowup-powers", "stated", "one_dimension.blowup", "powers", 1.1),
        ("line-slow-first", "stated", "one_dimension.growth", "first_token", 1.1),
        ("claim-4.2-varies-two", "stated", "reorder.theory", "two_token_spread", 1.1),
        ("claim-4.2-slow", "stated", "reorder.theory", "slow_switching_rate", 1.1),
    ],
)
def test_a_prediction_that_is_a_tenth_off_is_refuted(monkeypatch, id, role, where, name, factor):
    module = import_module(f"tokensphere.{where}")
    scale, right = times(factor), getattr(module, name)
    monkeypatch.setattr(module, name, lambda *arguments: scale(right, *arguments))
    assert not given(id, role).passed


def test_the_decay_of_a_second_token_is_told_to_a_tenth(monkeypatch):
    bound = cosines.second_token_bound
    monkeypatch.setattr(cosines, "second_token_bound", lambda f, a, t: bound(f, 1.1 * a, t))
    assert unmet(given("thm-B.16-lesssim", "stated")) == [
        "excess of 1 - f over our bound, relative"
    ]


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_another_share_of_tokens_that_diverge_together_is_refuted(monkeypatch, factor):
    share = regimes.share_together
    monkeypatch.setattr(regimes, "share_together", lambda length: factor * share(length))
    assert not given("line-share", "stated").passed


def test_the_constant_of_the_decay_of_tokens_is_sharp(monkeypatch):
    monkeypatch.setattr(decay, "LN2", 1.1 * decay.LN2)
    assert not given("line-decay", "stated").passed


@pytest.mark.parametrize(("factor", "broken"), [(1.0, 0), (1.1, 1), (0.9, 2)])
def test_the_exponent_of_ratios_is_told_from_both_sides(monkeypatch, factor, broken):
    """Larger, tokens break it; smaller, it is below what the largest of D coordinates guarantees.

    One token of each draw starts where the bound is sharp, S_BC = I and y near e_1, and one where
    the guarantee is: all moduli nearly equal, D = 2 to 6.
    """
    bound = alignment.explicit_bound

    def start(generator, count, dim, sign=1):
        S_BC = torch.eye(dim, dtype=torch.float64).expand(count, dim, dim)
        y0 = random_tokens(count, dim, generator=generator)
        y0[0] = 1e-3
        y0[0, 0] = 1.0
        y0[1] = 1.0
        y0[1, 0] = 1.001
        return S_BC, y0 / y0.norm(dim=-1, keepdim=True)

    def off(S_BC, y0):
        rho, kappa = bound(S_BC, y0)
        return rho, factor * kappa

    monkeypatch.setattr(first_token, "_start", start)
    monkeypatch.setattr(alignment, "explicit_bound", off)
    exponent, guarantee = first_token.ratios_obey_bound(torch.Generator().manual_seed(0)).criteria
    assert (exponent.met, guarantee.met) == (broken != 1, broken != 2)


def test_the_guarantee_of_the_exponent_decides(monkeypatch):
    """What obeys its bound all the more, being slower, is still not the exponent that is said."""
    bound = alignment.explicit_bound
    monkeypatch.setattr(
        alignment, "explicit_bound", lambda S, y: (bound(S, y)[0], 0.7 * bound(S, y)[1])
    )
    found = first_token.ratios_obey_bound(torch.Generator().manual_seed(SEED))
    assert unmet(found) == ["least kappa by lambda_min / (2 sqrt(D))"]


@pytest.mark.parametrize("bound", [basins.growth_bound, basins.strip_bound])
def test_equation_27_scales_with_the_cube_of_the_form(bound):
    """A form c times as large has speeds of U^2 that are c^3 times as large, and so its bound."""
    g = torch.Generator().manual_seed(SEED)
    flow, x1 = basins.random_problem(g, 3, symmetric=False)
    x, signs = basins.near_consensus(g, x1, 200, 4)
    one = bound(flow, x, signs)
    ten = bound(SharedStepFlow(10 * flow.S_BC, flow.alpha, flow.a), x, signs)
    torch.testing.assert_close(ten, 1000 * one, rtol=1e-9, atol=0)  # differences


@pytest.mark.parametrize("less", [(1.0, 0.9), (1.1, 1.0)])
def test_both_constants_of_equation_27_are_sharp(monkeypatch, less):
    near = basins._near

    def off(flow, x, signs):
        form, total, far, norm = near(flow, x, signs)
        return form, less[0] * total, less[1] * far, norm

    monkeypatch.setattr(basins, "_near", off)
    found = attraction.growth(torch.Generator().manual_seed(SEED), strip=0.5)
    assert "least slack of the sharp bound" in unmet(found)


# Checks of which one criterion could hide another.


def first_fails(state, index):
    """A display that is wrong for the index 1, and right for others."""
    left = torch.zeros(len(state[1]), dtype=torch.float64)
    return left, left + (1.0 if index == 1 else -1.0), [left + 1]


def test_every_inequality_of_a_display_decides(monkeypatch):
    monkeypatch.setattr(displays, "first_fails", first_fails, raising=False)
    for indices, broken in (([1, 2], True), ([2, 1], True), ([2], False)):
        found = displays.inequality(torch.Generator(), "first_fails", indices)
        assert found.passed is not broken
        assert len(found.criteria) == 2 * len(indices)
        assert len(unmet(found)) == 2 * broken


def test_random_states_and_the_adversary_decide_each_for_itself(monkeypatch):
    monkeypatch.setattr(displays, "first_fails", first_fails, raising=False)
    monkeypatch.setattr(displays, "least_slack", lambda *_, **__: (0.5, None))
    found = displays.inequality(torch.Generator(), "first_fails", [1])
    assert unmet(found) == ["first fails, index 1: least slack at random"]
    monkeypatch.setattr(displays, "least_slack", lambda *_, **__: (-1e-10, None))
    found = displays.inequality(torch.Generator(), "first_fails", [2])
    assert unmet(found) == ["first fails, index 2: least slack by the adversary"]
