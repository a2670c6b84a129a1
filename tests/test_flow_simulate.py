"""Integration in depth: against scipy and by itself, between steps, in batches; what stops it."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from tokensphere.flow import (
    FirstTokenFlow,
    MambaFlow,
    dop853,
    layers,
    random_tokens,
    simulate,
    simulate_residual_stream,
)
from tokensphere.flow.fields import OnSphere


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def parameters(seed, dim):
    g = torch.Generator().manual_seed(seed)
    a = 0.5 + torch.rand(dim, generator=g, dtype=torch.float64)
    return normal(g, dim, dim), normal(g, dim, dim), a, g


def t64(*values):
    return torch.tensor(values, dtype=torch.float64)


def reference(field, x0, times):
    """(T, ..., L, D), by scipy's own DOP853 at the tightest tolerance that it takes."""

    def right_hand_side(t, z):
        x = torch.from_numpy(z).view(x0.shape)
        return field(x / x.norm(dim=-1, keepdim=True), t).flatten().numpy()

    found = solve_ivp(
        right_hand_side,
        (float(times[0]), float(times[-1])),
        x0.flatten().numpy(),
        method="DOP853",
        t_eval=times.numpy(),
        rtol=3e-14,
        atol=1e-16,
    )
    return torch.from_numpy(found.y.T.copy()).view(len(times), *x0.shape)


def test_time_dependent_parameters_against_scipy():
    S_BC, S_Delta, a, g = parameters(0, 4)
    other = normal(g, 4, 4)
    field = MambaFlow(
        lambda t: S_BC * math.cos(t) + other * math.sin(t), S_Delta, lambda t: a * (1 + 0.1 * t)
    )
    x0 = random_tokens(6, 4, generator=g)
    times = torch.linspace(0, 8, 33, dtype=torch.float64)
    trajectory = simulate(field, x0, times)
    # Errors of single steps, each below 1e-9, add up over some hundred steps.
    torch.testing.assert_close(trajectory.tokens, reference(field, x0, times), rtol=0, atol=1e-7)
    assert float((trajectory.tokens.norm(dim=-1) - 1).abs().max()) < 1e-14
    torch.testing.assert_close(trajectory.tokens[0], x0, rtol=0, atol=1e-15)


@pytest.mark.parametrize("tolerance", [1e-4, 1e-6, 1e-9])
@pytest.mark.parametrize("seed", range(3))
def test_between_steps_it_is_as_accurate_as_asked(tolerance, seed):
    """Some hundred times within a few dozen steps, irregular, some next to each other."""
    S_BC, S_Delta, a, g = parameters(seed, 3)
    field = MambaFlow(S_BC, S_Delta, a)
    x0 = random_tokens(8, 3, generator=g)
    random = 3.0 + 5.0 * torch.rand(300, generator=g, dtype=torch.float64)
    times = torch.cat([t64(3.0), random, random + 1e-12, t64(8.0)]).sort().values
    found = simulate(field, x0, times, tolerance, tolerance / 1000).tokens
    # The interpolant is 3 to 20 times less accurate than a step; steps are accurate enough for it.
    error = (found - reference(field, x0, times)).abs().amax((1, 2))
    assert float(error.max()) < tolerance
    # What lies between steps is no worse than what one step from there to the end makes of it.
    coarse = simulate(field, x0, t64(3.0, 8.0), tolerance, tolerance / 1000).tokens[-1]
    torch.testing.assert_close(found[-1], coarse, rtol=0, atol=tolerance)


@pytest.mark.parametrize("begin", [-1e3, 0.0, 1e6])
def test_times_begin_anywhere(begin):
    S_BC, S_Delta, a, g = parameters(1, 3)
    field, x0 = MambaFlow(S_BC, S_Delta, a), random_tokens(5, 3, generator=g)
    times = t64(0.0, 0.5, 2.0)
    moved = simulate(field, x0, times + begin).tokens
    # Around 1e6 a time is rounded by 1e-10, and each step's length with it.
    torch.testing.assert_close(moved, simulate(field, x0, times).tokens, rtol=0, atol=3e-9)


