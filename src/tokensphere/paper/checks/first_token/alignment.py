"""Claims of section 3.1 and appendix B.1.2: Lemmas B.2-B.4, Theorem 3.2 (alignment)."""

import math
from fractions import Fraction

import numpy as np
import sympy
import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.first_token import diagonal_limit, explicit_bound
from tokensphere.flow import FirstTokenFlow, random_tokens, simulate
from tokensphere.paper.ledger import Evidence
from tokensphere.rates import fit_exponential

LN2 = math.log(2.0)


def definite(count: int, dim: int, generator: torch.Generator, sign: int = 1) -> Tensor:
    """Random S_BC, (count, dim, dim), not symmetric, with a positive (or negative) definite form.

    The symmetric part is (3 + G/|G|) / 2 up to sign, with |G| the spectral norm of a symmetric
    Gaussian matrix: its eigenvalues lie in [1, 2]. The skew part is Gaussian.
    """
    G = torch.randn(count, dim, dim, generator=generator, dtype=torch.float64)
    symmetric = G + G.mT
    scale = torch.linalg.eigvalsh(symmetric).abs().amax(-1)[:, None, None]
    identity = torch.eye(dim, dtype=torch.float64)
    return sign * (3 * identity + symmetric / scale) / 2 + (G - G.mT)


def follow(S_BC: Tensor, delta: Tensor, y0: Tensor, times: Tensor, rtol=1e-9, atol=1e-13) -> Tensor:
    """First tokens for S_Delta = diag(delta), one for each row: (T, n, D)."""
    field = FirstTokenFlow(S_BC, torch.diag_embed(delta))
    return simulate(field, y0.unsqueeze(1), times, rtol=rtol, atol=atol).tokens[:, :, 0]


def _times(stop: float, count: int) -> Tensor:
    return torch.linspace(0, stop, count, dtype=torch.float64)


def signs_stay(generator: torch.Generator, turned: bool) -> Evidence:
    """sign y_i(t) = sign y_i(0), zeros included, for Gaussian parameters; or that of another y."""
    changed, tokens = 0, 0
    for dim in (1, 2, 3, 6):
        S_BC, S_Delta = (
            2 * torch.randn(20, dim, dim, generator=generator, dtype=torch.float64) for _ in "BD"
        )
        y0 = random_tokens(20, 1, dim, generator=generator)
        if dim > 2:
            y0[:, :, 0] = 0.0
            y0 = y0 / y0.norm(dim=-1, keepdim=True)
        y = simulate(FirstTokenFlow(S_BC, S_Delta), y0, _times(10, 101), rtol=1e-6, atol=1e-9)
        sign = (y.tokens - y.tokens.roll(1, -1) if turned else y.tokens).sign()
        # A coordinate far below the tolerance may be integrated to a value of the wrong sign.
        large = y.tokens.abs() > 1e-7
        changed += int(((sign != sign[0]) & large).sum())
        tokens += len(y0)
    return Evidence(changed == 0, {"tokens": tokens, "D": [1, 2, 3, 6], "sign changes": changed})


def order_stays(generator: torch.Generator, steps: str, definite_form: bool) -> Evidence:
    """The order of |y_i| is kept, and with a positive definite form ratios grow."""
    dim, count = 4, 30
    if definite_form:
        S_BC = definite(count, dim, generator)
    else:
        S_BC = 2 * torch.randn(count, dim, dim, generator=generator, dtype=torch.float64)
    y0 = random_tokens(count, dim, generator=generator)
    S_Delta = torch.diag_embed(y0.sign())
    if steps == "Gaussian":
        S_Delta = 2 * torch.randn(count, dim, dim, generator=generator, dtype=torch.float64)
    run = simulate(FirstTokenFlow(S_BC, S_Delta), y0.unsqueeze(1), _times(4, 41), 1e-9, 1e-12)
    size = run.tokens[:, :, 0].abs()
    order = size[0].argsort(-1).expand_as(size)
    sizes = size.gather(-1, order)
    broken = int((sizes.diff(dim=-1) < -1e-9).any(-1).any(0).sum())
    growth = (sizes[..., 1:] / sizes[..., :-1]).log().diff(dim=0).min()
    passed = broken == 0 and (not definite_form or float(growth) > 0)
    return Evidence(
        passed,
        {
            "S_Delta": steps,
            "form": "positive definite" if definite_form else "Gaussian",
            "tokens with a broken order": broken,
            "of": count,
            "smallest growth of ln(ratio) in a step of 0.1": float(growth),
        },
    )


