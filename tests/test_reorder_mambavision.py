"""Counts of weights against a model built with the same shapes."""

import pytest
from torch import nn

from tokensphere.reorder.mambavision import STAGES, count_weights, mixers


def weights(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def block_of_tokens(width, mixer):
    """A mixer or attention with its net and normalisations."""
    net = [nn.Linear(width, 4 * width), nn.Linear(4 * width, width)]
    norms = [nn.LayerNorm(width), nn.LayerNorm(width)]
    if not mixer:
        inner = weights(nn.Linear(width, 3 * width), nn.Linear(width, width))
    else:
        half, rank = width // 2, -(-width // 16)
        inner = weights(
            nn.Linear(width, width, bias=False),
            nn.Linear(width, width, bias=False),
            nn.Linear(half, rank + 16, bias=False),
            nn.Linear(rank, half),
            nn.Conv1d(half, half, 3, groups=half, bias=False),
            nn.Conv1d(half, half, 3, groups=half, bias=False),
        )
        inner += half * 8 + half  # A_log and D
    return inner + weights(*net, *norms)


def test_the_count_is_that_of_the_layers():
    stages = (("convolution", 16, 2), ("tokens", 32, 4))
    total = weights(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 16, 3, bias=False),
        nn.BatchNorm2d(16),
        nn.Conv2d(16, 32, 3, bias=False),  # to the next stage
        nn.BatchNorm2d(32),  # of the last stage
        nn.Linear(32, 10),
    )
    for _ in range(4):
        total += weights(nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16))
    total += 2 * block_of_tokens(32, True) + 2 * block_of_tokens(32, False)
    assert count_weights(10, stages, stem=8) == total
    assert mixers(stages) == 2


def test_mambavision_t():
    assert count_weights(1000) == 31_794_248  # as its validation script prints it
    assert count_weights(1000) - count_weights(10) == 990 * 641
    assert mixers() == 6 and sum(depth for *_, depth in STAGES) == 16
    with pytest.raises(ValueError, match="classes: got 0"):
        count_weights(0)
