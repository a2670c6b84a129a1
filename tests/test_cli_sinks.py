"""`tokensphere sinks`: what it writes, what it refuses, and that nothing half-written stays."""

import csv
import html.parser
import json
import os
import re
import subprocess
import sys

import pytest
import torch
from sink_command import copy, refused, run

from tokensphere import records
from tokensphere.sinks.report import page, table, tool

transformers = pytest.importorskip("transformers")

FILES = {
    "sinks.json",
    "scores.csv",
    "index.html",
    "importance_by_layer.svg",
    "sink_rate_by_layer.svg",
    "importance_by_position.svg",
    "sink_score_by_position.svg",
    "attention_maps.svg",
}


class Links(html.parser.HTMLParser):
    """Where a page's elements point to, and which elements it has."""

    def __init__(self):
        super().__init__()
        self.targets, self.tags, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.targets += [
            value for name, value in attributes if name.split(":")[-1] in ("src", "href", "srcset")
        ]

    def handle_data(self, data):
        self.text.append(data)


def test_a_report_is_whole(models, place, capsys):
    options = ["--channels", "5", "--seed", "3", "--threshold", "0.2", "--batch-size", "2"]
    assert run(models["mamba"], *options, "--device", "cpu") == 0
    assert capsys.readouterr() == (f"{os.path.join('report', 'index.html')}\n", "")
    assert {entry.name for entry in place.iterdir()} == {"prompts.txt", "report"}
    assert {entry.name for entry in (place / "report").iterdir()} == FILES

    record = records.load(place / "report" / "sinks.json")
    assert record.seed == 3
    assert record.parameters == {
        "model": str(models["mamba"]),
        "prompts": "prompts.txt",
        "tokenizer": None,
        "bos": None,
        "replace_with": None,
        "layers": None,
        "channels": 5,
        "threshold": 0.2,
        "dtype": "auto",
        "max_length": 64,
        "batch_size": 2,
        "ablate": False,
    }
    data = record.data
    assert data["model"]["name"] == str(models["mamba"])
    assert data["model"]["class"] == "MambaForCausalLM"
    assert data["prompts"]["bos"] and data["prompts"]["lengths"] == [6, 8, 10]
    (first,) = data["prompts"]["first_tokens"]["forward"]
    assert (first["text"], first["count"]) == ("<bos>", 3)
    assert (data["threshold"], data["seed"], data["channels"]) == (0.2, 3, 5)
    assert [layer["channels"] for layer in data["layers"]] == [5, 5]
    assert [each["line"] for each in data["prompts"]["each"]] == [1, 2, 3]
    assert (data["prompts"]["cut"], data["prompts"]["short"]) == (0, [])


