"""Fields, ends and sums on a GPU against the CPU: python -m pytest tests/test_gpu.py"""

import pytest
import torch
from test_sinks_ablation import prompts
from test_sinks_capture import build

from tokensphere import first_token, flow, other_tokens, s6, sinks
from tokensphere.paper import survey

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_fields_and_simulation():
    g = torch.Generator().manual_seed(0)
    S_BC, S_Delta, a = survey.draw("Gaussian", 5, 8, g)
    x = flow.random_tokens(8, 100, 5, generator=g)
    on_cpu = flow.MambaFlow(S_BC, S_Delta, a)
    on_gpu = flow.MambaFlow(S_BC.cuda(), S_Delta.cuda(), a.cuda())
    torch.testing.assert_close(on_gpu(x.cuda()).cpu(), on_cpu(x), rtol=0, atol=1e-12)
    times = torch.tensor([0.0, 1.0], dtype=torch.float64)
    ends = [
        flow.simulate(field, x0, times).tokens[-1].cpu()
        for field, x0 in ((on_cpu, x), (on_gpu, x.cuda()))
    ]
    # The tolerance of the integration, which steps alike on both but for rounding.
    torch.testing.assert_close(ends[1], ends[0], rtol=0, atol=1e-8)


def test_ends_of_first_tokens():
    g = torch.Generator().manual_seed(1)
    S_BC, S_Delta, _ = survey.draw("Gaussian", 4, 200, g)
    y0 = flow.random_tokens(200, 4, generator=g)
    on_cpu = first_token.settle(S_BC, S_Delta, y0, horizon=160.0)
    on_gpu = first_token.settle(S_BC.cuda(), S_Delta.cuda(), y0.cuda(), horizon=160.0)
    same = on_gpu.kind.cpu() == on_cpu.kind
    # One on the edge of a criterion may be known a check earlier on either.
    assert int((~same).sum()) <= 2
    torch.testing.assert_close(on_gpu.point.cpu()[same], on_cpu.point[same], rtol=0, atol=1e-4)


def test_equilibria_and_their_spectra():
    g = torch.Generator().manual_seed(2)
    S_BC, S_Delta, _ = (value[0] for value in survey.draw("Gaussian", 5, 1, g))
    here = first_token.equilibria(S_BC, S_Delta)
    there = first_token.equilibria(S_BC.cuda(), S_Delta.cuda())
    assert [(e.support, e.kind, e.stability) for e in there] == [
        (e.support, e.kind, e.stability) for e in here
    ]
    for a, b in zip(here, there, strict=True):
        torch.testing.assert_close(b.point.cpu(), a.point, rtol=0, atol=1e-10)
        torch.testing.assert_close(b.eigenvalues.cpu(), a.eigenvalues, rtol=0, atol=1e-9)
    S_Delta[:, 1] = S_Delta[:, 0]
    here = first_token.equilibria(S_BC, S_Delta)
    there = first_token.equilibria(S_BC.cuda(), S_Delta.cuda())
    assert [(e.support, e.kind) for e in there] == [(e.support, e.kind) for e in here]


def test_predicted_limits():
    g = torch.Generator().manual_seed(3)
    S_BC, S_Delta, _ = survey.draw("identity", 3, 5, g)
    y0 = flow.random_tokens(5, 3, generator=g)
    for B, step, y in zip(S_BC, S_Delta, y0, strict=True):
        here = first_token.predict_limit(B, step, y)
        there = first_token.predict_limit(B.cuda(), step.cuda(), y.cuda())
        assert (there.kind, there.argument) == (here.kind, here.argument)
        if here.point is not None:
            torch.testing.assert_close(there.point.cpu(), here.point, rtol=0, atol=1e-9)


