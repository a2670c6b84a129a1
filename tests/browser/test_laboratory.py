"""The laboratory: what readers do with its benches, in three modes, by pointer, keys and touch.

Numbers are compared with the library's in tests/test_laboratory*.py, by the modules that the page
loads. Work per frame is measured and told (`-rP` shows it), and never asserted: machines differ.
"""

import contextlib
import io
import re
from itertools import pairwise

import pytest
import visits

expect = pytest.importorskip("playwright.sync_api").expect
PAGE = "laboratory"
BENCHES = ("sphere", "circle", "line")
FIRST_CANVAS = {"sphere": ".lab-sphere", "circle": ".lab-circle", "line": ".lab-tall"}


@pytest.fixture
def open_page(browser, site):
    """Opens the page: a function from a fragment and a mode to the visit."""
    contexts = []

    def opened(fragment: str = "", mode: str = "light", **options):
        settings = {"reduced_motion": "reduce", **visits.MODES[mode], **options}
        made = browser.new_context(**settings)
        made.set_default_timeout(visits.SLOW)
        contexts.append(made)
        return visits.Visit(made, f"{site}{PAGE}.html{fragment}")

    yield opened
    for one in contexts:
        one.close()


def bench(page, name: str):
    found = page.locator(f'[data-bench="{name}"]')
    found.scroll_into_view_if_needed()
    return found


def field(place, label: str):
    return place.get_by_label(label, exact=True)


def said(place) -> str:
    return place.locator(".lab-said").text_content()


def painted(place, name: str) -> bytes:
    return place.locator(FIRST_CANVAS[name]).screenshot()


@pytest.mark.parametrize("mode", visits.MODES)
@pytest.mark.parametrize("name", BENCHES)
def test_a_bench_plays(open_page, record_property, name, mode):
    visit = open_page(f"#bench={name}&preset={MANY[name]}", mode)
    place = bench(visit.page, name)
    expect(place.locator(".lab-said")).not_to_be_empty()
    before, frames = painted(place, name), int(place.get_attribute("data-frames"))
    place.get_by_role("button", name="Play").click()
    expect(place.locator(".lab-time")).not_to_have_text(re.compile("t = 0$"))
    visit.page.wait_for_timeout(700)
    place.get_by_role("button", name="Pause").click()
    assert visits.colours(painted(place, name)) > 8
    assert painted(place, name) != before
    assert int(place.get_attribute("data-frames")) > frames + 2
    for measure in ("work", "worst"):
        milliseconds = float(place.get_attribute(f"data-{measure}"))
        record_property(f"{name}, {mode}: {measure} per frame, ms", milliseconds)
        print(f"{name}, {mode}: {measure} per frame {milliseconds} ms")
        assert milliseconds > 0
    assert not visit.said and not visit.requests


MANY = {"sphere": "fourteen-equilibria", "circle": "portrait", "line": "blow-up"}
"""Presets with a crowd to draw: 16 tokens on the sphere."""


def test_time_is_scrubbed(open_page):
    visit = open_page("#bench=sphere&preset=apart")
    place = bench(visit.page, "sphere")
    before = said(place)
    field(place, "Time").fill("1")
    expect(place.locator(".lab-time")).to_have_text("t = 60")
    expect(place.locator(".lab-said")).to_contain_text("At t = 60 the first token is at")
    assert said(place) != before


def test_a_token_is_dragged(open_page):
    visit = open_page("#bench=sphere&preset=limit-cycle")
    page, place = visit.page, bench(visit.page, "sphere")
    box = place.locator(".lab-sphere").bounding_box()
    before, code = painted(place, "sphere"), place.locator(".lab-python code").text_content()
    # The token faces the reader, a little above the middle: the preset's view is fixed.
    at = page.evaluate(
        """() => {
          const canvas = document.querySelector(".lab-sphere");
          for (let y = 0; y < canvas.clientHeight; y += 6) {
            for (let x = 0; x < canvas.clientWidth; x += 6) {
              const box = canvas.getBoundingClientRect();
              const [clientX, clientY] = [box.left + x, box.top + y];
              canvas.dispatchEvent(new PointerEvent("pointermove", {clientX, clientY}));
              if (canvas.style.cursor === "pointer") return [clientX, clientY];
            }
          }
        }"""
    )
    page.mouse.move(*at)
    page.mouse.down()
    page.mouse.move(at[0] - 40, at[1] + 50, steps=4)
    page.mouse.up()
    expect(place.locator(".lab-python code")).not_to_have_text(code)
    expect(field(place, "Preset")).to_have_value("")
    assert "x=" in wait_for_address(page, "x=")
    assert painted(place, "sphere") != before
    # Beside every token the sphere turns, and nothing else changes.
    code = place.locator(".lab-python code").text_content()
    turned = field(place, "Turn").input_value()
    page.mouse.move(box["x"] + 30, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + box["height"] / 2, steps=3)
    page.mouse.up()
    assert field(place, "Turn").input_value() != turned
    assert place.locator(".lab-python code").text_content() == code
    assert not visit.said


