"""Over how many tokens a relaxed permutation averages."""

from __future__ import annotations

import torch
from torch import Tensor

from tokensphere.door import takes, tensor

__all__ = ["effective_tokens"]


@takes(P=tensor("...", "L", "L"))
def effective_tokens(P: Tensor) -> Tensor:
    """exp of the entropy of each row of a stochastic matrix, (..., L), from P (..., L, L).

    1 for a row that selects one token, L for one that averages evenly over all.

    Raises ValueError for rows that are not distributions.
    """
    if P.ndim < 2 or not bool((P >= 0).all()):
        raise ValueError(f"P: shape {tuple(P.shape)}, takes (..., L, L) with no negative number")
    off = float((P.double().sum(-1) - 1).abs().max())
    if not off < 1e-4:  # float32 sums of many terms
        raise ValueError(f"P: rows whose sums are off 1 by {off:.2g}, takes distributions")
    return torch.special.entr(P).sum(-1).exp()
