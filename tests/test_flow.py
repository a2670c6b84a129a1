"""The fields against their equations and their symmetries; layers; bad input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tokensphere import s6
from tokensphere.flow import (
    AutoregressiveFlow,
    FirstTokenFlow,
    MambaFlow,
    SharedStepFlow,
    causal_attention,
    causal_sum,
    layers,
    project,
    random_tokens,
)


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def parameters(seed, dim):
    g = torch.Generator().manual_seed(seed)
    a = 0.5 + torch.rand(dim, generator=g, dtype=torch.float64)
    return normal(g, dim, dim), normal(g, dim, dim), a, g


def equation_8(x, S_BC, S_Delta, a):
    """The layer by the paper's letters, in numpy: y_l = sum_j A_lj x_j."""
    length, dim = x.shape
    steps = np.log1p(np.exp(x @ S_Delta))
    y = np.zeros_like(x)
    for l in range(length):
        for j in range(l + 1):
            for d in range(dim):
                decay = np.exp(-a[d] * steps[j + 1 : l + 1, d].sum())
                y[l, d] += x[l] @ S_BC @ x[j] * steps[j, d] * decay * x[j, d]
    return y


any_problem = given(seed=st.integers(0, 2**31), dim=st.integers(1, 6), length=st.integers(1, 7))
few = settings(max_examples=30, deadline=None)


@few
@any_problem
def test_mamba_flow_is_equations_6_to_8(seed, dim, length):
    S_BC, S_Delta, a, g = parameters(seed, dim)
    x = random_tokens(length, dim, generator=g)
    y = torch.from_numpy(equation_8(*(v.numpy() for v in (x, S_BC, S_Delta, a))))
    field = MambaFlow(S_BC, S_Delta, a)
    torch.testing.assert_close(field.layer(x), y, rtol=0, atol=1e-12)
    torch.testing.assert_close(field(x), project(x, y), rtol=0, atol=1e-12)
    applied = (field.attention(x) @ x.mT.unsqueeze(-1)).squeeze(-1).mT
    torch.testing.assert_close(applied, y, rtol=0, atol=1e-12)


def test_mamba_flow_is_the_s6_layer():
    """The same numbers by way of s6.scan, whose layout and loop are its own."""
    S_BC, S_Delta, a, g = parameters(3, 5)
    x = random_tokens(30, 5, generator=g)
    field = MambaFlow(S_BC, S_Delta, a)
    delta = torch.nn.functional.softplus(x @ S_Delta).mT[None]
    A = -a[:, None].expand(5, 5)
    y = s6.scan(x.mT[None], delta, A, (x @ S_BC.mT).mT[None], x.mT[None])[0].mT
    torch.testing.assert_close(field.layer(x), y, rtol=0, atol=1e-12)


@few
@any_problem
def test_symmetries_of_the_field(seed, dim, length):
    S_BC, S_Delta, a, g = parameters(seed, dim)
    x = random_tokens(length, dim, generator=g)
    v = MambaFlow(S_BC, S_Delta, a)(x)

    def same(got, want):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)

    same((v * x).sum(-1), torch.zeros(length, dtype=torch.float64))  # tangent
    # Channels may be renamed.
    p = torch.randperm(dim, generator=g)
    same(MambaFlow(S_BC[p][:, p], S_Delta[p][:, p], a[p])(x[:, p]), v[:, p])
    # Any set of coordinates may be reflected, if the parameters are: all of them is x -> -x.
    for r in (torch.randint(0, 2, (dim,), generator=g).double() * 2 - 1, -torch.ones(dim)):
        r = r.double()
        same(MambaFlow(r[:, None] * S_BC * r, r[:, None] * S_Delta, a)(r * x), r * v)
    # x -> -x alone, where steps are constant; there each token may be reflected by itself.
    signs = torch.randint(0, 2, (length, 1), generator=g).double() * 2 - 1
    for constant in (
        MambaFlow(S_BC, torch.zeros_like(S_Delta), a),
        SharedStepFlow(S_BC, torch.zeros(dim, dtype=torch.float64), 0.7),
    ):
        same(constant(signs * x), signs * constant(x))
    attention = AutoregressiveFlow(causal_attention(S_BC, S_Delta))
    same(attention(-x), -attention(x))


