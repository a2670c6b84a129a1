"""The checks see what they are for: small pages, each with one thing wrong, and one without."""

import pytest
import visits

FRAME = """<!doctype html><html lang="en"><head><title>A page</title><meta charset="utf-8">
<link rel="icon" href="data:,"><style>body {{ margin: 0 }} .s {{ overflow-x: auto }}</style></head>
<body><main><h1>A page</h1>{}</main></body></html>"""
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAP///////yH5BAAAAAAALAAAAAABAAEAAAICRAEAOw=="
DRAWN = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='9' height='9'%3E"
    "%3Cpath d='M0 0h5v9z'/%3E%3C/svg%3E"
)
WIDE = '<table style="width: 3000px"><tr><td>x</td></tr></table>'
WRONG = {
    "an error in a script": ("console", "<script>throw new Error('no')</script>"),
    "a script that complains": ("console", "<script>console.error('no')</script>"),
    "a script that is not there": ("requests", '<script src="no.js"></script>'),
    "a picture of another host": ("requests", '<img alt="x" src="http://192.0.2.1/a.png">'),
    "a formula as LaTeX": ("formulas", '<span class="math">\\(x_1\\)</span>'),
    "a formula in a title": ("formulas", "<p>The equilibria $\\pm x_1$</p>"),
    "a formula with an error": ("formulas", "<p><mjx-container><mjx-merror>x</mjx-merror></p>"),
    "a role as its source": ("formulas", "<p>See {eq}`flow`.</p>"),
    "a picture that is not there": ("figures", '<img alt="x" src="no.png">'),
    "a picture of one colour": ("figures", f'<img alt="x" width="9" height="9" src="{PIXEL}">'),
    "a plot that is not drawn": ("figures", '<div class="plotly-graph-div">no</div>'),
    "a figure with a caption alone": ("figures", "<figure><figcaption>x</figcaption></figure>"),
    "a table wider than the page": ("widths", WIDE),
    "a table that is cut": ("widths", f'<div style="overflow: hidden">{WIDE}</div>'),
    "a display that is cut in height": (
        "widths",
        '<div class="math" style="overflow: auto hidden; height: 9px">'
        '<mjx-container><mjx-math style="display: block; height: 40px">x</mjx-math></div>',
    ),
    "a display that begins before the page": (
        "widths",
        f'<div class="s" style="display: grid; justify-content: center; width: 99px">{WIDE}</div>',
    ),
    "an id twice": ("ids", '<p id="a">x</p><p id="a">y</p>'),
    "text hardly seen": ("axe", '<p style="color: #ddd; background: white">Hardly seen</p>'),
    "a link like the text around it": (
        "axe",
        '<p>Some words and <a href="#a" style="color: #333; text-decoration: none">a link</a>.</p>',
    ),
    "a button without a name": ("axe", "<button></button>"),
    "a region that no key scrolls": (
        "axe",
        f'<div class="s"><p style="width: 3000px">{"Many words. " * 40}</p></div>',
    ),
}
FORMULA = '<span class="math"><mjx-container><mjx-math>x</mjx-math></mjx-container></span>'
RIGHT = f"""<p id="a">Text, {FORMULA} and <code>\\(x\\)</code>.</p>
<div class="s" tabindex="0">{WIDE}</div><img alt="x" src="{DRAWN}">"""


@pytest.fixture
def problems(serve, visit, tmp_path):
    def find(html: str, mode: str) -> dict[str, list[str]]:
        (tmp_path / "page.html").write_text(FRAME.format(html), encoding="utf-8")
        visited = visit(serve(tmp_path) + "page.html", mode)
        found, _ = visited.look()
        return found | {"axe": visited.barriers()}

    return find


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_found(problems, wrong):
    check, html = WRONG[wrong]
    found = problems(html, "light")
    assert found[check], found


@pytest.mark.parametrize("mode", visits.MODES)
def test_what_is_right_is_left_alone(problems, mode):
    assert not any(problems(RIGHT, mode).values())


def test_known_problems_are_left_out(monkeypatch):
    entries = [{"check": "ids", "problem": "^proof", "pages": "a/.*", "reason": "theirs"}]
    monkeypatch.setattr(visits, "known", lambda: entries)
    assert visits.unknown(["proof: 2", "other"], "ids", "a/b") == ["other"]
    assert visits.unknown(["proof: 2"], "ids", "b") == ["proof: 2"]
    assert visits.unknown(["proof: 2"], "widths", "a/b") == ["proof: 2"]


def test_every_known_problem_has_a_check_and_a_reason():
    for entry in visits.known():
        assert entry.keys() <= {"check", "problem", "pages", "reason"}
        assert entry["check"] and entry["problem"] and entry["reason"]
