"""What README and the introduction report, from one place: ``findings.toml``."""

import tomllib
from dataclasses import dataclass

from tokensphere.paper import ledger

FILE = ledger.FOLDER / "findings.toml"


@dataclass(frozen=True)
class Finding:
    """A claim of a paper, what was found, and the ledger's entries that carry it.

    Args:
        claim: what the paper says, in a few words.
        finding: what was found, with its hypotheses, sizes and runs; Markdown.
        page: the book's page that has it.
        ids: of the ledger; the verdict is that of the first.
    """

    claim: str
    finding: str
    page: str
    ids: tuple[str, ...]

    @property
    def verdict(self) -> str:
        return ledger.ledger()[self.ids[0]].verdict


def findings() -> list[Finding]:
    """All of them, in the order of the book.

    Raises:
        ValueError: an id that the ledger does not have, or a key that is missing or unknown.
    """
    found = []
    for entry in tomllib.loads(FILE.read_text("utf-8"))["finding"]:
        if entry.keys() != {"claim", "finding", "page", "ids"}:
            raise ValueError(f"{FILE.name}: a finding with the keys {', '.join(sorted(entry))}")
        texts = {key: " ".join(entry[key].split()) for key in ("claim", "finding", "page")}
        if missing := set(entry["ids"]) - ledger.ledger().keys():
            raise ValueError(f"{FILE.name}: no claim {', '.join(sorted(missing))} in the ledger")
        found.append(Finding(**texts, ids=tuple(entry["ids"])))
    return found
