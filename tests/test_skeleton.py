"""Skeletons of chapters and claims: they fail until they are filled, and pass then."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest
import skeleton

from tokensphere.paper import ledger

ROOT = Path(__file__).resolve().parents[1]


def test_nothing_is_left_to_be_filled():
    assert skeleton.gaps() == []


PAPER = "src/tokensphere/paper"


def copied(to, *names):
    for name in names:
        ignored = shutil.ignore_patterns("_build", "images", "__pycache__")
        shutil.copytree(ROOT / name, to / name, ignore=ignored)
    shutil.copy(ROOT / "_toc.yml", to)
    return to


@pytest.fixture
def tree(tmp_path):
    """A copy of what skeletons are written into."""
    return copied(tmp_path, "book", f"{PAPER}/statements", f"{PAPER}/checks")


@pytest.fixture
def whole(tmp_path):
    """A copy that the command can run in."""
    return copied(tmp_path, "book", "src")


def check(tree, id):
    """The command's exit code and output on a statement of a tree."""
    done = subprocess.run(
        [sys.executable, "-m", "tokensphere", "claims", "--check", id],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree / "src")},
        text=True,
        capture_output=True,
    )
    return done.returncode, done.stdout + done.stderr


CHECK = """    value = 1 if case == "stated" else 2
    return Evidence([equal("a number", value, 1)])
"""


def test_a_chapter_and_its_claim_fail_until_they_are_filled(whole, capsys):
    tree = whole
    name = "other-tokens/heads"
    assert skeleton.main(["chapter", name], tree) == 0
    assert skeleton.main(["claim", "thm-heads", "--chapter", name], tree) == 0
    assert "{claim}`thm-heads`" in capsys.readouterr().out

    toc = (tree / "_toc.yml").read_text()
    assert re.search(r"- file: other-tokens/general_steps\n\s+- file: other-tokens/heads\n", toc)
    page = tree / "book" / f"{name}.md"
    cells = [cell.source for cell in jupytext.read(page).cells if cell.cell_type == "code"]
    with pytest.raises(NotImplementedError, match=skeleton.TODO):
        exec(next(cell for cell in cells if "raise" in cell), {})

    code, said = check(tree, "thm-heads")
    assert code == 1 and f"NotImplementedError: {skeleton.TODO}" in said
    statements = tree / "src/tokensphere/paper/statements" / f"{name}.toml"
    checks = tree / "src/tokensphere/paper/checks/other_tokens/heads.py"
    left = {place.rpartition(":")[0] for place in skeleton.gaps(tree)}
    assert left == {str(path.relative_to(tree)) for path in (page, statements, checks)}

    text = re.sub(r"    raise NotImplementedError\(.*\)\n", CHECK, checks.read_text())
    checks.write_text(text.replace(skeleton.TODO, "A number"))
    statements.write_text(statements.read_text().replace(skeleton.TODO, "Section 3"))
    code, said = check(tree, "thm-heads")
    assert code == 0, said
    assert {place.rpartition(":")[0] for place in skeleton.gaps(tree)} == {f"book/{name}.md"}


@pytest.mark.parametrize("verdict", ledger.VERDICTS)
def test_an_entry_has_what_its_verdict_needs(tree, verdict):
    skeleton.claim("thm-new", "setting/s6_layer", verdict, tree)
    file = tree / "src/tokensphere/paper/statements/setting/s6_layer.toml"
    *old, new = ledger.parse(file.read_text("utf-8"), "setting/s6_layer")
    assert (new.id, new.verdict) == ("thm-new", verdict)
    assert [one.id for one in old] == [
        one.id for one in ledger.ledger().values() if one.chapter == "setting/s6_layer"
    ]
    for role, one in new.checks.items():
        assert one.name == "thm_new" and one.arguments == {"case": role}
    assert new.checks


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chapter", "heads"], "NAME: got 'heads', takes PART/CHAPTER"),
        (["chapter", "other-tokens/../x"], "takes PART/CHAPTER"),
        (["chapter", "nowhere/heads"], "no part 'nowhere', there are experiments, first-token"),
        (["chapter", "setting/flow"], "there is a chapter setting/flow"),
        (["claim", "thm new", "--chapter", "setting/flow"], "ID: got 'thm new'"),
        (["claim", "eq-12", "--chapter", "setting/s6_layer"], "pair_interactions.toml has 'eq-12'"),
        (["claim", "x", "--chapter", "setting/nowhere"], "no page book/setting/nowhere.md"),
        (
            ["claim", "x", "--chapter", "first-token/../setting/flow"],
            "no page book/first-token/../setting/flow.md",
        ),
        (["claim", "x", "--chapter", "setting/flow"], "are a package, src/"),
        (["claim", "x", "--chapter", "setting/s6_layer", "--verdict", "true"], "'true', takes one"),
    ],
)
def test_what_cannot_be_written_is_refused_and_nothing_changes(tree, capsys, arguments, said):
    def content():
        return {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}

    before = content()
    assert skeleton.main(arguments, tree) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert content() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["chapter", "other-tokens/heads"],
        ["claim", "thm-new", "--chapter", "setting/s6_layer"],
    ],
)
@pytest.mark.parametrize("fits", [0, 1])
def test_a_full_disk_leaves_no_half_of_a_skeleton(tree, capsys, monkeypatch, arguments, fits):
    """Whichever of the two files no longer fits."""
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    written = []

    @contextlib.contextmanager
    def full(path, write_whole=skeleton.write_whole):
        with write_whole(path) as stream:
            written.append(path)
            if len(written) > fits:
                raise OSError(28, "No space left on device")
            yield stream

    monkeypatch.setattr(skeleton, "write_whole", full)
    assert skeleton.main(arguments, tree) == 2
    error = capsys.readouterr().err
    assert error.startswith("skeleton: [Errno 28] No space left on device: '")
    assert str(written[-1]) in error and error.count("\n") == 1
    assert {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()} == before


def test_make_passes_on_what_it_is_given():
    def said(*arguments):
        done = subprocess.run(
            ["make", "--no-print-directory", "-n", *arguments],  # may run inside a `make test`
            cwd=ROOT,
            env=os.environ | {"NAME": "the shell's"},
            text=True,
            capture_output=True,
        )
        return done.stdout.splitlines()[-1]

    assert said("new-chapter", "NAME=a/b").endswith('tests/skeleton.py chapter "$NAME"')
    assert said("new-claim", "ID=a").endswith(
        'claim "$ID" --chapter "$CHAPTER" --verdict "${VERDICT:-holds}"'
    )
