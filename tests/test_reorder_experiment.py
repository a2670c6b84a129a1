"""The experiment's runs: which, with what, that none is lost; and the speed of a step."""

import json
import multiprocessing.dummy
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tokensphere import records
from tokensphere.reorder import digits, experiment, recipe, scaling, speed, training

ORDERS = {
    "baseline": None,
    "random": "RandomOrder",
    "layerwise": "LayerwiseShuffle",
    "importance": "ByImportance",
    "fixed": "FixedOrder",
}


def small(arm="random", seed=0):
    return replace(digits.config(arm, seed), epochs=1, warmup=0)


@pytest.mark.parametrize("model", experiment.MODELS)
def test_arms_differ_in_nothing_but_the_policy(model):
    configs = {arm: experiment.config(model, arm, 3) for arm in experiment.ARMS}
    assert len({repr(replace(config, policy=None)) for config in configs.values()}) == 1
    assert {arm: (c.policy or {}).get("name") for arm, c in configs.items()} == ORDERS
    assert {(c.model, c.data, c.seed) for c in configs.values()} == {(model, "cifar10", 3)}
    # Table 2 of the paper.
    config = configs["random"]
    assert (config.rate, config.betas, config.decay, config.batch) == (
        8e-4,
        [0.9, 0.999],
        0.05,
        512,
    )
    assert configs["random"].policy == {"name": "RandomOrder", "probability": 1.0}


def test_the_digits_have_the_same_arms():
    assert {arm: (small(arm).policy or {}).get("name") for arm in experiment.ARMS} == ORDERS
    assert {small(arm).data for arm in experiment.ARMS} == {"digits"}


def test_the_plan_has_every_run_once_and_whole_seeds_first():
    plan = experiment.plan("s6-small")
    assert sorted(plan) == sorted(
        (arm, seed) for arm, count in experiment.SEEDS.items() for seed in range(count)
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
        *("model", "seed", "policy", "parameters", "epochs", "orders", "mechanism", "seconds")
    }
    assert found["epochs"] == training.read_metrics(tmp_path)
    assert found["orders"]["own"] == pytest.approx(found["epochs"][-1]["test_top1"])
    assert len(found["orders"]["random"]) == experiment.PASSES
    assert found["mechanism"]["tokens"] == [16] * 5
    json.dumps(found, allow_nan=False)  # as a record needs it


def fake_run(config, out, root=None):
    return {"seed": config.seed, "policy": config.policy, "orders": {"own": 0.5}, "seconds": 1.0}


def test_a_record_of_the_digits_is_completed(tmp_path, monkeypatch):
    file = tmp_path / "record.json"
    monkeypatch.setattr(digits, "SEEDS", 2)
    monkeypatch.setattr(digits.experiment, "run", fake_run)
    monkeypatch.setattr(digits.multiprocessing, "get_context", lambda _: multiprocessing.dummy)
    made, run = [], digits._run

    def stopping(key):
        if len(made) == 4:
            raise RuntimeError("stopped")
        made.append(key)
        return run(key)

    monkeypatch.setattr(digits, "_run", stopping)
    monkeypatch.setattr(digits.os, "sched_getaffinity", lambda _: {0})
    with pytest.raises(RuntimeError, match="stopped"):
        digits.run_all(file)
    assert len(records.load(file).data["runs"]) == 4
    monkeypatch.setattr(digits, "_run", run)
    assert digits.main(["--record", str(file)]) == 0
    kept = [(one["arm"], one["seed"]) for one in records.load(file).data["runs"]]
    assert kept == [(arm, seed) for arm in experiment.ARMS for seed in range(2)]
    monkeypatch.setattr(digits, "SEEDS", 3)
    assert digits.main(["--record", str(file)]) == 2  # of another experiment


class Pool(ThreadPoolExecutor):
    """Threads in the place of processes, which would not see what a test has put in place."""

    def __init__(self, count, context, start, arguments):
        super().__init__(1)


def test_a_run_that_fails_costs_no_other(tmp_path, monkeypatch, capsys):
    file = tmp_path / "record.json"

    def failing(config, out, root=None):
        if config.policy is None and config.seed == 1:
            raise RuntimeError("out of memory")
        return fake_run(config, out)

    monkeypatch.setattr(experiment, "run", failing)
    monkeypatch.setattr(experiment, "ProcessPoolExecutor", Pool)
    queue = SimpleNamespace(Queue=lambda: SimpleNamespace(put=lambda _: None))
    monkeypatch.setattr(experiment.multiprocessing, "get_context", lambda _: queue)
    with pytest.raises(ExceptionGroup, match="1 of 19 runs failed"):
        experiment.run_all("s6-small", None, file, 1)
    assert len(records.load(file).data["runs"]) == 18
    monkeypatch.setattr(experiment, "run", fake_run)
    arguments = ["s6-small", "--root", "x", "--record", str(file)]
    assert experiment.main(arguments) == 0
    runs = records.load(file, parameters=experiment.parameters("s6-small")).data["runs"]
    assert {(one["arm"], one["seed"]) for one in runs} == set(experiment.plan("s6-small"))
    assert "baseline 1: 0.5000" in capsys.readouterr().out
    # Nothing is left to do.
    monkeypatch.setattr(experiment, "run", None)
    assert experiment.main(arguments) == 0
    assert experiment.main(["none", "--root", "x", "--record", str(file)]) == 2
    assert experiment.main([*arguments, "--slots", "0"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and "model: got 'none'" in errors[0] and "slots: got 0" in errors[1]


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
    files = [str(experiment.configs() / f"{name}.json") for name in ("digits", "digits_random")]
    out = tmp_path / "line.json"
    monkeypatch.setattr(speed, "measure", lambda *_: [[0.5, 1.0, 4.0], [2.0, 2.0, 2.0]])
    assert speed.main([*files, "--out", str(out)]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line == json.loads(out.read_text("utf-8"))
    assert line["runs"]["digits"]["images_a_second"] == 64  # a batch in the median second
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
