"""What the model loses without one token's key: its contribution to the hidden attention taken out.

A channel's hidden attention M gives query l the mixture ``y_l = sum_{j <= l} M_lj u_j``. Ablating
the key k takes ``M_lk u_k`` out of y_l for every later query l > k, in the model's own forward, and
what the model then says is compared with what it says by itself.

The diagonal stays. A sink is about what later queries read of an early token; ``M_kk u_k`` is what
the token reads of itself, as much its own as the skip. So an ablated layer gives that token what it
gave before, and a causal model everything up to it: the comparison is over the tokens behind it.

What is taken out is a key, not a token: the convolution before the scan, and earlier layers, carry
what the token says into the keys next to its own, and those stay.

The mixer's output is changed by the difference of what it reads out without and with the key,
``own + (read_out(y - taken) - read_out(y))``: where nothing is taken it is the model's own to the
bit, and a read-out that normalises (Mamba-2) is as right as a linear one. Column k of M comes from
one scan of a sequence that is zero but at k: time and memory are linear in the length.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tokensphere.door import optional, takes, tensor, whole
from tokensphere.sinks.ablation.answers import IGNORED, Answers, Keys, answers
from tokensphere.sinks.batch import Inputs, read_inputs
from tokensphere.sinks.scores import interval
from tokensphere.sinks.walk import find_mixers

__all__ = ["Ablation", "ablate", "compare", "mixer_names"]

ROOM = 2**24
"""Logits that are compared at once, in float64."""

UNREACHED = 16
"""Up to the ablated token a causal model says the same but for rounding: the root of the divergence
there is below so many times the machine epsilon of its logits."""


@dataclass(frozen=True)
class Ablation:
    """What a model says with and without one token's key, for S prompts of at most T tokens.

    Each tensor is (S, T), float64 on the CPU, token 1 of each prompt at index 0; (S, 1) for a model
    that gives one answer for a sequence. NaN at tokens that the ablation cannot reach and past a
    prompt's end.

    Attributes:
        kl: divergence KL(own || ablated) of the distributions over the model's classes, nats. Of a
            language model these are its next tokens.
        before, after: the loss, nats: minus the log of the label's probability; at token l of a
            language model the label is token l + 1. NaN where a token has no label, None where
            there are no labels.
    """

    kl: Tensor
    before: Tensor | None
    after: Tensor | None

    @property
    def loss(self) -> Tensor | None:
        """The change of the loss, after - before."""
        return None if self.before is None else self.after - self.before

    def prompts(self) -> dict[str, Tensor]:
        """Of each prompt the mean over its tokens of `kl`, and where there are labels of `loss`,
        `before` and `after`: (S,), NaN for a prompt without any."""
        found = {"kl": self.kl, "loss": self.loss, "before": self.before, "after": self.after}
        return {name: value.nanmean(1) for name, value in found.items() if value is not None}

    def estimates(self, confidence: float = 0.95) -> dict[str, dict[str, float]]:
        """Means over prompts of :meth:`prompts` with their intervals: mean, low and high of each.

        Raises ValueError as :func:`tokensphere.sinks.interval`.
        """
        return {name: _estimate(value, confidence) for name, value in self.prompts().items()}


@takes(position=whole(), labels=optional(tensor("...", kinds="i", alike=False)))
def ablate(
    model: nn.Module,
    inputs: Inputs,
    position: int = 0,
    *,
    layers: str | Collection[str] | None = None,
    channels: Sequence[int] | None = None,
    labels: Tensor | None = None,
) -> Ablation:
    """Take out what one token's key contributes to the hidden attention, and compare.

    Two runs of the model: its own, and the ablated one. Weights, modes, hooks and random generators
    are left as they were. `prompts` and `estimates` of the result have means; :func:`sweep` puts
    later tokens, and other layers, beside the first.

    Compared are the tokens that the ablation can reach: in a causal model those behind the ablated
    one, and where some layer reads from the end all tokens of the sequence. A language model's loss
    is over the same tokens but the last, whose next one nobody knows.

    In half precision rounding alone makes a divergence, of 1e-5 to 1e-4 nats on small models; it is
    in a later token's too.

    Args:
        model, inputs: as :func:`tokensphere.sinks.capture` takes them; the model gives logits,
            (B, L, classes) or (B, classes): by itself, or as `logits` of what it returns.
        position: the token, counted from each sequence's first one, or if negative from behind its
            last one. Of the sequence, not of what a layer reads first: all directions lose the same
            token. So a layer that reads from the end has position -1 for its first token; what
            reads the other way has nothing behind that one to lose.
        layers: names of the mixers to ablate, or one; None for all.
        channels: which of their D hidden attentions, None for all: the same in each layer.
        labels: the class of each token, (B, L), or of each sequence, (B,), integers; -100 where
            there is none. They stand at the token that they are of, and are not shifted. None for
            the next token of each, where inputs are ids and the model is a language model: it gives
            a logit for every token that it can read, and no layer reads from the end. With others
            there is then no loss.

    Raises:
        ValueError: an argument out of range (names it); a model that gives no logits, or some that
            are not finite; one that is not causal although all its mixers read forward; or as
            `capture`.
    """
    if isinstance(position, bool) or not isinstance(position, int):
        raise ValueError(f"position: got {position!r}, takes an integer")
    names = mixer_names(model, layers)

    def keys(lengths: Tensor) -> Tensor:
        short = int(lengths.min())
        if not -short <= position < short:
            raise ValueError(
                f"position: got {position}, takes {-short} to {short - 1} as the shortest sequence "
                f"has {short} tokens"
            )
        return (lengths + position if position < 0 else torch.full_like(lengths, position))[:, None]

    _, _, batch = read_inputs(inputs)
    if batch is not None:
        keys(batch.lengths)  # what is wrong is said before the model runs
    own = answers(model, inputs, labels=labels)
    ablated = answers(model, inputs, dict.fromkeys(names, keys), channels)
    return compare(own, ablated, keys)


def compare(own: Answers, ablated: Answers, keys: Keys) -> Ablation:
    """Token by token, over those that taking out `keys` can reach; see :func:`ablate`.

    Raises:
        ValueError: logits that are not finite; a model that is not causal although all its mixers
            read forward.
    """
    count, length, classes = own.logits.shape
    device = own.logits.device
    reached = torch.ones(count, length, dtype=torch.bool, device=device)
    if own.batch is not None:
        first, lengths = own.batch.first.to(device), own.batch.lengths.to(device)
        places = torch.arange(length, device=device) - first[:, None]
        reached = (places >= 0) & (places < lengths[:, None])
        if own.causal:
            key = keys(lengths).amin(1)
            reached &= places > key[:, None]
            at_key = places == key[:, None]
            moved, *_ = _compare(own.logits[at_key], ablated.logits[at_key], None)
            epsilon = torch.finfo(own.logits.dtype).eps
            if float(moved.max()) > (UNREACHED * epsilon) ** 2:
                raise ValueError(
                    "model: what it gives for a token changes with what later ones read, though "
                    "all its mixers read forward; takes a causal model, or one answer a sequence"
                )
    found = own.logits.new_full((3, count, length), torch.nan, dtype=torch.float64)
    # Of large vocabularies not even one batch of logits fits in twice or four times its memory.
    for part in reached.nonzero().split(max(ROOM // classes, 1)):
        at = tuple(part.T)
        labels = None if own.labels is None else own.labels[at]
        found[(slice(None), *at)] = torch.stack(
            _compare(own.logits[at], ablated.logits[at], labels)
        )
    if own.batch is not None:
        found = torch.stack([own.batch.align(each) for each in found])
        inside = (
            torch.arange(found.shape[-1], device=device) < own.batch.lengths.to(device)[:, None]
        )
        found = torch.where(inside, found, torch.nan)
    kl, before, after = found.cpu()
    return Ablation(kl, before, after) if own.labels is not None else Ablation(kl, None, None)


def _compare(own: Tensor, ablated: Tensor, labels: Tensor | None) -> tuple[Tensor, ...]:
    """KL(own || ablated) of logits (n, classes), and both losses, (n,) each; NaN without labels."""
    # The effect of one layer of many is small: in float32 rounding would be seen.
    p, q = own.double().log_softmax(-1), ablated.double().log_softmax(-1)
    # A class that a model rules out, with a logit of minus infinity, adds nothing.
    terms = torch.where(p > -torch.inf, p.exp() * (p - q), 0)
    kl = terms.sum(-1)
    if labels is None:
        return kl, torch.full_like(kl, torch.nan), torch.full_like(kl, torch.nan)
    known = labels != IGNORED
    at = torch.where(known, labels, 0)[:, None]
    losses = (torch.where(known, -value.gather(-1, at)[:, 0], torch.nan) for value in (p, q))
    return kl, *losses


def _estimate(values: Tensor, confidence: float) -> dict[str, float]:
    low, high = interval(values, confidence)
    return {"mean": float(values.nanmean()), "low": float(low), "high": float(high)}


def mixer_names(model: nn.Module, layers: str | Collection[str] | None) -> list[str]:
    """The names of the mixers asked for; raises ValueError for one that there is not."""
    mixers = find_mixers(model)
    if layers is None:
        return list(mixers)
    names = [layers] if isinstance(layers, str) else list(layers)
    unknown = [name for name in names if name not in mixers]
    if unknown or not names:
        raise ValueError(
            f"layers: got {unknown[0] if unknown else 'none'}, takes names of mixers such as "
            f"{next(iter(mixers))}"
        )
    return names
