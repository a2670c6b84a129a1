"""What the book shows of language models in training, on a document made by hand."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb

from tokensphere.paper.experiments import language_model_outcomes as outcomes
from tokensphere.paper.figures import drawing
from tokensphere.paper.figures import sink_training as figures


def cell(length, *shares):
    """Shares of layers over uniform attention's, each with 0.15 to both sides."""
    values = outcomes.uniform(length) * np.array(shares)
    half = 0.15 * outcomes.uniform(length)
    ends = {"mean": values, "low": values - half, "high": values + half}
    return {name: value.tolist() for name, value in ends.items()}


def history(*last):
    """Two moments, two lengths; `last` at the end on 64 tokens after BOS."""
    ways = {
        str(length): {way: cell(length, 0.5, 0.6, 0.7) for way in ("bos", "none")}
        for length in (16, 64)
    }
    end = {"16": ways["16"], "64": {"bos": cell(64, *last), "none": cell(64, 1.1, 0.5, 1.3)}}
    losses = [
        {"step": step, "bos": {"loss": loss + 0.5}, "none": {"loss": loss, "error": 0.1}}
        for step, loss in ((0, 9.0), (2000, 4.0))
    ]
    return {
        "config": {"layers": 3, "width": 8, "seed": 1, "steps": 2000, "batch": 5, "context": 100},
        "parameters": 2_300_000,
        "device": "a device",
        "seconds": 125.0,
        "tokens": {"text": 400_000},
        "train": [{"step": 50, "loss": 8.0}, {"step": 2000, "loss": 3.5}],
        "heldout": losses,
        "measured": {"0": ways, "2000": end},
    }


LAST = [0.5, 1.1, 1.3], [1.4, 1.5, 0.2]
"""Of the small models and the large one, at the end, 64 tokens after BOS."""


@pytest.fixture
def data():
    small, large = (history(*shares) for shares in LAST)
    models = {"first": small, "second": small, "larger": large}
    return {"lengths": [16, 64], "prompts": 256, "models": models}


def test_outcomes_are_counted_by_model_moment_length_and_beginning(data):
    head, _, *rows, blank, caption = figures.outcomes(data, "a caption").data.splitlines()
    assert head == "| model | step | 16, BOS | 16 | 64, BOS | 64 |"
    none = "0 / 3 / 0 (0.70)"
    assert rows[0] == f"| first | 0 | {none} | {none} | {none} | {none} |"
    assert rows[1] == (f"| first | 2,000 | {none} | {none} | 1 / 1 / 1 (1.30) | 1 / 1 / 1 (1.30) |")
    assert "2 / 1 / 0 (1.50)" in rows[5]
    assert len(rows) == 6
    assert (blank, caption) == ("", "a caption")


def test_training_says_how_far_and_what_was_found(data):
    text = figures.training(data, "a caption").data
    assert (
        "- *first*: 3 layers of width 8, 2.3 million parameters, seed 1, 1 million tokens (2.5 "
        "passes over the text), 2 minutes of one a device. Held out: 4.00 ± 0.20 nats a token, a "
        "perplexity of 55; 4.50 after a beginning-of-text token." in text
    )
    assert text.endswith(
        "At the end, on 64 tokens after a beginning-of-text token: does another seed have a sink "
        "too? yes. Does it come with size? yes. With training? yes. a caption"
    )


def luminance(colour):
    """Of a colour on a screen, 0 to 1, as WCAG has it."""
    part = np.array(to_rgb(colour))
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_shares_are_drawn_over_layers_by_moment(data):
    figure = figures.sinks_in_training(data, "larger", 64)
    left, bos, none = figure.axes
    assert left.lines[1].get_ydata().tolist() == [9.0, 4.0]
    uniform = outcomes.uniform(64)
    for ax, last in ((bos, [1.4, 1.5, 0.2]), (none, [1.1, 0.5, 1.3])):
        start, end, null = (np.asarray(line.get_ydata()) for line in ax.lines)
        np.testing.assert_allclose(start, uniform * np.array([0.5, 0.6, 0.7]))
        np.testing.assert_allclose(end, uniform * np.array(last))
        np.testing.assert_allclose(null, uniform)
        # No line leaves the axes.
        assert ax.get_ylim()[1] > end.max()
        # Each moment is as far from white as from black, and the last one is the thick line.
        for line in ax.lines[:2]:
            assert line.get_alpha() is None and 0.1 < luminance(line.get_color()) < 0.5
        assert ax.lines[0].get_linewidth() < ax.lines[1].get_linewidth()
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["training", "held out", "step 0", "step 2,000", "uniform attention"]
    assert figure.get_figwidth() == drawing.WIDTH and figure.patch.get_alpha() == 0
    plt.close(figure)


def test_shares_at_the_end_are_over_uniform_attention(data):
    figure = figures.sinks_at_the_end(data)
    short, long = figure.axes[:3], figure.axes[3:]
    titles = [f"{model}, {length} tokens" for length in (16, 64) for model in data["models"]]
    assert [ax.get_title() for ax in figure.axes] == titles
    small, large = LAST
    # At 16 tokens after BOS as before the first step, at 64 what the models end with.
    for row, shares in ((short, 3 * [[0.5, 0.6, 0.7]]), (long, [small, small, large])):
        for ax, wanted in zip(row, shares, strict=True):
            points = {
                round(x): (y, to_hex(line.get_color()))
                for line in ax.lines
                if line.get_marker() == "o"
                for x, y in line.get_xydata()
            }
            np.testing.assert_allclose([points[layer][0] for layer in range(3)], wanted)
            # 0.15 to both sides: a layer has a sink above 1.15.
            colours = [drawing.COLOURS[int(share > 1.15)] for share in wanted]
            assert [points[layer][1] for layer in range(3)] == colours
            assert set(ax.lines[0].get_ydata()) == {1}
            ends = [
                sorted(segment[:, 1])
                for bars in ax.collections
                for segment in bars.get_segments()
                if len(segment)
            ]
            expected = [[share - 0.15, share + 0.15] for share in wanted]
            np.testing.assert_allclose(sorted(ends), sorted(expected))
    ax = long[0]
    (margin,) = [patch for patch in ax.patches if patch.get_label() == "less than a fifth above"]
    assert margin.get_extents().transformed(ax.transData.inverted()).intervaly == (
        pytest.approx((1, 1.2))
    )
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [
        "less than a fifth above",
        "uniform attention",
        "other layers",
        "layers with a sink",
    ]
    plt.close(figure)


def test_the_end_in_numbers(data):
    data["models"]["larger"]["heldout"][-1]["bos"]["loss"] = 4.25
    head, _, *rows = figures.at_the_end(data).data.splitlines()
    assert head.count("sinks, ") == 2
    assert rows[0] == "| first | 3 | 2.3 | 3.50 | 4.50 | 0 of 3 | 0.70 | 1 of 3 | 1.30 |"
    assert rows[2] == "| larger | 3 | 2.3 | 3.50 | 4.25 | 0 of 3 | 0.70 | 2 of 3 | 1.50 |"
    (_, _, row, *_, caption) = figures.at_the_end(data, "none", "a caption").data.splitlines()
    assert "| 4.00 | 0 of 3 | 0.70 | 1 of 3 | 1.30 |" in row
    assert caption == "a caption"
