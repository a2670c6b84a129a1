"""Claims of section 3.3 and appendix B.3: autoregressive models."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.autograd.functional import jacobian

from tokensphere.flow import (
    AutoregressiveFlow,
    SharedStepFlow,
    causal_attention,
    project,
    random_tokens,
    simulate,
)
from tokensphere.other_tokens import consensus_spectrum, interactions
from tokensphere.paper.ledger import Evidence

Coefficients = Callable[[Tensor], Tensor]

ROUNDING = 1e-12
"""Sums of a few products of numbers of order one, in float64."""


def constant(weights: Tensor) -> Coefficients:
    """Coefficients that do not depend on the tokens: weights (..., L, L)."""
    return lambda x: weights.expand(*x.shape[:-2], *weights.shape[-2:])


def toeplitz(kernel: Tensor) -> Coefficients:
    """a_lj = kernel[l - j - 1] for j < l, from a kernel (..., L - 1); zero on the diagonal."""
    length = kernel.shape[-1] + 1
    lag = torch.arange(length)[:, None] - torch.arange(length)
    weights = kernel[..., (lag - 1).clamp(min=0)].masked_fill(lag < 1, 0.0)
    return constant(weights)


def state_space(c_b: Tensor, decay: Tensor, length: int) -> Coefficients:
    """A diagonal linear state space model: a_lj = sum_n c_n b_n A_n^(l-j), from (..., N) each."""
    lags = torch.arange(1, length, dtype=torch.float64)
    return toeplitz((c_b.unsqueeze(-1) * decay.unsqueeze(-1) ** lags).sum(-2))


def moving(bias: Tensor, form: Tensor) -> Coefficients:
    """Smooth positive weights that depend on the tokens: a_lj = exp(bias_lj + <x_l, form x_j>)."""
    return lambda x: torch.exp(bias + x @ form @ x.mT)


def instances(count: int, length: int, dim: int, generator: torch.Generator) -> dict:
    """Random coefficients of eq (13) by name, each a batch of `count`.

    causal attention; a linear state space model with three states; an autoregressive series with a
    window of two, zero weights beyond it; and general weights that depend on the tokens.
    """

    def draw(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=generator, dtype=torch.float64)

    window = torch.zeros(count, length - 1, dtype=torch.float64)
    window[:, :2] = (0.4 * draw(2)).exp()[:, : length - 1]
    return {
        "causal attention": causal_attention(0.5 * draw(dim, dim), 0.5 * draw(dim, dim)),
        "state space": state_space(
            (0.4 * draw(3)).exp(), 0.3 + 0.6 * torch.sigmoid(draw(3)), length
        ),
        "AR(2)": toeplitz(window),
        "general": moving(0.4 * draw(length, length), 0.4 * draw(dim, dim)),
    }


def starts(count: int, length: int, dim: int, generator: torch.Generator) -> Tensor:
    """Uniform tokens in coordinates where x_1 = e_1.

    The distance to x_1 then has a floating-point exponent of its own: it is computed, and
    integrated with a small `atol`, to full relative accuracy however small it is.
    """
    x = random_tokens(count, length, dim, generator=generator)
    x[:, 0] = 0.0
    x[:, 0, 0] = 1.0
    return x


def chord(x: Tensor, sign: Tensor | float = 1.0) -> Tensor:
    """|x - sign x_1| for tokens (..., D) where x_1 = e_1, to full relative accuracy."""
    return x[..., 1:].norm(dim=-1) * (2 / (1 + sign * x[..., 0])).sqrt()


def circle(angles: Tensor) -> Tensor:
    """Tokens in the plane from their angles, (..., L) -> (..., L, 2)."""
    return torch.stack([angles.cos(), angles.sin()], -1)


def antipodal_angle(x: Tensor) -> Tensor:
    """phi with x = -(cos phi, sin phi), for tokens (..., 2) of the plane."""
    return torch.atan2(-x[..., 1], -x[..., 0])


def exceptional_curve(a_21: float, a_31: float, a_32: float) -> tuple[np.ndarray, np.ndarray]:
    """Where a third token must start to end at -x_1, for D = 2 and constant weights.

    Returns theta, phi: the angle of x_2(0) from x_1, increasing from 0, and that of x_3(0) from
    -x_1. It is the stable manifold of (x_1, x_1, -x_1): one orbit, followed backwards from its
    tangent phi/theta = a_32 / (a_21 + a_31 + a_32).
    """
    weights = -torch.tensor([[0, 0, 0], [a_21, 0, 0], [a_31, a_32, 0]], dtype=torch.float64)
    near = 1e-4
    phi = near * a_32 / (a_21 + a_31 + a_32)
    angles = torch.tensor([0.0, near, math.pi + phi], dtype=torch.float64)
    x = simulate(
        AutoregressiveFlow(constant(weights)), circle(angles), _times(14 / a_21, 281), 1e-7, 1e-10
    ).tokens
    theta = torch.atan2(x[:, 1, 1], x[:, 1, 0]).numpy()
    return theta, np.unwrap(antipodal_angle(x[:, 2]).numpy())


def hoelder(x: Tensor, feedback: float = 5.0) -> Tensor:
    """Positive weights on (S^1)^3, Hoelder continuous of order 1/2, for which -x_1 attracts.

    With theta the angle of x_2 from x_1, phi that of x_3 from -x_1, u = phi - theta/3:
    a_21 = 1, a_31 = 1 - b, a_32 = 1 + b, b = feedback u/theta cut off at +-min(|theta|, 1/2),
    times max(cos, 0) of both angles. Locally Lipschitz wherever theta is not 0.
    """
    theta, phi = torch.atan2(x[..., 1, 1], x[..., 1, 0]), antipodal_angle(x[..., 2, :])
    size = theta.abs().clamp(max=0.5)
    safe = torch.where(theta == 0, 1.0, theta)
    b = feedback * torch.where(theta == 0, 0.0, (phi - theta / 3) / safe)
    b = torch.maximum(torch.minimum(b, size), -size)
    b = b * theta.cos().clamp(min=0) * phi.cos().clamp(min=0)
    weights = x.new_zeros(*x.shape[:-2], 3, 3)
    weights[..., 1, 0] = 1.0
    weights[..., 2, 0] = 1 - b
    weights[..., 2, 1] = 1 + b
    return weights


def hoelder_starts(count: int, generator: torch.Generator) -> Tensor:
    """(theta, phi), (count, 2), in the open set |phi - theta/3| < theta^2/5, 0.2 < theta < 0.4."""
    s = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    theta = 0.2 + 0.2 * s[:, 0]
    return torch.stack([theta, theta / 3 + theta**2 / 5 * (2 * s[:, 1] - 1)], -1)


def sphere_jacobian(flow, x: Tensor) -> Tensor:
    """The linearisation of the flow at an equilibrium x, (L, D), on the product of tangent spaces.

    Symmetric charts: bases from a QR decomposition at each token, derivative along x/|x|.
    """
    length, dim = x.shape
    bases = [
        torch.linalg.qr(torch.cat([token[:, None], torch.eye(dim).to(x)], 1))[0] for token in x
    ]
    E = torch.block_diag(*[basis[:, 1:] for basis in bases])

    def velocity(w: Tensor) -> Tensor:
        moved = x + (E @ w).reshape(length, dim)
        return flow(moved / moved.norm(dim=-1, keepdim=True)).flatten()

    return E.mT @ jacobian(velocity, E.new_zeros(E.shape[1]))


def _times(stop: float, count: int) -> Tensor:
    return torch.linspace(0, stop, count, dtype=torch.float64)


def softmax_is_attention(generator: torch.Generator, values: str) -> Evidence:
    """Eq (13) with softmax weights against causal attention written out with its value matrix."""
    dim, length = 4, 5
    Q, K, V = torch.randn(3, dim, dim, generator=generator, dtype=torch.float64)
    x = random_tokens(length, dim, generator=generator)
    if values == "identity":
        V = torch.eye(dim, dtype=torch.float64)
    output = torch.zeros_like(x)
    for l in range(length):
        scores = torch.stack([(Q @ x[l]) @ (K @ x[j]) for j in range(l + 1)])
        weights = scores.exp() / scores.exp().sum()
        output[l] = sum(weights[j] * (V @ x[j]) for j in range(l + 1))
    difference = float(
        (AutoregressiveFlow(causal_attention(Q, K))(x) - project(x, output)).abs().max()
    )
    return Evidence(difference < ROUNDING, {"V": values, "largest difference": difference})


def mamba_weights(generator: torch.Generator, region: str) -> Evidence:
    """Whether A_lj of eq (11) is positive: at random tokens, or along positive-angle orbits."""
    count, length, dim = 4000, 3, 3
    G = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    S_BC = 2 * torch.eye(dim, dtype=torch.float64) + (G + G.mT) / 4
    alpha = torch.randn(dim, generator=generator, dtype=torch.float64)
    flow = SharedStepFlow(S_BC, alpha, 0.7)
    x = random_tokens(count, length, dim, generator=generator)
    inside = (interactions(x, S_BC)[1] > 0).all((-1, -2))
    numbers = {
        "L": length,
        "D": dim,
        "starts": count,
        "with all angles positive": int(inside.sum()),
    }
    if region == "sphere":
        end = x
    else:
        end = simulate(flow, x[inside][:60], _times(15, 31), 1e-7, 1e-10).tokens
    rows, columns = torch.tril_indices(length, length, -1)
    weights = flow.attention(end)[..., rows, columns]
    numbers["negative weights"] = int((weights <= 0).sum())
    numbers["of"] = weights.numel()
    return Evidence(numbers["negative weights"] == 0, numbers)


def _ends(generator: torch.Generator, length: int = 4, dim: int = 3, count: int = 15):
    """Final <x_l, x_1> of all instances from uniform starts, (4, count, L)."""
    flows = instances(count, length, dim, generator)
    x0 = torch.stack([starts(count, length, dim, generator) for _ in flows])
    flow = AutoregressiveFlow(
        lambda x: torch.stack([weights(x[i]) for i, weights in enumerate(flows.values())])
    )
    end = simulate(flow, x0, _times(60, 2), 1e-5, 1e-8).tokens[-1]
    return end[..., 0]


def _sign(generator: torch.Generator, both: bool) -> Evidence:
    """Ends of generic starts: both signs occur, or +x_1 only."""
    ends = _ends(generator)
    plus, minus = int((ends > 0.99).sum()), int((ends < -0.99).sum())
    passed = minus > 0 if both else plus == ends.numel()
    return Evidence(passed, {"tokens": ends.numel(), "at x_1": plus, "at -x_1": minus})


def _brackets(theta: np.ndarray, phi: np.ndarray, weights, width: float) -> Tensor:
    """Unwrapped final angle of x_3 from -x_1 for starts phi - width, phi + width: (2, n)."""
    angles = torch.zeros(2, len(theta), 3, dtype=torch.float64)
    angles[..., 1] = torch.from_numpy(theta)
    angles[..., 2] = math.pi + torch.from_numpy(np.stack([phi - width, phi + width]))
    a_21, a_31, a_32 = weights
    matrix = torch.tensor([[0, 0, 0], [a_21, 0, 0], [a_31, a_32, 0]], dtype=torch.float64)
    run = simulate(AutoregressiveFlow(constant(matrix)), circle(angles), _times(12, 61), 1e-6, 1e-9)
    angle = np.unwrap(antipodal_angle(run.tokens[..., 2, :]).numpy(), axis=0)
    start = np.stack([phi - width, phi + width])
    return torch.from_numpy(angle[-1] - angle[0] + start)


def exceptional_set(generator: torch.Generator, fixed: bool) -> Evidence:
    """Where x_3 starts if it ends at -x_1: at one point for all x_2(0), or at one for each."""
    weights = (0.4 * torch.randn(3, generator=generator, dtype=torch.float64)).exp().tolist()
    theta, phi = exceptional_curve(*weights)
    at = np.linspace(0.2, 2.6, 7)
    curve = np.interp(at, theta, phi)
    # The interpolation errs by 1e-4 or so. Left and right of the curve x_3 turns to x_1 by
    # different ways round, so that between them some start does neither.
    final = _brackets(at, curve, weights, 2e-3)
    separated = bool((final[0] < -3).all() and (final[1] > 3).all())
    spread = float(curve.max() - curve.min())
    numbers = {
        "angles of x_2(0)": at.tolist(),
        "exceptional angles of x_3(0) from -x_1": curve.tolist(),
        "bracketed": separated,
    }
    return Evidence(spread < 1e-2 if fixed else separated, numbers)


def hypothesis(generator: torch.Generator, stated: bool) -> Evidence:
    """<x_l(0), x_1> = +-1 against the exceptional start, for a_21 = a_32 = 1 and a_31 = 2.

    Stated: a third token at -x_1 does not reach x_1, one elsewhere does. Corrected: only x_2(0) =
    -x_1 matters: x_2 = x_1, x_3 = x_1 and, for x_2 elsewhere, x_3 = -x_1 all reach x_1.
    """
    theta, phi = exceptional_curve(1, 2, 1)
    second = 0.8 + 1.4 * float(torch.rand((), generator=generator, dtype=torch.float64))
    third = float(np.interp(second, theta, phi))
    pi = math.pi
    angles = [[0, second, pi], [0, 0, second], [0, second, 0], [0, pi, second]]
    weights = torch.tensor([[0, 0, 0], [1, 0, 0], [2, 1, 0]], dtype=torch.float64)
    x0 = circle(torch.tensor(angles, dtype=torch.float64))
    # Not longer: the sine of pi is 1e-16 in floating point, and grows like e^t.
    ends = simulate(AutoregressiveFlow(constant(weights)), x0, _times(15, 2), 1e-7).tokens[
        -1, ..., 0
    ]
    final = _brackets(np.array([second]), np.array([third]), (1, 2, 1), 1e-3)
    numbers = {
        "angle of x_2(0)": second,
        "from x_3 = -x_1: <x_3, x_1> at t = 15": float(ends[0, 2]),
        "from x_2 = x_1": float(ends[1, 1:].min()),
        "from x_3 = x_1": float(ends[2, 1:].min()),
        "from x_2 = -x_1, second token": float(ends[3, 1]),
        "a start that ends at -x_1 has <x_3, x_1> between": [
            -math.cos(third + 1e-3),
            -math.cos(third - 1e-3),
        ],
        "bracketed": bool(final[0] < -3 and final[1] > 3),
    }
    if stated:
        return Evidence(float(ends[0, 2]) < 0.99, numbers)
    reached = float(ends[:3, 1:].min()) > 0.99 and float(ends[3, 1]) < -0.99
    return Evidence(reached and numbers["bracketed"] and abs(math.cos(third)) < 0.99, numbers)


def continuous_weights(generator: torch.Generator, feedback: float) -> Evidence:
    """Whether starts from an open set leave -x_1, for Hoelder weights and, feedback 0, constant."""
    start = hoelder_starts(30, generator)
    angles = torch.stack([torch.zeros(30).double(), start[:, 0], math.pi + start[:, 1]], -1)
    run = simulate(
        AutoregressiveFlow(lambda x: hoelder(x, feedback)),
        circle(angles),
        _times(14, 3),
        1e-6,
        1e-25,
    )
    at_minus = int((run.tokens[-1, :, 2, 0] < -0.99).sum())
    return Evidence(
        at_minus == 0,
        {
            "starts": 30,
            "with x_3 at -x_1": at_minus,
            "largest angle from it at t = 14": float(
                antipodal_angle(run.tokens[-1, :, 2]).abs().max()
            ),
        },
    )


def _speeds(generator: torch.Generator, count: int = 4000, length: int = 4, dim: int = 3):
    """Weights a_ij, f = <x_i, x_1>, f' and tokens at random points, for general coefficients."""
    bias = 0.4 * torch.randn(length, length, generator=generator, dtype=torch.float64)
    form = 0.4 * torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    flow = AutoregressiveFlow(moving(bias, form))
    x = random_tokens(count, length, dim, generator=generator)
    # Earlier tokens at all distances from x_1, last ones anywhere.
    near = torch.rand(count, length - 2, 1, generator=generator, dtype=torch.float64) ** 4
    x[:, 1:-1] = x[:, :1] + near * (x[:, 1:-1] - x[:, :1])
    x = x / x.norm(dim=-1, keepdim=True)
    f = (x * x[:, :1]).sum(-1)
    return flow.attention(x).tril(-1), f, (flow(x) * x[:, :1]).sum(-1), x


