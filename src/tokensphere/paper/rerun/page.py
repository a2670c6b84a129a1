"""A folder of cells as index.json and index.html: made from what is there, and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from tokensphere.paper.rerun.store import FAILED, PASSED, STATES, Entry, Store, write_whole

STYLE = """
:root { color-scheme: light dark; --line: #8884; --bad: #b3261e; --good: #1b6e3c; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; --good: #81c995; } }
body { font: 16px/1.45 system-ui, sans-serif; max-width: 75rem; margin: auto; padding: 1rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
th, td { text-align: left; vertical-align: top; padding: 0.35rem 0.6rem; }
th, td { border-bottom: 1px solid var(--line); }
td.long { overflow-wrap: anywhere; }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.passed { color: var(--good); } .failed, .interrupted { color: var(--bad); }
code { font-size: 0.95em; }
@media (max-width: 40rem) {
  thead { display: none; }
  tr { display: block; padding: 0.5rem 0; border-bottom: 1px solid var(--line); }
  td, td.number { display: block; border: 0; padding: 0.1rem 0; text-align: left; }
}
"""


def write(store: Store) -> None:
    """Write both files of a folder; OSError where that cannot be."""
    entries = store.entries()
    content = [
        {key: value for key, value in vars(entry).items() if key != "code"} for entry in entries
    ]
    text = json.dumps({"cells": content}, ensure_ascii=False, indent=1)
    write_whole(store.folder / "index.json", text)
    write_whole(store.folder / "index.html", html(entries))


def counts(entries: Sequence[Entry]) -> str:
    """How many cells passed, failed, and so on, in words."""
    found = Counter(entry.state for entry in entries)
    return ", ".join(f"{found[state]} {state}" for state in STATES if found[state]) or "no cells"


def html(entries: Sequence[Entry]) -> str:
    """A page that stands alone: a row a cell, with its parameters, outcome, seconds and files."""
    rows = "\n".join(map(_row, entries))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Cells: {escape(counts(entries))}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Chapters with parameters</h1>
<p>{escape(counts(entries))}.</p>
<div class="table"><table>
<thead><tr><th>chapter</th><th>parameters</th><th>outcome</th><th>time</th><th>where</th></tr>
</thead>
<tbody>
{rows}
</tbody>
</table></div>
</body>
</html>
"""


def _row(entry: Entry) -> str:
    suffix = {PASSED: ".ipynb", FAILED: ".failed.ipynb"}.get(entry.state)
    begun = entry.started is not None  # of one that only took its worker with it nothing is there
    base = quote(f"{entry.chapter}/{entry.digest}")
    chapter = escape(entry.chapter)
    if suffix and begun:
        chapter = f'<a href="{base}{suffix}">{chapter}</a>'
    given = ", ".join(
        f"<code>{escape(name)} = {escape(_shown(value))}</code>"
        for name, value in entry.parameters.items()
    )
    outcome = f'<span class="{entry.state}">{entry.state}</span>'
    if entry.error:
        outcome += f"<br>{escape(entry.error)}"
    seconds = "" if entry.seconds is None else f"{entry.seconds:.1f} s"
    where = escape(" ".join([entry.machine.get("host", ""), *entry.machine.get("gpus", ())]))
    log = f'<a href="{base}.log">log</a>' if begun else ""
    return (
        f'<tr><td>{chapter}</td><td class="long">{given or "as in the book"}</td>'
        f'<td class="long">{outcome}</td><td class="number">{seconds}</td>'
        f"<td>{where} {log}</td></tr>"
    )


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