def steps_are_those_of_moduli(generator: torch.Generator, signs: bool) -> Evidence:
    """Eq (22) along trajectories, with S_Delta,i = sign(y_i(0)) e_i or, as a control, e_i."""
    dim, count = 4, 20
    S_BC, y0 = definite(count, dim, generator), random_tokens(count, dim, generator=generator)
    y0[0] = torch.tensor([0.6, -0.8, 0.0, 0.0], dtype=torch.float64)
    delta = torch.where(y0 < 0, -1.0, 1.0).double() if signs else torch.ones_like(y0)
    y = follow(S_BC, delta, y0, _times(4, 41))
    steps = softplus(torch.einsum("tni,nij->tnj", y, torch.diag_embed(delta)))  # eq (20)
    off = float((steps - torch.log1p(torch.exp(y.abs()))).abs().max())
    return Evidence(off < 1e-12, {"largest difference": off, "tokens": count})


def _pair(generator: torch.Generator, stop: float = 30.0, count: int = 601):
    """c = y_i/y_j, y_i, y_j and times for 12 first tokens with 0 < y_j(0) < y_i(0), D = 3."""
    S_BC = definite(12, 3, generator)
    y0 = random_tokens(12, 3, generator=generator)
    y0[:, :2] = y0[:, :2].abs().sort(-1).values
    times = _times(stop, count)
    y = follow(S_BC, y0.sign(), y0, times)
    values = torch.linalg.eigvalsh((S_BC + S_BC.mT) / 2)
    return y[..., 1] / y[..., 0], y[..., 1], y[..., 0], times, values


def dichotomy(generator: torch.Generator, second: bool) -> Evidence:
    """y_j -> 0 (or, if `second`, y_i/y_j -> 1) for every pair."""
    ratio, _, small, _, _ = _pair(generator)
    end, start = ratio[-1], ratio[0]
    numbers = {
        "largest y_j at t = 30": float(small[-1].max()),
        "smallest y_i/y_j at t = 30": float(end.min()),
        "smallest final ratio over initial ratio": float((end / start).min()),
    }
    if second:
        return Evidence(float((end - 1).abs().max()) < 0.1, numbers)
    # The slowest rate is near ln((1+e)/2) = 0.6 times the least eigenvalue, which is 1 or more.
    return Evidence(float(small[-1].max()) < 1e-3 and float((end / start).min()) > 1, numbers)


def sandwich(generator: torch.Generator, lower: float) -> Evidence:
    """lower * l_m (y_i - y_j) <= d/dt ln(y_i/y_j) <= l_M (y_i - y_j) at random points."""
    S_BC, y = definite(4000, 3, generator), random_tokens(4000, 3, generator=generator)
    y[:, :2] = y[:, :2].abs().sort(-1).values
    field = FirstTokenFlow(S_BC, torch.diag_embed(y.sign()))(y.unsqueeze(1))[:, 0]
    slope = field[:, 1] / y[:, 1] - field[:, 0] / y[:, 0]
    values = torch.linalg.eigvalsh((S_BC + S_BC.mT) / 2)
    gap = y[:, 1] - y[:, 0]
    below = slope - lower * values[:, 0] * gap
    above = values[:, -1] * gap - slope
    # Divided by y_j, which may be small, rounding is far below 1e-9 except within 1e-6 of zero.
    kept = y[:, 0] > 1e-5
    least = float(torch.minimum(below, above)[kept].min())
    return Evidence(
        least > -1e-9,
        {
            "points": int(kept.sum()),
            "factor of the lower bound": lower,
            "least slack": least,
            "violations": int((below[kept] < -1e-9).sum() + (above[kept] < -1e-9).sum()),
        },
    )


