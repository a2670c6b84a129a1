"""mu < 0: constants, what comes after them, and what becomes of both without damping."""

import math
from itertools import pairwise

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Generator, Tensor

from tokensphere.one_dimension import decay, next_order, simulate
from tokensphere.one_dimension.simulate import Trajectory
from tokensphere.paper.checks import tools
from tokensphere.paper.ledger import Evidence, below

from ._draws import parameters, tokens

LN2 = math.log(2.0)


def _scaled(run: Trajectory) -> Tensor:
    """t x_l^2, (T, L)."""
    return (2.0 * run.log_x + run.log_times[:, None]).exp()


def decay_is_bounded(generator: Generator, power: float) -> Evidence:
    """t^power |x_l| <= (2 |mu| min(ln 2, Delta_l(0)))^{-1/2} for all t, to ln t = 3000."""
    at = torch.cat([torch.linspace(-6, 20, 53), torch.linspace(30, 3000, 100)]).double()
    excess, least = [], math.inf
    for length in (1, 2, 5, 8):
        mu, s, a = parameters(generator)
        x0 = torch.tensor(tokens(generator, length), dtype=torch.float64)
        run = simulate(-mu, s, a, x0, at)
        step = torch.nn.functional.softplus(s * x0).clamp(max=LN2)
        bound = -0.5 * (2.0 * mu * step).log()
        excess.append(run.log_x + power * at[:, None] - bound)
        least = min(least, float((run.log_x[-1] + at[-1] / 2)[x0 != 0].exp().min()))
    largest = max(float(part.max()) for part in excess)
    said = "largest logarithm of t^power |x_l| by its bound"
    # For s x > 0 the bound is sharp, and the integration keeps 1e-7 of a token so far out.
    return Evidence([below(said, largest, 1e-6)], {"least sqrt(t) |x_l| at ln t = 3000": least})


def decay_has_limits(generator: Generator, zeros_count: bool) -> Evidence:
    """t x_l^2 at ln t = 3000 against (1 - 2^{-ag}) / (2 |mu| ln 2); g = 1 for all but the first
    moving token if zeros do not count."""
    off, behind = [], 0
    for length in (1, 3, 6, 12):
        mu, s, a = parameters(generator)
        x0 = tokens(generator, length)
        said = decay.limits(-mu, a, x0)
        if not zeros_count:
            moving = [value for value in x0 if value]
            said[said > 0] = decay.limits(-mu, a, moving)
        found = _scaled(simulate(-mu, s, a, x0, [3000.0]))[0]
        kept = torch.tensor(x0) != 0
        off.append((found / said - 1.0)[kept])
        behind += sum(not x and bool(y) for x, y in pairwise(x0))
    worst = torch.cat(off).abs().max()
    # kappa is 0.067 or more: the start's traces are below e^{-200}.
    criterion = below("largest relative difference from the limit as said", worst, 1e-6)
    return Evidence([criterion], {"tokens": len(torch.cat(off)), "behind zeros": behind})


def first_expands(generator: Generator, steps: str) -> Evidence:
    """c, e, f in t x^2 = c (1 + e t^{-1/2} + f ln t / t + O(1/t)) of the first token, for
    "softplus" steps; or with f as if they were "linear", ln 2 + s x / 2."""
    off, levels = [], []
    for sign in (1, -1):
        mu, s, _ = parameters(generator)
        c, e, f = next_order.expansion_of_first(-mu, s, sign)
        if steps == "linear":
            f = s**2 * c / (4.0 * LN2**2)

        # v = 1/x^2 without t/c and -e sqrt(t)/c, against ln t: it is -(f/c) ln t + O(1).
        def rest(tau, found, mu=mu, s=s * sign, c=c, e=e):
            root = math.exp(tau / 2)
            v = root**2 / c - e * root / c + found[0]
            step = math.log1p(math.exp(s / math.sqrt(v)))
            return [root**2 * (2.0 * mu * step - 1.0 / c) + e * root / (2.0 * c)]

        stops = [15.0, 17.0]
        run = solve_ivp(rest, (6.0, 17.0), [0.0], "LSODA", t_eval=stops, rtol=1e-9, atol=1e-9)
        off.append(-c * float(run.y[0, 1] - run.y[0, 0]) / 2.0 / f - 1.0)
        error = float(next_order.relative_errors(-mu, s, 1.0, [0.7 * sign], [24.0])[0, 0])
        levels.append(error * math.exp(12.0) / e - 1.0)
    criteria = [
        below("largest relative difference of the first correction", tools.largest(levels), 0.01),
        # What follows is of order ln t / sqrt(t), below 0.01.
        below("largest relative difference of the logarithm's", tools.largest(off), 0.03),
    ]
    return Evidence(criteria, {"starts": 2})


def steps_correct_later_tokens(generator: Generator, carried: bool) -> Evidence:
    """e_l in t x_l^2 = c_l (1 + e_l t^{-1/2} + ...), kappas above 1/2; without the part that the
    token before carries on if not `carried`."""
    off = []
    for x0 in ([0.5, -0.4, 0.7], [-0.6, 0.0, 0.8, 1.1]):
        mu, s, _ = parameters(generator)
        a = 2.0 + float(tools.uniform(generator, 1))
        said = decay.first_corrections(-mu, s, a, x0)
        if not carried:
            c = decay.limits(-mu, a, x0)
            kappa = 2.0 * mu * LN2 * c
            xi = c.sqrt() * torch.tensor(x0).sign()
            said = kappa * s * xi / (2.0 * LN2) / (0.5 - kappa)
        found = next_order.relative_errors(-mu, s, a, x0, [26.0])[0] * math.exp(13.0)
        off.append((found / said - 1.0)[said != 0])
    # What follows is smaller by t^{-1/4}, e^{-6.5}, and a constant.
    worst = torch.cat(off).abs().max()
    return Evidence(
        [below("largest relative difference of e_l", worst, 0.05)],
        {"tokens": len(torch.cat(off)), "ln t": 26},
    )


