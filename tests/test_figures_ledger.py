"""The table of criteria: a row each, and no statement whose verdict is not confirmed."""

import numpy as np
import pytest

from tokensphere.paper import ledger
from tokensphere.paper.figures import criteria, verdicts
from tokensphere.paper.figures.ledger import confirmed, evidence_table


@pytest.fixture(autouse=True)
def forget():
    """What a test makes of a claim is not what the next one finds."""
    yield
    confirmed.cache_clear()


def test_every_criterion_has_a_row_with_its_number():
    outcome = ledger.check("claim-4-equalities")
    rows = criteria("claim-4-equalities").data.splitlines()[2:]
    assert len(rows) == sum(len(evidence.criteria) for evidence in outcome.evidence.values())
    assert rows[0].startswith("| `claim-4-equalities` | as stated | largest difference for the f")
    assert rows[0].endswith("| below 1e-11 | ✓ |")
    assert rows[-1].endswith("✗ |")


def test_a_verdict_that_is_not_confirmed_stops_the_table(monkeypatch):
    failed = ledger.Evidence([ledger.below("number", 2.0, 1.0)])
    claim = ledger.ledger()["claim-4-equalities"]
    outcome = ledger.Outcome(claim, False, {"stated": failed}, 0.0)
    monkeypatch.setattr(ledger, "check", lambda id, seed: outcome)
    with pytest.raises(AssertionError, match="claim-4-equalities"):
        criteria("claim-4-equalities")


def test_each_criterion_has_a_mark_of_its_own(monkeypatch):
    found = ledger.Evidence([ledger.below("one", 0.5, 1.0), ledger.below("two", 2.0, 1.0)])
    claim = ledger.ledger()["claim-4-equalities"]
    outcome = ledger.Outcome(claim, True, {"control": found}, 0.0)
    monkeypatch.setattr(ledger, "check", lambda id, seed: outcome)
    rows = criteria("claim-4-equalities").data.splitlines()[2:]
    assert [row[-3] for row in rows] == ["✓", "✗"]
    assert [row.split(" | ")[1] for row in rows] == ["control", "control"]


def test_what_a_chapter_shows_twice_runs_once(monkeypatch):
    found = ledger.Evidence([ledger.below("one", 0.5, 1.0)])
    claim = ledger.ledger()["claim-4-equalities"]
    ran = []

    def check(id, seed):
        ran.append((id, seed))
        return ledger.Outcome(claim, True, {"stated": found}, 0.0)

    monkeypatch.setattr(ledger, "check", check)
    criteria("claim-4-equalities")
    verdicts("claim-4-equalities")
    assert ran == [("claim-4-equalities", 0)]
    verdicts("claim-4-equalities", seed=1)
    assert ran[1:] == [("claim-4-equalities", 1)]


def test_arrays_among_the_numbers_are_shown_to_three_digits():
    numbers = {"rates": np.array([0.123456, 2.0]), "shares": {"a": 0.5, "b": [1, 0.98765]}}
    shown = evidence_table(ledger.Evidence([ledger.below("one", 0.5, 1.0)], numbers))
    assert "| rates | &#91;0.123, 2&#93; |" in shown
    assert "| shares | a: 0.5, b: &#91;1, 0.988&#93; |" in shown
