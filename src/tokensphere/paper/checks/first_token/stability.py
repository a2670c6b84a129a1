"""Claims of section 3.1 and appendix B.1: which equilibria attract, and what else does."""

from itertools import product

import numpy as np
import torch
from torch import Generator, Tensor

from tokensphere import circle, first_token
from tokensphere.first_token import KINDS, cycles, equilibria, vertices, zeros
from tokensphere.flow import FirstTokenFlow, random_tokens, simulate
from tokensphere.paper import survey
from tokensphere.paper.checks import tools
from tokensphere.paper.ledger import Evidence, above, at_least, at_most, below, equal

VERTEX, EQUAL, _, UNRESOLVED = range(len(KINDS))


def eye(dim: int) -> Tensor:
    return torch.eye(dim, dtype=torch.float64)


def known(S_BC: Tensor, S_Delta: Tensor, y0: Tensor, horizon: float) -> int:
    """How many of the first tokens y0, (n, D), are known to end at an equilibrium."""
    shape = (*y0.shape, y0.shape[-1])
    ends = first_token.settle(S_BC.expand(shape), S_Delta.expand(shape), y0, horizon)
    return int((ends.kind != UNRESOLVED).sum())


def leave(field: FirstTokenFlow, point: Tensor, y0: Tensor, at: Tensor) -> int:
    """How many first tokens, in the directions y0, (n, 1, D), get 0.1 away from `point`."""
    tokens = simulate(field, tools.unit(y0), at, 1e-7, 1e-9).tokens
    return int(((tokens - point).norm(dim=-1).amax(0) > 0.1).sum())


def with_potential(dim: int, generator: Generator) -> tuple[Tensor, first_token.Potential]:
    """S_Delta and an orthant's potential: a Gaussian draw on a random orthant for D < 4; for larger
    D, where draws hardly have any, S_Delta made from a random symmetric H."""
    while True:
        signs = torch.where(tools.normal(generator, dim) < 0, -1.0, 1.0).double()
        S_Delta = tools.normal(generator, dim, dim)
        if dim > 3:
            H, beta = tools.normal(generator, dim, dim), 1 + tools.normal(generator, dim).abs()
            G = (H + H.mT + tools.normal(generator, dim)) / beta
            S_Delta = signs.unsqueeze(-1) * G.mT
        if (found := first_token.potential(S_Delta, signs)) is not None:
            return S_Delta, found


def rests_in_a_chase(generator: Generator, diagonal: float) -> Evidence:
    """Late on, a first token of three steps that chase one another is almost at rest, S_BC = I."""
    S_Delta = cycles.rock_paper_scissors(diagonal)
    proof = cycles.certify_octant(S_Delta)
    conditions = [proof.cyclic, proof.interior, proof.source, proof.repels]
    y0 = tools.unit(0.2 + tools.uniform(generator, 1, 3))
    field = FirstTokenFlow(eye(3), S_Delta)
    late = simulate(field, y0, tools.times(300, 601), 1e-6, 1e-8).tokens[300:]
    slowest = field(late).norm(dim=-1).min()
    criteria = [
        below("slowest speed from t = 150 to 300", slowest, 0.01),
        at_most("conditions of a limit cycle that are proved, of four", sum(conditions), 3),
    ]
    quotient = proof.quotient.str(12, radius=True)
    return Evidence(criteria, {"expansion by contraction at the vertices": quotient})


def rests_with_a_potential(generator: Generator) -> Evidence:
    """First tokens of an orthant with a potential, S_BC = I: it grows, and they come to rest."""
    fall, late = 0.0, {}
    for dim in (2, 3, 6):
        S_Delta, V = with_potential(dim, generator)
        y0 = V.signs * random_tokens(10, 1, dim, generator=generator).abs()
        field = FirstTokenFlow(eye(dim), S_Delta)
        tokens = simulate(field, y0, tools.times(60, 121), 1e-6, 1e-8).tokens
        fall = max(fall, float(-V.value(tokens[:, :, 0]).diff(dim=0).min()))
        late[dim] = field(tokens[-1]).norm(dim=-1).median()
    criteria = [
        below("largest fall of the potential", fall, 1e-5),  # the integration's error
        # A median, as a few tokens are slow.
        *(below(f"median speed at t = 60, D = {d}", v, 0.01) for d, v in late.items()),
    ]
    return Evidence(criteria)


def ends_in_a_chase(generator: Generator, diagonals: list[float]) -> Evidence:
    """First tokens of octants where steps chase one another end at equilibria, S_BC = I."""
    count, criteria, proved, numbers = 10, [], 0, {"first tokens each": 10}
    for d in diagonals:
        S_Delta = cycles.rock_paper_scissors(d)
        y0 = random_tokens(count, 3, generator=generator).abs()
        ended = known(eye(3), S_Delta, y0, horizon=160.0)
        criteria.append(at_least(f"ends at equilibria, diagonal {d}", ended, 0.9 * count))
        proof = cycles.certify_octant(S_Delta)
        proved += proof.periodic or proof.attracts
        numbers[f"expansion by contraction, diagonal {d}"] = proof.quotient.str(12, radius=True)
        numbers[f"determinant of the steps, diagonal {d}"] = float(torch.linalg.det(S_Delta))
    title = "octants proved to hold an open set of first tokens with other limit points"
    return Evidence([*criteria, equal(title, proved, 0)], numbers)


