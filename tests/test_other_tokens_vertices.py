"""Tokens at coordinate vectors: spectra against automatic differentiation, counts by hand."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from tokensphere.flow import MambaFlow
from tokensphere.other_tokens import consensus_spectrum, tangent_jacobian
from tokensphere.other_tokens.vertices import (
    consensus_attracts,
    equal_signs_attract,
    newton_equilibrium,
    patterns_that_attract,
    random_vertex_equilibrium,
    separation_rates,
    sign_patterns,
    tokens_at_vertices,
    vertex_spectrum,
)
from tokensphere.paper import survey


def gaussian(dim, generator):
    return MambaFlow(*(value[0] for value in survey.draw("Gaussian", dim, 1, generator)))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_spectra_of_blocks_are_those_of_the_jacobian(seed):
    g = torch.Generator().manual_seed(seed)
    flow, vertices, signs = random_vertex_equilibrium(gaussian(4, g), 4, g)
    x = tokens_at_vertices(4, vertices, signs)
    assert float(flow(x).abs().max()) < 1e-15
    J = tangent_jacobian(flow, x)
    for token, values in enumerate(vertex_spectrum(flow, vertices, signs)):
        rows = slice(3 * token, 3 * token + 3)
        wanted = torch.linalg.eigvals(J[rows, rows])
        gap = np.poly(values.numpy()) - np.poly(wanted.numpy())
        assert abs(gap).max() < 1e-12
        assert float(J[rows, rows.stop :].abs().sum()) == 0  # later tokens do not enter


def test_one_vertex_is_the_consensus_spectrum():
    g = torch.Generator().manual_seed(3)
    flow = gaussian(3, g)
    signs = torch.tensor([1.0, -1.0, 1.0, 1.0], dtype=torch.float64)
    e2 = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    found = vertex_spectrum(flow, torch.ones(4, dtype=torch.long), signs).real.sort(-1).values
    wanted = consensus_spectrum(flow, e2, signs).sort(-1).values
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13)


def test_a_coupled_arrangement_does_not_rest():
    flow = gaussian(3, torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="vertices: no equilibrium"):
        vertex_spectrum(flow, torch.tensor([0, 1]), torch.ones(2))


@pytest.mark.parametrize(
    ("vertices", "signs", "message"),
    [([0, 3], [1, 1], "vertices"), ([0, -1], [1, 1], "vertices"), ([0, 1], [1, 0], "signs")],
)
def test_arrangements_that_there_are_not(vertices, signs, message):
    with pytest.raises(ValueError, match=message):
        tokens_at_vertices(3, torch.tensor(vertices), torch.tensor(signs).double())


def test_sign_patterns():
    assert sign_patterns(3).tolist() == [[1, 1, 1], [1, 1, -1], [1, -1, 1], [1, -1, -1]]
    assert sign_patterns(1).tolist() == [[1]]
    with pytest.raises(ValueError, match="length: got 0"):
        sign_patterns(0)


def test_what_attracts_has_negative_eigenvalues():
    g = torch.Generator().manual_seed(5)
    flows = MambaFlow(*survey.draw("Gaussian", 3, 6, g))
    patterns = sign_patterns(3)
    found = consensus_attracts(flows, patterns)
    assert found.shape == (6, 3, 2, 4)
    assert 0 < int(found.sum()) < found.numel()
    for n, d, side, p in np.ndindex(*found.shape):
        flow = MambaFlow(flows.S_BC[n], flows.S_Delta[n], flows.a[n])
        x1 = torch.zeros(3, dtype=torch.float64)
        x1[d] = (1, -1)[side]
        negative = bool((consensus_spectrum(flow, x1, patterns[p]) < 0).all())
        assert negative == bool(found[n, d, side, p])
    with pytest.raises(ValueError, match="signs"):
        consensus_attracts(flows, torch.zeros(1, 3))


def test_the_third_token_that_a_negative_form_repels():
    eye = torch.eye(3, dtype=torch.float64)
    flow = MambaFlow(-eye, -eye, torch.ones(3, dtype=torch.float64))
    kept = [bool(consensus_attracts(flow, torch.ones(1, n))[0, 0, 0]) for n in (1, 2, 3)]
    assert kept == [True, True, False]


def test_a_negative_form_repels_by_the_sum():
    _, S_Delta, a = survey.draw("identity", 3, 20, torch.Generator().manual_seed(2))
    counts = []
    for length in (1, 2, 6):
        found = equal_signs_attract(S_Delta, a, length)
        for n, d, side in np.ndindex(*found.shape):
            steps = np.logaddexp(0, (1 - 2 * side) * S_Delta[n, d].numpy())
            total = sum(steps[d] * math.exp(-i * float(a[n, d]) * steps[d]) for i in range(length))
            assert bool(found[n, d, side]) == (total < np.delete(steps, d).min())
        counts.append(int(found.sum()))
    assert counts[0] > counts[1] > counts[2] > 0


def test_patterns_that_attract_count_from_one():
    # At e_1 of S_Delta = I the steps are softplus(1) and ln 2; -e_1 repels. The pattern (+, -)
    # asks softplus(-1) + e^{-a softplus(-1)} softplus(1) > ln 2: 1.44 and 0.59 for the two a.
    S_Delta = torch.eye(2, dtype=torch.float64).unsqueeze(0)
    weak, strong = math.log1p(math.exp(-1)), math.log1p(math.exp(1))
    for a in (0.5, 5.0):
        rates = torch.full((1, 2), a, dtype=torch.float64)
        both = weak + math.exp(-a * weak) * strong > math.log(2)
        wanted = [2, 2] if both else [1, 1]
        assert patterns_that_attract(S_Delta, rates, 2).tolist() == wanted


@pytest.mark.parametrize("size", [0.5, 1.0, 2.0])
def test_separation_rates_are_where_eigenvalues_change_sign(size):
    eye = torch.eye(3, dtype=torch.float64)
    low, high = separation_rates(size)

    def top(vertices, rate):
        flow = MambaFlow(eye, size * eye, torch.full((3,), rate, dtype=torch.float64))
        spectrum = vertex_spectrum(flow, torch.tensor(vertices), torch.ones(len(vertices)))
        return float(spectrum.real.max())

    assert top([0, 1, 2], low - 1e-6) > 0 > top([0, 1, 2], low + 1e-6)
    step, half = math.log1p(math.exp(size)), math.log(2)
    assert step / (2**high - 1) == pytest.approx(step - half)  # the bound of H_lk
    # The most that H_lk comes to, step / 2^a / (1 - e^{-a step}): many tokens at one vertex, then
    # one at another. It is less than the bound, so that `high` is enough and not needed.
    crowd = [0] * 60 + [1]
    assert top(crowd, high) < 0
    sharp = brentq(lambda a: step / 2**a / (1 - math.exp(-a * step)) - (step - half), low, high)
    assert top(crowd, sharp - 1e-3) > 0 > top(crowd, sharp + 1e-3)
    with pytest.raises(ValueError, match="size: got 0"):
        separation_rates(0)


def test_newton_finds_a_perturbed_equilibrium():
    g = torch.Generator().manual_seed(1)
    eye = torch.eye(3, dtype=torch.float64)
    vertices, signs = torch.tensor([0, 1, 2, 1]), torch.ones(4)
    x = tokens_at_vertices(3, vertices, signs)
    a = torch.full((3,), 2.5, dtype=torch.float64)
    at, top = newton_equilibrium(MambaFlow(eye, eye, a), x)
    torch.testing.assert_close(at, x, rtol=0, atol=1e-14)
    wanted = vertex_spectrum(MambaFlow(eye, eye, a), vertices, signs).real.max()
    assert abs(top - float(wanted)) < 1e-10
    noise = torch.randn(3, 3, generator=g, dtype=torch.float64)
    near, top = newton_equilibrium(MambaFlow(eye + 0.01 * noise, eye, a), x)
    assert 1e-4 < float((near - x).norm(dim=-1).max()) < 0.1
    assert top < 0
