"""The book's extensions, and what every chapter must hold."""

import os
import sys
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book" / "_ext"))
import fresh_outputs
import notebooks
import offline_assets
import parallel_execution

PAGES = notebooks.chapters()


@pytest.fixture
def tree(tmp_path):
    for name in ("src/tokensphere/s6.py", "results/counts.json", "book/_ext/a.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")
    (tmp_path / "requirements.txt").write_text("numpy\n")
    return tmp_path


@pytest.mark.parametrize(
    "name", ["src/tokensphere/s6.py", "results/counts.json", "book/_ext/a.py", "requirements.txt"]
)
def test_digest_sees_a_change(tree, name):
    before = fresh_outputs.digest(tree)
    assert fresh_outputs.digest(tree) == before
    (tree / name).write_text("x = 2\n")
    assert fresh_outputs.digest(tree) != before


def test_digest_sees_names(tree):
    before = fresh_outputs.digest(tree)
    (tree / "src/tokensphere/s6.py").rename(tree / "src/tokensphere/s7.py")
    assert fresh_outputs.digest(tree) != before


def test_digest_ignores_byte_code_and_other_files(tree):
    before = fresh_outputs.digest(tree)
    (tree / "src/tokensphere/__pycache__").mkdir()
    (tree / "src/tokensphere/__pycache__/s6.pyc").write_bytes(b"1")
    (tree / "src/tokensphere/__pycache__/cpu.scan-1.py311.nbi").write_bytes(b"1")
    (tree / "README.md").write_text("# tokensphere\n")
    assert fresh_outputs.digest(tree) == before


def test_vendored_scripts_are_installed():
    assert offline_assets.PLOTLY.is_file()
    assert all((offline_assets.mathjax_folder() / name).exists() for name in offline_assets.MATHJAX)


def test_every_page_of_the_contents_exists():
    missing = [page for page in notebooks.pages() if not notebooks.source(page).is_file()]
    assert not missing, f"in _toc.yml but not in book/: {missing}"


@pytest.mark.parametrize("page", PAGES)
def test_header(page):
    metadata = notebooks.read(page).metadata
    assert metadata["kernelspec"]["name"] == "python3"
    assert metadata["jupytext"]["text_representation"]["format_name"] == "myst"


@pytest.mark.parametrize("page", PAGES)
def test_has_one_parameters_cell(page):
    tagged = [tags for _, tags in notebooks.code(notebooks.read(page)) if "parameters" in tags]
    assert len(tagged) == 1, f"{page}: {len(tagged)} cells tagged parameters"


@pytest.mark.parametrize("page", PAGES)
def test_figures_have_caption_name_and_alt_text(page):
    for cell in notebooks.read(page).cells:
        shown = cell.metadata.get("mystnb", {})
        if "figure" in shown:
            given = {**shown["figure"], **shown.get("image", {})}
            missing = [key for key in ("caption", "name", "alt") if not given.get(key)]
            assert not missing, f"{page}: a figure without {missing}: {cell.source[:60]!r}"


# The cache of executed chapters.


@pytest.fixture
def build(tree, monkeypatch):
    """A build of the tree: its Sphinx application, as far as the extension looks at it."""
    monkeypatch.setattr(fresh_outputs, "ROOT", tree)
    out = tree / "book" / "_build"
    app = SimpleNamespace(outdir=out / "html", doctreedir=out / "doctrees", _warncount=0)
    app.outdir.mkdir(parents=True)
    app.doctreedir.mkdir()

    def begin():
        config = SimpleNamespace()
        fresh_outputs.key_cache(app, config)
        return Path(config.nb_execution_cache_path)

    cache = begin()
    cache.mkdir(parents=True)
    (app.outdir / "page.html").touch()
    (app.doctreedir / "environment.pickle").touch()
    return SimpleNamespace(
        app=app,
        begin=begin,
        cache=cache,
        page=app.outdir / "page.html",
        pickle=app.doctreedir / "environment.pickle",
    )


def test_outputs_are_kept_while_nothing_changes(build):
    fresh_outputs.finish(build.app, None)
    assert build.begin() == build.cache
    assert build.cache.exists() and build.page.exists() and build.pickle.exists()


def test_a_change_leaves_neither_cache_nor_page(build, tree):
    fresh_outputs.finish(build.app, None)
    (tree / "requirements.txt").write_text("scipy\n")
    assert build.begin() != build.cache
    assert not build.cache.exists() and not build.page.exists()


@pytest.mark.parametrize(("exception", "warnings"), [(RuntimeError(), 0), (None, 1)])
def test_a_build_that_broke_or_warned_reads_every_page_again(build, exception, warnings):
    build.app._warncount = warnings
    fresh_outputs.finish(build.app, exception)
    build.begin()
    assert not build.pickle.exists() and build.cache.exists()


@pytest.fixture
def cached(build):
    """The cache of that build with two chapters in it, by their code."""
    cache = fresh_outputs.get_cache(str(build.cache))
    kernel = {"name": "python3", "display_name": "Python 3"}
    for code in ("1", "2"):
        cell = nbformat.v4.new_code_cell(code, outputs=[], execution_count=1)
        notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})
        bundle = parallel_execution.CacheBundleIn(notebook, f"page{code}.md", data={})
        cache.cache_notebook_bundle(bundle, check_validity=False)

    def found():
        cache = fresh_outputs.get_cache(str(build.cache))
        kept = [cache.get_cache_bundle(record.pk) for record in cache.list_cache_records()]
        return sorted(bundle.nb.cells[0].source for bundle in kept)

    return SimpleNamespace(build=build, found=found, folder=build.cache)


