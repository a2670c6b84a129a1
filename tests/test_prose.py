"""How a chapter opens, reads and closes: CONTRIBUTING, "A chapter"."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book" / "_ext"))
import notebooks
import prose
from prose import FORMULA, Paragraph

WORDS = 80
"""At most in a paragraph, a bullet or a table's cell."""

COLUMNS = 110
"""At most in a line of source that can be wrapped."""

DENSITY = 5
"""Inline formulas for 100 words, at most: tables and folded proofs, where they belong, aside.

What the densest chapter has, rounded up to the half; the mean is 4.6. Counted in the same way the
first 16,000 characters of four lectures of QuantEcon (on Markov chains, Kalman's filter, linear
algebra, spectra) and of a course's chapter on determinants have 7.8 to 8.7, dolfinx-tutorial's heat
equation 6.0. A symbol that is known is named in words: "the form", "the first token".
"""

PARTS = ["Asked.", "Found.", "If you train models.", "Read first."]
CLAIMED = "claimed\nwould be refuted by"
CLOSING = ["Verdicts", "Open", "Exercises"]
OUTCOME = "What you should see"


def opening(text: str) -> list[str]:
    """What is wrong with a chapter's box `In short`, its table of claims and its set-up."""
    blocks = prose.parse(text).blocks
    found = []
    first = next((i for i, block in enumerate(blocks) if block.kind == "h1"), None)
    if first is None:
        return ["1: no title"]
    title, box = blocks[first], (*blocks[first + 1 :], None)[0]
    if not box or (box.kind, box.title) != ("{admonition}", "In short"):
        found.append(f"{title.line}: the title is not followed by the box `In short`")
    else:
        between = text.splitlines()[title.last : box.line - 1]
        if any(line.strip() for line in between):
            found.append(f"{title.line}: text between the title and the box `In short`")
        if box.options.get("class") != "in-short":
            found.append(f"{box.line}: the box `In short` lacks `:class: in-short`")
        parts = re.findall(r"^\*\*(.+?)\*\*", box.content, re.MULTILINE)
        if parts != PARTS:
            found.append(f"{box.line}: `In short` has the parts {parts}, not {PARTS}")
        bullets = re.findall(r"^\s*[-*] ", box.content, re.MULTILINE)
        if not 1 <= len(bullets) <= 3:
            found.append(f"{box.line}: `In short` has {len(bullets)} bullets, not one to three")
    tables = [block for block in blocks if block.kind == "table"]
    if not any(table.content.lower() == CLAIMED for table in tables):
        found.append(f"{title.line}: no table with the two columns `claimed | would be refuted by`")
    return found + set_up(blocks)


def set_up(blocks: list[prose.Block]) -> list[str]:
    """What is wrong with the order of a chapter's first cells."""
    cells = [block for block in blocks if block.kind == "{code-cell}"]
    kinds = ("display", "{prf:", "{math}")
    shown = [block.line for block in blocks if block.kind.startswith(kinds)]
    found = []
    if cells and cells[0].line < min(shown, default=cells[0].line + 1):
        found.append(f"{cells[0].line}: code before the first statement or display")
    if cells and cells[0].options.get("tags") != ["parameters"]:
        found.append(f"{cells[0].line}: the first cell is not the one tagged `parameters` alone")
    for cell in cells:
        imports = re.search(r"^(import|from) ", cell.content, re.MULTILINE)
        if imports and "hide-input" not in cell.options.get("tags", []):
            found.append(f"{cell.line}: a cell that imports is not tagged `hide-input`")
    return found


def closing(text: str) -> list[str]:
    """What is wrong with a chapter's end."""
    blocks = prose.parse(text).blocks
    sections = [block for block in blocks if block.kind == "h2"]
    titles = [block.title for block in sections]
    if titles[-len(CLOSING) :] != CLOSING:
        end = sections[-1].line if sections else 1
        return [f"{end}: the last sections are {titles[-len(CLOSING) :]}, not {CLOSING}"]
    outcomes = [block for block in blocks if block.title == OUTCOME]
    outcomes = [block for block in outcomes if block.line > sections[-1].line]
    if len(outcomes) < 2:
        line = sections[-1].line
        return [f"{line}: {len(outcomes)} exercises with a box `{OUTCOME}`, not two at least"]
    return []


