"""Does reordering diversify limit points? What a trained classifier's tokens do, by depth.

Section 4.2 of the paper has tokens collapse to where the first one draws them, and not with another
first token in each pass. As statements about a model:

1. what it does depends on the order, or training has taught it not to: `measure_orders`;
2. an image's tokens come together with depth: `similarity`, `effective_rank`, `clusters`, and over
   all images `pooled_rank`;
3. they come to the token read first rather than to each other: `excess`, and
   `tokensphere.sinks.theory.response`; all of `measure`.

One file of over 400 lines, because the questions are one: each measure is a few lines, and says
at length what it measures.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from tokensphere.door import positive, takes, tensor, whole
from tokensphere.reorder.models import S6Classifier
from tokensphere.reorder.policies import FixedOrder, RandomOrder
from tokensphere.reorder.training import Place, evaluate
from tokensphere.reorder.wrapping import Reordering, find_mixers, wrap
from tokensphere.sinks import theory

__all__ = [
    "ANGLES",
    "centred_similarity",
    "clusters",
    "effective_rank",
    "excess",
    "layer_tokens",
    "measure",
    "measure_orders",
    "pooled_rank",
    "similarity",
]

ANGLES = (15, 30, 60)
"""Thresholds of `clusters` in `measure`, degrees."""
MAMBAVISION = "mambavision.models.mamba_vision.MambaVision"


@takes(images=tensor("B", "C", "H", "W", alike=False), passes=whole(1), seed=whole(0, 2**64 - 1))
@torch.no_grad()
def measure_orders(
    model: nn.Module, batches: Any, images: Tensor, *, passes: int, seed: int
) -> dict[str, Any]:
    """How much a classifier in evaluation depends on the order in which its mixers read.

    A copy of the model is measured; the model, its policy and its count of passes stay as they are.
    Random orders are those of `RandomOrder`, in the place of any policy the model has. On a GPU
    accuracies are in bfloat16, as in `training.evaluate`; "sensitivity", a difference of two
    passes, is in float32.

    Args:
        model: as `layer_tokens` takes it, wrapped or not.
        batches: (images, labels) of the test: a DataLoader or a list, gone over passes + 1 times.
        images: (B, channels, size, size) with B >= 2, for "sensitivity".
        passes: K, how many random orders.
        seed: of them.

    Returns:
        "own": top-1 share in the model's own order in evaluation.
        "random": K top-1 shares, each with one random order a mixer, the same for all images.
        "sensitivity": by depth as in `layer_tokens`, the mean over images and tokens of
            1 - cos(x, y), for the same token in two passes with independent random orders.

    Raises:
        ValueError: as `layer_tokens` and `tokensphere.reorder.wrap`; no batch, or batches that can
            be gone over once only; passes that is not a positive integer.
    """
    _check_images(images)
    if isinstance(passes, bool) or not isinstance(passes, int) or passes < 1:
        raise ValueError(f"passes: got {passes!r}, takes a positive integer")
    if iter(batches) is batches or not len(batches):
        got = type(batches).__name__
        raise ValueError(f"batches: got {got}, takes one batch or more, to go over again")
    here = Place(_device(model))
    own = evaluate(copy.deepcopy(model), batches, here)["top1"]
    twin = wrap(copy.deepcopy(model), RandomOrder(when="always"), seed=seed).eval()
    random = [evaluate(twin, _in_pass(twin, batches, k), here)["top1"] for k in range(passes)]
    # Two passes more, so with two orders that no accuracy above was measured in.
    twin.reordering.step.fill_(passes)
    images = images.to(here.device)
    one, other = (layer_tokens(twin, images)[1] for _ in range(2))
    sensitivity = []
    for x, y in zip(one, other, strict=True):
        # Of unit tokens, |x - y|^2 / 2 = 1 - cos, without cancellation where they are close.
        distance = (_unit(x) - _unit(y)).square().sum(-1) / 2
        sensitivity.append(float(distance.mean()))
    return {"own": own, "random": random, "sensitivity": sensitivity}


@takes(images=tensor("B", "C", "H", "W", alike=False))
@torch.no_grad()
def measure(model: nn.Module, images: Tensor) -> dict[str, Any]:
    """Where a classifier's tokens are, by depth, in its own order in evaluation.

    A copy of the model is measured. On a GPU its pass is in bfloat16, as in `training.evaluate`;
    those of "response", a difference of two, are in float32. Measures are in float64.

    Args:
        model: as `layer_tokens` takes it, wrapped or not.
        images: (B, channels, size, size) with B >= 2; all measures are means over them.

    Returns:
        "depths", "tokens": names from `layer_tokens`, and L, by depth; the following too.
        "similarity", "centred": `similarity`, `centred_similarity`.
        "excess": `excess` of the token read first. Where a policy leaves none that is the first in
            all images and passes (ByImportance, RandomOrder(when="always")), None for the list.
        "effective_rank", "pooled_rank": `effective_rank`, `pooled_rank`.
        "clusters": `clusters` by angle, of `ANGLES`, as a string.
        "response": of an `S6Classifier`, two lists: "first", `theory.response` to putting the patch
            of another image of the batch (the one before) in the place of the token read first,
            and "later", in that of the token read after L // 4 others. Both are means over the
            tokens read after the latter and over the images in which both patches differ. The
            embedding has 0. None where there is none: other models, no token read first, L < 4,
            no such image.

        None in the place of a number where L is too small for it.

    Raises:
        ValueError: as `layer_tokens`; fewer than two images; a token that is zero or not finite.
    """
    _check_images(images)
    model = copy.deepcopy(model).eval()
    device = _device(model)
    images = images.to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        names, tokens = layer_tokens(model, images)
    orders = [_reading_order(model, x.shape[1]) for x in tokens]
    found: dict[str, Any] = {
        "depths": names,
        "tokens": [x.shape[1] for x in tokens],
        "similarity": [_mean(similarity(x)) for x in tokens],
        "centred": [_mean(centred_similarity(x)) for x in tokens],
        "excess": None,
        "effective_rank": [_mean(effective_rank(x)) for x in tokens],
        "clusters": {str(angle): [_mean(clusters(x, angle)) for x in tokens] for angle in ANGLES},
        "pooled_rank": [pooled_rank(x) for x in tokens],
        "response": None,
    }
    if orders[0] is not None:
        found["excess"] = [
            _mean(excess(x, int(order[0]))) for x, order in zip(tokens, orders, strict=True)
        ]
        if isinstance(model, S6Classifier):
            found["response"] = _response(model, images, orders[0].tolist())
    return found


@takes(images=tensor("B", "C", "H", "W", alike=False))
@torch.no_grad()
def layer_tokens(model: nn.Module, images: Tensor) -> tuple[list[str], list[Tensor]]:
    """The tokens between a classifier's layers in one call of it, in the mode that it is in.

    Args:
        model: an `S6Classifier`, or PyPI's MambaVision with windows that are the whole grid, as
            `models.build` makes it and as published at 224 pixels. Wrapped or not; not compiled.
        images: (B, channels, size, size) on the model's device.

    Returns:
        Names and tokens (B, L, D) by depth, tokens in the order of their places. Of an
        `S6Classifier`, the embedding and each layer. Of MambaVision, for stages 3 and 4, what
        enters the stage and each block; L and D change between them, by a convolution.

    Raises:
        ValueError: another model; a grid that is not one window.
    """
    kept: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        if isinstance(model, S6Classifier):
            names = ["embedding", *(f"layer {i + 1}" for i in range(len(model.mixers)))]
            for name, norm in zip(names, [*model.norms, model.norm], strict=True):
                hooks.enter_context(norm.register_forward_pre_hook(_keep(kept, name)))
        elif _is_mambavision(model):
            for number, level in enumerate(model.levels, 1):
                if level.transformer_block:
                    _hook_stage(hooks, kept, f"stage {number}", level)
        else:
            got = type(model).__name__
            raise ValueError(f"model: got {got}, takes an S6Classifier or {MAMBAVISION}")
        model(images)
    return list(kept), list(kept.values())


@takes(tokens=tensor("B", "L", "D", alike=False))
def similarity(tokens: Tensor) -> Tensor:
    """The mean cosine of two different tokens of an image: (B, L, D) to (B,); NaN for L = 1.

    Of unit tokens u_l it is (|sum_l u_l|^2 - L) / (L (L - 1)), from -1 / (L - 1) to 1.
    """
    return _mean_pair(_unit(tokens))


@takes(tokens=tensor("B", "L", "D", alike=False))
def centred_similarity(tokens: Tensor) -> Tensor:
    """`similarity` after the mean token of all images and places has been subtracted.

    All tokens of a trained model share a direction, which says nothing of an image. A token at that
    mean, up to rounding, has no direction left: its cosines count as 0.
    """
    x = tokens.double()
    moved = x - x.mean((0, 1))
    sizes = moved.norm(dim=-1, keepdim=True)
    # Above the rounding of a mean in float64, far below that of tokens in half precision.
    real = sizes > 1e-12 * x.norm(dim=-1).max()
    return _mean_pair(torch.where(real, moved / sizes, 0))


@takes(tokens=tensor("B", "L", "D", alike=False), first=whole(0))
def excess(tokens: Tensor, first: int) -> Tensor:
    """How much closer tokens are to one of them than to each other, (B, L, D) to (B,).

    The mean cosine of the others with token `first`, minus their mean cosine with each other; NaN
    for L < 3.
    """
    cosines = _gram(tokens)
    length = cosines.shape[-1]
    if not 0 <= first < length:
        raise ValueError(f"first: got {first}, takes 0 to {length - 1}")
    if length < 3:
        return cosines.new_full((len(cosines),), math.nan)
    to_first = cosines[:, first].sum(-1) - 1
    among = cosines.sum((-2, -1)) - length - 2 * to_first
    return to_first / (length - 1) - among / ((length - 1) * (length - 2))


@takes(tokens=tensor("B", "L", "D", alike=False))
def effective_rank(tokens: Tensor) -> Tensor:
    """exp of the entropy of the eigenvalues of an image's Gram matrix, (B, L, D) to (B,).

    The matrix is that of the unit tokens, <u_j, u_l> / L, whose eigenvalues sum to 1: 1 for tokens
    on one axis, min(L, D) at most. It is the effective rank of that matrix in the sense of Roy &
    Vetterli (2007, "The effective rank: a measure of effective dimensionality", EUSIPCO), who take
    the entropy of the normalised singular values: of the Gram matrix, not of the matrix of tokens,
    whose singular values are the square roots of these.
    """
    return _spectral_rank(_gram(tokens) / tokens.shape[1])


@takes(tokens=tensor("B", "L", "D", alike=False))
def pooled_rank(tokens: Tensor) -> float:
    """`effective_rank` of the unit tokens of all images and places together, (B, L, D)."""
    x = _unit(tokens).flatten(0, 1)
    # The D x D matrix of second moments has the eigenvalues of the Gram matrix that are not 0.
    return float(_spectral_rank(x.mT @ x / len(x)))


@takes(tokens=tensor("B", "L", "D", alike=False), angle=positive())
def clusters(tokens: Tensor, angle: float) -> Tensor:
    """How many clusters an image's tokens form by single linkage, (B, L, D) to (B,).

    Components of the graph that joins tokens at an angle below `angle`, in degrees.

    Raises ValueError for an angle outside (0, 180].
    """
    if not 0 < angle <= 180:
        raise ValueError(f"angle: got {angle}, takes degrees above 0, up to 180")
    joined = _gram(tokens) > math.cos(math.radians(angle))
    length = joined.shape[-1]
    joined |= torch.eye(length, dtype=torch.bool, device=joined.device)
    # Squared, the graph joins what two steps reach; no path needs more than L - 1.
    for _ in range(math.ceil(math.log2(length))):
        # Whole numbers up to L, exact in float32 and in TF32 products of 0 and 1.
        joined = joined.float() @ joined.float() > 0
    # Each token then counts for its share of its component.
    return (1 / joined.sum(-1).double()).sum(-1)


def _response(model: S6Classifier, images: Tensor, order: list[int]) -> dict[str, Any] | None:
    """As in `measure`; images on the model's device, places in the order they are read in."""
    later = len(order) // 4
    if later == 0:
        return None
    states = layer_tokens(model, images)[1]
    valid = torch.ones(len(images), dtype=torch.bool, device=images.device)
    rows = {}
    for name, position in {"first": 0, "later": later}.items():
        changed = _with_other_patch(model, images, order[position])
        valid &= (changed != images).flatten(1).any(1)
        # Depth by depth, so that one alone is held in float64.
        rows[name] = [
            theory.response([x[:, order].double()], [y[:, order].double()], position=position)[0]
            for x, y in zip(states, layer_tokens(model, changed)[1], strict=True)
        ]
    after = {name: torch.stack(each)[..., later + 1 :] for name, each in rows.items()}
    for each in after.values():
        # Patches that differ may still be embedded alike, which leaves 0 / 0.
        valid &= each.isfinite().all(-1).all(0)
    if not valid.any():
        return None
    return {name: each[:, valid].mean((1, 2)).tolist() for name, each in after.items()}


