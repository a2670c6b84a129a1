"""The S6 layer against the literal recurrence, its three forms against one another, bad input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tokensphere import s6

EXTREME = (1e-6, 50.0)


def problem(seed, batch=2, channels=3, states=4, length=9, steps=(0.05, 1.0)):
    """u, delta, A, B, C; steps log-uniform on the given interval."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    low, high = np.log(steps)
    uniform = torch.rand(batch, channels, length, generator=g, dtype=torch.float64)
    delta = torch.exp(low + (high - low) * uniform)
    A = -torch.exp(normal(channels, states))
    return (
        normal(batch, channels, length),
        delta,
        A,
        normal(batch, states, length),
        normal(batch, states, length),
    )


def close(got, want, scale=None):
    """To 1e-12 of the largest entry: sums of terms of either sign have no better scale."""
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12 * float(scale or want.abs().max()))


def test_scan_is_the_recurrence_written_out():
    u, delta, A, B, C = (value.numpy() for value in problem(0, batch=1, steps=EXTREME))
    expected = np.zeros_like(u)
    for d in range(u.shape[1]):
        h = np.zeros(A.shape[1])
        for l in range(u.shape[2]):
            h = np.exp(A[d] * delta[0, d, l]) * h + delta[0, d, l] * B[0, :, l] * u[0, d, l]
            expected[0, d, l] = C[0, :, l] @ h
    got = s6.scan(*(torch.from_numpy(value) for value in (u, delta, A, B, C)))
    close(got, torch.from_numpy(expected))


def test_hidden_attention_is_equation_5_written_out():
    _, delta, A, B, C = problem(1, batch=1, channels=2, length=6)
    M = s6.hidden_attention(delta, A, B, C)
    for d in range(2):
        for l in range(6):
            for j in range(6):
                decay = torch.exp(A[d] * delta[0, d, j + 1 : l + 1].sum())
                entry = (C[0, :, l] * B[0, :, j] * decay).sum() * delta[0, d, j] if j <= l else 0.0
                assert float(M[0, d, l, j]) == pytest.approx(float(entry), abs=1e-13)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 3),
    channels=st.integers(1, 4),
    states=st.integers(1, 5),
    length=st.integers(1, 20),
    steps=st.sampled_from([(0.05, 1.0), EXTREME, (1e-6, 1e-5), (20.0, 50.0)]),
)
def test_the_three_forms_and_the_gradient_agree(seed, batch, channels, states, length, steps):
    u, delta, A, B, C = problem(seed, batch, channels, states, length, steps)
    u.requires_grad_()
    y = s6.scan(u, delta, A, B, C)
    M = s6.hidden_attention(delta, A, B, C)
    # The size of the terms that are summed, before they cancel.
    terms = s6.hidden_attention(delta, A, B.abs(), C.abs()).sum(-2).abs().max()
    close((M @ u.unsqueeze(-1)).squeeze(-1), y, terms * u.detach().abs().max())
    (gradient,) = torch.autograd.grad(y.sum(), u)
    sums = s6.column_sums(delta, A, B, C)
    close(sums, M.sum(-2), terms)
    close(sums, gradient, terms)
    assert torch.equal(M, M.tril())


