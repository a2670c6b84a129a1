"""Claims on tokens in R^D without normalisation: first tokens, later ones, what a norm changes."""

import math

import torch
from torch import Generator, Tensor
from torch.nn.functional import softplus

from tokensphere.first_token import zeros
from tokensphere.paper.checks import tools
from tokensphere.paper.ledger import Evidence, above, at_least, at_most, below, equal
from tokensphere.unnormalised import (
    Unnormalised,
    blow_up_bounds,
    cone_exponent,
    first_token_end,
    first_token_kind,
    form,
    simulate,
    slow_rates,
)
from tokensphere.unnormalised.census import FIRST, draw, kinds_together, sequence_end


def _t(*rows: object) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def _alone(S_BC: Tensor, S_Delta: Tensor, x0: Tensor, times: list[float]):
    field = Unnormalised(S_BC, S_Delta, torch.ones_like(x0))
    return simulate(field, x0[None], torch.tensor([0.0, *times], dtype=torch.float64))


def dichotomy(generator: Generator, ends: list[str]) -> Evidence:
    """First tokens, Gaussian parameters, 300 each for D = 2, 3, 8: those that end as not said."""
    criteria, numbers = [], {}
    for dim in (2, 3, 8):
        kinds = kinds_together(*draw(300, dim, generator))
        counts = {name: int((kinds == k).sum()) for k, name in enumerate(FIRST)}
        other = sum(count for name, count in counts.items() if name not in ends)
        criteria.append(equal(f"first tokens that end elsewhere, D = {dim}", other, 0))
        if "to the cone" in ends:
            resting = counts["to the cone"] / 300
            criteria.append(above(f"share that ends at the cone, D = {dim}", resting, 0.1))
        numbers[f"ends, D = {dim}"] = counts
    return Evidence(criteria, numbers)


def sorted_by(generator: Generator, matrix: str) -> Evidence:
    """Definite by the eigenvalues of S_C^T S_B or of its symmetric part: does that say the sign?

    Twice 300 Gaussian draws in D = 2 whose two eigenvalues have one sign, and matrices by hand.
    """
    hand = _t([[-1, 4], [0, -1]], [[1, 4], [0, 1]])
    starts = _t([1, 1], [1, -1])
    S_BC, _, x0 = draw(2000, 2, generator)
    if matrix == "symmetric part":
        hand, S_BC = (hand + hand.mT) / 2, (S_BC + S_BC.mT) / 2
    wrong, seen = {-1: 0, 1: 0}, {-1: 0, 1: 0}
    real = torch.linalg.eigvals(S_BC).real
    q = (x0 * (S_BC @ x0.unsqueeze(-1)).squeeze(-1)).sum(-1)
    for sign in (-1, 1):
        same = (sign * real > 0).all(-1)
        seen[sign], wrong[sign] = int(same.sum()), int((same & (sign * q < 0)).sum())
    zero = torch.zeros(2, 2, dtype=torch.float64)
    by_hand = []
    for S, x in zip(hand, starts, strict=True):
        values = torch.linalg.eigvals(S).real
        said = "blow-up" if (values > 0).all() else "to zero" if (values < 0).all() else None
        by_hand.append(said is not None and first_token_kind(S, zero, x) != said)
    criteria = [
        equal("negative eigenvalues, q > 0: first tokens that grow", wrong[-1], 0),
        equal("positive eigenvalues, q < 0: first tokens that shrink", wrong[1], 0),
        equal("examples by hand that do other than the eigenvalues say", sum(by_hand), 0),
        at_least("draws of each sign", min(seen.values()), 100),
    ]
    return Evidence(criteria)


def sign_is_kept(generator: Generator, token: int) -> Evidence:
    """The sign of q(x_l) along 20 runs of two tokens in D = 3, and the moduli's direction."""
    flips, against = 0, 0
    for S_BC, S_Delta, x0 in zip(*draw(20, 3, generator), strict=True):
        both = torch.stack([x0, x0.roll(1)])
        field = Unnormalised(S_BC, S_Delta, _t(1, 1, 1))
        run = simulate(field, both, tools.times(2.0, 41), bound=8.0, rtol=1e-8)
        x = run.tokens[:, token]
        q = form(S_BC, x)
        # On the cone q is rounding.
        clear = q.abs() > 1e-6 * x.square().sum(-1)
        flips += int((clear & (q.sign() != q[0].sign())).any())
        growth = x.abs().diff(dim=0) * q[0].sign()
        against += int((growth < -1e-6 * x.abs().amax()).any())
    criteria = [
        equal("runs in which q changes its sign", flips, 0),
        equal("runs in which a modulus turns", against, 0),
    ]
    return Evidence(criteria, {"runs": 20})


