"""`tokensphere sinks compare`: several reports on one page, and when they cannot be compared."""

import copy
import json
import re

import pytest
import torch
from sink_command import run
from test_cli_sinks import Links

from tokensphere import cli, records
from tokensphere.sinks import report
from tokensphere.sinks.report import compare, page
from tokensphere.sinks.report.places import replacing

FILES = {"compare.json", "index.html", "first_token_by_depth.svg"}


@pytest.fixture(scope="module")
def documents(models):
    """Two models, measured on the same tokens."""
    transformers = pytest.importorskip("transformers")
    g = torch.Generator().manual_seed(0)
    prompts = [torch.randint(2, 22, (length,), generator=g) for length in (12, 9, 10, 12, 11, 12)]
    found = {}
    for name, kind in {"mamba": "MambaForCausalLM", "falcon": "FalconMambaForCausalLM"}.items():
        model = getattr(transformers, kind).from_pretrained(models[name])
        data = report.measure_model(model.eval(), prompts)
        found[name] = {**data, "model": {"name": name, "revision": None, **data["model"]}}
    return found


@pytest.fixture
def reports(documents, tmp_path, monkeypatch):
    """Their sinks.json, each in a folder of its name, in the folder that the command runs in."""
    monkeypatch.chdir(tmp_path)
    for name, data in documents.items():
        save(tmp_path / name, data)
    return tmp_path


def save(folder, data):
    folder.mkdir(exist_ok=True)
    (folder / "sinks.json").write_text(json.dumps({"data": data}))


def run_compare(*arguments):
    return cli.main(["sinks", "compare", *map(str, arguments)])


def test_a_comparison_is_whole_and_stands_alone(reports, documents, capsys):
    assert run_compare("mamba", "falcon/sinks.json", "--out", "both") == 0
    assert capsys.readouterr() == ("both/index.html\n", "")
    assert {entry.name for entry in (reports / "both").iterdir()} == FILES
    found = json.loads((reports / "both" / "compare.json").read_text())
    assert (found["differ"], found["same_texts"]) == ([], None)
    assert [row["label"] for row in found["models"]] == ["mamba", "falcon"]
    assert [row["report"] for row in found["models"]] == ["mamba", "falcon/sinks.json"]
    for row, data in zip(found["models"], documents.values(), strict=True):
        layers = data["layers"]
        assert sum(row["verdicts"].values()) == row["layers"] == len(layers) == 2
        for kind, count in row["verdicts"].items():
            kinds = [each["verdict"]["kind"] or each["verdict"]["outcome"] for each in layers]
            assert kinds.count(kind) == count
        scores = [layer["scores"]["absolute"]["mean"][0] for layer in layers]
        assert row["largest"]["mean"] == max(scores)
        assert row["largest"]["name"] == layers[scores.index(max(scores))]["name"]
        sink = data["directions"][0]["sink"]["raw"]["prompts"]["after_threshold"]
        assert row["sink"][0]["raw"] == {name: sink[name][0] for name in ("mean", "low", "high")}
        assert row["prompts"]["digest"] == data["prompts"]["digest"]
    text = (reports / "both" / "index.html").read_text("utf-8")
    links = Links()
    links.feed(text)
    named = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert "http" not in named and "//" not in named
    assert {target[:1] for target in links.targets} <= {"#"}
    assert not {"script", "link", "iframe", "img", "object"} & set(links.tags)
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text
    assert links.tags.count("svg") == 1
    assert "cannot be compared" not in text
    assert page.INK not in text


def test_a_former_comparison_is_replaced_and_a_report_is_not(reports, capsys):
    assert run_compare("mamba", "falcon", "--out", "both") == 0
    assert run_compare("falcon", "mamba", "--out", "both") == 0
    found = json.loads((reports / "both" / "compare.json").read_text())
    assert [row["label"] for row in found["models"]] == ["falcon", "mamba"]
    capsys.readouterr()
    assert run_compare("mamba", "falcon", "--out", "mamba") == 2
    assert "is no former report (it holds sinks.json)" in capsys.readouterr().err
    other = replacing("both", page.FILES, "sinks.json")
    with pytest.raises(ValueError, match="it holds compare.json"), other:
        pass


