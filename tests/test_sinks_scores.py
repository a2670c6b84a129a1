"""Sink scores against their definitions written out, their memory, and their intervals."""

import itertools
import weakref

import numpy as np
import pytest
import torch
from scipy import stats
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tokensphere import s6
from tokensphere.sinks import scores
from tokensphere.sinks.layer import Layer
from tokensphere.sinks.scores import (
    VARIANTS,
    attention_map,
    importance,
    interval,
    sample_channels,
    sample_sink_rates,
    sink_rate,
    sink_score,
)


def make_layer(seed, lengths=(9,), channels=4, states=3, groups=1, length=None, dtype="float64"):
    """A layer with random tensors, zero past the ends of its sequences."""
    g = torch.Generator().manual_seed(seed)
    dtype = getattr(torch, dtype)
    lengths = torch.tensor(lengths)
    length = length or int(lengths.max())
    real = (torch.arange(length) < lengths[:, None]).double()

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    batch = len(lengths)
    return Layer(
        name="mixer",
        u=(normal(batch, channels, length) * real[:, None]).to(dtype),
        delta=(normal(batch, channels, length).exp() * 0.3 * real[:, None]).to(dtype),
        A=-normal(channels, states).exp().to(dtype),
        B=(normal(batch, groups, states, length) * real[:, None, None]).to(dtype),
        C=(normal(batch, groups, states, length) * real[:, None, None]).to(dtype),
        skip=normal(channels).to(dtype),
        gate=None,
        lengths=lengths,
    )


def variant_of(M, variant):
    """The matrix that is scored, from (L, L), row by row."""
    rows = torch.zeros_like(M)
    for l in range(len(M)):
        row = M[l, : l + 1]
        if variant == "softmax":
            row = torch.exp(row) / torch.exp(row).sum()
        elif variant == "absolute":
            total = row.abs().sum()
            row = row.abs() / total if total > 0 else torch.full_like(row, 1 / (l + 1))
        rows[l, : l + 1] = row
    return rows


def written_out(layer, variant):
    """Eq (33), matrix by matrix and column by column."""
    M = s6.hidden_attention(*layer.tensors)
    alpha = torch.full(layer.delta.shape, torch.nan, dtype=M.dtype)
    for b, T in enumerate(layer.lengths.tolist()):
        for d in range(M.shape[1]):
            rows = variant_of(M[b, d, :T, :T], variant)
            for k in range(T):
                alpha[b, d, k] = rows[k:, k].sum() / (T - k)
    return alpha


def close(got, want, tolerance=1e-12):
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("variant", VARIANTS)
def test_importance_is_equation_33_written_out(variant, groups):
    layer = make_layer(0, (9, 4, 1), channels=6, groups=groups)
    close(importance(layer, variant), written_out(layer, variant))


@pytest.mark.parametrize("variant", ["softmax", "absolute"])
@pytest.mark.parametrize("budget", [1, 9 * 8 * 23 * 2, 9 * 8 * 23 * 5, 9 * 8 * 23 * 13])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_pieces_of_any_size_give_the_same(monkeypatch, variant, budget, groups):
    """Budgets with room for one, two, five and thirteen channels of six a sequence."""
    layer = make_layer(1, (9, 5, 9), channels=6, groups=groups)
    whole, whole_map = importance(layer, variant), attention_map(layer, variant)
    monkeypatch.setattr(scores, "BUDGET", budget)
    close(importance(layer, variant), whole)
    close(attention_map(layer, variant), whole_map)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_sequence_scores_the_same_within_a_batch(variant):
    """Whatever its padding and its neighbours."""
    batch = make_layer(2, (5, 8), channels=3, length=11)
    alone = Layer(
        **{
            **vars(batch),
            **{name: getattr(batch, name)[:1, ..., :5] for name in ("u", "delta", "B", "C")},
            "lengths": batch.lengths[:1],
        }
    )
    close(importance(batch, variant)[:1, :, :5], importance(alone, variant))
    assert importance(batch, variant)[0, :, 5:].isnan().all()


