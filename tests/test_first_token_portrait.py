"""Phase portraits on the sphere: paths go with the flow, and no equilibrium is lost."""

import pytest
import torch

from tokensphere.first_token.portrait import even_points, sphere_portrait
from tokensphere.flow import FirstTokenFlow


def problem(seed):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, 3, generator=g, dtype=torch.float64)


def test_points_are_even_on_the_sphere():
    points = even_points(400)
    torch.testing.assert_close(points.norm(dim=-1), torch.ones(400).double())
    # Caps of half the sphere have half of the points, to a few.
    axes = torch.nn.functional.normalize(problem(0)[0], dim=-1)
    assert ((points @ axes.mT > 0).sum(0) - 200).abs().max() < 8


@pytest.mark.parametrize("seed", range(3))
def test_trajectories_go_with_the_flow_on_the_sphere(seed):
    S_BC, S_Delta = problem(seed)
    flow = FirstTokenFlow(S_BC, S_Delta)
    found = sphere_portrait(S_BC, S_Delta)
    assert len(found.paths) == len(found.arrows) > 40
    assert len(found.points) == 14 and not found.circles and not found.everywhere
    for path in (*found.paths, *found.arrows):
        torch.testing.assert_close(path.norm(dim=1), torch.ones(len(path)).double())
        # Arcs of at most 0.032: the chord turns from the velocity by no more than the path curves.
        velocity, steps = flow(path[:-1]), path.diff(dim=0)
        along = (steps * velocity).sum(-1) / velocity.norm(dim=-1)
        moved = steps.norm(dim=-1)
        assert (along[moved > 0.01] > 0.7 * moved[moved > 0.01]).all()


def test_what_is_not_isolated_is_a_circle_or_the_sphere():
    identity = torch.eye(3, dtype=torch.float64)
    # On the support {1, 2} both columns have the same differences: a circle.
    found = sphere_portrait(
        identity, torch.tensor([[1.0, 1, 0], [0, 0, 1], [0, 1, 0]], dtype=torch.float64)
    )
    assert len(found.circles) == 1 and not found.everywhere
    assert found.circles[0][:, 2].abs().max() < 1e-12
    found = sphere_portrait(identity, 0 * identity)
    assert found.everywhere and not found.paths and not found.points
    assert found.arrows.shape == (0, 2, 3)


def test_a_portrait_is_of_dimension_three():
    with pytest.raises(ValueError, match="^S_BC"):
        sphere_portrait(torch.eye(2).double(), torch.eye(2).double())
