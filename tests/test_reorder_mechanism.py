"""What is measured of a trained classifier's tokens: known answers, and a model left as it was."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from scipy.sparse import csgraph
from torch import nn

from tokensphere.reorder import ByImportance, FixedOrder, RandomOrder, mechanism, policies, wrap
from tokensphere.reorder.models import S6Classifier, S6Mixer
from tokensphere.sinks import theory

SIZES = {"size": 8, "channels": 1, "patch": 2, "width": 8, "depth": 3, "states": 4}
L = 16


def classifier(**sizes):
    torch.manual_seed(0)
    model = S6Classifier(5, **(SIZES | sizes))
    with torch.no_grad():
        # Large enough that layers move tokens visibly, and by what they read before.
        for mixer in model.mixers:
            mixer.out_proj.weight *= 10
            mixer.x_proj.weight *= 10
    return model


@pytest.fixture
def images():
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def batches(images):
    return [(images[:4], torch.tensor([0, 1, 2, 3])), (images[4:], torch.tensor([4, 0]))]


def basis(*rows):
    """One image of tokens that are signed, scaled axes of R^5."""
    tokens = torch.zeros(1, len(rows), 5)
    for i, (axis, size) in enumerate(rows):
        tokens[0, i, axis] = size
    return tokens


ORTHOGONAL = basis((0, 1), (1, 2), (2, 3), (3, -1))
EQUAL = basis((0, 1), (0, 2), (0, 3), (0, 5))
TWO = basis((0, 1), (0, 2), (1, 1), (1, 7))
ANTIPODAL = basis((0, 1), (0, -2), (0, 1), (0, -1))


# Tokens whose answers are known.


@pytest.mark.parametrize(
    ("tokens", "similarity", "excess", "rank", "clusters"),
    [
        (ORTHOGONAL, 0, 0, 4, 4),
        (EQUAL, 1, 0, 1, 1),
        # Of 6 pairs 2 are alike; of the 3 with the first 1, of the 3 without it 1.
        (TWO, 1 / 3, 0, 2, 2),
        # The first has cosines -1, 1, -1, the others -1, 1, -1.
        (ANTIPODAL, -1 / 3, 0, 1, 2),
        # Two in one direction, two others: the first with cosines 1, 0, 0, the others with none.
        (basis((0, 1), (0, 2), (1, 1), (2, 1)), 1 / 6, 1 / 3, 8**0.5, 3),
    ],
)
def test_constructed_tokens(tokens, similarity, excess, rank, clusters):
    # Rounding in float64.
    near = {"rel": 1e-12, "abs": 1e-12}
    both = torch.cat([tokens, ORTHOGONAL])
    assert mechanism.similarity(both).tolist() == pytest.approx([similarity, 0], **near)
    assert mechanism.excess(both, 0).tolist() == pytest.approx([excess, 0], **near)
    assert mechanism.effective_rank(both).tolist() == pytest.approx([rank, 4], **near)
    for angle in (15, 60, 89):
        assert mechanism.clusters(both, angle).tolist() == pytest.approx([clusters, 4], **near)


def test_excess_of_another_token():
    tokens = basis((1, 1), (0, 1), (0, 2), (2, 1))
    assert float(mechanism.excess(tokens, 1)) == pytest.approx(1 / 3)
    assert float(mechanism.excess(tokens, 0)) == pytest.approx(-1 / 3)


def test_pairs_one_by_one():
    x = torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    off = ~torch.eye(7, dtype=torch.bool)

    def mean_pairs(tokens):
        cosines = torch.cosine_similarity(tokens[:, :, None], tokens[:, None], dim=-1)
        return cosines, cosines[:, off].mean(-1)

    cosines, mean = mean_pairs(x)
    torch.testing.assert_close(mechanism.similarity(x), mean)
    others = [i for i in range(7) if i != 2]
    among = cosines[:, others][:, :, others][:, off[:6, :6]].mean(-1)
    torch.testing.assert_close(mechanism.excess(x, 2), cosines[:, 2, others].mean(-1) - among)
    moved = x + 3
    expected = mean_pairs(moved - moved.flatten(0, 1).mean(0))[1]
    torch.testing.assert_close(mechanism.centred_similarity(moved), expected)
    # 1 / 7 of the squared singular values of the unit tokens.
    shares = torch.linalg.svdvals(nn.functional.normalize(x, dim=-1)).square() / 7
    torch.testing.assert_close(
        mechanism.effective_rank(x), torch.exp(-(shares * shares.log()).sum(-1))
    )
    pooled = nn.functional.normalize(x, dim=-1).flatten(0, 1)
    shares = torch.linalg.svdvals(pooled).square() / 21
    found = mechanism.pooled_rank(x)
    assert found == pytest.approx(float(torch.exp(-(shares * shares.log()).sum())))


def test_tokens_at_the_mean_have_no_direction():
    assert mechanism.centred_similarity(EQUAL / EQUAL.norm(dim=-1, keepdim=True)).tolist() == [0]
    # Not at the mean, but by 1e-3 of it: directions of their own.
    x = torch.full((2, 3, 4), 1.0)
    x[0, :, 0] += 1e-3
    assert mechanism.centred_similarity(x).tolist() == pytest.approx([1, 1])


def test_pooled_rank_counts_all_images():
    tokens = torch.cat([EQUAL, EQUAL[..., [1, 0, 2, 3, 4]]])
    assert mechanism.effective_rank(tokens).tolist() == pytest.approx([1, 1])
    assert mechanism.pooled_rank(tokens) == pytest.approx(2)


@pytest.mark.parametrize("length", [1, 2, 5, 33])
def test_clusters_are_connected_components(length):
    x = torch.randn(20, length, 3, generator=torch.Generator().manual_seed(length))
    unit = nn.functional.normalize(x.double(), dim=-1)
    for angle in (5, 15, 30, 60):
        joined = (unit @ unit.mT > np.cos(np.radians(angle))).numpy()
        expected = [csgraph.connected_components(graph, directed=False)[0] for graph in joined]
        # Sums of shares such as 1 / 3, in float64.
        assert mechanism.clusters(x, angle).tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("length", [2, 3, 9, 10, 17, 18])
def test_a_chain_is_one_cluster(length):
    """Single linkage over the longest path there is."""
    angles = torch.arange(length) * math.radians(10)
    x = torch.stack([angles.cos(), angles.sin()], -1)[None]
    order = torch.randperm(length, generator=torch.Generator().manual_seed(0))
    found = [float(mechanism.clusters(x[:, order], angle)) for angle in (10.1, 9.9)]
    assert found == pytest.approx([1, length], rel=1e-12)


def test_too_few_tokens_have_no_number():
    # Many, so that rounding leaves some other than 0 to divide by 0.
    x = torch.randn(50, 2, 33, generator=torch.Generator().manual_seed(0))
    assert mechanism.similarity(x[:, :1]).isnan().all()
    assert mechanism.centred_similarity(x[:, :1]).isnan().all()
    assert mechanism.excess(x, 0).isnan().all()
    assert mechanism.effective_rank(ORTHOGONAL[:, :1]).tolist() == pytest.approx([1])


# Tokens out of a model.


def test_tokens_of_a_classifier_in_one_pass(images):
    model = classifier()
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    names, tokens = mechanism.layer_tokens(model, images)
    assert calls == [1]
    assert names == ["embedding", "layer 1", "layer 2", "layer 3"]
    with torch.no_grad():
        for found, expected in zip(tokens, model.tokens(images), strict=True):
            torch.testing.assert_close(found, expected)
    wrapped = wrap(model, RandomOrder(when="always"))
    mechanism.layer_tokens(wrapped, images)
    assert int(wrapped.reordering.step) == 1


class Block(nn.Module):
    """x plus a mixer of it, or the tokens' mean for attention."""

    def __init__(self, width, mamba):
        super().__init__()
        self.mixer = S6Mixer(width, 2) if mamba else nn.Linear(width, width)

    def forward(self, x):
        return x + self.mixer(x)


