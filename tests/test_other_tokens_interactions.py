"""Speeds by the product rule, in numbers and symbols, and consensus configurations."""

import numpy as np
import pytest
import torch

from tokensphere.flow import MambaFlow, SharedStepFlow, random_tokens
from tokensphere.other_tokens import interaction_speeds, interactions, weights
from tokensphere.other_tokens.interactions import consensus_configurations, product_rule_speeds
from tokensphere.other_tokens.symbolic import symbolic_interactions


def drawn(dim=3):
    g = torch.Generator().manual_seed(4)
    S_BC = torch.randn(dim, dim, generator=g, dtype=torch.float64)
    return S_BC, torch.randn(dim, generator=g, dtype=torch.float64), g


def test_the_product_rule_is_the_difference_quotient_of_interactions():
    S_BC, alpha, g = drawn()
    x = random_tokens(4, 3, generator=g)
    S_Delta = torch.randn(3, 3, generator=g, dtype=torch.float64)
    for field in (
        SharedStepFlow(S_BC, alpha, 0.5),
        MambaFlow(S_BC, S_Delta, torch.tensor([0.5, 1.0, 2.0]).double()),
    ):
        h = 1e-6
        steps = [x + h * sign * field(x) for sign in (1, -1)]
        # Tokens off the sphere by h^2 are still on it for `interactions`.
        ahead, back = (interactions(step, S_BC) for step in steps)
        for of, speeds in enumerate(product_rule_speeds(field, x, S_BC)):
            assert torch.allclose((ahead[of] - back[of]) / (2 * h), speeds, atol=1e-8)


def test_the_product_rule_and_the_lemma_agree_for_scalar_weights():
    S_BC, alpha, g = drawn()
    flow, x = SharedStepFlow(S_BC, alpha, 0.7), random_tokens(6, 5, 3, generator=g)
    pairs = zip(product_rule_speeds(flow, x, S_BC), interaction_speeds(flow, x, S_BC), strict=True)
    for rule, lemma in pairs:
        assert torch.allclose(rule, lemma, atol=1e-12)


@pytest.mark.parametrize("symmetric", [True, False])
def test_symbols_with_numbers_put_in_are_the_flow(symmetric):
    S_BC, alpha, g = drawn(2)
    if symmetric:
        S_BC = S_BC + S_BC.mT
    x = random_tokens(3, 2, generator=g)
    flow = SharedStepFlow(S_BC, alpha, 0.7)
    found = symbolic_interactions(3, 2, symmetric)
    a = weights(flow, x)
    values = {f"x{i + 1}_{d + 1}": float(x[i, d]) for i in range(3) for d in range(2)}
    values |= {f"s{d + 1}{e + 1}": float(S_BC[d, e]) for d in range(2) for e in range(2)}
    values |= {f"a{i + 1}{j + 1}": float(a[i, j]) for i in range(3) for j in range(i)}
    numbers = [np.array([[float(e.subs(values)) for e in row] for row in array]) for array in found]
    expected = (
        *interactions(x, S_BC),
        flow.attention(x).tril(-1),
        *product_rule_speeds(flow, x, S_BC),
    )
    for number, tensor in zip(numbers, expected, strict=True):
        assert np.allclose(number, tensor.numpy(), atol=1e-12)


@pytest.mark.parametrize(("dim", "length"), [(1, 1), (1, 3), (3, 1), (3, 4)])
def test_consensus_configurations_are_distinct_equilibria(dim, length):
    S_BC, alpha, g = drawn(dim)
    x1 = random_tokens(dim, generator=g)
    found = consensus_configurations(x1, length)
    assert found.shape == (2 ** (length - 1), length, dim)
    assert len(torch.unique(found.flatten(1), dim=0)) == 2 ** (length - 1)
    assert torch.equal(found[:, 0], x1.expand(len(found), dim))
    assert SharedStepFlow(S_BC, alpha, 0.5)(found).abs().max() < 1e-12


def test_what_is_refused():
    with pytest.raises(ValueError, match="length: got 0, takes a whole number of 1 or more"):
        consensus_configurations(torch.ones(1).double(), 0)
    with pytest.raises(ValueError, match="dim: got 0, takes a whole number of 1 or more"):
        symbolic_interactions(2, 0, True)
