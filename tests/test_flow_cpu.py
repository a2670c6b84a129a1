"""The compiled pass of the fields, held to the sums in torch; and where it must not be taken."""

import concurrent.futures
import multiprocessing
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import softplus

from tokensphere.flow import (
    AutoregressiveFlow,
    FirstTokenFlow,
    MambaFlow,
    SharedStepFlow,
    causal_attention,
    cpu,
    project,
    random_tokens,
)

pytest.importorskip("numba")


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def in_torch(field, x):
    """The layer by way of torch: gradients are asked of it."""
    return field.layer(x.clone().requires_grad_()).detach()


def assert_same(field, x):
    """Layer, field and numpy field against torch, to the accuracy of sums of D or N products."""
    layer = in_torch(field, x)
    bound = 1e-12 * max(1e-300, float(layer.abs().max()))

    def same(got, want):
        torch.testing.assert_close(got, want, rtol=0, atol=bound)

    same(field.layer(x), layer)
    same(field(x), project(x, layer))
    same(field.unchecked(x), project(x, layer))
    compiled = field.numpy_field(tuple(x.shape))
    if compiled is not None:
        same(torch.from_numpy(compiled((1.7 * x).numpy())), project(x, layer))


def fields(g, dim, states, batch=(), scale=1.0):
    """Every kind of field whose steps are softplus of numbers about `scale`, its rates too."""
    S_Delta, a = scale * normal(g, *batch, dim, dim), scale * normal(g, *batch, dim).exp()
    factors = normal(g, *batch, states, dim), normal(g, *batch, states, dim)
    full = normal(g, *batch, dim, dim)
    return [
        MambaFlow(factors, S_Delta, a),
        MambaFlow(full, S_Delta, a),
        SharedStepFlow(factors, S_Delta[..., 0], a[..., 0]),
        FirstTokenFlow(full, S_Delta),
    ]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    dim=st.integers(1, 19),
    states=st.integers(1, 9),
    length=st.integers(1, 2 * 64 + 3),
    sequences=st.integers(1, 19),
    batched=st.booleans(),
    scale=st.sampled_from([1e-6, 1e-2, 1.0, 50.0]),
)
def test_the_compiled_pass_is_the_sum_in_torch(
    seed, dim, states, length, sequences, batched, scale
):
    g = torch.Generator().manual_seed(seed)
    x = random_tokens(sequences, length, dim, generator=g)
    for field in fields(g, dim, states, (sequences,) if batched else (), scale):
        assert cpu.fused(x, *field.parameters(0.0), projected=True) is not None
        assert_same(field, x)


def test_a_batch_of_parameters_meets_a_batch_of_tokens():
    """Their leading dimensions broadcast, each parameter's its own."""
    g = torch.Generator().manual_seed(0)
    x = random_tokens(2, 3, 5, 4, generator=g)
    S_BC, S_Delta, a = normal(g, 3, 4, 4), normal(g, 2, 1, 4, 4), normal(g, 4).exp()
    assert_same(MambaFlow(S_BC, S_Delta, a), x)
    assert_same(SharedStepFlow((S_BC, 2 * S_BC), normal(g, 2, 1, 4), 0.7), x)
    assert_same(FirstTokenFlow(S_BC, S_Delta), x)
    # Longer than a block of the pass, where sequences take turns in it.
    assert_same(MambaFlow(S_BC, S_Delta, a * normal(g, 2, 3, 4).exp()), x.repeat(1, 1, 10, 1))
    # Tokens without the batch of the parameters: the result has it, an array of x's shape has not.
    field = MambaFlow(S_BC, S_Delta, a)
    assert field(x[0, 0]).shape == (2, 3, 5, 4)
    assert field.numpy_field((5, 4)) is None
    assert MambaFlow(S_BC[None, None, 0], S_Delta[0, 0], a)(x[0, 0]).shape == (1, 1, 5, 4)


def test_not_contiguous_tokens_and_parameters():
    g = torch.Generator().manual_seed(1)
    x = random_tokens(5, 2, 3, generator=g).transpose(0, 1)
    shared = normal(g, 3)[:, None].expand(3, 3)
    assert_same(MambaFlow(normal(g, 3, 3).mT, shared, normal(g, 6).exp()[::2]), x)