def all_to_zero(generator: Generator, negative: str) -> Evidence:
    """Sequences of 4 tokens: 6 matrices with a negative definite "symmetric part", or 6 with
    negative "eigenvalues" alone, from starts where q is largest."""
    failing, slopes = 0, []
    for _ in range(6):
        if negative == "eigenvalues":
            S_BC = -torch.eye(3, dtype=torch.float64) + 4 * tools.normal(generator, 3, 3).triu(1)
        else:
            S_BC = tools.normal(generator, 3, 3)
            S_BC = S_BC - S_BC.mT - torch.diag(_t(0.5, 1, 2))
        axis = torch.linalg.eigh((S_BC + S_BC.mT) / 2).eigenvectors[:, -1]
        x0 = torch.stack([axis, *tools.unit(tools.normal(generator, 3, 3))])
        S_Delta = tools.normal(generator, 3, 3)
        if first_token_kind(S_BC, S_Delta, axis) != "to zero":
            failing += 1
            continue
        run = simulate(Unnormalised(S_BC, S_Delta, _t(1, 1, 1)), x0, _t(0, 1e4), rtol=1e-7)
        failing += run.first is not None or float(run.last.norm(dim=-1).max()) > 0.2
        slopes += run.slope.tolist()
    numbers = {"d ln|x| / d ln t at 1e4, all": sorted(slopes)} if slopes else {}
    return Evidence([equal("sequences that do not tend to zero", failing, 0)], numbers)


def escape(generator: Generator, power: bool) -> Evidence:
    """S_BC = -I + skew: the second token's length at t = 4e4; or its growth by the "power"."""
    S_BC, S_Delta = _t([-1, -9], [9, -1]), _t([0, 0], [5, -5])
    x0 = _t([0.02, 0.02], [0.0, 5.0])
    v = first_token_end(S_BC, S_Delta, x0[0]).direction
    said = float(v[1] * (S_BC @ v)[1]) / 2
    run = simulate(Unnormalised(S_BC, S_Delta, _t(1, 1)), x0, _t(0, 4e4))
    lengths, growth = run.last.norm(dim=-1), float(run.slope[1])
    if power:
        # The first token's length has its constant up to O(t^{-1/2}), 0.04 after its start.
        judge = [below("relative error of the power", abs(growth / said - 1), 0.05)]
    else:
        judge = [below("length of the second token at t = 4e4", float(lengths[1]), 0.1)]
    return Evidence(judge, {"lengths": lengths.tolist(), "power": growth, "of the formula": said})


def forms_rise(generator: Generator, skew: float) -> Evidence:
    """q(x_l) along 6 sequences of 4 tokens of length 2, D = 3, shared steps and rates, negative
    definite symmetric part; and whether all tokens are short at t = 1e4."""
    falls, longest = 0.0, 0.0
    for _ in range(6):
        G = tools.normal(generator, 3, 3)
        S = -(torch.eye(3, dtype=torch.float64) + G @ G.mT) / 3
        S_BC = S + skew * (G - G.mT)
        S_Delta = tools.normal(generator, 3, 1).expand(3, 3)
        x0 = 2 * tools.unit(tools.normal(generator, 4, 3))
        at = torch.cat([tools.times(2.0, 21), _t(1e4)])
        run = simulate(Unnormalised(S_BC, S_Delta, _t(1, 1, 1)), x0, at)
        q = form(S, run.tokens)
        falls = min(falls, float((q.diff(dim=0) / q.abs().amax()).min()))
        longest = max(longest, float(run.last.norm(dim=-1).max()))
    criteria = [
        above("largest fall of a form, by the largest form", falls, -1e-7),
        below("longest token at t = 1e4", longest, 0.2),
    ]
    return Evidence(criteria)


