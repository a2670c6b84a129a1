"""The hidden attention as matrices, eqs (4)-(5)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from .arguments import by_group, check, widen


def hidden_attention(delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The matrices M with ``scan(u, ...)[b, d] == M[b, d] @ u[b, d]``, eqs (4)-(5).

    Args: as for :func:`scan`.

    Returns:
        (B, D, L, L): query l, key j; zero for j > l. O(B D N L^2) time, O(B D L (L + N)) memory.

    Raises:
        ValueError: as :func:`scan`.
    """
    check(delta, A, B, C)
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
    check(delta, A, B, C)
    delta, A, B, C = by_group(*widen(delta, A, B, C))
    # keys[..., j, :] is what key j has left in each state when query l reads it.
    keys = A.new_zeros(*delta.shape[:3], 0, A.shape[-1])
    for l in range(delta.shape[-1]):
        new = delta[..., l, None, None] * B[:, :, None, None, :, l]
        decay = torch.exp(delta[..., l, None, None] * A.unsqueeze(-2))
        keys = torch.cat([decay * keys, new], dim=-2)
        yield (keys @ C[:, :, None, :, l, None]).squeeze(-1).flatten(1, 2)
