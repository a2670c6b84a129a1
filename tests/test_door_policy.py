"""Every public function refuses what it does not take, in one wording, by name."""

import importlib
import inspect
import pkgutil
import typing

import bad_values
import door_examples
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tokensphere
from tokensphere.door import Rule
from tokensphere.door.rules import Seen

ROOMS = [
    importlib.import_module(f"door_examples.{found.name}")
    for found in pkgutil.iter_modules(door_examples.__path__)
]
EXAMPLES = {function: given for room in ROOMS for function, given in room.EXAMPLES.items()}
TAKEN = {key: kinds for room in ROOMS for key, kinds in room.TAKEN.items()}
LEFT = {name: reason for room in ROOMS for reason, names in room.LEFT.items() for name in names}

NO_NUMBERS = {"cli", "door", "records", "checkpoint", "__main__", "paper"}
"""Rooms whose functions take names and files."""


def name_of(function) -> str:
    return f"{function.__module__.removeprefix('tokensphere.')}.{function.__qualname__}"


def modules():
    """Those of the library's rooms, and of the paper's wing the survey."""
    yield importlib.import_module("tokensphere.paper.survey")
    for found in pkgutil.walk_packages(tokensphere.__path__, "tokensphere."):
        room = found.name.split(".")[1]
        if room in NO_NUMBERS or f"the room {room}" in LEFT:
            continue
        if "kernels" not in found.name and not found.name.endswith("s6.gpu"):
            yield importlib.import_module(found.name)


def public():
    """Functions by name: those in `__all__`, else those that a module defines without an _."""
    for module in modules():
        names = getattr(module, "__all__", [n for n in vars(module) if not n.startswith("_")])
        for name in names:
            thing = getattr(module, name)
            if inspect.isfunction(thing) and thing.__module__ == module.__name__:
                yield thing


def doors(function) -> dict[str, Rule]:
    return getattr(function.__init__ if isinstance(function, type) else function, "door", {})


def refusal(function, arguments, name):
    """What is said of the argument `name`; fails where it is taken."""
    try:
        found = function(**arguments)
    except (ValueError, TypeError) as error:
        said = str(error)
        assert "\n" not in said and said.startswith(f"{name}"), said
        assert not doors(function) or (f"{name}: got " in said and ", takes " in said), said
        return said
    raise AssertionError(f"{name}: {arguments[name]!r} was taken, and gave {found!r}")


def in_order():
    return [pytest.param(each, id=name_of(each)) for each in EXAMPLES]


@pytest.mark.parametrize("function", in_order())
def test_a_good_call_passes_the_door(function):
    rules, arguments, seen = doors(function), EXAMPLES[function], Seen()
    assert set(arguments) >= set(rules) - {
        name for name, one in inspect.signature(function).parameters.items() if one.default is None
    }, "an example names every argument that is checked"
    for name, rule in rules.items():
        if name in arguments:
            rule.check(name, arguments[name], seen)


@pytest.mark.parametrize("function", in_order())
def test_each_bad_value_is_refused_by_name(function):
    arguments = EXAMPLES[function]
    rules = doors(function) or arguments
    for name in arguments.keys() & rules.keys():
        taken = set(TAKEN.get((name_of(function), name), ()))
        said = getattr(rules[name], "takes", "")
        if "(...)" in said or "(*B)" in said:  # any number of axes, and so none
            taken |= {"no axis"} | ({"a number"} if said.startswith("numbers") else set())
        rejected = 0
        for kind, bad in bad_values.of_kind(arguments[name]).items():
            if kind not in taken:
                refusal(function, arguments | {name: bad}, name)
                rejected += 1
        assert rejected > 5 or not doors(function)


BOXES = [
    (function, name)
    for function, arguments in EXAMPLES.items()
    for name in doors(function)
    if isinstance(arguments.get(name), torch.Tensor | np.ndarray)
    and np.asarray(arguments[name]).dtype.kind == "f"
    and "finite" in doors(function)[name].takes
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(BOXES), st.sampled_from(["nan", "inf", "-inf"]), st.data())
def test_one_bad_entry_anywhere_is_refused(box, bad, data):
    function, name = box
    good = EXAMPLES[function][name]
    spoilt = good.clone() if isinstance(good, torch.Tensor) else good.copy()
    size = spoilt.numel() if isinstance(spoilt, torch.Tensor) else spoilt.size
    spoilt.reshape(-1)[data.draw(st.integers(0, size - 1))] = float(bad)
    refusal(function, EXAMPLES[function] | {name: spoilt}, name)


@pytest.mark.parametrize("function", in_order())
def test_what_a_rule_leaves_out_is_refused(function):
    """By what the rule says: rows of length 1, numbers above 0, entries up to a size."""
    arguments = EXAMPLES[function]
    for name, rule in doors(function).items():
        good, said = arguments.get(name), rule.takes
        bad = []
        if isinstance(good, torch.Tensor) or (isinstance(good, np.ndarray) and good.ndim):
            if "rows of length 1" in said:
                bad += [0 * good, 1.2 * good, good * (1 + 1e-5)]
            if "no row of length 0" in said:
                bad += [0 * good]
            if "above 0" in said:
                bad += [0 * good, -good]
            if "in size" in said:
                bad += [good + 1.7e308]
        elif isinstance(good, int | float) and not isinstance(good, bool):
            bad += [0, -1] if "above 0" in said else []
            bad += [-1] if "of 1 or more" in said or "of 0 or more" in said else []
            bad += [1.5, -0.5] if "from 0 to 1" in said else []
        for value in bad:
            refusal(function, arguments | {name: value}, name)


NUMERIC = ("Tensor", "float", "int", "ndarray", "NDArray", "ArrayLike", "Sequence", "Fraction")


def takes_numbers(function) -> bool:
    said = typing.get_type_hints(function) if False else inspect.get_annotations(function)
    return any(
        any(word in str(one) for word in NUMERIC) for name, one in said.items() if name != "return"
    ) or len(said) < len(inspect.signature(function).parameters)


def test_every_public_function_that_takes_numbers_has_a_door_or_a_reason():
    bare = [name_of(each) for each in public() if takes_numbers(each) and not hasattr(each, "door")]
    assert [name for name in bare if name not in LEFT] == []
    without = {name_of(each) for each in public() if not hasattr(each, "door")}
    stale = [name for name in LEFT if not name.startswith("the room") and name not in without]
    assert stale == [], "they have doors, or are gone"


def test_every_door_has_an_example():
    assert [name_of(each) for each in public() if doors(each) and each not in EXAMPLES] == []


def test_left_names_say_why():
    assert all(reason and reason != "TODO" for reason in LEFT.values())
