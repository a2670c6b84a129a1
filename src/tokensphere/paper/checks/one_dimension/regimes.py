"""Claims of the earlier paper on the line: which end, when, which token first, who with it."""

import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from operator import gt, mul, ne

import numpy as np
import sympy
import torch
from torch import Generator, Tensor

from tokensphere import symbolic
from tokensphere.one_dimension import (
    approach,
    blow_up_in_time,
    lives,
    predict,
    simulate,
    tie_of_two,
    time_alone,
    time_bounds,
)
from tokensphere.one_dimension.blowup import first_of_two, time_of_two
from tokensphere.one_dimension.field import symbolic_velocity
from tokensphere.paper import survey
from tokensphere.paper.checks import tools
from tokensphere.paper.ledger import Evidence, above, at_least, at_most, below, equal

LN2 = math.log(2.0)
Draw = tuple[float, float, float, list[float]]


def system_is_eq_6(generator: Generator, projected: bool) -> Evidence:
    """The field on the line against eq (6) with D = 1 in sympy, `projected` or not."""
    mu, s, a = sympy.symbols("mu s a")
    x = sympy.Matrix(sympy.symbols("x1:5"))
    delta = symbolic.steps(x, sympy.Matrix([[s]]))
    theirs = symbolic.hidden_attention(x, delta, [a], sympy.Matrix([[mu]]))[0] * x
    if projected:
        theirs = symbolic.project(x, theirs)
    ours = symbolic_velocity(list(x), mu, s, a)
    differ = sum(
        sympy.simplify(sympy.expand(one - other)) != 0
        for one, other in zip(ours, theirs, strict=True)
    )
    return Evidence([equal("tokens, of 4, with another velocity", differ, 0)])


def _draws(generator: Generator, lengths: list[int], signs: str = "") -> Iterator[Draw]:
    """mu > 0, s, a log-uniform from 0.05 to 5 and Gaussian tokens for each length; `signs`: that
    all s x are "negative" or "positive", or at least "one" of them is positive."""
    for length in lengths:
        mu, s = tools.normal(generator, 2).tolist()
        a = 0.05 * 100.0 ** float(tools.uniform(generator, 1))
        x0 = tools.normal(generator, length)
        if signs in ("negative", "positive"):
            x0 = x0.abs() * math.copysign(1.0, s) * (1 if signs == "positive" else -1)
        if signs == "one":
            x0[-1] = x0[-1].abs() * math.copysign(1.0, s)
        yield abs(mu) + 0.01, s, a, x0.tolist()


def _explodes(end: Tensor, x0: list[float]) -> bool:
    """Whether a token has grown a hundredfold."""
    start = torch.tensor(x0, dtype=torch.float64)
    return bool((end.abs() > 100.0 * start.abs())[start != 0].any())


def _end(mu: float, s: float, a: float, x0: list[float]) -> str:
    """What a run does: "to zero", "slow", "blow-up", "rest"; from trajectories alone."""
    try:
        run = simulate(mu, s, a, x0, [300.0, 1e4])
    except ValueError:  # past the blow-up, which a run without the clock must see too
        return "blow-up" if _explodes(blow_up_in_time(mu, s, a, x0)[2], x0) else "?"
    moving = run.log_x[0].isfinite()
    fall = run.log_x[:, moving] + 0.5 * run.log_times[:, None]  # ln of sqrt(t) |x|
    if not moving.any() or (run.log_x[-1, moving] == run.log_x[0, moving]).all():
        return "rest"
    if (fall.abs() < 20.0).all():
        return "to zero"
    return "slow" if (abs(s) * run.x[-1, moving].abs() > 0.99e4).all() else "?"


def scenario_by(generator: Generator, decides: str) -> Evidence:
    """Whether tokens vanish or grow without bound is told by the sign of "mu", or of "s"."""
    otherwise = runs = 0
    for mu, s, a, x0 in _draws(generator, [1, 2, 3, 6] * 2):
        for sign in (1.0, -1.0):
            vanish = _end(sign * mu, s, a, x0) == "to zero"
            said = sign < 0 if decides == "mu" else s < 0
            otherwise, runs = otherwise + (vanish != said), runs + 1
    return Evidence([equal("runs that end otherwise than said", otherwise, 0)], {"runs": runs})


