import pytest
import torch

from tokensphere.flow import FirstTokenFlow, MambaFlow, project, random_tokens, simulate
from tokensphere.flow.deep_layers import (
    absorb_radius_and_gain,
    drawn_layers,
    empirical_order,
    mean_field,
    modified_field,
    output_error,
    scatter,
)

DIM = 3


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def grid(depth):
    return torch.linspace(0, 1, depth + 1, dtype=torch.float64)


@pytest.fixture
def problem():
    field = MambaFlow(normal(DIM, DIM), normal(DIM, DIM, seed=1), normal(DIM, seed=2).exp())
    return field, random_tokens(4, DIM, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("h", "order"), [(0, 1), (1, 2)], ids=["to the flow", "to the modified flow"]
)
def test_layers_approach_the_flow_at_order_1_and_the_modified_flow_at_order_2(problem, h, order):
    field, x0 = problem
    depths, errors = (64, 256), []
    for depth in depths:
        limit = simulate(modified_field(field, h / depth), x0, grid(4)).tokens
        errors.append(output_error(field, x0, grid(depth), limit))
    assert empirical_order(depths, errors) == pytest.approx(order, abs=0.1)


def test_the_order_is_that_of_a_power():
    assert empirical_order((10, 40), (1.0, 1 / 16)) == pytest.approx(2)


@pytest.mark.parametrize("errors", [(1.0, 0.0), (1.0, -1.0), (1.0,)])
def test_an_order_needs_two_positive_errors(errors):
    with pytest.raises(ValueError, match="errors"):
        empirical_order((1, 2), errors)


def test_a_limit_needs_times_that_the_layers_have(problem):
    field, x0 = problem
    with pytest.raises(ValueError, match="limit: got 4 times"):
        output_error(field, x0, grid(64), x0.expand(4, -1, -1))


def test_the_modified_field_of_a_token_at_rest_is_zero():
    field = FirstTokenFlow(normal(DIM, DIM), normal(DIM, DIM, seed=1))
    axes = torch.eye(DIM, dtype=torch.float64)
    assert modified_field(field, 0.5)(axes).abs().max() < 1e-12


def test_the_mean_field_is_that_of_the_mean_matrix_where_only_s_bc_is_drawn(problem):
    field, x0 = problem
    S_BC = normal(5, DIM, DIM, seed=4)
    bank = MambaFlow(S_BC, field.S_Delta.expand(5, -1, -1), field.a.expand(5, -1))
    averaged = MambaFlow(S_BC.mean(0), field.S_Delta, field.a)
    torch.testing.assert_close(mean_field(bank)(x0), averaged(x0))


def test_independent_layers_scatter_about_the_mean_flow_at_order_one_half(problem):
    field, x0 = problem
    S_BC, S_Delta = field.S_BC + normal(5, DIM, DIM, seed=4), normal(5, DIM, DIM, seed=5)
    bank = MambaFlow(S_BC, S_Delta, field.a.expand(5, DIM))
    limit = simulate(mean_field(bank), x0, grid(1)).tokens[-1]
    generator, depths = torch.Generator().manual_seed(6), (16, 256)
    errors = [scatter(bank, x0, grid(depth), limit, 300, generator) for depth in depths]
    # The mean of 300 squares is known to 10% or so, and each error to half of that.
    assert empirical_order(depths, errors) == pytest.approx(0.5, abs=0.1)
    same = MambaFlow(*(value[:1].expand_as(value) for value in (S_BC, S_Delta, bank.a)))
    alone = MambaFlow(S_BC[0], S_Delta[0], field.a)
    end = simulate(alone, x0, grid(1)).tokens
    error = scatter(same, x0, grid(8), end[-1], 2, generator)
    largest = output_error(alone, x0, grid(8), end)
    assert largest <= error <= len(x0) ** 0.5 * largest


def test_drawn_layers_are_those_of_their_indices():
    bank = MambaFlow(normal(5, DIM, DIM), normal(5, DIM, DIM, seed=1), normal(5, DIM).exp())
    x = random_tokens(2, 4, DIM, generator=torch.Generator().manual_seed(3))
    which = torch.tensor([[0, 1], [2, 4], [3, 3]])
    times = 7 + 2 * grid(3)
    drawn = drawn_layers(bank, which, times)
    for k, t in enumerate(times[:-1]):
        for run in range(2):
            draw = int(which[k, run])
            one = MambaFlow(bank.S_BC[draw], bank.S_Delta[draw], bank.a[draw])
            torch.testing.assert_close(drawn(x, t)[run], one(x[run]))


def test_radius_and_gain_are_absorbed():
    S_BC, S_Delta, gain = normal(DIM, DIM), normal(DIM, DIM, seed=1), normal(DIM, seed=2)
    x = random_tokens(DIM, generator=torch.Generator().manual_seed(3))
    u = 2.5 * gain * x
    steps = torch.nn.functional.softplus(u @ S_Delta)
    raw = (u @ S_BC @ u) * steps * u
    absorbed = FirstTokenFlow(*absorb_radius_and_gain(S_BC, S_Delta, 2.5, gain))
    torch.testing.assert_close(gain * absorbed.layer(x), raw)
    assert project(x, raw).norm() > 1e-3
