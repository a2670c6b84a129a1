"""Formulas that the build sets, and the style sheet that goes with them."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book" / "_ext"))
import static_math

NODE = static_math.find_node()
MACROS = {"norm": [r"\lVert #1 \rVert", 1]}

needs_node = pytest.mark.skipif(NODE is None, reason="no node: pages set their formulas themselves")


@pytest.fixture
def setter(tmp_path):
    made = static_math.Setter(NODE, MACROS, tmp_path / "formulas.json")
    yield made
    made.close()


@needs_node
def test_a_formula_is_set_with_its_mathml_and_is_no_stop_of_the_tab_key(setter):
    html = setter.html(r"\norm{x}", display=False)
    assert html.startswith("<mjx-container") and "<mi>x</mi>" in html
    assert "tabindex" not in html and "data-mjx-error" not in html
    assert 'display="true"' in setter.html(r"\norm{x}", display=True)


@needs_node
@pytest.mark.parametrize("tex", [r"\frac{a", r"\nosuchcommand a", r"\begin{cases} a"])
def test_what_cannot_be_set_is_said(setter, tex):
    with pytest.raises(ValueError, match="a"):
        setter.html(tex, display=False)
    # The program goes on with the next.
    assert "<mi>b</mi>" in setter.html("b", display=False)


@needs_node
def test_what_was_set_is_kept_for_the_next_build_of_the_same_macros(setter, tmp_path):
    html = setter.html("x^2", display=False)
    setter.close()
    again = static_math.Setter("no such program", MACROS, tmp_path / "formulas.json")
    assert again.html("x^2", display=False) == html
    other = static_math.Setter("no such program", {}, tmp_path / "formulas.json")
    with pytest.raises(FileNotFoundError):
        other.html("x^2", display=False)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text + text,
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"set": {', '"set": [{').replace("}}", "}]}"),
        lambda text: '{"set": {}}',
    ],
)
def test_a_damaged_memory_is_none(tmp_path, damage):
    memory = tmp_path / "formulas.json"
    whole = static_math.Setter("no such program", MACROS)
    text = json.dumps({"key": whole.key, "set": {"inline x": "<x>"}})
    memory.write_text(text)
    assert static_math.Setter("no such program", MACROS, memory).html("x", display=False) == "<x>"
    memory.write_text(damage(text))
    assert static_math.Setter("no such program", MACROS, memory).known == {}


@needs_node
def test_the_sheet_has_the_characters_in_use_and_what_is_not_a_character(setter, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(setter.html("x", display=False), encoding="utf-8")
    used = static_math.characters(page)
    assert used == {"1D465"}
    sheet = static_math.only_used(setter.style(), used)
    assert "mjx-c.mjx-c1D465" in sheet and "mjx-c.mjx-c1D466" not in sheet
    assert "mjx-container" in sheet and f"mathjax/{static_math.FONTS}" in sheet
    assert "FONTS" not in sheet
    assert len(sheet) < len(setter.style()) / 5


@needs_node
def test_words_in_formulas_keep_their_spaces(setter, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(setter.html(r"\text{a b}", display=False), encoding="utf-8")
    sheet = static_math.only_used(setter.style(), static_math.characters(page))
    # With nothing before it that a rule left behind when it was taken out.
    assert "\nmjx-c.mjx-c20::before {" in sheet
    assert ".mjx-stretched .mjx-stretched" not in sheet


def test_displays_are_read_as_sphinx_reads_them():
    assert static_math.several_lines("a = b") == "a = b"
    assert static_math.several_lines(r"a \\ b") == r"\begin{split}a \\ b\end{split}"
    assert static_math.several_lines("a\n\nb") == r"\begin{aligned}a\\b\end{aligned}"
