"""Claims of section B.2: Proposition B.13, and the measure argument for Theorem B.8."""

import sympy
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from tokensphere.flow import SharedStepFlow, random_tokens
from tokensphere.other_tokens import (
    exceptional_spectrum,
    interaction_speeds,
    interactions,
    tangent_jacobian,
    weights,
)
from tokensphere.paper.ledger import Evidence

from .attraction import along, ends, problem, starts


def weight_symbols(length: int) -> sympy.Matrix:
    """a_ij as symbols, (L, L); those with j < i are used."""
    return sympy.Matrix(length, length, lambda i, j: sympy.Symbol(f"a_{i + 1}{j + 1}"))


def derived_jacobian(length: int, symmetric: bool = False) -> tuple[sympy.Matrix, sympy.Matrix]:
    """(J, a): the linear system of X_1 = <v_L, S x_1>, X_j = <xi, S v_j> + X_1 at (x_1, ..., xi).

    From eq (25) itself, D = 3, any S_BC with <xi, S_BC x_1> = 0: tokens x_j + eps v_j with tangent
    v_j, weights a_ij + eps b_ij with any b_ij; the terms of order eps, as functions of the X alone.
    That they are such functions, without the b_ij, is checked on the way.
    """
    m, gamma, eps = sympy.symbols("m gamma epsilon")
    cos, sin = (1 - m**2) / (1 + m**2), 2 * m / (1 + m**2)
    first, xi = sympy.Matrix([1, 0, 0]), sympy.Matrix([cos, sin, 0])
    S = sympy.Matrix(3, 3, sympy.symbols("s1:4(1:4)"))
    S[0, 0], S[1, 0] = gamma, -gamma * cos / sin
    if symmetric:
        S[0, 1], S[0, 2], S[1, 2] = S[1, 0], S[2, 0], S[2, 1]
    a = weight_symbols(length)
    moved = a + eps * sympy.Matrix(length, length, sympy.symbols(f"b:{length}:{length}"))
    p, q = sympy.symbols(f"p2:{length + 1}"), sympy.symbols(f"q2:{length + 1}")
    v = [sympy.zeros(3, 1)]
    v += [sympy.Matrix([0, p[j], q[j]]) for j in range(length - 2)]
    v += [p[-1] * sympy.Matrix([-sin, cos, 0]) + sympy.Matrix([0, 0, q[-1]])]
    x = [(first if j < length - 1 else xi) + eps * v[j] for j in range(length)]

    def speed(i: int) -> sympy.Matrix:
        """d v_i / dt, of order eps."""
        total = sympy.zeros(3, 1)
        for j in range(i):
            part = moved[i, j] * (x[i].T * S * x[j])[0] * (x[j] - x[i].dot(x[j]) * x[i])
            total += part.diff(eps).subs(eps, 0)
        return total

    def coordinates(w: list) -> list:
        """The X of tangent vectors w."""
        last = (w[-1].T * S * first)[0]
        return [last] + [last + (xi.T * S * w[j])[0] for j in range(1, length - 1)]

    X = sympy.symbols(f"X1:{length}")
    back = sympy.solve(
        [sympy.numer(sympy.together(c - s)) for c, s in zip(coordinates(v), X, strict=True)],
        [p[-1], *p[:-1]],
        dict=True,
    )[0]
    speeds = [sympy.cancel(s.subs(back)) for s in coordinates([speed(i) for i in range(length)])]
    J = (sympy.Matrix(speeds) / gamma).jacobian(X).applyfunc(sympy.expand)
    remainder = sympy.Matrix(speeds) / gamma - J * sympy.Matrix(X)
    assert remainder.applyfunc(sympy.expand).is_zero_matrix
    assert J.free_symbols <= a.free_symbols
    return J, a


def printed_jacobian(a, length: int, kind=sympy.zeros):
    """J(x*) as printed, rows R_1, ..., R_{L-1}; `kind` makes a matrix of zeros."""
    n = length - 1
    J = kind(n, n)
    for j in range(n):
        for k in range(n):
            J[j, k] = a[n, k]
            if 0 < k < j:
                J[j, k] += a[j, k]
            if 0 < k == j:
                J[j, k] -= sum(a[j, i] for i in range(j))
    return J


def corrected_jacobian(a, length: int, kind=sympy.zeros):
    """J(x*): the printed one plus a_j1 in the first column of the rows j >= 2."""
    J = printed_jacobian(a, length, kind)
    for j in range(1, length - 1):
        J[j, 0] += a[j, 0]
    return J