def test_a_batch_of_speeds_a_hundredfold_apart():
    """Every sequence is as accurate as asked, however many slow ones share the call."""
    S_BC, S_Delta, a, g = parameters(5, 3)
    scale = torch.ones(300, dtype=torch.float64)
    scale[7], scale[8:20] = 100.0, 10.0
    x0 = random_tokens(300, 4, 3, generator=g)
    crowd = MambaFlow(scale[:, None, None] * S_BC, S_Delta.expand(300, 3, 3), a.expand(300, 3))
    times = t64(0.0, 0.05, 0.3, 1.0)
    for tolerance in (1e-5, 1e-9):
        found = simulate(crowd, x0, times, tolerance, tolerance / 1000).tokens
        for i in (7, 8, 19, 20, 299):
            alone = reference(MambaFlow(scale[i] * S_BC, S_Delta, a), x0[i], times)
            assert float((found[:, i] - alone).abs().max()) < tolerance


def test_a_crowd_does_not_lengthen_the_steps_of_one():
    """The slow majority must not hide the error of one fast sequence: its steps stay its own."""
    S_BC, S_Delta, _, g = parameters(0, 3)
    y0 = random_tokens(1, 3, generator=g)
    slow = torch.full((400, 1, 1), 1e-3, dtype=torch.float64)
    slow[0] = 20.0
    for times in (t64(0.0, 5.0), t64(0.0, 0.2, 1.0, 5.0)):
        alone, crowd = (
            simulate(FirstTokenFlow(scale * S_BC, S_Delta), start, times, 1e-4, 1e-7).tokens
            for scale, start in ((20.0, y0), (slow, y0.expand(400, 1, 3)))
        )
        torch.testing.assert_close(crowd[:, 0], alone, rtol=0, atol=1e-12)


def test_one_component_is_scipys_own_run():
    """Where nothing is to be averaged the norms, and so the steps, are the same."""

    def logistic(t, y):
        return y * (1 - y) * (2 + math.sin(t))

    times = np.array([0.5, 9.0])
    start = np.array([0.01])
    nothing = lambda t, parts: None  # noqa: E731
    ours = dop853.solve(logistic, start, times, 1e-7, 1e-10, 1, nothing)[-1]
    scipys = solve_ivp(logistic, times, start, "DOP853", rtol=1e-7, atol=1e-10).y[:, -1]
    np.testing.assert_allclose(ours, scipys, rtol=1e-14)


def test_small_components_keep_their_relative_accuracy():
    """Without an absolute tolerance a component is followed down to 1e-80."""
    times = t64(0.0, 100.0, 180.0)
    away = lambda x, t: torch.stack([x[..., 1] ** 2, -x[..., 0] * x[..., 1]], -1)  # noqa: E731
    x0 = t64([0.6, 0.8])
    # The angle's tangent falls as dx_2 = -x_1 x_2: x_2 = 1 / cosh(t + c).
    found = simulate(away, x0, times, 1e-8, 1e-300).tokens[:, 0, 1]
    expected = 1 / torch.cosh(times + math.atanh(0.6))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def test_the_sphere_holds_where_the_form_is_negative():
    """There dx/dt = layer(x) - <layer(x), x> x, taken off the sphere, runs away from it."""
    identity = torch.eye(3, dtype=torch.float64)
    field = FirstTokenFlow(-identity, identity)
    x0 = random_tokens(4, 3, generator=torch.Generator().manual_seed(0))
    times = t64(0.0, 200.0)
    end = simulate(field, x0, times).tokens[-1]
    assert float(field(end).norm(dim=-1).max()) < 1e-8


@pytest.mark.parametrize("times", [t64(0.0, 2.0), t64(0.0, 0.3, 2.0)])
def test_a_fields_own_code_and_any_function_give_the_same(times):
    """A field's compiled pass, the same field as a bare function, and the run with gradients."""
    S_BC, S_Delta, a, g = parameters(6, 3)
    field = MambaFlow(S_BC, S_Delta, a)
    x0 = random_tokens(5, 7, 3, generator=g)
    found = simulate(field, x0, times).tokens
    function = simulate(lambda x, t: field(x, t), x0, times).tokens
    # Steps are the same, and each adds its rounding.
    torch.testing.assert_close(function, found, rtol=0, atol=1e-12)
    with_gradients = simulate(field, x0.clone().requires_grad_(), times).tokens
    torch.testing.assert_close(with_gradients.detach(), found, rtol=0, atol=1e-8)
    with torch.no_grad():
        inside = simulate(field, x0.clone().requires_grad_(), times).tokens
    torch.testing.assert_close(inside, found, rtol=0, atol=0)


