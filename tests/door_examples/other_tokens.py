"""Good calls of the functions of `other_tokens`."""

import numpy as np
import torch

from tokensphere.flow import AutoregressiveFlow, MambaFlow, SharedStepFlow
from tokensphere.other_tokens import (
    adversary,
    approach,
    basins,
    census,
    coefficients,
    cosines,
    exceptional,
    exceptional_points,
    following,
    positive_angles,
    residual_stream,
    resonance,
    spectra,
    symbolic,
    symbolic_consensus,
    symbolic_vertices,
    vertex_rates,
    vertices,
)
from tokensphere.other_tokens.interactions import (
    consensus_configurations,
    interaction_speeds,
    interactions,
    product_rule_speeds,
    token_with_interactions,
    weights,
)

G = torch.Generator().manual_seed(0)
EYE = torch.eye(3, dtype=torch.float64)
x1 = EYE[0].clone()
x = torch.tensor([[1.0, 0, 0], [0.6, 0.8, 0], [0, 0.6, 0.8]], dtype=torch.float64)
flat = x[:, :2] / x[:, :2].norm(dim=-1, keepdim=True)
signs = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
times = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
a = torch.ones(3, dtype=torch.float64)
shared = SharedStepFlow(EYE, x1, 0.5)
mamba = MambaFlow(EYE, EYE, a)
causal = AutoregressiveFlow(coefficients.constant(torch.ones(3, 3, dtype=torch.float64)))
AT = cosines.cosines(causal, x)
DRAW = {"generator": G}
FLOW = {"flow": shared, "x": x}
STATE = {"state": adversary.three_tokens(np.zeros((1, adversary.NUMBERS)))}
CONSENSUS = {"flow": shared, "x1": x1, "signs": signs}
PLACES = {"vertices": torch.tensor([0, 1, 2]), "signs": signs}
BATCH = {"S_Delta": EYE.expand(2, 3, 3).clone(), "a": a.expand(2, 3).clone(), "length": 2}

