"""Every page of the built book, in three modes."""

import sys

import pytest
import visits

sys.path.insert(0, str(visits.ROOT / "book" / "_ext"))
import notebooks

CHAPTERS = [page for page in visits.PAGES if "/" in page and not page.startswith("api/")]


@pytest.mark.parametrize("mode", visits.MODES)
@pytest.mark.parametrize("name", visits.PAGES)
def test_page(read, subtests, name, mode):
    visit = read(name, mode)
    problems, seen = visit.look()
    problems["axe"] = visit.barriers()
    for check, found in problems.items():
        with subtests.test(check):
            left = visits.unknown(found, check, name)
            if left:
                pytest.fail(f"{check}: {len(left)} problems\n" + "\n".join(left), pytrace=False)
    if name in CHAPTERS:
        del seen["figures"]  # one chapter has none
        assert all(seen.values()), f"a chapter without what is checked: {seen}"


def test_all_chapters_are_built(site):
    assert set(CHAPTERS) == set(notebooks.chapters()) - {notebooks.QUICKSTART}


def test_the_book_has_figures(site):
    assert any("<figure" in (visits.SITE / f"{name}.html").read_text("utf-8") for name in CHAPTERS)
