"""Three tokens in the plane: the exceptional curve, and what merely continuous weights do."""

import math

import numpy as np
import pytest
import torch

from tokensphere.flow import AutoregressiveFlow, simulate
from tokensphere.other_tokens.exceptional import (
    angular_speeds,
    antipodal_angle,
    equatorial_orbit,
    exceptional_curve,
    final_angle,
    hoelder_coefficients,
    hoelder_starts,
    three_on_circle,
    three_token_flow,
)


def test_the_plane_s_equations_are_eq_13():
    theta = torch.tensor([0.3, 2.0, -1.0], dtype=torch.float64)
    phi = torch.tensor([0.1, -0.7, 2.5], dtype=torch.float64)
    x = three_on_circle(theta, phi)
    turning = angular_speeds(three_token_flow(0.5, 2.0, 0.7), x)
    wanted = 2 * phi.sin() + 0.7 * (phi - theta).sin()
    torch.testing.assert_close(turning[:, 1], -0.5 * theta.sin(), rtol=0, atol=1e-14)
    torch.testing.assert_close(turning[:, 2], wanted, rtol=0, atol=1e-14)
    torch.testing.assert_close(antipodal_angle(x[:, 2]), phi, rtol=0, atol=1e-14)


def test_the_curve_solves_its_equation_and_parts_the_ways():
    weights = 0.8, 1.5, 0.6
    theta, phi = exceptional_curve(*weights)
    assert theta[0] < 2e-4 and theta[-1] > 3.1 and (np.diff(theta) > 0).all()
    # The tangent at (0, 0); the curve is odd.
    np.testing.assert_allclose(phi[:20] / theta[:20], 0.6 / (0.8 + 1.5 + 0.6), atol=1e-5)
    # The quotient of differences errs by the square of a step in theta, 0.03 at most.
    middle, height = (theta[1:] + theta[:-1]) / 2, (phi[1:] + phi[:-1]) / 2
    slope = 1.5 * np.sin(height) + 0.6 * np.sin(height - middle)
    off = np.diff(phi) / np.diff(theta) + slope / (0.8 * np.sin(middle))
    assert abs(off[middle < 2.5]).max() < 1e-3
    at = np.array([0.3, 1.0, 2.0])
    curve = np.interp(at, theta, phi)
    left, right = final_angle(at, [curve - 2e-3, curve + 2e-3], weights)
    np.testing.assert_allclose(left, -math.pi, atol=1e-3)
    np.testing.assert_allclose(right, math.pi, atol=1e-3)


def test_hoelder_weights_hold_an_open_set_and_constant_ones_do_not():
    g = torch.Generator().manual_seed(0)
    x0 = three_on_circle(*hoelder_starts(10, g))
    weights = hoelder_coefficients(x0)
    assert (weights[:, [1, 2, 2], [0, 0, 1]] > 0).all()
    times = torch.tensor([0.0, 12.0], dtype=torch.float64)
    for feedback, low, high in ((5.0, 0.0, 1e-5), (0.0, 3.0, 3.2)):
        flow = AutoregressiveFlow(lambda x, k=feedback: hoelder_coefficients(x, k))
        end = antipodal_angle(simulate(flow, x0, times, 1e-7, 1e-25).tokens[-1, :, 2]).abs()
        assert (low <= end).all() and (end <= high).all()


def test_hoelder_weights_have_the_order_one_half_and_no_more():
    g = torch.Generator().manual_seed(1)
    over_root, over_distance = [], []
    for scale in (1e-2, 1e-4, 1e-6):
        # Where |phi - theta/3| is about theta^2, b goes through all its values within theta^2.
        theta = scale * (0.5 + torch.rand(2000, generator=g, dtype=torch.float64))
        phi = theta / 3 + theta**2 * (torch.rand(2000, generator=g, dtype=torch.float64) - 0.5)
        move = scale**2 * torch.randn(2, 2000, generator=g, dtype=torch.float64)
        before = hoelder_coefficients(three_on_circle(theta, phi))
        after = hoelder_coefficients(three_on_circle(theta + move[0], phi + move[1]))
        change, distance = (after - before).abs().amax((-1, -2)), move.norm(dim=0)
        over_root.append(float((change / distance.sqrt()).max()))
        over_distance.append(float((change / distance).max()))
    assert max(over_root) < 10
    assert over_distance[2] > 50 * over_distance[1] > 2500 * over_distance[0] / 2


def test_the_equator_is_approached_like_one_over_t():
    times = torch.tensor([0.0, 1.0, 1000.0], dtype=torch.float64)
    f = equatorial_orbit(times, -0.5)
    # f' = f^2 (1 - f^2): -1/f + artanh f = t + const.
    conserved = -1 / f + torch.atanh(f) - times
    torch.testing.assert_close(conserved, conserved[:1].expand(3), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: three_token_flow(1.0, 0.0, 1.0), "a_31"),
        (lambda: exceptional_curve(-1.0, 1.0, 1.0), "a_21"),
        (lambda: equatorial_orbit(torch.tensor([0.0, 1.0]).double(), 0.5), "start"),
    ],
)
def test_bad_arguments_are_named(make, name):
    with pytest.raises(ValueError, match=f"^{name}:"):
        make()


def test_hoelder_weights_are_one_far_from_the_saddle():
    theta = torch.tensor([2.0, -2.5, 0.3], dtype=torch.float64)
    phi = torch.tensor([0.9, 0.1, 2.0], dtype=torch.float64)
    weights = hoelder_coefficients(three_on_circle(theta, phi))
    assert (weights[:, 1, 0] == 1).all() and (weights[:, 2, :2] == 1).all()