def equation_23(generator: torch.Generator, sign: int) -> Evidence:
    """c0/(c0-1) exp(sign l_M int y_j) <= c/(c-1) for t > 0, along trajectories."""
    c, _, small, times, values = _pair(generator, 10.0, 2001)
    step = times[1] - times[0]
    integral = torch.cat([small[:1] * 0, ((small[1:] + small[:-1]) / 2 * step).cumsum(0)])
    start = c[0] / (c[0] - 1)
    left = start * torch.exp(sign * values[:, -1] * integral)
    # The trapezoidal rule errs by 1e-5 at this step; the excess is of order one soon.
    later = slice(200, None)
    excess = (left / (c / (c - 1)) - 1)[later]
    # z solves z' = l_M y_j (z^2 - z): it ends where z/(z-1) = c0/(c0-1) exp(-l_M int) meets 1.
    ended = (start * torch.exp(-values[:, -1] * integral) <= 1).any(0)
    return Evidence(
        float(excess.max()) < 1e-4,
        {
            "pairs": c.shape[1],
            "violated at every t in [1, 10] for": int((excess > 1e-4).all(0).sum()),
            "first pair at t = 10: left side": float(left[-1, 0]),
            "right side": float((c / (c - 1))[-1, 0]),
            "pairs whose z has blown up by t = 10": int(ended.sum()),
        },
    )


def solution_z(generator: torch.Generator, sign: int) -> Evidence:
    """z with exp(sign l_M int y_j) solves z' = l_M y_j (z^2 - z), z(0) = c(0); sympy, exactly."""
    t, rate, c0 = sympy.symbols("t lambda_M c_0", positive=True)
    integral = sympy.Function("I")(t)  # int_0^t y_j
    front = c0 / (c0 - 1) * sympy.exp(sign * rate * integral)
    z = front / (front - 1)
    residual = sympy.simplify(z.diff(t) - rate * integral.diff(t) * (z**2 - z))
    opposite = sympy.simplify(z.diff(t) + rate * integral.diff(t) * (z**2 - z))
    return Evidence(
        residual == 0 and sympy.simplify(z.subs(integral, 0) - c0) == 0,
        {"residual is zero": residual == 0, "solves z' = -l_M y_j (z^2 - z)": opposite == 0},
    )


def extreme(generator: torch.Generator, negative: bool) -> Evidence:
    """Eq (24): the coordinate of largest modulus is the least negative or the largest positive."""
    y = random_tokens(2000, 5, generator=generator)
    top = y.gather(-1, y.abs().argmax(-1, keepdim=True))[:, 0]
    found = (top == y.amax(-1)) & (top > 0)
    if negative:
        found |= (top == y.amin(-1)) & (top < 0)
    return Evidence(bool(found.all()), {"vectors": 2000, "found": int(found.sum())})


def counting(generator: torch.Generator, stated: bool) -> Evidence:
    """Which points with k entries +-1/sqrt(k) and no others are equilibria; stated: k = 1 only.

    As corrected: all are, and for k > 1 the field pushes away along the tie: the derivative of
    d/dt ln(y_i/y_j) along e_i - e_j is q sigma(p)/sqrt(k).
    """
    dim, speeds, off, pushes = 5, [], [], []
    S_BC = definite(1, dim, generator)[0]
    for k in range(1, dim + 1):
        sign = torch.ones(dim, dtype=torch.float64)
        sign[1] = -1.0
        point = sign * (torch.arange(dim) < k) / math.sqrt(k)
        field = FirstTokenFlow(S_BC, torch.diag(sign))
        speeds.append(float(field(point.unsqueeze(0)).norm()))
        if k > 1:
            direction = torch.zeros(dim, dtype=torch.float64)
            direction[:2] = sign[:2] * torch.tensor([1.0, -1.0], dtype=torch.float64)
            _, change = torch.func.jvp(lambda y, f=field: f(y[None])[0], (point,), (direction,))
            predicted = float(point @ S_BC @ point) / (1 + math.exp(-(k**-0.5))) / math.sqrt(k)
            off.append(float((change - predicted * direction).norm()))
            pushes.append(predicted)
    zeros = [k for k, speed in enumerate(speeds, 1) if speed < 1e-13]
    numbers = {"k that are equilibria": zeros, "eigenvalue along the tie, k = 2, 3, 4, 5": pushes}
    if stated:
        return Evidence(zeros == [1], numbers)
    passed = zeros == [*range(1, dim + 1)] and min(pushes) > 0 and max(off) < 1e-12
    return Evidence(passed, numbers)


