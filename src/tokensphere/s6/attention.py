"""The hidden attention as matrices, eqs (4)-(5).

A block of tokens is cut at its middle. For a key j before the cut and a query l after it the decay
is a product of two, one of each side:

    M[l, j] = sum_n [C_{l,n} exp(A_n sum_{mid<k<=l} delta_k)]
                    [delta_j B_{j,n} exp(A_n sum_{j<k<=mid} delta_k)],

so that a half's queries meet the other half's keys in one product of matrices of rank N. Both
exponents are sums of steps away from the middle: nothing overflows, and no two sums are subtracted.
The halves are cut in turn, down to single tokens, and all blocks of one size are computed at once.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from tokensphere.door import optional, takes, tensor

from .arguments import by_group, check, check_resets, uncast, unobserved, widen

WORKING_SET = {"cpu": 2**18, "cuda": 2**24}
"""Numbers in one operation: as many as the cache of a core has room for, or as fill a card."""


@takes(
    delta=tensor("...", finite=False, alike=False),
    A=tensor("...", finite=False, alike=False),
    B=tensor("...", finite=False, alike=False),
    C=tensor("...", finite=False, alike=False),
    resets=optional(tensor("B", "L", kinds="b", alike=False)),
)
def hidden_attention(
    delta: Tensor, A: Tensor, B: Tensor, C: Tensor, resets: Tensor | None = None
) -> Tensor:
    """The matrices M with ``scan(u, ...)[b, d] == M[b, d] @ u[b, d]``, eqs (4)-(5).

    Args:
        delta, A, B, C: as for :func:`scan`.
        resets: bool, (B, L): True at the first token of a document, which reads none of the keys
            before it: M[l, j] = 0 where a token of j+1, ..., l is marked.

    Returns:
        (B, D, L, L): query l, key j; zero for j > l. O(B D N L^2) time. Without autograd it needs
        little memory beside the result.

    Raises:
        ValueError: as :func:`scan`; ``resets`` of another shape or dtype.
    """
    check(delta, A, B, C)
    check_resets(resets, delta)
    tokens = _tokens(delta, A, B, C, resets)
    shape = (*delta.shape, delta.shape[-1])
    if unobserved(delta, A, B, C):
        result = delta.new_zeros(shape)
        _write(tokens, result.view(*tokens.steps.shape, -1))
        return result
    return _built(tokens).reshape(shape).to(delta.dtype)


@takes(
    delta=tensor("...", finite=False, alike=False),
    A=tensor("...", finite=False, alike=False),
    B=tensor("...", finite=False, alike=False),
    C=tensor("...", finite=False, alike=False),
    resets=optional(tensor("B", "L", kinds="b", alike=False)),
)
def attention_rows(
    delta: Tensor, A: Tensor, B: Tensor, C: Tensor, resets: Tensor | None = None
) -> Iterator[Tensor]:
    """The rows of :func:`hidden_attention` from the first query to the last, one at a time.

    Args: as for :func:`hidden_attention`.

    Yields:
        row l without its zeros, (B, D, l), in float32 at least. O(B D N L) memory.

    Raises:
        ValueError: as :func:`hidden_attention`, when the first row is asked for.
    """
    check(delta, A, B, C)
    check_resets(resets, delta)
    delta, A, B, C = by_group(*widen(delta, A, B, C))
    # keys[..., j, :] is what key j has left in each state when query l reads it.
    keys = A.new_zeros(*delta.shape[:3], 0, A.shape[-1])
    for l in range(delta.shape[-1]):
        new = delta[..., l, None, None] * B[:, :, None, None, :, l]
        decay = torch.exp(delta[..., l, None, None] * A.unsqueeze(-2))
        if resets is not None:
            decay = decay.masked_fill(resets[:, l, None, None, None, None], 0)
        keys = torch.cat([decay * keys, new], dim=-2)
        with uncast(keys):
            row = keys @ C[:, :, None, :, l, None]
        yield row.squeeze(-1).flatten(1, 2)


class _Tokens(NamedTuple):
    """P pairs of a sequence and a group, each with K channels, which share B and C."""

    steps: Tensor
    """(P, K, L)."""
    marks: Tensor
    """(P, 1, L), 1 where a document begins; (P, 0, L) where nobody asked for documents."""
    A: Tensor
    """(N, P, K, 1)."""
    B: Tensor
    """(N, P, 1, L), as C."""
    C: Tensor


class _Meeting(NamedTuple):
    """Blocks of one size, next to each other, whose halves meet."""

    half: int
    """Keys of a block; as many queries, or fewer in a block that ends with the sequence."""
    tokens: slice
    """Where they lie."""
    blocks: int
    rates: Tensor
    """(N, P, K, 1)."""
    sums: Tensor
    """(P, K, T): of the steps between a token and the middle of its block."""
    factors: Tensor
    """(P, K, T): a key's step, a query's 1; 0 where a document begins on the way to the middle."""
    vectors: Tensor
    """(N, P, 1, T): a key's B, a query's C."""

    def sides(self, pairs: slice, channels: slice) -> tuple[Tensor, Tensor]:
        """The keys, (N, P, K, blocks, half), and the queries."""
        sums, factors = self.sums[pairs, channels], self.factors[pairs, channels]
        decays = torch.exp(self.rates[:, pairs, channels] * sums)
        both = decays * (self.vectors[:, pairs] * factors)
        both = both.unflatten(-1, (self.blocks, -1))
        return both[..., : self.half], both[..., self.half :]


def _tokens(delta: Tensor, A: Tensor, B: Tensor, C: Tensor, resets: Tensor | None) -> _Tokens:
    steps, A, B, C = by_group(*widen(delta, A, B, C))
    batch, groups, _, length = steps.shape
    if resets is None:
        marks = steps.new_zeros(batch * groups, 0, length)
    else:
        marks = resets.to(steps.dtype).repeat_interleave(groups, 0).unsqueeze(1)
    A = A.expand(batch, *A.shape).flatten(0, 1).movedim(-1, 0).unsqueeze(-1)
    B, C = (value.flatten(0, 1).movedim(1, 0).unsqueeze(2) for value in (B, C))
    return _Tokens(steps.flatten(0, 1), marks, A, B, C)


def _write(tokens: _Tokens, out: Tensor) -> None:
    """M into `out`, (P, K, L, L), which is zero before."""
    out.diagonal(dim1=-2, dim2=-1).copy_(_diagonal(tokens))
    room = WORKING_SET["cpu" if out.is_cpu else "cuda"]
    for meeting in _meetings(tokens):
        # The blocks on the diagonal, (P, K, blocks, 2 half, 2 half).
        blocks = out[..., meeting.tokens, meeting.tokens]
        blocks = blocks.unflatten(-1, (meeting.blocks, -1)).unflatten(-3, (meeting.blocks, -1))
        blocks = blocks.diagonal(dim1=-4, dim2=-2).movedim(-1, -3)
        targets = blocks[..., meeting.half :, : meeting.half]
        for part in _parts(meeting, room):
            keys, queries = meeting.sides(*part)
            # As many queries at once as leave their products in the cache until they are copied.
            count = max(1, room // keys[0].numel())
            rows = targets[part].split(count, -2)
            for some, target in zip(queries.split(count, -1), rows, strict=True):
                target.copy_(_products(keys, some))


def _parts(meeting: _Meeting, room: int) -> Iterator[tuple[slice, slice]]:
    """The pairs and the channels that are worked on at once."""
    pairs, channels, length = meeting.sums.shape
    rows = max(1, room // (length * len(meeting.rates)))
    sizes = max(1, rows // channels), min(rows, channels)
    for first in itertools.product(range(0, pairs, sizes[0]), range(0, channels, sizes[1])):
        yield tuple(slice(i, i + size) for i, size in zip(first, sizes, strict=True))


def _built(tokens: _Tokens) -> Tensor:
    """M, (P, K, L, L), out of new tensors alone, so that derivatives can be followed."""
    blocks = _diagonal(tokens)[..., None, None]
    # What is left behind the last whole block.
    tail = None
    everything = slice(None), slice(None)
    for meeting in _meetings(tokens):
        keys, queries = meeting.sides(*everything)
        below = _products(keys, queries)
        if queries.shape[-1] < meeting.half:
            tail = _join(blocks[:, :, -1:], below, tail)
            continue
        joined = 2 * meeting.blocks
        if blocks.shape[2] > joined and tail is None:
            tail = blocks[:, :, -1:]
        blocks = _join(blocks[:, :, :joined:2], below, blocks[:, :, 1:joined:2])
    return (blocks if tail is None else tail).squeeze(2)


def _join(first: Tensor, below: Tensor, last: Tensor) -> Tensor:
    upper = torch.cat((first, torch.zeros_like(below.mT)), -1)
    return torch.cat((upper, torch.cat((below, last), -1)), -2)


def _diagonal(tokens: _Tokens) -> Tensor:
    return tokens.steps * (tokens.B * tokens.C).sum(0)


def _products(keys: Tensor, queries: Tensor) -> Tensor:
    """(P, K, blocks, queries, keys), from (N, P, K, blocks, ...)."""
    left = queries.flatten(1, 3).permute(1, 2, 0)
    right = keys.flatten(1, 3).movedim(1, 0)
    with uncast(left):
        return torch.bmm(left, right).unflatten(0, keys.shape[1:4])


def _meetings(tokens: _Tokens) -> Iterator[_Meeting]:
    """Those of all blocks of 2 tokens, then of 4, 8, ...; a block that the sequence ends cuts short
    comes alone, before the whole ones of its size."""
    channels, length = tokens.steps.shape[1:]
    room = (0, (1 << (length - 1).bit_length()) - length)
    steps, marks, B, C = (pad(v, room) for v in (tokens.steps, tokens.marks, tokens.B, tokens.C))
    # For each token, in its block: steps up to and with its own, and steps that follow. Marks are
    # summed with them.
    upto = torch.cat((steps, marks), 1)
    after = torch.zeros_like(upto)
    half = 1
    while half < length:
        sums = _alternate(after, upto, half)
        factors = _alternate(steps, torch.ones_like(steps), half)
        if marks.shape[1]:
            # An infinite sum would do as well, but has no gradient.
            factors = factors.masked_fill(sums[:, channels:] > 0, 0)
        vectors = _alternate(B, C, half)
        whole = length - length % (2 * half)
        runs = []
        if length - whole > half:
            runs.append((slice(whole, length), 1))
        if whole:
            runs.append((slice(0, whole), whole // (2 * half)))
        for part, blocks in runs:
            ours = sums[:, :channels, part], factors[..., part], vectors[..., part]
            yield _Meeting(half, part, blocks, tokens.A, *ours)
        across = _of_other_half(upto, half)
        upto = _alternate(upto, upto + across, half)
        after = _alternate(after + across, after, half)
        half *= 2


def _alternate(first: Tensor, second: Tensor, half: int) -> Tensor:
    """The first halves of blocks of one, the second halves of blocks of the other."""
    first, second = (value.unflatten(-1, (-1, 2, half)) for value in (first, second))
    return torch.stack((first[..., 0, :], second[..., 1, :]), -2).flatten(-3)


def _of_other_half(upto: Tensor, half: int) -> Tensor:
    """For each token the sum over the other half of its block."""
    sums = upto.unflatten(-1, (-1, 2, half))[..., -1:].flip(-2)
    return sums.expand(*sums.shape[:-1], half).flatten(-3)
