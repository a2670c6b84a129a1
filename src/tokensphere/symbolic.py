"""The S6 layer and the field of the deep Mamba flow in sympy, for exact checks.

Tokens ``x`` are an L x D matrix with row l - 1 for x_l, steps ``delta`` an L x D matrix, rates
``a`` a sequence of D entries, as in :mod:`tokensphere.flow`. Entries may be symbols or numbers.
Nothing is assumed of them: rows of ``x`` need not have norm one, though only then is
:func:`project` the projection onto the tangent space.
"""

from collections.abc import Sequence

import sympy
from sympy import Expr, Matrix

from tokensphere.door import instance, takes

__all__ = [
    "attention_form",
    "first_token_field",
    "first_token_jacobian",
    "hidden_attention",
    "mamba_field",
    "project",
    "recurrence",
    "softplus",
    "steps",
]

Rates = Sequence[Expr]


def softplus(z: Expr) -> Expr:
    """ln(1 + e^z), eq (3)."""
    return sympy.log(1 + sympy.exp(z))


@takes(
    x=instance(sympy.MatrixBase, "a sympy Matrix"),
    S_Delta=instance(sympy.MatrixBase, "a sympy Matrix"),
)
def steps(x: Matrix, S_Delta: Matrix) -> Matrix:
    """Delta_d(x_l), an L x D matrix, eq (3); **column** d of S_Delta is S_{Delta,d}."""
    if S_Delta.shape != (x.cols, x.cols):
        raise ValueError(f"S_Delta: shape {S_Delta.shape}, takes (D, D) with D = {x.cols} as in x")
    return (x * S_Delta).applyfunc(softplus)


@takes(
    x=instance(sympy.MatrixBase, "a sympy Matrix"),
    delta=instance(sympy.MatrixBase, "a sympy Matrix"),
    S_B=instance(sympy.MatrixBase, "a sympy Matrix"),
    S_C=instance(sympy.MatrixBase, "a sympy Matrix"),
)
def recurrence(x: Matrix, delta: Matrix, a: Rates, S_B: Matrix, S_C: Matrix) -> Matrix:
    """The layer's output by eqs (1)-(2), step by step.

    Args:
        x, delta: tokens and steps, L x D.
        a: D rates.
        S_B, S_C: N x D.

    Returns:
        y, L x D.

    Raises:
        ValueError: a shape; the message names the argument.
    """
    _check(x, delta, a)
    for name, value in {"S_B": S_B, "S_C": S_C}.items():
        if value.cols != x.cols or value.rows != S_B.rows:
            raise ValueError(
                f"{name}: shape {value.shape}, takes (N, D) = {(S_B.rows, x.cols)} as in S_B and x"
            )
    y = sympy.zeros(*x.shape)
    for d in range(x.cols):
        state = sympy.zeros(S_B.rows, 1)
        for l in range(x.rows):
            decay = sympy.exp(-a[d] * delta[l, d])
            state = decay * state + delta[l, d] * (S_B * x[l, :].T) * x[l, d]
            y[l, d] = (S_C * x[l, :].T).dot(state)
    return y


@takes(
    x=instance(sympy.MatrixBase, "a sympy Matrix"),
    delta=instance(sympy.MatrixBase, "a sympy Matrix"),
    S_BC=instance(sympy.MatrixBase, "a sympy Matrix"),
)
def hidden_attention(x: Matrix, delta: Matrix, a: Rates, S_BC: Matrix) -> list[Matrix]:
    """A_{d,lj} of eqs (5) and (8): for each channel d an L x L matrix, zero for j > l.

    Args: as for :func:`recurrence`, with S_BC = S_C^T S_B, D x D.
    Raises: ValueError, as :func:`recurrence`.
    """
    _check(x, delta, a)
    if S_BC.shape != (x.cols, x.cols):
        raise ValueError(f"S_BC: shape {S_BC.shape}, takes (D, D) with D = {x.cols} as in x")
    scores = x * S_BC * x.T

    def entry(d: int, l: int, j: int) -> Expr:
        if j > l:
            return sympy.S.Zero
        elapsed = sum((delta[k, d] for k in range(j + 1, l + 1)), sympy.S.Zero)
        return scores[l, j] * delta[j, d] * sympy.exp(-a[d] * elapsed)

    return [
        Matrix(x.rows, x.rows, lambda l, j, d=d: entry(d, int(l), int(j))) for d in range(x.cols)
    ]


