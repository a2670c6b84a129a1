import math

import pytest
import torch

from tokensphere.first_token.zeros import inflow, random_zeros
from tokensphere.flow import MambaFlow
from tokensphere.other_tokens.residual_stream import vertex_exponents, zero_rate


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_exponents_are_the_spectrum_of_the_layer_by_its_growth(sign):
    """At e_d the layer's diagonal blocks, A_{k,ll}, against lambda_l = sum_j A_{d,lj}."""
    dim, length, d = 4, 3, 2
    S_BC, S_Delta, a = normal(dim, dim), normal(dim, dim, seed=1), normal(dim, seed=2).exp()
    S_BC[d, d] = 1.3
    x = sign * torch.eye(dim, dtype=torch.float64)[d].expand(length, dim)
    A = MambaFlow(S_BC, S_Delta, a).attention(x)
    growth = A[d].sum(-1)
    expected = 1 - A.diagonal(dim1=1, dim2=2).mT / growth[:, None]
    others = [k for k in range(dim) if k != d]
    found = vertex_exponents(S_Delta, a, d, length, sign)
    torch.testing.assert_close(found, expected[:, others])


def test_the_first_token_s_exponents_are_one_less_a_ratio_of_steps():
    S_Delta = torch.tensor([[2.0, 0.0], [0.3, 0.4]], dtype=torch.float64)
    found = vertex_exponents(S_Delta, torch.ones(2, dtype=torch.float64), 0, 1)
    assert float(found) == pytest.approx(1 - math.log(2) / math.log(1 + math.exp(2)))


def test_later_exponents_are_larger():
    found = vertex_exponents(normal(5, 5), normal(5).exp(), 1, 6)
    assert (found.diff(dim=0) > 0).all()


@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_must_be_one_of_the_channels(index):
    with pytest.raises(ValueError, match=f"index: got {index}, takes 0 to 2"):
        vertex_exponents(normal(3, 3), normal(3).exp(), index, 2)


def zeros():
    S_BC, S_Delta = normal(5, 5), normal(5, 5, seed=1)
    p = random_zeros(S_BC, 40, torch.Generator().manual_seed(2))
    return S_BC, S_Delta, p, inflow(S_BC, S_Delta, p)[0]


def test_the_rate_at_a_zero_is_kappa_by_the_norm():
    S_BC, S_Delta, p, kappa = zeros()
    attracts = kappa < 0
    norm = torch.full_like(kappa[attracts], 4.0)
    found = zero_rate(S_BC, S_Delta, p[attracts], norm)
    torch.testing.assert_close(found, kappa[attracts].abs() / 4)


def test_a_zero_that_repels_has_no_rate():
    S_BC, S_Delta, p, kappa = zeros()
    with pytest.raises(ValueError, match="takes zeros with kappa < 0"):
        zero_rate(S_BC, S_Delta, p[kappa > 0], kappa[kappa > 0])


def test_norms_are_positive():
    S_BC, S_Delta, p, kappa = zeros()
    with pytest.raises(ValueError, match="norm"):
        zero_rate(S_BC, S_Delta, p[kappa < 0], kappa[kappa < 0])
