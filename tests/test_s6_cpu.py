"""The compiled passes on a CPU against the plain torch ones, and when each of them is taken."""

import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad

from tokensphere import s6
from tokensphere.s6 import recurrence

pytest.importorskip("numba", reason="the extra fast")

from tokensphere.s6 import cpu, cpu_kernels

plain_recur, plain_sums = recurrence._recur, recurrence._column_sums

# In units of the largest entry: the sums round in another order, and the exponentials by an ulp.
BOUND = {torch.float32: 2e-6, torch.float64: 1e-14}


def problem(seed, sizes, dtype=torch.float64, groups=None, shared=False):
    """u, delta, A, B, C; steps log-uniform from 1e-6 to 50, a tenth of them zero."""
    batch, channels, states, length = sizes
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=dtype)

    low, high = torch.tensor([1e-6, 50.0], dtype=dtype).log()
    uniform = torch.rand(batch, channels, length, generator=g, dtype=dtype)
    delta = torch.exp(low + (high - low) * uniform)
    delta[torch.rand(delta.shape, generator=g) < 0.1] = 0.0
    A = -torch.exp(normal(channels, 1 if shared else states)).expand(channels, states)
    vectors = (batch, states, length) if groups is None else (batch, groups, states, length)
    return normal(batch, channels, length), delta, A, normal(*vectors), normal(*vectors)


def close(got, want):
    assert got.dtype == want.dtype and got.shape == want.shape and got.stride() == want.stride()
    assert float((got - want).abs().max()) <= BOUND[want.dtype] * float(want.abs().max())


def refuse(*_):
    raise AssertionError("the other pass was taken")


@pytest.fixture
def compiled_only(monkeypatch):
    monkeypatch.setattr(recurrence, "_recur", refuse)
    monkeypatch.setattr(recurrence, "_column_sums", refuse)


@pytest.fixture
def plain_only(monkeypatch):
    monkeypatch.setattr(cpu, "scan", refuse)
    monkeypatch.setattr(cpu, "column_sums", refuse)


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.setattr(cpu, "WORTH_A_THREAD", 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


SIZES = [
    ((1, 1, 1, 1), None),
    ((2, 3, 5, 9), None),
    ((1, 33, 16, 65), None),
    ((3, 45, 4, 130), None),
    ((2, 81, 7, 77), 3),
    ((9, 6, 2, 64), 6),
    ((1, 261, 3, 70), None),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("sizes", "groups"), SIZES)
def test_compiled_passes_are_the_plain_ones(two_threads, dtype, shared, sizes, groups):
    u, *values = problem(0, sizes, dtype, groups, shared)
    g = torch.Generator().manual_seed(1)
    state = torch.randn(sizes[:3], generator=g, dtype=dtype)
    given = state.clone()
    weights = torch.randn(u.shape, generator=g, dtype=dtype)
    for resets in (None, torch.rand(sizes[0], sizes[-1], generator=g) < 0.2):
        for start in (None, state):
            y, end, sound = cpu.scan(u, *values, start, resets)
            assert sound
            want_y, want_end = plain_recur(u, *values, start, resets)
            close(y, want_y)
            close(end, want_end)
        for scale in (None, weights, weights[:1, :1].expand_as(u)):
            sums, sound = cpu.column_sums(*values, scale, resets)
            assert sound
            close(sums, plain_sums(*values, scale, resets))
    assert torch.equal(state, given)


def test_documents_are_sequences_alone():
    u, delta, A, B, C = problem(10, (1, 5, 3, 90))
    resets = torch.zeros(1, 90, dtype=torch.bool)
    starts = [0, 1, 40, 64, 89]
    resets[:, starts[1:]] = True
    y = recurrence.recur(u, delta, A, B, C, None, resets)[0]
    sums = s6.column_sums(delta, A, B, C, resets=resets)
    for start, end in zip(starts, [*starts[1:], 90], strict=True):
        own = slice(start, end)
        alone = [value[..., own] for value in (u, delta, B, C)]
        close(y[..., own].contiguous(), s6.scan(*alone[:2], A, *alone[2:]).contiguous())
        close(sums[..., own].contiguous(), s6.column_sums(alone[1], A, *alone[2:]).contiguous())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("steps", "units"), [((1e-12, 0.1), 0.5), ((0.1, 1.0), 2), ((1.0, 80.0), 150)]
)
def test_decays_are_exponentials_to_a_unit_in_the_last_place(dtype, steps, units):
    """In eps: half of one for slow decays, whose errors add up; then as the rate is rounded."""
    g = torch.Generator().manual_seed(13)
    low, high = torch.tensor(steps, dtype=torch.float64).log()
    uniform = torch.rand(1, 20_000, 1, generator=g, dtype=torch.float64)
    delta = torch.exp(low + (high - low) * uniform).to(dtype)
    A = -(0.5 + 0.5 * torch.rand(20_000, 1, generator=g, dtype=torch.float64)).to(dtype)
    one = torch.ones(1, 1, 1, dtype=dtype)
    _, state, _ = cpu.scan(0 * delta, delta, A, one, one, torch.ones_like(delta))
    exact = np.exp(delta.numpy().astype(np.longdouble) * A.numpy().astype(np.longdouble))
    error = np.abs(state.numpy() - exact) / exact
    assert error.max() <= units * torch.finfo(dtype).eps