def finite_time(generator: Generator, step: str) -> Evidence:
    """mu > 0 and some s x_l positive, or, if `step` is "shrinks", none: whether a token reaches
    infinity before its time alone, with ln 2 for the steps of those that shrink."""
    reached = runs = 0
    signs = "one" if step == "grows" else "negative"
    for mu, s, a, x0 in _draws(generator, [1, 2, 3, 6] * 4, signs):
        runs += 1
        if step == "grows":
            time, _, end = blow_up_in_time(mu, s, a, x0)
            limit = min(time_alone(mu, s, value) for value in x0)
            reached += time <= limit * (1 + 1e-8) and _explodes(end, x0)
        else:
            limit = 1.0 / (2.0 * mu * LN2 * max(value**2 for value in x0))
            try:
                simulate(mu, s, a, x0, [math.log(limit)])
            except ValueError:
                reached += 1
    return Evidence([equal("runs that blow up by then", reached, runs)], {"runs": runs})


def regimes(generator: Generator, zero_step: str) -> Evidence:
    """The table of ends over signs, zeros and s = 0, for which it says `zero_step`; and the bound
    of |x_l| where mu < 0."""
    otherwise, kinds, excess = 0, {}, -math.inf
    for number, (mu, s, a, x0) in enumerate(_draws(generator, [2, 3, 4, 5] * 5)):
        sign = (1.0, -1.0, 1.0, 0.0, 1.0)[number % 5]
        if number % 5 == 2:
            s = 0.0
        if number % 5 == 4:
            x0 = [-math.copysign(value, s) for value in x0]
        x0[number % len(x0)] = 0.0
        found = _end(sign * mu, s, a, x0)
        said = predict(sign * mu, s, a, x0).kind
        if s == 0.0 and said == "blow-up":
            said = zero_step
        otherwise += found != said
        kinds[found] = kinds.get(found, 0) + 1
        if sign < 0:
            run = simulate(-mu, s, a, x0, np.linspace(-3.0, 40.0, 60))
            x = torch.tensor(x0, dtype=torch.float64)
            floor = torch.nn.functional.softplus(-(s * x).abs())
            bound = 1.0 / x**2 + 2.0 * mu * floor * run.log_times.exp()[:, None]
            moving = x != 0.0
            excess = max(excess, float((run.x.square() * bound)[:, moving].max()))
    criteria = [
        equal("runs that end otherwise than said", otherwise, 0),
        below("largest x_l^2 by its bound, mu < 0", excess, 1.0 + 1e-7),
    ]
    return Evidence(criteria, {"runs": kinds})


def time_is_between(generator: Generator, low: str) -> Evidence:
    """Measured times by their bounds; `low`: from all tokens, or from the "largest alone"."""
    by_low, by_high, alone = [], [], []
    for mu, s, a, x0 in _draws(generator, [1, 2, 4, 8, 16] * 3, "one"):
        time, _, _ = blow_up_in_time(mu, s, a, x0)
        least, most = time_bounds(mu, s, a, x0)
        if low == "largest alone":
            top = max(abs(value) for value in x0)
            least = time_alone(mu, abs(s), top)
        by_low.append(time / least)
        by_high.append(time / most)
        if len(x0) == 1:
            alone.append(time / time_alone(mu, s, x0[0]) - 1.0)
    criteria = [
        at_least("least time by its lower bound", min(by_low), 1.0 - 1e-8),
        below("largest time by its upper bound", max(by_high), 1.0 + 1e-8),
        below("one token: largest relative error of its integral", tools.largest(alone), 1e-8),
    ]
    return Evidence(criteria, {"runs": len(by_low), "largest time by low": max(by_low)})


def diverge_together(generator: Generator, said: str) -> Evidence:
    """Which tokens are unbounded at the blow-up of the first: it and "all later" ones, or those
    that "drive themselves", s x > 0; none of them zero. The first is measured without the clock."""
    otherwise, passive, runs, moved = 0, 0, 0, 0.0
    for mu, s, a, x0 in _draws(generator, [2, 3, 5, 8] * 2, "one"):
        a, x0[0] = min(a, 0.5), 0.0 if len(x0) == 8 else x0[0]
        _, first, end = blow_up_in_time(mu, s, a, x0)
        if first is None:
            continue
        passive += s * x0[first] <= 0.0
        start = math.log(abs(x0[first]))
        run = approach(mu, s, a, x0, [start + 30.0, 1e12])
        grown = run.log_x[-1] - run.log_x[0]
        for l, value in enumerate(x0):
            alike = l >= first if said == "all later" else s * value > 0.0
            otherwise += (float(grown[l]) > 1e-9) != (alike and value != 0.0)
            if l < first and value:
                moved = max(moved, abs(float(run.log_x[-1, l] - end[l].abs().log())))
        runs += 1
    criteria = [
        equal("tokens that do otherwise than said", otherwise, 0),
        equal("first tokens with s x <= 0", passive, 0),
        below("largest late change of ln|x| before the first", moved, 1e-4),
        at_least("runs in which one is clearly first", runs, 4),
    ]
    return Evidence(criteria)


