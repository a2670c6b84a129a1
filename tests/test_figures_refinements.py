"""What the figures and tables of the two refinements show of the record."""

import numpy as np
import pytest
import torch

from tokensphere.paper import ledger
from tokensphere.paper.experiments import refinement_outcomes as outcomes
from tokensphere.paper.figures import refinements
from tokensphere.reorder import comparison

pytestmark = pytest.mark.usefixtures("closed")


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
    tie, _ = outcomes.compare(outcomes.losses(runs), outcomes.secondary_pairs())["positive", "tied"]
    assert f"| positive less tied | {tie.mean:+.4f} [{tie.low:+.4f}, {tie.high:+.4f}] |" in text


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


def test_numbers_in_the_prose_are_those_of_the_record(runs):
    chapter = (ledger.ROOT / "book" / "one-dimension" / "refinements.md").read_text("utf-8")
    text = " ".join(f"{chapter} {ledger.ledger()['refine-helps'].correction}".split())
    values = outcomes.losses(runs)
    first = outcomes.compare(values, outcomes.primary_pairs())
    second = outcomes.compare(values, outcomes.secondary_pairs())
    cost, cost_p = first["positive", "unconstrained"]
    gain, gain_p = second["positive", "negative"]
    own, own_p = second["positive, own scale", "negative, own scale"]
    size, _ = second["positive", "mixed, offset"]
    for said, value in {
        f"positive signs cost {cost.mean:.3f} nats a token": cost.mean,
        f"({cost.low:.3f} to {cost.high:.3f}; $p = {cost_p:.2f}$ after Holm)": cost_p,
        f"by {-gain.mean:.3f} ({-gain.high:.3f} to {-gain.low:.3f}; $p = {gain_p:.2f}$": gain_p,
        f"by {-own.mean:.3f} nats in both forms": own.mean,
        f"this is shown (p = {own_p:.3f} after Holm)": own_p,
        f"in the public code's form not (p = {gain_p:.2f})": gain_p,
        f"the gain is {-size.mean:.3f} ({-size.high:.3f} to {-size.low:.3f})": size.mean,
    }.items():
        assert said in text, value
    train = outcomes.training_losses(runs)
    above = [np.mean(train[a]) - np.mean(train["unconstrained"]) for a in train]
    assert f"lie {min(above[1:]):.3f} to {max(above):.3f} above no constraint" in text
    windows = {arm: [run["windows"] for run in own] for arm, own in outcomes.arms(runs).items()}
    errors = [
        (np.mean(rows, 0) - np.mean(windows["unconstrained"], 0)).std(ddof=1) / 381**0.5
        for rows in windows.values()
    ]
    assert f"standard errors of {max(errors):.4f} or less" in text
    depth = outcomes.streams(runs, "after", "log_norm")
    for arm, said in {"negative": "in the negative arm", "positive": "in the positive one"}.items():
        growth = float(np.exp((depth[arm][:, -1] - depth[arm][:, 0]).mean()))
        assert f"{growth:.0f}-fold {said}" in text
    sd = comparison.pooled_sd(difference for difference, _ in first.values())
    assert f"a difference of {comparison.detectable(sd, 4):.3f} with power 0.8" in text
