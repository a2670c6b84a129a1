"""Verdicts of the ledger, as a chapter shows them where it ends."""

import html
from collections.abc import Mapping
from functools import cache
from typing import Any

from IPython.display import Markdown

from tokensphere.paper import ledger

from .tables import table

_ROLES = {
    ("stated", True): "As stated: passes.",
    ("stated", False): "As stated: fails.",
    ("control", False): "Control, made wrong on purpose: rejected, as it must be.",
    ("corrected", True): "As corrected: passes.",
}


def verdicts(*ids: str, seed: int = 0) -> Markdown:
    """Runs the checks of the named claims and shows statement, verdict and evidence of each.

    The seconds of each are noted beside the text, in the output's metadata: the book's page of its
    own state tells which take longest.

    Raises:
        AssertionError: a verdict that its evidence does not confirm, which fails the chapter.
    """
    blocks, seconds = [], {}
    for id in ids:
        outcome = confirmed(id, seed)
        seconds[id] = round(outcome.seconds, 2)
        claim = outcome.claim
        lines = [
            f"**{claim.where}: {claim.verdict}.** {claim.statement}",
            f"`{id}` · {{entry}}`{id}`",
        ]
        if claim.correction:
            lines.append(f"*{ledger.HEADINGS[claim.verdict]}:* {claim.correction}")
        if claim.power:
            lines.append(f"*Power:* {claim.power}")
        for role, evidence in outcome.evidence.items():
            lines.append(f"{_ROLES[role, evidence.passed]}\n\n{evidence_table(evidence)}")
        if claim.remains:
            lines.append(f"*Remains:* {claim.remains}")
        blocks.append("\n\n".join(lines))
    return Markdown("\n\n---\n\n".join(blocks), metadata={"seconds": seconds})


def criteria(*ids: str, seed: int = 0) -> Markdown:
    """Each criterion of the named claims' checks with its number, a row each; raises as
    :func:`verdicts`."""
    rows = [
        [f"`{id}`", ledger.ROLES[role], criterion.what, _brief(criterion.value), *_bound(criterion)]
        for id in ids
        for role, evidence in confirmed(id, seed).evidence.items()
        for criterion in evidence.criteria
    ]
    return table(["statement", "check", "what decides", "found", "must be", "met"], rows)


@cache
def confirmed(id: str, seed: int) -> ledger.Outcome:
    """The outcome of a claim's checks, which run once for all that a chapter shows of them.

    Raises:
        AssertionError: they do not confirm its verdict.
    """
    outcome = ledger.check(id, seed)
    assert outcome.confirmed, f"{id}: {outcome.evidence}"
    return outcome


def evidence_table(evidence: ledger.Evidence) -> str:
    """What decided, each criterion with its number, and below it the other numbers, as a table."""
    rows = [(c.what, _short(c.value), *_bound(c)) for c in evidence.criteria]
    numbers = ledger.plain(evidence.numbers)
    rows += [(name, _short(value), "", "") for name, value in numbers.items()]
    literal = (map(_literal, row) for row in rows)
    return table(["what decides", "found", "must be", "met"], map(list, literal)).data


def _bound(criterion: ledger.Criterion) -> tuple[str, str]:
    return criterion.must, "✓" if criterion.met else "✗"


def _brief(value: Any) -> str:
    return f"{value:.1e}" if isinstance(value, float) else str(value)


def _literal(text: str) -> str:
    """Text that Markdown leaves as it is: entities for what it would read as its own."""
    marks = {ord(mark): f"&#{ord(mark)};" for mark in "*_`|$[]\\{}~"}
    return html.escape(text, quote=False).translate(marks)


def _short(value) -> str:
    """A number to three digits, as it is shown to a reader."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_short(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_short, value))}]"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