def wait_for_address(page, part: str) -> str:
    page.wait_for_function("part => location.hash.includes(part)", arg=part)
    return page.url


@pytest.mark.parametrize("name", ["sphere", "circle"])
def test_touch_moves_a_token(open_page, name):
    visit = open_page(f"#bench={name}&preset={MANY[name]}", "narrow", has_touch=True)
    page, place = visit.page, bench(visit.page, name)
    canvas = place.locator(FIRST_CANVAS[name])
    canvas.scroll_into_view_if_needed()
    before, height = painted(place, name), page.evaluate("scrollY")
    box = canvas.bounding_box()
    x, y = box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"]
    session = page.context.new_cdp_session(page)

    def touch(kind, *points):
        places = [{"x": px, "y": py} for px, py in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", (x, y))
    for step in range(1, 6):
        touch("touchMove", (x + 12 * step, y - 10 * step))
    touch("touchEnd")
    page.wait_for_timeout(300)
    assert painted(place, name) != before
    assert page.evaluate("scrollY") == height  # the page stays where it is
    assert not visit.said


def test_a_slider_and_a_field_change_an_entry(open_page):
    visit = open_page("#bench=sphere&preset=together")
    place = bench(visit.page, "sphere")
    entry = field(place, "S_Delta, row 2, column 1")
    entry.fill("0.75")
    expect(place.locator(".lab-python code")).to_contain_text("[0.75, 1, 0]")
    named = place.get_by_role("slider", name="Slider of S_Delta, row 2, column 1")
    before = painted(place, "sphere")
    named.focus()
    for _ in range(8):
        visit.page.keyboard.press("ArrowRight")
    expect(entry).not_to_have_value("0.75")
    assert painted(place, "sphere") != before
    assert wait_for_address(visit.page, "S_Delta=")
    # What is no number is marked, and the last state stays.
    code = place.locator(".lab-python code").text_content()
    entry.fill("")
    expect(entry).to_have_attribute("aria-invalid", "true")
    assert place.locator(".lab-python code").text_content() == code
    a = field(place, "a, entry 2")
    a.fill("-1")
    expect(place.locator(".lab-wrong")).to_have_text("a: got -1, takes a positive number")
    assert not visit.said


def test_keys_alone_are_enough(open_page):
    visit = open_page()
    page, place = visit.page, bench(visit.page, "line")
    keys = page.keyboard
    chooser = field(place, "Preset")
    chooser.focus()
    keys.type("Negative")
    expect(chooser).to_have_value("to-zero")
    expect(place.locator(".lab-said")).to_contain_text("tend to zero")
    # From the list of presets, past its links, to Play.
    for _ in range(8):
        keys.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Play":
            break
    keys.press("Enter")
    expect(place.get_by_role("button", name="Pause")).to_be_focused()
    keys.press("Enter")
    keys.press("Tab")
    keys.press("End")
    expect(place.locator(".lab-time")).to_have_text("ln t = 12")
    token = field(place, "x of token 2")
    token.focus()
    keys.press("ArrowUp")
    expect(token).to_have_value("-0.9")
    assert not visit.said


def test_a_run_that_blows_up_says_so(open_page):
    visit = open_page("#bench=line&preset=drives-and-shields")
    place = bench(visit.page, "line")
    expect(place.locator(".lab-said")).to_contain_text("Reached, by another integration in t")
    text = said(place)
    predicted = float(re.search(r"predicted at t = ([\d.]+)", text)[1])
    reached = float(re.search(r"in t: ([\d.]+),", text)[1])
    assert predicted == pytest.approx(reached, rel=1e-8)
    assert predicted == pytest.approx(0.247481697, rel=1e-8)  # as the library says
    expect(place.locator('[aria-current="true"]')).to_contain_text("blow-up")


def test_counts_fill_up(open_page):
    visit = open_page("#bench=circle&preset=three-quarters")
    place = bench(visit.page, "circle")
    place.get_by_role("button", name="Run the counts").click()
    visit.page.wait_for_function(
        "() => Number(document.querySelector('[data-bench=circle]').dataset.counted) > 20000"
    )
    place.get_by_role("button", name="Stop the counts").click()
    text = place.locator(".lab-bars").text_content()
    share = float(re.search(r"coordinate vector: \d+, ([\d.]+)%; proved 75.0%", text)[1])
    # Six standard errors of a share of 20,000 draws.
    assert abs(share - 75) < 100 * 6 * (0.75 * 0.25 / 20_000) ** 0.5
    assert "zero of the form: 0, 0.0%" in text
    assert not visit.said


@pytest.mark.parametrize("name", BENCHES)
def test_python_and_the_address_are_copied(open_page, site, name):
    visit = open_page(permissions=["clipboard-read", "clipboard-write"])
    page, place = visit.page, bench(visit.page, name)
    place.get_by_role("button", name="Copy as Python").click()
    expect(place.locator(".lab-copied")).to_have_text("Python copied.")
    text = page.evaluate("navigator.clipboard.readText()")
    assert text == place.locator(".lab-python code").text_content()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(text, "copied", "exec"), {})
    assert printed.getvalue()
    place.get_by_role("button", name="Copy the address").click()
    expect(place.locator(".lab-copied")).to_have_text("The address copied.")
    address = page.evaluate("navigator.clipboard.readText()")
    assert address.startswith(f"{site}{PAGE}.html#bench={name}&preset=")


