"""The report's document, against scores of each prompt alone."""

import dataclasses
import functools
import hashlib
import json
import math
import sys

import pytest
import torch

from tokensphere import sinks
from tokensphere.sinks import report
from tokensphere.sinks.report import prompts as texts
from tokensphere.sinks.report.prompts import Prompts, changed
from tokensphere.sinks.typeseg import TypeSeg

transformers = pytest.importorskip("transformers")

VOCABULARY = 30
LENGTHS = (5, 12, 12, 9, 12)


def drawn(lengths, seed=0, bos=None):
    g = torch.Generator().manual_seed(seed)
    rows = [torch.randint(1, VOCABULARY, (length,), generator=g) for length in lengths]
    if bos is not None:
        for row in rows:
            row[0] = bos
    return rows


@torch.no_grad()
def build(make):
    """A model with weights so large that scores, rates and directions all differ."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = make().eval()
        for name, value in model.named_parameters():
            if value.ndim == 2 and not name.endswith("A_log"):
                torch.nn.init.normal_(value, std=2 / math.sqrt(value.shape[1]))
            if name.endswith("dt_proj.bias"):
                torch.nn.init.normal_(value, mean=-1.0)
            if name.endswith("A_log"):
                value -= 2.0  # a long memory
    return model.requires_grad_(False)


def mamba():
    config = transformers.MambaConfig(
        vocab_size=VOCABULARY, hidden_size=16, state_size=4, num_hidden_layers=3
    )
    return transformers.MambaForCausalLM(config)


def typeseg():
    return TypeSeg(blocks=2, width=12, inner=10, states=4, rank=3, classes=5)


@pytest.fixture(scope="module")
def model():
    return build(mamba)


@pytest.fixture(scope="module")
def document(model):
    return report.measure_model(model, drawn(LENGTHS), batch_size=2, threshold=0.1)


@pytest.fixture(scope="module")
def both_ways():
    model = build(typeseg)
    return model, report.measure_model(model, drawn(LENGTHS), batch_size=2, threshold=0.1)


@functools.cache
def captured(model, tokens):
    return sinks.capture(model, torch.tensor([tokens]))


def alone(model, prompt, depth, variant):
    """Importance (D, L) of one prompt by itself, without padding."""
    layer = captured(model, tuple(prompt.tolist()))[depth]
    return sinks.importance(layer, variant)[0].double()


def close(got, want, tolerance=1e-4):
    """1e-4: the document keeps five digits, and padding may change how float32 sums are ordered."""
    torch.testing.assert_close(
        torch.tensor(got, dtype=torch.float64),
        torch.as_tensor(want, dtype=torch.float64),
        rtol=tolerance,
        atol=1e-7,
        equal_nan=True,
    )


def mean_by_position(rows):
    return torch.nn.utils.rnn.pad_sequence(rows, True, torch.nan).nanmean(0)


@pytest.mark.parametrize("variant", sinks.VARIANTS)
def test_scores_and_rates_are_means_over_prompts_that_have_the_position(model, document, variant):
    for depth, layer in enumerate(document["layers"]):
        found = [alone(model, prompt, depth, variant) for prompt in drawn(LENGTHS)]
        close(layer["scores"][variant]["mean"], mean_by_position([a.mean(0) for a in found]))
        over = [(a > 0.1).double().mean(0) for a in found]
        close(layer["rates"][variant]["after_threshold"]["mean"], mean_by_position(over))
        pooled = torch.nn.utils.rnn.pad_sequence([a.T for a in found], True, torch.nan).nanmean(0)
        close(layer["rates"][variant]["before_threshold"], (pooled > 0.1).double().mean(1))
        first = torch.stack([a.mean(0)[0] for a in found])
        low, high = sinks.interval(first)
        close([layer["scores"][variant][key][0] for key in ("low", "high")], [low, high])
    assert document["prompts"]["counts"] == [5] * 5 + [4] * 4 + [3] * 3
    assert document["prompts"]["lengths"] == [5, 12, 12]


def test_the_models_score_is_the_mean_over_layers(document):
    (direction,) = document["directions"]
    assert direction["layers"] == [0, 1, 2] and not direction["reverse"]
    for variant in sinks.VARIANTS:
        found = direction["sink"][variant]["prompts"]
        rates = [layer["rates"][variant] for layer in document["layers"]]
        means = torch.tensor([rate["after_threshold"]["mean"] for rate in rates])
        # Positions 9 to 12 leave out the prompt of 9 tokens, or are read by too few of 12.
        close(found["after_threshold"]["mean"][:4], means.mean(0)[:4])
        pooled = torch.tensor([rate["before_threshold"] for rate in rates]).mean(0)
        close(found["before_threshold"][:9], pooled[:9])
        scores = torch.tensor([layer["scores"][variant]["mean"] for layer in document["layers"]])
        close(direction["importance"][variant]["prompts"]["mean"][:4], scores.mean(0)[:4], 2e-4)


def test_positions_that_few_tokens_read_are_left_out_of_what_compares_positions(model, document):
    """At 12 tokens position 10 has 3 readers, a quarter, and position 11 has less; at 5 tokens
    position 4 has 2, and position 5 has less."""
    (direction,) = document["directions"]
    for found in (
        document["uniform"]["mean"],
        direction["importance"]["absolute"]["prompts"]["mean"],
        direction["sink"]["raw"]["shuffled"]["before_threshold"],
    ):
        assert [value is None for value in found] == [False] * 10 + [True] * 2
    # Layers keep all of them.
    assert None not in document["layers"][0]["scores"]["raw"]["mean"]
    for position, lengths in {4: (5, 9, 12, 12, 12), 5: (9, 12, 12, 12), 8: (12, 12, 12)}.items():
        scores = [
            torch.stack([alone(model, p, depth, "raw").mean(0)[position - 1] for depth in range(3)])
            for p in drawn(LENGTHS)
            if len(p) in lengths
        ]
        mean = direction["importance"]["raw"]["prompts"]["mean"][position - 1]
        close(mean, torch.stack(scores).mean(), 2e-4)


def test_a_position_that_one_prompt_in_many_has_is_left_out(model):
    prompts = drawn([6] * 9 + [12])
    found = report.measure_model(model, prompts, layers=[0])
    mean = found["directions"][0]["importance"]["absolute"]["prompts"]["mean"]
    assert [value is None for value in mean] == [False] * 5 + [True] * 7


def test_nulls_are_the_scores_of_the_changed_prompts(model, document):
    versions = changed(Prompts.of(drawn(LENGTHS), "cpu"), 0, False, False)
    lengths = sorted(LENGTHS, reverse=True)
    assert set(versions) == {"prompts", "shuffled", "replaced"}
    for depth, layer in enumerate(document["layers"]):
        assert set(layer["nulls"]) == {"shuffled", "replaced"}
        for name in layer["nulls"]:
            for variant in sinks.VARIANTS:
                first = torch.stack(
                    [
                        alone(model, ids[:length], depth, variant)[:, 0]
                        for ids, length in zip(versions[name], lengths, strict=True)
                    ]
                )
                found = layer["nulls"][name][variant]
                close(found["score"]["mean"], first.mean())
                close(found["after_threshold"]["mean"], (first > 0.1).double().mean())
                close(found["before_threshold"], (first.mean(0) > 0.1).double().mean())


def test_the_verdict_weighs_each_prompt_against_its_own_length(model, document):
    versions = changed(Prompts.of(drawn(LENGTHS), "cpu"), 0, False, False)
    lengths = sorted(LENGTHS, reverse=True)
    null = torch.stack([sinks.uniform_importance(length)[0] for length in lengths])
    confidence = 1 - 0.05 / 3
    assert document["confidence"] == pytest.approx(confidence, abs=1e-8)
    for depth, layer in enumerate(document["layers"]):
        first = {
            name: torch.stack(
                [
                    alone(model, row[:length], depth, "absolute")[:, 0].mean()
                    for row, length in zip(ids, lengths, strict=True)
                ]
            )
            for name, ids in versions.items()
        }
        want = sinks.verdict(
            first["prompts"], null, first["shuffled"], first["replaced"], confidence
        )
        assert layer["verdict"]["kind"] == want.kind
        close(layer["verdict"]["excess"]["low"], want.excess.low, 1e-3)
        close(layer["verdict"]["fall_replaced"]["mean"], want.fall_replaced.mean, 1e-3)


def test_uniform_attention_is_averaged_over_the_lengths(document):
    rows = [sinks.uniform_importance(length) for length in LENGTHS]
    close(document["uniform"]["mean"][:4], mean_by_position(rows)[:4])
    # H_T / T is over 0.1 for all, and at position 10 no more than 1/10 is read.
    assert document["uniform"]["rate"][0] == 1.0
    assert document["uniform"]["rate"][9] == 0.0


def test_batches_and_order_change_nothing(model, document):
    other = report.measure_model(
        model, drawn(LENGTHS), batch_size=5, threshold=0.1, decode=lambda token: f"<{token}>"
    )
    for one, two in zip(document["layers"], other["layers"], strict=True):
        assert one["verdict"]["kind"] == two["verdict"]["kind"]
        for variant in sinks.VARIANTS:
            close(one["scores"][variant]["mean"], two["scores"][variant]["mean"])
            for name, null in one["nulls"].items():
                close(null[variant]["score"]["mean"], two["nulls"][name][variant]["score"]["mean"])
    tokens = other["prompts"]["first_tokens"]["forward"]
    assert sum(token["count"] for token in tokens) == len(LENGTHS)
    assert all(token["text"] == f"<{token['id']}>" for token in tokens)


def test_the_document_is_plain_json_and_does_not_grow_with_channels(document):
    text = json.dumps(document, allow_nan=False)
    assert json.loads(text) == document
    # 3 layers, 12 positions, 3 variants of 7 numbers, 6 digits, and as much again for the rest.
    assert len(text) < 50_000


def test_a_layer_that_reads_backward_starts_at_the_last_token(both_ways):
    model, document = both_ways
    prompts = drawn(LENGTHS)
    versions = changed(Prompts.of(prompts, "cpu"), 0, False, True)
    lengths = sorted(LENGTHS, reverse=True)
    assert [(layer["index"], layer["reverse"]) for layer in document["layers"]] == [
        (0, False),
        (0, True),
        (1, False),
        (1, True),
    ]
    assert [direction["reverse"] for direction in document["directions"]] == [False, True]
    assert [direction["layers"] for direction in document["directions"]] == [[0, 1], [0, 1]]
    for depth, layer in enumerate(document["layers"]):
        found = [alone(model, prompt, depth, "raw").mean(0) for prompt in prompts]
        close(layer["scores"]["raw"]["mean"], mean_by_position(found))
        name = "replaced_last" if layer["reverse"] else "replaced"
        replaced = [
            alone(model, row[:length], depth, "raw")[:, 0].mean()
            for row, length in zip(versions[name], lengths, strict=True)
        ]
        close(layer["nulls"]["replaced"]["raw"]["score"]["mean"], torch.stack(replaced).mean())
    assert set(document["prompts"]["first_tokens"]) == {"forward", "backward"}
    last = {int(prompt[-1]) for prompt in prompts}
    assert {token["id"] for token in document["prompts"]["first_tokens"]["backward"]} <= last


@pytest.mark.parametrize("variant", ["absolute", "softmax"])
def test_maps_are_of_prompts_of_the_median_length_and_their_rows_add_up(model, document, variant):
    assert [drawn["index"] for drawn in document["maps"]] == [0, 1, 2]
    long = [prompt for prompt in drawn(LENGTHS) if len(prompt) == 12]
    for depth, found in enumerate(document["maps"]):
        assert found["prompts"] == 3 and len(found[variant]) == 12
        want = torch.stack(
            [
                sinks.attention_map(sinks.capture(model, prompt[None])[depth], variant)
                for prompt in long
            ]
        ).mean(0)
        for query, row in enumerate(found[variant]):
            assert len(row) == query + 1
            assert sum(row) == pytest.approx(1, abs=1e-4)
            close(row, want[query, : query + 1])


def test_maps_spread_from_the_first_to_the_last_layer_of_each_direction(monkeypatch, both_ways):
    model, document = both_ways
    assert [(m["index"], m["reverse"]) for m in document["maps"]] == [
        (0, False),
        (1, False),
        (0, True),
        (1, True),
    ]
    monkeypatch.setattr(report, "MAPS", 2)
    monkeypatch.setattr(report, "MAP_TOKENS", 4)
    few = report.measure_model(model, drawn(LENGTHS))
    assert [(m["index"], m["reverse"]) for m in few["maps"]] == [(0, False), (0, True)]
    assert {(m["prompts"], len(m["absolute"])) for m in few["maps"]} == {(5, 4)}


def test_maps_are_of_the_layers_with_a_sink_the_strongest_ones(model, monkeypatch):
    outcomes = {"outcome": "sink", "kind": "position"}

    def planted(found):
        """Verdicts by the layer's number: excess 0.1, 0.3, 0.2 in three layers."""

        def judge(entry, null, confidence):
            verdict = real(entry, null, confidence)
            mean = found.get(entry.index)
            if mean is None:
                return dataclasses.replace(verdict, outcome="uniform", kind=None)
            excess = sinks.Estimate(mean, mean, mean)
            return dataclasses.replace(verdict, **outcomes, excess=excess)

        return judge

    real = report.document.judge
    monkeypatch.setattr(report, "MAPS", 2)
    for found, want in (
        ({0: 0.1, 1: 0.3, 2: 0.2}, [1, 2]),
        ({0: 0.3, 2: 0.2}, [0, 2]),
        ({1: 0.01}, [1]),
        ({}, [0, 2]),
    ):
        monkeypatch.setattr(report.document, "judge", planted(found))
        got = report.measure_model(model, drawn((6, 6)), channels=2)
        assert [each["index"] for each in got["maps"]] == want


