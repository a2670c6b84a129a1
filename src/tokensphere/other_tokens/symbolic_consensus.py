"""The linearisation of eq (13) at +-x_1 in sympy, for D = 3 and coefficients that are any smooth
functions of the tokens."""

from collections.abc import Sequence

import sympy as sp

from tokensphere.door import each, one_of, takes


@takes(signs=each(one_of(1, -1), least=2))
def consensus_jacobian(signs: Sequence[int]) -> tuple[sp.Matrix, sp.Matrix]:
    """The Jacobian at (s_1 x_1, ..., s_L x_1), by differentiation, and its closed form.

    Token l >= 2 is (s_l sqrt(1 - |w_l|^2), w_l) in the chart w_l in R^2 around s_l x_1, x_1 = e_1;
    a_lj is an unknown function of w_2, ..., w_l. The closed form has -sum_{j<l} s_l s_j a_lj on the
    diagonal of token l and a_lj in its column j >= 2, for both coordinates alike.

    Args:
        signs: s_1, ..., s_L, each 1 or -1, the first 1.
    Returns:
        Two (2 (L - 1), 2 (L - 1)) matrices.
    Raises:
        ValueError: other signs, or fewer than two.
    """
    if len(signs) < 2 or signs[0] != 1 or any(sign not in (1, -1) for sign in signs):
        raise ValueError(f"signs: got {list(signs)}, takes two or more of 1, -1, the first 1")
    charts = [sp.Matrix(sp.symbols(f"w{l}_2:4", real=True)) for l in range(2, len(signs) + 1)]
    flat = [symbol for chart in charts for symbol in chart]
    x = [sp.Matrix([1, 0, 0])]
    for sign, w in zip(signs[1:], charts, strict=True):
        x.append(sp.Matrix([sign * sp.sqrt(1 - w.dot(w)), *w]))
    field, closed_form = [], sp.zeros(len(flat))
    for l in range(1, len(signs)):
        a = [sp.Function(f"a{l + 1}{j + 1}")(*flat[: 2 * l]) for j in range(l)]
        pull = sum((a[j] * x[j] for j in range(l)), sp.zeros(3, 1))
        field += list(pull - pull.dot(x[l]) * x[l])[1:]
        for k in (2 * l - 2, 2 * l - 1):
            closed_form[k, k] = -sum(signs[l] * signs[j] * a[j] for j in range(l))
            for j in range(1, l):
                closed_form[k, k - 2 * (l - j)] = a[j]
    origin = dict.fromkeys(flat, 0)
    return sp.Matrix(field).jacobian(flat).subs(origin), closed_form.subs(origin)
