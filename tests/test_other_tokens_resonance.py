"""Eigenvalues of eq (11) in closed form, and where they meet."""

import pytest
import torch
from torch.nn.functional import softplus

from tokensphere.flow import SharedStepFlow
from tokensphere.other_tokens import consensus_rate, consensus_spectrum
from tokensphere.other_tokens.resonance import (
    equal_eigenvalues,
    resonant_flow,
    resonant_start,
    shared_step_decay_rates,
    signed_sums,
)


def test_the_recursion_is_the_sum():
    g = torch.Generator().manual_seed(0)
    steps = torch.rand(5, generator=g, dtype=torch.float64)
    sums = [
        sum(steps[j] * torch.exp(-0.7 * steps[j + 1 : l + 1].sum()) for j in range(l))
        for l in range(1, 5)
    ]
    wanted = torch.stack([torch.zeros(()).double(), *sums])
    torch.testing.assert_close(signed_sums(steps, 0.7), wanted, rtol=1e-14, atol=0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_closed_form_is_the_spectrum(seed):
    g = torch.Generator().manual_seed(seed)
    S_BC = torch.randn(3, 3, generator=g, dtype=torch.float64)
    flow = SharedStepFlow(S_BC, torch.randn(3, generator=g, dtype=torch.float64), 0.6)
    x1 = torch.tensor([2.0, -1.0, 2.0], dtype=torch.float64) / 3
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    values = -consensus_spectrum(flow, x1, signs)[1:, 0]
    found = shared_step_decay_rates(flow, x1, signs)
    torch.testing.assert_close(found, values, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("z", [0.2, 1.0, 3.0])
def test_the_second_and_third_eigenvalue_meet_at_one_value(z):
    steps = softplus(torch.tensor([z, -z, z], dtype=torch.float64))
    a = equal_eigenvalues(z)
    for factor, sign in ((0.7, 1), (1.0, 0), (1.4, -1)):
        sums = signed_sums(steps, factor * a)
        difference = float(sums[2] - sums[1])
        assert abs(difference) < 1e-12 if sign == 0 else difference * sign > 1e-3


def test_where_they_meet_the_rate_has_a_power():
    axis = torch.tensor([1.0, 0.0], dtype=torch.float64)
    signs = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    powers = [consensus_rate(resonant_flow(1.0, f), axis, signs).power for f in (0.7, 1.0, 1.4)]
    assert powers == [0, 1, 0]
    start = resonant_start(torch.Generator().manual_seed(0))
    assert torch.equal(start[:, 0].sign(), signs) and torch.equal(start[0], axis)


@pytest.mark.parametrize(
    ("make", "name"),
    [(lambda: equal_eigenvalues(0.0), "z"), (lambda: resonant_flow(1.0, -1.0), "factor")],
)
def test_bad_arguments_are_named(make, name):
    with pytest.raises(ValueError, match=f"^{name}:"):
        make()
