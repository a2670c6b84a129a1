"""Many sequences in one integration, against one by one and against scipy's solver."""

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from tokensphere.flow import MambaFlow, random_tokens, simulate

from .measure import Table, race

SIZES = (4000, 20, 8, 3)
TIME = 5.0
RTOL, ATOL = 1e-9, 1e-12
AGREEMENT = 1e-6
"""Errors of a step are within 1e-9; the flow may magnify them over the time."""


def run(sizes: tuple[int, int, int, int] = SIZES) -> list[Table]:
    """sizes: (sequences, those of them that are also run one by one, L, D)."""
    sequences, few, length, dim = sizes
    field, x0 = problem(sequences, length, dim)
    times = torch.tensor([0.0, TIME], dtype=torch.float64)
    contenders = {
        "simulate, all at once": lambda: simulate(field, x0, times, RTOL, ATOL).tokens[-1],
        "simulate, one by one": lambda: torch.stack(
            [simulate(field, x, times, RTOL, ATOL).tokens[-1] for x in x0[:few]]
        ),
        "solve_ivp RK45, one by one": lambda: by_scipy(field, x0[:few], "RK45", RTOL, ATOL),
    }
    reference = by_scipy(field, x0[:few], "DOP853", 3e-14, 1e-16)
    errors = {}
    for name, call in contenders.items():
        errors[name] = float((call()[:few] - reference).abs().max())
        assert errors[name] <= AGREEMENT, f"{name} is off by {errors[name]:.1e}"
    counts = dict.fromkeys(contenders, few) | {"simulate, all at once": sequences}
    seconds = race(contenders, repeats=5, budget=10.0)
    each = {name: 1e3 * seconds[name] / counts[name] for name in contenders}
    rows = [
        {
            "contender": name,
            "sequences run": counts[name],
            "seconds": seconds[name],
            "ms a sequence": each[name],
            "times ours": each[name] / each["simulate, all at once"],
            "error": errors[name],
        }
        for name in contenders
    ]
    notes = [
        f"Tolerances {RTOL:g} and {ATOL:g} for all. solve_ivp gets the field in numpy, so that it "
        "does not pay for torch.",
        f"error: the largest at the end over the first {few} sequences, against DOP853 at the "
        "tightest tolerance it takes.",
    ]
    title = f"simulate: {length} tokens, D = {dim}, to time {TIME:g}"
    return [Table(title, rows, notes)]


def problem(sequences: int, length: int, dim: int) -> tuple[MambaFlow, Tensor]:
    """One field with Gaussian parameters, and uniform tokens."""
    g = torch.Generator().manual_seed(0)
    S_BC, S_Delta = torch.randn(2, dim, dim, generator=g, dtype=torch.float64)
    a = 0.5 + torch.rand(dim, generator=g, dtype=torch.float64)
    return MambaFlow(S_BC, S_Delta, a), random_tokens(sequences, length, dim, generator=g)


def by_scipy(field: MambaFlow, x0: Tensor, method: str, rtol: float, atol: float) -> Tensor:
    """The ends of sequences, (sequences, L, D), one `solve_ivp` each, on equations (6)-(8)."""
    S_BC, S_Delta, a = (v.numpy() for v in (field.S_BC, field.S_Delta, field.a))
    length, dim = x0.shape[-2:]
    causal = np.tri(length, dtype=bool)[:, :, None]

    def derivative(_: float, flat: np.ndarray) -> np.ndarray:
        x = flat.reshape(length, dim)
        x = x / np.sqrt((x * x).sum(-1, keepdims=True))
        steps = np.logaddexp(0.0, x @ S_Delta)
        elapsed = np.cumsum(a * steps, axis=0)
        exponent = np.where(causal, elapsed[None] - elapsed[:, None], -np.inf)
        scores = (x @ S_BC @ x.T)[:, :, None]
        y = (scores * np.exp(exponent) * (steps * x)).sum(1)
        return (y - (y * x).sum(-1, keepdims=True) * x).ravel()

    ends = []
    for x in x0.numpy():
        solution = solve_ivp(derivative, (0.0, TIME), x.ravel(), method, rtol=rtol, atol=atol)
        assert solution.success, solution.message
        end = solution.y[:, -1].reshape(length, dim)
        ends.append(end / np.linalg.norm(end, axis=-1, keepdims=True))
    return torch.from_numpy(np.stack(ends))
