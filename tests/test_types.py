"""What `make types` leaves unchecked, and why it may."""

import json
import tomllib
from pathlib import Path

import tokensphere

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "tokensphere"
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mypy"]
FIELDS = {"arg-type", "call-overload", "index", "operator", "union-attr"}
"""What is said of a parameter that may be a tensor, factors, or a function of time."""


def bound() -> set[str]:
    """The modules that a record is bound to."""
    records = (json.loads(path.read_text("utf-8")) for path in (ROOT / "results").glob("**/*.json"))
    found = [record["code"] for record in records if isinstance(record, dict) and "code" in record]
    assert len(found) > 10
    return {module for code in found for module in code}


def excused() -> list[dict]:
    """The overrides that name modules of the library."""
    return [each for each in SETTINGS["overrides"] if each["module"][0].startswith("tokensphere.")]


def test_only_modules_of_records_may_lack_annotations():
    loose = [each for each in excused() if not each.get("disallow_untyped_defs", True)]
    assert len(loose) == 1
    assert set(loose[0]["module"]) <= bound()


def test_other_errors_are_excused_in_modules_of_records_or_where_fields_are_read():
    for each in excused():
        if not set(each["module"]) <= bound():
            assert set(each) == {"module", "disable_error_code"}
            assert set(each["disable_error_code"]) <= FIELDS


def test_what_is_excused_exists_and_no_room_is_excused_whole():
    for each in excused():
        assert each["module"] == sorted(set(each["module"]))
        for module in each["module"]:
            base = PACKAGE.joinpath(*module.split(".")[1:])
            assert base.with_suffix(".py").is_file() or (base / "__init__.py").is_file(), module
        assert "ignore_errors" not in each
    assert SETTINGS["strict"] and SETTINGS["exclude"] == "/tokensphere/paper/"


def test_checkers_of_types_are_told_that_the_package_has_types():
    assert (Path(tokensphere.__file__).parent / "py.typed").is_file()
