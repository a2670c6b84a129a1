"""Checks of section B.2: Proposition B.13, and the measure argument for Theorem B.8."""

import sympy
import torch
from torch import Tensor

from tokensphere.flow import simulate
from tokensphere.other_tokens import (
    exceptional_spectrum,
    interaction_speeds,
    interactions,
    tangent_jacobian,
    weights,
)
from tokensphere.other_tokens.basins import (
    crossings,
    near_consensus,
    random_circle,
    random_problem,
    tokens_behind,
)
from tokensphere.other_tokens.exceptional_points import (
    derived_jacobian,
    eigenvalue_signs,
    exceptional_jacobian,
    exceptional_point,
    saddle_loop,
    weight_symbols,
)
from tokensphere.paper.checks.tools import times
from tokensphere.paper.ledger import Evidence, at_least, at_most, below, equal


def _printed_rows(a) -> list[list]:
    """J(x*) as printed, rows R_1, ..., R_{L-1}: its first column is a_L1 throughout."""
    rows = exceptional_jacobian(a)
    return [[a[a.shape[0] - 1, 0], *row[1:]] for row in rows]


def _printed_system(a) -> list[list]:
    """The display before J(x*): its last sum ends at L - 2."""
    rows = _printed_rows(a)
    return [rows[0], *([*row[:-1], 0 * row[-1]] for row in rows[1:-1]), rows[-1]]


FORMS = {
    "the rows R_j": _printed_rows,
    "the displayed system": _printed_system,
    "corrected": exceptional_jacobian,
}


