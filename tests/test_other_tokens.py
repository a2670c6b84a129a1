"""Pair interactions, spectra and rates: against the flow, automatic differentiation, and fits."""

import math

import pytest
import torch

from tokensphere.first_token import equilibria
from tokensphere.flow import (
    AutoregressiveFlow,
    MambaFlow,
    SharedStepFlow,
    causal_attention,
    random_tokens,
    simulate,
)
from tokensphere.other_tokens import (
    consensus_rate,
    consensus_spectrum,
    exceptional_spectrum,
    interaction_speeds,
    interactions,
    tangent_jacobian,
    weights,
)
from tokensphere.rates import fit_exponential


def normal(g, *shape):
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def positive(g, dim):
    """Symmetric, positive definite."""
    S = normal(g, dim, dim)
    return S @ S.mT + torch.eye(dim, dtype=torch.float64)


def shared(g, dim, symmetric=True):
    S_BC = positive(g, dim) if symmetric else normal(g, dim, dim)
    return SharedStepFlow(S_BC, normal(g, dim), 0.7)


def attention(g, dim):
    return AutoregressiveFlow(causal_attention(normal(g, 2, dim), normal(g, 2, dim)))


def same_set(got, want, tolerance=1e-10):
    got = torch.view_as_real(got.flatten().to(torch.complex128))
    want = torch.view_as_real(want.flatten().to(torch.complex128))
    assert got.shape == want.shape
    distance = torch.cdist(got, want)
    assert float(distance.amin(0).max()) < tolerance
    assert float(distance.amin(1).max()) < tolerance


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("kind", [shared, attention])
def test_interactions_move_as_the_flow_says(kind, symmetric):
    g = torch.Generator().manual_seed(0)
    dim, length = 4, 6
    flow = kind(g, dim)
    S_BC = positive(g, dim) if symmetric else normal(g, dim, dim)
    if kind is shared:
        flow = SharedStepFlow(S_BC, flow.alpha, flow.a)
    x = random_tokens(3, length, dim, generator=g)
    dx = flow(x)
    got = interaction_speeds(flow, x, S_BC)
    want = torch.func.jvp(lambda z: (z @ z.mT, z @ S_BC @ z.mT), (x,), (dx,))[1]
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    X, U = interactions(x, S_BC)
    torch.testing.assert_close(X, X.mT)
    assert symmetric == torch.allclose(U, U.mT)
    i, j = 4, 2
    torch.testing.assert_close(U[0, i, j], x[0, i] @ S_BC @ x[0, j])


@pytest.mark.parametrize("signs", [[1], [1, 1, 1], [1, -1, 1, -1], [1, -1, -1, 1, 1]])
@pytest.mark.parametrize("kind", [shared, attention])
def test_consensus_spectra(kind, signs):
    g = torch.Generator().manual_seed(len(signs))
    flow, x1 = kind(g, 4), random_tokens(4, generator=g)
    signs = torch.tensor(signs, dtype=torch.float64)
    got = consensus_spectrum(flow, x1, signs)
    assert got.shape == (len(signs), 3)
    J = tangent_jacobian(flow, signs.unsqueeze(-1) * x1)
    # The blocks of the diagonal, one by one: eigenvalues of the whole, where several agree and the
    # matrix is not normal, are known to a root of the rounding only.
    for token in range(len(signs)):
        part = slice(3 * token, 3 * token + 3)
        same_set(torch.linalg.eigvals(J[part, part]), got[token])
        later = J[part, 3 * token + 3 :]
        assert not later.numel() or float(later.abs().max()) < 1e-14


