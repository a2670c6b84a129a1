"""Tables as Markdown, for chapters that show more than a number."""

from collections.abc import Iterable, Sequence
from typing import Any

from IPython.display import Markdown


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], caption: str = "") -> Markdown:
    """A table with a paragraph below it; cells are Markdown.

    Raises:
        ValueError: a row that is not as long as the head.
    """
    lines = [_line(head), _line(["---"] * len(head))]
    for row in rows:
        if len(row) != len(head):
            raise ValueError(f"rows: {list(row)} has {len(row)} cells, the head has {len(head)}")
        lines.append(_line(row))
    return Markdown("\n".join(lines) + (f"\n\n{caption}" if caption else ""))


def _line(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