def test_softplus_and_the_exponential_are_accurate():
    """To 4 units in the last place: the reference is torch's, in the form that does not round."""
    kernels = pytest.importorskip("tokensphere.flow.cpu_kernels")
    x = np.concatenate([np.linspace(-707.9, 700.0, 40_001), np.linspace(-2.0, 2.0, 40_001)])
    steps = np.array([kernels.softplus(z) for z in x])
    negative = -np.abs(x[np.abs(x) < 707.9])
    decays = np.array([kernels.decay(z) for z in negative])
    np.testing.assert_allclose(steps, np.logaddexp(x, 0.0), rtol=1e-15, atol=0)
    np.testing.assert_allclose(decays, np.exp(negative), rtol=5e-16, atol=0)


def test_functions_at_their_ends():
    kernels = pytest.importorskip("tokensphere.flow.cpu_kernels")
    assert kernels.decay(0.0) == 1.0
    assert kernels.decay(-745.0) == kernels.decay(-np.inf) == kernels.softplus(-800.0) == 0.0
    assert kernels.softplus(1e300) == 1e300
    assert np.isnan(kernels.decay(np.nan)) and np.isnan(kernels.softplus(np.nan))


@pytest.mark.parametrize("step", [-800.0, -745.0, -30.0, 20.5, 39.0, 41.0, 300.0])
@pytest.mark.parametrize("sequences", [1, 9])
def test_steps_that_vanish_and_decays_that_overflow_a_chunk(step, sequences):
    """Tokens near (1, 0): all steps are softplus(step)."""
    g = torch.Generator().manual_seed(2)
    x = torch.tensor([1.0, 1e-3], dtype=torch.float64) + 1e-3 * normal(g, sequences, 70, 2)
    x = x / x.norm(dim=-1, keepdim=True)
    S_Delta = step * torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    assert_same(MambaFlow(normal(g, 2, 2), S_Delta, torch.tensor([1.0, 700.0]).double()), x)


def test_one_sequence_s_nan_is_its_own():
    g = torch.Generator().manual_seed(3)
    for dim, sequences in ((3, 9), (8, 3)):
        x = random_tokens(sequences, 5, dim, generator=g)
        field = MambaFlow(normal(g, dim, dim), normal(g, dim, dim), normal(g, dim).exp())
        compiled = field.numpy_field(tuple(x.shape))
        good = compiled(x.numpy())
        x[1, 2, 0] = torch.nan
        bad = compiled(x.numpy())
        assert np.isnan(bad[1, 2:]).all()
        np.testing.assert_array_equal(np.delete(bad, 1, 0), np.delete(good, 1, 0))
        np.testing.assert_array_equal(bad[1, :2], good[1, :2])


def test_numpy_field_is_of_now():
    """In-place changes of parameters do not reach it, and it hands out new arrays."""
    g = torch.Generator().manual_seed(4)
    x = random_tokens(6, 3, generator=g)
    S_BC, S_Delta, a = normal(g, 3, 3), normal(g, 3, 3), normal(g, 3).exp()
    field = MambaFlow(S_BC, S_Delta, a)
    compiled = field.numpy_field((6, 3))
    before = compiled(x.numpy())
    S_BC.mul_(2)
    again = compiled(x.numpy())
    np.testing.assert_array_equal(before, again)
    assert before is not again
    torch.testing.assert_close(field(x), 2 * torch.from_numpy(before), rtol=0, atol=1e-14)


def test_there_is_no_numpy_field_of_these():
    g = torch.Generator().manual_seed(5)
    S_BC, S_Delta, a = normal(g, 3, 3), normal(g, 3, 3), normal(g, 3).exp()
    assert MambaFlow(lambda t: S_BC, S_Delta, a).numpy_field((4, 3)) is None
    assert MambaFlow(S_BC.clone().requires_grad_(), S_Delta, a).numpy_field((4, 3)) is None
    assert FirstTokenFlow(S_BC, lambda t: S_Delta).numpy_field((4, 3)) is None
    assert AutoregressiveFlow(causal_attention(S_BC, S_BC)).numpy_field((4, 3)) is None
    large = torch.eye(256, dtype=torch.float64)
    assert MambaFlow(large, large, torch.ones(256).double()).numpy_field((4, 256)) is None
    field = MambaFlow(S_BC, S_Delta, a)
    for shape in ((3,), (4, 2), (0, 4, 3)):
        with pytest.raises(ValueError, match="^shape: "):
            field.numpy_field(shape)
    with pytest.raises(ValueError, match="^x: "):
        field.numpy_field((4, 3))(np.zeros((5, 3)))