def _numbers(rows: list[list]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def _perturbed(generator: torch.Generator, symmetric: bool = True):
    """flow, x_*, and a random tangent perturbation (5, 4) that leaves the first token alone."""
    flow, x = exceptional_point(generator, 4, 5, symmetric=symmetric)
    v = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    v = v - (v * x).sum(-1, keepdim=True) * x
    v[0] = 0
    return flow, x, v


def _difference(got: Tensor, want: Tensor) -> Evidence:
    """Rounding is some 1e-15 here."""
    off = float((got - want).abs().max())
    largest = {"largest term of the printed side": float(want.abs().max())}
    return Evidence([below("largest difference", off, 1e-12)], largest)


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


def first_equation(generator: torch.Generator, stated: bool) -> Evidence:
    """(i): the derivative of U_L1' at x_* against the right side, with xi x_j or xi S x_j."""
    flow, x, v = _perturbed(generator)
    S, n, x1 = flow.S_BC, len(x) - 1, x[0]
    speed = torch.func.jvp(lambda z: interaction_speeds(flow, z, S)[1][-1, 0], (x,), (v,))[1]
    X = v[-1] @ S @ x1 + v[:n] @ (x[-1] if stated else S.mT @ x[-1])
    return _difference(speed / (x1 @ S @ x1), (weights(flow, x)[-1, :n] * X).sum())


def second_equation(generator: torch.Generator, form: str) -> Evidence:
    """(ii): the derivative of the U_Lj' at x_*, 1 < j < L, against the rows of a Jacobian."""
    flow, x, v = _perturbed(generator)
    S, n, x1 = flow.S_BC, len(x) - 1, x[0]
    speed = torch.func.jvp(lambda z: interaction_speeds(flow, z, S)[1][-1, :n], (x,), (v,))[1]
    X = v[-1] @ S @ x1 + v[:n] @ S.mT @ x[-1]
    J = _numbers(FORMS[form](weights(flow, x)))
    return _difference((speed / (x1 @ S @ x1))[1:], (J @ X)[1:])


def entries(generator: torch.Generator, length: int, which: str) -> Evidence:
    """The Jacobian derived from eq (25) against one of the printed forms, entry by entry."""
    a = weight_symbols(length)
    difference = derived_jacobian(length) - sympy.Matrix(FORMS[which](a))
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
    flow, x = exceptional_point(generator, 3, 5)
    rows = exceptional_jacobian if both_sides else _printed_rows
    J = _numbers(rows(weights(flow, x)))
    E = torch.eye(4, dtype=torch.float64)
    E[1:, 0] = -1
    other = E @ J @ torch.linalg.inv(E) if both_sides else E @ J
    left = float(other[1:, 0].abs().max())
    before, after = (torch.view_as_real(torch.linalg.eigvals(M)) for M in (J, other))
    moved = float(torch.cdist(before, after).amin(1).max())
    return Evidence(
        [
            below("farthest that an eigenvalue moves", moved, 1e-8),
            below("largest entry of the first column below R_1", left, 1e-12),
        ],
        {"real parts before": _sorted(before), "after": _sorted(after)},
    )


def _sorted(values: Tensor) -> list[float]:
    return [round(value, 3) for value in values[:, 0].sort(descending=True).values.tolist()]


def eigenvalue(generator: torch.Generator, which: str) -> Evidence:
    """Is gamma a_L1, or gamma sum_j a_Lj, the largest eigenvalue of the flow at x_*?"""
    worst, closed, printed, ratios = 0.0, 0.0, 0.0, []
    for length in (3, 4, 5):
        flow, x = exceptional_point(generator, 3, length, symmetric=False)
        a, gamma = weights(flow, x), float(x[0] @ flow.S_BC @ x[0])
        claimed = gamma * float(a[-1, 0] if which == "a_L1" else a[-1, :-1].sum())
        # Blocks of the diagonal: where eigenvalues agree, the whole has them to a root of rounding.
        last = torch.linalg.eigvals(tangent_jacobian(flow, x)[-2:, -2:])
        largest = float(last.real.max())
        worst = max(worst, abs(largest - claimed))
        of_printed = torch.linalg.eigvals(gamma * _numbers(_printed_rows(a)))
        printed = max(printed, float((of_printed - claimed).abs().min()))
        known = exceptional_spectrum(flow, x[0], x[-1], torch.ones(length - 1))
        closed = max(closed, abs(largest - float(known[-1].max())))
        ratios.append(round(claimed / largest, 3))
    return Evidence(
        [below("off the largest eigenvalue, by automatic differentiation", worst, 1e-10)],
        {
            "ratios to it for L = 3, 4, 5": ratios,
            "off every eigenvalue of the printed J by": printed,
            "exceptional_spectrum off by": closed,
        },
    )


def dimension(generator: torch.Generator, gamma: float, draws: int = 6) -> Evidence:
    """One positive eigenvalue, D - 2 zeros, the others negative: codimension 1; random signs."""
    right, points, gap = 0, 0, float("inf")
    for dim in (2, 3, 4):
        for length in (3, 5):
            for _ in range(draws):
                flow, x = exceptional_point(generator, dim, length, gamma, symmetric=False)
                signs = torch.randint(0, 2, (length, 1), generator=generator) * 2.0 - 1
                signs[0] = 1
                found = eigenvalue_signs(flow, signs * x)
                right += found[:3] == (1, dim - 2, (length - 2) * (dim - 1))
                points, gap = points + 1, min(gap, found.gap)
    return Evidence(
        [equal("points with 1 positive, D - 2 zero, other negative eigenvalues", right, points)],
        {"form at the first token": gamma, "least modulus that is not zero": gap},
    )


def _shares(generator: torch.Generator, gamma: float, stops: list[float]) -> list[float]:
    """The shares of 800 random third tokens, D = 3, with |<x_3, S x_1>| <= |gamma|/4 at `stops`."""
    flow, x1 = random_problem(generator, 3, gamma)
    x0 = tokens_behind(generator, x1, 800, 3)
    x0[:, 1] = x0[0, 1]
    run = simulate(flow, x0, torch.tensor([0.0, *stops], dtype=torch.float64), 1e-6, 1e-9)
    form = run.tokens[1:, :, 2] @ (flow.S_BC @ x1)
    return (form.abs() <= abs(gamma) / 4).double().mean(-1).tolist()


def empties(generator: torch.Generator, gamma: float) -> Evidence:
    """The strip about <x_3, S x_1> = 0 empties: starts that stay in it are null."""
    stops = [2.0, 6.0, 15.0]
    shares = _shares(generator, gamma, stops)
    return Evidence(
        [
            at_most("share of random third tokens in the strip at t = 15", shares[2], 0.005),
            at_least("fall of the share from t = 2 to 6", shares[0] - shares[1], 0.0),
            at_least("fall of the share from t = 6 to 15", shares[1] - shares[2], 0.0),
        ],
        {"form at the first token": gamma, "t": stops, "shares": shares},
    )


def last_exception(generator: torch.Generator, stated: bool) -> Evidence:
    """L = 3: stated, no k < L is exceptional, and so none. Corrected: k = L is, on a null set."""
    flow, x1 = random_problem(generator, 3)
    earlier = tokens_behind(generator, x1, 1, 2)
    found = crossings(flow, earlier, random_circle(generator, 3)[None], points=48)
    number = int(found.changes)
    what = "exceptional last tokens on a great circle, of three tokens"
    if stated:
        return Evidence([equal(what, number, 0)])
    emptied = empties(generator, 2.0)
    return Evidence([equal(what, number, 2), *emptied.criteria], emptied.numbers)


def subsequence(generator: torch.Generator) -> Evidence:
    """(28): a point that is the limit along a subsequence has the trajectory in its W^sc."""
    start = 0.5 + 0.6 * float(torch.rand(1, generator=generator))
    z = saddle_loop((min(start, 0.97), 0.0), times(120, 4001).numpy())
    windows = ((z**2).sum(-1) ** 0.5)[1:].reshape(4, -1)
    nearest, farthest = windows.min(1).tolist(), windows.max(1).tolist()
    return Evidence(
        [
            below("nearest to the saddle in the last of four windows", nearest[-1], 0.2),
            below("farthest from it there", farthest[-1], 0.2),
        ],
        {"eigenvalues at the saddle": [1, -1], "nearest in each window of length 30": nearest},
    )


def integrable_speed(generator: torch.Generator) -> Evidence:
    """|x_L'| <= sum_j a_Lj (|U_L1| + 2 |S| |x_j - s_j x_1|), integrable if U_L1 decays."""
    flow, x1 = random_problem(generator, 3, symmetric=False)
    x, signs = near_consensus(generator, x1, 4000, 4)
    a = weights(flow, x)[:, -1, :-1]
    far = (x[:, 1:-1] - signs[..., None] * x1).norm(dim=-1)
    norm = float(torch.linalg.matrix_norm(flow.S_BC, 2))
    form = (x[:, -1] @ (flow.S_BC @ x1)).abs()
    bound = a.sum(-1) * form + 2 * norm * (a[:, 1:] * far).sum(-1)
    slack = float((bound - flow(x)[:, -1].norm(dim=-1)).min())
    return Evidence([at_least("least slack", slack, -1e-12)], {"configurations": len(x)})


def union(generator: torch.Generator) -> Evidence:
    """If each point of a set attracts a null set, the set does: x' = 0, y' = -y on a square."""
    x, y = torch.rand(2, 1000, generator=generator, dtype=torch.float64)
    y = y * torch.exp(torch.tensor(-40.0, dtype=torch.float64))
    near = ((x - 0.5).hypot(y) < 1e-9).double().mean()
    return Evidence(
        [
            equal("share of starts with the limit (1/2, 0)", float(near), 0.0),
            equal("share of starts with a limit on y = 0", float((y < 1e-9).double().mean()), 0.0),
        ]
    )