@pytest.mark.parametrize(("dtype", "step"), [(torch.float32, 3e38), (torch.float64, 1e308)])
def test_a_decay_below_the_least_number_is_zero(compiled_only, dtype, step):
    u = torch.tensor([[[1.0, 0.0]]], dtype=dtype)
    delta = torch.tensor([[[1.0, step]]], dtype=dtype)
    A = torch.tensor([[-100.0]], dtype=dtype)
    assert s6.scan(u, delta, A, *[torch.ones_like(u)] * 2).tolist() == [[[1.0, 0.0]]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_strides(compiled_only, dtype):
    values = problem(3, (2, 40, 6, 50), dtype, groups=2)
    y, sums = plain_recur(*values)[0], plain_sums(*values[1:])
    last_first = [value.movedim(0, -1).contiguous().movedim(-1, 0) for value in values]
    with_holes = [torch.stack([value, value], -1)[..., 0] for value in values]
    for given in (last_first, with_holes):
        close(s6.scan(*given), y)
        close(s6.column_sums(*given[1:]), sums)
    one = values[0][:, :1, :1].expand(2, 40, 50)
    close(s6.scan(one, *values[1:]), plain_recur(one, *values[1:])[0])
    negative = torch.complex(values[1], -values[0]).conj().imag
    assert negative.is_neg()
    close(s6.scan(negative, *values[1:]), y)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened(compiled_only, dtype):
    u, delta, A, B, C = problem(4, (2, 70, 4, 40), torch.float32)
    u, B, C = (value.to(dtype) for value in (u, B, C))
    y = s6.scan(u, delta, A, B, C)
    close(y, plain_recur(u, delta, A, B, C)[0])
    half = delta.to(dtype)
    got, want = s6.column_sums(half, A, B, C), plain_sums(half, A, B, C)
    assert got.dtype == dtype and got.stride() == want.stride()
    assert float((got.float() - want).abs().max()) <= torch.finfo(dtype).eps * float(
        want.abs().max()
    )


def test_several_threads_at_once(two_threads, compiled_only):
    values = [problem(seed, (2, 70, 4, 100)) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda each: (s6.scan(*each), s6.column_sums(*each[1:])), values))
    for each, (y, sums) in zip(values, found, strict=True):
        close(y, plain_recur(*each)[0])
        close(sums, plain_sums(*each[1:]))


def in_worker(pipe, values):
    pipe.send(s6.scan(*values).tolist())


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.filterwarnings("default::DeprecationWarning")
def test_a_forked_worker(two_threads):
    values = problem(5, (1, 70, 4, 100))
    y = s6.scan(*values)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    worker = context.Process(target=in_worker, args=(there, values))
    worker.start()
    assert here.poll(60), "the worker hangs"
    assert here.recv() == y.tolist()
    worker.join()


def test_without_numba(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "tokensphere.s6.cpu")
    monkeypatch.delattr(s6, "cpu")
    monkeypatch.delitem(sys.modules, "tokensphere.s6.cpu_kernels")
    monkeypatch.delattr(s6, "cpu_kernels")
    recurrence._cpu.cache_clear()
    values = problem(6, (2, 3, 4, 20))
    try:
        assert recurrence._cpu() is None
        assert torch.equal(s6.scan(*values), plain_recur(*values)[0])
        assert torch.equal(s6.column_sums(*values[1:]), plain_sums(*values[1:]))
    finally:
        recurrence._cpu.cache_clear()


