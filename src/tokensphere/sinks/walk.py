"""A run of a model, looked at mixer by mixer: every mixer once, or an error that says why not."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tokensphere.sinks.batch import Batch, Inputs, read_inputs
from tokensphere.sinks.mixers import FAMILIES, Seen, find, refuse_overridden
from tokensphere.sinks.order import Orders, sequence_of

__all__ = ["Visit", "bare", "blame", "find_mixers", "walk"]

Visit = Callable[[str, nn.Module, Seen, Tensor, Batch, bool], Tensor | None]
"""Called after a mixer with its name, itself, what was seen of it, its output, where its tokens
stand in the order that it reads, and whether that is the sequence from its end; a tensor that it
returns takes the place of the output."""

PACKED = ("seq_idx", "cu_seqlens", "cu_seq_lens_q")
"""What mixers are told of where documents begin within a sequence."""


def bare(model: nn.Module) -> nn.Module:
    """The model itself, out of torch.compile, DataParallel and DistributedDataParallel.

    Raises ValueError for what is no module, and for weights spread over processes.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"model: got {type(model).__name__}, takes a torch.nn.Module")
    while True:
        # A compiled model is known by what it holds: its class is slow to import.
        if isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = model._orig_mod
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            break
    # By name: to import these classes is slow, and needs a torch built for several processes.
    sharded = next((each for each in model.parameters() if type(each).__name__ == "DTensor"), None)
    if sharded is not None or hasattr(model, "_fsdp_wrapped_module"):
        raise ValueError(
            f"model: the weights of {type(model).__name__} are spread over processes; takes one "
            "whose weights are in one"
        )
    return model


def find_mixers(model: nn.Module) -> dict[str, nn.Module]:
    """The supported mixers of a model by name, in the order in which the model holds them.

    Raises ValueError where there is none (names the model's class and the supported ones).
    """
    mixers = {name: module for name, module in bare(model).named_modules() if find(module)}
    if not mixers:
        supported = ", ".join(dict.fromkeys(family.model for family in FAMILIES.values()))
        raise ValueError(
            f"model: {type(bare(model)).__name__} holds no supported mixer; supported are "
            f"{supported}, and models made of their mixers"
        )
    return mixers


def walk(
    model: nn.Module,
    inputs: Inputs,
    visit: Visit,
    *,
    layers: Collection[str] | None = None,
    values: bool = True,
    outputs: bool = False,
) -> Any:
    """Run a model once, for evaluation and without gradients, and visit its mixers as they run.

    What was compiled runs as it was written. Weights, modes, hooks and random generators are left
    as they were.

    Args:
        model, inputs: as :func:`tokensphere.sinks.capture` takes them.
        visit: see :data:`Visit`.
        layers: names of the mixers to visit, None for all. Where some are named, the run ends
            after the last of them.
        values: for `Seen.values`.
        outputs: whether the model's outputs are wanted: the run then goes to its end, and a
            language model gives the logits of every position.

    Returns:
        what the model returned; None where the run ended early.

    Raises:
        ValueError: as :func:`tokensphere.sinks.capture`.
    """
    model = bare(model)
    every = find_mixers(model)
    mixers = _chosen(every, layers)
    for name, mixer in mixers.items():
        _refuse_reordered(name, mixer)
        refuse_overridden(name, mixer)
    given, named, batch = read_inputs(inputs)
    known = inspect.signature(model.forward).parameters
    if given and "input_ids" in known:
        raise ValueError(f"input_ids: dtype {given[0].dtype}, takes integers")
    # No cache to fill, and no logits of a large vocabulary that nobody reads.
    # Some models pass use_cache on without naming it.
    open_ended = any(each.kind is each.VAR_KEYWORD for each in known.values())
    cached = open_ended and hasattr(getattr(model, "config", None), "use_cache")
    if "use_cache" in known or cached:
        named.setdefault("use_cache", False)
    if "logits_to_keep" in known and not outputs:
        named.setdefault("logits_to_keep", 1)
    # What accelerate has put on a device comes off it again at a module's end.
    offloaded = any(hasattr(module, "_hf_hook") for module in model.modules())
    ends_early = layers is not None and not outputs and not offloaded
    run = _Run(visit, batch, values, ends_early)
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(_evaluation(model))
        run.listen(model, every, mixers, stack)
        stack.enter_context(run.orders)
        try:
            returned = model(*given, **named)
        except _Enough:
            returned = None
        except Exception as error:
            if error in (run.failure, run.orders.failure) or isinstance(
                error, torch.cuda.OutOfMemoryError | MemoryError
            ):
                raise
            if "Allocator" in str(error):  # out of memory on the CPU
                raise
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise ValueError(
                f"model: the forward of {type(model).__name__} itself fails on these inputs: "
                f"{reason}"
            ) from error
    missed = [name for name in mixers if name not in run.visited]
    if missed:
        raise ValueError(
            f"model: its run did not call {len(missed)} of {len(mixers)} mixers, such as "
            f"{missed[0]}; takes a model that calls each as a module"
        )
    return returned


def blame(model: nn.Module) -> str:
    """Where numbers that are not finite come from: weights, by name, or the run."""
    for name, value in bare(model).named_parameters():
        if value.is_floating_point() and not value.is_meta and not bool(value.isfinite().all()):
            return f"weights {name} are not finite"
    return "all weights are finite, so the run itself overflows"


class _Enough(Exception):
    """Every layer asked for has been visited."""


