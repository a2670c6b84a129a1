"""One token's key taken out of a model: against the dense matrices, and what must not change."""

import copy
import functools
import itertools

import hybrids
import pytest
import test_sinks_vision
import torch
from test_sinks_capture import FAMILIES, VOCABULARY, build
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from tokensphere import s6
from tokensphere.sinks import ablate
from tokensphere.sinks.ablation.answers import answers
from tokensphere.sinks.ablation.sweep import sweep
from tokensphere.sinks.capture import capture
from tokensphere.sinks.mixers import find
from tokensphere.sinks.walk import find_mixers

transformers = pytest.importorskip("transformers")

LENGTHS = [9, 6]
SIDES = ["left", "right", None]


def prompts(side, lengths=LENGTHS, seed=1):
    """A batch, padded on one side with ids that mean something; None for no padding at all."""
    g = torch.Generator().manual_seed(seed)
    length = max(lengths)
    ids = torch.randint(VOCABULARY, (len(lengths), length), generator=g)
    if side is None:
        return {"input_ids": ids}
    positions, counts = torch.arange(length).expand_as(ids), torch.tensor(lengths)[:, None]
    mask = positions < counts if side == "right" else positions >= length - counts
    return {"input_ids": ids, "attention_mask": mask.long()}


def mask_of(inputs):
    return inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])).bool()


@torch.no_grad()
def dense(model, inputs, name, position, channels=None):
    """A mixer's output by its hidden attention, column `position` empty but for the diagonal:
    (B, L, hidden), one sequence and one direction at a time."""
    mixer = model.get_submodule(name)
    layers = [layer for layer in capture(model, inputs) if layer.name == name]
    mask = mask_of(inputs)
    values = layers[0].u.new_zeros(*mask.shape, layers[0].u.shape[1])
    beside = layers[0].beside
    if beside is not None:
        placed = beside.new_zeros(*mask.shape, beside.shape[1])
        for row, length in enumerate(mask.sum(1).tolist()):
            placed[row, mask[row]] = beside[row, :, :length].T
        beside = placed
    for layer in layers:
        attention = s6.hidden_attention(*layer.tensors)
        for row, length in enumerate(mask.sum(1).tolist()):
            M = attention[row, :, :length, :length].clone()
            key = position % length
            key = length - 1 - key if layer.reverse else key
            chosen = range(len(M)) if channels is None else channels
            for channel in chosen:
                M[channel, key + 1 :, key] = 0
            u = layer.u[row, :, :length]
            mixed = torch.einsum("dlj,dpj->dpl", M, u.unflatten(0, (len(M), -1))).flatten(0, 1)
            mixed = mixed + layer.skip[:, None] * u
            if layer.gate is not None:
                mixed = layer.gate[row, :, :length] * mixed
            values[row, mask[row]] += (mixed.flip(1) if layer.reverse else mixed).T
    return find(mixer).read_out(mixer, values, beside, layers[0].u.dtype)


def with_output(model, name, output):
    """The model with what one of its mixers gives in place of what it would give."""
    changed = copy.deepcopy(model)
    changed.get_submodule(name).forward = lambda *args, **named: output
    return changed


def run(model, inputs):
    with torch.no_grad():
        return model(**inputs).logits


def key_at(position):
    """That token of each sequence."""
    return lambda lengths: (torch.full_like(lengths, position) % lengths)[:, None]


CASES = {name: functools.partial(build, name) for name in FAMILIES} | {
    name: functools.partial(hybrids.build, make) for name, make in hybrids.HYBRIDS.items()
}


@pytest.mark.parametrize(
    ("family", "side"),
    [
        *itertools.product(FAMILIES, SIDES),
        *((name, "left") for name in hybrids.HYBRIDS),
    ],
)
def test_a_layer_reads_what_the_matrix_without_the_column_gives(family, side):
    model, inputs = CASES[family](), prompts(side)
    own, real = run(model, inputs), mask_of(inputs)
    *_, last = find_mixers(model)
    for name, position in itertools.product(find_mixers(model), (0, 2, -1)):
        want = run(with_output(model, name, dense(model, inputs, name, position)), inputs)[real]
        got = answers(model, inputs, {name: key_at(position)}).logits
        if family in FAMILIES and name == last:  # nothing behind it reads other tokens
            assert torch.equal(got[~real], own[~real])
        got = got[real]
        # float32 rounding of sums of some 50 terms of order 1, through two layers.
        torch.testing.assert_close(got, want, atol=2e-5, rtol=1e-4)
        # There is something to take out, but behind a last token that all read forward.
        nothing = position == -1 and family != "typeseg"
        assert (float((got - own[real]).abs().max()) > 1e-4) is not nothing


