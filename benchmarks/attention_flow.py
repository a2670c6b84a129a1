"""Softmax attention as a flow: error at equal cost beside two published programs, and its size.

The programs are written out again as they compute: a dense matrix of weights, forward Euler.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from tokensphere.flow import attention_flow, layers, project, random_tokens, simulate
from tokensphere.flow.fields import OnSphere

from .measure import Table, assert_same, compare, floor, peak_memory, race

SIZES = ((1024, 16), (1024, 4096, 8192, 16_384, 65_536))
DIM = 3
TIME, OUTPUTS = 15.0, 30
STEP = 0.1
"""Both programs' default."""
RTOLS = (1e-3, 1e-6, 1e-9)
REFERENCE = 1e-11
"""Tolerance of the reference. Errors that the tables show are a hundred times larger."""
DENSE_LIMIT = 2**29
"""Bytes of the dense matrix; computing with it takes a few times as much."""


def run(sizes: tuple[tuple[int, int], tuple[int, ...]] = SIZES) -> list[Table]:
    """sizes: (tokens, sequences) of the two programs' systems; lengths of one evaluation."""
    (length, sequences), lengths = sizes
    return [
        *(_error_at_equal_cost(system) for system in (_sphere(length), _heads(sequences))),
        _beside_dense(max(each for each in lengths if 8 * each**2 <= DENSE_LIMIT)),
        _evaluations(lengths),
    ]


@dataclass(frozen=True)
class System:
    """A field, a start (..., L, D), and programs that iterate it: (x0, step, count) -> (..., L, D).

    dense: the field in numpy; digits: how far a program's step may lie from that of `layers`.
    """

    title: str
    flow: OnSphere
    start: Tensor
    programs: dict[str, Callable[[Tensor, float, int], Tensor]]
    dense: Callable[[np.ndarray], np.ndarray]
    digits: dict[str, float]


def _sphere(length: int) -> System:
    """That of sphere.py: A = V = I, beta = 1, D = 3, to time 15."""
    eye = torch.eye(DIM, dtype=torch.float64)
    forms = torch.eye(DIM, dtype=torch.float64)[None]
    return System(
        f"attention_flow: (SA) with beta = 1, full, {length:,} tokens, D = {DIM}",
        attention_flow(eye, eye, causal=False),
        random_tokens(length, DIM, generator=torch.Generator().manual_seed(0)),
        {
            "rotf sphere.py": by_sphere,
            "rotf phase-diagrams.py": partial(by_heads, forms, torch.float64),
            "simuformer": partial(by_heads, forms, torch.float32),
        },
        partial(_dense, forms.numpy()),
        {"rotf sphere.py": 1e-12, "rotf phase-diagrams.py": 1e-12, "simuformer": 1e-5},
    )


def _heads(sequences: int, length: int = 64, dim: int = 16, heads: int = 8) -> System:
    """simuformer's defaults but for the number of sequences, and post-norm: beta = 1, V = I."""
    g = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, heads, dim, dim, generator=g, dtype=torch.float64)
    forms = first @ second / math.sqrt(dim)
    eye = torch.eye(dim, dtype=torch.float64).expand(heads, dim, dim)
    return System(
        f"attention_flow: {heads} heads, full, {sequences} sequences of {length} tokens, D = {dim}",
        attention_flow(eye, forms, eye / heads, causal=False, heads=True),
        random_tokens(sequences, length, dim, generator=g),
        {"simuformer": partial(by_heads, forms, torch.float32)},
        partial(_dense, forms.numpy()),
        {"simuformer": 1e-5},
    )


def by_sphere(x0: Tensor, step: float, count: int) -> Tensor:
    """The iteration of sphere.py of github.com/borjanG/2023-transformers-rotf, A = V = I."""
    A = V = np.eye(x0.shape[-1])
    x = x0.numpy()
    for _ in range(count):
        image = A @ x.T
        weights = np.exp(image.T @ image)
        weights = weights / weights.sum(axis=1)[:, np.newaxis]
        x = x + step * (weights @ (V @ x.T).T)
        x = x / np.linalg.norm(x, axis=1)[:, np.newaxis]
    return torch.from_numpy(x)


