"""What the name of a cell depends on, and what not."""

import re
from pathlib import Path

import pytest
from rerun_book import write

from tokensphere import records
from tokensphere.paper import chapters, ledger
from tokensphere.paper.rerun import cells

BOOK = Path(__file__).resolve().parents[1] / "book"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package in place of tokensphere: `flow` imports `flow.fields`, and `s6` stands apart."""
    root = tmp_path / "tokensphere"
    texts = {
        "flow/__init__": "from tokensphere.flow.fields import f",
        "flow/fields": "def f():\n    return 1",
        "s6/__init__": "x = 1",
        "paper/ledger": "claims = 1",
        "paper/checks/part/shown": "def check(): ...",
    }
    for name, text in texts.items():
        file = root / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (root / "paper" / "statements" / "part").mkdir(parents=True)
    (root / "paper" / "statements" / "part" / "shown.toml").write_text("id = 1")
    monkeypatch.setattr(records, "ROOT", root)
    monkeypatch.setattr(ledger, "FOLDER", root / "paper")
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "part/one", "import tokensphere.flow", "seed = 0\nrate = 0.5")
    return root


def digest(name="one", **parameters):
    return cells.make(cells.read(name), parameters).digest


def test_values_are_what_counts_and_not_how_they_are_given(package):
    assert re.fullmatch("[0-9a-f]{16}", digest())
    assert digest() == digest(seed=0) == digest(rate=0.5, seed=0)
    assert digest(rate=1) == digest(rate=1.0)
    assert len({digest(), digest(seed=1), digest(rate=1), digest(seed=1, rate=1)}) == 4
    chapter = cells.read("one")
    cell = cells.make(chapter, {"seed": 0, "rate": 2})
    assert (cell.parameters, cell.values) == ({"rate": 2.0}, {"seed": 0, "rate": 2.0})
    assert cell.label == "part/one rate=2.0"


def test_code_that_the_chapter_reaches_counts_and_prose_does_not(package):
    before = digest()
    fields, source = package / "flow" / "fields.py", Path("book/part/one.md")
    fields.write_text('"""What it is."""\ndef f():\n    return 1  # one\n')
    source.write_text(source.read_text().replace("# A chapter", "# A better name"))
    (package / "s6" / "__init__.py").write_text("x = 2")
    assert digest() == before
    fields.write_text("def f():\n    return 2")
    changed = digest()
    assert changed != before
    source.write_text(
        source.read_text().replace("import tokensphere.flow", "import tokensphere.s6")
    )
    engine = digest()
    assert engine != changed
    (package / "s6" / "__init__.py").write_text("x = 3")
    assert digest() != engine


def test_what_changed_is_named(package):
    then = cells.read("one").code
    assert sorted(then) == ["part/one", "tokensphere.flow", "tokensphere.flow.fields"]
    (package / "flow" / "fields.py").write_text("def f():\n    return 2")
    assert cells.differences(then, cells.read("one").code) == ["tokensphere.flow.fields"]


def test_versions_count(package, monkeypatch):
    before = digest()
    monkeypatch.setattr(cells, "environment", lambda: {"python": "4.0"})
    assert digest() != before


def test_a_chapter_that_shows_verdicts_depends_on_its_checks(package):
    write(package.parent, "part/shown", "import tokensphere.paper.ledger")
    before = digest("shown")
    (package / "paper" / "checks" / "part" / "shown.py").write_text("def check(): return 1")
    changed = digest("shown")
    assert changed != before
    (package / "paper" / "statements" / "part" / "shown.toml").write_text("id = 2")
    assert digest("shown") != changed


def test_magics_of_ipython_hide_no_import(package):
    write(package.parent, "part/magic", "%time x = 1\nimport tokensphere.flow")
    assert "tokensphere.flow.fields" in cells.read("magic").code


@pytest.mark.parametrize(
    "code",
    [
        "import tokensphere.flow\nfiles = !ls",
        "if True:\n    import tokensphere.flow\n    files = %time 1",
        "%%time\nimport tokensphere.flow",
        "%time import tokensphere.flow",
        "from tokensphere import flow\nflow?",
    ],
)
def test_no_line_of_ipython_hides_an_import(package, code):
    write(package.parent, "part/inline", code)
    assert "tokensphere.flow.fields" in cells.read("inline").code


def test_another_language_s_cell_imports_nothing(package):
    write(package.parent, "part/shell", "%%bash\nfor i in 1; do echo $i; done")
    assert list(cells.read("shell").code) == ["part/shell"]


def test_a_default_that_json_does_not_have_is_part_of_the_code_alone(package):
    write(package.parent, "part/odd", "pass", "seed = 0\nnames = {'a'}\nraw = b'a'\nhuge = 1e999")
    chapter = cells.read("odd")
    assert dict(chapter.defaults) == {"seed": 0}
    first = cells.make(chapter, {"seed": 1}).digest
    write(package.parent, "part/odd", "pass", "seed = 0\nnames = {'b'}\nraw = b'a'\nhuge = 1e999")
    assert cells.make(cells.read("odd"), {"seed": 1}).digest != first


def test_a_module_that_is_not_there_or_no_python_is_named(package):
    write(package.parent, "part/gone", "import tokensphere.gone")
    with pytest.raises(
        chapters.ChapterError, match="'part/gone': .*'tokensphere.gone' is no module"
    ):
        cells.read("gone")
    (package / "flow" / "fields.py").write_text("def")
    with pytest.raises(chapters.ChapterError, match="'part/one': invalid syntax"):
        cells.read("one")


def test_the_book_s_chapters_show_verdicts_of_their_own_statements_only():
    # What `cells.read` takes for granted.
    for chapter, file in chapters.pages(BOOK).items():
        shown = re.findall(r"figures\.(?:verdicts|criteria)\(([^)]*)\)", file.read_text("utf-8"))
        ids = {id for call in shown for id in re.findall(r'"([^"]+)"', call)}
        assert {ledger.ledger()[id].chapter for id in ids} <= {chapter}, chapter


def test_a_chapter_of_the_book_reaches_what_it_computes_with():
    code = cells.read(BOOK / "setting" / "flow.md").code
    reached = {"setting/flow", "statements/setting/flow", "tokensphere.flow.cpu_kernels"}
    assert reached | {"tokensphere.paper.checks.setting.flow.depth"} <= set(code)
    assert "tokensphere.paper.checks.setting.s6_layer" not in code


def test_numbers_that_json_does_not_have_are_refused(package):
    with pytest.raises(chapters.ChapterError, match="'rate' of chapter 'part/one' takes finite"):
        cells.make(cells.read("one"), {"rate": float("nan")})
    with pytest.raises(chapters.ChapterError, match="takes float, got an integer that is too"):
        cells.make(cells.read("one"), {"rate": 10**400})


def test_a_chapter_in_no_book_is_told_from_others_of_its_name(package):
    inside = cells.make(cells.read("one"), {})
    assert inside.source is None
    file = package.parent / "one.md"
    file.write_text(inside.chapter.source.read_text())
    outside = cells.make(cells.read(file), {})
    assert (outside.chapter.name, outside.source) == ("one", str(file))
