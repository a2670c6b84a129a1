"""Training with reordered tokens: its models, its batches, its configuration, its resumption."""

import copy
import json
import math
import os
import random
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tokensphere import checkpoint, s6
from tokensphere.reorder import ByImportance, data, metrics, models, recipe, training

CONFIGS = Path(__file__).parents[1] / "configs"
SMALL = recipe.Config(
    data="digits",
    size=8,
    model="s6-tiny",
    policy={"name": "RandomOrder"},
    epochs=2,
    warmup=1,
    batch=64,
    rate=1e-2,
    log_steps=8,
    checkpoint_steps=6,
)
TIMES = {"seconds_a_step", "images_a_second"}


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def lines(out):
    """The lines of a run but for what the clock says."""
    text = (out / "metrics.jsonl").read_text("utf-8")
    assert text.endswith("\n")
    found = [json.loads(line) for line in text.splitlines()]
    return [{key: line[key] for key in line.keys() - TIMES} for line in found]


def assert_same_runs(one, other):
    assert lines(one) == lines(other)
    states = [checkpoint.load(out / "model.pt")["model"] for out in (one, other)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing stopped."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, training.train(SMALL, out, device="cpu")


# models


def test_mixer_is_the_hidden_attention_of_its_tokens():
    torch.manual_seed(0)
    mixer = models.S6Mixer(16, 4).double()
    x = torch.randn(2, 7, 16, dtype=torch.float64)
    u, z = mixer.in_proj(x).chunk(2, dim=-1)
    u = u * torch.sigmoid(u)
    steps, B, C = mixer.x_proj(u).split([1, 4, 4], dim=-1)
    delta = torch.nn.functional.softplus(mixer.dt_proj(steps))
    M = s6.hidden_attention(delta.mT, -mixer.A_log.exp(), B.mT, C.mT)
    y = torch.einsum("bdlj,bjd->bld", M, u) + mixer.D * u
    expected = mixer.out_proj(y * z * torch.sigmoid(z))
    torch.testing.assert_close(mixer(x), expected, rtol=1e-12, atol=1e-14)


def test_steps_begin_in_mambas_range():
    torch.manual_seed(0)
    bias = models.S6Mixer(64, 4).dt_proj.bias.detach()
    steps = torch.nn.functional.softplus(bias.double())
    # 1e-6: the bias is in float32.
    assert bool((steps > 0.001 * (1 - 1e-6)).all() and (steps < 0.1 * (1 + 1e-6)).all())
    assert float(steps.log().std()) > 1  # log-uniform over a factor 100: 4.6 / sqrt(12) = 1.33


def test_tokens_meet_in_the_scan_alone():
    torch.manual_seed(0)
    model = models.build("s6-tiny", 10, 8, 1).double()
    images = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    changed = images.clone()
    changed[..., 2:4, 2:4] += 1  # the patch in row 1, column 1 of 4: token 5
    apart = [
        (one != other).any(-1)[0].tolist()
        for one, other in zip(model.tokens(images), model.tokens(changed), strict=True)
    ]
    assert apart[0] == [place == 5 for place in range(16)]
    for layer in apart[1:]:
        assert layer == [place >= 5 for place in range(16)]
    for mixer in model.mixers:
        torch.nn.init.zeros_(mixer.out_proj.weight)
    apart = [
        (one != other).any(-1)[0].tolist()
        for one, other in zip(model.tokens(images), model.tokens(changed), strict=True)
    ]
    assert all(layer == [place == 5 for place in range(16)] for layer in apart)


@pytest.mark.parametrize("size, first, windows", [(32, 1, 8), (64, 2, 8), (224, 4, 14)])
def test_small_images_fill_the_windows(size, first, windows):
    assert models.stride(size) == first
    assert size / (4 * first) == windows


@pytest.mark.parametrize("size", [16, 28, 33, 100, 512])
def test_sizes_that_would_be_padded_are_refused(size):
    with pytest.raises(ValueError, match=f"^size: got {size}, takes"):
        models.stride(size)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("s6", 10, 8), "model: got 's6', takes one of s6-tiny"),
        (("s6-tiny", 10, 10), "size: got 10, takes a multiple of 4"),
        (("s6-tiny", 0, 8), "classes: got 0, takes a whole number of 1 or more"),
        (("s6-tiny", 10, 8, 1, 0.2), "drop_path: got 0.2, takes 0 with s6-tiny"),
    ],
)
def test_bad_models_are_named(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        models.build(*arguments)


# data


def test_digits_are_split_once(digits):
    assert (len(digits.train), len(digits.test)) == (1437, 360)
    pixels = torch.stack([image for image, _ in digits.train])
    assert pixels.shape == (1437, 1, 8, 8)
    assert (float(pixels.min()), float(pixels.max())) == (0, 1)
    for split in (digits.train, digits.test):
        counts = np.bincount([label for _, label in split])
        assert len(counts) == 10 and counts.min() > 0.09 * len(split)


def batches(seed=0, epoch=0, first=0, rank=0, world=1):
    found = data.EpochBatches(50, 8, seed, rank, world)
    found.epoch, found.first = epoch, first
    assert len(found) == 6 - first
    return list(found)


def test_batches_are_a_function_of_seed_epoch_and_step():
    order = batches(epoch=3)
    assert order == batches(epoch=3)
    assert batches(epoch=3, first=4) == order[4:]
    indices = [[index for *_, index in batch] for batch in order]
    for other in (batches(epoch=4), batches(seed=1, epoch=3)):
        assert [[index for *_, index in batch] for batch in other] != indices
    assert len({index for batch in indices for index in batch}) == 48
    # A global batch is the same on any number of ranks, augmentation included.
    shares = [batches(epoch=3, rank=rank, world=4) for rank in range(4)]
    for step, batch in enumerate(order):
        assert sorted(key for share in shares for key in share[step]) == sorted(batch)
        # So is a batch mixed with itself reversed, as mixup does.
        pairs = set(zip(batch, reversed(batch), strict=True))
        assert {
            pair for share in shares for pair in zip(share[step], share[step][::-1], strict=True)
        } == pairs


def test_augmentation_is_a_function_of_seed_epoch_and_place():
    class Blank:
        def convert(self, mode):
            assert mode == "RGB"
            return self

    def draw(_):
        numbers = [random.random(), np.random.random(), float(torch.rand(()))]  # noqa: NPY002
        return torch.tensor(numbers, dtype=torch.float64)

    samples = data._Keyed([(Blank(), 0)] * 9, draw, seed=5)
    before = random.getstate(), torch.get_rng_state()
    first = samples[2, 7, 1][0]
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    samples[2, 8, 1]
    assert torch.equal(samples[2, 7, 4][0], first)
    others = [samples[2, 8, 1][0], samples[3, 7, 1][0]]
    others.append(data._Keyed([(Blank(), 0)] * 9, draw, seed=6)[2, 7, 1][0])
    assert all(bool((other != first).all()) for other in others)


def test_each_test_image_is_seen_once(digits):
    here = training.Place(torch.device("cpu"))
    torch.manual_seed(0)
    model = models.build("s6-tiny", 10, 8, 1).train()
    found = training.evaluate(model, data.test_loader(digits, None, 100), here)
    assert model.training
    images = torch.stack([image for image, _ in digits.test])
    labels = torch.tensor([label for _, label in digits.test])
    with torch.no_grad():
        logits = model.eval()(images)
    loss = torch.nn.functional.cross_entropy(logits.double(), labels)
    # 1e-5: of the logits in float32.
    assert found["loss"] == pytest.approx(float(loss), rel=1e-5)
    ranked = logits.argsort(dim=1, descending=True) == labels[:, None]
    assert found["top1"] == pytest.approx(float(ranked[:, 0].double().mean()))
    assert found["top5"] == pytest.approx(float(ranked[:, :5].double().sum(1).mean()))
    shares = [data.test_loader(digits, None, 100, rank=rank, world=7) for rank in range(7)]
    seen = [key[1] for share in shares for batch in share.batch_sampler for key in batch]
    assert sorted(seen) == list(range(360))


def write_arrays(path, **changes):
    arrays = {
        "train_x": np.zeros((6, 32, 32, 3), np.uint8),
        "train_y": np.arange(6),
        "test_x": np.full((4, 32, 32, 3), 7, np.uint8),
        "test_y": np.arange(4),
    }
    np.savez(path, **{name: v for name, v in (arrays | changes).items() if v is not None})
    return path


def test_arrays_of_images_are_read(tmp_path):
    images = data.load("cifar10", write_arrays(tmp_path / "c.npz"))
    assert (len(images.train), len(images.test), images.classes) == (6, 4, 10)
    image, label = images.test[3]
    assert label == 3
    assert image.size == (32, 32) and image.getpixel((0, 0)) == (7, 7, 7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_y": None}, "test_y"),
        ({"train_x": np.zeros((6, 3, 32, 32), np.uint8)}, "train_x is uint8 (6, 3, 32, 32)"),
        ({"train_y": np.arange(5)}, "train_y takes 6 labels"),
        ({"test_y": np.array([0, 1, 2, 10])}, "test_y takes 4 labels from 0 to 9"),
    ],
)
def test_bad_arrays_are_named(tmp_path, changes, message):
    path = write_arrays(tmp_path / "c.npz", **changes)
    with pytest.raises(ValueError) as caught:
        data.load("cifar10", path)
    assert str(caught.value).startswith(f"root: {path}")
    assert message in str(caught.value)


