"""A run of a model, mixer by mixer: compiled, wrapped, flipped, prompted models are answered right,
or refused by name."""

import functools
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from tokensphere import reorder, s6, sinks
from tokensphere.sinks.capture import capture, check, each_layer
from tokensphere.sinks.mixers import FAMILIES
from tokensphere.sinks.scores import importance
from tokensphere.sinks.typeseg import TypeSeg
from tokensphere.sinks.walk import walk

transformers = pytest.importorskip("transformers")


@torch.no_grad()
def language_model(layers=3, seed=0, **options):
    config = transformers.MambaConfig(
        vocab_size=40,
        hidden_size=12,
        state_size=5,
        num_hidden_layers=layers,
        time_step_rank=3,
        bos_token_id=0,
        eos_token_id=0,
        **options,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.MambaForCausalLM(config)
        for name, value in model.named_parameters():
            if value.ndim >= 2 and not name.endswith("A_log"):
                value.copy_(torch.randn(value.shape) / math.sqrt(value[0].numel()))
    return model.eval()


IDS = torch.randint(40, (2, 7), generator=torch.Generator().manual_seed(0))


def scores(layers):
    return [importance(layer) for layer in layers]


def assert_alike(found, wanted):
    assert len(found) == len(wanted) > 0
    for mine, theirs in zip(found, wanted, strict=True):
        # float32; compiled code may sum in another order.
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


class Prompted(nn.Module):
    """A model that puts two embeddings of its own before the batch's, as prompt tuning does."""

    def __init__(self, model):
        super().__init__()
        self.model, self.prompt = model, nn.Parameter(torch.randn(1, 2, 12))

    def forward(self, input_ids):
        embedded = self.model.get_input_embeddings()(input_ids)
        prompt = self.prompt.expand(len(input_ids), -1, -1)
        return self.model(inputs_embeds=torch.cat([prompt, embedded], 1), use_cache=False)


class Pair(nn.Module):
    """Blocks of two mixers, one on the sequence and one on its flip, with what lies between."""

    def __init__(self, mixers, masks=True):
        super().__init__()
        self.embedding = nn.Embedding(40, 12)
        self.ahead, self.back = nn.ModuleList(mixers[::2]), nn.ModuleList(mixers[1::2])
        self.norms = nn.ModuleList(nn.LayerNorm(12) for _ in self.ahead)
        self.masks = masks

    def forward(self, input_ids, attention_mask=None):
        hidden = self.embedding(input_ids)
        mask = attention_mask if self.masks else None
        flipped = None if mask is None else mask.flip(1)
        for norm, ahead, back in zip(self.norms, self.ahead, self.back, strict=True):
            x = norm(hidden)
            both = ahead(x, attention_mask=mask), back(x.flip(1), attention_mask=flipped).flip(1)
            hidden = hidden + both[0] + both[1]
        return hidden


def pair(**options):
    mixers = [block.mixer for block in language_model(layers=4).backbone.layers]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Pair(mixers, **options).eval()


# transformers' own code calls a cached function, which dynamo tells of.
DYNAMO = pytest.mark.filterwarnings("ignore:Dynamo detected a call")


@DYNAMO
def test_a_compiled_model_is_read_as_it_was_written():
    model = language_model()
    wanted = scores(capture(model, IDS))
    with torch.no_grad():
        whole = torch.compile(model, backend="aot_eager")
        whole(IDS, use_cache=False)
    assert_alike(scores(capture(whole, IDS)), wanted)
    assert check(whole, IDS).keys() == check(model, IDS).keys()

    in_place = language_model()
    in_place.compile(backend="aot_eager")
    with torch.no_grad():
        in_place(IDS, use_cache=False)
    assert_alike(scores(capture(in_place, IDS)), wanted)

    layers = language_model()
    for index, block in enumerate(layers.backbone.layers):
        layers.backbone.layers[index] = torch.compile(block, backend="aot_eager")
    with torch.no_grad():
        layers(IDS, use_cache=False)
    assert_alike(scores(capture(layers, IDS)), wanted)
    assert max(check(layers, IDS).values()) < 1e-5  # rounding, as in test_sinks_capture


@DYNAMO
def test_what_was_compiled_runs_compiled_again_afterwards():
    model = language_model()
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph

    model.compile(backend=backend)
    capture(model, IDS)
    assert not compiled
    with torch.no_grad():
        model(IDS, use_cache=False)
    assert compiled


def test_a_model_in_parallel_is_the_model():
    model = language_model()
    assert_alike(scores(capture(nn.DataParallel(model), IDS)), scores(capture(model, IDS)))


def test_a_mixer_that_is_not_called_is_an_error():
    model = language_model()
    skipped = model.backbone.layers[1]
    skipped.forward = lambda hidden, *args, **kwargs: hidden
    for function in (capture, check):
        with pytest.raises(ValueError, match=r"^model: its run did not call 1 of 3 mixers, such"):
            function(model, IDS)
    with pytest.raises(ValueError, match="did not call"):
        sinks.measure(model, [IDS])


def test_a_mixer_that_runs_twice_is_an_error():
    model = language_model()
    model.backbone.layers[2] = model.backbone.layers[1]
    with pytest.raises(ValueError, match=r"^model: ran backbone.layers.1.mixer twice"):
        capture(model, IDS)


def test_tokens_that_the_batch_does_not_have_are_refused():
    with pytest.raises(ValueError, match=r"reads \(2, 9\) tokens where the batch has \(2, 7\)"):
        capture(Prompted(language_model()), IDS)


def test_an_adapter_that_the_model_passes_by_is_passed_by():
    # transformers multiplies by dt_proj's weight; an adapter around the module is not called.
    class Adapted(nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base, self.extra = base, nn.Linear(base.in_features, base.out_features)
            self.weight, self.bias = base.weight, base.bias

        def forward(self, x):
            return self.base(x) + self.extra(x)

    for part in ("dt_proj", "in_proj", "x_proj", "out_proj"):
        model = language_model()
        mixer = model.backbone.layers[1].mixer
        setattr(mixer, part, Adapted(getattr(mixer, part)))
        with torch.no_grad():
            assert max(check(model, IDS).values()) < 1e-5, part


# peft asks transformers by a name that is on its way out.
PEFT = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@PEFT
def test_peft_adapters_are_read_as_the_model_reads_them():
    peft = pytest.importorskip("peft", reason="adapters of peft: pip install peft")
    config = peft.LoraConfig(r=2, target_modules=["dt_proj", "in_proj", "x_proj"])
    model = peft.get_peft_model(language_model(), config)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(value)
    assert max(check(model, IDS).values()) < 1e-5


@PEFT
def test_a_prompt_that_peft_puts_before_the_tokens_is_refused():
    peft = pytest.importorskip("peft", reason="adapters of peft: pip install peft")
    sizes = {"num_attention_heads": 1, "num_layers": 3, "token_dim": 12}  # which Mamba has not
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2, **sizes)
    model = peft.get_peft_model(language_model(), config)
    with pytest.raises(ValueError, match=r"reads \(2, 9\) tokens where the batch has \(2, 7\)"):
        capture(model, IDS)


@pytest.mark.parametrize("policy", [reorder.FixedOrder(), reorder.RandomOrder(when="always")])
def test_a_model_that_reads_in_another_order_is_refused(policy):
    model = reorder.wrap(language_model(), policy)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"^model: backbone.layers.0.mixer reads .*unwrap"):
        capture(model, IDS)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_a_model_that_is_reordered_in_training_alone_is_read():
    model = language_model()
    wanted = scores(capture(model, IDS))
    reorder.wrap(model, reorder.RandomOrder()).train()
    step = int(model.reordering.step)
    assert_alike(scores(capture(model, IDS)), wanted)
    assert int(model.reordering.step) == step


