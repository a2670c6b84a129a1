"""Tokens on their way to a limit on the circle: distances, power laws, counts against shares."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom

from tokensphere.circle import portrait
from tokensphere.circle.approach import distances, power_law
from tokensphere.circle.counts import p_value
from tokensphere.flow import FirstTokenFlow, simulate

# S_BC and d = S_Delta_2 - S_Delta_1, with S_Delta_1 = 0; the order of e_2, the limit from (1, 2).
ORDERS = {
    1: (((1, 0), (0, 1)), (0, 1)),
    2: (((1, 0), (0, 1)), (1, 0)),
    3: (((1, 0), (0, 0)), (1, 1)),
    4: (((1, 0), (0, 0)), (1, 0)),
}


def at_e_2(order):
    S_BC, d = ORDERS[order]
    return portrait(S_BC, ((0, d[0]), (0, d[1])))


@pytest.mark.parametrize("seed", range(8))
def test_distances_are_those_of_equation_9(seed):
    generator = torch.Generator().manual_seed(seed)
    S_BC, S_Delta = torch.randn(2, 2, 2, generator=generator, dtype=torch.float64)
    y0 = torch.randn(2, generator=generator, dtype=torch.float64)
    found = portrait(S_BC, S_Delta)
    times = torch.linspace(0, 3, 7, dtype=torch.float64)
    flow = FirstTokenFlow(S_BC, S_Delta)
    y = simulate(flow, (y0 / y0.norm())[None], times, 1e-10, 1e-12).tokens[:, 0]
    limit = found.limit(y0.tolist()).angle
    point = torch.tensor([math.cos(limit), math.sin(limit)], dtype=torch.float64)
    chord = 2 * np.sin(distances(found, y0.tolist(), times.tolist()) / 2)
    assert np.allclose(chord, (y - point).norm(dim=-1), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("order", ORDERS)
def test_small_distances_obey_their_law(order):
    found = at_e_2(order)
    zero = found.limit((1, 2))
    assert zero.order == order
    times = np.geomspace(1, 400 if order == 1 else 1e8, 40)
    distance = distances(found, (1, 2), times)
    if order == 1:
        rate = -np.diff(np.log(distance[-4:])) / np.diff(times[-4:])
        # To e^-120: far below where differences of angles have digits.
        assert distance[-1] < 1e-50
        assert np.allclose(rate, abs(float(zero.leading)), rtol=1e-6)
    else:
        ratio = distance[-1] / power_law(zero, times[-1:])[0]
        u = distance[-1]
        assert abs(ratio - 1) < 3 * u * (1 - math.log(u))  # O(u ln u) for order 2, else O(u)


def test_an_angle_is_a_start_too():
    found = at_e_2(2)
    by_angle, by_direction = (distances(found, start, [0.0, 2.0]) for start in (0.75, (1, 1)))
    assert by_angle[0] == pytest.approx(math.pi / 2 - 0.75, rel=1e-9)
    assert by_direction[0] == pytest.approx(math.pi / 4, rel=1e-9)


@pytest.mark.parametrize("start", [(0, 1), (1, 0), 0, (0, -1)])
def test_a_start_at_rest_is_refused(start):
    with pytest.raises(ValueError, match="is an equilibrium"):
        distances(at_e_2(1), start, [0.0, 1.0])
    with pytest.raises(ValueError, match="is an equilibrium"):
        distances(portrait(((0, 1), (-1, 0)), ((1, 2), (3, 4))), (1, 1), [0.0, 1.0])


def test_order_one_has_no_power_law():
    with pytest.raises(ValueError, match="zero: order 1"):
        power_law(at_e_2(1).limit((1, 2)), [1.0])


def test_a_p_value_is_twice_the_smaller_tail():
    assert p_value(40, 0, 100, 0.5) == pytest.approx(2 * binom.cdf(40, 100, 0.5))
    assert p_value(60, 0, 100, 0.5) == pytest.approx(2 * binom.sf(59, 100, 0.5))
    assert p_value(50, 0, 100, 0.5) == 1.0


def test_unresolved_draws_may_belong_to_the_count_or_not():
    assert p_value(40, 10, 100, 0.5) == 1.0
    assert p_value(30, 5, 100, 0.5) == pytest.approx(2 * binom.cdf(35, 100, 0.5))
    assert p_value(60, 5, 100, 0.5) == pytest.approx(2 * binom.sf(59, 100, 0.5))
    with pytest.raises(ValueError, match="count: 60 with 50"):
        p_value(60, 50, 100, 0.5)


@pytest.mark.parametrize(
    ("S_BC", "kind"),
    [(((1, 0), (0, "-1/2")), "zero of the form"), (((1, "1/4"), ("1/4", 1)), "equal steps")],
)
def test_digits_are_kept_at_zeros_off_the_axes(S_BC, kind):
    found = portrait(S_BC, ((1, "1/3"), (0, 2)))
    zero = next(z for z in found.zeros if z.kinds == (kind,) and z.stability == "attracting")
    rate = abs(float(zero.leading))
    times = np.linspace(0, 150 / rate, 16)
    distance = distances(found, float(zero.angle) - 0.01, times)
    assert distance[0] == pytest.approx(0.01, rel=1e-9)
    assert distance[-1] < 1e-60
    assert np.allclose(-np.diff(np.log(distance[2:])), 10, rtol=1e-5)
