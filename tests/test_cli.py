"""The command line: what it prints, where, and its exit codes."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import tokensphere
from tokensphere import cli
from tokensphere.paper import ledger as paper
from tokensphere.paper.ledger import Check, Claim, Evidence, below, equal


def eq_1(generator):
    numbers = {"error": np.float64(1.25e-7), "time": math.inf, "at": [0.5, 1]}
    return Evidence([below("off by", 0.25, 1.0)], numbers)


def wrong(generator):
    return Evidence([below("off by", 2.5, 1.0), equal("sign", 1, 1)])


def breaks(generator):
    raise ArithmeticError("singular")


def claim(id, number, statement, verdict, correction="", **functions):
    checks = {role: Fake(function) for role, function in functions.items()}
    return Claim(id, "ours", number, "here", statement, verdict, "setting/flow", checks, correction)


class Fake(Check):
    """A check that is no function of the ledger's modules."""

    def __init__(self, function):
        super().__init__(function.__module__, function.__name__, {"sign": 1})
        object.__setattr__(self, "function", function)

    def __call__(self, generator):
        return self.function(generator)


LEDGER = {
    one.id: one
    for one in (
        claim(
            "eq-1",
            "eq (1)",
            "The recurrence is linear in its input. " * 20,
            "holds",
            stated=eq_1,
            control=wrong,
        ),
        claim(
            "eq-12",
            "eq (12)",
            "The step is that of the query.",
            "holds amended",
            "Of the key.",
            stated=eq_1,
            corrected=wrong,
        ),
        claim("rem-2.1", "Remark 2.1", "It stays.", "holds", stated=breaks, control=wrong),
    )
}


@pytest.fixture
def ledger(monkeypatch):
    monkeypatch.setattr(paper, "ledger", lambda: LEDGER)


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
    monkeypatch.setattr(paper, "run", None)
    monkeypatch.setenv("COLUMNS", "100")
    assert cli.main(["claims"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["id", "where", "verdict", "statement"]
    assert [line.split()[0] for line in lines[1:]] == list(LEDGER)
    assert "holds amended" in lines[2] and "The step is that of the query." in lines[2]
    assert lines[1].endswith(" ...")
    assert max(map(len, lines)) <= 100


def test_the_table_as_json(ledger, capsys):
    assert cli.main(["claims", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [claim["id"] for claim in document["claims"]] == list(LEDGER)
    assert document["claims"][1] == {
        "id": "eq-12",
        "paper": "ours",
        "where": "eq (12), here",
        "statement": "The step is that of the query.",
        "verdict": "holds amended",
        "correction": "Of the key.",
        "power": "",
        "remains": "",
        "chapter": "setting/flow",
        "checks": {
            role: {"check": f"{__name__}.{name}", "arguments": {"sign": 1}}
            for role, name in (("stated", "eq_1"), ("corrected", "wrong"))
        },
    }


def test_a_confirmed_claim_ends_with_0(ledger, capsys):
    assert cli.main(["claims", "--check", "eq-1", "--check", "eq-1", "--seed", "4"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    first, *rest = out.splitlines()
    assert re.fullmatch(r"eq-1: holds, confirmed \(\d\.\d\d s\)", first)
    assert rest == [
        "  as stated: passes",
        "    + off by: 0.25, must be below 1",
        "      with error: 1.25e-07; time: inf; at: [0.5, 1]",
        "  control, made wrong on purpose: rejected",
        "    - off by: 2.5, must be below 1",
        "    + sign: 1, must be 1",
    ]


def test_one_claim_not_confirmed_ends_with_1(ledger, capsys):
    assert cli.main(["claims", "--check", "eq-12", "--check", "eq-1"]) == 1
    out = capsys.readouterr().out
    assert "eq-12: holds amended, NOT CONFIRMED" in out
    assert "eq-1: holds, confirmed" in out
    assert "as stated: passes, which it must not" in out
    assert "as corrected: fails, which it must not" in out


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
        "must_pass": True,
        "criteria": [{"what": "off by", "value": 0.25, "must": "below 1", "met": True}],
        "numbers": {"error": 1.25e-7, "time": "inf", "at": [0.5, 1]},
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


def test_run_reads_values_as_rerun_does(book, capsys):
    refused(capsys, ["run", "tiny", "-p", "n", "1", "-p", "n", "2"], "-p: n is given twice")
    refused(capsys, ["run", "tiny", "-p", "n", "#6"], "'n'", "'#6'")


def test_an_argument_that_is_no_text_is_refused(book, capsys):
    refused(capsys, ["run", "tiny", "-p", "label", "\udcff"], r"'\udcff' is not UTF-8")


def test_a_run_that_is_terminated_leaves_nothing(book):
    """Neither a draft nor a kernel; the exit code is a shell's of SIGTERM."""
    chapter = book / "book" / "setting" / "tiny.md"
    wait = "pathlib.Path('started').write_text(str(os.getpid())); time.sleep(600)"
    cell = f"```{{code-cell}} ipython3\nimport os, pathlib, time\n{wait}\n```\n"
    (chapter.parent / "waits.md").write_text(f"{chapter.read_text()}\n{cell}")
    process = subprocess.Popen([*python(MAIN), "run", "waits"], cwd=book, stderr=subprocess.PIPE)
    started = chapter.parent / "started"
    while not (started.exists() and started.read_text()) and process.poll() is None:
        time.sleep(0.05)
    process.terminate()
    _, err = process.communicate()
    assert process.returncode == 143
    assert err.decode().splitlines()[-1] == "tokensphere: terminated"
    assert [entry.name for entry in book.iterdir()] == ["book"]
    kernel = int(started.read_text())
    until = time.monotonic() + 300  # nothing says that a process stays: by now it does
    while psutil.pid_exists(kernel) and time.monotonic() < until:
        time.sleep(0.05)
    assert not psutil.pid_exists(kernel)


MAIN = "import sys; from tokensphere.cli import main; sys.exit(main(sys.argv[1:]))"


def python(code):
    return [sys.executable, "-c", code]


def test_importing_the_command_imports_nothing_heavy():
    code = "import sys, tokensphere.cli; print(sorted({'torch', 'papermill', 'sympy', 'numpy', "
    code += "'transformers', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run(python(code), capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_without_the_repository_claims_and_run_say_where_they_are(tmp_path, capsys):
    """The library as a wheel has it: without tokensphere.paper."""
    package = Path(tokensphere.__file__).parent
    shutil.copytree(package, tmp_path / "tokensphere", ignore=shutil.ignore_patterns("paper"))
    for arguments in (["claims"], ["claims", "--check", "eq-1"], ["run", "setting/flow"]):
        done = subprocess.run(
            [*python(MAIN), *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        assert "come with the repository" in done.stderr


def test_version_is_printed(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"tokensphere {cli._version()}\n"


@pytest.mark.parametrize("claims", [3, 9999])
def test_a_closed_pipe_is_quiet(claims):
    # A reader that is gone: seen while printing what overflows the buffer, or only at its flush.
    code = (
        "import sys; from types import SimpleNamespace as S; from tokensphere.paper import ledger; "
        "c = S(id='a', where='b', verdict='holds', statement='c'); "
        f"ledger.ledger = lambda: {{i: c for i in range({claims})}}; "
        "from tokensphere.cli import main; sys.exit(main(['claims']))"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(python(code), stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
