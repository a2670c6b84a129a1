"""Every page of the built book, in three modes."""

import pytest
import visits

CHAPTERS = [page for page in visits.PAGES if "/" in page]


@pytest.mark.parametrize("mode", visits.MODES)
@pytest.mark.parametrize("name", visits.PAGES)
def test_page(read, subtests, name, mode):
    visit = read(name, mode)
    problems, seen = visit.look()
    problems["axe"] = visit.barriers(mode)
    for check, found in problems.items():
        with subtests.test(check):
            left = visits.unknown(found, check, name)
            if left:
                pytest.fail(f"{check}: {len(left)} problems\n" + "\n".join(left), pytrace=False)
    if name in CHAPTERS:
        assert all(seen.values()), f"a chapter without what is checked: {seen}"


def test_all_chapters_are_built():
    assert CHAPTERS