def test_numba_is_imported_when_it_is_needed():
    code = "import sys, tokensphere.s6, tokensphere.cli; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_where_nothing_can_be_kept_on_disk(monkeypatch):
    taken = []

    def njit(*_, cache=False, **__):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        taken.append(True)
        return lambda walk: walk

    monkeypatch.setattr(cpu_kernels.numba, "njit", njit)
    assert cpu_kernels.compiled.__wrapped__(cpu_kernels.scan, torch.float32) is cpu_kernels.scan
    assert taken


def test_gradients_are_of_the_plain_pass(plain_only):
    values = problem(7, (1, 3, 2, 12))
    for i, value in enumerate(values):
        own = value.clone().requires_grad_()
        given = [*values[:i], own, *values[i + 1 :]]
        s6.scan(*given).sum().backward()
        assert own.grad.shape == value.shape and float(own.grad.abs().sum()) > 0
        if i:
            assert s6.column_sums(*given[1:]).requires_grad


def test_parameters_without_gradients_take_the_compiled_pass(compiled_only):
    values = [torch.nn.Parameter(value) for value in problem(8, (1, 3, 2, 12))]
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            close(s6.scan(*values), plain_recur(*values)[0].detach())
            close(s6.column_sums(*values[1:]), plain_sums(*values[1:]).detach())


def test_transforms_and_tracers_take_the_plain_pass(plain_only):
    u, *values = problem(9, (1, 3, 2, 12))

    def layer(u):
        return recurrence.recur(u, *values)[0]

    y = plain_recur(u, *values)[0]
    # The layer is linear in u.
    assert torch.equal(torch.func.vmap(layer)(torch.stack([u, 2 * u])), torch.stack([y, 2 * y]))
    close(torch.func.jvp(layer, (u,), (2 * u,))[1], 2 * y)
    close(torch.einsum("bdlcem,cem->bdl", torch.func.jacrev(layer)(u), u), y.contiguous())
    with forward_ad.dual_level():
        dual = s6.scan(forward_ad.make_dual(u, 2 * u), *values)
        close(forward_ad.unpack_dual(dual).tangent, 2 * y)
    with FakeTensorMode() as mode:
        fake = [mode.from_tensor(value) for value in (u, *values)]
        assert recurrence.recur(*fake)[0].shape == u.shape
    assert recurrence.recur(*(value.to("meta") for value in (u, *values)))[0].is_meta
    compiled = torch.compile(layer, backend="eager")
    close(compiled(u), y)


def test_complex_rates_take_the_plain_pass(plain_only):
    """Of a conjugate pair one half is kept: twice the real part is the sum of both."""
    u, delta, A, B, C = problem(11, (2, 4, 3, 20), groups=2)
    rates = torch.complex(A, A.flip(0))
    y, state = recurrence.recur(u, delta, rates, B, C)
    pair = [torch.cat([value, value], -2) for value in (B, C)]
    whole, _ = recurrence.recur(u, delta, torch.cat([rates, rates.conj()], -1), *pair)
    assert state.is_complex() and state.shape == (2, 4, 3)
    close(2 * y, whole)


NAMES = ("u", "delta", "A", "B", "C", "row_weights")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), -0.1, 0.0])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", [0, -1])
def test_bad_values_are_refused_as_by_the_plain_pass(monkeypatch, name, number, place):
    u, *values = problem(12, (2, 37, 3, 70), torch.float32)
    values = dict(zip(NAMES, [u, *values, u], strict=True))
    values[name] = values[name].clone()
    values[name].view(-1)[place] = number
    weights = values.pop("row_weights")

    def outcomes():
        for function, given in (
            (s6.scan, values),
            (s6.column_sums, {**values, "row_weights": weights}),
        ):
            given = {
                key: value for key, value in given.items() if key != "u" or function is s6.scan
            }
            try:
                function(**given)
                yield None
            except ValueError as error:
                yield str(error)

    got = list(outcomes())
    monkeypatch.setattr(recurrence, "_cpu", lambda: None)
    assert got == list(outcomes())
    assert (got == [None, None]) == (
        (number == 0.0 and name != "A") or (number == -0.1 and name != "delta")
    )


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 1, 100), (3, 2, 65), (2, 9, 5), (20, 1, 3)])
@pytest.mark.parametrize("count", [1, 4, 8])
def test_pieces_are_all_there_is_and_nothing_twice(sizes, count):
    times = torch.zeros(sizes)
    for piece in cpu._pieces(*sizes, count):
        assert times[piece].numel()
        times[piece] += 1
    assert bool((times == 1).all())
