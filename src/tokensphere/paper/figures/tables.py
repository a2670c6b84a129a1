"""Tables as Markdown, for chapters that show more than a number."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from IPython.display import Markdown

from tokensphere.paper import survey


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


def columns(cells: Mapping[str, Mapping[str, Any]], corner: str = "") -> Markdown:
    """A table by its columns: cells by head and by row, empty where a column has none."""
    rows = dict.fromkeys(row for column in cells.values() for row in column)
    body = ([row, *(column.get(row, "") for column in cells.values())] for row in rows)
    return table([corner, *cells], body)


def percent(count: int, total: int, digits: int = 0) -> str:
    """A share with its 95% Wilson interval, such as "46% (40% to 52%)"."""
    shown = (f"{share:.{digits}%}" for share in (count / total, *survey.interval(count, total)))
    return "{} ({} to {})".format(*shown)


def _line(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
