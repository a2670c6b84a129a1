"""What README and the introduction report: one text, and every number in it from a record."""

import functools
import math
import re
import sys

import numpy as np
import pytest
import torch

from tokensphere import circle, records
from tokensphere.paper import findings as module
from tokensphere.paper import ledger, survey
from tokensphere.paper.experiments import language_model_outcomes
from tokensphere.paper.findings import findings, headlines
from tokensphere.reorder import comparison, contrasts, experiment
from tokensphere.unnormalised import census

sys.path.insert(0, str(ledger.ROOT / "tests"))
import readme


def text(words):
    """The finding whose claim has these words."""
    (found,) = (one for one in findings() if words in one.claim)
    return found.finding


def data(name):
    return records.load(records.path(name)).data


def test_readme_has_the_findings():
    old = readme.README.read_text("utf-8")
    assert readme.with_findings(old) == old, "python tests/readme.py"


@pytest.mark.parametrize("found", findings(), ids=lambda found: found.ids[0])
def test_a_finding_stands_on_entries_of_its_page(found):
    assert ledger.ledger()[found.ids[0]].chapter == found.page or len(found.ids) > 1
    assert found.page in {ledger.ledger()[id].chapter for id in found.ids}
    for cell in (found.finding, found.question, found.answer):
        assert cell and "|" not in cell  # it would end a cell of a table


@pytest.mark.parametrize("found", findings(), ids=lambda found: found.ids[0])
def test_an_answer_has_no_number_that_its_finding_lacks(found):
    answered, said = (
        set(re.findall(r"\d+(?:[.,]\d+)*", text))
        for text in (found.answer, f"{found.claim} {found.finding}")
    )
    assert answered <= said
    assert len(found.answer.split()) <= 40


def test_both_readers_have_questions():
    assert {found.reader for found in findings()} == set(module.READERS)


def test_headlines():
    gathers, ends, trained = headlines()
    for one in (gathers, ends, trained):
        assert one.ids and one.pages
        assert not re.search(r"[$^_=<>|]", one.text)  # plain words
    zeros = data("survey.json")["first"]["Gaussian, D=10"]["zero of the form"]
    assert "two thirds of 2,000" in ends.text and abs(zeros / 2000 - 2 / 3) < 0.02
    sinks, layers = labelling_model_at(16)
    others, all_layers, _ = language_models_at(16)
    assert f"at 16 tokens {sinks} of {layers} layers of a labelling model" in trained.text
    assert f"and {others} of {all_layers} of three language models" in trained.text
    sinks, layers = labelling_model_at(64)
    others, all_layers, _ = language_models_at(64)
    assert f"at 64 tokens {sinks} of {layers} and {others} of {all_layers}" in trained.text


def test_a_verdict_stands_beside_its_own_statement():
    marks = {mark: one.text for one in headlines() for mark in one.ids}
    said = {
        "thm-3.5": "go to the first one or to the opposite point",
        "obs-2.3-i": "go to coordinate vectors",
        "limit-points-characterised": "limits are points of rest",
        "claim-4.1-flow": "along the flow the first token's score comes to dominate",
        "claim-4.2-improves": "random token orders help",
    }
    assert marks.keys() == said.keys()
    for mark, words in said.items():
        before = marks[mark].partition(f"{{verdict}}`{mark}`")[0]
        assert words in re.split(r"[.:] ", before)[-1]


def test_shares_of_first_tokens():
    first = data("survey.json")["first"]
    draws = 2000
    assert {sum(counts.values()) for counts in first.values()} == {draws}

    def share(key, kind):
        return first[key][kind] / draws

    vertex, zero = "coordinate vector", "zero of the form"
    said = text("Observation 2.3 i)")
    identity = [share(f"identity, D={d}", vertex) for d in (2, 3)]
    gaussian = [share(f"Gaussian, D={d}", zero) for d in (10, 32)]
    assert "({:.0%}, {:.0%})".format(*identity) in said
    assert "({:.0%}, {:.0%})".format(*gaussian) in said
    assert 0.5 < share("Gaussian, D=2", vertex) < 0.53
    assert f"{draws:,} draws" in said


