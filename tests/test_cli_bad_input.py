"""What is wrong with a call is said in one line, with exit code 2, and before any work is done."""

import json
import os
import shutil

import pytest

from tokensphere import cli
from tokensphere.paper import chapters
from tokensphere.paper.rerun import batch

DEEP = "[" * 100_000
DIGITS = "9" * 5000
CODE = """
```{code-cell}
:tags: [parameters]
seed = 0
x = 1.5
l = [1]
```
"""
HEAD = "---\nkernelspec:\n  display_name: Python 3\n  name: python3\n---\n"
CELL = "0123456789abcdef"
ENTRY = {"chapter": "ok", "digest": CELL, "state": "passed", "values": {"seed": 1}, "size": 2}


def head(kernel):
    return f"---\nkernelspec: {kernel}\n---\n{CODE}"


FILES = {
    "ok.md": HEAD + CODE,
    "number.md": head("3"),
    "list.md": head("[1]"),
    "nameless.md": head("{display_name: P}"),
    "numbered.md": head("{display_name: P, name: 5}"),
    "unnamed.md": head("{display_name: P, name: ''}"),
    "another.md": head("{display_name: R, name: python3, language: R}"),
    "uninstalled.md": head("{display_name: P, name: nosuch}"),
    "damaged.md": head("{display_name: P, name: damaged}"),
    "bare.md": head("{display_name: P, name: bare}"),
    "kernels/damaged/kernel.json": "{",
    "kernels/bare/kernel.json": '{"argv": [], "display_name": "B"}',
    "jupytext.md": f"---\njupytext: 3\n---\n{CODE}",
    "deep.md": f"---\na: {DEEP[:1200]}\n---\n{CODE}",
    "tags.md": HEAD + CODE.replace("[parameters]", "3"),
    "binary.md": b"\x80\x81\x82",
    "empty.md": "",
    "afile": "x",
    "deep.yaml": f"a: {DEEP[:1200]}",
    "twice.yaml": "ok.md: {}\nok.md: {}\n",
    "nan.yaml": "ok.md: {x: [nan]}\n",
    "binary.yaml": b"\x80\x81",
    "deep.jsonl": DEEP,
    "deep.txt": f"{DEEP}\nw1 w2\n",
    "nan.jsonl": '{"prompt": NaN}\n',
    "digits.jsonl": f'{{"prompt": {DIGITS}}}\n',
    "half.jsonl": '{"prompt": "\\ud800"}\n',
    "binary.txt": b"\x80\x81",
    "list.json": "[]",
    "three.json": '{"address": 3}',
    "deep.json": DEEP,
    f"huge/ok/{CELL}.json": json.dumps(ENTRY | {"kept": {"a": 10**400}}),
    f"huge/ok/{CELL}.ipynb": "{}",
    f"good/ok/{CELL}.json": json.dumps(ENTRY | {"kept": {"a": 1.5}}),
    f"good/ok/{CELL}.ipynb": "{}",
}
FOLDERS = ("folder", "out.ipynb", "failed/out.failed.ipynb", "out.csv", "out.png", "folder.md")

