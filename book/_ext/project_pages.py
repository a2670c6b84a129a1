"""Pages about the book itself: its state when it was built, and what its chapters leave open.

`chapter-status`, `check-status` and `record-status` write the tables of the page `status`: what the
cache of executed chapters knows of each run, the seconds of checks that chapters noted, and the
records. `roadmap` collects the sections "Open" of all chapters, and the ledger's open entries.
"""

import re
import statistics
from datetime import UTC
from pathlib import Path
from typing import Any, NamedTuple

import ledger_pages
import notebooks
from jupyter_cache import get_cache
from myst_nb.core.read import myst_nb_reader_plugin

from tokensphere import records
from tokensphere.paper import ledger
from tokensphere.paper.figures.tables import table

STATUS, ROADMAP = "status", "roadmap"
LONGEST = 12
"""How many of the checks are listed, the longest first."""
NOTHING = "Nothing in this chapter."
"""What a chapter says that leaves nothing open."""


class Run(NamedTuple):
    """What is known of a chapter's last run; None for what was not measured."""

    page: str
    seconds: float
    peak: int | None  # bytes
    where: str | None  # machine and versions
    when: str  # UTC
    checks: dict[str, float]  # seconds by id


def runs(cache_path: str) -> list[Run]:
    """The runs of the chapters that a cache holds, as they are now, in reading order."""
    cache = get_cache(cache_path)
    found = []
    for page in notebooks.chapters():
        try:
            kept = cache.match_cache_notebook(myst_nb_reader_plugin(str(notebooks.source(page))))
        except KeyError:
            continue
        data = kept.data or {}
        notebook = cache.get_cache_bundle(kept.pk).nb
        found.append(
            Run(
                page,
                data.get("execution_seconds") or 0.0,
                data.get("peak"),
                data.get("where"),
                # The cache writes UTC without saying so.
                kept.created.replace(tzinfo=UTC).strftime("%Y-%m-%d %H:%M"),
                check_seconds(notebook),
            )
        )
    return found


def check_seconds(notebook: Any) -> dict[str, float]:
    """What the outputs of `figures.verdicts` noted beside their text: seconds by id."""
    found: dict[str, float] = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            found |= output.get("metadata", {}).get("text/markdown", {}).get("seconds", {})
    return found


class ChapterStatus(ledger_pages.Pages):
    """Each chapter: seconds, memory, last run, and where."""

    has_content = False

    def run(self):
        found = runs(self.env.config.nb_execution_cache_path)
        return self.markdown(chapter_status(found, notebooks.chapters()))


def chapter_status(found: list[Run], chapters: list[str]) -> str:
    """The table of runs as Markdown; below it the machines, by the letters of its last column."""
    places = list(dict.fromkeys(run.where for run in found if run.where))
    letters = {where: chr(ord("a") + number) for number, where in enumerate(places)}
    rows = [
        [
            f"{{doc}}`/{run.page}`",
            f"{run.seconds:.0f}",
            "not measured" if run.peak is None else f"{run.peak / 2**20:.0f}",
            run.when,
            letters.get(run.where, "not noted"),
        ]
        for run in found
    ]
    by_page = {run.page: row for run, row in zip(found, rows, strict=True)}
    every = [by_page.get(page, [f"{{doc}}`/{page}`", *["not run"] * 4]) for page in chapters]
    head = ["chapter", "seconds", "memory, MiB", "last run, UTC", "where"]
    lines = [table(head, every).data, ""]
    if found:
        total = sum(run.seconds for run in found)
        lines += [
            f"Together {records.duration(total)}, half of the chapters in less than "
            f"{statistics.median(run.seconds for run in found):.0f} s each.",
            "",
        ]
    lines += [f"- {letters[where]}: {where}" for where in places]
    return "\n".join(lines)


class CheckStatus(ledger_pages.Pages):
    """The statements whose checks take longest."""

    has_content = False

    def run(self):
        seconds: dict[str, float] = {}
        for run in runs(self.env.config.nb_execution_cache_path):
            seconds |= run.checks
        return self.markdown(check_status(seconds))


