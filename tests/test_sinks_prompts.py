"""Prompts: out of a file, into tokens, into batches, and their changed copies."""

import io

import pytest
import torch

from tokensphere.sinks.report import prompts as texts
from tokensphere.sinks.report.prompts import Prompts, changed


def drawn(lengths, bos=None):
    g = torch.Generator().manual_seed(0)
    rows = [torch.randint(1, 30, (length,), generator=g) for length in lengths]
    if bos is not None:
        for row in rows:
            row[0] = bos
    return rows


def test_changed_prompts_keep_what_they_should():
    rows = drawn((8, 8, 6, 3), bos=0)
    prompts = Prompts.of(rows, "cpu")
    versions = changed(prompts, 5, True, True)
    assert list(versions) == [
        "prompts",
        "shuffled",
        "shuffled_after_bos",
        "replaced",
        "replaced_last",
    ]
    assert torch.equal(versions["prompts"], prompts.ids)
    for index, row in enumerate(rows):
        size = len(row)
        for name, ids in versions.items():
            assert not ids[index, size:].any(), name
        for name in ("shuffled", "shuffled_after_bos"):
            assert sorted(versions[name][index, :size].tolist()) == sorted(row.tolist())
        assert versions["shuffled_after_bos"][index, 0] == 0
        others = {
            token for other, kept in enumerate(rows) if other != index for token in kept.tolist()
        }
        replaced, last = versions["replaced"][index], versions["replaced_last"][index]
        assert torch.equal(replaced[1:size], row[1:])
        assert torch.equal(last[: size - 1], row[:-1])
        for new, old in ((replaced[0], row[0]), (last[size - 1], row[-1])):
            assert new != old
            assert int(new) in others
    assert not torch.equal(versions["shuffled"], versions["shuffled_after_bos"])
    again, other = changed(prompts, 5, False, False), changed(prompts, 6, False, False)
    assert torch.equal(again["replaced"], versions["replaced"])
    assert not torch.equal(other["shuffled"], versions["shuffled"])


def test_replacements_are_as_frequent_as_among_the_other_prompts():
    # Of the other prompt's tokens that are not 1, three in four are 2.
    prompts = Prompts.of([torch.tensor([1, 5, 5]), torch.tensor([1, 2, 2, 2, 3])], "cpu")
    found = [int(changed(prompts, seed, False, False)["replaced"][1, 0]) for seed in range(400)]
    assert set(found) == {2, 3}
    assert found.count(2) == pytest.approx(300, abs=35)  # four standard deviations


def test_batches_are_padded_only_where_lengths_differ():
    prompts = Prompts.of(drawn((3, 7, 7, 5)), "cpu")
    first, second = prompts.batches(2)
    assert set(first) == {"input_ids"} and first["input_ids"].shape == (2, 7)
    assert second["attention_mask"].tolist() == [[1] * 5, [1, 1, 1, 0, 0]]
    assert second["input_ids"].shape == (2, 5)


def test_prompts_are_lines_or_objects(tmp_path):
    plain = tmp_path / "a.txt"
    plain.write_bytes(b"one\n\n two \x0c more\r\nthree")
    assert texts.read_prompts(plain) == [(1, "one"), (3, " two \x0c more"), (4, "three")]
    objects = tmp_path / "a.jsonl"
    objects.write_text('{"prompt": "one\\ntwo", "id": 3}\n\n{"prompt": ""}\n')
    assert texts.read_prompts(objects) == [(1, "one\ntwo"), (3, "")]


@pytest.mark.parametrize("name", ["a.JSONL", "a.Jsonl", "a.txt", "a"])
def test_objects_are_known_by_the_files_name_or_by_themselves(tmp_path, name):
    path = tmp_path / name
    path.write_text('{"prompt": "one"}\n{"prompt": "two"}\n')
    assert texts.read_prompts(path) == [(1, "one"), (2, "two")]
    path.write_text('{"prompt": "one"}\n{"prompt": 2}\n')
    with pytest.raises(ValueError, match="line 2: takes an object with text"):
        texts.read_prompts(path)
    mixed = '{"prompt": "one"}\n{"text": "two"}\n'
    path.write_text(mixed)
    if name.lower().endswith("jsonl"):
        with pytest.raises(ValueError, match="line 2: takes an object with text"):
            texts.read_prompts(path)
    else:
        assert [line for _, line in texts.read_prompts(path)] == mixed.split("\n")[:2]


def test_prompts_are_cut():
    found = texts.encode_prompts(lambda text: [ord(c) for c in text], [(1, "abcd"), (2, "ab")], 3)
    assert [row.tolist() for row in found.ids] == [[97, 98, 99], [97, 98]]
    assert (found.lines, found.cut, found.short) == ([1, 2], 1, [])
    with pytest.raises(ValueError, match="^max_length: got 1"):
        texts.encode_prompts(list, [], 1)


def test_prompts_that_are_too_short_are_left_out_and_counted():
    rows = [(1, "ab"), (3, "a"), (4, ""), (7, "abc")]
    found = texts.encode_prompts(lambda text: [ord(c) for c in text], rows, 3)
    assert (found.lines, found.short, found.cut) == ([1, 7], [3, 4], 0)
    with pytest.raises(ValueError, match="^prompts: line 3 has 1 token, takes at least two prompt"):
        texts.encode_prompts(lambda text: [ord(c) for c in text], rows[:3], 3)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"one\ntwo\n\xff\n", "a.txt is not UTF-8 text: invalid start byte in line 3"),
        ("a.txt", b"one\r\ntwo\r\n\r\n\xe2\x82", "unexpected end of data in line 4"),
        ("a.jsonl", b'{"prompt": "a"}\n{"prompt": "\\ud800"}', "line 2: holds what is no Unicode"),
        ("a.jsonl", b'{"prompt": "a"}\n\n{"prompt": ["a"]}', "line 3: takes an object with text"),
        ("a.jsonl", b'{"prompt": "a"}\n{"prompt": "a"', "line 2: not JSON"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="^prompts: ") as caught:
        texts.read_prompts(tmp_path / name)
    assert said in str(caught.value)


def test_a_folder_is_no_file_of_prompts(tmp_path):
    with pytest.raises(ValueError, match="^prompts: .* is a folder"):
        texts.read_prompts(tmp_path)


def test_prompts_come_from_the_standard_input_too(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(b'{"prompt": "one"}\n\n{"prompt": "two"}\n'))
    monkeypatch.setattr("sys.stdin", stream)
    assert texts.read_prompts("-") == [(1, "one"), (3, "two")]
    stream = io.TextIOWrapper(io.BytesIO(b'one\n\n{"prompt": "two"}\n'))
    monkeypatch.setattr("sys.stdin", stream)
    assert texts.read_prompts("-") == [(1, "one"), (3, '{"prompt": "two"}')]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    with pytest.raises(ValueError, match="^prompts: standard input holds no prompt"):
        texts.read_prompts("-")


def test_values_come_back_in_the_order_given():
    prompts = Prompts.of(drawn((3, 7, 7, 5)), "cpu")
    assert prompts.lengths.tolist() == [7, 7, 5, 3]
    assert prompts.as_given(prompts.lengths).tolist() == [3, 7, 7, 5]
    assert prompts.first(2).order.tolist() == [1, 2]