def two_without_step(generator: Generator, kappa: str) -> Evidence:
    """s = 0, two tokens: time and first token from r and kappa = "1 - 2^-a", or "2^-a"."""
    error, otherwise, runs = 0.0, 0, 0
    for mu, _, a, x0 in _draws(generator, [2] * 8):
        used = a if kappa == "1 - 2^-a" else -math.log2(-math.expm1(-a * LN2))
        time, first, _ = blow_up_in_time(mu, 0.0, a, x0)
        error = max(error, abs(time / time_of_two(mu, used, x0) - 1.0))
        if first is not None:
            otherwise, runs = otherwise + (first != first_of_two(used, x0)), runs + 1
    criteria = [
        below("largest relative error of the time", error, 1e-8),
        equal("another token is first than said", otherwise, 0),
        at_least("runs in which one is clearly first", runs, 4),
    ]
    return Evidence(criteria, {"runs": 8})


def ordered(generator: Generator, order: str) -> Evidence:
    """All s x > 0, or s = 0, moduli that "rise" or "fall" along the sequence, or are "equal":
    whether the last token, or, if they fall, the first token, blows up first."""
    otherwise, undecided, runs = 0, 0, 0
    for number, (mu, s, a, x0) in enumerate(_draws(generator, [2, 3, 5, 8] * 4, "positive")):
        s = 0.0 if number % 4 == 0 else s
        x0 = sorted(x0, key=abs, reverse=order == "fall")
        if order == "rise" and number % 3 == 0:
            x0, a = [x0[-1]] * len(x0), min(a, 0.3)  # with a large the last two tie to rounding
        wanted = 0 if order == "fall" else len(x0) - 1
        first = predict(mu, s, a, x0).first
        undecided += first is None
        otherwise += first not in (None, wanted)
        runs += 1
    criteria = [
        equal("runs in which another token is first than said", otherwise, 0),
        at_most("runs in which first ones agree to rounding", undecided, 3),
    ]
    return Evidence(criteria, {"runs": runs})


def leader_is_largest(generator: Generator, among: str) -> Evidence:
    """Where the first token of all blows up first it is the largest modulus among those with
    "s x > 0", or of "all"; and how often that suffices."""
    smaller = first_of_all = largest = 0
    for mu, s, a, x0 in _draws(generator, [2, 3, 4] * 8):
        x0[0] = math.copysign(x0[0], s)
        rivals = [abs(x) for x in x0[1:] if among == "all" or s * x > 0.0]
        top = abs(x0[0]) > max(rivals, default=0.0)
        if blow_up_in_time(mu, s, a, x0)[1] == 0:
            first_of_all += 1
            smaller += not top
        largest += top
    criteria = [
        equal("first tokens that blow up first and are not the largest", smaller, 0),
        above("first tokens that blow up first", first_of_all, 3),
    ]
    return Evidence(criteria, {"first tokens that are the largest": largest})


def tie_separates(generator: Generator, curve: str) -> Evidence:
    """Who of two is first, a thousandth on either side of the "tie", or of x_2 = sqrt(kappa) x_1,
    the "line" that is right for s = 0."""
    otherwise, runs, least = 0, 0, math.inf
    for mu, s, a, _ in _draws(generator, [2] * 4):
        for size in (1e-3, 0.5, 4.0):
            x1 = math.copysign(size, s) / abs(s)
            tie = tie_of_two(0.0 if curve == "line" else s, a, x1)
            steps = [math.log1p(math.exp(s * x)) for x in (x1, tie)]
            drives = steps[1] * tie**2 / (steps[0] * x1**2)
            least = min(least, drives + math.expm1(-a * steps[1]))
            for factor, first in ((0.999, 0), (1.001, 1)):
                otherwise += predict(mu, s, a, [x1, factor * tie]).first != first
                runs += 1
    criteria = [
        equal("another token is first than said", otherwise, 0),
        at_least("least ratio of drives less 1 - exp(-a Delta_2)", least, -1e-8),
    ]
    return Evidence(criteria, {"runs": runs})