RUN = [
    # A chapter and its head.
    (["run", "number.md"], "number.md", "kernelspec"),
    (["run", "list.md"], "list.md", "kernelspec"),
    (["run", "nameless.md"], "nameless.md", "kernelspec", "'name'"),
    (["run", "numbered.md"], "numbered.md", "kernelspec.name", "5"),
    (["run", "unnamed.md"], "unnamed.md", "''"),
    (["run", "another.md"], "another.md", "'R'", "takes a kernel of Python"),
    (["run", "uninstalled.md"], "'nosuch'"),
    (["run", "damaged.md"], "'damaged' cannot be read"),
    (["run", "bare.md"], "'bare' cannot be started"),
    (["run", "jupytext.md"], "jupytext.md"),
    (["run", "deep.md"], "deep.md", "recursion"),
    (["run", "tags.md"], "tags.md", "metadata.tags"),
    (["run", "binary.md"], "binary.md", "utf-8"),
    (["run", "empty.md"], "'empty'", "no code"),
    (["run", "loop.md"], "loop.md: no such chapter"),
    (["run", "folder.md"], "folder.md: no such chapter"),
    (["run", "a\nb.md"], "a b.md"),
    (["run", "a\0.md"], r"'a\x00.md'", "NUL"),
    (["run", "x" * 5000], " ... "),
    # Its parameters.
    (["run", "ok.md", "-p", "seed", "[2020-01-01]"], "'seed'", "takes int", "2020-01-01"),
    (["run", "ok.md", "-p", "seed", DIGITS], "'seed'", "takes int"),
    (["run", "ok.md", "-p", "x", "nan"], "'x'", "takes finite", "nan"),
    (["run", "ok.md", "-p", "x", "1e400"], "'x'", "takes finite", "inf"),
    (["run", "ok.md", "-p", "l", DEEP[:1200]], "-p", "nested"),
    (["run", "ok.md", "-p", "l", "&a [*a]"], "'l'", "takes finite"),
    (["run", "ok.md", "-p", "a\nb", "1"], r"'a\nb'"),
    # Where it is written.
    (["run", "ok.md", "--out", "out.ipynb"], "out.ipynb is a folder"),
    (["run", "ok.md", "--out", "failed/out.ipynb"], "out.failed.ipynb is a folder"),
    (["run", "ok.md", "--out", ""], "''"),
    (["run", "ok.md", "--out", "afile/x.ipynb"], "afile"),
    (["run", "ok.md", "--out", "loop/x.ipynb"], "loop"),
    (["run", "ok.md", "--out", "/proc/x.ipynb"], "/proc/x.ipynb cannot be written"),
    (["run", "ok.md", "--out", "x" * 300 + ".ipynb"], "too long"),
    # Claims, records.
    (["claims", "--check", "a\nb"], r"'a\nb'"),
    (["claims", "--check", "eq-1", "--seed", "1.5"], "--seed", "1.5"),
    (["claims", "--check", "eq-1", "--seed", "nan"], "--seed", "nan"),
    (["claims", "--check", "eq-1", "--seed", str(2**64)], f"--seed: got {2**64}"),
    (["claims", "--check", "eq-1", "--seed", DIGITS], "--seed", " ... "),
    (["records", "--renew", "no\nsuch"], r"'no\nsuch'"),
    # Batches.
    (["rerun", "number.md", "--out", "new"], "number.md", "kernelspec"),
    (["rerun", "ok.md", "--out", "afile"], "--out: afile"),
    (["rerun", "ok.md", "--out", "loop"], "--out: loop"),
    (["rerun", "ok.md", "--out", "afile", "--dry-run"], "--out: afile"),
    (["rerun", "ok.md", "--out", "afile/x"], "afile/x", "Not a directory"),
    (["rerun", "--grid", "deep.yaml", "--out", "new"], "deep.yaml", "nested"),
    (["rerun", "--grid", "twice.yaml", "--out", "new"], "twice.yaml, line 2", "twice"),
    (["rerun", "--grid", "nan.yaml", "--out", "new"], "'x'", "nan"),
    (["rerun", "--grid", "binary.yaml", "--out", "new"], "binary.yaml", "utf-8"),
    (["rerun", "--grid", "loop", "--out", "new"], "--grid: loop"),
    (["rerun", "ok.md", "--out", "new", "--workers", DIGITS], "--workers", " ... "),
    (["rerun", "ok.md", "--out", "new", "--timeout", "nan"], "--timeout: got nan"),
    (["rerun", "--status", ""], "''"),
    (["rerun", "--status", "a\nb"], "a b: no such folder"),
    (["collect", "", "a"], "''"),
    (["collect", "good", "a", "--out", "out.csv"], "--out: out.csv is a folder"),
    (["collect", "good", "a", "--out", "/proc/x.csv"], "--out: /proc/x.csv cannot be written"),
    (["collect", "good", "a", "--out", "folder"], "--out: got 'folder'"),
    (["collect", "good", "a", "--figure", "out.png", "--against", "seed"], "--figure: out.png"),
    (["collect", "huge", "a", "--figure", "x.png", "--against", "seed"], "'a'", "no number"),
    (
        ["collect", "good", "a", "--figure", "x.png", "--against", "seed", "--out", "out.csv"],
        "--out: out.csv is a folder",
    ),
]
SINKS = [
    (["--layers", "0-3000000000"], "layers: got '0-3000000000'", "below 100000"),
    (["--layers", DIGITS], "layers: got '999", "below 100000"),
    (["--layers", ""], "layers: got ''"),
    (["--threshold", "nan"], "threshold: got nan"),
    (["--channels", "0"], "channels: got 0"),
    (["--seed", str(2**64)], f"seed: got {2**64}"),
    (["--max-length", "-1"], "max-length: got -1"),
    (["--device", ""], "device: got ''"),
    (["--tokenizer", ""], "tokenizer: got ''"),
    (["--replace-with", DIGITS], "replace-with", "tokens"),
]
PROMPTS = [
    ("deep.jsonl", "prompts: deep.jsonl", "nested"),
    ("deep.txt", "prompts: deep.txt", "nested"),
    ("nan.jsonl", "prompts: nan.jsonl, line 1"),
    ("digits.jsonl", "prompts: digits.jsonl, line 1"),
    ("half.jsonl", "prompts: half.jsonl, line 1"),
    ("binary.txt", "prompts: binary.txt", "line 1"),
    ("loop", "prompts: no such file: loop"),
    ("folder", "prompts: folder is a folder"),
    ("", "prompts: ", "is a folder"),
]
OUTS = [
    ("afile", "afile is a file"),
    ("folder.md/..", "the folder that this runs in"),
    ("loop", "leads to itself"),
    ("good", "holds ok"),
    ("nowhere/new", "no such folder"),
]


