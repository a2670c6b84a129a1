"""What comes from elsewhere runs nothing: files of weights, models' code; and what the source asks.

Ruff's rules S, which are bandit's, see most calls that run code; here is what they do not see.
tests/test_report_pages.py has what a report shows.
"""

import ast
import inspect
import io
import json
import pickle
import re
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tokensphere import checkpoint, cli
from tokensphere.paper.experiments import language_model, language_text
from tokensphere.reorder import data, recipe, training
from tokensphere.sinks.mixers import checkpoints
from tokensphere.sinks.report import sources, text, tool

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path for folder in ("src", "book", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)
UNPICKLE = {"pickle", "dill", "joblib", "cloudpickle", "shelve", "marshal", "jsonpickle"}
CODE = {"eval", "exec", "compile", "__import__"}
UNPACK = {"extract", "extractall", "unpack_archive"}


def name(node: ast.AST) -> str:
    """`torch.load` of such a node; "" where it is no dotted name."""
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def given(call: ast.Call) -> dict[str, str]:
    return {each.arg or "**": ast.unparse(each.value) for each in call.keywords}


def unsafe(source: str) -> list[str]:
    """Calls in Python source that may run what a file holds, or that ask a shell."""
    tree, found = ast.parse(source), []
    safe_loaders = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and "yaml.SafeLoader" in map(ast.unparse, node.bases)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNPICKLE:
            found.append(ast.unparse(node))
        # A module of pickle's kind may be named for its errors alone.
        if (
            isinstance(node, ast.Attribute)
            and name(node.value) in UNPICKLE
            and not node.attr.endswith("Error")
        ):
            found.append(name(node))
        if not isinstance(node, ast.Call):
            continue
        called, keywords = name(node.func), given(node)
        last = called.rpartition(".")[2]
        if (
            (called == "torch.load" and keywords.get("weights_only") != "True")
            or (last == "load" and keywords.get("allow_pickle", "False") != "False")
            or (called == "np.load" and "allow_pickle" not in keywords)
            or (called in ("yaml.load", "yaml.load_all") and not _plain(node, safe_loaders))
            or (called.startswith("yaml.") and last.startswith(("unsafe_", "full_")))
            or called in CODE
            or called in ("os.system", "os.popen", "tempfile.mktemp")
            or keywords.get("shell", "False") != "False"
            or last in UNPACK
            or keywords.get("trust_remote_code") == "True"
        ):
            found.append(ast.unparse(node))
    return found


def _plain(call: ast.Call, safe_loaders: set[str]) -> bool:
    loader = call.args[1] if len(call.args) > 1 else next((k.value for k in call.keywords), call)
    return name(loader) in safe_loaders | {"yaml.SafeLoader"}