def notebook_of(cached, code):
    files = (cached.folder / "executed").glob("*/base.ipynb")
    return next(file for file in files if nbformat.read(file, 4).cells[0].source == code)


DAMAGES = {
    "cut": lambda content: content[: len(content) // 2],
    "doubled": lambda content: content + content,
    "empty": lambda content: b"",
}


@pytest.mark.parametrize("damage", [*DAMAGES.values(), lambda content: b"[]"])
def test_a_chapter_damaged_in_the_cache_is_executed_again(cached, damage):
    cached.build.begin()
    assert cached.found() == ["1", "2"]
    file = notebook_of(cached, "2")
    file.write_bytes(damage(file.read_bytes()))
    cached.build.begin()
    assert cached.found() == ["1"]


def test_a_chapter_that_was_noted_and_not_written_is_executed_again(cached):
    """Of a build that was killed between the two."""
    notebook_of(cached, "1").unlink()
    cached.build.begin()
    assert cached.found() == ["2"]


@pytest.mark.parametrize("damage", [DAMAGES["cut"], DAMAGES["empty"], lambda content: b"x" * 9999])
def test_of_a_cache_without_its_database_nothing_is_kept(cached, damage):
    file = cached.folder / "global.db"
    file.write_bytes(damage(file.read_bytes()))
    cached.build.begin()
    assert cached.found() == []


# Chapters executed side by side.


@pytest.fixture
def executed(monkeypatch):
    """fill_cache with processes that are none: what they were given, and what was kept."""
    seen = SimpleNamespace(ran=[], kept=[], environment=[], cached=set(), error={})

    class Cache:
        def match_cache_notebook(self, path):
            if path not in seen.cached:
                raise KeyError(path)

        def cache_notebook_bundle(self, bundle, **_):
            seen.kept.append((bundle.uri, bundle.data["execution_seconds"]))

    class Pool:
        def __init__(self, *_, **__):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def submit(self, function, path, timeout):
            seen.ran.append(path)
            seen.environment.append(os.environ.get("OMP_NUM_THREADS"))
            run = Future()
            error = seen.error.get(path)
            if isinstance(error, Exception):
                run.set_exception(error)
            else:
                empty = nbformat.writes(nbformat.v4.new_notebook())
                run.set_result((empty, error, {"execution_seconds": 1.5}))
            return run

    for name, value in {
        "get_cache": lambda path: Cache(),
        "ProcessPoolExecutor": Pool,
        "myst_nb_reader_plugin": lambda path: path,
    }.items():
        monkeypatch.setattr(parallel_execution, name, value)
    monkeypatch.setattr(parallel_execution.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(notebooks, "chapters", lambda: ["a", "b", "c"])
    monkeypatch.setattr(notebooks, "longest_first", sorted)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    config = SimpleNamespace(
        nb_execution_mode="cache", nb_execution_cache_path="", nb_execution_timeout=60
    )

    def fill(*pages):
        parallel_execution.fill_cache(SimpleNamespace(config=config), None, pages)
        return seen

    seen.fill, seen.config = fill, config
    seen.path = {page: str(notebooks.source(page)) for page in "abc"}
    return seen


def test_what_the_cache_lacks_is_executed_with_one_thread_each(executed):
    executed.cached = {executed.path["b"]}
    executed.fill("c", "b", "a", "page without code")
    assert executed.ran == [executed.path["a"], executed.path["c"]]
    assert sorted(executed.kept) == [(executed.path["a"], 1.5), (executed.path["c"], 1.5)]
    assert executed.environment == ["1", "1"]
    assert os.environ["OMP_NUM_THREADS"] == "7" and "MKL_NUM_THREADS" not in os.environ


def test_a_chapter_that_fails_is_left_to_sphinx(executed):
    executed.error = {executed.path["a"]: "ValueError: no"}
    executed.fill("a", "b")
    assert executed.kept == [(executed.path["b"], 1.5)]


def test_threads_are_as_they_were_after_a_process_that_broke(executed):
    executed.error = {executed.path["a"]: OSError("killed")}
    with pytest.raises(OSError, match="killed"):
        executed.fill("a", "b")
    assert os.environ["OMP_NUM_THREADS"] == "7" and "MKL_NUM_THREADS" not in os.environ


def test_one_chapter_or_another_mode_is_left_to_sphinx(executed):
    assert executed.fill("a").ran == []
    executed.config.nb_execution_mode = "off"
    assert executed.fill("a", "b").ran == []


def test_the_quickstart_has_ten_cells_and_what_each_draws_on_is_in_the_library():
    cells = [source for source, _ in notebooks.code(notebooks.read(notebooks.QUICKSTART))]
    assert len(cells) == 10
    assert "tokensphere.paper" not in "".join(cells)
    assert max(len(source.splitlines()) for source in cells) <= 8
