"""The book's TeX macros written out, for a reader whose MathJax does not know them."""

import re
from collections.abc import Mapping

# A command, an escaped character, or one character; blanks after a command belong to it.
TOKEN = re.compile(r"\\[A-Za-z]+\s*|\\.|.", re.DOTALL)


def expand(tex: str, macros: Mapping[str, str | list]) -> str:
    """`tex` with every macro replaced, those inside arguments and replacements too.

    macros: as MathJax takes them: name -> replacement, or [replacement, number of arguments].

    Raises ValueError where an argument is missing or a brace stays open.
    """
    tokens = TOKEN.findall(tex)
    written, place = [], 0
    while place < len(tokens):
        token = tokens[place]
        place += 1
        name = token[1:].strip() if token.startswith("\\") else ""
        if name not in macros:
            written.append(token)
            continue
        macro = macros[name]
        body, count = (macro, 0) if isinstance(macro, str) else macro[:2]
        blanks = token[1 + len(name) :] if count == 0 else ""
        arguments = []
        for _ in range(count):
            argument, place = _argument(tokens, place, name)
            arguments.append(argument)
        for part in re.split(r"(#\d)", expand(body, macros)):
            number = re.fullmatch(r"#(\d)", part)
            written.append(expand(arguments[int(number[1]) - 1], macros) if number else part)
        written.append(blanks)
    return _joined(written)


def _joined(parts: list[str]) -> str:
    """The parts one after another; a blank keeps a command from the letters of the next part."""
    text, last = "", ""
    for part in filter(None, parts):
        if part[0].isalpha() and re.search(r"\\[A-Za-z]+$", last):
            text += " "
        text, last = text + part, part
    return text


def _argument(tokens: list[str], place: int, name: str) -> tuple[str, int]:
    """The argument that begins at `place`, without its braces, and where the rest begins."""
    while place < len(tokens) and tokens[place].isspace():
        place += 1
    if place == len(tokens):
        raise ValueError(f"\\{name} lacks an argument in {''.join(tokens)!r}")
    if tokens[place] != "{":
        return tokens[place], place + 1
    depth = 0
    for end in range(place, len(tokens)):
        depth += {"{": 1, "}": -1}.get(tokens[end], 0)
        if depth == 0:
            return "".join(tokens[place + 1 : end]), end + 1
    raise ValueError(f"a brace stays open after \\{name} in {''.join(tokens)!r}")