@pytest.mark.parametrize("side", [None, "left", "right"])
def test_a_flipped_mixer_reads_from_the_last_token(side):
    model, inputs = pair(), {"input_ids": IDS}
    lengths = torch.tensor([7, 4])
    if side:
        positions = torch.arange(7)
        real = (
            positions < lengths[:, None] if side == "right" else positions >= 7 - lengths[:, None]
        )
        inputs["attention_mask"] = real.long()
    layers = capture(model, inputs)
    assert [layer.name for layer in layers] == ["ahead.0", "back.0", "ahead.1", "back.1"]
    assert [layer.reverse for layer in layers] == [False, True, False, True]
    assert max(check(model, inputs).values()) < 1e-5
    # Each sequence alone gives the same, whichever side its padding was on.
    for row, length in enumerate(lengths if side else [7, 7]):
        tokens = IDS[row, :length] if side != "left" else IDS[row, 7 - length :]
        for whole, alone in zip(layers, capture(model, tokens[None]), strict=True):
            assert whole.name == alone.name
            torch.testing.assert_close(
                whole.delta[row, :, :length], alone.delta[0], rtol=1e-5, atol=1e-6
            )


def test_a_flipped_layer_scores_as_its_mirror_image():
    """The backward mixer on x is the forward mixer on x read from its end."""
    model = pair()
    mirrored = pair()
    mirrored.ahead, mirrored.back = mirrored.back, mirrored.ahead
    found = {layer.name: layer for layer in capture(model, IDS)}
    other = {layer.name: layer for layer in capture(mirrored, IDS.flip(1))}
    for name in ("ahead.0", "ahead.1", "back.0", "back.1"):
        twin = name.replace("ahead", "x").replace("back", "ahead").replace("x", "back")
        assert found[name].reverse is not other[twin].reverse
        assert_alike([importance(found[name])], [importance(other[twin])])


