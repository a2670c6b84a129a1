"""Tokens at coordinate vectors in sympy, against numbers and against the closed form."""

from itertools import product

import numpy as np
import pytest
import sympy as sp
import torch

from tokensphere.flow import MambaFlow
from tokensphere.other_tokens import tangent_jacobian
from tokensphere.other_tokens.symbolic_vertices import vertex_jacobian
from tokensphere.other_tokens.vertices import tokens_at_vertices


@pytest.mark.parametrize("vertices", [(0, 1), (0, 0), (2, 0, 2)])
def test_the_closed_form_is_the_derivative(vertices):
    for signs in product((1, -1), repeat=len(vertices)):
        found, closed = vertex_jacobian(vertices, signs)
        assert found.shape == (2 * len(vertices), 2 * len(vertices))
        assert (found - closed).applyfunc(sp.expand).is_zero_matrix


def test_with_numbers_it_is_the_flow_s_jacobian():
    g = torch.Generator().manual_seed(0)
    S_BC = torch.diag(torch.randn(3, generator=g, dtype=torch.float64))
    S_Delta = torch.randn(3, 3, generator=g, dtype=torch.float64)
    a = 0.5 + torch.rand(3, generator=g, dtype=torch.float64)
    values = {}
    for i in range(3):
        values[sp.Symbol(f"b{i + 1}", real=True)] = float(S_BC[i, i])
        values[sp.Symbol(f"a{i + 1}", positive=True)] = float(a[i])
        for k in range(3):
            values[sp.Symbol(f"w{i + 1}_{k + 1}", real=True)] = float(S_Delta[i, k])
    vertices, signs = (1, 0, 1), (1, -1, -1)
    found, closed = (
        np.array(matrix.subs(values), dtype=float) for matrix in vertex_jacobian(vertices, signs)
    )
    x = tokens_at_vertices(3, torch.tensor(vertices), torch.tensor(signs).double())
    J = tangent_jacobian(MambaFlow(S_BC, S_Delta, a), x)
    for token in range(3):
        rows = slice(2 * token, 2 * token + 2)
        wanted = np.sort(torch.linalg.eigvals(J[rows, rows]).real.numpy())
        np.testing.assert_allclose(np.sort(np.diag(closed)[rows]), wanted, atol=1e-12)
        np.testing.assert_allclose(found[rows, rows], closed[rows, rows], atol=1e-12)


@pytest.mark.parametrize(
    ("vertices", "signs", "message"),
    [((0, 3), (1, 1), "vertices"), ((), (), "vertices"), ((0, 1), (1,), "signs")],
)
def test_arrangements_that_there_are_not(vertices, signs, message):
    with pytest.raises(ValueError, match=message):
        vertex_jacobian(vertices, signs)
