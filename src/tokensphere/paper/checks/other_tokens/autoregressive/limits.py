"""Checks of eq (13), the models that it covers, and where its tokens end (Theorem 3.9, B.16)."""

import math

import numpy as np
import torch
from torch import Tensor

from tokensphere.flow import (
    AutoregressiveFlow,
    SharedStepFlow,
    causal_attention,
    project,
    random_tokens,
    simulate,
)
from tokensphere.other_tokens import coefficients as families
from tokensphere.other_tokens import exceptional as plane
from tokensphere.other_tokens import interactions
from tokensphere.other_tokens.approach import tokens_from_axis
from tokensphere.other_tokens.coefficients import random_log_bilinear
from tokensphere.paper.checks.tools import ends, times
from tokensphere.paper.ledger import Evidence, above, at_least, below, equal

ROUNDING = 1e-12
"""Sums of a few products of numbers of order one, in float64."""

AT_FIRST = 0.99
"""<x_l, x_1> of a token that counts as being at x_1."""

SECOND = np.linspace(0.2, 2.6, 7)
"""Angles of x_2(0) from x_1, in radians."""


def eq_13(generator: torch.Generator, projected: bool) -> Evidence:
    """The library's field against the sum of eq (13); the control forgets to project."""
    weights = random_log_bilinear(4, 3, generator)
    x = random_tokens(50, 4, 3, generator=generator)
    a, field = weights(x), torch.zeros_like(x)
    for l in range(4):
        for j in range(l):
            term = project(x[:, l], x[:, j]) if projected else x[:, j]
            field[:, l] += a[:, l, j, None] * term
    off = float((AutoregressiveFlow(weights)(x) - field).abs().max())
    return Evidence([below("largest difference of the two fields", off, ROUNDING)], {"points": 50})


def softmax_is_attention(generator: torch.Generator, values: str) -> Evidence:
    """Eq (13) with softmax weights against causal attention written out with its value matrix."""
    dim, length = 4, 5
    Q, K, V = torch.randn(3, dim, dim, generator=generator, dtype=torch.float64)
    x = random_tokens(length, dim, generator=generator)
    if values == "identity":
        V = torch.eye(dim, dtype=torch.float64)
    output = torch.zeros_like(x)
    for l in range(length):
        scores = torch.stack([(Q @ x[l]) @ (K @ x[j]) for j in range(l + 1)])
        weights = scores.exp() / scores.exp().sum()
        output[l] = sum(weights[j] * (V @ x[j]) for j in range(l + 1))
    off = AutoregressiveFlow(causal_attention(Q, K))(x) - project(x, output)
    largest = float(off.abs().max())
    return Evidence([below("largest difference of the two fields", largest, ROUNDING)])


def mamba_weights_positive(generator: torch.Generator, region: str) -> Evidence:
    """A_lj of eq (11) at random tokens, or along orbits from tokens with positive angles."""
    count, length, dim = 4000, 3, 3
    G = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    S_BC = 2 * torch.eye(dim, dtype=torch.float64) + G / 2
    alpha = torch.randn(dim, generator=generator, dtype=torch.float64)
    flow = SharedStepFlow(S_BC, alpha, 0.7)
    x = random_tokens(count, length, dim, generator=generator)
    inside = (interactions(x, S_BC)[1] > 0).all((-1, -2))
    if region == "positive angles":
        x = simulate(flow, x[inside][:60], times(15, 31), 1e-7, 1e-10).tokens
    rows, columns = torch.tril_indices(length, length, -1)
    weights = flow.attention(x)[..., rows, columns]
    return Evidence(
        [equal("weights that are not positive", int((weights <= 0).sum()), 0)],
        {
            "of": weights.numel(),
            "starts": count,
            "of them with all angles positive": int(inside.sum()),
        },
    )


def _final_cosines(generator: torch.Generator) -> Tensor:
    """<x_l, x_1> at t = 60 of four families of eq (13) from uniform starts, (4, 15, 4)."""
    four = families.random_families(15, 4, 3, generator)
    x0 = torch.stack([tokens_from_axis(15, 4, 3, generator) for _ in four])
    flow = AutoregressiveFlow(families.stacked(four.values()))
    return ends(flow, x0, 60, 1e-5)[..., 0]


def some_end_opposite(generator: torch.Generator) -> Evidence:
    """Both signs occur among the limits of generic starts."""
    cosines = _final_cosines(generator)
    opposite = int((cosines < -AT_FIRST).sum())
    return Evidence([at_least("tokens at minus x1", opposite, 1)], {"of": cosines.numel()})


def all_end_at_first(generator: torch.Generator) -> Evidence:
    """Generic starts end at x_1."""
    cosines = _final_cosines(generator)
    return Evidence(
        [equal("tokens at x1", int((cosines > AT_FIRST).sum()), cosines.numel())],
        {"at minus x1": int((cosines < -AT_FIRST).sum())},
    )