def test_the_scores_of_each_prompt_are_a_table(models, place, slight):
    (place / "prompts.txt").write_text("w1 w2 w3\n\nw4 w5 w6 w7\nw1 w2 w3\nw8 w9\n")
    assert run(models["mamba"]) == 0
    with (place / "report" / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == list(table.COLUMNS)
    assert [(row["prompt"], row["line"], row["tokens"], row["layer"]) for row in rows] == [
        (prompt, line, tokens, layer)
        for prompt, line, tokens in (("1", "1", "4"), ("2", "3", "5"), ("4", "5", "3"))
        for layer in ("0", "1")
    ]
    assert rows[1]["name"] == "backbone.layers.1.mixer" and rows[1]["reverse"] == "0"
    data = records.load(place / "report" / "sinks.json").data
    for place_, row in enumerate(rows):
        layer = data["layers"][int(row["layer"])]
        for variant in ("absolute", "softmax", "raw"):
            assert float(row[variant]) == layer["first"][variant][place_ // 2]


def test_what_was_done_with_the_prompts_is_said(models, place, slight):
    lines = ["w1 w2 w3 w4 w5", "w1 w2 w3 w4 w6", "", "w7 w8 w9", "w7 w8 w9", "w9 w8"]
    (place / "a.jsonl").write_text("\n".join(f'{{"prompt": "{line}"}}' for line in lines))
    assert run(models["mamba"], "--max-length", "5", prompts="a.jsonl") == 0
    prompts = records.load(place / "report" / "sinks.json").data["prompts"]
    # The first two become equal when cut; the third has <bos> alone.
    assert (prompts["given"], prompts["count"], prompts["repeated"]) == (5, 3, 2)
    assert (prompts["cut"], prompts["short"]) == (2, [3])
    assert [each["line"] for each in prompts["each"]] == [1, 4, 6]
    text = " ".join((place / "report" / "index.html").read_text("utf-8").split())
    assert "2 of 5 prompts equal one before them, as given or as cut." in text
    assert "3 different ones; 2 cut; 2 repeated and left out; 1 left out with fewer" in text
    assert prompts["digest"] in text
    assert "Of 3 different prompts nothing is decided: give at least 5" in text


def test_the_page_stands_alone_and_shows_the_numbers(models, place, capsys):
    assert run(models["falcon"], "--max-length", "5") == 0
    text = (place / "report" / "index.html").read_text("utf-8")
    data = json.loads((place / "report" / "sinks.json").read_text())["data"]
    assert data["model"]["class"] == "FalconMambaForCausalLM"
    links = Links()
    links.feed(text)
    # Names of XML's vocabularies are no addresses that a browser asks for.
    named = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert "http" not in named and "//" not in re.sub(r"base64,[^\"]*", "", named)
    assert {target[:1] if target[:1] == "#" else target[:15] for target in links.targets} <= {
        "#",
        "data:image/png;",
    }
    assert not {"script", "link", "iframe", "img", "object"} & set(links.tags)
    assert "@import" not in text and "url(h" not in text
    assert links.tags.count("figure") == 5 and links.tags.count("svg") == 5
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text
    shown = " ".join(" ".join(links.text).split())
    assert "Up to nine tokens" in shown
    for layer in data["layers"]:
        assert f"{layer['scores']['absolute']['mean'][0]:.3g}" in shown
        assert f"{layer['nulls']['shuffled_after_bos']['absolute']['score']['mean']:.3g}" in shown
        assert page.KINDS[layer["verdict"]["kind"] or layer["verdict"]["outcome"]][0] in shown
        assert layer["name"] in shown
    assert f"{data['check']['error']}" in shown
    for name in page.FIGURES:
        svg = (place / "report" / f"{name}.svg").read_text("utf-8")
        assert svg.startswith("<?xml") and page.INK not in svg and "currentColor" in svg
        assert page.inline(svg, page.FIGURES[name][0]) in text


@pytest.mark.parametrize("options", [["--max-length", "400"], []])
def test_room_is_made_for_all_that_is_written(models, place, monkeypatch, options):
    """More than a report takes, and not many times as much; maps are drawn of few tokens."""
    text = "\n".join(" ".join(f"w{(i * j) % 20}" for j in range(1, 400)) for i in range(1, 13))
    (place / "prompts.txt").write_text(text)
    asked = []
    real = tool.replacing
    monkeypatch.setattr(tool, "replacing", lambda *args: asked.append(args[-1]) or real(*args))
    assert run(models["mamba"], "--channels", "1", *options) == 0
    size = sum(entry.stat().st_size for entry in (place / "report").iterdir())
    assert size < asked[0] < 8 * size


def test_an_ablation_has_its_row_and_figure(models, place):
    g = torch.Generator().manual_seed(0)
    words = torch.randint(20, (6, 8), generator=g)
    lines = [" ".join(f"w{word}" for word in row) for row in words.tolist()]
    (place / "long.txt").write_text("\n".join(lines))
    assert run(models["mamba"], "--channels", "2", "--ablate", prompts="long.txt") == 0
    names = {entry.name for entry in (place / "report").iterdir()}
    assert names == FILES | {"ablation_by_layer.svg"}
    assert names <= set(page.FILES)
    data = records.load(place / "report" / "sinks.json").data
    text = (place / "report" / "index.html").read_text("utf-8")
    links = Links()
    links.feed(text)
    assert links.tags.count("figure") == links.tags.count("svg") == 6
    assert "Does it matter?" in text
    layer = data["ablation"]["layers"][1]["first"]["kl"]
    assert page._spread(layer) in text


def test_an_interval_of_no_width_is_not_shown():
    assert page._spread({"mean": 0.5, "low": 0.25, "high": 0.75}) == "0.5 [0.25, 0.75]"
    assert page._spread({"mean": 1.0, "low": 1.0, "high": 1.0}) == "1"
    assert page._spread({"mean": -0.5, "low": None, "high": None}) == "−0.5"


def test_options_in_a_sentence_are_set_as_code_and_the_rest_is_text():
    found = page._options("in <b>.mixer, by --no-bos. tokensphere.sinks.ablate tells: a - b.")
    assert found == (
        "in &lt;b&gt;.mixer, by <code>--no-bos</code>. "
        "<code>tokensphere.sinks.ablate</code> tells: a - b."
    )


def test_tokens_are_quoted_as_they_are():
    shown = page.template("{{ text | quoted }}").render(text='<bos>&"é\n')
    assert shown == "&#34;&lt;bos&gt;&amp;\\&#34;é\\n&#34;"


def test_what_the_page_quotes_is_escaped(models, place, slight):
    rows = ['{"prompt": "w1 w2 <b>&"}', '{"prompt": "w3 w4 w5"}']
    (place / "a.jsonl").write_text("\n".join(rows))
    (place / "<i>").symlink_to(models["mamba"])
    assert run("<i>", prompts="a.jsonl") == 0
    text = (place / "report" / "index.html").read_text("utf-8")
    assert "<i>" not in text and "&lt;i&gt;" in text
    assert "<code>&#34;&lt;bos&gt;&#34;</code>" in text and "\\u003c" not in text
    data = json.loads((place / "report" / "sinks.json").read_text())["data"]
    assert data["prompts"]["lengths"] == [4, 4, 4]


def test_typeseg_by_its_name(place, capsys, slight):
    pytest.importorskip("typeseg")
    assert run("typeseg", "--channels", "3", "--layers", "0,4-5", "--max-length", "7") == 0
    assert capsys.readouterr().err == ""
    data = records.load(place / "report" / "sinks.json").data
    assert data["model"]["revision"].startswith("typeseg 0.")
    assert [(layer["index"], layer["reverse"]) for layer in data["layers"]] == [
        (index, reverse) for index in (0, 4, 5) for reverse in (False, True)
    ]
    assert data["prompts"]["first_tokens"]["forward"][0]["text"] == "w"
    with (place / "report" / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))[:6]
    assert [(row["layer"], row["reverse"]) for row in rows] == [
        (str(layer["index"]), str(int(layer["reverse"]))) for layer in data["layers"]
    ]
    assert [row["reverse"] for row in rows] == ["0", "1"] * 3
    assert "backward" in (place / "report" / "index.html").read_text("utf-8")


def test_a_former_report_is_replaced_and_an_empty_folder_taken(models, place, slight):
    (place / "report").mkdir()
    assert run(models["mamba"], "--seed", "1") == 0
    assert run(models["mamba"], "--seed", "2") == 0
    assert records.load(place / "report" / "sinks.json").seed == 2
    assert {entry.name for entry in place.iterdir()} == {"prompts.txt", "report"}


@pytest.mark.parametrize("names", [["notes.txt"], ["sinks.json", "notes.txt"], ["index.html"]])
def test_a_folder_that_is_no_report_is_left_alone(models, place, capsys, names):
    (place / "report").mkdir()
    for name in names:
        (place / "report" / name).write_text("mine")
    refused(capsys, place, [models["mamba"]], "out: ", names[-1], "is no former report")
    assert [(place / "report" / name).read_text() for name in names] == ["mine"] * len(names)


def test_places_that_cannot_be_written_are_refused(models, place, capsys, monkeypatch):
    refused(capsys, place, [models["mamba"]], "no such folder", "none", out="none/report")
    refused(capsys, place, [models["mamba"]], "prompts.txt is a file", out="prompts.txt")


@pytest.mark.parametrize(
    ("where", "error", "code"),
    [
        ("tokensphere.sinks.report.page.render", OSError("no space left"), 2),
        ("tokensphere.sinks.report.places.os.rename", OSError("no space left"), 2),
        ("tokensphere.sinks.report.tool.measure_model", KeyboardInterrupt(), 130),
    ],
)
def test_what_fails_leaves_nothing_and_keeps_the_former_report(
    models, place, capsys, monkeypatch, slight, where, error, code
):
    def fail(source, *args, **kwargs):
        # The draft is renamed at the start too; what fails is the last move.
        if where.endswith("rename") and os.path.basename(source) != "new":
            return rename(source, *args, **kwargs)
        raise error

    rename = os.rename
    for former in (False, True):
        if former:
            assert run(models["mamba"]) == 0
            capsys.readouterr()
            kept = {entry: entry.read_bytes() for entry in (place / "report").iterdir()}
        with monkeypatch.context() as patch:
            patch.setattr(where, fail)
            assert run(models["mamba"]) == code
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1
        names = {"prompts.txt", "report"} if former else {"prompts.txt"}
        assert {entry.name for entry in place.iterdir()} == names
    assert {entry: entry.read_bytes() for entry in (place / "report").iterdir()} == kept


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nSee"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_says_what_to_try(models, place, capsys, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(tool, "measure_model", fail)
    said = ("out of memory", "--batch-size", "--max-length", "--channels")
    refused(capsys, place, [models["mamba"]], *said)
    monkeypatch.setattr(transformers.MambaForCausalLM, "from_pretrained", fail)
    refused(capsys, place, [models["mamba"]], *said)


def test_other_errors_are_not_hidden(models, place, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("a bug")

    monkeypatch.setattr(tool, "measure_model", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        run(models["mamba"])
    assert {entry.name for entry in place.iterdir()} == {"prompts.txt"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "prompts.txt holds no prompt"),
        (b"\n  \n", "prompts.txt holds no prompt"),
        (b"w1 w2\n\xff\xfe", "prompts.txt is not UTF-8 text: invalid start byte in line 2"),
        (b"w1 w2 w3\n", "prompts: got 1, takes at least two different ones"),
        (b"w1 w2 w3\n" * 9, "prompts: got 9 that are all the same when cut"),
    ],
)
def test_prompts_that_cannot_be_used(models, place, capsys, content, said):
    (place / "prompts.txt").write_bytes(content)
    refused(capsys, place, [models["mamba"]], said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"prompt": "w1 w2"}\n\n{"prompt": 3}', "line 3"),
        ('{"prompt": "w1 w2"}\n{"text": "w1 w2"}', "line 2"),
        ("w1 w2 w3", "line 1: not JSON"),
        ('{"prompt": "w1 w2"}\n{"prompt": ""}', "line 2 has 1 token, takes at least two"),
        ('{"prompt": "w1 w2"}\n{"prompt": "\\udc00"}', "line 2: holds what is no Unicode text"),
    ],
)
def test_objects_that_are_no_prompts(models, place, capsys, content, said):
    (place / "a.jsonl").write_text(content)
    refused(capsys, place, [models["mamba"]], said, prompts="a.jsonl")


