"""The symbolic layer and field against the numeric ones, at random points."""

import pytest
import sympy
import torch
from sympy import Matrix
from torch.nn.functional import softplus

from tokensphere import s6, symbolic
from tokensphere.flow import MambaFlow, project, random_tokens

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
