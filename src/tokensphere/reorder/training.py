"""Trains an image classifier with its tokens in their own order or in another.

    python -m tokensphere.reorder.training CONFIG.json --out DIR [--root DATA] [--seed N]
    torchrun --nproc-per-node 8 -m tokensphere.reorder.training CONFIG.json --out DIR --root DATA

A run is one configuration file, `tokensphere.reorder.recipe.Config`; `--root` says where its images
are. On GPUs it computes in bfloat16 and, under torchrun, on all of them.

A run that was killed goes on from its last checkpoint when started again with the same arguments:
batches, augmentation, permutations and dropped branches are functions of seed and step, so that it
ends as if it had never stopped, to the bit on a CPU and up to the kernels' rounding on a GPU.

DIR receives, written by the first process alone:
- metrics.jsonl: {"kind": "steps", ...} every `log_steps`, {"kind": "epoch", ...} after each epoch;
- checkpoint.pt, while under way; model.pt, once done.

One file of over 400 lines until its records are next renewed: its code stands behind them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tokensphere import checkpoint, reorder
from tokensphere.reorder import data, models, recipe
from tokensphere.reorder.metrics import Log, Meter, read_metrics
from tokensphere.reorder.recipe import Config

__all__ = ["Place", "Run", "evaluate", "load", "main", "read_metrics", "spread", "train"]


@dataclass(frozen=True)
class Place:
    """Where a process of a run stands: its device, its number, and how many there are."""

    device: torch.device
    rank: int = 0
    world: int = 1

    def sum(self, value: Tensor) -> Tensor:
        """The sum of `value` over the processes; `value` stays as it is."""
        value = value.clone()
        if self.world > 1:
            dist.all_reduce(value)
        return value


@contextmanager
def place(device: str | None = None) -> Iterator[Place]:
    """This process's place: as torchrun's environment says, or alone.

    device: "cpu" or "cuda"; None takes GPUs where there are some.
    """
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if "WORLD_SIZE" not in os.environ or "RANK" not in os.environ:
        yield Place(torch.device(kind))
        return
    chosen = torch.device(kind)
    if kind == "cuda":
        chosen = torch.device(kind, int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield Place(chosen, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


@torch.no_grad()
def evaluate(model: nn.Module, loader: Any, here: Place) -> dict[str, float]:
    """Mean cross-entropy in nats, top-1 and top-5 shares over all test images of all processes."""
    training = model.training
    model.eval()
    meter = Meter.empty(here.device)
    for images, labels in loader:
        images, labels = _to(images, here), labels.to(here.device, non_blocking=True)
        with _autocast(here):
            logits = model(images)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        meter.add(loss, logits, labels)
    model.train(training)
    return Meter(here.sum(meter.sums)).means()


def _to(images: Tensor, here: Place) -> Tensor:
    if here.device.type != "cuda":
        return images
    # Convolutions in half precision are faster in this layout; the published recipe has it too.
    return images.to(here.device, non_blocking=True, memory_format=torch.channels_last)


def _autocast(here: Place) -> Any:
    return torch.autocast(here.device.type, torch.bfloat16, enabled=here.device.type == "cuda")


class _SyncBatchNorm(nn.SyncBatchNorm):
    """torch's, without a wait for the GPU in each forward pass.

    torch's asks which processes have an empty batch (github.com/pytorch/pytorch/issues/78656), and
    waits for the answer, except where a CUDA graph is captured. Here no batch is empty. A step of
    MambaVision-T on two GPUs took a fifth less without these eleven waits.
    """

    @classmethod
    def convert_sync_batchnorm(cls, module: nn.Module, process_group: Any = None) -> nn.Module:
        module = nn.SyncBatchNorm.convert_sync_batchnorm(module, process_group)
        for part in module.modules():
            if type(part) is nn.SyncBatchNorm:
                part.__class__ = cls
        return module

    def forward(self, input: Tensor) -> Tensor:
        with mock.patch.object(torch.cuda, "is_current_stream_capturing", lambda: True):
            return super().forward(input)


class Run:
    """A training under way: everything that a checkpoint holds, and how a step changes it."""

    def __init__(self, config: Config, images: data.Images, out: Path, here: Place) -> None:
        self.config, self.out, self.here = config, out, here
        self.classes, self.channels = images.classes, images.channels
        self.recipe = recipe.Recipe(config, images)
        spread = {"rank": here.rank, "world": here.world, "workers": config.workers}
        transform = self.recipe.train_transform
        self.train_loader = data.train_loader(
            images, transform, config.batch, config.seed, **spread
        )
        share = max(1, config.batch // here.world)
        self.test_loader = data.test_loader(images, self.recipe.test_transform, share, **spread)
        self.steps = len(self.train_loader)
        # The same weights in every arm of a comparison: the policy is added, and draws, after.
        torch.manual_seed(data.mixed_seed("weights", config.seed))
        self.model = _build(config, images.classes, images.channels).to(here.device).train()
        if here.device.type == "cuda":
            self.model = self.model.to(memory_format=torch.channels_last)
            if here.world > 1:
                # Statistics of the whole batch, which are those of a run on one GPU.
                self.model = _SyncBatchNorm.convert_sync_batchnorm(self.model)
        self.average = self.recipe.average(self.model)
        self.adam = recipe.optimiser(self.model, config)
        self.schedule = self.recipe.schedule(self.adam, self.steps)
        self.done = 0  # steps
        self.window, self.epoch = Meter.empty(here.device), Meter.empty(here.device)
        self.log = Log(out / "metrics.jsonl")
        self.file = out / "checkpoint.pt"

    def weights(self) -> dict[str, Any]:
        average = None if self.average is None else self.average.module.state_dict()
        return {
            "config": asdict(self.config),
            "classes": self.classes,
            "channels": self.channels,
            "model": self.model.state_dict(),
            "average": average,
        }

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds; called by all processes, which sum their meters."""
        return {
            **self.weights(),
            "adam": self.adam.state_dict(),
            "schedule": self.schedule.state_dict(),
            "done": self.done,
            "meters": [
                [self.here.sum(meter.sums), meter.seconds] for meter in (self.window, self.epoch)
            ],
            "metrics": self.log.length,
        }

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if not self.file.is_file():
            if self.here.rank == 0:
                self.log.cut(0)  # of a run killed before its first checkpoint
            return
        # By way of the CPU: AdamW counts its steps there, and each copy finds its own device.
        state = checkpoint.load(self.file)
        _same(self.file, state, self.config)
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])
        self.adam.load_state_dict(state["adam"])
        self.schedule.load_state_dict(state["schedule"])
        self.done = state["done"]
        self.window, self.epoch = (
            Meter(sums.to(self.here.device), seconds) for sums, seconds in state["meters"]
        )
        if self.here.rank == 0:
            self.log.cut(state["metrics"])
        else:  # the first process took over what all had summed
            for meter in (self.window, self.epoch):
                meter.sums.zero_()

    def save(self) -> None:
        state = self.state()
        if self.here.rank == 0:
            checkpoint.save(self.file, state)

    def step(self, outer: nn.Module, images: Tensor, labels: Tensor) -> None:
        """One step of the optimiser; `outer` is the model, or what spreads it over processes."""
        config, here = self.config, self.here
        # Of everything random on this device, as dropped branches: nothing to keep or to lose.
        torch.manual_seed(data.mixed_seed("step", config.seed, self.done, here.rank))
        images, labels = _to(images, here), labels.to(here.device, non_blocking=True)
        images, labels = self.recipe.mix(
            images, labels, data.mixed_seed("mix", config.seed, self.done)
        )
        with _autocast(here):
            logits = outer(images)
        loss = self.recipe.loss(logits.float(), labels)
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        if config.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.adam.step()
        self.done += 1
        self.recipe.advance(self.schedule, self.done)
        if self.average is not None:
            self.average.update(self.model)
        self.window.add(loss, logits, labels)

    def look(self, rate: float) -> None:
        """Close a window of steps: its line, and its part in the epoch's sums."""
        line = self._line("steps", self.window, {"step": self.done, "rate": rate})
        if self.here.rank == 0:
            self.log.write(line)
        self.epoch.sums += self.window.sums
        self.epoch.seconds += self.window.seconds
        self.window = Meter.empty(self.here.device)

    def close(self, epoch: int, rate: float) -> None:
        """End an epoch: its tests and its line."""
        tests = {"test": evaluate(self.model, self.test_loader, self.here)}
        if self.average is not None:
            tests["average"] = evaluate(self.average.module, self.test_loader, self.here)
        found = {
            f"{split}_{name}": value
            for split, means in tests.items()
            for name, value in means.items()
        }
        line = self._line("epoch", self.epoch, {"epoch": epoch + 1, "step": self.done, **found})
        if self.here.rank == 0:
            self.log.write(line | {"rate": rate})
        self.epoch = Meter.empty(self.here.device)

    def start_clock(self) -> None:
        self.clock = time.perf_counter()

    def stop_clock(self) -> None:
        """Add the time since the clock started to the window's, once the device is done."""
        if self.here.device.type == "cuda":
            torch.cuda.synchronize(self.here.device)
        self.window.seconds += time.perf_counter() - self.clock

    def _line(self, kind: str, meter: Meter, more: dict[str, Any]) -> dict[str, Any]:
        sums = self.here.sum(meter.sums)
        means = Meter(sums).means()
        # Seen by all processes, so that all of them stop.
        if not means["loss"] < float("inf"):
            raise ValueError(f"rate: the loss is {means['loss']} after {self.done} steps")
        steps, images = float(sums[4]) / self.here.world, float(sums[3])
        return {
            "kind": kind,
            **more,
            **{f"train_{name}": value for name, value in means.items()},
            "seconds_a_step": meter.seconds / steps,
            "images_a_second": images / meter.seconds,
        }


