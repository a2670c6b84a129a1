"""Collapse under three ways to choose orders, and what positive angles are for."""

import math

import pytest
import torch

from tokensphere.flow import SharedStepFlow
from tokensphere.other_tokens import interactions
from tokensphere.other_tokens.positive_angles import admissible
from tokensphere.reorder.collapse import Collapse, angles_apart, collapse, rates_by_period
from tokensphere.reorder.theory import (
    cone_normal,
    contraction,
    diameter,
    fresh_orders,
    reordered_layers,
)


def test_a_collapse_is_measured_along_its_paths():
    g = torch.Generator().manual_seed(0)
    flow, x0 = admissible(g, 3, 3, 3, symmetric=False, least=0.1)
    found = collapse(flow, x0, 0.2, 40, torch.Generator().manual_seed(1))
    orders = fresh_orders(40, 3, 3, torch.Generator().manual_seed(1))
    path = reordered_layers(flow, x0, 0.2, orders)
    width = found.widths["an order for each layer"]
    assert torch.equal(width, diameter(path, cone_normal(flow, x0)))
    assert found.slack > 0 and found.growth > -1e-12
    # The slack is that of the worst layer, pass and way.
    delta = contraction(flow, x0, 0.2)
    ratios = [d[1:] / d[:-1] for d in found.widths.values()]
    assert found.slack == pytest.approx(min(float((1 - delta - r).min()) for r in ratios))
    assert max(float((1 - delta - r).min()) for r in ratios) > 1.1 * found.slack
    least = interactions(path, flow.S_BC)[1].flatten(-2).amin(-1)
    assert found.growth <= float((least[1:] / least[:-1] - 1).min())
    # One order keeps a smaller part than the greedy choice does.
    left = found.left()
    assert left["one order a pass"] < left["greedy: the largest diameter in each layer"] < 1


def test_the_share_left_is_the_largest_over_passes():
    found = Collapse({"a way": torch.tensor([[2.0, 4.0], [1.0, 3.0]])}, 0.0, 0.0)
    assert found.left() == {"a way": 0.75}


def saddle():
    """diag(1, -1): U_ij = cos(phi_i + phi_j)."""
    S_BC = torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))
    return SharedStepFlow(S_BC, torch.zeros(2, dtype=torch.float64), 0.5)


def test_the_token_read_first_stands_and_the_other_goes_to_it_or_to_a_zero():
    together, apart = angles_apart(saddle(), (0.1, 1.2), 0.1, 1000).tolist()
    assert together == pytest.approx(0, abs=1e-12)
    assert apart == pytest.approx(2.4 - math.pi / 2, abs=1e-12)
    # One layer: the token read first has not moved.
    step = angles_apart(saddle(), (0.1, 1.2), 0.1, 1)
    weight = 0.1 * math.cos(1.3) * math.log(2) * 2**-0.5
    for place, (still, moving) in enumerate(((0.1, 1.2), (1.2, 0.1))):
        own = 1 + 0.1 * math.cos(2 * moving) * math.log(2)
        z = [own * f(moving) + weight * f(still) for f in (math.cos, math.sin)]
        wanted = (math.atan2(z[1], z[0]) - still) * (1 if place == 0 else -1)
        assert float(step[place]) == pytest.approx(wanted)
    with pytest.raises(ValueError, match="phi: got shape"):
        angles_apart(saddle(), (0.1, 0.2, 0.3), 0.1, 1)


def test_rates_go_from_the_fast_limit_to_the_slow_one():
    found = rates_by_period(4, [0.1, 32.0], torch.Generator().manual_seed(0))
    assert found["found"][0] == pytest.approx(found["fast"], abs=0.02)
    assert found["found"][1] == pytest.approx(found["slow"][1], abs=0.005)
    assert found["fast"] == pytest.approx((4 - 25 / 12) / 3)


def test_angles_that_are_not_positive_are_refused():
    phi = torch.tensor([[0.2, 1.3]], dtype=torch.float64)
    x0 = torch.stack([phi.cos(), phi.sin()], -1)
    with pytest.raises(ValueError, match="x0: the least"):
        collapse(saddle(), x0, 0.2, 10, torch.Generator())
