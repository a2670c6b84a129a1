"""The hidden attention by halves against its rows, which go key by key; documents; derivatives."""

import itertools
import math

import pytest
import torch

from tokensphere import s6
from tokensphere.s6 import attention

STEPS = [(0.05, 1.0), (1e-6, 50.0), (1e-6, 1e-5), (20.0, 50.0)]


def problem(length, steps=(0.05, 1.0), groups=None, batch=2, channels=6, states=4, seed=0):
    """delta, A, B, C and resets; steps log-uniform on the given interval."""
    g = torch.Generator().manual_seed(seed)
    low, high = map(math.log, steps)
    uniform = torch.rand(batch, channels, length, generator=g, dtype=torch.float64)
    A = -torch.exp(torch.randn(channels, states, generator=g, dtype=torch.float64))
    shape = (batch, *(() if groups is None else (groups,)), states, length)
    B, C = torch.randn(2, *shape, generator=g, dtype=torch.float64)
    resets = torch.rand(batch, length, generator=g) < 0.2
    return torch.exp(low + (high - low) * uniform), A, B, C, resets


def by_rows(*arguments):
    rows = list(s6.attention_rows(*arguments))
    return torch.stack(
        [torch.nn.functional.pad(row, (0, len(rows) - row.shape[-1])) for row in rows], 2
    )


def close(got, want, tolerance=1e-12):
    """To the largest entry: sums of terms of either sign have no better scale."""
    torch.testing.assert_close(got, want, rtol=0, atol=tolerance * float(want.abs().max()))


@pytest.mark.parametrize("length", [*range(1, 18), 31, 32, 33, 63, 65, 100])
@pytest.mark.parametrize("groups", [None, 3])
def test_it_has_the_rows_key_by_key(length, groups):
    """In place and made anew; blocks that the sequence cuts short; tiny and huge steps."""
    for steps in STEPS:
        delta, A, B, C, resets = problem(length, steps, groups)
        for marks in (None, resets):
            want = by_rows(delta, A, B, C, marks)
            close(s6.hidden_attention(delta, A, B, C, marks), want)
            followed = s6.hidden_attention(delta.clone().requires_grad_(), A, B, C, marks)
            assert followed.requires_grad
            close(followed.detach(), want)
            assert torch.equal(followed, followed.tril())


@pytest.mark.parametrize("room", [1, 60, 400])
def test_pieces_of_any_size_give_the_same(monkeypatch, room):
    arguments = problem(37, groups=3)
    monkeypatch.setitem(attention.WORKING_SET, "cpu", room)
    close(s6.hidden_attention(*arguments), by_rows(*arguments))


