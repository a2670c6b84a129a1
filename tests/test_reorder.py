"""Reordered tokens: which order, that nothing else changes, and that it survives what models do."""

import copy
import itertools
import pickle

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tokensphere.reorder import (
    ByImportance,
    FixedOrder,
    LayerwiseShuffle,
    RandomOrder,
    policies,
    unwrap,
    wrap,
)
from tokensphere.reorder.models import S6Classifier

L = 7
EVERY = (RandomOrder(), RandomOrder(0.5), LayerwiseShuffle(0.9), FixedOrder(), ByImportance(0.3))
FRESH = EVERY[:3]
SIZES = {"vocab_size": 20, "hidden_size": 8, "state_size": 4, "num_hidden_layers": 2}


class MambaVisionMixer(nn.Module):
    """A stand-in: found by the same name, cheap, and what it does depends on the order."""

    def __init__(self):
        super().__init__()
        self.in_proj = nn.Linear(6, 6, bias=False)

    def forward(self, hidden_states):
        self.seen = hidden_states.detach().clone()
        x = self.in_proj(hidden_states)
        return x * torch.sigmoid(x).cumsum(-2)


MambaVisionMixer.__module__ = "mambavision.models.mamba_vision"


class Mixer(MambaVisionMixer):
    """Subclasses are found too; this one can be pickled, where the library is not installed."""


class Model(nn.Module):
    """Mixers alone, so that what each of them sees can be told from the model's input."""

    def __init__(self, depth=3, residual=1.0, recompute=False):
        super().__init__()
        self.mixers = nn.ModuleList(Mixer() for _ in range(depth))
        self.residual, self.recompute = residual, recompute

    def forward(self, x):
        for mixer in self.mixers:
            y = checkpoint(mixer, x, use_reentrant=False) if self.recompute else mixer(x)
            x = x + self.residual * y
        return x


@pytest.fixture
def x():
    return torch.randn(4, L, 6, generator=torch.Generator().manual_seed(1))


def model(**options):
    torch.manual_seed(0)
    return Model(**options)


def orders(wrapped, x):
    """The orders in which the mixers read x in one pass, each the same for the whole batch."""
    wrapped.residual = 0.0  # every mixer gets the model's own input
    wrapped(x)
    found = []
    for mixer in wrapped.mixers:
        same = (mixer.seen[:, :, None] == x[:, None]).all(-1).all(0)
        assert bool((same.sum(0) == 1).all())
        assert bool((same.sum(1) == 1).all())
        found.append(tuple(same.int().argmax(1).tolist()))
    return found


def gradients(run, x):
    """Output of run, and gradients of a loss in its parameters and in x."""
    x = x.clone().requires_grad_()
    parameters = [parameter for parameter in run.parameters() if parameter.requires_grad]
    y = run(x)
    return [y, *torch.autograd.grad(y.square().sum(), [x, *parameters])]


def assert_same(found, expected):
    """Equal but for rounding: two calls need not sum in the same order."""
    torch.testing.assert_close(found, expected)


# The permutations.


def permutations(count, length, probability=1.0, layers=2):
    policy = RandomOrder(probability)
    for step in range(count):
        keys = policies.pass_keys(5, torch.tensor(step), layers)
        yield [tuple(order) for order in policy.orders(keys, length).tolist()]


def test_all_permutations_are_equally_likely_and_independent():
    """Chi-squared tests at level 1e-3, on one seed: a sound hash passes 199 seeds of 200."""
    from scipy import stats

    drawn = list(permutations(3000, 4))
    index = {order: i for i, order in enumerate(itertools.permutations(range(4)))}
    first, second = torch.tensor([[index[order] for order in pair] for pair in drawn]).T
    for cells in (first, second):
        assert stats.chisquare(cells.bincount(minlength=24)).pvalue > 1e-3
    # Of one pass and the next, of a mixer and the next, of one seed and the next.
    other = torch.stack(
        [
            policies.permutation(policies.pass_keys(6, torch.tensor(step), 2)[0], 4)
            for step in range(3000)
        ]
    )
    heads = torch.tensor([[order[0] for order in pair] for pair in drawn])
    for a, b in ((heads[:-1, 0], heads[1:, 0]), heads.T, (heads[:, 0], other[:, 0])):
        assert stats.chisquare((4 * a + b).bincount(minlength=16)).pvalue > 1e-3


