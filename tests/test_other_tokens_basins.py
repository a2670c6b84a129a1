"""Limits of later tokens in closed form, eigenvectors of M_l, brackets of exceptional tokens."""

import math

import pytest
import torch
from torch.nn.functional import softplus

from tokensphere.flow import SharedStepFlow, project, random_tokens, simulate
from tokensphere.other_tokens import basins, interaction_speeds, interactions


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(5)


def end(flow, x0, stop, rtol=1e-8):
    times = torch.tensor([0.0, stop], dtype=torch.float64)
    return simulate(flow, x0, times, rtol, rtol / 1000).tokens[-1]


def test_a_random_problem_has_the_form_that_was_asked_for(generator):
    for symmetric in (True, False):
        flow, x1 = basins.random_problem(generator, 4, -1.5, symmetric)
        assert float(x1 @ flow.S_BC @ x1) == pytest.approx(-1.5)
        assert torch.equal(flow.S_BC, flow.S_BC.mT) == symmetric
    with pytest.raises(ValueError, match="dim: got 1"):
        basins.random_problem(generator, 1)


def test_the_matrices_give_the_field(generator):
    flow, x1 = basins.random_problem(generator, 4, symmetric=False)
    x = basins.tokens_behind(generator, x1, 20, 5)
    assert (x[:, 0] == x1).all()
    moved = torch.einsum("nlde,nle->nld", basins.token_matrices(flow, x), x)
    field = torch.exp(-flow.a * softplus(x @ flow.alpha))[..., None] * project(x, moved)
    assert torch.allclose(field, flow(x), atol=1e-13)


@pytest.mark.parametrize("gamma", [2.0, -2.0])
def test_second_limit_and_its_rate(generator, gamma):
    flow, x1 = basins.random_problem(generator, 4, gamma, symmetric=False)
    x0 = basins.tokens_behind(generator, x1, 6, 2)
    limit = basins.second_limit(flow.S_BC, x1, x0[:, 1])
    times = torch.tensor([0.0, 30.0, 31.0], dtype=torch.float64)
    far = (simulate(flow, x0, times, 1e-11, 1e-15).tokens[:, :, 1] - limit).norm(dim=-1)
    early = (end(flow, x0, 10.0, 1e-11)[:, 1] - limit).norm(dim=-1)
    later = (end(flow, x0, 11.0, 1e-11)[:, 1] - limit).norm(dim=-1)
    assert far[1].max() < 1e-3
    local = (early / later).log()
    clear = (early < 1e-2) & (later > 1e-9)
    assert clear.any()
    rate = basins.second_rate(flow, x1, x0[:, 1])
    assert torch.allclose(local[clear], rate[clear], rtol=0.02)


def test_without_a_form_the_approach_is_algebraic(generator):
    flow, x1 = basins.random_problem(generator, 3, 0.0)
    x0 = basins.tokens_behind(generator, x1, 1, 2)[0]
    distance = (end(flow, x0, 2000.0)[1] - basins.second_limit(flow.S_BC, x1, x0[1])).norm()
    constant = basins.second_constant(flow, x1, x0[1])
    # Corrections are O(ln t / t).
    assert float(2000 * distance / constant) == pytest.approx(1, abs=0.05)


def test_limits_of_the_second_token_need_a_way(generator):
    flow, x1 = basins.random_problem(generator, 3)
    with pytest.raises(ValueError, match="stand still"):
        basins.second_limit(flow.S_BC, x1, x1)


def test_tokens_behind_held_ones_go_to_eigenvectors_with_a_known_spectrum(generator):
    flow, x0 = basins.behind_exception(generator, 4, 5, 5, symmetric=False)
    assert flow(x0)[:, :3].abs().max() < 1e-14
    held = basins.hold(flow, 3)
    assert torch.allclose(held(x0)[:, 3:], flow(x0)[:, 3:]) and not held(x0)[:, :3].any()
    x = end(held, x0, 120.0)
    found = basins.as_eigenvectors(flow, x)
    assert found.off.max() < 1e-6
    assert torch.allclose(found.value[:, 3:], found.largest[:, 3:], atol=1e-4)
    # The recursion of the eigenvalues, at token 4.
    M = basins.token_matrices(flow, x)[0]
    step = softplus(x[0, 3] @ flow.alpha)
    decay = torch.exp(-flow.a * step)
    before = torch.linalg.eigvals(M[3]).real.sort().values
    after = torch.linalg.eigvals(M[4])
    own = decay * before[-1] + step * x[0, 3] @ flow.S_BC @ x[0, 3]
    predicted = torch.cat([decay * before[:-1], own[None]]).sort().values
    assert after.imag.abs().max() < 1e-6
    assert torch.allclose(after.real.sort().values, predicted, atol=1e-5)


def test_an_exception_needs_a_token_behind_it(generator):
    with pytest.raises(ValueError, match="length: got 3"):
        basins.behind_exception(generator, 4, 5, 3, symmetric=True)


def test_a_token_off_an_eigenvector_is_seen(generator):
    flow, x1 = basins.random_problem(generator, 3)
    x = basins.tokens_behind(generator, x1, 4, 3)
    assert basins.as_eigenvectors(flow, x).off[:, 1:].min() > 1e-3