def test_what_is_missing_is_named(tmp_path, monkeypatch, capsys):
    config = {"data": "cifar10", "size": 32, "model": "s6-tiny"}
    (tmp_path / "c.json").write_text(json.dumps(config), "utf-8")
    root = write_arrays(tmp_path / "c.npz")
    monkeypatch.setitem(sys.modules, "timm.data", None)
    arguments = [str(tmp_path / "c.json"), "--out", str(tmp_path / "out"), "--root", str(root)]
    assert training.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("training: images with colour: needs what requirements-gpu.txt install")
    assert error.count("\n") == 1
    monkeypatch.setitem(sys.modules, "mambavision", None)
    with pytest.raises(ImportError, match="^mambavision_tiny: needs what requirements-gpu.txt"):
        models.build("mambavision_tiny", 10, 32)


def test_data_without_their_root_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match="^data: got 'mnist', takes one of digits, cifar10, folder"
    ):
        data.load("mnist")
    with pytest.raises(ValueError, match="^root: got None, takes a path with cifar10"):
        data.load("cifar10")
    with pytest.raises(ValueError, match="^root: got .*, takes none with digits"):
        data.load("digits", tmp_path)


# configuration


# refinement.json is the plan of other runs: tests/test_paper_refinement.py.
KEPT = sorted(path for path in CONFIGS.glob("*.json") if path.stem != "refinement")


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_kept_configurations_are_read(path):
    assert recipe.read(path, seed=3) == replace(recipe.read(path), seed=3)


