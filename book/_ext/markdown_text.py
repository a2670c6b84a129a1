"""Small pieces of Markdown: what text needs so that it shows as it is."""

import re
from urllib.parse import quote


def escaped(text: str) -> str:
    """Text that Markdown shows as it is; an underscore within a word needs no help."""
    text = re.sub(r"[\\`*$]", r"\\\g<0>", text)
    text = re.sub(r"(?<!\w)_|_(?!\w)|~(?=~)", r"\\\g<0>", text)
    text = re.sub(r"\[(?=[^\]\n]*\]\()", r"\\[", text)
    text = re.sub(r"&(?=#?\w+;)", "&amp;", text)
    return re.sub(r"<(?=[A-Za-z/!])", "&lt;", text)


def one_line(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text)


def guarded(text: str) -> str:
    """A paragraph none of whose lines begins as a list, a heading, a quotation or a rule would."""
    lines = (re.sub(r"^(\d+)([.)])(?=\s)", r"\1\\\2", line.strip()) for line in text.split("\n"))
    return "\n".join(re.sub(r"^([-+#>=|])", r"\\\1", line) for line in lines).strip()


def marked(mark: str, text: str) -> str:
    inner = text.strip()
    if not inner:
        return text
    before, after = text.partition(inner)[::2]
    return f"{before}{mark}{inner}{mark}{after}"


def quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))


def quoted_url(address: str) -> str:
    return quote(address, safe="/:#?&=%~+,;@!$'")


def ends_in_text(text: str) -> bool:
    """Whether the last line is a paragraph's, so that a sign can follow it."""
    last = text.rpartition("\n")[2]
    return not re.match(r"\s*(\$\$|[-|>`<]|\d+\. )", last) and not last.startswith("  ")


def listed(items: list[tuple[str, str]]) -> str:
    tight = all("\n\n" not in text for _, text in items)
    written = []
    for mark, text in items:
        indented = text.replace("\n", "\n" + " " * len(mark))
        written.append(mark + re.sub(r"(?m)^ +$", "", indented))
    return ("\n" if tight else "\n\n").join(written)
