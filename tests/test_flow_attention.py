"""Softmax attention as a flow: equation, published programs, derivatives, memory, theory."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import attention_flow as benchmark
from tokensphere.flow import (
    AutoregressiveFlow,
    attention,
    attention_flow,
    causal_attention,
    layers,
    project,
    random_tokens,
    simulate,
)


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def unit(x):
    return x / x.norm(dim=-1, keepdim=True)


def same(got, want, bound=1e-12):
    torch.testing.assert_close(got, want, rtol=0, atol=bound)


def equation(x, Q, K, V, causal, softmax):
    """The layer by the letters of its docstring, in numpy."""
    length = len(x)
    y = np.zeros_like(x)
    for l in range(length):
        seen = range(l + 1) if causal else range(length)
        weights = {j: np.exp((Q @ x[l]) @ (K @ x[j])) for j in seen}
        total = sum(weights.values()) if softmax else length
        for j in seen:
            y[l] += weights[j] / total * (V @ x[j])
    return y


EYE = torch.eye(3, dtype=torch.float64)
kinds = pytest.mark.parametrize("softmax", [True, False])
masks = pytest.mark.parametrize("causal", [True, False])
few = settings(max_examples=20, deadline=None)


@masks
@kinds
@few
@given(
    seed=st.integers(0, 2**31),
    dim=st.integers(1, 6),
    length=st.integers(1, 9),
    rows=st.integers(1, 8),
)
def test_the_layer_is_its_equation(causal, softmax, seed, dim, length, rows):
    g = torch.Generator().manual_seed(seed)
    Q, K, V = normal(g, rows, dim), normal(g, rows, dim), normal(g, dim, dim)
    x = random_tokens(length, dim, generator=g)
    flow = attention_flow(Q, K, V, causal=causal, softmax=softmax)
    y = torch.from_numpy(equation(*(v.numpy() for v in (x, Q, K, V)), causal, softmax))
    # Weights that are not normalised are as large as the exponentials: so is their rounding.
    bound = 1e-12 * max(1.0, float(y.abs().max()))
    same(flow.layer(x), y, bound)
    same(flow(x), project(x, y), bound)
    same(flow.unchecked(x), project(x, y), bound)
    same(flow.attention(x) @ x @ V.mT, y, bound)
    without = attention_flow(Q, K, causal=causal, softmax=softmax)
    same(without.layer(x), flow.attention(x) @ x, bound)


@masks
@kinds
def test_heads_add_up_and_batches_stand_alone(causal, softmax):
    g = torch.Generator().manual_seed(0)
    Q, K, V = normal(g, 2, 3, 2, 5), normal(g, 2, 3, 2, 5), normal(g, 2, 3, 5, 5)
    x = random_tokens(2, 7, 5, generator=g)
    options = {"causal": causal, "softmax": softmax}
    together = attention_flow(Q, K, V, heads=True, **options)
    plain = attention_flow(Q, K, heads=True, **options)
    assert together.attention(x).shape == (2, 3, 7, 7)
    for b in range(2):
        single = [attention_flow(Q[b, h], K[b, h], V[b, h], **options) for h in range(3)]
        bound = 1e-13 * max(1.0, float(together.layer(x).abs().max()))
        same(together(x)[b], sum(flow(x[b]) for flow in single), bound)
        sums = sum((flow.attention(x[b]) @ x[b]) for flow in single)
        same(plain.layer(x)[b], sums, bound)
        same(together.attention(x)[b], torch.stack([f.attention(x[b]) for f in single]), bound)
    # Draws of parameters on one sequence, and one draw on many sequences.
    draws = attention_flow(Q[:, 0], K[:, 0], V[:, 0], **options)
    same(draws(x[0])[1], attention_flow(Q[1, 0], K[1, 0], V[1, 0], **options)(x[0]), bound)
    one = attention_flow(Q[0, 0], K[0, 0], V[0, 0], **options)
    same(one(x.expand(4, 2, 7, 5))[3, 1], one(x[1]), bound)


def test_parameters_may_depend_on_time():
    g = torch.Generator().manual_seed(0)
    Q, K, V = (normal(g, 3, 3) for _ in range(3))
    x = random_tokens(5, 3, generator=g)
    moving = attention_flow(lambda t: Q * (1 + t), K, lambda t: V * math.cos(t), causal=True)
    still = attention_flow(1.5 * Q, K, V * math.cos(0.5), causal=True)
    same(moving(x, 0.5), still(x))
    same(moving.unchecked(x, 0.5), still(x))
    same(moving.attention(x, 0.5), still.attention(x))


@few
@given(seed=st.integers(0, 2**31), cut=st.integers(0, 5))
def test_a_causal_token_sees_no_later_one_and_full_attention_knows_no_order(seed, cut):
    g = torch.Generator().manual_seed(seed)
    Q, K = normal(g, 3, 3), normal(g, 3, 3)
    x = random_tokens(7, 3, generator=g)
    changed = torch.cat((x[: cut + 1], random_tokens(6 - cut, 3, generator=g)))
    order = torch.randperm(7, generator=g)
    for softmax in (True, False):
        causal = attention_flow(Q, K, causal=True, softmax=softmax)
        same(causal(changed)[: cut + 1], causal(x)[: cut + 1], 1e-11)
        full = attention_flow(Q, K, causal=False, softmax=softmax)
        assert not torch.allclose(full(changed)[0], full(x)[0])
        same(full(x[order]), full(x)[order], 1e-11)
    assert not torch.allclose(causal(x.flip(0)), causal(x).flip(0))


def test_it_is_the_autoregressive_flow_of_causal_attention():
    g = torch.Generator().manual_seed(1)
    Q, K = normal(g, 4, 2, 5), normal(g, 4, 2, 5)
    x = random_tokens(4, 300, 5, generator=g)
    dense = AutoregressiveFlow(causal_attention(Q, K))
    flow = attention_flow(Q, K, causal=True)
    same(flow(x), dense(x))
    same(flow.attention(x), dense.attention(x))
    same(flow(x)[:, 0], torch.zeros(4, 5, dtype=torch.float64))  # the first token stands still


def test_scores_of_any_size():
    """Softmax by the largest score first: no overflow, and a tie is shared."""
    x = unit(torch.tensor([[1.0, 0.0], [1.0, 1e-3], [0.0, 1.0], [1.0, 0.0]], dtype=torch.float64))
    eye = torch.eye(2, dtype=torch.float64)
    flow = attention_flow(1e9 * eye, eye, causal=False)
    nearest = torch.stack([(x[0] + x[3]) / 2, x[1], x[2], (x[0] + x[3]) / 2])
    same(flow.layer(x), nearest)
    large = attention_flow(600 * eye, eye, causal=False, softmax=False)
    torch.testing.assert_close(large.layer(x), large.attention(x) @ x, rtol=1e-12, atol=0)
    beyond = attention_flow(800 * eye, eye, causal=False, softmax=False)
    with pytest.raises(RuntimeError, match="not finite at t"):
        simulate(beyond, x, torch.tensor([0.0, 1.0], dtype=torch.float64))


def sphere_program(x, A, V, beta, step, count, softmax):
    """The update of sphere.py of github.com/borjanG/2023-transformers-rotf, in its own order."""
    for _ in range(count):
        image = A @ x.T
        weights = np.exp(beta * (image.T @ image))
        weights = weights / (weights.sum(1, keepdims=True) if softmax else len(x))
        x = x + step * (weights @ (V @ x.T).T)
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    return x


def head_program(x, forms, values, beta, step, count, causal, softmax):
    """postln of github.com/nikitus20/simuformer; phase-diagrams.py of rotf with one head."""
    later = np.triu(np.full((len(x), len(x)), -np.inf), 1) if causal else 0.0
    for _ in range(count):
        moved = np.zeros_like(x)
        for form, value in zip(forms, values, strict=True):
            weights = np.exp(beta * (x @ form @ x.T + later))
            weights = weights / weights.sum(1, keepdims=True) if softmax else weights
            moved += weights @ (x @ value) / len(forms)
        x = x + step * moved
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    return x


@kinds
def test_the_program_of_a_mathematical_perspective_is_layers_of_this_field(softmax):
    g = torch.Generator().manual_seed(2)
    A, V, beta = normal(g, 3, 3), normal(g, 3, 3), 1.3
    x = random_tokens(9, 3, generator=g)
    times = torch.arange(31, dtype=torch.float64) * 0.1
    flow = attention_flow(beta * A, A, V, causal=False, softmax=softmax)
    theirs = sphere_program(x.numpy(), A.numpy(), V.numpy(), beta, 0.1, 30, softmax)
    same(layers(flow, x, times).tokens[-1], torch.from_numpy(theirs), 1e-10)


@masks
@kinds
def test_the_program_of_normalization_in_attention_is_layers_of_this_field(causal, softmax):
    g = torch.Generator().manual_seed(3)
    heads, dim, length, beta = 4, 5, 6, 0.8
    forms, values = normal(g, heads, dim, dim), normal(g, heads, dim, dim) / math.sqrt(dim)
    x = random_tokens(length, dim, generator=g)
    times = torch.arange(21, dtype=torch.float64) * 0.1
    V = values.mT / heads * (1 if softmax else length)
    Q = (beta * torch.eye(dim, dtype=torch.float64)).expand(heads, dim, dim)
    flow = attention_flow(Q, forms, V, causal=causal, softmax=softmax, heads=True)
    theirs = head_program(*(v.numpy() for v in (x, forms, values)), beta, 0.1, 20, causal, softmax)
    same(layers(flow, x, times).tokens[-1], torch.from_numpy(theirs), 1e-10)


def test_unnormalised_attention_climbs_its_energy():
    """(USA) is L times the gradient of sum exp(beta <x_i, x_j>) / (2 beta L^2) on the sphere."""
    beta, length = 2.0, 12
    x = random_tokens(length, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    energy = (beta * x @ x.mT).exp().sum() / (2 * beta * length**2)
    (gradient,) = torch.autograd.grad(energy, x)
    flow = attention_flow(beta * EYE, EYE, causal=False, softmax=False)
    same(flow(x).detach(), length * project(x, gradient).detach())


def test_tokens_of_a_hemisphere_meet_at_the_rate_of_their_linearisation():
    """Near the meeting point each token moves towards the mean of all: distances fall as e^-t."""
    x0 = random_tokens(10, 3, generator=torch.Generator().manual_seed(0))
    x0[:, 2] = x0[:, 2].abs()
    times = torch.tensor([0.0, 12.0, 15.0], dtype=torch.float64)
    tokens = simulate(attention_flow(EYE, EYE, causal=False), x0, times, 1e-11, 1e-14).tokens
    spread = (tokens[:, :, None] - tokens[:, None]).norm(dim=-1).amax((-1, -2))
    assert float(spread[0]) > 1 > 1e-4 > float(spread[1])
    # What the linearisation leaves out is of the order of the spread.
    assert float(spread[1] / spread[2]) == pytest.approx(math.exp(3), rel=1e-4)
    repelled = simulate(attention_flow(EYE, EYE, -EYE, causal=False), x0, times).tokens
    assert float((repelled[-1] - repelled[-1, 0]).norm(dim=-1).max()) > 1


def test_causal_tokens_end_at_the_first_whatever_the_queries_and_keys():
    """arXiv 2411.04990, for the identity as values and almost every start."""
    g = torch.Generator().manual_seed(4)
    x0 = random_tokens(8, 3, generator=g)
    times = torch.tensor([0.0, 100.0], dtype=torch.float64)
    end = simulate(attention_flow(normal(g, 3, 3), normal(g, 3, 3), causal=True), x0, times)
    same(end.tokens[-1], x0[:1].expand(8, 3), 1e-6)


@masks
@kinds
def test_first_and_second_derivatives(causal, softmax):
    """In tokens and in each parameter, some of which may need none."""
    g = torch.Generator().manual_seed(5)
    x = random_tokens(3, 4, generator=g).requires_grad_()
    Q, K, V = (normal(g, *shape).requires_grad_() for shape in ((2, 2, 4), (2, 2, 4), (2, 4, 4)))

    def field(x, Q, K, V):
        flow = attention_flow(Q, K, V, causal=causal, softmax=softmax, heads=True)
        return flow(unit(x))

    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(field, (x, Q, K, V))
        assert check(field, (x.detach(), Q, K.detach(), V.detach()))
    # The gradient that is to be derived again is not the kernel's own.
    energy = field(x, Q, K, V).square().sum()
    again = torch.autograd.grad(energy, (x, Q, K, V), create_graph=True)
    for one, other in zip(again, torch.autograd.grad(energy, (x, Q, K, V)), strict=True):
        same(one.detach(), other, 1e-12 * max(1.0, float(other.abs().max())))


@masks
def test_transforms_of_torch_func(causal):
    g = torch.Generator().manual_seed(6)
    flow = attention_flow(normal(g, 3, 3), normal(g, 3, 3), causal=causal)
    x, v = random_tokens(2, 6, 3, generator=g), normal(g, 6, 3)
    field = lambda z: flow.unchecked(unit(z))  # noqa: E731
    want = torch.autograd.functional.jacobian(field, x[0])
    same(torch.func.jacrev(field)(x[0]), want)
    same(torch.func.jacfwd(field)(x[0]), want)
    same(torch.func.jvp(field, (x[0],), (v,))[1], torch.einsum("ldkc,kc->ld", want, v))
    same(torch.func.vmap(field)(x), field(x))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x[0], v)
        moved = torch.autograd.forward_ad.unpack_dual(field(dual)).tangent
    same(moved, torch.einsum("ldkc,kc->ld", want, v))
    energy = lambda z: field(z).square().sum()  # noqa: E731
    same(torch.func.hessian(energy)(x[0]), torch.autograd.functional.hessian(energy, x[0]))


@masks
@kinds
def test_blocks_do_not_show(causal, softmax, monkeypatch):
    g = torch.Generator().manual_seed(7)
    Q, K = normal(g, 2, 4, 4), normal(g, 2, 4, 4)
    x = random_tokens(3, 2, 41, 4, generator=g)
    flow = attention_flow(Q, K, causal=causal, softmax=softmax)
    bound = 1e-13 * max(1.0, float(flow(x).abs().max()))
    for block in (1, 500, 2000, 2**20):
        monkeypatch.setattr(attention, "BLOCK", block)
        same(torch.func.vmap(flow.unchecked)(x), flow(x), bound)


def test_without_data():
    on_meta = lambda *shape: torch.empty(*shape, dtype=torch.float64, device="meta")  # noqa: E731
    flow = attention_flow(EYE, EYE, causal=True)
    assert attention._attend(*[on_meta(2, 7, 3)] * 3, causal=True).shape == (2, 7, 3)
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True) as fake:
        x = fake.from_tensor(random_tokens(7, 3))
        assert flow.unchecked(x).shape == (7, 3)


PEAK = """
import torch
from tokensphere.flow import attention_flow, random_tokens

