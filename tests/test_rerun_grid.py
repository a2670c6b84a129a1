"""What a command line or a grid asks for, and what is refused before anything runs."""

import pytest
from rerun_book import write

from tokensphere.paper import chapters
from tokensphere.paper.rerun import BadInput, grid

PARAMETERS = "seed = 0\nrate = 0.5\nname = 'a'\ndepths = [1, 2]\nfast = False\nscale = 'smoke'"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write(tmp_path, "part/full", "pass", PARAMETERS)
    write(tmp_path, "part/bare", "pass")
    (tmp_path / "book" / "words.md").write_text("# Only words\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def labels(folder, text, names=(), parameters=None, scale=None):
    (folder / "g.yml").write_text(text, "utf-8")
    return [cell.label for cell in grid.build(names, parameters or {}, folder / "g.yml", scale)]


def test_without_a_grid_the_chapters_named_or_all_that_have_code(folder):
    assert [cell.label for cell in grid.build(["bare"], {})] == ["part/bare"]
    everything = grid.build([], {"seed": 3}, scale="full")
    # A scale goes to the chapters that have one.
    assert [cell.label for cell in everything] == [
        "part/bare seed=3",
        'part/full seed=3 scale="full"',
    ]


def test_lists_of_values_are_a_product_and_points_are_themselves(folder):
    product = "full:\n  seed: [1, 2]\n  name: [ä, '3']\n"
    assert labels(folder, product) == [
        f'part/full seed={seed} name="{name}"' for seed in (1, 2) for name in ("ä", "3")
    ]
    points = "part/full:\n  - {seed: 1}\n  - {rate: 1e-9, fast: true}\nbare: {}\n"
    assert labels(folder, points) == [
        "part/full seed=1",
        "part/full rate=1e-09 fast=true",
        "part/bare",
    ]
    assert labels(folder, points, names=["bare"], parameters={"seed": 4}) == ["part/bare seed=4"]


def test_a_parameter_that_is_a_list_takes_a_list_of_lists(folder):
    assert labels(folder, "full: {depths: [[3], [4, 5]]}") == [
        "part/full depths=[3]",
        "part/full depths=[4, 5]",
    ]
    with pytest.raises(chapters.ChapterError, match="takes list, got int 3"):
        labels(folder, "full: {depths: [3, 4]}")


def test_a_cell_asked_for_twice_is_one(folder):
    # 0 is the default, and an int for a float is that float.
    assert labels(folder, "full: {seed: [0, 1, 1], rate: [1, 1.0]}") == [
        "part/full rate=1.0",
        "part/full seed=1 rate=1.0",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("full: {seed: 3}", "part/full: seed takes a list of values, got 3"),
        ("full: {seed: []}", "seed takes a list"),
        ("full: [3]", "point 1 takes {name: value}, got 3"),
        ("full:", "takes lists of values by name, or a list of points"),
        ("full: {}\nbare:\n  seed: [1]\n  seed: [2]", "line 4: seed is there twice"),
        ("full: {}\n\tbare: {}", "line 2: "),
        ("full: [", "g.yml, line 1"),
        ("1: {}", "line 1: the key 1 is no name"),
        ("- full", "takes chapters with their parameters"),
        ("", "takes chapters with their parameters, got None"),
        ("full: {seed: &a [*a]}", "recursive"),
        ("full: !!python/object/apply:os.system [ls]", "line 1"),
        ("full: {seed: [!!int a]}", "line 1: has the tag tag:yaml.org,2002:int"),
        ("full: {seed: !!set {1}}", "line 1: has the tag"),
        (f"full: {'[' * 3000}", "g.yml: lists are nested too deeply"),
        (f"full: {{rate: [{'9' * 400}]}}", "takes float, got an integer that is too large"),
        ("ful: {}", "did you mean part/full?"),
        ("words: {}", "holds no code"),
        ("full: {sed: [1]}", "no parameter 'sed'; it has seed, rate"),
        ("full: {seed: [1.5]}", "'seed' of chapter 'part/full' takes int, got float 1.5"),
        ("full: {seed: [yes]}", "takes int, got bool True"),
        ("full: {name: [12:30, 2026-01-01, 7]}", "takes str, got int 7"),
        ("full: {rate: [.inf]}", "takes float, got str '.inf'"),
        ("full: {rate: [inf]}", "takes finite numbers"),
        ("full: {seed: [1], scale: [full]}", "scale is given by --scale and once more"),
    ],
)
def test_what_a_grid_cannot_mean_is_one_line(folder, text, said):
    with pytest.raises((BadInput, chapters.ChapterError)) as caught:
        labels(folder, text, scale="full")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_files_of_one_name_are_no_batch(folder):
    """Their cells would have one place, and the one would be the other's older version."""
    for name in "ab":
        (folder / name).mkdir()
    files = [write(folder / name, "x", "pass") for name in "ab"]
    for file in files:
        (file.parent / "_toc.yml").unlink()
    with pytest.raises(BadInput, match=r"a/book/x.md and .*/b/book/x.md are both 'x'"):
        grid.build([str(file) for file in files], {})
    assert len(grid.build([str(files[0]), str(files[0])], {})) == 1


def test_a_parameter_is_given_once_and_a_chapter_is_of_the_grid(folder):
    with pytest.raises(BadInput, match="part/full: seed is given by -p too"):
        labels(folder, "full: {seed: [1]}", parameters={"seed": 2})
    with pytest.raises(BadInput, match="has no chapter 'bare'"):
        labels(folder, "full: {seed: [1]}", names=["bare"])
    with pytest.raises(BadInput, match="none of the chapters has a scale"):
        labels(folder, "bare: {seed: [1]}", scale="full")
    with pytest.raises(BadInput, match="--grid: .*nowhere.yml cannot be read"):
        grid.build([], {}, folder / "nowhere.yml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-9", 1e-9),
        ("12:30", "12:30"),
        ("true", True),
        ("'3'", "3"),
        ("[1, [b]]", [1, ["b"]]),
        ("a: [", "a: ["),
        ("-1e-9", -1e-9),
        ("1.", 1.0),
        ("False", False),
        ("null", None),
        ("2026-01-01", "2026-01-01"),
        # What YAML would cut, fold or take for nothing.
        ("a #b", "a #b"),
        ("# b", "# b"),
        ("'a' #b", "'a' #b"),
        ("", ""),
        (" a ", " a "),
        ("a\n b", "a\n b"),
        ("!!int a", "!!int a"),
        ("!!set {a}", "!!set {a}"),
        ("9" * 400, 10**400 - 1),
        ("größer", "größer"),
    ],
)
def test_a_value_of_the_command_line(text, value):
    assert grid.value(text) == value
    assert type(grid.value(text)) is type(value)


def test_values_of_the_command_line_have_one_depth_and_one_name():
    with pytest.raises(BadInput, match="-p: lists are nested too deeply"):
        grid.value("[" * 3000)
    assert grid.parameters([["a", "1"], ["b", "x"]]) == {"a": 1, "b": "x"}
    with pytest.raises(BadInput, match="-p: a is given twice"):
        grid.parameters([["a", "1"], ["a", "2"]])
