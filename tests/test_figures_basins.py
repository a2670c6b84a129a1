"""Maps of basins and curves of exceptional tokens: what they draw."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
import torch

from tokensphere.paper.figures import basins

pytestmark = pytest.mark.usefixtures("closed")


def test_the_grid_is_on_the_sphere_and_of_equal_area():
    longitude, height, points = basins.equal_area_grid(6)
    assert points.shape == (6, 6, 3)
    assert torch.allclose(points.norm(dim=-1), torch.ones(6, 6, dtype=torch.float64))
    assert torch.allclose(points[:, 0, 2], height)  # rows are third coordinates
    assert torch.allclose(torch.atan2(points[2, :, 1], points[2, :, 0])[1:-1], longitude[1:-1])


def test_a_map_of_the_plane_shows_four_kinds_and_the_zeros_of_the_form():
    angles = torch.linspace(0, 6.28, 5)
    second, third = torch.meshgrid(angles, angles, indexing="xy")
    _, ax = plt.subplots()
    basins.basins_in_the_plane(ax, angles, torch.stack([second > 3, third > 3], -1), third - 3)
    mesh, dashed = ax.collections
    assert sorted(set(mesh.get_array().flatten().tolist())) == [0, 1, 2, 3]
    assert len(dashed.get_paths()) == 1


def test_a_map_of_the_sphere_marks_points():
    longitude, height, points = basins.equal_area_grid(5)
    form = points[..., 2]
    _, ax = plt.subplots()
    marks = {"*": points[1, 2], "o": points[3, 3]}
    basins.basins_on_the_sphere(ax, (longitude, height), form > 0, form, marks, "title")
    assert [line.get_marker() for line in ax.lines] == ["*", "o"]
    assert ax.lines[0].get_ydata() == pytest.approx([float(height[1])])


def test_curves_are_closed_and_shares_have_their_labels():
    turn = torch.linspace(0, 6.28, 12, dtype=torch.float64)
    ring = torch.stack([turn.cos(), turn.sin(), 0 * turn], -1)
    axis = torch.eye(3, dtype=torch.float64)
    times = torch.linspace(0, 1, 3)
    figure = basins.exceptional_curves(
        {"left": [ring, ring]},
        axis[0],
        axis[1:],
        ring,
        {"a": (times, times), "b": (times, 1 - times)},
    )
    left, right = figure.axes
    assert left.get_title() == "left"
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["a", "b"]
