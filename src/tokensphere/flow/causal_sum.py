"""sum_{j<=l} <q_l, k_j> exp(-sum_{k=j+1}^{l} rates_k) v_j: in linear time, and as a matrix."""

import math

import torch
from torch import Tensor

CHUNK = 64
"""Tokens that the causal sum takes at once: a token costs CHUNK (N + D) + 2 N D multiply-adds."""

EXPONENT = 300.0
"""Largest exponent within a chunk. exp(300) times its gradient's exp(300) is still in float64."""


def causal_sum(queries: Tensor, keys: Tensor, rates: Tensor, values: Tensor) -> Tensor:
    """sum_{j<=l} <q_l, k_j> exp(-sum_{k=j+1}^{l} rates_k) v_j, in time linear in L.

    queries, keys: (..., L, N); rates: (..., L, G), not negative, with G = D, or 1 when channels
    share them; values: (..., L, D). Tokens are taken in chunks, between which one state (..., N, D)
    carries on. Within a chunk the decay from j to l is split as exp(-c_l) exp(c_j), c the sum of
    rates since the chunk's first token: what is left is one masked product of matrices for all
    channels, and no exponential for each pair. The split costs no accuracy as long as exp(c) does
    not overflow, so chunks are halved until it cannot.
    """
    length = values.shape[-2]
    size = min(CHUNK, length)
    if size == length:  # short sequences are many calls: they are spared the folding
        since = _since_first(rates.cumsum(-2))
        if _in_range(since):
            return _within(queries, keys, since, values)
    while True:
        elapsed = _fold(rates, size).cumsum(-2)
        since = _since_first(elapsed)
        if size == 1 or _in_range(since):
            break
        size = (size + 1) // 2
    q, k, v = _fold(queries, size), _fold(keys, size), _fold(values, size)
    output = _within(q, k, since, v)
    if output.shape[-3] > 1:
        total = elapsed[..., -1:, :]
        updates = (k.mT @ (torch.exp(elapsed - total) * v)).unbind(-3)
        decays = torch.exp(-total).unbind(-3)
        states = [torch.zeros_like(updates[0]), updates[0]]
        for update, decay in zip(updates[1:-1], decays[1:-1], strict=True):
            states.append(decay * states[-1] + update)
        output = output + torch.exp(-elapsed) * (q @ torch.stack(states, dim=-3))
    return output.flatten(-3, -2)[..., :length, :]


def _since_first(elapsed: Tensor) -> Tensor:
    return elapsed - elapsed[..., :1, :]


def _in_range(since: Tensor) -> bool:
    return float(since.detach().amax()) <= EXPONENT


def _within(queries: Tensor, keys: Tensor, since: Tensor, values: Tensor) -> Tensor:
    """The sum over the tokens of one chunk."""
    return torch.exp(-since) * ((queries @ keys.mT).tril() @ (torch.exp(since) * values))


def _fold(rows: Tensor, size: int) -> Tensor:
    """(..., L, K) as chunks of `size` rows, (..., chunks, size, K); zeros fill the last one."""
    missing = -rows.shape[-2] % size
    if missing:
        rows = torch.nn.functional.pad(rows, (0, 0, 0, missing))
    return rows.unflatten(-2, (-1, size))


def _masked_decay(elapsed: Tensor) -> Tensor:
    """exp(-(elapsed_l - elapsed_j)) for j <= l, else 0: (..., G, L, L) from (..., L, G)."""
    elapsed = elapsed.mT
    exponent = elapsed.unsqueeze(-2) - elapsed.unsqueeze(-1)
    later = torch.ones(exponent.shape[-2:], dtype=torch.bool, device=elapsed.device).triu(1)
    # Masked before the exponential: for j > l the exponent is positive and could overflow.
    return exponent.masked_fill(later, -math.inf).exp()


def masked_attention(queries: Tensor, keys: Tensor, rates: Tensor, steps: Tensor) -> Tensor:
    scores = (queries @ keys.mT).unsqueeze(-3) * steps.mT.unsqueeze(-2)
    return scores * _masked_decay(rates.cumsum(-2))