def joined(table):
    """The mean fraction of later tokens at the first one or its antipode."""
    sequences = sum(np.sum(kind["at the first token"]) for kind in table.values())
    both = sum(
        np.add(kind["at the first token"], kind["at its antipode"]) for kind in table.values()
    )
    return float(both @ np.arange(8) / 7 / sequences)


def test_shares_of_later_tokens():
    shares = {key: joined(table) for key, table in data("survey.json")["later"].items()}
    assert len(shares) == 16
    assert sum(share < 0.5 for share in shares.values()) == 15
    said = text("Observation 2.3 ii)")
    for decays in survey.DECAYS:
        own = [share for key, share in shares.items() if key.endswith(decays)]
        assert f"{min(own):.0%} to {max(own):.0%}" in said
    T = math.log(1 + math.e)
    assert f"about {math.log2(T / (T - math.log(2))):.2f}" in said


def test_shares_on_the_circle():
    axis = circle.KINDS[0]
    assert f"{1 - float(circle.gaussian_shares()[axis]):.0%} in expectation" in text("D = 2")


def test_sinks():
    said = text("section 4.1")
    scores = data("attention_sinks.json")["typeseg"]["scores"]["layers"]
    at_16, layers = labelling_model_at(16)
    assert at_16 == sum(layer["verdict"]["outcome"] == "sink" for layer in scores)
    at_64, _ = labelling_model_at(64)
    assert f"a sink in {at_16} of {layers} layers at 16 tokens" in said
    assert f"and in {at_64} of {layers} at 64." in said
    models = data("language_model.json")
    weights = max(history["parameters"] for history in models["models"].values())
    assert len(models["models"]) == 3
    assert f"Three language models, the largest of {weights / 1e6:.0f} million weights" in said
    (few, layers, most), (one, _, barely) = map(language_models_at, (16, 64))
    assert f"in {few} of {layers} layers at 16 tokens, at most {most - 1:.0%} above" in said
    assert f"in {one} of {layers} at 64, {barely - 1:.0%} above" in said
    # How far later tokens go with one that is changed.
    for name in ("typeseg", "with BOS"):
        found = data("attention_sinks.json")[name]["theory"]["response"]
        first, later = (found[key]["mean"][-1] for key in ("first", "later"))
        assert first < later + 0.01


def labelling_model_at(length):
    """Layers with a sink, and all of them."""
    found = data("ablation.json")["typeseg"][str(length)]
    return len(found["sinks"]["layers"]), len(found["layers"])


@functools.cache
def language_models_at(length):
    """After their last steps and BOS: layers with a sink, all of them, the largest share over
    uniform attention's."""
    models = data("language_model.json")
    cells = [
        (name, language_model_outcomes.steps(models, name)[-1], length, "bos")
        for name in models["models"]
    ]
    layers = [
        outcome for cell in cells for outcome in language_model_outcomes.outcomes(models, *cell)
    ]
    largest = max(language_model_outcomes.largest(models, *cell)[0] for cell in cells)
    return layers.count("sink"), len(layers), largest


def test_power_of_the_reordered_runs():
    said = text("Table 1")
    low, high = re.search(r"is (\d\.\d+) to (\d\.\d+)", said).groups()
    assert (f"{min(powers()):.2f}", f"{max(powers()):.2f}") == (low, high)
    assert "rarely" in said and max(powers()) < 0.25


def test_losses_of_the_reordered_runs():
    said = text("Table 1")
    found = [reordered(model) for model in REORDERED]
    means = [np.mean(list(runs["baseline"].values())) for runs, _ in found]
    assert "{:.0f}% (MambaVision-T) and {:.0f}% (an S6 classifier)".format(*means) in said
    assert f"{means[-1]:.0f}% on digits" in said
    estimates = [difference for _, difference in found]
    assert "are {:.1f}, {:.1f} and {:.1f} points".format(*(d.mean for d in estimates)) in said
    assert all(d.mean < 0 and d.high < 0.19 for d in estimates)


REORDERED = ("mambavision_tiny", "s6-small", "s6-tiny")