@pytest.mark.parametrize("family", ["mamba", "mamba2", "typeseg"])
def test_in_float64_to_its_rounding(family):
    model, inputs = build(family).double(), prompts("left")
    name = next(iter(find_mixers(model)))
    want = run(with_output(model, name, dense(model, inputs, name, 1)), inputs)
    got = answers(model, inputs, {name: key_at(1)}).logits
    real = mask_of(inputs)
    # transformers' norms, gates and logits pass through float32.
    tolerance = 1e-12 if family == "typeseg" else 2e-6
    torch.testing.assert_close(got[real], want[real], atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("family", ["mamba", "mamba2", "typeseg"])
def test_some_channels(family):
    model, inputs, channels = build(family), prompts("right"), [3, 1]
    name = next(iter(find_mixers(model)))
    want = run(with_output(model, name, dense(model, inputs, name, 0, channels)), inputs)
    found = ablate(model, inputs, layers=name, channels=channels)
    kl = divergence(run(model, inputs), want)
    kl[~mask_of(inputs)] = torch.nan
    if family != "typeseg":
        kl[:, 0] = torch.nan
    torch.testing.assert_close(found.kl, kl, atol=1e-8, rtol=1e-2, equal_nan=True)
    whole = ablate(model, inputs, layers=name).kl
    assert not torch.allclose(found.kl, whole, rtol=0.1, equal_nan=True)


def divergence(own, ablated):
    p, q = (value.double().log_softmax(-1) for value in (own, ablated))
    return (p.exp() * (p - q)).sum(-1)


def test_a_layer_s_key_is_that_of_the_run_in_which_earlier_ones_are_ablated():
    model, inputs = build("mamba"), prompts("right")
    first, second = find_mixers(model)
    once = dense(model, inputs, first, 0)
    hooked = copy.deepcopy(model)
    hooked.get_submodule(first).register_forward_hook(lambda *_: once)
    want = run(with_output(hooked, second, dense(hooked, inputs, second, 0)), inputs)
    found = ablate(model, inputs)
    kl = divergence(run(model, inputs), want)
    torch.testing.assert_close(found.kl[0, 1:], kl[0, 1:], atol=1e-8, rtol=1e-2)


@pytest.mark.parametrize("family", ["mamba", "jamba", "mamba2"])
def test_what_is_compared_in_a_language_model(family):
    """Tokens behind the ablated one; the loss is that of each one's next token."""
    model, inputs = build(family), prompts("left")
    found = ablate(model, inputs, 2)
    ids, mask = inputs["input_ids"], mask_of(inputs)
    own, ablated = (
        answers(model, inputs, plan).logits
        for plan in ({}, dict.fromkeys(find_mixers(model), key_at(2)))
    )
    for row, length in enumerate(LENGTHS):
        real = mask[row]
        kl = divergence(own[row, real], ablated[row, real])
        torch.testing.assert_close(found.kl[row, 3:length], kl[3:])
        assert bool(found.kl[row, :3].isnan().all() and found.kl[row, length:].isnan().all())
        # What comes before is what it was, but for rounding.
        assert float(kl[:3].max()) < 1e-12
        for value, logits in ((found.before, own), (found.after, ablated)):
            losses = -logits[row, real].double().log_softmax(-1)
            want = losses[:-1].gather(1, ids[row, real][1:, None])[:, 0]
            torch.testing.assert_close(value[row, 3 : length - 1], want[3:])
            assert bool(value[row, length - 1 :].isnan().all())
    means = found.prompts()
    torch.testing.assert_close(means["loss"], (found.after - found.before).nanmean(1))
    estimate = found.estimates()["kl"]
    assert estimate["mean"] == pytest.approx(float(means["kl"].mean()))
    assert estimate["low"] < estimate["mean"] < estimate["high"]


def test_prompts_of_a_batch_are_as_each_alone():
    model, inputs = build("mamba2"), prompts("left")
    found = ablate(model, inputs, 1)
    for row, length in enumerate(LENGTHS):
        ids = inputs["input_ids"][row : row + 1, -length:]
        alone = ablate(model, ids, 1)
        for name in ("kl", "before", "after"):
            got, want = getattr(found, name)[row, :length], getattr(alone, name)[0]
            torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-3, equal_nan=True)


