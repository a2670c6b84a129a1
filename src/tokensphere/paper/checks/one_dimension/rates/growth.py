"""mu > 0: slow growth where no s x is positive, and blow-up elsewhere."""

import math
from itertools import combinations, pairwise

import numpy as np
import torch
from scipy.integrate import quad
from scipy.special import expi
from torch import Generator, Tensor

from tokensphere.one_dimension import (
    approach,
    blowup,
    growth,
    last_growth,
    predict,
    simulate,
    time_alone,
)
from tokensphere.one_dimension.slopes import slopes
from tokensphere.paper.checks import tools
from tokensphere.paper.ledger import Evidence, above, at_least, at_most, below, equal

from ._draws import parameters

LN2 = math.log(2.0)


def first_slow_token(generator: Generator, logarithms: int) -> Evidence:
    """|s x| of the first token at ln t = 1e5 less ln t + `logarithms` ln ln t + ln(mu/s^2)."""
    off, closer = [], []
    for _ in range(3):
        mu, s, a = parameters(generator)
        start = -float(tools.normal(generator, 1).exp())
        y = s * float(simulate(mu, s, a, [start], [1e5]).log_x[0, 0].exp())
        off.append(y - 1e5 - logarithms * math.log(1e5) - math.log(mu / s**2))
        closer.append(y - growth.first_token(mu, s, 1e5))
    criteria = [
        # The next terms are (9 ln ln t + 3 ln(mu/s^2) - 3) / ln t, about 1e-3.
        below("largest difference from the terms as said", tools.largest(off), 5e-3),
        # 1e5 times the integration's 1e-8.
        below("largest difference from the implicit equation", tools.largest(closer), 5e-3),
    ]
    return Evidence(criteria, {"starts": 3, "ln t": 1e5})


def _slow(generator: Generator, length: int, least_a: float = 0.1):
    """mu, s, a and tokens that are not zero, with no s x positive."""
    mu, s, a = parameters(generator, least_a)
    return mu, s, a, (-tools.normal(generator, length).abs() - 0.05).tolist()


def log_powers_bound(generator: Generator, factor: float) -> Evidence:
    """|x_l| = O((ln t)^{factor l}), l from 1: by how much the quotient grows, the most over tokens,
    from ln t = 1e3 to 1e5."""
    grown = []
    for _ in range(3):
        mu, s, a, x0 = _slow(generator, 4)
        log_x = simulate(mu, s, a, x0, [1e3, 1e5]).log_x
        powers = factor * torch.arange(1, 5) * math.log(100.0)
        grown.append(log_x[1] - log_x[0] - powers)
    said = "largest growth of |x_l| / (ln t)^(factor l), ln t from 1e3 to 1e5, as a factor"
    growths = torch.stack(grown).amax(0).exp()
    return Evidence([at_most(said, growths.max(), 1.0)], {"by token": growths.tolist()})


def slow_order(generator: Generator, said: str) -> Evidence:
    """The exponent of ln t in |x_l|, from ln t = 1e4 to 1e5: "one", or the token's "position"."""
    found = []
    for _ in range(3):
        mu, s, a, x0 = _slow(generator, 4)
        found.append(simulate(mu, s, a, x0, [1e4, 1e5]).log_x.diff(dim=0)[0] / math.log(10.0))
    found = torch.stack(found)
    wanted = torch.ones(4) if said == "one" else torch.arange(1.0, 5.0)
    # 3 ln ln t / ln t is 3e-3 at the first of the two.
    off = (found - wanted).abs().max()
    numbers = {"least": float(found.min()), "largest": float(found.max())}
    return Evidence([below("largest difference from the exponent as said", off, 0.01)], numbers)


