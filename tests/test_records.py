"""Records: what they hold, and that one which no longer matches is refused."""

import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
import time

import numpy as np
import pytest
import torch

from tokensphere import records

with_the_repository = pytest.mark.skipif(
    not (records.ROOT.parents[1] / "results").is_dir(),
    reason="records and the paper's wing come with the repository, and the package without it",
)

FORMULA = '''"""A module."""
from .base import two


def double(x):
    """Twice x."""
    # the formula
    return two * x  # of x
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package in place of ours: formula -> base; lone imports nothing."""
    root = tmp_path / "tokensphere"
    (root / "part").mkdir(parents=True)
    sources = {
        "__init__.py": '"""A package."""\n',
        "formula.py": FORMULA,
        "base.py": "two = 2\n",
        "lone.py": "one = 1\n",
        "part/__init__.py": "from .inner import thing\n",
        "part/inner.py": "from .. import lone\nfrom tokensphere import base\nthing = 3\n",
        "late.py": "def f():\n    import tokensphere.part\n",
    }
    for name, source in sources.items():
        (root / name).write_text(source)
        age(root / name)
    monkeypatch.setattr(records, "ROOT", root)
    return root


def age(file, seconds=3600.0):
    """Make a file look as if it was last edited that long ago."""
    then = time.time() - seconds
    os.utime(file, (then, then))


def save(path, data=1.0, *, parameters=None, code=("tokensphere.formula",), seconds=60.0, **more):
    return records.save(
        path, data, parameters=parameters or {}, code=list(code), seconds=seconds, **more
    )


def test_a_record_comes_back_as_it_was_saved(package, tmp_path):
    file = tmp_path / "results" / "run.json"
    data = {
        "rates": torch.tensor([0.5, 0.25], dtype=torch.float64),
        "grid": np.eye(2),
        "count": np.int64(3),
        "pair": (1, "two"),
        "flag": np.bool_(True),
    }
    saved = save(file, data, parameters={"n": 4, "law": {"mean": 0, "std": 1}}, seed=7)
    loaded = records.load(file, parameters={"law": {"std": 1, "mean": 0}, "n": 4})
    assert loaded == saved
    assert loaded.data == {
        "rates": [0.5, 0.25],
        "grid": [[1.0, 0.0], [0.0, 1.0]],
        "count": 3,
        "pair": [1, "two"],
        "flag": True,
    }
    assert (loaded.seed, loaded.seconds) == (7, 60.0)
    assert loaded.versions["torch"] and loaded.versions["numpy"] == np.__version__
    assert loaded.date.endswith("+00:00")
    assert loaded.device and loaded.device != "cpu"
    assert sorted(loaded.code) == ["tokensphere.base", "tokensphere.formula"]
    assert [entry.name for entry in file.parent.iterdir()] == ["run.json"]


def test_provenance_is_one_line_that_says_what_ran(package, tmp_path):
    line = save(tmp_path / "run.json", seconds=4000.0, seed=5).provenance()
    assert "\n" not in line
    for part in ("1 h 7 min", "seed 5", f"torch {torch.__version__.split('+')[0]}", "no commit"):
        assert part in line


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# the formula", "# the same formula, in other words"),
        ("  # of x", ""),
        ('"""Twice x."""', '"""Twice x, by a docstring\n\n    of several lines.\n    """'),
        ('"""A module."""', '"""Ein Modul für α."""'),
        ("\n\n\n", "\n\n\n\n\n"),
    ],
)
def test_a_change_of_words_keeps_the_record(package, tmp_path, old, new):
    save(tmp_path / "run.json")
    assert old in FORMULA
    (package / "formula.py").write_text(FORMULA.replace(old, new), encoding="utf-8")
    records.load(tmp_path / "run.json")


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [("formula", "two * x", "two + x"), ("base", "2", "3"), ("formula", "(x)", "(x, y=0)")],
)
def test_a_change_of_code_voids_the_record(package, tmp_path, module, old, new):
    save(tmp_path / "run.json")
    file = package / f"{module}.py"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(records.StaleRecord, match=rf"code of tokensphere\.{module} changed"):
        records.load(tmp_path / "run.json")


DOOR = """from tokensphere.door import (
    positive,  # numbers
    takes,
)
"""


@pytest.mark.parametrize(
    "decorator",
    ["@takes(x=positive())", "@ takes(  # why\n    x=positive(),\n\n    # and why\n)  # so"],
)
def test_a_door_before_a_function_keeps_the_record(package, tmp_path, decorator):
    save(tmp_path / "run.json")
    (package / "door.py").write_text("def takes(**rules): ...\n")
    behind = FORMULA.replace("from .base", f"{DOOR}from .base").replace(
        "def ", f"{decorator}\ndef "
    )
    (package / "formula.py").write_text(behind)
    records.load(tmp_path / "run.json")
    assert records.dependencies(["tokensphere.formula"]) == {
        "tokensphere.formula",
        "tokensphere.base",
    }


@pytest.mark.parametrize(
    "changed",
    [
        FORMULA.replace("def ", "@takes(x=1)\ndef "),  # from where?
        "from .other import takes\n" + FORMULA.replace("def ", "@takes(x=1)\ndef "),
        DOOR + FORMULA.replace("def ", "@cache\n@takes(x=1)\ndef "),
        DOOR + FORMULA.replace("    # the", "    takes(x=1)\n    # the"),
        DOOR.replace("takes", "takes as cache") + FORMULA.replace("def ", "@takes(x=1)\ndef "),
    ],
)
def test_what_only_looks_like_a_door_voids_the_record(package, tmp_path, changed):
    save(tmp_path / "run.json")
    (package / "formula.py").write_text(changed)
    with pytest.raises(records.StaleRecord, match="code of tokensphere.formula changed"):
        records.load(tmp_path / "run.json")


def test_stores_and_doors_void_no_record(package, tmp_path):
    (package / "checkpoint.py").write_text("one = 1\n")
    (package / "formula.py").write_text("from . import checkpoint\n" + FORMULA)
    age(package / "formula.py")
    record = save(tmp_path / "run.json")
    assert "tokensphere.checkpoint" not in record.code
    # Of records from before they were left out.
    record.code["tokensphere.checkpoint"] = record.code["tokensphere.door"] = "another"
    assert records.staleness(record) == []
    record.code["tokensphere.base"] = "another"
    assert records.staleness(record) == ["the code of tokensphere.base changed"]


def test_all_records_of_the_repository_are_of_its_code():
    found = {}
    for file in records.path("").rglob("*.json"):
        content = json.loads(file.read_text("utf-8"))
        if isinstance(content, dict) and "code" in content and "commit" in content:
            found[file.name] = records.staleness(records.read(file))
    assert len(found) > 10
    assert {name: why for name, why in found.items() if why} == {}


def test_a_module_that_the_run_did_not_use_may_change_or_go(package, tmp_path):
    save(tmp_path / "run.json")
    (package / "lone.py").unlink()
    records.load(tmp_path / "run.json")
    (package / "base.py").unlink()
    with pytest.raises(records.StaleRecord, match=r"tokensphere\.base is gone"):
        records.load(tmp_path / "run.json")


def test_a_module_edited_during_the_run_voids_the_record(package, tmp_path):
    age(package / "base.py", seconds=30.0)
    save(tmp_path / "run.json", seconds=60.0)
    with pytest.raises(records.StaleRecord, match=r"tokensphere\.base was edited while"):
        records.load(tmp_path / "run.json")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"n": 5, "law": "g"}, "parameter 'n' is 4 in the record, 5 was asked for"),
        ({"n": 4}, "parameter 'law' is \"g\" in the record, absent was asked for"),
        ({"n": 4, "law": "g", "new": True}, "parameter 'new' is absent in the record, true was"),
    ],
)
def test_other_parameters_void_the_record(package, tmp_path, asked, said):
    save(tmp_path / "run.json", parameters={"n": 4, "law": "g"})
    with pytest.raises(records.StaleRecord) as caught:
        records.load(tmp_path / "run.json", parameters=asked)
    assert said in str(caught.value)
    assert str(caught.value).count("parameter '") == 1
    records.load(tmp_path / "run.json")


@pytest.mark.parametrize(("one", "other"), [(True, 1), (0, False), (2, 2.0), ([1], [True])])
def test_values_that_python_takes_for_equal_are_other_parameters(package, tmp_path, one, other):
    save(tmp_path / "run.json", parameters={"n": one})
    assert records.staleness(records.read(tmp_path / "run.json"), {"n": one}) == []
    with pytest.raises(records.StaleRecord, match="^.*: stale record: parameter 'n' is .* asked"):
        records.load(tmp_path / "run.json", parameters={"n": other})


def test_imports_are_followed_in_every_form(package):
    found = records.dependencies(["tokensphere.late"])
    names = {"late", "part", "part.inner", "lone", "base"}
    # `from tokensphere import base` takes a module, so it does not drag the package itself in.
    assert found == {f"tokensphere.{name}" for name in names}


def test_an_engine_is_followed_only_where_it_is_named(package, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "ENGINES", ("tokensphere.part",))
    assert records.dependencies(["tokensphere.late"]) == {"tokensphere.late"}
    whole = {f"tokensphere.{name}" for name in ("late", "part", "part.inner", "lone", "base")}
    for named in ("tokensphere.part", "tokensphere.part.inner"):
        assert records.dependencies(["tokensphere.late", named]) >= whole - {"tokensphere.part"}
    save(tmp_path / "result.json", code=["tokensphere.late"])
    save(tmp_path / "tests.json", code=["tokensphere.part"])
    (package / "part" / "inner.py").write_text("thing = 4\n")
    records.load(tmp_path / "result.json")
    with pytest.raises(records.StaleRecord, match="part.inner"):
        records.load(tmp_path / "tests.json")


@with_the_repository
def test_the_engines_are_held_to_their_reference_on_a_gpu():
    named = json.loads(records.path("gpu_tests.json").read_text())["code"]
    assert all(engine in named for engine in records.ENGINES)


@with_the_repository
def test_every_module_of_the_real_package_can_be_recorded():
    for file in records.ROOT.rglob("*.py"):
        parts = file.relative_to(records.ROOT.parent).with_suffix("").parts
        module = ".".join(part for part in parts if part != "__init__")
        keeps = any(f"{module}.".startswith(f"{name}.") for name in records.KEEPERS)
        expected = set() if keeps else {module}
        assert records.dependencies([module]) >= expected
        assert records.digest(file.read_text("utf-8")) or file.name == "__init__.py"


def test_a_digest_is_of_the_text_that_runs():
    # Said in full, because the digest must be the same on every version of Python.
    source = '''"""A docstring."""

