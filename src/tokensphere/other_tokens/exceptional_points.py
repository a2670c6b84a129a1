"""Exceptional points: (s_1 x_1, ..., s_{L-1} x_1, xi) with <xi, S_BC x_1> = 0, and what is near.

They are the equilibria of eq (11) that a last token reaches if it does not go to +-x_1, for
<x_1, S_BC x_1> > 0. Near one, with x_j = x_1 + delta v_j, x_L = xi + delta v_L, the numbers

    X_1 = <v_L, S_BC x_1>,    X_j = <xi, S_BC v_j> + X_1    (1 < j < L)

obey a linear system of their own, dX/dt = gamma J X, gamma = <x_1, S_BC x_1>, whose matrix J is
:func:`exceptional_jacobian` for any S_BC. All eigenvalues of the flow at such a point are in
closed form in :func:`tokensphere.other_tokens.exceptional_spectrum`.
"""

from typing import Any, NamedTuple

import numpy as np
import sympy
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from torch import Tensor

from tokensphere.door import array, at_least, flag, instance, number, takes, tensor, whole

from ..flow import SharedStepFlow, random_tokens
from .basins import random_problem, with_form
from .spectra import tangent_jacobian


@takes(
    generator=instance(torch.Generator),
    dim=whole(2),
    length=whole(2),
    gamma=number(),
    symmetric=flag(),
)
def exceptional_point(
    generator: torch.Generator, dim: int, length: int, gamma: float = 2.0, symmetric: bool = True
) -> tuple[SharedStepFlow, Tensor]:
    """A random flow and (x_1, ..., x_1, xi), (L, D), with <xi, S_BC x_1> = 0.

    Args: as for :func:`random_problem`.
    Raises:
        ValueError: a length below 2, and as :func:`random_problem`.
    """
    if length < 2:
        raise ValueError(f"length: got {length}, takes 2 or more")
    flow, x1 = random_problem(generator, dim, gamma, symmetric)
    xi = with_form(random_tokens(dim, generator=generator), flow.S_BC @ x1, 0.0)
    return flow, torch.stack([x1] * (length - 1) + [xi])


def exceptional_jacobian(a: Tensor | sympy.Matrix) -> list[list[Any]]:
    """The rows of J, dX/dt = gamma J X, from the weights a_ij at an exceptional point, (L, L).

        J X = (sum_{k<L} a_Lk X_k + sum_{k<j} a_jk (X_k - X_j))_j,    j = 1, ..., L - 1.

    Its eigenvalues are sum_{k<L} a_Lk, with equal X_j, and -sum_{k<j} a_jk for 1 < j < L.

    Args:
        a: numbers or symbols, read for j < i only.
    Returns:
        L - 1 rows of as many entries, for ``torch.tensor`` or ``sympy.Matrix``.
    """
    size = a.shape[0] - 1

    def entry(j: int, k: int) -> Any:
        if k < j:
            return a[size, k] + a[j, k]
        return a[size, k] - (sum(a[j, i] for i in range(j)) if k == j else 0)

    return [[entry(j, k) for k in range(size)] for j in range(size)]


@takes(length=whole(1))
def weight_symbols(length: int) -> sympy.Matrix:
    """a_ij as symbols, (L, L), counted from 1."""
    return sympy.Matrix(length, length, lambda i, j: sympy.Symbol(f"a_{i + 1}{j + 1}"))