def test_rescaling_moves_raw_scores_by_the_factor_and_absolute_ones_not(document):
    found = document["rescaled"]
    raw = [layer["scores"]["raw"]["mean"][0] for layer in document["layers"]]
    assert found["index"] == raw.index(max(raw))
    assert found["name"] == f"backbone.layers.{found['index']}.mixer"
    half, one, two = found["factors"]
    assert [each["factor"] for each in found["factors"]] == [0.5, 1.0, 2.0]
    close([half["raw"]["score"], two["raw"]["score"]], [one["raw"]["score"] * f for f in (0.5, 2)])
    close([half["absolute"]["score"]] * 2, [two["absolute"]["score"], one["absolute"]["score"]])
    assert len({each["softmax"]["score"] for each in found["factors"]}) == 3
    assert half["raw"]["rate"] < two["raw"]["rate"]


def test_what_no_number_says_is_none(model):
    found = report.measure_model(model, drawn((4, 6, 4)), layers=[0])
    scores = found["layers"][0]["scores"]["absolute"]
    assert None not in scores["mean"]
    # Of one prompt there is no interval.
    assert [value is None for value in scores["low"]] == [False] * 4 + [True] * 2
    json.dumps(found, allow_nan=False)


def test_layers_and_channels_are_those_asked_for(model, monkeypatch):
    prompts = drawn((6, 6, 6))
    whole = report.measure_model(model, prompts, channels=7, seed=3)
    read = []
    real = sinks.scores.importance

    def importance(layer, *args):
        read.append(layer.name)
        return real(layer, *args)

    # The package gives its function the module's name.
    monkeypatch.setattr(sys.modules["tokensphere.sinks.measure"], "importance", importance)
    name = "backbone.layers.2.mixer"
    part = report.measure_model(model, prompts, layers=[name, 0, 2], channels=7, seed=3)
    # The others are not scored at all.
    assert set(read) == {"backbone.layers.0.mixer", name}
    assert [layer["index"] for layer in part["layers"]] == [0, 2]
    assert part["model"]["mixers"] == 3
    assert part["directions"][0]["layers"] == [0, 2]
    assert part["confidence"] == pytest.approx(0.975)
    for one, two in zip(part["layers"], (whole["layers"][0], whole["layers"][2]), strict=True):
        assert one["scores"] == two["scores"]
        assert (one["channels"], one["total"]) == (7, 32)
    chosen = sinks.sample_channels(32, 7, 3, 2)
    means = [alone(model, prompt, 2, "raw")[chosen, 0].mean() for prompt in prompts]
    close(part["layers"][1]["scores"]["raw"]["mean"][0], torch.stack(means).mean())
    close(
        part["maps"][1]["softmax"][3],
        torch.stack(
            [
                sinks.attention_map(sinks.capture(model, prompt[None])[2].select(chosen))[3, :4]
                for prompt in prompts
            ]
        ).mean(0),
    )


