"""What decides several statements of the ledger, in one table."""

from IPython.display import Markdown

from tokensphere.paper import ledger

from .ledger import confirmed
from .tables import table


def criteria(*ids: str, seed: int = 0) -> Markdown:
    """Runs the checks of the named claims and shows each criterion with its number, a row each.

    Raises:
        AssertionError: a verdict that its evidence does not confirm, which fails the chapter.
    """
    rows = []
    for id in ids:
        for role, evidence in confirmed(id, seed).evidence.items():
            for criterion in evidence.criteria:
                rows.append(
                    [
                        f"`{id}`",
                        ledger.ROLES[role],
                        criterion.what,
                        _number(criterion.value),
                        criterion.must,
                        "✓" if criterion.met else "✗",
                    ]
                )
    return table(["statement", "check", "what decides", "found", "must be", ""], rows)


def _number(value) -> str:
    return f"{value:.1e}" if isinstance(value, float) else str(value)
