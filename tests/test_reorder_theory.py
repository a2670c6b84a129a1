"""Reordered layers against other ways to compute them, and the theorem's bounds on them."""

import itertools
import math
from fractions import Fraction

import pytest
import torch
from torch.nn.functional import softplus

from tokensphere.flow import AutoregressiveFlow, SharedStepFlow, causal_attention, random_tokens
from tokensphere.other_tokens import consensus_rate, interactions
from tokensphere.reorder.theory import (
    attention_rate,
    cone_normal,
    contraction,
    decay_rate,
    diameter,
    ends_by_depth,
    fresh_orders,
    greedy_orders,
    one_order,
    reordered_layers,
    shared_step_factor,
    slow_switching_rate,
    switching_rate,
    two_token_spread,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def positive_tokens(passes, length, generator):
    x = random_tokens(passes, length, 3, generator=generator).abs() + 0.2
    return x / x.norm(dim=-1, keepdim=True)


def flow_in_the_cone(generator, a=0.7):
    """S_BC with positive entries: all U_ij of tokens with positive entries are positive."""
    S_BC = torch.rand(3, 3, generator=generator, dtype=torch.float64) + 0.1
    alpha = torch.randn(3, generator=generator, dtype=torch.float64)
    return SharedStepFlow(S_BC, alpha, a)


def test_a_layer_is_its_sum_over_the_tokens_read_before():
    g = seeded()
    flow = flow_in_the_cone(g)
    x0, orders = positive_tokens(2, 4, g), fresh_orders(3, 2, 4, g)
    path = reordered_layers(flow, x0, 0.3, orders)
    for k, p in itertools.product(range(3), range(2)):
        x, order = path[k, p], orders[k, p].tolist()
        step = softplus(x @ flow.alpha)
        for place, i in enumerate(order):
            z = x[i].clone()
            for earlier in range(place + 1):
                j = order[earlier]
                between = sum(float(step[m]) for m in order[earlier + 1 : place + 1])
                weight = (x[i] @ flow.S_BC @ x[j]) * step[j] * math.exp(-flow.a * between)
                z = z + 0.3 * weight * x[j]
            torch.testing.assert_close(path[k + 1, p, i], z / z.norm(), rtol=0, atol=1e-13)


def test_one_order_leaves_the_first_token_read_alone_and_each_layer_has_its_own_otherwise():
    g = seeded(1)
    flow, x0, orders = flow_in_the_cone(g), positive_tokens(50, 4, g), fresh_orders(20, 50, 4, g)
    kept = one_order(orders)
    path = reordered_layers(flow, x0, 0.3, kept)
    first = orders[0, :, :1, None].expand(-1, -1, 3)
    torch.testing.assert_close(path[-1].gather(1, first), x0.gather(1, first), rtol=0, atol=1e-13)
    # Each of 24 orders in 1000 draws: 42 on average, with a deviation of 6.3.
    counts = orders.flatten(0, 1).unique(dim=0, return_counts=True)[1]
    assert len(counts) == 24 and counts.min() > 15 and counts.max() < 75


def test_the_theorem_bounds_every_layer_and_is_not_vacuous():
    g = seeded(2)
    flow, x0 = flow_in_the_cone(g), positive_tokens(8, 4, g)
    normal, delta = cone_normal(flow, x0), contraction(flow, x0, 0.4)
    U = interactions(x0, flow.S_BC)[1]
    torch.testing.assert_close(
        (x0 * normal[:, None]).sum(-1), U[..., 0] / (x0[:, 0] @ flow.S_BC.mT).norm(dim=-1)[:, None]
    )
    paths = {
        "random": reordered_layers(flow, x0, 0.4, fresh_orders(40, 8, 4, g)),
        "greedy": greedy_orders(flow, x0, 0.4, 40),
    }
    for path in paths.values():
        d = diameter(path, normal)
        # Above 1e-6 rounding, 1e-16 of a point, does not show in the ratio.
        assert ((d[1:] < (1 - delta + 1e-9) * d[:-1]) | (d[:-1] < 1e-6)).all()
        least = interactions(path, flow.S_BC)[1].flatten(-2).amin(-1)
        assert (least.diff(dim=0) > -1e-13).all()
    # The choice is the best of one layer, and it matters: greedy ends are wider.
    one = diameter(paths["greedy"], normal)
    for order in itertools.permutations(range(4)):
        orders = torch.tensor(order).expand(1, 8, 4)
        assert (
            diameter(reordered_layers(flow, x0, 0.4, orders)[1], normal) <= one[1] + 1e-13
        ).all()
    assert (one[20] > diameter(paths["random"], normal)[20]).all()


def test_delta_is_the_theorems_formula():
    flow = SharedStepFlow(
        2 * torch.eye(2, dtype=torch.float64), torch.tensor([3.0, 4.0], dtype=torch.float64), 0.1
    )
    x0 = torch.tensor([[[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]]], dtype=torch.float64)
    low, high = math.log1p(math.exp(-5)), math.log1p(math.exp(5))
    c, speed = 2 * 0.6, 2.0
    wanted = 0.5 * low * math.exp(-0.1 * 2 * high) * c * (c / speed) / (1 + 0.5 * 3 * high * 2)
    assert float(contraction(flow, x0, 0.5)) == pytest.approx(wanted, rel=1e-12)


def test_the_diameter_is_measured_in_the_plane():
    x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, -0.6]], dtype=torch.float64)
    # (1, 0), (1, 4/3) and (1, -3/4).
    assert float(diameter(x, x[0])) == pytest.approx(4 / 3 + 3 / 4, rel=1e-13)


