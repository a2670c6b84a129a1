"""Certificates of octants, runs in logarithms, Lyapunov exponents."""

import math

import numpy as np
import pytest
import torch

from tokensphere.first_token import cycles, equilibria, jacobian, potential
from tokensphere.first_token.cycles import (
    arneodo_coullet_tresser,
    certify_octant,
    cyclic_octant,
    dwell_times,
    follow_logarithms,
    lotka_volterra,
    lyapunov_exponents,
    rock_paper_scissors,
)
from tokensphere.flow import FirstTokenFlow, simulate

ONE = torch.eye(3, dtype=torch.float64)


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_two_cases_of_rock_paper_scissors():
    weak, strong = (certify_octant(rock_paper_scissors(d)) for d in (0.1, 0.5))
    assert weak.cyclic and strong.cyclic
    assert weak.periodic and not weak.attracts
    assert strong.attracts and not strong.repels and not strong.periodic


def test_the_quotient_is_that_of_the_eigenvalues():
    S_Delta = rock_paper_scissors(0.1)
    product = 1.0
    for axis in ONE:
        low, high = torch.linalg.eigvals(jacobian(ONE, S_Delta, axis)).real.sort().values.tolist()
        product *= high / -low
    assert float(certify_octant(S_Delta).quotient) == pytest.approx(product, rel=1e-9)


@pytest.mark.parametrize("diagonal", [0.1, 0.5, 3.0, -0.7])
def test_the_trace_and_determinant_have_the_signs_of_the_jacobian_s(diagonal):
    S_Delta = rock_paper_scissors(diagonal)
    found = certify_octant(S_Delta)
    J = jacobian(ONE, S_Delta, torch.ones(3).double() / 3**0.5)
    assert found.interior
    assert math.copysign(1, found.trace) == float(J.trace().sign())
    assert math.copysign(1, found.determinant) == float(torch.linalg.det(J).sign())


@pytest.mark.parametrize("seed", range(20))
def test_the_interior_is_that_of_the_equilibria(seed):
    S_Delta = gaussian(3, 3, seed=seed)
    inside = [
        e for e in equilibria(ONE, S_Delta) if len(e.support) == 3 and bool((e.point > 0).all())
    ]
    found = certify_octant(S_Delta)
    assert found.interior == bool(inside)
    if inside:
        assert found.source == (inside[0].stability == "unstable")
    edges = {e.support for e in equilibria(ONE, S_Delta) if bool((e.point >= 0).all())}
    free = [pair not in edges for pair in ((0, 1), (1, 2), (0, 2))]
    assert [direction != 0 for direction in found.directions] == free


def test_edges_in_line_are_no_cycle():
    # Steps whose order is the same everywhere: e_3 attracts the whole octant.
    found = certify_octant(torch.tensor([[0.0, 1, 2]] * 3, dtype=torch.float64))
    assert found.directions == (1, 1, -1)
    assert not found.cyclic and found.quotient is None
    assert not (found.repels or found.attracts or found.periodic or found.interior)


def test_turned_the_other_way_nothing_changes():
    for diagonal in (0.1, 0.5):
        S_Delta = rock_paper_scissors(diagonal)
        swap = [1, 0, 2]
        one, other = certify_octant(S_Delta), certify_octant(S_Delta[swap][:, swap])
        assert one.directions == (-1, -1, -1) and other.directions == (1, 1, 1)
        assert one.quotient.overlaps(other.quotient)
        assert (one.trace, one.determinant) == (other.trace, other.determinant)


@pytest.mark.parametrize("seed", range(5))
def test_the_cyclic_octant_has_no_potential(seed):
    S_Delta = gaussian(3, 3, seed=seed)
    signs = cyclic_octant(S_Delta)
    assert potential(S_Delta, signs) is None and potential(S_Delta, -signs) is None
    signs[0] *= -1
    assert potential(S_Delta, signs) is not None


