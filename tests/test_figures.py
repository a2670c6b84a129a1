"""What figures compute before they draw, and that a chapter fails on an unconfirmed verdict."""

import base64
import io
import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from tokensphere.circle import portrait
from tokensphere.first_token import equilibria
from tokensphere.flow import Trajectory, random_tokens
from tokensphere.paper import figures, ledger, survey
from tokensphere.paper.figures import circle_portraits, drawing
from tokensphere.paper.figures.ledger import confirmed
from tokensphere.paper.figures.spheres import along_the_sphere
from tokensphere.paper.ledger import Claim, Evidence, below


def problem(seed):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(3, 3, generator=g, dtype=torch.float64) for _ in range(2)]


@pytest.mark.parametrize("seed", range(3))
def test_a_portrait_marks_every_equilibrium_by_stability(seed):
    S_BC, S_Delta = problem(seed)
    plot = the_same_twice(lambda: figures.portrait(S_BC, S_Delta, "name"))
    figure, array = figures.axes(1, subplot_kw={"projection": "3d"})
    figures.static_portrait(array[0, 0], S_BC, S_Delta)
    words = [text.get_text() for text in array[0, 0].get_legend().get_texts()]
    plt.close(figure)
    found = equilibria(S_BC, S_Delta)
    for word in figures.STABILITIES:
        count = sum(point.stability == word for point in found)
        assert plot.count(f'"{word}, support') == count
        assert (word in words) == (count > 0)
    assert ("zeros of the form" in words) == bool(figures.zeros_of_the_form(S_BC))


def test_a_portrait_shows_what_is_not_isolated():
    identity = torch.eye(3, dtype=torch.float64)
    circle = torch.tensor([[1.0, 1, 0], [0, 0, 1], [0, 1, 0]], dtype=torch.float64)
    assert '"family"' in as_json(figures.portrait(identity, circle, "name"))
    colour = figures.STABILITIES["degenerate"][0]
    all_of_it = as_json(figures.portrait(identity, 0 * identity, "name"))
    assert f'"colorscale":[[0,"{colour}"]' in all_of_it
    still = as_json(figures.portrait(0 * identity, identity, "name"))  # S_BC = 0: 14 degenerate
    assert still.count('"degenerate, support') == 14


def test_a_portrait_is_of_dimension_three():
    with pytest.raises(ValueError, match="S_BC"):
        figures.portrait(torch.eye(2).double(), torch.eye(2).double(), "name")


def as_json(figure):
    """The plot of a figure to turn, as a notebook and the page get it."""
    bundle = figure._repr_mimebundle_()
    return json.dumps(bundle["application/vnd.plotly.v1+json"], separators=(",", ":"))


def the_same_twice(draw):
    """The plot as JSON: of itself alone, and with a picture, the same bytes in two builds."""
    first, second = draw()._repr_mimebundle_(), draw()._repr_mimebundle_()
    assert first == second
    assert base64.b64decode(first["image/png"]).startswith(b"\x89PNG")
    text = json.dumps(first["application/vnd.plotly.v1+json"], separators=(",", ":"))
    assert "http" not in text
    assert '"meta":{"id":"name"}' in text
    assert not plt.get_fignums()  # or a notebook would show the picture once more
    return text


def test_a_sphere_has_a_picture_and_is_the_same_twice():
    tokens = random_tokens(5, 2, 3, generator=torch.Generator().manual_seed(0))
    run = Trajectory(torch.arange(5).double(), tokens)
    the_same_twice(lambda: figures.sphere(run, "name"))


def test_a_picture_that_stands_for_a_plot_has_a_clear_ground():
    tokens = random_tokens(5, 2, 3, generator=torch.Generator().manual_seed(0))
    run = Trajectory(torch.arange(5).double(), tokens)
    bundle = figures.sphere(run, "name")._repr_mimebundle_()
    picture = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).convert("RGBA")
    assert picture.getpixel((0, 0))[3] == 0


def test_trajectories_stay_on_the_sphere_between_their_times():
    corners = np.eye(3)
    path = along_the_sphere(corners, step=0.1)
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), 1)
    assert all(np.isclose(path, corner).all(1).any() for corner in corners)
    steps = np.arccos((path[1:] * path[:-1]).sum(1))
    assert steps.max() <= 0.1 and len(path) == 33  # two quarters, sixteen steps each
    # From a point to its antipode many ways lead; none is made up.
    there = along_the_sphere(np.array([corners[0], -corners[0]]))
    assert len(there) == 2
    # What is close already stays as it is.
    np.testing.assert_array_equal(along_the_sphere(path, step=0.2), path)


