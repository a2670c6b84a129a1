"""Signs of the symmetric part of S_C^T S_B, and what they guarantee in a layer."""

import pytest
import torch

from tokensphere import refine, s6


def draw(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def dense(S_B, S_C):
    S = S_C.mT @ S_B
    return torch.linalg.eigvalsh((S + S.mT) / 2)


@pytest.mark.parametrize(("states", "channels"), [(1, 1), (1, 2), (3, 2), (3, 5), (4, 8), (4, 30)])
def test_eigenvalues_are_those_of_the_whole_matrix(states, channels):
    S_B, S_C = 1e3 * draw(states, channels), 1e-5 * draw(states, channels, seed=1)
    found = refine.signature(S_B, S_C)
    expected = dense(S_B, S_C)
    own = torch.cat([found.eigenvalues, torch.zeros(channels - len(found.eigenvalues))])
    assert torch.allclose(own.sort().values, expected, atol=1e-14)
    assert found.positive + found.negative + found.zero == channels
    assert found.positive == int((expected > 1e-13).sum())
    trace = float(torch.trace(S_C.mT @ S_B))
    assert float(found.eigenvalues.sum()) == pytest.approx(trace, rel=1e-10)
    assert float(refine.spectrum(S_B, S_C).sum().real) == pytest.approx(trace, rel=1e-10)


def test_untied_maps_are_mixed_and_a_tie_by_an_indefinite_matrix_too():
    for seed in range(20):
        S_B, S_C = draw(3, 9, seed=seed), draw(3, 9, seed=100 + seed)
        found = refine.signature(S_B, S_C)
        assert (found.positive, found.negative, found.zero, found.kind) == (3, 3, 3, "mixed")
        # A tie by M has the signs of its symmetric part.
        M = draw(3, 3, seed=200 + seed)
        signs = torch.linalg.eigvalsh((M + M.mT) / 2)
        found = refine.signature(M @ S_C, S_C)
        assert (found.positive, found.negative) == (int((signs > 0).sum()), int((signs < 0).sum()))


def test_rounding_makes_no_signs():
    S_C = draw(4, 40).float()
    d = torch.tensor([1e-3, 0.1, 1.0, 10.0])
    found = refine.signature(d[:, None] * S_C, S_C)
    assert (found.positive, found.negative, found.kind) == (4, 0, "positive")
    S_B, S_C = (d[:, None] * S_C).bfloat16(), S_C.bfloat16()
    assert refine.signature(S_B, S_C).negative == 0
    # Told that the entries are exact, it sees their rounding: its square, across S_C's rows.
    assert refine.signature(S_B.double(), S_C.double()).negative > 0
    assert refine.signature(-S_C, S_C).kind == "negative"
    assert refine.signature(0 * S_C, S_C).kind == "zero"
    assert refine.signature(0 * S_C, S_C).positive_share == 0.5
    assert refine.signature(S_C, S_C).positive_share == pytest.approx(1)


def test_eigenvalues_of_the_matrix_do_not_tell_the_signs():
    S_B, S_C = torch.tensor([[1.0, 4.0], [0.0, 1.0]]), torch.eye(2)
    assert torch.allclose(refine.spectrum(S_B, S_C).real, torch.ones(2).double())
    found = refine.signature(S_B, S_C)
    assert found.eigenvalues.tolist() == pytest.approx([-1, 3])


@pytest.mark.parametrize(
    ("maps", "options", "message"),
    [
        ((torch.ones(2, 3), torch.ones(3, 3)), {}, r"S_C: got shape \(3, 3\)"),
        ((torch.ones(3), torch.ones(3)), {}, r"S_B: got shape \(3,\)"),
        ((torch.ones(2, 3).long(), torch.ones(2, 3)), {}, "S_B: got dtype torch.int64"),
        (([1.0], torch.ones(2, 3)), {}, r"S_B: got \[1.0\]"),
        ((torch.ones(2, 3), torch.ones(2, 3) / 0), {}, "S_C: got NaN or infinity"),
        ((torch.ones(2, 3), torch.ones(2, 3)), {"rtol": -1.0}, "rtol: got -1.0"),
    ],
)
def test_bad_maps_are_named(maps, options, message):
    with pytest.raises(ValueError, match=message):
        refine.signature(*maps, **options)


def layer(states=3, channels=5, length=9, seed=0):
    u = draw(2, channels, length, seed=seed)
    delta = draw(2, channels, length, seed=seed + 1).exp()
    A = -draw(channels, states, seed=seed + 2).exp()
    S_C = draw(states, channels, seed=seed + 3)
    return u, delta, A, torch.einsum("nd,bdl->bnl", S_C, u)


def test_supply_by_the_recurrence_is_that_by_the_attention():
    u, delta, A, C = layer()
    B = draw(2, 3, 9, seed=9)
    attention = s6.hidden_attention(delta, A, B, C)
    expected = torch.einsum("bdl,bdlj,bdj->bd", delta * u, attention, u)
    assert torch.allclose(refine.supply(u, delta, A, B, C), expected, rtol=1e-12)
    found = refine.supply(*(value.float() for value in (u, delta, A, B, C)))
    assert found.dtype == torch.float32


def test_tied_layers_are_passive_and_no_more_than_the_bound():
    d = torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64)
    nearest = []
    for seed in range(0, 400, 4):
        u, delta, A, C = layer(seed=seed)
        for sign in (1, -1):
            found = sign * refine.supply(u, delta, A, sign * d[:, None] * C, C)
            least = refine.least_supply(u, delta, C, d)
            assert (least > 0).all()
            assert (found >= least * (1 - 1e-12)).all()
            nearest.append(float((found / least).min()))
    assert min(nearest) < 1.5
    # Without memory the diagonal is all there is: twice the bound.
    u, delta, A, C = layer()
    found = refine.supply(u, delta, 1e6 * A, d[:, None] * C, C)
    assert torch.allclose(found, 2 * refine.least_supply(u, delta, C, d), rtol=1e-12)