def test_a_short_prompt_is_named_by_its_line(place, capsys):
    pytest.importorskip("typeseg")
    (place / "prompts.txt").write_text("abc\n\n\nx\n")
    refused(capsys, place, ["typeseg"], "line 4 has 1 token, takes at least two")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--layers", "2"], "layers: got 2, takes numbers from 0 to 1"),
        (
            ["--layers", "a"],
            "layers: got 'a', takes numbers from 0 to 1, or names such as",
        ),
        (["--layers", "0,backbone.layers.2.mixer"], "layers: got 'backbone.layers.2.mixer'"),
        (["--layers", "0;1"], "layers: got '0;1', takes all, or such as 0,5,10 or 0-7"),
        (["--layers", "0,"], "layers: got '0,'"),
        (["--layers", "1-0"], "layers: got '1-0', which ends before it starts"),
        (["--layers", "-1"], "layers: got '-1'"),
        (["--channels", "0"], "channels: got 0"),
        (["--channels", "x"], "--channels"),
        (["--seed", "-1"], "seed: got -1"),
        (["--threshold", "nan"], "threshold: got nan"),
        (["--batch-size", "0"], "batch-size: got 0"),
        (["--max-length", "1"], "max-length: got 1"),
        (["--dtype", "float8"], "dtype: got 'float8', takes one of auto, float32"),
        (["--device", "abacus"], "device: got 'abacus', which cannot be used"),
        (["--device", "meta"], "device: got 'meta', which cannot be used"),
        (["--device", "cuda:99"], "device: got 'cuda:99', which cannot be used"),
    ],
)
def test_bad_options_are_named(models, place, capsys, options, said):
    refused(capsys, place, [models["mamba"], *options], said)


