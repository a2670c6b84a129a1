"""Margins, admissible draws and explicit bounds, against sums written out and the flow."""

import math

import pytest
import torch

from tokensphere.flow import SharedStepFlow, random_tokens, simulate
from tokensphere.other_tokens import interactions, weights
from tokensphere.other_tokens.positive_angles import (
    CONDITIONS,
    admissible,
    alignment_bounds,
    margin,
    one_pair,
    second_token_rate,
)

TOKENS = torch.eye(3, dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("condition", "pairs"),
    [
        ("all", [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]),
        ("off diagonal", [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]),
        ("below", [(0, 0), (1, 0), (2, 0), (2, 1)]),
        ("first", [(0, 0), (1, 0), (2, 0)]),
    ],
)
def test_margin_is_the_least_of_the_entries_that_the_condition_names(condition, pairs):
    # With the coordinate vectors as tokens U is S_BC itself.
    for i in range(3):
        for j in range(3):
            S_BC = torch.ones(3, 3, dtype=torch.float64)
            S_BC[i, j] = -2.0
            assert float(margin(TOKENS, S_BC, condition)) == (-2.0 if (i, j) in pairs else 1.0)


def test_margin_refuses_a_condition_that_it_does_not_know():
    with pytest.raises(ValueError, match="condition: got 'above', takes one of 'all'"):
        margin(TOKENS, TOKENS, "above")


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_admissible_draws_meet_their_condition_and_approach_consensus_at_rate_one(
    condition, symmetric
):
    flow, x = admissible(generator(), 30, 3, 3, symmetric, condition, least=0.05)
    assert x.shape == (30, 3, 3)
    assert flow.S_BC.shape == (30, 3, 3)
    assert flow.alpha.shape == (30, 3)
    assert margin(x, flow.S_BC, condition).min() > 0
    asymmetry = (flow.S_BC - flow.S_BC.mT).abs().amax((-2, -1))
    assert (asymmetry == 0).all() if symmetric else (asymmetry > 1e-3).all()
    step = torch.log1p(torch.exp((x[:, 0] * flow.alpha).sum(-1)))
    gamma = torch.einsum("nd,nde,ne->n", x[:, 0], flow.S_BC, x[:, 0])
    assert torch.allclose(gamma * step * torch.exp(-flow.a * step), torch.ones(30).double())