@pytest.mark.parametrize("signs", [[1, 1, 1], [1, -1, 1, -1]])
@pytest.mark.parametrize("side", [1, -1])
def test_consensus_spectra_at_coordinate_vectors(signs, side):
    g = torch.Generator().manual_seed(3)
    dim, d = 4, 2
    S_BC, S_Delta = normal(g, dim, dim), normal(g, dim, dim)
    S_BC[d, d] = 1.0
    flow = MambaFlow(S_BC, S_Delta, normal(g, dim).exp())
    x1 = torch.zeros(dim, dtype=torch.float64)
    x1[d] = side
    signs = torch.tensor(signs, dtype=torch.float64)
    got = consensus_spectrum(flow, x1, signs)
    x = signs.unsqueeze(-1) * x1
    assert float(flow(x).abs().max()) < 1e-14
    J = tangent_jacobian(flow, x)
    n = dim - 1
    for token in range(len(signs)):
        part = slice(n * token, n * token + n)
        same_set(torch.linalg.eigvals(J[part, part]), got[token])
    first = [e for e in equilibria(flow.S_BC, flow.S_Delta) if torch.equal(e.point, x1)]
    same_set(first[0].eigenvalues, got[0], 1e-12)
    # With all signs 1 and a positive form consensus is stable exactly where the first token is.
    ones = torch.ones(5, dtype=torch.float64)
    assert bool((consensus_spectrum(flow, x1, ones) < 0).all()) == (first[0].stability == "stable")


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("signs", [[1, 1], [1, -1, 1]])
def test_exceptional_spectra(symmetric, signs):
    g = torch.Generator().manual_seed(5)
    dim = 4
    flow, x1 = shared(g, dim, symmetric), random_tokens(dim, generator=g)
    signs = torch.tensor(signs, dtype=torch.float64)
    moved = flow.S_BC @ x1
    xi = random_tokens(dim, generator=g)
    xi = xi - (xi @ moved) / (moved @ moved) * moved
    xi = xi / xi.norm()
    x = torch.cat([signs.unsqueeze(-1) * x1, xi.unsqueeze(0)])
    assert float(flow(x).abs().max()) < 1e-14
    got = exceptional_spectrum(flow, x1, xi, signs)
    J = tangent_jacobian(flow, x)
    n = dim - 1
    for token in range(len(x)):
        part = slice(n * token, n * token + n)
        same_set(torch.linalg.eigvals(J[part, part]), got[token])
    assert int((got[-1] == 0).sum()) == dim - 2
    with pytest.raises(ValueError, match="^xi: <xi, S_BC x1>"):
        exceptional_spectrum(flow, x1, x1, signs)


def test_weights_are_the_attention_without_the_form():
    g = torch.Generator().manual_seed(6)
    flow, x = shared(g, 3, symmetric=False), random_tokens(2, 5, 3, generator=g)
    scores = interactions(x, flow.S_BC)[1]
    torch.testing.assert_close(weights(flow, x) * scores, flow.attention(x), rtol=0, atol=1e-13)
    many = SharedStepFlow(
        flow.S_BC, flow.alpha.expand(2, 3), torch.full((2,), 0.7, dtype=torch.float64)
    )
    torch.testing.assert_close(weights(many, x), weights(flow, x), rtol=0, atol=1e-14)


def test_closed_forms():
    g = torch.Generator().manual_seed(7)
    flow, x1 = shared(g, 3), random_tokens(3, generator=g)
    ones = torch.ones(6, dtype=torch.float64)
    step = math.log1p(math.exp(float(flow.alpha @ x1)))
    decay = math.exp(-flow.a * step)
    second = float(x1 @ flow.S_BC @ x1) * step * decay
    got = consensus_rate(flow, x1, ones)
    assert got.rate == pytest.approx(second, rel=1e-12)
    assert got.rates[0] == torch.inf
    torch.testing.assert_close(got.rates[1:], torch.full((5,), second).double())
    assert got.powers.tolist() == [0] * 6
    sums = torch.tensor([sum(decay**k for k in range(l)) for l in range(6)]).double()
    torch.testing.assert_close(consensus_spectrum(flow, x1, ones)[:, 0], -second * sums)
    # Causal attention: any Q and K.
    got = consensus_rate(attention(g, 3), x1, ones)
    torch.testing.assert_close(got.rates[1:], torch.full((5,), 0.5).double())
    torch.testing.assert_close(got.profile, torch.arange(6).double())


