"""Column sums of one Falcon-Mamba-7B layer on a GPU: the kernel, its floor, and two other ways."""

from collections.abc import Callable

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.testing import do_bench

from tokensphere import s6

from .measure import Table, assert_same

SIZES = tuple((8192, 16, length) for length in (1024, 4096, 16_384))
MATRIX_LIMIT = 1024
"""Tokens above which building the matrices takes half a minute and more."""
BLOCK = 2**28
"""Entries of the matrices that are built at once."""


def run(sizes: tuple[tuple[int, int, int], ...] = SIZES) -> list[Table]:
    """sizes: (D, N, L). Needs a CUDA device and mamba-ssm."""
    bandwidth, exponentials = rates()
    rows = [_race(size, bandwidth, exponentials) for size in sizes]
    notes = [
        "Medians of GPU time with a cold L2 cache, inputs in place. MB: growth of the device's "
        "peak memory during the call, the result included.",
        "matrix: M by differences of cumulated steps, as many channels at once as fit into "
        f"{4 * BLOCK / 2**30:g} GiB, then summed. It stops above {MATRIX_LIMIT} tokens.",
        "gradient: of mamba-ssm's `selective_scan_fn(u, ...).sum()` with respect to u.",
        f"floor: the longer of delta read and sums written at {bandwidth / 1e12:.3g} TB/s (a copy, "
        f"both directions counted) and one exponential a channel, state and token at "
        f"{exponentials / 1e12:.3g} Tera a second (2^x in registers), as measured in this run. "
        "both: one after the other.",
    ]
    title = f"column_sums_gpu: one sequence, float32, {torch.cuda.get_device_name()}"
    return [Table(title, rows, notes)]


def problem(channels: int, states: int, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """delta, A, B, C of the sizes that a trained layer has."""
    g = torch.Generator("cuda").manual_seed(0)
    delta = torch.randn(1, channels, length, generator=g, device="cuda")
    delta = torch.nn.functional.softplus(delta - 4)
    A = -torch.arange(1.0, states + 1, device="cuda").expand(channels, -1).contiguous()
    B, C = torch.randn(2, 1, states, length, generator=g, device="cuda")
    return delta, A, B, C


def by_matrix(delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Builds the matrices, a block of channels at a time, each state's decays at once."""
    _, channels, length = delta.shape
    block = max(1, BLOCK // length**2)
    later = torch.ones(length, length, device=delta.device).triu(1).bool()
    sums = []
    for first in range(0, channels, block):
        steps, rates = delta[0, first : first + block], A[first : first + block]
        # Differences of cumulated steps lose digits, which the floor's relative error allows for.
        time = steps.double().cumsum(-1)
        age = (time[:, :, None] - time[:, None, :]).float().masked_fill_(later, torch.inf)
        matrix = torch.zeros_like(age)
        for rate, key, query in zip(rates.unbind(1), B[0], C[0], strict=True):
            decay = torch.exp(rate[:, None, None] * age)
            matrix.addcmul_(decay, query[:, None] * key)
        sums.append((matrix * steps[:, None]).sum(1))
    return torch.cat(sums)[None]


def by_gradient(delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The column sums are the gradient, since the layer is linear in u."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    u = torch.zeros_like(delta, requires_grad=True)
    (gradient,) = torch.autograd.grad(selective_scan_fn(u, delta, A, B, C).sum(), u)
    return gradient


def rates() -> tuple[float, float]:
    """Bytes copied and exponentials to the base 2 that this card does in a second."""
    source = torch.empty(2**28, device="cuda")
    target = torch.empty_like(source)
    copied = 2 * source.nbytes / _seconds(lambda: target.copy_(source))
    programs, rounds = 16 * torch.cuda.get_device_properties().multi_processor_count, 64
    out = torch.empty(programs * 1024, device="cuda")
    taken = _seconds(lambda: _exponentials[(programs,)](out, rounds, num_warps=4))
    return copied, 16 * rounds * len(out) / taken


@triton.jit
def _exponentials(out, ROUNDS: tl.constexpr):
    i = tl.program_id(0) * 1024 + tl.arange(0, 1024)
    x = i.to(tl.float32) * 1e-6 - 1.0
    for _ in range(ROUNDS):
        for _ in tl.static_range(16):
            x = tl.exp2(x) - 2.0
    tl.store(out + i, x)


CONTENDERS = {"ours": s6.column_sums, "gradient": by_gradient, "matrix": by_matrix}


def _race(size: tuple[int, int, int], bandwidth: float, exponentials: float) -> dict[str, object]:
    channels, states, length = size
    arguments = problem(*size)
    row: dict[str, object] = {"D": channels, "N": states, "tokens": length}
    want = None
    for name, function in CONTENDERS.items():
        if name == "matrix" and length > MATRIX_LIMIT:
            row |= {"matrix (ms)": None, "matrix (MB)": None}
            continue
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        got = function(*arguments)
        memory = (torch.cuda.max_memory_allocated() - before) / 1e6
        want = got if want is None else want
        # Each is float32 with its own order of thousands of roundings.
        assert_same(name, got, want, 1e-4)
        call = lambda function=function: function(*arguments)  # noqa: E731
        seconds = _once(call) if name == "matrix" else _seconds(call)
        row |= {f"{name} (ms)": 1e3 * seconds, f"{name} (MB)": memory}
    moved = 2 * 4 * channels * length / bandwidth
    taken = channels * states * length / exponentials
    ours = row["ours (ms)"]
    return row | {
        "floor (ms)": 1e3 * max(moved, taken),
        "ours / floor": ours / (1e3 * max(moved, taken)),
        "ours / both": ours / (1e3 * (moved + taken)),
        "gradient / ours": row["gradient (ms)"] / ours,
        "matrix / ours": row["matrix (ms)"] and row["matrix (ms)"] / ours,
    }


def _seconds(call: Callable[[], object]) -> float:
    return 1e-3 * do_bench(call, warmup=50, rep=200, return_mode="median")


def _once(call: Callable[[], object]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return 1e-3 * start.elapsed_time(end)
