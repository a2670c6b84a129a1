"""Claims of section 3.1 and appendix B.1: which equilibria attract, and what else does."""

from fractions import Fraction

import numpy as np
import torch
from flint import arb, fmpq
from scipy.integrate import solve_ivp
from scipy.stats import binom, chisquare
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere import survey
from tokensphere.first_token import (
    KINDS,
    equilibria,
    jacobian,
    potential,
    settle,
    spectrum,
    tangent_basis,
)
from tokensphere.flow import FirstTokenFlow, random_tokens, simulate
from tokensphere.paper.ledger import Evidence

VERTEX, EQUAL, ZERO, UNRESOLVED = range(len(KINDS))


def spectrum_gap(S_BC: Tensor, S_Delta: Tensor, point: Tensor) -> float:
    """The largest difference between the coefficients of the characteristic polynomials of the
    Jacobian at an equilibrium: of `spectrum`, and by automatic differentiation of eq (9)."""
    field, frame = FirstTokenFlow(S_BC, S_Delta), tangent_basis(point)
    derivative = torch.autograd.functional.jacobian(lambda z: field((z / z.norm())[None])[0], point)
    values = torch.linalg.eigvals(frame.mT @ derivative @ frame)
    gap = np.poly(spectrum(S_BC, S_Delta, point).numpy()) - np.poly(values.numpy())
    return float(np.abs(gap).max())


def stable_vertices(S_BC: Tensor, S_Delta: Tensor) -> Tensor:
    """Which of e_1 .. e_D, -e_1 .. -e_D are stable, by their Jacobians' eigenvalues.

    Args: (n, D, D). Returns: (n, 2 D), bool.
    """
    dim = S_Delta.shape[-1]
    axes = torch.eye(dim, dtype=torch.float64)
    points = torch.cat([axes, -axes])
    J = jacobian(S_BC.unsqueeze(1), S_Delta.unsqueeze(1), points.expand(len(S_Delta), -1, -1))
    return (torch.linalg.eigvals(J).real < 0).all(-1)


def goodness_of_fit(counts: Tensor, dim: int, probability: float) -> float:
    """Pearson's p-value of counts (n,) against Binomial(dim, probability).

    Cells with fewer than five expected are joined to the last one that has more.
    """
    expected = len(counts) * binom.pmf(np.arange(dim + 1), dim, probability)
    observed = np.bincount(counts.numpy(), minlength=dim + 1)
    last = int(np.nonzero(expected >= 5)[0].max())
    expected, observed = (
        np.append(v[:last], v[last:].sum()) for v in (expected, observed.astype(float))
    )
    return float(chisquare(observed, expected).pvalue)


