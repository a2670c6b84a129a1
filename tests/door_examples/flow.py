"""Good calls of the functions of `flow` and `unnormalised`."""

import torch

from tokensphere import unnormalised
from tokensphere.flow import MambaFlow, deep_layers, layers, simulate, simulate_residual_stream
from tokensphere.flow.one_rate import nearest_rates
from tokensphere.unnormalised import census, constants, field

G = torch.Generator().manual_seed(0)
EYE = torch.eye(3, dtype=torch.float64)
x = torch.tensor([[1.0, 0, 0], [0.6, 0.8, 0]], dtype=torch.float64)
one = x[1].clone()
times = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
ones = torch.ones(3, dtype=torch.float64)
mamba = MambaFlow(EYE, EYE, ones)
bank = MambaFlow(EYE.expand(2, 3, 3), EYE.expand(2, 3, 3), ones.expand(2, 3))
free = unnormalised.Unnormalised(EYE, -EYE, ones)
RUN = {"field": mamba, "times": times}
TOLERANCES = {"rtol": 1e-5, "atol": 1e-7}
FORMS = {"S_BC": EYE, "S_Delta": -EYE}

EXAMPLES = {
    simulate: RUN | TOLERANCES | {"x0": x},
    simulate_residual_stream: RUN | TOLERANCES | {"z0": x},
    layers: RUN | {"x0": x, "normalise": "after", "every": 1},
    nearest_rates: {
        "attention": torch.ones(3, 2, 2).double().tril(),
        "scores": torch.ones(2, 2).double(),
        "delta": torch.ones(2, 3).double(),
    },
    deep_layers.output_error: RUN | {"x0": x, "limit": torch.stack([x, x]), "normalise": "after"},
    deep_layers.empirical_order: {"depths": [10, 20], "errors": [0.1, 0.05]},
    deep_layers.modified_field: {"field": mamba, "h": 0.1, "step": 1e-4},
    deep_layers.mean_field: {"bank": bank},
    deep_layers.drawn_layers: {
        "bank": bank,
        "which": torch.zeros(2, 1, dtype=torch.int64),
        "times": times,
    },
    deep_layers.scatter: {
        "bank": bank,
        "x0": x,
        "times": times,
        "limit": x,
        "runs": 2,
        "generator": G,
    },
    deep_layers.absorb_radius_and_gain: FORMS | {"radius": 1.0, "gain": ones},
    field.cone_exponent: FORMS | {"p": x},
    field.is_definite: {"S_BC": EYE, "sign": 1},
    constants.grows_slowly: {"S_Delta": -EYE, "x": one},
    constants.a_step_grows: {"S_Delta": -EYE, "x": one},
    constants.slow_rates: {"S_Delta": -EYE, "x": one},
    constants.ray_time: {"value": 1.0, "slope": 1.0},
    constants.blow_up_bounds: FORMS | {"x": one},
    unnormalised.first_token_end: FORMS | {"x0": one},
    unnormalised.first_token_kind: FORMS | {"x0": one},
    census.draw: {"count": 2, "dim": 3, "generator": G},
    census.first_tokens: {"count": 2, "dim": 3, "generator": G},
    census.kinds_together: FORMS | {"x0": x, "h": 0.05},
    census.sequence_end: {"field": free, "x0": x, "stop": 1.0},
    census.sequences: {"count": 1, "length": 2, "dim": 3, "generator": G},
    unnormalised.simulate: {
        "field": free,
        "x0": x,
        "times": times,
        "bound": 1e3,
        "steps": 50,
    }
    | TOLERANCES,
}

TAKEN = {}

LEFT = {
    "right-hand sides of equations, called at every step": [
        "flow.causal_sum.causal_sum",
        "flow.causal_sum.masked_attention",
        "flow.cpu.fused",
        "flow.cpu.plain",
        "flow.cpu.numpy_field",
        "flow.dop853.solve",
        "flow.fields.project",
        "flow.integrate.unit",
        "unnormalised.constants.softplus",
        "unnormalised.field.first_velocity",
        "unnormalised.field.form",
        "unnormalised.field.symmetric_part",
        "unnormalised.integrate.relative_speed",
        "unnormalised.orbit.log_softplus",
    ],
    "checks themselves": [
        f"flow.checks.check_{what}"
        for what in ("tensor", "square", "S_BC", "rates", "tokens", "times")
    ],
    "their parameters may be functions of time, and are checked where they are read": [
        "flow.attention.attention_flow",
        "flow.fields.causal_attention",
    ],
    "any number of sizes, which torch checks": ["flow.fields.random_tokens"],
}