def high_water():
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

torch.set_num_threads(1)
eye = torch.eye(3, dtype=torch.float64)
flow = attention_flow(eye, eye, causal=True)
evaluate = {
    "value": flow,
    "gradient": lambda x: flow.layer(x.requires_grad_()).sum().backward(),
    "blocks": torch.func.vmap(flow.unchecked),
}
for shape in ((1, 64, 3), (1, 12_288, 3)):
    for name, call in evaluate.items():
        x = random_tokens(*shape)
        before = high_water()
        call(x)
        print(name, high_water() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="no peak of a process here")
def test_no_matrix_of_scores_is_made():
    """12,288 tokens: the matrix would be 1,152 MiB; blocks are 8, with their mask and copies."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    grown = dict(line.split() for line in done.stdout.splitlines())
    assert set(grown) == {"value", "gradient", "blocks"}
    assert float(grown["value"]) < 30
    assert float(grown["gradient"]) < 30
    assert float(grown["blocks"]) < 100


X = random_tokens(4, 3, generator=torch.Generator().manual_seed(1))
NAN = torch.full((3, 3), torch.nan, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("Q", lambda: attention_flow(NAN, EYE, causal=True)),
        ("Q", lambda: attention_flow(EYE.numpy(), EYE, causal=True)),
        ("Q", lambda: attention_flow(EYE[0], EYE, causal=True)),
        ("Q", lambda: attention_flow(EYE, EYE, causal=True, heads=True)),
        ("K", lambda: attention_flow(EYE, EYE.float(), causal=True)),
        ("K", lambda: attention_flow(EYE, lambda t: NAN, causal=True)(X)),
        ("Q and K", lambda: attention_flow(EYE, EYE[:2], causal=True)),
        ("Q and K", lambda: attention_flow(lambda t: EYE[:2], EYE, causal=True).unchecked(X)),
        (
            "Q and K",
            lambda: attention_flow(
                EYE.expand(2, 3, 3), EYE.expand(4, 3, 3), causal=True, heads=True
            ),
        ),
        ("V", lambda: attention_flow(EYE, EYE, EYE[:2], causal=True)),
        ("V", lambda: attention_flow(EYE, EYE, EYE[:2, :2], causal=True)),
        ("V", lambda: attention_flow(EYE, EYE, lambda t: NAN, causal=True)(X)),
        ("V", lambda: attention_flow(EYE, lambda t: EYE, EYE[:2, :2], causal=True)),
        ("V", lambda: attention_flow(EYE[None], EYE[None], EYE, causal=True, heads=True)),
        (
            "V",
            lambda: attention_flow(*[EYE.expand(2, 3, 3)] * 2, EYE[None], causal=True, heads=True),
        ),
        ("causal", lambda: attention_flow(EYE, EYE, causal=1)),
        ("softmax", lambda: attention_flow(EYE, EYE, causal=True, softmax="no")),
        ("heads", lambda: attention_flow(EYE, EYE, causal=True, heads=8)),
        ("x", lambda: attention_flow(EYE, EYE, causal=True)(2 * X)),
        ("x", lambda: attention_flow(EYE, EYE, causal=True).layer(X[:, :2])),
        ("x", lambda: attention_flow(EYE, EYE, causal=True).attention(X[0])),
        ("x", lambda: attention_flow(EYE, EYE, causal=True)(X.float())),
    ],
)
def test_bad_input_is_named(name, call):
    with pytest.raises(ValueError, match=f"^{name}: "):
        call()


def test_an_unchecked_call_looks_at_parameters_alone():
    flow = attention_flow(EYE, EYE, causal=True)
    assert torch.isfinite(flow.unchecked(2 * X)).all()


@pytest.fixture
def small_benchmark(monkeypatch):
    """The benchmark at tiny sizes, without rates of the machine and other processes."""
    monkeypatch.setattr(benchmark, "TIME", 1.0)
    monkeypatch.setattr(benchmark, "OUTPUTS", 2)
    monkeypatch.setattr(benchmark, "DENSE_LIMIT", 8 * 20**2)
    monkeypatch.setattr(benchmark, "floor", lambda *_: {"wall": 1.0, "cpu": 1.0})
    monkeypatch.setattr(benchmark, "peak_memory", lambda *_: 1.0)

    def compare(title, contenders, work, *_, **__):
        return title, {name: call() for name, call in contenders.items()}, work

    monkeypatch.setattr(benchmark, "compare", compare)
    return benchmark


def test_the_benchmark_has_the_programs_at_their_step_and_at_equal_cost(small_benchmark):
    tables = small_benchmark.run(sizes=((12, 1), (10, 20, 30)))
    sphere, heads, (title, found, work), evaluations = tables
    for table, programs in ((sphere, {"rotf sphere.py", "simuformer"}), (heads, {"simuformer"})):
        errors = {row["contender"]: row["largest error"] for row in table.rows}
        assert {f"{name}, step 0.1" for name in programs} <= errors.keys()
        assert errors["simulate, rtol 1e-09"] < 1e-8
        assert errors["simuformer, step 0.1"] == pytest.approx(errors["layers, step 0.1"], rel=0.01)
        assert errors["layers, step 0.1"] > 1e-3
    assert [row["dense (CPU s)"] is None for row in evaluations.rows] == [False, False, True]
    assert "20 tokens" in title
    assert work == {"exponentials": 210, "multiply-adds": 6 * 210}
    torch.testing.assert_close(found["ours"], found["dense"], rtol=0, atol=1e-12)


def test_a_program_of_another_system_is_no_race(small_benchmark, monkeypatch):
    right = benchmark.by_sphere
    monkeypatch.setattr(benchmark, "by_sphere", lambda x, h, n: right(x, 1.01 * h, n))
    with pytest.raises(AssertionError, match=r"sphere.py computes something else: off by"):
        small_benchmark.run(sizes=((12, 1), ()))