def ends_with_a_potential(generator: Generator) -> Evidence:
    """First tokens end at equilibria for D = 2 and any form, and where there is a potential and
    the form is definite."""
    count, horizon = 40, 320.0
    S_BC, S_Delta, _ = survey.draw("Gaussian", 2, count, generator)
    plane = known(S_BC, S_Delta, random_tokens(count, 2, generator=generator), horizon)
    S_Delta, potentials = zip(*(with_potential(3, generator) for _ in range(count)), strict=True)
    y0 = random_tokens(count, 3, generator=generator).abs()
    y0 = y0 * torch.stack([V.signs for V in potentials])
    space = known(eye(3), torch.stack(S_Delta), y0, horizon)
    # A few tokens are slow.
    criteria = [
        at_least("ends at equilibria, D = 2, Gaussian form", plane, 0.9 * count),
        at_least("ends at equilibria, D = 3, a potential", space, 0.9 * count),
    ]
    return Evidence(criteria, {"first tokens each": count})


def is_left(generator: Generator, stability: str) -> Evidence:
    """All first tokens that start 0.01 from an equilibrium of this stability get 0.1 away."""
    points: list = []
    while not points:
        S_Delta = tools.normal(generator, 3, 3)
        points = [e for e in equilibria(eye(3), S_Delta) if e.stability == stability]
    point, slowest = points[0].point, float(points[0].eigenvalues.real.abs().min())
    y0 = point + 0.01 * random_tokens(20, 1, 3, generator=generator)
    left = leave(FirstTokenFlow(eye(3), S_Delta), point, y0, tools.times(10 / slowest, 51))
    return Evidence([equal("first tokens that get 0.1 away", left, 20)], {"first tokens": 20})


def stable_by_jacobian(S_BC: Tensor, S_Delta: Tensor) -> Tensor:
    """Which of e_1 .. e_D, -e_1 .. -e_D have Jacobians with eigenvalues in the left half plane."""
    axes = eye(S_Delta.shape[-1])
    points = torch.cat([axes, -axes]).expand(len(S_Delta), -1, -1)
    J = first_token.jacobian(S_BC.unsqueeze(1), S_Delta.unsqueeze(1), points)
    return (torch.linalg.eigvals(J).real < 0).all(-1)


def vertex_rule(generator: Generator, rows: bool) -> Evidence:
    """e_d and -e_d are stable as the diagonal entry is an extreme of its row (or column)."""
    wrong, checked = 0, 0
    for dim in (2, 3, 6):
        S_BC, S_Delta, _ = survey.draw("Gaussian", dim, 200, generator)
        rule = vertices.stable_vertices(S_BC, S_Delta if rows else S_Delta.mT)
        wrong += int((stable_by_jacobian(S_BC, S_Delta) != rule).sum())
        checked += rule.numel()
    numbers = {"coordinate vectors": checked, "D": [2, 3, 6]}
    return Evidence([equal("coordinate vectors told wrongly", wrong, 0)], numbers)


def binomial(generator: Generator, mean: float) -> Evidence:
    """The number of stable coordinate vectors is Binomial(D, mean / D)."""
    criteria = []
    for law, dim in product(survey.LAWS, (3, 6)):
        S_BC, S_Delta, _ = survey.draw(law, dim, 1000, generator)
        counts = stable_by_jacobian(S_BC, S_Delta).sum(-1)
        p = vertices.binomial_p_value(counts, dim, mean / dim)
        # Four tests: a false alarm in one seed of 2,500.
        criteria.append(above(f"p-value, {law}, D = {dim}", p, 1e-4))
    return Evidence(criteria, {"draws each": 1000})


def zeros_on_the_diagonal(generator: Generator, counted: bool) -> Evidence:
    """With z zeros on the diagonal of a Gaussian S_BC the number of stable coordinate vectors is
    Binomial(D - z, 2 / D); if `counted`, Binomial(D, 2 / D). The examples have D = 2."""
    swap, semidefinite, S_Delta = [[0, 1], [1, 0]], [[0, 0], [0, 1]], [[1, 0], ["3/10", 0]]
    criteria = [
        equal("stable, form 2 y1 y2", _attracting_axes(swap, S_Delta), 2 if counted else 0),
        equal("stable, form y2 squared", _attracting_axes(semidefinite, S_Delta), 2),
    ]
    for dim, z in ((3, 1), (6, 2)):
        S_BC, S_Delta, _ = survey.draw("Gaussian", dim, 1000, generator)
        S_BC.diagonal(dim1=1, dim2=2)[:, :z] = 0
        counts = stable_by_jacobian(S_BC, S_Delta).sum(-1)
        p = vertices.binomial_p_value(counts, dim if counted else dim - z, 2 / dim)
        criteria.append(above(f"p-value, D = {dim}, {z} zeros", p, 1e-4))
    criteria.append(equal("draws, D = 3, in which some leave such a vector", _left(generator), 10))
    return Evidence(criteria, {"draws each, and 10 runs": 1000})


