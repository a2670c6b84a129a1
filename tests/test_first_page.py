"""The first page and the page of symbols: what they promise is there."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book" / "_ext"))
import landing
import notebooks
import prose

from tokensphere.paper import findings, ledger

INTRO = notebooks.source("intro").read_text("utf-8")
NOTATION = notebooks.source("notation").read_text("utf-8")


def written(directive, content=(), **options):
    """The Markdown that a directive of the first page makes."""
    kept = []
    environment = SimpleNamespace(note_dependency=lambda _: None)
    page = SimpleNamespace(options=options, content=content, env=environment, markdown=kept.append)
    directive.run(page)
    return kept[0]


def test_three_headlines_each_with_its_verdicts():
    text = written(landing.Headlines)
    assert text.count("{grid-item-card}") == len(findings.headlines()) == 3
    for one in findings.headlines():
        assert one.text in text
        assert " · ".join(f"{{doc}}`/{page}`" for page in one.pages) in text


@pytest.mark.parametrize("reader", findings.READERS)
def test_each_reader_has_the_own_questions(reader):
    own = ["| Mine? | So. |"]
    first, *rows = written(landing.Questions, own, reader=reader).splitlines()[2:]
    assert first == own[0]
    asked = [one.question for one in findings.findings() if one.reader == reader]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == asked
    assert all(row.count("|") == 3 for row in rows)
    assert f"```{{questions}}\n:reader: {reader}\n" in INTRO


def test_three_doors():
    doors = re.findall(r"\{grid-item-card\} (.+)", INTRO)
    assert doors == ["Use it on my model", "Read the theory", "Check a claim"]


def test_a_reading_path_has_the_time_of_its_own_pages():
    rows = [line for line in INTRO.splitlines() if "{minutes}`" in line]
    assert len(rows) > 3
    for row in rows:
        timed = re.search(r"\{minutes\}`([^`]+)`", row)[1].split(", ")
        named = re.findall(r"\{doc\}`([^`]+)`", row)
        assert timed == ["all"] or timed[: len(named)] == named
        assert timed == ["all"] or set(timed) <= set(notebooks.chapters())


def test_minutes_of_no_page_are_refused():
    role = prose.MinutesRole()
    role.text = "setting/nowhere"
    with pytest.raises(ValueError, match="no chapter 'setting/nowhere'"):
        role.run()


def test_equations_that_are_cited_everywhere():
    shown = {int(number) for number in re.findall(r"(?:&&|\\qquad)\((\d+)\)", NOTATION)}
    assert shown == {*range(1, 14), *range(33, 37)}


def test_rows_of_theorems_name_their_own_entry():
    rows = re.findall(r"^\| (\w+ [\w.]+(?: \(i+\))?) \| .*\{verdict\}`(\S+)` \|", NOTATION, re.M)
    assert len(rows) == 9
    for number, id in rows:
        assert number in re.split(r"; ", ledger.ledger()[id].number)


def test_the_entry_for_bibtex_is_that_of_the_citation():
    import yaml
    from pybtex.database import parse_string

    citation = yaml.safe_load(landing.CITATION.read_text("utf-8"))
    (entry,) = parse_string(landing.bibtex(citation), "bibtex").entries.values()
    assert entry.fields["version"] == str(citation["version"])
    assert entry.fields["year"] == str(citation["date-released"])[:4]
    assert entry.fields["title"] == f"{{{citation['title']}}}"
    # A group's name stays one word, as its braces say; a person's has its parts.
    (group,) = entry.persons["author"]
    assert group.last_names == ["{The tokensphere developers}"]
    person = {"family-names": "Vo", "given-names": "Thieu N."}
    (entry,) = parse_string(
        landing.bibtex({**citation, "authors": [person]}), "bibtex"
    ).entries.values()
    assert entry.persons["author"][0].last_names == ["Vo"]
    assert "```{bibtex}\n```" in INTRO
    assert landing.bibtex(citation) in written(landing.Bibtex)
