"""The potential of eq (9): that it grows along trajectories, and exists just where it should."""

from itertools import product

import pytest
import torch
from torch.nn.functional import softplus

from tokensphere.first_token import potential
from tokensphere.first_token.potential import Potential
from tokensphere.flow import FirstTokenFlow, random_tokens, simulate


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def orthants(dim):
    return [torch.tensor(s, dtype=torch.float64) for s in product((1, -1), repeat=dim)]


def with_potential(dim, seed):
    """S_Delta, signs and beta of a problem that has a potential, by construction."""
    g = torch.Generator().manual_seed(seed)
    H = torch.randn(dim, dim, generator=g, dtype=torch.float64)
    beta = 1 + torch.rand(dim, generator=g, dtype=torch.float64)
    k = torch.randn(dim, generator=g, dtype=torch.float64)
    signs = torch.where(torch.rand(dim, generator=g) < 0.5, -1.0, 1.0).double()
    G = (H + H.mT - k) / beta
    return (G * signs).mT, signs, beta / beta.min()


CHASE = 3 * torch.tensor([[0.1, -1, 1], [1, 0.1, -1], [-1, 1, 0.1]], dtype=torch.float64)


@pytest.mark.parametrize("dim", [3, 4, 5, 8])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_finds_what_was_built_in(dim, seed):
    S_Delta, signs, beta = with_potential(dim, seed)
    found = potential(S_Delta, signs)
    assert isinstance(found, Potential)
    H = found.beta * (signs.unsqueeze(-1) * S_Delta).mT + found.k
    # H is a sum of a few numbers of order 10; its asymmetry is rounding over the kernel's gap.
    torch.testing.assert_close(H, H.mT, rtol=0, atol=1e-9)
    torch.testing.assert_close(H, found.H, rtol=0, atol=1e-9)
    assert float(found.beta.min()) > 1 - 1e-6  # tolerance of HiGHS
    if dim >= 4:  # one solution up to a factor
        torch.testing.assert_close(found.beta, beta, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dim", [2, 3, 6])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_grows_where_the_form_is_positive_and_falls_where_negative(dim, sign):
    S_Delta, signs, _ = with_potential(dim, 5)
    V = potential(S_Delta, signs)
    root = gaussian(dim, dim, seed=7)
    S_BC = sign * (root @ root.mT + torch.eye(dim, dtype=torch.float64))
    y0 = signs * random_tokens(30, 1, dim, generator=torch.Generator().manual_seed(8)).abs()
    times = torch.linspace(0, 2, 41, dtype=torch.float64)
    path = simulate(FirstTokenFlow(S_BC, S_Delta), y0, times, rtol=1e-10, atol=1e-12)
    change = sign * V.value(path.tokens[:, :, 0]).diff(dim=0)
    assert float(change.min()) > -1e-9  # tolerance of the integration
    assert float(change.sum(0).median()) > 1e-4  # some start close to an equilibrium


@pytest.mark.parametrize("dim", [2, 3, 5])
def test_derivative_is_the_covariance(dim):
    S_Delta, signs, _ = with_potential(dim, 3)
    V = potential(S_Delta, signs)
    S_BC = gaussian(dim, dim, seed=1)
    field = FirstTokenFlow(S_BC, S_Delta)
    for y in signs * random_tokens(20, dim, generator=torch.Generator().manual_seed(2)).abs():
        point = y.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(V.value(point), point)
        r = y.abs() / V.beta
        r = r / r.sum()
        steps, level = softplus(y @ S_Delta), V.H @ r
        covariance = (r * level * steps).sum() - (r * level).sum() * (r * steps).sum()
        q = y @ S_BC @ y
        torch.testing.assert_close(gradient @ field(y[None])[0], q * covariance)
        assert covariance > 0


def test_every_orthant_for_diagonal_steps_also_shifted_and_for_two_coordinates():
    diagonal = torch.diag(gaussian(5)) + gaussian(5, 1, seed=1)
    assert all(potential(diagonal, signs) for signs in orthants(5))
    for seed in range(5):
        assert all(potential(gaussian(2, 2, seed=seed), signs) for signs in orthants(2))
    assert potential(gaussian(1, 1), torch.ones(1).double()).H.shape == (1, 1)
    assert potential(torch.zeros(3, 3).double(), torch.ones(3).double())


def test_symmetric_steps_where_all_signs_are_equal():
    S_Delta = gaussian(6, 6) + gaussian(6, 6).mT
    for sign in (1, -1):
        found = potential(S_Delta, sign * torch.ones(6, dtype=torch.float64))
        torch.testing.assert_close(found.beta, torch.ones(6).double(), rtol=1e-6, atol=0)
    assert potential(S_Delta, torch.tensor([1.0, -1, 1, 1, 1, 1]).double()) is None


def test_none_where_steps_chase_one_another():
    having = [tuple(s.tolist()) for s in orthants(3) if potential(CHASE, s) is not None]
    assert len(having) == 6
    assert (1, 1, 1) not in having and (-1, -1, -1) not in having


@pytest.mark.parametrize(("dim", "count"), [(2, 4), (3, 6), (4, 2), (5, 0), (6, 0)])
def test_number_of_orthants_for_generic_steps(dim, count):
    for seed in range(10):
        S_Delta = gaussian(dim, dim, seed=seed)
        assert sum(potential(S_Delta, signs) is not None for signs in orthants(dim)) == count


def test_three_coordinates_by_the_order_at_the_vertices():
    for seed in range(150):
        S_Delta = gaussian(3, 3, seed=seed).round()  # small integers: zeros and ties too
        for signs in orthants(3):
            G = (signs.unsqueeze(-1) * S_Delta).mT
            a = torch.stack([G[2, 0] - G[1, 0], G[0, 1] - G[2, 1], G[1, 2] - G[0, 2]])
            expected = bool((a == 0).all() or ((a > 0).any() and (a < 0).any()))
            assert (potential(S_Delta, signs) is not None) == expected


def test_value_does_not_depend_on_the_norm_and_reaches_faces():
    S_Delta, signs, _ = with_potential(3, 0)
    V = potential(S_Delta, signs)
    y = signs * torch.tensor([0.2, 0.0, 0.7], dtype=torch.float64)
    torch.testing.assert_close(V.value(y), V.value(3 * y))
    vertex = torch.tensor([1.0, 0, 0], dtype=torch.float64) * signs
    torch.testing.assert_close(V.value(vertex), V.H[0, 0] / 2)


@pytest.mark.parametrize(
    ("S_Delta", "signs", "message"),
    [
        (torch.eye(3), torch.ones(3).double(), "S_Delta: got dtype"),
        (torch.ones(2, 3).double(), torch.ones(3).double(), "S_Delta: got shape"),
        (torch.ones(2, 3, 3).double(), torch.ones(3).double(), "S_Delta: got shape"),
        (torch.eye(3).double() / 0, torch.ones(3).double(), "S_Delta: got "),
        (torch.eye(3).double(), torch.ones(2).double(), "signs: got shape"),
        (torch.eye(3).double(), torch.ones(3), "signs: got dtype"),
        (torch.eye(3).double(), torch.tensor([1.0, 0, 1]).double(), "signs: takes"),
    ],
)
def test_refuses(S_Delta, signs, message):
    with pytest.raises(ValueError, match=message):
        potential(S_Delta, signs)


def test_value_refuses():
    V = potential(torch.eye(3).double(), torch.ones(3).double())
    for y, message in [
        (torch.tensor([1.0, -0.1, 0]).double(), "y: a coordinate"),
        (torch.ones(2).double(), "y: shape"),
        (torch.zeros(3).double(), "y: holds a zero vector"),
        (torch.ones(3), "y: dtype"),
    ]:
        with pytest.raises(ValueError, match=message):
            V.value(y)
