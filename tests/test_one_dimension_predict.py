"""What becomes of tokens on the line: predictions against trajectories and closed forms."""

import math

import numpy as np
import pytest
import sympy
import torch
from scipy.integrate import solve_ivp

from tokensphere import symbolic
from tokensphere.one_dimension import (
    approach,
    blowup,
    decay,
    growth,
    predict,
    simulate,
    time_alone,
    time_bounds,
    velocity,
)
from tokensphere.one_dimension.field import symbolic_velocity


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def draw(rng: np.random.Generator, kind: str, length: int):
    """mu, s, a and x0 of a kind, some tokens zero."""
    a = math.exp(rng.uniform(math.log(0.05), math.log(5.0)))
    mu, s = abs(rng.standard_normal()) + 0.01, rng.standard_normal()
    x0 = rng.standard_normal(length)
    x0[rng.random(length) < 0.2] = 0.0
    x0[0] = x0[0] or 1.0
    if kind == "slow":
        x0 = -np.sign(s) * np.abs(x0)
    if kind == "blow-up":
        x0[-1] = np.sign(s)
    return -mu if kind == "to zero" else mu, s, a, x0


def test_the_field_is_eq_6_without_its_projection():
    mu, s, a = sympy.symbols("mu s a")
    x = sympy.Matrix(sympy.symbols("x1:5"))
    delta = symbolic.steps(x, sympy.Matrix([[s]]))
    attention = symbolic.hidden_attention(x, delta, [a], sympy.Matrix([[mu]]))[0]
    ours = symbolic_velocity(list(x), mu, s, a)
    for one, other in zip(ours, attention * x, strict=True):
        assert sympy.simplify(sympy.expand(one - other)) == 0


