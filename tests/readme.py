"""Writes two tables of README: what was found, from src/tokensphere/paper/findings.toml, and the
mixers that can be read, from tokensphere.sinks.mixers.

python tests/readme.py           # writes them
python tests/readme.py --check   # exit code 1 if README says something else
"""

import sys
from pathlib import Path

from tokensphere.paper import ledger
from tokensphere.paper.findings import findings, headlines
from tokensphere.sinks.mixers import FAMILIES

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- findings: python tests/readme.py -->\n", "<!-- end of findings -->\n"
BEGIN_FAMILIES, END_FAMILIES = "<!-- families -->\n", "<!-- /families -->\n"


def with_findings(text: str) -> str:
    """README's text with the headlines and the table of findings in their place."""
    lines = [""]
    for one in headlines():
        verdicts = " and ".join(ledger.ledger()[id].verdict for id in one.ids)
        lines += [f"- **{one.title}** ([{verdicts}](book/{one.page}.md)). {one.text}"]
    lines += ["", "| the papers say | verdict |", "| --- | --- |"]
    lines += [f"| [{one.claim}](book/{one.page}.md) | {one.verdict} |" for one in findings()]
    return _between(text, BEGIN, [*lines, ""], END)


def with_families(text: str) -> str:
    """README's text with the table of mixers in its place."""
    return _between(text, BEGIN_FAMILIES, families(), END_FAMILIES)


def families() -> list[str]:
    """The rows of the table of mixers: a model each."""
    rows = ["| model | mixer | what is read | padding |", "| --- | --- | --- | --- |"]
    # One model's mixer may have several full names.
    for name, family in {
        family.model: (name, family) for name, family in FAMILIES.items()
    }.values():
        mixer = f"`{name.rpartition('.')[2]}`"
        padding = family.padding or "none"
        rows.append(f"| {family.model} | {mixer} | {family.about} | {padding} |")
    return rows


def _between(text: str, begin: str, rows: list[str], end: str) -> str:
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    if not before or not after:
        raise ValueError(f"README: no part between {begin.strip()} and {end.strip()}")
    return before + begin + "\n".join(rows) + "\n" + end + after


def main() -> int:
    old = README.read_text("utf-8")
    new = with_families(with_findings(old))
    if "--check" in sys.argv[1:]:
        return int(old != new)
    README.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