@takes(length=whole(3), symmetric=flag())
def derived_jacobian(length: int, symmetric: bool = False) -> sympy.Matrix:
    """J in :func:`weight_symbols`, derived from eq (25) in exact arithmetic for D = 3.

    S_BC, xi with <xi, S_BC x_1> = 0, and the tangent vectors v_j are symbols; the weights are
    a_ij + delta b_ij with any b_ij. The terms of order delta are written in X.

    Args:
        length: L, 3 or more.
        symmetric: whether S_BC is.
    Raises:
        ValueError: a length below 3.
        ArithmeticError: they are no linear function of X alone, or depend on the b_ij.
    """
    if length < 3:
        raise ValueError(f"length: got {length}, takes 3 or more")
    m, gamma, delta = sympy.symbols("m gamma delta")
    cos, sin = (1 - m**2) / (1 + m**2), 2 * m / (1 + m**2)
    first, xi = sympy.Matrix([1, 0, 0]), sympy.Matrix([cos, sin, 0])
    S = sympy.Matrix(3, 3, sympy.symbols("s1:4(1:4)"))
    S[0, 0], S[1, 0] = gamma, -gamma * cos / sin
    if symmetric:
        S[0, 1], S[0, 2], S[1, 2] = S[1, 0], S[2, 0], S[2, 1]
    a = weight_symbols(length)
    moved = a + delta * sympy.Matrix(length, length, sympy.symbols(f"b:{length}:{length}"))
    p, q = sympy.symbols(f"p2:{length + 1}"), sympy.symbols(f"q2:{length + 1}")
    v = [sympy.zeros(3, 1)]
    v += [sympy.Matrix([0, p[j], q[j]]) for j in range(length - 2)]
    v += [p[-1] * sympy.Matrix([-sin, cos, 0]) + sympy.Matrix([0, 0, q[-1]])]
    x = [(first if j < length - 1 else xi) + delta * v[j] for j in range(length)]

    def speed(i: int) -> sympy.Matrix:
        total = sympy.zeros(3, 1)
        for j in range(i):
            part = moved[i, j] * (x[i].T * S * x[j])[0] * (x[j] - x[i].dot(x[j]) * x[i])
            total += part.diff(delta).subs(delta, 0)
        return total

    def coordinates(tangent: list[sympy.Matrix]) -> list[sympy.Expr]:
        last = (tangent[-1].T * S * first)[0]
        return [last] + [last + (xi.T * S * tangent[j])[0] for j in range(1, length - 1)]

    X = sympy.symbols(f"X1:{length}")
    defining = [
        sympy.numer(sympy.together(formula - symbol))
        for formula, symbol in zip(coordinates(v), X, strict=True)
    ]
    (back,) = sympy.solve(defining, [p[-1], *p[:-1]], dict=True)
    speeds = sympy.Matrix(
        [
            sympy.cancel(entry.subs(back)) / gamma
            for entry in coordinates([speed(i) for i in range(length)])
        ]
    )
    J = speeds.jacobian(X).applyfunc(sympy.expand)
    rest = (speeds - J * sympy.Matrix(X)).applyfunc(sympy.expand)
    if not rest.is_zero_matrix or not J.free_symbols <= a.free_symbols:
        raise ArithmeticError(f"not a linear system of X alone: {rest.T}, {J.free_symbols}")
    return J


class Signs(NamedTuple):
    """How many eigenvalues have positive, zero and negative real part; the least modulus of those
    that are not zero."""

    positive: int
    zero: int
    negative: int
    gap: float


@takes(
    flow=instance(SharedStepFlow),
    x=tensor("...", "L", "D", dtype="float64", unit=True),
    tolerance=at_least(0.0),
)
def eigenvalue_signs(flow: SharedStepFlow, x: Tensor, tolerance: float = 1e-9) -> Signs:
    """The signs of the eigenvalues of tokens 2, ..., L at an equilibrium x (L, D).

    By automatic differentiation, token by token: the derivative is block triangular, and where
    eigenvalues of two blocks agree the whole gives them to a root of rounding only.

    Args:
        tolerance: a real part below it in size counts as zero.
    """
    J, size = tangent_jacobian(flow, x), x.shape[-1] - 1
    blocks = [J[k : k + size, k : k + size] for k in range(size, len(J), size)]
    values = torch.cat([torch.linalg.eigvals(block).real for block in blocks])
    zero = values.abs() < tolerance
    positive, negative = int((values >= tolerance).sum()), int((values <= -tolerance).sum())
    gap = float(values[~zero].abs().min()) if positive + negative else 0.0
    return Signs(positive, int(zero.sum()), negative, gap)


@takes(start=array(2), times=array("T"), pull=number())
def saddle_loop(
    start: tuple[float, float], times: NDArray[np.float64], pull: float = 0.5
) -> NDArray[np.float64]:
    """x' = y, y' = x - x^2 - pull y H with H = y^2/2 - x^2/2 + x^3/3, from `start`: (T, 2).

    dH/dt = -pull y^2 H: inside the loop H = 0 through the saddle 0, whose eigenvalues are 1 and -1,
    all but the focus (1, 0) approach the loop, and have the saddle as a limit point. So a limit
    point along a sequence of times does not put a trajectory on the centre-stable manifold.

    Args:
        times: (T,), increasing from the time of `start`.
    """

    def field(_: float, z: NDArray[np.float64]) -> list[float]:
        x, y = z
        H = y * y / 2 - x * x / 2 + x**3 / 3
        return [y, x - x * x - pull * y * H]

    span = (float(times[0]), float(times[-1]))
    run = solve_ivp(field, span, start, t_eval=times, rtol=1e-10, atol=1e-13, method="DOP853")
    return np.asarray(run.y).T