def test_nothing_is_unpickled_evaluated_or_unpacked():
    found = {path: unsafe(path.read_text("utf-8")) for path in SOURCES}
    assert len(found) > 200
    assert {path: calls for path, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "numpy.load(path, allow_pickle=trusted)",
        "pickle.load(stream)",
        "from pickle import loads",
        "joblib.load(path)",
        "yaml.load(stream, yaml.Loader)",
        "yaml.load(stream)",
        "yaml.unsafe_load(stream)",
        "class L(yaml.Loader): pass\nyaml.load(stream, L)",
        "eval(text)",
        "subprocess.run(line, shell=True)",
        "os.system(line)",
        "tempfile.mktemp()",
        "tarfile.open(path).extractall(folder)",
        "shutil.unpack_archive(path)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)
def test_what_the_test_above_would_see(source):
    assert len(unsafe(source)) == 1


def test_what_it_lets_pass():
    fine = "model.eval()\nre.compile(p)\ntorch.load(p, weights_only=True)\npickle.UnpicklingError"
    assert unsafe(fine + "\nclass L(yaml.SafeLoader): pass\nyaml.load(stream, L)") == []


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.mkdir, (self.path,)


@pytest.fixture
def evil(tmp_path):
    """Writes a file that makes the folder `ran` if it is unpickled, in a form that a loader knows;
    `evil.ran` says whether it was."""

    def write(path, form):
        touch = Touch(str(write.mark))
        path.parent.mkdir(parents=True, exist_ok=True)
        if form == "pickle":
            path.write_bytes(pickle.dumps({"model": touch}, protocol=2))  # torch warns of others
        elif form == "torch":
            torch.save({"model": touch}, path)
        elif form == "old torch":
            torch.save({"model": touch}, path, _use_new_zipfile_serialization=False)
        else:
            array = io.BytesIO()
            np.save(array, np.array([touch], dtype=object), allow_pickle=True)
            with zipfile.ZipFile(path, "w") as archive:
                for entry in ("train_x", "train_y", "test_x", "test_y", "text", "heldout"):
                    archive.writestr(f"{entry}.npy", array.getvalue())
        return path

    write.mark = tmp_path / "ran"
    write.ran = lambda: write.mark.exists()
    return write


FORMS = ("torch", "old torch", "pickle")
SMALL = recipe.Config(data="digits", size=8, model="s6-tiny", epochs=1, warmup=0, batch=64)


def test_the_evil_file_is_one(tmp_path, evil):
    torch.load(evil(tmp_path / "m.pt", "torch"), weights_only=False)
    assert evil.ran()
    evil.mark.rmdir()
    pickle.loads(evil(tmp_path / "m.pkl", "pickle").read_bytes())
    assert evil.ran()
    evil.mark.rmdir()
    with np.load(evil(tmp_path / "m.npz", "npz"), allow_pickle=True) as stored:
        assert stored["text"].shape == (1,)
    assert evil.ran()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("file", ["model.pt", "checkpoint.pt"])
def test_a_training_runs_no_code_of_its_folder(tmp_path, evil, form, file):
    evil(tmp_path / "out" / file, form)
    with pytest.raises(ValueError, match=f"{file}: not a whole checkpoint"):
        training.train(SMALL, tmp_path / "out", device="cpu")
    assert not evil.ran()


@pytest.mark.parametrize("form", FORMS)
def test_a_trained_model_is_read_without_running_it(tmp_path, evil, form):
    evil(tmp_path / "model.pt", form)
    for read in (lambda: training.load(tmp_path), lambda: checkpoint.load(tmp_path / "model.pt")):
        with pytest.raises(ValueError, match=r"model.pt: not a whole checkpoint"):
            read()
    assert not evil.ran()


@pytest.mark.parametrize("form", FORMS)
def test_a_language_model_runs_no_code_of_its_folder(tmp_path, evil, form):
    words = tmp_path / "text.txt"
    words.write_text("the cat sat on a mat and the dog ran to it " * 30, "utf-8")
    config = language_model.Config(
        layers=1, width=4, states=2, vocabulary=280, context=4, batch=1, steps=1, warmup=0
    )
    evil(tmp_path / "out" / "checkpoint.pt", form)
    with pytest.raises(ValueError, match=r"checkpoint.pt: not a whole checkpoint"):
        language_model.train(config, words, words, tmp_path / "out", "cpu")
    assert not evil.ran()


def test_arrays_hold_no_objects(tmp_path, evil):
    file = evil(tmp_path / "images.npz", "npz")
    with pytest.raises(ValueError, match="allow_pickle=False"):
        data.load("cifar10", file)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        language_text.once(file, lambda: pytest.fail("made again"))
    assert not evil.ran()


MAMBA_SSM = {"d_model": 4, "n_layer": 1, "vocab_size": 8, "ssm_cfg": {"layer": "Mamba1"}}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.safetensors"])
def test_weights_of_mamba_ssm_are_no_program(tmp_path, evil, form, file):
    (tmp_path / "config.json").write_text(json.dumps(MAMBA_SSM))
    evil(tmp_path / file, form)
    with pytest.raises(ValueError, match=f"{file} cannot be read"):
        checkpoints.load(tmp_path)
    assert not evil.ran()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.safetensors"])
def test_weights_of_transformers_are_no_program(models, place, evil, capsys, form, file):
    for entry in models["mamba"].iterdir():
        if entry.name != "model.safetensors":
            (place / "model").mkdir(exist_ok=True)
            (place / "model" / entry.name).write_bytes(entry.read_bytes())
    evil(place / "model" / file, form)
    with pytest.raises(ValueError, match="^model: "):
        sources.load("model")
    assert cli.main(["sinks", "model", "--prompts", "prompts.txt", "--out", "report"]) == 2
    said = "holds no weights" if file.endswith(".bin") else "cannot be loaded"
    assert said in capsys.readouterr().err
    assert not evil.ran()


# Code that comes with a model.


def parameters_of_trust():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                both = node.args.args + node.args.kwonlyargs
                defaults = [None] * (len(node.args.args) - len(node.args.defaults))
                defaults += [*node.args.defaults, *node.args.kw_defaults]
                for argument, default in zip(both, defaults, strict=True):
                    if argument.arg == "trust_remote_code":
                        yield path.name, node.name, default


def test_code_of_models_is_not_trusted_unless_somebody_says_so():
    found = list(parameters_of_trust())
    assert {function for _, function, _ in found} >= {"load", "open_text", "write_report"}
    for file, function, default in found:
        # Without a default, who calls must say it.
        assert default is None or ast.unparse(default) == "False", (file, function)
    for function in (sources.load, text.open_text, tool.write_report):
        assert inspect.signature(function).parameters["trust_remote_code"].default is False


def calls_of_transformers():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and name(node.func).endswith(
                (".from_pretrained", ".from_config")
            ):
                yield path.relative_to(ROOT).as_posix(), given(node)


def test_every_call_passes_on_what_was_said():
    found = list(calls_of_transformers())
    assert len(found) >= 5
    for path, keywords in found:
        # Left out it is off, but for what asks on a terminal; experiments read what they have made.
        own = path.startswith("src/tokensphere/paper/experiments/")
        assert keywords.get("trust_remote_code") == (None if own else "trust_remote_code"), path


OWN_CODE = """
import pathlib
pathlib.Path({mark!r}).mkdir()
from transformers import MambaConfig, MambaForCausalLM

class Config(MambaConfig):
    model_type = "own"

class Model(MambaForCausalLM):
    config_class = Config
"""


def test_a_model_s_own_code_runs_only_when_asked_for(models, place, evil, capsys, monkeypatch):
    folder = place / "model"
    folder.mkdir()
    for entry in models["mamba"].iterdir():
        (folder / entry.name).write_bytes(entry.read_bytes())
    config = json.loads((folder / "config.json").read_text("utf-8"))
    auto = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    own = {"model_type": "own", "auto_map": auto, "architectures": ["Model"]}
    (folder / "config.json").write_text(json.dumps(config | own), "utf-8")
    (folder / "own.py").write_text(OWN_CODE.format(mark=str(evil.mark)), "utf-8")
    # transformers copies such code into a folder of its own before it runs.
    dynamic = "transformers.dynamic_module_utils.HF_MODULES_CACHE"
    monkeypatch.setattr(dynamic, str(place / "cache"))
    monkeypatch.syspath_prepend(place / "cache")
    arguments = ["sinks", "model", "--prompts", "prompts.txt", "--out", "report"]
    assert cli.main(arguments) == 2
    assert "runs only with --trust-remote-code" in capsys.readouterr().err
    assert not evil.ran()
    # Else the test above could pass because the code is broken.
    sources.load("model", trust_remote_code=True)
    assert evil.ran()


# Files for a moment, and the settings that CI takes its word from.


def test_drafts_have_names_that_nobody_can_guess(tmp_path):
    from tokensphere import records

    names = set()
    for _ in range(2):
        with records.write_whole(tmp_path / "file") as stream:
            names.add(Path(stream.name).name)
    assert len(names) == 2
    assert all(re.search(r"\.[0-9a-f]{8}\.tmp$", each) for each in names)


def test_batches_grids_make_no_objects(tmp_path):
    from tokensphere.paper.rerun import BadInput, grid

    assert issubclass(grid._Loader, yaml.SafeLoader)
    file = tmp_path / "grid.yml"
    file.write_text(f"full: !!python/object/apply:os.mkdir [{tmp_path / 'ran'}]\n", "utf-8")
    with pytest.raises(BadInput):
        grid._read(file)
    assert not (tmp_path / "ran").exists()


def test_a_configuration_is_data(tmp_path):
    """Its classes are looked up in a table: a name leads to no other."""
    for policy in ({"name": "__import__"}, {"name": "os.system"}, {"name": "Path", "start": 1}):
        path = tmp_path / "c.json"
        path.write_text(json.dumps(asdict(SMALL) | {"policy": policy}), "utf-8")
        with pytest.raises(ValueError, match="policy"):
            recipe.read(path)
