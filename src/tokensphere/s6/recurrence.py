"""The layer's output and the column sums of its hidden attention, by the recurrence."""

import functools
import importlib.util
from types import ModuleType

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.door import optional, takes, tensor

from .arguments import (
    by_group,
    channel_first,
    check_like,
    check_resets,
    check_shapes,
    check_values,
    token_first,
    unobserved,
    wide,
    widen,
)

KERNEL_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
CPU_DTYPES = (torch.float64, *KERNEL_DTYPES)
BLOCK = 16
"""Tokens whose decays and readings are computed at once; the recurrence itself goes one by one."""


@takes(
    u=tensor("...", finite=False, alike=False),
    delta=tensor("...", finite=False, alike=False),
    A=tensor("...", finite=False, alike=False),
    B=tensor("...", finite=False, alike=False),
    C=tensor("...", finite=False, alike=False),
)
def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The layer's output by its recurrence, eqs (1)-(2).

    Args:
        u: input, (B, D, L).
        delta: steps after softplus, (B, D, L), non-negative.
        A: decay rates, (D, N), negative.
        B, C: input and output vectors, (B, N, L) or (B, G, N, L).

    Returns:
        y, (B, D, L), in O(B D N L) time and, without autograd, O(B D (L + BLOCK N)) memory.
        On a CPU, where numba is installed and neither a gradient nor a transform is asked for, by
        the compiled pass in `tokensphere.s6.cpu`.

    Raises:
        ValueError: a shape, dtype, sign or non-finite value; the message names the argument.
    """
    check_shapes(delta, A, B, C)
    compiled = _compiled(u, delta, A, B, C)
    if compiled and u.shape == delta.shape:
        y, _, fine = compiled.scan(u, delta, A, B, C)
        if fine:
            return y.to(delta.dtype)
    check_values(delta, A, B, C)
    check_like("u", u, delta)
    y, _ = _recur(u, delta, A, B, C)
    return y.to(delta.dtype)


def recur(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    initial_state: Tensor | None = None,
    resets: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """:func:`scan` of checked arguments, and the state that it ends in.

    Args:
        u, delta, A, B, C: as for :func:`scan`; A, B and C may also be complex.
        initial_state: h_0, (B, D, N); zeros by default.
        resets: bool, (B, L): where a document begins, whose state starts from zero.

    Returns:
        y, (B, D, L), twice the real part of the sum over states where A, B or C is complex; and
        h_L, (B, D, N). Both in float32 at least.
    """
    compiled = _compiled(u, delta, A, B, C, initial_state)
    if compiled:
        y, state, _ = compiled.scan(u, delta, A, B, C, initial_state, resets)
        return y, state
    return _recur(u, delta, A, B, C, initial_state, resets)


def _recur(u, delta, A, B, C, initial_state=None, resets=None) -> tuple[Tensor, Tensor]:
    """:func:`recur` in plain torch, on any device and under any transform."""
    u, delta, A, B, C = by_group(*widen(u, delta, A, B, C))
    steps, inputs, B, C = (token_first(value) for value in (delta, delta * u, B, C))
    if initial_state is None:
        state = torch.zeros_like(A * B[0].unsqueeze(2))
    else:
        state = wide(initial_state).unflatten(1, steps.shape[2:])
    outputs = []
    for start in range(0, len(steps), BLOCK):
        block = slice(start, start + BLOCK)
        decays = _decays(steps[block], A, resets, block)
        updates = inputs[block].unsqueeze(-1) * B[block].unsqueeze(3)
        states = []
        for decay, update in zip(decays.unbind(), updates.unbind(), strict=True):
            state = decay * state + update
            states.append(state)
        outputs.append((torch.stack(states) * C[block].unsqueeze(3)).sum(-1))
    y = channel_first(torch.cat(outputs))
    return 2 * y.real if y.is_complex() else y, state.flatten(1, 2)


def _decays(steps: Tensor, A: Tensor, resets: Tensor | None, block: slice) -> Tensor:
    """exp(A delta) of a block of tokens, (L, B, G, D / G, N); zero where a document begins."""
    decays = torch.exp(steps.unsqueeze(-1) * A)
    if resets is None:
        return decays
    return decays.masked_fill(resets[:, block].mT[..., None, None, None], 0)


@takes(
    delta=tensor("...", finite=False, alike=False),
    A=tensor("...", finite=False, alike=False),
    B=tensor("...", finite=False, alike=False),
    C=tensor("...", finite=False, alike=False),
    row_weights=optional(tensor("...", finite=False, alike=False)),
    resets=optional(tensor("B", "L", kinds="b", alike=False)),
)
def column_sums(
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    row_weights: Tensor | None = None,
    resets: Tensor | None = None,
) -> Tensor:
    """For each key j, the sum over queries l >= j of ``row_weights[l] * M[l, j]``.

    M is never built. With w the row weights, a reverse scan ``g_k = w_k C_k + exp(A delta_{k+1})
    g_{k+1}`` gives the sum as ``delta_k <B_k, g_k>``: it is the adjoint of :func:`scan`, so the
    result is also the gradient of ``(row_weights * scan(u, ...)).sum()`` with respect to ``u``.
    On a GPU that Triton can use, where no gradient is asked for, the kernel in
    `tokensphere.s6.gpu` computes the same in one pass; float64 always takes this one. The kernel
    does not wait for the device to look at values: where this one would raise for a value, the sums
    that it enters come out as NaN or infinity.

    On a CPU with numba the same is compiled, as :func:`scan` is, for any dtype.

    Args:
        delta, A, B, C: as for :func:`scan`.
        row_weights: weight of each query, broadcastable to (B, D, L); ones by default.
        resets: bool, (B, L): True at the first token of a document, which reads none of the keys
            before it.

    Returns:
        (B, D, L), in O(B D N L) time and, without autograd, O(B D (L + BLOCK N)) memory.

    Raises:
        ValueError: as :func:`scan`, or ``row_weights`` that do not broadcast to (B, D, L).
    """
    check_shapes(delta, A, B, C)
    check_resets(resets, delta)
    shape = delta.shape
    if row_weights is not None:
        got = tuple(row_weights.shape)
        try:
            row_weights = row_weights.expand(shape)
        except RuntimeError:
            raise ValueError(
                f"row_weights: shape {got} does not broadcast to {tuple(shape)}"
            ) from None
    if resets is None and _fused(delta, A, B, C, row_weights):
        from . import gpu

        return gpu.column_sums(delta, A, B, C, row_weights)
    compiled = _compiled(delta, A, B, C, row_weights)
    if compiled:
        sums, fine = compiled.column_sums(delta, A, B, C, row_weights, resets)
        if fine:
            return sums.to(delta.dtype)
    check_values(delta, A, B, C)
    if row_weights is not None:
        check_like("row_weights", row_weights, delta)
    return _column_sums(delta, A, B, C, row_weights, resets).to(delta.dtype)


@takes(
    delta=tensor("...", empty=True, finite=False, alike=False),
    delta_bias=tensor("...", finite=False, alike=False),
)
def steps(delta: Tensor, delta_bias: Tensor) -> Tensor:
    """A layer's steps softplus(delta + delta_bias), eq (2) with a bias, in float32 at least.

    On a GPU that Triton can use one pass over memory, where no gradient is asked for.

    Args:
        delta: what the projection gave, (B, D, L).
        delta_bias: (D,), added in the result's dtype, as mamba-ssm's kernels do.

    Returns:
        (B, D, L), laid out in memory as delta is.

    Raises:
        ValueError: other shapes, or a dtype that is not floating point.
    """
    if delta.ndim != 3 or delta_bias.shape != delta.shape[1:2]:
        raise ValueError(
            f"delta_bias: shape {tuple(delta_bias.shape)}, takes (D,) of delta "
            f"{tuple(delta.shape)}, (B, D, L)"
        )
    for name, value in {"delta": delta, "delta_bias": delta_bias}.items():
        if not value.is_floating_point():
            raise ValueError(f"{name}: dtype {value.dtype}, takes a floating point tensor")
    if delta.numel() and delta.mT.is_contiguous() and _fused(delta, delta_bias):
        from . import gpu

        return gpu.steps(delta, delta_bias)
    # The sum is in the wider of the two: one pass over what may be half a gigabyte.
    return softplus(delta + wide(delta_bias)[:, None])


def _column_sums(delta, A, B, C, row_weights=None, resets=None) -> Tensor:
    """:func:`column_sums` in plain torch, in float32 at least."""
    weights = None
    if row_weights is not None:
        grouped = row_weights.unflatten(1, (B.shape[1] if B.ndim == 4 else 1, -1))
        weights = token_first(wide(grouped)).unsqueeze(-1)
    delta, A, B, C = by_group(*widen(delta, A, B, C))
    steps, B, C = (token_first(value) for value in (delta, B, C))
    adjoint = A.new_zeros(*steps.shape[1:], A.shape[-1])
    sums = []
    for start in reversed(range(0, len(steps), BLOCK)):
        block = slice(start, start + BLOCK)
        decays = _decays(steps[block], A, resets, block)
        queries = C[block].unsqueeze(3)
        if weights is not None:
            queries = weights[block] * queries
        adjoints = []
        for decay, query in zip(decays.flip(0).unbind(), queries.flip(0).unbind(), strict=True):
            adjoints.append(adjoint + query)
            adjoint = decay * adjoints[-1]
        read = (torch.stack(adjoints[::-1]) * B[block].unsqueeze(3)).sum(-1)
        sums.append(steps[block] * read)
    return channel_first(torch.cat(sums[::-1]))


def _fused(*tensors: Tensor | None) -> bool:
    """Whether the kernel for GPUs may stand in: it knows neither autograd nor float64."""
    given = [value for value in tensors if value is not None]
    return (
        _triton()
        and all(value.is_cuda and value.dtype in KERNEL_DTYPES for value in given)
        and not (torch.is_grad_enabled() and any(value.requires_grad for value in given))
    )


@functools.cache
def _triton() -> bool:
    # torch brings Triton along for CUDA on Linux, and nowhere else.
    return torch.cuda.is_available() and importlib.util.find_spec("triton") is not None


def _compiled(*tensors: Tensor | None) -> ModuleType | None:
    """The module of compiled passes for CPUs, where they may stand in for the plain ones."""
    given = [value for value in tensors if value is not None]
    double = [value.dtype == torch.float64 for value in given]
    if (
        all(value.device.type == "cpu" and value.dtype in CPU_DTYPES for value in given)
        and all(double) == any(double)
        and all(value.layout == torch.strided for value in given)
        and unobserved(*given)
    ):
        return _cpu()
    return None


@functools.cache
def _cpu() -> ModuleType | None:
    try:
        from . import cpu
    except ImportError:  # numba is an extra
        return None
    return cpu