def _attracting_axes(S_BC, S_Delta) -> int:
    axes = [z for z in circle.portrait(S_BC, S_Delta).zeros if "coordinate vector" in z.kinds]
    return sum(zero.stability == "attracting" for zero in axes)


def _left(generator: Generator) -> int:
    """Of 10 tokens at 0.05 from e_1 as many as get 0.1 away, for forms that are zero at e_1 and
    negative on the tokens' side, and steps that make e_1 stable where a form is positive."""
    S_BC, S_Delta = tools.normal(generator, 2, 10, 3, 3)
    S_BC[:, 0, 0], S_Delta[:, 0, 0] = 0, S_Delta[:, 0].amax(-1) + 0.5
    slopes = (S_BC + S_BC.mT)[:, 0]
    S_BC[:, 0] += slopes.sign()  # slopes of 1 or more: no other zeros on the tokens' way
    y0 = eye(3)[0] - 0.05 * slopes.sign() / 2**0.5
    return leave(FirstTokenFlow(S_BC, S_Delta), eye(3)[0], y0[:, None], tools.times(400, 401))


def antipodes(generator: Generator, weighted: bool) -> Evidence:
    """Eigenvalues along the support at -p are -e^{-u} (or, without weight, -1) times those at p;
    others change sign; so as many type-1 equilibria are stable as are unstable."""
    error, stabilities = 0.0, []
    for dim in (2, 3, 4):
        for S_BC, S_Delta in zip(*survey.draw("Gaussian", dim, 5, generator)[:2], strict=True):
            found = equilibria(S_BC, S_Delta)
            stabilities += [e.stability for e in found]
            for e in found[::2]:  # the antipode follows
                if len(e.support) < 2:
                    continue
                A = list(e.support)
                block = S_BC[A][:, A], S_Delta[A][:, A]
                here, there = (first_token.spectrum(*block, s * e.point[A]) for s in (1, -1))
                u = float((e.point @ S_Delta)[A[0]])
                expected = -(np.exp(-u) if weighted else 1.0) * here
                # As polynomials: equal sets of roots, whatever their order.
                gap = np.poly(expected.numpy()) - np.poly(there.numpy())
                error = max(error, float(np.abs(gap).max() / (1 + there.abs().max())))
    stable, unstable = (stabilities.count(name) for name in ("stable", "unstable"))
    criteria = [
        # Coefficients of characteristic polynomials: rounding.
        below("largest relative error of eigenvalues along the support", error, 1e-8),
        equal("stable equilibria, as many as unstable", stable, unstable),
    ]
    return Evidence(criteria)


def coordinate_limits(generator: Generator, reduced: bool) -> Evidence:
    """First tokens with S_BC = I and independent columns, `reduced` or not, end at coordinate
    vectors."""
    count, dim = 60, 3
    S_BC, S_Delta, _ = survey.draw("identity", dim, count, generator)
    y0 = random_tokens(count, dim, generator=generator)
    if reduced:
        S_Delta = torch.diag_embed(y0.sign())
    kind = first_token.settle(S_BC, S_Delta, y0, horizon=160.0).kind
    at = kind.bincount(minlength=len(KINDS)).tolist()
    criteria = [
        equal("first tokens that end at other equal steps", at[EQUAL], 0),
        above("first tokens that end at a coordinate vector", at[VERTEX], 0.9 * count),
    ]
    return Evidence(criteria, {"first tokens": count, "still unresolved": at[UNRESOLVED]})


def one_of_two_attracts(generator: Generator, one: str) -> Evidence:
    """kappa(p) < 0 or kappa(-p) < 0 at all zeros p where exactly one c_i is positive (negative)."""
    checked, without = 0, 0
    for dim in 6 * (2, 3, 3, 3, 4, 4, 4):
        # One eigenvalue of one sign, all others of the other.
        values = 0.2 + tools.uniform(generator, dim)
        values[0] *= -1
        side = 1 if tools.uniform(generator, 1) < 0.5 else -1
        S_BC = zeros.form_with_eigenvalues(side * values, generator)
        S_Delta = 10 ** (2 * tools.uniform(generator, 1) - 1) * tools.normal(generator, dim, dim)
        p = zeros.random_zeros(S_BC, 1000, generator)
        kappa, c = zeros.inflow(S_BC, S_Delta, p)
        opposite, _ = zeros.inflow(S_BC, S_Delta, -p)
        which = ((c if one == "positive" else -c) > 0).sum(-1) == 1
        checked += int(which.sum())
        without += int((which & (kappa >= 0) & (opposite >= 0)).sum())
    title = "pairs of antipodal zeros of which neither attracts"
    return Evidence([equal(title, without, 0), at_least("pairs", checked, 1000)])