class _Run:
    """One run's hooks and what they have seen."""

    def __init__(self, visit: Visit, batch: Batch | None, values: bool, ends_early: bool) -> None:
        self.visit, self.batch, self.values, self.ends_early = visit, batch, values, ends_early
        self.visited: set[str] = set()
        self.heard: dict[str, dict[str, Tensor]] = {}
        self.orders = Orders(None if batch is None else batch.length)
        self.failure: BaseException | None = None

    def listen(
        self,
        model: nn.Module,
        every: dict[str, nn.Module],
        mixers: dict[str, nn.Module],
        stack: ExitStack,
    ) -> None:
        """Put hooks on the model, which `stack` takes off. Of `every` mixer some are visited."""
        handles = []
        inside = {part for mixer in every.values() for part in mixer.modules()}
        for module in model.modules():
            # Not on what wraps a compiled module: it is that module's hooks that see it run.
            if module not in inside and not hasattr(module, "_orig_mod"):
                handles.append(module.register_forward_pre_hook(self._enter, with_kwargs=True))
                handles.append(module.register_forward_hook(self._leave))
        for name, mixer in every.items():
            handles.append(mixer.register_forward_pre_hook(self._enter_mixer, with_kwargs=True))
            if name not in mixers:
                handles.append(mixer.register_forward_hook(self._leave_mixer))
                continue
            self.heard[name] = {}
            for part in find(mixer).listens:
                if isinstance(submodule := getattr(mixer, part, None), nn.Module):
                    call = functools.partial(self._hear, name, part)
                    handles.append(submodule.register_forward_hook(call))
            call = functools.partial(self._after, name)
            handles.append(mixer.register_forward_hook(call, with_kwargs=True))
        for handle in handles:
            stack.callback(handle.remove)

    def _enter(self, module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.orders.enter(sequence_of(*args, *named.values()))

    def _enter_mixer(self, mixer: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.orders.enter(sequence_of(*args, *named.values()), mixer=True)

    def _leave_mixer(self, mixer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.orders.leave(output, mixer=True)

    def _leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.orders.leave(output)

    @contextmanager
    def _told_as_our_own(self) -> Iterator[None]:
        """What is raised here is no failure of the model's."""
        try:
            yield
        except Exception as error:
            self.failure = error
            raise

    def _hear(self, name: str, part: str, module: nn.Module, args: Any, output: Any) -> None:
        self.heard[name][part] = output

    def _after(
        self, name: str, mixer: nn.Module, args: tuple[Any, ...], named: dict[str, Any], output: Any
    ) -> Tensor | None:
        hidden = sequence_of(*args, *named.values())
        heard, self.heard[name] = self.heard[name], {}
        with self._told_as_our_own():
            if name in self.visited:
                raise ValueError(f"model: ran {name} twice, takes one that runs each mixer once")
            self.visited.add(name)
            batch = self.batch
            if batch is None:
                batch = Batch.whole(*hidden.shape[:2])
            elif hidden.shape[:2] != (len(batch.lengths), batch.length):
                raise ValueError(
                    f"inputs: {name} reads {tuple(hidden.shape[:2])} tokens where the batch has "
                    f"{(len(batch.lengths), batch.length)}: the model puts some of its own before "
                    "them, as in prompt tuning, or cuts them; takes a model whose mixers read the "
                    "batch"
                )
            flipped = self.orders.flipped(hidden)
            batch = batch.flipped() if flipped else batch
            packed = next((key for key in PACKED if named.get(key) is not None), None)
            if packed is not None:
                raise ValueError(f"inputs: {packed} packs documents into one, takes one a sequence")
            mask = _mask(mixer, args, named, hidden)
            if mask is None and bool((batch.first > 0).any()):
                raise ValueError(
                    f"attention_mask: the model does not pass it to {name}, where padding comes "
                    "before the tokens; takes padding behind them"
                )
            seen = Seen(hidden, None if mask is None else mask.bool(), heard, self.values)
            changed = self.visit(name, mixer, seen, output, batch, flipped)
        self.orders.leave(output if changed is None else changed, mixer=True)
        if self.ends_early and len(self.visited) == len(self.heard):
            raise _Enough
        return changed


def _mask(
    mixer: nn.Module, args: tuple[Any, ...], named: dict[str, Any], hidden: Tensor
) -> Tensor | None:
    """The padding mask (B, L) that a mixer was called with."""
    names = inspect.signature(mixer.forward).parameters
    for name, value in (dict(zip(names, args, strict=False)) | named).items():
        if "mask" in name and isinstance(value, Tensor) and value.shape == hidden.shape[:2]:
            return value
    return None


def _chosen(mixers: dict[str, nn.Module], layers: Collection[str] | None) -> dict[str, nn.Module]:
    if layers is None:
        return mixers
    unknown = [name for name in layers if name not in mixers]
    if unknown or not layers:
        raise ValueError(
            f"layers: got {unknown[0] if unknown else 'none'}, takes names of mixers such as "
            f"{next(iter(mixers))}"
        )
    return {name: mixer for name, mixer in mixers.items() if name in layers}


def _refuse_reordered(name: str, mixer: nn.Module) -> None:
    # By what `tokensphere.reorder.wrap` leaves there: this package may not import that one.
    for forward in _forwards(mixer):
        policy = getattr(getattr(forward, "reordering", None), "policy", None)
        if policy is not None and policy.when == "always":
            raise ValueError(
                f"model: {name} reads its tokens in the order of {policy}; unwrap the model "
                "first (tokensphere.reorder.unwrap)"
            )


def _forwards(mixer: nn.Module) -> Iterator[Any]:
    """What stands in front of a mixer's own forward, and what each of these stands in front of."""
    for key in ("forward", "_old_forward"):  # the second where accelerate puts the first
        forward = vars(mixer).get(key)
        while forward is not None:
            yield forward
            forward = getattr(forward, "__wrapped__", None)


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode meanwhile: no dropout draws random numbers, and no kernel
    made for training is taken, which would convolve padding without masking it."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, training in modes:
            module.training = training
