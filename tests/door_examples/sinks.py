"""Good calls of the functions of `sinks`."""

import torch

from tokensphere.sinks import nulls, scores, theory, verdicts
from tokensphere.sinks.ablation import ablate, document, sweep
from tokensphere.sinks.layer import Layer
from tokensphere.sinks.measure import measure
from tokensphere.sinks.report import check_options, measure_model
from tokensphere.sinks.report.tool import write_report

G = torch.Generator().manual_seed(0)
IDS = torch.randint(1, 9, (2, 5), generator=G)
MASK = torch.ones(2, 5, dtype=torch.int64)
IMPORTANCE = torch.rand(2, 3, 5, generator=G)
STATES = [torch.randn(2, 5, 3, generator=G) for _ in range(2)]
FIRST = torch.rand(6, generator=G)
RANKS = torch.rand(4, 5, generator=G)
LAYER = Layer(
    name="layer",
    u=torch.randn(2, 4, 5, generator=G),
    delta=torch.rand(2, 4, 5, generator=G),
    A=-torch.rand(4, 3, generator=G),
    B=torch.randn(2, 1, 3, 5, generator=G),
    C=torch.randn(2, 1, 3, 5, generator=G),
    gate=torch.ones(2, 4, 5),
    skip=torch.ones(4),
    lengths=torch.tensor([5, 5]),
)
TEXTS = {"input_ids": IDS, "mask": MASK}
OPTIONS = {"channels": 2, "seed": 0, "threshold": 0.3, "batch_size": 2}

EXAMPLES = {
    ablate: {"model": None, "inputs": IDS, "position": 0, "labels": IDS},
    document.ablation_document: {"found": None, "scores": RANKS},
    sweep.least_tokens: {"later": 3},
    sweep.sweep: {"model": None, "batches": [IDS], "later": 3, "draws": 2, "seed": 0},
    measure: {"model": None, "batches": [IDS], "threshold": 0.3, "channels": 2, "seed": 0}
    | {"maps": False},
    nulls.lag_importance: {"rate": FIRST.double(), "gain": FIRST.double(), "length": 5},
    nulls.move_first: TEXTS | {"position": 1},
    nulls.replace_first: TEXTS | {"new": 3},
    nulls.rescale: {"layer": LAYER, "factor": 2.0},
    nulls.shuffle_tokens: TEXTS | {"generator": G, "keep_first": 1},
    nulls.uniform_importance: {"length": 5},
    check_options: OPTIONS,
    measure_model: OPTIONS
    | {"model": None, "prompts": [IDS[0], IDS[1]], "bos": 1, "replace_with": 2}
    | {"ablate": False, "progress": False},
    write_report: OPTIONS
    | {"model": "typeseg", "prompts": "prompts.txt", "out": "report", "bos": False}
    | {"max_length": 64, "ablate": False, "trust_remote_code": False},
    scores.exceeds: {"importance": IMPORTANCE, "threshold": 0.3},
    scores.interval: {"values": RANKS, "confidence": 0.95},
    scores.sample_channels: {"count": 4, "sample": 2, "seed": 0, "layer": 1},
    scores.sample_sink_rates: {"importance": IMPORTANCE, "threshold": 0.3},
    scores.sink_rate: {"importance": IMPORTANCE, "threshold": 0.3}
    | {"average_samples": "after_threshold"},
    scores.sink_score: {"rates": [FIRST, FIRST]},
    theory.alignment: {"states": STATES, "mask": MASK, "axis": False},
    theory.correlation: {"predicted": RANKS, "measured": RANKS, "confidence": 0.95},
    theory.prepend: TEXTS | {"token": 1},
    theory.response: {"states": STATES, "changed": STATES, "mask": MASK, "position": 0},
    verdicts.outcome: {"excess": verdicts.Estimate(0.1, 0.0, 0.2), "margin": 0.1, "prompts": 6},
    verdicts.verdict: {"scores": FIRST, "null": 0.2, "shuffled": FIRST, "replaced": FIRST}
    | {"confidence": 0.95},
}