@pytest.mark.parametrize("length", [2, 3, 5])
def test_averaged_rates_are_means_over_all_orders(length):
    q = Fraction(1, 3)
    attention, decaying = Fraction(0), Fraction(0)
    for order in itertools.permutations(range(length)):
        place, other = order.index(0) + 1, order.index(1) + 1
        if other < place:
            attention += Fraction(1, place)
            decaying += q ** (place - other)
    count = math.factorial(length)
    assert attention_rate(length) == length * attention / count
    assert shared_step_factor(length, q) * q == length * decaying / count


def test_measured_rates_are_the_averaged_ones():
    g = seeded(3)
    eye = torch.eye(3, dtype=torch.float64)
    noise = 0.1 * torch.randn(24, 5, 3, generator=g, dtype=torch.float64)
    x0 = eye[0] + noise
    x0 = x0 / x0.norm(dim=-1, keepdim=True)
    flow = AutoregressiveFlow(causal_attention(*torch.randn(2, 3, 3, generator=g).double()))
    orders = fresh_orders(800, 24, 5, g)
    found = float(decay_rate(flow, x0, 0.05, orders, 300).mean())
    # A step of 0.05 adds 2%; 24 passes have a mean to about 1%.
    assert found == pytest.approx(float(attention_rate(5)), rel=0.06)
    # In one order, the next mode has the rate 2/3: after t = 30 it is below e^{-30/6} of the first.
    one = decay_rate(flow, x0, 0.05, one_order(orders), 600)
    sharp = consensus_rate(flow, eye[0], torch.ones(5, dtype=torch.float64)).rate
    euler = -math.log(1 - 0.05 * sharp) / 0.05  # a layer would divide by 1 + 0.05 too: 5% less
    torch.testing.assert_close(one, torch.full_like(one, euler), rtol=0.02, atol=0)


def test_switching_goes_from_the_averaged_rate_to_that_of_one_order():
    fast = switching_rate(4, 0.02, 1500, 100, seeded(4))
    assert fast == pytest.approx(float(attention_rate(4)), abs=0.01)  # 0.002 by tau, and the draws
    slow, tau = switching_rate(4, 40.0, 40, 400, seeded(5)), 40.0
    wanted = 0.5 - (3 * math.log(1) + 2 * math.log(2) + math.log(3)) / 6 / tau
    assert slow_switching_rate(4, tau) == pytest.approx(wanted, rel=1e-13)
    # 16,000 logarithms that deviate by 0.4: 0.0001. Of 1/2 it is 0.01 away.
    assert slow == pytest.approx(wanted, abs=0.0006)


def test_where_passes_end():
    found = ends_by_depth((64, 256), 200, 3, seeded(6))
    assert found["first"][0] < 0.02  # t = 16 at the rate of about 1/2: e^{-8} and a factor
    # Four times as many layers: half the deviation. 200 passes: 7% of the ratio.
    assert found["layer"][0] / found["layer"][1] == pytest.approx(2, rel=0.2)
    # With one order a pass the ends are the three starts, of a third of the passes each.
    g = seeded(6)
    start = random_tokens(1, 3, 3, generator=g)[0].abs() + 0.3
    start = start / start.norm(dim=-1, keepdim=True)
    of_starts = float((start - start.mean(0)).square().sum(-1).mean().sqrt())
    assert found["pass"][0] == pytest.approx(of_starts, rel=0.1)


def test_two_tokens_meet_by_fair_steps():
    gaps = torch.tensor([1.0, 0.6, 0.3, 0.2], dtype=torch.float64)
    closed = (-gaps.diff()).tolist()
    ends = [
        sum(e * c for e, c in zip(choice, closed, strict=True))
        for choice in itertools.product((0, 1), repeat=3)
    ]
    mean = sum(ends) / 8
    deviation = math.sqrt(sum((end - mean) ** 2 for end in ends) / 8)
    assert two_token_spread(gaps) == pytest.approx(deviation / (sum(closed) / 2), rel=1e-13)


def test_bad_input_is_refused():
    g = seeded(7)
    flow, x0, orders = flow_in_the_cone(g), positive_tokens(2, 3, g), fresh_orders(4, 2, 3, g)
    repeated = orders.clone()
    repeated[1, 0, 0] = repeated[1, 0, 1]
    opposite = torch.cat([x0[:, :1], -x0[:, 1:]], 1)
    refused = {
        "layers": [lambda: fresh_orders(0, 2, 3, g), lambda: greedy_orders(flow, x0, 0.1, 0)],
        "orders": [
            lambda: reordered_layers(flow, x0, 0.1, orders[..., :2]),
            lambda: reordered_layers(flow, x0, 0.1, repeated),
        ],
        "step": [lambda: reordered_layers(flow, x0, 0.0, orders)],
        "x0": [
            lambda: reordered_layers(flow, 2 * x0, 0.1, orders),
            lambda: contraction(flow, opposite, 0.1),
            lambda: greedy_orders(flow, x0[0], 0.1, 2),
        ],
        "x": [lambda: diameter(opposite, cone_normal(flow, x0))],
        "flow.S_BC": [lambda: cone_normal(SharedStepFlow((x0[0], x0[0]), x0[0, 0], 1.0), x0)],
        "length": [lambda: attention_rate(1), lambda: slow_switching_rate(1, 1.0)],
        "q": [lambda: shared_step_factor(3, 1.0)],
        "skip": [lambda: decay_rate(flow, x0, 0.1, orders, 4)],
        "tau": [lambda: switching_rate(3, 0.0, 1, 1, g)],
        "passes": [lambda: ends_by_depth((4,), 1, 3, g)],
        "depths": [lambda: ends_by_depth((), 2, 3, g)],
        "gaps": [lambda: two_token_spread(torch.tensor([0.1, 0.2]))],
    }
    for name, calls in refused.items():
        for call in calls:
            with pytest.raises(ValueError, match=rf"^{name}: "):
                call()