def printed_system(a, length: int, kind=sympy.zeros):
    """The display before J(x*): its last sum ends at L - 2."""
    J = printed_jacobian(a, length, kind)
    for j in range(1, length - 2):
        J[j, length - 2] = 0 * J[j, length - 2]
    return J


def exceptional_point(
    generator: torch.Generator, dim: int, length: int, gamma: float = 2.0, symmetric: bool = True
) -> tuple[SharedStepFlow, Tensor]:
    """A random flow and (x_1, ..., x_1, xi), (L, D), with <xi, S_BC x_1> = 0."""
    flow, x1 = problem(generator, dim, gamma, symmetric)
    direction = flow.S_BC @ x1
    xi = random_tokens(dim, generator=generator)
    xi = xi - (xi @ direction) / (direction @ direction) * direction
    return flow, torch.stack([x1] * (length - 1) + [xi / xi.norm()])


def _perturbed(generator: torch.Generator, length: int = 5, symmetric: bool = True):
    """flow, x_*, and a random tangent perturbation (L, D) that leaves the first token alone."""
    flow, x = exceptional_point(generator, 4, length, symmetric=symmetric)
    v = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    v = v - (v * x).sum(-1, keepdim=True) * x
    v[0] = 0
    return flow, x, v


def expansion(generator: torch.Generator, which: str, form: str) -> Evidence:
    """A printed first-order expansion against the derivative of X, U along a perturbation."""
    flow, x, v = _perturbed(generator, symmetric=form != "any S_BC")
    S, x1, xi, last, n = flow.S_BC, x[0], x[-1], v[-1], len(x) - 1
    dX, dU = torch.func.jvp(lambda z: interactions(z, S), (x,), (v,))[1]
    direction = S @ x1
    if which == "X_Li":
        got, want = dX[-1, :n], v[:n] @ xi + last @ (x1 if form != "control" else direction)
    elif which == "U_Li":
        through = v[:n] @ xi if form == "stated" else v[:n] @ S.mT @ xi
        got, want = dU[-1, :n], through + last @ direction
    elif which == "X_ij":
        got, want = dX[:n, :n], 2 * v[:n] @ v[:n].mT * (form == "stated")
    else:
        ahead = v[:n] @ direction
        got, want = dU[:n, :n], ahead[:, None] + ahead
    off = float((got - want).abs().max())
    return Evidence(
        off < 1e-12, {"largest difference": off, "largest term": float(want.abs().max())}
    )


def linear_equation(generator: torch.Generator, which: str, stated: bool) -> Evidence:
    """(i) and (ii): the derivative of U_L1' and U_Lj' at x_*, against the right sides."""
    flow, x, v = _perturbed(generator)
    S, n = flow.S_BC, len(x) - 1
    x1, a = x[0], weights(flow, x)
    gamma = x1 @ S @ x1
    speed = torch.func.jvp(lambda z: interaction_speeds(flow, z, S)[1][-1, :n], (x,), (v,))[1]
    literal = which == "(i)" and stated
    X = v[-1] @ S @ x1 + v[:n] @ (x[-1] if literal else S.mT @ x[-1])
    if which == "(i)":
        got, want = speed[0] / gamma, (a[-1, :n] * X).sum()
    else:
        J = (printed_jacobian if stated else corrected_jacobian)(a, n + 1, _zeros)
        got, want = (speed / gamma)[1:], (J @ X)[1:]
    off = float((got - want).abs().max())
    return Evidence(
        off < 1e-12, {"largest difference": off, "largest term": float(got.abs().max())}
    )


def _zeros(rows: int, columns: int) -> Tensor:
    return torch.zeros(rows, columns, dtype=torch.float64)


def entries(length: int, which: str) -> Evidence:
    """The Jacobian derived from eq (25) against one of the printed forms, entry by entry."""
    forms = {
        "the rows R_j": printed_jacobian,
        "the displayed system": printed_system,
        "corrected": corrected_jacobian,
    }
    J, a = derived_jacobian(length)
    difference = (J - forms[which](a, length)).applyfunc(sympy.expand)
    wrong = [
        f"({i + 1},{k + 1}): {difference[i, k]}"
        for i in range(length - 1)
        for k in range(length - 1)
        if difference[i, k] != 0
    ]
    # The display and the rows share the first column; here the upper limit of the sum is judged.
    if which == "the displayed system":
        wrong = [entry for entry in wrong if ",1)" not in entry]
    return Evidence(not wrong, {"L": length, "derived minus printed": wrong or ["none"]})