@pytest.mark.parametrize("times", [t64(0.0, 1.0), t64(0.0, 0.3, 1.0)])
def test_gradients_pass_through_a_run(times):
    """To tokens and to parameters, at both of the methods that carry them."""
    S_BC, S_Delta, a, g = parameters(2, 2)
    x0 = random_tokens(3, 2, generator=g)

    def end(S_BC, z):
        x = z / z.norm(dim=-1, keepdim=True)
        return simulate(MambaFlow(S_BC, S_Delta, a), x, times).tokens

    assert torch.autograd.gradcheck(end, (S_BC.requires_grad_(), x0.clone().requires_grad_()))
    # Parameters that a function hides are noticed too.
    hidden = lambda x, t: MambaFlow(S_BC, S_Delta, a)(x, t)  # noqa: E731
    (gradient,) = torch.autograd.grad(simulate(hidden, x0, times).tokens[-1, 0, 0], S_BC)
    (expected,) = torch.autograd.grad(end(S_BC, x0)[-1, 0, 0], S_BC)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)


def test_arguments_are_left_as_they_are():
    S_BC, S_Delta, a, g = parameters(7, 3)
    field = MambaFlow(S_BC, S_Delta, a)
    x0 = random_tokens(3, 5, 4, generator=g).mT[:, :, :3]
    x0 = x0 / x0.norm(dim=-1, keepdim=True)
    strided = x0.mT.contiguous().mT
    before = strided.clone()
    end = simulate(field, strided, t64(0.0, 1.0)).tokens
    assert torch.equal(strided, before)
    torch.testing.assert_close(end, simulate(field, x0, t64(0.0, 1.0)).tokens, rtol=0, atol=1e-13)
    one = x0[:1].expand(6, 4, 3)
    same = simulate(field, one, t64(0.0, 1.0)).tokens
    torch.testing.assert_close(same[:, 5], end[:, 0], rtol=0, atol=1e-8)


def test_a_stream_that_reaches_the_origin_is_an_error():
    """A negative form drives z to the origin along a ray; a step may be long enough to cross it."""
    field = FirstTokenFlow(-torch.eye(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    z0 = t64([1.0, 0.0])
    for rtol, atol in ((1e-9, 1e-12), (1e-3, 0.5)):
        with pytest.raises(RuntimeError, match="origin|integration stopped"):
            simulate_residual_stream(field, z0, t64(0.0, 5.0), rtol=rtol, atol=atol)


def test_a_crossing_in_the_last_step_is_an_error_by_the_differentiable_solver_too():
    """It tells of the state before each step: that after the last one is looked at by itself."""

    class Through(OnSphere):
        def layer(self, x, t=0.0):  # at one speed to the left, whatever the direction
            return torch.stack([-torch.ones_like(x[..., 0]), 0 * x[..., 1]], -1)

    z0 = t64([1.0, 0.1]).requires_grad_()
    before = simulate_residual_stream(Through(), z0, t64(0.0, 0.9), 1e-3, 1e-6).tokens[-1]
    torch.testing.assert_close(before.detach(), t64([0.1, 0.1]))
    with pytest.raises(RuntimeError, match=r"crossed the origin before t = 1\.05"):
        simulate_residual_stream(Through(), z0, t64(0.0, 1.05), 1e-3, 1e-6)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9])
def test_a_stream_may_turn_by_more_than_a_right_angle_in_a_step(tolerance):
    """It keeps away from the origin all the time: long steps must not be taken for jumps."""

    class Turn(OnSphere):
        def layer(self, x, t=0.0):
            return 3 * torch.stack([-x[..., 1], x[..., 0]], -1)

    end = simulate_residual_stream(
        Turn(), t64([1.0, 0.0]), t64(0.0, 3.0), tolerance, tolerance / 1000
    ).tokens[-1]
    expected = t64([math.cos(9.0), math.sin(9.0)])
    # An error of the radius is one of the speed from then on: 17 steps, each with up to 9 radians.
    torch.testing.assert_close(end, expected, rtol=0, atol=17 * 9 * tolerance)