def _tie(
    generator: torch.Generator, signs: list[int], entries: list[int], stated: bool
) -> Evidence:
    """The limit from y(0) proportional to the entries, a tie for the largest modulus."""
    dim = len(entries)
    exact = [Fraction(value) for value in entries]
    square = sum(value**2 for value in exact)
    y0 = torch.tensor([[s * v for s, v in zip(signs, entries, strict=True)]], dtype=torch.float64)
    y0 = y0 / math.sqrt(square)
    S_BC = definite(1, dim, generator)
    end = follow(S_BC, y0.sign(), y0, _times(20, 2))[-1, 0]
    tied = torch.tensor([value == max(exact) for value in exact])
    limit = torch.where(tied, y0[0].sign(), 0.0) / tied.sum().sqrt()
    if stated:
        nearest = torch.eye(dim, dtype=torch.float64) * y0[0].sign()
        far = float((nearest[tied] - end).norm(dim=-1).min())
    else:
        far = float((end - limit).norm())
    # The others decay at 0.3 or faster here: e^{-6} at t = 20.
    return Evidence(
        far < 0.02,
        {
            "y(0), times a common factor": [s * v for s, v in zip(signs, entries, strict=True)],
            "y(20)": [round(float(v), 4) + 0.0 for v in end],
            "distance to the limit as said": far,
        },
    )


def bound(generator: torch.Generator, tie: bool) -> Evidence:
    """rho_i(t) <= rho_i(0) exp(-kappa t), or, from a tie, that one coordinate is left."""
    if tie:
        return _tie(generator, [1, -1, 1, -1], [5, 5, 5, 1], stated=True)
    worst, cruder = -math.inf, -math.inf
    for dim in (2, 3, 6):
        S_BC, y0 = definite(30, dim, generator), random_tokens(30, dim, generator=generator)
        times = _times(15, 61)
        size = follow(S_BC, y0.sign(), y0, times).abs()
        index = y0.abs().argmax(-1)
        ratio = size / size.gather(-1, index.expand(len(times), -1).unsqueeze(-1))
        others = torch.ones_like(y0, dtype=torch.bool).scatter(-1, index[:, None], False)
        rho0, kappa = explicit_bound(S_BC, y0)
        slack = (ratio / (1 - ratio)).log() - (rho0.log() - kappa[:, None] * times[:, None, None])
        # Below 1e-9 the ratio is the integrator's as much as the flow's.
        slack = torch.where(others & (ratio > 1e-9), slack, -math.inf)
        worst = max(worst, float(slack[1:].max()))
        least = torch.linalg.eigvalsh((S_BC + S_BC.mT) / 2)[:, :1]
        crude = least * (1 - ratio[0]) / (2 * math.sqrt(dim)) * times[:, None, None]
        slack = torch.where(others & (ratio > 1e-9), (ratio / ratio[0]).log() + crude, -math.inf)
        cruder = max(cruder, float(slack[1:].max()))
    return Evidence(
        worst < 1e-6 and cruder < 1e-6,
        {
            "largest ln(rho / bound)": worst,
            "largest ln(r / cruder bound)": cruder,
            "trajectories": 90,
            "D": [2, 3, 6],
        },
    )


def fitted_rates(generator: torch.Generator, dims: list[int], draws: int) -> dict[str, np.ndarray]:
    """Fitted and predicted rates under Theorem 3.2 for random positive definite forms.

    Returns arrays (draws len(dims),): `D`, `fitted`, `error` (standard), `predicted`, and `bound`,
    half the least eigenvalue of the form's symmetric part.
    """
    rows = []
    for dim in dims:
        S_BC, y0 = definite(draws, dim, generator), random_tokens(draws, dim, generator=generator)
        limit, rate = diagonal_limit(S_BC, y0.sign(), y0)
        times = _times(40.0, 201)
        distance = (follow(S_BC, y0.sign(), y0, times, 1e-9, 1e-14) - limit).norm(dim=-1)
        least = torch.linalg.eigvalsh((S_BC + S_BC.mT) / 2)[:, 0]
        for n in range(draws):
            # Below 1e-12 steps are chosen for stability, and the decay is the integrator's.
            fit = fit_exponential(times, distance[:, n], floor=1e-12)
            rows.append((dim, fit.rate, fit.standard_error, float(rate[n]), float(least[n]) / 2))
    names = ("D", "fitted", "error", "predicted", "bound")
    return dict(zip(names, np.array(rows).T, strict=True))


def _rate(generator: torch.Generator, which: str) -> Evidence:
    """Fitted rates against `which`, to 1e-3."""
    found = fitted_rates(generator, [2, 3, 5], 4)
    off = abs(found["fitted"] / found[which] - 1)
    return Evidence(
        float(off.max()) < 1e-3,
        {
            "draws": len(off),
            "largest relative difference": float(off.max()),
            "smallest fitted / predicted": float((found["fitted"] / found[which]).min()),
        },
    )


