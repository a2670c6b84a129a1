"""S6 mixers made to read their tokens in another order, inside a model that is not changed."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from tokensphere.door import takes, whole
from tokensphere.reorder.policies import ByImportance, Permuting, Policy, pass_keys, soft_sort
from tokensphere.sinks.mixers import FAMILIES, find
from tokensphere.sinks.walk import PACKED

__all__ = ["MIXERS", "Reordering", "find_mixers", "unwrap", "wrap"]

MIXERS = tuple(FAMILIES)
"""Full names of the supported classes of mixers: tokens (B, L, D) to the same shape.

They are those that `tokensphere.sinks` reads. One that reads in both directions is among them: it
reads the reordered tokens from both ends.
"""

STATE = {
    "cache_params": "a cache",
    "past_key_values": "a cache",
    "inference_params": "a cache",
} | dict.fromkeys(PACKED, "sequences packed into one")
"""What mixers take by name that speaks of tokens before these, or of sequences among them."""

NAME = "reordering"

_Model = TypeVar("_Model", bound=nn.Module)


@takes(seed=whole(0, 2**64 - 1))
def wrap(model: _Model, policy: Policy | None, *, seed: int = 0) -> _Model:
    """Make each S6 mixer of `model` read its tokens in the order of `policy`; returns the model.

    A mixer's tokens are permuted on the way in and put back on the way out; nothing else changes,
    and a model in evaluation is as it was unless the policy says "always". The model is changed
    in place. Wrapped again, it has the new policy alone; None is `unwrap`.

    policy: `RandomOrder`, `LayerwiseShuffle`, `ByImportance` or `FixedOrder`.
    seed: of the permutations, and of the first scores of `ByImportance`; torch's generators are
        neither read nor advanced.

    The model gets one submodule, `reordering`. For policies with fresh orders it holds the buffer
    `step`, the count of the model's passes in which they were active, which a checkpoint restores;
    a checkpoint of the model unwrapped loads as well and leaves it. For `ByImportance` it holds the
    weights of the scores, parameters like others. All other keys of state_dict are unchanged.

    Passes are counted at calls of the model: a part of it called by itself uses the orders of the
    last whole pass. Where activations are recomputed (torch.utils.checkpoint), the backward pass
    must come before the next forward pass, or the orders recomputed with are the wrong ones.

    Wrap first, then compile or distribute: torch.compile, DistributedDataParallel. Mixers in the
    model are numbered in the order of `model.modules()`, which is that of depth in the models
    supported.

    Raises ValueError for a model without such a mixer (naming its class and `MIXERS`), compiled or
    distributed already, or with a mixer wrapped by a model around or inside it; for a policy or
    seed of another kind. A reordered pass raises ValueError for a mask with padding, which would
    move among the tokens, for a cache, whose tokens would come before the others, and for sequences
    packed into one.
    """
    if policy is None:
        return unwrap(model)
    if not isinstance(policy, Permuting | ByImportance):
        raise ValueError(f"policy: got {policy!r}, takes a policy of tokensphere.reorder or None")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
        raise ValueError(f"seed: got {seed!r}, takes an int from 0 to 2^64 - 1")
    # A compiled model is known by what it holds: its class is slow to import.
    if isinstance(model, nn.parallel.DistributedDataParallel) or hasattr(model, "_orig_mod"):
        raise ValueError(
            f"model: got a {type(model).__name__}, takes the model itself; "
            "compile or distribute it after wrapping"
        )
    mixers = find_mixers(model)
    if not mixers:
        raise ValueError(
            f"model: got {type(model).__name__}, which has none of the supported mixers: "
            + ", ".join(MIXERS)
        )
    unwrap(model)
    if any(isinstance(mixer.forward, _Reordered) for mixer in mixers):
        raise ValueError(
            f"model: got {type(model).__name__} with a mixer that is wrapped already; "
            "unwrap the model it was wrapped in"
        )
    if hasattr(model, NAME):
        raise ValueError(f"model: {type(model).__name__} has an attribute {NAME!r} of its own")
    reordering = Reordering(policy, seed, mixers).train(model.training)
    model.add_module(NAME, reordering)
    if policy.fresh:
        reordering.handle = model.register_forward_pre_hook(reordering.advance)
    for layer, mixer in enumerate(mixers):
        mixer.forward = _Reordered(mixer, reordering, layer)
    return model


def unwrap(model: _Model) -> _Model:
    """Undo `wrap`, scores of `ByImportance` included; returns the model, wrapped or not."""
    reordering = getattr(model, NAME, None)
    if not isinstance(reordering, Reordering):
        return model
    for mixer in find_mixers(model):
        changed = mixer.forward
        if isinstance(changed, _Reordered) and changed.reordering is reordering:
            del mixer.forward
            if changed.was_own:
                mixer.forward = changed.forward
    if reordering.handle is not None:
        reordering.handle.remove()
    delattr(model, NAME)
    return model


def find_mixers(model: nn.Module) -> list[nn.Module]:
    """The S6 mixers of a model, of the classes of `MIXERS` or of subclasses, in its order."""
    return [module for module in model.modules() if find(module) is not None]


class Reordering(nn.Module):
    """What `wrap` adds to a model: the policy, its count of passes or its parameters.

    step: passes in which the policy was active, int64; in policies with fresh orders alone.
    scores: a linear map of the tokens for each mixer; in `ByImportance` alone.
    """

    step: Tensor
    keys: Tensor

    def __init__(self, policy: Policy, seed: int, mixers: list[nn.Module]) -> None:
        super().__init__()
        self.policy, self.seed, self.layers = policy, seed, len(mixers)
        self.handle: torch.utils.hooks.RemovableHandle | None = None
        self.kept: tuple[Any, tuple[Tensor, Tensor]] | None = None
        device = next(mixers[0].parameters()).device
        step = torch.zeros((), dtype=torch.int64, device=device)
        self.register_buffer("keys", pass_keys(seed, step, self.layers), persistent=False)
        if policy.fresh:
            self.register_buffer("step", step)
        if isinstance(policy, ByImportance):
            generator = torch.Generator().manual_seed(seed)
            self.scores = nn.ModuleList(_score(mixer.in_proj, generator) for mixer in mixers)

    @property
    def active(self) -> bool:
        return self.training or self.policy.when == "always"

    def advance(self, *_: Any) -> None:
        """Before a pass of the model: the keys of its permutations, and one pass more."""
        if self.active:
            self.keys.copy_(pass_keys(self.seed, self.step, self.layers))
            self.step.add_(1)
            self.kept = None

    def apply_to(self, mixer: Callable[[Tensor], Tensor], layer: int, tokens: Tensor) -> Tensor:
        """mixer of the tokens (B, L, D) in the order of its layer, put back."""
        if isinstance(self.policy, ByImportance):
            # In float32: in half precision neighbouring scores are alike.
            with torch.autocast(tokens.device.type, enabled=False):
                weight = self.scores[layer].weight
                wide = torch.promote_types(tokens.dtype, torch.float32)
                scores = functional.linear(tokens.to(wide), weight.to(wide)).squeeze(-1)
                matrix = soft_sort(scores, self.policy.temperature)
            values = mixer(matrix.to(tokens.dtype) @ tokens)
            return matrix.mT.to(values.dtype) @ values
        order, inverse = (rows[layer] for rows in self._rows(tokens))
        return _Permute.apply(mixer(_Permute.apply(tokens, order, inverse)), inverse, order)

    def _rows(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """`_rows_of` these tokens, left by each mixer to the next one of the same pass.

        Made for each mixer by itself, they took a hundred small kernels more.
        """
        if torch.compiler.is_compiling():
            return self._rows_of(tokens)  # alike in each mixer, and compiled once for all of them
        # What inference mode makes cannot be saved for a gradient.
        of = (tokens.device, tokens.shape[:-1], torch.is_inference_mode_enabled())
        if self.kept is None or self.kept[0] != of:
            self.kept = (of, self._rows_of(tokens))
        return self.kept[1]

    def _rows_of(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Each mixer's order of all tokens (..., L, D), and the inverse: two (layers, ... L).

        Tokens are counted from the first one of the first sequence, so that an order is one of the
        rows of a matrix (... L, D).
        """
        length, sequences = tokens.shape[-2], math.prod(tokens.shape[:-2])
        orders = self.policy.orders(self.keys.to(tokens.device), length)
        starts = length * torch.arange(sequences, device=tokens.device)
        order, inverse = (
            (each[:, None] + starts[:, None]).flatten(1) for each in (orders, orders.argsort(-1))
        )
        return order, inverse

    def extra_repr(self) -> str:
        return f"{self.policy}, seed={self.seed}"

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        if self.policy.fresh:
            # Weights of the model unwrapped say nothing about passes.
            state_dict.setdefault(f"{prefix}step", self.step)
        super()._load_from_state_dict(state_dict, prefix, *arguments)


