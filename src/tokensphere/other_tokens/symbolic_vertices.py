"""The linearisation of eq (6) with tokens at coordinate vectors in sympy, for a diagonal S_BC."""

from collections.abc import Sequence

import sympy as sp

from tokensphere.door import each, one_of, takes, whole

__all__ = ["vertex_jacobian"]


@takes(vertices=each(whole(0)), signs=each(one_of(1, -1)), dim=whole(1))
def vertex_jacobian(
    vertices: Sequence[int], signs: Sequence[int], dim: int = 3
) -> tuple[sp.Matrix, sp.Matrix]:
    """The derivative of each token's speed in its own tangent directions at x_l = s_l e_{d_l}, by
    differentiation, and its closed form; S_Delta, a and the diagonal of S_BC are symbols.

    Token l has D - 1 rows and columns, those of the coordinates other than d_l. The closed form is
    diagonal: S_dd (Delta_k(x_l) - H_ld) + S_kk H_lk, as in
    :mod:`tokensphere.other_tokens.vertices`. Blocks between different tokens are left out: they do
    not enter the eigenvalues.

    Args:
        vertices: d_1, ..., d_L, each from 0 to dim - 1.
        signs: s_1, ..., s_L, each 1 or -1.
    Returns:
        Two (L (D - 1), L (D - 1)) matrices.
    Raises:
        ValueError: vertices or signs of other values, or not as many.
    """
    length = len(vertices)
    if not length or any(not 0 <= d < dim for d in vertices):
        raise ValueError(f"vertices: got {list(vertices)}, takes one or more of 0 to {dim - 1}")
    if len(signs) != length or any(sign not in (1, -1) for sign in signs):
        raise ValueError(f"signs: got {list(signs)}, takes {length} of 1 and -1")
    x = sp.Matrix(length, dim, lambda l, d: sp.Symbol(f"x{l + 1}_{d + 1}", real=True))
    b = sp.symbols(f"b1:{dim + 1}", real=True)
    a = sp.symbols(f"a1:{dim + 1}", positive=True)
    W = sp.Matrix(dim, dim, lambda i, k: sp.Symbol(f"w{i + 1}_{k + 1}", real=True))
    steps = (x * W).applyfunc(lambda u: sp.log(1 + sp.exp(u)))
    scores = x * sp.diag(*b) * x.T

    def decayed(l: int, j: int, k: int) -> sp.Expr:
        """Delta_k(x_j) exp(-a_k sum_{m=j+1}^{l} Delta_k(x_m))."""
        elapsed = sum((steps[m, k] for m in range(j + 1, l + 1)), sp.S.Zero)
        return steps[j, k] * sp.exp(-a[k] * elapsed)

    def held(l: int, k: int) -> sp.Expr:
        """H_lk."""
        return sum((decayed(l, j, k) for j in range(l + 1) if vertices[j] == k), sp.S.Zero)

    point = {x[l, k]: signs[l] if k == d else 0 for l, d in enumerate(vertices) for k in range(dim)}
    found, closed = [], []
    for l, d in enumerate(vertices):
        others = [k for k in range(dim) if k != d]
        output = [
            sum((scores[l, j] * decayed(l, j, k) * x[j, k] for j in range(l + 1)), sp.S.Zero)
            for k in range(dim)
        ]
        along = sum((output[k] * x[l, k] for k in range(dim)), sp.S.Zero)
        speed = sp.Matrix([output[k] - along * x[l, k] for k in others])
        found.append(speed.jacobian([x[l, k] for k in others]).subs(point))
        values = [b[d] * (steps[l, k] - held(l, d)) + b[k] * held(l, k) for k in others]
        closed.append(sp.diag(*values).subs(point))
    return sp.diag(*found), sp.diag(*closed)