def long_paragraphs(text: str) -> list[str]:
    return [
        f"{paragraph.line}: a paragraph of {paragraph.words} words, above {WORDS}: "
        f"{' '.join(paragraph.text.split())[:60]} ..."
        for paragraph in prose.parse(text).paragraphs
        if paragraph.words > WORDS
    ]


def long_lines(text: str) -> list[str]:
    """Lines of prose; those of code, tables, displays and titles cannot all be wrapped."""
    skipped = set()
    for block in prose.parse(text).blocks:
        if block.kind in ("display", "{code-cell}", "{math}"):
            skipped |= set(range(block.line, block.last + 1))
    return [
        f"{number}: a line of {len(line)} characters, above {COLUMNS}: {line[:60]} ..."
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > COLUMNS
        and number not in skipped
        and not re.match(r"\s*(\||#|[`:]{3,}\{)", line)
    ]


def dense(text: str) -> list[str]:
    """Whether formulas crowd the prose, and the paragraphs that have most of them."""
    paragraphs = [
        paragraph
        for paragraph in prose.parse(text).paragraphs
        if not {"table", "folded"} & set(paragraph.inside)
    ]
    words = sum(paragraph.words for paragraph in paragraphs)
    formulas = sum(paragraph.formulas for paragraph in paragraphs)
    if 100 * formulas <= DENSITY * words:
        return []
    worst = sorted(paragraphs, key=lambda p: DENSITY * p.words / 100 - p.formulas)[:5]
    return [
        f"{100 * formulas / words:.1f} inline formulas for 100 words, above {DENSITY}; most in "
        + ", ".join(f"line {p.line} ({p.formulas} in {p.words} words)" for p in worst)
    ]


@pytest.mark.parametrize("wrong", [opening, closing, long_paragraphs, long_lines, dense])
@pytest.mark.parametrize("page", [p for p in notebooks.chapters() if p != notebooks.QUICKSTART])
def test_chapter(page, wrong):
    found = wrong(notebooks.source(page).read_text("utf-8"))
    assert not found, "\n" + "\n".join(f"book/{page}.md:{complaint}" for complaint in found)


@pytest.mark.parametrize("wrong", [long_paragraphs, long_lines, dense])
def test_quickstart(wrong):
    assert not wrong(notebooks.source(notebooks.QUICKSTART).read_text("utf-8"))


# The rules themselves, on a made chapter.

GOOD = """\
---
kernelspec:
  name: python3
---

# A title

:::{admonition} In short
:class: in-short
**Asked.** A question?

**Found.**
- It holds.
- It holds amended.

**If you train models.** Nothing yet.

**Read first.** Nothing.
:::

| claimed | would be refuted by |
| --- | --- |
| this | that |

```{prf:theorem} Ours
:label: thm-x
It is so for every $x$, and this is said in words that are many more than the formulas which it has.

{claim}`thm-3.3`
```

```{code-cell} ipython3
:tags: [parameters]

seed = 1
```

```{code-cell} ipython3
---
tags: [hide-input]
---
import torch
```

## Verdicts

## Open

Something.

## Exercises

1. Set `seed = 2`.

:::{dropdown} What you should see
The same.
:::

2. Set `seed = 3`.

:::{dropdown} What you should see
Another.
:::
"""
RULES = (opening, closing, long_paragraphs, long_lines, dense)


def complaints(text):
    return [complaint for rule in RULES for complaint in rule(text)]


def test_a_good_chapter():
    assert complaints(GOOD) == []