def decay_constant(generator: Generator, direction: str) -> Evidence:
    """|x| sqrt(t) at t = 1e6 against (2 ln 2 |q(v)|)^{-1/2}, v the limit of the direction, or that
    of the "start"."""
    errors = []
    for S_BC, S_Delta, x0 in zip(*draw(25, 3, generator), strict=True):
        end = first_token_end(S_BC, S_Delta, x0)
        if end.kind != "to zero" or float(form(S_BC, end.direction)) > -0.1:
            continue
        v = end.direction if direction == "limit" else x0
        predicted = (2 * math.log(2) * -float(form(S_BC, v))) ** -0.5
        run = _alone(S_BC, S_Delta, x0, [1e6])
        errors.append(abs(float(run.last.norm()) * 1e3 / predicted - 1))
    criteria = [
        at_least("tokens to zero", len(errors), 5),
        below("largest relative error of the constant", max(errors), 0.02),
    ]
    return Evidence(criteria)


def exponent_at_cone(generator: Generator, at: str) -> Evidence:
    """The rate of ln|q| near the limit p, against kappa(p) at the "point", or at p/|p| ("unit")."""
    errors = []
    problems = draw(300, 3, generator)
    there = kinds_together(*problems) == FIRST.index("to the cone")
    for S_BC, S_Delta, x0 in zip(*(part[there] for part in problems), strict=True):
        end = first_token_end(S_BC, S_Delta, x0)
        if len(errors) == 4 or end.kind != "to the cone" or not -5 < end.exponent < -0.2:
            continue
        p = end.limit if at == "point" else end.limit / end.limit.norm()
        kappa = float(cone_exponent(S_BC, S_Delta, p))
        times = [12 / -end.exponent, 14 / -end.exponent]
        run = _alone(S_BC, S_Delta, x0, times)
        q = form(S_BC, run.tokens[1:, 0]).abs()
        if float(q[0]) > 1e-3 * float(end.limit.square().sum()):
            continue  # still on its way: the rate is off by O(|q|)
        fitted = float(q.log().diff()) / (times[1] - times[0])
        errors.append(abs(fitted / kappa - 1))
    criteria = [
        at_least("tokens to the cone", len(errors), 3),
        below("largest relative error of the exponent", max(errors), 0.02),
    ]
    return Evidence(criteria, {"exponents": len(errors)})


def slow_growth(generator: Generator, rates: str) -> Evidence:
    """Growth of |x_d| between t = 1e60 and 1e120 by that of ln t, against eta; or against 1/|M_dd|
    ("alone")."""
    errors, shut = [], []
    for _ in range(2):
        S_Delta = 0.4 * tools.normal(generator, 3, 3)
        S_Delta -= torch.diag(1.5 + tools.uniform(generator, 3))
        S_Delta[0, 2], x0 = -3.0, tools.uniform(generator, 3) + 0.5
        eta = slow_rates(S_Delta, x0)
        if eta is None:  # not dominated by its diagonal
            S_Delta[0, 2] = -1.0
            eta = slow_rates(S_Delta, x0)
        said = eta if rates == "eta" else -1 / S_Delta.diagonal()
        run = _alone(torch.eye(3, dtype=torch.float64), S_Delta, x0, [1e60, 1e120])
        growth = (run.last[0] - run.tokens[1, 0]) / (60 * math.log(10))
        errors.append(float((growth - said).abs().max() / said.max()))
        shut.append(int((eta == 0).sum()))
    # |x_d| = eta_d ln t + O(ln ln t), which grows by ln 2 and a few where ln t grows by 138.
    criteria = [below("largest error of a growth rate, by the largest", max(errors), 0.03)]
    return Evidence(criteria, {"coordinates that stay bounded": shut})


