"""The shape of MambaVision, and how many weights it has, without building it.

From mambavision 1.2.0 on PyPI, models/mamba_vision.py; its package needs a GPU's compiler.
"""

from collections.abc import Sequence

from tokensphere.door import takes, whole

from .arguments import check_count

__all__ = ["STAGES", "count_weights", "mixers"]

STAGES = (("convolution", 80, 1), ("convolution", 160, 3), ("tokens", 320, 8), ("tokens", 640, 4))
"""Kind, channels and blocks of MambaVision-T's stages. In the stages of tokens the first half of
the blocks are S6 mixers, the second half attention."""

STEM = 32
"""Channels between the two convolutions of MambaVision-T's patch embedding."""

STATES = 8
"""Of an S6 channel."""


def mixers(stages: Sequence[tuple[str, int, int]] = STAGES) -> int:
    """How many blocks are S6 mixers."""
    return sum(depth // 2 for kind, _, depth in stages if kind == "tokens")


@takes(classes=whole(1), stem=whole(1))
def count_weights(
    classes: int, stages: Sequence[tuple[str, int, int]] = STAGES, stem: int = STEM
) -> int:
    """Weights of the model, biases and scales included, buffers not.

    Args:
        classes: of the classifier, >= 1.
        stages: as STAGES, each with twice the channels of the one before.
        stem: channels between the two convolutions of the patch embedding.

    Raises:
        ValueError: classes that are no whole number >= 1.
    """
    check_count("classes", classes, 1)
    first, last = stages[0][1], stages[-1][1]
    total = _convolution(3, stem) + 2 * stem + _convolution(stem, first) + 2 * first
    for kind, width, depth in stages:
        total += depth * _convolutions(width) if kind == "convolution" else _blocks(width, depth)
    between = sum(_convolution(width, 2 * width) for _, width, _ in stages[:-1])
    return total + between + 2 * last + (last + 1) * classes


def _convolution(before: int, after: int) -> int:
    return 9 * before * after


def _convolutions(width: int) -> int:
    """A block of two convolutions with biases, each normalised."""
    return 2 * (_convolution(width, width) + width) + 2 * 2 * width


def _blocks(width: int, depth: int) -> int:
    """A stage's blocks: half of them S6 mixers, half attention, each with its two-layer net."""
    half, rank = width // 2, -(-width // 16)
    # in_proj and out_proj; x_proj; dt_proj; A_log and D; two depthwise convolutions of width 3.
    mixer = 2 * width**2 + half * (rank + 2 * STATES) + (rank + 1) * half
    mixer += (STATES + 1) * half + 2 * 3 * half
    attention = 4 * width**2 + 4 * width
    # The net and two normalisations; MambaVision-T has no layer scales.
    rest = 8 * width**2 + 5 * width + 2 * 2 * width
    return depth // 2 * (mixer + attention) + depth * rest