def test_ties_by_a_definite_matrix_are_passive_for_some_rates_only():
    M = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64)
    slow, apart = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 20.0])
    assert refine.passive(M, slow)
    assert not refine.passive(M, apart)
    assert not refine.passive(-M, slow)
    assert refine.passive(torch.diag(torch.tensor([1.0, 0.0])), apart)
    assert not refine.passive(M + torch.tensor([[0.0, 0.1], [-0.1, 0.0]]), slow)
    # A constant read v gives v^T (M / a + ...) v, per time: least along a times an eigenvector.
    found = []
    for rates in (slow.double(), apart.double()):
        v = rates * torch.linalg.eigh(M * rates + rates[:, None] * M).eigenvectors[:, 0]
        delta = torch.full((1, 1, 6000), 0.005, dtype=torch.float64)
        C = v[None, :, None].expand(1, 2, 6000)
        B = torch.einsum("nm,bml->bnl", M, C)
        found.append(float(refine.supply(torch.ones_like(delta), delta, -rates[None], B, C)))
    assert found[0] > 0 > found[1]


def test_bad_layers_are_named():
    u, delta, _, C = layer()
    d = torch.ones(3, dtype=torch.float64)
    with pytest.raises(ValueError, match="u: got shape"):
        refine.least_supply(u[0], delta, C, d)
    with pytest.raises(ValueError, match="C: got shape"):
        refine.least_supply(u, delta, C[..., 1:], d)
    with pytest.raises(ValueError, match=r"d: got shape \(2,\)"):
        refine.least_supply(u, delta, C, d[1:])
    M, a = torch.eye(2), torch.ones(2)
    for arguments, message in {
        (M[:1], a): "M: got shape",
        (M, a[:1]): "a: got shape",
        (M / 0, a): "M: got NaN",
        (M, -a): r"a: got \[-1\.0, -1\.0\]",
    }.items():
        with pytest.raises(ValueError, match=message):
            refine.passive(*arguments)
