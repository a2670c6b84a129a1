"""Claims of section 3.1 and appendix B.1: equilibria.

Vectors and matrices are of integers, so that what is claimed of sets is decided exactly; an integer
vector v stands for the point v / |v| of the sphere. S_Delta is a list of rows; column j is
S_{Delta,j}. Indices count from 0.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, product

import sympy
import torch
from flint import arb, ctx, fmpz_mat
from torch import Tensor

from tokensphere import symbolic
from tokensphere.first_token import equilibria
from tokensphere.flow import MambaFlow, random_tokens
from tokensphere.paper.ledger import Evidence

Vector = Sequence[int]
Rows = Sequence[Sequence[int]]

CIRCLE = [[1, 1, 0], [0, 0, 1], [0, 1, 0]]
"""Independent columns; on the first two coordinates all steps agree."""


def identity(dim: int, diagonal: int = 1, off: int = 0) -> list[list[int]]:
    """`diagonal` on the diagonal and `off` elsewhere, dim x dim."""
    return [[diagonal if i == j else off for j in range(dim)] for i in range(dim)]


def supports(dim: int) -> Iterator[tuple[int, ...]]:
    """The nonempty subsets of the indices."""
    for size in range(1, dim + 1):
        yield from combinations(range(dim), size)


def kernel(S_Delta: Rows, A: Sequence[int]) -> list[list[int]]:
    """A basis of {z in R^A: <(S_{Delta,j})_A, z> is the same for all j in A}, exact."""
    differences = [[S_Delta[i][j] - S_Delta[i][A[0]] for i in A] for j in A[1:]]
    if not differences:
        return [[1]]
    basis, nullity = fmpz_mat(differences).nullspace()
    return [[int(row[c]) for row in basis.tolist()] for c in range(nullity)]


def lines(S_Delta: Rows) -> list[tuple[int, ...]]:
    """The supports whose kernel is a line without a zero coordinate: two equilibria each."""
    kernels = ((A, kernel(S_Delta, A)) for A in supports(len(S_Delta)))
    return [A for A, basis in kernels if len(basis) == 1 and all(basis[0])]


def finite(S_Delta: Rows) -> bool:
    """Whether every kernel is a line: if and only if the type 1 set is finite."""
    return all(len(kernel(S_Delta, A)) == 1 for A in supports(len(S_Delta)))


def inner(S_Delta: Rows, v: Vector) -> list[int]:
    """<S_{Delta,j}, v> for each j."""
    return [sum(row[j] * x for row, x in zip(S_Delta, v, strict=True)) for j in range(len(v))]


def form(S_BC: Rows, v: Vector) -> int:
    """<v, S_BC v>."""
    return sum(a * x * y for row, x in zip(S_BC, v, strict=True) for a, y in zip(row, v))  # noqa: B905


def _agree(values: Sequence[int], A: Sequence[int]) -> bool:
    return len({values[j] for j in A}) == 1


def type_1(S_Delta: Rows, v: Vector) -> bool:
    """Theorem B.1, read as restricted: equal steps on the support."""
    return _agree(inner(S_Delta, v), [j for j, x in enumerate(v) if x])


def in_printed_set(S_Delta: Rows, v: Vector) -> bool:
    """Proposition 3.1: y in H_{Delta,A} for a nonempty A, with y_k = 0 for k **in** A."""
    u = inner(S_Delta, v)
    return any(_agree(u, A) and not any(v[k] for k in A) for A in supports(len(v)))


def in_corrected_set(S_Delta: Rows, v: Vector) -> bool:
    """The same with y_k = 0 for k **not in** A."""
    u = inner(S_Delta, v)
    whole = range(len(v))
    return any(
        _agree(u, A) and not any(v[k] for k in whole if k not in A) for A in supports(len(v))
    )


def moves(S_BC: Rows, S_Delta: Rows, v: Vector) -> bool:
    """Whether eq (9)'s field at v / |v| is proved to be nonzero, by ball arithmetic.

    False proves nothing in itself, but bounds the field by 1e-25 or so.
    """
    q = form(S_BC, v)
    with ctx.workprec(128):
        square = arb(sum(x * x for x in v))
        steps = [(arb(u) / square.sqrt()).exp().log1p() for u in inner(S_Delta, v)]
        mean = sum((step * x * x for step, x in zip(steps, v, strict=True)), arb(0)) / square
        return any(
            not (q * (step - mean) * x).contains(0) for step, x in zip(steps, v, strict=True)
        )


def trials(S_Delta: Rows, reach: int = 2) -> Iterator[tuple[int, ...]]:
    """All integer vectors but 0 with entries up to `reach`, and those that span the kernels."""
    dim = len(S_Delta)
    yield from (v for v in product(range(-reach, reach + 1), repeat=dim) if any(v))
    for A in supports(dim):
        for z in kernel(S_Delta, A):
            yield tuple(z[A.index(j)] if j in A else 0 for j in range(dim))


def integers(generator: torch.Generator, dim: int, reach: int) -> list[list[int]]:
    """dim x dim, each entry even on -reach..reach."""
    return torch.randint(-reach, reach + 1, (dim, dim), generator=generator).tolist()


def tensor(rows: Rows) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def _library(S_Delta: Rows) -> tuple[int, int]:
    """How many isolated equilibria and families the package finds, in floating point."""
    found = equilibria(tensor(identity(len(S_Delta))), tensor(S_Delta))
    families = sum(point.kind == "family" for point in found)
    return len(found) - families, families


def diagonal_ends(generator: torch.Generator, last: str) -> Evidence:
    dim = 4
    S_BC, S_Delta = (torch.randn(dim, dim, generator=generator).double() for _ in range(2))
    x = random_tokens(3, dim, generator=generator)
    y = x[0]
    entries = (y @ S_BC @ y) * torch.log1p(torch.exp(y @ S_Delta))
    if last == "d":  # for d < D the rest of the diagonal is not there
        entries[dim - 1] = 0
    layer = entries * y
    field = layer - (layer @ y) * y
    difference = float((field - MambaFlow(S_BC, S_Delta, torch.ones(dim).double())(x)[0]).norm())
    return Evidence(difference < 1e-12, {"D": dim, "distance from eq (14)'s first row": difference})


def symmetric_is_enough(generator: torch.Generator, tokens: int) -> Evidence:
    dim = 3
    S_BC, S_Delta = (torch.randn(dim, dim, generator=generator).double() for _ in range(2))
    x, a = random_tokens(2, dim, generator=generator), torch.ones(dim).double()
    speeds = [MambaFlow(S, S_Delta, a)(x)[:tokens] for S in (S_BC, (S_BC + S_BC.mT) / 2)]
    change = (speeds[0] - speeds[1]).norm(dim=-1)
    return Evidence(
        float(change.max()) < 1e-12, {"change of each token's velocity": change.tolist()}
    )


def equation_19(mean: Callable[[sympy.Matrix, sympy.Matrix], sympy.Expr]) -> Evidence:
    """Eqs (19)-(20) against P_y(A_11 y), with symbols; |y| = 1 is not used."""
    left = {}
    for dim in (1, 2, 3):
        y = sympy.Matrix(1, dim, sympy.symbols(f"y1:{dim + 1}", real=True))
        S_BC = sympy.Matrix(dim, dim, sympy.symbols(f"b:{dim * dim}"))
        S_Delta = sympy.Matrix(dim, dim, sympy.symbols(f"s:{dim * dim}"))
        steps = symbolic.steps(y, S_Delta)
        q = (y * S_BC * y.T)[0]
        claimed = (steps - mean(steps, y) * sympy.ones(1, dim)).multiply_elementwise(y) * q
        field = symbolic.mamba_field(y, S_BC, S_Delta, [1] * dim)
        left[f"terms left (D = {dim}):"] = sum(
            len(sympy.Add.make_args(e)) for e in (claimed - field).expand() if e != 0
        )
    return Evidence(not any(left.values()), left)


def steps_agree_on_a_plane(generator: torch.Generator, sign: int) -> Evidence:
    """sign(Delta_i - Delta_0) = sign(<S_i - S_0, y>), certified; i = 1."""
    S_Delta = integers(generator, 3, 5)
    S_Delta[0][1] = S_Delta[0][0] + 1  # two columns that differ
    on, wrong, off = 0, 0, 0
    for v in trials(S_Delta):
        u = inner(S_Delta, v)
        with ctx.workprec(128):
            root = arb(sum(x * x for x in v)).sqrt()
            first, second = ((arb(u[j]) / root).exp().log1p() for j in (0, 1))
            apart = second > first or second < first
            expected = u[1] - sign * u[0]
            right = (second > first) == (expected > 0) and (second < first) == (expected < 0)
        on, off, wrong = on + (not apart), off + apart, wrong + (not right)
    return Evidence(wrong == 0, {"steps equal": on, "steps differ": off, "against eq (21)": wrong})


def restriction(generator: torch.Generator, restricted: bool) -> Evidence:
    """(S_{k_j} - S_{k_1}) . y^(/=0) exists and is (S_{k_j} - S_{k_1}) . y."""
    S_Delta = integers(generator, 3, 5)
    defined, equal, total = 0, 0, 0
    for v in trials(S_Delta):
        A = [j for j, x in enumerate(v) if x]
        entries, rows = [v[j] for j in A], A if restricted else range(3)
        total += 1
        if len(rows) == len(entries):
            defined += 1
            u = [sum(S_Delta[r][j] * x for r, x in zip(rows, entries, strict=True)) for j in A]
            whole = inner(S_Delta, v)
            equal += [a - u[0] for a in u] == [whole[j] - whole[A[0]] for j in A]
    return Evidence(equal == total, {"vectors": total, "lengths agree": defined, "equal": equal})


def _only_two(S_Delta: Rows, v: Vector) -> bool:
    """Type 1 with the difference of the first two active columns only: wrong for three."""
    return _agree(inner(S_Delta, v), [j for j, x in enumerate(v) if x][:2])


def characterises(
    generator: torch.Generator, member: Callable[[Rows, Vector], bool], definite: bool
) -> Evidence:
    """At rest if and only if `member` or at a zero of the form, over small integer vectors."""
    numbers = {"vectors": 0, "at rest": 0, "at rest, not in the set": 0, "in the set, moving": 0}
    for dim in (2, 3, 4):
        S_Delta = integers(generator, dim, 4)
        S_BC = identity(dim) if definite else integers(generator, dim, 3)
        for v in trials(S_Delta):
            expected = form(S_BC, v) == 0 or member(S_Delta, v)
            moving = moves(S_BC, S_Delta, v)
            numbers["vectors"] += 1
            numbers["at rest"] += not moving
            numbers["at rest, not in the set"] += not moving and not expected
            numbers["in the set, moving"] += moving and expected
    wrong = numbers["at rest, not in the set"] + numbers["in the set, moving"]
    return Evidence(wrong == 0, numbers)


def empty_if_definite(generator: torch.Generator) -> Evidence:
    """H_S is empty for S_BC definite, as printed: in R^D, and by S_BC's own eigenvalues."""
    example = tensor([[1, 5], [0, 1]])
    slope = (-5 + 21**0.5) / 2  # y_1 / y_2, from y_1^2 + 5 y_1 y_2 + y_2^2 = 0
    y = torch.tensor([slope, 1.0], dtype=torch.float64)
    y = y / y.norm()
    at_zero, at_y = form(identity(2), (0, 0)), float(y @ example @ y)
    return Evidence(
        at_zero != 0 and abs(at_y) > 1e-12,
        {
            "form of I at y = 0": at_zero,
            "eigenvalues of [[1, 5], [0, 1]]": torch.linalg.eigvals(example).real.tolist(),
            "its form at a unit vector": at_y,
        },
    )


