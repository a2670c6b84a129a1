"""Figures of tokens without normalisation draw what they are given."""

import pytest
import torch

from tokensphere.paper import figures
from tokensphere.paper.figures import higher_dimension as drawn
from tokensphere.unnormalised.census import FIRST, SEQUENCES


def t64(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_ends_have_their_colours():
    assert tuple(drawn.HUES) == FIRST
    assert len(drawn.SEQUENCES) == len(SEQUENCES)


def test_a_map_shows_kinds_cone_and_orbits():
    _, array = figures.axes()
    ax = array[0, 0]
    grid = t64(-1, 0, 1)
    kinds = torch.arange(9).reshape(3, 3) % 4
    drawn.map_of_ends(ax, grid, kinds, [t64([0, 0], [0.5, 0.5], [1, 1])], t64([1, 0], [0, -1]), "m")
    assert ax.collections[0].get_array().ravel().tolist() == kinds.ravel().tolist()
    assert ax.lines[0].get_xdata().tolist() == [0, 0.5, 1]
    assert ax.get_title() == "m"


def test_laws_and_shares():
    _, array = figures.axes(2)
    x = t64(1, 2)
    drawn.law(array[0, 0], x, {"a": x}, {"a": 2 * x}, title="t")
    assert [line.get_ydata().tolist() for line in array[0, 0].lines] == [[1, 2], [2, 4]]
    drawn.shares(array[0, 1], {"D = 2": {"x": 1, "y": 3}}, ("x", "y"), ("b", "r"), "s")
    assert [bar.get_height() for bar in array[0, 1].patches] == pytest.approx([0.25, 0.75])


def test_side_by_side():
    _, array = figures.axes(2)
    path = t64([1, 0], [2, 0])
    drawn.side_by_side(array.flat, {"free": [(path, "b")], "sphere": []})
    assert array[0, 0].lines[1].get_xdata().tolist() == [1, 2]
    assert array[0, 1].get_title() == "sphere"
