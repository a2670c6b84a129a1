"""The field of a long sequence: linear in its length, against the dense attention and two scans."""

from collections.abc import Callable
from functools import partial

import torch
from scipy.stats import linregress
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere import s6
from tokensphere.flow import MambaFlow, project, random_tokens
from tokensphere.flow.causal_sum import causal_sum

from .measure import Table, assert_same, compare, race
from .scan import by_transformers

SIZES = tuple(2**k for k in range(8, 17))
DIM, STATES = 16, 4
DENSE_LIMIT = 2**28
"""Bytes of the dense attention; computing it takes a few times as much."""


def run(sizes: tuple[int, ...] = SIZES) -> list[Table]:
    """sizes: lengths L; the contenders race at the last one."""
    return [_race(sizes[-1]), _lengths(sizes)]


def problem(dim: int, states: int, length: int) -> tuple[MambaFlow, Tensor]:
    """A field with Gaussian parameters, its S_BC by factors, and uniform tokens."""
    g = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    a = 0.5 + torch.rand(dim, generator=g, dtype=torch.float64)
    field = MambaFlow((normal(states, dim), normal(states, dim)), normal(dim, dim), a)
    return field, random_tokens(length, dim, generator=g)


def by_attention(field: MambaFlow, x: Tensor) -> Tensor:
    """The field by its L x L matrices, one a channel."""
    return project(x, torch.einsum("dlj,jd->ld", field.attention(x), x))


def by_torch(field: MambaFlow, x: Tensor) -> Tensor:
    """The library's own sum in torch, which gradients go through."""
    S_C, S_B = field.S_BC
    steps = softplus(x @ field.S_Delta)
    return project(x, causal_sum(x @ S_C.mT, x @ S_B.mT, field.a * steps, steps * x))


def by_scan(scan: Callable[..., Tensor], field: MambaFlow, x: Tensor) -> Tensor:
    """The field by a scan in mamba-ssm's layout."""
    S_C, S_B = field.S_BC
    A = -field.a[:, None].expand(-1, len(S_B))
    delta, B, C = (v.mT[None] for v in (softplus(x @ field.S_Delta), x @ S_B.mT, x @ S_C.mT))
    return project(x, scan(x.mT[None], delta, A, B, C)[0].mT)


PEERS: dict[str, tuple[Callable[[MambaFlow, Tensor], Tensor], float]] = {
    "torch path": (by_torch, 1e-12),
    "s6.scan": (partial(by_scan, s6.scan), 1e-12),
    "transformers": (partial(by_scan, by_transformers), 1e-6),
}
"""Name -> (function, how far it may lie from ours)."""


def work(tokens: int, dim: int, states: int | None) -> dict[str, float]:
    """Counts of the cheapest way known, token by token, each number read and written once.

    Multiply-adds a token: N D for keys, as many for queries where S_BC has factors (states None:
    it has none, and N = D); D^2 for steps; 3 N D to decay the state, to write and to read it; 2 D
    for exponents and values, 2 D for the norm that scales x, 2 D for the projection.
    """
    products = 3 + (1 if states is None else 2)
    states = states or dim
    return {
        "bytes": 2 * 8 * tokens * dim,
        "exponentials": tokens * dim,
        "softplus": tokens * dim,
        "multiply-adds": tokens * (products * states * dim + dim**2 + 6 * dim),
    }


def _race(length: int) -> Table:
    field, x = problem(DIM, STATES, length)
    contenders: dict[str, Callable[[], Tensor]] = {"ours": lambda: field(x)}
    for name, (call, tolerance) in PEERS.items():
        assert_same(name, call(field, x), field(x), tolerance)
        contenders[name] = partial(call, field, x)
    return compare(
        f"field: one evaluation, {length:,} tokens, D = {DIM}, N = {STATES}, float64",
        contenders,
        work(length, DIM, STATES),
        torch.float64,
        own=("torch path", "s6.scan"),
        notes=[
            "torch path: this library's without numba. s6.scan: by the layer's recurrence, given "
            "its steps, keys and queries. transformers: by what its Mamba layer runs on a CPU, "
            "which rounds B and u to float32.",
        ],
    )


def _lengths(sizes: tuple[int, ...]) -> Table:
    """CPU seconds on one thread, and their slopes."""
    calls = {"ours": MambaFlow.__call__, "dense": by_attention}
    calls |= {name: call for name, (call, _) in PEERS.items()}
    rows: list[dict[str, float | int | str | None]] = []
    for length in sizes:
        field, x = problem(DIM, STATES, length)
        racing = {name: partial(call, field, x) for name, call in calls.items()}
        if 8 * DIM * length**2 > DENSE_LIMIT:
            del racing["dense"]
        else:
            assert_same("dense", racing["dense"](), field(x), 1e-12)
        seconds = race(racing, threads=(1,), repeats=5, budget=0.5)
        rows.append(
            {"tokens": length}
            | {
                f"{name} CPU s": seconds[name, 1].least("cpu") if name in racing else None
                for name in calls
            }
        )
    slopes = {
        name: _slope([(row["tokens"], row[name]) for row in rows if row[name]])
        for name in list(rows[0])[1:]
    }
    notes = [
        "One thread. slope: of log time against log length with its standard error, over the "
        "larger half of the lengths, three at least: at small ones the cost of a call hides it.",
        "dense: `MambaFlow.attention(x)` applied to x. It stops where that alone would take more "
        f"than {DENSE_LIMIT / 2**20:g} MiB.",
    ]
    return Table("field: CPU time by length", [*rows, {"tokens": "slope"} | slopes], notes)


def _slope(points: list[tuple[int, float]]) -> str:
    points = points[-max(3, -(-len(points) // 2)) :]
    lengths, seconds = torch.tensor(points, dtype=torch.float64).log().T.numpy()
    fit = linregress(lengths, seconds)
    return f"{fit.slope:.2f} ± {fit.stderr:.2f}"