def test_shared_eigenvalues_bring_powers_of_t():
    """Weights that make every token's eigenvalue -1: the chain is one Jordan block."""
    rows = [[0, 0, 0, 0], [1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.2, 0.3, 0.5, 0]]
    rows = torch.tensor(rows, dtype=torch.float64)
    flow = AutoregressiveFlow(lambda x: rows.expand(*x.shape[:-1], 4))
    x1 = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    got = consensus_rate(flow, x1, torch.ones(4))
    assert got.powers.tolist() == [0, 0, 1, 2]
    assert (got.rate, got.power) == (1.0, 2)
    # A token that no slow one drives is faster than those before it.
    fast = torch.tensor([[0, 0, 0], [1, 0, 0], [3, 0, 0]]).double()
    flow = AutoregressiveFlow(lambda x: fast.expand(*x.shape[:-1], 3))
    assert consensus_rate(flow, x1, torch.ones(3)).rates[1:].tolist() == [1.0, 3.0]
    # Tokens that do not feel one another share the eigenvalue without it.
    apart = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 0, 0]]).double()
    flow = AutoregressiveFlow(lambda x: apart.expand(*x.shape[:-1], 3))
    assert consensus_rate(flow, x1, torch.ones(3)).powers.tolist() == [0, 0, 0]


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_powers_of_t_do_not_depend_on_the_unit_of_time(unit):
    """A Jordan block whose rows rounding perturbs: what counts as zero goes with its size."""
    mixed = [[0, 0, 0, 0], [1, 0, 0, 0], [0.7, 0.3, 0, 0], [0.1, 0.2, 0.7, 0]]
    rows = unit * torch.tensor(mixed, dtype=torch.float64)
    flow = AutoregressiveFlow(lambda x: rows.expand(*x.shape[:-1], 4))
    got = consensus_rate(flow, torch.tensor([1.0, 0.0, 0.0]).double(), torch.ones(4))
    assert got.powers.tolist() == [0, 0, 1, 2]
    assert got.rate == pytest.approx(unit)
    # Two tokens that do not feel one another, whose eigenvalue rounding sets apart.
    apart = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1e-12, 0]], dtype=torch.float64)
    flow = AutoregressiveFlow(lambda x: unit * apart.expand(*x.shape[:-1], 3))
    powers = consensus_rate(flow, torch.tensor([1.0, 0.0, 0.0]).double(), torch.ones(3)).powers
    assert powers.tolist() == [0, 0, 0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", [shared, attention])
def test_rates_and_ratios_are_those_of_the_flow(kind, seed):
    g = torch.Generator().manual_seed(seed)
    dim, length = 3, 4
    flow, x1 = kind(g, dim), random_tokens(dim, generator=g)
    away = 0.05 * random_tokens(length, dim, generator=g)
    x0 = x1 + torch.cat([torch.zeros(1, dim), away[1:]])
    x0 = x0 / x0.norm(dim=-1, keepdim=True)
    got = consensus_rate(flow, x1, torch.ones(length))
    times = torch.linspace(0, 24 / got.rate, 201, dtype=torch.float64)
    x = simulate(flow, x0, times, rtol=1e-11, atol=1e-14).tokens
    error = (x - x1).norm(dim=-1)
    for token in range(1, length):
        fit = fit_exponential(times, error[:, token], floor=1e-11)
        assert fit.rate == pytest.approx(float(got.rates[token]), rel=0.01)
    late = int((error[:, 1] > 1e-9).sum()) - 1
    ratio = (x[late] - x1) @ (x[late, 1] - x1) / error[late, 1] ** 2
    # The next mode has died out by e^{-(1/6) 40}, against tolerances of 1e-11 over errors of 1e-9.
    torch.testing.assert_close(ratio, got.profile, rtol=0.02, atol=0.02)


def test_the_rate_at_a_coordinate_vector():
    g = torch.Generator().manual_seed(1)
    dim, length = 3, 4
    S_Delta = torch.eye(dim, dtype=torch.float64) + 0.2 * normal(g, dim, dim)
    flow = MambaFlow(positive(g, dim), S_Delta, normal(g, dim).exp())
    x1 = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    x0 = x1 + 0.05 * random_tokens(length, dim, generator=g)
    x0 = x0 / x0.norm(dim=-1, keepdim=True)
    got = consensus_rate(flow, x1, torch.ones(length))
    times = torch.linspace(0, 24 / got.rate, 201, dtype=torch.float64)
    error = (simulate(flow, x0, times, rtol=1e-11, atol=1e-14).tokens - x1).norm(dim=-1)
    for token in range(length):
        fit = fit_exponential(times, error[:, token], floor=1e-11)
        assert fit.rate == pytest.approx(float(got.rates[token]), rel=0.01)


def test_bad_arguments_are_named():
    g = torch.Generator().manual_seed(0)
    flow, x1 = shared(g, 3), random_tokens(3, generator=g)
    ones = torch.ones(3)
    mamba = MambaFlow(torch.eye(3).double(), torch.eye(3).double(), torch.ones(3).double())
    for name, call in {
        "x1: got a row whose length is off": lambda: consensus_spectrum(flow, 2 * x1, ones),
        "x1: got shape": lambda: consensus_spectrum(flow, x1.unsqueeze(0), ones),
        "x1: consensus of eq": lambda: consensus_spectrum(mamba, x1, ones),
        "signs: got": lambda: consensus_spectrum(flow, x1, -ones),
        "signs: a single token": lambda: consensus_rate(flow, x1, ones[:1]),
        "x1, signs: the consensus does not attract": lambda: consensus_rate(
            SharedStepFlow(-flow.S_BC, flow.alpha, 1.0), x1, ones
        ),
        "flow: a MambaFlow": lambda: interaction_speeds(mamba, x1.unsqueeze(0), flow.S_BC),
        "S_BC: got shape": lambda: interactions(x1.unsqueeze(0), flow.S_BC[:2]),
    }.items():
        with pytest.raises(ValueError, match=f"^{name}"):
            call()
