"""The command line: what it prints, where, and its exit codes."""

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

import tokensphere
from tokensphere import cli


@dataclass(frozen=True)
class Claim:
    id: str
    where: str
    statement: str
    verdict: str
    correction: str = ""
    remains: str = ""
    chapter: str = "setting/flow"


LEDGER = {
    claim.id: claim
    for claim in (
        Claim("eq-1", "eq (1)", "The recurrence is linear in its input. " * 20, "holds"),
        Claim("eq-12", "eq (12)", "The step is that of the query.", "corrected", "Of the key."),
        Claim("rem-2.1", "Remark 2.1", "The flow keeps the sphere.", "holds"),
    )
}


def check(identity, seed=0):
    """eq-1 is confirmed, eq-12 is not, rem-2.1 breaks."""
    if identity == "rem-2.1":
        raise ArithmeticError("singular")
    evidence = {
        "stated": SimpleNamespace(
            passed=identity == "eq-1",
            numbers={"error": np.float64(1.25e-7), "seed": seed, "time": math.inf, "at": [0.5, 1]},
        )
    }
    return SimpleNamespace(
        claim=LEDGER[identity], confirmed=identity == "eq-1", evidence=evidence, seconds=0.125
    )


@pytest.fixture
def ledger(monkeypatch):
    fake = SimpleNamespace(LEDGER=LEDGER, check=check)
    monkeypatch.setitem(sys.modules, "tokensphere.claims", fake)
    monkeypatch.setattr(tokensphere, "claims", fake, raising=False)


