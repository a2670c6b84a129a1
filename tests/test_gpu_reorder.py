"""Reordered tokens on a GPU, with the models that requirements-gpu.txt brings: see tests/gpu.py."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tokensphere import checkpoint
from tokensphere.reorder import (
    LayerwiseShuffle,
    RandomOrder,
    data,
    mechanism,
    models,
    policies,
    recipe,
    training,
    wrap,
)

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    # timm, mambavision and mamba-ssm warn of what the others will change.
    pytest.mark.filterwarnings("default"),
]

CONFIGS = Path(__file__).parents[1] / "configs"


def test_orders_are_the_same_on_a_gpu():
    keys = policies.pass_keys(3, torch.tensor(10), 4)
    there = policies.pass_keys(3, torch.tensor(10, device="cuda"), 4)
    assert torch.equal(there.cpu(), keys)
    for length in (1, 16, 49, 196, 5000):
        found = policies.permutation(there, length)
        assert torch.equal(found.cpu(), policies.permutation(keys, length))


def test_orders_are_the_same_compiled_on_a_gpu():
    step = torch.tensor(10, device="cuda")
    keys = torch.compile(policies.pass_keys)(3, step, 100)
    assert torch.equal(keys, policies.pass_keys(3, step, 100))
    for length in (49, 5000):
        found = torch.compile(policies.permutation)(keys, length)
        assert torch.equal(found, policies.permutation(keys, length))
    for policy in (RandomOrder(0.5), LayerwiseShuffle(0.9)):
        assert torch.equal(torch.compile(policy.orders)(keys, 49), policy.orders(keys, 49))


def test_mambavision_is_changed_by_nothing_but_the_order():
    torch.manual_seed(0)
    plain = models.build("mambavision_tiny", 10, 224).cuda().train()
    x = torch.randn(4, 3, 224, 224, device="cuda")
    wrapped = wrap(copy.deepcopy(plain), RandomOrder(0.0))
    assert len(wrapped.reordering.keys) == 6
    # Outputs alone: the gradients of mamba-ssm's scan are added atomically, in no fixed order.
    with torch.autocast("cuda", torch.bfloat16):
        expected = plain(x)
        assert torch.equal(wrapped(x), expected)
        y = wrap(wrapped, RandomOrder(), seed=1)(x)
    assert not torch.equal(y, expected)
    y.float().square().sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in wrapped.parameters())


def test_colour_goes_through_timm(tmp_path):
    """Whatever the number of loading processes: the libraries' draws are seeded by image."""
    g = np.random.default_rng(0)
    root = tmp_path / "c.npz"
    np.savez(
        root,
        train_x=g.integers(0, 256, (60, 32, 32, 3), np.uint8),
        train_y=np.arange(60) % 10,
        test_x=g.integers(0, 256, (20, 32, 32, 3), np.uint8),
        test_y=np.arange(20) % 10,
    )
    recipe_ = recipe.read(CONFIGS / "cifar10_s6_random.json")
    changes = {"model": "s6-tiny", "epochs": 2, "warmup": 1, "batch": 20}
    for workers in (0, 2):
        config = replace(recipe_, **changes, workers=workers)
        training.train(config, tmp_path / f"{workers}", root=root, device="cpu")
    kept = [checkpoint.load(tmp_path / out / "model.pt") for out in ("0", "2")]
    for name in ("model", "average"):
        assert all(torch.equal(value, kept[1][name][key]) for key, value in kept[0][name].items())
    assert "average_top1" in training.read_metrics(tmp_path / "0")[-1]
    images = data.load("cifar10", root)
    posterise = [
        op
        for part in recipe.Recipe(config, images).train_transform.transforms
        for op in getattr(part, "ops", [])
        if op.name == "PosterizeIncreasing"
    ]
    assert [op.level_fn(10, op.hparams) for op in posterise] == [(1,)]


@pytest.mark.parametrize(
    ("size", "tokens"), [(32, [64] * 4 + [16] * 2), (224, [196] * 4 + [49] * 2)]
)
def test_mambavision_sees_no_padding(size, tokens):
    model = models.build("mambavision_tiny", 1000, size, drop_path=0.2).cuda().eval()
    assert sum(value.numel() for value in model.parameters()) == pytest.approx(31.8e6, rel=1e-3)
    seen = []
    for module in model.modules():
        if type(module).__name__ == "MambaVisionMixer":
            module.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[:2]))
    with torch.no_grad():
        assert model(torch.randn(2, 3, size, size, device="cuda")).shape == (2, 1000)
    assert seen == [(2, count) for count in tokens]


def test_the_kernel_is_the_scan():
    torch.manual_seed(0)
    model = models.build("s6-small", 10, 32)
    images = torch.randn(4, 3, 32, 32)
    found = []
    for device in ("cpu", "cuda"):
        logits = model.to(device)(images.to(device))
        gradients = torch.autograd.grad(logits.square().sum(), list(model.parameters()))
        found.append([value.cpu() for value in (logits, *gradients)])
    for one, other in zip(*found, strict=True):
        # Float32 through eight layers.
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(one.abs().max()))


def test_a_stopped_training_of_mambavision_goes_on_and_is_measured(tmp_path, monkeypatch):
    g = np.random.default_rng(0)
    images = {name: g.integers(0, 256, (60, 32, 32, 3), np.uint8) for name in ("train_x", "test_x")}
    root = tmp_path / "c.npz"
    np.savez(root, **images, train_y=np.arange(60) % 10, test_y=np.arange(60) % 10)
    config = recipe.read(CONFIGS / "cifar10_mambavision_random.json")
    changes = {"epochs": 2, "warmup": 1, "batch": 20, "log_steps": 1, "checkpoint_steps": 2}
    config = replace(config, **changes, workers=2)
    training.train(config, tmp_path / "whole", root=root)
    step = training.Run.step

    def failing(run, *arguments):
        if run.done == 5:
            raise KeyboardInterrupt
        step(run, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training.Run, "step", failing)
        with pytest.raises(KeyboardInterrupt):
            training.train(config, tmp_path / "stopped", root=root)
    training.train(config, tmp_path / "stopped", root=root)
    losses = [
        [line["train_loss"] for line in training.read_metrics(tmp_path / out, "steps")]
        for out in ("whole", "stopped")
    ]
    assert len(losses[0]) == 6
    # mamba-ssm adds its gradients atomically, in bfloat16's company: six steps of a thousandth.
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
    model = training.load(tmp_path / "whole", device="cuda")
    images = torch.randn(8, 3, 32, 32, device="cuda")
    found = mechanism.measure(model, images)
    assert found["tokens"] == [64] * 9 + [16] * 5
    assert [name for name in found["depths"] if "mamba" in name] == [
        *(f"stage 3, block {n} (mamba)" for n in range(1, 5)),
        *(f"stage 4, block {n} (mamba)" for n in range(1, 3)),
    ]
    orders = mechanism.measure_orders(
        model, [(images, torch.zeros(8, dtype=torch.long))], images, passes=1, seed=0
    )
    assert len(orders["sensitivity"]) == 14
    # What enters stage 3 has met no mixer.
    assert orders["sensitivity"][0] < 1e-3 < orders["sensitivity"][-1]