def test_what_differs_is_said(documents):
    def differ(change, **more):
        other = copy.deepcopy(documents["falcon"])
        change(other)
        return compare.comparison({"one": documents["mamba"], "two": other, **more})

    assert differ(lambda data: None)["differ"] == []
    assert differ(lambda data: data.update(threshold=0.2))["differ"] == ["threshold"]
    assert differ(lambda data: data["prompts"].update(lengths=[2, 3, 4]))["differ"] == [
        "lengths of the prompts"
    ]
    filler = {"replace_with": {"id": 3, "text": None}}
    assert differ(lambda data: data["prompts"].update(filler))["differ"] == [
        "tokens put in place of the first"
    ]
    assert differ(lambda data: data["layers"].pop())["differ"] == ["layers measured"]
    # A deeper model, measured in all of its layers, is not told from this one.
    assert differ(lambda data: data["model"].update(mixers=3))["differ"] == ["layers measured"]

    def draw(data):
        data.update(channels=5)
        for layer in data["layers"]:
            layer["channels"] = 5

    assert differ(draw)["differ"] == ["channels drawn", "seed of the channels"]
    # A seed that draws no channels, and as many channels as there are, are no difference.
    assert differ(lambda data: data.update(seed=3, channels=10**6))["differ"] == []
    found = differ(lambda data: data["prompts"].update(digest="other"))
    assert (found["differ"], found["same_texts"]) == (["prompts"], None)
    # Any of several is enough.
    more = {"three": {**documents["mamba"], "threshold": 0.7}}
    assert differ(lambda data: None, **more)["differ"] == ["threshold"]


@pytest.mark.parametrize("same", [True, False])
def test_the_page_warns_where_prompts_differ(reports, documents, same):
    for name, data in documents.items():
        other = copy.deepcopy(data)
        other["prompts"] |= {"digest": name, "texts": "one" if same else name}
        save(reports / name, other)
    assert run_compare("mamba", "falcon", "--out", "both") == 0
    text = " ".join((reports / "both" / "index.html").read_text("utf-8").split())
    assert "These scores cannot be compared.</strong> The reports differ in the prompts." in text
    assert ("made into other tokens" in text) is same


def test_the_page_says_how_much_of_each_model_was_measured(reports, documents):
    data = copy.deepcopy(documents["mamba"])
    data["layers"].pop()
    data["layers"][0]["channels"] = data["channels"] = 5
    save(reports / "mamba", data)
    assert run_compare("mamba", "falcon", "--out", "both") == 0
    text = " ".join((reports / "both" / "index.html").read_text("utf-8").split())
    assert "<td>1 of 2</td> <td>5</td>" in text and "<td>2 of 2</td> <td>all</td>" in text
    assert "of 1 layers measured," in text and "of 2 layers," in text


def test_a_copy_of_a_report_is_no_second_model(reports, documents, capsys):
    save(reports / "again", documents["mamba"])
    assert run_compare("mamba", "falcon", "again", "--out", "both") == 2
    assert "reports: again is a copy of mamba, takes different" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data.update(model="mamba"), 'data.model is "mamba"'),
        (lambda data: data["model"].update(mixers="3"), 'data.model.mixers is "3"'),
        (lambda data: data["model"].update(mixers=True), "data.model.mixers is true"),
        (lambda data: data["model"].update(name=3), "data.model.name is 3"),
        (lambda data: data["model"].update(mixers=1), "data.layers[1].index is 1"),
        (
            lambda data: data["layers"][1]["verdict"].update(kind="new"),
            'data.layers[1].verdict is "new"',
        ),
        (lambda data: data.update(directions=[]), "data.directions is []"),
        (lambda data: data["directions"][0].update(reverse=True), "data.directions are not"),
        (lambda data: data.update(layers={}), "data.layers is {}"),
        (lambda data: data["prompts"].update(lengths=["9", 1, 2]), 'lengths[0] is "9"'),
        (lambda data: data["prompts"].update(lengths=[9, 1]), "data.prompts.lengths is [9, 1]"),
        (
            lambda data: data["layers"][0]["scores"]["absolute"]["mean"].insert(0, None),
            "data.layers[0].scores.absolute.mean[0] is null",
        ),
        (lambda data: data.update(threshold=float("nan")), "it holds NaN"),
        (lambda data: data["uniform"].update(mean=["x" * 99]), "data.uniform.mean[0] is"),
    ],
)
def test_damaged_reports_are_named(reports, documents, capsys, damage, said):
    data = copy.deepcopy(documents["falcon"])
    damage(data)
    save(reports / "damaged", data)
    assert run_compare("mamba", "damaged", "--out", "both") == 2
    printed, err = capsys.readouterr()
    assert printed == "" and err.count("\n") == 1 and len(err) < 200
    assert "reports: damaged/sinks.json is no sinks.json of a report: " in err and said in err
    assert not (reports / "both").exists()


