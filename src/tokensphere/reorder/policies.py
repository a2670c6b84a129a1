"""In which order an S6 mixer reads its tokens, pass after pass.

A permutation here is a function of the seed, of how many passes of the model came before, and of
the mixer's place in it: nothing is drawn from torch's generators. The count of passes is then all
the state there is, the same numbers come out on a CPU and on a GPU, on every rank of a distributed
run and whatever their number, and a layer that runs once more to recompute its activations in the
backward pass meets the permutation that it met before.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from tokensphere.door import positive, takes, tensor, whole

__all__ = [
    "ByImportance",
    "FixedOrder",
    "LayerwiseShuffle",
    "Permuting",
    "Policy",
    "RandomOrder",
    "pass_keys",
    "permutation",
    "soft_sort",
]

MOMENTS = ("training", "always")

_WORD = 0xFFFFFFFF
_OTHER = 0x9E3779B9
"""What tells the word that decides whether to permute from the one that says how."""

_Word = TypeVar("_Word", int, Tensor)


class Policy:
    """What orders the tokens of each mixer; see `tokensphere.reorder.wrap`.

    when: "training", so that a model in evaluation reads its tokens as they stand, or "always".
    fresh: whether each pass of the model has an order of its own.
    """

    when: str = "training"
    fresh: bool = True


class Permuting(Policy, abc.ABC):
    """A policy whose orders depend on seed, pass and mixer, not on the tokens."""

    @abc.abstractmethod
    def orders(self, keys: Tensor, length: int) -> Tensor:
        """Permutations (layers, length), int64: mixer l reads token orders[l, i] as the i-th.

        keys: one for each mixer of the model, (layers,), as from `pass_keys`.
        """


@dataclass(frozen=True)
class RandomOrder(Permuting):
    """A fresh random permutation before each pass of each mixer: section 4.2 of the paper.

    "A random permutation is applied to the input sequence before each forward pass": one for each
    pass, so that all sequences of a batch share it, and each mixer draws its own.

    probability: that a mixer's pass is permuted, drawn for each; it keeps its order otherwise.
    when: "training" or "always".
    """

    probability: float = 1.0
    when: str = "training"

    def __post_init__(self) -> None:
        _check_share("probability", self.probability)
        if self.when not in MOMENTS:
            raise ValueError(f"when: got {self.when!r}, takes {' or '.join(map(repr, MOMENTS))}")

    def orders(self, keys: Tensor, length: int) -> Tensor:
        if self.probability == 1:
            return permutation(keys, length)
        return _where(keys, self.probability, length)


@dataclass(frozen=True)
class LayerwiseShuffle(Permuting):
    """A random permutation with a probability that grows with depth, in training.

    The stochastic layer-wise shuffle of Huang et al. (2025, "Stochastic Layer-Wise Shuffle for
    Improving Vision Mamba Training", ICML, PMLR 267:25127-25140): mixer l = 1..n of n is permuted
    with probability rate * l / n, by one permutation for the batch. (Their published code starts
    from 0 instead: rate * (l - 1) / (n - 1).) They permute whole blocks of a model whose blocks
    mix tokens in the mixer alone, which is the same.

    rate: probability at the last mixer.
    """

    rate: float

    def __post_init__(self) -> None:
        _check_share("rate", self.rate)

    def orders(self, keys: Tensor, length: int) -> Tensor:
        layer = torch.arange(1, len(keys) + 1, dtype=torch.float64, device=keys.device)
        return _where(keys, layer * (self.rate / len(keys)), length)


@dataclass(frozen=True)
class FixedOrder(Permuting):
    """One random permutation drawn from the seed: the same at every mixer, pass and evaluation.

    A control: the tokens are read in a random order, and nothing is diversified. Mixers that see
    another number of tokens have another permutation, the same at all of them.
    """

    when = "always"
    fresh = False

    def orders(self, keys: Tensor, length: int) -> Tensor:
        return permutation(keys[0], length).expand(len(keys), length)


@dataclass(frozen=True)
class ByImportance(Policy):
    """Tokens sorted by a learned score, least important first, in training and evaluation.

    The second refinement of Vo et al. (2025, "Demystifying the Token Dynamics of Deep Selective
    State Space Models", arXiv:2410.03292): a score linear in the token, sorted by SoftSort, so
    that gradients reach the score. P of `soft_sort` puts the tokens in order and its transpose
    puts the mixer's outputs back; a relaxed P also blends tokens, the more so the closer their
    scores are in units of the temperature, and it is a permutation in the limit of temperature 0.

    Where this differs from their code (github.com/Fsoft-AIC/Mamba-token-dynamic, MambaVision):
    there the score is linear in the steps before their softplus, which are themselves linear in
    the convolved token; the values of the scan are sorted and not put back, while the branch
    beside it keeps its order; the first mixer of a stage alone is sorted; the temperature is 1.

    temperature: of the sort, in units of the score.
    """

    temperature: float
    when = "always"
    fresh = False

    def __post_init__(self) -> None:
        if not (_is_number(self.temperature) and 0 < self.temperature < math.inf):
            raise ValueError(f"temperature: got {self.temperature!r}, takes a finite number > 0")


@takes(scores=tensor("...", "L", finite=False), temperature=positive())
def soft_sort(scores: Tensor, temperature: float) -> Tensor:
    """SoftSort (Prillo & Eisenschlos 2020, ICML, with d = |.|), in increasing order.

    scores: (..., L). Returns P (..., L, L) with P[i, j] = softmax over j of
    -|sorted_i - scores_j| / temperature, so that P @ scores is nearly sorted; rows sum to 1.
    Part of training: scores are not looked at, and NaN passes through.

    Raises ValueError for scores of another kind, a temperature that is not finite and > 0.
    """
    ranked = scores.sort(dim=-1).values
    distance = (ranked[..., :, None] - scores[..., None, :]).abs()
    return torch.softmax(-distance / temperature, dim=-1)


@takes(seed=whole(0, 2**64 - 1), step=tensor(kinds="i", alike=False), layers=whole(1))
def pass_keys(seed: int, step: Tensor, layers: int) -> Tensor:
    """Keys (layers,), int64, of the permutations of one pass: hashes of the three arguments.

    step: how many passes came before, a scalar int64 on the device of the result.
    """
    start = _mix(_mix(seed & _WORD) ^ (seed >> 32))
    shared = _mix(_mix(step & _WORD) ^ start)
    return _hashes(shared, layers)


@takes(keys=tensor("...", kinds="i", alike=False), length=whole(1))
def permutation(keys: Tensor, length: int) -> Tensor:
    """A permutation (..., length), int64, of each of the keys (...,) from `pass_keys`."""
    # No two words are alike, because _mix is one-to-one: nothing depends on how ties are sorted.
    return _hashes(keys[..., None], length).argsort(-1)


def _hashes(word: Tensor, count: int) -> Tensor:
    """Hashes of the `count` words from one on: (count,) of a scalar, (n, count) of (n, 1)."""
    # Added before anything is multiplied: compiled for a GPU, products of an arange are of 32 bits.
    return _mix((word + torch.arange(count, device=word.device)) & _WORD)


def _where(keys: Tensor, probability: float | Tensor, length: int) -> Tensor:
    """A permutation of each key with a probability, a number or one for each; tokens as they stand
    otherwise."""
    # Chosen on the device: a branch would wait for the GPU at every mixer, and cut a compiled
    # graph in two.
    drawn = _mix(keys ^ _OTHER) < probability * 2.0**32
    kept = torch.arange(length, device=keys.device)
    return torch.where(drawn[:, None], permutation(keys, length), kept)


def _mix(word: _Word) -> _Word:
    """A hash of 32-bit words to themselves, one-to-one: two rounds of multiply and shift.

    The constants are Thomas Mueller's (stackoverflow.com/a/12996028). Torch has no 64-bit
    unsigned arithmetic; here no product passes 2^59, so that int64 serves.
    """
    for _ in range(2):
        word = (((word >> 16) ^ word) * 0x45D9F3B) & _WORD
    return (word >> 16) ^ word


def _check_share(name: str, value: float) -> None:
    if not (_is_number(value) and 0 <= value <= 1):
        raise ValueError(f"{name}: got {value!r}, takes a number from 0 to 1")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
