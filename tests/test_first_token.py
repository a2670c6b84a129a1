"""Equilibria, spectra and ends of first tokens: against eq (9) itself, and cases known by hand."""

import math

import pytest
import torch

from tokensphere.first_token import (
    Equilibrium,
    Family,
    diagonal_limit,
    equilibria,
    jacobian,
    predict_limit,
    settle,
    spectrum,
    tangent_basis,
)
from tokensphere.first_token.ends import CLOSE, EQUAL, UNRESOLVED, VERTEX, ZERO
from tokensphere.first_token.field import Bounds
from tokensphere.flow import FirstTokenFlow, random_tokens, simulate
from tokensphere.paper.survey import draw

TIMES = torch.tensor([0.0, 1000.0], dtype=torch.float64)


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
    with pytest.raises(ValueError, match="^S_BC: got shape"):
        settle(S_BC[0], S_Delta, y0)
    with pytest.raises(ValueError, match="^S_Delta: got shape"):
        settle(S_BC, S_Delta[:2], y0)


# Equilibria


@pytest.mark.parametrize("dim", range(1, 9))
def test_generic_steps_have_all_the_equilibria_there_can_be(dim):
    S_BC, S_Delta, _ = problem(dim, dim, 1)
    found = equilibria(S_BC[0], S_Delta[0])
    assert len(found) == 2 * (2**dim - 1)
    points = torch.stack([e.point for e in found])
    assert float(FirstTokenFlow(S_BC[0], S_Delta[0])(points).norm(dim=-1).max()) < 1e-12
    assert len({tuple(p) for p in points.round(decimals=8).tolist()}) == len(found)
    for e in found:
        assert e.support == tuple(e.point.nonzero().squeeze(-1).tolist())
        assert e.kind == ("coordinate vector" if len(e.support) == 1 else "equal steps")


def test_no_equilibrium_is_missed():
    """Newton's method from many starts finds no zero of w that is not on the list."""
    S_BC, S_Delta, _ = problem(5, 3, 1)
    points = torch.stack([e.point for e in equilibria(S_BC[0], S_Delta[0])])
    y = random_tokens(3000, 3, generator=torch.Generator().manual_seed(0))
    eye = torch.eye(3, dtype=torch.float64)
    for _ in range(60):
        w = FirstTokenFlow(eye, S_Delta[0])(y)
        basis = tangent_basis(y)
        J = jacobian(eye, S_Delta[0], y)
        move = torch.linalg.lstsq(J, -(basis.mT @ w.unsqueeze(-1))).solution
        y = y + (basis @ move).squeeze(-1).clamp(-0.3, 0.3)
        y = y / y.norm(dim=-1, keepdim=True)
    done = FirstTokenFlow(eye, S_Delta[0])(y).norm(dim=-1) < 1e-12
    assert int(done.sum()) > 2000
    nearest = torch.cdist(y[done], points)
    assert float(nearest.amin(-1).max()) < 1e-6
    assert len(set(nearest.argmin(-1).tolist())) == 14  # and it finds each of them


@pytest.mark.parametrize("dim", [2, 3, 5])
def test_spectra_are_those_of_the_field(dim):
    S_BC, S_Delta, _ = problem(11, dim, 1)
    field = FirstTokenFlow(S_BC[0], S_Delta[0])
    for e in equilibria(S_BC[0], S_Delta[0]):
        derivative = torch.autograd.functional.jacobian(lambda z: field(z / z.norm()), e.point)
        basis = tangent_basis(e.point)
        want = torch.linalg.eigvals(basis.mT @ derivative @ basis)
        pairs = torch.cdist(
            torch.view_as_real(e.eigenvalues), torch.view_as_real(want)
        )  # as sets: no order of complex numbers survives rounding
        assert float(pairs.amin(0).max()) < 1e-10
        assert float(pairs.amin(1).max()) < 1e-10
        torch.testing.assert_close(spectrum(S_BC[0], S_Delta[0], e.point), e.eigenvalues)
        real = want.real
        want_stability = "stable" if real.max() < 0 else "unstable" if real.min() > 0 else "saddle"
        assert e.stability == want_stability


