"""What the figures of consensus draw: the runs, in the time of their weights."""

import matplotlib.pyplot as plt
import numpy as np
import torch

from tokensphere.other_tokens.approach import random_approaches
from tokensphere.paper.figures.consensus import (
    fitted_against_predicted,
    slowest_runs,
    ways_to_first,
)


def test_rates_and_slopes_are_in_the_time_of_the_weights():
    runs, _ = random_approaches(torch.Generator().manual_seed(0), 3)
    systems = list(dict.fromkeys(run.system for run in runs))
    figure, (left, right) = plt.subplots(1, 2)
    fitted_against_predicted(left, runs, [run.rate for run in runs])
    slowest_runs(right, runs)
    points = np.concatenate([line.get_xydata() for line in left.lines[: len(systems)]])
    wanted = sorted(run.rate * run.unit for run in runs)
    np.testing.assert_allclose(sorted(points[:, 0]), wanted)
    np.testing.assert_allclose(points[:, 0], points[:, 1])
    for index, name in enumerate(systems):
        curve, slope = right.lines[2 * index : 2 * index + 2]
        least = min(run.rate * run.unit for run in runs if run.system == name)
        times, line = slope.get_xydata().T
        np.testing.assert_allclose(-np.diff(np.log(line)) / np.diff(times), least, rtol=1e-6)
        np.testing.assert_allclose(curve.get_ydata()[-1], line[-1])
    plt.close(figure)


def test_each_way_has_its_colour():
    figure, ax = plt.subplots()
    theta, phi = np.array([1.0, 1.0, 2.0]), np.array([-1.0, 1.0, 1.5])
    turned = np.array([-3.0, 3.0, 3.0])
    ways_to_first(ax, theta, phi, turned, (np.array([0.1, 1.0]), np.array([0.0, 0.3])))
    sizes = [len(part.get_offsets()) for part in ax.collections]
    assert sizes == [2, 1]
    np.testing.assert_allclose(ax.lines[1].get_xydata(), -ax.lines[0].get_xydata())
    plt.close(figure)
