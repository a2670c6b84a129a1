"""Rules for arrays and tensors: their kind, shape and entries."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from typing import Any

from .rules import Fault, Rule, Seen
from .values import is_tensor, kind_of, numpy_module, readable, say

UNIT_TOLERANCE = 1e-6
"""How far from 1 the norm of a unit row may be, as in :mod:`tokensphere.flow`."""


def array(
    *axes: str | int,
    kinds: str = "fi",
    finite: bool = True,
    nonzero: bool = False,
    unit: bool = False,
    empty: bool = False,
    gaps: bool = False,
    above: float | None = None,
    least: float | None = None,
    largest: float | None = None,
    **sizes: int,
) -> Rule:
    """What numpy makes an array of: arrays, tensors, nested lists and tuples, in this shape.

    Args:
        axes: a letter each, or a size. The first or the last may be "...", any number of axes, or
            "*B", any number that is the same in all arguments.
        kinds: of dtypes, "f" floating point, "i" integer, "c" complex, "b" bool, "O" objects, which
            are Python's fractions and integers of any size.
        finite: NaN and infinity are refused.
        nonzero, unit: of rows along the last axis: none is of length 0; all are of length 1.
        empty: the axes of "..." may be of size 0.
        gaps: NaN is taken, for what is not there, and infinity alone refused.
        above, least, largest: every entry is above this; this or more; in size at most this.
        sizes: by letter the least size of an axis, 1 where nothing is said.
    """
    return _box(
        "numbers",
        None,
        axes,
        kinds,
        finite,
        nonzero,
        unit,
        empty,
        gaps,
        above,
        least,
        largest,
        sizes,
    )


def tensor(
    *axes: str | int,
    kinds: str = "f",
    dtype: str | None = None,
    alike: bool = True,
    finite: bool = True,
    nonzero: bool = False,
    unit: bool = False,
    empty: bool = False,
    gaps: bool = False,
    above: float | None = None,
    least: float | None = None,
    largest: float | None = None,
    **sizes: int,
) -> Rule:
    """A torch.Tensor in this shape; the rest as for :func:`array`.

    Args:
        dtype: the one that is taken, such as "float64".
        alike: dtype and device are those of the call's other tensors that are alike.
    """
    rule = _box(
        "a tensor",
        dtype,
        axes,
        kinds,
        finite,
        nonzero,
        unit,
        empty,
        gaps,
        above,
        least,
        largest,
        sizes,
    )

    def fault(value: Any, seen: Seen) -> Fault | None:
        if not is_tensor(value):
            return Fault(say(value), wrong_kind=not isinstance(value, numbers.Number))
        found = rule.fault(value, seen)
        if found is not None or not alike:
            return found
        if seen.tensor is None:
            seen.tensor = value, seen.name
            return None
        first, name = seen.tensor
        if value.dtype != first.dtype:
            return Fault(f"dtype {value.dtype}", f", of {first.dtype} as {name} is")
        if value.device != first.device:
            return Fault(f"a tensor on {value.device}", f", on {first.device} as {name} is")
        return None

    return replace(rule, fault=fault)


KINDS = {"f": "floating point", "i": "integer", "c": "complex", "b": "bool", "O": "exact"}


def _box(
    what: str,
    dtype: str | None,
    axes: tuple[str | int, ...],
    kinds: str,
    finite: bool,
    nonzero: bool,
    unit: bool,
    empty: bool,
    gaps: bool,
    above: float | None,
    least: float | None,
    largest: float | None,
    sizes: dict[str, int],
) -> Rule:
    batch = next((axis for axis in axes if axis == "..." or str(axis)[:1] == "*"), None)
    comma = "," if len(axes) == 1 and batch is None else ""
    shape = f"({', '.join(map(str, axes))}{comma})"
    of = dtype or " or ".join(KINDS[kind] for kind in kinds)
    said = [f"{what} {shape}"]
    said += [f"of dtype {of}"] if what == "a tensor" or kinds != "fi" else []
    least_sizes = [f"{letter} >= {size}" for letter, size in sizes.items()]
    said += [f"with {', '.join(least_sizes)}"] if least_sizes else []
    entries = ["no infinity"] if gaps else ["finite"] if finite else []
    entries += [f"above {above:g}"] if above is not None else []
    entries += [f"{least:g} or more"] if least is not None else []
    entries += [f"up to {largest:g} in size"] if largest is not None else []
    entries += ["rows of length 1"] if unit else ["no row of length 0"] if nonzero else []
    named = tuple(axis for axis in axes if axis is not batch)
    first = batch is not None and axes[0] is batch  # whether the batch's axes come before the rest
    looks = finite or nonzero or unit or not (above is None and least is None and largest is None)

    def fault(value: Any, seen: Seen) -> Fault | None:
        value = _as_array(value, scalar=not named)
        if isinstance(value, Fault):
            return value
        kind = kind_of(value)
        if kind not in kinds or (dtype is not None and not str(value.dtype).endswith(dtype)):
            return Fault(f"dtype {value.dtype}")
        found = tuple(value.shape)
        if len(found) < len(named) or (len(found) > len(named) and batch is None):
            return Fault(f"shape {found}", _fixed(named, seen))
        own: dict[str, int] = {}
        cut = len(found) - len(named) if first else len(named)
        others, own_axes = (found[:cut], found[cut:]) if first else (found[cut:], found[:cut])
        for axis, size in zip(named, own_axes, strict=True):
            if isinstance(axis, int):
                if size != axis:
                    return Fault(f"shape {found}", _fixed(named, seen))
                continue
            known = seen.sizes[axis][0] if axis in seen.sizes else own.setdefault(axis, size)
            if size != known or size < sizes.get(axis, 1):
                return Fault(f"shape {found}", _fixed(named, seen))
        if not empty and 0 in others:
            return Fault(f"shape {found}", _fixed(named, seen))
        if batch not in (None, "..."):
            known_batch, name = seen.batches.setdefault(str(batch), (others, seen.name))
            if others != known_batch:
                return Fault(f"shape {found}", f"; {batch} = {known_batch} as in {name}")
        for axis, size in own.items():
            seen.sizes[axis] = size, seen.name
        if not looks or kind == "O" or 0 in found:
            return None
        if is_tensor(value):
            if not readable(value):
                return None
            value = value.detach()
            # numpy takes half the time of torch for what is small; it has no bfloat16.
            value = value.numpy() if value.dtype.itemsize > 2 else value.double().numpy()
        return values(value, kind)

    def values(value: Any, kind: str) -> Fault | None:
        numpy = numpy_module()
        if gaps and kind in "fc" and numpy.isinf(value).any():
            return Fault("infinity")
        if finite and not gaps and kind in "fc" and not numpy.isfinite(value).all():
            return Fault("NaN or infinity")
        if above is not None or least is not None or largest is not None:
            smallest, greatest = value.min(), value.max()
            if above is not None and not smallest > above:
                return Fault(f"{smallest:g} in it")
            if least is not None and not smallest >= least:
                return Fault(f"{smallest:g} in it")
            if largest is not None and not max(-smallest, greatest) <= largest:
                return Fault(f"{max(-smallest, greatest):.3g} in it")
        if nonzero and not (value != 0).any(-1).all():
            return Fault("a row of length 0")
        if unit:
            # A row that is so long that its square is infinite is off by that.
            with numpy.errstate(over="ignore"):
                squares = numpy.add.reduce(value * value, -1)
            off = max(1 - squares.min() ** 0.5, squares.max() ** 0.5 - 1)
            if not off <= UNIT_TOLERANCE:
                return Fault(f"a row whose length is off by {off:.1e}")
        return None

    return Rule(" ".join(said) + (f", {', '.join(entries)}" if entries else ""), fault)


def _fixed(axes: Iterable[str | int], seen: Seen) -> str:
    """What earlier arguments have said of these axes."""
    known = {axis: seen.sizes[axis] for axis in axes if axis in seen.sizes}
    said = [f"{axis} = {size} as in {name}" for axis, (size, name) in known.items()]
    return f"; {', '.join(said)}" if said else ""


def _as_array(value: Any, scalar: bool) -> Any:
    """What has a shape, as it is; what numpy makes an array of, as one; a number if `scalar`."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return value
    if scalar and isinstance(value, numbers.Real) and not isinstance(value, bool):
        return numpy_module().asarray(value)
    if not isinstance(value, (list, tuple, range)) and not hasattr(value, "__array__"):
        return Fault(say(value), wrong_kind=not isinstance(value, numbers.Number))
    try:
        return numpy_module().asarray(value)
    except (ValueError, TypeError, RuntimeError, OverflowError):
        return Fault(f"a {type(value).__name__} of which no array can be made")