@pytest.fixture
def bad(tmp_path, monkeypatch):
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for name in FOLDERS:
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "loop.md").symlink_to("loop.md")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    # Nothing may have been executed, nor a worker started.
    monkeypatch.setattr("papermill.execute_notebook", None)
    monkeypatch.setattr(batch, "_Batch", None)
    return tmp_path


def refused(capfd, place, arguments, *said):
    before = sorted(place.rglob("*"))
    capfd.readouterr()
    assert cli.main(arguments) == 2
    printed, err = capfd.readouterr()
    assert printed == ""
    assert err.startswith("tokensphere: ") and err.count("\n") == 1, err
    assert len(err) < 1100
    for part in said:
        assert part in err
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("case", RUN, ids=lambda case: " ".join(case[0])[:60].replace("\0", "0"))
def test_a_bad_call_is_one_line(bad, capfd, case):
    refused(capfd, bad, *case)


@pytest.fixture
def small(models, bad):
    (bad / "prompts.txt").write_text("w1 w2 w3\nw4 w5 w6 w7\nw8 w9\n")
    return models["mamba"]


@pytest.mark.parametrize("case", SINKS, ids=lambda case: " ".join(case[0])[:40])
def test_a_bad_option_of_sinks_is_one_line(small, bad, capfd, case):
    options, *said = case
    refused(capfd, bad, sinks(small, *options), *said)


@pytest.mark.parametrize(("prompts", "said"), [(case[0], case[1:]) for case in PROMPTS])
def test_prompts_that_are_none_are_one_line(small, bad, capfd, prompts, said):
    refused(capfd, bad, sinks(small, prompts=prompts), *said)


@pytest.mark.parametrize(("out", "said"), OUTS)
def test_a_place_that_takes_no_report_is_one_line(small, bad, capfd, out, said):
    refused(capfd, bad, sinks(small, out=out), "out: ", said)


def sinks(model, *options, prompts="prompts.txt", out="new"):
    return ["sinks", str(model), "--prompts", prompts, "--out", out, *options]


def change(folder, **settings):
    config = json.loads((folder / "config.json").read_text())
    for name, value in settings.items():
        config.pop(name) if value is None else config.update({name: value})
    (folder / "config.json").write_text(json.dumps(config))


