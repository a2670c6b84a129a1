"""Diagonal steps: random definite forms, ratios and their bound, ties, against eq (9)."""

import pytest
import torch

from tokensphere.first_token import diagonal_limit, jacobian, spectrum
from tokensphere.first_token.alignment import (
    above_explicit_bound,
    definite_form,
    equal_moduli_eigenvalues,
    follow_diagonal,
    form_eigenvalues,
    largest_coordinate,
    ratios_to_largest,
)
from tokensphere.flow import FirstTokenFlow, random_tokens, simulate


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_a_definite_form_has_eigenvalues_of_moduli_from_one_to_two(dim, sign):
    S_BC = definite_form(50, dim, torch.Generator().manual_seed(3), sign)
    assert S_BC.shape == (50, dim, dim) and S_BC.dtype == torch.float64
    values = sign * torch.linalg.eigvalsh((S_BC + S_BC.mT) / 2)
    assert values.min() > 1 - 1e-14 and values.max() < 2 + 1e-14  # rounding
    assert dim == 1 or (S_BC - S_BC.mT).abs().amax((1, 2)).min() > 0


def test_a_form_has_one_of_two_signs():
    with pytest.raises(ValueError, match="sign: got 0"):
        definite_form(1, 2, torch.Generator(), 0)


def followed(dim, count=20, stop=15.0):
    """S_BC, first tokens under Theorem 3.2's steps, and times."""
    generator = torch.Generator().manual_seed(dim)
    S_BC = definite_form(count, dim, generator)
    y0 = random_tokens(count, dim, generator=generator)
    times = torch.linspace(0, stop, 31, dtype=torch.float64)
    return S_BC, follow_diagonal(S_BC, y0.sign(), y0, times), times


def test_form_eigenvalues_are_those_of_the_symmetric_part():
    S_BC = torch.tensor([[2.0, 5.0], [-5.0, 1.0]], dtype=torch.float64)
    assert form_eigenvalues(S_BC).tolist() == [1.0, 2.0]


def test_the_largest_coordinate_keeps_its_sign():
    y = torch.tensor([[0.6, -0.8, 0.0], [0.6, 0.6, 0.2]], dtype=torch.float64)
    assert largest_coordinate(y).tolist() == [[0, -1, 0], [1, 0, 0]]


def test_ratios_are_to_the_coordinate_that_is_largest_at_the_start():
    y = torch.tensor([[[0.6, -0.8]], [[0.96, -0.28]]], dtype=torch.float64)
    ratio = ratios_to_largest(y)
    assert torch.allclose(
        ratio[:, 0, 0], torch.tensor([0.75, 0.96 / 0.28], dtype=torch.float64), rtol=1e-15
    )
    assert (ratio[:, 0, 1] == 1).all()


@pytest.mark.parametrize("dim", [2, 4])
def test_followed_tokens_solve_equation_9_and_reach_the_limit(dim):
    S_BC, y, times = followed(dim, stop=80.0)
    S_Delta = torch.diag_embed(y[0].sign())
    alone = [
        simulate(FirstTokenFlow(S_BC[i], S_Delta[i]), y[0, i : i + 1], times[:3]).tokens[:, 0]
        for i in range(3)
    ]
    assert (torch.stack(alone, 1) - y[:3, :3]).abs().max() < 1e-5  # the default tolerance
    assert (y[-1] - largest_coordinate(y[0])).norm(dim=-1).max() < 1e-2  # near-ties are slow
    assert (y.norm(dim=-1) - 1).abs().max() < 1e-12


def test_ratios_stay_below_the_explicit_bound_and_not_below_a_faster_one():
    S_BC, y, times = followed(3)
    excess = above_explicit_bound(S_BC, y, times)
    assert excess[1:].max() < 1e-6 and (excess > -torch.inf).any()  # the integrator's
    # The bound of a form three times as large falls faster than these tokens.
    assert above_explicit_bound(3 * S_BC, y, times)[1:].max() > 0.1


def test_tied_coordinates_have_no_bound():
    y = torch.tensor([[[2.0, -2.0, 1.0]]], dtype=torch.float64) / 3
    excess = above_explicit_bound(torch.eye(3).double()[None], y, torch.zeros(1).double())
    assert excess[0, 0].tolist() == [-torch.inf, -torch.inf, 0.0]


@pytest.mark.parametrize("count", range(1, 6))
def test_eigenvalues_at_equal_moduli_are_those_of_the_derivative(count):
    dim = 5
    S_BC = definite_form(1, dim, torch.Generator().manual_seed(count))[0]
    signs = torch.tensor([1, -1, 1, 1, -1], dtype=torch.float64)
    point = signs * (torch.arange(dim) < count) / count**0.5
    along, across = equal_moduli_eigenvalues(float(point @ S_BC @ point), count)
    found = torch.linalg.eigvals(jacobian(S_BC, torch.diag(signs), point)).real.sort().values
    values = [across] * (dim - count) + [along] * (count - 1)
    expected = torch.tensor(values, dtype=torch.float64)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)
    assert across < 0 < along


def test_equal_moduli_need_a_coordinate():
    with pytest.raises(ValueError, match="count: got 0"):
        equal_moduli_eigenvalues(1.0, 0)


def test_a_ratio_below_the_floor_is_not_held_against_the_bound():
    y = torch.tensor([[[1.0, 0.5, 0.0]], [[1.0, 1e-10, 0.0]]], dtype=torch.float64)
    times = torch.tensor([0.0, 1.0], dtype=torch.float64)
    excess = above_explicit_bound(torch.eye(3).double()[None], y, times)
    assert excess.isfinite().tolist() == [[[False, True, False]], [[False, False, False]]]
    lower = above_explicit_bound(torch.eye(3).double()[None], y, times, floor=1e-12)
    assert lower.isfinite().tolist() == [[[False, True, False]], [[False, True, False]]]


def test_moduli_that_differ_by_rounding_are_tied():
    y0 = torch.tensor([[0.1 + 0.2, -0.3, 0.1]], dtype=torch.float64)
    assert y0[0, 0] != -y0[0, 1]
    limit, _ = diagonal_limit(torch.eye(3).double()[None], y0.sign(), y0 / y0.norm())
    wanted = torch.tensor([[1.0, -1.0, 0.0]], dtype=torch.float64) / 2**0.5
    torch.testing.assert_close(limit, wanted, rtol=1e-14, atol=0)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    "u", [[0.3, 0.7, -0.2], [-0.3, -0.7, -0.2], [0.3, 0.7, 0.2]], ids=["mixed", "below", "above"]
)
def test_the_rate_is_that_of_the_slowest_eigenvalue_at_the_limit(sign, u):
    S_BC = definite_form(1, 3, torch.Generator().manual_seed(5), sign)
    y0 = torch.tensor([[0.5, -0.7, 0.2]], dtype=torch.float64)
    y0 = y0 / y0.norm()
    delta = torch.tensor([u], dtype=torch.float64) / y0
    limit, rate = diagonal_limit(S_BC, delta, y0)
    slowest = spectrum(S_BC[0], torch.diag(delta[0]), limit[0]).real.max()
    assert float(rate) == pytest.approx(-float(slowest), rel=1e-12)
    assert float(rate) > 0
