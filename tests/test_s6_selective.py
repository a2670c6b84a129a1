"""selective_scan against its equations written out in float64, over what the peer's test varies.

Shapes, options and tolerances are those of mamba-ssm's tests/ops/test_selective_scan.py, with those
that are commented out there.
"""

import itertools
import math

import pytest
import torch

from tokensphere import s6

BATCH, CHANNELS, STATES, LENGTH = 2, 4, 3, 9
PEER = {
    torch.float32: (6e-4, 2e-3),
    torch.float16: (3e-3, 5e-3),
    torch.bfloat16: (3e-2, 5e-2),
    # Sums of at most LENGTH * STATES terms: the peer has no float64.
    torch.float64: (1e-12, 1e-12),
}
"""rtol and atol of the output, by the dtype of u, delta, z and of B and C that tokens change."""
LAYOUTS = [
    pytest.param((b, c, groups), id=f"B_{b}-C_{c}-{groups}")
    for b, c in itertools.product(("constant", "variable"), repeat=2)
    for groups in ((1, 2) if b == c == "variable" else (1,))
]
FLAGS = ("D", "z", "delta_bias", "delta_softplus", "return_last_state", "initial_state", "resets")


def written_out(u, delta, A, B, C, D, z, delta_bias, delta_softplus, initial_state, resets):
    """y and h_L of float64 tensors, token by token, from the docstring."""
    batch, channels, length = u.shape
    s = delta if delta_bias is None else delta + delta_bias[:, None]
    if delta_softplus:
        s = torch.log1p(torch.exp(s))

    def vector(value, l):
        """(batch, channels, N)."""
        if value.ndim == 2:
            return value.expand(batch, -1, -1)
        value = value if value.ndim == 4 else value[:, None]
        value = value[:, [d * value.shape[1] // channels for d in range(channels)]]
        if A.is_complex() and not value.is_complex():
            return torch.complex(value[..., 2 * l], value[..., 2 * l + 1])
        return value[..., l]

    h = torch.zeros_like(A).expand(batch, -1, -1) if initial_state is None else initial_state
    outputs = []
    for l in range(length):
        if resets is not None:
            h = torch.where(resets[:, l, None, None], 0, h)
        step, x = s[:, :, l, None], u[:, :, l, None]
        h = torch.exp(step * A) * h + step * x * vector(B, l)
        y = (vector(C, l) * h).sum(-1)
        y = 2 * y.real if A.is_complex() else y
        y = y if D is None else y + D * u[:, :, l]
        outputs.append(y if z is None else y * z[:, :, l] / (1 + torch.exp(-z[:, :, l])))
    return torch.stack(outputs, -1), h


def problem(seed, wtype, itype, layout=("variable", "variable", 1), flags=FLAGS):
    g = torch.Generator().manual_seed(seed)
    wide = torch.float64 if itype == torch.float64 else torch.float32
    of_states = wide.to_complex() if wtype == "complex" else wide

    def normal(*shape, dtype=itype):
        return torch.randn(shape, generator=g, dtype=dtype)

    def uniform(*shape, dtype=itype):
        return 0.5 * torch.rand(shape, generator=g, dtype=dtype)

    def vectors(kind, groups):
        if kind == "constant":
            return normal(CHANNELS, STATES, dtype=of_states)
        length = 2 * LENGTH if wtype == "complex" else LENGTH
        return normal(BATCH, *((groups,) if groups > 1 else ()), STATES, length)

    tokens = (BATCH, CHANNELS, LENGTH)
    *kinds, groups = layout
    values = {
        "u": normal(*tokens),
        "delta": uniform(*tokens),
        "A": -uniform(CHANNELS, STATES, dtype=of_states),
        "B": vectors(kinds[0], groups),
        "C": vectors(kinds[1], groups),
        "D": normal(CHANNELS, dtype=wide),
        "z": normal(*tokens),
        "delta_bias": uniform(CHANNELS, dtype=wide),
        "initial_state": normal(BATCH, CHANNELS, STATES, dtype=of_states),
        "resets": torch.rand(BATCH, LENGTH, generator=g) < 0.25,
    }
    for name in ("D", "z", "delta_bias", "initial_state", "resets"):
        if name not in flags:
            values[name] = None
    return values


def traced(values, gradients, double=False):
    """Leaves that gradients are asked of; the reference has the same numbers in float64."""
    leaves = {}
    for name, value in values.items():
        if value is not None and value.dtype != torch.bool:
            if double:
                wide = torch.complex128 if value.is_complex() else torch.float64
                value = value.to(wide)
            value = value.clone().requires_grad_(gradients)
        leaves[name] = value
    return leaves


@pytest.mark.parametrize("wtype", ["real", "complex"])
@pytest.mark.parametrize("itype", PEER, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_outputs_states_and_gradients_under_all_options(wtype, itype, layout):
    for seed, on in enumerate(itertools.product((False, True), repeat=len(FLAGS))):
        flags = [name for name, each in zip(FLAGS, on, strict=True) if each]
        values = problem(seed, wtype, itype, layout, flags)
        # Gradients once under each choice of the first five; without them another engine computes.
        compare(values, flags, itype, gradients=seed % 4 == seed // 4 % 4)


def compare(values, flags, itype, gradients):
    rtol, atol = PEER[itype]
    last, soft = "return_last_state" in flags, "delta_softplus" in flags
    ours, theirs = traced(values, gradients), traced(values, gradients, double=True)
    got = s6.selective_scan(**ours, delta_softplus=soft, return_last_state=last)
    want, want_state = written_out(**theirs, delta_softplus=soft)
    y, state = got if last else (got, None)
    assert y.dtype == itype and y.shape == want.shape

    def close(name, value, exact, rtol, atol):
        value = value.to(exact.dtype)
        message = lambda text: f"{name} with {flags}: {text}"  # noqa: E731
        torch.testing.assert_close(value, exact, rtol=rtol, atol=atol, msg=message)

    close("y", y, want, rtol, atol)
    if last:
        wide = torch.float64 if itype == torch.float64 else torch.float32
        assert state.dtype == (wide.to_complex() if values["A"].is_complex() else wide)
        close("last state", state, want_state, rtol, atol)
    if not gradients:
        return
    g = torch.Generator().manual_seed(len(flags))
    weights = torch.randn(want.shape, generator=g, dtype=itype)
    loss, exact = (y * weights).sum(), (want * weights.double()).sum()
    if last:
        loss, exact = loss + state.abs().square().sum(), exact + want_state.abs().square().sum()
    loss.backward()
    exact.backward()
    if itype == torch.float64:
        rtolw = atolw = 1e-12
    else:
        rtolw, atolw = max(1e-3, rtol * ("z" in flags)), max(1e-3, atol * ("z" in flags))
    tolerances = {
        "u": (2 * rtol, 2 * atol),
        "delta": (5 * rtol, 10 * atol),
        "A": (rtolw, 5 * atolw),
    }
    for name in ("B", "C"):
        constant = values[name].ndim == 2
        tolerances[name] = (rtolw, atolw) if constant else (rtol, atol)
    for name, leaf in ours.items():
        if leaf is not None and leaf.requires_grad:
            bounds = tolerances.get(name, (rtolw, atolw))
            close(f"gradient of {name}", leaf.grad, theirs[name].grad, *bounds)


@pytest.mark.parametrize("wtype", ["real", "complex"])
def test_a_sequence_in_pieces_is_the_sequence(wtype):
    """The last state of one piece is the next one's initial state."""
    values = problem(1, wtype, torch.float64, flags=("D", "z", "delta_bias"))
    whole, last = s6.selective_scan(**values, return_last_state=True)
    state, pieces = None, []
    for piece in (slice(0, 1), slice(1, 6), slice(6, LENGTH)):
        part = dict(values, initial_state=state)
        for name in ("u", "delta", "z"):
            part[name] = values[name][..., piece]
        for name in ("B", "C"):
            value = values[name]
            if wtype == "complex":
                value = torch.view_as_complex(value.unflatten(-1, (-1, 2)))
            part[name] = value[..., piece]
        y, state = s6.selective_scan(**part, return_last_state=True)
        pieces.append(y)
    # Sums of the same terms in the same order.
    torch.testing.assert_close(torch.cat(pieces, -1), whole, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(state, last, rtol=1e-14, atol=1e-14)


def test_complex_vectors_are_the_parts_in_turns():
    values = problem(2, "complex", torch.float64)
    turns = s6.selective_scan(**values)
    for name in ("B", "C"):
        values[name] = torch.view_as_complex(values[name].unflatten(-1, (-1, 2)))
    assert torch.equal(s6.selective_scan(**values), turns)


def test_a_complex_state_counts_for_itself_and_its_conjugate():
    """2 Re: the same layer with real outputs from both states of each pair."""
    values = problem(3, "complex", torch.float64, flags=())
    u, delta, A = (values[name] for name in ("u", "delta", "A"))
    B, C = (torch.view_as_complex(values[n].unflatten(-1, (-1, 2))) for n in ("B", "C"))
    A, B, C = (torch.cat((value, value.conj()), 1) for value in (A, B, C))
    pairs = s6.selective_scan(u, delta, A, B, C)
    # Twice the real part of a sum that is real: once too often.
    torch.testing.assert_close(pairs / 2, s6.selective_scan(**values), rtol=1e-13, atol=1e-13)


def test_without_options_it_is_the_scan():
    values = problem(4, "real", torch.float32, flags=())
    five = [values[name] for name in ("u", "delta", "A", "B", "C")]
    # Two engines may take them: float32 sums of 27 terms of order 1.
    torch.testing.assert_close(s6.selective_scan(*five), s6.scan(*five), rtol=1e-5, atol=1e-5)


def test_groups_of_B_and_of_C_may_differ():
    values = problem(5, "real", torch.float64, flags=())
    g = torch.Generator().manual_seed(6)
    B = torch.randn(BATCH, 2, STATES, LENGTH, generator=g, dtype=torch.float64)
    for C in (values["C"], torch.randn(CHANNELS, STATES, generator=g, dtype=torch.float64)):
        got = s6.selective_scan(**dict(values, B=B, C=C))
        plain = {name: values[name] for name in ("D", "z", "delta_bias", "initial_state", "resets")}
        want, _ = written_out(
            values["u"], values["delta"], values["A"], B, C, **plain, delta_softplus=False
        )
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_gradients_by_finite_differences():
    values = problem(7, "complex", torch.float64)
    names = [name for name, value in values.items() if value.dtype != torch.bool]

    # Real parts of the state alone would leave half of its gradient untried.
    def function(*leaves):
        given = dict(values, **dict(zip(names, leaves, strict=True)))
        y, state = s6.selective_scan(**given, delta_softplus=True, return_last_state=True)
        return y, torch.view_as_real(state)

    leaves = tuple(values[name].clone().requires_grad_() for name in names)
    assert torch.autograd.gradcheck(function, leaves, fast_mode=True)


def changed(name, change, wtype="real"):
    values = problem(8, wtype, torch.float64)
    values[name] = change(values[name])
    return values


def poke(number):
    def change(value):
        value = value.clone()
        value.view(-1)[1] = number
        return value

    return change


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("u", lambda v: v[:, :2], r"u: shape \(2, 2, 9\), takes \(B, D, L\) = \(2, 4, 9\)"),
        ("u", lambda v: v.numpy(), "u: got ndarray"),
        ("u", lambda v: v.float(), "u: dtype torch.float32 does not go with delta's"),
        ("u", lambda v: v + 0j, "u: got dtype torch.complex128"),
        ("u", poke(math.nan), "u: holds NaN or infinity"),
        ("delta", lambda v: v[0], "delta: shape"),
        ("delta", lambda v: v[..., :0], "delta: got shape"),
        ("delta", poke(-5.0), r"delta \+ delta_bias: holds a negative step; .*delta_softplus"),
        ("A", lambda v: v.mT, r"A: shape \(3, 4\), takes \(D, N\) with D = 4"),
        ("A", poke(0.0), "A: holds a rate that is not negative"),
        ("B", lambda v: v[..., :-1], r"B: shape .* takes \(B, N, L\) = \(2, 3, 9\)"),
        ("B", lambda v: v + 0j, "B: dtype torch.complex128, but A is real"),
        ("B", lambda v: v[:, None].expand(-1, 3, -1, -1), "B: 3 groups"),
        ("C", lambda v: v[0, :, :4], r"C: shape \(3, 4\), takes \(D, N\) = \(4, 3\)"),
        ("C", poke(math.inf), "C: holds NaN or infinity"),
        ("D", lambda v: v[:3], r"D: shape \(3,\), takes \(D,\) = \(4,\)"),
        ("D", lambda v: 1.0, "D: got 1.0"),
        ("z", lambda v: v[0], "z: shape"),
        ("z", poke(math.nan), "z: holds NaN"),
        ("delta_bias", lambda v: v[:, None], "delta_bias: shape"),
        ("delta_bias", lambda v: v.int(), "delta_bias: got dtype torch.int32"),
        ("initial_state", lambda v: v[..., :2], r"initial_state: shape .* \(B, D, N\) = "),
        ("initial_state", lambda v: v + 0j, "initial_state: dtype torch.complex128, but A is real"),
        ("resets", lambda v: v.int(), "resets: got dtype torch.int32"),
        ("resets", lambda v: v[0], "resets: got shape"),
        ("resets", lambda v: [0, 4], r"resets: got \[0, 4\]"),
    ],
)
def test_bad_input_is_named(name, change, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        s6.selective_scan(**changed(name, change))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("A", lambda v: -v, "A: holds a real part of a rate that is not negat"),
        ("A", lambda v: v * math.nan, "A: holds NaN"),
        ("A", lambda v: v.to(torch.complex64), "A: dtype torch.float32 does not go with delta's"),
        (
            "B",
            lambda v: v[..., :LENGTH],
            r"B: shape .* takes \(B, N, 2 L\) = \(2, 3, 18\), real and",
        ),
        ("C", lambda v: v + 0j, r"C: shape \(2, 3, 18\), takes \(B, N, L\) = \(2, 3, 9\)"),
    ],
)
def test_bad_complex_input_is_named(name, change, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        s6.selective_scan(**changed(name, change, "complex"))


@pytest.mark.filterwarnings("ignore:ComplexHalf")
def test_half_precision_has_no_complex_numbers():
    values = changed("A", lambda v: v.to(torch.complex32), "complex")
    with pytest.raises(
        ValueError, match="^A: dtype torch.complex32, takes complex64 or complex128"
    ):
        s6.selective_scan(**values)


def test_a_step_is_negative_only_once_bias_and_softplus_are_applied():
    values = problem(9, "real", torch.float64, flags=("delta_bias",))
    values["delta"] = values["delta"] - 0.1
    values["delta_bias"] = values["delta_bias"] + 0.2
    assert s6.selective_scan(**values).isfinite().all()
    values["delta"] = values["delta"] - 3
    assert s6.selective_scan(**values, delta_softplus=True).isfinite().all()
    values["delta_bias"] = None
    with pytest.raises(ValueError, match="^delta: holds a negative step"):
        s6.selective_scan(**values)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_steps_are_softplus_of_the_biased_projection(dtype):
    delta = torch.linspace(-90, 90, 24).to(dtype).reshape(2, 4, 3).mT
    bias = torch.tensor([0.5, -0.25, 0.0]).to(dtype)
    found = s6.steps(delta, bias)
    exact = torch.log1p(torch.exp(-(delta + bias[:, None]).double().abs()))
    exact += (delta + bias[:, None]).double().clamp(min=0)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert found.dtype == wide
    assert found.stride() == delta.stride()
    if dtype != torch.bfloat16:  # in which the sum that `exact` is made of is rounded
        # exp turns the sum's rounding, of numbers up to 91, into a relative error; and above 20
        # torch leaves the logarithm out.
        tolerance = 100 * torch.finfo(wide).eps + math.exp(-20) / 20
        assert float(((found - exact) / exact).abs().max()) < tolerance


@pytest.mark.parametrize(
    ("delta", "bias"),
    [
        (torch.ones(1, 3, 2), torch.ones(2)),
        (torch.ones(3, 2), torch.ones(3)),
        (torch.ones(1, 3, 2), torch.ones(3, dtype=torch.int64)),
    ],
)
def test_steps_refuse_what_does_not_fit(delta, bias):
    with pytest.raises(ValueError, match="delta"):
        s6.steps(delta, bias)
