"""Pair interactions and their speeds with symbols for all parameters, in sympy."""

from typing import NamedTuple

import numpy as np
import sympy
from numpy.typing import NDArray

from tokensphere.door import flag, takes, whole

__all__ = ["SymbolicInteractions", "symbolic_interactions"]


class SymbolicInteractions(NamedTuple):
    """Arrays (L, L) of expressions: object arrays, so that `np.einsum` forms sums of them.

    Attributes:
        X: X_ij = <x_i, x_j>.
        U: U_ij = <x_i, S_BC x_j>.
        A: A_ij = a_ij U_ij for j < i, else 0.
        dX: X_ij' by the product rule, along x_i' = sum_{j<i} A_ij (x_j - X_ij x_i).
        dU: U_ij' likewise.
    """

    X: NDArray[np.object_]
    U: NDArray[np.object_]
    A: NDArray[np.object_]
    dX: NDArray[np.object_]
    dU: NDArray[np.object_]


@takes(length=whole(1), dim=whole(1), symmetric=flag())
def symbolic_interactions(length: int, dim: int, symmetric: bool) -> SymbolicInteractions:
    """The interactions of `length` tokens in R^dim along eq (11), their entries being symbols.

    Symbols are x{i}_{d}, s{d}{e}, a{i}{j}, counted from 1. No relation between them is used: not
    even that tokens have norm one, so that X_ii' is not zero.

    Args:
        length: L, 1 or more.
        dim: D, 1 or more.
        symmetric: whether S_BC is.
    Raises:
        ValueError: a length or dim below 1.
    """
    for name, value in (("length", length), ("dim", dim)):
        if value < 1:
            raise ValueError(f"{name}: got {value}, takes 1 or more")
    x = sympy.Matrix(length, dim, lambda i, d: sympy.Symbol(f"x{i + 1}_{d + 1}"))

    def entry(d: int, e: int) -> sympy.Symbol:
        return sympy.Symbol(f"s{min(d, e) + 1}{max(d, e) + 1}" if symmetric else f"s{d + 1}{e + 1}")

    S_BC = sympy.Matrix(dim, dim, entry)
    X, U = x * x.T, x * S_BC * x.T

    def weight(i: int, j: int) -> sympy.Expr:
        return sympy.Symbol(f"a{i + 1}{j + 1}") * U[i, j] if j < i else sympy.S.Zero

    A = sympy.Matrix(length, length, weight)
    own = [sum((A[i, k] * X[i, k] for k in range(i)), sympy.S.Zero) for i in range(length)]
    v = A * x - sympy.diag(*own) * x
    dX, dU = v * x.T + x * v.T, v * S_BC * x.T + x * S_BC * v.T
    return SymbolicInteractions(
        *(np.array(M.tolist(), dtype=object).reshape(length, length) for M in (X, U, A, dX, dU))
    )
