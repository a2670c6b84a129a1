"""Tokens in R^D without normalisation: the field, first tokens' ends, runs."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

from tokensphere.flow import MambaFlow
from tokensphere.unnormalised import (
    Unnormalised,
    blow_up_bounds,
    cone_exponent,
    first_token_end,
    first_token_kind,
    first_velocity,
    form,
    grows_slowly,
    simulate,
    slow_rates,
)
from tokensphere.unnormalised.census import FIRST, draw, kinds_together

LN2 = math.log(2)


def t64(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


def test_the_field_is_the_layer_on_the_sphere_and_the_sum_off_it(generator):
    S_BC, S_Delta = normal(generator, 2, 3, 3)
    a, x = torch.rand(3, generator=generator, dtype=torch.float64) + 0.1, normal(generator, 4, 3)
    field = Unnormalised(S_BC, S_Delta, a)
    unit = x / x.norm(dim=-1, keepdim=True)
    assert (field(unit) - MambaFlow(S_BC, S_Delta, a).layer(unit)).abs().max() < 1e-13
    delta, want = softplus(x @ S_Delta), torch.zeros_like(x)
    for l in range(4):
        for j in range(l + 1):
            decay = torch.exp(-a * delta[j + 1 : l + 1].sum(0))
            want[l] += (x[l] @ S_BC @ x[j]) * delta[j] * decay * x[j]
    assert (field(x) - want).abs().max() < 1e-12
    assert (field(x)[0] - first_velocity(S_BC, S_Delta, x[0])).abs().max() < 1e-13


def test_one_dimension_by_hand():
    x, mu, s, a = t64([0.7], [-1.3]), -0.8, 0.6, 0.4
    W, want = 0.0, []
    for value in x[:, 0].tolist():
        delta = math.log1p(math.exp(s * value))
        W = delta * value**2 + math.exp(-a * delta) * W
        want.append(mu * value * W)
    field = Unnormalised(t64([mu]), t64([s]), t64(a))
    assert field(x)[:, 0].tolist() == pytest.approx(want, rel=1e-13)


@pytest.mark.parametrize(("dim", "count"), [(2, 500), (3, 300), (8, 200)])
def test_kinds_agree_with_a_direct_integration(dim, count):
    problems = draw(count, dim, torch.Generator().manual_seed(dim))
    found = [first_token_kind(*p) for p in zip(*problems, strict=True)]
    other = [FIRST[k] for k in kinds_together(*problems).tolist()]
    for i in np.flatnonzero(np.array(found) != np.array(other)):
        # The direct run stops where all steps are below e^-60, and cannot see what comes then.
        assert (found[i], other[i]) == ("to the cone", "slow")
        p = first_token_end(*(part[i] for part in problems)).limit
        assert float((p @ problems[1][i]).amax()) < -60
    assert len(set(found)) >= 3


def run_alone(problem, stop, **options):
    S_BC, S_Delta, x0 = problem
    field = Unnormalised(S_BC, S_Delta, torch.ones_like(x0))
    times = torch.cat([t64(0.0), torch.as_tensor(stop, dtype=torch.float64).reshape(-1)])
    return simulate(field, x0[None], times, **options)


def test_constants_and_times_are_those_of_runs_in_real_time():
    seen = {}
    for dim in (2, 3):
        for problem in zip(*draw(30, dim, torch.Generator().manual_seed(10 + dim)), strict=True):
            end = first_token_end(*problem)
            S_BC = problem[0]
            if end.kind == "blow-up":
                run = run_alone(problem, 1.01 * end.time)
                assert run.first == 0
                assert run.blow_up == pytest.approx(end.time, rel=1e-6)
                low, high = blow_up_bounds(*problem)
                assert low <= end.time * (1 + 1e-9) <= high * (1 + 1e-6)
                if end.direction is not None:
                    reached = run.last[0] / run.last[0].norm()
                    # At a norm of 1e12 the direction has not settled as it does at 1e40.
                    assert (reached - end.direction).norm() < 0.3
            elif end.kind == "to the cone" and end.exponent < -0.05:
                run = run_alone(problem, 60 / min(1.0, -end.exponent))
                assert (run.last[0] - end.limit).norm() < 1e-6 * end.limit.norm()
                assert abs(float(form(S_BC, end.limit))) < 1e-9 * float(end.limit.square().sum())
            elif end.kind == "to zero" and float(form(S_BC, end.direction)) < -0.1:
                run = run_alone(problem, 1e6)
                assert float(run.last[0].norm()) * 1e3 == pytest.approx(end.constant, rel=0.02)
                assert (run.last[0] / run.last[0].norm() - end.direction).norm() < 0.01
            else:
                continue
            seen[end.kind] = seen.get(end.kind, 0) + 1
    assert set(seen) == {"blow-up", "to the cone", "to zero"}
    assert min(seen.values()) >= 5


def test_the_approach_to_the_cone_has_its_exponent():
    problems = zip(*draw(40, 3, torch.Generator().manual_seed(4)), strict=True)
    ends = [(p, first_token_end(*p)) for p in problems]
    ends = [(p, e) for p, e in ends if e.kind == "to the cone" and -5 < e.exponent < -0.2]
    assert len(ends) >= 3
    for problem, end in ends:
        times = torch.tensor([12.0, 14.0], dtype=torch.float64) / -end.exponent
        run = run_alone(problem, times, rtol=1e-12, atol=1e-14)
        gap = form(problem[0], run.tokens[1:, 0]).abs().log()
        fitted = float(gap.diff() / times.diff())
        assert fitted == pytest.approx(end.exponent, rel=0.02)


def test_the_blow_up_law():
    S_BC, S_Delta, x0 = torch.eye(2, dtype=torch.float64), t64([1.0, -1.0], [-1.0, 0.5]), t64(2, 1)
    end = first_token_end(S_BC, S_Delta, x0)
    assert end.kind == "blow-up"
    assert end.direction.tolist() == pytest.approx([1, 0], abs=1e-12)
    times = end.time * (1 - torch.tensor([1e-3, 1e-5, 1e-7], dtype=torch.float64))
    run = run_alone((S_BC, S_Delta, x0), times, rtol=1e-12)
    law = run.tokens[1:, 0].norm(dim=-1) * (end.time - times) ** (1 / 3)
    assert abs(law[-1] / end.constant - 1) < 5e-3


def test_slow_growth_has_the_rates_of_the_complementarity_problem():
    S_Delta, x0 = t64([-1.0, -0.5, 0.2], [0.3, -2.0, 0.4], [0.1, 0.2, -1.5]), t64(1, 1, 1)
    eta = slow_rates(S_Delta, x0)
    assert (S_Delta.mT @ eta).tolist() == pytest.approx([-1] * 3)
    identity = torch.eye(3, dtype=torch.float64)
    end = first_token_end(identity, S_Delta, x0)
    assert (end.kind, end.argument[-20:]) == ("slow", "and no step can grow")
    assert end.rates.tolist() == pytest.approx(eta.tolist())
    run = run_alone((identity, S_Delta, x0), [1e60, 1e120])
    growth = (run.last[0] - run.tokens[1, 0]) / (60 * math.log(10))
    # |x_d| = eta_d (ln t + O(ln ln t)).
    assert (growth / eta - 1).abs().max() < 0.1
    # A coordinate that others shut stays bounded.
    shut = slow_rates(t64([-1.0, -0.5], [0.0, -0.1]), t64(1, 1))
    assert shut.tolist() == pytest.approx([1, 5])
    assert slow_rates(t64([-1.0, -2.0], [-2.0, -1.0]), t64(1, 1)) is None  # not an M-matrix
    assert slow_rates(t64([1.0]), t64(1)) is None


def test_rates_need_a_form_that_is_positive_where_the_token_goes():
    end = first_token_end(t64([1, -2], [-2, 1]), t64([-1, 0], [0, 2]), t64(1, -1.2))
    assert end.kind == "slow"
    assert end.rates.tolist() == pytest.approx([1, 0.5])
    assert "rates" in end.computed  # the form is indefinite: no theorem says that q stays positive


def test_a_coordinate_may_underflow():
    generator = torch.Generator().manual_seed(8)
    S_BC, S_Delta = normal(generator, 2, 150, 8, 8)
    x0 = normal(generator, 150, 8)
    end = first_token_end(S_BC[3], S_Delta[3], x0[3])
    assert end.direction.norm() == pytest.approx(1)
    # Rows that land on the cone beyond lengths at which a run would be called a blow-up.
    far = [first_token_end(S_BC[row], S_Delta[row], x0[row]) for row in (41, 115)]
    assert [e.kind for e in far] == ["to the cone", "to the cone"]
    assert min(float(e.limit.norm()) for e in far) > 1e7


def test_who_grows_slowly():
    assert grows_slowly(t64([-1.0, 0.5], [1.0, -1.0]), t64(1, 1))
    assert not grows_slowly(t64([-1.0, 2.0], [1.0, -1.0]), t64(1, 1))
    assert grows_slowly(t64([-1.0, 2.0], [1.0, -1.0]), t64(1, -1)) is False
    assert grows_slowly(t64([-1.0, -2.0], [-1.0, -1.0]), t64(1, 1))
    assert not grows_slowly(t64([1.0, 0.0], [0.0, -1.0]), t64(1, 1))
    assert grows_slowly(t64([1.0, 0.0], [0.0, -1.0]), t64(-1, 1))


def test_equal_steps_are_one_number_on_a_ray():
    S_BC, zero = t64([-1.0, 4.0], [0.0, -1.0]), torch.zeros(2, 2, dtype=torch.float64)
    end = first_token_end(S_BC, zero, t64(1, 1))  # both eigenvalues of S_BC are -1
    assert (end.kind, end.power) == ("blow-up", -0.5)
    assert end.time == pytest.approx(1 / (4 * LN2), rel=1e-12)
    assert run_alone((S_BC, zero, t64(1, 1)), 1.0).blow_up == pytest.approx(end.time, rel=1e-6)
    end = first_token_end(-S_BC, zero, t64(1, 1))
    assert (end.kind, end.constant) == ("to zero", pytest.approx((2 * LN2) ** -0.5))
    on_cone = t64(2 + math.sqrt(3), 1)
    assert first_token_end(S_BC, zero, on_cone).kind == "rest"
    slow = first_token_end(-S_BC.abs(), -torch.ones(2, 2, dtype=torch.float64), t64(1, 1))
    assert slow.kind == "to zero"
    slow = first_token_end(S_BC.abs(), -torch.ones(2, 2, dtype=torch.float64), t64(1, 1))
    assert slow.kind == "slow"
    assert slow.rates.tolist() == pytest.approx([0.5, 0.5])


def test_a_form_of_rank_one_touches_zero_and_holds_tokens_there():
    v = t64(1, -1)
    S_BC, S_Delta, x0 = -torch.outer(v, v), t64([1.0, 0.0], [0.0, 0.0]), t64(1.2, 1)
    end = first_token_end(S_BC, S_Delta, x0)
    assert (end.kind, end.power, end.exponent) == ("to the cone", -1.0, 0.0)
    assert float(end.limit @ v) == pytest.approx(0, abs=1e-9)
    run = run_alone((S_BC, S_Delta, x0), 1e5)
    law = float((run.last[0] - end.limit).norm()) * 1e5
    assert law == pytest.approx(end.constant, rel=1e-2)


def test_kappa_is_the_eigenvalue_on_the_cone(generator):
    S_BC, S_Delta = normal(generator, 2, 3, 3)
    for problem in zip(*draw(30, 3, generator), strict=True):
        end = first_token_end(*problem)
        if end.kind == "to the cone":
            p, (S_BC, S_Delta, _) = end.limit, problem
            jacobian = torch.autograd.functional.jacobian(
                lambda x, B=S_BC, T=S_Delta: first_velocity(B, T, x), p
            )
            values = torch.linalg.eigvals(jacobian).real
            kappa = float(cone_exponent(S_BC, S_Delta, p))
            assert float(values[values.abs().argmax()]) == pytest.approx(kappa, rel=1e-6)


def test_a_negative_definite_form_takes_bounded_tokens_to_zero(generator):
    S_BC = -torch.eye(3, dtype=torch.float64) + 2 * t64([0, 1, 0], [-1, 0, 1], [0, -1, 0])
    field = Unnormalised(S_BC, normal(generator, 3, 3), t64(1, 1, 1))
    run = simulate(field, 2 * normal(generator, 6, 3), t64(0, 1e6))
    assert run.blow_up == math.inf
    assert (run.slope + 0.5).abs().max() < 0.2
    assert run.last.norm(dim=-1).max() < 0.05


def test_zeros_stay_and_signs_of_the_first_token_too(generator):
    S_BC, S_Delta = normal(generator, 2, 3, 3)
    x0 = normal(generator, 3, 3)
    x0[0, 1], x0[1] = 0.0, 0.0
    run = simulate(Unnormalised(S_BC, S_Delta, t64(1, 1, 1)), x0, t64(0, 0.2, 0.4))
    assert (run.tokens[:, 1] == 0).all()
    assert (run.tokens[:, 0].sign() == x0[0].sign()).all()


def test_a_run_past_the_blow_up_says_when_and_which_token():
    field = Unnormalised(t64([1.0]), t64([0.0]), t64(1))
    run = simulate(field, t64([0.5], [2.0]), t64(0, 0.1, 5))
    assert run.first == 1
    assert run.times.tolist() == [0, 0.1]
    assert 0.15 < run.blow_up < 1 / (8 * LN2)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Unnormalised(t64([1.0]), t64([1.0]), t64(0)), "a: holds 0"),
        (lambda: Unnormalised(t64([1.0]), torch.eye(2, dtype=torch.float64), t64(1)), "D differs"),
        (lambda: Unnormalised(t64([math.nan]), t64([1.0]), t64(1)), "S_BC: holds NaN"),
        (lambda: Unnormalised(t64([1.0]), t64([1.0]), t64(1))(t64([1.0, 2.0])), "x: shape"),
        (lambda: first_token_end(t64([1.0]), t64([1.0]), t64(1, 2)), "x0: got shape"),
        (lambda: first_token_end(t64([1.0]), t64([1.0]), t64(1e200)), "x0: has a coordinate"),
        (lambda: first_token_end(t64([1.0]), t64([1.0]), t64(math.inf)), "x0: got NaN"),
        (lambda: run_alone((t64([1.0]), t64([1.0]), t64(2)), 1.0, bound=1), "bound: got 1"),
        (lambda: run_alone((t64([1.0]), t64([1.0]), t64(2)), -1.0), "times: got -1"),
        (lambda: blow_up_bounds(t64([1.0]), t64([1.0]), t64(1, 2)), "x: got shape"),
    ],
)
def test_bad_input_is_refused_by_name(call, said):
    with pytest.raises(ValueError, match=said):
        call()