def second_token(generator: torch.Generator, square: int) -> Evidence:
    """f' = a_21 (1 - f^square) for f = <x_2, x_1>."""
    A, f, speed, _ = _speeds(generator)
    off = float((speed[:, 1] - A[:, 1, 0] * (1 - f[:, 1] ** square)).abs().max())
    return Evidence(off < ROUNDING, {"largest difference": off, "points": len(f)})


def second_rate(generator: torch.Generator, stated: bool) -> Evidence:
    """1 - f(t) <= C e^{-2t}, or C e^{-2 a_21 t} with a_21 at (x_1, x_1): from t = 20 to 40."""
    weight = torch.tensor([0.2, 0.5, 2.0], dtype=torch.float64)
    flow = AutoregressiveFlow(toeplitz(weight[:, None]))
    x0 = starts(3, 2, 3, generator)
    x = simulate(flow, x0, _times(40, 3), 1e-6, 1e-60).tokens[:, :, 1]
    error = x[..., 1:].square().sum(-1) / (1 + x[..., 0])  # 1 - f, without cancellation
    growth = torch.log(error[2] / error[1]) / 20 + 2 * (1.0 if stated else weight)
    return Evidence(
        # Left of the transient at t = 20: e^{-8} tan(angle/2)^2 / 20 for the smallest weight.
        float(growth.max()) < 0.06,
        {"a_21": weight.tolist(), "growth of (1 - f) e^{rate t}, a unit of time": growth.tolist()},
    )