@few
@given(seed=st.integers(0, 2**31), cut=st.integers(0, 5))
def test_no_token_sees_a_later_one(seed, cut):
    S_BC, S_Delta, a, g = parameters(seed, 3)
    x = random_tokens(7, 3, generator=g)
    changed = x.clone()
    changed[cut + 1 :] = random_tokens(6 - cut, 3, generator=g)
    for field in (
        MambaFlow(S_BC, S_Delta, a),
        SharedStepFlow(S_BC, S_Delta[0], 0.7),
        AutoregressiveFlow(causal_attention(S_BC, S_Delta)),
    ):
        before, after = field(x), field(changed)
        torch.testing.assert_close(after[: cut + 1], before[: cut + 1], rtol=0, atol=1e-13)
        assert not torch.allclose(after[cut + 1 :], before[cut + 1 :])


@few
@any_problem
def test_special_cases_are_special_cases(seed, dim, length):
    S_BC, S_Delta, a, g = parameters(seed, dim)
    x = random_tokens(length, dim, generator=g)
    first = FirstTokenFlow(S_BC, S_Delta)(x[0])
    torch.testing.assert_close(MambaFlow(S_BC, S_Delta, a)(x)[0], first, rtol=0, atol=1e-13)

    alpha = S_Delta[:, 0]
    shared = SharedStepFlow(S_BC, alpha, 0.7)
    full = MambaFlow(S_BC, alpha[:, None].expand(dim, dim), torch.full_like(a, 0.7))
    torch.testing.assert_close(shared(x), full(x), rtol=0, atol=1e-13)
    torch.testing.assert_close(shared.attention(x), full.attention(x)[0], rtol=0, atol=1e-13)
    assert float(shared(x)[0].abs().max()) < 1e-14  # the first token stands still
    causal = AutoregressiveFlow(shared.attention)
    torch.testing.assert_close(causal(x), shared(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 3000.0])
def test_chunks_do_not_show(shared, scale, monkeypatch):
    """Longer than a chunk, with decays from negligible to beyond what exp can hold at once."""
    S_BC, S_Delta, a, g = parameters(1, 4)
    x = random_tokens(3 * causal_sum.CHUNK + 5, 4, generator=g)
    a = a * scale
    field = SharedStepFlow(S_BC, S_Delta[0], scale) if shared else MambaFlow(S_BC, S_Delta, a)
    if shared:
        expected = field.attention(x) @ x
    else:
        expected = (field.attention(x) @ x.mT.unsqueeze(-1)).squeeze(-1).mT
    # The sums of rates in `attention` run over the whole sequence: their rounding grows with them.
    bound = 1e-12 * max(1.0, scale)
    torch.testing.assert_close(field.layer(x), expected, rtol=0, atol=bound)
    x.requires_grad_()  # by way of torch, where there are chunks
    torch.testing.assert_close(field.layer(x), expected, rtol=0, atol=bound)
    monkeypatch.setattr(causal_sum, "CHUNK", 7)
    torch.testing.assert_close(field.layer(x), expected, rtol=0, atol=bound)


def test_factors_and_batches():
    g = torch.Generator().manual_seed(0)
    S_C, S_B = normal(g, 3, 2, 5), normal(g, 3, 2, 5)
    S_Delta, a = normal(g, 3, 5, 5), normal(g, 3, 5).exp()
    x = random_tokens(3, 9, 5, generator=g)
    together = MambaFlow((S_C, S_B), S_Delta, a)(x)
    for i in range(3):
        alone = MambaFlow(S_C[i].mT @ S_B[i], S_Delta[i], a[i])(x[i])
        torch.testing.assert_close(together[i], alone, rtol=0, atol=1e-13)


def test_gradients_pass_through_the_field():
    S_BC, S_Delta, a, g = parameters(2, 3)
    x = random_tokens(5, 3, generator=g).requires_grad_()
    unit = lambda z: z / z.norm(dim=-1, keepdim=True)  # noqa: E731
    assert torch.autograd.gradcheck(lambda z: MambaFlow(S_BC, S_Delta, a)(unit(z)), x)


@pytest.mark.parametrize("normalise", ["after", "before"])
def test_layers_against_a_loop_by_hand(normalise):
    S_BC, S_Delta, a, g = parameters(4, 3)
    field = MambaFlow(lambda t: S_BC * (1 + t), S_Delta, a)
    x0 = random_tokens(4, 3, generator=g)
    times = torch.tensor([0.0, 0.5, 0.7, 1.0, 2.0], dtype=torch.float64)
    got = layers(field, x0, times, normalise=normalise)
    x = x0.numpy()
    for k, h in enumerate(times.diff().numpy()):
        unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
        x = x + h * equation_8(
            unit, S_BC.numpy() * (1 + float(times[k])), S_Delta.numpy(), a.numpy()
        )
        if normalise == "after":
            x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    torch.testing.assert_close(got.tokens[-1], torch.from_numpy(x), rtol=0, atol=1e-12)
    every = layers(field, x0, times, normalise=normalise, every=2)
    torch.testing.assert_close(every.tokens, got.tokens[::2], rtol=0, atol=1e-14)
    assert torch.equal(every.times, times[::2])