def test_the_spectrum_at_a_zero_of_the_form():
    S_BC = torch.diag(torch.tensor([1.0, -1.0, 2.0, 0.5])).double()
    _, S_Delta, _ = problem(3, 4, 1)
    y = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64) / 2**0.5
    got = spectrum(S_BC, S_Delta[0], y)
    want = torch.linalg.eigvals(jacobian(S_BC, S_Delta[0], y))
    assert int((got == 0).sum()) == 2
    kappa = got[got != 0].real
    assert float((want.real - kappa).abs().min()) < 1e-12
    assert int((want.abs() < 1e-12).sum()) == 2


def test_families_are_reported_and_what_is_part_of_them_is_not_listed_again():
    eye = torch.eye(3, dtype=torch.float64)
    whole = equilibria(eye, torch.zeros(3, 3, dtype=torch.float64))
    assert [(f.kind, f.support, f.basis.shape[1]) for f in whole] == [("family", (0, 1, 2), 3)]
    # Equal columns 1 and 2: e_1, e_2 and the points of equal steps of {1, 2} are one circle.
    _, S_Delta, _ = problem(0, 3, 1)
    S_Delta = S_Delta[0].clone()
    S_Delta[:, 1] = S_Delta[:, 0]
    found = equilibria(eye, S_Delta)
    families = [f for f in found if isinstance(f, Family)]
    assert [f.support for f in families] == [(0, 1), (0, 1, 2)]
    assert all(f.stability == "degenerate" for f in families)
    single = [e.support for e in found if isinstance(e, Equilibrium)]
    # Where steps 1 and 3 agree, step 2 does too: the points on {1, 3} and {2, 3} are on the second.
    assert single == [(2,), (2,)]
    for f in families:
        mix = f.basis @ torch.randn(f.basis.shape[1], 20, dtype=torch.float64)
        y = (mix / mix.norm(dim=0)).mT
        assert float(FirstTokenFlow(eye, S_Delta)(y).norm(dim=-1).max()) < 1e-12
    # Independent columns do not exclude a family.
    S_Delta = torch.tensor([[1.0, 1, 0], [0, 0, 1], [0, 1, 0]], dtype=torch.float64)
    assert torch.linalg.matrix_rank(S_Delta) == 3
    assert [f.support for f in equilibria(eye, S_Delta) if f.kind == "family"] == [(0, 1)]


