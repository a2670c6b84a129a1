"""Claims of section 3.1 and appendix B.1: equilibria.

Vectors and matrices are of integers, as in `tokensphere.first_token.exact`, so that what is claimed
of sets is decided exactly; an integer vector v stands for the point v / |v| of the sphere.
"""

from collections.abc import Sequence
from functools import partial
from itertools import product

import sympy
import torch
from flint import fmpz_mat
from torch import Generator, Tensor

from tokensphere import symbolic
from tokensphere.first_token import equilibria, exact, zeros
from tokensphere.flow import MambaFlow, project, random_tokens
from tokensphere.paper.checks import tools
from tokensphere.paper.ledger import Criterion, Evidence, above, at_least, below, equal

Vector = Sequence[int]
Rows = Sequence[Sequence[int]]

CIRCLE = [[1, 1, 0], [0, 0, 1], [0, 1, 0]]
"""Independent columns; on the first two coordinates all steps agree."""

DIMS = (2, 3, 4, 5)


def diagonal(entries: Sequence[int], off: int = 0) -> list[list[int]]:
    """`entries` on the diagonal and `off` elsewhere."""
    return [[e if i == j else off for j in range(len(entries))] for i, e in enumerate(entries)]


def integers(generator: Generator, dim: int, reach: int) -> list[list[int]]:
    """dim x dim, each entry even on -reach..reach."""
    return torch.randint(-reach, reach + 1, (dim, dim), generator=generator).tolist()


def tensor(rows: Rows) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def in_floating_point(S_Delta: Rows) -> list[int]:
    """How many isolated equilibria and families the package finds, in floating point."""
    found = equilibria(tensor(diagonal([1] * len(S_Delta))), tensor(S_Delta))
    families = sum(point.kind == "family" for point in found)
    return [len(found) - families, families]


def agree(values: Sequence[int], A: Sequence[int]) -> bool:
    return len({values[j] for j in A}) == 1


def in_union(S_Delta: Rows, v: Vector, zeros_in: bool) -> bool:
    """Proposition 3.1: y in H_{Delta,A} for a nonempty A, with y_k = 0 for k in A, as printed; or,
    if not `zeros_in`, for k **not** in A."""
    u = exact.inner_products(S_Delta, v)
    return any(
        agree(u, A) and not any(x for k, x in enumerate(v) if (k in A) == zeros_in)
        for A in exact.supports(len(v))
    )


def two_steps_agree(S_Delta: Rows, v: Vector) -> bool:
    """Type 1 with the difference of the first two active columns only: wrong for three."""
    return agree(exact.inner_products(S_Delta, v), [j for j, x in enumerate(v) if x][:2])


SETS = {
    "equal steps": exact.has_equal_steps,  # Theorem B.1, read as restricted
    "two equal steps": two_steps_agree,
    "zeros in A": partial(in_union, zeros_in=True),
    "zeros off A": partial(in_union, zeros_in=False),
}


def diagonal_ends(generator: Generator, last: str) -> Evidence:
    """P(A_11 y) with the diagonal of A_11 up to the entry `last`, against the flow."""
    S_BC, S_Delta = tools.normal(generator, 2, 4, 4)
    x = random_tokens(3, 4, generator=generator)
    y = x[0]
    entries = (y @ S_BC @ y) * torch.log1p(torch.exp(y @ S_Delta))
    if last == "d":  # for d < D the rest of the diagonal is not there
        entries[-1] = 0
    flow = MambaFlow(S_BC, S_Delta, torch.ones_like(y))(x)[0]
    # Rounding of numbers of order one.
    gap = (project(y, entries * y) - flow).norm()
    return Evidence([below("distance from the first row of eq (14)", gap, 1e-12)], {"D": 4})


def symmetric_is_enough(generator: Generator, tokens: int) -> Evidence:
    """The velocities of the first `tokens` tokens, for S_BC and for its symmetric part."""
    S_BC, S_Delta = tools.normal(generator, 2, 3, 3)
    x, a = random_tokens(2, 3, generator=generator), torch.ones(3, dtype=torch.float64)
    one, other = (MambaFlow(S, S_Delta, a)(x)[:tokens] for S in (S_BC, (S_BC + S_BC.mT) / 2))
    changes = enumerate((one - other).norm(dim=-1), 1)
    # Rounding.
    return Evidence([below(f"change of the velocity of token {i}", c, 1e-12) for i, c in changes])


