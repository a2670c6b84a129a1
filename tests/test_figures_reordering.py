"""Figures and tables of the chapter on reordered training, from runs made up for them."""

from dataclasses import replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from tokensphere.paper import figures
from tokensphere.paper.figures import reordering
from tokensphere.paper.figures import reordering_tables as tables
from tokensphere.reorder import comparison, contrasts, experiment, recipe
from tokensphere.reorder.comparison import Difference
from tokensphere.reorder.contrasts import Accuracy, Control, Diversity
from tokensphere.reorder.significance import Unpaired

SHIFT = {"baseline": 0.0, "random": 0.02, "layerwise": 0.01, "importance": -0.01, "fixed": 0.0}
"""By arm, of every accuracy."""
JITTER = {
    "random": (0.001, -0.001, 0.003),
    "layerwise": (0.0, 0.002, 0.001),
    "importance": (0.002, 0.0, 0.001),
}
"""Of an arm's accuracies by seed, beside that; other arms have that of `OTHER`."""
OTHER = (0.0, 0.001, -0.002)
DEPTHS = {
    "mambavision_tiny": (
        [
            "stage 3, input",
            "stage 3, block 1 (mamba)",
            "stage 4, input",
            "stage 4, block 1 (mamba)",
        ],
        [64, 64, 16, 16],
    ),
    "s6-small": (["embedding", "layer 1", "layer 2"], [64, 64, 64]),
}


def line(epoch, top1):
    named = {"train": top1 - 0.2, "test": top1 - 0.01, "average": top1}
    seconds = {"seconds_a_step": 0.01 * epoch}
    shares = {f"{name}_top1": value for name, value in named.items()}
    return {
        "epoch": epoch,
        **seconds,
        **shares,
        **{f"{name}_top5": value + 0.1 for name, value in named.items()},
    }


def run(model, arm, seed):
    final = 0.8 + 0.01 * seed + SHIFT[arm] + JITTER.get(arm, OTHER)[seed]
    names, lengths = DEPTHS[model]
    level = SHIFT[arm] + 0.001 * seed
    flat = [level + 0.1 * depth for depth in range(len(names))]
    ordered = arm != "importance"
    return {
        "model": model,
        "arm": arm,
        "seed": seed,
        "tested": 10_000,
        "epochs": [line(1, final - 0.3), line(2, final - 0.1), line(3, final)],
        "orders": {"own": final, "random": [final - 0.1, final - 0.3], "sensitivity": flat},
        "mechanism": {
            "depths": names,
            "tokens": lengths,
            "similarity": flat,
            "excess": flat if ordered else None,
            "effective_rank": [10 * value for value in flat],
            "pooled_rank": [20.0] * len(names),
            "clusters": {"30": [length / 2 for length in lengths]},
            "response": {"first": flat, "later": flat} if model == "s6-small" and ordered else None,
        },
    }


@pytest.fixture
def found():
    return {
        model: [run(model, arm, seed) for arm in SHIFT for seed in (2, 0, 1)] for model in DEPTHS
    }


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


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


def random_minus_own():
    return 100 * (SHIFT["random"] + np.array(JITTER["random"]) - np.array(OTHER))


def test_curves_are_means_over_seeds_with_their_range(found):
    figure = reordering.accuracy_curves(found)
    array = np.array(figure.axes).reshape(3, 2)
    lines = drawn(array[0, 0])
    each = 80 + np.arange(3) + 100 * np.array(OTHER)
    own = lines["own order, test"]
    np.testing.assert_allclose(own, [[1, 2, 3], np.mean(each) - [30, 10, 0]])
    np.testing.assert_allclose(lines["own order, training"][1], own[1] - 20)
    np.testing.assert_allclose(drawn(array[1, 0])["own order, test"][1], own[1] + 10)
    np.testing.assert_allclose(bands(array[0, 0])[1][:, -1], [min(each), max(each)])
    assert len(lines) == 4