def test_tokens_in_time_has_a_frame_for_each_step_of_its_slider():
    tokens = random_tokens(9, 4, 3, generator=torch.Generator().manual_seed(0))
    run = Trajectory(torch.linspace(0, 2, 9).double(), tokens)
    plot = json.loads(the_same_twice(lambda: figures.in_time(run, "name", frames=5)))
    (slider,) = plot["layout"]["sliders"]
    assert [step["label"] for step in slider["steps"]] == ["0", "0.5", "1", "1.5", "2"]
    assert [frame["name"] for frame in plot["frames"]] == ["0", "1", "2", "3", "4"]
    for frame, moment in zip(plot["frames"], range(0, 9, 2), strict=True):
        (discs,) = frame["data"]
        shown = [discs[axis] for axis in "xyz"]
        np.testing.assert_allclose(np.array(shown).T, tokens[moment], atol=5.1e-4)


def test_tokens_in_time_refuses_what_it_cannot_draw():
    tokens = random_tokens(3, 2, 4, generator=torch.Generator().manual_seed(0))
    times = torch.arange(3).double()
    with pytest.raises(ValueError, match="^trajectory: tokens have shape"):
        figures.in_time(Trajectory(times, tokens), "name")
    run = Trajectory(times, tokens[..., :3] / tokens[..., :3].norm(dim=-1, keepdim=True))
    with pytest.raises(ValueError, match="^frames"):
        figures.in_time(run, "name", frames=1)
    with pytest.raises(ValueError, match="^colours"):
        figures.in_time(run, "name", colours=["#000000"])


def test_circles_are_the_same_twice_and_hold_every_zero():
    turned = [portrait(((1, 0), (0, -2)), ((0, x), (0, 1))) for x in (0, 1)]
    panels = [("a", turned), ("b", turned[::-1])]
    the_same_twice(lambda: figures.circles(panels, ["0", "1"], "name"))
    assert [len(p.zeros) for p in turned] == [8, 10]
    shown = [json.loads(trace.to_json()) for trace in circle_portraits._circle_traces(turned[0])]
    assert len(shown[-1]["x"]) == 8
    # d = (0, 1): the axis e_1 is also the line of equal steps, and semi-stable.
    assert (shown[-1]["marker"]["symbol"][0], shown[-1]["marker"]["color"][0]) == (
        "star",
        "#aaaaaa",
    )
    assert sum("-open" in symbol for symbol in shown[-1]["marker"]["symbol"]) == 3
    arcs = [x for trace in shown[:4] for x in trace["x"] if x is not None]
    assert min(arcs) == -1 and max(arcs) == 1


def test_an_arrow_points_the_way_of_travel():
    p = portrait(((1, 0), (0, 1)), ((0, 1), (0, 1)))  # up, from angle 0 to the axis e_2
    arrow = json.loads(circle_portraits._circle_traces(p)[4].to_json())["marker"]
    assert p.signs[0] == 1 and arrow["angle"][0] == -45.0  # up and to the left


def known(verdict, correction="", **values):
    """A claim whose checks find these numbers, which must be below 1."""
    checks = {
        role: lambda generator, value=value: Evidence([below("off *by* x_1", value, 1.0)], {"n": 2})
        for role, value in values.items()
    }
    return Claim("x", "ours", "", "nowhere", "text", verdict, "claims", checks, correction)


@pytest.fixture
def no_memory():
    """Claims of one name differ between tests."""
    confirmed.cache_clear()
    yield
    confirmed.cache_clear()


def test_an_unconfirmed_verdict_fails_the_chapter(monkeypatch, no_memory):
    wrong = known("refuted", "c", stated=0.5)
    monkeypatch.setattr(ledger, "ledger", lambda: {"x": wrong})
    with pytest.raises(AssertionError, match="x"):
        figures.verdicts("x")


