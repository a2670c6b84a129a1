"""Figures of reports draw their documents' numbers and the model's own names."""

import numpy as np
import pytest

from tokensphere.sinks.report import figures

pytestmark = pytest.mark.usefixtures("closed")


def lines(ax):
    return {line.get_label(): np.array(line.get_ydata(), dtype=float) for line in ax.get_lines()}


def equal(drawn, values):
    np.testing.assert_array_equal(drawn, np.array(values, dtype=float))


def ticks(ax):
    return dict(zip(ax.get_xticks(), [t.get_text() for t in ax.get_xticklabels()], strict=True))


def test_by_layer(scores):
    drawn = lines(figures.sinks_by_layer(scores, "rate").axes[4])  # forward, absolute
    layers = [layer for layer in scores["layers"] if not layer["reverse"]]
    equal(
        drawn["the prompts"],
        [layer["rates"]["absolute"]["after_threshold"]["mean"][0] for layer in layers],
    )
    nulls = [layer["nulls"]["shuffled"]["absolute"]["after_threshold"] for layer in layers]
    equal(drawn["tokens shuffled"], [null["mean"] for null in nulls])
    equal(drawn["uniform attention"], [scores["uniform"]["rate"][0]] * 2)
    with pytest.raises(ValueError, match="^quantity: got 'rates'"):
        figures.sinks_by_layer(scores, "rates")


def test_layers_have_the_models_names(scores):
    figure = figures.sinks_by_layer(scores, "score")
    assert figure.axes[-1].get_xlabel() == "layer * of blocks.*.mixer"
    assert ticks(figure.axes[-1]) == {0: "0", 1: "1"}
    # Where only some of a hybrid's layers are Mamba's, their numbers in the model count.
    renamed = {0: "model.layers.3.mamba", 1: "model.layers.7.mamba"}
    layers = [{**layer, "name": renamed[layer["index"]]} for layer in scores["layers"]]
    figure = figures.sinks_by_layer({**scores, "layers": layers}, "score")
    assert figure.axes[-1].get_xlabel() == "layer * of model.layers.*.mamba"
    assert ticks(figure.axes[-1]) == {0: "3", 1: "7"}


@pytest.mark.parametrize(
    ("names", "want"),
    [
        ({3: "layers.3.mixer"}, ("layers.3.mixer", {3: "3"})),
        ({0: "a.0.m", 1: "a.1.m"}, ("a.*.m", {0: "0", 1: "1"})),
        ({0: "a.3.m", 1: "a.5.decoder.m"}, ("a.*.m", {0: "3", 1: "5.decoder"})),
        ({0: "a.fwd", 1: "a.bwd"}, ("a.*", {0: "fwd", 1: "bwd"})),
        ({0: "x", 1: "y"}, ("*", {0: "x", 1: "y"})),
        ({0: "a.b.b", 1: "a.b"}, ("a.b.*", {0: "b", 1: ""})),
    ],
)
def test_what_names_share(names, want):
    assert figures.short_names(names) == want


def test_by_position_ends_where_few_tokens_read(scores):
    figure = figures.sinks_by_position(scores, "score")
    backward = scores["directions"][1]["importance"]
    equal(lines(figure.axes[1])["the prompts"], backward["raw"]["prompts"]["mean"])
    drawn = lines(figure.axes[5])
    equal(drawn["first token replaced"], backward["absolute"]["replaced"]["mean"])
    equal(drawn["uniform attention"], scores["uniform"]["mean"])
    assert np.isnan(drawn["the prompts"]).tolist() == [False] * 10 + [True] * 2
    assert figure.axes[5].get_xlim()[1] < 11


@pytest.mark.parametrize("variant", ["absolute", "softmax"])
def test_maps(scores, variant):
    figure = figures.attention_maps(scores, variant)
    shown = figure.axes[1].get_images()[0].get_array()
    rows = scores["maps"][1][variant]
    assert shown[4, :5].tolist() == rows[4]
    assert shown.mask[4, 5:].all()
    assert [ax.get_title() for ax in figure.axes[1:4]] == [
        "blocks.1.mixer",
        "blocks.0.mixer, backward",
        "blocks.1.mixer, backward",
    ]
    assert variant.removesuffix("ute") in figure.axes[-1].get_ylabel()
    with pytest.raises(ValueError, match="^variant: got 'raw'"):
        figures.attention_maps(scores, "raw")


@pytest.mark.parametrize("variant", ["absolute", "softmax"])
def test_maps_share_a_scale_that_one_entry_in_a_hundred_exceeds(scores, variant):
    """A first column that a colour stands for must not be brighter than the scale's end tells."""
    ramp = [[(1 + 31 * i + j) / 496 for j in range(i + 1)] for i in range(31)]
    maps = [{**scores["maps"][0], variant: ramp}, scores["maps"][1] | {variant: [[0.5]]}]
    figure = figures.attention_maps({**scores, "maps": maps}, variant)
    entries = [*(entry for row in ramp for entry in row), 0.5]
    (image,), (other,) = (ax.get_images() for ax in figure.axes[:2])
    assert image.get_clim() == other.get_clim() == (0, pytest.approx(np.quantile(entries, 0.99)))
    assert sum(entry > image.get_clim()[1] for entry in entries) == 5  # of 497
    assert image.norm(0.25 * image.get_clim()[1]) == pytest.approx(0.5)  # linear in the root
    assert image.cmap.name == other.cmap.name == "viridis"


def test_several_models_lie_on_one_scale_of_depth(scores):
    some = [layer for layer in scores["layers"] if layer["index"] == 1]
    other = {**scores, "layers": some, "model": {**scores["model"], "mixers": 5}}
    (ax,) = figures.first_token_by_depth({"one": scores, "two": other}).axes
    drawn = {line.get_label(): line for line in ax.get_lines()}
    assert list(drawn["one"].get_xdata()) == [0, 1]
    assert list(drawn["two, backward"].get_xdata()) == [0.25]
    equal(
        drawn["one, backward"].get_ydata(),
        [layer["scores"]["absolute"]["mean"][0] for layer in scores["layers"] if layer["reverse"]],
    )
    assert drawn["one"].get_color() == drawn["one, backward"].get_color()
    assert drawn["one"].get_color() != drawn["two"].get_color()


def test_models_are_in_the_legend_whatever_they_are_called(scores):
    figure = figures.first_token_by_depth({"_one": scores, "a_$x$": scores})
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["_one", "_one, backward", "a_$x$", "a_$x$, backward", "uniform attention"]
    assert not any(text.get_parse_math() for text in legend.get_texts())
    figure.draw_without_rendering()
    styles = [(line.get_color(), line.get_linestyle()) for line in legend.get_lines()]
    drawn = [(line.get_color(), line.get_linestyle()) for line in figure.axes[0].get_lines()]
    assert styles == drawn