def exact(*axes: str | int, text: bool = False) -> Rule:
    """Finite rational numbers as they are, in nested lists of this shape: integers, fractions and
    floats, with `text` also "1/3"; arrays and tensors of such numbers too."""
    shape = f"({', '.join(map(str, axes))}{',' if len(axes) == 1 else ''})"

    def fault(value: Any, seen: Seen) -> Fault | None:
        if is_tensor(value) and not readable(value):
            return Fault("a tensor that cannot be read")
        rows = value.tolist() if hasattr(value, "tolist") else value
        found: list[int] = []
        level = [rows]
        for _ in axes:
            for row in level:
                if isinstance(row, str) or not hasattr(row, "__len__") or isinstance(row, dict):
                    return Fault(say(value), wrong_kind=not isinstance(value, numbers.Number))
            sizes = {len(row) for row in level}
            if len(sizes) != 1 or 0 in sizes:
                return Fault("rows of different or no length", _fixed(axes, seen))
            found.append(sizes.pop())
            level = [entry for row in level for entry in row]
        own: dict[str, int] = {}
        for axis, size in zip(axes, found, strict=True):
            known = axis
            if isinstance(axis, str):
                known = seen.sizes[axis][0] if axis in seen.sizes else own.setdefault(axis, size)
            if size != known:
                return Fault(f"shape {tuple(found)}", _fixed(axes, seen))
        for axis, size in own.items():
            seen.sizes[axis] = size, seen.name
        for entry in level:
            if isinstance(entry, bool) or not isinstance(entry, numbers.Real | str):
                return Fault(f"{say(entry)} in it", wrong_kind=True)
            try:
                if isinstance(entry, str) and not text:
                    raise ValueError
                Fraction(entry)  # type: ignore[arg-type]
            except (ValueError, TypeError, OverflowError, ZeroDivisionError):
                return Fault(f"{say(entry)} in it")
        return None

    return Rule(f"finite rational numbers {shape}", fault)
