"""Sequences in one integration, against scipy's, diffrax's and torchdiffeq's solvers."""

import importlib.util
import os
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial

import numpy as np
import torch
from scipy.integrate import DOP853, solve_ivp
from torch import Tensor
from torchdiffeq import odeint

from tokensphere.flow import MambaFlow, random_tokens, simulate

from . import field as one_field
from .measure import Elsewhere, Table, compare

SIZES = ((1, 8, 3), (100, 8, 3), (4000, 8, 3))
TIME = 5.0
RTOL, ATOL = 1e-9, 1e-12
LOOSER = 30
"""By how much ours is also given looser tolerances: each token's error counts for it."""
AGREEMENT = 1e-6
"""Errors of a step are within 1e-9; the flow may magnify them over the time."""
REFERRED = 100
"""Sequences, the first ones, that have a tight reference."""
MANY = 1000
"""Sequences from which on the slow contenders run once, on one thread."""
FEW = 10
"""Sequences up to which numpy's calls cost more than the dense field's numbers."""

Call = Callable[[], Tensor]


def run(sizes: tuple[tuple[int, int, int], ...] = SIZES) -> list[Table]:
    """sizes: (sequences, L, D)."""
    return [_race(*size) for size in sizes]


def problem(sequences: int, length: int, dim: int) -> tuple[MambaFlow, Tensor]:
    """One field with Gaussian parameters, and uniform tokens."""
    g = torch.Generator().manual_seed(0)
    S_BC, S_Delta = torch.randn(2, dim, dim, generator=g, dtype=torch.float64)
    a = 0.5 + torch.rand(dim, generator=g, dtype=torch.float64)
    return MambaFlow(S_BC, S_Delta, a), random_tokens(sequences, length, dim, generator=g)


def ours(field: MambaFlow, x0: Tensor, looser: float = 1.0) -> Tensor:
    times = torch.tensor([0.0, TIME], dtype=torch.float64)
    return simulate(field, x0, times, looser * RTOL, looser * ATOL).tokens[-1]


def by_torchdiffeq(field: MambaFlow, x0: Tensor) -> Tensor:
    """The library's field in torchdiffeq's solver, its error held for all tokens."""
    times = torch.tensor([0.0, TIME], dtype=torch.float64)
    largest = {"norm": lambda error: error.abs().max()}
    ends = odeint(
        lambda t, x: field(_unit(x), t),
        x0,
        times,
        rtol=RTOL,
        atol=ATOL,
        method="dopri5",
        options=largest,
    )
    return _unit(ends[-1])


def by_scipy(
    field: MambaFlow,
    x0: Tensor,
    rtol: float = RTOL,
    atol: float = ATOL,
    dense: bool = False,
) -> Tensor:
    """All sequences as one system of scipy's DOP853, on equations (6)-(8) in bare numpy."""
    return _scipy(field, x0, rtol, atol, dense)[0]


def one_by_one(field: MambaFlow, x0: Tensor) -> Tensor:
    return torch.cat([by_scipy(field, x[None]) for x in x0])


def _scipy(
    field: MambaFlow, x0: Tensor, rtol: float, atol: float, dense: bool
) -> tuple[Tensor, int]:
    """The ends, and how often the field was evaluated."""
    write = _dense if dense or len(x0) <= FEW else _recurrence
    derivative, order = write(field, *x0.shape)
    start = x0.permute(order).contiguous()
    solution = solve_ivp(
        derivative, (0.0, TIME), start.numpy().ravel(), "DOP853", rtol=rtol, atol=atol
    )
    assert solution.success, solution.message
    end = torch.from_numpy(solution.y[:, -1].reshape(start.shape))
    return _unit(end.permute(*np.argsort(order).tolist())), solution.nfev


def _dense(field: MambaFlow, sequences: int, length: int, dim: int) -> tuple[Callable, tuple]:
    """By L x L matrices, on (sequences, L, D)."""
    S_BC, S_Delta, a = (v.numpy() for v in (field.S_BC, field.S_Delta, field.a))
    causal = np.tri(length, dtype=bool)[:, :, None]

    def derivative(_: float, flat: np.ndarray) -> np.ndarray:
        x = flat.reshape(sequences, length, dim)
        x = x / np.sqrt((x * x).sum(-1, keepdims=True))
        steps = np.logaddexp(0.0, x @ S_Delta)
        elapsed = np.cumsum(a * steps, axis=1)
        exponent = np.where(causal, elapsed[:, None] - elapsed[:, :, None], -np.inf)
        scores = (x @ S_BC @ x.mT)[..., None]
        y = (scores * np.exp(exponent) * (steps * x)[:, None]).sum(2)
        return (y - (y * x).sum(-1, keepdims=True) * x).ravel()

    return derivative, (0, 1, 2)


def _recurrence(field: MambaFlow, sequences: int, length: int, dim: int) -> tuple[Callable, tuple]:
    """Token by token, on (D, L, sequences): long rows, for numpy's sake."""
    S_BC, S_Delta, a = (v.numpy() for v in (field.S_BC, field.S_Delta, field.a))
    shape = dim, length, sequences

    def derivative(_: float, flat: np.ndarray) -> np.ndarray:
        x = flat.reshape(dim, -1)
        x = x / np.sqrt((x * x).sum(0))
        # Products with unit rows are small enough for the plain formula.
        steps = np.log1p(np.exp(S_Delta.T @ x))
        decays = np.exp(-a[:, None] * steps).reshape(shape)
        keys, values, queries = ((each).reshape(shape) for each in (S_BC @ x, steps * x, x))
        state, y = np.zeros((dim, dim, sequences)), np.empty(shape)
        for l in range(length):
            state *= decays[:, l]
            state += keys[:, None, l] * values[:, l]
            y[:, l] = (queries[:, None, l] * state).sum(0)
        y = y.reshape(dim, -1)
        return (y - (y * x).sum(0) * x).ravel()

    return derivative, (2, 1, 0)