def test_tied_attractors(generator):
    flow, x0, limit = basins.tied_attractors(generator, 6)
    x = end(flow, x0, 60.0)
    assert torch.allclose(x[:, 3], limit, atol=1e-6)
    assert torch.allclose(x[:, :3], x0[:, :3])


def test_growth_bound_everywhere_and_what_is_left_of_it_in_the_strip(generator):
    flow, x1 = basins.random_problem(generator, 3, symmetric=False)
    x, signs = basins.near_consensus(generator, x1, 3000, 4)
    assert (x[:, 1:3] * x1).sum(-1).sign().eq(signs).double().mean() > 0.7
    U = interactions(x, flow.S_BC)[1][:, -1, 0]
    speed = 2 * U * interaction_speeds(flow, x, flow.S_BC)[1][:, -1, 0]
    sharp, left = basins.growth_bound(flow, x, signs), basins.strip_bound(flow, x, signs)
    strip = U.abs() <= 1.0
    assert (speed - sharp).min() > -1e-12
    assert (sharp - left)[strip].min() > -1e-12
    assert (speed - left)[strip].min() > -1e-12 > (speed - left)[~strip].min()


def test_with_form(generator):
    direction = 2 * random_tokens(4, generator=generator)
    x = basins.with_form(random_tokens(7, 4, generator=generator), direction, -0.7)
    assert torch.allclose(x @ direction, torch.full((7,), -0.7, dtype=torch.float64))
    assert torch.allclose(x.norm(dim=-1), torch.ones(7, dtype=torch.float64))
    with pytest.raises(ValueError, match="value: got 3.0"):
        basins.with_form(x, direction, 3.0)


def test_circles(generator):
    circle = basins.random_circle(generator, 5)
    assert torch.allclose(circle @ circle.mT, torch.eye(2, dtype=torch.float64))
    points = basins.great_circles(circle, torch.tensor([0.0, math.pi / 2], dtype=torch.float64))
    assert torch.allclose(points, circle)
    direction = random_tokens(3, generator=generator)
    assert (basins.kernel_circle(direction) @ direction).abs().max() < 1e-14
    arc = basins.arc_on_one_side(generator, direction, 9)
    assert (arc @ direction > 0).all()


def test_distance_to_pair():
    x1 = torch.tensor([1.0, 0.0], dtype=torch.float64)
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert basins.distance_to_pair(x, x1).tolist() == pytest.approx([0, 0, math.sqrt(2)])


def test_crossings_of_the_second_token_are_where_the_form_is_zero(generator):
    flow, x1 = basins.random_problem(generator, 3)
    circles = torch.stack([basins.random_circle(generator, 3) for _ in range(3)])
    found = basins.crossings(flow, x1.expand(3, 1, 3), circles, points=16, rounds=3)
    assert found.changes.tolist() == [2, 2, 2]
    assert found.width == pytest.approx(2 * math.pi / 16**3)
    exact = basins.great_circles(circles, found.middle[:, None])[:, 0] @ (flow.S_BC @ x1)
    assert exact.abs().max() < found.width * float((flow.S_BC @ x1).norm())
    negative = SharedStepFlow(-flow.S_BC, flow.alpha, flow.a)
    with pytest.raises(ValueError, match="takes above 0"):
        basins.crossings(negative, x1.expand(3, 1, 3), circles)
    with pytest.raises(ValueError, match="frames: got shape"):
        basins.crossings(flow, x1.expand(2, 1, 3), circles)


def test_under_a_negative_form_the_third_token_follows_its_limit(generator):
    positive = []
    for _ in range(4):
        flow, x1 = basins.random_problem(generator, 3, -2.0, symmetric=False)
        x0 = basins.tokens_behind(generator, x1, 6, 3)
        x = end(flow, x0, 40.0, 1e-4)
        xi = x[:, 1]
        limit = basins.third_limit(flow.S_BC, x1.expand_as(xi), xi)
        form = ((xi @ flow.S_BC.mT) * xi).sum(-1)
        clear = form.abs() > 0.3
        assert ((x[:, 2] * limit).sum(-1).abs() > 0.99)[clear].all()
        positive.extend((form > 0)[clear].tolist())
    assert set(positive) == {True, False}
    with pytest.raises(ValueError, match=r"S_BC: got shape \(4, 4\), takes a tensor \(..., 3, 3\)"):
        basins.third_limit(torch.eye(4, dtype=torch.float64), xi, xi)


def test_the_speed_of_a_last_token_is_bounded(generator):
    flow, x1 = basins.random_problem(generator, 3, symmetric=False)
    x, signs = basins.near_consensus(generator, x1, 500, 4)
    speed = flow(x)[:, -1].norm(dim=-1)
    bound = basins.speed_bound(flow, x, signs)
    assert (speed <= bound + 1e-12).all()
    # With x_L across S_BC x_1 and the others at +-x_1 both are zero: it needs no constant.
    x[:, 1:-1] = signs[..., None] * x1
    x[:, -1] = basins.with_form(x[:, -1], flow.S_BC @ x1, 0.0)
    assert float(basins.speed_bound(flow, x, signs).abs().max()) < 1e-12
    assert float(flow(x)[:, -1].abs().max()) < 1e-12