def test_the_residual_stream_is_the_limit_of_layers_that_normalise_before():
    S_BC, S_Delta, a, g = parameters(4, 3)
    field = MambaFlow(S_BC @ S_BC.mT, S_Delta, a)
    x0 = random_tokens(4, 3, generator=g)
    limit = simulate_residual_stream(field, x0, t64(0.0, 2.0))
    ends = []
    for depth in (1000, 2000):
        times = torch.linspace(0, 2, depth + 1, dtype=torch.float64)
        ends.append(layers(field, x0, times, normalise="before", every=depth).tokens[-1])
    errors = [float((end - limit.tokens[-1]).abs().max()) for end in ends]
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.05)  # first order
    # Without its first-order part the error is 100 times smaller: there is nothing else in it.
    assert float((2 * ends[1] - ends[0] - limit.tokens[-1]).abs().max()) < errors[1] / 100


GOOD = parameters(0, 3)
X = random_tokens(4, 3, generator=torch.Generator().manual_seed(1))
TIMES = t64(0.0, 1.0)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("x0", lambda S, D, a: simulate(FirstTokenFlow(S, D), 1.1 * X, TIMES)),
        (
            "x",
            lambda S, D, a: simulate(
                FirstTokenFlow(S, D), X[:, :2] / X[:, :2].norm(dim=-1, keepdim=True), TIMES
            ),
        ),
        ("x0", lambda S, D, a: simulate(lambda x, t: x.sum(-1), X, TIMES)),
        ("x0", lambda S, D, a: simulate(MambaFlow(S.expand(2, 3, 3), D, a), X, TIMES)),
        ("z0", lambda S, D, a: simulate_residual_stream(FirstTokenFlow(S, D), 0 * X, TIMES)),
        ("times", lambda S, D, a: simulate(FirstTokenFlow(S, D), X, TIMES.flip(0))),
        ("times", lambda S, D, a: simulate(FirstTokenFlow(S, D), X, TIMES[:1])),
        ("times", lambda S, D, a: simulate(FirstTokenFlow(S, D), X, TIMES[[0, 1, 1]])),
        ("rtol", lambda S, D, a: simulate(FirstTokenFlow(S, D), X, TIMES, rtol=0.0)),
        ("rtol", lambda S, D, a: simulate(FirstTokenFlow(S, D), X, TIMES, rtol=1e-15)),
        ("atol", lambda S, D, a: simulate(FirstTokenFlow(S, D), X, TIMES, atol=1.0)),
    ],
)
def test_bad_input_is_named(name, call):
    with pytest.raises(ValueError, match=f"^{name}: "):
        call(*GOOD[:3])


@pytest.mark.parametrize("leaf", [False, True])
def test_a_field_that_is_not_finite_stops_the_integration(leaf):
    """The time is told, with a run that carries gradients and with one that does not."""
    x0 = X.clone().requires_grad_(leaf)
    with pytest.raises(RuntimeError, match="not finite at t = 0$"):
        simulate(lambda x, t: x * torch.nan, x0, TIMES)
    later = lambda x, t: 0 * x if t < 0.5 else x * torch.inf  # noqa: E731
    with pytest.raises(RuntimeError, match=r"not finite at t = 0\.[5-9]"):
        simulate(later, x0, TIMES)


def test_a_field_that_is_large_is_no_error():
    """Its square overflows, it does not."""
    turn = t64([0.0, -1.0], [1.0, 0.0])
    found = simulate(lambda x, t: 1e160 * x @ turn.mT, t64([1.0, 0.0]), t64(0.0, 1e-160))
    expected = t64([math.cos(1.0), math.sin(1.0)])
    torch.testing.assert_close(found.tokens[-1], expected, rtol=0, atol=1e-8)


def test_steps_that_underflow_are_an_error():
    """A field of noise, which no step is short enough for."""
    g = torch.Generator().manual_seed(0)
    noise = lambda x, t: 1e8 * normal(g, 1) * torch.stack([-x[..., 1], x[..., 0]], -1)  # noqa: E731
    with pytest.raises(RuntimeError, match="integration stopped at t = 1: "):
        simulate(noise, t64([1.0, 0.0]), t64(1.0, 2.0))
