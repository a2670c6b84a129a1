"""The field of a long sequence: linear in its length, against the dense attention and two scans."""

import inspect
from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import torch
from scipy.stats import linregress
from torch import Tensor
from torch.nn.functional import softplus
from transformers.models.mamba.modeling_mamba import mamba_selective_scan

from tokensphere import s6
from tokensphere.flow import MambaFlow, causal_sum, project, random_tokens

from .measure import Table, assert_same, floor, race

SIZES = tuple(2**k for k in range(8, 17))
DIM, STATES = 16, 4
SWEEP = ((DIM, STATES, 65_536), (128, 128, 8192))
CHUNKS = (16, 32, 64, 128, 256)
# Without its wrapper, which would pick a GPU kernel where one is installed.
TRANSFORMERS_SCAN = inspect.unwrap(mamba_selective_scan)
DENSE_LIMIT = 2**30
"""Bytes of the dense attention; computing it takes a few times as much."""


def run(
    sizes: tuple[int, ...] = SIZES, sweep: tuple[tuple[int, int, int], ...] = SWEEP
) -> list[Table]:
    """sizes: lengths L; sweep: (D, N, L) at which chunk lengths are compared."""
    rows = [_race(length) for length in sizes]
    return [
        Table(
            f"field: one evaluation, D = {DIM}, N = {STATES}, float64",
            rows,
            [
                "dense: `MambaFlow.attention(x)` applied to x. It stops where that alone would "
                f"take more than {DENSE_LIMIT / 2**30:g} GiB.",
                "s6.scan: the recurrence, token by token, as in mamba-ssm's `selective_scan_ref`.",
                "transformers: what its Mamba layer runs on a CPU. It rounds B and u to float32.",
            ],
        ),
        _slopes(rows),
        _floor(sizes[-1], rows[-1]["ours (s)"]),
        _sweep(sweep),
    ]


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


def by_scan(scan: Callable[..., Tensor], field: MambaFlow, x: Tensor) -> Tensor:
    """The field by a scan in mamba-ssm's layout."""
    S_C, S_B = field.S_BC
    A = -field.a[:, None].expand(-1, len(S_B))
    delta, B, C = (v.mT[None] for v in (softplus(x @ field.S_Delta), x @ S_B.mT, x @ S_C.mT))
    return project(x, scan(x.mT[None], delta, A, B, C)[0].mT)


def _race(length: int) -> dict[str, float | int | None]:
    field, x = problem(DIM, STATES, length)
    peers = {
        "dense": (partial(by_attention, field, x), 1e-12),
        "s6.scan": (partial(by_scan, s6.scan, field, x), 1e-12),
        "transformers": (partial(by_scan, TRANSFORMERS_SCAN, field, x), 1e-6),
    }
    names = list(peers)
    if 8 * DIM * length**2 > DENSE_LIMIT:
        del peers["dense"]
    for name, (call, tolerance) in peers.items():
        assert_same(name, call(), field(x), tolerance)
    seconds = race({"ours": lambda: field(x)} | {name: call for name, (call, _) in peers.items()})
    ours = seconds["ours"]
    return (
        {"tokens": length, "ours (s)": ours}
        | {f"{name} (s)": seconds.get(name) for name in names}
        | {f"{name} / ours": seconds[name] / ours if name in seconds else None for name in names}
    )


def _slopes(rows: list[dict[str, float | int | None]]) -> Table:
    """Larger half, but three at least: at small sizes the cost of a call hides the slope."""
    slopes = []
    for name in (name for name in rows[0] if name.endswith("(s)")):
        points = [(row["tokens"], row[name]) for row in rows if row[name] is not None]
        points = points[-max(3, -(-len(points) // 2)) :]
        lengths, seconds = torch.tensor(points, dtype=torch.float64).log().T.numpy()
        fit = linregress(lengths, seconds)
        slopes.append(
            {
                "contender": name.removesuffix(" (s)"),
                "slope": float(fit.slope),
                "standard error": float(fit.stderr),
                "from tokens": points[0][0],
                "to tokens": points[-1][0],
            }
        )
    return Table("field: slope of log time against log length", slopes)


def _floor(length: int, taken: float) -> Table:
    """Counts of the cheapest linear-time algorithm: chunks of one token.

    Multiply-adds a token: 2 N D for queries and keys, D^2 for steps, 2 N D to write and read the
    state. Longer chunks cost more of them and fewer passes.
    """
    counts = {
        "bytes": 2 * 8 * length * DIM,
        "exponentials": length * DIM,
        "softplus": length * DIM,
        "multiply-adds": length * (4 * STATES * DIM + DIM**2),
    }
    title = f"field: floor at {length:,} tokens (each number read, computed and written once)"
    return floor(title, counts, torch.float64, taken)


def _sweep(sweep: tuple[tuple[int, int, int], ...]) -> Table:
    def chunked(field: MambaFlow, x: Tensor, chunk: int) -> Tensor:
        with patch.object(causal_sum, "CHUNK", chunk):
            return field(x)

    rows, notes = [], []
    for dim, states, length in sweep:
        field, x = problem(dim, states, length)
        for chunk in CHUNKS:
            assert_same(f"CHUNK = {chunk}", chunked(field, x, chunk), field(x), 1e-12)
        seconds = race(
            {str(chunk): partial(chunked, field, x, chunk) for chunk in (*CHUNKS, causal_sum.CHUNK)}
        )
        rows.append(
            {"D": dim, "N": states, "tokens": length}
            | {f"{chunk} (s)": seconds[str(chunk)] for chunk in CHUNKS}
        )
        best = min(seconds, key=seconds.__getitem__)
        excess = seconds[str(causal_sum.CHUNK)] / seconds[best] - 1
        notes.append(
            f"D = {dim}, N = {states}: best {best}; the default takes {100 * excess:.0f} % more."
        )
    return Table(
        f"field: tokens a chunk, `causal_sum.CHUNK` (default {causal_sum.CHUNK})", rows, notes
    )