def one_of_two(generator: Generator, reading: str) -> Evidence:
    """Either all tokens converge to zero or all diverge: "at one time", the end of the whole
    system's life, or each "at its own", the end of the life of the tokens up to it."""
    if reading == "at one time":
        return _at_one_time(generator)
    vanishing = diverging = runs = longer = 0
    for mu, s, a, x0 in _draws(generator, [1, 2, 4] * 2):
        vanishing += _end(-mu, s, a, x0) == "to zero"
        found = lives(mu, s, a, x0)
        longer += int((found[1:] > found[:-1]).sum())
        diverging += all(_unbounded(mu, s, a, x0[: l + 1]) for l in range(len(x0)))
        runs += 1
    criteria = [
        equal("runs with mu < 0 in which all vanish", vanishing, runs),
        equal("runs with mu > 0 in which each diverges at its own end", diverging, runs),
        equal("lives that end later with more tokens", longer, 0),
    ]
    return Evidence(criteria, {"runs of each sign": runs})


def _unbounded(mu: float, s: float, a: float, x0: list[float]) -> bool:
    """Whether the last token is unbounded at the end of the life of these."""
    if _end(mu, s, a, x0) == "slow":
        return True
    run = approach(mu, s, a, x0, [30.0, 1e12])
    # e^{-a Delta} hides what comes from the others behind a token that is far out already.
    hidden = s * x0[-1] > 0.0 and a * s * float(run.x[0, -1]) > 20.0
    return hidden or float(run.log_x[-1, -1] - run.log_x[0, -1]) > 1e-9


def _at_one_time(generator: Generator) -> Evidence:
    criteria, numbers = [], {}
    for length in (1, 2, 4, 8):
        count, apart = 16, 0
        for mu, s, a, x0 in _draws(generator, [length] * count):
            apart += predict(mu, s, a, x0).diverging != tuple(range(length))
        criteria.append(equal(f"L = {length}, mu > 0: of {count} runs, not so", apart, 0))
        low, high = survey.interval(apart, count)
        numbers[f"L = {length}: share, 95% interval"] = [apart / count, low, high]
        floor = 1.0 - (1.0 - 2.0**-length) / length - 2.0**-length
        numbers[f"L = {length}: at least, in probability"] = floor
    return Evidence(criteria, numbers)


def share_together(length: int) -> Fraction:
    """(1 - 2^-L)/L + 2^-L."""
    return (1 - Fraction(1, 2**length)) / length + Fraction(1, 2**length)


def _leads(x: Sequence[float]) -> bool:
    """Whether the first of s x is the largest of those that are positive, or none is."""
    return x[0] == max(x) or max(x) < 0


def together_at_most(generator: Generator, bound: str) -> Evidence:
    """mu > 0: all diverge at one time only if all are slow or the first leads those with s x > 0,
    and with a = 40 then; the probability of that is (1 - 2^-L)/L + 2^-L, "proved", or the 2^-L of
    "slow alone"."""
    criteria, numbers = [], {}
    for length, count in ((2, 24), (4, 16)):
        ranks = itertools.permutations(range(1, length + 1))
        signs = itertools.product((1, -1), repeat=length)
        starts = [list(map(mul, *pair)) for pair in itertools.product(ranks, signs)]
        said = share_together(length) if bound == "proved" else Fraction(1, 2**length)
        what = f"L = {length}: signs and orders, of {len(starts)}, in which all can"
        criteria.append(equal(what, sum(map(_leads, starts)), said * len(starts)))
        draws = list(_draws(generator, [length] * count))
        leads = [_leads([s * value for value in x0]) for _, s, _, x0 in draws]
        for name, rate in (("a drawn", None), ("a = 40", 40.0)):
            runs = (predict(mu, s, rate or a, x0) for mu, s, a, x0 in draws)
            together = [run.diverging == tuple(range(length)) for run in runs]
            # As drawn, a leaves it open whether those that can do.
            wrong = sum(map(gt if rate is None else ne, together, leads))
            criteria.append(equal(f"L = {length}, {name}: runs otherwise than said", wrong, 0))
            numbers[f"L = {length}, {name}: share of {count}"] = sum(together) / count
        numbers[f"L = {length}: probability"] = float(said)
    return Evidence(criteria, numbers)
