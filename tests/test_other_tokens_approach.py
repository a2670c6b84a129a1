"""Runs towards consensus: distances to full relative accuracy, and rates that fits confirm."""

import pytest
import torch

from tokensphere.flow import SharedStepFlow
from tokensphere.other_tokens.approach import (
    APART,
    aligned_rate,
    approach,
    axis_distance,
    random_approaches,
    random_shared_step,
    tokens_from_axis,
    unbatched,
)
from tokensphere.other_tokens.resonance import (
    resonant_flow,
    resonant_start,
    shared_step_decay_rates,
)
from tokensphere.rates import fit_exponential


def test_distances_keep_their_relative_accuracy():
    angle = torch.tensor([1e-100, 1e-10, 1.0], dtype=torch.float64)
    x = torch.stack([angle.cos(), angle.sin()], -1)
    chord = 2 * (angle / 2).sin()
    torch.testing.assert_close(axis_distance(x), chord, rtol=1e-14, atol=0)
    torch.testing.assert_close(axis_distance(-x, -1.0), chord, rtol=1e-14, atol=0)


def test_tokens_start_at_the_axis():
    x = tokens_from_axis(50, 4, 3, torch.Generator().manual_seed(0), half=True)
    assert (x[:, 0] == torch.eye(3).double()[0]).all() and (x[..., 0] >= 0).all()
    torch.testing.assert_close(x.norm(dim=-1), torch.ones(50, 4).double(), rtol=0, atol=1e-12)
    other = tokens_from_axis(50, 4, 3, torch.Generator().manual_seed(0))
    assert (other[:, 1:, 0] < 0).any() and torch.equal(other.abs(), x.abs())


@pytest.mark.parametrize("symmetric", [False, True])
def test_random_flows_have_rate_one_where_all_signs_agree(symmetric):
    axis, ones = torch.eye(3).double()[0], torch.ones(4).double()
    flow = random_shared_step(5, 3, torch.Generator().manual_seed(1), symmetric)
    assert torch.equal(flow.S_BC, flow.S_BC.mT) == symmetric
    torch.testing.assert_close(aligned_rate(flow), torch.ones(5).double(), rtol=1e-12, atol=0)
    for one in unbatched(flow):
        rates = shared_step_decay_rates(one, axis, ones)
        assert float(rates.min()) == pytest.approx(1.0, rel=1e-12)
        half = SharedStepFlow(one.S_BC / 2, one.alpha, one.a)
        assert float(aligned_rate(half)) == pytest.approx(0.5, rel=1e-12)


def test_random_runs_decay_as_predicted():
    runs, left_out = random_approaches(torch.Generator().manual_seed(0), 3)
    assert len(runs) + left_out == 5 * 3 and len({run.system for run in runs}) == 5
    for run in runs:
        assert fit_exponential(run.times, run.error).rate == pytest.approx(run.rate, rel=0.01)


def test_one_run_with_a_power():
    times = torch.linspace(0, 60, 121, dtype=torch.float64)
    run = approach(resonant_flow(), resonant_start(torch.Generator().manual_seed(0)), times)
    assert run.signs.tolist() == [1, -1, 1] and run.power == 1
    late = times > 20
    fit = fit_exponential(times[late], run.error[late], power=1)
    assert fit.rate == pytest.approx(run.rate, rel=0.01)
    with pytest.raises(ValueError, match="^x0: its first token"):
        approach(resonant_flow(), -resonant_start(torch.Generator().manual_seed(0)), times)


def test_runs_with_close_eigenvalues_are_left_out():
    systems = ("eq (11)",)
    runs, left_out = random_approaches(torch.Generator().manual_seed(2), 30, systems, stop=35.0)
    assert left_out > 0
    for run in runs:
        rates = shared_step_decay_rates(run.flow, torch.eye(3).double()[0], run.signs)
        slow, next_slow = rates.sort().values[:2].tolist()
        assert next_slow >= (1 + APART) * slow
