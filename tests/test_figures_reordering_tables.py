"""Tables of the chapter on reordered training, from runs made up for them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from reordered_runs import OTHER, SHIFT, made

from tokensphere.paper.figures import reordering
from tokensphere.paper.figures import reordering_tables as tables
from tokensphere.reorder import comparison, contrasts, experiment, recipe
from tokensphere.reorder.comparison import Difference
from tokensphere.reorder.contrasts import Accuracy, Control, Diversity
from tokensphere.reorder.significance import Unpaired


@pytest.fixture
def found():
    return made()


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


def test_diversity_by_measure_and_stage():
    d = Difference(-0.5, -0.625, -0.375, 0.01, 0.1, 3, 0.5)
    end = "stage 4, block 4 (attention)"
    rows = [
        Diversity("mambavision_tiny", end, "similarity", 0.25, d, 0.01, 1),
        Diversity("s6-small", "layer 8", "clusters", 0.25, d, 0.2, 0),
    ]
    head, cosine, clusters = cells(tables.diversity_summary(rows))
    assert head[1:] == ["MambaVision-T, CIFAR-10, stage 4", "S6 classifier, CIFAR-10, layer 8"]
    assert cosine[:2] == ["mean cosine", "more diverse: -0.5 [-0.62, -0.38]"]
    assert clusters == ["clusters at 30°", "", "not shown: -0.5 [-0.62, -0.38]"]
    assert cells(tables.diversity_table(rows))[1][0] == "MambaVision-T, CIFAR-10, stage 4"


def test_tokens_of_every_arm_at_the_end_of_each_stage(found):
    rows = cells(tables.tokens_table(found))
    assert len(rows) == 1 + 5 * 3
    place = "MambaVision-T, CIFAR-10, stage 3"
    assert rows[2][:3] == [place, "random order", "0.121 (0.12 to 0.122)"]
    assert rows[2][3:] == [
        "32 (32 to 32)",
        "1.21 (1.2 to 1.22)",
        "20 (20 to 20)",
        "0.121 (0.12 to 0.122)",
    ]
    assert rows[7][0] == "MambaVision-T, CIFAR-10, stage 4"
    assert rows[7][2] == "0.321 (0.32 to 0.322)"
    # No token is the first by importance: the last cell is empty.
    assert rows[14][1] == "by importance" and len(rows[14]) == len(rows[0]) - 1


def test_what_is_folded_stands_between_blank_lines():
    text = tables.folded("More", tables.markdown(["a"], [["b"]]))
    opened, title, *table, closed = [line for line in text.split("\n") if line]
    assert opened == '<details class="folded-proof">'  # as it is styled
    assert (title, closed) == ("<summary>More</summary>", "</details>")
    assert cells("\n".join(table)) == [["a"], ["b"]]
    # Else Markdown takes the table for HTML.
    assert "</summary>\n\n|" in text and "|\n\n</details>\n\n" in text


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
