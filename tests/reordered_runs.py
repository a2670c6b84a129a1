"""Runs of reordered training made up for tests of its figures and tables."""

SHIFT = {"baseline": 0.0, "random": 0.02, "layerwise": 0.01, "importance": -0.01, "fixed": 0.0}
"""By arm, of every accuracy."""
JITTER = {
    "random": (0.001, -0.001, 0.003),
    "layerwise": (0.0, 0.002, 0.001),
    "importance": (0.002, 0.0, 0.001),
}
"""Of an arm's accuracies by seed, beside that; other arms have that of `OTHER`."""
OTHER = (0.0, 0.001, -0.002)
DEPTHS = {
    "mambavision_tiny": (
        [
            "stage 3, input",
            "stage 3, block 1 (mamba)",
            "stage 4, input",
            "stage 4, block 1 (mamba)",
        ],
        [64, 64, 16, 16],
    ),
    "s6-small": (["embedding", "layer 1", "layer 2"], [64, 64, 64]),
}


def line(epoch, top1):
    named = {"train": top1 - 0.2, "test": top1 - 0.01, "average": top1}
    return {
        "epoch": epoch,
        "seconds_a_step": 0.01 * epoch,
        **{f"{name}_top1": value for name, value in named.items()},
        **{f"{name}_top5": value + 0.1 for name, value in named.items()},
    }


def run(model, arm, seed):
    final = 0.8 + 0.01 * seed + SHIFT[arm] + JITTER.get(arm, OTHER)[seed]
    names, lengths = DEPTHS[model]
    level = SHIFT[arm] + 0.001 * seed
    flat = [level + 0.1 * depth for depth in range(len(names))]
    ordered = arm != "importance"
    return {
        "model": model,
        "arm": arm,
        "seed": seed,
        "tested": 10_000,
        "epochs": [line(1, final - 0.3), line(2, final - 0.1), line(3, final)],
        "orders": {"own": final, "random": [final - 0.1, final - 0.3], "sensitivity": flat},
        "mechanism": {
            "depths": names,
            "tokens": lengths,
            "similarity": flat,
            "excess": flat if ordered else None,
            "effective_rank": [10 * value for value in flat],
            "pooled_rank": [20.0] * len(names),
            "clusters": {"30": [length / 2 for length in lengths]},
            "response": {"first": flat, "later": flat} if model == "s6-small" and ordered else None,
        },
    }


def made():
    """By model: every arm, three seeds out of order."""
    return {
        model: [run(model, arm, seed) for arm in SHIFT for seed in (2, 0, 1)] for model in DEPTHS
    }
