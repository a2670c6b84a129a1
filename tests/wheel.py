"""The library's own tests against its wheel, in an environment of the reader's.

python tests/wheel.py PYTHON               # the wheel is built and installed, without dependencies
python tests/wheel.py PYTHON -- -k flow    # what follows goes to pytest

PYTHON needs the library's dependencies, pytest and hypothesis; what versions they have is printed.
Tests that need more, or the repository, are left out; the others are copied, so that no file of
the repository is in reach. Lowest versions: `uv pip compile --resolution lowest-direct`.
"""

import argparse
import ast
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
HAS = {"flint", "hypothesis", "numpy", "pytest", "scipy", "sympy", "torch", "torchdiffeq", "tqdm"}
"""Packages that the environment has, by the names that they are imported by."""

OPTIONAL = {"numba"}
"""Tests look for them and do without."""

VERSIONS = """
import importlib.metadata, platform
names = "numpy scipy sympy torch torchdiffeq tqdm python-flint numba pytest hypothesis".split()
found = {each.metadata["Name"].lower(): each.version for each in importlib.metadata.distributions()}
print("Python", platform.python_version(), *(f"{n} {found[n]}" for n in names if n in found))
"""


def imported(path: Path) -> Iterator[str]:
    """Full names of what a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def library_alone(path: Path) -> bool:
    """Whether a test needs nothing but the library, its dependencies and a runner of tests."""
    text = path.read_text("utf-8")
    if any(word in text for word in ("parents[1]", "parents[2]", "fixtures", "(models", "(place")):
        return False
    for name in imported(path):
        top = name.split(".")[0]
        if top == "tokensphere":
            if name.startswith("tokensphere.paper"):
                return False
        elif top not in HAS | OPTIONAL | sys.stdlib_module_names:
            return False
    return True


def tests() -> list[Path]:
    return [path for path in sorted(TESTS.glob("test_*.py")) if library_alone(path)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("python", metavar="PYTHON")
    parser.add_argument("pytest", nargs="*", metavar="OPTION", help="after --, for pytest")
    arguments = parser.parse_args()
    python = str(Path(arguments.python).absolute())  # not resolved: a link is what makes it a venv
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "--python", python]
        source = Path(folder) / "source"  # a copy: an old build/ beside it would go into the wheel
        shutil.copytree(ROOT / "src" / "tokensphere", source / "src" / "tokensphere")
        for name in ("LICENSE", "README.md", "pyproject.toml"):
            shutil.copy(ROOT / name, source)
        build = ["wheel", "--quiet", "--no-deps", "--wheel-dir", folder, str(source)]
        subprocess.run([sys.executable, "-m", "pip", *build], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        install = ["install", "--quiet", "--no-deps", "--force-reinstall", str(wheel)]
        subprocess.run([*pip, *install], check=True)
        place = Path(folder) / "tests"
        place.mkdir()
        for path in tests():
            shutil.copy(path, place)
        (place / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
        subprocess.run([python, "-c", VERSIONS], check=True, cwd=folder)
        command = [python, "-m", "pytest", "-q", *arguments.pytest, str(place)]
        return subprocess.run(command, cwd=place).returncode


if __name__ == "__main__":
    sys.exit(main())
