"""Diagonal steps: random definite forms, limits and rates against eq (9)."""

import pytest
import torch

from tokensphere.first_token.alignment import definite_form


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