def test_padding_on_the_left_that_mixers_are_not_told_of_is_refused():
    model = pair(masks=False)
    mask = torch.ones_like(IDS)
    mask[1, :2] = 0
    with pytest.raises(ValueError, match=r"^attention_mask: the model does not pass it to ahead.0"):
        capture(model, {"input_ids": IDS, "attention_mask": mask})
    # On the right it is the flipped mixers that meet padding first.
    with pytest.raises(ValueError, match=r"^attention_mask: the model does not pass it to back.0"):
        capture(model, {"input_ids": IDS, "attention_mask": mask.flip(1)})


def test_layers_by_name_end_the_run_after_the_last():
    model = language_model()
    calls = []
    for block in model.backbone.layers:
        block.register_forward_hook(lambda module, *_: calls.append(module))
    found = each_layer(model, IDS, lambda layer: layer.name, layers=["backbone.layers.0.mixer"])
    assert found == ["backbone.layers.0.mixer"]
    assert not calls  # the first block's own hook comes after its mixer's
    assert check(model, IDS, layers=["backbone.layers.1.mixer"]).keys() == {
        "backbone.layers.1.mixer"
    }
    for layers in (["backbone.layers.7.mixer"], []):
        with pytest.raises(ValueError, match=r"^layers: got .*takes names of mixers such as back"):
            each_layer(model, IDS, str, layers=layers)
    wanted = sinks.measure(model, [IDS], channels=4)[1]
    alone = sinks.measure(model, [IDS], channels=4, layers=[wanted.name])[0]
    assert torch.equal(alone.channels, wanted.channels)
    assert_alike([alone.scores["raw"]], [wanted.scores["raw"]])


def test_without_values_the_scores_are_the_same_and_nothing_can_be_mixed():
    model = language_model()
    with_values = capture(model, IDS)
    without = each_layer(model, IDS, lambda layer: layer, values=False)
    for lean, layer in zip(without, with_values, strict=True):
        assert lean.u.shape == layer.u.shape and lean.u.is_meta and lean.gate is None
        assert torch.equal(importance(lean, "absolute"), importance(layer, "absolute"))
        few = torch.tensor([3, 1])
        assert lean.select(few).u.shape == layer.select(few).u.shape
        with pytest.raises(ValueError, match=r"mixer: captured without values"):
            lean.mix()


def test_projections_that_were_not_called_are_computed():
    model = language_model()
    heard = capture(model, IDS)
    with pytest.MonkeyPatch.context() as patch:
        for name, family in FAMILIES.items():
            patch.setitem(FAMILIES, name, replace(family, listens=()))
        computed = capture(model, IDS)
    for mine, theirs in zip(computed, heard, strict=True):
        for name in ("u", "delta", "B", "C", "gate"):
            assert torch.equal(getattr(mine, name), getattr(theirs, name)), name


def test_what_a_visit_returns_takes_the_outputs_place():
    model = language_model()
    with torch.no_grad():
        plain = model(IDS, use_cache=False).logits
    same = walk(model, IDS, lambda *_: None, outputs=True).logits
    assert torch.equal(same, plain)
    changed = walk(model, IDS, lambda name, mixer, seen, output, *_: 0 * output, outputs=True)
    assert not torch.allclose(changed.logits, plain)
    assert changed.logits.shape == plain.shape


def test_inputs_that_are_no_token_ids_are_read_by_place_or_name():
    mixer = language_model().backbone.layers[0].mixer
    hidden = torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(0))
    by_place, by_name = capture(mixer, hidden), capture(mixer, {"hidden_states": hidden})
    assert by_place[0].delta.shape == (2, 24, 7)
    assert torch.equal(by_place[0].delta, by_name[0].delta)
    assert check(mixer, hidden).keys() == {""}


@pytest.mark.parametrize("function", [check, lambda model, ids: sinks.measure(model, [ids])])
def test_weights_that_are_not_finite_are_named(function):
    model = language_model()
    with torch.no_grad():
        model.backbone.layers[1].mixer.dt_proj.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"backbone.layers.1.mixer.*dt_proj.weight are not finite"):
        function(model, IDS)


