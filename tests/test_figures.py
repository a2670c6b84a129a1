"""What figures compute before they draw, and that a chapter fails on an unconfirmed verdict."""

import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from tokensphere.circle import portrait
from tokensphere.first_token import equilibria
from tokensphere.flow import Trajectory, random_tokens
from tokensphere.paper import figures, ledger, survey
from tokensphere.paper.figures import circle_portraits, drawing
from tokensphere.paper.figures.ledger import confirmed
from tokensphere.paper.ledger import Claim, Evidence, below


def problem(seed):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(3, 3, generator=g, dtype=torch.float64) for _ in range(2)]


@pytest.mark.parametrize("seed", range(3))
def test_a_portrait_marks_every_equilibrium_by_stability(seed):
    S_BC, S_Delta = problem(seed)
    html = figures.portrait(S_BC, S_Delta, "name").data
    assert html == figures.portrait(S_BC, S_Delta, "name").data
    assert 'id="name"' in html
    assert "http" not in html.replace("http://www.w3.org", "")
    figure, array = figures.axes(1, subplot_kw={"projection": "3d"})
    figures.static_portrait(array[0, 0], S_BC, S_Delta)
    words = [text.get_text() for text in array[0, 0].get_legend().get_texts()]
    plt.close(figure)
    found = equilibria(S_BC, S_Delta)
    for word in figures.STABILITIES:
        count = sum(point.stability == word for point in found)
        assert html.count(f'"{word}, support') == count
        assert (word in words) == (count > 0)
    assert ("zeros of the form" in words) == bool(figures.zeros_of_the_form(S_BC))


def test_a_portrait_shows_what_is_not_isolated():
    identity = torch.eye(3, dtype=torch.float64)
    circle = torch.tensor([[1.0, 1, 0], [0, 0, 1], [0, 1, 0]], dtype=torch.float64)
    assert '"family"' in figures.portrait(identity, circle, "name").data
    colour = figures.STABILITIES["degenerate"][0]
    assert f'"colorscale":[[0,"{colour}"]' in figures.portrait(identity, 0 * identity, "name").data
    still = figures.portrait(0 * identity, identity, "name").data  # S_BC = 0: all 14 degenerate
    assert still.count('"degenerate, support') == 14


def test_a_portrait_is_of_dimension_three():
    with pytest.raises(ValueError, match="S_Delta"):
        figures.portrait(torch.eye(2).double(), torch.eye(2).double(), "name")


def test_a_sphere_is_the_same_twice_and_brings_no_script_of_its_own():
    tokens = random_tokens(5, 2, 3, generator=torch.Generator().manual_seed(0))
    run = Trajectory(torch.arange(5).double(), tokens)
    html = figures.sphere(run, "name").data
    assert html == figures.sphere(run, "name").data
    assert 'id="name"' in html
    assert "http" not in html.replace("http://www.w3.org", "")


def test_tokens_in_time_has_a_frame_for_each_step_of_its_slider():
    tokens = random_tokens(9, 4, 3, generator=torch.Generator().manual_seed(0))
    run = Trajectory(torch.linspace(0, 2, 9).double(), tokens)
    html = figures.in_time(run, "name", frames=5).data
    assert html == figures.in_time(run, "name", frames=5).data
    assert 'id="name"' in html
    assert "http" not in html.replace("http://www.w3.org", "")
    assert re.findall(r'"label":"([^"]+)"', html) == ["0", "0.5", "1", "1.5", "2"]
    frames, _ = json.JSONDecoder().raw_decode(html, html.index("[", html.index("addFrames")))
    assert [frame["name"] for frame in frames] == ["0", "1", "2", "3", "4"]
    for frame, moment in zip(frames, range(0, 9, 2), strict=True):
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
    html = figures.circles([("a", turned), ("b", turned[::-1])], ["0", "1"], "name").data
    assert html == figures.circles([("a", turned), ("b", turned[::-1])], ["0", "1"], "name").data
    assert 'id="name"' in html
    assert "http" not in html.replace("http://www.w3.org", "")
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
    drawing.log_ticks(right, [1, 2, 4])
    assert [text.get_text() for text in right.get_xticklabels()] == ["1", "2", "4"]
    plt.close(figure)