def test_admissible_repeats_itself_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    one, two = (admissible(generator(5), 4, 3, 3)[1] for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(before, torch.get_rng_state())


def test_admissible_gives_up_where_no_draw_can_be_admissible(monkeypatch):
    monkeypatch.setattr("tokensphere.other_tokens.positive_angles.PATIENCE", 2)
    with pytest.raises(ValueError, match="least: none of 8000 draws"):
        admissible(generator(), 1, 3, 3, least=2.0)


def test_bounds_hold_along_trajectories_and_their_constants_are_the_formulas():
    flow, x = admissible(generator(1), 12, 4, 3, symmetric=False)
    bounds = alignment_bounds(flow, x)
    times = torch.linspace(0, 8, 41, dtype=torch.float64)
    path = simulate(flow, x, times, rtol=1e-8, atol=1e-11).tokens
    X = (path * path[:, :, :1]).sum(-1)
    assert (bounds.distance(times, 4) + 1e-7 >= 1 - X).all()
    assert (bounds.eta[:, None] - 1e-7 <= 1 + X).all()
    assert (margin(path, flow.S_BC) >= bounds.c - 1e-7).all()
    # By hand, for one start: S_BC = I, alpha = 0, a = 1, two tokens at sixty degrees.
    ln2 = math.log(2)
    eye = torch.eye(2, dtype=torch.float64)
    pair = torch.tensor([[1.0, 0.0], [0.5, math.sqrt(3) / 2]], dtype=torch.float64)
    one = alignment_bounds(SharedStepFlow(eye, torch.zeros(2).double(), 1.0), pair)
    assert float(one.c) == pytest.approx(0.5)
    assert float(one.eta) == pytest.approx(1.5**2 / 2)
    assert float(one.p) == pytest.approx(ln2 / 2 * 0.5 * 1.125)
    assert float(one.K) == pytest.approx(ln2)
    # A third token adds a step to the longest way: a_31 >= ln 2 / 4 in place of ln 2 / 2.
    three = torch.cat([pair, pair[1:]])
    halved = alignment_bounds(SharedStepFlow(eye, torch.zeros(2).double(), 1.0), three)
    assert float(halved.p) == pytest.approx(float(one.p) / 2)
    assert one.distance(torch.tensor([2.0]).double(), 3).tolist()[0] == pytest.approx(
        [0.0, 2 * math.exp(-2 * one.p), 2 * (1 + 2 * ln2) * math.exp(-2 * one.p)]
    )


def test_the_second_token_stays_within_its_bound_which_is_met_at_first_for_equal_steps():
    flow, x = admissible(generator(2), 40, 2, 3, symmetric=False, condition="below")
    rate = second_token_rate(flow, x)
    times = torch.linspace(0, 8, 41, dtype=torch.float64)
    path = simulate(flow, x, times, rtol=1e-8, atol=1e-11).tokens
    y = 1 - (path[:, :, 1] * path[:, :, 0]).sum(-1)
    assert (y <= y[0] * torch.exp(-rate * times[:, None]) + 1e-7).all()
    # alpha = 0 makes a_21 constant; where U_21 <= gamma the bound is an equality at t = 0.
    eye = torch.eye(2, dtype=torch.float64)
    pair = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    one = SharedStepFlow(eye, torch.zeros(2).double(), 2.0)
    slope = -float((one(pair)[1] * pair[0]).sum())
    assert slope == pytest.approx(-float(second_token_rate(one, pair)) * 0.4)


def test_bounds_refuse_what_is_not_admissible():
    x = random_tokens(2, 3, generator=generator())
    flow = SharedStepFlow(-torch.eye(3, dtype=torch.float64), torch.zeros(3).double(), 1.0)
    with pytest.raises(ValueError, match=r"x0: holds a U_ij of -1, takes positive ones only"):
        alignment_bounds(flow, x)
    with pytest.raises(ValueError, match="x0: holds a U_11 or U_21"):
        second_token_rate(flow, x)
    with pytest.raises(ValueError, match="x0: got shape .*with L >= 2"):
        second_token_rate(flow, x[:1])


@pytest.mark.parametrize(("i", "j"), [(2, 1), (3, 1), (3, 2), (4, 1), (4, 2), (4, 3)])
def test_one_negative_pair_sends_the_last_token_to_the_antipode(i, j):
    for value, end in ((-1.0, -1.0), (1.0, 1.0)):
        flow, x = one_pair(i, j, value)
        assert x.shape == (i, 4)
        U = interactions(x, flow.S_BC)[1]
        negative = {(k + 1, m + 1) for k, m in (U < 0).nonzero().tolist()}
        assert negative == ({(i, j), (j, i)} if value < 0 else set())
        last = simulate(flow, x, torch.tensor([0.0, 20.0]).double()).tokens[-1]
        assert float(last[-1] @ last[0]) == pytest.approx(end, abs=1e-3)
    with pytest.raises(ValueError, match="i, j, value: got 3, 3, 1"):
        one_pair(3, 3, 1.0)


def test_the_bounds_of_the_weights_are_met_at_tokens_along_alpha():
    eye, alpha, a = torch.eye(2, dtype=torch.float64), torch.tensor([0.6, 0.8]).double(), 0.7
    flow = SharedStepFlow(2 * eye, alpha, a)
    # a_21 is least where the first token has the shortest step and the second the longest.
    least = float(weights(flow, torch.stack([-alpha, alpha]))[1, 0])
    most = float(weights(flow, torch.stack([alpha, alpha]))[1, 1])
    pair = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    bounds = alignment_bounds(flow, pair)
    assert float(bounds.p) == pytest.approx(least * float(bounds.c) * float(bounds.eta))
    assert float(bounds.K) == pytest.approx(2 * most)
