"""The report's document, against scores of each prompt alone; prompts and their changed copies."""

import functools
import json
import math

import pytest
import torch

from tokensphere import sinks
from tokensphere.sinks import figures, report
from tokensphere.sinks import prompts as texts
from tokensphere.sinks.prompts import Prompts, changed
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
        close(found["after_threshold"]["mean"], means.mean(0))
        close(
            found["before_threshold"], torch.tensor([r["before_threshold"] for r in rates]).mean(0)
        )
        scores = torch.tensor([layer["scores"][variant]["mean"] for layer in document["layers"]])
        close(direction["importance"][variant]["prompts"]["mean"], scores.mean(0), 2e-4)


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
    close(document["uniform"]["mean"], mean_by_position(rows))
    # H_T / T is over 0.1 for all; at position 9, of four, only where the prompt ends there.
    assert document["uniform"]["rate"][0] == 1.0
    assert document["uniform"]["rate"][8] == 0.25


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


def test_maps_are_of_prompts_of_the_median_length_and_their_rows_add_up(model, document):
    assert [drawn["layer"] for drawn in document["maps"]] == [0, 1, 2]
    long = [prompt for prompt in drawn(LENGTHS) if len(prompt) == 12]
    for depth, found in enumerate(document["maps"]):
        assert found["prompts"] == 3 and len(found["rows"]) == 12
        want = torch.stack(
            [sinks.attention_map(sinks.capture(model, prompt[None])[depth]) for prompt in long]
        ).mean(0)
        for query, row in enumerate(found["rows"]):
            assert len(row) == query + 1
            assert sum(row) == pytest.approx(1, abs=1e-4)
            close(row, want[query, : query + 1])


def test_maps_spread_from_the_first_to_the_last_layer_of_each_direction(monkeypatch, both_ways):
    model, document = both_ways
    assert [(m["layer"], m["reverse"]) for m in document["maps"]] == [
        (0, False),
        (1, False),
        (0, True),
        (1, True),
    ]
    monkeypatch.setattr(report, "MAPS", 2)
    monkeypatch.setattr(report, "MAP_TOKENS", 4)
    few = report.measure_model(model, drawn(LENGTHS))
    assert [(m["layer"], m["reverse"]) for m in few["maps"]] == [(0, False), (0, True)]
    assert {(m["prompts"], len(m["rows"])) for m in few["maps"]} == {(5, 4)}


def test_rescaling_moves_raw_scores_by_the_factor_and_absolute_ones_not(document):
    found = document["rescaled"]
    raw = [layer["scores"]["raw"]["mean"][0] for layer in document["layers"]]
    assert found["layer"] == raw.index(max(raw))
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


def test_layers_and_channels_are_those_asked_for(model):
    prompts = drawn((6, 6, 6))
    whole = report.measure_model(model, prompts, channels=7, seed=3)
    part = report.measure_model(model, prompts, layers=[2, 0, 2], channels=7, seed=3)
    assert [layer["index"] for layer in part["layers"]] == [0, 2]
    assert part["directions"][0]["layers"] == [0, 2]
    assert part["confidence"] == pytest.approx(0.975)
    for one, two in zip(part["layers"], (whole["layers"][0], whole["layers"][2]), strict=True):
        assert one["scores"] == two["scores"]
        assert (one["channels"], one["total"]) == (7, 32)
    chosen = sinks.sample_channels(32, 7, 3, 2)
    means = [alone(model, prompt, 2, "raw")[chosen, 0].mean() for prompt in prompts]
    close(part["layers"][1]["scores"]["raw"]["mean"][0], torch.stack(means).mean())
    close(
        part["maps"][1]["rows"][3],
        torch.stack(
            [
                sinks.attention_map(sinks.capture(model, prompt[None])[2].select(chosen))[3, :4]
                for prompt in prompts
            ]
        ).mean(0),
    )


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


def test_changed_prompts_keep_what_they_should():
    rows = drawn((8, 8, 6, 3), bos=0)
    prompts = Prompts.of(rows, "cpu")
    versions = changed(prompts, 5, True, True)
    assert list(versions) == [
        "prompts",
        "shuffled",
        "shuffled_after_bos",
        "replaced",
        "replaced_last",
    ]
    assert torch.equal(versions["prompts"], prompts.ids)
    for index, row in enumerate(rows):
        size = len(row)
        for name, ids in versions.items():
            assert not ids[index, size:].any(), name
        for name in ("shuffled", "shuffled_after_bos"):
            assert sorted(versions[name][index, :size].tolist()) == sorted(row.tolist())
        assert versions["shuffled_after_bos"][index, 0] == 0
        others = {
            token for other, kept in enumerate(rows) if other != index for token in kept.tolist()
        }
        replaced, last = versions["replaced"][index], versions["replaced_last"][index]
        assert torch.equal(replaced[1:size], row[1:])
        assert torch.equal(last[: size - 1], row[:-1])
        for new, old in ((replaced[0], row[0]), (last[size - 1], row[-1])):
            assert new != old
            assert int(new) in others
    assert not torch.equal(versions["shuffled"], versions["shuffled_after_bos"])
    again, other = changed(prompts, 5, False, False), changed(prompts, 6, False, False)
    assert torch.equal(again["replaced"], versions["replaced"])
    assert not torch.equal(other["shuffled"], versions["shuffled"])


