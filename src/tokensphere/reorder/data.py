"""Labelled images, and the batches that a training sees: a function of seed, epoch and step alone.

Nothing about a batch depends on what was drawn before it, on the number of loading processes, or on
how often the run was killed: a sample is named by its epoch, its place in that epoch and its index,
and its augmentation is seeded by the first two.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tokensphere.door import takes, whole

__all__ = [
    "SOURCES",
    "Images",
    "load",
    "mixed_seed",
    "needed",
    "seeded",
    "test_loader",
    "train_loader",
]


@dataclass(frozen=True)
class Images:
    """A data set with its two splits.

    train, test: sequences of (image, label): tensors (channels, size, size) where `ready`, PIL
        images for a transform otherwise.
    classes, channels, size: number of classes, of channels, side in pixels (None: images differ).
    ready: whether images are tensors that need no transform.
    """

    train: Any
    test: Any
    classes: int
    channels: int
    size: int | None
    ready: bool


def load(name: str, root: str | os.PathLike[str] | None = None) -> Images:
    """One of `SOURCES`.

    "digits": scikit-learn's 1797 grey 8x8 digits, from 0 to 1, 360 of them for tests in equal
        shares of each class, always the same; no root.
    "cifar10": `root` is the folder that torchvision's CIFAR10 downloads to, or an .npz file with
        train_x, test_x (N, 32, 32, 3) in uint8 and train_y, test_y (N,).
    "folder": `root` has train/ and val/, and in each a folder of images a class, as ImageNet-1K is
        usually laid out.

    Raises ValueError for an unknown name, a root that is missing or not as said; ImportError
    without the library that reads it.
    """
    if name not in SOURCES:
        raise ValueError(f"data: got {name!r}, takes one of {', '.join(SOURCES)}")
    if (root is None) != (name == "digits"):
        takes = "none with digits" if name == "digits" else f"a path with {name}"
        raise ValueError(f"root: got {root}, takes {takes}")
    return SOURCES[name](root)


@contextmanager
def needed(by: str, source: str) -> Iterator[None]:
    """Imports of what `by` needs, from `source`, such as a file of requirements, if it is missing.

    Raises ImportError that says so for whatever keeps them from being imported.
    """
    try:
        yield
    # torchvision beside another build of torch fails with a RuntimeError.
    except (ImportError, RuntimeError) as error:
        raise ImportError(f"{by}: needs what {source} installs ({error})") from None


def _digits(_: None) -> Images:
    with needed("digits", "requirements.txt"):
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

    found = load_digits()
    pixels = torch.from_numpy(found.images / 16).float()[:, None]
    pairs = list(zip(pixels, found.target.tolist(), strict=True))
    train, test = train_test_split(pairs, test_size=360, random_state=0, stratify=found.target)
    return Images(train, test, classes=10, channels=1, size=8, ready=True)


class _Arrays(Dataset):
    """Images (N, H, W, 3) in uint8 and labels as pairs of a PIL image and a number."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        return Image.fromarray(self.images[index]), int(self.labels[index])


def _cifar10(root: str | os.PathLike[str]) -> Images:
    if Path(root).suffix == ".npz":
        splits = _arrays(Path(root))
    else:
        with needed("cifar10", "requirements-gpu.txt"):
            from torchvision.datasets import CIFAR10

        try:
            splits = [CIFAR10(str(root), train=train) for train in (True, False)]
        except RuntimeError as error:
            raise ValueError(f"root: {root}: {error}") from None
    return Images(*splits, classes=10, channels=3, size=32, ready=False)


def _arrays(path: Path) -> list[_Arrays]:
    splits = []
    with np.load(path, allow_pickle=False) as stored:
        for split in ("train", "test"):
            try:
                images, labels = stored[f"{split}_x"], stored[f"{split}_y"]
            except KeyError as error:
                raise ValueError(f"root: {path}: {error.args[0]}") from None
            if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
                raise ValueError(
                    f"root: {path}: {split}_x is {images.dtype} {images.shape}, "
                    f"takes uint8 (N, 32, 32, 3)"
                )
            if labels.shape != images.shape[:1] or not 0 <= labels.min() <= labels.max() < 10:
                raise ValueError(f"root: {path}: {split}_y takes {len(images)} labels from 0 to 9")
            splits.append(_Arrays(images, labels))
    return splits


def _folder(root: str | os.PathLike[str]) -> Images:
    with needed("folder", "requirements-gpu.txt"):
        from torchvision.datasets import ImageFolder

    try:
        train, test = (ImageFolder(str(Path(root, split))) for split in ("train", "val"))
    except FileNotFoundError as error:
        raise ValueError(f"root: {error}") from None
    if train.classes != test.classes:
        raise ValueError(f"root: {root}: train/ and val/ hold different classes")
    return Images(train, test, classes=len(train.classes), channels=3, size=None, ready=False)