GOOD = parameters(0, 3)
X = random_tokens(4, 3, generator=torch.Generator().manual_seed(1))
TIMES = torch.tensor([0.0, 1.0], dtype=torch.float64)
NAN = torch.full((3, 3), torch.nan, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("S_BC", lambda S, D, a: MambaFlow(S[:2], D, a)),
        ("S_BC", lambda S, D, a: MambaFlow(NAN, D, a)),
        ("S_BC", lambda S, D, a: MambaFlow(S.numpy(), D, a)),
        ("S_BC", lambda S, D, a: MambaFlow((S, S, S), D, a)),
        ("S_C and S_B", lambda S, D, a: MambaFlow((S, S[:2]), D, a)),
        ("S_BC", lambda S, D, a: MambaFlow(lambda t: NAN, D, a)(X)),
        ("S_Delta", lambda S, D, a: MambaFlow(S, D.float(), a)),
        ("S_Delta", lambda S, D, a: MambaFlow(S, lambda t: D[:2], a)(X)),
        ("a", lambda S, D, a: MambaFlow(S, D, -a)),
        ("a", lambda S, D, a: MambaFlow(S, D, a * 0)),
        ("a", lambda S, D, a: MambaFlow(S, D, lambda t: -a)(X)),
        ("S_BC, S_Delta and a", lambda S, D, a: MambaFlow(S, D, a[:2])),
        ("S_BC and S_Delta", lambda S, D, a: FirstTokenFlow(S[:2, :2], D)),
        ("alpha", lambda S, D, a: SharedStepFlow(S, a[:2], 1.0)),
        ("a", lambda S, D, a: SharedStepFlow(S, D[0], 0.0)),
        ("x", lambda S, D, a: MambaFlow(S, D, a)(2 * X)),
        ("x", lambda S, D, a: MambaFlow(S, D, a)((1 + 3e-6) * X)),
        ("x", lambda S, D, a: MambaFlow(S, D, a)(X[:, :2])),
        ("x", lambda S, D, a: MambaFlow(S, D, a)(X[0])),
        ("x", lambda S, D, a: MambaFlow(S, D, a)(X.float())),
        ("x", lambda S, D, a: FirstTokenFlow(S, D)(X * torch.nan)),
        ("Q and K", lambda S, D, a: causal_attention(S, D[:2])),
        ("Q", lambda S, D, a: causal_attention(NAN, D)),
        (r"coefficients\(x\)", lambda S, D, a: AutoregressiveFlow(lambda x: S)(X)),
        ("normalise", lambda S, D, a: layers(FirstTokenFlow(S, D), X, TIMES, normalise="pre")),
        ("every", lambda S, D, a: layers(FirstTokenFlow(S, D), X, TIMES, every=2)),
    ],
)
def test_bad_input_is_named(name, call):
    with pytest.raises(ValueError, match=f"^{name}: "):
        call(*GOOD[:3])


def test_an_exponent_leaves_room_for_what_it_multiplies():
    """Rates that add up to 693 in a chunk: e^693 is a float64, but not a million times it."""
    g = torch.Generator().manual_seed(11)
    queries, keys, values = (1e4 * normal(g, causal_sum.CHUNK, 2) for _ in range(3))
    rates = torch.full((causal_sum.CHUNK, 1), 11.0, dtype=torch.float64)
    found = causal_sum.causal_sum(queries, keys, rates, values)
    expected = causal_sum.masked_attention(queries, keys, rates, torch.ones_like(rates))[0] @ values
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-3)  # entries of 1e12


def test_chunks_are_cut_before_their_exponents_overflow():
    """Rates that add up to 756 in a chunk: e^756 is no float64, and a gradient squares it."""
    g = torch.Generator().manual_seed(9)
    queries, keys, values = (normal(g, causal_sum.CHUNK, 2).requires_grad_() for _ in range(3))
    rates = torch.full((causal_sum.CHUNK, 1), 12.0, dtype=torch.float64, requires_grad=True)
    found = causal_sum.causal_sum(queries, keys, rates, values)
    steps = torch.ones(causal_sum.CHUNK, 1, dtype=torch.float64)
    expected = causal_sum.masked_attention(queries, keys, rates, steps)[0] @ values
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(found.sum(), (queries, keys, rates, values)),
        torch.autograd.grad(expected.sum(), (queries, keys, rates, values)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)