def by_heads(forms: Tensor, dtype: torch.dtype, x0: Tensor, step: float, count: int) -> Tensor:
    """The iteration of simuxform.py of github.com/nikitus20/simuformer, post-norm, with V = I.

    With one head and in float64 that of phase-diagrams.py of 2023-transformers-rotf.
    """
    x = x0.to(dtype)
    forms = forms.to(dtype)
    for _ in range(count):
        moved = torch.zeros_like(x)
        for form in forms:
            weights = torch.softmax(x @ form @ x.mT, dim=-1)
            moved += weights @ x / len(forms)
        x = torch.nn.functional.normalize(x + step * moved, dim=-1)
    return x.double()


def _dense(forms: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The field by its matrices, in numpy."""
    y = np.zeros_like(x)
    for form in forms:
        weights = np.exp(x @ form @ x.swapaxes(-1, -2))
        y += weights @ x / weights.sum(-1, keepdims=True) / len(forms)
    return y - (y * x).sum(-1, keepdims=True) * x


def by_scipy(system: System, times: Tensor) -> Tensor:
    """The system's tokens at `times` by other code than ours: DOP853 on dense matrices."""
    shape = tuple(system.start.shape)

    def derivative(_: float, flat: np.ndarray) -> np.ndarray:
        x = flat.reshape(shape)
        return system.dense(x / np.linalg.norm(x, axis=-1, keepdims=True)).ravel()

    solution = solve_ivp(
        derivative,
        (0.0, float(times[-1])),
        system.start.numpy().ravel(),
        "DOP853",
        t_eval=times.numpy(),
        rtol=REFERENCE,
        atol=REFERENCE,
    )
    assert solution.success, solution.message
    tokens = torch.from_numpy(solution.y.T.reshape(-1, *shape).copy())
    return tokens / tokens.norm(dim=-1, keepdim=True)


def _error_at_equal_cost(system: System) -> Table:
    times = torch.linspace(0.0, TIME, OUTPUTS + 1, dtype=torch.float64)
    apart = float(times[1])
    reference = by_scipy(system, times)
    calls: dict[str, Callable[[], Tensor]] = {
        f"simulate, rtol {rtol:.0e}": partial(_simulated, system, times, rtol) for rtol in RTOLS
    }
    ours = next(iter(calls))
    once = torch.tensor([0.0, STEP], dtype=torch.float64)
    for name, program in system.programs.items():
        step = program(system.start, STEP, 1)
        want = layers(system.flow, system.start, once).tokens[-1]
        assert_same(name, step, want, system.digits[name])
        calls[f"{name}, step {STEP:g}"] = partial(_iterated, system, program, round(apart / STEP))
    calls[f"layers, step {STEP:g}"] = partial(_layered, system, round(apart / STEP))
    errors = {name: call() - reference for name, call in calls.items()}
    seconds = _cpu(calls)
    # As many steps as cost no less than ours.
    equal = {}
    for name, program in (*system.programs.items(), ("layers", None)):
        count = seconds[ours] / seconds[f"{name}, step {STEP:g}"] * apart / STEP
        steps = max(1, math.ceil(count))
        call = partial(_layered, system) if program is None else partial(_iterated, system, program)
        equal[f"{name}, step {apart / steps:.2g}"] = partial(call, steps)
    equal = {name: call for name, call in equal.items() if name not in calls}
    errors |= {name: call() - reference for name, call in equal.items()}
    seconds |= _cpu(equal)
    largest = {name: float(error.abs().max()) for name, error in errors.items()}
    rows = [
        {
            "contender": name,
            "CPU s": seconds[name],
            "CPU s / ours": seconds[name] / seconds[ours],
            "largest error": largest[name],
            "at the end": float(error[-1].abs().max()),
            "CPU s / ours at our error": None
            if name.startswith("simulate")
            else seconds[name] / seconds[ours] * largest[name] / largest[ours],
        }
        for name, error in errors.items()
    ]
    notes = [
        f"Errors of coordinates, over {OUTPUTS} times up to {TIME:g} and at the last, against "
        f"scipy's DOP853 at {REFERENCE:g} on dense matrices in numpy. One thread.",
        f"ours: {ours}. Each Euler iteration is there with its program's step, {STEP:g}, and with "
        "the step that takes as long as ours or a little longer.",
        "at our error: Euler's error taken as proportional to its step.",
        "layers: the same Euler iteration by our layer. simuformer computes in float32.",
    ]
    return Table(system.title, rows, notes)


def _cpu(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    seconds = race(calls, threads=(1,), repeats=3, budget=3.0)
    return {name: seconds[name, 1].least("cpu") for name in calls}


def _simulated(system: System, times: Tensor, rtol: float) -> Tensor:
    return simulate(system.flow, system.start, times, rtol, 1e-2 * rtol).tokens


def _iterated(
    system: System, program: Callable[[Tensor, float, int], Tensor], steps: int
) -> Tensor:
    """steps: between two outputs."""
    kept = [system.start]
    for _ in range(OUTPUTS):
        kept.append(program(kept[-1], TIME / OUTPUTS / steps, steps))
    return torch.stack(kept)


def _layered(system: System, steps: int) -> Tensor:
    times = torch.linspace(0.0, TIME, OUTPUTS * steps + 1, dtype=torch.float64)
    return layers(system.flow, system.start, times, every=steps).tokens


def work(length: int) -> dict[str, float]:
    """An exponential and 2 D multiply-adds for each pair j <= l."""
    pairs = length * (length + 1) / 2
    return {"exponentials": pairs, "multiply-adds": 2 * DIM * pairs}


def _beside_dense(length: int) -> Table:
    return compare(
        f"attention_flow: one evaluation, causal, {length:,} tokens, D = {DIM}, float64",
        {name: prepare(length) for name, prepare in PREPARE.items()},
        work(length),
        torch.float64,
        notes=["dense: `flow.attention(x) @ x`."],
    )


def _evaluations(lengths: tuple[int, ...]) -> Table:
    rows = []
    for length in lengths:
        contenders = {name: prepare(length) for name, prepare in PREPARE.items()}
        if 8 * length**2 > DENSE_LIMIT:
            del contenders["dense"]
        else:
            assert_same("dense", contenders["dense"](), contenders["ours"](), 1e-12)
        contenders["ours"]()
        seconds = race(contenders, threads=(1,), repeats=5, budget=4.0)
        cpu = {name: seconds[name, 1].least("cpu") for name in contenders}
        memory = {name: peak_memory(PREPARE[name], (8,), (length,)) for name in contenders}
        least = floor(work(length), torch.float64, 1)
        rows.append(
            {
                "tokens": length,
                "ours (CPU s)": cpu["ours"],
                "dense (CPU s)": cpu.get("dense"),
                "dense / ours": cpu["dense"] / cpu["ours"] if "dense" in cpu else None,
                "ours / floor": cpu["ours"] / least["cpu"],
                "ours (MB)": memory["ours"],
                "dense (MB)": memory.get("dense"),
                "L x L matrix (MB)": 8 * length**2 / 1e6,
            }
        )
    notes = [
        "dense: `flow.attention(x) @ x`. It stops where the matrix would take more than "
        f"{DENSE_LIMIT / 2**30:g} GiB.",
        f"floor: an exponential and {2 * DIM} multiply-adds for each pair j <= l, inlined.",
        "MB: by which a fresh process grows at most.",
    ]
    title = f"attention_flow: one evaluation, causal, D = {DIM}, float64, one thread"
    return Table(title, rows, notes)


def _problem(length: int) -> tuple[OnSphere, Tensor]:
    g = torch.Generator().manual_seed(0)
    Q, K = torch.randn(2, DIM, DIM, generator=g, dtype=torch.float64)
    return attention_flow(Q, K, causal=True), random_tokens(length, DIM, generator=g)


def _ours(length: int) -> Callable[[], Tensor]:
    return partial(*_problem(length))


def _by_matrix(length: int) -> Callable[[], Tensor]:
    flow, x = _problem(length)
    return lambda: project(x, flow.attention(x) @ x)


PREPARE = {"ours": _ours, "dense": _by_matrix}