def test_the_difference_by_epoch_is_paired(found):
    figure = reordering.accuracy_curves(found)
    ax = np.array(figure.axes).reshape(3, 2)[2, 1]
    differences = random_minus_own()
    (label,) = [label for label in drawn(ax) if label.startswith("random minus own")]
    np.testing.assert_allclose(drawn(ax)[label][1], [differences.mean()] * 3)
    half = 4.302652730 * differences.std(ddof=1) / np.sqrt(3)  # t, 2 degrees of freedom
    expected = [differences.mean() - half, differences.mean() + half]
    np.testing.assert_allclose(bands(ax)[0][:, 0], expected)


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
    arms = comparison.differences(comparison.outcomes(found["s6-small"], "top1"))
    reach = comparison.detectable(comparison.pooled_sd(arms.values()), 3)
    bars = left.patches
    assert [bar.get_width() for bar in bars] == pytest.approx([2 * reach] * 4)
    assert bars[0].get_x() == pytest.approx(-reach)
    assert [0.19, 0.19] in [list(item.get_xdata()) for item in left.get_lines()]
    assert "paper, +0.19" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_mechanism_breaks_between_stages_and_leaves_out_what_is_not_there(found):
    figure = reordering.mechanism(found)
    array = np.array(figure.axes).reshape(6, 2)
    assert [ax.get_visible() for ax in array[5]] == [False, True]
    own = [item for item in array[1, 0].get_lines() if item.get_color() == figures.COLOURS[0]]
    assert [list(item.get_xdata()) for item in own] == [[0, 1], [2, 3]]
    np.testing.assert_allclose(own[1].get_ydata(), [0.201, 0.301])
    np.testing.assert_allclose(bands(array[1, 0])[0], [[0, 0.1], [0.002, 0.102]])
    for item in array[2, 0].get_lines():
        np.testing.assert_allclose(item.get_ydata(), 0.5)
    # No token is the first by importance.
    assert len(array[4, 1].get_lines()) == len(array[5, 1].get_lines()) == 4
    assert len(array[0, 1].get_lines()) == 5
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == list(reordering.ARMS.values())
    ticks = [
        [text.get_text() for text in ax.get_xticklabels()] for ax in (array[4, 0], array[5, 1])
    ]
    assert ticks == [["in", "1m", "in", "1m"], ["0", "1", "2"]]


def test_power_curves_are_of_the_tests_they_name():
    d = Difference(0.1, 0.0, 0.2, 0.05, 0.15, 5, 0.0)
    ax = reordering.power_curves({"ours": d}, (0.1, 0.2), 0.19).axes[0]
    lines = drawn(ax)
    x, y = lines["ours, 5 pairs, sd 0.15"]
    assert y[0] == pytest.approx(0.05)
    assert y[50] == pytest.approx(comparison.power(x[50], 0.15, 5))
    x, y = lines["one run each, seeds' sd 0.2"]
    assert y[50] == pytest.approx(comparison.power_once(x[50], 0.2))
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
    left, middle, right = reordering.collapse_by_order(widths, ends, {3: rate}).axes
    np.testing.assert_allclose(left.get_lines()[0].get_ydata(), [1, 0.5, np.nan])
    np.testing.assert_allclose(left.get_lines()[1].get_ydata(), [1, 0.25, 0.125])
    np.testing.assert_allclose(drawn(middle)["an order for each layer"], [[4, 16], [0.2, 0.1]])
    np.testing.assert_allclose(drawn(middle)["one order a pass"][1], 0.7)
    np.testing.assert_allclose(drawn(right)["L = 3"][1], rate["found"])
    assert [list(item.get_ydata()) for item in right.get_lines()[1:3]] == [[0.7, 0.7], [3, 2, 1]]

    curves = {"1 GPU": [2.0, 1.0], "again": [2.0, 1.0], "2 GPUs": [2.5, 0.75]}
    left, right = reordering.curves_by_gpus(curves, 5).axes
    assert list(drawn(left)) == list(curves)
    assert list(drawn(right)) == ["again", "2 GPUs"]
    np.testing.assert_allclose(drawn(right)["2 GPUs"], [[5, 10], [0.5, 0.25]])
    assert np.isnan(drawn(right)["again"][1]).all()


def cells(text):
    """Rows of a table in Markdown, its head first."""
    rows = [line.strip("| ").split(" | ") for line in text.strip().splitlines()]
    return [rows[0], *rows[2:]]


def test_configurations_are_held_against_table_2():
    config = {
        "rate": 8e-4,
        "betas": [0.9, 0.999],
        "decay": 0.05,
        "batch": 512,
        "epochs": 8,
        "ema": 0,
    }
    text = tables.configuration_table({"ours": config}, ["epochs", "ema"])
    rows = cells(text)
    assert rows[0][-1] == "ours"
    assert ["batch", "512", "4096", "512"] in rows
    assert rows[-2][0] == "`epochs`" and rows[-2][-1] == "8"
    assert rows[-1][-1] == "none"
    with pytest.raises(ValueError, match="configs: batch of ours is 256, Table 2 has 512"):
        tables.configuration_table({"ours": {**config, "batch": 256}}, [])


def test_what_was_run_is_told_from_the_record(found):
    runs = [one | {"seconds": 1800, "parameters": 12345} for one in found["s6-small"]]
    record = SimpleNamespace(data={"runs": runs}, provenance=lambda: "From here.")
    text = tables.runs_made(record, "s6-small")
    assert text.startswith(
        "**S6 classifier, CIFAR-10**, 12,345 weights. Seeds: own order 3, random"
    )
    assert text.endswith("Runs of 7.5 hours. From here.\n\n")


