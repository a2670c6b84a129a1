"""The door: what it refuses, in which words, and that it hands on what it was given."""

import inspect
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from tokensphere import door
from tokensphere.door import array, exact, number, positive, takes, tensor, whole


@takes(S=tensor("...", "D", "D", dtype="float64"), y=array("D", unit=True), t=positive())
def some(S, y, *more, t=1.0, **rest):
    """What it does."""
    return S, y, more, t, rest


S, y = torch.eye(3, dtype=torch.float64), np.array([0.6, 0.8, 0.0])


def test_arguments_are_handed_on_and_results_come_back_as_they_are():
    given = S, y, object(), object()
    found = some(*given[:3], t=(t := 1e3 + 0.5), other=given[3])
    assert found[0] is S and found[1] is y and found[2][0] is given[2]
    assert found[3] is t and found[4]["other"] is given[3]
    names = [0.6, 0.8, 0.0]
    assert some(S, y=names)[1] is names and names == [0.6, 0.8, 0.0]
    assert some.__doc__ == "What it does." and some.__name__ == "some"
    assert list(inspect.signature(some).parameters) == ["S", "y", "more", "t", "rest"]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'y'"):
        some(S)


def test_what_a_door_takes_it_neither_copies_nor_changes():
    kept = S.clone(), y.copy()
    some(S.requires_grad_(), y)
    assert torch.equal(S, kept[0]) and np.array_equal(y, kept[1])
    assert some(S, y)[0].grad_fn is None
    S.requires_grad_(False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((None, y), "S: got None, takes a tensor (..., D, D) of dtype float64, finite"),
        ((S.float(), y), "S: got dtype torch.float32, takes a tensor (..., D, D) of dtype float64"),
        ((S[:2], y), "S: got shape (2, 3), takes a tensor (..., D, D)"),
        ((S * math.nan, y), "S: got NaN or infinity, takes a tensor"),
        (
            (S, y[:2]),
            "y: got shape (2,), takes numbers (D,), finite, rows of length 1; D = 3 as in S",
        ),
        ((S, [[1], [2, 3]]), "y: got a list of which no array can be made, takes numbers (D,)"),
        ((S, y > 0), "y: got dtype bool, takes numbers (D,)"),
        ((S, 1.2 * y), "y: got a row whose length is off by 2.0e-01, takes"),
        ((S, y * 1e200), "y: got a row whose length is off by inf, takes"),
        ((S, y, 1), None),
    ],
)
def test_a_refusal_names_the_argument_what_it_got_and_what_is_taken(arguments, said):
    if said is None:
        some(*arguments)
        return
    with pytest.raises(ValueError) as caught:
        some(*arguments)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_what_is_no_number_or_tensor_is_a_type_error_too():
    for bad in (None, "1", [1.0], {}):
        with pytest.raises(TypeError, match="^t: got .*, takes a finite number above 0$"):
            some(S, y, t=bad)
    for bad in (math.nan, math.inf, 0.0, -1, True, 1j, 10**400):
        with pytest.raises(
            ValueError, match="^t: got .*, takes a finite number above 0$"
        ) as caught:
            some(S, y, t=bad)
        assert not isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (number(), [0, -1.5, Fraction(1, 3), np.float32(1), np.array(2), torch.tensor(2.0)], ["x"]),
        (number(finite=False), [math.inf, -math.inf], [math.nan]),
        (number(above=0, most=2), [2, 1e-300], [0, 2.1]),
        (door.share(), [0, 1, 0.5], [-1e-9, 1.1]),
        (door.share(closed=False), [0.5], [0, 1]),
        (door.at_least(3), [3], [2.9]),
        (whole(2, 5), [2, 5, np.int64(3), np.uint8(3), torch.tensor(3)], [1, 6, 2.0, True, None]),
        (door.flag(), [True, np.True_], [0, 1, None, "yes"]),
        (door.device(), ["cpu", "cuda:1", torch.device("meta")], ["abacus", 0, None]),
        (door.text(), ["", "x"], [None, b"x", 1]),
        (door.one_of("a", 1), ["a", 1], [True, 1.0, "b", None, []]),
        (door.instance(dict), [{}], [[], None]),
        (door.function(), [len], [None, 1]),
        (door.optional(positive()), [None, 1], [0, "x"]),
        (door.either(positive(), door.text()), ["x", 2], [0, None]),
        (door.each(whole(1)), [[1, 2], (3,)], [[], [0], 1, [1, 2.5], None]),
        (array("n", 2), [[[1, 2]], torch.ones(4, 2)], [[1, 2], np.ones((2, 3)), np.ones((0, 2))]),
        (array("n", n=0), [[], np.ones(0)], [[[]]]),
        (array("n", n=2), [[1, 2]], [[1]]),
        (array("n", nonzero=False, above=0), [[1e-9]], [[0.0], [1, -1]]),
        (array("n", least=0, largest=1e9), [[0.0, 1e9]], [[-1.0], [2e9]]),
        (array("...", "D", nonzero=True), [[1.0, 0.0]], [[[0.0, 0.0], [1, 0]]]),
        (array("n", finite=False), [[math.nan]], [[1j]]),
        (array("n", kinds="fiO"), [[Fraction(1, 3), 10**40]], [["x"]]),
        (array("n", kinds="b"), [[True]], [[1]]),
        (tensor("n"), [torch.ones(2), torch.ones(2).bfloat16()], [torch.ones(2).int(), [1.0]]),
        (tensor("n", kinds="i"), [torch.ones(2).int()], [torch.ones(2)]),
    ],
)
def test_each_rule_takes_what_it_says_and_nothing_else(rule, good, bad):
    @takes(x=rule)
    def f(x):
        return x

    assert all(f(value) is value for value in good)
    for value in bad:
        with pytest.raises(ValueError, match="^x: got .*, takes "):
            f(value)


