"""What the figures of positive angles draw."""

import matplotlib.pyplot as plt
import numpy as np
import torch

from tokensphere.paper.figures.angles import ends_on_circle, slacks


def test_slacks_draw_each_quantity_of_each_group_and_its_bound():
    times = torch.linspace(0, 1, 5)
    groups = [[torch.full((5, 3), 2.0), torch.full((5, 3), 3.0)], [torch.ones(5, 1)] * 2]
    figure = slacks(times, groups, {"one": (1.0, "log"), "two": (0.0, "linear")})
    first, second = figure.axes
    assert (first.get_title(), second.get_title()) == ("one", "two")
    assert (first.get_yscale(), second.get_yscale()) == ("log", "linear")
    levels = [line.get_ydata()[0] for line in second.lines]
    assert levels == [3.0, 3.0, 3.0, 1.0, 0.0]
    plt.close(figure)


def test_ends_are_drawn_with_the_second_token_along_the_horizontal_axis():
    side = torch.tensor([0.0, 1.0, 2.0])
    kind = torch.tensor([[0, 1, 2], [3, 0, 0], [0, 0, 0]])
    met = torch.zeros(3, 3, dtype=torch.bool)
    met[1, 1] = True
    figure = ends_on_circle(side, {"form": kind}, {"form": {"-": met}})
    mesh = figure.axes[0].collections[0]
    assert np.array_equal(np.asarray(mesh.get_array()).reshape(3, 3), kind.numpy().T)
    assert figure.axes[0].get_xlabel() == "angle of $x_2$"
    plt.close(figure)