@pytest.mark.parametrize("name", BENCHES)
def test_an_address_restores_its_state(open_page, name):
    visit = open_page()
    place = bench(visit.page, name)
    entry = place.locator('input[type="number"]').first
    entry.fill("0.625")
    address = wait_for_address(visit.page, "0.625")
    code = place.locator(".lab-python code").text_content()
    other = open_page(address[address.index("#") :])
    again = bench(other.page, name)
    assert again.locator(".lab-python code").text_content() == code
    expect(again).to_be_in_viewport()
    # A change of the fragment alone, as by a link, is followed too.
    other.page.evaluate(f"location.hash = 'bench={name}&preset={MANY[name]}'")
    expect(field(again, "Preset")).to_have_value(MANY[name])
    assert not other.said


@pytest.mark.parametrize("name", BENCHES)
def test_an_address_runs_where_motion_is_welcome(open_page, name):
    fragment = f"#bench={name}&preset={MANY[name]}"
    still = bench(open_page(fragment).page, name)
    expect(still.get_by_role("button", name="Play")).to_be_visible()
    visit = open_page(fragment, reduced_motion="no-preference")
    place = bench(visit.page, name)
    expect(place.get_by_role("button", name="Pause")).to_be_visible()
    first = place.locator(".lab-time").text_content()
    expect(place.locator(".lab-time")).not_to_have_text(first)
    other = next(each for each in BENCHES if each != name)
    expect(bench(visit.page, other).get_by_role("button", name="Play")).to_be_visible()
    assert not visit.said


def test_an_address_that_does_not_fit_says_so(open_page):
    visit = open_page("#bench=line&mu=one&s=1&a=1&x0=1&until=5")
    alert = visit.page.locator("#laboratory-wrong")
    expect(alert).to_contain_text("does not fit: mu: got one, takes a number.")
    expect(bench(visit.page, "line").locator(".lab-said")).to_contain_text("Blow-up")
    visit.page.evaluate("location.hash = 'bench=line&preset=to-zero'")
    expect(alert).to_be_empty()
    place = open_page("#the-line").page  # a heading is no address of a state
    expect(place.locator("#laboratory-wrong")).to_be_empty()
    assert place.url.endswith("#the-line")


def test_results_are_said_at_most_once_a_second(open_page):
    visit = open_page("#bench=sphere&preset=apart")
    place = bench(visit.page, "sphere")
    visit.page.evaluate(
        """() => {
          window.times = [];
          const region = document.querySelector('[data-bench=sphere] .lab-said');
          const watch = new MutationObserver(() => times.push(performance.now()));
          watch.observe(region, {childList: true});
        }"""
    )
    place.get_by_role("button", name="Play").click()
    visit.page.wait_for_timeout(3500)
    times = visit.page.evaluate("times")
    assert 2 <= len(times) <= 5
    assert min(b - a for a, b in pairwise(times)) >= 900  # the observer may be late


def test_no_server_is_needed(browser):
    if not (visits.SITE / f"{PAGE}.html").exists():
        pytest.skip(f"no built book in {visits.SITE}: make book")
    page = browser.new_page()
    page.goto((visits.SITE / f"{PAGE}.html").as_uri())
    expect(bench(page, "sphere").locator(".lab-said")).to_contain_text("The form is")
    page.close()


def test_without_scripts_the_page_says_so(browser, site):
    page = browser.new_page(java_script_enabled=False)
    page.goto(f"{site}{PAGE}.html")
    for name in BENCHES:
        text = page.locator(f'[data-bench="{name}"]')
        expect(text).to_contain_text("This bench needs JavaScript")
    page.close()


def test_chapters_lead_to_presets(site):
    from tokensphere.paper import laboratory

    names = {(one["bench"], one["name"]) for one in laboratory.presets()}
    links = set()
    for page in visits.PAGES:
        text = (visits.SITE / f"{page}.html").read_text("utf-8")
        links |= set(re.findall(rf'{PAGE}\.html#bench=(\w+)&amp;preset=([\w-]+)"', text))
    assert links and links <= names


def test_places_of_presets_are_in_the_book(site):
    from tokensphere.paper import laboratory

    for place in sorted({place for one in laboratory.presets() for place in one["places"]}):
        page, label = place.split("#")
        assert f'id="{label}"' in (visits.SITE / f"{page}.html").read_text("utf-8"), place