class _Reordered:
    """A mixer's forward on reordered tokens.

    An object in the place of the method, not a pair of hooks: an exception between these would
    leave one's state behind. copy and pickle follow its references, as they do not for a closure.
    """

    def __init__(self, mixer: nn.Module, reordering: Reordering, layer: int) -> None:
        self.was_own = "forward" in vars(mixer)
        self.forward: Callable[..., Tensor] = mixer.forward
        self.names = list(inspect.signature(mixer.forward).parameters)
        self.reordering, self.layer = reordering, layer

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        if not self.reordering.active:
            return self.forward(*args, **kwargs)
        given = dict(zip(self.names, args, strict=False)) | kwargs
        tokens = given.pop(self.names[0])
        _refuse_state(given)
        return self.reordering.apply_to(
            lambda values: self.forward(values, **given), self.layer, tokens
        )


class _Permute(torch.autograd.Function):
    """Tokens (..., L, D) gathered by rows (... L,); its gradients are gathered by the inverse.

    The gradient that torch has for a gather adds atomically, for indices that may repeat: slower,
    and on a GPU not deterministic. These do not repeat.
    """

    @staticmethod
    def forward(tokens: Tensor, rows: Tensor, inverse: Tensor) -> Tensor:
        return _gather(tokens, rows)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        rows, inverse = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a gradient of the gradient, at twice the price
            return _Permute.apply(gradient, inverse, rows), None, None
        return _gather(gradient, inverse), None, None


