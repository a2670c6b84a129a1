"""What the figures and tables of the two refinements show of the record."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from tokensphere.paper.experiments import refinement_outcomes as outcomes
from tokensphere.paper.figures import refinements


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def runs():
    return outcomes.recorded().data["runs"]


def test_every_arm_has_its_line():
    drawn = list(refinements.STYLES)
    assert drawn == [outcomes.BASE, *(arm for arm, _ in outcomes.primary_pairs())]


def test_differences_are_paired_by_seed(runs):
    values = outcomes.losses(runs)
    shuffled = outcomes.losses(list(reversed(runs)))
    assert values == shuffled
    difference, p = outcomes.compare(values, outcomes.primary_pairs())["negative", "unconstrained"]
    own = np.array(values["negative"]) - np.array(values["unconstrained"])
    assert difference.mean == pytest.approx(own.mean())
    assert difference.n == 4
    assert p >= difference.p
    by_seed = {run["seed"]: run["heldout"][-1][1] for run in runs if run["arm"] == "negative"}
    assert values["negative"] == [by_seed[seed] for seed in range(4)]


def test_the_final_loss_is_the_mean_over_windows(runs):
    for run in runs:
        assert run["heldout"][-1][1] == pytest.approx(np.mean(run["windows"]), rel=1e-6)
        assert len(run["windows"]) == 381


def test_the_tables_hold_each_arm_and_pair(runs):
    text = refinements.loss_table(runs).data
    for arm, values in outcomes.losses(runs).items():
        assert f"| {arm} | {np.mean(values):.4f} | {np.exp(np.mean(values)):.2f} |" in text
    text = refinements.pair_table(runs).data
    assert text.count("\n") == 1 + len(outcomes.secondary_pairs())
    assert "| positive less tied | -0.0007 [" in text


def test_losses_are_drawn_against_no_constraint(runs):
    left, right = refinements.losses(runs, 0.01).axes
    values = outcomes.losses(runs)
    drawn = left.lines[0].get_xdata()
    np.testing.assert_allclose(
        drawn, np.array(values["positive"]) - np.array(values["unconstrained"])
    )
    ends = {line.get_label(): line.get_ydata()[-1] for line in right.lines}
    assert ends["unconstrained"] == 0
    expected = np.mean(values["negative"]) - np.mean(values["unconstrained"])
    assert ends["negative"] == pytest.approx(expected)


def test_signs_and_norms_are_drawn_by_depth(runs):
    left, right = refinements.signs(runs, {"other": [0.1, 0.2]}).axes
    lines = {line.get_label(): line for line in left.lines}
    np.testing.assert_allclose(lines["other"].get_xydata(), [[0.25, 0.1], [0.75, 0.2]])
    arms = {line.get_label(): line.get_ydata() for line in right.lines}
    assert (arms["positive"] == 1).all() and (arms["negative"] == 0).all()
    left, right = refinements.norms(runs).axes
    lines = {line.get_label(): line for line in left.lines}
    mean = outcomes.streams(runs, "after", "log_norm")["mixed"].mean(0)
    np.testing.assert_allclose(lines["mixed"].get_ydata(), np.exp(mean))
    assert len(right.lines[0].get_xdata()) == 12


def test_orders_stand_beside_what_they_average():
    P = torch.eye(3, dtype=torch.float64)
    figure = refinements.averaging([1, 10], torch.tensor([3.0, 1.0]), {1: P, 10: P})
    left, middle, right = figure.axes
    np.testing.assert_allclose(left.lines[0].get_xydata(), [[1, 3], [10, 1]])
    np.testing.assert_allclose(middle.images[0].get_array(), np.eye(3))
    assert right.get_title() == "weights, sd 10"
