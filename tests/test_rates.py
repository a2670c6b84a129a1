"""Fitted rates: right within their own error, and refused where there is no exponential."""

from dataclasses import astuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tokensphere import rates
from tokensphere.rates import FEWEST, ExponentialFit, fit_exponential


def curve(rate=1.0, stop=30.0, count=200, start=0.0):
    times = np.linspace(start, stop, count)
    return times, np.exp(-rate * times)


def mixture(rng, foldings=(6, 30)):
    """(rate, times, C1 exp(-rate t) + C2 exp(-rate2 t)) with rate2 >= 1.5 rate."""
    rate = 10 ** rng.uniform(-2, 2)
    times = np.linspace(0, rng.uniform(*foldings) / rate, rng.integers(40, 300))
    second = 10 ** rng.uniform(-1, 1) * np.exp(-rate * rng.uniform(1.5, 5) * times)
    return rate, times, 10 ** rng.uniform(-3, 3) * (np.exp(-rate * times) + second)


def covered(draws):
    """Fractions accepted, and within 3 standard errors of those."""
    inside, accepted, total = 0, 0, 0
    for rate, times, error in draws:
        total += 1
        try:
            fit = fit_exponential(times, error)
        except ValueError:
            continue
        accepted += 1
        inside += abs(fit.rate - rate) <= 3 * fit.standard_error
    return accepted / total, inside / max(accepted, 1)


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(1e-8, 1e8), st.floats(2.5, 30), st.integers(FEWEST * 2, 300))
def test_an_exact_exponential_is_recovered(rate, scale, foldings, count):
    times = np.linspace(0, foldings / rate, count)
    fit = fit_exponential(times, scale * np.exp(-rate * times))
    assert fit.rate == pytest.approx(rate, rel=1e-9)
    assert fit.prefactor == pytest.approx(scale, rel=1e-8)
    assert fit.standard_error < 1e-9 * rate
    assert fit.floor == 0
    assert fit.foldings == pytest.approx(rate * (fit.window[1] - fit.window[0]), rel=1e-9)
    np.testing.assert_allclose(fit(times), scale * np.exp(-rate * times), rtol=1e-7)


def test_mixtures_are_within_three_standard_errors():
    rng = np.random.default_rng(0)
    accepted, inside = covered(mixture(rng) for _ in range(200))
    assert accepted > 0.97
    assert inside > 0.97