def zeros(S: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Random zeros of an indefinite form S, (n, D) unit rows: where segments from points of one
    sign to points of the other cross it. n is at most `count`, less if one sign is rare."""
    y = torch.randn(2 * count, len(S), generator=generator, dtype=torch.float64)
    q = torch.einsum("ni,ij,nj->n", y, S, y)
    up, down = y[q > 0], y[q < 0]
    n = min(len(up), len(down))
    up, way = up[:n], down[:n] - up[:n]
    a, b, c = (
        torch.einsum("ni,ij,nj->n", *pair) for pair in ((way, S, way), (up, S, way), (up, S, up))
    )
    t = c / (
        -b + (b * b - a * c).sqrt()
    )  # the root of a t^2 + 2 b t + c in (0, 1), as c > 0 > q(1)
    y = up + t.unsqueeze(-1) * way
    return y / y.norm(dim=-1, keepdim=True)


def inflow(S: Tensor, S_Delta: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """kappa = 2 sum_i c_i Delta_i, (n,), and c, (n, D), at zeros p, (n, D), of the symmetric S."""
    c = p * (p @ S)
    return 2 * (c * softplus(p @ S_Delta)).sum(-1), c


def indefinite(dim: int, generator: torch.Generator) -> Tensor:
    """A symmetric matrix with one negative eigenvalue in a random frame, or one positive."""
    frame, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))
    values = 0.2 + torch.rand(dim, generator=generator, dtype=torch.float64)
    values[0] *= -1
    sign = 1 if torch.rand((), generator=generator) < 0.5 else -1
    S = sign * (frame * values) @ frame.mT
    return (S + S.mT) / 2


def chase(diagonal: float) -> Tensor:
    """S_Delta of three steps that chase one another in the positive octant."""
    d = diagonal
    return 3 * torch.tensor([[d, -1, 1], [1, d, -1], [-1, 1, d]], dtype=torch.float64)


def without_attractor(octants: int, generator: torch.Generator) -> int:
    """How many of so many Gaussian cyclic octants hold no stable equilibrium for S_BC = I."""
    found = 0
    for _ in range(octants):
        S = torch.randn(3, 3, generator=generator, dtype=torch.float64)
        # The octant, of the two, where the other two steps are ordered in a cycle.
        signs = torch.stack([S[0, 2] - S[0, 1], S[1, 0] - S[1, 2], S[2, 1] - S[2, 0]]).sign()
        assert potential(S, signs) is None
        inside = [
            e
            for e in equilibria(torch.eye(3, dtype=torch.float64), S)
            if bool((e.point * signs >= 0).all())
        ]
        found += not any(e.stability == "stable" for e in inside)
    return found


def certify(S_Delta: Tensor) -> dict[str, bool | float | str]:
    """What the boundary and the interior of the positive octant do for S_BC = I, D = 3, proved.

    float64 entries are rational: all but the steps at the vertices is exact arithmetic, these are
    balls of 128 bits. For octants whose edges are all crossed from one vertex to the next.

    Returns:
        "edges": no equilibrium on an open edge. "interior": exactly one equilibrium inside.
        "source": both its eigenvalues have positive real parts. "quotient": the product of
        expansion over contraction at the vertices, "ball": a ball for it. "repels": it exceeds 1.
        "attracts": it is below 1. Both speak of the cycle of edges, and only if "edges" is true.
    """
    S = [[Fraction(v) for v in row] for row in S_Delta.tolist()]
    # On the edge of i and j: u_i - u_j = (S_ii - S_ij) y_i + (S_ji - S_jj) y_j.
    edges = all((S[i][i] - S[i][j]) * (S[j][i] - S[j][j]) > 0 for i, j in ((0, 1), (0, 2), (1, 2)))
    a, b = ([S[k][0] - S[k][j] for k in range(3)] for j in (1, 2))
    n = [a[i - 2] * b[i - 1] - a[i - 1] * b[i - 2] for i in range(3)]  # their cross product
    n = [-v for v in n] if n[0] < 0 else n
    interior = all(v > 0 for v in n)
    square = sum(v * v for v in n)
    # |n| times the linear part of w at n/|n|, over sigma(u); it has the eigenvalue 0 across.
    mean = [sum(n[k] ** 2 * S[j][k] for k in range(3)) / square for j in range(3)]
    M = [[n[i] * (S[j][i] - mean[j]) for j in range(3)] for i in range(3)]
    trace = sum(M[i][i] for i in range(3))
    minors = sum(M[i][i] * M[j][j] - M[i][j] * M[j][i] for i, j in ((0, 1), (0, 2), (1, 2)))
    step = lambda v: arb(fmpq(v.numerator, v.denominator)).exp().log1p()  # noqa: E731
    quotient = arb(1)
    for d in range(3):
        for k in range(3):
            if k != d:
                gain = step(S[d][k]) - step(S[d][d])
                quotient = quotient * gain if gain > 0 else quotient / -gain
    return {
        "edges": edges,
        "interior": interior,
        "source": interior and trace > 0 and minors > 0,
        "quotient": float(quotient),
        "ball": quotient.str(12, radius=True),
        "repels": bool(quotient > 1),
        "attracts": bool(quotient < 1),
    }


def follow_logs(S_Delta: Tensor, logs: np.ndarray, times: np.ndarray, rtol=1e-8) -> np.ndarray:
    """First tokens in the positive orthant for S_BC = I by the logarithms of their coordinates.

    d ln y_i = Delta_i dt up to a common term, so coordinates of 1e-1000 keep their digits.

    Args: logs, (D, n), ln y up to a constant for each token. Returns: ln y, (T, D, n).
    """
    S, shape = S_Delta.numpy(), logs.shape

    def field(t, z):
        y = _points(z.reshape(shape))
        return np.logaddexp(0, S.T @ y).ravel()

    # A long step across a quiet phase could miss its end.
    run = solve_ivp(field, (times[0], times[-1]), logs.ravel(), "DOP853", times, rtol=rtol,
                    atol=1e-8, max_step=10)  # fmt: skip
    z = run.y.T.reshape(-1, *shape)
    return z - z.max(1, keepdims=True) - np.log(_points(z, 1).max(1, keepdims=True) ** -1)


def _points(logs: np.ndarray, axis: int = 0) -> np.ndarray:
    y = np.exp(logs - logs.max(axis, keepdims=True))
    return y / np.linalg.norm(y, axis=axis, keepdims=True)


def dwell_times(S_Delta: Tensor, stop: float) -> np.ndarray:
    """How long a first token that starts near the middle of the octant has each largest
    coordinate in turn, until `stop`; the first and the last stay are left out."""
    times = np.linspace(0, stop, int(20 * stop) + 1)
    logs = follow_logs(S_Delta, np.array([[0.0], [0.1], [0.2]]), times)[..., 0]
    changes = np.nonzero(np.diff(logs.argmax(1)))[0]
    return np.diff(times[changes])


def lotka_volterra(alpha: float, eta: float) -> Tensor:
    """S_Delta of the three species of Arneodo, Coullet and Tresser as four coordinates.

    Species x_i' = x_i sum_j A_ij (1 - x_j) are x_i = y_i / y_4 (Hofbauer) for steps that differ by
    eta / 2 times G y, up to O(eta^2) and the clock y_4.
    """
    A = torch.tensor([[0.5, 0.5, 0.1], [-0.5, -0.1, 0.1], [alpha, 0.1, 0.1]], dtype=torch.float64)
    G = torch.zeros(4, 4, dtype=torch.float64)
    G[:3, :3], G[:3, 3] = -A, A.sum(1)
    return eta * G.mT


def lyapunov(S_Delta: Tensor, stop: float, tokens: int, seed: int, every: float = 40.0):
    """Largest Lyapunov exponents of eq (9), S_BC = I, in the positive orthant.

    Integrates tokens and a tangent vector of each in the coordinates ln(y_i / y_D), with the vector
    renormalised at each multiple of `every`. The first quarter is left out.

    Returns: (tokens,), per unit of time; starts are near the barycentre.
    """
    S, dim = S_Delta.numpy(), len(S_Delta)
    rng = np.random.default_rng(seed)
    shape = (2, dim - 1, tokens)
    z = np.stack([np.log(rng.uniform(0.8, 1.2, shape[1:])), rng.normal(size=shape[1:])])

    def field(t, flat):
        logs, vector = np.concatenate([flat.reshape(shape), np.zeros((2, 1, tokens))], axis=1)
        y = _points(logs)
        change = y * (vector - (y * y * vector).sum(0))
        u = S.T @ y
        steps, slope = np.logaddexp(0, u), (S.T @ change) / (1 + np.exp(-u))
        return np.stack([steps[:-1] - steps[-1], slope[:-1] - slope[-1]]).ravel()

    growth = []
    for _ in range(int(stop / every)):
        run = solve_ivp(field, (0, every), z.ravel(), "DOP853", rtol=1e-6, atol=1e-7)
        z = run.y[:, -1].reshape(shape)
        size = np.linalg.norm(z[1], axis=0)
        z[1] /= size
        growth.append(np.log(size))
    return np.mean(growth[len(growth) // 4 :], axis=0) / every


def potential_problem(dim: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """S_Delta and signs of an orthant with a potential: a Gaussian draw on a random orthant for
    D < 4; for larger D, where draws have none, S_Delta made from a random symmetric H."""
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    while True:
        signs = torch.where(draw(dim) < 0, -1.0, 1.0).double()
        S_Delta = draw(dim, dim)
        if dim > 3:
            H, beta = draw(dim, dim), 1 + draw(dim).abs()
            S_Delta = signs.unsqueeze(-1) * ((H + H.mT + draw(dim)) / beta).mT
        if potential(S_Delta, signs) is not None:
            return S_Delta, signs


def rests(generator: torch.Generator, chasing: bool) -> Evidence:
    """Late on, first tokens with S_BC = I are almost at rest; and a potential has grown."""
    eye = lambda dim: torch.eye(dim, dtype=torch.float64)  # noqa: E731
    if chasing:
        found = certify(chase(0.1))
        y0 = 0.2 + torch.rand(1, 3, generator=generator, dtype=torch.float64)
        times = torch.linspace(0, 300, 601, dtype=torch.float64)
        field = FirstTokenFlow(eye(3), chase(0.1))
        late = simulate(field, y0 / y0.norm(), times, 1e-6, 1e-8).tokens[300:]
        slowest = float(field(late).norm(dim=-1).min())
        cycles = found["edges"] and found["source"] and found["repels"]
        return Evidence(
            slowest < 0.01 and not cycles,
            {"slowest speed for 150 < t < 300": slowest, **found},
        )
    fall, late = 0.0, []
    for dim in (2, 3, 6):
        S_Delta, signs = potential_problem(dim, generator)
        V = potential(S_Delta, signs)
        y0 = signs * random_tokens(10, 1, dim, generator=generator).abs()
        field = FirstTokenFlow(eye(dim), S_Delta)
        times = torch.linspace(0, 60, 121, dtype=torch.float64)
        tokens = simulate(field, y0, times, 1e-6, 1e-8).tokens
        fall = min(fall, float(V.value(tokens[:, :, 0]).diff(dim=0).min()))
        late.append(float(field(tokens[-1]).norm(dim=-1).median()))
    return Evidence(
        fall > -1e-5 and max(late) < 0.01,  # the integration's error; a few tokens are slow
        {"largest fall of V": fall, "median speed at t = 60": late, "D": [2, 3, 6]},
    )


def is_left(generator: torch.Generator, stability: str) -> Evidence:
    """All first tokens that start 0.01 from an equilibrium of this stability get 0.1 away."""
    eye = torch.eye(3, dtype=torch.float64)
    points: list = []
    while not points:
        S_Delta = torch.randn(3, 3, generator=generator, dtype=torch.float64)
        points = [e for e in equilibria(eye, S_Delta) if e.stability == stability]
    point = points[0].point
    slowest = float(points[0].eigenvalues.real.abs().min())
    y0 = point + 0.01 * random_tokens(20, 1, 3, generator=generator)
    y0 = y0 / y0.norm(dim=-1, keepdim=True)
    times = torch.linspace(0, 10 / slowest, 51, dtype=torch.float64)
    tokens = simulate(FirstTokenFlow(eye, S_Delta), y0, times, 1e-7, 1e-9).tokens
    away = (tokens - point).norm(dim=-1).amax(0)
    return Evidence(
        bool((away > 0.1).all()),
        {"stability": stability, "tokens": 20, "tokens that leave": int((away > 0.1).sum())},
    )


def vertex_rule(generator: torch.Generator, rows: bool) -> Evidence:
    """e_d and -e_d are stable as the diagonal entry is an extreme of its row (or column)."""
    wrong, checked = 0, 0
    for dim in (2, 3, 6):
        S_BC, S_Delta, _ = survey.draw("Gaussian", dim, 200, generator)
        entries = S_Delta if rows else S_Delta.mT
        own = S_Delta.diagonal(dim1=1, dim2=2)
        largest, smallest = own == entries.amax(-1), own == entries.amin(-1)
        positive = S_BC.diagonal(dim1=1, dim2=2) > 0
        rule = [torch.where(positive, *pair) for pair in ((largest, smallest), (smallest, largest))]
        found = stable_vertices(S_BC, S_Delta)
        wrong += int((found != torch.cat(rule, dim=1)).sum())
        checked += found.numel()
    return Evidence(wrong == 0, {"coordinate vectors": checked, "wrong": wrong, "D": [2, 3, 6]})


def binomial(generator: torch.Generator, mean: float) -> Evidence:
    """The number of stable coordinate vectors is Binomial(D, mean / D)."""
    values = {}
    for law in survey.LAWS:
        for dim in (3, 6):
            S_BC, S_Delta, _ = survey.draw(law, dim, 1000, generator)
            counts = stable_vertices(S_BC, S_Delta).sum(-1)
            values[f"{law}, D={dim}"] = goodness_of_fit(counts, dim, mean / dim)
    # Four tests: a false alarm in one seed of 2,500.
    return Evidence(min(values.values()) > 1e-4, {f"p-value, {k}": v for k, v in values.items()})


def antipodes(generator: torch.Generator, weighted: bool) -> Evidence:
    """Eigenvalues along the support at -p are -e^{-u} (or, without weight, -1) times those at p;
    others change sign; so as many type-1 equilibria are stable as are unstable."""
    error, stable, unstable = 0.0, 0, 0
    for dim in (2, 3, 4):
        for _ in range(5):
            S_BC, S_Delta, _ = (value[0] for value in survey.draw("Gaussian", dim, 1, generator))
            found = equilibria(S_BC, S_Delta)
            stable += sum(e.stability == "stable" for e in found)
            unstable += sum(e.stability == "unstable" for e in found)
            for e in found[::2]:  # the antipode follows
                if len(e.support) < 2:
                    continue
                A = list(e.support)
                block = S_BC[A][:, A], S_Delta[A][:, A]
                here, there = (spectrum(*block, s * e.point[A]) for s in (1, -1))
                u = float((e.point @ S_Delta)[A[0]])
                expected = -(np.exp(-u) if weighted else 1.0) * here
                # As polynomials: equal sets of roots, whatever their order.
                gap = np.poly(expected.numpy()) - np.poly(there.numpy())
                error = max(error, float(np.abs(gap).max() / (1 + np.abs(there.numpy()).max())))
    return Evidence(
        error < 1e-8 and stable == unstable,
        {"largest error": error, "stable": stable, "unstable": unstable},
    )


def coordinate_limits(generator: torch.Generator, reduced: bool) -> Evidence:
    """First tokens with S_BC = I and independent columns end at coordinate vectors."""
    count, dim = 60, 3
    S_BC, S_Delta, _ = survey.draw("identity", dim, count, generator)
    y0 = random_tokens(count, dim, generator=generator)
    if reduced:
        S_Delta = torch.diag_embed(y0.sign())
    ends = settle(S_BC, S_Delta, y0, horizon=160.0)
    found = {kind: int((ends.kind == index).sum()) for index, kind in enumerate(KINDS)}
    return Evidence(found[KINDS[EQUAL]] == 0 and found[KINDS[VERTEX]] > 0.9 * count, found)


def one_of_two_attracts(generator: torch.Generator, one: str) -> Evidence:
    """kappa(p) < 0 or kappa(-p) < 0 at all zeros p where exactly one c_i is positive (negative)."""
    checked, without = 0, 0
    for dim in (2, 3, 3, 3, 4, 4, 4):
        for _ in range(6):
            S = indefinite(dim, generator)
            size = 10 ** float(2 * torch.rand((), generator=generator) - 1)
            S_Delta = size * torch.randn(dim, dim, generator=generator, dtype=torch.float64)
            p = zeros(S, 1000, generator)
            kappa, c = inflow(S, S_Delta, p)
            opposite, _ = inflow(S, S_Delta, -p)
            signed = c if one == "positive" else -c
            which = (signed > 0).sum(-1) == 1
            checked += int(which.sum())
            without += int((which & (kappa >= 0) & (opposite >= 0)).sum())
    return Evidence(without == 0, {"pairs of zeros": checked, "neither attracts": without})
