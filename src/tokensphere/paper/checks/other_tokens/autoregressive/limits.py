"""Checks of eq (13), the models that it covers, and where its tokens end (Theorem 3.9, B.16)."""

import math

import numpy as np
import torch
from torch import Tensor

from tokensphere.flow import AutoregressiveFlow, SharedStepFlow, simulate
from tokensphere.flow.fields import causal_attention, project, random_tokens
from tokensphere.other_tokens import coefficients as families
from tokensphere.other_tokens import exceptional as plane
from tokensphere.other_tokens import interactions
from tokensphere.other_tokens.approach import tokens_from_axis
from tokensphere.paper.checks.tools import agree, ends, normal, times, uniform
from tokensphere.paper.ledger import Evidence, above, at_least, below, equal

ROUNDING = 1e-12
"""Sums of a few products of numbers of order one, in float64."""

AT_FIRST = 0.99
"""<x_l, x_1> of a token that counts as being at x_1."""

SECOND = np.linspace(0.2, 2.6, 7)
"""Angles of x_2(0) from x_1, in radians."""


def eq_13(generator: torch.Generator, projected: bool) -> Evidence:
    """The library's field against the sum of eq (13); the control forgets to project."""
    weights = families.random_log_bilinear(4, 3, generator)
    x = random_tokens(50, 4, 3, generator=generator)
    a, field = weights(x), torch.zeros_like(x)
    for l in range(4):
        for j in range(l):
            term = project(x[:, l], x[:, j]) if projected else x[:, j]
            field[:, l] += a[:, l, j, None] * term
    off = AutoregressiveFlow(weights)(x) - field
    return Evidence(agree(ROUNDING, {"the two fields": off}), {"points": 50})


def softmax_is_attention(generator: torch.Generator, values: str) -> Evidence:
    """Eq (13) with softmax weights against causal attention written out with its value matrix."""
    dim, length = 4, 5
    Q, K, V = normal(generator, 3, dim, dim)
    x = random_tokens(length, dim, generator=generator)
    if values == "identity":
        V = torch.eye(dim, dtype=torch.float64)
    output = torch.zeros_like(x)
    for l in range(length):
        scores = torch.stack([(Q @ x[l]) @ (K @ x[j]) for j in range(l + 1)])
        weights = scores.exp() / scores.exp().sum()
        output[l] = sum(weights[j] * (V @ x[j]) for j in range(l + 1))
    off = AutoregressiveFlow(causal_attention(Q, K))(x) - project(x, output)
    return Evidence(agree(ROUNDING, {"the two fields": off}))


def mamba_weights_positive(generator: torch.Generator, region: str) -> Evidence:
    """A_lj of eq (11) at random tokens, or along orbits from tokens with positive angles."""
    length, dim = 3, 3
    S_BC = 2 * torch.eye(dim, dtype=torch.float64) + normal(generator, dim, dim) / 2
    flow = SharedStepFlow(S_BC, normal(generator, dim), 0.7)
    x = random_tokens(4000, length, dim, generator=generator)
    inside = (interactions(x, S_BC)[1] > 0).all((-1, -2))
    if region == "positive angles":
        x = simulate(flow, x[inside][:60], times(15, 31), 1e-7, 1e-10).tokens
    rows, columns = torch.tril_indices(length, length, -1)
    weights = flow.attention(x)[..., rows, columns]
    numbers = {"of": weights.numel(), "of 4000 starts, with positive angles": int(inside.sum())}
    return Evidence([equal("weights that are not positive", (weights <= 0).sum(), 0)], numbers)


def _final_cosines(generator: torch.Generator) -> Tensor:
    """<x_l, x_1> at t = 60 of four families of eq (13) from uniform starts, (4, 15, 4)."""
    four = families.random_families(15, 4, 3, generator)
    x0 = torch.stack([tokens_from_axis(15, 4, 3, generator) for _ in four])
    flow = AutoregressiveFlow(families.stacked(four.values()))
    return ends(flow, x0, 60, 1e-5)[..., 0]


def some_end_opposite(generator: torch.Generator) -> Evidence:
    """Both signs occur among the limits of generic starts."""
    cosines = _final_cosines(generator)
    opposite = at_least("tokens at minus x1", (cosines < -AT_FIRST).sum(), 1)
    return Evidence([opposite], {"of": cosines.numel()})


def all_end_at_first(generator: torch.Generator) -> Evidence:
    """Generic starts end at x_1."""
    cosines = _final_cosines(generator)
    return Evidence([equal("tokens at x1", (cosines > AT_FIRST).sum(), cosines.numel())])