@pytest.mark.parametrize("length", [1, 2, 49, 4096])
def test_a_permutation_has_every_token_once(length):
    keys = policies.pass_keys(2**64 - 1, torch.tensor(2**40), 3)
    found = policies.permutation(keys, length)
    assert torch.equal(found.sort().values, torch.arange(length).expand(3, -1))
    for key, order in zip(keys, found, strict=True):
        assert torch.equal(policies.permutation(key, length), order)


def test_permutations_of_a_seed_stay_the_same():
    """A checkpoint resumes under another version of this package: the orders must not move."""
    keys = policies.pass_keys(2**32 + 7, torch.tensor(3), 2)
    assert keys.tolist() == KEYS
    assert policies.permutation(keys[1], 8).tolist() == ORDER


# Computed once, in Python's own integers, from the definition.
KEYS = [1630274946, 2616718017]
ORDER = [0, 6, 5, 4, 3, 7, 1, 2]


def test_shuffled_as_often_as_asked():
    kept = torch.arange(L)
    shares = []
    for policy, share in (
        (RandomOrder(0.3), [0.3, 0.3, 0.3]),
        (LayerwiseShuffle(0.9), [0.3, 0.6, 0.9]),
        (LayerwiseShuffle(0.0), [0.0, 0.0, 0.0]),
        (RandomOrder(1.0), [1.0, 1.0, 1.0]),
    ):
        moved = torch.zeros(3)
        for step in range(1000):
            keys = policies.pass_keys(0, torch.tensor(step), 3)
            moved += (policy.orders(keys, L) != kept).any(-1)
        shares.append((moved / 1000, torch.tensor(share)))
    for found, expected in shares:
        # 4 standard errors; 1 in 7! orders drawn is the one kept.
        error = 4 * (expected * (1 - expected) / 1000).sqrt() + 1e-3
        assert bool(((found - expected).abs() <= error).all()), (found, expected)


# What the mixers see.


def test_random_orders_are_fresh_in_every_pass_and_mixer(x):
    wrapped = wrap(model(), RandomOrder(), seed=3)
    seen = [order for _ in range(4) for order in orders(wrapped, x)]
    assert len(set(seen)) == 12
    assert int(wrapped.reordering.step) == 4
    again = wrap(model(), RandomOrder(), seed=3)
    assert [order for _ in range(4) for order in orders(again, x)] == seen
    assert orders(wrap(model(), RandomOrder(), seed=4), x) != seen[:3]


def test_mixers_of_other_lengths_have_orders_of_their_own(x):
    """Stages of a model have fewer and fewer tokens; batches end with a smaller one."""
    wrapped = wrap(model(), RandomOrder(), seed=3)
    alone = [orders(wrap(model(), RandomOrder(), seed=3), x[:, :n]) for n in (L, L - 2)]
    seen = []

    def mixed(x):
        for layer, tokens in enumerate((x, x[:, : L - 2], x, x[:2])):
            mixer = wrapped.mixers[min(layer, 2)]
            mixer(tokens)
            seen.append((mixer.seen[:1, :, None] == tokens[:1, None]).all(-1)[0].int().argmax(-1))

    wrapped.forward = mixed
    wrapped(x)
    seen = [tuple(order.tolist()) for order in seen]
    assert seen == [alone[0][0], alone[1][1], alone[0][2], alone[0][2]]


def test_orders_made_in_inference_mode_are_not_trained_with(x):
    wrapped = wrap(model(), FixedOrder(), seed=3)
    with torch.inference_mode():
        expected = wrapped(x)
    y = wrapped(x)
    y.sum().backward()
    assert_same(y, expected)


def test_a_fixed_order_is_one(x):
    wrapped = wrap(model(), FixedOrder(), seed=3)
    seen = {order for _ in range(3) for order in orders(wrapped, x)}
    seen |= set(orders(wrapped.eval(), x))
    assert len(seen) == 1
    assert seen != {tuple(range(L))}
    assert set(orders(wrap(model(), FixedOrder(), seed=4), x)) != seen


def test_tokens_are_handed_back_in_their_order(x):
    wrapped = wrap(model(depth=1), RandomOrder(), seed=3)
    mixer = wrapped.mixers[0]
    y = wrapped(x)
    order = torch.tensor(orders(wrap(model(depth=1), RandomOrder(), seed=3), x)[0])
    expected = x.clone()
    expected[:, order] += Mixer.forward(mixer, x[:, order])
    assert_same(y, expected)


@pytest.mark.parametrize("policy", FRESH)
def test_evaluation_is_left_alone(policy, x):
    plain = model()
    for wrapped in (wrap(model(), policy, seed=3).eval(), wrap(model().eval(), policy, seed=3)):
        assert_same(gradients(wrapped, x), gradients(plain, x))
        assert int(wrapped.reordering.step) == 0
    if isinstance(policy, RandomOrder):
        asked = wrap(model().eval(), RandomOrder(policy.probability, when="always"), seed=3)
        assert orders(asked, x) == orders(wrapped.train(), x)