def row_operation(generator: torch.Generator, both_sides: bool) -> Evidence:
    """R_j - R_1 for all j, alone, or with the columns added back (a similarity)."""
    flow, x = exceptional_point(generator, 3, 5)
    a = weights(flow, x)
    J = (corrected_jacobian if both_sides else printed_jacobian)(a, 5, _zeros)
    E = torch.eye(4, dtype=torch.float64)
    E[1:, 0] = -1
    other = E @ J @ torch.linalg.inv(E) if both_sides else E @ J
    before, after = (torch.linalg.eigvals(M) for M in (J, other))
    far = float(torch.cdist(_plane(before), _plane(after)).amin(1).max())
    cleared = float(other[1:, 0].abs().max()) < 1e-12
    return Evidence(
        far < 1e-8 and cleared,
        {
            "eigenvalues before": _shown(before),
            "after": _shown(after),
            "farthest": far,
            "first column cleared": cleared,
        },
    )


def _plane(values: Tensor) -> Tensor:
    return torch.view_as_real(values.to(torch.complex128))


def _shown(values: Tensor) -> list:
    """In the order of real parts, to three digits."""
    values = [complex(z) for z in values[values.real.argsort(descending=True)]]
    return [
        f"{z.real:.3f}" if abs(z.imag) < 1e-9 else f"{z.real:.3f} {z.imag:+.3f}i" for z in values
    ]


def eigenvalue(generator: torch.Generator, which: str) -> Evidence:
    """Is gamma a_L1, or gamma sum_j a_Lj, an eigenvalue of the flow at x_*?"""
    worst, worst_printed, spectrum, ratio = 0.0, 0.0, 0.0, 1.0
    for length in (3, 4, 5):
        flow, x = exceptional_point(generator, 3, length, symmetric=False)
        a, gamma = weights(flow, x), float(x[0] @ flow.S_BC @ x[0])
        claimed = gamma * (a[-1, 0] if which == "a_L1" else a[-1, :-1].sum())
        jacobian = tangent_jacobian(flow, x)
        # Blocks of the diagonal: where eigenvalues agree, the whole has them to a root of rounding.
        last = torch.linalg.eigvals(jacobian[-2:, -2:])
        largest = float(last.real.max())
        printed = torch.linalg.eigvals(gamma * printed_jacobian(a, length, _zeros))
        worst = max(worst, abs(largest - float(claimed)))
        worst_printed = max(worst_printed, float((printed - claimed).abs().min()))
        known = exceptional_spectrum(flow, x[0], x[-1], torch.ones(length - 1))
        spectrum = max(spectrum, abs(largest - float(known[-1].max())))
        ratio = min(ratio, float(claimed) / largest)
    return Evidence(
        worst < 1e-10,
        {
            "L": [3, 4, 5],
            "off the largest eigenvalue (automatic differentiation) by": worst,
            "least ratio to it": ratio,
            "off every eigenvalue of the printed J by": worst_printed,
            "exceptional_spectrum off by": spectrum,
        },
    )


def counted(
    generator: torch.Generator, gamma: float, draws: int = 6
) -> list[tuple[int, int, int, int, int, float]]:
    """(D, L, positive, zero, negative, gap) at random exceptional points, with random signs.

    Eigenvalues of tokens 2, ..., L by automatic differentiation, token by token; gap: the least
    modulus of one that is not zero.
    """
    found = []
    for dim in (2, 3, 4):
        for length in (3, 5):
            for _ in range(draws):
                flow, x = exceptional_point(generator, dim, length, gamma, symmetric=False)
                signs = torch.randint(0, 2, (length, 1), generator=generator) * 2.0 - 1
                signs[0] = 1
                J = tangent_jacobian(flow, signs * x)
                n = dim - 1
                values = torch.cat(
                    [
                        torch.linalg.eigvals(J[k : k + n, k : k + n]).real
                        for k in range(n, len(J), n)  # the first token stands still
                    ]
                )
                zero = values.abs() < 1e-9
                count = [int(part.sum()) for part in ((values > 0) & ~zero, zero, values < 0)]
                count[2] -= int((zero & (values < 0)).sum())
                found.append((dim, length, *count, float(values[~zero].abs().min())))
    return found


def dimension(generator: torch.Generator, gamma: float) -> Evidence:
    """One positive eigenvalue, D - 2 zeros, the others negative: codimension 1."""
    found = counted(generator, gamma)
    right = [
        (up, flat, down) == (1, dim - 2, (length - 1) * (dim - 1) - (dim - 1))
        for dim, length, up, flat, down, _ in found
    ]
    return Evidence(
        all(right),
        {
            "gamma": gamma,
            "points": len(found),
            "with the counts 1, D - 2, (L - 2)(D - 1)": sum(right),
            "least modulus of the others": min(row[-1] for row in found),
        },
    )