TABLE = "| claimed | would be refuted by |\n| --- | --- |\n| this | that |\n"
SEED = "```{code-cell} ipython3\n:tags: [parameters]\n\nseed = 1\n```\n"
IMPORT = "```{code-cell} ipython3\n---\ntags: [hide-input]\n---\nimport torch\n```\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("# A title\n", "# A title\n\nA first paragraph.\n", "6: text between the title and"),
        ("} In short", "} At length", "6: the title is not followed by the box"),
        (":class: in-short\n", "", "8: the box `In short` lacks"),
        ("**Found.**", "**Seen.**", r"8: `In short` has the parts \['Asked.', 'Seen."),
        ("**Read first.** Nothing.\n", "", "8: `In short` has the parts"),
        ("- It holds.\n", "- a\n- b\n- c\n", "8: `In short` has 4 bullets"),
        ("- It holds.\n- It holds amended.\n", "It holds.\n", "8: `In short` has 0 bullets"),
        (TABLE, "", "6: no table with the two columns"),
        (TABLE, TABLE.replace("| \n", "| why |\n").replace("| --- |\n", "| --- | --- |\n")
         .replace("by |\n", "by | why |\n"), "6: no table with the two columns"),
        (TABLE, TABLE + "\n" + SEED, "25: code before the first statement"),
        (SEED, IMPORT + "\n" + SEED, "32: the first cell is not the one tagged"),
        ("[parameters]", "[parameters, hide-input]", "32: the first cell is not the one tagged"),
        ("tags: [hide-input]\n", "", "38: a cell that imports is not tagged"),
        ("## Open\n", "", r"50: the last sections are \['Verdicts', 'Exercises'\]"),
        ("## Exercises", "## Problems", r"51: the last sections are \['Verdicts', 'Open', 'Prob"),
        ("2. Set `seed = 3`.\n\n:::{dropdown} What you should see\nAnother.\n:::\n", "",
         "51: 1 exercises with a box"),
        ("Something.", "word\n" * 81, "49: a paragraph of 81 words, above 80: word word"),
        ("| this |", f"| {'word ' * 81} |", "23: a paragraph of 81 words"),
        ("- It holds.", "- " + "word\n  " * 81, "13: a paragraph of 81 words"),
        ("It is so", "A thing is\nso\n" * 28 + "It is so", "27: a paragraph of 1.. words"),
        ("Something.", "letters " * 14, "49: a line of 112 characters, above 110"),
        ("The same.", "letters " * 14, "56: a line of 112 characters, above 110"),
        ("Something.", "$a$ and $b$ and $c$ and $d$ and $e$ and $f$", r"most in line 49 \(6 in"),
    ],
)  # fmt: skip
def test_a_chapter_that_breaks_a_rule_is_told_where(old, new, said):
    assert GOOD.count(old) == 1
    (complaint,) = complaints(GOOD.replace(old, new))
    assert re.match(said, complaint) or ("most in" in said and re.search(said, complaint))


@pytest.mark.parametrize(
    "more",
    [
        "```{prf:proof}\n:class: dropdown\n" + "$a$ $b$\n" * 40 + "```",
        "| a | b |\n| --- | --- |\n" + "| $a$ | $b$ |\n" * 40,
        "$$\n" + "x + " * 40 + "x\n$$",
        "```{code-cell} ipython3\nx = 1  #" + " word" * 100 + "\n```",
        "# " + "letters " * 20,
        "{claim}`" + ", ".join(["thm-3.3"] * 10) + "`",
        "word " * 20 + "\n" + "word " * 20 + "\n\n$$\nx\n$$\n\n" + "word\n" * 60,
    ],
)
def test_what_no_rule_is_about(more):
    assert complaints(GOOD.replace("Something.", f"Something.\n\n{more}")) == []


def test_words_and_formulas():
    text = "An $x$-axis, {prf:ref}`thm-x`, `a b` and $y z$ -- {doc}`here <a/b>`.\n{claim}`eq-1`"
    (found,) = prose.parse(text).paragraphs
    assert found == Paragraph(1, f"An {FORMULA}-axis, thm-x, a b and {FORMULA} -- here.")
    assert (found.words, found.formulas) == (8, 2)


def test_minutes_are_those_of_the_words(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "BOOK", tmp_path)
    (tmp_path / "a.md").write_text("word " * 390 + "\n\n" + SEED)
    (tmp_path / "b.md").write_text("word " * 20)
    assert prose.minutes(["a"]) == 2
    assert prose.minutes(["a", "b"]) == 3
