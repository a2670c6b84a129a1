"""Tied input and output maps: what they hold, in which models, and through what a training does."""

import copy
import os

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from tokensphere import refine
from tokensphere.refine import InputOutput, constrain, release
from tokensphere.refine.averaging import effective_tokens
from tokensphere.refine.reflection import reflect

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")

STATES, WIDTH = 4, 12


def mamba(seed=0, **changes):
    from transformers import MambaConfig, MambaForCausalLM

    torch.manual_seed(seed)
    sizes = {"hidden_size": WIDTH, "state_size": STATES, "num_hidden_layers": 2, "vocab_size": 20}
    return MambaForCausalLM(MambaConfig(**sizes, use_cache=False, **changes))


def falcon():
    from transformers import FalconMambaConfig, FalconMambaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "state_size": STATES, "num_hidden_layers": 2, "vocab_size": 20}
    return FalconMambaForCausalLM(FalconMambaConfig(**sizes, use_cache=False))


def jamba():
    from transformers import JambaConfig, JambaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "mamba_d_state": STATES, "num_hidden_layers": 2, "vocab_size": 20}
    attention = {"num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 8}
    every = {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2}
    return JambaForCausalLM(
        JambaConfig(**sizes, **attention, **every, num_experts=2, use_mamba_kernels=False)
    )


class Mamba(nn.Module):
    """As far as this library reads it, the mixer of mamba-ssm."""

    def __init__(self, bias=False, states=STATES):
        super().__init__()
        self.dt_rank, self.d_state = 2, states
        self.x_proj = nn.Linear(WIDTH, 2 + 2 * states, bias=bias)
        self.A_log = nn.Parameter(torch.zeros(WIDTH, states))

    def forward(self, x):
        return self.x_proj(x).sum()


Mamba.__module__, Mamba.__qualname__ = "mamba_ssm.modules.mamba_simple", "Mamba"


def kinds(model):
    return {
        refine.signature(*refine.projections(mixer)).kind
        for mixer in refine.find_mixers(model).values()
    }


def step(model, optimiser=None, seed=0):
    g = torch.Generator().manual_seed(seed)
    tokens = torch.randint(20, (2, 8), generator=g)
    model(tokens, labels=tokens).loss.backward()
    if optimiser:
        optimiser.step()
        optimiser.zero_grad()


def adam(model):
    return torch.optim.Adam(model.parameters(), lr=0.3)


@pytest.mark.parametrize("make", [mamba, falcon, jamba, lambda: nn.Sequential(Mamba(), Mamba())])
@pytest.mark.parametrize("form", ["rows", "trapezoid"])
@pytest.mark.parametrize("sign", ["positive", "negative", "mixed"])
def test_signs_and_rank_are_those_asked_for(make, form, sign):
    model = make()
    assert kinds(model) == {"mixed"}
    names = constrain(model, InputOutput(sign, rank=STATES, form=form))
    assert names == list(refine.find_mixers(model))
    for mixer in refine.find_mixers(model).values():
        found = refine.signature(*refine.projections(mixer))
        expected = {"positive": (4, 0), "negative": (0, 4), "mixed": (2, 2)}[sign]
        assert (found.positive, found.negative) == expected


@pytest.mark.parametrize("form", ["rows", "trapezoid"])
def test_large_steps_of_training_keep_the_signs_and_only_those(form):
    for sign, expected in {"positive": "positive", "free": "mixed"}.items():
        model = mamba()
        constrain(model, InputOutput(sign, form=form, offset=0.0))
        assert kinds(model) == {"positive"}
        optimiser = adam(model)
        before = [value.detach().clone() for value in model.parameters()]
        for count in range(12):
            step(model, optimiser, count)
        moved = [not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
        assert all(moved)
        # Free, d crosses zero in one of the layers at least.
        assert expected in kinds(model)
        assert (kinds(model) == {"positive"}) == (sign == "positive")


def test_the_start_keeps_the_rows_norms_and_the_steps_rows():
    model = mamba()
    before = copy.deepcopy(model)
    constrain(model, InputOutput("negative"))
    for own, other in zip(
        refine.find_mixers(model).values(), refine.find_mixers(before).values(), strict=True
    ):
        for value, expected in zip(refine.projections(own), refine.projections(other), strict=True):
            # float32 through softplus and its inverse.
            assert torch.allclose(value.norm(dim=1), expected.norm(dim=1), rtol=1e-5)
        rank = own.time_step_rank
        assert torch.equal(own.x_proj.weight[:rank], other.x_proj.weight[:rank])
        assert torch.equal(refine.projections(own)[1], refine.projections(other)[1])


def test_the_trapezoid_is_that_of_the_public_code():
    model = nn.Sequential(Mamba())
    weight = model[0].x_proj.weight.detach().clone()
    B, C = weight[2:6], weight[6:]
    U = torch.zeros_like(B)
    for row in range(STATES):
        U[row, row] = 1
        U[row, row + 1 :] = B[row, row + 1 :]
    softplus = torch.log1p(torch.exp(C[:, 0]))
    half = torch.tensor([1.0, 1.0, -1.0, -1.0])
    for held, d in {
        InputOutput("positive", form="trapezoid"): softplus + 0.7,
        InputOutput("negative", form="trapezoid"): -softplus - 0.7,
        InputOutput("mixed", form="trapezoid"): half * softplus,
        InputOutput("mixed", form="trapezoid", offset=0.7): half * (softplus + 0.7),
        InputOutput("mixed", form="trapezoid", positive=2): half * softplus,
        InputOutput("free", form="trapezoid"): softplus + 0.7,
    }.items():
        own = nn.Sequential(Mamba())
        own[0].x_proj.weight.data.copy_(weight)
        constrain(own, held)
        S_B, S_C = refine.projections(own[0])
        assert torch.equal(S_C, U)
        assert torch.allclose(S_B, d[:, None] * U, atol=1e-6)
        assert torch.equal(own[0].x_proj.weight[:2], weight[:2])


def test_offset_and_count_of_positive_signs():
    model = nn.Sequential(Mamba())
    constrain(model, InputOutput("mixed", positive=3, offset=5.0))
    S_B, S_C = refine.projections(model[0])
    d = (S_B / S_C).mean(1)
    assert d.sign().tolist() == [1, 1, 1, -1]
    # The quotients of norms are near 1: the offset is what is left, and no less.
    assert (d.abs() >= 5.0).all() and (d.abs() < 5.1).all()


def test_release_leaves_the_constrained_values_free():
    model = mamba()
    constrain(model, InputOutput("positive"))
    tokens = torch.arange(8)[None]
    before = model(tokens).logits
    names = release(model)
    assert names == list(refine.find_mixers(model))
    assert torch.equal(model(tokens).logits, before)
    assert list(model.state_dict()) == list(mamba().state_dict())
    assert kinds(model) == {"positive"}
    optimiser = adam(model)
    step(model, optimiser)
    assert kinds(model) == {"mixed"}
    with pytest.raises(ValueError, match="no mixer of this MambaForCausalLM is constrained"):
        release(model)


def test_a_constrained_weight_is_taken_up_again_as_it_was():
    model = mamba()
    constrain(model, InputOutput("positive"))
    step(model, adam(model))
    before = [refine.projections(mixer) for mixer in refine.find_mixers(model).values()]
    release(model)
    constrain(model, InputOutput("positive"))
    for pair, mixer in zip(before, refine.find_mixers(model).values(), strict=True):
        for value, expected in zip(refine.projections(mixer), pair, strict=True):
            assert torch.allclose(value, expected, rtol=1e-5, atol=1e-7)


def test_a_training_stopped_and_gone_on_with_is_one_that_did_not_stop(tmp_path):
    def start():
        model = mamba()
        constrain(model, InputOutput("mixed"))
        return model, adam(model)

    model, optimiser = start()
    for count in range(4):
        step(model, optimiser, count)
        if count == 1:
            state = {"model": model.state_dict(), "adam": optimiser.state_dict()}
            torch.save(state, tmp_path / "state.pt")
    other, again = start()
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    other.load_state_dict(state["model"])
    again.load_state_dict(state["adam"])
    for count in (2, 3):
        step(other, again, count)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_its_state_has_two_new_parameters_and_no_buffer():
    model = nn.Sequential(Mamba())
    constrain(model, InputOutput("positive"))
    stem = "0.x_proj.parametrizations.weight.original"
    assert set(model.state_dict()) == {"0.A_log", f"{stem}0", f"{stem}1"}
    assert model[0].x_proj.parametrizations.weight.original1.shape == (STATES,)
    assert copy.deepcopy(model)[0].x_proj.weight.equal(model[0].x_proj.weight)


def test_autocast_and_narrow_weights():
    model = mamba()
    constrain(model, InputOutput("positive"))
    with torch.autocast("cpu", torch.bfloat16):
        step(model)
        assert model.backbone.layers[0].mixer.x_proj.weight.dtype == torch.float32
    model = mamba().bfloat16()
    constrain(model, InputOutput("negative"))
    step(model)
    assert model.backbone.layers[0].mixer.x_proj.weight.dtype == torch.bfloat16
    assert kinds(model) == {"negative"}
    # Moved after, too.
    model = mamba()
    constrain(model, InputOutput("negative", offset=0.1))
    assert kinds(model.double()) == {"negative"}
    step(model)


def test_compiled_it_is_what_it_was():
    model = nn.Sequential(Mamba())
    constrain(model, InputOutput("positive"))
    x = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(0))
    model(x).backward()
    raw = model[0].x_proj.parametrizations.weight.original1
    expected, raw.grad = raw.grad.clone(), None
    # Graphs are captured whole; what the backend makes of them is not this library's.
    torch.compile(model, backend="aot_eager", fullgraph=True)(x).backward()
    assert torch.allclose(raw.grad, expected, rtol=1e-5)
    with torch.no_grad():
        raw += 1
    other = torch.compile(model, backend="aot_eager", fullgraph=True)
    assert torch.allclose(other(x), model(x), rtol=1e-5)


def _distributed(rank, folder):
    import torch.distributed as dist

    torch.set_num_threads(1)
    file = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=file, rank=rank, world_size=2)
    model = mamba(seed=rank)
    constrain(model, InputOutput("positive"))
    spread = nn.parallel.DistributedDataParallel(model)
    optimiser = adam(model)
    for count in range(2):
        step(spread, optimiser, 10 * rank + count)
    torch.save(model.state_dict(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_processes_train_one_model(tmp_path):
    torch.multiprocessing.spawn(_distributed, (str(tmp_path),), nprocs=2)
    states = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    model = mamba()
    constrain(model, InputOutput("positive"))
    model.load_state_dict(states[0])
    assert kinds(model) == {"positive"}
    assert not os.path.exists(tmp_path / "2.pt")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sign": "plus"}, "sign: got 'plus'"),
        ({"sign": "positive", "rank": 0}, "rank: got 0"),
        ({"sign": "positive", "rank": True}, "rank: got True"),
        ({"sign": "positive", "positive": 2}, "positive: for mixed signs only"),
        ({"sign": "mixed", "positive": 0}, "positive: got 0"),
        ({"sign": "mixed", "form": "upper"}, "form: got 'upper'"),
        ({"sign": "mixed", "offset": -1.0}, "offset: got -1.0"),
        ({"sign": "mixed", "offset": float("nan")}, "offset: got nan"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        InputOutput(**arguments)


def mamba2():
    from transformers import Mamba2Config, Mamba2ForCausalLM

    return Mamba2ForCausalLM(
        Mamba2Config(hidden_size=8, num_heads=2, head_dim=8, state_size=4, num_hidden_layers=1)
    )


def typeseg():
    from tokensphere.sinks.typeseg import Mixer

    return nn.Sequential(Mamba(), Mixer(8, 8, 4, 2, 3))


def twice():
    model = nn.Sequential(Mamba(), Mamba())
    constrain(nn.Sequential(model[1]), InputOutput("positive"))
    return model


def quantised():
    model = nn.Sequential(Mamba())
    model[0].x_proj = nn.Bilinear(2, 2, 2)
    return model


def empty_row():
    model = nn.Sequential(Mamba())
    model[0].x_proj.weight.data[7] = 0
    return model


@pytest.mark.parametrize(
    ("make", "held", "message"),
    [
        (mamba2, {}, "Mamba2Mixer, which is not supported"),
        (typeseg, {}, r"1 is a tokensphere\.sinks\.typeseg\.Mixer"),
        (lambda: nn.Linear(2, 2), {}, "Linear holds no selective mixer"),
        (lambda: "model", {}, "got str"),
        (twice, {}, r"1\.x_proj is parametrised already"),
        (lambda: nn.Sequential(Mamba(bias=True)), {}, "has a bias"),
        (quantised, {}, r"0\.x_proj is a Bilinear"),
        (empty_row, {}, "a row of zeros"),
        (lambda: nn.Sequential(Mamba()).to("meta"), {}, "not in memory"),
        (lambda: nn.Sequential(Mamba()), {"rank": 5}, "rank: got 5, but 0 has 4 states"),
        (lambda: nn.Sequential(Mamba()), {"sign": "mixed", "positive": 4}, "positive: got 4"),
        (lambda: nn.Sequential(Mamba(states=1)), {"sign": "mixed"}, "positive: got None"),
        (lambda: nn.Sequential(Mamba(states=13)), {"form": "trapezoid"}, "12 channels"),
    ],
)
def test_what_cannot_be_held_is_refused_by_name_and_left_alone(make, held, message):
    model = make()
    with pytest.raises(ValueError, match=message):
        constrain(model, InputOutput(**({"sign": "positive"} | held)))
    if isinstance(model, nn.Sequential):
        assert not parametrize.is_parametrized(model[0].x_proj)


def test_what_is_held_is_an_input_output():
    with pytest.raises(ValueError, match="held: got str"):
        constrain(nn.Sequential(Mamba()), "positive")
    with pytest.raises(ValueError, match="mixer: got a torch"):
        refine.projections(nn.Linear(2, 2))


def test_the_weights_of_a_normalisation_count():
    model = jamba()
    mixer = next(iter(refine.find_mixers(model).values()))
    constrain(model, InputOutput("positive"))
    assert kinds(model) == {"positive"}
    mixer.b_layernorm.weight.data[0] = -1.0
    assert kinds(model) == {"mixed"}


@pytest.mark.parametrize("make", [mamba, falcon])
def test_the_other_sign_of_a_layer_is_the_same_layer(make):
    model = make()
    constrain(model, InputOutput("positive"))
    step(model, adam(model))
    release(model)
    tokens = torch.arange(12)[None]
    before = model(tokens).logits
    for mixer in refine.find_mixers(model).values():
        reflect(mixer)
    assert kinds(model) == {"negative"}
    assert torch.equal(model(tokens).logits, before)
    # With the skip left as it was, it is another layer.
    mixer.D.data.neg_()
    assert not torch.allclose(model(tokens).logits, before, atol=1e-4)


def test_only_a_free_mixer_is_reflected():
    model = mamba()
    constrain(model, InputOutput("positive"))
    with pytest.raises(ValueError, match="its signs are held"):
        reflect(model.backbone.layers[0].mixer)
    with pytest.raises(ValueError, match="mixer: got a torch"):
        reflect(nn.Linear(2, 2))


def test_effective_tokens_counts_what_is_averaged():
    P = torch.zeros(3, 4, 4)
    P[0] = 0.25
    P[1] = torch.eye(4)
    P[2, :, :2] = 0.5
    assert torch.allclose(effective_tokens(P), torch.tensor([4.0, 1, 2])[:, None].expand(3, 4))
    with pytest.raises(ValueError, match="off 1 by"):
        effective_tokens(2 * P)
    with pytest.raises(ValueError, match="negative number"):
        effective_tokens(-P)
