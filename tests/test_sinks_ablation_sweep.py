"""Each layer ablated by itself, beside its nulls: what is counted, drawn, reported."""

import itertools
import json
import math
from dataclasses import replace

import jinja2
import pytest
import torch
from matplotlib import pyplot
from test_sinks_ablation import VOCABULARY, build
from torch import nn

from tokensphere.sinks.ablation import ablate
from tokensphere.sinks.ablation.document import ablation_document
from tokensphere.sinks.ablation.figures import ABLATION, ablation_by_layer
from tokensphere.sinks.ablation.sweep import least_tokens, sweep
from tokensphere.sinks.walk import find_mixers

transformers = pytest.importorskip("transformers")


def ids(count, length, seed=0):
    return torch.randint(VOCABULARY, (count, length), generator=torch.Generator().manual_seed(seed))


def test_each_layer_and_all_over_as_many_tokens_behind_each():
    model, batches = build("mamba"), [ids(2, 12), ids(1, 7, seed=1)]
    found = sweep(model, batches)
    names = list(find_mixers(model))
    assert found.layers == tuple((name, False) for name in names)
    assert found.counted == "behind" and found.tokens.tolist() == [4, 4, 2]
    for step, prompt in itertools.product(range(4), range(3)):
        row = batches[prompt // 2][prompt % 2][None]
        length = row.shape[1]
        key = [0, 2, 4, 6][step] if length == 12 else [0, 1, 2, 3][step]
        window = slice(key + 1, key + 1 + length - 2 - length // 2)
        for which, changes in ((None, found.together), (names[1], found.alone)):
            want = ablate(model, row, key, layers=which)
            for name, value in changes.items():
                got = value[step, prompt] if which is None else value[1, step, prompt]
                mean = getattr(want, name)[0, window].mean()
                torch.testing.assert_close(got, mean, atol=1e-8, rtol=1e-3)
                assert not bool(getattr(want, name)[0, window].isnan().any())


def test_some_of_the_layers():
    model, prompts = build(six_layers), ids(2, 8)
    names = list(find_mixers(model))
    whole = sweep(model, [prompts])
    found = sweep(model, [prompts], layers=[names[4], names[1]], sinks=[(names[4], False)])
    assert found.layers == ((names[1], False), (names[4], False))
    assert found.sinks == (1,) and found.drawn == ((0,),)
    assert [layer["index"] for layer in ablation_document(found)["layers"]] == [1, 4]
    for name, value in found.alone.items():
        assert torch.equal(value, whole.alone[name][[1, 4]])
    window = slice(1, 1 + 8 - 2 - 4)
    want = ablate(model, prompts, layers=[names[1], names[4]])
    torch.testing.assert_close(found.together["kl"][0], want.kl[:, window].mean(1))
    torch.testing.assert_close(found.own, want.before[:, window].mean(1))
    with pytest.raises(ValueError, match="^layers: got nothing, takes names of mixers"):
        sweep(model, [prompts], layers=["nothing"])


def test_padding_on_either_side_changes_nothing():
    model, long, short = build("mamba2"), ids(1, 12), ids(1, 7, seed=1)
    alone = sweep(model, [long, short])
    for side in ("left", "right"):
        pad = (5, 0) if side == "left" else (0, 5)
        mask = torch.cat([torch.ones(1, 12), nn.functional.pad(torch.ones(1, 7), pad)])
        both = torch.cat([long, nn.functional.pad(short, pad, value=3)])
        found = sweep(model, [{"input_ids": both, "attention_mask": mask.long()}])
        assert torch.equal(found.tokens, alone.tokens)
        for name, value in found.alone.items():
            torch.testing.assert_close(value, alone.alone[name], atol=1e-6, rtol=1e-3)


def test_a_layer_that_reads_from_the_end_loses_what_it_reads_first():
    model, prompts = build("typeseg"), ids(2, 10)
    name = "blocks.1.mixer"
    found = sweep(model, [prompts], sinks=[(name, True)])
    assert found.layers[2:] == ((name, False), (name, True)) and found.counted == "all"
    assert found.tokens.tolist() == [10, 10]
    for number, keys in {2: [0, 1, 3, 5], 3: [-1, -2, -4, -6]}.items():
        for step, key in enumerate(keys):
            want = ablate(model, prompts, key, layers=name).prompts()["kl"]
            torch.testing.assert_close(found.alone["kl"][number, step], want)
    assert torch.equal(found.with_sink["kl"], found.alone["kl"][3])
    # The last layer's backward direction alone reads what comes behind, and nothing reads it then.
    both = found.together["kl"][0]
    assert bool((both > found.alone["kl"][2:, 0].amax(0)).all())


def test_two_directions_that_meet_at_one_token_take_it_out_once():
    """The last later token of 11 is the middle one, from either end."""
    model, prompts = build("typeseg"), ids(2, 11)
    found = sweep(model, [prompts])
    torch.testing.assert_close(found.together["kl"][3], ablate(model, prompts, 5).prompts()["kl"])


def six_layers():
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 8, "state_size": 3, "num_hidden_layers": 6}
    return transformers.MambaForCausalLM(transformers.MambaConfig(**sizes, time_step_rank=2))


def test_layers_are_numbered_as_the_model_holds_them():
    class Turned(torch.nn.Module):
        """Holds its blocks in another order than it runs them."""

        def __init__(self, model):
            super().__init__()
            self.embed, self.head = model.backbone.embeddings, model.lm_head
            self.second, self.first = model.backbone.layers[1], model.backbone.layers[0]

        def forward(self, input_ids):
            return self.head(self.second(self.first(self.embed(input_ids))))

    found = sweep(Turned(build(six_layers)), [ids(2, 8)])
    assert [name for name, _ in found.layers] == ["first.mixer", "second.mixer"]
    assert found.indices == (1, 0)


def test_other_layers_as_many_as_have_a_sink():
    model, prompts = build(six_layers), ids(2, 8)
    names = list(find_mixers(model))
    found = sweep(model, [prompts], sinks=[(names[1], False), (names[4], False)], draws=4, seed=3)
    assert found.sinks == (1, 4) and len(set(found.drawn)) == 4
    assert all(len(drawn) == 2 and not {1, 4} & set(drawn) for drawn in found.drawn)
    window = slice(1, 1 + 8 - 2 - 4)
    for drawn, got in zip(found.drawn, found.random["kl"], strict=True):
        want = ablate(model, prompts, layers=[names[number] for number in drawn])
        torch.testing.assert_close(got, want.kl[:, window].mean(1), atol=1e-8, rtol=1e-3)
    again = sweep(model, [prompts], sinks=[(names[1], False), (names[4], False)], draws=4, seed=3)
    assert again.drawn == found.drawn
    # All choices, where there are no more; none, where the others are too few.
    one = sweep(model, [prompts], sinks=[(names[2], False)], draws=10)
    assert one.drawn == ((0,), (1,), (3,), (4,), (5,))
    torch.testing.assert_close(one.random["kl"], one.alone["kl"][[0, 1, 3, 4, 5], 0])
    most = sweep(model, [prompts], sinks=[(name, False) for name in names[:4]])
    assert most.drawn == () and most.random is None and most.with_sink is not None


def test_the_document():
    model, prompts = build(six_layers), ids(5, 10)
    names = list(find_mixers(model))
    found = sweep(model, [prompts[:3], prompts[3:]], sinks=[(names[1], False)])
    scores = found.excess["kl"].T
    torch.testing.assert_close(
        scores[:, 2], found.alone["kl"][2, 0] - found.alone["kl"][2, 1:].mean(0)
    )
    data = json.loads(json.dumps(ablation_document(found, scores.exp()), allow_nan=False))
    assert data["prompts"] == 5 and data["tokens"] == [3, 3] and data["measures"] == ["kl", "loss"]
    assert [layer["index"] for layer in data["layers"]] == list(range(6))
    assert data["loss"]["mean"] == pytest.approx(float(found.own.mean()), rel=1e-4)
    layer, changes = data["layers"][4], found.alone["loss"][4]
    excess = changes[0] - changes[1:].mean(0)
    assert layer["excess"]["loss"]["mean"] == pytest.approx(float(excess.mean()), rel=1e-4)
    # Half the width of Student's interval at 1 - 0.05 / 6, of 5 prompts.
    half = 4.851 * float(excess.std()) / 5**0.5
    assert layer["excess"]["loss"]["high"] == pytest.approx(float(excess.mean()) + half, rel=1e-3)
    assert data["correlation"]["excess"]["kl"]["prompts"]["mean"] == 1
    assert data["correlation"]["first"]["kl"]["prompts"]["mean"] < 1
    # Of the loss the layers' order is another: the coefficient of six ranks by hand.
    ranks = [
        value.argsort().argsort() for value in (scores.exp().mean(0), found.excess["loss"].mean(1))
    ]
    rho = 1 - 6 * float((ranks[0] - ranks[1]).square().sum()) / (6 * 35)
    across = data["correlation"]["excess"]["loss"]["layers"]
    assert across["mean"] == pytest.approx(rho, abs=1e-4)
    # Fisher: 1.96 / sqrt(6 - 3) on either side of artanh.
    ends = [math.tanh(math.atanh(rho) + side * 1.959964 / 3**0.5) for side in (-1, 1)]
    assert [across["low"], across["high"]] == pytest.approx(ends, abs=1e-4)
    sinks = data["sinks"]
    assert sinks["layers"] == [1] and sinks["random"]["draws"] == 5
    rest = found.alone["kl"][[0, 2, 3, 4, 5], 0].mean(0)
    difference = float((found.alone["kl"][1, 0] - rest).mean())
    # One layer of six: at once and alone are the same here.
    assert sinks["alone"]["kl"]["mean"] == pytest.approx(difference, rel=1e-4)
    assert sinks["random"]["excess"]["kl"]["mean"] == pytest.approx(difference, rel=1e-4)
    assert ablation_document(replace(found, with_sink=None))["sinks"] is None
    for wrong, message in (
        (scores[:, :5], r"scores: shape \(5, 5\), takes \(5, 6\)"),
        (scores / 0, "scores: got NaN or infinity"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            ablation_document(found, wrong)


class Recall(nn.Module):
    """Says of each token in which of two ways the sequence was marked.

    Without a convolution, which would carry the mark into the keys next to its own.
    """

    def __init__(self):
        super().__init__()
        sizes = {"hidden_size": 16, "state_size": 4, "num_hidden_layers": 1, "conv_kernel": 1}
        config = transformers.MambaConfig(vocab_size=10, **sizes)
        self.backbone = transformers.MambaModel(config)
        self.head = nn.Linear(16, 2)

    def forward(self, input_ids):
        return self.head(self.backbone(input_ids).last_hidden_state)


def marked(at, count, seed):
    """Tokens without a meaning, but for a mark of two kinds at one place, and the marks."""
    g = torch.Generator().manual_seed(seed)
    tokens = torch.randint(2, 10, (count, 12), generator=g)
    marks = torch.randint(2, (count,), generator=g)
    tokens[:, at] = marks
    return tokens, marks


def trained(at):
    """A model that has learned what the mark is, behind it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Recall()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for step in range(120):
        tokens, marks = marked(at, 32, step)
        behind = model(tokens)[:, at + 1 :]
        loss = nn.functional.cross_entropy(behind.mT, marks[:, None].expand(behind.shape[:2]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2  # chance is 0.69
    return model.eval()


def test_a_model_that_lives_by_its_first_token_and_one_that_does_not():
    for at in (0, 6):
        model, (tokens, marks) = trained(at), marked(at, 20, 10**6)
        found = ablation_document(sweep(model, [tokens]))
        excess = found["all"]["excess"]["kl"]
        labels = marks[:, None].expand_as(tokens)
        loss = ablate(model, tokens, at, labels=labels).estimates()["loss"]
        assert loss["low"] > 0.1
        if at == 0:
            assert excess["low"] > 0.1
        else:  # the last of the later tokens has the mark
            assert excess["high"] < -0.1


@pytest.mark.parametrize("family", ["mamba", "typeseg"])
def test_the_figure_and_the_text(family):
    model = build(family)
    names = list(find_mixers(model))
    found = sweep(model, [ids(4, 9)], sinks=[(names[1], False)])
    data = ablation_document(found, found.alone["kl"][:, 0].T)
    figure = ablation_by_layer(data)
    both, measures = family == "typeseg", len(data["measures"])
    assert len(figure.axes) == measures * (1 + both)
    first = figure.axes[0].lines[0]
    assert list(first.get_xdata()) == [0, 1]
    forward = [layer for layer in data["layers"] if not layer["reverse"]]
    assert list(first.get_ydata()) == [layer["first"]["kl"]["mean"] for layer in forward]
    ring = figure.axes[0].lines[2]
    assert list(ring.get_xdata()) == [1]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["first token", "a later token", "layer with a sink"]
    pyplot.close(figure)

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["number"] = lambda value, digits=3: f"{value:.{digits}g}"
    environment.filters["spread"] = lambda value: f"{value['mean']:.3g}"
    page = environment.from_string(ABLATION).render(data={"ablation": data})
    rows = 2 + len(data["layers"])
    assert page.count("<tr>") == 1 + rows
    assert page.count("</td>") == rows * (1 + both + 3 * measures)
    assert ("from the end" in page) is both and "rank correlation" in page
    assert environment.from_string(ABLATION).render(data={"ablation": None}).strip() == ""


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"later": 0}, "later: got 0, takes a whole number of 1 or more"),
        ({"draws": True}, "draws: got True, takes a whole number of 1 or more"),
        ({"seed": -1}, "seed: got -1, takes a whole number of 0 or more"),
        ({"sinks": [("backbone", False)]}, r"sinks: got \('backbone', False\), takes layers such"),
        ({"batches": []}, "batches: there is none"),
        ({"batches": [ids(2, 5)]}, "batches: hold a prompt of 5 tokens, takes at least 6 for 3"),
    ],
)
def test_bad_arguments_are_named(named, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        sweep(build("mamba"), **{"batches": [ids(2, 9)], **named})


@pytest.mark.parametrize("later", [1, 3, 4])
def test_the_shortest_prompts(later):
    least = least_tokens(later)
    found = sweep(build("mamba"), [ids(2, least)], later=later)
    assert bool(found.together["loss"].isfinite().all()) and int(found.tokens.min()) >= 1
    with pytest.raises(ValueError, match=f"takes at least {least} "):
        sweep(build("mamba"), [ids(2, least - 1)], later=later)