def test_degenerate_parameters_have_an_answer():
    _, S_Delta, _ = problem(0, 3, 1)
    zero = torch.zeros(3, 3, dtype=torch.float64)
    assert {e.stability for e in equilibria(zero, S_Delta[0])} == {"degenerate"}
    one = torch.ones(1, 1, dtype=torch.float64)
    assert [(e.point.item(), e.stability) for e in equilibria(one, one)] == [
        (1.0, "stable"),
        (-1.0, "stable"),
    ]
    # Only the symmetric part counts.
    skew = torch.tensor([[0.0, 3, -1], [-3, 0, 2], [1, -2, 0]], dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    for a, b in zip(equilibria(eye, S_Delta[0]), equilibria(eye + skew, S_Delta[0]), strict=True):
        torch.testing.assert_close(a.eigenvalues, b.eigenvalues, rtol=0, atol=1e-14)
    for said, arguments in {
        r"S_BC: got shape \(3,\)": (eye[0], S_Delta[0]),
        "S_Delta: got dtype torch.float32": (eye, S_Delta[0].float()),
        r"S_Delta: got shape \(3, 3\), .*D = 2 as in S_BC": (eye[:2, :2], S_Delta[0]),
        "S_BC: got 1e[+]308 in it, .*up to 1e[+]100 in size": (1e308 * eye, S_Delta[0]),
        "S_Delta: got .* in it, .*up to 1e[+]100 in size": (eye, 1e308 * S_Delta[0].sign()),
    }.items():
        with pytest.raises(ValueError, match=f"^{said}"):
            equilibria(*arguments)
    with pytest.raises(ValueError, match="^S_Delta: D = 21"):
        equilibria(torch.eye(21).double(), torch.eye(21).double())
    with pytest.raises(ValueError, match="^y: is no equilibrium"):
        spectrum(eye, S_Delta[0], torch.full((3,), 3**-0.5, dtype=torch.float64))


# Predicted limits


@pytest.mark.parametrize(("law", "dim"), [("Gaussian", 2), ("identity", 3), ("Gaussian", 4)])
def test_predictions_are_where_equation_9_goes(law, dim):
    S_BC, S_Delta, y0 = problem(21, dim, 25, law)
    times = torch.tensor([0.0, 400.0, 1600.0], dtype=torch.float64)
    tokens = simulate(FirstTokenFlow(S_BC, S_Delta), y0.unsqueeze(1), times, rtol=1e-8).tokens
    found = 0
    for i in range(25):
        got = predict_limit(S_BC[i], S_Delta[i], y0[i])
        if got.point is None:
            assert got.argument == "none found"
            continue
        found += 1
        before, after = (tokens[1:, i, 0] - got.point).norm(dim=-1).tolist()
        assert after < 1e-4 or after < before * math.exp(-900 * got.rate)
    assert found >= 22


DIAGONAL = torch.tensor([0.8, -0.5, 1.5], dtype=torch.float64)


@pytest.mark.parametrize(
    ("sign", "delta", "y0", "expected"),
    [
        (1, [1, 1, 1], [0.5, -0.7, 0.2], [1, 0, 0]),  # the largest signed coordinate
        (1, [1, -1, 1], [0.5, -0.7, 0.2], [0, -1, 0]),  # Theorem 3.2: signs of y0
        (1, [1, 1, 1], [-0.5, -0.7, -0.2], [-1, -1, -1]),
        (1, [2, 1, 4], [-0.5, -0.7, -0.2], [-2, -4, -1]),
        (1, [1, 1, 1], [0.5, 0.5, 0.2], [1, 1, 0]),  # a tie
        (1, [0, 0, 1], [0.5, -0.7, -0.2], [5, -7, 0]),  # slower than exponential
        (-1, [1, -1, 1], [0.5, -0.7, 0.2], [1, -1, 1]),
        (-1, [1, 1, 1], [0.5, -0.7, 0.2], [0, -1, 0]),
    ],
)
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_largest_step_wins(sign, delta, y0, expected, shift):
    S_BC = sign * torch.tensor([[2.0, 0.3, 0.1], [0.5, 1.0, 0.0], [0.2, -0.4, 3.0]]).double()
    y0 = torch.tensor(y0, dtype=torch.float64)
    S_Delta = torch.diag(torch.tensor(delta).double()) + shift * DIAGONAL.unsqueeze(-1)
    want = torch.tensor(expected, dtype=torch.float64)
    y0, want = y0 / y0.norm(), want / want.norm()
    got = predict_limit(S_BC, S_Delta, y0)
    assert got.argument == "largest step"
    torch.testing.assert_close(got.point, want, rtol=0, atol=1e-12)
    tied = bool(y0[0] == y0[1])
    # The point of a tie repels the rest of the sphere: rounding shows after t = 40 or so.
    times = torch.tensor([0.0, 8.0, 16.0] if tied else [0.0, 300.0, 3000.0], dtype=torch.float64)
    path = simulate(FirstTokenFlow(S_BC, S_Delta), y0.unsqueeze(0), times).tokens[1:, 0]
    before, after = (path - want).norm(dim=-1).tolist()
    # Like 1/t where two steps tend to agree; 1e-8 is what the tolerance of 1e-9 a step adds up to.
    assert after < 1e-8 or after < 0.2 * before
    assert (got.rate is None) == (after > 1e-8 or tied)


def test_zero_coordinates_stay_zero():
    """A token in a coordinate plane has the limit that the plane's own flow gives it."""
    S_BC, S_Delta, y0 = problem(31, 4, 20)
    y0[:, 2] = 0
    y0 = y0 / y0.norm(dim=-1, keepdim=True)
    keep = [0, 1, 3]
    for B, step, y in zip(S_BC, S_Delta, y0, strict=True):
        whole = predict_limit(B, step, y)
        part = predict_limit(B[keep][:, keep], step[keep][:, keep], y[keep])
        assert (whole.kind, whole.argument) == (part.kind, part.argument)
        # Of matrices of another size: sums in another order.
        assert whole.rate == pytest.approx(part.rate, rel=1e-12)
        if whole.point is not None:
            assert float(whole.point[2]) == 0
            torch.testing.assert_close(whole.point[keep], part.point, rtol=0, atol=1e-12)


def test_tokens_at_rest_stay():
    S_BC, S_Delta, y0 = problem(41, 3, 1)
    eye = torch.eye(3, dtype=torch.float64)
    for e in equilibria(S_BC[0], S_Delta[0]):
        got = predict_limit(S_BC[0], S_Delta[0], e.point)
        assert (got.argument, got.kind) == ("at rest", e.kind)
        assert torch.equal(got.point, e.point)
    zero = torch.zeros_like(eye)
    assert predict_limit(zero, S_Delta[0], y0[0]).argument == "at rest"
    assert predict_limit(eye, zero, y0[0]).argument == "at rest"
    one = torch.ones(1, 1, dtype=torch.float64)
    assert predict_limit(one, one, -one[0]).point.item() == -1.0


def test_no_limit_is_claimed_for_a_cycle():
    chase = torch.tensor([[0.1, -1.0, 1.0], [1.0, 0.1, -1.0], [-1.0, 1.0, 0.1]]).double()
    y0 = torch.tensor([0.5, 0.6, 0.7], dtype=torch.float64)
    got = predict_limit(torch.eye(3).double(), 3 * chase, y0 / y0.norm(), horizon=160.0)
    assert (got.point, got.kind, got.argument) == (None, "unresolved", "none found")


def test_bad_arguments_are_named():
    S_BC, S_Delta, y0 = problem(0, 3, 1)
    for name, arguments in {
        "S_BC": (S_BC, S_Delta[0], y0[0]),
        "S_Delta": (S_BC[0], S_Delta[0] * math.inf, y0[0]),
        "y0": (S_BC[0], S_Delta[0], 2 * y0[0]),
        "horizon": (S_BC[0], S_Delta[0], y0[0], 0.0),
    }.items():
        with pytest.raises(ValueError, match=f"^{name}: "):
            predict_limit(*arguments)


# The certificates of settle, on their own


def test_the_lyapunov_set_is_not_left_and_leads_to_the_point():
    """Points just inside the certified sublevel set, at random, all end at the equilibrium."""
    S_BC, S_Delta, _ = problem(51, 3, 1, "identity")
    stable = [
        e
        for e in equilibria(S_BC[0], S_Delta[0])
        if e.stability == "stable" and e.kind == "equal steps"
    ]
    assert stable
    g = torch.Generator().manual_seed(0)
    for e in stable:
        away = torch.randn(400, 3, generator=g, dtype=torch.float64)
        reach = 10 ** (-3 * torch.rand(400, 1, generator=g, dtype=torch.float64))
        y = e.point + reach * away / away.norm(dim=-1, keepdim=True)
        y = y / y.norm(dim=-1, keepdim=True)
        many = [v.expand(400, 3, 3) for v in (S_BC[0], S_Delta[0])]
        ends = settle(*many, y, horizon=1e-9)  # as good as no integration: only the certificates
        sure = ends.kind == EQUAL
        assert 20 < int(sure.sum()) < 400
        path = simulate(FirstTokenFlow(S_BC[0], S_Delta[0]), y[sure], TIMES)
        distance = (path.tokens - ends.point[sure]).norm(dim=-1)
        assert float(distance[-1].max()) < 1e-6


@pytest.mark.parametrize("angle", [0.01, 0.1, 0.5])
def test_the_lyapunov_set_ends_before_the_basin_does(angle):
    """On the circle, steps agree at `angle` and its basin ends at the axis, at 0."""
    normal = torch.tensor([-math.sin(angle), math.cos(angle)], dtype=torch.float64)
    S_Delta = torch.stack([normal, -normal], dim=-1)
    starts = angle * torch.linspace(-1, 3, 2000, dtype=torch.float64)  # none is `angle` itself
    y = torch.stack([starts.cos(), starts.sin()], dim=-1)
    many = [v.expand(len(y), 2, 2) for v in (torch.eye(2, dtype=torch.float64), S_Delta)]
    sure = settle(*many, y, horizon=1e-9).kind == EQUAL
    assert float(starts[sure].min()) > 0
    assert int(sure.sum()) >= 4  # the claim is not empty


def test_a_cap_counts_only_coordinates_that_are_not_zero():
    """e_1 is a saddle that attracts the plane y_3 = 0: there a token is known to end at it."""
    S_Delta = torch.tensor([[0.0, -1.0, 1.0], [0.0, 0, 0], [0, 0, 0]], dtype=torch.float64)
    y = torch.tensor([[0.9, 0.1, 0.0], [0.9, 0.1, 1e-9]], dtype=torch.float64)
    y = y / y.norm(dim=-1, keepdim=True)
    many = [v.expand(2, 3, 3) for v in (torch.eye(3, dtype=torch.float64), S_Delta)]
    assert settle(*many, y, horizon=1e-9).kind.tolist() == [VERTEX, UNRESOLVED]


def test_bounds_hold_in_the_ball():
    _, S_Delta, _ = problem(61, 4, 1)
    bounds = Bounds.of(S_Delta[0])
    c = math.log(2)

    def w(y):
        h = (torch.nn.functional.softplus(y @ S_Delta[0]) - c) * y
        return h - (h @ y) * y

    g = torch.Generator().manual_seed(1)
    for _ in range(50):
        y, v = random_tokens(2, 4, generator=g)
        y = y * torch.rand((), generator=g, dtype=torch.float64) ** 0.25
        assert float(w(y).norm()) <= float(bounds.value)
        first = torch.autograd.functional.jacobian(w, y)
        assert float(torch.linalg.matrix_norm(first, 2)) <= float(bounds.first)
        along = torch.autograd.functional.jacobian(
            lambda z, v=v: torch.autograd.functional.jvp(w, z, v, create_graph=True)[1], y
        )
        assert float((along @ v).norm()) <= float(bounds.second)


def test_diagonal_limits_need_a_definite_form():
    one = torch.ones(1, 2, dtype=torch.float64)
    indefinite = torch.diag(torch.tensor([1.0, -1.0])).double()[None]
    with pytest.raises(ValueError, match="^S_BC: its symmetric part is not definite"):
        diagonal_limit(indefinite, one, one / 2**0.5)
    # The two are equal to rounding, a tie; the rate is that of a third coordinate, were there one.
    limit, rate = diagonal_limit(torch.eye(2).double()[None], one, one / 2**0.5)
    torch.testing.assert_close(limit, one / 2**0.5)
    assert float(rate) == pytest.approx(math.log1p(math.exp(0.5**0.5)) - math.log(2))


@pytest.mark.parametrize("gap", [1.0, 1e-5])
def test_a_zero_of_the_form_is_certain_just_as_far_as_its_ball_reaches(gap):
    """|q| falls at half its rate or faster in the ball: the way left is 2 |q| sup|w| / rate."""
    S_BC = torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))
    S_Delta = torch.tensor([[3.0, 3.0], [1.0, 1.0 + gap]], dtype=torch.float64)

    def at(q):
        angle = math.pi / 4 - math.asin(q) / 2
        return torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)

    # Downwards along w: at 45 degrees |q|' = 2 <S y, w> = -rate, minus the difference of the steps.
    first, second = torch.nn.functional.softplus(at(0.0) @ S_Delta).tolist()
    rate, bounds = second - first, Bounds.of(S_Delta)
    fastest, steepness = float(bounds.value), 2 * float(bounds.value + bounds.first)
    near, slow = CLOSE * rate / (2 * fastest), rate**2 / (4 * fastest * steepness)
    assert (near < slow) == (gap == 1.0)
    y = torch.stack([at(0.9 * min(near, slow)), at(1.1 * min(near, slow))])
    many = [v.expand(2, 2, 2) for v in (S_BC, S_Delta)]
    assert (settle(*many, y, horizon=1e-12).kind == ZERO).tolist() == [True, False]