def f_equation(generator: torch.Generator, square: bool) -> Evidence:
    """f_i' = a_i1 (1 - f_i^2) + sum_{1<j<i} a_ij (f_j - g_ij f_i); the control has f_i for g_ij."""
    A, f, speed, x = _speeds(generator)
    g = x @ x.mT if not square else f.unsqueeze(-1).expand(*f.shape, f.shape[-1])
    off = 0.0
    for i in range(1, x.shape[-2]):
        rest = (A[:, i, 1:i] * (f[:, 1:i] - g[:, i, 1:i] * f[:, i : i + 1])).sum(-1)
        off = max(off, float((speed[:, i] - A[:, i, 0] * (1 - f[:, i] ** 2) - rest).abs().max()))
    return Evidence(off < ROUNDING, {"largest difference": off, "points": len(f)})


def equation_32(generator: torch.Generator, stated: bool) -> Evidence:
    """f_i(t) >= min(0.8, f_i(t*)) once f_j >= 0.9 for j < i, on orbits near the exceptional one.

    Corrected: f_i' > 0 wherever sqrt(1 - f_i^2) > max_{j<i} |x_j - x_1|.
    """
    if stated:
        theta, phi = exceptional_curve(1, 1, 1)
        second = 0.2 + 0.2 * float(torch.rand((), generator=generator, dtype=torch.float64))
        third = float(np.interp(second, theta, phi))
        angles = torch.tensor([0.0, second, math.pi + third], dtype=torch.float64)
        ones = torch.ones(3, 3, dtype=torch.float64).tril(-1)
        flow = AutoregressiveFlow(constant(ones))
        f = simulate(flow, circle(angles), _times(2, 21)).tokens[..., 0]
        return Evidence(
            bool((f[:, 2] >= min(0.8, float(f[0, 2])) - 1e-9).all()),
            {
                "smallest f_2": float(f[:, 1].min()),
                "1 + f_3 at t* = 0": float(1 + f[0, 2]),
                "least 1 + f_3 for t <= 2": float((1 + f[:, 2]).min()),
            },
        )
    _, f, speed, x = _speeds(generator)
    ahead = (x[:, 1:-1] - x[:, :1]).norm(dim=-1).amax(-1)
    outside = (1 - f[:, -1] ** 2).clamp(min=0).sqrt() > ahead
    return Evidence(
        bool((speed[outside, -1] > 0).all()) and int(outside.sum()) > 100,
        {"points": int(outside.sum()), "least f_i'": float(speed[outside, -1].min())},
    )