def test_the_standard_error_is_not_a_blanket():
    """Long curves: the reported error is small, so that being inside it means something."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        rate, times, error = mixture(rng, (25, 34))
        fit = fit_exponential(times, error)
        assert fit.standard_error < 1e-3 * rate
        assert abs(fit.rate - rate) < 1e-3 * rate


def test_mixtures_with_noise_are_within_three_standard_errors():
    rng = np.random.default_rng(2)
    draws = ((r, t, e * np.exp(0.02 * rng.standard_normal(len(t)))) for r, t, e in
             (mixture(rng, (10, 30)) for _ in range(150)))  # fmt: skip
    accepted, inside = covered(draws)
    assert accepted > 0.95
    assert inside > 0.97


def test_errors_correlated_along_the_curve_widen_the_standard_error():
    """Residuals that follow an AR(1) sequence carry less information than their number."""
    rng = np.random.default_rng(3)
    times, clean = curve(count=400)
    inside = 0
    for _ in range(60):
        noise = np.zeros(400)
        for n in range(1, 400):
            noise[n] = 0.95 * noise[n - 1] + 0.01 * rng.standard_normal()
        fit = fit_exponential(times, clean * np.exp(noise))
        inside += abs(fit.rate - 1) <= 3 * fit.standard_error
    assert inside >= 57


def test_without_correlation_the_standard_error_is_that_of_least_squares():
    """Residuals that change their sign each time have no positive correlation to widen it.

    Two parameters are fitted: of nine points seven are free, and n would make it an eighth less.
    """
    times = np.linspace(0, 3, FEWEST)
    log = 0.05 * (-1.0) ** np.arange(FEWEST) - times
    slope, spread, intercept, _ = rates._slope(times, log)
    known = stats.linregress(times, log)
    assert (slope, intercept) == pytest.approx((known.slope, known.intercept))
    assert spread == pytest.approx(known.stderr)


@pytest.mark.parametrize("kind", ["constant", "noise", "both"])
@pytest.mark.parametrize("level", [1e-15, 1e-12, 1e-6])
def test_the_window_ends_above_the_floor(kind, level):
    rng = np.random.default_rng(4)
    for _ in range(10):
        times, error = curve(stop=-2 * np.log(level), count=400)
        if kind != "noise":
            error = error + level
        if kind != "constant":
            error = abs(error + level * rng.standard_normal(400))
        fit = fit_exponential(times, error)
        assert error[(times >= fit.window[0]) & (times <= fit.window[1])].min() > 3 * level
        assert level / 10 < fit.floor < 30 * level
        assert abs(fit.rate - 1) < max(3 * fit.standard_error, 1e-12)
        assert fit.standard_error < 0.02


def test_a_curve_that_ends_before_its_floor_is_used_to_the_end():
    times, error = curve()
    assert fit_exponential(times, error).window[1] == times[-1]


def test_the_window_begins_after_the_transient():
    times, error = curve(stop=30)
    fit = fit_exponential(times, error + 100 * np.exp(-3 * times))
    assert fit.window[0] > 5
    assert fit.rate == pytest.approx(1, abs=1e-5)


def test_a_given_floor_cuts_the_curve():
    times, error = curve()
    error[error < 1e-8] = 0.0
    fit = fit_exponential(times, error, floor=1e-8)
    assert fit.window[1] <= 8 * np.log(10)
    assert fit.rate == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("power", [1, 2, 3, -1])
def test_a_power_is_divided_out(power):
    times, error = curve(0.7, 40, start=0.2)
    fit = fit_exponential(times, 3 * times**power * error, power=power)
    assert fit.rate == pytest.approx(0.7, rel=1e-9)
    assert fit.prefactor == pytest.approx(3, rel=1e-9)
    assert fit.power == power
    np.testing.assert_allclose(fit(times), 3 * times**power * error, rtol=1e-8)


@pytest.mark.parametrize("power", [1, 2, 3])
def test_a_power_that_is_left_out_is_within_the_standard_error_or_refused(power):
    """The rate settles like 1/t only; the reported error must know."""
    times, error = curve(1.0, 34, start=0.2)
    try:
        fit = fit_exponential(times, times**power * error)
    except ValueError:
        return
    assert abs(fit.rate - 1) > 1e-3
    assert abs(fit.rate - 1) < 3 * fit.standard_error


def test_a_slow_tail_is_no_plateau():
    times = np.linspace(0, 40, 400)
    fit = fit_exponential(times, np.exp(-5 * times) + 1e-2 * np.exp(-0.06 * times))
    assert fit.rate == pytest.approx(0.06, rel=1e-3) and fit.floor == 0


@pytest.mark.parametrize(("power", "stop"), [(0.5, 50), (1, 50), (1, 100), (2, 100), (3, 300)])
def test_the_standard_error_of_a_power_left_out_is_all_of_the_difference(power, stop):
    """The extrapolated limit of a rate that settles like 1/t is half the way to the true one."""
    times = np.linspace(1, stop, 200)
    fit = fit_exponential(times, times**power * np.exp(-times))
    assert abs(fit.rate - 1) / fit.standard_error == pytest.approx(1, abs=0.05)


def test_a_power_with_a_start_at_zero():
    times, error = curve(1.0, 30)
    error = times**2 * error
    error[0] = 1e-9  # any positive number: t = 0 itself is not used
    assert fit_exponential(times, error, power=2).rate == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("spacing", ["linear", "logarithmic"])
@pytest.mark.parametrize("exponent", [0.3, 0.5, 1, 2, 5, 10])
def test_algebraic_decay_is_refused(exponent, spacing, noise):
    rng = np.random.default_rng(5)
    for shift in (0.1, 1.0, 10.0):
        times = np.linspace(0, 1000, 300) if spacing == "linear" else np.logspace(-2, 3, 300)
        error = (times + shift) ** -exponent * np.exp(noise * rng.standard_normal(300))
        with pytest.raises(ValueError, match=r"^error: .*no exponential decay|^error: grows"):
            fit_exponential(times, error)


@pytest.mark.parametrize("exponent", [20, 50, 200])
def test_steep_algebraic_decay_is_told_apart_by_the_trend_of_its_local_rate(exponent):
    times = np.linspace(10, 20, 200)
    with pytest.raises(ValueError, match="does not settle"):
        fit_exponential(times, (times / 10) ** -float(exponent))


def test_a_stretched_exponential_is_refused():
    times = np.linspace(0, 900, 300)
    with pytest.raises(ValueError, match="does not settle"):
        fit_exponential(times, np.exp(-np.sqrt(times)))


def bad():
    times, error = curve()
    rng = np.random.default_rng(6)
    swap = times.copy()
    swap[[3, 4]] = swap[[4, 3]]
    nan, zero, negative = error.copy(), error.copy(), error.copy()
    nan[5], zero[5], negative[5] = np.nan, 0, -1
    noise = 1e-15 * abs(rng.standard_normal(200)) + 1e-18
    return {
        "noise floor": (times, noise, {}, "^error: (no exponential|grows)"),
        "constant": (times, np.ones(200), {}, "does not fall"),
        "grows": (times, 1 / error, {}, "^error: grows"),
        "falls, then grows": (times, error + 1e-9 * np.exp(times), {}, "^error: grows"),
        "grows slowly": (times, np.exp(times / 30), {}, "does not fall"),
        "oscillates": (times, error * (1.1 + np.cos(3 * times)), {}, "off the line|settle|known"),
        "changes sign": (times, error * abs(np.cos(times)) + 1e-30, {}, "no exponential"),
        "short range": (times / 20, error ** (1 / 20), {}, "factors of e, takes 2"),
        "few points": (times[:8], error[:8], {}, "^error: 8 points"),
        "few above floor": (times, error, {"floor": 0.5}, "4 points|5 points"),
        "all below floor": (times, error, {"floor": 2.0}, "^error: all of it"),
        "unsorted": (swap, error, {}, "^times: takes strictly"),
        "repeated": (np.zeros(200), error, {}, "^times: takes strictly"),
        "nan": (times, nan, {}, "^error: got NaN"),
        "infinite time": (np.append(times[:-1], np.inf), error, {}, "^times: got NaN"),
        "zero": (times, zero, {}, "^error: holds 0"),
        "negative": (times, negative, {"floor": 1e-9}, "^error: holds -1"),
        "lengths": (times[:-1], error, {}, r"^error: got shape \(200,\), .*T = 199 as in times"),
        "matrix": (times, error[None], {}, r"^error: got shape \(1, 200\)"),
        "power": (times, error, {"power": 0.5}, "^power: got 0.5"),
        "power, negative times": (times - 1, error, {"power": 1}, "^times: begin at -1"),
        "floor": (times, error, {"floor": -1.0}, "^floor: got -1"),
    }


@pytest.mark.parametrize("name", bad())
def test_refusals_name_what_is_wrong(name):
    times, error, options, message = bad()[name]
    with pytest.raises(ValueError, match=message):
        fit_exponential(times, error, **options)


def test_tensors_and_arrays_give_the_same_fit():
    times, error = curve()
    tensors = torch.tensor(times), torch.tensor(error, requires_grad=True)
    one, other = fit_exponential(*tensors), fit_exponential(times, error)
    assert np.hstack(astuple(one)) == pytest.approx(np.hstack(astuple(other)), rel=1e-12)
    assert isinstance(fit_exponential(*tensors), ExponentialFit)


def test_units_of_time_and_of_error_drop_out():
    rng = np.random.default_rng(7)
    _, times, error = mixture(rng)
    one = fit_exponential(times, error)
    other = fit_exponential(times / 1024, error * 4096)
    assert other.rate == pytest.approx(1024 * one.rate, rel=1e-9)
    assert other.points == pytest.approx(one.points, abs=len(times) // 10)
