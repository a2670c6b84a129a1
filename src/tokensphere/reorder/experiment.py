"""The book's experiment on reordering: five orders of the tokens, all else equal.

    python -m tokensphere.reorder.experiment MODEL --record FILE [--root DATA] [--slots N]

trains MODEL, one of `MODELS`, in each of `ARMS` as the files of `configs/` say, for as many seeds
as `SEEDS` says, and measures what it trained: on all GPUs that there are, or else with a process
for each core. "s6-tiny", on scikit-learn's digits, takes half an hour of one core. FILE is written
anew after each run; started again with a FILE that exists, it makes the runs that are missing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from tokensphere import records
from tokensphere.reorder import data, mechanism, recipe, training
from tokensphere.reorder.recipe import Config

ARMS = ("baseline", "random", "layerwise", "importance", "fixed")

MODELS = {
    "mambavision_tiny": "cifar10_mambavision",
    "s6-small": "cifar10_s6",
    "s6-tiny": "digits",
}
"""Files in `configs/`, without their arm."""

SEEDS = {
    "mambavision_tiny": {"baseline": 8, "random": 8, "layerwise": 3, "importance": 3, "fixed": 3},
    "s6-small": {"baseline": 8, "random": 8, "layerwise": 3, "importance": 3, "fixed": 3},
    "s6-tiny": dict.fromkeys(ARMS, 10),
}
"""How many seeds each arm has, from 0 on: arms share seeds, so that differences are paired."""

IMAGES = 256
"""Test images whose tokens are measured."""

PASSES = 3
"""Passes over all test images with orders drawn afresh."""


def config(model: str, arm: str, seed: int) -> Config:
    """The configuration of one run, from its file.

    Raises ValueError for an unknown model or arm, FileNotFoundError without the repository.
    """
    for name, value, known in (("model", model, MODELS), ("arm", arm, ARMS)):
        if value not in known:
            raise ValueError(f"{name}: got {value!r}, takes one of {', '.join(known)}")
    return recipe.read(configs() / f"{MODELS[model]}_{arm}.json", seed)


def configs() -> Path:
    """The folder of configurations; FileNotFoundError without the repository."""
    return records.path("").parent / "configs"


def parameters(model: str) -> dict[str, Any]:
    """What a record of this model's runs was made with."""
    files = {arm: asdict(config(model, arm, 0)) for arm in ARMS}
    return {"configs": files, "seeds": SEEDS[model], "images": IMAGES, "passes": PASSES}


def plan(model: str) -> list[tuple[str, int]]:
    """Arm and seed of each run, all arms of a seed before those of the next."""
    runs = [(arm, seed) for arm in ARMS for seed in range(SEEDS[model][arm])]
    return sorted(runs, key=lambda run: run[1])


def run(config: Config, out: str | os.PathLike[str], root: Any = None) -> dict[str, Any]:
    """Train as `config` says, in the folder `out`, and measure the model.

    Returns:
        model, seed, policy: of the configuration.
        parameters: number of weights.
        epochs: metrics of each, of :func:`tokensphere.reorder.training.train`.
        orders: of :func:`tokensphere.reorder.mechanism.measure_orders`, on all test images.
        mechanism: of :func:`tokensphere.reorder.mechanism.measure`, on the first `IMAGES`.
        tested: number of test images.
        seconds: of all this.
    """
    began = time.perf_counter()
    epochs = training.train(config, out, root=root)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = training.load(out, device=device)
    batches = _test_batches(config, root, device)
    images = torch.cat([images for images, _ in batches])[:IMAGES]
    return {
        "model": config.model,
        "seed": config.seed,
        "policy": config.policy,
        "parameters": sum(value.numel() for value in model.parameters()),
        "epochs": epochs,
        "orders": mechanism.measure_orders(model, batches, images, passes=PASSES, seed=config.seed),
        "mechanism": mechanism.measure(model, images),
        "tested": sum(len(labels) for _, labels in batches),
        "seconds": time.perf_counter() - began,
    }