def bound_on_speed(generator: torch.Generator, shift: float) -> Evidence:
    """f_i' >= A (s^2 - shift e s), s^2 = 1 - f_i^2, e = max |x_j - x_1|, A = sum_{j<i} a_ij."""
    A, f, speed, x = _speeds(generator)
    ahead = (x[:, 1:-1] - x[:, :1]).norm(dim=-1).amax(-1)
    s = (1 - f[:, -1] ** 2).clamp(min=0).sqrt()
    slack = speed[:, -1] - A[:, -1].sum(-1) * (s**2 - shift * ahead * s)
    least = float(slack.min())
    return Evidence(least > -ROUNDING, {"factor of e": shift, "least slack": least})


def case_1(generator: torch.Generator, sign: int) -> Evidence:
    """d(1 - f_i)/dt <= -a_i1 (1 - f_i)(1 + f_i) + sum_{j<i} a_ij (1 - f_j); control: - that sum."""
    A, f, speed, _ = _speeds(generator)
    last = f[:, -1]
    bound = -A[:, -1, 0] * (1 - last**2) + sign * (A[:, -1, 1:] * (1 - f)[:, 1:]).sum(-1)
    least = float((bound + speed[:, -1]).min())
    return Evidence(least > -ROUNDING, {"least slack": least, "points": len(f)})


