"""What README and the first page report, from one place: ``findings.toml``."""

import re
import tomllib
from dataclasses import dataclass, fields

from tokensphere.paper import ledger

FILE = ledger.FOLDER / "findings.toml"

READERS = ("practitioner", "mathematician")

MARK = re.compile(r"\{verdict\}`([^`]+)`")
"""In a headline: the verdict of the ledger's entry with this id."""


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
        title: a few words. text: two or three sentences, with a MARK where a verdict is said.
    """

    title: str
    text: str

    @property
    def ids(self) -> tuple[str, ...]:
        """The ledger's entries whose verdicts it says."""
        return tuple(MARK.findall(self.text))

    @property
    def pages(self) -> tuple[str, ...]:
        """The book's pages that have them."""
        return tuple(dict.fromkeys(ledger.ledger()[id].chapter for id in self.ids))


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
        texts = {key: " ".join(entry[key].split()) for key in keys - {"ids"}}
        ids = {"ids": tuple(entry["ids"])} if "ids" in keys else {}
        one = make(**texts, **ids)
        if missing := set(one.ids) - ledger.ledger().keys():
            raise ValueError(f"{FILE.name}: no claim {', '.join(sorted(missing))} in the ledger")
        found.append(one)
    return found