def weights(folder, spoil):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    spoil(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def cut(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


NORM = "backbone.norm_f.weight"
DAMAGE = {
    "a cut file": (cut, "incomplete"),
    "an empty file": (lambda f: (f / "model.safetensors").write_bytes(b""), "header"),
    "NaN in the last weights": (
        lambda f: weights(f, lambda t: t[NORM][:1].fill_(float("nan"))),
        NORM,
    ),
    "infinite weights": (lambda f: weights(f, lambda t: t[NORM].fill_(float("inf"))), NORM),
    "a key less": (lambda f: weights(f, lambda t: t.pop(NORM)), NORM),
    "a key more": (lambda f: weights(f, lambda t: t.update(more=t[NORM].clone())), "more"),
    "no family": (lambda f: change(f, model_type=None), "model_type"),
    "an unknown family": (lambda f: change(f, model_type="nosuch"), "nosuch"),
    "a size less": (lambda f: change(f, state_size=None), "A_log of shape (32, 4)"),
    "no list of classes": (lambda f: change(f, architectures=3), "architectures = 3"),
    "a class that is a number": (lambda f: change(f, architectures=[3]), "architectures = [3]"),
    "a deep config": (lambda f: (f / "config.json").write_text(DEEP), "recursion"),
    "a config that is null": (lambda f: (f / "config.json").write_text("null"), "NoneType"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer"),
    "a deep tokenizer": (lambda f: (f / "tokenizer.json").write_text(DEEP), "tokenizer"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_model_is_named_in_one_line(small, bad, capfd, damage):
    spoil, said = DAMAGE[damage]
    shutil.copytree(small, bad / "model")
    spoil(bad / "model")
    refused(capfd, bad, sinks("model"), "model: model ", said)


REPORTS = {
    "deep": (lambda text: DEEP, "nested"),
    "a key twice": (lambda text: text.rstrip()[:-1] + ', "data": {}}', "'data' twice"),
    "NaN": (lambda text: text.replace('"threshold": 0.3', '"threshold": NaN', 1), "NaN"),
    "huge": (lambda text: text.replace(": 0.3,", f": {10**400},", 1), "401 digits"),
    "half a character": (lambda text: text.replace('"class": "', '"class": "\\ud800', 1), "class"),
}


@pytest.mark.parametrize("damage", REPORTS)
def test_a_damaged_report_is_named_in_one_line(scores, bad, capfd, damage):
    spoil, said = REPORTS[damage]
    text = json.dumps({"data": scores})
    for name, content in (("one", text), ("two", spoil(text))):
        (bad / name).mkdir()
        (bad / name / "sinks.json").write_text(content)
    assert spoil(text) != text
    refused(capfd, bad, ["sinks", "compare", "one", "two", "--out", "new"], "two", said)


@pytest.mark.parametrize(
    "seconds",
    ["NaN", "1e400", str(10**400), '"x"', DEEP],
    ids=["NaN", "1e400", "huge", "x", "deep"],
)
def test_a_batch_says_what_it_holds_whatever_that_is(bad, capfd, seconds):
    """As it is there to say what is lost: a damaged entry is one, and no end."""
    place = bad / "batch" / "ok"
    place.mkdir(parents=True)
    (place / f"{CELL}.json").write_text(f'{json.dumps(ENTRY)[:-1]}, "seconds": {seconds}}}')
    (place / f"{CELL}.ipynb").write_text("{}")
    run = f'{{"parameters": {{}}, "duration": {seconds}}}'
    notebook = f'{{"cells": [], "metadata": {{"papermill": {run}}}}}'
    (place / f"{'f' * 16}.ipynb").write_text(notebook)
    assert cli.main(["rerun", "--status", "batch"]) == 0
    assert "2 interrupted; 0 s in all" in capfd.readouterr().out


def test_a_scheduler_file_that_is_none_is_one_line(bad):
    from tokensphere.paper.rerun import BadInput, engine

    for name in ("list.json", "three.json", "deep.json", "binary.txt"):
        with (
            pytest.raises(BadInput, match=f"no scheduler at {name}|no scheduler at 3"),
            engine.remote(name),
        ):
            pass


def test_a_file_is_named_once_by_the_system(bad, capfd, monkeypatch):
    """And by the name that was typed, not by that of its draft."""

    def fails(*_):
        os.replace(bad / "afile", bad / "folder")

    monkeypatch.setattr(chapters, "find", fails)
    refused(capfd, bad, ["run", "ok.md"], f"{bad / 'folder'}: Is a directory")


def test_ctrl_c_is_one_line(small, bad, capfd, monkeypatch):
    """While it waits for prompts."""

    class Terminal:
        buffer = property(lambda self: self)

        def read(self):
            raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin", Terminal())
    assert cli.main(sinks(small, prompts="-")) == 130
    assert capfd.readouterr() == ("", "tokensphere: interrupted\n")
