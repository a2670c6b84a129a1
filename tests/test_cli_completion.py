"""Completion in a shell: what is offered where, and that nothing happens unless a shell asks."""

import os
import subprocess
import sys

import pytest

from tokensphere.cli import completion

pytest.importorskip("argcomplete", reason="extra completion")


def complete(tmp_path, line: str) -> set[str]:
    """What a shell is given to complete a line; the process must end without running it."""
    answer = tmp_path / "answer"
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    program = "import sys; from tokensphere.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", program, "claims", "--check", "none"],
        env=os.environ | asked,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return {each.strip() for each in answer.read_text("utf-8").split("\n")}


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("tokensphere cl", {"claims"}),
        ("tokensphere claims --s", {"--seed"}),
        ("tokensphere claims --check thm-3.3", {"thm-3.3", "thm-3.3-limit-exists"}),
        ("tokensphere records --renew falcon", {"falcon_shape"}),
        ("tokensphere run setting/fl", {"setting/flow"}),
        ("tokensphere rerun --scale ", {"smoke", "full"}),
    ],
)
def test_names_of_the_repository_are_offered(tmp_path, line, offered):
    assert complete(tmp_path, line) == offered


def test_nothing_is_done_where_no_shell_asks(monkeypatch):
    monkeypatch.delenv("_ARGCOMPLETE", raising=False)
    completion.offer(None)  # would fail on what is no parser
