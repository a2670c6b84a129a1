"""Verdicts of the ledger, as a chapter and the ledger's page show them."""

from IPython.display import Markdown

from .. import claims

MARKS = {
    "definition": "a definition, computed as printed",
    "holds": "holds",
    "corrected": "holds after a correction",
    "fails": "fails",
    "gap": "holds as far as checked; the proof has a gap",
    "open": "open",
}


def verdicts(*ids: str, seed: int = 0) -> Markdown:
    """Runs the checks of the named claims and shows statement, verdict and evidence of each.

    Raises:
        AssertionError: a verdict that its evidence does not confirm, which fails the chapter.
    """
    blocks = []
    for id in ids:
        outcome = claims.check(id, seed)
        assert outcome.confirmed, f"{id}: {outcome.evidence}"
        claim = outcome.claim
        lines = [f"**{claim.where}: {MARKS[claim.verdict]}.** {claim.statement}"]
        if claim.correction:
            word = "The gap" if claim.verdict == "gap" else "Correction"
            lines.append(f"*{word}:* {claim.correction}")
        for name, evidence in outcome.evidence.items():
            numbers = "; ".join(f"{key} {_short(value)}" for key, value in evidence.numbers.items())
            result = "passes" if evidence.passed else "does not pass"
            lines.append(f"*Check of the {_ROLES[name]}* {result}: {numbers}.")
        if claim.remains:
            lines.append(f"*Remains:* {claim.remains}")
        blocks.append("\n\n".join(lines))
    return Markdown("\n\n---\n\n".join(blocks))


_ROLES = {
    "stated": "statement as printed",
    "control": "negative control",
    "corrected": "corrected statement",
}


def ledger_table() -> Markdown:
    """The ledger as a table: where, verdict, statement with its correction, and the chapter."""
    rows = ["| claim | verdict | statement |", "| --- | --- | --- |"]
    for claim in claims.LEDGER.values():
        text = claim.statement
        if claim.correction:
            text += f" *{'Gap' if claim.verdict == 'gap' else 'Correction'}:* {claim.correction}"
        where = f"[{claim.where}]({claim.chapter}.md)"
        rows.append(f"| {where}, `{claim.id}` | {MARKS[claim.verdict]} | {text} |")
    return Markdown("\n".join(rows))


def _short(value) -> str:
    """A number to three digits, as it is shown to a reader."""
    if isinstance(value, bool) or not isinstance(value, float):
        return f"[{', '.join(map(_short, value))}]" if isinstance(value, list) else str(value)
    return f"{value:.3g}"