@pytest.mark.parametrize("steps", [*STEPS, (1e-4, 1e-3)])
def test_float32_errs_by_less_than_a_millionth_of_the_largest_entry(steps):
    """16 terms, each with a few roundings of 6e-8; exponents are sums of up to 300 steps."""
    narrow = [value.float() for value in problem(300, steps, states=16)[:-1]]
    exact = s6.hidden_attention(*(value.double() for value in narrow))
    got = s6.hidden_attention(*narrow)
    assert got.dtype == torch.float32
    close(got.double(), exact, 1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_float32_rounded_once(dtype):
    *values, resets = problem(21)
    narrow = [value.to(dtype) for value in values]
    got = s6.hidden_attention(*narrow, resets)
    wide = s6.hidden_attention(*(value.float() for value in narrow), resets)
    assert got.dtype == dtype and torch.equal(got, wide.to(dtype))
    followed = s6.hidden_attention(narrow[0].requires_grad_(), *narrow[1:], resets)
    assert followed.dtype == dtype
    close(followed.detach().float(), wide, torch.finfo(dtype).eps)


def test_documents_do_not_see_one_another():
    """Packed one after another they have the matrices that each has alone, and nothing between."""
    ends = (0, 5, 6, 14, 19)
    delta, A, B, C, _ = problem(19)
    resets = torch.zeros(2, 19, dtype=torch.bool)
    resets[:, list(ends[:-1])] = True
    packed = s6.hidden_attention(delta, A, B, C, resets)
    alone = torch.zeros_like(packed)
    for start, stop in itertools.pairwise(ends):
        part = slice(start, stop)
        own = s6.hidden_attention(delta[..., part], A, B[..., part], C[..., part])
        alone[..., part, part] = own
    close(packed, alone)
    assert torch.equal(packed == 0, alone == 0)


def test_sequences_of_a_batch_have_their_own_documents():
    delta, A, B, C, _ = problem(12, groups=2)
    resets = torch.zeros(2, 12, dtype=torch.bool)
    resets[1, 7] = True
    found = s6.hidden_attention(delta, A, B, C, resets)
    close(found[0], s6.hidden_attention(delta, A, B, C)[0])
    assert not found[1, :, 7:, :7].any() and found[1, :, 6, :7].all()


def test_the_output_of_packed_documents():
    delta, A, B, C, resets = problem(33, groups=2)
    u = torch.randn(delta.shape, generator=torch.Generator().manual_seed(1), dtype=delta.dtype)
    M = s6.hidden_attention(delta, A, B, C, resets)
    y = s6.selective_scan(u, delta, A, B, C, resets=resets)
    close((M @ u.unsqueeze(-1)).squeeze(-1), y)
    close(s6.column_sums(delta, A, B, C, resets=resets), M.sum(-2))


@pytest.mark.parametrize("length", [1, 2, 7, 12, 33])
@pytest.mark.parametrize("steps", STEPS)
def test_gradients_are_those_of_the_rows(length, steps):
    *values, resets = problem(length, steps, groups=2)
    for marks in (None, resets):
        gradients = []
        for function in (s6.hidden_attention, by_rows):
            leaves = [value.clone().requires_grad_() for value in values]
            M = function(*leaves, marks)
            weights = torch.arange(M.numel(), dtype=M.dtype).view(M.shape).cos()
            # The rate has no part in a single token's matrix.
            (M * weights).sum().backward()
            gradients.append([torch.zeros_like(v) if v.grad is None else v.grad for v in leaves])
        for got, want in zip(*gradients, strict=True):
            assert got.isfinite().all()
            close(got, want)


@pytest.mark.skipif(
    torch.__version__ < torch.torch_version.TorchVersion("2.10"),
    reason="before 2.10 Tensor.tolist does not unwrap what torch.func passes in",
)
def test_transforms_of_torch_func():
    *values, resets = problem(5, batch=1, channels=2, states=3)

    def function(delta, A):
        return s6.hidden_attention(delta, A, *values[2:], resets)

    primals = tuple(values[:2])
    reverse = torch.func.jacrev(function, (0, 1))(*primals)
    forward = torch.func.jacfwd(function, (0, 1))(*primals)
    tangents = tuple(torch.ones_like(value) for value in primals)
    _, along = torch.func.jvp(function, primals, tangents)
    for got, want in zip(forward, reverse, strict=True):
        close(got, want)
    close(along, sum(part.flatten(4).sum(-1) for part in reverse))


@pytest.mark.parametrize(
    ("resets", "message"),
    [
        (torch.zeros(2, 8, dtype=torch.bool), r"resets: shape \(2, 8\), takes \(B, L\) = \(2, 9\)"),
        (torch.zeros(9, dtype=torch.bool), "resets: got shape"),
        (torch.zeros(2, 9), "resets: got dtype torch.float32, takes a tensor"),
        ([True] * 9, r"resets: got \[True"),
    ],
)
def test_bad_resets_are_named(resets, message):
    *values, _ = problem(9)
    for function in (s6.hidden_attention, by_rows, s6.column_sums):
        with pytest.raises(ValueError, match=f"^{message}"):
            if function is s6.column_sums:
                function(*values, resets=resets)
            else:
                function(*values, resets)


def test_complex_layers_are_refused():
    delta, A, B, C, _ = problem(4)
    with pytest.raises(ValueError, match=r"^A: got dtype torch.complex128, takes a tensor"):
        s6.hidden_attention(delta, A + 0j, B, C)