x = f"{1 + 1} # no comment"  # a comment


class A:
    """é"""; y = 2  # of y
    z: int
    """
    # of z
    """
'''
    runs = 'x = f"{1 + 1} # no comment"\nclass A:\n    ; y = 2\n    z: int'
    assert records.digest(source) == hashlib.sha256(runs.encode()).hexdigest()
    assert records.digest(source.replace("\n", "\r\n")) == records.digest(source)


@pytest.mark.parametrize("kind", ["", "f", "rb"])
def test_blank_lines_and_trailing_spaces_count_inside_a_string(kind):
    """As they do where it runs; not in a docstring, and not after the string."""
    source = f'x = {kind}"""one \n\ntwo""" \n\ny = 1\n'
    assert records.digest(source) == records.digest(source.replace('""" \n\n', '"""\n'))
    runs = f'x = {kind}"""one \n\ntwo"""\ny = 1'
    assert records.digest(source) == hashlib.sha256(runs.encode()).hexdigest()
    docstring = 'def f():\n    """one \n\n    two"""\n    return 1\n'
    assert records.digest(docstring) == records.digest("def f():\n    return 1\n")


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.6, 0.97])
def test_a_half_written_record_is_refused(package, tmp_path, keep):
    file = tmp_path / "run.json"
    save(file, {"long": list(range(50))})
    text = file.read_text()
    file.write_text(text[: int(keep * len(text))])
    with pytest.raises(ValueError, match=r"run\.json: not a whole record"):
        records.load(file)


@pytest.mark.parametrize("name", ["data", "parameters", "versions", "code", "commit"])
def test_a_missing_field_is_named(package, tmp_path, name):
    file = tmp_path / "run.json"
    save(file)
    content = json.loads(file.read_text())
    del content[name]
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"missing {name}"):
        records.load(file)


@pytest.mark.parametrize(
    ("name", "value"), [("code", {}), ("code", []), ("parameters", 3), ("date", "now")]
)
def test_a_field_of_the_wrong_kind_is_named(package, tmp_path, name, value):
    file = tmp_path / "run.json"
    save(file)
    file.write_text(json.dumps(json.loads(file.read_text()) | {name: value}))
    with pytest.raises(ValueError, match=f"not a record: {name}"):
        records.load(file)


def test_a_missing_record_is_one_line(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        records.load(tmp_path / "none.json")
    assert str(caught.value) == f"{tmp_path / 'none.json'}: no such record"


@pytest.mark.parametrize("bad", [math.nan, math.inf, np.array([0.0, -math.inf])])
def test_what_is_not_finite_is_refused_by_name(package, tmp_path, bad):
    with pytest.raises(ValueError, match=r"data\['a'\]\[1\]"):
        save(tmp_path / "run.json", {"a": [0.0, bad]})
    with pytest.raises(ValueError, match=r"parameters\['rate'\]"):
        save(tmp_path / "run.json", parameters={"rate": bad})
    assert not (tmp_path / "run.json").exists()


@pytest.mark.parametrize("bad", [1j, object(), {1: 2}, {"x"}])
def test_what_json_cannot_hold_is_refused_by_name(package, tmp_path, bad):
    with pytest.raises(TypeError, match=r"data\['a'\]"):
        save(tmp_path / "run.json", {"a": bad})


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("code", []),
        ("code", ["tokensphere.none"]),
        ("code", ["numpy"]),
        ("code", ["tokensphere"]),  # only a docstring: its digest would say nothing
        ("seconds", -1.0),
        ("seconds", math.nan),
        ("seed", 1.5),
        ("device", "abacus"),
    ],
)
def test_a_bad_argument_is_named(package, tmp_path, argument, value):
    with pytest.raises(ValueError, match=argument):
        save(tmp_path / "run.json", **{argument: value})
    assert not (tmp_path / "run.json").exists()


def test_a_write_that_breaks_keeps_the_old_record(package, tmp_path, monkeypatch):
    file = tmp_path / "run.json"
    save(file, 1.0)

    def full(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(records.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        save(file, 2.0)
    assert records.load(file).data == 1.0
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["run.json"]


def test_digests_are_those_of_a_record(package, tmp_path):
    found = records.digests(["tokensphere.formula"])
    assert found == save(tmp_path / "run.json", 1.0).code
    (package / "base.py").write_text("two = 3\n")
    changed = records.digests(["tokensphere.formula"])
    assert [name for name in found if found[name] != changed[name]] == ["tokensphere.base"]


@pytest.mark.skipif(not shutil.which("git"), reason="no git")
def test_the_commit_is_of_the_package_and_says_whether_it_was_changed(package, tmp_path):
    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "other.txt").write_text("x")
    git("add", "other.txt")
    git("commit", "-qm", "not the package")
    # The package lies in this checkout but is no part of it.
    assert save(tmp_path / "run.json").commit is None

    git("add", "tokensphere")
    git("commit", "-qm", "the package")
    record = save(tmp_path / "run.json")
    assert (record.commit, record.dirty) == (git("rev-parse", "HEAD"), False)
    assert f"commit `{record.commit[:10]}`)" in record.provenance()

    (package / "lone.py").write_text("one = 2\n")
    record = save(tmp_path / "run.json")
    assert record.dirty
    assert "with uncommitted changes" in record.provenance()


def test_the_environment_may_name_the_commit_that_was_copied(tmp_path, monkeypatch):
    options = {"parameters": {}, "code": ["tokensphere.s6"], "seconds": 0.0}
    monkeypatch.setenv("TOKENSPHERE_COMMIT", "0123abc")
    kept = records.save(tmp_path / "a.json", 1, **options)
    assert (kept.commit, kept.dirty) == ("0123abc", None)
    monkeypatch.delenv("TOKENSPHERE_COMMIT")
    assert records.save(tmp_path / "b.json", 1, **options).commit != "0123abc"


def test_versions_are_of_what_is_asked_for():
    found = records.versions(["pytest", "no-such-package"])
    assert found == {
        "python": platform.python_version(),
        "pytest": pytest.__version__,
        "no-such-package": None,
    }
