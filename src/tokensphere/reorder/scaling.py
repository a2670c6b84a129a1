"""The book's record of speed: what reordering adds to a step, what a second GPU gives, and loading.

    python -m tokensphere.reorder.scaling --root DATA --record FILE

DATA is CIFAR-10. FILE is written anew after each part. Each part is commands that a reader would
give, in processes of their own:

- `steps`: `tokensphere.reorder.speed` on one GPU, with and without reordering, in turns;
- `scaling`: the same of ImageNet-1K's configuration, for each of `BATCHES`, on 1 GPU, 2 and so on;
- `curves`: the training on CIFAR-10, on one GPU twice, on one with another seed, on two. Without
  dropped branches, which each process draws for itself, these are one computation, all but the
  other seed's, and differ by rounding;
- `loading`: images a second out of the training's loaders, augmented, and of a whole training from
  an image folder, on all GPUs; its photos are noise of a usual size.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from tokensphere import records
from tokensphere.reorder import data, experiment, recipe
from tokensphere.reorder.metrics import read_metrics
from tokensphere.reorder.recipe import Config

CURVE = {"drop_path": 0.0, "epochs": 1, "warmup": 0, "log_steps": 2, "workers": 7}
"""Of the runs in `curves`, instead of what CIFAR-10's configuration says."""

BATCHES = (512, 1024)
"""Images in a step over all GPUs: Table 2's, and as many again, which leaves two GPUs 512 each."""

PHOTO = (375, 500)
"""Height and width of the photos, the most frequent ones in ImageNet-1K."""

PARAMETERS = {"curve": CURVE, "batches": list(BATCHES), "photo": list(PHOTO)}


def run_all(root: Any, file: Path) -> list[str]:
    """Measure all parts that this machine has GPUs for; returns the errors of those that failed."""
    began, found, errors = time.perf_counter(), {}, []
    counts = _counts(torch.cuda.device_count())
    with tempfile.TemporaryDirectory() as folder:
        for name, part in {
            "scaling": lambda: _scaling(Path(folder), counts),
            "curves": lambda: _curves(root, Path(folder), counts),
            "steps": _steps,
            "loading": lambda: _loading(root, Path(folder), counts),
        }.items():
            _attempt(name, part, found, errors)
            records.save(
                file,
                {**found, "gpus": counts, "cores": len(os.sched_getaffinity(0))},
                parameters=PARAMETERS,
                code=["tokensphere.reorder.scaling", "tokensphere.reorder.speed"],
                seconds=time.perf_counter() - began,
                device="cuda:0" if counts else "cpu",
            )
    return errors


def _attempt(name: str, part: Callable[[], Any], found: dict[str, Any], errors: list[str]) -> None:
    """One part, whose failure costs the others nothing."""
    began = time.perf_counter()
    try:
        found[name] = part()
    except subprocess.CalledProcessError as error:
        errors.append(f"{name}: {' '.join(error.cmd)}: {error.stderr[-2000:]}")
    print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)


def _counts(gpus: int) -> list[int]:
    return [n for n in (1, 2, 4, 8, 16) if n <= gpus]


def _steps() -> dict[str, Any]:
    """Without and with random orders at 224 pixels, and all arms at 32."""
    folder = experiment.configs()
    found = {}
    for stems in (
        ["imagenet_baseline", "imagenet"],
        [f"{experiment.MODELS['mambavision_tiny']}_{arm}" for arm in experiment.ARMS],
    ):
        found |= _speed([folder / f"{stem}.json" for stem in stems], 1)
    return found


def _scaling(folder: Path, counts: Sequence[int]) -> list[dict[str, Any]]:
    found = []
    for batch in BATCHES:
        config = replace(recipe.read(experiment.configs() / "imagenet.json"), batch=batch)
        file = folder / f"batch{batch}.json"
        file.write_text(json.dumps(asdict(config)), "utf-8")
        found += [{"gpus": n, **_speed([file], n)[file.stem]} for n in counts]
    return found


