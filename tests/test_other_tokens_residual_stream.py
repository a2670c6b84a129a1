import math

import pytest
import torch

from tokensphere.first_token.zeros import inflow, random_zeros
from tokensphere.flow import MambaFlow, random_tokens
from tokensphere.other_tokens.residual_stream import (
    fitted_exponents,
    layer_bound,
    vertex_exponents,
    zero_rate,
)


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_no_output_of_the_layer_is_longer_than_the_bound_whatever_the_length():
    S_BC, S_Delta, a = normal(20, 3, 3), normal(20, 3, 3, seed=1), normal(20, 3, seed=2).exp()
    bound = layer_bound(S_BC, S_Delta, a)
    assert bound.shape == (20,)
    x = random_tokens(20, 1, 3, generator=torch.Generator().manual_seed(3)).expand(20, 200, 3)
    for tokens in (x, random_tokens(20, 200, 3, generator=torch.Generator().manual_seed(4))):
        longest = MambaFlow(S_BC, S_Delta, a).layer(tokens).norm(dim=-1).amax(-1)
        assert (longest < bound).all()


def test_the_bound_is_met_where_steps_are_short():
    """For equal tokens sum_j Delta e^{-a (l - j) Delta} tends to 1/a as Delta does to 0."""
    S_Delta = torch.tensor([[-7.0]], dtype=torch.float64)
    one, x = torch.ones(1, 1, dtype=torch.float64), torch.ones(30000, 1, dtype=torch.float64)
    longest = float(MambaFlow(one, S_Delta, one[0]).layer(x).abs().max())
    # The bound takes the step at -x, which is about 7, in place of the one at x.
    below = float(layer_bound(one, S_Delta, one[0])) - math.log1p(math.exp(7))
    assert below < longest < below + 1e-3


def test_the_bound_names_what_is_wrong():
    with pytest.raises(ValueError, match="a: got -1 in it, takes .*above 0"):
        layer_bound(normal(2, 2), normal(2, 2), -torch.ones(2, dtype=torch.float64))
    with pytest.raises(ValueError, match="S_BC: got shape"):
        layer_bound(normal(2, 3), normal(2, 2), torch.ones(2, dtype=torch.float64))


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
    with pytest.raises(ValueError, match=f"index: got {index}, takes"):
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


def test_exponents_of_powers_are_found():
    times = torch.logspace(3, 9, 20, dtype=torch.float64)
    p = torch.tensor([[0.2, 1.5], [0.7, 0.0]], dtype=torch.float64)
    values = 3 * times[:, None, None] ** -p
    torch.testing.assert_close(fitted_exponents(times, values), p, rtol=0, atol=1e-12)
    assert fitted_exponents(times, 0 * times).isnan()


@pytest.mark.parametrize("times", [[1.0], [0.0, 1.0]])
def test_exponents_need_two_positive_times(times):
    with pytest.raises(ValueError, match="times: got"):
        fitted_exponents(torch.tensor(times), torch.ones(len(times)))
