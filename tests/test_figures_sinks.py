"""Figures of sinks: what they draw, and that they look as the book's others do."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from tokensphere.paper.experiments import sinks as experiment
from tokensphere.paper.figures import ablations, drawing, sink_causes, sink_scores, sink_tables
from tokensphere.sinks.report import figures as report

pytestmark = pytest.mark.usefixtures("closed")


def estimate(value, half=0.25):
    return {"mean": value, "low": value - half, "high": value + half}


def along(*values):
    """Estimates of several as the record has them: lists of means, lows and highs."""
    rows = [estimate(value) for value in values]
    return {key: [row[key] for row in rows] for key in rows[0]}


def part(measured, limit, *factors, reverse=False):
    """A layer of `theory`."""
    names = dict(zip(sink_causes.FACTORS, factors, strict=True))
    return {
        "reverse": reverse,
        "measured": estimate(measured),
        "limit": estimate(limit),
        "attribution": {name: estimate(value) for name, value in names.items()},
    }


THEORY = {
    "alignment": {"first": along(0.1, 0.2, 0.3), "others": along(0.4, 0.5, 0.6)},
    "response": {"first": along(0.0, 0.1, 0.2), "later": along(0.3, 0.2, 0.1)},
    "layers": [
        part(9.5, 0.1, 0.1, 0.2, 0.3, 0.4, reverse=True),  # backward layers are drawn last
        part(0.6, 0.2, 0.5, 0.6, 0.7, 0.8),
        part(0.7, 0.3, -0.5, -0.6, -0.7, -0.8),
        part(0.8, 0.4, 0.0, 0.0, 0.0, 0.0, reverse=True),
    ],
}
RUN = {"theory": THEORY, "scores": {"uniform": {"mean": [0.21, 0.16]}}}
CAUSES = dict.fromkeys(experiment.RUNS, RUN)


def effect(value):
    return {"excess": {"kl": estimate(value, 0.5), "loss": estimate(-value, 0.5)}}


def ablated(*sinks, measures=("kl", "loss")):
    return {
        "measures": list(measures),
        "uniform": 0.2,
        "scores": [estimate(value, 0.1) for value in (0.25, 0.3, 0.1)],
        "layers": [effect(value) for value in (1.0, -2.0, 0.0)],
        "sinks": {"layers": list(sinks), "alone": None, "random": None} if sinks else None,
    }


EFFECTS = {
    "typeseg": {"64": ablated(1, measures=["kl"])},
    "with BOS": {"64": ablated()},
    "without BOS": {"64": ablated(0, 2)},
}


def drawn(scores):
    """Each figure of sinks of which panels are drawn."""
    return {
        "by layer": sink_scores.by_layer(scores, "score"),
        "rates by layer": sink_scores.by_layer(scores, "rate"),
        "by position": sink_scores.by_position(scores, "score"),
        "maps": sink_scores.maps(scores, "softmax"),
        "alignment": sink_causes.alignment_by_depth(CAUSES),
        "factors": sink_causes.sink_factors(CAUSES),
        "nulls": sink_tables.nulls(8, 0.3),
        "effects": ablations.effects(EFFECTS, 64),
    }


def test_all_look_as_the_book_s_do(scores):
    for name, figure in drawn(scores).items():
        assert figure.get_figwidth() == drawing.WIDTH, name
        assert figure.dpi == drawing.DPI, name
        assert figure.patch.get_alpha() == 0, name
        for ax in figure.axes:
            if ax.get_label() != "<colorbar>":
                assert ax.patch.get_alpha() == 0, name
            if ax.get_title():
                assert ax.title.get_fontsize() == drawing.TITLE, name
            for axis in (ax.xaxis, ax.yaxis):
                if axis.get_label_text():
                    assert axis.label.get_fontsize() == drawing.LABEL, name
                for tick in axis.get_ticklabels():
                    assert tick.get_fontsize() == drawing.SMALL, name
        own = [ax.get_legend() for ax in figure.axes if ax.get_legend()]
        for legend in figure.legends + own:
            for text in legend.get_texts():
                assert text.get_fontsize() == drawing.SMALL, name


def test_legends_are_over_no_panel(scores):
    for name, figure in drawn(scores).items():
        figure.canvas.draw()
        boxes = [ax.get_window_extent() for ax in figure.axes]
        own = [ax.get_legend() for ax in figure.axes if ax.get_legend()]
        assert name == "maps" or figure.legends + own
        for legend in figure.legends + own:
            assert not any(legend.get_window_extent().overlaps(box) for box in boxes), name


def test_no_text_is_over_another(scores):
    for name, figure in drawn(scores).items():
        figure.canvas.draw()
        titles = [ax.title.get_window_extent() for ax in figure.axes if ax.get_title()]
        labels = [
            axis.label.get_window_extent()
            for ax in figure.axes
            for axis in (ax.xaxis, ax.yaxis)
            if axis.get_label_text()
        ]
        texts = titles + labels
        for place, one in enumerate(texts):
            assert not any(one.overlaps(other) for other in texts[place + 1 :]), name


def test_scores_are_the_report_s(scores):
    for ours, theirs in (
        (sink_scores.by_layer, report.sinks_by_layer),
        (sink_scores.by_position, report.sinks_by_position),
    ):
        mine, other = ours(scores, "score"), theirs(scores, "score")
        for ax, old in zip(mine.axes, other.axes, strict=True):
            drawn, wanted = (
                {line.get_label(): line.get_xydata() for line in each.lines} for each in (ax, old)
            )
            if "raw" in ax.get_title():  # uniform attention is no null of raw scores
                del wanted["uniform attention"]
            assert drawn.keys() == wanted.keys()
            for label, points in drawn.items():
                np.testing.assert_array_equal(points, wanted[label])
            assert ax.get_title() == old.get_title(loc="left")
            assert not ax.get_title(loc="left")
        said, before = (
            [text.get_text() for text in figure.legends[0].get_texts()] for figure in (mine, other)
        )
        assert said == before
        assert len(mine.legends) == 1
    labels = {ax.get_xlabel() for ax in sink_scores.by_layer(scores, "score").axes}
    assert labels == {"", "layer, from 0"}


def test_nulls_are_told_apart_by_colour(scores):
    figure = sink_scores.by_layer(scores, "score")
    drawn = {line.get_label(): to_hex(line.get_color()) for line in figure.axes[-1].lines}
    assert len(set(drawn.values())) == len(drawn) == 4
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    shown = [to_hex(handle.get_color()) for handle in legend.legend_handles]
    assert shown == list(drawn.values()) and texts[1:] == list(drawn)[1:]


def test_the_axis_of_raw_scores_is_theirs(scores):
    for ax in sink_scores.by_layer(scores, "score").axes[:2]:
        low, high = ax.get_ylim()
        assert low <= 0 < high < 0.1  # uniform attention has 0.3 and more
    # Rates have one axis in all panels, from 0 to 1.
    assert {ax.get_ylim() for ax in sink_scores.by_layer(scores, "rate").axes} == {(-0.04, 1.04)}


def test_the_least_even_map():
    even = {"softmax": [[1.0], [0.5, 0.5]]}
    odd = {"softmax": [[1.0], [0.25, 0.75]]}
    for maps in ([even, odd], [odd, even]):
        found, most = sink_scores.least_even({"maps": maps}, "softmax")
        assert found is odd and most == 0.25


def test_maps_are_of_the_layers_named(scores):
    figure = sink_scores.maps(scores, "softmax")
    for ax, found in zip(figure.axes, scores["maps"], strict=False):
        side = ", backward" if found["reverse"] else ""
        assert ax.get_title() == f"layer {found['index']}{side}"
        rows = np.asarray(ax.images[0].get_array())
        np.testing.assert_allclose(rows[-1], found["softmax"][-1])


def test_alignment_is_drawn_by_depth():
    figure = sink_causes.alignment_by_depth(CAUSES)
    upper, lower = figure.axes[:3], figure.axes[3:]
    for ax in upper:
        first, others = (line.get_ydata().tolist() for line in ax.lines)
        assert (first, others) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
        ends = [band.get_datalim(ax.transData).intervaly for band in ax.collections]
        np.testing.assert_allclose(ends, [[-0.15, 0.55], [0.15, 0.85]])
    for ax in lower:
        first, later = (line.get_ydata().tolist() for line in ax.lines)
        assert (first, later) == ([0.0, 0.1, 0.2], [0.3, 0.2, 0.1])
    assert [ax.get_title() for ax in upper] == [*map(sink_tables.called, experiment.RUNS)]
    above, below = figure.legends
    said = [[text.get_text() for text in legend.get_texts()] for legend in (above, below)]
    assert said[0] == ["with the first token", "with each other"]
    assert said[1] == ["the first token is changed", "a later token is changed"]


def test_factors_are_drawn_forward_layers_first():
    figure = sink_causes.sink_factors(CAUSES)
    upper, lower = figure.axes[0], figure.axes[3]
    lines = {line.get_label(): line.get_ydata() for line in upper.lines}
    assert list(lines["measured"]) == [0.6, 0.7, 9.5, 0.8]
    assert list(lines["all tokens at the first"]) == [0.2, 0.3, 0.1, 0.4]
    assert set(lines["uniform attention"]) == {0.21}
    assert upper.get_ylim()[0] == 0
    lines = {line.get_label(): line.get_ydata() for line in lower.lines}
    for place, label in enumerate(sink_causes.FACTORS.values()):
        wanted = [(0.5, 0.6, 0.7, 0.8)[place], -(0.5, 0.6, 0.7, 0.8)[place]]
        assert list(lines[label]) == [*wanted, (0.1, 0.2, 0.3, 0.4)[place], 0.0]
    assert [text.get_text() for text in lower.get_xticklabels()] == ["0", "1", "0", "1"]


def test_effects_are_drawn_by_whether_a_layer_has_a_sink():
    figure = ablations.effects(EFFECTS, 64)
    blue, orange = drawing.COLOURS[:2]
    points = [
        {
            tuple(point): to_hex(line.get_color())
            for line in ax.lines
            if line.get_marker() == "o"
            for point in line.get_xydata().tolist()
        }
        for ax in figure.axes
    ]
    assert points[0] == {(0.25, 1): blue, (0.3, -2): orange, (0.1, 0): blue}
    assert set(points[1].values()) == {blue}
    assert [points[2][key] for key in ((0.25, 1), (0.3, -2))] == [orange, blue]
    assert [ax.get_title() for ax in figure.axes] == [*map(sink_tables.called, EFFECTS)]
    # A model without labels has no loss.
    loss = ablations.effects(EFFECTS, 64, "loss")
    assert [ax.get_title() for ax in loss.axes] == ["model 2, after BOS", "model 2, without BOS"]
    (line,) = [line for line in loss.axes[0].lines if len(line.get_xdata()) == 3]
    assert line.get_ydata().tolist() == [-1.0, 2.0, 0.0]


def test_effects_say_where_their_axis_is_linear():
    ax = ablations.effects(EFFECTS, 64).axes[0]
    (ground,) = [patch for patch in ax.patches if patch.get_label() == "linear axis"]
    bounds = ground.get_extents().transformed(ax.transData.inverted()).intervaly
    np.testing.assert_allclose(bounds, [-1, 1])  # the median size, 1, is a power of ten
    assert ax.get_yscale() == "symlog" and ax.yaxis.get_transform().linthresh == 1
    said = dict(zip(ax.get_yticks(), (t.get_text() for t in ax.get_yticklabels()), strict=True))
    sizes = ("0.5", "1", "2")
    wanted = {float(size): size for size in sizes} | {0: "0"}
    assert said == wanted | {-float(size): f"\u2212{size}" for size in sizes}
    low, high = ax.get_ylim()
    assert low < -2.5 and high > 1.5  # the intervals' ends
