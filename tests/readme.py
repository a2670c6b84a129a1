"""Writes what was found into README, from src/tokensphere/paper/findings.toml.

python tests/readme.py           # writes it
python tests/readme.py --check   # exit code 1 if README says something else
"""

import sys
from pathlib import Path

from tokensphere.paper import ledger
from tokensphere.paper.findings import findings, headlines

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- findings: python tests/readme.py -->\n", "<!-- end of findings -->\n"


def with_findings(text: str) -> str:
    """README's text with the headlines and the table of findings in their place."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not before or not after:
        raise ValueError(f"README: no part between {BEGIN.strip()} and {END.strip()}")
    lines = [""]
    for one in headlines():
        verdicts = " and ".join(ledger.ledger()[id].verdict for id in one.ids)
        lines += [f"- **{one.title}** ([{verdicts}](book/{one.page}.md)). {one.text}"]
    lines += ["", "| the papers say | verdict |", "| --- | --- |"]
    lines += [f"| [{one.claim}](book/{one.page}.md) | {one.verdict} |" for one in findings()]
    return before + BEGIN + "\n".join(lines) + "\n\n" + END + after


def main() -> int:
    old = README.read_text("utf-8")
    new = with_findings(old)
    if "--check" in sys.argv[1:]:
        return int(old != new)
    README.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