class Level(nn.Module):
    """Stages as in mambavision.models.mamba_vision: windows, blocks, a convolution to the next."""

    def __init__(self, width, window, mamba):
        super().__init__()
        self.transformer_block, self.window_size = bool(mamba), window
        self.blocks = nn.ModuleList(Block(width, kind) for kind in mamba)
        self.downsample = nn.Conv2d(width, 2 * width, 3, 2, 1)

    def forward(self, x):
        if self.transformer_block:
            B, C, H, W = x.shape
            x = x.flatten(2).mT
            for block in self.blocks:
                x = block(x)
            x = x.mT.reshape(B, C, H, W)
        return self.downsample(x)


class MambaVision(nn.Module):
    """A stand-in, found by its name: two levels without tokens, then 16 tokens, then 4."""

    def __init__(self, windows=(4, 2)):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.1))
        self.levels = nn.ModuleList(
            [
                Level(2, 8, []),
                Level(4, windows[0], [True, True, False]),
                Level(8, windows[1], [True, False]),
            ]
        )
        self.head = nn.Linear(16, 5)

    def forward(self, images):
        x = self.stem(images)
        for level in self.levels:
            x = level(x)
        return self.head(x.mean((2, 3)))


MambaVision.__module__ = "mambavision.models.mamba_vision"


