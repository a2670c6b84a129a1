"""The experiment's runs: which, with what, that none is lost; and the speed of a step."""

import json
import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tokensphere import records
from tokensphere.reorder import experiment, recipe, scaling, speed, training

ORDERS = {
    "baseline": None,
    "random": "RandomOrder",
    "layerwise": "LayerwiseShuffle",
    "importance": "ByImportance",
    "fixed": "FixedOrder",
}


def small(arm="random", seed=0):
    return replace(experiment.config("s6-tiny", arm, seed), epochs=1, warmup=0)


@pytest.mark.parametrize("model", experiment.MODELS)
def test_arms_differ_in_nothing_but_the_policy(model):
    configs = {arm: experiment.config(model, arm, 3) for arm in experiment.ARMS}
    assert len({repr(replace(config, policy=None)) for config in configs.values()}) == 1
    assert {arm: (c.policy or {}).get("name") for arm, c in configs.items()} == ORDERS
    source = "digits" if model == "s6-tiny" else "cifar10"
    assert {(c.model, c.data, c.seed) for c in configs.values()} == {(model, source, 3)}
    assert configs["random"].policy == {"name": "RandomOrder", "probability": 1.0}


@pytest.mark.parametrize("model", sorted(experiment.MODELS.keys() - {"s6-tiny"}))
def test_cifar10_is_trained_on_as_table_2_says(model):
    config = experiment.config(model, "random", 0)
    assert (config.rate, config.betas, config.decay) == (8e-4, [0.9, 0.999], 0.05)
    assert config.batch == 512


@pytest.mark.parametrize("model", experiment.MODELS)
def test_the_plan_has_every_run_once_and_whole_seeds_first(model):
    plan = experiment.plan(model)
    assert sorted(plan) == sorted(
        (arm, seed) for arm, count in experiment.SEEDS[model].items() for seed in range(count)
    )
    assert [seed for _, seed in plan] == sorted(seed for _, seed in plan)
    assert {arm for arm, _ in plan[:5]} == set(experiment.ARMS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("s6", "random", 0), "^model: got 's6'"), (("s6-small", "none", 0), "^arm: got 'none'")],
)
def test_an_unknown_model_or_arm_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        experiment.config(*arguments)


def test_a_run_is_trained_and_measured(tmp_path):
    found = experiment.run(small(), tmp_path)
    assert found.keys() == {
        *("model", "seed", "policy", "parameters", "epochs", "orders", "mechanism", "tested"),
        "seconds",
    }
    assert found["tested"] == 360
    assert found["epochs"] == training.read_metrics(tmp_path)
    assert found["orders"]["own"] == pytest.approx(found["epochs"][-1]["test_top1"])
    assert len(found["orders"]["random"]) == experiment.PASSES
    assert found["mechanism"]["tokens"] == [16] * 5
    json.dumps(found, allow_nan=False)  # as a record needs it


def fake_run(config, out, root=None):
    return {"seed": config.seed, "policy": config.policy, "orders": {"own": 0.5}, "seconds": 1.0}


class Pool(ThreadPoolExecutor):
    """Threads in the place of processes, which would not see what a test has put in place."""

    def __init__(self, count, context, start, arguments):
        super().__init__(1)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(experiment, "run", fake_run)
    monkeypatch.setattr(experiment, "ProcessPoolExecutor", Pool)
    queue = SimpleNamespace(Queue=lambda: SimpleNamespace(put=lambda _: None))
    monkeypatch.setattr(experiment.multiprocessing, "get_context", lambda _: queue)
    monkeypatch.setattr(experiment.data, "load", lambda *_: None)


