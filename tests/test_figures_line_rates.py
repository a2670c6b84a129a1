"""What the figures of tokens on the line show: curves, and laws where they belong."""

import math

import numpy as np
import pytest
import torch

from tokensphere.one_dimension import decay, simulate
from tokensphere.paper.figures import line_rates

pytestmark = pytest.mark.usefixtures("closed")


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_decay_shows_tokens_that_move_beside_their_limits():
    starts = {"first": 0.5, "zero": 0.0, "third": -0.4}
    errors = {"first": (tensor(1.0, 2.0), tensor(3.0, 4.0)), "bare": (tensor(5.0, 6.0), None)}
    left, right = line_rates.decay(-1.0, 0.3, 0.5, starts, tensor(0.0, 1.0), errors).axes
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["first", "third"]
    _, _, third, law = (line.get_ydata() for line in left.lines)
    end = simulate(-1.0, 0.3, 0.5, list(starts.values()), [20.0]).x[0, 2]
    assert third[-1] == pytest.approx(-float(end), rel=1e-6)
    c = float(decay.limits(-1.0, 0.5, list(starts.values()))[2])
    assert law[-1] == pytest.approx(math.sqrt(c) * math.exp(-10.0))
    assert [list(line.get_ydata()) for line in right.lines] == [[1, 2], [3, 4], [5, 6]]
    np.testing.assert_allclose(right.lines[0].get_xdata(), [1.0, math.e])


def test_without_damping_limits_stand_where_they_are_reached():
    at = tensor(1.0, 10.0, 100.0)
    shares = {0.1: tensor(0.5, 0.2, 0.1), 0.0: tensor(0.4, 0.1, 0.01)}
    ratios = torch.stack([at, at + 1, at + 2], -1)
    left, right = line_rates.without_damping(at, shares, ratios).axes
    np.testing.assert_allclose(left.lines[1].get_ydata(), [np.nan, 1 - 2**-0.1, 1 - 2**-0.1])
    np.testing.assert_allclose(left.lines[3].get_ydata(), [np.nan, 0.1, 0.01])
    np.testing.assert_allclose(right.lines[4].get_ydata(), at + 2)
    np.testing.assert_allclose(right.lines[5].get_ydata()[1:], at[1:].log().log())


def test_the_fan_has_powers_of_ln_t_and_tokens_with_their_laws():
    at = tensor(10.0, 100.0)
    y = torch.stack([at, 3 * at], -1)
    reset = {"behind": (tensor(2.0, 1.0), 0.7)}
    left, right = line_rates.slow_fan(at, y, y + 1, reset).axes
    np.testing.assert_allclose(left.lines[2].get_ydata(), at**3)
    np.testing.assert_allclose(left.lines[5].get_ydata(), 3 * at)
    np.testing.assert_allclose(left.lines[6].get_ydata(), 3 * at + 1)
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["first", "second"]
    np.testing.assert_allclose(right.lines[1].get_ydata(), [0.7, 0.7])


def test_the_way_to_the_end_has_a_law_for_the_first_carried_token():
    log_x = torch.stack([tensor(1e2, 1e12), tensor(1.0, 3.4), tensor(0.0, 0.1)], -1)
    ends = {"s = 1": (tensor(1.0, 2.0), tensor(1.0, 2.5))}
    powers = {"right behind": (tensor(0.4, 0.5), 0.5)}
    figure = line_rates.to_the_end(tensor(0.5, 0.1), ends, log_x, powers, [1, 2], 0.5)
    first, shares, logarithms = figure.axes
    assert list(first.lines[1].get_ydata()) == [1.0, 2.5]
    assert list(shares.lines[1].get_ydata()) == [0.5, 0.5]
    carried, law, behind = logarithms.lines
    np.testing.assert_allclose(carried.get_ydata(), 0.5 * np.exp([1.0, 3.4]))
    # Ei(30.98) = 1e12: a double logarithm, whatever a and s.
    assert law.get_ydata()[1] == pytest.approx(30.98, abs=0.3)
    np.testing.assert_allclose(behind.get_ydata(), 0.5 * np.exp([0.0, 0.1]))