def test_of_a_model_that_reads_both_ways_all_tokens_and_no_next_one():
    model, inputs = build("typeseg"), prompts("right")
    found = ablate(model, inputs, 2)
    assert found.loss is None and set(found.prompts()) == {"kl"}
    assert torch.equal(~found.kl.isnan(), mask_of(inputs))
    labels = torch.randint(7, (2, 9), generator=torch.Generator().manual_seed(3))
    labels[0, 4] = -100
    labelled = ablate(model, inputs, 2, labels=labels)
    known = mask_of(inputs) & (labels != -100)
    assert torch.equal(~labelled.before.isnan(), known)
    want = nn.functional.cross_entropy(run(model, inputs).double()[known], labels[known])
    torch.testing.assert_close(labelled.before.nanmean(), want)


def test_both_directions_lose_the_same_token():
    """With the sequence turned round, the token is as far from its end."""
    model, ids = build("typeseg"), prompts(None)["input_ids"]
    for block in model.blocks:  # a convolution that looks both ways alike, so that all is symmetric
        weight = block.mixer.conv1d.weight.data
        weight.copy_(torch.zeros_like(weight).index_fill_(2, torch.tensor(1), 1.0))
    forth, back = ablate(model, ids, 3), ablate(model, ids.flip(1), -4)
    torch.testing.assert_close(forth.kl, back.kl.flip(1), atol=1e-9, rtol=1e-3)


class Flipped(nn.Module):
    """A mixer that gets the sequence from its end, padding at the front."""

    def __init__(self, mixer):
        super().__init__()
        self.mixer = mixer

    def forward(self, hidden, attention_mask=None, **_):
        mask = None if attention_mask is None else attention_mask.flip(1)
        return self.mixer(hidden.flip(1), attention_mask=mask).flip(1)


def test_a_flipped_mixer_loses_the_token_of_the_sequence():
    model = build("mamba")
    block = model.backbone.layers[1]
    block.mixer = Flipped(block.mixer)
    ids = prompts(None)["input_ids"]
    name = "backbone.layers.1.mixer.mixer"
    keys = {name: key_at(5)}
    own, ablated = answers(model, ids), answers(model, ids, keys)
    assert own.directions == (("backbone.layers.0.mixer", False), (name, True))
    assert own.labels is None  # it has seen the next tokens
    moved = (own.logits - ablated.logits).abs().amax((0, 2)) > 0
    assert moved.tolist() == [True] * 5 + [False] * 4


def test_without_a_contribution_the_model_says_the_same_to_the_bit():
    for family in ("mamba", "mamba2", "typeseg"):
        model, inputs = build(family), prompts("right")
        with torch.no_grad():
            for mixer in find_mixers(model).values():
                mixer.conv1d.weight.zero_()
                mixer.conv1d.bias.zero_()  # u is act(0) = 0
        own, ablated = (
            answers(model, inputs),
            answers(model, inputs, dict.fromkeys(find_mixers(model), key_at(0))),
        )
        assert torch.equal(own.logits, ablated.logits)
        assert bool((ablate(model, inputs).prompts()["kl"] == 0).all())


def test_the_model_is_left_as_it_was():
    model, inputs = build("mamba").train(), prompts("right")
    model.backbone.layers[0].eval()
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    hooks = [len(module._forward_hooks) for module in model.modules()]
    state = torch.get_rng_state()
    ablate(model, inputs, -1)
    sweep(model, [inputs])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert torch.equal(torch.get_rng_state(), state)


