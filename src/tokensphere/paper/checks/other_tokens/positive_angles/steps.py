"""Equalities and lemmas in the proofs."""

import math

import numpy as np
import sympy
import torch
from scipy.integrate import solve_ivp

from tokensphere.other_tokens import interaction_speeds, interactions, weights
from tokensphere.other_tokens.positive_angles import admissible
from tokensphere.paper.checks.tools import agree, normal
from tokensphere.paper.ledger import Evidence, above, at_most, below, equal

from .displays import ROUNDING


def stays_above(generator: torch.Generator, strict: bool) -> Evidence:
    """Lemma B.14 with delta = 0 on [0, inf): 4000 polynomials of degree 5, and (1 - t)^3.

    The hypothesis has g' > 0 at zeros of g; or g' >= 0, which (1 - t)^3 meets.
    """
    coefficients = normal(generator, 4000, 6).numpy()
    coefficients[:, -1] = abs(coefficients[:, -1])  # g(0) > 0
    cubic, met, broken = np.array([-1.0, 3.0, -3.0, 1.0]), 0, 0
    for g in (*coefficients, cubic):
        roots = np.roots(g)
        zeros = roots[(abs(roots.imag) < 1e-9) & (roots.real > 0)].real
        if g is cubic:
            zeros = np.array([1.0])  # known better than to a computer
        slopes = np.polyval(np.polyder(g), zeros)
        if (slopes > 0).all() or (not strict and (slopes >= 0).all()):
            met += 1
            broken += int(len(zeros) > 0 or g[0] < 0)
    what = "functions of 4001 that meet the hypothesis"
    return Evidence([equal(f"{what} and go below", broken, 0), above(what, met, 100)])


def second_token_derivatives(generator: torch.Generator, sign: float) -> Evidence:
    """f' = a g (1 - f^2), g' = a g (gamma - sign f g), by the flow's derivative; any S_BC."""
    flow, x = admissible(generator, 200, 2, 4, symmetric=False, condition="below")
    v = flow(x)[:, 1]
    image = (flow.S_BC @ x[:, 0, :, None])[..., 0]
    f, g, gamma = (x[:, 1] * x[:, 0]).sum(-1), (x[:, 1] * image).sum(-1), (x[:, 0] * image).sum(-1)
    a = weights(flow, x)[:, 1, 0]
    off = {
        "the derivative of f": (v * x[:, 0]).sum(-1) - a * g * (1 - f**2),
        "the derivative of g": (v * image).sum(-1) - a * g * (gamma - sign * f * g),
    }
    return Evidence(agree(ROUNDING, off))


def decay_from_display(generator: torch.Generator, weight: str) -> Evidence:
    """Step 3 of Proposition B.15: y = 1 - f with y' = -w y (2 - y), y(0) = 3/2.

    The weight w = a_21 g is "positive", 1, or "vanishing" with the distance, y. In both |y'| is at
    most 3 y, and that is all that the display says by the paper's Notation.
    """
    vanishing = weight == "vanishing"

    def speed(t: float, y: np.ndarray) -> np.ndarray:
        return -(y if vanishing else 1.0) * y * (2 - y)

    at = np.linspace(0, 100 if vanishing else 10, 201)
    y = solve_ivp(speed, at[[0, -1]], [1.5], t_eval=at, rtol=1e-10, atol=1e-14).y[0]
    early, late = -np.diff(np.log(y[[0, 100, 200]]))
    fast = at_most("largest speed over the distance", np.max(-speed(0.0, y) / y), 3)
    # Of an exponential the two are equal, but for a transient.
    settles = above("rate of the second half of the time over the first", late / early, 0.5)
    return Evidence([fast, settles])


def last_distance(generator: torch.Generator, sign: float) -> Evidence:
    """The lines of Claim 4's computation, and Claim 3's X_L1', against the flow; L = 5."""
    flow, x = admissible(generator, 100, 5, 4, condition="below")
    X = interactions(x, flow.S_BC)[0]
    A, true = flow.attention(x)[:, -1, :-1], -interaction_speeds(flow, x, flow.S_BC)[0][:, -1, 0]
    XL, Xj, XLj = X[:, -1, :1], X[:, :-1, 0], X[:, -1, :-1]
    one = A[:, 0] * (1 - XL[:, 0] ** 2)
    first = -one - (A * (Xj - XLj * XL))[:, 1:].sum(-1)
    third = -(A * (1 - XLj * XL))[:, 1:].sum(-1)
    last = -one + sign * (A * (1 - Xj))[:, 1:].sum(-1) + third
    lines = {"the first line": first - true, "the last line": last - true}
    return Evidence(agree(ROUNDING, lines))


def gronwall(generator: torch.Generator, factor: bool) -> Evidence:
    """y' = -c y + C e^(-bt), y(0) = y0, in sympy for b = c: is y e^(ct) [/ (1 + t)] bounded?"""
    t, c, C, y0 = sympy.symbols("t c C y_0", positive=True)
    y = (y0 + C * t) * sympy.exp(-c * t)
    residual = sympy.simplify(y.diff(t) + c * y - C * sympy.exp(-c * t))
    ratio = sympy.simplify(y * sympy.exp(c * t) / ((1 + t) if factor else 1))
    limit = float(sympy.limit(ratio, t, sympy.oo).subs(C, 1))
    solves = equal("residual of the solution", str(residual), "0")
    bounded = below("limit of its ratio to the bound, for C = 1", limit, math.inf)
    return Evidence([solves, bounded], {"solution": str(y)})