def test_derivatives_and_transforms_take_the_torch_path():
    g = torch.Generator().manual_seed(6)
    x = random_tokens(4, 3, generator=g)
    field = MambaFlow(normal(g, 3, 3), normal(g, 3, 3), normal(g, 3).exp())
    v = normal(g, 4, 3)

    def unit(z):
        return field.unchecked(z / z.norm(dim=-1, keepdim=True))

    step = 1e-6
    slope = (unit(x + step * v) - unit(x - step * v)) / (2 * step)

    def same(got):
        torch.testing.assert_close(got, slope, rtol=0, atol=1e-7)

    same(torch.func.jvp(unit, (x,), (v,))[1])
    same((torch.func.jacrev(unit)(x) * v).sum((-2, -1)))
    same((torch.autograd.functional.jacobian(unit, x) * v).sum((-2, -1)))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, v)
        same(torch.autograd.forward_ad.unpack_dual(unit(dual)).tangent)
    S_BC = field.S_BC.clone().requires_grad_()
    assert MambaFlow(S_BC, field.S_Delta, field.a)(x).requires_grad
    with torch.no_grad():
        assert not MambaFlow(S_BC, field.S_Delta, field.a)(x).requires_grad


def test_tracers_take_the_torch_path():
    g = torch.Generator().manual_seed(7)
    x, other = random_tokens(2, 4, 3, generator=g)
    field = MambaFlow(normal(g, 3, 3), normal(g, 3, 3), normal(g, 3).exp())
    graph = torch.fx.experimental.proxy_tensor.make_fx(
        lambda z: softplus(z) if cpu.plain(z) else 2 * z
    )(x)
    torch.testing.assert_close(graph(other), 2 * other)
    compiled = torch.compile(lambda z: softplus(z) if cpu.plain(z) else 2 * z, backend="eager")
    torch.testing.assert_close(compiled(x), 2 * x)
    whole = torch.compile(field.unchecked, backend="eager")
    torch.testing.assert_close(whole(other), field(other), rtol=0, atol=1e-13)
    seen = []
    torch.func.vmap(lambda z: (seen.append(cpu.plain(z)), z)[1])(x)
    torch.func.jacrev(lambda z: (seen.append(cpu.plain(z)), z)[1])(x)
    assert seen == [False, False]
    with torch.device("meta"):  # where new tensors would go
        torch.testing.assert_close(field(x), project(x, in_torch(field, x)), rtol=0, atol=1e-12)


def test_threads_change_nothing(monkeypatch):
    """Split over the sequences of a batch, also where a caller has threads of its own."""
    g = torch.Generator().manual_seed(8)
    monkeypatch.setattr(cpu, "SHARE", 1)
    for dim, sequences in ((3, 37), (8, 5)):
        x = random_tokens(sequences, 6, dim, generator=g)
        for field in fields(g, dim, 2, (sequences,)):
            monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
            alone = field(x)
            monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
            assert torch.equal(field(x), alone)
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                for found in pool.map(field, [x] * 8):
                    assert torch.equal(found, alone)


def _norm(field, x):
    return float(field(x).norm())


def test_a_forked_worker_computes_it_too(monkeypatch):
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("no fork on this system")
    g = torch.Generator().manual_seed(9)
    monkeypatch.setattr(cpu, "SHARE", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    field = fields(g, 3, 2)[0]
    x = random_tokens(9, 4, 3, generator=g)
    expected = _norm(field, x)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        found = pool.apply_async(_norm, (field, x)).get(
            timeout=600
        )  # a fork without threads waits for ever
    assert found == expected


def test_without_numba(monkeypatch):
    g = torch.Generator().manual_seed(10)
    field, x = fields(g, 3, 2)[0], random_tokens(9, 4, 3, generator=g)
    with_numba = field(x)
    monkeypatch.setattr(cpu, "_kernels", lambda: None)
    assert field.numpy_field((9, 4, 3)) is None
    torch.testing.assert_close(field(x), with_numba, rtol=0, atol=1e-13)


def test_numba_is_imported_when_it_is_wanted():
    code = "import sys, tokensphere.flow; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_it_compiles_where_nothing_can_be_kept(monkeypatch):
    kernels = pytest.importorskip("tokensphere.flow.cpu_kernels")
    real = kernels.njit

    def njit(cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(kernels, "njit", njit)
    assert kernels.compiled(lambda z: z + 1.0)(1.0) == 2.0