def test_logarithms_agree_with_the_flow():
    S_Delta = gaussian(4, 4)
    start = np.log([[1.0, 0.5], [0.5, 1.0], [0.3, 0.2], [0.1, 0.9]])
    times = np.linspace(0, 5, 11)
    y = np.exp(follow_logarithms(S_Delta, start, times))
    y0 = torch.tensor(y[0].T).unsqueeze(1)
    field = FirstTokenFlow(torch.eye(4, dtype=torch.float64), S_Delta)
    wanted = simulate(field, y0, torch.tensor(times), rtol=1e-10, atol=1e-12).tokens[:, :, 0]
    # The sums are integrated to 1e-8 of themselves.
    np.testing.assert_allclose(y.transpose(0, 2, 1), wanted.numpy(), rtol=0, atol=1e-6)


def test_stays_at_a_vertex_grow_by_the_quotient():
    S_Delta = rock_paper_scissors(0.5)
    stays = dwell_times(S_Delta, 1000.0)
    predicted = float(certify_octant(S_Delta).quotient) ** (-1 / 3)
    # The O(1) of the proof, over stays of a hundred.
    assert stays[-1] / stays[-2] == pytest.approx(predicted, abs=0.02)


def test_a_lotka_volterra_system_is_met_for_small_steps():
    growth, interactions = arneodo_coullet_tresser()
    x = torch.tensor([0.8, 1.1, 1.3], dtype=torch.float64)
    wanted = x * (growth + interactions @ x)
    size = 1e-4
    S_Delta = lotka_volterra(growth, interactions, size)
    y = torch.cat([x, torch.ones(1).double()])
    y = y / y.norm()
    speed = FirstTokenFlow(torch.eye(4).double(), S_Delta)(y[None])[0]
    # (y_i / y_4)' by the quotient rule, in the clock y_4 size t / 2.
    change = (speed[:3] - x * speed[3]) / y[3] / (y[3] * size / 2)
    torch.testing.assert_close(change, wanted, rtol=0, atol=1e-3)  # O(size)


def test_lyapunov_exponents_of_a_sink_and_a_cycle():
    # Near the sink (1, 1, 1)/sqrt 3 the exponent is the larger real part of its eigenvalues.
    S_Delta = rock_paper_scissors(-3.0)
    point = torch.ones(3).double() / 3**0.5
    wanted = float(torch.linalg.eigvals(jacobian(ONE, S_Delta, point)).real.max())
    assert wanted < -0.02
    found = lyapunov_exponents(S_Delta, 2000.0, 2, seed=0)
    # The vector turns, so its length swings: O(1) in the logarithm over the time.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-3)
    assert np.abs(lyapunov_exponents(rock_paper_scissors(0.1), 1000.0, 2, seed=0)).max() < 0.01


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: certify_octant(gaussian(4, 4)), "S_Delta: got shape"),
        (lambda: cyclic_octant(ONE), "S_Delta: two entries"),
        (lambda: cyclic_octant(gaussian(2, 2)), "S_Delta: got shape"),
        (lambda: follow_logarithms(ONE, np.zeros((2, 1)), np.arange(2.0)), "logarithms: got shape"),
        (lambda: lotka_volterra([1.0], [[1.0, 2.0]], 0.1), "interactions: got shape"),
        (lambda: lyapunov_exponents(ONE, 10.0, 1, 0), "stop: got 10"),
    ],
)
def test_what_makes_no_sense_is_named(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_an_edge_at_rest_has_no_direction():
    # All columns are alike: nothing moves.
    found = certify_octant(torch.arange(3.0).double()[:, None].expand(3, 3))
    assert found.directions == (0, 0, 0) and not found.cyclic


def test_a_sink_inside_a_boundary_that_repels_is_no_periodic_orbit():
    found = certify_octant(rock_paper_scissors(-0.7))
    assert found.repels and found.interior and not found.source and not found.periodic


def test_the_first_quarter_of_an_exponent_is_left_out(monkeypatch):
    growth = iter([100.0, 1.0, 2.0, 6.0])

    class Run:
        def __init__(self):
            logs, vector = np.zeros((2, 1)), np.array([[math.exp(next(growth))], [0.0]])
            self.y = np.stack([logs, vector]).reshape(-1, 1)

    monkeypatch.setattr(cycles, "solve_ivp", lambda *_, **__: Run())
    found = lyapunov_exponents(ONE, 16.0, 1, 0, every=4.0)
    assert found.tolist() == pytest.approx([3.0 / 4.0])
