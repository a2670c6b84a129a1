"""Good calls of the functions of `reorder`."""

import torch

from tokensphere.reorder import (
    collapse,
    comparison,
    data,
    mambavision,
    mechanism,
    models,
    order_effects,
    policies,
    significance,
    speed,
    theory,
    wrapping,
)

G = torch.Generator().manual_seed(0)
X0 = torch.nn.functional.normalize(torch.rand(2, 3, 3, generator=G, dtype=torch.float64), dim=-1)
ORDERS = torch.arange(3).expand(4, 2, 3).clone()
PATHS = {"flow": None, "x0": X0, "step": 0.1}
TOKENS = {"tokens": torch.randn(2, 5, 3, generator=G)}
IMAGES = {"model": None, "images": torch.rand(2, 1, 8, 8, generator=G)}
PATCHES = torch.randn(2, 4, 3, generator=G)
LEVEL = {"level": 0.05}
LOADER = {"images": None, "transform": None, "batch": 2, "rank": 0, "world": 1, "workers": 0}

EXAMPLES = {
    collapse.collapse: PATHS | {"layers": 2, "generator": G},
    collapse.angles_apart: {"flow": None, "phi": [0.0, 1.0], "step": 0.1, "layers": 2},
    collapse.rates_by_period: {"length": 3, "periods": [1.0, 2.0], "generator": G},
    comparison.detectable: {"sd": 1.0, "n": 4, "power": 0.8} | LEVEL,
    comparison.detectable_once: {"sd": 1.0, "power": 0.8} | LEVEL,
    comparison.differences: {"found": {}, "control": "baseline", "confidence": 0.95},
    comparison.holm: {"p": [0.1, 0.2]},
    comparison.paired: {"treatment": [1.0, 2.0], "control": [1.0, 3.0], "confidence": 0.95},
    comparison.power: {"difference": 1.0, "sd": 1.0, "n": 4} | LEVEL,
    comparison.power_once: {"difference": 1.0, "sd": 1.0} | LEVEL,
    comparison.sampling_error: {"share": 0.5, "images": 100},
    comparison.seeds_needed: {"difference": 1.0, "sd": 1.0, "power": 0.8} | LEVEL,
    comparison.t_test_power: {"shift": 1.0, "freedom": 3} | LEVEL,
    data.seeded: {"seed": 1},
    data.test_loader: LOADER,
    data.train_loader: LOADER | {"seed": 1},
    mambavision.count_weights: {"classes": 10, "stem": 32},
    mechanism.centred_similarity: TOKENS,
    mechanism.clusters: TOKENS | {"angle": 10.0},
    mechanism.effective_rank: TOKENS,
    mechanism.excess: TOKENS | {"first": 0},
    mechanism.layer_tokens: IMAGES,
    mechanism.measure: IMAGES,
    mechanism.measure_orders: IMAGES | {"batches": [], "passes": 2, "seed": 0},
    mechanism.pooled_rank: TOKENS,
    mechanism.similarity: TOKENS,
    models.build: {"name": "s6-tiny", "classes": 10, "size": 8, "channels": 1, "drop_path": 0.0},
    models.stride: {"size": 32},
    order_effects.adjacent_shares: {"side": 3},
    order_effects.consecutive_correlation: {"patches": PATCHES, "orders": torch.arange(4)[None]},
    order_effects.orders_after_the_first: {"sequences": 2, "length": 4, "generator": G},
    order_effects.output_change: {"mixer": torch.neg, "x": PATCHES}
    | {"orders": torch.arange(4).expand(2, 4).clone()},
    order_effects.raster_against_random: {"patches": PATCHES, "count": 2, "generator": G},
    policies.pass_keys: {"seed": 1, "step": torch.tensor(0), "layers": 2},
    policies.permutation: {"keys": torch.arange(4), "length": 3},
    policies.soft_sort: {"scores": torch.rand(2, 4, generator=G), "temperature": 0.5},
    significance.always_above: {"jitter": 1.0, "epochs": 3},
    significance.critical: LEVEL,
    significance.image_error: {"percent": (80.0, 81.0), "images": 100},
    significance.largest_disagreement: {"percent": (80.0, 81.0), "images": 100} | LEVEL,
    significance.largest_spread: {"difference": 1.0} | LEVEL,
    significance.runs_needed: {"difference": 1.0, "sd": 1.0, "power": 0.8} | LEVEL,
    significance.spread_chance: {"sd": 1.0, "expected": 1.0, "pairs": 3},
    significance.unpaired: {"treatment": [1.0, 2.0], "control": [1.0, 3.0], "confidence": 0.95},
    significance.unpaired_power: {"difference": 1.0, "sd": 1.0, "runs": 3} | LEVEL,
    speed.measure: {"configs": [], "here": None, "rounds": 2, "steps": 2},
    theory.attention_rate: {"length": 3},
    theory.cone_normal: {"flow": None, "x0": X0},
    theory.contraction: PATHS,
    theory.decay_rate: PATHS | {"orders": ORDERS, "skip": 1},
    theory.diameter: {"x": X0, "normal": X0[:, 0]},
    theory.ends_by_depth: {"depths": [2, 4], "passes": 2, "length": 3, "generator": G},
    theory.fresh_orders: {"layers": 2, "passes": 2, "length": 3, "generator": G},
    theory.greedy_orders: PATHS | {"layers": 2},
    theory.one_order: {"orders": ORDERS},
    theory.reordered_layers: PATHS | {"orders": ORDERS},
    theory.shared_step_factor: {"length": 3, "q": 0.5},
    theory.slow_switching_rate: {"length": 3, "tau": 1.0},
    theory.switching_rate: {"length": 3, "tau": 1.0, "stages": 2, "runs": 2, "generator": G},
    theory.two_token_spread: {"gaps": torch.tensor([1.0, 0.5])},
    wrapping.wrap: {"model": None, "policy": None, "seed": 1},
}

TAKEN = {
    # In training, where a look at them would wait for the GPU: NaN passes through, as in torch.
    ("reorder.policies.soft_sort", "scores"): ("NaN", "infinity"),
    ("reorder.models.build", "name"): ("another text",),
    ("reorder.policies.permutation", "keys"): ("no axis",),
}

LEFT = {
    "takes any number of parts, each a number or text": ["reorder.data.mixed_seed"],
    "takes the command line": [
        *(f"reorder.{name}.main" for name in ("experiment", "scaling", "speed", "training")),
    ],
    "takes names and files": [
        "reorder.experiment.config",
        "reorder.experiment.run_all",
        "reorder.recipe.read",
    ],
    "takes what a run has left": [
        "reorder.comparison.diversity",
        "reorder.comparison.outcomes",
    ],
    "takes a table of the model's stages": ["reorder.mambavision.mixers"],
    "checks its own arguments, and stands behind doors": [
        *(f"reorder.arguments.check_{name}" for name in ("count", "positive", "finite", "share")),
    ],
}