def blow_up_time(generator: Generator, swapped: bool) -> Evidence:
    """Blow-up times of runs in t inside the bounds, positive definite forms and growing steps; and
    against those of the orbit. `swapped`: bounds exchanged."""
    problems = []
    for _ in range(5):
        S_BC = zeros.form_with_eigenvalues(0.5 + tools.uniform(generator, 3), generator)
        S_Delta, x0 = tools.normal(generator, 3, 3), tools.uniform(generator, 3) + 0.2
        S_Delta[:, 0] = S_Delta[:, 0].abs()
        problems.append((S_BC, S_Delta, x0))
    problems += _sharp_times()
    inside, off, by_low, by_high = 0, [], [], []
    for S_BC, S_Delta, x0 in problems:
        end = first_token_end(S_BC, S_Delta, x0)
        run = _alone(S_BC, S_Delta, x0, [1.01 * end.time])
        low, high = blow_up_bounds(S_BC, S_Delta, x0)[:: -1 if swapped else 1]
        # The integrals are exact to 1e-8.
        inside += low * (1 - 1e-7) <= run.blow_up <= high * (1 + 1e-7)
        off.append(abs(run.blow_up / end.time - 1))
        by_low.append(end.time / low)
        by_high.append(end.time / high)
    criteria = [
        equal("times inside their bounds, of 7", inside, 7),
        below("largest relative difference of the times", max(off), 1e-6),
    ]
    numbers = {"least time by its lower bound": min(by_low)}
    return Evidence(criteria, numbers | {"largest time by its upper bound": max(by_high)})


def _sharp_times() -> list[tuple[Tensor, Tensor, Tensor]]:
    """S_BC, S_Delta and x, with S_BC = I, where the bounds are sharp. The lower: all steps are
    those along x. The upper: coordinates beside the first are 0.01, and do not grow."""
    eye, along = torch.eye(3, dtype=torch.float64), _t(0.5, 1, 2)
    still = _t((1, -9, -9), (0, 0, 0), (0, 0, 0))
    return [(eye, along[:, None].expand(3, 3), along / 4), (eye, still, _t(1, 0.01, 0.01))]


def later_tokens(generator: Generator, said: str) -> Evidence:
    """Sequences of 4 tokens, D = 2, 16 draws: all end as "one of two", or "some do neither"."""
    S_BC, S_Delta, _ = draw(16, 2, generator)
    x0 = tools.unit(tools.normal(generator, 16, 4, 2))
    a = _t(1, 1)
    ends = [
        sequence_end(Unnormalised(B, T, a), x) for B, T, x in zip(S_BC, S_Delta, x0, strict=True)
    ]
    neither = sum(end in ("blow-up, later token", "rest, not all zero") for end in ends)
    what = "sequences of which the first token is finite at a blow-up, or some rest"
    judge = equal(what, neither, 0) if said == "one of two" else above(what, neither, 2)
    return Evidence([judge], {"ends": {end: ends.count(end) for end in sorted(set(ends))}})


def second_token(generator: Generator, full: bool) -> Evidence:
    """The Jacobian of x_2 at zero when x_1 rests at p: its eigenvalue against lambda of S_BC; or of
    the symmetric part, if not `full`."""
    errors, positive = [], 0
    for _ in range(20):
        S_BC = zeros.form_with_eigenvalues(_t(-1, 0.5, 1), generator)
        S_Delta, a = tools.normal(generator, 3, 3), tools.uniform(generator, 3) + 0.1
        p = zeros.unit_zero(S_BC)
        field = Unnormalised(S_BC, S_Delta, a)
        jacobian = torch.autograd.functional.jacobian(
            lambda x, field=field, p=p: field.velocity(torch.stack([p, x]))[1], torch.zeros_like(p)
        )
        seen = S_BC if full else (S_BC + S_BC.mT) / 2
        said = float((2**-a * softplus(p @ S_Delta) * p * (seen @ p)).sum())
        errors.append(abs(float(jacobian.trace()) - said))
        positive += said > 0
    criteria = [below("largest difference of the eigenvalue", max(errors), 1e-10)]
    return Evidence(criteria, {"positive, so that zero repels, of 20": positive})


def same_at_unit_zeros(generator: Generator, radius: float) -> Evidence:
    """kappa at radius * p without normalisation against that of the sphere at p, 200 zeros."""
    differences, signs = [], 0
    for _ in range(10):
        S_BC = zeros.form_with_eigenvalues(_t(-1, 0.5, 1), generator)
        S_Delta = 2 * tools.normal(generator, 3, 3)
        p = zeros.random_zeros(S_BC, 20, generator)
        sphere, _ = zeros.inflow(S_BC, S_Delta, p)
        free = cone_exponent(S_BC, S_Delta, radius * p)
        differences.append(float((free - sphere).abs().max()))
        signs += int((free.sign() != sphere.sign()).sum())
    criteria = [
        at_most("zeros that attract in one and repel in the other", signs, 0),
        below("largest difference of the eigenvalue", max(differences), 1e-12),
    ]
    return Evidence(criteria)