# Nothing but the order.


def models():
    """One of each family: the model, its input, how many mixers it has."""
    import transformers

    g = torch.Generator().manual_seed(2)
    ids = torch.randn(3, 6, 8, generator=g)
    for name in ("Mamba", "FalconMamba", "Mamba2"):
        options = {"head_dim": 4, "num_heads": 4, "n_groups": 2} if name == "Mamba2" else {}
        config = getattr(transformers, f"{name}Config")(**SIZES, **options)
        inner = getattr(transformers, f"{name}Model")(config)
        yield Embedded(inner), ids, 2
    images = torch.randn(3, 1, 8, 8, generator=g)
    sizes = {"size": 8, "channels": 1, "patch": 2, "width": 8, "depth": 3, "states": 4}
    yield S6Classifier(5, **sizes), images, 3
    yield Model(), torch.randn(3, L, 6, generator=g), 3


class Embedded(nn.Module):
    """A language model on given embeddings; the embedding of its words has no gradient."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        inner.embeddings.weight.requires_grad_(False)

    def forward(self, x):
        return self.inner(inputs_embeds=x, use_cache=False).last_hidden_state


@pytest.mark.parametrize("identity", ["never permuted", "permuted by the identity"])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_the_identity_changes_no_bit(identity, monkeypatch):
    if identity == "permuted by the identity":
        monkeypatch.setattr(
            policies, "permutation", lambda keys, n: torch.arange(n).expand(*keys.shape, n)
        )
    policy = RandomOrder(0.0 if identity == "never permuted" else 1.0)
    torch.manual_seed(0)
    for plain, x, mixers in models():
        expected = gradients(plain.train(), x)
        wrapped = wrap(copy.deepcopy(plain), policy)
        assert len(wrapped.reordering.keys) == mixers
        assert_same(gradients(wrapped, x), expected)
        assert int(wrapped.reordering.step) == 1


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_a_random_order_changes_all_of_them():
    torch.manual_seed(0)
    for plain, x, _ in models():
        y = plain.train()(x)
        assert not torch.allclose(wrap(plain, RandomOrder(), seed=1)(x), y)
        assert_same(unwrap(plain)(x), y)


def test_gradients_of_a_permuted_pass_are_those_of_torch(x):
    """The gradient by the inverse permutation, and its own, against finite differences."""
    wrapped = wrap(model().double(), FixedOrder(), seed=3)
    inputs = x[:1, :3].double().requires_grad_()
    assert torch.autograd.gradcheck(wrapped, inputs)
    assert torch.autograd.gradgradcheck(wrapped, inputs)


@pytest.mark.parametrize("policy", EVERY)
def test_torch_s_generator_is_left_alone(policy, x):
    plain = model()
    before = torch.get_rng_state()
    wrap(plain, policy, seed=3)(x)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("policy", EVERY)
def test_unwrapping_leaves_nothing(policy, x):
    plain, wrapped = model(), model()
    keys, attributes = set(vars(wrapped)), set(vars(wrapped.mixers[0]))
    wrap(wrapped, policy, seed=3)(x)
    assert not torch.allclose(wrapped(x), plain(x))
    assert wrap(wrapped, None) is wrapped
    assert set(vars(wrapped)) == keys
    assert set(vars(wrapped.mixers[0])) - {"seen"} == attributes
    assert not wrapped._forward_pre_hooks
    assert wrapped.state_dict().keys() == plain.state_dict().keys()
    assert_same(gradients(wrapped, x), gradients(plain, x))
    assert unwrap(wrapped) is wrapped


def test_wrapped_again_it_has_the_new_policy_alone(x):
    wrapped = wrap(wrap(model(), ByImportance(1.0)), RandomOrder(), seed=3)
    assert orders(wrapped, x) == orders(wrap(model(), RandomOrder(), seed=3), x)
    assert len(list(wrapped.parameters())) == len(list(model().parameters()))


def test_a_forward_put_in_place_by_others_is_put_back(x):
    plain = model()
    calls = []
    original = plain.mixers[0].forward
    plain.mixers[0].forward = put = lambda tokens: calls.append(1) or original(tokens)
    wrap(plain, RandomOrder())(x)
    assert calls == [1]
    assert unwrap(plain).mixers[0].forward is put


# State.


def test_a_checkpoint_restores_the_orders(x):
    whole = wrap(model(), RandomOrder(), seed=3)
    seen = [orders(whole, x) for _ in range(5)]
    half = wrap(model(), RandomOrder(), seed=3)
    for _ in range(2):
        half(x)
    state = half.state_dict()
    assert state.keys() - model().state_dict().keys() == {"reordering.step"}
    resumed = wrap(model(), RandomOrder(), seed=3)
    resumed.load_state_dict(state)
    assert [orders(resumed, x) for _ in range(3)] == seen[2:]
    # Weights of the model unwrapped load, and say nothing about the passes.
    half.load_state_dict(model().state_dict())
    assert orders(half, x) == seen[2]


@pytest.mark.parametrize("policy", EVERY)
def test_copies_are_whole_and_apart(policy, x):
    twin = wrap(model(), policy, seed=3)
    twin(x)
    second = twin(x)
    wrapped = wrap(model(), policy, seed=3)
    wrapped(x)
    for other in (copy.deepcopy(wrapped), pickle.loads(pickle.dumps(wrapped))):
        assert_same(other(x), second)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.zero_()
        assert torch.equal(other(x), x)
        unwrap(other)
        assert not other._forward_pre_hooks
    # After all that was done to its copies.
    assert_same(wrapped(x), second)


def test_recomputed_activations_meet_the_same_order(x):
    for policy in EVERY:
        kept = wrap(model(), policy, seed=3)
        recomputed = wrap(model(recompute=True), policy, seed=3)
        for _ in range(2):
            assert_same(gradients(recomputed, x), gradients(kept, x))


# By importance.


def test_soft_sort_is_its_formula():
    scores = torch.tensor([[0.3, -1.0, 2.0]], dtype=torch.float64)
    found = policies.soft_sort(scores, 0.7)[0]
    for i, ranked in enumerate([-1.0, 0.3, 2.0]):
        weights = torch.exp(-(ranked - scores[0]).abs() / 0.7)
        # Rounding: sums of three in float64.
        torch.testing.assert_close(found[i], weights / weights.sum(), rtol=1e-14, atol=0)


def test_a_cold_sort_by_importance_is_a_permutation(x):
    """At a temperature far below the gaps of the scores: sorted, mixed, put back."""
    plain = model(depth=1)
    wrapped = wrap(model(depth=1), ByImportance(1e-6), seed=3)
    scores = x @ wrapped.reordering.scores[0].weight[0]
    assert scores.sort().values.diff().min() > 1e-4
    order = scores.argsort()
    assert len(set(map(tuple, order.tolist()))) == len(x)
    for one, sequence, y in zip(order, x, wrapped(x), strict=True):
        expected = sequence.clone()
        expected[one] += plain.mixers[0](sequence[one])
        # exp(-1e-4 / 1e-6) is 0 in float32, so that only products with it are left to round.
        torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)
    assert_same(wrapped.eval()(x), wrapped.train()(x))


def test_scores_are_parameters_and_learn(x):
    plain = model()
    wrapped = wrap(model(), ByImportance(0.3), seed=3)
    names = [f"reordering.scores.{i}.weight" for i in range(3)]
    assert list(wrapped.state_dict()) == [*plain.state_dict(), *names]
    parameters = dict(wrapped.named_parameters())
    wrapped(x).square().sum().backward()
    for name in names:
        assert parameters[name].shape == (1, 6)
        assert float(parameters[name].grad.abs().max()) > 0
    other = wrap(model(), ByImportance(0.3), seed=4)
    assert not torch.equal(other.reordering.scores[0].weight, parameters[names[0]])
    other.load_state_dict(wrapped.state_dict())
    assert_same(other(x), wrapped(x))


# What surrounds a model in training.


def test_autocast_changes_no_order_and_no_bit(x):
    for policy in FRESH:
        expected = orders(wrap(model(), policy, seed=3), x)
        with torch.autocast("cpu", torch.bfloat16):
            assert orders(wrap(model(), policy, seed=3), x) == expected
    plain, wrapped = model(), wrap(model(), RandomOrder(0.0))
    with torch.autocast("cpu", torch.bfloat16):
        assert_same(gradients(wrapped, x), gradients(plain, x))


def test_autocast_tells_scores_apart():
    """Scores 0.001 apart around 1, where bfloat16 has steps of 0.008."""
    wrapped = wrap(model(depth=1), ByImportance(1e-6), seed=3)
    nn.init.ones_(wrapped.reordering.scores[0].weight)
    marks = torch.arange(L).flip(0)
    tokens = torch.zeros(1, L, 6)
    tokens[..., 0] = 1 + 0.001 * marks
    tokens[..., 1], tokens[..., 2] = marks, -marks  # whole numbers, which bfloat16 holds
    with torch.autocast("cpu", torch.bfloat16):
        wrapped(tokens)
    assert wrapped.mixers[0].seen[0, :, 1].tolist() == list(range(L))


@pytest.mark.parametrize("policy", [RandomOrder(0.5), LayerwiseShuffle(0.9), ByImportance(0.3)])
def test_compiled_without_a_break_it_is_the_same(policy, x):
    torch._dynamo.reset()
    plain, wrapped = wrap(model(), policy, seed=3), wrap(model(), policy, seed=3)
    compiled = torch.compile(wrapped, backend="aot_eager", fullgraph=True)
    for _ in range(3):
        assert_same(gradients(compiled, x), gradients(plain, x))
    if policy.fresh:
        assert int(wrapped.reordering.step) == 3
    if policy.when == "training":
        assert_same(compiled.eval()(x), model()(x))


def distributed(rank, folder, x):
    from torch import distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    found = []
    for policy in (RandomOrder(), ByImportance(0.3)):
        wrapped = nn.parallel.DistributedDataParallel(wrap(model(), policy, seed=3))
        for _ in range(2):
            wrapped.zero_grad()
            wrapped(x[rank::2]).square().sum().backward()
        found.append([parameter.grad for parameter in wrapped.parameters()])
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_train_as_one_process_does(x, tmp_path):
    torch.multiprocessing.spawn(distributed, (str(tmp_path), x), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for i, policy in enumerate((RandomOrder(), ByImportance(0.3))):
        single = wrap(model(), policy, seed=3)
        single(x)
        expected = gradients(single, x)[2:]
        for found in (ranks[0][i], ranks[1][i]):
            for one, other in zip(found, expected, strict=True):
                # The mean over ranks of sums over halves; float32 sums in another order.
                torch.testing.assert_close(2 * one, other, rtol=1e-4, atol=1e-4)


# Refusals.


def test_a_model_without_mixers_is_refused():
    with pytest.raises(ValueError, match="model: got Linear, which has none of.*Mamba2Mixer"):
        wrap(nn.Linear(2, 2), RandomOrder())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomOrder(1.5), "probability: got 1.5, takes a number from 0 to 1"),
        (lambda: RandomOrder(float("nan")), "probability: got nan"),
        (lambda: RandomOrder("often"), "probability: got 'often'"),
        (lambda: RandomOrder(when="testing"), "when: got 'testing', takes 'training' or 'always'"),
        (lambda: LayerwiseShuffle(-0.1), "rate: got -0.1, takes a number from 0 to 1"),
        (lambda: ByImportance(0.0), "temperature: got 0.0, takes a finite number > 0"),
        (lambda: ByImportance(float("inf")), "temperature: got inf"),
        (lambda: wrap(Model(), "random"), "policy: got 'random', takes a policy of"),
        (
            lambda: wrap(Model(), RandomOrder(), seed=-1),
            "seed: got -1, takes a whole number from 0",
        ),
        (lambda: wrap(Model(), RandomOrder(), seed=True), "seed: got True"),
        (
            lambda: wrap(torch.compile(Model(), backend="eager"), RandomOrder()),
            "model: got a OptimizedModule, takes the model itself",
        ),
        (
            lambda: wrap(nn.Sequential(wrap(Model(), RandomOrder())), RandomOrder()),
            "model: got Sequential with a mixer that is wrapped already",
        ),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_padding_and_caches_are_refused():
    from transformers import MambaConfig, MambaForCausalLM

    torch.manual_seed(0)
    language_model = MambaForCausalLM(MambaConfig(**SIZES)).train()
    ids = torch.arange(12).view(2, 6)
    mask = torch.ones_like(ids)
    mask[1, :2] = 0
    before = language_model(ids, attention_mask=mask).logits
    wrap(language_model, RandomOrder())
    with pytest.raises(ValueError, match="attention_mask: got padding"):
        language_model(ids, attention_mask=mask)
    with pytest.raises(ValueError, match="cache_params: got a cache.*use_cache=False"):
        language_model(ids, use_cache=True)
    mixer = language_model.backbone.layers[0].mixer
    with pytest.raises(ValueError, match="attention_mask: got padding"):
        mixer(torch.zeros(2, 6, 8), None, mask)
    language_model(ids, attention_mask=torch.ones_like(ids))
    assert_same(language_model.eval()(ids, attention_mask=mask).logits, before)
