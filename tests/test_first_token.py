"""Where first tokens end: against integration of eq (9) itself, and on cases known by hand."""

import pytest
import torch

from tokensphere.first_token import jacobian, settle, tangent_basis
from tokensphere.flow import FirstTokenFlow, random_tokens, simulate
from tokensphere.survey import draw

VERTEX, EQUAL, ZERO, UNRESOLVED = range(4)


def problem(seed, dim, count, law="Gaussian"):
    g = torch.Generator().manual_seed(seed)
    S_BC, S_Delta, _ = draw(law, dim, count, g)
    return S_BC, S_Delta, random_tokens(count, dim, generator=g)


@pytest.mark.parametrize("dim", [2, 3, 6])
def test_jacobian_is_the_derivative_of_the_field(dim):
    S_BC, S_Delta, y = problem(0, dim, 5)
    got = jacobian(S_BC, S_Delta, y)
    for i in range(5):
        field = FirstTokenFlow(S_BC[i], S_Delta[i])
        derivative = torch.autograd.functional.jacobian(
            lambda z, field=field: field(z / z.norm()), y[i]
        )
        basis = tangent_basis(y[i])
        torch.testing.assert_close(got[i], basis.mT @ derivative @ basis, rtol=0, atol=1e-12)


def test_tangent_basis_is_one():
    for dim in (1, 2, 5):
        y = torch.cat([random_tokens(20, dim), torch.eye(dim).double(), -torch.eye(dim).double()])
        frame = torch.cat([y.unsqueeze(-1), tangent_basis(y)], dim=-1)
        identity = torch.eye(dim, dtype=torch.float64).expand_as(frame)
        torch.testing.assert_close(frame.mT @ frame, identity, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("law", "dim"), [("Gaussian", 2), ("Gaussian", 3), ("identity", 3)])
def test_ends_are_where_equation_9_goes(law, dim):
    """Another clock, the same ends: eq (9) in its own time comes ever closer to each point."""
    S_BC, S_Delta, y0 = problem(1, dim, 60, law)
    ends = settle(S_BC, S_Delta, y0, horizon=640.0)
    times = torch.tensor([0.0, 300.0, 1200.0], dtype=torch.float64)
    field = FirstTokenFlow(S_BC, S_Delta)
    tokens = simulate(field, y0.unsqueeze(1), times, rtol=1e-7, atol=1e-10).tokens.squeeze(2)
    known = ends.kind != UNRESOLVED
    assert int(known.sum()) >= 55
    distance = (tokens - ends.point).norm(dim=-1)[:, known]
    # Within the tolerance of `settle`, or still on the way there.
    arrived = distance[2] < 1e-3
    assert int(arrived.sum()) >= 50
    assert bool((arrived | (distance[2] < 0.9 * distance[1])).all())


def test_each_kind_is_what_it_says():
    S_BC, S_Delta, y0 = problem(2, 3, 300)
    ends = settle(S_BC, S_Delta, y0, horizon=320.0)
    form = torch.einsum("ni,nij,nj->n", ends.point, S_BC, ends.point)
    steps = torch.einsum("ni,nij->nj", ends.point, S_Delta)
    for kind in (VERTEX, EQUAL, ZERO):
        assert int((ends.kind == kind).sum()) > 20
    vertex, equal, zero = (ends.kind == kind for kind in (VERTEX, EQUAL, ZERO))
    assert torch.equal(ends.point[vertex].abs().sum(-1), torch.ones(int(vertex.sum())).double())
    support = ends.point[equal] != 0
    assert bool((support.sum(-1) >= 2).all())
    low = steps[equal].masked_fill(~support, torch.inf).amin(-1)
    high = steps[equal].masked_fill(~support, -torch.inf).amax(-1)
    assert float((high - low).max()) < 1e-12
    assert float(form[zero].abs().max()) < 1e-4
    # The first two attract: every eigenvalue of eq (9) there has a negative real part.
    rest = vertex | equal
    spectrum = torch.linalg.eigvals(jacobian(S_BC[rest], S_Delta[rest], ends.point[rest]))
    assert float(spectrum.real.max()) < 0


def test_cases_known_by_hand():
    eye = torch.eye(2, dtype=torch.float64)
    y0 = torch.tensor([[0.8, 0.6], [0.6, 0.8], [0.96, 0.28]], dtype=torch.float64)
    S_BC = torch.stack([eye, eye, torch.diag(torch.tensor([-1.0, 2.0]).double())])
    # Theorem 3.2: the largest coordinate wins. Third: q(y0) < 0, so the smaller coordinate grows,
    # until q = 2 y_2^2 - y_1^2 vanishes.
    ends = settle(S_BC, eye.expand(3, 2, 2), y0)
    assert ends.kind.tolist() == [VERTEX, VERTEX, ZERO]
    expected = torch.tensor([[1, 0], [0, 1], [(2 / 3) ** 0.5, (1 / 3) ** 0.5]]).double()
    torch.testing.assert_close(ends.point, expected, rtol=0, atol=2e-5)
    # With the signs of S_Delta turned the smaller coordinate grows until the steps agree.
    ends = settle(S_BC[:2], -eye.expand(2, 2, 2), y0[:2])
    assert ends.kind.tolist() == [EQUAL, EQUAL]
    middle = torch.full((2,), 0.5**0.5, dtype=torch.float64)
    torch.testing.assert_close(ends.point[0], middle, rtol=0, atol=1e-12)


def test_a_cycle_is_not_called_an_end():
    """Steps that chase one another, 1 < 2 < 3 < 1, for a definite form: nothing ever settles."""
    chase = torch.tensor([[0.1, -1.0, 1.0], [1.0, 0.1, -1.0], [-1.0, 1.0, 0.1]]).double()
    S_BC = torch.eye(3, dtype=torch.float64)
    y0 = torch.tensor([[0.5, 0.6, 0.7]], dtype=torch.float64)
    ends = settle(S_BC[None], 3 * chase[None], y0 / y0.norm(), horizon=160.0)
    assert ends.kind.tolist() == [UNRESOLVED]
    assert float(ends.speed[0]) > 0.1


def test_bad_shapes_are_named():
    S_BC, S_Delta, y0 = problem(0, 3, 4)
    with pytest.raises(ValueError, match="^S_BC: shape"):
        settle(S_BC[0], S_Delta, y0)
    with pytest.raises(ValueError, match="^S_Delta: shape"):
        settle(S_BC, S_Delta[:2], y0)
