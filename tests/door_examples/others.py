"""Good calls of the functions of `circle`, `rates`, `symbolic` and the paper's survey."""

from dataclasses import replace

import numpy as np
import sympy
import torch

from tokensphere import rates
from tokensphere import symbolic as symbols
from tokensphere.circle import approach, counts, isolate, portrait, shares
from tokensphere.circle.field import angular_field
from tokensphere.paper import survey

FORMS = {"S_BC": [[1, 0], [0, 1]], "S_Delta": [[1.0, 0.5], [0.0, 2.0]]}
PORTRAIT = portrait(**FORMS)
x = sympy.Matrix([[1, 2]])
EYE = sympy.eye(2)
a = [1, 1]
G = torch.Generator().manual_seed(0)
COUNTS = {"law": "Gaussian", "dim": 3, "draws": 2, "seed": 0, "horizon": 1.0, "batch": 2}

EXAMPLES = {
    angular_field: FORMS,
    isolate: FORMS | {"precision": 128, "finest": 1e-9},
    portrait: FORMS,
    shares.gaussian_shares: {"precision": 64},
    counts.p_value: {"count": 2, "unresolved": 0, "draws": 5, "share": 0.5},
    approach.distances: {"portrait": PORTRAIT, "start": (3, 1), "times": [0.0, 1.0]},
    approach.power_law: {"zero": replace(PORTRAIT.zeros[0], order=2), "times": [1.0, 2.0]},
    rates.fit_exponential: {
        "times": np.linspace(0, 10, 50),
        "error": np.exp(-np.linspace(0, 10, 50)),
        "power": 0,
        "floor": 0.0,
    },
    symbols.steps: {"x": x, "S_Delta": EYE},
    symbols.recurrence: {"x": x, "delta": x, "S_B": EYE, "S_C": EYE},
    symbols.hidden_attention: {"x": x, "delta": x, "S_BC": EYE},
    symbols.attention_form: {"x": x, "delta": x, "S_BC": EYE},
    symbols.project: {"x": x, "y": x},
    symbols.mamba_field: {"x": x, "S_BC": EYE, "S_Delta": EYE},
    symbols.first_token_field: {"y": x, "S_BC": EYE, "S_Delta": EYE},
    symbols.first_token_jacobian: {"y": x, "S_BC": EYE, "S_Delta": EYE},
    survey.draw: {
        "law": "Gaussian",
        "dim": 3,
        "count": 2,
        "generator": G,
        "decays": "equal",
    },
    survey.turning: {"start": torch.eye(2), "other": torch.eye(2), "frequency": 1.0},
    survey.first_tokens: COUNTS | {"device": "cpu", "each": map},
    survey.later_tokens: COUNTS | {"decays": "equal", "length": 2, "device": "cpu", "each": map},
    survey.run: {
        "path": "none.json",
        "draws": 2,
        "dims": [3],
        "seed": 0,
        "horizon": 1.0,
        "follow": 1.0,
        "device": "cpu",
        "workers": 1,
    },
    survey.interval: {"successes": 1, "trials": 2},
}

TAKEN = {
    ("paper.survey.turning", "start"): ("no rows",),
}

LEFT = {
    "parts of the proof behind angular_field and portrait, in rationals and balls": [
        "circle.field.ball",
        "circle.field.balls",
        "circle.field.evaluate",
        "circle.field.number",
        "circle.field.rational",
        "circle.field.sign",
        "circle.field.softplus",
        "circle.field.precisions",
        "circle.lines.angles_of",
        "circle.lines.leading",
        "circle.lines.lines_of",
    ],
    "symbols": ["symbolic.softplus"],
    "rooms that come to the door one by one": [],
}