def test_column_sums_with_row_weights():
    u, delta, A, B, C = problem(5)
    u.requires_grad_()
    weights = torch.randn(9, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    sums = s6.column_sums(delta, A, B, C, row_weights=weights)
    close(sums, (weights.unsqueeze(-1) * s6.hidden_attention(delta, A, B, C)).sum(-2))
    (gradient,) = torch.autograd.grad((weights * s6.scan(u, delta, A, B, C)).sum(), u)
    close(sums, gradient)


def test_column_sums_never_hold_a_square_matrix():
    """A matrix of this length would take 320 GB."""
    length = 200_000
    ones = torch.ones(1, 1, length, dtype=torch.float64)
    A = torch.tensor([[-1.0]], dtype=torch.float64)
    sums = s6.column_sums(0.1 * ones, A, ones, ones)
    # A geometric series: 0.1 / (1 - e^-0.1), cut short by a tail below rounding.
    assert float(sums[0, 0, 0]) == pytest.approx(0.1 / -np.expm1(-0.1), rel=1e-12)
    assert float(sums[0, 0, -1]) == pytest.approx(0.1, rel=1e-15)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_half_precision_is_summed_in_float32(dtype):
    narrow = [value.to(dtype) for value in problem(2, length=40)]
    wide = [value.double() for value in narrow]
    got, exact = s6.scan(*narrow), s6.scan(*wide)
    assert got.dtype == dtype
    # One rounding of the result, and float32 sums.
    bound = torch.finfo(dtype).eps + 40 * torch.finfo(torch.float32).eps
    assert float((got.double() - exact).abs().max() / exact.abs().max()) < bound


def bad(name, value):
    values = dict(zip(["u", "delta", "A", "B", "C"], problem(0), strict=True))
    values[name] = value(values[name])
    return values


def poke(number):
    def change(value):
        value = value.clone()
        value.view(-1)[1] = number
        return value

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("u", lambda v: v[:, :2]),
        ("u", lambda v: v.int()),
        ("u", lambda v: v.float()),
        ("u", poke(float("nan"))),
        ("delta", lambda v: v[0]),
        ("delta", poke(-0.1)),
        ("delta", poke(float("inf"))),
        ("A", lambda v: v.mT),
        ("A", poke(0.0)),
        ("B", lambda v: v[..., :-1]),
        ("C", lambda v: v[:1]),
        ("C", lambda v: v.numpy()),
    ],
)
def test_bad_input_is_named(name, change):
    with pytest.raises(ValueError, match=rf"^{name}: "):
        s6.scan(**bad(name, change))


def test_bad_row_weights_are_named():
    _, delta, A, B, C = problem(0)
    with pytest.raises(ValueError, match="^row_weights: shape"):
        s6.column_sums(delta, A, B, C, row_weights=torch.ones(4, dtype=torch.float64))
    with pytest.raises(ValueError, match="^row_weights: holds NaN"):
        s6.column_sums(delta, A, B, C, row_weights=torch.full_like(delta, torch.nan))


def test_groups_are_layers_side_by_side():
    """Channels of one group read that group's B and C and nothing else."""
    u, delta, A, *_ = problem(20, channels=6)
    g = torch.Generator().manual_seed(21)
    B, C = torch.randn(2, 2, 3, 4, 9, generator=g, dtype=torch.float64)
    weights = torch.randn(2, 6, 9, generator=g, dtype=torch.float64)
    for function, skip, more in (
        (s6.scan, 0, ()),
        (s6.hidden_attention, 1, ()),
        (s6.column_sums, 1, ()),
        (s6.column_sums, 1, (weights,)),
    ):
        got = function(*(u, delta)[skip:], A, B, C, *more)
        for group in range(3):
            own = slice(2 * group, 2 * group + 2)
            parts = [value[:, own] for value in (u, delta)[skip:]]
            extra = [value[:, own] for value in more]
            alone = function(*parts, A[own], B[:, group], C[:, group], *extra)
            close(got[:, own], alone)


def test_rows_are_those_of_the_hidden_attention():
    _, *values = problem(22)
    M = s6.hidden_attention(*values)
    for l, row in enumerate(s6.attention_rows(*values)):
        assert row.shape == (2, 3, l + 1)
        close(row, M[:, :, l, : l + 1])


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("B", (2, 2, 4, 9), "C: shape"),
        ("both", (2, 2, 4, 9), "B: 2 groups, which do not divide the 3 channels"),
        ("both", (2, 3, 5, 9), "B: shape"),
        ("both", (2, 1, 3, 4, 9), "B: shape"),
    ],
)
def test_bad_groups_are_named(name, shape, message):
    u, delta, A, B, C = problem(23)
    B = torch.zeros(shape, dtype=torch.float64)
    C = B if name == "both" else C
    with pytest.raises(ValueError, match=f"^{message}"):
        s6.scan(u, delta, A, B, C)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sums_of_half_precision_tensors_are_those_of_the_same_numbers_in_float32(dtype):
    narrow = [value.to(dtype) for value in problem(4, length=40)]
    wide = [value.float() for value in narrow]
    for function, taken in ((s6.scan, slice(None)), (s6.column_sums, slice(1, None))):
        found = function(*narrow[taken])
        assert found.dtype == dtype and torch.equal(found, function(*wide[taken]).to(dtype))
    rows = zip(s6.attention_rows(*narrow[1:]), s6.attention_rows(*wide[1:]), strict=True)
    assert all(torch.equal(row, other) for row, other in rows)