def _speed(files: Sequence[Path], gpus: int) -> dict[str, Any]:
    """What `tokensphere.reorder.speed` says of these configurations, by their files' names."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "line.json")
        _command("tokensphere.reorder.speed", [*map(str, files), "--out", str(out)], gpus)
        return json.loads(out.read_text("utf-8"))["runs"]


def _curves(root: Any, folder: Path, counts: Sequence[int]) -> dict[str, list[float]]:
    """Training losses every few steps, by how they were run."""
    config = replace(experiment.config("mambavision_tiny", "random", 0), **CURVE)
    plans = {"1 GPU": (1, 0), "1 GPU again": (1, 0), "1 GPU, another seed": (1, 1)}
    plans |= {f"{n} GPUs": (n, 0) for n in counts[1:2]}
    outs = {name: folder / f"curve{number}" for number, name in enumerate(plans)}

    def train(name: str, first: int) -> None:
        gpus, seed = plans[name]
        _train(replace(config, seed=seed), outs[name], root, gpus, first)

    single = [name for name, (gpus, _) in plans.items() if gpus == 1]
    # Side by side: nothing is timed here.
    with ThreadPoolExecutor() as pool:
        list(pool.map(train, single, [number % max(counts) for number in range(len(single))]))
    for name in plans.keys() - set(single):
        train(name, 0)
    return {
        name: [line["train_loss"] for line in read_metrics(outs[name], "steps")] for name in plans
    }


def _loading(root: Any, folder: Path, counts: Sequence[int]) -> dict[str, Any]:
    photos = folder / "photos"
    _write_photos(photos)
    cifar = experiment.config("mambavision_tiny", "random", 0)
    imagenet = recipe.read(experiment.configs() / "imagenet.json")
    cores = len(os.sched_getaffinity(0))
    found: dict[str, Any] = {
        "cifar10": _loaded(replace(cifar, workers=cores), root),
        "folder": _loaded(replace(imagenet, workers=cores), photos),
    }
    gpus = max(counts)
    workers = max(1, cores // gpus - 1)
    _train(replace(imagenet, epochs=2, warmup=1, workers=workers), folder / "run", photos, gpus)
    return found | {"training": read_metrics(folder / "run")[-1]["images_a_second"]}


def _loaded(config: Config, root: Any) -> float:
    """Images a second out of the training's loader, over an epoch, none of it read ahead."""
    images = data.load(config.data, root)
    transform = recipe.Recipe(config, images).train_transform
    # Small batches, so that no worker waits long for the others' last.
    loader = data.train_loader(images, transform, 64, config.seed, workers=config.workers)
    for _ in loader:  # starts the workers
        pass
    began = time.perf_counter()
    for _ in loader:
        pass
    return 64 * len(loader) / (time.perf_counter() - began)


def _write_photos(folder: Path, classes: int = 1000, each: int = 13, different: int = 64) -> None:
    """An image folder of noise, smooth with a grain, as large in pixels and bytes as photos are."""
    from PIL import Image

    g = torch.Generator().manual_seed(0)
    originals = folder / "originals"
    originals.mkdir(parents=True)
    for number in range(different):
        coarse = torch.rand(1, 3, 24, 32, generator=g)
        smooth = torch.nn.functional.interpolate(coarse, PHOTO, mode="bicubic")[0]
        grain = 0.04 * torch.randn(smooth.shape, generator=g)
        pixels = ((smooth + grain).clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(originals / f"{number}.jpg", quality=90)
    for split, count in (("train", each), ("val", 1)):
        for label in range(classes):
            (folder / split / f"{label:04}").mkdir(parents=True)
            for number in range(count):
                source = originals / f"{(label * each + number) % different}.jpg"
                os.link(source, folder / split / f"{label:04}" / f"{number}.jpg")


def _train(config: Config, out: Path, root: Any, gpus: int, first: int = 0) -> None:
    out.mkdir(parents=True)
    file = out / "config.json"
    file.write_text(json.dumps(asdict(config)), "utf-8")
    arguments = [str(file), "--out", str(out), "--root", str(root)]
    _command("tokensphere.reorder.training", arguments, gpus, first)


def _command(module: str, arguments: Sequence[str], gpus: int, first: int = 0) -> None:
    how = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", f"{gpus}"]
    command = [sys.executable, *(how if gpus > 1 else []), "-m", module, *arguments]
    visible = ",".join(f"{first + n}" for n in range(gpus))
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": visible}
    subprocess.run(command, check=True, capture_output=True, text=True, env=environment)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the record; exit code 2 for bad input, 1 where a part failed."""
    parser = argparse.ArgumentParser(prog="scaling", description=__doc__.partition("\n")[0])
    parser.add_argument("--root", required=True, metavar="DATA", help="CIFAR-10")
    parser.add_argument("--record", required=True, type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    if not torch.cuda.is_available():
        print("scaling: no CUDA device: this measures GPUs", file=sys.stderr)
        return 2
    try:
        errors = run_all(arguments.root, arguments.record)
    except (ValueError, ImportError, OSError) as error:
        print(f"scaling: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(*errors, sep="\n", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