def selection(generator: torch.Generator, stated: bool) -> Evidence:
    """Remark B.6. Stated: independent columns make the largest modulus win. Corrected: a common
    vector added to the columns e_m, which makes them dependent, leaves the largest step winning."""
    dim, count = 3, 40
    S_BC, y0 = definite(count, dim, generator), random_tokens(count, dim, generator=generator)
    S_Delta = torch.diag_embed(y0.sign())
    S_Delta = -S_Delta if stated else S_Delta - y0.sign().unsqueeze(-1) / dim
    rank = int(torch.linalg.matrix_rank(S_Delta).min())
    run = simulate(FirstTokenFlow(S_BC, S_Delta), y0.unsqueeze(1), _times(150, 2), 1e-8, 1e-11)
    end = run.tokens[-1, :, 0]
    index = y0.abs().argmax(-1, keepdim=True)
    at = (end.gather(-1, index) * y0.gather(-1, index).sign())[:, 0] > 0.95
    spread = float((end.abs() - dim**-0.5).abs().max())
    return Evidence(
        bool(at.all()),
        {
            "rank of S_Delta": rank,
            "tokens": count,
            "at the coordinate of largest modulus": int(at.sum()),
            "farthest of an end's moduli from 1/sqrt(3)": spread,
        },
    )


def fixed_steps(generator: torch.Generator, stated: bool) -> Evidence:
    """S_Delta does not depend on y(0). Stated, for S_Delta = I: the largest modulus wins.
    Corrected, for I and for Gaussian diagonals: the limit of :func:`diagonal_limit`."""
    dim, count = 3, 60
    S_BC, y0 = definite(count, dim, generator), random_tokens(count, dim, generator=generator)
    y0[0] = torch.tensor([-2.0, -2.0, -1.0], dtype=torch.float64) / 3
    delta = torch.ones_like(y0)
    if not stated:
        draws = torch.randn(count // 2, dim, generator=generator, dtype=torch.float64)
        delta[count // 2 :] = draws.sign() * (0.5 + draws.abs())
    end = follow(S_BC, delta, y0, _times(150, 2), 1e-8, 1e-11)[-1]
    index = y0.abs().argmax(-1, keepdim=True)
    largest = torch.zeros_like(y0).scatter(-1, index, y0.gather(-1, index).sign())
    limit, rate = diagonal_limit(S_BC, delta, y0)
    far = (end - (largest if stated else limit)).norm(dim=-1)
    # Two leading steps may start close together: e^{-150 rate} is then not the whole story.
    left = int((far > 0.05).sum())
    return Evidence(
        left == 0,
        {
            "tokens": count,
            "ends elsewhere": left,
            "ends at the coordinate of largest modulus": int(
                ((end - largest).norm(dim=-1) < 0.05).sum()
            ),
            "levelled ends": int((end.abs().amin(-1) > 0.05).sum()),
            "slowest rate": float(rate.min()),
        },
    )


def _negative(generator: torch.Generator, stated: bool) -> Evidence:
    """A negative definite form and S_Delta of Theorem 3.2: the limit, and its rate."""
    dim, count = 4, 12
    S_BC = definite(count, dim, generator, sign=-1)
    y0 = random_tokens(count, dim, generator=generator)
    y0[:4, 0] = 0.0
    y0 = y0 / y0.norm(dim=-1, keepdim=True)
    times = _times(80, 641)
    y = follow(S_BC, y0.sign(), y0, times, 1e-10, 1e-14)
    limit, rate = diagonal_limit(S_BC, y0.sign(), y0)
    if stated:
        index = y0.abs().argmax(-1, keepdim=True)
        limit = torch.zeros_like(y0).scatter(-1, index, y0.gather(-1, index).sign())
    distance = (y - limit).norm(dim=-1)
    numbers = {"tokens": count, "largest distance at t = 80": float(distance[-1].max())}
    if float(distance[-1].max()) > 1e-6:
        return Evidence(False, numbers)
    fits = [fit_exponential(times, distance[:, n], floor=1e-9).rate for n in range(count)]
    numbers["largest relative error of the rate"] = float(
        (torch.tensor(fits) / rate - 1).abs().max()
    )
    return Evidence(numbers["largest relative error of the rate"] < 1e-3, numbers)
