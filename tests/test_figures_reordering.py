"""Figures of the chapter on reordered training, from runs made up for them."""

import numpy as np
import pytest
from reordered_runs import JITTER, OTHER, SHIFT, made

from tokensphere.paper import figures
from tokensphere.paper.figures import reordering
from tokensphere.paper.figures.drawing import DARK_GREY
from tokensphere.reorder import comparison
from tokensphere.reorder.comparison import Difference


@pytest.fixture
def found():
    return made()


pytestmark = pytest.mark.usefixtures("closed")


def drawn(ax):
    """Lines by label, x and y."""
    return {item.get_label(): np.array(item.get_data()) for item in ax.get_lines()}


def bands(ax):
    """Bounds of each band at its places: arrays (2, n)."""
    found = []
    for item in ax.collections:
        points = item.get_paths()[0].vertices
        places = sorted(set(points[:, 0]))
        reach = [points[points[:, 0] == place, 1] for place in places]
        found.append(np.array([[each.min(), each.max()] for each in reach]).T)
    return found


def levels(ax):
    """Where straight grey lines stand, by their direction."""
    grey = [item for item in ax.get_lines() if item.get_color() == DARK_GREY]
    across = [y[0] for y in (item.get_ydata() for item in grey) if y[0] == y[1]]
    up = [x[0] for x in (item.get_xdata() for item in grey) if x[0] == x[1]]
    return {"across": across, "up": up}


def random_minus_own():
    return 100 * (SHIFT["random"] + np.array(JITTER["random"]) - np.array(OTHER))


def test_curves_are_means_over_seeds_with_their_range(found):
    figure = reordering.accuracy_curves(found)
    ax = np.array(figure.axes).reshape(2, 2)[0, 0]
    lines = drawn(ax)
    each = 80 + np.arange(3) + 100 * np.array(OTHER)
    own = lines["own order, test"]
    np.testing.assert_allclose(own, [[1, 2, 3], np.mean(each) - [30, 10, 0]])
    np.testing.assert_allclose(lines["own order, training"][1], own[1] - 20)
    np.testing.assert_allclose(bands(ax)[1][:, -1], [min(each), max(each)])
    assert len(lines) == 4
    width = {item.get_label(): item.get_linewidth() for item in ax.get_lines()}
    assert width["own order, training"] < width["own order, test"]
    dashed = {item.get_label() for item in ax.get_lines() if item.get_linestyle() == "--"}
    assert dashed == {"random order, training", "random order, test"}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(lines)


def test_the_difference_by_epoch_is_paired(found):
    figure = reordering.accuracy_curves(found)
    ax = np.array(figure.axes).reshape(2, 2)[1, 1]
    differences = random_minus_own()
    line = drawn(ax)["random minus own order"]
    np.testing.assert_allclose(line, [[1, 2, 3], [differences.mean()] * 3])
    half = 4.302652730 * differences.std(ddof=1) / np.sqrt(3)  # t, 2 degrees of freedom
    expected = [differences.mean() - half, differences.mean() + half]
    np.testing.assert_allclose(bands(ax)[0][:, 0], expected)


def test_the_reach_of_differences_by_epoch_is_that_of_late_ones(found):
    for run in found["s6-small"]:
        if run["arm"] == "random":
            run["epochs"][0]["average_top1"] -= 0.3
    figure = reordering.accuracy_curves({"s6-small": found["s6-small"]})
    low, high = figure.axes[1].get_ylim()
    assert -low == high
    lower, upper = bands(figure.axes[1])[0][:, -1]
    assert high == pytest.approx(1.15 * max(abs(lower), abs(upper)))


def test_a_difference_by_epoch_needs_two_seeds(found):
    alone = [one for one in found["s6-small"] if one["arm"] != "random" or one["seed"] == 1]
    with pytest.raises(ValueError, match="found: 1 seeds in both orders"):
        reordering.accuracy_curves({"s6-small": alone})


def test_differences_show_each_seed_and_what_was_detectable(found):
    figure = reordering.differences(found, 0.19)
    left = figure.axes[0]
    ticks = [text.get_text() for text in left.get_yticklabels()]
    assert ticks == [
        "random order (3)",
        "layer-wise shuffle (3)",
        "by importance (3)",
        "one fixed order (3)",
    ]
    points = [item for item in left.get_lines() if item.get_color() == figures.COLOURS[5]]
    np.testing.assert_allclose(points[0].get_xdata(), random_minus_own(), atol=1e-9)
    means = [item for item in left.get_lines() if item.get_marker() == "D"]
    assert means[0].get_xdata()[0] == pytest.approx(random_minus_own().mean())
    # Below its seeds, which would hide it: the axis points down.
    assert means[0].get_ydata()[0] > max(points[0].get_ydata()) + 0.2
    arms = comparison.differences(comparison.outcomes(found["s6-small"], "top1"))
    reach = comparison.detectable(comparison.pooled_sd(arms.values()), 3)
    bars = left.patches
    assert [bar.get_width() for bar in bars] == pytest.approx([2 * reach] * 4)
    assert bars[0].get_x() == pytest.approx(-reach)
    assert [0.19, 0.19] in [list(item.get_xdata()) for item in left.get_lines()]
    low, high = left.get_ylim()
    assert low > 3 and high < 0  # the first arm on top
    assert levels(left) == {"across": [], "up": [0]}
    assert "paper, +0.19" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_mechanism_breaks_between_stages_and_leaves_out_what_is_not_there(found):
    figure = reordering.mechanism(found)
    array = np.array(figure.axes).reshape(2, 2)

    def lines(ax, arm):
        colour = figures.COLOURS[list(reordering.ARMS).index(arm)]
        return [item for item in ax.get_lines() if item.get_color() == colour]

    own = lines(array[0, 0], "baseline")
    assert [list(item.get_xdata()) for item in own] == [[0, 1], [2, 3]]
    np.testing.assert_allclose(own[1].get_ydata(), [0.201, 0.301])
    random = lines(array[1, 1], "random")
    np.testing.assert_allclose(random[0].get_ydata(), [0.021, 0.121, 0.221])
    fixed = lines(array[0, 1], "fixed")
    np.testing.assert_allclose(fixed[0].get_ydata(), [0.001, 0.101, 0.201])
    # All tokens are one; they are no closer to the first than to each other.
    assert [levels(ax)["across"] for ax in array[:, 0]] == [[1], [0]]
    # By importance no token is the first.
    assert lines(array[0, 1], "importance") and not lines(array[1, 1], "importance")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == list(reordering.ARMS.values())