def test_the_accuracy_table_has_each_arm_with_its_difference(found):
    arms = contrasts.accuracies(found)["s6-small"]
    arms["random"] = replace(arms["random"], p=0.0001)
    arms["layerwise"] = replace(arms["layerwise"], p=0.2)
    rows = cells(tables.accuracy_table(found["s6-small"], arms))
    each = 80 + np.arange(3) + 100 * np.array(OTHER)
    assert rows[1][:6] == [
        "own order",
        "3",
        "20",
        f"{each.mean():.2f}",
        f"{each.std(ddof=1):.2f}",
        "90.97",
    ]
    d = arms["random"].difference
    assert rows[2][0] == "random order"
    assert rows[2][6:8] == [f"{d.mean:+.2f} [{d.low:+.2f}, {d.high:+.2f}]", "< 0.001"]
    assert rows[3][7] == "0.200"

    alone = Accuracy({0: 80.0}, {0: 90.0}, None, None, 1.0)
    row = cells(tables.accuracy_table(found["s6-small"], {"baseline": alone}))[1]
    assert row[:5] == ["own order", "1", "20", "80.00", ""]


def test_contrasts_and_the_control_in_tables(found):
    d = Difference(-0.5, -0.6, -0.4, 0.01, 0.1, 3, 0.5)
    each = {"top-1, one": d, "loss in training (nats)": d}
    rows = cells(tables.contrast_table({"s6-small": each, "s6-tiny": {"top-1, one": d}}))
    assert rows[1] == ["top-1, one", *["-0.50 [-0.60, -0.40]"] * 2]
    assert rows[2] == ["loss in training (nats)", "-0.500 [-0.600, -0.400]"]  # and an empty cell

    control = Control(d, Unpaired(-0.3, -1.0, 0.4, 0.3, 0.7, (8, 3)), 0.034)
    row = cells(tables.control_table({"s6-small": control}))[1]
    assert row[1:5] == ["-0.50 [-0.60, -0.40]", "3", "-0.30 [-1.00, +0.40]", "8 and 3"]
    assert row[5:] == ["0.10", "0.70", "0.034"]


def test_the_scale_of_a_difference(found):
    text = tables.scale(found, 0.19)
    own = np.mean(list(comparison.outcomes(found["s6-small"], "top1")["baseline"].values()))
    assert "1.0% on ImageNet-1K" in text  # 0.19 of 100 - 81.90
    assert f"{0.19 / 18.1 * (100 - own):.2f} points here; one image is 0.01" in text


def test_tables_of_orders_and_diversity(found):
    rows = cells(tables.orders_table(found))
    assert len(rows) == 11
    own = np.mean([100 * one["orders"]["own"] for one in found["mambavision_tiny"][:3]])
    expected = [
        "MambaVision-T, CIFAR-10",
        "own order",
        f"{own:.2f}",
        f"{own - 20:.2f}",
        "20.00",
        "0.301",
    ]
    assert rows[1] == expected

    measured = comparison.diversity(found["mambavision_tiny"])
    ends = ["stage 3, block 1 (mamba)", "stage 4, block 1 (mamba)"]
    assert list(measured) == [(end, name) for end in ends for name in comparison.DIVERSE]
    assert measured[ends[1], "clusters"]["random"] == {0: 8.0, 1: 8.0, 2: 8.0}
    assert measured[ends[0], "similarity"]["random"][2] == pytest.approx(0.122)
    assert {end for end, _ in comparison.diversity(found["s6-small"])} == {"layer 2"}
    d = Difference(-0.5, -0.6, -0.4, 0.01, 0.1, 3, 0.5)
    row = Diversity("s6-small", "layer 2", "similarity", 0.25, d, 0.01, 1)
    assert cells(tables.diversity_table([row]))[1] == [
        "S6 classifier, CIFAR-10, layer 2",
        "mean cosine",
        "0.25",
        "-0.5 [-0.6, -0.4]",
        "0.010",
        "more diverse",
    ]
    assert tables.MEASURES.keys() == comparison.DIVERSE.keys()


def test_runs_measured_at_different_depths_are_refused(found):
    with pytest.raises(ValueError, match="runs: measured at 2 lists of depths"):
        comparison.diversity([found["s6-small"][0], found["mambavision_tiny"][0]])


def test_short_runs_are_shown_as_rows(found):
    text = tables.short_runs({("baseline", 2): found["s6-small"][0]}).data
    assert cells(text)[1] == ["own order", "2", "81.8", "61.8", "0.20", "2.0"]


