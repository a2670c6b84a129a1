"""Who may import whom: the library knows nothing of the paper, and arrows point one way."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "tokensphere"

MAY = {
    "records": set(),
    "checkpoint": {"records"},
    "rates": set(),
    "s6": set(),
    "symbolic": set(),
    "flow": set(),
    "circle": {"flow"},
    "first_token": {"circle", "flow"},
    "other_tokens": {"first_token", "flow"},
    "sinks": {"flow", "records", "s6"},
    "one_dimension": {"symbolic"},
    "refine": {"s6"},
    "unnormalised": {"flow"},
    "reorder": {"checkpoint", "flow", "other_tokens", "records", "s6", "sinks"},
    "cli": {"paper", "sinks"},
    "__main__": {"cli"},
}
"""The rooms of the library, and those that each may import: ARCHITECTURE.md has the picture."""

for rooms in MAY.values():
    rooms.add("door")  # what every public function stands behind
MAY["door"] = set()
MAY["__init__"] = MAY.keys() - {"cli", "door", "__main__"}  # by name, when they are asked for


def imports(code: str, package: str) -> set[str]:
    """The modules of tokensphere that Python code imports, by full name; `package` is its own."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")
            start = base[: len(base) - node.level + 1] if node.level else []
            origin = ".".join([*start, *([node.module] if node.module else [])])
            found |= {f"{origin}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "tokensphere"}


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py"))


def package_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).parent.parts)


def room(name: str) -> str:
    """The room of a module, by its full name."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


LIBRARY = [path for path in files(PACKAGE) if PACKAGE / "paper" not in path.parents]


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_library_imports_only_rooms_below(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    reached = {room(name) for name in imports(path.read_text("utf-8"), package_of(path))}
    assert reached - {own} <= MAY[own]


def test_the_rooms_make_no_circle():
    left = dict(MAY)
    left["paper"] = set()
    while left:
        free = [name for name, needs in left.items() if not needs & left.keys()]
        assert free, f"a circle among {', '.join(left)}"
        for name in free:
            del left[name]


def test_only_the_command_knows_the_paper():
    assert [name for name, rooms in MAY.items() if "paper" in rooms] == ["cli"]


SHARED = ("ledger.", "printed", "checks.tools", "experiments.", "survey")
"""What checks of every chapter may import of the paper's wing."""


def chapter_of(path: Path) -> tuple[str, str]:
    return path.relative_to(PACKAGE / "paper" / "checks").with_suffix("").parts[:2]


@pytest.mark.parametrize(
    "path",
    [path for path in files(PACKAGE / "paper" / "checks") if path.stem != "__init__"],
    ids=lambda path: str(path.relative_to(PACKAGE / "paper")),
)
def test_a_check_imports_the_library_and_its_own_chapter_s_checks(path):
    for name in imports(path.read_text("utf-8"), package_of(path)):
        if not name.startswith("tokensphere.paper"):
            continue
        parts = name.split(".")
        allowed = name.startswith(tuple(f"tokensphere.paper.{module}" for module in SHARED))
        own = parts[2] == "checks" and tuple(parts[3:5]) == chapter_of(path)
        assert allowed or own, f"{name} is another chapter's, or the book's"


@pytest.mark.parametrize("path", files(PACKAGE / "paper" / "figures"), ids=lambda path: path.stem)
def test_a_figure_imports_no_check(path):
    names = imports(path.read_text("utf-8"), package_of(path))
    assert not [name for name in names if name.startswith("tokensphere.paper.checks")]


READ = ("figures", "survey", "experiments.", "rerun.kept", "printed")
"""What chapters may import of the paper's wing: how it draws, counts, runs live, keeps a value, and
what the paper's tables print."""


@pytest.mark.parametrize("path", sorted((ROOT / "book").rglob("*.md")), ids=lambda path: path.stem)
def test_a_chapter_imports_the_library_and_what_the_book_draws_and_counts(path):
    from chapter_code import lines_of_code

    names = imports(lines_of_code(path.read_text("utf-8")), "")
    paper = {name for name in names if name.startswith("tokensphere.paper")}
    allowed = tuple(f"tokensphere.paper.{module}" for module in READ)
    assert all(name.startswith(allowed) for name in paper), paper


@pytest.mark.parametrize("path", files(PACKAGE), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_long_file_says_why_at_its_top(path):
    text = path.read_text("utf-8")
    if len(text.splitlines()) > 400:
        assert "One file of over 400 lines" in (ast.get_docstring(ast.parse(text)) or "")