def slow_constants(generator: Generator, said: str) -> Evidence:
    """lim |s x_l| / ln t for four tokens that are not zero: above 1 but for the first, "in no
    order"; or in the order of "positions"."""
    rho, settled = [], 0.0
    for k in range(8):
        mu, s, a, x0 = _slow(generator, 4)
        rho.append(slopes(mu, s, a, x0))
        if k < 3:
            log_x = simulate(mu, s, a, x0, [1e5]).log_x[0]
            settled = max(settled, tools.largest((log_x - log_x[0]).exp() / rho[-1] - 1.0))
    rho = torch.stack(rho)
    ordered = int((rho.diff(dim=-1) > 0).all(-1).sum())
    later = rho[:, 1:]
    numbers = {"starts": len(rho), "in the order of positions": ordered}
    if said == "positions":
        criterion = equal("starts whose constants are in the order of positions", ordered, len(rho))
        return Evidence([criterion], numbers)
    criteria = [
        above("least constant of a later token", later.min(), 1.0),
        below("largest relative change from ln t = 1e4 to 1e5", settled, 1e-6),
        at_least("starts with the second above the third", (rho[:, 1] > rho[:, 2]).sum(), 1),
        at_least("starts with the third above the second", (rho[:, 2] > rho[:, 1]).sum(), 1),
        at_least(
            "largest constant by least, of second tokens", rho[:, 1].max() / rho[:, 1].min(), 2.0
        ),
    ]
    return Evidence(criteria, numbers)


def zeros_reset(generator: Generator, more: int) -> Evidence:
    """|s x_l| - |s x_1| at ln t = 1e5 behind n zero tokens: -ln(1 - 2^{-a (n + more)})."""
    off, closer = [], []
    for _ in range(2):
        mu, s, a = parameters(generator, 1.0)
        size = (-0.5 - 0.5 * tools.uniform(generator, 3)).tolist()
        x0 = [size[0], size[1], 0.0, size[2], 0.0, 0.0, size[0]]
        y = s * simulate(mu, s, a, x0, [1e5]).log_x[0].exp()
        for l, n in ((3, 1), (6, 2)):
            off.append(float(y[l] - y[0]) + math.log(-math.expm1(-a * (n + more) * LN2)))
        closer.append(float((y[3] / y[0] - 1.0).abs()))
    # The differences settle like 1 / ln t; they are 1e5 times the integration's error of 1e-8.
    criteria = [
        below("largest difference from the offset as said", tools.largest(off), 5e-3),
        below("largest |x_l| / |x_1|, less one, behind one zero", max(closer), 1e-4),
    ]
    return Evidence(criteria, {"tokens behind zeros": 4})


def first_near_its_end(generator: Generator, law: str) -> Evidence:
    """|x_first| by (3 mu |s| (T-t))^{-1/3}, s = 0: (2 mu ln 2 (T-t))^{-1/2}, where a millionth of T
    is left; or, with "one half" as `law`, the latter for all s."""
    off, alone = [], []
    for s in (0.0, 0.6, 1.7):
        mu, _, a = parameters(generator)
        x0 = [-0.3, 0.9, 0.2, -0.4] if s else [0.2, 0.9, 0.2, -0.4]
        x, said = last_growth.near_end(mu, s, a, x0, [1e-6])
        if law == "one half":
            said = last_growth.first_law(mu, 0.0, 1e-6 * predict(mu, s, a, x0).time)
        off.append(float(x / said) - 1.0)
        # Alone: the time that is left from 1e3 on is an integral.
        alone.append(last_growth.first_law(mu, s, time_alone(mu, s, 1e3)) / 1e3 - 1.0)
    criteria = [
        # T is known to 1e-9, a thousandth of what is left; earlier tokens still add 1e-4.
        below("largest relative difference of |x_first|", tools.largest(off), 1e-2),
        below("relative difference alone, from |x| = 1000 on", tools.largest(alone), 1e-9),
    ]
    return Evidence(criteria, {"s": [0.0, 0.6, 1.7]})


