"""The S6 layer: its recurrence, its hidden attention, and that attention's column sums.

Tensors have mamba-ssm's layout: ``u, delta: (B, D, L)`` (batch, channels, tokens),
``A: (D, N)`` negative, ``B, C: (B, N, L)`` (N states). With G groups, B and C are (B, G, N, L), and
channels ``D g / G`` up to ``D (g + 1) / G`` read group g. For channel d the layer is

    h_l = exp(delta_l A_d) * h_{l-1} + delta_l u_l B_l,    h_0 = 0,    y_l = <C_l, h_l>,

which is eqs (1)-(2) of the paper with ``A[d, n] = -a_d`` for every state n. Eliminating h gives
``y_l = sum_{j <= l} M[l, j] u_j`` with the hidden attention

    M[l, j] = delta_j sum_n C_{l,n} B_{j,n} exp(A_{d,n} sum_{k=j+1}^{l} delta_k),

which is eqs (4)-(5). All functions multiply decays step by step and never divide by one or
subtract two cumulated sums, so they stay exact when steps are tiny or huge. Inputs in half
precision are computed in float32; the result has the dtype of ``delta``.
"""

import functools
import importlib.util
import math
from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["attention_rows", "column_sums", "hidden_attention", "scan"]

KERNEL_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
BLOCK = 16
"""Tokens whose decays and readings are computed at once; the recurrence itself goes one by one."""


def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The layer's output by its recurrence, eqs (1)-(2).

    Args:
        u: input, (B, D, L).
        delta: steps after softplus, (B, D, L), non-negative.
        A: decay rates, (D, N), negative.
        B, C: input and output vectors, (B, N, L) or (B, G, N, L).

    Returns:
        y, (B, D, L), in O(B D N L) time and, without autograd, O(B D (L + BLOCK N)) memory.

    Raises:
        ValueError: a shape, dtype, sign or non-finite value; the message names the argument.
    """
    _check(delta, A, B, C)
    _check_like("u", u, delta)
    dtype = delta.dtype
    u, delta, A, B, C = _group(*_widen(u, delta, A, B, C))
    steps, inputs, B, C = (_token_first(value) for value in (delta, delta * u, B, C))
    state = A.new_zeros(*steps.shape[1:], A.shape[-1])
    outputs = []
    for start in range(0, len(steps), BLOCK):
        block = slice(start, start + BLOCK)
        decays = torch.exp(steps[block].unsqueeze(-1) * A)
        updates = inputs[block].unsqueeze(-1) * B[block].unsqueeze(3)
        states = []
        for decay, update in zip(decays.unbind(), updates.unbind(), strict=True):
            state = decay * state + update
            states.append(state)
        outputs.append((torch.stack(states) * C[block].unsqueeze(3)).sum(-1))
    return _channel_first(torch.cat(outputs)).to(dtype)


def hidden_attention(delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The matrices M with ``scan(u, ...)[b, d] == M[b, d] @ u[b, d]``, eqs (4)-(5).

    Args: as for :func:`scan`.

    Returns:
        (B, D, L, L): query l, key j; zero for j > l. O(B D N L^2) time, O(B D L (L + N)) memory.

    Raises:
        ValueError: as :func:`scan`.
    """
    _check(delta, A, B, C)
    dtype = delta.dtype
    length = delta.shape[-1]
    rows = attention_rows(delta, A, B, C)
    whole = [torch.nn.functional.pad(row, (0, length - row.shape[-1])) for row in rows]
    return torch.stack(whole, dim=2).to(dtype)


