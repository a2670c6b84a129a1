"""What an import loads: modules are counted, in processes of their own; seconds never."""

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import tokensphere

HEAVY = {"matplotlib", "plotly", "sympy", "transformers"}
"""What a reader of numbers may never need: loaded by the function that does."""

ALGEBRA = {"symbolic", "one_dimension"}
"""Rooms that load sympy. Symbols are what `symbolic` is for. `one_dimension` gives its field in
sympy too, and its import moves into that function when the record `line` is next renewed."""

NUMBERS = {"numpy", "scipy", "torch"}
WITHOUT_NUMBERS = {"circle", "records"}
"""Rooms that compute in rationals and balls, or not at all."""

STANDARD = 60
"""More than the modules of the standard library that the package alone brings in; torch brings in
a thousand."""


def loaded(program: str) -> set[str]:
    """The modules that a program has loaded at its end."""
    code = f"{program}\nimport sys\nprint('loaded', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_the_package_alone_loads_nothing():
    more = loaded("import tokensphere") - loaded("")
    assert not {name.split(".")[0] for name in more} - {"tokensphere"} - sys.stdlib_module_names
    assert {name for name in more if name.startswith("tokensphere")} == {"tokensphere"}
    assert len(more) < STANDARD


def test_a_door_loads_nothing_to_stand_there():
    assert not loaded("import tokensphere.door") & {*HEAVY, *NUMBERS}


def test_the_command_loads_nothing_before_it_has_work():
    names = loaded(
        "from tokensphere.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0"
    )
    assert not names & {*HEAVY, *NUMBERS}


@pytest.mark.parametrize(
    ("rooms", "never"),
    [
        (WITHOUT_NUMBERS - ALGEBRA, HEAVY | NUMBERS),
        (set(tokensphere.__all__) - WITHOUT_NUMBERS - ALGEBRA, HEAVY),
        (ALGEBRA, HEAVY - {"sympy"}),
    ],
    ids=["without numbers", "with numbers", "with symbols"],
)
def test_rooms_load_what_they_compute_with(rooms, never):
    # One process for all of them: torch takes seconds to load.
    program = (
        "import sys, tokensphere\n"
        f"for room in {sorted(rooms)}:\n"
        "    assert getattr(tokensphere, room) is sys.modules[f'tokensphere.{room}']\n"
        f"    more = {never} & sys.modules.keys()\n"
        "    assert not more, f'{room} loads {more}'"
    )
    assert {f"tokensphere.{room}" for room in rooms} <= loaded(program)


def test_every_room_has_its_name():
    folder = Path(tokensphere.__file__).parent
    found = {path.stem for path in folder.iterdir() if path.is_dir() or path.suffix == ".py"}
    not_rooms = {"__init__", "__main__", "__pycache__", "cli", "door", "paper"}
    assert found - not_rooms == set(tokensphere.__all__) <= set(dir(tokensphere))
    tree = ast.parse((folder / "__init__.py").read_text("utf-8"))
    typed = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    assert [alias.name for node in typed for alias in node.names] == tokensphere.__all__


def test_a_name_that_is_no_room_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'tokensphere' has no attribute 'fluw'"):
        tokensphere.fluw  # noqa: B018


@pytest.mark.parametrize("module", ["tokensphere", "tokensphere.cli"])
def test_python_m_is_the_command(module):
    done = subprocess.run(
        [sys.executable, "-m", module, "--version"], capture_output=True, text=True
    )
    version = importlib.metadata.version("tokensphere")
    assert (done.returncode, done.stdout) == (0, f"tokensphere {version}\n")
    bad = subprocess.run([sys.executable, "-m", module, "no"], capture_output=True, text=True)
    assert bad.returncode == 2 and len(bad.stderr.splitlines()) == 1


def test_importing_the_main_module_runs_nothing():
    import tokensphere.__main__ as main

    assert main.main
