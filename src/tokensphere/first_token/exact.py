"""Type-1 equilibria of eq (9) counted and recognised without rounding.

For each nonempty support A the equilibria with zeros off A are the unit vectors of

    K_A = {z in R^A: <(S_{Delta,j})_A, z> is the same for all j in A},

columns restricted to the rows in A (the corrected Proposition 3.1). Entries of S_Delta, and of
vectors, may be what ``fractions.Fraction`` takes as it is: ints, Fractions, floats (which are
rational numbers). A vector v stands for the point v / |v| of the sphere. S_Delta is a sequence of
rows; column j is S_{Delta,j}. Indices count from 0.

:func:`tokensphere.first_token.equilibria` finds the same points in floating point.
"""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations, product

from flint import arb, ctx, fmpq, fmpz_mat

from tokensphere.door import each, exact, takes, whole

Number = int | float | Fraction
Rows = Sequence[Sequence[Number]]

PRECISION = 128
"""Bits of the balls for steps."""


@takes(dim=whole(1))
def supports(dim: int) -> Iterator[tuple[int, ...]]:
    """The nonempty subsets of the indices 0 .. dim - 1, small ones first."""
    for size in range(1, dim + 1):
        yield from combinations(range(dim), size)


@takes(S_Delta=exact("D", "D"), support=each(whole(0)))
def kernel(S_Delta: Rows, support: Sequence[int]) -> list[list[int]]:
    """An integer basis of K_A for A = `support`: vectors with an entry for each index in A.

    Raises:
        ValueError: S_Delta is not square or holds what is no number; a support that is empty,
            has an index twice or one that is not in 0 .. D - 1.
    """
    whole = _integers(S_Delta)
    support = _support(support, len(whole))
    first = support[0]
    differences = [[whole[i][j] - whole[i][first] for i in support] for j in support[1:]]
    if not differences:
        return [[1]]
    basis, nullity = fmpz_mat(differences).nullspace()
    return [[int(row[column]) for row in basis.tolist()] for column in range(nullity)]


@takes(S_Delta=exact("D", "D"))
def isolated_supports(S_Delta: Rows) -> list[tuple[int, ...]]:
    """The supports A for which K_A is a line without a zero coordinate: two equilibria each.

    Raises: ValueError, as :func:`kernel`.
    """
    kernels = ((A, kernel(S_Delta, A)) for A in supports(len(S_Delta)))
    return [A for A, basis in kernels if len(basis) == 1 and all(basis[0])]


@takes(S_Delta=exact("D", "D"))
def finitely_many(S_Delta: Rows) -> bool:
    """Whether there are finitely many type-1 equilibria: if and only if every K_A is a line.

    Raises: ValueError, as :func:`kernel`.
    """
    return all(len(kernel(S_Delta, A)) == 1 for A in supports(len(S_Delta)))


@takes(S_Delta=exact("D", "D"))
def count(S_Delta: Rows) -> int | None:
    """How many type-1 equilibria there are, from 2 D to 2(2^D - 1); None if infinitely many.

    Raises: ValueError, as :func:`kernel`.
    """
    return 2 * len(isolated_supports(S_Delta)) if finitely_many(S_Delta) else None


@takes(S_Delta=exact("D", "D"), support=each(whole(0)))
def affinely_independent(S_Delta: Rows, support: Sequence[int]) -> bool:
    """Whether the columns j in `support`, restricted to the rows in it, are: if and only if K_A is
    a line.

    Raises: ValueError, as :func:`kernel`.
    """
    whole = _integers(S_Delta)
    support = _support(support, len(whole))
    # By the rank of the columns with a row of ones.
    block = [[1] * len(support), *([whole[i][j] for j in support] for i in support)]
    return fmpz_mat(block).rank() == len(support)


@takes(S_Delta=exact("D", "D"), v=exact("D"))
def inner_products(S_Delta: Rows, v: Sequence[Number]) -> list[Number]:
    """<S_{Delta,j}, v> for each j, exact where no entry is a float.

    Raises:
        ValueError: S_Delta is not D x D with D the length of v.
    """
    _square("S_Delta", S_Delta, len(v))
    return [sum(row[j] * x for row, x in zip(S_Delta, v, strict=True)) for j in range(len(v))]


@takes(S_BC=exact("D", "D"), v=exact("D"))
def form(S_BC: Rows, v: Sequence[Number]) -> Number:
    """<v, S_BC v>, exact where no entry is a float.

    Raises:
        ValueError: S_BC is not D x D with D the length of v.
    """
    _square("S_BC", S_BC, len(v))
    return sum(
        x * entry * y
        for x, row in zip(v, S_BC, strict=True)
        for entry, y in zip(row, v, strict=True)
    )


