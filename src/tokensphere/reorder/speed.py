"""How fast training is on this machine: seconds a step, images a second.

    python -m tokensphere.reorder.speed CONFIG.json [CONFIG.json ...]
    torchrun --nproc-per-node 8 -m tokensphere.reorder.speed configs/imagenet.json

prints one line of JSON. A step is the training's own, mixup, clipping and averaged weights
included, on one batch of noise that waits in pinned memory: no images are read or augmented, so
that this is what the GPUs can do where loading keeps up. Several configurations take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tokensphere.door import takes, whole
from tokensphere.reorder import data, recipe
from tokensphere.reorder.recipe import Config
from tokensphere.reorder.training import Place, Run, place, spread

__all__ = ["main", "measure"]

CLASSES = {"digits": 10, "cifar10": 10, "folder": 1000}
"""By data: of an image folder as many as ImageNet-1K has."""


@takes(rounds=whole(1), steps=whole(1))
def measure(
    configs: Sequence[Config], here: Place, *, rounds: int = 8, steps: int = 5
) -> list[list[float]]:
    """Seconds a step of each configuration, in each of `rounds` rounds of `steps` steps.

    In a round the configurations take turns, so that a slow spell of the machine meets them all:
    compare them round by round.
    """
    with tempfile.TemporaryDirectory() as out:
        runs = [_Repeated(config, Path(out), here) for config in configs]
        for run in runs:
            run.seconds(5)  # loads kernels, chooses convolutions
        found: list[list[float]] = [[] for _ in runs]
        for _ in range(rounds):
            for run, seconds in zip(runs, found, strict=True):
                seconds.append(run.seconds(steps) / steps)
    return found


class _Repeated:
    """A training whose every step meets the same batch."""

    def __init__(self, config: Config, out: Path, here: Place) -> None:
        channels = 1 if config.data == "digits" else 3
        classes = CLASSES[config.data]
        nothing = [None] * config.batch
        ready = config.data == "digits"
        images = data.Images(nothing, [], classes, channels, config.size, ready)
        self.run = Run(config, images, out, here)
        self.outer = spread(self.run.model, here)
        g = torch.Generator().manual_seed(config.seed)
        share = config.batch // here.world
        noise = torch.randn(share, channels, config.size, config.size, generator=g)
        labels = torch.randint(classes, (share,), generator=g)
        self.batch: tuple[Tensor, Tensor] = (noise, labels)
        if here.device.type == "cuda":
            self.batch = (noise.pin_memory(), labels.pin_memory())

    def seconds(self, steps: int) -> float:
        _finish(self.run.here)
        began = time.perf_counter()
        for _ in range(steps):
            self.run.step(self.outer, *self.batch)
        _finish(self.run.here)
        return time.perf_counter() - began


def _finish(here: Place) -> None:
    if here.device.type == "cuda":
        torch.cuda.synchronize(here.device)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the seconds a step of each configuration; exit code 2 for bad input, with one line."""
    parser = argparse.ArgumentParser(prog="speed", description=__doc__.partition("\n")[0])
    parser.add_argument("configs", nargs="+", metavar="CONFIG.json")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write the line too")
    arguments = parser.parse_args(argv)
    torch.backends.cudnn.benchmark = True
    try:
        configs = [recipe.read(path) for path in arguments.configs]
        with place() as here:
            found = measure(configs, here)
    except (ValueError, ImportError, OSError) as error:
        print(f"speed: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    if os.environ.get("RANK", "0") == "0":
        line = json.dumps(_summary(arguments.configs, configs, found, here))
        print(line)
        if arguments.out:
            arguments.out.write_text(line + "\n", "utf-8")
    return 0


def _summary(
    names: Sequence[str], configs: Sequence[Config], found: list[list[float]], here: Place
) -> dict[str, Any]:
    return {
        "processes": here.world,
        "device": here.device.type,
        "runs": {
            Path(name).stem: {
                "batch": config.batch,
                "size": config.size,
                "seconds_a_step": seconds,
                "images_a_second": config.batch / statistics.median(seconds),
            }
            for name, config, seconds in zip(names, configs, found, strict=True)
        },
    }


if __name__ == "__main__":
    sys.exit(main())