def _curve_at(generator: torch.Generator) -> tuple[list[float], np.ndarray, dict]:
    """Random constant weights, the exceptional angles of x_3(0) for those of x_2(0), and both."""
    weights = (0.4 * torch.randn(3, generator=generator, dtype=torch.float64)).exp().tolist()
    curve = np.interp(SECOND, *plane.exceptional_curve(*weights))
    shown = {
        "angles of x2(0)": SECOND.tolist(),
        "exceptional ones of x3(0), from minus x1": curve.tolist(),
    }
    return weights, curve, shown


def exceptional_start_is_fixed(generator: torch.Generator) -> Evidence:
    """x_3 ends at -x_1 from one and the same start, whatever x_2(0)."""
    _, curve, shown = _curve_at(generator)
    spread = float(np.ptp(curve))
    return Evidence([below("spread of the exceptional angle of x3(0)", spread, 1e-2)], shown)


def exceptional_start_moves(generator: torch.Generator) -> Evidence:
    """For each x_2(0) x_3 ends at -x_1 from one start, another one for another x_2(0).

    Left and right of the curve x_3 turns to x_1 by different ways round, so that between them some
    start does neither.
    """
    weights, curve, shown = _curve_at(generator)
    width = 2e-3  # the interpolation errs by 1e-4 or so
    left, right = plane.final_angle(SECOND, [curve - width, curve + width], tuple(weights))
    return Evidence(
        [
            below("final angles of x3 from minus x1, left of the curve, at most", left.max(), -3.0),
            above("right of the curve, at least", right.min(), 3.0),
            above("spread of the exceptional angle of x3(0)", float(np.ptp(curve)), 0.1),
        ],
        shown,
    )


def _special_starts(generator: torch.Generator) -> tuple[float, Tensor]:
    """An angle of x_2(0), and <x_l, x_1> at t = 15 for a_21 = a_32 = 1, a_31 = 2 and four starts.

    From x_3 = -x_1, x_2 = x_1, x_3 = x_1, x_2 = -x_1, the other token at the angle or so.
    """
    second = 0.8 + 1.4 * float(torch.rand((), generator=generator, dtype=torch.float64))
    angles = [[0, second, math.pi], [0, 0, second], [0, second, 0], [0, math.pi, second]]
    flow = plane.three_token_flow(1, 2, 1)
    # Not longer: the sine of pi is 1e-16 in floating point, and grows like e^t.
    x0 = plane.on_circle(torch.tensor(angles, dtype=torch.float64))
    return second, ends(flow, x0, 15, 1e-7, 1e-12)[..., 0]


def opposite_start_is_exceptional(generator: torch.Generator) -> Evidence:
    """A third token that starts at -x_1 does not reach x_1."""
    second, cosines = _special_starts(generator)
    criterion = below("cosine of x3 and x1 at t = 15", float(cosines[0, 2]), AT_FIRST)
    return Evidence([criterion], {"angle of x2(0)": second})


def only_second_must_not_be_opposite(generator: torch.Generator) -> Evidence:
    """x_3 = -x_1, x_2 = x_1 and x_3 = x_1 all reach x_1; x_2 = -x_1 does not, and one other x_3."""
    second, cosines = _special_starts(generator)
    third = float(np.interp(second, *plane.exceptional_curve(1, 2, 1)))
    left, right = plane.final_angle(second, [third - 1e-3, third + 1e-3], (1, 2, 1))
    starts = ("x3 = -x1", "x2 = x1", "x3 = x1")
    least = cosines[:3, 1:].amin(-1).tolist()
    return Evidence(
        [
            *(
                above(f"least cosine with x1 at t = 15 from {start}", value, AT_FIRST)
                for start, value in zip(starts, least, strict=True)
            ),
            below("cosine of x2 and x1 from x2 = -x1", float(cosines[3, 1]), -AT_FIRST),
            below("final angle of x3 left of the exceptional start", float(left), -3.0),
            above("final angle of x3 right of it", float(right), 3.0),
            below("absolute cosine of the exceptional start", abs(math.cos(third)), AT_FIRST),
        ],
        {"angle of x2(0)": second},
    )


def open_set_leaves_minus_first(generator: torch.Generator, feedback: float) -> Evidence:
    """Starts from an open set near (x_1, x_1, -x_1) leave it: Hoelder weights; feedback 0: ones."""
    x0 = plane.three_on_circle(*plane.hoelder_starts(30, generator))
    flow = AutoregressiveFlow(lambda x: plane.hoelder_coefficients(x, feedback))
    angle = plane.antipodal_angle(ends(flow, x0, 14, 1e-6, 1e-25)[:, 2]).abs()
    staying = int((angle.cos() > AT_FIRST).sum())
    return Evidence(
        [equal("starts whose x3 is at minus x1 at t = 14", staying, 0)],
        {"of": len(x0), "largest angle from it then": float(angle.max())},
    )


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
    return Evidence(
        [
            equal("tokens that do not reach x1, all row sums positive", met, []),
            at_least("tokens that do not, the second row zero", len(not_met), 1),
        ],
        {"which": not_met},
    )
