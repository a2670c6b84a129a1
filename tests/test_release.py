"""A release: what it checks, packs and pushes.

What GitHub and PyPI do with it is not tried here; RELEASING.md says how to try it first.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
import release
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book" / "_ext"))
import notebook_buttons
import notebooks

ROOT = notebooks.ROOT
PUSH = ROOT / ".ci" / "push-notebooks"


def test_this_tree_could_be_released():
    release.check(f"v{release.version()}")


@pytest.fixture
def tree(tmp_path):
    """Version, changelog and citation of a project."""
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "2.0rc1"\n')
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## 2.0rc1 (2030-01-02)\n\n- New.\n\n## 1.0 (2029-01-01)\n\n- Old.\n"
    )
    (tmp_path / "CITATION.cff").write_text("version: 2.0rc1\ndate-released: 2030-01-02\n")
    return tmp_path


def test_what_agrees_is_ready(tree):
    release.check("v2.0rc1", tree)
    release.check(None, tree)
    assert release.section("2.0rc1", tree) == ("2030-01-02", "- New.")
    assert release.section("1.0", tree)[1] == "- Old."


@pytest.mark.parametrize(
    ("file", "old", "new", "match"),
    [
        ("pyproject.toml", "2.0rc1", "2.0", r"tag v2.0rc1: pyproject.toml has 2.0,"),
        ("CHANGELOG.md", "2.0rc1", "Unreleased", r"takes a part `## 2.0rc1 \("),
        ("CHANGELOG.md", " (2030-01-02)", "", r"takes a part"),
        ("CHANGELOG.md", "- New.\n", "", r"with some text"),
        ("CITATION.cff", "2.0rc1", "1.0", r"version is 1.0, takes 2.0rc1"),
        ("CITATION.cff", "2030-01-02", "2030-01-03", r"date-released is 2030-01-03"),
        ("CITATION.cff", "version: 2.0rc1\n", "", r"version is None"),
    ],
)
def test_what_does_not_agree_is_refused(tree, file, old, new, match):
    text = (tree / file).read_text()
    assert old in text
    (tree / file).write_text(text.replace(old, new))
    with pytest.raises(release.Unready, match=match):
        release.check("v2.0rc1", tree)


def test_a_refusal_is_one_line(capsys):
    assert release.main(["check", "v0.0"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("release: tag v0.0") and said.count("\n") == 1


@pytest.fixture
def built(tmp_path):
    """A built book: two pages, a notebook, a PDF."""
    html = tmp_path / "built" / "html"
    (html / "_sources" / "setting").mkdir(parents=True)
    (html / "index.html").write_text("<p>first</p>")
    (html / "_sources" / "setting" / "flow.ipynb").write_text("{}")
    (html / "_sources" / "intro.md").write_text("# no notebook")
    (tmp_path / "built" / "pdf").mkdir()
    (tmp_path / "built" / "pdf" / "tokensphere.pdf").write_bytes(b"%PDF")
    return tmp_path / "built"


def test_archive_and_pdf_have_their_checksums(built, tmp_path):
    files = release.pack(tmp_path / "out", built, "2.0")
    assert [path.name for path in files] == [
        "tokensphere-2.0-book.zip",
        "tokensphere-2.0-book.pdf",
        "SHA256SUMS",
    ]
    sums = dict(line.split("  ")[::-1] for line in files[-1].read_text().splitlines())
    assert sums == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files[:-1]}
    with zipfile.ZipFile(files[0]) as archive:
        assert archive.read("tokensphere-2.0-book/index.html") == b"<p>first</p>"
        assert len(archive.namelist()) == 3
    again = tmp_path / "again"
    os.utime(built / "html" / "index.html", (0, 1e9))
    release.pack(again, built, "2.0")
    assert (again / "SHA256SUMS").read_text() == files[-1].read_text()


@pytest.mark.parametrize("missing", ["html/index.html", "pdf/tokensphere.pdf"])
def test_what_is_not_built_is_not_packed(built, tmp_path, missing):
    (built / missing).unlink()
    with pytest.raises(release.Unready, match="not built"):
        release.pack(tmp_path / "out", built, "2.0")
    assert not (tmp_path / "out").exists()


def test_notebooks_are_those_that_the_book_offers(built, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old.ipynb").touch()
    assert release.notebooks(out, built) == [out / "setting" / "flow.ipynb"]
    assert [path.name for path in out.rglob("*.ipynb")] == ["flow.ipynb"]
    shutil.rmtree(built / "html" / "_sources")
    with pytest.raises(release.Unready, match="no notebook"):
        release.notebooks(out, built)


# The branch of notebooks, in a repository beside this one.


def git(where, *arguments):
    done = subprocess.run(
        ["git", "-C", str(where), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """A checkout with the script in it, and the bare repository that it was cloned from."""
    bare, work = tmp_path / "bare.git", tmp_path / "work"
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(bare))
    git(tmp_path, "clone", "-q", str(bare), str(work))
    (work / ".ci").mkdir()
    shutil.copy(PUSH, work / ".ci")
    git(work, "add", ".")
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    git(work, *identity, "commit", "-q", "-m", "first")
    git(work, "push", "-q", "origin", "HEAD:main")
    return work, bare


def push(work, tmp_path, version, **notebooks):
    folder = tmp_path / "from"
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in notebooks.items():
        (folder / "setting").mkdir(parents=True, exist_ok=True)
        (folder / "setting" / f"{name}.ipynb").write_text(text)
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [work / ".ci" / "push-notebooks", folder, version], capture_output=True, text=True
    )


def listed(bare):
    return git(bare, "ls-tree", "-r", "--name-only", "notebooks").splitlines()


def test_notebooks_of_each_version_stand_beside_each_other(repository, tmp_path):
    work, bare = repository
    done = push(work, tmp_path, "main", flow="1", old="1")
    assert done.returncode == 0, done.stderr
    assert listed(bare) == ["main/setting/flow.ipynb", "main/setting/old.ipynb"]
    assert push(work, tmp_path, "v1.0", flow="1").returncode == 0
    assert push(work, tmp_path, "main", flow="2").returncode == 0
    assert listed(bare) == ["main/setting/flow.ipynb", "v1.0/setting/flow.ipynb"]
    assert git(bare, "show", "notebooks:main/setting/flow.ipynb") == "2"
    assert git(bare, "show", "notebooks:v1.0/setting/flow.ipynb") == "1"
    # No history in common with main, whose checkout is as it was.
    assert git(bare, "rev-list", "--count", "notebooks") == "3"
    assert git(bare, "rev-list", "--count", "main") == "1"
    assert (
        git(work, "status", "--porcelain") == "" and git(work, "worktree", "list").count("\n") == 0
    )
    again = push(work, tmp_path, "main", flow="2")
    assert again.returncode == 0 and "as they were" in again.stdout
    assert git(bare, "rev-list", "--count", "notebooks") == "3"


@pytest.mark.parametrize("version", ["../up", ".", ".git"])
def test_a_version_is_the_name_of_a_folder(repository, tmp_path, version):
    done = push(repository[0], tmp_path, version, flow="1")
    assert done.returncode == 2 and "not a folder's name" in done.stderr


def test_nothing_is_pushed_without_notebooks(repository, tmp_path):
    done = push(repository[0], tmp_path, "main")
    assert done.returncode == 2 and "no notebook" in done.stderr


# Launching: buttons and the set-up cell name the version that is read.

BINDER = "https://mybinder.org/v2/gh/o/r/main?urlpath=lab/tree/book/setting/flow.md"
COLAB = "https://colab.research.google.com/github/o/r/blob/main/book/setting/flow.md"


@pytest.mark.parametrize(
    ("ref", "folder"), [("v1.0.0rc1", "v1.0.0rc1"), ("0123456789abcdef", "main"), ("vary", "main")]
)
def test_buttons_open_the_version_that_is_read(monkeypatch, ref, folder):
    monkeypatch.setattr(notebooks, "ref", lambda: ref)
    binder = notebook_buttons.launched(BINDER, "setting/flow", "book")
    assert binder == (
        f"https://mybinder.org/v2/gh/o/r/{ref}?urlpath=lab/tree/tests/baselines/setting/flow.ipynb"
    )
    colab = notebook_buttons.launched(COLAB, "setting/flow", "book")
    assert colab == (
        f"https://colab.research.google.com/github/o/r/blob/notebooks/{folder}/setting/flow.ipynb"
    )


def test_a_button_of_another_page_is_refused():
    with pytest.raises(ValueError, match="first-token/circle"):
        notebook_buttons.launched(BINDER, "first-token/circle", "book")


def test_the_book_s_version_is_given_or_the_commit(monkeypatch):
    monkeypatch.setenv("BOOK_REF", "v3.0")
    assert notebooks.ref.__wrapped__() == "v3.0"
    monkeypatch.delenv("BOOK_REF")
    assert re.fullmatch(r"[0-9a-f]{40}|main", notebooks.ref.__wrapped__())


@pytest.mark.parametrize("uptodate", [True, False])
def test_a_download_names_the_version_and_a_committed_file_the_branch(monkeypatch, uptodate):
    monkeypatch.setattr(notebooks, "ref", lambda: "v3.0")
    monkeypatch.setattr(notebooks, "same_code", lambda *_: uptodate)
    first = nbformat.reads(notebooks.to_download("setting/flow", []), as_version=4).cells[0]
    assert 'version = "v3.0"' in first.source and first.metadata["tags"] == ["setup"]
    assert 'version = "main"' in notebooks.to_notebook("setting/flow", []).cells[0].source


def test_the_set_up_cell_fetches_that_version_and_not_the_newest(tmp_path, monkeypatch):
    from IPython.core.interactiveshell import InteractiveShell

    source = tmp_path / "source"
    (source / "src" / "tokensphere").mkdir(parents=True)
    git(tmp_path, "init", "-q", "-b", "main", str(source))
    # As GitHub has it: any commit that a branch reaches may be fetched.
    git(source, "config", "uploadpack.allowReachableSHA1InWant", "true")
    commits = []
    for number in (1, 2):
        (source / "src" / "tokensphere" / "__init__.py").write_text(f"number = {number}\n")
        git(source, "add", ".")
        git(source, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "x")
        commits.append(git(source, "rev-parse", "HEAD"))
    git(source, "tag", "v1", commits[0])

    monkeypatch.setattr(notebooks, "repository_url", lambda: f"file://{source}")
    monkeypatch.setattr(sys, "path", list(sys.path))
    installed = []
    for version, number in ((commits[0], 1), ("v1", 1), ("main", 2)):
        cell = notebooks.setup_cell(version).source
        work = tmp_path / f"run-{version}"
        work.mkdir()
        monkeypatch.chdir(work)
        shell = InteractiveShell.instance()
        shell.register_magic_function(installed.append, magic_name="pip")
        # As where the package is missing.
        cell = cell.replace('find_spec("tokensphere")', 'find_spec("tokensphere_missing")')
        shell.run_cell(cell).raise_error()
        got = (work / "tokensphere-checkout" / "src" / "tokensphere" / "__init__.py").read_text()
        assert got == f"number = {number}\n"
    assert installed == ['install -q -e "tokensphere-checkout[book]"'] * 3
    InteractiveShell.clear_instance()


# Binder's environment.


def pins(path):
    text = path.read_text("utf-8")
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", text.lower(), re.MULTILINE))


def test_binder_has_what_chapters_import_in_the_reader_s_versions():
    small, whole = pins(ROOT / "binder" / "requirements.txt"), pins(ROOT / "requirements.txt")
    assert small == {name: whole[name] for name in small}
    project = release.tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["book"]
    wanted = {re.match(r"[\w-]+", name)[0].lower() for name in wanted}
    # What `tokensphere run` and the book itself need, and a notebook does not.
    assert wanted - small.keys() == {"jupytext", "papermill"}
    assert small.keys() - wanted == {"numba"}


def test_binder_is_small_and_for_a_cpu():
    text = (ROOT / "binder" / "requirements.txt").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines[0] == "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert lines[-1] == "-e ."
    assert not re.search(
        r"sphinx|jupyter-book|pytest|hypothesis|nbval|playwright|ruff", "\n".join(lines)
    )
    python = (ROOT / "binder" / "runtime.txt").read_text().strip().removeprefix("python-")
    ci = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
    assert python in ci["jobs"]["test"]["strategy"]["matrix"]["python"]
    # In the root it would be read only without the folder, and mislead.
    assert not (ROOT / "runtime.txt").exists()


def test_every_chapter_offers_what_its_buttons_open():
    for page in notebooks.chapters():
        assert json.loads(notebooks.baseline(page).read_text("utf-8"))["cells"]