def test_a_forward_of_the_models_own_that_breaks_is_told_as_such():
    model = language_model()
    model.backbone.layers[2].mixer.double()
    with pytest.raises(ValueError, match=r"^model: the forward of MambaForCausalLM itself fails"):
        capture(model, IDS)


def test_out_of_memory_is_not_told_as_a_fault_of_the_model():
    model = language_model()

    def fail(*_, **__):
        raise torch.cuda.OutOfMemoryError("full")

    model.backbone.forward = fail
    with pytest.raises(torch.cuda.OutOfMemoryError):
        capture(model, IDS)


def test_an_unsupported_mixer_is_refused_with_the_list():
    class Other(nn.Module):
        pass

    with pytest.raises(
        ValueError, match="holds no supported mixer; supported are MambaForCausalLM"
    ):
        capture(Other(), IDS)
    with pytest.raises(ValueError, match=r"^model: got str, takes a torch.nn.Module"):
        capture("mamba", IDS)


def test_typeseg_gives_two_directions_with_one_name():
    layers = capture(TypeSeg(blocks=1, width=12, inner=10, states=5, rank=3, classes=7), IDS)
    assert [layer.reverse for layer in layers] == [False, True]


def test_documents_packed_into_one_sequence_are_refused():
    model = language_model()
    mixer = model.backbone.layers[0].mixer
    own = mixer.forward
    # With causal_conv1d installed the mixer itself keeps documents apart; without it refuses.
    mixer.forward = functools.wraps(own)(
        lambda hidden, seq_idx=None, **kwargs: own(hidden, **kwargs)
    )
    block = model.backbone.layers[0]
    block.forward = lambda hidden, **kwargs: hidden + mixer(hidden, seq_idx=IDS)
    with pytest.raises(ValueError, match=r"^inputs: seq_idx packs documents"):
        capture(model, IDS)


def test_weights_spread_over_processes_are_refused():
    class DTensor(nn.Parameter):
        pass

    model = language_model()
    model.backbone.layers[0].mixer.D = DTensor(model.backbone.layers[0].mixer.D.detach())
    with pytest.raises(ValueError, match=r"^model: the weights of MambaForCausalLM are spread"):
        capture(model, IDS)


class Flip(nn.Module):
    def forward(self, x):
        return x.flip(1)


class Wrapped(nn.Module):
    """A mixer behind a norm of its own, as a block has it."""

    def __init__(self, mixer):
        super().__init__()
        self.norm, self.mixer = nn.LayerNorm(12), mixer

    def forward(self, x):
        return x + self.mixer(self.norm(x))


class Backward(nn.Module):
    """Embeds, and gives the second mixer the sequence flipped, in one of several ways."""

    def __init__(self, way):
        super().__init__()
        ahead, back = (block.mixer for block in language_model(layers=2).backbone.layers)
        self.embedding, self.ahead, self.way = nn.Embedding(40, 12), ahead, way
        self.flip, self.norm, self.dropout = Flip(), nn.LayerNorm(12), nn.Dropout()
        self.back = Wrapped(back) if way in ("block", "blocks") else back
        self.more = Wrapped(language_model(layers=1, seed=3).backbone.layers[0].mixer)

    def forward(self, input_ids, attention_mask=None):
        x = self.embedding(input_ids)
        y = self.ahead(x)
        ways = {
            "bare": lambda: self.back(x.flip(1)).flip(1),
            "block": lambda: self.back(x.flip(1)).flip(1),
            "blocks": lambda: self.more(self.back(x.flip(1)) * 2 + 1).flip(1),
            "module": lambda: self.back(self.flip(x)).flip(1),
            "dropout": lambda: self.back(self.dropout(x.flip(1))).flip(1),
            "norm": lambda: self.back(self.norm(x.flip(1))).flip(1),
            "norm first": lambda: self.back(self.norm(x).flip(1)).flip(1),
            "back again": lambda: self.more(self.back(self.flip(x)).flip(1) + x),
        }
        y = y + ways[self.way]()
        return y if self.way in ("blocks", "back again") else self.more(y)


@pytest.mark.parametrize(
    "way",
    ["bare", "block", "blocks", "module", "dropout", "norm", "norm first", "back again"],
)
def test_a_flip_is_followed_through_modules(way):
    model = Backward(way).eval()
    layers = {layer.name: layer for layer in capture(model, IDS)}
    back = "back.mixer" if way in ("block", "blocks") else "back"
    assert {name for name, layer in layers.items() if layer.reverse} == (
        {back, "more.mixer"} if way == "blocks" else {back}
    )
    assert max(check(model, IDS).values()) < 1e-5
    # The backward mixer's first token is the prompt's last: another one there changes its key.
    other = IDS.clone()
    other[:, -1] = (IDS[:, -1] + 1) % 40
    changed = {layer.name: layer for layer in capture(model, other)}[back]
    assert not torch.allclose(changed.delta[..., 0], layers[back].delta[..., 0])


