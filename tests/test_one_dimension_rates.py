"""How fast tokens on the line go: expansions, laws without damping, slopes, double logarithms."""

import math

import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.special import expi

from tokensphere.one_dimension import (
    approach,
    blowup,
    decay,
    growth,
    last_growth,
    next_order,
    simulate,
)
from tokensphere.one_dimension.slopes import slopes


@pytest.mark.parametrize("sign", [1, -1])
def test_the_first_token_has_a_logarithm_in_its_second_correction(sign):
    mu, s = -0.7, 1.3
    c, e, f = next_order.expansion_of_first(mu, s, sign)
    assert e == pytest.approx(float(decay.first_corrections(mu, s, 0.5, [float(sign)])[0]))

    # v = 1/x^2 without its first two terms, t/c and -e sqrt(t)/c, against ln t.
    def rest(tau, found):
        t = math.exp(tau)
        v = t / c - e * math.sqrt(t) / c + found[0]
        step = math.log1p(math.exp(sign * s / math.sqrt(v)))
        return [t * (-2.0 * mu * step - 1.0 / c) + e * math.sqrt(t) / (2.0 * c)]

    run = solve_ivp(rest, (6.0, 16.0), [0.0], "LSODA", rtol=1e-9, atol=1e-9, t_eval=[15.0, 16.0])
    # What follows is of order ln t / sqrt(t), 0.005; 1/v turns the logarithm's sign.
    assert float(-c * (run.y[0, 1] - run.y[0, 0]) / f) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(("a", "x0"), [(1.0, [0.5, -0.4]), (0.5, [0.5, 0.0, 0.4])])
def test_at_resonance_a_logarithm_comes_in(a, x0):
    mu, s = -0.8, 0.6
    f = next_order.resonant_corrections(mu, s, a, x0)
    assert f.isnan().tolist() == [True] * (len(x0) - 1) + [False]
    error = next_order.relative_errors(mu, s, a, x0, [24.0, 28.0])[:, -1]
    levels = error * torch.tensor([12.0, 14.0], dtype=torch.float64).exp()
    # Beside f ln t stands a constant, which the difference drops.
    assert float(levels.diff() / 4.0) == pytest.approx(float(f[-1]), rel=5e-3)


def test_no_resonance_behind_a_slower_one_and_elsewhere():
    assert next_order.resonant_corrections(-1.0, 0.5, 0.5, [1.0, 1.0, 0.0, 1.0]).isnan().all()
    assert next_order.resonant_corrections(-1.0, 0.5, 0.7, [1.0, 1.0]).isnan().all()
    assert next_order.resonant_corrections(-1.0, 0.5, 0.7, [0.0]).isnan().all()


@pytest.mark.parametrize("a", [1e-3, 0.3, 3.0])
def test_two_tokens_with_equal_steps_decay_in_closed_form(a):
    mu, x0, at = -0.6, [0.7, -1.9], [-1.0, 3.0, 40.0, 900.0]
    said = next_order.two_with_equal_steps(mu, a, x0, at)
    run = simulate(mu, 0.0, a, x0, at)
    c = 1.0 / (2 * 0.6 * math.log(2))
    found = (2.0 * run.log_x + run.log_times[:, None]).exp() / c
    assert torch.allclose(found, said, rtol=1e-7, atol=0)


def test_without_damping_logarithms_are_iterated():
    mu, x0, at = -0.6, [0.7, -1.9, 0.4, 1.1], [1.0, 10.0, 100.0]
    said = next_order.undamped(mu, x0, at)
    # The least damping that the library takes is none at these times.
    run = simulate(mu, 0.0, 1e-13, x0, at)
    c = 1.0 / (2 * 0.6 * math.log(2))
    found = (2.0 * run.log_x + run.log_times[:, None]).exp() / c
    assert torch.allclose(found, said, rtol=1e-7, atol=0)
    assert torch.allclose(
        said[:, :2], next_order.two_with_equal_steps(mu, 0.0, x0[:2], at), rtol=1e-13, atol=0
    )
    far = next_order.undamped(mu, x0, [1e300])[0]
    # Of 1 + ln t the one is lost; of ln ln t = 691, and of its logarithm, the start is 3%.
    assert float(far[0] / far[1]) == pytest.approx(1e300, rel=1e-6)
    assert float(far[1] / far[2]) == pytest.approx(math.log(1e300), rel=0.05)