def test_scores_of_each_prompt_stand_in_the_prompts_own_order(model, document):
    lengths = [each["tokens"] for each in document["prompts"]["each"]]
    assert lengths == list(LENGTHS)
    assert [each["number"] for each in document["prompts"]["each"]] == [1, 2, 3, 4, 5]
    for depth, layer in enumerate(document["layers"]):
        for variant in sinks.VARIANTS:
            own = [alone(model, p, depth, variant)[:, 0].mean() for p in drawn(LENGTHS)]
            close(layer["first"][variant], torch.stack(own))
            assert layer["scores"][variant]["mean"][0] == pytest.approx(
                sum(layer["first"][variant]) / 5, rel=1e-3
            )


def test_prompts_that_are_equal_count_once(model, document):
    rows = drawn(LENGTHS)
    repeated = [rows[0], rows[1], rows[0].clone(), rows[2], rows[3], rows[1], rows[4], rows[1]]
    found = report.measure_model(model, repeated, batch_size=2, threshold=0.1)
    prompts = found.pop("prompts")
    assert (prompts["given"], prompts["count"], prompts["repeated"]) == (8, 5, 3)
    assert [each["number"] for each in prompts["each"]] == [1, 2, 4, 5, 7]
    # All else is as without the repetitions.
    assert found == {key: value for key, value in document.items() if key != "prompts"}
    assert prompts["digest"] == document["prompts"]["digest"]