def equation_19(generator: Generator, weights: str) -> Evidence:
    """Eqs (19)-(20) against P_y(A_11 y), with symbols; |y| = 1 is not used.

    Delta(y) is the sum of the steps with the weights y_k^2 ("squares"), or without ("none").
    """
    criteria = []
    for dim in (1, 2, 3):
        y = sympy.Matrix(1, dim, sympy.symarray("y", dim))
        S_BC, S_Delta = (sympy.Matrix(sympy.symarray(name, (dim, dim))) for name in "bs")
        steps = symbolic.steps(y, S_Delta)
        mean = steps.dot(y.multiply_elementwise(y) if weights == "squares" else sympy.ones(1, dim))
        claimed = (y * S_BC * y.T)[0] * (steps - mean * sympy.ones(1, dim)).multiply_elementwise(y)
        left = (claimed - symbolic.mamba_field(y, S_BC, S_Delta, [1] * dim)).expand()
        terms = sum(len(sympy.Add.make_args(entry)) for entry in left if entry != 0)
        criteria.append(equal(f"terms left, D = {dim}", terms, 0))
    return Evidence(criteria)


def steps_agree_on_a_plane(generator: Generator, sign: int) -> Evidence:
    """sign(Delta_i - Delta_0) = sign(<S_i - S_0, y>), certified; i = 1."""
    S_Delta = integers(generator, 3, 5)
    S_Delta[0][1] = S_Delta[0][0] + 1  # two columns that differ
    wrong, orders = 0, []
    for v in exact.trial_vectors(S_Delta):
        u = exact.inner_products(S_Delta, v)
        expected = u[1] - sign * u[0]
        first, second, _ = exact.steps(S_Delta, v)
        orders.append((second > first, second < first))
        wrong += orders[-1] != (expected > 0, expected < 0)
    same = orders.count((False, False))
    numbers = {"vectors": len(orders), "with equal steps": same}
    return Evidence([equal("vectors against eq (21)", wrong, 0)], numbers)


def restriction(generator: Generator, restricted: bool) -> Evidence:
    """(S_{k_j} - S_{k_1}) . y^(/=0) exists and is (S_{k_j} - S_{k_1}) . y."""
    S_Delta = integers(generator, 3, 5)
    defined, same, total = 0, 0, 0
    for v in exact.trial_vectors(S_Delta):
        A = [j for j, x in enumerate(v) if x]
        rows = A if restricted else range(3)
        total += 1
        if len(rows) == len(A):
            defined += 1
            u = [sum(S_Delta[r][j] * v[i] for r, i in zip(rows, A, strict=True)) for j in A]
            whole = exact.inner_products(S_Delta, v)
            same += [x - u[0] for x in u] == [whole[j] - whole[A[0]] for j in A]
    criteria = [
        equal("vectors with as many entries as the columns", defined, total),
        equal("vectors with the products of eq (21)", same, total),
    ]
    return Evidence(criteria)


def characterises(generator: Generator, candidate: str, definite: bool) -> Evidence:
    """At rest if and only if in the `candidate` of SETS or at a zero of the form, over small
    integer vectors."""
    found = []
    for dim in (2, 3, 4):
        S_Delta = integers(generator, dim, 4)
        S_BC = diagonal([1] * dim) if definite else integers(generator, dim, 3)
        for v in exact.trial_vectors(S_Delta):
            expected = exact.form(S_BC, v) == 0 or SETS[candidate](S_Delta, v)
            found.append((not exact.moves(S_BC, S_Delta, v), expected))
    criteria = [
        equal("vectors at rest that are not in the set", found.count((True, False)), 0),
        equal("vectors in the set that move", found.count((False, True)), 0),
    ]
    at_rest = sum(rests for rests, _ in found)
    return Evidence(criteria, {"vectors": len(found), "at rest": at_rest, "D": [2, 3, 4]})


def empty_if_definite(generator: Generator) -> Evidence:
    """H_S is empty for S_BC definite, as printed: in R^D, and by S_BC's own eigenvalues."""
    example = tensor([[1, 5], [0, 1]])
    # From y_1^2 + 5 y_1 y_2 + y_2^2 = 0.
    y = tools.unit(tensor([(-5 + 21**0.5) / 2, 1]))
    at_zero = exact.form(diagonal([1, 1]), (0, 0))
    criteria = [
        above("modulus of the form of the identity at 0", at_zero, 0),
        above("modulus of the example's form at a unit vector", (y @ example @ y).abs(), 1e-12),
    ]
    own = torch.linalg.eigvals(example).real.tolist()
    return Evidence(criteria, {"example, by rows": example.tolist(), "its eigenvalues": own})


def no_unit_zero_iff_definite(generator: Generator) -> Evidence:
    """The form vanishes on the sphere if and only if the symmetric part is not definite."""
    definite, others, missed = [], [], 0
    for dim, factor, sign in product((1, 2, 3, 4), (1, 0, -1), (1, -1)):
        if factor < 0 and dim == 1:
            continue
        values = 0.1 + tools.uniform(generator, dim)
        values[0] *= factor
        S_BC = zeros.form_with_eigenvalues(sign * values, generator)
        y = zeros.unit_zero(S_BC)
        missed += (y is None) != (factor > 0)
        if factor > 0:
            samples = random_tokens(200, dim, generator=generator)
            definite.append(float(((samples @ S_BC) * samples).sum(-1).abs().min()))
        elif y is not None:
            others.append(abs(float(y @ S_BC @ y)))
    criteria = [
        equal("forms told wrongly", missed, 0),
        # Eigenvalues are 0.1 or more in modulus; the rest is rounding.
        at_least("least modulus of definite forms", min(definite), 0.1 - 1e-9),
        below("largest modulus of other forms at their zero", max(others), 1e-12),
    ]
    return Evidence(criteria, {"definite forms": len(definite), "other forms": len(others)})


