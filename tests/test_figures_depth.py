"""Errors by depth and decays in time, as the book draws them."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from tokensphere.paper.figures.depth import Decay, decays, errors_by_depth


def test_slopes_are_those_of_the_deep_models():
    depths = [16, 32, 64, 128]
    curves = {
        "late": (depths, [5.0, 5.0, 1 / 64, 1 / 128]),
        "shallow": ([4, 8], [1.0, 1.0]),
    }
    figure, slopes = errors_by_depth(curves, first=64)
    plt.close(figure)
    assert slopes["late"] == pytest.approx(-1)
    assert slopes["shallow"] == pytest.approx(0)


def test_laws_are_straight_in_their_clock():
    t = np.logspace(0, 4, 50)
    panels = [
        Decay("rate", t / 1000, np.exp(-t[:, None] / 1000 * [2, 3]), [2, 3], until=5),
        Decay("power", t, t[:, None] ** [-0.5, -1.5], [0.5, 1.5], power=True),
    ]
    figure = decays(panels)
    left, right = figure.axes
    assert left.get_xscale() == "linear" and left.get_xlim() == (0, 5)
    assert right.get_xscale() == "log"
    for ax in figure.axes:
        for curve, law in zip(ax.lines[::2], ax.lines[1::2], strict=True):
            np.testing.assert_allclose(curve.get_ydata(), law.get_ydata(), rtol=1e-9)
    plt.close(figure)