def test_fewer_than_five_different_prompts_decide_nothing(model):
    rows = drawn((8, 8, 8, 8))
    for prompts in (rows, rows * 10):
        found = report.measure_model(model, prompts, channels=2)
        assert {layer["verdict"]["outcome"] for layer in found["layers"]} == {"undecided"}
        assert {layer["verdict"]["kind"] for layer in found["layers"]} == {None}
        assert all(layer["verdict"]["needed"] >= 5 for layer in found["layers"])


def test_the_digest_is_of_the_prompts_tokens_in_any_order():
    rows = [torch.tensor([3, 14]), torch.tensor([2, 7, 1])]
    want = hashlib.sha256(b"2 7 1\n3 14\n").hexdigest()
    assert texts.digest(rows) == texts.digest(rows[::-1]) == want
    assert texts.digest([torch.tensor([3, 1, 4]), rows[1]]) != want


def test_the_first_token_can_be_replaced_by_one_of_ones_own(model):
    prompts = drawn((6, 7, 6))
    prompts = [torch.cat([row[:1].clamp(max=20), row[1:]]) for row in prompts]
    found = report.measure_model(model, prompts, replace_with=25, decode=str)
    assert found["prompts"]["replace_with"] == {"id": 25, "text": "25"}
    for depth, layer in enumerate(found["layers"]):
        changed = [torch.cat([torch.tensor([25]), row[1:]]) for row in prompts]
        own = [alone(model, row, depth, "absolute")[:, 0].mean() for row in changed]
        close(layer["nulls"]["replaced"]["absolute"]["score"]["mean"], torch.stack(own).mean())
    prompts[1][0] = 25
    with pytest.raises(
        ValueError, match=r"^replace_with: 1 of 3 prompts have the token 25 as their first"
    ):
        report.measure_model(model, prompts, replace_with=25)