def shares_in_strip(
    generator: torch.Generator,
    gamma: float,
    times: list[float],
    count: int = 800,
    width: float = 0.25,
) -> list[float]:
    """The share of random third tokens, D = 3, with |<x_3, S x_1>| <= width |gamma| at `times`."""
    flow, x1 = problem(generator, 3, gamma)
    x0, shares = starts(generator, x1, count, 3), []
    x0[:, 1] = x0[0, 1]
    for begin, end in zip([0.0, *times], times, strict=False):
        x0 = ends(flow, x0, end - begin) if end > begin else x0
        form = along(x0[:, 2], flow.S_BC @ x1).abs()
        shares.append(float((form <= width * abs(gamma)).double().mean()))
    return shares


def empties(generator: torch.Generator, gamma: float) -> Evidence:
    """The strip about <x_3, S x_1> = 0 empties: starts that stay in it are null."""
    times = [2.0, 6.0, 15.0]
    shares = shares_in_strip(generator, gamma, times)
    return Evidence(
        shares[-1] <= 0.005 and shares[0] >= shares[1] >= shares[2],
        {"gamma": gamma, "t": times, "share of random x_3 in the strip": shares},
    )


def loop(start: tuple[float, float], stop: float, count: int = 4001, mu: float = 0.5):
    """x' = y, y' = x - x^2 - mu y H with H = y^2/2 - x^2/2 + x^3/3: times, and points (count, 2).

    dH/dt = -mu y^2 H: inside the loop H = 0 through the saddle 0, eigenvalues 1 and -1, all but the
    focus (1, 0) approach the loop, and have 0 as a limit point.
    """

    def field(_, z):
        x, y = z
        H = y * y / 2 - x * x / 2 + x**3 / 3
        return [y, x - x * x - mu * y * H]

    at = torch.linspace(0, stop, count, dtype=torch.float64).numpy()
    run = solve_ivp(field, (0, stop), start, t_eval=at, rtol=1e-10, atol=1e-13, method="DOP853")
    return at, run.y.T


def subsequence(generator: torch.Generator) -> Evidence:
    """(28): a point that is the limit along a subsequence has the trajectory in its W^sc."""
    start = 0.5 + 0.6 * float(torch.rand(1, generator=generator))
    _, z = loop((min(start, 0.97), 0.0), 120.0)
    distance = (z**2).sum(-1) ** 0.5
    windows = distance[1:].reshape(4, -1)
    nearest, farthest = windows.min(1).tolist(), windows.max(1).tolist()
    return Evidence(
        farthest[-1] < 0.2,
        {
            "eigenvalues at 0": [1, -1],
            "windows of length": 30,
            "nearest to 0 in each": nearest,
            "farthest in each": farthest,
        },
    )


def _speed(generator: torch.Generator) -> Evidence:
    """|x_L'| <= sum_j a_Lj (|U_L1| + 2 |S| |x_j - s_j x_1|), integrable if U_L1 decays."""
    flow, x1 = problem(generator, 3, symmetric=False)
    count, length = 4000, 4
    signs = torch.randint(0, 2, (count, length - 2), generator=generator) * 2.0 - 1
    scale = 10 ** (-4 * torch.rand(count, 1, 1, generator=generator, dtype=torch.float64))
    x = starts(generator, x1, count, length)
    near = signs[..., None] * x1 + scale * x[:, 1:-1]
    x[:, 1:-1] = near / near.norm(dim=-1, keepdim=True)
    a = weights(flow, x)[:, -1, :-1]
    far = (x[:, 1:-1] - signs[..., None] * x1).norm(dim=-1)
    norm = float(torch.linalg.matrix_norm(flow.S_BC, 2))
    form = along(x[:, -1], flow.S_BC @ x1).abs()
    bound = a.sum(-1) * form + 2 * norm * (a[:, 1:] * far).sum(-1)
    slack = float((bound - flow(x)[:, -1].norm(dim=-1)).min())
    return Evidence(slack >= -1e-12, {"configurations": count, "least slack": slack})


def union(generator: torch.Generator) -> Evidence:
    """If each point of a set attracts a null set, the set does: x' = 0, y' = -y on a square."""
    x, y = torch.rand(2, 1000, generator=generator, dtype=torch.float64)
    t = 40.0
    ends_at = torch.stack([x, y * torch.exp(torch.tensor(-t))], -1)
    one = float(((ends_at - torch.tensor([0.5, 0.0])).norm(dim=-1) < 1e-9).double().mean())
    curve = float((ends_at[:, 1].abs() < 1e-9).double().mean())
    return Evidence(
        curve == 0,
        {"share of starts with limit (1/2, 0)": one, "with a limit on y = 0": curve},
    )
