"""Good calls of the functions of `first_token`."""

import numpy as np
import torch

from tokensphere.first_token import (
    alignment,
    cycles,
    equilibria,
    exact,
    field,
    portrait,
    potential,
    predict_limit,
    settle,
    spectrum,
    vertices,
    zeros,
)

G = torch.Generator().manual_seed(0)
S = torch.randn(3, 3, generator=G, dtype=torch.float64)
FORM = torch.eye(3, dtype=torch.float64)
y = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
ys = y.expand(2, 3).clone()
times = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
many = {"S_BC": FORM.expand(2, 3, 3).clone(), "S_Delta": S.expand(2, 3, 3).clone()}
one = {"S_BC": FORM, "S_Delta": S}
ROWS = {"S_Delta": [[1, 2, 0], [0, 1, 1], [2, 0, 1]]}
FORMS = {"S_BC": [[1, 2, 0], [0, 1, 1], [2, 0, 1]]}

EXAMPLES = {
    field.tangent_basis: {"y": y},
    field.jacobian: one | {"y": y},
    settle: many | {"y0": ys, "horizon": 20.0, "rtol": 1e-6},
    equilibria: one,
    spectrum: one | {"y": torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)},
    predict_limit: one | {"y0": y, "horizon": 20.0},
    potential: {"S_Delta": S, "signs": torch.tensor([1.0, -1.0, 1.0]).double()},
    alignment.definite_form: {"count": 2, "dim": 3, "generator": G, "sign": 1},
    alignment.form_eigenvalues: {"S_BC": FORM},
    alignment.diagonal_limit: {"S_BC": many["S_BC"], "delta": ys, "y0": ys},
    alignment.explicit_bound: {"S_BC": many["S_BC"], "y0": ys},
    alignment.ratios_to_largest: {"y": ys},
    alignment.above_explicit_bound: {
        "S_BC": many["S_BC"],
        "y": torch.stack([ys, ys, ys]),
        "times": times,
        "floor": 1e-9,
    },
    alignment.largest_coordinate: {"y": ys},
    alignment.equal_moduli_eigenvalues: {"form": 1.0, "count": 2},
    alignment.follow_diagonal: {
        "S_BC": many["S_BC"],
        "delta": ys,
        "y0": ys,
        "times": times,
        "rtol": 1e-6,
        "atol": 1e-9,
    },
    vertices.vertex_eigenvalues: many,
    vertices.stable_vertices: many,
    vertices.binomial_p_value: {
        "counts": torch.tensor([0, 1, 2] * 20),
        "trials": 2,
        "probability": 0.5,
    },
    zeros.inflow: one | {"p": ys},
    zeros.unit_zero: {"S_BC": FORM},
    zeros.zero_curves: {"S_BC": FORM, "points": 20},
    zeros.form_with_eigenvalues: {"values": y, "generator": G},
    zeros.random_zeros: {"S_BC": FORM, "count": 3, "generator": G},
    portrait.even_points: {"count": 5},
    portrait.sphere_portrait: one | {"starts": 5, "length": 0.5},
    cycles.certify_octant: {"S_Delta": S},
    cycles.rock_paper_scissors: {"diagonal": 0.1, "size": 3.0},
    cycles.cyclic_octant: {"S_Delta": S},
    cycles.follow_logarithms: {
        "S_Delta": S,
        "logarithms": np.zeros((3, 2)),
        "times": np.array([0.0, 1.0]),
        "rtol": 1e-6,
    },
    cycles.dwell_times: {"S_Delta": S, "stop": 10.0},
    cycles.lotka_volterra: {
        "growth": [1.0, 1.0],
        "interactions": [[-1.0, 0.5], [0.5, -1.0]],
        "size": 0.1,
    },
    cycles.arneodo_coullet_tresser: {"alpha": 1.5},
    cycles.lyapunov_exponents: {
        "S_Delta": S,
        "stop": 200.0,
        "tokens": 2,
        "seed": 0,
        "every": 40.0,
    },
    exact.supports: {"dim": 3},
    exact.kernel: ROWS | {"support": [0, 1]},
    exact.isolated_supports: ROWS,
    exact.finitely_many: ROWS,
    exact.count: ROWS,
    exact.affinely_independent: ROWS | {"support": [0, 1]},
    exact.inner_products: ROWS | {"v": [1, 2, 3]},
    exact.form: FORMS | {"v": [1, 2, 3]},
    exact.has_equal_steps: ROWS | {"v": [1, 2, 3]},
    exact.steps: ROWS | {"v": [1, 2, 3]},
    exact.moves: FORMS | ROWS | {"v": [1, 2, 3]},
    exact.trial_vectors: ROWS | {"reach": 1},
}

# A batch may be empty: its result is.
TAKEN = {
    (f"first_token.{name}", argument): ("no rows",)
    for name, argument in (
        ("field.tangent_basis", "y"),
        ("field.jacobian", "S_BC"),
        ("field.jacobian", "S_Delta"),
        ("field.jacobian", "y"),
        ("ends.settle", "S_BC"),
        ("alignment.diagonal_limit", "S_BC"),
        ("alignment.explicit_bound", "S_BC"),
    )
}

LEFT = {
    "right-hand sides of equations, called at every step": [
        "first_token.field.form",
        "first_token.field.orbit_field",
        "first_token.field.orbit_jacobian",
    ],
    "a check itself": ["first_token.equilibria.check_problem"],
}