def test_a_model_without_a_language_model_head(model):
    found = report.measure_model(model.backbone, drawn((6, 6)), channels=2)
    assert found["model"]["head"] is False and found["model"]["class"] == "MambaModel"
    assert found["layers"][0]["name"] == "layers.0.mixer"
    assert report.measure_model(model, drawn((6, 6)), channels=2)["model"]["head"] is True


def test_an_ablation_is_of_the_prompts_that_are_long_enough(model, document):
    options = {"batch_size": 2, "threshold": 0.1}
    found = report.measure_model(model, drawn(LENGTHS), ablate=True, **options)
    assert "ablation" not in document
    ablated = found.pop("ablation")
    assert found == document
    long = [prompt for prompt in drawn(LENGTHS) if len(prompt) >= 6]
    assert ablated["prompts"] == len(long) == 4
    assert [each["name"] for each in ablated["layers"]] == [
        each["name"] for each in found["layers"]
    ]
    # Each alone, and their scores in the same order: the correlation shows if they are not.
    scores = torch.stack(
        [
            torch.stack([alone(model, prompt, depth, "absolute")[:, 0].mean() for prompt in long])
            for depth in range(3)
        ],
        1,
    )
    swept = sinks.sweep(model, [prompt[None] for prompt in long])
    wanted = sinks.ablation_document(swept, scores)["correlation"]["excess"]["kl"]["prompts"]
    close(ablated["correlation"]["excess"]["kl"]["prompts"]["mean"], wanted["mean"])