OPTIONAL = ("None",)
MASKS = ("None", "bools", "another dtype")
"""Whatever is not zero stands for a token."""
NUMBERS = ("a number", "no axis", "another dtype", "a nested list")
GAPS = ("NaN",)
"""Past a sequence's end, or where a prompt lacks the token, an importance is NaN."""

TAKEN = {
    ("sinks.ablation.ablate", "labels"): (*OPTIONAL, "no axis"),
    ("sinks.ablation.document.ablation_document", "scores"): OPTIONAL,
    ("sinks.measure.measure", "channels"): OPTIONAL,
    ("sinks.nulls.lag_importance", "rate"): NUMBERS,
    ("sinks.nulls.lag_importance", "gain"): NUMBERS,
    **{(f"sinks.nulls.{name}", "mask"): MASKS for name in ("move_first", "replace_first")},
    ("sinks.nulls.shuffle_tokens", "mask"): MASKS,
    ("sinks.theory.prepend", "mask"): MASKS,
    ("sinks.theory.alignment", "mask"): MASKS,
    ("sinks.theory.response", "mask"): MASKS,
    ("sinks.report.check_options", "channels"): OPTIONAL,
    ("sinks.report.measure_model", "channels"): OPTIONAL,
    ("sinks.report.measure_model", "bos"): OPTIONAL,
    ("sinks.report.tool.write_report", "bos"): OPTIONAL,
    ("sinks.report.tool.write_report", "channels"): OPTIONAL,
    ("sinks.report.measure_model", "replace_with"): OPTIONAL,
    ("sinks.scores.exceeds", "importance"): (*GAPS, "no axis"),
    ("sinks.scores.interval", "values"): (*GAPS, "another dtype", "empty rows"),
    ("sinks.scores.sample_channels", "sample"): OPTIONAL,
    ("sinks.scores.sample_sink_rates", "importance"): GAPS,
    ("sinks.scores.sink_rate", "importance"): GAPS,
    ("sinks.theory.correlation", "predicted"): ("another dtype",),
    ("sinks.theory.correlation", "measured"): ("another dtype",),
}

LEFT = {
    "drawing, of documents that are checked when they are read": [
        *(f"sinks.style.{name}" for name in ("axes", "band", "estimates", "as_numpy")),
        "sinks.report.figures.short_names",
    ],
    "takes names and files": [
        "sinks.report.check_layers",
        "sinks.report.compare.write_comparison",
        "sinks.report.page.write",
        "sinks.report.places.replacing",
    ],
    "a part of the report, behind the doors of measure_model and check_options": [
        "sinks.report.closer.look",
        *(f"sinks.report.document.{name}" for name in ("direction", "judge", "maps", "plain")),
        *(f"sinks.report.document.{name}" for name in ("rescaled", "uniform")),
        "sinks.report.inputs.check_ablate",
        *(f"sinks.report.prompts.{name}" for name in ("changed", "digest", "encode_prompts")),
        *(f"sinks.report.prompts.{name}" for name in ("first_of_each", "first_tokens")),
    ],
    "a part of ablate": [
        "sinks.ablation.answers.answers",
        "sinks.ablation.contributions.change",
    ],
    "reads what a model has just computed": [
        "sinks.batch.gather",
        *(f"sinks.mixers.mamba1.{name}" for name in ("falcon_norms", "jamba_norms")),
        *(f"sinks.mixers.mamba2.{name}" for name in ("read_out", "read_out_falcon_h1")),
        "sinks.mixers.mamba2.read_out_mamba_ssm",
        "sinks.mixers.others.read_out_mambavision",
        *(f"sinks.mixers.seen.{name}" for name in ("convolve", "keep", "rates", "shape_alone")),
        "sinks.mixers.seen.skips",
    ],
}