@pytest.mark.parametrize("model", ["mambavision", "s6"])
def test_arms_differ_in_their_order_alone(model):
    found = {path.stem: recipe.read(path) for path in CONFIGS.glob(f"cifar10_{model}_*.json")}
    assert len(found) == 5
    plain = [replace(config, policy=None) for config in found.values()]
    assert all(config == plain[0] for config in plain)
    policies = [None if c.policy is None else c.policy["name"] for c in found.values()]
    assert sorted(policies, key=str) == sorted([None, *recipe.POLICIES], key=str)
    # Table 2 of the paper.
    table = [plain[0].rate, plain[0].betas, plain[0].decay, plain[0].batch]
    assert table == [8e-4, [0.9, 0.999], 0.05, 512]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 0}, "batch: got 0, takes a whole number > 0"),
        ({"epochs": 2.0}, "epochs: got 2.0, takes a whole number > 0"),
        ({"warmup": 2}, "warmup: got 2, takes less than 2"),
        ({"rate": math.nan}, "rate: got nan, takes a number >= 0"),
        ({"rate": 0}, "rate: got 0, takes a number > 0"),
        ({"ema": 1.0}, "ema: got 1.0, takes a number from 0 to below 1"),
        ({"betas": [0.9]}, r"betas: got \[0.9\], takes two numbers"),
        ({"mixup": 0.8}, "mixup: got 0.8, takes nothing with digits"),
        ({"model": "vim"}, "model: got 'vim', takes one of s6-tiny"),
        ({"policy": {"name": "Random"}}, "policy: got 'Random', takes null or an object"),
        ({"policy": {"name": "RandomOrder", "rate": 1}}, "policy: .*unexpected keyword.*'rate'"),
        ({"policy": {"name": "RandomOrder", "probability": 2}}, "policy: RandomOrder: probability"),
        ({"data": "cifar10", "batch": 3, "mixup": 0.8}, "batch: got 3, takes an even number"),
    ],
)
def test_bad_configurations_are_named(changes, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        replace(SMALL, **changes)


def test_the_learning_rate_warms_up_and_decays(digits):
    config = replace(SMALL, epochs=5, warmup=2, rate=0.1, warmup_rate=0.01, least_rate=0.002)
    adam = recipe.optimiser(torch.nn.Linear(2, 2), config)
    found = recipe.Recipe(config, digits)
    schedule = found.schedule(adam, 10)
    rates = []
    for step in range(50):
        rates.append(adam.param_groups[0]["lr"])
        adam.step()
        found.advance(schedule, step + 1)
    np.testing.assert_allclose(rates[:21], np.linspace(0.01, 0.1, 21), rtol=1e-9)
    middle = 0.002 + 0.098 * (1 + math.cos(math.pi / 2)) / 2
    assert rates[35] == pytest.approx(middle)
    assert adam.param_groups[0]["lr"] == pytest.approx(0.002)


def test_decay_spares_vectors_and_what_is_marked():
    model = models.build("s6-tiny", 10, 8)
    decayed, plain = recipe.optimiser(model, SMALL).param_groups
    names = {id(value): name for name, value in model.named_parameters()}
    assert decayed["weight_decay"] == 0.05 and plain["weight_decay"] == 0
    kinds = {names[id(value)].rsplit(".", 1)[-1] for value in plain["params"]}
    assert kinds == {"places", "bias", "weight", "A_log", "D"}
    assert all(names[id(value)].endswith("weight") for value in decayed["params"])
    assert len(decayed["params"]) + len(plain["params"]) == len(names)


# runs


def test_a_run_learns_and_says_so(whole):
    out, epochs = whole
    assert [epoch["step"] for epoch in epochs] == [22, 44]
    assert epochs == metrics.read_metrics(out)
    steps = [line["step"] for line in metrics.read_metrics(out, "steps")]
    assert steps == [8, 16, 22, 24, 32, 40, 44]
    assert epochs[1]["test_loss"] < epochs[0]["test_loss"] < math.log(10)
    assert epochs[1]["test_top1"] > 0.2  # by chance 0.1, with a standard error of 0.016
    for epoch in epochs:
        assert epoch["images_a_second"] * epoch["seconds_a_step"] == pytest.approx(64)
        assert 0 < epoch["test_top1"] < epoch["test_top5"] <= 1
    assert epochs[1]["rate"] < epochs[0]["rate"] < SMALL.rate
    kept = checkpoint.load(out / "model.pt")
    assert kept["config"] == asdict(SMALL)
    assert sorted(path.name for path in out.iterdir()) == ["metrics.jsonl", "model.pt"]


def test_a_finished_run_gives_its_model(whole, digits, tmp_path):
    model = training.load(whole[0])
    assert not model.training
    here = training.Place(torch.device("cpu"))
    found = training.evaluate(model, data.test_loader(digits, None, 100), here)
    for name, value in found.items():
        assert value == pytest.approx(whole[1][-1][f"test_{name}"], rel=1e-6)
    assert isinstance(model.reordering.policy, type(recipe.order(SMALL)))
    with pytest.raises(FileNotFoundError):
        training.load(tmp_path)


def test_a_finished_run_is_not_run_again(whole, monkeypatch):
    monkeypatch.setattr(training, "Run", None)
    assert training.train(SMALL, whole[0]) == whole[1]
    with pytest.raises(ValueError, match="^out: .* is of a run with other rate, seed$"):
        training.train(replace(SMALL, seed=1, rate=1.0), whole[0])


def test_a_run_that_stopped_ends_as_one_that_did_not(whole, tmp_path, monkeypatch):
    step = training.Run.step
    for stop in (3, 21, 29):  # before a checkpoint; in the first epoch; in the second

        def failing(run, *arguments, stop=stop):
            if run.done == stop:
                raise KeyboardInterrupt
            step(run, *arguments)

        monkeypatch.setattr(training.Run, "step", failing)
        with pytest.raises(KeyboardInterrupt):
            training.train(SMALL, tmp_path, device="cpu")
        monkeypatch.undo()
        # What a run killed while it wrote can leave: whole lines and a half after the checkpoint.
        with (tmp_path / "metrics.jsonl").open("a") as stream:
            stream.write('{"kind": "steps", "step": 99}\n{"kind": "st')
        torch.manual_seed(stop)  # the state of the global generators is not a run's business
    training.train(SMALL, tmp_path, device="cpu")
    assert_same_runs(whole[0], tmp_path)


def test_averaged_weights_go_on_where_they_were(tmp_path, monkeypatch):
    """Begun anew from the weights, they would forget what came before the stop."""

    class Average:  # as timm's
        def __init__(self, model):
            self.module = copy.deepcopy(model).eval()

        def update(self, model):
            with torch.no_grad():
                for mean, value in zip(self.module.parameters(), model.parameters(), strict=True):
                    mean.lerp_(value, 0.1)

    monkeypatch.setattr(recipe.Recipe, "average", lambda self, model: Average(model))
    config = replace(SMALL, epochs=1, warmup=0)
    training.train(config, tmp_path / "whole", device="cpu")
    step = training.Run.step

    def failing(run, *arguments):
        if run.done == 13:
            raise KeyboardInterrupt
        step(run, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training.Run, "step", failing)
        with pytest.raises(KeyboardInterrupt):
            training.train(config, tmp_path / "stopped", device="cpu")
    training.train(config, tmp_path / "stopped", device="cpu")
    assert_same_runs(tmp_path / "whole", tmp_path / "stopped")
    one, other = (checkpoint.load(tmp_path / name / "model.pt") for name in ("whole", "stopped"))
    for name, value in one["average"].items():
        assert torch.equal(value, other["average"][name]), name
    assert any(not torch.equal(value, one["model"][name]) for name, value in one["average"].items())


def test_every_step_of_every_process_draws_from_a_seed_of_its_own(tmp_path, digits, monkeypatch):
    """Else each step drops the same branches and mixes the same pairs of its batch."""
    drawn = []
    mixed = data.mixed_seed

    def seen(*parts):
        drawn.append((parts[0], mixed(*parts)))
        return mixed(*parts)

    run = training.Run(SMALL, digits, tmp_path, training.Place(torch.device("cpu")))
    images, labels = next(iter(run.train_loader))
    monkeypatch.setattr(data, "mixed_seed", seen)
    monkeypatch.setattr(torch, "manual_seed", lambda seed: drawn.append(("used", seed)))
    for rank in (0, 0, 0, 1):
        run.here = replace(run.here, rank=rank)
        run.step(run.model, images, labels)
    seeds = [seed for what, seed in drawn if what == "step"]
    assert [seed for what, seed in drawn if what == "used"] == seeds
    assert len(set(seeds)) == 4
    assert len({seed for what, seed in drawn if what == "mix"}) == 4
    # At one step, processes drop branches of their own, and mix alike.
    run.here, run.done = replace(run.here, rank=0), 3
    drawn.clear()
    run.step(run.model, images, labels)
    assert [seed for what, seed in drawn if what == "step"] != seeds[3:]


def command(config, out):
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(json.dumps(asdict(SMALL)), "utf-8")
    return [sys.executable, "-m", "tokensphere.reorder.training", str(config), "--out", str(out)]


# Bit-equal sums need the same number of threads.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "TQDM_DISABLE": "1"}


KILLED = """
import os, signal, sys
from tokensphere.reorder import training

def step(run, *arguments, own=training.Run.step):
    if run.done == 15:
        os.kill(os.getpid(), signal.SIGKILL)
    own(run, *arguments)

training.Run.step = step
sys.exit(training.main())
"""


def test_a_killed_run_ends_as_one_that_was_not(whole, tmp_path):
    """SIGKILL, as a scheduler does it, between two checkpoints; by the run itself, as whoever waits
    for a checkpoint may come when all is over."""
    out = tmp_path / "out"
    _, _, _, *arguments = command(tmp_path / "c.json", out)
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], env=ENVIRONMENT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert checkpoint.load(out / "checkpoint.pt")["done"] == 12
    training.train(SMALL, out, device="cpu")
    assert_same_runs(whole[0], out)