@pytest.mark.parametrize(
    ("make", "lengths", "said"),
    [
        (lambda model: model, (6, 5, 5), "^ablate: takes at least two prompts of 6 tokens"),
        (lambda model: model.backbone, (8, 8), "^model: .*logits"),
    ],
)
def test_what_cannot_be_ablated_is_refused_before_it_is_measured(
    model, make, lengths, said, monkeypatch
):
    monkeypatch.setattr(report, "measure", lambda *_, **__: pytest.fail("measured"))
    with pytest.raises(ValueError, match=said):
        report.measure_model(make(model), drawn(lengths), ablate=True)


class Pair(torch.nn.Module):
    """Two mixers, of which the second gets the sequence flipped."""

    def __init__(self, mixers):
        super().__init__()
        self.embed = torch.nn.Embedding(VOCABULARY, 16)
        self.forth, self.back = mixers

    def forward(self, input_ids):
        hidden = self.embed(input_ids)
        return self.forth(hidden) + self.back(hidden.flip(1)).flip(1)


@pytest.mark.parametrize("layers", [None, ["back"]])
def test_a_mixer_that_gets_the_sequence_flipped_reads_backward(model, layers):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pair = Pair([model.backbone.layers[index].mixer for index in (0, 1)]).eval()
    found = report.measure_model(pair, drawn((6, 6, 6, 6, 6)), layers=layers, channels=4)
    assert [(e["name"], e["index"], e["reverse"]) for e in found["layers"]][-1] == ("back", 1, True)
    assert [d["reverse"] for d in found["directions"]] == ([True] if layers else [False, True])
    last = {int(prompt[-1]) for prompt in drawn((6, 6, 6, 6, 6))}
    assert {each["id"] for each in found["prompts"]["first_tokens"]["backward"]} <= last
    for layer in found["layers"]:
        # The null replaces the token that the layer reads first.
        assert (
            layer["nulls"]["replaced"]["raw"]["score"]["mean"] != layer["scores"]["raw"]["mean"][0]
        )
    assert found["model"]["head"] is False


