"""Skeletons of a new chapter and a new claim, which fail until they are filled.

python tests/skeleton.py chapter other-tokens/heads
python tests/skeleton.py claim thm-heads --chapter other-tokens/heads --verdict holds
"""

import argparse
import ast
import contextlib
import re
import sys
from pathlib import Path

from tokensphere.records import write_whole

ROOT = Path(__file__).resolve().parents[1]
TODO = "TO BE FILLED"
"""What every gap of a skeleton says; tests/test_skeleton.py fails as long as one is left."""
FORM = r"[a-z-]+/[a-z][a-z0-9_]*"
"""Of a chapter's name."""

CHAPTER = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
    format_version: 0.13
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# {title}

:::{{admonition}} In short
:class: in-short
**Asked.** {todo}: what the paper says, and what is asked of it.

**Found.**
- {todo}

**If you train models.** {todo}

**Read first.** {{doc}}`../setting/flow`.
:::

| claimed | would be refuted by |
| --- | --- |
| {todo} | {todo} |

```{{code-cell}} ipython3
import torch

from tokensphere.paper import figures
```

```{{code-cell}} ipython3
:tags: [parameters]

seed = 0
scale = "smoke"
```

```{{code-cell}} ipython3
raise NotImplementedError("{todo}: assert what is claimed, with a tolerance and its reason")
```

## Verdicts

Marks, one a statement of the ledger, stand in the box of each: `make new-claim` says how.

```{{code-cell}} ipython3
:tags: [nbval-skip]

figures.verdicts()
```

## Open

{todo}: what the chapter leaves open, a bullet each.

## Exercises

**1. {todo}** A change of the parameters, and what to look at.

:::{{dropdown}} What you should see
{todo}
:::
"""

STATEMENTS = """\
# The statements of book/{page}.md; the schema is in ledger.py.
paper = "ours"
"""

CHECKS = '"""Claims of the chapter {page}."""\n'

CLAIM = """
[[claim]]
id = "{id}"
place = "{todo}: section or appendix"
verdict = "{verdict}"
statement = '''
{todo}: what it says, in our words.
'''
{texts}{checks}"""

TEXT = """{name} = '''
{todo}: {says}
'''
"""

CHECK = """

def {name}(generator, case: str) -> Evidence:
    \"\"\"{todo}: what is computed, on which draws, and what would refute it.\"\"\"
    raise NotImplementedError("{todo}: the check of {id}")