def no_unit_zero_iff_definite(generator: torch.Generator) -> Evidence:
    """The form vanishes on the sphere if and only if the symmetric part is not definite."""
    wrong, counts = 0, {"definite": 0, "semidefinite": 0, "indefinite": 0}
    for dim in (1, 2, 3, 4):
        for kind, sign in product(counts, (1, -1)):
            basis = torch.linalg.qr(torch.randn(dim, dim, generator=generator).double()).Q
            values = 0.1 + torch.rand(dim, generator=generator).double()
            if kind != "definite":
                values[0] = 0 if kind == "semidefinite" else -values[0]
            if kind == "indefinite" and dim == 1:
                continue
            skew = torch.randn(dim, dim, generator=generator).double()
            S_BC = sign * basis @ torch.diag(values) @ basis.mT + skew - skew.mT
            lengths, axes = torch.linalg.eigh((S_BC + S_BC.mT) / 2)
            # Between the two outer axes where these have opposite signs, else the one of value 0.
            y = axes[:, 0]
            if dim > 1:
                y = lengths[-1].abs().sqrt() * y + lengths[0].abs().sqrt() * axes[:, -1]
                y = y / y.norm()
            samples = random_tokens(200, dim, generator=generator)
            least = float(((samples @ S_BC) * samples).sum(-1).abs().min())
            vanishes = abs(float(y @ S_BC @ y)) < 1e-12
            counts[kind] += 1
            wrong += vanishes == (kind == "definite") or (kind == "definite" and least < 0.1 - 1e-9)
    return Evidence(wrong == 0, {"forms " + k: n for k, n in counts.items()} | {"wrong": wrong})


