"""What the figures of equilibria and of first tokens without a limit show."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest

from tokensphere.paper.figures.first_token import equilibrium_counts, no_rest, stable_counts

pytestmark = pytest.mark.usefixtures("closed")


def test_counts_are_shown_by_dimension_and_by_support():
    by_support = {d: [2 * math.comb(d, k) for k in range(1, d + 1)] for d in (1, 2, 3)}
    equilibrium_counts(by_support, {2: 6})
    left, right = plt.gcf().axes
    lines = {line.get_label(): line for line in left.lines}
    assert list(lines["counted by the library"].get_ydata()) == [2, 6, 14]
    assert list(lines["$2(2^D-1)$"].get_ydata()) == [2, 6, 14]
    assert list(lines["in rational arithmetic"].get_xdata()) == [2]
    assert [bar.get_height() for bar in right.patches] == [6, 6, 2]
    assert list(right.lines[0].get_ydata()) == [6, 6, 2]


def test_shares_stand_at_their_numbers_and_ends_at_their_dimensions():
    kinds = {kind: ([0.25, 0.5], np.array([[0.2, 0.4], [0.3, 0.6]])) for kind in "abcd"}
    table = np.zeros((10, 7))
    table[:, 0] = 2
    stable_counts(
        {3: np.array([0.4, 0.6]), 10: np.array([0.5, 0.5])},
        {3: np.array([0.4, 0.6]), 10: np.array([0.5, 0.5])},
        {3: table, 4: table},
        {"identity": kinds, "Gaussian": kinds},
        [3, 10],
    )
    left, middle, right = plt.gcf().axes
    assert [round(bar.get_height(), 1) for bar in left.patches] == [0.4, 0.6, 0.5, 0.5]
    assert list(middle.lines[0].get_ydata()) == [2, 2]
    assert list(right.lines[0].get_ydata()) == [0.25, 0.5]
    # Each kind is named once.
    assert len(right.get_legend().get_texts()) == 4


def test_a_vertex_is_drawn_at_its_corner_and_stays_meet_the_line_at_the_last():
    stays = np.array([1.0, 2.0, 4.0])
    no_rest([np.eye(3)], stays, 2.0, np.ones((5, 4)))
    left, middle, _ = plt.gcf().axes
    np.testing.assert_allclose(left.lines[1].get_xydata(), [[0, 0], [1, 0], [0.5, 0.75**0.5]])
    np.testing.assert_allclose(middle.lines[0].get_ydata(), stays)