def test_tensors_of_one_call_are_alike():
    @takes(a=tensor("n"), b=tensor("n"), c=tensor("m", alike=False))
    def f(a, b, c=None):
        return a

    one = torch.ones(2)
    f(one, one, one.double())
    with pytest.raises(
        ValueError, match="^b: got dtype torch.float64, .* of torch.float32 as a is"
    ):
        f(one, one.double())
    with pytest.raises(ValueError, match="^b: got a tensor on meta, .* on cpu as a is"):
        f(one, one.to("meta"))
    with pytest.raises(ValueError, match=r"^b: got shape \(3,\), .*; n = 2 as in a"):
        f(one, torch.ones(3))


def test_a_batch_may_be_free_or_the_same_or_come_last():
    @takes(a=tensor("*B", "n"), b=tensor("*B"), c=array("n", "..."))
    def f(a, b, c):
        return a

    a, b, c = torch.ones(4, 5, 2), torch.ones(4, 5), np.ones((2, 7))
    f(a, b, c)
    f(a, b, c[:, 0])
    with pytest.raises(ValueError, match=r"^b: got shape \(4,\), .*; [*]B = \(4, 5\) as in a"):
        f(a, b[:, 0], c)
    with pytest.raises(ValueError, match=r"^c: got shape \(3, 7\), takes .*; n = 2 as in a"):
        f(a, b, np.ones((3, 7)))
    with pytest.raises(ValueError, match=r"^a: got shape \(0, 5, 2\)"):
        f(a[:0], b, c)


@pytest.mark.parametrize("bad", [[[1, 2], [3]], [[1.0, math.inf]] * 2, [["1/3", 1]] * 2, 3, None])
def test_exact_numbers_are_rational(bad):
    @takes(S=exact("D", "D"), v=exact("D"))
    def f(S, v):
        return S

    f([[1, Fraction(1, 3)], [0.5, 10**400]], (1, 2))
    with pytest.raises(ValueError, match="^S: got .*, takes finite rational numbers"):
        f(bad, (1, 2))
    with pytest.raises(ValueError, match="^v: got .*D = 2 as in S"):
        f([[1, 2], [3, 4]], (1, 2, 3))


def test_large_finite_numbers_are_finite():
    some(torch.full((3, 3), 1.7e308, dtype=torch.float64), y)


def test_transforms_and_compilers_pass():
    @takes(x=tensor("D", nonzero=True))
    def f(x):
        return (x * x).sum()

    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert torch.func.vmap(f)(x).tolist() == [5.0, 25.0]
    assert torch.func.grad(f)(x[0]).tolist() == [2.0, 4.0]
    assert torch.func.jvp(f, (x[0],), (x[0],))[1] == 10.0
    with pytest.raises(ValueError, match=r"^x: got shape \(\)"):
        torch.func.vmap(torch.func.vmap(f))(x)
    compiled = torch.compile(f, backend="eager", fullgraph=True)
    assert compiled(x[0]) == 5.0 and compiled(0 * x[0]) == 0.0  # nothing looks at it
    traced = torch.fx.experimental.proxy_tensor.make_fx(f, tracing_mode="fake")(x[0])
    assert traced(x[1]) == 25.0
    f(torch.ones(2, device="meta"))


def test_the_arguments_of_a_class_are_those_it_is_made_from():
    @takes(size=whole(1))
    class Box:
        def __init__(self, size):
            self.size = size

    assert Box(2).size == 2 and isinstance(Box(2), Box)
    with pytest.raises(ValueError, match="^size: got 0, takes a whole number of 1 or more$"):
        Box(0)


def test_a_rule_for_no_argument_is_a_mistake():
    with pytest.raises(TypeError, match="has no argument y"):
        takes(y=positive())(lambda x: x)