def test_a_verdict_shows_what_decided(monkeypatch, no_memory):
    claim = known("holds", stated=0.25, control=1e-3 + 1)
    monkeypatch.setattr(ledger, "ledger", lambda: {"x": claim})
    shown = figures.verdicts("x").data
    assert "**nowhere: holds.** text" in shown
    assert "{entry}`x`" in shown
    # Nothing of a label is read as Markdown, and a control that does its work is no failure.
    assert "| off &#42;by&#42; x&#95;1 | 0.25 | below 1 | ✓ |" in shown
    assert "| off &#42;by&#42; x&#95;1 | 1 | below 1 | ✗ |" in shown
    assert "rejected, as it must be" in shown and "fails" not in shown
    confirmed.cache_clear()
    monkeypatch.setattr(ledger, "ledger", lambda: {"x": known("refuted", "c", stated=2.0)})
    assert "*What is true instead:* c" in figures.verdicts("x").data


def test_a_table_has_rows_as_long_as_its_head():
    shown = figures.table(["a", "b"], [[1, 2.5]], "Below.").data
    assert shown == "| a | b |\n| --- | --- |\n| 1 | 2.5 |\n\nBelow."
    with pytest.raises(ValueError, match="rows"):
        figures.table(["a", "b"], [[1]])


def test_a_table_by_columns_leaves_empty_what_one_has_not():
    shown = figures.tables.columns({"one": {"a": 1, "b": 2}, "two": {"b": 3, "c": 4}}, "x").data
    assert shown.splitlines()[2:] == ["| a | 1 |  |", "| b | 2 | 3 |", "| c |  | 4 |"]
    assert shown.startswith("| x | one | two |")


def test_a_share_comes_with_its_interval():
    assert figures.tables.percent(1, 4) == "25% (5% to 70%)"
    assert figures.tables.percent(1, 4, 1) == "25.0% (4.6% to 69.9%)"


def test_counted_shares_have_wilson_s_intervals_and_rates_their_diagonal():
    figure, (left, right) = plt.subplots(1, 2)
    drawing.shares(left, [1, 2], [1, 3], 4, "k")
    points, _, (bars,) = left.containers[0]
    np.testing.assert_allclose(points.get_xydata(), [[1, 0.25], [2, 0.75]])
    ends = [segment[:, 1] for segment in bars.get_segments()]
    np.testing.assert_allclose(ends, [survey.interval(1, 4), survey.interval(3, 4)])
    drawing.rates(right, {"one": ([1, 4], [1.1, 4.1]), "two": ([2], [2])})
    np.testing.assert_allclose(right.lines[-1].get_xydata(), [[1, 1], [4, 4]])
    assert right.get_ylabel() == "fitted rate"
    drawing.log_ticks(right, [1, 2, 4])
    assert [text.get_text() for text in right.get_xticklabels()] == ["1", "2", "4"]
    plt.close(figure)


def test_figures_are_of_one_width_with_the_type_of_one_module():
    figure, array = figures.axes(3, 2, height=2.5)
    assert figure.get_size_inches() == pytest.approx([drawing.WIDTH, 5.0])
    assert figure.patch.get_alpha() == 0 and array[0, 0].patch.get_alpha() == 0
    ax = array[1, 2]
    ax.set(title="a", xlabel="b", xscale="log")
    sizes = [ax.title.get_size(), ax.xaxis.label.get_size(), ax.get_xticklabels()[0].get_size()]
    assert sizes == [drawing.TITLE, drawing.LABEL, drawing.SMALL]
    plt.close(figure)


def test_a_legend_stands_below_the_data_and_the_figure_grows_for_it():
    figure, ((left, right),) = figures.axes(2)
    before = figure.get_figheight()
    for ax, count in ((left, 4), (right, 3)):
        for index in range(count):
            ax.plot([0, 1], [index, index], label=str(index))
        drawing.legend(ax, 2)
    # Two lines for the first, the same two for the second.
    assert figure.get_figheight() - before == pytest.approx(2 * 1.35 * drawing.SMALL / 72)
    figure.draw_without_rendering()
    for ax in (left, right):
        assert ax.get_legend().get_window_extent().y1 < ax.get_window_extent().y0
    plt.close(figure)


def test_all_figures_of_a_page_are_cropped_to_the_same_width():
    widths = []
    for columns, projection in ((1, None), (2, "3d")):
        figure, _ = figures.axes(columns, subplot_kw={"projection": projection})
        stored = io.BytesIO()
        figure.savefig(stored, bbox_inches="tight")
        widths.append(Image.open(stored).width)
        plt.close(figure)
    assert widths[0] == widths[1]