def ends_without_integration(S_BC, S_Delta, angles):
    """What tokens of the circle are known to end at by the certificates alone."""
    angles = torch.tensor(angles, dtype=torch.float64)
    y = torch.stack([angles.cos(), angles.sin()], -1)
    many = [v.expand(len(y), 2, 2) for v in (S_BC, S_Delta)]
    return settle(*many, y, horizon=1e-12).kind.tolist()


def test_a_cap_ends_where_the_form_may_vanish():
    """|q(y) - q(e_1)| <= 2 |S| |y - e_1|, so the cap's chord is below q(e_1) / (2 |S|)."""
    S_BC = torch.diag(torch.tensor([0.5, 1.0], dtype=torch.float64))
    S_Delta = torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64))
    angles = [2 * math.asin(factor * 0.25 / 2) for factor in (0.9, 1.1)]
    assert ends_without_integration(S_BC, S_Delta, angles) == [VERTEX, UNRESOLVED]


def test_a_cap_ends_where_the_steps_agree():
    """On the circle they agree at -0.3: nearer to e_1 tokens go there, beyond away from it."""
    normal = torch.tensor([math.sin(0.3), math.cos(0.3)], dtype=torch.float64)
    S_Delta = torch.stack([normal, -normal], -1)
    assert ends_without_integration(torch.eye(2).double(), S_Delta, [-0.27, -0.33]) == [
        VERTEX,
        UNRESOLVED,
    ]