def test_two_processes_train_as_one(whole, tmp_path):
    # It takes a port that it keeps, and ends both processes when one fails: no limit of time.
    torchrun = ["torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
    python, *run = command(tmp_path / "c.json", tmp_path / "out")
    subprocess.run(
        [python, "-m", *torchrun, "--nproc-per-node=2", *run],
        env=ENVIRONMENT | {"CUDA_VISIBLE_DEVICES": ""},
        check=True,
    )
    pairs = list(zip(lines(whole[0]), lines(tmp_path / "out"), strict=True))
    for one, two in pairs:
        assert one.keys() == two.keys()
        assert (one["kind"], one["step"], one["rate"]) == (two["kind"], two["step"], two["rate"])
        # Float32 sums in another order, which ten steps of AdamW make larger.
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-4)
    assert pairs[-1][0]["test_loss"] == pytest.approx(pairs[-1][1]["test_loss"], rel=1e-3)


def test_learned_orders_are_trained_and_restored(tmp_path):
    config = replace(SMALL, policy={"name": "ByImportance", "temperature": 0.5}, epochs=1, warmup=0)
    assert recipe.order(config) == ByImportance(0.5)
    training.train(config, tmp_path / "a", device="cpu")
    kept = checkpoint.load(tmp_path / "a" / "model.pt")["model"]
    plain = models.build("s6-tiny", 10, 8, 1).state_dict().keys()
    assert len(kept.keys() - plain) == 4  # the score of each layer