def _with_other_patch(model: S6Classifier, images: Tensor, place: int) -> Tensor:
    """images with the patch at a place, counted row by row, from the image before in the batch."""
    patch = model.patch_embed.kernel_size[0]
    row, column = divmod(place, images.shape[-1] // patch)
    rows = slice(row * patch, (row + 1) * patch)
    columns = slice(column * patch, (column + 1) * patch)
    changed = images.clone()
    changed[..., rows, columns] = images.roll(1, 0)[..., rows, columns]
    return changed


def _in_pass(twin: nn.Module, batches: Any, number: int) -> Iterator[Any]:
    """The batches, each read in the orders of the same pass."""
    for batch in batches:
        twin.reordering.step.fill_(number)
        yield batch


def _reading_order(model: nn.Module, length: int) -> Tensor | None:
    """Places in the order in which mixers read them in evaluation; None where it is not one."""
    for module in model.modules():
        if isinstance(module, Reordering) and module.active:
            if isinstance(module.policy, FixedOrder):
                return module.policy.orders(module.keys, length)[0]
            return None
    return torch.arange(length)


def _is_mambavision(model: nn.Module) -> bool:
    # By name, as mixers are found: the library need not be installed.
    kinds = type(model).mro()
    return MAMBAVISION in [f"{kind.__module__}.{kind.__qualname__}" for kind in kinds]


def _hook_stage(hooks: ExitStack, kept: dict[str, Tensor], stage: str, level: nn.Module) -> None:
    def check(_: nn.Module, given: tuple[Tensor]) -> None:
        height, width = given[0].shape[-2:]
        if not height == width == level.window_size:
            raise ValueError(
                f"images: {stage} has {height}x{width} places in windows of {level.window_size}, "
                "takes images of which a window is the whole grid"
            )

    hooks.enter_context(level.register_forward_pre_hook(check))
    entry = _keep(kept, f"{stage}, input")
    hooks.enter_context(level.blocks[0].register_forward_pre_hook(entry))
    for number, block in enumerate(level.blocks, 1):
        kind = "mamba" if find_mixers(block) else "attention"
        after = _keep(kept, f"{stage}, block {number} ({kind})")
        hooks.enter_context(block.register_forward_hook(after))


def _keep(kept: dict[str, Tensor], name: str) -> Any:
    """A hook that keeps what enters a module, or, called after it, what leaves it."""

    def keep(_: nn.Module, given: tuple[Tensor], result: Tensor | None = None) -> None:
        kept[name] = given[0] if result is None else result

    return keep


def _unit(tokens: Tensor) -> Tensor:
    """x / |x| in float64."""
    if tokens.ndim != 3 or 0 in tokens.shape:
        raise ValueError(f"tokens: shape {tuple(tokens.shape)}, takes (B, L, D), none of them 0")
    x = tokens.double()
    sizes = x.norm(dim=-1, keepdim=True)
    if not bool(((sizes > 0) & sizes.isfinite()).all()):
        raise ValueError("tokens: hold one that is zero or not finite")
    return x / sizes


def _gram(tokens: Tensor) -> Tensor:
    """Cosines (B, L, L)."""
    return (x := _unit(tokens)) @ x.mT


def _mean_pair(units: Tensor) -> Tensor:
    length = units.shape[1]
    if length == 1:
        return units.new_full((len(units),), math.nan)
    total = units.sum(1).square().sum(-1) - units.square().sum((1, 2))
    return total / (length * (length - 1))


def _spectral_rank(matrix: Tensor) -> Tensor:
    """exp of the entropy of the eigenvalues of matrices (..., n, n) that are symmetric, trace 1."""
    # On the CPU: some GPU libraries solve a batch of such small matrices one after the other.
    shares = torch.linalg.eigvalsh(matrix.cpu()).clamp(min=0)
    return torch.special.entr(shares).sum(-1).exp()


def _mean(values: Tensor) -> float | None:
    """Over images; None for NaN, which JSON does not have."""
    mean = float(values.mean())
    return None if math.isnan(mean) else mean


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or len(images) < 2:
        shape = tuple(images.shape)
        raise ValueError(f"images: shape {shape}, takes (B, channels, size, size) with B >= 2")


def _device(model: nn.Module) -> torch.device:
    parameter = next(model.parameters(), None)
    if parameter is None:
        raise ValueError(f"model: got {type(model).__name__} without parameters")
    return parameter.device