def test_consensus():
    g = torch.Generator().manual_seed(4)
    x1, signs = flow.random_tokens(4, generator=g), torch.tensor([1.0, -1.0, 1.0])
    S_BC, alpha = torch.eye(4, dtype=torch.float64), torch.randn(4, generator=g).double()
    here = flow.SharedStepFlow(S_BC, alpha, 1.0)
    there = flow.SharedStepFlow(S_BC.cuda(), alpha.cuda(), 1.0)
    want = other_tokens.consensus_rate(here, x1, signs)
    got = other_tokens.consensus_rate(there, x1.cuda(), signs.cuda())
    torch.testing.assert_close(got.rates, want.rates)
    assert torch.equal(got.powers, want.powers)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_s6_layer(dtype):
    g = torch.Generator().manual_seed(2)
    u, delta = torch.randn(2, 2, 6, 64, generator=g, dtype=torch.float64)
    delta = torch.nn.functional.softplus(delta)
    A = -torch.randn(6, 4, generator=g, dtype=torch.float64).exp()
    B, C = torch.randn(2, 2, 4, 64, generator=g, dtype=torch.float64)
    values = [value.to(dtype) for value in (u, delta, A, B, C)]
    there = [value.cuda() for value in values]
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-2}[dtype]
    for function, skip in ((s6.scan, 0), (s6.hidden_attention, 1), (s6.column_sums, 1)):
        want = function(*values[skip:]).double()
        got = function(*there[skip:]).cpu().double()
        assert float((got - want).abs().max()) < tolerance * float(want.abs().max())


def column_sum_arguments(batch, channels, groups, states, length, dtype, layout="BDL"):
    g = torch.Generator().manual_seed(5)
    delta = torch.nn.functional.softplus(torch.randn(batch, channels, length, generator=g) - 3)
    if layout == "BLD":
        delta = delta.mT.contiguous().mT
    A = -torch.randn(channels, states, generator=g).exp()
    B, C = torch.randn(2, batch, groups, states, length, generator=g)
    return [value.to(dtype) for value in (delta, A, B, C)]


# Each line is compiled on its own, a second and more.
@pytest.mark.parametrize(
    ("sizes", "shared", "weighted", "layout", "dtype"),
    [
        ((1, 64, 1, 16, 1024), False, False, "BDL", torch.float32),  # whole blocks of everything
        ((1, 64, 1, 16, 1024), False, False, "BDL", torch.bfloat16),
        ((1, 64, 1, 16, 1024), True, True, "BLD", torch.float32),
        ((2, 48, 3, 16, 77), False, True, "BDL", torch.float32),
        ((2, 48, 3, 16, 77), True, False, "BLD", torch.bfloat16),
        ((1, 5, 1, 3, 1), False, True, "BDL", torch.float32),
        ((1, 1, 1, 1, 2), True, False, "BDL", torch.float32),
        ((3, 20, 2, 130, 19), True, False, "BDL", torch.float32),
        ((3, 20, 2, 130, 19), False, True, "BLD", torch.float32),
    ],
)
def test_the_fused_column_sums(sizes, shared, weighted, layout, dtype):
    values = column_sum_arguments(*sizes, dtype, layout)
    batch, channels, _, states, length = sizes
    if shared:
        values[1] = values[1][:, :1].expand(-1, states)
    if weighted:
        values.append(torch.linspace(-1, 1, length).to(dtype).expand(batch, channels, length))
    want = s6.column_sums(*[value.double() for value in values])
    got = s6.column_sums(*[value.cuda() for value in values])
    assert got.dtype == dtype
    # float32: a few roundings a token; bfloat16: the result's own.
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 2**-8}[dtype]
    assert float((got.cpu().double() - want).abs().max()) < tolerance * float(want.abs().max())


