"""Zeros of the form and the eigenvalue across them."""

import pytest
import torch

from tokensphere.first_token import spectrum
from tokensphere.first_token.zeros import (
    form_with_eigenvalues,
    inflow,
    random_zeros,
    unit_zero,
    zero_curves,
)


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("dim", [2, 3, 5])
def test_zeros_are_zeros_on_the_sphere(dim):
    S_BC = torch.diag(torch.tensor([-1.0, *[1.0] * (dim - 1)], dtype=torch.float64))
    S_BC[0, 1] = 0.5  # need not be symmetric
    p = random_zeros(S_BC, 100, torch.Generator().manual_seed(1))
    assert 0 < len(p) <= 100
    torch.testing.assert_close(p.norm(dim=-1), torch.ones(len(p)).double())
    assert float(((p @ S_BC) * p).sum(-1).abs().max()) < 1e-13


def test_a_form_has_the_eigenvalues_asked_for_and_a_skew_part():
    values = torch.tensor([[-2.0, 0.5, 3.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    S_BC = form_with_eigenvalues(values, torch.Generator().manual_seed(4))
    found = torch.linalg.eigvalsh((S_BC + S_BC.mT) / 2)
    torch.testing.assert_close(found, values, rtol=0, atol=1e-13)
    assert float((S_BC - S_BC.mT).abs().amax((1, 2)).min()) > 0.1
    assert float((S_BC + S_BC.mT)[0, 0, 1:].abs().min()) > 1e-3  # the frame is not the axes'
    with pytest.raises(ValueError, match="values: got dtype torch.float32"):
        form_with_eigenvalues(torch.ones(2), torch.Generator())


def test_a_definite_form_has_none():
    assert random_zeros(torch.eye(3).double(), 10, torch.Generator().manual_seed(0)).shape == (0, 3)


@pytest.mark.parametrize("dim", [1, 2, 4])
@pytest.mark.parametrize("factor", [1, 0, -1])
def test_a_form_vanishes_somewhere_unless_it_is_definite(dim, factor):
    values = 0.1 + torch.rand(dim, generator=torch.Generator().manual_seed(1)).double()
    values[0] *= factor
    for sign in (1, -1):
        S_BC = form_with_eigenvalues(sign * values, torch.Generator().manual_seed(2))
        y = unit_zero(S_BC)
        if factor > 0 or (factor < 0 and dim == 1):
            assert y is None
        else:
            assert float(y.norm()) == pytest.approx(1)
            assert abs(float(y @ S_BC @ y)) < 1e-13


def test_kappa_is_the_eigenvalue_across():
    S_Delta, S_BC = gaussian(4, 4), gaussian(4, 4, seed=1)
    p = random_zeros(S_BC, 20, torch.Generator().manual_seed(2))
    kappa, c = inflow(S_BC, S_Delta, p)
    assert float(c.sum(-1).abs().max()) < 1e-13
    for point, value in zip(p, kappa, strict=True):
        eigenvalues = spectrum(S_BC, S_Delta, point).real
        assert float(eigenvalues.sum()) == pytest.approx(float(value), abs=1e-12)
        assert int((eigenvalues != 0).sum()) == 1


def test_points_off_the_sphere_are_refused():
    with pytest.raises(ValueError, match="p: got a row whose length is off"):
        inflow(gaussian(3, 3), gaussian(3, 3), 2 * torch.eye(3).double())


def test_random_zeros_lie_on_segments_between_the_signs():
    S_BC = torch.diag(torch.tensor([-1.0, 2.0, 0.5], dtype=torch.float64))
    p = random_zeros(S_BC, 50, torch.Generator().manual_seed(4))
    y = torch.randn(100, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    q = ((y @ S_BC) * y).sum(-1)
    ends = torch.stack([y[q > 0][: len(p)], y[q < 0][: len(p)]], -1)
    # p is a combination of a point of either sign, with weights that are both positive.
    weights = torch.linalg.lstsq(ends, p[..., None]).solution
    torch.testing.assert_close(ends @ weights, p[..., None], rtol=0, atol=1e-12)
    assert (weights > 0).all()


def on_the_sphere_and_the_form(curves, S_BC):
    for curve in curves:
        torch.testing.assert_close(curve.norm(dim=1), torch.ones(len(curve)).double())
        form = torch.einsum("ni,ij,nj->n", curve, S_BC, curve)
        assert form.abs().max() < 1e-13
        torch.testing.assert_close(curve[0], curve[-1])


@pytest.mark.parametrize("seed", range(6))
def test_zero_curves_are_two_if_the_form_has_both_signs(seed):
    S_BC = gaussian(3, 3, seed=seed)
    values = torch.linalg.eigvalsh((S_BC + S_BC.mT) / 2)
    curves = zero_curves(S_BC, 50)
    assert [curve.shape for curve in curves] == [(50, 3)] * (2 if values[0] * values[2] < 0 else 0)
    on_the_sphere_and_the_form(curves, S_BC)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_form_of_one_sign_has_no_zero_curves(sign):
    eye = torch.eye(3, dtype=torch.float64)
    assert zero_curves(sign * eye) == []
    assert zero_curves(sign * torch.diag(eye[0])) == []


@pytest.mark.parametrize("outer", [(-1.0, 2.0), (-3.0, 0.5)])
def test_a_degenerate_indefinite_form_vanishes_on_two_great_circles(outer):
    turn = torch.linalg.qr(torch.tensor([[1.0, 2, 0], [0, 1, 1], [3, 0, 1]]).double()).Q
    S_BC = turn @ torch.diag(torch.tensor([outer[0], 0.0, outer[1]]).double()) @ turn.mT
    curves = zero_curves(S_BC)
    assert len(curves) == 2
    on_the_sphere_and_the_form(curves, S_BC)
    # Different circles, which meet in the kernel only.
    assert torch.linalg.matrix_rank(torch.cat(curves)) == 3


def test_zero_curves_are_of_dimension_three():
    with pytest.raises(ValueError, match="^S_BC: got shape"):
        zero_curves(torch.eye(2, dtype=torch.float64))
