"""What the figures of first tokens that align show."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from tokensphere.paper.figures.alignment import ends_by_start, fitted_rates, ratios_and_bounds

pytestmark = pytest.mark.usefixtures("closed")


def test_each_ratio_has_its_bound_and_the_sharp_slope_stands_beside():
    times = torch.linspace(0, 4, 5, dtype=torch.float64)
    rho = torch.stack([2 * torch.exp(-times), 3 * torch.exp(-times)], -1)
    _, ax = plt.subplots()
    ratios_and_bounds(ax, times, rho, exponent=0.5, rate=1.5)
    first, bound, second, other, sharp = (line.get_ydata() for line in ax.lines)
    np.testing.assert_allclose([first, second], rho.T)
    np.testing.assert_allclose(bound, 2 * torch.exp(-0.5 * times))
    np.testing.assert_allclose(other, 3 * torch.exp(-0.5 * times))
    np.testing.assert_allclose(sharp, torch.exp(-1.5 * times))


def test_rates_are_held_against_the_predicted_ones_with_their_errors():
    rows = np.array([[1.0, 2.0], [1e-5, 4e-5], [1.0, 4.0], [0.5, 0.25]])
    _, (left, right) = plt.subplots(1, 2)
    fitted_rates(left, right, {3: rows})
    np.testing.assert_allclose(left.lines[0].get_xydata(), [[1, 1], [4, 2]])
    np.testing.assert_allclose(left.lines[1].get_xydata(), [[1, 1], [4, 4]])
    np.testing.assert_allclose(left.lines[2].get_xydata(), [[1, 0.5], [4, 0.25]])
    points, _, (bars,) = right.containers[0]
    np.testing.assert_allclose(points.get_xydata(), [[1, 0], [4, -5e4]])
    np.testing.assert_allclose([np.ptp(bar[:, 1]) / 2 for bar in bars.get_segments()], [1, 1])


def test_starts_stand_at_their_longitude_and_height_by_mark():
    starts = torch.tensor([[1.0, 0, 0], [0, -1.0, 0], [0, 0.6, 0.8]], dtype=torch.float64)
    marks = {"o": torch.tensor([True, False, True]), "x": torch.tensor([False, True, False])}
    _, ax = plt.subplots()
    ends_by_start(ax, starts, ["#111111", "#222222", "#333333"], marks, ["one"], "title")
    round_, cross = ax.collections[:2]
    np.testing.assert_allclose(round_.get_offsets(), [[0, 0], [np.pi / 2, 0.8]], atol=1e-15)
    np.testing.assert_allclose(cross.get_offsets(), [[-np.pi / 2, 0]])
    np.testing.assert_allclose(cross.get_facecolor()[0, :3], [0x22 / 255] * 3)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one"]
