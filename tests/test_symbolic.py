"""The symbolic layer and field against the numeric ones, at random points."""

import pytest
import sympy
import torch
from sympy import Matrix
from torch.nn.functional import softplus

from tokensphere import s6, symbolic
from tokensphere.first_token import jacobian, tangent_basis
from tokensphere.flow import FirstTokenFlow, MambaFlow, project, random_tokens

SIZES = [(1, 1, 1), (1, 3, 2), (2, 1, 3), (3, 2, 2), (4, 3, 1)]


def numbers(value):
    """A float64 tensor as a sympy matrix of exact rationals; a vector as a list of them."""
    if value.ndim == 1:
        return [sympy.Rational(entry) for entry in value.tolist()]
    return Matrix([numbers(row) for row in value])


def evaluated(value):
    """A sympy matrix to 30 digits, rounded to float64."""
    return torch.tensor(value.evalf(30).tolist(), dtype=torch.float64)


def close(got, want):
    """To 1e-12 of the largest entry, or of one: sums of terms of either sign."""
    atol = 1e-12 * max(1.0, float(want.abs().max()))
    torch.testing.assert_close(got, want, rtol=0, atol=atol)


def parameters(seed, length, dim, states):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    x = random_tokens(length, dim, generator=g)
    return x, normal(states, dim), normal(states, dim), normal(dim, dim), normal(dim).exp()


@pytest.mark.parametrize(("length", "dim", "states"), SIZES)
@pytest.mark.parametrize("seed", [0, 1])
def test_layer_and_field_are_the_numeric_ones(seed, length, dim, states):
    x, S_B, S_C, S_Delta, a = parameters(seed, length, dim, states)
    delta = softplus(x @ S_Delta)
    scanned = s6.scan(
        x.mT[None],
        delta.mT[None],
        -a[:, None].expand(dim, states),
        *((x @ S.mT).mT[None] for S in (S_B, S_C)),
    )[0].mT
    flow = MambaFlow((S_C, S_B), S_Delta, a)
    X, B, C, W, rates = (numbers(value) for value in (x, S_B, S_C, S_Delta, a))
    D = symbolic.steps(X, W)

    close(evaluated(D), delta)
    close(evaluated(symbolic.recurrence(X, D, rates, B, C)), scanned)
    close(evaluated(symbolic.attention_form(X, D, rates, C.T * B)), scanned)
    for d, attention in enumerate(symbolic.hidden_attention(X, D, rates, C.T * B)):
        close(evaluated(attention), flow.attention(x)[d])
    close(evaluated(symbolic.mamba_field(X, C.T * B, W, rates)), flow(x))
    close(evaluated(symbolic.project(X, D)), project(x, delta))


def test_entries_may_be_symbols():
    x, t, a, b, c = sympy.symbols("x t a b c")
    got = symbolic.recurrence(
        Matrix([[x], [x]]), Matrix([[t], [t]]), [a], Matrix([[b]]), Matrix([[c]])
    )
    assert sympy.expand(got[1] - b * c * t * x**3 * (1 + sympy.exp(-a * t))) == 0
    assert symbolic.softplus(x) == sympy.log(1 + sympy.exp(x))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda m: symbolic.recurrence(m(2, 3), m(3, 2), [1] * 3, m(1, 3), m(1, 3)), "delta"),
        (lambda m: symbolic.recurrence(m(2, 3), m(2, 3), [1] * 2, m(1, 3), m(1, 3)), "a"),
        (lambda m: symbolic.recurrence(m(2, 3), m(2, 3), [1] * 3, m(1, 2), m(1, 3)), "S_B"),
        (lambda m: symbolic.recurrence(m(2, 3), m(2, 3), [1] * 3, m(1, 3), m(2, 3)), "S_C"),
        (lambda m: symbolic.recurrence(m(0, 3), m(0, 3), [1] * 3, m(1, 3), m(1, 3)), "x"),
        (lambda m: symbolic.hidden_attention(m(2, 3), m(2, 3), [1] * 3, m(2, 2)), "S_BC"),
        (lambda m: symbolic.steps(m(2, 3), m(2, 2)), "S_Delta"),
        (lambda m: symbolic.project(m(2, 3), m(3, 2)), "y"),
    ],
)
def test_bad_input_is_named(call, named):
    with pytest.raises(ValueError, match=f"^{named}: "):
        call(sympy.ones)


@pytest.mark.parametrize("dim", [2, 3])
def test_the_first_tokens_jacobian_is_the_derivative_exactly(dim):
    """In symbols, for any y, S_BC and S_Delta: no norm is assumed."""
    y = sympy.Matrix(1, dim, sympy.symbols(f"y:{dim}", real=True))
    S_BC = sympy.Matrix(dim, dim, sympy.symbols(f"b:{dim}:{dim}", real=True))
    S_Delta = sympy.Matrix(dim, dim, sympy.symbols(f"s:{dim}:{dim}", real=True))
    derivative = symbolic.first_token_field(y, S_BC, S_Delta).jacobian(y)
    difference = derivative - symbolic.first_token_jacobian(y, S_BC, S_Delta)
    for entry in difference:
        # The derivative of softplus as sympy writes it, and as written here.
        assert sympy.expand(sympy.expand(entry).replace(sympy.log, sympy.Function("L"))) == 0


@pytest.mark.parametrize("dim", [2, 3])
def test_the_first_tokens_jacobian_is_the_librarys(dim):
    """At rational points of the sphere, to 50 digits, against float64."""
    y = sympy.Matrix([[sympy.Rational(n, d) for n, d in ((2, 3), (-1, 3), (2, 3))]])
    y = sympy.Matrix([[sympy.Rational(3, 5), sympy.Rational(-4, 5)]]) if dim == 2 else y
    S_BC = sympy.Matrix(dim, dim, lambda i, j: sympy.Rational(3 * i - j + 1, 4))
    S_Delta = sympy.Matrix(dim, dim, lambda i, j: sympy.Rational((i + 2) * (j - 1) - i, 3))
    numbers = {name: torch.tensor(value.tolist(), dtype=torch.float64)
               for name, value in (("y", y), ("B", S_BC), ("S", S_Delta))}  # fmt: skip
    whole = symbolic.first_token_jacobian(y, S_BC, S_Delta).evalf(50)
    basis = tangent_basis(numbers["y"][0])
    want = basis.mT @ torch.tensor(whole.tolist(), dtype=torch.float64) @ basis
    got = jacobian(numbers["B"], numbers["S"], numbers["y"][0])
    torch.testing.assert_close(got, want, rtol=0, atol=1e-14)
    field = symbolic.first_token_field(y, S_BC, S_Delta).evalf(50)
    want = torch.tensor(field.tolist(), dtype=torch.float64)
    got = FirstTokenFlow(numbers["B"], numbers["S"])(numbers["y"])
    torch.testing.assert_close(got, want, rtol=0, atol=1e-14)