def train(
    config: Config,
    out: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    device: str | None = None,
) -> list[dict[str, Any]]:
    """Train, or go on with a training that stopped, and return its epochs' metrics.

    out: the run's folder, made if missing. root: where the images are, as for `data.load`.
    device: "cpu" or "cuda"; None takes GPUs where there are some.

    An epoch's metrics: `train_loss`, `train_top1`, `train_top5` over its steps as they went (of
    mixed images against the larger of their labels), `test_*` of the model and `average_*` of its
    averaged weights if any over the test images, `rate` of its last step, `seconds_a_step` without
    tests and checkpoints, `images_a_second` over all processes, `epoch` and `step` so far. Top-1
    and top-5 are shares.

    Raises ValueError for data or an `out` that do not go with the configuration, or a loss that is
    no longer finite; ImportError for a library that is missing.
    """
    with place(device) as here:
        gpus = [here.device] if here.device.type == "cuda" else []
        with torch.random.fork_rng(gpus):
            return _train(config, Path(out), root, here)


def _train(config: Config, out: Path, root: Any, here: Place) -> list[dict[str, Any]]:
    from tqdm import tqdm

    finished = out / "model.pt"
    if finished.is_file():
        _same(finished, checkpoint.load(finished), config)
        return read_metrics(out)
    out.mkdir(parents=True, exist_ok=True)
    run = Run(config, _images(config, root), out, here)
    run.resume()
    outer = spread(run.model, here)
    batches = run.train_loader.batch_sampler
    with tqdm(
        total=config.epochs * run.steps,
        initial=run.done,
        desc="steps",
        disable=None if here.rank == 0 else True,
    ) as bar:
        for epoch in range(run.done // run.steps, config.epochs):
            batches.epoch, batches.first = epoch, run.done % run.steps
            run.start_clock()
            for images, labels in run.train_loader:
                rate = run.adam.param_groups[0]["lr"]
                run.step(outer, images, labels)
                bar.update()
                last = run.done % run.steps == 0
                look = last or run.done % config.log_steps == 0
                keep = run.done % config.checkpoint_steps == 0
                if look or keep:
                    run.stop_clock()
                    if look:
                        run.look(rate)
                    if last:
                        run.close(epoch, rate)
                    if keep:
                        run.save()
                    run.start_clock()
    if here.rank == 0:
        checkpoint.save(finished, run.weights())
        run.file.unlink(missing_ok=True)
    return read_metrics(out)


def spread(model: nn.Module, here: Place) -> nn.Module:
    """The model, with gradients that are means over all processes."""
    if here.world == 1:
        return model
    # The same parameters are used in each step.
    return nn.parallel.DistributedDataParallel(
        model, gradient_as_bucket_view=True, static_graph=True
    )


def load(out: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> nn.Module:
    """The model that a finished run in `out` left, in evaluation: its averaged weights if any.

    It is wrapped with the run's policy, which `reorder.unwrap` undoes.

    Raises FileNotFoundError for a run without model.pt, ValueError for a file that is not one.
    """
    state = checkpoint.load(Path(out, "model.pt"), device)
    config = Config(**state["config"])
    weights = state["model"] if state["average"] is None else state["average"]
    with torch.random.fork_rng([]):
        model = _build(config, state["classes"], state["channels"])
    model.load_state_dict(weights)
    return model.to(device).eval()


def _build(config: Config, classes: int, channels: int) -> nn.Module:
    model = models.build(config.model, classes, config.size, channels, config.drop_path)
    policy = recipe.order(config)
    return model if policy is None else reorder.wrap(model, policy, seed=config.seed)


def _images(config: Config, root: Any) -> data.Images:
    images = data.load(config.data, root)
    if images.size not in (None, config.size):
        raise ValueError(f"size: got {config.size}, takes {images.size} with {config.data}")
    return images


def _same(file: Path, state: dict[str, Any], config: Config) -> None:
    """Refuse what a run with another configuration left."""
    old, new = state["config"], asdict(config)
    differing = [name for name in new if old.get(name) != new[name]]
    if differing:
        raise ValueError(f"out: {file} is of a run with other {', '.join(differing)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Train as a configuration file says; exit code 2 for bad input, with one line."""
    parser = argparse.ArgumentParser(prog="training", description=__doc__.partition("\n")[0])
    parser.add_argument("config", metavar="CONFIG.json")
    parser.add_argument("--out", required=True, metavar="DIR", help="where the run is kept")
    parser.add_argument("--root", metavar="DATA", help="where the images are")
    parser.add_argument("--seed", type=int, metavar="N", help="instead of the configuration's")
    arguments = parser.parse_args(argv)
    # Shapes never change: the fastest convolution is worth looking for.
    torch.backends.cudnn.benchmark = True
    try:
        config = recipe.read(arguments.config, arguments.seed)
        metrics = train(config, arguments.out, root=arguments.root)
    except (ValueError, ImportError, OSError) as error:
        print(f"training: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(metrics[-1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
