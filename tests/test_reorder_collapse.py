"""Collapse under three ways to choose orders, and what positive angles are for."""

import pytest
import torch

from tokensphere.flow import SharedStepFlow
from tokensphere.other_tokens import interactions
from tokensphere.other_tokens.positive_angles import admissible
from tokensphere.reorder.collapse import Collapse, collapse
from tokensphere.reorder.theory import cone_normal, diameter, fresh_orders, reordered_layers


def test_a_collapse_is_measured_along_its_paths():
    g = torch.Generator().manual_seed(0)
    flow, x0 = admissible(g, 3, 3, 3, symmetric=False, least=0.1)
    found = collapse(flow, x0, 0.2, 40, torch.Generator().manual_seed(1))
    orders = fresh_orders(40, 3, 3, torch.Generator().manual_seed(1))
    path = reordered_layers(flow, x0, 0.2, orders)
    width = found.widths["an order for each layer"]
    assert torch.equal(width, diameter(path, cone_normal(flow, x0)))
    assert found.slack > 0 and found.growth > -1e-12
    least = interactions(path, flow.S_BC)[1].flatten(-2).amin(-1)
    assert found.growth <= float((least[1:] / least[:-1] - 1).min())
    # One order keeps a smaller part than the greedy choice does.
    left = found.left()
    assert left["one order a pass"] < left["greedy: the largest diameter in each layer"] < 1


def test_the_share_left_is_the_largest_over_passes():
    found = Collapse({"a way": torch.tensor([[2.0, 4.0], [1.0, 3.0]])}, 0.0, 0.0)
    assert found.left() == {"a way": 0.75}


def test_angles_that_are_not_positive_are_refused():
    flow = SharedStepFlow(
        torch.diag(torch.tensor([1.0, -1.0]).double()), torch.zeros(2).double(), 0.5
    )
    phi = torch.tensor([[0.2, 1.3]], dtype=torch.float64)
    x0 = torch.stack([phi.cos(), phi.sin()], -1)
    with pytest.raises(ValueError, match="x0: the least"):
        collapse(flow, x0, 0.2, 10, torch.Generator())