def test_overheads_are_ratios_within_a_round():
    def took(*seconds):
        return {"seconds_a_step": list(seconds)}

    steps = {"imagenet_baseline": took(0.1, 0.2, 0.4), "imagenet": took(0.101, 0.204, 0.4)}
    steps |= {f"cifar10_mambavision_{arm}": took(0.1, 0.1, 0.1) for arm in SHIFT}
    rows = cells(tables.overhead_table(steps))
    assert rows[1][1:] == ["100.0", "+0.0%", "+0.0%", "+0.0%", "+0.0%"]
    assert rows[2][:3] == ["MambaVision-T, 224 pixels", "200.0", "+1.0%"]
    # What was not measured stays empty.
    del steps["cifar10_mambavision_fixed"]
    assert "| +0.0% | +0.0% | +0.0% |  |" in tables.overhead_table(steps)


def test_scaling_is_in_units_of_one_gpu_at_the_same_batch():
    scaling = [
        {"gpus": gpus, "batch": batch, "images_a_second": rate}
        for gpus, batch, rate in ((1, 512, 900.0), (2, 512, 1500.0), (1, 1024, 1000.0))
    ]
    rows = cells(tables.scaling_table(scaling))
    assert rows[1:] == [
        ["1", "512", "900", "1.00"],
        ["2", "512", "1,500", "1.67"],
        ["1", "1024", "1,000", "1.00"],
    ]


def test_published_numbers_and_power():
    rows = {row[0]: row[1:] for row in cells(tables.published_table())}
    assert rows["Table 1, random order"] == ["82.09", "95.92"]
    # 0.19 / (0.1 sqrt 2) and 0.06 / (0.1 sqrt 2)
    assert rows["$z$ if it is of one run each, $s=0.1$"] == ["1.3", "0.4"]
    d = Difference(0.1, 0.0, 0.2, 0.05, 0.15, 5, 0.0)
    once, ours = cells(tables.power_table({"ours": d}, (0.1,), 0.19))[1:]
    least, chance = comparison.detectable_once(0.1), comparison.power_once(0.19, 0.1)
    assert once[2:4] == [f"{least:.2f}", f"{chance:.2f}"]
    assert ours[0] == "ours, 5 pairs"
    assert ours[2:] == [
        f"{comparison.detectable(0.15, 5):.2f}",
        f"{comparison.power(0.19, 0.15, 5):.2f}",
        f"{comparison.seeds_needed(0.19, 0.15)}",
    ]


def test_followers_have_a_row_for_each_arm(found):
    each = contrasts.followers(found["s6-small"])
    rows = cells(tables.followers_table({"s6-small": each}))
    assert [row[1] for row in rows[1:3]] == ["own order", "random order"]
    assert rows[1][2:5] == [""] * 3
    random = each["random"]
    assert rows[2][3:5] == [tables.interval(random.clusters), tables.interval(random.top1)]
    assert rows[2][5] == f"{random.first:.3f}"
    assert rows[2][0] == reordering.MODELS["s6-small"]


def test_a_permutation_is_set_beside_two_copies():
    race = {"index (ms)": 0.4, "index_select (ms)": 0.5, "gather (ms)": 0.3, "floor (ms)": 0.1}
    row = {"B": 2, "tokens": 9, "D": 4, "ours (ms)": 0.125, "ours / floor": 1.25, **race}
    head, cell = cells(tables.permuting_table([row]))
    assert len(head) == len(cell) == 7
    assert cell == ["2x9x4", "0.125", "0.400", "0.500", "0.300", "0.100", "1.25"]


def test_what_imagenet_takes_is_worked_out():
    rows = [
        {"gpus": gpus, "batch": batch, "images_a_second": rate}
        for gpus, batch, rate in ((1, 512, 1000.0), (2, 512, 1600.0), (2, 1024, 1900.0))
    ]
    cost = {"scaling": rows, "loading": {"folder": 400.0, "training": 350.0}, "cores": 4}
    config = recipe.read(experiment.configs() / "imagenet.json")
    text = tables.imagenet(cost, config)
    assert "384 million images (300 epochs)" in text and "80% of that" in text
    assert tables.hours_table({1: 1000.0, 2: 1600.0}, 300 * 1_281_167) in text
    assert "8 GPUs have 64 each and 64 have 8" in text
    assert "The 6,400 a second that 8 GPUs can do take 64 such cores." in text


def test_curves_are_held_against_a_repetition():
    curves = {"1 GPU": [1.0, 2.0], "2 GPUs": [1.001, 1.999], "1 GPU again": [1.0, 2.004]}
    text = tables.curves_apart(curves | {"1 GPU, another seed": [1.5, 2.5]})
    assert "on two are 0.0010 apart on average; of two runs on one GPU, 0.0020;" in text
    assert text.endswith("another seed, 0.500.")


def test_hours_are_for_the_images_at_the_rates():
    rows = cells(tables.hours_table({1: 1000.0, 2: 1800.0}, 3_600_000 * 8))
    assert rows[1:] == [["1", "8.0"], ["8", "1.1"], ["64", "0.1"]]