def case_2(generator: torch.Generator, factor: float) -> Evidence:
    """d(1 + f_i)/dt >= factor A (1 + f_i) - A e^2 / 2 wherever f_i <= 0; 1/2 holds, 3 does not."""
    A, f, speed, x = _speeds(generator)
    ahead = (x[:, 1:-1] - x[:, :1]).norm(dim=-1).amax(-1)
    total = A[:, -1].sum(-1)
    slack = speed[:, -1] - total * (factor * (1 + f[:, -1]) - ahead**2 / 2)
    least = float(slack[f[:, -1] <= 0].min())
    return Evidence(least > -ROUNDING, {"c_0 / A": factor, "least slack": least})


def unstable_eigenvalue(generator: torch.Generator, stated: bool) -> Evidence:
    """The eigenvalues at (x_1, ..., x_1, -x_1) by automatic differentiation on the sphere."""
    length, dim = 4, 4
    bias = 0.4 * torch.randn(length, length, generator=generator, dtype=torch.float64)
    form = 0.4 * torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    flow = AutoregressiveFlow(moving(bias, form))
    x1 = random_tokens(dim, generator=generator)
    x = x1 * torch.tensor([1, 1, 1, -1], dtype=torch.float64)[:, None]
    total = float(flow.attention(x)[-1, :-1].sum())
    values = torch.linalg.eigvals(sphere_jacobian(flow, x)).real
    wanted = (2 if stated else 1) * total
    found = int(((values - wanted).abs() < 1e-8).sum())
    # Below the diagonal of the last block nothing else of size 2A can appear but by accident.
    return Evidence(
        found == (1 if stated else dim - 1),
        {
            "sum of a_Lj": total,
            "value looked for": wanted,
            "multiplicity": found,
            "D": dim,
            "positive eigenvalues": values[values > 1e-8].tolist(),
        },
    )


