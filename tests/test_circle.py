"""Portraits on the circle against integration, spectra, and zeros found without the algebra."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from flint import acb, arb, arb_series, ctx, fmpq
from scipy.integrate import quad, solve_ivp

from tokensphere import circle, first_token
from tokensphere.circle import angular_field, gaussian_shares, isolate, portrait

AXIS, STEPS, FORM = circle.KINDS
I = ((1, 0), (0, 1))


def gaussian(seed):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 2, generator=g, dtype=torch.float64) for _ in range(2)]


def integers(seed):
    """Small integers: coincidences of all kinds, and everything zero now and then."""
    g = np.random.default_rng(seed)
    return g.integers(-2, 3, (2, 2)), g.integers(-2, 3, (2, 2))


def speed(S_BC, S_Delta):
    """F in float64, from first principles."""
    B, W = (np.array([[float(v) for v in row] for row in m]) for m in (S_BC, S_Delta))

    def F(t, phi):
        y = np.array([np.cos(phi[0]), np.sin(phi[0])])
        delta = np.logaddexp(0, y @ W)
        return [(y @ B @ y) * y[0] * y[1] * (delta[1] - delta[0])]

    return F


def test_names_are_those_of_first_token():
    assert first_token.KINDS[:3] == circle.KINDS


@pytest.mark.parametrize("seed", range(40))
def test_zeros_are_those_found_by_interval_evaluation(seed):
    p = portrait(*gaussian(seed))
    found = isolate(p.S_BC, p.S_Delta)
    assert len(found) == len(p.zeros)
    turn = 2 * arb.pi()
    for zero in p.zeros:
        inside = [
            e
            for e in found
            for angle in (zero.angle, zero.angle - turn)
            if as_ball(e.low) < angle and angle < as_ball(e.high)
        ]
        assert len(inside) == 1
        assert inside[0].slope == (1 if zero.leading > 0 else -1)
        assert zero.stability == ("repelling" if zero.leading > 0 else "attracting")


def as_ball(value):
    return value if isinstance(value, arb) else arb(fmpq(value.numerator, value.denominator))


@pytest.mark.parametrize("seed", range(60))
def test_signs_on_arcs_are_the_algebraic_ones(seed):
    p = portrait(*(integers(seed) if seed % 2 else gaussian(seed)))
    angles = [float(z.angle) for z in p.zeros] + [2 * math.pi]
    B, W = (np.array([[float(v) for v in row] for row in m]) for m in (p.S_BC, p.S_Delta))
    for sign, low, high in zip(p.signs, angles, angles[1:], strict=False):
        y = np.array([math.cos((low + high) / 2), math.sin((low + high) / 2)])
        assert sign == np.sign((y @ B @ y) * y[0] * y[1] * ((W[:, 1] - W[:, 0]) @ y))


@pytest.mark.parametrize("seed", range(60))
def test_order_and_leading_coefficient(seed):
    """F at a distance of 1e-20, with 400 bits: the next term changes the ratio by about 1e-20."""
    p = portrait(*(integers(seed) if seed % 2 else gaussian(seed)))
    with ctx.workprec(400):
        h = arb(10) ** -20
        for zero in p.zeros:
            angle = exact_angle(p, zero)
            ratio = angular_field(p.S_BC, p.S_Delta, angle + h) / h**zero.order / zero.leading
            assert abs(float(ratio) - 1) < 1e-12, zero


def exact_angle(p, zero):
    """The zero's angle at the precision in force, by Newton's method on the factors."""
    angle = arb(zero.angle.mid())
    (a, b), (c, d) = (map(as_ball, row) for row in p.S_BC)
    e, f = (as_ball(row[1] - row[0]) for row in p.S_Delta)
    for _ in range(8):
        x = arb_series([angle, 1], 2)
        u, v = x.cos(), x.sin()
        for kind, factor in {
            AXIS: u * v,
            STEPS: e * u + f * v,
            FORM: a * u * u + (b + c) * u * v + d * v * v,
        }.items():
            if kind in zero.kinds:
                # A double zero of the form is a simple zero of the form's derivative.
                value, slope = factor[0], factor[1]
                if abs(float(slope)) < 1e-9:
                    continue
                angle = (angle - value / slope).mid()
                break
        else:
            direction = arb.atan2(-as_ball(p.S_BC[0][0]), (b + c) / 2) if a != 0 else arb(0)
            turns = round(float((angle - direction) / arb.pi()))
            return direction + turns * arb.pi()
    return angle


@pytest.mark.parametrize("seed", range(20))
def test_the_series_is_the_derivative(seed):
    S_BC, S_Delta = gaussian(seed)
    with ctx.workprec(300):
        for angle in (arb("0.3"), arb(2), arb(-4)):
            h = arb(10) ** -30
            value, slope = angular_field(S_BC, S_Delta, arb_series([angle, 1], 2))
            there = angular_field(S_BC, S_Delta, angle + h)
            assert value.overlaps(angular_field(S_BC, S_Delta, angle))
            assert abs((there - value) / h - slope) < 1e-25  # h F'' / 2
    wide = angular_field(S_BC, S_Delta, arb_series([arb(1, "0.05"), 1], 2))
    for angle in (arb("0.96"), arb(1), arb("1.04")):
        narrow = angular_field(S_BC, S_Delta, arb_series([angle, 1], 2))
        assert all(wide[k].contains(narrow[k]) for k in (0, 1))


@pytest.mark.parametrize("seed", range(40))
def test_slopes_are_the_jacobian(seed):
    p = portrait(*gaussian(seed))
    S_BC, S_Delta = gaussian(seed)
    for zero in p.zeros:
        angle = float(zero.angle)
        y = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
        slope = float(first_token.jacobian(S_BC, S_Delta, y))
        # Rounding of the angle times F'', which is of the order of the parameters' squares.
        assert slope == pytest.approx(
            float(zero.leading), abs=1e-13 * (1 + float(S_Delta.norm())) ** 4
        )


@pytest.mark.parametrize("seed", range(40))
def test_limits_are_where_integration_goes(seed):
    p = portrait(*(integers(seed) if seed % 2 else gaussian(seed)))
    start = np.random.default_rng(seed).uniform(-7, 7)
    limit = p.limit(start)
    if not p.zeros:
        assert limit.stability == "neutral" and limit.kinds == p.everywhere
        return
    run = solve_ivp(
        speed(p.S_BC, p.S_Delta), (0, 1e4), [start], rtol=1e-8, atol=1e-10, method="LSODA"
    )
    end = run.y[0, -1]
    # The slowest allowed for: order 4, (3 k t)^(-1/3) with k of order 0.1.
    gap = abs((end - float(limit.angle) + math.pi) % (2 * math.pi) - math.pi)
    assert gap < (1e-6 if limit.order == 1 and abs(limit.leading) > 0.01 else 0.2)


@pytest.mark.parametrize("seed", range(30))
def test_of_two_antipodes_one_attracts_or_both_do_by_half(seed):
    p = portrait(*(integers(seed) if seed % 2 else gaussian(seed)))
    n = len(p.zeros) // 2
    for zero, opposite in zip(p.zeros[:n], p.zeros[n:], strict=True):
        assert (zero.kinds, zero.order) == (opposite.kinds, opposite.order)
        if zero.order % 2:
            assert {zero.stability, opposite.stability} == {"attracting", "repelling"}
        else:
            sides = {"attracting from below", "attracting from above"}
            assert {zero.stability, opposite.stability} == sides


@pytest.mark.parametrize("seed", range(20))
def test_a_definite_form_sends_a_quarter_to_equal_steps(seed):
    B, W = gaussian(seed)
    sign = (-1) ** seed
    shares = portrait(sign * (B @ B.mT + 0.1 * torch.eye(2)), W).shares()
    assert shares.keys() == {(AXIS,), (STEPS,)}
    assert shares[AXIS,].contains(fmpq(3, 4)) and shares[STEPS,].contains(fmpq(1, 4))
    assert shares[AXIS,].rad() < 1e-30


def test_only_the_symmetric_part_counts():
    W = ((1, 2), (0, "1/3"))
    one, other = portrait(((1, 5), (-1, -3)), W), portrait(((1, 2), (2, -3)), W)
    assert [z.kinds for z in one.zeros] == [z.kinds for z in other.zeros]
    assert all(a.angle.overlaps(b.angle) for a, b in zip(one.zeros, other.zeros, strict=True))
    assert one.signs == other.signs


@pytest.mark.parametrize(
    ("S_BC", "d", "kinds", "order", "stability"),
    [
        (I, (1, 0), {AXIS, STEPS}, 2, "attracting from below"),
        (((1, 0), (0, 0)), (1, 1), {AXIS, FORM}, 3, "attracting"),
        (((1, 0), (0, 0)), (1, 0), {AXIS, STEPS, FORM}, 4, "attracting from below"),
        (((0, 1), (1, 0)), (1, 1), {AXIS, FORM}, 2, "attracting from below"),
        (((0, 1), (1, 0)), (1, 0), {AXIS, STEPS, FORM}, 3, "attracting"),
        (((0, -1), (-1, 0)), (-1, 1), {AXIS, FORM}, 2, "attracting from above"),
        (((0, -1), (-1, 0)), (1, 0), {AXIS, STEPS, FORM}, 3, "repelling"),
    ],
)
def test_coincidences_at_e_2(S_BC, d, kinds, order, stability):
    p = portrait(S_BC, ((0, d[0]), (0, d[1])))
    zero = next(z for z in p.zeros if z.angle.overlaps(arb.pi() / 2))
    assert (set(zero.kinds), zero.order) == (kinds, order)
    assert p.limit((0, 7)) == zero
    assert zero.stability == stability
    with pytest.raises(RuntimeError, match="undecided"):
        isolate(p.S_BC, p.S_Delta)


def test_lines_that_nearly_coincide_are_told_apart():
    for gap in (Fraction(1, 10**40), -Fraction(1, 10**40)):
        p = portrait(I, ((0, 1), (0, gap)))
        assert len(p.zeros) == 6
        assert {z.order for z in p.zeros} == {1}
        assert p.shares()[STEPS,].contains(fmpq(1, 4))
    exact = portrait(I, ((0, 1), (0, 0)))
    assert len(exact.zeros) == 4
    # q(1, 1) = 0 exactly, and not by one part in 10^30.
    assert len(portrait(((1, -1), (-1, 1)), ((0, 1), (0, -1))).zeros) == 6
    off = 1 - Fraction(1, 10**30)
    assert len(portrait(((1, -1), (-1, off)), ((0, 1), (0, -1))).zeros) == 10


def test_a_start_is_taken_exactly():
    p = portrait(((1, 0), (0, -2)), ((0, 2), (0, 3)))
    assert p.limit(0) == p.zeros[0] == p.limit((5, 0))
    assert p.limit((-1, 0)).angle.overlaps(arb.pi())
    xi = p.limit((-3, 2))
    assert xi.kinds == (STEPS,) and p.limit((3, -2)).angle.overlaps(xi.angle + arb.pi())
    beside = {p.limit((-3 * 10**40 + k, 2 * 10**40)).kinds for k in (-1, 1)}
    assert beside == ({(STEPS,)} if xi.stability == "attracting" else beside - {(STEPS,)})
    near_pi = Fraction(math.pi)  # below pi by 1e-16
    assert p.limit(near_pi) == p.limit(math.pi) == p.limit(near_pi - Fraction(1, 10**30))
    turn = 2 * Fraction(arb.pi().mid().str(15, radius=False))
    assert p.limit(1 + 10**3 * turn) == p.limit(1)
    assert p.limit(torch.tensor([1.0, 1.0])) == p.limit((1, 1)) == p.limit(("1/7", "1/7"))


@pytest.mark.parametrize(
    ("S_BC", "S_Delta", "everywhere"),
    [
        (((0, 1), (-1, 0)), ((1, 2), (3, 4)), (FORM,)),
        (I, ((1, 1), (2, 2)), (STEPS,)),
        (((0, 0), (0, 0)), ((0, 0), (0, 0)), (STEPS, FORM)),
    ],
)
def test_where_everything_rests(S_BC, S_Delta, everywhere):
    p = portrait(S_BC, S_Delta)
    assert (p.zeros, p.signs, p.everywhere) == ((), (), everywhere)
    limit = p.limit((0, -1))
    assert (limit.kinds, limit.order, limit.stability) == (everywhere, 0, "neutral")
    assert limit.angle.overlaps(3 * arb.pi() / 2)
    assert p.shares() == {everywhere: arb(1)}
    with pytest.raises(RuntimeError, match="undecided"):
        isolate(S_BC, S_Delta)


@pytest.mark.parametrize(
    "bad",
    [1, "ab", ((1, 0),), ((1, 0, 0), (0, 1, 0)), ((1, math.nan), (0, 1)), ((1, math.inf), (0, 1)),
     ((1, "x"), (0, 1)), ((1, None), (0, 1)), ((1, 1j), (0, 1)), ((1, "1/0"), (0, 1)),
     ((True, 0), (0, 1)), torch.eye(3), None],
)  # fmt: skip
def test_bad_parameters_are_named(bad):
    for function in (portrait, isolate):
        with pytest.raises(ValueError, match="^S_BC: got .*, takes finite rational"):
            function(bad, I)
        with pytest.raises(ValueError, match="^S_Delta: got .*, takes finite rational"):
            function(I, bad)


@pytest.mark.parametrize("bad", [None, "x", (0, 0), (1, 2, 3), math.nan, (1, math.inf), True])
def test_bad_starts_are_named(bad):
    with pytest.raises(ValueError, match="^start: takes"):
        portrait(I, ((0, 2), (0, 3))).limit(bad)


def test_steps_far_apart_and_the_precision_is_restored():
    before = ctx.prec
    p = portrait(I, ((-(10**6), 1 - 10**6), (0, 1)))  # both steps near exp(-1e6) about e_1
    assert len(p.zeros) == 6 and p.shares()[STEPS,].contains(fmpq(1, 4))
    p.limit(1)
    isolate(*(m.tolist() for m in gaussian(0)))
    gaussian_shares()
    assert ctx.prec == before


def test_gaussian_shares_are_the_integrals_over_gaps():
    """Each share from its own integral; H is the distance of the zeros of the form."""
    got = gaussian_shares()
    assert sum(got.values()).contains(1)
    weight = lambda h: math.sin(h) / 2 * (1 + math.cos(h) ** 2) ** -1.5  # noqa: E731
    axis = lambda s: max(0, 1 - 2 * s / math.pi)  # noqa: E731

    def free(s, h):
        """P(no zero of the form in an interval of length s)."""
        overlap = max(0, s - h) + max(0, s - math.pi + h)
        return 1 - (2 * s - overlap) / math.pi

    def expected(before, given):
        total = 0.0
        for low, high in ((0, math.pi / 2), (math.pi / 2, math.pi)):
            points, weights = np.polynomial.legendre.leggauss(40)
            for x, w in zip(points, weights, strict=True):
                h = (low + high) / 2 + x * (high - low) / 2
                inner = quad(lambda s, h=h: before(s) * given(s, h), 0, math.pi / 2, points=[h])[0]
                total += w * (high - low) / 2 * weight(h) * inner
        rest = quad(before, 0, math.pi / 2)[0]
        return total, (1 - 1 / math.sqrt(2)) * rest

    xi = lambda s: 1 - s / math.pi  # noqa: E731
    steps = sum(expected(axis, free)) / math.pi
    axes = 2 * sum(expected(xi, free)) / math.pi
    form = 2 * expected(lambda s: axis(s) * xi(s), lambda s, h: float(s < h))[0] / math.pi
    # Quadrature across kinks at s = h, which quad is told of.
    for kind, value in ((AXIS, axes), (STEPS, steps), (FORM, form)):
        assert float(got[kind]) == pytest.approx(value, abs=1e-8)


def test_gaussian_shares_are_what_portraits_give():
    total = dict.fromkeys(circle.KINDS, 0.0)
    for seed in range(400):
        for (kind,), share in portrait(*gaussian(seed)).shares().items():
            total[kind] += float(share) / 400
    # Standard deviations of one portrait's shares are below 0.2: four standard errors.
    for kind, share in gaussian_shares().items():
        assert abs(total[kind] - float(share)) < 4 * 0.2 / 20


def test_the_trilogarithm_is_the_integral():
    with ctx.workprec(128):
        k = 1 / arb(2).sqrt()
        J = acb.integral(lambda h, _: h * (h.sin() * k).asin(), 0, acb.pi() / 2).real
        chi = acb.integral(lambda h, _: (h.sin() * k).asin(), 0, acb.pi() / 2).real
        want = fmpq(1, 4) - k / 24 - chi / arb.pi() ** 2 + 2 * J / arb.pi() ** 3
        assert want.overlaps(gaussian_shares()[STEPS]) and want.rad() < 1e-25
    assert all(share.rad() < 1e-30 for share in gaussian_shares().values())


def test_signs_that_disagree_with_the_order_of_a_zero_are_an_error(monkeypatch):
    leading = circle.phase.leading
    monkeypatch.setattr(circle.phase, "leading", lambda *given: -leading(*given))
    with pytest.raises(RuntimeError, match="signs of F disagree"):
        portrait(I, ((1, 0), (0, 2)))