def _count(generator: torch.Generator, expected: Callable[[int], int]) -> Evidence:
    """The number of type 1 equilibria for independent columns, exact; D = 2..5."""
    dims = [2, 3, 4, 5]
    # A minor of such entries vanishes with a probability of about 1e-6; there are fewer than 128.
    drawn = [integers(generator, dim, 10**6) for dim in dims]
    counts = [2 * len(lines(S_Delta)) for S_Delta in drawn]
    package = [list(_library(S_Delta)) for S_Delta in drawn]
    right = all(map(finite, drawn)) and package == [[count, 0] for count in counts]
    return Evidence(
        right and counts == [expected(dim) for dim in dims],
        {
            "D": dims,
            "columns independent": all(fmpz_mat(S_Delta).det() != 0 for S_Delta in drawn),
            "equilibria": counts,
            "isolated ones and families by the package": package,
        },
    )


def independent_is_isolated(generator: torch.Generator) -> Evidence:
    isolated, families = _library(CIRCLE)
    return Evidence(
        finite(CIRCLE),
        {
            "determinant": int(fmpz_mat(CIRCLE).det()),
            "dimension of the kernel on {1, 2}": len(kernel(CIRCLE, (0, 1))),
            "families": families,
            "isolated beside them": isolated,
            "isolated for the identity, D = 3": 2 * len(lines(identity(3))),
        },
    )