def patterns(generator: torch.Generator, signed: bool) -> Evidence:
    """Spectra at all sign patterns against automatic differentiation; only the last is stable."""
    length, dim = 4, 3
    bias = 0.4 * torch.randn(length, length, generator=generator, dtype=torch.float64)
    form = 0.4 * torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    flow = AutoregressiveFlow(moving(bias, form))
    x1 = random_tokens(dim, generator=generator)
    worst, stable, first = 0.0, [], True
    for code in range(2 ** (length - 1)):
        signs = torch.tensor([1] + [1 - 2 * (code >> k & 1) for k in range(length - 1)]).double()
        x = signs[:, None] * x1
        values = torch.linalg.eigvals(sphere_jacobian(flow, x)).real.sort().values
        formula = consensus_spectrum(flow, x1, signs if signed else torch.ones(length).double())
        worst = max(worst, float((formula.flatten().sort().values - values).abs().max()))
        if float(values[: -(dim - 1)].max()) < 0 and float(values[-1]) < 1e-9:
            stable.append(signs.int().tolist())
        if code:
            lead = int((signs < 0).nonzero()[0, 0])
            first &= float(consensus_spectrum(flow, x1, signs)[lead].min()) > 0
    return Evidence(
        worst < 1e-7 and stable == [[1] * length] and first,
        {
            "patterns": 2 ** (length - 1),
            "largest difference": worst,
            "stable patterns": stable,
            "first reversed token always unstable": first,
        },
    )


def _row_sums(generator: torch.Generator, kernel: list[float]) -> Evidence:
    """Whether all tokens reach x_1 with a Toeplitz kernel that has zeros."""
    length, dim = 6, 3
    flow = AutoregressiveFlow(toeplitz(torch.tensor(kernel, dtype=torch.float64)))
    x0 = starts(10, length, dim, generator)
    end = simulate(flow, x0, _times(60, 2), 1e-5, 1e-8).tokens[-1, ..., 0]
    away = [l + 1 for l in range(length) if float(end[:, l].min()) < 0.99]
    return Evidence(not away, {"kernel": kernel, "tokens that do not reach x_1": away})