def test_tokens_of_mambavision_by_stage_and_block(images):
    model = MambaVision().eval()
    names, tokens = mechanism.layer_tokens(model, images)
    assert names == [
        "stage 2, input",
        "stage 2, block 1 (mamba)",
        "stage 2, block 2 (mamba)",
        "stage 2, block 3 (attention)",
        "stage 3, input",
        "stage 3, block 1 (mamba)",
        "stage 3, block 2 (attention)",
    ]
    assert [tuple(x.shape) for x in tokens] == [(6, 16, 4)] * 4 + [(6, 4, 8)] * 3
    with torch.no_grad():
        x = model.levels[0](model.stem(images))
        torch.testing.assert_close(tokens[0], x.flatten(2).mT)
        for i, block in enumerate(model.levels[1].blocks):
            torch.testing.assert_close(tokens[i + 1], block(tokens[i]))
    found = mechanism.measure(wrap(model, FixedOrder(), seed=1), images)
    assert found["tokens"] == [16] * 4 + [4] * 3
    assert found["response"] is None
    # Stages of another length have another token that is read first.
    key = policies.pass_keys(1, torch.tensor(0), 3)[0]
    firsts = [int(policies.permutation(key, length)[0]) for length in found["tokens"]]
    assert 0 != firsts[0] % 4 != firsts[-1] != 0
    tokens = mechanism.layer_tokens(model, images)[1]
    expected = [
        float(mechanism.excess(x, first).mean()) for x, first in zip(tokens, firsts, strict=True)
    ]
    assert found["excess"] == expected


def test_all_is_in_evaluation(images, batches):
    """Of a model in training, whose statistics and dropped values are others."""
    found = []
    for training in (False, True):
        model = wrap(MambaVision(), RandomOrder(), seed=3).train(training)
        orders = mechanism.measure_orders(model, batches, images, passes=1, seed=4)
        found.append([mechanism.measure(model, images), orders])
    assert found[0] == found[1]


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_no_hook_is_left(images):
    for model in (classifier(), MambaVision()):
        mechanism.layer_tokens(model, images)
        assert hooks(model) == 0
        with pytest.raises(RuntimeError):
            mechanism.layer_tokens(model, images.double())
        with pytest.raises(ValueError, match="images: stage 2 has 4x4 places in windows of 2"):
            mechanism.layer_tokens(MambaVision((2, 2)), images)
        assert hooks(model) == 0


# What is recorded.

POLICIES = [None, RandomOrder(), RandomOrder(when="always"), FixedOrder(), ByImportance(0.3)]


@pytest.mark.parametrize("policy", POLICIES)
def test_the_model_is_left_as_it_was(policy, images, batches):
    model = wrap(classifier(), policy, seed=3)
    model.mixers[0].eval()
    model(images)
    state = copy.deepcopy(model.state_dict())
    flags = [module.training for module in model.modules()]
    before = torch.get_rng_state()
    mechanism.measure(model, images)
    mechanism.measure_orders(model, batches, images, passes=2, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert [module.training for module in model.modules()] == flags
    assert model.state_dict().keys() == state.keys()
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key])
    assert hooks(model) == (policy is not None and policy.fresh)
    if policy is None:
        assert not hasattr(model, "reordering")
    else:
        assert model.reordering.policy == policy


@pytest.mark.parametrize("policy", POLICIES)
def test_all_of_it_is_json(policy, images, batches):
    model = wrap(classifier(), policy, seed=3)
    found = mechanism.measure(model, images)
    orders = mechanism.measure_orders(model, batches, images, passes=2, seed=4)
    assert json.loads(json.dumps([found, orders], allow_nan=False)) == [found, orders]
    lists = [found[name] for name in ("depths", "tokens", "similarity", "centred")]
    lists += [found["effective_rank"], found["pooled_rank"], orders["sensitivity"]]
    lists += list(found["clusters"].values())
    if policy in (POLICIES[2], POLICIES[4]):  # no token is always read first
        assert found["excess"] is None
        assert found["response"] is None
    else:
        lists += [found["excess"], *found["response"].values()]
        assert list(found["response"]) == ["first", "later"]
    assert {len(each) for each in lists} == {4}
    assert list(found["clusters"]) == ["15", "30", "60"]
    assert len(orders["random"]) == 2


