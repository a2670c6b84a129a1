"""The linear system at exceptional points, in symbols and numbers, and their spectrum."""

import numpy as np
import pytest
import sympy
import torch

from tokensphere.other_tokens import exceptional_points as points
from tokensphere.other_tokens import exceptional_spectrum, weights


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


def test_an_exceptional_point_is_an_equilibrium(generator):
    flow, x = points.exceptional_point(generator, 4, 5, symmetric=False)
    assert flow(x).abs().max() < 1e-14
    assert abs(float(x[-1] @ flow.S_BC @ x[0])) < 1e-14
    with pytest.raises(ValueError, match="length: got 1"):
        points.exceptional_point(generator, 4, 1)


@pytest.mark.parametrize(("length", "symmetric"), [(3, False), (3, True), (4, False)])
def test_the_jacobian_is_the_derived_one(length, symmetric):
    a = points.weight_symbols(length)
    derived = points.derived_jacobian(length, symmetric)
    assert (derived - sympy.Matrix(points.exceptional_jacobian(a))).expand().is_zero_matrix


def test_the_derivation_needs_a_token_between():
    with pytest.raises(ValueError, match="length: got 2"):
        points.derived_jacobian(2)


def test_the_eigenvalues_of_the_jacobian(generator):
    a = torch.rand(5, 5, generator=generator, dtype=torch.float64).tril()
    J = torch.tensor(points.exceptional_jacobian(a), dtype=torch.float64)
    ones = torch.ones(4, dtype=torch.float64)
    assert torch.allclose(J @ ones, a[4, :4].sum() * ones)
    known = sorted([float(a[4, :4].sum()), *(-float(a[j, :j].sum()) for j in (1, 2, 3))])
    assert torch.linalg.eigvals(J).real.sort().values.tolist() == pytest.approx(known)


def test_signs_of_the_spectrum(generator):
    flow, x = points.exceptional_point(generator, 4, 4, symmetric=False)
    found = points.eigenvalue_signs(flow, x)
    assert found[:3] == (1, 2, 6)
    known = exceptional_spectrum(flow, x[0], x[-1], torch.ones(3))[1:].flatten()
    assert found.gap == pytest.approx(float(known[known != 0].abs().min()))
    assert float(known.max()) == pytest.approx(2 * float(weights(flow, x)[-1, :-1].sum()))
    flow, x = points.exceptional_point(generator, 4, 4, gamma=-2.0, symmetric=False)
    assert points.eigenvalue_signs(flow, x)[:3] == (6, 2, 1)


def test_the_loop_comes_back_to_its_saddle():
    times = np.linspace(0, 120, 4001)
    z = points.saddle_loop((0.8, 0.0), times)
    assert z.shape == (4001, 2) and tuple(z[0]) == (0.8, 0.0)
    distance = np.linalg.norm(z, axis=1)
    assert distance[2000:].min() < 0.05 < 1 < distance[2000:].max()
    H = z[:, 1] ** 2 / 2 - z[:, 0] ** 2 / 2 + z[:, 0] ** 3 / 3
    assert (H < 0).all() and (np.diff(np.abs(H)) <= 1e-10).all()