"""

SAYS = {
    "correction": "what changes; what is true instead; or the gap and how it is closed.",
    "power": "what our runs could have seen.",
}


class Refused(ValueError):
    """A skeleton that cannot be written as asked for."""


def chapter(name: str, root: Path = ROOT) -> list[Path]:
    """Writes a chapter's page, statements and checks, and its line in _toc.yml.

    name: a part that there is and the chapter's file, as in other-tokens/heads.

    Raises Refused for another form of name, a part that is not there, a chapter that is.
    """
    if not re.fullmatch(FORM, name):
        raise Refused(f"NAME: got {name!r}, takes PART/CHAPTER such as other-tokens/heads")
    part, _, last = name.partition("/")
    toc = root / "_toc.yml"
    lines = toc.read_text("utf-8").splitlines(keepends=True)
    # Pages of the library's names are no chapters.
    parts = sorted(set(re.findall(r"- file: ([\w-]+)/", "".join(lines))) - {"api"})
    places = [n for n, line in enumerate(lines) if re.match(rf"\s*- file: {part}/", line)]
    if part not in parts:
        raise Refused(f"NAME: no part {part!r}, there are {', '.join(parts)}")
    if f"- file: {name}\n" in [line.lstrip() for line in lines]:
        raise Refused(f"NAME: there is a chapter {name}")
    page = root / "book" / f"{name}.md"
    statements, checks = _statements(name, root), _checks(name, root)
    if there := [path for path in (page, statements, checks) if path.exists()]:
        raise Refused(f"NAME: {there[0].relative_to(root)} is there already")
    title = last.replace("_", " ").capitalize()
    indent = re.match(r"\s*", lines[places[-1]])[0]
    lines.insert(places[-1] + 1, f"{indent}- file: {name}\n")
    _write({toc: "".join(lines), page: CHAPTER.format(title=title, todo=TODO)})
    return [page, toc]


def claim(id: str, name: str, verdict: str, root: Path = ROOT) -> list[Path]:
    """Writes an entry of the ledger and its check's function, to the files of a chapter.

    Raises Refused for an id that is taken or has other signs than the others', a verdict that is
    none, a chapter that is not there.
    """
    from tokensphere.paper import ledger

    if not re.fullmatch(r"[A-Za-z][\w.-]*", id):
        raise Refused(f"ID: got {id!r}, takes letters, digits, dots and hyphens, as in thm-3.3")
    if verdict not in ledger.VERDICTS:
        raise Refused(f"VERDICT: got {verdict!r}, takes one of {', '.join(ledger.VERDICTS)}")
    # A path that leads out of the book and into it again would be the statements' path too.
    if not re.fullmatch(FORM, name) or not (root / "book" / f"{name}.md").is_file():
        raise Refused(f"CHAPTER: no page book/{name}.md")
    for file in (root / "src/tokensphere/paper/statements").rglob("*.toml"):
        if f'id = "{id}"\n' in file.read_text("utf-8"):
            raise Refused(f"ID: {file.relative_to(root)} has {id!r}")
    statements, checks = _statements(name, root), _checks(name, root)
    if not checks.exists() and checks.with_suffix("").is_dir():
        raise Refused(
            f"CHAPTER: checks of {name} are a package, {checks.with_suffix('').relative_to(root)}: "
            "write the function into one of its modules, and MODULE.FUNCTION as its check"
        )
    function = re.sub(r"\W+", "_", id).lower()
    old = checks.read_text("utf-8") if checks.exists() else CHECKS.format(page=name)
    if function in {node.name for node in ast.parse(old).body if hasattr(node, "name")}:
        raise Refused(f"ID: {checks.relative_to(root)} has a function {function}")
    if "import Evidence" not in old and "Evidence," not in old:
        old = old.rstrip() + "\n\nfrom tokensphere.paper.ledger import Evidence, below, equal\n"
    rules = ledger.VERDICTS[verdict]
    texts = "".join(TEXT.format(name=text, todo=TODO, says=SAYS[text]) for text in rules.texts)
    # One function for all, which `case` tells apart; `control` is made wrong on purpose.
    roles = "".join(
        f'[claim.{role}]\ncheck = "{function}"\ncase = "{role}"\n'
        for role in rules.needs or rules.may
    )
    entry = CLAIM.format(id=id, todo=TODO, verdict=verdict, texts=texts, checks=roles)
    head = statements.read_text("utf-8") if statements.exists() else STATEMENTS.format(page=name)
    body = CHECK.format(name=function, id=id, todo=TODO)
    _write({statements: f"{head.rstrip()}\n{entry}", checks: f"{old.rstrip()}\n{body}"})
    return [statements, checks]


def _write(texts: dict[Path, str]) -> None:
    """Writes files, all of them or none: half of a skeleton could be neither filled nor redone.

    The last takes its name first: what names another file comes after it.
    """
    with contextlib.ExitStack() as stack:
        for path, text in texts.items():
            stream = stack.enter_context(write_whole(path))
            stream.write(text.encode())
            stream.flush()  # a full disk shows before the first takes its name


def gaps(root: Path = ROOT) -> list[str]:
    """The places, file and line, that skeletons left to be filled."""
    files = [
        *(root / "book").rglob("*.md"),
        *(root / "src/tokensphere/paper/statements").rglob("*.toml"),
        *(root / "src/tokensphere/paper/checks").rglob("*.py"),
    ]
    return [
        f"{path.relative_to(root)}:{number}"
        for path in sorted(files)
        if "_build" not in path.parts
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if TODO in line
    ]


def _statements(name: str, root: Path) -> Path:
    return root / "src/tokensphere/paper/statements" / f"{name}.toml"


def _checks(name: str, root: Path) -> Path:
    return root / "src/tokensphere/paper/checks" / f"{name.replace('-', '_')}.py"


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("chapter").add_argument("name", metavar="NAME")
    one = commands.add_parser("claim")
    one.add_argument("id", metavar="ID")
    one.add_argument("--chapter", required=True)
    one.add_argument("--verdict", default="holds")
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "chapter":
            written = chapter(arguments.name, root)
            after = "a first statement: make new-claim ID=... CHAPTER=" + arguments.name
        else:
            written = claim(arguments.id, arguments.chapter, arguments.verdict, root)
            after = (
                f"into the chapter: the mark {{claim}}`{arguments.id}` where it is treated, "
                f'and "{arguments.id}" in its figures.verdicts'
            )
    except (Refused, OSError) as error:
        print(f"skeleton: {error}", file=sys.stderr)
        return 2
    for path in written:
        print(path.relative_to(root))
    print(f"to be filled: what says {TODO}; {after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
