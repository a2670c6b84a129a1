"""What the figures of later tokens draw: bars that fill up, intervals, lines by name."""

import matplotlib.pyplot as plt
import numpy as np
import torch

from tokensphere.other_tokens.census import ENDS
from tokensphere.paper import survey
from tokensphere.paper.figures.later_tokens import (
    clusters_by_length,
    fitted_rates,
    joining_by_rate,
    percent,
    recorded_ends,
    stacked_ends,
)


def test_a_share_comes_with_its_interval():
    low, high = survey.interval(1, 4)
    which = torch.tensor([True, False, False, False])
    assert percent(which) == f"25% ({low:.0%} to {high:.0%})"
    assert percent(which.view(2, 2)) == percent(which)


def test_bars_fill_up():
    figure, ax = plt.subplots()
    some = {ENDS[0]: 0.25, ENDS[3]: 0.75}
    stacked_ends(ax, [("all", dict.fromkeys(ENDS, 0.2)), ("some", some)], "ends")
    bars = np.array([(bar.get_y(), bar.get_x(), bar.get_width()) for bar in ax.patches])
    assert len(bars) == 2 * len(ENDS)
    for row in np.unique(bars[:, 0]):
        starts, widths = bars[bars[:, 0] == row, 1:].T
        np.testing.assert_allclose(starts + widths, np.cumsum(widths))
        np.testing.assert_allclose(widths.sum(), 1)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["all", "some"]
    assert ax.get_legend_handles_labels()[1] == list(ENDS)
    plt.close(figure)


def test_joining_is_of_the_second_and_the_last_token():
    figure, ax = plt.subplots()
    joins = torch.zeros(2, 4, 3, dtype=torch.bool)
    joins[0, :, 0] = True
    joins[1, :3, 2] = True
    joining_by_rate(ax, [0.5, 2.0], joins, (1.0, 1.6))
    second, last = (container.lines[0].get_ydata() for container in ax.containers)
    np.testing.assert_allclose(second, [1, 0])
    np.testing.assert_allclose(last, [0, 0.75])
    assert ax.get_legend_handles_labels()[1] == ["token 2", "token 4"]
    plt.close(figure)


def test_lines_and_points_are_those_given():
    figure, (left, right) = plt.subplots(1, 2)
    clusters_by_length(left, {"one": {2: 1.0, 4: 1.5}, "two": {2: 2.0, 4: 3.0}})
    assert [list(line.get_ydata()) for line in left.lines] == [[1.0, 1.5], [2.0, 3.0]]
    values = torch.tensor([1.0, 2.0, 3.0])
    fitted_rates(right, values, 2 * values, torch.tensor([True, False, True]))
    assert [list(line.get_xdata()) for line in right.lines[:2]] == [[1.0, 3.0], [2.0]]
    plt.close(figure)


def test_recorded_ends_are_shares_by_end():
    shares = recorded_ends("identity", 2, "equal")
    assert shares.keys() == set(ENDS) - {"at another vertex"}
    np.testing.assert_allclose(sum(shares.values()), 1)
    assert 0.6 < shares[ENDS[0]] + shares[ENDS[1]] < 0.62
