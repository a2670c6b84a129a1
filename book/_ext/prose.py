"""The prose of a page: its paragraphs, their words and formulas, and the minutes it takes to read.

The role {minutes}`setting/flow, setting/simulations` writes how long these pages take. What a
page's paragraphs must hold is in `tests/test_prose.py`.
"""

import functools
import math
import re
from dataclasses import dataclass

import notebooks
import yaml
from docutils import nodes
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser
from sphinx.util.docutils import SphinxRole

WORDS_A_MINUTE = 200
FORMULA = "\N{DOTTED CIRCLE}"
"""What stands for an inline formula in a paragraph's text."""

NOT_PROSE = {"code-cell", "math", "figure", "image", "toctree", "bibliography"}
"""Directives whose content is no Markdown to read."""

MARKS = {"claim", "entry"}
"""Roles that write links to the ledger, which are not read."""


@dataclass(frozen=True)
class Paragraph:
    """A paragraph or a table's cell.

    Attributes:
        line: of the file, from 1, where it starts.
        text: with `FORMULA` for each inline formula and without marks of the ledger.
        inside: the directives around it, outermost first, and "table" for a cell.
    """

    line: int
    text: str
    inside: tuple[str, ...] = ()

    @property
    def words(self) -> int:
        """Words; an inline formula, with what is glued to it, is one."""
        return len([word for word in self.text.split() if re.search(rf"\w|{FORMULA}", word)])

    @property
    def formulas(self) -> int:
        return self.text.count(FORMULA)


@dataclass(frozen=True)
class Block:
    """A heading, directive, display, table or other block of a page, in order.

    Attributes:
        kind: "h1", "h2", ..., "display", "table", or a directive's name in braces.
        line: of the file, from 1, where it starts.
        last: its last line.
        title: the text of a heading or what follows a directive's name.
        content: a directive's lines; the cells of a table's head, one a line.
        inside: the directives around it, outermost first.
    """

    kind: str
    line: int
    last: int
    title: str = ""
    content: str = ""
    inside: tuple[str, ...] = ()

    @property
    def options(self) -> dict:
        """A directive's options, or the metadata of a code cell."""
        if self.content.startswith("---\n"):
            head = self.content.split("---\n")[1]
        else:
            head = "\n".join(line[1:] for line in _split(self.content)[0])
        return yaml.safe_load(head) or {}


@dataclass(frozen=True)
class Page:
    """What a page consists of."""

    paragraphs: list[Paragraph]
    blocks: list[Block]


@functools.cache
def _parser():
    extensions = {"amsmath", "colon_fence", "deflist", "dollarmath", "html_image", "tasklist"}
    return create_md_parser(MdParserConfig(enable_extensions=extensions), RendererHTML)


def parse(text: str) -> Page:
    """The paragraphs and blocks of MyST Markdown, also of those inside directives."""
    page = Page([], [])
    _walk(text, 0, (), page)
    return page


def _walk(text: str, offset: int, inside: tuple[str, ...], page: Page) -> None:
    """Adds what is in a text that starts after `offset` lines of its file."""
    tokens = _parser().parse(text)
    line, in_head, head = 0, False, []
    for place, token in enumerate(tokens):
        start, end = token.map or (line, line + 1)
        line = start
        where = {"line": offset + start + 1, "last": offset + end, "inside": inside}
        if token.type in ("fence", "colon_fence") and token.info.startswith("{"):
            _directive(token, where, page)
        elif token.type.startswith(("math_block", "amsmath")):
            page.blocks.append(Block("display", **where))
        elif token.type == "heading_open":
            page.blocks.append(Block(token.tag, title=_plain(tokens[place + 1]), **where))
        elif token.type == "table_open":
            table = where
        elif token.type in ("thead_open", "thead_close"):
            in_head = token.type == "thead_open"
            if not in_head:
                page.blocks.append(Block("table", content="\n".join(head), **table))
                head = []
        elif token.type == "inline" and tokens[place - 1].type in ("th_open", "td_open"):
            if in_head:
                head.append(_plain(token))
            page.paragraphs.append(Paragraph(where["line"], _plain(token), (*inside, "table")))
        elif token.type == "paragraph_open" and (text := _plain(tokens[place + 1])):
            page.paragraphs.append(Paragraph(where["line"], text, inside))


def _directive(token: Token, where: dict, page: Page) -> None:
    name, _, title = token.info[1:].partition("}")
    page.blocks.append(Block(f"{{{name}}}", title=title.strip(), content=token.content, **where))
    if name in NOT_PROSE:
        return
    options, body = _split(token.content)
    folded = any(re.match(r":class:.*\bdropdown\b", option) for option in options)
    around = (*where["inside"], name, *(["folded"] if folded else []))
    _walk("\n".join(body), where["line"] + len(options), around, page)


def _split(content: str) -> tuple[list[str], list[str]]:
    """The lines of a directive's options, and those of its body."""
    lines = content.split("\n")
    body = next((i for i, line in enumerate(lines) if not re.match(r":[\w-]+:", line)), len(lines))
    return lines[:body], lines[body:]


def _plain(token: Token) -> str:
    """The text of an inline token as one reads it."""
    parts = []
    for child in token.children or []:
        if child.type.startswith(("math_inline", "math_single")):
            parts.append(FORMULA)
        elif child.type == "myst_role":
            name = child.meta["name"]
            if name not in MARKS:
                parts.append(re.sub(r"\s*<[^<>]*>$", "", child.content))
        elif child.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif child.type in ("text", "code_inline", "html_inline", "text_special"):
            parts.append(child.content)
    return "".join(parts).strip()


def minutes(pages: list[str]) -> int:
    """How long the prose of these pages takes to read, code aside."""
    texts = [notebooks.source(page).read_text("utf-8") for page in pages]
    words = sum(paragraph.words for text in texts for paragraph in parse(text).paragraphs)
    return math.ceil(words / WORDS_A_MINUTE)


class MinutesRole(SphinxRole):
    """{minutes}`page, page`: how long they take to read; `all` are the chapters."""

    def run(self):
        chapters = notebooks.chapters()
        pages = [page.strip() for page in self.text.split(",")]
        argued = [page for page in chapters if page != notebooks.QUICKSTART]
        pages = argued if pages == ["all"] else pages
        for page in pages:
            if page not in chapters:
                raise ValueError(f"minutes: no chapter {page!r} in _toc.yml")
            self.env.note_dependency(str(notebooks.source(page)))
        hours, rest = divmod(minutes(pages), 60)
        return [nodes.Text(f"{hours} h {rest:02} min" if hours else f"{rest} min")], []


def setup(app):
    app.add_role("minutes", MinutesRole())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
