"""Checks of section B.2: Proposition B.13, and the measure argument for Theorem B.8."""

import itertools
import math

import sympy
import torch
from torch import Tensor

from tokensphere.flow import simulate
from tokensphere.other_tokens import basins, exceptional_spectrum, tangent_jacobian, weights
from tokensphere.other_tokens import exceptional_points as points
from tokensphere.other_tokens.interactions import interaction_speeds, interactions
from tokensphere.paper.checks.tools import agree, hardest_push, largest, normal, times, uniform
from tokensphere.paper.ledger import Evidence, at_least, at_most, below, equal


def _printed_rows(a) -> list[list]:
    """J(x*) as printed, rows R_1, ..., R_{L-1}: its first column is a_L1 throughout."""
    rows = points.exceptional_jacobian(a)
    return [[a[a.shape[0] - 1, 0], *row[1:]] for row in rows]


def _printed_system(a) -> list[list]:
    """The display before J(x*): its last sum ends at L - 2."""
    rows = _printed_rows(a)
    return [rows[0], *([*row[:-1], 0 * row[-1]] for row in rows[1:-1]), rows[-1]]


FORMS = {
    "the rows R_j": _printed_rows,
    "the displayed system": _printed_system,
    "corrected": points.exceptional_jacobian,
}


def _numbers(rows: list[list]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def _perturbed(generator: torch.Generator, symmetric: bool = True):
    """flow, x_*, and a random tangent perturbation (5, 4) that leaves the first token alone."""
    flow, x = points.exceptional_point(generator, 4, 5, symmetric=symmetric)
    v = normal(generator, *x.shape)
    v = v - (v * x).sum(-1, keepdim=True) * x
    v[0] = 0
    return flow, x, v


def _difference(got: Tensor, want: Tensor) -> Evidence:
    """Rounding is some 1e-15 here."""
    return Evidence(agree(1e-12, {"the printed side": got - want}), {"its size": largest(want)})


def expansion(generator: torch.Generator, which: str, form: str) -> Evidence:
    """A printed first-order expansion against the derivative of X, U along a perturbation."""
    flow, x, v = _perturbed(generator, symmetric=form != "any S_BC")
    S, x1, xi, last, n = flow.S_BC, x[0], x[-1], v[-1], len(x) - 1
    dX, dU = torch.func.jvp(lambda z: interactions(z, S), (x,), (v,))[1]
    direction = S @ x1
    if which == "X_Li":
        return _difference(dX[-1, :n], v[:n] @ xi + last @ (direction if form == "control" else x1))
    if which == "U_Li":
        through = v[:n] @ (xi if form == "stated" else S.mT @ xi)
        return _difference(dU[-1, :n], through + last @ direction)
    if which == "X_ij":
        return _difference(dX[:n, :n], 2 * v[:n] @ v[:n].mT * (form == "stated"))
    ahead = v[:n] @ direction
    return _difference(dU[:n, :n], ahead[:, None] + ahead)


def _speeds(generator: torch.Generator):
    """At x_*: the first-order change of the U_Lj', j < L, over gamma; X of eqs (i) and (ii), with
    <xi, x_j> in place of <xi, S_BC x_j> as printed in (i), and right; and the weights."""
    flow, x, v = _perturbed(generator)
    S, n, x1 = flow.S_BC, len(x) - 1, x[0]
    speed = torch.func.jvp(lambda z: interaction_speeds(flow, z, S)[1][-1, :n], (x,), (v,))[1]
    X = [v[-1] @ S @ x1 + v[:n] @ y for y in (x[-1], S.mT @ x[-1])]
    return speed / (x1 @ S @ x1), *X, weights(flow, x)


def first_equation(generator: torch.Generator, stated: bool) -> Evidence:
    """(i): the derivative of U_L1' at x_* against the right side, with xi x_j or xi S x_j."""
    speed, printed, X, a = _speeds(generator)
    return _difference(speed[0], (a[-1, :-1] * (printed if stated else X)).sum())


def second_equation(generator: torch.Generator, form: str) -> Evidence:
    """(ii): the derivative of the U_Lj' at x_*, 1 < j < L, against the rows of a Jacobian."""
    speed, _, X, a = _speeds(generator)
    return _difference(speed[1:], (_numbers(FORMS[form](a)) @ X)[1:])


def entries(generator: torch.Generator, length: int, which: str) -> Evidence:
    """The Jacobian derived from eq (25) against one of the printed forms, entry by entry."""
    a = points.weight_symbols(length)
    difference = points.derived_jacobian(length) - sympy.Matrix(FORMS[which](a))
    difference = difference.applyfunc(sympy.expand)
    # The display and the rows share the first column; here the upper limit of the sum is judged.
    columns = range(1 if which == "the displayed system" else 0, length - 1)
    wrong = [
        f"({i + 1},{k + 1}) lacks {difference[i, k]}"
        for i in range(length - 1)
        for k in columns
        if difference[i, k] != 0
    ]
    return Evidence([equal(f"wrong entries for L = {length}", wrong, [])])


def row_operation(generator: torch.Generator, both_sides: bool) -> Evidence:
    """R_j - R_1 for all j, alone, or with the columns added back (a similarity)."""
    flow, x = points.exceptional_point(generator, 3, 5)
    J = _numbers(FORMS["corrected" if both_sides else "the rows R_j"](weights(flow, x)))
    E = torch.eye(4, dtype=torch.float64)
    E[1:, 0] = -1
    other = E @ J @ torch.linalg.inv(E) if both_sides else E @ J
    before, after = (torch.view_as_real(torch.linalg.eigvals(M)) for M in (J, other))
    moved = torch.cdist(before, after).amin(1).max()
    criteria = [
        below("farthest that an eigenvalue moves", moved, 1e-8),
        below("largest entry of the first column below R_1", largest(other[1:, 0]), 1e-12),
    ]
    real_parts = [values[:, 0].sort().values for values in (before, after)]
    return Evidence(criteria, {"real parts before, after": real_parts})


def eigenvalue(generator: torch.Generator, which: str) -> Evidence:
    """Is gamma a_L1, or gamma sum_j a_Lj, the largest eigenvalue of the flow at x_*?"""
    off, closed, printed, ratios = [], [], [], []
    for length in (3, 4, 5):
        flow, x = points.exceptional_point(generator, 3, length, symmetric=False)
        a, gamma = weights(flow, x), float(x[0] @ flow.S_BC @ x[0])
        claimed = gamma * float(a[-1, 0] if which == "a_L1" else a[-1, :-1].sum())
        # Blocks of the diagonal: where eigenvalues agree, the whole has them to a root of rounding.
        last = torch.linalg.eigvals(tangent_jacobian(flow, x)[-2:, -2:])
        true = float(last.real.max())
        off.append(true - claimed)
        of_printed = torch.linalg.eigvals(gamma * _numbers(_printed_rows(a)))
        printed.append(float((of_printed - claimed).abs().min()))
        known = exceptional_spectrum(flow, x[0], x[-1], torch.ones(length - 1))
        closed.append(true - float(known[-1].max()))
        ratios.append(round(claimed / true, 3))
    numbers = {
        "ratios to it for L = 3, 4, 5": ratios,
        "off every eigenvalue of the printed J by": max(printed),
        "exceptional_spectrum off by": largest(closed),
    }
    what = "off the largest eigenvalue, by automatic differentiation"
    return Evidence([below(what, largest(off), 1e-10)], numbers)


def dimension(generator: torch.Generator, gamma: float, draws: int = 6) -> Evidence:
    """One positive eigenvalue, D - 2 zeros, the others negative: codimension 1; random signs."""
    right, gaps = 0, []
    for dim, length, _ in itertools.product((2, 3, 4), (3, 5), range(draws)):
        flow, x = points.exceptional_point(generator, dim, length, gamma, symmetric=False)
        signs = torch.randint(0, 2, (length, 1), generator=generator) * 2.0 - 1
        signs[0] = 1
        found = points.eigenvalue_signs(flow, signs * x)
        right += found[:3] == (1, dim - 2, (length - 2) * (dim - 1))
        gaps.append(found.gap)
    what = "points with 1 positive, D - 2 zero, other negative eigenvalues"
    numbers = {"form at the first token": gamma, "least modulus that is not zero": min(gaps)}
    return Evidence([equal(what, right, len(gaps))], numbers)


def empties(generator: torch.Generator, gamma: float) -> Evidence:
    """The strip |<x_3, S x_1>| <= |gamma|/4 empties, D = 3: starts that stay in it are null."""
    flow, x1 = basins.random_problem(generator, 3, gamma)
    x0 = basins.tokens_behind(generator, x1, 800, 3)
    x0[:, 1] = x0[0, 1]
    at = torch.tensor([0.0, 2.0, 6.0, 15.0], dtype=torch.float64)
    form = simulate(flow, x0, at, 1e-6, 1e-9).tokens[1:, :, 2] @ (flow.S_BC @ x1)
    shares = (form.abs() <= abs(gamma) / 4).double().mean(-1)
    criteria = [
        at_most("share of random third tokens in the strip at t = 15", shares[2], 0.005),
        at_least("fall of the share from t = 2 to 6", shares[0] - shares[1], 0.0),
        at_least("fall of the share from t = 6 to 15", shares[1] - shares[2], 0.0),
    ]
    return Evidence(criteria, {"form at the first token": gamma, "shares": shares})


def last_exception(generator: torch.Generator, stated: bool) -> Evidence:
    """L = 3: stated, no k < L is exceptional, and so none. Corrected: k = L is, on a null set."""
    flow, x1 = basins.random_problem(generator, 3)
    earlier = basins.tokens_behind(generator, x1, 1, 2)
    circle = basins.random_circle(generator, 3)[None]
    number = int(basins.crossings(flow, earlier, circle, points=48).changes)
    what = "exceptional last tokens on a great circle, of three tokens"
    if stated:
        return Evidence([equal(what, number, 0)])
    emptied = empties(generator, 2.0)
    return Evidence([equal(what, number, 2), *emptied.criteria], emptied.numbers)


def subsequence(generator: torch.Generator) -> Evidence:
    """(28): a point that is the limit along a subsequence has the trajectory in its W^sc."""
    start = min(0.5 + 0.6 * float(uniform(generator, 1)), 0.97)
    z = points.saddle_loop((start, 0.0), times(120, 4001).numpy())
    windows = ((z**2).sum(-1) ** 0.5)[1:].reshape(4, -1)
    near = below("nearest to the saddle in the last of four windows", windows[-1].min(), 0.2)
    far = below("farthest from it there", windows[-1].max(), 0.2)
    return Evidence([near, far], {"nearest in each window of length 30": windows.min(1)})


def integrable_speed(generator: torch.Generator) -> Evidence:
    """|x_L'| <= sum_j a_Lj (|U_L1| + |S| |x_j - s_j x_1|), integrable if U_L1 decays."""
    flow, x1 = basins.random_problem(generator, 3, symmetric=False)
    cases = {
        "near consensus": (flow, *basins.near_consensus(generator, x1, 4000, 4)),
        "where it is sharp": hardest_push(),
    }
    criteria = []
    for where, (flow, x, signs) in cases.items():
        slack = basins.speed_bound(flow, x, signs) - flow(x)[:, -1].norm(dim=-1)
        criteria.append(at_least(f"least slack {where}", slack.min(), -1e-12))
    return Evidence(criteria, {"configurations near consensus": 4000})


def union(generator: torch.Generator) -> Evidence:
    """If each point of a set attracts a null set, the set does: x' = 0, y' = -y on a square."""
    x, y = uniform(generator, 2, 1000)
    y = y * math.exp(-40.0)
    one, all_of_them = ((x - 0.5).hypot(y) < 1e-9).double().mean(), (y < 1e-9).double().mean()
    point = equal("share of starts with the limit (1/2, 0)", one, 0.0)
    return Evidence([point, equal("share of starts with a limit on y = 0", all_of_them, 0.0)])