@pytest.mark.parametrize("variant", ["softmax", "absolute"])
def test_shares_of_each_query_add_up_to_one(variant):
    alpha = importance(make_layer(3, (12,)), variant)
    queries = torch.arange(12, 0, -1)
    close((alpha * queries).sum(-1), torch.full((1, 4), 12.0, dtype=torch.float64))


@pytest.mark.parametrize("variant", ["softmax", "absolute"])
def test_rows_without_weight_count_as_uniform(variant):
    layer = make_layer(4, (6,))
    layer.C[..., 3] = 0
    alpha = importance(layer, variant)
    close(alpha, written_out(layer, variant))
    # Queries 4 to 6 of token 4: the fourth gives it 1/4.
    layer.C[..., 4:] = 0
    last = importance(layer, variant)[..., 3]
    close(last, torch.full_like(last, (1 / 4 + 1 / 5 + 1 / 6) / 3))


@pytest.mark.parametrize("variant", VARIANTS)
def test_half_precision_layers_are_scored_in_float32(variant):
    half = make_layer(5, (40, 30), dtype="bfloat16")
    names = ("u", "delta", "A", "B", "C", "skip")
    exact = Layer(**{**vars(half), **{name: getattr(half, name).double() for name in names}})
    got = importance(half, variant)
    assert got.dtype == torch.float32
    # float32 rounding of sums over 40 queries and 3 states; bfloat16 would be off by 4e-3.
    close(got.double(), importance(exact, variant), tolerance=2e-6)
    assert attention_map(half, variant).dtype == torch.float32


def test_raw_importance_needs_no_rows(monkeypatch):
    def refuse(*args):
        raise AssertionError("raw scores come from s6.column_sums")

    monkeypatch.setattr(s6, "attention_rows", refuse)
    monkeypatch.setattr(s6, "hidden_attention", refuse)
    layer = make_layer(6, (3000,), channels=2, dtype="float32")
    assert importance(layer).isfinite().all()


class Peak(TorchDispatchMode):
    """Bytes of the tensors that live at once, at their highest, beside those of a layer."""

    def __init__(self, layer):
        super().__init__()
        self.now = self.highest = 0
        # Views of what was there before take nothing; counted from 1, they are never dropped.
        given = (layer.u, *layer.tensors, layer.lengths)
        self.held = {value.untyped_storage().data_ptr(): (1, 0) for value in given}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key, size = storage.data_ptr(), storage.nbytes()
                count = self.held.get(key, (0, size))[0]
                self.held[key] = (count + 1, size)
                self.now += size if count == 0 else 0
                weakref.finalize(tensor, self._drop, key)
        self.highest = max(self.highest, self.now)
        return out

    def _drop(self, key):
        count, size = self.held.pop(key)
        if count > 1:
            self.held[key] = (count - 1, size)
        else:
            self.now -= size


@pytest.mark.parametrize(("batch", "channels", "groups"), [(2, 32, 1), (2, 32, 32), (64, 1, 1)])
@pytest.mark.parametrize("function", [importance, attention_map])
def test_memory_stays_within_the_budget(monkeypatch, function, batch, channels, groups):
    layer = make_layer(7, [64] * batch, channels, states=8, groups=groups, dtype="float32")
    # All rows take 64 64 64 numbers, 1 MiB; all keys' states 64 64 8, 128 KiB.
    budget = 2**16
    monkeypatch.setattr(scores, "BUDGET", budget)
    with Peak(layer) as peak:
        function(layer, "absolute")
    result = 4 * 64 * 64
    assert budget / 4 < peak.highest < budget + 2 * result
    # The measure can see what it should: a larger budget does take more.
    monkeypatch.setattr(scores, "BUDGET", 2**24)
    with Peak(layer) as more:
        function(layer, "absolute")
    assert more.highest > 3 * (budget + 2 * result)


