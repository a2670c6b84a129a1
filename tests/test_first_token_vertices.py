"""Stable coordinate vectors, against the Jacobian; the test of a binomial law."""

import pytest
import torch

from tokensphere.first_token import jacobian
from tokensphere.first_token.vertices import (
    binomial_p_value,
    stable_vertices,
    vertex_eigenvalues,
)


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("dim", [2, 3, 6])
def test_the_eigenvalues_are_those_of_the_jacobian(dim):
    S_BC, S_Delta = gaussian(20, dim, dim), gaussian(20, dim, dim, seed=1)
    axes = torch.eye(dim, dtype=torch.float64)
    points = torch.cat([axes, -axes]).expand(20, -1, -1)
    J = jacobian(S_BC.unsqueeze(1), S_Delta.unsqueeze(1), points)
    wanted = torch.linalg.eigvals(J)
    found = vertex_eigenvalues(S_BC, S_Delta)
    assert found.shape == (20, 2 * dim, dim - 1)
    # Eigenvalues of a nonsymmetric matrix, though it is triangular here: rounding.
    torch.testing.assert_close(
        found.sort(-1).values, wanted.real.sort(-1).values, rtol=0, atol=1e-9
    )
    assert float(wanted.imag.abs().max()) < 1e-9
    assert torch.equal(stable_vertices(S_BC, S_Delta), (found < 0).all(-1))


def test_the_rows_decide_and_not_the_columns():
    S_Delta = torch.tensor([[2.0, 1.0], [3.0, 1.0]], dtype=torch.float64)
    one = torch.eye(2, dtype=torch.float64)
    # Row 1 has its maximum on the diagonal, row 2 its minimum.
    assert stable_vertices(one, S_Delta).tolist() == [True, False, False, True]
    assert stable_vertices(-one, S_Delta).tolist() == [False, True, True, False]


def test_a_zero_on_the_diagonal_of_the_form_and_a_tie_make_none_stable():
    swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    S_Delta = torch.tensor([[1.0, 0.0], [0.3, 0.0]], dtype=torch.float64)
    assert not stable_vertices(swap, S_Delta).any()
    one = torch.eye(2, dtype=torch.float64)
    assert stable_vertices(one, S_Delta).sum() == 2
    assert not stable_vertices(one, torch.ones_like(one)).any()


def test_very_negative_entries_do_not_underflow():
    S_Delta = torch.tensor([[-1000.0, -1001.0], [0.0, -1.0]], dtype=torch.float64)
    assert stable_vertices(torch.eye(2, dtype=torch.float64), S_Delta).tolist()[0]


def test_the_binomial_law_is_told_from_another():
    g = torch.Generator().manual_seed(0)
    counts = (torch.rand(2000, 6, generator=g) < 1 / 3).sum(-1)
    assert binomial_p_value(counts, 6, 1 / 3) > 1e-3
    assert binomial_p_value(counts, 6, 1 / 4) < 1e-6


@pytest.mark.parametrize(
    ("counts", "said"), [([0, 4], "counts: from 0 to 4"), ([0, 1], "counts: got 2, too few")]
)
def test_counts_that_cannot_be_are_named(counts, said):
    with pytest.raises(ValueError, match=said):
        binomial_p_value(torch.tensor(counts), 3, 0.5)


def test_shapes_that_differ_are_named():
    with pytest.raises(ValueError, match="S_Delta: got shape"):
        stable_vertices(gaussian(3, 3), gaussian(2, 3, 3))
