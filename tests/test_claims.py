"""Every entry of the ledger is confirmed by its checks, over seeds; the ledger's own rules."""

import json
import re

import pytest

from tokensphere import chapters, claims
from tokensphere.claims import Claim, Evidence


@pytest.mark.parametrize("id", claims.LEDGER)
def test_the_evidence_confirms_the_verdict(id):
    outcome = claims.check(id, seed=1)  # the chapters check with seed 0
    assert outcome.confirmed, outcome.evidence
    for evidence in outcome.evidence.values():
        assert evidence.numbers  # a verdict without a number convinces nobody
        json.dumps(evidence.numbers, allow_nan=False)


@pytest.mark.parametrize("id", claims.LEDGER)
def test_an_entry_can_be_shown(id):
    claim = claims.LEDGER[id]
    assert claim.id == id
    # Its chapter runs the check and fails without it.
    assert f'"{id}"' in chapters.find(claim.chapter).read_text("utf-8")
    for text in (claim.statement, claim.correction, claim.remains):
        assert "|" not in text  # it would end a cell of the table
        assert text.count("$") % 2 == 0


def test_the_statements_of_sections_1_and_2_are_there():
    places = [claim.where for claim in claims.LEDGER.values()]
    spans = [pair for place in places for pair in re.findall(r"\((\d+)\)(?:-\((\d+)\))?", place)]
    covered = {n for low, high in spans for n in range(int(low), int(high or low) + 1)}
    assert covered >= {*range(1, 10), 12}
    for name in ("Remark 2.1", "Remark 2.2", "Observation 2.3"):
        assert any(name in place for place in places)


def claim(verdict, **checks):
    passing = lambda generator: Evidence(True, {"n": 1})  # noqa: E731
    failing = lambda generator: Evidence(False, {"n": 0})  # noqa: E731
    named = {name: passing if result else failing for name, result in checks.items()}
    return Claim("x", "nowhere", "text", verdict, "claims", correction="c", **named)


@pytest.mark.parametrize(
    ("verdict", "checks", "confirmed"),
    [
        ("holds", {"stated": True, "control": False}, True),
        ("holds", {"stated": True, "control": True}, False),
        ("holds", {"stated": False, "control": False}, False),
        ("definition", {"stated": True, "control": True}, False),
        ("corrected", {"stated": False, "corrected": True}, True),
        ("corrected", {"stated": True, "corrected": True}, False),
        ("corrected", {"stated": False, "corrected": False}, False),
        ("fails", {"stated": False}, True),
        ("fails", {"stated": True}, False),
        ("gap", {"stated": True, "control": False}, True),
        ("open", {"stated": False}, False),
    ],
)
def test_what_confirms_a_verdict(verdict, checks, confirmed, monkeypatch):
    monkeypatch.setitem(claims.LEDGER, "x", claim(verdict, **checks))
    assert claims.check("x").confirmed is confirmed


def test_a_verdict_needs_its_checks():
    with pytest.raises(ValueError, match="needs the checks"):
        claim("holds", stated=True)
    with pytest.raises(ValueError, match="needs the checks"):
        claim("fails", stated=False, control=False)
    with pytest.raises(ValueError, match="none of"):
        claim("true", stated=True)


def test_an_unknown_claim_is_a_key_error():
    with pytest.raises(KeyError):
        claims.check("eq-99")