def attention_rows(delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Iterator[Tensor]:
    """The rows of :func:`hidden_attention` from the first query to the last, one at a time.

    Args: as for :func:`scan`.

    Yields:
        row l without its zeros, (B, D, l), in float32 at least. O(B D N L) memory.

    Raises:
        ValueError: as :func:`scan`, when the first row is asked for.
    """
    _check(delta, A, B, C)
    delta, A, B, C = _group(*_widen(delta, A, B, C))
    # keys[..., j, :] is what key j has left in each state when query l reads it.
    keys = A.new_zeros(*delta.shape[:3], 0, A.shape[-1])
    for l in range(delta.shape[-1]):
        new = delta[..., l, None, None] * B[:, :, None, None, :, l]
        decay = torch.exp(delta[..., l, None, None] * A.unsqueeze(-2))
        keys = torch.cat([decay * keys, new], dim=-2)
        yield (keys @ C[:, :, None, :, l, None]).squeeze(-1).flatten(1, 2)


def column_sums(
    delta: Tensor, A: Tensor, B: Tensor, C: Tensor, row_weights: Tensor | None = None
) -> Tensor:
    """For each key j, the sum over queries l >= j of ``row_weights[l] * M[l, j]``.

    M is never built. With w the row weights, a reverse scan ``g_k = w_k C_k + exp(A delta_{k+1})
    g_{k+1}`` gives the sum as ``delta_k <B_k, g_k>``: it is the adjoint of :func:`scan`, so the
    result is also the gradient of ``(row_weights * scan(u, ...)).sum()`` with respect to ``u``.
    On a GPU that Triton can use, where no gradient is asked for, the kernel in
    `tokensphere.s6_triton` computes the same in one pass; float64 always takes this one. The kernel
    does not wait for the device to look at values: where this one would raise for a value, the sums
    that it enters come out as NaN or infinity.

    Args:
        delta, A, B, C: as for :func:`scan`.
        row_weights: weight of each query, broadcastable to (B, D, L); ones by default.

    Returns:
        (B, D, L), in O(B D N L) time and, without autograd, O(B D (L + BLOCK N)) memory.

    Raises:
        ValueError: as :func:`scan`, or ``row_weights`` that do not broadcast to (B, D, L).
    """
    _check_shapes(delta, A, B, C)
    dtype, shape = delta.dtype, delta.shape
    if row_weights is not None:
        got = tuple(row_weights.shape)
        try:
            row_weights = row_weights.expand(shape)
        except RuntimeError:
            raise ValueError(
                f"row_weights: shape {got} does not broadcast to {tuple(shape)}"
            ) from None
    if _fused(delta, A, B, C, row_weights):
        from tokensphere import s6_triton

        return s6_triton.column_sums(delta, A, B, C, row_weights)
    _check_values(delta, A, B, C)
    if row_weights is not None:
        _check_like("row_weights", row_weights, delta)
    weights = None
    if row_weights is not None:
        grouped = row_weights.unflatten(1, (B.shape[1] if B.ndim == 4 else 1, -1))
        weights = _token_first(*_widen(grouped)).unsqueeze(-1)
    delta, A, B, C = _group(*_widen(delta, A, B, C))
    steps, B, C = (_token_first(value) for value in (delta, B, C))
    adjoint = A.new_zeros(*steps.shape[1:], A.shape[-1])
    sums = []
    for start in reversed(range(0, len(steps), BLOCK)):
        block = slice(start, start + BLOCK)
        decays = torch.exp(steps[block].unsqueeze(-1) * A)
        queries = C[block].unsqueeze(3)
        if weights is not None:
            queries = weights[block] * queries
        adjoints = []
        for decay, query in zip(decays.flip(0).unbind(), queries.flip(0).unbind(), strict=True):
            adjoints.append(adjoint + query)
            adjoint = decay * adjoints[-1]
        read = (torch.stack(adjoints[::-1]) * B[block].unsqueeze(3)).sum(-1)
        sums.append(steps[block] * read)
    return _channel_first(torch.cat(sums[::-1])).to(dtype)


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


def _group(*tensors: Tensor) -> list[Tensor]:
    """The last two, B and C, as (B, G, N, L); channels of the others split as (G, D / G)."""
    *others, A, B, C = tensors
    if B.ndim == 3:
        B, C = B.unsqueeze(1), C.unsqueeze(1)
    groups = B.shape[1]
    split = [value.unflatten(1, (groups, -1)) for value in others]
    return [*split, A.unflatten(0, (groups, -1)), B, C]


def _channel_first(value: Tensor) -> Tensor:
    """(B, D, L), from (L, B, G, D / G)."""
    return value.flatten(2, 3).permute(1, 2, 0)


def _token_first(value: Tensor) -> Tensor:
    """(L, B, ...) and contiguous, from (B, ..., L): one token's numbers lie side by side."""
    return value.movedim(-1, 0).contiguous()


def _widen(*tensors: Tensor) -> tuple[Tensor, ...]:
    """float32 for anything narrower: sums of many small terms are lost in half precision."""
    return tuple(t if t.dtype == torch.float64 else t.float() for t in tensors)


def _check_like(name: str, value: Tensor, delta: Tensor) -> None:
    if value.shape != delta.shape:
        raise ValueError(
            f"{name}: shape {tuple(value.shape)}, but delta has {tuple(delta.shape)}, (B, D, L)"
        )
    _extremes({name: value}, delta)


def _extremes(values: dict[str, Tensor], delta: Tensor) -> dict[str, tuple[float, float]]:
    """The least and the greatest number of each; refuses what is not finite."""
    for name, value in values.items():
        if not value.is_floating_point():
            raise ValueError(f"{name}: dtype {value.dtype}, takes a floating point tensor")
        # A float64 model has everything in float64; mixed half and float32 inputs are usual.
        if (value.dtype == torch.float64) != (delta.dtype == torch.float64):
            raise ValueError(f"{name}: dtype {value.dtype} does not go with delta's {delta.dtype}")
    # One pass over each, which hands NaN on, and one wait for the device in all.
    pairs = [torch.stack(torch.aminmax(value.detach())).double() for value in values.values()]
    found = dict(zip(values, torch.stack(pairs).tolist(), strict=True))
    for name, pair in found.items():
        if not all(map(math.isfinite, pair)):
            raise ValueError(f"{name}: holds NaN or infinity")
    return found


def _check(delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> None:
    _check_shapes(delta, A, B, C)
    _check_values(delta, A, B, C)


def _check_shapes(delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> None:
    for name, value in {"delta": delta, "A": A, "B": B, "C": C}.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name}: got {type(value).__name__}, takes a torch.Tensor")
    if delta.ndim != 3 or 0 in delta.shape:
        raise ValueError(f"delta: shape {tuple(delta.shape)}, takes (B, D, L), none of them 0")
    batch, channels, length = delta.shape
    if A.ndim != 2 or A.shape[0] != channels or A.shape[1] == 0:
        raise ValueError(f"A: shape {tuple(A.shape)}, takes (D, N) with D = {channels} as in delta")
    states = A.shape[1]
    for name, value in {"B": B, "C": C}.items():
        if value.ndim not in (3, 4) or (value.shape[0], *value.shape[-2:]) != (
            batch,
            states,
            length,
        ):
            raise ValueError(
                f"{name}: shape {tuple(value.shape)}, takes (B, N, L) = {(batch, states, length)} "
                f"as in delta and A, or (B, G, N, L)"
            )
    if B.shape != C.shape:
        raise ValueError(f"C: shape {tuple(C.shape)}, but B has {tuple(B.shape)}")
    if B.ndim == 4 and (B.shape[1] == 0 or channels % B.shape[1]):
        raise ValueError(f"B: {B.shape[1]} groups, which do not divide the {channels} channels")


def _check_values(delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> None:
    extremes = _extremes({"delta": delta, "A": A, "B": B, "C": C}, delta)
    if extremes["delta"][0] < 0:
        raise ValueError("delta: holds a negative step; pass steps after softplus")
    if extremes["A"][1] >= 0:
        raise ValueError("A: holds a rate that is not negative; pass -exp(A_log)")
