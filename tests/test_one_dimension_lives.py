"""Ends of each token's own life, and ties of two tokens."""

import math

import numpy as np
import pytest

from tokensphere.one_dimension import lives, predict, tie_of_two


def test_lives_are_those_of_the_tokens_alone_and_never_longer_with_more():
    rng = np.random.default_rng(5)
    for length in (1, 3, 8):
        x0 = rng.standard_normal(length)
        found = lives(0.7, 0.9, 0.5, x0)
        alone = [predict(0.7, 0.9, 0.5, x0[: l + 1]).time for l in range(length)]
        assert found.tolist() == pytest.approx(alone, rel=1e-8)
        assert (found[1:] <= found[:-1]).all()


def test_the_end_of_all_is_that_of_the_tokens_that_diverge():
    x0 = [-0.3, 0.4, 0.0, 0.7, 0.2, -0.6]
    found, said = lives(1.0, 1.0, 0.5, x0), predict(1.0, 1.0, 0.5, x0)
    assert found[0] == math.inf and found[1] > found[3]
    assert said.first == 3 and found.tolist()[3:] == [found[3]] * 3
    assert float(found[3]) == pytest.approx(said.time, rel=1e-8)


@pytest.mark.parametrize("mu", [-1.0, 0.0])
def test_lives_without_a_blow_up_are_infinite(mu):
    assert lives(mu, 1.0, 0.5, [0.5, 0.0, -1.0]).tolist() == [math.inf] * 3


@pytest.mark.parametrize("s", [0.0, 1.0, -2.0])
@pytest.mark.parametrize("a", [0.05, 0.5, 5.0])
@pytest.mark.parametrize("size", [1e-3, 0.3, 2.0, 15.0])
def test_on_either_side_of_the_tie_another_token_is_first(s, a, size):
    x1 = math.copysign(size, s)
    tie = tie_of_two(s, a, x1)
    assert 0.0 < tie / x1 <= 1.0
    for second, first in ((tie * (1 - 1e-5), 0), (tie * (1 + 1e-5), 1)):
        assert predict(1.0, s, a, [x1, second]).first == first


def test_the_tie_between_its_ends():
    assert tie_of_two(0.0, 1.0, -3.0) == pytest.approx(-3.0 / math.sqrt(2.0))
    assert tie_of_two(1.0, 1.0, 1e-9) == pytest.approx(1e-9 / math.sqrt(2.0), rel=1e-6)
    assert tie_of_two(1.0, 1.0, 50.0) == 50.0
    assert tie_of_two(2.0, 0.3, 0.5) == pytest.approx(tie_of_two(1.0, 0.3, 1.0) / 2.0, rel=1e-8)


@pytest.mark.parametrize("x1", [0.0, -1.0, math.nan])
def test_a_token_that_does_not_blow_up_is_refused(x1):
    with pytest.raises(ValueError, match=r"^x1: "):
        tie_of_two(1.0, 0.5, x1)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"^a: "):
        tie_of_two(1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"^x0: "):
        lives(1.0, 1.0, 0.5, [])
