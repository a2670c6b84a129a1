"""A permutation of tokens and its gradient on a GPU: ours, three of torch's, and two copies."""

from collections.abc import Callable

import torch
from torch import Tensor
from triton.testing import do_bench

from tokensphere.reorder.wrapping import _Permute

from .measure import Table, assert_same

SIZES = ((512, 196, 320), (512, 49, 640), (512, 64, 320), (512, 16, 640))
"""(B, L, D) of MambaVision-T's mixers at 224 pixels and at 32."""

Permute = Callable[[Tensor], Tensor]


def run(sizes: tuple[tuple[int, int, int], ...] = SIZES) -> list[Table]:
    """sizes: (B, L, D). Needs a CUDA device."""
    notes = [
        "Medians of GPU time with a cold L2 cache, indices in place: float32 tokens gathered in an "
        "order, and a gradient of their size put back.",
        "index: `x[:, order]`; index_select: along the tokens; gather: with an expanded index. "
        "Their gradients add up, as for indices that repeat.",
        "floor: two copies of x, each read and written.",
    ]
    title = f"permute_gpu: float32, {torch.cuda.get_device_name()}"
    return [Table(title, [_race(size) for size in sizes], notes)]


def ours(order: Tensor, shape: torch.Size) -> Permute:
    """By rows of all sequences' tokens, as a mixer of `reorder.wrap` does it."""
    starts = shape[1] * torch.arange(shape[0], device=order.device)[:, None]
    rows, inverse = ((each + starts).flatten() for each in (order, order.argsort()))
    return lambda x: _Permute.apply(x, rows, inverse)


def by_gather(order: Tensor, shape: torch.Size) -> Permute:
    index = order[:, None].expand(shape)
    return lambda x: x.gather(1, index)


CONTENDERS = {
    "ours": ours,
    "index": lambda order, _: lambda x: x[:, order],
    "index_select": lambda order, _: lambda x: x.index_select(1, order),
    "gather": by_gather,
}


def _race(size: tuple[int, int, int]) -> dict[str, object]:
    g = torch.Generator("cuda").manual_seed(0)
    x, back = torch.randn(2, *size, generator=g, device="cuda").unbind()
    order = torch.randperm(size[1], generator=g, device="cuda")
    x.requires_grad_()
    row: dict[str, object] = dict(zip(("B", "tokens", "D"), size, strict=True))
    want: tuple[Tensor, Tensor] | None = None
    for name, prepare in CONTENDERS.items():
        permute = prepare(order, x.shape)
        y = permute(x)

        def pull(y: Tensor = y) -> Tensor:
            return torch.autograd.grad(y, x, back, retain_graph=True)[0]

        got = (y.detach(), pull())
        want = want or got
        for one, other in zip(got, want, strict=True):
            assert_same(name, one, other, 0.0)
        row[f"{name} (ms)"] = _milliseconds(lambda p=permute: p(x)) + _milliseconds(pull)
    target = torch.empty_like(back)
    floor = 2 * _milliseconds(lambda: target.copy_(back))
    taken = row["ours (ms)"]
    return row | {
        "floor (ms)": floor,
        "ours / floor": taken / floor,
        "index / ours": row["index (ms)"] / taken,
    }


def _milliseconds(call: Callable[[], object]) -> float:
    return do_bench(call, warmup=20, rep=100, return_mode="median")
