"""Reordered tokens: a model's S6 mixers read them in another order and hand them back in theirs.

The strategy of the paper's section 4.2, and what it is compared with: `wrap` a model with a policy,
train it, `unwrap` it.
"""

from tokensphere.reorder.policies import (
    ByImportance,
    FixedOrder,
    LayerwiseShuffle,
    Policy,
    RandomOrder,
)
from tokensphere.reorder.wrapping import MIXERS, Reordering, unwrap, wrap

__all__ = [
    "MIXERS",
    "ByImportance",
    "FixedOrder",
    "LayerwiseShuffle",
    "Policy",
    "RandomOrder",
    "Reordering",
    "unwrap",
    "wrap",
]
