"""What a training measures of itself: sums over its steps, and the file that they go to."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["Log", "Meter", "read_metrics"]


@dataclass
class Meter:
    """Sums over steps: of loss, top-1 and top-5 hits, images and steps (5,), and their seconds."""

    sums: Tensor
    seconds: float = 0.0

    @classmethod
    def empty(cls, device: torch.device) -> Meter:
        # On the device, because reading a loss at each step would make it wait.
        return cls(torch.zeros(5, dtype=torch.float64, device=device))

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """One step, or one batch of a test, by its mean loss."""
        count = len(labels)
        hits = _hits(logits, labels)
        row = torch.stack([loss.detach().double() * count, *hits.double()])
        self.sums[:3] += row
        self.sums[3] += count
        self.sums[4] += 1

    def means(self) -> dict[str, float]:
        loss, top1, top5, images = self.sums[:4].tolist()
        return {"loss": loss / images, "top1": top1 / images, "top5": top5 / images}


def _hits(logits: Tensor, labels: Tensor) -> Tensor:
    """How many labels are among the first, and among the first five, (2,).

    Labels that are distributions over classes, as mixup gives them, count by their largest.
    """
    labels = labels.argmax(1) if labels.ndim > 1 else labels
    ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
    return torch.stack([ranked[:, 0].sum(), ranked.sum()])


@dataclass
class Log:
    """metrics.jsonl: whole lines, as many of them as the checkpoint knows."""

    file: Path
    length: int = 0

    def cut(self, length: int) -> None:
        """Forget what a killed run wrote after its last checkpoint."""
        if (self.file.stat().st_size if self.file.is_file() else 0) < length:
            raise ValueError(f"out: {self.file} is shorter than its checkpoint says")
        if self.file.is_file():
            os.truncate(self.file, length)
        self.length = length

    def write(self, line: dict[str, Any]) -> None:
        with self.file.open("ab") as stream:
            stream.write(json.dumps(line, allow_nan=False).encode() + b"\n")
            stream.flush()
            # A checkpoint must never know of lines that a crash could still take.
            os.fsync(stream.fileno())
            self.length = stream.tell()


def read_metrics(out: str | os.PathLike[str], kind: str = "epoch") -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl of one kind, "epoch" or "steps"; a half line is left out.

    Raises FileNotFoundError where there is none.
    """
    text = Path(out, "metrics.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines(True) if line.endswith("\n")]
    return [line for line in lines if line["kind"] == kind]