def test_the_mechanism_has_ranges_of_two_arms(found):
    array = np.array(reordering.mechanism(found).axes).reshape(2, 2)
    own, other = bands(array[0, 1])
    np.testing.assert_allclose(own, [[0, 0.1, 0.2], [0.002, 0.102, 0.202]])
    np.testing.assert_allclose(other, own + SHIFT["random"])


def test_the_mechanism_tells_blocks_and_those_with_mixers(found):
    array = np.array(reordering.mechanism(found).axes).reshape(2, 2)
    places = [(bar.get_x(), bar.get_width()) for bar in array[0, 0].patches]
    assert places == [(0, 1), (2, 1)]
    assert not array[0, 1].patches
    expected = [([0, 1, 2, 3], "0101"), ([0, 1, 2], "012")]
    for ax, (places, words) in zip(array[1], expected, strict=True):
        assert list(ax.get_xticks()) == places
        assert [text.get_text() for text in ax.get_xticklabels()] == list(words)
    labels = [ax.get_xlabel() for ax in array[1]]
    assert labels == ["blocks of stage 3 | stage 4", "layers passed"]
    # A scale on which 1 is seen.
    assert array[0, 0].get_ylim() == array[0, 1].get_ylim() == (0, 1.04)


@pytest.mark.parametrize(("last", "shown"), [(8, [0, 4, 8]), (4, [0, 2, 4]), (1, [0, 1])])
def test_ticks_are_the_beginning_the_middle_and_the_end(last, shown):
    names = ["embedding", *(f"layer {n}" for n in range(1, last + 1))]
    assert reordering._ticks(names) == (shown, shown)


def test_power_curves_are_of_the_tests_they_name():
    d = Difference(0.1, 0.0, 0.2, 0.05, 0.15, 5, 0.0)
    ax = reordering.power_curves({"ours": d}, (0.1, 0.2), 0.19).axes[0]
    lines = drawn(ax)
    x, y = lines["ours, 5 pairs, sd 0.15"]
    assert y[0] == pytest.approx(0.05)
    assert y[50] == pytest.approx(comparison.power(x[50], 0.15, 5))
    x, y = lines["one run each, seeds' sd 0.2"]
    assert y[50] == pytest.approx(comparison.power_once(x[50], 0.2))
    assert levels(ax) == {"across": [0.8], "up": [0.19]}
    assert {text.get_text() for text in ax.texts} == {" paper, +0.19", "four times in five"}
    assert y[-1] > 0.8  # drawn as far as the least sure of them


def test_the_flow_and_the_gpus_are_drawn_as_given():
    widths = {"one": np.array([[2.0, 4.0], [1.0, 1.0], [0.0, 0.5]])}
    ends = {"depths": [4, 16], "layer": [0.2, 0.1], "pass": [0.7]}
    rate = {
        "periods": [1, 2, 4, 8],
        "found": [0.6, 0.5, 0.5, 0.5],
        "fast": 0.7,
        "slow": [4, 3, 2, 1],
    }
    figure = reordering.collapse_by_order(widths, ends, {3: rate})
    left, middle, right = figure.axes
    np.testing.assert_allclose(left.get_lines()[0].get_ydata(), [1, 0.5, np.nan])
    np.testing.assert_allclose(left.get_lines()[1].get_ydata(), [1, 0.25, 0.125])
    one, each = middle.get_lines()
    np.testing.assert_allclose(one.get_ydata(), 0.7)
    np.testing.assert_allclose(each.get_xydata(), [[4, 0.2], [16, 0.1]])
    assert [one.get_color(), each.get_color()] == list(figures.COLOURS[:2])
    np.testing.assert_allclose(drawn(right)["3 tokens"][1], rate["found"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "3 tokens"]
    # The right panel is of neither way to choose orders.
    assert right.get_lines()[0].get_color() not in (
        one.get_color(),
        left.get_lines()[0].get_color(),
    )
    assert levels(right)["across"] == [0.5]
    names = ["diameter, over the start's", "deviation of the end", "rate of collapse"]
    assert [ax.get_ylabel() for ax in figure.axes] == names
    assert [list(item.get_ydata()) for item in right.get_lines()[1:3]] == [[0.7, 0.7], [3, 2, 1]]

    curves = {"1 GPU": [2.0, 1.0], "again": [2.0, 1.0], "2 GPUs": [2.5, 0.75]}
    figure = reordering.curves_by_gpus(curves, 5)
    left, right = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(curves)
    assert list(drawn(left)) == list(curves)
    # Seen through one another.
    assert [item.get_linestyle() for item in left.get_lines()] == ["-", "-", ":"]
    assert left.get_lines()[0].get_linewidth() > 2 * left.get_lines()[1].get_linewidth()
    assert list(drawn(right)) == ["again", "2 GPUs"]
    np.testing.assert_allclose(drawn(right)["2 GPUs"], [[5, 10], [0.5, 0.25]])
    assert np.isnan(drawn(right)["again"][1]).all()