def test_the_lyapunov_set_is_the_ball_of_the_bound():
    """On the circle, where P = 1 / (2 lambda), it is |a| < 3/2 lambda / sup|D^2 w|."""
    normal = torch.tensor([-math.sin(0.5), math.cos(0.5)], dtype=torch.float64)
    S_Delta = torch.stack([normal, -normal], -1)
    point = torch.tensor([math.cos(0.5), math.sin(0.5)], dtype=torch.float64)
    (rate,) = -spectrum(torch.eye(2).double(), S_Delta, point).real
    radius = float(1.5 * rate / Bounds.of(S_Delta).second)
    angles = [0.5 + math.asin(factor * radius) for factor in (0.9, 1.1)]
    found = ends_without_integration(torch.eye(2).double(), S_Delta, angles)
    assert found == [EQUAL, UNRESOLVED]


def test_bounds_are_those_of_the_product_rule():
    s, bounds = 0.7, Bounds.of(0.7 * torch.eye(3).double())
    d = math.log1p(math.exp(s)) - math.log(2)
    h = d, d + s, 2 * s + s**2 / 4
    # w = h - <h, y> y in the unit ball, differentiated once and twice.
    found = [float(bounds.value), float(bounds.first), float(bounds.second)]
    assert found == pytest.approx([h[0], 2 * h[1] + 2 * h[0], 2 * h[2] + 4 * h[1] + 2 * h[0]])


@pytest.mark.parametrize("size", [1e-12, 1e12])
def test_equilibria_do_not_depend_on_the_size_of_the_steps(size):
    S_BC, S_Delta, _ = problem(3, 3, 1)
    found, scaled = equilibria(S_BC[0], S_Delta[0]), equilibria(S_BC[0], size * S_Delta[0])
    assert [e.support for e in scaled] == [e.support for e in found] and len(found) == 14
    for one, other in zip(found, scaled, strict=True):
        torch.testing.assert_close(one.point, other.point, rtol=0, atol=1e-10)
