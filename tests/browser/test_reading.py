"""What readers do: choose dark mode, filter the ledger, go from a theorem to its check."""

import re

import pytest
import visits

expect = pytest.importorskip("playwright.sync_api").expect
LEDGER = "claims"


@pytest.fixture
def fresh(browser, site):
    """A reader who comes for the first time: a function from a page's name to the page."""
    with visits.context(browser, "light") as context:
        yield lambda name: visits.Visit(context, f"{site}{name}.html")


def brightness(page, what: str) -> float:
    """Of an element's colour or ground, from 0 to 255."""
    colour = page.evaluate(f"getComputedStyle(document.body).{what}")
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3


def test_dark_mode_is_chosen_and_kept(fresh):
    visit = fresh("intro")
    page = visit.page
    assert brightness(page, "backgroundColor") > 200 > 100 > brightness(page, "color")
    button = page.locator(".theme-switch-button:visible")
    for _ in range(3):  # the button goes through light, dark and the system's choice
        if page.locator("html").get_attribute("data-theme") != "dark":
            button.click()
    for opened in (page, fresh(LEDGER).page):
        expect(opened.locator("html")).to_have_attribute("data-theme", "dark")
        assert brightness(opened, "backgroundColor") < 100 < 150 < brightness(opened, "color")
    assert not visit.said


def test_the_ledger_is_filtered(fresh):
    visit = fresh(LEDGER)
    page = visit.page
    form, entries = page.locator("#ledger-filter"), page.locator("article.claim-entry")
    shown = page.locator("article.claim-entry:not([hidden])")
    everything = entries.count()
    assert everything == shown.count() > 100

    form.get_by_role("checkbox", name="refuted").check()
    verdicts = shown.evaluate_all("all => all.map(entry => entry.dataset.verdict)")
    assert set(verdicts) == {"refuted"}
    expect(form.get_by_role("status")).to_contain_text(f"{len(verdicts)} of {everything}")
    assert "verdict=refuted" in page.url

    form.get_by_role("button", name="Show all").click()
    expect(shown).to_have_count(everything)
    form.get_by_role("searchbox").fill("Theorem 3.3")
    found = shown.evaluate_all("all => all.map(entry => entry.textContent)")
    assert 0 < len(found) < everything and all("Theorem 3.3" in text for text in found)
    page.reload()
    expect(shown).to_have_count(len(found))
    assert not visit.said and not visit.requests


def test_a_theorem_leads_to_its_entry_and_its_check(fresh):
    visit = fresh("first-token/circle")
    page = visit.page
    page.locator(".proof .claim-mark a.claim-verdict").first.click()
    page.wait_for_url(f"**/{LEDGER}.html#claim-*")
    entry = page.locator(".claim-entry:target")
    expect(entry).to_be_in_viewport()
    link = entry.get_by_role("link", name="as stated").first.get_attribute("href")
    # On another host: that it leads to a check is what test_links.py asserts.
    assert re.fullmatch(r"https://.*/src/tokensphere/paper/checks/.*\.py#L\d+", link)
    back = entry.locator('a[href*="first-token/circle.html#"]').first
    back.click()
    page.wait_for_url("**/first-token/circle.html#*")
    assert not visit.said and not visit.requests


def test_the_ledger_lays_out_what_is_in_sight(browser, site):
    with visits.context(browser, "light") as context:  # as it is: a Visit lays out all of it
        page = context.new_page()
        page.goto(f"{site}{LEDGER}.html")
        last = page.locator("article.claim-entry").last
        laid_out = "it => it.firstElementChild.checkVisibility({contentVisibilityAuto: true})"
        assert not last.evaluate(laid_out)
        page.goto(f"{site}{LEDGER}.html#{last.get_attribute('id')}")
        expect(last).to_be_in_viewport()
        assert last.evaluate(laid_out)


def test_a_jump_in_a_page_is_instant(browser, site):
    page = browser.new_page(reduced_motion="no-preference")
    page.goto(f"{site}{LEDGER}.html")
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    page.close()


def test_a_picture_that_scrolls_says_so(read):
    said = "it => getComputedStyle(it.querySelector('figcaption'), '::before').content"
    for mode, hint in (("narrow", True), ("light", False)):
        page = read("experiments/attention_sink", mode).page
        found = page.locator(".bd-article figure").evaluate_all(f"all => all.map({said})")
        assert found and {"scrolls sideways" in content for content in found} == {hint}


def test_the_button_to_the_top_stands_on_the_bar(read):
    page = read("experiments/attention_sink", "narrow").page
    page.evaluate("document.getElementById('pst-back-to-top').style.display = 'block'")
    button = page.locator("#pst-back-to-top").bounding_box()
    bar = page.locator(".bd-header-article").first.bounding_box()
    assert bar["y"] <= button["y"] and button["y"] + button["height"] <= bar["y"] + bar["height"]
    others = page.locator(".bd-header-article :is(button, label, a):visible").all()
    for other in filter(None, (one.bounding_box() for one in others)):
        apart = other["x"] + other["width"], button["x"] + button["width"]
        assert apart[0] <= button["x"] or apart[1] <= other["x"]