def test_a_missing_file_of_prompts(models, place, capsys):
    refused(capsys, place, [models["mamba"]], "no such file", "none.txt", prompts="none.txt")


def test_models_that_are_not_there(models, place, capsys):
    refused(capsys, place, ["./none"], "model: no such folder: ./none")
    refused(capsys, place, ["a/b/c"], "model: no such folder: a/b/c")
    refused(capsys, place, ["prompts.txt"], "model: prompts.txt is a file")
    refused(capsys, place, ["nobody/none"], "model: nobody/none cannot be loaded", "the hub")
    refused(capsys, place, ["no model!"], "model: no model! cannot be loaded")


@pytest.mark.parametrize(
    ("without", "said"),
    [
        ("model.safetensors", "holds no weights (*.safetensors"),
        ("config.json", "holds no config.json"),
        ("tokenizer.json", "has no usable tokenizer; name one by --tokenizer"),
    ],
)
def test_folders_that_lack_something(models, place, capsys, without, said):
    folder = copy(models, place, without)
    if without == "model.safetensors":
        torch.save({}, folder / "pytorch_model.bin")  # could hold code
    refused(capsys, place, [folder], said)


def test_weights_that_do_not_fill_the_model_are_refused(models, place, capsys):
    from safetensors.torch import load_file, save_file

    folder = copy(models, place)
    weights = load_file(folder / "model.safetensors")
    name = "backbone.layers.1.mixer.A_log"
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refused(capsys, place, [folder], "lacks 1 of the weights of MambaForCausalLM", name)
    (folder / "model.safetensors").write_bytes(b"12345")
    refused(capsys, place, [folder], f"model: {folder} cannot be loaded: ")