@takes(S_Delta=exact("D", "D"), v=exact("D"))
def has_equal_steps(S_Delta: Rows, v: Sequence[Number]) -> bool:
    """Whether v / |v| is a type-1 equilibrium: all steps agree where v is not zero.

    Raises: ValueError, as :func:`inner_products`.
    """
    values = inner_products(_fractions(S_Delta), [Fraction(x) for x in v])
    return len({value for value, x in zip(values, v, strict=True) if x}) <= 1


@takes(S_Delta=exact("D", "D"), v=exact("D"))
def steps(S_Delta: Rows, v: Sequence[Number]) -> list[arb]:
    """Balls of PRECISION bits for the steps Delta_j(v / |v|) = softplus(<S_{Delta,j}, v> / |v|).

    Raises:
        ValueError: shapes that do not agree, or v = 0.
    """
    if not any(v):
        raise ValueError("v: got the zero vector, which is no point of the sphere")
    v = [Fraction(x) for x in v]
    with ctx.workprec(PRECISION):
        norm = _ball(sum(x * x for x in v)).sqrt()
        inner = inner_products(_fractions(S_Delta), v)
        return [(_ball(u) / norm).exp().log1p() for u in inner]


@takes(S_BC=exact("D", "D"), S_Delta=exact("D", "D"), v=exact("D"))
def moves(S_BC: Rows, S_Delta: Rows, v: Sequence[Number]) -> bool:
    """Whether eq (9)'s field at v / |v| is proved to be nonzero, by ball arithmetic.

    False proves nothing in itself, but bounds the field by 1e-25 or so for entries of order one to
    a hundred.

    Raises:
        ValueError: shapes that do not agree, or v = 0.
    """
    delta = steps(S_Delta, v)
    v = [Fraction(x) for x in v]
    q = form(_fractions(S_BC), v)
    square = sum(x * x for x in v)
    with ctx.workprec(PRECISION):
        weights = [_ball(x * x / square) for x in v]
        mean = sum((step * r for step, r in zip(delta, weights, strict=True)), arb(0))
        field = [_ball(q * x) * (step - mean) for step, x in zip(delta, v, strict=True)]
        return any(not rate.contains(0) for rate in field)


@takes(S_Delta=exact("D", "D"), reach=whole(1))
def trial_vectors(S_Delta: Rows, reach: int = 2) -> Iterator[tuple[int, ...]]:
    """Vectors on which to try a statement about equilibria: all of integers up to `reach` in
    modulus but 0, which mostly move, and a basis of each K_A, which rest.

    Raises: ValueError, as :func:`kernel`.
    """
    dim = len(S_Delta)
    yield from (v for v in product(range(-reach, reach + 1), repeat=dim) if any(v))
    for A in supports(dim):
        for z in kernel(S_Delta, A):
            yield tuple(z[A.index(j)] if j in A else 0 for j in range(dim))


def _square(name: str, rows: Rows, dim: int) -> None:
    if any(len(row) != dim for row in rows) or len(rows) != dim or not dim:
        lengths = sorted({len(row) for row in rows})
        raise ValueError(f"{name}: got {len(rows)} rows of {lengths} entries, takes {dim} x {dim}")


def _fractions(rows: Rows) -> Rows:
    """The rows as they are if they hold integers, or their entries as Fractions."""
    if all(isinstance(entry, int) for row in rows for entry in row):
        return rows
    return [[Fraction(entry) for entry in row] for row in rows]


def _integers(S_Delta: Rows) -> list[list[int]]:
    """S_Delta times a positive integer that makes it integer: its kernels are the same."""
    _square("S_Delta", S_Delta, len(S_Delta))
    try:
        rows = [[Fraction(entry) for entry in row] for row in S_Delta]
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"S_Delta: takes finite rational numbers ({error})") from None
    scale = math.lcm(*(entry.denominator for row in rows for entry in row))
    return [[int(entry * scale) for entry in row] for row in rows]


def _support(support: Sequence[int], dim: int) -> tuple[int, ...]:
    if not support or len({*support}) < len(support) or not {*support} <= {*range(dim)}:
        raise ValueError(
            f"support: got {list(support)}, takes different indices from 0 to {dim - 1}"
        )
    return tuple(support)


def _ball(value: Number) -> arb:
    return arb(fmpq(*value.as_integer_ratio()))
