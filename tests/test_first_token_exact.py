"""Exact counts of type-1 equilibria, against definitions and the package's floating point."""

import math
from fractions import Fraction

import pytest
import torch

from tokensphere.first_token import equilibria, exact
from tokensphere.flow import FirstTokenFlow

IDENTITY = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
CIRCLE = [[1, 1, 0], [0, 0, 1], [0, 1, 0]]


def integers(dim, reach, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(-reach, reach + 1, (dim, dim), generator=g).tolist()


def test_the_supports_are_all_nonempty_subsets():
    assert list(exact.supports(2)) == [(0,), (1,), (0, 1)]
    assert len(set(exact.supports(5))) == 31


def test_kernels_of_known_matrices():
    assert exact.kernel(IDENTITY, (1,)) == [[1]]
    ((a, b),) = exact.kernel(IDENTITY, (0, 2))
    assert a == b != 0
    assert len(exact.kernel(CIRCLE, (0, 1))) == 2  # all steps agree there


def test_a_kernel_does_not_depend_on_a_common_factor_or_the_kind_of_number():
    halves = [[entry / 2 for entry in row] for row in CIRCLE]
    thirds = [[Fraction(entry, 3) for entry in row] for row in CIRCLE]
    for A in exact.supports(3):
        assert exact.kernel(halves, A) == exact.kernel(thirds, A) == exact.kernel(CIRCLE, A)


@pytest.mark.parametrize("dim", [1, 2, 3, 5])
def test_counts_of_known_matrices(dim):
    identity = [[int(i == j) for j in range(dim)] for i in range(dim)]
    triangular = [[int(j > i) for j in range(dim)] for i in range(dim)]
    assert exact.count(identity) == 2 * (2**dim - 1)
    assert exact.count(triangular) == 2 * dim
    assert (exact.count([[0] * dim] * dim) is None) == (dim > 1)
    assert exact.count(CIRCLE) is None


@pytest.mark.parametrize("seed", range(10))
def test_agrees_with_floating_point(seed):
    S_Delta = integers(3, 1, seed)
    found = equilibria(torch.eye(3).double(), torch.tensor(S_Delta, dtype=torch.float64))
    isolated = [point for point in found if point.kind != "family"]
    assert exact.finitely_many(S_Delta) == (len(isolated) == len(found))
    if exact.finitely_many(S_Delta):
        supports = sorted({point.support for point in isolated})
        assert supports == sorted(exact.isolated_supports(S_Delta))
        assert exact.count(S_Delta) == len(isolated)


@pytest.mark.parametrize("seed", range(5))
def test_a_kernel_is_a_line_where_restricted_columns_are_affinely_independent(seed):
    S_Delta = integers(4, 1, seed)
    for A in exact.supports(4):
        assert exact.affinely_independent(S_Delta, A) == (len(exact.kernel(S_Delta, A)) == 1)


@pytest.mark.parametrize("seed", range(3))
def test_what_moves_is_what_is_not_at_rest(seed):
    S_Delta, S_BC = integers(3, 3, seed), integers(3, 3, seed + 10)
    rests = 0
    for v in exact.trial_vectors(S_Delta):
        rest = exact.has_equal_steps(S_Delta, v) or exact.form(S_BC, v) == 0
        assert exact.moves(S_BC, S_Delta, v) == (not rest)
        rests += rest
        y = torch.tensor(v, dtype=torch.float64)
        y = (y / y.norm())[None]
        speed = FirstTokenFlow(torch.tensor(S_BC).double(), torch.tensor(S_Delta).double())(y)
        assert (float(speed.norm()) < 1e-12) == rest  # rounding of numbers up to a hundred
    assert rests >= 14


def test_steps_are_softplus_at_the_unit_vector():
    found = exact.steps([[1, 0], [2, Fraction(-1, 3)]], (3, 4))
    for ball, inner in zip(found, (11 / 5, -4 / 15), strict=True):
        assert float(ball) == pytest.approx(math.log1p(math.exp(inner)), rel=1e-15)
        assert float(ball.rad()) < 1e-30


def test_floats_are_the_rational_numbers_that_they_are():
    # 0.1 + 0.2 is not 0.3, and equal steps at (1, 1) need their equality.
    S_Delta = [[0.1, 0.3], [0.2, 0.0]]
    assert not exact.has_equal_steps(S_Delta, (1, 1))
    assert exact.moves([[1, 0], [0, 1]], S_Delta, (1, 1))
    assert exact.has_equal_steps([[0.5, 0.75], [0.25, 0.0]], (1, 1))


def test_inner_products_are_by_column():
    assert exact.inner_products([[1, 2], [3, 4]], (1, 10)) == [31, 42]
    assert exact.form([[1, 2], [0, 1]], (1, 10)) == 121


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: exact.kernel([[1, 2]], (0,)), "S_Delta: got shape"),
        (lambda: exact.kernel(IDENTITY, ()), "support: got"),
        (lambda: exact.kernel(IDENTITY, (0, 3)), "support: got"),
        (lambda: exact.kernel([[float("nan")]], (0,)), "S_Delta: got nan in it"),
        (lambda: exact.inner_products(IDENTITY, (1, 2)), "v: got shape"),
        (lambda: exact.form(IDENTITY, (1, 2)), "v: got shape"),
        (lambda: exact.moves(IDENTITY, IDENTITY, (0, 0, 0)), "v: got the zero vector"),
    ],
)
def test_what_makes_no_sense_is_named(call, said):
    with pytest.raises(ValueError, match=said):
        call()
