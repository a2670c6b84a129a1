"""First tokens that do not converge: certificates, runs in logarithms, Lyapunov exponents.

For a positive definite form all orbits of eq (9) are those of S_BC = I, with another clock: what is
said here of orbits and limit sets holds for all of them. The positive octant or orthant stands for
any: on the orthant with signs e the moduli obey the same equation with ``e_j S_Delta[j, i]``.

With three tokens' coordinates the octant is a triangle whose corners e_1, e_2, e_3 and edges are
invariant. Where the edges lead round in a circle, the boundary is a heteroclinic cycle, as in the
game of rock, paper and scissors (Hofbauer and Sigmund, Evolutionary Games and Population Dynamics).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from flint import arb, ctx, fmpq
from scipy.integrate import solve_ivp
from torch import Tensor

from tokensphere.door import array, number, positive, takes, tensor, whole

PRECISION = 128
"""Bits of the balls for the steps at the vertices."""

EDGES = ((0, 1), (1, 2), (2, 0))


@dataclass(frozen=True)
class OctantCertificate:
    """What the boundary and the interior of the positive octant do, D = 3, proved.

    Args:
        directions: for the edges e_1 e_2, e_2 e_3, e_3 e_1: 1 where all of the open edge moves from
            the first to the second, -1 where it moves back, 0 where neither is proved.
        interior: whether exactly one equilibrium is in the open octant.
        trace, determinant: of the Jacobian there, times positive numbers; 0 if there is none.
        quotient: a ball for the product over the vertices of the eigenvalue towards the next vertex
            by that towards the one before, the latter with a minus; None if the edges do not lead
            round.
    """

    directions: tuple[int, int, int]
    interior: bool
    trace: Fraction
    determinant: Fraction
    quotient: arb | None

    @property
    def cyclic(self) -> bool:
        """Whether the edges lead round, so that the boundary is a heteroclinic cycle."""
        return set(self.directions) in ({1}, {-1})

    @property
    def source(self) -> bool:
        """Whether both eigenvalues at the equilibrium inside have positive real parts."""
        return self.interior and self.trace > 0 and self.determinant > 0

    @property
    def repels(self) -> bool:
        """Whether the boundary is a heteroclinic cycle that repels tokens inside."""
        return self.quotient is not None and bool(self.quotient > 1)

    @property
    def attracts(self) -> bool:
        """Whether it attracts those near it: their limit set is all of the boundary."""
        return self.quotient is not None and bool(self.quotient < 1)

    @property
    def periodic(self) -> bool:
        """Whether the limit set of every token inside, but for one, is a periodic orbit.

        By Poincaré and Bendixson: limit sets stay off the boundary and off the source.
        """
        return self.repels and self.source


@takes(S_Delta=tensor(3, 3, dtype="float64"))
def certify_octant(S_Delta: Tensor) -> OctantCertificate:
    """Proves what the positive octant's boundary and interior do for a positive definite form.

    float64 entries are rational numbers: all but the steps at the vertices is exact arithmetic,
    these are balls of PRECISION bits.

    Args:
        S_Delta: (3, 3), float64.
    Raises:
        ValueError: another shape or dtype, entries that are not finite.
    """
    S = [[Fraction(entry) for entry in row] for row in S_Delta.tolist()]
    first, second, third = (_direction(S, i, j) for i, j in EDGES)
    directions = (first, second, third)
    cyclic = set(directions) in ({1}, {-1})
    return OctantCertificate(
        directions, *_interior(S), _quotient(S, directions[0]) if cyclic else None
    )


def _direction(S: list[list[Fraction]], i: int, j: int) -> int:
    # On the edge u_j - u_i = (S_ij - S_ii) y_i + (S_jj - S_ji) y_j.
    from_i, from_j = S[i][j] - S[i][i], S[j][j] - S[j][i]
    return 0 if from_i * from_j <= 0 else 1 if from_i > 0 else -1


def _interior(S: list[list[Fraction]]) -> tuple[bool, Fraction, Fraction]:
    """Whether one equilibrium is inside, and trace and determinant there."""
    first, second = ([S[k][0] - S[k][j] for k in range(3)] for j in (1, 2))
    # Their cross product spans the points at which all steps agree.
    n = [first[i - 2] * second[i - 1] - first[i - 1] * second[i - 2] for i in range(3)]
    n = [-x for x in n] if n[0] < 0 else n
    if not all(x > 0 for x in n):
        return False, Fraction(0), Fraction(0)
    zero = Fraction(0)
    square = sum((x * x for x in n), zero)
    mean = [sum((x * x * S[j][k] for k, x in enumerate(n)), zero) / square for j in range(3)]
    # |n| times the linear part of w at n / |n|, over sigma(u); it has the eigenvalue 0 across.
    M = [[n[i] * (S[j][i] - mean[j]) for j in range(3)] for i in range(3)]
    minors = (M[i][i] * M[j][j] - M[i][j] * M[j][i] for i, j in EDGES)
    return True, sum((M[i][i] for i in range(3)), zero), sum(minors, zero)


def _quotient(S: list[list[Fraction]], direction: int) -> arb:
    product = arb(1)
    with ctx.workprec(PRECISION):
        for d in range(3):
            after, before = (d + direction) % 3, (d - direction) % 3
            own, gain, loss = (_softplus(S[d][k]) for k in (d, after, before))
            product = product * (gain - own) / (own - loss)
    return product


def _softplus(value: Fraction) -> arb:
    return arb(fmpq(value.numerator, value.denominator)).exp().log1p()


@takes(diagonal=number(), size=number())
def rock_paper_scissors(diagonal: float, size: float = 3.0) -> Tensor:
    """S_Delta of three steps that chase one another in the positive octant, (3, 3).

    e_1 loses to e_3, e_3 to e_2, e_2 to e_1. `size` multiplies all of [[d, -1, 1], [1, d, -1],
    [-1, 1, d]] with d = `diagonal`. For size 3 the diagonal 0.1 makes a periodic orbit attract all
    but one first token of the octant, 0.5 its boundary those nearby.
    """
    d = diagonal
    return size * torch.tensor([[d, -1, 1], [1, d, -1], [-1, 1, d]], dtype=torch.float64)


@takes(S_Delta=tensor(3, 3, dtype="float64"))
def cyclic_octant(S_Delta: Tensor) -> Tensor:
    """The signs, (3,), of the octant where at each vertex the other two steps are in cyclic order:
    one of the two antipodal octants that have no potential, for generic S_Delta.

    Args:
        S_Delta: (3, 3), float64.
    Raises:
        ValueError: another shape or dtype; two entries of a row that agree, off the diagonal.
    """
    gaps = torch.stack([S_Delta[d, d - 1] - S_Delta[d, d - 2] for d in range(3)])
    if not gaps.all():
        raise ValueError("S_Delta: two entries of a row agree off the diagonal; takes generic rows")
    return gaps.sign()


@takes(
    S_Delta=tensor("D", "D", dtype="float64"),
    logarithms=array("D", "n"),
    times=array("T", T=2),
    rtol=positive(),
)
def follow_logarithms(
    S_Delta: Tensor, logarithms: np.ndarray, times: np.ndarray, rtol: float = 1e-8
) -> np.ndarray:
    """First tokens in the positive orthant for S_BC = I, by the logarithms of their coordinates.

    d ln y_i = Delta_i dt up to a common term, so coordinates of 1e-1000 keep their digits.

    Args:
        S_Delta: (D, D), float64.
        logarithms: (D, n), ln y of n tokens, each up to a constant.
        times: (T,), increasing.
        rtol: the integrator's, of the sums that stand for ln y.
    Returns:
        ln y, (T, D, n).
    Raises:
        ValueError: shapes that do not agree, or what is not finite.
    """
    S, shape = S_Delta.numpy(), logarithms.shape

    def rates(t: float, sums: np.ndarray) -> np.ndarray:
        return np.logaddexp(0, S.T @ np.exp(_normalised(sums.reshape(shape)))).ravel()

    run = solve_ivp(
        rates,
        (times[0], times[-1]),
        logarithms.ravel(),
        "DOP853",
        times,
        rtol=rtol,
        atol=1e-8,
        max_step=10,  # a long step across a quiet phase could miss its end
    )
    return _normalised(run.y.T.reshape(-1, *shape), axis=1)


def _normalised(logarithms: np.ndarray, axis: int = 0) -> np.ndarray:
    """ln y, |y| = 1, from ln y up to a constant; `axis` is that of the coordinates."""
    relative = logarithms - logarithms.max(axis, keepdims=True)
    return relative - np.log(np.linalg.norm(np.exp(relative), axis=axis, keepdims=True))


@takes(S_Delta=tensor("D", "D", dtype="float64"), stop=positive())
def dwell_times(S_Delta: Tensor, stop: float) -> np.ndarray:
    """How long one first token has each largest coordinate in turn, for S_BC = I.

    It starts near the middle of the positive orthant and is followed to `stop`, in steps of 1/20;
    the first and the last stay are left out. At a heteroclinic cycle that attracts, stays grow
    geometrically: over one turn, by one over the quotient of :func:`certify_octant`.

    Args and raises: S_Delta as for :func:`follow_logarithms`.
    """
    times = np.linspace(0, stop, int(20 * stop) + 1)
    start = np.linspace(0, 0.2, len(S_Delta))[:, None]
    largest = follow_logarithms(S_Delta, start, times)[..., 0].argmax(1)
    return np.diff(times[np.nonzero(np.diff(largest))[0]])


@takes(growth=array("n"), interactions=array("n", "n"), size=number())
def lotka_volterra(
    growth: Iterable[float], interactions: Iterable[Iterable[float]], size: float
) -> Tensor:
    """S_Delta, (n + 1, n + 1), whose first tokens follow a Lotka-Volterra system as size -> 0.

    The n species ``x_i' = x_i (growth_i + sum_j interactions_ij x_j)`` are x_i = y_i / y_{n+1}
    (Hofbauer), in the positive orthant, for S_BC = I and S_Delta = size G^T: steps then differ by
    size / 2 times G y up to O(size^2), and the clock is y_{n+1} t size / 2.

    Args:
        growth: (n,). interactions: (n, n).
    Raises:
        ValueError: shapes that do not agree.
    """
    rates = torch.as_tensor(growth, dtype=torch.float64)
    effects = torch.as_tensor(interactions, dtype=torch.float64)
    n = len(rates)
    G = torch.zeros(n + 1, n + 1, dtype=torch.float64)
    G[:n, :n], G[:n, n] = effects, rates
    return size * G.mT


@takes(alpha=number())
def arneodo_coullet_tresser(alpha: float = 1.5) -> tuple[Tensor, Tensor]:
    """Growth, (3,), and interactions, (3, 3), of three species with a strange attractor.

    ``x_i' = x_i sum_j A_ij (1 - x_j)``, from Arneodo, Coullet and Tresser, Occurence of strange
    attractors in three-dimensional Volterra equations, Physics Letters A 79 (1980).
    """
    A = torch.tensor([[0.5, 0.5, 0.1], [-0.5, -0.1, 0.1], [alpha, 0.1, 0.1]], dtype=torch.float64)
    return A.sum(1), -A


@takes(
    S_Delta=tensor("D", "D", dtype="float64", D=2),
    stop=positive(),
    tokens=whole(1),
    seed=whole(0),
    every=positive(),
)
def lyapunov_exponents(
    S_Delta: Tensor, stop: float, tokens: int, seed: int, every: float = 40.0
) -> np.ndarray:
    """Largest Lyapunov exponents of eq (9), S_BC = I, in the positive orthant, by unit of time.

    Integrates tokens and a tangent vector of each in the coordinates ln(y_i / y_D), with the vector
    renormalised at each multiple of `every`. The first quarter is left out. An estimate, with no
    bound on its error: on a periodic orbit it tends to 0 like 1 / stop.

    Args:
        S_Delta: (D, D), float64.
        stop: length of the runs.
        tokens: how many starts, near the barycentre.
        seed: of starts and vectors.
    Returns:
        (tokens,), one for each start.
    Raises:
        ValueError: S_Delta, or `stop` below four times `every`.
    """
    dim = len(S_Delta)
    if stop < 4 * every:
        raise ValueError(f"stop: got {stop:g}, takes four times every = {every:g} or more")
    S, shape = S_Delta.numpy(), (2, dim - 1, tokens)
    rng = np.random.default_rng(seed)
    state = np.stack([np.log(rng.uniform(0.8, 1.2, shape[1:])), rng.normal(size=shape[1:])])

    def rates(t: float, flat: np.ndarray) -> np.ndarray:
        logs, vector = np.concatenate([flat.reshape(shape), np.zeros((2, 1, tokens))], axis=1)
        y = np.exp(_normalised(logs))
        change = y * (vector - (y * y * vector).sum(0))
        inner = S.T @ y
        steps = np.logaddexp(0, inner)
        slopes = (S.T @ change) / (1 + np.exp(-inner))
        return np.stack([steps[:-1] - steps[-1], slopes[:-1] - slopes[-1]]).ravel()

    growth = []
    for _ in range(int(stop / every)):
        run = solve_ivp(rates, (0, every), state.ravel(), "DOP853", rtol=1e-6, atol=1e-7)
        state = run.y[:, -1].reshape(shape)
        size = np.linalg.norm(state[1], axis=0)
        state[1] /= size
        growth.append(np.log(size))
    return np.mean(growth[len(growth) // 4 :], axis=0) / every