def test_measures_are_of_the_own_order(images):
    model = wrap(classifier(), FixedOrder(), seed=3)
    found = mechanism.measure(model, images)
    tokens = mechanism.layer_tokens(model, images)[1]
    first = int(policies.permutation(policies.pass_keys(3, torch.tensor(0), 3)[0], L)[0])
    assert first != 0
    for depth, x in enumerate(tokens):
        assert found["excess"][depth] == float(mechanism.excess(x, first).mean())
        assert found["similarity"][depth] == float(mechanism.similarity(x).mean())
        assert found["effective_rank"][depth] == float(mechanism.effective_rank(x).mean())
        assert found["centred"][depth] == float(mechanism.centred_similarity(x).mean())
        assert found["clusters"]["30"][depth] == float(mechanism.clusters(x, 30).mean())
        assert found["pooled_rank"][depth] == mechanism.pooled_rank(x)


def permutable(**sizes):
    """A classifier whose tokens do not meet, whatever their order."""
    model = classifier(**sizes)
    for mixer in model.mixers:
        mixer._scan = lambda u, steps, B, C: u * steps
    return model


def test_sensitivity_to_the_order(images, batches):
    orders = mechanism.measure_orders(permutable(), batches, images, passes=1, seed=4)
    # A linear map of the same rows in another order: float32's rounding, squared.
    assert max(orders["sensitivity"]) < 1e-12
    orders = mechanism.measure_orders(classifier(), batches, images, passes=1, seed=4)
    assert orders["sensitivity"][0] == 0
    assert min(orders["sensitivity"][1:]) > 1e-5
    twin = wrap(classifier(), RandomOrder(when="always"), seed=4)
    twin(images)
    one, other = (mechanism.layer_tokens(twin, images)[1] for _ in range(2))
    expected = [
        float((1 - torch.cosine_similarity(x.double(), y.double(), dim=-1)).mean())
        for x, y in zip(one, other, strict=True)
    ]
    # Cosines near 1 in float64, subtracted from it.
    assert orders["sensitivity"] == pytest.approx(expected, rel=1e-6, abs=1e-14)


def test_accuracy_in_each_order(images):
    """By hand; labels are the model's own answers, so that another order can only lose."""
    plain = classifier().eval()
    g = torch.Generator().manual_seed(5)
    images = torch.rand(200, 1, 8, 8, generator=g)
    with torch.no_grad():
        # Without what all images share, answers hang on the order.
        plain.head.bias -= plain(images).mean(0)
        model = wrap(copy.deepcopy(plain), FixedOrder(), seed=3)
        labels = model(images).argmax(1)
        assert 0.1 < float((plain(images).argmax(1) == labels).double().mean()) < 0.99
    batches = list(zip(images.split(60), labels.split(60), strict=True))
    orders = mechanism.measure_orders(model, batches, images[:9], passes=3, seed=4)
    assert orders["own"] == 1
    twin = wrap(plain, RandomOrder(when="always"), seed=4)
    with torch.no_grad():
        expected = [float((twin(images).argmax(1) == labels).double().mean()) for _ in range(3)]
    # In one batch or four, the same orders.
    assert orders["random"] == pytest.approx(expected)
    assert len({*expected, 1}) == 4


@pytest.mark.parametrize("policy", [None, FixedOrder()])
def test_response_to_the_first_token_read(policy, images):
    model = wrap(classifier(), policy, seed=3).eval()
    order = torch.arange(L)
    if policy is not None:
        order = policies.permutation(policies.pass_keys(3, torch.tensor(0), 3)[0], L)
    # The second image's patch there is the first's: that image has no response.
    for place in (int(order[4]), int(order[0])):
        row, column = divmod(place, 4)
        spot = (..., slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2))
        if place == int(order[4]):
            images[1][spot] = images[0][spot]
    found = mechanism.measure(model, images)["response"]
    kept = [0, 2, 3, 4, 5]
    for name, position in {"first": 0, "later": 4}.items():
        row, column = divmod(int(order[position]), 4)
        changed = images.clone()
        for image in range(6):
            for i in range(2 * row, 2 * row + 2):
                for j in range(2 * column, 2 * column + 2):
                    changed[image, 0, i, j] = images[image - 1, 0, i, j]
        with torch.no_grad():
            states = [x[kept][:, order].double() for x in model.tokens(images)]
            others = [x[kept][:, order].double() for x in model.tokens(changed)]
        rows = theory.response(states, others, position=position)
        assert found[name] == pytest.approx(rows[..., 5:].mean((1, 2)).tolist(), rel=1e-9)
        assert found[name][0] == 0
        assert min(map(abs, found[name][1:])) > 1e-6