def _gather(tokens: Tensor, rows: Tensor) -> Tensor:
    # Whole rows of a matrix: on an H200 1.5 times as fast as along a dimension in the middle.
    return tokens.flatten(0, -2).index_select(0, rows).view(tokens.shape)


def _refuse_state(given: dict[str, Any]) -> None:
    for name, what in STATE.items():
        if given.get(name) is not None:
            raise ValueError(
                f"{name}: got {what}, takes None while tokens are reordered: "
                "call the model with use_cache=False, and on whole sequences"
            )
    for name, value in given.items():
        if "mask" in name and isinstance(value, Tensor) and bool((value == 0).any()):
            raise ValueError(
                f"{name}: got padding, takes none while tokens are reordered: it would be moved "
                "among them. Pass sequences of one length"
            )


def _score(in_proj: nn.Linear, generator: torch.Generator) -> nn.Linear:
    """A linear map of a mixer's tokens to one number, initialised as nn.Linear is by default."""
    # skip_init, because the constructor would draw from torch's global generator.
    score = nn.utils.skip_init(nn.Linear, in_proj.in_features, 1, bias=False)
    bound = in_proj.in_features**-0.5
    with torch.no_grad():
        score.weight.uniform_(-bound, bound, generator=generator)
    return score.to(in_proj.weight.device)