def test_a_report_changed_by_hand_is_named(reports, documents, capsys):
    file = reports / "mamba" / "sinks.json"
    made = records.save(
        file, documents["mamba"], parameters={}, code=["tokensphere.sinks.report"], seconds=0.0
    )
    assert run_compare("mamba", "falcon", "--out", "both") == 0
    file.write_text(file.read_text().replace('"threshold": 0.3', '"threshold": 0.2'))
    capsys.readouterr()
    assert run_compare("mamba", "falcon", "--out", "both") == 2
    _, err = capsys.readouterr()
    assert "mamba/sinks.json is no sinks.json of a report: its digest is not that of its" in err
    assert err.count("\n") == 1 and made.data["threshold"] == 0.3


def test_checkpoints_of_one_model_are_told_apart(reports, documents):
    for name, revision in {"a": None, "b": "0123456789abcdef", "c": "fedcba9876543210"}.items():
        data = copy.deepcopy(documents["mamba"])
        data["model"] |= {"name": "same <b>", "revision": revision}
        save(reports / name, data)
    assert run_compare("a", "b", "c", "falcon", "--out", "all") == 0
    found = json.loads((reports / "all" / "compare.json").read_text())
    assert [row["label"] for row in found["models"]] == [
        "same <b> (a)",
        "same <b> (0123456789)",
        "same <b> (fedcba9876)",
        "falcon",
    ]
    text = (reports / "all" / "index.html").read_text("utf-8")
    assert "same <b>" not in text and "same &lt;b&gt;" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mamba"], "reports: got 1"),
        (["mamba", "mamba/sinks.json"], "reports: got 2, 1 of them different"),
        (["mamba", "none"], "reports: no such report: none"),
        (["mamba", "empty"], "reports: no such report: empty/sinks.json"),
        (["mamba", "text"], "reports: text is no sinks.json of a report"),
        (["mamba", "list"], "reports: list is no sinks.json of a report"),
        (["mamba", "old"], "of an earlier version: it lacks 'digest'"),
        ([], "the following arguments are required: REPORT"),
    ],
)
def test_reports_that_are_none(reports, documents, capsys, arguments, said):
    (reports / "empty").mkdir()
    (reports / "text").write_text("no JSON")
    (reports / "list").write_text('{"data": []}')
    old = copy.deepcopy(documents["falcon"])
    del old["prompts"]["digest"]
    save(reports / "old", old)
    before = sorted(reports.iterdir())
    assert run_compare(*arguments, "--out", "both") == 2
    printed, err = capsys.readouterr()
    assert printed == "" and err.startswith("tokensphere: ") and err.count("\n") == 1
    assert said in err
    assert sorted(reports.iterdir()) == before


def test_a_report_of_the_command_can_be_compared(models, place, slight):
    for name in ("mamba", "falcon"):
        assert run(models[name], out=f"of-{name}") == 0
    assert run_compare("of-mamba", "of-falcon", "--out", "both") == 0
    found = json.loads((place / "both" / "compare.json").read_text())
    assert found["differ"] == []
    assert found["models"][0]["name"] == str(models["mamba"])
    assert records.load(place / "of-mamba" / "sinks.json").data["prompts"]["texts"]


def test_the_word_is_said_in_the_help(capsys):
    for arguments, said in (
        (["sinks", "--help"], "tokensphere sinks compare A B ... --out DIR"),
        (["sinks", "compare", "--help"], "usage: tokensphere sinks compare"),
    ):
        with pytest.raises(SystemExit):
            cli.main(arguments)
        assert said in " ".join(capsys.readouterr().out.split())