def test_tokens_read_before_do_not_respond(images):
    """Which it is that comes first is read off the mixers: earlier tokens do not change."""
    model = wrap(classifier(), FixedOrder(), seed=3).eval()
    order = mechanism._reading_order(model, L).tolist()
    changed = mechanism._with_other_patch(model, images, order[5])
    states, others = (mechanism.layer_tokens(model, x)[1] for x in (images, changed))
    for x, y in zip(states, others, strict=True):
        # Rounding of float32, two orders below the least response at the end.
        torch.testing.assert_close(x[:, order[:5]], y[:, order[:5]], rtol=0, atol=1e-6)
    assert float((x - y)[:, order[5:]].abs().amax(-1).min()) > 1e-4


def test_images_alike_have_no_response(images):
    model = classifier()
    alike = images[:1].repeat(3, 1, 1, 1)
    assert mechanism.measure(model, alike)["response"] is None
    # In pixels that the embedding does not see.
    with torch.no_grad():
        model.patch_embed.weight[..., 0, 0] = 0
    alike[..., ::2, ::2] = torch.rand(3, 1, 4, 4)
    assert mechanism.measure(model, alike)["response"] is None


def test_noise_is_no_response(images):
    """As of kernels that add in no fixed order: images alike, tokens not quite."""
    model = classifier()
    model.patch_embed.register_forward_hook(
        lambda *given: given[2] + 1e-6 * torch.randn(3, 8, 4, 4)
    )
    assert mechanism.measure(model, images[:1].repeat(3, 1, 1, 1))["response"] is None


@pytest.mark.parametrize("patch", [8, 4])
def test_few_tokens(patch, images, batches):
    model = classifier(patch=patch)
    found = mechanism.measure(model, images)
    json.dumps(found, allow_nan=False)
    if patch == 8:
        assert found["similarity"] == found["excess"] == [None] * 4
        assert found["response"] is None
        assert found["clusters"]["15"] == [1] * 4
    mechanism.measure_orders(model, batches, images, passes=1, seed=0)


# Refusals.


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x, b: mechanism.layer_tokens(nn.Linear(2, 2), x), "model: got Linear, takes an"),
        (lambda m, x, b: mechanism.measure(nn.Identity(), x), "model: got Identity without"),
        (lambda m, x, b: mechanism.measure(m, x[:1]), r"images: shape \(1, 1, 8, 8\), takes"),
        (lambda m, x, b: mechanism.measure(m, x[0]), r"images: got shape \(1, 8, 8\), takes"),
        (
            lambda m, x, b: mechanism.similarity(x),
            r"tokens: got shape \(6, 1, 8, 8\), takes a tensor \(B, L, D",
        ),
        (lambda m, x, b: mechanism.similarity(0 * x[:, 0]), "tokens: hold one that is zero or"),
        (lambda m, x, b: mechanism.similarity(x[:, 0] / 0), "tokens: got NaN or infinity"),
        (
            lambda m, x, b: mechanism.clusters(x[:, 0], 0),
            "angle: got 0.0, takes a finite number above 0",
        ),
        (lambda m, x, b: mechanism.excess(x[:, 0], 8), "first: got 8, takes 0 to 7"),
        (
            lambda m, x, b: mechanism.measure_orders(m, b, x, passes=0, seed=0),
            "passes: got 0, takes a whole number of 1 or more",
        ),
        (
            lambda m, x, b: mechanism.measure_orders(m, iter(b), x, passes=1, seed=0),
            "batches: got list_iterator, takes",
        ),
        (
            lambda m, x, b: mechanism.measure_orders(m, [], x, passes=1, seed=0),
            "batches: got list, takes one batch or more",
        ),
        (
            lambda m, x, b: mechanism.measure_orders(m, b, x, passes=1, seed=-1),
            "seed: got -1, takes a whole number",
        ),
    ],
)
def test_bad_input_is_refused(call, message, images, batches):
    with pytest.raises(ValueError, match=f"^{message}"):
        call(classifier(), images, batches)