def test_long_sequences_take_no_matrix(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("an L x L matrix")

    for name in ("hidden_attention", "attention_rows"):
        monkeypatch.setattr(s6, name, refuse)
    model = build("typeseg")
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            found = function(*args, **(kwargs or {}))
            for each in pytree.tree_leaves(found):
                if isinstance(each, torch.Tensor):
                    largest = max(largest, each.numel())
            return found

    length = 2048
    ids = torch.randint(VOCABULARY, (1, length), generator=torch.Generator().manual_seed(0))
    with Watch():
        found = ablate(model, ids, layers="blocks.1.mixer")
    assert bool(found.kl.isfinite().all())
    # Some 20 channels of 5 states; a matrix would have 2,048 numbers a token.
    assert largest <= 128 * length


def test_in_half_precision():
    model, inputs = build("jamba"), prompts("right")
    want = ablate(model, inputs, 1).prompts()["kl"]
    found = ablate(model.bfloat16(), inputs, 1).prompts()["kl"]
    # bfloat16 keeps 8 bits; effects of 1e-5 nats drown, one of 1e-3 or more does not.
    torch.testing.assert_close(found, want, atol=1e-4, rtol=0.2)


def test_a_class_that_the_model_rules_out_adds_nothing():
    ids, backbone = prompts(None)["input_ids"], build("mamba").backbone
    ruled_out = torch.tensor([0.0] * 11 + [-torch.inf])
    without = ablate(Wrapped(backbone, lambda states: states[..., :-1]), ids)
    found = ablate(Wrapped(backbone, lambda states: states + ruled_out), ids)
    torch.testing.assert_close(found.kl, without.kl, equal_nan=True)


@pytest.mark.parametrize("make", [None, test_sinks_vision.Vision], ids=["s6", "mambavision"])
def test_images(make):
    """What is no sequence of tokens: one answer each, positions of what each mixer reads."""
    if make is None:
        model, images = test_sinks_vision.s6_classifier()
    else:
        model, images = hybrids.build(make), test_sinks_vision.IMAGES
    found = ablate(model, images, 1)
    assert found.kl.shape[1] == 1 and bool((found.kl > 0).all()) and found.loss is None
    with pytest.raises(ValueError, match="^position: got 4, takes -4 to 3"):
        ablate(model, images, 4)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"position": 6}, "position: got 6, takes -6 to 5 as the shortest sequence has 6 tokens"),
        ({"position": -7}, "position: got -7, takes -6 to 5"),
        ({"position": 0.0}, "position: got 0.0, takes a whole number"),
        ({"position": True}, "position: got True"),
        ({"layers": []}, "layers: got none, takes names of mixers such as backbone.layers.0.mixer"),
        ({"layers": "backbone"}, "layers: got backbone, takes names"),
        ({"channels": []}, r"channels: got \[\], takes numbers from 0 to 23"),
        ({"channels": [24]}, r"channels: got \[24\], takes numbers from 0 to 23"),
        ({"channels": [-1]}, r"channels: got \[-1\]"),
        ({"labels": torch.zeros(2, 8).long()}, r"labels: got \(2, 8\), takes integers \(2, 9\)"),
        ({"labels": torch.zeros(2, 9)}, "labels: got dtype torch.float32"),
        ({"labels": torch.full((2, 9), 40)}, "labels: takes classes from 0 to 39, or -100"),
        ({"labels": torch.full((2, 9), -100)}, "labels: takes classes"),
    ],
)
def test_bad_arguments_are_named(named, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ablate(build("mamba"), prompts("right"), **named)


class Wrapped(nn.Module):
    """What a model's own forward makes of a backbone's states."""

    def __init__(self, backbone, answer):
        super().__init__()
        self.backbone, self.answer = backbone, answer

    def forward(self, input_ids):
        return self.answer(self.backbone(input_ids).last_hidden_state)


def test_what_gives_no_distribution_is_refused():
    ids, backbone = prompts(None)["input_ids"], build("mamba").backbone
    with pytest.raises(
        ValueError, match="^model: MambaModel gives no logits, takes a language mod"
    ):
        ablate(backbone, ids)
    with pytest.raises(ValueError, match="with at least two classes"):
        ablate(Wrapped(backbone, lambda states: states[:, -1, :1]), ids)
    with pytest.raises(ValueError, match=r"^model: gives logits of shape \(2, 8, 12\)"):
        ablate(Wrapped(backbone, lambda states: states[:, 1:]), ids)
    with pytest.raises(
        ValueError, match="^model: the logits of Wrapped are not finite; all weights"
    ):
        ablate(Wrapped(backbone, lambda states: states / 0), ids)
    # Each token gets the mean of all, although every mixer reads forward.
    mean = Wrapped(backbone, lambda states: states + states.mean(1, keepdim=True))
    with pytest.raises(ValueError, match="takes a causal model, or one answer a sequence"):
        ablate(mean, ids, 1)


def test_one_answer_a_sequence():
    ids, backbone = prompts(None)["input_ids"], build("mamba").backbone
    model = Wrapped(backbone, lambda states: states[:, -1])
    found = ablate(model, ids, 3, labels=torch.tensor([4, 11]))
    assert found.kl.shape == found.loss.shape == (2, 1) and bool((found.kl > 0).all())
    assert ablate(model, ids).loss is None
    swept = sweep(model, [ids])
    assert swept.counted == "one" and swept.tokens.tolist() == [1, 1]
    torch.testing.assert_close(swept.together["kl"][2], ablate(model, ids, 2).kl[:, 0])
