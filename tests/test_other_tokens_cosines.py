"""Cosines with the first token: their speed, and bounds that hold and are not loose by much."""

import pytest
import torch

from tokensphere.flow import AutoregressiveFlow, random_tokens, simulate
from tokensphere.other_tokens.coefficients import random_log_bilinear, toeplitz
from tokensphere.other_tokens.cosines import (
    arriving_bound,
    cosines,
    leaving_bound,
    second_token_bound,
    speed_bound,
)


def points(seed, count=4000, length=4, dim=3):
    """A flow, and tokens of which the earlier ones lie at all distances from the first."""
    g = torch.Generator().manual_seed(seed)
    x = random_tokens(count, length, dim, generator=g)
    near = torch.rand(count, length - 2, 1, generator=g, dtype=torch.float64) ** 4
    x[:, 1:-1] = x[:, :1] + near * (x[:, 1:-1] - x[:, :1])
    flow = AutoregressiveFlow(random_log_bilinear(length, dim, g))
    return flow, x / x.norm(dim=-1, keepdim=True)


def test_what_the_bounds_are_made_of():
    flow, x = points(0, count=20)
    at = cosines(flow, x)
    step = 1e-6
    moved = x + step * flow(x)
    moved = moved / moved.norm(dim=-1, keepdim=True)
    change = ((moved * moved[:, :1]).sum(-1) - (x * x[:, :1]).sum(-1)) / step
    torch.testing.assert_close(change, at.speed, rtol=0, atol=1e-4)
    assert (at.ahead[:, :2] == 0).all() and (at.total[:, 0] == 0).all()
    distance = (x[:, 1:3] - x[:, :1]).norm(dim=-1).amax(-1)
    torch.testing.assert_close(at.sine**2, 1 - at.f**2, rtol=0, atol=1e-14)
    torch.testing.assert_close(at.ahead[:, 3], distance, rtol=1e-14, atol=0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_bounds_hold_and_fail_for_tokens_that_are_farther_than_they_are_told(seed):
    at = cosines(*points(seed))
    told = at._replace(ahead=0.3 * at.ahead)
    low, high = at.f <= 0, at.f >= 0
    assert (at.speed - speed_bound(at)).min() > -1e-12
    assert (at.speed - leaving_bound(at))[low].min() > -1e-12
    assert (arriving_bound(at) + at.speed)[high].min() > -1e-12
    assert (at.speed - speed_bound(told)).min() < -1e-3
    assert (at.speed - leaving_bound(told))[low].min() < -1e-3
    assert (arriving_bound(told) + at.speed)[high].min() < -1e-3


def test_the_speed_is_its_bound_where_all_earlier_tokens_are_at_the_first():
    g = torch.Generator().manual_seed(3)
    x = random_tokens(10, 4, 3, generator=g)
    x[:, 1:3] = x[:, :1]
    at = cosines(AutoregressiveFlow(random_log_bilinear(4, 3, g)), x)
    torch.testing.assert_close(speed_bound(at), at.speed, rtol=0, atol=1e-13)


def test_the_second_token_obeys_its_bound():
    g = torch.Generator().manual_seed(4)
    times = torch.linspace(0, 5, 11, dtype=torch.float64)
    x = simulate(
        AutoregressiveFlow(toeplitz(torch.tensor([0.7]).double())),
        random_tokens(20, 2, 3, generator=g),
        times,
    ).tokens
    f = (x[:, :, 1] * x[:, :, 0]).sum(-1)
    least = torch.tensor(0.7, dtype=torch.float64)
    bound = second_token_bound(f[0], least, times[:, None])
    assert (1 - f <= bound + 1e-9).all()
    # The rate cannot be twice as large.
    assert (1 - f > second_token_bound(f[0], 4 * least, times[:, None]) + 1e-3).any()
    with pytest.raises(ValueError, match="^least:"):
        second_token_bound(f[0], 0 * least, times[:, None])