def counts(generator: Generator, expected: list[int]) -> Evidence:
    """The number of type 1 equilibria for independent columns; D in DIMS."""
    # A minor of such entries vanishes with a probability of about 1e-6; there are fewer than 128.
    return Evidence(counted([integers(generator, dim, 10**6) for dim in DIMS], expected))


def counted(matrices: Sequence[Rows], expected: list[int]) -> list[Criterion]:
    """Independent columns, and as many equilibria as expected, exact and in floating point."""
    found = [exact.count(S_Delta) for S_Delta in matrices]
    package = [in_floating_point(S_Delta) for S_Delta in matrices]
    independent = sum(fmpz_mat(S_Delta).det() != 0 for S_Delta in matrices)
    return [
        equal("equilibria for D = 2, 3, 4, 5, exact", found, expected),
        equal("isolated, families, in floating point", package, [[n, 0] for n in found]),
        equal("matrices with independent columns", independent, len(matrices)),
    ]


def small_matrices(generator: Generator) -> list[Rows]:
    """CIRCLE and 150 matrices of -1, 0 and 1, where coincidences are common; D = 3."""
    return [CIRCLE, *(integers(generator, 3, 1) for _ in range(150))]


def isolated_if(generator: Generator, columns: str) -> Evidence:
    """Type 1 is finite, exactly, if the columns are "independent"; or if and only if all of their
    restrictions are affinely so, "affine". In floating point the package finds as many."""
    wrong, in_floats, sets, dependent = [], 0, 0, 0
    matrices = [diagonal([2, 2, 2], off=-1), *small_matrices(generator)]
    for S_Delta in matrices:
        finite, independent = exact.finitely_many(S_Delta), fmpz_mat(S_Delta).det() != 0
        affine = all(exact.affinely_independent(S_Delta, A) for A in exact.supports(3))
        holds = {"independent": finite or not independent, "affine": finite == affine}
        if not holds[columns]:
            wrong.append(S_Delta)
        isolated, families = in_floating_point(S_Delta)
        in_floats += finite == (families == 0) and exact.count(S_Delta) in (None, isolated)
        sets += finite
        dependent += finite and not independent
    criteria = [
        equal("matrices that decide against it", len(wrong), 0),
        equal("matrices told and counted the same in floating point", in_floats, len(matrices)),
        above("finite sets with dependent columns", dependent, 0),
    ]
    numbers = {"matrices": len(matrices), "finite sets": sets, "first against it": wrong[:1]}
    return Evidence(criteria, numbers)


def one_dimensional(generator: Generator, restricted: bool) -> Evidence:
    """For independent columns k_1..k_l the common kernel in R^l is a line."""
    sizes = []
    for S_Delta, A in product(small_matrices(generator), exact.supports(3)):
        rows = A if restricted else range(3)
        if fmpz_mat([[S_Delta[i][j] for j in A] for i in rows]).rank() == len(A):
            sizes.append(len(exact.kernel(S_Delta, A)))
    wide = len(sizes) - sizes.count(1)
    numbers = {"sets of independent columns": len(sizes)}
    return Evidence([equal("kernels that are no line", wide, 0)], numbers)


def signed_axes(generator: Generator, expected: list[int]) -> Evidence:
    """S_{Delta,m} = s_m e_m: as :func:`counts`, and all equilibria are +-(s_i) / sqrt |A| on A."""
    matrices, off, farthest = [], 0, 0.0
    for dim in DIMS:
        signs = (2 * torch.randint(2, (dim,), generator=generator) - 1).tolist()
        S_Delta = diagonal(signs)
        matrices.append(S_Delta)
        for A in exact.isolated_supports(S_Delta):
            (z,) = exact.kernel(S_Delta, A)
            off += len({x * signs[i] for x, i in zip(z, A, strict=True)}) != 1
        for p in equilibria(tensor(diagonal([1] * dim)), tensor(S_Delta)):
            ratios = (p.point * tensor(signs))[list(p.support)] * len(p.support) ** 0.5
            farthest = max(farthest, float((ratios - ratios[0].sign()).abs().max()))
    criteria = [
        *counted(matrices, expected),
        equal("kernels that the signs do not span", off, 0),
        # Rounding of singular vectors.
        below("largest relative error of a coordinate, in floating point", farthest, 1e-12),
    ]
    return Evidence(criteria)
