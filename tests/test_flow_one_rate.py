"""The nearest hidden attention with one rate a channel."""

import math

import pytest
import torch

from tokensphere import s6
from tokensphere.flow import MambaFlow, random_tokens
from tokensphere.flow.one_rate import nearest_rates


def layer(A):
    """Hidden attention, scores and steps of a layer with rates A, (D, N)."""
    generator = torch.Generator().manual_seed(0)
    length, (dim, states) = 10, A.shape
    delta = 0.1 + torch.rand(length, dim, generator=generator, dtype=torch.float64)
    B, C = torch.randn(2, states, length, generator=generator, dtype=torch.float64)
    attention = s6.hidden_attention(delta.mT[None], -A, B[None], C[None])[0]
    return attention, C.mT @ B, delta


def test_the_rates_of_a_layer_that_has_one_a_channel_are_found():
    a = torch.tensor([0.02, 1.0, 7.0], dtype=torch.float64)
    rates, distances = nearest_rates(*layer(a[:, None].expand(3, 4)))
    assert float(distances.max()) < 1e-7  # the square root of rounding
    torch.testing.assert_close(rates, a, rtol=1e-5, atol=0)


def test_those_of_the_flow_are_found():
    generator = torch.Generator().manual_seed(1)
    x = random_tokens(8, 2, generator=generator)
    S_BC, S_Delta = torch.randn(2, 2, 2, generator=generator, dtype=torch.float64)
    a = torch.tensor([0.5, 2.0], dtype=torch.float64)
    delta = torch.nn.functional.softplus(x @ S_Delta)
    flow = MambaFlow(S_BC, S_Delta, a)
    rates, _ = nearest_rates(flow.attention(x), x @ S_BC @ x.mT, delta)
    torch.testing.assert_close(rates, a, rtol=1e-5, atol=0)


def test_with_several_rates_the_best_one_leaves_something_and_no_other_leaves_less():
    attention, scores, delta = layer(torch.tensor([[1.0, 2.0, 6.0]], dtype=torch.float64))
    rates, distances = nearest_rates(attention, scores, delta)
    assert 0.01 < float(distances[0]) < 1

    def left(rate):
        lag = delta.cumsum(0) - delta.cumsum(0).mT
        nearest = (scores * delta.mT * torch.exp(-rate * lag)).tril()
        return float((attention[0] - nearest).norm() / attention.norm())

    assert left(float(rates[0])) == pytest.approx(float(distances[0]), rel=1e-12)
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert left(factor * float(rates[0])) > float(distances[0])
    assert math.exp(-5.25) < float(rates[0]) < math.exp(5.25)


def test_bad_arguments_are_named():
    attention, scores, delta = layer(torch.ones(2, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match="(scores|delta): got shape"):
        nearest_rates(attention[:1], scores, delta)
    with pytest.raises(ValueError, match="scores: got dtype"):
        nearest_rates(attention, scores.float(), delta)
    with pytest.raises(ValueError, match="attention: holds a channel that is zero"):
        nearest_rates(0 * attention, scores, delta)