SOURCES: dict[str, Callable[[Any], Images]] = {
    "digits": _digits,
    "cifar10": _cifar10,
    "folder": _folder,
}


def mixed_seed(*parts: int | str) -> int:
    """A seed of 32 bits from several numbers, such that nearby numbers give unrelated seeds."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest())


@takes(seed=whole(0, 2**32 - 1))
@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The CPU's global generators of random, numpy and torch seeded meanwhile, then as before.

    For libraries that draw from them, as timm's and torchvision's augmentation does.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    # Not torch.manual_seed: it would also reset the generators of every GPU.
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


class _Keyed(Dataset):
    """Samples by (epoch, place, index), their transform seeded by (seed, epoch, place)."""

    def __init__(self, pairs: Any, transform: Callable[[Any], Tensor] | None, seed: int) -> None:
        self.pairs, self.transform, self.seed = pairs, transform, seed

    def __getitem__(self, key: tuple[int, int, int]) -> tuple[Tensor, int]:
        epoch, place, index = key
        if self.transform is None:
            return self.pairs[index]
        with seeded(mixed_seed("image", self.seed, epoch, place)):
            image, label = self.pairs[index]
            return self.transform(image.convert("RGB")), label


class EpochBatches(Sampler):
    """Batches of one epoch from a given step on, each as this rank's share of its keys.

    An epoch is one permutation of the data, a function of seed and epoch. A global batch holds the
    same samples on any number of ranks, and a rank's share is symmetric: the i-th sample of the
    batch and the i-th from its end stand in one share, as far from its ends, so that mixup, which
    mixes a batch with itself reversed, mixes the same pairs on any number of ranks. The last
    samples, fewer than a batch, are left out.

    epoch, first: set before iterating; the step of that epoch to begin with.
    """

    def __init__(self, count: int, batch: int, seed: int, rank: int = 0, world: int = 1) -> None:
        if world > 1 and batch % (2 * world):
            raise ValueError(f"batch: got {batch}, takes a multiple of twice the {world} processes")
        if not 0 < batch <= count:
            raise ValueError(f"batch: got {batch}, takes 1 to the {count} training images")
        self.count, self.batch, self.seed, self.rank, self.world = count, batch, seed, rank, world
        self.epoch = self.first = 0

    def __len__(self) -> int:
        return self.count // self.batch - self.first

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        g = torch.Generator().manual_seed(mixed_seed("order", self.seed, self.epoch))
        order = torch.randperm(self.count, generator=g).tolist()
        for start in range(self.first * self.batch, self.count - self.batch + 1, self.batch):
            places = range(start, start + self.batch)
            if self.world > 1:
                half = self.batch // (2 * self.world)
                first = places[self.rank * half :][:half]
                places = [*first, *(places[start - place - 1] for place in reversed(first))]
            yield [(self.epoch, place, order[place]) for place in places]


class _Share(Sampler):
    """Every world-th test image from the rank-th on: each image once over all ranks."""

    def __init__(self, count: int, batch: int, rank: int, world: int) -> None:
        self.indices, self.batch = range(rank, count, world), batch

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch)

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        for start in range(0, len(self.indices), self.batch):
            yield [(0, index, index) for index in self.indices[start : start + self.batch]]


@takes(batch=whole(1), seed=whole(0), rank=whole(0), world=whole(1), workers=whole(0))
def train_loader(
    images: Images,
    transform: Callable[[Any], Tensor] | None,
    batch: int,
    seed: int,
    *,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
) -> DataLoader:
    """Training batches; set `epoch` and `first` of its `batch_sampler` before iterating.

    batch: images of a step over all `world` processes. workers: loading processes of this one.
    Raises ValueError for a batch that the processes do not divide, or that is too large.
    """
    batches = EpochBatches(len(images.train), batch, seed, rank, world)
    return _loader(_Keyed(images.train, transform, seed), batches, workers)


@takes(batch=whole(1), rank=whole(0), world=whole(1), workers=whole(0))
def test_loader(
    images: Images,
    transform: Callable[[Any], Tensor] | None,
    batch: int,
    *,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
) -> DataLoader:
    """This rank's share of the test images, `batch` at a time, in their order."""
    share = _Share(len(images.test), batch, rank, world)
    return _loader(_Keyed(images.test, transform, 0), share, workers)


test_loader.__test__ = False  # no test, though pytest would take it for one by its name


def _loader(samples: _Keyed, batches: Sampler, workers: int) -> DataLoader:
    return DataLoader(
        samples,
        batch_sampler=batches,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