def carried_by_powers(generator: Generator, own_step: bool) -> Evidence:
    """s x_l < 0 behind n zeros: ln|x_l| less 2^{-an} ln|x_l'| settles, from ln|x_first| = 1e3 to
    1e5, and for s = 0 with 2^{-a(n+1)}; or with this for all s, if `own_step`."""
    drift, off = [], []
    for s in (0.0, 0.8, 1.5):
        mu, _, _ = parameters(generator)
        a = 0.3 + 0.7 * float(tools.uniform(generator, 1))
        x0 = [2.0, -0.3, 0.0, -0.2, -0.4, 0.0, 0.0, -0.1] if s else [2.0, -0.1, 0.0, 0.1]
        run = approach(mu, s, a, x0, [1e3, 1e5, 1e12])
        moving = [l for l, value in enumerate(x0) if value]
        for before, l in pairwise(moving):
            passed = l - before - (0 if own_step or not s else 1)
            level = run.log_x[:, l] - 2.0 ** (-a * passed) * run.log_x[:, before]
            drift.append(float(level[1] - level[0]))
        said = blowup.powers(s, a, x0, 0)
        off.append(tools.largest((run.log_x[-1] / 1e12 - said)[moving]))
    criteria = [
        # 1e5 times the integration's 1e-10 a step.
        below("largest drift of ln|x_l| less its power", tools.largest(drift), 1e-3),
        below("largest difference from the library's powers at 1e12", max(off), 1e-9),
    ]
    return Evidence(criteria, {"tokens": len(drift)})


def carried_by_logarithms(generator: Generator, law: str) -> Evidence:
    """s x_l > 0 behind n zeros: "Ei"(a s x_l) grows as 2^{-an} ln|x_l'|, from ln|x_first| = 1e6 to
    1e12, or "exp"(a s x_l); and the same with the step as it is, for a second such token."""
    off, exact = [], []
    for n in (0, 2):
        mu, s, _ = parameters(generator)
        a = 0.3 + float(tools.uniform(generator, 1))
        x0 = [1.5 / s, *[0.0] * n, 0.05 / s, 0.05 / s]
        run = approach(mu, s, a, x0, [1e6, 1e12])
        y = s * run.log_x[:, n + 1 :].exp()
        passed = 2.0 ** (-a * n) * (1e12 - 1e6)
        function = expi if law == "Ei" else np.exp
        off.append(float(np.diff(function(a * y[:, 0].numpy()))[0]) / passed - 1.0)
        for k, arrived in ((0, passed), (1, float(run.log_x[1, n + 1] - run.log_x[0, n + 1]))):
            # The integral of e^{a Delta} dy / y is what comes from the token before.
            ends = y[:, k].tolist()
            let = quad(lambda v: (1.0 + math.exp(v)) ** a / v, *ends, epsrel=1e-10)[0]  # noqa: B023
            exact.append(let / arrived - 1.0)
    criteria = [
        below("largest relative difference of the growth as said", tools.largest(off), 1e-3),
        below("largest relative difference with the step as it is", tools.largest(exact), 1e-3),
    ]
    return Evidence(criteria, {"n": [0, 2], "a s x_l at the end": float(a * y[1, 0])})


def rates_differ(generator: Generator, said: str) -> Evidence:
    """Pairs of tokens whose ratio tends to a number other than zero: none, with "other orders"; or
    those that the "theorems" say: all in slow growth, those of equal powers in a blow-up."""
    mu, s, a = parameters(generator, 1.0)
    slow = [-0.5, -1.0, 0.0, -0.7]
    blowing = [2.0, -0.3, 0.2, 0.0, -0.2]

    def alike(log_x: Tensor, tokens: list[int]) -> list[list[int]]:
        change = log_x[1] - log_x[0]
        pairs = combinations(tokens, 2)
        return [[k, l] for k, l in pairs if abs(float(change[k] - change[l])) < 1e-3]

    late = simulate(mu, s, a, slow, [3e4, 1e5]).log_x
    near = approach(mu, s, a, blowing, [1e3, 1e5]).log_x
    in_slow, in_blow_up = alike(late, [0, 1, 3]), alike(near, [0, 1, 2, 4])
    numbers = {"slow: ratios to the first": (late[1] - late[1, 0]).exp().tolist()}
    if said == "other orders":
        count = len(in_slow) + len(in_blow_up)
        return Evidence([equal("pairs with a finite limit of their ratio", count, 0)], numbers)
    criteria = [
        equal("slow growth: pairs of one order, of 3", in_slow, [[0, 1], [0, 3], [1, 3]]),
        equal("blow-up: pairs of one order, of 6", in_blow_up, [[0, 1]]),
        above("slow growth: the second by the first", (late[1, 1] - late[1, 0]).exp(), 1.01),
        below("slow: |x_4| / |x_1| behind a zero, less one", abs(late[1, 3] - late[1, 0]), 1e-4),
    ]
    return Evidence(criteria, numbers)