def traces_of_the_start(generator: Generator, kappas: bool) -> Evidence:
    """a = 1/5: the error of the second token falls like t^{-kappa}, kappa = 1 - 2^{-a}, or like
    t^{-1/2}; the third's is behind it by the factor -kappa 2^{-a} ln t, for kappas are equal."""
    (mu, s, _), a = parameters(generator), 0.2
    kappa = 1.0 - 2.0**-a
    size = 0.3 + 0.3 * float(tools.uniform(generator, 1))
    # The steps' part is smaller by t^{-0.37}, the square of this one by t^{-kappa}: 1e-10, 1e-3.
    error = next_order.relative_errors(-mu, s, a, [1.0, size, -1.3], [60.0, 80.0])
    exponent = float((error[0, 1] / error[1, 1]).log() / 20.0)
    behind = float((error[:, 2] / error[:, 1]).diff() / 20.0)
    said = kappa if kappas else 0.5
    criteria = [
        below("relative difference of the exponent", abs(exponent / said - 1.0), 1e-2),
        below(
            "relative difference of the factor of ln t",
            abs(behind / (-kappa * 2.0**-a) - 1.0),
            1e-2,
        ),
    ]
    return Evidence(criteria, {"exponent": exponent, "kappa": kappa})


def resonance_brings_a_logarithm(generator: Generator, carried: bool) -> Evidence:
    """a g = 1: t x_l^2 = c_l (1 + f_l ln t / sqrt(t) + ...); without the part carried on by the
    token before if not `carried`."""
    off = []
    for a, x0 in ((1.0, [0.5, -0.4]), (0.5, [0.5, 0.0, 0.4])):
        mu, s, _ = parameters(generator)
        f = float(next_order.resonant_corrections(-mu, s, a, x0)[-1])
        if not carried:
            f += float(decay.first_corrections(-mu, s, a, x0)[0]) / 4.0
        error = next_order.relative_errors(-mu, s, a, x0, [24.0, 28.0])[:, -1]
        # Beside f ln t stands a constant, which the difference drops.
        levels = error * torch.tensor([12.0, 14.0], dtype=torch.float64).exp()
        off.append(float(levels.diff() / 4.0) / f - 1.0)
    said = "largest relative difference of f_l"
    return Evidence([below(said, tools.largest(off), 0.02)], {"a": [1.0, 0.5]})


def logarithms_are_iterated(generator: Generator, a: float) -> Evidence:
    """With q_l = (x_{l-1}/x_l)^2, q_2 grows like ln t and q_{l+1} like ln q_l: increments from
    ln t = 1e4 to 1e8, by an integration of its own, for decay `a`."""
    mu, s, _ = parameters(generator)
    signs = np.sign(tools.normal(generator, 4).numpy())

    def field(tau, y):  # y_l = ln(t x_l^2)
        steps = np.logaddexp(0.0, s * signs * np.exp((y - tau) / 2))
        right, before = [], 0.0
        for own, step in zip(steps * np.exp(y), steps, strict=True):
            before = own + math.exp(-a * step) * before
            right.append(1.0 - 2.0 * mu * before)
        return right

    run = solve_ivp(
        field, (0.0, 1e8), [0.0] * 4, "LSODA", t_eval=[1e4, 1e8], rtol=1e-11, atol=1e-11
    )
    q = np.exp(-np.diff(run.y, axis=0))  # (3, T): q_2, q_3, q_4
    found = q[:, 1] - q[:, 0]
    said = [1e8 - 1e4, *(np.log(q[:-1, 1]) - np.log(q[:-1, 0]))]
    criteria = [
        # q_2 - ln t and q_{l+1} - ln q_l settle like t^{-1/2}; the rest is the integrator's.
        below(f"increment of q_{l}, relative difference", abs(one / other - 1.0), 1e-4)
        for l, one, other in zip((2, 3, 4), found, said, strict=True)
    ]
    return Evidence(criteria, {"q at ln t = 1e8": q[:, 1].tolist()})


def damping_crosses_over(generator: Generator, kappa: str) -> Evidence:
    """s = 0, two tokens: t x_2^2 in closed form, with kappa = "1 - 2^-a", or "a ln 2"."""
    off, at = [], [-2.0, 1.0, 5.0, 20.0, 100.0, 1000.0]
    for a in (0.01, 0.1, 1.0):
        mu, x0 = parameters(generator)[0], tokens(generator, 2, zeros=False)
        effective = a if kappa == "1 - 2^-a" else -math.log2(1.0 - a * LN2)
        said = next_order.two_with_equal_steps(-mu, effective, x0, at)
        found = _scaled(simulate(-mu, 0.0, a, x0, at)) * (2.0 * mu * LN2)
        off.append(tools.largest(found / said - 1.0))
    said = "largest relative difference of t x_l^2"
    return Evidence([below(said, max(off), 1e-6)], {"a": [0.01, 0.1, 1.0], "ln t": at})