@pytest.mark.parametrize("sizes", [(2, 8192, 33), (1, 5, 1), (3, 1025, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_fused_steps(sizes, dtype):
    batch, channels, length = sizes
    g = torch.Generator().manual_seed(6)
    # From where exp leaves float32's normal numbers to beyond where torch takes the identity.
    delta = (30 * torch.randn(batch, length, channels, generator=g)).clamp(-80, 80).to(dtype).mT
    bias = torch.randn(channels, generator=g).to(dtype)
    want = torch.nn.functional.softplus(delta.double() + bias.double()[:, None])
    got = s6.steps(delta.cuda(), bias.cuda())
    assert got.dtype == torch.float32
    assert got.stride() == delta.stride()
    # In float32: of the sum, which exp makes relative, and of three functions.
    largest = float(delta.abs().max()) + 4
    assert float(((got.cpu().double() - want) / want).abs().max()) < 2**-23 * (largest + 8)
    # Laid out otherwise, torch's two passes serve.
    other = s6.steps(delta.contiguous().cuda(), bias.cuda())
    torch.testing.assert_close(other, got, rtol=2**-22 * largest, atol=0)


def test_the_fused_column_sums_at_a_layer_of_7b():
    values = column_sum_arguments(1, 512, 1, 16, 4096, torch.float32)
    want = s6.column_sums(*[value.double() for value in values])
    got = s6.column_sums(*[value.cuda() for value in values]).cpu().double()
    assert float((got - want).abs().max()) < 1e-5 * float(want.abs().max())


@pytest.mark.parametrize("name", ["delta", "A", "B", "C"])
def test_the_fused_column_sums_pass_no_bad_value_for_a_result(name):
    values = dict(
        zip(
            ("delta", "A", "B", "C"),
            column_sum_arguments(1, 8, 1, 4, 40, torch.float32),
            strict=True,
        )
    )
    bad = {"delta": -0.1, "A": 0.0, "B": float("nan"), "C": float("inf")}[name]
    values[name].view(-1)[3] = bad
    got = s6.column_sums(**{key: value.cuda() for key, value in values.items()})
    assert not torch.isfinite(got).all()
    with pytest.raises(ValueError, match=f"^{name}:"):
        s6.column_sums(**values)


def test_a_gradient_is_still_to_be_had():
    values = [value.cuda() for value in column_sum_arguments(1, 4, 1, 3, 9, torch.float32)]
    values[0].requires_grad_()
    s6.column_sums(*values).sum().backward()
    assert torch.isfinite(values[0].grad).all()


@pytest.mark.parametrize("family", ["Mamba", "FalconMamba", "Mamba2"])
def test_capture_on_the_gpu(family):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 50, "state_size": 16}
    if family == "Mamba2":
        sizes |= {"num_heads": 8, "head_dim": 16, "n_groups": 1}
    torch.manual_seed(6)
    config = getattr(transformers, f"{family}Config")(**sizes)
    model = getattr(transformers, f"{family}ForCausalLM")(config).cuda().eval()
    ids = torch.randint(50, (3, 40), device="cuda")
    mask = torch.ones_like(ids)
    mask[0, :7] = 0
    errors = sinks.check(model, {"input_ids": ids, "attention_mask": mask})
    # Mamba-2's kernel multiplies blocks in TF32: 2^-11 an operand.
    assert max(errors.values()) < (1e-5 if family != "Mamba2" else 2e-3)
    # Each layer once with the kernel and once without, which float64 does not take.
    for layer in sinks.capture(model, ids):
        delta, A, B, C = layer.tensors
        want = s6.column_sums(*[value.double() for value in (delta, A, B, C)])
        got = s6.column_sums(delta, A, B, C).double()
        assert float((got - want).abs().max()) < 1e-5 * float(want.abs().max())


@pytest.mark.parametrize("side", [None, "left", "right"])
def test_an_ablation_of_a_model_that_reads_both_ways(side):
    # Of our own, for kernels that transformers' models take where they are installed know no CPU.
    model, inputs = build("typeseg"), prompts(side)
    want = sinks.ablate(model, inputs, 1)
    got = sinks.ablate(model.cuda(), {name: value.cuda() for name, value in inputs.items()}, 1)
    # Differences of logits: float32's rounding of both.
    torch.testing.assert_close(got.kl.cpu(), want.kl, rtol=1e-3, atol=1e-6, equal_nan=True)