def test_a_loss_that_is_lost_stops_the_run(tmp_path, monkeypatch):
    class Lost(torch.nn.Module):
        def forward(self, logits, labels):
            return logits.sum() * math.nan

    start = recipe.Recipe.__init__

    def losing(self, *arguments):
        start(self, *arguments)
        self.loss = Lost()

    monkeypatch.setattr(recipe.Recipe, "__init__", losing)
    config = replace(SMALL, log_steps=1)
    with pytest.raises(ValueError, match="^rate: the loss is nan after 1 steps"):
        training.train(config, tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "c.json: not JSON"),
        ("[]", "c.json: holds a list, takes an object"),
        ({"momentum": 0.9, "lr": 1}, "c.json: unknown lr, momentum"),
        ({"model": None}, "c.json: model: got None, takes text"),
        ({"batch": 1438}, "batch: got 1438, takes 1 to the 1437 training images"),
        ({"size": 16}, "size: got 16, takes 8 with digits"),
        ({"data": "cifar10"}, "root: got None, takes a path with cifar10"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys, content, message):
    path = tmp_path / "c.json"
    if isinstance(content, dict):
        content = json.dumps(asdict(SMALL) | content)
    path.write_text(content, "utf-8")
    assert training.main([str(path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("training: ") and message in error
    assert error.count("\n") == 1


def test_a_missing_configuration_or_key_is_named(tmp_path, capsys):
    assert training.main([str(tmp_path / "none.json"), "--out", str(tmp_path)]) == 2
    assert "none.json" in capsys.readouterr().err
    (tmp_path / "c.json").write_text('{"data": "digits"}', "utf-8")
    with pytest.raises(ValueError, match="c.json: missing size, model$"):
        recipe.read(tmp_path / "c.json")


def test_a_log_forgets_what_came_after_its_checkpoint(tmp_path):
    log = metrics.Log(tmp_path / "metrics.jsonl")
    log.write({"kind": "epoch", "epoch": 1})
    kept = log.length
    log.write({"kind": "epoch", "epoch": 2})
    again = metrics.Log(log.file)
    again.cut(kept)
    assert metrics.read_metrics(tmp_path) == [{"kind": "epoch", "epoch": 1}]
    again.write({"kind": "epoch", "epoch": 3})
    assert [line["epoch"] for line in metrics.read_metrics(tmp_path)] == [1, 3]
    with pytest.raises(ValueError, match="shorter than its checkpoint"):
        again.cut(again.length + 1)