@pytest.mark.parametrize("variant", VARIANTS)
def test_attention_map_is_the_mean_of_the_rows(variant):
    layer = make_layer(8, (7, 5), channels=3)
    M = s6.hidden_attention(*layer.tensors)[..., :5, :5]
    rows = [variant_of(M[b, d], variant) for b in range(2) for d in range(3)]
    got = attention_map(layer, variant)
    close(got, torch.stack(rows).mean(0))
    assert (got.triu(1) == 0).all()
    if variant != "raw":
        close(got.sum(-1), torch.ones(5, dtype=torch.float64))


def test_channels_are_drawn_without_replacement_and_again_the_same():
    drawn = sample_channels(8192, 200, seed=3, layer=5)
    assert drawn.shape == (200,) and (drawn.diff() > 0).all()
    assert drawn.min() >= 0 and drawn.max() < 8192
    torch.testing.assert_close(drawn, sample_channels(8192, 200, seed=3, layer=5))
    for other in ({"seed": 3, "layer": 6}, {"seed": 4, "layer": 5}, {"seed": 5, "layer": 3}):
        assert not torch.equal(drawn, sample_channels(8192, 200, **other))
    for all_of_them in (None, 24, 200):
        assert sample_channels(24, all_of_them, seed=0, layer=0).tolist() == list(range(24))


def test_channels_of_layers_are_drawn_independently():
    """Each channel as often as another, and two layers share as many as chance has it."""
    draws = [set(sample_channels(20, 5, seed=0, layer=l).tolist()) for l in range(400)]
    counts = np.bincount([c for draw in draws for c in draw], minlength=20)
    assert stats.chisquare(counts).pvalue > 1e-3  # a fixed draw: fails never or always
    shared = np.mean([len(a & b) for a, b in itertools.pairwise(draws)])
    # Hypergeometric, mean 5 5 / 20; four standard errors of 399 pairs.
    assert abs(shared - 1.25) < 4 * 0.86 / np.sqrt(399)


def test_sink_rate_counts_channels_above_the_threshold():
    alpha = torch.tensor(
        [
            [[0.5, 0.1], [0.5, 0.3], [0.0, 0.4], [-9.0, 0.2]],
            [[0.2, torch.nan], [0.0, torch.nan], [0.2, torch.nan], [8.0, torch.nan]],
        ]
    )
    rates = sample_sink_rates(alpha)
    close(rates, torch.tensor([[0.5, 0.25], [0.25, torch.nan]]), 1e-6)
    # 0.3 itself does not exceed 0.3.
    close(sink_rate(alpha), torch.tensor([0.375, 0.25]), 1e-6)
    # Means of token 1: 0.35, 0.25, 0.1, -0.5.
    before = sink_rate(alpha, average_samples="before_threshold")
    close(before, torch.tensor([0.25, 0.25]), 1e-6)
    close(sink_rate(alpha, threshold=0.45), torch.tensor([0.375, 0.0]), 1e-6)
    close(sink_rate(alpha, threshold=-1.0), torch.tensor([0.875, 1.0]), 1e-6)


@pytest.mark.parametrize("average", ["after_threshold", "before_threshold"])
def test_no_rate_where_there_is_no_token(average):
    alpha = torch.full((2, 3, 4), 0.9)
    alpha[:, :, 3] = torch.nan
    close(sink_rate(alpha, average_samples=average), torch.tensor([1.0, 1, 1, torch.nan]), 0)


def test_sink_score_is_the_mean_over_layers():
    rates = [torch.tensor([0.2, torch.nan]), torch.tensor([0.6, torch.nan])]
    close(sink_score(rates), torch.tensor([0.4, torch.nan]), 1e-6)
    assert sink_score([torch.zeros(5, 2), torch.ones(5, 2)]).shape == (5, 2)


