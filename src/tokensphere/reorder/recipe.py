"""One training run in numbers: its configuration, and what of a recipe comes from timm.

Optimiser, schedule and batch are those of the paper's Table 2. What the table leaves open is in
MambaVision's published recipe (NVlabs/MambaVision, mambavision/configs/mambavision_tiny_1k.yaml and
the defaults of mambavision/train.py): timm's RandAugment, random erasing, mixup and cutmix, label
smoothing, drop path, averaged weights, gradient clipping, warm-up and least rate. Two things of it
are not here: that file's LAMB, in whose place Table 2 has AdamW, and MESA, a distillation from the
averaged weights, which timm does not have.

The configurations in `configs/` for CIFAR-10 keep all of it but three: 8 epochs with 1 of warm-up,
random crops for 32 pixels, and an average over half an epoch of weights (0.98; 0.9998 is an average
over two of 300 epochs on ImageNet-1K). Drop path 0.2 is mamba_vision_T's default. Those for the
digits, which a CPU trains in half a minute, have a smaller batch and another rate.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tokensphere import reorder
from tokensphere.reorder import data, models

__all__ = ["POLICIES", "Config", "Recipe", "optimiser", "read"]

POLICIES = ("RandomOrder", "LayerwiseShuffle", "ByImportance", "FixedOrder")
"""Names of policies in `tokensphere.reorder`."""


@dataclass(frozen=True)
class Config:
    """One training run. Rates are a step of AdamW; epochs are passes over the training images.

    data, size: a source of `data.SOURCES`, and the side in pixels that the model sees.
    model: one of `models.MODELS`.
    policy: {"name": one of `POLICIES`, and its arguments}; None trains in the images' own order.
    epochs, warmup: all of them, and those of the linear warm-up before the cosine decay.
    batch: images in a step, over all processes.
    rate, warmup_rate, least_rate: peak learning rate, where the warm-up begins, where decay ends.
    decay, clip: AdamW's weight decay; largest norm of the gradients, 0 for any.
    smoothing, mixup, cutmix: label smoothing; parameters of the beta laws, 0 for none.
    augment, erase, crop: timm's name of an augmentation policy or ""; rate of random erasing;
        share of a test image's side that is seen.
    drop_path, ema: largest rate of dropped residual branches; decay of the averaged weights, 0 for
        no average.
    workers: loading processes of each training process.
    log_steps, checkpoint_steps: steps between lines of metrics, and between checkpoints.
    seed: of weights, order, augmentation and permutations.

    Raises ValueError for a field out of its range, and for augmentation of data without colour.
    """

    data: str
    size: int
    model: str
    policy: dict[str, Any] | None = None
    epochs: int = 300
    warmup: int = 20
    batch: int = 512
    rate: float = 8e-4
    warmup_rate: float = 1e-6
    least_rate: float = 5e-6
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    decay: float = 0.05
    clip: float = 5.0
    smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    augment: str = ""
    erase: float = 0.0
    crop: float = 1.0
    drop_path: float = 0.0
    ema: float = 0.0
    workers: int = 0
    log_steps: int = 50
    checkpoint_steps: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("data", "model", "augment"):
            _require(name, getattr(self, name), isinstance(getattr(self, name), str), "text")
        for name in ("size", "epochs", "batch", "log_steps", "checkpoint_steps"):
            value = getattr(self, name)
            _require(name, value, _whole(value) and value > 0, "a whole number > 0")
        for name in ("warmup", "workers", "seed"):
            value = getattr(self, name)
            _require(name, value, _whole(value) and value >= 0, "a whole number >= 0")
        for name in ("rate", "warmup_rate", "least_rate", "decay", "clip", "mixup", "cutmix"):
            value = getattr(self, name)
            _require(name, value, _number(value) and 0 <= value < float("inf"), "a number >= 0")
        for name in ("smoothing", "erase", "drop_path", "ema"):
            value = getattr(self, name)
            _require(name, value, _number(value) and 0 <= value < 1, "a number from 0 to below 1")
        _require("crop", self.crop, _number(self.crop) and 0 < self.crop <= 1, "a share up to 1")
        betas = self.betas
        good = isinstance(betas, list) and len(betas) == 2 and all(map(_number, betas))
        _require("betas", betas, good and all(0 <= b < 1 for b in betas), "two numbers below 1")
        _require("rate", self.rate, self.rate > 0, "a number > 0")
        _require("warmup", self.warmup, self.warmup < self.epochs, f"less than {self.epochs}")
        _require("data", self.data, self.data in data.SOURCES, f"one of {', '.join(data.SOURCES)}")
        models_ = ", ".join(models.MODELS)
        _require("model", self.model, self.model in models.MODELS, f"one of {models_}")
        order(self)  # refuses what is no policy
        if self.data == "digits":
            for name in ("smoothing", "mixup", "cutmix", "augment", "erase", "ema"):
                value = getattr(self, name)
                _require(name, value, not value, "nothing with digits, which need no timm")
        elif (self.mixup or self.cutmix) and self.batch % 2:
            raise ValueError(f"batch: got {self.batch}, takes an even number: mixup pairs images")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require(name: str, value: Any, good: bool, takes: str) -> None:
    if not good:
        raise ValueError(f"{name}: got {value!r}, takes {takes}")


def read(path: str | os.PathLike[str], seed: int | None = None) -> Config:
    """The configuration of a JSON file, with another seed if given.

    Raises OSError; ValueError for what is not JSON, an unknown or missing key (named), or a value
    that `Config` refuses.
    """
    try:
        content = json.loads(Path(path).read_text("utf-8"))
    except ValueError as error:  # of JSON, or of UTF-8
        raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}, takes an object")
    if seed is not None:
        content["seed"] = seed
    if unknown := sorted(content.keys() - {f.name for f in fields(Config)}):
        raise ValueError(f"{path}: unknown {', '.join(unknown)}")
    if missing := [name for name in ("data", "size", "model") if name not in content]:
        raise ValueError(f"{path}: missing {', '.join(missing)}")
    try:
        return Config(**content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def order(config: Config) -> Any:
    """The policy that a configuration names, None without one."""
    if config.policy is None:
        return None
    name = config.policy.get("name") if isinstance(config.policy, dict) else config.policy
    takes = f"null or an object whose name is one of {', '.join(POLICIES)}"
    _require("policy", name, name in POLICIES, takes)
    arguments = {key: value for key, value in config.policy.items() if key != "name"}
    try:
        return getattr(reorder, name)(**arguments)
    except TypeError as error:
        raise ValueError(f"policy: {error}") from None
    except ValueError as error:
        raise ValueError(f"policy: {name}: {error}") from None


def optimiser(model: nn.Module, config: Config) -> torch.optim.AdamW:
    """AdamW of Table 2. Vectors are not decayed, nor what its layer marks as such.

    The marks are Mamba's, on decay rates and skips. timm's own grouping does not read them.
    """
    plain, decayed = [], []
    for value in model.parameters():
        undecayed = value.ndim < 2 or getattr(value, "_no_weight_decay", False)
        (plain if undecayed else decayed).append(value)
    groups = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        groups,
        lr=config.rate,
        betas=tuple(config.betas),
        weight_decay=config.decay,
        fused=decayed[0].is_cuda,
    )


def _keep_a_bit(transform: Any) -> None:
    """Let timm's posterising go down to one bit of a pixel.

    At its greatest strength timm 1.0.31 asks Pillow for none, which gave a black image; Pillow 13
    refuses it. RandAugment of the published strength meets this in one image of several hundred.
    """
    for part in transform.transforms:
        for op in getattr(part, "ops", []):
            if op.name == "PosterizeIncreasing":
                op.level_fn = functools.partial(_at_least_one, op.level_fn)


def _at_least_one(level_fn: Callable[..., tuple[int]], *given: Any) -> tuple[int]:
    return (max(1, *level_fn(*given)),)


class Recipe:
    """What of a run is timm's, or torch's in its place for data without colour.

    train_transform, test_transform: from a PIL image to a tensor, None for tensors as they are.
    loss: of logits (B, classes) and targets, as `mix` gives them.
    """

    def __init__(self, config: Config, images: data.Images) -> None:
        self.config, self.classes = config, images.classes
        self.train_transform: Callable[[Any], Tensor] | None = None
        self.test_transform: Callable[[Any], Tensor] | None = None
        self.loss: nn.Module = nn.CrossEntropyLoss()
        self._mixup: Any = None
        self._timm = not images.ready
        if self._timm:
            self._from_timm()

    def _from_timm(self) -> None:
        with data.needed("images with colour", "requirements-gpu.txt"):
            from timm.data import Mixup, create_transform
            from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy

        config = self.config
        self.train_transform = create_transform(
            config.size,
            is_training=True,
            auto_augment=config.augment or None,
            interpolation="random",
            re_prob=config.erase,
            re_mode="pixel",
        )
        _keep_a_bit(self.train_transform)
        if config.size <= 32:
            # As DeiT's datasets.py does to timm's transform: a tenth of so few pixels is nothing.
            from torchvision.transforms import RandomCrop

            self.train_transform.transforms[0] = RandomCrop(config.size, padding=4)
        self.test_transform = create_transform(
            config.size, interpolation="bicubic", crop_pct=config.crop
        )
        if config.mixup or config.cutmix:
            self._mixup = Mixup(
                mixup_alpha=config.mixup,
                cutmix_alpha=config.cutmix,
                label_smoothing=config.smoothing,
                num_classes=self.classes,
            )
            self.loss = SoftTargetCrossEntropy()
        elif config.smoothing:
            self.loss = LabelSmoothingCrossEntropy(config.smoothing)

    def mix(self, images: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Images mixed with others of the batch, and their targets; `seed` decides all of it."""
        if self._mixup is None:
            return images, labels
        with data.seeded(seed):
            return self._mixup(images, labels)

    def schedule(self, adam: torch.optim.Optimizer, steps: int) -> Any:
        """The scheduler of the learning rate over `steps` an epoch, at its first step's rate."""
        config = self.config
        whole, warmup = config.epochs * steps, config.warmup * steps
        if self._timm:
            from timm.scheduler import CosineLRScheduler

            return CosineLRScheduler(
                adam,
                t_initial=whole - warmup,
                lr_min=config.least_rate,
                warmup_t=warmup,
                warmup_lr_init=config.warmup_rate,
                # The decay begins where the warm-up ends, so that short runs too reach their peak.
                warmup_prefix=True,
                t_in_epochs=False,
            )
        from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

        # torch takes no first rate that is 0.
        first = min(1.0, max(config.warmup_rate / config.rate, 1e-9))
        parts = [
            LinearLR(adam, first, total_iters=warmup),
            CosineAnnealingLR(adam, whole - warmup, config.least_rate),
        ]
        return SequentialLR(adam, parts, milestones=[warmup]) if warmup else parts[1]

    def advance(self, schedule: Any, done: int) -> None:
        """Set the rate of the step that follows `done` steps."""
        if self._timm:
            schedule.step_update(done)
        else:
            schedule.step()

    def average(self, model: nn.Module) -> Any:
        """timm's running average of the weights, as `ModelEmaV3`; None where none is asked for."""
        if not self.config.ema:
            return None
        from timm.utils import ModelEmaV3

        return ModelEmaV3(model, decay=self.config.ema)