def check_status(seconds: dict[str, float]) -> str:
    """The longest checks as Markdown."""
    known = ledger.ledger()
    seconds = {id: taken for id, taken in seconds.items() if id in known}
    if not seconds:
        return "None was timed: chapters note it when they are executed."
    longest = sorted(seconds, key=lambda id: (-seconds[id], id))[:LONGEST]
    rows = [
        [
            f"`{id}`",
            f"{{verdict}}`{id}`",
            f"{{doc}}`/{known[id].chapter}`",
            f"{seconds[id]:.1f}",
        ]
        for id in longest
    ]
    total = records.duration(sum(seconds.values()))
    return (
        f"The checks of {len(seconds)} of {len(known)} statements took {total} in all.\n\n"
        + table(["statement", "verdict", "chapter", "seconds"], rows).data
    )


class RecordStatus(ledger_pages.Pages):
    """Each record: its state, and where its numbers come from."""

    has_content = False

    def run(self):
        from tokensphere.paper.renewal.state import states

        for file in records.path("").rglob("*.json"):
            self.env.note_dependency(str(file))
        return self.markdown(record_status(states()))


def record_status(states: list[Any]) -> str:
    """The table of records as Markdown."""
    rows = []
    for one in states:
        said = "; ".join([one.state, *one.reasons])
        origin = "none" if one.record is None else one.record.provenance()
        command = "none is known" if one.renewal is None else " ".join(one.renewal.by_hand())
        rows.append([f"`{one.name}`", said, origin, f"`{command}`"])
    rows = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return table(["record", "state", "origin", "made by"], rows).data


class Roadmap(ledger_pages.Pages):
    """What chapters leave open, in reading order; then open entries of the ledger."""

    has_content = False

    def run(self):
        for page in notebooks.chapters():
            self.env.note_dependency(str(notebooks.source(page)))
        return self.markdown(roadmap())


def roadmap() -> str:
    """The roadmap as Markdown."""
    parts = []
    for page in notebooks.chapters():
        if page == notebooks.QUICKSTART:  # it asks nothing
            continue
        text = left_open(notebooks.source(page).read_text("utf-8"), page)
        if text:
            parts.append(f"**{{doc}}`/{page}`**\n\n{text}")
    entries = [
        f"- {{entry}}`{claim.id}` {claim.statement}"
        for claim in ledger.ledger().values()
        if claim.verdict == "open"
    ]
    if entries:
        parts.append("**Open entries of the ledger**\n\n" + "\n".join(entries))
    return "\n\n".join(parts)


def left_open(text: str, page: str) -> str:
    """The section "Open" of a chapter, to be read on another page; "" where nothing is open.

    Raises ValueError for a chapter without one.
    """
    found = re.search(r"^## Open\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"{page}: takes a section `## Open`; with nothing open: {NOTHING!r}")
    # A statement has one mark, and it is the chapter's.
    section = re.sub(r"^\{claim\}`[^`]*`\n", "", found[1], flags=re.MULTILINE).strip()
    if section == NOTHING:
        return ""
    return re.sub(r"(\{doc\}`)([^/`][^`]*`)", lambda role: _absolute(role, page), section)


def _absolute(role: re.Match, page: str) -> str:
    folder = (notebooks.BOOK / page).parent
    target = (folder / role[2].rstrip("`")).resolve().relative_to(notebooks.BOOK.resolve())
    return f"{role[1]}/{Path(target).as_posix()}`"


def always_anew(app, env, added, changed, removed):
    """The page of the book's state is read in every build: what it shows is in no file of its own.

    Sphinx reads pages by their names, this one after all chapters, which may be executed by it.
    """
    return [STATUS] if STATUS in env.found_docs else []


def setup(app):
    app.add_directive("chapter-status", ChapterStatus)
    app.add_directive("check-status", CheckStatus)
    app.add_directive("record-status", RecordStatus)
    app.add_directive("roadmap", Roadmap)
    app.connect("env-get-outdated", always_anew)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