@takes(
    x=instance(sympy.MatrixBase, "a sympy Matrix"),
    delta=instance(sympy.MatrixBase, "a sympy Matrix"),
    S_BC=instance(sympy.MatrixBase, "a sympy Matrix"),
)
def attention_form(x: Matrix, delta: Matrix, a: Rates, S_BC: Matrix) -> Matrix:
    """The layer's output by eqs (4)-(5): y, L x D.

    Args: as for :func:`hidden_attention`.
    Raises: ValueError, as :func:`recurrence`.
    """
    attention = hidden_attention(x, delta, a, S_BC)
    return Matrix.hstack(*(attention[d] * x[:, d] for d in range(x.cols)))


@takes(
    x=instance(sympy.MatrixBase, "a sympy Matrix"), y=instance(sympy.MatrixBase, "a sympy Matrix")
)
def project(x: Matrix, y: Matrix) -> Matrix:
    """P_x(y) = y - <y, x> x, row by row."""
    if y.shape != x.shape:
        raise ValueError(f"y: shape {y.shape}, but x has {x.shape}")
    return Matrix.vstack(*(y[l, :] - y[l, :].dot(x[l, :]) * x[l, :] for l in range(x.rows)))


@takes(
    x=instance(sympy.MatrixBase, "a sympy Matrix"),
    S_BC=instance(sympy.MatrixBase, "a sympy Matrix"),
    S_Delta=instance(sympy.MatrixBase, "a sympy Matrix"),
)
def mamba_field(x: Matrix, S_BC: Matrix, S_Delta: Matrix, a: Rates) -> Matrix:
    """dx/dt of eqs (6) and (8), L x D, as :class:`tokensphere.flow.MambaFlow` computes it.

    Args: x, a and S_BC as for :func:`hidden_attention`; S_Delta as for :func:`steps`.
    Raises: ValueError, as :func:`recurrence`.
    """
    return project(x, attention_form(x, steps(x, S_Delta), a, S_BC))


@takes(
    y=instance(sympy.MatrixBase, "a sympy Matrix"),
    S_BC=instance(sympy.MatrixBase, "a sympy Matrix"),
    S_Delta=instance(sympy.MatrixBase, "a sympy Matrix"),
)
def first_token_field(y: Matrix, S_BC: Matrix, S_Delta: Matrix) -> Matrix:
    """Eq (9): q (Delta * y - m y) with q = <y, S_BC y> and m = <Delta * y, y>, a row of D.

    Args:
        y: the token, 1 x D. S_BC, S_Delta: D x D, as for :func:`steps`.
    Raises: ValueError, as :func:`steps`.
    """
    return (y * S_BC * y.T)[0] * _orbit_field(y, S_Delta)


@takes(
    y=instance(sympy.MatrixBase, "a sympy Matrix"),
    S_BC=instance(sympy.MatrixBase, "a sympy Matrix"),
    S_Delta=instance(sympy.MatrixBase, "a sympy Matrix"),
)
def first_token_jacobian(y: Matrix, S_BC: Matrix, S_Delta: Matrix) -> Matrix:
    """The closed form of :func:`tokensphere.first_token.jacobian`, before its restriction to the
    tangent space: D x D, the derivative of :func:`first_token_field` in every direction.

    Args and raises: as :func:`first_token_field`.
    """
    delta = steps(y, S_Delta)
    mean = sum((delta[k] * y[k] ** 2 for k in range(y.cols)), sympy.S.Zero)
    logistic = (y * S_Delta).applyfunc(lambda u: sympy.exp(u) / (1 + sympy.exp(u)))
    g = sympy.diag(*logistic) * S_Delta.T  # row k is the gradient of Delta_k

    def entry(i: int, j: int) -> Expr:
        shared = sum((y[k] ** 2 * g[k, j] for k in range(y.cols)), sympy.S.Zero)
        change = y[i] * (g[i, j] - shared - 2 * delta[j] * y[j])
        return change + (delta[i] - mean if i == j else 0)

    dw = Matrix(y.cols, y.cols, lambda i, j: entry(int(i), int(j)))
    form = (y * S_BC * y.T)[0]
    return form * dw + _orbit_field(y, S_Delta).T * (y * (S_BC + S_BC.T))


def _orbit_field(y: Matrix, S_Delta: Matrix) -> Matrix:
    return project(y, steps(y, S_Delta).multiply_elementwise(y))


def _check(x: Matrix, delta: Matrix, a: Rates) -> None:
    if 0 in x.shape:
        raise ValueError(f"x: shape {x.shape}, takes (L, D), none of them 0")
    if delta.shape != x.shape:
        raise ValueError(f"delta: shape {delta.shape}, but x has {x.shape}, (L, D)")
    if len(a) != x.cols:
        raise ValueError(f"a: {len(a)} entries, takes D = {x.cols} as in x")