EXAMPLES = {
    adversary.pairs: STATE,
    adversary.with_zero: STATE | {"index": 1},
    adversary.three_tokens: {"points": np.zeros((2, adversary.NUMBERS)), "symmetric": True},
    adversary.along_runs: {"slack": lambda flow, x: x[..., 0, 0], "times": times, "least": 0.02},
    adversary.least_slack: {
        "inequality": lambda state: state,
        "seed": 0,
        "generations": 1,
        "symmetric": True,
        "population": 2,
    },
    approach.tokens_from_axis: {"count": 2, "length": 3, "dim": 3, "half": False} | DRAW,
    approach.axis_distance: {"x": x, "signs": 1.0},
    approach.aligned_rate: {"flow": shared},
    approach.random_shared_step: {"count": 2, "dim": 3, "symmetric": True} | DRAW,
    approach.unbatched: {"flow": shared},
    approach.approach: {"flow": shared, "x0": x, "times": times, "rtol": 1e-5, "system": ""},
    approach.random_approaches: DRAW
    | {"count": 1, "systems": ("eq (11)",), "length": 3, "dim": 3, "stop": 5.0},
    basins.random_problem: DRAW
    | {"dim": 3, "gamma": 2.0, "symmetric": True, "alpha": 0.7, "a": 0.5},
    basins.tokens_behind: DRAW | {"x1": x1, "count": 2, "length": 3},
    basins.behind_exception: DRAW | {"dim": 3, "count": 1, "length": 4, "symmetric": True},
    basins.with_form: {"x": x, "direction": x1, "value": 0.5},
    basins.near_consensus: DRAW | {"x1": x1, "count": 2, "length": 3},
    basins.growth_bound: FLOW | {"signs": signs[:1]},
    basins.strip_bound: FLOW | {"signs": signs[:1]},
    basins.speed_bound: FLOW | {"signs": signs[:1]},
    basins.tied_attractors: DRAW | {"count": 1},
    basins.token_matrices: FLOW,
    basins.as_eigenvectors: FLOW,
    basins.hold: {"flow": shared, "count": 1},
    basins.distance_to_pair: {"x": x, "x1": x1},
    basins.second_limit: {"S_BC": EYE, "x1": x1, "x2": x[1]},
    basins.second_rate: {"flow": shared, "x1": x1, "x2": x[1]},
    basins.second_constant: {"flow": shared, "x1": x1, "x2": x[1]},
    basins.third_limit: {"S_BC": EYE, "x1": x1, "xi": x[1]},
    basins.great_circles: {"frames": EYE[:2].clone(), "angles": times},
    basins.random_circle: DRAW | {"dim": 3},
    basins.kernel_circle: {"direction": x1},
    basins.arc_on_one_side: DRAW | {"direction": x1, "count": 2},
    basins.crossings: {
        "flow": shared,
        "earlier": x[None, :2].clone(),
        "frames": EYE[None, :2].clone(),
        "points": 8,
        "rounds": 1,
        "stop": 1.0,
    },
    census.census: {"flow": mamba, "x0": x[None].clone(), "stop": 1.0, "rtol": 1e-5, "atol": 1e-7},
    census.token_ends: {"flow": mamba, "x": x, "near": 0.01, "slow": 1e-4},
    census.count_clusters: {"x": x, "size": 0.05},
    census.random_sign_steps: DRAW
    | {"count": 2, "dim": 3, "length": 2, "rates": (0.5, 1.5), "definite": False},
    coefficients.constant: {"weights": EYE},
    coefficients.toeplitz: {"kernel": times},
    coefficients.state_space: {"c_b": times, "decay": times, "length": 2},
    coefficients.log_bilinear: {"bias": EYE, "form": EYE},
    coefficients.random_log_bilinear: DRAW | {"length": 2, "dim": 3, "scale": 0.4},
    coefficients.random_families: DRAW | {"count": 2, "length": 3, "dim": 3},
    cosines.cosines: {"flow": causal, "x": x},
    cosines.speed_bound: {"at": AT},
    cosines.leaving_bound: {"at": AT},
    cosines.arriving_bound: {"at": AT},
    cosines.second_token_bound: {"start": times / 4, "least": a, "times": times},
    exceptional.on_circle: {"angles": times},
    exceptional.three_on_circle: {"theta": times, "phi": times},
    exceptional.antipodal_angle: {"x": flat[:2].clone()},
    exceptional.angular_speeds: {"flow": causal, "x": flat},
    exceptional.three_token_flow: {"a_21": 1.0, "a_31": 1.0, "a_32": 1.0},
    exceptional.exceptional_curve: {"a_21": 1.0, "a_31": 1.0, "a_32": 1.0},
    exceptional.final_angle: {
        "theta": np.ones(2),
        "phi": np.ones(2),
        "weights": (1.0, 1.0, 1.0),
        "stop": 1.0,
    },
    exceptional.hoelder_coefficients: {"x": flat, "feedback": 5.0},
    exceptional.hoelder_starts: DRAW | {"count": 2},
    exceptional.equatorial_orbit: {"times": times, "start": -0.6},
    exceptional_points.exceptional_point: DRAW
    | {"dim": 3, "length": 3, "gamma": 2.0, "symmetric": True},
    exceptional_points.weight_symbols: {"length": 3},
    exceptional_points.derived_jacobian: {"length": 3, "symmetric": True},
    exceptional_points.eigenvalue_signs: FLOW | {"tolerance": 1e-9},
    exceptional_points.saddle_loop: {
        "start": (0.1, 0.1),
        "times": np.array([0.0, 1.0]),
        "pull": 0.5,
    },
    following.near_first: {"x": x},
    following.follow: {
        "form": "Gaussian",
        "dim": 3,
        "dials": following.Dials(),
        "draws": 1,
        "length": 2,
        "horizon": 1.0,
        "seed": 0,
    },
    following.one_dial_at_a_time: {
        "dims": [3],
        "draws": 1,
        "horizon": 1.0,
        "seed": 0,
        "workers": 1,
    },
    following.mean_and_error: {"values": [1.0, 2.0]},
    interactions: {"x": x, "S_BC": EYE},
    interaction_speeds: FLOW | {"S_BC": EYE},
    product_rule_speeds: {"field": shared, "x": x, "S_BC": EYE},
    consensus_configurations: {"x1": x1, "length": 3},
    weights: FLOW,
    token_with_interactions: {
        "x": x[:2].clone(),
        "S_BC": EYE,
        "row": times[1:].clone(),
        "across": 0.5,
    },
    positive_angles.margin: {"x": x, "S_BC": EYE, "condition": "all"},
    positive_angles.admissible: DRAW
    | {
        "count": 1,
        "length": 2,
        "dim": 3,
        "symmetric": True,
        "condition": "all",
        "least": 0.02,
    },
    positive_angles.alignment_bounds: {"flow": shared, "x0": x},
    positive_angles.second_token_rate: {"flow": shared, "x0": x},
    positive_angles.one_pair: {"i": 2, "j": 1, "value": -1.0},
    residual_stream.layer_bound: {"S_BC": EYE, "S_Delta": EYE, "a": a},
    residual_stream.vertex_exponents: {
        "S_Delta": EYE,
        "a": a,
        "index": 0,
        "length": 2,
        "sign": 1.0,
    },
    residual_stream.zero_rate: {"S_BC": EYE, "S_Delta": EYE, "p": x, "norm": a},
    residual_stream.fitted_exponents: {"times": a.cumsum(0), "values": a},
    resonance.signed_sums: {"steps": times, "a": 0.5},
    resonance.shared_step_decay_rates: CONSENSUS,
    resonance.equal_eigenvalues: {"z": 1.0},
    resonance.resonant_flow: {"z": 1.0, "factor": 1.0},
    resonance.resonant_start: DRAW,
    spectra.consensus_spectrum: CONSENSUS,
    spectra.exceptional_spectrum: CONSENSUS | {"xi": EYE[1].clone()},
    spectra.tangent_jacobian: FLOW,
    spectra.consensus_rate: CONSENSUS,
    symbolic.symbolic_interactions: {"length": 2, "dim": 2, "symmetric": True},
    symbolic_consensus.consensus_jacobian: {"signs": [1, -1]},
    symbolic_vertices.vertex_jacobian: {"vertices": [0, 1], "signs": [1, 1], "dim": 3},
    vertex_rates.random_vertex_consensus: DRAW | {"flow": mamba, "count": 1, "length": 2},
    vertex_rates.approach_vertices: DRAW
    | {
        "points": vertex_rates.VertexConsensus(*[None] * 5),
        "distance": 1e-3,
        "window": (1.0, 2.0),
    },
    vertices.tokens_at_vertices: PLACES | {"dim": 3},
    vertices.vertex_spectrum: PLACES | {"flow": mamba},
    vertices.random_vertex_equilibrium: DRAW | {"flow": mamba, "length": 2},
    vertices.newton_equilibrium: {"flow": mamba, "x": x, "steps": 3},
    vertices.sign_patterns: {"length": 3},
    vertices.consensus_attracts: {"flow": mamba, "signs": signs[None].clone()},
    vertices.patterns_that_attract: BATCH,
    vertices.equal_signs_attract: BATCH,
    vertices.separation_rates: {"size": 1.0},
}

TAKEN = {
    # A tensor of numbers, one for each token, goes in place of one for all.
    ("other_tokens.approach.axis_distance", "signs"): ("a tensor",),
    ("other_tokens.interactions.token_with_interactions", "across"): ("a tensor",),
    ("other_tokens.resonance.signed_sums", "a"): ("a tensor",),
    ("other_tokens.following.mean_and_error", "values"): ("bools",),
    # Any name will do.
    ("other_tokens.approach.approach", "system"): ("another text",),
}

LEFT = {
    "takes values of hypotheses, made by other functions, of any number": [
        "other_tokens.adversary.missed",
    ],
    "takes tables and functions, and names what is wrong itself": [
        "other_tokens.census.shares_by_end",
        "other_tokens.coefficients.stacked",
        "other_tokens.exceptional_points.exceptional_jacobian",
    ],
}