def test_the_numeric_field_is_the_symbolic_one():
    x, (mu, s, a) = tensor(0.3, -1.2, 0.0, 2.0), (-0.7, 1.3, 0.4)
    said = [float(value) for value in symbolic_velocity(x.tolist(), mu, s, a)]
    assert torch.allclose(velocity(x, mu, s, a), tensor(*said), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("kind", ["to zero", "slow", "blow-up"])
def test_trajectories_are_those_of_a_plain_integration(kind):
    rng = np.random.default_rng(1)
    for length in (1, 2, 5):
        mu, s, a, x0 = draw(rng, kind, length)
        stop = 0.9 * min(predict(mu, s, a, x0).time, 20.0)

        def field(t, x, mu=mu, s=s, a=a):
            return velocity(torch.from_numpy(x), mu, s, a).numpy()

        plain = solve_ivp(field, (0, stop), x0, method="DOP853", rtol=1e-12, atol=1e-14)
        ours = simulate(mu, s, a, x0, [math.log(stop / 2), math.log(stop)]).x[-1]
        assert torch.allclose(ours, torch.from_numpy(plain.y[:, -1]), rtol=1e-7, atol=0)


def test_the_constants_of_the_decay():
    rng = np.random.default_rng(2)
    for length in (1, 2, 3, 8, 16):
        mu, s, a, x0 = draw(rng, "to zero", length)
        found = predict(mu, s, a, x0)
        assert found.kind == "to zero" and found.diverging == () and found.computed == ()
        run = simulate(mu, s, a, x0, [0.0, 3000.0])
        reached = (2.0 * run.log_x[-1] + 3000.0).exp()
        # What `simulate` keeps at ln t = 3000; scipy 1.11's LSODA leaves some more than 1e-7.
        assert torch.allclose(reached, found.constants, rtol=1e-6, atol=0)


def test_the_next_order_of_the_decay():
    # kappa = 1 - 2^{-2}, above 1/2, so that the steps' part leads, for both tokens.
    mu, s, a, x0 = -0.8, 0.6, 2.0, [0.5, -0.4]
    said = decay.first_corrections(mu, s, a, x0)
    assert decay.error_exponents(s, a, x0).tolist() == [0.5, 0.5]
    run = simulate(mu, s, a, x0, [20.0, 28.0])
    error = (2.0 * run.log_x + run.log_times[:, None]).exp() / decay.limits(mu, a, x0) - 1.0
    # What follows is smaller by t^{-1/4}, 1e-3; for the first token by ln t / sqrt(t), and there
    # the integrator's 1e-10 in an error of 1e-6 is more.
    assert torch.allclose(error[-1] * math.exp(14.0), said, rtol=1e-2)
    assert float(error[-1, 0] * math.exp(14.0) / said[0]) == pytest.approx(1.0, abs=1e-3)


def test_slow_traces_of_the_start():
    # kappa = 1 - 2^{-0.5} = 0.29 below 1/2: the second token's error falls like t^{-kappa}.
    mu, s, a, x0 = -1.0, 0.0, 0.5, [1.0, 0.3]
    kappa = 1 - 2**-a
    assert decay.error_exponents(s, a, x0).tolist() == pytest.approx([1.0, kappa])
    run = simulate(mu, s, a, x0, [30.0, 40.0])
    error = (2.0 * run.log_x + run.log_times[:, None]).exp() / decay.limits(mu, a, x0) - 1.0
    assert float((error[0, 1] / error[1, 1]).log() / 10) == pytest.approx(kappa, rel=1e-3)


def test_the_first_slow_token_and_those_behind_zeros():
    mu, s, a, x0 = 1.3, -0.7, 1.5, [0.0, 0.13, 0.0, 0.2, 0.3, 0.0, 0.0, 0.1]
    found = predict(mu, s, a, x0)
    assert found.kind == "slow" and found.diverging == (1, 3, 4, 7)
    assert found.constants.isnan().tolist() == [False] * 4 + [True] + [False] * 3
    run = simulate(mu, s, a, x0, [1e4, 1e5])
    y = abs(s) * run.x[-1]
    assert float(y[1]) == pytest.approx(growth.first_token(mu, s, 1e5), rel=1e-7)
    said = growth.offsets(s, a, x0)
    assert float(y[3] - y[1]) == pytest.approx(float(said[3]), abs=2e-3)
    assert float(y[7] - y[1]) == pytest.approx(float(said[7]), abs=2e-3)
    assert float(y[4] / 1e5) > 1.01


def test_the_order_of_slow_tokens_is_not_that_of_their_places():
    run = simulate(1.0, -1.0, 0.5, [0.1, 3.0, 0.2], [1e5])
    first, second, third = run.x[0].tolist()
    assert first < third < second


@pytest.mark.parametrize("s", [0.7, 1e-3, 0.0, 40.0])
def test_one_token_blows_up_when_its_integral_says(s):
    found = predict(2.0, s, 0.5, [0.0, 0.3])
    assert found.first == 1 and found.computed == ()
    _, first, _ = _reached(2.0, s, 0.5, [0.3])
    assert first == 0
    assert found.time == pytest.approx(_reached(2.0, s, 0.5, [0.3])[0], rel=1e-9)


def _reached(mu, s, a, x0):
    from tokensphere.one_dimension.arguments import Line
    from tokensphere.one_dimension.clock import Clock
    from tokensphere.one_dimension.predict import reach

    return reach(Clock(Line.of(mu, s, a, x0)))


@pytest.mark.parametrize("second", [0.05, 0.1, 0.165, 0.17, 0.3, -0.3])
def test_two_tokens_with_equal_steps_in_closed_form(second):
    mu, a, x0 = 1.0, 0.5, [0.3, second]  # the tie is at 0.3 sqrt(1 - 2^{-1/2}) = 0.1624
    found = predict(mu, 0.0, a, x0)
    assert found.first == blowup.first_of_two(a, x0)
    assert found.time == pytest.approx(blowup.time_of_two(mu, a, x0), rel=1e-8)


def test_blow_ups_first_token_time_and_powers():
    rng = np.random.default_rng(3)
    for length in (2, 3, 8, 16):
        mu, s, a, x0 = draw(rng, "blow-up", length)
        found = predict(mu, s, a, x0)
        low, high = time_bounds(mu, s, a, x0)
        assert found.kind == "blow-up" and low <= found.time <= high * (1 + 1e-9)
        run = approach(mu, s, a, x0, [30.0, 1e3, 1e12])
        grown = run.log_x[-1] - run.log_x[0]
        for l in range(length):
            if l in found.diverging:
                # A token with s x > 0 lets through e^{-a Delta} of what comes: none is none to see.
                hidden = s * x0[l] > 0 and a * s * float(run.x[0, l]) > 20
                assert float(grown[l]) > 1e-12 or hidden
            elif x0[l]:
                assert float(grown[l].abs()) < 1e-12
        reached = run.log_x[-1].clamp(min=0.0) / 1e12
        assert torch.allclose(reached, found.constants, rtol=0, atol=1e-9)
        assert float(run.log_times[-1]) == pytest.approx(math.log(found.time), abs=1e-8)


def test_the_rate_of_a_blow_up():
    mu, s, a, x0 = 1.0, 0.7, 0.5, [-0.2, 0.6, 0.4]
    found = predict(mu, s, a, x0)
    left = 1e-6 * found.time
    x = simulate(mu, s, a, x0, [math.log(found.time - left)]).x[0, found.first]
    assert float(x) == pytest.approx((3 * mu * s * left) ** (-1 / 3), rel=1e-2)


def test_double_logarithms():
    s, a = 1.0, 0.5
    run = approach(1.0, s, a, [1.0, 0.2], [1e6, 1e12])
    x = run.log_x[:, 1].exp()
    # a s x = ln ln|x_first| + ln(a s x) + o(1)
    levels = run.log_x[:, 0].log() + (a * s * x).log()
    assert torch.allclose(a * s * x, levels, rtol=0.05)
    assert float((a * s * x).diff() / levels.diff()) == pytest.approx(1.0, abs=5e-3)


def test_equal_tokens_the_last_is_first():
    assert predict(1.0, 1.0, 0.5, [1.0, 1.0, 1.0]).first == 2


def test_a_lead_below_rounding_is_not_made_up():
    # The last of equal tokens is first, but each one's lead is e^{-a Delta} times the one's before.
    assert predict(1.0, -2.0, 1.0, [-2.5] * 3).first == 2
    assert predict(1.0, -2.0, 1.0, [-2.5] * 8).first is None


def test_a_tie_is_said():
    a = 1.0  # kappa = 1/2 and x_2 = x_1 / sqrt(2) keeps the ratio, up to rounding of sqrt(2)
    assert blowup.first_of_two(a, [math.sqrt(2.0) * 0.5, 0.5]) in (None, 0, 1)
    found = predict(1.0, 0.0, 1.0, [2.0**0.5, 1.0])
    assert found.kind == "blow-up" and found.time == pytest.approx(1 / (4 * math.log(2)), rel=1e-8)


def test_nothing_moves():
    assert predict(0.0, 1.0, 0.5, [1.0, -2.0]).kind == "rest"
    assert predict(1.0, 1.0, 0.5, [0.0, 0.0]).kind == "rest"
    assert simulate(0.0, 1.0, 0.5, [1.0, 0.0], [0.0, 5.0]).x[-1].tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("mu", "s", "a", "x0"),
    [
        (1.0, 1.0, 0.5, [-50.0, 1.0]),
        (-1.0, 1.0, 0.5, [-50.0, 1e-8]),
        (1.0, -1.0, 1e-9, [1e-8, 0.5]),
        (1.0, 1.0, 1e-9, [0.3, 0.4, -1.0]),
        (1.0, 1.0, 5.0, [1e-8, 2e-8]),
        (1.0, 1.0, 0.5, [-1e-12, 1e-30]),
        (1.0, 1.0, 0.5, [1e8, -1e8]),
    ],
)
def test_extreme_inputs(mu, s, a, x0):
    found = predict(mu, s, a, x0)
    if found.kind == "blow-up":
        low, high = time_bounds(mu, s, a, x0)
        assert low * (1 - 1e-9) <= found.time <= high * (1 + 1e-9)
        assert simulate(mu, s, a, x0, [math.log(found.time) - 0.1]).log_x.isfinite().all()
    else:
        far = simulate(mu, s, a, x0, [3000.0])
        sign = 1 if found.kind == "slow" else -1
        assert (sign * far.log_x > sign * torch.tensor(x0).abs().log()).all()