def _test_batches(config: Config, root: Any, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    images = data.load(config.data, root)
    transform = recipe.Recipe(config, images).test_transform
    loader = data.test_loader(images, transform, config.batch, workers=config.workers)
    return [(batch.to(device), labels.to(device)) for batch, labels in loader]


def run_all(model: str, file: Path, root: Any = None, slots: int = 1) -> None:
    """Make the runs of `plan` that the record `file` lacks, `slots` at a time on each GPU.

    Raises:
        ValueError, ImportError, OSError: before the first run, for a model, a root or a record that
            does not fit.
        ExceptionGroup: of the runs that failed, once all others are in the record.
    """
    began = time.perf_counter()
    asked = parameters(model)
    runs = records.load(file, parameters=asked).data["runs"] if file.is_file() else []
    done = {(found["arm"], found["seed"]) for found in runs}
    todo = [key for key in plan(model) if key not in done]
    if not todo:
        return
    data.load(config(model, *todo[0]).data, root)
    gpus = [str(number) for number in range(torch.cuda.device_count())]
    places = gpus * slots or [""] * len(os.sched_getaffinity(0))
    spawn = multiprocessing.get_context("spawn")
    free = spawn.Queue()
    for place in places:
        free.put(place)
    errors = []
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(len(places), spawn, _take_place, (free,)) as pool,
        tqdm(total=len(todo), desc="runs", disable=None) as bar,
    ):
        started = {}
        for arm, seed in todo:
            wanted = config(model, arm, seed)
            # Loading processes decide nothing but the speed.
            share = max(1, len(os.sched_getaffinity(0)) // len(places) - 1)
            wanted = replace(wanted, workers=min(wanted.workers, share))
            started[pool.submit(run, wanted, f"{folder}/{arm}-{seed}", root)] = arm
        for future in as_completed(started):
            bar.update()
            if error := future.exception():
                errors.append(error)  # which must not cost the runs that are under way
                continue
            arm, found = started[future], future.result()
            runs.append({"arm": arm, **found})
            runs.sort(key=lambda one: (ARMS.index(one["arm"]), one["seed"]))
            records.save(
                file,
                {"runs": runs},
                parameters=asked,
                code=["tokensphere.reorder.experiment"],
                seconds=time.perf_counter() - began,
                device="cuda:0" if gpus else "cpu",
            )
            top1 = found["orders"]["own"]
            bar.write(f"{arm} {found['seed']}: {top1:.4f}, {found['seconds']:.0f} s")
    if errors:
        raise ExceptionGroup(f"{len(errors)} of {len(todo)} runs failed", errors)


def _take_place(free: Any) -> None:
    """Of a process of the pool, before it touches a GPU: the one that it will use, or one core."""
    os.environ["CUDA_VISIBLE_DEVICES"] = place = free.get()
    if not place:
        torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True
    # A spawned process would spawn its loaders, each of which would import torch once more.
    multiprocessing.set_start_method("fork", force=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Make a record; exit code 2 for bad input, with one line."""
    parser = argparse.ArgumentParser(
        prog="experiment", description="Train in each order of the tokens, and measure."
    )
    parser.add_argument("model", metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--record", required=True, type=Path, metavar="FILE")
    parser.add_argument(
        "--root", metavar="DATA", help="CIFAR-10, for a model that is trained on it"
    )
    parser.add_argument("--slots", type=int, default=1, metavar="N", help="runs at once on a GPU")
    arguments = parser.parse_args(argv)
    try:
        if arguments.slots < 1:
            raise ValueError(f"slots: got {arguments.slots}, takes 1 or more")
        run_all(arguments.model, arguments.record, arguments.root, arguments.slots)
    except (ValueError, ImportError, OSError) as error:
        print(f"experiment: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