def reordered(model):
    """Accuracies by arm, and the random arm's difference from the baseline."""
    runs = comparison.outcomes(data(f"reordered_training/{model}.json")["runs"], "top1")
    return runs, comparison.differences(runs)["random"]


@functools.cache
def powers():
    """Of each model's runs against the gain that the paper reports."""
    found = [reordered(model)[1] for model in REORDERED]
    return [comparison.power(0.19, d.sd, d.n) for d in found]


def test_shares_on_the_cone():
    said = text("Two dimensions")
    for dim, share, words in ((2, 0.2, "a fifth"), (8, 0.4, "two fifths")):
        counts = census.first_tokens(1000, dim, torch.Generator().manual_seed(0))
        assert abs(counts["to the cone"] / 1000 - share) < 0.03  # two standard errors
        assert f"{words} for D = {dim}" in said


def test_refined_models():
    from tokensphere.paper.experiments import refinement_outcomes as outcomes

    runs = outcomes.recorded().data["runs"]
    said = text("Excluding the convergent scenario")
    differences = outcomes.compare(outcomes.losses(runs), outcomes.primary_pairs())
    positive, p = differences["positive", outcomes.BASE]
    interval = f"interval {positive.low:.3f} to {positive.high:.3f}; p = {p:.2f} after Holm"
    assert f"cost {positive.mean:.3f} nats" in said and interval in said
    assert positive.low > -0.01
    negative, _ = differences["negative", outcomes.BASE]
    assert f"Negative signs cost {negative.mean:.3f}" in said
    weights = min(run["parameters"] for run in runs) / 1e6
    assert f"{len(runs)} language models of {weights:.0f} million weights" in said
    assert f"{len(runs) // len(outcomes.arms(runs))} seeds an arm" in said
    growth = [np.diff(norms) for norms in outcomes.streams(runs, "after", "log_norm").values()]
    assert all((steps > 0).all() for steps in growth)


def test_importance():
    said = text("Ordering tokens by importance")
    files = {m: records.path(f"reordered_training/{m}.json") for m in experiment.MODELS}
    runs = {
        model: records.load(file, parameters=experiment.parameters(model)).data["runs"]
        for model, file in files.items()
    }
    found = contrasts.accuracies(runs)
    tiny = found["mambavision_tiny"]["importance"].difference
    assert f"{tiny.mean:.1f} points" in said
    assert f"({tiny.low:.1f} to {tiny.high:.1f}" in said
    assert tiny.n == 3 and "three pairs" in said
    assert f"seen {comparison.detectable(tiny.sd, tiny.n):.1f}" in said
    small, digits = (found[m]["importance"].difference for m in ("s6-small", "s6-tiny"))
    assert small.high < 0 and digits.high < 0
    assert f"{-small.mean:.0f} points on CIFAR-10, {-digits.mean:.0f} on digits" in said


ENTRY = {"claim": "c", "finding": "f", "page": "p", "question": "q", "answer": "a"}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (ENTRY, "a finding with the keys answer, claim, finding"),
        (ENTRY | {"reader": "mathematician", "ids": ["eq-1"], "more": "m"}, "more"),
        (ENTRY | {"reader": "mathematician", "ids": ["eq-1", "eq-99"]}, "no claim eq-99"),
        (ENTRY | {"reader": "m", "ids": ["eq-1"]}, "reader: got 'm', takes practitioner or"),
    ],
)
def test_a_finding_that_cannot_be_read_is_named(tmp_path, monkeypatch, entry, said):
    file = tmp_path / "findings.toml"
    lines = [f"{key} = {value!r}" for key, value in entry.items()]
    file.write_text("\n".join(["[[finding]]", *lines]), "utf-8")
    monkeypatch.setattr(module, "FILE", file)
    with pytest.raises(ValueError, match=f"findings.toml: .*{said}"):
        findings()


def test_a_finding_has_the_verdict_of_its_first_entry():
    verdicts = {id: claim.verdict for id, claim in ledger.ledger().items()}
    first = next(id for id in verdicts if verdicts[id] == "holds")
    last = next(id for id in verdicts if verdicts[id] == "refuted")
    assert module.Finding(**ENTRY, reader="r", ids=(first, last)).verdict == "holds"