def test_an_unsupported_model_is_named_with_those_supported(models, place, capsys):
    refused(capsys, place, [models["gpt2"]], "GPT2LMHeadModel", "FalconMambaForCausalLM")
    folder = copy(models, place)
    (folder / "config.json").write_text('{"model_type": "vit"}')
    refused(capsys, place, [folder], "ViTModel holds no supported mixer")
    (folder / "config.json").write_text('{"model_type": "none"}')
    refused(capsys, place, [folder], f"model: {folder} cannot be loaded: ")


def test_code_that_comes_with_a_model_runs_only_when_asked(
    models, place, capsys, slight, monkeypatch
):
    # transformers copies such code there, and imports it from there.
    modules = place / "modules"
    modules.mkdir()
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(modules))
    monkeypatch.setattr(sys, "path", [*sys.path])
    folder = copy(models, place)
    (folder / "theirs.py").write_text(
        "from pathlib import Path\n"
        "from transformers import MambaConfig, MambaForCausalLM\n"
        f"Path({str(place / 'ran')!r}).touch()\n"
        "class Theirs(MambaConfig):\n    model_type = 'theirs'\n"
        "class TheirModel(MambaForCausalLM):\n    config_class = Theirs\n"
    )
    config = json.loads((folder / "config.json").read_text())
    names = {"AutoConfig": "theirs.Theirs", "AutoModelForCausalLM": "theirs.TheirModel"}
    config |= {"model_type": "theirs", "auto_map": names}
    (folder / "config.json").write_text(json.dumps(config))
    refused(capsys, place, [folder], "--trust-remote-code")
    assert not (place / "ran").exists()
    assert run(folder, "--trust-remote-code") == 0
    assert (place / "ran").exists()
    data = records.load(place / "report" / "sinks.json").data
    assert data["model"]["class"] == "TheirModel"


def test_dtype_and_silence(models, place, capsys, slight):
    from huggingface_hub import utils as hub
    from transformers.utils import logging

    usual = logging.get_verbosity()
    logging.set_verbosity_info()
    logging.enable_progress_bar()
    hub.enable_progress_bars()
    try:
        assert run(models["mamba"], "--dtype", "bfloat16") == 0
        assert capsys.readouterr().err == ""
        assert logging.get_verbosity() == logging.INFO
    finally:
        logging.set_verbosity(usual)
    assert records.load(place / "report" / "sinks.json").data["model"]["dtype"] == "bfloat16"
    assert logging.is_progress_bar_enabled() and not hub.are_progress_bars_disabled()


def test_a_library_that_is_missing_is_named(models, place, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setitem(sys.modules, "transformers.utils", None)
    refused(capsys, place, [models["mamba"]], "pip install 'tokensphere[book]'")


def test_as_a_process(models, place):
    arguments = ["sinks", str(models["mamba"])]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def process(prompts, module="tokensphere.cli"):
        return subprocess.run(
            [sys.executable, "-m", module, *arguments, "--prompts", prompts, "--out", "report"],
            capture_output=True,
            text=True,
            env=environment,
        )

    for module in ("tokensphere", "tokensphere.cli"):
        done = process("none.txt", module)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "tokensphere: prompts: no such file: none.txt\n"
    done = process("prompts.txt")
    assert (done.returncode, done.stderr) == (0, "")
    assert {entry.name for entry in (place / "report").iterdir()} == FILES
