"""The search for counterexamples, and tokens with wanted interactions."""

import numpy as np
import pytest
import torch

from tokensphere.flow import SharedStepFlow, random_tokens, simulate
from tokensphere.other_tokens import interactions
from tokensphere.other_tokens.adversary import (
    NUMBERS,
    along_runs,
    least_slack,
    missed,
    pairs,
    three_tokens,
    with_zero,
)
from tokensphere.other_tokens.interactions import token_with_interactions


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_missed_counts_only_what_is_negative():
    values = torch.tensor([1.0, -2.0]), torch.tensor([-0.5, -1.0])
    assert missed(*values).tolist() == [0.5, 3.0]


def test_three_tokens_are_unit_rows_and_the_first_is_the_first_coordinate_vector():
    flow, x = three_tokens(np.random.default_rng(0).uniform(-1, 1, (7, NUMBERS)))
    assert x.shape == (7, 3, 3)
    assert torch.allclose(x.norm(dim=-1), torch.ones(7, 3).double())
    assert (x[:, 0] == torch.eye(3).double()[0]).all()
    assert torch.equal(flow.S_BC, flow.S_BC.mT)
    assert flow.S_BC.abs().max() <= 3
    with pytest.raises(ValueError, match=r"points: got shape \(2, 3\), takes numbers \(n, 19\)"):
        three_tokens(np.zeros((2, 3)))


def random_states():
    return three_tokens(np.random.default_rng(3).uniform(-1, 1, (6, NUMBERS)), symmetric=False)


def test_pairs_are_those_of_a_short_run():
    flow, x = random_states()
    p = pairs((flow, x))
    assert torch.equal(p.gamma, p.U[:, 0, 0])
    torch.testing.assert_close(p.a * p.U, flow.attention(x).tril(-1))
    step = 1e-6
    later = pairs((flow, simulate(flow, x, torch.tensor([0.0, step]).double(), 1e-10).tokens[-1]))
    torch.testing.assert_close((later.X - p.X) / step, p.dX, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close((later.U - p.U) / step, p.dU, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("index", [1, 2, 3])
def test_one_interaction_of_the_third_token_becomes_zero(index):
    flow, x = random_states()
    changed, y = with_zero((flow, x), index)
    assert float(pairs((changed, y)).U[:, 2, index - 1].abs().max()) < 1e-13
    assert torch.equal(y[:, :2], x[:, :2])
    assert torch.equal(y, x) == (index == 3)
    with pytest.raises(ValueError, match="index: got 0, takes a whole number from 1 to 3"):
        with_zero((flow, x), 0)


def test_the_search_finds_the_least_slack_under_a_hypothesis():
    # <x_2, x_3> over states with <x_1, x_2> and <x_1, x_3> at least 1/2: -1/2, sixty degrees each.
    def inequality(state):
        X = state[1] @ state[1].mT
        return X[:, 1, 2], missed(X[:, 0, 1] - 0.5, X[:, 0, 2] - 0.5)

    slack, (_, x) = least_slack(inequality, 0, 60)
    assert slack == pytest.approx(-0.5, abs=1e-2)
    assert slack >= -0.5
    assert float(x[0, 1] @ x[0, 2]) == slack
    assert least_slack(inequality, 0, 60)[0] == slack


def test_along_runs_starts_that_are_not_admissible_are_not_run():
    seen = []

    def slack(flow, path):
        seen.append(path.shape)
        return path[..., 1, 0] - 0.25

    state = three_tokens(np.random.default_rng(1).uniform(-1, 1, (200, NUMBERS)))
    flow, x = state
    times = torch.linspace(0, 1, 5, dtype=torch.float64)
    found, off = along_runs(slack, times, least=0.0)(state)
    admissible = interactions(x, flow.S_BC)[1].flatten(1).amin(-1) >= 0
    assert torch.equal(off == 0, admissible)
    assert seen == [(5, int(admissible.sum()), 3, 3)]
    assert (found[~admissible] == 9).all()
    one = SharedStepFlow(*(p[admissible][0] for p in (flow.S_BC, flow.alpha, flow.a)))
    path = simulate(one, x[admissible][0], times, rtol=1e-8).tokens
    least = float((path[1:, 1, 0] - 0.25).min())
    assert float(found[admissible][0]) == pytest.approx(least, abs=1e-4)


def test_where_no_state_meets_the_hypotheses_the_slack_says_so():
    def never(state):
        return state[1][:, 0, 0], missed(-state[1][:, 0, 0])

    assert least_slack(never, 0, 2)[0] >= 10


def test_a_token_with_wanted_interactions_has_them_up_to_a_factor():
    x, S_BC = random_tokens(5, 3, 4, generator=torch.Generator().manual_seed(1)), normal(2, 5, 4, 4)
    row = torch.tensor([1.0, -2.0, 0.0], dtype=torch.float64)
    across = torch.linspace(-1, 1, 5, dtype=torch.float64)
    y = token_with_interactions(x, S_BC, row, across)
    U = interactions(torch.cat([x, y[:, None]], 1), S_BC)[1][:, 3, :3]
    factor = U[:, :1]
    assert (factor > 0).all()
    assert torch.allclose(U / factor, row.expand(5, 3))
    still = token_with_interactions(x, S_BC, 0 * row, 1.0)
    assert interactions(torch.cat([x, still[:, None]], 1), S_BC)[1][:, 3, :3].abs().max() < 1e-12


def test_a_token_with_wanted_interactions_refuses_what_cannot_be():
    x, S_BC = torch.eye(2).double(), torch.eye(2).double()
    with pytest.raises(ValueError, match="leave no room"):
        token_with_interactions(x, S_BC, torch.ones(2).double(), 1.0)
    with pytest.raises(ValueError, match=r"row: got shape \(3,\), takes .*; L = 2 as in x"):
        token_with_interactions(x, S_BC, torch.ones(3).double())
    with pytest.raises(ValueError, match="both are zero"):
        token_with_interactions(x, S_BC, torch.zeros(2).double())


def test_the_search_depends_on_its_seed_and_passes_over_what_is_no_number():
    def inequality(state):
        slack = state[1][:, 1, 0]
        return torch.where(slack > 0, torch.nan, slack), 0 * slack

    found = [least_slack(inequality, seed, 2)[0] for seed in (0, 1)]
    assert -1 <= found[0] < 0 and -1 <= found[1] < 0 and found[0] != found[1]
    never = least_slack(lambda state: (torch.nan * state[1][:, 1, 0], 0 * state[1][:, 1, 0]), 0, 1)
    assert never[0] == 1e3