def test_a_whole_model_on_flipped_ids_reads_from_the_end():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.forth, self.back = language_model(), language_model(seed=1)

        def forward(self, input_ids):
            ahead = self.forth(input_ids, use_cache=False).logits
            return ahead + self.back(input_ids.flip(1), use_cache=False).logits.flip(1)

    layers = capture(Reader(), IDS)
    assert [layer.reverse for layer in layers] == [False] * 3 + [True] * 3
    alone = capture(language_model(seed=1), IDS.flip(1))
    assert_alike(scores(layers[3:]), scores(alone))


def test_tokens_in_another_order_are_refused():
    class Shuffled(Backward):
        def forward(self, input_ids):
            order = torch.tensor([3, 1, 0, 2, 6, 5, 4])
            x = self.embedding(input_ids)
            return self.more(self.ahead(x) + self.back(x[:, order]))

    with pytest.raises(ValueError, match=r"^model: puts its tokens into another order"):
        capture(Shuffled("bare").eval(), IDS)


@pytest.mark.parametrize("pick", ["index", "gather", "index_select"])
def test_a_flip_by_indices_is_one(pick):
    class Picked(Backward):
        def forward(self, input_ids):
            x, order = self.embedding(input_ids), torch.arange(6, -1, -1)
            turned = {
                "index": lambda: x[:, order],
                "gather": lambda: x.gather(1, order[None, :, None].expand_as(x)),
                "index_select": lambda: x.index_select(1, order),
            }[pick]()
            hidden = turned
            for block in (self.back, self.more):  # residual sums outside of any module
                hidden = hidden + block(hidden)
            return self.ahead(x) + hidden.flip(1)

    layers = {layer.name: layer.reverse for layer in capture(Picked("bare").eval(), IDS)}
    assert layers == {"back": True, "more.mixer": True, "ahead": False}


def test_a_forward_put_on_the_mixer_itself_is_refused():
    model = language_model()
    mixer = model.backbone.layers[1].mixer
    old = mixer.forward
    mixer.forward = lambda hidden, **named: old(hidden.flip(1), **named).flip(1)
    with pytest.raises(ValueError, match=r"^model: backbone.layers.1.mixer is a MambaMixer with"):
        capture(model, IDS)
    # What says that it stands in front of the mixer's own, as accelerate's does, is let through.
    mixer.forward = functools.wraps(old)(lambda hidden, **named: old(hidden, **named))
    assert max(check(model, IDS).values()) < 1e-5
    reorder.wrap(model, reorder.FixedOrder())
    wrapped = mixer.forward
    mixer.forward = functools.wraps(wrapped)(lambda hidden, **named: wrapped(hidden, **named))
    mixer.forward.__wrapped__ = wrapped
    with pytest.raises(ValueError, match=r"^model: backbone.layers.[01].mixer reads its tokens in"):
        capture(model, IDS)


def test_labels_are_refused():
    with pytest.raises(ValueError, match=r"^inputs: holds labels"):
        capture(language_model(), {"input_ids": IDS, "labels": IDS})


def test_autocast_rounds_no_score():
    layer = capture(language_model(), IDS)[1]
    wanted = [importance(layer, variant) for variant in sinks.VARIANTS]
    mixed, matrices = layer.mix(), s6.hidden_attention(*layer.tensors)
    with torch.autocast("cpu", torch.bfloat16):
        for variant, want in zip(sinks.VARIANTS, wanted, strict=True):
            assert torch.equal(importance(layer, variant), want)
        assert torch.equal(layer.mix(), mixed)
        assert torch.equal(s6.hidden_attention(*layer.tensors), matrices)


@pytest.mark.parametrize("chosen", [["blocks.0.mixer"], ["blocks.1.mixer"], ["blocks.2.mixer"]])
def test_what_a_mixer_does_inside_is_its_own_affair_also_if_it_is_not_looked_at(chosen):
    """typeseg's mixers flip the sequence for their second direction."""
    model = TypeSeg(blocks=3, width=12, inner=10, states=5, rank=3, classes=7).eval()
    wanted = [layer for layer in capture(model, IDS) if layer.name in chosen]
    found = each_layer(model, IDS, lambda layer: layer, layers=chosen)
    assert [layer.reverse for layer in found] == [False, True]
    assert_alike(scores(found), scores(wanted))