def diffrax_installed() -> bool:
    return importlib.util.find_spec("diffrax") is not None


def by_diffrax(threads: int, *size: int) -> Call:
    """diffrax's Dopri8 on the recurrence, compiled; for a process of its own."""
    os.environ["NPROC"] = str(threads)  # what XLA makes its threads by
    import diffrax
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    field, x0 = problem(*size)
    _, length, dim = x0.shape
    S_BC, S_Delta, a = (jnp.asarray(v.numpy()) for v in (field.S_BC, field.S_Delta, field.a))

    def derivative(t, x, _):
        x = x / jnp.sqrt((x * x).sum(0))
        steps = jax.nn.softplus(jnp.einsum("ed,els->dls", S_Delta, x))
        decays = jnp.exp(-a[:, None, None] * steps)
        keys, values = jnp.einsum("de,els->dls", S_BC, x), steps * x
        state, rows = jnp.zeros((dim, *x[:, 0].shape)), []
        for l in range(length):
            state = state * decays[:, l] + keys[:, None, l] * values[:, l]
            rows.append((x[:, None, l] * state).sum(0))
        y = jnp.stack(rows, 1)
        return y - (y * x).sum(0) * x

    @jax.jit
    def solve(x):
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(derivative),
            diffrax.Dopri8(),
            0.0,
            TIME,
            None,
            x,
            stepsize_controller=diffrax.PIDController(rtol=RTOL, atol=ATOL),
            max_steps=10_000,
        )
        return solution.ys[0]

    start = jnp.asarray(x0.permute(2, 1, 0).contiguous().numpy())

    def call() -> Tensor:
        end = np.array(jax.block_until_ready(solve(start)))
        return _unit(torch.from_numpy(end).permute(2, 1, 0))

    call()  # compiles
    return call


def _race(sequences: int, length: int, dim: int) -> Table:
    size = sequences, length, dim
    field, x0 = problem(*size)
    loosely = f"ours, rtol {LOOSER * RTOL:g}"
    contenders: dict[str, Callable] = {
        "ours": ours,
        loosely: partial(ours, looser=LOOSER),
        "scipy DOP853": by_scipy,
    }
    slow: dict[str, Callable] = {"torchdiffeq dopri5": by_torchdiffeq}
    if sequences > FEW:
        slow["scipy, dense field"] = partial(by_scipy, dense=True)
    if 1 < sequences < MANY:
        slow["scipy, one by one"] = one_by_one
    (solve, evaluations) = _scipy(field, x0, RTOL, ATOL, False)
    few = x0[:REFERRED]
    ends = {name: call(field, few) for name, call in (contenders | slow).items()}
    calls = {name: partial(call, field, x0) for name, call in (contenders | slow).items()}
    # Of these all sequences are at hand; the slow ones have shown that they compute the same.
    ends |= {"ours": calls["ours"](), "scipy DOP853": solve}
    with ExitStack() as stack:
        if diffrax_installed():
            calls["diffrax Dopri8"] = stack.enter_context(closing(Elsewhere(by_diffrax, *size)))
            ends["diffrax Dopri8"] = calls["diffrax Dopri8"]()
        reference = by_scipy(field, few, 3e-14, 1e-16)
        errors = {
            name: float((end[:REFERRED] - reference).abs().max()) for name, end in ends.items()
        }
        for name, error in errors.items():
            assert error <= AGREEMENT, f"{name} is off by {error:.1e}"
        return compare(
            f"simulate: {sequences:,} x {length} tokens, D = {dim}, to time {TIME:g}",
            calls,
            work(size, evaluations),
            torch.float64,
            columns={"error": errors},
            notes=[
                f"Tolerances {RTOL:g} and {ATOL:g} for all. error: the largest at the end over the "
                f"first {len(few)} sequences, against DOP853 at the tightest tolerance it takes. "
                "scipy and diffrax hold a root mean square over all sequences below the tolerance.",
                "scipy: all sequences as one system, on a field in bare numpy: dense up to "
                f"{FEW} sequences, above by the recurrence. diffrax: by the recurrence, compiled "
                "before. torchdiffeq: on this library's field.",
                f"floor: of the {evaluations} evaluations that scipy makes, and of the sums that "
                "each starts from.",
            ],
            once=slow if sequences >= MANY else (),
            budget=5.0,
        )


def work(size: tuple[int, int, int], evaluations: int) -> dict[str, float]:
    """Counts of so many evaluations and of the stages of DOP853 that lead to them."""
    sequences, length, dim = size
    counts = one_field.work(sequences * length, dim, None)
    del counts["bytes"]
    each = np.count_nonzero(DOP853.A) / DOP853.n_stages
    counts["multiply-adds"] += each * sequences * length * dim
    return {name: evaluations * count for name, count in counts.items()}


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)