def test_a_token_that_was_nearly_at_rest_does_not_hide_the_blow_up():
    # The first token rushes from 1e-12 to its slow growth at t = 1e24, e^55 times as fast as t;
    # the second, of the other sign, blows up because of it, much earlier than alone.
    found = predict(1.0, 1.0, 0.5, [-1e-12, 1e-13])
    assert found.first == 1 and found.time < 0.99 * time_alone(1.0, 1.0, 1e-13)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"a": 0.0}, "a"),
        ({"a": -1.0}, "a"),
        ({"mu": math.nan}, "mu"),
        ({"s": math.inf}, "s"),
        ({"s": "1"}, "s"),
        ({"x0": []}, "x0"),
        ({"x0": [math.nan]}, "x0"),
        ({"x0": [[1.0]]}, "x0"),
        ({"x0": ["a"]}, "x0"),
        ({"mu": True}, "mu"),
    ],
)
def test_bad_input_is_named(change, name):
    arguments = {"mu": 1.0, "s": 1.0, "a": 0.5, "x0": [0.5]} | change
    with pytest.raises(ValueError, match=f"^{name}: "):
        predict(**arguments)
    with pytest.raises(ValueError, match=f"^{name}: "):
        simulate(**arguments, log_times=[0.0])


def test_a_time_past_the_blow_up_says_when_and_who():
    with pytest.raises(ValueError, match=r"^log_times: 3 is past the blow-up of token 1 at t = "):
        simulate(1.0, 1.0, 0.5, [-0.5, 0.9], [0.0, 3.0])
    with pytest.raises(ValueError, match="^log_times: takes increasing"):
        simulate(-1.0, 1.0, 0.5, [0.5], [1.0, 0.0])
    with pytest.raises(ValueError, match="^x0: takes tokens of which one blows up"):
        approach(-1.0, 1.0, 0.5, [0.5], [1.0])
    with pytest.raises(ValueError, match="no float holds"):
        predict(1.0, 1e200, 0.5, [1e150, 1.0])


def test_numbers_at_the_ends_of_a_float_are_right_or_refused_by_name():
    rng = np.random.default_rng(0)
    sizes = [0.0, 5e-324, 1e-300, 1e-8, 1.0, 50.0, 1e150, 1e300]
    kinds = set()
    for _ in range(150):
        mu, s = rng.choice(sizes[2:], 2) * rng.choice([-1.0, 1.0], 2)
        a = rng.choice(sizes[2:])
        x0 = rng.choice(sizes, rng.integers(1, 5)) * rng.choice([-1.0, 1.0])
        try:
            found = predict(mu, s, a, x0)
            kinds.add(found.kind)
            far = 50.0
            if found.kind == "blow-up":
                low, high = time_bounds(mu, s, a, x0)
                assert low * (1 - 1e-6) <= found.time <= high * (1 + 1e-6)
                far = math.log(found.time) - 1.0
            assert not simulate(mu, s, a, x0, [far]).log_x.isnan().any()
        except ValueError as error:
            assert str(error).startswith(
                ("mu, s, x0: the blow-up's time is e^", "x0: a token with")
            )
    assert kinds == {"rest", "to zero", "slow", "blow-up"}