def test_replacements_are_as_frequent_as_among_the_other_prompts():
    # Of the other prompt's tokens that are not 1, three in four are 2.
    prompts = Prompts.of([torch.tensor([1, 5, 5]), torch.tensor([1, 2, 2, 2, 3])], "cpu")
    found = [int(changed(prompts, seed, False, False)["replaced"][1, 0]) for seed in range(400)]
    assert set(found) == {2, 3}
    assert found.count(2) == pytest.approx(300, abs=35)  # four standard deviations


def test_batches_are_padded_only_where_lengths_differ():
    prompts = Prompts.of(drawn((3, 7, 7, 5)), "cpu")
    first, second = prompts.batches(2)
    assert set(first) == {"input_ids"} and first["input_ids"].shape == (2, 7)
    assert second["attention_mask"].tolist() == [[1] * 5, [1, 1, 1, 0, 0]]
    assert second["input_ids"].shape == (2, 5)


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
        ({"prompts": drawn((4,))}, "^prompts: got 1, takes at least two"),
        ({"prompts": drawn((4, 1))}, "^prompts: number 1"),
        ({"prompts": [torch.ones(3), torch.ones(3)]}, "^prompts: number 0 has .*torch.float32"),
        ({"prompts": [torch.ones(3).long()] * 2}, "^prompts: hold no token but 1"),
        ({"layers": [3]}, r"^layers: got \[3\], takes numbers from 0 to 2"),
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


def test_prompts_are_lines_or_objects(tmp_path):
    plain = tmp_path / "a.txt"
    plain.write_bytes(b"one\n\n two \x0c more\r\nthree")
    assert texts.read_prompts(plain) == [(1, "one"), (3, " two \x0c more"), (4, "three")]
    objects = tmp_path / "a.jsonl"
    objects.write_text('{"prompt": "one\\ntwo", "id": 3}\n\n{"prompt": ""}\n')
    assert texts.read_prompts(objects) == [(1, "one\ntwo"), (3, "")]


def test_prompts_are_cut():
    found = texts.encode_prompts(lambda text: [ord(c) for c in text], [(1, "abcd"), (2, "ab")], 3)
    assert [row.tolist() for row in found] == [[97, 98, 99], [97, 98]]
    with pytest.raises(ValueError, match="^max-length: got 1"):
        texts.encode_prompts(list, [], 1)


def lines(ax):
    return {line.get_label(): line.get_ydata().tolist() for line in ax.get_lines()}


def test_figures_draw_the_documents_numbers(document, both_ways):
    from matplotlib import pyplot

    figure = figures.sinks_by_layer(document, "rate")
    drawn_lines = lines(figure.axes[2])
    assert drawn_lines["the prompts"] == [
        layer["rates"]["absolute"]["after_threshold"]["mean"][0] for layer in document["layers"]
    ]
    assert drawn_lines["tokens shuffled"] == [
        layer["nulls"]["shuffled"]["absolute"]["after_threshold"]["mean"]
        for layer in document["layers"]
    ]
    assert drawn_lines["uniform attention"] == [document["uniform"]["rate"][0]] * 3
    pyplot.close(figure)

    figure = figures.sinks_by_position(both_ways[1], "score")
    backward = both_ways[1]["directions"][1]["importance"]
    assert lines(figure.axes[1])["the prompts"] == backward["raw"]["prompts"]["mean"]
    assert lines(figure.axes[5])["first token replaced"] == backward["absolute"]["replaced"]["mean"]
    assert lines(figure.axes[5])["uniform attention"] == both_ways[1]["uniform"]["mean"]
    pyplot.close(figure)

    figure = figures.attention_maps(document)
    shown = figure.axes[1].get_images()[0].get_array()
    rows = document["maps"][1]["rows"]
    assert shown[4, :5].tolist() == rows[4]
    assert shown.mask[4, 5:].all()
    assert [ax.get_title() for ax in figure.axes[:3]] == ["layer 0", "layer 1", "layer 2"]
    pyplot.close(figure)

    with pytest.raises(ValueError, match="^quantity: got 'rates'"):
        figures.sinks_by_layer(document, "rates")