def affine_is_isolated(generator: torch.Generator) -> Evidence:
    """No family if and only if each restriction is affinely independent; then the count."""
    numbers = {"matrices": 0, "finite": 0, "finite with dependent columns": 0, "wrong": 0}
    matrices = [identity(3, 2, -1), CIRCLE, *(integers(generator, 3, 1) for _ in range(150))]
    for S_Delta in matrices:
        affine = all(_affinely_independent(S_Delta, A) for A in supports(3))
        isolated, families = _library(S_Delta)
        right = affine == (families == 0) and (not affine or isolated == 2 * len(lines(S_Delta)))
        numbers["matrices"] += 1
        numbers["finite"] += affine
        numbers["finite with dependent columns"] += affine and fmpz_mat(S_Delta).det() == 0
        numbers["wrong"] += not right
    return Evidence(numbers["wrong"] == 0, numbers)


def _affinely_independent(S_Delta: Rows, A: Sequence[int]) -> bool:
    """Of the columns j in A, restricted to the rows in A: rank with a row of ones."""
    block = [[1] * len(A), *([S_Delta[i][j] for j in A] for i in A)]
    return fmpz_mat(block).rank() == len(A)


def one_dimensional(generator: torch.Generator, restricted: bool) -> Evidence:
    """For independent columns k_1..k_l the common kernel in R^l is a line."""
    numbers = {"supports": 0, "kernel not a line": 0}
    for S_Delta in [CIRCLE, *(integers(generator, 3, 1) for _ in range(150))]:
        for A in supports(3):
            rows = A if restricted else range(3)
            if fmpz_mat([[S_Delta[i][j] for j in A] for i in rows]).rank() == len(A):
                numbers["supports"] += 1
                numbers["kernel not a line"] += len(kernel(S_Delta, A)) != 1
    return Evidence(numbers["kernel not a line"] == 0, numbers)


def signed_axes(generator: torch.Generator, two: bool) -> Evidence:
    """S_{Delta,m} = s_m e_m: the equilibria, exact and by the package."""
    dims, counts, right = [2, 3, 4, 5], [], True
    for dim in dims:
        signs = (2 * torch.randint(2, (dim,), generator=generator) - 1).tolist()
        S_Delta = [[signs[i] if i == j else 0 for j in range(dim)] for i in range(dim)]
        found = lines(S_Delta)
        counts.append(2 * len(found))
        for A in found:
            (z,) = kernel(S_Delta, A)
            # +-(s_i) on A
            right &= [x * z[0] * signs[A[0]] for x in z] == [signs[i] * z[0] ** 2 for i in A]
        points = equilibria(tensor(identity(dim)), tensor(S_Delta))
        claimed = [tensor([signs])[0, list(p.support)] / len(p.support) ** 0.5 for p in points]
        apart = max(
            float((p.point[list(p.support)].abs() * c.sign() - c).abs().max())
            for p, c in zip(points, claimed, strict=True)
        )
        right &= len(points) == counts[-1] and apart < 1e-12
    expected = [2 if two else 2 * (2**dim - 1) for dim in dims]
    return Evidence(right and counts == expected, {"D": dims, "equilibria": counts})


def _weighted(steps: sympy.Matrix, y: sympy.Matrix) -> sympy.Expr:
    return sum(step * x**2 for step, x in zip(steps, y, strict=True))
