"""Blow-ups by integration in t against closed forms and against the clock."""

import math

import numpy as np
import pytest

from tokensphere.one_dimension import blow_up_in_time, blowup, predict, time_alone


@pytest.mark.parametrize("s", [0.0, 0.8, -3.0])
def test_one_token_takes_the_time_of_its_integral(s):
    x = math.copysign(0.6, s)
    time, first, end = blow_up_in_time(1.7, s, 0.5, [x])
    assert time == pytest.approx(time_alone(1.7, s, x), rel=1e-9)
    assert first == 0 and abs(float(end[0])) > 100.0 * abs(x)


@pytest.mark.parametrize("second", [0.1, 0.3, -0.5])
def test_two_tokens_in_closed_form(second):
    time, first, _ = blow_up_in_time(1.0, 0.0, 0.7, [0.4, second])
    assert time == pytest.approx(blowup.time_of_two(1.0, 0.7, [0.4, second]), rel=1e-9)
    assert first in (None, blowup.first_of_two(0.7, [0.4, second]))


def test_it_agrees_with_the_clock_and_tokens_before_the_first_stay():
    rng = np.random.default_rng(7)
    for length in (2, 5, 12):
        x0 = rng.standard_normal(length)
        x0[-1] = abs(x0[-1])
        said = predict(0.8, 1.1, 0.4, x0)
        time, first, end = blow_up_in_time(0.8, 1.1, 0.4, x0)
        assert time == pytest.approx(said.time, rel=1e-7) and first == said.first
        assert (end[:first].abs() < 1e3).all()


def test_a_tie_is_not_decided():
    assert blow_up_in_time(1.0, 0.0, 1.0, [2.0**0.5, 1.0])[1] is None


@pytest.mark.parametrize(("mu", "s"), [(-1.0, 1.0), (0.0, 1.0), (1.0, -1.0)])
def test_tokens_that_do_not_blow_up_are_refused(mu, s):
    with pytest.raises(ValueError, match=r"^x0: .* one blows up"):
        blow_up_in_time(mu, s, 0.5, [0.5, 0.0])