def exceptional_start(generator: torch.Generator, fixed: bool) -> Evidence:
    """Random constant weights. Fixed: x_3 ends at -x_1 from one and the same start, whatever
    x_2(0). Or from one start for each x_2(0), another one for another.

    Left and right of the curve x_3 turns to x_1 by different ways round, so that between them some
    start does neither.
    """
    weights = (0.4 * normal(generator, 3)).exp().tolist()
    curve = np.interp(SECOND, *plane.exceptional_curve(*weights))
    numbers = {"angles of x2(0)": SECOND, "exceptional ones of x3(0), from minus x1": curve}
    what, spread = "spread of the exceptional angle of x3(0)", np.ptp(curve)
    if fixed:
        return Evidence([below(what, spread, 1e-2)], numbers)
    width = 2e-3  # the interpolation errs by 1e-4 or so
    left, right = plane.final_angle(SECOND, [curve - width, curve + width], tuple(weights))
    criteria = [
        below("final angles of x3 from minus x1, left of the curve, at most", left.max(), -3.0),
        above("right of the curve, at least", right.min(), 3.0),
        above(what, spread, 0.1),
    ]
    return Evidence(criteria, numbers)


def excluded_starts(generator: torch.Generator, stated: bool) -> Evidence:
    """Stated: a third token that starts at -x_1 does not reach x_1. Corrected: x_3 = -x_1, x_2 =
    x_1 and x_3 = x_1 all do; x_2 = -x_1 does not, and one other x_3. Weights 1, a_31 = 2."""
    second = 0.8 + 1.4 * float(uniform(generator))
    starts = {
        "x3 = -x1": [0, second, math.pi],
        "x2 = x1": [0, 0, second],
        "x3 = x1": [0, second, 0],
        "x2 = -x1": [0, math.pi, second],
    }
    x0 = plane.on_circle(torch.tensor(list(starts.values()), dtype=torch.float64))
    # Not longer: the sine of pi is 1e-16 in floating point, and grows like e^t.
    end = ends(plane.three_token_flow(1, 2, 1), x0, 15, 1e-7, 1e-12)[..., 0]
    cosines, numbers = dict(zip(starts, end, strict=True)), {"angle of x2(0)": second}
    if stated:
        cosine = cosines["x3 = -x1"][2]
        return Evidence([below("cosine of x3 and x1 at t = 15", cosine, AT_FIRST)], numbers)
    opposite = cosines.pop("x2 = -x1")
    third = float(np.interp(second, *plane.exceptional_curve(1, 2, 1)))
    left, right = plane.final_angle(second, [third - 1e-3, third + 1e-3], (1, 2, 1))
    what = "least cosine with x1 at t = 15 from"
    criteria = [
        *(above(f"{what} {start}", x[1:].min(), AT_FIRST) for start, x in cosines.items()),
        below("cosine of x2 and x1 from x2 = -x1", opposite[1], -AT_FIRST),
        below("final angle of x3 left of the exceptional start", left, -3.0),
        above("final angle of x3 right of it", right, 3.0),
        below("absolute cosine of the exceptional start", abs(math.cos(third)), AT_FIRST),
    ]
    return Evidence(criteria, numbers)


def open_set_leaves_minus_first(generator: torch.Generator, feedback: float) -> Evidence:
    """Starts from an open set near (x_1, x_1, -x_1) leave it: Hoelder weights; feedback 0: ones."""
    x0 = plane.three_on_circle(*plane.hoelder_starts(30, generator))
    flow = AutoregressiveFlow(lambda x: plane.hoelder_coefficients(x, feedback))
    angle = plane.antipodal_angle(ends(flow, x0, 14, 1e-6, 1e-25)[:, 2]).abs()
    what = f"of {len(x0)} starts, with x3 at minus x1 at t = 14"
    staying = equal(what, (angle.cos() > AT_FIRST).sum(), 0)
    return Evidence([staying], {"largest angle from it then": angle.max()})


def _missing(generator: torch.Generator, kernel: list[float]) -> list[int]:
    """The tokens that do not reach x_1 with the weights a_lj = kernel[l - j - 1]."""
    flow = AutoregressiveFlow(families.toeplitz(torch.tensor(kernel, dtype=torch.float64)))
    x0 = tokens_from_axis(10, len(kernel) + 1, 3, generator)
    reached = ends(flow, x0, 60, 1e-5)[..., 0].amin(0) >= AT_FIRST
    return [l for l, there in enumerate(reached.tolist(), 1) if not there]


def zeros_stop_a_token(generator: torch.Generator, kernel: list[float]) -> Evidence:
    """With zeros among the coefficients below the diagonal some token does not reach x_1."""
    missing = _missing(generator, kernel)
    return Evidence([at_least("tokens that do not reach x1", len(missing), 1)])


def row_sums_decide(
    generator: torch.Generator, positive: list[float], zero: list[float]
) -> Evidence:
    """All tokens reach x_1 if each row has a positive sum; not if the second row's is zero."""
    met, not_met = _missing(generator, positive), _missing(generator, zero)
    all_reach = equal("tokens that do not reach x1, all row sums positive", met, [])
    some_miss = at_least("tokens that do not, the second row zero", len(not_met), 1)
    return Evidence([all_reach, some_miss], {"which": not_met})