def test_interval_is_the_t_interval_of_the_values_there_are():
    g = torch.Generator().manual_seed(0)
    values = torch.rand(12, 3, generator=g, dtype=torch.float64)
    values[4:, 1] = torch.nan
    values[1:, 2] = torch.nan
    low, high = interval(values, confidence=0.9)
    for column, rows in ((0, 12), (1, 4)):
        want = stats.ttest_1samp(values[:rows, column].numpy(), 0).confidence_interval(0.9)
        assert float(low[column]) == pytest.approx(want.low, rel=1e-12)
        assert float(high[column]) == pytest.approx(want.high, rel=1e-12)
    assert low[2].isnan() and high[2].isnan()
    assert interval(torch.full((5,), 0.25))[0] == 0.25 == interval(torch.full((5,), 0.25))[1]
    assert all(end.isnan() for end in interval(torch.tensor([0.3])))


def test_interval_covers_the_mean_of_skewed_scores():
    """20 prompts, Beta(1/2, 5): nominal 0.95; a percentile bootstrap has 0.88 here."""
    values = np.random.default_rng(0).beta(0.5, 5, (20, 4000))
    low, high = interval(torch.from_numpy(values))
    covered = float(((low <= 0.5 / 5.5) & (high >= 0.5 / 5.5)).double().mean())
    assert 0.89 < covered < 0.96


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: importance(make_layer(0), "softmaxed"), "variant: got 'softmaxed', takes one of"),
        (lambda: attention_map(make_layer(0), None), "variant: got None"),
        (lambda: importance(make_layer(0, (0, 4))), "lengths: got [0, 4], takes 1 to 4"),
        (
            lambda: importance(Layer(**{**vars(make_layer(0)), "lengths": torch.tensor([10])})),
            "lengths: got [10], takes 1 to 9",
        ),
        (
            lambda: importance(Layer(**{**vars(make_layer(0)), "lengths": torch.tensor([9, 9])})),
            "lengths: shape (2,), takes (1,)",
        ),
        (lambda: sample_channels(0, 1, 0, 0), "count: got 0, takes a whole number of 1 or more"),
        (lambda: sample_channels(9, 0, 0, 0), "sample: got 0"),
        (lambda: sample_channels(9, 2.0, 0, 0), "sample: got 2.0"),
        (lambda: sample_channels(9, 2, -1, 0), "seed: got -1, takes a whole number of 0 or more"),
        (lambda: sample_channels(9, 2, 0, True), "layer: got True"),
        (
            lambda: sink_rate(torch.zeros(3, 4)),
            "importance: got shape (3, 4), takes a tensor (B, D, L)",
        ),
        (lambda: sample_sink_rates(torch.zeros(3, 0, 4)), "importance: got shape (3, 0, 4)"),
        (lambda: sink_rate(torch.zeros(1, 1, 1), float("nan")), "threshold: got nan"),
        (
            lambda: sink_rate(torch.zeros(1, 1, 1), average_samples="mean"),
            "average_samples: got 'mean', takes one of 'after_threshold'",
        ),
        (lambda: sink_score([]), "rates: got 0 of them"),
        (lambda: sink_score([torch.zeros(2), torch.zeros(3)]), "rates: got shapes [(2,), (3,)]"),
        (lambda: interval(torch.zeros(0)), "values: got (0,), takes a tensor (S, ...)"),
        (lambda: interval(torch.tensor(1.0)), "values: got ()"),
        (lambda: interval([1.0, 2.0]), "values: got [1.0, 2.0]"),
        (lambda: interval(torch.ones(2) / 0), "values: got infinity"),
        (lambda: interval(torch.zeros(2), 1.0), "confidence: got 1.0"),
    ],
)
def test_bad_input_is_named(call, names):
    with pytest.raises(ValueError) as caught:
        call()
    assert names in str(caught.value)
