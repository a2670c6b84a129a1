"""Figures to turn, and with a slider: pictures until a reader starts them."""

import pytest
import visits

STARTED = 'class="turnable"'
MOVING = [
    name for name in visits.PAGES if STARTED in (visits.SITE / f"{name}.html").read_text("utf-8")
]
BLANK = 8
"""A drawn figure has more colours than this."""


@pytest.fixture
def start():
    """Starts a figure of a page: a function to the figure's plot, when it is drawn."""

    def by_button(page, button):
        button.scroll_into_view_if_needed()
        button.click()
        figure = button.locator("xpath=ancestor::figure[1]")
        plot = figure.locator(".turnable-plot")
        plot.locator("svg.main-svg").first.wait_for(state="attached")
        return figure, plot

    return by_button


@pytest.fixture
def first(read, start):
    """The first figure of the book that holds a thing, by the thing's selector."""

    def find(selector: str):
        for name in MOVING:
            visit = read(name)
            for button in visit.page.locator(".turnable-button").all():
                figure, plot = start(visit.page, button)
                if figure.locator(selector).count():
                    return visit, figure, plot
                button.click()
        pytest.fail(f"no figure of the book has {selector}")

    return find


@pytest.mark.parametrize("name", MOVING)
def test_every_figure_starts_and_stops(read, start, name):
    visit = read(name)
    buttons = visit.page.locator(".turnable-button").all()
    assert buttons
    for button in buttons:
        figure, plot = start(visit.page, button)
        still = figure.locator("img")
        assert not still.is_visible()
        assert visits.colours(plot.screenshot()) > BLANK
        button.click()
        assert still.is_visible() and not plot.is_visible()
    assert not visit.said and not visit.requests


def test_a_sphere_turns_by_the_pointer_and_by_keys(first):
    visit, _, plot = first("canvas")
    before = plot.screenshot()
    box = plot.bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    mouse = visit.page.mouse
    mouse.move(*middle)
    mouse.down()
    mouse.move(middle[0] + 80, middle[1] + 20, steps=4)
    mouse.up()
    turned = plot.screenshot()
    assert turned != before
    plot.focus()
    visit.page.keyboard.press("ArrowRight")
    visit.page.wait_for_timeout(500)
    assert plot.screenshot() != turned
    assert not visit.said


def test_a_slider_moves_its_figure(first):
    visit, figure, plot = first("input[type=range]")
    slider = figure.locator("input[type=range]")
    shown = figure.locator("output")
    before, words = plot.screenshot(), shown.text_content()
    slider.focus()
    for _ in range(3):
        visit.page.keyboard.press("ArrowRight")
    visit.page.wait_for_timeout(500)
    assert slider.input_value() == "3" and shown.text_content() != words
    assert plot.screenshot() != before
    assert not visit.said