def test_slopes_are_ratios_that_have_settled():
    mu, s, a, x0 = 1.0, -1.0, 0.5, [0.1, 3.0, 0.0, 0.2, 0.3]
    rho = slopes(mu, s, a, x0)
    assert rho[[0, 2, 3]].tolist() == [1.0, 0.0, 1.0]
    run = simulate(mu, s, a, x0, [100.0, 1e5])
    x = run.log_x.exp()
    assert torch.allclose(x[:, 1] / x[:, 0], rho[1], rtol=1e-8)
    assert torch.allclose(x[1, 4] / x[1, 3], rho[4], rtol=1e-8)
    # So the whole expansion of the first token is the second's, times rho.
    assert float(x[1, 1]) == pytest.approx(float(rho[1]) * growth.first_token(mu, s, 1e5), rel=1e-8)
    assert slopes(mu, s, a, [0.0, 1.0, 0.0, 2.0]).tolist() == [0.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize("s", [0.7, 0.0])
def test_the_first_token_near_its_end(s):
    x = 1e3
    left = blowup.time_alone(2.0, s, x)
    # For s > 0 softplus is its argument up to e^{-700}, for s = 0 a constant: exact.
    assert last_growth.first_law(2.0, s, left) == pytest.approx(x, rel=1e-10)
    found, law = last_growth.near_end(2.0, s, 0.5, [-0.2, 0.6, 0.4], [0.5, 1e-6])
    # T is known to 1e-9, a thousandth of what is left; earlier tokens still add 1e-4.
    assert float(found[1]) == pytest.approx(float(law[1]), rel=1e-2)
    assert float(found[0]) != pytest.approx(float(law[0]), rel=1e-2)


def test_errors_of_the_decay_are_those_of_the_trajectory():
    found = next_order.relative_errors(-0.7, 0.5, 1.0, [0.4, 0.0, -1.0], [3.0, 3000.0])
    x = simulate(-0.7, 0.5, 1.0, [0.4, 0.0, -1.0], [3.0]).x[0]
    c = 1 / (2 * 0.7 * math.log(2))
    assert float(found[0, 0]) == pytest.approx(math.exp(3.0) * float(x[0]) ** 2 / c - 1)
    assert found[:, 1].isnan().all()
    assert found[1, [0, 2]].abs().max() < 1e-6


@pytest.mark.parametrize("zeros", [0, 2])
def test_double_logarithms_follow_the_exponential_integral(zeros):
    s, a = 1.0, 0.5
    run = approach(1.0, s, a, [1.0, *[0.0] * zeros, 0.2], [1e4, 1e12])
    x = run.log_x[:, -1].exp()
    for log_first, value in zip(run.log_x[:, 0].tolist(), x.tolist(), strict=True):
        # The constant beside 2^{-an} ln|x_first| is of order one.
        said = last_growth.double_logarithm(s, a, log_first, zeros)
        assert said == pytest.approx(value, rel=1e-3)
        passed = 2 ** (-a * zeros) * log_first
        assert expi(a * s * value) == pytest.approx(passed, rel=5 / passed + 1e-6)


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (next_order.expansion_of_first, (1.0, 0.5, 1), "mu"),
        (next_order.expansion_of_first, (-1.0, 0.5, 0), "sign"),
        (next_order.two_with_equal_steps, (-1.0, -0.1, [1.0, 1.0], [0.0]), "a"),
        (next_order.two_with_equal_steps, (-1.0, 0.1, [1.0, 0.0], [0.0]), "x0"),
        (next_order.two_with_equal_steps, (-1.0, 0.1, [1.0, 1.0], []), "log_t"),
        (next_order.undamped, (-1.0, [1.0, 0.0], [0.0]), "x0"),
        (next_order.undamped, (0.0, [1.0], [0.0]), "mu"),
        (slopes, (-1.0, 1.0, 0.5, [-1.0]), "mu"),
        (slopes, (1.0, 1.0, 0.5, [1.0]), "x0"),
        (last_growth.first_law, (-1.0, 1.0, 0.5), "mu"),
        (last_growth.near_end, (1.0, 1.0, 0.5, [1.0], [0.5, 0.5]), "shares"),
        (last_growth.near_end, (1.0, 1.0, 0.5, [1.0], [1.5]), "shares"),
        (last_growth.near_end, (1.0, 1.0, 0.5, [-1.0], [0.5]), "x0"),
        (next_order.relative_errors, (1.0, 1.0, 0.5, [-1.0], [0.5]), "mu"),
        (last_growth.double_logarithm, (0.0, 1.0, 100.0), r"\|s\|"),
        (last_growth.double_logarithm, (1.0, 1.0, 2.0), "log_before"),
        (last_growth.double_logarithm, (1.0, 1.0, 100.0, -1), "zeros"),
    ],
)
def test_bad_input_is_named(function, arguments, name):
    with pytest.raises(ValueError, match=f"^{name}: "):
        function(*arguments)


def test_resonance_is_seen_through_the_rounding_of_a():
    x0 = [0.5, *[0.0] * 48, 0.4]  # a g = 1 with g = 49, and 49 (1/49) is not 1
    assert decay.first_corrections(-1.0, 0.6, 1 / 49, x0)[-1].isnan()
    assert next_order.resonant_corrections(-1.0, 0.6, 1 / 49, x0)[-1].isfinite()