@pytest.mark.parametrize("model", experiment.MODELS)
def test_a_run_that_fails_costs_no_other(model, tmp_path, monkeypatch, capsys, quick):
    file = tmp_path / "record.json"

    def failing(config, out, root=None):
        if config.policy is None and config.seed == 1:
            raise RuntimeError("out of memory")
        return fake_run(config, out)

    monkeypatch.setattr(experiment, "run", failing)
    count = len(experiment.plan(model))
    with pytest.raises(ExceptionGroup, match=f"1 of {count} runs failed"):
        experiment.run_all(model, file)
    assert len(records.load(file).data["runs"]) == count - 1
    monkeypatch.setattr(experiment, "run", fake_run)
    arguments = [model, "--root", "x", "--record", str(file)]
    assert experiment.main(arguments) == 0
    runs = records.load(file, parameters=experiment.parameters(model)).data["runs"]
    keys = [(one["arm"], one["seed"]) for one in runs]
    assert sorted(keys) == sorted(experiment.plan(model))
    assert [arm for arm, _ in keys] == sorted([a for a, _ in keys], key=experiment.ARMS.index)
    assert "baseline 1: 0.5000" in capsys.readouterr().out
    # Nothing is left to do.
    monkeypatch.setattr(experiment, "run", None)
    assert experiment.main(arguments) == 0
    # Of another experiment.
    more = dict.fromkeys(experiment.ARMS, 20)
    monkeypatch.setitem(experiment.SEEDS, model, more)
    assert experiment.main(arguments) == 2
    assert "seeds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "model: got 'none'"),
        (["s6-tiny", "--slots", "0"], "slots: got 0"),
        (["s6-tiny", "--root", "x"], "root: got x, takes none"),
        (["s6-small"], "root: got None, takes a path"),
        (["s6-small", "--root", "none.npz"], "none.npz"),
    ],
)
def test_bad_input_costs_no_run(arguments, message, tmp_path, capsys):
    assert experiment.main([*arguments, "--record", str(tmp_path / "record.json")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("experiment: ") and message in error and error.count("\n") == 1


def test_runs_are_made_in_processes(tmp_path, monkeypatch):
    """And one that is killed is said to be lost, instead of being waited for."""
    monkeypatch.setattr(experiment, "plan", lambda _: [("baseline", 0), ("fixed", 0)])
    monkeypatch.setattr(experiment, "run", reporting)
    file = tmp_path / "record.json"
    experiment.run_all("s6-tiny", file)
    for run in records.load(file).data["runs"]:
        assert run["process"] != os.getpid()
        # A training process has a core of its own, and forks its loaders.
        assert run["threads"] == 1 and run["start"] == "fork"
    monkeypatch.setattr(experiment, "run", dying)
    with pytest.raises(ExceptionGroup, match="2 of 2 runs failed"):
        experiment.run_all("s6-tiny", tmp_path / "other.json")


def reporting(config, out, root=None):
    found = {"threads": torch.get_num_threads(), "start": multiprocessing.get_start_method()}
    return {**fake_run(config, out), **found, "process": os.getpid()}


def dying(config, out, root=None):
    os.kill(os.getpid(), signal.SIGKILL)


def test_steps_are_timed_in_turns(tmp_path, capsys, monkeypatch):
    here = training.Place(torch.device("cpu"))
    turns = []
    step = training.Run.step

    def counting(run, *arguments):
        turns.append(run.config.policy is None)
        step(run, *arguments)

    monkeypatch.setattr(training.Run, "step", counting)
    found = speed.measure([small("baseline"), small()], here, rounds=3, steps=2)
    assert [len(seconds) for seconds in found] == [3, 3]
    assert all(0 < value < 60 for seconds in found for value in seconds)
    assert turns[10:] == [True, True, False, False] * 3
    files = [
        str(experiment.configs() / f"{name}.json") for name in ("digits_baseline", "digits_random")
    ]
    out = tmp_path / "line.json"
    monkeypatch.setattr(speed, "measure", lambda *_: [[0.5, 1.0, 4.0], [2.0, 2.0, 2.0]])
    assert speed.main([*files, "--out", str(out)]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line == json.loads(out.read_text("utf-8"))
    assert line["runs"]["digits_baseline"]["images_a_second"] == 64  # a batch in the median second
    assert line["runs"]["digits_random"]["images_a_second"] == 32
    assert speed.main([str(tmp_path / "none.json")]) == 2
    assert capsys.readouterr().err.startswith("speed: ")


@pytest.mark.skipif(torch.cuda.is_available(), reason="what a machine without a GPU says")
def test_scaling_needs_a_gpu(capsys):
    assert scaling.main(["--root", "x", "--record", "y"]) == 2
    assert capsys.readouterr().err == "scaling: no CUDA device: this measures GPUs\n"


def test_a_part_of_scaling_that_fails_costs_no_other(tmp_path, monkeypatch):
    def failing(*_):
        raise scaling.subprocess.CalledProcessError(1, ["training"], stderr="no memory")

    monkeypatch.setattr(scaling, "_counts", lambda _: [])
    for name in ("_scaling", "_steps", "_loading"):
        monkeypatch.setattr(scaling, name, lambda *_, name=name: name)
    monkeypatch.setattr(scaling, "_curves", failing)
    file = tmp_path / "speed.json"
    assert scaling.run_all("x", file) == ["curves: training: no memory"]
    found = records.load(file, parameters=scaling.PARAMETERS).data
    assert {"scaling", "steps", "loading"} <= found.keys() and "curves" not in found


def test_photos_stand_as_in_an_image_folder(tmp_path):
    pytest.importorskip("PIL")
    scaling._write_photos(tmp_path, classes=3, each=4, different=5)
    from PIL import Image

    found = sorted(tmp_path.glob("train/*/*.jpg"))
    assert len(found) == 12 and len({path.parent for path in found}) == 3
    assert len(list(tmp_path.glob("val/*/*.jpg"))) == 3
    with Image.open(found[0]) as photo:
        assert photo.size == scaling.PHOTO[::-1]
    # About what a photo of this size takes.
    assert 50_000 < os.path.getsize(found[0]) < 200_000


def test_the_curves_are_of_one_computation():
    """Drawn for each process, dropped branches would part them."""
    assert scaling.CURVE["drop_path"] == 0
    assert recipe.read(experiment.configs() / "imagenet.json").drop_path > 0