def test_prompts_that_all_begin_with_bos_are_also_shuffled_behind_it(model):
    prompts = drawn((8, 8, 8, 6), bos=0)
    found = report.measure_model(model, prompts, bos=0)
    assert found["prompts"]["bos"]
    for layer in found["layers"]:
        # The first layer's first column needs what the later tokens are: it does not stay.
        assert set(layer["nulls"]) == {"shuffled", "shuffled_after_bos", "replaced"}
    prompts[1][0] = 5
    some = report.measure_model(model, prompts, bos=0)
    assert not some["prompts"]["bos"]
    assert set(some["layers"][0]["nulls"]) == {"shuffled", "replaced"}


def test_a_mixer_whose_tensors_are_not_understood_is_refused(model):
    handle = model.backbone.layers[1].mixer.register_forward_hook(
        lambda module, args, output: 1.01 * output
    )
    try:
        with pytest.raises(ValueError, match=r"layers\.1\.mixer rebuilt .* off by 0\.0099"):
            report.measure_model(model, drawn((4, 4)))
    finally:
        handle.remove()


def test_the_check_allows_for_the_models_dtype(model):
    prompts = drawn((9, 9, 4))
    exact = report.measure_model(model, prompts)["check"]
    assert exact["error"] < 1e-6 and exact["tolerance"] == 1e-3
    half = report.measure_model(build(mamba).bfloat16(), prompts)
    assert half["model"]["dtype"] == "bfloat16"
    assert 1e-4 < half["check"]["error"] < half["check"]["tolerance"] == 2**-4


def test_nothing_is_printed_and_the_global_generator_is_left_alone(model, capsys):
    state = torch.get_rng_state()
    report.measure_model(model, drawn((4, 4)), progress=True)  # stderr is no terminal here
    assert torch.equal(torch.get_rng_state(), state)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prompts": drawn((4,))}, "^prompts: got 1, takes at least two different"),
        ({"prompts": drawn((4, 1))}, "^prompts: number 2"),
        ({"prompts": [torch.ones(3), torch.ones(3)]}, "^prompts: got dtype torch.float32 at 0"),
        ({"prompts": [torch.ones(3).long()] * 2}, "^prompts: got 1, 2 times the same, takes"),
        (
            {"prompts": [torch.ones(3).long(), torch.ones(2).long()]},
            "^prompts: hold no token but 1",
        ),
        ({"layers": [3]}, r"^layers: got 3, takes numbers from 0 to 2"),
        ({"layers": ["mixer"]}, "^layers: got 'mixer', .* such as backbone.layers.0.mixer"),
        ({"layers": []}, "^layers"),
        ({"layers": [-1]}, "^layers"),
        ({"channels": 0}, "^channels"),
        ({"seed": -1}, "^seed"),
        ({"batch_size": 0}, "^batch_size"),
        ({"threshold": math.nan}, "^threshold"),
    ],
)
def test_bad_input_is_named(model, options, said):
    with pytest.raises(ValueError, match=said):
        report.measure_model(model, **{"prompts": drawn((4, 4)), **options})


def test_a_model_without_a_mixer_is_refused_by_its_class():
    config = transformers.GPT2Config(vocab_size=VOCABULARY, n_embd=8, n_head=1, n_layer=1)
    with pytest.raises(ValueError, match="GPT2LMHeadModel .* supported are MambaForCausalLM"):
        report.measure_model(transformers.GPT2LMHeadModel(config), drawn((4, 4)))
    with pytest.raises(ValueError, match="Module .* supported are"):
        report.measure_model(torch.nn.Module(), drawn((4, 4)))
