"""What orders change besides the first token, against counting and plain loops."""

import itertools
from fractions import Fraction

import pytest
import torch

from tokensphere.reorder.order_effects import (
    adjacent_shares,
    consecutive_correlation,
    orders_after_the_first,
    output_change,
    raster_against_random,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("side", [2, 3])
def test_shares_of_neighbours_by_counting(side):
    cells = list(itertools.product(range(side), repeat=2))

    def adjacent(a, b):
        return abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1

    raster, mean = adjacent_shares(side)
    pairs = list(itertools.pairwise(cells))
    assert raster == Fraction(sum(adjacent(a, b) for a, b in pairs), len(pairs))
    every = list(itertools.permutations(cells, 2))
    assert mean == Fraction(sum(adjacent(a, b) for a, b in every), len(every))


def test_the_correlation_is_a_mean_over_images_and_places():
    g = seeded()
    patches = torch.randn(5, 4, 3, generator=g, dtype=torch.float64)
    orders = torch.tensor([[0, 1, 2, 3], [2, 0, 3, 1]])
    found = consecutive_correlation(patches, orders)
    for order, value in zip(orders.tolist(), found.tolist(), strict=True):
        products = [float(p[i] @ p[j]) for p in patches for i, j in itertools.pairwise(order)]
        wanted = sum(products) / len(products) / float(patches.square().sum(-1).mean())
        assert value == pytest.approx(wanted)
    # Patches that are all alike.
    assert float(consecutive_correlation(patches[:, :1].expand(5, 4, 3), orders[0])) == (
        pytest.approx(1)
    )


def test_neighbours_that_are_alike_stand_out_among_random_orders():
    g = seeded()
    walk = torch.randn(50, 6, 2, generator=g, dtype=torch.float64).cumsum(1)
    walk = walk - walk.mean((0, 1))
    raster, random = raster_against_random(walk, 200, g)
    wanted = consecutive_correlation(walk, torch.arange(6))
    assert raster == pytest.approx(float(wanted)) and random.shape == (200,)
    assert int((random < raster).sum()) >= 195
    # Of patches that are the same in law at each place the own order is one of many.
    noise = torch.randn(50, 6, 2, generator=g, dtype=torch.float64)
    ranks = [
        int((others < own).sum())
        for own, others in (raster_against_random(noise[:, i:], 200, g) for i in range(3))
    ]
    assert min(ranks) > 0 and max(ranks) < 200


def test_orders_after_the_first_move_all_the_others():
    orders = orders_after_the_first(400, 4, seeded())
    assert (orders[:, 0] == 0).all()
    assert (orders.sort(-1).values == torch.arange(4)).all()
    assert len({tuple(order) for order in orders.tolist()}) == 6


def test_the_output_changes_by_what_the_order_does():
    g = seeded()
    x = torch.randn(3, 5, 2, generator=g, dtype=torch.float64)
    orders = torch.stack([torch.randperm(5, generator=g) for _ in range(3)])
    assert output_change(lambda x: 2 * x, x, orders) == pytest.approx(0, abs=1e-15)
    # Sums over what was read before: token by token.
    other = torch.empty_like(x)
    for b, order in enumerate(orders.tolist()):
        for place, i in enumerate(order):
            other[b, i] = sum(x[b, j] for j in order[: place + 1])
    own = x.cumsum(1)
    wanted = float((other - own).norm() / own.norm())
    assert output_change(lambda x: x.cumsum(1), x, orders) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: adjacent_shares(1), "side: got 1"),
        (
            lambda: consecutive_correlation(torch.zeros(2, 3, 1), torch.arange(4)),
            "orders: got shape",
        ),
        (lambda: orders_after_the_first(0, 3, seeded()), "sequences: got 0"),
        (lambda: orders_after_the_first(1, 1, seeded()), "length: got 1"),
        (
            lambda: output_change(lambda x: x, torch.zeros(2, 3, 1), torch.arange(3)),
            "orders: got shape",
        ),
    ],
)
def test_what_is_out_of_range_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
