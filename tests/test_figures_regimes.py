"""What the figures of tokens on the line show."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from tokensphere.paper import survey
from tokensphere.paper.figures import regimes

pytestmark = pytest.mark.usefixtures("closed")


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("sign", [1, -1])
def test_arrows_point_where_the_token_goes_and_zero_is_full_where_it_attracts(sign):
    x = torch.linspace(-2, 2, 81, dtype=torch.float64)
    _, ax = plt.subplots()
    regimes.phase_line(ax, x, sign * x**3, "title")
    for arrow in ax.texts:
        (to, _), (origin, _) = arrow.xy, arrow.get_position()
        assert (to - origin) * sign * (to + origin) > 0
    assert len(ax.texts) == 8
    assert ax.lines[-1].get_markerfacecolor() == ("w" if sign > 0 else "k")


def test_times_stand_between_their_bounds_one_colour_a_length():
    left, right = plt.subplots(1, 2)[1]
    bounds = [[1.0, 4.0], [2.0, 2.0], [1.0, 8.0]]
    regimes.blow_up_times(left, right, [2.0, 2.0, 6.0], [2.1, 2.0, 6.0], bounds, [2, 1, 2])
    one, two = left.lines[:2]
    np.testing.assert_allclose(one.get_xydata(), [[2.0, 2.0]])
    np.testing.assert_allclose(two.get_xydata(), [[2.1, 2.0], [6.0, 6.0]])
    bars = left.collections[1].get_segments()
    np.testing.assert_allclose(bars, [[[2.1, 1], [2.1, 4]], [[6, 1], [6, 8]]])
    np.testing.assert_allclose(right.lines[1].get_ydata(), [0.5, 0.75])
    bars = right.collections[1].get_segments()
    np.testing.assert_allclose([bar[:, 1] for bar in bars], [[0.25, 1], [0.125, 1]])


def test_the_plane_has_the_colours_of_who_is_first():
    axis = torch.linspace(-1, 1, 5, dtype=torch.float64)
    kind = torch.arange(25).reshape(5, 5) % 3
    figure, ax = plt.subplots()
    x2, x1 = torch.meshgrid(axis, axis, indexing="ij")
    regimes.who_is_first(ax, axis, kind, torch.stack([x1, x2], -1), "title")
    assert ax.collections[0].get_array().ravel().tolist() == kind.ravel().tolist()
    regimes.keys_of_who_is_first(figure)
    texts = [text.get_text() for text in figure.legends[0].texts]
    assert texts[:3] == list(regimes.ENDS) and len(texts) == 5


def test_each_life_ends_at_its_own_line_and_the_system_s_at_the_first():
    _, ax = plt.subplots()
    runs = [(tensor(0.0, 3.0), tensor(1.0, 2.0)), (tensor(0.0, 1.0), tensor(1.0, 40.0))]
    regimes.lives(ax, runs, tensor(math.inf, 1.25))
    slow, fast, end = ax.lines
    assert slow.get_ydata().tolist() == [1.0, 2.0] and fast.get_ydata().tolist() == [1.0, 40.0]
    assert end.get_xdata() == [1.25, 1.25]
    assert ax.patches[0].get_x() == 1.25


def test_shares_have_their_intervals_and_the_bound_beside():
    _, ax = plt.subplots()
    regimes.shares_apart(ax, {"mu > 0": {1: (0, 10), 2: (4, 10)}}, {1: 0.0, 2: 0.375})
    points, _, (bars,) = ax.containers[0]
    np.testing.assert_allclose(points.get_xydata(), [[1, 0], [2, 0.4]])
    low, high = bars.get_segments()[1][:, 1]
    assert (low, high) == pytest.approx(survey.interval(4, 10))
    (floor,) = (line for line in ax.lines if line.get_linestyle() == "--")
    assert list(floor.get_ydata()) == [0.0, 0.375]
