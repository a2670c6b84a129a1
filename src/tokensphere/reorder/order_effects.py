"""What an order of tokens changes besides who is first: neighbours, and what a mixer makes of them.

A scan whose memory decays reads a token together with those just before it. The raster order of an
image, row by row, puts neighbours of the image there; a random order does not.
"""

from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor

from tokensphere.door import function, instance, takes, tensor, whole

from .arguments import check_count
from .theory import fresh_orders

__all__ = [
    "adjacent_shares",
    "consecutive_correlation",
    "orders_after_the_first",
    "output_change",
    "raster_against_random",
]


@takes(side=whole(2))
def adjacent_shares(side: int) -> tuple[Fraction, Fraction]:
    """Share of consecutive tokens of a square grid that are side by side, exactly.

    In the raster order, and on average over all orders: side (side - 1) of the side^2 - 1 pairs,
    and 2 side (side - 1) of the side^2 (side^2 - 1) / 2 pairs of tokens.

    Raises:
        ValueError: a side that is not a whole number >= 2.
    """
    check_count("side", side, 2)
    tokens = side * side
    raster = Fraction(side * (side - 1), tokens - 1)
    return raster, Fraction(4 * side * (side - 1), tokens * (tokens - 1))


@takes(
    patches=tensor("S", "L", "V", alike=False), orders=tensor("...", "L", kinds="i", alike=False)
)
def consecutive_correlation(patches: Tensor, orders: Tensor) -> Tensor:
    """Mean correlation (...) of patches read in succession, for each order.

    The mean over images and successive places of <p_i, p_j>, over the mean of |p_i|^2.

    Args:
        patches: (images, L, values), centred.
        orders: (..., L), each row a permutation of 0..L-1.

    Raises:
        ValueError: shapes that do not go together.
    """
    if patches.ndim != 3 or orders.shape[-1] != patches.shape[1]:
        raise ValueError(
            f"orders: shape {tuple(orders.shape)} does not go with patches of shape "
            f"{tuple(patches.shape)}, takes (..., L) and (images, L, values)"
        )
    products = torch.einsum("nid,njd->ij", patches, patches)
    correlation = products / patches.square().sum() * patches.shape[1]
    return correlation[orders[..., 1:], orders[..., :-1]].mean(-1)


@takes(
    patches=tensor("S", "L", "V", alike=False), count=whole(1), generator=instance(torch.Generator)
)
def raster_against_random(
    patches: Tensor, count: int, generator: torch.Generator
) -> tuple[float, Tensor]:
    """:func:`consecutive_correlation` in the order as given, and in random orders, (count,).

    The rank of the first among the others is a permutation test of the order: under the hypothesis
    that it tells nothing about the patches all count + 1 ranks are equally likely.

    Args:
        patches: (images, L, values), centred; row by row, say.
        count: of uniform orders, >= 1.
        generator: on the CPU.

    Raises:
        ValueError: a shape or number out of range.
    """
    own = torch.arange(patches.shape[1])[None]
    orders = torch.cat([own, fresh_orders(1, count, patches.shape[1], generator)[0]])
    found = consecutive_correlation(patches, orders)
    return float(found[0]), found[1:]


@takes(sequences=whole(1), length=whole(2), generator=instance(torch.Generator))
def orders_after_the_first(sequences: int, length: int, generator: torch.Generator) -> Tensor:
    """Uniform orders that leave the first token first: (sequences, L), long.

    Args:
        sequences, length: >= 1, and L >= 2.
        generator: on the CPU.

    Raises:
        ValueError: a number out of range.
    """
    check_count("length", length, 2)
    later = 1 + fresh_orders(1, sequences, length - 1, generator)[0]
    return torch.cat([torch.zeros(sequences, 1, dtype=later.dtype), later], -1)


@takes(
    mixer=function(),
    x=tensor("S", "L", "D", alike=False),
    orders=tensor("S", "L", kinds="i", alike=False),
)
@torch.no_grad()
def output_change(mixer: Callable[[Tensor], Tensor], x: Tensor, orders: Tensor) -> float:
    """How far a mixer's output is from that in the own order, over the norm of the latter.

    Tokens are read in another order and handed back in their own places.

    Args:
        mixer: maps (sequences, L, D) to the same shape.
        x: (sequences, L, D).
        orders: (sequences, L), each row a permutation of 0..L-1.

    Raises:
        ValueError: shapes that do not go together.
    """
    if orders.shape != x.shape[:-1]:
        raise ValueError(f"orders: shape {tuple(orders.shape)}, takes {tuple(x.shape[:-1])}")
    index = orders[..., None].expand_as(x)
    own = mixer(x)
    reordered = torch.empty_like(own).scatter(1, index, mixer(x.gather(1, index)))
    return float((reordered - own).norm() / own.norm())
