"""The S6 layer: its recurrence, its hidden attention, and that attention's column sums.

Tensors have mamba-ssm's layout: ``u, delta: (B, D, L)`` (batch, channels, tokens),
``A: (D, N)`` negative, ``B, C: (B, N, L)`` (N states). For channel d the layer is

    h_l = exp(delta_l A_d) * h_{l-1} + delta_l u_l B_l,    h_0 = 0,    y_l = <C_l, h_l>,

which is eqs (1)-(2) of the paper with ``A[d, n] = -a_d`` for every state n. Eliminating h gives
``y_l = sum_{j <= l} M[l, j] u_j`` with the hidden attention

    M[l, j] = delta_j sum_n C_{l,n} B_{j,n} exp(A_{d,n} sum_{k=j+1}^{l} delta_k),

which is eqs (4)-(5). All three functions multiply decays step by step and never divide by one or
subtract two cumulated sums, so they stay exact when steps are tiny or huge. Inputs in half
precision are computed in float32; the result has the dtype of ``delta``.
"""

import torch
from torch import Tensor

__all__ = ["column_sums", "hidden_attention", "scan"]

BLOCK = 16
"""Tokens whose decays and readings are computed at once; the recurrence itself goes one by one."""


def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The layer's output by its recurrence, eqs (1)-(2).

    Args:
        u: input, (B, D, L).
        delta: steps after softplus, (B, D, L), non-negative.
        A: decay rates, (D, N), negative.
        B, C: input and output vectors, (B, N, L).

    Returns:
        y, (B, D, L), in O(B D N L) time and, without autograd, O(B D (L + BLOCK N)) memory.

    Raises:
        ValueError: a shape, dtype, sign or non-finite value; the message names the argument.
    """
    _check(delta, A, B, C)
    _check_like("u", u, delta)
    dtype = delta.dtype
    u, delta, A, B, C = _widen(u, delta, A, B, C)
    steps, inputs, B, C = (_token_first(value) for value in (delta, delta * u, B, C))
    state = A.new_zeros(*steps.shape[1:], A.shape[1])
    outputs = []
    for start in range(0, len(steps), BLOCK):
        block = slice(start, start + BLOCK)
        decays = torch.exp(steps[block].unsqueeze(-1) * A)
        updates = inputs[block].unsqueeze(-1) * B[block].unsqueeze(2)
        states = []
        for decay, update in zip(decays.unbind(), updates.unbind(), strict=True):
            state = decay * state + update
            states.append(state)
        outputs.append((torch.stack(states) * C[block].unsqueeze(2)).sum(-1))
    return torch.cat(outputs).permute(1, 2, 0).to(dtype)


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
    delta, A, B, C = _widen(delta, A, B, C)
    length = delta.shape[-1]
    # keys[..., j, :] is what key j has left in each state when query l reads it.
    keys = A.new_zeros(*delta.shape[:2], 0, A.shape[1])
    rows = []
    for l in range(length):
        new = delta[:, :, l, None, None] * B[:, None, None, :, l]
        decay = torch.exp(delta[:, :, l, None, None] * A.unsqueeze(1))
        keys = torch.cat([decay * keys, new], dim=2)
        row = keys @ C[:, None, :, l, None]
        rows.append(torch.nn.functional.pad(row.squeeze(-1), (0, length - l - 1)))
    return torch.stack(rows, dim=2).to(dtype)


def column_sums(
    delta: Tensor, A: Tensor, B: Tensor, C: Tensor, row_weights: Tensor | None = None
) -> Tensor:
    """For each key j, the sum over queries l >= j of ``row_weights[l] * M[l, j]``.

    M is never built. With w the row weights, a reverse scan ``g_k = w_k C_k + exp(A delta_{k+1})
    g_{k+1}`` gives the sum as ``delta_k <B_k, g_k>``: it is the adjoint of :func:`scan`, so the
    result is also the gradient of ``(row_weights * scan(u, ...)).sum()`` with respect to ``u``.

    Args:
        delta, A, B, C: as for :func:`scan`.
        row_weights: weight of each query, broadcastable to (B, D, L); ones by default.

    Returns:
        (B, D, L), in O(B D N L) time and, without autograd, O(B D (L + BLOCK N)) memory.

    Raises:
        ValueError: as :func:`scan`, or ``row_weights`` that do not broadcast to (B, D, L).
    """
    _check(delta, A, B, C)
    dtype, shape = delta.dtype, delta.shape
    if row_weights is not None:
        got = tuple(row_weights.shape)
        try:
            row_weights = row_weights.expand(shape)
        except RuntimeError:
            raise ValueError(
                f"row_weights: shape {got} does not broadcast to {tuple(shape)}"
            ) from None
        _check_like("row_weights", row_weights, delta)
        (row_weights,) = _widen(row_weights)
    delta, A, B, C = _widen(delta, A, B, C)
    steps, B, C = (_token_first(value) for value in (delta, B, C))
    weights = None if row_weights is None else _token_first(row_weights).unsqueeze(-1)
    adjoint = A.new_zeros(*steps.shape[1:], A.shape[1])
    sums = []
    for start in reversed(range(0, len(steps), BLOCK)):
        block = slice(start, start + BLOCK)
        decays = torch.exp(steps[block].unsqueeze(-1) * A)
        queries = C[block].unsqueeze(2)
        if weights is not None:
            queries = weights[block] * queries
        adjoints = []
        for decay, query in zip(decays.flip(0).unbind(), queries.flip(0).unbind(), strict=True):
            adjoints.append(adjoint + query)
            adjoint = decay * adjoints[-1]
        read = (torch.stack(adjoints[::-1]) * B[block].unsqueeze(2)).sum(-1)
        sums.append(steps[block] * read)
    return torch.cat(sums[::-1]).permute(1, 2, 0).to(dtype)


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
    _check_numbers(name, value, delta)


def _check_numbers(name: str, value: Tensor, delta: Tensor) -> None:
    if not value.is_floating_point():
        raise ValueError(f"{name}: dtype {value.dtype}, takes a floating point tensor")
    # A float64 model has everything in float64; mixed half and float32 inputs are usual.
    if (value.dtype == torch.float64) != (delta.dtype == torch.float64):
        raise ValueError(f"{name}: dtype {value.dtype} does not go with delta's {delta.dtype}")
    if not torch.isfinite(value).all():
        raise ValueError(f"{name}: holds NaN or infinity")


def _check(delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> None:
    for name, value in {"delta": delta, "A": A, "B": B, "C": C}.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name}: got {type(value).__name__}, takes a torch.Tensor")
    if delta.ndim != 3 or 0 in delta.shape:
        raise ValueError(f"delta: shape {tuple(delta.shape)}, takes (B, D, L), none of them 0")
    batch, channels, length = delta.shape
    if A.ndim != 2 or A.shape[0] != channels or A.shape[1] == 0:
        raise ValueError(f"A: shape {tuple(A.shape)}, takes (D, N) with D = {channels} as in delta")
    for name, value in {"B": B, "C": C}.items():
        if value.shape != (batch, A.shape[1], length):
            raise ValueError(
                f"{name}: shape {tuple(value.shape)}, "
                f"takes (B, N, L) = {(batch, A.shape[1], length)} as in delta and A"
            )
    for name, value in {"delta": delta, "A": A, "B": B, "C": C}.items():
        _check_numbers(name, value, delta)
    if (delta < 0).any():
        raise ValueError("delta: holds a negative step; pass steps after softplus")
    if (A >= 0).any():
        raise ValueError("A: holds a rate that is not negative; pass -exp(A_log)")