@pytest.fixture
def book(tmp_path, monkeypatch):
    folder = tmp_path / "book"
    (folder / "setting").mkdir(parents=True)
    (folder / "_toc.yml").touch()
    (folder / "setting" / "tiny.md").write_text(
        "---\njupytext:\n  text_representation: {extension: .md, format_name: myst}\n"
        "kernelspec: {name: python3, display_name: Python 3}\n---\n"
        "```{code-cell} ipython3\n:tags: [parameters]\nn = 3\nlabel = 'a'\nrate = 1.0\n```\n\n"
        "```{code-cell} ipython3\nassert n < 50\nprint(n, label, rate)\n```\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys, arguments, *said):
    """The command ends with 2 and one line on stderr that says all of `said`."""
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("tokensphere: ")
    assert err.count("\n") == 1
    for part in said:
        assert part in err


def test_the_table_lists_every_claim_and_runs_none(ledger, capsys, monkeypatch):
    monkeypatch.setattr(tokensphere.claims, "check", None)
    monkeypatch.setenv("COLUMNS", "100")
    assert cli.main(["claims"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["id", "where", "verdict", "statement"]
    assert [line.split()[0] for line in lines[1:]] == list(LEDGER)
    assert "corrected" in lines[2] and "The step is that of the query." in lines[2]
    assert lines[1].endswith(" ...")
    assert max(map(len, lines)) <= 100


def test_the_table_as_json(ledger, capsys):
    assert cli.main(["claims", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [claim["id"] for claim in document["claims"]] == list(LEDGER)
    assert document["claims"][1] == vars(LEDGER["eq-12"])


def test_a_confirmed_claim_ends_with_0(ledger, capsys):
    assert cli.main(["claims", "--check", "eq-1", "--check", "eq-1", "--seed", "4"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == [
        "eq-1: holds, confirmed (0.12 s)",
        "  stated: passed; error = 1.25e-07, seed = 4, time = inf, at = [0.5, 1]",
    ]


def test_one_claim_not_confirmed_ends_with_1(ledger, capsys):
    assert cli.main(["claims", "--check", "eq-12", "--check", "eq-1"]) == 1
    out = capsys.readouterr().out
    assert "eq-12: corrected, NOT CONFIRMED" in out
    assert "eq-1: holds, confirmed" in out
    assert "stated: failed" in out


def test_a_check_that_breaks_is_not_confirmed_and_keeps_the_rest(ledger, capsys):
    assert cli.main(["claims", "--check", "rem-2.1", "--check", "eq-1"]) == 1
    out = capsys.readouterr().out
    assert "rem-2.1: holds, NOT CONFIRMED: ArithmeticError: singular" in out
    assert "eq-1: holds, confirmed" in out


def test_checks_as_json(ledger, capsys):
    assert cli.main(["claims", "--json", "--check", "all", "--seed", "3"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["seed"] == 3
    first, second, third = document["claims"]
    assert (first["confirmed"], second["confirmed"], third["confirmed"]) == (True, False, False)
    assert first["evidence"]["stated"] == {
        "passed": True,
        "numbers": {"error": 1.25e-7, "seed": 3, "time": "inf", "at": [0.5, 1]},
    }
    assert third["error"] == "ArithmeticError: singular"


def test_an_unknown_claim_is_named_with_those_like_it(ledger, capsys):
    refused(capsys, ["claims", "--check", "eq-1", "--check", "eq-13"], "'eq-13'", "eq-12")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND"),
        (["fly"], "'fly'"),
        (["claims", "--seed", "x"], "'x'"),
        (["claims", "--seed", "1"], "--seed"),
        (["claims", "--verbose"], "--verbose"),
        (["run"], "CHAPTER"),
        (["run", "tiny", "-p", "n"], "-p"),
    ],
)
def test_a_mistyped_command_is_one_line(ledger, capsys, arguments, said):
    refused(capsys, arguments, said)


def test_run_executes_the_chapter_with_the_parameter(book, capsys):
    arguments = ["-p", "n", "-6", "-p", "rate", "1e-3", "-p", "label", '"7"']
    assert cli.main(["run", "setting/tiny", *arguments]) == 0
    assert capsys.readouterr().out == f"{book / 'tiny.ipynb'}\n"
    last = json.loads((book / "tiny.ipynb").read_text())["cells"][-1]
    assert "".join(last["outputs"][0]["text"]) == "-6 7 0.001\n"


def test_a_failed_run_ends_with_1_and_leaves_no_output(book, capsys):
    assert cli.main(["run", "tiny", "-p", "n", "60", "--out", "mine.ipynb"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("tokensphere: tiny: cell ")
    assert "AssertionError" in err.splitlines()[-1]
    assert sorted(entry.name for entry in book.iterdir()) == ["book", "mine.failed.ipynb"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tinny"], ("'tinny'", "setting/tiny")),
        (["tiny", "-p", "m", "1"], ("'m'", "n, label, rate")),
        (["tiny", "-p", "n", "six"], ("'n'", "int", "'six'")),
        (["tiny", "--out", "none/x.ipynb"], ("none",)),
        (["gone.md"], ("gone.md",)),
    ],
)
def test_bad_input_to_run_is_one_line(book, capsys, arguments, said):
    refused(capsys, ["run", *arguments], *said)
    assert [entry.name for entry in book.iterdir()] == ["book"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("6", 6),
        ("-1e-9", -1e-9),
        ("1.", 1.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("[2, 3]", [2, 3]),
        ("smoke", "smoke"),
        ("'6'", "6"),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("[2", "[2"),
    ],
)
def test_a_value_is_what_it_looks_like(text, value):
    assert cli._scalar(text) == value
    assert type(cli._scalar(text)) is type(value)


def python(code):
    return [sys.executable, "-c", code]


def test_importing_the_command_imports_nothing_heavy():
    code = "import sys, tokensphere.cli; print(sorted({'torch', 'papermill', 'sympy', 'numpy', "
    code += "'transformers', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run(python(code), capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_version_is_printed(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"tokensphere {cli._version()}\n"


@pytest.mark.parametrize("claims", [3, 9999])
def test_a_closed_pipe_is_quiet(claims):
    # A reader that is gone: seen while printing what overflows the buffer, or only at its flush.
    code = (
        "import sys; from types import SimpleNamespace as S; import tokensphere; "
        "c = S(id='a', where='b', verdict='holds', statement='c'); "
        f"m = S(LEDGER={{i: c for i in range({claims})}}); "
        "sys.modules['tokensphere.claims'] = tokensphere.claims = m; "
        "from tokensphere.cli import main; sys.exit(main(['claims']))"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(python(code), stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
