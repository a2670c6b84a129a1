"""The library's docstrings as reStructuredText.

They are written to be read in an editor: "Args:" with a line each, formulas in indented blocks,
stars and bars as mathematics has them. reStructuredText would take these for markup.
"""

import re
import textwrap
from collections.abc import Callable, Iterator
from itertools import groupby

SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises):(?: (.+))?")
ITEM = re.compile(r"([*\w.`]+(?:(?:, | and )[*\w.`]+)*)( \(.*?\))?: +(.+)")
CODE = re.compile(r"(:[\w:]+:`[^`]+`|``.+?``|`[^`]+`)", re.DOTALL)
STRESSED = re.compile(r"(?<![\w*])(?P<star>\*\*?)(?=\w)([\w -]*\w)(?P=star)(?![\w*])")
ADDRESS = re.compile(r"[A-Za-z_][\w.]*(?:\(\))?")

Known = Callable[[str], bool]


def restructured(lines: list[str], known: Known = lambda name: False) -> list[str]:
    """The lines of a docstring, without its common indentation, as reStructuredText.

    known: whether a name in code type has a place to link to.
    """
    found: list[str] = []
    for kind, block in _blocks(lines):
        if kind == "section":
            found += _section(block, known)
        elif kind == "shown":
            found += [".. code-block:: text", "", *_indented(_dedented(block))]
        elif len(items := _items(block)) > 1:
            found += _definitions(items, known)
        else:
            found += inline("\n".join(block), known).split("\n")
        found.append("")
    return found


def inline(text: str, known: Known = lambda name: False) -> str:
    """Prose to the letter; what is in code type linked where its name is known."""
    parts = []
    for piece in CODE.split(text):
        if not CODE.fullmatch(piece):
            parts.append(_prose(piece))
            continue
        if not piece.startswith(":"):
            code = " ".join(piece.strip("`").split())
            name = code.removesuffix("()")
            link = ADDRESS.fullmatch(code) and known(name)
            piece = f":py:obj:`{name}`" if link else f"``{code}``"
        # Markup begins and ends at a word's edge, and an escaped space, which is not shown, is one.
        parts.append(f"\\ {piece}\\ ")
    return "".join(parts)


def _prose(text: str) -> str:
    """Text to the letter, but for words in stars, which are stressed."""
    found, at = "", 0
    for stressed in STRESSED.finditer(text):
        found += _escaped(text[at : stressed.start()]) + stressed[0]
        at = stressed.end()
    return found + _escaped(text[at:])


def _escaped(text: str) -> str:
    return re.sub(r"(?<=\w)_(?!\w)", r"\\_", re.sub(r"([\\*|`])", r"\\\1", text))


def _blocks(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Sections with all that is indented below them; indented blocks; paragraphs and lists."""
    at = 0
    while at < len(lines):
        line, start = lines[at], at
        at += 1
        if not line.strip():
            continue
        if SECTION.fullmatch(line):
            while at < len(lines) and (not lines[at].strip() or lines[at].startswith(" ")):
                at += 1
            yield "section", lines[start:at]
            continue
        if not line.startswith(" "):
            while at < len(lines) and lines[at].strip() and not SECTION.fullmatch(lines[at]):
                at += 1
            block = lines[start:at]
            if block[0].startswith(("- ", "1. ")) or len(_items(block)) > 1:
                yield "text", block
            else:
                # A drawing below its sentence, without a line between them.
                for shown, part in groupby(block, lambda line: line.startswith(" ")):
                    yield "shown" if shown else "text", list(part)
            continue
        while at < len(lines) and (not lines[at].strip() or lines[at].startswith(" ")):
            at += 1
        yield "shown", lines[start:at]


def _section(block: list[str], known: Known) -> list[str]:
    name, rest = SECTION.fullmatch(block[0]).groups()
    body = _dedented(block[1:])
    if rest:  # a sentence that begins on the section's own line
        content = restructured([rest, *(line.strip() for line in body)], known)
    elif items := _items(body):
        content = _definitions(items, known)
    else:
        content = restructured(body, known)
    title = {"Args": "Parameters"}.get(name, name)
    # A field without a word on its line may not be followed by a blank one.
    return [f":{title}:", *_indented(content)]


def _items(block: list[str]) -> list[tuple[str, str, list[str]]]:
    """Names, notes and texts, where each line is an item or goes on with one; [] where not."""
    items: list[tuple[str, str, list[str]]] = []
    for line in block:
        item = ITEM.fullmatch(line)
        if item:
            items.append((item[1], item[2] or "", [item[3]]))
        elif items and (not line.strip() or line.startswith(" ")):
            items[-1][2].append(line)
        else:
            return []
    return items


def _definitions(items: list[tuple[str, str, list[str]]], known: Known) -> list[str]:
    found = []
    for names, note, (first, *more) in items:
        term = ", ".join(f"``{name.strip('`')}``" for name in re.split(", | and ", names))
        text = restructured([first, *_dedented(more)], known)
        found += [term + inline(note), *_indented(text)]
    return found


def _dedented(lines: list[str]) -> list[str]:
    return textwrap.dedent("\n".join(lines)).strip("\n").split("\n") if lines else []


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" if line else "" for line in lines]
