"""Held signs on a GPU: as on the CPU, under autocast, compiled, in mamba-ssm: see gpu.py."""

import pytest
import torch

from tokensphere import refine
from tokensphere.refine import InputOutput

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning"),
]

HELD = [
    InputOutput(sign, form=form)
    for sign in ("positive", "negative", "mixed", "free")
    for form in ("rows", "trapezoid")
]


def model(held: InputOutput) -> torch.nn.Module:
    from transformers import MambaConfig, MambaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "state_size": 8, "num_hidden_layers": 2, "vocab_size": 50}
    found = MambaForCausalLM(MambaConfig(**sizes, use_cache=False))
    refine.constrain(found, held)
    return found


def tokens() -> torch.Tensor:
    return torch.randint(50, (2, 20), generator=torch.Generator().manual_seed(1))


def signs(one: torch.nn.Module) -> list[tuple[int, int]]:
    found = []
    for mixer in refine.find_mixers(one).values():
        signature = refine.signature(*refine.projections(mixer))
        found.append((signature.positive, signature.negative))
    return found


@pytest.mark.parametrize("held", HELD, ids=lambda held: f"{held.sign}-{held.form}")
def test_the_weight_and_its_gradient_are_those_of_the_cpu(held):
    # The weight alone: with causal_conv1d installed transformers' models run on a GPU only.
    found = {}
    for device in ("cpu", "cuda"):
        mixer = next(iter(refine.find_mixers(model(held)).values())).to(device)
        weight = mixer.x_proj.weight
        weight.square().sum().backward()
        gradients = [value.grad.cpu() for value in mixer.x_proj.parameters()]
        found[device] = [weight.detach().cpu(), *gradients]
    for here, there in zip(found["cpu"], found["cuda"], strict=True):
        assert torch.allclose(here, there, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("sign", ["positive", "negative", "mixed"])
def test_training_under_autocast_keeps_the_signs(sign, compiled):
    # In evaluation, for then transformers scans with mamba-ssm's kernel without causal_conv1d too;
    # there is no dropout.
    one = model(InputOutput(sign)).cuda().eval()
    expected = {"positive": (8, 0), "negative": (0, 8), "mixed": (4, 4)}[sign]
    step = torch.compile(one) if compiled else one
    adam = torch.optim.AdamW(one.parameters(), lr=0.05)
    batch = tokens().cuda()
    for _ in range(5):
        with torch.autocast("cuda", torch.bfloat16):
            loss = step(batch, labels=batch).loss
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert torch.isfinite(loss)
    assert signs(one) == [expected] * 2


def test_the_layer_of_mamba_ssm():
    mamba_ssm = pytest.importorskip("mamba_ssm", reason="needs mamba-ssm")
    torch.manual_seed(0)
    layer = mamba_ssm.Mamba(32, d_state=8).cuda()
    u = torch.randn(2, 20, 32, device="cuda")
    refine.constrain(layer, InputOutput("positive"))
    held = layer(u)
    held.sum().backward()
    assert signs(layer) == [(8, 0)]
    refine.release(layer)
    assert torch.allclose(layer(u), held, rtol=1e-5, atol=1e-6)
