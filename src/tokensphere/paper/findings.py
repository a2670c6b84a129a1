"""What README and the first page report, from one place: ``findings.toml``."""

import tomllib
from dataclasses import dataclass, fields

from tokensphere.paper import ledger

FILE = ledger.FOLDER / "findings.toml"

READERS = ("practitioner", "mathematician")


@dataclass(frozen=True)
class Finding:
    """A claim of a paper, what was found, and the ledger's entries that carry it.

    Args:
        claim: what the paper says, in a few words.
        finding: what was found, with its hypotheses, sizes and runs; Markdown.
        page: the book's page that has it.
        ids: of the ledger; the verdict is that of the first.
        question: what a reader would ask. answer: in a sentence or two, without symbols of TeX.
        reader: one of READERS.
    """

    claim: str
    finding: str
    page: str
    ids: tuple[str, ...]
    question: str
    answer: str
    reader: str

    @property
    def verdict(self) -> str:
        return ledger.ledger()[self.ids[0]].verdict


@dataclass(frozen=True)
class Headline:
    """One of the few findings that the first page begins with, in plain words.

    Args:
        title: a few words. text: two or three sentences.
        page: the book's page that has it.
        ids: of the ledger, whose verdicts are shown beside it.
    """

    title: str
    text: str
    page: str
    ids: tuple[str, ...]


def findings() -> list[Finding]:
    """All of them, in the order of the book.

    Raises:
        ValueError: an id that the ledger does not have, a key that is missing or unknown, a reader
            that is not in READERS.
    """
    found = _read("finding", Finding)
    for one in found:
        if one.reader not in READERS:
            takes = " or ".join(READERS)
            raise ValueError(f"{FILE.name}: reader: got {one.reader!r}, takes {takes}")
    return found


def headlines() -> list[Headline]:
    """Those that the first page begins with. Raises as :func:`findings`."""
    return _read("headline", Headline)


def _read(kind: str, make: type) -> list:
    keys = {field.name for field in fields(make)}
    found = []
    for entry in tomllib.loads(FILE.read_text("utf-8")).get(kind, []):
        if entry.keys() != keys:
            raise ValueError(f"{FILE.name}: a {kind} with the keys {', '.join(sorted(entry))}")
        if missing := set(entry["ids"]) - ledger.ledger().keys():
            raise ValueError(f"{FILE.name}: no claim {', '.join(sorted(missing))} in the ledger")
        texts = {key: " ".join(entry[key].split()) for key in keys - {"ids"}}
        found.append(make(**texts, ids=tuple(entry["ids"])))
    return found
